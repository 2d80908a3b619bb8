"""What must be true of energy ratios, from their definitions and from arithmetic in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss import SDSDR, SISDR, SNR, create
from percloss.measures.ratios import BOUNDS
from tests.signals import at_snr, noise, tone

CAP = 140.0
NAMES = ["snr", "si_sdr", "sd_sdr"]
LEVELS = [1.0, 1e-2, 1e-4, 1e-6]


def exact(name: str, est: Tensor, ref: Tensor) -> float:
    """The definition in float64 of one pair of signals, without any floor [dB]."""
    e, r = (x.double().numpy().ravel() for x in (est, ref))
    target = r if name == "snr" else (e @ r) / (r @ r) * r
    error = e - target if name == "si_sdr" else e - r
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(target @ target) - 10 * np.log10(error @ error))


def capped(ratio_db: float) -> float:
    """What the cap makes of a ratio [dB]."""
    return ratio_db - 10 * math.log10(1 + 10 ** ((ratio_db - CAP) / 10))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", NAMES)
def test_float32_is_right_from_0_to_120_db_at_every_level(name: str, level: float) -> None:
    """The tolerance is four steps of float32 at 128 dB.

    SI-SDR also rounds gain * ref and the residual, each by up to 2^-24: together -141.5 dB of the reference.
    """
    ref = 0.1 * noise(1, 1, 48_000, dtype=torch.float64)
    for db in (0, 20, 40, 60, 80, 100, 120):
        est, single = ((level * x).float() for x in (at_snr(ref, db), ref))
        expected = capped(exact(name, est, single))
        rounding = 10 * math.log10(1 + 10 ** ((expected - 141.5) / 10)) if name == "si_sdr" else 0
        assert create(name)(est, single).item() == pytest.approx(expected, abs=3.1e-5 + rounding)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("db", [0.0, 60.0, 100.0, 120.0, 139.0])
def test_the_cap_costs_what_it_says(name: str, db: float) -> None:
    ref = noise(1, 1, 8000, dtype=torch.float64)
    est = at_snr(ref, db)
    assert create(name)(est, ref).item() == pytest.approx(capped(exact(name, est, ref)), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exponent", [-20, -7, 15])
def test_a_level_that_is_a_power_of_two_changes_no_bit(name: str, exponent: int) -> None:
    ref = noise(1, 1, 8000)
    est = at_snr(ref, 30)
    level = 2.0**exponent
    assert torch.equal(create(name)(level * est, level * ref), create(name)(est, ref))


@pytest.mark.parametrize("name", NAMES)
def test_an_estimate_that_is_the_reference_scores_the_cap(name: str) -> None:
    ref = noise(2, 2, 4000)
    assert torch.equal(create(name)(ref, ref), torch.full((2, 2), BOUNDS[1]))


@pytest.mark.parametrize("name", NAMES)
def test_a_silent_reference_has_no_ratio(name: str) -> None:
    ref = torch.zeros(1, 1, 100)
    assert create(name)(noise(1, 1, 100), ref).isnan().all()
    assert create(name)(ref, ref).isnan().all()


@pytest.mark.parametrize(("name", "documented"), [("snr", 0.0), ("si_sdr", -CAP), ("sd_sdr", -CAP)])
def test_a_silent_estimate_scores_as_documented(name: str, documented: float) -> None:
    assert create(name)(torch.zeros(1, 1, 100), noise(1, 1, 100)).item() == pytest.approx(documented, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("silent", ["est", "ref"])
def test_a_silent_item_changes_no_neighbour(name: str, silent: str) -> None:
    measure, ref = create(name), noise(3, 1, 1000)
    signals = {"est": at_snr(ref, 10), "ref": ref}
    before = measure(**signals)
    signals[silent] = signals[silent].index_fill(0, torch.tensor([1]), 0)
    after = measure(**signals)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])


@pytest.mark.parametrize("offset", [0.5, 0.01])
def test_a_constant_counts_as_noise_unless_the_mean_is_removed(offset: float) -> None:
    ref = tone(1000)
    expected = 10 * math.log10(0.5 / offset**2)
    for name in NAMES:
        assert create(name)(ref + offset, ref).item() == pytest.approx(expected, abs=1e-6)
    assert SISDR(zero_mean=True)(ref + offset, ref).item() == pytest.approx(CAP, abs=1e-6)


def test_si_sdr_hears_neither_polarity_nor_gain_and_the_others_hear_both() -> None:
    ref = noise(1, 1, 8000, dtype=torch.float64)
    est = at_snr(ref, 20)
    assert SISDR()(-3 * est, ref).item() == pytest.approx(SISDR()(est, ref).item(), abs=1e-9)
    assert SNR()(-ref, ref).item() == pytest.approx(-20 * math.log10(2))
    assert SDSDR()(-ref, ref).item() == pytest.approx(-20 * math.log10(2))


@pytest.mark.parametrize("gain", [0.1, 0.9, 2.0])
def test_an_error_of_gain_alone_has_a_closed_form(gain: float) -> None:
    ref = noise(1, 1, 8000, dtype=torch.float64)
    loss = -20 * math.log10(abs(1 - gain))
    assert SNR()(gain * ref, ref).item() == pytest.approx(loss, abs=1e-9)
    assert SDSDR()(gain * ref, ref).item() == pytest.approx(loss + 20 * math.log10(gain), abs=1e-9)
    assert SISDR()(gain * ref, ref).item() == pytest.approx(CAP, abs=1e-6)


@pytest.mark.parametrize("delay", [1, 3, 7])
def test_a_delay_of_a_tone_is_an_angle(delay: int) -> None:
    """Whole periods of a tone delayed by an angle a: est = cos a * ref + something orthogonal of power sin^2 a."""
    angle = 2 * math.pi * 440 * delay / 16_000
    ref, est = tone(440), tone(440, phase=-angle)
    error = 10 * math.log10(2 - 2 * math.cos(angle))
    assert SNR()(est, ref).item() == pytest.approx(-error, abs=1e-6)
    assert SISDR()(est, ref).item() == pytest.approx(-20 * math.log10(abs(math.tan(angle))), abs=1e-6)
    assert SDSDR()(est, ref).item() == pytest.approx(20 * math.log10(abs(math.cos(angle))) - error, abs=1e-6)


def test_one_sample_of_delay_is_as_bad_as_another_recording_to_all_three() -> None:
    """The expected correlation of white noise with itself a sample later is 0, and a listener hears no difference."""
    long = noise(1, 1, 100_001)
    est, ref = long[..., :-1], long[..., 1:]
    assert SNR()(est, ref).item() == pytest.approx(-3.01, abs=0.05)
    assert SISDR()(est, ref).item() < -40
    assert SDSDR()(est, ref).item() < -40


def test_for_noise_orthogonal_to_the_reference_the_three_agree() -> None:
    ref, error = tone(500), tone(700, db=-30)
    for name in NAMES:
        assert create(name)(ref + error, ref).item() == pytest.approx(30, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_two_minutes_are_summed_as_exactly_as_two_seconds(name: str) -> None:
    """Float32 sums in pairs: at 60 dB the rounding stays a few steps of 4e-6 dB."""
    ref = noise(1, 1, 120 * 44_100)
    est = ref + 1e-3 * noise(1, 1, 120 * 44_100, seed=1)
    assert create(name)(est, ref).item() == pytest.approx(exact(name, est, ref), abs=3e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_channels_of_stereo_are_scored_apart(name: str) -> None:
    ref = noise(1, 2, 4000) * torch.tensor([1.0, 0.01])[:, None]
    est = torch.cat([at_snr(ref[:, :1], 30), at_snr(ref[:, 1:], 5, seed=2)], 1)
    both = create(name)(est, ref)
    assert both.tolist()[0] == pytest.approx([exact(name, est[:, c], ref[:, c]) for c in (0, 1)], abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    ref = noise(2, 1, 70_000).to(dtype)
    est = at_snr(ref.float(), 20).to(dtype)
    values = create(name)(est, ref)
    assert values.dtype == torch.float32
    assert torch.equal(values, create(name)(est.float(), ref.float()))
    assert values.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["est", "ref"])
def test_one_broken_sample_takes_only_its_own_item(name: str, bad: float, where: str) -> None:
    ref = noise(3, 2, 500)
    signals = {"est": at_snr(ref, 10), "ref": ref}
    expected = create(name)(**signals)
    signals[where] = signals[where].clone()
    signals[where][1, 0, 77] = bad
    values = create(name)(**signals)
    expected[1, 0] = math.nan
    torch.testing.assert_close(values, expected, equal_nan=True, rtol=0, atol=0)


def test_removing_the_mean_of_a_constant_reference_leaves_nothing_to_score() -> None:
    ref = torch.ones(1, 1, 64)
    assert SISDR(zero_mean=True)(noise(1, 1, 64), ref).isnan().all()
    assert SISDR()(noise(1, 1, 64), ref).isfinite().all()
