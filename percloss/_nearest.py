"""What to say to a name that is not known."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Half a sentence that helps where there are many: the one that was meant, or else all."""
    listed = list(known)
    near = difflib.get_close_matches(name, listed, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(listed)}."


def nearest_and_all(name: str, known: Iterable[str]) -> str:
    """Half a sentence that helps where there are few: the one that was meant, and all."""
    listed = list(known)
    near = difflib.get_close_matches(name, listed, n=1)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}there are: {', '.join(listed)}."
