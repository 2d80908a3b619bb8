"""One HTML file that can be listened to: players that switch without a gap, spectrograms, scores; and nothing else."""

import base64
import io
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from percloss._optional import require
from percloss.dsp.safe import db_to_power, log_power
from percloss.dsp.scales import MEL_SLANEY
from percloss.errors import ArgumentError, ShapeError
from percloss.frontends import Bands, Stft
from percloss.spec import Spec

__all__ = ["Column", "Section", "Version", "Yardstick", "columns", "render", "write"]

Picture: TypeAlias = np.ndarray[Any, np.dtype[Any]]

TEMPLATE = "report.html.jinja"
# What a spectrogram shows below its section's loudest cell [dB], how many bands and at most how many frames of it.
RANGE_DB, FLOOR_DB = 80.0, -140.0
BANDS, FRAMES = 96, 480
# Shades in a spectrogram: steps of 1.25 dB, which the eye cannot tell apart and PNG packs well.
SHADES = 64
# Of a digit on the yardstick, relative to the yardstick's length in a window of usual width.
NUMBER_WIDTH = 0.017
TICKS_HZ = (500, 1000, 2000, 4000, 8000, 16_000, 32_000)


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
    """

    name: str
    title: str
    description: str
    wave: Tensor
    scores: Mapping[str, float]
    reasons: Mapping[str, str] = field(default_factory=dict)


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


def render(sections: Sequence[Section], *, title: str, lead: str, command: str, versions: Mapping[str, str]) -> str:
    """The report as HTML, in which everything given is escaped.

    Args:
        sections: What to show.
        title: Of the page.
        lead: First paragraph.
        command: The line that makes it again.
        versions: Of the packages it was made with.

    Raises:
        ArgumentError: No section, a score for a measure without a Spec, or samples that are not finite.
        MissingExtraError: jinja2, matplotlib or soundfile is not installed.
        ShapeError: A wave that is not shaped as its reference.
    """
    jinja2 = require("jinja2", extra="report")
    if not sections:
        raise ArgumentError("report: no section came; give at least one Section.")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("percloss", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page: str = environment.get_template(TEMPLATE).render(
        title=title,
        lead=lead,
        command=command,
        versions=versions,
        sections=[_shown(section) for section in sections],
    )
    return page


def write(
    path: Path, sections: Sequence[Section], *, title: str, lead: str, command: str, versions: Mapping[str, str]
) -> None:
    """Write the report, whole or not at all. The arguments are those of :func:`render`."""
    page = render(sections, title=title, lead=lead, command=command, versions=versions)
    unfinished = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        unfinished.write_text(page, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _column(section: Section, name: str, spec: Spec) -> Column:
    values = {version.name: version.scores.get(name, math.nan) for version in section.versions}
    defined = {version: value for version, value in values.items() if not math.isnan(value)}
    style = _style(list(defined.values()))
    texts = {version: format(value, style) if version in defined else "–" for version, value in values.items()}
    if not defined:
        return Column(spec, texts, frozenset(), frozenset(), "–", "–")
    ordered = sorted(defined, key=lambda version: spec.sign * defined[version])
    best, worst = texts[ordered[0]], texts[ordered[-1]]
    marked = best != worst
    return Column(
        spec,
        texts,
        frozenset(version for version in defined if marked and texts[version] == best),
        frozenset(version for version in defined if marked and texts[version] == worst),
        format(abs(defined[ordered[0]] - defined[ordered[-1]]), style) if marked else "0",
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


class _Tick(NamedTuple):
    at: float
    text: str


class _Track(NamedTuple):
    """What one player button and its picture need."""

    title: str
    description: str
    audio: str
    picture: str


class _Pill(NamedTuple):
    """Versions, by number from 1, that lie so close on the yardstick that they are drawn as one."""

    at: float
    members: list[int]


class _Shown(NamedTuple):
    """A section as the template takes it. Places on an axis go from 0 to 1."""

    section: Section
    seconds: float
    tracks: list[_Track]
    lowered_db: float
    columns: list[Column]
    hz_ticks: list[_Tick]
    second_ticks: list[_Tick]
    place_ticks: list[_Tick]
    mark: float
    pills: dict[str, list[_Pill]]
    top_db: int
    bottom_db: int
    shades: str


def _shown(section: Section) -> _Shown:
    for version in section.versions:
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
    reference = Version("reference", "Reference", "The original", section.ref, {})
    heard = [reference, *section.versions]
    peak = max(float(version.wave.abs().max()) for version in heard)
    if not math.isfinite(sum(float(version.wave.sum()) for version in heard)):
        raise ArgumentError(f"report: {section.name} has samples that are not finite; use wave.nan_to_num().")
    level = 1 / max(1.0, peak)
    pictures = [_levels(version.wave, section.sample_rate) for version in heard]
    top = max(float(picture.max()) for picture in pictures)
    seconds = section.ref.shape[-1] / section.sample_rate
    yardstick = section.yardstick or Yardstick("", "", 0.0, 1.0, 0.0, {})
    return _Shown(
        section=section,
        seconds=seconds,
        tracks=[
            _Track(
                version.title,
                version.description,
                _flac(level * version.wave, section.sample_rate),
                _picture(picture, top),
            )
            for version, picture in zip(heard, pictures, strict=True)
        ],
        lowered_db=-20 * math.log10(level),
        columns=columns(section),
        hz_ticks=_hz_ticks(section.sample_rate),
        second_ticks=_ticks(0.0, seconds, 4),
        place_ticks=_ticks(yardstick.low, yardstick.high, 7),
        mark=(yardstick.mark - yardstick.low) / (yardstick.high - yardstick.low),
        pills={
            name: _pills(yardstick, [places[version.name] for version in section.versions])
            for name, places in yardstick.places.items()
        },
        top_db=round(top),
        bottom_db=round(top - RANGE_DB),
        shades=_png(np.arange(SHADES, dtype=np.uint8)[None]),
    )


def _levels(wave: Tensor, sample_rate: int) -> Picture:
    """Levels on a mel scale [dB re full scale], of the channels' mean power, frequency first and upwards."""
    n_fft = 2 ** max(4, round(math.log2(0.045 * sample_rate)))
    short = max(0, n_fft - wave.shape[-1])
    wave = torch.nn.functional.pad(wave.detach().float().cpu(), (0, short))
    hop = max(n_fft // 4, math.ceil(wave.shape[-1] / FRAMES))
    power = Stft(n_fft, hop).power(wave).mean(dim=1, keepdim=True)
    bands = Bands(MEL_SLANEY, sample_rate, BANDS, n_fft)(power)
    levels: Picture = (10 * log_power(bands, db_to_power(FLOOR_DB))[0, 0] / math.log(10)).numpy()
    return levels


def _picture(levels: Picture, top: float) -> str:
    shades = ((levels - top) / RANGE_DB + 1).clip(0, 1) * (SHADES - 1)
    return _png(shades.round().astype(np.uint8)[::-1])


def _png(shades: Picture) -> str:
    """An image of shades as a data URI: one byte for a cell, coloured by a table."""
    colours = require("matplotlib", extra="report").colormaps["magma"](np.linspace(0, 1, SHADES))[:, :3]
    image = require("PIL.Image", extra="report").fromarray(np.ascontiguousarray(shades))
    image.putpalette((colours * 255).round().astype(np.uint8).tobytes())
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    return _data_uri("image/png", content)


def _flac(wave: Tensor, sample_rate: int) -> str:
    soundfile = require("soundfile", extra="audio")
    content = io.BytesIO()
    samples = wave[0].detach().float().cpu().numpy().T
    soundfile.write(content, samples, sample_rate, format="FLAC", subtype="PCM_16", compression_level=1.0)
    return _data_uri("audio/flac", content)


def _data_uri(kind: str, content: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def _hz_ticks(sample_rate: int) -> list[_Tick]:
    """Where frequencies lie between 0, the bottom, and half the rate, the top."""
    hz = torch.tensor([float(tick) for tick in TICKS_HZ if tick <= sample_rate / 2], dtype=torch.float64)
    places = MEL_SLANEY.from_hz(hz) / MEL_SLANEY.from_hz(torch.tensor(sample_rate / 2, dtype=torch.float64))
    return [_Tick(float(place), f"{int(tick)}") for place, tick in zip(places, hz, strict=True)]


def _ticks(low: float, high: float, most: int) -> list[_Tick]:
    """Round numbers between two ends."""
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= least)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [_Tick((n * step - low) / (high - low), f"{n * step:g}") for n in range(first, last + 1)]


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
