"""Metrics against the packages that define them: same signals, same numbers, in turns.

    python benchmarks/speed/metrics.py [--device cuda] [--rounds 7] [--only BSS]

Prints a table and writes benchmarks/results/metrics--DEVICE.json, unless some are left out. ``speedup`` is over the
first contender of each group; all libraries compute on one thread, so that it is per core. Peers that know no other
device compute on the CPU whatever the device is, and are timed by the clock there. What is done within a second is
measured twice on a CPU: with memory as it comes, and with glibc told to keep what is freed, which helps whoever
allocates the most.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# Before anything that computes is imported: numpy's and scipy's libraries have threads of their own.
os.environ["OMP_NUM_THREADS"] = "1"
import torch
from torch import nn

# In place of this folder, where the names of packages would be those of these files.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.common import apart, contest, keep_memory, save, table
from benchmarks.speed import _separation, _speech

SLOW = "BSS Eval"
PACKAGES = ("fast_bss_eval", "mir_eval", "museval", "pystoi", "pesq")


def cases() -> dict[str, _separation.Case]:
    """Signals and contenders by what is computed."""
    ref = _separation.talkers(8)
    est = _separation.separated(ref, 0)
    return {**_separation.cases(), **{name: (est, ref, group) for name, group in _speech.groups().items()}}


def measured(group: str, device: str, rounds: int, kept: bool) -> list[dict[str, Any]]:
    """A row a contender; with memory as it comes, or kept."""
    warnings.filterwarnings("ignore", message="mir_eval.separation", category=FutureWarning)
    torch.set_num_threads(1)
    if kept:
        keep_memory()
    est, ref, contenders = cases()[group]
    est, ref = est.to(device), ref.to(device)
    works: dict[str, Callable[[], object]] = {
        name: partial(call.to(device) if isinstance(call, nn.Module) else call, est, ref)
        for name, call in contenders.items()
    }
    about = {"metric": group, "memory": "kept" if kept else "as it comes"}
    return [{**about, **row} for row in contest(works, of=est.nbytes, device=device, rounds=rounds)]


def main() -> None:
    """Run all groups, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="part of a group's name")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for group in (name for name in cases() if given.only in name):
        for kept in (False,) if group.startswith(SLOW) or given.device != "cpu" else (False, True):
            found = apart(measured, group, given.device, given.rounds, kept)
            print(table(found), flush=True)
            rows += found
    if not given.only:
        print(save("metrics", rows, device=given.device, packages=PACKAGES, rounds=given.rounds, what="forward"))


if __name__ == "__main__":
    main()
