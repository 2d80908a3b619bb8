"""``percloss score``: which files are compared, what comes of each, and what the exit code says."""

import csv
import io
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import percloss.measure
import percloss.scoring.engine
from percloss.measures import TABLE
from percloss.scoring import USUAL
from percloss.scoring.engine import Recipe
from tests.alone import Level
from tests.cli.support import RATE, SAMPLES, folder, noise, plain, run, scored, snr, strict, write


def test_of_200_files_5_broken_ones_are_named_and_195_are_scored(corpus) -> None:
    result = run("score", corpus.est, "--ref", corpus.ref, "-m", "snr,mrstft", "--jobs", 1)
    assert result.exit_code == 3
    rows = list(csv.DictReader(io.StringIO(result.stdout), delimiter="\t"))
    assert len(rows) == 200
    done = [row for row in rows if row["snr"] and row["mrstft"] and not row["error"]]
    assert len(done) == 195
    failed = {row["est"]: row["error"] for row in rows if row["error"]}
    assert {path.removeprefix(f"{corpus.est}/").removesuffix(".wav") for path in failed} == corpus.broken
    for path, why in failed.items():
        assert why.startswith(f"{path}: ")
        assert f"percloss: error: {why}" in result.stderr
    assert "5 of 200; 195 scored" in result.stderr
    assert "Traceback" not in result.stderr


def test_two_processes_give_the_same_numbers_as_one(corpus) -> None:
    options = (corpus.est, "--ref", corpus.ref, "-m", "snr,mrstft,mel")
    alone, together = (scored(*options, "--jobs", jobs, code=3) for jobs in (1, 2))
    assert plain(alone) == plain(together)


def test_files_are_paired_by_name_and_never_by_position(tmp_path: Path) -> None:
    refs = {name: noise(seed) for seed, name in enumerate(("a", "b", "c"))}
    folder(tmp_path / "ref", {f"deep/{name}": wave for name, wave in refs.items()})
    # One is missing and one is too much, so that a pairing by position would shift all that follow.
    ests = {"b": refs["b"] + 0.1 * noise(7), "c": refs["c"] + 0.01 * noise(8), "d": noise(9)}
    folder(tmp_path / "est", {f"deep/{name}": wave for name, wave in ests.items()}, suffix=".flac")
    found = scored(tmp_path / "est", "--ref", tmp_path / "ref", "-m", "snr", code=3)
    values = {file["name"]: file["scores"]["snr"] for file in found["files"]}
    assert values["deep/b"] == pytest.approx(20, abs=0.3)
    assert values["deep/c"] == pytest.approx(40, abs=0.3)
    errors = {file["name"]: file["error"] for file in found["files"] if file["error"]}
    assert errors.keys() == {"deep/a", "deep/d"}
    assert "no estimate is named deep/a" in errors["deep/a"]
    assert "no reference is named deep/d" in errors["deep/d"]


def test_a_folder_without_any_pair_is_refused_with_names_of_both_sides(tmp_path: Path) -> None:
    est, ref = folder(tmp_path / "est", {"x1": noise(0)}), folder(tmp_path / "ref", {"y1": noise(1)})
    result = run("score", est, "--ref", ref)
    assert result.exit_code == 2
    assert "Estimates: x1. References: y1." in result.stderr
    assert "--pairs" in result.stderr


def test_a_file_is_paired_with_its_name_in_a_folder(pair, tmp_path: Path) -> None:
    write(tmp_path / "ref" / "other.wav", noise(3))
    found = scored(pair[0], "--ref", pair[1].parent, "-m", "snr")
    assert [file["ref"] for file in found["files"]] == [str(pair[1])]
    assert found["systems"].keys() == {"est"}


def test_several_files_against_one_reference_are_several_systems(pair, tmp_path: Path) -> None:
    other = write(tmp_path / "b" / "a.wav", noise(5))
    found = scored(pair[0], other, "--ref", pair[1], "-m", "snr")
    assert list(found["systems"]) == ["est/a.wav", "b/a.wav"]
    assert found["summary"]["snr"]["n"] == 2


@pytest.mark.parametrize(
    ("change", "flag", "words"),
    [
        ({"rate": 48_000}, "--resample", "est 48000 Hz, ref 16000 Hz"),
        ({"samples": SAMPLES - 10}, "--trim", f"est {SAMPLES - 10} samples, ref {SAMPLES} samples"),
        ({"channels": 2}, "--mono", "est 2, ref 1"),
    ],
)
def test_files_that_differ_are_an_error_that_names_what_mends_it(tmp_path: Path, change, flag, words) -> None:
    rate = change.pop("rate", RATE)
    wave = noise(0, **{"samples": SAMPLES * rate // RATE, **change})
    est, ref = write(tmp_path / "est.wav", wave, rate), write(tmp_path / "ref.wav", noise(0))
    (file,) = scored(est, "--ref", ref, "-m", "snr", code=3)["files"]
    assert file["scores"] == {"snr": None}
    assert words in file["error"]
    assert flag in file["error"]
    # Before the files, too, where the flag must not take one of them for its value.
    (file,) = scored(flag, est, "--ref", ref, "-m", "snr")["files"]
    assert file["error"] is None
    assert file["sample_rate"] == RATE


def test_a_resampled_number_says_so_in_its_signature(tmp_path: Path) -> None:
    est, ref = (write(tmp_path / f"{name}.wav", noise(1, samples=RATE), 32_000) for name in ("est", "ref"))
    found = scored(est, "--ref", ref, "-m", "si_sdr", "--resample", RATE)
    assert found["signatures"]["si_sdr"].startswith("si_sdr|sr:16000|rs:soxr-hq|v:percloss")


def test_a_large_cut_is_warned_about(tmp_path: Path) -> None:
    est, ref = write(tmp_path / "est.wav", noise(0, samples=2 * SAMPLES)), write(tmp_path / "ref.wav", noise(0))
    result = run("score", est, "--ref", ref, "-m", "snr", "--trim")
    assert "est was cut by 0.50 s, 50% of it" in result.stderr


def test_a_measure_that_was_asked_for_and_does_not_fit_is_null_with_its_reason(tmp_path: Path) -> None:
    est, ref = (write(tmp_path / f"{name}.wav", noise(1, samples=48_000), 48_000) for name in ("est", "ref"))
    result = run("score", est, "--ref", ref, "-m", "snr,pesq_wb", "--json")
    assert result.exit_code == 3
    (file,) = strict(result.stdout)["files"]
    assert file["scores"] == {"snr": 140.0, "pesq_wb": None}
    assert "--resample 16000" in file["reasons"]["pesq_wb"]
    assert f"missing: pesq_wb: {file['reasons']['pesq_wb']}: {est}" in result.stderr


def test_a_measure_that_nobody_asked_for_is_left_out_with_its_reason(tmp_path: Path) -> None:
    est, ref = (write(tmp_path / f"{name}.wav", noise(1, samples=48_000), 48_000) for name in ("est", "ref"))
    result = run("score", est, "--ref", ref, "--json")
    assert result.exit_code == 0, result.stderr
    found = strict(result.stdout)
    assert "si_sdr" in found["summary"]
    assert not found["summary"].keys() & {"pesq_wb", "si_sdr_i"}
    assert "--mix" in found["left_out"]["si_sdr_i"]
    (line,) = (line for line in result.stderr.splitlines() if "left out" in line)
    assert "pesq_wb" in line
    assert "(defined at 16000 Hz only, got 48000: --resample 16000)" in line


def test_where_no_measure_is_named_a_dozen_quick_ones_are_taken_that_suit(pair) -> None:
    """Half a second of noise has all of them; measures that would find it too short are not among them."""
    found = scored(pair[0], "--ref", pair[1])
    taken = [*found["summary"], *found["left_out"]]
    assert sorted(taken) == sorted(USUAL)
    assert found["left_out"].keys() == {"si_sdr_i"}
    assert all(one["n"] == 1 for one in found["summary"].values())


def test_each_of_the_usual_measures_takes_single_files() -> None:
    specs = [percloss.measure.find(name).spec for name in USUAL]
    assert not any(spec.several or spec.alone for spec in specs)
    assert {name for name, spec in zip(USUAL, specs, strict=True) if spec.needs} == {"si_sdr_i"}


def test_all_are_taken_on_request(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("snr", "bark", "bss_sdr")
    monkeypatch.setattr(percloss.scoring.engine, "TABLE", {name: TABLE[name] for name in names})
    found = scored(pair[0], "--ref", pair[1], "-m", "all")
    assert list(found["summary"]) == ["snr", "bark"]
    assert list(found["left_out"]) == ["bss_sdr"]
    assert Recipe(every=True).names == names
    assert Recipe(measures=()).names == ()


def test_a_missing_extra_costs_its_measure_only(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    (file,) = scored(pair[0], "--ref", pair[1], "-m", "snr,pesq_wb", code=3)["files"]
    assert file["scores"]["snr"] == pytest.approx(20, abs=0.3)
    assert 'pip install "percloss[speech]"' in file["reasons"]["pesq_wb"]
    assert "pesq_wb" not in scored(pair[0], "--ref", pair[1])["summary"]
    alone = run("score", pair[0], "--ref", pair[1], "-m", "pesq_wb")
    assert alone.exit_code == 2
    assert 'pip install "percloss[speech]"' in alone.stderr


def test_an_improvement_without_a_mixture_is_a_usage_error(pair) -> None:
    result = run("score", pair[0], "--ref", pair[1], "-m", "si_sdr_i")
    assert result.exit_code == 2
    assert "--mix" in result.stderr


def test_stereo_is_the_mean_over_channels_and_says_so(tmp_path: Path) -> None:
    ref = noise(0, channels=2)
    est = ref + noise(1, channels=2) * [0.1, 0.01]
    paths = write(tmp_path / "est.wav", est), "--ref", write(tmp_path / "ref.wav", ref)
    found = scored(*paths, "-m", "snr,si_sdr")
    assert found["files"][0]["channels"] == 2
    assert found["files"][0]["scores"]["snr"] == pytest.approx(snr(est, ref), abs=1e-4)
    assert "|ch:mean|" in found["signatures"]["si_sdr"]


def test_a_silent_channel_has_no_mean_and_is_named(tmp_path: Path) -> None:
    ref = noise(0, channels=2) * [1, 0]
    est = write(tmp_path / "est.wav", noise(1, channels=2))
    (file,) = scored(est, "--ref", write(tmp_path / "ref.wav", ref), "-m", "snr,mae", code=3)["files"]
    assert file["scores"]["snr"] is None
    assert file["scores"]["mae"] is not None
    assert file["reasons"] == {"snr": "channel 2: reference is silent"}


def test_a_score_without_a_value_is_null_and_never_nan(tmp_path: Path) -> None:
    broken = noise(0)
    broken[5] = math.nan
    folder(tmp_path / "ref", {"silent": 0 * noise(0), "broken": noise(0), "same": noise(0)})
    folder(tmp_path / "est", {"silent": noise(1), "broken": broken, "same": noise(0)})
    found = scored(tmp_path / "est", "--ref", tmp_path / "ref", "-m", "snr,pesq_wb", code=3)
    by_name = {file["name"]: file for file in found["files"]}
    assert by_name["silent"]["reasons"]["snr"] == "reference is silent"
    assert by_name["broken"]["reasons"]["snr"] == "estimate has samples that are not finite"
    assert by_name["same"]["scores"]["snr"] == 140.0
    assert found["summary"]["snr"] == {"mean": 140.0, "ci95": None, "n": 1}


def test_a_clip_shorter_than_the_window_loses_that_measure_only(tmp_path: Path) -> None:
    est, ref = (write(tmp_path / f"{name}.wav", noise(seed, samples=100)) for seed, name in enumerate(("est", "ref")))
    (file,) = scored(est, "--ref", ref, "-m", "snr,mrstft", code=3)["files"]
    assert file["scores"]["snr"] is not None
    assert "samples" in file["reasons"]["mrstft"]


def test_what_spoils_a_comparison_is_warned_about(tmp_path: Path) -> None:
    ref = noise(0)
    est, ref = write(tmp_path / "est.wav", -np.roll(ref, 40, 0)), write(tmp_path / "ref.wav", ref)
    result = run("score", est, "--ref", ref, "-m", "snr", "--json")
    assert result.exit_code == 0
    (file,) = strict(result.stdout)["files"]
    assert {warning["kind"]: warning["value"] for warning in file["warnings"]} == {"delay": 40, "polarity": 1}
    assert f"percloss: warning: {est}: the estimate lags the reference by 40 samples" in result.stderr
    assert "warning" not in run("score", est, "--ref", ref, "-m", "snr", "--quiet").stderr


def test_stems_of_tracks_are_scored_against_their_mixture(tmp_path: Path) -> None:
    names = [f"{track}/{stem}" for track in ("one", "two") for stem in ("bass", "vocals")]
    stems = {name: noise(seed) for seed, name in enumerate(names)}
    mixtures = {f"{track}/mixture": stems[f"{track}/bass"] + stems[f"{track}/vocals"] for track in ("one", "two")}
    ests = {name: wave + 0.1 * noise(9) for name, wave in stems.items()}
    truth = folder(tmp_path / "truth", {**stems, **mixtures})
    est = folder(tmp_path / "est", ests)
    found = scored(est, "--ref", truth, "--mix", truth, "-m", "snr,snr_i")
    assert len(found["files"]) == 4
    for file in found["files"]:
        name = file["name"]
        expected = snr(ests[name], stems[name]) - snr(mixtures[f"{name.split('/')[0]}/mixture"], stems[name])
        assert file["scores"]["snr_i"] == pytest.approx(expected, abs=1e-3)
        assert file["stem"] == name.split("/")[1]
    assert {stem: one["snr"]["n"] for stem, one in found["systems"]["est"]["stems"].items()} == {"bass": 2, "vocals": 2}


@pytest.mark.parametrize(("required", "code"), [("snr=19", 0), ("snr=21", 1), ("mae=0.02", 0), ("mae=0.001", 1)])
def test_a_requirement_is_in_the_direction_of_better(pair, required: str, code: int) -> None:
    found = scored(pair[0], "--ref", pair[1], "-m", "snr,mae", "--require", required, code=code)
    assert [check["passed"] for check in found["checks"]] == [code == 0]


def test_a_failed_requirement_is_said(pair) -> None:
    result = run("score", pair[0], "--ref", pair[1], "-m", "snr", "--require", "snr=30")
    assert "snr of a.wav is 2" in result.stderr
    assert "required is 30 or better" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-m", "si_sdrr"], "did you mean 'si_sdr'?"),
        (["-m", ","], "got no name"),
        (["-m", "all,snr"], "got all and names"),
        (["--resample", "12"], "--resample 16000"),
        (["--resume"], "-o FILE"),
        (["--require", "snr"], "NAME=VALUE"),
        (["--require", "snr=nan"], "NAME=VALUE"),
        (["--require", "lsd=1", "-m", "snr"], "-m snr,lsd"),
        (["-o", "scores.xlsx"], ".parquet"),
        (["-o", "nowhere/scores.csv"], "there is no folder nowhere"),
        (["--pairs", "pairs.tsv"], "one of them"),
        (["--mix", "nowhere"], "no such file or folder"),
        (["--jobs", "0"], "--jobs"),
        (["--oops"], "No such option"),
    ],
)
def test_what_was_typed_wrong_is_said_in_one_line(pair, options: list[str], words: str) -> None:
    result = run("score", pair[0], "--ref", pair[1], *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("percloss: error: ")
    assert words in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named(pair) -> None:
    result = run("score", pair[0], "--ref", pair[1], "--device", "cuda")
    assert result.exit_code == 2
    assert "type --device cpu" in result.stderr
    assert scored(pair[0], "--ref", pair[1], "-m", "mae", "--device", "auto")["files"][0]["error"] is None


def test_without_a_reference_it_says_what_is_needed(pair) -> None:
    result = run("score", pair[0])
    assert result.exit_code == 2
    assert "--ref" in result.stderr


def test_pairs_come_from_a_list_on_standard_input(pair) -> None:
    found = scored("--pairs", "-", "-m", "snr", stdin=f"ref\test\tsystem\n{pair[1]}\t{pair[0]}\tmine\n")
    assert found["files"][0]["scores"]["snr"] == pytest.approx(20, abs=0.3)
    assert list(found["systems"]) == ["mine"]


# --- without a reference --------------------------------------------------------------------------------------------


@pytest.fixture
def level(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a measure that takes no reference."""
    monkeypatch.setitem(percloss.measure._registered, "level", Level)
    return "level"


def test_estimates_are_scored_without_a_reference_by_a_measure_that_takes_none(tmp_path: Path, level: str) -> None:
    est = folder(tmp_path / "est", {"deep/a": noise(0), "b": 0.1 * noise(1)})
    found = scored(est, "-m", level)
    values = {file["name"]: file["scores"]["level"] for file in found["files"]}
    assert values == {"b": pytest.approx(-40, abs=0.3), "deep/a": pytest.approx(-20, abs=0.3)}
    assert all(file["ref"] is None and not file["warnings"] for file in found["files"])
    assert found["systems"].keys() == {"est"}
    rows = list(csv.DictReader(io.StringIO(run("score", est, "-m", level).stdout), delimiter="\t"))
    assert [row["ref"] for row in rows] == ["", ""]


def test_files_without_a_reference_belong_to_their_folder(tmp_path: Path, level: str) -> None:
    files = [write(tmp_path / system / "a.wav", noise(seed)) for seed, system in enumerate("xy")]
    found = scored(*files, "-m", level)
    assert [(file["system"], file["name"]) for file in found["files"]] == [("x", "a"), ("y", "a")]


def test_with_a_reference_both_kinds_stand_in_one_table(pair, level: str) -> None:
    (file,) = scored(pair[0], "--ref", pair[1], "-m", f"snr,{level}")["files"]
    assert file["scores"] == {"snr": pytest.approx(20, abs=0.3), "level": pytest.approx(-20, abs=0.3)}


def test_measures_that_need_a_reference_are_named_where_there_is_none(pair, level: str) -> None:
    result = run("score", pair[0], "-m", f"snr,{level},mel")
    assert result.exit_code == 2
    line = "got no reference, which snr, mel need; type --ref PATH, or leave them out: -m level."
    assert line in result.stderr
    alone = run("score", pair[0], "-m", "snr")
    assert alone.exit_code == 2
    assert "got no reference, which snr needs; type --ref PATH.\n" in alone.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "needed is one, as in: percloss score enhanced/ --ref clean/, or measures that take none"),
        (["-m", "level", "--mix", "."], "got --mix and no reference"),
        (["-m", "level", "--museval", "out"], "got --museval and no reference"),
        (["-m", "level", "--resample"], "got --resample without a rate"),
    ],
)
def test_what_makes_no_sense_without_a_reference_is_a_usage_error(pair, level: str, options, words: str) -> None:
    result = run("score", pair[0], *options)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_rate_to_score_at_needs_no_reference(tmp_path: Path, level: str) -> None:
    est = write(tmp_path / "est.wav", noise(1, samples=48_000), 48_000)
    found = scored(est, "-m", level, "--resample", RATE)
    assert found["signatures"]["level"].startswith("level|sr:16000|rs:soxr-hq|")


def test_silence_and_broken_samples_without_a_reference_are_named(tmp_path: Path, level: str) -> None:
    broken = noise(0, channels=2)
    broken[5, 1] = math.nan
    est = folder(tmp_path / "est", {"broken": broken, "silent": 0 * noise(0)})
    found = scored(est, "-m", level, code=3)
    reasons = {file["name"]: file["reasons"]["level"] for file in found["files"]}
    assert reasons == {
        "broken": "channel 2: estimate has samples that are not finite",
        "silent": "estimate is silent",
    }
    kinds = {file["name"]: [warning["kind"] for warning in file["warnings"]] for file in found["files"]}
    assert kinds == {"broken": ["nonfinite"], "silent": ["silence"]}
