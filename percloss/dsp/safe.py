"""The one file with a numeric floor: functions whose value and gradient stay finite at silence, and why."""

import math
from typing import TypeVar

import torch
from torch import Tensor

Level = TypeVar("Level", float, Tensor)


def db_to_power(db: Level) -> Level:
    """Power ratio of a level in dB, :math:`10^{db / 10}`. Floors are spoken of in dB and added to powers."""
    ratio: Level = 10.0 ** (db / 10)
    return ratio


def db_to_amplitude(db: Level) -> Level:
    """Amplitude ratio of a level in dB, :math:`10^{db / 20}`."""
    ratio: Level = 10.0 ** (db / 20)
    return ratio


def log_power(p: Tensor, floor: float) -> Tensor:
    """Natural logarithm of ``p + floor``.

    The floor is added, not clamped to: below a clamp the gradient is exactly 0, and a quiet estimate never learns.

    Args:
        p: Power, 0 or more.
        floor: Power above 0, such as ``db_to_power(-100)``. The gradient is at most ``1 / floor``.
    """
    shifted = p + floor
    return shifted.log() if shifted.requires_grad else shifted.log_()


def magnitude(p: Tensor, floor: float) -> Tensor:
    """Square root of ``p + floor``; the bare root has an infinite slope at 0, and infinity times 0 is nan.

    Args:
        p: Power, 0 or more.
        floor: Power above 0, such as ``db_to_power(-120)``. The gradient is at most ``0.5 / sqrt(floor)``.
    """
    shifted = p + floor
    return shifted.sqrt() if shifted.requires_grad else shifted.sqrt_()


def ratio_db(num: Tensor, den: Tensor, cap_db: float = 140.0) -> Tensor:
    r"""Ratio of two powers in dB, between ``-cap_db`` and ``cap_db``.

    .. math:: 10 \log_{10} \frac{n + \epsilon d}{d + \epsilon n}, \qquad \epsilon = 10^{-cap / 10}

    The floors are relative to the two powers themselves, so the same ratio has the same number at every level. What
    they cost: 0.0004 dB at 100 dB and 0.04 dB at 120 dB, towards 0 dB. Where both powers are 0 there is no ratio; it is
    0 dB there with zero gradient, for the caller to mask.

    Args:
        num: Power, 0 or more.
        den: Power, 0 or more.
        cap_db: The largest ratio [dB].

    Shape:
        num, den: any, broadcast together. Returns that shape.
    """
    epsilon = db_to_power(-cap_db)
    both_zero = (num == 0) & (den == 0)
    larger = torch.where(both_zero, 1, torch.maximum(num, den).detach())
    # Scaling both by one constant changes neither value nor gradient, and epsilon times a power near 1e-30 underflows.
    num, den = (torch.where(both_zero, 1, _scaled(power, larger, epsilon)) for power in (num, den))
    return 10 * ((num + epsilon * den) / (den + epsilon * num)).log10()


def _scaled(power: Tensor, by: Tensor, epsilon: float) -> Tensor:
    """``power / by`` for a constant ``by``, its slope held where 1 / (epsilon * by) would overflow to infinity.

    Only powers below about 1e-22 in float32 (full scale is 1) are concerned: their gradient shrinks, its sign stays.
    """
    held = by.clamp(min=100 * torch.finfo(power.dtype).tiny / epsilon)
    return (power / by).detach() + (power - power.detach()) / held


def undefined_where(mask: Tensor, value: Tensor) -> Tensor:
    """``value`` with nan where ``mask``; the gradient there is 0, whatever comes back through the nan."""
    return value.masked_fill(mask, math.nan)


def mean_defined(values: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""Weighted mean of all entries that are not nan, :math:`\sum_i w_i v_i / \sum_i w_i`.

    An entry that is nan or has weight 0 takes part in neither sum, in the value and in the gradient. If none takes
    part the mean is 0 with zero gradient.

    Args:
        values: Entries, nan where there is no value.
        weight: Weights, 0 or more, broadcast against ``values``; all equal if not given.

    Shape:
        Returns ().
    """
    weight = torch.ones_like(values) if weight is None else weight.to(values.dtype).expand_as(values)
    counted = ~values.isnan() & (weight != 0)
    total = torch.where(counted, weight, 0).sum()
    return torch.where(counted, weight * torch.where(counted, values, 0), 0).sum() / torch.where(total == 0, 1, total)
