"""What every discriminator shares: its door, and how a stack of layers becomes a judgement."""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from percloss.adversarial import Judgement
from percloss.errors import ArgumentError, DTypeError, ShapeError


class Discriminator(nn.Module):
    """A network of networks, for signals of a fixed number of channels and of any length from ``min_samples`` on.

    Args:
        channels: Of the signals. They are heard together; to judge each for itself build it with ``channels=1`` and
            give it ``x.flatten(0, 1)[:, None]``.
    """

    min_samples: int = 1

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self._needs("channels", [channels], least=1)

    def _needs(self, name: str, sizes: Iterable[int], *, least: int) -> None:
        """Refuse a size, or an empty list of sizes, at construction."""
        listed = list(sizes)
        if not listed or min(listed) < least:
            raise ArgumentError(
                f"{type(self).__name__}: got {name} {listed}; needed is one number at least, none below {least}."
            )

    def _needs_odd(self, name: str, sizes: Iterable[int]) -> None:
        """Refuse a kernel without a middle, whose padding would shift what it hears."""
        listed = list(sizes)
        if any(size % 2 == 0 for size in listed):
            raise ArgumentError(f"{type(self).__name__}: got {name} {listed}; needed are odd numbers.")

    def _check(self, **signals: Tensor) -> None:
        name = type(self).__name__
        first = next(iter(signals.values()))
        for role, x in signals.items():
            if not x.is_floating_point():
                raise DTypeError(f"{name}: {role} is {x.dtype}; needed is floating point within +-1: {role}.float().")
            if x.dim() != 3 or x.shape[1] != self.channels:
                raise ShapeError(
                    f"{name}: {role} has shape {tuple(x.shape)}; needed is (batch, {self.channels}, time). Type "
                    f"{name}(channels=...), or {role}.flatten(0, 1)[:, None] to judge each channel for itself."
                )
            if x.shape != first.shape:
                raise ShapeError(
                    f"{name}: got {' and '.join(str(tuple(s.shape)) for s in signals.values())} for "
                    f"{' and '.join(signals)}; needed are equal shapes."
                )
            if x.shape[0] == 0 or x.shape[2] < self.min_samples:
                raise ShapeError(
                    f"{name}: {role} has shape {tuple(x.shape)}; needed is one item and {self.min_samples} samples at "
                    f"least. Give longer excerpts or smaller sizes."
                )


def judge(x: Tensor, hidden: Iterable[nn.Module], last: nn.Module, slope: float) -> Judgement:
    """Layers with a leaky rectifier between them; the last gives the logits."""
    features = []
    for layer in hidden:
        x = F.leaky_relu(layer(x), slope)
        features.append(x)
    return Judgement(last(x), features)
