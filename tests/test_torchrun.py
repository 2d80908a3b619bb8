"""Under ``torchrun`` each process scores its half of the items, and each tells what one process alone would tell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import Tensor

from tests.signals import at_snr, noise

pytest.importorskip("torchmetrics", reason="a metric is a torchmetrics.Metric")

ROOT = Path(__file__).resolve().parent.parent
ITEMS = 7


def signals(item: int) -> tuple[Tensor, Tensor]:
    """An item of a data set, (1, 1, time) twice; the fourth has a silent reference."""
    ref = noise(1, 1, 2000, seed=item)
    return at_snr(ref, 3.0 * item, seed=item + 100), 0 * ref if item == 3 else ref


def told(items: range) -> dict[str, str]:
    """What metrics fed with these items say after all processes have met: by name, and of each item."""
    from percloss import metrics

    found = {}
    for name, metric in {"si_sdr": metrics.SISDR(), "mel": metrics.MelDistance(16_000)}.items():
        for item in items:
            metric.update(*signals(item), index=torch.tensor([item]))
        summary = {key: value.item() for key, value in metric.compute().items()}
        with metric.sync_context():
            found[name] = repr([summary, metric.items.tolist()])  # repr, because nan is not nan
    return found


def main(folder: str) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    found = {"world": str(world), "told": told(range(rank, ITEMS, world))}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no distributed package")
def test_two_processes_tell_what_one_tells_of_each_item_of_mean_and_of_interval(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, __file__, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    alone = told(range(ITEMS))
    assert "nan" in str(alone["si_sdr"])
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8"))
        assert found == {"world": "2", "told": alone}


if __name__ == "__main__":
    main(sys.argv[1])
