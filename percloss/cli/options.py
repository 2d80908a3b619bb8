"""Options that the commands that score files share. Imports nothing that ``--help`` would have to wait for."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from percloss.scoring import USUAL

__all__ = [
    "ALL",
    "Scoring",
    "device",
    "group_by",
    "jobs",
    "json",
    "measures",
    "mix",
    "mono",
    "quiet",
    "resample",
    "resume",
    "trim",
]

#: What stands for the names of all measures.
ALL = "all"

_Decorated = TypeVar("_Decorated", bound="Callable[..., Any] | click.Command")


class Scoring(click.Command):
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
    if ALL in names and len(names) > 1:
        raise click.BadParameter(f"got {ALL} and names; needed is one of them: -m {ALL} has them all.")
    return tuple(dict.fromkeys(names)) or None


mix = click.option("--mix", metavar="PATH", help="The unprocessed mixture, for improvements: a folder, or one file.")
measures = click.option(
    "-m",
    "--measures",
    multiple=True,
    metavar="NAMES",
    callback=_names,
    help=f"Such as si_sdr,mrstft; all for every one that suits, some of them slow. [what suits of {', '.join(USUAL)}]",
)
resample = click.option(
    "--resample", metavar="[HZ]", callback=_rate, help="Bring all to this rate, or the reference's."
)
trim = click.option("--trim", is_flag=True, help="Cut each pair to the shorter of the two.")
mono = click.option("--mono", is_flag=True, help="Mix channels down to one.")
json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
resume = click.option("--resume", is_flag=True, help="Take up an interrupted run with the same -o.")
jobs = click.option(
    "-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Processes. [cores, fewer for few files]"
)
device = click.option(
    "--device", type=click.Choice(["cpu", "cuda", "auto"]), default="cpu", help="Where to compute. [cpu]"
)
quiet = click.option("-q", "--quiet", is_flag=True, help="No progress and no warnings; errors are still said.")


def group_by(words: str) -> Callable[[_Decorated], _Decorated]:
    """``--group-by``, with what it does to the command."""
    return click.option("--group-by", metavar="COLUMN|PATTERN", help=words)
