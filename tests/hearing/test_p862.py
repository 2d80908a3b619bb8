"""The perceptual model of P.862: its tables against psychoacoustics, its functions against what they must do."""

import math

import pytest
import torch
from torch import Tensor

from percloss.errors import SampleRateError
from percloss.hearing import p862
from percloss.hearing.p862 import PerceptualModel
from tests.signals import noise

RATES = pytest.mark.parametrize("rate", [8000, 16_000])


def white(model: PerceptualModel, frames: int = 4, seed: int = 0) -> Tensor:
    """Band powers that differ from band to band, some below the threshold in quiet."""
    bands = model.threshold.shape[0]
    return 10 ** (4 + 2 * noise(1, 1, bands, frames, seed=seed, dtype=torch.float64))


@RATES
def test_every_bin_but_half_the_rate_is_in_one_band_and_the_bands_touch(rate: int) -> None:
    model = PerceptualModel(rate, first=0)
    taken = (model.bank > 0).sum(0)
    assert model.bank.shape == (42 if rate == 8000 else 49, rate * 32 // 2000 + 1)
    assert taken.tolist() == [1] * (taken.numel() - 1) + [0]
    centres = torch.tensor(p862.CENTRE_BARK, dtype=torch.float64)
    edges = centres + torch.tensor(p862.WIDTH_BARK) / 2
    torch.testing.assert_close(edges[:-1], centres[1:] - torch.tensor(p862.WIDTH_BARK)[1:] / 2, atol=1e-5, rtol=0)


def test_a_tone_has_the_same_power_in_its_band_at_both_rates() -> None:
    """The frame is 32 ms at both: twice the samples, twice the amplitude of a bin, four times its power."""
    powers = []
    for rate in p862.SAMPLE_RATES:
        model = PerceptualModel(rate)
        time = torch.arange(model.n_fft, dtype=torch.float64) / rate
        frame = torch.sin(2 * math.pi * 1000 * time) * torch.hann_window(model.n_fft, dtype=torch.float64)
        powers.append(model(torch.fft.rfft(frame).abs().square()[None, None, :, None]).sum())
    torch.testing.assert_close(powers[0], powers[1], rtol=1e-5, atol=0)


def test_the_first_band_can_be_left_out() -> None:
    whole, rest = PerceptualModel(16_000, first=0), PerceptualModel(16_000)
    power = noise(1, 1, 257, 3, dtype=torch.float64).square()
    torch.testing.assert_close(rest(power), whole(power)[:, :, 1:])
    assert torch.equal(whole(torch.nn.functional.pad(power[:, :, :1], (0, 0, 0, 256)))[:, :, 1:], 0 * rest(power))


def test_the_ear_is_keenest_in_the_middle() -> None:
    model = PerceptualModel(16_000, first=0)
    lowest = model.threshold.argmin()
    assert 7.5 < p862.CENTRE_BARK[int(lowest)] < 10
    assert model.threshold[0] > 1e7 * model.threshold[lowest]


def test_nothing_is_heard_below_the_threshold_and_loudness_begins_there_at_0() -> None:
    model = PerceptualModel(16_000)
    threshold = model.threshold[None, None].expand(1, 1, -1, 1)
    assert not model.loudness(threshold).any()
    assert not model.loudness(0.9 * threshold).any()
    just = model.loudness(1.0001 * threshold)
    assert (just > 0).all()
    assert just.max() < 1e-3


def test_ten_times_the_power_is_1_7_times_as_loud() -> None:
    """Zwicker's exponent, 0.23; more at low frequencies, where it is raised."""
    model = PerceptualModel(16_000)
    loud = 1e9 * model.threshold[None, None]
    ratio = (model.loudness(10 * loud) / model.loudness(loud)).flatten()
    torch.testing.assert_close(ratio[-1].item(), 10**0.23, rtol=0.01, atol=0)
    assert (ratio.diff() <= 1e-9).all()
    assert ratio[0] > 1.05 * ratio[-1]


@pytest.mark.parametrize("power_of_ten", [-30, 0, 10])
def test_loudness_has_a_finite_slope_at_every_level(power_of_ten: int) -> None:
    model = PerceptualModel(8000)
    bands = torch.full((1, 1, 41, 1), 10.0**power_of_ten if power_of_ten > -30 else 0.0, requires_grad=True)
    (slope,) = torch.autograd.grad(model.loudness(bands).sum(), bands)
    assert slope.isfinite().all()
    assert (slope.amax() > 0) == (power_of_ten > 0 or bands.amax() > model.threshold.amin())


def test_audible_power_counts_what_is_above_the_threshold_alone() -> None:
    model = PerceptualModel(16_000)
    bands = torch.zeros(1, 1, 48, 1, dtype=torch.float64)
    bands[0, 0, 20], bands[0, 0, 30] = 7.0, 0.5 * model.threshold[30]
    assert model.audible_power(bands).item() == 7.0
    assert not model.speech(bands)
    bands[0, 0, 20] = p862.SPEECH_POWER
    assert model.speech(bands)


def test_a_filter_of_up_to_20_db_is_found_and_more_is_not() -> None:
    under = torch.full((1, 1, 5, 1), 1e9, dtype=torch.float64)
    ratio = torch.tensor([1e-4, 0.1, 1.0, 7.0, 1e4], dtype=torch.float64)[None, None, :, None]
    found = p862.transfer(ratio * under, under).flatten().tolist()
    assert found == pytest.approx([0.01, 0.1, 1.0, 7.0, 100.0], rel=1e-4)
    assert p862.transfer(0 * under, 0 * under).flatten().tolist() == [1.0] * 5


def test_gain_takes_the_estimate_to_the_reference_and_leaves_silence_alone() -> None:
    ref = torch.tensor([[[[1e8, 1e8, 0.0]]]], dtype=torch.float64)
    est = torch.tensor([[[[1e8, 1e10, 0.0]]]], dtype=torch.float64)
    assert p862.gain(est, ref).flatten().tolist() == pytest.approx([1, 0.01, 1], rel=1e-3)


def test_a_quarter_of_the_softer_loudness_is_not_heard() -> None:
    one = torch.ones(1, 1, 1, 1)
    for est, heard in ((1.2, 0.0), (1.25, 0.0), (1.5, 0.25), (0.9, 0.0), (0.5, 0.375), (0.0, 1.0)):
        assert p862.audible_difference(est * one, one).item() == pytest.approx(heard, abs=1e-6)
        assert p862.audible_difference(one, est * one).item() == pytest.approx(heard, abs=1e-6)


def test_what_was_added_counts_3_to_12_times_and_what_was_left_out_not_at_all() -> None:
    ref = torch.full((1, 1, 1, 1), 1e6)
    factors = [p862.asymmetry(ratio * ref, ref).item() for ratio in (0.01, 1.0, 2.4, 3.0, 5.0, 100.0)]
    assert factors == pytest.approx([0, 0, 0, 3**1.2, 5**1.2, 12], rel=1e-4)


@RATES
def test_equal_bands_are_not_disturbed_and_the_slope_there_is_a_number(rate: int) -> None:
    model = PerceptualModel(rate)
    ref = white(model)
    est = ref.clone().requires_grad_()
    symmetric, asymmetric = model.disturbance(est, ref)
    assert not symmetric.any()
    assert not asymmetric.any()
    (slope,) = torch.autograd.grad((symmetric + asymmetric).sum(), est)
    assert slope.isfinite().all()


@RATES
def test_disturbances_are_the_recommendations_norms(rate: int) -> None:
    """Of each frame by a loop over bands, in plain numbers."""
    model = PerceptualModel(rate)
    est, ref = white(model), white(model, seed=1)
    symmetric, asymmetric = model.disturbance(est, ref)
    widths = [float(x) for x in model.width]
    for frame in range(est.shape[-1]):
        loudness = [model.loudness(x)[0, 0, :, frame].tolist() for x in (est, ref)]
        squares = added = audible = 0.0
        for band, width in enumerate(widths):
            e, r = est[0, 0, band, frame].item(), ref[0, 0, band, frame].item()
            d = max(0.0, abs(loudness[0][band] - loudness[1][band]) - 0.25 * min(loudness[0][band], loudness[1][band]))
            a = ((e + 50) / (r + 50)) ** 1.2
            squares += (width * d) ** 2
            added += width * d * (0 if a < 3 else min(a, 12))
            audible += r if r > model.threshold[band] else 0
        weight = ((audible + 1e5) / 1e7) ** 0.04
        assert symmetric[0, 0, frame].item() == pytest.approx(min(45, math.sqrt(sum(widths) * squares) / weight))
        assert asymmetric[0, 0, frame].item() == pytest.approx(min(45, added / weight))


def test_no_frame_is_disturbed_by_more_than_45() -> None:
    model = PerceptualModel(16_000)
    ref = torch.ones(1, 1, 48, 1)
    for disturbance in model.disturbance(1e12 * ref, ref):
        assert disturbance.item() == 45


def test_other_rates_are_refused() -> None:
    with pytest.raises(SampleRateError, match="44100 came; P.862 has 8000 and 16000"):
        PerceptualModel(44_100)
