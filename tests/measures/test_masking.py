"""What must be true of errors as they are heard, from psychoacoustics and closed forms and not from the code."""

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from percloss import SISDR, SNR, SISDRLoss, SNRLoss, WeightedSum
from percloss.dsp.resample import resample
from percloss.dsp.stft import power
from percloss.errors import ArgumentError, SampleRateError
from percloss.losses import Loss
from percloss.measures.masking import (
    NMR,
    CompressiveNMR,
    MaskedError,
    MaskingHinge,
    MaskingMeasure,
    NoiseModulation,
    PrioritySpectralDistance,
)
from percloss.testing import RULES, check_measure
from tests.signals import RATE, at_snr, noise, speech, tone

AGAINST_MASK: list[Any] = [NMR, CompressiveNMR, MaskedError, NoiseModulation, MaskingHinge]
BUILDS: dict[str, Callable[[], Any]] = {
    **{cls.spec.name: partial(cls, RATE) for cls in (*AGAINST_MASK, PrioritySpectralDistance)},
    "nmr of magnitudes": lambda: NMR(RATE, error="magnitude"),
    "compressive_nmr of magnitudes": lambda: CompressiveNMR(RATE, error="magnitude"),
    "compressive_nmr with the spreading of PEAQ": lambda: CompressiveNMR(RATE, spreading="peaq"),
    "masking_hinge with that of MPEG-1": lambda: MaskingHinge(
        RATE, spreading="mpeg1_model1", n_fft=400, hop_length=150
    ),
}
each = pytest.mark.parametrize("cls", AGAINST_MASK)
VOICES = ["librivox_0870", "librivox_0880", "librivox_0890", "librivox_0920", "librivox_0930"]


def narrow(hz: float, *, db: float = -50.0, width: float = 80.0, seed: int = 0) -> Tensor:
    """Noise in a narrow band, of a level in dB re a full-scale sine."""
    spectrum = torch.fft.rfft(noise(1, 1, RATE, seed=seed, dtype=torch.float64))
    bins = torch.arange(spectrum.shape[-1])  # 1 Hz apart
    found = torch.fft.irfft(spectrum * ((bins - hz).abs() < width / 2), RATE)
    return found * 10 ** (db / 20) / (2 * found.square().mean()).sqrt()


# The contract; documentation is held to it by tests/test_contract.py.
COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))


@pytest.mark.parametrize("name", BUILDS)
def test_measures_keep_the_contract(name: str) -> None:
    rules = [rule for rule in RULES if rule != "is_documented" and (COMPILE or rule != "compiles")]
    check_measure(BUILDS[name](), sample_rate=RATE, rules=rules)


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("silent", [False, True])
def test_the_gradient_of_the_engine_is_that_of_the_formula(name: str, silent: bool) -> None:
    ref = noise(2, 2, 3000, dtype=torch.float64) * (not silent)
    gradients, values = [], []
    for engine in ("closed", "eager"):
        measure = BUILDS[name]()
        measure.engine = engine
        est = noise(2, 2, 3000, seed=1, dtype=torch.float64).requires_grad_()
        value = measure(est, ref)
        values.append(value.detach())
        gradients.append(torch.autograd.grad(value.nansum(), est)[0])
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9 * float(gradients[1].abs().max()))


# What a listener would sign.


@each
@pytest.mark.parametrize("spreading", ["schroeder", "mpeg1_model1", "mpeg1_model2", "peaq"])
def test_noise_under_a_tones_masking_pattern_costs_less_than_outside_it(
    cls: type[MaskingMeasure], spreading: str
) -> None:
    masker, measure = tone(1000, db=-20), cls(RATE, spreading=spreading)
    under, below, above = (measure(masker + narrow(hz), masker).item() for hz in (1080, 500, 3000))
    assert under < below
    assert under < above
    if measure.spec.unit == "dB":
        assert under < min(below, above) - 0.2
    else:
        assert under < min(below, above) / 3


@each
def test_masking_spreads_upwards_further_than_downwards(cls: type[MaskingMeasure]) -> None:
    """Three Bark from the tone; the threshold in quiet differs by less than a dB between them."""
    masker, measure = tone(1500, db=-20), cls(RATE)
    below, above = (measure(masker + narrow(hz, db=-60), masker).item() for hz in (918, 2380))
    assert above < below


@each
def test_the_same_error_is_heard_less_beside_a_louder_reference(cls: type[MaskingMeasure]) -> None:
    error, ref = 0.001 * noise(1, 1, RATE, seed=1), noise(1, 1, RATE)
    soft, loud = (cls(RATE)(gain * ref + error, gain * ref).item() for gain in (0.001, 0.1))
    assert loud < soft


def test_noise_masks_more_than_a_tone_of_its_power() -> None:
    """The asymmetry of masking."""
    error = narrow(1080, db=-45, seed=3)
    tonal, noisy = tone(1000, db=-20), narrow(1000, db=-20, width=1500, seed=4)
    assert CompressiveNMR(RATE)(noisy + error, noisy) < CompressiveNMR(RATE)(tonal + error, tonal)


def test_an_error_just_after_a_burst_is_heard_less_than_one_long_after() -> None:
    burst, click = torch.zeros(1, 1, RATE), torch.zeros(1, 1, RATE)
    burst[..., 2000:4000] = 0.3 * noise(2000)
    click[..., 4400:4440] = 0.003 * noise(40, seed=1)
    measure = CompressiveNMR(RATE, n_fft=128)
    soon, late = measure(burst + click, burst), measure(burst + click.roll(4000, -1), burst)
    assert soon < 0.9 * late


@each
def test_what_nobody_can_hear_costs_nothing_and_what_one_can_costs_something(cls: type[MaskingMeasure]) -> None:
    """A tone in silence, 5 dB to both sides of the threshold in quiet, which is 3.4 dB SPL at 1 kHz."""
    silence = torch.zeros(1, 1, RATE, dtype=torch.float64)
    hidden, heard = (cls(RATE)(tone(1000, db=3.4 - 92 + margin), silence).item() for margin in (-5, 5))
    if cls in (MaskingHinge, NoiseModulation):
        assert hidden == 0
    assert heard > hidden


@each
def test_the_level_it_is_played_at_decides_what_is_heard(cls: type[MaskingMeasure]) -> None:
    silence, hum = torch.zeros(1, 1, RATE), 1e-4 * noise(1, 1, RATE)
    soft, loud = (cls(RATE, full_scale_spl=spl)(hum, silence).item() for spl in (60.0, 100.0))
    assert soft < loud


# Closed forms.


@pytest.mark.parametrize("gain", [0.01, 0.5, 1.0, 2.0, 1000.0])
def test_an_error_at_a_multiple_of_the_threshold_has_a_closed_form(gain: float) -> None:
    ref_power = NMR(RATE).front.power(noise(2, 1, 4000, dtype=torch.float64))
    error = gain * NMR(RATE).threshold(ref_power)
    wanted: dict[Any, float] = {
        NMR: 10 * math.log10(gain),
        CompressiveNMR: 10 * math.log10(1 + gain),
        MaskedError: gain,
        NoiseModulation: max(0, gain - 1),
        MaskingHinge: max(0, 10 * math.log10(gain)),
    }
    for cls, value in wanted.items():
        found = cls(RATE).judge(error, ref_power)
        torch.testing.assert_close(found, torch.full_like(found, value), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("moved", [-40.0, -10.0, 3.0, 20.0])
def test_scaling_the_error_by_some_db_moves_nmr_by_as_many(moved: float) -> None:
    ref, error = noise(1, 2, RATE, dtype=torch.float64), 0.01 * noise(1, 2, RATE, seed=1, dtype=torch.float64)
    before, after = (NMR(RATE)(ref + gain * error, ref) for gain in (1.0, 10 ** (moved / 20)))
    torch.testing.assert_close(after - before, torch.full_like(before, moved), atol=1e-6, rtol=0)


def test_nmr_is_the_masked_error_in_db() -> None:
    est, ref = noise(2, 2, 1, RATE, dtype=torch.float64)
    torch.testing.assert_close(NMR(RATE)(est, ref), 10 * MaskedError(RATE)(est, ref).log10(), atol=1e-6, rtol=0)


@each
@pytest.mark.parametrize("error", ["complex", "magnitude"])
def test_no_error_is_the_lower_bound(cls: type[MaskingMeasure], error: str) -> None:
    for ref in (noise(2, 2, 4000), 0 * noise(1, 1, 4000)):
        assert (cls(RATE, error=error)(ref.clone(), ref) == cls.spec.bounds[0]).all()


def test_only_complex_errors_hear_the_phase() -> None:
    ref, est = tone(1000), tone(1000, phase=2.0)
    assert NMR(RATE)(est, ref) > NMR(RATE, error="magnitude")(est, ref) + 20
    assert NMR(RATE)(-ref, ref) > 0
    assert NMR(RATE, error="magnitude")(-ref, ref) == -140


def test_the_error_of_magnitudes_is_never_the_larger_one() -> None:
    est, ref = noise(2, 3, 1, RATE)
    assert (MaskedError(RATE, error="magnitude")(est, ref) < MaskedError(RATE)(est, ref)).all()


def test_noise_modulation_hears_the_one_band_that_compressive_nmr_hardly_counts() -> None:
    ref = 0.1 * noise(1, 1, RATE, dtype=torch.float64)
    peak, spread = narrow(3000, db=-20, width=30), at_snr(ref, 3.5, seed=5) - ref
    assert NoiseModulation(RATE)(ref + peak, ref) > NoiseModulation(RATE)(ref + spread, ref)
    assert CompressiveNMR(RATE)(ref + peak, ref) < CompressiveNMR(RATE)(ref + spread, ref)


@pytest.mark.parametrize("gain", [0.0, 0.3, 0.9, 2.0])
def test_priority_of_a_scaled_copy_is_the_square_of_what_is_missing(gain: float) -> None:
    ref = noise(2, 1, RATE, dtype=torch.float64)
    value = PrioritySpectralDistance(RATE)(gain * ref, ref)
    torch.testing.assert_close(value, torch.full_like(value, (1 - gain) ** 2), atol=1e-5, rtol=0)


def test_priority_is_with_what_stands_out_of_its_mask() -> None:
    """Errors of one power count most at a tone, less at a tone that it masks, and next to nothing where nothing is."""
    ref = tone(1000, db=-20) + tone(1400, db=-55)
    errors = [narrow(hz, db=-60, width=20) for hz in (1000, 1400, 5000)]
    at_tone, at_masked, at_nothing = (PrioritySpectralDistance(RATE)(ref + error, ref).item() for error in errors)
    assert at_tone > 2 * at_masked
    assert at_masked > 10 * at_nothing


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000])
def test_any_rate_will_do_and_the_window_lasts_as_long_at_each(rate: int) -> None:
    measure = CompressiveNMR(rate)
    assert 0.03 < measure.front.n_fft / rate < 0.061
    est, ref = noise(2, 2, 2, rate // 4)
    value = measure(est, ref)
    assert value.shape == (2, 2)
    assert (value > 0).all()
    assert value.isfinite().all()


def test_a_sound_below_4_khz_scores_nearly_the_same_at_every_rate() -> None:
    ref = narrow(1500, db=-20, width=2500, seed=1).float()
    est = ref + narrow(1500, db=-40, width=2500, seed=2).float()
    values = []
    for rate in (8000, 16_000, 44_100, 48_000):
        measure = CompressiveNMR(rate, n_fft=2 * round(rate * 0.016), hop_length=round(rate * 0.008))
        bands = len(measure.threshold.hz)
        values.append(measure(*(resample(x, RATE, rate) for x in (est, ref))).item() * bands)
    assert max(values) < 1.1 * min(values)


# Muting.


@each
@pytest.mark.parametrize("voice", VOICES)
def test_a_loss_against_the_mask_alone_is_won_by_muting(cls: type[MaskingMeasure], voice: str) -> None:
    """Hence the warning in their documentation: silence beats speech in white noise at 20 dB."""
    ref = speech(voice, seconds=2.4)
    noisy = at_snr(ref, 20)
    assert cls(RATE)(torch.zeros_like(ref), ref) < cls(RATE)(noisy, ref)


@pytest.mark.parametrize("voice", VOICES)
def test_one_that_weighs_by_the_reference_is_not(voice: str) -> None:
    ref = speech(voice, seconds=2.4)
    measure = PrioritySpectralDistance(RATE)
    assert measure(torch.zeros_like(ref), ref) > measure(at_snr(ref, 10), ref)


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("snr_db", [5, 10, 20])
def test_the_documented_sums_refuse_silence_and_what_is_turned_down(voice: str, snr_db: float) -> None:
    """They keep the level within 6 dB; SNR alone likes what has 5 dB best at 0.76 of its level, Wiener's gain."""
    ref = speech(voice, seconds=2.4)
    noisy = at_snr(ref, snr_db)
    for weight, measure in ((0.1, NMR(RATE)), (0.25, CompressiveNMR(RATE))):
        balanced = WeightedSum([(1.0, SNRLoss()), (weight, Loss(measure))])
        scores = torch.stack([balanced(gain * noisy, ref) for gain in (0.0, 0.01, 0.1, 0.3, 0.5, 1.0)])
        assert scores.argmin() >= 4
        assert measure(0 * noisy, ref) < measure(noisy, ref)


def test_si_sdr_refuses_silence_but_not_what_is_turned_down() -> None:
    """It does not hear the level, and what it is balanced with likes less of it."""
    ref = speech(seconds=2.4)
    noisy = at_snr(ref, 10)
    balanced = WeightedSum([(1.0, SISDRLoss()), (1.0, Loss(CompressiveNMR(RATE)))])
    assert balanced(0 * noisy, ref) > balanced(noisy, ref)
    assert balanced(0.01 * noisy, ref) < balanced(noisy, ref)


def test_over_spectral_subtraction_of_any_strength_and_level_the_documented_sums_keep_the_level() -> None:
    """The search that the weights in the documentation come from, in little: the noise is known, the gain is free."""
    gains = torch.tensor([0.0, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.85, 1.0, 1.15])
    window = torch.hann_window(512)
    kept, muted = [], []
    for voice in VOICES[:2]:
        ref = speech(voice, seconds=2.4)
        for snr_db in (0, 5, 10):
            noisy = at_snr(ref, snr_db)
            spectrum, hiss = (
                torch.stft(x[0], 512, 128, window=window, return_complex=True) for x in (noisy, noisy - ref)
            )
            rows = []
            for strength in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0):
                left = (1 - strength * power(hiss).mean(-1, keepdim=True) / (power(spectrum) + 1e-12)).relu().sqrt()
                est = torch.istft(left * spectrum, 512, 128, window=window, length=ref.shape[-1])[:, None]
                est, refs = gains[:, None, None] * est, ref.expand(len(gains), 1, -1)
                measures = (SNR(), SISDR(), NMR(RATE), CompressiveNMR(RATE))
                rows.append(torch.stack([measure(est, refs)[:, 0] for measure in measures]))
            snr, si_sdr, nmr, compressive = torch.stack(rows, 1)
            kept += [gains[loss.argmin() % len(gains)] for loss in (-snr + 0.1 * nmr, -snr + 0.25 * compressive)]
            muted += [gains[loss.argmin() % len(gains)] for loss in (-si_sdr + 0.1 * nmr, -si_sdr + 0.25 * compressive)]
    assert min(kept) >= 0.7
    assert min(muted) <= 0.03


# Numbers and settings.


@pytest.mark.parametrize(
    ("name", "golden"),
    [
        ("nmr", [-29.702905, -9.7029048, 10.297095]),
        ("compressive_nmr", [0.0046455804, 0.42449775, 9.0408357]),
        ("masked_error", [0.0010708028, 0.10708028, 10.708028]),
        ("noise_modulation", [0, 0.0045469381, 52.963794]),
        ("masking_hinge", [0, 0.00023501512, 8.2977147]),
        ("priority_spectral", [2.7548848e-05, 0.0027199557, 0.29370657]),
        ("nmr of magnitudes", [-32.656529, -12.741467, 7.8056493]),
        ("compressive_nmr of magnitudes", [0.0023541272, 0.21774602, 6.5323337]),
        ("compressive_nmr with the spreading of PEAQ", [0.0032838794, 0.30707883, 7.9620663]),
        ("masking_hinge with that of MPEG-1", [0, 0.0056678899, 8.9777526]),
    ],
)
def test_has_not_moved(name: str, golden: list[float]) -> None:
    """A change here is a change of the number, and goes under "Numbers" in the changelog."""
    ref = 0.1 * noise(1, 1, 12_000, seed=7, dtype=torch.float64) + tone(440, db=-15, time=12_000)
    values = [BUILDS[name]()(at_snr(ref, snr_db, seed=8), ref).item() for snr_db in (40, 20, 0)]
    assert values == pytest.approx(golden, rel=1e-6)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: NMR(0), SampleRateError, "nmr: got sample_rate=0"),
        (lambda: NMR(RATE, spreading="bell"), ArgumentError, "'bell' came"),
        (lambda: NMR(RATE, full_scale_spl=math.nan), ArgumentError, "full_scale_spl=nan"),
        (lambda: NMR(RATE, n_fft=1), ArgumentError, "2 <= win_length"),
    ],
)
def test_settings_that_make_no_measure_fail_when_it_is_built(build, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        build()


@pytest.mark.skipif(not COMPILE, reason="with shape checking beartype refuses it first: run with PERCLOSS_COMPILE=1")
def test_an_unknown_kind_of_error_is_refused() -> None:
    with pytest.raises(ArgumentError, match="nmr: got error='phase'; needed is 'complex' or 'magnitude'"):
        NMR(RATE, error="phase")
