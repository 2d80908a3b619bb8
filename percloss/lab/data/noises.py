"""Noises that need no recording: coloured, resonant, swelling, or made of clicks."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Samples = npt.NDArray[np.float64]


def procedural_noise(rng: np.random.Generator, time: int, sample_rate: int) -> Tensor:
    """A noise as machines, wind and rain make it, no two alike: (1, time), of unit power and without a mean.

    White noise, and in every third case a shower of clicks instead, through a spectrum that falls by 0 to 9 dB an
    octave and has up to four resonances; two in three swell and fade by up to 10 dB within seconds.

    Args:
        rng: Where all of it comes from.
        time: Its length [samples].
        sample_rate: Its rate [Hz].
    """
    white = rng.standard_normal(time)
    if rng.random() < 1 / 3:
        per_second = 10 ** rng.uniform(1.0, 2.5)
        struck = rng.random(time) < per_second / sample_rate
        struck[rng.integers(time)] = True
        white *= struck
    noise = np.fft.irfft(np.fft.rfft(white) * _colour(rng, time, sample_rate), n=time)
    if rng.random() < 2 / 3:
        noise *= 10 ** (_swelling(rng, time, sample_rate) / 20)
    noise -= noise.mean()
    return torch.from_numpy(noise / np.sqrt(np.mean(noise**2))).float()[None]


def _colour(rng: np.random.Generator, time: int, sample_rate: int) -> Samples:
    """Magnitudes of the filter at the bins of the whole signal."""
    hz = np.fft.rfftfreq(time, 1 / sample_rate)
    octaves = np.log2(np.maximum(hz, 50.0) / 1000)
    magnitudes: Samples = 10 ** (-rng.uniform(0, 9) * octaves / 20)
    for _ in range(rng.integers(0, 5)):
        centre = 10 ** rng.uniform(2, math.log10(0.45 * sample_rate))
        width = centre / rng.uniform(2, 30)
        magnitudes *= 1 + 10 ** (rng.uniform(6, 24) / 20) / np.sqrt(1 + ((hz - centre) / width) ** 2)
    return magnitudes


def _swelling(rng: np.random.Generator, time: int, sample_rate: int) -> Samples:
    """A slow random curve between about -10 and 10 dB."""
    knots = max(2, math.ceil(time / sample_rate * rng.uniform(0.5, 4)) + 1)
    curve: Samples = np.interp(np.linspace(0, knots - 1, time), np.arange(knots), rng.uniform(-10, 10, knots))
    return curve
