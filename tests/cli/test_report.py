"""``percloss report``: a page of pairs of files, of folders, and of what is wrong with them."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from percloss.uncertainty import holm, mean_interval, paired
from tests.cli.support import RATE, folder, noise, run, strict, write

for module in ("jinja2", "matplotlib", "PIL.Image"):
    pytest.importorskip(module, reason="needs percloss[report]")

FEW = ("-m", "snr,mae")


class Words(HTMLParser):
    """What a page says: its tables as rows of texts by caption, and all of its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.headings: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(page)
        self.text = " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag == "span" and {"td", "th"} & set(self._open):
            self._rows[-1][-1] += "\n"
        elif tag in ("h2", "h3"):
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if "caption" in self._open:
            self._caption += data
        elif {"td", "th"} & set(self._open):
            self._rows[-1][-1] += data
        elif {"h2", "h3"} & set(self._open):
            self.headings[-1] += data


def reported(out: Path, *arguments: object, code: int = 0) -> tuple[Words, Any]:
    """The page and the document of ``percloss report ARGUMENTS``."""
    result = run("report", *arguments, "-o", out, "--json")
    assert result.exit_code == code, result.stderr
    return Words(out.read_text(encoding="utf-8")), strict(result.stdout)


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven items by three systems, the second better than the first, the third as good; one file is no audio."""
    root = tmp_path_factory.mktemp("systems")
    refs = {f"t{index}": noise(index) for index in range(8)}
    folder(root / "ref", refs)
    for number, (system, level) in enumerate({"old": 0.1, "new": 0.05, "same": 0.1}.items()):
        # The error of the third item is the loudest.
        levels = {name: level * (5 if name == "t3" else 1 + 0.01 * index) for index, name in enumerate(refs)}
        errors = {name: noise(100 * number + 100 + index) for index, name in enumerate(refs)}
        folder(root / system, {name: ref + levels[name] * errors[name] for name, ref in refs.items()})
    (root / "new" / "t6.wav").write_bytes(b"no audio at all")
    return root


def test_one_pair_is_one_section_with_every_part_and_no_interval(pair: tuple[Path, Path], tmp_path: Path) -> None:
    est, ref = pair
    page, found = reported(tmp_path / "page.html", est, "--ref", ref, *FEW)
    assert page.headings == ["a", "Listen", "Where one would hear the error", "Artefacts", "Scores"]
    scores = page.tables["Scores: a"]
    assert [row[0].splitlines()[0] for row in scores[1:]] == ["snr", "mae"]
    assert float(scores[1][1]) == pytest.approx(found["files"][0]["scores"]["snr"], abs=0.01)
    assert "its values have no intervals" in page.text
    assert len(page.tables["Artefacts: a"]) > 10
    assert found["report"] == str(tmp_path / "page.html")
    assert not found["against_first"]


def test_the_page_is_whole_in_itself(pair: tuple[Path, Path], tmp_path: Path) -> None:
    reported(tmp_path / "page.html", pair[0], "--ref", pair[1], *FEW)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"url\(|https?:|@import|fetch\(", page)
    assert [path.name for path in tmp_path.iterdir() if path.suffix not in ("",)] == ["page.html"]


def test_ten_seconds_of_stereo_are_less_than_three_megabytes(tmp_path: Path) -> None:
    """White noise, of which no coder makes little."""
    ref = noise(0, samples=441_000, channels=2)
    paths = [write(tmp_path / f"{name}.wav", wave, 44_100) for name, wave in (("e", ref + 0.01), ("r", ref))]
    result = run("report", paths[0], "--ref", paths[1], "-m", "snr", "-o", tmp_path / "page.html")
    assert result.exit_code == 0, result.stderr
    page = (tmp_path / "page.html").read_bytes()
    assert len(page) < 3_000_000
    assert b"MP3 at 320 kbit/s" in page
    assert page.count(b"data:audio/mpeg") == 2


def test_an_interferer_adds_leakage_and_is_heard(tmp_path: Path) -> None:
    ref, other = noise(0), noise(1)
    est = write(tmp_path / "est.wav", ref + 0.3 * other)
    paths = [write(tmp_path / f"{name}.wav", wave) for name, wave in (("ref", ref), ("other", other))]
    page, found = reported(tmp_path / "with.html", est, "--ref", paths[0], "--interferer", paths[1], *FEW)
    file = found["files"][0]
    assert file["scores"]["leakage"] > 90
    assert file["verdicts"]["leakage"]["words"] == "most of the error: the other source is heard"
    assert "What should not be heard" in page.text
    without, found = reported(tmp_path / "without.html", est, "--ref", paths[0], *FEW)
    assert "leakage" not in found["files"][0]["scores"]
    assert "--interferer" in without.text


def test_an_interferer_that_does_not_fit_costs_its_number_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = write(tmp_path / "other.wav", noise(3, samples=4000))
    page, found = reported(tmp_path / "page.html", pair[0], "--ref", pair[1], "--interferer", other, *FEW)
    assert "lengths differ" in found["files"][0]["verdicts"]["leakage"]["words"]
    assert "lengths differ" in page.text
    assert found["files"][0]["error"] is None


def test_means_have_the_intervals_and_differences_the_tests_of_the_package(systems: Path, tmp_path: Path) -> None:
    folders = [systems / name for name in ("old", "new", "same")]
    page, found = reported(tmp_path / "page.html", *folders, "--ref", systems / "ref", *FEW, code=3)

    def scores(system: str, name: str) -> np.ndarray:
        own = [file["scores"].get(name) for file in found["files"] if file["system"] == system]
        return np.array([np.nan if value is None else value for value in own])

    summary = found["systems"]["old"]["summary"]["snr"]
    assert summary["ci95"] == list(mean_interval(scores("old", "snr")))
    pairs = [(system, name) for system in ("new", "same") for name in ("snr", "mae")]
    expected = [paired(scores("old", name), scores(system, name)) for system, name in pairs]
    told = {(system, one["measure"]): one for system, own in found["against_first"].items() for one in own}
    for key, one, p in zip(pairs, expected, holm(np.array([each.p for each in expected])), strict=True):
        assert told[key]["difference"] == one.difference
        assert told[key]["ci95"] == [one.low, one.high]
        assert told[key]["p_holm"] == p
    assert all(told[key]["winner"] is None for key in pairs), "seven items are too few to tell four differences"
    table = page.tables["Scores of all: All items"]
    assert table[0] == ["Measure", "old", "new", "new less old", "same", "same less old"]
    low, high = mean_interval(scores("old", "snr"))
    assert f"{low:.2f} to {high:.2f}" in table[1][1]
    assert table[1][3].startswith("+5.98")


def test_better_and_worse_follow_the_direction_of_the_measure(tmp_path: Path) -> None:
    refs = {f"t{index:02d}": noise(index) for index in range(10)}
    ref = folder(tmp_path / "ref", refs)
    for system, level in {"old": 0.1, "new": 0.05}.items():
        waves = {name: wave + level * noise(50 + index) for index, (name, wave) in enumerate(refs.items())}
        folder(tmp_path / system, waves)
    page, found = reported(tmp_path / "page.html", tmp_path / "old", tmp_path / "new", "--ref", ref, *FEW, "--items", 1)
    assert [one["winner"] for one in found["against_first"]["new"]] == ["b", "b"]
    rows = page.tables["Scores of all: All items"][1:]
    assert rows[0][3].endswith("better")
    assert rows[1][3].endswith("better")
    turned, _ = reported(tmp_path / "turned.html", tmp_path / "new", tmp_path / "old", "--ref", ref, *FEW, "--items", 1)
    assert all(row[3].endswith("worse") for row in turned.tables["Scores of all: All items"][1:])


def test_a_broken_file_is_named_in_the_page_and_the_rest_goes_on(systems: Path, tmp_path: Path) -> None:
    folders = (systems / "old", systems / "new")
    page, found = reported(tmp_path / "page.html", *folders, "--ref", systems / "ref", *FEW, code=3)
    assert "Not scored: 1" in page.text
    assert re.search(r"new/t6.wav: cannot be decoded", page.text)
    heard = page.tables["Where each error is heard: All items"]
    assert [row[0] for row in heard[1:]] == [f"t{index}" for index in range(8)]
    assert heard[7][2] == "not scored"
    assert sum(file["error"] is None for file in found["files"]) == 15


def test_the_items_that_can_be_heard_are_the_worst_and_as_many_as_asked(systems: Path, tmp_path: Path) -> None:
    page, found = reported(tmp_path / "page.html", systems / "old", "--ref", systems / "ref", *FEW, "--items", 2)
    assert len(found["items"]) == 2
    assert found["items"][0] == "t3"
    assert [name for name in page.headings if re.fullmatch(r"t\d", name)] == found["items"]
    worst = {file["name"]: file["audible"]["db"] for file in found["files"]}
    assert sorted(worst, key=lambda name: -worst[name])[:2] == found["items"]
    assert "the others may sound better" in page.text
    assert "One system" not in page.text
    assert "8 items of one system, old" in page.text


def test_several_files_against_one_reference_are_versions_of_one_item(tmp_path: Path) -> None:
    ref = noise(0)
    path = write(tmp_path / "clean.wav", ref)
    est = [write(tmp_path / f"{name}.wav", ref + level * noise(1)) for name, level in (("one", 0.1), ("two", 0.3))]
    page, found = reported(tmp_path / "page.html", *est, "--ref", path, *FEW)
    assert found["items"] == ["clean"]
    assert page.tables["Scores: clean"][0] == ["Measure", "one.wav", "two.wav"]
    assert page.tables["Scores: clean"][1][1].endswith("best")
    assert page.tables["Scores: clean"][2][2].endswith("worst")


def test_a_long_recording_is_heard_around_its_worst_second_only(tmp_path: Path) -> None:
    ref = noise(0, samples=12 * RATE)
    est = ref.copy()
    est[8 * RATE : 9 * RATE] += noise(1, samples=RATE)
    paths = [write(tmp_path / f"{name}.wav", wave) for name, wave in (("e", est), ("r", ref))]
    page, found = reported(tmp_path / "page.html", paths[0], "--ref", paths[1], *FEW, "--seconds", 4)
    start = float(re.search(r'data-start="([\d.]+)"', (tmp_path / "page.html").read_text()).group(1))
    assert start == pytest.approx(6.5, abs=0.2)
    assert found["files"][0]["audible"]["start"] == pytest.approx(8, abs=0.2)
    assert f"Heard and seen here: {start:.1f} to {start + 4:.1f} s" in page.text


def test_silence_clipping_and_a_tenth_of_a_second_are_said_and_shown(tmp_path: Path) -> None:
    clipped = np.clip(30 * noise(0), -1, 1)
    short = noise(2)[:1600]
    waves = {
        "silent": (np.zeros_like(clipped), noise(1)),
        "clipped": (clipped, noise(0)),
        "short": (0.9 * short, short),
    }
    for name, (est, ref) in waves.items():
        write(tmp_path / "est" / f"{name}.wav", est)
        write(tmp_path / "ref" / f"{name}.wav", ref)
    page, found = reported(tmp_path / "page.html", tmp_path / "est", "--ref", tmp_path / "ref", *FEW)
    assert set(found["items"]) == set(waves)
    assert "the estimate is silent (digital silence)" in page.text
    assert "the estimate is clipped in" in page.text
    assert re.search(r"0.10 s at 16000 Hz", page.text)


def test_samples_that_are_no_numbers_are_warned_about(pair: tuple[Path, Path], tmp_path: Path) -> None:
    broken = noise(0)
    broken[100:103] = np.nan
    est = write(tmp_path / "broken.wav", broken)
    page, found = reported(tmp_path / "page.html", est, "--ref", pair[1], *FEW, code=3)
    assert "the estimate holds 3 samples that are NaN or infinite" in page.text
    assert found["files"][0]["scores"]["snr"] is None


@pytest.mark.parametrize(
    ("change", "option"),
    [({"samples": 4000}, "--trim"), ({"channels": 2}, "--mono"), ({"rate": 8000}, "--resample")],
)
def test_what_differs_is_refused_with_the_option_that_mends_it(
    pair: tuple[Path, Path], tmp_path: Path, change: dict[str, int], option: str
) -> None:
    rate = change.pop("rate", RATE)
    est = write(tmp_path / "other.wav", noise(0, **{"samples": RATE // 2 * rate // RATE, **change}), rate)
    refused = run("report", est, "--ref", pair[1], *FEW, "-o", tmp_path / "page.html")
    assert refused.exit_code == 3
    assert f"type {option}" in refused.stderr
    assert "no page was written" in refused.stderr
    assert not (tmp_path / "page.html").exists()
    page, _ = reported(tmp_path / "page.html", est, "--ref", pair[1], *FEW, option)
    assert "Where one would hear the error" in page.headings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "page.txt"), "needed is a name that ends in .html"),
        (("-o", "missing/page.html"), "there is no folder"),
        (("-m", "sdrr"), "did you mean"),
        (("--items", "0"), "x>=1"),
        (("--seconds", "0"), "x>=0.1"),
        (("--interferer", "nothing.wav"), "there is no such file"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_scored(
    pair: tuple[Path, Path], arguments: tuple[str, ...], words: str
) -> None:
    result = run("report", pair[0], "--ref", pair[1], *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_name_is_text_and_no_markup(tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("Windows has no such names")
    ref = noise(0)
    evil = "<img src=x onerror=alert(1)>"
    est = folder(tmp_path / "est", {evil: ref + 0.1 * noise(1), "b": ref})
    folder(tmp_path / "ref", {evil: ref, "b": ref})
    page, _ = reported(tmp_path / "page.html", est, "--ref", tmp_path / "ref", *FEW)
    assert "<img src=x" not in (tmp_path / "page.html").read_text()
    assert any("onerror" in heading for heading in page.headings)


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")

    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    result = run("report", pair[0], "--ref", pair[1], *FEW, "-o", page)
    assert result.exit_code == 2
    assert "cannot be written (No space left on device)" in result.stderr
    assert page.read_text() == "old"


def test_without_json_it_says_what_stands_out_and_where_the_page_is(pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = run("report", pair[0], "--ref", pair[1], *FEW, "-o", tmp_path / "page.html")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("a: ")
    assert re.fullmatch(rf"report: {re.escape(str(tmp_path / 'page.html'))} \([\d.]+ MB\)", lines[-1])


@pytest.mark.parametrize(
    "step", ["percloss.scoring.engine.evaluate", "percloss.report.look.audible", "percloss.report.page.encode"]
)
def test_ctrl_c_at_any_step_writes_nothing(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(step, interrupted)
    result = run("report", pair[0], "--ref", pair[1], *FEW, "-o", tmp_path / "page.html")
    assert result.exit_code == 130
    assert result.stderr == "percloss: interrupted: nothing was written\n"
    assert not result.stdout
    assert not list(tmp_path.glob("*.html")) + list(tmp_path.glob(".*"))


def test_measures_that_nobody_named_and_that_do_not_suit_are_no_rows_and_no_fault(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    page, found = reported(tmp_path / "page.html", pair[0], "--ref", pair[1])
    named = {row[0].splitlines()[0] for row in page.tables["Scores: a"][1:]}
    assert {"snr", "si_sdr", "mel"} <= named
    assert "si_sdr_i" not in named
    assert "needs the mixture" in found["left_out"]["si_sdr_i"]
    assert "needs the mixture" in page.text


def test_a_measure_that_was_named_and_has_no_value_is_a_fault(pair: tuple[Path, Path], tmp_path: Path) -> None:
    page, found = reported(tmp_path / "page.html", pair[0], "--ref", pair[1], "-m", "snr,si_sdr_i", code=3)
    assert "needs the mixture" in found["files"][0]["reasons"]["si_sdr_i"]
    assert page.tables["Scores: a"][2][1].startswith("–")


def test_all_takes_what_there_is(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("percloss.scoring.engine.TABLE", {"snr": "", "lsd": ""})
    _, found = reported(tmp_path / "page.html", pair[0], "--ref", pair[1], "-m", "all")
    assert [name for name in found["summary"] if name in ("snr", "lsd", "mel")] == ["snr", "lsd"]
