"""A checkpoint is there as a whole or not at all, and only for the run that it is of."""

from pathlib import Path
from typing import Any

import pytest
import torch

from percloss.lab.checkpoint import CheckpointError, Checkpoints, read, write

CONFIG = {"loss": "mae", "seed": 0, "device": "cpu"}


def state(step: int) -> dict[str, Any]:
    return {"parts": {"model": {"weight": torch.full((3,), float(step))}}, "best": {}, "value": 0.5}


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def three(tmp_path: Path) -> Checkpoints:
    """A folder into which three were saved."""
    checkpoints = Checkpoints(tmp_path, CONFIG, harmless=frozenset({"device"}))
    for step in (5, 10, 15):
        checkpoints.save(step, state(step))
    return checkpoints


def test_the_last_two_are_kept_and_nothing_beside_them(three: Checkpoints) -> None:
    assert kept(three.folder) == ["checkpoint-00000010.pt", "checkpoint-00000015.pt"]


def test_the_last_one_comes_back_as_it_was(three: Checkpoints) -> None:
    found = three.latest()
    assert found is not None
    assert found["step"] == 15
    assert found["config"] == CONFIG
    assert found["value"] == 0.5
    assert torch.equal(found["parts"]["model"]["weight"], torch.full((3,), 15.0))


def test_there_is_none_in_an_empty_folder(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, CONFIG).latest() is None


@pytest.mark.parametrize("left", [0.0, 0.01, 0.5, 0.999])
def test_of_a_truncated_one_the_one_before_is_used_and_it_says_so(three: Checkpoints, left: float) -> None:
    last = three.folder / "checkpoint-00000015.pt"
    whole = last.read_bytes()
    last.write_bytes(whole[: int(left * len(whole))])
    with pytest.warns(UserWarning, match=r"00000015.pt: cannot be read .*from checkpoint-00000010.pt instead"):
        found = three.latest()
    assert found is not None
    assert found["step"] == 10


def test_where_none_can_be_read_a_run_does_not_begin_anew_unasked(three: Checkpoints) -> None:
    for path in three.folder.iterdir():
        path.write_bytes(b"no checkpoint")
    with pytest.warns(UserWarning, match="00000015"), pytest.raises(CheckpointError, match="00000010.*delete it"):
        three.latest()


def test_a_checkpoint_of_another_config_names_what_differs(three: Checkpoints) -> None:
    other = Checkpoints(
        three.folder, {"loss": "mel", "seed": 0, "device": "cuda", "clip": 1.0}, harmless=three.harmless
    )
    with pytest.raises(CheckpointError, match="another config") as caught:
        other.latest()
    assert "loss='mel' (there 'mae')" in str(caught.value)
    assert "clip=1.0 (there 'nothing')" in str(caught.value)
    assert "seed" not in str(caught.value)


def test_what_changes_no_number_may_differ(three: Checkpoints) -> None:
    assert Checkpoints(three.folder, {**CONFIG, "device": "cuda"}, harmless=three.harmless).latest() is not None
    with pytest.raises(CheckpointError, match="device='cuda'"):
        Checkpoints(three.folder, {**CONFIG, "device": "cuda"}).latest()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pt"
    write(path, {"step": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, {"step": 2})
    assert read(path) == {"step": 1}
    assert kept(tmp_path) == ["model.pt"]


def test_what_runs_code_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-00000001.pt"
    torch.save({"step": pytest.fail}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read(path)


def test_what_is_no_dictionary_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "one.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        read(tmp_path / "one.pt")
