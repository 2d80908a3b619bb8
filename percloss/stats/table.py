"""What listeners said of each stimulus beside what measures say of it: the one table that everything here reads."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from percloss.errors import ArgumentError
from percloss.uncertainty import Labels, Values

__all__ = ["Estimate", "Opinion", "Rated", "mean_opinion"]


@dataclass(frozen=True)
class Estimate:
    """A number, how sure it is, and what must be known to read it.

    Args:
        value: nan where it cannot be had; ``note`` says why.
        low: End of its 95 % interval, nan where there is none.
        high: The other end.
        n: How many stimuli, systems or contents it is of.
        note: A sentence, or nothing.
    """

    value: float
    low: float
    high: float
    n: int
    note: str = ""


def without(n: int, why: str) -> Estimate:
    """No number, and why."""
    return Estimate(math.nan, math.nan, math.nan, n, why)


@dataclass(frozen=True, eq=False)
class Opinion:
    """Mean of the listeners for each stimulus, its 95 % half width, and how many rated it."""

    score: Values
    ci95: Values
    n: npt.NDArray[np.int64]


def mean_opinion(ratings: npt.ArrayLike) -> Opinion:
    r"""Mean opinion score and its confidence, :math:`t_{0.975, M-1}\, s / \sqrt{M}` of ``M`` ratings.

    Args:
        ratings: ``(stimuli, listeners)``; nan where one did not rate.

    Returns:
        nan where nobody rated, and a nan half width where fewer than two did.

    References:
        [itu2020p1401]_, appendix III.
    """
    table = ratings_of(ratings)
    n = np.isfinite(table).sum(1)
    some, more = np.maximum(n, 1), np.maximum(n, 2)
    mean = np.where(n > 0, np.nansum(table, 1) / some, math.nan)
    variance = np.nansum((table - mean[:, None]) ** 2, 1) / (more - 1)
    half = stats.t.ppf(0.975, more - 1) * np.sqrt(variance / more)
    return Opinion(mean, np.where(n > 1, half, math.nan), n)


@dataclass(frozen=True, eq=False, init=False)
class Rated:
    """Stimuli in rows: the listeners' score, the measures' predictions, and what each stimulus is.

    Every prediction is **higher = better**: whoever makes the table turns the sign of a measure whose
    ``Spec.better`` is ``"lower"``. Nothing here guesses one. nan stands for no value: such a stimulus is left out
    where the value is needed, and counted in the note of the result.

    Args:
        score: One per stimulus: the mean over listeners, on any scale on which higher is better.
        predictions: One per stimulus, by name of the measure.
        system: Which system made it: a label per stimulus.
        content: What it is made of, such as the song or the sentence: stimuli are independent between contents only,
            and whole contents are resampled.
        ratings: ``(stimuli, listeners)``, nan where one did not rate. Columns are listeners; where each stimulus has
            a panel of its own they may be the places in it.
        listeners: Names of the columns.
        ci95: Half width of the interval of each score.
        name: Of the set.

    Example:
        >>> table = Rated([1.0, 2.0, 4.0], {"sdr": [3.0, 5.0, 9.0]}, system=["a", "b", "c"])
        >>> len(table), list(table.predictions)
        (3, ['sdr'])

    Raises:
        ArgumentError: Columns of different lengths, an infinite value or a missing label; the row is named.
    """

    score: Values
    predictions: Mapping[str, Values]
    system: Labels | None
    content: Labels | None
    ratings: Values | None
    listeners: tuple[str, ...] | None
    ci95: Values | None
    name: str

    def __init__(
        self,
        score: npt.ArrayLike,
        predictions: Mapping[str, npt.ArrayLike],
        *,
        system: Iterable[Any] | None = None,
        content: Iterable[Any] | None = None,
        ratings: npt.ArrayLike | None = None,
        listeners: Iterable[str] | None = None,
        ci95: npt.ArrayLike | None = None,
        name: str = "",
    ) -> None:
        scores = numbers(score, "score")
        n = scores.size
        opinions = None if ratings is None else _ratings_of(ratings, n)
        columns = {
            "score": scores,
            "predictions": {key: _column(values, key, n) for key, values in predictions.items()},
            "system": None if system is None else _labels(system, "system", n),
            "content": None if content is None else _labels(content, "content", n),
            "ratings": opinions,
            "listeners": None if opinions is None else _names(listeners, opinions.shape[1]),
            "ci95": None if ci95 is None else _column(ci95, "ci95", n),
            "name": name,
        }
        for field, value in columns.items():
            object.__setattr__(self, field, value)

    @classmethod
    def from_ratings(cls, ratings: npt.ArrayLike, predictions: Mapping[str, npt.ArrayLike], **columns: Any) -> "Rated":
        """The table whose scores and intervals are :func:`mean_opinion` of the ratings.

        Args:
            ratings: As of the table.
            predictions: As of the table.
            columns: Any other column of the table.
        """
        opinion = mean_opinion(ratings)
        return cls(opinion.score, predictions, ratings=ratings, ci95=opinion.ci95, **columns)

    def __len__(self) -> int:
        return self.score.size

    def prediction(self, measure: str) -> Values:
        """Of one measure.

        Raises:
            ArgumentError: There is none of that name; the names there are stand in the message.
        """
        if measure not in self.predictions:
            raise ArgumentError(
                f"{self.name or 'table'}: got {measure!r}; needed is a measure it has predictions of: "
                f"{', '.join(self.predictions) or 'none'}."
            )
        return self.predictions[measure]

    def where(self, rows: npt.ArrayLike) -> "Rated":
        """Some of the stimuli, such as all but references and anchors."""
        chosen = np.asarray(rows)
        if chosen.dtype != np.bool_ or chosen.shape != self.score.shape:
            raise ArgumentError(
                f"where: got {chosen.dtype} of shape {chosen.shape}; needed is True or False for each of "
                f"{len(self)} rows."
            )
        return self.ordered(np.flatnonzero(chosen))

    def ordered(self, rows: npt.NDArray[np.intp]) -> "Rated":
        """The stimuli of these numbers, in this order."""
        columns: dict[str, Any] = {
            name: None if (values := getattr(self, name)) is None else values[rows]
            for name in ("score", "system", "content", "ratings", "ci95")
        }
        return replace(self, predictions={name: values[rows] for name, values in self.predictions.items()}, **columns)

    def with_predictions(self, predictions: Mapping[str, npt.ArrayLike]) -> "Rated":
        """The same stimuli with more measures; one of a name that is there takes its place."""
        more = {name: _column(values, name, len(self)) for name, values in predictions.items()}
        return replace(self, predictions={**self.predictions, **more})


def numbers(values: Any, name: str) -> Values:
    """One finite number or nan per item, as an array of its own.

    Raises:
        ArgumentError: Not one axis, not numbers, or an infinite one; the row is named.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"{name}: got what are not numbers ({error}); needed is one number per stimulus."
        ) from error
    if array.ndim != 1:
        raise ArgumentError(f"{name}: got shape {array.shape}; needed is one number per stimulus.")
    if np.isinf(array).any():
        row = int(np.flatnonzero(np.isinf(array))[0])
        raise ArgumentError(
            f"{name}: got {array[row]} in row {row}; needed is a finite number: put the cap of the measure there, "
            f"or nan where it has no value."
        )
    return array


def both(score: Any, prediction: Any) -> tuple[Values, Values, str]:
    """Scores and predictions of the stimuli that have both, and what is to say of the others."""
    x, y = numbers(score, "score"), numbers(prediction, "prediction")
    if x.shape != y.shape:
        raise ArgumentError(f"prediction: got {y.size} values for {x.size} scores; needed is one for each.")
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known], left_out(int((~known).sum()))


def left_out(missing: int) -> str:
    """A note that so many stimuli have no value, where some have none."""
    return f"{missing} of the stimuli left out, having no value" if missing else ""


def joined(*notes: str) -> str:
    """Several notes as one."""
    return "; ".join(note for note in notes if note)


def ratings_of(ratings: Any) -> Values:
    array = np.array(ratings, dtype=np.float64)
    if array.ndim != 2:
        raise ArgumentError(f"ratings: got shape {array.shape}; needed is (stimuli, listeners), nan where not rated.")
    if np.isinf(array).any():
        row, column = (int(axis[0]) for axis in np.nonzero(np.isinf(array)))
        raise ArgumentError(f"ratings: got an infinite one in row {row}, column {column}; needed is a number or nan.")
    return array


def _labels(labels: Iterable[Any], name: str, size: int) -> Labels:
    values = list(labels)
    if len(values) != size:
        raise ArgumentError(f"{name}: got {len(values)} labels for {size} scores; needed is one for each.")
    for row, value in enumerate(values):
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            raise ArgumentError(f"{name}: got no label in row {row}; needed is one for each row, or none at all.")
    return np.array([str(value) for value in values], dtype=np.str_)


def _column(values: npt.ArrayLike, name: str, size: int) -> Values:
    column = numbers(values, name)
    if column.size != size:
        raise ArgumentError(f"{name}: got {column.size} values for {size} scores; needed is one for each.")
    return column


def _ratings_of(ratings: npt.ArrayLike, size: int) -> Values:
    array = ratings_of(ratings)
    if len(array) != size:
        raise ArgumentError(f"ratings: got {len(array)} rows for {size} scores; needed is one for each.")
    return array


def _names(listeners: Iterable[str] | None, size: int) -> tuple[str, ...]:
    names = tuple(map(str, range(size) if listeners is None else listeners))
    if len(names) != size:
        raise ArgumentError(f"listeners: got {len(names)} names for {size} columns of ratings; needed is one for each.")
    return names
