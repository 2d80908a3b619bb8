"""A pair as files to be listened to, and as plain data."""

import json
import math
from pathlib import Path
from typing import Any

from percloss.mad.judges import Judged
from percloss.mad.pair import Pair
from percloss.scoring.audio import write as write_audio

_PEAK = 0.99


def as_dict(pair: Pair, judged: Judged) -> dict[str, Any]:
    """A pair as plain data for JSON, in which a missing value is None."""

    def plain(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "sample_rate": pair.sample_rate,
        "channels": pair.ref.shape[1],
        "seconds": pair.ref.shape[-1] / pair.sample_rate,
        "fixed": {"measure": pair.fixed, "level": pair.level},
        "synth": pair.synth,
        "versions": {
            name: {
                "values": {measure: plain(value) for measure, value in pair.values[name].items()},
                "judges": {measure: plain(scores[name]) for measure, scores in judged.scores.items()},
            }
            for name in pair.waves
        },
        "spread": {
            pair.synth: plain(pair.spread),
            **{name: plain(value) for name, value in judged.spread.items()},
        },
        "left_out": dict(judged.left_out),
        "ended": dict(pair.ended),
        "trajectory": {side: [plain(value) for value in values] for side, values in pair.trajectory.items()},
    }


def write(folder: Path, pair: Pair, judged: Judged, **context: Any) -> list[Path]:
    """Write the reference and the versions as wav files at one level at which none clips, and ``mad.json``.

    Args:
        folder: Where to; it is made if it is not there.
        pair: What to write.
        judged: What the judges say, for the JSON.
        **context: What else the JSON is to hold.

    Returns:
        The files that were written.

    Raises:
        AudioFileError: A file cannot be written.
        MissingExtraError: soundfile is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waves = {"reference": pair.ref, **pair.waves}
    level = min(1.0, _PEAK / max(float(wave.abs().max()) for wave in waves.values()))
    paths = []
    for name, wave in waves.items():
        paths.append(folder / f"{name}.wav")
        write_audio(paths[-1], level * wave, pair.sample_rate)
    paths.append(folder / "mad.json")
    found = {**context, **as_dict(pair, judged), "level_db": 20 * math.log10(level)}
    paths[-1].write_text(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return paths
