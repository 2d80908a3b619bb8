"""Predictions brought to the listeners' scale by a curve that never falls, before errors are counted.

A measure may be right but in another unit, or saturate where listeners do not. The curve takes that away and
nothing else: it cannot turn an order round.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares, nnls

from percloss.errors import ArgumentError
from percloss.stats.correlation import plcc, undefined
from percloss.stats.p1401 import outlier_ratio, rmse, rmse_star
from percloss.stats.table import Estimate, both, joined, numbers, without
from percloss.uncertainty import Values

__all__ = ["Cubic", "Logistic", "Mapped", "mapped"]

# Of both curves.
_PARAMETERS = 4
# Places at which the slope of the cubic may touch 0.
_PLACES = 2001


@dataclass(frozen=True, eq=False)
class Cubic:
    """A third-order polynomial that does not fall between ``low`` and ``high``, and is held at its ends outside.

    Args:
        coefficients: Of 1, t, t**2 and t**3, where t goes from -1 at ``low`` to 1 at ``high``.
        low: Least prediction it was fitted to.
        high: Greatest one.
    """

    coefficients: Values
    low: float
    high: float

    def __call__(self, x: npt.ArrayLike) -> Values:
        """On the scale of the scores."""
        return np.asarray(np.polynomial.polynomial.polyval(_unit(x, self.low, self.high), self.coefficients))


@dataclass(frozen=True)
class Logistic:
    """A logistic curve, ``floor + rise / (1 + exp(-(t - centre) / width))``, held at its ends outside the data.

    Args:
        floor: Least score it can give.
        rise: From there to the greatest, not negative.
        centre: Of t, which goes from -1 at ``low`` to 1 at ``high``.
        width: Of t.
        low: Least prediction it was fitted to.
        high: Greatest one.
    """

    floor: float
    rise: float
    centre: float
    width: float
    low: float
    high: float

    def __call__(self, x: npt.ArrayLike) -> Values:
        """On the scale of the scores."""
        return self.floor + self.rise * _sigmoid(_unit(x, self.low, self.high), self.centre, self.width)


@dataclass(frozen=True, eq=False)
class Mapped:
    """A measure after its mapping.

    Args:
        kind: Of the curve.
        curve: From predictions to scores; ``None`` where nothing could be fitted.
        fitted: What the curve makes of each prediction; nan where there is none.
        plcc: Of the fitted with the scores.
        rmse: Of them, with four parameters fitted.
        rmse_star: The same without what listeners leave open; nan where the scores have no intervals.
        outlier_ratio: Part of the stimuli out of the listeners' interval.
    """

    kind: str
    curve: Callable[[Values], Values] | None
    fitted: Values
    plcc: Estimate
    rmse: Estimate
    rmse_star: Estimate
    outlier_ratio: Estimate


def mapped(
    score: npt.ArrayLike,
    prediction: npt.ArrayLike,
    *,
    kind: Literal["cubic", "logistic"] = "cubic",
    ci95: npt.ArrayLike | None = None,
) -> Mapped:
    r"""Fit the curve by least squares, and count errors as ITU-T P.1401 does.

    ``"cubic"`` is the third-order polynomial of P.1401, the best of those whose slope is nowhere negative between the
    least and the greatest prediction. Such a slope is a sum, with weights of 0 or more, of :math:`(t - t_0)^2` and
    :math:`1 - t^2` (Lukács), so the fit is one least-squares problem in weights that are not negative. ``"logistic"``
    has four parameters too. The figures are of the data that the curve was fitted to, and the intervals take the
    stimuli for independent: they show how good a measure can look, not how it would do on another test.

    Args:
        score: Of the listeners, one per stimulus; nan is left out.
        prediction: Of the measure, higher = better.
        kind: Of the curve.
        ci95: Half width of the interval of each score, for RMSE* and the outlier ratio.

    Example:
        >>> x = np.linspace(0, 1, 20)
        >>> mapped(1 + 4 * x**3, x).rmse.value < 1e-6
        True

    References:
        [itu2020p1401]_, 7.3.2 and appendix I.
    """
    if kind not in ("cubic", "logistic"):
        raise ArgumentError(f'mapped: got kind={kind!r}; needed is "cubic" or "logistic".')
    x, y, missing = both(score, prediction)
    everything, nan = numbers(prediction, "prediction"), np.full(np.size(score), math.nan)
    why = undefined(x, y) or (f"{x.size} stimuli: a curve of four parameters needs five" if x.size < 5 else "")
    if why:
        nothing = without(x.size, joined(why, missing))
        return Mapped(kind, None, nan, nothing, nothing, nothing, nothing)
    curve = _cubic(x, y) if kind == "cubic" else _logistic(x, y)
    fitted: Values = np.asarray(curve(everything))
    unknown = without(x.size, "the scores have no intervals")
    return Mapped(
        kind,
        curve,
        fitted,
        plcc(score, fitted),
        rmse(score, fitted, fitted_parameters=_PARAMETERS),
        unknown if ci95 is None else rmse_star(score, fitted, ci95, fitted_parameters=_PARAMETERS),
        unknown if ci95 is None else outlier_ratio(score, fitted, ci95),
    )


def _unit(x: npt.ArrayLike, low: float, high: float) -> Values:
    return np.asarray(2 * (np.clip(x, low, high) - low) / (high - low) - 1)


def _cubic(score: Values, prediction: Values) -> Cubic:
    low, high = float(prediction.min()), float(prediction.max())
    powers = np.polynomial.polynomial.polyvander(_unit(prediction, low, high), 3)
    # Integrals of (t - t0)**2 for each place, and of 1 - t**2; a constant may have either sign.
    place = np.linspace(-1, 1, _PLACES)
    rising = np.stack([np.zeros(_PLACES), place**2, -place, np.full(_PLACES, 1 / 3)])
    constant = np.array([1.0, 0, 0, 0])
    cone = np.column_stack([rising, [0, 1, 0, -1 / 3], constant, -constant])
    orthogonal, triangle = np.linalg.qr(powers)
    weights, _ = nnls(triangle @ cone, orthogonal.T @ score)
    return Cubic(cone @ weights, low, high)


def _logistic(score: Values, prediction: Values) -> Logistic:
    low, high = float(prediction.min()), float(prediction.max())
    t = _unit(prediction, low, high)

    def linear(shape: Values) -> tuple[float, float]:
        """Best floor and rise for a centre and the logarithm of a width."""
        s = _sigmoid(t, shape[0], math.exp(shape[1]))
        spread = float(((s - s.mean()) ** 2).sum())
        rise = max(0.0, float(((s - s.mean()) * score).sum()) / spread) if spread else 0.0
        return float(score.mean()) - rise * float(s.mean()), rise

    def error(shape: Values) -> Values:
        floor, rise = linear(shape)
        return np.asarray(floor + rise * _sigmoid(t, shape[0], math.exp(shape[1])) - score)

    # Beyond these it is a step between two stimuli, or an exponential.
    least, greatest = np.array([-3.0, math.log(0.02)]), np.array([3.0, math.log(3.0)])
    starts = [np.array([centre, math.log(width)]) for centre in (-0.8, -0.3, 0, 0.3, 0.8) for width in (0.1, 0.4, 1.5)]
    best = min((least_squares(error, start, bounds=(least, greatest)) for start in starts), key=lambda fit: fit.cost)
    floor, rise = linear(best.x)
    return Logistic(floor, rise, float(best.x[0]), math.exp(float(best.x[1])), low, high)


def _sigmoid(t: Values, centre: float, width: float) -> Values:
    return np.asarray(0.5 * (1 + np.tanh((t - centre) / (2 * width))))
