"""Which estimate belongs to which reference: the assignment of the largest total, for a batch."""

import itertools

import torch
from torch import Tensor

# Up to six, all 720 orders are looked at where the values are; beyond, scipy's algorithm on the CPU is quicker.
_ALL_ORDERS = 6


def assign(values: Tensor) -> Tensor:
    """For each reference the estimate that is given to it, so that the sum of their values is largest.

    A pair without a value (nan) counts as 0.

    Args:
        values: Of each pair, the larger the better.

    Shape:
        (batch, estimates, references), as many of both. Returns (batch, references), integers.
    """
    values = torch.nan_to_num(values.detach(), nan=0.0)
    sources = values.shape[-1]
    if sources > _ALL_ORDERS:
        from scipy.optimize import linear_sum_assignment

        found = [linear_sum_assignment(item.T.numpy(), maximize=True)[1] for item in values.cpu().double()]
        return torch.stack([torch.as_tensor(columns, device=values.device) for columns in found])
    orders = torch.tensor(list(itertools.permutations(range(sources))), device=values.device)
    totals = values[:, orders, torch.arange(sources, device=values.device)].sum(-1)
    return orders[totals.argmax(1)]
