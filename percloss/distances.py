"""Distances: two representations in, one number per item out. Pure functions that own no tensor."""

import torch

from percloss._typing import Bins, PerItem, Wave
from percloss.dsp.safe import ratio_db, undefined_where


def energy(x: Wave) -> PerItem:
    """Sum of squares over time."""
    return x.square().sum(-1)


def snr(est: Wave, ref: Wave) -> PerItem:
    """Signal-to-noise ratio [dB]: reference over residual; nan where the reference is silent."""
    signal = energy(ref)
    return undefined_where(signal == 0, ratio_db(signal, energy(est - ref)))


def projection(est: Wave, ref: Wave) -> tuple[Wave, Wave]:
    """Split the estimate into its part along the reference and the rest, ``(target, residual)``.

    The residual is projected a second time: one projection leaves a share of float32's rounding of the gain along the
    reference, which would end the scale at about 60 dB below where it should.
    """
    norm = energy(ref)[..., None]
    norm = torch.where(norm == 0, 1, norm)
    gain = (est * ref).sum(-1, keepdim=True) / norm
    rest = est - gain * ref
    correction = (rest * ref).sum(-1, keepdim=True) / norm
    return (gain + correction) * ref, rest - correction * ref


def si_sdr(est: Wave, ref: Wave) -> PerItem:
    """Scale-invariant SDR [dB]; nan where the reference is silent, the lower bound where only the estimate is."""
    target, residual = projection(est, ref)
    noise = energy(residual) + (energy(est) == 0)
    return undefined_where(energy(ref) == 0, ratio_db(energy(target), noise))


def sd_sdr(est: Wave, ref: Wave) -> PerItem:
    """Scale-dependent SDR [dB]: as ``si_sdr``, with the error of gain counted as noise."""
    target, _ = projection(est, ref)
    return undefined_where(energy(ref) == 0, ratio_db(energy(target), energy(est - ref)))


def mean_absolute(est: Bins, ref: Bins) -> PerItem:
    """Mean of |est - ref| over everything but batch and channels."""
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
