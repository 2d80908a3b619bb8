"""The page on separated sources is of today's figures, and percloss's column is right in every row."""

import json
import math

import pytest

from docs import make_separation

ROWS = json.loads(make_separation.FIGURES.read_text(encoding="utf-8"))["rows"]


def test_the_page_is_that_of_the_figures() -> None:
    text = make_separation.PAGE.read_text(encoding="utf-8")
    assert text == make_separation.page(), "type: python -m docs.make_separation"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["case"])
def test_percloss_is_right_in_every_row_and_so_it_is_of_the_neighbour(row: dict[str, str]) -> None:
    """Within 0.1 dB: 512 taps explain 0.07 dB of the noise, and the gain of SI-SDR 0.01 dB."""
    expected = {
        "identical": (140.0, 140.0, 140.0),
        "silent target": (math.nan, math.nan, math.nan),
        "silent estimate": (-140.0, math.nan, -140.0),
        "turned in polarity": (17.24, -6.04, 17.24),
    }
    for name, wanted in zip(
        ("percloss SDR", "percloss images", "percloss SI-SDR"),
        expected.get(row["case"]) or [float(row["truth"])] * 3,
        strict=True,
    ):
        first, other = (float(value) for value in row[name].split(" | "))
        assert first == pytest.approx(wanted, abs=0.1, nan_ok=True)
        assert other == pytest.approx(17.24, abs=0.1)
