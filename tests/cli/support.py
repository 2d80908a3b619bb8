"""Runs the command line in this process, and makes the short files it is run on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE = 16_000
SAMPLES = RATE // 2


def run(*arguments: object, stdin: str | bytes | None = None) -> Any:
    """Exit code, stdout and stderr of ``percloss ARGUMENTS``."""
    testing = pytest.importorskip("click.testing", reason="click is not installed")
    pytest.importorskip("rich", reason="rich is not installed")
    from percloss.cli import percloss

    return testing.CliRunner().invoke(percloss, [str(each) for each in arguments], input=stdin, catch_exceptions=False)


def strict(text: str) -> Any:
    """JSON without the words that JSON does not have."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def scored(*arguments: object, code: int = 0, **given: Any) -> Any:
    """The document of ``percloss score ARGUMENTS --json``."""
    result = run("score", *arguments, "--json", **given)
    assert result.exit_code == code, result.stderr
    return strict(result.stdout)


def noise(seed: int, *, samples: int = SAMPLES, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((samples, channels))


def write(path: Path, wave: np.ndarray, rate: int = RATE) -> Path:
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def folder(path: Path, waves: Mapping[str, np.ndarray], *, suffix: str = ".wav", rate: int = RATE) -> Path:
    for name, wave in waves.items():
        write(path / f"{name}{suffix}", wave, rate)
    return path


def snr(est: np.ndarray, ref: np.ndarray) -> float:
    """In dB, mean over channels, in float64."""
    return float(np.mean(10 * np.log10((ref**2).sum(0) / ((est - ref) ** 2).sum(0))))


def plain(document: Any) -> Any:
    """A document without what was typed to get it."""
    return {name: value for name, value in document.items() if name != "command"}
