"""The transform must be torch.stft to the last bit, and Fourier's by definition."""

import cmath
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from percloss.dsp.stft import hann, power, reflect_pad, stft
from percloss.errors import ArgumentError, ShapeError


def noise(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("n_fft", "hop_length", "win_length", "time"),
    [
        (512, 128, 512, 4000),
        (511, 100, 400, 3001),
        (1024, 77, 600, 9000),
        (64, 1, 33, 200),
        (7, 3, 7, 50),
        (2048, 512, 1201, 1025),
        (1, 1, 1, 5),
    ],
)
def test_equals_torch_stft_to_the_last_bit_in_value_and_gradient(
    n_fft: int, hop_length: int, win_length: int, time: int, dtype: torch.dtype
) -> None:
    x = noise(3, time, dtype=dtype).requires_grad_()
    window = hann(win_length, dtype=dtype)
    ours = stft(x, window, n_fft=n_fft, hop_length=hop_length)
    torchs = torch.stft(x, n_fft, hop_length, win_length, window, center=True, pad_mode="reflect", return_complex=True)
    assert ours.shape == torchs.shape
    assert torch.equal(ours, torchs)
    cotangent = torch.complex(*noise(2, *ours.shape, dtype=dtype, seed=1))
    (ours_grad,) = torch.autograd.grad(ours, x, cotangent)
    (torchs_grad,) = torch.autograd.grad(torchs, x, cotangent)
    assert torch.equal(ours_grad, torchs_grad)


def test_equals_torch_stft_without_centring() -> None:
    x, window = noise(2, 1000), hann(100)
    ours = stft(x, window, n_fft=128, hop_length=31, center=False)
    assert torch.equal(ours, torch.stft(x, 128, 31, 100, window, center=False, return_complex=True))


def test_equals_fouriers_sum_written_out() -> None:
    x, window = noise(40), hann(8)
    frame = [x[10 + n].item() * window[n].item() for n in range(8)]
    for k in range(5):
        expected = sum(v * cmath.exp(-2j * math.pi * k * n / 8) for n, v in enumerate(frame))
        got = stft(x, window, n_fft=8, hop_length=5, center=False)[k, 2].item()
        assert abs(got - expected) < 1e-14


def test_leading_axes_are_kept_and_never_mix() -> None:
    x, window = noise(2, 3, 500), hann(64)
    together = stft(x, window, n_fft=64, hop_length=16)
    assert together.shape == (2, 3, 33, 32)
    assert torch.equal(together[1, 2], stft(x[1, 2], window, n_fft=64, hop_length=16))


def test_a_frame_is_centred_on_its_sample() -> None:
    x = torch.zeros(1000, dtype=torch.float64)
    x[5 * 64] = 1.0
    energy = power(stft(x, hann(256), n_fft=256, hop_length=64)).sum(0)
    assert energy.argmax() == 5
    torch.testing.assert_close(energy[5 - 1], energy[5 + 1])


def test_the_window_takes_the_dtype_of_the_signal() -> None:
    assert stft(noise(300, dtype=torch.float32), hann(64), n_fft=64, hop_length=16).dtype == torch.complex64


@pytest.mark.parametrize(("left", "right"), [(3, None), (0, 4), (4, 0), (0, 0), (9, 9)])
def test_reflection_is_torchs(left: int, right: int | None) -> None:
    x = noise(2, 10)
    expected = torch.nn.functional.pad(x, (left, left if right is None else right), mode="reflect")
    assert torch.equal(reflect_pad(x, left, right), expected)


def test_reflecting_a_whole_signal_or_more_is_refused() -> None:
    assert reflect_pad(noise(10), 9).shape == (28,)
    with pytest.raises(ShapeError, match=r"a signal of 10 samples came; reflecting 10 of them needs 11 or more"):
        reflect_pad(noise(10), 10)
    with pytest.raises(ShapeError, match=r"use an n_fft of at most 19"):
        stft(noise(10), hann(20), n_fft=20, hop_length=5)
    assert stft(noise(10), hann(19), n_fft=19, hop_length=5).shape == (10, 2)


def test_a_negative_padding_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"2 and -1 came"):
        reflect_pad(noise(10), 2, -1)


@pytest.mark.parametrize(
    ("n_fft", "hop_length", "window"), [(64, 0, hann(64)), (64, 16, hann(65)), (64, 16, noise(2, 9))]
)
def test_a_transform_that_does_not_exist_is_refused(n_fft: int, hop_length: int, window: Tensor) -> None:
    with pytest.raises(ArgumentError, match=rf"n_fft={n_fft}, hop_length={hop_length} and a window"):
        stft(noise(500), window, n_fft=n_fft, hop_length=hop_length)


def test_a_signal_shorter_than_a_frame_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"63 samples came; n_fft=64"):
        stft(noise(63), hann(64), n_fft=64, hop_length=16, center=False)


def test_power_is_the_squared_magnitude_and_its_gradient_is_zero_at_zero() -> None:
    spectrum = torch.complex(noise(5), noise(5, seed=1))
    torch.testing.assert_close(power(spectrum), spectrum.abs() ** 2)
    silence = torch.zeros(300, requires_grad=True)
    (grad,) = torch.autograd.grad(power(stft(silence, hann(64), n_fft=64, hop_length=16)).sum(), silence)
    assert torch.equal(grad, torch.zeros(300))


def test_power_is_a_parabola_at_zero_too() -> None:
    bin_ = torch.zeros(1, dtype=torch.complex128, requires_grad=True)
    (slope,) = torch.autograd.grad(power(bin_).sum(), bin_, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.real.sum(), bin_)
    assert curvature.item() == 2


def test_gradients_and_second_gradients_are_right() -> None:
    def energy(x: Tensor) -> Tensor:
        return power(stft(x, hann(6), n_fft=8, hop_length=3)).log1p()

    x = noise(2, 20).requires_grad_()
    assert torch.autograd.gradcheck(energy, x)
    assert torch.autograd.gradgradcheck(energy, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 511, 1024])
def test_hann_is_torchs_periodic_window(n: int, dtype: torch.dtype) -> None:
    assert torch.equal(hann(n, dtype=dtype), torch.hann_window(n, dtype=dtype))


def test_hann_sums_to_a_constant_at_half_overlap() -> None:
    window = hann(64)
    torch.testing.assert_close(window[:32] + window[32:], torch.ones(32, dtype=torch.float64))


def test_a_window_of_no_samples_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"n=0 came"):
        hann(0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: reflect_pad(x, 30, 7),
        lambda x: stft(x, hann(50), n_fft=64, hop_length=13),
        lambda x: power(stft(x, hann(64), n_fft=64, hop_length=13, center=False)),
    ],
)
def test_compiles_whole(function: Callable[[Tensor], Tensor]) -> None:
    x = noise(2, 400, dtype=torch.float32)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), function(x))
