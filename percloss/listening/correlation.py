"""How far measures follow the listeners of a test: at every level, with intervals, and which differences are real.

All statistics are of ``percloss.stats``; here they are asked for and put into one plain object.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from percloss.errors import ArgumentError
from percloss.listening.rated import RatedSet, Stimulus, panels
from percloss.listening.scores import Scoring
from percloss.measure import find
from percloss.stats import (
    Accuracy,
    Estimate,
    Level,
    Mapped,
    Rated,
    best_of_n,
    ceiling,
    difference,
    levels,
    mapped,
    pairwise,
    plcc,
    srcc,
    williams,
)
from percloss.uncertainty import Values, holm

__all__ = ["Analysed", "Prediction", "analyse", "predictions", "rated_table"]

_ALPHA = 0.05
_LEVELS = ("pooled", "within_system", "within_content", "system")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one measure says of each stimulus.

    Attributes:
        values: In its natural sign, nan where there is none.
        better: Which direction is better.
        origin: Who made the numbers: the signature of a measure, or who published them.
    """

    values: Values
    better: str
    origin: str

    @property
    def oriented(self) -> Values:
        """Higher is better."""
        return self.values if self.better == "higher" else -self.values


@dataclass(frozen=True, eq=False)
class Analysed:
    """One test.

    Attributes:
        stimuli: In rows.
        predictions: By measure.
        table: What they make together.
        found: Plain values, for JSON.
        curves: By measure and kind, from predictions to scores; ``None`` where nothing could be fitted.
    """

    stimuli: Sequence[Stimulus]
    predictions: Mapping[str, Prediction]
    table: Rated
    found: dict[str, Any]
    curves: Mapping[str, Mapping[str, Callable[[Values], Values] | None]]


def predictions(
    rated: RatedSet, stimuli: Sequence[Stimulus], measures: Sequence[str] | None, scoring: Scoring | None
) -> dict[str, Prediction]:
    """Published values and scores of one test's stimuli, in that order.

    Args:
        rated: The set the stimuli are of.
        stimuli: Those of the test.
        measures: Names of those wanted; ``None`` is all.
        scoring: That of the whole set, finished.
    """
    found: dict[str, Prediction] = {}
    published = dict.fromkeys(name for stimulus in stimuli for name in stimulus.published)
    for name in published:
        values = np.array([stimulus.published.get(name, math.nan) for stimulus in stimuli], dtype=np.float64)
        if measures is None or name in measures:
            found[name] = Prediction(values, rated.better.get(name, "higher"), f"published: {rated.source}")
    if scoring is not None:
        at = {id(stimulus): index for index, stimulus in enumerate(scoring.stimuli)}
        rows = [at[id(stimulus)] for stimulus in stimuli]
        for name, values in scoring.values.items():
            spec = find(name).spec
            if spec.ranks:
                found[name] = Prediction(values[rows], spec.better, scoring.signatures[name])
            elif spec.better == "nearer":  # how far off it is, either way
                cost = spec.cost(torch.from_numpy(values[rows])).numpy()
                found[name] = Prediction(cost, "lower", scoring.signatures[name])
    return found


def rated_table(
    name: str, stimuli: Sequence[Stimulus], predictions: Mapping[str, Prediction]
) -> tuple[Rated, list[str]]:
    """The stimuli as a table for ``percloss.stats``, and what it had to do without."""
    notes = []
    labels: dict[str, list[str] | None] = {}
    for what in ("system", "content"):
        values = [getattr(stimulus, what) for stimulus in stimuli]
        labels[what] = values if all(values) else None
        if any(values) and not all(values):
            lacking = next(stimulus.where for stimulus in stimuli if not getattr(stimulus, what))
            notes.append(f"{values.count('')} stimuli have no {what}, first {lacking}: it is not used")
    half = [math.nan if stimulus.interval is None else stimulus.interval for stimulus in stimuli]
    table = Rated(
        np.array([stimulus.score for stimulus in stimuli], dtype=np.float64),
        {measure: prediction.oriented for measure, prediction in predictions.items()},
        system=None if labels["system"] is None else np.array(labels["system"]),
        content=None if labels["content"] is None else np.array(labels["content"]),
        ratings=panels(stimuli),
        ci95=None if np.isnan(half).all() else np.array(half, dtype=np.float64),
        name=name,
    )
    return table, notes


def analyse(
    name: str,
    rated: RatedSet,
    stimuli: Sequence[Stimulus],
    predictions: Mapping[str, Prediction],
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Analysed:
    """Correlate every prediction with the scores of one test.

    Args:
        name: Of the test.
        rated: The set it is of.
        stimuli: In rows.
        predictions: By name of the measure.
        n_resamples: Of each bootstrap.
        seed: Of each bootstrap.
    """
    table, notes = rated_table(name, stimuli, predictions)
    families = sorted({stimulus.family for stimulus in stimuli} - {""})
    fits = {measure: _fits(table, measure) for measure in predictions}
    measures = {
        measure: {
            **_measure(table, measure, prediction, stimuli, families, n_resamples, seed),
            "mapped": {kind: _mapped(fit) for kind, fit in fits[measure].items()},
        }
        for measure, prediction in predictions.items()
    }
    told = [note for one in measures.values() for note in one.pop("notes")]
    top = ceiling(table, seed=seed)
    found = {
        "title": name,
        "scale": stimuli[0].scale if stimuli else "",
        "stimuli": len(stimuli),
        "systems": len(set(table.system)) if table.system is not None else None,
        "contents": len(set(table.content)) if table.content is not None else None,
        "listeners": 0 if table.ratings is None else table.ratings.shape[1],
        "source": rated.source,
        "licence": rated.licence,
        "ceiling": {
            **{level: _plain(getattr(top, level)) for level in _LEVELS},
            "halvings": top.splits,
            "all_halvings": top.exact,
            "note": top.note,
        },
        "measures": measures,
        "best": _best(measures),
        "differences": _differences(table, measures, n_resamples, seed),
        "notes": list(dict.fromkeys([*rated.notes, *notes, *told])),
    }
    curves = {measure: {kind: fit.curve for kind, fit in own.items()} for measure, own in fits.items()}
    return Analysed(stimuli, predictions, table, found, curves)


def _measure(
    table: Rated,
    name: str,
    prediction: Prediction,
    stimuli: Sequence[Stimulus],
    families: Sequence[str],
    n_resamples: int,
    seed: int,
) -> dict[str, Any]:
    found = levels(table, name, n_resamples=n_resamples, seed=seed)
    known = np.isfinite(prediction.values)
    kinds = {family: np.array([stimulus.family == family for stimulus in stimuli]) for family in families}
    return {
        "better": prediction.better,
        "origin": prediction.origin,
        "n": int((known & np.isfinite(table.score)).sum()),
        **{level: _level(getattr(found, level)) for level in _LEVELS},
        "families": {family: _pair(*_both(table, name, rows)) for family, rows in kinds.items()},
        "per_system": {system: _pair(level.plcc, level.srcc) for system, level in found.per_system.items()},
        "pairwise": _accuracy(pairwise(table, name, within_content=table.content is not None)),
        "best_of_n": None if table.content is None else _accuracy(best_of_n(table, name)),
        "notes": [note for note in found.notes if "stimuli left out" not in note],
    }


def _both(table: Rated, name: str, rows: Any) -> tuple[Estimate, Estimate]:
    score, prediction = table.score[rows], table.predictions[name][rows]
    return plcc(score, prediction), srcc(score, prediction)


def _best(measures: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The measure that follows the pooled order of the stimuli best."""
    known = {name: one["pooled"]["srcc"] for name, one in measures.items() if one["pooled"]["srcc"] is not None}
    return max(known, key=lambda name: known[name]) if known else None


def _differences(
    table: Rated, measures: Mapping[str, Mapping[str, Any]], n_resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Of the best measure over each of the others.

    A difference is real where two tests agree. The paired bootstrap knows that stimuli of one content go together, but
    of a dozen contents it finds no p small enough for a correction by the number of measures: its interval must leave
    0 out. Williams' test takes the stimuli for independent, and is what the correction is made of.
    """
    best = _best(measures)
    if best is None:
        return []
    rows: list[dict[str, Any]] = []
    for name, one in measures.items():
        if name == best or one["pooled"]["srcc"] is None:
            continue
        found = difference(table, best, name, n_resamples=n_resamples, seed=seed)
        rows.append(
            {
                "best": best,
                "measure": name,
                "difference": _plain(found.value),
                "ci95": _interval(found.low, found.high),
                "p_bootstrap": _plain(found.p),
                "p_williams": _williams(table, best, name),
                "p_holm": None,
                "groups": found.groups,
                "n": found.n,
                "note": found.note,
            }
        )
    tested = [row for row in rows if row["p_williams"] is not None]
    corrected = holm(np.array([row["p_williams"] for row in tested], dtype=np.float64))
    for row, p in zip(tested, corrected, strict=True):
        row["p_holm"] = float(p)
    return [{**row, "real": _real(row)} for row in rows]


def _real(row: Mapping[str, Any]) -> bool | None:
    """Whether both tests say so; ``None`` where one of them cannot be made."""
    if row["ci95"] is None or row["p_holm"] is None:
        return None
    return bool(row["ci95"][0] > 0 and row["p_holm"] < _ALPHA)


def _williams(table: Rated, best: str, name: str) -> float | None:
    """Of rank correlations, over the stimuli that both have; it takes those for independent."""
    a, b = table.predictions[best], table.predictions[name]
    both = np.isfinite(a) & np.isfinite(b) & np.isfinite(table.score)
    a, b, score = a[both], b[both], table.score[both]
    try:
        test = williams(srcc(score, a).value, srcc(score, b).value, srcc(a, b).value, len(score))
    except ArgumentError:  # one of them is perfect, or there are too few
        return None
    return _plain(test.p)


def _level(level: Level) -> dict[str, Any]:
    kinds = {"srcc": level.srcc, "plcc": level.plcc, "krcc": level.krcc}
    return {
        **{kind: _plain(estimate.value) for kind, estimate in kinds.items()},
        "ci95": _interval(level.srcc.low, level.srcc.high),
        "ci95_plcc": _interval(level.plcc.low, level.plcc.high),
        "ci95_krcc": _interval(level.krcc.low, level.krcc.high),
        "n": level.srcc.n,
        "ceiling": _plain(level.ceiling),
        "note": "; ".join(dict.fromkeys(note for note in (level.note, level.srcc.note) if note)),
    }


def _pair(pearson: Estimate, spearman: Estimate) -> dict[str, Any]:
    return {"srcc": _plain(spearman.value), "plcc": _plain(pearson.value), "n": spearman.n, "note": spearman.note}


def _fits(table: Rated, name: str) -> dict[str, Mapped]:
    score, prediction, half = table.score, table.predictions[name], table.ci95
    return {
        "cubic": mapped(score, prediction, kind="cubic", ci95=half),
        "logistic": mapped(score, prediction, kind="logistic", ci95=half),
    }


def _mapped(fit: Mapped) -> dict[str, Any]:
    parts = ("plcc", "rmse", "rmse_star", "outlier_ratio")
    return {part: _plain(getattr(fit, part).value) for part in parts}


def _accuracy(found: Accuracy) -> dict[str, Any]:
    return {
        "value": _plain(found.value),
        "ci95": _interval(found.low, found.high),
        "n": found.n,
        "chance": _plain(found.chance),
        "note": found.note,
    }


def _interval(low: float, high: float) -> list[float] | None:
    return None if math.isnan(low) or math.isnan(high) else [float(low), float(high)]


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
