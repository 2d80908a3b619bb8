"""What a run has finished so far, a line a pair, so that nothing finished is lost and a run can be taken up again."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from io import BufferedRandom
from pathlib import Path
from typing import Any

from percloss.errors import ArgumentError
from percloss.scoring.audio import shown
from percloss.scoring.engine import Scored
from percloss.scoring.pairing import Pair

__all__ = ["Journal"]

VERSION = 1


class Journal:
    """A file of JSON lines: the settings of the run, then each pair with the size and time of its files and its result.

    Args:
        path: Of the journal.
        settings: What decides the numbers. A journal of other settings is not taken up.
        resume: Take up what is there.

    Attributes:
        kept: Results of an earlier run that still hold. A pair that could not be scored is tried again, and so is one
            whose files have changed since.

    Raises:
        ArgumentError: There is one and it is not to be taken up, or cannot be.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.kept: dict[Pair, Scored] = {}
        # As JSON gives it back: lists for tuples.
        header = json.loads(json.dumps({"journal": VERSION, **settings}))
        try:
            self._file: BufferedRandom = path.open("r+b" if path.exists() else "w+b")
        except OSError as error:
            name = shown(str(path))
            raise ArgumentError(f"{name}: cannot be written ({error.strerror}); check the folder.") from error
        lines = self._whole_lines()
        if lines and resume:
            self._compare(lines[0], header)
            latest = dict(filter(None, map(_result, lines[1:])))
            self.kept = {pair: scored for pair, scored in latest.items() if scored is not None}
        elif len(lines) > 1:
            self._file.close()
            raise ArgumentError(
                f"{shown(str(path))}: keeps {len(lines) - 1} results of a run that did not finish; "
                f"type --resume to take it up, or delete the file to begin again."
            )
        if not self.kept:
            self._file.seek(0)
            self._file.truncate()
            self._write(header)

    def _whole_lines(self) -> list[Any]:
        """Every line that was finished; what was torn off behind them is cut away."""
        lines, good = [], 0
        for line in self._file:
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
            if not line.endswith(b"\n"):
                lines.pop()
                break
            good += len(line)
        self._file.seek(good)
        self._file.truncate()
        return lines

    def _compare(self, theirs: Any, ours: Mapping[str, Any]) -> None:
        theirs = theirs if isinstance(theirs, dict) else {}
        for name, value in ours.items():
            if theirs.get(name) != value:
                self._file.close()
                raise ArgumentError(
                    f"{shown(str(self.path))}: is of a run with {_difference(name, theirs.get(name), value)}; "
                    f"give the same options as then, or delete the file to begin again."
                )

    def add(self, scored: Scored) -> None:
        """Keep a result; it is in the file when this returns."""
        if scored.pair.problem is None:
            self._write({"files": _stamps(scored.pair), "result": asdict(scored)})

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise ArgumentError(
                f"{shown(str(self.path))}: cannot be written ({error.strerror}); make room, and go on with --resume."
            ) from error

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *raised: object) -> None:
        """Stop, and leave the file for ``--resume``."""
        with suppress(OSError):  # a full disk has been named already
            self._file.close()

    def discard(self) -> None:
        """The results are written elsewhere: remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def _result(line: Any) -> tuple[Pair, Scored | None] | None:
    """A pair and its result, if that still holds; nothing if the line is not of a journal."""
    try:
        result = dict(line["result"])
        scored = Scored(**{**result, "pair": Pair(**result["pair"])})
        holds = scored.error is None and line["files"] == _stamps(scored.pair)
    except (KeyError, TypeError, ValueError):
        return None
    return scored.pair, scored if holds else None


def _stamps(pair: Pair) -> list[list[int] | None]:
    """Size and time of change of each file of a pair."""
    stamps: list[list[int] | None] = []
    for path in (pair.est, pair.ref, pair.mix):
        try:
            status = Path(path).stat() if path else None
        except OSError:
            status = None
        stamps.append(None if status is None else [status.st_size, status.st_mtime_ns])
    return stamps


def _difference(name: str, theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in [*ours, *theirs]:
            if theirs.get(key) != ours.get(key):
                return f"{key} {_words(theirs.get(key))} (now {_words(ours.get(key))})"
    return f"{name} {_words(theirs)} (now {_words(ours)})"


def _words(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
