"""One run of ``percloss score``: pairs in, results kept as they come, printed, written, judged."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import percloss
from percloss.cli import INTERRUPTED, emit
from percloss.cli.messages import left_out, missing, report, say
from percloss.cli.terminal import console, plain, print_results
from percloss.errors import ArgumentError
from percloss.measure import find
from percloss.scoring.audio import shown
from percloss.scoring.document import Document, document, tidy
from percloss.scoring.engine import Recipe, Scored, plan
from percloss.scoring.journal import Journal
from percloss.scoring.manifest import read_pairs
from percloss.scoring.output import check_output, json_text, tsv, write_output
from percloss.scoring.pairing import Pair, pair_up
from percloss.scoring.workers import score

__all__ = ["Options", "run"]

CHECK_FAILED, MISSING = 1, 3


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was typed, by the names of the options."""

    est: Sequence[str]
    ref: str | None
    mix: str | None
    pairs: str | None
    measures: tuple[str, ...] | None
    resample: Any
    trim: bool
    mono: bool
    as_json: bool
    output: Sequence[str]
    resume: bool
    require: Mapping[str, float]
    jobs: int | None
    device: str
    quiet: bool
    debug: bool
    command: Sequence[str]

    @property
    def recipe(self) -> Recipe:
        """The part of it that decides the numbers."""
        return Recipe(
            measures=self.measures, resample=self.resample, trim=self.trim, mono=self.mono, device=self.device
        )


def run(options: Options) -> int:
    """Score, print, write; returns the exit code."""
    recipe, outputs = options.recipe, [Path(name) for name in options.output]
    for name in options.require:
        find(name)
        if name not in recipe.names:
            wanted = ",".join([*recipe.names, name])
            raise ArgumentError(f"--require: got {name}, which is not scored; type -m {wanted}.")
    for path in outputs:
        check_output(path)
    pairs = read_pairs(options.pairs) if options.pairs else pair_up(options.est, options.ref or "", options.mix)
    settings = {"percloss": percloss.__version__, "recipe": asdict(recipe), "measures": plan(recipe, pairs)}
    with _journal(outputs, settings, resume=options.resume) as journal:
        done, complete = _score(pairs, recipe, options, journal)
        results = [done[index] for index in sorted(done)]
        found = document(results, recipe, complete=complete, command=options.command, required=options.require)
        failure = ""
        if complete and journal:
            try:
                rows = tidy(results, recipe)
                for path in outputs:
                    write_output(path, found, rows)
                journal.discard()
            except ArgumentError as error:
                failure = f"{error} All results are kept in {shown(str(journal.path))}: --resume writes them."
    try:
        _print(found, as_json=options.as_json)
    finally:
        _explain(results, found, options, total=len(pairs))
    if failure:
        raise ArgumentError(failure)
    if not complete:
        return INTERRUPTED
    if not all(check["passed"] for check in found["checks"]):
        return CHECK_FAILED
    return MISSING if any(scored.error is not None or scored.reasons for scored in results) else 0


def _journal(
    outputs: Sequence[Path], settings: Mapping[str, Any], *, resume: bool
) -> AbstractContextManager[Journal | None]:
    """Beside the first output, if there is one."""
    if not outputs:
        return nullcontext()
    return Journal(Path(f"{outputs[0]}.journal.jsonl"), settings, resume=resume)


def _score(
    pairs: Sequence[Pair], recipe: Recipe, options: Options, journal: Journal | None
) -> tuple[dict[int, Scored], bool]:
    """Results by position, and whether they are all there; Ctrl-C ends it early."""
    kept = journal.kept if journal else {}
    done = {index: kept[pair] for index, pair in enumerate(pairs) if pair in kept}
    left = [index for index in range(len(pairs)) if index not in done]
    if options.resume:
        say("resumed", f"{len(done)} of {len(pairs)} were scored before")
    try:
        with _progress(len(pairs), len(done), quiet=options.quiet) as advance:
            for position, scored in score([pairs[index] for index in left], recipe, jobs=options.jobs):
                done[left[position]] = scored
                if journal:
                    journal.add(scored)
                advance(scored)
    except KeyboardInterrupt:
        return done, False
    return done, True


@contextmanager
def _progress(total: int, done: int, *, quiet: bool) -> Iterator[Any]:
    """How far it is, on a terminal."""
    if quiet or total < 2 or plain(sys.stderr):
        yield lambda scored: None
        return
    count = (MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[bad]}"))
    failed = 0
    with Progress(TextColumn("scoring"), BarColumn(), *count, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=total, completed=done, bad="")

        def advance(scored: Scored) -> None:
            nonlocal failed
            failed += scored.error is not None
            bar.update(task, advance=1, bad=f"{failed} failed" if failed else "")

        yield advance


def _print(found: Document, *, as_json: bool) -> None:
    if as_json:
        emit(json_text(found) + "\n")
    elif sys.stdout.isatty():
        print_results(found)
    else:
        emit(tsv(found))


def _explain(results: Sequence[Scored], found: Document, options: Options, *, total: int) -> None:
    if not options.quiet:
        left_out(results)
    missing(results)
    report(found, quiet=options.quiet)
    if options.debug:
        for scored in results:
            if scored.trace:
                click.echo(scored.trace, err=True)
    if not found["complete"]:
        how = "the same command with --resume goes on" if options.output else "with -o FILE, --resume could go on"
        where = f", kept in {shown(options.output[0])}.journal.jsonl" if options.output else ""
        say("interrupted", f"{len(results)} of {total} done{where}; {how}")
