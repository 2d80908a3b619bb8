"""What the seed paper's own tables say of measures and listeners, and where to look for what they do not show."""

import math
from typing import Any

import percloss
from percloss.data.seed_paper import MODELS, PAIRS, TITLE, conclusions

__all__ = ["document", "sentences", "table_text"]

_ELSEWHERE = (
    "Listening tests in which measures and listeners do part: percloss correlate gensvs_dcr (SDR follows the songs "
    "within a system, and not the systems), svs_mushra (what follows one of its two scales goes against the other), "
    "codec_mushra."
)


def sentences() -> tuple[str, ...]:
    """What follows from the tables and what does not, and which sets to look at."""
    return (*conclusions(), _ELSEWHERE)


def table_text() -> str:
    """The correlations as lines."""
    lines = [f"{TITLE}: Tables I and II, {MODELS} models", "", "measure  listeners  Pearson  95 % interval    ranks"]
    for pair in PAIRS:
        at = pair.estimate
        lines.append(
            f"{pair.objective:<7}  {pair.subjective:<9}  {pair.plcc:7.3f}  {at.low:6.3f} to {at.high:5.3f}"
            f"  {pair.ranks:5.0f}"
        )
    return "\n".join(lines)


def document() -> dict[str, Any]:
    """The same as plain values, in the form of ``percloss correlate --json``."""
    sets: dict[str, Any] = {}
    for pair in PAIRS:
        name = f"seed_paper/{pair.subjective}"
        test = sets.setdefault(name, {"title": TITLE, "systems": MODELS, "measures": {}, "notes": list(conclusions())})
        at = pair.estimate
        test["measures"][pair.objective] = {
            "system": {
                "srcc": pair.ranks,
                "krcc": pair.ranks,
                "plcc": pair.plcc,
                "ci95_plcc": None if math.isnan(at.low) else [at.low, at.high],
                "n": MODELS,
            }
        }
    return {
        "percloss": percloss.__version__,
        "schema": 1,
        "command": ["percloss", "correlate"],
        "sets": sets,
        "sentence": " ".join(sentences()),
        "problems": [],
    }
