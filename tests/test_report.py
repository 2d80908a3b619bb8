"""What a page of players, pictures and scores must be: complete in itself, whole, and true to what it was given."""

import base64
import io
import itertools
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss import report
from percloss.errors import ArgumentError, ShapeError
from percloss.report import Column, Overview, Section, Version, Yardstick, pictures, sound
from percloss.report.audible import CLASSES_DB, audible, picture
from percloss.report.page import NUMBER_WIDTH
from percloss.report.tables import Cell, Row, Table
from percloss.report.verdicts import SCALES, mainly, verdict
from percloss.spec import Spec

image = pytest.importorskip("PIL.Image", reason="needs percloss[report]")
soundfile = pytest.importorskip("soundfile", reason="needs percloss[audio]")
pytest.importorskip("jinja2", reason="needs percloss[report]")

RATE = 16_000
HIGHER = Spec(name="up", title="Up", unit="dB", better="higher", bounds=(-math.inf, math.inf), perfect=None)
LOWER = Spec(name="down", title="Down", unit="1", better="lower", bounds=(0, math.inf), perfect=0.0)
TEXTS = {"title": "A title", "lead": "A lead.", "command": "percloss demo", "versions": {"percloss": "0"}}


def tone(hz: float = 1000.0, db: float = -20.0, *, rate: int = RATE, seconds: float = 0.5) -> Tensor:
    time = torch.arange(int(rate * seconds)) / rate
    return (10 ** (db / 20) * torch.sin(2 * math.pi * hz * time))[None, None]


def a_section(scores: dict[str, dict[str, float]] | None = None, **changed: object) -> Section:
    scores = scores or {"first": {"up": 1.0}, "second": {"up": 2.0}}
    waves = [tone(db=-20 - 6 * index) for index in range(len(scores))]
    versions = [
        Version(name, name.title(), f"What {name} is.", wave, values)
        for (name, values), wave in zip(scores.items(), waves, strict=True)
    ]
    named = {name for values in scores.values() for name in values}
    specs = {spec.name: spec for spec in (HIGHER, LOWER) if spec.name in named}
    return replace(Section("tone", "A tone", "One of 1 kHz.", RATE, tone(), versions, specs), **changed)


def the_column(values: dict[str, float], spec: Spec = HIGHER) -> Column:
    return report.columns(a_section({version: {spec.name: value} for version, value in values.items()}))[0]


class Links(HTMLParser):
    """Every address in a page, and every tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        names = {"src", "href", "srcset", "poster", "action", "data", "xlink:href"}
        self.found += [value or "" for name, value in attributes if name in names]


def embedded(page: str, kind: str) -> list[bytes]:
    return [base64.b64decode(content) for content in re.findall(f'"data:{kind};base64,([^"]+)"', page)]


def test_best_and_worst_follow_the_direction_of_the_measure() -> None:
    values = {"a": 1.0, "b": 3.0, "c": 2.0}
    assert (the_column(values).best, the_column(values).worst) == ({"b"}, {"a"})
    assert (the_column(values, LOWER).best, the_column(values, LOWER).worst) == ({"a"}, {"b"})


def test_versions_that_read_the_same_share_the_mark() -> None:
    assert the_column({"a": 10.0, "b": 10.00001, "c": 1.0}).best == {"a", "b"}


def test_a_column_that_reads_the_same_everywhere_has_no_best() -> None:
    column = the_column({"a": 10.0, "b": 10.00001})
    assert not column.best | column.worst
    assert column.spread == "0"


def test_a_missing_value_is_a_dash_and_neither_best_nor_worst() -> None:
    column = the_column({"a": math.nan, "b": 3.0, "c": 2.0})
    assert column.texts["a"] == "–"
    assert (column.best, column.worst) == ({"b"}, {"c"})


def test_a_measure_without_any_value_is_a_column_of_dashes() -> None:
    column = the_column({"a": math.nan, "b": math.nan})
    assert set(column.texts.values()) == {column.spread} == {"–"}


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((10.0, 9.5), ("10.00", "9.50")),
        ((28.871, 0.2), ("28.87", "0.20")),
        ((0.8981, 0.4), ("0.898", "0.400")),
        ((0.000363, 0.0002), ("3.63e-04", "2.00e-04")),
        ((12345.6, 1.0), ("12346", "1")),
        ((0.0, 0.0), ("0", "0")),
    ],
)
def test_a_column_has_the_digits_its_largest_value_needs(values: tuple[float, float], texts: tuple[str, str]) -> None:
    assert tuple(the_column(dict(zip("ab", values, strict=True))).texts.values()) == texts


def test_the_page_needs_nothing_but_itself() -> None:
    page = report.render([a_section()], **TEXTS)
    links = Links(page)
    assert len(links.found) > 5
    assert all(link.startswith("data:") for link in links.found)
    assert "@import" not in page
    assert not re.search(r"url\(|https?:|fetch\(|XMLHttpRequest", page)
    assert "default-src 'none'" in page


def test_everything_given_is_escaped() -> None:
    evil = "<script>alert(1)</script>\"'&"
    spec = replace(HIGHER, title=evil, unit=evil)
    version = Version("a", evil, evil, tone(), {"up": math.nan}, {"up": evil})
    section = Section(
        *("evil", evil, evil, RATE, tone(), [version], {"up": spec}),
        signatures={"up": evil},
        summary=evil,
        left_out={evil: evil},
        yardstick=Yardstick(evil, evil, 0.0, 10.0, 5.0, {"up": {"a": 5.0}}),
    )
    page = report.render([section], title=evil, lead=evil, command=evil, versions={evil: evil})
    plain = report.render([a_section()], **TEXTS)
    assert "alert(1)" in page
    assert evil not in page
    assert Links(page).tags.count("script") == Links(plain).tags.count("script") == 1


def test_what_is_heard_is_what_was_scored() -> None:
    section = a_section()
    page = report.render([section], **TEXTS)
    heard = [soundfile.read(io.BytesIO(content), dtype="float32") for content in embedded(page, "audio/flac")]
    assert [rate for _, rate in heard] == [RATE] * 3
    for (samples, _), wave in zip(heard, [section.ref, *(each.wave for each in section.versions)], strict=True):
        torch.testing.assert_close(torch.from_numpy(samples), wave[0, 0], atol=1 / 32_768, rtol=0)


def test_a_version_that_would_clip_lowers_all_by_the_same_and_the_page_says_so() -> None:
    section = a_section()
    loud = [replace(section.versions[0], wave=20 * tone(db=-20)), section.versions[1]]
    page = report.render([replace(section, versions=loud)], **TEXTS)
    heard = [soundfile.read(io.BytesIO(content))[0] for content in embedded(page, "audio/flac")]
    assert np.abs(heard[1]).max() == pytest.approx(1.0, abs=1e-3)
    assert np.abs(heard[1]).max() / np.abs(heard[0]).max() == pytest.approx(20, rel=1e-2)
    assert "6.0 dB below the level" in page
    assert "dB below the level" not in report.render([section], **TEXTS)


def shades(page: str) -> list[np.ndarray]:
    """The pictures as shades, frequency first and upwards; the last one is the scale."""
    pictures = [image.open(io.BytesIO(content)) for content in embedded(page, "image/png")]
    return [np.asarray(picture)[::-1].astype(int) for picture in pictures]


def test_a_tone_is_seen_at_its_frequency() -> None:
    page = report.render([a_section()], **TEXTS)
    picture = shades(page)[0]
    loudest = (picture.sum(axis=1).argmax() + 0.5) / picture.shape[0]
    ticks = dict(re.findall(r'<text x="34" y="([\d.]+)" text-anchor="end">(\d+)</text>', page))
    places = {int(hz): (144 - (float(y) - 3.5)) / 134 for y, hz in ticks.items()}
    assert set(places) == {500, 1000, 2000, 4000, 8000}
    assert loudest == pytest.approx(places[1000], abs=1.5 / picture.shape[0])


def test_all_pictures_of_a_section_share_one_scale() -> None:
    reference, first, second, _ = shades(report.render([a_section()], **TEXTS))
    assert reference.max() == first.max() == pictures.SHADES - 1
    darker = (first.max() - second.max()) / (pictures.SHADES - 1) * pictures.RANGE_DB
    assert darker == pytest.approx(6, abs=pictures.RANGE_DB / pictures.SHADES)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_every_usual_rate_has_a_picture(rate: int) -> None:
    wave = tone(rate=rate)
    section = a_section(sample_rate=rate, ref=wave, versions=[Version("a", "A", "", 0.5 * wave, {"up": 1.0})])
    assert shades(report.render([section], **TEXTS))[0].max() == pictures.SHADES - 1


@pytest.mark.parametrize("samples", [1, 10, 60 * RATE])
def test_very_short_and_long_signals_have_a_picture_of_bounded_size(samples: int) -> None:
    wave = torch.full((1, 2, samples), 0.1)
    section = a_section(ref=wave, versions=[Version("a", "A", "", wave, {"up": 1.0})])
    assert 1 <= shades(report.render([section], **TEXTS))[0].shape[1] <= pictures.FRAMES + 2


def test_silence_has_a_picture_too() -> None:
    silence = torch.zeros(1, 1, RATE)
    section = a_section(ref=silence, versions=[Version("a", "A", "", silence, {"up": math.nan})])
    assert "Reference" in report.render([section], **TEXTS)


def test_the_yardstick_shows_each_version_once_and_none_on_top_of_another() -> None:
    versions = {f"v{index}": {"up": float(index)} for index in range(8)}
    places = {"up": dict(zip(versions, [10.0, 10.1, 10.2, 30.0, 31.0, 50.0, 50.0, -10.0], strict=True))}
    section = a_section(versions, yardstick=Yardstick("Place", "dB", -10.0, 50.0, 10.0, places))
    page = report.render([section], **TEXTS)
    pills = re.findall(r'<span class="pill" style="left: ([-\d.]+)%">(.*?)</span></span>', page)
    drawn = [(float(at) / 100, re.findall(r'data-of="(\d+)"', inside)) for at, inside in pills]
    assert sorted(number for _, numbers in drawn for number in numbers) == list("12345678")
    assert ["1", "2", "3"] in [numbers for _, numbers in drawn]
    edges = [(at, NUMBER_WIDTH * (1 + len(numbers)) / 2) for at, numbers in drawn]
    assert all(right - left >= a + b - 1e-9 for (left, a), (right, b) in itertools.pairwise(edges))


def test_a_spread_that_reaches_the_end_of_the_yardstick_says_at_least() -> None:
    def spread(high: float) -> str:
        yardstick = Yardstick("Place", "dB", -10.0, 50.0, 10.0, {"up": {"first": 10.0, "second": high}})
        return report.columns(a_section(yardstick=yardstick))[0].on_yardstick

    assert (spread(40.0), spread(50.0), spread(10.2)) == ("30", "≥40", "0.2")


def test_the_report_is_the_same_twice() -> None:
    assert report.render([a_section()], **TEXTS) == report.render([a_section()], **TEXTS)


def test_a_wave_of_another_shape_is_refused() -> None:
    wrong = [Version("a", "A", "", torch.zeros(1, 1, 9), {"up": 1.0})]
    with pytest.raises(ShapeError, match=r"a is \(1, 1, 9\), its reference \(1, 1, 8000\); needed is"):
        report.render([a_section(versions=wrong)], **TEXTS)


def test_a_score_without_a_spec_no_section_and_broken_samples_are_refused() -> None:
    with pytest.raises(ArgumentError, match="first has scores for up; give their specs"):
        report.render([a_section(specs={})], **TEXTS)
    with pytest.raises(ArgumentError, match="no section came"):
        report.render([], **TEXTS)
    broken = [Version("a", "A", "", tone() * math.nan, {"up": 1.0})]
    with pytest.raises(ArgumentError, match="not finite"):
        report.render([a_section(versions=broken)], **TEXTS)


def test_a_report_that_fails_leaves_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report.write(path, [a_section()], **TEXTS)
    before = path.read_text(encoding="utf-8")
    with pytest.raises(ArgumentError):
        report.write(path, [a_section(specs={})], **TEXTS)
    assert path.read_text(encoding="utf-8") == before
    with pytest.raises(OSError, match="report"):
        report.write(tmp_path / "missing" / "report.html", [a_section()], **TEXTS)
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def noise(db: float, *, seed: int = 0, rate: int = RATE, seconds: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 10 ** (db / 20) * torch.randn(1, 1, int(rate * seconds), generator=generator)


def test_the_worst_second_and_band_are_where_a_tone_was_added() -> None:
    ref = noise(-40)
    est = ref.clone()
    est[..., RATE : 2 * RATE] += tone(3000, -20, seconds=1.0)
    worst = audible(est, ref, RATE).worst
    assert worst.start == pytest.approx(1.0, abs=0.15)
    assert worst.stop - worst.start == pytest.approx(1.0, abs=0.05)
    assert worst.low_hz <= 3000 * 1.15
    assert worst.high_hz >= 3000 / 1.15
    assert worst.high_hz - worst.low_hz < 1000
    assert worst.db > 10


def test_an_error_that_the_reference_masks_is_said_not_to_be_heard() -> None:
    ref = noise(-20)
    found = audible(ref + noise(-100, seed=1), ref, RATE)
    assert found.share == 0
    assert found.sentence == "The reference masks the error everywhere: at this level it is not heard."


def test_what_is_said_has_the_second_the_band_and_the_level_in_it() -> None:
    ref = noise(-40)
    est = ref + tone(3000, -30, seconds=3.0)
    found = audible(est, ref, RATE)
    where = r"most from [\d.]+ to [\d.]+ s, at 2.\d kHz to 3.\d kHz"
    assert re.search(rf"{where}: there it lies {found.worst.db:.0f} dB above the masking threshold", found.sentence)


def test_a_delay_is_no_error_of_magnitudes() -> None:
    ref = tone(1000, -20, seconds=3.0)
    late = audible(ref.roll(40), ref, RATE)
    noisy = audible(ref + noise(-30), ref, RATE)
    assert late.share < 0.1 * noisy.share


def test_the_louder_channel_counts() -> None:
    ref = noise(-40).repeat(1, 2, 1)
    est = ref.clone()
    est[:, 1] += tone(3000, -20, seconds=3.0)[0]
    assert audible(est, ref, RATE).worst == audible(est[:, 1:], ref[:, 1:], RATE).worst


@pytest.mark.parametrize("samples", [1, 100, 1600, RATE + 1, 45 * RATE])
def test_every_length_has_a_worst_place_within_it_and_a_picture(samples: int) -> None:
    ref = noise(-20, seconds=samples / RATE)[..., :samples]
    found = audible(0.5 * ref, ref, RATE)
    assert 0 <= found.worst.start < found.worst.stop <= samples / RATE
    for spot in found.by_second:
        assert spot.stop <= samples / RATE
    shown = picture(found, RATE, 0.0, samples / RATE)
    wide = image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))).size[0]
    assert 1 <= wide <= pictures.FRAMES


def test_a_picture_is_black_where_nothing_is_heard_and_bright_where_the_tone_is() -> None:
    ref = noise(-40)
    est = ref.clone()
    est[..., RATE : 2 * RATE] += tone(3000, -20, seconds=1.0)
    shown = picture(audible(est, ref, RATE), RATE, 0.5, 2.5)
    cells = np.asarray(image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))))[::-1]
    row = int(np.abs(pictures.mel_centres(RATE) - 3000).argmin())
    quarter = cells.shape[1] // 4
    assert (cells[row, quarter + 2 : 3 * quarter - 2] == len(CLASSES_DB)).all()
    assert (cells[:, : quarter - 8] == 0).mean() > 0.95
    assert (cells[:, 3 * quarter + 16 :] == 0).mean() > 0.95


def test_long_sounds_are_mp3_for_all_tracks_and_short_ones_lossless() -> None:
    loud = torch.rand(1, 2, 44_100 * 6, generator=torch.Generator().manual_seed(0)) - 0.5
    quiet = torch.zeros_like(loud)
    found = sound.encode([loud, quiet], 44_100, lossless=False)
    assert found.coding == "MP3 at 320 kbit/s"
    assert all(track.startswith("data:audio/mpeg") for track in found.tracks)
    for track, wave in zip(found.tracks, (loud, quiet), strict=True):
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(track.partition(",")[2])))
        assert (rate, samples.shape) == (44_100, tuple(wave[0].T.shape))
    assert sound.encode([loud, quiet], 44_100, lossless=True).coding.startswith("FLAC")
    assert sound.encode([loud[..., :44_100], quiet[..., :44_100]], 44_100, lossless=False).coding.startswith("FLAC")
    assert sound.encode([loud], 96_000, lossless=False).coding.startswith("FLAC"), "MP3 has no such rate"


def test_every_diagnostic_has_a_verdict_and_every_verdict_a_diagnostic() -> None:
    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(each) for each in kind.__subclasses__()))

    from percloss.measures.artefacts import Diagnostic

    known = {each for each in below(Diagnostic) if "spec" in vars(each) and each.__module__.startswith("percloss.")}
    assert {scale.diagnostic for scale in SCALES.values()} == known


@pytest.mark.parametrize("name", SCALES)
def test_verdicts_grow_with_the_distance_from_what_is_perfect(name: str) -> None:
    scale = SCALES[name]
    assert 0 < scale.slight < scale.clear < scale.strong
    at = [0.0, scale.slight, scale.clear, scale.strong]
    assert [verdict(name, value).grade for value in at] == [0, 1, 2, 3]
    assert len({verdict(name, value).words for value in at}) == 4
    if scale.diagnostic.below is not None:
        assert verdict(name, -scale.clear).grade == 2
        assert scale.diagnostic.below in verdict(name, -scale.clear).words
        assert scale.diagnostic.above in verdict(name, scale.clear).words


def test_a_diagnostic_without_a_value_says_why_and_has_no_grade() -> None:
    found = verdict("harmonicity", None, "no frame of the reference is voiced")
    assert found.grade is None
    assert found.words == "no value: no frame of the reference is voiced"


def test_the_strongest_artefacts_are_named_first_and_shares_of_the_error_are_not() -> None:
    found = [verdict(name, SCALES[name].clear) for name in ("rolloff", "leakage")] + [verdict("isolated_peaks", 500.0)]
    said = mainly(found)
    assert said.index("whistles") < said.index("high frequencies")
    assert "other source" not in said
    assert mainly([verdict("rolloff", 0.0)]) == "No diagnostic finds a clear artefact."
    assert mainly([]) == ""


def test_a_table_carries_its_words_beside_its_marks() -> None:
    cells = [Cell("9.5", "better", "best"), Cell("clear: dull", "-9 dB", grade=2, wordy=True)]
    table = Table("t", "Things", "How to read it.", ["What", "A", "B"], [Row("row", "detail", cells, "section-1")])
    page = report.render([a_section(tables=[table])], **TEXTS)
    assert re.search(r'<td class="best">9.5<span>better</span></td>', page)
    assert '<i class="dots" aria-hidden="true">●●○</i>clear: dull<span>-9 dB</span>' in page
    assert '<caption class="hidden">Things: A tone</caption>' in page
    assert '<a href="#section-1">row</a>' in page


def test_everything_given_to_the_new_parts_is_escaped_too() -> None:
    evil = "<script>alert(1)</script>\"'&"
    table = Table("t", evil, evil, [evil], [Row(evil, evil, [Cell(evil, evil)])], [evil])
    section = a_section(tables=[table], warnings=[evil], others=[Version("m", evil, evil, tone(), {})])
    page = report.render([section], **TEXTS, overview=Overview(evil, evil, [table], [evil]))
    assert "alert(1)" in page
    assert evil not in page
    assert Links(page).tags.count("script") == 1


def test_where_nearer_is_better_the_nearest_is_best_and_where_neither_is_none_is() -> None:
    values = {"a": {"up": -1.0}, "b": {"up": 3.0}, "c": {"up": -5.0}}
    nearer, neither = (
        report.columns(a_section(values, specs={"up": replace(HIGHER, better=better, perfect=perfect)}))[0]
        for better, perfect in (("nearer", 0.0), ("neither", None))
    )
    assert (nearer.best, nearer.worst) == ({"a"}, {"c"})
    assert not neither.best | neither.worst
    assert nearer.spread == neither.spread == "8.000"
