"""Spreading: how far along the basilar membrane a sound excites it, as gain over distance in Bark."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from percloss._typing import Bins
from percloss.dsp.safe import db_to_power, log_power
from percloss.errors import ArgumentError
from percloss.frontends import FrontEnd

# Slopes over level were measured up to here [dB SPL].
LOUDEST = 100.0
# Far below any threshold; the slope over level ends here too [dB SPL].
SILENCE = -60.0
# Elements that level-dependent spreading holds at a time.
_CHUNK = 2**22


def schroeder(dz: Tensor) -> Tensor:
    r"""Gain at a distance [dB], the same at every level.

    .. math:: 15.81 + 7.5 (\Delta z + 0.474) - 17.5 \sqrt{1 + (\Delta z + 0.474)^2}

    Args:
        dz: Place of the masked sound less that of the masker [Bark].

    References:
        [schroeder1979]_.
    """
    shifted = dz + 0.474
    return 15.81 + 7.5 * shifted - 17.5 * (1 + shifted.square()).sqrt()


def mpeg1_model1(dz: Tensor, level: Tensor) -> Tensor:
    """Gain at a distance from a masker of some level [dB]: straight lines, from -3 to 8 Bark and nothing beyond.

    Args:
        dz: Place of the masked sound less that of the masker [Bark].
        level: Of the masker [dB SPL].

    References:
        [iso1993]_, Annex D.1.
    """
    gain = torch.where(dz < 0, (0.4 * level + 6) * dz, -17 * dz)
    gain = torch.where(dz < -1, 17 * (dz + 1) - (0.4 * level + 6), gain)
    gain = torch.where(dz >= 1, -(dz - 1) * (17 - 0.15 * level) - 17, gain)
    return torch.where((dz >= -3) & (dz < 8), gain, -math.inf)


def mpeg1_model2(dz: Tensor) -> Tensor:
    """Gain at a distance [dB], the same at every level; nothing below -100 dB.

    Args:
        dz: Place of the masked sound less that of the masker [Bark].

    References:
        [iso1993]_, Annex D.2.
    """
    stretched = 1.05 * dz
    dip = 8 * ((stretched - 0.5).square() - 2 * (stretched - 0.5)).clamp(max=0)
    shifted = stretched + 0.474
    slope = 15.811389 + 7.5 * shifted - 17.5 * (1 + shifted.square()).sqrt()
    return torch.where(slope >= -100, dip + slope, -math.inf)


def peaq(dz: Tensor, level: Tensor, hz: Tensor) -> Tensor:
    """Gain at a distance from a masker of some level [dB]: 27 dB/Bark below it, and above less the louder it is.

    Args:
        dz: Place of the masked sound less that of the masker [Bark].
        level: Of the masker [dB SPL].
        hz: Frequency of the masker [Hz].

    References:
        [itu2001bs1387]_; the slopes are Terhardt's, [terhardt1979]_.
    """
    return torch.where(dz < 0, 27 * dz, (-24 - 230 / hz + 0.2 * level) * dz)


@dataclass(frozen=True)
class Spreading:
    """One way a masker is said to spread.

    Attributes:
        name: Key in :data:`SPREADINGS`.
        title: Name for people, with its source.
        gain: Distance [Bark], masker's level [dB SPL] and frequency [Hz] to gain [dB]; affine in the level.
        by_level: Whether the level matters. The energy of such a masker is kept: its gains are made to sum to 1.
        exponent: Powers from several maskers add after being raised to it.
    """

    name: str
    title: str
    gain: Callable[[Tensor, Tensor, Tensor], Tensor]
    by_level: bool = False
    exponent: float = 1.0

    def matrix(self, bark: Tensor, hz: Tensor, level: Tensor) -> Tensor:
        """Gain of every band from every band [dB]: rows are masked, columns mask.

        Args:
            bark: Places of the bands [Bark].
            hz: Their frequencies [Hz].
            level: Level in each of them [dB SPL].

        Shape:
            bark, hz, level: (bands,). Returns (bands, bands).
        """
        return self.gain(bark[:, None] - bark, level.expand_as(bark)[None], hz[None])


SPREADINGS = {
    spreading.name: spreading
    for spreading in (
        Spreading("schroeder", "Schroeder, Atal and Hall 1979", lambda dz, level, hz: schroeder(dz)),
        Spreading("mpeg1_model1", "MPEG-1 model 1", lambda dz, level, hz: mpeg1_model1(dz, level), by_level=True),
        Spreading("mpeg1_model2", "MPEG-1 model 2", lambda dz, level, hz: mpeg1_model2(dz)),
        Spreading("peaq", "PEAQ (BS.1387)", peaq, by_level=True, exponent=0.4),
    )
}


class Spread(FrontEnd):
    r"""Power in bands after spreading, such that a flat spectrum stays flat.

    Where the level does not matter this is one product with a matrix, :math:`S P / S 1`. Where it does, every masker
    :math:`j` has a column of its own, made to sum to 1, and powers add after being raised to the exponent:

    .. math:: \Bigl(\sum_j (S_{kj}(P_j) P_j)^p\Bigr)^{1 / p}

    divided by what that is for a power of 0 dB SPL in every band, as in BS.1387.

    Args:
        spreading: A key of ``SPREADINGS``.
        bark: Places of the bands [Bark].
        hz: Their frequencies [Hz].
        full_scale_spl: Level of power 1 [dB SPL].

    Shape:
        power, share: (batch, channels, bands, frames). Returns that shape.
    """

    gain: Tensor
    slope: Tensor
    flat: Tensor

    def __init__(self, spreading: str, bark: Tensor, hz: Tensor, full_scale_spl: float) -> None:
        super().__init__()
        if spreading not in SPREADINGS:
            raise ArgumentError(f"spreading: {spreading!r} came; needed is one of {', '.join(SPREADINGS)}.")
        self.spreading = spreading
        self.full_scale_spl = full_scale_spl
        chosen = SPREADINGS[spreading]
        gain = chosen.matrix(bark, hz, torch.zeros_like(bark))
        if not chosen.by_level:
            gain = db_to_power(gain)
            self.constant("gain", gain / gain.sum(1, keepdim=True))
            return
        slope = chosen.matrix(bark, hz, torch.ones_like(bark)) - gain
        self.constant("gain", math.log(10) / 10 * gain)
        self.constant("slope", math.log(10) / 10 * torch.where(gain.isfinite(), slope, 0))
        ones = torch.ones(1, len(bark), dtype=torch.float64)
        self.constant("flat", self._by_level(ones, 0 * ones))

    def forward(self, power: Bins, share: Bins | float = 1.0) -> Bins:
        """The spread power, or that of a share of each masker, which spreads as its whole level has it."""
        if not SPREADINGS[self.spreading].by_level:
            return self.gain.to(power.dtype) @ (share * power)
        rows = power.transpose(-1, -2)
        silence = db_to_power(SILENCE - self.full_scale_spl)
        level = (10 / math.log(10) * log_power(rows, silence) + self.full_scale_spl).clamp(max=LOUDEST)
        chunk = max(1, _CHUNK // len(self.gain) ** 2)
        masking = (share * power).transpose(-1, -2)
        pairs = zip(masking.flatten(0, -2).split(chunk), level.flatten(0, -2).split(chunk), strict=True)
        spread = torch.cat([self._by_level(*pair) for pair in pairs]) / self.flat.to(power.dtype)
        return spread.view(rows.shape).transpose(-1, -2)

    def _by_level(self, power: Tensor, level: Tensor) -> Tensor:
        """Of rows of bands, (rows, bands)."""
        exponent = SPREADINGS[self.spreading].exponent
        gain = (self.gain.to(power.dtype) + self.slope.to(power.dtype) * level[:, None]).exp()
        kept = power / gain.sum(1)
        return (gain**exponent @ kept[..., None] ** exponent)[..., 0] ** (1 / exponent)
