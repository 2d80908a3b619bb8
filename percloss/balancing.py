"""Weights as shares of the gradient: a balancer of losses, and a report of which loss does the training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from percloss.dsp.given import given
from percloss.errors import ArgumentError, DeviceError, ShapeError
from percloss.frontends import FrontEnd
from percloss.losses import Loss, WeightedSum


class Balanced(nn.Module):
    r"""Losses whose weights are fractions of the gradient, whatever the scale of their values: EnCodec's balancer.

    .. math:: G = \sum_i R\,\frac{w_i}{\sum_j w_j}\,\frac{g_i}{\langle\lVert g_i\rVert\rangle}

    with :math:`g_i` the gradient of a term at the estimate and :math:`\langle\cdot\rangle` the moving average of its
    norm over the training steps so far, corrected for its start. What is returned is the weighted sum of the terms'
    values, for the log; what its ``backward`` puts on ``est`` is :math:`G`. The value is therefore not what is
    minimised: it may rise while every term is trained as asked. The network is walked back through once. The scale of
    its gradient is that of ``total_norm``: a threshold for clipping has to be found anew.

    **Norms** are those of each item's own gradient, averaged over items, and the items of :math:`G` are averaged as
    those of any loss: its scale does not depend on the size of the batch. (EnCodec's code sums them, and is larger
    by the number of items.)

    **A term with no gradient** in a step, because it is left out or because its gradient is exactly 0, adds nothing
    and leaves its average as it was. If it is left out, the others share what it would have had. **A gradient that is
    not finite** reaches ``est`` as it is, so that a gradient scaler sees it, and leaves the average as it was too.

    **The average** moves in training mode, when a gradient is asked for; after ``eval()`` it stands still, and under
    ``torch.no_grad()`` there is a value and nothing else. It is kept in ``state_dict`` (that of encodec is not: its
    resumed runs start anew). Where ``torch.distributed`` is initialised it is taken over all ranks, each of which must
    then call in every step: all scale alike. The gradient is that of one process with the whole batch where every rank
    has as many items and every item has a value. Accumulation over micro-batches is
    ``(balanced(est, ref) / steps).backward()``; each is a step of the average.

    **Precision.** Gradients and norms of the losses are made in float32 or better whatever ``est`` is, and ``G`` is
    rounded to its type after a gradient scaler has multiplied it. The gradient of an ``extra`` passes through the
    network that made it: under float16 hand over ``scaler.scale(adversarial)``. Its share is the same at every scale.

    Args:
        terms: Pairs of weight and loss, or such pairs by name, as in ``WeightedSum``. A weight is a fraction of the
            gradient, relative to the sum of all.
        extra: Weights of terms that come as tensors with each call, by name: an adversarial loss, feature matching.
        total_norm: :math:`R`, the norm of an item's gradient if all terms pulled the same way.
        decay: Of the moving average, per step, 0 to below 1.

    Shape:
        est, ref: as the terms take them. Returns ().

    Example:
        >>> terms = [(3.0, percloss.MAELoss()), (1.0, percloss.MelLoss(16_000))]
        >>> balanced = Balanced(terms, extra={"adversarial": 4.0})
        >>> est, ref = torch.randn(2, 4, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> est = est.requires_grad_()
        >>> realness = est.square().mean()  # in earnest, what a discriminator says of est
        >>> balanced(est, ref, extra={"adversarial": realness}).backward()
        >>> {name: round(share, 3) for name, share in gradient_shares(balanced, est, ref).shares.items()}
        {'mae': 0.75, 'mel': 0.25}

    References:
        [defossez2023]_, section 3.4.
    """

    def __init__(
        self,
        terms: Sequence[tuple[float, Loss]] | Mapping[str, tuple[float, Loss]],
        *,
        extra: Mapping[str, float] | None = None,
        total_norm: float = 1.0,
        decay: float = 0.999,
    ) -> None:
        super().__init__()
        self.terms = WeightedSum(terms)
        self.extra = {name: float(weight) for name, weight in (extra or {}).items()}
        self.weights = {**self.terms.weights, **self.extra}
        wrong = {name: weight for name, weight in self.extra.items() if not 0 <= weight < math.inf or "." in name}
        twice = sorted(self.extra.keys() & self.terms.weights.keys())
        if wrong or twice or not sum(self.weights.values()) > 0:
            raise ArgumentError(
                f"Balanced: got extra={dict(self.extra)} beside {self.terms.weights}; needed are names of their own "
                f"without a dot, and finite weights, none below 0 and one above."
            )
        if not (0 < total_norm < math.inf and 0 <= decay < 1):
            raise ArgumentError(
                f"Balanced: got total_norm={total_norm}, decay={decay}; needed are a finite total_norm above 0 and a "
                f"decay of 0 to below 1: total_norm=1.0, decay=0.999."
            )
        self.total_norm, self.decay = total_norm, decay
        self.averages = nn.ModuleDict({name: _Average() for name in self.weights})

    def extra_repr(self) -> str:
        """What stands beside the terms."""
        return f"extra={self.extra}, total_norm={self.total_norm}, decay={self.decay}"

    def parts(self, est: Tensor, ref: Tensor, **arguments: Tensor | None) -> dict[str, Tensor]:
        """Each of the terms by name, before its weight, for a log; an ``extra`` is in the caller's hands."""
        return self.terms.parts(est, ref, **arguments)

    def forward(
        self, est: Tensor, ref: Tensor, *, extra: Mapping[str, Tensor] | None = None, **arguments: Tensor | None
    ) -> Tensor:
        """The weighted sum of all values, with the balanced gradient.

        Args:
            est: Estimates, with the gradient.
            ref: References.
            extra: Terms computed from ``est`` by other means, by name: scalars whose graph leads to it. One that is not
                there yet is left out.
            **arguments: What ``WeightedSum`` takes: ``weight``, ``lengths``, and what terms need besides.
        """
        extra = self._known(extra)
        if not (torch.is_grad_enabled() and est.requires_grad):
            values = {**self.terms.parts(est, ref, **arguments), **extra}
            return torch.stack([self.weights[name] * value.detach() for name, value in values.items()]).sum()
        device = next(self.averages.buffers()).device
        if device != est.device:
            raise DeviceError(f"Balanced: is on {device}, est on {est.device}; type balanced.to(est.device).")
        pulls = _pulls(self.terms, est, ref, extra, arguments)
        norms = {name: pull.norm for name, pull in pulls.items()}
        if self.training:
            norms = self._over_ranks(norms)
            for name, norm in norms.items():
                cast(_Average, self.averages[name]).move(norm, self.decay)
        scales = self._scales({name: norms[name] for name in pulls})
        gradient = torch.stack([scales[name] * pull.gradient for name, pull in pulls.items()]).sum(0)
        value = torch.stack([self.weights[name] * pull.value for name, pull in pulls.items()]).sum()
        return given(
            est,
            value,
            gradient,
            refusal="Balanced: a second derivative was asked for and a balanced gradient has none; "
            "type loss.backward().",
        )

    def _known(self, extra: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """The same, if there is a weight for each."""
        extra = {} if extra is None else extra
        unknown = sorted(extra.keys() - self.extra.keys())
        if unknown:
            raise ArgumentError(
                f"Balanced: got extra {unknown}; it has weights for {sorted(self.extra) or 'none'}. "
                f'Give each its weight when it is built: Balanced(terms, extra={{"{unknown[0]}": 1.0}}).'
            )
        return extra

    def _scales(self, norms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each term's gradient is multiplied by; ``norms`` stand in for averages that have not begun."""
        total = sum(self.weights[name] for name in norms)
        scales = {}
        for name, norm in norms.items():
            size = cast(_Average, self.averages[name]).value(norm)
            share = self.total_norm * self.weights[name] / total if total else 0.0
            scales[name] = torch.where(size > 0, share / torch.where(size > 0, size, 1), 0)
        return scales

    def _over_ranks(self, norms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean of each norm over the ranks that have it, on all of them; nan where none has."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return dict(norms)
        # Every term has its row on every rank, so that one which a rank leaves out is not waited for.
        nothing = torch.zeros_like(next(iter(norms.values())))
        sums = torch.stack(
            [torch.stack([norms.get(name, nothing), nothing + (name in norms)]) for name in self.weights]
        )
        torch.distributed.all_reduce(sums)
        return {name: row[0] / row[1] for name, row in zip(self.weights, sums, strict=True)}


class _Average(FrontEnd):
    """Exponential moving average of a norm, and the weight of all that it has seen. Both are saved."""

    norm: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("norm", torch.zeros((), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))

    def move(self, norm: Tensor, decay: float) -> None:
        """Take in one step, unless it has no norm to take: 0 or not finite."""
        norm = norm.to(self.norm.dtype)
        counts = norm.isfinite() & (norm > 0)
        for buffer, new in ((self.norm, norm), (self.seen, torch.ones_like(norm))):
            buffer.copy_(torch.where(counts, decay * buffer + (1 - decay) * new, buffer))

    def value(self, norm: Tensor) -> Tensor:
        """The average, or the norm at hand where there is none yet; 0 where that is no number to divide by."""
        begun = self.seen > 0
        at_hand = torch.where(norm.isfinite(), norm, 0)
        return torch.where(begun, self.norm / torch.where(begun, self.seen, 1), at_hand).to(norm.dtype)


@dataclass(frozen=True)
class GradientShares:
    """Which loss trains: each term's part of the gradient at the estimate, and how far terms pull the same way.

    ``print(report)`` is a table; ``to_dict()`` is for JSON.

    Attributes:
        values: Each term's value, before its weight.
        weights: What its gradient is multiplied by; for ``Balanced`` what comes out of the balance.
        norms: The norm of its gradient after that, the mean over items.
        shares: Its norm over the sum of all norms.
        cosines: Between the gradients of two terms, the mean over items: 1 where they pull the same way, 0 where they
            do not mind each other, below 0 where one undoes what the other does; nan where one has no gradient.
    """

    values: dict[str, float]
    weights: dict[str, float]
    norms: dict[str, float]
    shares: dict[str, float]
    cosines: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, with None where there is no number."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: plain(one) for name, one in value.items()}
            return value if math.isfinite(value) else None

        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}

    def __str__(self) -> str:
        names = list(self.shares)
        head = ["term", "value", "weight", "norm", "share", *(f"cos {name}" for name in names)]
        rows = [
            [
                name,
                *(f"{column[name]:.4g}" for column in (self.values, self.weights, self.norms)),
                f"{self.shares[name]:.1%}",
                *(f"{self.cosines[name][other]:+.2f}" for other in names),
            ]
            for name in names
        ]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if at else cell.ljust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in (head, *rows)
        ]
        return "\n".join(lines)


def gradient_shares(
    loss: Loss | WeightedSum | Balanced,
    est: Tensor,
    ref: Tensor,
    *,
    extra: Mapping[str, Tensor] | None = None,
    **arguments: Tensor | None,
) -> GradientShares:
    """Ask which terms of a loss train what makes the estimate: weights do not tell, since scales of gradients differ.

    Nothing is trained by asking, and no average moves.

    Args:
        loss: Whose terms.
        est: Estimates; where there is an ``extra``, with the graph that leads from them to it.
        ref: References.
        extra: As ``Balanced`` takes it.
        **arguments: What the loss takes besides.

    Example:
        >>> loss = WeightedSum([(1.0, percloss.MAELoss()), (1.0, percloss.SISDRLoss())])
        >>> est, ref = torch.randn(2, 4, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> {name: f"{share:.2%}" for name, share in gradient_shares(loss, est, ref).shares.items()}
        {'mae': '0.04%', 'si_sdr': '99.96%'}
    """
    if isinstance(loss, Balanced):
        terms, extra = loss.terms, loss._known(extra)
    elif extra:
        raise ArgumentError(
            f"gradient_shares: got extra {sorted(extra)}; {type(loss).__name__} has none: use Balanced."
        )
    else:
        terms, extra = WeightedSum([(1.0, loss)]) if isinstance(loss, Loss) else loss, {}
    with torch.enable_grad():
        pulls = _pulls(terms, est, ref, extra, arguments)
    found = {name: pull.norm for name, pull in pulls.items()}
    weights: Mapping[str, Tensor | float] = loss._scales(found) if isinstance(loss, Balanced) else terms.weights
    norms = {name: float(weights[name] * norm) for name, norm in found.items()}
    total = sum(norms.values())
    return GradientShares(
        values={name: float(pull.value) for name, pull in pulls.items()},
        weights={name: float(weights[name]) for name in pulls},
        norms=norms,
        shares={name: norm / total if total else 0.0 for name, norm in norms.items()},
        cosines={one: {other: _cosine(pulls[one].gradient, pulls[other].gradient) for other in pulls} for one in pulls},
    )


class _Pull(NamedTuple):
    """A term's value and its gradient at the estimate."""

    value: Tensor
    gradient: Tensor

    @property
    def norm(self) -> Tensor:
        """Of each item's own gradient, averaged over items; a loss is a mean, and has each divided by their number."""
        return _sizes(self.gradient).sum()


def _sizes(gradient: Tensor) -> Tensor:
    """Norm of each item, of its peak and what is left over: the square of a small gradient is 0 in float32."""
    rows = gradient.flatten(1)
    peak = torch.linalg.vector_norm(rows, math.inf, dim=1)
    sizes: Tensor = peak * torch.linalg.vector_norm(rows / torch.where(peak == 0, 1, peak)[:, None], dim=1)
    return sizes


def _cosine(one: Tensor, other: Tensor) -> float:
    """Between two gradients, the mean over the items in which neither is 0; nan where there is none."""
    sizes = _sizes(one), _sizes(other)
    both = (sizes[0] != 0) & (sizes[1] != 0)
    units = [
        gradient[both].flatten(1) / size[both][:, None] for gradient, size in zip((one, other), sizes, strict=True)
    ]
    return float((units[0] * units[1]).sum(1).mean())


def _pulls(
    terms: WeightedSum,
    est: Tensor,
    ref: Tensor,
    extra: Mapping[str, Tensor],
    arguments: Mapping[str, Tensor | None],
) -> dict[str, _Pull]:
    """Value and gradient of every term, before its weight, in float32 or better."""
    terms.check(arguments)
    for role, x in {"ref": ref, **arguments}.items():
        if isinstance(x, Tensor) and x.requires_grad:
            raise ArgumentError(f"Balanced: {role} asks for a gradient, and est alone gets one; type {role}.detach().")
    wide = torch.promote_types(est.dtype, torch.float32)
    leaf = est.detach().to(wide).requires_grad_()
    pulls = {}
    for name in terms.losses:
        value = terms._parts([name], leaf, ref, **arguments)[name]
        pulls[name] = _Pull(value.detach(), torch.autograd.grad(value, leaf)[0])
    for name, value in extra.items():
        if value.dim() != 0:
            raise ShapeError(f"Balanced: extra {name!r} is {tuple(value.shape)}; needed is a scalar: {name}.mean().")
        gradient = None
        if value.requires_grad and est.requires_grad:
            (gradient,) = torch.autograd.grad(value, est, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise ArgumentError(
                f"Balanced: extra {name!r} has no graph that leads to est; needed is one computed from this very "
                f"tensor, neither from est.detach() nor under no_grad. One that is not wanted in a step is left out."
            )
        pulls[name] = _Pull(value.detach(), gradient.to(wide))
    return pulls
