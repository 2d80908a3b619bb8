"""Two systems on the same items: which is better on which measure, and whether the data can tell.

schema-compare.json says what is in the document.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from percloss.measure import find
from percloss.scoring.audio import shown
from percloss.scoring.document import Document, columns, in_common
from percloss.scoring.engine import Recipe, Scored
from percloss.scoring.output import separated
from percloss.spec import Spec
from percloss.uncertainty import ALPHA, POWER, Paired, fewest, holm, paired

__all__ = ["comparison", "comparison_table", "winner"]

SCHEMA = 1
"""Version of schema-compare.json. It rises when a field goes or changes its meaning; new fields may come without."""

# The columns of a table, and the system's means between them.
_HEAD, _TAIL = ("measure", "unit", "better"), ("difference", "ci95_low", "ci95_high", "p", "p_holm", "detectable")

_Values = npt.NDArray[np.float64]


class _Items:
    """The items of both systems, side by side."""

    def __init__(self, results: Sequence[Scored]) -> None:
        a, b = dict.fromkeys(scored.pair.system for scored in results)
        self.systems = a, b
        self._by_name: dict[str, dict[str, Scored]] = {}
        for scored in results:
            if scored.pair.est is not None:
                self._by_name.setdefault(scored.pair.name, {})[scored.pair.system] = scored
        groups = [next(iter(own.values())).pair.group for own in self._by_name.values()]
        self.groups = [None if group is None else shown(group) for group in groups]

    def __len__(self) -> int:
        return len(self._by_name)

    def values(self, name: str) -> tuple[_Values, _Values]:
        """A measure of each item under both systems, nan where it has none."""
        a, b = ([_value(own.get(system), name) for own in self._by_name.values()] for system in self.systems)
        return np.array(a, dtype=np.float64), np.array(b, dtype=np.float64)

    @property
    def labels(self) -> npt.NDArray[Any]:
        """Which items are not independent of which; one without a group is of its own."""
        return np.array([f"item {i}" if group is None else f"group {group}" for i, group in enumerate(self.groups)])


def _value(scored: Scored | None, name: str) -> float:
    value = None if scored is None else scored.scores.get(name)
    return math.nan if value is None else value


def comparison(
    results: Sequence[Scored],
    recipe: Recipe,
    *,
    complete: bool = True,
    command: Sequence[str] = (),
    group_by: str | None = None,
) -> Document:
    """Everything a comparison found.

    Args:
        results: Of each pair of two systems, the first of which is A.
        recipe: By which they were made.
        complete: Whether every pair is among them.
        command: What was typed.
        group_by: How the groups of the pairs were made, where they were; whole groups are then resampled.
    """
    items = _Items(results)
    names = columns(results, recipe)
    labels = None if group_by is None else items.labels
    values = {name: items.values(name) for name in names}
    asked = sum(bool((~np.isnan(a + b)).any()) for a, b in values.values())
    found = {name: paired(a, b, groups=labels, comparisons=max(asked, 1)) for name, (a, b) in values.items()}
    adjusted = holm(np.array([one.p for one in found.values()]))
    a, b = map(shown, items.systems)
    compared: Document = {
        "systems": {"a": a, "b": b},
        "items": len(items),
        "method": {
            "interval": "BCa bootstrap over items, or over groups",
            "test": "sign-flip, two-sided",
            "correction": "Holm",
            "comparisons": asked,
            "alpha": ALPHA,
            "power": POWER,
        },
        "comparisons": [
            _comparison(name, values[name], one, float(p), (a, b), asked)
            for (name, one), p in zip(found.items(), adjusted, strict=True)
        ],
        "groups": None if group_by is None else {"by": group_by, "each": _groups(items, values)},
    }
    return in_common(results, recipe, compared, complete=complete, command=command, schema=SCHEMA)


def _comparison(
    name: str, values: tuple[_Values, _Values], found: Paired, p_holm: float, systems: tuple[str, str], asked: int
) -> dict[str, Any]:
    spec = find(name).spec
    both = ~np.isnan(values[0] + values[1])
    a, b = (_number(each[both].mean()) if found.n else None for each in values)
    better = winner(spec, a, b, p_holm)
    if better:
        verdict = f"{systems[better == 'b']} better"
    elif p_holm < ALPHA:
        verdict = f"they differ, and {spec.direction}"
    else:
        verdict = _in_doubt(found, spec.unit, asked)
    return {
        "measure": name,
        "title": spec.title,
        "unit": spec.unit,
        "better": spec.better,
        "a": a,
        "b": b,
        "difference": _number(found.difference),
        "ci95": None if math.isnan(found.low) else [found.low, found.high],
        "p": _number(found.p),
        "p_holm": _number(p_holm),
        "detectable": _number(found.detectable),
        "n": found.n,
        "groups": found.groups,
        "undefined": found.undefined,
        "winner": better,
        "verdict": verdict,
    }


def winner(spec: Spec, a: float | None, b: float | None, p_holm: float) -> Literal["a", "b"] | None:
    """Which of two means is better, where one is and the difference is sure.

    None is where nearer is better: the test is of the values, and those of two systems can differ and be as near.
    """
    if a is None or b is None or not spec.ranks or not p_holm < ALPHA:
        return None
    return "a" if spec.cost(a) < spec.cost(b) else "b"


def _in_doubt(found: Paired, unit: str, asked: int) -> str:
    if found.n == 0:
        return "nothing to compare: no item has a value in both"
    items = f"{found.n} item{'s' if found.n > 1 else ''}"
    if found.groups < found.n:
        items += f" in {found.groups} group{'s' if found.groups > 1 else ''}"
    if found.difference == 0 and found.detectable == 0:
        return f"the same on {items}"
    if found.groups < fewest(asked):
        among = f" among {asked} measures" if asked > 1 else ""
        return f"cannot tell with {items}; no result{among} can be significant with fewer than {fewest(asked)}"
    smallest = f"{_two_digits(found.detectable)}{'' if unit == '1' else ' ' + unit}"
    return f"cannot tell with {items}; differences below {smallest} are invisible here"


def _two_digits(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _groups(items: _Items, values: Mapping[str, tuple[_Values, _Values]]) -> dict[str, Any]:
    """Both means of each group and their difference, without a test: who asks each group asks too much."""
    named = np.array([group or "" for group in items.groups])
    found: dict[str, Any] = {}
    for group in dict.fromkeys(named.tolist()):
        found[group] = {}
        for name, (a, b) in values.items():
            kept = (named == group) & ~np.isnan(a + b)
            means = [_number(each[kept].mean()) if kept.any() else None for each in (a, b, b - a)]
            found[group][name] = {**dict(zip(("a", "b", "difference"), means, strict=True)), "n": int(kept.sum())}
    return found


def comparison_table(found: Document, delimiter: str) -> str:
    """A row a measure, numbers in full."""
    rows = []
    for one in found["comparisons"]:
        low, high = one["ci95"] or (None, None)
        flat = {**one, "ci95_low": low, "ci95_high": high}
        rows.append([flat[key] for key in (*_HEAD, "a", "b", *_TAIL, "n", "groups", "verdict")])
    systems = found["systems"]
    return separated([*_HEAD, systems["a"], systems["b"], *_TAIL, "n", "groups", "verdict"], rows, delimiter)
