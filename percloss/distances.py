"""Distances: two representations in, one number per item out. Pure functions that own no tensor."""

import math

import torch
from torch import Tensor

from percloss._typing import Bins, PerItem, Spectrum, Wave
from percloss.dsp.safe import db_to_amplitude, db_to_power, magnitude, ratio_db, undefined_where
from percloss.dsp.stft import power, stft

# Of spectra whose peak is 1: a power far below float32's rounding, under every root that is taken of them.
NOTHING = db_to_power(-200.0)


def energy(x: Wave) -> PerItem:
    """Sum of squares over time."""
    return x.square().sum(-1)


def snr(est: Wave, ref: Wave) -> PerItem:
    """Signal-to-noise ratio [dB]: reference over residual; nan where the reference is silent."""
    signal = energy(ref)
    return undefined_where(signal == 0, ratio_db(signal, energy(est - ref)))


def projection(est: Wave, ref: Wave) -> tuple[PerItem, PerItem, Wave]:
    """Split the estimate into its part along the reference and the rest: both energies and the rest.

    Returned are the energy of the reference, that of the part along it, and the residual.

    The residual is projected a second time: one projection leaves a share of float32's rounding of the gain along the
    reference, which would end the scale at about 60 dB below where it should.
    """
    signal = energy(ref)
    norm = torch.where(signal == 0, 1, signal)[..., None]
    gain = (est * ref).sum(-1, keepdim=True) / norm
    rest = est - gain * ref
    correction = (rest * ref).sum(-1, keepdim=True) / norm
    return signal, (gain + correction)[..., 0].square() * signal, rest - correction * ref


def si_sdr(est: Wave, ref: Wave) -> PerItem:
    """Scale-invariant SDR [dB]; nan where the reference is silent, the lower bound where only the estimate is."""
    signal, target, residual = projection(est, ref)
    noise = energy(residual) + (energy(est) == 0)
    return undefined_where(signal == 0, ratio_db(target, noise))


def sd_sdr(est: Wave, ref: Wave) -> PerItem:
    """Scale-dependent SDR [dB]: as ``si_sdr``, with the error of gain counted as noise."""
    signal, target, _ = projection(est, ref)
    return undefined_where(signal == 0, ratio_db(target, energy(est - ref)))


def mean_absolute(est: Bins, ref: Bins) -> PerItem:
    """Mean of ``|est - ref|`` over everything but batch and channels."""
    return (est - ref).abs().flatten(2).mean(-1)


def convergence(est: Bins, ref: Bins, floor: float) -> PerItem:
    """Spectral convergence of two magnitudes: Frobenius norm of the difference over that of the reference, per item.

    A reference whose mean power is below ``floor`` has nothing to converge to: the distance is 0 there, without a
    gradient, and the terms beside it judge the item.
    """
    difference = torch.linalg.vector_norm((est - ref).flatten(2), dim=-1)
    size = torch.linalg.vector_norm(ref.flatten(2), dim=-1)
    silent = ref.square().flatten(2).mean(-1) <= 2 * floor
    return torch.where(silent, 0, difference / torch.where(silent, 1, size))


def relative(error: PerItem, size: PerItem) -> PerItem:
    """Power of an error over the power of what it is an error of, at most 1e14; nan where that is silent.

    The cap of 140 dB is in the value alone: the gradient stays that of a ratio, so that no error is too large to learn
    from.
    """
    silent = size < torch.finfo(size.dtype).tiny
    floor = db_to_power(-140.0) * error.detach()
    return undefined_where(silent, error / torch.where(silent, 1, size + floor))


def pre_emphasis(x: Wave, coefficient: float) -> Wave:
    """First-order high-pass, x[t] - coefficient * x[t - 1], silence assumed before."""
    return torch.cat([x[..., :1], x[..., 1:] - coefficient * x[..., :-1]], -1)


def log_cosh(x: Tensor) -> Tensor:
    """log(cosh(x)), to the last digits at both ends: x^2 / 2 where x is small, ``|x|`` - log(2) where it is large."""
    near = x.clamp(-40, 40)  # beyond, the hyperbola is its asymptote in float64 too
    return (2 * (near / 2).sinh().square()).log1p() + (x - near).abs()


def l1_snr(est: Wave, ref: Wave, floor: float) -> PerItem:
    """Mean absolute value of the reference over that of the error, ``floor`` added to each [dB]."""
    return 10 * ((ref.abs().mean(-1) + floor) / ((est - ref).abs().mean(-1) + floor)).log10()


def cosine(est: Wave, ref: Wave) -> PerItem:
    """Cosine of the angle between two signals; 0 where one of them is silent, with a bounded gradient there."""
    size = energy(ref)
    size = torch.where(size == 0, 1, size)
    return (est * ref).sum(-1) / ((energy(est) + db_to_power(-140.0) * size).sqrt() * size.sqrt())


def compressed(spectrum: Spectrum, exponent: float, floor: float) -> Spectrum:
    """The spectrum with its magnitude raised to a power and its phase as it was; no angle is ever taken."""
    return spectrum * (power(spectrum) + floor) ** ((exponent - 1) / 2)


def phase_error(est: Spectrum, ref: Spectrum, floor: float) -> tuple[Bins, Bins]:
    r"""Phase's part of a bin's squared error, :math:`2|S||\hat S|(1 - \cos\Delta\varphi)`; and :math:`|S||\hat S|`.

    Together with :math:`(|S| - |\hat S|)^2` the first is :math:`|S - \hat S|^2`. Taken as the squared chord between two
    unit phasors, it is never negative, and right where the phases are close. ``floor`` is a power below all that
    matters.
    """
    est_size, ref_size = magnitude(power(est), floor), magnitude(power(ref), floor)
    chords = est.real / est_size - ref.real / ref_size, est.imag / est_size - ref.imag / ref_size
    weight = est_size * ref_size
    return weight * (chords[0].square() + chords[1].square()), weight


def phase_fraction(est: Spectrum, ref: Spectrum) -> PerItem:
    """Share of the squared spectral error that is phase: 0 for a change of magnitudes, 1 for a delay.

    nan where there is no error. No measure: neither more of it nor less is better.
    """
    peak = torch.maximum(_peak(est), _peak(ref)).clamp(min=torch.finfo(ref.real.dtype).tiny)
    est, ref = est / peak, ref / peak
    error, (of_phase, _) = power(est - ref).sum((2, 3)), phase_error(est, ref, NOTHING)
    return undefined_where(error == 0, of_phase.sum((2, 3)) / torch.where(error == 0, 1, error))


def cosine_phase(est: Spectrum, ref: Spectrum) -> PerItem:
    """Mean of 1 - cos of the phase difference, weighted by both magnitudes.

    1 where the estimate is silent, nan where the reference is.
    """
    est, ref = at_unit_peak(est, ref)
    error, weight = (x.sum((2, 3)) for x in phase_error(est, ref, NOTHING))
    est_silent, ref_silent = (_peak(x)[..., 0, 0] == 0 for x in (est, ref))
    return undefined_where(ref_silent, torch.where(est_silent, 1, (error / (2 * weight)).clamp(max=2)))


def at_unit_peak(est: Spectrum, ref: Spectrum) -> tuple[Spectrum, Spectrum]:
    """Both spectra over their largest magnitude, taken as a constant, for what hears phase and no level.

    An estimate more than 140 dB below the reference stays small, and a silent spectrum stays silent.
    """
    est_peak, ref_peak = peaks(_peak(est), _peak(ref))
    return est / est_peak, ref / ref_peak


def peaks(est: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    """What ``at_unit_peak`` divides by, of the largest magnitudes of both."""
    tiny = torch.finfo(ref.dtype).tiny
    return torch.maximum(est, db_to_amplitude(-140.0) * ref).clamp(min=tiny), ref.clamp(min=tiny)


def phase_difference(est: Spectrum, ref: Spectrum) -> tuple[Bins, Bins]:
    """Phase of the estimate less that of the reference [rad], and how far it has one, of spectra at unit peak.

    That is 1, but goes to 0 in a bin that the estimate leaves 60 dB below the reference. Multiplied by it, the slope of
    the angle, one over the magnitude, stays bounded.
    """
    est_power, ref_power = power(est), power(ref)
    known = est_power * ref_power > db_to_power(-320.0)  # of which float32 has a reciprocal
    real = est.real * ref.real + est.imag * ref.imag
    imag = est.imag * ref.real - est.real * ref.imag
    angle = torch.atan2(torch.where(known, imag, 0), torch.where(known, real, 1))
    return angle, est_power / (est_power + db_to_power(-60.0) * ref_power + NOTHING)


def anti_wrapped(angle: Tensor, certain: Tensor, weight: Tensor) -> PerItem:
    """Weighted mean over bins and frames of the absolute angle, less whole turns [rad].

    Where it is not certain it counts as that of unrelated phases does on average, pi / 2: an estimate gains nothing by
    leaving a bin out.
    """
    angle = (angle - 2 * math.pi * (angle / (2 * math.pi)).round()).abs()
    value = weight * (math.pi / 2 + certain * (angle - math.pi / 2))
    total = weight.sum((2, 3))
    return value.sum((2, 3)) / torch.where(total == 0, 1, total)


def consistency(spectrum: Spectrum, window: Tensor, *, n_fft: int, hop_length: int, length: int) -> PerItem:
    r"""Inconsistency of a spectrum, 0 where some signal has it and towards 1 where none has; nan where it is silent.

    .. math:: \lVert S - \mathrm{STFT}(\mathrm{iSTFT}(S)) \rVert^2 / \lVert S \rVert^2

    For a spectrum that a network makes. It is no measure of waveforms: the spectrum of a waveform is consistent.

    Args:
        spectrum: As ``dsp.stft.stft`` has it, centred.
        window: The window of that transform.
        n_fft: Its length [samples].
        hop_length: Its step [samples].
        length: Of the signal it stands for [samples].
    """
    rows = spectrum.flatten(0, 1)
    signal = torch.istft(rows, n_fft, hop_length, window.shape[-1], window.to(rows.real.dtype), length=length)
    error = spectrum - stft(signal, window, n_fft=n_fft, hop_length=hop_length).view_as(spectrum)
    return relative(power(error).sum((2, 3)), power(spectrum).sum((2, 3)))


def _peak(spectrum: Tensor) -> Tensor:
    """Largest magnitude, (batch, channels, 1, 1), as a constant."""
    return spectrum.detach().abs().amax((2, 3), keepdim=True)
