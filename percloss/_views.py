"""A view with the constructor of a measure: how ``MelLoss(44_100)`` comes from ``Loss`` and ``MelDistance``."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from percloss.measure import Measure

P = ParamSpec("P")
V = TypeVar("V")


def view(name: str, base: Callable[[Measure], V], measure: Callable[P, Measure]) -> Callable[P, V]:
    """A subclass of a view, to be bound to ``name`` in the view's module, that takes the arguments of a measure."""
    held, holder = cast(type[Measure], measure), cast(type[Any], base)

    def construct(self: Any, *args: P.args, **kwargs: P.kwargs) -> None:
        holder.__init__(self, measure(*args, **kwargs))

    summary = (held.__doc__ or "").strip().splitlines()[0]
    what = f"``{held.__name__}`` as a {holder.__name__.lower()}: {summary}"
    doc = f"{what}\n\nTakes the arguments of ``percloss.{held.__name__}``; see there."
    namespace = {"__init__": construct, "__doc__": doc, "__module__": holder.__module__, "measure_class": held}
    return cast(Callable[P, V], type(name, (holder,), namespace))
