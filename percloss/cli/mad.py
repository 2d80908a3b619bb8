"""``percloss mad``: a table on stdout, the pair in a folder; the work is done in ``percloss.mad``."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import percloss
from percloss.cli import INTERRUPTED, Refused, emit, options

if TYPE_CHECKING:
    from percloss.mad import Judged, Pair, Step

CLIP = "librivox_0890"
MISSING = 3
ROWS = {"start": "noise to set out from", "lowest": "lowest", "highest": "highest"}


def _held(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, float]:
    name, _, level = value.partition("=")
    try:
        return name.strip(), float(level)
    except ValueError:
        raise click.BadParameter(f"got {value!r}; needed is a measure and its level, such as --fix snr=15.") from None


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


@click.command()
@click.argument("ref", metavar="[REF]", required=False)
@click.option(
    "--fix", "held", default="snr=15", show_default=True, metavar="NAME=LEVEL", callback=_held, help="What is held."
)
@click.option("--synth", default="compressive_nmr", show_default=True, metavar="NAME", help="What is driven.")
@click.option("--judges", metavar="NAMES", callback=_names, help="Who judges. [pesq_wb,two_f,stoi]")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="percloss-mad",
    show_default=True,
    help="Folder to write the pair to.",
)
@click.option("--start", type=click.FloatRange(min=0), default=0.0, metavar="S", help="Where in the file to begin. [0]")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=3.0, metavar="S", help="How much to take. [3]"
)
@click.option("--steps", type=click.IntRange(min=1), default=150, show_default=True, help="For each side.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise.")
@options.json
@options.quiet
def mad(
    ref: str | None,
    held: tuple[str, float],
    synth: str,
    judges: tuple[str, ...] | None,
    out: Path,
    start: float,
    seconds: float,
    steps: int,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Make two versions of a recording that one measure calls equal, as far apart as another can tell.

    One measure is held at a level while the other is driven to its lowest and to its highest. Measures that took no
    part say what they make of the pair; listen to it, and hear what the first does not. Without REF a recording from
    inside the package is taken.

    \b
    percloss mad
    percloss mad voice.wav --fix snr=15 --synth nmr --out pair
    percloss mad voice.wav --fix compressive_nmr=10 --synth si_sdr --json
    """  # noqa: D301  click's mark of a paragraph not to be wrapped is one character, and no backslash
    import torch

    from percloss import mad as room
    from percloss._optional import require
    from percloss.cli.messages import say
    from percloss.errors import AudioFileError
    from percloss.scoring.audio import shown

    require("soundfile", extra="audio")
    # Short signals: more threads wait for each other, and make sums that differ from machine to machine.
    torch.set_num_threads(1)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Refused(f"{shown(out)}: cannot be written to ({reason}); type --out FOLDER with one that can.") from error
    try:
        wave, rate = _read(ref, start, seconds)
    except AudioFileError as error:
        say("error", str(error))
        return MISSING
    try:
        with _progress(quiet=quiet) as progress:
            pair = room.mad(
                wave, rate, fixed=held[0], level=held[1], synth=synth, steps=steps, seed=seed, progress=progress
            )
        judged = room.judge(pair, room.JUDGES if judges is None else judges)
        context = {
            "percloss": percloss.__version__,
            "reference": CLIP if ref is None else shown(ref),
            "start": start,
            "steps": steps,
            "seed": seed,
        }
        files = room.write(out, pair, judged, **context)
    except KeyboardInterrupt:
        say("interrupted", "nothing was written")
        return INTERRUPTED
    if not quiet:
        for name, why in judged.left_out.items():
            say("left out", f"{name}: {why}")
        for side, why in pair.ended.items():
            if why == "bound":
                say(side, f"{pair.synth} can go no further; it was left there")
    if as_json:
        found = {**context, **room.as_dict(pair, judged), "files": [shown(path) for path in files]}
        emit(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        _print(pair, judged, out)
    return 0


def _read(ref: str | None, start: float, seconds: float) -> "tuple[Any, int]":
    from percloss.data import clip
    from percloss.errors import ArgumentError
    from percloss.scoring.audio import read

    wave, rate = clip(CLIP) if ref is None else read(ref)[:2]
    cut = wave[..., round(start * rate) : round((start + seconds) * rate)]
    if cut.shape[-1] == 0:
        raise ArgumentError(
            f"mad: --start {start:g} came for a recording of {wave.shape[-1] / rate:.1f} s; a place inside is needed; "
            f"type --start 0."
        )
    return cut, rate


@contextmanager
def _progress(*, quiet: bool) -> "Iterator[Callable[[Step], None]]":
    """How far it is: a bar on a terminal, else one line for each side."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from percloss.cli.messages import say
    from percloss.cli.terminal import console, plain

    if quiet:
        yield lambda step: None
        return
    if plain(sys.stderr):

        def told(step: "Step") -> None:
            if step.step == step.steps:
                say(step.side, f"{step.value:.4g} after {step.steps} steps")

        yield told
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[at]}"), console=console(sys.stderr), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def advance(step: "Step") -> None:
            if step.side not in tasks:
                tasks[step.side] = bar.add_task(step.side, total=step.steps, at="")
            bar.update(tasks[step.side], completed=step.step, at=f"{step.value:.4g}")

        yield advance


def _print(pair: "Pair", judged: "Judged", out: Path) -> None:
    from percloss.cli.terminal import console, table
    from percloss.measure import find
    from percloss.scoring.audio import shown
    from percloss.scoring.page import figures

    screen = console()
    title = f"{pair.fixed} held at {pair.level:g}, {pair.synth} driven, judged by what took no part"
    screen.print(title, style="bold")
    rows = table("version")
    names = [pair.fixed, pair.synth, *judged.scores]
    heads = {name: find(name).spec for name in names}
    for name in names:
        rows.add_column(f"{name}\n{heads[name].head}", justify="right", no_wrap=True, vertical="bottom")
    columns = []
    for name in names:
        values = [pair.values[row].get(name, judged.scores.get(name, {}).get(row)) for row in ROWS]
        if name == pair.fixed:
            columns.append([f"{value:.3f}" for value in values])
        else:
            columns.append(figures(values))
    for index, label in enumerate(ROWS.values()):
        rows.add_row(label, *(column[index] for column in columns))
    rows.add_section()
    spreads = {pair.synth: pair.spread, **judged.spread}
    rows.add_row("apart", "0", *(figures([spreads[name]])[0] for name in names[1:]), style="dim")
    screen.print(rows)
    screen.print(f"\nlisten: {shown(out)}", soft_wrap=True)
