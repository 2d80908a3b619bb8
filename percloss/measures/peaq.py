"""PEAQ, BS.1387's basic version: its grade, the variables that make it, the 2f-model, and what to train on instead."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from percloss._typing import Wave
from percloss.dsp.safe import undefined_where
from percloss.errors import ArgumentError, ShapeError
from percloss.frontends import Resampler
from percloss.functional import once
from percloss.hearing.peaq import FRAME, SAMPLE_RATE, PEAQEar, Variant
from percloss.hearing.peaq_grade import GRADES, LEAST, MOST, VARIABLES, two_f
from percloss.hearing.peaq_variables import Comparison
from percloss.measure import Measure, check_rate, register
from percloss.spec import Spec

# Rates whose signals have a band above 8.1 kHz, in which PEAQ measures bandwidths.
GRADED_RATES = frozenset({32_000, 44_100, SAMPLE_RATE})
# Where the grade is flat: below this, and no better than this SNR [dB].
FLAT_GRADE, FLAT_SNR = -3.5, 15.0
SHORTEST_SECONDS = 0.6
# The 2f-model's opinion of what differs nowhere.
BEST_TWO_F = float(two_f(torch.zeros(()), torch.zeros(())))
# Of the variables that make the disturbance: the range that the network was trained in.
RANGES = {name: high - low for name, low, high in zip(VARIABLES, LEAST, MOST, strict=True)}

_VARIABLE = Spec(
    name="variable",
    title="Variable of PEAQ",
    unit="1",
    better="lower",
    bounds=(0.0, math.inf),
    perfect=0.0,
    takes="joint",
    silent_reference="undefined",
    invariant_to=frozenset({"polarity"}),
    cite=("itu2001bs1387", "kabal2002", "thiede2000"),
)


class PEAQMeasure(Measure):
    """One number out of a comparison by BS.1387's basic version.

    Mono or stereo; stereo is judged as one. At another rate than 48 kHz both signals are first resampled to that by
    ``percloss.dsp.resample``. The model plays a full-scale sine at 92 dB SPL. The reference's first and last loud
    samples (five whose magnitudes sum up to 200 of 32768) bound what is judged; a reference without any has no value.

    Those that a ``percloss.functional.shared`` context asks of the same signals share every stage of the ear.
    """

    #: Whether it wants frames after the first half second, in which the filters settle.
    settles = True

    def __init__(self, sample_rate: int, *, variant: Variant = "kabal") -> None:
        super().__init__()
        check_rate(self.spec, sample_rate)
        self.sample_rate, self.variant = sample_rate, variant
        self.ear = PEAQEar(variant)
        self.resampler = Resampler(sample_rate, SAMPLE_RATE)
        # Two frames, of which one is judged wherever the reference begins in the first half of them.
        self.min_samples = -(-2 * FRAME * sample_rate // SAMPLE_RATE)

    @abstractmethod
    def score(self, found: Comparison) -> Tensor:
        """The value of each item, (batch,)."""

    def comparison(self, est: Wave, ref: Wave) -> Comparison:
        """All stages and variables, each made when it is wanted."""
        if est.shape[1] > 2:
            raise ShapeError(
                f"{self.spec.name}: got {tuple(est.shape)}; needed are one channel or two, left and right. For each "
                f"channel alone type measure(est.flatten(0, 1)[:, None], ref.flatten(0, 1)[:, None])."
            )

        def compute() -> Comparison:
            return Comparison(self.ear, self.resampler(est), self.resampler(ref))

        return once(("peaq", self.sample_rate, self.variant), compute, est, ref)

    def compare(self, est: Wave, ref: Wave) -> Tensor:
        found = self.comparison(est, ref)
        value = undefined_where(~found.known(settled=self.settles), self.score(found))
        if not torch.compiler.is_compiling() and not value.is_cuda:  # asking a GPU would make every call wait for it
            self.look(found, value)
        return value[:, None]

    def look(self, found: Comparison, value: Tensor) -> None:
        """Warn of what takes the meaning from a value."""

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        if not bool(self.comparison(est, ref).known(settled=False).all()):
            return "reference is too quiet"
        return f"shorter than {SHORTEST_SECONDS} s, of which the first half second is not judged"


class _Graded(PEAQMeasure):
    """What depends on the bandwidth, of which a reference may have none."""

    def __init__(self, sample_rate: int, *, variant: Variant = "kabal") -> None:
        super().__init__(sample_rate, variant=variant)
        self._told: set[str] = set()

    def look(self, found: Comparison, value: Tensor) -> None:
        for about, words in self.doubts(found, value):
            if about not in self._told:
                self._told.add(about)
                # Past what called it here and torch's two frames of a call.
                warnings.warn(f"{self.spec.name}: {words} Said once.", stacklevel=8)

    def doubts(self, found: Comparison, value: Tensor) -> Iterator[tuple[str, str]]:
        """What takes the meaning from a value, by name and in words."""
        narrow = (found.bandwidth_ref == 0) & ~value.isnan()
        if bool(narrow.any()):
            yield (
                "band",
                f"{int(narrow.sum())} of {len(narrow)} references have nothing above 8.1 kHz that stands out of the "
                f"estimate's noise: PEAQ finds no bandwidth, and the value means little. Read two_f or nmr_total.",
            )


@register
class PEAQ(_Graded):
    r"""Objective difference grade that imitates BS.1387's basic version.  Higher is better; -3.98 to 0.22, 0 unheard.

    .. math:: \mathrm{ODG} = -3.98 + 4.2\, \sigma(\mathrm{DI})

    from -4, very annoying, to 0, imperceptible, as listeners trained on codecs would grade; what equals its reference
    gets about 0.2. Eleven variables of two excitation patterns go through a small network to the distortion index DI.

    No public program conforms to the Recommendation, whose sixteen test signals want DI within 0.02, and its text alone
    does not say enough to do so; nor is this one known to. It does what two known programs do: with ``"kabal"`` its
    grade is within 1e-4 of PQevalAudio's and each variable within 2e-4 on seven pairs of 16 bits, in double precision;
    with ``"gstpeaq"`` it is within 5e-4 of the two grades that GstPEAQ is tested with. Where samples are finer than 16
    bits, the rounding noise of 16 stands beneath the bandwidths of ``"kabal"``.

    It is flat where separation is: most estimates at an SNR of 15 dB and less are below -3.5. It means little for a
    reference with nothing above 8.1 kHz: speech of 16 kHz has -2.0 at an SNR of 60 dB. Both are warned about once, but
    for tensors on a GPU. A silent estimate has about -1.5, far above a noisy one. It is no loss: thresholds make it
    flat or steep; train on ``PEAQDisturbance`` or ``TwoFDistance``.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    Example:
        >>> time = torch.arange(48_000)[None, None]
        >>> ref = 0.1 * torch.sin(0.1 * time) + 0.05 * torch.sin(1.5 * time)
        >>> PEAQ(48_000)(1.1 * ref, ref).round(decimals=1)
        tensor([[-0.3000]])

    References:
        [itu2001bs1387]_; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(
        _VARIABLE,
        name="peaq_odg",
        title="PEAQ basic, objective difference grade",
        better="higher",
        bounds=GRADES,
        perfect=None,
        sample_rates=GRADED_RATES,
        differentiable=False,
    )

    def score(self, found: Comparison) -> Tensor:
        return found.odg

    def doubts(self, found: Comparison, value: Tensor) -> Iterator[tuple[str, str]]:
        yield from super().doubts(found, value)
        signal, error = (x.detach().double().square().sum((1, 2)) for x in (found.ref, found.est - found.ref))
        flat = (value < FLAT_GRADE) & (signal <= 10 ** (FLAT_SNR / 10) * error)
        if bool(flat.any()):
            yield (
                "flat",
                f"{int(flat.sum())} of {len(flat)} items are below {FLAT_GRADE} at an SNR of {FLAT_SNR:.0f} dB or "
                f"less, where the grade is flat and hardly tells them apart. Read two_f or nmr_total; peaq_di tells a "
                f"little more.",
            )


@register
class PEAQDistortionIndex(_Graded):
    r"""Distortion index of PEAQ's basic version, before the grade's last curve.  Higher is better; -4.12 to 8.43.

    .. math:: \mathrm{DI} = b + \sum_{j=1}^{3} w_j\, \sigma\Bigl(b_j + \sum_{i=1}^{11} w_{ij}
              \frac{v_i - \check v_i}{\hat v_i - \check v_i}\Bigr)

    of the eleven variables :math:`v`, scaled by the ranges in which the network was trained and not clipped to them.
    It orders items as ``PEAQ`` does and is less flat: down to -4.12, where it ends as well. What equals its reference
    has no one value. Without a band above 8.1 kHz it means as little as the grade.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(
        PEAQ.spec,
        name="peaq_di",
        title="PEAQ basic, distortion index",
        bounds=(-0.307594 - 3.817048, -0.307594 + 4.107138 + 4.629582),
    )

    def score(self, found: Comparison) -> Tensor:
        return found.distortion_index


@register
class TwoF(PEAQMeasure):
    r"""The 2f-model: basic audio quality of separated sources.  0 to 100 as in MUSHRA, higher is better.

    .. math:: \frac{56.1345}{1 + (-0.0282\, \mathrm{AvgModDiff1} - 0.8628)^2} - 27.1451\, \mathrm{ADB} + 86.3515

    clipped to 0 and 100: two variables of PEAQ's basic version, fitted by its authors to listeners' scores of
    separated sources, on PQevalAudio, whose numbers these are (0.001 apart on seven pairs). It needs no band above
    8.1 kHz and is not flat at an SNR of 10 dB, as the grade is. Phase is not heard; half the level costs 60. ADB counts
    whole dB: train on ``TwoFDistance``.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    Example:
        >>> ref = torch.randn(1, 1, 48_000, generator=torch.Generator().manual_seed(0))
        >>> TwoF(48_000)(ref, ref)
        tensor([[100.]])

    References:
        [kastner2019]_; [itu2001bs1387]_ and [kabal2002]_ for the two variables.
    """

    spec = replace(
        _VARIABLE,
        name="two_f",
        title="2f-model",
        better="higher",
        bounds=(0.0, 100.0),
        perfect=100.0,
        differentiable=False,
        cite=("kastner2019", "itu2001bs1387", "kabal2002"),
    )

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)

    def score(self, found: Comparison) -> Tensor:
        return two_f(found.avg_mod_diff1, found.adb).clamp(0, 100)


@register
class TwoFDistance(PEAQMeasure):
    r"""The 2f-model as a loss: one less a hundredth of its opinion.  Lower is better; -0.185 where est is ref.

    .. math:: 1 - \tfrac{1}{100} \mathrm{MMS}(\mathrm{AvgModDiff1}, \mathrm{ADB}')

    with the opinion as ``TwoF`` has it but not clipped, and with the logarithm of steps without its thresholds:

    .. math:: \mathrm{ADB}' = \log_{10}\Bigl(1 + \frac{\sum_n P_n \sum_k (\sqrt{e_{kn}^2 + 1/4} - 1/2) / s_{kn}}
              {\sum_n P_n}\Bigr)

    where ADB takes whole dB of each difference :math:`e`, and frames of which the probability :math:`P` is above 0.5.
    It is within 0.05 of what ``TwoF`` has on the seven pairs that PEAQ is compared on. The first half second has no
    part in the modulation: give it a second and more. Phase is not heard, and silence scores 0.8 to 1, as white noise
    at an SNR of 0 to 30 dB: add a term that hears them.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [kastner2019]_, whose thresholds are left out here; [itu2001bs1387]_; [kabal2002]_.
    """

    spec = replace(
        _VARIABLE,
        name="two_f_distance",
        title="1 - 2f-model / 100, smooth",
        bounds=(1 - BEST_TWO_F / 100, math.inf),
        perfect=1 - BEST_TWO_F / 100,
        cite=TwoF.spec.cite,
    )

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)

    def score(self, found: Comparison) -> Tensor:
        return 1 - two_f(found.avg_mod_diff1, found.smooth_adb) / 100


@register
class PEAQDisturbance(PEAQMeasure):
    r"""Disturbance as PEAQ hears it, to train on: modulation, noise, masking.  Lower is better; 0 where est is ref.

    .. math:: w_1 \frac{\mathrm{AvgModDiff1}}{62.1} + w_2 \frac{\mathrm{RmsNoiseLoud}}{14.8} +
              w_3 \frac{10 \log_{10}(1 + \mathrm{NMR})}{40.3}

    Three variables of BS.1387's basic version that have a gradient, each over the range in which the network that
    grades was trained, so that equal weights mean equal parts of that. The noise-to-mask ratio counts little below the
    mask. The loudness counts from 50 ms after the reference is heard: in BS.1387 both must be, which a silent estimate
    would profit from. It is not the grade, whose other variables are counts and maxima.

    **It is won by muting**, as ``NMR`` is: silence scores 0.5 to 1, as white noise does at an SNR of 0 to 40 dB. Half
    the level costs 0.1. Never train on it alone: add a term that hears level and phase, as ``SNRLoss``. The first half
    second has a part in the masking alone: give it a second and more.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.
        weights: Of modulation, loudness and masking.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(_VARIABLE, name="peaq_disturbance", title="PEAQ's disturbance")

    def __init__(
        self, sample_rate: int, *, variant: Variant = "kabal", weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> None:
        super().__init__(sample_rate, variant=variant)
        if len(weights) != 3 or not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ArgumentError(
                f"peaq_disturbance: got weights={weights}; needed are three, not below 0 and not all 0: "
                f"weights=(1.0, 1.0, 1.0)."
            )
        self.weights = weights

    def score(self, found: Comparison) -> Tensor:
        parts = {
            "avg_mod_diff1": found.avg_mod_diff1,
            "rms_noise_loud": found.rms_noise_loud_of_heard,
            "total_nmr": (10 / math.log(10) * found.mean_nmr.log1p()).mean(1),
        }
        weighted = [
            weight * part / RANGES[name] for weight, (name, part) in zip(self.weights, parts.items(), strict=True)
        ]
        return torch.stack(weighted).sum(0)


@register
class TotalNMR(PEAQMeasure):
    r"""Total noise-to-mask ratio of PEAQ's basic version, in dB.  Lower is better; well below 0 the error is masked.

    .. math:: 10 \log_{10} \frac1N \sum_n \frac{1}{109} \sum_k \frac{E_{kn}}{R_{kn} / m_k}

    of the error :math:`E` between magnitudes behind the outer and middle ear, in bands, and the reference's excitation
    :math:`R`, lowered by 3 dB up to 12 Bark and by a quarter dB a band of a Bark above. Channels are averaged in dB. It
    does not hear phase, and needs no band above 8 kHz. What equals its reference has about -120 dB and less, as its
    level has it: there is a floor beneath the error. ``NMR`` is the one with a modern threshold and the error's phase.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.5; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(
        _VARIABLE,
        name="nmr_total",
        title="PEAQ's total noise-to-mask ratio",
        unit="dB",
        bounds=(-math.inf, math.inf),
        perfect=None,
    )
    settles = False

    def score(self, found: Comparison) -> Tensor:
        return found.total_nmr


@register
class AvgModDiff1(PEAQMeasure):
    r"""Difference of modulation, averaged, of PEAQ's basic version, in per cent.  Lower is better; 0 where est is ref.

    .. math:: \frac{\sum_n W_n d_n}{\sum_n W_n}, \qquad
              d = \frac{100}{109} \sum_k \frac{|M_k^{est} - M_k^{ref}|}{1 + M_k^{ref}}

    with the weight :math:`W` of a frame, in how many bands the reference is well above the noise of the ear. Modulation
    :math:`M` is how fast the loudness of a band changes: musical noise has more, smoothing less. The network that
    grades was trained on 1 to 63; gaps have hundreds. The first half second is not judged, and of a wrong level only
    little is heard.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.2; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(_VARIABLE, name="peaq_avg_mod_diff1", title="PEAQ's AvgModDiff1", unit="%")

    def score(self, found: Comparison) -> Tensor:
        return found.avg_mod_diff1


@register
class AvgModDiff2(PEAQMeasure):
    r"""Difference of modulation of PEAQ's basic version, added rather than lost.  Lower is better; 0 where est is ref.

    .. math:: \frac{\sum_n W_n d_n}{\sum_n W_n}, \qquad
              d = \frac{100}{109} \sum_k w_k \frac{|M_k^{est} - M_k^{ref}|}{0.01 + M_k^{ref}}

    in per cent, with :math:`w` 1 where the estimate has more modulation and 0.1 where it has less, and the weight
    :math:`W` of ``AvgModDiff1``. The network that grades was trained on 1 to 1145. The first half second is not judged.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.2; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(_VARIABLE, name="peaq_avg_mod_diff2", title="PEAQ's AvgModDiff2", unit="%")

    def score(self, found: Comparison) -> Tensor:
        return found.avg_mod_diff2


@register
class WinModDiff1(PEAQMeasure):
    r"""Difference of modulation of PEAQ's basic version, windowed: short moments count.  Lower is better; 0 at ref.

    .. math:: \sqrt{\frac{1}{N - 3} \sum_n \Bigl(\frac14 \sum_{i=0}^{3} \sqrt{d_{n-i}}\Bigr)^4}

    in per cent, of the difference :math:`d` of ``AvgModDiff1`` in windows of 100 ms. The network that grades was
    trained on 1 to 107. The first half second is not judged.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.2; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(_VARIABLE, name="peaq_win_mod_diff1", title="PEAQ's WinModDiff1", unit="%")

    def score(self, found: Comparison) -> Tensor:
        return found.win_mod_diff1


@register
class RmsNoiseLoud(PEAQMeasure):
    r"""Loudness of what the estimate has more than its reference, of PEAQ's basic version.  Lower is better, in sone.

    .. math:: N = \frac{24}{109} \sum_k \Bigl(\frac{Q_k}{s_k^{est}}\Bigr)^{0.23} \Bigl[\Bigl(1 +
              \frac{(s_k^{est} A_k^{est} - s_k^{ref} A_k^{ref})_+}{Q_k + s_k^{ref} A_k^{ref} \beta_k}\Bigr)^{0.23}
              - 1\Bigr]

    and of that the root mean square over frames, with :math:`s = 0.15 M + 0.5` and
    :math:`\beta = e^{-1.5 (A^{est} - A^{ref}) / A^{ref}}`, of excitations :math:`A` brought to one level and spectrum,
    over the noise :math:`Q` of the ear. 0 where est is ref; the network that grades was trained on 0 to 14.8. What is
    missing is not counted, and nothing until 50 ms after both signals are louder than 0.1 sone: a silent estimate
    scores 0, though with the gradient that it would have if it were heard. ``PEAQDisturbance`` has the form without
    that threshold.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.3; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(_VARIABLE, name="peaq_rms_noise_loud", title="PEAQ's RmsNoiseLoud", unit="sone")

    def score(self, found: Comparison) -> Tensor:
        return found.rms_noise_loud


@register
class ADB(PEAQMeasure):
    r"""Average distorted block of PEAQ's basic version: how many just noticeable steps.  Lower is better; 0 at ref.

    .. math:: \log_{10} \frac{1}{|D|} \sum_{n \in D} \sum_k \frac{|\lfloor e_{kn} \rfloor|}{s_{kn}}

    over the frames :math:`D` of which the probability to be heard is above 0.5, of differences :math:`e` of excitation,
    whole dB towards 0, in steps :math:`s` that are just heard at that level; of two channels the one with more. 0
    where no frame is heard to differ, and -0.5 where no difference is a whole dB. The network was trained on -0.2 to
    2.9. Counts and whole numbers have no gradient: the one it is given is that of all dB.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.7; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(_VARIABLE, name="peaq_adb", title="PEAQ's ADB", bounds=(-math.inf, math.inf), differentiable=False)
    settles = False

    def score(self, found: Comparison) -> Tensor:
        return found.adb


class EHS(PEAQMeasure):
    r"""Error harmonic structure of PEAQ's basic version.  Lower is better; 0 where est is ref.

    .. math:: 1000 \max_q \bigl|\mathcal F\{h\, (\rho - \bar\rho)\}_q\bigr|^2, \qquad
              \rho_l = \frac{\sum_k D_k D_{k+l}}{\sqrt{\sum_k D_k^2 \sum_k D_{k+l}^2}}, \qquad
              D = \ln \frac{|X^{est}|^2}{|X^{ref}|^2}

    over 256 bins and lags, the mean over frames in which either signal has energy. What is disturbed at harmonics, such
    as by clipping or codecs at low rates, has a peak there. It has no order for noise of different level, and the
    gradient of its largest peak teaches nothing.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.8; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(_VARIABLE, name="peaq_ehs", title="PEAQ's EHS", differentiable=False)
    settles = False

    def score(self, found: Comparison) -> Tensor:
        return found.ehs


class MFPD(PEAQMeasure):
    r"""Maximum filtered probability of detection of PEAQ's basic version.  Lower is better; 0 where est is ref.

    .. math:: \max_n \tilde P_n, \qquad \tilde P_n = 0.9 \tilde P_{n-1} + 0.1 P_n, \qquad
              P = 1 - \prod_k 0.5^{(e_k / s_k)^b}

    with :math:`b` 4 where the estimate has less and 6 where it has more; of two channels the one with more. Any plain
    disturbance has 1.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.7; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(_VARIABLE, name="peaq_mfpd", title="PEAQ's MFPD", bounds=(0.0, 1.0), differentiable=False)
    settles = False

    def score(self, found: Comparison) -> Tensor:
        return found.mfpd


class RelDistFrames(PEAQMeasure):
    r"""Share of disturbed frames of PEAQ's basic version.  Lower is better; 0 where est is ref, 1 is all of them.

    .. math:: \frac{1}{N} \Bigl|\Bigl\{n : \max_k 10 \log_{10} \frac{E_{kn}}{R_{kn} / m_k} > 1.5\Bigr\}\Bigr|

    with the noise-to-mask ratio of ``TotalNMR``. A count, which has no gradient.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.6; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(
        _VARIABLE, name="peaq_rel_dist_frames", title="PEAQ's RelDistFrames", bounds=(0.0, 1.0), differentiable=False
    )
    settles = False

    def score(self, found: Comparison) -> Tensor:
        return found.rel_dist_frames


class BandwidthTest(PEAQMeasure):
    """Bandwidth of the estimate as PEAQ's basic version has it, in bins of 23.4 Hz.  Higher is better; 0 to 921.

    The highest bin, up to that of the reference, in which the estimate is 5 dB above the largest it has above 21.6 kHz;
    the mean over frames in which the reference is 10 dB above that beyond 8.1 kHz, 0 where it never is. Noise up there
    lowers it. A position of a threshold, which has no gradient and depends on the reference.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.4; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(
        PEAQ.spec, name="peaq_bandwidth_test", title="PEAQ's BandwidthTest", unit="bins", bounds=(0.0, 921.0)
    )
    settles = False

    def score(self, found: Comparison) -> Tensor:
        return found.bandwidth_est


class BandwidthRef(PEAQMeasure):
    """Bandwidth of the reference as PEAQ's basic version has it, in bins of 23.4 Hz.  Higher is better; 0 to 921.

    The highest bin in which the reference is 10 dB above the largest the estimate has above 21.6 kHz; the mean over
    frames in which that is beyond 8.1 kHz, 0 where it never is. It says more of the reference than of the estimate.

    Args:
        sample_rate: Of both signals [Hz]; other than 48 kHz they are resampled to that.
        variant: What fills in the gaps of the Recommendation, ``"kabal"`` or ``"gstpeaq"``.

    Shape:
        est, ref: (batch, channels, time), one channel or two. Returns (batch, 1).

    References:
        [itu2001bs1387]_, Annex 2, 4.4; [kabal2002]_; [thiede2000]_.
    """

    spec = replace(BandwidthTest.spec, name="peaq_bandwidth_ref", title="PEAQ's BandwidthRef")
    settles = False

    def score(self, found: Comparison) -> Tensor:
        return found.bandwidth_ref
