"""What a measure claims about itself: printed by ``percloss info``, listed in the docs, tested by the contract."""

import math
import re
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from torch import Tensor

from percloss.errors import ArgumentError

Better = Literal["higher", "lower", "nearer", "neither"]
Value = TypeVar("Value", float, Tensor)
Takes = Literal["pair", "joint", "sources", "mixtures", "alone"]
Invariance = Literal["gain", "level", "polarity", "swap"]

INVARIANCES: dict[Invariance, str] = {
    "gain": "the estimate may be scaled by any positive factor",
    "level": "estimate and reference may be scaled together",
    "polarity": "the estimate may be flipped in sign",
    "swap": "estimate and reference may change places",
}

SHAPES: dict[Takes, tuple[str, str]] = {
    "pair": ("(batch, channels, time)", "(batch, channels)"),
    "joint": ("(batch, channels, time)", "(batch, 1)"),
    "sources": ("(batch, sources, channels, time)", "(batch, sources)"),
    "mixtures": ("(batch, sources, channels, time)", "(batch, mixtures)"),
    "alone": ("(batch, channels, time)", "(batch, channels)"),
}

# Without a reference nothing can be exchanged with it or scaled together with it.
_ALONE: frozenset[Invariance] = frozenset({"gain", "polarity"})


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The claims of one measure. Every field is tested, in both directions where it has two.

    Args:
        name: Lower-case name in the catalogue and on the command line.
        title: What people call it.
        unit: Unit of the value, ``"1"`` where it has none.
        better: Which direction is better: ``"higher"``, ``"lower"``, ``"nearer"`` to ``perfect`` from either side,
            where it tells how one quality of the estimate differs from the reference's, or ``"neither"``, where it
            tells what kind of error there is and not how much. The last two need not move with other kinds of error.
        bounds: Lowest and highest value it can take.
        perfect: Its value where the estimate is the reference; ``None`` where that depends on the signal.
        takes: The shape of its input, see ``SHAPES``. In ``joint`` the channels are judged together; in ``mixtures``
            the references may be of another number than the estimates; ``alone`` is an estimate without a reference.
        needs: Keyword tensors it must be given beside estimate and reference, shaped like them (``mix``).
        sample_rates: The rates it is defined at [Hz]; ``None`` is every rate.
        differentiable: Whether gradients reach the estimate, so that it may be a loss.
        compiles: Whether ``torch.compile(fullgraph=True)`` takes it.
        silent_reference: Whether a digitally silent reference leaves it ``"undefined"`` (nan) or ``"defined"``; where
            it takes none, a silent estimate.
        invariant_to: What it does not hear, see ``INVARIANCES``. What is not listed here, it must hear.
        cite: Keys into references.bib.
        extra: The extra of percloss that it needs, ``None`` where torch is enough.
        implementation: Package that computes it, or holds the weights of what does, where that is not percloss.
    """

    name: str
    title: str
    unit: str
    better: Better
    bounds: tuple[float, float]
    perfect: float | None
    takes: Takes = "pair"
    needs: tuple[str, ...] = ()
    sample_rates: frozenset[int] | None = None
    differentiable: bool = True
    compiles: bool = True
    silent_reference: Literal["defined", "undefined"] = "defined"
    invariant_to: frozenset[Invariance] = frozenset()
    cite: tuple[str, ...] = ()
    extra: str | None = None
    implementation: str | None = None

    def __post_init__(self) -> None:
        low, high = self.bounds
        problems = [
            (not re.fullmatch(r"[a-z][a-z0-9_]*", self.name), "name must be lower case letters, digits and _"),
            (self.better not in get_args(Better), f"better must be one of {', '.join(get_args(Better))}"),
            (self.better == "nearer" and self.perfect is None, "perfect must be what nearer is to"),
            (self.better == "neither" and self.perfect is not None, "perfect must be None where neither is better"),
            (not low < high, "bounds must be (lowest, highest)"),
            (self.perfect is not None and not low <= self.perfect <= high, "perfect must lie within bounds"),
            (self.perfect is not None and math.isnan(self.perfect), "perfect must be a number or None"),
            (self.takes not in get_args(Takes), f"takes must be one of {', '.join(get_args(Takes))}"),
            (not self.invariant_to <= INVARIANCES.keys(), f"invariant_to takes {', '.join(INVARIANCES)}"),
            (self.alone and self.perfect is not None, "perfect must be None where there is no reference"),
            (self.alone and not self.invariant_to <= _ALONE, f"invariant_to takes {', '.join(sorted(_ALONE))} there"),
        ]
        for wrong, needed in problems:
            if wrong:
                raise ArgumentError(f"Spec {self.name!r}: got {self}; {needed}.")

    @property
    def alone(self) -> bool:
        """Whether it takes an estimate and no reference."""
        return self.takes == "alone"

    @property
    def several(self) -> bool:
        """Whether an item holds several signals, which no single file does."""
        return self.takes in ("sources", "mixtures")

    @property
    def changes(self) -> dict[Invariance, str]:
        """What it may hear or not, of ``INVARIANCES``."""
        return {name: words for name, words in INVARIANCES.items() if not self.alone or name in _ALONE}

    @property
    def ranks(self) -> bool:
        """Whether of two values one is better by being higher, or by being lower."""
        return self.better in ("higher", "lower")

    @property
    def sign(self) -> int:
        """What the value is multiplied by to become a loss, 1 where lower is better and -1 where higher is.

        Raises:
            ArgumentError: Nearer or neither is better, which no sign says.
        """
        if not self.ranks:
            raise ArgumentError(
                f"{self.name}: its sign was asked for, and {self.direction}; needed is a measure where higher or lower "
                f"is: type spec.cost(value)."
            )
        return 1 if self.better == "lower" else -1

    def cost(self, value: Value) -> Value:
        """The value turned so that less is better: what a loss is the mean of, and what a ranking is by.

        Raises:
            ArgumentError: Neither is better.
        """
        if self.better == "nearer" and self.perfect is not None:
            return abs(value - self.perfect)
        return self.sign * value

    @property
    def direction(self) -> str:
        """Which direction is better, in words."""
        return f"nearer to {self.perfect:g} is better" if self.better == "nearer" else f"{self.better} is better"

    @property
    def arrow(self) -> str:
        """The direction of better as a sign, for tables."""
        return {"higher": "↑", "lower": "↓", "nearer": f"→{self.perfect or 0:g}", "neither": "–"}[self.better]

    @property
    def head(self) -> str:
        """Unit and direction of better, for the head of a column: "dB ↑"."""
        return self.arrow if self.unit == "1" else f"{self.unit} {self.arrow}"

    def rates(self) -> str:
        """The sample rates as words."""
        return "any" if self.sample_rates is None else ", ".join(str(rate) for rate in sorted(self.sample_rates))
