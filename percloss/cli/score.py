"""``percloss score``: options in, results out; the work is done in ``percloss.scoring``."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import click

from percloss.cli import debugging, options


def _required(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> dict[str, float]:
    found = {}
    for part in value:
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            found[name.strip()] = math.nan
        if not math.isfinite(found[name.strip()]):
            raise click.BadParameter(f"got {part!r}; needed is NAME=VALUE, such as --require si_sdr=10.")
    return found


def _without_reference(given: dict[str, Any]) -> None:
    """Refuse what a reference is needed for; which measures take none is known where they are."""
    if given["measures"] is None:
        raise click.UsageError(
            "got no reference; needed is one, as in: percloss score enhanced/ --ref clean/, or measures that take "
            "none, as in: percloss score enhanced/ -m dnsmos_ovr."
        )
    for option in ("mix", "museval"):
        if given[option]:
            raise click.UsageError(f"got --{option} and no reference; needed is one: --ref PATH.")
    if given["resample"] == "ref":
        raise click.UsageError("got --resample without a rate, and no reference that has one; type --resample 16000.")


@click.command(cls=options.Scoring)
@click.argument("est", nargs=-1, metavar="EST...")
@click.option("--ref", metavar="PATH", help="The reference: a folder, or one file. Some measures take none.")
@options.mix
@click.option("--pairs", metavar="FILE", help="A list instead: columns est, ref, [mix, system]; - is stdin.")
@options.measures
@options.resample
@options.trim
@options.mono
@options.group_by("Results by group: a column of --pairs, track, stem, or what a pattern finds in the name.")
@options.json
@click.option(
    "-o", "--output", multiple=True, metavar="FILE", help="Write .csv, .jsonl, .parquet, .json or .html; repeatable."
)
@click.option("--museval", metavar="FOLDER", help="Also BSS Eval v4 of tracks of stems, into museval's JSON files.")
@options.resume
@click.option(
    "--require",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_required,
    help="Exit 1 unless the mean of each system is VALUE or better; repeatable.",
)
@options.jobs
@options.device
@options.quiet
@click.pass_context
def score(context: click.Context, /, est: tuple[str, ...], **given: Any) -> int:
    """Score estimates EST against references.

    EST are folders, each a system, or files. Files in folders are paired by relative name without suffix, never by
    position; a single reference is compared with every EST. On a terminal the scores are a table, in a pipe
    tab-separated, a row a file, or with --group-by a row a group and measure.

    \b
    percloss score enhanced/ --ref clean/
    percloss score sysA/ sysB/ --ref clean/ -m si_sdr,pesq_wb --resample 16000 -o scores.csv
    percloss score stems/ --ref truth/ --mix truth/        track/stem.wav, track/mixture.wav
    percloss score --pairs pairs.tsv --json
    percloss score enhanced/ -m dnsmos_ovr                 measures that take no reference

    Files that differ in rate, length or channels are not scored unless --resample, --trim or --mono says how to make
    them alike. Channels are scored one by one and averaged.
    """  # noqa: D301  click's mark of a paragraph not to be wrapped is one character, and no backslash
    if given["pairs"] is not None and (est or given["ref"] or given["mix"]):
        raise click.UsageError("got --pairs and files; needed is one of them. A list names its mixtures itself.")
    if given["pairs"] is None and not est:
        raise click.UsageError("got no estimate; needed is one, as in: percloss score enhanced/ --ref clean/.")
    if given["pairs"] is None and not given["ref"]:
        _without_reference(given)
    if given["resume"] and not given["output"]:
        raise click.UsageError("got --resume without -o; needed is the -o FILE of the run that was interrupted.")
    from percloss.cli.run import Options, run

    return run(Options(est=est, **given, command=("percloss", *sys.argv[1:]), debug=debugging(context)))
