"""An interval must be honest of how sure a mean is: cover the truth as often as it says, say nothing of two items."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from percloss.uncertainty import Interval, mean_interval


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("draw", "mean"),
    [(lambda g: g.normal(3, 2, 20), 3.0), (lambda g: g.exponential(1, 30), 1.0)],
    ids=["normal", "skewed"],
)
def test_it_covers_the_mean_about_as_often_as_it_says(draw, mean: float) -> None:
    """Of 300 intervals of 90 %, 270 are expected; BCa is known to cover a little less in samples this small."""
    g = generator()
    intervals = [mean_interval(draw(g), confidence=0.9, n_resamples=500) for _ in range(300)]
    covered = sum(interval.low <= mean <= interval.high for interval in intervals)
    assert 245 <= covered <= 285


def test_of_many_items_it_is_the_interval_of_the_central_limit_theorem() -> None:
    values = generator().normal(10, 4, 2000)
    low, high = mean_interval(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(2000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_more_confidence_is_wider_and_more_items_are_narrower() -> None:
    values = generator().normal(0, 1, 400)
    width = [high - low for low, high in (mean_interval(values, confidence=c) for c in (0.8, 0.95, 0.99))]
    assert width[0] < width[1] < width[2]
    low, high = mean_interval(values[:40])
    assert high - low > 2 * width[1]


def test_it_leans_the_way_the_values_do_and_more_than_bare_percentiles() -> None:
    """The rare large value that a small sample has not seen lies to the right: BCa makes room for it."""
    values = generator().exponential(1, 30)
    low, high = mean_interval(values)
    means = generator(1).choice(values, (5000, 30)).mean(1)
    assert high - values.mean() > values.mean() - low
    assert low > np.quantile(means, 0.025) + 0.01
    assert high > np.quantile(means, 0.975) + 0.03


def test_the_same_values_give_the_same_interval_and_another_seed_nearly_the_same() -> None:
    values = generator().normal(0, 1, 50)
    assert mean_interval(values) == mean_interval(values)
    other = mean_interval(values, seed=1)
    assert other != mean_interval(values)
    assert other == pytest.approx(mean_interval(values), abs=0.05)


def test_it_does_not_touch_the_global_generator() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    mean_interval(generator().normal(0, 1, 10))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_nan_is_left_out() -> None:
    values = generator().normal(0, 1, 20)
    assert mean_interval(np.insert(values, [0, 5, 20], math.nan)) == mean_interval(values)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [1.0, math.nan, 2.0]])
def test_fewer_than_three_items_have_no_interval(values: list[float]) -> None:
    assert all(math.isnan(end) for end in mean_interval(np.array(values)))


def test_equal_items_leave_no_doubt() -> None:
    assert mean_interval(np.full(5, 2.5)) == Interval(2.5, 2.5)


@pytest.mark.parametrize("values", [[0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0 + 1e-12], [-140.0, 140.0, 140.0, 140.0]])
def test_nearly_equal_items_have_a_finite_interval_without_a_warning(values: list[float]) -> None:
    low, high = mean_interval(np.array(values))
    assert min(values) <= low <= np.mean(values) <= high <= max(values)


@pytest.mark.parametrize("draw", [lambda g: g.normal(3, 2, 12), lambda g: g.exponential(1, 40)])
def test_it_is_scipys_interval_but_for_the_draws(draw) -> None:
    """Both draw 20 000 times: the ends differ by what two seeds of one implementation differ by."""
    values = draw(generator())
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, random_state=generator(5)).confidence_interval
    ours = mean_interval(values, n_resamples=20_000)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.03 * (theirs.high - theirs.low))


def test_many_items_need_little_memory() -> None:
    tracemalloc.start()
    mean_interval(generator().normal(0, 1, 20_000), n_resamples=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
