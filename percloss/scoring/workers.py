"""Scores many pairs, here or in several processes; one that dies costs the pair it was at, and nothing else."""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from percloss.scoring.audio import shown
from percloss.scoring.engine import Recipe, Scored, Scorer
from percloss.scoring.pairing import Pair

__all__ = ["one_thread", "score"]

# A process imports torch before its first pair, which takes a few seconds: as long as some dozen pairs.
_WORTH_A_PROCESS = 32


def score(pairs: Sequence[Pair], recipe: Recipe, *, jobs: int | None = None) -> Iterator[tuple[int, Scored]]:
    """Score every pair, in the order in which they are done.

    The numbers are the same for any number of jobs: each process, this one too, computes in one thread.

    Args:
        pairs: As ``pair_up`` or ``read_pairs`` made them.
        recipe: How.
        jobs: Processes. 1 is this one; ``None`` is as many as there are cores, and fewer for few pairs. More than one
            are spawned, so a script that asks for them needs ``if __name__ == "__main__":``.

    Yields:
        The position of a pair, and its result.

    Example:
        >>> from percloss.scoring.pairing import pair_up
        >>> pairs = pair_up(["enhanced/"], "clean/")  # doctest: +SKIP
        >>> results = dict(score(pairs, Recipe(measures=("si_sdr",))))  # doctest: +SKIP
    """
    if jobs is None:
        jobs = min(_cores(), len(pairs) // _WORTH_A_PROCESS)
    jobs = min(jobs, len(pairs))
    if jobs > 1:
        yield from _beside(pairs, recipe, jobs)
        return
    with one_thread():
        scorer = Scorer(recipe)
        for index, pair in enumerate(pairs):
            yield index, scorer.score(pair)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: two recordings at once are faster than one by two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Worker:
    """A process that scores the pairs it is sent, and the pair it is at."""

    def __init__(self, recipe: Recipe) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, recipe), daemon=True)
        with _interrupt_ignored():
            self.process.start()
        theirs.close()
        self.at = -1

    def send(self, index: int, pair: Pair) -> None:
        """Give it a pair. One that has died takes none, and ``receive`` says so."""
        self.at = index
        with suppress(OSError):
            self.pipe.send(pair)

    def receive(self) -> Scored | None:
        """Its result, or ``None`` if it died over it."""
        try:
            result: Scored = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return result

    def fate(self) -> str:
        """How it ended."""
        self.process.join()
        code = self.process.exitcode or 0
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return f"{name}{', perhaps for want of memory: fewer --jobs' if name == 'SIGKILL' else ''}"
        return f"exit {code}"

    def close(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _beside(pairs: Sequence[Pair], recipe: Recipe, jobs: int) -> Iterator[tuple[int, Scored]]:
    Scorer(recipe)  # refuses a recipe here, once, and not in each process
    waiting = deque(enumerate(pairs))
    workers: dict[Any, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                worker = _Worker(recipe)
                workers[worker.pipe] = worker
                worker.send(*waiting.popleft())
            for pipe in wait(list(workers)):
                worker = workers[pipe]
                index, scored = worker.at, worker.receive()
                if scored is not None and waiting:
                    worker.send(*waiting.popleft())
                else:
                    scored = scored or _lost(pairs[index], worker.fate())
                    workers.pop(pipe).close()
                yield index, scored
    finally:
        for worker in workers.values():
            worker.close()


def _lost(pair: Pair, fate: str) -> Scored:
    path = shown(pair.est or "")
    return Scored(pair=pair, error=f"{path}: the process that scored it died ({fate}); the others went on without it")


def _serve(pipe: "Connection[Scored, Pair]", recipe: Recipe) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    scorer = Scorer(recipe)
    while True:
        try:
            pair = pipe.recv()
        except EOFError:
            return
        pipe.send(scorer.score(pair))


@contextmanager
def _interrupt_ignored() -> Iterator[None]:
    """What is started here ignores Ctrl-C from its first moment; the one who started it says when it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
