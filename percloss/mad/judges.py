"""Who judges a pair: measures that took no part in it; and which of two measures leaves them more to say."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from percloss.dsp.resample import resample
from percloss.errors import MissingExtraError
from percloss.mad.pair import Pair, Progress, mad, mean
from percloss.measure import Measure, catalogue, create, find

JUDGES = ("pesq_wb", "two_f", "stoi")
"""Who judges if nobody else is asked. Where the package of PESQ is missing, ``pesq_like`` takes its place."""

# Measures of one model, none of which judges what another of them took part in.
_KIN = (
    frozenset({"pesq_wb", "pesq_nb", "pesq_like", "pesq_like_disturbance", "pmsqe"}),
    frozenset({"two_f", "two_f_distance", "nmr_total"}),
    frozenset({"stoi", "estoi"}),
    frozenset({"visqol_audio", "visqol_speech"}),
)
_KIN_PREFIX = {"peaq_": "two_f"}
_SUBSTITUTES = {"pesq_wb": "pesq_like"}


class Judged(NamedTuple):
    """What measures that took no part say of a pair.

    Args:
        scores: Of each judge, of ``start``, ``lowest`` and ``highest``; nan where it has no value.
        left_out: Judges that were asked and do not judge, and why.
    """

    scores: Mapping[str, Mapping[str, float]]
    left_out: Mapping[str, str]

    @property
    def spread(self) -> dict[str, float]:
        """How far each sets the two versions apart, 0 and above."""
        return {name: abs(score["highest"] - score["lowest"]) for name, score in self.scores.items()}


class Score(NamedTuple):
    """Which of two measures says more of what others hear.

    Args:
        a: Pair with the first measure held, the second driven.
        b: Pair with the second held, the first driven.
        judged_a: What the judges say of the first pair.
        judged_b: What they say of the second.
        difference: Of each judge, how much further it sets the first pair apart than the second. Above 0, the first
            measure leaves more open than the second: the second says more of what this judge hears.
    """

    a: Pair
    b: Pair
    judged_a: Judged
    judged_b: Judged
    difference: Mapping[str, float]


def mad_score(
    ref: Tensor,
    sample_rate: int,
    a: str | Measure,
    b: str | Measure,
    *,
    level: float = 15.0,
    judges: Sequence[str] = JUDGES,
    steps: int = 150,
    rate: float = 0.05,
    seed: int = 0,
    progress: Progress | None = None,
) -> Score:
    """Hold each of two measures while the other is driven, and see which leaves the judges less to say.

    The second is held at its value for the white noise at which the first has its level, so that both pairs are
    versions as bad as that noise.

    Args:
        ref: The reference, (1, channels, time).
        sample_rate: Its rate [Hz].
        a: A measure that has a gradient, by name or built for this rate.
        b: Another.
        level: Of the first.
        judges: Names of the catalogue; those of a kin with either measure are left out.
        steps: For each side of each pair.
        rate: Of the first step, relative to the error's standard deviation; the last is near 0.
        seed: Of the noise that is set out from.
        progress: Called after each step.

    Raises:
        ArgumentError: As :func:`mad`.
        DTypeError: A reference that is neither float32 nor float64.
        ShapeError: Another shape.
    """
    how: dict[str, Any] = {"steps": steps, "rate": rate, "seed": seed, "progress": progress}
    first = mad(ref, sample_rate, fixed=a, level=level, synth=b, **how)
    second = mad(ref, sample_rate, fixed=b, level=first.values["start"][first.synth], synth=a, **how)
    judged = judge(first, judges), judge(second, judges)
    spreads = [each.spread for each in judged]
    return Score(first, second, *judged, {name: spreads[0][name] - spreads[1][name] for name in spreads[0]})


def judge(pair: Pair, judges: Sequence[str] = JUDGES) -> Judged:
    """Score a pair by measures that took no part in it, each at a rate that it is defined at.

    Args:
        pair: The pair.
        judges: Names of the catalogue. One that is held or driven, or of the same model, does not judge.
    """
    known, involved = catalogue(), {pair.fixed, pair.synth}
    scores: dict[str, dict[str, float]] = {}
    left_out: dict[str, str] = {}
    for asked in judges:
        name = asked
        if name not in known:
            left_out[asked] = "no measure of the catalogue"
            continue
        try:
            measure, rate = _at_home(name, pair.sample_rate)
        except MissingExtraError as error:
            if name not in _SUBSTITUTES:
                left_out[asked] = str(error)
                continue
            left_out[asked] = f"{error} {_SUBSTITUTES[name]} judges in its place."
            name = _SUBSTITUTES[name]
            measure, rate = _at_home(name, pair.sample_rate)
        if any(_akin(name, other) for other in involved):
            left_out[asked] = "took part, or is of the same model"
        elif measure.spec.needs or measure.spec.takes not in ("pair", "joint"):
            left_out[asked] = "takes more than an estimate and its reference"
        else:
            ref, *ests = (resample(wave, pair.sample_rate, rate) for wave in (pair.ref, *pair.waves.values()))
            with torch.inference_mode():
                scores[name] = {side: mean(measure(est, ref)) for side, est in zip(pair.waves, ests, strict=True)}
    return Judged(scores, left_out)


def _at_home(name: str, sample_rate: int) -> tuple[Measure, int]:
    """A measure at this rate, or else at the next higher one that it is defined at."""
    rates = find(name).spec.sample_rates
    rate = sample_rate
    if rates is not None and sample_rate not in rates:
        rate = min((known for known in rates if known > sample_rate), default=max(rates))
    return create(name, sample_rate=rate), rate


def _akin(name: str, other: str) -> bool:
    a, b = (next((kin for start, kin in _KIN_PREFIX.items() if one.startswith(start)), one) for one in (name, other))
    return a == b or any({a, b} <= kin for kin in _KIN)
