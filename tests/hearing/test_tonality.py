"""Tone or noise, from closed forms."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from percloss.dsp.safe import db_to_power, log_power
from percloss.frontends import Stft
from percloss.hearing.tonality import masking_offset, spectral_flatness, tonality
from tests.signals import noise, tone

EULER = 0.5772156649015329
DEEP = db_to_power(-250.0)


def flatness(power: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
    """Of the neighbourhoods that the mean is taken over [dB]."""
    return spectral_flatness(mean(log_power(power, DEEP)), mean(power), DEEP)


def whole(power: Tensor) -> Tensor:
    """Flatness of the whole spectrum [dB]."""
    return flatness(power, lambda x: x.mean(-2, keepdim=True))


def test_white_noise_has_a_flatness_of_e_to_minus_gamma() -> None:
    """The power of a Gaussian bin is exponential: the mean of its logarithm is gamma below that of its mean."""
    samples = noise(1, 1, 2**20, dtype=torch.float64)
    power = torch.fft.rfft(samples).abs().square()[..., 1:-1, None]
    found = whole(power).item()
    assert abs(found - -10 * EULER * math.log10(math.e)) < 0.02
    assert abs(10 ** (found / 10) - 0.56146) < 0.003
    assert abs(tonality(torch.tensor(found)).item() - 0.0418) < 5e-4


def test_a_flat_spectrum_has_0_db_and_no_tonality() -> None:
    found = whole(torch.full((1, 1, 100, 3), 0.3, dtype=torch.float64))
    torch.testing.assert_close(found, torch.zeros_like(found))
    assert tonality(found).abs().max() < 1e-12


def test_a_pure_tone_is_a_tone() -> None:
    found = whole(Stft(512).power(tone(1000))[..., 4:-4])
    assert (found < -60).all()
    assert (tonality(found) == 1).all()


def test_flatness_does_not_hear_the_level() -> None:
    power = noise(1, 1, 64, 5, dtype=torch.float64).square()
    torch.testing.assert_close(whole(1e6 * power), whole(power))


def test_silence_is_flat() -> None:
    assert whole(torch.zeros(1, 1, 64, 2)).abs().max() < 1e-4


def test_each_neighbourhood_looks_at_its_own_bins() -> None:
    power = torch.ones(1, 1, 8, 1, dtype=torch.float64)
    power[..., 6, :] = 1e9
    halves = torch.kron(torch.eye(2, dtype=torch.float64), torch.full((1, 4), 0.25, dtype=torch.float64))
    flat, peaked = flatness(power, lambda x: halves @ x).flatten().tolist()
    assert abs(flat) < 1e-9
    assert peaked < -60


def test_a_tone_masks_less_than_noise_and_less_the_higher_it_is() -> None:
    bark = torch.tensor([5.0, 20.0])
    torch.testing.assert_close(masking_offset(torch.ones(2), bark), torch.tensor([19.5, 34.5]))
    torch.testing.assert_close(masking_offset(torch.zeros(2), bark), torch.tensor([5.5, 5.5]))
    torch.testing.assert_close(masking_offset(torch.full((2,), 0.5), bark), torch.tensor([12.5, 20.0]))
