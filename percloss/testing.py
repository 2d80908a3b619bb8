"""The contract: what is true of every measure, as checks that anyone can run on their own.

``check_measure(MyMeasure(16_000), sample_rate=16_000)`` holds a measure to its Spec and to the rules of the house.
Every claim is tried in both directions: a measure that does not claim to be deaf to gain must hear it.
"""

import copy
import math
import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from percloss.errors import ArgumentError, ContractError, DTypeError, PerclossError, ShapeError
from percloss.measure import Measure, catalogue, create, find
from percloss.spec import SHAPES, Invariance

BATCH, CHANNELS, SOURCES = 3, 2, 2
Signals = dict[str, Tensor]
Rule = Callable[["Case"], None]
RULES: dict[str, Rule] = {}
#: Rules that say nothing of a measure that takes no reference, and why.
NEED_A_REFERENCE = {
    "perfect": "there is nothing for an estimate to be equal to",
    "worse_is_worse": "a network taught with recordings owes no order to voices made by formula: try it on real ones",
}
#: Rules that say nothing of a measure where nearer or neither is better, and why.
NEED_AN_ORDER = {"worse_is_worse": "it tells one quality, which more noise need not move: try it on its own fault"}


def check_measure(measure: Measure, *, sample_rate: int = 16_000, rules: Iterable[str] | None = None) -> None:
    """Hold a measure to the contract.

    Args:
        measure: Built, on the device it is to be tried on.
        sample_rate: Of the signals it is given [Hz].
        rules: Names out of ``RULES``; all of them if not given, without those that say nothing of it (``mute``).

    Raises:
        ContractError: Lists every rule that was broken, and how.
        ArgumentError: A rule of no such name, or one that says nothing of this measure.

    Example:
        >>> check_measure(percloss.SNR(), rules=["perfect", "worse_is_worse"])
    """
    case = Case(measure, sample_rate)
    senseless = mute(measure)
    tried = [name for name in RULES if name not in senseless] if rules is None else list(rules)
    unknown = [name for name in tried if name not in RULES]
    if unknown:
        raise ArgumentError(f"check_measure: got rules {unknown}; needed are some of {', '.join(RULES)}.")
    asked = [f"{name} ({senseless[name]})" for name in tried if name in senseless]
    if asked:
        why = "which takes no reference" if measure.spec.alone else f"where {measure.spec.direction}"
        raise ArgumentError(
            f"check_measure: got rules {', '.join(asked)} for {measure.spec.name}, {why}; "
            f"needed are others: type rules=None for all that say something of it."
        )
    broken = []
    for name in tried:
        try:
            RULES[name](case)
        except ContractError as error:
            broken.append(f"{name}: {error}")
    if broken:
        raise ContractError(f"{measure.spec.name} breaks {len(broken)} rules.\n" + "\n".join(broken))


def mute(measure: Measure) -> dict[str, str]:
    """The rules that say nothing of a measure, and why."""
    alone = NEED_A_REFERENCE if measure.spec.alone else {}
    return {**alone, **({} if measure.spec.ranks else NEED_AN_ORDER)}


@dataclass
class Case:
    """A measure and the signals it is tried on."""

    measure: Measure
    sample_rate: int

    def __post_init__(self) -> None:
        # Perceptual models want a sentence, closed forms a moment.
        spec = self.measure.spec
        seconds = 0.2 if spec.differentiable and not spec.alone else 1.2
        self.time = max(int(seconds * self.sample_rate), 2 * self.measure.min_samples)
        # What listens to one signal repeats a short one until it fills its window, which takes longer.
        self.shortest = self.time if spec.alone else self.measure.min_samples + 16
        if spec.differentiable and not spec.alone and self(self.signals()).isnan().all():  # it too wants a sentence
            self.time = self.shortest = int(1.2 * self.sample_rate)

    def __call__(self, signals: Signals) -> Tensor:
        values: Tensor = self.measure(**signals)
        return values

    def shape(self, batch: int = BATCH, time: int | None = None) -> tuple[int, ...]:
        """Of an input the measure takes."""
        axes = (SOURCES, CHANNELS) if self.measure.spec.several else (CHANNELS,)
        return (batch, *axes, self.time if time is None else time)

    def signals(self, noise: float = 0.1, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Signals:
        """References that sound a little like speech, estimates with noise, and whatever else the measure needs.

        A measure that takes no reference is given none.
        """
        device = next((x.device for x in self.measure.buffers()), torch.device("cpu"))
        ref = _voices(self.shape(), self.sample_rate, seed)
        est = ref + noise * _voices(self.shape(), self.sample_rate, seed + 1).roll(self.time // 3, -1)
        est = est + 0.3 * noise * _white(self.shape(), seed + 2)
        signals = {"est": est} if self.measure.spec.alone else {"est": est, "ref": ref}
        for number, need in enumerate(self.measure.spec.needs):
            signals[need] = ref + 0.5 * _white(self.shape(), seed + 3 + number)
        return {role: x.to(device, dtype) for role, x in signals.items()}

    def gradient(self, signals: Signals) -> Tensor:
        """Of the mean over the items that have a value, with respect to the estimate."""
        est = signals["est"].clone().requires_grad_()
        values = self({**signals, "est": est})
        (gradient,) = torch.autograd.grad(values[~values.isnan()].sum(), est)
        return gradient


def rule(check: Rule) -> Rule:
    """Make a check part of the contract, under its own name."""
    RULES[check.__name__] = check
    return check


@rule
def one_number_per_item(case: Case) -> None:
    """The output has the shape its Spec says, and float32 in is float32 out."""
    values = case(case.signals())
    takes = case.measure.spec.takes
    second = {"pair": CHANNELS, "joint": 1, "sources": SOURCES, "mixtures": SOURCES, "alone": CHANNELS}[takes]
    _true(values.shape == (BATCH, second), f"returned {tuple(values.shape)}, needed is {(BATCH, second)}")
    _true(values.dtype == torch.float32, f"returned {values.dtype} for float32")
    _true(bool(values.isfinite().all()), f"returned {values.tolist()} for plain signals")


@rule
def items_never_mix(case: Case) -> None:
    """An item scores in a batch what it scores alone, beside items 40 dB louder and softer."""
    gains = torch.tensor([1.0, 100.0, 0.01]).view(-1, *[1] * (len(case.shape()) - 1))
    signals = {role: x * gains.to(x.device) for role, x in case.signals().items()}
    together = case(signals)
    alone = torch.cat([case({role: x[i : i + 1] for role, x in signals.items()}) for i in range(BATCH)])
    _close(together, alone, "in a batch and alone")


@rule
def channels_keep_their_place(case: Case) -> None:
    """Exchanging channels (or sources) exchanges their values, and a channel scores what it scores alone."""
    signals = case.signals()
    values = case(signals)
    swapped = case({role: x.flip(1) for role, x in signals.items()})
    _close(swapped, values if case.measure.spec.takes == "joint" else values.flip(1), "after exchanging axis 1")
    if case.measure.spec.takes in ("pair", "alone"):
        alone = [
            case({role: x[:, channel : channel + 1] for role, x in signals.items()}) for channel in range(CHANNELS)
        ]
        _close(values, torch.cat(alone, 1), "with both channels and alone")


@rule
def perfect(case: Case) -> None:
    """An estimate that is the reference has the value the Spec promises."""
    wanted = case.measure.spec.perfect
    if wanted is None:
        return
    signals = case.signals()
    values = case({**signals, "est": signals["ref"].clone()})
    _close(values, torch.full_like(values, wanted), "for est equal to ref")


@rule
def worse_is_worse(case: Case) -> None:
    """More noise never scores better, in the direction the Spec claims."""
    sign = case.measure.spec.sign
    means = torch.stack([sign * case(case.signals(noise)).mean(1) for noise in (0.03, 0.2, 1.0)])
    _true(bool((means.diff(dim=0) > 0).all()), f"sign * value at rising noise is {means.tolist()}")


@rule
def within_bounds(case: Case) -> None:
    """No input drives the value out of its bounds."""
    low, high = case.measure.spec.bounds
    signals = case.signals()
    est = signals["est"]
    ref = signals.get("ref", est)
    for odd in (est, ref, -ref, 0 * est, 1e4 * est, 1e-6 * est, est.flip(-1)):
        values = case({**signals, "est": odd})
        inside = (values >= low) & (values <= high) | values.isnan()
        _true(bool(inside.all()), f"{values.tolist()} is outside {low} to {high}")


CHANGES: dict[Invariance, Callable[[Signals], Iterator[Signals]]] = {
    "gain": lambda signals: ({**signals, "est": gain * signals["est"]} for gain in (0.5, 3.0)),
    "level": lambda signals: ({role: gain * x for role, x in signals.items()} for gain in (0.01, 4.0)),
    "polarity": lambda signals: iter([{**signals, "est": -signals["est"]}]),
    "swap": lambda signals: iter([{**signals, "est": signals["ref"], "ref": signals["est"]}]),
}


@rule
def hears_what_it_claims(case: Case) -> None:
    """Each claimed invariance holds, and each one not claimed fails for some signal."""
    for change, meaning in case.measure.spec.changes.items():
        claimed = change in case.measure.spec.invariant_to
        moved = []
        for noise in (0.05, 0.4):
            signals = case.signals(noise)
            before = case(signals)
            for changed in CHANGES[change](signals):
                after = case(changed)
                # What is not claimed must show, however small the value is.
                moved.append(not torch.allclose(after, before, rtol=2e-3, atol=2e-3 if claimed else 1e-9))
        if claimed:
            _true(not any(moved), f"claims {change!r} ({meaning}) and the value moves")
        else:
            _true(any(moved), f"does not claim {change!r} ({meaning}) and the value never moves")


@rule
def silence_has_one_outcome(case: Case) -> None:
    """A silent reference (or, without one, estimate) is nan or a number, as claimed, and changes no neighbour."""
    role, signal = ("est", "estimate") if case.measure.spec.alone else ("ref", "reference")
    signals = case.signals()
    before = case(signals)
    signals[role][1] = 0
    values = case(signals)
    _close(values[[0, 2]], before[[0, 2]], f"beside an item with a silent {signal}")
    undefined = case.measure.spec.silent_reference == "undefined"
    _true(
        bool((values[1].isnan() == undefined).all()),
        f"a silent {signal} gives {values[1].tolist()}, claimed is {case.measure.spec.silent_reference}",
    )
    if undefined:
        reason = case.measure.reason(**{role: x[1:2] for role, x in signals.items()})
        _true(f"{signal} is silent" in reason, f"says {reason!r} of a silent {signal}")


@rule
def broken_samples_stay_where_they_are(case: Case) -> None:
    """One sample that is not finite makes its own item nan and no other."""
    for broken in (math.nan, math.inf):
        for role in case.signals():
            signals = case.signals()
            before = case(signals)
            signals[role][1, ..., 5] = broken
            values = case(signals)
            _true(bool(values[1].isnan().all()), f"{broken} in {role} gives {values[1].tolist()}")
            _close(values[[0, 2]], before[[0, 2]], f"beside an item with {broken} in {role}")


@rule
def padding_is_not_heard(case: Case) -> None:
    """With ``lengths`` an item scores what it scores alone at its own length, whatever follows it."""
    signals = case.signals()
    sizes = [case.time, max(case.measure.min_samples, 2 * case.time // 3), case.time - 7]
    alone = torch.cat([case({r: x[i : i + 1, ..., :size] for r, x in signals.items()}) for i, size in enumerate(sizes)])
    for i, size in enumerate(sizes):
        signals["est"][i, ..., size:] = 9.0
    padded = case.measure(**signals, lengths=torch.tensor(sizes))
    _close(padded, alone, "padded and alone")


@rule
def half_precision_is_computed_in_float32(case: Case) -> None:
    """Half and bfloat16 inputs score as their values in float32 do, and autocast changes nothing."""
    for dtype in (torch.float16, torch.bfloat16):
        rounded = {role: x.to(dtype) for role, x in case.signals().items()}
        _same(case(rounded), case({role: x.float() for role, x in rounded.items()}), f"in {dtype} and in float32")
    signals = case.signals()
    with torch.autocast(signals["est"].device.type, dtype=torch.bfloat16):
        inside = case(signals)
    _same(inside, case(signals), "under autocast")


@rule
def gradient_is_finite(case: Case) -> None:
    """At silence of either side or both, at identity, and at full scale."""
    if not case.measure.spec.differentiable:
        return
    signals = case.signals()
    est = signals["est"]
    ref = signals.get("ref", est)
    situations = {
        "a silent estimate": (0 * est, ref),
        "a silent reference": (est, 0 * ref),
        "two silent signals": (0 * est, 0 * ref),
        "an estimate equal to the reference": (ref.clone(), ref),
        "an estimate at -120 dBFS": (1e-6 * est, ref),
        "a reference at -120 dBFS": (est, 1e-6 * ref),
        "a denormal estimate": (1e-42 * est, ref),
    }
    for name, (e, r) in situations.items():
        if case.measure.spec.alone and r is not ref:
            continue
        gradient = case.gradient({role: {"est": e, "ref": r}.get(role, x) for role, x in signals.items()})
        _true(bool(gradient.isfinite().all()), f"not finite at {name}")


@rule
def gradient_is_alive(case: Case) -> None:
    """An estimate at -120 dBFS still learns, in every item: no floor has a dead zone."""
    if not case.measure.spec.differentiable:
        return
    signals = case.signals()
    gradient = case.gradient({**signals, "est": 1e-6 * _white(case.shape(), 5).to(signals["est"].device)})
    size = gradient.flatten(1).abs().amax(1)
    _true(bool((size > 0).all()), f"largest gradient per item at -120 dBFS is {size.tolist()}")


@rule
def gradient_is_right(case: Case) -> None:
    """Against finite differences in float64."""
    if not case.measure.spec.differentiable:
        return
    signals = {role: x[:1, ..., : case.shortest] for role, x in case.signals(0.3, dtype=torch.float64).items()}
    rest = {role: x for role, x in signals.items() if role != "est"}
    est = signals["est"].clone().requires_grad_()
    try:
        torch.autograd.gradcheck(
            lambda x: case.measure(x, **rest), (est,), eps=1e-7, atol=1e-4, rtol=1e-3, fast_mode=True
        )
    except RuntimeError as error:
        raise ContractError(f"gradcheck: {error}") from error


@rule
def compiles(case: Case) -> None:
    """``torch.compile`` takes it as one graph, in value and gradient, where the Spec says so."""
    if not case.measure.spec.compiles:
        return
    signals = case.signals()
    torch.compiler.reset()
    compiled = torch.compile(case.measure, fullgraph=True, backend="aot_eager")
    _close(compiled(**signals), case(signals), "compiled and not")
    if case.measure.spec.differentiable:
        est = signals["est"].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(compiled(**{**signals, "est": est}).sum(), est)
        _close(gradient, case.gradient(signals), "as gradients, compiled and not", scale=float(gradient.abs().max()))


@rule
def owns_no_state(case: Case) -> None:
    """Nothing to save, nothing to train, and every tensor a buffer, so that it moves with the model."""
    kept = [*case.measure.state_dict(), *(name for name, _ in case.measure.named_parameters())]
    _true(not kept, f"keeps {kept} in state_dict or parameters; register_buffer(..., persistent=False)")
    for path, module in case.measure.named_modules():
        loose = [name for name, value in vars(module).items() if name[:1] != "_" and _holds_tensor(value)]
        _true(not loose, f"{path or 'it'} holds {loose} as plain attributes; register_buffer(..., persistent=False)")


@rule
def casting_the_model_rounds_nothing(case: Case) -> None:
    """``model.half()`` or ``.bfloat16()`` leaves the constants of a measure inside as they were."""
    signals = case.signals()
    cast = copy.deepcopy(case.measure).to(torch.bfloat16)
    _same(cast(**signals), case(signals), "cast to bfloat16 and not")


@rule
def survives_copy_and_pickle(case: Case) -> None:
    """A copy scores the same, and so does one that went to another process."""
    signals = case.signals()
    _same(copy.deepcopy(case.measure)(**signals), case(signals), "after deepcopy")
    _same(pickle.loads(pickle.dumps(case.measure))(**signals), case(signals), "after pickle")


@rule
def leaves_the_world_alone(case: Case) -> None:
    """Neither inputs nor a global random state change, and the same input scores the same twice."""
    signals = case.signals()
    copies = {role: x.clone() for role, x in signals.items()}
    before = _random_states()
    first, second = case(signals), case(signals)
    _true(_random_states() == before, "touches a global random state")
    _same(first, second, "twice")
    for role, x in signals.items():
        _true(torch.equal(x, copies[role]), f"changes its {role} in place")


@rule
def takes_any_memory_layout(case: Case) -> None:
    """Transposed and sliced tensors score as contiguous ones do."""
    signals = case.signals()
    strided = {role: x.transpose(0, -1).contiguous().transpose(0, -1) for role, x in signals.items()}
    _close(case(strided), case(signals), "for a transposed layout")


@rule
def bad_input_is_met_at_the_door(case: Case) -> None:
    """Wrong rank, unequal shapes, integers, nothing at all and too few samples: named errors that name the measure."""
    signals = case.signals()
    est = signals["est"]
    odd: tuple[str, type[PerclossError], Signals]
    if case.measure.spec.alone:
        odd = ("a reference", ArgumentError, {**signals, "ref": est})
    else:
        odd = ("unequal lengths", ShapeError, {**signals, "est": est[..., :-1]})
    cases: list[tuple[str, type[PerclossError], Signals]] = [
        odd,
        ("an axis too few", ShapeError, {role: x[0] for role, x in signals.items()}),
        ("an axis too many", ShapeError, {role: x[None] for role, x in signals.items()}),
        ("integers", DTypeError, {**signals, "est": (1000 * est).to(torch.int16)}),
        ("no samples", ShapeError, {role: x[..., :0] for role, x in signals.items()}),
        ("no items", ShapeError, {role: x[:0] for role, x in signals.items()}),
        ("too few samples", ShapeError, {role: x[..., : case.measure.min_samples - 1] for role, x in signals.items()}),
    ]
    for name, error, given in cases:
        try:
            case(given)
        except error as raised:
            _true(str(raised).startswith(case.measure.spec.name), f"the error for {name} does not name it: {raised}")
        else:
            raise ContractError(f"takes {name} ({ {r: tuple(x.shape) for r, x in given.items()} }) without an error")


@rule
def settings_are_its_arguments(case: Case) -> None:
    """Every constructor argument is kept under its name, so that a printed measure can be typed again."""
    try:
        settings = case.measure.settings
    except AttributeError as error:
        raise ContractError(f"a constructor argument is not kept: {error}") from error
    shown = repr(case.measure)
    missing = [name for name in settings if f"{name}=" not in shown]
    _true(not missing, f"repr leaves out {missing}: {shown}")


@rule
def is_documented(case: Case) -> None:
    """The docstring says direction and shape; the catalogue builds it; every source is in references.bib."""
    spec, doc = case.measure.spec, type(case.measure).__doc__ or ""
    _true(SHAPES[spec.takes][0].strip("()").split(", time")[0] in doc, "its docstring gives no shape of its input")
    if spec.name not in catalogue() or find(spec.name) is not type(case.measure):
        return
    _true(spec.direction in doc.lower(), f"its docstring does not say that {spec.direction}")
    create(spec.name, sample_rate=case.sample_rate)
    if type(case.measure).__module__.startswith("percloss."):
        known = resources.files("percloss").joinpath("references.bib").read_text("utf-8")
        unknown = [key for key in spec.cite if f"{{{key}," not in known]
        _true(bool(spec.cite) and not unknown, f"cites {spec.cite}, of which {unknown} are not in references.bib")


def _voices(shape: tuple[int, ...], sample_rate: int, seed: int) -> Tensor:
    """A pause, then harmonics of a gliding pitch under syllables, over a little noise: about -20 dBFS, at any rate."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(shape[-1], dtype=torch.float64) / sample_rate
    pitch = 90 + 120 * torch.rand(*shape[:-1], 1, generator=generator, dtype=torch.float64)
    phase = 2 * math.pi * (pitch * time + 6 * torch.sin(2 * math.pi * 0.7 * time + pitch))
    harmonics = sum(torch.cos(number * phase + number**2) / number for number in range(1, 18))
    syllables = (0.55 - 0.45 * torch.cos(2 * math.pi * 4 * time + pitch)).square()
    pause = torch.where(time < 0.2 * time[-1], 0.001, 1.0)
    voice = 0.1 * harmonics * syllables + 0.002 * torch.randn(shape, generator=generator)
    return (pause * voice).float()


def _random_states() -> bytes:
    """Of torch, Python and numpy."""
    states = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
    return pickle.dumps(states)


def _white(shape: tuple[int, ...], seed: int) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_tensor(item) for item in value)
    if isinstance(value, dict):
        return any(_holds_tensor(item) for item in value.values())
    return isinstance(value, Tensor) and not isinstance(value, nn.Parameter)


def _true(condition: bool, complaint: str) -> None:
    if not condition:
        raise ContractError(complaint)


def _close(got: Tensor, wanted: Tensor, what: str, *, scale: float = 1.0) -> None:
    """Equal to what the order of float32 sums leaves open."""
    if not torch.allclose(got, wanted, rtol=1e-4, atol=1e-4 * scale, equal_nan=True):
        raise ContractError(f"{what}: {got.tolist()} is not {wanted.tolist()}"[:600])


def _same(got: Tensor, wanted: Tensor, what: str) -> None:
    """Equal to the last bits."""
    if not torch.allclose(got, wanted, rtol=1e-6, atol=1e-6, equal_nan=True):
        raise ContractError(f"{what}: {got.tolist()} is not {wanted.tolist()}"[:600])
