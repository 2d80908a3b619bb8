"""Things that are typed: ``name(setting=value)``, as losses, networks and discriminators are asked for."""

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from percloss._nearest import nearest
from percloss.errors import ArgumentError

__all__ = ["build", "nearest", "settings"]

T = TypeVar("T")


def settings(text: str, *, what: str) -> dict[str, Any]:
    """What stands between parentheses, as keywords; values are plain Python, nothing is run.

    Args:
        text: With its parentheses, or empty.
        what: Whose settings, for the message.

    Example:
        >>> settings("(n_fft=512, linear=1.0)", what="stft")
        {'n_fft': 512, 'linear': 1.0}

    Raises:
        ArgumentError: Anything else.
    """
    if not text:
        return {}
    try:
        call = ast.parse(f"_{text}", mode="eval").body
        if isinstance(call, ast.Call) and not call.args and all(keyword.arg for keyword in call.keywords):
            return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError):
        pass
    raise ArgumentError(
        f"{what}: got the settings {text}; needed are names and plain values: {what}(first=512, second=(1, 2))."
    )


def build(text: str, makers: Mapping[str, Callable[..., T]], *, what: str, **given: Any) -> T:
    """Call the maker of a name with the settings that were typed, and with what else is given.

    Args:
        text: A name, and settings in parentheses behind it.
        makers: By name.
        what: Kind of thing, for messages: the name of the option.
        **given: Beside the settings; a setting takes the place of what is given.

    Raises:
        ArgumentError: No such name, or settings that it does not take.
    """
    name, parenthesis, rest = text.strip().partition("(")
    name = name.strip()
    if name not in makers:
        raise ArgumentError(f"{what}: got {text!r}; {nearest(name, sorted(makers))}")
    given |= settings(parenthesis + rest, what=name)
    try:
        inspect.signature(makers[name]).bind(**given)
    except TypeError as error:
        takes = ", ".join(inspect.signature(makers[name]).parameters)
        raise ArgumentError(f"{what}: got {text!r}: {error}; {name} takes {takes}.") from error
    return makers[name](**given)
