"""What a training minimises, as it is typed: ``"mrstft + 0.1 nmr"``, ``"balanced: si_sdr + nmr"``, ``"se/gtcrn"``."""

import inspect
import re
from collections.abc import Mapping
from typing import NamedTuple, cast

from torch import Tensor, nn

from percloss import losses, recipes
from percloss._nearest import nearest
from percloss.balancing import Balanced, gradient_shares
from percloss.errors import ArgumentError, UnknownMeasureError
from percloss.lab.written import settings
from percloss.losses import Loss, WeightedSum
from percloss.measure import catalogue, create
from percloss.random_resolution import RandomResolutionSTFTLoss

__all__ = ["Objective", "parse"]

_BALANCED = "balanced:"
_TERM = re.compile(r"\s*(?:(?P<weight>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*\*?\s*)?(?P<name>[A-Za-z_][\w/-]*)")
_CLASSES = {
    **{
        name: found
        for name, found in vars(losses).items()
        if isinstance(found, type) and hasattr(found, "measure_class")
    },
    "RandomResolutionSTFTLoss": RandomResolutionSTFTLoss,
}


def parse(text: str, *, sample_rate: int, extra: Mapping[str, float] | None = None) -> WeightedSum | Balanced:
    """A loss as it is typed.

    A sum of terms, ``[weight] name[(setting=value)]``. A name is that of a measure (``percloss list``), of a loss of
    this package (``MelLoss``) or of a recipe (``se/gtcrn``), whose terms are all taken. After ``balanced:`` a weight is
    the share that a term has in the gradient, whatever the scale of its values.

    Args:
        text: What was typed.
        sample_rate: Of the signals [Hz]; terms that take one are given it.
        extra: Weights of terms that come as tensors with each call; with them the loss is balanced in any case.

    Example:
        >>> parse("mrstft + 0.1 nmr", sample_rate=16_000).weights
        {'mrstft': 1.0, 'nmr': 0.1}
        >>> type(parse("balanced: 3 mae + mel(n_mels=40)", sample_rate=16_000)).__name__
        'Balanced'

    Raises:
        ArgumentError: Not a sum, settings that a term does not take, or a measure without a gradient.
        UnknownMeasureError: No such name; the message proposes the nearest.
        SampleRateError: A term that is not defined at this rate.
    """
    balanced = text.strip().startswith(_BALANCED)
    written = _terms(text.strip().removeprefix(_BALANCED) if balanced else text)
    terms: dict[str, tuple[float, Loss]] = {}
    for term in written:
        for name, weight, loss in _losses(term, sample_rate):
            terms[_free(name, terms)] = term.weight * weight, loss
    if not any(weight for weight, _ in terms.values()):
        raise ArgumentError(f"loss: got {text!r}, and all weights are 0; give one above 0 to a term.")
    theirs = [term.name for term in written if "/" in term.name and recipes.info(term.name).balanced is not None]
    if theirs and extra is None:
        if len(written) > 1 and not balanced:
            raise ArgumentError(
                f"loss: got {text!r}; the weights of {theirs[0]} are shares of a gradient, and so must the others' be: "
                f"type {f'{_BALANCED} {text.strip()}'!r}."
            )
        return Balanced(terms)
    return Balanced(terms, extra=extra) if balanced or extra is not None else WeightedSum(terms)


class Objective(nn.Module):
    """A loss between what a lab model estimates and an example's target.

    Args:
        loss: As ``parse`` makes it.
        sources: Of the targets.
        channels: Of the mixtures.

    Shape:
        est: (batch, sources * channels, time), target: (batch, sources, channels, time), mix: (batch, channels, time).
        Returns ().

    Raises:
        ArgumentError: Terms that need what an example does not hold, or of which some take signals and some sources.
    """

    def __init__(self, loss: WeightedSum | Balanced, *, sources: int = 1, channels: int = 1) -> None:
        super().__init__()
        self.loss, self.sources, self.channels = loss, sources, channels
        sums = loss.terms if isinstance(loss, Balanced) else loss
        specs = {name: cast(Loss, term).measure.spec for name, term in sums.losses.items()}
        wrong = [name for name, spec in specs.items() if spec.takes == "mixtures" or set(spec.needs) - {"mix"}]
        if wrong:
            needs = ", ".join(f"{name}: {', '.join(specs[name].needs) or specs[name].takes}" for name in wrong)
            raise ArgumentError(f"loss: got terms that need what an example does not hold ({needs}); leave them out.")
        self.needs = {need for spec in specs.values() for need in spec.needs}
        self.apart = any(spec.several for spec in specs.values())
        if self.apart and not all(spec.several for spec in specs.values()):
            several = [name for name, spec in specs.items() if spec.several]
            raise ArgumentError(
                f"loss: got {list(specs)}, of which {several} take sources and the others signals; needed are terms of "
                f"one kind: leave out one or the other."
            )

    def forward(self, est: Tensor, target: Tensor, mix: Tensor, *, extra: Mapping[str, Tensor] | None = None) -> Tensor:
        """The loss of a batch; ``extra`` as ``Balanced`` takes it."""
        est, ref, needs = self._shaped(est, target, mix)
        given = {"extra": extra} if extra else {}
        value: Tensor = self.loss(est, ref, **needs, **given)
        return value

    def shares(
        self, est: Tensor, target: Tensor, mix: Tensor, *, extra: Mapping[str, Tensor] | None = None
    ) -> dict[str, float]:
        """Each term's part of the gradient."""
        est, ref, needs = self._shaped(est, target, mix)
        return gradient_shares(self.loss, est, ref, extra=extra, **needs).shares

    @property
    def terms(self) -> int:
        """How many share the gradient."""
        return len(self.loss.weights)

    def _shaped(self, est: Tensor, target: Tensor, mix: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        mixes = mix[:, None].expand_as(target)
        if self.apart:
            est = est.unflatten(1, (self.sources, self.channels))
        else:
            target, mixes = target.flatten(1, 2), mixes.flatten(1, 2)
        return est, target, {"mix": mixes} if self.needs else {}


class _Term(NamedTuple):
    weight: float
    name: str
    settings: str


def _terms(text: str) -> list[_Term]:
    """The parts of a sum."""
    found, at = [], 0
    while True:
        match = _TERM.match(text, at)
        if match is None:
            break
        at = match.end()
        end = _closing(text, at) if text[at : at + 1] == "(" else at
        found.append(_Term(float(match["weight"] or 1), match["name"], text[at:end]))
        rest = text[end:].lstrip()
        if not rest:
            return found
        if rest[0] != "+":
            break
        at = len(text) - len(rest) + 1
    raise ArgumentError(
        f"loss: got {text.strip()!r}, which cannot be read from {text[at:].strip()!r} on; needed are names, with "
        f"weights before and settings behind them: 'mrstft + 0.1 nmr', 'stft(n_fft=512)', 'balanced: si_sdr + nmr'."
    )


def _closing(text: str, start: int) -> int:
    """Just behind the parenthesis that closes the one at ``start``."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at + 1
    raise ArgumentError(
        f"loss: got {text.strip()!r}, in which a parenthesis is not closed; close it: 'stft(n_fft=512)'."
    )


def _losses(term: _Term, sample_rate: int) -> list[tuple[str, float, Loss]]:
    """Name, weight and loss of what a term stands for."""
    given = settings(term.settings, what=term.name)
    if "/" in term.name and term.name in recipes.RECIPES and not given:
        terms = recipes.info(term.name).terms(sample_rate)
        return [(name, weight, Loss(measure)) for name, (weight, measure) in terms.items()]
    if term.name in _CLASSES:
        signature = inspect.signature(getattr(_CLASSES[term.name], "measure_class", _CLASSES[term.name]))
        if "sample_rate" in signature.parameters:
            given = {"sample_rate": sample_rate, **given}
        try:
            signature.bind(**given)
        except TypeError as error:
            raise ArgumentError(f"loss: {term.name}: {error}; its arguments are {signature}.") from error
        loss: Loss = _CLASSES[term.name](**given)
        return [(loss.name, 1.0, loss)]
    known = catalogue()
    if term.name in known:
        loss = Loss(create(term.name, sample_rate=sample_rate, **given))
        return [(loss.name, 1.0, loss)]
    if term.name in recipes.RECIPES:
        raise ArgumentError(f"loss: got {term.name}{term.settings}; a recipe takes no settings: type {term.name!r}.")
    hint = (
        nearest(term.name, sorted([*known, *_CLASSES, *recipes.RECIPES])) if len(term.name) > 1 else "needed is a name."
    )
    raise UnknownMeasureError(f"loss: got {term.name!r}; {hint} Type: percloss list")


def _free(name: str, taken: Mapping[str, object]) -> str:
    """The name, with a number behind it where a term has it already."""
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free
