"""How well a measure follows listeners, asked at four levels, with intervals and what the listeners themselves reach.

The levels can disagree, even in sign: a measure may order the songs of each system as listeners do, and the systems
the other way round. None of them alone is *the* correlation.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from percloss.stats.ceiling import Ceiling, ceiling
from percloss.stats.correlation import FEWEST, Kind, coefficient, undefined
from percloss.stats.correlation import estimate as of_independent
from percloss.stats.kernels import weighted
from percloss.stats.table import Estimate, Rated, joined, left_out, without
from percloss.uncertainty import Interval, Labels, Values, bca, bca_p

__all__ = ["Level", "LevelName", "Levels", "levels"]

LevelName = Literal["pooled", "within_system", "within_content"]
Group = npt.NDArray[np.intp]

# A resample of fewer groups than this says nothing; of fewer than the second, too little.
_GROUPS, _MANY_GROUPS = 5, 20
# Weights held at a time: 32 MB of them.
_WEIGHTS = 2**22


@dataclass(frozen=True)
class Level:
    """The three correlations at one level.

    Args:
        plcc: Pearson's.
        srcc: Spearman's.
        krcc: Kendall's tau-b.
        ceiling: The Pearson correlation that a predictor of what listeners think on average would reach with the mean
            of these few; nan without the single ratings.
        note: What must be known to read the level.
    """

    plcc: Estimate
    srcc: Estimate
    krcc: Estimate
    ceiling: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class Levels:
    """What :func:`levels` found.

    Args:
        measure: Whose predictions they are.
        pooled: Over all stimuli.
        within_system: In each system of four stimuli or more, averaged by Fisher's z.
        within_content: In each content of three stimuli or more, averaged.
        system: Over the means of the systems.
        per_system: Over the stimuli of each system, with the intervals of independent stimuli.
        notes: Sentences to print with them.
    """

    measure: str
    pooled: Level
    within_system: Level
    within_content: Level
    system: Level
    per_system: dict[str, Level]
    notes: tuple[str, ...]


def levels(table: Rated, measure: str, *, n_resamples: int = 2000, seed: int = 0) -> Levels:
    """Correlation of one measure with the listeners, pooled, within systems, within contents and over systems.

    Intervals of all but the last are bias-corrected and accelerated bootstraps over the contents, which are
    independent as stimuli of one content are not; over the stimuli where the table names no contents. Of few groups
    they reach further, as Student's t does: in simulation 95 % held the truth 89 to 97 times of 100, for 5 to 60
    groups; fewer than five have no interval. Within systems a perfect rank correlation counts as half a step below 1,
    where Fisher's z is finite. Over systems the intervals are those of :func:`plcc`, :func:`srcc` and :func:`krcc`; of
    fewer than eight systems no significance is claimed.

    Args:
        table: Of the listeners, and of the measures: higher = better.
        measure: One of them.
        n_resamples: Of the bootstrap.
        seed: Of the bootstrap and of the listeners' halves; the order of the stimuli does not matter.

    Example:
        >>> score, better = np.arange(40.0) % 9, np.arange(40.0) % 9 + np.arange(40.0) % 7
        >>> levels(Rated(score, {"measure": better}), "measure").pooled.srcc.value.__round__(2)
        0.82

    References:
        [efron1987]_ for the interval and [hesterberg2015]_ for how far it reaches; [bonett2000]_ and
        [fieller1957]_ over systems.
    """
    data = Stimuli.of(table, measure)
    top = ceiling(data.table, seed=seed)
    draws = Draws(data.groups, n_resamples, seed)
    found = {name: _level(data, name, draws, top) for name in _LEVELS}
    per_system = {label: _level_of(partial(_of_rows, data, rows)) for label, rows in _split(data.table.system)}
    system = _over_systems(data, top)
    return Levels(
        measure,
        found["pooled"],
        found["within_system"],
        found["within_content"],
        system,
        per_system,
        _notes(data, system),
    )


@dataclass(frozen=True, eq=False)
class Stimuli:
    """The stimuli with a score and all the predictions asked for, in an order of their own."""

    table: Rated
    score: Values
    predictions: tuple[Values, ...]
    missing: str

    @classmethod
    def of(cls, table: Rated, *measures: str) -> "Stimuli":
        columns = [table.score, *(table.prediction(measure) for measure in measures)]
        known = np.all(np.isfinite(columns), axis=0)
        keys = [*columns[::-1], *(labels for labels in (table.system, table.content) if labels is not None)]
        order = np.lexsort(keys)
        table = table.ordered(order[known[order]])
        return cls(table, table.score, tuple(map(table.prediction, measures)), left_out(int((~known).sum())))

    @property
    def prediction(self) -> Values:
        return self.predictions[0]

    @property
    def groups(self) -> Group:
        """Which stimuli are not independent of which."""
        labels = np.arange(len(self.table)) if self.table.content is None else self.table.content
        return np.unique(labels, return_inverse=True)[1].astype(np.intp)

    def rescored(self, score: Values) -> "Stimuli":
        """Those that have another score, with it."""
        rows = np.flatnonzero(np.isfinite(score))
        if rows.size == score.size:
            return replace(self, score=score)
        return Stimuli(
            self.table.ordered(rows), score[rows], tuple(each[rows] for each in self.predictions), self.missing
        )


class Draws:
    """How often each stimulus is in each resample of whole groups, and with each group left out."""

    def __init__(self, groups: Group, n_resamples: int, seed: int) -> None:
        self.groups, self.n_resamples, self.seed = groups, n_resamples, seed
        self.size = int(groups.max()) + 1 if groups.size else 0

    def resamples(self) -> Iterator[Values]:
        generator = np.random.default_rng(self.seed)
        step = max(1, _WEIGHTS // max(self.groups.size, 1))
        for start in range(0, self.n_resamples, step):
            count = min(step, self.n_resamples - start)
            drawn = generator.multinomial(self.size, np.full(self.size, 1 / self.size), count)
            yield drawn.astype(np.float64)[:, self.groups]

    def left_out(self) -> Iterator[Values]:
        step = max(1, _WEIGHTS // max(self.groups.size, 1))
        for start in range(0, self.size, step):
            left = np.arange(start, min(start + step, self.size))
            yield (left[:, None] != self.groups).astype(np.float64)


def statistic(data: Stimuli, prediction: Values, kind: Kind, level: LevelName, weights: Values) -> Values:
    """The correlation at one level under each row of weights, nan where it has none."""
    if level == "pooled":
        return weighted(kind, data.score, prediction, weights)
    groups = _telling(data, prediction, level)
    if not groups:
        return np.full(len(weights), math.nan)
    if level == "within_system":
        own = [
            _z(kind, weighted(kind, data.score[each], prediction[each], weights[:, each]), each.size) for each in groups
        ]
        z = np.stack(own)
        known = np.isfinite(z)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.tanh(np.where(known, z, 0.0).sum(0) / known.sum(0)))
    # Contents are drawn whole: the correlation within each stays, and counts as often as the content was drawn.
    r = np.concatenate([weighted(kind, data.score[each], prediction[each], np.ones((1, each.size))) for each in groups])
    share = weights[:, [each[0] for each in groups]]
    with np.errstate(invalid="ignore"):
        return np.asarray(share @ r / share.sum(1))


def _split(labels: Labels | None) -> Iterator[tuple[str, Group]]:
    if labels is not None:
        order = np.argsort(labels, kind="stable")
        names, starts = np.unique(labels[order], return_index=True)
        yield from zip(map(str, names), np.split(order, starts[1:]), strict=True)


def _telling(data: Stimuli, prediction: Values, level: LevelName) -> list[Group]:
    """The stimuli of each system, or content, that has enough of them for a correlation, and not all alike."""
    labels = data.table.system if level == "within_system" else data.table.content
    return [
        rows
        for _, rows in _split(labels)
        if rows.size >= _LEAST[level] and not undefined(data.score[rows], prediction[rows])
    ]


def _z(kind: Kind, r: Values, n: int) -> Values:
    """Fisher's z; a perfect correlation counts as half the smallest step of its ranks below 1."""
    step = 2 / (n * (n - 1)) if kind == "krcc" else 6 / (n**3 - n)
    return np.arctanh(np.clip(r, step - 1, 1 - step))


def _level(data: Stimuli, level: LevelName, draws: Draws, top: Ceiling) -> Level:
    why = _missing(data, level)
    if why:
        return _no_level(data, why)
    return _level_of(partial(_estimate, data, level, draws), getattr(top, level), _few(draws.size, data))


def _level_of(estimate: Callable[[Kind], Estimate], ceiling: float = math.nan, note: str = "") -> Level:
    return Level(estimate("plcc"), estimate("srcc"), estimate("krcc"), ceiling, note)


def _no_level(data: Stimuli, why: str) -> Level:
    nothing = without(0, joined(why, data.missing))
    return Level(nothing, nothing, nothing, math.nan, why)


def _of_rows(data: Stimuli, rows: Group, kind: Kind) -> Estimate:
    return of_independent(kind, data.score[rows], data.prediction[rows])


def _missing(data: Stimuli, level: LevelName) -> str:
    if level == "pooled":
        return undefined(data.score, data.prediction)
    name = level.removeprefix("within_")
    labels = getattr(data.table, name)
    if labels is None:
        return f"the table names no {name}s"
    if not _telling(data, data.prediction, level):
        return f"no {name} has {_LEAST[level]} stimuli of different scores and predictions"
    return ""


def _estimate(data: Stimuli, level: LevelName, draws: Draws, kind: Kind) -> Estimate:
    def of(weights: Values) -> Values:
        return statistic(data, data.prediction, kind, level, weights)

    value = float(of(np.ones((1, data.score.size)))[0])
    if level == "pooled":
        value = coefficient(kind, data.score, data.prediction)
    low, high, note = bootstrap(value, of, draws)
    n = data.score.size if level == "pooled" else len(_telling(data, data.prediction, level))
    return Estimate(value, low, high, n, joined(note, data.missing))


def bootstrap(value: float, of: Callable[[Values], Values], draws: Draws) -> tuple[float, float, str]:
    """Interval of a statistic of weights, and what is to say of it."""
    resampled, moved, note = resample(value, of, draws)
    return (math.nan, math.nan, note) if note else (*widened(value, resampled, moved), "")


def widened(value: float, resampled: Values, moved: Values) -> Interval:
    """BCa interval of 95 %, taken as much further out as Student's t of so few groups is, and their sample's spread."""
    n = moved.size
    return bca(value, resampled, moved, confidence=1 - 2 * float(ndtr(stdtrit(n - 1, 0.025) * math.sqrt(n / (n - 1)))))


def widened_p(value: float, resampled: Values, moved: Values) -> float:
    """Two-sided p of the value 0: one minus the confidence at which such an interval would reach it."""
    n = moved.size
    return 2 * float(stdtr(n - 1, ndtri(bca_p(value, resampled, moved) / 2) * math.sqrt((n - 1) / n)))


def resample(value: float, of: Callable[[Values], Values], draws: Draws) -> tuple[Values, Values, str]:
    """The statistic of each resample, by how much each group lowers it, and why they give no interval, if so."""
    nothing = np.empty(0)
    if draws.size < _GROUPS:
        return nothing, nothing, f"{draws.size} independent groups: too few for an interval"
    resampled = np.concatenate([of(weights) for weights in draws.resamples()])
    moved = value - np.concatenate([of(weights) for weights in draws.left_out()])
    resampled, moved = resampled[np.isfinite(resampled)], moved[np.isfinite(moved)]
    if resampled.size < draws.n_resamples / 2 or moved.size < _GROUPS:
        return nothing, nothing, "no interval: most resamples have no correlation"
    if resampled.max() <= value + _ROUNDING and resampled.min() >= value - _ROUNDING:
        return nothing, nothing, "no interval: every resample is the same"
    if resampled.max() < value or resampled.min() > value:
        return nothing, nothing, "no interval: all resamples lie on one side"
    return resampled, moved, ""


def _few(groups: int, data: Stimuli) -> str:
    if groups >= _MANY_GROUPS:
        return ""
    what = "stimuli" if data.table.content is None else "contents"
    return f"{groups} {what}: intervals of so few are approximate, and rather too narrow"


def _over_systems(data: Stimuli, top: Ceiling) -> Level:
    labels = data.table.system
    if labels is None:
        return _no_level(data, "the table names no systems")
    rows = [each for _, each in _split(labels)]
    score, prediction = (np.array([values[each].mean() for each in rows]) for values in (data.score, data.prediction))
    note = f"{len(rows)} systems: too few to claim significance" if len(rows) < FEWEST else ""

    def of(kind: Kind) -> Estimate:
        found = of_independent(kind, score, prediction)
        return replace(found, note=joined(note, found.note, data.missing))

    return _level_of(of, top.system, note)


def _notes(data: Stimuli, system: Level) -> tuple[str, ...]:
    table, notes = data.table, []
    if system.note:
        notes.append(system.note)
    if table.content is None:
        notes.append("no contents are named: the stimuli are taken for independent")
    elif table.system is not None:
        pairs = np.unique(np.stack([table.system, table.content]), axis=1).shape[1]
        if pairs < len(table):
            notes.append(f"{len(table) - pairs} stimuli have the system and the content of another")
    if data.missing:
        notes.append(data.missing)
    return tuple(notes)


_ROUNDING = 1e-12
# Stimuli that a group needs: three points have no Fisher's z to speak of.
_LEAST: Mapping[LevelName, int] = {"within_system": 4, "within_content": 3}
_LEVELS: tuple[LevelName, ...] = ("pooled", "within_system", "within_content")
