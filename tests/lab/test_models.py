"""What must be true of the reference models: what published networks weigh, any length, and that they learn."""

import copy
import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from percloss.adversarial import LSGAN, frozen
from percloss.discriminators import MultiScaleDiscriminator, SEGANDiscriminator
from percloss.discriminators.pair import SEGAN_FILTERS
from percloss.discriminators.waveform import ScaleLayer
from percloss.errors import ArgumentError, DTypeError, SampleRateError, ShapeError
from percloss.lab.models import (
    FCN,
    ConvTasNet,
    DCUNet,
    MMDenseNet,
    SEGANGenerator,
    SpectrogramModel,
    UNet,
    WaveModel,
    WaveUNet,
)
from percloss.lab.models.blocks import BOTTLENECKS, places
from percloss.lab.models.dcunet import DCUNET_10, DCUNET_16, DCUNET_20
from percloss.lab.models.mmdensenet import MMDENSENET_BANDS, BandPlan
from percloss.lab.models.spectrogram import Phase, bounded
from percloss.lab.models.waveunet import _doubled
from percloss.measures.ratios import SISDR
from tests.signals import noise, tone

COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
SMALL: dict[str, Callable[..., WaveModel]] = {
    "unet": UNet.small,
    "unet, gated": lambda *channels, **rest: UNet.small(*channels, attention=True, **rest),
    "unet, residual": lambda *channels, **rest: UNet.small(*channels, block="residual", **rest),
    "unet, dense": lambda *channels, **rest: UNet.small(*channels, block="dense", **rest),
    "unet, dilated": lambda *channels, **rest: UNet.small(*channels, bottleneck="dilated", **rest),
    "unet, lstm": lambda *channels, **rest: UNet.small(*channels, bottleneck="lstm", **rest),
    "unet, attentive": lambda *channels, **rest: UNet.small(*channels, bottleneck="attention", **rest),
    "unet, transformer": lambda *channels, **rest: UNet.small(*channels, bottleneck="transformer", **rest),
    "mmdensenet": MMDenseNet.small,
    "mmdenselstm": lambda *channels, **rest: MMDenseNet.small(*channels, recurrent=True, **rest),
    "fcn": FCN.small,
    "wave-u-net": WaveUNet.small,
    "conv-tasnet": ConvTasNet.small,
    "dcunet": DCUNet.small,
    "segan": SEGANGenerator.small,
}
SPECTRAL = ("unet", "mmdensenet", "dcunet")
LEARNING_RATE = {"conv-tasnet": 1e-2, "fcn": 2e-3, "wave-u-net": 5e-3, "segan": 5e-3}
JANSSON = 25 * (174_608 + 218_144) + 1008 + 497 + 2 * (1008 + 496)  # 9 823 313
each = pytest.mark.parametrize("name", SMALL)
phases = pytest.mark.parametrize("phase", get_args(Phase))


@pytest.fixture(autouse=True)
def weights_from_a_seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def build(name: str, *channels: int, **rest: str) -> WaveModel:
    """The small network of this name, its weights from a seed."""
    torch.manual_seed(0)
    return SMALL[name](*channels, **rest)


def weight(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# The published networks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build_it", "parameters"),
    [
        # By hand, from the layers of the paper and of spleeter: convolutions, biases, batch norms.
        (UNet, JANSSON),
        (lambda: UNet(filters=(8, 16, 32, 64, 96)), 25 * (8840 + 11_536) + 216 + 121 + 2 * (216 + 120)),
        # And what each change adds: to skip connections, to levels, to the bottom.
        (lambda: UNet(attention=True), JANSSON + sum(c * c + c + 1 for c in (16, 32, 64, 128, 256))),
        (lambda: UNet(block="residual"), JANSSON + sum(2 * (9 * c + 3) * c for c in (16, 32, 64, 128, 256, 512))),
        (lambda: UNet(bottleneck="dilated"), JANSSON + 4 * (9 * 512 + 3) * 512),
        # By hand, from JasonSWFu/End-to-end-waveform-utterance-enhancement.
        (FCN, (55 + 1) * 30 + 6 * (30 * 55 + 1) * 30 + 7 * 2 * 30 + 55 * 30 + 1),
        # By hand, from f90/Wave-U-Net: down, bottom and up with their biases, and the last layer.
        (
            WaveUNet,
            sum(24 * i * (15 * (24 * (i - 1) or 1) + 1) for i in range(1, 14))
            + sum(24 * i * (5 * 24 * (2 * i + 1) + 1) for i in range(1, 13))
            + 26,
        ),
        # torchaudio 2.11, conv_tasnet_base(num_sources=2).
        (lambda: ConvTasNet(sources=2), 4_984_881),
        # asteroid 0.7.0, DCUNet("DCUNet-10"), ("DCUNet-16"), ("DCUNet-20").
        (lambda: DCUNet(layers=DCUNET_10), 1_421_890),
        (DCUNet, 2_375_490),
        (lambda: DCUNet(layers=DCUNET_20), 3_527_850),
        # Golden; the second is near the 1.371 million of tky823/DNN-based_source_separation, which has gains and
        # shifts of bins besides, and differs in the biases of its layers.
        (MMDenseNet, 337_008),
        (MMDenseNet.lstm, 1_370_841),
    ],
)
def test_the_default_networks_weigh_what_the_published_ones_do(build_it, parameters: int) -> None:
    with torch.device("meta"):
        assert weight(build_it()) == parameters


def test_segans_weights_are_those_of_its_authors_list_of_shapes() -> None:
    """The comment in santi-pdp/segan, generator.py: depths of the encoder, and of the decoder with what it hears."""
    encoder = [1, 16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024]
    decoder = [(2048, 512), (1024, 256), (512, 256), (512, 128), (256, 128), (256, 64)]
    decoder += [(128, 64), (128, 32), (64, 32), (64, 16), (32, 1)]
    kernels = 31 * (sum(i * o for i, o in pairwise(encoder)) + sum(i * o for i, o in decoder))
    biases = sum(encoder[1:]) + sum(o for _, o in decoder)
    slopes = sum(encoder[1:]) + sum(o for _, o in decoder[:-1])
    with torch.device("meta"):
        model = SEGANGenerator()
    assert sum(p.numel() for p in model.parameters() if p.dim() == 3) == kernels == 73_092_048
    assert weight(model) == kernels + biases + slopes == 73_100_049
    assert encoder[1:] == list(SEGAN_FILTERS)


@pytest.mark.parametrize("model", [UNet, FCN, WaveUNet, ConvTasNet, DCUNet, MMDenseNet, SEGANGenerator])
def test_the_docstring_says_how_many(model: type[WaveModel]) -> None:
    with torch.device("meta"):
        assert f"{weight(model()):,}".replace(",", " ") in inspect.getdoc(model)


def test_the_dense_nets_cover_the_spectrum() -> None:
    with torch.device("meta"):
        assert sum(MMDenseNet().edges) == MMDenseNet().bins == 1025
        assert sum(MMDenseNet.lstm().edges) == MMDenseNet.lstm().bins == 2049


# Shapes --------------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("time", [2, 255, 1024, 1777])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_length_and_number_of_channels_comes_back(name: str, time: int, channels: int) -> None:
    mix = 0.1 * noise(2, channels, time)
    est = build(name, channels)(mix)
    assert est.shape == mix.shape
    assert est.isfinite().all()


@pytest.mark.parametrize("name", SPECTRAL)
@phases
def test_every_choice_of_phase_takes_stereo(name: str, phase: str) -> None:
    mix = 0.1 * noise(2, 2, 601)
    est = build(name, 2, phase=phase)(mix)
    assert est.shape == mix.shape
    assert est.isfinite().all()


@pytest.mark.parametrize("model", [WaveUNet, ConvTasNet])
def test_several_sources_come_as_more_channels(model: type[WaveUNet] | type[ConvTasNet]) -> None:
    est = model.small(2, sources=3)(0.1 * noise(2, 2, 501))
    assert est.shape == (2, 6, 501)
    assert est.unflatten(1, (3, 2)).shape == (2, 3, 2, 501)


@each
def test_silence_gives_no_nan(name: str) -> None:
    model, mix = build(name), torch.zeros(2, 1, 500)
    est = model(mix)
    est.square().sum().backward()
    assert est.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@each
def test_a_model_in_double_precision_answers_in_it(name: str) -> None:
    mix = 0.1 * noise(2, 1, 500, dtype=torch.float64)
    assert build(name).double()(mix).dtype == torch.float64


@pytest.mark.parametrize("name", SPECTRAL)
@phases
def test_a_spectrogram_model_may_be_autocast(name: str, phase: str) -> None:
    """Its network is; transforms, masks and phases stay in the precision of the mixture."""
    model, mix = build(name, phase=phase).eval(), 0.1 * noise(2, 1, 900)
    with torch.no_grad():
        exact = model(mix)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            est = model(mix)
    assert est.dtype == torch.float32
    assert (est - exact).square().sum() < 0.01 * exact.square().sum() + 1e-3 * mix.square().sum()


@each
def test_an_input_is_left_as_it_is(name: str) -> None:
    mix = 0.1 * noise(2, 1, 500)
    before = mix.clone()
    build(name)(mix)
    assert torch.equal(mix, before)


@pytest.mark.parametrize("time", [1, 2, 3, 4, 7, 8])
def test_between_samples_the_wave_u_net_draws_lines(time: int) -> None:
    ramp = torch.arange(time, dtype=torch.float32)[None, None]
    doubled = _doubled(ramp)
    expected = (torch.arange(2 * time) / 2).clamp(max=time - 1)
    torch.testing.assert_close(doubled, expected[None, None])


def test_places_tell_all_bins_and_frames_apart() -> None:
    said = places(torch.zeros(1, 16, 8, 30)).flatten(1).T
    assert len({tuple(row.tolist()) for row in said}) == 8 * 30


# Learning ------------------------------------------------------------------------------------------------------------


def scene() -> tuple[Tensor, Tensor]:
    """Two mixtures of a low sound that is wanted with a high one that is not, at 0 dB."""
    wanted = torch.cat([tone(hz, db=-15, time=1024) for hz in (500, 700)]).float()
    other = torch.cat([tone(hz, db=-15, phase=1.0, time=1024) for hz in (4100, 5300)]).float()
    return wanted + other, wanted


@each
def test_it_learns_one_batch_by_heart(name: str) -> None:
    mix, wanted = scene()
    model = build(name)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE.get(name, 1e-2))
    for _ in range(60):
        optimiser.zero_grad()
        (model(mix) - wanted).square().mean().backward()
        optimiser.step()
    ratio = SISDR()
    # In evaluation batch norms take running means, and SEGAN's latent is 0: neither may undo what was learned.
    for mode in (True, False):
        model.train(mode)
        gained = ratio(model(mix), wanted) - ratio(mix, wanted)
        assert (gained > 6).all(), (mode, gained)


@each
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    model = build(name)
    (model(0.1 * noise(2, 1, 1024)) - 0.1 * noise(2, 1, 1024, seed=1)).square().sum().backward()
    lost = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not lost


@pytest.mark.parametrize("name", SPECTRAL)
@phases
def test_a_gradient_reaches_every_parameter_whatever_the_phase(name: str, phase: str) -> None:
    model = build(name, phase=phase)
    (model(0.1 * noise(2, 1, 1024)) - 0.1 * noise(2, 1, 1024, seed=1)).square().sum().backward()
    lost = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not lost


@each
def test_evaluation_gives_the_same_twice(name: str) -> None:
    model, mix = build(name).eval(), 0.1 * noise(2, 1, 900)
    with torch.no_grad():
        assert torch.equal(model(mix), model(mix))


@each
def test_in_evaluation_items_do_not_mix(name: str) -> None:
    model, mix = build(name).eval(), 0.1 * noise(2, 1, 900)
    mix[1] *= 30
    with torch.no_grad():
        alone = torch.cat([model(item[None]) for item in mix])
        torch.testing.assert_close(model(mix), alone, rtol=1e-4, atol=1e-5)


@each
def test_weights_can_be_saved_and_loaded(name: str, tmp_path) -> None:
    model, mix = build(name), 0.1 * noise(2, 1, 900)
    model(mix)  # moves the running means of norms
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(1)
    other = SMALL[name]()
    assert not torch.equal(other.eval()(mix), model.eval()(mix))
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(other(mix), model(mix))
    assert torch.equal(copy.deepcopy(model)(mix), model(mix))


@each
def test_no_constant_of_a_front_end_is_saved(name: str) -> None:
    assert not [key for key in build(name).state_dict() if "window" in key]


def test_the_latent_of_segan_is_drawn_in_training_only() -> None:
    model, mix = build("segan"), 0.1 * noise(1, 1, 512)
    assert not torch.equal(model(mix), model(mix))


@pytest.mark.parametrize("name", ["wave-u-net", "segan"])
def test_it_can_be_the_generator_of_an_adversarial_pair(name: str) -> None:
    generator, game, mix = build(name), LSGAN(), 0.1 * noise(2, 1, 1024)
    if name == "segan":
        pair = SEGANDiscriminator(filters=(4, 4, 8))
        hear = lambda est: pair(est, mix)  # noqa: E731
    else:
        pair = MultiScaleDiscriminator(layers=(ScaleLayer(4, 15), ScaleLayer(8, 41, stride=4, groups=4)))
        hear = pair
    with frozen(pair):
        game.generator(hear(generator(mix))).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())
    assert all(p.grad is None for p in pair.parameters())


# The phase -----------------------------------------------------------------------------------------------------------


def opened(model: SpectrogramModel) -> SpectrogramModel:
    """The model with weights that say "all of the mixture" whatever it hears."""
    last = model.last if isinstance(model, UNet) else model.decoder[-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.zero_()
        if isinstance(model, UNet):
            # A mask is sigmoid(bias); a complex one has its real part first.
            last.bias[: len(last.bias) // (2 if model.phase == "complex" else 1)] = 30.0
        else:
            # Real part: one bias less the other; imaginary part: their sum.
            last.real.bias.fill_(15.0)
            last.imag.bias.fill_(-15.0)
    return model


@pytest.mark.parametrize("name", ["unet", "dcunet"])
@phases
@pytest.mark.parametrize("channels", [1, 2])
def test_where_the_mask_is_one_the_mixture_comes_back(name: str, phase: str, channels: int) -> None:
    model, mix = opened(build(name, channels, phase=phase)), 0.3 * noise(2, channels, 1001)
    torch.testing.assert_close(model(mix), mix, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SPECTRAL)
def test_the_choices_of_phase_give_different_audio(name: str) -> None:
    mix = 0.3 * noise(1, 1, 1500)
    torch.manual_seed(0)
    ests = [build(name, phase=phase).eval()(mix) for phase in get_args(Phase)]
    for i, est in enumerate(ests):
        for other in ests[i + 1 :]:
            assert (est - other).abs().max() > 0.01 * est.abs().max()


def test_only_the_complex_mask_can_turn_a_phase() -> None:
    """Trained to invert a mixture, a real mask can do no better than silence."""
    mix = scene()[0]
    left = {}
    for phase in ("mixture", "complex"):
        model = build("unet", phase=phase)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(40):
            optimiser.zero_grad()
            loss = (model(mix) + mix).square().mean() / mix.square().mean()
            loss.backward()
            optimiser.step()
        left[phase] = loss.item()
    assert left["complex"] < 0.3
    assert left["mixture"] > 0.9


def test_a_louder_mixture_has_the_same_mask() -> None:
    mix = 0.1 * noise(1, 1, 1000)
    for name in ("unet", "mmdensenet"):
        model = build(name).eval()
        torch.testing.assert_close(model(8 * mix), 8 * model(mix), rtol=1e-4, atol=1e-5)


def test_a_complex_mask_is_below_one_and_keeps_its_phase() -> None:
    maps = 100 * noise(2, 4, 5, 6)
    mask = bounded(maps)
    assert (mask.abs() <= 1 + 1e-6).all()
    torch.testing.assert_close(mask.angle(), torch.complex(*maps.chunk(2, 1)).angle())
    small = bounded(1e-3 * maps / 100)
    torch.testing.assert_close(small.real, 1e-5 * maps[:, :2], rtol=1e-3, atol=1e-6)


def test_a_bottleneck_and_a_gate_are_heard() -> None:
    mix = 0.1 * noise(1, 1, 900)
    plain = build("unet").eval()(mix)
    for name in SMALL:
        if name.startswith("unet, "):
            assert not torch.allclose(build(name).eval()(mix), plain)
    assert set(BOTTLENECKS) == {"dilated", "lstm", "attention", "transformer"}


# What is refused -----------------------------------------------------------------------------------------------------


@each
def test_a_wrong_mixture_is_refused_by_name(name: str) -> None:
    model = build(name, 2)
    kind = type(model).__name__
    with pytest.raises(ShapeError, match=rf"{kind}: mix has shape \(1, 1, 500\); needed is \(batch, 2, time\)"):
        model(noise(1, 1, 500))
    with pytest.raises(ShapeError, match=r"needed is \(batch, 2, time\)"):
        model(noise(2, 500))
    with pytest.raises(ShapeError, match=f"needed is one item and {model.min_samples} samples"):
        model(torch.zeros(1, 2, 0))
    with pytest.raises(ShapeError, match="needed is one item"):
        model(torch.zeros(0, 2, 500))
    with pytest.raises(DTypeError, match=r"type mix.float\(\)"):
        model(torch.zeros(1, 2, 500, dtype=torch.int16))


def test_one_sample_is_too_short_for_a_norm_over_time() -> None:
    with pytest.raises(ShapeError, match="needed is one item and 2 samples"):
        FCN.small()(torch.zeros(1, 1, 1))


@each
def test_another_rate_is_refused_where_it_is_known(name: str) -> None:
    model, mix = build(name), 0.1 * noise(1, 1, 500)
    with torch.no_grad():
        model.eval()(mix, sample_rate=model.sample_rate)
    with pytest.raises(SampleRateError, match=rf"a mixture at 12345 Hz came; it is for {model.sample_rate} Hz"):
        model(mix, sample_rate=12_345)


@pytest.mark.parametrize(
    ("build_it", "match"),
    [
        (lambda: UNet(filters=()), "got filters"),
        (lambda: UNet(kernel=4), "needed are odd numbers"),
        (lambda: UNet(compression=0.0), "compression=0.0 came"),
        (lambda: UNet(hop_length=1000), "1 <= hop_length <= 768"),
        (lambda: UNet(channels=0), "got channels and sources"),
        (lambda: UNet(iterations=-1), "got iterations"),
        (lambda: FCN(layers=0), "got filters, kernel and layers"),
        (lambda: WaveUNet(up_kernel=4), "needed are odd numbers"),
        (lambda: WaveUNet(sources=0), "got channels and sources"),
        (lambda: ConvTasNet(kernel=1), "got kernel // 2"),
        (lambda: DCUNet(layers=(DCUNET_16[0]._replace(kernel=(4, 5)),)), "needed are odd numbers"),
        (lambda: DCUNet(layers=()), "got filters and strides"),
        (lambda: SEGANGenerator(kernel=30), "needed are odd numbers"),
        (lambda: MMDenseNet(n_fft=1024, hop_length=256), "needed are 513 of"),
        (lambda: MMDenseNet(bands=[replace(MMDENSENET_BANDS[0], bins=500)]), "bands of"),
        (lambda: BandPlan(10, (4, 4), (2, 2)), "the same odd number of each"),
        (lambda: BandPlan(10, (4,), (2,), (0, 0, 0)), "the same odd number of each"),
        (lambda: BandPlan(10, (4, 4, 4), (2, 0, 2)), "layers that grow or an LSTM"),
    ],
)
def test_a_wrong_size_is_refused_at_construction(build_it, match: str) -> None:
    with pytest.raises(ArgumentError, match=match):
        build_it()


@pytest.mark.skipif(not COMPILE, reason="shape checking refuses a wrong literal first: run with PERCLOSS_COMPILE=1")
def test_a_word_that_is_none_of_the_choices_is_refused_with_the_choices() -> None:
    with pytest.raises(ArgumentError, match="block='nope' came; needed is one of 'plain', 'residual', 'dense'"):
        UNet(block="nope")
    with pytest.raises(ArgumentError, match="one of 'none', 'dilated', 'lstm', 'attention', 'transformer'"):
        UNet(bottleneck="nope")
    with pytest.raises(ArgumentError, match="phase='nope' came; needed is one of 'mixture', 'griffin_lim', 'complex'"):
        DCUNet(phase="nope")


def test_a_rate_that_is_none_is_refused_at_construction() -> None:
    with pytest.raises(SampleRateError, match="sample_rate=0 came"):
        FCN(sample_rate=0)
