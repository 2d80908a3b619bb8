"""Results as one HTML page that needs nothing else: a table that sorts, light and dark."""

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from percloss.measure import find
from percloss.scoring.document import Document

__all__ = ["figures", "page"]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: Canvas; white-space: nowrap; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " \\25b4"; }
th[aria-sort=descending] button::after { content: " \\25be"; }
td.number, th.number { text-align: right; } small { opacity: .7; font-weight: normal; }
.bad { color: var(--bad); } code { font-size: .85em; overflow-wrap: anywhere; }
"""

_SCRIPT = """
for (const button of document.querySelectorAll("#files th button")) button.addEventListener("click", () => {
  const th = button.parentElement, column = th.cellIndex, body = document.querySelector("#files tbody");
  const up = th.getAttribute("aria-sort") !== "ascending";
  for (const other of th.parentElement.cells) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const empty = row => key(row) === "";
  const compare = (a, b) => th.classList.contains("number")
    ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b), undefined, {numeric: true});
  const rows = [...body.rows].sort((a, b) => empty(a) - empty(b) || (up ? 1 : -1) * compare(a, b));
  body.append(...rows);
});
"""


def figures(values: Iterable[float | None]) -> list[str]:
    """Numbers of one kind for the eye: three digits of the largest, at least two decimals, a dash for none."""
    values = list(values)
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    decimals = max(2, 2 - math.floor(math.log10(largest))) if largest else 2
    form = ".2e" if 0 < largest < 1e-3 else f".{decimals}f"
    return ["–" if value is None else format(value, form) for value in values]


def page(found: Document) -> str:
    """The page of a run."""
    names = list(found["summary"])
    several = len(found["systems"]) > 1
    failed = sum(file["error"] is not None for file in found["files"])
    scored = len(found["files"]) - failed
    shown = {name: figures(file["scores"][name] for file in found["files"]) for name in names}
    rows = (
        _row(file, {name: shown[name][index] for name in names}, several) for index, file in enumerate(found["files"])
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>percloss: {scored} files scored</title>
<style>{_STYLE}</style>
<h1>{scored} of {len(found["files"])} files scored</h1>
<p><small>percloss {escape(found["percloss"])} · <code>{escape(" ".join(found["command"]))}</code>
{"" if found["complete"] else "· <span class=bad>interrupted, not complete</span>"}</small></p>
<h2>Means</h2>
<div class="wide"><table><thead><tr><th>measure<th>better<th>system<th class="number">mean
<th class="number">95 % interval<th class="number">files</tr></thead>
<tbody>{"".join(_means(found))}</tbody></table></div>
<h2>Files</h2>
<div class="wide"><table id="files"><thead><tr>{"".join(_head(names, several))}</tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>
<h2>Signatures</h2>
<ul>{"".join(f"<li><code>{escape(signature)}</code>" for signature in found["signatures"].values())}</ul>
<script>{_SCRIPT}</script>
</html>
"""


def _means(found: Document) -> Iterable[str]:
    for name in found["summary"]:
        spec = find(name).spec
        head = [f"{escape(name)} <small>{escape(spec.title)}</small>", escape(f"{_unit(spec.unit)} {spec.arrow}")]
        for system, own in found["systems"].items():
            stems = ((f"{system}, {stem}", summary) for stem, summary in own["stems"].items())
            for label, summary in [(system, own["summary"]), *stems]:
                one = summary[name]
                mean, *ends = figures([one["mean"], *(one["ci95"] or [])])
                words = [*head, escape(label)]
                head = ["", ""]
                numbers = [mean, " to ".join(ends) or "–", str(one["n"])]
                yield f"<tr>{''.join(f'<td>{word}' for word in words)}"
                yield f"{''.join(f'<td class=number>{number}' for number in numbers)}</tr>"


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def _head(names: Iterable[str], several: bool) -> Iterable[str]:
    for name in ["estimate", "reference", *(["system"] if several else [])]:
        yield f"<th><button>{name}</button>"
    for name in names:
        spec = find(name).spec
        yield f"<th class=number><button>{escape(name)} <small>{escape(_unit(spec.unit))} {spec.arrow}</small></button>"
    yield "<th><button>remarks</button>"


def _row(file: Mapping[str, Any], figures: Mapping[str, str], several: bool) -> str:
    cells = [f"<td>{escape(file[role] or '')}" for role in ("est", "ref", *(("system",) if several else ()))]
    for name, text in figures.items():
        value = file["scores"][name]
        title = f' title="{escape(file["reasons"][name])}"' if name in file["reasons"] else ""
        cells.append(f'<td class=number data-value="{"" if value is None else repr(value)}"{title}>{text}')
    remarks = [f"<div>{escape(warning['message'])}</div>" for warning in file["warnings"]]
    remarks += [f"<div class=bad>{escape(name)}: {escape(why)}</div>" for name, why in file["reasons"].items()]
    if file["error"] is not None:
        remarks.append(f"<div class=bad>{escape(file['error'])}</div>")
    return f"<tr>{''.join(cells)}<td>{''.join(remarks)}</tr>"
