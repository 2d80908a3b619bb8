"""Stretches of recordings, and speech in noise at a ratio."""

import numpy as np
from torch import Tensor

from percloss.degrade import at_snr
from percloss.errors import ArgumentError


def check_snr(snr_db: tuple[float, float], what: str) -> None:
    """Refuse what is no range of decibels."""
    low, high = snr_db
    if not -200 < low <= high < 200:
        raise ArgumentError(
            f"{what}: snr_db={snr_db} came; needed are the lowest and the highest ratio [dB]; use snr_db=(-5.0, 15.0)."
        )


def check_fits(segment: int, time: int, what: str) -> None:
    """Refuse a segment that is longer than what there is."""
    if segment > time:
        raise ArgumentError(f"{what}: segment={segment} came; there are {time} samples; use segment={time} or less.")


def cut(wave: Tensor, rng: np.random.Generator, time: int) -> Tensor:
    """A stretch from anywhere."""
    start = int(rng.integers(wave.shape[-1] - time + 1))
    return wave[..., start : start + time]


def looped(noise: Tensor, rng: np.random.Generator, time: int) -> Tensor:
    """A stretch from anywhere, from the beginning again where it ends, without its mean."""
    start = int(rng.integers(noise.shape[-1]))
    turned = noise.roll(-start, -1).repeat(1, -(-time // noise.shape[-1]))[..., :time]
    return turned - turned.mean()


def in_noise(speech: Tensor, noise: Tensor, snr_db: float) -> tuple[Tensor, Tensor] | None:
    """Speech in noise at exactly a ratio, and the speech; ``None`` where one of them is silent and there is none.

    Where the two together would go beyond full scale, both come as much softer.
    """
    if not speech.any() or not noise.any():
        return None
    mix = speech + at_snr(noise[None], speech[None], snr_db)[0]
    softer = mix.abs().max().clamp(min=1.0)
    return mix / softer, speech / softer
