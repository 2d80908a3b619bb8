"""Curves that never fall, and errors counted as ITU-T P.1401 counts them."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import f as fisher

from percloss.errors import ArgumentError
from percloss.stats import mapped, mean_opinion, outlier_ratio, outlier_test, plcc, rmse, rmse_star, rmse_test
from tests.stats.support import gensvs

KINDS = ("cubic", "logistic")
both = pytest.mark.parametrize("kind", KINDS)


def saturating(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    x = g.uniform(-10, 20, n)
    return 1 + 4 / (1 + np.exp(-x / 3)) + 0.2 * g.normal(size=n), x


@both
@pytest.mark.parametrize("shape", [np.sin, lambda t: -t, lambda t: t**3 - t, np.exp], ids=["wave", "fall", "s", "rise"])
def test_no_curve_falls(kind: str, shape) -> None:
    x = np.linspace(-3, 3, 60)
    curve = mapped(shape(x) + 0.1 * np.random.default_rng(0).normal(size=60), x, kind=kind).curve
    assert np.diff(curve(np.linspace(-5, 5, 4001))).min() >= -1e-9


def test_where_the_best_cubic_rises_it_is_the_best_cubic() -> None:
    score, x = saturating()
    x = np.clip(x, -6, 6) + 0.1 * x
    free = np.polynomial.Polynomial.fit(x, score, 3)
    assert (free.deriv()(np.linspace(x.min(), x.max(), 999)) > 0).all()
    assert mapped(score, x).fitted == pytest.approx(free(x), abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_where_it_does_not_no_rising_cubic_is_better(seed: int) -> None:
    """Held against a general optimiser with the slope bounded at 200 places."""
    g = np.random.default_rng(seed)
    t = np.sort(np.append(g.uniform(-1, 1, 38), [-1.0, 1.0]))
    score = np.sin(4 * t + seed) + 0.2 * g.normal(size=40)
    powers, grid = np.vander(t, 4, increasing=True), np.linspace(-1, 1, 200)
    slope = np.stack([0 * grid, 1 + 0 * grid, 2 * grid, 3 * grid**2], 1)
    oracle = minimize(
        lambda c: ((powers @ c - score) ** 2).sum(),
        [score.mean(), 0.1, 0, 0],
        jac=lambda c: 2 * powers.T @ (powers @ c - score),
        constraints={"type": "ineq", "fun": lambda c: slope @ c, "jac": lambda c: slope},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    ours = ((mapped(score, t).fitted - score) ** 2).sum()
    assert ours == pytest.approx(oracle.fun, rel=1e-3)


def test_the_logistic_finds_the_logistic() -> None:
    x = np.linspace(-10, 20, 50)
    score = 1 + 4 / (1 + np.exp(-(x - 3) / 2))
    found = mapped(score, x, kind="logistic")
    assert found.rmse.value < 1e-5
    assert (found.curve.floor, found.curve.rise) == pytest.approx((1, 4), abs=1e-3)


@both
def test_the_unit_of_the_prediction_does_not_matter(kind: str) -> None:
    score, x = saturating()
    one, other = mapped(score, x, kind=kind), mapped(score, 1e-3 * x + 40, kind=kind)
    assert other.fitted == pytest.approx(one.fitted, abs=1e-4)


@both
def test_beyond_the_data_the_curve_is_held(kind: str) -> None:
    score, x = saturating()
    curve = mapped(score, x, kind=kind).curve
    assert curve(np.array([x.max() + 100])) == curve(np.array([x.max()]))
    assert curve(np.array([x.min() - 100])) == curve(np.array([x.min()]))


@both
def test_a_measure_that_only_falls_is_left_with_nothing(kind: str) -> None:
    x = np.linspace(0, 1, 30)
    found = mapped(5 - 4 * x, x, kind=kind)
    assert np.ptp(found.fitted) < 1e-6
    assert found.rmse.value == pytest.approx(np.sqrt(((5 - 4 * x - 3) ** 2).sum() / 26), rel=1e-6)


@both
def test_gaps_keep_their_places(kind: str) -> None:
    score, x = saturating()
    gaps = x.copy()
    gaps[4] = math.nan
    found = mapped(score, gaps, kind=kind, ci95=np.full(80, 0.3))
    assert math.isnan(found.fitted[4])
    assert found.plcc.value == plcc(np.delete(score, 4), np.delete(found.fitted, 4)).value
    assert found.rmse.n == found.outlier_ratio.n == 79
    assert "1 of the stimuli left out" in found.rmse.note


@pytest.mark.parametrize(
    ("score", "prediction", "why"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0], "4 stimuli: a curve of four parameters needs five"),
        ([3.0] * 9, np.arange(9.0), "all scores are equal"),
        (np.arange(9.0), [3.0] * 9, "all predictions are equal"),
    ],
)
def test_what_cannot_be_mapped_says_why(score, prediction, why: str) -> None:
    found = mapped(score, prediction)
    assert found.curve is None
    assert math.isnan(found.rmse.value)
    assert found.plcc.note == why


def test_without_intervals_there_is_no_star_and_no_outlier() -> None:
    found = mapped(*saturating())
    assert found.rmse_star.note == found.outlier_ratio.note == "the scores have no intervals"


def test_an_unknown_curve_is_named() -> None:
    with pytest.raises(Exception, match="mapped: got kind='spline'|Type-check"):  # beartype may be first
        mapped(*saturating(), kind="spline")


def test_a_worked_example_of_p1401() -> None:
    """Six conditions, errors .5 .1 .3 .2 .8 0 against half widths .2 .2 .3 .1 .3 .1, four parameters fitted.

    Beyond the listeners' doubt lie .3, 0, 0, .1, .5 and 0; three of six are outliers.
    """
    score = np.array([1.5, 2.0, 2.5, 3.0, 4.0, 4.5])
    fitted = score + np.array([0.5, -0.1, 0.3, -0.2, 0.8, 0.0])
    ci95 = np.array([0.2, 0.2, 0.3 + 1e-12, 0.1, 0.3, 0.1])
    assert rmse(score, fitted, fitted_parameters=4).value == pytest.approx(math.sqrt(1.03 / 2))
    assert rmse_star(score, fitted, ci95, fitted_parameters=4).value == pytest.approx(math.sqrt(0.35 / 2))
    assert rmse(score, fitted).value == pytest.approx(math.sqrt(1.03 / 5))
    assert outlier_ratio(score, fitted, ci95).value == 0.5


def test_the_confidence_of_a_mean_opinion_is_students() -> None:
    """Ratings 2, 3 and 4: t of two degrees of freedom is 4.3027, and s = 1."""
    opinion = mean_opinion([[2.0, 3.0, 4.0], [5.0, math.nan, math.nan], [math.nan] * 3])
    assert opinion.score[:2] == pytest.approx([3, 5])
    assert opinion.ci95[0] == pytest.approx(4.30265 / math.sqrt(3), abs=1e-5)
    assert np.isnan(opinion.ci95[1:]).all()
    assert math.isnan(opinion.score[2])
    assert list(opinion.n) == [3, 1, 0]


def test_the_interval_of_an_error_holds_the_truth_about_as_often_as_it_says() -> None:
    g, held = np.random.default_rng(0), 0
    for _ in range(300):
        found = rmse(np.zeros(20), 0.7 * g.normal(size=20), fitted_parameters=0)
        held += found.low <= 0.7 <= found.high
    assert 273 <= held <= 296


def test_two_errors_are_compared_by_their_squares() -> None:
    found = rmse_test(0.8, 54, 0.6, 54, fitted_parameters=4)
    assert found.statistic == pytest.approx(16 / 9)
    assert found.p == pytest.approx(2 * fisher.sf(16 / 9, 50, 50))
    assert rmse_test(0.6, 54, 0.8, 54, fitted_parameters=4).p == pytest.approx(found.p)
    with pytest.raises(ArgumentError, match="rmse_test: got 0.0 of 54"):
        rmse_test(0.0, 54, 0.8, 54)


def test_two_outlier_ratios_are_compared_by_the_normal_law() -> None:
    """.5 of 100 against .4 of 100: .1 over the root of .45 * .55 * .02."""
    assert outlier_test(0.5, 100, 0.4, 100).statistic == pytest.approx(0.1 / math.sqrt(0.45 * 0.55 * 0.02))
    assert outlier_test(0.0, 100, 0.0, 50).p == 1
    with pytest.raises(ArgumentError, match="outlier_test: got 1.5 of 10"):
        outlier_test(1.5, 10, 0.4, 10)


def test_errors_need_as_many_of_each() -> None:
    with pytest.raises(ArgumentError, match="error: got columns of 2, 3, 2 values"):
        rmse([1.0, 2.0], [1.0, 2.0, 3.0])
    assert rmse([1.0, 2.0], [1.0, 2.5], fitted_parameters=4).note == "2 stimuli: more than 4 are needed"
    assert math.isnan(outlier_ratio([1.0], [1.0], [math.nan]).value)


@pytest.mark.parametrize(
    ("measure", "figures"),
    [
        ("SDR", (0.351, 0.872, 0.549, 0.568)),
        ("MRSTFT", (0.676, 0.686, 0.365, 0.464)),
        ("CLAP-music", (0.750, 0.616, 0.308, 0.384)),
    ],
)
def test_separated_singing_after_the_mapping(data_root: Path, measure: str, figures: tuple[float, ...]) -> None:
    table, _ = gensvs(data_root)
    found = mapped(table.score, table.prediction(measure), ci95=table.ci95)
    ours = [each.value for each in (found.plcc, found.rmse, found.rmse_star, found.outlier_ratio)]
    assert ours == pytest.approx(figures, abs=0.001)
