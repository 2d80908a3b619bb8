"""What was found of a listening test, for the eye, for a pipe and for a data frame."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from percloss._optional import require
from percloss.listening.correlation import Analysed
from percloss.scoring.audio import shown
from percloss.scoring.output import separated

__all__ = ["HEADS", "LEGEND", "parquet", "ranked", "rows", "tsv", "verdict"]

HEADS = (
    *("measure", "n", "pooled", "95 % interval", "PLCC fit", "in system", "in content", "systems"),
    *("behind best", "95 % interval", "p"),
)
LEGEND = (
    "Spearman's correlation, higher is better for every measure; PLCC fit is Pearson's after a cubic that does not "
    "fall. Behind by more than chance: its interval, by paired bootstrap of contents, is above 0, and p, by Williams "
    "and Holm, below 0.05."
)
_LEVELS = ("pooled", "within_system", "within_content", "system")
_COLUMNS = {
    **dict.fromkeys(("set", "scale", "est", "ref", "system", "content", "family", "role"), "string"),
    **dict.fromkeys(("score", "ci95"), "float64"),
    "measure": "string",
    "value": "float64",
    **dict.fromkeys(("better", "origin"), "string"),
}


def ranked(found: Mapping[str, Any]) -> list[str]:
    """The measures of a test, from the one that follows the listeners best; those without a value last."""
    measures = found["measures"]

    def height(name: str) -> float:
        value = measures[name]["pooled"]["srcc"]
        return -2.0 if value is None else float(value)

    return sorted(measures, key=lambda name: (-height(name), name))


def rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    """A line a measure, under ``HEADS``: Spearman's correlation at each level, Pearson's after the cubic."""
    behind = {one["measure"]: one for one in found["differences"]}
    for name in ranked(found):
        one = found["measures"][name]
        less = behind.get(name)
        p = "" if less is None or less["p_holm"] is None else _p(less["p_holm"])
        gap = "" if less is None else " to ".join(map(_r, less["ci95"])) if less["ci95"] else "–"
        yield [
            name,
            str(one["n"]),
            _r(one["pooled"]["srcc"]),
            " to ".join(map(_r, one["pooled"]["ci95"])) if one["pooled"]["ci95"] else "–",
            _r(one["mapped"]["cubic"]["plcc"]),
            *(_r(one[level]["srcc"]) for level in _LEVELS[1:]),
            "" if less is None else _r(less["difference"]),
            gap,
            p,
        ]


def verdict(found: Mapping[str, Any]) -> list[str]:
    """Which differences are real, in sentences."""
    best = found["best"]
    if best is None:
        why = dict.fromkeys(one["pooled"]["note"] for one in found["measures"].values() if one["pooled"]["note"])
        return [f"No measure has a correlation here: {'; '.join(why) or 'there is none'}."]
    real = [one["measure"] for one in found["differences"] if one["real"]]
    open_ = [one["measure"] for one in found["differences"] if one["real"] is False]
    untold = [one["measure"] for one in found["differences"] if one["real"] is None]
    sentences = [f"{best} follows the pooled order of the stimuli best."]
    if real:
        sentences.append(f"Behind it, by more than chance: {', '.join(real)}.")
    if open_:
        sentences.append(f"Not told apart from it: {', '.join(open_)}.")
    if untold:
        sentences.append(f"Too little to tell: {', '.join(untold)}.")
    return sentences


def tsv(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a test and measure, numbers in full."""
    head = ["set", "measure", "better", "n", *(f"{level}_srcc" for level in _LEVELS), "ci95_low", "ci95_high"]
    head += ["pooled_plcc", "mapped_plcc", "rmse", "rmse_star", "outlier_ratio", "ceiling", "difference", "p_holm"]
    lines: list[Sequence[Any]] = []
    for name, found in sets.items():
        behind = {one["measure"]: one for one in found["differences"]}
        for measure in ranked(found):
            one, less = found["measures"][measure], behind.get(measure, {})
            fitted = one["mapped"]["cubic"]
            lines.append(
                [
                    *(name, measure, one["better"], one["n"]),
                    *(one[level]["srcc"] for level in _LEVELS),
                    *(one["pooled"]["ci95"] or (None, None)),
                    one["pooled"]["plcc"],
                    *(fitted[part] for part in ("plcc", "rmse", "rmse_star", "outlier_ratio")),
                    *(one["pooled"]["ceiling"], less.get("difference"), less.get("p_holm")),
                ]
            )
    return separated(head, lines, "\t")


def parquet(tests: Mapping[str, Analysed], document: Mapping[str, Any]) -> bytes:
    """A row a stimulus and measure, with what was found of all of them as JSON in the file's metadata."""
    arrow, writer = require("pyarrow", extra="table"), require("pyarrow.parquet", extra="table")
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in _COLUMNS.items()])
    head = json.dumps(document, ensure_ascii=False, allow_nan=False)
    table = arrow.Table.from_pylist(list(_points(tests)), schema=schema.with_metadata({"percloss": head}))
    sink = arrow.BufferOutputStream()
    writer.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _points(tests: Mapping[str, Analysed]) -> Iterable[dict[str, Any]]:
    for name, test in tests.items():
        for index, stimulus in enumerate(test.stimuli):
            for measure, prediction in test.predictions.items():
                value = float(prediction.values[index])
                yield {
                    "set": name,
                    "scale": stimulus.scale,
                    "est": None if stimulus.est is None else shown(stimulus.est),
                    "ref": None if stimulus.ref is None else shown(stimulus.ref),
                    "system": stimulus.system,
                    "content": stimulus.content,
                    "family": stimulus.family,
                    "role": stimulus.role,
                    "score": stimulus.score,
                    "ci95": stimulus.interval,
                    "measure": measure,
                    "value": None if value != value else value,
                    "better": prediction.better,
                    "origin": prediction.origin,
                }


def _r(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-0.00", "0.00")


def _p(value: float) -> str:
    return "<0.001" if value < 1e-3 else f"{value:.3f}"
