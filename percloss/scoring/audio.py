"""Reading and writing audio files, with an error that says what is wrong with a file in place of a guess at it."""

import os
import re
import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from percloss._files import replacing
from percloss._optional import require
from percloss.errors import ArgumentError, AudioFileError, SampleRateError, ShapeError

__all__ = ["EXTENSIONS", "RESAMPLER", "Audio", "AudioInfo", "info", "read", "resample_file", "shown", "write"]

EXTENSIONS = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"})
"""Suffixes of the files that are looked for in a folder."""

RESAMPLER = "soxr-hq"
"""How the resampling of files is named in a score's signature."""

Name: TypeAlias = str | os.PathLike[str]
_Found = TypeVar("_Found")

_SUBTYPES = {".wav": ("WAV", "PCM_24"), ".flac": ("FLAC", "PCM_24")}
# Beyond these a header is damaged, and the arithmetic on it (a filter, a resampler) would take all memory.
_RATES = range(1_000, 768_001)
# Decoded samples that are held at once, and that are held at all: 8 GiB, or 6 hours of stereo at 48 kHz.
_BLOCK = 2**20
_MOST_SAMPLES = 2**31
# Writers into a pipe cannot know the length. They state one that no 32-bit file has: ffmpeg 0xFFFFFFFF, sox 0x7FFFF000.
_UNKNOWN_LENGTH = 0x7FFFF000
# libsndfile mends a length that lies beyond the end of the file, and says so in its log alone.
_MENDED = re.compile(r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
# The encoder's delay and padding, which a header may count and a decoder leave out, are at most this many samples.
_MP3_SLACK = 2 * 1152


class Audio(NamedTuple):
    """A decoded file: ``wave`` is ``(1, channels, time)`` in float32, integer samples scaled to [-1, 1)."""

    wave: Tensor
    sample_rate: int
    path: Path
    format: str
    subtype: str
    nonfinite: int
    """Samples that are NaN or infinite, which a floating-point file may hold."""


class AudioInfo(NamedTuple):
    """What a file's header says. ``frames`` is an estimate for an MP3 without a Xing header."""

    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str


def info(path: Name) -> AudioInfo:
    """Rate, channels and length of a file, from its header alone.

    Raises:
        AudioFileError: No file, or none that holds audio. A truncated one is found by :func:`read` only.
        MissingExtraError: soundfile is not installed.
    """
    return _opened(path, _header)


def read(path: Name) -> Audio:
    """Decode a whole file.

    Raises:
        AudioFileError: The file is missing, empty, truncated, damaged, of no known format, or longer than fits.
        MissingExtraError: soundfile is not installed.
    """
    return _opened(path, _decode)


def write(path: Name, wave: Tensor, sample_rate: int) -> None:
    """Write a wav or flac file of 24 bits, whole or not at all.

    Args:
        path: Where to; ``.wav`` or ``.flac``. A file that is there is replaced.
        wave: Samples in [-1, 1].
        sample_rate: Their rate [Hz].

    Shape:
        wave: (1, channels, time).

    Raises:
        ArgumentError: Another suffix, or samples that 24 bits cannot hold.
        AudioFileError: The file cannot be written.
        MissingExtraError: soundfile is not installed.
        ShapeError: Another shape.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUBTYPES:
        raise ArgumentError(f"write: {shown(path)} came; .wav or .flac is needed; use {shown(path.stem)}.wav.")
    if wave.dim() != 3 or wave.shape[0] != 1 or wave.numel() == 0:
        raise ShapeError(
            f"write: a wave of shape {tuple(wave.shape)} came; a file holds (1, channels, time); write wave[:1]."
        )
    peak = float(wave.detach().abs().amax())
    if not peak <= 1:
        raise ArgumentError(
            f"write: a wave with a peak of {peak:.4g} came; 24 bits hold samples from -1 to 1; "
            f"write {'wave / wave.abs().max()' if peak < float('inf') else 'wave.nan_to_num(0, 0, 0)'}."
        )
    soundfile = require("soundfile", extra="audio")
    kind, subtype = _SUBTYPES[path.suffix.lower()]
    samples = wave[0].detach().float().cpu().numpy().T
    try:
        with replacing(path) as unfinished:
            soundfile.write(os.fspath(unfinished), samples, sample_rate, format=kind, subtype=subtype)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioFileError(
            f"{shown(path)}: cannot be written ({_reason(error)}); "
            f"give a folder that exists and may be written to, a usual rate, and for flac at most 8 channels."
        ) from error


def resample_file(wave: Tensor, orig: int, new: int) -> Tensor:
    """A file's samples at another rate, by soxr at its quality HQ. Has no gradient.

    Args:
        wave: The samples.
        orig: Their rate [Hz].
        new: The rate wanted [Hz].

    Shape:
        wave: (1, channels, time). Returns the same with another time, in float32 on the CPU.

    Raises:
        MissingExtraError: soxr is not installed.
        SampleRateError: A rate that no audio file has.
        ShapeError: Another shape.
    """
    for rate in (orig, new):
        if rate not in _RATES:
            raise SampleRateError(
                f"resample_file: {orig} to {new} Hz came; rates from {_RATES[0]} to {_RATES[-1]} Hz are needed; "
                f"use resample_file(wave, 48000, 16000)."
            )
    if wave.dim() != 3 or wave.shape[0] != 1:
        raise ShapeError(f"resample_file: a wave of shape {tuple(wave.shape)} came; a file is (1, channels, time).")
    if orig == new:
        return wave
    soxr = require("soxr", extra="audio")
    samples = wave[0].detach().float().cpu().numpy().T
    return torch.from_numpy(np.ascontiguousarray(soxr.resample(samples, orig, new, quality="HQ").T))[None]


def _opened(path: Name, use: Callable[[Any, Path], _Found]) -> _Found:
    """What ``use(sound, path)`` makes of the opened file, every failure of the file named."""
    path = Path(path)
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise AudioFileError(f"{shown(path)}: there is no such file; check the path.") from error
    except (OSError, ValueError) as error:
        raise AudioFileError(f"{shown(path)}: cannot be looked at ({_reason(error)}); check the path.") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioFileError(f"{shown(path)}: is a folder; give one audio file.")
    if not stat.S_ISREG(status.st_mode):
        raise AudioFileError(f"{shown(path)}: is a pipe or a device; write it to a file first, and give that.")
    if not os.access(path, os.R_OK):
        raise AudioFileError(f"{shown(path)}: may not be read; change its permissions (chmod u+r).")
    if status.st_size == 0:
        raise AudioFileError(f"{shown(path)}: is empty, 0 bytes; make it again.")
    if path.suffix.lower() == ".raw":
        raise AudioFileError(f"{shown(path)}: raw samples do not say their rate and channels; convert it to wav first.")
    soundfile = require("soundfile", extra="audio")
    try:
        # As bytes, because a name need not be UTF-8; on Windows it is, and bytes would be taken for the code page.
        with soundfile.SoundFile(os.fspath(path) if os.name == "nt" else os.fsencode(path)) as sound:
            return use(sound, path)
    except soundfile.SoundFileError as error:
        raise AudioFileError(
            f"{shown(path)}: cannot be decoded ({_reason(error)}), it is damaged, cut short or of another format; "
            f"make it again, or if it plays elsewhere convert it: ffmpeg -i {shlex.quote(shown(path))} converted.wav"
        ) from error


def _header(sound: Any, path: Path) -> AudioInfo:
    if sound.samplerate not in _RATES:
        raise AudioFileError(
            f"{shown(path)}: its header says {sound.samplerate} Hz, and audio has {_RATES[0]} to {_RATES[-1]} Hz; "
            f"the header is damaged, make the file again."
        )
    return AudioInfo(sound.samplerate, sound.channels, sound.frames, sound.format, sound.subtype)


def _decode(sound: Any, path: Path) -> Audio:
    header = _header(sound, path)
    step = max(1, _BLOCK // header.channels)
    blocks: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    frames = 0
    # Block by block, because the length in the header may be anything.
    while len(block := sound.read(step, dtype="float32", always_2d=True)):
        blocks.append(block)
        frames += len(block)
        if frames * header.channels > _MOST_SAMPLES:
            raise AudioFileError(
                f"{shown(path)}: holds more than {_MOST_SAMPLES} samples, too many at once; cut it into parts."
            )
    _refuse_truncated(sound, path, frames)
    if frames == 0:
        raise AudioFileError(f"{shown(path)}: holds no samples, only a header; make it again.")
    wave = torch.from_numpy(np.ascontiguousarray(np.concatenate(blocks).T))[None]
    nonfinite = wave.numel() - int(torch.isfinite(wave).sum())
    return Audio(wave, header.sample_rate, path, header.format, header.subtype, nonfinite)


def _refuse_truncated(sound: Any, path: Path, frames: int) -> None:
    """Compare what was decoded with what the file's container promised."""
    short = ""
    for promised, there in re.findall(_MENDED, sound.extra_info):
        if int(there) < int(promised) < _UNKNOWN_LENGTH:
            short = f"its header promises {promised} bytes and {there} are there"
    if sound.format in ("MPEG", "MP3"):
        if frames < sound.frames - _MP3_SLACK and _counts_its_frames(path):
            short = f"its header promises {sound.frames} frames and {frames} could be decoded"
    elif sound.format == "OGG":
        if _ends_inside_a_page(path):
            short = "it ends in the middle of an Ogg page"
    elif frames < sound.frames:
        short = f"its header promises {sound.frames} frames and {frames} could be decoded"
    if short:
        raise AudioFileError(f"{shown(path)}: is truncated ({short}); copy or download it again.")


def _counts_its_frames(path: Path) -> bool:
    """Whether an MP3 has the header that states its length; without one the decoder extrapolates from the bit rate."""
    with path.open("rb") as file:
        tag = file.read(10)
        # ID3v2, section 3.1: ten bytes, the last four of which are the tag's size in seven bits each.
        size = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(tag[6:])))
        file.seek(10 + size if tag.startswith(b"ID3") else 0)
        frame = file.read(64)
    return b"Xing" in frame or b"Info" in frame


def _ends_inside_a_page(path: Path) -> bool:
    """Whether the last Ogg page is longer than what is left of the file (RFC 3533, section 6)."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 27 - 255 - 255 * 255))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    return len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def shown(path: Path | str) -> str:
    """A path as it can be printed and written anywhere, also where its bytes are no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _reason(error: Exception) -> str:
    """The words of an error, without the path that some repeat."""
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return str(text).strip().rstrip(".") or type(error).__name__
