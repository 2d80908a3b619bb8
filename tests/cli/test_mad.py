"""``percloss mad``: a pair that the SNR calls equal, to listen to, and what judges make of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("click", reason="needs percloss[cli]")
pytest.importorskip("rich", reason="needs percloss[cli]")
pytest.importorskip("soundfile", reason="needs percloss[audio]")

from percloss import cli
from percloss.scoring.audio import read
from tests.cli.support import run, strict
from tests.signals import CLIPS

VOICE = CLIPS / "speech" / "librivox_0870_16k.flac"
COMMAND = ("percloss.cli.mad:mad", "Make two versions that one measure calls equal and another does not.")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "mad", COMMAND)


def made(*arguments: object, code: int = 0) -> Any:
    result = run("mad", *arguments, "--json")
    assert result.exit_code == code, result.stderr
    return strict(result.stdout)


def test_a_clip_of_the_package_becomes_a_pair_at_15_db_that_pesq_sets_2_mos_and_two_f_40_points_apart(
    tmp_path: Path,
) -> None:
    """As it is typed, with nothing chosen; the judges took no part."""
    pytest.importorskip("pesq", reason="needs percloss[speech]")
    pytest.importorskip("percloss.measures.peaq")  # makes two_f known
    began = time.monotonic()
    found = made("--out", tmp_path / "pair")
    assert time.monotonic() - began < 120
    for name in ("start", "lowest", "highest"):
        assert found["versions"][name]["values"]["snr"] == pytest.approx(15.0, abs=5e-4)
        ref, est = (read(tmp_path / "pair" / f"{each}.wav").wave.double() for each in ("reference", name))
        snr = 10 * (ref.square().sum() / (est - ref).square().sum()).log10()
        assert float(snr) == pytest.approx(15.0, abs=5e-4)
    assert found["spread"]["pesq_wb"] >= 2
    assert found["spread"]["two_f"] >= 40
    better, worse = (found["versions"][name]["judges"] for name in ("lowest", "highest"))
    assert better["pesq_wb"] > worse["pesq_wb"]
    assert better["two_f"] > worse["two_f"]
    assert found["reference"] == "librivox_0890"


def test_a_file_a_measure_and_a_level_of_ones_own(tmp_path: Path) -> None:
    arguments = (
        VOICE,
        "--fix",
        "si_sdr=8",
        "--synth",
        "mel",
        "--judges",
        "estoi,lsd",
        "--start",
        0.5,
        "--seconds",
        0.5,
    )
    found = made(*arguments, "--steps", 3, "--seed", 2, "--out", tmp_path)
    assert found["fixed"] == {"measure": "si_sdr", "level": 8.0}
    assert found["synth"] == "mel"
    assert found["seconds"] == 0.5
    assert set(found["versions"]["lowest"]["judges"]) == {"estoi", "lsd"}
    assert found["versions"]["highest"]["values"]["si_sdr"] == pytest.approx(8.0, abs=1e-3)
    kept = json.loads((tmp_path / "mad.json").read_text(encoding="utf-8"))
    assert kept["spread"] == found["spread"]
    assert kept["seed"] == 2
    whole = read(VOICE).wave[..., 8000:16_000]
    torch.testing.assert_close(read(tmp_path / "reference.wav").wave, whole, atol=1e-6, rtol=0)
    again = made(*arguments, "--steps", 3, "--seed", 2, "--out", tmp_path / "again")
    assert again["spread"] == found["spread"]


def test_the_table_says_what_is_equal_and_what_is_apart(tmp_path: Path) -> None:
    result = run("mad", VOICE, "--seconds", 0.5, "--steps", 2, "--judges", "lsd,nonsense", "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    lowest, highest, apart = (next(row for row in rows if row[:1] == [name]) for name in ("lowest", "highest", "apart"))
    assert lowest[1] == highest[1] == "15.000"
    assert float(lowest[2]) < float(highest[2])
    assert float(apart[1]) == 0
    assert f"listen: {tmp_path}" in result.stdout
    assert "percloss: left out: nonsense: no measure of the catalogue" in result.stderr
    assert "percloss: lowest: " in result.stderr
    assert "percloss: highest: " in result.stderr


def test_quiet_says_nothing_but_the_result(tmp_path: Path) -> None:
    result = run("mad", VOICE, "--seconds", 0.5, "--steps", 1, "--judges", "nonsense", "--out", tmp_path, "--quiet")
    assert result.exit_code == 0
    assert result.stderr == ""


def test_a_bound_that_was_met_is_said(tmp_path: Path) -> None:
    options = ("--fix", "snr=45", "--synth", "masking_hinge", "--judges", "lsd", "--steps", 60)
    result = run("mad", VOICE, "--seconds", 0.5, *options, "--out", tmp_path)
    assert result.exit_code == 0
    assert "percloss: lowest: masking_hinge can go no further" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fix", "snr"), "needed is a measure and its level"),
        (("--fix", "nonsense=3"), "nonsense"),
        (("--synth", "snr"), "which are one"),
        (("--fix", "stoi=2", "--seconds", 0.5), "reaches from"),
        (("--start", 1000), "a place inside is needed; type --start 0"),
        (("--steps", 0), "--steps"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: tuple[object, ...], message: str, tmp_path: Path) -> None:
    result = run("mad", VOICE, *arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(VOICE.read_bytes()[:100])
    for path in (broken, tmp_path / "absent.wav"):
        result = run("mad", path, "--out", tmp_path / "out")
        assert result.exit_code == 3
        assert path.name in result.stderr
        assert result.stdout == ""


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    result = run("mad", VOICE, "--out", tmp_path / "taken" / "inside")
    assert result.exit_code == 2
    assert "cannot be written to" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_nothing_half_made(tmp_path: Path) -> None:
    code = (
        "import percloss.cli as cli\n"
        f"cli.COMMANDS['mad'] = {COMMAND!r}\n"
        f"cli.percloss(['mad', {str(VOICE)!r}, '--steps', '1000000', '--out', {str(tmp_path)!r}])"
    )
    listening = "import sys; from percloss import mad; \n" + (
        "whole = mad.mad\n"
        "def told(*a, **k):\n"
        "    k['progress'] = lambda step: step.step == 2 and print('working', file=sys.stderr, flush=True)\n"
        "    return whole(*a, **k)\n"
        "mad.mad = told\n"
    )
    command = [sys.executable, "-c", listening + code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "working" in line:
                process.send_signal(signal.SIGINT)
                break
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "percloss: interrupted: nothing was written" in err
    assert "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.iterdir())
