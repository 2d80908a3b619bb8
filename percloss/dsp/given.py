"""A value whose gradient was made beside it: autograd keeps that one tensor, and nothing of the way there."""

from typing import Any

import torch
from torch import Tensor

from percloss.errors import ArgumentError


def given(est: Tensor, value: Tensor, gradient: Tensor, *, refusal: str) -> Tensor:
    """The value, with ``gradient`` as its derivative by the estimate.

    Args:
        est: Of which it is the value.
        value: One number, or one for each row of ``est``; without a graph.
        gradient: Of each number, on its own row.
        refusal: What to say where a second derivative is asked for, which there is none of.

    Shape:
        gradient: that of ``est``; value: what the leading axes of it are. Returns the shape of ``value``.
    """
    held: Tensor = _Given.apply(est, value, gradient, refusal)  # type: ignore[no-untyped-call]
    return held


class _Given(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, est: Tensor, value: Tensor, gradient: Tensor, refusal: str) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.dtype, ctx.refusal = est.dtype, refusal
        return value.clone()

    @staticmethod
    def backward(ctx: Any, of_value: Tensor) -> tuple[Tensor, None, None, None]:
        if torch.is_grad_enabled():  # as under create_graph=True
            raise ArgumentError(ctx.refusal)
        (gradient,) = ctx.saved_tensors
        along = of_value.view(*of_value.shape, *[1] * (gradient.dim() - of_value.dim()))
        return (along * gradient).to(ctx.dtype), None, None, None
