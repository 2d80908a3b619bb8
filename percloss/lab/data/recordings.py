"""Recordings on disk: what their headers say, and stretches of them, without decoding the rest."""

import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from percloss._optional import require
from percloss.errors import AudioFileError, SampleRateError
from percloss.scoring.audio import EXTENSIONS, _header, _opened, _refuse_truncated, resample_file, shown

__all__ = ["Recording", "audio_below", "common_rate", "folder", "recordings", "stretch"]


class Recording(NamedTuple):
    """A file and what its header says; ``sample_rate`` in Hz."""

    path: str
    sample_rate: int
    channels: int
    frames: int


def folder(path: str | os.PathLike[str], *, needs: str) -> Path:
    """A folder that is there.

    Args:
        path: Where it should be.
        needs: What should be in it, for the message.

    Raises:
        AudioFileError: No such folder.
    """
    found = Path(path)
    if not found.is_dir():
        raise AudioFileError(f"{shown(found)}: there is no such folder; needed is {needs}; check the path.")
    return found


def audio_below(path: Path) -> list[Path]:
    """Audio files in a folder and in those below it, by name; hidden ones are left out."""
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in EXTENSIONS and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )


def recordings(files: Iterable[Path], *, skip_broken: bool = False) -> list[Recording]:
    """The headers of files, in their order; with ``skip_broken``, without those that have none, which a warning names.

    Raises:
        AudioFileError: A file without one, or shorter than it says where that shows without decoding it.
        MissingExtraError: soundfile is not installed.
    """
    return list(_headers(files, skip_broken=skip_broken))


def _headers(files: Iterable[Path], *, skip_broken: bool) -> Iterator[Recording]:
    for file in files:
        try:
            found = _opened(file, _whole)
        except AudioFileError as error:
            if not skip_broken:
                raise
            warnings.warn(f"skipped: {error}", stacklevel=4)
        else:
            yield found


def _whole(sound: Any, path: Path) -> Recording:
    """What the header says, if the file is as long as it says: libsndfile would take a cut one for a shorter one."""
    header = _header(sound, path)
    _refuse_truncated(sound, path, header.frames)
    return Recording(os.fspath(path), header.sample_rate, header.channels, header.frames)


def common_rate(found: Iterable[Recording], sample_rate: int | None, *, what: str) -> int:
    """The rate that items shall have: the one asked for, or the one that all files share [Hz].

    Raises:
        SampleRateError: None asked for, and files of several rates.
    """
    if sample_rate is not None:
        return sample_rate
    by_rate: dict[int, list[str]] = {}
    for recording in found:
        by_rate.setdefault(recording.sample_rate, []).append(recording.path)
    if len(by_rate) > 1:
        told = "; ".join(f"{len(paths)} at {rate} Hz ({shown(paths[0])})" for rate, paths in sorted(by_rate.items()))
        raise SampleRateError(
            f"{what}: files of several rates came: {told}; needed is one rate; to have them resampled give one: "
            f"sample_rate={min(by_rate)}."
        )
    return next(iter(by_rate))


def stretch(recording: Recording, *, start: int, frames: int, sample_rate: int, segment: int) -> Tensor:
    """Part of a recording at a rate, zeros where it ends too soon.

    Resampling hears nothing outside of the part.

    Args:
        recording: Whose header is known.
        start: First frame, at the file's rate.
        frames: How many, at the file's rate.
        sample_rate: Wanted [Hz].
        segment: Samples wanted, at that rate.

    Shape:
        Returns (channels, segment).

    Raises:
        AudioFileError: Damaged, cut short, gone, or with samples that are not finite.
    """
    soundfile = require("soundfile", extra="audio")
    wanted = min(frames, recording.frames - start)
    name = shown(recording.path)
    try:
        path = recording.path if os.name == "nt" else os.fsencode(recording.path)
        samples, rate = soundfile.read(path, wanted, start, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:  # soundfile's own errors are RuntimeErrors
        raise AudioFileError(f"{name}: cannot be decoded ({error}); it is damaged or gone; copy it again.") from error
    if len(samples) < wanted or rate != recording.sample_rate or samples.shape[1] != recording.channels:
        raise AudioFileError(
            f"{name}: {len(samples)} frames of {samples.shape[1]} channels at {rate} Hz came, and its header promised "
            f"{wanted} of {recording.channels} at {recording.sample_rate} Hz; it is truncated or was replaced; "
            f"copy it again."
        )
    wave = torch.from_numpy(samples.T.copy())
    if not wave.isfinite().all():
        raise AudioFileError(f"{name}: holds samples that are NaN or infinite; make it again.")
    wave = resample_file(wave[None], rate, sample_rate)[0, :, :segment]
    return torch.nn.functional.pad(wave, (0, segment - wave.shape[-1]))
