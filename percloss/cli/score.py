"""``percloss score``: options in, results out; the work is done in ``percloss.scoring``."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import click

from percloss.cli import debugging


class _Score(click.Command):
    """Lets ``--resample`` stand without a rate, also in front of a file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        for at in range(end):
            if args[at] == "--resample" and not (at + 1 < end and args[at + 1].isdigit()):
                args[at] = "--resample=ref"
        return super().parse_args(ctx, args)


def _rate(context: click.Context, parameter: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "ref":
        return value
    if not value.isdigit() or not 1_000 <= int(value) <= 768_000:
        raise click.BadParameter(f"got {value!r}; needed is a rate from 1000 to 768000 Hz, such as --resample 16000.")
    return int(value)


def _names(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> tuple[str, ...] | None:
    names = [name.strip() for part in value for name in part.split(",") if name.strip()]
    if value and not names:
        raise click.BadParameter("got no name; needed is at least one, such as -m si_sdr,mrstft. See: percloss list.")
    return tuple(dict.fromkeys(names)) or None


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


@click.command(cls=_Score)
@click.argument("est", nargs=-1, metavar="EST...")
@click.option("--ref", metavar="PATH", help="The reference: a folder, or one file.")
@click.option("--mix", metavar="PATH", help="The unprocessed mixture, for improvements: a folder, or one file.")
@click.option("--pairs", metavar="FILE", help="A list instead: columns est, ref, [mix, system]; - is stdin.")
@click.option(
    "-m", "--measures", multiple=True, metavar="NAMES", callback=_names, help="Such as si_sdr,mrstft. [all that suit]"
)
@click.option("--resample", metavar="[HZ]", callback=_rate, help="Bring all to this rate, or the reference's.")
@click.option("--trim", is_flag=True, help="Cut each pair to the shorter of the two.")
@click.option("--mono", is_flag=True, help="Mix channels down to one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "-o", "--output", multiple=True, metavar="FILE", help="Write .csv, .jsonl, .parquet, .json or .html; repeatable."
)
@click.option("--resume", is_flag=True, help="Take up an interrupted run with the same -o.")
@click.option(
    "--require",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_required,
    help="Exit 1 unless the mean of each system is VALUE or better; repeatable.",
)
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Processes. [cores, fewer for few files]")
@click.option("--device", type=click.Choice(["cpu", "cuda", "auto"]), default="cpu", help="Where to compute. [cpu]")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no warnings; errors are still said.")
@click.pass_context
def score(context: click.Context, /, est: tuple[str, ...], **given: Any) -> int:
    """Score estimates EST against references.

    EST are folders, each a system, or files. Files in folders are paired by relative name without suffix, never by
    position; a single reference is compared with every EST. On a terminal the scores are a table, in a pipe
    tab-separated, a row a file.

    \b
    percloss score enhanced/ --ref clean/
    percloss score sysA/ sysB/ --ref clean/ -m si_sdr,pesq_wb --resample 16000 -o scores.csv
    percloss score stems/ --ref truth/ --mix truth/        track/stem.wav, track/mixture.wav
    percloss score --pairs pairs.tsv --json

    Files that differ in rate, length or channels are not scored unless --resample, --trim or --mono says how to make
    them alike. Channels are scored one by one and averaged.
    """  # noqa: D301  click's mark of a paragraph not to be wrapped is one character, and no backslash
    if given["pairs"] is not None and (est or given["ref"] or given["mix"]):
        raise click.UsageError("got --pairs and files; needed is one of them. A list names its mixtures itself.")
    if given["pairs"] is None and not (est and given["ref"]):
        what = "no estimate" if not est else "no reference"
        raise click.UsageError(f"got {what}; needed are both, as in: percloss score enhanced/ --ref clean/.")
    if given["resume"] and not given["output"]:
        raise click.UsageError("got --resume without -o; needed is the -o FILE of the run that was interrupted.")
    from percloss.cli.run import Options, run

    return run(Options(est=est, **given, command=("percloss", *sys.argv[1:]), debug=debugging(context)))
