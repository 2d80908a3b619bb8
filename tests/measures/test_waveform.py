"""What must be true of errors of the samples themselves."""

import math

import pytest
import torch

from percloss import MAE, MSE
from tests.signals import noise, tone


def test_they_are_the_mean_of_squares_and_of_absolute_values() -> None:
    est, ref = torch.tensor([[[1.0, -2.0, 0.5, 0.0]]]), torch.tensor([[[0.0, 1.0, 0.5, 0.0]]])
    assert MSE()(est, ref).item() == pytest.approx((1 + 9) / 4)
    assert MAE()(est, ref).item() == pytest.approx((1 + 3) / 4)


def test_a_tone_against_silence_has_the_power_and_the_mean_rectified_value_of_a_sine() -> None:
    ref = tone(1000)
    assert MSE()(ref, 0 * ref).item() == pytest.approx(0.5, rel=1e-12)
    # A sine sampled 16 times a period: the mean of |sin| over those points, 2 / pi in the limit.
    assert MAE()(ref, 0 * ref).item() == pytest.approx(1 / 8 / math.tan(math.pi / 16), rel=1e-12)


def test_twice_the_error_is_twice_the_mae_and_four_times_the_mse() -> None:
    ref, error = noise(1, 1, 1000), noise(1, 1, 1000, seed=1)
    for measure, factor in ((MAE(), 2), (MSE(), 4)):
        assert measure(2 * error, 0 * ref).item() == pytest.approx(factor * measure(error, 0 * ref).item())


@pytest.mark.parametrize("measure", [MSE(), MAE()])
def test_nothing_is_undefined_not_even_silence_against_silence(measure: torch.nn.Module) -> None:
    silence = torch.zeros(1, 1, 100)
    assert measure(silence, silence).item() == 0
    assert measure(noise(1, 1, 100), silence).item() > 0


@pytest.mark.parametrize("measure", [MSE(), MAE()])
def test_channels_and_items_are_scored_apart(measure: torch.nn.Module) -> None:
    size = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    ref = noise(1, 1, 500)
    values = measure(ref + size[..., None], ref.expand(2, 2, -1))
    torch.testing.assert_close(values, size**2 if isinstance(measure, MSE) else size)


@pytest.mark.parametrize("measure", [MSE(), MAE()])
def test_half_precision_is_computed_in_float32(measure: torch.nn.Module) -> None:
    est, ref = noise(2, 1, 1, 1000).half()
    values = measure(est, ref)
    assert values.dtype == torch.float32
    assert torch.equal(values, measure(est.float(), ref.float()))
    # 300 squared and summed leaves float16, whose largest number is 65504.
    assert MSE()(torch.full((1, 1, 4), 300.0).half(), torch.zeros(1, 1, 4).half()).item() == 90_000


@pytest.mark.parametrize("measure", [MSE(), MAE()])
def test_one_broken_sample_takes_only_its_own_item(measure: torch.nn.Module) -> None:
    est, ref = noise(2, 2, 1, 100)
    est[0, 0, 3] = math.nan
    assert measure(est, ref).isnan().tolist() == [[True], [False]]
