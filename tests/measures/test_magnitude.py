"""What must be true of distances on gentler scales than the logarithm, and of resolutions drawn by chance."""

import math
import os

import pytest
import torch
from torch import Tensor

from percloss import CompressedSTFTDistance, Measure, MultiResolutionSTFTDistance, STFTDistance
from percloss.errors import ArgumentError, ShapeError
from percloss.measures.magnitude import (
    CompressedMagnitudeDistance,
    RandomResolutionSTFTDistance,
    SmoothLogSTFTDistance,
)
from percloss.testing import RULES, check_measure
from tests.signals import at_snr, noise, tone

CASES = {
    "smooth_log_stft": SmoothLogSTFTDistance,
    "smooth_log_stft, absolute": lambda: SmoothLogSTFTDistance(512, 101, 300, gamma=1000.0, norm="l1"),
    "compressed_magnitude": CompressedMagnitudeDistance,
    "compressed_magnitude, absolute": lambda: CompressedMagnitudeDistance(512, 101, 300, norm="l1"),
    "compressed_magnitude, asymmetric": lambda: CompressedMagnitudeDistance(undershoot=3.0),
    "compressed_magnitude, absolute and asymmetric": lambda: CompressedMagnitudeDistance(norm="l1", undershoot=3.0),
    "compressed_magnitude, plain": lambda: CompressedMagnitudeDistance(compression=1.0),
    "random_stft": lambda: RandomResolutionSTFTDistance(n_ffts=(16, 2048), linear=0.5, seed=2),
}
COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
TRIED = [name for name in RULES if name != "is_documented" and (COMPILE or name != "compiles")]


def outcome(measure: Measure, engine: str, est: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    measure.engine = engine
    leaf = est.clone().requires_grad_()
    values = measure(leaf, ref)
    uneven = torch.arange(1, values.numel() + 1, dtype=values.dtype).view_as(values)
    return values.detach(), torch.autograd.grad((values * uneven).sum(), leaf)[0]


@pytest.mark.parametrize("rule", TRIED)
@pytest.mark.parametrize("case", CASES)
def test_all_settings_keep_the_contract(case: str, rule: str) -> None:
    check_measure(CASES[case](), rules=[rule])


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_closed_form_is_autograds(case: str, silent: bool) -> None:
    est, ref = 0.1 * noise(2, 3, 2, 5001, dtype=torch.float64)
    ref[0, 0, : 5001 if silent else 1500] = 0
    (value, gradient), (value_wanted, gradient_wanted) = (
        outcome(CASES[case](), engine, est, ref) for engine in ("closed", "eager")
    )
    torch.testing.assert_close(value, value_wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, gradient_wanted, rtol=1e-9, atol=1e-9 * float(gradient_wanted.abs().max()))


@pytest.mark.parametrize("case", CASES)
def test_a_gradient_at_identity_is_zero(case: str) -> None:
    ref = noise(1, 1, 5000, dtype=torch.float64)
    assert outcome(CASES[case](), "closed", ref, ref)[1].abs().max() == 0


# The smoothed logarithm


def test_far_above_the_bend_it_is_the_distance_of_logarithms() -> None:
    ref = noise(1, 1, 16_000, dtype=torch.float64)
    for norm, power in (("l1", 1), ("l2", 2)):
        measure = SmoothLogSTFTDistance(gamma=1e9, norm=norm, floor_db=-200.0)
        assert measure(2 * ref, ref).item() == pytest.approx(math.log(2) ** power, rel=1e-5)


def test_far_below_the_bend_it_is_the_distance_of_magnitudes() -> None:
    est, ref = noise(2, 1, 1, 16_000, dtype=torch.float64)
    smooth = SmoothLogSTFTDistance(512, gamma=1e-6, norm="l1")(est, ref) / 1e-6
    linear = STFTDistance(512, convergence=0.0, log=0.0, linear=1.0)(est, ref)
    torch.testing.assert_close(smooth, linear, rtol=1e-6, atol=0)


def test_the_default_bend_is_that_of_one_on_an_unscaled_transform() -> None:
    est, ref = noise(2, 1, 1, 16_000, dtype=torch.float64)
    window = torch.hann_window(1024, dtype=torch.float64)
    logs = [torch.stft(x[0], 1024, 256, window=window, return_complex=True).abs().log1p() for x in (est, ref)]
    wanted = (logs[0] - logs[1]).square().mean()
    torch.testing.assert_close(SmoothLogSTFTDistance(1024)(est, ref).squeeze(), wanted, rtol=1e-6, atol=0)


def test_noise_too_soft_to_matter_hardly_counts_and_to_a_plain_logarithm_it_does() -> None:
    ref = tone(1000, db=-10)
    hiss, audible = (10 ** (db / 20) * noise(*ref.shape, dtype=torch.float64) for db in (-100, -40))
    smooth, plain = SmoothLogSTFTDistance(norm="l1"), STFTDistance(convergence=0.0, floor_db=-160.0)
    shares = [(measure(ref + hiss, ref) / measure(ref + audible, ref)).item() for measure in (smooth, plain)]
    assert shares[0] < 0.01
    assert shares[1] > 0.3


# Compressed magnitudes


def test_without_compression_it_is_the_linear_term_of_the_stft_distance() -> None:
    est, ref = noise(2, 2, 2, 8000, dtype=torch.float64)
    plain = CompressedMagnitudeDistance(512, compression=1.0, norm="l1")
    torch.testing.assert_close(plain(est, ref), STFTDistance(512, convergence=0.0, log=0.0, linear=1.0)(est, ref))


def test_squared_it_is_the_magnitude_term_of_the_compressed_complex_distance() -> None:
    est, ref = noise(2, 2, 2, 8000, dtype=torch.float64)
    torch.testing.assert_close(
        CompressedMagnitudeDistance()(est, ref), CompressedSTFTDistance(complex_weight=0.0)(est, ref)
    )


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_what_is_taken_away_costs_more_than_what_is_left_by_the_factor_asked_for(norm: str) -> None:
    ref = noise(1, 1, 8000, dtype=torch.float64)
    even, uneven = (CompressedMagnitudeDistance(norm=norm, undershoot=factor) for factor in (1.0, 4.0))
    torch.testing.assert_close(uneven(0.8 * ref, ref), 4 * even(0.8 * ref, ref))
    torch.testing.assert_close(uneven(1.2 * ref, ref), even(1.2 * ref, ref))
    assert "swap" in even.spec.invariant_to - uneven.spec.invariant_to


def test_compression_gives_soft_sounds_a_larger_say() -> None:
    """The same 6 dB, missing from a loud and from a soft tone."""
    loud, soft = tone(500, db=-6), tone(4000, db=-46)
    says = [
        (measure(loud + 0.5 * soft, loud + soft) / measure(0.5 * loud + soft, loud + soft)).item()
        for measure in (CompressedMagnitudeDistance(norm="l1"), CompressedMagnitudeDistance(norm="l1", compression=1.0))
    ]
    assert says[0] > 10 * says[1]


# Resolutions drawn by chance


def test_it_is_the_multi_resolution_distance_at_what_was_drawn() -> None:
    est, ref = noise(2, 2, 1, 8000, dtype=torch.float64)
    measure = RandomResolutionSTFTDistance(4, linear=0.3, floor_db=-90.0, seed=5)
    measure.draw(11, time=8000)
    assert len(measure.sizes) == 4
    same = MultiResolutionSTFTDistance(*zip(*measure.sizes, strict=True), linear=0.3, floor_db=-90.0)
    torch.testing.assert_close(outcome(measure, "closed", est, ref), outcome(same, "closed", est, ref))


def test_what_is_drawn_depends_on_seed_step_and_length_alone() -> None:
    def drawn(seed: int, step: int, time: int | None = None) -> tuple[tuple[int, int, int], ...]:
        torch.manual_seed(seed + 7 * step)
        measure = RandomResolutionSTFTDistance(8, seed=seed)
        measure.draw(step, time=time)
        return measure.sizes

    assert drawn(0, 5) == drawn(0, 5)
    assert len({drawn(seed, step) for seed in range(5) for step in range(5)}) == 25
    assert drawn(0, 5, 32_768) == drawn(0, 5)
    assert drawn(0, 5, 1000) != drawn(0, 5)


def test_drawing_reads_and_changes_no_global_random_state() -> None:
    measure = RandomResolutionSTFTDistance()
    before = torch.get_rng_state()
    measure.draw(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_and_a_step_are_told_apart_beyond_32_bits() -> None:
    far, near = RandomResolutionSTFTDistance(8, seed=1 + 2**32), RandomResolutionSTFTDistance(8, seed=1)
    assert far.sizes != near.sizes
    far.draw(2**40)
    near.draw(0)
    assert far.sizes != near.sizes


def test_every_size_in_the_ranges_is_drawn_and_none_beyond() -> None:
    measure = RandomResolutionSTFTDistance(20, n_ffts=(16, 1024), hops=(0.25, 0.5))
    sizes = []
    for step in range(50):
        measure.draw(step)
        sizes += measure.sizes
    lengths = [n_fft for n_fft, _, _ in sizes]
    assert set(lengths) == {2**power for power in range(4, 11)}
    # A seventh each of a thousand, less four standard deviations.
    assert min(lengths.count(length) for length in set(lengths)) > 1000 / 7 - 4 * math.sqrt(1000 * 6 / 49)
    assert {n_fft // window for n_fft, _, window in sizes} == {1, 2, 4}
    assert all(0.25 * window - 1 < hop <= 0.5 * window for _, hop, window in sizes)


@pytest.mark.parametrize("time", [16, 17, 100, 4095, 4096, 100_000])
def test_no_transform_is_longer_than_the_signal(time: int) -> None:
    measure = RandomResolutionSTFTDistance(30)
    measure.draw(1, time=time)
    longest = max(n_fft for n_fft, _, _ in measure.sizes)
    assert longest <= time
    est, ref = noise(2, 1, 1, time)
    assert measure(est, ref).isfinite().all()
    assert longest > time / 64 or time > 32_768


def test_a_signal_too_short_for_all_is_refused_at_the_door() -> None:
    measure = RandomResolutionSTFTDistance()
    measure.draw(0, time=5)
    with pytest.raises(ShapeError, match=r"random_stft: got \(1, 1, 5\); needed is at least one item and 9 samples"):
        measure(*noise(2, 1, 1, 5))


def test_what_is_drawn_is_where_the_measure_was_moved() -> None:
    measure = RandomResolutionSTFTDistance().to("meta")
    measure.draw(1)
    assert {window.device.type for window in measure.buffers()} == {"meta"}


@pytest.mark.parametrize("case", [RandomResolutionSTFTDistance, lambda: RandomResolutionSTFTDistance(log=0.0)])
def test_noise_costs_more_the_louder_whatever_is_drawn(case) -> None:
    measure, ref = case(), noise(1, 1, 8000)
    for step in range(20):
        measure.draw(step, time=8000)
        values = torch.cat([measure(at_snr(ref, db), ref) for db in (40, 20, 0)])
        assert (values.diff(dim=0) > 0).all()


# Bad input


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SmoothLogSTFTDistance(gamma=0.0), "smooth_log_stft: got gamma=0.0"),
        (lambda: SmoothLogSTFTDistance(gamma=math.inf), "needed are a gamma above 0"),
        (lambda: CompressedMagnitudeDistance(compression=0.0), "compressed_magnitude: got compression=0.0"),
        (lambda: CompressedMagnitudeDistance(compression=1.5), "needed are a compression above 0 to 1"),
        (lambda: CompressedMagnitudeDistance(undershoot=0.0), "undershoot above 0"),
        (lambda: RandomResolutionSTFTDistance(0), "random_stft: got resolutions=0"),
        (lambda: RandomResolutionSTFTDistance(n_ffts=(16, 1000)), "as powers of two"),
        (lambda: RandomResolutionSTFTDistance(n_ffts=(4, 16)), "not below 8"),
        (lambda: RandomResolutionSTFTDistance(n_ffts=(512, 256)), r"n_ffts=\(512, 256\)"),
        (lambda: RandomResolutionSTFTDistance(hops=(0.0, 0.5)), r"hops=\(shortest, longest\) above 0 to 1"),
        (lambda: RandomResolutionSTFTDistance(hops=(0.5, 1.5)), r"got .*hops=\(0.5, 1.5\)"),
        (lambda: RandomResolutionSTFTDistance(seed=-1), "a seed not below 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build()
