"""DNSMOS: Microsoft's opinions to the fifth digit, heard in Microsoft's pieces, with a gradient."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss.errors import ArgumentError, MissingExtraError, ShapeError
from percloss.nets._weights import packaged
from percloss.nets.dnsmos import P808, P835, SEGMENT, p808_opinions, p835_opinions, segments
from tests.nets.common import (
    hears_the_shortest,
    is_made_of_its_generator_alone,
    keeps_the_protocol,
    needs,
    refuses_what_is_no_waveform,
    uninstall,
)
from tests.signals import at_snr, noise, speech

RATE = 16_000
NETS: dict[str, type[P835] | type[P808]] = {"P835": P835, "P808": P808}


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def as_keras_exports(net: P835 | P808, path) -> None:
    """Weights as an ONNX file in the names of the package, layers numbered with gaps."""
    named: dict[str, Any] = {}
    for at, conv in enumerate(net.convs):
        layer = f"conv2d_{2 * at}" if at else "conv2d"
        named |= {f"{layer}/kernel:0": conv.weight, f"{layer}/bias:0": conv.bias}
    for at, dense in enumerate(net.dense):
        layer = f"net/dense_{10 * at}" if at else "net/dense"
        named[f"{layer}/MatMul/ReadVariableOp/resource:0"] = dense.weight.T
        named[f"{layer}/BiasAdd/ReadVariableOp/resource:0"] = dense.bias
    if isinstance(net, P835):
        named["time2freq/stft-real/kernel:0"] = net.real.weight[..., None]
        named["time2freq/stft-imag/kernel:0"] = net.imaginary.weight[..., None]
    path.write_bytes(onnx(named))


def onnx(named: dict[str, Tensor]) -> bytes:
    """A model whose graph holds nothing but these constants, and one of integers."""
    tensors = [field(5, varint(2 << 3) + varint(7) + field(8, b"shape") + field(9, bytes(8)))]
    for name, x in named.items():
        dims = b"".join(varint(1 << 3) + varint(size) for size in x.shape)
        data = np.ascontiguousarray(x.detach().numpy()).tobytes()
        tensors.append(field(5, dims + varint(2 << 3) + varint(1) + field(8, name.encode()) + field(9, data)))
    return varint(1 << 3) + varint(7) + field(7, b"".join(tensors))


@pytest.mark.parametrize("name", NETS)
def test_every_layer_is_there_and_carries_a_gradient(name: str) -> None:
    keeps_the_protocol(NETS[name](), time=8_000)


@pytest.mark.parametrize("name", NETS)
def test_what_is_no_waveform_is_refused(name: str) -> None:
    refuses_what_is_no_waveform(NETS[name]())
    hears_the_shortest(NETS[name]())


@pytest.mark.parametrize("name", NETS)
def test_weights_come_from_the_generator_given(name: str) -> None:
    is_made_of_its_generator_alone(NETS[name])


@pytest.mark.parametrize("name", NETS)
def test_a_file_gives_back_what_was_saved(name: str, tmp_path) -> None:
    net = NETS[name](generator=torch.Generator().manual_seed(5)).eval()
    as_keras_exports(net, tmp_path / "net.onnx")
    loaded = NETS[name].pretrained(tmp_path / "net.onnx")
    assert not loaded.training
    x = 0.1 * noise(1, 4_000)
    assert torch.equal(loaded.opinion(x), net.opinion(x))


@pytest.mark.parametrize("content", [b"no model", b"\x3a\x05\x2a", field(7, field(5, field(9, b"odd")))])
def test_what_is_no_such_file_is_refused(tmp_path, content: bytes) -> None:
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(ArgumentError, match="broken.onnx"):
        P808.pretrained(tmp_path / "broken.onnx")


def test_the_weights_of_another_net_are_refused(tmp_path) -> None:
    as_keras_exports(P835(), tmp_path / "net.onnx")
    with pytest.raises(ArgumentError, match=r"unknown \(convs.5.bias"):
        P808.pretrained(tmp_path / "net.onnx")


def test_without_the_package_it_says_what_to_type(monkeypatch) -> None:
    uninstall(monkeypatch)
    with pytest.raises(MissingExtraError, match="pip install --no-deps speechmos.*sig_bak_ovr.onnx"):
        P835.pretrained()
    with pytest.raises(MissingExtraError, match=r"P808.pretrained\('model_v8.onnx'\)"):
        P808.pretrained()


def test_the_mel_picture_is_librosas() -> None:
    librosa = pytest.importorskip("librosa", reason="the oracle of the mel scale")
    x = 0.3 * speech()[0, :, : 2 * RATE]
    mel = librosa.feature.melspectrogram(y=x[0].numpy(), sr=RATE, n_fft=321, hop_length=160, n_mels=120)
    expected = torch.from_numpy((librosa.power_to_db(mel, ref=np.max) + 40) / 40).T
    # 1e-4 is 0.004 dB, for the quietest bands in single precision.
    torch.testing.assert_close(P808().picture(x)[0], expected, atol=1e-4, rtol=0)


def test_the_mel_picture_sees_no_level() -> None:
    x = speech()[0, :, :RATE]
    torch.testing.assert_close(P808().picture(x), P808().picture(x / 8))


@pytest.mark.parametrize(
    ("time", "starts"),
    [
        (SEGMENT, [0]),
        (11 * RATE, [0, 1]),
        (11 * RATE - 1, [0]),
        (31 * RATE, list(range(7))),  # pieces 7 to 22 come out one sample short
        (35 * RATE, [*range(7), 24, 25]),
    ],
)
def test_a_clip_is_heard_in_pieces_a_second_apart(time: int, starts: list[int]) -> None:
    x = torch.arange(time, dtype=torch.float64)[None]
    pieces = list(segments(x))
    assert [int(piece[0, 0]) // RATE for piece in pieces] == starts
    assert all(piece.shape == (1, SEGMENT) for piece in pieces)


def test_a_short_clip_is_doubled_until_it_fills_a_piece() -> None:
    x = torch.arange(3 * RATE)[None].float()
    (first, *_) = segments(x)
    assert torch.equal(first[0], x[0].repeat(4)[:SEGMENT])
    assert len(list(segments(x))) == 3  # 12 s
    with pytest.raises(ShapeError):
        next(segments(x[:, :0]))


def test_opinions_are_means_over_the_pieces() -> None:
    x = 0.1 * noise(1, 11 * RATE)
    p835, p808 = P835().eval(), P808().eval()
    with torch.no_grad():
        pieces = torch.stack([p835.opinion(x[:, at : at + SEGMENT]) for at in (0, RATE)])
        a, b, c, d = p835.fit.float().T
        raw, fitted = p835_opinions(p835, x)
        torch.testing.assert_close(raw, pieces.mean(0))
        torch.testing.assert_close(fitted, (a * pieces**3 + b * pieces**2 + c * pieces + d).mean(0), rtol=1e-4, atol=0)
        assert p808_opinions(p808, x).shape == (1,)


# speechmos 0.0.1.1 on onnxruntime 1.32, librosa 0.11, 2026-07: signal, background, overall; P.808; and personalized.
# From librivox_0870: 2.5 s, heard in one piece, and 2.75 s with white noise at 10 dB, heard in two.
OPINIONS = {
    "clean": ((3.37910, 3.47253, 2.82847), 3.56179, (3.97982, 2.56988, 2.89060)),
    "noisy": ((3.43000, 1.88273, 2.02793), 2.66886, (4.14820, 1.75378, 2.30244)),
}


@needs("speechmos")
@pytest.mark.parametrize("name", OPINIONS)
def test_the_weights_give_the_opinions_of_microsofts_program(name: str) -> None:
    x = speech(seconds=2.5) if name == "clean" else at_snr(speech(seconds=2.75), 10.0)
    fitted, p808, personalized = OPINIONS[name]
    with torch.no_grad():
        assert p835_opinions(P835.pretrained(), x[0]).fitted[0].tolist() == pytest.approx(fitted, abs=1e-4)
        assert p808_opinions(P808.pretrained(), x[0]).item() == pytest.approx(p808, abs=1e-4)
        net = P835.pretrained(personalized=True)
        assert p835_opinions(net, x[0]).fitted[0].tolist() == pytest.approx(personalized, abs=1e-4)


@needs("speechmos")
def test_raw_opinions_are_those_of_onnxruntime() -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the reference that runs the file itself")
    x = at_snr(speech(), 20.0)[0].repeat(1, 4)[:, :SEGMENT]
    for net, file in ((P835, "sig_bak_ovr"), (P808, "model_v8")):
        path = packaged("speechmos", f"speechmos/dnsmos_models/{file}.onnx", net="test")
        ours = net.pretrained()
        given = x if net is P835 else ours.picture(x[:, :-160])
        (expected,) = runtime.InferenceSession(str(path)).run(None, {"input_1": given.numpy()})
        with torch.no_grad():
            said = ours.opinion(x if net is P835 else x[:, :-160])
        np.testing.assert_allclose(said.numpy(), expected, atol=1e-5)


@needs("speechmos")
def test_noise_lowers_the_opinion_and_the_gradient_knows_it() -> None:
    net = P835.pretrained()
    noisy = at_snr(speech(), 10.0)[0].repeat(1, 4)[:, :SEGMENT].requires_grad_()
    overall = net.opinion(noisy)[0, 2]
    (gradient,) = torch.autograd.grad(overall, noisy)
    assert gradient.isfinite().all()
    with torch.no_grad():
        step = 1e-3 * noisy.norm() * gradient / gradient.norm()
        assert net.opinion(noisy + step)[0, 2] > overall + 0.01


def test_silence_has_a_finite_opinion_and_gradient() -> None:
    silence = torch.zeros(1, SEGMENT, requires_grad=True)
    total = p835_opinions(P835(), silence).fitted.sum() + p808_opinions(P808(), silence).sum()
    (gradient,) = torch.autograd.grad(total, silence)
    assert math.isfinite(total.item())
    assert gradient.isfinite().all()
