"""One HTML file that can be listened to: players that switch without a gap, pictures, tables; and nothing else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from percloss._files import replacing
from percloss._optional import require
from percloss.errors import ArgumentError, ShapeError
from percloss.report.audible import FULL_SCALE_SPL, Audible, classes, picture
from percloss.report.pictures import RANGE_DB, SHADES, Tick, colours, hz_ticks, levels, png, spectrogram, ticks
from percloss.report.sound import encode
from percloss.report.tables import Table
from percloss.spec import Spec

__all__ = ["Column", "Overview", "Section", "Version", "Yardstick", "columns", "render", "template", "write"]

TEMPLATE = "page.html.jinja"
# Of a digit on the yardstick, relative to the yardstick's length in a window of usual width.
NUMBER_WIDTH = 0.017


@dataclass(frozen=True)
class Version:
    """One estimate of a section's reference.

    Args:
        name: Lower-case name, also of its row.
        title: What people call it.
        description: What it is or sounds like, in a line.
        wave: Its samples, ``(1, channels, time)``.
        scores: Value of each measure; nan where it has none.
        reasons: Why, for each measure without a value.
        audible: Where its error is heard, if that is to be shown.
    """

    name: str
    title: str
    description: str
    wave: Tensor
    scores: Mapping[str, float]
    reasons: Mapping[str, str] = field(default_factory=dict)
    audible: Audible | None = None


@dataclass(frozen=True)
class Yardstick:
    """A scale on which the scores of different measures can be compared.

    Args:
        title: What it is.
        unit: Of its places.
        low: Its lower end. A value there is as low or lower.
        high: Its upper end, likewise.
        mark: Where the versions are expected.
        places: ``{measure: {version: place}}``, the better the higher. A measure it is not defined for is left out.
    """

    title: str
    unit: str
    low: float
    high: float
    mark: float
    places: Mapping[str, Mapping[str, float]]

    def spread(self, measure: str) -> float:
        """How far apart a measure puts the best and the worst version; nan where it is not defined."""
        places = self.places.get(measure)
        return max(places.values()) - min(places.values()) if places else math.nan

    def beyond(self, measure: str) -> bool:
        """Whether a version lies at one of the ends, so that the spread may be larger."""
        return any(place in (self.low, self.high) for place in self.places.get(measure, {}).values())


@dataclass(frozen=True)
class Section:
    """One reference, its versions, and what the measures say of them.

    Args:
        name: Lower-case name.
        title: Heading.
        about: What the reference is, where it comes from.
        sample_rate: Of all waves [Hz].
        ref: The reference, ``(1, channels, time)``.
        versions: In the order of the rows.
        specs: Of the measures, in the order of the columns.
        signatures: By which recipe each measure was taken.
        summary: What is seen, in a sentence or two.
        left_out: Measures that were not taken, and why.
        yardstick: Where there is one.
        start: Where in the recording the waves begin [s].
        others: What can be listened to besides and is not judged, such as the mixture.
        warnings: What would spoil a comparison.
        tables: Shown after the table of scores, or in place of it where there are no specs.
        lossless: Whether no track is coded with a loss, however large it is.
    """

    name: str
    title: str
    about: str
    sample_rate: int
    ref: Tensor
    versions: Sequence[Version]
    specs: Mapping[str, Spec]
    signatures: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    yardstick: Yardstick | None = None
    start: float = 0.0
    others: Sequence[Version] = ()
    warnings: Sequence[str] = ()
    tables: Sequence[Table] = ()
    lossless: bool = True


@dataclass(frozen=True)
class Overview:
    """What is said of all items before each of them has a section of its own.

    Args:
        title: Heading.
        about: What was compared, in a sentence or two.
        tables: What was found.
        failed: What could not be scored, and why.
    """

    title: str
    about: str
    tables: Sequence[Table] = ()
    failed: Sequence[str] = ()


class Column(NamedTuple):
    """One measure's column, as text. ``best`` and ``worst`` hold versions, and none where all read the same."""

    spec: Spec
    texts: dict[str, str]
    best: frozenset[str]
    worst: frozenset[str]
    spread: str
    on_yardstick: str


def columns(section: Section) -> list[Column]:
    """The score table, column by column, each with as many digits as tell its values apart."""
    return [_column(section, name, spec) for name, spec in section.specs.items()]


def render(
    sections: Sequence[Section],
    *,
    title: str,
    lead: str,
    command: str,
    versions: Mapping[str, str],
    overview: Overview | None = None,
) -> str:
    """The report as HTML, in which everything given is escaped.

    Args:
        sections: What to show.
        title: Of the page.
        lead: First paragraph.
        command: The line that makes it again.
        versions: Of the packages it was made with.
        overview: What stands before the sections, with a list of them.

    Raises:
        ArgumentError: No section, a score for a measure without a Spec, or samples that are not finite.
        MissingExtraError: jinja2, matplotlib or soundfile is not installed.
        ShapeError: A wave that is not shaped as its reference.
    """
    if not sections:
        raise ArgumentError("report: no section came; give at least one Section.")
    page: str = template("report", TEMPLATE).render(
        title=title,
        lead=lead,
        command=command,
        versions=versions,
        overview=overview,
        sections=[_shown(section) for section in sections],
        full_scale_spl=FULL_SCALE_SPL,
    )
    return page


def template(folder: str, name: str) -> Any:
    """A page's template in a folder of the package, strict about what it is not given."""
    jinja2 = require("jinja2", extra="report")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("percloss", folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


def write(
    path: Path,
    sections: Sequence[Section],
    *,
    title: str,
    lead: str,
    command: str,
    versions: Mapping[str, str],
    overview: Overview | None = None,
) -> None:
    """Write the report, whole or not at all. The arguments are those of :func:`render`."""
    page = render(sections, title=title, lead=lead, command=command, versions=versions, overview=overview)
    with replacing(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def _column(section: Section, name: str, spec: Spec) -> Column:
    values = {version.name: version.scores.get(name, math.nan) for version in section.versions}
    defined = {version: value for version, value in values.items() if not math.isnan(value)}
    style = _style(list(defined.values()))
    texts = {version: format(value, style) if version in defined else "–" for version, value in values.items()}
    if not defined:
        return Column(spec, texts, frozenset(), frozenset(), "–", "–")
    ranked = spec.better != "neither"
    ordered = sorted(defined, key=lambda version: spec.cost(defined[version]) if ranked else defined[version])
    best, worst = texts[ordered[0]], texts[ordered[-1]]
    marked = ranked and best != worst
    spread = max(defined.values()) - min(defined.values())
    return Column(
        spec,
        texts,
        frozenset(version for version in defined if marked and texts[version] == best),
        frozenset(version for version in defined if marked and texts[version] == worst),
        format(spread, style) if len({texts[version] for version in defined}) > 1 else "0",
        _apart(section.yardstick, name),
    )


def _style(values: list[float]) -> str:
    """Four significant digits of the largest value, the same number of decimals for all."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if 0 < largest < 1e-2:
        return ".2e"
    return f".{min(3, max(0, 3 - math.floor(math.log10(largest)))) if largest else 0}f"


def _apart(yardstick: Yardstick | None, measure: str) -> str:
    if yardstick is None or measure not in yardstick.places:
        return "–"
    spread = yardstick.spread(measure)
    digits = f"{spread:.1f}" if spread < 1 else f"{spread:.0f}"
    return f"≥{digits}" if yardstick.beyond(measure) else digits


class _Track(NamedTuple):
    """What one player button and its pictures need. ``heard`` is empty where no error is looked for."""

    number: int
    title: str
    description: str
    audio: str
    picture: str
    audible: Audible | None
    heard: str


class _Pill(NamedTuple):
    """Versions, by number from 1, that lie so close on the yardstick that they are drawn as one."""

    at: float
    members: list[int]


class _Shown(NamedTuple):
    """A section as the template takes it. Places on an axis go from 0 to 1."""

    section: Section
    seconds: float
    tracks: list[_Track]
    coding: str
    lowered_db: float
    columns: list[Column]
    hz_ticks: list[Tick]
    second_ticks: list[Tick]
    place_ticks: list[Tick]
    mark: float
    pills: dict[str, list[_Pill]]
    top_db: int
    bottom_db: int
    shades: str
    legend: list[tuple[str, str]]


def _shown(section: Section) -> _Shown:
    reference = Version("reference", "Reference", "The original", section.ref, {})
    heard = [reference, *section.versions, *section.others]
    _check(section, heard)
    peak = max(float(version.wave.abs().max()) for version in heard)
    level = 1 / max(1.0, peak)
    found = [levels(version.wave, section.sample_rate) for version in heard]
    top = max(float(each.max()) for each in found)
    seconds = section.ref.shape[-1] / section.sample_rate
    sounds = encode([level * version.wave for version in heard], section.sample_rate, lossless=section.lossless)
    yardstick = section.yardstick or Yardstick("", "", 0.0, 1.0, 0.0, {})
    return _Shown(
        section=section,
        seconds=seconds,
        tracks=[
            _Track(
                number,
                version.title,
                version.description,
                sound,
                spectrogram(each, top),
                version.audible,
                ""
                if version.audible is None
                else picture(version.audible, section.sample_rate, section.start, section.start + seconds),
            )
            for number, (version, each, sound) in enumerate(zip(heard, found, sounds.tracks, strict=True))
        ],
        coding=sounds.coding,
        lowered_db=-20 * math.log10(level),
        columns=columns(section),
        hz_ticks=hz_ticks(section.sample_rate),
        second_ticks=ticks(section.start, section.start + seconds, 4),
        place_ticks=ticks(yardstick.low, yardstick.high, 7),
        mark=(yardstick.mark - yardstick.low) / (yardstick.high - yardstick.low),
        pills={
            name: _pills(yardstick, [places[version.name] for version in section.versions])
            for name, places in yardstick.places.items()
        },
        top_db=round(top),
        bottom_db=round(top - RANGE_DB),
        shades=png(np.arange(SHADES, dtype=np.uint8)[None], colours("magma", 0.0, 1.0, SHADES)),
        legend=classes(),
    )


def _check(section: Section, heard: Sequence[Version]) -> None:
    for version in heard:
        if version.wave.shape != section.ref.shape or section.ref.dim() != 3 or section.ref.shape[0] != 1:
            raise ShapeError(
                f"report: {version.name} is {tuple(version.wave.shape)}, its reference {tuple(section.ref.shape)}; "
                f"needed is (1, channels, time) for both."
            )
        unknown = version.scores.keys() - section.specs.keys()
        if unknown:
            raise ArgumentError(
                f"report: {version.name} has scores for {', '.join(sorted(unknown))}; give their specs."
            )
    if not math.isfinite(sum(float(version.wave.sum()) for version in heard)):
        raise ArgumentError(f"report: {section.name} has samples that are not finite; use wave.nan_to_num().")


def _pills(yardstick: Yardstick, places: Sequence[float]) -> list[_Pill]:
    """Places in order, those together whose numbers would be drawn over each other."""
    width = yardstick.high - yardstick.low
    dots = sorted((((place - yardstick.low) / width, number) for number, place in enumerate(places, 1)))
    pills = [_Pill(at, [number]) for at, number in dots]
    index = 1
    while index < len(pills):
        left, right = pills[index - 1], pills[index]
        if right.at - left.at < NUMBER_WIDTH * (1 + (len(left.members) + len(right.members)) / 2):
            both = left.members + right.members
            centre = (left.at * len(left.members) + right.at * len(right.members)) / len(both)
            pills[index - 1 : index + 1] = [_Pill(centre, sorted(both))]
            index = max(1, index - 1)
        else:
            index += 1
    # One at an end must not reach beyond what is drawn.
    return [pill._replace(at=min(pill.at, 1 + NUMBER_WIDTH * (1.5 - len(pill.members) / 2))) for pill in pills]
