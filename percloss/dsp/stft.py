"""The short-time Fourier transform, as :func:`torch.stft` has it, without what its padding and framing cost.

Reflection inside ``torch.stft`` has a backward that is not deterministic on CUDA and a forward that is wrong on MPS
for long signals; its framing scatters the gradient through an index as large as the frames. Slices, flips and
``unfold`` give the same bits on the CPU, in value and in gradient.
"""

import torch
from torch import Tensor

from percloss.errors import ArgumentError, ShapeError


def hann(n: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Periodic Hann window of ``n`` samples.

    Raises:
        ArgumentError: ``n`` below 1.
    """
    if n < 1:
        raise ArgumentError(f"hann: n={n} came; a window has at least 1 sample; use hann(1024).")
    return torch.hann_window(n, periodic=True, dtype=dtype)


def reflect_pad(x: Tensor, left: int, right: int | None = None) -> Tensor:
    """Mirror the signal about its first and last sample, neither of which is repeated.

    Args:
        x: Signal; time is the last axis.
        left: Samples put before the first.
        right: Samples put after the last; as many as ``left`` if not given.

    Shape:
        (..., time). Returns (..., left + time + right).

    Raises:
        ArgumentError: A negative padding.
        ShapeError: A signal with nothing left to mirror.
    """
    right = left if right is None else right
    if min(left, right) < 0:
        raise ArgumentError(f"reflect_pad: {left} and {right} came; a padding is 0 or more; slice to shorten a signal.")
    time, needed = x.shape[-1], max(left, right) + 1
    if time < needed:
        raise ShapeError(
            f"reflect_pad: a signal of {time} samples came; reflecting {needed - 1} of them needs {needed} or more; "
            f"give a longer signal or use an n_fft of at most {max(1, 2 * time - 1)}."
        )
    # The later part first: autograd then adds left + middle + right, as torch does, where a sample is mirrored twice.
    after = x[..., time - 1 - right : time - 1].flip(-1)
    before = x[..., 1 : left + 1].flip(-1)
    return torch.cat((before, x, after), dim=-1)


def stft(x: Tensor, window: Tensor, *, n_fft: int, hop_length: int, center: bool = True) -> Tensor:
    r"""Short-time Fourier transform, one-sided and unscaled.

    .. math:: X[k, m] = \sum_{n=0}^{N-1} w[n] \, x[mH + n] \, e^{-2 \pi i k n / N}

    Args:
        x: Real signal.
        window: The analysis window, cast to the dtype of ``x``. A window shorter than ``n_fft`` is put into the middle
            of zeros.
        n_fft: Size :math:`N` of the transform, in samples.
        hop_length: Samples :math:`H` from a frame to the next.
        center: Whether frame ``m`` is centred on sample ``m * hop_length``, the signal being mirrored at its ends; if
            not, it begins there.

    Shape:
        x: (..., time). window: (win_length,). Returns complex (..., n_fft // 2 + 1, frames).

    Raises:
        ArgumentError: An ``n_fft``, hop or window that no transform has.
        ShapeError: A signal shorter than one frame.
    """
    win_length = window.shape[-1]
    if hop_length < 1 or window.dim() != 1 or not 1 <= win_length <= n_fft:
        raise ArgumentError(
            f"stft: n_fft={n_fft}, hop_length={hop_length} and a window of shape {tuple(window.shape)} came; "
            f"it needs hop_length >= 1 and a one-dimensional window of 1 to n_fft samples; "
            f"use window=hann({max(1, n_fft)}), hop_length={max(1, n_fft // 4)}."
        )
    if center:
        x = reflect_pad(x, n_fft // 2)
    elif x.shape[-1] < n_fft:
        raise ShapeError(
            f"stft: a signal of {x.shape[-1]} samples came; n_fft={n_fft} without centring needs {n_fft} or more; "
            f"give a longer signal or use center=True."
        )
    spectra: Tensor = torch.fft.rfft(x.unfold(-1, n_fft, hop_length) * _taper(window, n_fft, x.dtype))
    return spectra.transpose(-1, -2)


def stft_adjoint(gradient: Tensor, window: Tensor, *, n_fft: int, hop_length: int, time: int) -> Tensor:
    r"""Carry a gradient from the spectrum of :func:`stft` (centred) back to its signal.

    The transform is linear, so its derivative is its adjoint: inverse transforms, windowed, added where they overlap,
    and the mirrored ends folded back. One call does for any number of terms that were added in the spectrum.

    Args:
        gradient: Derivative of a real value by real and imaginary part, :math:`\partial_{\Re} + i\,\partial_{\Im}`. It
            is used up: its first and last bin are changed in place.
        window: As given to ``stft``.
        n_fft: As given to ``stft``.
        hop_length: As given to ``stft``.
        time: Length of the signal [samples].

    Shape:
        gradient: complex (rows, n_fft // 2 + 1, frames). Returns (rows, time).
    """
    rows, _, frames = gradient.shape
    # irfft counts every bin but the first and the last twice, and divides by n_fft.
    gradient[:, 0] *= 2
    if n_fft % 2 == 0:
        gradient[:, -1] *= 2
    pieces = torch.fft.irfft(gradient.transpose(1, 2), n=n_fft)
    pieces *= _taper(window, n_fft, pieces.dtype) * (n_fft / 2)
    padding = n_fft // 2
    steps = -(-n_fft // hop_length)
    blocks = pieces.new_zeros(rows, max(frames + steps, -(-(time + 2 * padding) // hop_length)), hop_length)
    for step in range(steps):
        part = pieces[..., step * hop_length : (step + 1) * hop_length]
        blocks[:, step : step + frames, : part.shape[-1]] += part
    padded = blocks.flatten(1)
    signal: Tensor = padded[:, padding : padding + time].clone()
    signal[:, 1 : padding + 1] += padded[:, :padding].flip(-1)
    signal[:, time - 1 - padding : time - 1] += padded[:, padding + time : 2 * padding + time].flip(-1)
    return signal


def _taper(window: Tensor, n_fft: int, dtype: torch.dtype) -> Tensor:
    """The window in the middle of ``n_fft`` samples."""
    before = (n_fft - window.shape[-1]) // 2
    return torch.nn.functional.pad(window.to(dtype), (before, n_fft - window.shape[-1] - before))


def power(spectrum: Tensor) -> Tensor:
    """Squared magnitude of a complex spectrum, its gradient 0 and not nan where the spectrum is 0."""
    return squared(spectrum.real, spectrum.imag)


def squared(real: Tensor, imag: Tensor) -> Tensor:
    """Squared magnitude of a spectrum in two parts. A complex product costs twice as much."""
    return torch.addcmul(real.square(), imag, imag)
