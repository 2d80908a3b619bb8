"""VGGish: AudioSet's front end and torchvggish's network. Its weights cannot be had here: all of this is on others."""

import pytest
import torch

from percloss.errors import ArgumentError
from percloss.nets.vggish import VGGish
from tests.nets.common import glide, hears_the_shortest, keeps_the_protocol, refuses_what_is_no_waveform

# Frame 40 of the glide, every ninth band, by torchvggish 0.2 (vggish_input.waveform_to_examples) in 2026-07.
BANDS = [-4.3434275, -1.9913082, -3.0900344, -3.1111326, -4.5507766, -4.5954516, -4.6019959, -4.6042109]

# Names and shapes of vggish-10086976.pth, by torchvggish 0.2.
TORCHVGGISH = {
    "features.0": (64, 1, 3, 3),
    "features.3": (128, 64, 3, 3),
    "features.6": (256, 128, 3, 3),
    "features.8": (256, 256, 3, 3),
    "features.11": (512, 256, 3, 3),
    "features.13": (512, 512, 3, 3),
    "embeddings.0": (4096, 12288),
    "embeddings.2": (4096, 4096),
    "embeddings.4": (128, 4096),
}


@pytest.fixture(scope="module")
def net() -> VGGish:
    """72 million random weights, made once."""
    return VGGish().eval()


def test_every_layer_is_there_and_carries_a_gradient(net: VGGish) -> None:
    keeps_the_protocol(net, time=VGGish.min_samples)


def test_what_is_no_waveform_is_refused(net: VGGish) -> None:
    refuses_what_is_no_waveform(net)
    hears_the_shortest(net)


def test_the_spectrogram_is_that_of_audioset(net: VGGish) -> None:
    picture = net.picture(glide(16_000, 16_000).double())
    assert picture[0, 40, ::9].tolist() == pytest.approx(BANDS, abs=1e-6)  # the digits given


def test_silence_is_the_logarithm_of_the_offset(net: VGGish) -> None:
    picture = net.picture(torch.zeros(1, 1_000))
    torch.testing.assert_close(picture, torch.full_like(picture, 0.01).log())


def test_a_clip_is_cut_into_examples(net: VGGish) -> None:
    x = glide(40_000, 16_000)  # 2.5 s: two examples, and half a second that is not heard
    with torch.no_grad():
        features, changed = net(x), net(torch.cat((x[:, :31_200], 0 * x[:, 31_200:]), dim=1))
        second = net(x[:, 96 * 160 :])
    shapes = [tuple(feature.shape[2:]) for feature in features.values()]
    assert shapes == [(192, 64), (96, 32), (48, 16), (48, 16), (24, 8), (24, 8), (2,)]
    assert all(torch.equal(features[name], changed[name]) for name in net.layers)
    for name, feature in second.items():
        torch.testing.assert_close(features[name][:, :, features[name].shape[2] // 2 :], feature, rtol=1e-4, atol=1e-5)


def test_a_file_in_the_layout_of_torchvggish_is_read(tmp_path) -> None:
    # One number that stands for all of a tensor makes the file small.
    weights = {f"{name}.weight": torch.full((1,), 0.01).expand(shape) for name, shape in TORCHVGGISH.items()}
    weights |= {f"{name}.bias": torch.full((shape[0],), 0.01) for name, shape in TORCHVGGISH.items()}
    torch.save({**weights, "pproc.pca_matrix": torch.zeros(2, 2)}, tmp_path / "vggish.pth")
    loaded = VGGish.pretrained(tmp_path / "vggish.pth")
    assert not loaded.training
    assert all((x == 0.01).all() for x in loaded.parameters())


def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path) -> None:
    with pytest.raises(ArgumentError, match="vggish-10086976.pth"):
        VGGish.pretrained()
    with pytest.raises(ArgumentError, match="there is no file"):
        VGGish.pretrained(tmp_path / "nowhere.pth")


def test_it_is_the_network_of_torchvggish(net: VGGish) -> None:
    torchvggish = pytest.importorskip("torchvggish.torchvggish", reason="torchvggish is the oracle of the network")
    peer = torchvggish.VGG(torchvggish.make_layers(), postprocess=False)
    peer.load_state_dict(net.state_dict())
    x = glide(32_000, 16_000)
    with torch.no_grad():
        expected = peer.eval()(net.picture(x)[:, :192].reshape(2, 1, 96, 64))
        embedding = net(x)["embedding"][0].T
    torch.testing.assert_close(embedding, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
