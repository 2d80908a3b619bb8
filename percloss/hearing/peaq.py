"""The ear that PEAQ listens with: BS.1387's model on the Fourier transform, from a signal to what excites the nerve."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import pad

from percloss._typing import Bins, Wave
from percloss.dsp.safe import db_to_power
from percloss.dsp.scales import BARK_SCHROEDER
from percloss.dsp.stft import power, stft
from percloss.errors import ArgumentError
from percloss.frontends import Bank, FrontEnd
from percloss.hearing.quiet import internal_noise, outer_middle_ear
from percloss.hearing.spreading import LOUDEST, SPREADINGS
from percloss.hearing.temporal import forward_decay, one_pole

Variant = Literal["kabal", "gstpeaq"]

SAMPLE_RATE = 48_000
FRAME, HOP = 2048, 1024
# Bands of a quarter Bark from 80 Hz to 18 kHz, the last one narrower.
LOWEST_HZ, HIGHEST_HZ, RESOLUTION = 80.0, 18_000.0, 0.25
BANDS = 109
# Of samples of 16 bits, in whose units the Recommendation has its thresholds.
FULL_SCALE = 32_768.0
# A full-scale sine of this frequency is played at this level [dB SPL].
CALIBRATION_HZ, FULL_SCALE_SPL = 1019.5, 92.0
# Where the Recommendation's printed table of edges departs from its formula: band, lower or upper edge [Hz].
MISPRINTED_LOWER, MISPRINTED_UPPER = {66: 3853.817}, {28: 933.113, 70: 4643.482}
# Powers of several maskers add after being raised to this.
SPREADING_EXPONENT = 0.4
# Time constants at 100 Hz [s]: of forward masking, and of adaptation and modulation. At high frequencies it is 8 ms.
MASKING_SECONDS, ADAPTATION_SECONDS = 0.030, 0.050
# Of loudness, as a power of excitation: a rough one for modulation, and Zwicker's.
MODULATION_EXPONENT, LOUDNESS_EXPONENT = 0.3, 0.23
LOUDNESS_SCALE = 1.07664
# Bands below and above that the correction of a band is averaged with.
NEIGHBOURS = (3, 4)
# Rows of bands that are spread at a time: what fits a core's cache, and what keeps a GPU busy.
CHUNK_CPU, CHUNK_GPU = 128, 4096


class PEAQEar(FrontEnd):
    """The peripheral ear of BS.1387's basic version, stage by stage. Powers are in units of 0 dB SPL.

    Two programs fill in what the Recommendation leaves open. ``"kabal"`` is P. Kabal's PQevalAudio: its edges of bands
    are printed ones, to the third decimal and with three misprints, and a signal's last frame ends with it.
    ``"gstpeaq"`` is M. Holters' GstPEAQ: its edges are the formula's, and one more frame is filled up with zeros.

    Excitation of 100 dB SPL in a band is as far as spreading widens with the level; a signal within full scale does not
    exceed that.

    Args:
        variant: Which program to follow.

    Shape:
        (batch, channels, time) at 48 kHz -> (batch, channels, 1025, frames) or (batch, channels, 109, frames)

    References:
        [itu2001bs1387]_; [kabal2002]_ for what it leaves open; [thiede2000]_ for why.
    """

    window: Tensor
    weight: Tensor
    hz: Tensor
    noise: Tensor
    quiet: Tensor
    share: Tensor
    masking_decay: Tensor
    adaptation_decay: Tensor
    offset: Tensor
    neighbours: Tensor
    slope: Tensor
    by_level: Tensor
    below: Tensor
    given_below: Tensor
    above: Tensor
    flat: Tensor

    def __init__(self, variant: Variant = "kabal") -> None:
        super().__init__()
        if variant not in get_args(Variant):
            raise ArgumentError(
                f"peaq: got variant={variant!r}; needed is one of {', '.join(map(repr, get_args(Variant)))}."
            )
        self.variant = variant
        self.constant("window", _gain() * torch.hann_window(FRAME, periodic=False, dtype=torch.float64))
        #: Mean power in a bin of what rounding to 16 bits adds.
        self.rounding = float(self.window.square().sum() / (12 * FULL_SCALE**2))
        bins = torch.arange(FRAME // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FRAME
        self.constant("weight", db_to_power(outer_middle_ear(bins))[:, None])
        lower, centre, upper = bands(variant)
        width = SAMPLE_RATE / FRAME
        shares = torch.minimum(bins + width / 2, upper[:, None]) - torch.maximum(bins - width / 2, lower[:, None])
        self.group = Bank(shares.relu() / width)
        self.constant("hz", centre)
        self.constant("noise", db_to_power(internal_noise(centre))[:, None])
        self.constant("quiet", db_to_power(2.5 * internal_noise(centre))[:, None])
        share_db = -2 - 2.05 * (centre / 4000).atan() - 0.75 * (centre / 1600).square().atan()
        self.constant("share", db_to_power(share_db)[:, None])
        hop = HOP / SAMPLE_RATE
        self.constant("masking_decay", forward_decay(centre, hop, at_100_hz=MASKING_SECONDS))
        self.constant("adaptation_decay", forward_decay(centre, hop, at_100_hz=ADAPTATION_SECONDS))
        place = RESOLUTION * torch.arange(BANDS, dtype=torch.float64)
        self.constant("offset", db_to_power(torch.where(place <= 12, 3, 0.25 * place))[:, None])
        away = torch.arange(BANDS) - torch.arange(BANDS)[:, None]
        near = ((away >= -NEIGHBOURS[0]) & (away <= NEIGHBOURS[1])).double()
        self.constant("neighbours", near / near.sum(1, keepdim=True))
        self._constants_of_spreading(place)

    def _constants_of_spreading(self, place: Tensor) -> None:
        """Of ``spread``: logarithms of ratios of power, masked bands in rows and maskers in columns."""
        gain, unit = SPREADINGS["peaq"].gain, math.log(10) / 10
        one, none = torch.ones_like(self.hz), torch.zeros_like(self.hz)
        step, distance = torch.tensor(RESOLUTION, dtype=torch.float64), place[:, None] - place
        self.constant("slope", unit * gain(step, none, self.hz))
        self.constant("by_level", unit * (gain(step, one, self.hz) - gain(step, none, self.hz)))
        self.constant("below", unit * gain(distance.clamp(max=0), none, self.hz))
        self.constant("given_below", self.below.exp().triu(1).sum(0))
        self.constant("above", distance.clamp(min=0) / RESOLUTION)
        self.constant("flat", self._spread(torch.ones(1, BANDS, dtype=torch.float64))[0])

    def count(self, time: int) -> int:
        """Frames that a signal of so many samples has, one at least."""
        return max(1, time // HOP if self.variant == "kabal" else -(-time // HOP))

    def framed(self, x: Wave) -> Tensor:
        """The signal and as many zeros as its last frame wants."""
        return pad(x, (0, (self.count(x.shape[-1]) + 1) * HOP - x.shape[-1]))

    def spectrum(self, x: Wave) -> Bins:
        """Power in each bin."""
        return power(stft(self.framed(x), self.window.to(x.dtype), n_fft=FRAME, hop_length=HOP, center=False))

    def weighted(self, spectrum: Bins) -> Bins:
        """Power in each bin behind the outer and middle ear."""
        return spectrum * self.weight.to(spectrum.dtype)

    def pattern(self, weighted: Bins) -> Bins:
        """Power in each band, and the noise of the ear itself."""
        pattern: Bins = self.group(weighted) + self.noise.to(weighted.dtype)
        return pattern

    def spread(self, pattern: Bins) -> Bins:
        r"""Power in each band after it has spread along the basilar membrane: the unsmeared excitation.

        A band excites those below it by 27 dB/Bark less, and those above by :math:`24 + 230 / f - 0.2 L` dB/Bark less;
        what it gives to all of them sums up to its power. Powers of several maskers add after being raised to 0.4, and
        the sum is divided by what it is for 0 dB SPL in every band.
        """
        rows = pattern.transpose(-1, -2)
        chunk = CHUNK_GPU if rows.is_cuda else CHUNK_CPU
        spread = torch.cat([self._spread(some) for some in rows.flatten(0, -2).split(chunk)])
        return (spread / self.flat.to(rows.dtype)).view(rows.shape).transpose(-1, -2)

    def _spread(self, rows: Tensor) -> Tensor:
        """Of rows of bands, (rows, bands), without the division."""
        slope, by_level, below, given_below, above = (
            x.to(rows.dtype) for x in (self.slope, self.by_level, self.below, self.given_below, self.above)
        )
        log = rows.log()
        # What a masker gives to a band, over what it gives to the band below that: a geometric series.
        upward = slope + by_level * (10 / math.log(10) * log).clamp(max=LOUDEST)
        given = torch.expm1((above[-1] + 1) * upward) / torch.expm1(upward) + given_below
        gain = torch.addcmul(SPREADING_EXPONENT * below, above, SPREADING_EXPONENT * upward[:, None]).exp()
        kept = (SPREADING_EXPONENT * (log - given.log())).exp()
        return (gain @ kept[..., None])[..., 0] ** (1 / SPREADING_EXPONENT)

    def smeared(self, unsmeared: Bins) -> Bins:
        """Excitation, held for a while after a sound has ended."""
        return torch.maximum(one_pole(unsmeared, self.masking_decay), unsmeared)

    def modulation(self, unsmeared: Bins) -> tuple[Bins, Bins]:
        r"""How fast the loudness of each band changes, and its average over time.

        .. math:: M = \frac{\overline{|\partial_t E^{0.3}|}}{1 + \overline{E^{0.3}} / 0.3}
        """
        loud = unsmeared**MODULATION_EXPONENT
        change = (loud - pad(loud[..., :-1], (1, 0))).abs() * (SAMPLE_RATE / HOP)
        average = one_pole(loud, self.adaptation_decay)
        return one_pole(change, self.adaptation_decay) / (1 + average / MODULATION_EXPONENT), average

    def adapted(self, est: Bins, ref: Bins) -> tuple[Bins, Bins]:
        """Excitations brought to the same level and the same spectrum, as the ear gets used to slow differences."""
        decay = self.adaptation_decay
        est_slow, ref_slow = one_pole(est, decay), one_pole(ref, decay)
        louder = ((est_slow * ref_slow).sqrt().sum(-2, True) / est_slow.sum(-2, True)).square()
        est, ref = est * louder.clamp(max=1), ref / louder.clamp(min=1)
        ratio = one_pole(est * ref, decay) / one_pole(ref.square(), decay)
        neighbours = self.neighbours.to(est.dtype)
        est_gain, ref_gain = (
            one_pole(neighbours @ gain, decay) for gain in ((1 / ratio).clamp(max=1), ratio.clamp(max=1))
        )
        return est * est_gain, ref * ref_gain

    def loudness(self, excitation: Bins) -> Tensor:
        """Loudness in each frame [sone], (batch, channels, frames)."""
        quiet, share = self.quiet.to(excitation.dtype), self.share.to(excitation.dtype)
        scale = LOUDNESS_SCALE * (quiet / (1e4 * share)) ** LOUDNESS_EXPONENT
        loud = scale * ((1 - share + share * excitation / quiet) ** LOUDNESS_EXPONENT - 1)
        return 24 / BANDS * loud.clamp(min=0).sum(-2)


def bands(variant: Variant) -> tuple[Tensor, Tensor, Tensor]:
    """Lower edges, centres and upper edges of the bands [Hz]."""
    low, high = BARK_SCHROEDER.from_hz(torch.tensor([LOWEST_HZ, HIGHEST_HZ], dtype=torch.float64)).tolist()
    lower = low + RESOLUTION * torch.arange(BANDS, dtype=torch.float64)
    upper = (lower + RESOLUTION).clamp(max=high)
    edges, centre, ends = (BARK_SCHROEDER.to_hz(place) for place in (lower, (lower + upper) / 2, upper))
    if variant == "gstpeaq":
        return edges, centre, ends
    edges, centre, ends = (x.round(decimals=3) for x in (edges, centre, ends))
    for table, misprints in ((edges, MISPRINTED_LOWER), (ends, MISPRINTED_UPPER)):
        for band, printed in misprints.items():
            table[band] = printed
    return edges, centre, ends


def _gain() -> float:
    """What the window is multiplied by so that a full-scale sine has its level in the bin where it peaks."""
    cycles = CALIBRATION_HZ * FRAME / SAMPLE_RATE
    off = min(cycles % 1, 1 - cycles % 1) * (FRAME - 1) / FRAME
    peak = math.sin(math.pi * off) / (math.pi * off * (1 - off**2))
    return float(10 ** (FULL_SCALE_SPL / 20) / (peak * (FRAME - 1) / 4))
