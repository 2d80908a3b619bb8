"""Checkpoints that a run killed at any moment can go on from."""

import os
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from percloss._files import replacing
from percloss.errors import PerclossError

__all__ = ["CheckpointError", "Checkpoints", "differing", "durably", "read", "sweep", "write"]

_KEPT = 2
# What torch.load says of files that are cut short or are not its own.
_BROKEN = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError)


class CheckpointError(PerclossError, RuntimeError):
    """A checkpoint of another run, or none that can be read."""


@contextmanager
def durably(path: Path) -> Iterator[BinaryIO]:
    """A file to write, so that its name stands for all of it or for what was there before, also after a power cut."""
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    if os.name == "posix":  # the new name is in the folder, which has to reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def sweep(folder: Path) -> None:
    """Delete what a process that was killed left half written."""
    for partial in folder.glob(".*.part"):
        partial.unlink(missing_ok=True)


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Save what a run is.

    Args:
        path: Where to.
        state: Tensors, numbers, strings, and lists and dictionaries of them: what ``torch.load`` reads without running
            code.
    """
    with durably(path) as file:
        torch.save(dict(state), file)


def read(path: Path) -> dict[str, Any]:
    """What ``write`` saved, on the CPU; no code in the file is run.

    Raises:
        CheckpointError: Truncated, or not such a file.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path}: cannot be read ({reason}); it is truncated or no checkpoint; delete it."
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}; needed is what a training saved; delete it.")
    return state


def differing(config: Mapping[str, Any], saved: Mapping[str, Any], *, harmless: frozenset[str]) -> list[str]:
    """In what a config is another than the saved one, in words, but for what may differ."""
    return [
        f"{name}={config.get(name, 'nothing')!r} (there {saved.get(name, 'nothing')!r})"
        for name in {**config, **saved}
        if name not in harmless and config.get(name) != saved.get(name)
    ]


class Checkpoints:
    """The last two checkpoints of a run, in its folder.

    Args:
        folder: Of the run.
        config: Of the run, as plain data; a checkpoint of another one is refused.
        harmless: Names in it that may differ.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], *, harmless: frozenset[str] = frozenset()) -> None:
        self.folder, self.config, self.harmless = folder, dict(config), harmless

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Keep what a run is after ``step`` steps, and no more than the one before beside it."""
        write(self.folder / f"checkpoint-{step:08d}.pt", {"step": step, "config": self.config, **state})
        for old in self._found()[:-_KEPT]:
            old.unlink(missing_ok=True)

    def latest(self) -> dict[str, Any] | None:
        """The last one that can be read, with a warning for each that cannot; ``None`` where there is none.

        Raises:
            CheckpointError: It is of another config; or there are some and none can be read.
        """
        found = self._found()
        for path in reversed(found):
            try:
                state = read(path)
            except CheckpointError as error:
                before = [other for other in found if other < path]
                if not before:
                    raise
                warnings.warn(f"{error} Going on from {before[-1].name} instead.", stacklevel=2)
                continue
            self._check(path, state)
            return state
        return None

    def _check(self, path: Path, state: Mapping[str, Any]) -> None:
        others = differing(self.config, state.get("config", {}), harmless=self.harmless)
        if others:
            raise CheckpointError(
                f"{path}: is of another config: got {', '.join(others)}; needed is the same to go on; type what it "
                f"has, or another folder for a new run."
            )

    def _found(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*.pt"))
