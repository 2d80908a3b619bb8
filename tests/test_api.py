"""What the package offers by name: it imports, explains itself, and a loss and a metric are the measure they hold."""

import importlib
import inspect
from types import ModuleType

import pytest
import torch
from torch import Tensor

import percloss
from percloss import Loss, Measure
from percloss.errors import MissingExtraError, PerclossError
from percloss.measure import find
from percloss.measures import TABLE
from tests.signals import at_snr, noise, rate_of

# Taking a name out of this list breaks somebody's code: it needs an entry under "Removed" in the changelog.
PUBLIC = {
    *("PerclossError", "SampleRateError", "ShapeError"),
    *("Measure", "Spec", "catalogue", "create", "evaluate", "register", "signature"),
    *("MAE", "MSE", "SDSDR", "SISDR", "SNR", "ESTOI", "PESQNarrowBand", "PESQWideBand", "STOI"),
    *("LogSpectralDistance", "MelDistance", "MultiResolutionSTFTDistance", "MultiScaleMelDistance", "STFTDistance"),
    *("Framewise", "Improvement", "PermutationInvariant", "Resampled", "SISDRImprovement", "SNRImprovement"),
    *("Loss", "WeightedSum"),
    *("LogSpectralLoss", "MAELoss", "MSELoss", "MelLoss", "MultiResolutionSTFTLoss", "MultiScaleMelLoss"),
    *("SDSDRLoss", "SISDRLoss", "SNRLoss", "STFTLoss"),
    *("DC", "ESR", "LogCosh", "LogWMSE", "DCLoss", "ESRLoss", "LogCoshLoss", "LogWMSELoss"),
    *("L1SNR", "LevelMatchedL1SNR", "ThresholdedSNR", "L1SNRLoss", "LevelMatchedL1SNRLoss", "ThresholdedSNRLoss"),
    *("AntiWrappingPhaseDistance", "ComplexSTFTDistance", "CompressedSTFTDistance", "CosinePhaseDistance"),
    *("AntiWrappingPhaseLoss", "ComplexSTFTLoss", "CompressedSTFTLoss", "CosinePhaseLoss"),
    *("WeightedSDR", "WeightedSDRLoss"),
    *("CompressiveNMR", "MaskedError", "MaskingHinge", "NMR", "NoiseModulation", "PrioritySpectralDistance"),
    *("CompressiveNMRLoss", "MaskedErrorLoss", "MaskingHingeLoss", "NMRLoss", "NoiseModulationLoss"),
    *("PrioritySpectralLoss",),
    *("PMSQE", "PMSQELoss"),
    *("Balanced",),
    *("gradient_shares",),
    *("GradientShares",),
    *("SmoothLogSTFTDistance", "SmoothLogSTFTLoss"),
    *("CompressedMagnitudeDistance", "CompressedMagnitudeLoss"),
    *("RandomResolutionSTFTDistance",),
    *("RandomResolutionSTFTLoss",),
    *("MidSide",),
    *("MixtureInvariant",),
    *("PerBand",),
    *("PerStem",),
    *("ScaleInvariant",),
    *("BarkDistance", "BarkLoss"),
    *("ERBDistance", "ERBLoss"),
    *("GammatoneDistance", "GammatoneLoss"),
    *("ChromaDistance", "ChromaLoss"),
    *("MFCCDistance", "MFCCLoss"),
    *("MelCepstralDistortion", "MelCepstralDistortionLoss"),
    *("Weighted",),
    *("RandomConvolutionDistance", "RandomConvolutionLoss"),
    *("ScatteringDistance", "ScatteringLoss"),
    *("FeatureDistance",),
    *("CDPAMDistance",),
    *("FeatureLoss",),
    *("CDPAMLoss",),
    *("STOILoss",),
    *("ESTOILoss",),
    *("ViSQOLAudio", "ViSQOLAudioLoss"),
    *("ViSQOLSpeech", "ViSQOLSpeechLoss"),
    *("DifferentiablePESQ", "DifferentiablePESQLoss"),
    *("PESQDisturbance", "PESQDisturbanceLoss"),
    *("BSSSDR", "BSSSDRLoss"),
    *("BSSISR",),
    *("BSSSIR",),
    *("BSSSAR",),
    *("SDR", "SDRLoss"),
    *("SISIR", "SISIRLoss"),
    *("SISAR", "SISARLoss"),
    *("USDR", "USDRLoss"),
    *("CSDR", "CSDRLoss"),
    *("SASDR", "SASDRLoss"),
    *("Bleedless",),
    *("Fullness",),
    *("DNSMOSSignal", "DNSMOSSignalLoss"),
    *("DNSMOSBackground", "DNSMOSBackgroundLoss"),
    *("DNSMOSOverall", "DNSMOSOverallLoss"),
    *("DNSMOSP808",),
    *("PEAQ",),
    "PEAQDistortionIndex",
    *("TwoF",),
    *("TwoFDistance", "TwoFLoss"),
    *("PEAQDisturbance", "PEAQDisturbanceLoss"),
    *("TotalNMR", "TotalNMRLoss"),
    *("AvgModDiff1", "AvgModDiff1Loss"),
    *("AvgModDiff2", "AvgModDiff2Loss"),
    *("WinModDiff1", "WinModDiff1Loss"),
    *("RmsNoiseLoud", "RmsNoiseLoudLoss"),
    *("ADB",),
    *("LevelDifference",),
    *("PhaseFraction",),
    *("Leakage",),
    *("LinearlyFilterable",),
    *("LongTermSpectrum",),
    *("HighFrequencyEnergy",),
    *("Rolloff",),
    *("SpectralContrast",),
    *("SpectralHoles",),
    *("IsolatedPeaks",),
    *("OnsetFlux",),
    *("PreEcho",),
    *("GlobalVariance",),
    *("Harmonicity",),
    *("CrestFactor",),
    *("FrameBuzz",),
    *("LateReverberation",),
    *("LoudnessMatched",),
    *("LoudnessMeter",),
    *("KWeighting",),
    *("LongTermSpectrumLoss",),
}

# Those of the catalogue; others need a network.
LOSSES = {
    name: getattr(percloss, name)
    for name in sorted(PUBLIC)
    if name.endswith("Loss") and getattr(getattr(percloss, name), "measure_class", None) in map(find, TABLE)
}
DIFFERENTIABLE = [name for name in TABLE if find(name).spec.differentiable]
SIGNED = [name for name in DIFFERENTIABLE if find(name).spec.better in ("higher", "lower")]


def test_the_public_names_are_these() -> None:
    assert set(percloss.__all__) >= PUBLIC, "a public name has gone"
    assert set(percloss.__all__) <= PUBLIC, "a new public name: list it here and in the changelog"


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_imports_and_says_what_it_is(name: str) -> None:
    found = getattr(percloss, name)
    assert found.__doc__
    assert found.__doc__.strip()
    assert found.__module__.startswith("percloss.")
    assert name in dir(percloss)
    assert getattr(percloss, name) is found


def test_an_editor_and_a_type_checker_see_the_same_names() -> None:
    """The block under TYPE_CHECKING is written by hand."""
    source = inspect.getsource(percloss)
    assert {
        line.split(" as ")[1] for line in source.splitlines() if line.startswith("    from ") and " as " in line
    } == PUBLIC


def test_a_name_that_is_not_there_is_an_attribute_error_that_lists_what_is() -> None:
    with pytest.raises(AttributeError, match=r"'percloss' has no attribute 'PSNR'.*SISDR"):
        _ = percloss.PSNR


@pytest.mark.parametrize("name", ["data", "distances", "dsp", "frontends", "losses", "measures", "testing", "wrappers"])
def test_a_module_people_reach_for_comes_by_attribute(name: str) -> None:
    assert percloss.__getattr__(name) is importlib.import_module(f"percloss.{name}")


@pytest.mark.parametrize("name", [name for name in DIFFERENTIABLE if find(name).spec.better != "neither"])
def test_a_loss_is_the_sign_times_the_mean_of_the_measure_bit_for_bit(name: str) -> None:
    measure = built(find(name))
    signals = pair(measure)
    assert torch.equal(Loss(measure)(**signals), measure.spec.cost(measure(**signals)).mean())


def pair(measure: Measure) -> dict[str, Tensor]:
    axes = (2, 1) if measure.spec.takes == "sources" else (2,)
    ref = noise(2, *axes, rate_of(measure.spec))
    given = {"est": at_snr(ref, 10), "ref": ref, **{need: at_snr(ref, 0, seed=9) for need in measure.spec.needs}}
    return {role: x for role, x in given.items() if role != "ref" or not measure.spec.alone}


@pytest.mark.parametrize("name", LOSSES)
def test_a_named_loss_holds_its_measure_and_takes_its_arguments(name: str) -> None:
    cls = LOSSES[name]
    held = cls.measure_class
    assert issubclass(cls, Loss)
    assert getattr(percloss, held.__name__) is held
    assert name.removesuffix("Loss") == held.__name__.removesuffix("Distance")
    assert type(built(cls).measure) is held
    assert held.__name__ in cls.__doc__
    signals = pair(built(cls).measure)
    assert torch.equal(built(cls)(**signals), held.spec.cost(built(held)(**signals)).mean())


def built(cls):
    """A measure or a view of one, or skip where a package is missing."""
    measured = getattr(cls, "measure_class", cls)
    try:
        return cls(rate_of(measured.spec)) if "sample_rate" in inspect.signature(measured).parameters else cls()
    except MissingExtraError as error:
        pytest.skip(str(error))


def test_every_differentiable_measure_has_a_loss_of_its_name() -> None:
    """But improvements, as the mixture's own score is a constant, and what tells one quality of the sound."""
    held = {cls.measure_class.spec.name for cls in LOSSES.values()}
    assert held == {name for name in SIGNED if not name.endswith("_i")}


@pytest.mark.parametrize("name", TABLE)
def test_every_measure_has_a_metric_of_its_name(name: str, metrics: ModuleType) -> None:
    held = find(name)
    cls = getattr(metrics, held.__name__)
    assert cls.measure_class is held
    assert issubclass(cls, metrics.Metric)
    assert held.__name__ in cls.__doc__
    metric = built(cls)
    assert type(metric.measure) is held
    if held.spec.differentiable:
        signals = pair(metric.measure)
        metric.update(**signals)
        mean = metric.compute()["mean"].float()
        torch.testing.assert_close(mean, metric.measure(**signals).mean())
        if held.spec.better in ("higher", "lower"):
            torch.testing.assert_close(held.spec.cost(mean), Loss(metric.measure)(**signals))


@pytest.fixture
def metrics() -> ModuleType:
    pytest.importorskip("torchmetrics", reason="a metric is a torchmetrics.Metric")
    return importlib.import_module("percloss.metrics")


def test_every_measure_is_public() -> None:
    assert {find(name).__name__ for name in TABLE} <= PUBLIC


def test_one_except_catches_all_that_is_refused_on_purpose() -> None:
    errors = [value for value in vars(importlib.import_module("percloss.errors")).values() if inspect.isclass(value)]
    assert len(errors) > 8
    assert all(issubclass(error, PerclossError) and error.__doc__ for error in errors)


def test_the_version_is_one_that_packagers_read() -> None:
    assert percloss.__version__.count(".") == 2
    assert all(part.isdigit() for part in percloss.__version__.split("."))
