"""Intervals and tests must be honest: cover the truth, find nothing as often as they say, say nothing of two items."""

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from percloss.errors import ArgumentError
from percloss.uncertainty import Interval, fewest, holm, mean_interval, paired


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


def test_the_order_of_the_items_does_not_matter() -> None:
    """Processes gather items by rank."""
    values, groups = generator().normal(0, 1, 60), np.repeat(np.arange(20), 3)
    other = generator(1).permutation(60)
    assert mean_interval(values[other]) == mean_interval(values)
    assert mean_interval(values[other], groups=groups[other]) == mean_interval(values, groups=groups)
    assert mean_interval(values, groups=groups.astype(str)) == mean_interval(values, groups=groups)
    more = values + generator(2).normal(0.1, 1, 60)
    shuffled = paired(values[other], more[other], groups=groups[other])
    assert shuffled == paired(values, more, groups=groups)


def tracks(g: np.random.Generator, count: int, *, each: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Items around 5 that differ between tracks much more than within one."""
    return (5 + g.normal(0, 1, count).repeat(each) + 0.2 * g.normal(0, 1, count * each)), np.arange(count).repeat(each)


def test_items_of_one_track_are_no_independent_witnesses() -> None:
    """Of 200 intervals of 90 %, 180 are expected; taken for independent, the items promise far too much."""
    g = generator()
    whole = apart = 0
    for _ in range(200):
        values, groups = tracks(g, 15)
        low, high = mean_interval(values, groups=groups, confidence=0.9, n_resamples=400)
        whole += low <= 5 <= high
        low, high = mean_interval(values, confidence=0.9, n_resamples=400)
        apart += low <= 5 <= high
    assert 158 <= whole <= 192
    assert apart < 110


def test_groups_of_one_item_are_no_groups() -> None:
    values = generator().normal(0, 1, 30)
    assert mean_interval(values, groups=np.arange(30)) == mean_interval(values)


def test_fewer_than_three_groups_have_no_interval() -> None:
    assert all(math.isnan(end) for end in mean_interval(np.arange(8.0), groups=np.arange(8) % 2))


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(ArgumentError, match="between 0 and 1: 0.95"):
        mean_interval(np.arange(5.0), confidence=confidence)


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArgumentError, match="needed is one for each"):
        mean_interval(np.arange(5.0), groups=np.arange(4))


def test_a_pair_tells_by_how_much_the_second_exceeds_the_first() -> None:
    a = generator().normal(10, 5, 40)
    b = a + generator(1).normal(0.5, 1, 40)
    found = paired(a, b)
    assert found.difference == pytest.approx((b - a).mean())
    assert (found.low, found.high) == mean_interval(b - a)
    assert (found.n, found.groups, found.undefined) == (40, 40, 0)
    other = paired(b, a)
    assert other.difference == -found.difference
    assert other.p == pytest.approx(found.p, abs=0.01)


def test_an_item_without_a_value_in_one_is_left_out_of_both() -> None:
    a, b = generator().normal(0, 1, (2, 20))
    holed = a.copy(), b.copy()
    holed[0][3], holed[1][7], holed[0][9], holed[1][9] = [math.nan] * 4
    found = paired(*holed)
    kept = np.delete(np.arange(20), [3, 7, 9])
    assert found[:5] == paired(a[kept], b[kept])[:5]
    assert (found.n, found.undefined) == (17, 3)


def test_its_p_is_that_of_all_signs() -> None:
    """Ten differences have 1024 ways to choose their signs; scipy tries each."""
    a, b = generator().normal([[0], [0.6]], 1, (2, 10))

    def mean(x: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis)

    theirs = stats.permutation_test((b - a,), mean, permutation_type="samples", n_resamples=np.inf)
    assert paired(a, b).p == pytest.approx(theirs.pvalue)


def test_drawn_signs_agree_with_all_signs() -> None:
    """Drawn 10 000 times, a p near 0.1 is known to 0.003; four deviations are allowed."""
    a, b = generator(3).normal([[0], [0.5]], 1, (2, 13))
    exact = paired(a, b).p
    assert 0.02 < exact < 0.5
    assert paired(a, b, n_flips=8191).p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 8191))


def test_where_there_is_nothing_it_finds_something_as_often_as_it_says() -> None:
    """Of 300 comparisons of equal systems, 30 have p below 0.1; so have grouped ones, and not if taken for single."""
    g = generator()
    alone = together = ignored = 0
    for _ in range(300):
        a, b = g.normal(0, 1, (2, 12))
        alone += paired(a, b, n_resamples=10).p <= 0.1
        shift, groups = tracks(g, 10)
        together += paired(a=0 * shift, b=shift - 5, groups=groups, n_resamples=10).p <= 0.1
        ignored += paired(0 * shift, shift - 5, n_resamples=10, n_flips=500).p <= 0.1
    assert 16 <= alone <= 44
    assert 16 <= together <= 44
    assert ignored > 120


def test_it_finds_the_detectable_difference_four_times_in_five() -> None:
    g = generator()
    sizes = [paired(*g.normal(0, 1, (2, 25)), n_resamples=10).detectable for _ in range(50)]
    size = float(np.mean(sizes))
    found = sum(paired(*g.normal([[0], [size]], 1, (2, 25)), n_resamples=10, n_flips=1000).p < 0.05 for _ in range(300))
    assert 215 <= found <= 265


def test_more_comparisons_and_fewer_items_hide_more() -> None:
    a, b = generator().normal(0, 1, (2, 80))
    assert paired(a, b, comparisons=10).detectable > 1.2 * paired(a, b).detectable
    assert paired(a[:20], b[:20]).detectable > 1.5 * paired(a, b).detectable


def test_the_fewest_items_are_those_whose_smallest_p_passes() -> None:
    for comparisons in (1, 2, 10, 35):
        n = fewest(comparisons)
        assert comparisons * paired(np.zeros(n), np.ones(n)).p <= 0.05
        assert comparisons * paired(np.zeros(n - 1), np.ones(n - 1)).p > 0.05


def test_equal_systems_differ_by_nothing() -> None:
    a = generator().normal(0, 1, 10)
    found = paired(a, a)
    assert (found.difference, found.low, found.high, found.p, found.detectable) == (0, 0, 0, 1, 0)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_of_next_to_nothing_it_says_next_to_nothing(n: int) -> None:
    found = paired(np.zeros(n), np.ones(n))
    assert math.isnan(found.low)
    assert math.isnan(found.difference) == (n == 0)
    assert math.isnan(found.p) or found.p >= 0.5


def test_pairs_of_different_number_are_refused() -> None:
    with pytest.raises(ArgumentError, match="one number per item, the same items"):
        paired(np.zeros(3), np.zeros(4))


def test_holm_multiplies_the_smallest_most_and_never_turns_the_order() -> None:
    """The worked example of R's p.adjust(method = "holm") on the same numbers."""
    p = np.array([0.01, 0.02, 0.03, 0.04, 0.05])
    assert holm(p) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm(p[::-1]) == pytest.approx([0.09, 0.09, 0.09, 0.08, 0.05])
    assert holm(np.array([0.6, math.nan, 0.9])).tolist() == pytest.approx([1, math.nan, 1], nan_ok=True)
