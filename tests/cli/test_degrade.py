"""``percloss degrade``: what was asked is what the files hold, and one broken file stops nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("click", reason="needs percloss[cli]")
pytest.importorskip("rich", reason="needs percloss[cli]")
pytest.importorskip("soundfile", reason="needs percloss[audio]")

from percloss import cli, evaluate
from percloss.degrade import FAMILIES
from percloss.scoring.audio import read
from tests.cli.support import folder, noise, run, scored, strict
from tests.signals import CLIPS

VOICE = CLIPS / "speech" / "librivox_0870_16k.flac"
COMMAND = ("percloss.cli.degrade:degrade", "Spoil files in chosen ways, all exactly as much.")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "degrade", COMMAND)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Two good files, one in a folder of its own, and a broken one between them."""
    root = folder(tmp_path / "clean", {"a": noise(0), "c/d": 0.2 * noise(1)})
    (root / "b.wav").write_bytes(b"no audio at all")
    return root


def made(*arguments: object, code: int = 0) -> Any:
    result = run("degrade", *arguments, "--json")
    assert result.exit_code == code, result.stderr
    return strict(result.stdout)


def test_score_finds_exactly_the_ratio_that_was_asked(clean: Path, tmp_path: Path) -> None:
    (clean / "b.wav").unlink()
    out = tmp_path / "out"
    found = made(clean, "--family", "low_pass,musical_noise", "-f", "clipping", "--snr", 10, "--out", out)
    assert found["complete"] is True
    assert {row["family"] for row in found["files"]} == {"low_pass", "musical_noise", "clipping"}
    for row in found["files"]:
        assert row["reached"] == pytest.approx([10.0], abs=0.01)
    for family in ("low_pass", "musical_noise", "clipping"):
        document = scored(out / family, "--ref", out / "reference", "-m", "snr")
        names = [file["name"] for file in document["files"]]
        assert sorted(names) == ["a", "c/d"]
        assert [file["scores"]["snr"] for file in document["files"]] == pytest.approx([10.0] * 2, abs=0.01)


@pytest.mark.parametrize(("measure", "value"), [("si_sdr", 7.0), ("lsd", 4.0), ("pesq_wb", 2.5)])
def test_any_measure_can_be_matched(measure: str, value: float, tmp_path: Path) -> None:
    if measure == "pesq_wb":
        pytest.importorskip("pesq", reason="needs percloss[speech]")
    found = made(VOICE, "-f", "shaped_noise", "--match", f"{measure}={value}", "--out", tmp_path)
    (row,) = found["files"]
    assert row["reached"] == pytest.approx([value], rel=1e-3)
    assert row["strength"][0] > 0
    est, ref = (read(tmp_path / name / "librivox_0870_16k.wav") for name in ("shaped_noise", "reference"))
    score = evaluate(est.wave, ref.wave, 16_000, [measure])[measure].item()
    assert score == pytest.approx(value, rel=2e-3)  # 24 bits and, for PESQ, 16


def test_a_measure_with_a_rate_of_its_own_hears_the_file_resampled(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", {"a": read(VOICE).wave[0, :, :16_000].T.numpy()})
    found = made(root, "-f", "white_noise", "--match", "visqol_audio=3", "--out", tmp_path / "out")
    assert found["files"][0]["reached"] == pytest.approx([3.0], rel=0.02)


def test_a_broken_file_is_reported_and_the_rest_goes_on(clean: Path, tmp_path: Path) -> None:
    found = made(clean, "-f", "gain", "--snr", 12, "--out", tmp_path / "out", code=3)
    failed = [row for row in found["files"] if row["error"]]
    assert [Path(row["file"]).name for row in failed] == ["b.wav"]
    assert len(found["files"]) == 3
    assert found["complete"] is True
    assert sorted(path.name for path in (tmp_path / "out" / "gain").rglob("*.wav")) == ["a.wav", "d.wav"]
    result = run("degrade", clean, "-f", "gain", "--snr", 12, "--out", tmp_path / "out")
    assert "percloss: error: " in result.stderr
    assert "b.wav" in result.stderr
    assert "percloss: failed: 1 of 3; 2 written" in result.stderr


def test_a_ratio_out_of_reach_fails_for_its_family_alone(tmp_path: Path) -> None:
    found = made(VOICE, "-f", "gain,white_noise", "--snr", -3, "--out", tmp_path, code=3)
    errors = {row["family"]: row["error"] for row in found["files"]}
    assert errors["white_noise"] is None
    assert "gain reaches from 0.00 dB upwards" in errors["gain"]
    assert str(VOICE) in errors["gain"]
    assert not (tmp_path / "gain").exists()


def test_nothing_clips_and_the_reference_is_brought_down_with_it(tmp_path: Path) -> None:
    loud = noise(0) / np.abs(noise(0)).max()
    root = folder(tmp_path / "in", {"a": loud})
    (row,) = made(root, "-f", "white_noise", "--snr", 0, "--out", tmp_path / "out")["files"]
    assert row["level_db"] < -1
    est, ref = (read(tmp_path / "out" / name / "a.wav").wave for name in ("white_noise", "reference"))
    assert est.abs().max() <= 0.99
    assert 10 * float((ref.square().sum() / (est - ref).square().sum()).log10()) == pytest.approx(0.0, abs=1e-3)


def test_all_is_every_family(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", {"a": read(VOICE).wave[0, :, :8000].T.numpy()})
    found = made(root, "-f", "all", "--snr", 15, "--out", tmp_path / "out")
    assert [row["family"] for row in found["files"]] == list(FAMILIES)


def test_a_seed_gives_the_same_files(clean: Path, tmp_path: Path) -> None:
    def content(name: str, seed: int) -> bytes:
        made(clean / "a.wav", "-f", "white_noise", "--snr", 10, "--seed", seed, "--out", tmp_path / name)
        return (tmp_path / name / "white_noise" / "a.wav").read_bytes()

    assert content("x", 1) == content("y", 1)
    assert content("x", 1) != content("z", 2)


def test_the_table_says_what_was_reached(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # so that no path is cut
    result = run("degrade", clean / "a.wav", "-f", "clipping", "--match", "si_sdr=9", "--out", tmp_path)
    assert result.exit_code == 0
    row = next(line.split() for line in result.stdout.splitlines() if line.startswith("clipping"))
    assert float(row[1]) == pytest.approx(9.0, abs=1e-3)
    assert row[2] == str(tmp_path / "clipping" / "a.wav")
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-f", "gain"), "got neither --snr nor --match"),
        (("-f", "gain", "--snr", 10, "--match", "si_sdr=10"), "got --snr and --match"),
        (("-f", "gain", "--match", "si_sdr"), "needed is a measure and its value"),
        (("-f", "lowpass", "--snr", 10), "did you mean low_pass?"),
        (("-f", ",", "--snr", 10), "got no name"),
        (("-f", "gain", "--snr", "nan"), "needed is a finite number"),
        (("--snr", 10), "--family"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: tuple[object, ...], message: str, tmp_path: Path) -> None:
    result = run("degrade", VOICE, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_measure_that_is_none_is_refused_before_the_work(clean: Path, tmp_path: Path) -> None:
    result = run("degrade", clean, "-f", "gain", "--match", "si_sdrr=3", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "did you mean 'si_sdr'?" in result.stderr
    result = run("degrade", clean, "-f", "gain", "--match", "si_sdr_i=3", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "si_sdr_i, which takes pair and mix" in result.stderr
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = (folder(tmp_path / name, {"a": noise(0)}) / "a.wav" for name in ("x", "y"))
    result = run("degrade", one, other, "-f", "gain", "--snr", 10, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "would be written over" in result.stderr


def test_a_folder_without_audio_and_one_that_is_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").touch()
    result = run("degrade", tmp_path / "empty", "-f", "gain", "--snr", 10, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "holds no audio" in result.stderr
    result = run("degrade", VOICE, "-f", "gain", "--snr", 10, "--out", tmp_path / "taken" / "inside")
    assert result.exit_code == 2
    assert "cannot be written to" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_whole_files_and_says_how_many(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", {f"{index:04d}": noise(0) for index in range(400)})
    out = tmp_path / "out"
    code = (
        "import percloss.cli as cli\n"
        f"cli.COMMANDS['degrade'] = {COMMAND!r}\n"
        f"cli.percloss(['degrade', {str(root)!r}, '-f', 'low_pass', '--snr', '10', '--json', '--out', {str(out)!r}])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and len(list(out.glob("low_pass/*.wav"))) < 5:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        printed, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 400 written, each of them whole" in err
    assert "Traceback" not in err
    found = strict(printed)
    assert found["complete"] is False
    written = [Path(row["out"]) for row in found["files"]]
    assert len(written) >= 4
    assert all(read(path).wave.shape[-1] == 8000 for path in written)
    assert not list(out.rglob("*.part"))
