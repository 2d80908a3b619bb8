"""The same measure at four levels, the listeners' own limit, and which of two measures follows them better."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from percloss.errors import ArgumentError
from percloss.stats import Rated, best_of_n, ceiling, difference, levels, pairwise
from percloss.stats.levels import Draws, Stimuli, bootstrap, statistic
from tests.stats.support import gensvs, made_up


def quick(table: Rated, measure: str, **kwargs):
    return levels(table, measure, n_resamples=200, **kwargs)


def test_each_level_is_what_its_name_says() -> None:
    table = made_up()
    found, x, y = quick(table, "good"), table.score, table.prediction("good")
    own = [stats.spearmanr(x[table.system == s], y[table.system == s])[0] for s in np.unique(table.system)]
    tau = [stats.kendalltau(x[table.content == c], y[table.content == c])[0] for c in np.unique(table.content)]
    means = [[values[table.system == s].mean() for s in np.unique(table.system)] for values in (x, y)]
    assert found.pooled.srcc.value == pytest.approx(stats.spearmanr(x, y)[0])
    assert found.within_system.srcc.value == pytest.approx(math.tanh(np.mean(np.arctanh(own))))
    assert found.within_content.krcc.value == pytest.approx(np.mean(tau))
    assert found.system.plcc.value == pytest.approx(stats.pearsonr(*means)[0])
    assert [level.srcc.value for level in found.per_system.values()] == pytest.approx(own)
    assert [getattr(found, level).srcc.n for level in ("pooled", "within_system", "within_content", "system")] == [
        *(150, 5, 30, 5),
    ]


def test_levels_can_disagree_and_each_says_so() -> None:
    """Simpson: in each system the measure is right, and it puts the systems the wrong way round."""
    system, step = (each.ravel() for each in np.mgrid[:5, :20])
    score = system * 10 + step + np.tile([0.0, 0.3, 0.1, 0.2], 25)
    found = quick(Rated(score, {"m": -20.0 * system + step}, system=system, content=step), "m")
    assert found.within_system.srcc.value > 0.95
    assert found.pooled.srcc.value < -0.8
    assert found.system.srcc.value == pytest.approx(-1)


def test_a_perfect_order_within_a_system_counts_half_a_step_below_one() -> None:
    """Of ten stimuli the next best Spearman correlation is 1 - 12 / 990, and the next best tau 1 - 4 / 90."""
    rows = np.tile(np.arange(10.0), 2)
    found = quick(Rated(rows, {"m": rows**3}, system=np.repeat([0, 1], 10)), "m").within_system
    assert found.srcc.value == pytest.approx(1 - 6 / 990)
    assert found.krcc.value == pytest.approx(1 - 2 / 90)


def test_few_systems_claim_no_significance() -> None:
    five, nine = quick(made_up(5), "good"), quick(made_up(9), "good")
    assert five.system.note == "5 systems: too few to claim significance"
    assert five.system.note in five.notes
    assert "no interval of 5" in five.system.srcc.note
    assert math.isnan(five.system.srcc.low)
    assert nine.system.note == ""
    assert nine.system.srcc.low < nine.system.srcc.value < nine.system.srcc.high


def test_whole_contents_are_resampled() -> None:
    """Every stimulus twelve times, as versions of one song, tells as much as once."""
    g = np.random.default_rng(0)
    x = g.normal(size=30)
    y = 0.6 * x + 0.8 * g.normal(size=30)
    once = quick(Rated(x, {"m": y}, content=range(30)), "m").pooled.srcc
    often = quick(Rated(np.repeat(x, 12), {"m": np.repeat(y, 12)}, content=np.repeat(range(30), 12)), "m").pooled.srcc
    naive = quick(Rated(np.repeat(x, 12), {"m": np.repeat(y, 12)}), "m").pooled.srcc
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.02)
    assert naive.high - naive.low < 0.4 * (once.high - once.low)


@pytest.mark.parametrize("contents", [8, 30])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(contents: int) -> None:
    """Songs differ in both, so that stimuli are not independent; of 100 intervals of 95 % 95 are expected."""
    truth, held = 6 / math.pi * math.asin(0.3), 0
    for seed in range(100):
        g = np.random.default_rng([contents, seed])
        content = np.repeat(range(contents), 4)
        song, own = g.normal(size=(2, contents)), g.normal(size=(2, content.size))
        x, e = np.sqrt(0.5) * (song[:, content] + own)
        stimuli = Stimuli.of(Rated(x, {"m": 0.6 * x + 0.8 * e}, content=content), "m")
        of = partial(statistic, stimuli, stimuli.prediction, "srcc", "pooled")
        low, high, _note = bootstrap(of(np.ones((1, x.size)))[0], of, Draws(stimuli.groups, 400, 0))
        held += low <= truth <= high
    assert 86 <= held <= 99


def test_the_order_of_the_stimuli_does_not_matter() -> None:
    table = made_up(contents=12)
    order = np.random.default_rng(1).permutation(len(table))
    assert quick(table.ordered(order), "good") == quick(table, "good")
    assert quick(table, "good", seed=1).pooled.srcc.low != quick(table, "good").pooled.srcc.low


def test_without_labels_there_are_fewer_levels_and_reasons() -> None:
    table = made_up()
    found = quick(Rated(table.score, {"m": table.prediction("good")}), "m")
    assert found.pooled.srcc.value > 0
    assert found.within_system.note == found.system.note == "the table names no systems"
    assert found.within_content.note == "the table names no contents"
    assert math.isnan(found.within_content.krcc.value)
    assert "no contents are named: the stimuli are taken for independent" in found.notes


def test_a_stimulus_without_a_value_is_left_out_and_said() -> None:
    table = made_up(contents=12)
    gaps = table.prediction("good").copy()
    gaps[:3] = math.nan
    found = quick(table.with_predictions({"good": gaps}), "good")
    assert found.pooled.srcc.n == 57
    assert "3 of the stimuli left out, having no value" in found.notes


def test_stimuli_with_the_labels_of_others_are_said() -> None:
    table = made_up(contents=12)
    twice = table.ordered(np.append(np.arange(len(table)), [0, 1]))
    assert "2 stimuli have the system and the content of another" in quick(twice, "good").notes


@pytest.mark.parametrize(
    ("score", "why"),
    [([2.0] * 8, "all scores are equal"), ([1.0, 2.0, *[math.nan] * 6], "2 stimuli: a correlation needs three")],
)
def test_a_table_without_a_correlation_says_why(score: list[float], why: str) -> None:
    found = quick(Rated(score, {"m": np.arange(8.0)}, system=[0, 1] * 4, content=[0, 0, 1, 1] * 2), "m")
    assert math.isnan(found.pooled.srcc.value)
    assert why in found.pooled.srcc.note


def test_three_stimuli_have_no_interval() -> None:
    found = quick(Rated([1.0, 2.0, 3.0], {"m": [1.0, 3.0, 2.0]}), "m").pooled
    assert found.srcc.value == pytest.approx(0.5)
    assert "3 independent groups: too few for an interval" in found.srcc.note


def test_a_perfect_measure_claims_no_interval() -> None:
    found = quick(Rated(np.arange(12.0), {"m": np.arange(12.0) * 3}), "m").pooled.srcc
    assert found.value == pytest.approx(1)
    assert "every resample is the same" in found.note


def test_a_measure_that_knows_the_truth_reaches_the_ceiling() -> None:
    """What listeners mean follows the mean of eight of them as the ceiling says, which knows the eight alone."""
    g = np.random.default_rng(0)
    truth = g.normal(size=600)
    table = Rated.from_ratings(truth[:, None] + 2 * g.normal(size=(600, 8)), {"truth": truth})
    assert ceiling(table).pooled == pytest.approx(stats.pearsonr(truth, table.score)[0], abs=0.02)
    assert ceiling(table).pooled == pytest.approx(math.sqrt(1 / (1 + 4 / 8)), abs=0.02)


def test_all_halvings_are_tried_where_they_can_be() -> None:
    few, odd, many = (ceiling(made_up(listeners=n)) for n in (8, 5, 16))
    assert (few.splits, few.exact) == (35, True)
    assert (odd.splits, odd.exact) == (10, True)
    assert (many.splits, many.exact) == (2000, False)
    assert many.pooled > few.pooled > odd.pooled


def test_the_ceiling_holds_at_every_level_and_grows_with_averaging() -> None:
    found = quick(made_up(noise=2.0), "good")
    assert 0 < found.pooled.ceiling < 1
    assert 0 < found.within_content.ceiling < 1
    assert found.within_system.ceiling == pytest.approx(found.pooled.ceiling, abs=0.05)


def test_without_listeners_there_is_no_ceiling() -> None:
    alone = made_up(listeners=1)
    assert ceiling(alone).note == "ratings of 1 listeners: two or more are needed"
    assert ceiling(Rated([1.0, 2.0, 3.0], {})).note == "no ratings of single listeners"
    assert math.isnan(quick(alone, "good").pooled.ceiling)


def test_of_two_measures_the_better_is_told_apart_from_the_worse() -> None:
    table = made_up()
    for by in ("content", "listener"):
        found = difference(table, "good", "random", by=by, n_resamples=400)
        assert found.low > 0.3
        assert found.p < 0.03  # the least that eight listeners and 400 resamples can give is .025
        turned = difference(table, "random", "good", by=by, n_resamples=400)
        assert turned.value == pytest.approx(-found.value)
    assert difference(table, "good", "random").groups == 30
    assert difference(table, "good", "random", by="listener", n_resamples=50).groups == 8


def test_the_difference_is_that_of_the_levels() -> None:
    table = made_up()
    good, bad = quick(table, "good"), quick(table, "bad")
    for level in ("pooled", "within_system", "within_content"):
        for kind in ("plcc", "srcc", "krcc"):
            found = difference(table, "good", "bad", kind=kind, level=level, n_resamples=100)
            one, other = (getattr(getattr(each, level), kind).value for each in (good, bad))
            assert found.value == pytest.approx(one - other, abs=1e-9)


def test_equally_good_measures_differ_one_time_in_twenty() -> None:
    """Of 200 tests at 5 % 10 are expected, give or take 3; and p agrees with the interval."""
    rejected = 0
    for seed in range(200):
        g = np.random.default_rng(seed)
        content = np.repeat(range(15), 3)
        song = g.normal(size=(3, 15))[:, content]
        truth, one, other = song + g.normal(size=(3, 45))
        table = Rated(truth, {"a": truth + one, "b": truth + other}, content=content)
        found = difference(table, "a", "b", kind="plcc", n_resamples=300)
        outside = not found.low <= 0 <= found.high
        assert abs(found.p - 0.05) < 0.03 or outside == (found.p < 0.05)
        rejected += found.p < 0.05
    assert 3 <= rejected <= 20


def test_what_a_difference_needs_is_named() -> None:
    bare = Rated([1.0, 2.0, 3.0], {"a": [1.0, 2.0, 3.0], "b": [1.0, 3.0, 2.0]})
    with pytest.raises(ArgumentError, match="without systems; needed for level='within_system' is system="):
        difference(bare, "a", "b", level="within_system")
    with pytest.raises(ArgumentError, match='needed for by="listener" is ratings='):
        difference(bare, "a", "b", by="listener")
    with pytest.raises(Exception, match="got by='song'|Type-check"):  # beartype may be first, where it is at work
        difference(bare, "a", "b", by="song")
    with pytest.raises(Exception, match="got kind='pearson'|Type-check"):
        difference(bare, "a", "b", kind="pearson")
    with pytest.raises(ArgumentError, match="got 'c'; needed is a measure it has predictions of: a, b"):
        difference(bare, "a", "c")
    assert "too few for an interval" in difference(bare, "a", "b").note
    constant = bare.with_predictions({"b": np.ones(3)})
    assert difference(constant, "a", "b").note == "one of them has no correlation"


def test_pairs_are_those_that_listeners_tell_apart_and_ties_count_half() -> None:
    score, content = [1.0, 2.0, 3.0, 5.0], ["x", "x", "y", "y"]
    right = pairwise(Rated(score, {"m": [0.0, 1.0, 9.0, 8.0]}, content=content), "m")
    assert (right.value, right.n) == (0.5, 2)
    assert pairwise(Rated(score, {"m": [0.0, 1.0, 9.0, 9.0]}, content=content), "m").value == 0.75
    everything = pairwise(Rated(score, {"m": [0.0, 1.0, 9.0, 8.0]}), "m", within_content=False)
    assert (everything.value, everything.n) == (pytest.approx(5 / 6), 6)
    doubt = pairwise(Rated(score, {"m": [0.0, 1.0, 9.0, 8.0]}, content=content, ci95=[1.0] * 4), "m")
    assert (doubt.value, doubt.n) == (0.0, 1)
    assert "1 of 2 pairs are not told apart by listeners" in doubt.note


def test_pairwise_accuracy_without_ties_is_kendalls_tau() -> None:
    table = made_up()
    plain = Rated(table.score, {"m": table.prediction("bad")}, content=table.content)
    tau = stats.kendalltau(table.score, table.prediction("bad"))[0]
    assert pairwise(plain, "m", within_content=False).value == pytest.approx((tau + 1) / 2)


def test_best_of_n_shares_ties_and_knows_chance() -> None:
    content = np.repeat(["x", "y", "z"], 3)
    table = Rated(
        [1.0, 2.0, 3.0, 3.0, 3.0, 1.0, 2.0, 2.0, 2.0],
        {"m": [1.0, 5.0, 5.0, 2.0, 1.0, 0.0, 1.0, 2.0, 3.0]},
        content=content,
    )
    found = best_of_n(table, "m")
    # In x one of two firsts is right, in y either of two would be, and z has no best.
    assert (found.value, found.n) == (0.75, 2)
    assert found.chance == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert "1 of 3 contents have no best" in found.note


def test_choices_have_intervals_and_a_random_measure_is_at_chance() -> None:
    table = made_up(contents=60)
    for found in (pairwise(table, "random"), best_of_n(table, "random")):
        assert found.low < found.chance < found.high
    for found in (pairwise(table, "good"), best_of_n(table, "good")):
        assert found.chance < found.low < found.value < found.high


def test_choices_need_contents() -> None:
    bare = Rated([1.0, 2.0], {"m": [1.0, 2.0]})
    with pytest.raises(ArgumentError, match="pairwise: got a table without contents"):
        pairwise(bare, "m")
    with pytest.raises(ArgumentError, match="best_of_n: got a table without contents"):
        best_of_n(bare, "m")
    nothing = pairwise(Rated([1.0, 1.0], {"m": [1.0, 2.0]}), "m", within_content=False)
    assert math.isnan(nothing.value)
    assert "nothing is decided" in nothing.note


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"predictions": {"m": [1.0]}}, "m: got 1 values for 3 scores"),
        ({"predictions": {"m": [1.0, -math.inf, 2.0]}}, "m: got -inf in row 1"),
        ({"system": ["a", "b"]}, "system: got 2 labels for 3 scores"),
        ({"content": ["a", None, "c"]}, "content: got no label in row 1"),
        ({"content": ["a", math.nan, "c"]}, "content: got no label in row 1"),
        ({"ratings": np.ones((2, 4))}, "ratings: got 2 rows for 3 scores"),
        ({"ratings": np.ones(3)}, r"ratings: got shape \(3,\)"),
        ({"ratings": [[1.0, math.inf]] * 3}, "ratings: got an infinite one in row 0, column 1"),
        ({"ratings": np.ones((3, 2)), "listeners": ("a",)}, "listeners: got 1 names for 2 columns"),
        ({"ci95": [0.1]}, "ci95: got 1 values for 3 scores"),
    ],
)
def test_a_table_names_what_is_wrong_with_it(columns: dict, message: str) -> None:
    predictions = columns.pop("predictions", {})
    with pytest.raises(ArgumentError, match=message):
        Rated([1.0, 2.0, 3.0], predictions, **columns)


def test_a_table_can_be_narrowed_and_leaves_what_it_was_given_alone() -> None:
    score = np.arange(4.0)
    table = Rated(score, {"m": score}, system=list("abab"), ratings=np.ones((4, 2)), ci95=score)
    part = table.where(table.system == "a")
    assert (len(part), list(part.prediction("m")), part.ratings.shape) == (2, [0.0, 2.0], (2, 2))
    score[0] = 9
    assert table.score[0] == 0
    with pytest.raises(ArgumentError, match="where: got int64"):
        table.where(np.array([0, 1]))


class TestSeparatedSinging:
    """The published DCR test: 250 stimuli, 5 systems, 50 songs, 12 ratings each."""

    @pytest.mark.parametrize(
        ("measure", "srcc"),
        [
            ("SDR", 0.233),
            ("SI-SDR", 0.244),
            ("MRSTFT", 0.639),
            ("MERT", 0.671),
            ("CLAP-music", 0.737),
            ("ViSQOL", 0.646),
        ],
    )
    def test_pooled(self, data_root: Path, measure: str, srcc: float) -> None:
        table, _ = gensvs(data_root)
        found = levels(table, measure, n_resamples=50)
        assert found.pooled.srcc.value == pytest.approx(srcc, abs=0.005)

    def test_sdr_is_right_within_systems_and_wrong_across_them(self, data_root: Path) -> None:
        table, discriminative = gensvs(data_root)
        found = levels(table, "SDR")
        own = levels(table.where(discriminative), "SDR", n_resamples=50)
        assert own.pooled.srcc.value == pytest.approx(0.672, abs=0.005)
        assert found.within_system.srcc.value == pytest.approx(0.584, abs=0.005)
        assert found.within_content.krcc.value == pytest.approx(0.03, abs=0.006)
        assert found.system.srcc.value == pytest.approx(-0.1, abs=0.005)
        assert "5 systems: too few to claim significance" in found.notes
        assert (found.pooled.srcc.low, found.pooled.srcc.high) == pytest.approx((0.12, 0.34), abs=0.02)

    def test_the_listeners_own_limit(self, data_root: Path) -> None:
        table, _ = gensvs(data_root)
        found = ceiling(table)
        assert (found.splits, found.exact) == (462, True)
        assert found.pooled == pytest.approx(0.964, abs=0.005)

    def test_the_spectral_distance_follows_listeners_better_than_sdr(self, data_root: Path) -> None:
        table, _ = gensvs(data_root)
        found = difference(table, "MRSTFT", "SDR")
        assert (found.low, found.high) == pytest.approx((0.34, 0.47), abs=0.02)
        assert found.p < 0.002
