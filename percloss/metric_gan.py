"""MetricGAN: a discriminator learns to predict a measure, so that a generator can follow one that has no gradient."""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from percloss.adversarial import Judgement
from percloss.errors import ArgumentError, ShapeError
from percloss.measure import Measure

Critic: TypeAlias = Callable[[Tensor, Tensor], Any]


class MetricTarget:
    """A measure as a score from 0 to 1, 1 the best: what a metric discriminator is to predict.

    Args:
        measure: Any measure of pairs; it needs no gradient.
        low: Its lower end [in its unit]. Values beyond either end are held there.
        high: Its upper end. Where lower is better this end is 0 and the other 1.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where the measure has no value.

    Example:
        >>> target = MetricTarget(percloss.SNR(), low=-10.0, high=30.0)
        >>> ref = torch.ones(1, 1, 8)
        >>> target(0.9 * ref, ref), target(ref, ref)
        (tensor([[0.7500]]), tensor([[1.]]))

    Raises:
        ArgumentError: An empty range, or a measure that does not take pairs.
    """

    def __init__(self, measure: Measure, low: float, high: float) -> None:
        if measure.spec.takes != "pair" or measure.spec.needs:
            raise ArgumentError(
                f"MetricTarget: got {measure.spec.name}, which takes {measure.spec.takes} and needs "
                f"{', '.join(measure.spec.needs) or 'nothing else'}; needed is a measure of est and ref alone."
            )
        if not -math.inf < low < high < math.inf:
            raise ArgumentError(
                f"MetricTarget: got low={low}, high={high} {measure.spec.unit}; needed is a finite low < high: "
                f"for PESQ type MetricTarget(measure, low=1.0, high=4.65)."
            )
        self.measure, self.low, self.high, self.sign = measure, low, high, measure.spec.sign

    def __call__(self, est: Tensor, ref: Tensor) -> Tensor:
        """The scores, without a gradient."""
        with torch.no_grad():
            values: Tensor = self.measure(est, ref)
        scores = ((values - self.low) / (self.high - self.low)).clamp(0, 1)
        return scores if self.sign < 0 else 1 - scores

    def __repr__(self) -> str:
        return f"MetricTarget({self.measure!r}, low={self.low}, high={self.high})"


class Scored(NamedTuple):
    """Pairs and the score of each channel: (items, channels, time) twice, (items, channels)."""

    est: Tensor
    ref: Tensor
    target: Tensor


class ReplayBuffer(nn.Module):
    """A bounded memory of past estimates: each that ever came is in it with the same probability.

    Kept on the CPU, in ``state_dict`` with the state of its own random generator, so that a resumed run goes on as it
    would have. All items have one shape, as crops of a training set do.

    Args:
        capacity: Items it holds at most.
        seed: Of the choices it makes.

    References:
        [fu2021]_ for its use.
    """

    def __init__(self, capacity: int, *, seed: int = 0) -> None:
        super().__init__()
        if capacity < 1:
            raise ArgumentError(f"ReplayBuffer: got capacity={capacity}; needed is one item at least.")
        self.capacity = capacity
        self.seen = 0
        self._items: list[Scored] = []
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, pairs: Scored) -> None:
        """Keep copies of some or all of these, in place of older ones where it is full.

        Raises:
            ShapeError: Items of another shape than those it holds.
        """
        for item in zip(*(x.detach().cpu() for x in pairs), strict=True):
            new = Scored(*item)
            if self._items and new.est.shape != self._items[0].est.shape:
                raise ShapeError(
                    f"ReplayBuffer: got an item of {tuple(new.est.shape)}, holds {tuple(self._items[0].est.shape)}; "
                    f"needed is one shape: crop to one length, or train with history=0."
                )
            self.seen += 1
            # Vitter's algorithm R: the n-th item stays with probability capacity / n.
            place = self._below(self.seen) if self.seen > self.capacity else len(self._items)
            if place < self.capacity:
                self._items[place : place + 1] = [Scored(*(x.clone() for x in new))]

    def sample(self, items: int) -> Scored:
        """So many different items, or all if there are fewer.

        Raises:
            ArgumentError: Nothing has been added yet.
        """
        if not self._items:
            raise ArgumentError("ReplayBuffer: is empty; needed is add(...) before sample(...).")
        chosen = torch.randperm(len(self._items), generator=self._generator)[:items].tolist()
        est, ref, target = zip(*(self._items[place] for place in chosen), strict=True)
        return Scored(torch.stack(est), torch.stack(ref), torch.stack(target))

    def _below(self, end: int) -> int:
        return int(torch.randint(end, (), generator=self._generator))

    def get_extra_state(self) -> dict[str, Any]:
        """For ``state_dict``: tensors and numbers only."""
        names = Scored._fields
        items = {name: torch.stack(values) for name, values in zip(names, zip(*self._items, strict=True), strict=False)}
        return {"seen": self.seen, "generator": self._generator.get_state(), "items": items}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """For ``load_state_dict``."""
        items = state["items"]
        self.seen = state["seen"]
        self._generator.set_state(state["generator"].cpu())
        columns = [items[name].cpu().unbind() for name in Scored._fields] if items else []
        self._items = [Scored(*item) for item in zip(*columns, strict=True)][: self.capacity]


class MetricGAN(nn.Module):
    r"""The two sides of MetricGAN, for a discriminator D(est, ref) that predicts a measure's score q.

    .. math::
        L_D = E[(D(\hat x, x) - q(\hat x, x))^2] + E[(D(x, x) - 1)^2] + E_{past}[(D(\hat x, x) - q)^2]
        \qquad L_G = E[(D(\hat x, x) - 1)^2]

    A reference compared with itself has the score 1, whatever the measure's value is there.

    **Where the measure fails.** An item without a value (silence, for PESQ) is left out of all terms and counted in
    ``undefined``, out of ``judged`` items and channels so far; the others are learned from as if it were not there. If
    none is left the loss is 0 with a zero gradient, and says so once, as a warning. Samples that are not finite are no
    failure of the measure: they make the loss nan.

    A discriminator knows what it has seen. What the measure says of the result, and ideally what another one says, is
    to be watched beside the loss: a generator that follows a predictor learns to please the predictor.

    Args:
        target: The measure, and the range that becomes 0 to 1.
        history: Capacity of a memory of past estimates; 0 for none. In each step as many of them are judged beside the
            batch as the batch has items, so that the discriminator does not forget (MetricGAN+). MetricGAN+ also shows
            it the noisy input: give ``torch.cat([est, noisy])`` and ``torch.cat([ref, ref])``.
        seed: Of the choices among them.

    Example:
        >>> from percloss.adversarial import frozen
        >>> from percloss.discriminators import MetricDiscriminator
        >>> gan = MetricGAN(MetricTarget(percloss.SISDR(), low=-10.0, high=30.0))
        >>> critic = MetricDiscriminator(filters=4)
        >>> est, ref = torch.randn(2, 4, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> gan.discriminator(critic, est, ref).backward()
        >>> with frozen(critic):
        ...     loss = gan.generator(critic, est, ref)

    References:
        [fu2019]_; [fu2021]_ for the memory.
    """

    judged: Tensor
    undefined: Tensor

    def __init__(self, target: MetricTarget, *, history: int = 0, seed: int = 0) -> None:
        super().__init__()
        if history < 0:
            raise ArgumentError(f"MetricGAN: got history={history}; needed is 0 for none, or a number of items.")
        self.target = target
        self.history = ReplayBuffer(history, seed=seed) if history else None
        self.register_buffer("judged", torch.zeros((), dtype=torch.int64))
        self.register_buffer("undefined", torch.zeros((), dtype=torch.int64))
        self._told = False

    def discriminator(self, critic: Critic, est: Tensor, ref: Tensor) -> Tensor:
        """What the discriminator pays; it is called once, on everything together.

        Args:
            critic: ``(est, ref)`` -> scores (batch, channels), or a list of one judgement of them.
            est: Estimates; nothing flows back into them.
            ref: References.

        Raises:
            ShapeError: Scores of another shape than the measure's.
        """
        est, ref = est.detach(), ref.detach()
        target = self.target(est, ref)
        broken = ~torch.stack([x.isfinite().all() for x in (est, ref)]).all()
        self._count(target)
        # A measure that fails has nothing to say of the reference either.
        known = Scored(torch.cat([est, ref]), torch.cat([ref, ref]), torch.cat([target, torch.ones_like(target)]))
        failed = torch.cat([target.isnan()] * 2)
        past = self._past(Scored(est, ref, target))
        if past is not None:
            known = Scored(*(torch.cat(pair) for pair in zip(known, past, strict=True)))
            failed = torch.cat([failed, past.target.isnan()])
        scores = _scores(critic, known.est, known.ref)
        errors = torch.where(failed, 0, scores - torch.where(failed, 0, known.target)).square()
        groups = [est.shape[0], est.shape[0], 0 if past is None else past.est.shape[0]]
        terms = [
            e.sum() / (~f).sum().clamp(min=1) for e, f in zip(errors.split(groups), failed.split(groups), strict=True)
        ]
        return torch.stack(terms).sum() * torch.where(broken, math.nan, 1.0)

    def generator(self, critic: Critic, est: Tensor, ref: Tensor) -> Tensor:
        """What the generator pays, with a gradient into the estimates; within ``frozen(critic)``.

        Args:
            critic: As above.
            est: Estimates.
            ref: References.
        """
        return (_scores(critic, est, ref) - 1).square().mean()

    def _past(self, pairs: Scored) -> Scored | None:
        """Some of the past, before the present becomes part of it; only what has a score is kept."""
        if self.history is None:
            return None
        past = self.history.sample(pairs.est.shape[0]) if len(self.history) else None
        whole = ~pairs.target.isnan().any(1)
        if bool(whole.any()):
            self.history.add(Scored(*(x[whole] for x in pairs)))
        return None if past is None else Scored(*(x.to(pairs.est) for x in past))

    def _count(self, target: Tensor) -> None:
        failed = target.isnan()
        self.judged += failed.numel()
        self.undefined += failed.sum()
        if not self._told and bool(failed.all()):
            self._told = True
            warnings.warn(
                f"MetricGAN: {self.target.measure.spec.name} has no value for any item of this batch (silence?); the "
                f"discriminator's loss is 0 and has no gradient. Said once; undefined counts them.",
                stacklevel=3,  # past discriminator
            )


def _scores(critic: Critic, est: Tensor, ref: Tensor) -> Tensor:
    given = critic(est, ref)
    listed = [x.logits if isinstance(x, Judgement) else x for x in ([given] if isinstance(given, Tensor) else given)]
    shapes = [tuple(scores.shape) for scores in listed]
    if shapes != [tuple(est.shape[:2])]:
        raise ShapeError(
            f"MetricGAN: the discriminator gave scores {shapes} for signals of {tuple(est.shape)}; needed is one "
            f"judgement of (batch, channels): percloss.discriminators.MetricDiscriminator()."
        )
    return listed[0].to(torch.promote_types(listed[0].dtype, torch.float32))
