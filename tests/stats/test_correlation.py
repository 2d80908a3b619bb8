"""One coefficient of independent stimuli: scipy's values, honest intervals, and a reason where there is none."""

import math

import numpy as np
import pytest
from scipy import stats

from percloss.errors import ArgumentError
from percloss.stats import fisher_z, krcc, plcc, plcc_interval, srcc, steiger, williams
from percloss.stats.kernels import columnwise, weighted

ORACLES = {"plcc": stats.pearsonr, "srcc": stats.spearmanr, "krcc": stats.kendalltau}
OURS = {"plcc": plcc, "srcc": srcc, "krcc": krcc}
each = pytest.mark.parametrize("kind", ORACLES)


def data(n: int = 40, seed: int = 0, *, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    x = g.normal(size=n)
    y = 0.6 * x + 0.8 * g.normal(size=n)
    return (np.round(x * 2), np.round(y * 2)) if ties else (x, y)


@each
@pytest.mark.parametrize("ties", [True, False], ids=["ties", "no ties"])
def test_the_value_is_scipys(kind: str, ties: bool) -> None:
    x, y = data(ties=ties)
    assert OURS[kind](x, y).value == pytest.approx(ORACLES[kind](x, y)[0], abs=1e-12)


def test_pearsons_interval_is_scipys() -> None:
    x, y = data()
    found, oracle = plcc(x, y), stats.pearsonr(x, y).confidence_interval()
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)


@each
def test_the_interval_holds_the_truth_about_as_often_as_it_says(kind: str) -> None:
    """Of 400 intervals of 95 %, 380 are expected, give or take 4.4."""
    truth = {"plcc": 0.6, "srcc": 6 / math.pi * math.asin(0.3), "krcc": 2 / math.pi * math.asin(0.6)}[kind]
    found = [OURS[kind](*data(30, seed, ties=False)) for seed in range(400)]
    held = sum(each.low <= truth <= each.high for each in found)
    assert 366 <= held <= 394


@each
def test_many_weightings_at_once_are_as_many_copies(kind: str) -> None:
    x, y = data(25)
    weights = np.random.default_rng(1).integers(0, 4, (20, 25)).astype(float)
    found = weighted(kind, x, y, weights)
    for row, value in zip(weights.astype(int), found, strict=True):
        assert value == pytest.approx(ORACLES[kind](np.repeat(x, row), np.repeat(y, row))[0], abs=1e-10)


def test_kendall_in_parts_is_kendall_at_once() -> None:
    """More stimuli than are compared at a time."""
    x, y = data(1500, ties=False)
    assert weighted("krcc", x, y, np.ones((1, 1500)))[0] == pytest.approx(stats.kendalltau(x, y)[0], abs=1e-10)


@each
def test_weights_that_leave_one_value_leave_no_correlation(kind: str) -> None:
    x, y = np.array([1e6, 1e6, 2e6, 3e6]), np.array([1.0, 2.0, 3.0, 4.0])
    assert math.isnan(weighted(kind, x, y, np.array([[1.0, 2.0, 0.0, 0.0]]))[0])


def test_columns_are_correlated_without_their_gaps() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 10, 3))
    x[2, 1] = math.nan
    oracle = stats.pearsonr(np.delete(x[:, 1], 2), np.delete(y[:, 1], 2))[0]
    assert columnwise(x, y)[1] == pytest.approx(oracle, abs=1e-12)


@each
def test_nan_is_left_out_and_said(kind: str) -> None:
    x, y = data()
    gaps = OURS[kind](np.insert(x, 3, math.nan), np.insert(y, [3], 1.0))
    assert gaps.value == OURS[kind](x, y).value
    assert gaps.n == 40
    assert gaps.note == "1 of the stimuli left out, having no value"


@each
@pytest.mark.parametrize(
    ("score", "prediction", "why"),
    [
        ([3.0, 3.0, 3.0, 3.0], [1.0, 2.0, 3.0, 4.0], "all scores are equal"),
        ([1.0, 2.0, 3.0, 4.0], [3.0, 3.0, 3.0, 3.0], "all predictions are equal"),
        ([1.0, 2.0], [3.0, 4.0], "2 stimuli: a correlation needs three"),
        ([], [], "0 stimuli: a correlation needs three"),
    ],
)
def test_what_has_no_correlation_says_why(kind: str, score: list, prediction: list, why: str) -> None:
    found = OURS[kind](score, prediction)
    assert math.isnan(found.value)
    assert found.note == why


@each
def test_three_stimuli_have_a_value_and_no_interval(kind: str) -> None:
    found = OURS[kind]([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert found.value == pytest.approx(ORACLES[kind]([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])[0])
    assert math.isnan(found.low)
    assert found.note == "no interval of 3"


@each
def test_a_perfect_correlation_claims_no_interval(kind: str) -> None:
    found = OURS[kind](np.arange(20), np.arange(20) * 2.0 + 1)
    assert found.value == pytest.approx(1)
    assert math.isnan(found.low)
    assert "perfect" in found.note


def test_a_correlation_read_somewhere_has_an_interval_too() -> None:
    published = plcc_interval(0.985, 5)
    assert (published.low, published.high) == pytest.approx((0.785, 0.999), abs=1e-3)
    with pytest.raises(ArgumentError, match="plcc_interval: got 1.2 of 5"):
        plcc_interval(1.2, 5)


@pytest.mark.parametrize(
    ("score", "prediction", "message"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0], "prediction: got 2 values for 3 scores"),
        ([1.0, math.inf, 3.0], [1.0, 2.0, 3.0], "score: got inf in row 1"),
        ([[1.0, 2.0]], [1.0, 2.0], r"score: got shape \(1, 2\)"),
        (["a", "b", "c"], [1.0, 2.0, 3.0], "score: got what are not numbers"),
    ],
)
def test_bad_columns_are_named(score: list, prediction: list, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        srcc(score, prediction)


@pytest.mark.parametrize(
    ("test", "arguments", "statistic", "p"),
    [
        # The documentation of psych's r.test; Steiger's own example of 1980, case A.
        (williams, (0.5, 0.4, 0.1, 103), 0.8913, 0.375),
        # Silver, Hittner and May's program (2006), as the tests of R's cocor have it.
        (williams, (0.3, 0.4, 0.5, 100), -1.0767, 0.2843),
        (steiger, (0.3, 0.4, 0.5, 100), -1.0718, 0.2838),
        (steiger, (0.4, 0.5, 0.1, 103), -0.8887, 0.3742),
        # stat-help.com's spreadsheet, as the tests of R's cocor have it.
        (fisher_z, (0.4, 100, 0.5, 100), -0.8751012342, 0.3815188256),
    ],
)
def test_tests_of_two_correlations_are_the_published_ones(test, arguments, statistic: float, p: float) -> None:
    found = test(*arguments)
    digits = 1e-9 if test is fisher_z else 6e-5
    assert found.statistic == pytest.approx(statistic, abs=digits)
    assert found.p == pytest.approx(p, abs=max(digits, 5e-4 if p == 0.375 else digits))


@pytest.mark.parametrize("test", [williams, steiger])
def test_the_order_of_the_measures_turns_the_sign_and_nothing_else(test) -> None:
    one, other = test(0.3, 0.4, 0.5, 100), test(0.4, 0.3, 0.5, 100)
    assert (one.statistic, one.p) == pytest.approx((-other.statistic, other.p))


@pytest.mark.parametrize("test", [williams, steiger])
def test_under_no_difference_it_rejects_one_in_twenty(test) -> None:
    """Of 1000 independent samples 50 are expected, give or take 7."""
    g = np.random.default_rng(0)
    rejected = 0
    for _ in range(1000):
        truth = g.normal(size=40)
        r = np.corrcoef([truth, *(0.6 * truth + 0.8 * g.normal(size=(2, 40)))])
        rejected += test(r[0, 1], r[0, 2], r[1, 2], 40).p < 0.05
    assert 30 <= rejected <= 70


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: williams(1.0, 0.4, 0.1, 100), "williams: got correlations 1.0, 0.4 and 0.1 of 100"),
        (lambda: steiger(0.5, 0.4, 0.1, 3), "steiger: got .* of 3"),
        (lambda: williams(0.9, -0.9, 0.9, 100), "which no three variables have"),
        (lambda: fisher_z(0.5, 3, 0.4, 100), "fisher_z: got 3 and 100 stimuli"),
        (lambda: fisher_z(0.5, 30, 1.0, 100), "fisher_z: got correlations 0.5, 1.0"),
    ],
)
def test_what_cannot_be_tested_is_named(call, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
