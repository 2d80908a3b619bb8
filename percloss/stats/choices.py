"""How often a measure decides as listeners do: between two stimuli, and for the best of a content's."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from percloss.errors import ArgumentError
from percloss.stats.levels import Draws, Stimuli, bootstrap
from percloss.stats.table import Rated, joined
from percloss.uncertainty import Values

__all__ = ["Accuracy", "best_of_n", "pairwise"]


@dataclass(frozen=True)
class Accuracy:
    """Part of the decisions that are the listeners', from 0 to 1; higher is better.

    Args:
        value: Of all that the listeners decided; a tie of the measure counts in parts, as a throw of dice would.
        low: End of its 95 % interval.
        high: The other end.
        n: How many the listeners decided.
        chance: What guessing would reach.
        note: How many they left open, and why there is no value or interval, if so.
    """

    value: float
    low: float
    high: float
    n: int
    chance: float
    note: str = ""


def pairwise(table: Rated, measure: str, *, within_content: bool = True) -> Accuracy:
    r"""Of two stimuli that listeners tell apart, how often the measure prefers the same.

    A pair counts where the scores differ by more than :math:`\sqrt{c_i^2 + c_j^2}`, the 95 % half widths of the two;
    where the table has no intervals, wherever they differ. Equal predictions count one half.

    Args:
        table: Of the listeners, and of the measures: higher = better.
        measure: One of them.
        within_content: Only compare stimuli of one content, as a listener does; otherwise all with all.

    Raises:
        ArgumentError: The table names no contents and ``within_content`` asks for them.
    """
    if within_content and table.content is None:
        raise ArgumentError("pairwise: got a table without contents; needed is content=, or within_content=False.")
    data = Stimuli.of(table, measure)
    score, prediction, doubt = data.score, data.prediction, _doubt(data)
    i, j = np.triu_indices(score.size, 1)
    if within_content:
        same = data.groups[i] == data.groups[j]
        i, j = i[same], j[same]
    apart = score[i] - score[j]
    decided = np.abs(apart) > np.hypot(doubt[i], doubt[j])
    left = f"{int((~decided).sum())} of {decided.size} pairs are not told apart by listeners"
    i, j, apart = i[decided], j[decided], apart[decided]
    right = (np.sign(prediction[i] - prediction[j]) * np.sign(apart) + 1) / 2

    def of(weights: Values) -> Values:
        # A content drawn twice is compared within each of the two; otherwise all that is drawn with all that is.
        return np.array([_ratio(row[i] if within_content else row[i] * row[j], right) for row in weights])

    return _accuracy(data, of(np.ones((1, score.size)))[0], of, right.size, 0.5, left)


def best_of_n(table: Rated, measure: str) -> Accuracy:
    """How often the stimulus of a content that the measure puts first is the one that listeners put first.

    Where listeners put several first, each of them is right; where the measure does, each counts its part. Contents
    of one stimulus, and those all of whose stimuli listeners put first, decide nothing.

    Args:
        table: Of the listeners, and of the measures: higher = better; with contents.
        measure: One of them.
    """
    if table.content is None:
        raise ArgumentError("best_of_n: got a table without contents; needed is content=, a label for each stimulus.")
    data = Stimuli.of(table, measure)
    contents = list(_contents(data))
    first = [data.score[rows] == data.score[rows].max() for rows in contents]
    decided = [(rows, best) for rows, best in zip(contents, first, strict=True) if not best.all()]
    tops = [data.prediction[rows] == data.prediction[rows].max() for rows, _ in decided]
    right = np.array([best[top].mean() for (_, best), top in zip(decided, tops, strict=True)])
    chance = float(np.mean([best.mean() for _, best in decided])) if decided else math.nan
    heads = np.array([rows[0] for rows, _ in decided], dtype=np.intp)

    def of(weights: Values) -> Values:
        return np.array([_ratio(row[heads], right) for row in weights])

    left = (
        f"{len(contents) - len(decided)} of {len(contents)} contents have no best"
        if len(decided) < len(contents)
        else ""
    )
    return _accuracy(data, of(np.ones((1, data.score.size)))[0], of, right.size, chance, left)


def _doubt(data: Stimuli) -> Values:
    """Half widths of the scores, nothing where there are none."""
    return np.zeros(data.score.size) if data.table.ci95 is None else np.nan_to_num(data.table.ci95)


def _contents(data: Stimuli) -> Iterator[npt.NDArray[np.intp]]:
    groups = data.groups
    for group in np.unique(groups):
        yield np.flatnonzero(groups == group)


def _ratio(weights: Values, right: Values) -> float:
    total = float(weights.sum())
    return float((weights * right).sum()) / total if total else math.nan


def _accuracy(
    data: Stimuli, value: float, of: Callable[[Values], Values], n: int, chance: float, left: str
) -> Accuracy:
    if not n:
        return Accuracy(math.nan, math.nan, math.nan, 0, chance, joined("nothing is decided", left, data.missing))
    low, high, note = bootstrap(float(value), of, Draws(data.groups, _RESAMPLES, 0))
    return Accuracy(float(value), low, high, n, chance, joined(note, left, data.missing))


_RESAMPLES = 2000
