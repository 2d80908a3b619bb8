"""What must be true of discriminators: what each part can hear, what published networks weigh, and any length."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from percloss.adversarial import LSGAN, Judgement, feature_matching, frozen, r1
from percloss.discriminators import (
    MetricDiscriminator,
    MultiPeriodDiscriminator,
    MultiResolutionDiscriminator,
    MultiScaleDiscriminator,
    MultiScaleSTFTDiscriminator,
    SEGANDiscriminator,
)
from percloss.discriminators.base import Discriminator
from percloss.discriminators.spectrogram import DAC_BANDS, Spectrogram
from percloss.discriminators.waveform import HIFIGAN_LAYERS, ScaleLayer
from percloss.errors import ArgumentError, DTypeError, EmptyBandError, ShapeError
from percloss.frontends import Stft
from tests.signals import noise, tone

SMALL_LAYERS = (ScaleLayer(4, 15), ScaleLayer(8, 41, stride=4, groups=4), ScaleLayer(8, 5))
SMALL: dict[str, Callable[..., Discriminator]] = {
    "period": lambda channels=1: MultiPeriodDiscriminator(channels, filters=(4, 4, 8)),
    "scale": lambda channels=1: MultiScaleDiscriminator(channels, layers=SMALL_LAYERS),
    "resolution": lambda channels=1: MultiResolutionDiscriminator(channels, n_ffts=(256, 128), filters=4),
    "stft": lambda channels=1: MultiScaleSTFTDiscriminator(channels, n_ffts=(128, 64), filters=4),
    "segan": lambda channels=1: SEGANDiscriminator(channels, filters=(4, 4, 8)),
    "metric": lambda channels=1: MetricDiscriminator(n_fft=64, hop_length=16, filters=2),
}
PAIRS = ("segan", "metric")
NETWORKS = {"period": 5, "scale": 3, "resolution": 2, "stft": 2, "segan": 1, "metric": 1}
each = pytest.mark.parametrize("name", SMALL)


@pytest.fixture(autouse=True)
def weights_from_a_seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def build(name: str, channels: int = 1, seed: int = 0) -> Discriminator:
    """The small network of this name, its weights from a seed."""
    torch.manual_seed(seed)
    return SMALL[name](channels)


def call(critic: Discriminator, x: Tensor) -> list[Judgement]:
    """Discriminators of a pair hear the signal beside another one."""
    if isinstance(critic, SEGANDiscriminator | MetricDiscriminator):
        return critic(x, noise(*x.shape, seed=9, dtype=x.dtype))
    return critic(x)


def weight(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# The published networks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build_it", "parameters"),
    [
        # Counted by hand from the layers of jik876/hifi-gan; both together are the 70.7 M often quoted.
        (MultiPeriodDiscriminator, 41_105_770),
        (MultiScaleDiscriminator, 29_618_821),
        # From descriptinc/melgan-neurips.
        (MultiScaleDiscriminator.melgan, 16_924_086),
        # From descript-audio-codec; 1.41 M in vocos, which has the same.
        (MultiResolutionDiscriminator, 1_413_990),
        # From audiocraft: 0.472 M of five resolutions, 0.283 M of three.
        (MultiScaleSTFTDiscriminator, 472_330),
        (lambda: MultiScaleSTFTDiscriminator(n_ffts=(2048, 1024, 512)), 283_398),
        # From santi-pdp/segan, less the fully connected layer of 8 + 1.
        (SEGANDiscriminator, 24_373_082 - 9),
        # From ruizhecao96/CMGAN with its 16 filters.
        (MetricDiscriminator, 181_650),
    ],
)
def test_the_default_networks_weigh_what_the_published_ones_do(build_it, parameters: int) -> None:
    with torch.device("meta"):
        assert weight(build_it()) == parameters


def test_the_default_resolutions_and_bands_are_the_published_ones() -> None:
    with torch.device("meta"):
        dac, encodec = MultiResolutionDiscriminator(), MultiScaleSTFTDiscriminator()
    assert [(net.front.n_fft, net.front.hop_length) for net in dac.networks] == [(2048, 512), (1024, 256), (512, 128)]
    assert dac.networks[0].edges == [(0, 102), (102, 256), (256, 512), (512, 768), (768, 1025)]
    assert [net.front.n_fft for net in encodec.networks] == [2048, 1024, 512, 256, 128]


# Shapes --------------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("time", [257, 1000, 1001])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_length_and_number_of_channels_gives_one_judgement_for_each_network(
    name: str, time: int, channels: int
) -> None:
    judgements = call(build(name, channels), noise(3, channels, time))
    assert len(judgements) == NETWORKS[name]
    for judgement in judgements:
        assert isinstance(judgement, Judgement)
        assert judgement.logits.isfinite().all()
        items = 3 * channels if name == "metric" else 3
        assert all(feature.shape[0] == items for feature in judgement.features)
    if name == "metric":
        assert judgements[0].logits.shape == (3, channels)
    else:
        assert all(judgement.logits.shape[:2] == (3, 1) for judgement in judgements)


@each
def test_the_shortest_signal_is_taken_and_a_shorter_one_is_refused(name: str) -> None:
    critic = build(name)
    call(critic, noise(1, 1, critic.min_samples))
    if critic.min_samples > 1:
        with pytest.raises(ShapeError, match=f"needed is one item and {critic.min_samples} samples"):
            call(critic, noise(1, 1, critic.min_samples - 1))


def test_periods_fold_a_length_that_they_do_not_divide() -> None:
    shapes = [
        tuple(j.logits.shape) for j in MultiPeriodDiscriminator(filters=(2,), periods=(2, 3, 7))(noise(1, 1, 100))
    ]
    assert shapes == [(1, 1, 50, 2), (1, 1, 34, 3), (1, 1, 15, 7)]


def test_scales_halve_the_signal() -> None:
    critic = MultiScaleDiscriminator(layers=(ScaleLayer(2, 3),))
    assert [j.logits.shape[-1] for j in critic(noise(1, 1, 64))] == [64, 32, 16]


def test_segans_logits_come_one_in_two_to_the_eleven_samples() -> None:
    critic = SEGANDiscriminator(filters=(2,) * 11)
    assert critic(noise(1, 1, 16_384), noise(1, 1, 16_384))[0].logits.shape == (1, 1, 8)
    assert critic(noise(1, 1, 16_385), noise(1, 1, 16_385))[0].logits.shape == (1, 1, 9)


# What each part can hear ---------------------------------------------------------------------------------------------


def heard_by(logit: Tensor, x: Tensor) -> Tensor:
    """Which samples move one logit."""
    (gradient,) = torch.autograd.grad(logit, x, retain_graph=True)
    return gradient[0, 0].nonzero()[:, 0]


def test_a_period_is_heard_down_its_columns_over_647_rows() -> None:
    """1 + 4 (1 + 3 + 9 + 27 + 81) rows by the hidden layers, and 2 * 81 by the last."""
    critic = MultiPeriodDiscriminator(filters=(2, 2, 2, 2, 2), periods=(3,)).double()
    x = noise(1, 1, 3 * 2000, dtype=torch.float64).requires_grad_()
    logits = critic(x)[0].logits
    samples = heard_by(logits[0, 0, logits.shape[2] // 2, 1], x)
    assert (samples % 3 == 1).all()
    assert (samples.max() - samples.min()) // 3 + 1 == 647


def test_a_scale_hears_3879_samples() -> None:
    """HiFi-GAN's kernels and strides, with few filters."""
    layers = [layer._replace(filters=4, groups=1) for layer in HIFIGAN_LAYERS]
    critic = MultiScaleDiscriminator(layers=layers, scales=1).double()
    x = noise(1, 1, 8192, dtype=torch.float64).requires_grad_()
    logits = critic(x)[0].logits
    samples = heard_by(logits[0, 0, logits.shape[-1] // 2], x)
    assert samples.max() - samples.min() + 1 == 3879


@pytest.mark.parametrize("band", range(5))
def test_a_band_hears_a_tone_that_lies_in_it_and_no_other_band_does(band: int) -> None:
    critic = MultiResolutionDiscriminator(n_ffts=(512,), filters=2)
    low, high = DAC_BANDS[band]
    x = tone((low + high) / 2 * 8000, time=4096).float()
    sounding, silent = critic(x)[0].features, critic(torch.zeros_like(x))[0].features
    # The first of five layers of each band.
    moved = [(a - b).abs().mean().item() for a, b in zip(sounding[::5], silent[::5], strict=True)]
    assert moved.index(max(moved)) == band
    assert sorted(moved)[-2] < max(moved) / 20


def test_white_noise_has_bins_of_its_own_variance_at_every_resolution() -> None:
    x = 0.3 * noise(1, 1, 100_000)
    for n_fft in (64, 256, 2048):
        power = Spectrogram(n_fft)(x).abs().square().mean().item()
        assert power == pytest.approx(0.09, rel=0.03)


def test_the_spectrogram_is_the_houses_up_to_its_scale() -> None:
    x = noise(1, 2, 1000, dtype=torch.float64)
    ours, house = Spectrogram(128), Stft(128)
    ratio = ours(x).transpose(-1, -2) / house(x)
    torch.testing.assert_close(ratio, ratio[0, 0, 0, 0].expand_as(ratio))
    assert ours.planes(x).shape == (1, 4, 32, 65)


@pytest.mark.parametrize("name", ["period", "resolution", "stft", "segan"])
def test_two_channels_are_heard_together(name: str) -> None:
    critic, x = build(name, 2), noise(1, 2, 600)
    assert not torch.equal(call(critic, x)[0].logits, call(critic, x.flip(1))[0].logits)


def test_the_metric_discriminator_judges_each_channel_for_itself_and_knows_which_signal_is_the_reference() -> None:
    critic = build("metric").eval()
    est, ref = noise(2, 2, 600), noise(2, 2, 600, seed=1)
    scores = critic(est, ref)[0].logits
    torch.testing.assert_close(critic(est[:, 1:], ref[:, 1:])[0].logits, scores[:, 1:])
    assert not torch.allclose(critic(ref, est)[0].logits, scores)
    assert ((scores > 0) & (scores < 1)).all()


@each
def test_items_never_mix(name: str) -> None:
    critic = build(name).eval()
    x = noise(3, 1, 600) * torch.tensor([1.0, 100.0, 0.01]).view(3, 1, 1)
    other = noise(3, 1, 600, seed=9)
    signals = (x, other) if name in PAIRS else (x,)
    together = critic(*signals)
    for item in range(3):
        alone = critic(*(s[item : item + 1] for s in signals))
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a.logits, b.logits[item : item + 1])


# Training ------------------------------------------------------------------------------------------------------------


@each
def test_every_weight_and_the_signal_get_a_finite_gradient_even_at_silence(name: str) -> None:
    critic = build(name).eval()
    for x in (noise(2, 1, 600), torch.zeros(2, 1, 600)):
        x.requires_grad_()
        critic.zero_grad()
        LSGAN().generator(call(critic, x)).backward()
        assert x.grad.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.parameters())
    assert call(critic, noise(2, 1, 600))[0].logits.requires_grad


@each
def test_the_gradient_reaches_the_signal(name: str) -> None:
    critic, x = build(name).eval(), noise(2, 1, 600).requires_grad_()
    with frozen(critic):
        LSGAN().generator(call(critic, x)).backward()
    assert (x.grad != 0).float().mean() > 0.5
    assert all(p.grad is None for p in critic.parameters())


@each
def test_identical_signals_match_in_features_and_others_do_not(name: str) -> None:
    critic, x = build(name).eval(), noise(2, 1, 600)
    assert feature_matching(call(critic, x), call(critic, x.clone())) == 0
    assert feature_matching(call(critic, x), call(critic, noise(2, 1, 600, seed=4))) > 0


@each
def test_a_gradient_penalty_trains_every_weight(name: str) -> None:
    """Double backward, through norms, spectrogram and pooling."""
    critic, x = build(name).eval(), noise(2, 1, 600).requires_grad_()
    penalty = r1(x, call(critic, x))
    penalty.backward()
    assert penalty > 0
    moved = [p.grad is not None and bool(p.grad.any()) for p in critic.parameters()]
    assert sum(moved) > len(moved) / 2
    assert all(p.grad is None or p.grad.isfinite().all() for p in critic.parameters())


@each
def test_the_derivative_is_one(name: str) -> None:
    critic = build(name).double().eval()
    x = noise(1, 1, max(critic.min_samples, 40), dtype=torch.float64)
    direction = noise(*x.shape, seed=5, dtype=torch.float64)

    def value(step: float) -> Tensor:
        return torch.stack([j.logits.mean() for j in call(critic, x + step * direction)]).mean()

    x.requires_grad_()
    (gradient,) = torch.autograd.grad(value(0.0), x)
    numeric = (value(1e-6) - value(-1e-6)) / 2e-6
    torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"metric"}))
def test_a_fixed_batch_is_learned(name: str) -> None:
    critic, x = build(name), noise(4, 1, 300)
    optimiser = torch.optim.Adam(critic.parameters(), lr=2e-2)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        judged = call(critic, x)
        losses.append(LSGAN().discriminator([j.logits[:2] for j in judged], [j.logits[2:] for j in judged]))
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", ["scale", "stft"])
def test_a_few_steps_tell_a_tone_from_noise(name: str) -> None:
    critic = build(name)
    optimiser = torch.optim.Adam(critic.parameters(), lr=1e-2)
    tones = [tone(200 + 100 * n, db=3, phase=n, time=600).float() for n in range(12)]
    for step in range(25):
        real, fake = torch.cat(tones[step % 4 :: 4]), noise(3, 1, 600, seed=step)
        optimiser.zero_grad()
        LSGAN().discriminator(critic(real), critic(fake)).backward()
        optimiser.step()
    real, fake = critic(tone(555, db=3, time=600).float()), critic(noise(1, 1, 600, seed=99))
    assert all(r.logits.mean() > f.logits.mean() + 0.2 for r, f in zip(real, fake, strict=True))


@each
def test_autocast_and_half_precision_give_what_float32_gives_roughly(name: str) -> None:
    critic, x = build(name).eval(), noise(2, 1, 600)
    full = call(critic, x)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = call(critic, x)
    for a, b in zip(full, mixed, strict=True):
        assert (a.logits - b.logits).abs().max() < 0.1 * a.logits.abs().max() + 0.02


@each
def test_a_network_of_bfloat16_takes_signals_of_bfloat16(name: str) -> None:
    critic = build(name).to(torch.bfloat16).eval()
    judgements = call(critic, noise(2, 1, 600).bfloat16())
    assert all(j.logits.dtype == torch.bfloat16 and j.logits.isfinite().all() for j in judgements)


@each
def test_copies_pickles_and_state_dicts_say_the_same(name: str) -> None:
    critic, x = build(name).eval(), noise(2, 1, 600)
    expected = call(critic, x)[0].logits
    loaded = build(name, seed=1).eval()
    assert not torch.equal(call(loaded, x)[0].logits, expected)
    loaded.load_state_dict(critic.state_dict())
    for twin in (copy.deepcopy(critic), loaded):
        torch.testing.assert_close(call(twin, x)[0].logits, expected, rtol=0, atol=0)
    assert not [key for key in critic.state_dict() if "window" in key]
    # torch's parametrised modules refuse pickle by design; their state_dict does not.
    assert pickle.loads(pickle.dumps(critic.state_dict())).keys() == critic.state_dict().keys()


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build_it", "error", "words"),
    [
        (lambda: MultiPeriodDiscriminator(0), ArgumentError, r"got channels \[0\]"),
        (lambda: MultiPeriodDiscriminator(periods=()), ArgumentError, r"got periods \[\]; needed is one number"),
        (lambda: MultiPeriodDiscriminator(periods=(2, 0)), ArgumentError, "none below 1"),
        (lambda: MultiPeriodDiscriminator(kernel=4), ArgumentError, "needed are odd numbers"),
        (lambda: MultiScaleDiscriminator(scales=0), ArgumentError, "got scales"),
        (lambda: MultiScaleDiscriminator(layers=()), ArgumentError, "got layers"),
        (lambda: MultiScaleDiscriminator(layers=(ScaleLayer(2, 4),)), ArgumentError, "odd numbers"),
        (lambda: MultiResolutionDiscriminator(n_ffts=(2,)), ArgumentError, "none below 4"),
        (lambda: MultiResolutionDiscriminator(bands=()), ArgumentError, "got bands"),
        (lambda: MultiResolutionDiscriminator(n_ffts=(16,)), EmptyBandError, r"\(0.0, 0.1\) holds no bin of 9"),
        (lambda: MultiResolutionDiscriminator(bands=((0.5, 1.5),)), EmptyBandError, "fractions"),
        (lambda: MultiScaleSTFTDiscriminator(dilations=()), ArgumentError, "got dilations"),
        (lambda: SEGANDiscriminator(kernel=30), ArgumentError, "odd numbers"),
        (lambda: MetricDiscriminator(n_fft=32), ArgumentError, "none below 64"),
    ],
)
def test_sizes_that_make_no_network_are_refused_when_it_is_built(build_it, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        build_it()


@each
def test_signals_that_are_none_are_refused(name: str) -> None:
    critic = build(name)
    for wrong in (noise(2, 600), noise(0, 1, 600)):
        with pytest.raises(ShapeError, match="needed is"):
            call(critic, wrong)
    with pytest.raises(DTypeError, match=r"is torch.int64.*\.float\(\)"):
        critic(*[torch.ones(1, 1, 600).long()] * (2 if name in PAIRS else 1))
    if name != "metric":
        with pytest.raises(ShapeError, match=r"flatten\(0, 1\)\[:, None\] to judge each channel for itself"):
            call(critic, noise(2, 2, 600))
    if name in PAIRS:
        with pytest.raises(ShapeError, match="needed are equal shapes"):
            critic(noise(1, 1, 600), noise(1, 1, 601))
