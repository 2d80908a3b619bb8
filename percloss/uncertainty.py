"""How sure a mean is, and a difference of two: bootstrap intervals, a sign-flip test, what a test could have seen.

No result depends on the order in which the items come: they are sorted before anything is drawn.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from percloss.errors import ArgumentError

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[Any]

#: Which differences count as told apart, in ``Paired.detectable`` and ``percloss compare``.
ALPHA = 0.05
POWER = 0.8
# Drawn at a time: 8 MB of them.
_DRAWS = 2**20
# Sums of the same terms in another order are one sum: they differ by rounding.
_ROUNDING = 1e-10


class Interval(NamedTuple):
    """Ends of a confidence interval, in the unit of the values; nan where there are too few."""

    low: float
    high: float


class Paired(NamedTuple):
    """By how much ``b`` exceeds ``a`` on the same items, and whether the data can tell.

    Args:
        difference: Mean of ``b - a``, in the unit of the values.
        low: End of its BCa interval.
        high: End of its BCa interval.
        p: Of the two-sided sign-flip test: how often a mean at least as far from 0 comes about if each group's
            differences could as well have had the other sign.
        detectable: The true difference that a test at the 5 % level, shared among the comparisons, sees in four cases
            of five with items as many and as varied as these.
        n: Items with a value in both.
        groups: Independent ones among them.
        undefined: Items without a value in at least one, left out of both.
    """

    difference: float
    low: float
    high: float
    p: float
    detectable: float
    n: int
    groups: int
    undefined: int


class _Clusters(NamedTuple):
    """Sum and number of the values of each group, sorted; every value is a group of its own where none are given."""

    sums: Values
    counts: Values

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum())

    @property
    def excess(self) -> Values:
        """Of each group's sum over what the mean leads to expect."""
        return self.sums - self.mean * self.counts


def mean_interval(
    values: Values,
    *,
    groups: Labels | None = None,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of the mean, bias-corrected and accelerated (BCa).

    Args:
        values: One number per item; nan is left out.
        groups: A label per item, where items are independent between groups only, such as the stems of a track:
            whole groups are then resampled. ``None``: every item is independent.
        confidence: Of the interval.
        n_resamples: Number of resamples.
        seed: Of the resampling: the same values in any order give the same interval.

    Returns:
        The interval; nan at both ends for fewer than three values or groups, the value itself where all are equal.

    Example:
        >>> mean_interval(np.array([1.0, 2.0, 3.0, 4.0, 50.0]), groups=np.array([0, 0, 1, 1, 2]))
        Interval(low=2.1666666666666665, high=50.0)

    Raises:
        ArgumentError: A confidence that is none, or not a label for each value.

    References:
        [efron1987]_, section 6 for the acceleration.
    """
    _check(confidence=confidence)
    return _interval(_clusters(values, groups), confidence, n_resamples, seed)


def paired(
    a: Values,
    b: Values,
    *,
    groups: Labels | None = None,
    confidence: float = 0.95,
    comparisons: int = 1,
    n_resamples: int = 2000,
    n_flips: int = 10_000,
    seed: int = 0,
) -> Paired:
    """Compare two systems on the same items: by how much ``b`` exceeds ``a``.

    An item that has no value in one of them is left out of both. The test asks whether the signs of the differences
    could be chance: they are symmetric about 0 if it does not matter which system is which. All signs are tried where
    there are no more than ``n_flips`` ways to choose them; otherwise so many are drawn. The smallest p of ``n``
    independent items is :math:`2^{1-n}`: with five, nothing passes 5 %.

    Args:
        a: One number per item.
        b: The same of the other system, items in the same order.
        groups: A label per item, where items are independent between groups only; whole groups are then resampled,
            and change sign together.
        confidence: Of the interval.
        comparisons: How many such questions are asked at once; ``detectable`` allows for them (Bonferroni).
        n_resamples: Draws of the interval.
        n_flips: Draws of the test.
        seed: Of both.

    Example:
        >>> a = np.array([10.0, 12.0, 11.0, 9.0, 14.0, 10.0, 12.0])
        >>> result = paired(a, a + [1.0, 2.0, 1.5, 1.0, 0.5, np.nan, 2.0])
        >>> result.difference.__round__(2), result.p, result.n, result.undefined
        (1.33, 0.03125, 6, 1)

    Raises:
        ArgumentError: Not as many items in one as in the other, a confidence that is none, or not a label for each.

    References:
        [fisher1935]_, section 21 for the test.
    """
    _check(confidence=confidence)
    if a.shape != b.shape or a.ndim != 1:
        raise ArgumentError(
            f"paired: got {a.shape} and {b.shape} values; needed is one number per item, the same items."
        )
    differences = b.astype(np.float64) - a
    clusters = _clusters(differences, groups)
    n, size = int(clusters.counts.sum()), clusters.sums.size
    undefined = differences.size - n
    if n == 0:
        return Paired(math.nan, math.nan, math.nan, math.nan, math.nan, n, size, undefined)
    low, high = _interval(clusters, confidence, n_resamples, seed)
    p, detectable = _sign_flip(clusters.sums, n_flips, seed), _detectable(clusters, ALPHA / comparisons)
    return Paired(clusters.mean, low, high, p, detectable, n, size, undefined)


def holm(p: Values) -> Values:
    """Adjust the p-values of several tests so that the chance of one false finding among all stays below the level.

    nan stands for a test that was not made, and stays nan.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03, math.nan]))
        array([0.03, 0.06, 0.06,  nan])

    References:
        [holm1979]_.
    """
    adjusted = np.full(p.shape, math.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, factors * p[order]))
    return adjusted


def bca(value: float, resampled: Values, moved: Values, *, confidence: float = 0.95) -> Interval:
    """Bias-corrected and accelerated interval of any statistic, from what its resamples were.

    Args:
        value: The statistic of all the data.
        resampled: The same of each resample, not all equal.
        moved: By how much each group, left out, lowers it.
        confidence: Of the interval.

    References:
        [efron1987]_, section 6 for the acceleration.
    """
    from scipy.special import ndtr, ndtri

    bias, acceleration = _skewness(value, resampled, moved)
    tails = bias + ndtri(np.array([1 - confidence, 1 + confidence]) / 2)
    low, high = np.quantile(resampled, ndtr(bias + tails / (1 - acceleration * tails)))
    return Interval(float(low), float(high))


def bca_p(value: float, resampled: Values, moved: Values) -> float:
    """Two-sided p of the value 0: one minus the confidence at which the end of :func:`bca`'s interval reaches 0.

    No smaller than the number of resamples can tell.
    """
    from scipy.special import ndtr, ndtri

    bias, acceleration = _skewness(value, resampled, moved)
    below = ((resampled < 0).sum() + (resampled <= 0).sum()) / 2
    inside = ndtri((below + 0.5) / (resampled.size + 1)) - bias
    # Where the correction turns over, 0 lies beyond every end it can give.
    tail = ndtr(inside / (1 + acceleration * inside) - bias) if 1 + acceleration * inside > 0 else 0.0
    return float(max(min(2 * min(tail, 1 - tail), 1.0), 1 / (resampled.size + 1)))


def fewest(comparisons: int = 1) -> int:
    """Independent items below which no sign-flip test can reach the 5 % level among so many comparisons."""
    return 1 + math.ceil(math.log2(comparisons / ALPHA))


def _check(*, confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ArgumentError(f"interval: got confidence={confidence}; needed is a number between 0 and 1: 0.95.")


def _skewness(value: float, resampled: Values, moved: Values) -> tuple[float, float]:
    """How far the resamples are off, and how fast their spread changes with the value: the two corrections of BCa."""
    from scipy.special import ndtri

    moved = moved - moved.mean()
    spread = (moved**2).sum() ** 1.5
    acceleration = (moved**3).sum() / (6 * spread) if spread else 0.0
    bias = ndtri(((resampled < value).mean() + (resampled <= value).mean()) / 2)
    return float(bias), float(acceleration)


def _clusters(values: Values, groups: Labels | None) -> _Clusters:
    if groups is None:
        values = np.sort(values[~np.isnan(values)].astype(np.float64))
        return _Clusters(values, np.ones(values.size))
    if groups.shape != values.shape:
        raise ArgumentError(f"groups: got {groups.shape} labels for {values.shape} values; needed is one for each.")
    known = ~np.isnan(values)
    values = values[known].astype(np.float64)
    _, which = np.unique(groups[known], return_inverse=True)
    order = np.argsort(values, kind="stable")
    counts = np.bincount(which).astype(np.float64)
    sums: Values = np.bincount(which[order], weights=values[order]).astype(np.float64)
    order = np.lexsort((counts, sums))
    return _Clusters(sums[order], counts[order])


def _interval(clusters: _Clusters, confidence: float, n_resamples: int, seed: int) -> Interval:
    if clusters.sums.size < 3:
        return Interval(math.nan, math.nan)
    if np.ptp(clusters.sums / clusters.counts) == 0:
        return Interval(clusters.mean, clusters.mean)
    means = _resampled_means(clusters, n_resamples, np.random.default_rng(seed))
    # The jackknife of a mean in closed form: by how much each group, left out, moves it.
    moved = clusters.excess / (clusters.counts.sum() - clusters.counts)
    return bca(clusters.mean, means, moved, confidence=confidence)


def _resampled_means(clusters: _Clusters, n_resamples: int, generator: np.random.Generator) -> Values:
    """Means of samples of groups drawn with replacement."""
    size = clusters.sums.size
    means = []
    for count in _portions(n_resamples, size):
        drawn = generator.integers(0, size, (count, size))
        means.append(clusters.sums[drawn].sum(1) / clusters.counts[drawn].sum(1))
    return np.concatenate(means)


def _sign_flip(sums: Values, n_flips: int, seed: int) -> float:
    """How often signs at random bring the sum as far from 0."""
    size = sums.size
    least = abs(float(sums.sum())) - _ROUNDING * float(np.abs(sums).sum())
    if 2**size <= n_flips:
        signs = 1 - 2 * (np.arange(2**size)[:, None] >> np.arange(size) & 1)
        return float((np.abs(signs @ sums) >= least).mean())
    generator = np.random.default_rng(seed)
    as_far = 0
    for count in _portions(n_flips - 1, size):
        bits = np.frombuffer(generator.bytes(count * (-(-size // 8))), np.uint8).reshape(count, -1)
        flipped = np.unpackbits(bits, axis=1, count=size).astype(np.float64)
        as_far += int((np.abs(sums.sum() - 2 * (flipped @ sums)) >= least).sum())
    # The data themselves are one of the ways.
    return (as_far + 1) / n_flips


def _portions(total: int, size: int) -> Iterator[int]:
    """A total in parts, so that many values need no more memory than few."""
    step = max(1, _DRAWS // size)
    return (min(step, total - start) for start in range(0, total, step))


def _detectable(clusters: _Clusters, alpha: float) -> float:
    size = clusters.sums.size
    if size < 2:
        return math.nan
    from scipy.special import stdtrit

    error = math.sqrt(size / (size - 1) * float((clusters.excess**2).sum())) / float(clusters.counts.sum())
    return float(stdtrit(size - 1, 1 - alpha / 2) + stdtrit(size - 1, POWER)) * error
