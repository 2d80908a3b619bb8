"""auraloss.perceptual: sum and difference of stereo, and the filters before a loss."""

import math

import torch
from torch import Tensor, nn

from percloss.compat.auraloss.utils import Forgetful, checked, float32, follow
from percloss.errors import ArgumentError, SampleRateError, ShapeError
from percloss.frontends import FrontEnd
from percloss.hearing.weighting import A_CORNERS, Weighting, weighting_gain

# IEC 61672-1: level of the A curve at 1 kHz without gain [dB].
_AT_1_KHZ = -1.9997


class SumAndDifference(nn.Module):
    """Left plus right and left minus right, neither scaled."""

    def __init__(self, *, legacy: bool = False) -> None:
        super().__init__()
        self.legacy = legacy  # the same either way: every constructor takes it

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, 2, time)`` to twice ``(batch, 1, time)``."""
        if x.dim() != 3 or x.shape[1] != 2:
            raise ShapeError(f"SumAndDifference: got {tuple(x.shape)}; needed is stereo, (batch, 2, time).")
        return self.sum(x)[:, None], self.diff(x)[:, None]

    @staticmethod
    def sum(x: Tensor) -> Tensor:
        """Left plus right, ``(batch, time)``."""
        return x[:, 0] + x[:, 1]

    @staticmethod
    def diff(x: Tensor) -> Tensor:
        """Left minus right, ``(batch, time)``."""
        return x[:, 0] - x[:, 1]


class FIRFilter(Forgetful, FrontEnd):
    """High-pass ``"hp"``, folded differentiator ``"fd"`` or A-weighting ``"aw"`` of a pair, of its own length.

    A-weighting is the curve itself at every sample rate, applied to the spectrum of the whole signal without a change
    of phase; ``ntaps`` counts in legacy only. ``plot`` must be left ``False``.
    """

    saved = ("fir.weight",)
    taps: Tensor | None

    def __init__(
        self,
        filter_type: str = "hp",
        coef: float = 0.85,
        fs: float = 44100,
        ntaps: int = 101,
        plot: bool = False,
        *,
        legacy: bool = False,
    ) -> None:
        super().__init__()
        self.filter_type = checked("filter_type", filter_type, ("hp", "fd", "aw"))
        self.coef, self.fs, self.ntaps, self.plot, self.legacy = coef, fs, ntaps, plot, legacy
        if ntaps % 2 == 0:
            raise ArgumentError(f"FIRFilter: got ntaps={ntaps}; needed is an odd number: ntaps={ntaps + 1}.")
        if plot:
            raise ArgumentError("FIRFilter: got plot=True; it draws nothing; leave plot=False.")
        if not fs > 0:
            raise SampleRateError(f"FIRFilter: got fs={fs}; needed is a rate above 0 Hz: fs=44100.")
        if filter_type == "aw" and not legacy:
            self.taps = None
            self.weighting = Weighting("A", fs)
        else:
            taps = {"hp": [1.0, -coef, 0.0], "fd": [1.0, 0.0, -coef]}.get(filter_type) or _a_taps(fs, ntaps)
            self.constant("taps", float32(torch.tensor(taps, dtype=torch.float64)))

    def forward(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Both signals filtered: ``(batch, channels, time)``, in legacy ``(batch, 1, time)``."""
        follow(self, input)
        return self._filtered(input), self._filtered(target)

    def _filtered(self, x: Tensor) -> Tensor:
        if self.taps is None:
            weighted: Tensor = self.weighting(x)
            return weighted
        kernel = self.taps.to(x.dtype)[None, None]
        if self.legacy:
            return nn.functional.conv1d(x, kernel, padding=self.ntaps // 2)
        return nn.functional.conv1d(x.reshape(-1, 1, x.shape[-1]), kernel, padding=1).view_as(x)


def a_curve(hz: Tensor) -> Tensor:
    """Magnitude of the A curve of IEC 61672-1, 1 at 1 kHz."""
    return weighting_gain("A", hz)


def _a_taps(sample_rate: float, count: int) -> list[float]:
    """The least-squares fit to the curve's bilinear transform, whose ends are far off: legacy only."""
    from scipy import signal

    low, second, third, high = (2 * math.pi * corner for corner in A_CORNERS)
    analogue = signal.zpk2tf([0.0] * 4, [-low, -low, -second, -third, -high, -high], high**2 * 10 ** (-_AT_1_KHZ / 20))
    hz, response = signal.freqz(*signal.bilinear(*analogue, fs=sample_rate), worN=512, fs=sample_rate)
    taps: list[float] = signal.firls(count, hz, abs(response), fs=sample_rate).tolist()
    return taps
