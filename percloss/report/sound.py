"""Sound of a page, in the file itself: without loss where it is short, as MP3 where it would be too large."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from percloss._optional import require
from percloss.report.pictures import data_uri

__all__ = ["LOSSLESS_BYTES", "Sounds", "encode"]

LOSSLESS_BYTES = 900_000
"""Of one track: two such make a page of 2.5 MB. Ten seconds of stereo music have about as much, and with noise more."""

# Of MPEG-1 and MPEG-2, layer III.
_MP3_RATES = frozenset({8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000})
_MP3_CHANNELS = 2


class Sounds(NamedTuple):
    """Tracks as data URIs, and how they are coded, in words."""

    tracks: list[str]
    coding: str


def encode(waves: Sequence[Tensor], sample_rate: int, *, lossless: bool) -> Sounds:
    """Code all in the same way, so that none sounds worse for it.

    Args:
        waves: ``(1, channels, time)`` each, within [-1, 1].
        sample_rate: Of all [Hz].
        lossless: Whatever the size.

    Returns:
        FLAC of 16 bits, or where one of them is larger than ``LOSSLESS_BYTES`` MP3 at its highest bit rate, if that
        has the rate and channels and soundfile writes it.
    """
    soundfile = require("soundfile", extra="audio")
    samples = [wave[0].detach().float().cpu().numpy().T for wave in waves]

    def coded(one: Any, kind: str, subtype: str, level: float, **mode: str) -> bytes:
        content = io.BytesIO()
        soundfile.write(content, one, sample_rate, format=kind, subtype=subtype, compression_level=level, **mode)
        return content.getvalue()

    tracks = [coded(one, "FLAC", "PCM_16", 1.0) for one in samples]
    able = "MPEG_LAYER_III" in soundfile.available_subtypes("MP3")
    fits = sample_rate in _MP3_RATES and samples[0].shape[1] <= _MP3_CHANNELS
    if lossless or max(map(len, tracks)) <= LOSSLESS_BYTES or not (able and fits):
        return Sounds([data_uri("audio/flac", track) for track in tracks], "FLAC, 16 bits, without loss")
    tracks = [coded(one, "MP3", "MPEG_LAYER_III", 0.0, bitrate_mode="CONSTANT") for one in samples]
    rate = 8 * round(len(tracks[0]) / len(samples[0]) * sample_rate / 1000)
    return Sounds([data_uri("audio/mpeg", track) for track in tracks], f"MP3 at {rate} kbit/s")
