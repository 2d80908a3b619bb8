"""The masking threshold: how loud a sound may be beside another and not be heard."""

import math

import torch
from torch import Tensor

from percloss._typing import Bins
from percloss.dsp.safe import db_to_power, log_power
from percloss.dsp.scales import BARK_SCHROEDER, SCALES
from percloss.dsp.stft import power, stft
from percloss.errors import ArgumentError, SampleRateError
from percloss.frontends import Bank, FrontEnd, Stft
from percloss.hearing.quiet import HIGHEST_HZ, threshold_in_quiet
from percloss.hearing.spreading import Spread
from percloss.hearing.temporal import forward_decay, one_pole
from percloss.hearing.tonality import TONE_DB, masking_offset, spectral_flatness, tonality

# Flatness is judged over so many Bark around a band: bins enough to tell a tone from noise at every usual transform.
NEIGHBOURHOOD = 3.0
# Beneath the rounding of a float32 transform of a full-scale sine.
FLATNESS_FLOOR = db_to_power(-140.0)
# A tone that stands out by less than this has too few bins around it to be told from noise.
LEAST_TONE_DB = -10.0


class MaskingThreshold(FrontEnd):
    r"""Power in each band that is just inaudible beside a reference, from the reference's power spectrum only.

    After Johnston: the power in bands of hearing is lowered by an offset that depends on whether it is a tone, spread
    over its neighbours, held for a while (forward masking), and nowhere below the threshold in quiet:

    .. math:: T_t = \max\!\Bigl(T_q,\; M_t,\; (1 - a) \sum_{i \ge 0} a^i M_{t-i}\Bigr), \qquad
              M = \frac{S (10^{-O / 10} P)}{S 1}, \qquad O = \alpha (14.5 + z) + (1 - \alpha)\, 5.5

    It departs from the paper in this. The tonality :math:`\alpha` comes from the spectral flatness around each band and
    not of the whole spectrum, and so every masker has its own offset before it spreads: a tone's skirt is as flat as
    noise, and would otherwise mask more than the tone. It is 1 at the flatness that a steady sine has there at its
    worst place between two bins, or at -60 dB if that is higher: in few bins leakage would make a tone a noise. The
    offset is the same for every spreading, although MPEG-1 and BS.1387 have their own.

    The threshold has no gradient: an estimate shall get below it, never raise it. Powers are in units of a full-scale
    sine, which has exactly 1 when its bands are summed.

    Args:
        sample_rate: Of the signals [Hz].
        stft: The transform whose power spectra will come.
        full_scale_spl: Level at which a full-scale sine is played [dB SPL]; 92 is that of BS.1387.
        scale: On which the bands are equally wide, a key of ``dsp.scales.SCALES``.
        resolution: Width of a band on it, about: bands fill the range up to half the rate or 20 kHz, beyond which
            nothing is heard.
        spreading: A key of ``hearing.spreading.SPREADINGS``.

    Shape:
        (batch, channels, bins, frames) -> (batch, channels, bands, frames)

    References:
        [johnston1988]_; [terhardt1979]_ for the threshold in quiet, [itu2001bs1387]_ for forward masking.
    """

    hz: Tensor
    bark: Tensor
    quiet: Tensor
    decay: Tensor
    near: Tensor
    tone: Tensor

    def __init__(
        self,
        sample_rate: int,
        stft: Stft,
        *,
        full_scale_spl: float = 92.0,
        scale: str = "bark_schroeder",
        resolution: float = 0.25,
        spreading: str = "schroeder",
    ) -> None:
        super().__init__()
        if not sample_rate > 0:
            raise SampleRateError(f"MaskingThreshold: sample_rate={sample_rate} came; type one above 0, as 48000.")
        if scale not in SCALES:
            raise ArgumentError(f"MaskingThreshold: scale={scale!r} came; needed is one of {', '.join(SCALES)}.")
        if not (resolution > 0 and math.isfinite(full_scale_spl)):
            raise ArgumentError(
                f"MaskingThreshold: resolution={resolution}, full_scale_spl={full_scale_spl} came; needed are a width "
                f"above 0 and a finite level; type resolution=0.25, full_scale_spl=92.0."
            )
        self.full_scale_spl = full_scale_spl

        highest = torch.tensor([0, min(sample_rate / 2, HIGHEST_HZ)], dtype=torch.float64)
        low, high = SCALES[scale].from_hz(highest).tolist()
        n_bands = max(1, round((high - low) / resolution))
        edges = torch.linspace(low, high, 2 * n_bands + 1, dtype=torch.float64)
        self.constant("hz", SCALES[scale].to_hz(edges[1::2]))
        self.constant("bark", BARK_SCHROEDER.from_hz(self.hz))
        self.constant("quiet", db_to_power(threshold_in_quiet(self.hz) - full_scale_spl)[:, None])
        self.constant("decay", forward_decay(self.hz, stft.hop_length / sample_rate))
        self.spread = Spread(spreading, self.bark, self.hz, full_scale_spl)

        shares = _shares(SCALES[scale].to_hz(edges[::2]) * stft.n_fft / sample_rate, stft.n_fft)
        window = stft.window.double().cpu()
        # By Parseval's theorem: the power of a sine in all bins over its power in the bin where it peaks.
        leakage = stft.n_fft * window.square().sum() / window.sum().square()
        self.bands = Bank(shares / leakage)
        near = (self.bark[:, None] - self.bark).abs() <= NEIGHBOURHOOD / 2
        bins = (near.double() @ self.bands.bank).sum(1, keepdim=True)
        self.constant("near", near.double() / bins)
        self.constant("tone", self._flatness_of_tones(sample_rate, stft)[:, None])

    def tonality(self, power: Bins) -> Bins:
        """How much what surrounds each band is a tone, from 0 to 1."""
        return tonality(self._flatness(power, self.bands(power)), self.tone.to(power.dtype))

    @torch.no_grad()
    def forward(self, power: Bins) -> Bins:
        """The masking threshold in each band, without a graph."""
        bands = self.bands(power)
        alpha = tonality(self._flatness(power, bands), self.tone.to(power.dtype))
        offset = masking_offset(alpha, self.bark.to(power.dtype)[:, None])
        masked = self.spread(bands, db_to_power(-offset))
        masked = torch.maximum(masked, one_pole(masked, self.decay))
        return torch.maximum(masked, self.quiet.to(power.dtype))

    def _flatness(self, power: Bins, bands: Bins) -> Bins:
        """Spectral flatness around each band [dB], of a power spectrum and what its bands hold."""
        near = self.near.to(power.dtype)
        return spectral_flatness(near @ self.bands(log_power(power, FLATNESS_FLOOR)), near @ bands, FLATNESS_FLOOR)

    def _flatness_of_tones(self, sample_rate: int, transform: Stft) -> Tensor:
        """Spectral flatness around each band of a sine halfway between two bins, the flatter one of two phases [dB]."""
        halfway = ((self.hz / sample_rate * transform.n_fft).floor() + 0.5) / transform.n_fft
        phases = 2 * math.pi * halfway[:, None, None] * torch.arange(transform.n_fft, dtype=torch.float64)
        tones = torch.cat((phases.sin(), phases.cos()), 1)
        spectra = stft(tones, transform.window.double().cpu(), n_fft=transform.n_fft, hop_length=1, center=False)
        spectrum = power(spectra)
        own = self._flatness(spectrum, self.bands(spectrum))[..., 0].diagonal(dim1=0, dim2=2).amax(0)
        return own.clamp(TONE_DB, LEAST_TONE_DB)


def _shares(edges: Tensor, n_fft: int) -> Tensor:
    """The share of each bin, half a bin to both sides of its centre, in each band between edges [bins].

    As bands begin at 0 Hz and end at half the rate, the bins there have half of what others have: the others stand for
    two in a one-sided spectrum.
    """
    centres = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
    return (torch.minimum(centres + 0.5, edges[1:, None]) - torch.maximum(centres - 0.5, edges[:-1, None])).relu()
