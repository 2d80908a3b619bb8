"""The metric view: a measure as a torchmetrics.Metric that keeps every item (``pip install "percloss[metrics]"``)."""

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from percloss import wrappers
from percloss._gathering import Gathering
from percloss._views import view
from percloss.errors import ArgumentError
from percloss.measure import Measure
from percloss.measures import (
    artefacts,
    artefacts_spectral,
    artefacts_temporal,
    auditory,
    bss,
    features,
    intelligibility,
    magnitude,
    masking,
    opinion,
    peaq,
    pesq,
    phase,
    pmsqe,
    ratios,
    separation,
    spectral,
    speech,
    visqol,
    waveform,
)
from percloss.uncertainty import Paired, mean_interval, paired


class Metric(Gathering):
    """A measure over a data set: one value per item is kept, so that the spread can be told and not only the mean.

    An item is one entry of the batch; its channels (or sources) are averaged. Items without a value are counted, and
    left out of mean, median and interval.

    Under distributed training the items of all processes are gathered, by rank, and in a rank as they came. Mean,
    median and interval do not depend on that order. To have the items themselves as one process would have them, and
    a sampler's repetitions counted once, give ``update`` the ``index`` of each in the data set.

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

    def __init__(self, measure: Measure, *, confidence: float = 0.95, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < confidence < 1:
            raise ArgumentError(f"Metric: got confidence={confidence}; needed is a number between 0 and 1: 0.95.")
        self.measure = measure
        self.confidence = confidence
        # torchmetrics makes these constants of the class; here they are the measure's.
        self.__dict__["higher_is_better"] = measure.spec.better == "higher"
        # A MetricCollection takes metrics whose states look alike for one, and updates one: a name for each measure.
        self.state = f"values_{zlib.crc32(repr(measure).encode()):08x}"
        self.keep(self.state)
        self.keep("groups", integers=True)
        self.keep("indices", integers=True)

    def update(
        self,
        est: Tensor,
        ref: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
        group: Tensor | Sequence[str] | None = None,
        index: Tensor | None = None,
        **needs: Tensor,
    ) -> None:
        """Score a batch and keep its items. Takes what the measure takes, and where items are from.

        Args:
            est: Estimates.
            ref: References. A measure that takes none is not given them, so that all metrics of a collection can be
                updated alike.
            lengths: Samples of each item that count.
            group: Which track (speaker, room) each item is of, as integers of 0 or more, ``(batch,)``, or names. Items
                of one are not independent: the interval then resamples whole groups.
            index: Position of each item in the data set, integers of 0 or more, ``(batch,)``.
            **needs: What the measure needs, such as ``mix``.
        """
        with torch.no_grad():
            given = None if self.measure.spec.alone else ref
            values = self.measure(est, given, lengths=lengths, **needs).nanmean(1)
        groups, indices = self._labels("group", _numbered(group), values), self._labels("index", index, values)
        for name, kept in ((self.state, values), ("groups", groups), ("indices", indices)):
            self.append(name, kept)

    def _labels(self, name: str, given: Tensor | None, values: Tensor) -> Tensor:
        """An integer per item, -1 where none was given."""
        if given is None:
            return torch.full(values.shape, -1, dtype=torch.int64, device=values.device)
        whole = not (given.is_floating_point() or given.is_complex())
        if given.shape != values.shape or not whole or (given.numel() and int(given.min()) < 0):
            raise ArgumentError(
                f"{self.measure.spec.name}: {name} is {given.dtype} {tuple(given.shape)}"
                f"{', with numbers below 0' if whole and given.shape == values.shape else ''}; needed are "
                f"{values.numel()} integers of 0 or more: {name}=torch.arange({values.numel()})."
            )
        return given.to(values.device, torch.int64)

    @property
    def items(self) -> Tensor:
        """One value per item so far, nan where an item has none, ``(n,)``; in float64 but on mps.

        In the order of ``index``, each once, behind those that came without one, which are in the order they came.
        """
        return self._kept()[0]

    def _kept(self) -> tuple[Tensor, Tensor, Tensor]:
        """Values, groups and indices."""
        values, groups, indices = (self.joined(name) for name in (self.state, "groups", "indices"))
        order = indices.argsort(stable=True)
        values, groups, indices = values[order], groups[order], indices[order]
        once = torch.ones_like(indices, dtype=torch.bool)
        once[1:] = (indices[1:] < 0) | (indices[1:] != indices[:-1])
        return values[once], groups[once], indices[once]

    def compute(self) -> dict[str, Tensor]:
        """``mean``, ``median``, ends of the mean's interval, the number of items ``n`` and of those without a value."""
        items, groups, _ = self._kept()
        defined = items[~items.isnan()].sort().values  # a sum in one order, whichever rank had what
        interval = mean_interval(_array(items), groups=_independent(groups), confidence=self.confidence)
        percent = f"{100 * self.confidence:g}"
        return {
            "mean": defined.mean(),
            "median": defined.quantile(0.5) if defined.numel() else defined.mean(),
            f"ci{percent}_low": items.new_tensor(interval.low),
            f"ci{percent}_high": items.new_tensor(interval.high),
            "n": torch.tensor(items.numel(), device=items.device),
            "undefined": torch.tensor(items.numel() - defined.numel(), device=items.device),
        }

    def paired(self, other: "Metric", *, comparisons: int = 1) -> Paired:
        """By how much ``other``, of another system on the same items, exceeds this one, and whether that can be chance.

        Args:
            other: Updated with the same items, in the same order or with their ``index``.
            comparisons: How many such questions are asked at once.

        Returns:
            What ``percloss.uncertainty.paired`` says of the two; items of one ``group`` change sign together.

        Raises:
            ArgumentError: The two are of different measures or different items.
        """
        if repr(self.measure) != repr(other.measure):
            raise ArgumentError(
                f"paired: got {self.measure!r} and {other.measure!r}; needed is one measure of two systems."
            )
        held = []
        for metric in (self, other):
            with metric.sync_context():
                held.append(metric._kept())
        (a, groups, indices), (b, *theirs) = held
        if a.shape != b.shape or not (torch.equal(groups, theirs[0]) and torch.equal(indices, theirs[1])):
            raise ArgumentError(
                f"paired: got {a.numel()} and {b.numel()} items{' that differ' if a.shape == b.shape else ''}; needed "
                f"are the same in both, with the same group and index in update."
            )
        return paired(
            _array(a), _array(b), groups=_independent(groups), confidence=self.confidence, comparisons=comparisons
        )


def _numbered(group: Tensor | Sequence[str] | None) -> Tensor | None:
    """Names as numbers that are the same in every process."""
    if group is None or isinstance(group, Tensor):
        return group
    digests = (hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest() for name in group)
    return torch.tensor([int.from_bytes(digest, "big") >> 1 for digest in digests])


def _array(values: Tensor) -> npt.NDArray[np.float64]:
    return values.cpu().double().numpy()


def _independent(groups: Tensor) -> npt.NDArray[np.int64] | None:
    """Groups by number; an item without one is a group of its own. None where no item has one."""
    if not (groups >= 0).any():
        return None
    numbers = groups.cpu().numpy()
    return np.where(numbers < 0, -1 - np.arange(numbers.size), numbers)


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
STOI = view("STOI", Metric, intelligibility.STOI)
ESTOI = view("ESTOI", Metric, intelligibility.ESTOI)
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
PMSQE = view("PMSQE", Metric, pmsqe.PMSQE)
SmoothLogSTFTDistance = view("SmoothLogSTFTDistance", Metric, magnitude.SmoothLogSTFTDistance)
CompressedMagnitudeDistance = view("CompressedMagnitudeDistance", Metric, magnitude.CompressedMagnitudeDistance)
BarkDistance = view("BarkDistance", Metric, auditory.BarkDistance)
ERBDistance = view("ERBDistance", Metric, auditory.ERBDistance)
GammatoneDistance = view("GammatoneDistance", Metric, auditory.GammatoneDistance)
ChromaDistance = view("ChromaDistance", Metric, auditory.ChromaDistance)
MFCCDistance = view("MFCCDistance", Metric, auditory.MFCCDistance)
MelCepstralDistortion = view("MelCepstralDistortion", Metric, auditory.MelCepstralDistortion)
RandomConvolutionDistance = view("RandomConvolutionDistance", Metric, features.RandomConvolutionDistance)
ScatteringDistance = view("ScatteringDistance", Metric, features.ScatteringDistance)
FeatureDistance = view("FeatureDistance", Metric, features.FeatureDistance)
CDPAMDistance = view("CDPAMDistance", Metric, features.CDPAMDistance)
ViSQOLAudio = view("ViSQOLAudio", Metric, visqol.ViSQOLAudio)
ViSQOLSpeech = view("ViSQOLSpeech", Metric, visqol.ViSQOLSpeech)
DifferentiablePESQ = view("DifferentiablePESQ", Metric, pesq.DifferentiablePESQ)
PESQDisturbance = view("PESQDisturbance", Metric, pesq.PESQDisturbance)
BSSSDR = view("BSSSDR", Metric, bss.BSSSDR)
BSSISR = view("BSSISR", Metric, bss.BSSISR)
BSSSIR = view("BSSSIR", Metric, bss.BSSSIR)
BSSSAR = view("BSSSAR", Metric, bss.BSSSAR)
SDR = view("SDR", Metric, bss.SDR)
SISIR = view("SISIR", Metric, bss.SISIR)
SISAR = view("SISAR", Metric, bss.SISAR)
USDR = view("USDR", Metric, separation.USDR)
CSDR = view("CSDR", Metric, separation.CSDR)
SASDR = view("SASDR", Metric, separation.SASDR)
Bleedless = view("Bleedless", Metric, separation.Bleedless)
Fullness = view("Fullness", Metric, separation.Fullness)
DNSMOSSignal = view("DNSMOSSignal", Metric, opinion.DNSMOSSignal)
DNSMOSBackground = view("DNSMOSBackground", Metric, opinion.DNSMOSBackground)
DNSMOSOverall = view("DNSMOSOverall", Metric, opinion.DNSMOSOverall)
DNSMOSP808 = view("DNSMOSP808", Metric, opinion.DNSMOSP808)
PEAQ = view("PEAQ", Metric, peaq.PEAQ)
PEAQDistortionIndex = view("PEAQDistortionIndex", Metric, peaq.PEAQDistortionIndex)
TwoF = view("TwoF", Metric, peaq.TwoF)
TwoFDistance = view("TwoFDistance", Metric, peaq.TwoFDistance)
PEAQDisturbance = view("PEAQDisturbance", Metric, peaq.PEAQDisturbance)
TotalNMR = view("TotalNMR", Metric, peaq.TotalNMR)
AvgModDiff1 = view("AvgModDiff1", Metric, peaq.AvgModDiff1)
AvgModDiff2 = view("AvgModDiff2", Metric, peaq.AvgModDiff2)
WinModDiff1 = view("WinModDiff1", Metric, peaq.WinModDiff1)
RmsNoiseLoud = view("RmsNoiseLoud", Metric, peaq.RmsNoiseLoud)
ADB = view("ADB", Metric, peaq.ADB)
LevelDifference = view("LevelDifference", Metric, artefacts.LevelDifference)
PhaseFraction = view("PhaseFraction", Metric, artefacts.PhaseFraction)
Leakage = view("Leakage", Metric, artefacts.Leakage)
LinearlyFilterable = view("LinearlyFilterable", Metric, artefacts.LinearlyFilterable)
LongTermSpectrum = view("LongTermSpectrum", Metric, artefacts_spectral.LongTermSpectrum)
HighFrequencyEnergy = view("HighFrequencyEnergy", Metric, artefacts_spectral.HighFrequencyEnergy)
Rolloff = view("Rolloff", Metric, artefacts_spectral.Rolloff)
SpectralContrast = view("SpectralContrast", Metric, artefacts_spectral.SpectralContrast)
SpectralHoles = view("SpectralHoles", Metric, artefacts_spectral.SpectralHoles)
IsolatedPeaks = view("IsolatedPeaks", Metric, artefacts_spectral.IsolatedPeaks)
OnsetFlux = view("OnsetFlux", Metric, artefacts_temporal.OnsetFlux)
PreEcho = view("PreEcho", Metric, artefacts_temporal.PreEcho)
GlobalVariance = view("GlobalVariance", Metric, artefacts_temporal.GlobalVariance)
Harmonicity = view("Harmonicity", Metric, artefacts_temporal.Harmonicity)
CrestFactor = view("CrestFactor", Metric, artefacts_temporal.CrestFactor)
FrameBuzz = view("FrameBuzz", Metric, artefacts_temporal.FrameBuzz)
LateReverberation = view("LateReverberation", Metric, artefacts_temporal.LateReverberation)
