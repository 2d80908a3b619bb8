"""The metric view: a measure as a torchmetrics.Metric that keeps every item (``pip install "percloss[metrics]"``)."""

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, cast

import torch
from torch import Tensor

from percloss import wrappers
from percloss._optional import require
from percloss.measure import Measure
from percloss.measures import masking, phase, ratios, spectral, speech, waveform
from percloss.uncertainty import mean_interval

if TYPE_CHECKING:
    import torchmetrics
else:
    torchmetrics = require("torchmetrics", extra="metrics")

P = ParamSpec("P")


class Metric(torchmetrics.Metric):
    """A measure over a data set: one value per item is kept, so that the spread can be told and not only the mean.

    An item is one entry of the batch; its channels (or sources) are averaged. Items without a value are counted, and
    left out of mean, median and interval. Under distributed training the items of all processes are gathered.

    Args:
        measure: Which number is kept.
        confidence: Of the bootstrap interval of the mean.
        **kwargs: Passed on to ``torchmetrics.Metric``.

    Example:
        >>> metric = Metric(percloss.SNR())
        >>> ref = torch.ones(3, 1, 8)
        >>> metric.update(torch.tensor([0.9, 0.99, 0.999])[:, None, None] * ref, ref)
        >>> {name: round(metric.compute()[name].item(), 1) for name in ("mean", "median", "n", "undefined")}
        {'mean': 40.0, 'median': 40.0, 'n': 3, 'undefined': 0}
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, measure: Measure, *, confidence: float = 0.95, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.measure = measure
        self.confidence = confidence
        # torchmetrics makes these constants of the class; here they are the measure's.
        self.__dict__["higher_is_better"] = measure.spec.better == "higher"
        # A MetricCollection takes metrics whose states look alike for one, and updates one: a name for each measure.
        self.state = f"values_{zlib.crc32(repr(measure).encode()):08x}"
        self.add_state(self.state, default=[], dist_reduce_fx="cat")

    def update(self, est: Tensor, ref: Tensor, *, lengths: Tensor | None = None, **needs: Tensor) -> None:
        """Score a batch and keep its items. Takes what the measure takes."""
        with torch.no_grad():
            getattr(self, self.state).append(self.measure(est, ref, lengths=lengths, **needs).nanmean(1))

    @property
    def items(self) -> Tensor:
        """One value per item so far, nan where an item has none, ``(n,)``."""
        held = getattr(self, self.state)
        held = held if isinstance(held, list) else [held]
        return torch.cat(held) if held else torch.empty(0)

    def compute(self) -> dict[str, Tensor]:
        """``mean``, ``median``, ends of the mean's interval, the number of items ``n`` and of those without a value."""
        items = self.items
        defined = items[~items.isnan()]
        interval = mean_interval(defined.double().cpu().numpy(), confidence=self.confidence)
        percent = f"{100 * self.confidence:g}"
        return {
            "mean": defined.mean(),
            "median": defined.quantile(0.5) if defined.numel() else defined.mean(),
            f"ci{percent}_low": items.new_tensor(interval.low),
            f"ci{percent}_high": items.new_tensor(interval.high),
            "n": torch.tensor(items.numel(), device=items.device),
            "undefined": torch.tensor(items.numel() - defined.numel(), device=items.device),
        }


def _metric(name: str, measure: Callable[P, Measure]) -> Callable[P, Metric]:
    """A class of metrics with the constructor of a measure."""

    def construct(self: Metric, *args: P.args, **kwargs: P.kwargs) -> None:
        Metric.__init__(self, measure(*args, **kwargs))

    cls = cast(type[Measure], measure)
    summary = (cls.__doc__ or "").strip().splitlines()[0]
    doc = f"The metric of ``percloss.{cls.__name__}``: {summary}\n\nTakes the same arguments; see there."
    namespace = {"__init__": construct, "__doc__": doc, "__module__": __name__, "measure_class": cls}
    return cast(Callable[P, Metric], type(name, (Metric,), namespace))


MSE = _metric("MSE", waveform.MSE)
MAE = _metric("MAE", waveform.MAE)
SNR = _metric("SNR", ratios.SNR)
SISDR = _metric("SISDR", ratios.SISDR)
SDSDR = _metric("SDSDR", ratios.SDSDR)
SNRImprovement = _metric("SNRImprovement", wrappers.SNRImprovement)
SISDRImprovement = _metric("SISDRImprovement", wrappers.SISDRImprovement)
STFTDistance = _metric("STFTDistance", spectral.STFTDistance)
MultiResolutionSTFTDistance = _metric("MultiResolutionSTFTDistance", spectral.MultiResolutionSTFTDistance)
MelDistance = _metric("MelDistance", spectral.MelDistance)
MultiScaleMelDistance = _metric("MultiScaleMelDistance", spectral.MultiScaleMelDistance)
LogSpectralDistance = _metric("LogSpectralDistance", spectral.LogSpectralDistance)
PESQNarrowBand = _metric("PESQNarrowBand", speech.PESQNarrowBand)
PESQWideBand = _metric("PESQWideBand", speech.PESQWideBand)
STOI = _metric("STOI", speech.STOI)
ESTOI = _metric("ESTOI", speech.ESTOI)
LogCosh = _metric("LogCosh", waveform.LogCosh)
ESR = _metric("ESR", waveform.ESR)
DC = _metric("DC", waveform.DC)
LogWMSE = _metric("LogWMSE", waveform.LogWMSE)
ThresholdedSNR = _metric("ThresholdedSNR", ratios.ThresholdedSNR)
L1SNR = _metric("L1SNR", ratios.L1SNR)
LevelMatchedL1SNR = _metric("LevelMatchedL1SNR", ratios.LevelMatchedL1SNR)
ComplexSTFTDistance = _metric("ComplexSTFTDistance", phase.ComplexSTFTDistance)
CompressedSTFTDistance = _metric("CompressedSTFTDistance", phase.CompressedSTFTDistance)
CosinePhaseDistance = _metric("CosinePhaseDistance", phase.CosinePhaseDistance)
AntiWrappingPhaseDistance = _metric("AntiWrappingPhaseDistance", phase.AntiWrappingPhaseDistance)
WeightedSDR = _metric("WeightedSDR", phase.WeightedSDR)
NMR = _metric("NMR", masking.NMR)
CompressiveNMR = _metric("CompressiveNMR", masking.CompressiveNMR)
MaskedError = _metric("MaskedError", masking.MaskedError)
NoiseModulation = _metric("NoiseModulation", masking.NoiseModulation)
MaskingHinge = _metric("MaskingHinge", masking.MaskingHinge)
PrioritySpectralDistance = _metric("PrioritySpectralDistance", masking.PrioritySpectralDistance)
