"""A differentiable band-limited resampler: a windowed sinc, applied as one matrix product."""

import math

import torch
from torch import Tensor

from percloss.errors import ArgumentError, SampleRateError, ShapeError

# 2^24 taps are 128 MiB in float64. Every pair of the usual rates stays below a tenth of it.
_MOST_TAPS = 2**24


def resample_kernel(orig: int, new: int, *, zeros: int = 64, rolloff: float = 0.95) -> Tensor:
    r"""The matrix that makes a block of output samples from a window of input samples.

    Output sample :math:`m` stands at :math:`t_m = m \, o / n` in input samples, :math:`o : n` being the ratio of the
    rates in lowest terms, and is the input filtered by a low-pass around it:

    .. math:: y[m] = \sum_j x[j] \, h(t_m - j), \qquad
              h(t) = c \, \mathrm{sinc}(c t) \, \frac{I_0(\beta \sqrt{1 - (c t / z)^2})}{I_0(\beta)}

    for :math:`|c t| < z` and 0 beyond, with :math:`z` zeros a side and the cutoff
    :math:`c = \mathrm{rolloff} \cdot \min(1, n / o)` in units of the input's half rate. The phases repeat every
    :math:`o` input and :math:`n` output samples, so :math:`n` rows are all there are; they are repeated until a block
    is as wide as the filter is long, because products over narrow blocks copy the signal many times. Every row sums to
    1: a constant stays that constant.

    :math:`\beta` is not free. The stop band shall begin where aliasing does, at the half of the lower rate, and the
    transition is symmetric about the cutoff; Kaiser's formula then gives the attenuation these zeros reach, 105 dB at
    the defaults, and its :math:`\beta`. The pass band ends at ``2 * rolloff - 1`` of the half rate, 0.9 at the
    defaults.

    Measured at the defaults: a tone below 0.9 of the lower half rate comes out within -105 dB of the truth, a tone
    above the lower half rate below -108 dB (9 kHz from 48 to 16 kHz: -118 dB); float32 adds rounding near -131 dB.

    Args:
        orig: Rate of the input [Hz].
        new: Rate of the output [Hz].
        zeros: Zero crossings of the sinc on each side.
        rolloff: Cutoff, as a part of half the lower rate.

    Shape:
        Returns (outputs, inputs) in float64.

    Raises:
        SampleRateError: A rate that is no positive integer, or two whose ratio has no small terms.
        ArgumentError: Too few zeros for the transition band.

    References:
        J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function", ISCAS 1974.
    """
    before, after = _lowest_terms(orig, new)
    if before == after:
        return torch.ones(1, 1, dtype=torch.float64)
    if zeros < 1 or not 0.5 < rolloff < 1:
        raise ArgumentError(
            f"resample_kernel: zeros={zeros} and rolloff={rolloff:g} came; it needs zeros >= 1 and 0.5 < rolloff < 1; "
            f"use zeros=64, rolloff=0.95."
        )
    # Kaiser's estimate of the attenuation for a transition of 2 pi (1 - rolloff) radians and 2 zeros / rolloff taps.
    attenuation = 7.95 + 2.285 * 2 * math.pi * (1 - rolloff) * 2 * zeros / rolloff
    if attenuation < 50:
        needed = math.ceil(zeros * (50 - 7.95) / (attenuation - 7.95))
        raise ArgumentError(
            f"resample_kernel: zeros={zeros} at rolloff={rolloff:g} came, an attenuation of {attenuation:.0f} dB; "
            f"50 dB or more is needed; use zeros={needed} or more."
        )
    beta = 0.1102 * (attenuation - 8.7)

    cutoff = rolloff * min(1.0, after / before)
    reach = math.ceil(zeros / cutoff)
    repeats = max(1, math.ceil(2 * reach / before))
    rows, columns = repeats * after, repeats * before + 2 * reach
    if rows * columns > _MOST_TAPS:
        raise SampleRateError(
            f"resample: {orig} to {new} Hz came, in lowest terms {before} to {after}, which takes a kernel of "
            f"{rows * columns} taps; {_MOST_TAPS} are the most; resample through a rate that has a large divisor in "
            f"common with both, or offline with soxr."
        )
    at = torch.arange(rows, dtype=torch.float64)[:, None] * before / after
    crossings = cutoff * (at - torch.arange(-reach, columns - reach, dtype=torch.float64))
    window = torch.special.i0(beta * (1 - (crossings / zeros).square()).relu().sqrt())
    kernel = torch.where(crossings.abs() < zeros, torch.sinc(crossings) * window, 0)
    return kernel / kernel.sum(dim=-1, keepdim=True)


def resample(x: Tensor, orig: int, new: int, kernel: Tensor | None = None) -> Tensor:
    """The signal at another rate, sample 0 staying where it is, silence assumed before and after.

    Args:
        x: Signal; time is the last axis.
        orig: Its rate [Hz].
        new: The rate wanted [Hz]. If it is ``orig``, ``x`` itself is returned.
        kernel: ``resample_kernel(orig, new)``, built now if not given; cast to the dtype of ``x``.

    Shape:
        (..., time). Returns (..., ceil(time * new / orig)).

    Raises:
        SampleRateError: A rate that is no positive integer, or two whose ratio has no small terms.
        ShapeError: No samples.
    """
    before, after = _lowest_terms(orig, new)
    if before == after:
        return x
    time = x.shape[-1]
    if time < 1:
        raise ShapeError(f"resample: a signal of shape {tuple(x.shape)} came; one sample or more is needed.")
    kernel = resample_kernel(orig, new) if kernel is None else kernel
    rows, columns = kernel.shape
    hop = rows // after * before
    reach = (columns - hop) // 2
    length = -(-time * after // before)
    blocks = -(-length // rows)
    # A product and not a convolution: cuDNN would by default round float32 to TF32, whose noise lies near -60 dB.
    windows = torch.nn.functional.pad(x, (reach, blocks * hop + reach - time)).unfold(-1, columns, hop)
    return (windows @ kernel.to(x.dtype).T).flatten(-2)[..., :length]


def _lowest_terms(orig: object, new: object) -> tuple[int, int]:
    if not (isinstance(orig, int) and isinstance(new, int) and orig > 0 and new > 0):
        raise SampleRateError(
            f"resample: {orig!r} to {new!r} Hz came; rates are integers of 1 Hz or more; use resample(x, 48000, 16000)."
        )
    divisor = math.gcd(orig, new)
    return orig // divisor, new // divisor
