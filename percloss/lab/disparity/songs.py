"""Real separators on real songs, where the data are at hand: BSS Eval's numbers beside those that model hearing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from percloss.errors import ArgumentError, PerclossError
from percloss.evaluation import evaluate
from percloss.measure import Measure, create
from percloss.scoring.audio import read
from percloss.spec import Spec
from percloss.wrappers import Resampled

__all__ = ["SONG_MEASURES", "SONG_RATIOS", "song_specs", "songs_in", "study_song"]

STEMS = ("vocals", "accompaniment")
#: BSS Eval v4 in frames of a second, the median over frames, as museval has it.
SONG_RATIOS = ("bss_sdr", "bss_sir", "bss_isr", "bss_sar")
SONG_MEASURES = ("si_sdr", "mse", "nmr", "compressive_nmr", "mrstft", "multi_scale_mel", "lsd", "visqol_audio")
_FOLDER = "waveunet_examples"
_VISQOL_RATE = 48_000


def songs_in(data: Path) -> list[Path]:
    """Folders of songs with a mixture, the true stems and what a Wave-U-Net made of it.

    Raises:
        ArgumentError: None there.
    """
    found = sorted(path.parent for path in (data / _FOLDER).glob("*/mix.*"))
    if not found:
        raise ArgumentError(
            f"disparity: {data} has no {_FOLDER}/*/mix.mp3 beside vocals_true, accompaniment_true and their _estimate; "
            f"needed is a folder with them; type --data FOLDER, or leave it out."
        )
    return found


def song_specs() -> dict[str, Spec]:
    """Of the measures of songs, in the order of their columns."""
    rate = 44_100
    return {name: measure.spec for name, measure in {**_ratios(rate), **_measures(rate)}.items()}


def study_song(folder: Path, *, seconds: float = 30.0) -> dict[str, Any]:
    """The vocals of a song by each separator that there is: ``{"rows": {separator: scores}, "left_out": ...}``."""
    waves, rate = _read(folder, seconds)
    ref = torch.cat([waves[f"{stem}_true"] for stem in STEMS])
    separators: dict[str, Tensor] = {
        "mixture": torch.cat([waves["mix"]] * 2),
        "Wave-U-Net": torch.cat([waves[f"{stem}_estimate"] for stem in STEMS]),
    }
    left_out = {}
    try:
        separators["Spleeter"] = _spleeter(waves["mix"], rate)
    except PerclossError as error:
        left_out["Spleeter"] = str(error)
    rows = {name: _scores(est, ref, rate) for name, est in separators.items()}
    return {"rows": rows, "left_out": left_out, "seconds": ref.shape[-1] / rate, "sample_rate": rate}


def _spleeter(mix: Tensor, rate: int) -> Tensor:
    from percloss.lab.spleeter import Spleeter

    if rate != Spleeter.sample_rate:
        raise ArgumentError(f"Spleeter: got {rate} Hz; needed is {Spleeter.sample_rate} Hz; resample the song.")
    with torch.inference_mode():
        stems = Spleeter.pretrained()(mix)
    return torch.cat([getattr(stems, stem) for stem in STEMS])


def _read(folder: Path, seconds: float) -> tuple[dict[str, Tensor], int]:
    names = ["mix", *(f"{stem}_{kind}" for stem in STEMS for kind in ("true", "estimate"))]
    found = {name: read(next(iter(sorted(folder.glob(f"{name}.*"))), folder / f"{name}.mp3")) for name in names}
    rates = {name: audio.sample_rate for name, audio in found.items()}
    if len(set(rates.values())) > 1:
        raise ArgumentError(f"disparity: {folder} has several rates, {rates}; needed is one; resample the files.")
    rate = rates["mix"]
    # MP3 decoders add or drop some samples at the end.
    time = min(round(seconds * rate), *(audio.wave.shape[-1] for audio in found.values()))
    return {name: audio.wave[..., :time] for name, audio in found.items()}, rate


def _scores(est: Tensor, ref: Tensor, rate: int) -> dict[str, float | None]:
    """Of the vocals; both stems are given, (2, channels, time)."""
    found = evaluate(est[None], ref[None], rate, _ratios(rate).values())
    values = {name: float(value[0, 0]) for name, value in found.items()}
    heard = evaluate(est[:1], ref[:1], rate, _measures(rate).values())
    values.update({name: float(value.mean()) for name, value in heard.items()})
    return {name: float(f"{value:.9g}") if value == value else None for name, value in values.items()}


def _ratios(rate: int) -> Mapping[str, Measure]:
    return {name: create(name, sample_rate=rate) for name in SONG_RATIOS}


def _measures(rate: int) -> Mapping[str, Measure]:
    visqol = Resampled(create("visqol_audio", sample_rate=_VISQOL_RATE), sample_rate=rate)
    return {name: visqol if name == "visqol_audio" else create(name, sample_rate=rate) for name in SONG_MEASURES}
