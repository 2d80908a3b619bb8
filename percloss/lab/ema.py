"""A moving average of a network in training: what is validated, kept and handed out."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

from percloss.errors import ArgumentError

__all__ = ["EMA", "decay_at"]

N = TypeVar("N", bound=nn.Module)


def decay_at(step: int, decay: float) -> float:
    """The decay at a step, from 0 on: ``(1 + step) / (10 + step)`` until it reaches ``decay``.

    Without this the first weights, and the first statistics of batch norms, stay in the average for hundreds of steps.
    """
    return min(decay, (1 + step) / (10 + step))


class EMA(Generic[N]):
    """Exponential moving average of a network's parameters and buffers.

    Args:
        model: Whose. It is copied; the copy does not require gradients and is in evaluation mode.
        decay: Per step, 0 to below 1, reached as ``decay_at`` says.

    Attributes:
        model: The average.

    Example:
        >>> layer = torch.nn.Linear(1, 1)
        >>> average = EMA(layer, 0.99)
        >>> with torch.no_grad():
        ...     _ = layer.weight.add_(1)
        >>> average.update(0)
        >>> bool((layer.weight - average.model.weight).isclose(torch.tensor(0.1)))
        True
    """

    def __init__(self, model: N, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ArgumentError(f"ema: got a decay of {decay}; needed is 0 to below 1: type 0.99, or 0 for none.")
        self.decay, self._live = decay, model
        self.model: N = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network as it is after a step. What is counted in whole numbers is copied."""
        weight = 1 - decay_at(step, self.decay)
        live = self._live.state_dict()
        for name, average in self.model.state_dict().items():
            if average.is_floating_point():
                average.lerp_(live[name], weight)
            else:
                average.copy_(live[name])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The average's own."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a saved average."""
        self.model.load_state_dict(state)
