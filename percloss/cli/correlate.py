"""``percloss correlate``: options in, correlations out; the work is done in ``percloss.listening``."""

import sys
from typing import Any

import click

from percloss.cli import debugging, options


@click.command()
@click.argument("rated", required=False, metavar="[SET|TABLE]")
@click.option("--root", metavar="DIR", help="Folder of the set, or what a table's paths are relative to.")
@options.measures
@click.option("--scale", metavar="NAME", help="One of the questions that were asked. [each by itself]")
@click.option("--align", is_flag=True, help="Undo what delays or inverts an estimate as a whole, before it is scored.")
@click.option("--out", metavar="DIR", help="Write correlation.txt, .json and .html there.")
@click.option("--parquet", is_flag=True, help="With --out: also every score of every stimulus, correlation.parquet.")
@click.option("--cache", metavar="DIR", help="Where scores are kept. [in the user's cache folder]")
@options.json
@options.jobs
@options.quiet
@click.pass_context
def correlate(context: click.Context, /, rated: str | None, **given: Any) -> int:
    """Say how far measures follow the listeners of a test, and which of them follow better.

    SET is the name of a listening test at --root, TABLE a file with the columns path, ref and score, and where they are
    known system, content, listener, ci95, scale, mix and interferer. Without either: what the seed paper's tables say.

    \b
    percloss correlate svs_mushra --root svs_mushra/ -m bss_sir,si_sdr,mel
    percloss correlate ratings.csv -m pesq_wb,stoi --out report/
    percloss correlate gensvs_dcr --root gensvs_dcr/ --json
    percloss correlate

    Sets are svs_mushra, codec_mushra, p835_reference_conditions, gensvs_dcr, odaq, sebass, nisqa, bvcc and tcd_voip;
    without --root a set is looked for in the folder that PERCLOSS_DATA names. Hidden references and anchors are not
    scored. Where no measure is named, SIR and SAR of BSS Eval are taken too if interferers are known, and what was
    published with the set. Each score is kept by the content of its recordings: a run that was stopped goes on where it
    was, and a measure that is added is the only one that is scored.
    """  # noqa: D301  click's mark of a paragraph not to be wrapped is one character, and no backslash
    if given["parquet"] and not given["out"]:
        raise click.UsageError("got --parquet without --out; needed is a folder for it: --out DIR.")
    lost = [f"--{name}" for name in ("root", "measures", "scale", "align") if given[name]]
    if rated is None and lost:
        raise click.UsageError(f"got {', '.join(lost)} and no set; needed is one, or a table: ratings.csv.")
    from percloss.cli.correlating import Options, run, run_seed_paper

    asked = Options(**given, command=("percloss", *sys.argv[1:]), debug=debugging(context))
    return run_seed_paper(asked) if rated is None else run(rated, asked)
