"""How sure a mean is: bootstrap confidence intervals."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Drawn at a time: 8 MB of them.
_DRAWS = 2**20


class Interval(NamedTuple):
    """Ends of a confidence interval, in the unit of the values; nan where there are too few."""

    low: float
    high: float


def mean_interval(
    values: npt.NDArray[np.float64], *, confidence: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Bootstrap interval of the mean, bias-corrected and accelerated (BCa).

    Args:
        values: One number per independent item; nan is left out.
        confidence: Of the interval.
        n_resamples: Number of resamples.
        seed: Of the resampling: the same values give the same interval.

    Returns:
        The interval; nan at both ends for fewer than three values, the value itself where all are equal.

    References:
        [efron1987]_, section 6 for the acceleration.
    """
    values = values[~np.isnan(values)].astype(np.float64)
    if values.size < 3:
        return Interval(math.nan, math.nan)
    if np.ptp(values) == 0:
        return Interval(float(values[0]), float(values[0]))
    from scipy.special import ndtr, ndtri

    means = _resampled_means(values, n_resamples, np.random.default_rng(seed))
    mean, deviations = values.mean(), values - values.mean()
    # Of a mean the jackknife is in closed form: each value left out moves it by its deviation over n - 1.
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    bias = ndtri(((means < mean).mean() + (means <= mean).mean()) / 2)
    tails = bias + ndtri(np.array([1 - confidence, 1 + confidence]) / 2)
    low, high = np.quantile(means, ndtr(bias + tails / (1 - acceleration * tails)))
    return Interval(float(low), float(high))


def _resampled_means(
    values: npt.NDArray[np.float64], n_resamples: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Means of samples drawn with replacement, a few at a time so that many values need no more memory than few."""
    step = max(1, _DRAWS // values.size)
    counts = [min(step, n_resamples - start) for start in range(0, n_resamples, step)]
    return np.concatenate([generator.choice(values, (count, values.size)).mean(1) for count in counts])
