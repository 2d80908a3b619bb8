"""What every speed benchmark shares: interleaved timing, peak memory by the profiler, results as JSON.

A time on one machine says little, a ratio of two contenders run in turns in one process says more. Reported is the
median over rounds of each contender's ratio to the first: CPU time of the process on a CPU, events on a GPU. Each group
of contenders has a process of its own.
"""

import ctypes
import functools
import json
import math
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import percloss

RESULTS = Path(__file__).parent / "results"
Work = Callable[[], object]


def apart(work: Callable[..., list[dict[str, Any]]], *arguments: Any) -> list[dict[str, Any]]:
    """What it returns in a process of its own, whose heap has not been shaped by what was measured before.

    On a system that forks nothing is imported again; nothing may have been computed, nor a GPU touched, till then.
    """
    with get_context("fork" if "fork" in get_all_start_methods() else "spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def keep_memory() -> None:
    """Have glibc hold on to what is freed, so that its pages are fetched once; elsewhere it does nothing.

    How much it gives back by itself depends on what a process did before. Who makes many large tensors gains the most.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def contest(
    contenders: Mapping[str, Work], *, of: int, device: str, rounds: int, clock: Callable[[], float] = time.process_time
) -> list[dict[str, Any]]:
    """A row for each contender: time, ratio, and peak memory over the bytes ``of`` an input."""
    timed = interleaved(contenders, device=device, rounds=rounds, clock=clock)
    return [
        {"contender": name, **timed[name], "peak, inputs": round(peak_bytes(work, device) / of, 2)}
        for name, work in contenders.items()
    ]


def interleaved(
    contenders: Mapping[str, Work],
    *,
    device: str = "cpu",
    rounds: int = 9,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, dict[str, float]]:
    """Milliseconds and ratio of each contender, all of them run once a round in an order drawn anew.

    ``speedup`` is the median over rounds of the first contender's time over this one's: above 1 is faster. ``clock`` is
    what is read on a CPU.
    """
    order = random.Random(0)
    names = list(contenders)
    for work in contenders.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in order.sample(names, len(names)):
            times[name].append(_seconds(contenders[name], device, clock))
    first = times[names[0]]
    return {
        name: {
            "ms": round(1000 * statistics.median(taken), 3),
            "speedup": round(statistics.median(a / b for a, b in zip(first, taken, strict=True)), 3),
        }
        for name, taken in times.items()
    }


def _seconds(work: Work, device: str, clock: Callable[[], float]) -> float:
    if device == "cpu":
        start = clock()
        work()
        return clock() - start
    torch.cuda.synchronize()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000


def peak_bytes(work: Work, device: str = "cpu") -> int:
    """Most bytes that were allocated at a time while it ran, beyond what was there before."""
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def rounded(value: Any) -> Any:
    """Numbers to four decimals, at any depth, nan as nothing: the rest says nothing, and fills a repository."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def save(name: str, rows: list[dict[str, Any]], *, device: str, packages: tuple[str, ...], **settings: Any) -> Path:
    """Write rows with all that is needed to doubt them: machine, versions, revision, settings."""
    document = {
        "schema": 1,
        "benchmark": name,
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "revision": _revision(),
        "versions": {"percloss": percloss.__version__, **{name: version(name) for name in ("torch", *packages)}},
        "settings": settings,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}--{device}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


@functools.cache  # as it was before the first result was written
def _revision() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as aligned text."""
    columns = list(rows[0])
    cells = [columns, *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
