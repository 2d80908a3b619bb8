"""Weighting curves: how much a frequency counts, by the standards' formulas; and a filter that has such a response."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from percloss._typing import Wave
from percloss.errors import ArgumentError, SampleRateError
from percloss.frontends import FrontEnd

# IEC 61672-1, Annex E: corners of the A curve [Hz], the outer two of second order. C has these two alone.
A_CORNERS = (20.598997, 107.65265, 737.86223, 12194.217)
# IEC 60651: the corner [Hz] that B has in place of A's inner two.
_B_CORNER = 158.48932
# BS.1770, tables 1 and 2, for 48 kHz: shelf and high pass, numerator and denominator.
K_RATE = 48_000
K_STAGES = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)
# Response of the network of BS.468: real and imaginary part of its denominator, as polynomials of the frequency [Hz].
_468_REAL = (1.0, -1.363894795463638e-7, 2.043828333606125e-15, -4.737338981378384e-24)
_468_IMAGINARY = (5.559488023498642e-4, -2.118150887518656e-11, 1.306612257412824e-19)
# Zeros appended before filtering, so that the end of a signal does not ring into its beginning [s]. What rings at the
# lowest corner, 20.6 Hz, is down by 280 dB then. D and ITU-R 468 fall in proportion to the frequency towards 0 Hz, and
# so ring with the square of the time, at -140 dB and less by then.
_RINGING = 0.25


@dataclass(frozen=True)
class Curve:
    """One way that frequencies are said to count.

    Attributes:
        name: Key in :data:`CURVES`.
        title: Name for people.
        gain: Frequencies [Hz], 0 or more, to amplitude ratios.
        cite: Key of its source in references.bib.
        highest: Where its standard's response ends [Hz].
    """

    name: str
    title: str
    gain: Callable[[Tensor], Tensor]
    cite: str
    highest: float = math.inf


def weighting_gain(curve: str, hz: Tensor) -> Tensor:
    """Gain of a weighting curve, as an amplitude ratio.

    All curves but K are 1 at 1 kHz. K is the response of its two filters, 0.691 dB at 997 Hz, which the loudness of
    BS.1770 takes off again. A to D are their formulas at any frequency; the standards print them from 10 Hz to 20 kHz.
    That of D is withdrawn, and its printed table was not at hand: this is its published transfer function. K ends at
    24 kHz, since it is given by coefficients for 48 kHz; the table of ITU-R 468 goes from 31.5 Hz to 31.5 kHz, below
    which this is the response of its network.

    Args:
        curve: A row of ``CURVES``.
        hz: Frequencies [Hz], 0 or more.

    Shape:
        hz: (...). Returns that shape, in the dtype of ``hz``; float64 is meant.

    Raises:
        ArgumentError: No such curve.
        SampleRateError: A frequency above the curve's end.

    References:
        [iec2013]_ for A and C, [iec1979]_ for B, [iec1976]_ for D, [itu2015bs1770]_ for K,
        [itu1986bs468]_ for ITU-R 468.
    """
    found = _curve(curve)
    if bool((hz > found.highest).any()):
        raise SampleRateError(
            f"weighting: {found.title} ends at {found.highest:g} Hz and {float(hz.max()):g} Hz came; "
            f"type hz.clamp(max={found.highest:g})."
        )
    return found.gain(hz)


def weighting_db(curve: str, hz: Tensor) -> Tensor:
    """Gain of a weighting curve [dB], minus infinity at 0 Hz; otherwise as ``weighting_gain``."""
    return 20 * weighting_gain(curve, hz).log10()


class Weighting(FrontEnd):
    """A weighting curve as a filter: the curve itself, at every rate, and no change of phase.

    The spectrum of the whole signal is multiplied by the gain. Nothing is designed, so that there is no error towards
    half the rate; what would ring beyond the two ends is cut off.

    Args:
        curve: A row of ``CURVES``.
        sample_rate: Of the signals [Hz].

    Shape:
        (batch, channels, time). Returns that shape.

    Raises:
        ArgumentError: No such curve.
        SampleRateError: A rate that is not above 0, or whose half is above the curve's end.
    """

    rate: Tensor

    def __init__(self, curve: str, sample_rate: float) -> None:
        super().__init__()
        self.curve, self.sample_rate = curve, sample_rate
        found = _curve(curve)
        if not 0 < sample_rate / 2 <= found.highest:
            positive = sample_rate > 0
            needed = f"up to {2 * found.highest:g} Hz" if positive else "above 0 Hz"
            advice = f", and for a measure Resampled(Weighted(..., 48000), {sample_rate})" if positive else ""
            raise SampleRateError(
                f"weighting: {found.title} at sample_rate={sample_rate} came; needed is a rate {needed}; "
                f"use sample_rate=48000{advice}."
            )
        self.constant("rate", torch.tensor(sample_rate, dtype=torch.float64))

    def forward(self, x: Wave) -> Wave:
        """The weighted signal."""
        time = x.shape[-1]
        size = time + math.ceil(_RINGING * self.sample_rate)
        step = 2 ** max(1, size.bit_length() - 4)  # to a length that has a fast transform
        size = -(-size // step) * step
        hz = torch.arange(size // 2 + 1, dtype=self.rate.dtype, device=self.rate.device) * (self.rate / size)
        gain = CURVES[self.curve].gain(hz).to(x.dtype)
        weighted: Tensor = torch.fft.irfft(torch.fft.rfft(x, size) * gain, size)
        return weighted[..., :time]


def _curve(name: str) -> Curve:
    if name not in CURVES:
        raise ArgumentError(f"weighting: curve={name!r} came; needed is one of {', '.join(CURVES)}.")
    return CURVES[name]


def _at_1_khz(shape: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Scaled to 1 there."""
    unity = 1 / float(shape(torch.tensor(1000.0, dtype=torch.float64)))
    return lambda hz: unity * shape(hz)


def _a(hz: Tensor) -> Tensor:
    first, second, third, fourth = (hz.square() + corner**2 for corner in A_CORNERS)
    return hz.square().square() / (first * fourth * (second * third).sqrt())


def _b(hz: Tensor) -> Tensor:
    return _c(hz) * hz / (hz.square() + _B_CORNER**2).sqrt()


def _c(hz: Tensor) -> Tensor:
    low, high = (hz.square() + corner**2 for corner in (A_CORNERS[0], A_CORNERS[-1]))
    return hz.square() / (low * high)


def _d(hz: Tensor) -> Tensor:
    # IEC 537, in radians a second: s (s^2 + 6532 s + 4.0975e7) / ((s + 1776.3) (s + 7288.5) (s^2 + 21514 s + 3.8836e8))
    w = 2 * math.pi * hz
    dip, peak = (4.0975e7 - w.square()).hypot(6532 * w), (3.8836e8 - w.square()).hypot(21514 * w)
    return w * dip / (peak * ((w.square() + 1776.3**2) * (w.square() + 7288.5**2)).sqrt())


def _k(hz: Tensor) -> Tensor:
    angle = 2 * math.pi / K_RATE * hz
    gain = torch.ones_like(hz)
    for above, below in K_STAGES:
        gain = gain * _size(above, angle) / _size(below, angle)
    return gain


def _size(taps: tuple[float, float, float], angle: Tensor) -> Tensor:
    real = taps[0] + taps[1] * angle.cos() + taps[2] * (2 * angle).cos()
    return real.hypot(taps[1] * angle.sin() + taps[2] * (2 * angle).sin())


def _itu468(hz: Tensor) -> Tensor:
    square = hz.square()
    real = sum(factor * square**power for power, factor in enumerate(_468_REAL))
    imaginary = sum(factor * square**power for power, factor in enumerate(_468_IMAGINARY))
    return hz / torch.hypot(torch.as_tensor(real), hz * imaginary)


CURVES = {
    curve.name: curve
    for curve in (
        Curve("A", "A-weighting", _at_1_khz(_a), "iec2013"),
        Curve("B", "B-weighting", _at_1_khz(_b), "iec1979"),
        Curve("C", "C-weighting", _at_1_khz(_c), "iec2013"),
        Curve("D", "D-weighting", _at_1_khz(_d), "iec1976"),
        Curve("K", "K-weighting", _k, "itu2015bs1770", highest=K_RATE / 2),
        Curve("ITU468", "ITU-R 468 weighting", _at_1_khz(_itu468), "itu1986bs468", highest=31_500.0),
    )
}
