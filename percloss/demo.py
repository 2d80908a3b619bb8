"""Many sounds, one SNR: embedded clips spoilt in several ways at one ratio, and what each measure makes of them.

So that "how far apart?" has an answer in one unit for all measures, each also scores a ladder of white noise: the place
of a version is the SNR at which white noise would get the same score. A measure that follows the SNR puts all at one.

Then all families of ``percloss.degrade`` at that ratio, by the measures that model listeners: does the one that follows
the waveform rank them as those do?
"""

import math
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

from percloss import __version__, report
from percloss._optional import require
from percloss.data import clip, clips, song
from percloss.degrade import FAMILIES, degrade
from percloss.errors import ArgumentError, PerclossError
from percloss.evaluation import evaluate, signature
from percloss.measure import Measure, catalogue, create, find
from percloss.report import Column, Section, Version, Yardstick
from percloss.scoring.audio import write

__all__ = [
    "CHOSEN",
    "FOLLOWS_WAVEFORM",
    "LADDER_DB",
    "MODELS",
    "SAME_DB",
    "SNR_DB",
    "Families",
    "Material",
    "Ranked",
    "as_dict",
    "compared",
    "equivalents",
    "material",
    "rank_correlation",
    "ready",
    "seen",
    "study",
    "suiting",
    "write_audio",
    "write_report",
]

CHOSEN = (
    *("white_noise", "quantisation", "interference", "reverberation"),
    *("musical_noise", "shaped_noise", "low_pass", "delay"),
)
"""Families of ``percloss.degrade``. Left out: those whose SI-SDR is not near their SNR, and those that sound alike."""

LADDER_DB = range(-20, 41, 5)
"""SNR of the white noise that all is compared with, relative to that of the versions [dB]."""

SAME_DB = 3.0
"""A measure whose places lie no further apart agrees with the SNR [dB]. SI-SDR's lie within 1 dB, and interpolation on
the ladder adds up to 1.5 dB."""

SNR_DB = (1.0, 40.0)
"""What may be asked for [dB]: no low-pass reaches 0 dB, and float32 holds no ladder that ends far above 80 dB."""

FOLLOWS_WAVEFORM = "si_sdr"
"""Whose ranking of the families is compared with those of ``MODELS``."""

MODELS = (("pesq_wb", "pesq_like"), ("two_f",), ("stoi",))
"""Models of listeners, each the first of its names that is there."""

LEAD = (
    "Each version differs from its reference by an error of exactly the same energy, {snr_db:g} dB below the signal: "
    "by the signal-to-noise ratio, all are equally good. Listen to them, and see which measures tell them apart. Which "
    "of those are right is for your ears to say."
)

_PEAK = 0.99
_REFERENCE = "reference"
# Models of speech, whatever rates they are defined at.
_SPEECH_ONLY = (
    *("percloss.measures.speech:", "percloss.measures.intelligibility:", "percloss.measures.pmsqe:"),
    *("percloss.measures.pesq:", "percloss.measures.visqol:ViSQOLSpeech"),
)


class Material(NamedTuple):
    """A recording to be spoilt, ``(1, channels, time)``."""

    name: str
    title: str
    about: str
    wave: Tensor
    sample_rate: int
    is_speech: bool


class Ranked(NamedTuple):
    """How one measure ranks the families as another does: Spearman's correlation and the ends of its interval."""

    model: str
    rho: float
    low: float
    high: float


class Families(NamedTuple):
    """All families at one ratio.

    Attributes:
        scores: By family, the value of each measure, the SNR first.
        left_out: Families that do not reach the ratio, and measures that are not there, with the reason.
        correlations: Of ``FOLLOWS_WAVEFORM`` with each model.
    """

    scores: Mapping[str, Mapping[str, float]]
    left_out: Mapping[str, str]
    correlations: Sequence[Ranked]


def ready() -> None:
    """Refuse before the work, not after it.

    Raises:
        MissingExtraError: soundfile, matplotlib or jinja2 is not installed.
    """
    for module, extra in (("soundfile", "audio"), ("matplotlib", "report"), ("jinja2", "report")):
        require(module, extra=extra)


def material(*, quick: bool = False) -> list[Material]:
    """The embedded speech and song. To keep the report small the song is mixed to mono and cut to four seconds.

    Args:
        quick: Take two seconds of each.
    """
    reader = "librivox_0890"
    speech, rate = clip(reader)
    music, _, song_rate = song()
    if quick:
        speech, music = speech[..., : 2 * rate], music[..., : 2 * song_rate]
    music = music[..., : 4 * song_rate].mean(1, keepdim=True)
    licences = [clips()[name]["licence"] for name in (reader, "drums")]
    return [
        Material("speech", "Speech", f"A reader. Licence: {licences[0]}.", speech, rate, is_speech=True),
        Material(
            "song", "Song", f"Bass, drums, keys, strings. Licence: {licences[1]}.", music, song_rate, is_speech=False
        ),
    ]


def study(given: Material, *, snr_db: float = 10.0, seed: int = 0) -> Section:
    """Spoil a recording in each of the chosen ways, and score the results with every measure that suits.

    All are brought to one level at which none clips. The measures come in the order SNR, SI-SDR, and then from the one
    that sets the versions furthest apart to the one that does least.

    Args:
        given: The recording.
        snr_db: Of every version [dB], within ``SNR_DB``.
        seed: Of the degradations.

    Raises:
        ArgumentError: A ratio outside ``SNR_DB``.
    """
    if not SNR_DB[0] <= snr_db <= SNR_DB[1]:
        raise ArgumentError(
            f"demo: got an SNR of {snr_db:g} dB; needed is {SNR_DB[0]:g} to {SNR_DB[1]:g}; type --snr 10"
        )
    rate = given.sample_rate
    waves = {family: degrade(given.wave, rate, family, snr_db=snr_db, seed=seed) for family in CHOSEN}
    level = min(1.0, _PEAK / max(float(wave.abs().max()) for wave in (given.wave, *waves.values())))
    ref, waves = level * given.wave, {family: level * wave for family, wave in waves.items()}

    measures, left_out = suiting(given)
    scores = {family: _scores(wave, ref, rate, measures) for family, wave in waves.items()}
    yardstick = _yardstick(scores, ref, rate, measures, snr_db=snr_db, seed=seed)
    first = ["snr", "si_sdr"]
    order = sorted(measures, key=lambda name: -yardstick.spread(name) if name in yardstick.places else math.inf)
    order = [*(name for name in first if name in measures), *(name for name in order if name not in first)]
    section = Section(
        name=given.name,
        title=given.title,
        about=f"{given.about} {ref.shape[-1] / rate:.1f} s at {rate} Hz.",
        sample_rate=rate,
        ref=ref,
        versions=[_version(family, wave, ref, scores[family], measures) for family, wave in waves.items()],
        specs={name: measures[name].spec for name in order},
        signatures={name: signature(measures[name], rate) for name in order},
        left_out=left_out,
        yardstick=yardstick,
    )
    return replace(section, summary=seen(section))


def compared(given: Material, *, snr_db: float = 10.0, seed: int = 0) -> Families:
    """Spoil speech in every way there is, at one ratio, and see whether SI-SDR ranks the results as models of ears do.

    The interval of a correlation is that of other families like these: they are drawn anew.

    Args:
        given: The recording, at a rate that the models know.
        snr_db: Of every version [dB].
        seed: Of the degradations and of the interval.
    """
    left_out: dict[str, str] = {}
    measures = {name: create(name, sample_rate=given.sample_rate) for name in ("snr", FOLLOWS_WAVEFORM)}
    for names in MODELS:
        for name in names:
            try:
                measures[name] = create(name, sample_rate=given.sample_rate)
                break
            except PerclossError as error:
                left_out[name] = str(error)
    scores: dict[str, dict[str, float]] = {}
    for family in FAMILIES:
        try:
            est = degrade(given.wave, given.sample_rate, family, snr_db=snr_db, seed=seed)
        except PerclossError as error:
            left_out[family] = str(error)
            continue
        scores[family] = _scores(est, given.wave, given.sample_rate, measures)
    columns = {name: [row[name] for row in scores.values()] for name in measures}
    followed = columns[FOLLOWS_WAVEFORM]
    correlations = [
        Ranked(name, *rank_correlation(followed, columns[name], seed=seed))
        for name in measures
        if name not in ("snr", FOLLOWS_WAVEFORM)
    ]
    return Families(scores, left_out, correlations)


def rank_correlation(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> tuple[float, float, float]:
    """Spearman's rank correlation, and its 95 % interval over 2000 resamples of the pairs (percentiles).

    Pairs without a value are left out. All three are nan where fewer than four are left, or where one does not vary.

    Example:
        >>> rank_correlation([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 4.0, 9.0, 16.0, 25.0])
        (1.0, 1.0, 1.0)
    """
    pairs = np.asarray([a, b], dtype=np.float64)
    pairs = pairs[:, np.isfinite(pairs).all(0)]
    count = pairs.shape[1]
    if count < 4 or (np.ptp(pairs, axis=1) == 0).any():
        return math.nan, math.nan, math.nan
    drawn = np.random.default_rng(seed).integers(0, count, (2000, count))
    # The first is the data themselves.
    rows = np.concatenate((np.arange(count)[None], drawn))
    ranks = [rankdata(values[rows], axis=1) for values in pairs]
    first, second = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    power = (first**2).sum(1) * (second**2).sum(1)
    rho = (first * second).sum(1)[power > 0] / np.sqrt(power[power > 0])
    low, high = np.quantile(rho[1:], (0.025, 0.975))
    return round(float(rho[0]), 6), round(float(low), 6), round(float(high), 6)


def suiting(given: Material) -> tuple[dict[str, Measure], dict[str, str]]:
    """The measures of the catalogue that can score a recording, and for each of the others why not."""
    measures: dict[str, Measure] = {}
    left_out: dict[str, str] = {}
    for name, where in catalogue().items():
        if where.startswith(_SPEECH_ONLY) and not given.is_speech:
            left_out[name] = "a model of speech"
            continue
        try:
            spec = find(name).spec
            if spec.alone:
                left_out[name] = "takes no reference"
            elif spec.several or spec.needs:
                left_out[name] = f"needs {' and '.join(spec.needs) or 'sources'}, and there is one signal"
            elif not spec.ranks:
                left_out[name] = "tells one quality of the sound, and not how good it is"
            elif spec.sample_rates is not None and given.sample_rate not in spec.sample_rates:
                left_out[name] = f"defined at {spec.rates()} Hz only"
            else:
                measures[name] = create(name, sample_rate=given.sample_rate)
        except PerclossError as error:
            left_out[name] = str(error)
    return measures, left_out


def equivalents(scores: Sequence[float], ladder: Sequence[float], steps: Sequence[float], sign: int) -> list[float]:
    """The steps of the ladder at which the scores would be found.

    Args:
        scores: To be placed.
        ladder: Score of each step.
        steps: The ladder, upwards, better and better [dB].
        sign: 1 where a lower score is better, -1 where a higher one is.

    Returns:
        A step for each score, interpolated and held at the ends. None at all where a score has no value, or where the
        measure does not get better from the first step to the last.

    Example:
        >>> equivalents([2.5, 9.0], [1.0, 2.0, 3.0], [0.0, 10.0, 20.0], -1)
        [15.0, 20.0]
    """
    worse = sign * np.asarray(ladder)
    # Models saturate: a rise within 2 % of the range, as between two hopeless signals, is none.
    if not np.isfinite([*worse, *scores]).all() or not worse[0] > worse[-1]:
        return []
    if (np.diff(worse) > 0.02 * (worse[0] - worse[-1])).any():
        return []
    falling = np.minimum.accumulate(worse)
    found: list[float] = np.interp(sign * np.asarray(scores), falling[::-1], np.asarray(steps)[::-1]).tolist()
    return found


def seen(section: Section) -> str:
    """What the scores of a section show, in words, and where measures agree with the SNR as well as where not."""
    yardstick = section.yardstick
    if yardstick is None:
        raise ArgumentError("seen: a section without a yardstick came; give one that study() made.")
    spreads = {name: yardstick.spread(name) for name in section.specs if name in yardstick.places}
    agree = [name for name, spread in spreads.items() if spread <= SAME_DB and name != "snr"]
    apart = [name for name, spread in spreads.items() if spread > SAME_DB]
    words = f"{len(section.versions)} versions, all at {yardstick.mark:g} dB SNR."
    if agree:
        within = max(spreads[name] for name in agree)
        verb = "agrees" if len(agree) == 1 else "agree"
        words += f" {_listed(agree)} {verb} with it: best and worst version lie at most {within:.1f} dB apart."
    if not apart:
        return f"{words} No measure sets them further apart."
    least, most = min(apart, key=spreads.__getitem__), max(apart, key=spreads.__getitem__)
    reach = f"{_step(yardstick, most)} of white noise ({most})"
    if len(apart) > 1:
        reach = f"from {_step(yardstick, least)} of white noise ({least}) to {_step(yardstick, most)} ({most})"
    orders = [sorted(section.versions, key=lambda each: section.specs[name].sign * each.scores[name]) for name in apart]
    best, worst = (_votes(order[end].title for order in orders) for end in (0, -1))
    others = "other measure does" if len(apart) == 1 else f"other {len(apart)} measures do"
    return (
        f"{words} The {others} not: {reach} lie between their best and their worst. Best is {best}, worst is {worst}."
    )


def as_dict(section: Section) -> dict[str, Any]:
    """A section as plain data for JSON, in which a missing value is None."""
    yardstick = section.yardstick
    places: Mapping[str, Mapping[str, float]] = {} if yardstick is None else yardstick.places
    return {
        "name": section.name,
        "sample_rate": section.sample_rate,
        "channels": section.ref.shape[1],
        "seconds": section.ref.shape[-1] / section.sample_rate,
        "versions": [
            {
                "name": each.name,
                "title": each.title,
                "description": each.description,
                "file": _file(section, each.name).as_posix(),
                "scores": {name: value if math.isfinite(value) else None for name, value in each.scores.items()},
                "reasons": dict(each.reasons),
                "white_noise_db": {name: places[name][each.name] for name in section.specs if name in places},
            }
            for each in section.versions
        ],
        "reference": _file(section, _REFERENCE).as_posix(),
        "ladder_db": None if yardstick is None else [yardstick.low, yardstick.high],
        "measures": {column.spec.name: _summary(section, column) for column in report.columns(section)},
        "signatures": dict(section.signatures),
        "left_out": dict(section.left_out),
        "seen": section.summary,
    }


def write_audio(folder: Path, sections: Sequence[Section]) -> None:
    """Write every wave as ``audio/SECTION/VERSION/SECTION.wav``, so that ``percloss score`` pairs the folders."""
    for section in sections:
        for name, wave in {_REFERENCE: section.ref, **{each.name: each.wave for each in section.versions}}.items():
            path = folder / _file(section, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, wave, section.sample_rate)


def write_report(folder: Path, sections: Sequence[Section], *, snr_db: float, command: str) -> Path:
    """Write ``report.html``, and return where it is."""
    used = {spec.implementation for section in sections for spec in section.specs.values()}
    packages = ["torch", "numpy", "scipy", "soundfile", *sorted(name for name in used if name)]
    path = folder / "report.html"
    report.write(
        path,
        sections,
        title=f"Same {snr_db:g} dB, different sound",
        lead=LEAD.format(snr_db=snr_db),
        command=command,
        versions={
            "percloss": __version__,
            **{name: version(name) for name in packages},
            "Python": platform.python_version(),
        },
    )
    return path


def _scores(est: Tensor, ref: Tensor, sample_rate: int, measures: Mapping[str, Measure]) -> dict[str, float]:
    scored = evaluate(est, ref, sample_rate, measures.values())
    return {name: float(values.mean()) for name, values in scored.items()}


def _yardstick(
    scores: Mapping[str, Mapping[str, float]],
    ref: Tensor,
    sample_rate: int,
    measures: Mapping[str, Measure],
    *,
    snr_db: float,
    seed: int,
) -> Yardstick:
    steps = [snr_db + step for step in LADDER_DB]
    noisy = (degrade(ref, sample_rate, "white_noise", snr_db=step, seed=seed) for step in steps)
    ladder = [_scores(est, ref, sample_rate, measures) for est in noisy]
    places = {}
    for name, measure in measures.items():
        values = [each[name] for each in scores.values()]
        found = equivalents(values, [each[name] for each in ladder], steps, measure.spec.sign)
        if found:
            places[name] = dict(zip(scores, found, strict=True))
    return Yardstick("SNR of white noise with the same score", "dB", steps[0], steps[-1], snr_db, places)


def _version(
    family: str, est: Tensor, ref: Tensor, scores: Mapping[str, float], measures: Mapping[str, Measure]
) -> Version:
    heard = FAMILIES[family].hears
    reasons = {name: measures[name].reason(est, ref) for name, value in scores.items() if math.isnan(value)}
    return Version(family, FAMILIES[family].title, f"{heard[0].upper()}{heard[1:]}.", est, scores, reasons)


def _summary(section: Section, column: Column) -> dict[str, Any]:
    name, yardstick = column.spec.name, section.yardstick
    values = [each.scores[name] for each in section.versions if math.isfinite(each.scores[name])]
    placed = yardstick if yardstick is not None and name in yardstick.places else None
    return {
        "unit": column.spec.unit,
        "better": column.spec.better,
        "best": sorted(column.best),
        "worst": sorted(column.worst),
        "spread": max(values) - min(values) if values else None,
        "spread_white_noise_db": None if placed is None else placed.spread(name),
        "spread_is_at_least": None if placed is None else placed.beyond(name),
    }


def _file(section: Section, version_name: str) -> Path:
    return Path("audio", section.name, version_name, f"{section.name}.wav")


def _step(yardstick: Yardstick, measure: str) -> str:
    return f"{yardstick.spread(measure):.0f} dB{' or more' if yardstick.beyond(measure) else ''}"


def _votes(titles: Iterable[str]) -> str:
    votes = Counter(titles)
    if len(votes) == 1:
        return f"{next(iter(votes)).lower()} for all"
    return _listed([f"{title.lower()} for {count}" for title, count in votes.most_common()])


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
