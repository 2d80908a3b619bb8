"""Trains and scores every model, in several processes; each that is finished is kept, and never computed again."""

import json
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from percloss.errors import ArgumentError, PerclossError
from percloss.lab.checkpoint import durably
from percloss.lab.disparity.config import LOSSES, Config
from percloss.lab.disparity.scoring import RATE, Held, Scorer, held_out
from percloss.scoring.audio import write

__all__ = ["Done", "Task", "carry_out", "kept", "listening", "open_folder", "tasks"]

#: What is heard is so much softer than what is scored, so that no estimate clips [dB].
SOFTER_DB = 6.0
_SOFTER = 10 ** (-SOFTER_DB / 20)
# Seconds of one core, roughly, for the time that is left: a step, of a network with a discriminator too, a clip.
_STEP, _ADVERSARIAL, _CLIP, _MASK_STEP, _SONG = 0.05, 5.0, 0.6, 0.04, 40.0
# What a training may fail of without taking the others with it: what this package refuses, what torch raises.
_FAILURES = (PerclossError, RuntimeError, OSError, MemoryError)

Kind = Literal["unprocessed", "model", "mask", "song"]
Tell = Callable[[float], None]


class Task(NamedTuple):
    """One thing to do: a model to train and to score, for one."""

    kind: Kind
    name: str
    seed: int = 0

    @property
    def title(self) -> str:
        """For people."""
        return {
            "unprocessed": "the mixtures as they are",
            "model": f"{self.name}, seed {self.seed}",
            "mask": f"{self.name}, without training",
            "song": f"song {Path(self.name).name}",
        }[self.kind]

    @property
    def file(self) -> str:
        """Of its result, below the folder of the run."""
        return f"results/{self.kind}-{Path(self.name).name}-{self.seed}.json"


class Done(NamedTuple):
    """A task, how it ended, and whether that is from an earlier run."""

    task: Task
    result: Mapping[str, Any]
    reused: bool = False

    @property
    def error(self) -> str | None:
        """Why there is no result."""
        found: str | None = self.result.get("error")
        return found


def tasks(config: Config, songs: Sequence[Path] = ()) -> list[Task]:
    """All there is to do, the longest first."""
    found = [Task("model", name, seed) for name in config.losses for seed in config.seeds]
    if config.budget.mask_clips:
        # What a discriminator hears cannot be asked of a mask, and one that is switched off leaves the loss itself.
        found += [Task("mask", name) for name in config.losses if not LOSSES[name].adversarial]
    found += [Task("song", str(song)) for song in songs]
    found.append(Task("unprocessed", "unprocessed"))
    return sorted(found, key=lambda task: -cost(task, config))


def cost(task: Task, config: Config) -> float:
    """Roughly how many seconds of one core a task takes with the small network."""
    budget = config.budget
    if task.kind == "song":
        return _SONG
    if task.kind == "mask":
        return _MASK_STEP * budget.mask_steps * budget.mask_clips + _CLIP * budget.mask_clips
    training = _training_cost(task, config) if task.kind == "model" else 0.0
    return training + _CLIP * budget.clips


def _training_cost(task: Task, config: Config) -> float:
    return _STEP * config.budget.steps * (_ADVERSARIAL if LOSSES[task.name].adversarial else 1.0)


def open_folder(folder: Path, config: Config) -> None:
    """Make the folder of a run, or refuse one that holds another's results.

    More losses and more seeds may be asked for than before: what is there is kept and used.

    Raises:
        ArgumentError: A run of another configuration, with what differs; or a folder that cannot be written to.
    """
    file = folder / "config.json"
    ours = config.deciding
    try:
        (folder / "results").mkdir(parents=True, exist_ok=True)
        theirs = json.loads(file.read_text(encoding="utf-8"))["deciding"] if file.exists() else ours
    except OSError as error:
        raise ArgumentError(
            f"{folder}: cannot be written to ({error.strerror or error}); type --out FOLDER with one that can."
        ) from error
    except (ValueError, KeyError, TypeError):
        theirs = {}
    differing = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if differing:
        told = "; ".join(_difference(name, theirs.get(name), ours.get(name)) for name in differing)
        raise ArgumentError(
            f"{folder}: holds a run of another configuration: {told}; give the same options as then, or type --out "
            f"with another folder."
        )
    _write(file, {"deciding": ours, "losses": list(config.losses), "seeds": list(config.seeds)})


def kept(folder: Path, wanted: Sequence[Task]) -> dict[Task, Done]:
    """Results of an earlier run that can be used. What failed is tried again."""
    found = {}
    for task in wanted:
        with suppress(OSError, ValueError):
            result = json.loads((folder / task.file).read_text(encoding="utf-8"))
            if isinstance(result, dict) and result.get("error") is None:
                found[task] = Done(task, result, reused=True)
    return found


def carry_out(
    wanted: Sequence[Task],
    config: Config,
    folder: Path,
    *,
    jobs: int = 1,
    tell: Callable[[Task, float], None] | None = None,
) -> Iterator[Done]:
    """Do every task, in the order in which they are done. A result is on disk when it is yielded.

    Args:
        wanted: Tasks that are not done yet.
        config: Of the run.
        folder: Of the run, opened.
        jobs: Processes. 1 is this one; more are spawned, so a script that asks for them needs
            ``if __name__ == "__main__":``. The numbers do not depend on it.
        tell: Called with a task and how far it is, from 0 to 1.
    """
    tell = tell or (lambda task, part: None)
    jobs = min(jobs, len(wanted))
    if jobs > 1:
        yield from _beside(wanted, config, folder, jobs, tell)
        return
    with _threads(config.threads):
        bench = Bench(config, folder)
        for task in wanted:
            yield Done(task, bench.carry_out(task, lambda part, task=task: tell(task, part)))  # type: ignore[misc]


class Bench:
    """What every task of a process needs: the mixtures, the measures, and the way to a result."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder

    @cached_property
    def held(self) -> Held:
        """The mixtures."""
        return held_out(self.config.budget)

    @cached_property
    def scorer(self) -> Scorer:
        """Of them."""
        return Scorer(self.config.measures, self.held)

    def carry_out(self, task: Task, tell: Tell) -> dict[str, Any]:
        """The result of a task, which is written unless it failed."""
        begun = time.monotonic()
        work = {"unprocessed": self._unprocessed, "model": self._model, "mask": self._mask, "song": self._song}
        try:
            result = work[task.kind](task, tell)
            result["seconds"] = round(time.monotonic() - begun, 2)
            _write(self.folder / task.file, result)
        except _FAILURES as error:
            return {"error": str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}
        return result

    def _unprocessed(self, task: Task, tell: Tell) -> dict[str, Any]:
        self._keep("unprocessed", self.held.mix)
        self._keep("reference", self.held.speech)
        return _as_dict(self.scorer, self.held.mix)

    def _model(self, task: Task, tell: Tell) -> dict[str, Any]:
        trained = _training_cost(task, self.config) / cost(task, self.config)
        net = train(task, self.config, self.folder, lambda part: tell(part * trained))
        mixes = self.held.mix
        with torch.inference_mode():
            # One by one: what an item's estimate is must not depend on what stands beside it.
            est = torch.cat([net(mix[None]).float() for mix in mixes])
        self._keep(f"{task.name}-seed{task.seed}", est)
        parameters = sum(parameter.numel() for parameter in net.parameters())
        return {**_as_dict(self.scorer, est), "parameters": parameters}

    def _mask(self, task: Task, tell: Tell) -> dict[str, Any]:
        from percloss.lab import objective
        from percloss.lab.oracle_mask import oracle_mask

        budget = self.config.budget
        held = self.held.first(budget.mask_clips)
        loss = objective.parse(LOSSES[task.name].loss, sample_rate=RATE)
        est = oracle_mask(held.mix, held.speech, loss, steps=budget.mask_steps)
        self._keep(f"{task.name}-mask", est)
        return _as_dict(Scorer(self.config.measures, held), est)

    def _song(self, task: Task, tell: Tell) -> dict[str, Any]:
        from percloss.lab.disparity.songs import study_song

        return study_song(Path(task.name))

    def _keep(self, name: str, waves: Tensor) -> None:
        """For the ear: finite and softer, so that none clips."""
        soft = (_SOFTER * waves[: self.config.budget.listen]).nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1 - 2**-23)
        for path, wave in zip(listening(self.folder, name, len(soft)), soft, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, wave[None], RATE)


def listening(folder: Path, name: str, count: int) -> list[Path]:
    """The files of a model's estimates, one for each clip that is listened to."""
    return [folder / "audio" / name / f"clip{at}.wav" for at in range(count)]


def train(task: Task, config: Config, folder: Path, tell: Tell) -> torch.nn.Module:
    """The network of a task, with the weights that are scored, on the CPU."""
    from percloss.lab import train_gan, train_unet

    budget, each = config.budget, LOSSES[task.name]
    settings: dict[str, Any] = {
        "loss": each.loss,
        "model": budget.model,
        "steps": budget.steps,
        "batch": budget.batch,
        "segment": budget.segment,
        "lr": budget.lr,
        "ema": budget.ema,
        "amp": budget.amp,
        "workers": budget.workers,
        "seed": task.seed,
        "device": config.device,
    }
    place = folder / "training" / f"{task.name}-seed{task.seed}" if budget.checkpoints else None
    last = [0.0]

    def progress(at: Any) -> None:
        # A pipe is no place for a word at every step.
        if at.step == at.steps or time.monotonic() - last[0] > 0.5:
            last[0] = time.monotonic()
            tell(at.step / at.steps)

    if each.adversarial is None:
        net = train_unet.train(train_unet.Config(**settings), place, progress=progress)
    else:
        settings |= {"adversarial": each.adversarial, "feature": each.adversarial}
        net = train_gan.train(train_gan.Config(**settings), place, progress=progress)
    return net.cpu().eval()


def _as_dict(scorer: Scorer, est: Tensor) -> dict[str, Any]:
    scores = scorer.score(est)
    return {"scores": scores.values, "reasons": scores.reasons, "signatures": scorer.signatures}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with durably(path) as file:
        file.write(json.dumps(document, allow_nan=False).encode())


def _difference(name: str, theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        inner = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
        return ", ".join(f"{key} {theirs.get(key)} (now {ours.get(key)})" for key in inner)
    if isinstance(theirs, list) and isinstance(ours, list) and max(len(theirs), len(ours)) > 4:
        gone, new = ([str(one) for one in a if one not in b] for a, b in ((theirs, ours), (ours, theirs)))
        short = [", ".join(each if len(each) < 40 else f"{each[:40]}…" for each in part[:4]) for part in (gone, new)]
        return f"{name} without {short[1] or 'any of the new'} and with {short[0] or 'no others'}"
    return f"{name} {_words(theirs)} (now {_words(ours)})"


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Worker:
    """A process, and the task that it is at."""

    def __init__(self, config: Config, folder: Path) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, config, folder), daemon=True)
        self.process.start()
        theirs.close()
        self.at: Task | None = None

    def send(self, task: Task) -> None:
        """Give it something to do. One that has died takes nothing, and ``receive`` says so."""
        self.at = task
        with suppress(OSError):
            self.pipe.send(task)

    def receive(self) -> float | dict[str, Any]:
        """How far it is, or its result."""
        try:
            found: float | dict[str, Any] = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            fate = f"signal {-code}{', perhaps for want of memory' if code == -9 else ''}" if code < 0 else f"{code}"
            return {"error": f"its process died ({fate})", "died": True}
        return found

    def close(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _beside(
    wanted: Sequence[Task], config: Config, folder: Path, jobs: int, tell: Callable[[Task, float], None]
) -> Iterator[Done]:
    waiting = deque(wanted)
    workers: dict[Any, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                worker = _Worker(config, folder)
                workers[worker.pipe] = worker
                worker.send(waiting.popleft())
            for pipe in wait(list(workers)):
                worker = workers[pipe]
                task, found = worker.at, worker.receive()
                if task is None:
                    continue
                if isinstance(found, float):
                    tell(task, found)
                    continue
                if waiting and not found.get("died"):
                    worker.send(waiting.popleft())
                else:
                    workers.pop(pipe).close()
                yield Done(task, found)
    finally:
        for worker in workers.values():
            worker.close()


def _serve(pipe: Any, config: Config, folder: Path) -> None:
    # Ctrl-C reaches every process of a terminal; the one that started this one says when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(config.threads)
    bench = Bench(config, folder)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(bench.carry_out(task, pipe.send))
