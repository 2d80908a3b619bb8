"""The journal keeps what holds, and only that."""

import json
import os
from pathlib import Path

import pytest

from percloss.errors import ArgumentError
from percloss.scoring.engine import Scored
from percloss.scoring.journal import Journal
from percloss.scoring.pairing import Pair

SETTINGS = {"percloss": "0.1.0", "recipe": {"measures": ("snr", "mae"), "trim": False}, "measures": {"snr": "snr|v:1"}}


@pytest.fixture
def results(tmp_path: Path) -> list[Scored]:
    found = []
    for name in ("a", "b", "c"):
        paths = [tmp_path / f"{name}.{role}.wav" for role in ("est", "ref")]
        for path in paths:
            path.write_bytes(b"audio")
        pair = Pair(system="s", name=name, est=str(paths[0]), ref=str(paths[1]))
        found.append(Scored(pair=pair, scores={"snr": 0.1 + 0.2, "mae": None}, reasons={"mae": "x"}, seconds=0.5))
    return found


@pytest.fixture
def path(tmp_path: Path, results: list[Scored]) -> Path:
    """A journal of three results."""
    place = tmp_path / "scores.csv.journal.jsonl"
    with Journal(place, SETTINGS, resume=False) as journal:
        for scored in results:
            journal.add(scored)
    return place


def kept(path: Path, **changed: object) -> dict[Pair, Scored]:
    with Journal(path, {**SETTINGS, **changed}, resume=True) as journal:
        return journal.kept


def test_what_was_kept_comes_back_exactly(path: Path, results: list[Scored]) -> None:
    assert kept(path) == {scored.pair: scored for scored in results}


def test_a_result_is_in_the_file_at_once(tmp_path: Path, results: list[Scored]) -> None:
    place = tmp_path / "journal"
    with Journal(place, SETTINGS, resume=False) as journal:
        journal.add(results[0])
        assert place.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("torn", [1, 40])
def test_a_torn_last_line_is_dropped_and_the_next_is_whole(path: Path, results: list[Scored], torn: int) -> None:
    path.write_bytes(path.read_bytes()[:-torn])
    assert kept(path).keys() == {results[0].pair, results[1].pair}
    with Journal(path, SETTINGS, resume=True) as journal:
        journal.add(results[2])
    assert kept(path).keys() == {scored.pair for scored in results}


def test_a_file_of_another_size_or_time_is_scored_again(path: Path, results: list[Scored]) -> None:
    est, ref = results[0].pair.est, results[1].pair.ref
    assert est is not None
    assert ref is not None
    Path(est).write_bytes(b"other audio")
    os.utime(ref, ns=(1, 1))
    assert kept(path).keys() == {results[2].pair}


def test_a_file_that_failed_is_tried_again(path: Path, results: list[Scored]) -> None:
    with Journal(path, SETTINGS, resume=True) as journal:
        journal.add(Scored(pair=results[0].pair, error="unreadable"))
    assert results[0].pair not in kept(path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"percloss": "0.2.0"}, r"percloss 0\.1\.0 \(now 0\.2\.0\)"),
        ({"recipe": {"measures": ("snr",), "trim": False}}, r"measures snr, mae \(now snr\)"),
        ({"measures": {"snr": "snr|v:2"}}, r"snr snr\|v:1 \(now snr\|v:2\)"),
    ],
)
def test_a_journal_of_other_settings_is_refused_by_name(path: Path, changed, words: str) -> None:
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=words):
        kept(path, **changed)
    assert path.read_bytes() == before


def test_results_are_not_written_over_unasked(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=r"keeps 3 results.*type --resume"):
        Journal(path, SETTINGS, resume=False)
    assert path.read_bytes() == before


def test_a_journal_without_results_is_begun_again(path: Path) -> None:
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with Journal(path, SETTINGS, resume=False):
        pass
    assert json.loads(path.read_text())["percloss"] == "0.1.0"


def test_what_is_no_journal_is_refused_or_begun_again(path: Path) -> None:
    path.write_text('[1]\n{"result": 3}\n')
    with pytest.raises(ArgumentError, match="is of a run with"):
        kept(path)
