"""Listeners before their mean is believed: scales made alike, unreliable ones found, and how far they agree.

Nobody is left out silently: each function says who, and why; ``ratings[:, screened.keep]`` is the caller's step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from percloss.errors import ArgumentError
from percloss.stats.table import Estimate, joined, numbers, ratings_of, without
from percloss.uncertainty import Values

__all__ = ["Screening", "check_listeners", "icc", "krippendorff", "post_screen", "z_scores"]

# Post-screening of ITU-R BS.1534-3: a rating on the wrong side of 90 in more than 15 % of the trials; an anchor that
# more than a quarter of the listeners find excellent is not held against anybody.
_EXCELLENT, _TRIALS, _PANEL = 90.0, 0.15, 0.25


@dataclass(frozen=True, eq=False)
class Screening:
    """Who passes, and what is held against those who do not.

    Args:
        keep: Of each listener, whether all is well: an index into the columns of the ratings.
        reasons: Of each listener, what is not; empty for who passes.
    """

    keep: npt.NDArray[np.bool_]
    reasons: tuple[tuple[str, ...], ...]


def z_scores(ratings: npt.ArrayLike) -> Values:
    """Each listener's ratings less their own mean, in units of their own standard deviation.

    It takes away that one listener uses the top of the scale and another all of it; and with it any true difference,
    where listeners heard different stimuli. A listener whose ratings are all equal, or a single one, is nan throughout.

    Args:
        ratings: ``(stimuli, listeners)``, nan where one did not rate.
    """
    table = ratings_of(ratings)
    n = np.maximum(np.isfinite(table).sum(0), 1)
    centred = table - np.nansum(table, 0) / n
    spread = np.sqrt(np.nansum(centred**2, 0) / np.maximum(n - 1, 1))
    return np.asarray(centred / np.where(spread > 0, spread, math.nan))


def post_screen(ratings: npt.ArrayLike, role: Sequence[str | None]) -> Screening:
    """Post-screening of ITU-R BS.1534-3 (MUSHRA): who misses the hidden reference, or hears no fault in the anchor.

    A listener fails who rates the hidden reference below 90, or the mid anchor above 90, in more than 15 % of the
    trials. A trial whose mid anchor more than a quarter of the listeners rate above 90 does not count for the second.

    Args:
        ratings: ``(stimuli, listeners)`` from 0 to 100, nan where one did not rate.
        role: Of each stimulus: ``"ref"`` for the hidden reference, ``"mid"`` for the mid anchor, anything else, or
            ``None``, for the others; low anchors are among those.

    Raises:
        ArgumentError: No stimulus is a hidden reference, or the ratings are not from 0 to 100.

    References:
        [itu2015bs1534]_.
    """
    table = ratings_of(ratings)
    roles = np.array([str(each) for each in role])
    if roles.shape != (len(table),):
        raise ArgumentError(
            f'role: got {roles.size} for {len(table)} stimuli; needed is one each: "ref", "mid" or None.'
        )
    if not (roles == "ref").any():
        raise ArgumentError(
            'role: got no "ref"; needed is at least one hidden reference, without which nobody can fail.'
        )
    if table.size and not (np.nanmin(table) >= 0 and _EXCELLENT / 10 < np.nanmax(table) <= 100):
        raise ArgumentError(
            f"post_screen: got ratings from {np.nanmin(table)} to {np.nanmax(table)}; needed is the MUSHRA scale, "
            f"0 to 100."
        )
    missed = _part(table[roles == "ref"] < _EXCELLENT, table[roles == "ref"])
    anchors = table[roles == "mid"]
    praised = anchors > _EXCELLENT
    fair = _part(praised.T, anchors.T) <= _PANEL
    excellent = _part(praised[fair], anchors[fair])
    return _screening(
        [
            *([f"hidden reference below 90 in {m:.0%} of the trials"] if m > _TRIALS else []),
            *([f"mid anchor above 90 in {e:.0%} of the trials"] if e > _TRIALS else []),
        ]
        for m, e in zip(missed, excellent, strict=True)
    )


def check_listeners(
    ratings: npt.ArrayLike,
    *,
    gold: npt.ArrayLike | None = None,
    tolerance: float = 1.0,
    least: int = 1,
    correlation: float = 0.0,
    same: float = 0.95,
) -> Screening:
    """Checks of attention as in crowdsourced tests: who says the same all the time, or another thing than is known.

    After ITU-T P.808, which asks for trapping and gold questions and for a look at the pattern of the ratings. The
    limits are this package's.

    Args:
        ratings: ``(stimuli, listeners)``, nan where one did not rate.
        gold: The known answer of the stimuli that have one, nan for the others: clear cases, or questions that say
            what to answer.
        tolerance: How far from the known answer is still right, in steps of the scale; 0 for trapping questions.
        least: Fewest ratings of a listener.
        correlation: Least Pearson correlation with the mean of the others; what is not above it is held against one.
        same: Greatest part of a listener's ratings that may be one and the same.

    References:
        [itu2021p808]_.
    """
    table = ratings_of(ratings)
    known = None if gold is None else numbers(gold, "gold")
    if known is not None and known.size != len(table):
        raise ArgumentError(
            f"gold: got {known.size} answers for {len(table)} stimuli; needed is one each, nan for none."
        )
    return _screening(
        _faults(table, column, known, tolerance=tolerance, least=least, correlation=correlation, same=same)
        for column in range(table.shape[1])
    )


def _faults(
    ratings: Values, column: int, gold: Values | None, *, tolerance: float, least: int, correlation: float, same: float
) -> list[str]:
    own = ratings[:, column]
    rated = np.isfinite(own)
    n = int(rated.sum())
    if n < max(least, 1):
        return [f"{n} ratings: {max(least, 1)} are needed"]
    faults = []
    values, counts = np.unique(own[rated], return_counts=True)
    if n > 1 and counts.max() / n > same:
        faults.append(f"says {values[counts.argmax()]:g} in {counts.max() / n:.0%} of {n} ratings")
    if gold is not None:
        asked = rated & np.isfinite(gold)
        wrong = int((np.abs(own - gold)[asked] > tolerance).sum())
        if wrong:
            faults.append(f"{wrong} of {int(asked.sum())} known answers are more than {tolerance:g} off")
    others = np.delete(ratings, column, axis=1)[rated]
    heard = np.isfinite(others).any(1)
    x, y = own[rated][heard], np.nanmean(others[heard], 1) if heard.any() else np.empty(0)
    if x.size > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
        r = float(stats.pearsonr(x, y)[0])
        if r <= correlation:
            faults.append(f"correlates {r:.2f} with the others")
    return faults


class Agreement(NamedTuple):
    """Intraclass correlations: of one listener's ratings, and of the mean of as many as there are."""

    single: Estimate
    mean: Estimate


def icc(ratings: npt.ArrayLike) -> Agreement:
    """Intraclass correlation ICC(2,1) and ICC(2,k): absolute agreement, stimuli and listeners both drawn at random.

    1 where all say the same of each stimulus. It needs a rating in every cell: stimuli that somebody did not rate are
    left out; where that leaves too few see :func:`krippendorff`.

    Args:
        ratings: ``(stimuli, listeners)``, nan where one did not rate.

    References:
        [shrout1979]_, also for the interval.
    """
    table = ratings_of(ratings)
    complete = table[np.isfinite(table).all(1)]
    n, k = complete.shape
    missing = f"{len(table) - n} stimuli left out that somebody did not rate" if n < len(table) else ""
    if n < 3 or k < 2:
        nothing = without(n, joined(f"{n} stimuli rated by all {k}: three by two are needed", missing))
        return Agreement(nothing, nothing)
    if np.ptp(complete) == 0:
        nothing = without(n, joined("all ratings are equal", missing))
        return Agreement(nothing, nothing)
    rows, columns = complete.mean(1), complete.mean(0)
    between = k * float(rows.var(ddof=1))
    listeners = n * float(columns.var(ddof=1))
    rest = float(((complete - rows[:, None] - columns + complete.mean()) ** 2).sum()) / ((n - 1) * (k - 1))
    single = (between - rest) / (between + (k - 1) * rest + k * (listeners - rest) / n)
    mean = (between - rest) / (between + (listeners - rest) / n)
    low, high = _icc_interval(single, between, listeners, rest, n, k)
    stepped = [k * end / (1 + (k - 1) * end) for end in (low, high)]
    return Agreement(Estimate(single, low, high, n, missing), Estimate(mean, stepped[0], stepped[1], n, missing))


def _icc_interval(r: float, between: float, listeners: float, rest: float, n: int, k: int) -> tuple[float, float]:
    if rest == 0 or r == 1:
        return math.nan, math.nan
    a, b = k * r / (n * (1 - r)), 1 + k * r * (n - 1) / (n * (1 - r))
    df = (a * listeners + b * rest) ** 2 / ((a * listeners) ** 2 / (k - 1) + (b * rest) ** 2 / ((n - 1) * (k - 1)))
    above, below = stats.f.ppf(0.975, n - 1, df), stats.f.ppf(0.975, df, n - 1)
    spread = k * listeners + (k * n - k - n) * rest
    low = n * (between - above * rest) / (above * spread + n * between)
    high = n * (below * between - rest) / (spread + n * below * between)
    return float(low), float(high)


def krippendorff(ratings: npt.ArrayLike, *, scale: Literal["interval", "ordinal", "nominal"] = "interval") -> float:
    """Krippendorff's alpha: agreement of the ratings, 1 where perfect, 0 where chance would do as well; gaps allowed.

    Args:
        ratings: ``(stimuli, listeners)``, nan where one did not rate; a stimulus with one rating says nothing.
        scale: What a difference of ratings is worth: its square, that of its ranks, or all the same.

    Returns:
        nan where no two ratings differ, or no stimulus has two.

    References:
        [hayes2007]_.
    """
    if scale not in ("interval", "ordinal", "nominal"):
        raise ArgumentError(f'krippendorff: got scale={scale!r}; needed is "interval", "ordinal" or "nominal".')
    table = ratings_of(ratings)
    table = table[np.isfinite(table).sum(1) > 1]
    known = np.isfinite(table)
    values, place = np.unique(table[known], return_inverse=True)
    if values.size < 2:
        return math.nan
    counts = np.zeros((len(table), values.size))
    np.add.at(counts, (np.nonzero(known)[0], place), 1)
    m, totals = counts.sum(1), counts.sum(0)
    together = (counts / (m - 1)[:, None]).T @ counts - np.diag((counts / (m - 1)[:, None]).sum(0))
    apart = _apart(values, totals, scale)
    expected = np.outer(totals, totals) / (totals.sum() - 1)
    return float(1 - (together * apart).sum() / (expected * apart).sum())


def _apart(values: Values, totals: Values, scale: str) -> Values:
    if scale == "nominal":
        return 1.0 - np.eye(values.size)
    # The distance of two ranks is what lies between them, and half of each.
    axis = values if scale == "interval" else np.cumsum(totals) - totals / 2
    return np.asarray((axis[:, None] - axis) ** 2)


def _part(true: npt.NDArray[np.bool_], ratings: Values) -> Values:
    """Of each column, the part of the ratings there are for which it is true; 0 without any."""
    known = np.isfinite(ratings)
    return np.asarray((true & known).sum(0) / np.maximum(known.sum(0), 1))


def _screening(faults: Any) -> Screening:
    reasons = tuple(map(tuple, faults))
    return Screening(np.array([not each for each in reasons], dtype=np.bool_), reasons)
