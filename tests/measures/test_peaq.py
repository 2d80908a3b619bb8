"""What must be true of PEAQ and the 2f-model: what they hear and forgive, where they end, and what says so."""

import itertools
import math
import os
import warnings

import pytest
import torch
from torch import Tensor

from percloss import Loss, Measure, WeightedSum, create, evaluate
from percloss.dsp.resample import resample
from percloss.errors import ArgumentError, SampleRateError, ShapeError
from percloss.functional import shared
from percloss.hearing.peaq import PEAQEar
from percloss.measures.peaq import (
    ADB,
    EHS,
    MFPD,
    PEAQ,
    AvgModDiff1,
    AvgModDiff2,
    BandwidthRef,
    BandwidthTest,
    PEAQDistortionIndex,
    PEAQDisturbance,
    RelDistFrames,
    RmsNoiseLoud,
    TotalNMR,
    TwoF,
    TwoFDistance,
    WinModDiff1,
)
from percloss.testing import RULES, check_measure
from tests.signals import CLIPS, at_snr, noise, rate_of, speech

pytestmark = pytest.mark.filterwarnings("ignore:peaq_odg", "ignore:peaq_di")

RATE = 48_000
COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
WITH_A_GRADIENT = (TotalNMR, AvgModDiff1, AvgModDiff2, WinModDiff1, RmsNoiseLoud, PEAQDisturbance, TwoFDistance)
WITHOUT = (PEAQ, PEAQDistortionIndex, TwoF, ADB, EHS, MFPD, RelDistFrames, BandwidthRef, BandwidthTest)
# What has no order for the contract's noise: counts that are full, bandwidths that are none, and one that asks for
# harmonics. They are not in the catalogue.
UNORDERED = (EHS, MFPD, RelDistFrames, BandwidthRef, BandwidthTest)
ORDER = {"worse_is_worse", "hears_what_it_claims"}
TRIED = [name for name in RULES if name != "is_documented" and (COMPILE or name != "compiles")]
# The catalogue's contract tries the defaults; here the rest.
VARIANTS = {
    "nmr_total, gstpeaq": lambda rate: TotalNMR(rate, variant="gstpeaq"),
    "peaq_disturbance, masking alone": lambda rate: PEAQDisturbance(rate, weights=(0.0, 0.0, 1.0)),
    **{cls.spec.name: cls for cls in UNORDERED},
}


def music(seconds: float = 2.0, *, channels: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """Chords that swell, up to 12 kHz, and under them noise of all frequencies, (1, channels, time)."""
    time = torch.arange(int(seconds * RATE), dtype=torch.float64) / RATE
    rows = []
    for channel in range(channels):
        number = torch.arange(1, 55, dtype=torch.float64)[:, None]
        tones = (torch.sin(2 * math.pi * 220 * 1.25**channel * number * time + number**2) / number).sum(0)
        rows.append(0.1 * tones * (1 - 0.8 * torch.cos(2 * math.pi * 3 * time)))
    x = torch.stack(rows)[None]
    return (x + 0.003 * noise(*x.shape, seed=9, dtype=torch.float64)).to(dtype)


def value(cls: type[Measure], est: Tensor, ref: Tensor, **settings: object) -> float:
    with torch.no_grad():
        return cls(RATE, **settings)(est, ref).item()


@pytest.mark.parametrize("rule", TRIED)
@pytest.mark.parametrize("name", VARIANTS)
def test_variant_keeps_the_contract(name: str, rule: str) -> None:
    if name in {cls.spec.name for cls in UNORDERED} and rule in ORDER:
        pytest.skip("has no order for noise: not in the catalogue for that")
    measure = VARIANTS[name](16_000 if "bandwidth" not in name else RATE)
    check_measure(measure, sample_rate=measure.sample_rate, rules=[rule])


# What it hears.


@pytest.mark.parametrize("variant", ["kabal", "gstpeaq"])
def test_more_noise_gets_a_worse_grade_and_identity_the_best(variant: str) -> None:
    ref = music()
    grades = [value(PEAQ, at_snr(ref, db), ref, variant=variant) for db in (80, 50, 35, 20)]
    grades.insert(0, value(PEAQ, ref, ref, variant=variant))
    assert all(better > worse for better, worse in itertools.pairwise(grades))
    assert 0.1 < grades[0] < 0.22
    assert grades[-1] < -2.5


def test_a_masked_error_costs_less_than_one_that_is_not() -> None:
    """Noise shaped as the music is heard less than white noise of the same energy."""
    ref = music()
    white = at_snr(ref, 25) - ref
    shaped = torch.fft.irfft(torch.fft.rfft(white) * torch.fft.rfft(ref).abs())
    shaped = shaped * white.norm() / shaped.norm()
    for cls in (PEAQ, TwoF):
        assert value(cls, ref + shaped, ref) > value(cls, ref + white, ref) + 0.2
    for cls in (PEAQDisturbance, TotalNMR):
        assert value(cls, ref + shaped, ref) < value(cls, ref + white, ref)


def test_2f_and_nmr_hear_a_reference_without_a_high_band() -> None:
    ref = resample(speech(seconds=2.0), 16_000, RATE)
    scores = [value(TwoF, at_snr(ref, db), ref) for db in (60, 30, 10)]
    assert scores[0] > scores[1] + 20 > scores[2] + 30
    ratios = [value(TotalNMR, at_snr(ref, db), ref) for db in (60, 30, 10)]
    assert ratios[0] < ratios[1] - 20 < ratios[2] - 30


def test_total_nmr_follows_a_small_error_decibel_by_decibel() -> None:
    """A small change of magnitudes is as large as the error that makes it."""
    ref = music(dtype=torch.float64)
    error = at_snr(ref, 60) - ref
    assert value(TotalNMR, ref + error, ref) - value(TotalNMR, ref + 0.1 * error, ref) == pytest.approx(20, abs=0.2)


def test_noise_that_comes_and_goes_has_more_modulation_than_steady_noise() -> None:
    ref = music()
    gate = (torch.sin(2 * math.pi * 11 * torch.arange(ref.shape[-1]) / RATE) > 0).float()
    steady = 0.003 * noise(*ref.shape)
    rough, smooth = ref + 3 * gate * steady, ref + 3 / math.sqrt(2) * steady
    assert value(AvgModDiff2, rough, ref) > 2 * value(AvgModDiff2, smooth, ref)


def test_a_short_gap_counts_more_in_a_window_than_in_the_mean() -> None:
    ref = music(3.0)
    est = ref.clone()
    est[..., 100_000:103_000] = 0
    mean, window = value(AvgModDiff1, est, ref), value(WinModDiff1, est, ref)
    assert window > 2 * mean > 0


def test_loss_of_the_high_band_narrows_the_estimate_and_not_the_reference() -> None:
    ref = music()
    spectrum = torch.fft.rfft(ref)
    spectrum[..., int(10_000 * 2.0) :] = 0
    est = torch.fft.irfft(spectrum)
    assert value(BandwidthTest, est, ref) == pytest.approx(10_000 / 23.4375, rel=0.03)
    assert value(BandwidthRef, est, ref) > value(BandwidthTest, est, ref) + 50


def test_errors_at_harmonics_have_a_harmonic_structure_and_noise_has_not() -> None:
    ref = 0.05 * noise(1, 1, 2 * RATE)
    time = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    comb = sum(torch.sin(2 * math.pi * 440 * k * time + k**2) for k in range(1, 40))[None, None].float()
    white = noise(*ref.shape, seed=3) * comb.std()
    assert value(EHS, ref + 0.01 * comb, ref) > 10 * value(EHS, ref + 0.01 * white, ref)


def test_what_nobody_hears_is_not_detected_and_what_everybody_hears_always_is() -> None:
    ref = music()
    faint, plain = at_snr(ref, 90), at_snr(ref, 10)
    for cls, most in ((MFPD, 1.0), (RelDistFrames, 1.0)):
        assert value(cls, faint, ref) < 0.01
        assert value(cls, plain, ref) == pytest.approx(most, abs=0.01)
    assert value(ADB, ref, ref) == 0
    assert value(ADB, plain, ref) > 1.5


def test_phase_is_not_heard() -> None:
    ref = music()
    for cls in (PEAQ, TwoF, PEAQDisturbance, TotalNMR):
        assert value(cls, -at_snr(ref, 20), ref) == pytest.approx(value(cls, at_snr(ref, 20), ref), rel=1e-4)


def test_half_the_level_costs_2f_more_than_half_its_scale_and_modulation_little() -> None:
    ref = music()
    assert value(TwoF, 0.5 * ref, ref) < 55
    assert value(AvgModDiff1, 0.5 * ref, ref) < 0.2 * value(AvgModDiff1, at_snr(ref, 10), ref)


# Channels and rates.


def test_two_equal_channels_score_what_one_does() -> None:
    ref = music()
    est = at_snr(ref, 25)
    for cls in (*WITH_A_GRADIENT, *WITHOUT):
        both = value(cls, est.expand(-1, 2, -1), ref.expand(-1, 2, -1))
        assert both == pytest.approx(value(cls, est, ref), rel=1e-4, abs=1e-4), cls.__name__


def test_of_two_channels_variables_take_the_mean_and_detection_the_worse() -> None:
    ref = music(channels=2)
    est = torch.cat((at_snr(ref[:, :1], 20), at_snr(ref[:, 1:], 35)), 1)
    left, right = (slice(0, 1), slice(1, 2))
    for cls in (TotalNMR, AvgModDiff1, WinModDiff1):
        mean = (value(cls, est[:, left], ref[:, left]) + value(cls, est[:, right], ref[:, right])) / 2
        assert value(cls, est, ref) == pytest.approx(mean, rel=1e-4)
    assert value(ADB, est, ref) >= max(value(ADB, est[:, side], ref[:, side]) for side in (left, right)) - 1e-5


def test_more_than_two_channels_are_refused_with_the_line_to_type() -> None:
    ref = music().expand(-1, 3, -1)
    with pytest.raises(ShapeError, match=r"two_f: got \(1, 3, 96000\); needed are one channel or two.*flatten\(0, 1\)"):
        TwoF(RATE)(ref, ref)


@pytest.mark.parametrize("rate", [44_100, 16_000])
def test_another_rate_is_resampled_to_48_khz(rate: int) -> None:
    ref = resample(music(), RATE, rate)
    est = at_snr(ref, 25)
    there = value(TotalNMR, *(resample(x, rate, RATE) for x in (est, ref)))
    assert TotalNMR(rate)(est, ref).item() == pytest.approx(there, abs=1e-4)


# Bad input.


def test_a_grade_is_not_given_at_rates_without_a_high_band() -> None:
    """8 kHz speech: the grade refuses, with the line to type, and the 2f-model has a value."""
    for cls in (PEAQ, PEAQDistortionIndex, BandwidthRef, BandwidthTest):
        with pytest.raises(
            SampleRateError, match=r"defined at 32000, 44100, 48000 Hz only, got 8000.*sample_rate=48000"
        ):
            cls(8000)
    ref = resample(speech(seconds=2.0), 16_000, 8000)
    assert 0 < TwoF(8000)(at_snr(ref, 20), ref).item() < 60


def test_a_silent_or_too_quiet_reference_has_no_value_and_says_why() -> None:
    ref = music()
    measure = TwoF(RATE)
    assert measure(ref, 0 * ref).isnan().all()
    assert measure.reason(ref, 0 * ref) == "reference is silent"
    assert measure(ref, 1e-5 * ref).isnan().all()
    assert measure.reason(ref, 1e-5 * ref) == "reference is too quiet"


@pytest.mark.parametrize("variant", ["kabal", "gstpeaq"])
def test_100_milliseconds_have_a_masking_ratio_and_nothing_that_wants_settled_filters(variant: str) -> None:
    ref = music(0.1)
    est = at_snr(ref, 20)
    for cls in (PEAQ, PEAQDisturbance, AvgModDiff1, RmsNoiseLoud):
        measure = cls(RATE, variant=variant)
        assert measure(est, ref).isnan().all()
        assert "shorter than 0.6 s" in measure.reason(est, ref)
    for cls in (TotalNMR, ADB, RelDistFrames):
        assert cls(RATE, variant=variant)(est, ref).isfinite().all()
    whole = music(0.6)
    assert AvgModDiff1(RATE, variant=variant)(at_snr(whole, 20), whole).isfinite().all()
    with pytest.raises(ShapeError, match="4096 samples"):
        TotalNMR(RATE)(ref[..., :4095], ref[..., :4095])


def test_a_silent_estimate_scores_badly_where_it_counts() -> None:
    """RmsNoiseLoud, which hears only what is there, is the one that silence wins; the loss form has no such hole."""
    ref = music()
    assert value(RmsNoiseLoud, 0 * ref, ref) == 0
    assert value(TwoF, 0 * ref, ref) < 30
    assert value(PEAQDisturbance, 0 * ref, ref) > 10 * value(PEAQDisturbance, at_snr(ref, 50), ref)


def test_silence_around_the_reference_is_not_judged() -> None:
    ref = music()
    est = at_snr(ref, 30)
    rest = torch.zeros(1, 1, 20 * 1024)
    longer = torch.cat((ref, rest), -1)
    louder = torch.cat((est, rest + 0.1), -1)
    end = value(TotalNMR, est[..., : 93 * 1024], ref[..., : 93 * 1024])
    assert value(TotalNMR, louder, longer) == pytest.approx(end, abs=0.7)


def test_wrong_weights_are_refused() -> None:
    for weights in ((1.0, 1.0), (0.0, 0.0, 0.0), (1.0, -1.0, 1.0), (1.0, math.inf, 1.0)):
        with pytest.raises(Exception, match="peaq_disturbance: got weights=|Type-check"):  # beartype's, if it is on
            PEAQDisturbance(RATE, weights=weights)
    with pytest.raises(ArgumentError, match="peaq_disturbance: got weights="):
        PEAQDisturbance(RATE, weights=(1.0, -1.0, 1.0))


# Warnings.


@pytest.mark.filterwarnings("default:peaq_")
def test_a_reference_without_a_high_band_is_warned_about_once() -> None:
    ref = resample(speech(seconds=1.5), 16_000, RATE)
    est = at_snr(ref, 40)
    for cls in (PEAQ, PEAQDistortionIndex):
        measure = cls(RATE)
        with pytest.warns(UserWarning, match="1 of 1 references have nothing above 8.1 kHz.*Read two_f or nmr_total"):
            measure(est, ref)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            measure(est, ref)
            cls(RATE)(at_snr(music(), 40), music())
            TwoF(RATE)(est, ref)


@pytest.mark.filterwarnings("default:peaq_")
def test_where_the_grade_is_flat_is_warned_about_once_and_2f_goes_on() -> None:
    soundfile = pytest.importorskip("soundfile", reason="soundfile reads the embedded music")
    samples, rate = soundfile.read(CLIPS / "music_stems" / "strings_44k.ogg", 3 * 44_100, dtype="float32")
    ref = torch.from_numpy(samples.T.copy())[None]
    measure = PEAQ(rate)
    with pytest.warns(UserWarning, match="1 of 1 items are below -3.5 at an SNR of 15 dB.*Read two_f or nmr_total"):
        bad = measure(at_snr(ref, 10), ref)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        worse = measure(at_snr(ref, 0), ref)
        PEAQ(rate)(at_snr(ref, 10), ref)
    assert abs(bad - worse).item() < 0.02
    assert TwoF(rate)(at_snr(ref, 10), ref) > TwoF(rate)(at_snr(ref, 0), ref) + 8


# Gradients.


@pytest.mark.parametrize("cls", WITH_A_GRADIENT, ids=lambda cls: cls.__name__)
def test_gradient_is_that_of_finite_differences(cls: type[Measure]) -> None:
    ref = resample(music(0.7, channels=2, dtype=torch.float64), RATE, 16_000)
    measure = cls(16_000)
    est = at_snr(ref, 15).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: measure(x, ref), (est,), eps=1e-7, atol=1e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("reference", ["music", "silence", "-120 dBFS"])
@pytest.mark.parametrize("start", ["silence", "identity", "-120 dBFS", "denormal", "opposite", "far away"])
def test_gradient_is_finite_everywhere(start: str, reference: str) -> None:
    """Of all together, also of what claims none, for those who look anyway: one that is not would spoil the sum."""
    clean = music(0.8, channels=2)
    estimates = {
        "silence": 0 * clean,
        "identity": clean.clone(),
        "-120 dBFS": 1e-6 * noise(*clean.shape),
        "denormal": 1e-42 * clean,
        "opposite": -clean,
        "far away": clean + 100,
    }
    ref = {"music": clean, "silence": 0 * clean, "-120 dBFS": 1e-6 * clean}[reference]
    est = estimates[start].requires_grad_()
    with shared():
        values = torch.cat([cls(RATE)(est, ref) for cls in (*WITH_A_GRADIENT, PEAQ, TwoF, ADB, EHS)])
    assert values.isfinite().all() if reference == "music" else values.isnan().all()
    (gradient,) = torch.autograd.grad(values.nan_to_num().sum(), est)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("cls", [PEAQDisturbance, TwoFDistance], ids=lambda cls: cls.__name__)
def test_a_few_steps_of_the_loss_make_a_noisy_signal_better_by_another_measure(cls: type[Measure]) -> None:
    ref = music(1.0)
    est = at_snr(ref, 15)
    before = value(TwoF, est, ref), value(TotalNMR, est, ref)
    loss = Loss(cls(RATE))
    for _ in range(12):
        est = est.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(est, ref), est)
        est = est.detach() - 0.05 * (est - ref).detach().norm() * gradient / gradient.norm()
    assert value(TwoF, est, ref) > before[0] + 1
    assert value(TotalNMR, est, ref) < before[1] - 1


def test_the_smooth_2f_is_near_the_one_with_thresholds() -> None:
    ref = music()
    for db in (40, 25, 10):
        est = at_snr(ref, db)
        assert value(TwoFDistance, est, ref) == pytest.approx(1 - value(TwoF, est, ref) / 100, abs=0.12)
    assert value(TwoFDistance, ref, ref) == pytest.approx(-0.18531, abs=1e-5)


def test_what_has_thresholds_is_no_loss() -> None:
    for cls in WITHOUT:
        with pytest.raises(ArgumentError, match="has no gradient"):
            Loss(cls(RATE))


# One ear for all.


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one at each spectrum that is made."""
    count: list[int] = []
    original = PEAQEar.spectrum
    monkeypatch.setattr(PEAQEar, "spectrum", lambda self, x: count.append(1) or original(self, x))
    return count


def test_within_shared_the_same_signals_go_through_one_ear(heard: list[int]) -> None:
    ref = music()
    est = at_snr(ref, 25)
    group = [cls(RATE) for cls in (PEAQ, TwoF, TotalNMR, AvgModDiff1)]
    alone = [measure(est, ref) for measure in group]
    assert len(heard) == 2 * len(group)
    with shared():
        together = [measure(est, ref) for measure in group]
        assert len(heard) == 2 * len(group) + 2
        TotalNMR(RATE, variant="gstpeaq")(est, ref)
        TotalNMR(RATE)(est.clone(), ref)
    assert len(heard) == 2 * len(group) + 6
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_evaluate_asks_the_ear_once(heard: list[int]) -> None:
    ref = music()
    measures = [cls(RATE) for cls in (PEAQ, PEAQDistortionIndex, TwoF, TotalNMR, ADB)]
    scores = evaluate(at_snr(ref, 25), ref, RATE, measures)
    assert len(heard) == 2
    assert scores["peaq_odg"].item() == pytest.approx(-3.98 + 4.2 * scores["peaq_di"].sigmoid().item(), abs=1e-5)


def test_a_sum_of_losses_within_shared_has_one_ear_and_the_same_gradient(heard: list[int]) -> None:
    ref = music(1.0)
    est = at_snr(ref, 25).requires_grad_()
    loss = WeightedSum([(1.0, Loss(PEAQDisturbance(RATE))), (0.5, Loss(TwoFDistance(RATE)))])
    (wanted,) = torch.autograd.grad(loss(est, ref), est)
    heard.clear()
    with shared():
        (gradient,) = torch.autograd.grad(loss(est, ref), est)
    assert len(heard) == 2
    torch.testing.assert_close(gradient, wanted)


# Names and numbers.


def test_the_catalogue_builds_them_by_name() -> None:
    for cls in {*WITH_A_GRADIENT, *WITHOUT} - {*UNORDERED}:
        assert isinstance(create(cls.spec.name, sample_rate=max(RATE, rate_of(cls.spec))), cls)


GOLDEN = {
    60: {"peaq_odg": 0.1532, "peaq_di": 4.1256, "two_f": 100.0, "nmr_total": -40.7825, "peaq_disturbance": 0.0029},
    20: {
        "peaq_odg": -2.6567,
        "peaq_di": -0.7766,
        "two_f": 50.883,
        "nmr_total": 0.468,
        "peaq_disturbance": 0.2767,
        "two_f_distance": 0.5012,
        "peaq_avg_mod_diff1": 11.7668,
        "peaq_avg_mod_diff2": 9.7219,
        "peaq_adb": 2.1586,
        "peaq_win_mod_diff1": 14.3782,
        "peaq_rms_noise_loud": 0.0977,
    },
}


@pytest.mark.parametrize("db", GOLDEN)
def test_has_not_moved(db: int) -> None:
    """Golden values of 23 November 2026: a change here is a change of the number."""
    ref = music()
    scores = evaluate(at_snr(ref, db), ref, RATE, list(GOLDEN[db]))
    for name, wanted in GOLDEN[db].items():
        assert scores[name].item() == pytest.approx(wanted, abs=1e-3), name
