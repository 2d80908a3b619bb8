"""How far listeners agree with themselves: no measure can be expected to follow them further."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from percloss.stats.kernels import columnwise
from percloss.stats.table import Rated
from percloss.uncertainty import Labels, Values

__all__ = ["Ceiling", "ceiling"]

# All ways to halve up to 13 listeners are tried, or so many of more.
_SPLITS = 2000


@dataclass(frozen=True)
class Ceiling:
    """The Pearson correlation that the true mean opinion would have with the mean of these listeners, at each level.

    Args:
        pooled: Over all stimuli.
        within_system: In each system, averaged by Fisher's z.
        within_content: In each content, averaged.
        system: Over the means of the systems.
        splits: Halvings of the listeners.
        exact: Whether they are all there are.
        note: Why there is none, if so.
    """

    pooled: float
    within_system: float
    within_content: float
    system: float
    splits: int
    exact: bool
    note: str = ""


def ceiling(table: Rated, *, seed: int = 0) -> Ceiling:
    r"""Noise ceiling: the listeners are halved in every way, and the halves' means correlated.

    The mean :math:`r` over halvings is stepped up to the whole panel, :math:`2r/(1+r)` (Spearman-Brown), and the root
    of that reliability is the ceiling. It rests on these listeners and this test: with more listeners it rises.

    Args:
        table: With the single ratings.
        seed: Of the halvings drawn, where there are too many to try all.

    References:
        [spearman1910]_, [brown1910]_.
    """
    ratings = table.ratings
    n = 0 if ratings is None else int(np.isfinite(ratings).any(0).sum())
    if ratings is None or n < 2:
        why = (
            "no ratings of single listeners" if ratings is None else f"ratings of {n} listeners: two or more are needed"
        )
        return Ceiling(math.nan, math.nan, math.nan, math.nan, 0, False, why)
    ratings = ratings[:, np.isfinite(ratings).any(0)]
    halves, exact = _halvings(n, seed)
    a, b = (_means(ratings, mask) for mask in (halves, ~halves))
    over = (
        None if table.system is None else [np.stack(each) for each in zip(*_means_of(table.system, a, b), strict=True)]
    )
    return Ceiling(
        _stepped_up(columnwise(a, b)),
        _stepped_up(_averaged(a, b, table.system, fisher=True)),
        _stepped_up(_averaged(a, b, table.content, fisher=False)),
        math.nan if over is None else _stepped_up(columnwise(*over)),
        len(halves),
        exact,
    )


def _halvings(n: int, seed: int) -> tuple[npt.NDArray[np.bool_], bool]:
    """Which listeners are in the first half, one halving per row, and whether these are all halvings."""
    if math.comb(n, n // 2) // (2 - n % 2) <= _SPLITS:
        chosen = list(combinations(range(n), n // 2))
        if n % 2 == 0:
            chosen = chosen[: len(chosen) // 2]
        masks = np.zeros((len(chosen), n), dtype=np.bool_)
        masks[np.arange(len(chosen))[:, None], np.array(chosen)] = True
        return masks, True
    generator = np.random.default_rng(seed)
    return generator.permuted(np.tile(np.arange(n) < n // 2, (_SPLITS, 1)), axis=1), False


def _means(ratings: Values, chosen: npt.NDArray[np.bool_]) -> Values:
    """Mean of the chosen listeners, ``(stimuli, halvings)``, nan where none of them rated."""
    known = np.isfinite(ratings)
    n = known.astype(np.float64) @ chosen.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known, ratings, 0.0) @ chosen.T / n)


def _means_of(labels: Labels, *halves: Values) -> Iterator[list[Values]]:
    for label in np.unique(labels):
        yield [half[labels == label].mean(0) for half in halves]


def _averaged(a: Values, b: Values, labels: Labels | None, *, fisher: bool) -> Values:
    """Mean over groups of the correlation of the halves within each; nan where no group has one."""
    if labels is None:
        return np.full(a.shape[1], math.nan)
    r = np.stack([columnwise(a[labels == label], b[labels == label]) for label in np.unique(labels)])
    known = np.isfinite(r)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.arctanh(np.clip(r, _PERFECT - 1, 1 - _PERFECT)) if fisher else r
        mean = np.where(known, r, 0.0).sum(0) / known.sum(0)
    return np.asarray(np.tanh(mean) if fisher else mean)


def _stepped_up(r: Values) -> float:
    r = r[np.isfinite(r)]
    mean = float(r.mean()) if r.size else math.nan
    return math.sqrt(2 * mean / (1 + mean)) if mean >= 0 else math.nan


# Fisher's z of 1 is infinite; of this much less it is 7.
_PERFECT = 1e-6
