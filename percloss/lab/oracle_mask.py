"""What a loss asks for, without a network: the mask of few degrees of freedom that it likes best, found by descent."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from percloss.errors import ArgumentError, ShapeError
from percloss.lab.spectrogram import Transform

__all__ = ["oracle_mask"]


def oracle_mask(
    mix: Tensor,
    target: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    cells: int = 40,
    steps: int = 120,
    lr: float = 0.2,
    n_fft: int = 512,
    hop_length: int = 128,
) -> Tensor:
    r"""The mixture under the best mask that a coarse grid can hold, by a loss that knows the target.

    .. math:: \hat s = \mathrm{STFT}^{-1}\bigl(\sigma(U\theta) \cdot \mathrm{STFT}(x)\bigr), \qquad
        \theta = \arg\min_\theta L(\hat s, s)

    :math:`U` interpolates a grid of ``cells * cells`` numbers bilinearly to bins and frames, and Adam looks for them
    from :math:`\theta = 0`, where the mask is one half. With as many numbers as bins every loss would find the same
    estimate; with few it has to choose what to give up, and that is what differs between losses. Nothing is trained,
    nothing is random, and no estimate is one that a network could not make.

    Args:
        mix: Mixtures.
        target: What they hold and shall be found.
        loss: Takes estimate and target, returns a scalar: any loss of this package.
        cells: Of the grid along each axis.
        steps: Of the descent.
        lr: Its rate: of Adam, on the logits of the mask.
        n_fft: Window length [samples].
        hop_length: Step between frames [samples].

    Shape:
        mix, target: (batch, channels, time). Returns the same, without a graph.

    Example:
        >>> time = torch.arange(8000) / 8000
        >>> target, hum = (torch.sin(2 * torch.pi * hz * time)[None, None] for hz in (1000, 2000))
        >>> est = oracle_mask(target + hum, target, torch.nn.functional.mse_loss, steps=60)
        >>> bool((est - target).square().mean() < 0.05 * hum.square().mean())
        True

    Raises:
        ArgumentError: No cell or no step, or a loss that turned into no number, with the step.
        ShapeError: Mixture and target that differ in shape.
    """
    if mix.shape != target.shape or mix.dim() != 3:
        raise ShapeError(
            f"oracle_mask: mix is {tuple(mix.shape)}, target {tuple(target.shape)}; needed is (batch, channels, time) "
            f"for both: type target.expand_as(mix)."
        )
    if cells < 1 or steps < 1:
        raise ArgumentError(
            f"oracle_mask: got cells={cells}, steps={steps}; needed are 1 or more: cells=40, steps=120."
        )
    transform = Transform(n_fft, hop_length).to(mix.device)
    spectrum = transform(mix)
    logits = torch.zeros(*mix.shape[:2], cells, cells, device=mix.device, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr)

    def estimate() -> Tensor:
        mask = F.interpolate(logits, spectrum.shape[2:], mode="bilinear", align_corners=True).sigmoid()
        return transform.inverse(mask * spectrum, mix.shape[-1])

    with torch.enable_grad():
        for step in range(steps):
            optimiser.zero_grad()
            value = loss(estimate(), target)
            if not value.isfinite():
                raise ArgumentError(
                    f"oracle_mask: the loss was {value.item()} at step {step}; needed is a number; try a lower rate: "
                    f"lr={lr / 4:g}."
                )
            value.backward()
            optimiser.step()
    return estimate().detach()
