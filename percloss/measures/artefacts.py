"""Diagnostics: each hears one kind of fault, says how much of it there is, and stays calm at the others.

A score says how bad an estimate is; these say in what way. Each has a sign and a unit, and words for what its two ends
mean to a listener. Here are those of the error as a whole; those of the spectrum (``artefacts_spectral``) and of the
course of time (``artefacts_temporal``) have files of their own.
"""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from percloss import distances
from percloss._typing import PerItem, Wave
from percloss.dsp.safe import db_to_power, ratio_db, undefined_where
from percloss.dsp.stft import power
from percloss.errors import SampleRateError
from percloss.frontends import Stft
from percloss.functional import bss_eval
from percloss.measure import Measure, register
from percloss.measures.bss import SDR
from percloss.spec import Spec

# Frames of a power of two samples, 32 to 45 ms: partials stand apart, syllables too.
WINDOW_SECONDS = 0.04
# A gain apart, an estimate this close to the reference has no error left to tell of.
NO_ERROR_DB = 100.0


class Diagnostic(Measure):
    """What diagnostics share: words for a listener, and the family of ``percloss.degrade`` that each is there for.

    At equal signal-to-noise ratio the family named ``lowest`` has the lowest value of all families of errors, and the
    one named ``highest`` the highest; a test holds them to it, on real recordings.
    """

    #: What a value below and above the perfect one says of the estimate, beside the reference.
    below: ClassVar[str | None] = None
    above: ClassVar[str]
    lowest: ClassVar[str | None] = None
    highest: ClassVar[str | None] = None
    #: Why there may be no value, where neither signal is silent.
    otherwise: ClassVar[str] = "not defined for this item"

    def undefined_because(self, est: Tensor, *_: Any) -> str:
        return self.otherwise if est.any() else "estimate is silent"


def check_rate(name: str, sample_rate: float) -> None:
    """Refuse a rate that is none."""
    if not sample_rate > 0:
        raise SampleRateError(f"{name}: got sample_rate={sample_rate}; needed is one above 0, as 48_000.")


def window_samples(sample_rate: float, seconds: float) -> int:
    """The power of two nearest to a duration, 32 at the least."""
    return 1 << max(5, round(math.log2(sample_rate * seconds)))


def at_unit_peak(x: Wave) -> Wave:
    """The signal over its largest sample, taken as a constant; silence as it is."""
    peak = x.detach().abs().amax(-1, keepdim=True)
    return x / torch.where(peak == 0, 1, peak)


def transform_size(samples: int) -> int:
    """No less than this many samples, and a length that has a fast transform."""
    step = 1 << max(1, samples.bit_length() - 4)
    return -(-samples // step) * step


@register
class LevelDifference(Diagnostic):
    r"""Energy of the estimate over that of the reference, in dB.  Nearer to 0 is better; below it is too quiet.

    .. math:: 10 \log_{10} \lVert\hat s\rVert^2 / \lVert s\rVert^2

    An error in the waveform lowers it by no more than turning down to the same error does.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where the reference is silent.

    Example:
        >>> ref = torch.ones(1, 1, 8)
        >>> LevelDifference()(0.1 * ref, ref)
        tensor([[-20.]])

    References:
        [leroux2019]_ for why it is looked at apart from the rest.
    """

    spec = Spec(
        name="level_difference",
        title="Level difference",
        unit="dB",
        better="nearer",
        bounds=(-140.0, 140.0),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"level", "polarity"}),
        cite=("leroux2019",),
    )
    below, above, lowest = "quieter", "louder", "gain"

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        signal = distances.energy(ref)
        return undefined_where(signal == 0, ratio_db(distances.energy(est), signal))


@register
class PhaseFraction(Diagnostic):
    r"""Share of the error that is phase, a delay apart, in %.  Neither is better: it tells of what kind the error is.

    .. math:: 100\,\frac{\sum_{k,m} 2|S||\hat S'|(1 - \cos\Delta\varphi)}{\sum_{k,m} |S - \hat S|^2}

    By the law of cosines :math:`|S - \hat S|^2 = (|S| - |\hat S|)^2 + 2|S||\hat S|(1 - \cos\Delta\varphi)` in every
    cell. Taken as they are, a delay is all phase and hides what else there is; so the estimate is first moved
    (:math:`\hat S'`) to where its correlation with the reference is the largest, by 20 ms at the most and to a fraction
    of a sample. What the delay explains then counts as error and not as phase. Changed magnitudes score 0 %, noise
    nearly 50 % where it is soft, magnitudes with random phases over 50 %.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where there is no error or no sound.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> PhaseFraction(16_000)(0.7 * ref, ref).round().abs()
        tensor([[0.]])

    References:
        [choi2019]_ for why phase is looked at.
    """

    spec = Spec(
        name="phase_fraction",
        title="Phase's share of the error",
        unit="%",
        better="neither",
        bounds=(0.0, 100.0),
        perfect=None,
        silent_reference="undefined",
        invariant_to=frozenset({"level"}),
        cite=("choi2019",),
    )
    above, highest = "a rough or hollow sound, of phases that do not belong together", "phase_jitter"
    otherwise = "there is no error"

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        check_rate(self.spec.name, sample_rate)
        self.sample_rate = sample_rate
        self.front = Stft(window_samples(sample_rate, WINDOW_SECONDS))
        self.min_samples = self.front.n_fft // 2 + 1

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        # By the larger peak of both, so that spectra keep clear of float32's ends and their levels stay as they are.
        peak = torch.maximum(*(x.detach().abs().amax(-1, keepdim=True) for x in (est, ref)))
        peak = peak.clamp(min=torch.finfo(peak.dtype).tiny)
        est, ref = est / peak, ref / peak
        spectra = self.front(torch.stack((est, ref, self.aligned(est, ref))).flatten(0, 1)).unflatten(0, (3, -1))
        of_phase, _ = distances.phase_error(spectra[2], spectra[1], distances.NOTHING)
        error = power(spectra[0] - spectra[1]).sum((2, 3))
        nothing = (error == 0) | ~est.any(-1) | ~ref.any(-1)
        share = of_phase.sum((2, 3)) / torch.where(nothing, 1, error)
        return undefined_where(nothing, 100 * share.clamp(max=1))

    def aligned(self, est: Wave, ref: Wave) -> Wave:
        """The estimate moved to where it is most like the reference."""
        time = est.shape[-1]
        n = transform_size(2 * time)
        spectrum = torch.fft.rfft(est, n)
        with torch.no_grad():
            likeness = torch.fft.irfft(spectrum * torch.fft.rfft(ref, n).conj(), n)
            lags = min(self.sample_rate // 50, time - 1)
            likeness = torch.cat((likeness[..., n - lags :], likeness[..., : lags + 1]), -1)
            best = likeness.argmax(-1, keepdim=True).clamp(1, 2 * lags - 1)
            before, at, after = (likeness.gather(-1, best + step) for step in (-1, 0, 1))
            # A parabola through three points has its top within half a step of the middle one, if that is the largest.
            curve = before - 2 * at + after
            part = torch.where(curve < 0, 0.5 * (before - after) / torch.where(curve < 0, curve, 1), 0).clamp(-1, 1)
            turns = torch.arange(n // 2 + 1, dtype=torch.float64, device=est.device) / n * (best - lags + part)
            phase = 2 * math.pi * (turns - turns.round()).to(est.dtype)
        moved: Tensor = torch.fft.irfft(spectrum * torch.polar(torch.ones_like(phase), phase), n)
        return moved[..., :time]


@register
class Leakage(Diagnostic):
    r"""Share of the error that an interferer explains, in %.  Neither is better: it tells of what kind the error is.

    .. math:: 100\,\frac{\lVert P\hat s - P_s\hat s\rVert^2}{\lVert\hat s - \alpha s\rVert^2}

    with :math:`P_s` the projection on the reference and its delays up to ``filter_length``, :math:`P` that on those of
    the interferer as well, and :math:`\alpha` the best gain: the interference of BSS Eval, over all error but that of
    level. What else the error is, is something a filter makes of the reference, or neither.

    Args:
        filter_length: Of the filters [samples].

    Shape:
        est, ref, interferer: (batch, channels, time >= filter_length). Returns (batch, channels), nan where there is no
        error, or one of the three is silent.

    Example:
        >>> ref, other, noise = torch.randn(3, 1, 1, 80_000, generator=torch.Generator().manual_seed(0))
        >>> Leakage()(ref + 0.3 * other + 0.1 * noise, ref, interferer=other).round()
        tensor([[89.]])

    References:
        [vincent2006]_.
    """

    spec = Spec(
        name="leakage",
        title="Leakage's share of the error",
        unit="%",
        better="neither",
        bounds=(0.0, 100.0),
        perfect=None,
        needs=("interferer",),
        differentiable=False,
        compiles=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("vincent2006",),
    )
    above, highest = "the other source is heard", "interference"
    otherwise = "there is no error but in level, or the interferer is silent"

    def __init__(self, *, filter_length: int = 512) -> None:
        super().__init__()
        self.sdr = SDR(filter_length=filter_length)
        self.filter_length = self.min_samples = filter_length

    def compare(self, est: Wave, ref: Wave, *, interferer: Wave) -> PerItem:
        sources = torch.stack((ref, interferer), 2).flatten(0, 1)[:, :, None]
        twice = torch.stack((est, est), 2).flatten(0, 1)[:, :, None]
        found = bss_eval(twice, sources, filter_length=self.filter_length, mode="sources")
        # Energies over that of the target as filtered: interference, artefacts, and all of the estimate.
        sir, sar = (ratio[:, 0].view(est.shape[:2]) for ratio in (found.sir, found.sar))
        leaked = db_to_power(-sir)
        whole = 1 + leaked + (1 + leaked) * db_to_power(-sar)
        plain = distances.si_sdr(est, ref)
        error = 1 / (1 + db_to_power(plain))
        share = (100 * leaked / whole / error).clamp(max=100).to(est.dtype)
        return undefined_where((plain > NO_ERROR_DB) | ~est.any(-1) | share.isnan(), share)


@register
class LinearlyFilterable(Diagnostic):
    r"""What a filter can mend of the error, in dB.  Neither is better: it tells of what kind the error is.

    .. math:: \mathrm{SDR}_{512} - \mathrm{SI\text{-}SDR}

    the ratio that forgives every filter of the reference less the one that forgives a gain. Near 0 dB nothing linear is
    wrong; a delay or an equaliser that is, and nothing else, has tens of dB. Either is far less annoying than noise of
    the same energy.

    Args:
        filter_length: Of the filter [samples].

    Shape:
        est, ref: (batch, channels, time >= filter_length). Returns (batch, channels), nan where there is no error but
        in level, or no sound.

    Example:
        >>> ref = torch.randn(1, 1, 8000, generator=torch.Generator().manual_seed(0))
        >>> bool(LinearlyFilterable()(ref.roll(3), ref) > 40)
        True

    References:
        [vincent2006]_; [leroux2019]_.
    """

    spec = Spec(
        name="linearly_filterable",
        title="Linearly filterable error",
        unit="dB",
        better="neither",
        bounds=(0.0, 280.0),
        perfect=None,
        compiles=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("vincent2006", "leroux2019"),
    )
    above, highest = "a delay, an echo or another colour, and no noise", "delay"
    otherwise = "there is no error but in level"

    def __init__(self, *, filter_length: int = 512) -> None:
        super().__init__()
        self.sdr = SDR(filter_length=filter_length)
        self.filter_length = self.min_samples = filter_length

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        plain = distances.si_sdr(est, ref)
        gap = self.sdr.compare(est, ref).to(est.dtype) - plain
        return undefined_where((plain > NO_ERROR_DB) | ~est.any(-1), gap.clamp(min=0))
