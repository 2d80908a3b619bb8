"""What a data set hands out, how its items are drawn, and in which order a run takes them."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from percloss.errors import ArgumentError, AudioFileError

# Items drawn anew in place of a broken or silent one, before that is an error.
_ATTEMPTS = 16
# What a draw is for: equal numbers for different ends would make them depend on each other.
_ITEM, _ORDER = 1, 2


class Example(NamedTuple):
    """One item. torch's ``default_collate`` puts the batch in front of each tensor.

    Attributes:
        mix: What a model hears, (channels, time).
        target: What it shall find, (sources, channels, time); flattened over sources and channels it is in the order of
            a lab model's estimate.
        sample_rate: Of both [Hz].
        name: Where the item comes from.
    """

    mix: Tensor
    target: Tensor
    sample_rate: int
    name: str


class Drawn(Dataset[Example]):
    """A data set whose item is drawn from ``(seed, epoch, index)``.

    Item ``i`` is number ``i % len(self)`` of epoch ``i // len(self)``; there is no last epoch. Iterating goes through
    the first.

    Args:
        length: Items of an epoch.
        sources: Names of what ``target`` holds.
        sample_rate: Of the items [Hz].
        segment: Length of an item [samples]; ``None`` where items are whole recordings.
        seed: Of everything that is drawn.
        skip_broken: Whether another item takes the place of one whose file cannot be read, with a warning that names
            the file; else the error ends the epoch. A worker's warning comes from the worker.
    """

    def __init__(
        self,
        length: int,
        *,
        sources: tuple[str, ...],
        sample_rate: int,
        segment: int | None,
        seed: int = 0,
        skip_broken: bool = False,
    ) -> None:
        name = type(self).__name__
        if segment is not None and segment < 1:
            raise ArgumentError(f"{name}: segment={segment} came; needed are 1 sample or more; use segment=16128.")
        if seed < 0 or length < 1:
            raise ArgumentError(
                f"{name}: seed={seed} and {length} items came; needed are a seed of 0 or more and an item; use seed=0."
            )
        self.length, self.sources, self.sample_rate, self.segment = length, sources, sample_rate, segment
        self.seed, self.skip_broken = seed, skip_broken

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Example:
        """Item ``index``, of whichever epoch.

        Raises:
            ArgumentError: An index below 0.
            AudioFileError: A file that cannot be read, unless broken ones are skipped; or nothing but such, or silence.
        """
        if index < 0:
            raise ArgumentError(f"{type(self).__name__}: item {index} came; items count from 0; use set[0].")
        epoch, number = divmod(index, len(self))
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng((_ITEM, self.seed, epoch, number, attempt))
            chosen = number if attempt == 0 else int(rng.integers(len(self)))
            try:
                example = self.draw(chosen, rng)
            except AudioFileError as error:
                if not self.skip_broken:
                    raise
                warnings.warn(f"skipped: {error}", stacklevel=2)
            else:
                if example is not None:
                    return example
        raise AudioFileError(
            f"{type(self).__name__}: item {index}: {_ATTEMPTS} draws in a row were broken or silent; needed are "
            f"recordings that can be read and are heard; check the files that were named."
        )

    @abstractmethod
    def draw(self, number: int, rng: np.random.Generator) -> Example | None:
        """Item ``number`` with what is random about it taken from ``rng``; ``None`` if it came out silent."""


class Positions(Sampler[int]):
    """The indices of a run in order, each epoch in an order of its own, from any step on.

    What is at a step depends on the arguments alone, so a run that is resumed sees what it would have seen. For a
    ``DataLoader`` with the same ``batch_size``, as its ``sampler``.

    Args:
        length: Items of an epoch: ``len(dataset)``.
        batch_size: Items of a step in one process.
        steps: At which step to end.
        first: At which to begin: as many as are done.
        seed: Of the orders.
        rank: Of this process among ``world``; each takes its part of a step.
        world: How many processes there are.
    """

    def __init__(
        self,
        length: int,
        *,
        batch_size: int,
        steps: int,
        first: int = 0,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if min(length, batch_size, world) < 1 or not 0 <= first <= steps or not 0 <= rank < world or seed < 0:
            raise ArgumentError(
                f"Positions: length={length}, batch_size={batch_size}, first={first}, steps={steps}, seed={seed}, "
                f"rank={rank} of {world} came; needed are length, batch_size and world from 1 up, 0 <= first <= "
                f"steps, 0 <= rank < world and seed from 0 up; use Positions(len(data), batch_size=8, steps=300)."
            )
        self.length, self.batch_size, self.steps, self.first = length, batch_size, steps, first
        self.seed, self.rank, self.world = seed, rank, world

    def __len__(self) -> int:
        return (self.steps - self.first) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        known, order = -1, np.arange(self.length)
        for step in range(self.first, self.steps):
            begin = (step * self.world + self.rank) * self.batch_size
            for position in range(begin, begin + self.batch_size):
                epoch, place = divmod(position, self.length)
                if epoch != known:
                    known, order = epoch, np.random.default_rng((_ORDER, self.seed, epoch)).permutation(self.length)
                yield epoch * self.length + int(order[place])
