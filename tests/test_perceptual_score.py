"""What a fit to 12 songs must hold to: no song judges itself, a known truth is found, the rule makes the verdict."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.perceptual_score import fit as run
from benchmarks.perceptual_score.model import (
    Settings,
    Table,
    best_inside,
    choose,
    cross_validated,
    fit,
    partition,
    protocol,
    protocol_hash,
    srcc,
    subsets,
)
from docs import make_perceptual_score
from percloss.measure import find
from percloss.measures import TABLE

WRITTEN = protocol()
SETTINGS = Settings.of(WRITTEN)
FOLDS = WRITTEN["folds"]["outer"]
SONGS = [song for fold in FOLDS for song in fold]
DOCUMENT = json.loads(make_perceptual_score.RESULT.read_text(encoding="utf-8"))
PRIMARY = [row for row in DOCUMENT["rows"] if row["test"] == run.PRIMARY]


def made_up(noise: float = 0.0, seed: int = 0) -> Table:
    """Five systems of each song: listeners who hear a and c, and nothing of b, d and e."""
    generator = np.random.default_rng(seed)
    features = {name: generator.standard_normal(60) for name in "abcde"}
    table = Table(np.full(60, 50.0), features, np.repeat(SONGS, 5))
    bent = fit(table, ["a", "c"], SETTINGS).bends
    heard = 0.4 + 1.5 * bent["a"](features["a"]) + 0.75 * bent["c"](features["c"])
    heard += noise * generator.standard_normal(60)
    return replace(table, score=100 / (1 + np.exp(-heard)))


def test_each_song_is_in_one_fold_and_the_rule_puts_it_there() -> None:
    assert len(SONGS) == len(set(SONGS)) == 12
    assert sorted(SONGS, key=lambda song: hashlib.sha256(song.encode()).hexdigest()) == SONGS
    assert {len(fold) for fold in FOLDS} == {2}


def test_the_folds_are_of_the_songs_that_were_rated(data_root) -> None:
    if not (data_root / "svs_mushra" / "ratings.csv").is_file():
        pytest.skip(f"no listening test at {data_root / 'svs_mushra'}")
    rated = run.open_set("svs_mushra", data_root / "svs_mushra")
    assert {stimulus.content for stimulus in rated.stimuli} == set(SONGS)


def test_other_partitions_hold_each_song_out_once() -> None:
    first, second = (partition(SONGS, seed, 2) for seed in (1, 2))
    assert sorted(song for fold in first for song in fold) == sorted(SONGS)
    assert first != second
    assert partition(SONGS[::-1], 1, 2) == first


@pytest.mark.parametrize("validate", [cross_validated, best_inside])
def test_what_is_said_of_a_song_does_not_come_from_its_own_ratings(validate) -> None:
    table = made_up(noise=0.5)
    held = table.of(FOLDS[0])
    flipped = replace(table, score=np.where(held, 100 - table.score, table.score))
    before, after = (validate(each, FOLDS, SETTINGS).prediction for each in (table, flipped))
    np.testing.assert_array_equal(before[held], after[held])
    assert not np.array_equal(before[~held], after[~held])


def test_a_known_weighting_is_found_where_nothing_holds_it_back() -> None:
    table = made_up()
    found = fit(table, ["a", "b", "c"], replace(SETTINGS, ridge=0.0, clip=(0.01, 99.99)))
    assert found.weights == pytest.approx({"a": 1.5, "b": 0.0, "c": 0.75}, abs=1e-9)
    assert found.bias == pytest.approx(0.4)
    np.testing.assert_allclose(found(table.features), table.score)


def test_the_features_that_listeners_hear_are_chosen_and_no_more() -> None:
    assert choose(made_up(noise=0.2), FOLDS, SETTINGS)[0] == ("a", "c")


def test_cross_validation_is_near_the_truth_and_near_nothing_where_there_is_none() -> None:
    heard, deaf = made_up(noise=0.2), made_up(noise=100.0)
    assert srcc(heard.score, cross_validated(heard, FOLDS, SETTINGS).prediction) > 0.9
    assert abs(srcc(deaf.score, cross_validated(deaf, FOLDS, SETTINGS).prediction)) < 0.4


def test_a_better_feature_never_lowers_the_score() -> None:
    table = made_up(noise=0.2)
    against = replace(table, features={**table.features, "a": -table.features["a"]})
    found = fit(against, ["a", "b", "c"], SETTINGS)
    assert found.weights["a"] == 0.0
    assert all(weight >= 0 for weight in found.weights.values())
    better = {name: values + 0.1 for name, values in against.features.items()}
    assert (found(better) >= found(against.features)).all()
    assert (found(better) <= 100).all()


def test_a_feature_that_says_the_same_of_all_is_an_error() -> None:
    table = made_up()
    with pytest.raises(ValueError, match="the same for most"):
        fit(replace(table, features={"a": np.zeros(60)}), ["a"], SETTINGS)


def test_a_constant_prediction_has_no_rank_correlation() -> None:
    assert srcc(np.arange(4.0), np.ones(4)) == 0.0
    assert srcc(np.arange(4.0), np.arange(4.0) ** 3) == pytest.approx(1.0)


def test_few_features_come_from_few_candidates_in_their_own_direction() -> None:
    candidates = WRITTEN["candidates"]
    assert len({each["name"] for each in candidates}) == len(candidates) <= 12
    assert [each["better"] for each in candidates] == [find(each["name"]).spec.better for each in candidates]
    assert {each["term"] for each in candidates} == {"masking", "modulation", "artefact", "phase"}
    assert len(list(subsets([each["name"] for each in candidates], SETTINGS.most))) == 12 + 66 + 220


@pytest.mark.parametrize(
    ("name", "expected"), [("fullness", [1.0, -2.0]), ("nmr_total", [-1.0, 2.0]), ("onset_flux", [-1.0, -2.0])]
)
def test_every_column_is_turned_so_that_higher_is_better(name: str, expected: list[float]) -> None:
    np.testing.assert_array_equal(run.oriented(name, np.array([1.0, -2.0])), expected)


def test_the_result_is_of_the_protocol_that_is_here() -> None:
    assert DOCUMENT["settings"]["protocol"] == protocol_hash(), "the protocol was changed after the fit"
    for told in DOCUMENT["settings"]["folds"].values():
        assert [fold["held_out"] for fold in told["score"]] == FOLDS
        names = [each["name"] for each in WRITTEN["candidates"]]
        assert all(set(fold["features"]) <= set(names) for fold in told["score"])
        assert all(1 <= len(fold["features"]) <= SETTINGS.most for fold in told["score"])


def test_the_verdict_follows_from_the_numbers() -> None:
    verdict = DOCUMENT["settings"]["verdict"]
    rivals = [row for row in PRIMARY if row["kind"] in ("single", "inside")]
    assert verdict == run.verdict(DOCUMENT["rows"])
    assert verdict["ships"] == all(row["less"]["ci95"][0] > 0 for row in rivals)
    assert verdict["compared"] == len(rivals) > 80
    assert verdict["best_afterwards_srcc"] == max(row["pooled"] for row in rivals if row["kind"] == "single")


def test_the_verdict_turns_with_a_single_rival() -> None:
    def rows(low: float) -> list[dict]:
        score = {"test": run.PRIMARY, "measure": run.SCORE, "kind": "score", "pooled": 0.9, "less": None}
        weak, strong = (
            {**score, "measure": name, "kind": "single", "pooled": pooled, "less": {"value": 0.1, "ci95": [low, 0.3]}}
            for name, pooled, low in (("weak", 0.2, 0.2), ("strong", 0.8, low))
        )
        return [score, weak, strong]

    assert run.verdict(rows(0.01))["ships"]
    assert not run.verdict(rows(0.0))["ships"]
    assert run.verdict(rows(-0.01))["not_beaten"] == ["strong"]
    none = rows(0.01)
    none[1]["less"]["ci95"] = None
    assert not run.verdict(none)["ships"]


def test_nothing_is_in_the_catalogue_that_did_not_earn_it() -> None:
    there = any(name.startswith("perceptual_score") for name in TABLE)
    assert there == DOCUMENT["settings"]["verdict"]["ships"]


def test_the_page_is_of_the_result() -> None:
    text = make_perceptual_score.PAGE.read_text(encoding="utf-8")
    assert text == make_perceptual_score.page(DOCUMENT, WRITTEN), "run python -m docs.make_perceptual_score"
    assert ("it is not shipped" in text) != DOCUMENT["settings"]["verdict"]["ships"]


def test_no_rating_is_in_the_result() -> None:
    assert {"score", "rating", "ratings"}.isdisjoint(key for row in DOCUMENT["rows"] for key in row)
