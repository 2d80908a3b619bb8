"""Listening tests made up for the tests of percloss.stats, and the real one they are held against."""

import csv
from pathlib import Path

import numpy as np
import pytest

from percloss.stats import Rated

# Name here, column there, and the sign that makes higher better.
_MEASURES = {
    "SDR": ("sdr", 1),
    "SI-SDR": ("sisdr", 1),
    "MRSTFT": ("multi_res_loss", -1),
    "MERT": ("emb_mse_mert_df", -1),
    "CLAP-music": ("emb_mse_clap_music_df", -1),
    "ViSQOL": ("visqol", 1),
}


def made_up(
    systems: int = 5, contents: int = 30, listeners: int = 8, *, seed: int = 0, noise: float = 1.0, shared: float = 0.5
) -> Rated:
    """Stimuli of every system and content: "good" follows what listeners mean, "bad" half as well, "random" nothing."""
    g = np.random.default_rng(seed)
    system, content = (labels.ravel() for labels in np.mgrid[:systems, :contents])
    song, other = g.normal(size=(2, contents))
    truth = np.sqrt(shared) * song[content] + np.sqrt(1 - shared) * g.normal(size=system.size)
    common = np.sqrt(shared) * other[content] + np.sqrt(1 - shared) * g.normal(size=system.size)
    ratings = truth[:, None] + noise * g.normal(size=(system.size, listeners)) + g.normal(size=listeners)
    predictions = {
        "good": 0.8 * truth + 0.6 * common,
        "bad": 0.4 * truth + 0.917 * g.normal(size=system.size),
        "random": g.normal(size=system.size),
    }
    return Rated.from_ratings(ratings, predictions, system=system, content=content, name="made up")


def gensvs(root: Path) -> tuple[Rated, np.ndarray]:
    """The DCR test of separated singing, and which of its stimuli discriminative models made."""
    path = root / "gensvs_dcr" / "gensvs_eval_data.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there: name the folder that holds gensvs_dcr by PERCLOSS_DATA")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ratings = np.array([[float(row[f"rating_{place}"]) for place in range(12)] for row in rows])
    predictions = {name: [sign * float(row[key]) for row in rows] for name, (key, sign) in _MEASURES.items()}
    labels = {"system": [row["model_name"] for row in rows], "content": [row["file_id"] for row in rows]}
    discriminative = np.array([row["model_type"] == "discriminative" for row in rows])
    return Rated.from_ratings(ratings, predictions, name="gensvs_dcr", **labels), discriminative
