"""Diagnostics of the spectrum: colour, brightness, blur and sparsity, holes, and tones that should not be there."""

from abc import abstractmethod

import torch
from torch import Tensor

from percloss._typing import Bins, PerItem, Wave
from percloss.dsp.safe import db_to_power, log_power, ratio_db, undefined_where
from percloss.errors import ArgumentError
from percloss.frontends import Stft
from percloss.measure import register
from percloss.measures.artefacts import WINDOW_SECONDS, Diagnostic, check_rate, window_samples
from percloss.spec import Spec

DB = 4.342944819032518  # of a natural logarithm of a power
# Cells below this, relative to the loudest, are not heard beside it.
AUDIBLE = db_to_power(-50.0)


class SpectralDiagnostic(Diagnostic):
    """A diagnostic of two power spectra, each over its mean: neither a gain nor the level is heard."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        check_rate(self.spec.name, sample_rate)
        self.sample_rate = sample_rate
        self.front = Stft(window_samples(sample_rate, WINDOW_SECONDS))
        self.octaves = octaves(self.front.n_fft)
        self.min_samples = self.front.n_fft // 2 + 1

    @abstractmethod
    def judge(self, est: Bins, ref: Bins) -> PerItem:
        """The equation, of power spectra with a mean of 1."""

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        (est_bins, est_silent), (ref_bins, ref_silent) = (at_unit_mean(self.front.power(x)) for x in (est, ref))
        return undefined_where(est_silent | ref_silent, self.judge(est_bins, ref_bins))


def at_unit_mean(bins: Bins) -> tuple[Bins, Tensor]:
    """The power spectrum over its mean, and which items are silent, whose spectrum stays 0."""
    mean = bins.mean((2, 3), keepdim=True)
    silent = mean < torch.finfo(mean.dtype).tiny
    return bins / torch.where(silent, 1, mean), silent[:, :, 0, 0]


def octaves(n_fft: int) -> list[slice]:
    """Bins of each octave down from half the sample rate to where one has 8, and of what is below but 0 Hz."""
    edges = [n_fft // 2 + 1]
    half = n_fft // 4
    while half >= 8:
        edges.append(half)
        half //= 2
    edges.append(1)
    return [slice(low, high) for low, high in zip(edges[1:], edges, strict=False)][::-1]


@register
class LongTermSpectrum(SpectralDiagnostic):
    r"""Difference of the long-term spectra in octaves, their gain removed, in dB.  Lower is better; 0 dB where equal.

    .. math:: \frac1B \sum_b \Bigl|10 \log_{10} \frac{\hat e_b + \epsilon}{e_b + \epsilon}\Bigr|

    of the share :math:`e` of the energy in each octave, those below -70 dB being nothing. It is the colour of a sound
    and no more than that: a wrong equaliser, a missing band, a steady hiss.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where either is silent.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> LongTermSpectrum(16_000)(0.5 * ref, ref)
        tensor([[0.]])

    References:
        [byrne1994]_ for what a long-term spectrum is.
    """

    FLOOR = db_to_power(-70.0)

    spec = Spec(
        name="long_term_spectrum",
        title="Long-term spectrum",
        unit="dB",
        better="lower",
        bounds=(0.0, 70.1),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity", "swap"}),
        cite=("byrne1994",),
    )
    above = "another colour"

    def judge(self, est: Bins, ref: Bins) -> PerItem:
        shares = []
        for bins in (est, ref):
            energies = torch.stack([bins[:, :, band].sum((2, 3)) for band in self.octaves], -1)
            total = energies.sum(-1, keepdim=True)
            shares.append(DB * log_power(energies / torch.where(total == 0, 1, total), self.FLOOR))
        return (shares[0] - shares[1]).abs().mean(-1)


@register
class HighFrequencyEnergy(SpectralDiagnostic):
    r"""Share of the energy above 4 kHz over that of the reference, in dB.  Nearer to 0 is better; below it is dull.

    .. math:: 10 \log_{10} \frac{\sum_{k \ge k_0} |\hat S|^2 / \sum_k |\hat S|^2}{\sum_{k \ge k_0} |S|^2 / \sum_k |S|^2}

    Args:
        sample_rate: Of both signals [Hz].
        cutoff: Where the high frequencies begin [Hz]; ``None`` is 4 kHz, or half of what there is at low rates.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where either is silent.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> HighFrequencyEnergy(16_000)(ref[..., 1:] + ref[..., :-1], ref[..., 1:]).round()
        tensor([[-4.]])

    References:
        [schaffer2022]_ for music that separators leave without its high frequencies.
    """

    spec = Spec(
        name="high_frequency_energy",
        title="High-frequency energy",
        unit="dB",
        better="nearer",
        bounds=(-140.0, 140.0),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("schaffer2022",),
    )
    below, above = "dull, without its high frequencies", "hissing or sharp"
    lowest, highest = "low_pass", "white_noise"

    def __init__(self, sample_rate: int, *, cutoff: float | None = None) -> None:
        super().__init__(sample_rate)
        self.cutoff = min(4000.0, sample_rate / 4) if cutoff is None else cutoff
        if not 0 < self.cutoff < sample_rate / 2:
            raise ArgumentError(
                f"{self.spec.name}: got cutoff={cutoff} at {sample_rate} Hz; needed is one above 0 and below "
                f"{sample_rate / 2:g} Hz: cutoff={sample_rate / 4:g}."
            )

    def judge(self, est: Bins, ref: Bins) -> PerItem:
        first = round(self.cutoff / self.sample_rate * self.front.n_fft)
        (est_share, ref_share) = (bins[:, :, first:].sum((2, 3)) / _size(bins) for bins in (est, ref))
        return ratio_db(est_share, ref_share)


def _size(bins: Bins) -> int:
    """The sum over a spectrum whose mean is 1."""
    return bins.shape[2] * bins.shape[3]


@register
class Rolloff(SpectralDiagnostic):
    r"""Frequency below which 98 % of the energy lies, against the reference's, in octaves.  Nearer to 0 is better.

    .. math:: \log_2 \hat f_{98} / f_{98}

    Below 0 the estimate ends too early, above it has too much at high frequencies. It moves in jumps, as the energy
    does, and has no gradient; ``HighFrequencyEnergy`` has one.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where either is silent.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> Rolloff(16_000)(0.5 * ref, ref)
        tensor([[0.]])

    References:
        [schaffer2022]_.
    """

    SHARE = 0.98

    spec = Spec(
        name="rolloff",
        title="Roll-off",
        unit="octaves",
        better="nearer",
        bounds=(-20.0, 20.0),
        perfect=0.0,
        differentiable=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("schaffer2022",),
    )
    below, above = "its high frequencies end early", "more at high frequencies"

    def judge(self, est: Bins, ref: Bins) -> PerItem:
        est_edge, ref_edge = (self._edge(bins.sum(3)) for bins in (est, ref))
        return (est_edge / ref_edge).log2()

    def _edge(self, energies: Tensor) -> PerItem:
        """In bins, to a fraction of one: 0.5 is within the first."""
        upto = energies.double().cumsum(-1)
        wanted = self.SHARE * upto[..., -1:]
        at = (upto < wanted).sum(-1, keepdim=True).clamp(max=energies.shape[-1] - 1)
        inside = energies.double().gather(-1, at)
        part = (wanted - upto.gather(-1, at) + inside) / torch.where(inside > 0, inside, 1)
        return (at + part).clamp(min=0.5)[..., 0].to(energies.dtype)


@register
class SpectralContrast(SpectralDiagnostic):
    r"""Contrast of peaks and valleys in octaves, against the reference's, in dB.  Nearer to 0 is better.

    .. math:: \frac1N \sum_{b,m} (\hat c_{bm} - c_{bm})

    with :math:`c` the mean level of the strongest tenth of the bins of an octave, less that of the weakest tenth. Below
    0 the valleys between partials are filled: blur, breath or noise. Above, they are emptied: a mask that is too hard.
    Octaves and frames count where the reference is within 20 dB of its loudest and the estimate within 20 dB of that;
    cells 60 dB below the mean of their octave are nothing.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where nothing counts.

    Example:
        >>> time = torch.arange(16_000) / 16_000
        >>> ref = sum(torch.cos(6.28 * 200 * k * time) for k in range(1, 30))[None, None]
        >>> noise = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> bool(SpectralContrast(16_000)(ref + noise, ref) < -10)
        True

    References:
        [jiang2002]_.
    """

    SHARE, LOUD, KEPT, FLOOR = 0.1, db_to_power(-20.0), db_to_power(-20.0), db_to_power(-60.0)

    spec = Spec(
        name="spectral_contrast",
        title="Spectral contrast",
        unit="dB",
        better="nearer",
        bounds=(-100.0, 100.0),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("jiang2002",),
    )
    below, above = "blurred or breathy", "too sparse, watery"
    lowest, highest = "spectral_blur", "gating"
    otherwise = "reference and estimate are loud in no octave at the same time"

    def judge(self, est: Bins, ref: Bins) -> PerItem:
        (est_level, est_contrast), (ref_level, ref_contrast) = (self._contrast(bins) for bins in (est, ref))
        counts = (ref_level > self.LOUD * ref_level.amax((2, 3), keepdim=True)) & (est_level > self.KEPT * ref_level)
        total = counts.sum((2, 3))
        value = torch.where(counts, est_contrast - ref_contrast, 0).sum((2, 3)) / total.clamp(min=1)
        return undefined_where(total == 0, value)

    def _contrast(self, bins: Bins) -> tuple[Tensor, Tensor]:
        """Mean power, without a gradient, and contrast [dB] of each octave in each frame."""
        levels, contrasts = [], []
        for band in self.octaves:
            cells = bins[:, :, band]
            mean = cells.mean(2, keepdim=True)
            cells = cells / torch.where(mean == 0, 1, mean)
            few = max(1, round(self.SHARE * cells.shape[2]))
            ends = (cells.topk(few, 2, largest=largest).values for largest in (True, False))
            top, bottom = (DB * log_power(end, self.FLOOR).mean(2) for end in ends)
            levels.append(mean.detach()[:, :, 0])
            contrasts.append(top - bottom)
        return torch.stack(levels, 2), torch.stack(contrasts, 2)


@register
class SpectralHoles(SpectralDiagnostic):
    r"""Energy of the reference that is missing in holes of the estimate's spectrum, in %.  Nearer to 0 is better.

    .. math:: 100\,\frac{\sum_{(k,m) \in H} |S|^2}{\sum_{(k,m) \in P} |S|^2}

    of the prominent cells :math:`P` of the short-time spectrum: those within 6 dB of the strongest in 9 bins by 9
    frames around, and within 50 dB of the strongest of all. One is a hole (:math:`H`) where the estimate is 15 dB lower
    or more, though the strongest around it is not lower by 3 dB. A band that is cut off whole is therefore no hole:
    ``HighFrequencyEnergy`` hears that.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where either is silent.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> SpectralHoles(16_000)(0.5 * ref, ref)
        tensor([[0.]])

    References:
        [torcoli2024]_ for listeners' scores of the artefact, which coders leave.
    """

    AROUND, PROMINENT, MISSING, INTACT = (9, 9), db_to_power(-6.0), db_to_power(-15.0), db_to_power(-3.0)

    spec = Spec(
        name="spectral_holes",
        title="Spectral holes",
        unit="%",
        better="nearer",
        bounds=(0.0, 100.0),
        perfect=0.0,
        differentiable=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("torcoli2024",),
    )
    above, highest = "thin and bubbling, with bits missing", "spectral_holes"

    def judge(self, est: Bins, ref: Bins) -> PerItem:
        est_around, ref_around = (_largest(bins, *self.AROUND) for bins in (est, ref))
        prominent = (ref >= self.PROMINENT * ref_around) & (ref > AUDIBLE * ref.amax((2, 3), keepdim=True))
        holes = prominent & (est < self.MISSING * ref) & (est_around > self.INTACT * ref_around)
        missing, whole = (torch.where(cells, ref, 0).sum((2, 3)) for cells in (holes, prominent))
        return 100 * missing / torch.where(whole == 0, 1, whole)


@register
class IsolatedPeaks(SpectralDiagnostic):
    """Short isolated tones that are not in the reference, per second.  Nearer to 0 is better: it is musical noise.

    What the estimate has more power of than the reference is searched for cells that are the strongest of 5 bins by 7
    frames around them, 12 dB stronger than the mean of the bins above and below and than that of the frames before and
    after, 3 dB stronger than the reference, and within 60 dB of its mean. Noise rarely stands out so far, a partial is
    not alone in time, a click not in frequency. Another source has a few, as has reverberation.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where either is silent.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> IsolatedPeaks(16_000)(0.5 * ref, ref)
        tensor([[0.]])

    References:
        [cappe1994]_ for the artefact, which spectral subtraction leaves.
    """

    #: Bins by frames of one peak, and of the strips it is held against, from which the middle is left out.
    PEAK, ACROSS, ALONG = (5, 7), ((25, 7), (7, 7)), ((5, 33), (5, 11))
    PROMINENCE, EXCESS, FAINT = db_to_power(12.0), db_to_power(3.0), db_to_power(-60.0)

    spec = Spec(
        name="isolated_peaks",
        title="Isolated peaks",
        unit="1/s",
        better="nearer",
        bounds=(0.0, float("inf")),
        perfect=0.0,
        differentiable=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("cappe1994",),
    )
    above, highest = "short random whistles", "musical_noise"

    def judge(self, est: Bins, ref: Bins) -> PerItem:
        excess = (est - ref).relu()
        around = torch.maximum(*(_strip(excess, *strip) for strip in (self.ACROSS, self.ALONG)))
        alone = (excess == _largest(excess, *self.PEAK)) & (excess > self.PROMINENCE * around)
        peaks = alone & (est > self.EXCESS * ref) & (excess > self.FAINT)
        # At either end of a spectrum cells are real, and noise stands out further by chance.
        peaks = peaks[:, :, 2:-2]
        seconds = est.shape[3] * self.front.hop_length / self.sample_rate
        return peaks.sum((2, 3)).to(est.dtype) / seconds


def _largest(bins: Bins, high: int, wide: int) -> Bins:
    """The largest cell of so many bins by so many frames around each."""
    found = torch.nn.functional.max_pool2d(bins, (high, 1), 1, (high // 2, 0))
    return torch.nn.functional.max_pool2d(found, (1, wide), 1, (0, wide // 2))


def _strip(bins: Bins, outer: tuple[int, int], inner: tuple[int, int]) -> Bins:
    """Mean of a rectangle around each cell without a smaller one in its middle, within what there is of a spectrum."""
    ones = torch.ones_like(bins[:1, :1])
    (more, less), (all_cells, few_cells) = ([_sum(x, size) for size in (outer, inner)] for x in (bins, ones))
    return (more - less).relu() / (all_cells - few_cells).clamp(min=1)


def _sum(bins: Bins, size: tuple[int, int]) -> Bins:
    high, wide = size
    total = torch.nn.functional.avg_pool2d(bins, (high, 1), 1, (high // 2, 0)) * high
    return torch.nn.functional.avg_pool2d(total, (1, wide), 1, (0, wide // 2)) * wide
