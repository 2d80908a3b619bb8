"""Partial pooling: how scores rise with a measure, in each system and over all, each borrowing from the others."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from percloss._optional import require
from percloss.errors import ArgumentError
from percloss.stats.correlation import FEWEST, undefined
from percloss.stats.levels import Stimuli
from percloss.stats.table import Estimate, Rated, joined, without

__all__ = ["Pooling", "partial_pooling"]


@dataclass(frozen=True)
class Pooling:
    """A slope over all systems and one of each, in standard deviations of the scores per one of the predictions.

    Args:
        slope: Of a system like these, with the interval of the normal law.
        per_system: Of each, drawn towards the common one the more, the less its own stimuli say.
        spread: Standard deviation of the slopes between systems.
        note: What the fit complained of.
    """

    slope: Estimate
    per_system: dict[str, float]
    spread: float
    note: str = ""


def partial_pooling(table: Rated, measure: str) -> Pooling:
    """Linear mixed model of the scores: one slope over all, and of each system its own intercept and slope.

    It lies between pooling all stimuli, which mixes up systems, and taking each system alone, which is noisy. Scores
    and predictions are brought to mean 0 and standard deviation 1 first. Needs ``pip install "percloss[stats]"``.

    Args:
        table: Of the listeners, and of the measures: higher = better; with systems.
        measure: One of them.

    Raises:
        ArgumentError: The table names no systems, or fewer than two.
        MissingExtraError: statsmodels is not installed.
    """
    data = Stimuli.of(table, measure)
    systems = data.table.system
    if systems is None or np.unique(systems).size < 2:
        raise ArgumentError("partial_pooling: got a table of fewer than two systems; needed is system=, a label each.")
    models = require("statsmodels.regression.mixed_linear_model", extra="stats")
    why = undefined(data.score, data.prediction)
    if why:
        return Pooling(without(data.score.size, joined(why, data.missing)), {}, math.nan, why)
    y, x = ((each - each.mean()) / each.std() for each in (data.score, data.prediction))
    design = np.column_stack([np.ones(x.size), x])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit: Any = models.MixedLM(y, design, groups=systems, exog_re=design).fit(method="powell")
    complaints = sorted({str(each.message).strip().split("\n")[0] for each in caught})
    low, high = np.asarray(fit.conf_int())[1]
    own = {str(name): float(fit.fe_params[1] + np.asarray(effect)[1]) for name, effect in fit.random_effects.items()}
    few = f"{len(own)} systems: too few to claim significance" if len(own) < FEWEST else ""
    slope = Estimate(float(fit.fe_params[1]), float(low), float(high), x.size, joined(few, data.missing))
    return Pooling(slope, own, math.sqrt(max(float(np.asarray(fit.cov_re)[1, 1]), 0.0)), joined(*complaints))
