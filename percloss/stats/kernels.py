"""The three correlations of many weightings of the same items at once.

A resample that draws item ``i`` three times gives it the weight 3: nothing is copied or sorted again.
"""

import math

import numpy as np
import numpy.typing as npt

from percloss.stats.correlation import Kind
from percloss.uncertainty import Values

Places = npt.NDArray[np.intp]

# Below this part of what it is computed from, a variance is a rounding error.
_CONSTANT = 1e-12
_BLOCK = 1024


def weighted(kind: Kind, x: Values, y: Values, weights: Values) -> Values:
    """Correlation of ``x`` and ``y``, each ``(n,)``, under each row of ``weights`` ``(draws, n)``.

    Returns:
        One number per row; nan where the weights leave nothing that varies.
    """
    if kind == "krcc":
        return _kendall(x, y, weights)
    if kind == "srcc":
        return _pearson(_ranks(x, weights), _ranks(y, weights), weights)
    return _pearson(x - x.mean(), y - y.mean(), weights)


def columnwise(x: Values, y: Values) -> Values:
    """Pearson's correlation of each column of ``x`` with the same of ``y``; nan pairs are left out."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(known, x, 0.0), np.where(known, y, 0.0)
    return _pearson(x.T, y.T, known.T.astype(np.float64))


def _pearson(x: Values, y: Values, weights: Values) -> Values:
    total = weights.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = (weights * x).sum(1) / total, (weights * y).sum(1) / total
        x, y = x - mean_x[:, None], y - mean_y[:, None]
        xx, yy, xy = ((weights * product).sum(1) / total for product in (x * x, y * y, x * y))
        varies = (xx > _CONSTANT * mean_x**2) & (yy > _CONSTANT * mean_y**2) & (xx > 0) & (yy > 0)
        return np.where(varies, np.clip(xy / np.sqrt(xx * yy), -1, 1), math.nan)


def _ties(x: Values) -> tuple[Places, Places, Places]:
    """Order of the values, where each run of equal ones starts, and which run each item is of."""
    order = np.argsort(x, kind="stable")
    new = np.concatenate([[True], np.diff(x[order]) != 0])
    run = np.empty(x.size, dtype=np.intp)
    run[order] = np.cumsum(new) - 1
    return order, np.flatnonzero(new), run


def _ranks(x: Values, weights: Values) -> Values:
    order, starts, run = _ties(x)
    in_run = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = (np.cumsum(in_run, axis=1) - in_run / 2)[:, run]
    return np.asarray(ranks - weights.sum(1)[:, None] / 2)


def _kendall(x: Values, y: Values, weights: Values) -> Values:
    concordance = np.zeros(len(weights))
    for start in range(0, x.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        signs = np.sign(x[:, None] - x[part]) * np.sign(y[:, None] - y[part])
        concordance += ((weights @ signs) * weights[:, part]).sum(1)
    square = weights.sum(1) ** 2
    untied = [
        square - (np.add.reduceat(weights[:, order], starts, axis=1) ** 2).sum(1)
        for order, starts, _ in (_ties(x), _ties(y))
    ]
    product = untied[0] * untied[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(product > 0, np.clip(concordance / np.sqrt(product), -1, 1), math.nan)
