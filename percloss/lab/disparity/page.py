"""The page of a run: what came of the hypotheses, the tables, and the models to be listened to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from percloss import report
from percloss._files import replacing
from percloss.errors import ArgumentError
from percloss.lab.disparity.config import LOSSES
from percloss.lab.disparity.findings import MODELS_NOT_PEOPLE
from percloss.lab.disparity.run import SOFTER_DB, listening
from percloss.lab.disparity.tables import every
from percloss.measure import find
from percloss.report import Section, Version
from percloss.report.page import template
from percloss.scoring.audio import read

__all__ = ["LEAD", "write_page"]

TEMPLATE = "findings.html.jinja"
LEAD = (
    "One network, trained with several losses from the same first weights, on the same mixtures in the same order, for "
    f"as many steps; then scored by every measure there is. {MODELS_NOT_PEOPLE}"
)
_MAIN = "<main>\n"


def write_page(folder: Path, found: Mapping[str, Any]) -> Path:
    """Write ``report.html`` of a run's document and of the audio that is kept in its folder, whole or not at all.

    Raises:
        MissingExtraError: jinja2, matplotlib or soundfile is not installed.
    """
    page = report.render(
        _sections(folder, found),
        title="One network, many losses",
        lead=LEAD,
        command=found["command"],
        versions=found["versions"],
    )
    findings = template("lab/disparity", TEMPLATE).render(
        grids=every(found),
        failures=found["failures"],
        left_out=found["left_out"],
        losses=found["losses"],
        config=found["config"],
    )
    before, main, after = page.partition(_MAIN)
    path = folder / "report.html"
    with replacing(path) as unfinished:
        unfinished.write_text(f"{before}{main}{findings}{after}", encoding="utf-8")
    return path


def _sections(folder: Path, found: Mapping[str, Any]) -> list[Section]:
    """The clips that can be listened to, by every model; and the first of them by every mask."""
    count = found["config"]["budget"]["listen"]
    sections = [_section(folder, found, at, masks=False) for at in range(count)]
    if found["masks"]["means"]:
        sections.append(_section(folder, found, 0, masks=True))
    whole = [section for section in sections if section is not None]
    if not whole:
        raise ArgumentError(f"{folder / 'audio'}: holds nothing to listen to; delete the folder and run again.")
    return whole


def _section(folder: Path, found: Mapping[str, Any], at: int, *, masks: bool) -> Section | None:
    reference = listening(folder, "reference", at + 1)[at]
    if not reference.exists():
        return None
    kept = _masks(found) if masks else _models(found)
    versions = []
    for name, (title, about, folder_name) in {"unprocessed": _UNPROCESSED, **kept}.items():
        path = listening(folder, folder_name, at + 1)[at]
        if path.exists():
            scores = {} if masks and name != "unprocessed" else _scores(found, folder_name, at)
            versions.append(Version(name, title, about, read(path).wave, scores))
    heading = f"Clip {found['clips'][at]}" if not masks else "The same, by masks without training"
    return Section(
        name=f"{'masks' if masks else 'clip'}{at}",
        title=heading,
        about=f"Speech in noise, held out of the training; softer by {SOFTER_DB:g} dB than it was scored. "
        f"The first seed of each model.",
        sample_rate=found["sample_rate"],
        ref=read(reference).wave,
        versions=versions,
        specs={name: find(name).spec for name in found["key"]},
        signatures={name: found["signatures"][name] for name in found["key"] if name in found["signatures"]},
    )


_UNPROCESSED = ("Unprocessed", "The mixture as it is", "unprocessed")


def _models(found: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Title, description and folder by name; of the first seed that there is."""
    seeds: Sequence[int] = found["config"]["seeds"]
    by_name = {
        name: next((f"{name}-seed{seed}" for seed in seeds if f"{name}-seed{seed}" in found["scores"]), None)
        for name in found["config"]["losses"]
    }
    return {name: (name, LOSSES[name].title, kept) for name, kept in by_name.items() if kept is not None}


def _masks(found: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    return {name: (name, LOSSES[name].title, f"{name}-mask") for name in found["masks"]["means"]}


def _scores(found: Mapping[str, Any], name: str, at: int) -> dict[str, float]:
    rows = found["scores"].get(name, {})
    values = {measure: rows[measure][at] for measure in found["key"] if measure in rows}
    return {measure: float("nan") if value is None else value for measure, value in values.items()}
