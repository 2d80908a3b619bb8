"""Hearing over time: a sound goes on masking for a while after it has ended."""

import torch
from torch import Tensor

# Frames that one matrix product covers. More cost more than they save.
_BLOCK = 32


def forward_decay(hz: Tensor, hop_seconds: float, *, fastest: float = 0.008, at_100_hz: float = 0.030) -> Tensor:
    r"""What is left in each band after a hop, :math:`e^{-h / \tau}`, of the time constants of BS.1387.

    .. math:: \tau = \tau_{min} + \frac{100}{f} (\tau_{100} - \tau_{min})

    Args:
        hz: Frequencies of the bands [Hz].
        hop_seconds: Step between frames [s].
        fastest: Time constant at high frequencies [s].
        at_100_hz: Time constant at 100 Hz [s].

    References:
        [itu2001bs1387]_.
    """
    return (-hop_seconds / (fastest + 100 / hz * (at_100_hz - fastest))).exp()


def one_pole(x: Tensor, decay: Tensor) -> Tensor:
    r"""First-order low-pass along time, one for each band, starting from rest, of gain 1 for what stays the same.

    .. math:: y_t = a\, y_{t-1} + (1 - a)\, x_t

    It is exact and has no loop over time: blocks of frames are products with a Toeplitz matrix, and what one block
    hands to the next is the same recursion over blocks.

    Args:
        x: Bands second to last, time last.
        decay: :math:`a` of each band, from 0 to below 1.

    Shape:
        x: (..., bands, time). decay: (bands,). Returns (..., bands, time).
    """
    return _recursion((1 - decay.to(x.dtype))[:, None] * x, decay)


def _recursion(x: Tensor, decay: Tensor) -> Tensor:
    """Of ``y[t] = a y[t - 1] + x[t]``."""
    time = x.shape[-1]
    size = min(time, _BLOCK)
    powers = (decay[:, None] ** torch.arange(size + 1, device=x.device)).to(x.dtype)
    # A Toeplitz matrix: row j is what x[j] gives to y[0], y[1], ..., nothing before j and the powers from there on.
    taps = torch.nn.functional.pad(powers[:, :-1], (size - 1, 0)).unfold(-1, size, 1).flip(-2)
    blocks = -(-time // size)
    inputs = torch.nn.functional.pad(x, (0, blocks * size - time)).unflatten(-1, (blocks, size)).movedim(-3, 0)
    # One product for each band, of all its blocks in the batch, which share the matrix.
    within: Tensor = (inputs.flatten(1, -2) @ taps).view(inputs.shape).movedim(0, -3)
    if blocks == 1:
        return within.flatten(-2)
    ends = _recursion(within[..., -1], decay**size)
    before = torch.nn.functional.pad(ends[..., :-1], (1, 0))
    within = within + powers[:, None, 1:] * before[..., None]
    return within.flatten(-2)[..., :time]
