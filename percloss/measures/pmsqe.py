"""PMSQE: the disturbances of PESQ's perceptual model, frame by frame, as a loss."""

import torch

from percloss._typing import Bins, PerItem, Spectrum
from percloss.dsp.safe import db_to_power, undefined_where
from percloss.dsp.stft import power
from percloss.engine import SpectralMeasure
from percloss.frontends import Stft
from percloss.hearing import p862
from percloss.measure import check_rate, register
from percloss.spec import Spec

# The weights that P.862 gives the two disturbances.
SYMMETRIC, ASYMMETRIC = 0.1, 0.0309
# Added to the mean square before it is divided by: a signal this far below full scale is on its way to silence.
LEVEL_FLOOR = db_to_power(-140.0)
# A signal's mean square is a third of the sum of its power spectrum, in which a full-scale sine peaks at 1: of the
# Hann window's mean square (3/8) over its squared mean (1/4), and a sine's mean square (1/2).
SPECTRUM_TO_MEAN_SQUARE = 1 / 3
# From 350 to 3250 Hz, of bins 31.25 Hz apart: the first counts 0.4 and the last one half.
LEVEL_BINS = (11, 104)


@register
class PMSQE(SpectralMeasure):
    r"""Perceptual metric for speech quality evaluation.  Lower is better; 0 where est is ref, and at most 5.89.

    The symmetric and asymmetric disturbance of PESQ's perceptual model, of each frame:

    .. math:: \frac{1}{N} \sum_n \bigl(0.1\, D_n + 0.0309\, A_n\bigr)

    as 4.5 minus it would be PESQ's raw score, if that took the mean over frames and aligned time. Both signals are
    brought to the same level between 350 and 3250 Hz; a linear filter is compensated within 20 dB, and the gain of each
    frame. So it hears neither level nor, much, colour: put a loss beside it that does, as the authors add the mean
    square error. It does not hear phase.

    It takes power spectra, and makes them itself, under the Hann window of P.862; implementations that leave it to the
    caller have been fed magnitudes. As they do, and other than in P.862, the transfer function is that of powers summed
    over frames and not their mean, bands count from 0 Hz, and the gain of a frame does not follow from the one before.

    Args:
        sample_rate: 8000 or 16000 [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where the reference is silent.

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> PMSQE(16_000)(0.5 * ref, ref)
        tensor([[0.]])

    References:
        [martindonas2018]_; [itu2001]_ for the model.
    """

    spec = Spec(
        name="pmsqe",
        title="Perceptual metric for speech quality evaluation",
        unit="1",
        better="lower",
        bounds=(0.0, 5.8906),  # the largest disturbance of either kind, in every frame
        perfect=0.0,
        sample_rates=frozenset(p862.SAMPLE_RATES),
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("martindonas2018", "itu2001"),
    )

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        check_rate(self.spec, sample_rate)
        self.sample_rate = sample_rate
        self.model = p862.PerceptualModel(sample_rate, first=0)
        self.transform(Stft(self.model.n_fft, self.model.n_fft // 2))

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        ref_power = power(ref)
        est_bands, ref_bands = self.bands(power(est)), self.bands(ref_power)
        counted = self.model.outstanding(ref_bands) & self.model.speech(ref_bands)
        est_sum, ref_sum = (torch.where(counted, x, 0).sum(-1, keepdim=True) for x in (est_bands, ref_bands))
        est_bands = est_bands * p862.transfer(ref_sum, est_sum)
        audible = (self.model.audible_power(bands) for bands in (est_bands, ref_bands))
        est_bands = est_bands * p862.gain(*audible).clamp(*p862.GAIN_BOUNDS)
        symmetric, asymmetric = self.model.disturbance(est_bands, ref_bands)
        value = (SYMMETRIC * symmetric + ASYMMETRIC * asymmetric).mean(-1)
        return undefined_where((ref_power == 0).flatten(2).all(-1), value)

    def bands(self, bins: Bins) -> Bins:
        """Band powers at the listening level, of a power spectrum at any level."""
        first, last = LEVEL_BINS
        in_band = bins[:, :, first : last + 1].sum(2) - 0.6 * bins[:, :, first] - 0.5 * bins[:, :, last]
        level = SPECTRUM_TO_MEAN_SQUARE * in_band.mean(-1)
        unscaled = p862.LEVEL * (self.model.n_fft / 4) ** 2
        return self.model(unscaled * (bins / (level + LEVEL_FLOOR)[..., None, None]))  # type: ignore[no-any-return]
