"""Who listened: scales made alike, those who did not listen found, and how far the rest agree."""

import math
from pathlib import Path

import numpy as np
import pytest

from percloss.errors import ArgumentError
from percloss.stats import Rated, check_listeners, icc, krippendorff, partial_pooling, post_screen, z_scores
from tests.stats.support import gensvs, made_up

# Shrout and Fleiss (1979), table 2: six targets, four judges.
SHROUT = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)
_ = math.nan
# Hayes and Krippendorff's reliability data: twelve units, four observers.
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
).T


def test_listeners_who_use_the_scale_differently_become_alike() -> None:
    truth = np.array([1.0, 2.0, 4.0, 7.0])
    z = z_scores(np.stack([truth, 50 + 3 * truth], 1))
    assert z[:, 0] == pytest.approx(z[:, 1])
    assert z[:, 0].mean() == pytest.approx(0)
    assert z[:, 0].std(ddof=1) == pytest.approx(1)


def test_a_listener_who_always_says_50_has_no_z_scores() -> None:
    assert np.isnan(z_scores(np.array([[50.0, 1.0], [50.0, 2.0], [50.0, _]]))[:, 0]).all()


def mushra(trials: int = 10, listeners: int = 6) -> tuple[np.ndarray, list[str | None]]:
    """Of each trial a hidden reference at 95, a mid anchor at 40, a low one at 20 and a system at 70."""
    ratings = np.tile([[95.0], [40.0], [20.0], [70.0]], (trials, listeners))
    return ratings, ["ref", "mid", "low", None] * trials


def test_who_misses_the_hidden_reference_too_often_is_screened_out() -> None:
    ratings, role = mushra()
    ratings[:8:4, 1] = 80  # two of ten trials
    ratings[:4:4, 2] = 80  # one of ten is allowed
    screened = post_screen(ratings, role)
    assert list(screened.keep) == [True, False, True, True, True, True]
    assert screened.reasons[1] == ("hidden reference below 90 in 20% of the trials",)


def test_who_finds_the_mid_anchor_excellent_is_screened_out_unless_many_do() -> None:
    ratings, role = mushra()
    ratings[1:9:4, 3] = 95
    ratings[9, :4] = 95  # an anchor that four of six like is not held against them
    screened = post_screen(ratings, role)
    assert list(screened.keep) == [True, True, True, False, True, True]
    assert screened.reasons[3] == ("mid anchor above 90 in 22% of the trials",)


def test_ninety_itself_is_allowed_on_both_sides() -> None:
    ratings, role = mushra()
    ratings[::4, 0] = 90
    ratings[1::4, 0] = 90
    assert post_screen(ratings, role).keep.all()


def test_a_trial_that_was_not_rated_does_not_count() -> None:
    ratings, role = mushra()
    ratings[0, 1] = 80
    ratings[4:24:4, 1] = math.nan  # one of five rated
    assert not post_screen(ratings, role).keep[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ratings, role: (ratings, role[:-1]), "role: got 39 for 40 stimuli"),
        (lambda ratings, role: (ratings, ["sys"] * 40), 'role: got no "ref"'),
        (lambda ratings, role: (ratings / 20, role), "got ratings from 1.0 to 4.75; needed is the MUSHRA scale"),
        (lambda ratings, role: (ratings[0], role), r"ratings: got shape \(6,\)"),
    ],
)
def test_what_cannot_be_screened_is_named(change, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        post_screen(*change(*mushra()))


def test_listeners_who_do_not_listen_are_found_and_told_why() -> None:
    g = np.random.default_rng(0)
    truth = g.uniform(20, 80, 40)
    honest = truth[:, None] + 8 * g.normal(size=(40, 5))
    ratings = np.column_stack([honest, np.full(40, 50.0), 100 - honest[:, 0], np.full(40, math.nan)])
    checked = check_listeners(ratings)
    assert list(checked.keep) == [True] * 5 + [False] * 3
    assert checked.reasons[5] == ("says 50 in 100% of 40 ratings",)
    assert checked.reasons[6][0].startswith("correlates -0.9")
    assert checked.reasons[7] == ("0 ratings: 1 are needed",)


def test_known_answers_are_asked_for() -> None:
    ratings = np.array([[5.0, 5.0, 2.0], [1.0, 2.0, 1.0], [3.0, 4.0, 3.0], [2.0, 3.0, 4.0]])
    gold = [5.0, 1.0, math.nan, math.nan]
    assert check_listeners(ratings, gold=gold, correlation=-1.0).reasons == (
        (),
        (),
        ("1 of 2 known answers are more than 1 off",),
    )
    strict = check_listeners(ratings, gold=gold, tolerance=0, correlation=-1.0)
    assert list(strict.keep) == [True, False, False]
    with pytest.raises(ArgumentError, match="gold: got 2 answers for 4 stimuli"):
        check_listeners(ratings, gold=[1.0, 2.0])


def test_fewer_ratings_than_asked_for_are_a_reason() -> None:
    ratings = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, _], [4.0, _]])
    assert check_listeners(ratings, least=3).reasons == ((), ("2 ratings: 3 are needed",))


def test_the_intraclass_correlation_is_shrout_and_fleiss() -> None:
    """ICC(2,1) .29 and ICC(2,4) .62 in the paper; the interval is that of psych's ICC, .019 to .761."""
    found = icc(SHROUT)
    assert (found.single.value, found.mean.value) == pytest.approx((0.29, 0.62), abs=0.005)
    assert (found.single.low, found.single.high) == pytest.approx((0.019, 0.761), abs=0.001)
    assert (found.mean.low, found.mean.high) == pytest.approx((0.07, 0.93), abs=0.005)


def test_listeners_who_say_the_same_agree_entirely_and_an_offset_is_disagreement() -> None:
    truth = np.arange(8.0)
    assert icc(np.stack([truth, truth], 1)).single.value == pytest.approx(1)
    assert icc(np.stack([truth, truth + 3], 1)).single.value < 0.7


def test_a_stimulus_that_somebody_did_not_rate_is_left_out_of_the_icc() -> None:
    gap = np.vstack([SHROUT, [[1.0, _, 2.0, 3.0]]])
    assert icc(gap).single.value == icc(SHROUT).single.value
    assert icc(gap).single.note == "1 stimuli left out that somebody did not rate"
    assert icc(SHROUT[:2]).single.note == "2 stimuli rated by all 4: three by two are needed"
    assert icc(np.full((5, 3), 50.0)).single.note == "all ratings are equal"


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_krippendorffs(scale: str, alpha: float) -> None:
    assert krippendorff(KRIPPENDORFF, scale=scale) == pytest.approx(alpha, abs=0.0005)


def test_alpha_is_one_zero_or_nothing() -> None:
    g = np.random.default_rng(0)
    assert krippendorff(np.repeat(np.arange(5.0)[:, None], 3, 1)) == pytest.approx(1)
    assert krippendorff(g.integers(1, 6, (2000, 3)).astype(float)) == pytest.approx(0, abs=0.05)
    assert math.isnan(krippendorff(np.full((5, 3), 50.0)))
    assert math.isnan(krippendorff(np.array([[1.0, _], [_, 2.0]])))
    with pytest.raises(Exception, match="krippendorff: got scale='ratio'|Type-check"):  # beartype may be first
        krippendorff(KRIPPENDORFF, scale="ratio")


def test_normalising_the_listeners_of_separated_singing_changes_next_to_nothing(data_root: Path) -> None:
    """Places of a panel, of which each column is several people: r = .998."""
    table, _discriminative = gensvs(data_root)
    assert np.corrcoef(table.score, z_scores(table.ratings).mean(1))[0, 1] > 0.995


def test_partial_pooling_lies_between_all_and_each() -> None:
    """A system with few stimuli is drawn towards the others."""
    pytest.importorskip("statsmodels")
    g = np.random.default_rng(0)
    sizes = [60, 60, 60, 60, 60, 60, 60, 60, 6]
    system = np.repeat(np.arange(9), sizes)
    x = g.normal(size=system.size)
    slope = np.where(system == 8, -1.0, 1 + 0.1 * g.normal(size=9)[system])
    y = slope * x + 0.5 * g.normal(size=system.size)
    found = partial_pooling(Rated(y, {"m": x}, system=system), "m")
    own = {str(s): np.polyfit(x[system == s], y[system == s], 1)[0] / y.std() * x.std() for s in range(9)}
    assert found.slope.low < np.mean(list(own.values())) < found.slope.high
    assert own["8"] < found.per_system["8"] < found.slope.value
    assert abs(found.per_system["0"] - own["0"]) < 0.1
    assert found.spread > 0


def test_partial_pooling_needs_systems() -> None:
    table = made_up(1)
    with pytest.raises(ArgumentError, match="partial_pooling: got a table of fewer than two systems"):
        partial_pooling(table, "good")


def test_partial_pooling_without_statsmodels_prints_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from percloss.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "statsmodels", None)
    monkeypatch.delitem(sys.modules, "statsmodels.regression.mixed_linear_model", raising=False)
    with pytest.raises(MissingExtraError, match=r"percloss\[stats\]"):
        partial_pooling(made_up(), "good")
