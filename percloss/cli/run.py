"""One run of ``percloss score`` or ``compare``: pairs in, results kept as they come, printed, written, judged."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import percloss
from percloss.cli import INTERRUPTED, emit
from percloss.cli.messages import left_out, missing, report, say
from percloss.cli.options import ALL
from percloss.cli.terminal import console, plain, print_comparison, print_results
from percloss.errors import ArgumentError
from percloss.measure import find
from percloss.scoring.audio import shown
from percloss.scoring.comparison import comparison, comparison_table
from percloss.scoring.document import Document, document, tidy
from percloss.scoring.engine import Recipe, Scored, plan
from percloss.scoring.grouping import grouped
from percloss.scoring.journal import Journal
from percloss.scoring.manifest import read_pairs
from percloss.scoring.museval import tracks, write_track
from percloss.scoring.output import FORMATS, check_output, json_text, tsv, write_output
from percloss.scoring.pairing import Pair, pair_up
from percloss.scoring.workers import score

__all__ = ["Options", "run", "run_comparison"]

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
    group_by: str | None
    as_json: bool
    output: Sequence[str]
    museval: str | None
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
        every = self.measures == (ALL,)
        return Recipe(
            measures=None if every else self.measures,
            every=every,
            resample=self.resample,
            trim=self.trim,
            mono=self.mono,
            device=self.device,
        )


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What a command makes of the results, and how it shows it."""

    document: Callable[[Sequence[Scored], bool], Document]
    formats: Mapping[str, Callable[[Document, Sequence[Scored]], bytes]]
    table: Callable[[Document], str]
    show: Callable[[Document], None]


def run(options: Options) -> int:
    """Score, print, write; returns the exit code."""
    recipe = options.recipe
    for name in options.require:
        find(name)
        if name not in recipe.names:
            wanted = ",".join([*recipe.names, name])
            raise ArgumentError(f"--require: got {name}, which is not scored; type -m {wanted}.")
    if options.ref is None and options.pairs is None:
        _check_alone(recipe.names)

    def made(results: Sequence[Scored], complete: bool) -> Document:
        return document(
            results,
            recipe,
            complete=complete,
            command=options.command,
            required=options.require,
            group_by=options.group_by,
        )

    def written(suffix: str) -> Callable[[Document, Sequence[Scored]], bytes]:
        return lambda found, results: FORMATS[suffix](found, tidy(results, recipe))

    formats = {suffix: written(suffix) for suffix in FORMATS}
    stems = tracks(_pairs(options)) if options.museval else {}
    if options.museval and not stems:
        raise ArgumentError("--museval: got files without tracks; needed are folders of stems: track/stem.wav.")
    found, code = _carry_out(options, _Kind(document=made, formats=formats, table=tsv, show=print_results))
    if code != INTERRUPTED and not _write_tracks(stems, options):
        code = MISSING
    if code != INTERRUPTED and not all(check["passed"] for check in found["checks"]):
        return CHECK_FAILED
    return code


def _check_alone(names: Sequence[str]) -> None:
    """See that all these measures do without a reference."""
    alone = [name for name in names if find(name).spec.alone]
    others = [name for name in names if name not in alone]
    if others:
        without = f", or leave them out: -m {','.join(alone)}" if alone else ""
        raise ArgumentError(
            f"score: got no reference, which {', '.join(others)} need{'s' if len(others) == 1 else ''}; type "
            f"--ref PATH{without}."
        )


def _write_tracks(stems: Mapping[str, Sequence[Pair]], options: Options) -> bool:
    """Whether every track could be judged; each that could not is named."""
    faults = [write_track(Path(options.museval or ""), name, own, options.recipe) for name, own in stems.items()]
    for fault in filter(None, faults):
        say("error", fault)
    return not any(faults)


def run_comparison(options: Options) -> int:
    """Score two systems, compare them, print, write; returns the exit code."""
    recipe = options.recipe
    for path, role in [*((path, "estimates") for path in options.est), (options.ref or "", "references")]:
        if Path(path).exists() and not Path(path).is_dir():
            raise ArgumentError(
                f"compare: got {shown(path)}, one file; needed is a folder of {role}. For single files type "
                f"percloss score."
            )

    def made(results: Sequence[Scored], complete: bool) -> Document:
        return comparison(results, recipe, complete=complete, command=options.command, group_by=options.group_by)

    kind = _Kind(
        document=made,
        formats={
            ".json": lambda found, _: (json_text(found) + "\n").encode(),
            ".csv": lambda found, _: comparison_table(found, ",").encode(),
        },
        table=lambda found: comparison_table(found, "\t"),
        show=print_comparison,
    )
    return _carry_out(options, kind)[1]


def _carry_out(options: Options, kind: _Kind) -> tuple[Document, int]:
    """Score what was asked for, print and write what the command makes of it; the exit code but for checks."""
    recipe, outputs = options.recipe, [Path(name) for name in options.output]
    for path in outputs:
        check_output(path, kind.formats)
    pairs = _pairs(options)
    settings = {"percloss": percloss.__version__, "recipe": asdict(recipe), "measures": plan(recipe, pairs)}
    with _journal(outputs, settings, resume=options.resume) as journal:
        done, complete = _score(pairs, recipe, options, journal)
        results = [done[index] for index in sorted(done)]
        found = kind.document(results, complete)
        failure = ""
        if complete and journal:
            try:
                for path in outputs:
                    write_output(path, kind.formats[path.suffix.lower()](found, results))
                journal.discard()
            except ArgumentError as error:
                failure = f"{error} All results are kept in {shown(str(journal.path))}: --resume writes them."
    try:
        _print(found, kind, as_json=options.as_json)
    finally:
        _explain(results, found, options, total=len(pairs))
    if failure:
        raise ArgumentError(failure)
    if not complete:
        return found, INTERRUPTED
    missing_some = any(scored.error is not None or scored.reasons for scored in results)
    return found, MISSING if missing_some else 0


def _pairs(options: Options) -> list[Pair]:
    if options.pairs:
        pairs = read_pairs(options.pairs, group_by=options.group_by)
    else:
        pairs = pair_up(options.est, options.ref, options.mix)
    return grouped(pairs, options.group_by) if options.group_by is not None else pairs


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
    # The group is of this run.
    done = {index: replace(kept[pair], pair=pair) for index, pair in enumerate(pairs) if pair in kept}
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


def _print(found: Document, kind: _Kind, *, as_json: bool) -> None:
    if as_json:
        emit(json_text(found) + "\n")
    elif sys.stdout.isatty():
        kind.show(found)
    else:
        emit(kind.table(found))


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
