"""Corpora of files as data sets: mixtures with what is in them, and speech with noise to be mixed."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from percloss.errors import ArgumentError, ShapeError
from percloss.lab.data.examples import Drawn, Example
from percloss.lab.data.mixing import check_snr, in_noise, looped
from percloss.lab.data.recordings import Recording, common_rate, stretch
from percloss.scoring.audio import shown

__all__ = ["Augmentation", "SpeechInNoise", "Track", "Tracks"]

Augmentation: TypeAlias = Callable[[Tensor, int], Tensor]
"""From a wave (channels, time) and a seed to a changed wave of the same shape."""

# An AAC decoder may add two frames of 1024 samples at 44.1 kHz to a stem.
_SLACK = 0.05


class Track(NamedTuple):
    """A mixture, and for each source the recordings that add up to it."""

    name: str
    mixture: Recording
    sources: tuple[tuple[Recording, ...], ...]

    @property
    def files(self) -> tuple[Recording, ...]:
        """All of its recordings."""
        return self.mixture, *(file for source in self.sources for file in source)


class Tracks(Drawn):
    """Mixtures and their sources, read from disk, a random stretch of each track in every epoch.

    A track shorter than a segment is followed by zeros. Where files of a track differ in length by up to 50 ms, as
    decoders leave them, the shortest counts.

    Args:
        tracks: One item of an epoch each.
        sources: Their names.
        segment: Length of an item [samples at ``sample_rate``]; ``None`` for whole tracks.
        sample_rate: To which all is resampled [Hz]; if not given, that of the files, which must have one.
        augment: Applied to each source for itself; the mixture changes by as much.
        seed: Of everything that is drawn.
        skip_broken: As of :class:`Drawn`.

    Raises:
        ArgumentError: No tracks, or names of sources that no track has.
        SampleRateError: Files of several rates, and none is asked for.
        ShapeError: Files of a track that differ in length or in channels.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        *,
        sources: tuple[str, ...],
        segment: int | None = None,
        sample_rate: int | None = None,
        augment: Augmentation | None = None,
        seed: int = 0,
        skip_broken: bool = False,
    ) -> None:
        if not tracks or any(len(track.sources) != len(sources) for track in tracks):
            raise ArgumentError(
                f"Tracks: {len(tracks)} tracks and the sources {sources} came; needed is a track or more, and of each "
                f"as many sources as names; use musdb18(root) or another folder of percloss.lab.data."
            )
        rate = common_rate((file for track in tracks for file in track.files), sample_rate, what="Tracks")
        for track in tracks:
            _check_track(track)
        super().__init__(
            len(tracks), sources=sources, sample_rate=rate, segment=segment, seed=seed, skip_broken=skip_broken
        )
        self.tracks, self.augment = list(tracks), augment

    def draw(self, number: int, rng: np.random.Generator) -> Example | None:
        """A stretch of a track."""
        track = self.tracks[number]
        seconds = min(file.frames / file.sample_rate for file in track.files)
        time = round(seconds * self.sample_rate) if self.segment is None else self.segment
        begin = max(0.0, seconds - time / self.sample_rate) * float(rng.random())

        def part(file: Recording) -> Tensor:
            return _part(file, begin, time, self.sample_rate)

        mix = part(track.mixture)
        target = torch.stack([torch.stack([part(file) for file in source]).sum(0) for source in track.sources])
        if self.augment is not None:
            changed = torch.stack([self.augment(source, int(rng.integers(2**32))) for source in target])
            mix, target = mix + (changed - target).sum(0), changed
        return Example(mix, target, self.sample_rate, f"{track.name} from {begin:.2f} s")


class SpeechInNoise(Drawn):
    """Speech of one corpus in noise of another, mixed to mono at a ratio that is drawn.

    An utterance shorter than a segment is followed by zeros, a noise is repeated. A stretch without any sound, of
    speech or of noise, is replaced by another.

    Args:
        speech: One item of an epoch each.
        noise: From which each item's is drawn.
        segment: Length of an item [samples at ``sample_rate``].
        snr_db: Lowest and highest ratio of speech to noise [dB].
        sample_rate: To which all is resampled [Hz]; if not given, that of the files, which must have one.
        augment: Applied to the speech and to the noise, each for itself, before they are mixed.
        seed: Of everything that is drawn.
        skip_broken: As of :class:`Drawn`.

    Raises:
        ArgumentError: No speech or no noise, or ratios that are no range.
        SampleRateError: Files of several rates, and none is asked for.
    """

    def __init__(
        self,
        speech: Sequence[Recording],
        noise: Sequence[Recording],
        *,
        segment: int,
        snr_db: tuple[float, float] = (-5.0, 15.0),
        sample_rate: int | None = None,
        augment: Augmentation | None = None,
        seed: int = 0,
        skip_broken: bool = False,
    ) -> None:
        if not speech or not noise:
            raise ArgumentError(
                f"SpeechInNoise: {len(speech)} recordings of speech and {len(noise)} of noise came; needed is one or "
                f"more of each; use librispeech(root) and urbansound8k(root)."
            )
        check_snr(snr_db, "SpeechInNoise")
        rate = common_rate([*speech, *noise], sample_rate, what="SpeechInNoise")
        super().__init__(
            len(speech), sources=("speech",), sample_rate=rate, segment=segment, seed=seed, skip_broken=skip_broken
        )
        self.speech, self.noise, self.snr_db = list(speech), list(noise), snr_db
        self.augment, self.time = augment, segment

    def draw(self, number: int, rng: np.random.Generator) -> Example | None:
        """An utterance, or a stretch of it, in a noise."""
        spoken, disturbing = self.speech[number], self.noise[int(rng.integers(len(self.noise)))]
        speech, noise = (self._mono(file, rng) for file in (spoken, disturbing))
        ratio = float(rng.uniform(*self.snr_db))
        if self.augment is not None:
            speech, noise = (self.augment(wave, int(rng.integers(2**32))) for wave in (speech, noise))
        speech = torch.nn.functional.pad(speech, (0, self.time - speech.shape[-1]))
        mixed = in_noise(speech, looped(noise, rng, self.time), ratio)
        if mixed is None:
            return None
        name = f"{spoken.path} in {disturbing.path} at {ratio:.1f} dB"
        return Example(mixed[0], mixed[1][None], self.sample_rate, shown(name))

    def _mono(self, file: Recording, rng: np.random.Generator) -> Tensor:
        seconds = file.frames / file.sample_rate
        time = max(1, min(self.time, round(seconds * self.sample_rate)))
        begin = max(0.0, seconds - time / self.sample_rate) * float(rng.random())
        return _part(file, begin, time, self.sample_rate).mean(dim=0, keepdim=True)


def _part(file: Recording, begin: float, time: int, sample_rate: int) -> Tensor:
    """``time`` samples at a rate from a second on."""
    start = min(round(begin * file.sample_rate), file.frames - 1)
    # Two frames more, where rounding at either rate might come out short.
    frames = time if file.sample_rate == sample_rate else math.ceil(time * file.sample_rate / sample_rate) + 2
    return stretch(file, start=start, frames=frames, sample_rate=sample_rate, segment=time)


def _check_track(track: Track) -> None:
    seconds = [file.frames / file.sample_rate for file in track.files]
    if max(seconds) - min(seconds) > _SLACK or min(seconds) == 0:
        told = ", ".join(
            f"{shown(file.path)} {length:.3f} s" for file, length in zip(track.files, seconds, strict=True)
        )
        raise ShapeError(f"{track.name}: files of different length came: {told}; needed is one length; make it again.")
    if len({file.channels for file in track.files}) > 1:
        told = ", ".join(f"{shown(file.path)} has {file.channels}" for file in track.files)
        raise ShapeError(f"{track.name}: files of different channels came: {told}; needed is one number of channels.")
