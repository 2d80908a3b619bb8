"""Functions that return more than one number per item at once. The measures take theirs from here."""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor

from percloss.dsp.assignment import assign
from percloss.dsp.projection import Frames, interference_ratios, split
from percloss.dsp.safe import ratio_db, undefined_where
from percloss.dsp.toeplitz import RUNGS, Solver
from percloss.errors import ArgumentError, DeviceError, DTypeError, ShapeError

Mode = Literal["images", "sources"]
Version = Literal[3, 4]

#: Largest ratio, either way [dB]; what museval writes as infinity.
CAP_DB = 140.0
#: What ``BSSInfo.reason`` counts.
REASONS = (
    "",
    "has samples that are not finite",
    "a reference is silent in this frame",
    "an estimate is silent in this frame",
    "no filter could be found",
)
# Energies whose ratios a mode reports.
_WANTED: dict[Mode, tuple[str, ...]] = {
    "images": ("source", "error", "spatial", "filtered", "interference", "explained", "artefacts"),
    "sources": ("filtered", "unfiltered", "interference", "explained", "artefacts"),
}
# Samples of all signals whose systems are solved at a time.
_TOGETHER = 2**24


class BSSInfo(NamedTuple):
    """How each value came about, ``(batch, frames)``; with filters made once, all frames of an item say the same.

    Args:
        reason: Why there is no value, an index into ``REASONS``; 0 where there is one.
        rung: The last rung of the solver's ladder that was needed, an index into ``dsp.toeplitz.RUNGS``.
        residual_db: Of the linear system, relative to its right-hand side in the norm of the projection [dB].
        condition: Number of the linear system, estimated; above 1e10 values of different programs differ.
    """

    reason: Tensor
    rung: Tensor
    residual_db: Tensor
    condition: Tensor

    def why(self, item: int = 0, frame: int = 0) -> str:
        """The reason in words, and what the solver did."""
        rung = RUNGS[int(self.rung[item, frame])]
        return (
            REASONS[int(self.reason[item, frame])] or f"solved by {rung}, condition {self.condition[item, frame]:.0e}"
        )


class BSSEval(NamedTuple):
    """Ratios [dB] of each source in each frame, ``(batch, sources, frames)``; higher is better, 140 is the cap."""

    sdr: Tensor
    isr: Tensor
    sir: Tensor
    sar: Tensor
    perm: Tensor
    info: BSSInfo


_Made = TypeVar("_Made")
_shared: ContextVar[dict[Hashable, Any] | None] = ContextVar("shared", default=None)


@contextmanager
def shared() -> Iterator[None]:
    """Within it, what several measures ask of the same tensors at the same settings is computed once.

    One within another is the outer one.
    """
    known = _shared.get()
    token = _shared.set({} if known is None else known)
    try:
        yield
    finally:
        _shared.reset(token)


def once(asked: Hashable, compute: Callable[[], _Made], *signals: Tensor) -> _Made:
    """What ``compute`` makes of the signals; within ``shared`` it is called the first time only that this is asked.

    Args:
        asked: What is computed and with which settings.
        compute: Makes it, and the same each time.
        *signals: Of what; they are kept as long as the result.
    """
    # torch.compile cannot trace what is asked next.
    known = None if torch.compiler.is_compiling() else _shared.get()
    if known is None:
        return compute()
    where = tuple((x.data_ptr(), x.dtype, x.shape, x.stride(), x.requires_grad) for x in signals)
    key = asked, where, torch.is_grad_enabled()
    if key not in known:
        known[key] = signals, compute()  # the tensors are kept so that their addresses stay theirs
    made: _Made = known[key][1]
    return made


def bss_eval(
    est: Tensor,
    ref: Tensor,
    *,
    version: Version = 4,
    filter_length: int = 512,
    mode: Mode = "images",
    window: int | None = None,
    hop: int | None = None,
    permutation: bool = False,
    solver: Solver = "auto",
) -> BSSEval:
    r"""BSS Eval: how much of each estimate is distortion, interference from other sources, and artefacts.

    An estimate is split into its true source :math:`s`, what a filter of ``filter_length`` taps makes of that source,
    what filters make of all sources, and the rest (``dsp.projection``). Of images:

    .. math::
        \mathrm{SDR} = \frac{|s|^2}{|e - s|^2}, \quad \mathrm{ISR} = \frac{|s|^2}{|P_j e - s|^2}, \quad
        \mathrm{SIR} = \frac{|P_j e|^2}{|P e - P_j e|^2}, \quad \mathrm{SAR} = \frac{|P e|^2}{|e - P e|^2}

    Of sources any filtering of the source is forgiven: :math:`\mathrm{SDR} = |P_j e|^2 / |e - P_j e|^2`, and there is
    no ISR. The filters run between all channels of a source and each channel of an estimate.

    Computed in float64 from the estimate less its source, whatever comes in. A frame in which a source has no sound
    (the sum of its channels is 0 at every sample, in an estimate or in a reference) has no value for any source, as
    museval has it; so has an item with a sample that is not finite. Frames are museval's: those that fit whole, one if
    none does.

    Gradients reach ``est``, none ``ref``: through all four ratios where a frame has its own filters, that is in
    version 3 and where there is one frame, and otherwise through the SDR of images alone.

    Args:
        est: Estimates.
        ref: References, in the order of the estimates unless ``permutation`` is set.
        version: 4 makes filters once, of the whole signals, and applies them in each frame; 3 makes them in each frame.
        filter_length: Taps. 512 is BSS Eval's; 1 allows a gain only: the scale-invariant family, SI-SDR.
        mode: ``"images"`` holds the estimate against the true image of the source; ``"sources"`` against any filtering.
        window: Of a frame [samples]; ``None`` is the whole signal.
        hop: Between frames [samples]; ``None`` is ``window``.
        permutation: Give each reference the estimate that makes the mean SIR largest: over all frames in version 4, in
            each frame in version 3.
        solver: ``"lu"`` is museval's elimination, whose rounding it shares where the condition is high.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, sources, frames) for each field.

    Example:
        >>> ref = torch.randn(1, 2, 1, 8000, generator=torch.Generator().manual_seed(0))
        >>> bss_eval(ref + 0.1 * ref.flip(1), ref).sir.round()
        tensor([[[20.],
                 [20.]]])

    Raises:
        ShapeError: Wrong rank, unequal shapes (as many estimates as references are needed), or less samples than taps.
        DTypeError: Not a floating-point tensor.
        DeviceError: Two devices, or one without float64.
        ArgumentError: A setting outside what it may be.

    References:
        [vincent2006]_; [vincent2012]_ for images; [stoter2018]_ for version 4.
    """
    check_settings(filter_length, version=version, mode=mode, window=window, hop=hop, solver=solver)
    _check_signals(est, ref, filter_length)

    asked = version, filter_length, mode, window, hop, permutation, solver
    return once(("bss_eval", *asked), lambda: _bss_eval(est, ref, *asked), est, ref)


def _bss_eval(
    est: Tensor,
    ref: Tensor,
    version: int,
    taps: int,
    mode: Mode,
    window: int | None,
    hop: int | None,
    permutation: bool,
    solver: Solver,
) -> BSSEval:
    dtype = torch.promote_types(torch.promote_types(est.dtype, ref.dtype), torch.float32)
    frames = frames_of(est.shape[-1], window, hop)
    est, ref, reason = _cleaned(est, ref, frames)
    if version == 4 or len(frames.starts) == 1:
        values, perm, known = _ratios(est, ref, frames, taps, mode, permutation, solver)
    else:  # frames take the place of items
        signals = [torch.stack(list(frames.of(x)), 1).flatten(0, 1) for x in (est, ref)]
        whole = Frames(range(1), frames.length)
        some = max(1, _TOGETHER // signals[0][0].numel())
        pieces = [
            _ratios(e, r, whole, taps, mode, permutation, solver)
            for e, r in zip(*(x.split(some) for x in signals), strict=True)
        ]
        values, perm, known = (torch.cat(piece).unflatten(0, (len(est), -1)) for piece in zip(*pieces, strict=True))
        values, perm, known = values.transpose(1, 3)[:, 0], perm.transpose(1, 3)[:, 0], known[:, :, 0]
    reason = torch.where((reason == 0) & (known[..., 0] == RUNGS.index("failed")), len(REASONS) - 1, reason)
    values = undefined_where((reason > 0)[:, None, :, None], values).to(dtype)
    rung, residual, condition = known.unbind(-1)
    info = BSSInfo(reason, rung.long(), 10 * residual.log10(), condition)
    sdr, isr, sir, sar = values.unbind(-1)
    if version == 4 and len(frames.starts) > 1:
        isr, sir, sar = isr.detach(), sir.detach(), sar.detach()
        sdr = sdr if mode == "images" else sdr.detach()
    return BSSEval(sdr, isr, sir, sar, perm, info)


def framewise_snr(est: Tensor, ref: Tensor, *, window: int | None = None, hop: int | None = None) -> Tensor:
    """SDR of images as ``bss_eval`` has it [dB], which needs no filter: the plain ratio in each frame, with a gradient.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, sources, frames).
    """
    check_settings(1, window=window, hop=hop)
    _check_signals(est, ref, 1)
    frames = frames_of(est.shape[-1], window, hop)
    est, ref, reason = _cleaned(est, ref, frames)
    ratio = _capped(_energy(ref, frames), _energy(est.double() - ref.double(), frames))
    return undefined_where((reason > 0)[:, None], ratio).to(torch.promote_types(est.dtype, torch.float32))


def museval_document(
    scores: BSSEval, targets: Sequence[str], *, window_seconds: float, hop_seconds: float, item: int = 0
) -> dict[str, Any]:
    """Scores of one track as museval writes them to JSON: five decimals, frames without a value or at the cap as nan.

    Args:
        scores: What ``bss_eval`` returned.
        targets: Names of the sources, in order.
        window_seconds: Length of a frame [s].
        hop_seconds: Step between frames [s].
        item: Which of the batch.

    Raises:
        ArgumentError: Not as many names as sources.
    """
    if len(targets) != scores.sdr.shape[1]:
        raise ArgumentError(
            f"museval_document: got {len(targets)} targets for {scores.sdr.shape[1]} sources; name each once."
        )
    columns = {"SDR": scores.sdr, "SIR": scores.sir, "SAR": scores.sar, "ISR": scores.isr}
    listed = {name: values[item].detach().double().tolist() for name, values in columns.items()}

    def frame(source: int, number: int) -> dict[str, Any]:
        found = {name: rows[source][number] for name, rows in listed.items()}
        rounded = {name: math.nan if abs(x) >= CAP_DB else round(x, 5) for name, x in found.items()}
        return {"time": number * hop_seconds, "duration": window_seconds, "metrics": rounded}

    frames = range(scores.sdr.shape[2])
    return {"targets": [{"name": name, "frames": [frame(j, i) for i in frames]} for j, name in enumerate(targets)]}


def median_over_frames(values: Tensor) -> Tensor:
    """Median of the last axis, of what is not nan; the mean of the middle two of an even number.

    nan where nothing is left. Of frames first and of tracks then, it is how separation campaigns report BSS Eval.
    """
    known = ~values.isnan()
    ordered = torch.where(known, values, math.inf).sort(-1).values
    count = known.sum(-1, keepdim=True)
    middle = torch.cat(((count - 1).clamp(min=0) // 2, count // 2), -1).clamp(max=values.shape[-1] - 1)
    return undefined_where(~known.any(-1), ordered.gather(-1, middle).nan_to_num(posinf=0.0).mean(-1))


def frames_of(time: int, window: int | None, hop: int | None) -> Frames:
    """Frames of ``window`` samples that fit whole into ``time``; one of all there is if none does."""
    length = time if window is None else min(window, time)
    return Frames(range(0, time - length + 1, hop or length), length)


def _ratios(
    est: Tensor, ref: Tensor, frames: Frames, taps: int, mode: Mode, permutation: bool, solver: Solver
) -> tuple[Tensor, Tensor, Tensor]:
    """SDR, ISR, SIR, SAR, (batch, sources, frames, 4); order, (batch, sources, frames); (batch, frames, 3) of info."""
    batch, sources, count = *ref.shape[:2], len(frames.starts)
    order = torch.arange(sources, device=ref.device).expand(batch, -1)
    if permutation and sources > 1:
        with torch.no_grad():
            wanted, others = interference_ratios(est, ref, taps=taps, frames=frames, solver=solver)
            order = assign(_capped(wanted, others).nanmean(-1))
        est = est.gather(1, order[:, :, None, None].expand_as(est))
    found = split(est, ref, taps=taps, frames=frames, solver=solver, wanted=_WANTED[mode])
    of = found.energies
    if mode == "images":
        error = _energy(est.double() - ref.double(), frames) if est.requires_grad else of.error
        pairs = [(of.source, error), (of.source, of.spatial)]
    else:  # which have no ISR
        unknown = torch.full_like(of.source, math.nan)
        pairs = [(of.filtered, of.unfiltered), (unknown, unknown)]
    pairs += [(of.filtered, of.interference), (of.explained, of.artefacts)]
    values = _capped(*(torch.stack(energies, -1) for energies in zip(*pairs, strict=True)))
    known = torch.stack((found.rung.double(), found.residual, found.condition), -1)
    return (
        values,
        order[..., None].expand(-1, -1, count),
        known[:, None].expand(-1, count, -1),
    )


def _capped(num: Tensor, den: Tensor) -> Tensor:
    """Ratio in dB that is exact up to the cap and stays there."""
    return ratio_db(num, den, cap_db=2 * CAP_DB).clamp(-CAP_DB, CAP_DB)


def _energy(x: Tensor, frames: Frames) -> Tensor:
    """Over channels and time, (batch, sources, frames)."""
    return torch.stack([frame.double().square().sum((2, 3)) for frame in frames.of(x)], -1)


def _cleaned(est: Tensor, ref: Tensor, frames: Frames) -> tuple[Tensor, Tensor, Tensor]:
    """Signals without items that hold a broken sample, and why a frame has no value, (batch, frames)."""
    ref = ref.detach()
    finite = _finite(est.detach()) & _finite(ref)
    if not bool(finite.all()):
        est, ref = (torch.where(finite[:, None, None, None], x, 0) for x in (est, ref))
    reason = torch.zeros(len(est), len(frames.starts), dtype=torch.long, device=est.device)
    for code, x in ((3, est), (2, ref)):
        x = x.detach()
        heard = x.sum(2) if x.shape[2] > 1 else x[:, :, 0]  # of the channels together, as museval asks
        silent = torch.stack([_silent(frame).any(-1) for frame in frames.of(heard)], -1)
        reason = torch.where(silent, code, reason)
    return est, ref, torch.where(finite[:, None], reason, 1)


def _finite(x: Tensor) -> Tensor:
    """Whether all samples of an item are, (batch,): a sum is finite only where every term is."""
    return x.flatten(1).sum(1).isfinite()


def _silent(x: Tensor) -> Tensor:
    return (x.amax(-1) == 0) & (x.amin(-1) == 0)


def check_settings(
    filter_length: int,
    *,
    version: int = 4,
    mode: str = "images",
    window: int | None = None,
    hop: int | None = None,
    solver: str = "auto",
) -> None:
    """Refuse what ``bss_eval`` cannot be set to."""
    for name, value, known in (
        ("version", version, (3, 4)),
        ("mode", mode, get_args(Mode)),
        ("solver", solver, get_args(Solver)),
    ):
        if value not in known:
            raise ArgumentError(f"bss_eval: got {name}={value!r}; needed is one of {', '.join(map(repr, known))}.")
    for name, size in (("filter_length", filter_length), ("window", window), ("hop", hop)):
        if size is not None and size < 1:
            raise ArgumentError(f"bss_eval: got {name}={size}; needed are 1 sample or more.")
    if window is not None and window < filter_length:
        raise ArgumentError(
            f"bss_eval: got window={window}, filter_length={filter_length}; a frame must hold its filters: give a "
            f"longer window or fewer taps."
        )


def _check_signals(est: Tensor, ref: Tensor, filter_length: int) -> None:
    wanted = "(batch, sources, channels, time)"
    for role, x in (("est", est), ("ref", ref)):
        if not x.is_floating_point():
            raise DTypeError(f"bss_eval: {role} is {x.dtype}; needed is floating point: type {role}.float() / 32768.")
        if x.dim() != 4:
            raise ShapeError(f"bss_eval: {role} has shape {tuple(x.shape)}; needed is {wanted}.")
    if est.shape != ref.shape:
        raise ShapeError(
            f"bss_eval: est is {tuple(est.shape)} and ref is {tuple(ref.shape)}; needed are as many estimates as "
            f"references, of one length: leave out what has no reference, or cut with x[..., :n]."
        )
    if est.numel() == 0 or est.shape[-1] < filter_length:
        raise ShapeError(
            f"bss_eval: got {tuple(est.shape)}; needed is at least one item and as many samples as the filters have "
            f"taps, {filter_length}: use a smaller filter_length or pad with zeros."
        )
    if est.device != ref.device:
        raise DeviceError(f"bss_eval: est is on {est.device}, ref on {ref.device}; type ref.to(est.device).")
    if est.device.type == "mps":
        raise DeviceError("bss_eval: got tensors on mps, which has no float64; type est.cpu(), ref.cpu().")
