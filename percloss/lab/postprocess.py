"""What is done to estimates after a network: a phase of their own, the mixture's filter, the mixture's sum."""

from typing import Literal

import torch
from torch import Tensor

from percloss.dsp.safe import db_to_power
from percloss.dsp.stft import power
from percloss.errors import ArgumentError, ShapeError
from percloss.lab.spectrogram import Transform

# Below the power of all sources in a bin: what the spectral covariance of each bin is at least in every direction.
WIENER_FLOOR_DB = -100.0


def griffin_lim(
    magnitude: Tensor,
    transform: Transform,
    *,
    time: int,
    iterations: int = 32,
    momentum: float = 0.99,
    start: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """A waveform whose spectrum has nearly this magnitude, with a phase that is found by going back and forth.

    The fast form; ``momentum=0`` is the one of 1984, whose inconsistency never grows. The search is a constant to the
    gradient: it reaches the magnitude through the last inverse transform alone.

    Args:
        magnitude: As ``transform`` scales it, 0 or more.
        transform: The one it belongs to.
        time: Of the waveform [samples].
        iterations: Each is one inverse transform and one transform.
        momentum: How far each step overshoots, 0 or more.
        start: A spectrum with the phase to begin from, such as the mixture's; random if not given.
        seed: Of the random phase.

    Shape:
        magnitude: (batch, channels, bins, transform.frames(time)). Returns (batch, channels, time).

    References:
        [griffin1984]_, [perraudin2013]_.
    """
    bins, frames = transform.front.n_fft // 2 + 1, transform.frames(time)
    if magnitude.shape[2:] != (bins, frames) or (start is not None and start.shape != magnitude.shape):
        raise ShapeError(
            f"griffin_lim: a magnitude of {tuple(magnitude.shape)} and a start of "
            f"{None if start is None else tuple(start.shape)} came; needed is (batch, channels, {bins}, {frames}) for "
            f"{time} samples; type griffin_lim(transform(x).abs(), transform, time=x.shape[-1])."
        )
    if iterations < 0 or momentum < 0:
        raise ArgumentError(
            f"griffin_lim: got iterations={iterations}, momentum={momentum}; needed are 0 or more; type iterations=32."
        )
    with torch.no_grad():
        if start is None:
            turns = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(seed)).to(magnitude)
            start = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)
        phase = torch.sgn(start)
        before = torch.zeros_like(phase)
        for _ in range(iterations):
            consistent = transform.consistent(magnitude * phase, time)
            phase = torch.sgn(consistent + momentum * (consistent - before))
            before = consistent
    return transform.inverse(magnitude * phase, time)


def mixture_consistent(ests: Tensor, mix: Tensor, *, share: Literal["equal", "power"] = "equal") -> Tensor:
    r"""The estimates of all sources, moved so that they add up to the mixture.

    .. math:: \hat s_i + w_i \Bigl(x - \sum_j \hat s_j\Bigr), \qquad \sum_i w_i = 1

    Args:
        ests: All sources of the mixture.
        mix: The mixture.
        share: How the rest is divided: ``"equal"``, which is the nearest such set, or by the ``"power"`` of the
            estimates, which leaves a silent one silent.

    Shape:
        ests: (batch, sources, channels, time). mix: (batch, channels, time). Returns the shape of ests.

    References:
        [wisdom2019]_.
    """
    _check("mixture_consistent", ests, mix)
    if share == "equal":
        weight: Tensor | float = 1 / ests.shape[1]
    elif share == "power":
        energy = ests.square().sum(-1, keepdim=True)
        total = energy.sum(1, keepdim=True)
        weight = torch.where(total == 0, 1 / ests.shape[1], energy / torch.where(total == 0, 1, total))
    else:
        raise ArgumentError(f'mixture_consistent: share={share!r} came; needed is "equal" or "power".')
    return ests + weight * (mix - ests.sum(1))[:, None]


def wiener(ests: Tensor, mix: Tensor, transform: Transform, *, iterations: int = 1) -> Tensor:
    """The sources, cut anew out of the mixture by the multichannel Wiener filter that the estimates ask for.

    In each iteration a source has a power in each bin and frame, the mean over its channels, and for each bin one
    covariance between its channels; the filter takes from the mixture what belongs to it. With one channel this is a
    mask, the source's share of the power. The estimates' own phases matter only through those covariances. Computed
    in float64.

    Args:
        ests: All sources of the mixture.
        mix: The mixture.
        transform: Its size says how finely the filter divides time and frequency.
        iterations: Of the filter, each with the powers that the one before it left.

    Shape:
        ests: (batch, sources, channels, time). mix: (batch, channels, time). Returns the shape of ests.

    References:
        [nugraha2016]_, [duong2010]_ for the model.
    """
    _check("wiener", ests, mix)
    if iterations < 1:
        raise ArgumentError(f"wiener: iterations={iterations} came; needed is 1 or more; type iterations=1.")
    shape, time = ests.shape[:2], mix.shape[-1]
    # Channels last: (batch, bins, frames, channels), so that they are what torch.linalg works on.
    x = transform(mix.double()).permute(0, 2, 3, 1)
    sources = transform(ests.double().flatten(0, 1)).unflatten(0, shape).permute(0, 1, 3, 4, 2)
    eye = torch.eye(mix.shape[1], dtype=x.dtype, device=x.device)
    for _ in range(iterations):
        level = power(sources).mean(-1)
        outer = torch.einsum("bsfnc,bsfnd->bsfcd", sources, sources.conj())
        total = level.sum(-1)
        spatial = outer / torch.where(total == 0, 1, total)[..., None, None]
        covariance = level[..., None, None] * spatial[:, :, :, None]
        everything = covariance.sum(1)
        loading = db_to_power(WIENER_FLOOR_DB) * level.sum(1)
        # A bin that is silent in every source has nothing to give, and needs a matrix that has an inverse.
        loading = torch.where(loading == 0, 1, loading)
        filtered = torch.linalg.solve(everything + loading[..., None, None] * eye, x[..., None])
        sources = (covariance @ filtered[:, None])[..., 0]
    waves = transform.inverse(sources.permute(0, 1, 4, 2, 3).flatten(0, 1), time)
    return waves.reshape(ests.shape).to(ests.dtype)


def _check(name: str, ests: Tensor, mix: Tensor) -> None:
    """Refuse estimates that are not sources of this mixture."""
    if ests.dim() != 4 or mix.dim() != 3 or ests[:, 0].shape != mix.shape:
        raise ShapeError(
            f"{name}: estimates of {tuple(ests.shape)} and a mixture of {tuple(mix.shape)} came; needed are (batch, "
            f"sources, channels, time) and (batch, channels, time); type torch.stack([est, rest], 1) to make the first."
        )
