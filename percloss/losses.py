"""The loss view: a measure with its sign turned so that less is better, averaged over the items that have a value."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from percloss._views import view
from percloss.dsp.safe import mean_defined
from percloss.engine import Bound, Spectral, SumOf, applies, lacks
from percloss.errors import ArgumentError
from percloss.functional import shared
from percloss.measure import Measure
from percloss.measures import (
    artefacts_spectral,
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
    visqol,
    waveform,
)


class Loss(nn.Module):
    """A measure to minimise: ``sign * mean over items``.

    Items without a value (a silent reference where the measure is a ratio) are left out, and no nan reaches a gradient.
    If no item has a value the loss is 0 with a zero gradient, and says so once, as a warning. Samples that are not
    finite make the loss and its gradient nan: a run that has diverged must not look healthy.

    Args:
        measure: What to minimise or, where higher is better, to maximise; where nearer to a value is better, its
            distance from that. Nobody writes a minus.

    Shape:
        est, ref: as the measure takes them. Returns ().

    Example:
        >>> loss = Loss(percloss.SNR())
        >>> loss(torch.full((1, 1, 8), 0.9), torch.ones(1, 1, 8))
        tensor(-20.0000)
    """

    def __init__(self, measure: Measure) -> None:
        super().__init__()
        if not measure.spec.differentiable:
            raise ArgumentError(
                f"Loss: got {measure.spec.name}, which has no gradient; use it as a metric: "
                f"percloss.metrics.Metric(measure)."
            )
        if measure.spec.better == "neither":
            raise ArgumentError(
                f"Loss: got {measure.spec.name}, of which neither more nor less is better; use it as a metric: "
                f"percloss.metrics.Metric(measure)."
            )
        self.measure = measure
        self._told = False

    @property
    def name(self) -> str:
        """The measure's name."""
        return self.measure.spec.name

    def forward(
        self,
        est: Tensor,
        ref: Tensor | None = None,
        *,
        weight: Tensor | None = None,
        lengths: Tensor | None = None,
        **needs: Tensor,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            est: Estimates, with the gradient.
            ref: References, where the measure takes them.
            weight: Weight of each item, ``(batch,)`` or ``(batch, channels)``.
            lengths: Samples of each item that count, as in ``Measure``.
            **needs: What the measure needs besides, such as ``mix``.
        """
        values, finite = self.measure.scored(est, ref, lengths=lengths, **needs)
        if weight is not None:
            weight = weight[:, None] if weight.dim() == 1 else weight
        if not torch.compiler.is_compiling() and not values.is_cuda:  # asking a GPU would make every step wait for it
            self._tell(values)
        mean = mean_defined(self.measure.spec.cost(values), weight)
        # Broken samples never reached the measure and would get a gradient of 0: the second term is 0, or nan.
        return mean + (torch.where(finite.all(), 0.0, math.nan) * est[..., :1].to(mean.dtype)).sum()

    def bind(self, ref: Tensor) -> "BoundLoss":
        """The loss against one reference, which is transformed once."""
        return BoundLoss(self, ref)

    def _tell(self, values: Tensor) -> None:
        if not self._told and bool(values.isnan().all()):
            self._told = True
            warnings.warn(
                f"{self.name}: no item of this batch has a value (silent references?); the loss is 0 and has no "
                f"gradient. Said once.",
                stacklevel=5,  # past forward and torch's two frames of a call
            )


class WeightedSum(nn.Module):
    """A weighted sum of losses.

    Args:
        terms: Pairs of weight and loss, or such pairs by name where two terms are of the same measure.

    Shape:
        est, ref: as the terms take them. Returns ().

    Example:
        >>> loss = WeightedSum([(1.0, MultiResolutionSTFTLoss()), (0.1, SISDRLoss())])
        >>> est, ref = torch.randn(2, 4, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> parts = loss.parts(est, ref)
        >>> sorted(parts)
        ['mrstft', 'si_sdr']
        >>> bool(loss(est, ref) == parts["mrstft"] + 0.1 * parts["si_sdr"])
        True
    """

    def __init__(self, terms: Sequence[tuple[float, Loss]] | Mapping[str, tuple[float, Loss]]) -> None:
        super().__init__()
        named = list(terms.items()) if isinstance(terms, Mapping) else [(term[1].name, term) for term in terms]
        names = [name for name, _ in named]
        if not named or len(set(names)) < len(names):
            raise ArgumentError(
                f"WeightedSum: got terms {names}; needed are one at least, each of its own name: "
                f"WeightedSum({{'coarse': (1.0, loss), 'fine': (0.5, other)}})."
            )
        if any("." in name for name in names):
            raise ArgumentError(f"WeightedSum: got names {names}; needed are names without a dot.")
        wrong = {name: weight for name, (weight, _) in named if not 0 <= weight < math.inf}
        if wrong:
            raise ArgumentError(f"WeightedSum: got weights {wrong}; needed are finite ones, not below 0.")
        self.weights = {name: float(weight) for name, (weight, _) in named}
        self.losses = nn.ModuleDict({name: loss for name, (_, loss) in named})

    def parts(self, est: Tensor, ref: Tensor, **arguments: Tensor | None) -> dict[str, Tensor]:
        """Each term by name, before its weight, for a log. ``total`` makes the loss of them without computing twice."""
        self.check(arguments)
        return self._parts(self.losses, est, ref, **arguments)

    def _parts(self, names: Iterable[str], est: Tensor, ref: Tensor, **arguments: Tensor | None) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        with nullcontext() if torch.compiler.is_compiling() else shared():
            for name in names:
                loss = cast(Loss, self.losses[name])
                given = {key: x for key, x in arguments.items() if key in _ANY or key in loss.measure.spec.needs}
                parts[name] = loss(est, None if loss.measure.spec.alone else ref, **given)
        return parts

    def bind(self, ref: Tensor) -> "BoundLoss":
        """The loss against one reference, which is transformed once."""
        return BoundLoss(self, ref)

    def shared(self, *, undefined: bool = False) -> dict[str, Spectral]:
        """Terms that look at spectra and share transforms; with ``undefined`` those too that may have no value."""
        measures = {name: cast(Loss, loss).measure for name, loss in self.losses.items()}
        return {
            name: measure
            for name, measure in measures.items()
            if isinstance(measure, Spectral) and measure.engine == "closed" and (undefined or not lacks(measure))
        }

    def check(self, arguments: Iterable[str]) -> None:
        """Refuse keywords that no term takes."""
        known = {need for loss in self.losses.values() for need in cast(Loss, loss).measure.spec.needs}
        unknown = set(arguments) - known - _ANY
        if unknown:
            raise ArgumentError(f"WeightedSum: got {sorted(unknown)}; needed are {sorted(known) or 'none of them'}.")

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of what ``parts`` returned."""
        return torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()

    def forward(self, est: Tensor, ref: Tensor, **arguments: Tensor | None) -> Tensor:
        """The weighted sum. Takes what ``Loss`` takes; a term is given the reference and those of ``needs`` it takes.

        Terms at one resolution are computed from one transform, and their gradients carried back by one.
        """
        # Items by length are compared one by one. Where no reference is heard, a loss that has no value says so itself.
        undefined = arguments.get("lengths") is None
        shared = self.shared(undefined=undefined) if applies(est, ref) else {}
        if any(map(lacks, shared.values())) and not (ref.is_cuda or bool(ref.count_nonzero())):
            undefined, shared = False, self.shared()
        if len(shared) < 2:
            return self.total(self.parts(est, ref, **arguments))
        self.check(arguments)
        weight = arguments.get("weight") if undefined else None
        weight = weight[:, None] if weight is not None and weight.dim() == 1 else weight
        together = SumOf([(self.weights[name], part) for name, part in shared.items()], weight)
        loss: Tensor = Loss(together)(est, ref, **{name: x for name, x in arguments.items() if name in _ANY})
        rest = self._parts([name for name in self.losses if name not in shared], est, ref, **arguments)
        return loss + self.total(rest) if rest else loss


class BoundLoss(nn.Module):
    """A loss against one reference, which is transformed once: for an estimate that changes while the reference stays.

    ``loss.bind(ref)`` makes one, on the device that the reference is on. It costs memory: a kept spectrum is about four
    times the reference, at each resolution.

    Shape:
        est: as the reference. Returns ().

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> loss = MelLoss(16_000).bind(ref)
        >>> loss(0.5 * ref) > loss(0.9 * ref)
        tensor(True)
    """

    def __init__(self, loss: "Loss | WeightedSum", ref: Tensor) -> None:
        super().__init__()
        if not ref.isfinite().all():
            raise ArgumentError(
                f"bind: got a reference with {int((~ref.isfinite()).sum())} samples that are not finite."
            )
        self.ref = ref.detach().clone()
        self.terms = terms = WeightedSum([(1.0, loss)]) if isinstance(loss, Loss) else loss
        shared = terms.shared()
        together = SumOf([(terms.weights[name], measure) for name, measure in shared.items()]) if shared else None
        self.together = None if together is None else Loss(Bound(together, self.ref))
        rest = {
            name: (terms.weights[name], cast(Loss, one)) for name, one in terms.losses.items() if name not in shared
        }
        self.rest = WeightedSum(rest) if rest else None

    def forward(self, est: Tensor, *, weight: Tensor | None = None, **needs: Tensor) -> Tensor:
        """The loss of estimates of this reference. Takes what the loss takes besides, except ``lengths``."""
        self.terms.check(needs)
        parts: list[Tensor] = []
        if self.together is not None:
            parts.append(self.together(est, self.ref, weight=weight))
        if self.rest is not None:
            parts.append(self.rest(est, self.ref, weight=weight, **needs))
        return torch.stack(parts).sum()


_ANY = {"weight", "lengths"}


MSELoss = view("MSELoss", Loss, waveform.MSE)
MAELoss = view("MAELoss", Loss, waveform.MAE)
SNRLoss = view("SNRLoss", Loss, ratios.SNR)
SISDRLoss = view("SISDRLoss", Loss, ratios.SISDR)
SDSDRLoss = view("SDSDRLoss", Loss, ratios.SDSDR)
STFTLoss = view("STFTLoss", Loss, spectral.STFTDistance)
MultiResolutionSTFTLoss = view("MultiResolutionSTFTLoss", Loss, spectral.MultiResolutionSTFTDistance)
MelLoss = view("MelLoss", Loss, spectral.MelDistance)
MultiScaleMelLoss = view("MultiScaleMelLoss", Loss, spectral.MultiScaleMelDistance)
LogSpectralLoss = view("LogSpectralLoss", Loss, spectral.LogSpectralDistance)
LogCoshLoss = view("LogCoshLoss", Loss, waveform.LogCosh)
ESRLoss = view("ESRLoss", Loss, waveform.ESR)
DCLoss = view("DCLoss", Loss, waveform.DC)
LogWMSELoss = view("LogWMSELoss", Loss, waveform.LogWMSE)
ThresholdedSNRLoss = view("ThresholdedSNRLoss", Loss, ratios.ThresholdedSNR)
L1SNRLoss = view("L1SNRLoss", Loss, ratios.L1SNR)
LevelMatchedL1SNRLoss = view("LevelMatchedL1SNRLoss", Loss, ratios.LevelMatchedL1SNR)
ComplexSTFTLoss = view("ComplexSTFTLoss", Loss, phase.ComplexSTFTDistance)
CompressedSTFTLoss = view("CompressedSTFTLoss", Loss, phase.CompressedSTFTDistance)
CosinePhaseLoss = view("CosinePhaseLoss", Loss, phase.CosinePhaseDistance)
AntiWrappingPhaseLoss = view("AntiWrappingPhaseLoss", Loss, phase.AntiWrappingPhaseDistance)
WeightedSDRLoss = view("WeightedSDRLoss", Loss, phase.WeightedSDR)
NMRLoss = view("NMRLoss", Loss, masking.NMR)
CompressiveNMRLoss = view("CompressiveNMRLoss", Loss, masking.CompressiveNMR)
MaskedErrorLoss = view("MaskedErrorLoss", Loss, masking.MaskedError)
NoiseModulationLoss = view("NoiseModulationLoss", Loss, masking.NoiseModulation)
MaskingHingeLoss = view("MaskingHingeLoss", Loss, masking.MaskingHinge)
PrioritySpectralLoss = view("PrioritySpectralLoss", Loss, masking.PrioritySpectralDistance)
PMSQELoss = view("PMSQELoss", Loss, pmsqe.PMSQE)
SmoothLogSTFTLoss = view("SmoothLogSTFTLoss", Loss, magnitude.SmoothLogSTFTDistance)
CompressedMagnitudeLoss = view("CompressedMagnitudeLoss", Loss, magnitude.CompressedMagnitudeDistance)
BarkLoss = view("BarkLoss", Loss, auditory.BarkDistance)
ERBLoss = view("ERBLoss", Loss, auditory.ERBDistance)
GammatoneLoss = view("GammatoneLoss", Loss, auditory.GammatoneDistance)
ChromaLoss = view("ChromaLoss", Loss, auditory.ChromaDistance)
MFCCLoss = view("MFCCLoss", Loss, auditory.MFCCDistance)
MelCepstralDistortionLoss = view("MelCepstralDistortionLoss", Loss, auditory.MelCepstralDistortion)
RandomConvolutionLoss = view("RandomConvolutionLoss", Loss, features.RandomConvolutionDistance)
ScatteringLoss = view("ScatteringLoss", Loss, features.ScatteringDistance)
FeatureLoss = view("FeatureLoss", Loss, features.FeatureDistance)
CDPAMLoss = view("CDPAMLoss", Loss, features.CDPAMDistance)
STOILoss = view("STOILoss", Loss, intelligibility.STOI)
ESTOILoss = view("ESTOILoss", Loss, intelligibility.ESTOI)
ViSQOLAudioLoss = view("ViSQOLAudioLoss", Loss, visqol.ViSQOLAudio)
ViSQOLSpeechLoss = view("ViSQOLSpeechLoss", Loss, visqol.ViSQOLSpeech)
DifferentiablePESQLoss = view("DifferentiablePESQLoss", Loss, pesq.DifferentiablePESQ)
PESQDisturbanceLoss = view("PESQDisturbanceLoss", Loss, pesq.PESQDisturbance)
BSSSDRLoss = view("BSSSDRLoss", Loss, bss.BSSSDR)
SDRLoss = view("SDRLoss", Loss, bss.SDR)
SISIRLoss = view("SISIRLoss", Loss, bss.SISIR)
SISARLoss = view("SISARLoss", Loss, bss.SISAR)
USDRLoss = view("USDRLoss", Loss, separation.USDR)
CSDRLoss = view("CSDRLoss", Loss, separation.CSDR)
SASDRLoss = view("SASDRLoss", Loss, separation.SASDR)
DNSMOSSignalLoss = view("DNSMOSSignalLoss", Loss, opinion.DNSMOSSignal)
DNSMOSBackgroundLoss = view("DNSMOSBackgroundLoss", Loss, opinion.DNSMOSBackground)
DNSMOSOverallLoss = view("DNSMOSOverallLoss", Loss, opinion.DNSMOSOverall)
TwoFLoss = view("TwoFLoss", Loss, peaq.TwoFDistance)
PEAQDisturbanceLoss = view("PEAQDisturbanceLoss", Loss, peaq.PEAQDisturbance)
TotalNMRLoss = view("TotalNMRLoss", Loss, peaq.TotalNMR)
AvgModDiff1Loss = view("AvgModDiff1Loss", Loss, peaq.AvgModDiff1)
AvgModDiff2Loss = view("AvgModDiff2Loss", Loss, peaq.AvgModDiff2)
WinModDiff1Loss = view("WinModDiff1Loss", Loss, peaq.WinModDiff1)
RmsNoiseLoudLoss = view("RmsNoiseLoudLoss", Loss, peaq.RmsNoiseLoud)
LongTermSpectrumLoss = view("LongTermSpectrumLoss", Loss, artefacts_spectral.LongTermSpectrum)
