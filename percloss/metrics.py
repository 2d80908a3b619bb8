"""The metric view: a measure as a torchmetrics.Metric that keeps every item (``pip install "percloss[metrics]"``)."""

import zlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from percloss import wrappers
from percloss._optional import require
from percloss._views import view
from percloss.measure import Measure
from percloss.measures import masking, phase, ratios, spectral, speech, waveform
from percloss.uncertainty import mean_interval

if TYPE_CHECKING:
    import torchmetrics
else:
    torchmetrics = require("torchmetrics", extra="metrics")


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


MSE = view("MSE", Metric, waveform.MSE)
MAE = view("MAE", Metric, waveform.MAE)
SNR = view("SNR", Metric, ratios.SNR)
SISDR = view("SISDR", Metric, ratios.SISDR)
SDSDR = view("SDSDR", Metric, ratios.SDSDR)
SNRImprovement = view("SNRImprovement", Metric, wrappers.SNRImprovement)
SISDRImprovement = view("SISDRImprovement", Metric, wrappers.SISDRImprovement)
STFTDistance = view("STFTDistance", Metric, spectral.STFTDistance)
MultiResolutionSTFTDistance = view("MultiResolutionSTFTDistance", Metric, spectral.MultiResolutionSTFTDistance)
MelDistance = view("MelDistance", Metric, spectral.MelDistance)
MultiScaleMelDistance = view("MultiScaleMelDistance", Metric, spectral.MultiScaleMelDistance)
LogSpectralDistance = view("LogSpectralDistance", Metric, spectral.LogSpectralDistance)
PESQNarrowBand = view("PESQNarrowBand", Metric, speech.PESQNarrowBand)
PESQWideBand = view("PESQWideBand", Metric, speech.PESQWideBand)
STOI = view("STOI", Metric, speech.STOI)
ESTOI = view("ESTOI", Metric, speech.ESTOI)
LogCosh = view("LogCosh", Metric, waveform.LogCosh)
ESR = view("ESR", Metric, waveform.ESR)
DC = view("DC", Metric, waveform.DC)
LogWMSE = view("LogWMSE", Metric, waveform.LogWMSE)
ThresholdedSNR = view("ThresholdedSNR", Metric, ratios.ThresholdedSNR)
L1SNR = view("L1SNR", Metric, ratios.L1SNR)
LevelMatchedL1SNR = view("LevelMatchedL1SNR", Metric, ratios.LevelMatchedL1SNR)
ComplexSTFTDistance = view("ComplexSTFTDistance", Metric, phase.ComplexSTFTDistance)
CompressedSTFTDistance = view("CompressedSTFTDistance", Metric, phase.CompressedSTFTDistance)
CosinePhaseDistance = view("CosinePhaseDistance", Metric, phase.CosinePhaseDistance)
AntiWrappingPhaseDistance = view("AntiWrappingPhaseDistance", Metric, phase.AntiWrappingPhaseDistance)
WeightedSDR = view("WeightedSDR", Metric, phase.WeightedSDR)
NMR = view("NMR", Metric, masking.NMR)
CompressiveNMR = view("CompressiveNMR", Metric, masking.CompressiveNMR)
MaskedError = view("MaskedError", Metric, masking.MaskedError)
NoiseModulation = view("NoiseModulation", Metric, masking.NoiseModulation)
MaskingHinge = view("MaskingHinge", Metric, masking.MaskingHinge)
PrioritySpectralDistance = view("PrioritySpectralDistance", Metric, masking.PrioritySpectralDistance)
