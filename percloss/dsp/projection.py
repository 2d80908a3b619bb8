r"""What of an estimate is its source, is other sources, and is neither: projections on delayed copies of references.

With :math:`s` the true source and :math:`P_j`, :math:`P` the projections on the delays of that source and of all of
them, an estimate :math:`e` splits into what a filter makes of its source, :math:`P_j e`, interference
:math:`P e - P_j e`, and artefacts :math:`e - P e`. Filters are sought for what is left of the estimate without its
source at the best gain, :math:`n = e - \alpha s`, and every energy is that of a signal that was formed: nothing is the
small difference of two large numbers, however good the estimate and however far its level from the source's.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from percloss.dsp.toeplitz import Solver, blocks, correlations, fft_size, mix, solve, steps


class Energies(NamedTuple):
    """Energies over channels and time of the parts of each estimate, in float64, (batch, sources, frames)."""

    source: Tensor  # s
    error: Tensor  # e - s
    spatial: Tensor  # P_j e - s
    filtered: Tensor  # P_j e
    unfiltered: Tensor  # e - P_j e
    interference: Tensor  # P e - P_j e
    explained: Tensor  # P e
    artefacts: Tensor  # e - P e


# The gradient of each energy is twice its signal, in shares of s, alpha s, n, P_j n and P n; of the source's it is 0.
_SHARES = (
    (0, 0, 0, 0, 0),
    (-1, 1, 1, 0, 0),
    (-1, 1, 0, 1, 0),
    (0, 1, 0, 1, 0),
    (0, 0, 1, -1, 0),
    (0, 0, 0, -1, 1),
    (0, 1, 0, 0, 1),
    (0, 0, 1, 0, -1),
)


class Frames(NamedTuple):
    """Stretches of one length."""

    starts: range
    length: int

    def of(self, x: Tensor) -> Iterator[Tensor]:
        """Each frame of a signal, time last."""
        return (x[..., start : start + self.length] for start in self.starts)


class Filters(NamedTuple):
    """Filters from all references and from an estimate's own source; the worst rung, residual and condition of an item.

    Shape:
        gain: (batch, sources channels, 1), by which the source was taken from its estimate before. every: (batch,
        sources channels, sources channels, taps). own: (batch sources, channels, channels, taps).
    """

    gain: Tensor
    every: Tensor
    own: Tensor
    rung: Tensor
    residual: Tensor
    condition: Tensor


class Split(NamedTuple):
    """Energies of each source in each frame, (batch, sources, frames), and how each item was solved, (batch,)."""

    energies: Energies
    rung: Tensor
    residual: Tensor
    condition: Tensor


def split(est: Tensor, ref: Tensor, *, taps: int, frames: Frames, solver: Solver) -> Split:
    """Split each estimate by filters made of the whole signals, and take the energies in each frame on its own.

    A frame begins and ends in silence: filters run into it without a past, and out of it for ``taps - 1`` samples.
    With one frame that is the whole signal, gradients reach the estimate, in closed form: since a projection is its own
    adjoint, the gradient of each energy is twice the signal that it is the energy of. With more there is none.

    Shape:
        est, ref: (batch, sources, channels, time).
    """
    if frames.length == est.shape[-1]:
        energies, *known = _Whole.apply(est, ref, taps, solver)  # type: ignore[no-untyped-call]
        return Split(Energies(*energies), *known)
    with torch.no_grad():
        found = _filters(est, ref, taps, solver)
        return Split(Energies(*_framewise(est, ref, found, taps, frames)), *found[3:])


def interference_ratios(
    est: Tensor, ref: Tensor, *, taps: int, frames: Frames, solver: Solver
) -> tuple[Tensor, Tensor]:
    """Energy of an estimate's part in one source, and of its part in the others, for every pair of the two.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, estimates, references, frames) twice.
    """
    sources = ref.shape[1]
    turns = []
    for turn in range(sources):
        turned = est.roll(-turn, 1)
        found = _filters(turned, ref, taps, solver)
        energies = Energies(*_framewise(turned, ref, found, taps, frames))
        turns.append(torch.stack((energies.filtered, energies.interference)))
    order = torch.arange(sources, device=ref.device)
    # Along axis 2 now stand the turns; reference j met estimate (j + turn) % sources.
    both = torch.stack(turns, 2)[:, :, (order[:, None] - order) % sources, order]
    return both[0], both[1]


class _Whole(torch.autograd.Function):
    """Energies over the whole signals and their gradient by the estimate."""

    @staticmethod
    def forward(ctx: Any, est: Tensor, ref: Tensor, taps: int, solver: Solver) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        found = _filters(est, ref, taps, solver)
        energies, signals = _energies(
            est, ref, found.gain, _spectra(found, ref.shape[-1]), taps, keep=ctx.needs_input_grad[0]
        )
        ctx.save_for_backward(est, ref, found.gain, *signals)
        ctx.mark_non_differentiable(*found[3:])
        return energies[..., None], *found[3:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, None, None, None]:
        est, ref, gain, own, every = (x.double() for x in ctx.saved_tensors)
        weights = 2 * gradient[..., 0]  # (energies, batch, sources)
        shares = torch.einsum("ebs,ep->pbs", weights, weights.new_tensor(_SHARES))[..., None, None]
        level = gain.view(*ref.shape[:3], 1)
        signals = (ref, level * ref, est - level * ref, own, every)
        total = torch.stack([share * signal for share, signal in zip(shares, signals, strict=True)]).sum(0)
        limit = torch.finfo(ctx.saved_tensors[0].dtype).max
        return total.clamp(-limit, limit).to(ctx.saved_tensors[0].dtype), None, None, None


def _filters(est: Tensor, ref: Tensor, taps: int, solver: Solver) -> Filters:
    batch, sources, channels, _ = ref.shape
    flat, flat_est = ref.flatten(1, 2), est.flatten(1, 2)
    auto, cross = correlations(flat, flat_est, taps=taps)
    # Of the estimate less its source at the best gain. Where they are equal the gain is exactly 1 and nothing is left.
    inner, size = (x.diagonal(dim1=1, dim2=2)[:, 0] for x in (cross, auto))
    gain = torch.where(size > 0, inner / torch.where(size > 0, size, 1), 0)[..., None]
    cross = cross - gain[..., 0][:, None, :, None] * auto
    every = solve(auto, cross, solver=solver)
    own = every
    if sources > 1:
        own = solve(*(_diagonal(x, sources, channels) for x in (auto, cross)), solver=solver)

    def worst(of: str) -> Tensor:
        each = getattr(own, of).view(batch, -1)
        found: Tensor = torch.maximum(getattr(every, of), each.amax(1))
        return found

    filters = (x.filters.nan_to_num(0.0) for x in (every, own))
    every_filters, own_filters = filters
    return Filters(gain, every_filters, own_filters, worst("rung"), worst("residual"), worst("condition"))


def _diagonal(x: Tensor, sources: int, channels: int) -> Tensor:
    """Blocks that belong to one source, (batch sources, channels, channels, taps)."""
    blocked = x.unflatten(2, (sources, channels)).unflatten(1, (sources, channels))
    diagonal: Tensor = blocked.diagonal(dim1=1, dim2=3).movedim(-1, 1).flatten(0, 1)
    return diagonal


def _framewise(est: Tensor, ref: Tensor, filters: Filters, taps: int, frames: Frames) -> Tensor:
    """Energies of each frame, (energies, batch, sources, frames)."""
    spectra = _spectra(filters, frames.length)
    pairs = zip(frames.of(est), frames.of(ref), strict=True)
    return torch.stack([_energies(e, r, filters.gain, spectra, taps)[0] for e, r in pairs], -1)


def _spectra(filters: Filters, time: int) -> tuple[Tensor, Tensor]:
    """Of both sets of filters, as matrices from references to estimates at each frequency."""
    size = fft_size(filters.own.shape[-1], time)
    every, own = (torch.fft.rfft(x, size).transpose(1, 2) for x in (filters.every, filters.own))
    return every, own


def _energies(
    est: Tensor, ref: Tensor, gain: Tensor, spectra: tuple[Tensor, Tensor], taps: int, *, keep: bool = False
) -> tuple[Tensor, Tensor]:
    """Energies in one frame, (energies, batch, sources); and P_j n and P n where they are to be kept."""
    shape = ref.shape
    batch, sources, _, time = shape
    est, ref = est.flatten(1, 2), ref.flatten(1, 2)
    size = fft_size(taps, time)
    step = size - taps + 1
    total = torch.zeros(len(_SHARES), batch, sources, dtype=torch.float64, device=ref.device)
    signals: list[Tensor] = []
    for first, count in steps(-(-(time + taps - 1) // step), 4 * ref.shape[0] * ref.shape[1] * size, ref.device):
        begin = first * step - taps + 1
        given = blocks(ref, size, step, begin, count)
        spectrum = torch.fft.rfft(given)
        by_all = by_own = _filtered(spectra[0], spectrum, size, taps)
        if sources > 1:
            alone = spectrum.reshape(batch * sources, -1, *spectrum.shape[2:])
            by_own = _filtered(spectra[1], alone, size, taps).reshape(by_all.shape)
        source, whole = (x[..., taps - 1 :] for x in (given, blocks(est, size, step, begin, count)))
        scaled = gain[..., None] * source
        left, filtered = whole - scaled, scaled + by_own
        own = (source, whole - source, filtered - source, filtered, left - by_own)
        rest = (by_all - by_own, scaled + by_all, left - by_all) if sources > 1 else (None, *own[3:])
        for energy, part in zip(total, (*own, *rest), strict=True):
            if part is not None:
                energy += torch.linalg.vector_norm(part.unflatten(1, (sources, -1)), dim=(2, 3, 4)).square()
        if keep:
            signals.append(torch.stack((by_own, by_all)).flatten(3))
    kept = torch.cat(signals, -1)[..., :time].reshape(2, *shape).to(est.dtype) if keep else est.new_empty(0)
    return total, kept


def _filtered(matrix: Tensor, spectrum: Tensor, size: int, taps: int) -> Tensor:
    """Of each block what a filter has made of it alone: all but the samples that wrapped around."""
    signal: Tensor = torch.fft.irfft(mix(matrix, spectrum), size)
    return signal[..., taps - 1 :]
