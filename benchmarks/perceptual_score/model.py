"""A few measures, bent and added with weights that are not negative: how it is fitted, and how its features are chosen.

What is chosen and fitted is written down in protocol.json, which is older than the first fit.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Values = npt.NDArray[np.float64]
Folds = Sequence[Sequence[str]]

PROTOCOL = Path(__file__).with_name("protocol.json")
# Of a normal distribution: its interquartile range over its standard deviation.
_IQR = 1.349


def protocol() -> dict[str, Any]:
    """What was written down before the first fit."""
    found: dict[str, Any] = json.loads(PROTOCOL.read_text(encoding="utf-8"))
    return found


def protocol_hash() -> str:
    """By which it can be told from any other."""
    return hashlib.sha256(PROTOCOL.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Settings:
    """The numbers of the protocol that a fit and a choice need."""

    ridge: float
    clip: tuple[float, float]
    most: int
    parsimony: float

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> "Settings":
        model = written["model"]
        low, high = model["clip"]
        return cls(model["ridge"], (low, high), model["most_features"], written["choice"]["parsimony"])


@dataclass(frozen=True, eq=False)
class Table:
    """Listeners' scores, 0 to 100, the features of each stimulus, higher = better, and the songs."""

    score: Values
    features: Mapping[str, Values]
    song: npt.NDArray[np.str_]

    def of(self, songs: Sequence[str]) -> npt.NDArray[np.bool_]:
        return np.isin(self.song, songs)

    def where(self, rows: npt.NDArray[np.bool_]) -> "Table":
        return Table(self.score[rows], {name: values[rows] for name, values in self.features.items()}, self.song[rows])


@dataclass(frozen=True)
class Bend:
    """A feature brought to -1 to 1 around what is usual among the training stimuli, which no rating takes part in."""

    middle: float
    scale: float

    @classmethod
    def of(cls, values: Values) -> "Bend":
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        if not high > low:
            raise ValueError("a feature is the same for most stimuli")
        return cls(float(middle), float(high - low) / _IQR)

    def __call__(self, values: Values) -> Values:
        return np.asarray(np.tanh((values - self.middle) / (2 * self.scale)))


@dataclass(frozen=True)
class Fit:
    """100 sigmoid(bias + sum of weight times bent feature)."""

    bends: Mapping[str, Bend]
    weights: Mapping[str, float]
    bias: float

    def __call__(self, features: Mapping[str, Values]) -> Values:
        total = self.bias + sum(weight * self.bends[name](features[name]) for name, weight in self.weights.items())
        return np.asarray(100 / (1 + np.exp(-total)))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "bias": self.bias,
            "features": {
                name: {"weight": weight, "median": self.bends[name].middle, "scale": self.bends[name].scale}
                for name, weight in self.weights.items()
            },
        }


def fit(table: Table, names: Sequence[str], settings: Settings) -> Fit:
    """Weights, none negative, by least squares on the logit of the scores with a ridge."""
    bends = {name: Bend.of(table.features[name]) for name in names}
    return _fitted(
        bends, {name: bends[name](table.features[name]) for name in names}, _logit(table.score, settings), settings
    )


def _logit(score: Values, settings: Settings) -> Values:
    share = np.clip(score, *settings.clip) / 100
    return np.asarray(np.log(share / (1 - share)))


def _fitted(bends: Mapping[str, Bend], bent: Mapping[str, Values], wanted: Values, settings: Settings) -> Fit:
    columns = np.stack(list(bent.values()), 1)
    middle = columns.mean(0)
    ridge = math.sqrt(settings.ridge) * np.eye(len(bent))
    weights, _ = optimize.nnls(
        np.concatenate([columns - middle, ridge]), np.concatenate([wanted - wanted.mean(), np.zeros(len(bent))])
    )
    return Fit(dict(bends), dict(zip(bent, map(float, weights), strict=True)), float(wanted.mean() - middle @ weights))


def subsets(names: Sequence[str], most: int) -> Iterator[tuple[str, ...]]:
    """All choices of 1 to ``most`` of them, those of few first."""
    for count in range(1, most + 1):
        yield from combinations(names, count)


def choose(table: Table, folds: Folds, settings: Settings) -> tuple[tuple[str, ...], float]:
    """The features whose predictions for held-out folds follow the listeners best, and how far they do.

    Args:
        table: Of the training songs, whose features are the candidates.
        folds: That make up these songs.
        settings: Of the protocol.
    """
    chosen = list(subsets(list(table.features), settings.most))
    guessed = np.full((len(chosen), table.score.size), math.nan)
    for songs in folds:
        held = table.of(songs)
        training, judged = table.where(~held), table.where(held)
        bends = {name: Bend.of(values) for name, values in training.features.items()}
        bent = {name: bend(training.features[name]) for name, bend in bends.items()}
        wanted = _logit(training.score, settings)
        for index, names in enumerate(chosen):
            found = _fitted(
                {name: bends[name] for name in names}, {name: bent[name] for name in names}, wanted, settings
            )
            guessed[index, held] = found(judged.features)
    heights = np.array([srcc(table.score, row) for row in guessed])
    best = heights.max()
    few = min(len(names) for names, height in zip(chosen, heights, strict=True) if height >= best - settings.parsimony)
    at = max((index for index, names in enumerate(chosen) if len(names) == few), key=lambda index: heights[index])
    return chosen[at], float(heights[at])


def srcc(score: Values, prediction: Values) -> float:
    """Spearman's correlation, 0 where all predictions are the same."""
    ranks, others = stats.rankdata(score), stats.rankdata(prediction)
    if np.ptp(others) == 0:
        return 0.0
    return float(np.corrcoef(ranks, others)[0, 1])


@dataclass(frozen=True, eq=False)
class Validated:
    """A prediction for each stimulus, by what was fitted without its song, and what that was in each fold."""

    prediction: Values
    folds: list[dict[str, Any]]


def cross_validated(table: Table, folds: Folds, settings: Settings) -> Validated:
    """Choice and fit without each fold in turn, and what they say of it."""
    return _validated(table, folds, settings, choose)


def best_inside(table: Table, folds: Folds, settings: Settings) -> Validated:
    """The same for single measures: the best over the training songs, brought to the scale by the same model."""
    return _validated(table, folds, settings, _best)


def _best(table: Table, _: Folds, __: Settings) -> tuple[tuple[str, ...], float]:
    heights = {name: srcc(table.score, values) for name, values in table.features.items()}
    name = max(heights, key=lambda name: heights[name])
    return (name,), heights[name]


def _validated(table: Table, folds: Folds, settings: Settings, chooser: Any) -> Validated:
    prediction, told = np.full(table.score.size, math.nan), []
    for songs in folds:
        held = table.of(songs)
        training = table.where(~held)
        names, height = chooser(training, [other for other in folds if other is not songs], settings)
        found = fit(training, names, settings)
        prediction[held] = found(table.where(held).features)
        told.append({"held_out": list(songs), "training_srcc": height, **found.plain()})
    return Validated(prediction, told)


def partition(songs: Sequence[str], seed: int, size: int) -> list[list[str]]:
    """The songs by chance, so many to a fold."""
    order = [str(song) for song in np.random.default_rng(seed).permutation(sorted(songs))]
    return [order[start : start + size] for start in range(0, len(order), size)]
