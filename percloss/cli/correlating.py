"""One run of ``percloss correlate``: ratings in, scores made or found, correlations printed and written."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import percloss
from percloss._optional import require
from percloss.cli import INTERRUPTED, emit
from percloss.cli.messages import say
from percloss.cli.options import ALL
from percloss.cli.terminal import console, plain, table
from percloss.errors import ArgumentError
from percloss.listening.correlation import Analysed, analyse, predictions
from percloss.listening.output import HEADS, LEGEND, parquet, rows, tsv, verdict
from percloss.listening.page import describe, page
from percloss.listening.rated import RatedSet, Stimulus
from percloss.listening.scores import Scoring
from percloss.listening.seed import document as seed_document
from percloss.listening.seed import sentences, table_text
from percloss.listening.sets import SETS, open_set
from percloss.listening.table import read_table
from percloss.scoring import USUAL
from percloss.scoring.audio import shown
from percloss.scoring.output import json_text, write_output

__all__ = ["Options", "run", "run_seed_paper"]

MISSING = 3
# Taken beside the usual measures where interferers are known: of these listening tests have asked.
_SEPARATION = ("bss_sir", "bss_sar")
# What percloss.scoring.screening finds, in words.
_KINDS = {
    "delay": "a delay against the reference",
    "polarity": "the opposite polarity of the reference",
    "level": "another level than the reference's",
    "offset": "a constant offset",
    "cut": "more than a tenth of one of the two cut away",
    "nonfinite": "samples that are NaN or infinite",
    "silence": "silence",
    "swapped_channels": "left and right swapped",
}
# Messages of one kind that are printed; JSON has all of them.
_MOST = 20
# Files of one message that are named.
_FIRST = 3


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was typed, by the names of the options."""

    root: str | None
    measures: tuple[str, ...] | None
    scale: str | None
    align: bool
    out: str | None
    parquet: bool
    cache: str | None
    as_json: bool
    jobs: int | None
    quiet: bool
    command: Sequence[str]
    debug: bool

    @property
    def named(self) -> tuple[str, ...] | None:
        """The measures, where they were named and are not just all."""
        return None if self.measures == (ALL,) else self.measures


def run(rated: str, options: Options) -> int:
    """Read, score, correlate, print, write; returns the exit code."""
    out = _folder(options.out)
    if out is not None:  # before the scoring, which takes the time
        require("matplotlib", extra="report")
    if options.parquet:
        require("pyarrow", extra="table")
    found = _opened(rated, options)
    chosen = [stimulus for stimulus in found.stimuli if stimulus.role == "stimulus"]
    scoring, complete = _scored(found, chosen, options)
    problems = [*found.problems, *scoring.problems, *_reasons(scoring)]
    if not complete:
        say("interrupted", "the scores that were made are kept; the same command goes on")
        return INTERRUPTED
    tests = _analysed(found, options, scoring)
    document: dict[str, Any] = {
        "percloss": percloss.__version__,
        "schema": 1,
        "command": [shown(word) for word in options.command],
        "sets": {name: test.found for name, test in tests.items()},
        "problems": problems,
        "left_out": scoring.left_out,
        "mended": {kind: len(files) for kind, files in scoring.mended.items()},
        "found": {kind: len(files) for kind, files in scoring.found.items()},
    }
    if out is not None:
        _write(out, tests, document, columns=options.parquet)
    if options.as_json:
        emit(json_text(document) + "\n")
    elif sys.stdout.isatty():
        _print(console(), document["sets"])
    else:
        emit(tsv(document["sets"]))
    if not options.quiet:
        _lines("warning", _warnings(scoring, aligned=options.align))
    _lines("missing", problems)
    if options.debug:
        _lines("signature", list(scoring.signatures.values()))
    nothing = all(test.found["best"] is None for test in tests.values())
    return MISSING if problems or nothing else 0


def run_seed_paper(options: Options) -> int:
    """What the tables of the paper say, which are of five models."""
    out, found = _folder(options.out), seed_document()
    text = f"{table_text()}\n\n{' '.join(sentences())}\n"
    if out is not None:
        write_output(out / "correlation.json", (json_text(found) + "\n").encode())
        write_output(out / "correlation.txt", text.encode())
    emit(json_text(found) + "\n" if options.as_json else text)
    return 0


def _opened(rated: str, options: Options) -> RatedSet:
    """The set or table, of the scale that was asked for."""
    if rated in SETS:
        root = options.root or os.path.join(os.environ.get("PERCLOSS_DATA", ""), rated)
        if not Path(root).is_dir():
            raise ArgumentError(f"{rated}: there is no folder {root}; needed is the folder of the set: --root DIR.")
        found = open_set(rated, root)
    elif Path(rated).suffix or Path(rated).exists():
        found = read_table(rated, options.root)
    else:
        raise ArgumentError(f"set: got {rated!r}; known are {', '.join(SETS)}, or give a table: ratings.csv.")
    if options.scale is None:
        return found
    if options.scale not in found.scales:
        named = ", ".join(scale or "(none)" for scale in found.scales)
        raise ArgumentError(f"--scale: got {options.scale!r}; {rated} has {named}.")
    return found.of_scale(options.scale)


def _scored(found: RatedSet, chosen: Sequence[Stimulus], options: Options) -> tuple[Scoring, bool]:
    """All scores, and whether they are all there; Ctrl-C ends it early."""
    published = {name for stimulus in chosen for name in stimulus.published}
    measures: Sequence[str] | None = (*USUAL, *_SEPARATION)
    if options.named:
        measures = [name for name in options.named if name not in published]
    elif not any(stimulus.est for stimulus in chosen):
        measures = ()
    elif options.measures:
        measures = None
    scoring = Scoring(
        chosen,
        measures,
        cache=_cache(options.cache),
        name=found.name,
        align=options.align,
        jobs=options.jobs,
        strict=options.named is not None,
    )
    try:
        with _progress("scoring", quiet=options.quiet) as advance:
            for done, total in scoring.run():
                advance(done, total)
    except KeyboardInterrupt:
        return scoring, False
    return scoring, True


def _analysed(found: RatedSet, options: Options, scoring: Scoring) -> dict[str, Analysed]:
    tests = {}
    with _progress("correlating", quiet=options.quiet) as advance:
        named = found.tests()
        for position, (name, stimuli) in enumerate(named.items()):
            judged = [stimulus for stimulus in stimuli if stimulus.role == "stimulus"]
            columns = predictions(found, judged, options.named, scoring)
            if judged and columns:
                tests[name] = analyse(name, found, judged, columns)
            advance(position + 1, len(named))
    if not tests:
        published = dict.fromkeys(name for stimulus in found.stimuli for name in stimulus.published)
        why = "; ".join([*scoring.problems, *_reasons(scoring)][:_FIRST]) or (
            f"Needed are some of those published with it: {', '.join(published)}"
            if published
            else "It holds references and anchors only"
        )
        raise ArgumentError(f"{found.name}: no measure has a value. {why}.")
    return tests


def _write(out: Path, tests: Mapping[str, Analysed], document: Mapping[str, Any], *, columns: bool) -> None:
    text = io.StringIO()
    wide = Console(file=text, width=140, color_system=None, highlight=False, markup=False, emoji=False)
    _print(wide, document["sets"])
    write_output(out / "correlation.txt", text.getvalue().encode())
    write_output(out / "correlation.json", (json_text(document) + "\n").encode())
    write_output(out / "correlation.html", page(tests, document).encode())
    if columns:
        write_output(out / "correlation.parquet", parquet(tests, document))


def _print(out: Console, sets: Mapping[str, Mapping[str, Any]]) -> None:
    """A table a test, and in words what the data can tell."""
    for name, found in sets.items():
        out.print(name, style="bold", soft_wrap=True)
        out.print(f"{', '.join(describe(found))}\n", style="dim")
        lines = list(rows(found))
        widths = [max(len(cell) for cell in column) + 2 for column in zip(HEADS, *lines, strict=True)]
        # Where the window is narrow, the levels go that the pooled one is read with, from the right.
        kept = list(range(len(HEADS)))
        for head in ("p", "PLCC fit", "in content", "systems", "in system"):
            if sum(widths[at] for at in kept) > out.width:
                kept.remove(HEADS.index(head))
        sheet = table(*((HEADS[at], "right" if at else "left") for at in kept))
        for line in lines:
            sheet.add_row(*(line[at] for at in kept))
        out.print(sheet)
        out.print()
        for sentence in [*verdict(found), *found["notes"]]:
            out.print(sentence, style="dim")
        out.print()
    out.print(LEGEND, style="dim")


def _folder(name: str | None) -> Path | None:
    if name is None:
        return None
    try:
        Path(name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"--out: {name} cannot be made ({error.strerror}); give a folder.") from error
    return Path(name)


def _cache(name: str | None) -> Path:
    if name is not None:
        return Path(name)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "percloss" / "correlate"


def _reasons(scoring: Scoring) -> list[str]:
    """Scores that were to be and are not, by measure and reason."""
    found = []
    for name, whys in scoring.reasons.items():
        for why, files in whys.items():
            rest = f" and {len(files) - _FIRST} more" if len(files) > _FIRST else ""
            found.append(f"{name}: {why}: {', '.join(files[:_FIRST])}{rest}")
    return found


def _warnings(scoring: Scoring, *, aligned: bool) -> list[str]:
    hint = "" if aligned else "; --align undoes it"
    mended = [
        f"{_KINDS[kind]} was undone in {len(files)} of the recordings, such as {files[0]}"
        for kind, files in scoring.mended.items()
    ]
    return mended + [
        f"{_KINDS.get(kind, kind)} in {len(files)} of the recordings, such as {files[0]}"
        f"{hint if kind in ('delay', 'polarity') else ''}"
        for kind, files in scoring.found.items()
    ]


def _lines(kind: str, lines: Sequence[str]) -> None:
    for line in lines[:_MOST]:
        say(kind, line)
    if len(lines) > _MOST:
        say(kind, f"and {len(lines) - _MOST} more; --json names all of them")


@contextmanager
def _progress(words: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """How far it is and how long it will take, on a terminal."""
    if quiet or plain(sys.stderr):
        yield lambda done, total: None
        return
    count = (MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(TextColumn(words), BarColumn(), *count, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
