"""What a training says of itself: lines of JSON, TensorBoard where it is installed, and one line on a terminal."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from percloss.dsp.safe import db_to_power, log_power
from percloss.dsp.stft import hann, power, stft
from percloss.lab.checkpoint import durably

__all__ = ["Heard", "Journal", "Observer", "Progress", "on_stderr"]

# Of the pictures: how far below the loudest bin of a mixture black is [dB].
_RANGE_DB = 80.0
_N_FFT = 512


class Progress(NamedTuple):
    """How far a run is, after a step.

    Attributes:
        step: Steps done.
        steps: Of the whole run.
        loss: Of the last one.
        valid: The latest validation value, if there was one.
        seconds_left: Estimated, from the steps since the run began or went on.
    """

    step: int
    steps: int
    loss: float
    valid: float | None
    seconds_left: float


Observer: TypeAlias = Callable[[Progress], None]


class Heard(NamedTuple):
    """A few items as a person would want to hear them, (items, channels, time) each."""

    mix: Tensor
    target: Tensor
    est: Tensor
    sample_rate: int


class Journal:
    """``log.jsonl`` in a folder, a line an event, and TensorBoard's file where ``tensorboard`` is installed.

    What a run wrote after the checkpoint from which it goes on is taken back, so that its log is that of a run that
    was never stopped, but for the seconds.

    Args:
        folder: Of the run.
        first: Steps that are done.
    """

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._path = folder / "log.jsonl"
        kept = [line for line in _lines(self._path) if _step(line) <= first]
        with durably(self._path) as file:
            file.write("".join(kept).encode())
        self._file = self._path.open("a", encoding="utf-8")
        self._board: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first + 1)

    def write(self, step: int, **values: Any) -> None:
        """Numbers, or dictionaries of them, of a step."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                for part, number in value.items() if isinstance(value, Mapping) else [("", value)]:
                    self._board.add_scalar(f"{name}/{part}" if part else name, number, step)

    def hear(self, step: int, heard: Heard) -> None:
        """Sounds and spectrograms, for TensorBoard alone."""
        if self._board is None:
            return
        for kind in ("mix", "target", "est"):
            for item, wave in enumerate(getattr(heard, kind).detach().float().cpu()):
                mono = wave.mean(0)
                self._board.add_audio(f"{item}/{kind}", mono.clamp(-1, 1), step, sample_rate=heard.sample_rate)
                self._board.add_image(f"{item}/{kind}", _picture(mono), step)

    def close(self) -> None:
        """Let go of the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def on_stderr(*, seconds: float = 10.0) -> Observer:
    """An observer that keeps one line of a terminal up to date, or writes one now and then where there is none.

    Args:
        seconds: Between lines, where standard error is no terminal.
    """
    out = sys.stderr
    live = out.isatty() and os.environ.get("TERM") != "dumb"
    told = -seconds

    def tell(progress: Progress) -> None:
        nonlocal told
        now, last = time.monotonic(), progress.step == progress.steps
        if not last and now - told < (0.1 if live else seconds):
            return
        told = now
        valid = "" if progress.valid is None else f"  valid {progress.valid:.4g}"
        left = "" if last else f"  {_duration(progress.seconds_left)} left"
        line = f"step {progress.step}/{progress.steps}  loss {progress.loss:.4g}{valid}{left}"
        out.write(f"\r{line:<78}" + ("\n" if last else "") if live else f"{line}\n")
        out.flush()

    return tell


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def _lines(path: Path) -> list[str]:
    """Those that were written to their end."""
    if not path.is_file():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _step(line: str) -> int:
    return int(json.loads(line)["step"])


def _picture(wave: Tensor) -> Tensor:
    """Levels of a spectrogram from black to white, low frequencies below, (1, bins, frames)."""
    spectrum = stft(wave[None, None], hann(_N_FFT).to(wave.dtype), n_fft=_N_FFT, hop_length=_N_FFT // 4)
    levels = 10 * log_power(power(spectrum[0]), db_to_power(-120.0)) / torch.log(torch.tensor(10.0))
    return (1 + (levels - levels.max()) / _RANGE_DB).clamp(0, 1).flip(1)
