"""What must be true of the losses of the samples themselves; and other people's packages that have them."""

import importlib
import math
import os
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss import MAE, MSE, SNR, Loss
from percloss.distances import log_cosh
from percloss.errors import ArgumentError, SampleRateError
from percloss.measures.ratios import L1SNR, LevelMatchedL1SNR, ThresholdedSNR
from percloss.measures.waveform import DC, ESR, LogCosh, LogWMSE
from percloss.testing import RULES, check_measure
from tests.signals import at_snr, noise, speech, tone

# The catalogue's contract tries the defaults; here the rest.
VARIANTS = {
    "log_cosh, sharp": lambda: LogCosh(a=30.0),
    "esr with pre-emphasis": lambda: ESR(pre_emphasis=0.95),
    "thresholded_snr at 12 dB": lambda: ThresholdedSNR(12.0),
    "l1_snr, low floor": lambda: L1SNR(floor_db=-90.0),
    "l1_snr_level, heavy": lambda: LevelMatchedL1SNR(weight=1.0, extra=0.0),
    "log_wmse at 44.1 kHz": lambda: LogWMSE(44_100),
}
COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
TRIED = [name for name in RULES if name != "is_documented" and (COMPILE or name != "compiles")]


def oracle(name: str) -> ModuleType:
    """A package that has the loss too, or skip: two of them import torchaudio, which may not load."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        pytest.skip(f"{name}: {error}")


def gradient(measure: torch.nn.Module, est: Tensor, ref: Tensor, **needs: Tensor) -> Tensor:
    est = est.clone().requires_grad_()
    values = measure(est, ref, **needs)
    return torch.autograd.grad(values[~values.isnan()].sum(), est)[0]


@pytest.mark.parametrize("rule", TRIED)
@pytest.mark.parametrize("variant", VARIANTS)
def test_other_settings_keep_the_contract_too(variant: str, rule: str) -> None:
    measure = VARIANTS[variant]()
    check_measure(measure, sample_rate=getattr(measure, "sample_rate", 16_000), rules=[rule])


# Error-to-signal ratio


@pytest.mark.parametrize("gain", [-1.0, 0.0, 0.9, 3.0])
def test_esr_of_a_scaled_copy_is_the_square_of_what_is_missing(gain: float) -> None:
    ref = noise(1, 1, 4000, dtype=torch.float64)
    for measure in (ESR(), ESR(pre_emphasis=0.85)):
        assert measure(gain * ref, ref).item() == pytest.approx((1 - gain) ** 2, rel=1e-12)


def test_esr_is_snr_without_the_logarithm() -> None:
    ref = speech().double()
    for db in (-20, 0, 40, 80):
        est = at_snr(ref, db)
        assert -10 * math.log10(ESR()(est, ref).item()) == pytest.approx(SNR()(est, ref).item(), abs=1e-5)


def test_pre_emphasis_is_the_first_order_difference_with_silence_before() -> None:
    est, ref = noise(2, 1, 1, 500, dtype=torch.float64)
    filtered = [np.convolve(x.ravel().numpy(), [1, -0.95])[:500] for x in (est, ref)]
    expected = np.sum((filtered[0] - filtered[1]) ** 2) / np.sum(filtered[1] ** 2)
    assert ESR(pre_emphasis=0.95)(est, ref).item() == pytest.approx(expected, rel=1e-12)


def test_pre_emphasis_hears_high_errors_more_than_low_ones() -> None:
    ref = noise(1, 1, 16_000, dtype=torch.float64)
    low, high = ref + 0.1 * tone(50), ref + 0.1 * tone(5000)
    assert ESR()(low, ref).item() == pytest.approx(ESR()(high, ref).item(), rel=0.05)
    measure = ESR(pre_emphasis=0.95)
    assert measure(high, ref) > 100 * measure(low, ref)


def test_a_silent_reference_leaves_a_batch_as_it_was() -> None:
    """Where a constant is divided by instead, the one item is 1e10 and the batch is that item."""
    ref = 0.1 * noise(4, 1, 1000)
    est = at_snr(ref, 20)
    before = Loss(ESR())(est[:3], ref[:3])
    ref[3] = 0
    assert ESR()(est, ref)[3].isnan()
    assert torch.equal(Loss(ESR())(est, ref), before)
    assert gradient(ESR(), est, ref)[3].abs().max() == 0


def test_the_cap_of_esr_is_in_its_value_and_not_in_its_gradient() -> None:
    ref = 1e-9 * noise(1, 1, 1000)
    est = noise(1, 1, 1000, seed=1)
    assert ESR()(est, ref).item() == pytest.approx(1e14, rel=1e-3)
    # A square: the slope along the estimate is twice the value.
    assert (gradient(ESR(), est, ref) * est).sum().item() == pytest.approx(2e14, rel=1e-3)


# DC


@pytest.mark.parametrize("offset", [-0.3, 0.02])
def test_dc_hears_an_offset_and_nothing_else(offset: float) -> None:
    ref = tone(440)
    assert DC()(ref + offset, ref).item() == pytest.approx(offset**2 / 0.5, rel=1e-9)
    assert DC()(ref + tone(1000) + offset, ref).item() == pytest.approx(offset**2 / 0.5, rel=1e-9)
    assert DC()(tone(100), ref).item() == pytest.approx(0, abs=1e-20)


def test_dc_hears_polarity_and_which_signal_is_the_reference() -> None:
    ref = tone(440) + 0.5
    est = 0.8 * ref
    values = [DC()(e, r).item() for e, r in ((est, ref), (-est, ref), (ref, est))]
    assert values == pytest.approx([0.1**2 / 0.75, 0.9**2 / 0.75, 0.1**2 / 0.48], rel=1e-9)


# Log-cosh


def test_log_cosh_is_right_to_the_last_digits_over_seventy_decades() -> None:
    """Against the power series below 0.05, and numpy's logaddexp above, which loses digits below."""
    x = np.logspace(-40, 30, 701)
    series = x**2 / 2 - x**4 / 12 + x**6 / 45 - 17 * x**8 / 2520 + 31 * x**10 / 14175
    expected = torch.from_numpy(np.where(x < 0.05, series, np.logaddexp(x, -x) - math.log(2)))
    for dtype, least, rel in ((torch.float64, 0, 1e-12), (torch.float32, 1e-18, 1e-6)):  # least: the square underflows
        kept = torch.from_numpy(x > least)
        for sign in (1, -1):
            got = log_cosh(torch.from_numpy(sign * x).to(dtype)).double()
            torch.testing.assert_close(got[kept], expected[kept], rtol=rel, atol=0)


def test_the_slope_of_log_cosh_is_the_hyperbolic_tangent() -> None:
    x = torch.cat([-torch.logspace(-8, 8, 321), torch.zeros(1), torch.logspace(-8, 8, 321)]).requires_grad_()
    (slope,) = torch.autograd.grad(log_cosh(x).sum(), x)
    torch.testing.assert_close(slope, x.detach().tanh(), rtol=1e-6, atol=0)
    few = torch.linspace(-3, 3, 7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(log_cosh, few)
    assert torch.autograd.gradgradcheck(log_cosh, few)


@pytest.mark.parametrize("error", [1.0, 100.0, 1e30, 3e38])
def test_log_cosh_overflows_nowhere(error: float) -> None:
    est = torch.full((1, 1, 1), error)
    value = LogCosh()(est, 0 * est)
    assert value.item() == pytest.approx(error - math.log(2) if error > 1 else math.log(math.cosh(1)), rel=1e-6)
    assert gradient(LogCosh(), est, 0 * est).item() == pytest.approx(math.tanh(error), rel=1e-6)


def test_log_cosh_lies_between_the_squared_and_the_absolute_error() -> None:
    est, ref = noise(2, 1, 1, 4000, dtype=torch.float64)
    assert LogCosh(a=1e-4)(est, ref).item() == pytest.approx(5e-5 * MSE()(est, ref).item(), rel=1e-6)
    assert LogCosh(a=1e6)(est, ref).item() == pytest.approx(MAE()(est, ref).item(), rel=1e-5)


# Thresholded SNR


@pytest.mark.parametrize("ceiling", [1.0, 12.5, 30.0, 77.7, 100.0])
def test_a_perfect_estimate_scores_the_ceiling_and_no_more(ceiling: float) -> None:
    for dtype in (torch.float32, torch.float64):
        ref = noise(3, 1, 4000, dtype=dtype)
        measure = ThresholdedSNR(ceiling)
        assert torch.equal(measure(ref, ref), torch.full((3, 1), ceiling, dtype=dtype))
        assert measure.spec.perfect == measure.spec.bounds[1] == ceiling


@pytest.mark.parametrize("db", [-30.0, 0.0, 25.0, 30.0, 60.0])
def test_noise_and_the_threshold_add_as_powers(db: float) -> None:
    ref = noise(1, 1, 4000, dtype=torch.float64)
    expected = -10 * math.log10(10 ** (-db / 10) + 1e-3)
    assert ThresholdedSNR()(at_snr(ref, db), ref).item() == pytest.approx(expected, abs=1e-9)


def test_the_gradient_fades_towards_the_ceiling() -> None:
    """At the ceiling it is half of SNR's, 20 dB above it a hundredth."""
    ref = noise(1, 1, 4000, dtype=torch.float64)
    for db, share in ((0, 1 / 1.001), (30, 1 / 2), (50, 1 / 101)):
        est = at_snr(ref, db)
        ratio = gradient(ThresholdedSNR(), est, ref) / gradient(SNR(), est, ref)
        torch.testing.assert_close(ratio, torch.full_like(ratio, share), rtol=1e-6, atol=0)


# L1-SNR


def test_l1_snr_is_the_ratio_of_mean_absolute_values_with_the_floor_under_each() -> None:
    est, ref = 0.1 * noise(2, 1, 1, 2000, dtype=torch.float64)
    error, signal = (est - ref).abs().mean().item(), ref.abs().mean().item()
    for floor_db, floor in ((-60.0, 1e-3), (-100.0, 1e-5)):
        expected = 10 * math.log10((signal + floor) / (error + floor))
        assert L1SNR(floor_db=floor_db)(est, ref).item() == pytest.approx(expected, abs=1e-12)


def test_a_silent_reference_is_a_target_like_any_other() -> None:
    silence = torch.zeros(1, 1, 1000)
    est = noise(1, 1, 1000)
    scores = [L1SNR()(level * est, silence).item() for level in (1.0, 0.01, 1e-4, 0.0)]
    assert scores == sorted(scores)
    assert scores[-1] == 0
    assert gradient(L1SNR(), 1e-6 * est, silence).abs().min() > 0


@pytest.mark.parametrize("measure", [L1SNR(), LevelMatchedL1SNR()])
def test_what_a_perfect_estimate_scores_depends_on_the_level(measure: L1SNR) -> None:
    for size, expected in ((0.5, 26.998), (0.001, 3.0103)):
        ref = torch.full((1, 1, 100), size)
        assert measure(ref, ref).item() == pytest.approx(expected, abs=1e-3)


def test_an_estimate_of_the_right_level_pays_nothing_for_it() -> None:
    ref = noise(1, 1, 4000, dtype=torch.float64)
    est = noise(1, 1, 4000, seed=1, dtype=torch.float64)
    est = est * (ref.square().mean() / est.square().mean()).sqrt()
    assert LevelMatchedL1SNR()(est, ref).item() == pytest.approx(L1SNR()(est, ref).item(), abs=1e-9)


def test_too_quiet_costs_more_than_too_loud_and_silence_costs_most() -> None:
    ref = 0.1 * noise(1, 1, 4000, dtype=torch.float64)
    level = 10 * math.log10(ref.square().mean().item())
    cost = {gain: (L1SNR()(gain * ref, ref) - LevelMatchedL1SNR()(gain * ref, ref)).item() for gain in (0.0, 0.1, 10.0)}
    assert cost[10.0] == pytest.approx(0.1 * 20, abs=1e-3)
    assert cost[0.1] == pytest.approx((0.1 + 0.9 * 20 / (level + 60)) * 20, abs=1e-3)
    assert cost[0.0] == pytest.approx(80 + level, abs=1e-3)


def test_a_reference_below_the_level_of_silence_asks_for_no_extra() -> None:
    ref = 10 ** (-70 / 20) * noise(1, 1, 4000, dtype=torch.float64)
    level = 10 * math.log10(ref.square().mean().item() + 1e-8)
    cost = L1SNR()(0 * ref, ref) - LevelMatchedL1SNR()(0 * ref, ref)
    assert cost.item() == pytest.approx(0.1 * (level + 80), abs=1e-9)


def test_the_weight_of_a_level_is_not_something_to_optimise() -> None:
    """The gradient of the penalty is that of |difference| times the weight, as if the weight were a constant."""
    ref = 0.1 * noise(1, 1, 2000, dtype=torch.float64)
    est = 0.3 * ref
    difference = 10 * math.log10(1 / 0.09)
    weight = 0.1 + 0.9 * difference / (10 * math.log10(ref.square().mean().item()) + 60)
    slope = gradient(L1SNR(), est, ref) - gradient(LevelMatchedL1SNR(), est, ref)
    expected = -weight * 20 / math.log(10) * est / est.square().sum()
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=0)


# logWMSE


def test_the_readme_of_log_wmse_says_18_42() -> None:
    """Silence as the target, a tenth of the mixture as the estimate: 4 ln(100), whatever the mixture."""
    for rate in (8000, 44_100, 96_000):
        mix = noise(2, 2, rate)
        values = LogWMSE(rate)(0.1 * mix, 0 * mix, mix=mix)
        torch.testing.assert_close(values, torch.full((2, 2), 4 * math.log(100)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("hz", "db"), [(30, -24.096), (120, -2.875), (500, 2.534), (3000, 4.236), (10_000, -1.015), (16_000, -12.303)]
)
def test_an_error_counts_as_the_ear_hears_its_frequency(hz: int, db: float) -> None:
    """The published curve, read off its 4000 taps, from an error of that frequency against one of 1 kHz (1.493 dB)."""
    rate = 44_100
    time = torch.arange(8 * rate, dtype=torch.float64) / rate
    window = torch.hann_window(8 * rate, dtype=torch.float64)  # a line a quarter of a hertz wide
    mix = noise(1, 1, 8 * rate, dtype=torch.float64)
    errors = [(window * torch.sin(2 * math.pi * f * time))[None, None] for f in (hz, 1000)]
    score, usual = (LogWMSE(rate)(error, 0 * mix, mix=mix).item() for error in errors)
    assert (usual - score) / (0.4 * math.log(10)) == pytest.approx(db - 1.493, abs=4e-3)


@pytest.mark.parametrize("rate", [16_000, 32_000, 48_000, 96_000])
def test_the_same_sound_scores_the_same_at_any_rate(rate: int) -> None:
    def score(rate: int) -> float:
        time = torch.arange(rate, dtype=torch.float64) / rate
        error, mix = (torch.sin(2 * math.pi * hz * time)[None, None] for hz in (60, 2500))
        return LogWMSE(rate)(0.1 * error, 0 * mix, mix=mix).item()

    assert score(rate) == pytest.approx(score(44_100), abs=0.01)


def test_what_lies_above_the_band_the_curve_was_drawn_in_is_not_heard() -> None:
    rate = 96_000
    time = torch.arange(rate, dtype=torch.float64) / rate
    window, mix = torch.hann_window(rate, dtype=torch.float64), noise(1, 1, rate, dtype=torch.float64)
    for hz in (23_000, 30_000, 43_000):
        error = (window * torch.sin(2 * math.pi * hz * time))[None, None]
        assert LogWMSE(rate)(error, 0 * mix, mix=mix).item() > 73


def test_nothing_wraps_around_however_the_transform_is_padded() -> None:
    """Silence after the signals is silence: a sound at the very end rings into it and not into the beginning."""
    rate = 44_100
    mix = noise(1, 1, 5000, dtype=torch.float64)
    est = torch.zeros_like(mix)
    est[..., -1] = 1
    expected = LogWMSE(rate)(est, 0 * mix, mix=mix)
    for more in (1, 333, 20_000):
        padded = [torch.nn.functional.pad(x, (0, more)) for x in (est, 0 * mix, mix)]
        torch.testing.assert_close(LogWMSE(rate)(*padded[:2], mix=padded[2]), expected, rtol=0, atol=1e-7)


def test_a_silent_mixture_leaves_nothing_to_judge_by_and_a_silent_reference_does() -> None:
    mix, measure = noise(3, 1, 4000), LogWMSE(16_000)
    before = measure(0.1 * mix, 0.2 * mix, mix=mix)
    quiet = mix.index_fill(0, torch.tensor([1]), 0)
    values = measure(0.1 * mix, 0.2 * mix, mix=quiet)
    assert values.isnan().flatten().tolist() == [False, True, False]
    assert torch.equal(values[[0, 2]], before[[0, 2]])
    assert measure.reason(mix[:1], mix[:1], mix=0 * mix[:1]) == "mixture is silent"
    assert measure(0 * mix, 0 * mix, mix=mix).flatten().tolist() == pytest.approx([measure.spec.perfect] * 3)


def test_no_gradient_reaches_the_mixture() -> None:
    mix = noise(1, 1, 4000).requires_grad_()
    est = (0.5 * mix.detach()).requires_grad_()
    LogWMSE(16_000)(est, 0 * est.detach(), mix=mix).sum().backward()
    assert mix.grad is None or not mix.grad.any()
    assert est.grad is not None
    assert est.grad.any()


# Other people's packages


@pytest.mark.parametrize("db", [0, 20, 40])
def test_esr_dc_and_log_cosh_are_those_of_auraloss(db: int) -> None:
    """It adds 1e-8 to powers, which are made large here, and to the cosh: hence the tolerance of log-cosh."""
    time = oracle("auraloss.time")
    ref = 100 * speech().double() + 3
    est = at_snr(ref, db) - 1
    assert ESR()(est, ref).item() == pytest.approx(time.ESRLoss()(est, ref).item(), rel=1e-9)
    assert DC()(est, ref).item() == pytest.approx(time.DCLoss()(est, ref).item(), rel=1e-9)
    for a in (0.5, 1.0, 3.0):
        assert LogCosh(a=a)(est, ref).item() == pytest.approx(time.LogCoshLoss(a=a)(est, ref).item(), abs=1e-8 / a)


def voices() -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Estimate, reference and mixture, half a second at 44.1 kHz, by what the estimate is."""
    ref, mix, error = (0.1 * noise(1, 1, 22_050, seed=seed, dtype=torch.float64) for seed in (1, 2, 3))
    mix = ref + 2 * mix
    est = {
        "20 dB": ref + 0.1 * error,
        "60 dB": ref + 0.001 * error,
        "half": 0.5 * ref,
        "mixture": mix,
        "silence": 0 * ref,
    }
    return {name: (x, ref, mix) for name, x in est.items()}


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("20 dB", 24.60400965289029),
        ("60 dB", 61.26198377357196),
        ("half", 11.859645677372734),
        ("mixture", 0.9179305612235673),
        ("silence", 6.314468814682774),
    ],
)
def test_log_wmse_is_that_of_torch_log_wmse_1_1_0(name: str, theirs: float) -> None:
    """Its taps are rounded to float32, 1.6e-7 of the response; and 1e-8 of the ratio is capped at the top here."""
    est, ref, mix = voices()[name]
    assert LogWMSE(44_100)(est, ref, mix=mix).item() == pytest.approx(theirs, abs=1e-7)
    assert LogWMSE(44_100)(*(x.float() for x in (est, ref)), mix=mix.float()).item() == pytest.approx(theirs, abs=2e-5)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_log_wmse_agrees_with_torch_log_wmse_where_it_is_installed(rate: int) -> None:
    """At other rates it resamples the taps with six zeros: 0.02 for a white error, as documented."""
    package = oracle("torch_log_wmse")
    theirs = package.LogWMSE(sample_rate=rate, reduction="none").double()
    for est, ref, mix in voices().values():
        expected = theirs.per_stem(mix, est[:, :, None], ref[:, :, None])[:, :, 0]
        ours = LogWMSE(rate)(est, ref, mix=mix)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-7 if rate == 44_100 else 0.05)


@pytest.mark.parametrize(
    ("name", "plain", "matched"),
    [
        ("20 dB", -9.525481900960944, -9.522418306006873),
        ("60 dB", -18.73981797815902, -18.739805235953362),
        ("half", -2.956886655869978, -1.5392290723574582),
        ("mixture", 2.92474164065319, 3.616513835438546),
        ("silence", 0.0, 59.998481960902886),
    ],
)
def test_l1_snr_is_that_of_torch_l1_snr_0_2_1(name: str, plain: float, matched: float) -> None:
    """Its weights are float32, whose 0.9 is 2.4e-8 short: 1.4e-6 dB of the 60 dB that silence costs."""
    est, ref, _ = voices()[name]
    assert -L1SNR()(est, ref).item() == pytest.approx(plain, abs=1e-12)
    assert -LevelMatchedL1SNR()(est, ref).item() == pytest.approx(matched, abs=2e-6)


def test_l1_snr_agrees_with_torch_l1_snr_where_it_is_installed() -> None:
    package = oracle("torch_l1_snr")
    ref = 0.1 * noise(1, 1, 4000, dtype=torch.float64)
    for est, target in (
        (ref, 0 * ref),
        (0 * ref, 0 * ref),
        (1e-4 * ref, 1e-3 * ref),
        (3 * ref, ref),
        (0.01 * ref, ref),
    ):
        assert -L1SNR()(est, target).item() == pytest.approx(package.L1SNRLoss("d1")(est, target).item(), abs=1e-12)
        expected = package.L1SNRDBLoss("d1 with level")(est, target).item()
        assert -LevelMatchedL1SNR()(est, target).item() == pytest.approx(expected, abs=2e-6)


# What does not work, and what has not moved


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: LogCosh(a=0.0), ArgumentError, "finite number above 0"),
        (lambda: LogCosh(a=math.inf), ArgumentError, "finite number above 0"),
        (lambda: ESR(pre_emphasis=-0.1), ArgumentError, "0 to 1"),
        (lambda: ThresholdedSNR(0.0), ArgumentError, "1 to 100 dB"),
        (lambda: ThresholdedSNR(math.nan), ArgumentError, "1 to 100 dB"),
        (lambda: L1SNR(floor_db=0.0), ArgumentError, "below 0 dB"),
        (lambda: LevelMatchedL1SNR(floor_db=3.0), ArgumentError, "l1_snr_level: got floor_db"),
        (lambda: LevelMatchedL1SNR(extra=-1.0), ArgumentError, "weights not below 0"),
        (lambda: LevelMatchedL1SNR(silent_db=-90.0), ArgumentError, "-80 to below 0 dB"),
        (lambda: LogWMSE(0), SampleRateError, "1 Hz or more"),
    ],
)
def test_settings_that_make_no_measure_fail_when_it_is_built(build, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


GOLDEN = {
    "log_cosh": (LogCosh, 0.0005089499747734207),
    "esr": (ESR, 0.10236420839193343),
    "esr, 0.95": (lambda: ESR(pre_emphasis=0.95), 0.10396980460119266),
    "dc": (DC, 1.520578407215526e-05),
    "thresholded_snr": (ThresholdedSNR, 9.85629817032935),
    "l1_snr": (L1SNR, 4.824211317069668),
    "l1_snr_level": (LevelMatchedL1SNR, 4.626217330106159),
    "log_wmse": (lambda: LogWMSE(16_000), 13.51042674062796),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_has_not_moved(name: str) -> None:
    """A change here is a change of the number, and goes under "Numbers" in the changelog."""
    build, golden = GOLDEN[name]
    measure = build()
    ref = 0.1 * noise(1, 1, 8000, seed=7, dtype=torch.float64)
    needs = {"mix": at_snr(ref, -3, seed=9)} if measure.spec.needs else {}
    assert measure(0.8 * at_snr(ref, 10, seed=8), ref, **needs).item() == pytest.approx(golden, rel=1e-9)
