"""All errors at which a measure has its level, and how to stay among them."""

import math

import torch
from torch import Tensor

from percloss.errors import ArgumentError
from percloss.measure import Measure
from percloss.measures.ratios import SISDR, SNR

# The scales that are looked at for the level of a measure [dB], and how often what holds it is narrowed.
_SCALES_DB = range(-100, 61, 5)
_ITERATIONS = 40
_STEP_ITERATIONS = 3


class Surface:
    """All errors at which a measure has its level; each is reached along its own direction, by scaling alone."""

    #: Whether the error is as strong everywhere.
    bounded = False

    def __init__(self, measure: Measure, ref: Tensor, level: float) -> None:
        self.measure, self.ref, self.level = measure, ref, level

    def onto(self, error: Tensor) -> Tensor:
        """The error at the level, found from any scale; names what is in reach if the level is not."""
        scales = [10 ** (db / 20) for db in _SCALES_DB]
        off = torch.stack([self._off(error, torch.full_like(self.ref[..., :1], scale)) for scale in scales])
        values, above = off + self.level, off >= 0
        crossed = (above[1:] != above[:-1]) & values[1:].isfinite() & values[:-1].isfinite()
        if not crossed.any(0).all():
            finite = values[values.isfinite()]
            reach = "has no value" if finite.numel() == 0 else f"reaches from {finite.min():.4g} to {finite.max():.4g}"
            raise ArgumentError(
                f"mad: {self.measure.spec.name}={self.level:g} came; scaling noise {reach} on this reference; ask "
                f"for a level well inside, or hold another measure."
            )
        first = crossed.long().argmax(0)
        places = error.new_tensor(scales)
        return self._scaled(error, places[first], places[first + 1], _ITERATIONS)

    def graded(self, error: Tensor) -> Tensor:
        """An error that is at the level, its gradient that of an error which is scaled back to it."""
        if not self.measure.spec.differentiable:
            return error
        scale = torch.ones_like(self.ref[..., :1]).requires_grad_()
        (slope,) = torch.autograd.grad(self.measure(self.ref + scale * error.detach(), self.ref).sum(), scale)
        value: Tensor = self.measure(self.ref + error, self.ref)[..., None]
        # One step of Newton's, which moves nothing and has the gradient of the implicit function.
        steep = torch.where(slope == 0, math.inf, slope)
        scaled: Tensor = (1 - (value - value.detach()) / steep) * error
        return scaled

    def near(self, error: Tensor) -> Tensor:
        """The error after a small step, back at the level."""
        return self._scaled(error, *self._bracket(error), _STEP_ITERATIONS)

    def exact(self, error: Tensor) -> Tensor:
        """The error at the level as exactly as the measure tells."""
        return self._scaled(error, *self._bracket(error), _ITERATIONS)

    def _bracket(self, error: Tensor) -> tuple[Tensor, Tensor]:
        """Scales on both sides of the level, near 1."""
        one = torch.ones_like(self.ref[..., :1])
        for factor in (1.05, 1.5, 10.0, 1000.0):
            low, high = one / factor, one * factor
            if bool((self._off(error, low).sign() * self._off(error, high).sign() <= 0).all()):
                return low, high
        raise ArgumentError(
            f"mad: {self.measure.spec.name}={self.level:g} came; along the way it could no longer be reached by "
            f"scaling the error; hold another measure, such as snr, or take smaller steps: rate=0.01."
        )

    def _scaled(self, error: Tensor, low: Tensor, high: Tensor, times: int) -> Tensor:
        """The error at the level, between two scales, by false position on their logarithms (Illinois)."""
        low, high = low.log(), high.log()
        at_low, at_high = self._off(error, low.exp()), self._off(error, high.exp())
        best = torch.where(at_low.abs() < at_high.abs(), low, high)
        least = torch.minimum(at_low.abs(), at_high.abs())
        kept_low = torch.zeros_like(at_low, dtype=torch.bool)
        kept_high = kept_low
        for _ in range(times):
            if not least.any():
                break
            apart = at_high - at_low
            middle = torch.where(apart == 0, (low + high) / 2, high - at_high * (high - low) / apart)
            value = self._off(error, middle.exp())
            best = torch.where(value.abs() < least, middle, best)
            least = torch.minimum(value.abs(), least)
            as_low = value.sign() == at_low.sign()
            # The end that stays for a second time counts half, or it would stay for ever.
            at_high = torch.where(as_low & kept_high, at_high / 2, at_high)
            at_low = torch.where(~as_low & kept_low, at_low / 2, at_low)
            low, at_low = torch.where(as_low, middle, low), torch.where(as_low, value, at_low)
            high, at_high = torch.where(as_low, high, middle), torch.where(as_low, at_high, value)
            kept_high, kept_low = as_low, ~as_low
        return best.exp() * error

    def _off(self, error: Tensor, scale: Tensor) -> Tensor:
        """How far the measure is from its level."""
        with torch.no_grad():
            value: Tensor = self.measure(self.ref + scale * error, self.ref)[..., None]
        return value.expand_as(scale) - self.level


class Sphere(Surface):
    """All errors of one SNR at a right angle to the reference, at which SI-SDR is the same. A closed form."""

    bounded = True

    def onto(self, error: Tensor) -> Tensor:
        return self._placed(error)

    def graded(self, error: Tensor) -> Tensor:
        return self._placed(error)

    def near(self, error: Tensor) -> Tensor:
        return self._placed(error)

    def exact(self, error: Tensor) -> Tensor:
        return self._placed(error)

    def _placed(self, error: Tensor) -> Tensor:
        # In double precision, because the level is to be exact.
        wide, ref = error.double(), self.ref.double()
        across = wide - (wide * ref).sum(-1, keepdim=True) / ref.square().sum(-1, keepdim=True) * ref
        wanted = ref.square().sum(-1, keepdim=True) * 10 ** (-self.level / 10)
        placed: Tensor = across * (wanted / across.square().sum(-1, keepdim=True)).sqrt()
        return placed.to(error)


def surface_of(held: Measure, ref: Tensor, level: float) -> Surface:
    """The one of a measure, in closed form where there is one."""
    return (Sphere if is_exact(held) else Surface)(held, ref, level)


def is_exact(measure: Measure) -> bool:
    """Whether it is the level of an error at a right angle to the reference."""
    return type(measure) is SNR or (type(measure) is SISDR and not measure.zero_mean)
