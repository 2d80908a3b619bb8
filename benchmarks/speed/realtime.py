"""How many times faster than real time measures of hearing are, at 48 kHz and by the clock.

    python benchmarks/speed/realtime.py [--device cuda] [--rounds 7] [--threads 2]

Prints a table and writes benchmarks/results/realtime--DEVICE.json. ``speedup`` is seconds of signal heard per second.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import percloss
from benchmarks.common import contest, save, table

BATCH, SECONDS, RATE = 8, 10, 48_000
LOSSES = {"nmr": percloss.NMRLoss, "compressive_nmr": percloss.CompressiveNMRLoss, "two_f": percloss.TwoFLoss}
METRICS = {"peaq_odg": percloss.PEAQ, "two_f": percloss.TwoF, "nmr_total": percloss.TotalNMR}


def works(device: str) -> dict[str, Callable[[], object]]:
    """What is timed, of pink-ish noise and noise at 20 dB."""
    generator = torch.Generator().manual_seed(0)
    ref, error = torch.randn(2, BATCH, 1, SECONDS * RATE, generator=generator).to(device)
    ref = 0.01 * ref.cumsum(-1)
    ref = 0.1 * (ref - ref.mean(-1, keepdim=True)) / ref.std(-1, keepdim=True) + 0.01 * error.roll(1, -1)
    est = ref + 0.01 * error

    def trained(loss: percloss.Loss) -> object:
        leaf = est.detach().requires_grad_()
        return torch.autograd.grad(loss(leaf, ref), leaf)

    def scored(measure: percloss.Measure) -> object:
        with torch.no_grad():
            return measure(est, ref)

    made: dict[str, Callable[[], object]] = {}
    for name, loss in LOSSES.items():
        made[f"{name}, value and gradient"] = partial(trained, loss(RATE).to(device))
    for name, measure in METRICS.items():
        made[f"{name}, value"] = partial(scored, measure(RATE).to(device))
    return made


def main() -> None:
    """Time all of them in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    made = works(given.device)
    heard = BATCH * SECONDS
    found = contest(made, of=4 * heard * RATE, device=given.device, rounds=given.rounds, clock=time.perf_counter)
    rows: list[dict[str, Any]] = [{"contender": "real time", "ms": 1000.0 * heard, "speedup": 1.0, "peak, inputs": 0.0}]
    rows += [{**row, "speedup": round(1000 * heard / row["ms"], 1)} for row in found]
    print(table(rows))
    settings = {"batch": BATCH, "seconds": SECONDS, "sample_rate": RATE, "rounds": given.rounds}
    print(save("realtime", rows, device=given.device, packages=(), **settings))


if __name__ == "__main__":
    main()
