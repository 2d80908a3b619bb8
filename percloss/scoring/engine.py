"""Scores one pair of files with every measure asked for: what the command line runs, one call a pair."""

import math
import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal

import torch
from torch import Tensor

from percloss._optional import require
from percloss.errors import ArgumentError, DeviceError, PerclossError, SampleRateError, ShapeError
from percloss.evaluation import evaluate, signature
from percloss.functional import shared
from percloss.measure import ENTRY_POINTS, Measure, create, find
from percloss.measures import TABLE
from percloss.scoring import USUAL
from percloss.scoring.audio import RESAMPLER, read, resample_file, shown
from percloss.scoring.pairing import Pair
from percloss.scoring.screening import screen

__all__ = ["Recipe", "Scored", "Scorer", "Signals", "load", "plan"]

NEEDS = {"mix"}
# A measure is built at this rate to learn whether it can be, before a file has said its own.
ANY_RATE = 48_000
# A cut of more than this part of a file is worth a warning: the rest of it is not scored.
_LARGE_CUT = 0.1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every pair is scored.

    Attributes:
        measures: Names; ``None`` is those of the usual ones that suit the material.
        every: Instead of the usual ones all that there are, where none are named.
        resample: Rate to bring all signals to [Hz]; ``"ref"`` is that of the reference, where there is one; ``None``
            resamples nothing.
        trim: Cut all signals of a pair to the shortest.
        mono: Mix all channels down to one.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``, which is cuda where there is one.
    """

    measures: tuple[str, ...] | None = None
    every: bool = False
    resample: int | Literal["ref"] | None = None
    trim: bool = False
    mono: bool = False
    device: str = "cpu"

    @property
    def names(self) -> tuple[str, ...]:
        """The measures in question: those that were named, the usual ones, or all that there are.

        All are those built in and those that packages announce, and not what has been registered in this process: the
        others would not know it.
        """
        if self.measures is not None:
            return self.measures
        if not self.every:
            return USUAL
        announced = {point.name for point in entry_points(group=ENTRY_POINTS)}
        return (*TABLE, *sorted(announced - TABLE.keys()))


@dataclass(kw_only=True)
class Scored:
    """What came of one pair.

    Attributes:
        pair: Which.
        sample_rate: Of the signals as they were scored [Hz].
        channels: Of the signals as they were scored.
        seconds: Their length.
        scores: Value by measure, the mean over channels; ``None`` where there is none.
        reasons: Why, for each that is ``None``.
        left_out: Measures that nobody asked for and that do not suit this pair, and why.
        signatures: How each number was made.
        warnings: What would spoil the comparison, as kind, message and value.
        error: Why the pair could not be scored at all.
        trace: Where an unforeseen error came from.
    """

    pair: Pair
    sample_rate: int | None = None
    channels: int | None = None
    seconds: float | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    trace: str | None = None


@dataclass
class Signals:
    """The signals of a pair by role, alike in shape and rate, and what was done to make them so."""

    waves: dict[str, Tensor]
    sample_rate: int
    context: dict[str, str] = field(default_factory=dict)
    warnings: list[dict[str, Any]] = field(default_factory=list)


class Scorer:
    """Scores pairs one after the other; keeps the measures it has built.

    Raises:
        DeviceError: The device is not there.
        MissingExtraError: What reads audio files is not installed.
    """

    def __init__(self, recipe: Recipe) -> None:
        require("soundfile", extra="audio")
        if recipe.resample is not None:
            require("soxr", extra="audio")
        self.recipe = recipe
        self.device = _device(recipe.device)
        self._built: dict[int, dict[str, Measure | str]] = {}

    def score(self, pair: Pair) -> Scored:
        """Score one pair. What is wrong with it, or with one measure on it, is said in the result and not raised."""
        if pair.problem or pair.est is None:
            return Scored(pair=pair, error=pair.problem)
        try:
            signals = load(pair, self.recipe)
        except PerclossError as error:
            text, path = str(error), shown(pair.est)
            known = any(path is not None and text.startswith(shown(path)) for path in (pair.est, pair.ref, pair.mix))
            return Scored(pair=pair, error=text if known else f"{path}: {text}")
        except Exception as error:  # noqa: BLE001  what a decoder makes of a broken file costs this file only
            return Scored(pair=pair, error=f"{shown(pair.est)}: {_unforeseen(error)}", trace=traceback.format_exc())
        signals.waves = {role: wave.to(self.device) for role, wave in signals.waves.items()}
        est = signals.waves["est"]
        scored = Scored(
            pair=pair,
            sample_rate=signals.sample_rate,
            channels=est.shape[1],
            seconds=est.shape[-1] / signals.sample_rate,
            warnings=signals.warnings,
        )
        with shared():
            for name, measure in self._measures(signals.sample_rate).items():
                reason = measure if isinstance(measure, str) else _lacking(measure, signals.waves)
                if reason and self.recipe.measures is None:
                    scored.left_out[name] = reason
                elif isinstance(measure, str) or reason:
                    scored.scores[name], scored.reasons[name] = None, reason
                else:
                    self._take(measure, signals, scored)
        return scored

    def _measures(self, sample_rate: int) -> dict[str, "Measure | str"]:
        if sample_rate not in self._built:
            self._built[sample_rate] = {name: _fit(name, sample_rate, self.device) for name in self.recipe.names}
        return self._built[sample_rate]

    def _take(self, measure: Measure, signals: Signals, scored: Scored) -> None:
        name, waves = measure.spec.name, signals.waves
        needs = {need: waves[need] for need in measure.spec.needs}
        try:
            values = evaluate(waves["est"], waves.get("ref"), signals.sample_rate, [measure], **needs)[name][0]
            channels = [float(value) for value in values]
            value = sum(channels) / len(channels)
            if math.isfinite(value):
                scored.scores[name] = value
            else:
                scored.scores[name], scored.reasons[name] = None, _reason(measure, waves, channels)
            scored.signatures[name] = signature(measure, signals.sample_rate, **signals.context)
        except PerclossError as error:
            scored.scores[name], scored.reasons[name] = None, str(error).removeprefix(f"{name}: ")
        except Exception as error:  # noqa: BLE001  anybody's measure may raise anything; it costs this number only
            scored.scores[name], scored.reasons[name] = None, _unforeseen(error)
            scored.trace = traceback.format_exc()


def plan(recipe: Recipe, pairs: Sequence[Pair]) -> dict[str, str]:
    """What makes each number, before any is made: the package and its version, or why there will be none.

    Raises:
        UnknownMeasureError: A measure of no such name.
        ArgumentError: Measures were asked for and none of them can score any of the pairs.
    """
    roles = {role for pair in pairs for role in ("ref", "mix") if getattr(pair, role)}
    made_by: dict[str, str] = {}
    unfit: dict[str, str] = {}
    for name in recipe.names:
        if recipe.measures is not None:
            find(name)
        measure = _fit(name, None, torch.device("cpu"))
        if isinstance(measure, str):
            unfit[name] = measure
        elif lacking := _lacking(measure, roles):
            unfit[name] = lacking
        else:
            made_by[name] = signature(measure, getattr(measure, "sample_rate", ANY_RATE))
    if recipe.measures is not None and not made_by:
        why = " ".join(f"{name}: {reason}." for name, reason in unfit.items())
        raise ArgumentError(f"score: nothing can be scored. {why}")
    return {**made_by, **{name: f"none: {why}" for name, why in unfit.items()}}


def _lacking(measure: Measure, roles: Collection[str]) -> str:
    """What a measure is to be given and will not be, and the option that gives it."""
    if "ref" not in roles and not measure.spec.alone:
        return "needs the reference: --ref"
    return "needs the mixture: --mix" if "mix" in measure.spec.needs and "mix" not in roles else ""


def _fit(name: str, sample_rate: int | None, device: torch.device) -> "Measure | str":
    """A measure built for a rate, or for one that it surely has, or why it cannot be."""
    try:
        spec = find(name).spec
        rates = spec.sample_rates
        if spec.several or not NEEDS.issuperset(spec.needs):
            return f"takes {', '.join([spec.takes, *spec.needs])}, which no single file holds; use percloss.evaluate"
        if sample_rate is not None and rates is not None and sample_rate not in rates:
            return f"defined at {spec.rates()} Hz only, got {sample_rate}: --resample {max(rates)}"
        return create(name, sample_rate=sample_rate or max(rates or {ANY_RATE})).eval().to(device)
    except PerclossError as error:
        return str(error).removeprefix(f"{name}: ")
    except Exception as error:  # noqa: BLE001  an installed package may announce a measure that does not import
        return _unforeseen(error)


def load(pair: Pair, recipe: Recipe) -> Signals:
    """Read the files of a pair and see that they are alike, by what the recipe allows and nothing else."""
    audio = {role: read(path) for role, path in (("est", pair.est), ("ref", pair.ref), ("mix", pair.mix)) if path}
    waves = {role: one.wave for role, one in audio.items()}
    signals = Signals(waves, audio.get("ref", audio["est"]).sample_rate)

    channels = {role: wave.shape[1] for role, wave in waves.items()}
    if recipe.mono:
        if max(channels.values()) > 1:
            signals.context["ch"] = "mono"
        waves.update({role: wave.mean(1, keepdim=True) for role, wave in waves.items()})
    elif len(set(channels.values())) > 1:
        raise ShapeError(f"channels differ: {_listed(channels)}; needed is one number; type --mono to mix them down")
    elif channels["est"] > 1:
        signals.context["ch"] = "mean"

    rates = {role: one.sample_rate for role, one in audio.items()}
    if recipe.resample is None and len(set(rates.values())) > 1:
        raise SampleRateError(
            f"sample rates differ: {_listed(rates, ' Hz')}; needed is one rate; type --resample to bring all to that "
            f"of the reference, or --resample {min(rates.values())}"
        )
    if recipe.resample is not None:
        signals.sample_rate = signals.sample_rate if recipe.resample == "ref" else recipe.resample
        if set(rates.values()) != {signals.sample_rate}:
            signals.context["rs"] = RESAMPLER
        waves.update({role: resample_file(waves[role], rates[role], signals.sample_rate) for role in waves})

    lengths = {role: wave.shape[-1] for role, wave in waves.items()}
    shortest = min(lengths.values())
    if shortest == 0:
        raise ShapeError(
            f"nothing is left at {signals.sample_rate} Hz: {_listed(lengths, ' samples')}; give longer ones"
        )
    if max(lengths.values()) > shortest:
        if not recipe.trim:
            raise ShapeError(
                f"lengths differ: {_listed(lengths, ' samples')}; needed is one length; type --trim to cut all to the "
                f"shortest"
            )
        signals.context["len"] = "trimmed"
        waves.update({role: wave[..., :shortest] for role, wave in waves.items()})
        for role, length in lengths.items():
            if length - shortest > _LARGE_CUT * length:
                seconds = (length - shortest) / signals.sample_rate
                message = f"{role} was cut by {seconds:.2f} s, {1 - shortest / length:.0%} of it; is it the right file?"
                signals.warnings.append({"kind": "cut", "message": message, "value": seconds})

    for finding in screen(waves["est"], waves.get("ref"), signals.sample_rate):
        value = float(finding.value)
        known = value if math.isfinite(value) else None
        signals.warnings.append({"kind": finding.kind, "message": finding.message, "value": known})
    return signals


def _listed(values: dict[str, int], unit: str = "") -> str:
    return ", ".join(f"{role} {value}{unit}" for role, value in values.items())


def _reason(measure: Measure, waves: dict[str, Tensor], channels: list[float]) -> str:
    """Why a mean over channels is no number: what is wrong with the first channel that has none."""
    heard = {"est", *measure.spec.needs} if measure.spec.alone else {"est", "ref", *measure.spec.needs}
    given = {role: wave for role, wave in waves.items() if role in heard}
    if measure.spec.takes == "joint" or len(channels) == 1:
        return measure.reason(**given)
    broken = next((index for index, value in enumerate(channels) if not math.isfinite(value)), 0)
    one = {role: wave[:, broken : broken + 1] for role, wave in given.items()}
    return f"channel {broken + 1}: {measure.reason(**one)}"


def _unforeseen(error: Exception) -> str:
    text = " ".join(str(error).encode("utf-8", "backslashreplace").decode().split())
    return f"unforeseen {type(error).__name__}{': ' if text else ''}{text[:300]}; --debug says where"


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"score: got device {name!r}; torch sees no CUDA device here; type --device cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"score: got device {name!r}; needed is cpu, cuda or auto.") from error
