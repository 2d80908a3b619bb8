"""What every family of artefacts is, and what they share: energies, short-time spectra, sources of chance."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from percloss.dsp.stft import hann, stft
from percloss.errors import ArgumentError


@runtime_checkable
class Artefact(Protocol):
    """How every family is called."""

    def __call__(
        self, wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
    ) -> Tensor:
        """The spoilt wave.

        Args:
            wave: The signal to spoil.
            sample_rate: Its rate [Hz].
            strength: From 0, the wave as it is, to 1.
            generator: Where randomness comes from; one with seed 0 if not given. A family that is not random leaves it
                alone.

        Shape:
            wave: (batch, channels, time). strength: a number or (batch, channels, 1). Returns the shape of ``wave``.
        """
        ...


@dataclass(frozen=True)
class Family:
    """One kind of artefact.

    Args:
        title: Its name in a table.
        hears: What a listener hears, in one line.
        apply: The function.
        additive: Whether the error is added, and so scaled to any ratio; else the strength itself is sought.
        coded: Whether it is a coder's, whose strength is a setting that is tried in steps.
    """

    title: str
    hears: str
    apply: Artefact
    additive: bool = False
    coded: bool = False


def at_snr(error: Tensor, ref: Tensor, snr_db: float) -> Tensor:
    """The error, scaled in each channel so that ``ref + error`` has a signal-to-noise ratio.

    Args:
        error: What is to be added.
        ref: The signal.
        snr_db: Power of ``ref`` over power of the result [dB].

    Shape:
        error, ref: (batch, channels, time). Returns the same. Zero where ``ref`` is silent.

    Raises:
        ArgumentError: A ratio that is no finite number, or no error to scale.
    """
    if not math.isfinite(snr_db):
        raise ArgumentError(f"at_snr: snr_db={snr_db} came; a finite number of decibels is needed; use snr_db=10.0.")
    signal, noise = energy(ref), energy(error)
    if ((noise == 0) & (signal > 0)).any():
        raise ArgumentError(
            f"at_snr: an error of zeros came; no scale brings it to {snr_db:g} dB; give an error that is not silent."
        )
    scale = (signal / noise * 10 ** (-snr_db / 10)).sqrt()
    return torch.where(signal > 0, error * scale, 0.0)


def energy(wave: Tensor) -> Tensor:
    """Sum of squares, (batch, channels, 1)."""
    return wave.square().sum(dim=-1, keepdim=True)


def snr_of(est: Tensor, ref: Tensor) -> Tensor:
    """Per channel, (batch, channels, 1) [dB]: nan where the reference is silent, inf where there is no error."""
    signal = energy(ref)
    return torch.where(signal > 0, 10 * (signal / energy(est - ref)).log10(), torch.nan)


def source(generator: Generator | None) -> dict[str, Any]:
    """Where random numbers are drawn: on the generator's device, so that a seed means the same on every device."""
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    return {"generator": generator, "device": generator.device}


def random_phase(spectrum: Tensor, generator: Generator | None) -> Tensor:
    """A phase for every cell, as a complex number of magnitude 1."""
    phase = 2 * math.pi * torch.rand(spectrum.shape, **source(generator)).to(spectrum.real)
    return torch.polar(torch.ones_like(phase), phase)


def per_cell(strength: Tensor | float) -> Tensor | float:
    """A strength of each channel, to be broadcast against spectra."""
    return strength[..., None] if isinstance(strength, Tensor) else strength


def to_spectrum(wave: Tensor, sample_rate: int) -> Tensor:
    """The short-time spectrum, (batch, channels, bins, frames), in frames of 25 ms or a little more."""
    n_fft = _frame(sample_rate)
    padded = torch.nn.functional.pad(wave, (0, max(0, n_fft - wave.shape[-1])))
    return stft(padded, hann(n_fft), n_fft=n_fft, hop_length=n_fft // 4)


def to_wave(spectrum: Tensor, wave: Tensor, sample_rate: int) -> Tensor:
    """The signal of a changed spectrum, cut to the length of the signal it came from."""
    n_fft = _frame(sample_rate)
    window = hann(n_fft).to(wave)
    flat = torch.istft(spectrum.flatten(0, 1), n_fft, n_fft // 4, window=window, length=wave.shape[-1])
    return flat.view_as(wave)


def frame_step(sample_rate: int) -> float:
    """Between frames of ``to_spectrum`` [s]."""
    return _frame(sample_rate) / 4 / sample_rate


def _frame(sample_rate: int) -> int:
    """The power of two samples that lasts 25 ms or a little more."""
    return int(2 ** max(2, math.ceil(math.log2(0.025 * sample_rate))))
