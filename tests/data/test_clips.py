"""The recordings inside the package are what their manifest says, and the pairs made of them are exact."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import percloss
from percloss.data import clip, clips, noisy_speech, song
from percloss.errors import ArgumentError

pytest.importorskip("soundfile", reason="soundfile reads the embedded clips")

PACKAGE = Path(percloss.__file__).parent
FOLDER = PACKAGE / "data" / "clips"


def test_the_manifest_lists_every_recording_and_each_is_unchanged() -> None:
    listed = {entry["path"]: entry for entry in clips().values()}
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*")}
    assert set(listed) == there
    for path, entry in listed.items():
        content = (FOLDER / path).read_bytes()
        assert len(content) == entry["bytes"]
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]


def test_every_clip_states_its_licence_and_its_origin() -> None:
    assert all(entry["licence"] and entry["origin"] for entry in clips().values())


def test_the_notice_of_the_sound_font_goes_with_what_was_made_of_it() -> None:
    assert any("FluidR3" in entry["licence"] for entry in clips().values())
    assert "Frank Wen" in (FOLDER / "LICENCE-FluidR3.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", clips())
def test_a_clip_is_as_the_manifest_describes_it(name: str) -> None:
    wave, rate = clip(name)
    entry = clips()[name]
    assert wave.dtype == torch.float32
    assert wave.shape[:2] == (1, entry["channels"])
    assert rate == entry["sr"]
    assert wave.shape[-1] / rate == pytest.approx(entry["seconds"], abs=0.01)
    assert 0.1 < float(wave.abs().max()) < 1


def test_an_unknown_name_is_answered_with_the_nearest_and_with_all() -> None:
    with pytest.raises(ArgumentError, match=r"'drumz' came; did you mean 'drums'\? there are: .*librivox_0870"):
        clip("drumz")


def test_two_readings_of_a_clip_share_no_memory() -> None:
    clip("drums").wave.zero_()
    assert clip("drums").wave.any()


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 30.0])
@pytest.mark.parametrize("noise", ["babble10", "vinyl_hiss"])  # the second is stereo, at another rate, and shorter
def test_noisy_speech_has_exactly_its_ratio(snr_db: float, noise: str) -> None:
    noisy, clean, added, rate = noisy_speech(snr_db, noise=noise)
    reached = 10 * (clean.double().square().sum() / (noisy - clean).double().square().sum()).log10()
    assert float(reached) == pytest.approx(snr_db, abs=1e-4)  # float32 rounds the sum
    assert torch.equal(noisy, clean + added)
    assert noisy.shape == clean.shape == added.shape == (1, 1, 113_600)
    assert rate == 16_000


def test_the_noise_has_no_offset_that_would_count_and_not_be_heard() -> None:
    _, _, noise, _ = noisy_speech()
    assert clip("babble10").wave.mean().abs() > 0.2 * clip("babble10").wave.std()
    assert noise.mean().abs() < 1e-4 * noise.std()


def test_noisy_speech_is_the_same_at_every_call() -> None:
    assert torch.equal(noisy_speech(5.0).noisy, noisy_speech(5.0).noisy)


def test_a_ratio_that_is_no_number_is_refused() -> None:
    with pytest.raises(ArgumentError, match="finite number of decibels"):
        noisy_speech(float("nan"))


def test_the_stems_sum_to_the_song_in_any_order() -> None:
    mixture, stems, rate = song()
    assert list(stems) == ["bass", "drums", "keys", "strings"]
    assert torch.equal(sum(stems.values()), mixture)
    assert torch.equal(sum(reversed(stems.values())), mixture)
    assert rate == 44_100
    assert float(mixture.abs().max()) < 1


def test_a_stem_is_its_clip_to_the_precision_of_20_bits() -> None:
    assert (song().stems["bass"] - clip("bass").wave).abs().max() <= 2**-21


def test_the_clips_are_found_in_a_zipped_package(tmp_path: Path) -> None:
    archive = tmp_path / "percloss.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in PACKAGE.rglob("*"):
            if "__pycache__" not in path.parts:
                file.write(path, Path("percloss") / path.relative_to(PACKAGE))
    code = "import percloss.data; print(percloss.data.__file__, tuple(percloss.data.clip('drums').wave.shape))"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(archive)!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(str(archive))
    assert run.stdout.endswith("(1, 2, 352801)\n")
