"""Augmentation: the same voice or stem, otherwise played, otherwise recorded; and stems that were never together."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from percloss._optional import require
from percloss.errors import ArgumentError, ShapeError

__all__ = ["Augment", "remix"]

_EXTRA = "augment"

Samples: TypeAlias = npt.NDArray[np.float32]
Change: TypeAlias = Callable[[Samples, int], Samples]


class Augment:
    """Gain, pitch, tempo, equaliser, room and band limits by package audiomentations, each with a probability.

    ``augment(wave, seed)`` depends on its arguments alone. The package draws from the global generators of Python and
    NumPy: they are seeded and put back, so it is not for threads that draw from them. A room is simulated by
    pyroomacoustics, by image sources; its direct sound comes as late as from that far away, at the level the wave had.
    All of them keep the length: a lower tempo loses the end, a higher one leaves silence there.

    Args:
        sample_rate: Of the waves [Hz].
        probability: Of each change.
        gain_db: At most, either way [dB].
        pitch_semitones: At most, either way.
        tempo_percent: At most, either way.
        equaliser_db: Of each of seven bands, at most, either way [dB].
        room: Whether rooms are among the changes.
        band_limits: Whether a low-pass from a quarter to nine tenths of the half rate, and a high-pass from 40 to
            400 Hz are.

    A limit of 0 leaves that change out.

    Shape:
        wave: (channels, time), 1 or 2 channels, float32. Returns the same.

    Raises:
        ArgumentError: A probability or limit that makes no sense.
        MissingExtraError: audiomentations, or pyroomacoustics where rooms are asked for, is not installed.
        ShapeError: A wave of another shape.

    References:
        [jordal2025]_; rooms by [scheibler2018]_.
    """

    def __init__(
        self,
        sample_rate: int,
        *,
        probability: float = 0.5,
        gain_db: float = 6.0,
        pitch_semitones: float = 2.0,
        tempo_percent: float = 10.0,
        equaliser_db: float = 6.0,
        room: bool = True,
        band_limits: bool = True,
    ) -> None:
        limits = (gain_db, pitch_semitones, tempo_percent, equaliser_db)
        if not (0 <= probability <= 1 and min(limits) >= 0 and pitch_semitones <= 12 and tempo_percent <= 50):
            raise ArgumentError(
                f"Augment: probability={probability}, gain_db={gain_db}, pitch_semitones={pitch_semitones}, "
                f"tempo_percent={tempo_percent} and equaliser_db={equaliser_db} came; needed are a probability from 0 "
                f"to 1, limits from 0 up, at most 12 semitones and 50 %; use Augment({sample_rate})."
            )
        library = require("audiomentations", extra=_EXTRA)
        self.sample_rate = sample_rate
        half = sample_rate / 2
        often = {"p": probability}
        changes: list[Change] = []
        if pitch_semitones:
            changes.append(library.PitchShift(-pitch_semitones, pitch_semitones, **often))
        if tempo_percent:
            rates = 1 - tempo_percent / 100, 1 + tempo_percent / 100
            changes.append(library.TimeStretch(*rates, leave_length_unchanged=True, **often))
        if equaliser_db:
            changes.append(library.SevenBandParametricEQ(-equaliser_db, equaliser_db, **often))
        if room:
            require("pyroomacoustics", extra=_EXTRA)
            # Ray tracing has a generator of its own, which nothing seeds.
            changes.append(
                _Levelled(
                    library.RoomSimulator(use_ray_tracing=False, max_order=8, leave_length_unchanged=True, **often)
                )
            )
        if band_limits:
            changes.append(library.LowPassFilter(half / 4, 0.9 * half, **often))
            changes.append(library.HighPassFilter(40, 400, **often))
        if gain_db:
            changes.append(library.Gain(-gain_db, gain_db, **often))
        self.changes = changes

    def __call__(self, wave: Tensor, seed: int) -> Tensor:
        """The wave, changed as the seed has it."""
        if wave.dim() != 2 or wave.shape[0] not in (1, 2) or wave.shape[1] == 0:
            raise ShapeError(
                f"Augment: a wave of shape {tuple(wave.shape)} came; needed is (channels, time) with 1 or 2 channels; "
                f"type [augment(one, seed) for one in batch]."
            )
        if not wave.any():
            return wave.clone()
        samples = wave.detach().cpu().float().numpy().copy()
        with _seeded(seed):
            for change in self.changes:
                samples = np.ascontiguousarray(change(samples, self.sample_rate), dtype=np.float32)
        time = wave.shape[-1]
        changed = torch.from_numpy(samples)[:, :time].to(wave)
        return torch.nn.functional.pad(changed, (0, time - changed.shape[-1]))


class _Levelled:
    """The package's room as a change that is no gain: the energy stays. It keeps no room, which no pickle holds."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def __call__(self, samples: Samples, sample_rate: int) -> Samples:
        changed: Samples = self.change(samples, sample_rate)
        vars(self.change).pop("room", None)
        before, after = (np.sqrt(np.mean(np.square(x, dtype=np.float64))) for x in (samples, changed))
        return changed * np.float32(before / after) if after else samples


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators, from a seed on and then as they were."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002  (what the package draws from)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def remix(target: Tensor, *, generator: Generator, gain_db: float = 6.0) -> tuple[Tensor, Tensor]:
    """Mixtures of stems that were never together: each source is dealt anew over the batch, at a gain of its own.

    Args:
        target: Sources of each item.
        generator: Source of the order and of the gains; on the CPU.
        gain_db: At most, either way [dB].

    Shape:
        target: (batch, sources, channels, time). Returns the mixtures (batch, channels, time) and their sources.

    Raises:
        ShapeError: Another shape.

    References:
        [uhlich2017]_.
    """
    if target.dim() != 4:
        raise ShapeError(
            f"remix: a shape of {tuple(target.shape)} came; needed is (batch, sources, channels, time); "
            f"type remix(target[None], generator=generator) for one item."
        )
    batch, sources = target.shape[:2]
    dealt = torch.stack([target[torch.randperm(batch, generator=generator), one] for one in range(sources)], dim=1)
    gains = gain_db * (2 * torch.rand(batch, sources, 1, 1, generator=generator) - 1)
    dealt = dealt * (10 ** (gains / 20)).to(dealt)
    return dealt.sum(1), dealt
