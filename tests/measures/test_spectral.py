"""What must be true of distances of magnitudes, from hearing and from closed forms."""

import math
import re

import pytest
import torch
from torch import Tensor

from percloss import (
    LogSpectralDistance,
    Measure,
    MelDistance,
    MultiResolutionSTFTDistance,
    MultiScaleMelDistance,
    STFTDistance,
    distances,
)
from percloss.dsp.safe import db_to_power
from percloss.dsp.scales import SCALES
from percloss.errors import ArgumentError, EmptyBandError, ShapeError
from percloss.frontends import Bands, Stft
from tests.signals import noise, tone

DEEP = -250.0  # a floor that float64 does not see under white noise
ALL: dict[str, Measure] = {
    "stft": STFTDistance(),
    "mrstft": MultiResolutionSTFTDistance(),
    "mel": MelDistance(16_000),
    "multi_scale_mel": MultiScaleMelDistance(16_000, n_mels=(5, 10, 20), n_ffts=(64, 128, 256)),
    "lsd": LogSpectralDistance(),
}
each = pytest.mark.parametrize("measure", ALL.values(), ids=list(ALL))


def only(term: str, **settings: float) -> STFTDistance:
    """The STFT distance with one of its three terms."""
    weights = {name: float(name == term) for name in ("convergence", "log", "linear")}
    return STFTDistance(floor_db=DEEP, **weights, **settings)


@pytest.fixture
def white() -> Tensor:
    return noise(2, 1, 8000, dtype=torch.float64)


@pytest.mark.parametrize("gain", [0.25, 0.9, 1.5, 4.0])
def test_each_term_has_a_closed_form_for_a_scaled_copy(white: Tensor, gain: float) -> None:
    size = Stft(1024).power(white).sqrt().flatten(2).mean(-1)
    alike = torch.ones(2, 1, dtype=torch.float64)
    torch.testing.assert_close(only("convergence")(gain * white, white), abs(1 - gain) * alike)
    torch.testing.assert_close(only("log")(gain * white, white), abs(math.log(gain)) * alike)
    torch.testing.assert_close(only("linear")(gain * white, white), abs(1 - gain) * size)


def test_the_distance_is_the_weighted_sum_of_its_terms(white: Tensor) -> None:
    est = white + 0.1 * noise(*white.shape, seed=1, dtype=torch.float64)
    terms = [only(term)(est, white) for term in ("convergence", "log", "linear")]
    together = STFTDistance(convergence=1.0, log=0.5, linear=3.0, floor_db=DEEP)(est, white)
    torch.testing.assert_close(together, terms[0] + 0.5 * terms[1] + 3 * terms[2])


def test_a_full_scale_sine_peaks_at_0_db_whatever_the_resolution() -> None:
    """So that a floor in dB is the same floor at every resolution."""
    for n_fft, win_length in ((256, None), (2048, None), (1024, 600)):
        # 1 kHz lies on a bin only at the first; a Hann window loses up to 1.42 dB between two bins.
        peak = 10 * Stft(n_fft, 64, win_length).power(tone(1000)).amax().log10().item()
        assert -1.43 < peak < 0.01
    assert Stft(256).power(tone(1000))[..., 10:-10].amax().item() == pytest.approx(1, abs=1e-3)


def test_several_resolutions_are_the_mean_of_each_alone(white: Tensor) -> None:
    est = noise(*white.shape, seed=1, dtype=torch.float64)
    sizes = [(512, 100, 400), (1024, 256, 1024), (2048, 50, 1200)]
    several = MultiResolutionSTFTDistance(*zip(*sizes, strict=True), linear=0.5)
    alone = [STFTDistance(*size, linear=0.5)(est, white) for size in sizes]
    torch.testing.assert_close(several(est, white), torch.stack(alone).mean(0))

    bands = {40: 512, 80: 2048}
    several = MultiScaleMelDistance(16_000, n_mels=tuple(bands), n_ffts=tuple(bands.values()))
    alone = [MelDistance(16_000, n_mels=count, n_fft=n_fft)(est, white) for count, n_fft in bands.items()]
    torch.testing.assert_close(several(est, white), torch.stack(alone).mean(0))


def test_one_item_40_db_louder_changes_nothing_for_its_neighbours(white: Tensor) -> None:
    """Spectral convergence is a ratio of norms; taken over a whole batch, the loudest item would speak for all."""
    est = white + 0.3 * noise(*white.shape, seed=1, dtype=torch.float64)
    loud = torch.tensor([100.0, 1.0], dtype=torch.float64)[:, None, None]
    for measure in (STFTDistance(), MultiResolutionSTFTDistance()):
        before, after = measure(est, white), measure(loud * est, loud * white)
        assert torch.equal(after[1], before[1])
        torch.testing.assert_close(after[0], before[0], rtol=1e-6, atol=0)  # the floor of -120 dB, heard by the softer


@each
def test_a_flipped_polarity_changes_no_bit(measure: Measure) -> None:
    est, ref = noise(2, 2, 1, 4000)
    assert torch.equal(measure(-est, ref), measure(est, ref))
    assert torch.equal(measure(-ref, ref), torch.zeros(2, 1))


@each
def test_a_silent_reference_costs_a_bounded_amount(measure: Measure) -> None:
    """The most is the level above the floor, 120 dB of a full-scale sine, in the measure's unit."""
    loud = noise(1, 1, 8000).clamp(-1, 1)
    for est, ref in ((loud, 0 * loud), (0 * loud, loud)):
        worst = 120.0 if measure.spec.unit == "dB" else math.log(1e6) + 1
        assert 0 < measure(est, ref).item() < worst
    assert measure(0 * loud, 0 * loud).item() == 0


@each
def test_an_estimate_at_minus_120_dbfs_still_feels_where_to_go(measure: Measure) -> None:
    """A clamp at the floor would leave it with a gradient of exactly 0. One small step of descent must help."""
    ref = 0.1 * noise(1, 1, 8000)
    est = (1e-6 * noise(1, 1, 8000, seed=1)).requires_grad_()
    before = measure(est, ref)
    (gradient,) = torch.autograd.grad(before.sum(), est)
    step = 1e-6 * gradient / gradient.square().mean().sqrt()
    assert measure(est.detach() - step, ref).item() < before.item()


def test_convergence_leaves_out_a_reference_at_the_floor_and_keeps_one_above() -> None:
    floor = db_to_power(-120.0)
    ref = torch.full((1, 2, 3, 4), floor**0.5) * torch.tensor([1.0, 2.0])[:, None, None]
    est = 2 * ref
    torch.testing.assert_close(distances.convergence(est, ref, floor), torch.tensor([[0.0, 1.0]]))


def test_a_shift_is_heard_only_as_far_as_the_frames_move() -> None:
    """Magnitudes do not hear the phase of a steady tone; the waveform does."""
    ref, est = tone(1000), tone(1000, phase=2.0)
    assert only("linear")(est, ref).item() < 1e-3
    assert (est - ref).abs().mean() > 0.5


@pytest.mark.parametrize(("measure", "n_fft"), [("stft", 1024), ("mrstft", 2048), ("mel", 2048), ("lsd", 2048)])
def test_less_than_half_a_window_is_refused_and_half_a_window_is_enough(measure: str, n_fft: int) -> None:
    needed = n_fft // 2 + 1
    with pytest.raises(ShapeError, match=rf"\(1, 1, {needed - 1}\).*{needed} samples.*smaller window or pad"):
        ALL[measure](*noise(2, 1, 1, needed - 1))
    assert ALL[measure](*noise(2, 1, 1, needed)).isfinite().all()


@pytest.mark.parametrize("gain", [0.1, 0.5, 3.0])
def test_log_mel_of_a_scaled_copy_is_the_log_of_the_gain(white: Tensor, gain: float) -> None:
    alike = torch.full((2, 1), abs(math.log(gain)), dtype=torch.float64)
    torch.testing.assert_close(MelDistance(16_000, floor_db=DEEP)(gain * white, white), alike)
    several = MultiScaleMelDistance(16_000, n_mels=(5, 20), n_ffts=(64, 256), floor_db=DEEP)
    torch.testing.assert_close(several(gain * white, white), alike)


def test_a_band_never_exceeds_the_loudest_bin_in_it() -> None:
    """Weights that sum to one: white magnitude in, white magnitude out."""
    bands = Bands(SCALES["mel_slaney"], 16_000, 40, 1024)
    torch.testing.assert_close(bands.bank.sum(1), torch.ones(40, dtype=torch.float64))
    bins = Stft(1024).power(tone(1000)).sqrt()
    assert bands(bins).amax() <= bins.amax()


def test_a_tone_is_heard_in_the_mel_band_it_belongs_to() -> None:
    """Slaney's mel scale is linear up to 1 kHz, 66.7 Hz a mel: band k of 40 up to 8 kHz is centred on k + 1 steps."""
    step = (15 + math.log(8) / (math.log(6.4) / 27)) / 41
    bins = Stft(2048).power(tone(200 / 3 * 5 * step))
    assert Bands(SCALES["mel_slaney"], 16_000, 40, 2048)(bins).mean(-1).argmax().item() == 4


def test_the_rate_of_the_same_samples_matters_to_mel(white: Tensor) -> None:
    est = noise(*white.shape, seed=1, dtype=torch.float64)
    low, high = (MelDistance(rate)(est, white) for rate in (16_000, 44_100))
    assert ((low - high).abs() > 1e-3).all()


def test_an_empty_band_is_an_error_at_construction_whose_advice_works() -> None:
    with pytest.raises(EmptyBandError) as caught:
        MelDistance(44_100, n_mels=128, n_fft=512)
    message = str(caught.value)
    assert re.search(r"\d+ of 128 bands .*hold no frequency bin at sample_rate=44100, n_fft=512", message)
    fewer, longer = map(int, re.search(r"use n_\w+=(\d+).* or n_fft=(\d+)", message).groups())
    MelDistance(44_100, n_mels=fewer, n_fft=512)
    MelDistance(44_100, n_mels=128, n_fft=longer)
    with pytest.raises(EmptyBandError):
        MelDistance(44_100, n_mels=fewer + 1, n_fft=512)


def test_none_of_the_seven_default_mel_scales_has_an_empty_band_at_usual_rates() -> None:
    for rate in (16_000, 22_050, 24_000, 32_000, 44_100):
        assert MultiScaleMelDistance(rate).min_samples == 1025


@pytest.mark.parametrize("gain", [0.1, 0.5, 2.0])
def test_lsd_of_a_scaled_copy_is_its_level_in_db(white: Tensor, gain: float) -> None:
    expected = torch.full((2, 1), abs(20 * math.log10(gain)), dtype=torch.float64)
    torch.testing.assert_close(LogSpectralDistance(floor_db=DEEP)(gain * white, white), expected)


def test_lsd_is_a_root_mean_square_over_bins_and_a_mean_over_frames(white: Tensor) -> None:
    """Two frames that do not overlap, one 20 dB off and one right: 10 dB, where a root over both would be 14.1."""
    measure = LogSpectralDistance(64, 5000, floor_db=DEEP)
    gain = torch.where(torch.arange(8000) < 2000, 0.1, 1.0).double()
    torch.testing.assert_close(measure(gain * white, white), torch.full((2, 1), 10.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: STFTDistance(log=-1.0), "none below 0 and one above"),
        (lambda: STFTDistance(convergence=0.0, log=0.0), "none below 0 and one above"),
        (lambda: STFTDistance(512, win_length=1024), "2 <= win_length <= n_fft"),
        (lambda: STFTDistance(512, 0), "hop_length >= 1"),
        (lambda: MultiResolutionSTFTDistance(()), "at least one"),
        (lambda: MultiResolutionSTFTDistance((512, 1024), (128,)), "as many hop_lengths"),
        (lambda: MultiScaleMelDistance(16_000, n_mels=(10,)), "as many of each"),
    ],
)
def test_settings_that_make_no_measure_fail_when_it_is_built(build, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build()
