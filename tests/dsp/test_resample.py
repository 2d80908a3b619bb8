"""Resampling must be the band-limited interpolation of the sampling theorem, in band and out of it."""

import inspect
import math

import pytest
import torch
from torch import Tensor

from percloss.dsp.resample import resample, resample_kernel
from percloss.errors import ArgumentError, SampleRateError, ShapeError

PAIRS = [(48_000, 16_000), (16_000, 48_000), (44_100, 48_000), (44_100, 16_000), (8000, 16_000), (48_000, 44_100)]
PAIR = pytest.mark.parametrize(("orig", "new"), PAIRS)


def tone(hz: float, rate: int, seconds: float = 0.5) -> Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(int(rate * seconds), dtype=torch.float64) / rate + 0.3)


def limited_noise(rate: int, below: float, seed: int = 0) -> Tensor:
    """A second of periodic noise with nothing above ``below`` Hz."""
    gen = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft(torch.randn(rate, dtype=torch.float64, generator=gen))
    spectrum[math.floor(below) + 1 :] = 0
    return torch.fft.irfft(spectrum, rate)


def error_db(got: Tensor, expected: Tensor) -> float:
    """Level of the error in the middle three quarters, relative to what is expected [dB]."""
    edge = expected.shape[-1] // 8
    got, expected = got[..., edge:-edge], expected[..., edge:-edge]
    return 10 * math.log10(((got - expected).square().mean() / expected.square().mean()).item())


@PAIR
@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.85, 0.9])
def test_a_tone_in_band_is_the_same_tone_at_the_other_rate(orig: int, new: int, part: float) -> None:
    hz = part * min(orig, new) / 2
    assert error_db(resample(tone(hz, orig), orig, new), tone(hz, new)) < -100


@PAIR
def test_noise_in_band_is_the_noise_that_fourier_interpolates(orig: int, new: int) -> None:
    x = limited_noise(orig, 0.9 * min(orig, new) / 2)
    spectrum = torch.fft.rfft(x)
    expected = torch.fft.irfft(spectrum[: new // 2 + 1], new) * new / orig
    assert error_db(resample(x, orig, new), expected) < -100


@pytest.mark.parametrize(
    ("orig", "new", "part"),
    [
        (48_000, 16_000, 0.9),
        (16_000, 48_000, 0.9),
        (8000, 16_000, 0.9),
        # Where the ratio has no small terms soxr itself rolls off to the band edge: SOXR_ROLLOFF_SMALL, its default,
        # is 0.006 dB at 0.9 of the half rate, an error of -63 dB for a tone there, and leaves -83 dB for this noise.
        (44_100, 48_000, 0.8),
        (44_100, 16_000, 0.8),
    ],
)
def test_agrees_with_soxr_to_80_db_in_band(orig: int, new: int, part: float) -> None:
    soxr = pytest.importorskip("soxr", reason="soxr is the oracle of the resampler")
    x = limited_noise(orig, part * min(orig, new) / 2)
    expected = torch.from_numpy(soxr.resample(x.numpy(), orig, new, quality="VHQ"))
    assert error_db(resample(x, orig, new), expected) < -80


@PAIR
@pytest.mark.parametrize("part", [0.1, 0.5, 0.65])
def test_agrees_with_soxr_on_tones(orig: int, new: int, part: float) -> None:
    soxr = pytest.importorskip("soxr", reason="soxr is the oracle of the resampler")
    x = tone(part * min(orig, new) / 2, orig)
    expected = torch.from_numpy(soxr.resample(x.numpy(), orig, new, quality="VHQ"))
    assert error_db(resample(x, orig, new), expected) < -80


@pytest.mark.parametrize(
    ("orig", "new", "hz"), [(48_000, 16_000, 9000), (44_100, 16_000, 8010), (48_000, 44_100, 22_500)]
)
def test_a_tone_above_the_lower_half_rate_is_gone(orig: int, new: int, hz: float) -> None:
    aliased = resample(tone(hz, orig), orig, new)[new // 16 : -new // 16]
    assert 10 * math.log10(aliased.square().mean().item() / 0.5) < -105


@PAIR
@pytest.mark.parametrize("time", [1, 2, 441, 1000, 4567])
def test_the_length_is_rounded_up(orig: int, new: int, time: int) -> None:
    assert resample(torch.ones(time), orig, new).shape == (math.ceil(time * new / orig),)


@PAIR
def test_the_first_sample_stays_where_it_is(orig: int, new: int) -> None:
    """A pulse, smooth enough to be in band at any rate, is at the same time before and after."""
    at, width = 0.01, 1e-3

    def pulse(rate: int) -> Tensor:
        return torch.exp(-((torch.arange(rate // 50, dtype=torch.float64) / rate - at).square() / (2 * width**2)))

    torch.testing.assert_close(resample(pulse(orig), orig, new), pulse(new), atol=1e-5, rtol=0)


@PAIR
def test_a_constant_stays_that_constant(orig: int, new: int) -> None:
    y = resample(torch.ones(orig // 10, dtype=torch.float64), orig, new)
    edge = new // 40
    torch.testing.assert_close(y[edge:-edge], torch.ones_like(y[edge:-edge]), atol=1e-13, rtol=0)


def test_outside_the_signal_is_silence() -> None:
    x, gap = limited_noise(8000, 3000)[:1000], torch.zeros(300, dtype=torch.float64)
    alone = resample(x, 8000, 16_000)
    between = resample(torch.cat((gap, x, gap)), 8000, 16_000)
    torch.testing.assert_close(between[600:2600], alone, atol=1e-14, rtol=0)


@PAIR
def test_long_and_short_signals_agree_sample_by_sample(orig: int, new: int) -> None:
    """Every output depends on its surroundings only, wherever the blocks begin."""
    x = limited_noise(orig, orig / 2)
    assert torch.allclose(resample(x[:5000], orig, new)[:100], resample(x, orig, new)[:100], atol=1e-14)


def test_equal_rates_return_the_signal() -> None:
    x = torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    assert resample(x, 44_100, 44_100) is x
    assert torch.equal(resample_kernel(44_100, 44_100), torch.ones(1, 1, dtype=torch.float64))


def test_leading_axes_are_kept_and_never_mix() -> None:
    x = torch.randn(2, 3, 500, generator=torch.Generator().manual_seed(0))
    together = resample(x, 48_000, 16_000)
    assert together.shape == (2, 3, 167)
    torch.testing.assert_close(together[1, 2], resample(x[1, 2], 48_000, 16_000))


def test_a_kernel_built_once_serves_every_signal_and_dtype() -> None:
    kernel = resample_kernel(44_100, 16_000)
    x = limited_noise(44_100, 7000)
    assert kernel.dtype == torch.float64
    assert torch.equal(resample(x, 44_100, 16_000, kernel), resample(x, 44_100, 16_000))
    single = resample(x.float(), 44_100, 16_000, kernel)
    assert single.dtype == torch.float32
    assert error_db(single.double(), resample(x, 44_100, 16_000)) < -120


def test_fewer_zeros_are_a_shorter_and_a_coarser_kernel() -> None:
    coarse = resample_kernel(8000, 16_000, zeros=28)
    assert coarse.shape[1] < resample_kernel(8000, 16_000).shape[1]
    error = error_db(resample(tone(3600, 8000), 8000, 16_000, coarse), tone(3600, 16_000))
    assert -80 < error < -45


@pytest.mark.parametrize(("orig", "new"), [(3, 2), (2, 3), (1, 2), (3, 1)])
def test_gradients_are_right(orig: int, new: int) -> None:
    kernel = resample_kernel(orig, new, zeros=4, rolloff=0.6)
    x = torch.randn(2, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resample(x, orig, new, kernel), x)


@PAIR
def test_the_windows_copied_are_about_twice_the_signal(orig: int, new: int) -> None:
    """What ten seconds in a batch cost in memory: columns over hop, and no kernel beyond 3 MB."""
    kernel = resample_kernel(orig, new)
    hop = kernel.shape[0] * orig // new
    assert kernel.shape[1] / hop <= 2.1
    assert kernel.numel() * 8 < 3e6


@pytest.mark.parametrize("rates", [(0, 16_000), (16_000, -1), (16_000.0, 8000), (16_000, "8000")])
def test_a_rate_that_is_no_positive_integer_is_refused(rates: tuple[int, int]) -> None:
    """Unwrapped, because the suite's own type checking would refuse a float before this code sees it."""
    with pytest.raises(SampleRateError, match=rf"{rates[0]!r} to {rates[1]!r} Hz came"):
        inspect.unwrap(resample)(torch.ones(100), *rates)
    with pytest.raises(SampleRateError, match="rates are integers"):
        inspect.unwrap(resample_kernel)(*rates)


def test_rates_without_small_terms_are_refused_before_memory_is_gone() -> None:
    with pytest.raises(SampleRateError, match=r"44100 to 44101 Hz came, in lowest terms 44100 to 44101"):
        resample(torch.ones(100), 44_100, 44_101)


def test_too_few_zeros_are_refused_with_the_number_that_is_enough() -> None:
    with pytest.raises(ArgumentError, match=r"use zeros=28 or more"):
        resample_kernel(8000, 16_000, zeros=27)
    resample_kernel(8000, 16_000, zeros=28)
    with pytest.raises(ArgumentError, match=r"rolloff=1 came"):
        resample_kernel(8000, 16_000, rolloff=1.0)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 0\) came"):
        resample(torch.ones(2, 0), 8000, 16_000)


def test_compiles_whole() -> None:
    kernel = resample_kernel(44_100, 16_000)
    x = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(lambda x: resample(x, 44_100, 16_000, kernel), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), resample(x, 44_100, 16_000, kernel))
    build = torch.compile(lambda: resample_kernel(8000, 16_000), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(build(), resample_kernel(8000, 16_000))
