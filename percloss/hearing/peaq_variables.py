"""What PEAQ makes of two excitations: eleven variables of how a listener would hear an estimate beside a reference."""

import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from percloss._typing import Bins, Wave
from percloss.dsp.safe import db_to_power, log_power, magnitude
from percloss.hearing import peaq_grade
from percloss.hearing.peaq import BANDS, FRAME, FULL_SCALE, HOP, PEAQEar
from percloss.hearing.temporal import one_pole

# A signal begins, and ends, where the magnitudes of so many samples sum up to more than this.
ONSET_SAMPLES, ONSET = 5, 200 / FULL_SCALE
# Frames that the filters are given to settle (half a second), and frames of a window of 100 ms.
SETTLING, WINDOW = 24, 4
# Loudness from which a signal is heard [sone], and frames after that before noise counts.
HEARD, AFTER_HEARD = 0.1, 3
# Beneath the error in any band, beneath any bin, and beneath a square before its root [0 dB SPL is 1].
FLOOR, ROOT_FLOOR = db_to_power(-120.0), db_to_power(-200.0)
# Bandwidths: bins from which the noise floor is taken, and the lowest that counts as one, 8.1 kHz.
BW_FLOOR, BW_LOWEST = 921, 346
BW_REF, BW_EST = db_to_power(10.0), db_to_power(5.0)
# Level in each frame that an error is heard from, over the mask.
DISTURBED = db_to_power(1.5)
# Just noticeable difference of level over level [dB].
STEP_SCALE, STEP_LEVEL, STEP_POWER = 5.95072, 6.39468, 1.71332
STEP_POLYNOMIAL = (-0.198719, 0.0550197, -0.00102438, 5.05622e-6, 9.01033e-11)
# Below this level the step is as good as infinite; the formula has a pole at 0 dB [dB SPL].
STEP_LOWEST = 1e-3
# Detection rises with these powers of a loss and of a gain, over the step.
LOSS_POWER, GAIN_POWER = 4, 6
# What is left of the probability of detection after a frame.
DETECTION_DECAY = 0.9
# Lags of the correlation of logarithmic spectra, and the energy of half a frame from which it is taken.
LAGS, EHS_ENERGY = 256, 8000 / FULL_SCALE**2

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 (used as a decorator, as `property` is)
    """An attribute that is made when it is first asked for.

    ``functools.cached_property`` takes a lock up to Python 3.11, which ``torch.compile`` cannot trace.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        value = self.make(instance)
        setattr(instance, self.name, value)
        return value


class Comparison:
    """An estimate beside its reference, through the ear: every stage and every variable, each made when it is wanted.

    Variables are (batch,), the mean over one channel or two but for detection, where the ear that hears more decides.
    Frames count from where the reference begins to where it ends; what needs settled filters, from half a second on.
    ``judged`` and ``settled`` say which frames; an item without any has numbers that mean nothing.

    Args:
        ear: At 48 kHz.
        est: At 48 kHz, (batch, channels, time).
        ref: As ``est``.
    """

    def __init__(self, ear: PEAQEar, est: Wave, ref: Wave) -> None:
        self.ear, self.est, self.ref = ear, est, ref
        self.frames = ear.count(ref.shape[-1])

    @lazy
    def spectra(self) -> tuple[Bins, Bins]:
        """Power in each bin, of estimate and reference, as are all pairs here."""
        return self.ear.spectrum(self.est), self.ear.spectrum(self.ref)

    @lazy
    def unsmeared(self) -> tuple[Bins, Bins]:
        """Excitation of each frame alone."""
        est, ref = (self.ear.spread(self.ear.pattern(self.ear.weighted(x))) for x in self.spectra)
        return est, ref

    @lazy
    def excitation(self) -> tuple[Bins, Bins]:
        """Excitation with forward masking."""
        est, ref = (self.ear.smeared(x) for x in self.unsmeared)
        return est, ref

    @lazy
    def modulations(self) -> tuple[tuple[Bins, Bins], tuple[Bins, Bins]]:
        """Modulation and average loudness."""
        est, ref = (self.ear.modulation(x) for x in self.unsmeared)
        return est, ref

    # Frames.

    @lazy
    def index(self) -> Tensor:
        """Numbers of the frames."""
        return torch.arange(self.frames, device=self.ref.device)

    @lazy
    def judged(self) -> Tensor:
        """Frames that count, (batch, frames): those between the first and the last loud samples of the reference."""
        sums = self.ref.detach().abs().unfold(-1, ONSET_SAMPLES, 1).sum(-1)
        loud = (sums > ONSET if self.ear.variant == "kabal" else sums >= ONSET).any(1)
        at = torch.arange(loud.shape[-1], device=loud.device)
        first = torch.where(loud, at, len(at)).amin(1, keepdim=True)
        last = torch.where(loud, at, -1).amax(1, keepdim=True)
        if self.ear.variant == "kabal":  # up to the last frame whose first half is full
            first, last = first // HOP, (last + ONSET_SAMPLES - HOP) // HOP
        else:  # every frame in which such samples are, but for its very first
            first, last = (first + ONSET_SAMPLES - FRAME + HOP - 1) // HOP, (last - 1) // HOP
        return loud.any(1, keepdim=True) & (self.index >= first) & (self.index <= last)

    @lazy
    def settled(self) -> Tensor:
        """Of these, the ones after half a second."""
        return self.judged & (self.index >= SETTLING)

    def known(self, *, settled: bool = True) -> Tensor:
        """Which items have frames enough, (batch,)."""
        return self.settled.sum(1) >= WINDOW if settled else self.judged.any(1)

    # Variables.

    @lazy
    def noise_to_mask(self) -> Bins:
        """Power of the error over the mask, in each band. The error is one of magnitudes: it has no phase."""
        est, ref = (magnitude(self.ear.weighted(x), FLOOR) for x in self.spectra)
        error: Bins = self.ear.group((est - ref).square()) + FLOOR
        return error * self.ear.offset.to(error.dtype) / self.excitation[1]

    @lazy
    def mean_nmr(self) -> Tensor:
        """Mean of that over bands and frames, (batch, channels)."""
        return _mean(self.noise_to_mask.mean(2), self.judged)

    @lazy
    def total_nmr(self) -> Tensor:
        """Noise to mask, [dB]."""
        return (10 * self.mean_nmr.log10()).mean(1)

    @lazy
    def rel_dist_frames(self) -> Tensor:
        """Share of frames in which some band's noise to mask is above 1.5 dB."""
        disturbed = (self.noise_to_mask.amax(2) > DISTURBED).to(self.ref.dtype)
        return _mean(disturbed, self.judged).mean(1)

    @lazy
    def mod_diff1(self) -> Tensor:
        """Difference of modulation in each frame, (batch, channels, frames)."""
        (est, _), (ref, _) = self.modulations
        return 100 / BANDS * ((ref - est).abs() / (1 + ref)).sum(2)

    @lazy
    def mod_diff2(self) -> Tensor:
        """The same where lost modulation counts a tenth, and little modulation of the reference more."""
        (est, _), (ref, _) = self.modulations
        change = torch.where(est >= ref, est - ref, 0.1 * (ref - est))
        return 100 / BANDS * (change / (0.01 + ref)).sum(2)

    @lazy
    def audible(self) -> Tensor:
        """Weight of each frame in a mean: in how many bands the reference is well above the noise of the ear."""
        _, (_, loud) = self.modulations
        return (loud / (loud + 100 * self.ear.noise.to(loud.dtype) ** 0.3)).sum(2)

    @lazy
    def win_mod_diff1(self) -> Tensor:
        """Difference of modulation, windowed."""
        root = magnitude(self.mod_diff1, ROOT_FLOOR)
        windows = pad(root, (WINDOW - 1, 0)).unfold(-1, WINDOW, 1).mean(-1)
        whole = self.settled & pad(self.settled, (WINDOW - 1, 0))[:, : self.frames]
        return magnitude(_mean(windows.square().square(), whole), ROOT_FLOOR).mean(1)

    @lazy
    def avg_mod_diff1(self) -> Tensor:
        """Difference of modulation, averaged."""
        return _mean(self.mod_diff1, self.settled, self.audible).mean(1)

    @lazy
    def avg_mod_diff2(self) -> Tensor:
        """Difference of modulation, averaged, with lost modulation counting less."""
        return _mean(self.mod_diff2, self.settled, self.audible).mean(1)

    @lazy
    def noise_loudness(self) -> Tensor:
        """Loudness of what the estimate has more than the reference, in each frame, (batch, channels, frames)."""
        (est_change, _), (ref_change, _) = self.modulations
        est, ref = self.ear.adapted(*self.excitation)
        est_share, ref_share = 0.15 * est_change + 0.5, 0.15 * ref_change + 0.5
        noise = self.ear.noise.to(est.dtype)
        masking = (-1.5 * (est - ref) / ref).exp()
        added = (est_share * est - ref_share * ref).clamp(min=0) / (noise + ref_share * ref * masking)
        loud: Tensor = 24 / BANDS * ((noise / est_share) ** 0.23 * ((1 + added) ** 0.23 - 1)).sum(2)
        return loud

    @lazy
    def rms_noise_loud(self) -> Tensor:
        """Loudness of the error, from 50 ms after both signals are heard; 0 where the estimate never is."""
        est, ref = (self.ear.loudness(x) for x in self.excitation)
        heard = ((est > HEARD) & (ref > HEARD)).any(1) & self.judged
        heard = self._after(heard)
        value, all_of_it = (_rms(self.noise_loudness, frames) for frames in (heard, self.settled))
        # What is not heard yet shall become so: a value of 0 has the gradient of all frames.
        unheard = all_of_it - all_of_it.detach()
        return torch.where(heard.any(1), value, unheard)

    @lazy
    def rms_noise_loud_of_heard(self) -> Tensor:
        """The same, from 50 ms after the reference is heard, whether the estimate is or not."""
        heard = (self.ear.loudness(self.excitation[1]) > HEARD).any(1) & self.judged
        return _rms(self.noise_loudness, self._after(heard))

    def _after(self, heard: Tensor) -> Tensor:
        """Settled frames from 50 ms after the first that is heard."""
        first = torch.where(heard, self.index, self.frames).amin(1, keepdim=True)
        return self.settled & (self.index >= first + AFTER_HEARD)

    @lazy
    def steps(self) -> tuple[Tensor, Tensor]:
        """Difference of levels [dB] and the size of a step that is just heard [dB], in each band."""
        est, ref = (10 * x.log10() for x in self.excitation)
        level = 0.3 * torch.maximum(est, ref) + 0.7 * est
        above = level.clamp(min=STEP_LOWEST)
        step = STEP_SCALE * (STEP_LEVEL / above) ** STEP_POWER
        for power, factor in enumerate(STEP_POLYNOMIAL):
            step = step + factor * above**power
        return ref - est, step

    @lazy
    def detection(self) -> Tensor:
        """Probability that a frame is heard to differ, (batch, frames)."""
        difference, step = self.steps
        square = (difference / step).square()
        excess = torch.where(difference > 0, square ** (LOSS_POWER // 2), square ** (GAIN_POWER // 2))
        # The product over bands of the probabilities that none is heard, each of them 0.5 to this power.
        chance: Tensor = 1 - torch.exp2(-excess.amax(1).sum(1))
        return torch.where(self.judged, chance, 0)

    def _distance(self, size: Tensor) -> Tensor:
        """Sizes of differences in steps, over all bands of the ear that hears more, (batch, frames)."""
        return (size / self.steps[1]).amax(1).sum(1)

    @lazy
    def adb(self) -> Tensor:
        """Steps in the frames that are heard to differ, as a logarithm. Whole dB count, the gradient is that of all."""
        difference = self.steps[0]
        whole = difference + (difference.trunc() - difference).detach()
        detected = self.detection > 0.5
        mean = _mean(self._distance(whole.abs())[:, None], detected)[:, 0]
        value = torch.where(mean > 0, mean.clamp(min=FLOOR).log10(), -0.5)
        return torch.where(detected.any(1), value, 0)

    @lazy
    def smooth_adb(self) -> Tensor:
        """A logarithm of steps without thresholds: 0 where nothing differs, and near ``adb`` where much does.

        Frames count by the probability that they are heard to differ. What a difference has beyond whole dB is half a
        dB in the mean, and that is what it is less here.
        """
        size = (self.steps[0].square() + 0.25).sqrt() - 0.5
        weight = self.detection + FLOOR
        mean = _mean(self._distance(size)[:, None], self.judged, weight[:, None])[:, 0]
        return mean.log1p() / math.log(10)

    @lazy
    def mfpd(self) -> Tensor:
        """Largest probability of detection, smoothed over frames."""
        decay = torch.tensor([DETECTION_DECAY], dtype=torch.float64, device=self.ref.device)
        smooth = one_pole(self.detection[:, None], decay)[:, 0]
        return torch.where(self.judged, smooth, 0).amax(1)

    @lazy
    def bandwidths(self) -> tuple[Tensor, Tensor]:
        """Number of bins up to which there is sound, of estimate and reference, in frames where that is some.

        The noise floor is what the estimate has above 21.6 kHz. PQevalAudio reads files of 16 bits: where samples have
        more than that and some sound, the floor is at least what rounding them would leave.
        """
        est, ref = (x.detach() for x in self.spectra)
        floor = est[:, :, BW_FLOOR : FRAME // 2].amax(2, keepdim=True)
        est, ref = est[:, :, :BW_FLOOR], ref[:, :, :BW_FLOOR]
        bins = torch.arange(1, BW_FLOOR + 1, device=est.device)[:, None]
        kabal = self.ear.variant == "kabal"
        if kabal:
            floor = torch.where(floor > 0, floor.clamp(min=self.ear.rounding), 0)
        heard = ref >= BW_REF * floor if kabal else ref > BW_REF * floor
        ref_width = torch.where(heard, bins, 0).amax(2, keepdim=True)
        est_width = torch.where((est >= BW_EST * floor) & (bins <= ref_width), bins, 0).amax(2)
        wide = self.judged[:, None] & (ref_width[:, :, 0] > BW_LOWEST + kabal)
        counts = wide & (est_width > 0) if kabal else wide
        est_mean, ref_mean = _mean(est_width.to(est.dtype), counts), _mean(ref_width[:, :, 0].to(ref.dtype), wide)
        return est_mean.mean(1), ref_mean.mean(1)

    @lazy
    def bandwidth_est(self) -> Tensor:
        """Bandwidth of the estimate."""
        return self.bandwidths[0]

    @lazy
    def bandwidth_ref(self) -> Tensor:
        """Bandwidth of the reference."""
        return self.bandwidths[1]

    @lazy
    def ehs(self) -> Tensor:
        """How harmonic the error is: the largest peak in the spectrum of the correlation of logarithmic spectra."""
        est, ref = (log_power(x[:, :, : 2 * LAGS - 1], FLOOR).transpose(-1, -2) for x in self.spectra)
        ratio = est - ref
        kabal = self.ear.variant == "kabal"
        if not kabal:  # nothing of 0 Hz passes the outer ear
            ratio = pad(ratio[..., 1:], (1, 0))
        spectra = torch.fft.rfft(ratio[..., :LAGS], 2 * LAGS), torch.fft.rfft(ratio, 2 * LAGS)
        correlation = torch.fft.irfft(spectra[0].conj() * spectra[1], 2 * LAGS)[..., :LAGS]
        energy = ratio.square().unfold(-1, LAGS, 1).sum(-1)
        energy = energy[..., :1] * energy
        some = energy > ROOT_FLOOR
        correlation = torch.where(some, correlation / torch.where(some, energy, 1).sqrt(), 1)
        window = torch.hann_window(LAGS, periodic=False, dtype=ratio.dtype, device=ratio.device)
        window = math.sqrt(8 / 3) / LAGS * window
        spectrum = torch.fft.rfft(window * (correlation - correlation.mean(-1, keepdim=True)))
        power = spectrum.real.square() + spectrum.imag.square()
        before = power[..., :1] if kabal else power[..., :-1]
        peak = torch.where(power[..., 1:] > before, power[..., 1:], 0).amax(-1)
        loud = (self._late_energy(self.est) >= EHS_ENERGY) | (self._late_energy(self.ref) >= EHS_ENERGY)
        return 1000 * _mean(peak, loud & self.judged[:, None]).mean(1)

    def _late_energy(self, x: Wave) -> Tensor:
        """Energy of the second half of each frame, (batch, channels, frames)."""
        energy: Tensor = self.ear.framed(x.detach()).unflatten(-1, (-1, HOP))[:, :, 1:].square().sum(-1)
        return energy

    # Grades.

    @lazy
    def distortion_index(self) -> Tensor:
        """What the network makes of the variables."""
        return peaq_grade.distortion_index([getattr(self, name) for name in peaq_grade.VARIABLES])

    @lazy
    def odg(self) -> Tensor:
        """Objective difference grade."""
        return peaq_grade.objective_difference_grade(self.distortion_index)


def _mean(x: Tensor, frames: Tensor, weight: Tensor | None = None) -> Tensor:
    """Over those frames, (batch, channels) from (batch, channels, frames); 0 where there are none."""
    frames = frames if frames.dim() == x.dim() else frames[:, None]
    counted = frames.to(x.dtype) if weight is None else torch.where(frames, weight, 0)
    total = counted.sum(-1)
    return torch.where(frames, x * counted, 0).sum(-1) / torch.where(total == 0, 1, total)


def _rms(x: Tensor, frames: Tensor) -> Tensor:
    """Over those frames, and the mean of that over channels."""
    return magnitude(_mean(x.square(), frames), ROOT_FLOOR).mean(1)
