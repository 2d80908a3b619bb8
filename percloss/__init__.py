"""percloss: perceptual audio losses and metrics for PyTorch, from one implementation.

A measure maps ``(est, ref)`` to one number per item. ``SISDR`` is the measure, ``SISDRLoss`` its loss,
``percloss.metrics.SISDR`` its metric. Everything here is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from percloss.balancing import Balanced as Balanced
    from percloss.balancing import GradientShares as GradientShares
    from percloss.balancing import gradient_shares as gradient_shares
    from percloss.errors import PerclossError as PerclossError
    from percloss.errors import SampleRateError as SampleRateError
    from percloss.errors import ShapeError as ShapeError
    from percloss.evaluation import evaluate as evaluate
    from percloss.evaluation import signature as signature
    from percloss.hearing.loudness import KWeighting as KWeighting
    from percloss.hearing.loudness import LoudnessMeter as LoudnessMeter
    from percloss.losses import AntiWrappingPhaseLoss as AntiWrappingPhaseLoss
    from percloss.losses import AvgModDiff1Loss as AvgModDiff1Loss
    from percloss.losses import AvgModDiff2Loss as AvgModDiff2Loss
    from percloss.losses import BarkLoss as BarkLoss
    from percloss.losses import BSSSDRLoss as BSSSDRLoss
    from percloss.losses import CDPAMLoss as CDPAMLoss
    from percloss.losses import ChromaLoss as ChromaLoss
    from percloss.losses import ComplexSTFTLoss as ComplexSTFTLoss
    from percloss.losses import CompressedMagnitudeLoss as CompressedMagnitudeLoss
    from percloss.losses import CompressedSTFTLoss as CompressedSTFTLoss
    from percloss.losses import CompressiveNMRLoss as CompressiveNMRLoss
    from percloss.losses import CosinePhaseLoss as CosinePhaseLoss
    from percloss.losses import CSDRLoss as CSDRLoss
    from percloss.losses import DCLoss as DCLoss
    from percloss.losses import DifferentiablePESQLoss as DifferentiablePESQLoss
    from percloss.losses import DNSMOSBackgroundLoss as DNSMOSBackgroundLoss
    from percloss.losses import DNSMOSOverallLoss as DNSMOSOverallLoss
    from percloss.losses import DNSMOSSignalLoss as DNSMOSSignalLoss
    from percloss.losses import ERBLoss as ERBLoss
    from percloss.losses import ESRLoss as ESRLoss
    from percloss.losses import ESTOILoss as ESTOILoss
    from percloss.losses import FeatureLoss as FeatureLoss
    from percloss.losses import GammatoneLoss as GammatoneLoss
    from percloss.losses import L1SNRLoss as L1SNRLoss
    from percloss.losses import LevelMatchedL1SNRLoss as LevelMatchedL1SNRLoss
    from percloss.losses import LogCoshLoss as LogCoshLoss
    from percloss.losses import LogSpectralLoss as LogSpectralLoss
    from percloss.losses import LogWMSELoss as LogWMSELoss
    from percloss.losses import LongTermSpectrumLoss as LongTermSpectrumLoss
    from percloss.losses import Loss as Loss
    from percloss.losses import MAELoss as MAELoss
    from percloss.losses import MaskedErrorLoss as MaskedErrorLoss
    from percloss.losses import MaskingHingeLoss as MaskingHingeLoss
    from percloss.losses import MelCepstralDistortionLoss as MelCepstralDistortionLoss
    from percloss.losses import MelLoss as MelLoss
    from percloss.losses import MFCCLoss as MFCCLoss
    from percloss.losses import MSELoss as MSELoss
    from percloss.losses import MultiResolutionSTFTLoss as MultiResolutionSTFTLoss
    from percloss.losses import MultiScaleMelLoss as MultiScaleMelLoss
    from percloss.losses import NMRLoss as NMRLoss
    from percloss.losses import NoiseModulationLoss as NoiseModulationLoss
    from percloss.losses import PEAQDisturbanceLoss as PEAQDisturbanceLoss
    from percloss.losses import PESQDisturbanceLoss as PESQDisturbanceLoss
    from percloss.losses import PMSQELoss as PMSQELoss
    from percloss.losses import PrioritySpectralLoss as PrioritySpectralLoss
    from percloss.losses import RandomConvolutionLoss as RandomConvolutionLoss
    from percloss.losses import RmsNoiseLoudLoss as RmsNoiseLoudLoss
    from percloss.losses import SASDRLoss as SASDRLoss
    from percloss.losses import ScatteringLoss as ScatteringLoss
    from percloss.losses import SDRLoss as SDRLoss
    from percloss.losses import SDSDRLoss as SDSDRLoss
    from percloss.losses import SISARLoss as SISARLoss
    from percloss.losses import SISDRLoss as SISDRLoss
    from percloss.losses import SISIRLoss as SISIRLoss
    from percloss.losses import SmoothLogSTFTLoss as SmoothLogSTFTLoss
    from percloss.losses import SNRLoss as SNRLoss
    from percloss.losses import STFTLoss as STFTLoss
    from percloss.losses import STOILoss as STOILoss
    from percloss.losses import ThresholdedSNRLoss as ThresholdedSNRLoss
    from percloss.losses import TotalNMRLoss as TotalNMRLoss
    from percloss.losses import TwoFLoss as TwoFLoss
    from percloss.losses import USDRLoss as USDRLoss
    from percloss.losses import ViSQOLAudioLoss as ViSQOLAudioLoss
    from percloss.losses import ViSQOLSpeechLoss as ViSQOLSpeechLoss
    from percloss.losses import WeightedSDRLoss as WeightedSDRLoss
    from percloss.losses import WeightedSum as WeightedSum
    from percloss.losses import WinModDiff1Loss as WinModDiff1Loss
    from percloss.measure import Measure as Measure
    from percloss.measure import catalogue as catalogue
    from percloss.measure import create as create
    from percloss.measure import register as register
    from percloss.measures.artefacts import Leakage as Leakage
    from percloss.measures.artefacts import LevelDifference as LevelDifference
    from percloss.measures.artefacts import LinearlyFilterable as LinearlyFilterable
    from percloss.measures.artefacts import PhaseFraction as PhaseFraction
    from percloss.measures.artefacts_spectral import HighFrequencyEnergy as HighFrequencyEnergy
    from percloss.measures.artefacts_spectral import IsolatedPeaks as IsolatedPeaks
    from percloss.measures.artefacts_spectral import LongTermSpectrum as LongTermSpectrum
    from percloss.measures.artefacts_spectral import Rolloff as Rolloff
    from percloss.measures.artefacts_spectral import SpectralContrast as SpectralContrast
    from percloss.measures.artefacts_spectral import SpectralHoles as SpectralHoles
    from percloss.measures.artefacts_temporal import CrestFactor as CrestFactor
    from percloss.measures.artefacts_temporal import FrameBuzz as FrameBuzz
    from percloss.measures.artefacts_temporal import GlobalVariance as GlobalVariance
    from percloss.measures.artefacts_temporal import Harmonicity as Harmonicity
    from percloss.measures.artefacts_temporal import LateReverberation as LateReverberation
    from percloss.measures.artefacts_temporal import OnsetFlux as OnsetFlux
    from percloss.measures.artefacts_temporal import PreEcho as PreEcho
    from percloss.measures.auditory import BarkDistance as BarkDistance
    from percloss.measures.auditory import ChromaDistance as ChromaDistance
    from percloss.measures.auditory import ERBDistance as ERBDistance
    from percloss.measures.auditory import GammatoneDistance as GammatoneDistance
    from percloss.measures.auditory import MelCepstralDistortion as MelCepstralDistortion
    from percloss.measures.auditory import MFCCDistance as MFCCDistance
    from percloss.measures.bss import BSSISR as BSSISR
    from percloss.measures.bss import BSSSAR as BSSSAR
    from percloss.measures.bss import BSSSDR as BSSSDR
    from percloss.measures.bss import BSSSIR as BSSSIR
    from percloss.measures.bss import SDR as SDR
    from percloss.measures.bss import SISAR as SISAR
    from percloss.measures.bss import SISIR as SISIR
    from percloss.measures.features import CDPAMDistance as CDPAMDistance
    from percloss.measures.features import FeatureDistance as FeatureDistance
    from percloss.measures.features import RandomConvolutionDistance as RandomConvolutionDistance
    from percloss.measures.features import ScatteringDistance as ScatteringDistance
    from percloss.measures.intelligibility import ESTOI as ESTOI
    from percloss.measures.intelligibility import STOI as STOI
    from percloss.measures.magnitude import CompressedMagnitudeDistance as CompressedMagnitudeDistance
    from percloss.measures.magnitude import RandomResolutionSTFTDistance as RandomResolutionSTFTDistance
    from percloss.measures.magnitude import SmoothLogSTFTDistance as SmoothLogSTFTDistance
    from percloss.measures.masking import NMR as NMR
    from percloss.measures.masking import CompressiveNMR as CompressiveNMR
    from percloss.measures.masking import MaskedError as MaskedError
    from percloss.measures.masking import MaskingHinge as MaskingHinge
    from percloss.measures.masking import NoiseModulation as NoiseModulation
    from percloss.measures.masking import PrioritySpectralDistance as PrioritySpectralDistance
    from percloss.measures.opinion import DNSMOSP808 as DNSMOSP808
    from percloss.measures.opinion import DNSMOSBackground as DNSMOSBackground
    from percloss.measures.opinion import DNSMOSOverall as DNSMOSOverall
    from percloss.measures.opinion import DNSMOSSignal as DNSMOSSignal
    from percloss.measures.peaq import ADB as ADB
    from percloss.measures.peaq import PEAQ as PEAQ
    from percloss.measures.peaq import AvgModDiff1 as AvgModDiff1
    from percloss.measures.peaq import AvgModDiff2 as AvgModDiff2
    from percloss.measures.peaq import PEAQDistortionIndex as PEAQDistortionIndex
    from percloss.measures.peaq import PEAQDisturbance as PEAQDisturbance
    from percloss.measures.peaq import RmsNoiseLoud as RmsNoiseLoud
    from percloss.measures.peaq import TotalNMR as TotalNMR
    from percloss.measures.peaq import TwoF as TwoF
    from percloss.measures.peaq import TwoFDistance as TwoFDistance
    from percloss.measures.peaq import WinModDiff1 as WinModDiff1
    from percloss.measures.pesq import DifferentiablePESQ as DifferentiablePESQ
    from percloss.measures.pesq import PESQDisturbance as PESQDisturbance
    from percloss.measures.phase import AntiWrappingPhaseDistance as AntiWrappingPhaseDistance
    from percloss.measures.phase import ComplexSTFTDistance as ComplexSTFTDistance
    from percloss.measures.phase import CompressedSTFTDistance as CompressedSTFTDistance
    from percloss.measures.phase import CosinePhaseDistance as CosinePhaseDistance
    from percloss.measures.phase import WeightedSDR as WeightedSDR
    from percloss.measures.pmsqe import PMSQE as PMSQE
    from percloss.measures.ratios import L1SNR as L1SNR
    from percloss.measures.ratios import SDSDR as SDSDR
    from percloss.measures.ratios import SISDR as SISDR
    from percloss.measures.ratios import SNR as SNR
    from percloss.measures.ratios import LevelMatchedL1SNR as LevelMatchedL1SNR
    from percloss.measures.ratios import ThresholdedSNR as ThresholdedSNR
    from percloss.measures.separation import CSDR as CSDR
    from percloss.measures.separation import SASDR as SASDR
    from percloss.measures.separation import USDR as USDR
    from percloss.measures.separation import Bleedless as Bleedless
    from percloss.measures.separation import Fullness as Fullness
    from percloss.measures.spectral import LogSpectralDistance as LogSpectralDistance
    from percloss.measures.spectral import MelDistance as MelDistance
    from percloss.measures.spectral import MultiResolutionSTFTDistance as MultiResolutionSTFTDistance
    from percloss.measures.spectral import MultiScaleMelDistance as MultiScaleMelDistance
    from percloss.measures.spectral import STFTDistance as STFTDistance
    from percloss.measures.speech import PESQNarrowBand as PESQNarrowBand
    from percloss.measures.speech import PESQWideBand as PESQWideBand
    from percloss.measures.visqol import ViSQOLAudio as ViSQOLAudio
    from percloss.measures.visqol import ViSQOLSpeech as ViSQOLSpeech
    from percloss.measures.waveform import DC as DC
    from percloss.measures.waveform import ESR as ESR
    from percloss.measures.waveform import MAE as MAE
    from percloss.measures.waveform import MSE as MSE
    from percloss.measures.waveform import LogCosh as LogCosh
    from percloss.measures.waveform import LogWMSE as LogWMSE
    from percloss.measures.weighted import Weighted as Weighted
    from percloss.random_resolution import RandomResolutionSTFTLoss as RandomResolutionSTFTLoss
    from percloss.spec import Spec as Spec
    from percloss.wrappers import Framewise as Framewise
    from percloss.wrappers import Improvement as Improvement
    from percloss.wrappers import LoudnessMatched as LoudnessMatched
    from percloss.wrappers import MidSide as MidSide
    from percloss.wrappers import MixtureInvariant as MixtureInvariant
    from percloss.wrappers import PerBand as PerBand
    from percloss.wrappers import PermutationInvariant as PermutationInvariant
    from percloss.wrappers import PerStem as PerStem
    from percloss.wrappers import Resampled as Resampled
    from percloss.wrappers import ScaleInvariant as ScaleInvariant
    from percloss.wrappers import SISDRImprovement as SISDRImprovement
    from percloss.wrappers import SNRImprovement as SNRImprovement

_WHERE = {
    "balancing": ("Balanced", "gradient_shares", "GradientShares"),
    "errors": ("PerclossError", "SampleRateError", "ShapeError"),
    "evaluation": ("evaluate", "signature"),
    "hearing.loudness": ("KWeighting", "LoudnessMeter"),
    "losses": (
        *("AntiWrappingPhaseLoss", "AvgModDiff1Loss", "AvgModDiff2Loss", "BarkLoss", "BSSSDRLoss", "CDPAMLoss"),
        *("ChromaLoss", "ComplexSTFTLoss", "CompressedMagnitudeLoss", "CompressedSTFTLoss"),
        *("CompressiveNMRLoss", "CosinePhaseLoss", "CSDRLoss", "DCLoss", "DifferentiablePESQLoss"),
        *("DNSMOSBackgroundLoss", "DNSMOSOverallLoss", "DNSMOSSignalLoss", "ERBLoss", "ESRLoss", "ESTOILoss"),
        *("FeatureLoss", "GammatoneLoss", "L1SNRLoss", "LevelMatchedL1SNRLoss", "LogCoshLoss"),
        *("LogSpectralLoss", "LogWMSELoss", "LongTermSpectrumLoss", "Loss", "MAELoss", "MaskedErrorLoss"),
        *("MaskingHingeLoss", "MelCepstralDistortionLoss", "MelLoss", "MFCCLoss", "MSELoss"),
        *("MultiResolutionSTFTLoss", "MultiScaleMelLoss", "NMRLoss", "NoiseModulationLoss"),
        *("PEAQDisturbanceLoss", "PESQDisturbanceLoss", "PMSQELoss"),
        *("PrioritySpectralLoss", "RandomConvolutionLoss", "RmsNoiseLoudLoss", "SASDRLoss", "ScatteringLoss"),
        *("SDRLoss", "SDSDRLoss", "SISARLoss", "SISDRLoss", "SISIRLoss", "SmoothLogSTFTLoss", "SNRLoss"),
        *("STFTLoss", "STOILoss", "ThresholdedSNRLoss", "TotalNMRLoss", "TwoFLoss", "USDRLoss"),
        *("ViSQOLAudioLoss", "ViSQOLSpeechLoss", "WeightedSDRLoss", "WeightedSum", "WinModDiff1Loss"),
    ),
    "measure": ("catalogue", "create", "Measure", "register"),
    "measures.artefacts": ("Leakage", "LevelDifference", "LinearlyFilterable", "PhaseFraction"),
    "measures.artefacts_spectral": (
        *("HighFrequencyEnergy", "IsolatedPeaks", "LongTermSpectrum", "Rolloff", "SpectralContrast"),
        *("SpectralHoles",),
    ),
    "measures.artefacts_temporal": (
        *("CrestFactor", "FrameBuzz", "GlobalVariance", "Harmonicity", "LateReverberation", "OnsetFlux"),
        *("PreEcho",),
    ),
    "measures.auditory": (
        *("BarkDistance", "ChromaDistance", "ERBDistance", "GammatoneDistance", "MelCepstralDistortion"),
        *("MFCCDistance",),
    ),
    "measures.bss": ("BSSISR", "BSSSAR", "BSSSDR", "BSSSIR", "SDR", "SISAR", "SISIR"),
    "measures.features": ("CDPAMDistance", "FeatureDistance", "RandomConvolutionDistance", "ScatteringDistance"),
    "measures.intelligibility": ("ESTOI", "STOI"),
    "measures.magnitude": ("CompressedMagnitudeDistance", "RandomResolutionSTFTDistance", "SmoothLogSTFTDistance"),
    "measures.masking": (
        *("CompressiveNMR", "MaskedError", "MaskingHinge", "NMR", "NoiseModulation"),
        *("PrioritySpectralDistance",),
    ),
    "measures.opinion": ("DNSMOSBackground", "DNSMOSOverall", "DNSMOSP808", "DNSMOSSignal"),
    "measures.peaq": (
        *("ADB", "AvgModDiff1", "AvgModDiff2", "PEAQ", "PEAQDistortionIndex", "PEAQDisturbance"),
        *("RmsNoiseLoud", "TotalNMR", "TwoF", "TwoFDistance", "WinModDiff1"),
    ),
    "measures.pesq": ("DifferentiablePESQ", "PESQDisturbance"),
    "measures.phase": (
        *("AntiWrappingPhaseDistance", "ComplexSTFTDistance", "CompressedSTFTDistance", "CosinePhaseDistance"),
        *("WeightedSDR",),
    ),
    "measures.pmsqe": ("PMSQE",),
    "measures.ratios": ("L1SNR", "LevelMatchedL1SNR", "SDSDR", "SISDR", "SNR", "ThresholdedSNR"),
    "measures.separation": ("Bleedless", "CSDR", "Fullness", "SASDR", "USDR"),
    "measures.spectral": (
        *("LogSpectralDistance", "MelDistance", "MultiResolutionSTFTDistance", "MultiScaleMelDistance"),
        *("STFTDistance",),
    ),
    "measures.speech": ("PESQNarrowBand", "PESQWideBand"),
    "measures.visqol": ("ViSQOLAudio", "ViSQOLSpeech"),
    "measures.waveform": ("DC", "ESR", "LogCosh", "LogWMSE", "MAE", "MSE"),
    "measures.weighted": ("Weighted",),
    "random_resolution": ("RandomResolutionSTFTLoss",),
    "spec": ("Spec",),
    "wrappers": (
        *("Framewise", "Improvement", "LoudnessMatched", "MidSide", "MixtureInvariant", "PerBand"),
        *("PermutationInvariant", "PerStem", "Resampled", "ScaleInvariant", "SISDRImprovement"),
        *("SNRImprovement",),
    ),
}
_HOME = {name: f"percloss.{module}" for module, names in _WHERE.items() for name in names}
_ROOMS = {
    *("adversarial", "balancing", "compat", "data", "degrade", "discriminators", "distances", "distribution"),
    *("dsp", "engine", "errors", "evaluation", "frontends", "functional", "hearing", "losses", "measures"),
    *("mad", "metric_gan", "metrics", "nets", "recipes", "spec", "stats", "testing", "uncertainty", "wrappers"),
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _ROOMS:
        return importlib.import_module(f"percloss.{name}")
    else:
        raise AttributeError(f"module 'percloss' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}.")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_ROOMS})
