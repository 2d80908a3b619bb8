"""Where one would hear an error: its level above what the reference masks, over time and frequency."""

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from percloss.dsp.safe import magnitude
from percloss.measures.masking import MAGNITUDE_FLOOR, MaskingHinge
from percloss.report.pictures import FRAMES, Picture, colours, mel_centres, png

__all__ = ["CLASSES_DB", "FULL_SCALE_SPL", "Audible", "Spot", "audible", "classes", "picture"]

FULL_SCALE_SPL = 92.0
"""Level at which a full-scale sine is taken to be played [dB SPL], that of BS.1387."""

CLASSES_DB = (0, 6, 12, 18, 24)
"""Where the colours of a picture change [dB above the masking threshold]."""

# What is looked at as one: a second, in a critical band.
_SECONDS, _BARK, _RESOLUTION = 1.0, 1.0, 0.25
# So much is analysed at once; a long recording needs no more memory.
_PIECE_SECONDS = 20.0
# What is said to stand out; less is rounded to nothing.
_LEAST_DB = 0.5
# Less than any error that is heard, as an error may be 0.
_LOWEST_DB = -99.0
# From black, which is masked, to what is loud: each lighter than the one before, also without colours.
_MASKED = (16, 16, 20)


class Spot(NamedTuple):
    """A stretch of time and a band, and how far the error stands out there on average [dB above the threshold]."""

    start: float
    stop: float
    low_hz: float
    high_hz: float
    db: float

    @property
    def when(self) -> str:
        """The stretch, in words."""
        digits = 1 if self.stop - self.start >= 0.5 else 2
        return f"{self.start:.{digits}f} to {self.stop:.{digits}f} s"

    @property
    def level(self) -> str:
        """How far the error stands out, in words."""
        return f"{self.db:.0f} dB" if self.db >= _LEAST_DB else "in moments only"

    @property
    def where(self) -> str:
        """The band, in words."""
        return f"{_hertz(self.low_hz)} to {_hertz(self.high_hz)}"


@dataclass(frozen=True)
class Audible:
    """How far an error stands above the masking threshold of its reference.

    Args:
        excess: Of the louder channel [dB], frequency first and upwards, a column a frame.
        hz: In the middle of each row [Hz].
        step: From one frame to the next [s].
        worst: The second and the band where the error stands out most.
        by_second: The band where it does so in each second.
    """

    excess: Picture
    hz: Picture
    step: float
    worst: Spot
    by_second: tuple[Spot, ...]

    @property
    def share(self) -> float:
        """Of cells of time and frequency that lie above the threshold, 0 to 1."""
        return float((self.excess > 0).mean())

    @property
    def sentence(self) -> str:
        """What is to be heard, and where."""
        peak = float(self.excess.max())
        if peak <= 0:
            return "The reference masks the error everywhere: at this level it is not heard."
        above = f"{100 * self.share:.0f} %" if self.share >= 0.01 else "Less than 1 %"
        cells = f"{above} of all cells of time and frequency lie above it."
        if self.worst.db < _LEAST_DB:
            return (
                f"The error stands out in moments only, by {peak:.0f} dB at most. Averaged over a second it is nowhere "
                f"above the masking threshold; it comes nearest from {self.worst.when}, at {self.worst.where}. {cells}"
            )
        return (
            f"One would hear the error most from {self.worst.when}, at {self.worst.where}: there it lies "
            f"{self.worst.db:.0f} dB above the masking threshold. {cells}"
        )


def audible(est: Tensor, ref: Tensor, sample_rate: int) -> Audible:
    """Compare the error of each band with the masking threshold of the reference.

    The error is that of magnitudes, as BS.1387 has it: one that is in the phase alone, such as a delay, is not counted.

    Args:
        est: Estimate.
        ref: Reference.
        sample_rate: Of both [Hz].

    Shape:
        est, ref: (1, channels, time), finite.
    """
    measure = MaskingHinge(sample_rate, error="magnitude", full_scale_spl=FULL_SCALE_SPL)
    front, hz = measure.front, measure.threshold.hz
    step = front.hop_length / sample_rate
    piece = front.hop_length * round(_PIECE_SECONDS / step)
    time = est.shape[-1]
    found = []
    with torch.inference_mode():
        for start in range(0, time, piece):
            both = torch.cat((est, ref))[..., start : start + piece].float().cpu()
            frames = math.ceil(both.shape[-1] / front.hop_length)
            # A frame at the least, for the transform to mirror.
            est_power, ref_power = front.power(pad(both, (0, max(0, front.n_fft - both.shape[-1])))).chunk(2)
            error = (magnitude(est_power, MAGNITUDE_FLOOR) - magnitude(ref_power, MAGNITUDE_FLOOR)).square()
            found.append(measure.noise_to_mask(measure.threshold.bands(error), ref_power)[0, ..., :frames])
    ratio = torch.cat(found, -1).amax(0)
    seconds = time / sample_rate
    high, wide = min(len(hz), round(_BARK / _RESOLUTION)), min(ratio.shape[1], max(1, round(_SECONDS / step)))
    around = avg_pool2d(ratio[None, None], (high, wide), 1)[0, 0]

    def spot(at: int, first: int) -> Spot:
        """Of the window whose corner is this band and frame."""
        low, up = (float(hz[at]), float(hz[at + high - 1]))
        start = min(first * step, max(0.0, seconds - wide * step))
        return Spot(start, min(seconds, start + wide * step), low, up, _db(around[at, first]))

    def loudest(first: int) -> Spot:
        return spot(int(around[:, first].argmax()), first)

    top = int(around.argmax())
    return Audible(
        excess=(10 * ratio.log10()).clamp(min=_LOWEST_DB).numpy(),
        hz=hz.numpy(),
        step=step,
        worst=spot(top // around.shape[1], top % around.shape[1]),
        by_second=tuple(loudest(first) for first in range(0, around.shape[1], wide)),
    )


def picture(found: Audible, sample_rate: int, start: float, stop: float) -> str:
    """A stretch of time as an image, on the axes of a spectrogram; the loudest of what falls into one cell."""
    first, last = round(start / found.step), max(round(start / found.step) + 1, round(stop / found.step))
    nearest = np.abs(mel_centres(sample_rate)[:, None] - found.hz).argmin(1)
    cells = found.excess[nearest, first:last]
    wide = math.ceil(cells.shape[1] / FRAMES)
    edges = np.arange(0, cells.shape[1], wide)
    shades = np.digitize(np.maximum.reduceat(cells, edges, axis=1), CLASSES_DB).astype(np.uint8)
    # Beyond what is heard there are no bands.
    shades[mel_centres(sample_rate) > found.hz[-1] + (found.hz[-1] - found.hz[-2])] = 0
    return png(shades[::-1], _palette())


def classes() -> list[tuple[str, str]]:
    """The legend of a picture: each colour, and what it stands for."""
    names = ["masked"]
    for low, high in itertools.pairwise(CLASSES_DB):
        names.append(f"{low} to {high} dB above")
    names.append(f"more than {CLASSES_DB[-1]} dB above")
    return [(f"#{colour.tobytes().hex()}", name) for colour, name in zip(_palette(), names, strict=True)]


def _palette() -> Picture:
    return np.vstack([np.array(_MASKED, dtype=np.uint8), colours("inferno", 0.35, 1.0, len(CLASSES_DB))])


def _db(ratio: Tensor) -> float:
    return max(_LOWEST_DB, 10 * math.log10(max(float(ratio), 10 ** (_LOWEST_DB / 10))))


def _hertz(hz: float) -> str:
    """In words, with two or three digits, as bands are no wider than that."""
    if hz < 1000:
        return f"{round(hz, -1):.0f} Hz"
    return f"{hz / 1000:.1f} kHz"
