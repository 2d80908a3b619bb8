"""Adversarial losses: what a discriminator's judgements are worth to a generator, and what they cost the discriminator.

Pure functions of logits and features. No optimiser, no network and no state lives here; ``percloss.discriminators`` has
the networks. A step of training, in the order that wastes nothing::

    fake = generator(noisy)
    loss = gan.discriminator(critic(real), critic(fake.detach()))  # then backward and the critic's optimiser
    with frozen(critic), torch.no_grad():
        seen = critic(real)
    with frozen(critic):
        judged = critic(fake)
        loss = gan.generator(judged, seen) + 2 * feature_matching(seen, judged)  # backward, the generator's optimiser

Under DistributedDataParallel the generator's step calls ``critic.module``: a wrapped network whose parameters are all
frozen waits for gradients that never come. Under autocast the networks may run in half precision; every loss here is
computed in float32.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percloss.dsp.safe import db_to_amplitude
from percloss.errors import ArgumentError, DTypeError, ShapeError

Penalty = Literal["least_squares", "hinge", "logistic"]

# A layer of features whose mean magnitude is below this has nothing to be relative to.
RELATIVE_FLOOR_DB = -120.0


class Judgement(NamedTuple):
    """What one discriminator says of a batch.

    Args:
        logits: One number for each part of each item that it looks at, ``(batch, ...)``: higher is more real.
        features: What it heard on the way: the activations of every hidden layer, ``(batch, ...)`` each.
    """

    logits: Tensor
    features: list[Tensor]


Logits: TypeAlias = Tensor | Judgement | Sequence[Tensor | Judgement]
Features: TypeAlias = Judgement | Sequence[Judgement | Sequence[Tensor]]


class GANLoss(ABC):
    """Both sides of an adversarial game, from the logits of one discriminator or of several.

    The mean is taken over the parts of an item, over items, then over discriminators, so that each discriminator
    counts the same however many parts it looks at (HiFi-GAN adds them: multiply by their number). An item's share
    does not depend on the others in its batch, but for the relativistic losses, whose point that is.

    Both are to be minimised and computed in float32 at least. A logit that is not finite makes the loss and its
    gradient nan: ``max(0, 1 - inf)`` is 0, and a run that has diverged must not look healthy. The discriminator's side
    cannot know whether the logits of the fake reach back into the generator: give it ``critic(fake.detach())``.
    """

    #: Whether the generator's side needs the logits of the real signals too.
    relative: bool = False

    def generator(self, fake: Logits, real: Logits | None = None) -> Tensor:
        """What the generator pays.

        Args:
            fake: Logits of generated signals, with the gradient.
            real: Logits of real signals, taken without a gradient; only the relativistic losses look at them.

        Raises:
            ArgumentError: No logits, no ``real`` where it is needed, or not the same number of discriminators.
            DTypeError: Logits that are not floating point.
            ShapeError: Empty logits, or shapes that cannot be paired.
        """
        name = f"{type(self).__name__}.generator"
        fakes = _logits(name, "fake", fake)
        if not self.relative:
            return _mean([_unless_broken(self._generator(f, f.detach()), f) for f in fakes])
        if real is None:
            raise ArgumentError(
                f"{name}: got no logits of real signals; it compares fake with real: type generator(fake, real)."
            )
        pairs = zip(fakes, _logits(name, "real", real, like=fakes), strict=True)
        return _mean([_unless_broken(self._generator(f, r.detach()), f, r) for f, r in pairs])

    def discriminator(self, real: Logits, fake: Logits) -> Tensor:
        """What the discriminators pay.

        Args:
            real: Logits of real signals, with the gradient.
            fake: Logits of generated signals, with the gradient into the discriminators alone.

        Raises:
            ArgumentError: No logits, or not the same number of discriminators.
            DTypeError: Logits that are not floating point.
            ShapeError: Empty logits, or shapes that cannot be paired.
        """
        name = f"{type(self).__name__}.discriminator"
        reals = _logits(name, "real", real)
        pairs = zip(reals, _logits(name, "fake", fake, like=reals), strict=True)
        return _mean([_unless_broken(self._discriminator(r, f), r, f) for r, f in pairs])

    @abstractmethod
    def _generator(self, fake: Tensor, real: Tensor) -> Tensor:
        """The generator's loss from one discriminator, ()."""

    @abstractmethod
    def _discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """One discriminator's loss, ()."""


class LSGAN(GANLoss):
    r"""Least squares: real signals belong at 1, generated ones at 0.

    .. math:: L_D = E[(D(x) - 1)^2] + E[D(\hat x)^2], \qquad L_G = E[(D(\hat x) - 1)^2]

    Without the paper's factor 1/2, as HiFi-GAN and DAC have it. The best discriminator is
    :math:`p / (p + \hat p)`, the chance that a signal is real.

    Example:
        >>> LSGAN().discriminator(real=torch.tensor([1.0]), fake=torch.tensor([0.5]))
        tensor(0.2500)

    References:
        [mao2017]_.
    """

    def _generator(self, fake: Tensor, real: Tensor) -> Tensor:
        return (fake - 1).square().mean()

    def _discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return (real - 1).square().mean() + fake.square().mean()


class Hinge(GANLoss):
    r"""Hinge: the discriminator is content with a margin of 1 on either side of 0.

    .. math:: L_D = E[\max(0, 1 - D(x))] + E[\max(0, 1 + D(\hat x))]

    The generator's side has two forms in use, and papers and code disagree on which one they mean:

    - ``"linear"``, :math:`L_G = -E[D(\hat x)]`: the original, and what most code does. It has no lower bound.
    - ``"clipped"``, :math:`L_G = E[\max(0, 1 - D(\hat x))]`: EnCodec's paper. It is never negative, and once a signal
      passes for real by the margin it has no gradient, so that reconstruction terms take over.

    Args:
        generator: Form of the generator's side.

    Example:
        >>> Hinge().generator(torch.tensor([2.0])), Hinge("clipped").generator(torch.tensor([2.0]))
        (tensor(-2.), tensor(0.))

    References:
        [lim2017]_; [defossez2023]_ for the clipped form.
    """

    def __init__(self, generator: Literal["linear", "clipped"] = "linear") -> None:
        if generator not in ("linear", "clipped"):
            raise ArgumentError(f'Hinge: got generator={generator!r}; needed is "linear" or "clipped".')
        self.form = generator

    def _generator(self, fake: Tensor, real: Tensor) -> Tensor:
        return (1 - fake).relu().mean() if self.form == "clipped" else -fake.mean()

    def _discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return (1 - real).relu().mean() + (1 + fake).relu().mean()


class Relativistic(GANLoss):
    r"""Relativistic: not whether a signal is real, but whether it is more real than its counterpart.

    With a penalty :math:`f` of a margin, :math:`(1 - d)^2`, :math:`\max(0, 1 - d)` or :math:`\log(1 + e^{-d})`,

    .. math::
        L_D = E[f(D(x) - D(\hat x))] \quad \text{(paired)}, \qquad
        L_D = E[f(D(x) - E D(\hat x))] + E[f(E D(x) - D(\hat x))] \quad \text{(average)}

    and :math:`L_G` is the same with real and fake exchanged: a generator gains as much by what is real looking less so.
    A constant added to all logits changes nothing. Averages inside are over the batch, and the parts, of one
    discriminator: on the process it runs on, where there are several.

    Args:
        form: ``"paired"`` compares each logit with its counterpart of the same place, for which real and generated
            batches are alike in shape; ``"average"`` with the mean of the others.
        penalty: The function :math:`f`.

    Example:
        >>> real, fake = torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0])
        >>> Relativistic("paired").discriminator(real, fake), Relativistic("paired").generator(fake, real)
        (tensor(0.), tensor(4.))

    References:
        [jolicoeur2019]_.
    """

    relative = True

    def __init__(self, form: Literal["average", "paired"] = "average", *, penalty: Penalty = "least_squares") -> None:
        if form not in ("average", "paired") or penalty not in get_args(Penalty):
            raise ArgumentError(
                f'Relativistic: got form={form!r}, penalty={penalty!r}; needed is "average" or "paired" and one of '
                f"{', '.join(get_args(Penalty))}."
            )
        self.form, self.penalty = form, penalty

    def _discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        if self.form == "average":
            return self._cost(real - fake.mean()).mean() + self._cost(real.mean() - fake).mean()
        if real.shape != fake.shape:
            raise ShapeError(
                f"Relativistic: real logits are {tuple(real.shape)}, fake ones {tuple(fake.shape)}; pairs need equal "
                f'shapes: give both batches alike, or type Relativistic("average").'
            )
        return self._cost(real - fake).mean()

    def _generator(self, fake: Tensor, real: Tensor) -> Tensor:
        return self._discriminator(fake, real)

    def _cost(self, margin: Tensor) -> Tensor:
        if self.penalty == "least_squares":
            return (1 - margin).square()
        return (1 - margin).relu() if self.penalty == "hinge" else F.softplus(-margin)


def feature_matching(real: Features, fake: Features, *, normalize: Literal["none", "real"] = "none") -> Tensor:
    r"""Mean distance between what discriminators hear in real and in generated signals.  Lower is better, 0 if alike.

    .. math:: \frac{1}{K} \sum_k \frac{1}{L_k} \sum_l E\,|D_k^l(x) - D_k^l(\hat x)|

    The mean over the entries of a layer, over layers, then over discriminators. HiFi-GAN adds layers and
    discriminators, and counts the logits as a layer more. The real side is taken without a gradient.

    Args:
        real: Judgements of real signals, or lists of features, one for each discriminator.
        fake: Those of the generated counterparts, with the gradient.
        normalize: ``"real"`` divides each layer by the mean magnitude of the real features over the batch, as in
            EnCodec's paper, so that a loud layer counts no more than a soft one, and a generator does not gain by
            discriminators that shrink their features.

    Example:
        >>> feature_matching([[torch.full((1, 4), 2.0)]], [[torch.full((1, 4), 1.0)]], normalize="real")
        tensor(0.5000)

    References:
        [kumar2019]_; [defossez2023]_ for the relative form.

    Raises:
        ArgumentError: No features, or not the same number of discriminators or layers.
        ShapeError: Layers of different shapes.
    """
    if normalize not in ("none", "real"):
        raise ArgumentError(f'feature_matching: got normalize={normalize!r}; needed is "none" or "real".')
    reals, fakes = _features(real), _features(fake)
    counts = [len(layers) for layers in reals], [len(layers) for layers in fakes]
    if counts[0] != counts[1] or not reals or 0 in counts[0]:
        raise ArgumentError(
            f"feature_matching: got {counts[0]} layers of real and {counts[1]} of generated signals, by discriminator; "
            f"needed are as many of both, one at least: feature_matching(critic(real), critic(fake))."
        )
    means = []
    for number, (ours, theirs) in enumerate(zip(reals, fakes, strict=True)):
        distances = []
        for layer, (r, f) in enumerate(zip(ours, theirs, strict=True)):
            if r.shape != f.shape:
                raise ShapeError(
                    f"feature_matching: layer {layer} of discriminator {number} is {tuple(r.shape)} for real and "
                    f"{tuple(f.shape)} for generated signals; needed are signals of equal shape."
                )
            r, f = _at_least_float32(r.detach()), _at_least_float32(f)
            distance = (f - r).abs().mean()
            if normalize == "real":
                distance = distance / (r.abs().mean() + db_to_amplitude(RELATIVE_FLOOR_DB))
            distances.append(distance)
        means.append(_mean(distances))
    return _mean(means)


def r1(real: Tensor, logits: Logits) -> Tensor:
    r"""Gradient penalty on real signals, to be added to the discriminator's loss with a weight (:math:`\gamma / 2`).

    .. math:: R_1 = E \, \lVert \nabla_x D(x) \rVert^2

    :math:`D(x)` is the mean of an item's logits over its parts, then over discriminators: the penalty does not grow
    with the length of the signal or the number of discriminators. The norm is over the item's channels and samples, the
    mean over items, each of which the discriminator must judge for itself. Where it is taken every k steps, multiply by
    k. Under autocast run the discriminator in full precision for this.

    Args:
        real: Real signals, that require a gradient since before they were judged.
        logits: What discriminators said of them.

    Example:
        >>> real = torch.zeros(2, 1, 3).requires_grad_()
        >>> r1(real, real @ torch.tensor([1.0, 2.0, 2.0])).detach()
        tensor(9.)

    References:
        [mescheder2018]_.

    Raises:
        ArgumentError: Signals without a gradient, or logits that do not come from them.
        ShapeError: Logits of another number of items.
    """
    return _gradient_penalty("r1", real, logits)


def r2(fake: Tensor, logits: Logits) -> Tensor:
    r"""The penalty of :func:`r1` on generated signals, :math:`R_2 = E \, \lVert \nabla D(\hat x) \rVert^2`.

    Args:
        fake: ``fake.detach().requires_grad_()``, before it was judged.
        logits: What discriminators said of them.

    References:
        [mescheder2018]_.

    Raises:
        ArgumentError: Signals without a gradient, or logits that do not come from them.
        ShapeError: Logits of another number of items.
    """
    return _gradient_penalty("r2", fake, logits)


@contextmanager
def frozen(*discriminators: nn.Module) -> Iterator[None]:
    """Within this, gradients pass through the discriminators and do not stay in them.

    For the generator's step: the discriminators' own gradients are neither computed nor added to what the next step of
    theirs will use. Afterwards every parameter requires a gradient exactly if it did before, whatever happened inside.
    Modes and buffers are left alone: a spectral norm in training mode goes on with its power iteration.

    Example:
        >>> critic = torch.nn.Linear(2, 1)
        >>> with frozen(critic):
        ...     critic(torch.zeros(1, 2)).requires_grad
        False
        >>> critic(torch.zeros(1, 2)).requires_grad
        True
    """
    before = [(p, p.requires_grad) for network in discriminators for p in network.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


def _gradient_penalty(name: str, signals: Tensor, logits: Logits) -> Tensor:
    if not signals.requires_grad:
        raise ArgumentError(
            f"{name}: the signals require no gradient; type x = x.detach().requires_grad_() before they are judged."
        )
    judged = _logits(name, "signal", logits)
    wrong = [tuple(x.shape) for x in judged if x.dim() == 0 or x.shape[0] != signals.shape[0]]
    if wrong:
        raise ShapeError(f"{name}: {signals.shape[0]} items came, and logits {wrong}; needed are logits (batch, ...).")
    scores = torch.stack([x.flatten(1).mean(1) if x.dim() > 1 else x for x in judged]).mean(0)
    if not scores.requires_grad:
        raise ArgumentError(f"{name}: the logits have no graph; judge the signals outside of torch.no_grad().")
    (gradient,) = torch.autograd.grad(scores.sum(), signals, create_graph=True, allow_unused=True)
    if gradient is None:
        raise ArgumentError(f"{name}: these logits are not of these signals; type {name}(x, critic(x)).")
    return _at_least_float32(gradient).square().flatten(1).sum(1).mean()


def _logits(name: str, role: str, given: Logits, like: Sequence[Tensor] | None = None) -> list[Tensor]:
    listed = [given] if isinstance(given, Tensor | Judgement) else list(given)
    logits = [x.logits if isinstance(x, Judgement) else x for x in listed]
    if not logits or (like is not None and len(logits) != len(like)):
        raise ArgumentError(
            f"{name}: got {role} logits of {len(logits)} discriminators; needed are those of "
            f"{'one at least' if like is None else len(like)}: type critic({role})."
        )
    for x in logits:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise DTypeError(f"{name}: {role} logits are {kind}; needed are floating-point tensors or Judgements.")
        if x.numel() == 0:
            raise ShapeError(f"{name}: {role} logits have shape {tuple(x.shape)}; needed is one number at least.")
    return [_at_least_float32(x) for x in logits]


def _features(given: Features) -> list[list[Tensor]]:
    listed: Sequence[Judgement | Sequence[Tensor]] = [given] if isinstance(given, Judgement) else given
    if any(isinstance(x, Tensor) for x in listed):  # its rows would pass for layers
        raise ArgumentError(
            "feature_matching: got a list of tensors; needed is a list for each discriminator: "
            "feature_matching([real], [fake]) for one."
        )
    return [list(x.features if isinstance(x, Judgement) else x) for x in listed]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def _unless_broken(loss: Tensor, *logits: Tensor) -> Tensor:
    """The loss, or nan with a gradient of nan. Nothing is asked of a GPU, which would have to be waited for."""
    finite = torch.stack([x.detach().isfinite().all() for x in logits]).all()
    return loss * torch.where(finite, 1.0, math.nan)
