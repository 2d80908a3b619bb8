"""auraloss.utils, and what the modules here share."""

from typing import Any

import torch
from torch import Tensor, nn

from percloss.dsp.safe import undefined_where
from percloss.errors import ArgumentError, ShapeError
from percloss.losses import Loss

REDUCTIONS = ("mean", "sum", "none")


def apply_reduction(losses: Tensor, reduction: str = "none") -> Tensor:
    """Mean or sum of all entries; the entries themselves for any other word."""
    if reduction == "mean":
        return losses.mean()
    return losses.sum() if reduction == "sum" else losses


def checked(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """``value``, if it is one of those."""
    if value not in allowed:
        raise ArgumentError(f"auraloss: got {name}={value!r}; needed is one of {', '.join(allowed)}.")
    return value


def of_items(loss: Loss, est: Tensor, ref: Tensor, reduction: str) -> Tensor:
    """A loss of signals of any rank, time last; each row is an item.

    ``"none"`` has nan where an item has no value, and the others leave such items out.
    """
    if est.shape != ref.shape or est.dim() == 0:
        raise ShapeError(
            f"{loss.name}: input is {tuple(est.shape)} and target is {tuple(ref.shape)}; needed are equal shapes "
            f"(..., time)."
        )
    rows = [x.reshape(-1, 1, x.shape[-1]) for x in (est, ref)]
    if reduction == "mean":
        mean: Tensor = loss(*rows)
        return mean
    values, finite = loss.measure.scored(*rows)
    values = loss.measure.spec.sign * values
    if reduction == "none":
        return undefined_where(~finite, values).view(est.shape[:-1])
    return undefined_where(~finite.all(), values.nansum())


class Forgetful(nn.Module):
    """Takes a state dict of auraloss and leaves the constants in it, which this package does not save."""

    saved: tuple[str, ...]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self.saved:
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def follow(module: nn.Module, x: Tensor) -> None:
    """Move constants to the device of the signal, as auraloss does in every call."""
    if any(constant.device != x.device for constant in module.buffers()):
        module.to(x.device)


def float32(x: Tensor) -> Tensor:
    """Rounded to single precision, in which auraloss keeps its constants whatever the signal's is."""
    return x.to(torch.float32).double()
