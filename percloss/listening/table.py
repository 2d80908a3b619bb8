"""Ratings as a table: the plain form that anybody can fill, and how the tables of published sets are read."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from percloss.errors import PairingError
from percloss.listening.rated import RatedSet, Stimulus, Vote, gathered, opinion
from percloss.scoring.audio import EXTENSIONS, shown

__all__ = ["Row", "joined", "number", "place", "rated", "read_rows", "read_table"]

_NEEDED = ("path", "score")
_DELIMITERS = ("\t", ";", ",", "|")
_FIRST = 3

Row = tuple[str, Mapping[str, str]]
"""Where a row stands, and its values by column."""


def read_table(path: str | Path, root: str | Path | None = None) -> RatedSet:
    """Read ratings from a table with the columns ``path``, ``ref`` and ``score``, and others where they are known.

    ``system`` and ``content`` say what made a recording and which song or sentence it is of; ``scale`` what was asked;
    ``ci95`` is half the width of the score's interval; ``mix`` and ``interferer`` are recordings. With a ``listener``
    each row is one rating, and their mean is the score. Columns may be separated by commas, semicolons, tabs or bars,
    and numbers written with a decimal comma. Other columns are not looked at.

    Args:
        path: Of the table, UTF-8.
        root: Folder that its paths are relative to; that of the table where it is not given.

    Raises:
        PairingError: It cannot be read, lacks a column, or none of its recordings is there.

    Example:
        >>> ratings = read_table("ratings.csv")  # doctest: +SKIP
    """
    path = Path(path)
    folder = path.parent if root is None else Path(root)
    rows = read_rows(path, needed=_NEEDED)
    problems: list[str] = []
    votes: list[Vote] = []
    found: dict[tuple[str, ...], Stimulus] = {}
    for where, row in rows:
        score, half = number(row["score"]), number(row.get("ci95", ""))
        if not row["path"] or math.isnan(score):
            problems.append(
                f"{where}: path is {row['path'] or 'empty'} and score {row['score'] or 'empty'}; needed are a "
                f"recording and a number"
            )
            continue
        key = (row["path"], row.get("scale", ""))
        if listener := row.get("listener"):
            votes.append(Vote(key, listener, score, where))
        elif key in found:
            problems.append(f"{where}: {row['path']} was rated above already; the first row counts")
        if key not in found:
            found[key] = Stimulus(
                score=score,
                where=where,
                est=str(folder / row["path"]),
                ref=_under(folder, row.get("ref")),
                mix=_under(folder, row.get("mix")),
                interferers=tuple(filter(None, [_under(folder, row.get("interferer"))])),
                interval=None if math.isnan(half) else half,
                system=row.get("system", ""),
                content=row.get("content", ""),
                scale=row.get("scale", ""),
            )
    ratings, doubtful = gathered(votes)
    stimuli = [rated(stimulus, ratings.get(key)) for key, stimulus in found.items()]
    rest, unjoined = joined(filter(None, stimuli), folder, shown(path))
    return RatedSet(name=path.stem, stimuli=tuple(rest), problems=(*problems, *doubtful, *unjoined))


def rated(stimulus: Stimulus, ratings: Mapping[str, float] | None) -> Stimulus | None:
    """A stimulus with its ratings and their mean; as it is without listeners, nothing if all were left out."""
    if ratings is None:
        return stimulus
    if not ratings:
        return None
    mean, half = opinion(ratings)
    return replace(stimulus, score=mean, interval=half, ratings=ratings)


def joined(stimuli: Iterable[Stimulus], root: Path, label: str) -> tuple[list[Stimulus], list[str]]:
    """Those whose recordings are all there, and what is wrong with the others and with recordings that nobody rated.

    Raises:
        PairingError: None of them is there; names the first of both sides.
    """
    stimuli = list(stimuli)
    kept, problems = [], []
    for stimulus in stimuli:
        missing = [path for path in stimulus.files if not Path(path).is_file()]
        if missing:
            problems.append(
                f"{stimulus.where}: {', '.join(map(shown, missing))}: there is no such file; check the path"
            )
        else:
            kept.append(stimulus)
    there = sorted(path for path in root.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not kept:
        wanted = _listed([shown(stimulus.est or "") for stimulus in stimuli])
        have = _listed([shown(path) for path in there])
        raise PairingError(
            f"{label}: none of its {len(stimuli)} recordings is there. The table names: {wanted or 'nothing'}. In "
            f"{shown(root)} lie: {have or 'no recordings'}. Needed are paths relative to a folder; give it: --root DIR."
        )
    used = {Path(path).resolve() for stimulus in stimuli for path in stimulus.files}
    problems += [f"{shown(path)}: nobody rated it; it is left out" for path in there if path.resolve() not in used]
    return kept, problems


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_FIRST]) + (f" and {len(names) - _FIRST} more" if len(names) > _FIRST else "")


def _under(folder: Path, name: str | None) -> str | None:
    return str(folder / name) if name else None


def read_rows(path: Path, *, needed: Sequence[str]) -> list[Row]:
    """Rows of a table below a line that names the columns, whatever separates them.

    Raises:
        PairingError: It cannot be read, holds no row, or lacks a column that is needed.
    """
    text = _text(path)
    head = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    lines: Iterator[dict[str | None, str | list[str] | None]] = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    try:
        rows = [
            {str(name).strip(): value.strip() for name, value in line.items() if isinstance(value, str)}
            for line in lines
        ]
    except csv.Error as error:
        raise PairingError(
            f"{shown(path)}: is no table ({error}); write a row a line, with a comma between."
        ) from error
    absent = [name for name in needed if not rows or name not in rows[0]]
    if absent:
        has = ", ".join(part.strip() for part in head.split(delimiter)) or "nothing"
        raise PairingError(
            f"{shown(path)}: has {has} and {len(rows)} rows below; needed are rows with the columns "
            f"{', '.join(needed)}, named in the first line."
        )
    return [(f"{path.name}, line {line}", {**dict.fromkeys(needed, ""), **row}) for line, row in enumerate(rows, 2)]


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PairingError(f"{shown(path)}: cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        where = f"{error.reason} at byte {error.start}"
        raise PairingError(f"{shown(path)}: is no UTF-8 text ({where}); save it as UTF-8.") from error


def number(text: str) -> float:
    """A number, with a decimal point or comma; nan where there is none."""
    text = text.strip()
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def place(root: Path, *needed: str) -> Path:
    """The folder of a published set, if it holds what it should.

    Raises:
        PairingError: It does not.
    """
    absent = [name for name in needed if not (root / name).exists()]
    if absent:
        raise PairingError(
            f"{shown(root)}: holds no {', '.join(absent)}; needed is the folder of the set as it is published: "
            f"--root DIR."
        )
    return root
