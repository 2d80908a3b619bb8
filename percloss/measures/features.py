"""Distances between what a net makes of two signals: any net's layers, random convolutions, scattering, CDPAM."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from percloss._typing import PerItem, Wave
from percloss.dsp.given import given
from percloss.dsp.safe import db_to_power
from percloss.engine import BLOCK_CPU, BLOCK_GPU, applies
from percloss.errors import ArgumentError, PerclossError
from percloss.frontends import Resampler
from percloss.measure import Measure, register
from percloss.nets.cdpam import CDPAM
from percloss.nets.frozen import FrozenNet
from percloss.nets.random_convolutions import RandomConvolutions
from percloss.nets.scattering import LogScattering
from percloss.spec import Spec

BOUNDS = (0.0, math.inf)
# Rounding moves a feature by less than this part of their deviation, where a batch's statistics move it by as much.
_MIXED = 1e-2
# What nets raise at an input they cannot take.
_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError, ZeroDivisionError, PerclossError)

Norm = Literal["l1", "l2", "cosine"]
Normalize = Literal["reference", "none"]
Features = dict[str, Tensor]


class FeatureDistance(Measure):
    r"""Distance between a net's feature maps of two signals.  Lower is better; 0 where they are equal.

    .. math:: \sum_l w_l \, d_l, \qquad
              d_l = \frac{1}{\sigma_l} \operatorname{mean}\bigl|\phi_l(\hat x) - \phi_l(x)\bigr|

    over layers :math:`l` of a frozen net :math:`\phi`, with :math:`\sigma_l` the standard deviation of the reference's
    features at that layer, taken per item. The net is copied and kept in evaluation mode outside the tree of modules
    (``percloss.nets.frozen``): nothing saves, trains, rounds or broadcasts it. The reference has no gradient.

    What it hears is what the net was trained for. Of the nets here only CDPAM learned which differences people hear;
    and a loss can be won by an estimate that only the net takes for the reference. Look at a second measure.

    At construction a second of noise (or as much as ``net.min_samples`` says) is sent through the net. A layer that is
    missing, constant, not finite, without a gradient, or whose items depend on one another is an error there. An item
    whose features are not finite later is infinitely far away, so that a loss shows it.

    Args:
        net: Takes ``(batch, time)`` at its own rate. A net that returns a dict names its feature maps
            ``(batch, channels, frames...)`` itself; of any other net, submodules are tapped by their names.
        layers: Names of the feature maps; ``None`` is what ``net.layers`` or its dict names.
        sample_rate: Of both signals [Hz].
        net_rate: That the net was trained at [Hz]; both signals are resampled to it. ``None`` is ``net.sample_rate``.
        norm: ``"l1"`` mean absolute, ``"l2"`` mean squared difference, or ``"cosine"``: 1 less the cosine between the
            channels of each frame, half of what LPIPS takes, 1 where one of the two is silent.
        normalize: ``"reference"`` divides by :math:`\sigma_l` (squared for ``"l2"``; nothing for ``"cosine"``). To it
            a thousandth of the deviation that noise at -20 dBFS has is added as powers add, so that a silent reference
            is no singularity. ``"none"`` divides by nothing.
        weights: :math:`w_l`, by name or in the order of the layers; ``None`` is their mean. See ``balanced_weights``.
        chunk_seconds: Longest stretch the net is given at once [s]; ``None`` is all of it. Memory is then that of one
            stretch. Exact where a net looks at no more than a frame and the stretch is a multiple of it. Elsewhere the
            net takes each end of a stretch for an end of the signal, and what it averages over the signal it averages
            over the stretch: another number, to be compared with its like only.
        channel_dim: Axis of a feature map that holds the channels, for ``"cosine"``: 1, or -1 for many transformers.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 8, 64, stride=16), torch.nn.ReLU()
        ... )
        >>> measure = FeatureDistance(net, ("2",), sample_rate=48_000, net_rate=16_000)
        >>> ref = torch.sin(torch.arange(48_000) / 9)[None, None]
        >>> measure(ref, ref)
        tensor([[0.]])

    References:
        [germain2019]_ for the distance and weights that balance the layers; Stable Audio Tools (``HubertLoss``) for
        the division by the reference's deviation, there over the whole batch; [zhang2018]_ for the cosine.
    """

    def __init__(
        self,
        net: nn.Module,
        layers: Sequence[str] | None = None,
        *,
        sample_rate: int,
        net_rate: int | None = None,
        norm: Norm = "l1",
        normalize: Normalize = "reference",
        weights: Mapping[str, float] | Sequence[float] | None = None,
        chunk_seconds: float | None = None,
        channel_dim: int = 1,
    ) -> None:
        super().__init__()
        if not hasattr(type(self), "spec"):
            self.spec = Spec(
                name="feature",
                title=f"Feature distance by {type(net).__name__}",
                unit="1",
                better="lower",
                bounds=BOUNDS,
                perfect=0.0,
                compiles=False,  # the net decides that
                invariant_to=frozenset({"swap"} if normalize == "none" or norm == "cosine" else ()),
                cite=("germain2019",),
            )
        name = self.spec.name
        if norm not in ("l1", "l2", "cosine") or normalize not in ("reference", "none"):
            raise ArgumentError(
                f'{name}: got norm={norm!r}, normalize={normalize!r}; needed are norm="l1", "l2" or "cosine" and '
                f'normalize="reference" or "none".'
            )
        rate = getattr(net, "sample_rate", None) if net_rate is None else net_rate
        if rate is None:
            raise ArgumentError(
                f"{name}: {type(net).__name__} does not say what rate it was trained at; type net_rate=16_000."
            )
        if chunk_seconds is not None and not 0 < chunk_seconds < math.inf:
            raise ArgumentError(f"{name}: got chunk_seconds={chunk_seconds}; needed are seconds above 0, or None.")
        self.sample_rate, self.net_rate, self.norm, self.normalize = sample_rate, rate, norm, normalize
        self.chunk_seconds, self.channel_dim = chunk_seconds, channel_dim
        self.frozen = FrozenNet(net)
        self.front = Resampler(sample_rate, rate).to(self.frozen.device)
        self.layers, self._floors = _examined(self, layers)
        self.weights = _weights(weights, self.layers, name)
        least = _least_samples(self)
        self._chunk = None if chunk_seconds is None else round(chunk_seconds * rate)
        if self._chunk is not None and self._chunk < least:
            raise ArgumentError(
                f"{name}: got chunk_seconds={chunk_seconds}; the net needs {least} samples at {rate} Hz: "
                f"type chunk_seconds={math.ceil(1000 * least / rate) / 1000} or more."
            )
        self._least = least
        # The fewest whose ceil(time * rate / sample_rate) is enough.
        self.min_samples = (least - 1) * sample_rate // rate + 1

    @property
    def net(self) -> nn.Module:
        """The frozen copy."""
        return self.frozen.net

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        est_rows, ref_rows = self.front(est).flatten(0, 1), self.front(ref.detach()).flatten(0, 1)
        if self.engine == "closed" and applies(est, ref):
            value = given(
                est_rows,
                *_value_and_gradient(est_rows, ref_rows, self),
                refusal="feature: a second derivative was asked for and the gradient is made with the value; "
                'set engine = "eager" on the measure: loss.measure.engine = "eager".',
            )
        else:
            value = self._sum(self._distances(est_rows, ref_rows))
        # A mean over items leaves out nan: what the net did not survive must not be left out.
        return torch.where(value.isnan(), math.inf, value).view(est.shape[:2]).to(est.dtype)

    def parts(self, est: Tensor, ref: Tensor) -> dict[str, Tensor]:
        """Each layer's distance before its weight, ``(batch, channels)``, without a gradient."""
        signals = self._checked({"est": est, "ref": ref})
        with torch.no_grad(), torch.autocast(est.device.type, enabled=False):
            rows = [self.front(x).flatten(0, 1) for x in signals.values()]
            return {name: value.view(est.shape[:2]) for name, value in self._distances(*rows).items()}

    def balanced_weights(self, est: Tensor, ref: Tensor) -> dict[str, float]:
        """Weights with which every layer contributes the same, and all together 1, for these signals.

        [germain2019]_ take them once, after ten epochs: ``FeatureDistance(net, ..., weights=...)``.
        """
        means = {name: float(value.mean()) for name, value in self.parts(est, ref).items()}
        flat = [name for name, mean in means.items() if not 0 < mean < math.inf]
        if flat:
            raise ArgumentError(
                f"{self.spec.name}: est and ref are {means[flat[0]]} apart in {flat[0]!r}; needed are estimates that "
                f"differ from their references."
            )
        return {name: 1 / (len(means) * mean) for name, mean in means.items()}

    def features(self, rows: Tensor) -> Features:
        """The feature maps of signals at the net's rate, (rows, time), by name."""
        found = self.frozen(rows)
        missing = [name for name in self.layers if not isinstance(found.get(name), Tensor)]
        if missing:
            raise ArgumentError(
                f"{self.spec.name}: the net returned nothing for {missing} of {rows.shape[-1]} samples; "
                f"needed is a tensor for each of {list(self.layers)}. Leave that layer out."
            )
        return {name: found[name] for name in self.layers}

    def _sum(self, parts: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.weights[name] * part for name, part in parts.items()]).sum(0)

    def _stretches(self, time: int) -> Iterator[tuple[slice, float]]:
        """What the net is given at once, and its share of the whole. A rest too short for it goes with the last."""
        step = time if self._chunk is None else self._chunk
        count = max(1, (time - self._least) // step + 1)
        for number in range(count):
            end = time if number == count - 1 else (number + 1) * step
            yield slice(number * step, end), (end - number * step) / time

    def _distances(self, est: Tensor, ref: Tensor) -> dict[str, Tensor]:
        """Each layer's, (rows,), as plain differentiable operations."""
        total: dict[str, Tensor] = {}
        for rows, stretch, share, deviations, found in self._reference(ref, ref.shape[0]):
            mine = self.features(est[rows, stretch])
            for name in self.layers:
                part = share * self._apart(mine[name], found[name]) / deviations[name]
                total[name] = total[name] + part if name in total else part
        return total

    def _reference(self, ref: Tensor, step: int) -> Iterator[tuple[slice, slice, float, dict[str, Tensor], Features]]:
        """Block by block: rows, stretch and its share of the time, each layer's deviation, and the feature maps."""
        for start in range(0, ref.shape[0], step):
            rows = slice(start, start + step)
            with torch.no_grad():
                kept = self.features(ref[rows]) if self._chunk is None else {}
                deviations = self._deviations(ref[rows], kept)
            for stretch, share in self._stretches(ref.shape[-1]):
                with torch.no_grad():
                    found = kept or self.features(ref[rows, stretch])
                yield rows, stretch, share, deviations, found

    def _deviations(self, ref: Tensor, kept: Features) -> dict[str, Tensor]:
        """What each layer's distance is divided by: the deviation over all stretches, in one pass; or 1."""
        if self.normalize == "none" or self.norm == "cosine":
            return dict.fromkeys(self.layers, torch.ones_like(ref[:, 0]))
        moments: dict[str, tuple[Tensor, Tensor]] = {}
        done = 0.0
        for stretch, share in self._stretches(ref.shape[-1]):
            done += share
            part = share / done
            for name, x in (kept or self.features(ref[:, stretch])).items():
                variance, mean = torch.var_mean(x.flatten(1), 1, correction=0)
                before, centre = moments.get(name, (variance, mean))
                between = part * (1 - part) * (mean - centre).square()
                moments[name] = before + part * (variance - before) + between, centre + part * (mean - centre)
        power = 1.0 if self.norm == "l2" else 0.5
        return {name: (variance + self._floors[name]) ** power for name, (variance, _) in moments.items()}

    def _apart(self, est: Tensor, ref: Tensor) -> Tensor:
        if self.norm == "cosine":
            return _cosine(est.movedim(self.channel_dim, 1), ref.movedim(self.channel_dim, 1))
        difference = (est - ref).flatten(1)
        return difference.abs().mean(1) if self.norm == "l1" else difference.square().mean(1)


@torch.no_grad()
def _value_and_gradient(est: Tensor, ref: Tensor, measure: FeatureDistance) -> tuple[Tensor, Tensor]:
    """By blocks of rows and stretches of time, (rows,) and (rows, time): no more of a graph exists at a time."""
    longest = max(stretch.stop - stretch.start for stretch, _ in measure._stretches(est.shape[-1]))
    step = max(1, (BLOCK_GPU if est.is_cuda else BLOCK_CPU) // longest)
    value, gradient = est.new_zeros(est.shape[0]), torch.zeros_like(est)
    for rows, stretch, share, deviations, found in measure._reference(ref, step):
        part = est[rows, stretch].detach().requires_grad_()
        with torch.enable_grad():
            mine = measure.features(part)
            apart = {name: share * measure._apart(mine[name], found[name]) / deviations[name] for name in mine}
            total = measure._sum(apart)
            (slope,) = torch.autograd.grad(total.sum(), part)
        value[rows] += total.detach()
        gradient[rows, stretch] = slope
    return value, gradient


def _examined(measure: FeatureDistance, layers: Sequence[str] | None) -> tuple[tuple[str, ...], dict[str, float]]:
    """The layers, tapped where they must be, and the variance that is added to each one's; or what is wrong."""
    frozen = measure.frozen
    samples = max(measure.net_rate, getattr(measure.net, "min_samples", 1))
    noise = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(0)).to(frozen.device)
    own = _tried(measure, noise)
    measure.layers = _named(measure, layers, list(own))
    frozen.tap(layer for layer in measure.layers if layer not in own)
    with torch.enable_grad():
        together = _tried(measure, noise.clone().requires_grad_())
    alone = _tried(measure, noise[:1])
    return measure.layers, {
        layer: db_to_power(-60.0) * _spread(measure, layer, together.get(layer), alone.get(layer))
        for layer in measure.layers
    }


def _named(measure: FeatureDistance, layers: Sequence[str] | None, own: list[str]) -> tuple[str, ...]:
    """The names that are meant, all known."""
    name, kind = measure.spec.name, type(measure.net).__name__
    known = list(getattr(measure.net, "layers", own))
    modules = [path for path, _ in measure.net.named_modules() if path]
    wanted = tuple(known if layers is None else layers)
    if isinstance(layers, str) or not wanted or len(set(wanted)) < len(wanted):
        raise ArgumentError(
            f"{name}: got layers={layers!r} for {kind}, which returns {own or 'no dict'}; needed are one or more "
            f"different names: layers=({(own or modules or ['conv1'])[-1]!r},)."
        )
    unknown = [layer for layer in wanted if layer not in own and layer not in modules]
    if unknown:
        raise ArgumentError(
            f"{name}: {kind} has no layer {unknown}; it returns {own or 'no dict'}, and its submodules are "
            f"{', '.join(modules[:8])}{' ...' if len(modules) > 8 else ''}."
        )
    return wanted


def _spread(measure: FeatureDistance, layer: str, found: object, alone: object) -> float:
    """Variance of a layer's features of noise, if they are what can be compared.

    Args:
        measure: Whose net it is.
        layer: Which.
        found: What the net returned for two items, with a graph.
        alone: What it returned for the first of them.
    """
    what = f"{measure.spec.name}: {layer!r} of {type(measure.net).__name__}"
    if not (isinstance(found, Tensor) and isinstance(alone, Tensor) and found.is_floating_point()):
        raise ArgumentError(
            f"{what} gave {found.dtype if isinstance(found, Tensor) else type(found).__name__}; needed is a tensor of "
            f"floating point. A layer that did not run, or that keeps its output in an object, cannot be compared."
        )
    axis, axes = measure.channel_dim, found.dim()
    if found.shape[0] != 2 or axes < 2 or found.numel() == 0 or not (0 < axis < axes or -axes < axis < 0):
        raise ArgumentError(
            f"{what} gave {tuple(found.shape)} for two items; needed is (batch, channels, frames...), "
            f"with its channels on axis channel_dim={axis}: type channel_dim=1 or -1."
        )
    if not found.isfinite().all():
        raise ArgumentError(
            f"{what} gave values that are not finite for noise at -20 dBFS; needed is a net that works."
        )
    if found.grad_fn is None:
        raise ArgumentError(f"{what} has no gradient; needed is a net without detach() and no_grad() on the way.")
    found = found.detach()
    apart = alone.shape != found[:1].shape or float((alone - found[:1]).abs().max()) > _MIXED * float(found.std())
    if apart and bool(found.std() > 0):
        raise ArgumentError(
            f"{what} is another for an item beside others than alone; needed is a net whose items do not mix: "
            f"batch normalisation with track_running_stats=True."
        )
    variance = float(found.flatten(1).var(1, correction=0).mean())
    single = measure.normalize == "none" and found[0].numel() == 1
    if variance == 0 and not (single and bool(found.std() > 0)):
        hint = "; of a net with one value an item the deviation is 0: type normalize='none'" * (found[0].numel() == 1)
        raise ArgumentError(f"{what} is one value throughout for noise; needed are features that hear something{hint}.")
    return variance


def _cosine(est: Tensor, ref: Tensor) -> Tensor:
    """Mean over positions of 1 less the cosine between the channels, (rows,).

    As half the squared chord between two unit vectors it is exact where they are close. A vector 80 dB below the other
    is on its way to being silent, and a silent one is at right angles to any other.
    """
    est_size, ref_size = est.square().sum(1, keepdim=True), ref.square().sum(1, keepdim=True)
    floor = db_to_power(-80.0)
    both_silent = est_size + ref_size < torch.finfo(est.dtype).tiny
    units, rests = [], torch.zeros_like(est_size)
    for x, size, other in ((est, est_size, ref_size), (ref, ref_size, est_size)):
        total = torch.where(both_silent, 1, size + floor * other)
        units.append(x / total.sqrt())
        rests = rests + torch.where(both_silent, 0, floor * other / total)
    chord = (units[0] - units[1]).square().sum(1, keepdim=True)
    return ((chord + rests) / 2).flatten(1).mean(1)


def _tried(measure: FeatureDistance, noise: Tensor) -> dict[str, Any]:
    """What the net makes of noise, or a named error."""
    try:
        return measure.frozen(noise)  # type: ignore[no-any-return]
    except _REFUSALS as error:
        raise ArgumentError(
            f"{measure.spec.name}: {type(measure.net).__name__} does not take {tuple(noise.shape)} samples at "
            f"{measure.net_rate} Hz ({type(error).__name__}: {str(error)[:200]}); needed is a net of (batch, time): "
            f"for one of (batch, channels, time) type nn.Sequential(nn.Unflatten(1, (1, -1)), net)."
        ) from error


def _least_samples(measure: FeatureDistance) -> int:
    """The fewest samples at its own rate that the net makes features of."""
    least = getattr(measure.net, "min_samples", None)
    if least is not None:
        return int(least)

    def works(samples: int) -> bool:
        noise = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
        try:
            with torch.no_grad():
                found = measure.features(noise.to(measure.frozen.device))
        except _REFUSALS:
            return False
        return all(x.numel() and bool(x.isfinite().all()) for x in found.values())

    low, high = 0, 1
    while high < measure.net_rate and not works(high):
        low, high = high, 2 * high
    high = min(high, measure.net_rate)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def _weights(
    given: Mapping[str, float] | Sequence[float] | None, layers: tuple[str, ...], name: str
) -> dict[str, float]:
    if given is None:
        return {layer: 1 / len(layers) for layer in layers}
    named = dict(given) if isinstance(given, Mapping) else dict(zip(layers, given, strict=False))
    fits = set(named) == set(layers) and len(given) == len(layers)
    if not fits or not all(0 <= weight < math.inf for weight in named.values()) or not any(named.values()):
        raise ArgumentError(
            f"{name}: got weights={given} for layers {list(layers)}; needed is one for each, finite, not below 0 and "
            f"not all 0."
        )
    return {layer: float(named[layer]) for layer in layers}


@register
class RandomConvolutionDistance(FeatureDistance):
    """Distance of random multi-scale convolutions.  Lower is better; 0 where the features are equal.

    Of ``percloss.nets.random_convolutions``: Gaussian filters of 2 to 32 ms, two rectified layers at each scale, drawn
    from a seeded generator and the same on every machine. It needs no weights, and it is the control for all measures
    that do: what a trained net is worth is what it does better than this. It has a sense for fine structure, phase and
    polarity, and none for hearing: no threshold, no masking, all frequencies alike. [saddler2020]_ found random nets
    of no use to a denoiser where trained ones were, and neither better than a bank of filters.

    Args:
        sample_rate: Of both signals [Hz].
        scales: Lengths of a frame [s].
        filters: Of each layer at each scale.
        seed: Of the generator that draws the filters.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> RandomConvolutionDistance(16_000)(ref, ref)
        tensor([[0.]])

    References:
        [saddler2020]_; [germain2019]_ for the distance.
    """

    spec = Spec(
        name="random_convolution",
        title="Random convolution distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        cite=("saddler2020", "germain2019"),
    )

    def __init__(
        self,
        sample_rate: int,
        *,
        scales: Sequence[float] = (0.002, 0.008, 0.032),
        filters: int = 32,
        seed: int = 0,
    ) -> None:
        net = RandomConvolutions(sample_rate, scales=scales, filters=filters, seed=seed)
        super().__init__(net, sample_rate=sample_rate)
        self.scales, self.filters, self.seed = tuple(scales), filters, seed


@register
class ScatteringDistance(FeatureDistance):
    r"""Distance of log scattering coefficients.  Lower is better; 0 where they are equal.

    .. math:: \tfrac12 \sum_{m=1}^2 \operatorname{mean}\bigl|\ln S_m \hat x - \ln S_m x\bigr|

    The first order is much like a log spectrum with bands an eighth of an octave wide, averaged over about a tenth of a
    second. The second holds how the level in each band fluctuates, from once in that time to the band's own width:
    attacks, tremolo, beats, roughness. It hardly hears a shift that is short against the averaging, and no phase
    within it.

    Args:
        sample_rate: Of both signals [Hz].
        per_octave: Wavelets of the first order in an octave.
        averaging: Scale of the low-pass filter [s], rounded to a power of two of samples.
        floor_db: Added to the power of each coefficient [dB re full scale].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> ScatteringDistance(16_000)(-ref, ref)
        tensor([[0.]])

    References:
        [anden2014]_ for the transform; [andreux2020]_, with which a test compares it.
    """

    spec = Spec(
        name="scattering",
        title="Log scattering distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        compiles=False,  # it does, but a graph of a thousand nodes takes longer to make than to save
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("anden2014", "andreux2020"),
    )

    def __init__(
        self, sample_rate: int, *, per_octave: int = 8, averaging: float = 0.032, floor_db: float = -120.0
    ) -> None:
        net = LogScattering(sample_rate, per_octave=per_octave, averaging=averaging, floor_db=floor_db)
        super().__init__(net, sample_rate=sample_rate, normalize="none")
        self.per_octave, self.averaging, self.floor_db = per_octave, averaging, floor_db


class CDPAMDistance(FeatureDistance):
    """CDPAM, a learned perceptual distance of speech.  Lower is better; 0 where its head hears no difference.

    The sum over the head's four layers of the weighted absolute differences, as the package computes it. Level counts:
    it was trained on recordings near full scale. It was fitted to judgements of speech, most of them near the just
    noticeable difference; music and strong artefacts are outside of that. One number is made of the mean over time, so
    that long signals hide short faults. About 100 billion multiplications go into a second of sound: a term for the
    last stage of a training, or a metric.

    Args:
        sample_rate: Of both signals [Hz]; they are resampled to 22050 Hz.
        path: A copy of ``scratchJNDdefault_best_model.pth``; the one in the installed package ``cdpam`` if not given.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    References:
        [manocha2021]_.
    """

    spec = Spec(
        name="cdpam",
        title="CDPAM",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"swap"}),
        cite=("manocha2021",),
        extra="cdpam",
    )

    def __init__(self, sample_rate: int, path: str | Path | None = None) -> None:
        net = CDPAM.pretrained(path)
        # Sums over channels there, means here.
        weights = {f"head{number}": float(size) for number, size in enumerate(net.head_sizes, start=1)}
        super().__init__(net, tuple(weights), sample_rate=sample_rate, normalize="none", weights=weights)
        self.path = path
