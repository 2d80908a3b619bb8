"""A changed measure is a measure: of frames, bands or stems, over permutations, at another rate, gain or loudness."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from percloss import distances
from percloss._typing import PerItem, Sources, Wave
from percloss.dsp.assignment import assign
from percloss.dsp.safe import db_to_amplitude, undefined_where
from percloss.errors import ArgumentError, EmptyBandError, SampleRateError, ShapeError
from percloss.frontends import Resampler
from percloss.functional import median_over_frames
from percloss.hearing.loudness import LoudnessMeter
from percloss.measure import Measure, register
from percloss.measures.ratios import SISDR, SNR, ThresholdedSNR
from percloss.spec import Spec, Takes

# Samples that a search over mixings lays out at a time, on each side of the comparison.
BLOCK = 2**22


class Wrapper(Measure):
    """What every changed measure shares: it holds the measure it changes, and derives its Spec from that one's."""

    #: What the measures take that it can change.
    takes: ClassVar[tuple[Takes, ...]] = ("pair",)

    def __init__(self, measure: Measure) -> None:
        super().__init__()
        if measure.spec.takes not in self.takes:
            needed = " or ".join(f'"{takes}"' for takes in self.takes)
            raise ArgumentError(
                f"{type(self).__name__}: got {measure.spec.name}, which takes {measure.spec.takes}; "
                f"needed is a measure that takes {needed}."
            )
        self.measure = measure
        self.min_samples = measure.min_samples

    @property
    def engine(self) -> Literal["closed", "eager"]:
        """That of the measure it changes: there is where a gradient comes from."""
        return self.measure.engine

    @engine.setter
    def engine(self, engine: Literal["closed", "eager"]) -> None:
        self.measure.engine = engine

    def undefined_because(self, est: Tensor, *ref: Any) -> str:
        """As the wrapped measure says."""
        return self.measure.undefined_because(est, *ref)


class Framewise(Wrapper):
    """A measure per frame, and the mean or median of the frames that have a value.

    Args:
        measure: To be taken in each frame.
        frame: Length of a frame [samples].
        hop: Step between frames [samples]; ``None`` is ``frame``, without overlap.
        reduce: ``"mean"`` or ``"median"`` over frames. What is left after the last whole frame is not heard.

    Shape:
        est, ref: (batch, channels, time >= frame). Returns (batch, channels).

    Example:
        >>> Framewise(SNR(), frame=16_000, reduce="median").spec.name
        'framewise_snr'
    """

    def __init__(
        self, measure: Measure, *, frame: int, hop: int | None = None, reduce: Literal["mean", "median"] = "mean"
    ) -> None:
        super().__init__(measure)
        self.frame, self.hop, self.reduce = frame, frame if hop is None else hop, reduce
        if frame < measure.min_samples or self.hop < 1 or reduce not in ("mean", "median"):
            raise ArgumentError(
                f"Framewise: got frame={frame}, hop={hop}, reduce={reduce!r}; needed are frame >= "
                f'{measure.min_samples}, hop >= 1 and "mean" or "median".'
            )
        self.min_samples = frame
        title = f"{measure.spec.title}, {reduce} of frames"
        self.spec = replace(measure.spec, name=f"framewise_{measure.spec.name}", title=title)

    def compare(self, est: Wave, ref: Wave, **needs: Wave) -> PerItem:
        batch, channels, _ = est.shape
        frames = {name: x.unfold(-1, self.frame, self.hop) for name, x in {"est": est, "ref": ref, **needs}.items()}
        count = frames["est"].shape[2]
        # Frames stand in the place of batch items: (batch * frames, channels, frame).
        rows = {name: x.transpose(1, 2).reshape(-1, channels, self.frame) for name, x in frames.items()}
        values = self.measure.compare(**rows).view(batch, count, channels)
        if self.reduce == "median":
            return median_over_frames(values.mT)
        defined = ~values.isnan()
        return undefined_where(~defined.any(1), torch.where(defined, values, 0).sum(1) / defined.sum(1).clamp(min=1))


class PermutationInvariant(Wrapper):
    """A measure over all assignments of estimates to references: the best one, for separators without an order.

    The assignment maximises (or, for a distance, minimises) the mean over sources. Up to six sources every permutation
    is looked at on the device; beyond, the Hungarian algorithm of scipy finds it on the CPU. Channels are averaged
    first. A pair without a value takes no part in the choice.

    Args:
        measure: To be taken of each pair of an estimate and a reference.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, sources), in the order of the references.

    Example:
        >>> sources = torch.eye(2).repeat(1, 8)[None, :, None]
        >>> PermutationInvariant(SNR())(sources.flip(1), sources)
        tensor([[140., 140.]])

    References:
        [kolbaek2017]_.
    """

    def __init__(self, measure: Measure) -> None:
        super().__init__(measure)
        spec = measure.spec
        self.spec = replace(
            spec,
            name=f"pit_{spec.name}",
            title=f"{spec.title}, best permutation",
            takes="sources",
            compiles=False,
            invariant_to=spec.invariant_to,
        )

    def compare(self, est: Sources, ref: Sources) -> Tensor:
        values = self.pairwise(est, ref)
        order = self.assign(values)
        return values.gather(1, order[:, None]).squeeze(1)

    def pairwise(self, est: Sources, ref: Sources) -> Tensor:
        """The measure of every estimate against every reference, (batch, estimates, references)."""
        batch, sources, channels, time = est.shape
        shape = (batch, sources, sources, channels, time)
        est = est[:, :, None].expand(shape).reshape(-1, channels, time)
        ref = ref[:, None].expand(shape).reshape(-1, channels, time)
        return self.measure.compare(est, ref).mean(1).view(shape[:3])

    def assign(self, values: Tensor) -> Tensor:
        """Which estimate goes to each reference, (batch, sources), from ``pairwise``'s values."""
        return assign(-self.spec.cost(values))


class Resampled(Wrapper):
    """A measure at its own rate, of signals at another: both are resampled, with a gradient, before it is taken.

    Args:
        measure: Built at its own rate.
        sample_rate: Of the signals that will come [Hz].

    Shape:
        est, ref: (batch, channels, time); est alone where the measure takes no reference. Returns (batch, channels).

    Example:
        >>> from percloss import create
        >>> measure = Resampled(create("mel", sample_rate=16_000), sample_rate=48_000)
        >>> measure(torch.zeros(1, 1, 48_000), torch.zeros(1, 1, 48_000))
        tensor([[0.]])
    """

    takes = ("pair", "joint", "alone")

    def __init__(self, measure: Measure, sample_rate: int) -> None:
        super().__init__(measure)
        inner = getattr(measure, "sample_rate", None)
        if inner is None:
            raise ArgumentError(
                f"Resampled: got {measure.spec.name}, which knows no rate of its own and is the same at any; "
                f"use it as it is."
            )
        self.sample_rate, self.inner_rate = sample_rate, int(inner)
        self.front = Resampler(sample_rate, self.inner_rate)
        self.min_samples = math.ceil(measure.min_samples * sample_rate / self.inner_rate)
        title = f"{measure.spec.title} at {self.inner_rate} Hz"
        self.spec = replace(measure.spec, title=title, sample_rates=frozenset({sample_rate}))

    def compare(self, est: Wave, **others: Wave) -> PerItem:
        return self.measure.compare(self.front(est), **{name: self.front(x) for name, x in others.items()})

    def undefined_because(self, est: Tensor, *ref: Any) -> str:
        return self.measure.undefined_because(*map(self.front, (est, *ref)))


class Parts(Wrapper):
    """What measures of several parts of a signal share: the weighted mean of those parts that have a value."""

    weights: Sequence[float] | None = None

    def weigh(self, weights: Sequence[float], count: int) -> None:
        """Take these as the weights of so many parts; without any, all count the same."""
        if len(weights) != count or not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ArgumentError(
                f"{type(self).__name__}: got weights={weights}; needed are {count} finite ones, none below 0 and one "
                f"above."
            )
        self.weights = tuple(weights)

    def mean(self, values: Tensor) -> Tensor:
        """Over the last axis, nan where nothing is left."""
        weights = (1.0,) * values.shape[-1] if self.weights is None else self.weights
        parts = [(weight, value, ~value.isnan()) for weight, value in zip(weights, values.unbind(-1), strict=True)]
        total = torch.stack([weight * known.to(values.dtype) for weight, _, known in parts]).sum(0)
        mean = torch.stack([weight * torch.where(known, value, 0) for weight, value, known in parts]).sum(0)
        return undefined_where(total == 0, mean / torch.where(total == 0, 1, total))


class MidSide(Parts):
    r"""A measure of the middle and of the sides of a stereo signal, and their weighted mean.

    .. math:: M = (L + R) / \sqrt2, \qquad S = (L - R) / \sqrt2

    The turn is orthonormal: no energy is won or lost, and floors keep their meaning. auraloss's ``SumAndDifference``
    leaves out the root, so that its signals are louder by 3 dB; its ``SumAndDifferenceSTFTLoss`` divides ``w_sum`` and
    ``w_diff`` by 2, where these weights are divided by their sum.

    A part without a value, as the side of a mono reference has none in a ratio, is left out. A distance hears side that
    should not be there.

    Args:
        measure: To be taken of mid and side.
        weights: Of mid and of side in the mean.

    Shape:
        est, ref: (batch, channels, time) with two channels, left and right. Returns (batch, 1).

    Example:
        >>> ref = torch.eye(2).repeat(1, 4)[None]
        >>> MidSide(SNR())(0.9 * ref, ref)
        tensor([[20.0000]])
    """

    def __init__(self, measure: Measure, *, weights: tuple[float, float] = (1.0, 1.0)) -> None:
        super().__init__(measure)
        self.weigh(weights, 2)
        title = f"{measure.spec.title} of mid and side"
        self.spec = replace(measure.spec, name=f"mid_side_{measure.spec.name}", title=title, takes="joint")

    def compare(self, est: Wave, ref: Wave, **needs: Wave) -> Tensor:
        if est.shape[1] != 2:
            raise ShapeError(
                f"{self.spec.name}: got {tuple(est.shape)}; needed are two channels, left and right. For mono use the "
                f"measure as it is."
            )
        signals = {"est": est, "ref": ref, **needs}
        values = self.measure.compare(**{name: _mid_side(x) for name, x in signals.items()})
        return self.mean(values)[:, None]

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        return self.measure.undefined_because(_mid_side(est), _mid_side(ref))


def _mid_side(x: Wave) -> Wave:
    left, right = x.unbind(1)
    return torch.stack((left + right, left - right), 1) / math.sqrt(2)


class ScaleInvariant(Wrapper):
    r"""A measure of the estimate at the gain that brings it closest to the reference.

    .. math:: d(\alpha \hat s, s), \qquad \alpha = \frac{\langle \hat s, s\rangle}{\lVert \hat s\rVert^2}

    for each item and channel, with the gradient through the gain. Neither level nor polarity is heard: add a term that
    hears them where they matter. With :math:`\rho` the cosine between the signals it makes :math:`1 / (1 - \rho^2)` of
    SNR, where SI-SDR, which scales the reference, has :math:`\rho^2 / (1 - \rho^2)`. A silent estimate stays silent; to
    a silent reference the best gain is 0, so that two silent signals are compared: the value is what the measure has
    for those, with a gradient of 0.

    Args:
        measure: To be taken of the scaled estimate.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> from percloss import MAE
        >>> ref = torch.ones(1, 1, 8)
        >>> ScaleInvariant(MAE())(-0.1 * ref, ref)
        tensor([[0.]])
    """

    def __init__(self, measure: Measure) -> None:
        super().__init__(measure)
        spec = measure.spec
        self.spec = replace(
            spec,
            name=f"scaled_{spec.name}",
            title=f"{spec.title} at the best gain",
            invariant_to=(spec.invariant_to - {"swap"}) | {"gain", "polarity"},
        )

    def compare(self, est: Wave, ref: Wave, **needs: Wave) -> PerItem:
        energy = distances.energy(est)[..., None]
        silent = energy < torch.finfo(energy.dtype).tiny
        gain = (est * ref).sum(-1, keepdim=True) / torch.where(silent, 1, energy)
        return self.measure.compare(gain * est, ref, **needs)


class LoudnessMatched(Wrapper):
    r"""A measure of the estimate at the loudness of the reference, by ITU-R BS.1770-4.

    .. math:: d(g \hat s, s), \qquad g = 10^{(L(s) - L(\hat s)) / 20}

    with the gated loudness :math:`L` of each channel on its own, and the gradient through the gain; of channels that
    the measure judges together, one loudness and one gain. It is what a listening test does before it asks. An error of
    level is then not heard: add a term that hears it where it matters. An estimate is brought to the reference's energy
    before it is measured, so that the gate at -70 LKFS falls where it falls for the reference. Where nothing of either
    is above that gate, the energies are matched and no more; silence stays silence.

    Args:
        measure: To be taken of the matched estimate.
        sample_rate: Of the signals [Hz].

    Shape:
        est, ref: (batch, channels, time), of 400 ms or more. Returns what the measure returns.

    Example:
        >>> from percloss import MAE
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> LoudnessMatched(MAE(), 16_000)(0.1 * ref, ref).round(decimals=4)
        tensor([[0.]])

    References:
        [itu2015bs1770]_.
    """

    takes = ("pair", "joint")

    def __init__(self, measure: Measure, sample_rate: int) -> None:
        super().__init__(measure)
        inner = getattr(measure, "sample_rate", sample_rate)
        if inner != sample_rate:
            raise SampleRateError(
                f"LoudnessMatched: got a measure at {inner} Hz and sample_rate={sample_rate}; needed is one rate. "
                f"Type Resampled(LoudnessMatched(measure, {inner}), {sample_rate})."
            )
        self.sample_rate = sample_rate
        self.meter = LoudnessMeter(sample_rate)
        self.min_samples = max(measure.min_samples, self.meter.min_samples)
        spec = measure.spec
        deaf = "gain" in spec.invariant_to
        self.spec = replace(
            spec,
            name=f"loudness_matched_{spec.name}",
            title=f"{spec.title} at the same loudness",
            sample_rates=frozenset({sample_rate}),
            # What is deaf to a gain already stays what it is.
            invariant_to=spec.invariant_to if deaf else (spec.invariant_to - {"swap"}) | {"gain"},
        )

    def compare(self, est: Wave, ref: Wave, **needs: Wave) -> Tensor:
        together = self.spec.takes == "joint"
        shape = est.shape[:1] if together else est.shape[:2]
        signals = (x if together else x.flatten(0, 1)[:, None] for x in (est, ref))
        gain = self._gain(*signals).view(*shape, *[1] * (est.dim() - len(shape)))
        return self.measure.compare(gain * est, ref, **needs)

    def _gain(self, est: Wave, ref: Wave) -> Tensor:
        """What brings each item to the loudness of its reference, (batch,)."""
        energies = [x.square().sum((1, 2)) for x in (est, ref)]
        silent = (energies[0] < torch.finfo(est.dtype).tiny) | (energies[1] < torch.finfo(est.dtype).tiny)
        coarse = (torch.where(silent, 1, energies[1]) / torch.where(silent, 1, energies[0])).sqrt()
        gap = self.meter.integrated(ref) - self.meter.integrated(coarse[:, None, None] * est)
        return coarse * db_to_amplitude(torch.where(gap.isnan(), 0, gap))


class PerBand(Parts):
    """A measure in each of several bands of frequency, and the weighted mean of the bands that have a value.

    The transform of the whole signal is cut at the edges: no bin is in two bands, so that the bands add up to the
    signal and their energies to its energy. Filters as steep as that ring, and the end of a signal rings into its
    beginning. Bands count by their weights and not by what is in them: where a reference holds nothing but rounding, a
    ratio is one of rounding.

    Args:
        measure: To be taken of each band.
        edges: Where the bands meet [Hz], rising, between 0 and half the sample rate: one less than there are bands.
        sample_rate: Of the signals [Hz].
        weights: Of the bands in the mean, from low to high; ``None`` counts all the same.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> low, high = (torch.sin(torch.arange(8000) * rate)[None, None] for rate in (0.1, 2.0))
        >>> PerBand(SNR(), (2000,), 16_000, weights=(1, 0))(0.9 * low + 0.5 * high, low + high).round()
        tensor([[20.]])
    """

    def __init__(
        self, measure: Measure, edges: Sequence[float], sample_rate: int, *, weights: Sequence[float] | None = None
    ) -> None:
        super().__init__(measure)
        self.edges, self.sample_rate = tuple(edges), sample_rate
        if not self.edges:
            raise ArgumentError("PerBand: got no edge; needed is one at least, such as edges=(2000,) for two bands.")
        inner = getattr(measure, "sample_rate", sample_rate)
        if inner != sample_rate:
            raise SampleRateError(
                f"PerBand: got a measure at {inner} Hz and sample_rate={sample_rate}; needed is one rate. "
                f"Type Resampled(PerBand(measure, edges, {inner}), {sample_rate})."
            )
        ends = (0.0, *self.edges, sample_rate / 2)
        narrowest = min(high - low for low, high in itertools.pairwise(ends))
        if not narrowest > 0:
            raise EmptyBandError(
                f"PerBand: got edges={self.edges} at {sample_rate} Hz, which leaves a band empty; needed are rising "
                f"edges above 0 and below {sample_rate / 2:g} Hz."
            )
        if weights is not None:
            self.weigh(weights, len(ends) - 1)
        # As many samples as put a bin of the transform into every band.
        self.min_samples = max(measure.min_samples, math.ceil(sample_rate / narrowest))
        self.spec = replace(
            measure.spec,
            name=f"per_band_{measure.spec.name}",
            title=f"{measure.spec.title}, mean of {len(ends) - 1} bands",
            sample_rates=frozenset({sample_rate}),
        )

    def compare(self, est: Wave, ref: Wave, **needs: Wave) -> PerItem:
        signals = {"est": est, "ref": ref, **needs}
        # Bands stand in the place of batch items.
        values = self.measure.compare(**{name: self.bands(x).flatten(0, 1) for name, x in signals.items()})
        return self.mean(values.view(-1, *est.shape[:2]).movedim(0, -1))

    def bands(self, x: Wave) -> Tensor:
        """The bands, from low to high, which add up to the signal: (bands, batch, channels, time)."""
        time, spectrum = x.shape[-1], torch.fft.rfft(x)
        cuts = (0, *(math.ceil(edge * time / self.sample_rate) for edge in self.edges), spectrum.shape[-1])
        parts = [
            torch.nn.functional.pad(spectrum[..., low:high], (low, spectrum.shape[-1] - high))
            for low, high in itertools.pairwise(cuts)
        ]
        bands: Tensor = torch.fft.irfft(torch.stack(parts), n=time)
        return bands


class PerStem(Parts):
    """A measure of each stem of a separator whose outputs have an order, channels averaged.

    Weights of the stems belong to the loss and not to the scores, which keep their unit: ``weight=`` of ``Loss`` takes
    them, and makes the weighted mean of the stems that have a value. A channel without a value is left out too.

    Args:
        measure: To be taken of each stem.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, sources).

    Example:
        >>> from percloss import Loss, MAE
        >>> ref = torch.zeros(1, 2, 1, 8)
        >>> est = torch.tensor([0.1, 0.5])[:, None, None].expand_as(ref)
        >>> PerStem(MAE())(est, ref)
        tensor([[0.1000, 0.5000]])
        >>> Loss(PerStem(MAE()))(est, ref, weight=torch.tensor([[3.0, 1.0]]))
        tensor(0.2000)
    """

    def __init__(self, measure: Measure) -> None:
        super().__init__(measure)
        title = f"{measure.spec.title} per stem"
        self.spec = replace(measure.spec, name=f"per_stem_{measure.spec.name}", title=title, takes="sources")

    def compare(self, est: Sources, ref: Sources, **needs: Sources) -> Tensor:
        signals = {"est": est, "ref": ref, **needs}
        values = self.measure.compare(**{name: x.flatten(0, 1) for name, x in signals.items()})
        return self.mean(values).view(est.shape[:2])


class MixtureInvariant(Wrapper):
    r"""A measure of mixtures, each remixed from the estimates that suit it best: training without sources (MixIT).

    A network is given the sum of several mixtures and splits it into more sources than each has. Every source is put
    into one mixture, and the mixing counts that is best in the mean over mixtures:

    .. math:: \min_{A} \frac1N \sum_n d\bigl((A \hat s)_n, x_n\bigr), \qquad
        A \in \{0, 1\}^{N \times M},\ \text{one } 1 \text{ in each column}

    The search has no gradient and lays out a few remixes at a time; the gradient is that of the best one. It takes
    :math:`N 2^M` evaluations of the measure. Least squares, for more sources, solves for real gains and puts each
    source where its gain is largest: the choice is then not the measure's own. Channels are averaged; a mixture without
    a value takes no part in the choice.

    Args:
        measure: Of a mixture and its remix; ``None`` is ``ThresholdedSNR(30)``, as published.
        search: ``"all"``, up to 4096 mixings, which is 12 sources of two mixtures; or ``"least_squares"``.

    Shape:
        est: (batch, sources, channels, time), ref: (batch, mixtures, channels, time). Returns (batch, mixtures).

    Example:
        >>> sources = torch.eye(4).repeat(1, 8)[None, :, None]
        >>> mixtures = torch.stack((sources[:, 0] + sources[:, 2], sources[:, 1] + sources[:, 3]), 1)
        >>> MixtureInvariant()(sources, mixtures)
        tensor([[30., 30.]])

    References:
        [wisdom2020]_; [wisdom2021]_ for least squares.
    """

    MOST = 4096

    def __init__(self, measure: Measure | None = None, *, search: Literal["all", "least_squares"] = "all") -> None:
        super().__init__(ThresholdedSNR() if measure is None else measure)
        if search not in ("all", "least_squares"):
            raise ArgumentError(f'MixtureInvariant: got search={search!r}; needed is "all" or "least_squares".')
        self.search = search
        spec = self.measure.spec
        self.spec = replace(
            spec,
            name=f"mixit_{spec.name}",
            title=f"{spec.title}, best mixing",
            takes="mixtures",
            compiles=False,
            invariant_to=spec.invariant_to - {"swap"},
        )

    def compare(self, est: Sources, ref: Tensor) -> Tensor:
        mixing = torch.nn.functional.one_hot(self.assign(est, ref), ref.shape[1])
        remixed = torch.einsum("bmn,bmct->bnct", mixing.to(est.dtype), est)
        return self.measure.compare(remixed.flatten(0, 1), ref.flatten(0, 1)).mean(1).view(ref.shape[:2])

    @torch.no_grad()
    def assign(self, est: Sources, ref: Tensor) -> Tensor:
        """The mixture that each estimate belongs to, (batch, sources)."""
        if self.search == "least_squares":
            signals, mixtures = est.flatten(2), ref.flatten(2)
            gains: Tensor = mixtures @ signals.mT @ torch.linalg.pinv(signals @ signals.mT, hermitian=True)
            return gains.argmax(1)
        sources, count = est.shape[1], ref.shape[1]
        if max(count, 2) ** sources > self.MOST:
            raise ShapeError(
                f"{self.spec.name}: got {sources} sources of {count} mixtures, which makes more than {self.MOST} "
                f'mixings; needed are fewer. Type MixtureInvariant(measure, search="least_squares").'
            )
        device = est.device
        choices = torch.cartesian_prod(*[torch.arange(count, device=device)] * sources).view(-1, sources)
        # The sources in a mixture, as the bits of a number that tells which remix it is.
        bit = 2 ** torch.arange(sources, device=device)
        remixes = torch.stack([((choices == mixture) * bit).sum(1) for mixture in range(count)], 1)
        cost = torch.nan_to_num(self.spec.cost(self._every_remix(est, ref)), nan=0.0)
        totals = cost[:, remixes, torch.arange(count, device=device)].sum(-1)
        return choices[totals.argmin(1)]

    def _every_remix(self, est: Sources, ref: Tensor) -> Tensor:
        """The measure of every sum of estimates against every mixture, (batch, 2 ** sources, mixtures)."""
        (batch, sources, channels, time), mixtures = est.shape, ref.shape[1]
        bits = torch.arange(2**sources, device=est.device)[:, None] >> torch.arange(sources, device=est.device) & 1
        values = []
        for some in bits.to(est.dtype).split(max(1, BLOCK // ref.numel())):
            remixed = torch.einsum("km,bmct->bkct", some, est)
            shape = (batch, len(some), mixtures, channels, time)
            pair = (x.expand(shape).reshape(-1, channels, time) for x in (remixed[:, :, None], ref[:, None]))
            values.append(self.measure.compare(*pair).mean(1).view(shape[:3]))
        return torch.cat(values, 1)


class Improvement(Wrapper):
    """A ratio's gain over the unprocessed mixture: the measure of the estimate less that of the mixture.

    Args:
        measure: The ratio, such as SISDR().

    Shape:
        est, ref, mix: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref, noise = torch.ones(1, 1, 8), torch.tensor([1.0, -1.0]).repeat(4)
        >>> Improvement(SNR())(ref + 0.1 * noise, ref, mix=ref + noise)
        tensor([[20.0000]])
    """

    def __init__(self, measure: Measure) -> None:
        super().__init__(measure)
        self.spec = _improvement(measure.spec)

    def compare(self, est: Wave, ref: Wave, *, mix: Wave) -> PerItem:
        return self.measure.compare(est, ref) - self.measure.compare(mix, ref)


def _improvement(spec: Spec) -> Spec:
    low, high = spec.bounds
    return replace(
        spec,
        name=f"{spec.name}_i",
        title=f"{spec.title} improvement",
        bounds=(low - high, high - low),
        perfect=None,
        needs=(*spec.needs, "mix"),
        invariant_to=spec.invariant_to & {"gain", "level", "polarity"},
    )


@register
class SNRImprovement(Improvement):
    """Improvement of the SNR over the mixture, in dB.  Higher is better; 0 dB where the estimate is the mixture.

    Shape:
        est, ref, mix: (batch, channels, time). Returns (batch, channels).

    References:
        [leroux2019]_.
    """

    spec = _improvement(SNR.spec)

    def __init__(self) -> None:
        super().__init__(SNR())


@register
class SISDRImprovement(Improvement):
    """Improvement of SI-SDR over the mixture, in dB.  Higher is better; 0 dB where the estimate is the mixture.

    Args:
        zero_mean: As in ``SISDR``.

    Shape:
        est, ref, mix: (batch, channels, time). Returns (batch, channels).

    References:
        [leroux2019]_; [luo2019]_, which reports it.
    """

    spec = _improvement(SISDR.spec)

    def __init__(self, *, zero_mean: bool = False) -> None:
        super().__init__(SISDR(zero_mean=zero_mean))
        self.zero_mean = zero_mean
