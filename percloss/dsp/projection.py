r"""What of an estimate is its source, is other sources, and is neither: projections on delayed copies of references.

With :math:`s` the true source and :math:`P_j`, :math:`P` the projections on the delays of that source and of all of
them, an estimate :math:`e` splits into what a filter makes of its source, :math:`P_j e`, interference
:math:`P e - P_j e`, and artefacts :math:`e - P e`. Filters are sought for what is left of the estimate without its
source near the best gain, :math:`n = e - \alpha s`, which is formed: nothing depends on the small difference of two
large numbers, however good the estimate and however far its level from the source's.

Over a whole signal an energy follows from correlations: :math:`|n - P n|^2 = |n|^2 - |P n|^2`, and :math:`|P n|^2` is
the product of the filters and the right-hand side they solve. Where rounding could cost it more than 1e-9 dB, as where
filters explain almost all of :math:`n`, and in frames, the signals themselves are formed and measured.
"""

from collections.abc import Collection, Iterator
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


# Of a correlation, in epsilons; 5 were measured. And what it may cost an energy: 1e-9 dB.
_ROUNDING, _SURE = 8, 2e-10


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
        sources channels, sources channels, taps). own: (batch, sources, channels, channels, taps). level, inner, left,
        by_every, by_own: (batch, sources channels), of s with itself, s with n, n, P n and P_j n.
    """

    gain: Tensor
    every: Tensor
    own: Tensor
    level: Tensor
    inner: Tensor
    left: Tensor
    by_every: Tensor
    by_own: Tensor
    rung: Tensor
    residual: Tensor
    condition: Tensor


class Split(NamedTuple):
    """Energies of each source in each frame, (batch, sources, frames), and how each item was solved, (batch,)."""

    energies: Energies
    rung: Tensor
    residual: Tensor
    condition: Tensor


def split(est: Tensor, ref: Tensor, *, taps: int, frames: Frames, solver: Solver, wanted: Collection[str]) -> Split:
    """Split each estimate by filters made of the whole signals, and take the energies in each frame on its own.

    A frame begins and ends in silence: filters run into it without a past, and out of it for ``taps - 1`` samples.
    With one frame that is the whole signal, gradients reach the estimate, in closed form: since a projection is its own
    adjoint, the gradient of each energy is twice the signal that it is the energy of. With more there is none.

    Args:
        est: Estimates.
        ref: References, of the same shape.
        taps: Of each filter.
        frames: Where to measure.
        solver: As ``solve`` has it.
        wanted: Names of the energies that have to be right to 1e-9 dB.

    Shape:
        est, ref: (batch, sources, channels, time).
    """
    if frames.length == est.shape[-1]:
        energies, *known = _Whole.apply(est, ref, taps, solver, wanted)  # type: ignore[no-untyped-call]
        return Split(Energies(*energies), *known)
    with torch.no_grad():
        found = _filters(est, ref, taps, solver)
        return Split(Energies(*_framewise(est, ref, found, frames)), found.rung, found.residual, found.condition)


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
        found = split(turned, ref, taps=taps, frames=frames, solver=solver, wanted=("filtered", "interference"))
        turns.append(torch.stack((found.energies.filtered, found.energies.interference)))
    order = torch.arange(sources, device=ref.device)
    # Along axis 2 now stand the turns; reference j met estimate (j + turn) % sources.
    both = torch.stack(turns, 2)[:, :, (order[:, None] - order) % sources, order]
    return both[0], both[1]


class _Whole(torch.autograd.Function):
    """Energies over the whole signals and their gradient by the estimate."""

    @staticmethod
    def forward(
        ctx: Any, est: Tensor, ref: Tensor, taps: int, solver: Solver, wanted: Collection[str]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        found = _filters(est, ref, taps, solver)
        energies, right = _from_correlations(found, wanted)
        for item in (~right).nonzero().flatten().tolist():
            one = slice(item, item + 1)
            spectra = _spectra(found, est.shape[-1], one)
            energies[:, one] = _energies(est[one], ref[one], found.gain[one], spectra, taps)
        ctx.save_for_backward(est, ref, found.gain, found.every, found.own)
        ctx.mark_non_differentiable(found.rung, found.residual, found.condition)
        return energies[..., None], found.rung, found.residual, found.condition

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, None, None, None, None]:
        est, ref, gain, every, own = ctx.saved_tensors
        weights = 2 * gradient[..., 0]  # (energies, batch, sources)
        shares = torch.einsum("ebs,ep->pbs", weights, weights.new_tensor(_SHARES))
        # One matrix of filters for P_j n and P n, in their shares.
        source, scaled, left, _, by_all = shares.repeat_interleave(ref.shape[2], 2)
        filters = every * by_all[:, None, :, None]
        blocked = filters.unflatten(2, ref.shape[1:3]).unflatten(1, ref.shape[1:3])
        blocked.diagonal(dim1=1, dim2=3).add_((own * shares[3][:, :, None, None, None]).movedim(1, -1))
        alone = source + (scaled - left) * gain[..., 0], left
        total = _combined(est.flatten(1, 2), ref.flatten(1, 2), *alone, filters).view(est.shape)
        limit = torch.finfo(est.dtype).max
        return total.clamp(-limit, limit).to(est.dtype), None, None, None, None


def _filters(est: Tensor, ref: Tensor, taps: int, solver: Solver) -> Filters:
    batch, sources, channels, _ = ref.shape
    flat, flat_est = ref.flatten(1, 2), est.flatten(1, 2)
    # Near the best, which is all it has to be; and exactly 1 where they are equal, so that nothing is left.
    dtype = torch.promote_types(torch.promote_types(est.dtype, ref.dtype), torch.float32)
    near, far = flat.to(dtype), flat_est.to(dtype)
    gain = torch.linalg.vecdot(near, far) / torch.linalg.vecdot(near, near)
    gain = torch.where(gain.isfinite(), gain, 0).double()[..., None]
    auto, cross, left = correlations(flat, flat_est, taps=taps, gain=gain)
    level, inner = (x.diagonal(dim1=1, dim2=2)[:, 0] for x in (auto, cross))
    every = own = solve(auto, cross, solver=solver)
    explained = explained_alone = (cross * every.filters).sum((1, 3))
    if sources > 1:
        auto, cross = (_diagonal(x, sources, channels) for x in (auto, cross))
        own = solve(auto, cross, solver=solver)
        explained_alone = (cross * own.filters).sum((1, 3)).view(batch, -1)

    def worst(of: str) -> Tensor:
        each = getattr(own, of).view(batch, -1)
        found: Tensor = torch.maximum(getattr(every, of), each.amax(1))
        return found

    return Filters(
        gain,
        every.filters.nan_to_num(0.0),
        own.filters.nan_to_num(0.0).unflatten(0, (batch, sources)),
        level,
        inner,
        left,
        explained,
        explained_alone,
        worst("rung"),
        worst("residual"),
        worst("condition"),
    )


def _from_correlations(found: Filters, wanted: Collection[str]) -> tuple[Tensor, Tensor]:
    """Energies over the whole signals, (energies, batch, sources), and in which items those that count are right.

    An error of a correlation's first lags is bounded, as a vector, by that of the transforms: some epsilons of the
    product of both levels. What it does to the energy of something filtered follows from the filters' spectra.
    """
    sources = found.own.shape[1]
    gain, shift = found.gain[..., 0], found.gain[..., 0] - 1
    level, inner, left, by_every, by_own = found[3:8]
    rounding = _ROUNDING * torch.finfo(level.dtype).eps

    def doubt(filters: Tensor, level: Tensor, energy: Tensor) -> Tensor:
        spectrum: Tensor = torch.fft.rfft(filters, 2 * filters.shape[-1]).abs()
        size = spectrum.square().square().mean(-1).sqrt().sqrt()
        reach = left.sqrt() + (level.sqrt()[..., None] * size).sum(-2).reshape(left.shape)
        return rounding * reach.square() + found.residual.sqrt()[:, None] * energy

    def with_source(energy: Tensor, share: Tensor) -> Tensor:
        return energy + 2 * share * inner + share.square() * level

    def doubt_with_source(share: Tensor) -> Tensor:
        return rounding * (left.sqrt() + share.abs() * level.sqrt()).square()

    every = doubt(found.every, level, by_every)
    own = every if sources == 1 else doubt(found.own, level.unflatten(1, (sources, -1)), by_own)
    energies = Energies(
        source=level,
        error=with_source(left, shift),
        spatial=with_source(by_own, shift),
        filtered=with_source(by_own, gain),
        unfiltered=left - by_own,
        interference=by_every - by_own,
        explained=with_source(by_every, gain),
        artefacts=left - by_every,
    )
    slacks = Energies(
        source=rounding * level,
        error=doubt_with_source(shift),
        spatial=own + doubt_with_source(shift),
        filtered=own + doubt_with_source(gain),
        unfiltered=own,
        interference=own + every if sources > 1 else torch.zeros_like(own),
        explained=every + doubt_with_source(gain),
        artefacts=every,
    )
    energy, slack = (torch.stack(parts).unflatten(2, (sources, -1)).sum(-1) for parts in (energies, slacks))
    counted = [name in wanted for name in Energies._fields]
    return energy, (slack <= _SURE * energy)[counted].all(0).all(-1)


def _diagonal(x: Tensor, sources: int, channels: int) -> Tensor:
    """Blocks that belong to one source, (batch sources, channels, channels, taps)."""
    blocked = x.unflatten(2, (sources, channels)).unflatten(1, (sources, channels))
    diagonal: Tensor = blocked.diagonal(dim1=1, dim2=3).movedim(-1, 1).flatten(0, 1)
    return diagonal


def _framewise(est: Tensor, ref: Tensor, found: Filters, frames: Frames) -> Tensor:
    """Energies of each frame, (energies, batch, sources, frames)."""
    spectra, taps = _spectra(found, frames.length), found.own.shape[-1]
    pairs = zip(frames.of(est), frames.of(ref), strict=True)
    return torch.stack([_energies(e, r, found.gain, spectra, taps) for e, r in pairs], -1)


def _spectra(found: Filters, time: int, items: slice = slice(None)) -> tuple[Tensor, Tensor]:
    """Of both sets of filters, as matrices from references to estimates at each frequency."""
    size = fft_size(found.own.shape[-1], time)
    pair = found.every[items], found.own[items].flatten(0, 1)
    every, own = (torch.fft.rfft(x, size).transpose(1, 2) for x in pair)
    return every, own


def _energies(est: Tensor, ref: Tensor, gain: Tensor, spectra: tuple[Tensor, Tensor], taps: int) -> Tensor:
    """Energies in one frame, (energies, batch, sources), of signals that are formed."""
    batch, sources, _, time = ref.shape
    est, ref = est.flatten(1, 2), ref.flatten(1, 2)
    size = fft_size(taps, time)
    step = size - taps + 1
    total = torch.zeros(len(_SHARES), batch, sources, dtype=torch.float64, device=ref.device)
    for first, count in steps(-(-(time + taps - 1) // step), 4 * ref.shape[0] * ref.shape[1] * size, ref.device):
        begin = first * step - taps + 1
        given = blocks(ref, size, step, begin, count).double()
        spectrum = torch.fft.rfft(given)
        by_all = by_own = _filtered(spectra[0], spectrum, size, taps)
        if sources > 1:
            alone = spectrum.reshape(batch * sources, -1, *spectrum.shape[2:])
            by_own = _filtered(spectra[1], alone, size, taps).reshape(by_all.shape)
        source, whole = given[..., taps - 1 :], blocks(est, size, step, begin, count)[..., taps - 1 :].double()
        scaled = gain[..., None] * source
        left, filtered = whole - scaled, scaled + by_own
        own = (source, whole - source, filtered - source, filtered, left - by_own)
        rest = (by_all - by_own, scaled + by_all, left - by_all) if sources > 1 else (None, *own[3:])
        for energy, part in zip(total, (*own, *rest), strict=True):
            if part is not None:
                energy += torch.linalg.vector_norm(part.unflatten(1, (sources, -1)), dim=(2, 3, 4)).square()
    return total


def _combined(est: Tensor, ref: Tensor, of_ref: Tensor, of_est: Tensor, filters: Tensor) -> Tensor:
    """References and estimates in these shares, (batch, n), and what filters (batch, n, n, taps) make of the former."""
    time, taps = ref.shape[-1], filters.shape[-1]
    size = fft_size(taps, time)
    step = size - taps + 1
    matrix = torch.fft.rfft(filters, size).transpose(1, 2)
    parts = []
    for first, count in steps(-(-time // step), 4 * ref.shape[0] * ref.shape[1] * size, ref.device):
        begin = first * step - taps + 1
        given = blocks(ref, size, step, begin, count).double()
        source, whole = given[..., taps - 1 :], blocks(est, size, step, begin, count)[..., taps - 1 :].double()
        part = _filtered(matrix, torch.fft.rfft(given), size, taps)
        part = part.addcmul(source, of_ref[..., None, None]).addcmul(whole, of_est[..., None, None])
        parts.append(part.flatten(2))
    return torch.cat(parts, -1)[..., :time]


def _filtered(matrix: Tensor, spectrum: Tensor, size: int, taps: int) -> Tensor:
    """Of each block what a filter has made of it alone: all but the samples that wrapped around."""
    signal: Tensor = torch.fft.irfft(mix(matrix, spectrum), size)
    return signal[..., taps - 1 :]
