"""Families that add something to the signal: noises, tones, a room, somebody else. At strength 1, as much as it is."""

import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from percloss.degrade.base import Family, at_snr, random_phase, source, to_spectrum, to_wave
from percloss.dsp.resample import resample
from percloss.dsp.stft import power
from percloss.errors import ShapeError


def white_noise(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Add Gaussian noise with the same power at every frequency; at strength 1, as much as there is signal."""
    noise = torch.randn(wave.shape, **source(generator)).to(wave)
    return wave + strength * at_snr(noise, wave, 0.0)


def shaped_noise(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Add noise with the signal's short-time spectrum and random phases; at strength 1, as much as there is signal."""
    spectrum = to_spectrum(wave, sample_rate)
    noise = to_wave(spectrum * random_phase(spectrum, generator), wave, sample_rate)
    return wave + strength * at_snr(noise, wave, 0.0)


def musical_noise(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Add short isolated tones, such as spectral subtraction leaves; at strength 1, as much as there is signal.

    One cell of the short-time spectrum in a hundred holds a tone, as strong as the signal is around it.
    """
    spectrum = to_spectrum(wave, sample_rate)
    around = torch.nn.functional.avg_pool2d(
        power(spectrum), kernel_size=9, stride=1, padding=4, count_include_pad=False
    ).sqrt()
    chosen = torch.rand(spectrum.shape, **source(generator)).to(around) < 0.01
    tones = to_wave(chosen * around * random_phase(spectrum, generator), wave, sample_rate)
    return wave + strength * at_snr(tones, wave, 0.0)


def reverberation(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Add the reverberation of a room; at strength 1, as much as there is signal.

    It begins 10 ms after the direct sound, is Gaussian noise, and falls by 60 dB in 0.5 s.
    """
    seconds = torch.arange(1, sample_rate // 2 + 1) / sample_rate
    tail = torch.randn((*wave.shape[:2], len(seconds)), **source(generator)).to(wave)
    tail = tail * (10 ** (-60 / 20 * seconds / 0.5) * (seconds > 0.01)).to(wave)
    n = next_fast_len(wave.shape[-1] + len(seconds), real=True)
    wet = torch.fft.irfft(torch.fft.rfft(wave, n) * torch.fft.rfft(tail, n), n)[..., : wave.shape[-1]]
    return wave + strength * at_snr(wet, wave, 0.0)


def interference(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Add another recording, a voice from the embedded clips; at strength 1, as much as there is signal.

    It is repeated to the length of the signal and begins at a random place. :func:`leakage` adds one of your own.
    """
    from percloss.data import clip

    voice, rate = clip("librivox_0930")
    voice = resample(voice[0, 0], rate, sample_rate)
    start = int(torch.randint(len(voice), (), **source(generator)))
    voice = voice.roll(-start).repeat(-(-wave.shape[-1] // len(voice)))[: wave.shape[-1]]
    return wave + strength * at_snr(voice.to(wave).expand(wave.shape), wave, 0.0)


def leakage(interferer: Tensor) -> Family:
    """A family that adds a signal of your own, such as the other stems of a song: what a separator lets through.

    Args:
        interferer: What leaks, at the rate of the signals to be spoilt.

    Shape:
        interferer: (batch, channels, time) as the signals, or 1 in place of batch and channels.

    Example:
        >>> from percloss.degrade import degrade
        >>> ref, other = torch.randn(2, 1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> est = degrade(ref, 16_000, leakage(other), snr_db=10.0)
    """

    def leaking(
        wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
    ) -> Tensor:
        """Add the interferer; at strength 1, as much as there is signal."""
        fits = interferer.dim() == 3 and all(
            own in (1, there) for own, there in zip(interferer.shape[:2], wave.shape[:2], strict=True)
        )
        if not fits or interferer.shape[-1] != wave.shape[-1]:
            raise ShapeError(
                f"leakage: an interferer of shape {tuple(interferer.shape)} came for a wave of {tuple(wave.shape)}; "
                f"needed are the same shapes, or 1 in place of batch and channels; cut it: "
                f"interferer[..., :{wave.shape[-1]}]."
            )
        return wave + strength * at_snr(interferer.to(wave).expand(wave.shape), wave, 0.0)

    return Family("Leakage", "the other source in the background", leaking, additive=True)
