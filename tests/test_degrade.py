"""Every family is itself, and all are equally far from the reference."""

import math

import pytest
import torch
from torch import Tensor

from percloss import SISDR, SNR, create
from percloss.degrade import (
    CODECS,
    FAMILIES,
    Family,
    at_snr,
    coded,
    degrade,
    delay,
    gating,
    leakage,
    low_pass,
    match,
    quantisation,
    saturation,
    spectral_blur,
    temporal_smear,
)
from percloss.errors import ArgumentError, DTypeError, MissingExtraError, SampleRateError, ShapeError
from tests.signals import RATE, noise, speech, tone

pytest.importorskip("soundfile", reason="soundfile reads the embedded speech")

# Those that cost next to nothing. A coder codes each channel a dozen times.
QUICK = [name for name in FAMILIES if name not in CODECS]


def snr_db(est: Tensor, ref: Tensor) -> Tensor:
    ref = ref.double()
    return 10 * (ref.square().sum(-1) / (est.double() - ref).square().sum(-1)).log10()


@pytest.fixture(scope="module")
def ref() -> Tensor:
    """Two items of two channels, at four levels."""
    names = ("librivox_0870", "librivox_0890", "librivox_0920", "librivox_0930")
    levels = (1.0, 0.3, 0.01, 2.0)
    clips = [level * speech(name, seconds=1.5) for name, level in zip(names, levels, strict=True)]
    return torch.cat(clips).reshape(2, 2, -1)


@pytest.mark.parametrize("asked", [3.0, 10.0, 40.0])
@pytest.mark.parametrize("family", QUICK)
def test_every_channel_has_exactly_the_ratio_that_was_asked(family: str, asked: float, ref: Tensor) -> None:
    asked = max(asked, 6.0) if family == "temporal_smear" else asked  # phases that stay keep a part of the signal
    est = degrade(ref, RATE, family, snr_db=asked)
    assert est.shape == ref.shape
    assert est.dtype == ref.dtype
    assert (snr_db(est, ref) - asked).abs().max() < 0.01


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("family", QUICK)
def test_any_rate_will_do(family: str, rate: int) -> None:
    time = torch.arange(rate // 4) / rate
    beeps = (2 * math.pi * 440 * time).sin() * (time % 0.1 < 0.05)  # what is steady cannot be smeared
    ref = beeps + 0.1 * noise(1, 1, rate // 4, seed=3)
    assert snr_db(degrade(ref, rate, family, snr_db=10.0), ref).item() == pytest.approx(10.0, abs=0.01)


@pytest.mark.parametrize("family", QUICK)
def test_a_signal_shorter_than_a_frame_will_do(family: str) -> None:
    ref = noise(1, 1, 100, seed=4)
    assert snr_db(degrade(ref, RATE, family, snr_db=10.0), ref).item() == pytest.approx(10.0, abs=0.01)


@pytest.mark.parametrize("family", QUICK)
def test_a_seed_gives_the_same_samples_and_touches_nothing_else(family: str, ref: Tensor) -> None:
    before, kept = torch.get_rng_state(), ref.clone()
    first, second = (degrade(ref, RATE, family, snr_db=10.0, seed=5) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(ref, kept)
    assert torch.equal(torch.get_rng_state(), before)


RANDOM = {
    "white_noise",
    "shaped_noise",
    "musical_noise",
    "interference",
    "reverberation",
    "spectral_holes",
    "phase_jitter",
}


@pytest.mark.parametrize("family", QUICK)
def test_another_seed_gives_other_samples_where_chance_is_in_it(family: str, ref: Tensor) -> None:
    first, second = (degrade(ref, RATE, family, snr_db=10.0, seed=seed) for seed in (0, 1))
    assert torch.equal(first, second) == (family not in RANDOM)


@pytest.mark.parametrize("family", QUICK)
def test_strength_0_leaves_the_wave_and_strength_1_does_not(family: str, ref: Tensor) -> None:
    apply = FAMILIES[family].apply
    torch.testing.assert_close(apply(ref, RATE, 0.0), ref, atol=1e-5, rtol=0)  # what two FFTs round
    assert (snr_db(apply(ref, RATE), ref) < 4).all()


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.additive])
def test_what_is_added_at_strength_1_is_as_strong_as_the_signal(family: str, ref: Tensor) -> None:
    assert snr_db(FAMILIES[family].apply(ref, RATE), ref).abs().max() < 0.01


def test_a_silent_channel_stays_silent_and_the_other_has_its_ratio(ref: Tensor) -> None:
    half = torch.stack((ref[0, 0], torch.zeros_like(ref[0, 0])))[None]
    for family in QUICK:
        est = degrade(half, RATE, family, snr_db=10.0)
        assert not est[0, 1].any(), family
        assert snr_db(est, half)[0, 0].item() == pytest.approx(10.0, abs=0.01), family


def spectrum_db(wave: Tensor, low: float, high: float) -> float:
    """Energy between two frequencies [Hz]."""
    energy = torch.fft.rfft(wave.double()).abs().square()
    hz = torch.fft.rfftfreq(wave.shape[-1], 1 / RATE)
    return 10 * float(energy[..., (hz >= low) & (hz < high)].sum().log10())


def test_white_noise_is_as_strong_at_every_frequency() -> None:
    ref = tone(1000.0).float()
    error = degrade(ref, RATE, "white_noise", snr_db=10.0) - ref
    bands = [spectrum_db(error, low, low + 2000) for low in (0, 2000, 4000, 6000)]
    assert max(bands) - min(bands) < 0.5  # 2000 bins: a standard deviation of 0.1 dB


def test_shaped_noise_lies_where_the_signal_lies() -> None:
    ref = tone(1000.0).float()
    error = degrade(ref, RATE, "shaped_noise", snr_db=10.0) - ref
    assert spectrum_db(error, 900, 1100) > spectrum_db(error, 1100, 8000) + 10


def test_musical_noise_is_peaky_where_white_noise_is_not() -> None:
    ref = noise(1, 1, RATE)

    def kurtosis(family: str) -> float:
        error = degrade(ref, RATE, family, snr_db=10.0) - ref
        window = torch.hann_window(512)
        cells = torch.stft(error[0], 512, 128, window=window, return_complex=True).abs().square()
        return float(cells.square().mean() / cells.mean().square())

    assert kurtosis("white_noise") == pytest.approx(2.0, abs=0.1)  # a chi-square of two degrees of freedom
    assert kurtosis("musical_noise") > 10


def test_a_low_pass_takes_the_top_and_leaves_the_bottom_in_time() -> None:
    ref = noise(1, 1, RATE)
    est = low_pass(ref, RATE, 0.5)  # a cutoff of 400 Hz, the geometric mean of 20 and 8000
    assert spectrum_db(est, 20, 390) == pytest.approx(spectrum_db(ref, 20, 390), abs=0.1)
    assert spectrum_db(est, 520, 8000) < spectrum_db(ref, 520, 8000) - 40
    cross = torch.fft.irfft(torch.fft.rfft(est) * torch.fft.rfft(ref).conj())
    assert int(cross.argmax()) == 0


def test_a_delay_is_the_same_sound_later() -> None:
    ref = torch.nn.functional.pad(tone(200.0, time=2000).float() * torch.hann_window(2000), (500, 500))
    est = delay(ref, RATE)  # 200 Hz is least like itself after half a period, 40 samples
    torch.testing.assert_close(est[..., 40:], ref[..., :-40], atol=1e-5, rtol=0)


def test_clipping_bounds_the_peak_and_keeps_what_is_below(ref: Tensor) -> None:
    est = degrade(ref, RATE, "clipping", snr_db=10.0)
    assert (est.abs().amax(-1) < ref.abs().amax(-1)).all()
    quiet = ref.abs() < 0.05 * ref.abs().amax(-1, keepdim=True)
    torch.testing.assert_close(est[quiet], ref[quiet], atol=1e-6, rtol=0)


def test_quantisation_makes_a_pause_silent() -> None:
    ref = torch.cat((tone(440.0), 0.01 * tone(440.0)), dim=-1).float()
    assert not quantisation(ref, RATE, 0.1)[..., RATE:].any()  # the step is 0.2
    assert quantisation(ref, RATE, 0.1)[..., :RATE].unique().numel() == 11  # from -1 to 1


def test_spectral_holes_take_energy_and_add_none(ref: Tensor) -> None:
    est = degrade(ref, RATE, "spectral_holes", snr_db=10.0)
    assert (est.square().sum(-1) < ref.square().sum(-1)).all()


def test_reverberation_rings_on_after_the_sound() -> None:
    ref = torch.zeros(1, 1, RATE)
    ref[..., 1000] = 1.0
    est = degrade(ref, RATE, "reverberation", snr_db=0.0)
    error = (est - ref)[0, 0]
    assert not error[:1160].abs().gt(1e-6).any()  # 10 ms of nothing
    early, late = (float(error[start : start + 800].square().sum()) for start in (1200, 5200))
    assert early / late == pytest.approx(10**3.0, rel=0.5)  # 0.25 s later, of the 0.5 s in which it falls by 60 dB


def test_interference_is_a_voice_that_the_signal_does_not_hold(ref: Tensor) -> None:
    error = degrade(ref, RATE, "interference", snr_db=0.0) - ref
    likeness = (error * ref).sum(-1) / ref.square().sum(-1)
    assert likeness.abs().max() < 0.2
    assert spectrum_db(error, 4000, 8000) < spectrum_db(error, 0, 4000) - 10  # as speech is, and noise is not


def test_phase_jitter_keeps_the_magnitudes_better_than_noise_does(ref: Tensor) -> None:
    def magnitudes(wave: Tensor) -> Tensor:
        return torch.stft(wave[0], 512, 128, window=torch.hann_window(512), return_complex=True).abs()

    jitter, hiss = (
        (magnitudes(degrade(ref, RATE, family, snr_db=10.0)) - magnitudes(ref)).square().sum()
        for family in ("phase_jitter", "white_noise")
    )
    assert jitter < 0.6 * hiss


def test_what_is_steady_cannot_be_smeared_and_the_refusal_says_so() -> None:
    with pytest.raises(ArgumentError, match=r"temporal_smear reaches from \d+\.\d+ dB upwards"):
        degrade(noise(1, 1, RATE), RATE, "temporal_smear", snr_db=5.0)


def test_a_ratio_out_of_reach_is_refused_with_what_is_in_reach(ref: Tensor) -> None:
    with pytest.raises(ArgumentError, match=r"gain reaches from 0.00 dB upwards .* snr_db=0 or more"):
        degrade(ref, RATE, "gain", snr_db=-3.0)


def test_the_ratio_that_the_refusal_proposes_is_in_reach() -> None:
    ref = tone(100.0).float() + 0.5  # an offset, which no low-pass takes
    with pytest.raises(ArgumentError, match="ask for snr_db=2 or more"):
        degrade(ref, RATE, "low_pass", snr_db=0.0)
    assert snr_db(degrade(ref, RATE, "low_pass", snr_db=2.0), ref).item() == pytest.approx(2.0, abs=0.01)


def test_a_ratio_beyond_float32_is_refused_and_float64_holds_it(ref: Tensor) -> None:
    with pytest.raises(ArgumentError, match=r"float32 cannot hold .* wave\.double\(\)"):
        degrade(ref, RATE, "white_noise", snr_db=160.0)
    est = degrade(ref.double(), RATE, "white_noise", snr_db=160.0)
    assert (snr_db(est, ref.double()) - 160).abs().max() < 0.01


def test_an_unknown_family_is_answered_with_the_nearest(ref: Tensor) -> None:
    with pytest.raises(ArgumentError, match=r"'lowpass' came; did you mean 'low_pass'\?"):
        degrade(ref, RATE, "lowpass", snr_db=10.0)


@pytest.mark.parametrize("family", ["white_noise", "gain"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_ratio_that_is_no_number_is_refused(family: str, bad: float, ref: Tensor) -> None:
    with pytest.raises(ArgumentError, match=f"snr_db={bad} came"):
        degrade(ref, RATE, family, snr_db=bad)


def test_wrong_input_is_refused_by_name() -> None:
    ref = noise(1, 1, 1000)
    with pytest.raises(ShapeError, match=r"shape \(1000,\) came"):
        degrade(ref[0, 0], RATE, "gain", snr_db=10.0)
    with pytest.raises(ShapeError, match=r"shape \(1, 1, 0\) came"):
        degrade(ref[..., :0], RATE, "gain", snr_db=10.0)
    with pytest.raises(DTypeError, match=r"float16 came"):
        degrade(ref.half(), RATE, "gain", snr_db=10.0)
    with pytest.raises(SampleRateError, match="sample_rate=0 came"):
        degrade(ref, 0, "gain", snr_db=10.0)
    with pytest.raises(ArgumentError, match="NaN or infinity"):
        degrade(ref / 0, RATE, "gain", snr_db=10.0)


def test_an_error_of_nothing_cannot_be_scaled() -> None:
    ref = noise(1, 1, 1000)
    with pytest.raises(ArgumentError, match="error of zeros"):
        at_snr(torch.zeros_like(ref), ref, 10.0)


def test_the_fifteen_kinds_of_artefact_and_three_coders_are_there() -> None:
    assert set(QUICK) == {
        *("white_noise", "shaped_noise", "musical_noise", "interference", "reverberation", "low_pass"),
        *("temporal_smear", "spectral_blur", "gating", "spectral_holes", "phase_jitter", "clipping", "saturation"),
        *("quantisation", "delay", "gain"),
    }
    assert CODECS == ("mp3", "vorbis", "opus")


def test_a_temporal_smear_is_heard_before_the_sound_begins() -> None:
    ref = torch.zeros(1, 1, RATE)
    ref[..., RATE // 2 :] = noise(1, 1, RATE // 2)
    ref = ref + 1e-3 * noise(1, 1, RATE, seed=1)
    est = temporal_smear(ref, RATE, 0.5)
    early = slice(RATE // 2 - RATE // 50, RATE // 2)  # 20 ms, at which the weight has fallen by a factor of e
    assert est[..., early].square().sum() > 100 * ref[..., early].square().sum()
    assert spectrum_db(est, 0, 8000) == pytest.approx(spectrum_db(ref, 0, 8000), abs=1.0)


def test_a_spectral_blur_fills_what_lies_between_harmonics() -> None:
    ref = sum(tone(200.0 * k, db=-6.0) for k in range(1, 20)).float() / 10 + 1e-4 * noise(1, 1, RATE)
    est = spectral_blur(ref, RATE, 0.7)

    def contrast(wave: Tensor) -> float:
        """Of a harmonic over what lies between it and the next [dB]."""
        return spectrum_db(wave, 990, 1010) - spectrum_db(wave, 1090, 1110)

    assert contrast(est) < contrast(ref) - 10


def test_a_gate_takes_the_weak_and_leaves_the_strong() -> None:
    ref = (tone(1000.0) + tone(3000.0, db=-40.0)).float()
    est = gating(ref, RATE, 0.3)  # 42 dB below the strongest cell; 0.2 is 56 dB
    assert spectrum_db(est, 950, 1050) == pytest.approx(spectrum_db(ref, 950, 1050), abs=0.1)
    assert spectrum_db(gating(ref, RATE, 0.5), 2950, 3050) < spectrum_db(ref, 2950, 3050) - 20
    assert spectrum_db(gating(ref, RATE, 0.2), 2950, 3050) == pytest.approx(spectrum_db(ref, 2950, 3050), abs=1.0)


def test_saturation_bends_by_odd_harmonics_and_never_beyond_its_level() -> None:
    ref = tone(1000.0).float()
    est = saturation(ref, RATE, 0.5)  # the level is the peak
    torch.testing.assert_close(est, ref.tanh(), atol=1e-5, rtol=0)
    third, second = spectrum_db(est, 2990, 3010), spectrum_db(est, 1990, 2010)
    assert third > second + 40
    assert not saturation(ref, RATE, 1.0).any()


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_a_silent_signal_stays_silent_when_it_is_bent(strength: float) -> None:
    assert not saturation(torch.zeros(1, 1, 100), RATE, strength).any()


def test_leakage_is_the_interferer_that_was_given(ref: Tensor) -> None:
    other = noise(1, 1, ref.shape[-1], seed=9)
    error = degrade(ref, RATE, leakage(other), snr_db=10.0) - ref
    likeness = (error * other).sum(-1) / (error.norm(dim=-1) * other.norm(dim=-1))
    assert (likeness > 0.99999).all()
    assert (snr_db(ref + error, ref) - 10).abs().max() < 0.01


@pytest.mark.parametrize("shape", [(1, 1, 99), (3, 1, 100), (100,)])
def test_an_interferer_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"leakage: an interferer of shape .* for a wave of \(2, 1, 100\)"):
        degrade(noise(2, 1, 100), RATE, leakage(noise(*shape)), snr_db=10.0)


def test_a_family_of_ones_own_is_a_family(ref: Tensor) -> None:
    hum = Family("Hum", "mains", lambda wave, rate, strength=1.0, *, generator=None: wave + 0.1 * strength)
    est = degrade(ref, RATE, hum, snr_db=30.0)
    assert (snr_db(est, ref) - 30).abs().max() < 0.01


@pytest.fixture(scope="module")
def voice() -> Tensor:
    return speech("librivox_0890", seconds=1.0)


@pytest.mark.parametrize("family", CODECS)
def test_a_coder_is_brought_to_the_ratio_and_says_by_how_much_its_error_was_scaled(family: str, voice: Tensor) -> None:
    est = degrade(voice, RATE, family, snr_db=12.0)
    assert snr_db(est, voice).item() == pytest.approx(12.0, abs=0.01)
    assert torch.equal(est, degrade(voice, RATE, family, snr_db=12.0, seed=1))
    found = match(voice, RATE, family, SNR(), 12.0)
    own = FAMILIES[family].apply(voice, RATE, float(found.strength))
    assert snr_db(own, voice).item() - found.scale_db.item() == pytest.approx(12.0, abs=0.01)


@pytest.mark.parametrize("family", CODECS)
def test_a_coder_is_in_time_and_worse_at_strength_1_than_at_a_tenth(family: str, voice: Tensor) -> None:
    apply = FAMILIES[family].apply
    worst, better = apply(voice, RATE, 1.0), apply(voice, RATE, 0.1)
    assert torch.equal(apply(voice, RATE, 0.0), voice)
    # One sample late, speech has about 10 dB; in time, each of the three has more at a tenth.
    assert snr_db(worst, voice) < snr_db(better, voice) - 5
    assert snr_db(better, voice) > 15


@pytest.mark.parametrize("rate", [8_000, 22_050, 96_000])
@pytest.mark.parametrize("family", CODECS)
def test_a_coder_that_does_not_know_the_rate_codes_at_another(family: str, rate: int) -> None:
    ref = tone(440.0, time=rate // 4).float() + 0.3 * noise(1, 1, rate // 4, seed=3)
    est = FAMILIES[family].apply(ref, rate, 0.5)
    assert est.shape == ref.shape
    assert snr_db(est, ref) > 3


def test_a_coder_is_given_no_peak_that_it_would_clip(voice: Tensor) -> None:
    loud, soft = (FAMILIES["vorbis"].apply(gain * voice, RATE, 0.5) / gain for gain in (10.0, 2.0))
    assert snr_db(loud, voice).item() == pytest.approx(snr_db(soft, voice).item(), abs=0.5)


def test_a_tone_is_not_moved_by_a_period() -> None:
    ref = tone(440.0).float() * 0.5
    assert snr_db(FAMILIES["mp3"].apply(ref, RATE, 0.1), ref) > 20


def test_what_comes_back_late_or_early_is_put_in_its_place() -> None:
    sent = noise(1000)
    for lag in (0, 37, -37):
        back = torch.nn.functional.pad(sent, (lag, 500))  # a negative padding cuts
        placed = coded._aligned(back, sent)
        inside = slice(40, -40)
        torch.testing.assert_close(placed[inside], sent[inside])
        assert placed.shape == sent.shape


def test_a_soundfile_without_qualities_is_refused_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        __version__, __libsndfile_version__ = "0.12.1", "1.1.0"

        @staticmethod
        def available_subtypes(_: str) -> list[str]:
            return ["VORBIS"]

        @staticmethod
        def write(file: object, data: object, rate: int) -> None: ...

    monkeypatch.setattr(coded, "require", lambda *_, **__: Old)
    for family in ("vorbis", "opus"):
        with pytest.raises(MissingExtraError, match=r"soundfile 0\.12\.1 .* pip install -U"):
            FAMILIES[family].apply(noise(1, 1, 100), RATE, 0.5)


@pytest.mark.parametrize("family", QUICK)
def test_every_family_is_brought_to_exactly_a_si_sdr_but_a_gain_has_none(family: str, ref: Tensor) -> None:
    if family == "gain":
        with pytest.raises(ArgumentError, match=r"with gain it jumps over that .* si_sdr=1"):
            match(ref, RATE, family, "si_sdr", 12.0)
        return
    found = match(ref, RATE, family, "si_sdr", 12.0)
    torch.testing.assert_close(SISDR()(found.wave, ref), found.reached)
    assert (found.reached - 12).abs().max() < 1e-3
    assert found.reached.shape == found.strength.shape == found.scale_db.shape == (2, 2)


@pytest.mark.parametrize(
    ("measure", "target"), [("mrstft", 0.8), ("lsd", 3.0), ("compressive_nmr", 4.0), ("mse", 1e-5)]
)
def test_any_measure_can_be_matched(measure: str, target: float, ref: Tensor) -> None:
    ref = ref[:, :1] / ref[:, :1].abs().amax(-1, keepdim=True)
    found = match(ref, RATE, "white_noise", measure, target)
    assert (found.reached / target - 1).abs().max() < 1e-3
    judge = create(measure, sample_rate=RATE)
    torch.testing.assert_close(judge(found.wave, ref), found.reached)


def test_the_least_that_reaches_the_value_is_taken() -> None:
    """A measure that falls and rises again is met on the way down."""

    class Dip(SNR):
        def compare(self, est: Tensor, ref: Tensor) -> Tensor:
            return (super().compare(est, ref) - 10).abs()

    found = match(noise(1, 1, 4000), RATE, "white_noise", Dip(), 5.0)
    assert snr_db(found.wave, noise(1, 1, 4000)).item() == pytest.approx(15.0, abs=0.01)


def test_channels_judged_together_are_spoilt_by_one_strength(ref: Tensor) -> None:
    found = match(ref, RATE, "low_pass", "usdr", 8.0)
    assert found.reached.shape == found.strength.shape == (2, 1)
    assert (found.reached - 8).abs().max() < 1e-2


def test_a_silent_channel_is_left_alone_and_has_no_strength(ref: Tensor) -> None:
    half = torch.stack((ref[0, 0], torch.zeros_like(ref[0, 0])))[None]
    found = match(half, RATE, "low_pass", "si_sdr", 10.0)
    assert found.reached[0, 0].item() == pytest.approx(10.0, abs=1e-3)
    assert math.isnan(found.strength[0, 1])
    assert not found.wave[0, 1].any()


def test_a_value_out_of_reach_is_refused_with_the_range_that_is_in_it(ref: Tensor) -> None:
    with pytest.raises(ArgumentError, match=r"match: lsd=500 came; with low_pass it reaches from [\d.]+ to [\d.]+ dB"):
        match(ref, RATE, "low_pass", "lsd", 500.0)


def test_matching_touches_neither_the_wave_nor_the_random_state(ref: Tensor) -> None:
    before, kept = torch.get_rng_state(), ref.clone()
    first, second = (match(ref, RATE, "musical_noise", "si_sdr", 9.0, seed=4) for _ in range(2))
    assert torch.equal(first.wave, second.wave)
    assert torch.equal(ref, kept)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_cannot_be_matched_is_refused(ref: Tensor) -> None:
    with pytest.raises(ArgumentError, match="snr_i came, which takes pair and mix"):
        match(ref, RATE, "gain", "snr_i", 3.0)
    with pytest.raises(ArgumentError, match="target=nan came"):
        match(ref, RATE, "gain", "snr", float("nan"))
    with pytest.raises(ArgumentError, match="match: family='lowpass' came"):
        match(ref, RATE, "lowpass", "snr", 10.0)
    with pytest.raises(ArgumentError, match="mel: was built for 8000 Hz"):
        match(ref, RATE, "gain", create("mel", sample_rate=8000), 0.5)
    with pytest.raises(ShapeError, match="match: a wave of shape"):
        match(ref[0], RATE, "gain", "snr", 10.0)
