"""``percloss disparity`` as a person has it: what it prints, writes, refuses, and keeps when it is stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import run as command
from tests.cli.support import strict

pytest.importorskip("soundfile", reason="needs percloss[audio]")
pytest.importorskip("jinja2", reason="needs percloss[report]")
pytest.importorskip("PIL.Image", reason="needs percloss[report]")
cli = pytest.importorskip("percloss.cli", reason="needs percloss[cli]")

from percloss.lab.disparity import config, run, scoring  # noqa: E402  (after the packages it needs)
from percloss.lab.disparity.config import Budget  # noqa: E402
from percloss.lab.disparity.findings import MODELS_NOT_PEOPLE  # noqa: E402
from percloss.lab.run import DivergedError  # noqa: E402

FEW = ("si_sdr", "mse", "visqol_speech", "pesq_like")
TINY = "Budget(model='tiny', steps=2, batch=2, segment=4096, clips=3, seconds=1.0, listen=1, mask_clips=0)"
# The command as installed, but for a budget that takes no time.
SCRIPT = f"""
import percloss.cli as cli
from percloss.lab.disparity import config, scoring
from percloss.lab.disparity.config import Budget

if __name__ == "__main__":
    config.BUDGETS["small"] = {TINY}
    scoring.suiting = lambda: ({FEW!r}, "pesq_like", {{}})
    cli.COMMANDS["disparity"] = ("percloss.cli.disparity:disparity", "")
    cli.percloss.main(prog_name="percloss")
"""


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget of two steps, and measures that take no time."""
    monkeypatch.setitem(cli.COMMANDS, "disparity", ("percloss.cli.disparity:disparity", "Train with many losses."))
    monkeypatch.setitem(config.BUDGETS, "small", eval(TINY, {"Budget": Budget}))
    monkeypatch.setattr(scoring, "suiting", lambda: (FEW, "pesq_like", {"dnsmos_ovr": "takes no reference"}))
    monkeypatch.delenv("PERCLOSS_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "120")


def disparity(*arguments: object, code: int = 0) -> Any:
    result = command("disparity", "--jobs", 1, *arguments)
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """What the training of a model is to raise, by its name."""
    wanted: dict[str, BaseException] = {}
    train = run.train

    def training(task: run.Task, *arguments: Any) -> Any:
        if task.name in wanted:
            raise wanted[task.name]
        return train(task, *arguments)

    monkeypatch.setattr(run, "train", training)
    return wanted


def test_a_run_prints_its_tables_and_writes_document_page_and_audio(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = disparity("--out", out, "--losses", "si_sdr,compressed,mse_magnitude")
    for words in ("The paper's columns", "What models hearing", "Who is first", "Kendall's tau", "what came of it"):
        assert words in result.stdout
    assert "si_sdr, visqol_speech" in result.stdout
    assert "si_sdr, pesq_like" in result.stdout
    assert MODELS_NOT_PEOPLE in result.stdout
    assert result.stderr.count("percloss: done: ") == 4
    assert "about 0 s left" in result.stderr
    found = strict((out / "run.json").read_text())
    assert found["command"] == "percloss disparity --budget small --losses si_sdr,compressed,mse_magnitude --seeds 0"
    assert (out / "report.html").stat().st_size > 100_000
    assert (out / "audio" / "si_sdr-seed0" / "clip0.wav").exists()

    again = disparity("--out", out, "--losses", "si_sdr,compressed,mse_magnitude", "--json")
    assert "percloss: reused: 4 of 4" in again.stderr
    assert "percloss: done: " not in again.stderr
    assert strict(again.stdout) == found

    more = disparity("--out", out, "--losses", "si_sdr,compressed,mse_magnitude,mel", "--json")
    assert "percloss: reused: 4 of 5" in more.stderr
    assert strict(more.stdout)["scores"]["si_sdr-seed0"] == found["scores"]["si_sdr-seed0"]


def test_one_seed_may_be_called_seed(tmp_path: Path) -> None:
    found = strict(disparity("--out", tmp_path, "--losses", "si_sdr", "--seed", 3, "--steps", 1, "--json").stdout)
    assert found["config"]["seeds"] == [3]
    assert found["config"]["budget"]["steps"] == 1
    assert found["scores"].keys() == {"unprocessed", "si_sdr-seed3"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--losses", "si_srd"], "'si_srd' came; did you mean 'si_sdr'"),
        (["--seeds", "0,x"], "needed are different whole numbers from 0 up: --seeds 0,1,2"),
        (["--seeds", "1,1"], "needed are different whole numbers"),
        (["--seeds", ""], "needed are different whole numbers"),
        (["--steps", "0"], "--steps"),
        (["--data", "nowhere"], "nowhere"),
        (["--budget", "large"], "'small', 'full'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = disparity("--out", tmp_path / "out", *arguments, code=2)
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_full_budget_asks_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "type --budget small" in disparity("--out", tmp_path, "--budget", "full", code=2).stderr


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    disparity("--out", tmp_path, "--losses", "si_sdr")
    refused = disparity("--out", tmp_path, "--losses", "si_sdr", "--steps", 3, code=2)
    assert "steps 2 (now 3)" in refused.stderr
    assert "type --out" in refused.stderr


def test_data_without_songs_are_refused(tmp_path: Path) -> None:
    assert "waveunet_examples" in disparity("--out", tmp_path / "out", "--data", tmp_path, code=2).stderr


def test_a_model_that_diverges_is_told_and_the_rest_goes_on(tmp_path: Path, fails: dict[str, BaseException]) -> None:
    fails["compressed"] = DivergedError("train_unet: the loss is nan at step 2; needed is a number; try --lr 0.001")
    result = disparity("--out", tmp_path, "--losses", "si_sdr,compressed,mel", code=3)
    assert "percloss: failed: compressed, seed 0: train_unet: the loss is nan at step 2" in result.stderr
    assert "percloss: missing: 1 of 4 failed: compressed, seed 0" in result.stderr
    assert "the loss is nan at step 2" in (tmp_path / "report.html").read_text()
    assert strict((tmp_path / "run.json").read_text())["scores"].keys() >= {"si_sdr-seed0", "mel-seed0"}


def test_where_every_model_fails_there_is_nothing_to_report(tmp_path: Path, fails: dict[str, BaseException]) -> None:
    fails["si_sdr"] = DivergedError("no number")
    assert "every model failed" in disparity("--out", tmp_path, "--losses", "si_sdr", code=2).stderr


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(130)])
def test_ctrl_c_keeps_what_is_finished(stop: BaseException, tmp_path: Path, fails: dict[str, BaseException]) -> None:
    """A training that keeps checkpoints saves one more and then leaves by ``SystemExit``."""
    fails["mel"] = stop
    result = disparity("--out", tmp_path, "--losses", "si_sdr,mel", code=130)
    assert "are kept in" in result.stderr
    assert "the same command goes on" in result.stderr
    assert not (tmp_path / "run.json").exists()
    fails.clear()
    assert "percloss: reused: " in disparity("--out", tmp_path, "--losses", "si_sdr,mel").stderr


def ended(group: int) -> bool:
    """Whether every process of a group is gone, some seconds later at most."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_every_process_and_the_rest_ends_as_if_undisturbed(tmp_path: Path) -> None:
    script = tmp_path / "percloss_tiny.py"
    script.write_text(SCRIPT)
    whole = strict(disparity("--out", tmp_path / "whole", "--losses", "si_sdr,mel", "--json").stdout)
    out = tmp_path / "out"
    line = [sys.executable, str(script), "disparity", "--jobs", "2", "--out", str(out), "--losses", "si_sdr,mel"]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline and not list(out.glob("results/model-*.json")):
            time.sleep(0.01)
        # As a terminal does: to every process of the group.
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "the same command goes on" in err
    assert ended(process.pid), "a process outlived the one that started it"
    resumed = disparity("--out", out, "--losses", "si_sdr,mel", "--json")
    assert "percloss: reused: " in resumed.stderr
    again = strict(resumed.stdout)
    assert again["scores"] == whole["scores"]
    assert again["hypotheses"] == whole["hypotheses"]
