"""Diagnostics of the course of time: attacks, peaks, pitch, variation, tails, and the ticking of a network's frames."""

import math

import torch
from torch import Tensor

from percloss import distances
from percloss._typing import Bins, PerItem, Wave
from percloss.dsp.safe import db_to_power, magnitude, ratio_db, undefined_where
from percloss.dsp.scales import MEL_SLANEY
from percloss.dsp.stft import hann, power
from percloss.frontends import Bands, Stft
from percloss.measure import register
from percloss.measures.artefacts import Diagnostic, at_unit_peak, check_rate, transform_size, window_samples
from percloss.measures.artefacts_spectral import DB, SpectralDiagnostic, at_unit_mean, octaves
from percloss.spec import Spec

# Relative to the mean power of a spectrum: under every root and logarithm.
FLOOR = db_to_power(-100.0)


@register
class OnsetFlux(SpectralDiagnostic):
    r"""Rise of the spectrum at the reference's onsets, against the reference's, in dB.  Nearer to 0 is better.

    .. math:: 20 \log_{10} \frac{\sum_{m \in O} \sum_k \max(0, |\hat S_{km}| - |\hat S_{k,m-1}|)}
                               {\sum_{m \in O} \sum_k \max(0, |S_{km}| - |S_{k,m-1}|)}

    Below 0 attacks are soft or dull. Onsets :math:`O` are the frames where the rise of the reference is larger than its
    mean and than in the seven frames on either side.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where either is silent.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> OnsetFlux(16_000)(0.5 * ref, ref)
        tensor([[0.]])

    References:
        [bello2005]_ for spectral flux.
    """

    AROUND = 15

    spec = Spec(
        name="onset_flux",
        title="Onset flux",
        unit="dB",
        better="nearer",
        bounds=(-140.0, 140.0),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("bello2005",),
    )
    below, above = "soft attacks", "sharper attacks, or clicks at them"
    otherwise = "reference has no onset"

    def judge(self, est: Bins, ref: Bins) -> PerItem:
        est_rise, ref_rise = (magnitude(bins, FLOOR).diff(dim=3).relu().sum(2) for bins in (est, ref))
        peaks = ref_rise == torch.nn.functional.max_pool1d(ref_rise, self.AROUND, 1, self.AROUND // 2)
        onsets = peaks & (ref_rise > ref_rise.mean(-1, keepdim=True))
        est_sum, ref_sum = (torch.where(onsets, rise, 0).sum(-1) for rise in (est_rise, ref_rise))
        return undefined_where(ref_sum == 0, ratio_db(est_sum.square(), ref_sum.square()))


@register
class PreEcho(Diagnostic):
    r"""Energy in the 20 ms before the reference's onsets, against the reference's, in dB.  Nearer to 0 is better.

    .. math:: \frac1N \sum_{(b,m) \in O} 10 \log_{10} \frac{\hat a_{bm} + \epsilon p_{bm}}{a_{bm} + \epsilon p_{bm}}

    in octaves :math:`b`, of the power :math:`a` before an onset; what is 40 dB below the power :math:`p` of the
    reference after it is nothing. Above 0 an attack is heard before it comes, as of a spectrogram that was smeared, or
    noise fills the pause before it. An onset is a rise of the reference by 10 dB or more within 20 ms, or the steepest
    where none is as steep, to within 20 dB of its loudest octave; a gain is removed first.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where there is no onset or no sound.

    Example:
        >>> ref = torch.cat((torch.zeros(1, 1, 4000), torch.ones(1, 1, 4000)), -1)
        >>> ref = ref * torch.randn(1, 1, 8000, generator=torch.Generator().manual_seed(0))
        >>> bool(PreEcho(16_000)(ref + 0.1 * ref.roll(-300), ref) > 10)
        True

    References:
        [torcoli2024]_ for listeners' scores of the artefact, which coders leave.
    """

    SECONDS, WINDOW = 0.02, 0.01
    RISE, LOUD, FAINT = db_to_power(10.0), db_to_power(-20.0), db_to_power(-40.0)

    spec = Spec(
        name="pre_echo",
        title="Pre-echo",
        unit="dB",
        better="nearer",
        bounds=(-40.0, math.inf),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("torcoli2024",),
    )
    below, above, highest = "emptier before attacks", "attacks that are heard too early", "temporal_smear"
    otherwise = "reference has no onset"

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        check_rate(self.spec.name, sample_rate)
        self.sample_rate = sample_rate
        self.front = Stft(window_samples(sample_rate, self.WINDOW))
        self.octaves = octaves(self.front.n_fft)
        self.frames = max(1, round(self.SECONDS * sample_rate / self.front.hop_length))
        # Frames before and after must not share samples, or an attack would be its own pre-echo.
        self.lag = self.frames + self.front.n_fft // self.front.hop_length // 2
        self.min_samples = (self.frames + self.lag + 1) * self.front.hop_length

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        (est_bins, est_silent), (ref_bins, ref_silent) = (at_unit_mean(self.front.power(x)) for x in (est, ref))
        est_bands, ref_bands = (self._smoothed(bins) for bins in (est_bins, ref_bins))
        before, after = ref_bands[..., : -self.lag], ref_bands[..., self.lag :]
        loudest = after.amax((2, 3), keepdim=True)
        quiet = (before + FLOOR * loudest).clamp(min=torch.finfo(before.dtype).tiny)
        rise = torch.where(after > self.LOUD * loudest, after / quiet, 0)
        peaks = rise == torch.nn.functional.max_pool2d(rise, (1, 2 * self.lag + 1), 1, (0, self.lag))
        onsets = peaks & (rise > 0) & (rise >= rise.amax((2, 3), keepdim=True).clamp(max=self.RISE))
        faint = torch.where(onsets, self.FAINT * after, 1)
        change = DB * ((est_bands[..., : -self.lag] + faint) / (before + faint)).log()
        count = onsets.sum((2, 3))
        value = torch.where(onsets, change, 0).sum((2, 3)) / count.clamp(min=1)
        return undefined_where(est_silent | ref_silent | (count == 0), value)

    def _smoothed(self, bins: Bins) -> Tensor:
        """The mean power of each octave over the 20 ms from each frame on."""
        bands = torch.stack([bins[:, :, band].mean(2) for band in self.octaves], 2)
        smoothed: Tensor = torch.nn.functional.avg_pool2d(bands, (1, self.frames), 1)
        return smoothed


@register
class GlobalVariance(SpectralDiagnostic):
    r"""Log ratio of how far band levels vary over time, to the reference's.  Nearer to 0 is better; below is flattened.

    .. math:: \frac1K \sum_k \ln \frac{\operatorname{Var}_m \ln\hat E_{km}}{\operatorname{Var}_m \ln E_{km}}

    in 24 mel bands, what is 60 dB below the loudest being nothing. Models that are trained on a mean vary too little,
    masks that switch too much.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where either is silent.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> GlobalVariance(16_000)(0.5 * ref, ref)
        tensor([[0.]])

    References:
        [toda2007]_, of cepstra.
    """

    FAINT, STEADY = db_to_power(-60.0), 1e-3

    spec = Spec(
        name="global_variance",
        title="Global variance",
        unit="1",
        better="nearer",
        bounds=(-math.inf, math.inf),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("toda2007",),
    )
    below, above = "flattened, without life", "too lively, or chopped"

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)
        self.bands = Bands(MEL_SLANEY, sample_rate, 24, self.front.n_fft)

    def judge(self, est: Bins, ref: Bins) -> PerItem:
        est_bands, ref_bands = self.bands(est), self.bands(ref)
        floor = self.FAINT * ref_bands.amax((2, 3), keepdim=True)
        floor = torch.where(floor == 0, 1, floor)
        variances = [(bands + floor).log().var(3) + self.STEADY for bands in (est_bands, ref_bands)]
        ratio: Tensor = variances[0] / variances[1]
        return ratio.log().mean(2)


@register
class Harmonicity(Diagnostic):
    r"""Harmonics-to-noise ratio in voiced frames, less the reference's, in dB.  Nearer to 0 is better.

    .. math:: \frac1N \sum_m \Bigl(10 \log_{10} \frac{\hat r_m}{1 - \hat r_m} - 10 \log_{10} \frac{r_m}{1 - r_m}\Bigr)

    with :math:`r` the largest normalised autocorrelation of a frame at the periods of 70 to 500 Hz, between 0.001 and
    0.999. Below 0 a voice is hoarse or noisy, above it is buzzing or robotic. Frames count where the reference has
    :math:`r` above 0.5 and is within 30 dB of its loudest.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where no frame of the reference is voiced.

    Example:
        >>> ref = torch.sin(torch.arange(16_000) / 16)[None, None]
        >>> noise = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> bool(Harmonicity(16_000)(ref + 0.3 * noise, ref) < -10)
        True

    References:
        [boersma1993]_.
    """

    LOWEST, HIGHEST, WINDOW = 70.0, 500.0, 0.06
    VOICED, LOUD, LEAST = 0.5, db_to_power(-30.0), 1e-3
    window: Tensor
    of_window: Tensor

    spec = Spec(
        name="harmonicity",
        title="Harmonicity",
        unit="dB",
        better="nearer",
        bounds=(-60.0, 60.0),
        perfect=0.0,
        differentiable=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("boersma1993",),
    )
    below, above = "hoarse or noisy", "buzzing or robotic"
    otherwise = "no frame of the reference is voiced"

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        check_rate(self.spec.name, sample_rate)
        self.sample_rate = sample_rate
        self.front = Stft(window_samples(sample_rate, self.WINDOW))
        self.min_samples = self.front.n_fft
        self.periods = round(sample_rate / self.HIGHEST), round(sample_rate / self.LOWEST)

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        (est_like, _), (ref_like, ref_energy) = (self._periodicity(x) for x in (est, ref))
        counts = (ref_like > self.VOICED) & (ref_energy > self.LOUD * ref_energy.amax(-1, keepdim=True))
        est_db, ref_db = (DB * (r / (1 - r)).log() for r in (est_like, ref_like))
        number = counts.sum(-1)
        value = torch.where(counts, est_db - ref_db, 0).sum(-1) / number.clamp(min=1)
        return undefined_where((number == 0) | ~est.any(-1), value)

    def _periodicity(self, x: Wave) -> tuple[Tensor, Tensor]:
        """The largest autocorrelation of each frame, over the window's own, and its energy."""
        n = self.front.n_fft
        window = hann(n).to(x)
        frames = at_unit_peak(x).unfold(-1, n, n // 4) * window
        found, own = (torch.fft.irfft(power(torch.fft.rfft(y, 2 * n)), 2 * n) for y in (frames, window))
        energy = found[..., 0]
        first, last = self.periods
        like = found[..., first:last] / torch.where(energy == 0, 1, energy)[..., None] * (own[0] / own[first:last])
        return like.amax(-1).clamp(self.LEAST, 1 - self.LEAST), energy


@register
class CrestFactor(Diagnostic):
    r"""Peak over root mean square, against the reference's, in dB.  Nearer to 0 is better; below, peaks are cut off.

    .. math:: 20 \log_{10} \frac{\max_t |\hat s_t| / \lVert\hat s\rVert}{\max_t |s_t| / \lVert s\rVert}

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where either is silent.

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 8)[None, None]
        >>> CrestFactor()(ref.sign(), ref).round(decimals=2)
        tensor([[-3.0100]])

    References:
        [vickers2010]_.
    """

    spec = Spec(
        name="crest_factor",
        title="Crest factor",
        unit="dB",
        better="nearer",
        bounds=(-140.0, 140.0),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("vickers2010",),
    )
    below, above, lowest = "clipped or compressed", "peaks or clicks that stand out", "clipping"

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        crests, silent = [], []
        for x in (est, ref):
            peak = x.abs().amax(-1)
            silent.append(peak < torch.finfo(peak.dtype).tiny)
            unit = x / torch.where(silent[-1], 1, peak)[..., None]
            crests.append(torch.where(silent[-1], 1, distances.energy(unit)))
        return undefined_where(silent[0] | silent[1], ratio_db(crests[1], crests[0]))


@register
class FrameBuzz(Diagnostic):
    r"""Lines at the frame rate of a transform or a network, against the reference's, in dB.  Nearer to 0 is better.

    .. math:: \max_{h,y} \Bigl[ L_h(\hat y) - L_h(y) \Bigr], \qquad y \in \{s, s^2\}, \qquad
        L_h(y) = \max\Bigl(0,\ 10 \log_{10} \frac1N \sum_{n=1}^{N} \frac{Y^2(n f_s / h)}{\bar Y^2(n f_s / h)}\Bigr)

    How far the spectrum of the signal (the tones of transposed convolutions, a checkerboard) or of its square (an
    envelope that ticks, a robotic buzz) stands out at up to eight multiples of the frame rate over the mean of what is
    beside them. Steps :math:`h` are the powers of two from 4 to 512 samples, and 5 and 10 ms; the one that stands out
    most counts, so that other errors score a few dB by chance.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where either is silent.

    Example:
        >>> ref = torch.randn(1, 1, 32_000, generator=torch.Generator().manual_seed(0))
        >>> ticking = 1 + 0.5 * (torch.arange(32_000) % 256 < 128)
        >>> bool(FrameBuzz(16_000)(ticking * ref, ref) > 10)
        True

    References:
        [pons2021]_ for the tones.
    """

    STEPS, SECONDS, LINES, BESIDE = tuple(2**n for n in range(2, 10)), (0.005, 0.01), 8, (3, 9)
    # Of the mean power of a spectrum: what rounding leaves is no line.
    ROUNDING = db_to_power(-120.0)

    spec = Spec(
        name="frame_buzz",
        title="Frame-rate buzz",
        unit="dB",
        better="nearer",
        bounds=(-140.0, 280.0),
        perfect=0.0,
        differentiable=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("pons2021",),
    )
    below, above = "a buzz of the reference is gone", "a buzz or tones at the rate of its frames"

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        check_rate(self.spec.name, sample_rate)
        self.sample_rate = sample_rate
        # Steps that divide the largest of their group share its transform.
        seconds = tuple(max(4, round(part * sample_rate)) for part in self.SECONDS)
        self.groups = (self.STEPS, *((step,) for step in seconds))
        self.min_samples = 3 * self.BESIDE[1] * max(self.STEPS[-1], *seconds)

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        found = []
        silent = ~est.any(-1) | ~ref.any(-1)
        est, ref = at_unit_peak(est), at_unit_peak(ref)
        for group in self.groups:
            frames = est.shape[-1] // group[-1]
            # The largest number of frames that has a fast transform.
            frames = frames >> max(0, frames.bit_length() - 4) << max(0, frames.bit_length() - 4)
            for y in (lambda x: x, torch.square):
                spectra = [power(torch.fft.rfft(y(x[..., : frames * group[-1]]))) for x in (est, ref)]
                for step in group:
                    est_lines, ref_lines = (self._lines(bins, frames * group[-1] // step, step) for bins in spectra)
                    found.append(est_lines - ref_lines)
        return undefined_where(silent, torch.stack(found).amax(0).clamp(min=-140, max=280))

    def _lines(self, bins: Tensor, spacing: int, step: int) -> PerItem:
        """How far bins at multiples of ``spacing`` are above what is beside them, on average, but no less than 0 dB."""
        near, far = self.BESIDE
        bins = bins + self.ROUNDING * bins.mean(-1, keepdim=True)
        at = spacing * torch.arange(1, 1 + min(self.LINES, step // 2 - 1), device=bins.device)
        beside = torch.stack([bins[..., at + sign * away] for away in range(near, far) for sign in (-1, 1)]).mean(0)
        height = (bins[..., at] / beside.clamp(min=torch.finfo(bins.dtype).tiny)).mean(-1)
        return DB * height.clamp(min=1).log()


@register
class LateReverberation(Diagnostic):
    r"""Energy of the response that makes the estimate of the reference, after 20 ms, in %.  Nearer to 0 is better.

    .. math:: 100\,\frac{\sum_{t_1 < t < t_2} (h_t^2 - h_{-t}^2)}{\sum_t h_t^2}, \qquad
        H = \frac{\hat S S^*}{|S|^2 + \lambda \overline{|S|^2}}

    of the impulse response :math:`h` that least squares finds, from 20 ms to 300 ms after the sound. What noise leaves
    in it is as much before the sound as after, and is taken off; so a noise scores nothing, and a hall or an echo that
    the reference does not have its share. Below 0 the estimate answers before the sound, or is dry where the reference
    is not.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where either is silent.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> echo = torch.nn.functional.pad(ref, (800, 0))[..., :16_000]
        >>> bool(LateReverberation(16_000)(ref + 0.5 * echo, ref) > 10)
        True

    References:
        [iso2009]_ for early and late energy of a room.
    """

    FIRST, LAST, REGULARISATION = 0.02, 0.3, 0.01

    spec = Spec(
        name="late_reverberation",
        title="Late reverberation",
        unit="%",
        better="nearer",
        bounds=(-100.0, 100.0),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("iso2009",),
    )
    below, above, highest = "drier, or sounds before they come", "a hall or an echo", "reverberation"

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        check_rate(self.spec.name, sample_rate)
        self.sample_rate = sample_rate
        self.first, self.last = (round(seconds * sample_rate) for seconds in (self.FIRST, self.LAST))
        self.min_samples = 2 * self.first + 2

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        silent = (distances.energy(est) < torch.finfo(est.dtype).tiny) | ~ref.any(-1)
        n = transform_size(2 * est.shape[-1])
        est_spectrum, ref_spectrum = (torch.fft.rfft(at_unit_peak(x), n) for x in (est, ref))
        weight = power(ref_spectrum)
        floor = self.REGULARISATION * weight.mean(-1, keepdim=True)
        inverse = ref_spectrum.conj() / torch.where(floor == 0, 1, weight + floor)
        response = torch.fft.irfft(est_spectrum * inverse, n).square()
        last = min(self.last, est.shape[-1] - 1)
        late, early = response[..., self.first : last], response[..., n - last + 1 : n - self.first + 1]
        total = response.sum(-1)
        share = (late.sum(-1) - early.sum(-1)) / torch.where(total == 0, 1, total)
        return undefined_where(silent | (total == 0), 100 * share)
