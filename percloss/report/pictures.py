"""Pictures of a page: levels over time and frequency as small PNG images, and the numbers along their edges."""

import base64
import io
import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from percloss._optional import require
from percloss.dsp.safe import db_to_power, log_power
from percloss.dsp.scales import MEL_SLANEY
from percloss.frontends import Bands, Stft

__all__ = [
    "BANDS",
    "FRAMES",
    "RANGE_DB",
    "SHADES",
    "Picture",
    "Tick",
    "colours",
    "data_uri",
    "hz_ticks",
    "levels",
    "mel_centres",
    "png",
    "spectrogram",
    "ticks",
]

Picture: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# What a spectrogram shows below its section's loudest cell [dB], how many bands and at most how many frames of it.
RANGE_DB, FLOOR_DB = 80.0, -140.0
BANDS, FRAMES = 96, 480
# Shades in a spectrogram: steps of 1.25 dB, which the eye cannot tell apart and PNG packs well.
SHADES = 64
TICKS_HZ = (500, 1000, 2000, 4000, 8000, 16_000, 32_000)


class Tick(NamedTuple):
    """A number on an axis that goes from 0 to 1."""

    at: float
    text: str


def levels(wave: Tensor, sample_rate: int) -> Picture:
    """Levels on a mel scale [dB re full scale], of the channels' mean power, frequency first and upwards."""
    n_fft = 2 ** max(4, round(math.log2(0.045 * sample_rate)))
    short = max(0, n_fft - wave.shape[-1])
    wave = torch.nn.functional.pad(wave.detach().float().cpu(), (0, short))
    hop = max(n_fft // 4, math.ceil(wave.shape[-1] / FRAMES))
    power = Stft(n_fft, hop).power(wave).mean(dim=1, keepdim=True)
    bands = Bands(MEL_SLANEY, sample_rate, BANDS, n_fft)(power)
    found: Picture = (10 * log_power(bands, db_to_power(FLOOR_DB))[0, 0] / math.log(10)).numpy()
    return found


def mel_centres(sample_rate: int) -> Picture:
    """Frequency in the middle of each row of a picture [Hz], upwards."""
    top = MEL_SLANEY.from_hz(torch.tensor(sample_rate / 2, dtype=torch.float64))
    places = (torch.arange(BANDS, dtype=torch.float64) + 0.5) / BANDS * top
    centres: Picture = MEL_SLANEY.to_hz(places).numpy()
    return centres


def spectrogram(levels: Picture, top: float) -> str:
    """Levels as an image, of which ``top`` [dB] is the brightest."""
    shades = ((levels - top) / RANGE_DB + 1).clip(0, 1) * (SHADES - 1)
    return png(shades.round().astype(np.uint8)[::-1], colours("magma", 0.0, 1.0, SHADES))


def colours(name: str, low: float, high: float, count: int) -> Picture:
    """So many colours of a colour map of matplotlib, a row of red, green and blue each."""
    found = require("matplotlib", extra="report").colormaps[name](np.linspace(low, high, count))[:, :3]
    palette: Picture = (found * 255).round().astype(np.uint8)
    return palette


def png(shades: Picture, palette: Picture) -> str:
    """An image of shades as a data URI: one byte for a cell, coloured by a table."""
    image = require("PIL.Image", extra="report").fromarray(np.ascontiguousarray(shades))
    image.putpalette(palette.tobytes())
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    return data_uri("image/png", content.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Content as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def hz_ticks(sample_rate: int) -> list[Tick]:
    """Where frequencies lie between 0, the bottom, and half the rate, the top."""
    hz = torch.tensor([float(tick) for tick in TICKS_HZ if tick <= sample_rate / 2], dtype=torch.float64)
    places = MEL_SLANEY.from_hz(hz) / MEL_SLANEY.from_hz(torch.tensor(sample_rate / 2, dtype=torch.float64))
    return [Tick(float(place), f"{int(tick)}") for place, tick in zip(places, hz, strict=True)]


def ticks(low: float, high: float, most: int) -> list[Tick]:
    """Round numbers between two ends."""
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= least)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [Tick((n * step - low) / (high - low), f"{n * step:g}") for n in range(first, last + 1)]
