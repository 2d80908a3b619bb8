"""``percloss compare``: options in, verdicts out; the work is done in ``percloss.scoring``."""

import sys
from typing import Any

import click

from percloss.cli import debugging, options


@click.command(cls=options.Scoring)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--ref", required=True, metavar="FOLDER", help="The references.")
@options.mix
@options.measures
@options.resample
@options.trim
@options.mono
@options.group_by("What is no independent item: track, stem, or what a pattern finds in the name.")
@options.json
@click.option("-o", "--output", multiple=True, metavar="FILE", help="Write .json or .csv; repeatable.")
@options.resume
@options.jobs
@options.device
@options.quiet
@click.pass_context
def compare(context: click.Context, /, a: str, b: str, **given: Any) -> int:
    """Say which of two systems is better, on which measure, and whether the data can tell.

    A and B are folders of estimates of the same references. For each measure: both means, how much B exceeds A on the
    same files with its 95 % interval, the p-value of a sign-flip test with Holm's correction for the number of
    measures, and in words who is better, or from which difference on these files could have told.

    \b
    percloss compare old/ new/ --ref clean/ -m si_sdr,pesq_wb
    percloss compare old/ new/ --ref truth/ --group-by track        stems of one track count as one
    percloss compare old/ new/ --ref clean/ -m mel -o result.json --jobs 4

    Name the few measures that matter: the more are asked, the more it takes to believe one.
    """  # noqa: D301  click's mark of a paragraph not to be wrapped is one character, and no backslash
    if given["resume"] and not given["output"]:
        raise click.UsageError("got --resume without -o; needed is the -o FILE of the run that was interrupted.")
    from percloss.cli.run import Options, run_comparison

    command = ("percloss", *sys.argv[1:])
    return run_comparison(
        Options(est=(a, b), pairs=None, require={}, museval=None, **given, command=command, debug=debugging(context))
    )
