"""The paper that it began with: what its tables say is printed as it is, and no row is made up."""

import pytest

from percloss.data import seed_paper


def test_five_models_leave_a_wide_interval() -> None:
    found = {(pair.objective, pair.subjective): pair.estimate for pair in seed_paper.PAIRS}
    sdr = found["SDR", "MOS"]
    assert (sdr.low, sdr.high) == pytest.approx((0.79, 0.999), abs=0.006)
    assert all(each.n == seed_paper.MODELS == 5 for each in found.values())


def test_no_pair_shows_a_disparity() -> None:
    assert all(abs(pair.ranks) == 1 and pair.ranks * pair.plcc > 0 for pair in seed_paper.PAIRS)
    assert "the tables show no disparity" in seed_paper.conclusions()[0]
    assert any("too few to claim significance" in sentence for sentence in seed_paper.conclusions())
