"""What must be true of diagnostics: each hears its own fault, in the amount that theory gives, and no other."""

import math
import os

import pytest
import torch
from torch import Tensor

from percloss import SNR, Measure, distances
from percloss.degrade import FAMILIES, degrade
from percloss.errors import ArgumentError, SampleRateError, ShapeError
from percloss.measures import artefacts, artefacts_spectral, artefacts_temporal
from percloss.measures.artefacts import Diagnostic, Leakage, LevelDifference, LinearlyFilterable, PhaseFraction
from percloss.measures.artefacts_spectral import (
    HighFrequencyEnergy,
    IsolatedPeaks,
    LongTermSpectrum,
    Rolloff,
    SpectralContrast,
    SpectralHoles,
    octaves,
)
from percloss.measures.artefacts_temporal import (
    CrestFactor,
    FrameBuzz,
    GlobalVariance,
    Harmonicity,
    LateReverberation,
    OnsetFlux,
    PreEcho,
)
from percloss.spec import Spec
from percloss.testing import RULES, check_measure, mute
from tests.signals import RATE, noise, speech, tone

COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
# Whether the sources stand in references.bib is the catalogue's to try.
TRIED = [name for name in RULES if name != "is_documented" and (COMPILE or name != "compiles")]
DIAGNOSTICS: dict[str, type[Diagnostic]] = {
    each.spec.name: each
    for module in (artefacts, artefacts_spectral, artefacts_temporal)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, Diagnostic) and "spec" in vars(each)
}
WHOLE = {"level_difference", "leakage", "linearly_filterable", "crest_factor"}  # take no rate


def build(name: str, rate: int = RATE) -> Diagnostic:
    return DIAGNOSTICS[name]() if name in WHOLE else DIAGNOSTICS[name](rate)


def of(measure: Measure, est: Tensor, ref: Tensor, **needs: Tensor) -> float:
    return measure(est.float(), ref.float(), **needs).item()


def harmonics(hz: float = 200.0, *, seconds: float = 1.0) -> Tensor:
    """A steady voice: harmonics up to 6 kHz."""
    return torch.stack([tone(hz * n, time=int(seconds * RATE)) for n in range(1, int(6000 / hz))]).sum(0)


@pytest.mark.parametrize("rule", TRIED)
@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_a_diagnostic_keeps_the_contract(name: str, rule: str) -> None:
    measure = build(name)
    if rule in mute(measure):
        pytest.skip(mute(measure)[rule])
    check_measure(measure, rules=[rule])


@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_a_diagnostic_says_in_its_first_line_which_way_is_better(name: str) -> None:
    each = DIAGNOSTICS[name]
    assert each.spec.direction in (each.__doc__ or "").splitlines()[0].lower()
    assert each.above
    assert (each.below is None) == (each.spec.bounds[0] == 0.0)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("name", DIAGNOSTICS)
def test_a_diagnostic_is_defined_at_any_rate(name: str, rate: int) -> None:
    pauses = (torch.arange(2 * rate) // (rate // 4) % 2).float() + 0.01
    ref = pauses * torch.sin(2 * math.pi * 150 / rate * torch.arange(2 * rate)) + 0.1 * pauses * noise(1, 1, 2 * rate)
    needs = {"interferer": noise(1, 1, 2 * rate, seed=1)} if name == "leakage" else {}
    assert math.isfinite(of(build(name, rate), ref + 0.05 * noise(*ref.shape, seed=2), ref, **needs))


@pytest.mark.parametrize(
    ("name", "family"),
    [
        (each.spec.name, family)
        for each in DIAGNOSTICS.values()
        for family in (each.lowest, each.highest)
        if family is not None and each.spec.better == "nearer"
    ],
)
def test_more_of_its_own_fault_is_further_from_perfect(name: str, family: str) -> None:
    ref, measure = speech(), build(name)
    sign = -1 if DIAGNOSTICS[name].lowest == family else 1
    values = [sign * of(measure, degrade(ref, RATE, family, snr_db=snr), ref) for snr in (25.0, 15.0, 5.0)]
    assert 0 <= values[0] < values[1] < values[2]


def test_every_fault_that_is_named_is_a_family() -> None:
    named = {family for each in DIAGNOSTICS.values() for family in (each.lowest, each.highest) if family}
    assert named <= set(FAMILIES)


# The error as a whole


def test_no_error_of_the_same_energy_lowers_the_level_as_far_as_a_gain() -> None:
    """By the triangle inequality: the norm of an estimate is at least that of the reference less that of the error."""
    ref = speech()
    lowest = of(LevelDifference(), degrade(ref, RATE, "gain", snr_db=10.0), ref)
    assert lowest == pytest.approx(20 * math.log10(1 - 10**-0.5), abs=1e-3)
    assert of(LevelDifference(), 0 * ref, ref) == -140


def test_phase_fraction_is_all_where_magnitudes_agree_and_nothing_where_phases_do() -> None:
    ref = noise(1, 1, RATE)
    assert of(PhaseFraction(RATE), 0.3 * ref, ref) == pytest.approx(0, abs=1e-3)
    assert of(PhaseFraction(RATE), -ref, ref) < 100
    jittered = degrade(speech(), RATE, "phase_jitter", snr_db=10.0)
    measure = PhaseFraction(RATE)
    whole = distances.phase_fraction(measure.front(jittered), measure.front(speech())).item()
    assert of(measure, jittered, speech()) == pytest.approx(100 * whole, abs=0.5)


@pytest.mark.parametrize("lag", [0.4, 3.0, 100.25])
def test_a_delay_is_no_phase_to_phase_fraction(lag: float) -> None:
    """And to the share as it stands in each cell it is nothing else."""
    ref = noise(1, 1, RATE, dtype=torch.float64)
    spectrum = torch.fft.rfft(ref, 2 * RATE)
    turns = torch.arange(spectrum.shape[-1], dtype=torch.float64) / (2 * RATE)
    late = torch.fft.irfft(spectrum * torch.polar(torch.ones_like(turns), -2 * math.pi * lag * turns))[..., :RATE]
    measure = PhaseFraction(RATE)
    assert distances.phase_fraction(measure.front(late), measure.front(ref)).item() > 0.9
    assert of(measure, late, ref) < 10


def test_leakage_is_the_share_of_the_interferer_in_the_error() -> None:
    ref, other, hiss = noise(3, 1, 1, 5 * RATE)
    for leak, rest in ((0.3, 0.1), (0.1, 0.3), (0.2, 0.2)):
        wanted = 100 * leak**2 / (leak**2 + rest**2)
        assert of(Leakage(), ref + leak * other + rest * hiss, ref, interferer=other) == pytest.approx(wanted, abs=1)


def test_an_interferer_that_was_filtered_is_leakage_and_a_filtered_target_is_not() -> None:
    ref, other = noise(2, 1, 1, 5 * RATE)
    dull = other + other.roll(40, -1)
    assert of(Leakage(), ref + 0.2 * dull, ref, interferer=other) > 98
    assert of(Leakage(), ref + 0.2 * ref.roll(40, -1), ref, interferer=other) < 1


def test_shares_of_an_error_that_is_not_there_have_no_value_and_say_so() -> None:
    ref, other = noise(2, 1, 1, RATE)
    for measure, needs, why in (
        (Leakage(), {"interferer": other}, "there is no error but in level"),
        (LinearlyFilterable(), {}, "there is no error but in level"),
        (PhaseFraction(RATE), {}, "there is no error"),
    ):
        assert math.isnan(of(measure, ref, ref, **needs))
        assert why in measure.reason(ref, ref, **needs)
        assert math.isnan(of(measure, 0 * ref, ref, **needs))
        assert measure.reason(0 * ref, ref, **needs) == "estimate is silent"
    assert math.isnan(of(Leakage(), ref + other, ref, interferer=0 * other))


def test_leakage_asks_for_the_interferer() -> None:
    with pytest.raises(ArgumentError, match=r"leakage: got est, ref; needed are est, ref, interferer="):
        Leakage()(noise(1, 1, RATE), noise(1, 1, RATE))


def test_what_a_filter_makes_can_be_filtered_back_and_noise_cannot() -> None:
    ref = noise(1, 1, RATE)
    assert of(LinearlyFilterable(), ref + 0.5 * ref.roll(7, -1), ref) > 20
    assert of(LinearlyFilterable(), ref + 0.5 * noise(1, 1, RATE, seed=1), ref) < 0.5


# The spectrum


def test_octaves_are_all_bins_but_the_first_once() -> None:
    for n_fft in (32, 512, 2048):
        bins = torch.arange(n_fft // 2 + 1)
        assert torch.equal(torch.cat([bins[band] for band in octaves(n_fft)]), bins[1:])


def test_an_octave_that_is_20_db_louder_is_heard_in_the_long_term_spectrum() -> None:
    """Of seven octaves at 16 kHz six stay as they are but for the total."""
    ref = noise(1, 1, 4 * RATE)
    spectrum = torch.fft.rfft(ref)
    gains = torch.ones(spectrum.shape[-1])
    gains[: spectrum.shape[-1] // 2] = 0.1
    dark = torch.fft.irfft(spectrum * gains, 4 * RATE)
    bands = len(octaves(512))
    total = 10 * math.log10((1 + 0.01) / 2)
    wanted = ((20 + total) * (bands - 1) - total) / bands
    assert of(LongTermSpectrum(RATE), dark, ref) == pytest.approx(wanted, abs=0.3)


def test_high_frequencies_are_those_above_4_khz() -> None:
    low, high = tone(1000), tone(6000)
    assert of(HighFrequencyEnergy(RATE), low + 0.1 * high, low + high) == pytest.approx(
        10 * math.log10((0.01 / 1.01) / 0.5), abs=0.01
    )
    assert HighFrequencyEnergy(8000).cutoff == 2000
    with pytest.raises(ArgumentError, match=r"got cutoff=9000 at 16000 Hz; needed is one above 0 and below 8000 Hz"):
        HighFrequencyEnergy(RATE, cutoff=9000)


def test_rolloff_is_an_octave_lower_where_the_upper_half_is_cut_off() -> None:
    ref = noise(1, 1, 4 * RATE)
    spectrum = torch.fft.rfft(ref)
    spectrum[..., spectrum.shape[-1] // 2 :] = 0
    assert of(Rolloff(RATE), torch.fft.irfft(spectrum, 4 * RATE), ref) == pytest.approx(-1, abs=0.03)


def test_contrast_falls_with_noise_between_partials_and_rises_without() -> None:
    clean, hiss = harmonics(), 0.2 * noise(1, 1, RATE)
    assert of(SpectralContrast(RATE), clean + hiss, clean) < -8
    assert of(SpectralContrast(RATE), clean, clean + hiss) > 8


def test_holes_are_heard_where_their_surroundings_stay_and_a_cut_band_is_none() -> None:
    ref = speech()
    holes, dull = (degrade(ref, RATE, family, snr_db=10.0) for family in ("spectral_holes", "low_pass"))
    assert of(SpectralHoles(RATE), holes, ref) > 1.5
    assert of(SpectralHoles(RATE), dull, ref) < 0.2


def test_isolated_tones_are_counted() -> None:
    """Ten short tones of 40 ms in 4 s, far apart in time and frequency, beside a hiss of the reference."""
    ref = 0.001 * noise(1, 1, 4 * RATE)
    est = ref.clone()
    window = torch.hann_window(640)
    for number in range(10):
        start = 2000 + 6000 * number
        est[..., start : start + 640] += 0.05 * window * tone(500 + 700 * number, time=640).float()
    assert of(IsolatedPeaks(RATE), est, ref) == pytest.approx(2.5, abs=0.3)
    assert of(IsolatedPeaks(RATE), ref, ref) == 0


@pytest.mark.parametrize("fault", ["hiss", "partial", "clicks"])
def test_neither_noise_nor_a_partial_nor_a_click_is_an_isolated_tone(fault: str) -> None:
    ref = speech()
    clicks = torch.zeros_like(ref)
    clicks[..., 1000::8000] = 0.2
    hiss, partial = 0.01 * noise(*ref.shape, seed=1), 0.02 * tone(1234, time=ref.shape[-1])
    added = {"hiss": hiss, "partial": partial, "clicks": clicks}
    assert of(IsolatedPeaks(RATE), ref + added[fault], ref) < 5
    assert of(IsolatedPeaks(RATE), degrade(ref, RATE, "musical_noise", snr_db=10.0), ref) > 50


# The course of time


def bursts(*, attack: float = 0.0, db: float = 0.0) -> Tensor:
    """Noise that sets in four times a second after a pause; ``attack`` seconds earlier, so much softer."""
    time = torch.arange(2 * RATE) / RATE + attack
    return 10 ** (db / 20) * noise(1, 1, 2 * RATE) * (time % 0.25 > 0.15)


def test_soft_attacks_have_less_flux() -> None:
    """Notes that set in at once, and the same where each takes 100 ms to be there."""
    gate = (torch.arange(4 * RATE) / RATE % 0.5 > 0.2).double()[None, None]
    soft = torch.nn.functional.avg_pool1d(torch.nn.functional.pad(gate, (1599, 0)), 1600, 1)
    notes = harmonics(seconds=4)
    assert of(OnsetFlux(RATE), soft * notes, gate * notes) < -2


@pytest.mark.parametrize("db", [-30.0, -20.0, -10.0])
def test_pre_echo_is_what_stands_before_the_attack_over_40_db_below_it(db: float) -> None:
    """The pause is silent; of the 20 ms before an attack all is filled."""
    ref = bursts()
    early = ref + bursts(attack=0.05, db=db) * (ref == 0)
    assert of(PreEcho(RATE), early, ref) == pytest.approx(10 * math.log10(10 ** ((db + 40) / 10) + 1), abs=1.5)


def test_a_reference_that_only_dies_away_has_no_attack_to_come_early() -> None:
    fading = torch.exp(-torch.arange(RATE) / 2000.0)[None, None] * tone(440)
    value = of(PreEcho(RATE), fading + 0.01 * noise(1, 1, RATE), fading)
    assert math.isfinite(value) or "no onset" in PreEcho(RATE).reason(fading, fading)


def test_levels_that_swing_half_as_far_have_a_quarter_of_the_variance() -> None:
    swing = torch.sin(2 * math.pi * torch.arange(4 * RATE) / RATE)[None, None]
    hiss = noise(1, 1, 4 * RATE)
    steady = GlobalVariance(RATE)
    wide, narrow = ((depth * swing).exp() * hiss for depth in (2.0, 1.0))
    # What noise itself varies by is added to both.
    assert -math.log(4) < of(steady, narrow, wide) < -0.8 * math.log(4)
    assert of(steady, wide, narrow) > 0.8 * math.log(4)


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_harmonicity_is_the_ratio_of_harmonics_to_noise(snr_db: float) -> None:
    """Against a clean tone, whose ratio is at the cap: 0.999 of the energy repeats, 30 dB."""
    ref = tone(200)
    rough = ref + 10 ** (-snr_db / 20) * math.sqrt(0.5) * noise(1, 1, RATE)
    assert of(Harmonicity(RATE), rough, ref) == pytest.approx(snr_db - 30, abs=1.5)


def test_hiss_has_no_pitch_to_lose() -> None:
    ref = noise(1, 1, RATE)
    assert math.isnan(of(Harmonicity(RATE), 2 * ref, ref))
    assert Harmonicity(RATE).reason(2 * ref, ref) == "no frame of the reference is voiced"


def test_a_square_wave_has_3_db_less_crest_than_a_sine() -> None:
    ref = tone(100)
    assert of(CrestFactor(), ref.sign(), ref) == pytest.approx(-10 * math.log10(2), abs=0.01)


@pytest.mark.parametrize("step", [64, 160, 256, 512])
def test_an_envelope_that_ticks_with_the_frames_buzzes(step: int) -> None:
    ref = noise(1, 1, 3 * RATE)
    ticking = 1 + 0.3 * torch.cos(2 * math.pi * torch.arange(3 * RATE) / step)
    assert of(FrameBuzz(RATE), ticking * ref, ref) > 15
    unrelated = 1 + 0.3 * torch.cos(2 * math.pi * torch.arange(3 * RATE) / (1.1 * step + 7))
    assert of(FrameBuzz(RATE), unrelated * ref, ref) < 8


def test_the_tones_of_a_transposed_convolution_are_heard() -> None:
    """A stride of 16 leaves a tone at a sixteenth of the rate and its multiples."""
    ref = noise(1, 1, 3 * RATE)
    tones = torch.zeros(16).index_fill(0, torch.tensor([0]), 0.3).repeat(3 * RATE // 16)
    assert of(FrameBuzz(RATE), ref + tones, ref) > 10
    assert of(FrameBuzz(RATE), ref + 0.3 * noise(1, 1, 3 * RATE, seed=1), ref) < 5


@pytest.mark.parametrize("gain", [0.3, 0.7])
@pytest.mark.parametrize("lag", [-0.1, 0.1])
def test_an_echo_has_its_share_of_the_response(lag: float, gain: float) -> None:
    """Of 1 + g^2; with a minus sign where it comes before the sound."""
    ref = noise(1, 1, 4 * RATE)
    echo = ref.roll(int(lag * RATE), -1)
    wanted = math.copysign(100 * gain**2 / (1 + gain**2), lag)
    assert of(LateReverberation(RATE), ref + gain * echo, ref) == pytest.approx(wanted, abs=4)


def test_noise_is_no_reverberation() -> None:
    ref = speech()
    assert abs(of(LateReverberation(RATE), degrade(ref, RATE, "white_noise", snr_db=5.0), ref)) < 1


# Bad input


@pytest.mark.parametrize("name", sorted(set(DIAGNOSTICS) - WHOLE))
def test_a_rate_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(SampleRateError, match=rf"{name}: got sample_rate=0; needed is one above 0, as 48_000"):
        build(name, 0)


@pytest.mark.parametrize("name", sorted(set(DIAGNOSTICS) - {"level_difference", "crest_factor"}))
def test_a_signal_that_is_too_short_is_refused(name: str) -> None:
    measure = build(name)
    short = noise(1, 1, measure.min_samples - 1)
    with pytest.raises(ShapeError, match=name):
        measure(short, short, **({"interferer": short} if name == "leakage" else {}))


# Directions that are neither up nor down


def claims(**changed) -> Spec:
    return Spec(
        **{"name": "x", "title": "x", "unit": "1", "better": "nearer", "bounds": (-1, 3), "perfect": 1, **changed}
    )


def test_the_cost_of_what_should_be_near_is_how_far_it_is() -> None:
    spec = claims()
    assert spec.cost(3.0) == spec.cost(-1.0) == 2.0
    assert torch.equal(spec.cost(torch.tensor([0.0, 1.0, 3.0])), torch.tensor([1.0, 0.0, 2.0]))
    assert (spec.direction, spec.arrow) == ("nearer to 1 is better", "→1")
    assert SNR.spec.cost(5.0) == -5.0


def test_what_has_no_better_has_no_cost() -> None:
    spec = claims(better="neither", perfect=None)
    assert (spec.direction, spec.arrow) == ("neither is better", "–")
    for asked in (lambda: spec.cost(1.0), lambda: spec.sign, lambda: claims().sign):
        with pytest.raises(ArgumentError, match=r"x: its sign was asked for, and .* is better; needed is"):
            asked()


def test_directions_and_perfect_values_must_fit() -> None:
    with pytest.raises(ArgumentError, match="perfect must be what nearer is to"):
        claims(perfect=None)
    with pytest.raises(ArgumentError, match="perfect must be None where neither is better"):
        claims(better="neither")


def test_the_contract_owes_no_order_to_what_hears_one_fault() -> None:
    with pytest.raises(ArgumentError, match=r"got rules worse_is_worse \(it tells one.* where nearer to 0 is better"):
        check_measure(LevelDifference(), rules=["worse_is_worse"])
