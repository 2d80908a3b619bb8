"""The learning rate as a function of the step, which has no state to save."""

import math

from torch.optim import Optimizer

__all__ = ["set_rate", "warm_cosine"]


def warm_cosine(step: int, *, steps: int, warmup: int) -> float:
    """Share of the highest rate: up in a line over the first steps, then down to 0 along half a cosine.

    Args:
        step: From 0 on.
        steps: Of the run, the last of which has a rate just above 0.
        warmup: Steps of the rise; no more than a quarter of all.

    Example:
        >>> [round(warm_cosine(step, steps=8, warmup=2), 2) for step in range(8)]
        [0.5, 1.0, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    rise = min(warmup, steps // 4)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every group of parameters this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
