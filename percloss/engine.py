"""Value and gradient of spectral measures in one pass: one transform per resolution, one inverse, one waveform saved.

A measure of two spectra has a gradient in the spectrum, and the transform is linear: whatever number of measures looks
at one resolution, their gradients are added there and carried back together. The work is done in blocks of rows, so
that no more than a block of spectra exists at a time, and the gradient is ready when the value is: autograd keeps one
waveform instead of every intermediate.

A measure may write its gradient by hand (``closed``), as real coefficients on the two spectra; where it does not,
autograd finds it, block by block. Either is the derivative of the one formula in ``distance``, and a test holds them
equal.
"""

import math
from abc import abstractmethod
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from percloss._typing import PerItem, Spectrum, Wave
from percloss.dsp.given import given
from percloss.dsp.stft import power, squared
from percloss.errors import ArgumentError
from percloss.frontends import Stft
from percloss.measure import Measure
from percloss.spec import Spec

# Elements of a block of spectra: what fits a core's cache beside its intermediates, and what keeps a GPU busy.
BLOCK_CPU, BLOCK_GPU = 2**19, 2**24


class Pair:
    """The spectra of an estimate and its reference, and what several measures want of them, made once."""

    def __init__(self, est: Spectrum, ref: Spectrum) -> None:
        self.est, self.ref = est, ref
        self._magnitudes: dict[float, tuple[Tensor, Tensor]] = {}

    @cached_property
    def est_power(self) -> Tensor:
        """Squared magnitude of the estimate. Not to be changed in place, nor is what follows."""
        return power(self.est)

    @cached_property
    def ref_power(self) -> Tensor:
        """Squared magnitude of the reference."""
        return power(self.ref)

    @cached_property
    def error_power(self) -> Tensor:
        """Squared magnitude of the difference."""
        return squared(self.est.real - self.ref.real, self.est.imag - self.ref.imag)

    def magnitudes(self, floor: float) -> tuple[Tensor, Tensor]:
        """Magnitudes of estimate and reference, with a floor added to the power."""
        if floor not in self._magnitudes:
            self._magnitudes[floor] = (self.est_power + floor).sqrt_(), (self.ref_power + floor).sqrt_()
        return self._magnitudes[floor]


class Closed(NamedTuple):
    """A value and its gradient: the derivative by the estimate's spectrum is ``on_est * E + on_ref * R``.

    ``on_ref`` may be one number for all bins, (rows, 1, 1, 1). The coefficients belong to whoever asked, who may change
    them in place.
    """

    value: Tensor
    on_est: Tensor
    on_ref: Tensor | None = None


class Spectral(Measure):
    """What is, or is a mean of, measures of two short-time spectra."""

    @abstractmethod
    def terms(self) -> list["Term"]:
        """The measures it is the weighted sum of."""

    @abstractmethod
    def eager(self, est: Wave, ref: Wave) -> PerItem:
        """The value as plain differentiable operations."""

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        if self.engine == "closed" and applies(est, ref):
            return compare(self.terms(), est, ref)
        return self.eager(est, ref)


class SpectralMeasure(Spectral):
    """A measure of two short-time spectra. It names its front end, so that measures with the same one can share it."""

    front: Stft

    @abstractmethod
    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        """The equation, of the two complex spectra that ``front`` makes."""

    def closed(self, pair: Pair) -> Closed | None:
        """Value and hand-written gradient of ``distance``; ``None`` leaves the gradient to autograd."""

    def transform(self, front: Stft) -> None:
        """Take ``front`` as the front end; half its window must fit into a signal."""
        self.front = front
        self.min_samples = front.n_fft // 2 + 1

    def terms(self) -> list["Term"]:
        return [Term(1.0, self)]

    def eager(self, est: Wave, ref: Wave) -> PerItem:
        return self.distance(self.front(est), self.front(ref))


class MeanOf(Spectral):
    """The mean of several spectral measures, each judging the same pair at a resolution of its own."""

    scales: nn.ModuleList

    def hold(self, scales: Sequence[SpectralMeasure]) -> None:
        """Take these as what the mean is of."""
        if not scales:
            raise ArgumentError(f"{self.spec.name}: got no resolution; needed is at least one, such as n_ffts=(1024,).")
        self.scales = nn.ModuleList(scales)
        self.min_samples = max(scale.min_samples for scale in scales)

    def terms(self) -> list["Term"]:
        return [Term(1 / len(self.scales), cast(SpectralMeasure, scale)) for scale in self.scales]

    def eager(self, est: Wave, ref: Wave) -> PerItem:
        return torch.stack([cast(SpectralMeasure, scale).eager(est, ref) for scale in self.scales]).mean(0)


def lacks(measure: Measure) -> bool:
    """Whether a silent reference leaves it without a value."""
    return measure.spec.silent_reference == "undefined"


class SumOf(Spectral):
    """A weighted sum of spectral measures, each turned so that less is better: what several losses add up to.

    The mean over its items is the sum of each measure's mean over those items that have a value: where a silent
    reference leaves a measure without one, its other items count for more.

    Args:
        parts: Weights and measures.
        weight: What each item counts in that mean, (batch, channels); all the same if not given.
    """

    def __init__(self, parts: Sequence[tuple[float, Spectral]], weight: Tensor | None = None) -> None:
        super().__init__()
        self.parts = tuple(parts)  # a tuple: the measures belong to whoever sums them, and are listed there
        self.weight = weight
        self.min_samples = max(part.min_samples for _, part in parts)
        self.spec = Spec(
            name="sum",
            title=" + ".join(f"{weight:g} {part.spec.name}" for weight, part in parts),
            unit="1",
            better="lower",
            bounds=(-math.inf, math.inf),
            perfect=None,
        )

    def terms(self) -> list["Term"]:
        return [
            Term(weight * part.spec.sign * term.weight, term.measure)
            for weight, part in self.parts
            for term in part.terms()
        ]

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        if not (self.engine == "closed" and applies(est, ref)):
            return self.eager(est, ref)
        terms = self.terms()
        if self.lacking:
            share = self._share(ref).flatten()
            terms = [
                Term(share * weight, measure) if lacks(measure) else Term(weight, measure) for weight, measure in terms
            ]
        return compare(terms, est, ref)

    def eager(self, est: Wave, ref: Wave) -> PerItem:
        share, total = self._share(ref) if self.lacking else None, torch.zeros_like(est[..., 0])
        for weight, part in self.parts:
            value = weight * part.spec.sign * part.eager(est, ref)
            if share is not None and lacks(part):
                value = share * torch.where(share == 0, 0, value)
            total = total + value
        return total

    @property
    def lacking(self) -> bool:
        """Whether one of the measures may have no value for an item."""
        return any(lacks(part) for _, part in self.parts)

    def _share(self, ref: Wave) -> PerItem:
        """What items count for a measure that a silent reference leaves undefined, over what they count for others."""
        heard = (ref.abs().amax(-1) != 0).to(ref.dtype)
        weight = torch.ones_like(heard) if self.weight is None else self.weight.to(ref.dtype).expand_as(heard)
        some = (weight * heard).sum()
        return torch.where(some == 0, 0, heard * weight.sum() / torch.where(some == 0, 1, some))


class Term(NamedTuple):
    """A spectral measure and its weight in a sum, the same for all rows or one for each."""

    weight: float | Tensor
    measure: SpectralMeasure

    def of(self, rows: slice) -> "Term":
        """The term for some of the rows."""
        return self._replace(weight=self.weight[rows]) if isinstance(self.weight, Tensor) else self


def applies(est: Tensor, ref: Tensor) -> bool:
    """Whether a gradient is wanted that the engine can give. What ``torch.compile`` traces it fuses itself."""
    wanted = torch.is_grad_enabled() and est.requires_grad and not ref.requires_grad
    return wanted and not torch.compiler.is_compiling()


class Reference:
    """The side of a comparison that has no gradient: its spectra are made when they are wanted, and may be kept."""

    def __init__(self, ref: Wave, *, keep: bool = False) -> None:
        self.rows, self.keep = ref.detach().flatten(0, 1), keep
        self._kept: dict[tuple[Hashable, ...], Tensor] = {}

    def spectrum(self, front: Stft, rows: slice) -> Spectrum:
        """Of some rows, (rows, 1, bins, frames)."""
        if not self.keep:
            return front(self.rows[rows, None])  # type: ignore[no-any-return]
        if front.key not in self._kept:
            self._kept[front.key] = front(self.rows[:, None])
        return self._kept[front.key][rows]


class Bound(Spectral):
    """A spectral measure of estimates against one reference, whose spectra are kept."""

    def __init__(self, measure: Spectral, ref: Wave) -> None:
        super().__init__()
        self.measure, self.spec, self.min_samples = measure, measure.spec, measure.min_samples
        self.reference = Reference(ref, keep=True)

    def terms(self) -> list[Term]:
        return self.measure.terms()

    def eager(self, est: Wave, ref: Wave) -> PerItem:
        return self.measure.eager(est, ref)

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        if self.measure.engine == "closed" and applies(est, ref) and est.dtype == self.reference.rows.dtype:
            return compare(self.terms(), est, ref, self.reference)
        return self.measure.compare(est, ref)


def compare(terms: Sequence[Term], est: Wave, ref: Wave, reference: Reference | None = None) -> PerItem:
    """The weighted sum of several spectral measures per item, with its gradient by the estimate."""
    reference = Reference(ref) if reference is None else reference
    value, gradient = value_and_gradient(terms, est.flatten(0, 1), reference)
    return given(
        est,
        value.view(est.shape[:2]),
        gradient.view_as(est),
        refusal="engine: a second derivative was asked for and the closed form has the first only; "
        'set engine = "eager" on the measure: loss.measure.engine = "eager".',
    )


@torch.no_grad()
def value_and_gradient(terms: Sequence[Term], est: Tensor, reference: Reference) -> tuple[Tensor, Tensor]:
    """Of the weighted sum, row by row.

    Shape:
        est: (rows, time). Returns (rows,) and (rows, time).
    """
    time = est.shape[-1]
    value, gradient = torch.zeros_like(est[:, 0]), torch.zeros_like(est)
    groups: dict[tuple[Hashable, ...], list[Term]] = {}
    for term in terms:
        groups.setdefault(term.measure.front.key, []).append(term)
    for group in groups.values():
        front = group[0].measure.front
        size = (front.n_fft // 2 + 1) * (1 + time // front.hop_length)
        step = max(1, (BLOCK_GPU if est.is_cuda else BLOCK_CPU) // size)
        for rows in (slice(start, start + step) for start in range(0, est.shape[0], step)):
            part = [term.of(rows) for term in group]
            values, spectrum = _block(part, front(est[rows, None].detach()), reference.spectrum(front, rows))
            value[rows] += values
            gradient[rows] += front.adjoint(spectrum[:, 0], time)
    return value, gradient


def _block(group: Sequence[Term], est: Spectrum, ref: Spectrum) -> tuple[Tensor, Tensor]:
    """Value, and gradient in the spectrum, of all terms at one resolution for a block of (rows, 1, bins, frames)."""
    pair = Pair(est, ref)
    total, on_est, on_ref, gradient = _Sum(), _Sum(), _Sum(), _Sum()
    for weight, measure in group:
        found = measure.closed(pair)
        if found is None:
            value, by_autograd = _by_autograd(measure, pair)
            gradient.add(weight, by_autograd)
        else:
            value = found.value
            on_est.add(weight, found.on_est)
            if found.on_ref is not None:
                on_ref.add(weight, found.on_ref)
        if isinstance(weight, Tensor):
            value = torch.where(weight[:, None] == 0, 0, value)
        total.add(weight, value[:, 0])
    if on_est.value is not None:
        gradient.add(1.0, _combined(pair, on_est.value, on_ref.value))
    return cast(Tensor, total.value), cast(Tensor, gradient.value)


class _Sum:
    """A weighted sum, added up in the memory of its first part."""

    def __init__(self) -> None:
        self.value: Tensor | None = None

    def add(self, weight: float | Tensor, part: Tensor) -> None:
        if isinstance(weight, Tensor):
            part, weight = part.mul_(weight.view(-1, *[1] * (part.dim() - 1))), 1.0
        if self.value is None:
            self.value = part if weight == 1 else part.mul_(weight)
        elif part.numel() > self.value.numel():  # what was there is one number for all bins
            self.value = (part if weight == 1 else part.mul_(weight)).add_(self.value)
        else:
            self.value.add_(part, alpha=weight)


def _combined(pair: Pair, on_est: Tensor, on_ref: Tensor | None) -> Tensor:
    """``on_est * E + on_ref * R``, without making the coefficients complex."""
    gradient = torch.empty_like(pair.est)
    parts = torch.view_as_real(gradient)
    for at, (est, ref) in enumerate(((pair.est.real, pair.ref.real), (pair.est.imag, pair.ref.imag))):
        if on_ref is None:
            torch.mul(est, on_est, out=parts[..., at])
        else:
            # Not fused: equal products must cancel.
            torch.add(est * on_est, ref * on_ref, out=parts[..., at])
    return gradient


def _by_autograd(measure: SpectralMeasure, pair: Pair) -> tuple[Tensor, Tensor]:
    est = pair.est.detach().requires_grad_()
    with torch.enable_grad():
        values = measure.distance(est, pair.ref)
        (gradient,) = torch.autograd.grad(values.sum(), est)
    return values.detach(), gradient
