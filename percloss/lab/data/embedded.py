"""Two tasks from the clips inside the package: speech in noise, and the stems of a song. Nothing is downloaded."""

import numpy as np
import torch
from torch import Tensor

from percloss.data import clip, clips, song
from percloss.dsp.resample import resample
from percloss.errors import ArgumentError
from percloss.lab.data.examples import Drawn, Example
from percloss.lab.data.mixing import check_fits, check_snr, cut, in_noise, looped
from percloss.lab.data.noises import procedural_noise

__all__ = ["EmbeddedSong", "EmbeddedSpeech"]

_RATE = 16_000
# Clips kept from training; every other clip of speech is for it.
_HELD: dict[str, tuple[str, ...]] = {"valid": ("librivox_0930",), "test": ("librivox_0920", "prompt_second")}
# Of each other recording: from and to which part of it a split hears.
_PARTS = {"train": (0.0, 0.6), "valid": (0.6, 0.75), "test": (0.75, 1.0)}
# Of the song, whose stems need longer segments.
_SONG_PARTS = {"train": (0.0, 0.5), "valid": (0.5, 0.75), "test": (0.75, 1.0)}


class EmbeddedSpeech(Drawn):
    """Speech in noise, from the package's own clips; mono at 16 kHz.

    Half of the noises are recorded (babble, hiss, loops of music), half are made by ``procedural_noise``. The splits
    share neither sentences nor stretches of a noise. They do share both speakers, and the babble holds one's voice:
    with 35 s to learn from, scores say how losses compare, not how well a net enhances speech.

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``.
        segment: Length of an item [samples].
        snr_db: Lowest and highest ratio of speech to noise [dB], between which each item's is drawn evenly.
        items: Of an epoch.
        seed: Of everything that is drawn.

    Raises:
        ArgumentError: No such split, a segment longer than its speech, or ratios that are no range.
        MissingExtraError: soundfile is not installed.

    Example:
        >>> data = EmbeddedSpeech("test", segment=16_000)
        >>> data[3].mix.shape, data[3].target.shape
        (torch.Size([1, 16000]), torch.Size([1, 1, 16000]))
    """

    def __init__(
        self,
        split: str = "train",
        *,
        segment: int = 16_128,
        snr_db: tuple[float, float] = (-5.0, 15.0),
        items: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(items, sources=("speech",), sample_rate=_RATE, segment=segment, seed=seed)
        _check_split(split, "EmbeddedSpeech")
        check_snr(snr_db, "EmbeddedSpeech")
        held = {name for names in _HELD.values() for name in names}
        every = clips()
        spoken = _HELD.get(split) or tuple(
            name for name, entry in every.items() if entry["path"].startswith("speech/") and name not in held
        )
        self.speech = torch.cat([clip(name).wave[0] for name in spoken], dim=-1)
        self.noises = {
            name: _part(_mono(name), _PARTS[split])
            for name, entry in every.items()
            if entry["path"].startswith(("noise/", "music/"))
        }
        check_fits(segment, self.speech.shape[-1], f"EmbeddedSpeech: {split}")
        self.split, self.snr_db, self.time = split, snr_db, segment

    def draw(self, number: int, rng: np.random.Generator) -> Example | None:
        """A stretch of the split's speech and of a noise, at a ratio."""
        time = self.time
        speech = cut(self.speech, rng, time)
        ratio = float(rng.uniform(*self.snr_db))
        if rng.random() < 0.5:
            kind, noise = "procedural", procedural_noise(rng, time, self.sample_rate)
        else:
            kind = list(self.noises)[rng.integers(len(self.noises))]
            noise = looped(self.noises[kind], rng, time)
        mixed = in_noise(speech, noise, ratio)
        if mixed is None:
            return None
        return Example(mixed[0], mixed[1][None], self.sample_rate, f"{kind} at {ratio:.1f} dB")


class EmbeddedSong(Drawn):
    """Bass, drums, keys and strings of the package's song; stereo.

    The splits are different seconds of the same eight. In training, every other item takes each stem from a place of
    its own, at a gain of up to 6 dB either way and with its channels swapped or not.

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``.
        segment: Length of an item [samples].
        sample_rate: Of the items [Hz].
        items: Of an epoch.
        seed: Of everything that is drawn.

    Raises:
        ArgumentError: No such split, or a segment longer than it.
        MissingExtraError: soundfile is not installed.

    Example:
        >>> EmbeddedSong("valid", segment=44_100)[0].target.shape
        torch.Size([4, 2, 44100])
    """

    def __init__(
        self,
        split: str = "train",
        *,
        segment: int = 44_100,
        sample_rate: int = 44_100,
        items: int = 64,
        seed: int = 0,
    ) -> None:
        _check_split(split, "EmbeddedSong")
        whole = song()
        super().__init__(items, sources=tuple(whole.stems), sample_rate=sample_rate, segment=segment, seed=seed)
        stems = torch.cat(list(whole.stems.values()))
        self.stems = _part(resample(stems, whole.sample_rate, sample_rate), _SONG_PARTS[split])
        check_fits(segment, self.stems.shape[-1], f"EmbeddedSong: {split}")
        self.split, self.time = split, segment

    def draw(self, number: int, rng: np.random.Generator) -> Example | None:
        """The stems of one place, or each of another."""
        time = self.time
        if self.split == "train" and rng.random() < 0.5:
            target = torch.stack([_varied(cut(stem, rng, time), rng) for stem in self.stems])
            name = "remixed"
        else:
            target = cut(self.stems, rng, time)
            name = "as played"
        return Example(target.sum(0), target, self.sample_rate, name)


def _check_split(split: str, what: str) -> None:
    if split not in _PARTS:
        raise ArgumentError(f"{what}: split={split!r} came; there are {', '.join(_PARTS)}; use split='train'.")


def _mono(name: str) -> Tensor:
    wave, rate = clip(name)
    return resample(wave.mean(dim=1, keepdim=True), rate, _RATE)[0]


def _part(wave: Tensor, part: tuple[float, float]) -> Tensor:
    begin, end = (round(edge * wave.shape[-1]) for edge in part)
    return wave[..., begin:end]


def _varied(stem: Tensor, rng: np.random.Generator) -> Tensor:
    louder = 10 ** (rng.uniform(-6, 6) / 20) * stem
    return louder.flip(0) if rng.random() < 0.5 else louder
