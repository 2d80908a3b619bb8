"""Forward masking over time."""

import math

import pytest
import torch
from torch import Tensor

from percloss.hearing.temporal import forward_decay, one_pole
from tests.signals import noise


def plain(x: Tensor, decay: Tensor) -> Tensor:
    """The recursion as it is written, frame after frame."""
    held, out = torch.zeros_like(x[..., 0]), []
    for frame in x.unbind(-1):
        held = decay * held + (1 - decay) * frame
        out.append(held)
    return torch.stack(out, -1)


@pytest.mark.parametrize("time", [1, 2, 31, 32, 33, 64, 1000, 1025, 3000])
def test_it_is_the_recursion_frame_after_frame(time: int) -> None:
    x = noise(2, 1, 5, time, dtype=torch.float64)
    decay = torch.tensor([0.0, 0.3, 0.9, 0.999, 1 - 1e-6], dtype=torch.float64)
    torch.testing.assert_close(one_pole(x, decay), plain(x, decay), rtol=1e-11, atol=1e-13)


def test_float32_is_as_near_as_the_plain_loop() -> None:
    x, decay = noise(1, 1, 2, 2000).square(), torch.tensor([0.5, 0.99], dtype=torch.float64)
    truth = plain(x.double(), decay)
    error, loop = ((got - truth).abs().max() for got in (one_pole(x, decay), plain(x, decay.float())))
    assert one_pole(x, decay).dtype == torch.float32
    assert error < max(2 * loop, 1e-6)


def test_a_steady_sound_is_reached_and_an_ended_one_decays() -> None:
    decay = torch.tensor([0.8], dtype=torch.float64)
    x = torch.cat((torch.ones(1, 100), torch.zeros(1, 50)), -1).double()
    y = one_pole(x, decay)[0]
    assert abs(y[99] - 1) < 1e-9
    torch.testing.assert_close(y[100:], y[99] * 0.8 ** torch.arange(1, 51, dtype=torch.float64))


def test_what_follows_changes_nothing_before() -> None:
    x, decay = noise(1, 1, 3, 200, dtype=torch.float64), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    changed = x.clone()
    changed[..., 120:] = 7
    torch.testing.assert_close(one_pole(changed, decay)[..., :120], one_pole(x, decay)[..., :120])


def test_it_has_a_gradient() -> None:
    x, decay = noise(1, 2, 70, dtype=torch.float64).requires_grad_(), torch.tensor([0.4, 0.95], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: one_pole(x, decay), x, fast_mode=True)


def test_a_low_band_holds_on_longer_than_a_high_one() -> None:
    """30 ms at 100 Hz, and towards 8 ms."""
    hz = torch.tensor([100.0, 1000.0, 1e9], dtype=torch.float64)
    tau = torch.tensor([0.030, 0.008 + 0.0022, 0.008], dtype=torch.float64)
    torch.testing.assert_close(forward_decay(hz, 0.010), (-0.010 / tau).exp())
    assert math.isclose(forward_decay(hz, 0.0)[0], 1.0)
