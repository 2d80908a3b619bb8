"""How sure a difference of two models is, over seeds and clips; which measure ranks whom first; who agrees with whom.

A model has a value for each seed and each clip. Both are samples, of trainings that could have been run and of mixtures
that could have been heard, and both are resampled: seeds with replacement, clips with replacement, and every value at
a drawn seed and a drawn clip counts (the pigeonhole bootstrap of a two-way layout). With one seed the interval speaks
of the clips alone. The test flips the signs of whole clips, all seeds together, and so never speaks of seeds: three of
them allow no test. How many of them agree is told beside it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from percloss.lab.disparity.config import Comparison, Hypothesis
from percloss.uncertainty import ALPHA, Interval, Values, holm, paired

__all__ = [
    "Answer",
    "Table",
    "Tau",
    "Tested",
    "Verdict",
    "agreement",
    "answer",
    "gain",
    "interval",
    "mean",
    "ranked",
    "taus",
]

_DRAWS = 2000
_TAU_DRAWS = 1000

Verdict = Literal["supported", "not supported", "undecided", "not run"]
#: Of each model and measure, its values ``(seeds, clips)``, nan where there is none.
Table = Mapping[str, Mapping[str, Values]]


class _Weights(NamedTuple):
    """How often each seed and each clip was drawn, a row for each draw."""

    seeds: Values
    clips: Values


@lru_cache(maxsize=8)
def _drawn(shape: tuple[int, ...], draws: int) -> _Weights:
    """The same for every model and measure, so that what is compared is compared on the same draws."""
    generator = np.random.default_rng(0)
    counts = [
        np.ones((draws, size)) if size == 1 else generator.multinomial(size, [1 / size] * size, draws).astype(float)
        for size in shape
    ]
    return _Weights(*counts)


def mean(values: Values) -> float:
    """Over seeds and clips that have a value; nan where none has."""
    known = ~np.isnan(values)
    return float(values[known].mean()) if known.any() else math.nan


def interval(values: Values, *, draws: int = _DRAWS) -> Interval:
    """The middle 95 % of the means of resampled seeds and clips; nan where fewer than three clips have a value.

    Args:
        values: ``(seeds, clips)``, nan where there is none.
        draws: How often both are resampled.

    Example:
        >>> interval(np.array([[1.0, 2.0, 3.0, 2.0]]))
        Interval(low=1.25, high=2.75)

    References:
        [owen2007]_.
    """
    known = ~np.isnan(values)
    if known.any(0).sum() < 3:
        return Interval(math.nan, math.nan)
    means = _means(values, _drawn(values.shape, draws))
    low, high = np.nanquantile(means, [0.025, 0.975])
    return Interval(float(low), float(high))


def _means(values: Values, weights: _Weights) -> Values:
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    sums = ((weights.seeds @ filled) * weights.clips).sum(1)
    counts = ((weights.seeds @ known.astype(float)) * weights.clips).sum(1)
    means: Values = np.divide(sums, counts, out=np.full(sums.shape, math.nan), where=counts > 0)
    return means


def gain(table: Table, ahead: str, behind: str, measure: str, sign: int) -> Values:
    """By how much one model is better than another, at each seed and clip, positive where it is."""
    found: Values = sign * (table[behind][measure] - table[ahead][measure])
    return found


@dataclass(frozen=True)
class Tested:
    """A comparison, and what came of it.

    Args:
        comparison: What was expected.
        gain: By how much the first is better, the mean over seeds and clips, in the measure's unit.
        low: End of its interval.
        high: End of its interval.
        p: Of the sign-flip test over clips that it is ``comparison.by``.
        holm: The same, adjusted for the comparisons of the hypothesis.
        seeds: Of so many, seen in each alone whether its mean is above ``comparison.by``.
        agreeing: In so many of them it is.
        clips: That had a value in both.
        undefined: Pairs of values, over seeds and clips, of which one was missing.
        verdict: What that says.
    """

    comparison: Comparison
    gain: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    holm: float = math.nan
    seeds: int = 0
    agreeing: int = 0
    clips: int = 0
    undefined: int = 0
    verdict: Verdict = "not run"


@dataclass(frozen=True)
class Answer:
    """A hypothesis, its comparisons, and the verdict on all that were run.

    It is supported where every comparison is, not supported where one shows the contrary, and undecided otherwise.
    """

    hypothesis: Hypothesis
    tested: tuple[Tested, ...]
    verdict: Verdict

    @property
    def ran(self) -> int:
        """How many comparisons could be made."""
        return sum(each.verdict != "not run" for each in self.tested)


def answer(hypothesis: Hypothesis, table: Table, signs: Mapping[str, int]) -> Answer:
    """Put a hypothesis to the test.

    A comparison is supported where the interval lies above what was expected and the adjusted p is below 5 %, and not
    supported where the interval lies below and the adjusted p is below 5 %.

    Args:
        hypothesis: With its comparisons.
        table: Values of the models that there are.
        signs: Of each measure, as ``Spec.sign`` has it.
    """
    found = [_tested(each, table, signs) for each in hypothesis.comparisons]
    adjusted = holm(np.array([each.p for each in found], dtype=float))
    judged = tuple(_judged(each, float(p)) for each, p in zip(found, adjusted, strict=True))
    verdicts = {each.verdict for each in judged if each.verdict != "not run"}
    overall: Verdict = "undecided"
    if not verdicts:
        overall = "not run"
    elif "not supported" in verdicts:
        overall = "not supported"
    elif verdicts == {"supported"}:
        overall = "supported"
    return Answer(hypothesis, judged, overall)


def _tested(comparison: Comparison, table: Table, signs: Mapping[str, int]) -> Tested:
    missing = [name for name in (comparison.ahead, comparison.behind) if name not in table]
    measure = comparison.measure
    if missing or measure not in signs:
        return Tested(comparison)
    values = gain(table, comparison.ahead, comparison.behind, measure, signs[measure])
    known = ~np.isnan(values)
    low, high = interval(values)
    clips = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    flips = paired(np.full(values.size, comparison.by), values.ravel(), groups=clips.ravel())
    by_seed = [mean(row) for row in values]
    return Tested(
        comparison,
        gain=mean(values),
        low=low,
        high=high,
        p=flips.p,
        seeds=len(by_seed),
        agreeing=sum(each > comparison.by for each in by_seed),
        clips=int(known.any(0).sum()),
        undefined=int((~known).sum()),
        verdict="undecided",
    )


def _judged(tested: Tested, p: float) -> Tested:
    verdict: Verdict = tested.verdict
    if p < ALPHA and tested.low > tested.comparison.by:
        verdict = "supported"
    if p < ALPHA and tested.high < tested.comparison.by:
        verdict = "not supported"
    return Tested(**{**vars(tested), "holm": p, "verdict": verdict})


@dataclass(frozen=True)
class Tau:
    """Kendall's tau between two measures over models, with the interval that seeds and clips leave; nan without one."""

    value: float
    low: float
    high: float
    models: int


def taus(table: Table, signs: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Kendall's tau-b of every two measures over the means of the models, 1 where they rank them alike.

    A pair has none (nan) where fewer than three models have a value in both, or all have the same.
    """
    scores = {name: np.array([-signs[name] * mean(values[name]) for values in table.values()]) for name in signs}
    return {one: {other: _tau(scores[one], scores[other]) for other in signs} for one in signs}


def agreement(table: Table, one: str, other: str, signs: Mapping[str, int], *, draws: int = _TAU_DRAWS) -> Tau:
    """Kendall's tau of two measures over models, and its interval by resampling seeds and clips, models as they are."""

    def drawn(name: str) -> Values:
        rows = [_means(values[name], _drawn(values[name].shape, draws)) for values in table.values()]
        return -signs[name] * np.array(rows)

    means = [np.array([-signs[name] * mean(values[name]) for values in table.values()]) for name in (one, other)]
    known = ~np.isnan(means).any(0)
    value = _tau(*means)
    if math.isnan(value):
        return Tau(value, math.nan, math.nan, int(known.sum()))
    resampled = [_tau(a, b) for a, b in zip(drawn(one).T, drawn(other).T, strict=True)]
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Tau(value, float(low), float(high), int(known.sum()))


def _tau(one: Values, other: Values) -> float:
    from scipy.stats import kendalltau

    known = ~(np.isnan(one) | np.isnan(other))
    if known.sum() < 3 or np.ptp(one[known]) == 0 or np.ptp(other[known]) == 0:
        return math.nan
    return float(kendalltau(one[known], other[known]).statistic)


def ranked(table: Table, measure: str, sign: int) -> Sequence[str]:
    """Models from best to worst by their means; those without a value are left out."""
    means = {name: mean(values[measure]) for name, values in table.items()}
    return sorted((name for name, value in means.items() if not math.isnan(value)), key=lambda name: sign * means[name])
