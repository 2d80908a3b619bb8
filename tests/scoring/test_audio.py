"""A file is read as it is, or refused with what is wrong with it."""

import io
import os
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss.data import clip
from percloss.errors import ArgumentError, AudioFileError, SampleRateError, ShapeError
from percloss.scoring import audio
from tests.signals import noise

soundfile = pytest.importorskip("soundfile", reason="soundfile reads and writes the files")

RATE = 16_000
KINDS: dict[str, dict[str, Any]] = {
    "wav": {"subtype": "PCM_16"},
    "flac": {},
    "aiff": {"subtype": "PCM_24"},
    "ogg": {"subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {},
}
LOSSLESS = ("wav", "flac", "aiff")


def encoded(kind: str, wave: Tensor, rate: int = RATE, **settings: Any) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, wave[0].T.numpy(), rate, **({"format": kind.upper()} | KINDS.get(kind, {}) | settings))
    return content.getvalue()


@pytest.fixture(scope="module")
def wave() -> Tensor:
    """Two seconds of stereo, its loudness rising."""
    return 0.1 * noise(1, 2, 2 * RATE) * torch.linspace(0.1, 1, 2 * RATE)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def place(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return place


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_whole(kind: str, wave: Tensor, put: Callable[[str, bytes], Path]) -> None:
    came = audio.read(put(f"a.{kind}", encoded(kind, wave)))
    assert came.wave.dtype == torch.float32
    assert came.wave.shape == wave.shape
    assert came.sample_rate == RATE
    assert came.path.name == f"a.{kind}"
    assert came.nonfinite == 0
    likeness = torch.nn.functional.cosine_similarity(came.wave.flatten(), wave.flatten(), dim=0)
    assert likeness > (0.999 if kind in LOSSLESS else 0.7)  # noise is the hardest thing to encode


@pytest.mark.parametrize("kind", KINDS)
def test_the_header_says_what_reading_finds(kind: str, wave: Tensor, put: Callable[[str, bytes], Path]) -> None:
    path = put(f"a.{kind}", encoded(kind, wave))
    assert audio.info(path)[:3] == (RATE, 2, 2 * RATE)
    assert audio.info(path)[3:] == audio.read(path)[3:5]


def test_every_kind_is_looked_for_in_a_folder() -> None:
    assert {f".{kind}" for kind in KINDS} < audio.EXTENSIONS


def test_integers_are_scaled_to_one(put: Callable[[str, bytes], Path]) -> None:
    samples = np.array([[-(2**15)], [2**14], [2**15 - 1]], dtype=np.int16)
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="WAV")
    assert audio.read(put("a.wav", content.getvalue())).wave.flatten().tolist() == [-1.0, 0.5, 1 - 2**-15]


def test_nan_and_infinity_in_a_float_file_are_counted(put: Callable[[str, bytes], Path]) -> None:
    wave = torch.zeros(1, 1, 100)
    wave[..., 10], wave[..., 20] = float("nan"), float("inf")
    assert audio.read(put("a.wav", encoded("wav", wave, subtype="FLOAT"))).nonfinite == 2


def refusal(path: Path) -> str:
    with pytest.raises(AudioFileError) as caught:
        audio.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_file_is_named(tmp_path: Path, put: Callable[[str, bytes], Path]) -> None:
    assert "there is no such file; check the path" in refusal(tmp_path / "missing.wav")
    assert "is a folder; give one audio file" in refusal(tmp_path)
    assert "is empty, 0 bytes" in refusal(put("empty.wav", b""))
    assert "cannot be looked at" in refusal(tmp_path / ("long" * 200))
    assert "cannot be looked at" in refusal(tmp_path / "null\0byte.wav")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert "is a pipe or a device" in refusal(tmp_path / "pipe.wav")


def test_a_file_that_may_not_be_read_is_named(
    wave: Tensor, put: Callable[[str, bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put("a.wav", encoded("wav", wave))
    monkeypatch.setattr(os, "access", lambda *_: False)  # to root, everything may be read
    assert "may not be read" in refusal(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are not UTF-8")
def test_a_name_that_is_not_utf8_is_read_and_can_be_printed(wave: Tensor, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    path.write_bytes(encoded("wav", wave))
    assert audio.read(path).wave.shape == wave.shape
    path.write_bytes(b"")
    assert r"caf\xe9.wav: is empty" in refusal(path).encode("utf-8").decode("utf-8")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.txt"])
def test_text_is_no_audio(name: str, put: Callable[[str, bytes], Path]) -> None:
    assert "ffmpeg -i" in refusal(put(name, b"This is not a recording.\n" * 100))


def test_raw_samples_are_refused(put: Callable[[str, bytes], Path]) -> None:
    assert "do not say their rate" in refusal(put("a.raw", bytes(1000)))


@pytest.mark.parametrize("kind", ["wav", "aiff"])
def test_a_header_without_samples_is_refused(kind: str, put: Callable[[str, bytes], Path]) -> None:
    assert "holds no samples" in refusal(put(f"a.{kind}", encoded(kind, torch.zeros(1, 1, 0))))


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused(kind: str, part: float, put: Callable[[str, bytes], Path]) -> None:
    whole = encoded(kind, 0.1 * noise(1, 1, 8 * RATE))
    said = refusal(put(f"a.{kind}", whole[: int(part * len(whole))]))
    assert "is truncated" in said or "cut short" in said


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_written_into_a_pipe_is_not_taken_for_truncated(
    size: int, wave: Tensor, put: Callable[[str, bytes], Path]
) -> None:
    content = bytearray(encoded("wav", wave))
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    assert audio.read(put("a.wav", bytes(content))).wave.shape == wave.shape


def test_an_mp3_without_a_header_of_its_length_is_not_taken_for_truncated(put: Callable[[str, bytes], Path]) -> None:
    rising = 0.1 * noise(1, 1, 20 * RATE) * torch.linspace(0, 1, 20 * RATE) ** 2
    content = encoded("mp3", rising, bitrate_mode="VARIABLE")
    frames = content[content.index(content[:2], content.index(b"Xing")) :]
    path = put("a.mp3", frames)
    came = audio.read(path).wave.shape[-1]
    assert came == pytest.approx(20 * RATE, abs=2 * 1152)
    assert audio.info(path).frames != came  # extrapolated from a bit rate that is not constant


@pytest.mark.parametrize("rate", [0, 7, 2**31 - 1])
def test_a_rate_that_no_audio_has_is_refused(rate: int, wave: Tensor, put: Callable[[str, bytes], Path]) -> None:
    content = bytearray(encoded("wav", wave))
    content[24:28] = struct.pack("<I", rate)
    path = put("a.wav", bytes(content))
    refusal(path)
    with pytest.raises(AudioFileError):
        audio.info(path)


def test_a_small_file_that_decodes_to_too_much_is_refused(
    put: Callable[[str, bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "_MOST_SAMPLES", 3_000_000)
    content = encoded("flac", torch.zeros(1, 2, 2_000_000))
    assert len(content) < 20_000
    assert "holds more than 3000000 samples" in refusal(put("a.flac", content))


def test_a_header_that_promises_too_much_allocates_nothing(put: Callable[[str, bytes], Path]) -> None:
    content = bytearray(encoded("flac", 0.1 * noise(1, 1, 4000)))
    content[21] |= 0x0F  # STREAMINFO: the upper four of the 36 bits of the length, 60 thousand million samples
    said = refusal(put("a.flac", bytes(content)))
    assert "promises" in said or "cannot be decoded" in said


def mutated(whole: bytes, chance: random.Random) -> bytes:
    content = bytearray(whole)
    for _ in range(chance.choice([1, 2, 8, 50])):
        # Headers are short and decide the most: half of all changes are there.
        place = chance.randrange(min(100, len(content)) if chance.random() < 0.5 else len(content))
        how = chance.choice(["byte", "byte", "extreme", "word", "cut", "insert"])
        if how == "byte":
            content[place] = chance.randrange(256)
        elif how == "extreme":
            content[place] = chance.choice([0, 127, 128, 255])
        elif how == "word":
            content[place : place + 4] = chance.choice([bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f"])
        elif how == "cut":
            del content[place : place + chance.randrange(1, 500)]
        else:
            content[place:place] = chance.randbytes(chance.randrange(1, 50))
        content = content or bytearray(whole)
    return bytes(content)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["wav", "float", "flac", "ogg", "mp3"])
def test_whatever_the_bytes_it_is_audio_or_a_named_error(kind: str, put: Callable[[str, bytes], Path]) -> None:
    chance = random.Random(f"hostile {kind}")
    short = 0.1 * noise(1, 2, 4000)
    whole = encoded("wav", short, subtype="FLOAT") if kind == "float" else encoded(kind, short)
    outcomes = {"audio": 0, "refused": 0}
    tries = 40
    for _ in range(tries):
        path = put("a.mp3" if kind == "mp3" else "a.bin", mutated(whole, chance))
        try:
            came = audio.read(path)
        except AudioFileError as error:
            outcomes["refused"] += str(error).startswith(str(path))
        else:
            assert came.wave.dim() == 3
            assert came.wave.numel() > 0
            assert came.nonfinite == (~torch.isfinite(came.wave)).sum()
            outcomes["audio"] += 1
    assert sum(outcomes.values()) == tries, "a refusal that does not name its file"
    assert outcomes["refused"] > 3, "the mutations spoil nothing"


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_what_is_written_is_read_to_24_bits(suffix: str, wave: Tensor, tmp_path: Path) -> None:
    audio.write(tmp_path / f"a{suffix}", wave, 44_100)
    came = audio.read(tmp_path / f"a{suffix}")
    assert (came.sample_rate, came.subtype) == (44_100, "PCM_24")
    torch.testing.assert_close(came.wave, wave, atol=2**-23, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_a_written_file_may_be_read_by_those_who_may_read_others(wave: Tensor, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    audio.write(tmp_path / "a.wav", wave, RATE)
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(wave: Tensor, tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_text("old")
    with pytest.raises(AudioFileError, match=r"a\.flac: cannot be written .* at most 8 channels"):
        audio.write(tmp_path / "a.flac", wave.repeat(1, 5, 1), RATE)
    assert (tmp_path / "a.flac").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(AudioFileError, match="give a folder that exists"):
        audio.write(tmp_path / "missing" / "a.wav", wave, RATE)


def test_what_24_bits_cannot_hold_is_not_written(wave: Tensor, tmp_path: Path) -> None:
    for suffix in (".mp3", ""):
        with pytest.raises(ArgumentError, match=r"use a\.wav"):
            audio.write(tmp_path / f"a{suffix}", wave, RATE)
    with pytest.raises(ArgumentError, match=r"peak of 1\.5 came.*wave / wave\.abs\(\)\.max\(\)"):
        audio.write(tmp_path / "a.wav", torch.full((1, 1, 10), 1.5), RATE)
    with pytest.raises(ArgumentError, match="nan_to_num"):
        audio.write(tmp_path / "a.wav", torch.full((1, 1, 10), float("nan")), RATE)
    for shape in ((10,), (2, 1, 10), (1, 1, 0)):
        with pytest.raises(ShapeError, match="a file holds"):
            audio.write(tmp_path / "a.wav", torch.zeros(shape), RATE)
    assert not list(tmp_path.iterdir())


def test_resampling_there_and_back_keeps_what_both_rates_hold() -> None:
    pytest.importorskip("soxr", reason="soxr resamples the files")
    speech, rate = clip("librivox_0870")
    there = audio.resample_file(speech, rate, 44_100)
    assert there.shape == (1, 1, round(speech.shape[-1] * 44_100 / rate))
    back = audio.resample_file(there, 44_100, rate)
    error = (back - speech)[..., 500:-500].square().sum() / speech.square().sum()
    assert 10 * error.log10() < -40  # soxr HQ rolls off above 0.91 of the half rate, where this speech has a little


def test_resampling_is_that_of_soxr_hq() -> None:
    soxr = pytest.importorskip("soxr", reason="soxr resamples the files")
    stereo = noise(1, 2, 5000)
    expected = torch.stack([torch.from_numpy(soxr.resample(c.numpy(), 48_000, 16_000, "HQ")) for c in stereo[0]])
    torch.testing.assert_close(audio.resample_file(stereo, 48_000, 16_000)[0], expected, atol=1e-6, rtol=0)
    assert audio.RESAMPLER == "soxr-hq"


def test_the_same_rate_is_not_resampled(wave: Tensor) -> None:
    assert audio.resample_file(wave, RATE, RATE) is wave


def test_resampling_refuses_what_is_no_file(wave: Tensor) -> None:
    with pytest.raises(SampleRateError, match="0 to 16000 Hz came"):
        audio.resample_file(wave, 0, RATE)
    with pytest.raises(ShapeError, match=r"\(2, 32000\) came"):
        audio.resample_file(wave[0], RATE, 8000)


def test_every_recording_of_the_data_is_read(data_root: Path) -> None:
    """A few of each kind and folder."""
    chosen: dict[tuple[Path, str], Path] = {}
    for path in sorted(data_root.rglob("*")):
        if path.suffix.lower() in audio.EXTENSIONS:
            chosen.setdefault((path.parent, path.suffix), path)
    assert chosen
    for path in chosen.values():
        came = audio.read(path)
        assert came.nonfinite == 0
        assert came.wave.shape[1:] == audio.info(path)[1:3]
