r"""Least squares on delayed copies: the best filter of so many taps, from signals to signals, in float64.

To project a signal on all delays of others is to solve :math:`G h = d`, where :math:`G` is block Toeplitz: one block
for each pair of signals, made of their correlation. It is never built unless it must be: Levinson's recursion gives its
inverse as four convolutions, up to rounding, and conjugate gradients take away the rounding: two or three steps up to
a condition of 1e10, some dozens at 1e13.

Circulant preconditioners, which do well on coloured noise, stall on real speech and music: their spectra fall by more
than 80 dB.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from percloss.dsp.safe import db_to_power

Solver = Literal["auto", "cholesky", "lu"]
#: What ``Solution.rung`` counts: nothing to solve, the rungs of the ladder, plain elimination, and no solution.
RUNGS = ("none", "levinson", "cholesky", "regularised", "lu", "failed")

A = Any  # an array of numpy or a tensor

# Powers of the residual over that of the right-hand side, in the norm in which it is the projection's own error: where
# an iteration ends that needs few steps, and one that needs many, which rounding holds up; what a rung must reach to be
# the last; and past what there is no solution.
_GOAL, _LATE_GOAL, _ACCEPTED, _USELESS = (db_to_power(db) for db in (-220.0, -190.0, -155.0, -80.0))
_ITERATIONS, _TRIED = 160, 8  # those that have come no nearer after as many are given up
# Steps after which the residual that is carried along has drifted from what is left, which then takes its place.
_RENEWED = 16
# Width of the matrices in Levinson's recursion.
_WIDE = 8
# A direction 140 dB below the others, after each signal was brought to one level, is rounding and no signal.
_RANK = db_to_power(-140.0)
_EPS = torch.finfo(torch.float64).eps
# Of a transform, unless the signal is shorter. And elements of a group of blocks: what fits a cache, what feeds a GPU.
_SHORTEST = 8192
_BLOCK_CPU, _BLOCK_GPU = 2**18, 2**24


class Solution(NamedTuple):
    """Filters, and what is known of each item: which rung, power of the residual, condition and rank across signals."""

    filters: Tensor
    rung: Tensor
    residual: Tensor
    condition: Tensor
    rank: Tensor


class Correlations(NamedTuple):
    """At the first lags, in float64.

    Shape:
        auto: (batch, n, n, taps), of the signals with each other. cross: (batch, n, m, taps), with what is to be
        reached. energy: (batch, m), of that.
    """

    auto: Tensor
    cross: Tensor
    energy: Tensor


def fft_size(taps: int, time: int) -> int:
    """Length of the transforms in which signals of ``time`` samples meet filters of ``taps``: what fits a cache."""
    return min(max(_SHORTEST, _next_power(16 * taps)), _next_power(time + taps - 1))


def _next_power(n: int) -> int:
    return 1 << max(1, math.ceil(math.log2(n)))


def blocks(x: Tensor, size: int, step: int, begin: int, count: int) -> Tensor:
    """``count`` stretches of ``size`` samples, ``step`` apart from ``begin``; silence around the signal.

    Shape:
        (..., time). Returns (..., count, size).
    """
    time, end = x.shape[-1], begin + (count - 1) * step + size
    part = x[..., max(begin, 0) : max(min(end, time), 0)]
    if begin < 0 or end > time:
        part = torch.nn.functional.pad(part, (max(-begin, 0), end - max(begin, 0) - part.shape[-1]))
    return part.unfold(-1, size, step)


def steps(count: int, width: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """(first, how many) of the groups in which ``count`` blocks of ``width`` elements each are worked on."""
    group = max(1, (_BLOCK_GPU if device.type == "cuda" else _BLOCK_CPU) // width)
    for first in range(0, count, group):
        yield first, min(group, count - first)


def correlations(x: Tensor, y: Tensor, *, taps: int, gain: Tensor | None = None) -> Correlations:
    r"""Correlation of every signal with each other, and with every one of ``y``, at the first lags.

    .. math:: c_{km}[a] = \sum_t x_k[t] \, y_m[t + a], \qquad 0 \le a < \mathrm{taps}

    with silence assumed before and after the signals.

    Args:
        x: Signals.
        y: Signals.
        taps: How many lags.
        gain: Of each of ``x``, taken from that of ``y`` in its place before anything else.

    Shape:
        x: (batch, n, time). y: (batch, m, time). gain: (batch, n, 1), with n = m.
    """
    batch, n, time = x.shape
    lap, size, short = taps - 1, fft_size(taps, time), _next_power(2 * taps)
    signals = n + y.shape[1]
    # Blocks as if each were a circle, and what that gets wrong where one meets the next: the end of each should have
    # met the beginning of the next and not its own.
    circles, seams = (
        x.new_zeros((batch, n, signals, n_fft // 2 + 1), dtype=torch.complex128) for n_fft in (size, short)
    )
    energy = x.new_zeros(y.shape[:2], dtype=torch.float64)
    groups = list(steps(-(-time // size), batch * size * signals, x.device))
    room = x.new_empty((batch, signals, groups[0][1], size + lap), dtype=torch.float64)
    for first, count in groups:
        both = room[:, :, :count]
        both[:, :n], both[:, n:] = (blocks(signal, size + lap, size, first * size, count) for signal in (x, y))
        if gain is not None:
            both[:, n:].addcmul_(gain[..., None], both[:, :n], value=-1)
        energy += torch.linalg.vector_norm(both[:, n:, :, :size], dim=(2, 3)).square()
        inside = torch.fft.rfft(both[..., :size])
        ends = torch.fft.rfft(both[:, :n, :, size - lap : size], short)
        begins = torch.fft.rfft(both[..., size:] - both[..., :lap], short)
        for total, one, other in ((circles, inside[:, :n], inside), (seams, ends, begins)):
            one = one.conj_physical()
            for block in range(count):
                total.addcmul_(one[:, :, None, block], other[:, None, :, block])
    found = torch.fft.irfft(circles, size)[..., :taps] + torch.fft.irfft(seams, short).roll(lap, -1)[..., :taps]
    return Correlations(found[:, :, :n], found[:, :, n:], energy)


def solve(auto: Tensor, cross: Tensor, *, solver: Solver = "auto") -> Solution:
    r"""Filters :math:`h` that bring :math:`\sum_k h_{km} * x_k` closest to each :math:`y_m`.

    ``"auto"`` climbs a ladder, each item for itself: the inverse of Levinson's recursion, refined by conjugate
    gradients; where that does not hold, Cholesky's factor of the matrix; and, where it is singular to float64, that of
    the matrix raised by its rounding error, refined until only directions that hold nothing are held back. Before,
    signals are brought to one level and decorrelated at lag 0, which moves no projection: proportional signals count
    once.

    Args:
        auto: Correlations of the signals with each other.
        cross: Correlations of them with what is to be reached.
        solver: ``"cholesky"`` leaves out Levinson. ``"lu"`` is Gaussian elimination of the matrix as it is, with
            float64's epsilon added to its diagonal, and least squares where that fails: what numpy users do.

    Shape:
        auto: (batch, n, n, taps). cross: (batch, n, m, taps). Returns filters (batch, n, m, taps), nan in an item
        that has no solution; and (batch,) for what is known of them.
    """
    if solver == "lu":
        return _eliminated(auto, cross)
    auto, cross, basis, rank = _decorrelated(auto, cross)
    filters = torch.zeros_like(cross)
    asked = cross.flatten(1).any(1)
    residual = torch.where(asked, math.inf, 0).to(cross.dtype)
    condition = torch.ones_like(residual)
    rung = torch.zeros_like(residual, dtype=torch.long)
    for number in range(1 if solver == "auto" else 2, 4):
        left = (residual > _ACCEPTED).nonzero().flatten()
        for items in left.split(max(1, len(left)) if number == 1 else 1):
            if len(items) == 0:
                continue
            answer, error, estimate = _LADDER[number - 1](auto[items], cross[items])
            better = error < residual[items]  # false for a nan
            filters[items] = torch.where(better[:, None, None, None], answer, filters[items])
            for kept, found in ((residual, error), (condition, estimate), (rung, torch.full_like(items, number))):
                kept[items] = torch.where(better, found, kept[items])
    failed = residual > _USELESS
    filters = torch.einsum("bkl,blmt->bkmt", basis, torch.where(failed[:, None, None, None], math.nan, filters))
    return Solution(filters, torch.where(failed, RUNGS.index("failed"), rung), residual, condition, rank)


def _decorrelated(auto: Tensor, cross: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same problem in signals of unit energy that do not correlate at lag 0, and the way back.

    Signals that are a combination of others leave a direction without energy. It is replaced by one of unit energy
    that nothing correlates with: its filter is 0.
    """
    level = auto.diagonal(dim1=1, dim2=2)[:, 0].clamp(min=0).sqrt()  # (batch, n)
    gain = torch.where(level > 0, 1 / torch.where(level > 0, level, 1), 0)
    lag0 = gain[:, :, None] * auto[..., 0] * gain[:, None]
    energy, axes = torch.linalg.eigh((lag0 + lag0.mT) / 2)
    kept = energy > _RANK * auto.shape[1]
    basis = gain[:, :, None] * axes * torch.where(kept, energy.clamp(min=_RANK).rsqrt(), 0)[:, None]
    auto = torch.einsum("bki,bklt,blj->bijt", basis, auto, basis)
    auto[..., 0] = (auto[..., 0] + auto[..., 0].mT) / 2 + torch.diag_embed((~kept).double())
    return auto, torch.einsum("bki,bkmt->bimt", basis, cross), basis, kept.sum(1)


class _Product:
    """The block Toeplitz matrix as what multiplies a vector: a circulant of twice its size."""

    def __init__(self, auto: Tensor) -> None:
        self.taps = auto.shape[-1]
        self.size = _next_power(2 * self.taps)
        gap = auto.new_zeros((*auto.shape[:3], self.size - 2 * self.taps + 1))
        self.spectrum = torch.fft.rfft(torch.cat((auto, gap, auto.transpose(1, 2)[..., 1:].flip(-1)), -1))

    def __call__(self, x: Tensor) -> Tensor:
        product: Tensor = torch.fft.irfft(mix(self.spectrum, torch.fft.rfft(x, self.size)), self.size)
        return product[..., : self.taps]


class _Levinson:
    """Inverse from the longest forward and backward predictors, exact up to the rounding of their recursion.

    The recursion is Whittle's of 1963 for signals in several channels, a few taps at a time, since small matrices cost
    what is done around them. Its last step gives the first and the last columns of the inverse, and they all of it
    (Gohberg and Semencul, 1972): two products of triangular Toeplitz matrices, hence four convolutions.
    """

    def __init__(self, auto: Tensor) -> None:
        batch, n, _, self.taps = auto.shape
        self.size = _next_power(2 * self.taps)
        if n == 1 and auto.device.type == "cpu":
            first = _first_columns(auto)
            last = torch.nn.functional.pad(first.flip(1)[:, :-1], (0, 0, 1, 0))
            self._keep(first, last, first[:, :1])
            return
        group = math.gcd(self.taps, _next_power(max(1, _WIDE // n)))
        lags = _grouped(auto, group)  # (batch, steps, wide, wide)
        lags[:, 0].diagonal(dim1=1, dim2=2).add_(_EPS)  # no step divides by exactly 0
        wide = n * group
        # Lags from the last to the first, so that those a step needs stand side by side.
        falling = lags.flip(1).transpose(1, 2).reshape(batch, wide, -1)
        end = self.taps * n
        forward, backward = (auto.new_zeros((batch, end, wide)) for _ in range(2))
        # The backward predictor grows towards the front of its array: what a step would shift stays where it is.
        forward[:, :wide] = backward[:, end - wide :] = torch.eye(wide, dtype=auto.dtype, device=auto.device)
        errors = _recursion(falling, lags[:, 0], forward, backward)
        ends = torch.linalg.solve_ex(errors.mT, torch.stack((forward, backward), 1).mT)[0].mT
        first, last = ends[:, 0, :, :n], torch.cat((ends.new_zeros(batch, n, n), ends[:, 1, :-n, wide - n :]), 1)
        self._keep(first, last, ends[:, 1, -n:, wide - n :])

    def _keep(self, first: Tensor, last: Tensor, end: Tensor) -> None:
        """Both columns, the last one tap late, over the roots of their blocks on the diagonal; as spectra."""
        n = end.shape[-1]
        left, right = (
            torch.fft.rfft(_scaled(x, corner).unflatten(1, (-1, n)).permute(0, 2, 3, 1), self.size)
            for x, corner in ((first, first[:, :n]), (last, end))
        )
        self.inner = torch.cat((left, right), 2).transpose(1, 2).conj_physical()
        self.outer = torch.cat((left, -right), 2)

    def __call__(self, x: Tensor) -> Tensor:
        parts = torch.fft.irfft(mix(self.inner, torch.fft.rfft(x, self.size)), self.size)[..., : self.taps]
        product: Tensor = torch.fft.irfft(mix(self.outer, torch.fft.rfft(parts, self.size)), self.size)
        return product[..., : self.taps]


def _first_columns(auto: Tensor) -> Tensor:
    """First column of the inverse for one signal, (batch, taps, 1), by scipy's recursion; nan where it breaks down."""
    from scipy.linalg import solve_toeplitz

    unit = np.eye(1, auto.shape[-1])[0]
    columns = torch.full((len(auto), auto.shape[-1], 1), math.nan, dtype=auto.dtype)
    for column, row in zip(columns, auto[:, 0, 0].numpy(), strict=True):
        with contextlib.suppress(np.linalg.LinAlgError):
            column[:, 0] = torch.from_numpy(solve_toeplitz(row, unit))
    return columns


def _recursion(falling: Tensor, zero: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """Grow both predictors to their full length, in place. Returns the covariances of their errors, (batch, 2, ...).

    On a CPU by numpy, whose calls cost a third where matrices are this small.
    """
    if zero.device.type == "cpu":
        try:
            lags, start, ahead, behind = (x.numpy() for x in (falling, zero, forward, backward))
            return torch.from_numpy(np.stack(_predictors(lags, start, ahead, behind, np.linalg.solve), 1))
        except np.linalg.LinAlgError:  # one of them is singular, and numpy does not say which
            return torch.full((len(zero), 2, *zero.shape[1:]), math.nan, dtype=zero.dtype)
    errors = _predictors(falling, zero, forward, backward, lambda a, b: torch.linalg.solve_ex(a, b)[0])
    return torch.stack(errors, 1)


def _predictors(falling: A, zero: A, forward: A, backward: A, solution: Callable[[A, A], A]) -> tuple[A, A]:
    end, wide = forward.shape[1], zero.shape[1]
    ahead_error, behind_error = zero, zero
    for known in range(wide, end, wide):
        ahead, behind = forward[:, : known + wide], backward[:, end - known - wide :]
        missed = falling[:, :, end - wide - known : end - wide] @ forward[:, :known]
        mirrored = missed.swapaxes(1, 2)
        by_ahead, by_behind = solution(ahead_error, mirrored), solution(behind_error, missed)
        change = ahead @ by_ahead
        ahead -= behind @ by_behind
        behind -= change
        ahead_error = ahead_error - mirrored @ by_behind
        behind_error = behind_error - missed @ by_ahead
    return ahead_error, behind_error


def _grouped(auto: Tensor, group: int) -> Tensor:
    """The same matrix seen as one of larger blocks, ``group`` taps in each: (batch, taps / group, n group, n group)."""
    batch, n, _, taps = auto.shape
    lags = torch.cat((auto.transpose(1, 2)[..., 1:].flip(-1), auto), -1)
    tap = torch.arange(group, device=auto.device)
    lag = torch.arange(0, taps, group, device=auto.device)[:, None, None] + tap[:, None] - tap
    return lags[..., lag + taps - 1].permute(0, 3, 4, 1, 5, 2).reshape(batch, taps // group, n * group, n * group)


def _scaled(column: Tensor, corner: Tensor) -> Tensor:
    """A column of the inverse over the root of its own block on the diagonal."""
    factor, _ = torch.linalg.cholesky_ex((corner + corner.mT) / 2)
    scaled: Tensor = torch.linalg.solve_triangular(factor.mT, column, upper=True, left=False)
    return scaled


class _Factor:
    """Inverse by Cholesky's factor of the dense matrix, its diagonal raised by ``raised``."""

    def __init__(self, auto: Tensor, raised: float = 0.0) -> None:
        self.n = auto.shape[1]
        matrix = dense(auto)
        matrix.diagonal(dim1=1, dim2=2).add_(raised)
        self.factor, self.info = torch.linalg.cholesky_ex(matrix)

    def __call__(self, x: Tensor) -> Tensor:
        return _rows(torch.cholesky_solve(_columns(x), self.factor), self.n)


_Inverse = _Levinson | _Factor
_Rung = tuple[Tensor, Tensor, Tensor]


def mix(matrix: Tensor, x: Tensor) -> Tensor:
    """Product of matrices that stand at each frequency: (batch, n, k, bins) by (batch, k, m, bins)."""
    total = matrix[:, :, 0, None] * x[:, None, 0]
    for row in range(1, x.shape[1]):
        total.addcmul_(matrix[:, :, row, None], x[:, None, row])
    return total


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 3), keepdim=True)


def _left(product: _Product, inverse: _Inverse, x: Tensor, wanted: Tensor) -> Tensor:
    """Power of what is left of the right-hand side over its own, the largest over columns, (batch,)."""
    residual = wanted - product(x)
    missing = inverse(residual)
    size = _dot(wanted, x + missing)
    power = _dot(residual, missing) / torch.where(size == 0, 1, size)
    return power.flatten(1).abs().amax(1)


def _iterated(product: _Product, inverse: _Inverse, wanted: Tensor) -> Tensor:
    """Solution by preconditioned conjugate gradients; each column of each item stops for itself.

    A column that has stopped in every item is left out as soon as they are half.
    """
    done, x = torch.empty_like(wanted), torch.zeros_like(wanted)
    columns = torch.arange(wanted.shape[2], device=wanted.device)
    residual, direction = wanted, inverse(wanted)
    first = size = _dot(residual, direction)
    for iteration in range(_ITERATIONS):
        active = size.abs() > (_GOAL if iteration < _RENEWED else _LATE_GOAL) * first.abs()
        if not bool((active & (size.abs() < first.abs()) if iteration == _TRIED else active).any()):
            break
        left = active.any(0).flatten()
        if 2 * int(left.sum()) <= len(left):  # go on with these alone
            done[:, :, columns] = x
            state = (x, residual, direction, size, first, wanted, active)
            x, residual, direction, size, first, wanted, active = (kept[:, :, left] for kept in state)
            columns = columns[left]
        image = product(direction)
        curve = _dot(direction, image)
        step = torch.where(active & (curve != 0), size / curve, 0)
        x = x + step * direction
        residual = wanted - product(x) if (iteration + 1) % _RENEWED == 0 else residual - step * image
        ahead = inverse(residual)
        new = _dot(residual, ahead)
        direction = ahead + torch.where(active, new / size, 0) * direction
        size = torch.where(active, new, size)
    done[:, :, columns] = x
    return done


def _by_levinson(auto: Tensor, cross: Tensor) -> _Rung:
    product, inverse = _Product(auto), _Levinson(auto)
    x = _iterated(product, inverse, cross)
    return x, _left(product, inverse, x, cross), _condition(auto, inverse)


def _by_cholesky(auto: Tensor, cross: Tensor) -> _Rung:
    return _refined(auto, cross, _Factor(auto), rounds=2)


def _by_regularised(auto: Tensor, cross: Tensor) -> _Rung:
    rounding = auto.shape[1] * auto.shape[-1] * _EPS * float(_largest(auto))
    return _refined(auto, cross, _Factor(auto, rounding), rounds=8)


_LADDER = (_by_levinson, _by_cholesky, _by_regularised)


def _refined(auto: Tensor, cross: Tensor, inverse: _Factor, *, rounds: int) -> _Rung:
    product = _Product(auto)
    x = inverse(cross)
    for _ in range(rounds):
        x = x + inverse(cross - product(x))
    error = torch.where(inverse.info == 0, _left(product, inverse, x, cross), math.nan)
    return x, error, _condition(auto, inverse)


def _largest(auto: Tensor) -> Tensor:
    """Largest eigenvalue, (batch,), estimated: of the trace of the nearest circulant matrix at each frequency."""
    taps = auto.shape[-1]
    share = 2 * (1 - torch.arange(taps, dtype=auto.dtype, device=auto.device) / taps)
    trace = share * auto.diagonal(dim1=1, dim2=2).sum(-1)
    spectrum: Tensor = torch.fft.rfft(trace).real - trace[:, :1] / 2
    return spectrum.amax(1)


def _condition(auto: Tensor, inverse: _Inverse) -> Tensor:
    """Largest over smallest eigenvalue, to a factor of two, the smallest by inverse iteration from a chirp."""
    n, taps = auto.shape[1], auto.shape[-1]
    x = torch.arange(n * taps, dtype=auto.dtype, device=auto.device).square().mul(0.1).cos().view(1, n, 1, taps)
    x, growth = x.expand(len(auto), -1, -1, -1), auto.new_ones(len(auto))
    for _ in range(2):
        x = inverse(x / torch.linalg.vector_norm(x, dim=(1, 3), keepdim=True))
        growth = torch.linalg.vector_norm(x, dim=(1, 2, 3))
    return _largest(auto) * growth


def dense(auto: Tensor) -> Tensor:
    """The block Toeplitz matrix itself, (batch, n * taps, n * taps)."""
    batch, n, _, taps = auto.shape
    lags = torch.cat((auto.transpose(1, 2)[..., 1:].flip(-1), auto), -1)
    tap = torch.arange(taps, device=auto.device)
    matrix: Tensor = lags[..., tap[:, None] - tap[None] + taps - 1]
    return matrix.permute(0, 1, 3, 2, 4).reshape(batch, n * taps, n * taps)


def _columns(cross: Tensor) -> Tensor:
    """(batch, n, m, taps) as right-hand sides of ``dense``, (batch, n * taps, m)."""
    return cross.transpose(2, 3).flatten(1, 2)


def _rows(columns: Tensor, n: int) -> Tensor:
    """Back to (batch, n, m, taps)."""
    apart: Tensor = columns.unflatten(1, (n, -1))
    return apart.transpose(2, 3)


def _eliminated(auto: Tensor, cross: Tensor) -> Solution:
    """Gaussian elimination, one item after the other, with float64's epsilon on the diagonal."""
    batch, n = auto.shape[:2]
    answers = []
    for item in range(batch):
        matrix, wanted = dense(auto[item : item + 1]), _columns(cross[item : item + 1])
        raised = matrix + _EPS * torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        x, info = torch.linalg.solve_ex(raised, wanted)
        if bool(info.any()):
            x = torch.linalg.pinv(matrix, hermitian=True) @ wanted
        answers.append(_rows(x, n))
    unknown = auto.new_full((batch,), math.nan)
    rung, rank = (torch.full((batch,), value, device=auto.device) for value in (RUNGS.index("lu"), n))
    return Solution(torch.cat(answers), rung, unknown, unknown, rank)
