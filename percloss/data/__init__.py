"""Real recordings inside the package: speech, noise, music loops and the four stems of one song.

Nothing is read before it is asked for. Where each clip comes from and under what licence is in its entry of
:func:`clips`.
"""

import io
import json
import re
from importlib import resources
from typing import NamedTuple, TypedDict, cast

import torch
from torch import Tensor

from percloss._nearest import nearest_and_all
from percloss._optional import require
from percloss.degrade import at_snr
from percloss.dsp.resample import resample
from percloss.errors import ArgumentError

__all__ = ["Clip", "Entry", "NoisySpeech", "Song", "clip", "clips", "noisy_speech", "song"]


class Entry(TypedDict):
    """What the manifest says of one clip. ``sr`` is its rate [Hz]."""

    path: str
    bytes: int
    sha256: str
    sr: int
    channels: int
    seconds: float
    licence: str
    origin: str
    note: str


class Clip(NamedTuple):
    """One recording, as ``(1, channels, time)`` in float32, and its rate [Hz]."""

    wave: Tensor
    sample_rate: int


class NoisySpeech(NamedTuple):
    """``noisy`` is ``clean + noise``, each ``(1, channels, time)``, and their rate [Hz]."""

    noisy: Tensor
    clean: Tensor
    noise: Tensor
    sample_rate: int


class Song(NamedTuple):
    """``mixture`` is the sum of ``stems``, each ``(1, 2, time)``, and their rate [Hz]."""

    mixture: Tensor
    stems: dict[str, Tensor]
    sample_rate: int


def clips() -> dict[str, Entry]:
    """Every embedded clip by name, with what the manifest says of it.

    A name is that of the file, without the rate.

    Example:
        >>> clips()["drums"]["licence"]
        'MIT (FluidR3_GM) + own MIDI CC0'
    """
    manifest = (resources.files(__name__) / "clips" / "manifest.json").read_text(encoding="utf-8")
    entries = cast(list[Entry], json.loads(manifest))
    return {re.sub(r"_\d+k$", "", entry["path"].split("/")[-1].rpartition(".")[0]): entry for entry in entries}


def clip(name: str) -> Clip:
    """One embedded recording.

    Args:
        name: One of :func:`clips`.

    Raises:
        ArgumentError: No clip of that name.
        MissingExtraError: soundfile, which reads it, is not installed.

    Example:
        >>> clip("drums").wave.shape
        torch.Size([1, 2, 352801])
    """
    known = clips()
    if name not in known:
        raise ArgumentError(f"clip: {name!r} came; {nearest_and_all(name, known)}")
    soundfile = require("soundfile", extra="audio")
    content = (resources.files(__name__) / "clips" / known[name]["path"]).read_bytes()
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return Clip(torch.from_numpy(samples.T.copy())[None], int(rate))


def noisy_speech(snr_db: float = 10.0, *, speech: str = "librivox_0870", noise: str = "babble10") -> NoisySpeech:
    """Speech in noise at exactly a signal-to-noise ratio, the same at every call.

    The noise is brought to the speech's rate, mixed down where it has more channels than the speech, freed of its mean
    (an offset would count as noise that nobody hears), and repeated or cut to the speech's length.

    Args:
        snr_db: Ratio of the speech's power to the noise's [dB].
        speech: One of :func:`clips`.
        noise: One of :func:`clips`.

    Raises:
        ArgumentError: No clip of that name, or a ratio that is no finite number.
        MissingExtraError: soundfile is not installed.

    Example:
        >>> noisy, clean, noise, rate = noisy_speech(snr_db=5.0)
        >>> torch.equal(noisy, clean + noise)
        True
    """
    clean, rate = clip(speech)
    hum, noise_rate = clip(noise)
    hum = resample(hum, noise_rate, rate)
    if hum.shape[1] != clean.shape[1]:
        hum = hum.mean(dim=1, keepdim=True).expand(1, clean.shape[1], -1)
    time = clean.shape[-1]
    hum = hum.repeat(1, 1, -(-time // hum.shape[-1]))[..., :time]
    hum = at_snr(hum - hum.mean(dim=-1, keepdim=True), clean, snr_db)
    return NoisySpeech(clean + hum, clean, hum, rate)


def song() -> Song:
    """Eight seconds of a song: bass, drums, keys and strings, and their sum.

    Raises:
        MissingExtraError: soundfile is not installed.

    Example:
        >>> mixture, stems, rate = song()
        >>> torch.equal(mixture, sum(stems.values()))
        True
    """
    stems: dict[str, Tensor] = {}
    for name, entry in clips().items():
        if entry["path"].startswith("music_stems/"):
            wave, rate = clip(name)
            # On a grid of -120 dBFS float32 adds without rounding, so the stems sum to the mixture in any order.
            stems[name] = (wave * 2**20).round() / 2**20
    return Song(torch.stack(list(stems.values())).sum(dim=0), stems, rate)
