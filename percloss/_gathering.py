"""What the metrics that keep every item have in common: lists that all processes of a distributed run put together."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from percloss._optional import require

if TYPE_CHECKING:
    import torchmetrics
else:
    torchmetrics = require("torchmetrics", extra="metrics")


class Gathering(torchmetrics.Metric):
    """A metric whose state are lists of one-dimensional tensors: values in float64 (float32 on mps), or integers."""

    full_state_update = False
    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._integers: dict[str, bool] = {}

    def keep(self, name: str, *, integers: bool = False) -> None:
        """Declare a list."""
        self._integers[name] = integers
        self.add_state(name, default=[], dist_reduce_fx="cat")

    def append(self, name: str, values: Tensor) -> None:
        """Lengthen a list."""
        getattr(self, name).append(values.to(self._dtype_of(name, values.device)))

    def joined(self, name: str) -> Tensor:
        """The whole of a list, ``(n,)``; within ``sync_context`` that of all processes, by rank."""
        held = getattr(self, name)
        if isinstance(held, Tensor):
            return held
        return torch.cat(held) if held else torch.empty(0, dtype=self._dtype_of(name, self.device), device=self.device)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As every metric, but that a process that had no batch sends nothing in the type in which the others send."""
        for name in self._integers:
            if isinstance(getattr(self, name), list) and not getattr(self, name):
                setattr(self, name, [self.joined(name)])
        super().sync(*args, **kwargs)

    def _dtype_of(self, name: str, device: torch.device) -> torch.dtype:
        if self._integers[name]:
            return torch.int64
        return torch.float32 if device.type == "mps" else torch.float64
