"""Every family is itself, and all are equally far from the reference."""

import pytest
import torch
from torch import Tensor

from percloss.degrade import FAMILIES, at_snr, degrade, delay, low_pass, quantisation
from percloss.errors import ArgumentError, DTypeError, SampleRateError, ShapeError
from tests.signals import RATE, noise, speech, tone

pytest.importorskip("soundfile", reason="soundfile reads the embedded speech")


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
@pytest.mark.parametrize("family", FAMILIES)
def test_every_channel_has_exactly_the_ratio_that_was_asked(family: str, asked: float, ref: Tensor) -> None:
    est = degrade(ref, RATE, family, snr_db=asked)
    assert est.shape == ref.shape
    assert est.dtype == ref.dtype
    assert (snr_db(est, ref) - asked).abs().max() < 0.01


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("family", FAMILIES)
def test_any_rate_will_do(family: str, rate: int) -> None:
    ref = noise(1, 1, rate // 4, seed=3)
    assert snr_db(degrade(ref, rate, family, snr_db=10.0), ref).item() == pytest.approx(10.0, abs=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_signal_shorter_than_a_frame_will_do(family: str) -> None:
    ref = noise(1, 1, 100, seed=4)
    assert snr_db(degrade(ref, RATE, family, snr_db=10.0), ref).item() == pytest.approx(10.0, abs=0.01)


@pytest.mark.parametrize("family", FAMILIES)
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


@pytest.mark.parametrize("family", FAMILIES)
def test_another_seed_gives_other_samples_where_chance_is_in_it(family: str, ref: Tensor) -> None:
    first, second = (degrade(ref, RATE, family, snr_db=10.0, seed=seed) for seed in (0, 1))
    assert torch.equal(first, second) == (family not in RANDOM)


@pytest.mark.parametrize("family", FAMILIES)
def test_strength_0_leaves_the_wave_and_strength_1_does_not(family: str, ref: Tensor) -> None:
    apply = FAMILIES[family].apply
    torch.testing.assert_close(apply(ref, RATE, 0.0), ref, atol=1e-5, rtol=0)  # what two FFTs round
    assert (snr_db(apply(ref, RATE), ref) < 4).all()


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.additive])
def test_what_is_added_at_strength_1_is_as_strong_as_the_signal(family: str, ref: Tensor) -> None:
    assert snr_db(FAMILIES[family].apply(ref, RATE), ref).abs().max() < 0.01


def test_a_silent_channel_stays_silent_and_the_other_has_its_ratio(ref: Tensor) -> None:
    half = torch.stack((ref[0, 0], torch.zeros_like(ref[0, 0])))[None]
    for family in FAMILIES:
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
