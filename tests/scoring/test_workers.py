"""Several processes: one that dies costs one pair, and a measure of another package is found in all of them."""

import os
from pathlib import Path

import pytest

from percloss.scoring.engine import Recipe
from percloss.scoring.pairing import pair_up
from percloss.scoring.workers import score
from tests.cli.support import folder, noise

# A measure as an installed package announces it. It kills its process for a loud estimate, and raises for a short one.
MODULE = '''
import os, signal
from percloss import Measure, Spec

class Fatal(Measure):
    """Of no use.  In 1, lower is better."""

    spec = Spec(name="fatal", title="Fatal", unit="1", better="lower", bounds=(0.0, 1.0), perfect=0.0)

    def compare(self, est, ref):
        if est.abs().max() > 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if est.shape[-1] < 500:
            raise KeyError("short")
        return 0 * est[..., 0]
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "fatal-1.dist-info").mkdir(parents=True)
    (site / "fatal_measure.py").write_text(MODULE)
    (site / "fatal-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: fatal\nVersion: 1\n")
    (site / "fatal-1.dist-info" / "entry_points.txt").write_text("[percloss.measures]\nfatal = fatal_measure:Fatal\n")
    monkeypatch.syspath_prepend(site)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.usefixtures("plugin")
def test_a_process_that_dies_costs_its_pair_and_no_other(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    waves = {f"{index}": noise(index, samples=1000) for index in range(8)}
    waves["5"] = waves["5"] + 10
    waves["6"] = waves["6"][:400]
    est, ref = folder(tmp_path / "est", waves), folder(tmp_path / "ref", waves)
    pairs = pair_up([str(est)], str(ref))
    results = dict(score(pairs, Recipe(measures=("fatal", "mae")), jobs=2))
    assert sorted(results) == list(range(8))
    assert "the process that scored it died (SIGKILL" in (results[5].error or "")
    assert results[6].scores == {"fatal": None, "mae": 0.0}
    assert results[6].reasons["fatal"].startswith("unforeseen KeyError")
    rest = [results[index] for index in range(8) if index not in (5, 6)]
    assert all(scored.error is None and scored.scores == {"fatal": 0.0, "mae": 0.0} for scored in rest)
