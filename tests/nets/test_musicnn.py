"""The VGG of musicnn: TensorFlow's numbers from a checkpoint that is read without TensorFlow."""

import inspect
import struct
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss.errors import ArgumentError, MissingExtraError
from percloss.nets._tensorflow import variables
from percloss.nets.musicnn import MusicnnVGG
from tests.nets.common import (
    glide,
    hears_the_shortest,
    is_made_of_its_generator_alone,
    keeps_the_protocol,
    needs,
    refuses_what_is_no_waveform,
    stated,
    uninstall,
)
from tests.signals import noise, speech

# Mean and root mean square of each layer for a patch of the glide, by the code of package musicnn 0.1.0 on TensorFlow
# 2.21, fed with the mel spectrogram of librosa 0.11 (pad_mode="reflect", not rounded to half precision); 2026-07.
MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)  # the end of a LevelDB table
PATCH = 186 * 256 + 100
TENSORFLOW = {
    "MTT": {
        "pool1": (0.102415, 1.240449),
        "pool2": (0.466734, 2.151824),
        "pool3": (0.568660, 2.683879),
        "pool4": (0.411955, 2.076395),
        "pool5": (0.291058, 0.796191),
    },
    "MSD": {
        "pool1": (-0.074406, 1.701742),
        "pool2": (-0.063188, 1.703620),
        "pool3": (0.026021, 2.252878),
        "pool4": (-0.286039, 1.492336),
        "pool5": (-0.039122, 0.601719),
    },
}


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def nested(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(rows: list[tuple[bytes, bytes]]) -> bytes:
    """A block of a LevelDB table, every second key written by what it does not share with the one before."""
    out, restarts, before = b"", [], b""
    for at, (key, value) in enumerate(rows):
        shared = 0
        if at % 2:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        else:
            restarts.append(len(out))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def as_tensorflow_saves(named: dict[str, Tensor], folder) -> None:
    """A checkpoint of one shard, its index in two blocks."""
    folder.mkdir()
    data, rows = b"", [(b"", integer(1, 1))]
    for name in sorted(named):
        x = np.ascontiguousarray(named[name].detach().numpy())
        shape = b"".join(nested(2, integer(1, size)) for size in x.shape)
        place = integer(4, len(data)) if data else b""  # a protocol buffer leaves out what is 0
        rows.append((name.encode(), integer(1, 1) + nested(2, shape) + place + integer(5, x.nbytes)))
        data += x.tobytes()
    rows.append((b"step", integer(1, 9) + integer(5, 8)))
    table, places = b"", []
    for part in (rows[:7], rows[7:], []):
        written = block(part)
        places.append((part[-1][0] if part else b"", varint(len(table)) + varint(len(written))))
        table += written + bytes(5)
    meta = places.pop()[1]
    index = varint(len(table)) + varint(len(block(places)))
    table += block(places) + bytes(5)
    footer = (meta + index).ljust(40, b"\0") + MAGIC
    (folder / ".index").write_bytes(table + footer)
    (folder / ".data-00000-of-00001").write_bytes(data)


def named_as_there(net: MusicnnVGG) -> dict[str, Tensor]:
    named: dict[str, Any] = {}
    for at, norm in enumerate((net.entrance, *net.norms)):
        layer = f"batch_normalization_{at}" if at else "batch_normalization"
        named |= {f"{layer}/gamma": norm.weight, f"{layer}/beta": norm.bias}
        named |= {f"{layer}/moving_mean": norm.running_mean, f"{layer}/moving_variance": norm.running_var}
    for at, conv in enumerate(net.convs, start=1):
        named |= {f"{at}CNN/kernel": conv.weight.permute(2, 3, 1, 0), f"{at}CNN/bias": conv.bias}
    return named | {"dense/kernel": torch.zeros(256, 50), "dense/bias": torch.zeros(50)}


def test_every_layer_is_there_and_carries_a_gradient() -> None:
    keeps_the_protocol(MusicnnVGG(), time=MusicnnVGG.min_samples)


def test_what_is_no_waveform_is_refused() -> None:
    refuses_what_is_no_waveform(MusicnnVGG())
    hears_the_shortest(MusicnnVGG())


def test_weights_come_from_the_generator_given() -> None:
    is_made_of_its_generator_alone(MusicnnVGG)


def test_the_mel_spectrogram_is_librosas() -> None:
    librosa = pytest.importorskip("librosa", reason="the oracle of the mel scale")
    x = speech()[0, :, :16_000]
    mel = librosa.feature.melspectrogram(
        y=x[0].numpy(), sr=16_000, hop_length=256, n_fft=512, n_mels=96, pad_mode="reflect"
    )
    expected = torch.from_numpy(np.log10(10_000 * mel.T + 1))
    torch.testing.assert_close(MusicnnVGG().picture(x)[0], expected, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_gives_back_what_was_saved(tmp_path) -> None:
    net = MusicnnVGG(generator=torch.Generator().manual_seed(5)).eval()
    for norm in (net.entrance, *net.norms):
        norm.running_mean += 0.1 * noise(len(norm.running_mean))
        norm.running_var *= 1 + noise(len(norm.running_var), seed=1).abs()
    as_tensorflow_saves(named_as_there(net), tmp_path / "MTT_vgg")
    loaded = MusicnnVGG.pretrained(tmp_path / "MTT_vgg")
    assert not loaded.training
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_checkpoint_that_lacks_weights_is_refused_by_name(tmp_path) -> None:
    named = named_as_there(MusicnnVGG())
    del named["3CNN/kernel"]
    as_tensorflow_saves(named, tmp_path / "half")
    with pytest.raises(ArgumentError, match=r"1 missing \(convs.2.weight\)"):
        MusicnnVGG.pretrained(tmp_path / "half")
    with pytest.raises(ArgumentError, match="there is no file"):
        MusicnnVGG.pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"no table" * 10, b"\xff" * 40 + MAGIC], ids=["empty", "other", "cut"])
def test_what_is_no_checkpoint_is_refused(tmp_path, content: bytes) -> None:
    (tmp_path / ".index").write_bytes(content)
    (tmp_path / ".data-00000-of-00001").write_bytes(b"")
    with pytest.raises(ArgumentError, match="cannot be read as a TensorFlow checkpoint"):
        MusicnnVGG.pretrained(tmp_path)


def test_an_index_without_its_data_is_refused(tmp_path) -> None:
    as_tensorflow_saves({"x": torch.zeros(3)}, tmp_path / "kept")
    (tmp_path / "kept" / ".data-00000-of-00001").unlink()
    with pytest.raises(ArgumentError, match="data-00000-of-00001"):
        variables(tmp_path / "kept" / ".index", net="test")


def test_without_the_package_it_says_what_to_type(monkeypatch) -> None:
    uninstall(monkeypatch)
    with pytest.raises(MissingExtraError, match="pip install --no-deps musicnn"):
        MusicnnVGG.pretrained()


def test_an_unknown_dataset_is_refused() -> None:
    """Unwrapped, because the suite's own type checking would refuse it before this code sees it."""
    with pytest.raises(ArgumentError, match="dataset='MTT'"):
        inspect.unwrap(vars(MusicnnVGG)["pretrained"].__func__)(MusicnnVGG, dataset="GTZAN")


@needs("musicnn")
@pytest.mark.parametrize("dataset", TENSORFLOW)
def test_the_weights_give_the_numbers_of_tensorflow(dataset: str) -> None:
    with torch.no_grad():
        features = MusicnnVGG.pretrained(dataset=dataset)(glide(PATCH, 16_000))
    for name, values in stated(features).items():
        assert values == pytest.approx(TENSORFLOW[dataset][name], rel=5e-5, abs=1e-5)
