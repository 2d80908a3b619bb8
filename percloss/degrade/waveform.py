"""Families that change the signal as a filter or a bent line does: level, time, high frequencies, overload, steps."""

import math

import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from percloss.dsp.stft import power


def gain(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Turn the level down; at strength 1, to silence."""
    return wave * (1 - strength)


def low_pass(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Take away the high frequencies without delay; at strength 1, all above 20 Hz.

    From the cutoff the gain falls to 0 within a third of an octave, as a raised cosine.
    """
    cutoff = torch.as_tensor(sample_rate / 2 * (40 / sample_rate) ** strength).to(wave)
    n = next_fast_len(wave.shape[-1] + sample_rate // 10, real=True)
    hz = torch.fft.rfftfreq(n, 1 / sample_rate).to(wave)
    octaves = (hz.clamp(min=hz[1]) / cutoff).log2()
    response = 0.5 + 0.5 * (3 * math.pi * octaves.clamp(0, 1 / 3)).cos()
    dull: Tensor = torch.fft.irfft(torch.fft.rfft(wave, n) * response, n)
    return dull[..., : wave.shape[-1]]


def delay(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Play the signal later, by a fraction of a sample if need be.

    At strength 1 it is late by the lag, up to 20 ms, at which it is least like itself, where the error is the largest.
    """
    time = wave.shape[-1]
    lags = min(sample_rate // 50, time - 1)
    n = next_fast_len(2 * time, real=True)
    spectrum = torch.fft.rfft(wave, n)
    least = torch.fft.irfft(power(spectrum), n)[..., : lags + 1].argmin(dim=-1, keepdim=True)
    # In float32 a phase of a thousand turns has lost a ten-thousandth of one.
    turns = torch.arange(n // 2 + 1, dtype=torch.float64) / n * (torch.as_tensor(strength) * least).cpu()
    phase = -2 * math.pi * (turns - turns.round()).to(wave)
    late: Tensor = torch.fft.irfft(spectrum * torch.polar(torch.ones_like(phase), phase), n)
    return late[..., :time]


def clipping(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Cut off what lies beyond a level: at strength 0 the peak, at strength 1 zero."""
    level = wave.abs().amax(dim=-1, keepdim=True) * (1 - strength)
    return wave.clamp(-level, level)


def saturation(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    r"""Bend the signal as a valve does, softly: :math:`\ell \tanh(x / \ell)` of a level that falls to 0.

    What is far below the level stays as it is. At strength 0 the level is infinite, at 0.5 the peak, at 1 zero.
    """
    at = torch.as_tensor(strength, dtype=wave.dtype, device=wave.device)
    level = wave.abs().amax(dim=-1, keepdim=True) * (1 - at) / at
    bent = torch.where(level > 0, level * (wave / level).tanh(), 0.0)
    return torch.where(at > 0, bent, wave)


def quantisation(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Round to equal steps, zero being one of them; at strength 1 a step is twice the peak."""
    step = wave.abs().amax(dim=-1, keepdim=True) * 2 * strength
    return torch.where(step > 0, (wave / step).round() * step, wave)
