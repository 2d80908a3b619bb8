"""A second look at pairs that were scored: where their error is heard, and how much of it the interferer explains."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from percloss.errors import PerclossError
from percloss.evaluation import evaluate, signature
from percloss.report.audible import Spot, audible
from percloss.report.verdicts import LEAKAGE, SCALES
from percloss.scoring.engine import Recipe, Scored, load
from percloss.scoring.pairing import Pair, pair_up

__all__ = ["Interferers", "Look", "look", "paired_files", "taken", "with_diagnostics"]

Interferers = dict[tuple[str, str], str]
"""Path by system and name of an item."""


class Look(NamedTuple):
    """Where the error of one pair is worst, what share of time and frequency it is heard in, and its peak [dB]."""

    worst: Spot
    share: float
    peak_db: float


def with_diagnostics(asked: Recipe) -> Recipe:
    """The recipe, with all diagnostics; leakage is taken later, where there is an interferer."""
    wanted = dict.fromkeys([*asked.names, *SCALES])
    return replace(asked, measures=tuple(name for name in wanted if name != LEAKAGE))


def taken(results: Sequence[Scored], asked: Recipe) -> Recipe:
    """The recipe of what was taken of some pair or was named, once all is scored.

    What nobody named and what does not suit a pair goes from its ``reasons`` to ``left_out``, as where measures are
    not named at all.
    """
    named = {LEAKAGE, *(asked.measures or ())}
    for scored in results:
        for name in set(scored.reasons) - named - set(scored.signatures):
            del scored.scores[name]
            scored.left_out[name] = scored.reasons.pop(name)
    tried = {name for scored in results for name in scored.scores}
    wanted = dict.fromkeys([*asked.names, *SCALES])
    return replace(asked, measures=tuple(name for name in wanted if name in tried or name in (asked.measures or ())))


def paired_files(
    est: Sequence[str], ref: str, mix: str | None, interferer: str | None
) -> tuple[list[Pair], Interferers]:
    """Pairs as ``percloss score`` makes them, and the interferer of each, found as a mixture would be.

    Where one file is the reference of all, each estimate is a system, and the one item is named after the reference.

    Raises:
        PairingError: Something is not there, or nothing pairs at all.
    """
    pairs = pair_up(est, ref, mix)
    beside = pairs if interferer is None else pair_up(est, ref, interferer)
    if not Path(ref).is_dir():
        pairs, beside = ([replace(pair, name=Path(ref).stem) for pair in some] for some in (pairs, beside))
    if interferer is None:
        return pairs, {}
    return pairs, {(pair.system, pair.name): pair.mix for pair in beside if pair.mix is not None}


def look(scored: Scored, recipe: Recipe, interferer: str | None) -> Look:
    """Find where the error of a scored pair is heard; with an interferer, its leakage is put among the scores.

    Raises:
        PerclossError: A file has gone or changed since it was scored.
    """
    signals = load(scored.pair, recipe)
    est, ref = (signals.waves[role].nan_to_num(0, 0, 0) for role in ("est", "ref"))
    if interferer is not None:
        _take_leakage(scored, recipe, interferer)
    found = audible(est, ref, signals.sample_rate)
    return Look(found.worst, found.share, float(found.excess.max()))


def _take_leakage(scored: Scored, recipe: Recipe, interferer: str) -> None:
    """The interferer is made alike as a mixture of the same pair would be."""
    measure = SCALES[LEAKAGE].diagnostic()
    try:
        signals = load(replace(scored.pair, mix=interferer), recipe)
        waves, rate = signals.waves, signals.sample_rate
        given = {"interferer": waves["mix"]}
        value = float(evaluate(waves["est"], waves["ref"], rate, [measure], **given)[LEAKAGE].mean())
        if math.isnan(value):
            scored.scores[LEAKAGE], scored.reasons[LEAKAGE] = None, measure.reason(waves["est"], waves["ref"], **given)
        else:
            scored.scores[LEAKAGE] = value
        scored.signatures[LEAKAGE] = signature(measure, rate, **signals.context)
    except PerclossError as error:
        scored.scores[LEAKAGE], scored.reasons[LEAKAGE] = None, str(error).removeprefix(f"{LEAKAGE}: ")
