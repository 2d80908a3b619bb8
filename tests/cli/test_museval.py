"""``percloss score --museval``: the files that museval would have written."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from percloss.functional import bss_eval
from tests.cli.support import RATE, folder, noise, run

STEMS = ("bass", "voice")


@pytest.fixture
def stems(tmp_path: Path) -> tuple[Path, Path]:
    """Two tracks of two stems of two seconds, in stereo; each estimate has some of the other stem."""
    names = [f"{track}/{stem}" for track in ("one", "two") for stem in STEMS]
    refs = {name: noise(seed, samples=2 * RATE, channels=2) for seed, name in enumerate(names)}
    est = {name: refs[name] + 0.1 * refs[names[seed ^ 1]] + 0.01 * noise(9)[0] for seed, name in enumerate(names)}
    return folder(tmp_path / "est", est), folder(tmp_path / "ref", refs)


def of_museval(path: Path) -> dict[str, list[dict[str, float]]]:
    found = json.loads(path.read_text())
    return {target["name"]: [frame["metrics"] for frame in target["frames"]] for target in found["targets"]}


def test_a_file_a_track_holds_bss_eval_of_all_its_stems_together(stems, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    out = tmp_path / "museval"
    result = run("score", stems[0], "--ref", stems[1], "-m", "snr", "--museval", out)
    assert result.exit_code == 0, result.stderr
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.*")} == {"est/one.json", "est/two.json"}
    est, ref = (
        torch.stack(
            [torch.from_numpy(soundfile.read(root / f"two/{stem}.wav", dtype="float32")[0].T) for stem in STEMS]
        )
        for root in stems
    )
    scores = bss_eval(est[None], ref[None], window=RATE, hop=RATE)
    found = of_museval(out / "est" / "two.json")
    assert list(found) == list(STEMS)
    for source, frames in enumerate(found.values()):
        assert [frame["SIR"] for frame in frames] == pytest.approx(scores.sir[0, source].tolist(), abs=1e-5)
        assert [frame["SDR"] for frame in frames] == pytest.approx(scores.sdr[0, source].tolist(), abs=1e-5)


def test_it_is_as_musevals_schema_says(stems, tmp_path: Path) -> None:
    """Which comes with museval; read as a file, since the package does not import everywhere."""
    jsonschema = pytest.importorskip("jsonschema")
    from importlib.metadata import PackageNotFoundError, files

    try:
        (schema,) = (file for file in files("museval") or [] if file.name == "musdb.schema.json")
    except (PackageNotFoundError, ValueError):
        pytest.skip("museval is not installed, or brings no schema")
    run("score", stems[0], "--ref", stems[1], "-m", "snr", "--museval", tmp_path / "out")
    jsonschema.validate(json.loads((tmp_path / "out" / "est" / "one.json").read_text()), json.loads(schema.read_text()))


def test_a_frame_without_a_value_is_nan_as_in_museval(stems, tmp_path: Path) -> None:
    half = noise(0, samples=2 * RATE, channels=2) * (np.arange(2 * RATE) < RATE)[:, None]
    folder(stems[1], {"one/bass": half})
    run("score", stems[0], "--ref", stems[1], "-m", "snr", "--museval", tmp_path / "out")
    first, second = of_museval(tmp_path / "out" / "est" / "one.json")["bass"]
    assert math.isfinite(first["SDR"])
    assert math.isnan(second["SDR"])


def test_a_track_with_a_broken_stem_is_named_and_the_others_are_judged(stems, tmp_path: Path) -> None:
    (stems[0] / "one" / "bass.wav").write_bytes(b"")
    result = run("score", stems[0], "--ref", stems[1], "-m", "snr", "--museval", tmp_path / "out")
    assert result.exit_code == 3
    assert "est/one: no BSS Eval: " in result.stderr
    assert "is empty, 0 bytes" in result.stderr
    assert [path.name for path in (tmp_path / "out").rglob("*.json")] == ["two.json"]


def test_files_without_tracks_are_refused(stems, tmp_path: Path) -> None:
    result = run("score", stems[0] / "one", "--ref", stems[1] / "one", "-m", "snr", "--museval", tmp_path / "out")
    assert result.exit_code == 2
    assert "needed are folders of stems: track/stem.wav" in result.stderr
