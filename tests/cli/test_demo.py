"""``percloss demo``: what a first visitor sees, that it is true, and that it comes from nowhere but the package."""

import json
import math
import re
import shlex
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

pytest.importorskip("click", reason="needs percloss[cli]")
pytest.importorskip("soundfile", reason="needs percloss[audio]")
pytest.importorskip("jinja2", reason="needs percloss[report]")

from click.testing import CliRunner, Result
from scipy.stats import spearmanr

import percloss
from percloss import demo
from percloss import measure as core
from percloss.cli import percloss as command
from percloss.degrade import FAMILIES
from percloss.errors import ArgumentError, MissingExtraError
from percloss.measures import TABLE
from percloss.report import Section, Version, Yardstick
from percloss.scoring import audio
from percloss.spec import Spec

FEW = ("mae", "snr", "si_sdr", "mel", "lsd", "snr_i", "pesq_wb", "stoi")


def run(*arguments: str, columns: int = 100) -> Result:
    result = CliRunner().invoke(command, ["demo", *arguments], env={"COLUMNS": str(columns)}, prog_name="percloss")
    assert not isinstance(result.exception, AssertionError), result.exception
    return result


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of measures that take no time, and of some that will be left out; and no coders."""
    monkeypatch.setattr(demo, "FAMILIES", {name: FAMILIES[name] for name in demo.CHOSEN})
    monkeypatch.setattr(demo, "catalogue", lambda: {name: TABLE[name] for name in FEW if name != "pesq_wb"})


class Ran(NamedTuple):
    """One run with all measures of the package; other tests may have registered more."""

    result: Result
    document: dict[str, Any]
    folder: Path
    dialled: list[Any]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("demo") / "out"
    dialled: list[Any] = []

    def refuse(_: socket.socket, address: Any) -> None:
        dialled.append(address)
        raise OSError("there is no network")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket.socket, "connect", refuse)
        patched.setattr(socket.socket, "connect_ex", refuse)
        patched.setattr(socket, "getaddrinfo", refuse)
        patched.setattr(demo, "catalogue", lambda: dict(TABLE))
        result = run("--quick", "--json", "--out", str(folder))
    assert result.exit_code == 0, result.output

    def strict(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    return Ran(result, json.loads(result.stdout, parse_constant=strict), folder, dialled)


def test_it_asks_the_network_for_nothing(ran: Ran) -> None:
    assert ran.dialled == []


def test_every_version_has_the_same_snr_and_nearly_the_same_si_sdr(ran: Ran) -> None:
    for clip in ran.document["clips"]:
        assert len(clip["versions"]) == 8
        for version in clip["versions"]:
            assert version["scores"]["snr"] == pytest.approx(10, abs=0.005)
            assert version["scores"]["si_sdr"] == pytest.approx(10, abs=0.6)


def test_the_perceptual_measures_spread_where_the_snr_stands_still(ran: Ran) -> None:
    for clip in ran.document["clips"]:
        assert clip["measures"]["snr"]["spread_white_noise_db"] < 0.1
        assert clip["measures"]["mel"]["spread_white_noise_db"] > 20


def test_each_measure_that_suits_is_taken_and_each_other_has_its_reason(ran: Ran) -> None:
    for clip in ran.document["clips"]:
        taken, left_out = set(clip["measures"]), set(clip["left_out"])
        assert taken | left_out == set(TABLE)
        assert not taken & left_out
        assert all(clip["left_out"].values())
        assert set(clip["signatures"]) == taken
    speech, song = ran.document["clips"]
    assert song["left_out"]["stoi"] == "a model of speech"
    assert "stoi" in speech["measures"] or "stoi" in speech["left_out"]
    assert "needs mix" in speech["left_out"]["si_sdr_i"]


def test_a_measure_of_somebody_else_joins_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(percloss.SNR):
        spec = replace(percloss.SNR.spec, name="mine")

    monkeypatch.setitem(core._registered, "mine", Mine)
    for given in demo.material(quick=True):
        assert isinstance(demo.suiting(given)[0]["mine"], Mine)


def test_the_best_and_the_worst_are_those_with_the_extreme_scores(ran: Ran) -> None:
    for clip in ran.document["clips"]:
        for name, measure in clip["measures"].items():
            scores = {version["name"]: version["scores"][name] for version in clip["versions"]}
            extremes = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
            best, worst = extremes if measure["better"] == "higher" else extremes[::-1]
            if measure["best"]:
                assert best in measure["best"]
                assert worst in measure["worst"]
            assert measure["spread"] == pytest.approx(max(scores.values()) - min(scores.values()))


def test_white_noise_is_where_its_own_ladder_says(ran: Ran) -> None:
    for clip in ran.document["clips"]:
        white = clip["versions"][0]
        assert white["name"] == "white_noise"
        assert len(white["white_noise_db"]) > 5
        assert all(place == pytest.approx(10, abs=0.01) for place in white["white_noise_db"].values())


def test_the_files_hold_what_was_scored(ran: Ran) -> None:
    for clip in ran.document["clips"]:
        ref = audio.read(ran.folder / clip["reference"])
        assert ref.sample_rate == clip["sample_rate"]
        for version in clip["versions"]:
            est = audio.read(ran.folder / version["file"])
            scores = percloss.evaluate(est.wave, ref.wave, ref.sample_rate, ["snr", "mrstft"])
            assert scores["snr"].item() == pytest.approx(version["scores"]["snr"], abs=1e-3)
            assert scores["mrstft"].item() == pytest.approx(version["scores"]["mrstft"], rel=1e-2, abs=1e-3)


def test_the_report_is_there_and_names_the_line_that_makes_it_again(ran: Ran) -> None:
    page = (ran.folder / ran.document["report"]).read_text(encoding="utf-8")
    assert "percloss demo --snr 10 --seed 0 --quick" in page
    assert all(clip["seen"].split(".")[0] in page for clip in ran.document["clips"])


def test_data_are_on_stdout_and_messages_on_stderr(ran: Ran) -> None:
    assert ran.result.stdout.startswith("{")
    assert "percloss: speech: spoiling and scoring it" in ran.result.stderr
    assert "left out" in ran.result.stderr


@pytest.mark.parametrize("which", [0, 1])
def test_the_lines_to_try_next_work(few: None, tmp_path: Path, which: int) -> None:
    out = tmp_path / "a folder"
    said = run("--quick", "--out", str(out)).stderr
    lines = [shlex.split(line) for line in said.splitlines() if line.startswith("  percloss ")]
    assert [line[1] for line in lines] == ["score", "info", "demo"]
    result = CliRunner().invoke(command, lines[which][1:], prog_name="percloss")
    assert result.exit_code == 0, result.output
    assert "si_sdr" in result.stdout


@pytest.mark.parametrize("columns", [80, 100])
def test_the_tables_fit_the_window(few: None, tmp_path: Path, columns: int) -> None:
    result = run("--quick", "--out", str(tmp_path), columns=columns)
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if not line.startswith("report: ")]
    assert max(map(len, rows)) <= columns
    assert "…" not in result.stdout
    assert "\x1b" not in result.stdout
    assert f"report: {tmp_path / 'report.html'}" in result.stdout.splitlines()


def test_the_table_marks_best_and_worst_without_colour(few: None, tmp_path: Path) -> None:
    shown = run("--quick", "--out", str(tmp_path)).stdout.partition("Song:")[0].splitlines()
    delay, low_pass, snr = (
        next(line.split() for line in shown if line.startswith(name)) for name in ("Delay", "Low", "spr")
    )
    assert delay[1] == low_pass[1] == "10.00"
    assert sum(cell.endswith("*") for cell in delay) >= 2
    assert sum(cell.endswith("!") for cell in low_pass) >= 2
    assert snr[1] == "0"


def test_the_same_seed_gives_the_same_report_and_another_seed_another(few: None, tmp_path: Path) -> None:
    def made(name: str, *options: str) -> list[dict[str, float]]:
        result = run("--quick", "--json", "--out", str(tmp_path / name), *options)
        return [version["scores"] for clip in json.loads(result.stdout)["clips"] for version in clip["versions"]]

    first, again, other = made("a"), made("b"), made("c", "--seed", "1")
    assert first == again
    assert first != other
    pages = [(tmp_path / name / "report.html").read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_the_full_report_is_under_five_megabytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "catalogue", lambda: {name: TABLE[name] for name in ("snr", "mae")})
    result = run("--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert 1e6 < (tmp_path / "report.html").stat().st_size < 5e6


def test_a_measure_whose_extra_is_missing_is_left_out_with_the_pip_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str, *, sample_rate: int) -> Any:
        if name == "mel":
            raise MissingExtraError('ear: not installed; it comes with: pip install "percloss[ear]"')
        return percloss.create(name, sample_rate=sample_rate)

    monkeypatch.setattr(demo, "catalogue", lambda: {name: TABLE[name] for name in ("snr", "mel")})
    monkeypatch.setattr(demo, "create", missing)
    result = run("--quick", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert (
        'percloss: speech: left out mel: ear: not installed; it comes with: pip install "percloss[ear]"'
        in result.stderr
    )


@pytest.mark.parametrize("snr", ["0", "41", "nan", "-inf"])
def test_a_ratio_out_of_reach_is_refused(few: None, tmp_path: Path, snr: str) -> None:
    result = run("--quick", "--out", str(tmp_path), "--snr", snr)
    assert result.exit_code == 2
    assert "needed is 1 to 40; type --snr 10" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("snr_db", demo.SNR_DB)
def test_both_ends_of_what_may_be_asked_for_are_reached(few: None, snr_db: float) -> None:
    for given in demo.material(quick=True):
        section = demo.study(given, snr_db=snr_db)
        assert all(version.scores["snr"] == pytest.approx(snr_db, abs=0.011) for version in section.versions)


def test_a_folder_that_is_a_file_is_refused(few: None, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    for name in ("taken", "taken/inside"):
        result = run("--quick", "--out", str(tmp_path / name))
        assert result.exit_code == 2
        assert "Traceback" not in result.output
        assert "taken" in result.stderr


def test_without_the_report_extra_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(module: str, *, extra: str) -> Any:
        raise MissingExtraError(f'{module}: not installed; it comes with: pip install "percloss[{extra}]"')

    monkeypatch.setattr(demo, "require", missing)
    result = run("--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "pip install" in result.stderr
    assert not (tmp_path / "out").exists()


def test_all_families_are_at_exactly_one_ratio_and_the_models_set_them_apart(ran: Ran) -> None:
    scores = ran.document["families"]["scores"]
    assert set(scores) | set(ran.document["families"]["left_out"]) >= set(FAMILIES)
    assert len(scores) >= 18
    for values in scores.values():
        assert values["snr"] == pytest.approx(10, abs=0.005)
    pesq = next(name for name in ("pesq_wb", "pesq_like") if name in scores["gain"])
    for name, spread in ((pesq, 3.0), ("stoi", 0.1)):
        column = [values[name] for values in scores.values()]
        assert max(column) - min(column) > spread


def test_the_ranking_by_si_sdr_is_not_that_of_the_models(ran: Ran) -> None:
    found = ran.document["families"]["correlations"]
    assert {"stoi"} < set(found)
    for one in found.values():
        low, high = one["ci95"]
        assert -1 <= low <= one["spearman"] <= high <= 1
        assert abs(one["spearman"]) < 0.5


def test_the_families_and_the_correlation_are_printed_with_its_interval(few: None, tmp_path: Path) -> None:
    shown = run("--quick", "--out", str(tmp_path)).stdout
    rows = {line.split("  ")[0] for line in shown.partition("families, all at 10 dB SNR")[2].splitlines()}
    assert {"White noise", "Reverberation", "Delay"} <= rows
    said = re.findall(
        r"^rank correlation of si_sdr with (\w+): ([+-]\d.\d\d), 95 % interval (\S+) to (\S+)$", shown, re.M
    )
    assert len(said) >= 2
    assert said[0][0] in ("pesq_wb", "pesq_like")


def test_where_pesq_is_missing_its_likeness_is_compared_and_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *, sample_rate: int) -> Any:
        if name in ("pesq_wb", "two_f"):
            raise MissingExtraError(f"{name}: not installed.")
        return percloss.create(name, sample_rate=sample_rate)

    monkeypatch.setattr(demo, "create", missing)
    monkeypatch.setattr(
        demo, "FAMILIES", {name: FAMILIES[name] for name in ("white_noise", "gain", "delay", "clipping")}
    )
    found = demo.compared(demo.material(quick=True)[0])
    assert [one.model for one in found.correlations] == ["pesq_like", "stoi"]
    assert found.left_out == {"pesq_wb": "pesq_wb: not installed.", "two_f": "two_f: not installed."}


def test_a_family_that_does_not_reach_the_ratio_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = demo.material(quick=True)[0]
    steady = steady._replace(wave=torch.sin(torch.arange(16_000) / 4)[None, None])
    monkeypatch.setattr(demo, "FAMILIES", {name: FAMILIES[name] for name in ("white_noise", "temporal_smear")})
    monkeypatch.setattr(demo, "MODELS", (("lsd",),))
    found = demo.compared(steady)
    assert set(found.scores) == {"white_noise"}
    assert "temporal_smear reaches from" in found.left_out["temporal_smear"]
    assert math.isnan(found.correlations[0].rho)


def test_a_rank_correlation_is_spearmans_and_its_interval_holds_it() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(30, generator=generator)
    b = (a + torch.randn(30, generator=generator)).tolist()
    rho, low, high = demo.rank_correlation(a.tolist(), b)
    assert rho == pytest.approx(spearmanr(a, b).statistic, abs=1e-6)
    assert low < rho < high
    assert (rho, low, high) == demo.rank_correlation([math.exp(x) for x in a.tolist()], b)
    # Fisher's interval, for an order of magnitude: 1.96 / sqrt(27) on the scale of arctanh.
    assert math.atanh(high) - math.atanh(low) == pytest.approx(2 * 1.96 / math.sqrt(27), rel=0.3)


@pytest.mark.parametrize(("a", "b"), [([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), ([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])])
def test_too_few_or_equal_values_have_no_rank_correlation(a: list[float], b: list[float]) -> None:
    assert all(math.isnan(value) for value in demo.rank_correlation(a, b))


def test_values_that_are_missing_are_left_out_of_a_rank_correlation() -> None:
    assert demo.rank_correlation([1.0, 2.0, 3.0, 4.0, math.nan], [2.0, 3.0, 4.0, 5.0, 0.0])[0] == 1.0


STEPS = [0.0, 10.0, 20.0]


@pytest.mark.parametrize(
    ("scores", "ladder", "sign", "places"),
    [
        ([2.0, 2.5], [1.0, 2.0, 3.0], -1, [10.0, 15.0]),
        ([2.0, 1.5], [3.0, 2.0, 1.0], 1, [10.0, 15.0]),
        ([0.0, 9.0], [1.0, 2.0, 3.0], -1, [0.0, 20.0]),
        ([2.0], [3.0, 2.0, 1.0], -1, []),
        ([2.0], [1.0, 3.0, 2.0], -1, []),
        ([2.0], [1.0, 1.0, 1.0], -1, []),
        ([math.nan], [1.0, 2.0, 3.0], -1, []),
        ([2.0], [1.0, math.nan, 3.0], -1, []),
        ([2.0], [1.01, 1.0, 3.0], -1, [15.0]),
    ],
    ids=["higher", "lower", "ends", "wrong way", "bent", "deaf", "no score", "no step", "saturated"],
)
def test_a_score_is_placed_where_white_noise_would_have_it(
    scores: list[float], ladder: list[float], sign: int, places: list[float]
) -> None:
    assert demo.equivalents(scores, ladder, STEPS, sign) == pytest.approx(places, abs=0.06)


def a_section(places: dict[str, dict[str, float]]) -> Section:
    """Versions whose score by each measure is their place on the yardstick."""
    names = list(next(iter(places.values())))
    wave = torch.zeros(1, 1, 1)
    versions = [
        Version(name, name.title(), "", wave, {measure: values[name] for measure, values in places.items()})
        for name in names
    ]
    bounds = (-math.inf, math.inf)
    specs = {
        name: Spec(name=name, title=name, unit="dB", better="higher", bounds=bounds, perfect=None) for name in places
    }
    yardstick = Yardstick("Place", "dB", -10.0, 50.0, 10.0, places)
    return Section("a", "A", "", 16_000, wave, versions, specs, yardstick=yardstick)


SNR = {"buzz": 10.0, "hum": 10.0}


def test_what_is_seen_says_where_measures_agree_with_the_snr_too() -> None:
    same, far = {"buzz": 10.0, "hum": 11.5}, {"buzz": 5.0, "hum": 30.0}
    assert demo.seen(a_section({"snr": SNR, "same": same, "far": far})) == (
        "2 versions, all at 10 dB SNR. same agrees with it: best and worst version lie at most 1.5 dB apart. "
        "The other measure does not: 25 dB of white noise (far) lie between their best and their worst. "
        "Best is hum for all, worst is buzz for all."
    )


def test_what_is_seen_counts_the_measures_that_disagree_with_each_other() -> None:
    places = {
        "snr": SNR,
        "one": {"buzz": 5.0, "hum": 50.0},
        "two": {"buzz": 20.0, "hum": 40.0},
        "three": {"buzz": 40.0, "hum": 30.0},
    }
    assert demo.seen(a_section(places)) == (
        "2 versions, all at 10 dB SNR. The other 3 measures do not: from 10 dB of white noise (three) to 45 dB or more "
        "(one) lie between their best and their worst. Best is hum for 2 and buzz for 1, worst is buzz for 2 and hum "
        "for 1."
    )


def test_where_all_measures_agree_with_the_snr_it_says_so() -> None:
    seen = demo.seen(a_section({"snr": SNR, "same": {"buzz": 10.0, "hum": 12.0}}))
    assert seen.endswith("No measure sets them further apart.")


def test_what_is_seen_needs_a_yardstick() -> None:
    with pytest.raises(ArgumentError, match="study"):
        demo.seen(replace(a_section({"snr": SNR}), yardstick=None))
