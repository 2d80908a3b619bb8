"""The catalogue's pictures: what a measure says as a sentence is spoilt more and more, in seven ways."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from percloss.measure import find

FOLDER = Path(__file__).resolve().parent / "_cards"
SOURCE = Path(__file__).resolve().parent / "cards.json"
MARKS = "os^vD*P"


def draw(folder: Path = FOLDER) -> None:
    """One picture for each measure of ``cards.json``, those that are there already left alone."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    made = json.loads(SOURCE.read_text(encoding="utf-8"))
    folder.mkdir(exist_ok=True)
    for name, lines in made["values"].items():
        path = folder / f"{name}.svg"
        if not path.exists() or path.stat().st_mtime < SOURCE.stat().st_mtime:
            with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 9}):
                figure = Figure(figsize=(6.4, 3.0), layout="constrained")
                _plot(figure, name, made["snr_db"], lines)
                figure.savefig(path, metadata={"Date": None})


def _plot(figure: Any, name: str, snr_db: Sequence[float], lines: dict[str, list[float | None]]) -> None:
    spec = find(name).spec
    axes = figure.add_subplot()
    for mark, (artefact, values) in zip(MARKS, lines.items(), strict=True):
        heard = [float("nan") if value is None else value for value in values]
        axes.plot(snr_db, heard, marker=mark, markersize=4, linewidth=1, label=artefact.replace("_", " "))
    axes.set_xlim(max(snr_db) + 1, min(snr_db) - 1)
    axes.set_xlabel("SNR of the spoilt sentence [dB]")
    axes.set_ylabel(name if spec.unit == "1" else f"{name} [{spec.unit}]")
    axes.set_title(f"{spec.title}: {spec.direction}", fontsize=9)
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False)
