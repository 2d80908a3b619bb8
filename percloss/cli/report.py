"""``percloss report``: files in, one page to listen to and read out; the work is done in ``percloss.report``."""

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from percloss.cli import INTERRUPTED, debugging, emit, options

if TYPE_CHECKING:
    from percloss.report.look import Interferers, Look
    from percloss.report.study import Study
    from percloss.scoring.engine import Recipe, Scored
    from percloss.scoring.pairing import Pair

MISSING = 3


@click.command(cls=options.Scoring)
@click.argument("est", nargs=-1, required=True, metavar="EST...")
@click.option("--ref", required=True, metavar="PATH", help="The reference: a folder, or one file.")
@click.option("--interferer", metavar="PATH", help="What should not be heard, for leakage: a folder, or one file.")
@options.mix
@options.measures
@options.resample
@options.trim
@options.mono
@click.option(
    "--items",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="How many to listen to, worst first.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=20.0,
    show_default=True,
    metavar="S",
    help="How much of each, around its worst second.",
)
@click.option("--lossless", is_flag=True, help="Keep long sounds in FLAC, not MP3: a larger page.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="percloss-report.html",
    show_default=True,
    metavar="FILE",
    help="The page.",
)
@options.json
@options.jobs
@options.device
@options.quiet
@click.pass_context
def report(
    context: click.Context,
    /,
    est: tuple[str, ...],
    ref: str,
    interferer: str | None,
    mix: str | None,
    measures: tuple[str, ...] | None,
    resample: Any,
    trim: bool,
    mono: bool,
    items: int,
    seconds: float,
    lossless: bool,
    output: Path,
    as_json: bool,
    jobs: int | None,
    device: str,
    quiet: bool,
) -> int:
    """Write a page to listen to estimates EST, see where their errors are heard, and read of what kind they are.

    EST are folders, each a system, or files; they are paired with the reference as percloss score pairs them. The page
    is one file that needs no network: players that switch in step, spectrograms, the error against what the reference
    masks, artefacts in plain words, and all measures, over a folder with intervals and each system against the first.

    \b
    percloss report enhanced.wav --ref clean.wav
    percloss report vocals.wav --ref truth/vocals.wav --interferer truth/rest.wav --mix mix.wav
    percloss report old/ new/ --ref clean/ -m si_sdr,pesq_wb --items 6 -o systems.html --json

    Files that could not be scored are named, and the rest goes on: exit 3, as where a measure that -m names has no
    value somewhere.
    """  # noqa: D301  click's mark of a paragraph not to be wrapped is one character, and no backslash
    from percloss._optional import require
    from percloss.cli.messages import say
    from percloss.report.look import paired_files, taken, with_diagnostics
    from percloss.report.study import Study
    from percloss.scoring.engine import Recipe, plan
    from percloss.scoring.output import check_output

    for module, extra in (("soundfile", "audio"), ("matplotlib", "report"), ("jinja2", "report")):
        require(module, extra=extra)
    check_output(output, (".html",))
    every = measures == (options.ALL,)
    named = () if every or measures is None else measures
    asked = Recipe(measures=named or None, every=every, resample=resample, trim=trim, mono=mono, device=device)
    pairs, interferers = paired_files(est, ref, mix, interferer)
    plan(asked, pairs)
    recipe = with_diagnostics(asked)
    command = ["percloss", *sys.argv[1:]]
    try:
        with _progress(quiet=quiet) as start:
            results = _score(pairs, recipe, jobs, start("scoring", len(pairs)))
            looks = _look(results, recipe, interferers, start("listening", len(pairs)))
            study = Study(results, looks, taken(results, asked), interferers, items, seconds, lossless)
            if looks:
                advance = start("writing", len(study.chosen))
                try:
                    study.write(output, shlex.join(command), lambda: advance(True))
                except OSError as error:
                    from percloss.cli import Refused

                    reason = error.strerror or str(error)
                    raise Refused(f"{output}: cannot be written ({reason}); type -o FILE with one that can.") from error
    except KeyboardInterrupt:
        say("interrupted", "nothing was written")
        return INTERRUPTED
    found = {**study.as_dict(command), "report": None if not looks else str(output)}
    if as_json:
        from percloss.scoring.output import json_text

        emit(json_text(found) + "\n")
    elif looks:
        _print(study, output)
    _explain(results, found, named, quiet=quiet, debug=debugging(context))
    if not looks:
        say("failed", "nothing could be scored, and no page was written")
    lacking = any(name in scored.reasons for scored in results for name in named)
    return MISSING if lacking or any(scored.error is not None for scored in results) else 0


def _score(
    pairs: "Sequence[Pair]", recipe: "Recipe", jobs: int | None, advance: Callable[[bool], None]
) -> "list[Scored]":
    from percloss.scoring.workers import score

    done = {}
    for index, scored in score(pairs, recipe, jobs=jobs):
        done[index] = scored
        advance(scored.error is None)
    return [done[index] for index in sorted(done)]


def _look(
    results: "Sequence[Scored]", recipe: "Recipe", interferers: "Interferers", advance: Callable[[bool], None]
) -> "dict[int, Look]":
    from percloss.errors import PerclossError
    from percloss.report.look import look

    found = {}
    for index, scored in enumerate(results):
        if scored.error is None:
            pair = scored.pair
            try:
                found[index] = look(scored, recipe, interferers.get((pair.system, pair.name)))
            except PerclossError as error:
                scored.error = str(error)
        advance(scored.error is None)
    return found


def _explain(
    results: "Sequence[Scored]", found: Mapping[str, Any], named: Sequence[str], *, quiet: bool, debug: bool
) -> None:
    """What is to be said on stderr: of measures that nobody named, nothing that is not in the page."""
    from dataclasses import replace

    from percloss.cli import messages

    messages.missing(
        replace(scored, reasons={name: why for name, why in scored.reasons.items() if name in named})
        for scored in results
    )
    messages.report(dict(found), quiet=quiet)
    for scored in results:
        if debug and scored.trace:
            click.echo(scored.trace, err=True)


def _print(study: "Study", output: Path) -> None:
    from percloss.scoring.audio import shown

    for name in study.chosen:
        for system, sentence in study.sentences(name).items():
            click.echo(f"{shown(name)}{'' if len(study.systems) == 1 else f', {shown(system)}'}: {sentence}")
    click.echo(f"report: {shown(str(output))} ({output.stat().st_size / 1e6:.1f} MB)")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, int], Callable[[bool], None]]]:
    """How far each of the steps is, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from percloss.cli.terminal import console, plain

    if quiet or plain(sys.stderr):
        yield lambda step, total: lambda ok: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failed = TextColumn("{task.fields[bad]}")
    with Progress(*columns, failed, console=console(sys.stderr), transient=True) as bar:

        def start(step: str, total: int) -> Callable[[bool], None]:
            task, bad = bar.add_task(step, total=total, bad=""), 0

            def advance(ok: bool) -> None:
                nonlocal bad
                bad += not ok
                bar.update(task, advance=1, bad=f"{bad} failed" if bad else "")

            return advance

        yield start
