"""How sure a mean is: bootstrap confidence intervals."""

import math
import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


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
        [efron1987]_, by ``scipy.stats.bootstrap``.
    """
    values = values[~np.isnan(values)]
    if values.size < 3:
        return Interval(math.nan, math.nan)
    if np.ptp(values) == 0:
        return Interval(float(values[0]), float(values[0]))
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        low, high = stats.bootstrap(
            (values,),
            np.mean,
            confidence_level=confidence,
            n_resamples=n_resamples,
            method="BCa",
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return Interval(float(low), float(high))
