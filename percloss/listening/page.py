"""What was found of listening tests as one HTML page that needs nothing else: tables, and a figure a measure."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from percloss._optional import require
from percloss.listening.correlation import Analysed
from percloss.listening.output import HEADS, LEGEND, ranked, rows, verdict

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem; }
.figures figure { margin: 0; } .figures img { width: 100%; background: #fff; border-radius: 4px; }
figcaption, small { opacity: .75; } li { margin: .2rem 0; }
"""
# Okabe and Ito's colours, which everybody can tell apart; beyond eight systems the marker changes.
_COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def page(tests: Mapping[str, Analysed], document: Mapping[str, Any]) -> str:
    """The page of a run.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    sections = "".join(_section(name, test) for name, test in tests.items())
    problems = "".join(f"<li>{escape(problem)}" for problem in document["problems"])
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>percloss: measures and listeners</title>
<style>{_STYLE}</style>
<h1>Measures and listeners</h1>
<p><small>percloss {escape(document["percloss"])} · <code>{escape(" ".join(document["command"]))}</code></small></p>
<p>{escape(LEGEND)}</p>
{sections}
{f"<h2>What could not be used</h2><ul>{problems}</ul>" if problems else ""}
</html>
"""


def _section(name: str, test: Analysed) -> str:
    found = test.found
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}' for cell in line)}</tr>" for line in rows(found))
    figures = "".join(_figure(test, measure) for measure in ranked(found))
    notes = "".join(f"<li>{escape(note)}" for note in found["notes"])
    about = ", ".join(describe(found))
    return f"""<h2>{escape(name)}</h2>
<p>{escape(about)}. <small>{escape("; ".join(filter(None, (found["source"], found["licence"]))))}</small></p>
<div class="wide"><table><thead><tr>{"".join(f"<th>{escape(head)}" for head in HEADS)}</tr></thead>
<tbody>{lines}</tbody></table></div>
<p>{escape(" ".join(verdict(found)))}</p>
{f"<ul>{notes}</ul>" if notes else ""}
<div class="figures">{figures}</div>
"""


def describe(found: Mapping[str, Any]) -> Iterator[str]:
    """How large a test is, and how far its listeners agree with themselves."""
    if found["scale"]:
        yield f"scale {found['scale']}"
    yield f"{found['stimuli']} stimuli"
    for what in ("systems", "contents", "listeners"):
        if found[what]:
            yield f"{found[what]} {what}"
    if found["ceiling"]["pooled"] is not None:
        yield f"ceiling of Pearson's correlation {found['ceiling']['pooled']:.3f}"


def _figure(test: Analysed, measure: str) -> str:
    one = test.found["measures"][measure]
    r = one["pooled"]["srcc"]
    height = "no correlation" if r is None else f"SRCC {r:.2f}"
    words = f"{measure}: {height}, {one['n']} stimuli, {one['better']} is better"
    image = base64.b64encode(_picture(test, measure)).decode()
    return (
        f'<figure><img loading="lazy" alt="{escape(words)}: scatter of the scores over the measure, a colour a system, '
        f'with the fitted curve" src="data:image/png;base64,{image}"><figcaption>{escape(words)}</figcaption></figure>'
    )


def _picture(test: Analysed, measure: str) -> bytes:
    """Scores over the measure, a colour a system, with both curves."""
    require("matplotlib", extra="report")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    values, score = test.predictions[measure].values, test.table.score
    known = np.isfinite(values) & np.isfinite(score)
    figure = Figure(figsize=(4.2, 3.1), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    for label, own, colour, marker in _systems(test, known):
        axes.scatter(values[own], score[own], s=14, c=colour, marker=marker, label=label, linewidths=0.3)
    prediction = test.table.predictions[measure]
    for kind, style in (("cubic", "-"), ("logistic", ":")):
        if (curve := test.curves[measure][kind]) is not None:
            x = np.linspace(prediction[known].min(), prediction[known].max(), 200)
            sign = 1 if test.predictions[measure].better == "higher" else -1
            axes.plot(sign * x, curve(x), style, color="#777", linewidth=1)
    axes.set_xlabel(measure, fontsize=8)
    axes.set_ylabel(test.found["scale"] or "score", fontsize=8)
    axes.tick_params(labelsize=7)
    if 1 < len(axes.get_legend_handles_labels()[1]) <= len(_COLOURS):
        axes.legend(fontsize=6, frameon=False)
    content = io.BytesIO()
    figure.set_canvas(FigureCanvasAgg(figure))
    figure.savefig(content, format="png")
    return content.getvalue()


def _systems(test: Analysed, known: Any) -> Iterator[tuple[str, Any, str, str]]:
    labels = test.table.system
    names: Sequence[str] = [""] if labels is None else sorted(set(labels))
    for index, name in enumerate(names):
        rows = known if labels is None else known & (labels == name)
        if rows.any():
            marker = _MARKERS[index // len(_COLOURS) % len(_MARKERS)]
            yield str(name), rows, _COLOURS[index % len(_COLOURS)], marker
