"""Random convolutions: what a seed fixes, and what having no bias means."""

import pytest
import torch

from percloss.errors import ArgumentError
from percloss.nets.random_convolutions import RandomConvolutions
from tests.nets.common import keeps_the_protocol
from tests.signals import noise


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_it_keeps_the_protocol_at_any_rate(rate: int) -> None:
    keeps_the_protocol(RandomConvolutions(rate), time=rate // 4)


def test_the_seed_is_all_there_is() -> None:
    x = noise(1, 4_000)
    first, again, other = (RandomConvolutions(16_000, seed=seed)(x)["scale1_1"] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.1


def test_the_features_double_when_the_signal_does() -> None:
    net, x = RandomConvolutions(16_000), noise(1, 4_000)
    for single, double in zip(net(x).values(), net(2 * x).values(), strict=True):
        torch.testing.assert_close(double, 2 * single)


def test_a_filter_of_unit_norm_gives_white_noise_half_its_power() -> None:
    """The rectifier keeps half of a symmetric distribution."""
    first = RandomConvolutions(16_000)(noise(1, 160_000))["scale2_1"]
    assert first.square().mean().item() == pytest.approx(0.5, abs=0.02)


def test_frames_are_a_quarter_of_a_scale_apart() -> None:
    net = RandomConvolutions(16_000, scales=(0.004,), filters=3)
    features = net(noise(2, 1_600))
    assert features["scale1_1"].shape == (2, 3, 1_600 // 16 + 1)
    assert features["scale1_2"].shape == (2, 3, 1_600 // 16 + 1)


@pytest.mark.parametrize("wrong", [{"scales": ()}, {"filters": 0}, {"scales": (0.01, -0.1)}])
def test_bad_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ArgumentError, match="RandomConvolutions"):
        RandomConvolutions(16_000, **wrong)
