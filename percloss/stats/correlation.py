"""How well predictions follow scores: Pearson, Spearman and Kendall, with intervals for independent stimuli."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from percloss.errors import ArgumentError
from percloss.stats.table import Estimate, both, joined, without
from percloss.uncertainty import Interval, Values

__all__ = ["FEWEST", "Kind", "krcc", "plcc", "plcc_interval", "srcc"]

Kind = Literal["plcc", "srcc", "krcc"]

#: Below so many, ranks take too few orders for an interval, and no significance is claimed of systems.
FEWEST = 8


def plcc(score: npt.ArrayLike, prediction: npt.ArrayLike) -> Estimate:
    """Pearson's linear correlation, with Fisher's interval; from -1 to 1, higher is better.

    The interval takes the stimuli for independent and the two for jointly normal. Where stimuli share a song or a
    sentence, :func:`levels` has the interval to report.

    Args:
        score: Of the listeners, one per stimulus; nan is left out.
        prediction: Of the measure, higher = better.

    Example:
        >>> round(plcc([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]).value, 6)
        0.9
    """
    return estimate("plcc", score, prediction)


def srcc(score: npt.ArrayLike, prediction: npt.ArrayLike) -> Estimate:
    """Spearman's rank correlation, with the interval of Bonett and Wright; from -1 to 1, higher is better.

    Args:
        score: Of the listeners, one per stimulus; nan is left out.
        prediction: Of the measure, higher = better.

    References:
        [bonett2000]_.
    """
    return estimate("srcc", score, prediction)


def krcc(score: npt.ArrayLike, prediction: npt.ArrayLike) -> Estimate:
    """Kendall's rank correlation tau-b, which allows for ties, with the interval of Fieller; from -1 to 1.

    Args:
        score: Of the listeners, one per stimulus; nan is left out.
        prediction: Of the measure, higher = better.

    References:
        [fieller1957]_ for the standard error of Fisher's z.
    """
    return estimate("krcc", score, prediction)


def plcc_interval(r: float, n: int) -> Estimate:
    """A Pearson correlation that was read somewhere, with Fisher's interval for so many independent stimuli.

    Example:
        >>> published = plcc_interval(0.985, 5)
        >>> round(published.low, 2), round(published.high, 3)
        (0.78, 0.999)
    """
    if not -1 <= r <= 1 or n < 3:
        raise ArgumentError(f"plcc_interval: got {r} of {n}; needed is a correlation from -1 to 1 of three or more.")
    (low, high), note = _fisher("plcc", r, n)
    return Estimate(r, low, high, n, note)


def coefficient(kind: Kind, x: Values, y: Values) -> float:
    """One coefficient of values that are neither constant nor nan."""
    return float(_COEFFICIENTS[kind](x, y)[0])


def estimate(kind: Kind, score: npt.ArrayLike, prediction: npt.ArrayLike) -> Estimate:
    """One of the three by name, with its interval for independent stimuli."""
    x, y, missing = both(score, prediction)
    n = x.size
    why = undefined(x, y)
    if why:
        return without(n, joined(why, missing))
    value = coefficient(kind, x, y)
    (low, high), note = _fisher(kind, value, n)
    return Estimate(value, low, high, n, joined(note, missing))


def undefined(score: Values, prediction: Values) -> str:
    """Why there is no correlation, if there is none."""
    if score.size < 3:
        return f"{score.size} stimuli: a correlation needs three"
    if np.ptp(score) == 0:
        return "all scores are equal"
    if np.ptp(prediction) == 0:
        return "all predictions are equal"
    return ""


def _fisher(kind: Kind, r: float, n: int) -> tuple[Interval, str]:
    if 1 - abs(r) < _PERFECT:
        return Interval(math.nan, math.nan), "no interval of a perfect correlation"
    if n < (4 if kind == "plcc" else FEWEST):
        return Interval(math.nan, math.nan), f"no interval of {n}"
    half = stats.norm.ppf(0.975) * _STANDARD_ERRORS[kind](r, n)
    low, high = np.tanh(np.arctanh(r) + half * np.array([-1.0, 1.0]))
    return Interval(float(low), float(high)), ""


_PERFECT = 1e-12
_COEFFICIENTS: Mapping[Kind, Callable[[Values, Values], Any]] = {
    "plcc": stats.pearsonr,
    "srcc": stats.spearmanr,
    "krcc": stats.kendalltau,
}
# Of Fisher's z.
_STANDARD_ERRORS: Mapping[Kind, Callable[[float, int], float]] = {
    "plcc": lambda r, n: 1 / math.sqrt(n - 3),
    "srcc": lambda r, n: math.sqrt((1 + r**2 / 2) / (n - 3)),
    "krcc": lambda r, n: math.sqrt(0.437 / (n - 4)),
}
