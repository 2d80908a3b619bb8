"""Does a small combination of measures follow listeners better than every single one? Asked as protocol.json has it.

    python benchmarks/perceptual_score/fit.py [--cache DIR] [--jobs 2]

Scores are kept in --cache, which benchmarks/correlation/run.py may have filled. Writes
benchmarks/results/perceptual_score/svs_mushra--cpu.json, from which docs/make_perceptual_score.py makes a page. No
rating and no recording gets into it.
"""

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.common import RESULTS, rounded, save
from benchmarks.perceptual_score.model import (
    Fit,
    Settings,
    Table,
    Validated,
    Values,
    best_inside,
    choose,
    cross_validated,
    fit,
    partition,
    protocol,
    protocol_hash,
    srcc,
)
from percloss.listening.correlation import Prediction, rated_table
from percloss.listening.rated import Stimulus
from percloss.listening.scores import Scoring
from percloss.listening.sets import open_set
from percloss.measure import find
from percloss.measures import TABLE
from percloss.stats import Rated, difference, levels
from percloss.stats import ceiling as listeners_ceiling

DATA = Path(os.environ.get("PERCLOSS_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
PRIMARY, OTHER = "svs_mushra/sound_quality", "svs_mushra/interference_absence"
ELSEWHERE = ("codec_mushra", "p835_reference_conditions")
SCORE, INSIDE, CROSSED = "score", "best inside", "score, fitted to sound quality"
RESAMPLES = 10_000
# Scores between two words on how far it is.
_STEP = 200

Columns = dict[str, Values]


def measures(without: Sequence[str] = ()) -> list[str]:
    """All of the catalogue that hear an estimate and what suits it, and that have a better and a worse."""
    return [name for name in TABLE if find(name).spec.better != "neither" and name not in without]


def oriented(name: str, values: Values) -> Values:
    """Higher is better."""
    spec = find(name).spec
    if spec.better == "nearer":
        return -np.abs(values - (spec.perfect or 0.0))
    return values if spec.better == "higher" else -values


def features(columns: Mapping[str, Values], written: Mapping[str, Any]) -> Columns:
    """The candidates, higher = better, of natural values."""
    found = {}
    for candidate in written["candidates"]:
        name = candidate["name"]
        values = np.log1p(columns[name]) if candidate["log"] else columns[name]
        found[name] = oriented(name, values)
    return found


class Scored:
    """Every test of a set, and what every measure says of its stimuli."""

    def __init__(self, name: str, data: Path, cache: Path, jobs: int | None, names: Sequence[str]) -> None:
        rated = open_set(name, data / name)
        judged = [stimulus for stimulus in rated.stimuli if stimulus.role == "stimulus"]
        scoring = Scoring(judged, names, cache=cache, name=name, align=True, jobs=jobs)
        said = -_STEP
        for done, total in scoring.run():
            if done - said >= _STEP:
                said = done
                print(f"{name}: {done} of {total} scores", file=sys.stderr, flush=True)
        at = {id(stimulus): index for index, stimulus in enumerate(judged)}
        self.tests: dict[str, tuple[Rated, Columns]] = {}
        for test, stimuli in rated.tests().items():
            own = [stimulus for stimulus in stimuli if stimulus.role == "stimulus"]
            rows = [at[id(stimulus)] for stimulus in own]
            self.tests[test] = (_rated(test, own), {each: values[rows] for each, values in scoring.values.items()})


def _rated(name: str, stimuli: Sequence[Stimulus]) -> Rated:
    nothing: dict[str, Prediction] = {}
    return rated_table(name, stimuli, nothing)[0]


def singles(columns: Columns) -> Columns:
    """The measures with a value for each stimulus, higher = better."""
    return {name: oriented(name, values) for name, values in columns.items() if np.isfinite(values).all()}


def asked(rated: Rated, columns: Columns, written: Mapping[str, Any]) -> tuple[Validated, Validated, Columns]:
    """The score, the best single measure inside, and all single measures, of one test."""
    settings, folds = Settings.of(written), written["folds"]["outer"]
    assert rated.content is not None
    single = singles(columns)
    validated = cross_validated(Table(rated.score, features(columns, written), rated.content), folds, settings)
    inside = best_inside(Table(rated.score, single, rated.content), folds, settings)
    return validated, inside, single


def rows_of(
    test: str, rated: Rated, first: str, predictions: Mapping[str, Values], kinds: Mapping[str, str]
) -> list[dict[str, Any]]:
    """How far each prediction follows the listeners, and how much less than the first."""
    table = rated.with_predictions(predictions)
    rows = []
    for name in predictions:
        found = levels(table, name)
        row: dict[str, Any] = {
            "test": test,
            "measure": name,
            "kind": kinds.get(name, "single"),
            "n": found.pooled.srcc.n,
        }
        for level in ("pooled", "within_system", "within_content", "system"):
            row[level] = getattr(found, level).srcc.value
        row["ci95"] = _interval(found.pooled.srcc.low, found.pooled.srcc.high)
        row["plcc"] = found.pooled.plcc.value
        row["less"] = None
        if name != first:
            gap = difference(table, first, name, n_resamples=RESAMPLES)
            row["less"] = {"value": gap.value, "ci95": _interval(gap.low, gap.high), "p": gap.p, "note": gap.note}
        rows.append(row)
    return rows


def _interval(low: float, high: float) -> list[float] | None:
    return None if math.isnan(low) or math.isnan(high) else [low, high]


def verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether the rows of the primary test allow a measure to be shipped, by the rule of the protocol."""
    own = [row for row in rows if row["test"] == PRIMARY and row["kind"] in ("single", "inside")]
    score = next(row for row in rows if row["test"] == PRIMARY and row["kind"] == "score")
    beaten = [row["measure"] for row in own if row["less"]["ci95"] is not None and row["less"]["ci95"][0] > 0]
    best = max((row for row in own if row["kind"] == "single"), key=lambda row: row["pooled"])
    return {
        "ships": len(beaten) == len(own),
        "compared": len(own),
        "beaten": len(beaten),
        "not_beaten": [row["measure"] for row in own if row["measure"] not in beaten],
        "score": score["pooled"],
        "best_afterwards": best["measure"],
        "best_afterwards_srcc": best["pooled"],
        "difference": best["less"]["value"],
        "ci95": best["less"]["ci95"],
    }


def frozen(rated: Rated, columns: Columns, written: Mapping[str, Any]) -> tuple[Fit, float]:
    """Chosen with the outer folds as inner ones, and fitted to all songs."""
    assert rated.content is not None
    table = Table(rated.score, features(columns, written), rated.content)
    settings = Settings.of(written)
    names, height = choose(table, written["folds"]["outer"], settings)
    return fit(table, names, settings), height


def spread(rated: Rated, columns: Columns, written: Mapping[str, Any]) -> dict[str, Any]:
    """The score's correlation in other partitions of the songs, and which features were chosen how often."""
    assert rated.content is not None
    table = Table(rated.score, features(columns, written), rated.content)
    found, counts = [], dict.fromkeys(table.features, 0)
    size = len(written["folds"]["outer"][0])
    for seed in range(1, written["repeats"]["partitions"] + 1):
        validated = cross_validated(table, partition(sorted(set(rated.content)), seed, size), Settings.of(written))
        found.append(srcc(rated.score, validated.prediction))
        for told in validated.folds:
            for name in told["features"]:
                counts[name] += 1
    return {
        "partitions": len(found),
        "median": float(np.median(found)),
        "lowest": min(found),
        "highest": max(found),
        "fits": len(found) * len(written["folds"]["outer"]),
        "chosen": counts,
    }


def _test(rated: Rated) -> dict[str, Any]:
    top = listeners_ceiling(rated).pooled
    size = {
        what: len(set(labels)) for what in ("systems", "contents") if (labels := getattr(rated, what[:-1])) is not None
    }
    return {"stimuli": len(rated), **size, "ceiling": top}


def main() -> None:
    """All of the protocol."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "percloss_correlation")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--without", default="", help="measures that are left out, with a comma between")
    given = parser.parse_args()
    torch.set_num_threads(1)
    written, left_out = protocol(), [name for name in given.without.split(",") if name]
    names = measures(left_out)
    tests = Scored(written["set"], given.data, given.cache, given.jobs, names).tests
    rows: list[dict[str, Any]] = []
    told: dict[str, Any] = {}
    about = {test: _test(rated) for test, (rated, _) in tests.items()}
    crossed: Values | None = None
    for test in (PRIMARY, OTHER):
        rated, columns = tests[test]
        score, inside, single = asked(rated, columns, written)
        kinds = {SCORE: "score", INSIDE: "inside", CROSSED: "crossed"}
        predictions = {SCORE: score.prediction, INSIDE: inside.prediction, **single}
        if crossed is None:
            crossed = score.prediction
        else:
            predictions[CROSSED] = crossed
        rows += rows_of(test, rated, SCORE, predictions, kinds)
        told[test] = {"score": score.folds, "inside": inside.folds, "repeats": spread(rated, columns, written)}
    kept, height = frozen(*tests[PRIMARY], written)
    needed = list(kept.weights)
    for name in ELSEWHERE:
        for test, (rated, columns) in Scored(name, given.data, given.cache, given.jobs, names).tests.items():
            about[test] = _test(rated)
            values = features(
                columns, {"candidates": [each for each in written["candidates"] if each["name"] in needed]}
            )
            rows += rows_of(test, rated, SCORE, {SCORE: kept(values), **singles(columns)}, {SCORE: "frozen"})
    rows = rounded(rows)
    settings = {
        "protocol": protocol_hash(),
        "resamples": RESAMPLES,
        "left_out": left_out,
        "tests": about,
        "folds": told,
        "frozen": {"choice_srcc": height, **kept.plain()},
    }
    (RESULTS / "perceptual_score").mkdir(parents=True, exist_ok=True)
    found = save(
        f"perceptual_score/{written['set']}",
        rows,
        device="cpu",
        packages=("numpy", "scipy"),
        verdict=verdict(rows),
        **rounded(settings),
    )
    print(found)


if __name__ == "__main__":
    main()
