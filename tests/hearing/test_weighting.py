"""The weighting curves are those that the standards print, and a filter has them at every sample rate."""

import math

import pytest
import torch
from torch import Tensor

from percloss.errors import ArgumentError, SampleRateError
from percloss.hearing.weighting import CURVES, Weighting, weighting_db, weighting_gain
from tests.signals import noise

RATES = (8000, 16_000, 22_050, 44_100, 48_000, 96_000)
PAIRS = [(curve, rate) for curve in CURVES for rate in RATES if rate / 2 <= CURVES[curve].highest]
every_curve = pytest.mark.parametrize("curve", CURVES)
every_pair = pytest.mark.parametrize(("curve", "rate"), PAIRS)

# Third octaves, 10 Hz to 20 kHz, at their exact frequencies. A and C: IEC 61672-1, table 3. B: IEC 60651, which is
# ANSI S1.4-1983, table IV.
THIRDS = 1000 * 10 ** (torch.arange(-20, 14, dtype=torch.float64) / 10)
PRINTED = {
    "A": (
        *(-70.4, -63.4, -56.7, -50.5, -44.7, -39.4, -34.6, -30.2, -26.2, -22.5, -19.1, -16.1, -13.4, -10.9, -8.6, -6.6),
        *(-4.8, -3.2, -1.9, -0.8, 0.0, 0.6, 1.0, 1.2, 1.3, 1.2, 1.0, 0.5, -0.1, -1.1, -2.5, -4.3, -6.6, -9.3),
    ),
    "B": (
        *(-38.2, -33.2, -28.5, -24.2, -20.4, -17.1, -14.2, -11.6, -9.3, -7.4, -5.6, -4.2, -3.0, -2.0, -1.3, -0.8, -0.5),
        *(-0.3, -0.1, 0.0, 0.0, 0.0, 0.0, -0.1, -0.2, -0.4, -0.7, -1.2, -1.9, -2.9, -4.3, -6.1, -8.4, -11.1),
    ),
    "C": (
        *(-14.3, -11.2, -8.5, -6.2, -4.4, -3.0, -2.0, -1.3, -0.8, -0.5, -0.3, -0.2, -0.1, 0.0, 0.0, 0.0, 0.0, 0.0),
        *(0.0, 0.0, 0.0, 0.0, -0.1, -0.2, -0.3, -0.5, -0.8, -1.3, -2.0, -3.0, -4.4, -6.2, -8.5, -11.2),
    ),
}
# ITU-R BS.468-4, table 1.
ITU468 = {
    31.5: -29.9, 63: -23.9, 100: -19.8, 200: -13.8, 400: -7.8, 800: -1.9, 1000: 0.0, 2000: 5.6, 3150: 9.0, 4000: 10.5,
    5000: 11.7, 6300: 12.2, 7100: 12.0, 8000: 11.4, 9000: 10.1, 10_000: 8.1, 12_500: 0.0, 14_000: -5.3, 16_000: -11.7,
    20_000: -22.2, 31_500: -42.7,
}  # fmt: skip
# ITU-R BS.1770, tables 1 and 2.
SHELF = [1.53512485958697, -2.69169618940638, 1.19839281085285], [1, -1.69065929318241, 0.73248077421585]
HIGH_PASS = [1, -2, 1], [1, -1.99004745483398, 0.99007225036621]


def at(*hz: float) -> Tensor:
    return torch.tensor(hz, dtype=torch.float64)


def sine(hz: float, rate: int, seconds: float = 1.0) -> Tensor:
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    return torch.sin(2 * math.pi * hz * time)[None, None]


def level(x: Tensor) -> float:
    return 10 * math.log10(x.square().mean().item())


@pytest.mark.parametrize("curve", PRINTED)
def test_the_curves_of_sound_level_meters_are_as_printed(curve: str) -> None:
    """To the last printed digit."""
    torch.testing.assert_close(weighting_db(curve, THIRDS), at(*PRINTED[curve]), rtol=0, atol=0.055)


def test_d_is_librosas() -> None:
    """The standard is withdrawn: librosa's form of it, with other constants, stands in for its table."""
    librosa = pytest.importorskip("librosa")
    wanted = torch.from_numpy(librosa.D_weighting(THIRDS.numpy(), min_db=None))
    torch.testing.assert_close(weighting_db("D", THIRDS), wanted, rtol=0, atol=0.01)
    # What NASA CR-3406, table SLD-I, gives at the hump that D is known for.
    assert weighting_db("D", at(3150)).item() == pytest.approx(11.5, abs=0.1)


def test_itu_468_is_as_printed() -> None:
    torch.testing.assert_close(weighting_db("ITU468", at(*ITU468)), at(*ITU468.values()), rtol=0, atol=0.055)


def test_k_is_the_response_of_the_two_printed_filters() -> None:
    signal = pytest.importorskip("scipy.signal")
    hz = torch.linspace(5, 24_000, 2000, dtype=torch.float64)
    wanted = torch.ones(len(hz), dtype=torch.float64)
    for above, below in (SHELF, HIGH_PASS):
        wanted *= torch.from_numpy(abs(signal.freqz(above, below, worN=hz.numpy(), fs=48_000)[1]))
    torch.testing.assert_close(weighting_gain("K", hz), wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
def test_a_full_scale_sine_of_997_hz_has_the_loudness_that_bs_1770_says(rate: int) -> None:
    """-3.01 LKFS, at every rate."""
    inside = slice(rate // 4, -rate // 4)
    assert level(Weighting("K", rate)(sine(997, rate))[..., inside]) - 0.691 == pytest.approx(-3.01, abs=0.005)


def test_k_filters_to_the_level_that_the_printed_recursion_has() -> None:
    signal = pytest.importorskip("scipy.signal")
    white = noise(1, 1, 96_000, dtype=torch.float64)
    wanted = signal.lfilter(*HIGH_PASS, signal.lfilter(*SHELF, white.numpy()))
    assert level(Weighting("K", 48_000)(white)) == pytest.approx(level(torch.from_numpy(wanted)), abs=1e-3)


def test_the_formulas_are_those_of_the_analogue_filters() -> None:
    """Poles and zeros of the standards, by scipy."""
    signal = pytest.importorskip("scipy.signal")
    turn, low, high = 2 * math.pi, -20.598997, -12194.217
    poles = {
        "A": (4, [low, low, -107.65265, -737.86223, high, high]),
        "B": (3, [low, low, -158.48932, high, high]),
        "C": (2, [low, low, high, high]),
    }
    for curve, (zeros, corners) in poles.items():
        corners = [turn * corner for corner in corners]
        _, response = signal.freqs_zpk([0.0] * zeros, corners, 1.0, turn * THIRDS.numpy())
        wanted = torch.from_numpy(abs(response) / abs(response[20]))
        torch.testing.assert_close(weighting_gain(curve, THIRDS), wanted, rtol=1e-9, atol=0)


def test_itu_468_is_a_network_that_can_be_built() -> None:
    """Its denominator, taken apart from gain and phase of the formula, has all its roots on the left."""
    real, imaginary = (
        (1, 1.363894795463638e-7, 2.043828333606125e-15, 4.737338981378384e-24),
        (*(5.559488023498642e-4, 2.118150887518656e-11, 1.306612257412824e-19),),
    )
    numpy = pytest.importorskip("numpy")
    factors = [coefficient for pair in zip(real, (*imaginary, 0), strict=True) for coefficient in pair][:-1]
    assert (numpy.roots(factors[::-1]).real < 0).all()
    hz = at(50, 1000, 5000, 20_000)
    gain = hz.numpy() / abs(numpy.polyval(factors[::-1], 1j * hz.numpy()))
    torch.testing.assert_close(weighting_gain("ITU468", hz), torch.from_numpy(gain / gain[1]), rtol=1e-9, atol=0)


@every_curve
def test_0_hz_is_finite_and_silent(curve: str) -> None:
    assert weighting_gain(curve, at(0.0)).item() < 1e-12
    assert weighting_db(curve, at(0.001)).item() < -80


@every_pair
def test_sines_come_out_as_loud_as_the_curve_says(curve: str, rate: int) -> None:
    measured = []
    tones = [hz for hz in (31.5, 63.0, 250.0, 1000.0, 3150.0, 6300.0, 10_000.0, 16_000.0, 20_000.0) if hz < 0.49 * rate]
    for hz in tones:
        inside = slice(rate // 4, -rate // 4)
        ref = sine(hz, rate)
        measured.append(level(Weighting(curve, rate)(ref)[..., inside]) - level(ref[..., inside]))
    torch.testing.assert_close(at(*measured), weighting_db(curve, at(*tones)), rtol=0, atol=0.1)


@every_pair
def test_a_click_comes_out_with_the_curve_as_its_spectrum_and_no_phase(curve: str, rate: int) -> None:
    click = torch.zeros(1, 1, rate + 1, dtype=torch.float64)
    click[..., rate // 2] = 1
    response = Weighting(curve, rate)(click)
    torch.testing.assert_close(response, response.flip(-1), rtol=0, atol=1e-9)
    measured = 20 * torch.fft.rfft(response[0, 0, :-1]).abs().log10()
    hz = torch.arange(rate // 2 + 1, dtype=torch.float64)
    torch.testing.assert_close(measured[20:-20], weighting_db(curve, hz)[20:-20], rtol=0, atol=0.1)


@every_curve
@pytest.mark.parametrize(("kind", "below"), [("noise", 90), ("tone", 90), ("offset", 60)])
def test_the_end_does_not_ring_into_the_beginning(curve: str, kind: str, below: float) -> None:
    """As with seconds of silence behind it: noise, a low tone, and an offset, which D and ITU-R 468 hold longest."""
    filtering = Weighting(curve, 16_000)
    white, low = noise(1, 1, 16_000, dtype=torch.float64), sine(30, 16_000)
    ref = {"noise": white, "tone": low, "offset": torch.ones_like(low)}[kind]
    error = filtering(ref) - filtering(torch.nn.functional.pad(ref, (0, 160_000)))[..., :16_000]
    assert level(error) < level(ref) - below


@every_curve
def test_the_filter_is_its_own_adjoint(curve: str) -> None:
    """A filter without phase is; so the gradient of a weighted loss is weighted by the same curve."""
    filtering = Weighting(curve, 44_100)
    x, y = noise(2, 1, 1, 5001, dtype=torch.float64)
    assert (filtering(x) * y).sum().item() == pytest.approx((x * filtering(y)).sum().item(), rel=1e-9)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((filtering(x) * y).sum(), x)
    torch.testing.assert_close(gradient, filtering(y))


@every_curve
def test_any_batch_precision_and_length_will_do(curve: str) -> None:
    filtering = Weighting(curve, 16_000)
    x = noise(3, 2, 4000, dtype=torch.float64)
    together = filtering(x)
    assert together.shape == x.shape
    torch.testing.assert_close(filtering(x[1:2, 1:]), together[1:2, 1:])
    single = filtering(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, together.float(), rtol=0, atol=1e-5)
    assert filtering(x[..., :1]).shape == (3, 2, 1)


def test_a_front_end_keeps_its_precision_when_a_model_is_cast() -> None:
    x = noise(1, 1, 4000)
    assert torch.equal(Weighting("A", 44_100).to(torch.bfloat16)(x), Weighting("A", 44_100)(x))


def test_a_rate_beyond_the_standard_is_refused_and_the_advice_holds() -> None:
    with pytest.raises(
        SampleRateError, match=r"K-weighting at sample_rate=96000.*up to 48000 Hz; use sample_rate=48000"
    ):
        Weighting("K", 96_000)
    with pytest.raises(SampleRateError, match="ITU-R 468 weighting at sample_rate=96000.*up to 63000 Hz"):
        Weighting("ITU468", 96_000)
    for curve in CURVES:
        Weighting(curve, 48_000)
        with pytest.raises(SampleRateError, match="above 0"):
            Weighting(curve, 0)


def test_a_frequency_beyond_the_standard_is_refused_and_the_advice_holds() -> None:
    hz = at(1000, 40_000)
    with pytest.raises(SampleRateError, match=r"ITU-R 468 weighting ends at 31500 Hz and 40000 Hz came"):
        weighting_db("ITU468", hz)
    with pytest.raises(SampleRateError, match=r"K-weighting ends at 24000 Hz"):
        weighting_gain("K", hz)
    assert weighting_db("ITU468", hz.clamp(max=31_500)).isfinite().all()
    assert weighting_db("A", hz).isfinite().all()


def test_an_unknown_curve_is_refused_with_the_known_ones() -> None:
    for build in (lambda: weighting_gain("E", at(1.0)), lambda: Weighting("a", 16_000)):
        with pytest.raises(ArgumentError, match="A, B, C, D, K, ITU468"):
            build()
