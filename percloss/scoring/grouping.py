"""Which group an item is of: by a column of the list of pairs, its folder, or what a pattern finds in its name."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from percloss.errors import ArgumentError
from percloss.scoring.audio import shown
from percloss.scoring.pairing import Pair

__all__ = ["grouped"]


def _track(pair: Pair) -> str | None:
    folder = Path(pair.name).parent.as_posix()
    return None if folder == "." else folder


def _stem(pair: Pair) -> str | None:
    return pair.stem or (None if _track(pair) is None else Path(pair.name).name)


_KNOWN: dict[str, Callable[[Pair], str | None]] = {
    "stem": _stem,
    "system": lambda pair: pair.system,
    "track": _track,
}


def grouped(pairs: Sequence[Pair], by: str) -> list[Pair]:
    """The pairs, each with its group; None where it has none.

    Args:
        pairs: Those of a list have had theirs from its column.
        by: A word: ``track`` and ``stem``, folder and name of a file within the system; ``system``; or a column of
            the list. Anything else is a regular expression, searched for in the name of each item: its groups, or all
            that it finds.

    Raises:
        ArgumentError: No such column, no regular expression, or one that finds nothing in any name.
    """
    if re.fullmatch(r"\w+", by):
        found = [pair.group for pair in pairs]
        if not any(found) and by in _KNOWN:
            found = [_KNOWN[by](pair) for pair in pairs]
        needed = f'needed is {", ".join(_KNOWN)}, a column of --pairs that is not empty, or a pattern: "^(\\w+)/"'
    else:
        try:
            pattern = re.compile(by)
        except re.error as error:
            raise ArgumentError(f"--group-by: got {by!r}, which is no regular expression ({error}).") from error
        found = [_matched(pattern, pair.name) for pair in pairs]
        needed = f"the names are like {shown(pairs[0].name)}; needed is a pattern that is in them"
    if not any(found):
        raise ArgumentError(f"--group-by: got {by!r}, by which no item has a group; {needed}.")
    return [replace(pair, group=group or None) for pair, group in zip(pairs, found, strict=True)]


def _matched(pattern: re.Pattern[str], name: str) -> str | None:
    match = pattern.search(name)
    if match is None:
        return None
    return " ".join(part for part in match.groups() if part) if pattern.groups else match[0]
