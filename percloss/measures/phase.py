"""Distances that hear phase: of complex spectra, plain and compressed, of phases and their slopes, and weighted SDR."""

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from percloss import distances
from percloss._typing import PerItem, Spectrum, Wave
from percloss.dsp.safe import db_to_amplitude, db_to_power, magnitude, undefined_where
from percloss.dsp.stft import power
from percloss.engine import Closed, Pair, SpectralMeasure
from percloss.errors import ArgumentError
from percloss.frontends import Stft
from percloss.measure import Measure, register
from percloss.spec import Spec


@register
class ComplexSTFTDistance(SpectralMeasure):
    r"""Distance of complex short-time spectra.  Lower is better; 0 where est is ref.

    .. math:: \frac1N \sum_{k,n} \lvert \hat S_{kn} - S_{kn}\rvert^p

    summed over bins and averaged over frames. The window is scaled to show a full-scale sine as 1; with it, the sum
    makes the L1 form twice the mean that an unscaled transform gives, at any length. The modulus is taken and not real
    and imaginary part apart, so that a phase common to both signals changes nothing. By Parseval the L2 form is the
    mean squared error of the samples over again, up to a constant and the ends of the signal; the L1 form is not: it
    lets errors be large in few bins.

    Args:
        n_fft: Transform length [samples].
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        win_length: Length of the Hann window [samples]; ``None`` is ``n_fft``.
        norm: ``"l1"`` (p = 1) or ``"l2"`` (p = 2).
        floor_db: Errors smaller than this cost their square in the L1 form too [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> ComplexSTFTDistance()(ref, ref)
        tensor([[0.]])

    References:
        [tan2020]_ for the L2 form of real and imaginary parts; [lu2024]_ for the L1 form, at five resolutions.
    """

    spec = Spec(
        name="complex_stft",
        title="Complex STFT distance",
        unit="1",
        better="lower",
        bounds=(0.0, math.inf),
        perfect=0.0,
        invariant_to=frozenset({"swap"}),
        cite=("tan2020", "lu2024"),
    )

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int | None = None,
        win_length: int | None = None,
        *,
        norm: Literal["l1", "l2"] = "l1",
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        if norm not in ("l1", "l2"):
            raise ArgumentError(f'complex_stft: got norm={norm!r}; needed is "l1" or "l2".')
        self.transform(Stft(n_fft, hop_length, win_length))
        self.n_fft, self.hop_length, self.win_length = n_fft, hop_length, win_length
        self.norm, self.floor_db = norm, floor_db

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        error = power(est - ref)
        if self.norm == "l1":
            error = magnitude(error, db_to_power(self.floor_db)) - db_to_amplitude(self.floor_db)
        return error.sum(2).mean(-1)

    def closed(self, pair: Pair) -> Closed:
        error = pair.error_power
        frames = error.shape[-1]
        if self.norm == "l2":
            slope = torch.full_like(error, 2 / frames)
        else:
            error = magnitude(error, db_to_power(self.floor_db))
            slope = 1 / (frames * error)
            error -= db_to_amplitude(self.floor_db)
        return Closed(error.sum(2).mean(-1), slope, -slope)


@register
class CompressedSTFTDistance(SpectralMeasure):
    r"""Distance of short-time spectra whose magnitudes are compressed.  Lower is better; 0 where est is ref.

    .. math:: (1 - \lambda) \operatorname{mean}\bigl(|\hat S|^c - |S|^c\bigr)^2
        + \lambda \operatorname{mean}\bigl\lvert |\hat S|^c e^{j\hat\varphi} - |S|^c e^{j\varphi}\bigr\rvert^2

    The power gives soft sounds a say, as loudness does; the second term hears phase, where there is magnitude to have
    one. Computed as :math:`S\,(|S|^2 + \epsilon)^{(c - 1) / 2}`: no angle is taken, and the gradient is finite at 0.

    Args:
        n_fft: Transform length [samples].
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        win_length: Length of the Hann window [samples]; ``None`` is ``n_fft``.
        compression: Exponent c of the magnitudes, above 0 to 1.
        complex_weight: Weight of the complex term, 0 to 1; the other has the rest.
        floor_db: :math:`\epsilon`, added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> CompressedSTFTDistance()(ref, ref)
        tensor([[0.]])

    References:
        [yin2020]_, both terms with weight 0.5; [braun2021]_ for the defaults here.
    """

    spec = Spec(
        name="compressed_stft",
        title="Compressed complex STFT distance",
        unit="1",
        better="lower",
        bounds=(0.0, math.inf),
        perfect=0.0,
        invariant_to=frozenset({"swap"}),
        cite=("yin2020", "braun2021"),
    )

    def __init__(
        self,
        n_fft: int = 512,
        hop_length: int | None = None,
        win_length: int | None = None,
        *,
        compression: float = 0.3,
        complex_weight: float = 0.3,
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        if not (0 < compression <= 1 and 0 <= complex_weight <= 1):
            raise ArgumentError(
                f"compressed_stft: got compression={compression}, complex_weight={complex_weight}; needed are a "
                f"compression above 0 and neither of them above 1: compression=0.3, complex_weight=0.3."
            )
        self.transform(Stft(n_fft, hop_length, win_length))
        self.n_fft, self.hop_length, self.win_length = n_fft, hop_length, win_length
        self.compression, self.complex_weight, self.floor_db = compression, complex_weight, floor_db
        if complex_weight == 0:
            self.spec = replace(self.spec, invariant_to=frozenset({"polarity", "swap"}))

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        floor = db_to_power(self.floor_db)
        sizes = [(power(x) + floor) ** (self.compression / 2) for x in (est, ref)]
        error = (1 - self.complex_weight) * (sizes[0] - sizes[1]).square()
        if self.complex_weight:
            spectra = [distances.compressed(x, self.compression, floor) for x in (est, ref)]
            error = error + self.complex_weight * power(spectra[0] - spectra[1])
        return error.flatten(2).mean(-1)

    def closed(self, pair: Pair) -> Closed:
        floor, share = db_to_power(self.floor_db), self.complex_weight
        est, ref = pair.est_power + floor, pair.ref_power + floor
        count = est[0, 0].numel()
        sizes = est ** (self.compression / 2), ref ** (self.compression / 2)
        gains = sizes[0] / est.sqrt(), sizes[1] / ref.sqrt()
        difference = sizes[0] - sizes[1]
        error = pair.est * gains[0] - pair.ref * gains[1]
        value = (1 - share) * difference.square() + share * power(error)
        # The gain's own slope, (c - 1) / 2 of it over the power, lies along the estimate.
        along = error.real * pair.est.real + error.imag * pair.est.imag
        on_est = (1 - share) * self.compression * difference * sizes[0] / est
        on_est += share * gains[0] * (gains[0] + (self.compression - 1) * along / est)
        on_ref = -share * gains[0] * gains[1]
        return Closed(value.flatten(2).mean(-1), 2 / count * on_est, 2 / count * on_ref)


@register
class CosinePhaseDistance(SpectralMeasure):
    r"""Magnitude-weighted cosine distance of phases.  Lower is better; 0 where phases are equal, 1 where unrelated.

    .. math:: \frac{\sum 2\,|S||\hat S|\,(1 - \cos\Delta\varphi)}{\sum 2\,|S||\hat S|}

    The numerator is exactly what phase adds to the squared error of the spectrum,
    :math:`|\hat S - S|^2 = (|\hat S| - |S|)^2 + 2|S||\hat S|(1 - \cos\Delta\varphi)`. It hears no level
    and, but for its weights, no magnitude; it is 2 where the polarity is wrong. A delay costs much and sounds like
    nothing: where that matters, use ``AntiWrappingPhaseDistance`` of group delay and frequency alone. A silent
    reference has no phase: nan. A silent estimate scores 1 with zero gradient.

    Args:
        n_fft: Transform length [samples].
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        win_length: Length of the Hann window [samples]; ``None`` is ``n_fft``.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> CosinePhaseDistance()(-0.3 * ref, ref).round(decimals=4)
        tensor([[2.]])

    References:
        [takamichi2018]_ for the cosine, without weights.
    """

    spec = Spec(
        name="cosine_phase",
        title="Cosine phase distance",
        unit="1",
        better="lower",
        bounds=(0.0, 2.0),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "swap"}),
        cite=("takamichi2018",),
    )

    def __init__(self, n_fft: int = 1024, hop_length: int | None = None, win_length: int | None = None) -> None:
        super().__init__()
        self.transform(Stft(n_fft, hop_length, win_length))
        self.n_fft, self.hop_length, self.win_length = n_fft, hop_length, win_length

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        return distances.cosine_phase(est, ref)

    def closed(self, pair: Pair) -> Closed:
        largest = [x.amax((2, 3), keepdim=True).sqrt() for x in (pair.est_power, pair.ref_power)]
        silent, undefined = (x == 0 for x in largest)
        est_peak, ref_peak = (torch.where(undefined, 1, x) for x in distances.peaks(*largest))
        # Rather than the spectra over their peaks, the floors times them: every pass over the bins counts.
        tiny = torch.finfo(est_peak.dtype).tiny
        est_floor, ref_floor = ((distances.NOTHING * x.square()).clamp(min=tiny) for x in (est_peak, ref_peak))
        est_power, ref_power = pair.est_power + est_floor, pair.ref_power + ref_floor
        est, ref = est_power.sqrt(), ref_power.sqrt()
        chord = (pair.est.real / est).addcdiv_(pair.ref.real, ref, value=-1).square_()
        across = (pair.est.imag / est).addcdiv_(pair.ref.imag, ref, value=-1)
        chord.addcmul_(across, across)
        weight = torch.mul(est, ref, out=across)
        total = 2 * weight.sum((2, 3), keepdim=True)
        value = (chord.mul_(weight).sum((2, 3), keepdim=True) / total).clamp(max=2)
        heard = torch.where(silent | undefined, 0, 1 / total)
        # Along the estimate: what its magnitude does to its phasor and to the weights. The floor is in both magnitudes.
        slope = est_power.reciprocal_().mul_(est_floor * heard).addcdiv_(ref_floor * heard, ref_power, value=-1)
        on_est, on_ref = slope.add_((2 - 2 * value) * heard).mul_(ref.div_(est)), -2 * heard
        value = undefined_where(undefined, torch.where(silent, 1, value))
        return Closed(value[..., 0, 0], on_est, on_ref)


@register
class AntiWrappingPhaseDistance(SpectralMeasure):
    r"""Anti-wrapped distance of phase, group delay and frequency, in radians.  Lower is better; 0 where they are equal.

    .. math:: w_p \overline{f(\Delta\varphi)} + w_g \overline{f(\partial_k \Delta\varphi)}
        + w_f \overline{f(\partial_n \Delta\varphi)}, \qquad f(x) = \lvert x - 2\pi \operatorname{round}(x / 2\pi)\rvert

    of the phase difference :math:`\Delta\varphi` and its steps to the next bin and the next frame, each a weighted
    mean. :math:`f` of a sum of phases is the absolute angle of a product of phasors, and is taken so. Steps exist
    between neighbours only: the first bin and frame give none, as ``torch.diff`` has it and the papers' matrices do
    not. The turn that a hop adds to a phase is in both signals and cancels.

    A constant phase moves the first term alone; a delay of d samples is 2 pi d / n_fft in the second. Bins that the
    estimate leaves 60 dB below the reference count pi / 2, as unrelated phases do: nothing is won by muting. It does
    not hear level. A silent reference has no phase: nan.

    Args:
        n_fft: Transform length [samples].
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        win_length: Length of the Hann window [samples]; ``None`` is ``n_fft``.
        phase: Weight of the instantaneous phase.
        group_delay: Weight of the step from bin to bin.
        frequency: Weight of the step from frame to frame, the instantaneous angular frequency.
        weight: What a bin counts. ``"magnitude"``: its magnitude in the reference. ``"mask"``: 1 from ``mask_db`` up,
            and 0 below. ``"none"``: 1, as in the papers, where noise and leakage dominate the mean. Two neighbours
            count their geometric mean.
        mask_db: See ``weight`` [dB re the reference's largest bin].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> AntiWrappingPhaseDistance(group_delay=0.0, frequency=0.0)(-ref, ref)
        tensor([[3.1416]])

    References:
        [ai2023]_.
    """

    spec = Spec(
        name="anti_wrapping_phase",
        title="Anti-wrapping phase distance",
        unit="rad",
        better="lower",
        bounds=(0.0, 3 * math.pi),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level"}),
        cite=("ai2023",),
    )

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int | None = None,
        win_length: int | None = None,
        *,
        phase: float = 1.0,
        group_delay: float = 1.0,
        frequency: float = 1.0,
        weight: Literal["none", "magnitude", "mask"] = "magnitude",
        mask_db: float = -60.0,
    ) -> None:
        super().__init__()
        weights = phase, group_delay, frequency
        if min(weights) < 0 or sum(weights) == 0 or weight not in ("none", "magnitude", "mask") or not mask_db < 0:
            raise ArgumentError(
                f"anti_wrapping_phase: got phase={phase}, group_delay={group_delay}, frequency={frequency}, "
                f"weight={weight!r}, mask_db={mask_db}; needed are none below 0 and one above, "
                f'weight="none", "magnitude" or "mask", and mask_db below 0.'
            )
        self.transform(Stft(n_fft, hop_length, win_length))
        self.min_samples = max(self.min_samples, self.front.hop_length)  # two frames
        self.n_fft, self.hop_length, self.win_length = n_fft, hop_length, win_length
        self.phase, self.group_delay, self.frequency = phase, group_delay, frequency
        self.weight, self.mask_db = weight, mask_db
        self.spec = replace(self.spec, bounds=(0.0, math.pi * sum(weights)))
        if phase == 0:
            self.spec = replace(self.spec, invariant_to=frozenset({"gain", "level", "polarity"}))

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        est, ref = distances.at_unit_peak(est, ref)
        angle, certain = distances.phase_difference(est, ref)
        weight = self._weight(power(ref.detach()))
        value = self.phase * distances.anti_wrapped(angle, certain, weight)
        for share, axis in ((self.group_delay, 2), (self.frequency, 3)):
            if share:
                pairs = [_neighbours(certain, axis), _neighbours(weight, axis).sqrt()]
                value = value + share * distances.anti_wrapped(angle.diff(dim=axis), *pairs)
        return undefined_where(weight.amax((2, 3)) == 0, value)

    def _weight(self, ref_power: Tensor) -> Tensor:
        if self.weight == "magnitude":
            return ref_power.sqrt()
        if self.weight == "mask":
            return (ref_power >= db_to_power(self.mask_db)).to(ref_power.dtype)
        # Smoothly to 0 where there is only the rounding of the transform.
        return ref_power / (ref_power + db_to_power(-120.0))


def _neighbours(x: Tensor, axis: int) -> Tensor:
    """Product of each entry along an axis and the next."""
    size = x.shape[axis] - 1
    return x.narrow(axis, 0, size) * x.narrow(axis, 1, size)


@register
class WeightedSDR(Measure):
    r"""Weighted SDR: cosines of target and of noise with their estimates.  Higher is better; 1 where est is ref.

    .. math:: \alpha \frac{\langle \hat s, s\rangle}{\lVert\hat s\rVert \lVert s\rVert}
        + (1 - \alpha) \frac{\langle \hat z, z\rangle}{\lVert\hat z\rVert \lVert z\rVert}, \qquad
        z = x - s,\; \hat z = x - \hat s,\; \alpha = \frac{\lVert s\rVert^2}{\lVert s\rVert^2 + \lVert z\rVert^2}

    What is left of the mixture x when the estimate is taken from it is judged as the target is: that fixes the level,
    to which a cosine alone is deaf, and gives a silent reference a value. Where reference and mixture are both silent
    there is none: nan. A cosine with a silent signal is 0. The paper's loss is its negative.

    Shape:
        est, ref, mix: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref, noise = torch.ones(1, 1, 8), torch.tensor([1.0, -1.0]).repeat(4)
        >>> WeightedSDR()(ref + noise, ref, mix=ref + noise)
        tensor([[0.3536]])

    References:
        [choi2019]_.
    """

    spec = Spec(
        name="weighted_sdr",
        title="Weighted SDR",
        unit="1",
        better="higher",
        bounds=(-1.0, 1.0),
        perfect=1.0,
        needs=("mix",),
        invariant_to=frozenset({"level"}),
        cite=("choi2019",),
    )

    def compare(self, est: Wave, ref: Wave, *, mix: Wave) -> PerItem:
        noise = mix - ref
        target, rest = distances.energy(ref), distances.energy(noise)
        total = target + rest
        share = target / torch.where(total == 0, 1, total)
        value = share * distances.cosine(est, ref) + (1 - share) * distances.cosine(mix - est, noise)
        return undefined_where(total == 0, value.clamp(-1, 1))

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        return "reference and mixture are silent"
