"""Every measure of the catalogue on every listening test at hand, against what listeners said.

    python benchmarks/correlation/run.py [--cache DIR] [--only svs_mushra] [--jobs 2]

Scores are kept in --cache: a run that was stopped goes on where it was, and a measure that is new to the catalogue is
the only one that is scored. Writes benchmarks/results/correlation/SET--cpu.json, from which docs/make_correlation.py
makes a page. No rating and no recording gets into them.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.common import RESULTS, rounded, save
from percloss.listening.correlation import analyse, predictions
from percloss.listening.rated import RatedSet
from percloss.listening.scores import Scoring
from percloss.listening.sets import open_set
from percloss.measures import TABLE

SETS = ("svs_mushra", "codec_mushra", "p835_reference_conditions", "gensvs_dcr")
DATA = Path(os.environ.get("PERCLOSS_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
# Those that compute some measure, and those that compute the statistics.
PACKAGES = ("pesq", "speechmos", "soxr", "scipy")
# What delays or inverts an estimate as a whole is undone: listeners do not hear it.
ALIGN = True
# Scores between two words on how far it is.
_STEP = 200


def scored(rated: RatedSet, cache: Path, jobs: int | None, slow: Sequence[str]) -> Scoring:
    """All that suits but the slow ones, of everything but references and anchors."""
    stimuli = [stimulus for stimulus in rated.stimuli if stimulus.role == "stimulus"]
    heard = any(stimulus.est for stimulus in stimuli)
    measures = None if heard else ()
    scoring = Scoring(stimuli, measures, cache=cache, name=rated.name, align=ALIGN, jobs=jobs, without=slow)
    said = -_STEP
    for done, total in scoring.run():
        if done - said >= _STEP:
            said = done
            print(f"{rated.name}: {done} of {total} scores", file=sys.stderr, flush=True)
    return scoring


def correlated(rated: RatedSet, scoring: Scoring, resamples: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row a test and measure, and what the tests are."""
    rows: list[dict[str, Any]] = []
    tests: dict[str, Any] = {}
    for name, stimuli in rated.tests().items():
        judged = [stimulus for stimulus in stimuli if stimulus.role == "stimulus"]
        print(f"{name}: correlating", file=sys.stderr, flush=True)
        columns = predictions(rated, judged, None, scoring)
        # Each of ours against the best of ours, each of theirs against the best of theirs.
        ours = {measure: column for measure, column in columns.items() if measure in scoring.values}
        theirs = {measure: column for measure, column in columns.items() if measure not in scoring.values}
        for group in filter(None, (ours, theirs)):
            found = analyse(name, rated, judged, group, n_resamples=resamples).found
            behind = {one["measure"]: one for one in found.pop("differences")}
            for measure, one in found.pop("measures").items():
                rows.append(rounded({"test": name, "measure": measure, **_kept(one), "behind": behind.get(measure)}))
            tests.setdefault(name, rounded(found))
    return rows, tests


def _kept(one: Mapping[str, Any]) -> dict[str, Any]:
    """What a page has room for."""
    kept = {key: value for key, value in one.items() if key not in ("per_system", "best_of_n")}
    for level in ("pooled", "within_system", "within_content", "system"):
        kept[level] = {key: value for key, value in one[level].items() if not key.startswith("ci95_")}
    return {**kept, "mapped": {"cubic": one["mapped"]["cubic"]}}


def main() -> None:
    """Run all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "percloss_correlation")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--only", default="", help="sets whose name has this")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--without", default="", help="measures that are left out, with a comma between")
    parser.add_argument("--resamples", type=int, default=2000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    (RESULTS / "correlation").mkdir(parents=True, exist_ok=True)
    for name in (name for name in SETS if given.only in name):
        rated = open_set(name, given.data / name)
        scoring = scored(rated, given.cache, given.jobs, given.without.split(","))
        rows, tests = correlated(rated, scoring, given.resamples)
        settings = {
            "align": ALIGN,
            "resamples": given.resamples,
            "catalogue": list(TABLE),
            "left_out": scoring.left_out,
            "missing": {
                measure: {why: len(files) for why, files in own.items()} for measure, own in scoring.reasons.items()
            },
            "problems": len(scoring.problems) + len(rated.problems),
            "mended": {kind: len(files) for kind, files in scoring.mended.items()},
            "tests": tests,
        }
        print(save(f"correlation/{name}", rows, device="cpu", packages=PACKAGES, **settings))


if __name__ == "__main__":
    main()
