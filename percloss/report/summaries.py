"""Tables of a report: scores and artefacts of one item, means over all of them, and where each error is heard."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from percloss.measure import find
from percloss.report.look import Look
from percloss.report.tables import Cell, Mark, Row, Table
from percloss.report.verdicts import LEAKAGE, SCALES, Scale, Verdict, verdict
from percloss.scoring.audio import shown
from percloss.scoring.comparison import comparison, winner
from percloss.scoring.document import columns, summarise
from percloss.scoring.engine import Recipe, Scored
from percloss.scoring.page import figures
from percloss.spec import Spec
from percloss.uncertainty import fewest, holm

__all__ = ["against_first", "artefacts", "artefacts_of_all", "files", "means", "recipes", "scores", "verdicts"]

# More rows than this are shown when asked for.
_MANY = 20
_ARTEFACTS = (
    "Each hears one kind of fault, beside the reference. Where slight, clear and strong begin stands below each name; "
    "it is a choice, set beside recordings that were spoilt on purpose, and no result of a listening test."
)


def verdicts(scored: Scored) -> list[Verdict]:
    """Of every diagnostic that was taken, in words."""
    return [
        verdict(name, scored.scores[name], scored.reasons.get(name, "")) for name in SCALES if name in scored.scores
    ]


def scores(results: Mapping[str, Scored], recipe: Recipe, *, alone: bool) -> Table:
    """Every measure of one item, a row each; a column a system."""
    rows = []
    for name in _judging(list(results.values()), recipe):
        spec = find(name).spec
        values = {system: scored.scores.get(name) for system, scored in results.items()}
        marks = _marks(spec, values)
        cells = [
            Cell(text, marks.get(system) or scored.reasons.get(name, ""), marks.get(system, ""))
            for (system, scored), text in zip(results.items(), figures(values.values()), strict=True)
        ]
        rows.append(Row(name, _claims(spec), [cell._replace(wordy=cell.text == "–") for cell in cells]))
    about = "One item: its values have no intervals." + (
        " An interval takes three files or more of each system: give folders." if alone else " Those of all are above."
    )
    return Table("scores", "Scores", about, ["Measure", *_titles(results)], rows)


def _marks(spec: Spec, values: Mapping[str, float | None]) -> dict[str, Mark]:
    """The best and the worst of several, where they differ and one is better."""
    costs = {system: spec.cost(value) for system, value in values.items() if value is not None and spec.ranks}
    if len(costs) < 2 or min(costs.values()) == max(costs.values()):
        return {}
    ends: dict[float, Mark] = {min(costs.values()): "best", max(costs.values()): "worst"}
    return {system: ends[cost] for system, cost in costs.items() if cost in ends}


def artefacts(judged: Mapping[str, Sequence[Verdict]]) -> Table:
    """The diagnostics of one item, a row each; a column a system."""
    found = {system: {each.scale.spec.name: each for each in some} for system, some in judged.items()}
    rows = []
    for name, scale in SCALES.items():
        known = [own.get(name) for own in found.values()]
        if any(known):
            cells = [Cell("–") if each is None else _said(each) for each in known]
            rows.append(Row(scale.spec.title, _thresholds(scale), cells))
    return Table("artefacts", "Artefacts", _ARTEFACTS, ["Diagnostic", *_titles(judged)], rows, _without_leakage(rows))


def _said(found: Verdict) -> Cell:
    if found.grade is None:
        return Cell(found.words, wordy=True)
    return Cell(found.words, _with_unit(found.value, found.scale.spec), grade=found.grade, wordy=True)


def artefacts_of_all(results: Sequence[Scored], systems: Sequence[str]) -> Table:
    """Mean of each diagnostic with its interval, and in how many files it is clear or strong; a column a system."""
    own = {system: [scored for scored in results if scored.pair.system == system] for system in systems}
    summaries = {system: summarise(some, SCALES) for system, some in own.items()}
    rows = []
    for name, scale in SCALES.items():
        if any(summary[name].n for summary in summaries.values()):
            cells = [_counted(name, own[system], summaries[system][name]) for system in systems]
            rows.append(Row(scale.spec.title, _thresholds(scale), cells))
    about = f"{_ARTEFACTS} Counted are files; below stands the mean with its 95 % interval."
    return Table(
        "artefacts", "Artefacts of all", about, ["Diagnostic", *map(shown, systems)], rows, _without_leakage(rows)
    )


def _counted(name: str, results: Sequence[Scored], summary: Any) -> Cell:
    if not summary.n:
        return Cell("no value", wordy=True)
    scale = SCALES[name]
    found = [verdict(name, value) for scored in results if (value := scored.scores.get(name)) is not None]
    grades = Counter(each.grade or 0 for each in found)
    often = [f"{scale.words[grade]} in {grades[grade]}" for grade in (3, 2) if grades[grade]]
    sides = Counter(each.side for each in found if (each.grade or 0) >= 2)
    words = f"{' and '.join(often) or f'{scale.words[2]} in none'} of {summary.n}"
    if sides:
        words += ": " + ", ".join(side if len(sides) == 1 else f"{side} ({n})" for side, n in sides.most_common())
    interval = f", {' to '.join(_with_unit(end, scale.spec) for end in summary.ci95)}" if summary.ci95 else ""
    detail = f"mean {_with_unit(summary.mean, scale.spec)}{interval}"
    return Cell(words, detail, wordy=True)


def means(results: Sequence[Scored], systems: Sequence[str], recipe: Recipe) -> Table:
    """The mean of each measure with its interval, a row each; and how far each further system is from the first."""
    names = _judging(results, recipe)
    own = {system: [scored for scored in results if scored.pair.system == system] for system in systems}
    summaries = {system: summarise(some, names) for system, some in own.items()}
    compared = against_first(results, systems, recipe)
    first = shown(systems[0])
    rows = []
    for name in names:
        spec, cells = find(name).spec, []
        found = [summaries[system][name] for system in systems]
        # With as many decimals in one row.
        texts = iter(figures(number for one in found for number in (one.mean, *(one.ci95 or (None, None)))))
        for system, one in zip(systems, found, strict=True):
            mean, low, high = next(texts), next(texts), next(texts)
            files = f"{one.n} file{'s' if one.n != 1 else ''}, no interval"
            cells.append(Cell(mean, f"{low} to {high}" if one.ci95 else files))
            if system in compared:
                cells.append(_difference(compared[system][name]))
        rows.append(Row(name, _claims(spec), cells))
    head = ["Measure"]
    for system in systems:
        head += [shown(system), *([f"{shown(system)} less {first}"] if system in compared else [])]
    notes = ["An interval takes three files or more: a bootstrap over files, 95 %, which takes them as independent."]
    if compared:
        asked = sum(one["p"] is not None for each in compared.values() for one in each.values())
        notes.append(
            "Differences are of the same files. Better and worse: a sign-flip test at 5 %, with Holm's correction for "
            f"the {asked} differences in this table, which takes {fewest(max(asked, 1))} files or more. Files of one "
            "recording are no independent witnesses: see percloss compare --group-by."
        )
    return Table("means", "Scores of all", "Means over files, and below each its 95 % interval.", head, rows, notes)


def against_first(
    results: Sequence[Scored], systems: Sequence[str], recipe: Recipe
) -> dict[str, dict[str, dict[str, Any]]]:
    """Each further system against the first, as ``percloss compare`` does it, by system and measure.

    ``winner`` and ``p_holm`` are by Holm's correction for all of them; there are none where no direction is better.
    """
    names = _judging(results, recipe)
    asked = Recipe(measures=tuple(names))
    found = {}
    for system in systems[1:]:
        some = [scored for scored in results if scored.pair.system in (systems[0], system)]
        if names and any(scored.pair.est is not None for scored in some):
            some.sort(key=lambda scored: scored.pair.system != systems[0])
            found[system] = {one["measure"]: one for one in comparison(some, asked)["comparisons"]}
    every = [one for own in found.values() for one in own.values()]
    for one in every:
        # What it says is corrected for one system.
        del one["verdict"]
        if not find(one["measure"]).spec.ranks:
            one["p"] = None
    p = holm(np.array([math.nan if one["p"] is None else one["p"] for one in every], dtype=np.float64))
    for one, adjusted in zip(every, p, strict=True):
        one["p_holm"] = None if math.isnan(adjusted) else float(adjusted)
        one["winner"] = winner(find(one["measure"]).spec, one["a"], one["b"], float(adjusted))
    return found


def _difference(one: Mapping[str, Any]) -> Cell:
    difference, *ends = figures([one["difference"], *(one["ci95"] or [])])
    if one["difference"] is None:
        return Cell("–", "no file in both")
    sign = "+" if one["difference"] > 0 else ""
    word = "cannot tell" if find(one["measure"]).spec.ranks else "no direction is better"
    mark: Mark = ""
    if one["winner"]:
        word, mark = ("worse", "worst") if one["winner"] == "a" else ("better", "best")
    interval = f"{' to '.join(ends)}, " if ends else ""
    return Cell(f"{sign}{difference}", interval + word, mark)


def files(
    results: Sequence[Scored], looks: Mapping[int, Look], systems: Sequence[str], links: Mapping[str, str]
) -> Table:
    """Where the error of each file stands out most, a row an item; a column a system."""
    items: dict[str, dict[str, int]] = {}
    for index in looks:
        items.setdefault(results[index].pair.name, {})[results[index].pair.system] = index
    rows = [
        Row(
            shown(name),
            "",
            [
                _heard(results[at[system]], looks[at[system]]) if system in at else Cell("not scored", wordy=True)
                for system in systems
            ],
            links.get(name, ""),
        )
        for name, at in items.items()
    ]
    about = (
        "The second and the band in which the error of each file lies furthest above the masking threshold. What has a "
        "link can be listened to below."
    )
    head = ["Item", *map(shown, systems)]
    return Table("files", "Where each error is heard", about, head, rows, folded=len(rows) > _MANY)


def _heard(scored: Scored, seen: Look) -> Cell:
    warned = ", ".join(dict.fromkeys(warning["kind"].replace("_", " ") for warning in scored.warnings))
    detail = f"warning: {warned}" if warned else ""
    if seen.peak_db <= 0:
        return Cell("masked", detail, wordy=True)
    return Cell(f"{seen.worst.level}, {seen.worst.when}, {seen.worst.where}", detail, wordy=True)


def recipes(signatures: Mapping[str, str], left_out: Mapping[str, str]) -> Table:
    """How each number was made, and which could not be."""
    rows = [Row(name, "", [Cell(text, wordy=True)]) for name, text in signatures.items()]
    rows += [Row(name, "", [Cell(f"not taken: {why}", wordy=True)]) for name, why in left_out.items()]
    about = "The signature of each measure: its settings, the sample rate, what was done to the files."
    return Table("recipes", "How each number was made", about, ["Measure", "Signature"], rows, folded=True)


def _judging(results: Sequence[Scored], recipe: Recipe) -> list[str]:
    """The measures that are no diagnostics."""
    return [name for name in columns(results, recipe) if name not in SCALES]


def _claims(spec: Spec) -> str:
    return f"{spec.title}{'' if spec.unit == '1' else f' [{spec.unit}]'}, {_direction(spec)}"


def _direction(spec: Spec) -> str:
    return spec.direction if spec.better != "neither" else "neither end is better"


def _thresholds(scale: Scale) -> str:
    unit = "" if scale.spec.unit == "1" else f" {scale.spec.unit}"
    at = f"from {scale.slight:g}, {scale.clear:g}, {scale.strong:g}{unit}"
    return f"{scale.about}; {at}{' away from 0' if scale.diagnostic.below else ''}"


def _with_unit(value: float, spec: Spec) -> str:
    """With three digits, and no more than two decimals: what decides lies far above them."""
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    # No zero below zero.
    digits = format(round(value, decimals) + 0.0, f".{decimals}f")
    return f"{digits}{'' if spec.unit == '1' else f' {spec.unit}'}"


def _titles(systems: Mapping[str, Any]) -> list[str]:
    return ["Value"] if len(systems) == 1 else [shown(system) for system in systems]


def _without_leakage(rows: Sequence[Row]) -> list[str]:
    title = SCALES[LEAKAGE].spec.title
    if any(row.title == title for row in rows):
        return []
    return ["How much of another source leaks in is told where that is given: --interferer."]
