"""Pairs from a list: a table or JSON lines with the columns est, ref and, where wanted, mix and system."""

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from percloss.errors import PairingError
from percloss.scoring.audio import shown
from percloss.scoring.pairing import Pair

__all__ = ["read_pairs"]

COLUMNS = ("est", "ref", "mix", "system")


def read_pairs(source: str, *, group_by: str | None = None) -> list[Pair]:
    """Read a list of pairs.

    Tab-separated, comma-separated or JSON lines, told apart by the first line; the first two begin with the names of
    the columns. Other columns than the four and ``group_by`` are not looked at. Paths are relative to the folder the
    list lies in.

    Args:
        source: A file, or ``-`` for the standard input, whose paths are relative to the working folder.
        group_by: A column that says which group a pair is of, where there is one of this name.

    Raises:
        PairingError: It cannot be read, or a line lacks an estimate or a reference.
    """
    label = "standard input" if source == "-" else shown(source)
    folder = Path() if source == "-" else Path(source).parent
    system = "stdin" if source == "-" else Path(source).stem
    pairs = []
    columns = (*COLUMNS, group_by) if group_by else COLUMNS
    for number, row in _rows(_text(source, label), label, columns):
        for column in ("est", "ref"):
            if not row.get(column):
                raise PairingError(
                    f"{label}, line {number}: has {', '.join(row) or 'nothing'} and no value for {column}; needed are "
                    f"columns est and ref, and where wanted mix and system, named in the first line."
                )
        est, ref, mix = (str(folder / row[column]) if row.get(column) else None for column in ("est", "ref", "mix"))
        name = Path(row["est"]).with_suffix("").as_posix()
        group = row.get(group_by) if group_by else None
        pairs.append(
            Pair(system=row.get("system") or system, name=name, est=est, ref=ref, mix=mix, group=group or None)
        )
    if not pairs:
        raise PairingError(f"{label}: holds no pair; needed is one a line, below a line with the names est and ref.")
    return pairs


def _text(source: str, label: str) -> str:
    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise PairingError(f"{label}: cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        where = f"{error.reason} at byte {error.start}"
        raise PairingError(f"{label}: is no UTF-8 text ({where}); save it as UTF-8.") from error


def _rows(text: str, label: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows with their line numbers."""
    first = text.partition("\n")[0]
    if first.lstrip().startswith("{"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, _object(line, f"{label}, line {number}", columns)
        return
    try:
        reader = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in first else ",", strict=True)
        for row in reader:
            yield reader.line_num, {name.strip(): value or "" for name, value in row.items() if isinstance(name, str)}
    except csv.Error as error:
        raise PairingError(f"{label}: is no table ({error}); write a pair a line, with a tab between.") from error


def _object(line: str, where: str, columns: Sequence[str]) -> dict[str, str]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise PairingError(f'{where}: is no JSON ({error}); needed is {{"est": "a.wav", "ref": "b.wav"}}.') from error
    named = {name: row[name] for name in columns if row.get(name)} if isinstance(row, dict) else {"": row}
    # A group may be called by a number.
    named = {name: str(x) if name not in COLUMNS and isinstance(x, (int, float)) else x for name, x in named.items()}
    if not all(isinstance(value, str) for value in named.values()):
        raise PairingError(f'{where}: got {line[:80]}; needed is text by name, as {{"est": "a.wav", "ref": "b.wav"}}.')
    return named
