"""Error as it is heard: against the masking threshold of the reference."""

import dataclasses
import math
from abc import abstractmethod
from typing import Literal

import torch

from percloss._typing import Bins, PerItem, Spectrum
from percloss.dsp.safe import db_to_power, magnitude, ratio_db, undefined_where
from percloss.dsp.stft import power
from percloss.engine import Closed, Pair, SpectralMeasure
from percloss.errors import ArgumentError, SampleRateError
from percloss.frontends import Stft
from percloss.hearing.masking import MaskingThreshold
from percloss.measure import register
from percloss.spec import Spec

BOUNDS = (0.0, math.inf)
DB = 10 / math.log(10)
# The window of BS.1387, 2048 samples at 48 kHz. Shorter ones do not resolve the low bands, longer ones smear onsets.
WINDOW_SECONDS = 2048 / 48_000
# Added to a power before its root: far below any threshold, and the slope at 0 is still a number.
MAGNITUDE_FLOOR = db_to_power(-150.0)


class MaskingMeasure(SpectralMeasure):
    """A measure of the error in bands of hearing against the masking threshold of the reference.

    The threshold, ``hearing.masking.MaskingThreshold``, comes from the reference only and has no gradient. It is
    nowhere below the threshold in quiet, so that a silent reference is one like any other, and at what level a listener
    plays a full-scale sine is part of the number.
    """

    def __init__(
        self,
        sample_rate: int,
        *,
        n_fft: int | None = None,
        hop_length: int | None = None,
        full_scale_spl: float = 92.0,
        spreading: str = "schroeder",
        error: Literal["complex", "magnitude"] = "complex",
    ) -> None:
        super().__init__()
        if not sample_rate > 0:
            raise SampleRateError(f"{self.spec.name}: got sample_rate={sample_rate}; needed is one above 0, as 48_000.")
        if error not in ("complex", "magnitude"):
            raise ArgumentError(f"{self.spec.name}: got error={error!r}; needed is 'complex' or 'magnitude'.")
        self.sample_rate, self.n_fft, self.hop_length = sample_rate, n_fft, hop_length
        self.full_scale_spl, self.spreading, self.error = full_scale_spl, spreading, error
        nearest = 2 ** max(1, round(math.log2(sample_rate * WINDOW_SECONDS)))
        self.transform(Stft(nearest if n_fft is None else n_fft, hop_length))
        self.threshold = MaskingThreshold(sample_rate, self.front, full_scale_spl=full_scale_spl, spreading=spreading)
        if error == "magnitude":
            self.spec = dataclasses.replace(self.spec, invariant_to=self.spec.invariant_to | {"polarity"})

    @abstractmethod
    def judge(self, error: Bins, ref_power: Bins) -> PerItem:
        """The equation, of the power of the error in each band and the power spectrum of the reference."""

    def noise_to_mask(self, error: Bins, ref_power: Bins) -> Bins:
        """The power of the error over the masking threshold in each band: above 1 it is heard."""
        threshold: Bins = self.threshold(ref_power)
        return error / threshold

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        if self.error == "complex":
            error = power(est - ref)
        else:
            error = (magnitude(power(est), MAGNITUDE_FLOOR) - magnitude(power(ref), MAGNITUDE_FLOOR)).square()
        return self.judge(self.threshold.bands(error), power(ref))

    def closed(self, pair: Pair) -> Closed:
        if self.error == "complex":
            error = pair.error_power
        else:
            est, ref = pair.magnitudes(MAGNITUDE_FLOOR)
            error = (est - ref).square()
        bands = self.threshold.bands(error).requires_grad_()
        with torch.enable_grad():  # in bands, of which there are a tenth as many as bins
            value = self.judge(bands, pair.ref_power)
            (of_bands,) = torch.autograd.grad(value.sum(), bands)
        twice = self.threshold.bands.adjoint(2 * of_bands)
        if self.error == "complex":
            return Closed(value.detach(), twice, -twice)
        return Closed(value.detach(), twice * (1 - ref / est))


@register
class NMR(MaskingMeasure):
    r"""Noise-to-mask ratio, in dB.  Lower is better; near 0 dB and below the error is masked.

    .. math:: 10 \log_{10} \frac{1}{KN} \sum_{k,n} \frac{E_{kn}}{T_{kn}}

    of the error's power :math:`E` and the masking threshold :math:`T` in bands :math:`k` of frames :math:`n`, between
    -140 and 140 dB. The error is that of the complex spectra, or of their magnitudes as in BS.1387, which does not hear
    phase; the total NMR of BS.1387 has another threshold and is another number.

    **It is won by muting.** The error of a silent estimate is the reference, which almost masks itself; that of a noisy
    one stands where nothing masks it. On speech silence scores 5 dB, and white noise at an SNR of 20 dB scores 21 to
    27 dB. Neither train on it alone nor rank systems by it alone. SI-SDR beside it refuses silence, but at no weight an
    estimate that is turned down. SNR refuses both: ``WeightedSum([(1.0, SNRLoss()), (0.1, NMRLoss(rate))])`` likes
    speech in white noise at 5 dB and above better than silence, and of spectral subtraction at any strength and level
    what has the level of the reference; at 0.2 in place of 0.1 it does not always.

    Args:
        sample_rate: Of both signals [Hz].
        n_fft: Transform length [samples]; ``None`` is the power of two nearest to 43 ms.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        full_scale_spl: Level at which a full-scale sine is played [dB SPL].
        spreading: How maskers spread, a key of ``hearing.spreading.SPREADINGS``.
        error: Of complex spectra or of magnitudes.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> NMR(16_000)(ref, ref)
        tensor([[-140.]])

    References:
        [brandenburg1987]_; [johnston1988]_ for the threshold.
    """

    spec = Spec(
        name="nmr",
        title="Noise-to-mask ratio",
        unit="dB",
        better="lower",
        bounds=(-140.0, 140.0),
        perfect=-140.0,
        cite=("brandenburg1987", "johnston1988"),
    )

    def judge(self, error: Bins, ref_power: Bins) -> PerItem:
        ratio = self.noise_to_mask(error, ref_power).flatten(2).mean(-1)
        return ratio_db(ratio, torch.ones_like(ratio))


@register
class CompressiveNMR(MaskingMeasure):
    r"""Compressive noise-to-mask ratio, in dB.  Lower is better; 0 dB where there is no error.

    .. math:: \frac{1}{KN} \sum_{k,n} 10 \log_{10}\!\Bigl(1 + \frac{E_{kn}}{T_{kn}}\Bigr)

    Each band counts by how far its error stands out, in dB, so that the loudest does not speak for all as in ``NMR``,
    and what is masked costs next to nothing: as a loss it pours noise under the threshold. Symbols are those of
    ``NMR``.

    **It is won by muting**, as ``NMR`` is: on speech silence scores 5 dB, and white noise at an SNR of 20 dB scores 9
    to 11 dB. ``WeightedSum([(1.0, SNRLoss()), (0.25, CompressiveNMRLoss(rate))])`` is not, in the sense of ``NMR``.

    Args:
        sample_rate: Of both signals [Hz].
        n_fft: Transform length [samples]; ``None`` is the power of two nearest to 43 ms.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        full_scale_spl: Level at which a full-scale sine is played [dB SPL].
        spreading: How maskers spread, a key of ``hearing.spreading.SPREADINGS``.
        error: Of complex spectra or of magnitudes.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> CompressiveNMR(16_000)(ref, ref)
        tensor([[0.]])

    References:
        [brandenburg1987]_ for the ratio, [johnston1988]_ for the threshold.
    """

    spec = Spec(
        name="compressive_nmr",
        title="Compressive noise-to-mask ratio",
        unit="dB",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        cite=("brandenburg1987", "johnston1988"),
    )

    def judge(self, error: Bins, ref_power: Bins) -> PerItem:
        return DB * self.noise_to_mask(error, ref_power).log1p().flatten(2).mean(-1)


@register
class MaskedError(MaskingMeasure):
    r"""Squared error weighted by the inverse of the masking threshold.  Lower is better; 0 where there is no error.

    .. math:: \frac{1}{KN} \sum_{k,n} \frac{E_{kn}}{T_{kn}}

    The mean square error for an ear: quadratic in the error, and 1 where it is as loud as it may be. ``NMR`` is this in
    dB, so **it is won by muting** in the same way and needs the same company.

    Args:
        sample_rate: Of both signals [Hz].
        n_fft: Transform length [samples]; ``None`` is the power of two nearest to 43 ms.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        full_scale_spl: Level at which a full-scale sine is played [dB SPL].
        spreading: How maskers spread, a key of ``hearing.spreading.SPREADINGS``.
        error: Of complex spectra or of magnitudes.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> MaskedError(16_000)(ref, ref)
        tensor([[0.]])

    References:
        [schroeder1979]_ for weighting noise by what masks it, [johnston1988]_ for the threshold.
    """

    spec = Spec(
        name="masked_error",
        title="Threshold-weighted squared error",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        cite=("schroeder1979", "johnston1988"),
    )

    def judge(self, error: Bins, ref_power: Bins) -> PerItem:
        return self.noise_to_mask(error, ref_power).flatten(2).mean(-1)


@register
class NoiseModulation(MaskingMeasure):
    r"""Largest audible noise-to-mask ratio over the bands of a frame.  Lower is better; 0 where all error is masked.

    .. math:: \frac{1}{N} \sum_n \max_k \max\!\Bigl(0, \frac{E_{kn}}{T_{kn}} - 1\Bigr)

    Zhen and others add it to the priority-weighted distance, against the one band that gives a codec away. Here it is a
    mean over frames, in bands and not in bins, with the threshold of ``NMR`` and not that of MPEG-1.

    **It is won by muting**, as ``NMR`` is, and needs the same company.

    Args:
        sample_rate: Of both signals [Hz].
        n_fft: Transform length [samples]; ``None`` is the power of two nearest to 43 ms.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        full_scale_spl: Level at which a full-scale sine is played [dB SPL].
        spreading: How maskers spread, a key of ``hearing.spreading.SPREADINGS``.
        error: Of complex spectra or of magnitudes.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> NoiseModulation(16_000)(1.001 * ref, ref)
        tensor([[0.]])

    References:
        [zhen2020]_.
    """

    spec = Spec(
        name="noise_modulation",
        title="Largest audible noise-to-mask ratio",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        cite=("zhen2020",),
    )

    def judge(self, error: Bins, ref_power: Bins) -> PerItem:
        return (self.noise_to_mask(error, ref_power).amax(2) - 1).relu().mean(-1)


@register
class MaskingHinge(MaskingMeasure):
    r"""Mean level of the error above the masking threshold, in dB.  Lower is better; 0 dB where all error is masked.

    .. math:: \frac{1}{KN} \sum_{k,n} \max\!\Bigl(0, 10 \log_{10} \frac{E_{kn}}{T_{kn}}\Bigr)

    What is masked costs nothing and has no gradient. Qin and others normalise every file to a maximum of 96 dB, so that
    a whisper is masked like a shout; here the level is what ``full_scale_spl`` says. Their code takes the difference of
    powers, which one loud band decides; this takes that of levels, as their equation does.

    **It is won by muting**, as ``NMR`` is, and needs the same company.

    Args:
        sample_rate: Of both signals [Hz].
        n_fft: Transform length [samples]; ``None`` is the power of two nearest to 43 ms.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        full_scale_spl: Level at which a full-scale sine is played [dB SPL].
        spreading: How maskers spread, a key of ``hearing.spreading.SPREADINGS``.
        error: Of complex spectra or of magnitudes.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> MaskingHinge(16_000)(1.001 * ref, ref)
        tensor([[0.]])

    References:
        [qin2019]_.
    """

    spec = Spec(
        name="masking_hinge",
        title="Hinge above the masking threshold",
        unit="dB",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        cite=("qin2019",),
    )

    def judge(self, error: Bins, ref_power: Bins) -> PerItem:
        return DB * (self.noise_to_mask(error, ref_power) - 1).relu().log1p().flatten(2).mean(-1)


@register
class PrioritySpectralDistance(MaskingMeasure):
    r"""Error of magnitudes weighted by how far the reference stands out of its mask.  Lower is better; 0 where equal.

    .. math:: \frac{\sum_{k,n} w_{kn} E_{kn}}{\sum_{k,n} w_{kn} P_{kn}}, \qquad
              w = \log_{10}\!\Bigl(\frac{P}{T} + 1\Bigr)

    with the power :math:`P` of the reference, its masking threshold :math:`T` and the power :math:`E` of the difference
    of magnitudes, in bands. Zhen and others have the numerator, in bins: divided by the same of the reference it has no
    unit, and a soft item counts as much as a loud one. Silence scores 1.

    The weight is the reference's: noise where the reference is silent costs nothing, whoever hears it. Their second
    term, ``NoiseModulation``, is there for that.

    Args:
        sample_rate: Of both signals [Hz].
        n_fft: Transform length [samples]; ``None`` is the power of two nearest to 43 ms.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        full_scale_spl: Level at which a full-scale sine is played [dB SPL].
        spreading: How maskers spread, a key of ``hearing.spreading.SPREADINGS``.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where the reference is silent.

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> PrioritySpectralDistance(16_000)(0.5 * ref, ref)
        tensor([[0.2500]])

    References:
        [zhen2020]_.
    """

    spec = Spec(
        name="priority_spectral",
        title="Priority-weighted spectral distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"polarity"}),
        cite=("zhen2020",),
    )

    def __init__(
        self,
        sample_rate: int,
        *,
        n_fft: int | None = None,
        hop_length: int | None = None,
        full_scale_spl: float = 92.0,
        spreading: str = "schroeder",
    ) -> None:
        super().__init__(
            sample_rate,
            n_fft=n_fft,
            hop_length=hop_length,
            full_scale_spl=full_scale_spl,
            spreading=spreading,
            error="magnitude",
        )

    def judge(self, error: Bins, ref_power: Bins) -> PerItem:
        masker = self.threshold.bands(ref_power)
        priority = (masker / self.threshold(ref_power)).log1p()
        of_error, of_ref = ((priority * x).flatten(2).sum(-1) for x in (error, masker))
        silent = of_ref == 0
        return undefined_where(silent, of_error / torch.where(silent, 1, of_ref))
