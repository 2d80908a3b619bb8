"""Distances on the scales of hearing and of music: Bark, ERB, gammatone, chroma, and cepstra of mel bands."""

import math
from abc import abstractmethod

import torch
from torch import Tensor

from percloss._typing import Bins, PerItem, Spectrum
from percloss.dsp.filterbanks import NARROWEST_ERB, chroma_bank, gammatone_bank
from percloss.dsp.safe import db_to_power, magnitude
from percloss.dsp.scales import BARK_TRAUNMUELLER, ERB, MEL_SLANEY
from percloss.dsp.stft import power
from percloss.engine import Closed, Pair, SpectralMeasure
from percloss.errors import ArgumentError, SampleRateError
from percloss.frontends import Bands, Bank, Stft
from percloss.measure import register
from percloss.measures.spectral import BOUNDS, BandDistance
from percloss.spec import Spec

# Where notes begin that have a bin of their own [Hz], and a semitone there. Lower ones are heard by their partials.
_LOWEST_NOTE = 100.0
_SEMITONE = _LOWEST_NOTE * (2 ** (1 / 12) - 1)


def _transform_length(sample_rate: int, apart: float) -> int:
    """The shortest power of two whose bins are no further apart than that [Hz]."""
    if not sample_rate > 0:
        raise SampleRateError(f"sample_rate={sample_rate} came; a rate above 0 Hz is needed; use sample_rate=16000.")
    return int(2 ** math.ceil(math.log2(sample_rate / apart)))


@register
class BarkDistance(BandDistance):
    r"""Mean distance of log magnitudes in Bark bands.  Lower is better; 0 where they are equal.

    .. math:: \frac{1}{KN}\sum_{k,n} \bigl|\ln \hat M_{kn} - \ln M_{kn}\bigr|, \qquad
        M = B\,\sqrt{|S|^2 + \epsilon}

    with a bank :math:`B` of triangles on Traunmueller's Bark scale whose weights sum to one. Bark, the scale of
    critical bands, is close to linear up to 500 Hz, as mel is, and is what masking is modelled on.

    Args:
        sample_rate: Of both signals [Hz].
        n_bands: Number of bands; at 44.1 kHz they stand half a Bark apart.
        n_fft: Transform length [samples]; ``None`` is the shortest power of two with bins no further apart than the
            narrowest auditory filter, 24.7 Hz: 1024 at 16 kHz, 2048 at 44.1 and 48 kHz.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the transform.
        f_min: Lower edge of the first band [Hz].
        f_max: Upper edge of the last band [Hz]; ``None`` is half the sample rate.
        floor_db: :math:`\epsilon`, added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> BarkDistance(16_000)(ref, ref)
        tensor([[0.]])

    References:
        [traunmueller1990]_ for the scale.
    """

    spec = Spec(
        name="bark",
        title="Log Bark distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("traunmueller1990",),
    )

    def __init__(
        self,
        sample_rate: int,
        *,
        n_bands: int = 48,
        n_fft: int | None = None,
        hop_length: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        size = _transform_length(sample_rate, NARROWEST_ERB) if n_fft is None else n_fft
        self.transform(Stft(size, hop_length))
        self.bands = Bands(BARK_TRAUNMUELLER, sample_rate, n_bands, size, f_min, f_max)
        self.sample_rate, self.n_bands, self.n_fft, self.hop_length = sample_rate, n_bands, n_fft, hop_length
        self.f_min, self.f_max, self.floor_db = f_min, f_max, floor_db


@register
class ERBDistance(BandDistance):
    r"""Mean distance of log magnitudes in bands of equal rectangular bandwidth.  Lower is better; 0 where equal.

    .. math:: \frac{1}{KN}\sum_{k,n} \bigl|\ln \hat M_{kn} - \ln M_{kn}\bigr|, \qquad
        M = B\,\sqrt{|S|^2 + \epsilon}

    with a bank :math:`B` of triangles on Glasberg and Moore's ERB scale whose weights sum to one. Auditory filters
    measured in notched noise are narrower below 500 Hz than Bark and mel have them: of as many bands, more lie there.

    Args:
        sample_rate: Of both signals [Hz].
        n_bands: Number of bands; at 44.1 kHz they stand two thirds of an auditory filter apart.
        n_fft: Transform length [samples]; ``None`` is as in ``BarkDistance``.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the transform.
        f_min: Lower edge of the first band [Hz].
        f_max: Upper edge of the last band [Hz]; ``None`` is half the sample rate.
        floor_db: :math:`\epsilon`, added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> ERBDistance(16_000)(ref, ref)
        tensor([[0.]])

    References:
        [glasberg1990]_ for the scale.
    """

    spec = Spec(
        name="erb",
        title="Log ERB distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("glasberg1990",),
    )

    def __init__(
        self,
        sample_rate: int,
        *,
        n_bands: int = 64,
        n_fft: int | None = None,
        hop_length: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        size = _transform_length(sample_rate, NARROWEST_ERB) if n_fft is None else n_fft
        self.transform(Stft(size, hop_length))
        self.bands = Bands(ERB, sample_rate, n_bands, size, f_min, f_max)
        self.sample_rate, self.n_bands, self.n_fft, self.hop_length = sample_rate, n_bands, n_fft, hop_length
        self.f_min, self.f_max, self.floor_db = f_min, f_max, floor_db


@register
class GammatoneDistance(BandDistance):
    r"""Mean distance of log levels behind gammatone filters.  Lower is better; 0 where they are equal.

    .. math:: \frac{1}{2KN}\sum_{k,n} \bigl|\ln \hat P_{kn} - \ln P_{kn}\bigr|, \qquad
        P_k = \frac{\sum_f W_{kf} (|S_f|^2 + \epsilon)}{\sum_f W_{kf}}

    with the power response :math:`W` of a fourth-order gammatone filter, one auditory filter wide. Its skirts fall
    slowly, so that a loud component is heard in many bands and what it covers counts less than between triangles. The
    filters are taken on the bins of a transform: their level is that of filters in time, their ringing is not.

    Args:
        sample_rate: Of both signals [Hz].
        n_bands: Number of filters, spread evenly on the ERB scale between the two ends.
        n_fft: Transform length [samples]; ``None`` is as in ``BarkDistance``.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the transform.
        f_min: Lower end of the scale [Hz].
        f_max: Upper end of the scale [Hz]; ``None`` is half the sample rate.
        floor_db: :math:`\epsilon`, added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> GammatoneDistance(16_000)(ref, ref)
        tensor([[0.]])

    References:
        [patterson1987]_ for the filter, [glasberg1990]_ for its width.
    """

    spec = Spec(
        name="gammatone",
        title="Log gammatone distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("patterson1987", "glasberg1990"),
    )
    adds_powers = True

    def __init__(
        self,
        sample_rate: int,
        *,
        n_bands: int = 64,
        n_fft: int | None = None,
        hop_length: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        size = _transform_length(sample_rate, NARROWEST_ERB) if n_fft is None else n_fft
        self.transform(Stft(size, hop_length))
        bank = gammatone_bank(sample_rate=sample_rate, n_fft=size, n_bands=n_bands, f_min=f_min, f_max=f_max)
        self.bands = Bank(bank / bank.sum(1, keepdim=True))
        self.sample_rate, self.n_bands, self.n_fft, self.hop_length = sample_rate, n_bands, n_fft, hop_length
        self.f_min, self.f_max, self.floor_db = f_min, f_max, floor_db


@register
class ChromaDistance(BandDistance):
    r"""Mean distance of log levels of pitch classes, for music.  Lower is better; 0 where they are equal.

    .. math:: \frac{1}{2KN}\sum_{k,n} \bigl|\ln \hat P_{kn} - \ln P_{kn}\bigr|, \qquad
        P_k = \frac{\sum_f W_{kf} (|S_f|^2 + \epsilon)}{\sum_f W_{kf}}

    with Ellis' bank :math:`W`, which gathers the octaves of each note of the scale whose A has 440 Hz. Wrong notes and
    chords cost; the octave a note is played in, and the timbre within its octaves, cost little. It does not replace a
    distance of spectra: much that is plainly audible leaves the pitch classes as they are.

    Args:
        sample_rate: Of both signals [Hz].
        n_classes: Equal steps in an octave.
        n_fft: Transform length [samples]; ``None`` is the shortest power of two with bins no further apart than a
            semitone at 100 Hz: 4096 at 16 kHz, 8192 at 44.1 and 48 kHz.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the transform.
        f_min: Lowest bin that counts [Hz]. Bins below are further apart than notes, and bin 0 has no pitch at all.
        f_max: Highest bin that counts [Hz], or half the sample rate if that is lower. There are few notes above.
        floor_db: :math:`\epsilon`, added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> ChromaDistance(16_000)(ref, ref)
        tensor([[0.]])

    References:
        [ellis2007]_ for the bank.
    """

    spec = Spec(
        name="chroma",
        title="Log chroma distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("ellis2007",),
    )
    adds_powers = True

    def __init__(
        self,
        sample_rate: int,
        *,
        n_classes: int = 12,
        n_fft: int | None = None,
        hop_length: int | None = None,
        f_min: float = _LOWEST_NOTE,
        f_max: float = 5000.0,
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        size = _transform_length(sample_rate, _SEMITONE) if n_fft is None else n_fft
        if not f_min > 0:
            raise ArgumentError(f"chroma: got f_min={f_min}; bin 0 has no pitch; needed is above 0: f_min=100.0.")
        self.transform(Stft(size, hop_length))
        top = min(f_max, sample_rate / 2)
        bank = chroma_bank(sample_rate=sample_rate, n_fft=size, n_classes=n_classes, f_min=f_min, f_max=top)
        self.bands = Bank(bank / bank.sum(1, keepdim=True))
        self.sample_rate, self.n_classes, self.n_fft, self.hop_length = sample_rate, n_classes, n_fft, hop_length
        self.f_min, self.f_max, self.floor_db = f_min, f_max, floor_db


class _CepstralDistance(SpectralMeasure):
    """A norm of the difference of two cepstra of mel bands; a final one says which norm."""

    def __init__(
        self,
        sample_rate: int,
        n_mels: int,
        n_fft: int | None,
        hop_length: int | None,
        f_min: float,
        f_max: float | None,
        floor_db: float,
        coefficients: range,
    ) -> None:
        super().__init__()
        if not 0 <= coefficients.start < coefficients.stop <= n_mels:
            raise ArgumentError(
                f"{self.spec.name}: got coefficients {coefficients.start} to {coefficients.stop - 1} of n_mels="
                f"{n_mels} bands; needed is one or more, and none above {n_mels - 1}."
            )
        size = _transform_length(sample_rate, NARROWEST_ERB) if n_fft is None else n_fft
        self.transform(Stft(size, hop_length))
        self.bands = Bands(MEL_SLANEY, sample_rate, n_mels, size, f_min, f_max)
        self.cosines = Bank(_cosines(n_mels)[list(coefficients)])
        self.sample_rate, self.n_mels, self.n_fft, self.hop_length = sample_rate, n_mels, n_fft, hop_length
        self.f_min, self.f_max, self.floor_db = f_min, f_max, floor_db

    @abstractmethod
    def size(self, difference: Bins) -> PerItem:
        """The norm of a difference of cepstra, its mean over frames."""

    @abstractmethod
    def slope(self, difference: Bins) -> Bins:
        """The derivative of ``size``."""

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        floor = db_to_power(self.floor_db)
        est_log, ref_log = (self.bands(magnitude(power(x), floor)).log() for x in (est, ref))
        return self.size(self.cosines(est_log - ref_log))

    def closed(self, pair: Pair) -> Closed:
        bins = pair.magnitudes(db_to_power(self.floor_db))
        est, ref = (self.bands(x) for x in bins)
        difference = self.cosines((est / ref).log_())
        on_bands = self.cosines.adjoint(self.slope(difference)) / est
        return Closed(self.size(difference), self.bands.adjoint(on_bands).div_(bins[0]))


@register
class MFCCDistance(_CepstralDistance):
    r"""Mean absolute distance of mel-frequency cepstral coefficients.  Lower is better; 0 where they are equal.

    .. math:: \frac{1}{CN}\sum_{m,n} \bigl|\hat c_{mn} - c_{mn}\bigr|, \qquad
        c = D \ln\bigl(B\,\sqrt{|S|^2 + \epsilon}\bigr)

    with the mel bank :math:`B` of ``MelDistance`` and the orthonormal cosine transform of type II, :math:`D`. The
    first coefficients are level and spectral envelope; the harmonics of a voice are in those left out.

    Args:
        sample_rate: Of both signals [Hz].
        n_mfcc: Number of coefficients, the 0th, which is level, among them.
        n_mels: Number of mel bands.
        n_fft: Transform length [samples]; ``None`` is as in ``BarkDistance``.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the transform.
        f_min: Lower edge of the first band [Hz].
        f_max: Upper edge of the last band [Hz]; ``None`` is half the sample rate.
        floor_db: :math:`\epsilon`, added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> MFCCDistance(16_000)(ref, ref)
        tensor([[0.]])

    References:
        [davis1980]_; [slaney1998]_ for the bank.
    """

    spec = Spec(
        name="mfcc",
        title="MFCC distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("davis1980", "slaney1998"),
    )

    def __init__(
        self,
        sample_rate: int,
        *,
        n_mfcc: int = 20,
        n_mels: int = 80,
        n_fft: int | None = None,
        hop_length: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor_db: float = -120.0,
    ) -> None:
        super().__init__(sample_rate, n_mels, n_fft, hop_length, f_min, f_max, floor_db, range(n_mfcc))
        self.n_mfcc = n_mfcc

    def size(self, difference: Bins) -> PerItem:
        return difference.abs().flatten(2).mean(-1)

    def slope(self, difference: Bins) -> Bins:
        return difference.sign() / difference[0, 0].numel()


@register
class MelCepstralDistortion(_CepstralDistance):
    r"""Mel-cepstral distortion, in dB.  Lower is better; 0 where the envelopes are equal, whatever their levels.

    .. math:: \frac{10}{\ln 10}\,\frac1N\sum_n \sqrt{2\sum_{m=1}^{C} (\hat c_{mn} - c_{mn})^2}, \qquad
        c_m = \frac1K\sum_k \ln M_k^2 \cos\frac{\pi m (k + \frac12)}{K}

    There are many. This one takes its cepstra from the log power :math:`M^2` of Slaney's mel bands, in the scale of
    Kubichek's definition, so that it is the root mean square over bands of the difference of two smoothed spectra in
    dB, less the mean of that difference, which is level: above the floor it does not hear a gain. Frames are compared
    one to one. There is no time warping, and nothing is left out at silence. Values of programs that take cepstra by
    vocoder analysis (SPTK, WORLD) or from MFCC in another scale are others, and cannot be put beside these.

    Args:
        sample_rate: Of both signals [Hz].
        n_coefficients: Number of coefficients, from the first; the 0th is left out.
        n_mels: Number of mel bands.
        n_fft: Transform length [samples]; ``None`` is as in ``BarkDistance``.
        hop_length: Step between frames [samples]; ``None`` is a quarter of the transform.
        f_min: Lower edge of the first band [Hz].
        f_max: Upper edge of the last band [Hz]; ``None`` is half the sample rate.
        floor_db: Added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> MelCepstralDistortion(16_000)(ref, ref)
        tensor([[0.]])

    References:
        [kubichek1993]_; [slaney1998]_ for the bank.
    """

    spec = Spec(
        name="mcd",
        title="Mel-cepstral distortion",
        unit="dB",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"gain", "polarity", "swap"}),
        cite=("kubichek1993", "slaney1998"),
    )

    def __init__(
        self,
        sample_rate: int,
        *,
        n_coefficients: int = 13,
        n_mels: int = 80,
        n_fft: int | None = None,
        hop_length: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor_db: float = -120.0,
    ) -> None:
        wanted = range(1, n_coefficients + 1)
        super().__init__(sample_rate, n_mels, n_fft, hop_length, f_min, f_max, floor_db, wanted)
        self.n_coefficients = n_coefficients
        # Of an orthonormal transform 2 sum c^2 is the squared norm over the number of bands; ln M^2 is 2 ln M.
        self.decibels = 20 / math.log(10) / math.sqrt(n_mels)

    def size(self, difference: Bins) -> PerItem:
        norm: Tensor = torch.linalg.vector_norm(difference, dim=2)
        return self.decibels * norm.mean(-1)

    def slope(self, difference: Bins) -> Bins:
        norm = torch.linalg.vector_norm(difference, dim=2, keepdim=True)
        return self.decibels / difference.shape[-1] * difference / torch.where(norm == 0, 1, norm)


def _cosines(count: int) -> Tensor:
    """The orthonormal cosine transform of type II of ``count`` values, as a matrix."""
    number = torch.arange(count, dtype=torch.float64)
    matrix = (math.pi / count * number[:, None] * (number + 0.5)).cos() * math.sqrt(2 / count)
    matrix[0] /= math.sqrt(2)
    return matrix
