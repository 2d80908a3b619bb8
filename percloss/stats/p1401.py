"""Errors on the listeners' scale, and whether two measures differ in them: the figures of ITU-T P.1401."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from percloss.errors import ArgumentError
from percloss.stats.table import Estimate, joined, left_out, numbers, without
from percloss.uncertainty import Values

__all__ = ["Significance", "fisher_z", "outlier_ratio", "outlier_test", "rmse", "rmse_star", "rmse_test"]


@dataclass(frozen=True)
class Significance:
    """Of the difference of two figures; ``p`` is two-sided.

    Args:
        statistic: In favour of the first where it is positive; of an F-test the ratio of the variances.
        p: How often chance alone gives one as far off.
        df: Degrees of freedom, infinite for a normal statistic.
        note: What must be known to read it.
    """

    statistic: float
    p: float
    df: float
    note: str = ""


def rmse(score: npt.ArrayLike, fitted: npt.ArrayLike, *, fitted_parameters: int = 1) -> Estimate:
    r"""Root mean square error :math:`\sqrt{\sum e^2 / (N - d)}` on the scale of the scores; lower is better.

    The interval is that of normal errors, by chi-square.

    Args:
        score: Of the listeners, one per stimulus; nan is left out.
        fitted: The predictions on that scale, as :func:`mapped` brings them there.
        fitted_parameters: ``d``: 4 after a third-order mapping, 1 where nothing was fitted, as P.1401 has it.

    References:
        [itu2020p1401]_, 7.5.1.
    """
    return _root_mean_square(score, fitted, None, fitted_parameters)


def rmse_star(
    score: npt.ArrayLike, fitted: npt.ArrayLike, ci95: npt.ArrayLike, *, fitted_parameters: int = 1
) -> Estimate:
    r"""RMSE*, in which an error within the listeners' own interval counts as none; lower is better.

    .. math:: \mathrm{RMSE}^* = \sqrt{\frac{1}{N-d} \sum_i \max(0, |s_i - f_i| - c_i)^2}

    Args:
        score: Of the listeners, one per stimulus; nan is left out.
        fitted: The predictions on that scale.
        ci95: Half width of the interval of each score; a stimulus without one is left out.
        fitted_parameters: ``d``, as of :func:`rmse`.

    References:
        [itu2020p1401]_, 7.7.
    """
    return _root_mean_square(score, fitted, ci95, fitted_parameters)


def outlier_ratio(score: npt.ArrayLike, fitted: npt.ArrayLike, ci95: npt.ArrayLike) -> Estimate:
    """Part of the stimuli whose error exceeds the listeners' interval, from 0 to 1; lower is better.

    The interval is Wilson's.

    Args:
        score: Of the listeners, one per stimulus; nan is left out.
        fitted: The predictions on that scale.
        ci95: Half width of the interval of each score; a stimulus without one is left out.

    References:
        [itu2020p1401]_, 7.5.2.2.
    """
    error, tolerance, missing = _errors(score, fitted, ci95)
    if not error.size:
        return without(0, joined("no stimulus has a score, a prediction and an interval", missing))
    out = int((error > tolerance).sum())
    low, high = stats.binomtest(out, error.size).proportion_ci(method="wilson")
    return Estimate(out / error.size, float(low), float(high), error.size, missing)


def fisher_z(r1: float, n1: int, r2: float, n2: int) -> Significance:
    """Whether two correlations of *different* stimuli differ; for the same stimuli see :func:`williams`.

    References:
        [itu2020p1401]_, 7.6.1.
    """
    _correlations("fisher_z", r1, r2)
    if min(n1, n2) < 4:
        raise ArgumentError(f"fisher_z: got {n1} and {n2} stimuli; needed are four or more in each.")
    return _normal((math.atanh(r1) - math.atanh(r2)) / math.sqrt(1 / (n1 - 3) + 1 / (n2 - 3)))


def rmse_test(rmse1: float, n1: int, rmse2: float, n2: int, *, fitted_parameters: int = 1) -> Significance:
    """Whether two RMSE, or two RMSE*, differ: the F-test of their squares, two-sided.

    It takes the two for errors on different stimuli. On the same ones, whose errors go together, it is cautious.

    Args:
        rmse1: Of the first.
        n1: Stimuli it is of.
        rmse2: Of the second.
        n2: Stimuli it is of.
        fitted_parameters: ``d``, as of :func:`rmse`.

    References:
        [itu2020p1401]_, 7.6.4.
    """
    df1, df2 = n1 - fitted_parameters, n2 - fitted_parameters
    if min(df1, df2) < 1 or not min(rmse1, rmse2) > 0:
        raise ArgumentError(
            f"rmse_test: got {rmse1} of {n1} and {rmse2} of {n2} stimuli; needed are errors above 0 of more than "
            f"{fitted_parameters} stimuli."
        )
    ratio = (rmse1 / rmse2) ** 2
    tail = min(stats.f.sf(ratio, df1, df2), stats.f.cdf(ratio, df1, df2))
    return Significance(ratio, float(min(1.0, 2 * tail)), float(df1))


def outlier_test(ratio1: float, n1: int, ratio2: float, n2: int) -> Significance:
    """Whether two outlier ratios differ, by the normal law that P.1401 uses.

    Args:
        ratio1: Of the first.
        n1: Stimuli it is of.
        ratio2: Of the second.
        n2: Stimuli it is of.

    References:
        [itu2020p1401]_, 7.6.2.
    """
    if not (0 <= ratio1 <= 1 and 0 <= ratio2 <= 1) or min(n1, n2) < 1:
        raise ArgumentError(
            f"outlier_test: got {ratio1} of {n1} and {ratio2} of {n2}; needed are parts, from 0 to 1, of one or more."
        )
    both = (ratio1 * n1 + ratio2 * n2) / (n1 + n2)
    spread = math.sqrt(both * (1 - both) * (1 / n1 + 1 / n2))
    return (
        _normal((ratio1 - ratio2) / spread)
        if spread
        else Significance(0.0, 1.0, math.inf, "neither or all are outliers")
    )


def _root_mean_square(
    score: npt.ArrayLike, fitted: npt.ArrayLike, ci95: npt.ArrayLike | None, parameters: int
) -> Estimate:
    error, tolerance, missing = _errors(score, fitted, ci95)
    df = error.size - parameters
    if df < 1:
        return without(error.size, joined(f"{error.size} stimuli: more than {parameters} are needed", missing))
    square = float((np.maximum(0, error - tolerance) ** 2).sum())
    low, high = np.sqrt(square / stats.chi2.ppf([0.975, 0.025], df))
    return Estimate(math.sqrt(square / df), float(low), float(high), error.size, missing)


def _errors(score: npt.ArrayLike, fitted: npt.ArrayLike, ci95: npt.ArrayLike | None) -> tuple[Values, Values, str]:
    """Absolute errors, what of each is within the listeners' doubt, and what is to say of the stimuli left out."""
    columns = [numbers(score, "score"), numbers(fitted, "fitted")]
    columns.append(np.zeros(columns[0].size) if ci95 is None else numbers(ci95, "ci95"))
    if len({column.size for column in columns}) > 1:
        sizes = ", ".join(str(column.size) for column in columns)
        raise ArgumentError(f"error: got columns of {sizes} values; needed is one score, prediction and interval each.")
    known = np.isfinite(columns).all(0)
    x, y, tolerance = (column[known] for column in columns)
    return np.abs(x - y), tolerance, left_out(int((~known).sum()))


def _correlations(name: str, *r: float) -> None:
    if not all(-1 < each < 1 for each in r):
        raise ArgumentError(f"{name}: got correlations {', '.join(map(str, r))}; needed are some between -1 and 1.")


def _normal(z: float) -> Significance:
    return Significance(z, float(2 * stats.norm.sf(abs(z))), math.inf)
