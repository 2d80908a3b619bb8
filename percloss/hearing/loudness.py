"""Programme loudness of ITU-R BS.1770-4, with a gradient: K-weighting, blocks and gating, at any rate."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from percloss._typing import Wave
from percloss.dsp.safe import db_to_power, undefined_where
from percloss.errors import ArgumentError, SampleRateError, ShapeError
from percloss.frontends import FrontEnd
from percloss.hearing.weighting import K_RATE, K_STAGES

# BS.1770-4: of the power of a full-scale sine at 997 Hz in one channel, -3.01 LKFS.
OFFSET = -0.691
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0
#: Of the channels, by how many there are. Five are L, R, C, Ls and Rs; six have LFE, which does not count, before Ls.
WEIGHTS: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (1.0, 1.0),
    5: (1.0, 1.0, 1.0, 1.41, 1.41),
    6: (1.0, 1.0, 1.0, 0.0, 1.41, 1.41),
}
# Momentary and short-term loudness are of the last so many steps of 100 ms.
STEP, MOMENTARY, SHORT_TERM = 0.1, 4, 30
# What the high pass (38 Hz, critically damped) rings on after the end of a signal is 500 dB down by then [s].
_RINGING = 0.25


class KWeighting(FrontEnd):
    """The two filters of BS.1770 before its energies: a shelf for the head and a high pass, causal, at any rate.

    The standard tabulates coefficients for 48 kHz. They are those of two analogue filters by the bilinear transform,
    each warped to fit at its own corner; another rate has what the same transform makes there of the same filters. At
    48 kHz that is the table to the last digit. Other implementations derive the denominators so, but leave the
    numerator of the high pass as it is in the table: theirs grows by 0.09 dB towards 16 kHz, and stays within 0.004 dB
    of this from 44.1 kHz up to 48 kHz. The filters are applied to the whole spectrum, padded until nothing rings; the
    result is that of the recursion but for rounding.

    Args:
        sample_rate: Of the signals [Hz].

    Shape:
        (batch, channels, time). Returns that shape.

    Raises:
        SampleRateError: A rate too low for the shelf, whose corner is at 1.7 kHz.

    References:
        [itu2015bs1770]_.
    """

    stages: Tensor

    def __init__(self, sample_rate: float) -> None:
        super().__init__()
        corners = [K_RATE / math.pi * math.atan(_corner(below)) for _, below in K_STAGES]
        if not sample_rate > 2 * max(corners):
            raise SampleRateError(
                f"KWeighting: got sample_rate={sample_rate}; needed is one above {2 * max(corners):.0f} Hz, as 48_000."
            )
        self.sample_rate = sample_rate
        stages = torch.tensor([[_analogue(taps) for taps in stage] for stage in K_STAGES], dtype=torch.float64)
        # The frequency variable of each stage at this rate, in units of that at 48 kHz: equal at its corner.
        warp = [math.tan(math.pi * hz / K_RATE) / math.tan(math.pi * hz / sample_rate) for hz in corners]
        powers = torch.tensor([[1, factor, factor**2] for factor in warp], dtype=torch.float64)
        self.constant("stages", stages * powers[:, None])

    def response(self, hz: Tensor) -> Tensor:
        """Complex gain at frequencies [Hz] from 0 to half the rate, in float64."""
        # A bilinear transform with s = (1 - 1/z) / (1 + 1/z), both polynomials times cos^2, which is finite at the end.
        angle = math.pi * hz.double() / self.sample_rate
        cos, sin = angle.cos(), angle.sin()
        terms = torch.stack((cos.square() + 0j, 1j * sin * cos, -sin.square() + 0j))
        parts = torch.einsum("spt,t...->sp...", self.stages.to(terms.dtype), terms)
        # At half the rate the numerator and denominator of a stage are both real and not 0.
        gain: Tensor = (parts[:, 0] / parts[:, 1]).prod(0)
        return gain

    def forward(self, x: Wave) -> Wave:
        """The weighted signal."""
        time = x.shape[-1]
        size = time + math.ceil(_RINGING * self.sample_rate)
        step = 1 << max(1, size.bit_length() - 4)  # to a length that has a fast transform
        size = -(-size // step) * step
        hz = torch.arange(size // 2 + 1, dtype=torch.float64, device=x.device) * (self.sample_rate / size)
        gain = self.response(hz).to(torch.promote_types(x.dtype, torch.complex64))
        weighted: Tensor = torch.fft.irfft(torch.fft.rfft(x, size) * gain, size)
        return weighted[..., :time]


class LoudnessMeter(FrontEnd):
    r"""Momentary, short-term and integrated loudness of ITU-R BS.1770-4, in LKFS (LUFS is the same), with a gradient.

    .. math:: L = -0.691 + 10 \log_{10} \sum_c G_c z_c

    with :math:`z` the mean square of a K-weighted channel and :math:`G` the weight of its place. Blocks of 400 ms are
    taken every 100 ms. Of the integrated loudness first those at -70 LKFS and below are left out, then those that are
    more than 10 LU below the loudness of what is left. What the gates decide has no gradient, the mean of what they
    let through has.

    At 44.1 and 48 kHz within 0.01 LU of pyloudnorm with the filters of the standard (``"DeMan"``), and at any rate
    from 16 kHz within 0.1 LU, of its default filters too, which are others. Steps are of a whole number of samples, and
    a last block that is not whole does not count. A full-scale sine at 997 Hz in one channel has -3.01 LKFS.

    Args:
        sample_rate: Of the signals [Hz].
        weights: Of the channels; ``None`` is those of BS.1770 for one, two, five (L, R, C, Ls, Rs) or six channels
            (L, R, C, LFE, Ls, Rs).

    Raises:
        ArgumentError: Weights that are no weights.
        SampleRateError: A rate that has no K-weighting.

    Example:
        >>> meter = LoudnessMeter(48_000)
        >>> sine = torch.sin(2 * torch.pi * 997 * torch.arange(96_000, dtype=torch.float64) / 48_000)
        >>> meter.integrated(sine[None, None]).round(decimals=2)
        tensor([-3.0100], dtype=torch.float64)

    References:
        [itu2015bs1770]_.
    """

    def __init__(self, sample_rate: float, *, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if weights is not None and (not weights or not all(0 <= weight < math.inf for weight in weights)):
            raise ArgumentError(
                f"LoudnessMeter: got weights={weights}; needed is one for each channel, finite and none below 0: "
                f"weights=(1.0, 1.0)."
            )
        self.sample_rate, self.weights = sample_rate, None if weights is None else tuple(weights)
        self.front = KWeighting(sample_rate)
        self.step = round(STEP * sample_rate)
        #: Samples of the shortest signal that has an integrated loudness, 400 ms.
        self.min_samples = MOMENTARY * self.step

    def momentary(self, x: Wave) -> Tensor:
        """Loudness of every 400 ms, in steps of 100 ms: (batch, blocks); minus infinity where there is no sound."""
        return _lkfs(self._blocks(x, MOMENTARY))

    def short_term(self, x: Wave) -> Tensor:
        """Loudness of every 3 s, in steps of 100 ms: (batch, blocks); minus infinity where there is no sound."""
        return _lkfs(self._blocks(x, SHORT_TERM))

    def integrated(self, x: Wave) -> Tensor:
        """Gated loudness of the whole, (batch,); nan where no block is above -70 LKFS."""
        blocks = self._blocks(x, MOMENTARY)
        loud = blocks > db_to_power(ABSOLUTE_GATE - OFFSET)
        gate = db_to_power(RELATIVE_GATE) * _mean(blocks.detach(), loud)
        loud = loud & (blocks > gate[:, None])
        nothing = ~loud.any(-1)
        return undefined_where(nothing, _lkfs(torch.where(nothing, 1, _mean(blocks, loud))))

    def _blocks(self, x: Wave, steps: int) -> Tensor:
        """Weighted sum over channels of the mean squares of so many steps, from each step on."""
        whole = x.shape[-1] // self.step
        if x.dim() != 3 or whole < steps:
            raise ShapeError(
                f"LoudnessMeter: got {tuple(x.shape)}; needed is (batch, channels, time) with {steps * self.step} "
                f"samples ({steps * STEP:.1f} s) or more. Pad with zeros, or measure a longer signal."
            )
        weights = WEIGHTS.get(x.shape[1]) if self.weights is None else self.weights
        if weights is None or len(weights) != x.shape[1]:
            raise ShapeError(
                f"LoudnessMeter: got {x.shape[1]} channels and {'no weights' if weights is None else weights}; needed "
                f"are {', '.join(map(str, WEIGHTS))} channels, or weights=(...) with one for each."
            )
        weighted = self.front(x)[..., : whole * self.step]
        power = weighted.unflatten(-1, (whole, self.step)).square().mean(-1)
        total: Tensor = (x.new_tensor(weights)[:, None] * power).sum(1)
        return total.unfold(-1, steps, 1).mean(-1)


def _lkfs(power: Tensor) -> Tensor:
    """Of a weighted power; minus infinity, without a gradient, where it is 0."""
    silent = power == 0
    return (OFFSET + 10 * torch.where(silent, 1, power).log10()).masked_fill(silent, -math.inf)


def _mean(blocks: Tensor, loud: Tensor) -> Tensor:
    return torch.where(loud, blocks, 0).sum(-1) / loud.sum(-1).clamp(min=1)


def _analogue(taps: tuple[float, float, float]) -> tuple[float, float, float]:
    """Coefficients of 1, s and s^2 of what the bilinear transform made these taps of."""
    first, second, third = taps
    return first + second + third, 2 * (first - third), first - second + third


def _corner(taps: tuple[float, float, float]) -> float:
    """Frequency of an analogue denominator, as the tangent of half its angle at 48 kHz."""
    constant, _, square = _analogue(taps)
    return math.sqrt(constant / square)
