"""The whole of a run as one plain object, which is what ``--json`` prints; schema.json says what is in it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

import percloss
from percloss.measure import find
from percloss.scoring.audio import shown
from percloss.scoring.engine import Recipe, Scored
from percloss.uncertainty import Interval, fewest, mean_interval

__all__ = ["Document", "Summary", "columns", "document", "in_common", "summarise", "tidy"]

SCHEMA = 1
"""Version of schema.json. It rises when a field goes or changes its meaning; new fields may come without."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """The mean of a measure over files, its 95 % bootstrap interval where there are three or more, and how many."""

    mean: float | None
    ci95: list[float] | None
    n: int


def columns(results: Iterable[Scored], recipe: Recipe) -> list[str]:
    """The measures that some pair was scored with, and those asked for, in their order."""
    tried = {name for scored in results for name in scored.scores}
    return [name for name in recipe.names if name in tried or recipe.measures is not None]


def summarise(results: Iterable[Scored], names: Iterable[str]) -> dict[str, Summary]:
    """Each measure over all pairs that have it."""
    results = list(results)
    return {name: _summary([scored.scores.get(name) for scored in results]) for name in names}


def _summary(scores: Iterable[float | None]) -> Summary:
    values = np.array([score for score in scores if score is not None], dtype=np.float64)
    if not values.size:
        return Summary(None, None, 0)
    interval = mean_interval(values)
    return Summary(
        float(values.mean()), None if any(map(math.isnan, interval)) else [interval.low, interval.high], values.size
    )


def in_common(
    results: Sequence[Scored], recipe: Recipe, found: Document, *, complete: bool, command: Sequence[str], schema: int
) -> Document:
    """What a command found, with what any command that scores files says beside it."""
    names = columns(results, recipe)
    return {
        "percloss": percloss.__version__,
        "schema": schema,
        "command": [shown(word) for word in command],
        "complete": complete,
        "files": [_file(scored, names) for scored in results],
        **found,
        "signatures": {name: merged for name in names if (merged := _merged(results, name))},
        "left_out": _left_out(results, names),
    }


def document(
    results: Sequence[Scored],
    recipe: Recipe,
    *,
    complete: bool = True,
    command: Sequence[str] = (),
    required: Mapping[str, float] = MappingProxyType({}),
    group_by: str | None = None,
) -> Document:
    """Everything a run found.

    Args:
        results: Of each pair.
        recipe: By which they were made.
        complete: Whether every pair is among them.
        command: What was typed.
        required: What each system's mean must reach, by measure.
        group_by: How the groups of the pairs were made, where they were.
    """
    names = columns(results, recipe)
    summary = _plain(summarise(results, names))
    by_system: dict[str, list[Scored]] = {}
    for scored in results:
        by_system.setdefault(shown(scored.pair.system), []).append(scored)
    systems = {
        system: {
            "summary": summary if len(by_system) == 1 else _plain(summarise(own, names)),
            "stems": {stem: _plain(summarise(part, names)) for stem, part in _stems(own).items()},
        }
        for system, own in by_system.items()
    }
    found = {
        "summary": summary,
        "systems": systems,
        "groups": None
        if group_by is None
        else {"by": group_by, "systems": {system: _groups(own, names) for system, own in by_system.items()}},
    }
    checks = [
        _check(name, needed, system, summary["summary"].get(name, {}).get("mean"))
        for name, needed in required.items()
        for system, summary in systems.items()
    ]
    return {
        **in_common(results, recipe, found, complete=complete, command=command, schema=SCHEMA),
        "checks": checks,
    }


def _groups(results: Sequence[Scored], names: Sequence[str]) -> dict[str, Any]:
    """Each group of a system by itself, and its means with intervals that resample whole groups."""
    by_group: dict[str, list[Scored]] = {}
    for scored in results:
        by_group.setdefault(shown(scored.pair.group or ""), []).append(scored)
    return {
        "each": {group: {name: _spread(own, name) for name in names} for group, own in by_group.items()},
        "all": {name: _spread(results, name, whole=True) for name in names},
    }


def _spread(results: Sequence[Scored], name: str, *, whole: bool = False) -> dict[str, Any]:
    known = [(value, scored.pair.group) for scored in results if (value := scored.scores.get(name)) is not None]
    values = np.array([value for value, _ in known], dtype=np.float64)
    labels = np.array(
        [f"item {index}" if group is None else f"group {group}" for index, (_, group) in enumerate(known)]
    )
    # A few groups, such as the stems of songs, are no sample of groups.
    few = whole and len(set(labels.tolist())) < fewest()
    low, high = Interval(math.nan, math.nan) if few else mean_interval(values, groups=labels if whole else None)
    return {
        "mean": float(values.mean()) if known else None,
        "median": float(np.median(values)) if known else None,
        "ci95": None if math.isnan(low) else [low, high],
        "n": values.size,
    }


def _check(name: str, needed: float, system: str, mean: float | None) -> dict[str, Any]:
    cost = find(name).spec.cost
    passed = mean is not None and cost(mean) <= cost(needed)
    return {"measure": name, "system": system, "required": needed, "mean": mean, "passed": passed}


def _stems(results: Iterable[Scored]) -> dict[str, list[Scored]]:
    found: dict[str, list[Scored]] = {}
    for scored in results:
        if scored.pair.stem is not None:
            found.setdefault(shown(scored.pair.stem), []).append(scored)
    return found


def _plain(summaries: Mapping[str, Summary]) -> dict[str, Any]:
    return {name: asdict(summary) for name, summary in summaries.items()}


def _file(scored: Scored, names: Sequence[str]) -> dict[str, Any]:
    pair = scored.pair
    words = {role: getattr(pair, role) for role in ("est", "ref", "mix", "system", "name", "stem", "group")}
    reasons = {**scored.left_out, **scored.reasons}
    return {
        **{role: None if text is None else shown(text) for role, text in words.items()},
        "sample_rate": scored.sample_rate,
        "channels": scored.channels,
        "seconds": scored.seconds,
        "scores": {name: scored.scores.get(name) for name in names},
        "reasons": {name: reasons[name] for name in names if name in reasons},
        "warnings": scored.warnings,
        "error": scored.error,
    }


def _left_out(results: Sequence[Scored], names: Sequence[str]) -> dict[str, str]:
    """Measures that nobody asked for and that suited no pair."""
    found: dict[str, str] = {}
    for scored in results:
        found.update({name: why for name, why in scored.left_out.items() if name not in names})
    return found


def _merged(results: Sequence[Scored], name: str) -> str:
    """The signatures of one measure as one: where pairs differ in a field, its values with commas between."""
    fields: dict[str, dict[str, None]] = {}
    for signature in dict.fromkeys(scored.signatures[name] for scored in results if name in scored.signatures):
        for part in signature.split("|"):
            key, colon, value = part.partition(":")
            fields.setdefault(key + colon, {})[value] = None
    last = fields.pop("v:", {})
    return "|".join(key + ",".join(values) for key, values in [*fields.items(), *([("v:", last)] if last else [])])


def tidy(results: Sequence[Scored], recipe: Recipe) -> list[dict[str, Any]]:
    """One row a number, with its unit, direction and signature, and one row a pair that has none."""
    names = columns(results, recipe)
    rows = []
    for scored in results:
        file = _file(scored, names)
        for name in [None] if scored.error is not None else names:
            spec = None if name is None else find(name).spec
            rows.append(
                {
                    **{key: file[key] for key in ("system", "name", "stem", "group", "est", "ref", "mix")},
                    "measure": name,
                    "value": None if name is None else file["scores"][name],
                    "unit": spec and spec.unit,
                    "better": spec and spec.better,
                    **{key: file[key] for key in ("sample_rate", "channels")},
                    "reason": scored.error if name is None else file["reasons"].get(name),
                    "signature": None if name is None else scored.signatures.get(name),
                }
            )
    return rows
