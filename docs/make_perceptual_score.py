"""Write docs/perceptual-score.md from the results of benchmarks/perceptual_score/fit.py.

python -m docs.make_perceptual_score
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from docs.markdown import rho, table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "perceptual-score.md"
RESULT = ROOT / "benchmarks" / "results" / "perceptual_score" / "svs_mushra--cpu.json"
PROTOCOL = ROOT / "benchmarks" / "perceptual_score" / "protocol.json"

PRIMARY, OTHER = "svs_mushra/sound_quality", "svs_mushra/interference_absence"
# A gain that would be worth a measure of its own.
GAIN = 0.05
# Not a candidate, and the nearest relative.
RIVALS = ("two_f",)

Row = Mapping[str, Any]

HEAD = """\
<!-- Written by docs/make_perceptual_score.py from benchmarks/results/perceptual_score: run
     benchmarks/perceptual_score/fit.py, and then python -m docs.make_perceptual_score -->

# A fitted score?

The 2f-model follows listeners with two features and a handful of numbers. Can a few measures of this package, bent and
added, follow what people think of **separated voices** better than every single measure? Candidates, songs of each
fold, model, rivals and the rule of the verdict were written down before the first fit
(`benchmarks/perceptual_score/protocol.json`); this page is computed.

## Verdict

{verdict}
"""

METHOD = """\
## How it was asked

- **Songs, not stimuli, are held out**: {songs} songs, {per_fold} to a fold, by a hash of their names. What is said of a
  song was chosen and fitted without it. Within the training songs the other folds choose the features.
- **Candidates**: {candidates}. Each has its direction before the fit, and its weight cannot be negative: the score is
  monotone in every feature. At most {most} of them are taken, the fewest within {parsimony:g} of the best.
- **Form**: `{form}`. The listeners' ratings fit {fitted}.
- **Rivals**: {rivals} single measures in their own direction, with nothing fitted; and *best inside*, the single
  measure that is best over the training songs of each fold, which is what one who does not know the answer could have
  picked. The best single measure over all songs was picked with the answer at hand, which favours it.
- **Lead** is the score's pooled Spearman correlation less the rival's, below 0 where the rival is ahead, with the 95 %
  interval of a paired bootstrap of songs ({resamples} resamples). It resamples the predictions as they are: that other
  songs would also have given other weights is not in it, so it is rather too narrow.
- Predictions of several folds are pooled, each by a fit of its own. That costs the score and *best inside* a little,
  and the single measures nothing; **in content** it costs nobody.
- **Not blind**: {known}

Not asked, as they take a quarter of a minute a recording: {left_out}.
"""


def page(document: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    """The whole page."""
    settings = document["settings"]
    rows: dict[str, list[Row]] = {}
    for row in document["rows"]:
        rows.setdefault(row["test"], []).append(row)
    model, choice = written["model"], written["choice"]
    folds = written["folds"]["outer"]
    method = METHOD.format(
        songs=sum(map(len, folds)),
        per_fold=len(folds[0]),
        candidates="; ".join(_terms(written)),
        most=model["most_features"],
        parsimony=choice["parsimony"],
        form=model["form"],
        fitted=model["fitted_to_ratings"],
        rivals=sum(row["kind"] == "single" for row in rows[PRIMARY]),
        resamples=settings["resamples"],
        known=" ".join(written["known_before"]),
        left_out=", ".join(f"`{name}`" for name in settings["left_out"]) or "none",
    )
    return "\n".join(
        [
            HEAD.format(verdict=verdict(settings["verdict"], settings["tests"][PRIMARY], rows[OTHER])),
            method,
            _section("Quality of the sound", PRIMARY, rows, settings, written),
            _section("Absence of interference", OTHER, rows, settings, written),
            _elsewhere(rows, settings),
            _form(settings["frozen"]),
            _versions(document),
        ]
    )


def verdict(found: Mapping[str, Any], test: Mapping[str, Any], other: Sequence[Row]) -> str:
    """In words, and what would be needed."""
    low, high = found["ci95"]
    best = f"`{found['best_afterwards']}`"
    said = (
        f"Over {test['contents']} songs the score's cross-validated rank correlation with the quality of the sound is "
        f"{found['score']:.2f}, and that of the best single measure, {best}, {found['best_afterwards_srcc']:.2f}: a "
        f"lead of {found['difference']:+.2f} ({low:+.2f} to {high:+.2f}). The listeners' ceiling is "
        f"{test['ceiling']:.2f}. Of {found['compared']} rivals it beats {found['beaten']} by an interval that lies "
        f"above 0"
    )
    if found["ships"]:
        return f"**It is worth shipping.** {said}.\n"
    songs = math.ceil(test["contents"] * ((high - low) / 2 / GAIN) ** 2)
    others = ", ".join(_code(name) for name in found["not_beaten"])
    singles = {row["measure"]: row for row in other if row["kind"] == "single"}
    clean = max(singles.values(), key=_height)
    return (
        f"**No: it is not shipped.** {said}, and had to beat all. It does not beat {others}.\n\n"
        f"What it would take: an interval is narrower by the root of the number of songs. To see a lead of {GAIN:g} "
        f"over {best}, about {songs} songs as varied as these would have to be rated, and {test['contents']} are; of "
        f"systems of today, which these are not. Until then {best} is the best guess for the quality of separated "
        f"voices. Never read it alone: with the absence of interference it correlates by "
        f"{singles[found['best_afterwards']]['pooled']:.2f}, where `{clean['measure']}` has {clean['pooled']:.2f}.\n"
    )


def _code(name: str) -> str:
    return f"*{name}*" if " " in name else f"`{name}`"


def _terms(written: Mapping[str, Any]) -> Iterable[str]:
    terms: dict[str, list[str]] = {}
    for each in written["candidates"]:
        terms.setdefault(each["term"], []).append(f"`{each['name']}`")
    return (f"{term}: {', '.join(names)}" for term, names in terms.items())


def _section(
    title: str, name: str, rows: Mapping[str, list[Row]], settings: Mapping[str, Any], written: Mapping[str, Any]
) -> str:
    test, told = settings["tests"][name], settings["folds"][name]
    candidates = {each["name"] for each in written["candidates"]}
    ranked = sorted(rows[name], key=_height, reverse=True)
    shown = [
        row for row in ranked if row["kind"] != "single" or _open(row) or row["measure"] in candidates.union(RIVALS)
    ]
    beaten = [row for row in ranked if row not in shown]
    lines = [
        [
            _name(row),
            rho(row["pooled"]),
            _between(row["ci95"]),
            rho(row["within_system"]),
            rho(row["within_content"]),
            rho(row["system"]),
            _lead(row),
        ]
        for row in shown
    ]
    chosen = [
        [
            ", ".join(told_of["held_out"]),
            _weights(told_of["features"]),
            rho(told_of["training_srcc"]),
            ", ".join(f"`{each}`" for each in inside["features"]),
        ]
        for told_of, inside in zip(told["score"], told["inside"], strict=True)
    ]
    repeats = told["repeats"]
    counts = ", ".join(
        f"`{each}` {count}" for each, count in sorted(repeats["chosen"].items(), key=lambda pair: -pair[1]) if count
    )
    head = ["", "pooled", "95 % interval", "in system", "in content", "systems", "lead"]
    return f"""\
## {title}

`{name}`: {test["stimuli"]} stimuli, {test["contents"]} songs, {test["systems"]} systems, ceiling \
{rho(test["ceiling"])}.
Spearman's correlations; candidates, and every measure over which the score's lead is no more than chance.

{table(head, lines)}

{len(beaten)} more are behind, each by an interval that lies above 0.

What was chosen without each fold, with its weights, how far its predictions followed listeners within the training
songs, and the single measure that was best there:

{table(["without", "features", "inside", "best single"], chosen)}

Another partition of the songs gives another number: over {repeats["partitions"]} by chance, {rho(repeats["lowest"])} to
{rho(repeats["highest"])}, median {rho(repeats["median"])}. In their {repeats["fits"]} fits were chosen: {counts}.
"""


def _open(row: Row) -> bool:
    """Whether its lead may be chance."""
    return row["less"]["ci95"] is None or row["less"]["ci95"][0] <= 0


def _height(row: Row) -> float:
    return -2.0 if row["pooled"] is None else float(row["pooled"])


def _name(row: Row) -> str:
    return f"`{row['measure']}`" if row["kind"] == "single" else f"**{row['measure']}**"


def _lead(row: Row) -> str:
    if row["less"] is None:
        return ""
    return f"{rho(row['less']['value'])} ({_between(row['less']['ci95'])})"


def _elsewhere(rows: Mapping[str, list[Row]], settings: Mapping[str, Any]) -> str:
    lines = []
    for name, own in rows.items():
        if name in (PRIMARY, OTHER):
            continue
        score = next(row for row in own if row["kind"] == "frozen")
        singles = [row for row in own if row["kind"] == "single"]
        best = max(singles, key=_height)
        place = 1 + sum(_height(row) > _height(score) for row in singles)
        lines.append(
            [
                f"`{name}`",
                str(settings["tests"][name]["contents"]),
                f"{rho(score['pooled'])} ({_between(score['ci95'])})",
                f"{place} of {len(own)}",
                f"`{best['measure']}` {rho(best['pooled'])}",
                _lead(best),
            ]
        )
    head = ["test", "contents", "score, pooled", "place", "best single, afterwards", "lead"]
    return f"""\
## Elsewhere

The fit to all songs, on speech through codecs and in noise, which it was not made for. Fewer than five contents have no
interval. `gensvs_dcr`, the other test of separated voices, comes without recordings: nothing can be asked there.

{table(head, lines)}
"""


def _form(frozen: Mapping[str, Any]) -> str:
    lines = [
        [f"`{name}`", f"{each['weight']:.3f}", f"{each['median']:.3f}", f"{each['scale']:.3f}"]
        for name, each in frozen["features"].items()
    ]
    return f"""\
## The fit to all songs

For the record, of the same choice with all songs: bias {frozen["bias"]:.3f}, and inside {rho(frozen["choice_srcc"])}. A
feature counts as higher = better, minus itself where lower is better.

{table(["feature", "weight", "median", "scale"], lines)}
"""


def _weights(features: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(f"`{name}` {each['weight']:.2f}" for name, each in features.items())


def _versions(document: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return f"""\
## How it was made

Ratings and recordings of Ward et al., ICASSP 2018, Stahl et al., IEEE Access 2024, and Naderi and Cutler, Interspeech
2021; `docs/correlation.md` has all measures on them. Revision {document["revision"]}; {versions}; protocol
{document["settings"]["protocol"][:12]}.
"""


def _between(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"{rho(ends[0])} to {rho(ends[1])}"


if __name__ == "__main__":
    found = page(json.loads(RESULT.read_text(encoding="utf-8")), json.loads(PROTOCOL.read_text(encoding="utf-8")))
    PAGE.write_text(found, encoding="utf-8")
