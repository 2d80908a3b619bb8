"""Banks of filters on the bins of a Fourier transform. A bank is built once, on the host, by whoever owns it."""

from typing import Literal

import torch
from torch import Tensor

from percloss.dsp.scales import Scale
from percloss.errors import ArgumentError, EmptyBandError, SampleRateError


def triangular_bank(
    scale: Scale,
    *,
    sample_rate: int,
    n_fft: int,
    n_bands: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    norm: Literal["area", "none"],
) -> Tensor:
    r"""Triangles in hertz whose corners :math:`c_0 \dots c_{B+1}` stand evenly on ``scale`` from f_min to f_max.

    .. math:: W[b, k] = g_b \max\!\left(0, \min\!\left(\frac{f_k - c_b}{c_{b+1} - c_b},
              \frac{c_{b+2} - f_k}{c_{b+2} - c_{b+1}}\right)\right)

    Args:
        scale: A row of :data:`percloss.dsp.scales.SCALES`.
        sample_rate: Of the signal [Hz].
        n_fft: Size of the transform.
        n_bands: Triangles :math:`B`.
        f_min: Lower corner of the first triangle [Hz].
        f_max: Upper corner of the last triangle [Hz]; half the sample rate if not given.
        norm: ``"area"`` makes every triangle's area over hertz 1, :math:`g_b = 2 / (c_{b+2} - c_b)`; ``"none"`` leaves
            every peak at 1.

    Shape:
        Returns (bands, bins) in float64, bins = n_fft // 2 + 1.

    Raises:
        EmptyBandError: A band between two bins. It would be silent whatever the signal.
        ArgumentError: Frequencies out of order or above half the sample rate, no bands, an unknown norm.
        SampleRateError: A rate that is not above 0.
    """
    if not sample_rate > 0:
        raise SampleRateError(
            f"triangular_bank: sample_rate={sample_rate} came; a rate above 0 Hz is needed; use sample_rate=16000."
        )
    if n_fft < 1 or n_bands < 1:
        raise ArgumentError(
            f"triangular_bank: n_fft={n_fft} and n_bands={n_bands} came; both must be 1 or more; "
            f"use n_fft=1024, n_bands=40."
        )
    nyquist = sample_rate / 2
    f_max = nyquist if f_max is None else f_max
    if not 0 <= f_min < f_max <= nyquist:
        raise ArgumentError(
            f"triangular_bank: f_min={f_min:g} and f_max={f_max:g} came; it needs 0 <= f_min < f_max <= {nyquist:g}, "
            f"half of sample_rate={sample_rate:g}; use f_min=0.0, f_max={nyquist:g}."
        )
    if norm not in ("area", "none"):
        raise ArgumentError(f"triangular_bank: norm={norm!r} came; 'area' or 'none' is needed; use norm='area'.")

    corners = _corners(scale, sample_rate, n_fft, n_bands, f_min, f_max)
    empty = _empty(corners)
    if empty.any():
        raise EmptyBandError(
            _empty_message(scale, empty.nonzero().flatten().tolist(), sample_rate, n_fft, n_bands, f_min, f_max)
        )
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
    lower, centre, upper = (corners[i : i + n_bands, None] for i in range(3))
    bank = torch.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)).relu()
    return 2 * bank / ((upper - lower) * sample_rate / n_fft) if norm == "area" else bank


def _corners(scale: Scale, sample_rate: int, n_fft: int, n_bands: int, f_min: float, f_max: float) -> Tensor:
    """The n_bands + 2 corners, counted in bins."""
    low, high = scale.from_hz(torch.tensor([f_min, f_max], dtype=torch.float64)).tolist()
    hz = scale.to_hz(torch.linspace(low, high, n_bands + 2, dtype=torch.float64))
    # To a billionth of a bin, so that a bin standing on a corner has weight 0 and not the scale's rounding error.
    return (hz * n_fft / sample_rate).round(decimals=9)


def _empty(corners: Tensor) -> Tensor:
    """Which bands have no bin strictly between their outer corners."""
    return corners[:-2].floor() + 1 >= corners[2:]


def _empty_message(
    scale: Scale, empty: list[int], sample_rate: int, n_fft: int, n_bands: int, f_min: float, f_max: float
) -> str:
    def holds(n_fft: int, n_bands: int) -> bool:
        return not bool(_empty(_corners(scale, sample_rate, n_fft, n_bands, f_min, f_max)).any())

    # Whether a bank holds is not monotone in n_bands, so every one is tried; a bin lies in two bands at most.
    fewer = next((n for n in range(min(n_bands - 1, n_fft + 2), 0, -1) if holds(n_fft, n)), None)
    longer = next((n for n in (n_fft << k for k in range(1, 16)) if holds(n, n_bands)), None)
    advice = [f"n_bands={fewer} (the most below {n_bands} that leaves none empty)"] * (fewer is not None)
    advice += [f"n_fft={longer}"] * (longer is not None)
    named = ", ".join(map(str, empty[:8])) + ", ..." * (len(empty) > 8)
    return (
        f"triangular_bank: {len(empty)} of {n_bands} bands on the scale {scale.title} hold no frequency bin at "
        f"sample_rate={sample_rate:g}, n_fft={n_fft}, f_min={f_min:g}, f_max={f_max:g} (band {named}); "
        f"every band needs a bin between its corners; use {' or '.join(advice) or 'a wider range from f_min to f_max'}."
    )
