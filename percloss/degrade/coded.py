"""Families that send the signal through a real coder, as soundfile brings them: MP3 (LAME), Vorbis and Opus.

A strength is the bit rate or the quality that the coder is asked for: coders choose their bits by what they think is
heard, so that less of it may have a higher ratio. There is no gradient. Each channel is coded alone, and what
comes back is aligned to a whole sample and cut to the length of what went in.
"""

import inspect
import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from percloss._optional import require
from percloss.dsp.resample import resample
from percloss.errors import MissingExtraError

STEPS = 12
"""Settings that are tried where one is sought, from the best quality to the worst."""

# The settings that soundfile takes go from 0, the best, to 1, which LAME refuses.
_WORST = 0.999
# Lower peaks leave room for what a coder overshoots.
_PEAK = 0.9
# Encoders and decoders are late by up to this many samples where the file does not say by how many.
_LATEST = 4096


class _Coder(NamedTuple):
    """Names of a coder in soundfile, and the rates it codes at [Hz], lowest first; none named is any.

    Where the setting is a bit rate, this falls with the square of ``1 - strength``: what is heard happens below a tenth
    of the highest.
    """

    container: str
    subtype: str
    rates: tuple[int, ...] = ()
    by_bit_rate: bool = False
    mode: Mapping[str, str] = MappingProxyType({})


_MP3 = _Coder(
    *("MP3", "MPEG_LAYER_III", (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)),
    by_bit_rate=True,
    mode=MappingProxyType({"bitrate_mode": "AVERAGE"}),
)
_VORBIS = _Coder("OGG", "VORBIS")
_OPUS = _Coder("OGG", "OPUS", (8000, 12_000, 16_000, 24_000, 48_000), by_bit_rate=True)


def mp3(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Code with MP3; at strength 1, at the lowest bit rate, 10 kbit/s at 16 kHz and 35 kbit/s at 44.1 kHz."""
    return _sent(wave, sample_rate, strength, _MP3)


def vorbis(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Code with Ogg Vorbis; at strength 1, at the worst quality, about 35 kbit/s for speech."""
    return _sent(wave, sample_rate, strength, _VORBIS)


def opus(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Code with Opus; at strength 1, at the lowest bit rate, below 10 kbit/s.

    It codes at 8, 12, 16, 24 or 48 kHz: other rates are brought to the next higher one and back.
    """
    return _sent(wave, sample_rate, strength, _OPUS)


def _sent(wave: Tensor, sample_rate: int, strength: Tensor | float, coder: _Coder) -> Tensor:
    """Every channel coded at its own strength; those of strength 0, and silent ones, as they are."""
    code = _coding(coder, sample_rate)
    flat = wave.detach().reshape(-1, wave.shape[-1])
    strengths = torch.as_tensor(strength).expand(*wave.shape[:2], 1).flatten().tolist()
    back = [
        _aligned(code(one, at), one) if at > 0 and bool(one.any()) else one
        for one, at in zip(flat, strengths, strict=True)
    ]
    return torch.stack(back).view_as(wave)


def _coding(coder: _Coder, sample_rate: int) -> Callable[[Tensor, float], Tensor]:
    """What codes and decodes one channel at a quality, at the nearest rate that the coder knows."""
    soundfile = require("soundfile", extra="audio")
    able = coder.subtype in soundfile.available_subtypes(coder.container)
    if not able or "compression_level" not in inspect.signature(soundfile.write).parameters:
        raise MissingExtraError(
            f"{coder.subtype}: soundfile {soundfile.__version__} with {soundfile.__libsndfile_version__} came, which "
            f'cannot code it at a quality; it comes with: pip install -U "soundfile>=0.13"'
        )
    rate = next((known for known in coder.rates if known >= sample_rate), max(coder.rates, default=sample_rate))

    def code(one: Tensor, strength: float) -> Tensor:
        quality = min(_WORST, 1 - (1 - strength) ** 2 if coder.by_bit_rate else strength)
        level = min(1.0, _PEAK / float(one.abs().max()))
        samples = resample(level * one, sample_rate, rate).float().cpu().numpy()
        file = io.BytesIO()
        kind = {"format": coder.container, "subtype": coder.subtype, **coder.mode}
        soundfile.write(file, samples, rate, compression_level=quality, **kind)
        file.seek(0)
        decoded = torch.from_numpy(soundfile.read(file, dtype="float32")[0]).to(one)
        return resample(decoded, rate, sample_rate) / level

    return code


def _aligned(decoded: Tensor, sent: Tensor) -> Tensor:
    """What came back, moved by whole samples to where it is most like what was sent, at the same length."""
    time = sent.shape[-1]
    n = next_fast_len(time + len(decoded), real=True)
    likeness = torch.fft.irfft(torch.fft.rfft(decoded, n) * torch.fft.rfft(sent, n).conj(), n)
    most = min(_LATEST, time - 1, len(decoded) - 1)
    near = torch.cat((likeness[-most:], likeness[: most + 1])) if most > 0 else likeness[:1]
    # A tone is almost as like itself a period later.
    lag = 0 if likeness[0] >= 0.99 * near.max() else int(near.argmax()) - most
    placed = decoded[lag:] if lag >= 0 else torch.nn.functional.pad(decoded, (-lag, 0))
    return torch.nn.functional.pad(placed, (0, max(0, time - len(placed))))[:time]


def settings() -> list[float]:
    """Strengths to be tried, from a little to 1."""
    return [step / STEPS for step in range(1, STEPS + 1)]
