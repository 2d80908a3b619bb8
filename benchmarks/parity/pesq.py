"""How far percloss's PESQ-like score is from the package pesq, class by class, on real speech.

    python benchmarks/parity/pesq.py [--every 10] [--json] [--cache FILE]

508 pairs in time and 80 out of time, wide and narrow band, aligned and not. Prints a table, or JSON, and writes
benchmarks/results/parity/pesq--cpu.json unless pairs were left out. What the package said is kept in the cache.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats
import torch

# In place of this folder, where the package's name would be this file.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import pesq

from benchmarks.common import RESULTS, save, table
from benchmarks.parity.pairs import ALIGNED, MISALIGNED, RATE, Pair, made, recordings
from percloss.measures.pesq import Align, DifferentiablePESQ, Mode

MODES: tuple[Mode, ...] = ("wb", "nb")
ALIGNS: tuple[Align, ...] = ("full", "none")

Samples = npt.NDArray[np.float32]


class Oracle:
    """Scores of the package pesq, remembered in a file from run to run."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        lines = cache.read_text("utf-8").splitlines() if cache.exists() else []
        self.known = {key: float(score) for key, score in (line.split() for line in lines)}

    def __call__(self, est: Samples, ref: Samples, mode: Mode) -> float:
        """MOS-LQO."""
        key = hashlib.sha256(mode.encode() + est.tobytes() + ref.tobytes()).hexdigest()
        if key not in self.known:
            self.known[key] = float(pesq.pesq(RATE, ref, est, mode))
            with self.cache.open("a", encoding="utf-8") as file:
                print(key, self.known[key], file=file)
        return self.known[key]


def scored(pairs: list[Pair], oracle: Oracle) -> list[dict[str, Any]]:
    """One row per pair, mode and way of aligning."""
    measures = {(mode, align): DifferentiablePESQ(RATE, mode=mode, align=align) for mode in MODES for align in ALIGNS}
    rows = []
    for number, pair in enumerate(pairs, 1):
        est, ref = (x.astype(np.float32) for x in (pair.est, pair.ref))
        for (mode, align), measure in measures.items():
            with torch.no_grad():
                ours = measure(torch.from_numpy(est)[None, None], torch.from_numpy(ref)[None, None]).item()
            row = {"class": pair.kind, "degradation": pair.degradation, "utterance": pair.utterance}
            rows.append({**row, "mode": mode, "align": align, "pesq": oracle(est, ref, mode), "percloss": ours})
        if sys.stderr.isatty() or number % 50 == 0:
            print(f"{number} of {len(pairs)}", file=sys.stderr, flush=True)
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Errors of each class, and of all pairs in time."""
    found = []
    kinds = list(dict.fromkeys(row["class"] for row in rows))
    for mode in MODES:
        for align in ALIGNS:
            for kind in [*kinds, "all in time"]:
                chosen = [
                    (row["percloss"], row["pesq"])
                    for row in rows
                    if (row["mode"], row["align"]) == (mode, align)
                    and (row["class"] == kind or (kind == "all in time" and row["class"] != "misaligned"))
                ]
                ours, theirs = np.array(chosen).T
                error = np.abs(ours - theirs)
                found.append(
                    {
                        "mode": mode,
                        "align": align,
                        "class": kind,
                        "pairs": len(error),
                        "mean error": round(error.mean(), 5),
                        "median": round(np.median(error), 5),
                        "99th percentile": round(np.quantile(error, 0.99), 4),
                        "largest": round(error.max(), 4),
                        "within 0.02": round((error <= 0.02).mean(), 4),
                        "rho": round(scipy.stats.spearmanr(ours, theirs).statistic, 5),
                    }
                )
    return found


def main() -> None:
    """Run all pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="of so many pairs only one")
    parser.add_argument("--json", action="store_true", help="print every pair as JSON instead of a table")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "percloss_pesq_scores.txt")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pairs = [*made(ALIGNED, every=given.every), *recordings(every=given.every), *made(MISALIGNED, every=given.every)]
    rows = scored(pairs, Oracle(given.cache))
    print(json.dumps(rows, indent=1) if given.json else table(summary(rows)))
    if given.every == 1:
        (RESULTS / "parity").mkdir(parents=True, exist_ok=True)
        settings = {"sample_rate": RATE, "pairs": len(pairs)}
        print(save("parity/pesq", summary(rows), device="cpu", packages=("pesq",), **settings), file=sys.stderr)


if __name__ == "__main__":
    main()
