"""What must be true of the way to a spectrum and back, and of what is done to estimates."""

import os

import pytest
import torch
from torch import Tensor

from percloss.distances import consistency
from percloss.errors import ArgumentError, ShapeError
from percloss.frontends import Stft
from percloss.lab.postprocess import griffin_lim, mixture_consistent, wiener
from percloss.lab.spectrogram import Transform
from percloss.measures.ratios import SISDR, SNR
from tests.signals import RATE, noise, speech, tone

COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))


def inconsistency(spectrum: Tensor, transform: Transform, time: int) -> float:
    """Of a spectrum that stands for a whole number of steps."""
    front = transform.front
    assert time % front.hop_length == 0
    window = front.window.to(spectrum.real.dtype)
    return consistency(spectrum, window, n_fft=front.n_fft, hop_length=front.hop_length, length=time).item()


# There and back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 128), (512, 384), (1024, 768), (100, 33)])
@pytest.mark.parametrize("time", [1, 50, 511, 512, 513, 3001])
def test_every_length_comes_back_from_its_spectrum(n_fft: int, hop: int, time: int) -> None:
    transform, x = Transform(n_fft, hop), noise(2, 3, time, dtype=torch.float64)
    spectrum = transform(x)
    assert spectrum.shape == (2, 3, n_fft // 2 + 1, transform.frames(time))
    torch.testing.assert_close(transform.inverse(spectrum, time), x)


def test_a_whole_number_of_steps_has_the_front_ends_spectrum() -> None:
    x = noise(1, 1, 1280)
    assert torch.equal(Transform(512, 128)(x), Stft(512, 128)(x))


def test_what_a_signal_has_is_consistent_already() -> None:
    transform, x = Transform(256, 64), noise(1, 2, 1000, dtype=torch.float64)
    torch.testing.assert_close(transform.consistent(transform(x), 1000), transform(x))


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 400), (512, 0), (2, 1)])
def test_a_step_that_has_no_way_back_is_refused(n_fft: int, hop: int) -> None:
    with pytest.raises(ArgumentError, match="1 <= hop_length <="):
        Transform(n_fft, hop)


# Griffin-Lim ---------------------------------------------------------------------------------------------------------


def test_griffin_lim_lowers_the_inconsistency_in_every_step() -> None:
    """Of magnitude and phase together, with momentum 0: the theorem of 1984."""
    transform, time = Transform(256, 64), 8192
    magnitude = transform(speech(seconds=1.0)[..., 4000 : 4000 + time].double()).abs()
    left = []
    for iterations in (0, 1, 2, 4, 8, 16, 32):
        wave = griffin_lim(magnitude, transform, time=time, iterations=iterations, momentum=0.0)
        phase = torch.sgn(transform(wave))
        left.append(inconsistency(magnitude * phase, transform, time))
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0] / 4


def test_momentum_gets_nearer_in_as_many_steps() -> None:
    transform, time = Transform(256, 64), 8192
    magnitude = transform(speech(seconds=1.0)[..., 4000 : 4000 + time].double()).abs()
    left = {}
    for momentum in (0.0, 0.99):
        wave = griffin_lim(magnitude, transform, time=time, iterations=64, momentum=momentum)
        left[momentum] = (transform(wave).abs() - magnitude).square().sum().item()
    assert left[0.99] < left[0.0]


def test_griffin_lim_leaves_a_phase_that_fits() -> None:
    transform, x = Transform(256, 64), speech(seconds=0.5)[..., :5001]
    spectrum = transform(x)
    wave = griffin_lim(spectrum.abs(), transform, time=5001, start=spectrum)
    torch.testing.assert_close(wave, x, rtol=1e-3, atol=1e-4)


def test_griffin_lim_is_the_same_for_the_same_seed_and_leaves_the_global_generator_alone() -> None:
    transform = Transform(256, 64)
    magnitude = transform(noise(1, 1, 1000)).abs()
    state = torch.get_rng_state()
    first, again, other = (griffin_lim(magnitude, transform, time=1000, iterations=4, seed=s) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_gradient_reaches_the_magnitude_with_the_phase_as_a_constant() -> None:
    transform = Transform(64, 16)
    magnitude = transform(noise(1, 1, 300, dtype=torch.float64)).abs().requires_grad_()
    wave = griffin_lim(magnitude, transform, time=300, iterations=3)
    (gradient,) = torch.autograd.grad(wave.square().sum(), magnitude)
    # The wave is linear in the magnitude under a constant phase, so this is Euler's identity.
    torch.testing.assert_close((gradient * magnitude).sum(), 2 * wave.square().sum())


def test_griffin_lim_of_silence_is_silence() -> None:
    transform = Transform(64, 16)
    wave = griffin_lim(torch.zeros(1, 1, 33, transform.frames(300)), transform, time=300)
    assert torch.equal(wave, torch.zeros(1, 1, 300))


def test_a_magnitude_of_another_transform_is_refused() -> None:
    transform = Transform(64, 16)
    with pytest.raises(ShapeError, match=r"needed is \(batch, channels, 33, 20\) for 300 samples"):
        griffin_lim(torch.ones(1, 1, 33, 21), transform, time=300)
    with pytest.raises(ShapeError, match=r"a start of \(1, 1, 33, 19\)"):
        griffin_lim(torch.ones(1, 1, 33, 20), transform, time=300, start=torch.ones(1, 1, 33, 19) + 0j)
    with pytest.raises(ArgumentError, match="iterations=-1"):
        griffin_lim(torch.ones(1, 1, 33, 20), transform, time=300, iterations=-1)


# The mixture's sum ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", ["equal", "power"])
def test_consistent_sources_add_up_to_the_mixture(share: str) -> None:
    ests, mix = noise(2, 3, 2, 500), noise(2, 2, 500, seed=1)
    torch.testing.assert_close(mixture_consistent(ests, mix, share=share).sum(1), mix, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", ["equal", "power"])
def test_sources_that_add_up_are_left_alone(share: str) -> None:
    ests = noise(2, 3, 2, 500)
    torch.testing.assert_close(mixture_consistent(ests, ests.sum(1), share=share), ests, rtol=1e-4, atol=1e-5)


def test_equal_shares_never_take_estimates_further_from_the_truth() -> None:
    """It is a projection onto the sets that add up, of which the true sources are one."""
    truth = noise(2, 3, 1, 500)
    ests = truth + 0.5 * noise(2, 3, 1, 500, seed=1)
    better = mixture_consistent(ests, truth.sum(1))
    assert (better - truth).square().sum() < (ests - truth).square().sum()
    twice = mixture_consistent(better, truth.sum(1))
    torch.testing.assert_close(twice, better, rtol=1e-4, atol=1e-5)


def test_by_power_a_silent_estimate_stays_silent() -> None:
    ests = noise(1, 2, 1, 500)
    ests[:, 1] = 0
    moved = mixture_consistent(ests, noise(1, 1, 500, seed=1), share="power")
    assert torch.equal(moved[:, 1], torch.zeros(1, 1, 500))
    silent = mixture_consistent(torch.zeros(1, 2, 1, 500), noise(1, 1, 500, seed=1), share="power")
    torch.testing.assert_close(silent.sum(1), noise(1, 1, 500, seed=1))


# The Wiener filter ---------------------------------------------------------------------------------------------------


def panned() -> Tensor:
    """Speech to one side and noise to the other, (1, 2 sources, 2 channels, time)."""
    voice, rest = speech(seconds=1.0), 0.05 * noise(1, 1, RATE)
    left, right = torch.tensor([[0.9], [0.3]]), torch.tensor([[0.2], [0.8]])
    return torch.stack([left * voice, right * rest], 1)


def test_with_the_true_spectra_of_panned_sources_the_filter_is_near_perfect() -> None:
    """Two channels and two fixed directions: the covariances alone tell the sources apart."""
    truth = panned()
    filtered = wiener(truth, truth.sum(1), Transform(512, 128))
    assert (SNR()(filtered.flatten(0, 1), truth.flatten(0, 1)) > 40).all()


def test_with_the_true_spectra_of_sources_that_do_not_overlap_it_is_near_perfect() -> None:
    truth = torch.stack([tone(500, db=-20), tone(3000, db=-12)], 1).float()
    filtered = wiener(truth, truth.sum(1), Transform(1024, 256))
    inner = slice(1024, -1024)  # at the ends the mirrored tones have clicks, which do overlap
    assert (SNR()(filtered[0, ..., inner], truth[0, ..., inner]) > 40).all()


def test_estimates_that_leak_leak_less_after_it() -> None:
    truth = panned()
    leaking = truth + 0.3 * truth.flip(1)
    ratio = SISDR()
    before = ratio(leaking.flatten(0, 1), truth.flatten(0, 1))
    after = ratio(wiener(leaking, truth.sum(1), Transform(512, 128), iterations=2).flatten(0, 1), truth.flatten(0, 1))
    assert (after > before + 3).all()


def test_with_one_channel_it_is_the_share_of_the_power() -> None:
    transform, ests, mix = Transform(256, 64), noise(1, 2, 1, 1000), noise(1, 1, 1000, seed=1)
    levels = torch.stack([transform(ests[:, i].double()).abs().square() for i in range(2)], 1)
    # For one channel the covariance of a bin is 1 up to rounding, so the mask is the ratio of powers.
    masked = transform(mix.double())[:, None] * levels / levels.sum(1, keepdim=True)
    expected = torch.stack([transform.inverse(masked[:, i], 1000) for i in range(2)], 1)
    torch.testing.assert_close(wiener(ests, mix, transform), expected.float(), rtol=1e-4, atol=1e-5)


def test_filtered_sources_add_up_to_the_mixture() -> None:
    ests, mix = noise(1, 3, 2, 1000), noise(1, 2, 1000, seed=1)
    torch.testing.assert_close(wiener(ests, mix, Transform(256, 64)).sum(1), mix, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1e3])
def test_the_filter_knows_no_level(scale: float) -> None:
    ests, mix, transform = noise(1, 2, 2, 1000), noise(1, 2, 1000, seed=1), Transform(256, 64)
    torch.testing.assert_close(
        wiener(scale * ests, scale * mix, transform) / scale, wiener(ests, mix, transform), rtol=1e-3, atol=1e-4
    )


def test_silent_estimates_filter_to_silence() -> None:
    silent = wiener(torch.zeros(1, 2, 2, 600), noise(1, 2, 600), Transform(256, 64))
    assert torch.equal(silent, torch.zeros(1, 2, 2, 600))


@pytest.mark.parametrize("function", [mixture_consistent, lambda ests, mix: wiener(ests, mix, Transform(256, 64))])
def test_estimates_that_are_no_sources_of_the_mixture_are_refused(function) -> None:
    for ests, mix in [
        (noise(1, 2, 500), noise(1, 2, 500)),
        (noise(1, 3, 2, 500), noise(1, 2, 499)),
        (noise(1, 3, 1, 500), noise(1, 2, 500)),
    ]:
        with pytest.raises(ShapeError, match="sources, channels, time"):
            function(ests, mix)


@pytest.mark.skipif(not COMPILE, reason="shape checking refuses a wrong literal first: run with PERCLOSS_COMPILE=1")
def test_a_share_that_is_none_of_the_choices_is_refused() -> None:
    with pytest.raises(ArgumentError, match="share='loud' came"):
        mixture_consistent(noise(1, 2, 1, 500), noise(1, 1, 500), share="loud")


def test_no_iteration_is_refused() -> None:
    ests, mix = noise(1, 2, 1, 500), noise(1, 1, 500)
    with pytest.raises(ArgumentError, match="iterations=0 came"):
        wiener(ests, mix, Transform(256, 64), iterations=0)
