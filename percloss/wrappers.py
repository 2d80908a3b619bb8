"""A changed measure is a measure: framewise, over permutations, at another rate, as improvement over the mixture."""

import itertools
import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from percloss._typing import PerItem, Sources, Wave
from percloss.dsp.safe import undefined_where
from percloss.errors import ArgumentError
from percloss.frontends import Resampler
from percloss.measure import Measure, register
from percloss.measures.ratios import SISDR, SNR
from percloss.spec import Spec


class Wrapper(Measure):
    """What every changed measure shares: it holds the measure it changes, and derives its Spec from that one's."""

    def __init__(self, measure: Measure) -> None:
        super().__init__()
        if measure.spec.takes != "pair":
            raise ArgumentError(
                f"{type(self).__name__}: got {measure.spec.name}, which takes {measure.spec.takes}; "
                f'needed is a measure that takes "pair".'
            )
        self.measure = measure
        self.min_samples = measure.min_samples

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        """As the wrapped measure says."""
        return self.measure.undefined_because(est, ref)


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
        defined = ~values.isnan()
        if self.reduce == "mean":
            reduced = torch.where(defined, values, 0).sum(1) / defined.sum(1).clamp(min=1)
        else:  # the mean of the middle two of an even number, as numpy's median
            reduced = values.nanquantile(0.5, 1)
        return undefined_where(~defined.any(1), reduced)


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

    EXACT = 6

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
        cost = torch.nan_to_num(self.spec.sign * values.detach(), nan=0.0)
        sources = cost.shape[1]
        if sources > self.EXACT:
            from scipy.optimize import linear_sum_assignment

            columns = [linear_sum_assignment(item.cpu().numpy().T)[1] for item in cost.double()]
            return torch.stack([torch.as_tensor(column, device=cost.device) for column in columns])
        orders = torch.tensor(list(itertools.permutations(range(sources))), device=cost.device)
        totals = cost[:, orders, torch.arange(sources, device=cost.device)].sum(-1)
        return orders[totals.argmin(1)]


class Resampled(Wrapper):
    """A measure at its own rate, of signals at another: both are resampled, with a gradient, before it is taken.

    Args:
        measure: Built at its own rate.
        sample_rate: Of the signals that will come [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> from percloss import create
        >>> measure = Resampled(create("mel", sample_rate=16_000), sample_rate=48_000)
        >>> measure(torch.zeros(1, 1, 48_000), torch.zeros(1, 1, 48_000))
        tensor([[0.]])
    """

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

    def compare(self, est: Wave, ref: Wave, **needs: Wave) -> PerItem:
        signals = {"est": est, "ref": ref, **needs}
        return self.measure.compare(**{name: self.front(x) for name, x in signals.items()})

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        return self.measure.undefined_because(self.front(est), self.front(ref))


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
