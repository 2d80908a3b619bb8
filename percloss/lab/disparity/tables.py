"""The document of a run as tables of text, the same for terminal, page and documentation."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from percloss.lab.disparity.config import BASELINE, LEVEL, LEVEL_ABOVE
from percloss.scoring.page import figures

__all__ = ["Grid", "every", "tables"]

_PAPER = ("si_sdr", "sdr", "mse", "bss_sir", "bss_sar")
# From how many characters on a cell is a text and no number with its interval.
_LONG = 44
_ARROWS = {"higher": "↑", "lower": "↓", "nearer": "→0", "neither": "–"}


class Grid(NamedTuple):
    """A table: the first column names the rows. ``best`` holds cells (row, column) that are to stand out."""

    name: str
    title: str
    about: str
    head: list[str]
    rows: list[list[str]]
    best: frozenset[tuple[int, int]] = frozenset()

    @property
    def wordy(self) -> set[int]:
        """Columns of sentences and lists, which are wrapped; the first among them."""
        return {0} | {at for at in range(len(self.head)) if any(len(row[at]) > _LONG for row in self.rows)}


def tables(found: Mapping[str, Any]) -> dict[str, Grid]:
    """Every table that a run has, by name."""
    grids = [
        _verdicts(found),
        _scores(found, "paper", "The paper's columns", "SI-SDR, and SDR, MSE and SIR of BSS Eval.", _paper(found)),
        _scores(found, "heard", "What models hearing or spectra", "", _heard(found)),
        _turned(_scores(found, "artefacts", "Artefacts", "A number for each.", found["artefacts"])),
        _levels(found),
        _against(found, "against", "Against training on SI-SDR", found["against_baseline"]),
        _against(found, "contrasts", "One thing changed", found["contrasts"]),
        _first(found),
        _agreement(found),
        _taus(found),
        _masks(found),
        _turned(_songs(found)),
        _comparisons(found),
    ]
    return {grid.name: grid for grid in grids if grid.rows}


def every(found: Mapping[str, Any]) -> list[Grid]:
    """The same in a row."""
    return list(tables(found).values())


def _paper(found: Mapping[str, Any]) -> list[str]:
    return [name for name in found["key"] if name in _PAPER]


def _heard(found: Mapping[str, Any]) -> list[str]:
    return [name for name in found["key"] if name not in _PAPER]


def _verdicts(found: Mapping[str, Any]) -> Grid:
    rows = [
        [each["name"], each["claim"], each["verdict"], f"{each['ran']} of {each['of']}"] for each in found["hypotheses"]
    ]
    return Grid(
        "verdicts",
        "What was expected, and what came of it",
        "Written down before the run. Supported: every comparison that was run is, its interval above what was "
        "expected and its p, adjusted for all of the hypothesis, below 5 %. Not supported: one of them shows the "
        "contrary as clearly.",
        ["", "Hypothesis", "Verdict", "Comparisons run"],
        rows,
    )


def _comparisons(found: Mapping[str, Any]) -> Grid:
    rows = []
    for hypothesis in found["hypotheses"]:
        for each in hypothesis["comparisons"]:
            if each["verdict"] == "not run":
                continue
            by = f" by more than {each['by']:g}" if each["by"] else ""
            gain, low, high = figures((each["gain"], each["low"], each["high"]))
            rows.append(
                [
                    hypothesis["name"],
                    f"{each['ahead']} ahead of {each['behind']}{by}",
                    _head(found, each["measure"]),
                    gain,
                    _span(low, high),
                    _p(each["holm"]),
                    f"{each['agreeing']} of {each['seeds']}",
                    each["verdict"],
                ]
            )
    return Grid(
        "comparisons",
        "Every comparison",
        "Gain is by how much the first is better, in the measure's unit, paired over seeds and clips.",
        ["", "Expected", "Measure", "Gain", "95 % interval", "p (Holm)", "Seeds", "Verdict"],
        rows,
    )


def _scores(found: Mapping[str, Any], name: str, title: str, about: str, measures: Sequence[str]) -> Grid:
    models = list(found["means"])
    rows = [[model] for model in models]
    best = set()
    for column, measure in enumerate(measures, 1):
        values = [found["means"][model][measure]["mean"] for model in models]
        texts = figures(values)
        for row, text in zip(rows, texts, strict=True):
            row.append(text)
        first = (found["ranks"].get(measure) or [None])[0]
        best |= {(at, column) for at, model in enumerate(models) if model == first}
    head = ["Trained on", *(_head(found, measure) for measure in measures)]
    about = f"{about} Means over seeds and clips; the best model's stands out.".strip()
    return Grid(name, title, about, head, rows if measures else [], frozenset(best))


def _turned(grid: Grid) -> Grid:
    """A row a measure, of which there are more than a page is wide."""
    if not grid.rows:
        return grid
    columns = zip(*(row[1:] for row in grid.rows), strict=True)
    rows = [[head, *column] for head, column in zip(grid.head[1:], columns, strict=True)]
    best = frozenset((column - 1, row + 1) for row, column in grid.best)
    return grid._replace(head=["Measure", *(row[0] for row in grid.rows)], rows=rows, best=best)


def _levels(found: Mapping[str, Any]) -> Grid:
    models = list(found["means"])
    columns = [[_ranged(found["means"][model][name]) for model in models] for name in (LEVEL, LEVEL_ABOVE)]
    return Grid(
        "levels",
        "Level of the estimate over that of the reference",
        "0 dB is right; what lies far below was muted.",
        ["Trained on", "All [dB]", "Above 4 kHz [dB]"],
        [list(row) for row in zip(models, *columns, strict=True)],
    )


def _against(found: Mapping[str, Any], name: str, title: str, given: Mapping[str, Any]) -> Grid:
    rows = []
    for measure in [*found["key"], LEVEL_ABOVE]:
        ones = [values[measure] for values in given.values()]
        rows.append([_head(found, measure), *(_ranged({**one, "mean": one["gain"]}, signed=True) for one in ones)])
    what = f"each is better than {BASELINE}" if name == "against" else "the first is better than the second"
    return Grid(
        name,
        title,
        f"By how much {what}, paired over seeds and clips, with 95 % intervals: above 0 is better whatever the "
        f"direction of the measure. Of the level above 4 kHz it is the difference itself.",
        ["Measure", *given],
        rows if given else [],
    )


def _first(found: Mapping[str, Any]) -> Grid:
    first: dict[str, list[str]] = {}
    for measure, order in found["ranks"].items():
        if order:
            first.setdefault(order[0], []).append(measure)
    rows = [
        [model, str(len(names)), ", ".join(names)]
        for model, names in sorted(first.items(), key=lambda item: -len(item[1]))
    ]
    return Grid(
        "first",
        "Who is first by which measure",
        "Measures that follow the waveform outnumber the others in any catalogue: the count is no vote.",
        ["Trained on", "First by", "Measures"],
        rows,
    )


def _agreement(found: Mapping[str, Any]) -> Grid:
    rows = []
    for name, tau in found["tau_with_si_sdr"].items():
        mask = found["masks"]["tau_with_si_sdr"].get(name)
        value, low, high, masks = figures((tau["value"], tau["low"], tau["high"], mask))
        rows.append([f"si_sdr, {name}", value, _span(low, high), str(tau["models"]), masks])
    return Grid(
        "agreement",
        "Kendall's tau with SI-SDR over models",
        "1: both rank the models alike, 0: one tells nothing of the other, -1: in opposite order. The interval is that "
        "of other seeds and clips with these very models.",
        ["Measures", "Tau", "95 % interval", "Models", "Without training"],
        rows,
    )


def _taus(found: Mapping[str, Any]) -> Grid:
    names = found["key"]
    rows = [[one, *figures([found["tau"][one][other] for other in names])] for one in names]
    known = any(value is not None for one in names for value in found["tau"][one].values())
    return Grid(
        "tau",
        "Kendall's tau between measures over models",
        "All pairs of measures are in run.json.",
        ["", *names],
        rows if known else [],
    )


def _masks(found: Mapping[str, Any]) -> Grid:
    means = found["masks"]["means"]
    measures = found["key"]
    rows = [[model] for model in means]
    best = set()
    for column, measure in enumerate(measures, 1):
        values = [means[model][measure] for model in means]
        for row, text in zip(rows, figures(values), strict=True):
            row.append(text)
        sign = 1 if found["measures"][measure]["better"] == "lower" else -1
        known = [(sign * value, at) for at, value in enumerate(values) if value is not None]
        best |= {(min(known)[1], column)} if known else set()
    return Grid(
        "masks",
        "Without training",
        f"The mask of 40 by 40 numbers that each loss likes best, knowing the target, on "
        f"{found['config']['budget']['mask_clips']} of the clips: what a loss asks for, apart from what a network can "
        f"learn.",
        ["Loss", *(_head(found, measure) for measure in measures)],
        rows,
        frozenset(best),
    )


def _songs(found: Mapping[str, Any]) -> Grid:
    rows: list[list[str]] = []
    measures: list[str] = []
    for song, result in found["songs"].items():
        for separator, scores in result["rows"].items():
            measures = list(scores)
            rows.append([f"{song}, {separator}", *("–" if one is None else f"{one:.4g}" for one in scores.values())])
    return Grid(
        "songs",
        "Vocals of real songs by real separators",
        "SDR, SIR, ISR and SAR are BSS Eval v4's, medians over frames of a second, as museval has them; beside them "
        "what models hearing. The recordings were MP3, of which SIR, ISR and SAR mean little.",
        ["Song", *measures],
        rows,
    )


def _head(found: Mapping[str, Any], measure: str) -> str:
    spec = found["measures"][measure]
    unit = "" if spec["unit"] == "1" else f" [{spec['unit']}]"
    direction = "" if measure in (LEVEL, LEVEL_ABOVE) else f" {_ARROWS[spec['better']]}"
    return f"{measure}{unit}{direction}"


def _ranged(one: Mapping[str, Any], *, signed: bool = False) -> str:
    """Mean and interval in one cell."""
    mean, low, high = figures((one["mean"], one["low"], one["high"]))
    if signed and one["mean"] is not None and one["mean"] > 0:
        mean = f"+{mean}"
    return mean if low == "–" else f"{mean} ({low} to {high})"


def _span(low: str, high: str) -> str:
    return "–" if low == "–" else f"{low} to {high}"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
