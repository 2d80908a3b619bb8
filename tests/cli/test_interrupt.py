"""Ctrl-C: what was done is kept, and ``--resume`` goes on from there to the same result."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import plain, run, scored, strict

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
MEASURES = "snr,mrstft,mel"


def interrupted(*arguments: object, journal: Path, after: int) -> subprocess.CompletedProcess[str]:
    """``percloss score`` with Ctrl-C as soon as so many lines are in its journal."""
    command = [sys.executable, "-m", "percloss", "score", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and journal.read_bytes().count(b"\n") > after:
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.005)
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.fixture(scope="module")
def whole(corpus) -> Any:
    """What an undisturbed run finds."""
    return plain(scored(corpus.est, "--ref", corpus.ref, "-m", MEASURES, "--jobs", 1, code=3))


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_run_resumes_to_the_same_numbers(corpus, whole, tmp_path: Path, jobs: int) -> None:
    options = (corpus.est, "--ref", corpus.ref, "-m", MEASURES)
    output = tmp_path / "scores.json"
    journal = tmp_path / "scores.json.journal.jsonl"
    first = interrupted(*options, "--jobs", jobs, "--json", "-o", output, journal=journal, after=20)
    assert first.returncode == 130, first.stderr
    assert "Traceback" not in first.stderr
    assert "--resume goes on" in first.stderr
    assert not output.exists()
    partial = strict(first.stdout)
    assert partial["complete"] is False
    done = [file["name"] for file in partial["files"] if file["error"] is None]
    assert 15 <= len(done) < 195

    refused = run("score", *options, "-o", output)
    assert refused.exit_code == 2
    assert "type --resume to take it up" in refused.stderr

    second = run("score", *options, "--jobs", 1, "-o", output, "--resume")
    assert second.exit_code == 3
    assert f"{len(done)} of 200 were scored before" in second.stderr
    assert not journal.exists()
    assert plain(strict(output.read_text())) == whole
