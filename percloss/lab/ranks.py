"""Where a training runs: a device, and the processes that share the work under ``torchrun``."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from percloss.errors import ArgumentError, DeviceError

__all__ = ["Ranks", "device_named", "ranks"]

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Ranks:
    """This process among those that share a run, and its device."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """Items of a step for each process.

        Raises:
            ArgumentError: They cannot be dealt out evenly.
        """
        if batch % self.world:
            raise ArgumentError(
                f"batch: got {batch} for {self.world} processes; needed is a multiple of their number: type "
                f"--batch {-(-batch // self.world) * self.world}."
            )
        return batch // self.world

    def placed(self, model: N) -> N:
        """On the device; on GPUs batch norms take their statistics over all processes."""
        if self.world > 1 and self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        # Convolutions of few filters are up to three times faster so.
        return model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def parallel(self, model: nn.Module) -> nn.Module:
        """What to call in training, so that gradients are averaged over the processes."""
        return model if self.world == 1 else DistributedDataParallel(model)

    def agreed(self, number: float) -> float:
        """The largest of what the processes have."""
        if self.world == 1:
            return number
        shared: Tensor = torch.tensor(number, dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return float(shared)

    def mean(self, number: float) -> float:
        """The mean of what the processes have."""
        if self.world == 1:
            return number
        shared: Tensor = torch.tensor(number, dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared)
        return float(shared) / self.world


def device_named(name: str) -> torch.device:
    """A device that is there.

    Raises:
        DeviceError: No such device, or torch cannot use it.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device: got {name!r}; needed is cpu, cuda, cuda:0 or mps; type --device cpu.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device: got {name!r}, and torch {torch.__version__} sees {torch.cuda.device_count()} GPUs; needed is a "
            f"driver and a build of torch with CUDA (nvidia-smi, torch.cuda.is_available()); type --device cpu."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"device: got {name!r}, and torch sees no Apple GPU; type --device cpu.")
    return device


@contextmanager
def ranks(device: str) -> Iterator[Ranks]:
    """This process, joined with the others if ``torchrun`` started several."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(device_named(device))
        return
    found = device_named(f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device)
    if found.type == "cuda":
        torch.cuda.set_device(found)
    distributed.init_process_group("nccl" if found.type == "cuda" else "gloo")
    try:
        yield Ranks(found, distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
