"""No number moves unnoticed: every measure says today what it said when tests/golden/make.py was last run."""

import json

import pytest

from percloss.errors import MissingExtraError
from percloss.measures import TABLE
from tests.golden.make import FILE, SIGNALS, measured, moved

GOLDEN = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", GOLDEN["values"])
def test_a_measure_says_what_it_said(name: str) -> None:
    """A change here is a change of the number, and goes under "Numbers" in the changelog."""
    try:
        now = measured(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    golden = GOLDEN["values"][name]
    assert now.keys() == golden.keys()
    assert {row: (golden[row], now[row]) for row in golden if moved(name, now[row], golden[row])} == {}


def test_every_measure_of_the_catalogue_has_golden_values() -> None:
    assert GOLDEN["values"].keys() == TABLE.keys(), "run: python -m tests.golden.make"
    assert all(rows.keys() == SIGNALS.keys() for rows in GOLDEN["values"].values())


def test_the_golden_values_say_when_and_with_what_they_were_made() -> None:
    assert GOLDEN["made"] >= "2026"
    assert {"torch", "pesq", "pystoi"} <= GOLDEN["with"].keys()


def test_a_value_that_moves_by_more_than_its_tolerance_is_caught() -> None:
    assert not moved("snr", 20.0, 20.0 + 1e-9)
    assert moved("snr", 20.0, 20.0 + 1e-5)
    assert moved("snr", None, 20.0)
    assert moved("snr", 20.0, None)
    assert not moved("snr", None, None)
