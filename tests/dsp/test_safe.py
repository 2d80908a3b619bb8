"""Floors: finite at silence in value and gradient, and in nobody's way elsewhere."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from percloss.dsp.safe import (
    db_to_amplitude,
    db_to_power,
    log_power,
    magnitude,
    mean_defined,
    ratio_db,
    undefined_where,
)

NAN = math.nan


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def single(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def test_twenty_db_are_a_hundredfold_power_and_a_tenfold_amplitude() -> None:
    assert db_to_power(20.0) == pytest.approx(100)
    assert db_to_amplitude(20.0) == pytest.approx(10)
    torch.testing.assert_close(db_to_power(double(-30, 0, 3)), double(1e-3, 1, 10**0.3))
    torch.testing.assert_close(db_to_amplitude(double(-60, 0, 6)), double(1e-3, 1, 10**0.3))


@pytest.mark.parametrize("function", [log_power, magnitude])
def test_the_gradient_at_silence_is_finite_and_not_dead(function: Callable[[Tensor, float], Tensor]) -> None:
    p = single(0.0, 1e-30, 1e-12).requires_grad_()
    value = function(p, 1e-10)
    (grad,) = torch.autograd.grad(value.sum(), p)
    assert value.isfinite().all()
    assert grad.isfinite().all()
    assert (grad > 0).all()


def test_a_signal_reaches_its_magnitude_through_silence_without_nan() -> None:
    x = torch.zeros(4, requires_grad=True)
    (grad,) = torch.autograd.grad(magnitude(x.square(), db_to_power(-120.0)).sum(), x)
    assert torch.equal(grad, torch.zeros(4))


def test_far_above_the_floor_it_is_the_logarithm_and_the_root() -> None:
    p = double(1e-3, 1, 1e3)
    torch.testing.assert_close(log_power(p, 1e-15), p.log(), atol=1e-11, rtol=0)
    torch.testing.assert_close(magnitude(p, 1e-15), p.sqrt())
    assert log_power(double(0), 1e-10).item() == pytest.approx(math.log(1e-10))
    assert magnitude(double(0), 1e-10).item() == pytest.approx(1e-5)


@pytest.mark.parametrize("db", [-90.0, -31.4, 0.0, 3.0, 60.0, 90.0])
def test_a_ratio_is_its_decibels(db: float) -> None:
    """The cap costs 5e-5 dB at 90 dB, as the formula says."""
    assert ratio_db(double(10 ** (db / 10)), double(1)).item() == pytest.approx(db, abs=5e-5)


def test_the_cap_costs_what_the_docstring_says() -> None:
    at_100, at_120 = ratio_db(double(1e10, 1e12), double(1)).tolist()
    assert 100 - at_100 == pytest.approx(0.0004, abs=5e-5)
    assert 120 - at_120 == pytest.approx(0.043, abs=5e-4)


@pytest.mark.parametrize("power", [1e-38, 1e-30, 1e-12, 1.0, 1e12, 1e38])
def test_the_cap_is_the_same_at_every_level(power: float) -> None:
    value = ratio_db(single(power, 0.0), single(0.0, power))
    torch.testing.assert_close(value, single(140, -140), atol=1e-4, rtol=0)
    value = ratio_db(single(power, 0.0), single(0.0, power), cap_db=80.0)
    torch.testing.assert_close(value, single(80, -80), atol=1e-4, rtol=0)


@pytest.mark.parametrize("db", [-120.0, -20.0, 0.1, 50.0, 110.0])
def test_a_ratio_has_no_level_in_float32(db: float) -> None:
    levels = torch.logspace(-12, 12, 49, dtype=torch.float32)
    ratio = single(10 ** (db / 10))
    values = ratio_db(ratio * levels, levels)
    # Rounding of the product is 6e-8 relative, 2.6e-7 dB; the rest is the float32 of a number near 100.
    torch.testing.assert_close(values, ratio_db(ratio, single(1)).expand(49), atol=2e-5, rtol=0)


def test_a_ratio_of_tiny_powers_holds_its_value_in_float32() -> None:
    exact = ratio_db(double(3e-30, 2e-31, 1e-35), double(1e-30, 4e-36, 1e-30))
    tiny = ratio_db(single(3e-30, 2e-31, 1e-35), single(1e-30, 4e-36, 1e-30))
    torch.testing.assert_close(tiny.double(), exact, atol=1e-4, rtol=0)


def test_swapping_the_two_turns_the_sign() -> None:
    num, den = torch.rand(2, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ratio_db(num, den), -ratio_db(den, num), atol=1e-12, rtol=0)


def test_no_power_at_all_is_zero_db_with_zero_gradient() -> None:
    num, den = torch.zeros(2, 3, requires_grad=True).unbind()
    value = ratio_db(num, den)
    assert torch.equal(value, torch.zeros(3))
    for grad in torch.autograd.grad(value.sum(), (num, den)):
        assert torch.equal(grad, torch.zeros(3))


@pytest.mark.parametrize("level", [1e-30, 1e-12, 1.0, 1e12])
@pytest.mark.parametrize("silent", ["num", "den"])
def test_the_gradient_is_finite_where_one_of_the_two_is_silent(silent: str, level: float) -> None:
    powers = {"num": single(level), "den": single(level)}
    powers[silent] = single(0.0)
    num, den = powers["num"].requires_grad_(), powers["den"].requires_grad_()
    for grad in torch.autograd.grad(ratio_db(num, den).sum(), (num, den)):
        assert grad.isfinite().all()


@pytest.mark.parametrize("amplitude", [1e-17, 1e-15, 1e-6, 1.0, 1e6])
def test_a_perfect_estimate_at_any_level_learns_nothing_and_sees_no_nan(amplitude: float) -> None:
    ref = amplitude * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    est = ref.clone().requires_grad_()
    value = ratio_db(ref.square().sum(), (est - ref).square().sum())
    (grad,) = torch.autograd.grad(value, est)
    assert value.item() == pytest.approx(140, abs=1e-3)
    assert torch.equal(grad, torch.zeros(1000))


def test_the_gradient_is_the_textbooks_in_float32_down_to_minus_200_db() -> None:
    """d/dn 10 log10(n / d) = 10 / (ln 10 n), wherever the cap is far away."""
    num = single(1e-20, 1e-10, 1.0, 1e10).requires_grad_()
    (grad,) = torch.autograd.grad(ratio_db(num, num.detach() / 2).sum(), num)
    torch.testing.assert_close(grad * num.detach(), torch.full((4,), 10 / math.log(10)))


def test_the_gradient_of_the_faintest_powers_shrinks_and_keeps_its_sign() -> None:
    num, den = single(1e-30).requires_grad_(), single(1e-30).requires_grad_()
    up, down = torch.autograd.grad(ratio_db(num, den).sum(), (num, den))
    assert 0 < up < 10 / math.log(10) / 1e-30
    assert down == -up


def test_gradients_and_second_gradients_are_right() -> None:
    num, den = (1 + torch.rand(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).unbind()
    inputs = (num.requires_grad_(), den.requires_grad_())
    for cap in (140.0, 10.0):
        assert torch.autograd.gradcheck(lambda n, d, cap=cap: ratio_db(n, d, cap), inputs)
        assert torch.autograd.gradgradcheck(lambda n, d, cap=cap: ratio_db(n, d, cap), inputs)
    assert torch.autograd.gradcheck(lambda p: log_power(p, 0.1), inputs[:1])
    assert torch.autograd.gradcheck(lambda p: magnitude(p, 0.1), inputs[:1])
    assert torch.autograd.gradcheck(mean_defined, inputs)


def test_a_nan_power_is_a_nan_ratio() -> None:
    assert ratio_db(single(NAN, 1.0, NAN, 0.0), single(1.0, NAN, 0.0, NAN)).isnan().all()


def test_an_undefined_item_is_nan_in_its_place_and_takes_no_gradient() -> None:
    value = double(1, 2, 3).requires_grad_()
    out = undefined_where(torch.tensor([False, True, False]), value)
    assert out.isnan().tolist() == [False, True, False]
    (grad,) = torch.autograd.grad(out, value, double(1, NAN, 1))
    assert torch.equal(grad, double(1, 0, 1))
    assert not value.isnan().any()


def test_the_mean_is_over_the_defined_items() -> None:
    values = double(1, NAN, 4).requires_grad_()
    mean = mean_defined(values)
    (grad,) = torch.autograd.grad(mean, values)
    assert mean.item() == 2.5
    assert torch.equal(grad, double(0.5, 0, 0.5))


def test_the_mean_is_weighted_by_what_is_given() -> None:
    values = torch.tensor([[1.0, 2.0], [NAN, 6.0]], dtype=torch.float64)
    weight = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    assert mean_defined(values, weight).item() == pytest.approx((1 + 2 + 18) / 5)
    assert mean_defined(values, torch.full_like(values, 7.0)).item() == pytest.approx(3)


def test_an_item_of_weight_zero_takes_no_part_even_if_infinite() -> None:
    values = double(3, math.inf, 5).requires_grad_()
    mean = mean_defined(values, double(1, 0, 1))
    (grad,) = torch.autograd.grad(mean, values)
    assert mean.item() == 4
    assert torch.equal(grad, double(0.5, 0, 0.5))


def test_the_weight_of_an_undefined_item_takes_no_gradient() -> None:
    weight = double(1, 2, 1).requires_grad_()
    (grad,) = torch.autograd.grad(mean_defined(double(3, NAN, 5), weight), weight)
    torch.testing.assert_close(grad, double(-0.5, 0, 0.5))


@pytest.mark.parametrize("weight", [None, double(1, 2), double(0, 0)])
def test_the_mean_of_nothing_is_zero_with_zero_gradient(weight: Tensor | None) -> None:
    values = double(NAN, NAN).requires_grad_()
    mean = mean_defined(values, weight)
    (grad,) = torch.autograd.grad(mean, values)
    assert mean.item() == 0
    assert torch.equal(grad, double(0, 0))


@pytest.mark.parametrize(
    "function",
    [
        db_to_power,
        db_to_amplitude,
        lambda x: log_power(x, 1e-10),
        lambda x: magnitude(x, 1e-10),
        lambda x: ratio_db(x, x.flip(0)),
        lambda x: undefined_where(x > 2, x),
        lambda x: mean_defined(undefined_where(x > 2, x), x),
    ],
)
def test_compiles_whole_with_its_gradient(function: Callable[[Tensor], Tensor]) -> None:
    x = single(0.5, 1.0, 3.0)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    results = []
    for f in (compiled, function):
        leaf = x.clone().requires_grad_()
        value = f(leaf)
        results.append((value, torch.autograd.grad(value.nansum(), leaf)[0]))
    torch.testing.assert_close(results[0], results[1], equal_nan=True)
