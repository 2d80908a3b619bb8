"""Whether one measure follows the same listeners better than another: the two share the scores, so they go together."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from percloss.errors import ArgumentError
from percloss.stats.correlation import Kind
from percloss.stats.levels import Draws, LevelName, Stimuli, resample, statistic, widened, widened_p
from percloss.stats.p1401 import Significance
from percloss.stats.table import Rated, joined
from percloss.uncertainty import Values

__all__ = ["Difference", "difference", "steiger", "williams"]


@dataclass(frozen=True)
class Difference:
    """By how much the first measure correlates more, and whether the data can tell.

    Args:
        value: The first correlation minus the second.
        low: End of its 95 % interval.
        high: The other end.
        p: One minus the confidence at which the interval would reach 0; two-sided. Several of them go through
            ``percloss.uncertainty.holm``.
        n: Stimuli with a value of both.
        groups: Contents, stimuli or listeners that were resampled.
        note: Why there is no interval, or what must be known to read it.
    """

    value: float
    low: float
    high: float
    p: float
    n: int
    groups: int
    note: str = ""


def williams(r12: float, r13: float, r23: float, n: int) -> Significance:
    r"""Williams' test of two correlations that share a variable, as Steiger recommends it.

    .. math:: t = (r_{12} - r_{13}) \sqrt{\frac{(n-1)(1+r_{23})}
              {2 \frac{n-1}{n-3} |R| + \bar r^2 (1-r_{23})^3}}

    It takes the stimuli for independent. Where they share songs or sentences it finds too much; :func:`difference`
    does not.

    Args:
        r12: Of the scores with the first measure.
        r13: Of the scores with the second.
        r23: Of the two measures.
        n: Stimuli.

    Example:
        >>> test = williams(0.5, 0.4, 0.1, 103)
        >>> round(test.statistic, 4), round(test.p, 3)
        (0.8913, 0.375)

    References:
        [williams1959]_; [steiger1980]_.
    """
    determinant = _checked("williams", r12, r13, r23, n)
    mean = (r12 + r13) / 2
    below = 2 * (n - 1) / (n - 3) * determinant + mean**2 * (1 - r23) ** 3
    t = (r12 - r13) * math.sqrt((n - 1) * (1 + r23) / below)
    return Significance(t, float(2 * stats.t.sf(abs(t), n - 3)), float(n - 3))


def steiger(r12: float, r13: float, r23: float, n: int) -> Significance:
    """Steiger's Z of two correlations that share a variable: of Fisher's z, with the mean correlation in its variance.

    It takes the stimuli for independent, as :func:`williams` does.

    Args:
        r12: Of the scores with the first measure.
        r13: Of the scores with the second.
        r23: Of the two measures.
        n: Stimuli.

    References:
        [steiger1980]_.
    """
    _checked("steiger", r12, r13, r23, n)
    square = ((r12 + r13) / 2) ** 2
    covariance = (r23 * (1 - 2 * square) - square * (1 - 2 * square - r23**2) / 2) / (1 - square) ** 2
    z = (math.atanh(r12) - math.atanh(r13)) * math.sqrt((n - 3) / (2 - 2 * covariance))
    return Significance(z, float(2 * stats.norm.sf(abs(z))), math.inf)


def difference(
    table: Rated,
    first: str,
    second: str,
    *,
    kind: Kind = "srcc",
    level: LevelName = "pooled",
    by: Literal["content", "listener"] = "content",
    n_resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Bootstrap of the difference of two correlations with the same scores.

    By content, whole contents are resampled (stimuli, where the table names none): would another choice of songs tell
    the same? By listener, whole listeners are: would another panel?

    Args:
        table: Of the listeners, and of both measures: higher = better.
        first: A measure.
        second: Another.
        kind: Of the correlation.
        level: At which it is taken.
        by: What is resampled.
        n_resamples: Number of resamples.
        seed: Of them.

    Raises:
        ArgumentError: A level that needs labels or ratings which the table has not.
    """
    _asked(table, kind, level, by)
    data = Stimuli.of(table, first, second)
    n = data.score.size
    ratings = np.empty((n, 0)) if data.table.ratings is None else data.table.ratings
    ratings = ratings[:, np.isfinite(ratings).any(0)]

    def differences(data: Stimuli, weights: Values) -> Values:
        a, b = (statistic(data, prediction, kind, level, weights) for prediction in data.predictions)
        return a - b

    def of_stimuli(weights: Values) -> Values:
        return differences(data, weights)

    def of_listeners(weights: Values) -> Values:
        panels = (data.rescored(_mean(ratings, row)) for row in weights)
        return np.array([differences(panel, np.ones((1, panel.score.size)))[0] for panel in panels])

    units = data.groups if by == "content" else np.arange(ratings.shape[1])
    of = of_stimuli if by == "content" else of_listeners
    draws = Draws(units, n_resamples, seed)
    value = float(of(np.ones((1, units.size)))[0]) if n and units.size else math.nan
    if math.isnan(value):
        return Difference(value, value, value, value, n, draws.size, joined(_NOTHING, data.missing))
    resampled, moved, note = resample(value, of, draws)
    if note:
        return Difference(value, math.nan, math.nan, math.nan, n, draws.size, joined(note, data.missing))
    low, high = widened(value, resampled, moved)
    return Difference(value, low, high, widened_p(value, resampled, moved), n, draws.size, data.missing)


def _mean(ratings: Values, weights: Values) -> Values:
    """Of weighted listeners; nan where none of them rated."""
    known = np.isfinite(ratings)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known, ratings, 0.0) @ weights / (known @ weights))


def _asked(table: Rated, kind: str, level: str, by: str) -> None:
    if kind not in ("plcc", "srcc", "krcc") or level not in ("pooled", "within_system", "within_content"):
        raise ArgumentError(
            f'difference: got kind={kind!r}, level={level!r}; needed are "plcc", "srcc" or "krcc" at "pooled", '
            f'"within_system" or "within_content".'
        )
    if by not in ("content", "listener"):
        raise ArgumentError(f'difference: got by={by!r}; needed is "content" or "listener".')
    name = level.removeprefix("within_")
    if level != "pooled" and getattr(table, name) is None:
        raise ArgumentError(
            f"difference: got a table without {name}s; needed for level={level!r} is {name}=, a label each."
        )
    if by == "listener" and table.ratings is None:
        raise ArgumentError('difference: got a table without ratings; needed for by="listener" is ratings=.')


def _checked(name: str, r12: float, r13: float, r23: float, n: int) -> float:
    """Determinant of the correlations of the three."""
    if not all(-1 < r < 1 for r in (r12, r13, r23)) or n < 4:
        raise ArgumentError(
            f"{name}: got correlations {r12}, {r13} and {r23} of {n}; needed are some between -1 and 1 of four or more."
        )
    determinant = 1 - r12**2 - r13**2 - r23**2 + 2 * r12 * r13 * r23
    if determinant < 0:
        raise ArgumentError(
            f"{name}: got {r12}, {r13} and {r23}, which no three variables have; needed are some that do."
        )
    return determinant


_NOTHING = "one of them has no correlation"
