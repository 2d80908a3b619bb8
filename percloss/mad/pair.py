"""The pair: one measure held, another driven to its lowest and its highest by gradient."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from percloss.degrade import FAMILIES, at_snr
from percloss.errors import ArgumentError, DTypeError, ShapeError
from percloss.evaluation import build
from percloss.mad.surface import Surface, is_exact, surface_of
from percloss.measure import Measure

Side: TypeAlias = Literal["lowest", "highest"]

STARTS = ("white_noise", "shaped_noise")
"""Families of ``percloss.degrade`` to set out from; each side takes the one that is further on its way."""

# Beyond this much error for the signal, nobody speaks of a version of it any more [dB].
_WORST_SNR_DB = -60.0
# How far it is gone at the end to see whether it would come to that, in lengths of the error.
_FAR = (1e4, 1e6)


class Step(NamedTuple):
    """What is told of each step, as it is done: of which side, which one of how many, and where the measure is."""

    side: Side
    step: int
    steps: int
    value: float


class Pair(NamedTuple):
    """Two versions of a reference that one measure calls equal.

    Args:
        ref: The reference, (1, channels, time).
        start: The noise that both are compared with, at the same level.
        lowest: The version with the lowest value of the measure that was driven.
        highest: The one with the highest.
        sample_rate: Of all of them [Hz].
        fixed: Name of the measure that was held.
        level: Where.
        synth: Name of the one that was driven.
        values: Of both measures, of ``start``, ``lowest`` and ``highest``: mean over channels.
        trajectory: Value of the driven measure after each step, from the start, for each side.
        ended: Why each side ended: ``"steps"``, or ``"bound"`` where the measure can go no further.
    """

    ref: Tensor
    start: Tensor
    lowest: Tensor
    highest: Tensor
    sample_rate: int
    fixed: str
    level: float
    synth: str
    values: Mapping[str, Mapping[str, float]]
    trajectory: Mapping[Side, list[float]]
    ended: Mapping[Side, str]

    @property
    def waves(self) -> dict[str, Tensor]:
        """The versions by name."""
        return {"start": self.start, "lowest": self.lowest, "highest": self.highest}

    @property
    def spread(self) -> float:
        """What the driven measure has between its extremes."""
        return self.values["highest"][self.synth] - self.values["lowest"][self.synth]


Progress: TypeAlias = Callable[[Step], None]


def mad(
    ref: Tensor,
    sample_rate: int,
    *,
    fixed: str | Measure = "snr",
    level: float = 15.0,
    synth: str | Measure = "compressive_nmr",
    steps: int = 150,
    rate: float = 0.05,
    seed: int = 0,
    progress: Progress | None = None,
) -> Pair:
    r"""Make the two versions of a reference that one measure calls equal and that are furthest apart by another.

    Where SNR or SI-SDR is held, the error is kept at a right angle to the reference in every channel, so that both are
    the level, exactly, at every step. Any other measure is held by scaling the error after each step until it is back
    at the level, which it must reach that way; what the scaling does to the driven measure is part of the gradient if
    the held one has one. Adam takes the steps, each smaller than the last.

    What is found is an extreme that the gradient leads to, and not the last word: more steps may go further.

    Args:
        ref: The reference.
        sample_rate: Its rate [Hz].
        fixed: The measure that is held: a name of the catalogue or a measure built for this rate.
        level: Where it is held, in its unit, in each channel.
        synth: The measure that is driven; it must have a gradient.
        steps: For each side.
        rate: Of the first step, relative to the error's standard deviation; the last is near 0.
        seed: Of the noise that is set out from.
        progress: Called after each step.

    Shape:
        ref: (1, channels, time).

    Raises:
        ArgumentError: A measure that cannot be held or driven, a level that is not reached (the message says which
            are), a reference that is silent, or a synthesis that grows without limit.
        DTypeError: A reference that is neither float32 nor float64.
        ShapeError: Another shape.

    Example:
        >>> ref = torch.randn(1, 1, 8_000, generator=torch.Generator().manual_seed(0))
        >>> pair = mad(ref, 16_000, fixed="snr", level=15.0, synth="lsd", steps=5)
        >>> round(pair.values["lowest"]["snr"], 3), round(pair.values["highest"]["snr"], 3)
        (15.0, 15.0)

    References:
        [wang2008]_.
    """
    _check(ref, level, steps, rate)
    held, driven = (next(iter(build([one], sample_rate, device=ref.device).values())) for one in (fixed, synth))
    _check_measures(held, driven)
    surface = surface_of(held, ref, level)
    starts = [surface.onto(_noise(family, ref, sample_rate, seed)) for family in STARTS]
    with torch.no_grad():
        begun = [mean(driven(ref + error, ref)) for error in starts]
    found: dict[str, Tensor] = {"start": (ref + starts[0]).detach()}
    trajectory: dict[Side, list[float]] = {}
    ended: dict[Side, str] = {}
    for side in get_args(Side):
        sign = 1 if side == "lowest" else -1
        begin = min(range(len(starts)), key=lambda index: sign * begun[index])
        climb = _Climb(surface, driven, sign, side, steps=steps, rate=rate, progress=progress)
        found[side], trajectory[side], ended[side] = climb.run(starts[begin])
    values = {}
    with torch.inference_mode():
        for name, est in found.items():
            values[name] = {one.spec.name: mean(one(est, ref)) for one in (held, driven)}
    names = held.spec.name, level, driven.spec.name
    return Pair(ref, found["start"], found["lowest"], found["highest"], sample_rate, *names, values, trajectory, ended)


@dataclass
class _Climb:
    """One side of a pair."""

    surface: Surface
    driven: Measure
    sign: int
    side: Side
    steps: int
    rate: float
    progress: Progress | None

    def run(self, error: Tensor) -> tuple[Tensor, list[float], str]:
        """The furthest estimate, the value after each step, and why it ended."""
        best, furthest = self._scored(error)
        values = [best]
        ended = "steps"
        adam = _Adam()
        for step in range(self.steps):
            rate = self.rate * (1 - step / self.steps) * float(error.std())
            error = self.surface.near(error - rate * adam(self._gradient(error, step)))
            value, est = self._scored(error)
            values.append(value)
            if self.sign * value < self.sign * best:
                best, furthest = value, est
            if self.progress is not None:
                self.progress(Step(self.side, step + 1, self.steps, value))
            self._stop_if_boundless(est, value, step + 1)
            if self._at_bound(value):
                ended = "bound"
                break
        exact = self.surface.exact(furthest - self.surface.ref)
        if not self.surface.bounded:
            self._stop_if_held_is_deaf(exact)
        return (self.surface.ref + exact).detach(), values, ended

    def _gradient(self, error: Tensor, step: int) -> Tensor:
        """Of the driven measure along the surface, towards the other side."""
        free = error.detach().requires_grad_()
        est = self.surface.ref + self.surface.graded(free)
        (gradient,) = torch.autograd.grad(self.sign * self.driven(est, self.surface.ref).sum(), free)
        if not gradient.isfinite().all():
            raise ArgumentError(
                f"mad: {self.driven.spec.name} came; its gradient is not finite after {step} steps towards its "
                f"{self.side}; drive another measure, or take smaller steps: rate=0.01."
            )
        return gradient

    def _scored(self, error: Tensor) -> tuple[float, Tensor]:
        with torch.no_grad():
            est = self.surface.ref + error
            return mean(self.driven(est, self.surface.ref)), est

    def _at_bound(self, value: float) -> bool:
        low, high = self.driven.spec.bounds
        bound = low if self.sign > 0 else high
        return math.isfinite(bound) and abs(value - bound) <= 1e-4 * max(abs(bound), 1.0)

    def _stop_if_boundless(self, est: Tensor, value: float, step: int) -> None:
        ref = self.surface.ref
        snr = 10 * (ref.square().sum(-1) / (est - ref).square().sum(-1)).log10()
        if float(snr.min()) < _WORST_SNR_DB or not math.isfinite(value):
            name, held = self.driven.spec.name, self.surface.measure.spec.name
            raise ArgumentError(
                f"mad: fixed={held!r} and synth={name!r} came; towards its {self.side} {name} grows without limit: "
                f"{value:.4g} after {step} steps or more, with an error {-float(snr.min()):.0f} dB above the "
                f"reference, which {held} does not hear; hold a measure that bounds the error, such as fixed='snr'."
            )

    def _stop_if_held_is_deaf(self, error: Tensor) -> None:
        """Go far in the direction that moves the driven measure and, to first order, not the held one."""
        held, ref = self.surface.measure, self.surface.ref
        free = error.detach().requires_grad_()
        (way,) = torch.autograd.grad(self.sign * self.driven(ref + free, ref).sum(), free)
        if held.spec.differentiable:
            (across,) = torch.autograd.grad(held(ref + free, ref).sum(), free)
            along = (way * across).sum(-1, keepdim=True) / across.square().sum(-1, keepdim=True)
            way = way - torch.where(along.isfinite(), along, 0.0) * across
        size = error.norm(dim=-1, keepdim=True) / way.norm(dim=-1, keepdim=True)
        way = torch.where(size.isfinite(), size, 0.0) * way
        for far in _FAR:
            try:
                value, est = self._scored(self.surface.near(error - far * way))
            except ArgumentError:  # no scale brings that back to the level: nobody gets there
                continue
            self._stop_if_boundless(est, value, self.steps)


class _Adam:
    """The direction of Adam's next step. That of torch imports its compiler first, which takes longer than the pair."""

    def __init__(self, *, first: float = 0.9, second: float = 0.999, floor: float = 1e-8) -> None:
        self.first, self.second, self.floor = first, second, floor
        self.mean: Tensor | float = 0.0
        self.square: Tensor | float = 0.0
        self.count = 0

    def __call__(self, gradient: Tensor) -> Tensor:
        self.count += 1
        self.mean = self.first * self.mean + (1 - self.first) * gradient
        self.square = self.second * self.square + (1 - self.second) * gradient.square()
        spread = self.square / (1 - self.second**self.count)
        return self.mean / (1 - self.first**self.count) / (spread.sqrt() + self.floor)


def _noise(family: str, ref: Tensor, sample_rate: int, seed: int) -> Tensor:
    # A reference may itself be noise of a small seed, and its own copy is no error at a right angle to it.
    generator = torch.Generator().manual_seed(2**31 + seed)
    return at_snr(FAMILIES[family].apply(ref, sample_rate, generator=generator) - ref, ref, 0.0)


def mean(values: Tensor) -> float:
    """Over channels."""
    return float(values.detach().mean())


def _check(ref: Tensor, level: float, steps: int, rate: float) -> None:
    if not isinstance(ref, Tensor) or ref.dtype not in (torch.float32, torch.float64):
        came = ref.dtype if isinstance(ref, Tensor) else type(ref).__name__
        raise DTypeError(f"mad: {came} came; a float32 or float64 tensor is needed; use ref.float().")
    if ref.dim() != 3 or ref.shape[0] != 1 or ref.numel() == 0:
        raise ShapeError(
            f"mad: a reference of shape {tuple(ref.shape)} came; it needs (1, channels, time); use ref[:1]."
        )
    if not torch.isfinite(ref).all() or not ref.square().sum(-1).all():
        raise ArgumentError(
            "mad: a reference with a silent channel, NaN or infinity came; sound in every channel is needed; choose "
            "another stretch of the recording."
        )
    if not math.isfinite(level) or steps < 1 or not 0 < rate < math.inf:
        raise ArgumentError(
            f"mad: level={level}, steps={steps}, rate={rate} came; needed are a finite level, a step and a rate above "
            f"0; use level=15.0, steps=150, rate=0.05."
        )


def _check_measures(held: Measure, driven: Measure) -> None:
    for one, role in ((held, "fixed"), (driven, "synth")):
        if one.spec.needs or one.spec.takes not in ("pair", "joint"):
            raise ArgumentError(
                f"mad: {role}={one.spec.name!r} came, which takes {one.spec.takes}"
                f"{''.join(f' and {need}' for need in one.spec.needs)}; a measure of an estimate and its reference is "
                f"needed; use {role}={'snr' if role == 'fixed' else 'compressive_nmr'!r}."
            )
    if not driven.spec.differentiable:
        raise ArgumentError(
            f"mad: synth={driven.spec.name!r} came, which has no gradient; one that has is needed; use "
            f"synth='compressive_nmr'."
        )
    same = held.spec.name == driven.spec.name
    if same or (is_exact(held) and is_exact(driven)):
        why = "one" if same else "equal where the error is at a right angle to the reference, as it is kept"
        raise ArgumentError(
            f"mad: fixed={held.spec.name!r} and synth={driven.spec.name!r} came, which are {why}; two that can differ "
            f"are needed; use synth='compressive_nmr'."
        )
