"""Data sets by name, as ``--data`` takes them: ``embedded``, ``song``, or a corpus and its folder."""

from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar

from percloss._nearest import nearest
from percloss.errors import ArgumentError
from percloss.lab.data import (
    Drawn,
    EmbeddedSong,
    EmbeddedSpeech,
    SpeechInNoise,
    dns,
    dns_pairs,
    librimix,
    librispeech,
    musdb18,
    urbansound8k,
    voicebank_demand,
)

__all__ = ["FOLDERS", "Split", "load"]

T = TypeVar("T")
Split: TypeAlias = Literal["train", "valid"]

# Of corpora that nobody has split: one recording in so many is kept from training.
_ONE_IN = 20


def load(text: str, split: Split, *, segment: int, seed: int = 0, sample_rate: int | None = None) -> Drawn:
    """A data set for training or validation.

    Args:
        text: ``"embedded"``, speech in noise from the package's clips; ``"song"``, the stems of its song;
            ``"NAME:PATH"`` with one of ``FOLDERS``, as its function in ``percloss.lab.data`` reads it; or
            ``"librispeech:PATH,urbansound8k:PATH"``, the one in the noise of the other.
        split: Which part.
        segment: Length of an item [samples].
        seed: Of everything that is drawn.
        sample_rate: To which files are resampled [Hz]; if not given, they must have one.

    Raises:
        ArgumentError: No such name, or no folder behind it.
        AudioFileError: The folder is not there, or something is missing from it.
        SampleRateError: Files of several rates, and none is asked for.
    """
    parts = {name.strip(): path.strip() for name, _, path in (part.partition(":") for part in text.split(","))}
    if parts == {"embedded": ""}:
        if sample_rate not in (None, 16_000):
            raise ArgumentError(f"data: the embedded speech is at 16000 Hz, and {sample_rate} came; leave it out.")
        return EmbeddedSpeech(split, segment=segment, seed=seed)
    if parts == {"song": ""}:
        return EmbeddedSong(split, segment=segment, seed=seed, sample_rate=sample_rate or 44_100)
    known = "+".join(parts)
    if known not in FOLDERS or not all(parts.values()):
        hint = nearest(known, sorted(["embedded", "song", *FOLDERS]))
        if known in FOLDERS:
            hint = "needed is its folder: type " + ",".join(f"{name}:PATH" for name in parts)
        raise ArgumentError(f"data: got {text!r}; {hint}")
    return FOLDERS[known](*parts.values(), split, segment, seed, sample_rate)


def _musdb18(root: str, split: Split, segment: int, seed: int, sample_rate: int | None) -> Drawn:
    return musdb18(root, split, sources=("vocals",), segment=segment, seed=seed, sample_rate=sample_rate)


def _musdb18_stems(root: str, split: Split, segment: int, seed: int, sample_rate: int | None) -> Drawn:
    stems = ("drums", "bass", "other", "vocals")
    return musdb18(root, split, sources=stems, segment=segment, seed=seed, sample_rate=sample_rate)


def _voicebank(root: str, split: Split, segment: int, seed: int, sample_rate: int | None) -> Drawn:
    return voicebank_demand(root, split, segment=segment, seed=seed, sample_rate=sample_rate)


def _librimix(root: str, split: Split, segment: int, seed: int, sample_rate: int | None) -> Drawn:
    subset = "train-100" if split == "train" else "dev"
    return librimix(root, subset, segment=segment, seed=seed, sample_rate=sample_rate or 16_000)


def _dns_pairs(root: str, split: Split, segment: int, seed: int, sample_rate: int | None) -> Drawn:
    whole = dns_pairs(root, segment=segment, seed=seed, sample_rate=sample_rate)
    whole.tracks = _kept(whole.tracks, split)
    whole.length = len(whole.tracks)
    return whole


def _dns(root: str, split: Split, segment: int, seed: int, sample_rate: int | None) -> Drawn:
    whole = dns(root, segment=segment, seed=seed, sample_rate=sample_rate)
    speech, noise = _kept(whole.speech, split), _kept(whole.noise, split)
    return SpeechInNoise(speech, noise, segment=segment, seed=seed, sample_rate=whole.sample_rate)


def _librispeech(speech: str, noise: str, split: Split, segment: int, seed: int, sample_rate: int | None) -> Drawn:
    subsets, folds = (("train-clean-100",), range(1, 10)) if split == "train" else (("dev-clean",), range(10, 11))
    return SpeechInNoise(
        librispeech(speech, subsets),
        urbansound8k(noise, folds),
        segment=segment,
        seed=seed,
        sample_rate=sample_rate or 16_000,
    )


def _kept(found: list[T], split: Split) -> list[T]:
    """Every so many for validation, the others for training."""
    if len(found) < 2:
        raise ArgumentError(f"data: {len(found)} recording came; needed are two, one to train on and one to validate.")
    valid = found[::_ONE_IN]
    return valid if split == "valid" else [one for one in found if one not in valid]


FOLDERS: dict[str, Callable[..., Drawn]] = {
    "musdb18": _musdb18,
    "musdb18-stems": _musdb18_stems,
    "voicebank": _voicebank,
    "librimix": _librimix,
    "dns": _dns,
    "dns-pairs": _dns_pairs,
    "librispeech+urbansound8k": _librispeech,
}
"""Corpora whose folders can be named: ``musdb18`` is vocals in songs, ``musdb18-stems`` all four stems."""
