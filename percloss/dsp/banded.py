"""Products with a matrix whose rows have their entries side by side, as filter banks do, without the zeros."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# What one more product costs, in multiplications for each frame: a few microseconds at some hundred frames.
OVERHEAD = 512


class Block(NamedTuple):
    """Rows of a matrix, and the columns outside of which they have nothing."""

    rows: slice
    columns: slice


@dataclass(frozen=True)
class Blocks:
    """A matrix cut by rows."""

    parts: tuple[Block, ...]


def blocks(matrix: Tensor) -> Blocks:
    """Cut the rows so that the products of all blocks cost the least.

    Args:
        matrix: (rows, columns). A row further down begins and ends further right; where one does not, its block is as
            wide as it needs to be.
    """
    rows, columns = matrix.shape
    filled = (matrix != 0).cpu()
    empty = ~filled.any(1)
    first = torch.where(empty, columns, filled.int().argmax(1)).flip(0).cummin(0).values.flip(0)
    last = torch.where(empty, 0, columns - filled.flip(1).int().argmax(1)).cummax(0).values
    cheapest, begins = torch.zeros(rows + 1, dtype=torch.float64), []
    for end in range(1, rows + 1):  # the best cut of the first rows, from the best cuts of fewer
        begin = torch.arange(end)
        cost = cheapest[:end] + (end - begin) * (last[end - 1] - first[:end]).clamp(min=0) + OVERHEAD
        begins.append(int(cost.argmin()))
        cheapest[end] = cost[begins[-1]]
    found, below = [], rows
    while below:
        above = begins[below - 1]
        left, right = int(first[above]), int(last[below - 1])
        found.append(Block(slice(above, below), slice(min(left, right), right)))
        below = above
    return Blocks(tuple(reversed(found)))


def product(matrix: Tensor, cut: Blocks, x: Tensor) -> Tensor:
    """``matrix @ x``, from its ``blocks``; to the last digits, whose sums have another order.

    A GPU is faster with one large product, and so is autograd.

    Shape:
        x: (..., columns, frames). Returns (..., rows, frames), in memory a frame after the other, as spectra are.
    """
    if x.is_cuda or x.requires_grad or torch.compiler.is_compiling():
        return matrix @ x
    frames = x.mT.flatten(0, -2)
    rows = torch.cat([frames[:, part.columns] @ matrix[part].mT for part in cut.parts], -1)
    return rows.view(*x.shape[:-2], x.shape[-1], -1).mT
