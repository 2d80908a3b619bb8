"""``percloss compare``: which of two systems is better on which measure, and whether the data can tell."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from percloss.uncertainty import fewest, holm, paired
from tests.cli.support import RATE, folder, noise, plain, run, strict, write

SCHEMA = json.loads((resources.files("percloss.scoring") / "schema-compare.json").read_text())


def compared(*arguments: object, code: int = 0) -> Any:
    """The document of ``percloss compare ARGUMENTS --json``."""
    result = run("compare", *arguments, "--json")
    assert result.exit_code == code, result.stderr
    return strict(result.stdout)


def by_measure(found: Any) -> dict[str, Any]:
    return {one["measure"]: one for one in found["comparisons"]}


class Systems:
    """Folders of estimates and references; noise of a level of its own in each file."""

    def __init__(self, root: Path, count: int = 12) -> None:
        self.root, self.names = root, [f"t{index // 3}/{index:02d}" for index in range(count)]
        self.refs = {name: noise(index) for index, name in enumerate(self.names)}
        self.ref = folder(root / "ref", self.refs)

    def add(self, system: str, *, level: float = 0.1, spread: float = 0.0, seed: int = 100) -> Path:
        levels = level * np.exp(spread * np.random.default_rng(seed).standard_normal(len(self.names)))
        waves = {
            name: self.refs[name] + own * noise(seed + index)
            for index, (name, own) in enumerate(zip(self.names, levels, strict=True))
        }
        return folder(self.root / system, waves)


@pytest.fixture
def systems(tmp_path: Path) -> Systems:
    return Systems(tmp_path)


def test_the_better_system_is_named_in_the_direction_of_each_measure(systems) -> None:
    old, new = systems.add("old"), systems.add("new", level=0.05, spread=0.1, seed=200)
    found = compared(old, new, "--ref", systems.ref, "-m", "snr,mae")
    assert found["systems"] == {"a": "old", "b": "new"}
    assert found["items"] == 12
    for name, sign in (("snr", 1), ("mae", -1)):
        one = by_measure(found)[name]
        assert one["winner"] == "b"
        assert one["verdict"] == "new better"
        assert sign * one["difference"] > 0
        assert one["ci95"][0] < one["difference"] < one["ci95"][1]
        assert one["difference"] == pytest.approx(one["b"] - one["a"])
    assert by_measure(found)["snr"]["difference"] == pytest.approx(6, abs=0.5)
    turned = by_measure(compared(new, old, "--ref", systems.ref, "-m", "snr,mae"))
    assert [turned[name]["winner"] for name in ("snr", "mae")] == ["a", "a"]
    assert turned["snr"]["verdict"] == "new better"


def test_as_far_off_either_way_is_a_difference_and_nobody_wins(systems) -> None:
    softer, louder = (
        folder(systems.root / name, {each: gain * wave for each, wave in systems.refs.items()})
        for name, gain in (("softer", 0.5), ("louder", 2.0))
    )
    one = by_measure(compared(softer, louder, "--ref", systems.ref, "-m", "level_difference"))["level_difference"]
    assert one["difference"] == pytest.approx(12.04, abs=0.01)
    assert one["winner"] is None
    assert one["verdict"] == "they differ, and nearer to 0 is better"


def test_its_numbers_are_those_of_the_paired_function(systems) -> None:
    old, new = systems.add("old", spread=0.2), systems.add("new", level=0.095, spread=0.2, seed=200)
    found = compared(old, new, "--ref", systems.ref, "-m", "snr,mae,lsd")
    scores = {
        name: [
            np.array([file["scores"][name] for file in found["files"] if file["system"] == system])
            for system in ("old", "new")
        ]
        for name in ("snr", "mae", "lsd")
    }
    expected = {name: paired(a, b, comparisons=3) for name, (a, b) in scores.items()}
    for (name, one), p in zip(expected.items(), holm(np.array([one.p for one in expected.values()])), strict=True):
        told = by_measure(found)[name]
        assert [told[key] for key in ("difference", "p", "detectable")] == [one.difference, one.p, one.detectable]
        assert told["ci95"] == [one.low, one.high]
        assert told["p_holm"] == p
    assert found["method"]["comparisons"] == 3


def test_where_the_data_cannot_tell_it_says_from_which_difference_they_could(systems) -> None:
    old, new = systems.add("old", spread=0.3), systems.add("new", spread=0.3, seed=500)
    one = by_measure(compared(old, new, "--ref", systems.ref, "-m", "snr"))["snr"]
    assert one["winner"] is None
    assert one["verdict"] == (
        f"cannot tell with 12 items; differences below {one['detectable']:.2g} dB are invisible here"
    )
    assert one["detectable"] > abs(one["difference"])


def test_a_difference_that_is_detectable_is_found_and_a_tenth_of_it_is_not(systems) -> None:
    old, level = systems.add("old"), 0.1
    noisy = compared(old, systems.add("new", spread=0.1, seed=200), "--ref", systems.ref, "-m", "snr")
    size = by_measure(noisy)["snr"]["detectable"]
    for part, winner in ((2.0, "a"), (0.1, None)):
        spoilt = systems.add("spoilt", level=level * 10 ** (part * size / 20), spread=0.1, seed=400)
        assert by_measure(compared(old, spoilt, "--ref", systems.ref, "-m", "snr"))["snr"]["winner"] == winner


def test_too_few_items_can_never_tell_and_the_number_that_could_is_named(tmp_path: Path) -> None:
    systems = Systems(tmp_path, count=5)
    old, new = systems.add("old"), systems.add("new", level=0.001, seed=200)
    one = by_measure(compared(old, new, "--ref", systems.ref, "-m", "snr"))["snr"]
    assert one["winner"] is None
    assert "5 items; no result can be significant with fewer than 6" in one["verdict"]
    two = by_measure(compared(old, new, "--ref", systems.ref, "-m", "snr,mae"))["snr"]
    assert f"no result among 2 measures can be significant with fewer than {fewest(2)}" in two["verdict"]


def test_the_same_files_are_the_same(systems) -> None:
    old, new = systems.add("old"), systems.add("new")
    one = by_measure(compared(old, new, "--ref", systems.ref, "-m", "snr"))["snr"]
    assert (one["difference"], one["p"], one["winner"], one["verdict"]) == (0, 1, None, "the same on 12 items")


def test_tracks_are_the_items_that_count_where_that_is_said(systems) -> None:
    """Twelve stems that all gain tell a lot; four tracks cannot tell at all."""
    old, new = systems.add("old"), systems.add("new", level=0.05, seed=200)
    alone = by_measure(compared(old, new, "--ref", systems.ref, "-m", "snr"))["snr"]
    found = compared(old, new, "--ref", systems.ref, "-m", "snr", "--group-by", "track")
    one = by_measure(found)["snr"]
    assert (alone["winner"], one["winner"]) == ("b", None)
    assert (one["n"], one["groups"], one["p"]) == (12, 4, 2**-3)
    assert "12 items in 4 groups; no result can be significant with fewer than 6" in one["verdict"]
    each = found["groups"]["each"]
    assert list(each) == ["t0", "t1", "t2", "t3"]
    assert each["t2"]["snr"]["n"] == 3
    assert np.mean([own["snr"]["difference"] for own in each.values()]) == pytest.approx(one["difference"])
    assert found["groups"]["by"] == "track"


def test_broken_files_are_named_and_the_rest_is_compared(systems) -> None:
    old, new = systems.add("old"), systems.add("new", level=0.05, seed=200)
    (new / "t0" / "00.wav").write_bytes(b"no audio")
    (old / "t1" / "04.wav").unlink()
    write(systems.ref / "t2" / "07.wav", 0 * noise(0))
    result = run("compare", old, new, "--ref", systems.ref, "-m", "snr", "--json")
    assert result.exit_code == 3
    assert "t0/00.wav: cannot be decoded" in result.stderr
    assert "no estimate is named t1/04 in" in result.stderr
    assert "missing: snr: reference is silent" in result.stderr
    found = strict(result.stdout)
    one = by_measure(found)["snr"]
    assert (one["n"], one["undefined"], found["items"], one["winner"]) == (9, 3, 12, "b")
    kept = [name for name in systems.names if name not in ("t0/00", "t1/04", "t2/07")]
    means = {
        system: np.mean(
            [file["scores"]["snr"] for file in found["files"] if file["system"] == system and file["name"] in kept]
        )
        for system in ("old", "new")
    }
    assert (one["a"], one["b"]) == pytest.approx((means["old"], means["new"]))


def test_a_measure_that_suits_nothing_is_not_counted_among_the_questions(systems) -> None:
    old, new = systems.add("old"), systems.add("new", level=0.05, seed=200)
    found = compared(old, new, "--ref", systems.ref, "-m", "snr,si_sdr_i", code=3)
    assert found["method"]["comparisons"] == 1
    assert by_measure(found)["si_sdr_i"]["verdict"] == "nothing to compare: no item has a value in both"
    assert by_measure(found)["si_sdr_i"]["p"] is None


def test_the_document_is_as_the_schema_says(systems) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    old, new = systems.add("old"), systems.add("new", level=0.05, seed=200)
    found = compared(old, new, "--ref", systems.ref, "-m", "snr,si_sdr_i", "--group-by", "track", code=3)
    validator.validate(found)
    assert found.keys() == SCHEMA["properties"].keys()
    assert found["comparisons"][0].keys() == SCHEMA["properties"]["comparisons"]["items"]["properties"].keys()
    for name in SCHEMA["required"]:
        assert not validator.is_valid({key: value for key, value in found.items() if key != name})


def test_a_pipe_and_a_csv_get_a_row_a_measure_with_numbers_in_full(systems) -> None:
    old, new = systems.add("old"), systems.add("new", level=0.05, seed=200)
    options = (
        old,
        new,
        "--ref",
        systems.ref,
        "-m",
        "snr,mae",
        "-o",
        systems.root / "a.csv",
        "-o",
        systems.root / "a.json",
    )
    result = run("compare", *options)
    assert result.exit_code == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout), delimiter="\t"))
    with (systems.root / "a.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows
    found = strict((systems.root / "a.json").read_text())
    one = by_measure(found)["mae"]
    row = rows[1]
    assert [float(row[key]) for key in ("old", "new", "difference", "p_holm")] == [
        one[key] for key in ("a", "b", "difference", "p_holm")
    ]
    assert row["verdict"] == "new better"
    assert plain(found) == plain(compared(old, new, "--ref", systems.ref, "-m", "snr,mae"))


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_fits_the_window_and_says_who_is_better(monkeypatch: pytest.MonkeyPatch, systems, columns: int) -> None:
    from percloss.cli import terminal
    from tests.cli import test_console

    old, new = systems.add("old", spread=0.1), systems.add("new", level=0.05, spread=0.1, seed=200)
    write(new / "t0" / "00.wav", noise(0))
    found = compared(old, new, "--ref", systems.ref, "-m", "snr,multi_scale_mel,lsd,mae")
    monkeypatch.setattr(terminal, "print_results", terminal.print_comparison)
    lines = test_console.shown(monkeypatch, found, columns=columns, no_color=True).splitlines()
    assert max(len(line) for line in lines if "|sr:" not in line) <= columns
    assert lines[:2] == ["A: old", "B: new"]
    one = by_measure(found)["snr"]
    (row,) = (line for line in lines if line.startswith("snr "))
    assert f"{one['difference']:.2f}" in row
    assert row.split()[-1] == {"a": "A", "b": "B", None: "?"}[one["winner"]]
    assert (f"{one['a']:.2f}" in row) == (columns == 120)


def test_two_processes_give_the_same_numbers_as_one(systems) -> None:
    old, new = systems.add("old"), systems.add("new", level=0.05, seed=200)
    options = (old, new, "--ref", systems.ref, "-m", "snr,lsd")
    assert plain(compared(*options, "--jobs", 2)) == plain(compared(*options, "--jobs", 1))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    """Not Ctrl-C, which could be caught: what was done is in the file."""
    systems = Systems(tmp_path, count=30)
    old, new = systems.add("old"), systems.add("new", level=0.09, spread=0.1, seed=200)
    output = tmp_path / "result.json"
    options = [*map(str, (old, new, "--ref", systems.ref, "-m", "snr,mrstft", "-j", 1, "-o", output))]
    journal = tmp_path / "result.json.journal.jsonl"
    command = [sys.executable, "-m", "percloss", "compare", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and journal.read_bytes().count(b"\n") > 10:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    done = journal.read_bytes().count(b"\n") - 1
    assert 10 <= done < 60
    result = run("compare", *options, "--resume")
    assert result.exit_code == 0, result.stderr
    assert f"{done} of 60 were scored before" in result.stderr
    assert not journal.exists()
    undisturbed = compared(old, new, "--ref", systems.ref, "-m", "snr,mrstft", "-j", 1)
    assert plain(strict(output.read_text())) == plain(undisturbed)


def test_what_does_not_match_is_an_error_that_names_what_mends_it(systems) -> None:
    old, new = systems.add("old"), systems.add("new", level=0.05, seed=200)
    for name in systems.names:
        write(new / f"{name}.wav", noise(0, samples=RATE // 4))
    options = (old, new, "--ref", systems.ref, "-m", "snr")
    refused = compared(*options, code=3)
    assert by_measure(refused)["snr"]["n"] == 0
    assert "--trim" in refused["files"][-1]["error"]
    assert by_measure(compared(*options, "--trim"))["snr"]["n"] == 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("old",), "Missing argument 'B'"),
        (("old", "new"), "Missing option '--ref'"),
        (("old", "old", "--ref", "ref"), "one of them came twice"),
        (("old", "nowhere", "--ref", "ref"), "there is no such file or folder"),
        (("old/t0/00.wav", "new", "--ref", "ref"), "one file; needed is a folder of estimates"),
        (("old", "new", "--ref", "ref/t0/00.wav"), "one file; needed is a folder of references"),
        (("old", "new", "--ref", "ref", "-o", "a.html"), "needed is a name that ends in .json, .csv"),
        (("old", "new", "--ref", "ref", "--resume"), "--resume without -o"),
        (("old", "new", "--ref", "ref", "-m", "si_sdrr"), "did you mean 'si_sdr'"),
        (("old", "new", "--ref", "ref", "--group-by", "speaker"), "by which no item has a group"),
    ],
)
def test_what_was_typed_wrong_is_one_line(systems, monkeypatch: pytest.MonkeyPatch, arguments, words: str) -> None:
    systems.add("old")
    systems.add("new")
    monkeypatch.chdir(systems.root)
    result = run("compare", *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert words in line
