"""Families that change the short-time spectrum, as masks and networks that estimate magnitudes do."""

import math

import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from percloss.degrade.base import frame_step, per_cell, source, to_spectrum, to_wave
from percloss.dsp.stft import power

# Cells; so wide a kernel is flat.
_EVERYWHERE = 1e6


def temporal_smear(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Spread the power of every bin over time, before as well as after; phases stay. At strength 1, over all of it.

    An attack is heard before it comes and is soft when it does. The weight falls by a factor of e within 20 ms at a
    strength of a half.
    """
    return _spread(wave, sample_rate, strength, step=frame_step(sample_rate), half=0.02, dim=-1)


def spectral_blur(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Spread the power of every frame over frequency; phases stay. At strength 1, over all of it.

    Harmonics run into each other, then formants do. The weight falls by a factor of e within 100 Hz at a strength of a
    half.
    """
    return _spread(wave, sample_rate, strength, step=0.25 / frame_step(sample_rate), half=100.0, dim=-2)


def gating(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Silence every cell of the short-time spectrum below a threshold; at strength 1, all but the strongest.

    The threshold is the fourth power of the strength in units of the largest magnitude: 0.5 is 24 dB below it.
    """
    spectrum = to_spectrum(wave, sample_rate)
    level = spectrum.abs()
    threshold = per_cell(strength) ** 4 * level.amax(dim=(-2, -1), keepdim=True)
    return to_wave(spectrum * (level >= threshold), wave, sample_rate)


def spectral_holes(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Silence random patches of the short-time spectrum, such as a codec or a mask leaves; at strength 1, all of it.

    A patch is 4 bins by 4 frames.
    """
    spectrum = to_spectrum(wave, sample_rate)
    bins, frames = spectrum.shape[-2:]
    patches = torch.rand((*wave.shape[:2], -(-bins // 4), -(-frames // 4)), **source(generator)).to(wave)
    keep = patches.repeat_interleave(4, dim=-2).repeat_interleave(4, dim=-1)[..., :bins, :frames]
    return to_wave(spectrum * (keep >= per_cell(strength)), wave, sample_rate)


def phase_jitter(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Turn every phase of the short-time spectrum at random, but no magnitude; at strength 1, by up to half a turn."""
    spectrum = to_spectrum(wave, sample_rate)
    turns = torch.rand(spectrum.shape, **source(generator)).to(wave) - 0.5
    phase = 2 * math.pi * turns * per_cell(strength)
    return to_wave(spectrum * torch.polar(torch.ones_like(phase), phase), wave, sample_rate)


def _spread(wave: Tensor, sample_rate: int, strength: Tensor | float, *, step: float, half: float, dim: int) -> Tensor:
    """The power averaged along an axis with weights that fall by e within ``half * strength / (1 - strength)``.

    Args:
        wave: The signal.
        sample_rate: Its rate [Hz].
        strength: From 0 to 1.
        step: Between cells of the axis, in units of ``half``.
        half: The width at a strength of a half.
        dim: The axis.
    """
    spectrum = to_spectrum(wave, sample_rate).transpose(dim, -1)
    # In float32 the transforms' rounding would put a floor of -70 dB under the quietest cell.
    cells = power(spectrum).double()
    strength = torch.as_tensor(per_cell(strength), dtype=cells.dtype, device=cells.device).clamp(0, 1)
    width = half / step * strength / (1 - strength)
    count = cells.shape[-1]
    weight = (-torch.arange(count).to(cells) / width.clamp(max=_EVERYWHERE)).exp()
    weight = torch.where(width > 0, weight, torch.arange(count).to(cells) == 0)
    n = next_fast_len(2 * count, real=True)
    # Symmetric about 0: the weight of lag -k stands at n - k.
    kernel = torch.fft.rfft(torch.nn.functional.pad(weight, (0, n - count)), n)
    kernel = 2 * kernel.real - weight[..., :1]
    total = torch.fft.irfft(torch.fft.rfft(torch.ones_like(cells[..., :1, :]), n) * kernel, n)[..., :count]
    mean = torch.fft.irfft(torch.fft.rfft(cells, n) * kernel, n)[..., :count] / total
    level = mean.clamp(min=0).sqrt().to(wave)
    return to_wave((level * torch.sgn(spectrum)).transpose(dim, -1), wave, sample_rate)
