"""What a training needs besides its recipe: where it runs, what it keeps, what it says, and when it ends.

A trainer reads::

    with Run(config, folder, progress) as run:
        ...  # networks, optimisers
        run.keep(model=model, optimizer=optimizer, average=average, objective=objective)
        for step, batch in run.steps(data):
            run.attempt(learn, step, batch)
        return run.finished(average.model)

Whatever is random in a step is drawn from ``(seed, step)``, and so are its items: a checkpoint needs no random state,
and a run that was killed ends as one that was not.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

import percloss
from percloss.errors import ArgumentError, PerclossError
from percloss.lab import nets
from percloss.lab.checkpoint import CheckpointError, Checkpoints, read, sweep, write
from percloss.lab.data import Drawn, Example, Positions
from percloss.lab.journal import Heard, Journal, Observer, Progress
from percloss.lab.models import WaveModel
from percloss.lab.objective import Objective
from percloss.lab.ranks import ranks
from percloss.lab.sets import Split
from percloss.lab.stopping import Wish, ignore_interrupts

__all__ = ["Batch", "DivergedError", "Kept", "Run", "Settings", "TooLargeError", "load"]

#: What may differ between a run and its resumption: where it runs and how it is kept, not what it is.
HARMLESS = frozenset({"device", "workers", "save_every"})
# What a draw is for: equal numbers for different ends would make them depend on each other.
_WEIGHTS, _STEP, _SHARED = 11, 12, 13
# Steps between looks at the shares of the gradient, each of which costs a backward pass through every loss.
_LOOK_EVERY = 50
_HEARD = 3


class DivergedError(PerclossError, ArithmeticError):
    """A loss or a gradient that is not finite."""


class TooLargeError(PerclossError, MemoryError):
    """A batch that memory has no room for."""


class Batch(NamedTuple):
    """Items of a step on the run's device: (batch, channels, time), (batch, sources, channels, time), and names."""

    mix: Tensor
    target: Tensor
    names: list[str]

    def first(self, items: int) -> "Batch":
        """So many of them."""
        return Batch(self.mix[:items], self.target[:items], self.names[:items])


@runtime_checkable
class Kept(Protocol):
    """What can be saved and go on: a network, an optimiser, an average."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@runtime_checkable
class Settings(Protocol):
    """What every trainer's config has, a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def model(self) -> str: ...
    @property
    def segment(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def valid_every(self) -> int: ...
    @property
    def valid_items(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def save_every(self) -> int: ...
    @property
    def amp(self) -> bool: ...
    @property
    def compile(self) -> bool: ...
    @property
    def device(self) -> str: ...
    @property
    def workers(self) -> int: ...


class Run:
    """A training from its first step, or from its last checkpoint, to its end.

    Within it torch's global generators are the run's; afterwards they are as they were.

    Args:
        config: Of the trainer.
        folder: Where to keep checkpoints, log and result; ``None`` keeps nothing, and leaves signals alone.
        progress: Called after each step.

    Attributes:
        device: Where tensors belong.
    """

    def __init__(self, config: Settings, folder: Path | None, progress: Observer | None) -> None:
        _check(config)
        self.config, self.folder, self._progress = config, folder, progress
        self._parts: dict[str, Kept] = {}
        self._checkpoints: Checkpoints | None = None
        self._journal: Journal | None = None
        self._best: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._step = self._first = 0
        self._valid: list[Batch] | None = None
        self._latest: float | None = None
        self._ended = False

    def __enter__(self) -> "Run":
        with ExitStack() as stack:
            self.ranks = stack.enter_context(ranks(self.config.device))
            self.device = self.ranks.device
            self._share = self.ranks.share(self.config.batch)
            stack.enter_context(torch.random.fork_rng([self.device] if self.device.type == "cuda" else []))
            self._wish = stack.enter_context(Wish(heard=self.folder is not None))
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
            self._stack = stack.pop_all()
        self._reseed(_WEIGHTS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def keep(self, **parts: Kept) -> None:
        """Name all that changes in a step, and bring it to where the last checkpoint was."""
        self._parts = parts
        if self.folder is None:
            return
        self._checkpoints = Checkpoints(self.folder, asdict(self.config), harmless=HARMLESS)
        state = self._checkpoints.latest()
        if state is not None:
            for name, part in parts.items():
                part.load_state_dict(state["parts"][name])
            self._first = self._step = state["step"]
            self._best, self._latest, self._ended = state["best"], state["latest"], state["ended"]
        if self.ranks.first:
            sweep(self.folder)
            self._journal = Journal(self.folder, self._first)
            self._stack.callback(self._journal.close)

    def trained(self, model: nn.Module) -> nn.Module:
        """What to call in a step: over all processes, and compiled if that is asked for."""
        network = self.ranks.parallel(model.train())
        if self.config.compile:
            network.compile()
        return network

    def autocast(self) -> AbstractContextManager[Any]:
        """Around networks alone: bfloat16 if that is asked for. Losses and transforms stay in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.amp)

    def generator(self, step: int) -> np.random.Generator:
        """For what is drawn in a step and must be the same in all processes."""
        return np.random.default_rng((_SHARED, self.config.seed, step))

    def steps(self, data: Drawn) -> Iterator[tuple[int, Batch]]:
        """The steps that are left, and their items; between them it saves, speaks and listens for signals.

        Raises:
            SystemExit: A signal came; all that is done is saved.
        """
        began = time.monotonic()
        for step, batch in enumerate(self._batches(data), self._first):
            self._reseed(_STEP, step, self.ranks.rank)
            self._values = {}
            yield step, batch
            self._step = step + 1
            self._say(began)
            signal = int(self.ranks.agreed(self._wish.signal)) if self.folder is not None else 0
            last = self._ended or self._step == self.config.steps
            if last or signal or self._step % self.config.save_every == 0:
                self._save()
            if signal and not last:
                raise SystemExit(128 + signal)
            if last:
                return

    def attempt(self, learn: Callable[[int, Batch], None], step: int, batch: Batch) -> None:
        """Take a step.

        Raises:
            TooLargeError: There is no memory for it; the message says for how many items there is.
        """
        try:
            return learn(step, batch)
        except (RuntimeError, MemoryError) as error:
            if not _no_memory(error):
                raise
            reason = str(error).splitlines()[0]
        # Out of the handler, which holds on to all that the step had allocated.
        fits = 0 if self.ranks.world > 1 else _fitting(learn, step, batch)
        wanted = f"type --batch {fits}" if fits else "type a smaller --batch, --segment or --model"
        told = f"{fits} fit" if fits else "less was not tried" if self.ranks.world > 1 else "not even one fits"
        raise TooLargeError(
            f"step {step}: {len(batch.mix)} items of {batch.mix.shape[-1]} samples do not fit into the memory of "
            f"{self.device} ({reason}); {told}: {wanted}."
        )

    def did(self, batch: Batch, *, loss: Tensor, gradient: Tensor) -> None:
        """Note what a step came to, before its gradient is used.

        Raises:
            DivergedError: Loss or gradient is not finite.
        """
        values = torch.stack([loss.detach().float(), gradient.detach().float()]).tolist()
        self._values = {"loss": self.ranks.mean(values[0]), "gradient": values[1], **self._values}
        # A gradient is the same in all processes, and so is a mean: they stop together.
        if not all(map(math.isfinite, (self._values["loss"], values[1]))):
            raise DivergedError(self._diverged(batch, values))

    @property
    def looks(self) -> bool:
        """Whether this step is one in which the shares of the gradient are to be looked at."""
        return self._journal is not None and (self._step % _LOOK_EVERY == 0 or self._step + 1 == self.config.steps)

    def note(self, **values: Any) -> None:
        """Write more about this step into the log."""
        self._values |= values

    @torch.no_grad()
    def validate(self, step: int, model: WaveModel, objective: Objective, part: Callable[[Split], Drawn]) -> None:
        """Where it is due, the objective of a network on fixed items: the best one is kept, and may be the end."""
        every = self.config.valid_every
        if not every or ((step + 1) % every and step + 1 < self.config.steps):
            return
        objective.eval()
        if self._valid is None:
            items = _grouped(part("valid"), self.config.valid_items, self._share)
            self._valid = [self._placed(examples) for examples in items]
        total = 0.0
        for batch in self._valid:
            est = model(batch.mix)
            total += len(batch.mix) * float(objective(est, batch.target, batch.mix))
        objective.train()
        # The first process's value, so that all end at the same step.
        value = self.ranks.agreed(total / self.config.valid_items if self.ranks.first else -math.inf)
        if not math.isfinite(value):
            raise DivergedError(f"step {step}: the validation value is {value:g}; lower --lr or --clip.")
        self._latest = value
        self.note(valid=value)
        if not self._best or value < self._best["value"]:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
            self._best = {"value": value, "since": 0, "step": step + 1, "weights": weights}
        else:
            self._best["since"] += 1
        self._ended = 0 < self.config.patience <= self._best["since"]
        if self._journal is not None:
            few = self._valid[0].first(_HEARD)
            est = model(few.mix)[:, : few.mix.shape[1]]
            self._journal.hear(step + 1, Heard(few.mix, few.target[:, 0], est, model.sample_rate))

    def finished(self, model: WaveModel) -> WaveModel:
        """The network that was asked for: this one, or the best of all validations where there was an early stop."""
        if self.config.patience and self._best:
            model.load_state_dict(self._best["weights"])
        if self.folder is not None and self.ranks.first:
            sizes = {name: getattr(model, name) for name in ("channels", "sample_rate", "sources")}
            weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
            write(self.folder / "model.pt", {"model": self.config.model, **sizes, "weights": weights})
        return model.eval()

    def _batches(self, data: Drawn) -> Iterator[Batch]:
        if self._first == self.config.steps or self._ended:
            return
        order = Positions(
            len(data),
            batch_size=self._share,
            steps=self.config.steps,
            first=self._first,
            seed=self.config.seed,
            rank=self.ranks.rank,
            world=self.ranks.world,
        )
        loader = DataLoader(
            data,
            batch_size=self._share,
            sampler=order,
            num_workers=self.config.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=ignore_interrupts,
            generator=torch.Generator(),
        )
        yield from map(self._placed, loader)

    def _placed(self, examples: Example) -> Batch:
        mix, target = (x.to(self.device, non_blocking=True) for x in (examples.mix, examples.target))
        return Batch(mix, target, list(examples.name))

    def _reseed(self, *purpose: int) -> None:
        """Whatever networks draw now, their first weights or their dropout, depends on the seed and this alone."""
        (seed,) = np.random.SeedSequence((self.config.seed, *purpose)).generate_state(1, np.uint64)
        torch.manual_seed(int(seed))  # noqa: TID251  (within fork_rng: networks draw from nowhere else)

    def _say(self, began: float) -> None:
        taken = time.monotonic() - began
        if self._journal is not None:
            self._journal.write(self._step, **self._values, seconds=round(taken, 3))
        if self._progress is not None and self.ranks.first:
            left = taken / (self._step - self._first) * (self.config.steps - self._step)
            self._progress(Progress(self._step, self.config.steps, self._values["loss"], self._latest, left))

    def _save(self) -> None:
        if self._checkpoints is not None and self.ranks.first:
            parts = {name: part.state_dict() for name, part in self._parts.items()}
            state = {"parts": parts, "best": self._best, "latest": self._latest, "ended": self._ended}
            self._checkpoints.save(self._step, {**state, "percloss": percloss.__version__})

    def _diverged(self, batch: Batch, values: list[float]) -> str:
        told = f"step {self._step}: the loss is {values[0]:g} and the norm of the gradient {values[1]:g}"
        needed = "needed are finite ones; lower --lr or --clip, or look at the items"
        if self.folder is None:
            return f"{told} in {', '.join(batch.names)}; {needed}."
        path = self.folder / f"diverged-{self._step:08d}-{self.ranks.rank}.pt"
        parts = {name: part.state_dict() for name, part in self._parts.items()}
        write(path, {**batch._asdict(), "step": self._step, "parts": parts})
        return f"{told}; batch and state are in {path}; {needed}."


def load(folder: str | Path) -> WaveModel:
    """The network that a run ended with, in evaluation mode.

    Raises:
        CheckpointError: The run has not ended, or its file cannot be read.
    """
    path = Path(folder) / "model.pt"
    if not path.is_file():
        raise CheckpointError(f"{path}: is not there; needed is the folder of a run that has ended; let it go on.")
    state = read(path)
    sizes = {name: state[name] for name in ("channels", "sample_rate", "sources")}
    with torch.random.fork_rng([]):
        model = nets.net(state["model"], **sizes)
    model.load_state_dict(state["weights"])
    return model.eval()


def _check(config: Settings) -> None:
    """Refuse numbers that no training can have."""
    least = {"steps": 1, "batch": 1, "segment": 1, "seed": 0, "valid_every": 0, "valid_items": 1, "patience": 0}
    for name, low in {**least, "save_every": 1, "workers": 0}.items():
        if getattr(config, name) < low:
            option = name.replace("_", "-")
            raise ArgumentError(
                f"{option}: got {getattr(config, name)}; needed is {low} or more: type --{option} {low}."
            )
    if config.patience and not config.valid_every:
        raise ArgumentError("patience: got validations to wait for, and none is made; type --valid-every 100.")


def _grouped(data: Drawn, items: int, size: int) -> Iterator[Example]:
    for start in range(0, items, size):
        yield default_collate([data[index] for index in range(start, min(items, start + size))])


def _no_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _fitting(learn: Callable[[int, Batch], None], step: int, batch: Batch) -> int:
    """The largest half of a half of a batch that can be learned from, 0 if there is none."""
    items = len(batch.mix) // 2
    while items:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            learn(step, batch.first(items))
        except (RuntimeError, MemoryError) as error:
            if not _no_memory(error):
                raise
        else:
            return items
        items //= 2
    return 0
