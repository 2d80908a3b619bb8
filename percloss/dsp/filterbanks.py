"""Banks of filters on the bins of a Fourier transform. A bank is built once, on the host, by whoever owns it."""

import math
from typing import Literal

import torch
from torch import Tensor

from percloss.dsp.scales import ERB, Scale
from percloss.errors import ArgumentError, EmptyBandError, SampleRateError

# Equivalent rectangular bandwidth towards 0 Hz [Hz]: no auditory filter is narrower (Glasberg and Moore 1990).
NARROWEST_ERB = 24.7


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
    f_max = _checked("triangular_bank", sample_rate, n_fft, n_bands, f_min, f_max)
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


def gammatone_bank(
    *, sample_rate: int, n_fft: int, n_bands: int, f_min: float = 0.0, f_max: float | None = None
) -> Tensor:
    r"""Power response of gammatone filters of fourth order, whose centres :math:`c` stand evenly on the ERB scale.

    .. math:: W[b, k] = \left(1 + \left(\frac{f_k - c_b}{1.019 \, \mathrm{ERB}(c_b)}\right)^2\right)^{-4}, \qquad
              \mathrm{ERB}(c) = 24.7 \, (1 + 4.37 \, c / 1000) \text{ Hz}

    It is the usual form of the response, without what the filter's image at the negative frequency adds at the lowest
    centres. The centres are those of the triangles between the same ends.

    Args:
        sample_rate: Of the signal [Hz].
        n_fft: Size of the transform.
        n_bands: Filters.
        f_min: Lower end of the scale, a step below the first centre [Hz].
        f_max: Upper end, a step above the last centre [Hz]; half the sample rate if not given.

    Shape:
        Returns (bands, bins) in float64, bins = n_fft // 2 + 1.

    Raises:
        EmptyBandError: A filter with no bin within its equivalent rectangular bandwidth.
        ArgumentError: Frequencies out of order or above half the sample rate, no bands.
        SampleRateError: A rate that is not above 0.

    References:
        [patterson1987]_ for the filter, [glasberg1990]_ for its width.
    """
    f_max = _checked("gammatone_bank", sample_rate, n_fft, n_bands, f_min, f_max)
    low, high = ERB.from_hz(torch.tensor([f_min, f_max], dtype=torch.float64)).tolist()
    centres = ERB.to_hz(torch.linspace(low, high, n_bands + 2, dtype=torch.float64))[1:-1, None]
    width = NARROWEST_ERB * (1 + 4.37e-3 * centres)
    away = (torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate / n_fft) - centres).abs()
    empty = int((away.amin(1) > width[:, 0] / 2).sum())
    if empty:
        longer = 2 ** math.ceil(math.log2(sample_rate / NARROWEST_ERB))
        raise EmptyBandError(
            f"gammatone_bank: {empty} of {n_bands} filters have no frequency bin within their bandwidth at "
            f"sample_rate={sample_rate:g}, n_fft={n_fft}; the narrowest is {float(width[0]):.1f} Hz wide and bins are "
            f"{sample_rate / n_fft:.1f} Hz apart; use n_fft={longer}, which does at any f_min."
        )
    return (1 + (away / (1.019 * width)).square()) ** -4


def chroma_bank(
    *, sample_rate: float, n_fft: int, n_classes: int = 12, f_min: float = 0.0, f_max: float | None = None
) -> Tensor:
    r"""Bins gathered by pitch class, C first, A at 440 Hz: Ellis' chroma.

    Round each class stands a Gaussian of the distance in classes, as wide as the bins are apart there but no narrower
    than a class. Each bin has unit norm over the classes, and is weighted by a Gaussian of two octaves round 880 Hz.
    From 0 Hz to half the rate it is librosa's at its defaults, bin 0, which has no pitch, among the others.

    Args:
        sample_rate: Of the signal [Hz].
        n_fft: Size of the transform.
        n_classes: Equal steps in an octave.
        f_min: Lowest bin that counts [Hz].
        f_max: Highest bin that counts [Hz]; half the sample rate if not given.

    Shape:
        Returns (classes, bins) in float64, bins = n_fft // 2 + 1.

    Raises:
        EmptyBandError: A class with no bin nearer to it than to its neighbours, in any octave.
        ArgumentError: Frequencies out of order or above half the sample rate, no classes.
        SampleRateError: A rate that is not above 0.

    References:
        [ellis2007]_.
    """
    f_max = _checked("chroma_bank", sample_rate, n_fft, n_classes, f_min, f_max)
    hz = torch.arange(n_fft, dtype=torch.float64) * (sample_rate / n_fft)
    steps = n_classes * (hz[1:] * 16 / 440).log2()  # from the lowest A of a piano
    steps = torch.cat([steps[:1] - 1.5 * n_classes, steps])  # bin 0 an octave and a half below bin 1
    width = torch.cat([steps.diff().clamp(min=1), torch.ones(1, dtype=torch.float64)])
    half = round(n_classes / 2)
    away = (steps - torch.arange(n_classes, dtype=torch.float64)[:, None] + half).remainder(n_classes) - half
    weight = torch.nn.functional.normalize((-2 * (away / width).square()).exp(), dim=0)
    weight = weight * (-0.5 * ((steps / n_classes - 5) / 2).square()).exp()
    counted = ((hz >= f_min) & (hz <= f_max))[: n_fft // 2 + 1]
    empty = int((torch.where(counted, away[:, : n_fft // 2 + 1].abs(), n_classes).amin(1) > 0.5).sum())
    if empty:
        octave = f_max / 2  # with bins no further apart than classes there, the octave above it fills them all
        longer = 2 ** math.ceil(math.log2(sample_rate / (octave * (2 ** (1 / n_classes) - 1))))
        raise EmptyBandError(
            f"chroma_bank: {empty} of {n_classes} classes hold no frequency bin at sample_rate={sample_rate:g}, "
            f"n_fft={n_fft} from {f_min:g} to {f_max:g} Hz; use n_fft={longer} and f_min={min(f_min, octave):g}."
        )
    return (weight[:, : n_fft // 2 + 1] * counted).roll(-3 * (n_classes // 12), 0)


def _checked(name: str, sample_rate: float, n_fft: int, n_bands: int, f_min: float, f_max: float | None) -> float:
    """The upper end [Hz] of a bank that can be, or an error that names it."""
    if not sample_rate > 0:
        raise SampleRateError(
            f"{name}: sample_rate={sample_rate} came; a rate above 0 Hz is needed; use sample_rate=16000."
        )
    if n_fft < 1 or n_bands < 1:
        raise ArgumentError(
            f"{name}: n_fft={n_fft} and n_bands={n_bands} came; both must be 1 or more; use n_fft=1024, n_bands=40."
        )
    nyquist = sample_rate / 2
    f_max = nyquist if f_max is None else f_max
    if not 0 <= f_min < f_max <= nyquist:
        raise ArgumentError(
            f"{name}: f_min={f_min:g} and f_max={f_max:g} came; it needs 0 <= f_min < f_max <= {nyquist:g}, "
            f"half of sample_rate={sample_rate:g}; use f_min=0.0, f_max={nyquist:g}."
        )
    return f_max


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
