"""BSS Eval of whole tracks, whose stems are judged together, in the files that museval writes."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from percloss.errors import PerclossError, ShapeError
from percloss.functional import bss_eval, museval_document
from percloss.scoring.audio import shown
from percloss.scoring.engine import Recipe, load
from percloss.scoring.output import write_output
from percloss.scoring.pairing import Pair

__all__ = ["tracks", "write_track"]

# museval's frames, window and hop [s].
_SECONDS = 1


def tracks(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Pairs of ``track/stem`` by ``system/track``, the stems in the order of their names."""
    found: dict[str, list[Pair]] = {}
    for pair in sorted(pairs, key=lambda pair: pair.name):
        folder = Path(pair.name).parent
        if folder != Path():
            found.setdefault((Path(pair.system) / folder).as_posix(), []).append(pair)
    return found


def write_track(folder: Path, name: str, stems: Sequence[Pair], recipe: Recipe) -> str | None:
    """Score one track by BSS Eval v4 in frames of a second and write ``folder/system/track.json``.

    Returns:
        Why there is no file, or nothing.
    """
    try:
        content = _document(stems, recipe)
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_output(path, content)
    except (PerclossError, OSError) as error:
        return f"{shown(name)}: no BSS Eval: {error}"
    return None


def _document(stems: Sequence[Pair], recipe: Recipe) -> bytes:
    waves: dict[str, list[Tensor]] = {"est": [], "ref": []}
    rates = set()
    for pair in stems:
        if pair.problem:
            raise ShapeError(f"{pair.problem}; needed are all stems of a track")
        signals = load(pair, recipe)
        rates.add(signals.sample_rate)
        for role, own in waves.items():
            own.append(signals.waves[role])
    if len(rates) > 1 or len({wave.shape for own in waves.values() for wave in own}) > 1:
        raise ShapeError("its stems differ in rate, length or channels; needed are stems that are alike")
    (rate,) = rates
    est, ref = (torch.cat(own)[None] for own in waves.values())
    frame = _SECONDS * rate
    scores = bss_eval(est, ref, window=frame, hop=frame)
    names = [Path(pair.name).name for pair in stems]
    found = museval_document(scores, names, window_seconds=float(_SECONDS), hop_seconds=float(_SECONDS))
    # As museval itself: a frame without a value is NaN, which its reader takes and strict JSON does not have.
    return json.dumps(found, indent=2).encode()
