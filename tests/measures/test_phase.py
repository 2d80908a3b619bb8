"""What must be true of distances that hear phase: identities, symmetries of the transform, and what cannot be won."""

import math
import os

import pytest
import torch
from torch import Tensor

from percloss import MSE, Loss, distances
from percloss.dsp.stft import hann, stft
from percloss.engine import SpectralMeasure
from percloss.errors import ArgumentError
from percloss.frontends import Stft
from percloss.measures.phase import (
    AntiWrappingPhaseDistance,
    ComplexSTFTDistance,
    CompressedSTFTDistance,
    CosinePhaseDistance,
    WeightedSDR,
)
from percloss.testing import RULES, check_measure
from tests.signals import at_snr, noise, speech, tone

# The catalogue's contract tries the defaults; here the rest.
VARIANTS = {
    "complex_stft, squared": lambda: ComplexSTFTDistance(norm="l2"),
    "complex_stft, an odd hop and a short window": lambda: ComplexSTFTDistance(512, 101, 300),
    "compressed_stft, magnitude alone": lambda: CompressedSTFTDistance(complex_weight=0.0),
    "compressed_stft, complex alone": lambda: CompressedSTFTDistance(compression=0.5, complex_weight=1.0),
    "anti_wrapping_phase, every bin": lambda: AntiWrappingPhaseDistance(weight="none"),
    "anti_wrapping_phase, masked": lambda: AntiWrappingPhaseDistance(weight="mask", mask_db=-30.0),
    "anti_wrapping_phase, slopes alone": lambda: AntiWrappingPhaseDistance(phase=0.0),
}
SPECTRAL = {
    "complex_stft": ComplexSTFTDistance,
    "compressed_stft": CompressedSTFTDistance,
    "cosine_phase": CosinePhaseDistance,
    "anti_wrapping_phase": AntiWrappingPhaseDistance,
    **VARIANTS,
}
COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
TRIED = [name for name in RULES if name != "is_documented" and (COMPILE or name != "compiles")]
TERMS = ("phase", "group_delay", "frequency")


def spectra(seed: int = 0, shape: tuple[int, ...] = (2, 1, 65, 30)) -> tuple[Tensor, Tensor]:
    """Two spectra without a relation, every bin of about unit magnitude."""
    generator = torch.Generator().manual_seed(seed)
    est, ref = torch.randn(2, *shape, dtype=torch.complex128, generator=generator)
    return est, ref


def one(term: str, **settings) -> AntiWrappingPhaseDistance:
    """One of the three anti-wrapped terms alone."""
    return AntiWrappingPhaseDistance(**{name: float(name == term) for name in TERMS}, **settings)


def wrapped(x: Tensor) -> Tensor:
    """The anti-wrapping function as published."""
    return (x - 2 * math.pi * (x / (2 * math.pi)).round()).abs()


@pytest.mark.parametrize("rule", TRIED)
@pytest.mark.parametrize("variant", VARIANTS)
def test_other_settings_keep_the_contract_too(variant: str, rule: str) -> None:
    check_measure(VARIANTS[variant](), rules=[rule])


# The split of an error into magnitude and phase


def test_magnitude_and_phase_add_up_to_the_squared_error() -> None:
    """|S - S'|^2 = (|S| - |S'|)^2 + 2 |S| |S'| (1 - cos dphi), in every bin, down to nothing."""
    est, ref = spectra()
    for level in (1.0, 1e-3, 1e3):
        of_phase, weight = distances.phase_error(level * est, ref, 0.0)
        whole, of_magnitude = (level * est - ref).abs() ** 2, (level * est.abs() - ref.abs()) ** 2
        assert (whole - of_magnitude - of_phase).abs().max() < 1e-12 * whole.max()
        torch.testing.assert_close(weight, level * est.abs() * ref.abs())
        torch.testing.assert_close(of_phase, 2 * weight * (1 - (est / ref).angle().cos()))


def test_phase_is_right_where_the_angle_is_small() -> None:
    """1 - cos is taken as half a squared chord: at 1e-6 rad the cosine of float64 has four digits left."""
    ref = spectra()[1]
    of_phase, weight = distances.phase_error(ref * torch.exp(torch.tensor(1e-6j, dtype=torch.complex128)), ref, 0.0)
    torch.testing.assert_close(of_phase, 1e-12 * weight, rtol=1e-9, atol=0)


def test_the_phase_fraction_tells_a_delay_from_a_gain() -> None:
    """A sample of delay leaves the magnitudes as they are, but for what enters and leaves the windows."""
    front, ref = Stft(1024), noise(1, 1, 16_000, dtype=torch.float64)
    values = {
        name: distances.phase_fraction(front(est), front(ref)).item()
        for name, est in {
            "delay": ref.roll(1, -1),
            "gain": 0.5 * ref,
            "polarity": -ref,
            "noise": at_snr(ref, 10),
        }.items()
    }
    assert values["delay"] == pytest.approx(1, abs=0.01)
    assert values["gain"] == pytest.approx(0, abs=1e-20)
    assert values["polarity"] == pytest.approx(1, abs=1e-12)
    assert 0.3 < values["noise"] < 0.7
    assert distances.phase_fraction(front(ref), front(ref)).isnan()


# Complex and compressed spectra


def test_the_squared_complex_distance_is_the_squared_error_of_the_samples() -> None:
    """By Parseval; a Hann window scaled to 2 / sum has 6 / n_fft of white noise in a bin, over half as many bins: 3."""
    ref = noise(1, 1, 64_000, dtype=torch.float64)
    for db in (0, 20, 40):
        est = at_snr(ref, db)
        assert ComplexSTFTDistance(norm="l2")(est, ref).item() == pytest.approx(3 * MSE()(est, ref).item(), rel=0.01)


@pytest.mark.parametrize("n_fft", [256, 1024, 4096])
def test_the_complex_l1_distance_is_twice_the_usual_mean(n_fft: int) -> None:
    est, ref = noise(2, 1, 1, 20_000, dtype=torch.float64)
    window = hann(n_fft)
    usual = torch.stft((est - ref)[0], n_fft, n_fft // 4, window=window, return_complex=True).abs().mean().item()
    value = ComplexSTFTDistance(n_fft)(est, ref).item()
    assert value == pytest.approx(2 * usual * (1 + 2 / n_fft), rel=1e-4)


@pytest.mark.parametrize("case", ["complex_stft", "compressed_stft", "cosine_phase", "anti_wrapping_phase"])
def test_a_phase_common_to_both_signals_changes_nothing(case: str) -> None:
    est, ref = spectra()
    measure = SPECTRAL[case]()
    turn = torch.exp(torch.tensor(0.7j, dtype=torch.complex128))
    torch.testing.assert_close(measure.distance(turn * est, turn * ref), measure.distance(est, ref))


@pytest.mark.parametrize("case", SPECTRAL)
def test_conjugation_and_reversal_of_both_signals_change_nothing(case: str) -> None:
    """What is played backwards has conjugate spectra, in reverse order, with a slope of phase that is in both."""
    est, ref = spectra()
    measure = SPECTRAL[case]()
    expected = measure.distance(est, ref)
    torch.testing.assert_close(measure.distance(est.conj(), ref.conj()), expected)
    torch.testing.assert_close(measure.distance(est.flip(-1).conj(), ref.flip(-1).conj()), expected)


@pytest.mark.parametrize("case", ["complex_stft", "compressed_stft", "cosine_phase", "complex_stft, squared"])
def test_both_signals_backwards_are_as_far_apart(case: str) -> None:
    """Of 4 * 1024 + 1 samples, whose frames lie the same way from either end."""
    ref = noise(1, 1, 4097, dtype=torch.float64)
    est, measure = at_snr(ref, 5), SPECTRAL[case]()
    torch.testing.assert_close(measure(est.flip(-1), ref.flip(-1)), measure(est, ref))


def test_compression_keeps_the_phase_and_raises_the_magnitude() -> None:
    spectrum = spectra()[0]
    compressed = distances.compressed(spectrum, 0.3, 1e-30)
    torch.testing.assert_close(compressed.abs(), spectrum.abs() ** 0.3)
    torch.testing.assert_close(compressed.angle(), spectrum.angle())
    assert distances.compressed(0 * spectrum, 0.3, 1e-12).abs().max() == 0


def test_the_compressed_distance_is_the_published_one() -> None:
    est, ref = spectra()
    sizes, angles = (est.abs() ** 0.3, ref.abs() ** 0.3), (est.angle(), ref.angle())
    of_magnitude = (sizes[0] - sizes[1]).square()
    of_spectrum = (torch.polar(sizes[0], angles[0]) - torch.polar(sizes[1], angles[1])).abs().square()
    expected = (0.7 * of_magnitude + 0.3 * of_spectrum).mean((2, 3))
    torch.testing.assert_close(CompressedSTFTDistance(floor_db=-250.0).distance(est, ref), expected)


def test_soft_sounds_count_under_compression() -> None:
    """A tone 60 dB down that is missing: a millionth of the power, and nearly a hundredth of the compressed."""
    ref = tone(300) + tone(3000, db=-60)
    without_soft, without_loud = tone(300), tone(3000, db=-60)
    share = {
        name: (measure(without_soft, ref) / measure(without_loud, ref)).item()
        for name, measure in {"plain": ComplexSTFTDistance(norm="l2"), "compressed": CompressedSTFTDistance()}.items()
    }
    assert share["plain"] == pytest.approx(1e-6, rel=0.1)
    assert share["compressed"] > 0.005


@pytest.mark.parametrize("case", SPECTRAL)
@pytest.mark.parametrize("silent", [False, True])
def test_the_hand_written_gradient_is_autograds(case: str, silent: bool) -> None:
    est, ref = 0.1 * noise(2, 2, 2, 5001, dtype=torch.float64)
    ref[0, 0, :3000] = 0
    ref = 0 * ref if silent else ref
    found = []
    for engine in ("closed", "eager"):
        measure = SPECTRAL[case]()
        measure.engine = engine
        leaf = est.clone().requires_grad_()
        values = measure(leaf, ref)
        found.append((values.detach(), *torch.autograd.grad(values.nansum(), leaf)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-12, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-9 * float(found[1][1].abs().max()))


@pytest.mark.parametrize("case", SPECTRAL)
def test_bins_that_are_zero_have_a_finite_gradient(case: str) -> None:
    """Zero in the estimate, in the reference, in both; a denormal; and what has a denormal square."""
    est, ref = (x.to(torch.complex64) for x in spectra(shape=(1, 1, 33, 12)))
    est[..., :8, :] = 0
    ref[..., 4:16, :] = 0
    est[..., 20:22, :] = 1e-41
    est[..., 22:24, :] = 3e-20 + 3e-20j
    est.requires_grad_()
    measure = SPECTRAL[case]()
    (gradient,) = torch.autograd.grad(measure.distance(est, ref).sum(), est)
    assert torch.view_as_real(gradient).isfinite().all()
    assert gradient[..., 24:, :].abs().max() > 0


# Cosine


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.7, 2.0, math.pi])
def test_a_constant_phase_costs_one_minus_its_cosine(angle: float) -> None:
    ref = spectra()[1]
    est = 0.3 * ref * torch.exp(torch.tensor(1j * angle, dtype=torch.complex128))
    expected = torch.full((2, 1), 2 * math.sin(angle / 2) ** 2, dtype=torch.float64)
    torch.testing.assert_close(CosinePhaseDistance().distance(est, ref), expected, rtol=1e-9, atol=1e-15)


def test_the_cosine_distance_is_0_for_equal_1_for_unrelated_and_2_for_opposite_phases() -> None:
    ref, other = noise(2, 1, 1, 32_000, dtype=torch.float64)
    measure = CosinePhaseDistance()
    assert measure(5 * ref, ref).item() == pytest.approx(0, abs=1e-12)
    assert measure(other, ref).item() == pytest.approx(1, abs=0.03)
    assert measure(-ref, ref).item() == pytest.approx(2, abs=1e-12)


def test_rounding_leaves_no_bound() -> None:
    """Opposite phases and equal signals in float32, where a sum of products may exceed a product of sums."""
    for seed in range(40):
        ref, interferer = noise(2, 4, 1, 1500, seed=seed)
        assert CosinePhaseDistance(256)(-ref, ref).max() <= 2
        assert one("phase", n_fft=256)(-ref, ref).max() <= math.pi
        assert WeightedSDR()(ref, ref, mix=ref + interferer).max() <= 1


@pytest.mark.parametrize("level", [1e-20, 1e-6, 1.0, 1e6])
def test_no_level_is_heard_however_low(level: float) -> None:
    est, ref = (x[..., :4000] for x in (noise(1, 1, 4000), noise(1, 1, 4000, seed=1)))
    for measure in (CosinePhaseDistance(), AntiWrappingPhaseDistance()):
        torch.testing.assert_close(measure(level * est, level * ref), measure(est, ref), rtol=1e-4, atol=1e-4)
        if level > 1e-7:  # an estimate 140 dB below the reference is on its way to silence
            torch.testing.assert_close(measure(level * est, ref), measure(est, ref), rtol=1e-4, atol=1e-4)


# Phase, group delay and frequency


def test_without_weights_they_are_the_published_terms() -> None:
    """Literally, by angle and diff; a millionth of each bin counts pi / 2 here, more of those that are far below."""
    est, ref = spectra()
    difference = est.angle() - ref.angle()
    for term, steps in zip(TERMS, (difference, difference.diff(dim=2), difference.diff(dim=3)), strict=True):
        value = one(term, weight="none").distance(est, ref)
        torch.testing.assert_close(value, wrapped(steps).mean((2, 3)), rtol=0, atol=1e-4)


def test_the_three_terms_add_up_with_their_weights() -> None:
    est, ref = spectra()
    parts = [one(term).distance(est, ref) for term in TERMS]
    whole = AntiWrappingPhaseDistance(phase=0.5, group_delay=2.0, frequency=3.0)
    torch.testing.assert_close(whole.distance(est, ref), 0.5 * parts[0] + 2 * parts[1] + 3 * parts[2])
    assert whole.spec.bounds == (0.0, 5.5 * math.pi)


@pytest.mark.parametrize("angle", [-3.0, 0.5, 3.5, 2 * math.pi, 100.0])
def test_a_constant_phase_moves_the_phase_alone(angle: float) -> None:
    ref = spectra()[1]
    est = ref * torch.exp(torch.tensor(1j * angle, dtype=torch.complex128))
    values = [one(term).distance(est, ref)[0].item() for term in TERMS]
    assert values == pytest.approx([wrapped(torch.tensor(angle)).item(), 0, 0], abs=1e-5)


@pytest.mark.parametrize("delay", [1, 7, 30])
def test_a_delay_is_a_constant_group_delay(delay: int) -> None:
    """2 pi d / n_fft a bin, in every frame; the phase itself winds around the circle."""
    ref = spectra(shape=(1, 1, 513, 10))[1]
    bins = torch.arange(513, dtype=torch.float64)[:, None]
    est = ref * torch.polar(torch.ones_like(bins), -2 * math.pi * delay * bins / 1024)
    phase, group_delay, frequency = (one(term, weight="none").distance(est, ref).item() for term in TERMS)
    assert group_delay == pytest.approx(2 * math.pi * delay / 1024, rel=1e-3)
    assert frequency == pytest.approx(0, abs=1e-5)
    assert phase == pytest.approx(math.pi / 2, abs=0.05)


@pytest.mark.parametrize("hz", [0.5, 5.0])
def test_a_shift_of_frequency_is_a_step_from_frame_to_frame(hz: float) -> None:
    """2 pi df H / rate a hop, of a tone long enough for its ends not to count."""
    ref, est = tone(1000, time=160_000), tone(1000 + hz, time=160_000)
    values = [one(term)(est, ref).item() for term in TERMS]
    assert values[2] == pytest.approx(2 * math.pi * hz * 256 / 16_000, rel=0.02)
    assert values[1] < values[2]
    assert values[0] == pytest.approx(math.pi / 2, abs=0.1)


def test_a_flip_of_sign_is_half_a_turn_of_the_phase_and_no_slope() -> None:
    ref = speech().double()
    for weight in ("none", "magnitude", "mask"):
        values = [one(term, weight=weight)(-ref, ref).item() for term in TERMS]
        assert values == pytest.approx([math.pi, 0, 0], abs=1e-5)


def test_the_papers_mean_over_every_bin_is_of_noise_and_the_weighted_one_is_of_speech() -> None:
    """Speech in white noise at 30 dB: most bins hold little of it, and have the phase of the noise."""
    ref = speech().double()
    est = at_snr(ref, 30)
    every, masked, weighted = (one("phase", weight=weight)(est, ref).item() for weight in ("none", "mask", "magnitude"))
    assert every > 0.5
    assert weighted < 0.1
    assert weighted < masked < every


def test_a_mask_counts_the_bins_above_it_and_no_others() -> None:
    """A loud bin with the right phase, and one 6 dB below with the wrong."""
    ref = torch.zeros(1, 1, 9, 4, dtype=torch.complex128)
    ref[..., 2, :], ref[..., 6, :] = 1.0, 0.5
    est = ref.clone()
    est[..., 6, :] *= -1
    both = one("phase", weight="mask", mask_db=-10.0).distance(est, ref).item()
    loud = one("phase", weight="mask", mask_db=-3.0).distance(est, ref).item()
    by_size = one("phase", weight="magnitude").distance(est, ref).item()
    assert [both, loud, by_size] == pytest.approx([math.pi / 2, 0, math.pi / 3], abs=1e-5)


@pytest.mark.parametrize("weight", ["none", "magnitude", "mask"])
def test_muting_wins_nothing(weight: str) -> None:
    """A silent estimate, or one with holes where it does not know, is as bad as one with unrelated phases."""
    ref, other = noise(2, 1, 1, 16_000, dtype=torch.float64)
    measure = AntiWrappingPhaseDistance(weight=weight)
    unrelated, mute = measure(other, ref).item(), measure(0 * other, ref).item()
    assert mute == pytest.approx(3 * math.pi / 2, rel=1e-6)
    assert mute > unrelated
    est, target = spectra()
    holes = est.clone()
    holes[..., ::2, :] *= 1e-6
    assert (measure.distance(holes, target) > measure.distance(est, target) - 0.05).all()


@pytest.mark.parametrize("weight", ["none", "magnitude", "mask"])
def test_the_gradient_of_an_angle_does_not_explode_where_the_magnitude_is_small(weight: str) -> None:
    """The slope of an angle is one over the magnitude: 1e12 here, held to a thousand at 60 dB below the reference."""
    ref = spectra(shape=(1, 1, 33, 12))[1]
    ref = ref / ref.abs()
    for size in (1e-3, 1e-6, 1e-12):
        est = size * spectra(seed=1, shape=(1, 1, 33, 12))[0]
        est[..., 16, 6] = 1.0  # the loudest bin, which sets the scale
        est.requires_grad_()
        (gradient,) = torch.autograd.grad(AntiWrappingPhaseDistance(weight=weight).distance(est, ref).sum(), est)
        assert gradient.abs().max() < 3 * 4 * 1e3 / (33 * 12) * 2


def test_an_estimate_far_below_the_reference_is_silent_and_not_in_phase() -> None:
    """Its phase is the reference's; at 140 dB below that counts half, at 240 dB nothing."""
    ref = noise(1, 1, 4000, dtype=torch.float64)
    values = [one("phase")(level * ref, ref).item() for level in (1e-6, 1e-10, 1e-12, 0.0)]
    assert values == pytest.approx([0, math.pi / 4, math.pi / 2, math.pi / 2], abs=0.01)


def test_two_frames_are_the_least_there_is_a_step_between() -> None:
    measure = AntiWrappingPhaseDistance(64, 1000)
    assert measure.min_samples == 1000
    assert measure(noise(1, 1, 1000), noise(1, 1, 1000, seed=1)).isfinite().all()


# Silence


@pytest.mark.parametrize("case", ["cosine_phase", "anti_wrapping_phase"])
def test_silence_has_no_phase(case: str) -> None:
    measure, ref = SPECTRAL[case](), noise(3, 1, 4000)
    est = at_snr(ref, 10)
    before = measure(est, ref)
    ref[1] = 0
    values = measure(est, ref)
    assert values.isnan().flatten().tolist() == [False, True, False]
    assert torch.equal(values[[0, 2]], before[[0, 2]])
    assert measure.reason(est[1:2], ref[1:2]) == "reference is silent"


def test_a_silent_estimate_has_an_unrelated_phase_and_nothing_to_learn_from() -> None:
    ref = noise(2, 1, 4000)
    est = torch.zeros_like(ref).requires_grad_()
    values = CosinePhaseDistance()(est, ref)
    assert values.tolist() == [[1.0], [1.0]]
    (gradient,) = torch.autograd.grad(values.sum(), est)
    assert not gradient.any()


@pytest.mark.parametrize("case", ["complex_stft", "compressed_stft"])
def test_a_silent_reference_is_a_target_like_any_other(case: str) -> None:
    measure, est = SPECTRAL[case](), noise(1, 1, 4000)
    values = [measure(level * est, 0 * est).item() for level in (0.0, 1e-4, 0.01, 1.0)]
    assert values[0] == 0
    assert values == sorted(values)
    leaf = (1e-6 * est).requires_grad_()
    measure(leaf, 0 * est).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().max() > 0


# Weighted SDR


def test_weighted_sdr_is_the_published_formula() -> None:
    est, ref, mix = noise(3, 1, 1, 500, dtype=torch.float64)
    e, r, z, w = (x.ravel() for x in (est, ref, mix - ref, mix - est))
    share = r @ r / (r @ r + z @ z)
    expected = share * (e @ r) / (e.norm() * r.norm()) + (1 - share) * (w @ z) / (w.norm() * z.norm())
    assert WeightedSDR()(est, ref, mix=mix).item() == pytest.approx(expected.item(), abs=1e-12)


def test_weighted_sdr_hears_the_level_that_a_cosine_does_not() -> None:
    ref, interferer = noise(2, 1, 1, 4000, dtype=torch.float64)
    mix = ref + interferer
    scores = {gain: WeightedSDR()(gain * ref, ref, mix=mix).item() for gain in (0.5, 1.0, 2.0)}
    assert scores[1.0] == pytest.approx(1, abs=1e-12)
    assert max(scores[0.5], scores[2.0]) < 0.96


def test_a_silent_reference_is_scored_by_what_is_left_of_the_mixture() -> None:
    mix = noise(1, 1, 4000)
    for gain, expected in ((0.0, 1.0), (0.5, 1.0), (2.0, -1.0)):  # of x - gain x, the cosine with x
        assert WeightedSDR()(gain * mix, 0 * mix, mix=mix).item() == pytest.approx(expected, abs=1e-5)
    both = WeightedSDR()(mix, 0 * mix, mix=0 * mix)
    assert both.isnan().all()
    assert WeightedSDR().reason(mix, mix, mix=0 * mix) == "reference and mixture are silent"


def test_a_mixture_that_is_the_reference_is_scored_by_the_target_alone() -> None:
    ref = noise(1, 1, 4000)
    assert WeightedSDR()(0.1 * ref, ref, mix=ref).item() == pytest.approx(1, abs=1e-6)
    assert WeightedSDR()(-ref, ref, mix=ref).item() == pytest.approx(-1, abs=1e-6)
    assert Loss(WeightedSDR())(-ref, ref, mix=ref).item() == pytest.approx(1, abs=1e-6)


# Consistency


@pytest.mark.parametrize(("n_fft", "hop", "win"), [(512, 128, 512), (512, 100, 400)])
@pytest.mark.parametrize("time", [8000, 8123])
def test_the_spectrum_of_a_signal_is_consistent_and_a_made_up_one_is_not(
    n_fft: int, hop: int, win: int, time: int
) -> None:
    sizes = {"n_fft": n_fft, "hop_length": hop}
    window, signal = hann(win), noise(2, 1, time, dtype=torch.float64)
    spectrum = stft(signal, window, **sizes)
    made_up = torch.polar(spectrum.abs(), 2 * math.pi * noise(*spectrum.shape, dtype=torch.float64))
    assert distances.consistency(spectrum, window, **sizes, length=time).max() < 1e-25
    assert (distances.consistency(made_up, window, **sizes, length=time) > 0.5).all()
    masked = spectrum * (noise(*spectrum.shape) > 0)
    assert (distances.consistency(masked, window, **sizes, length=time) > 0.1).all()
    assert distances.consistency(0 * spectrum, window, **sizes, length=time).isnan().all()


def test_inconsistency_can_be_trained_away() -> None:
    """Its gradient leads to a consistent spectrum: one step along it, and a quarter is gone."""
    window, sizes = hann(64), {"n_fft": 64, "hop_length": 16, "length": 640}
    spectrum = spectra(shape=(1, 1, 33, 41))[0].requires_grad_()
    before = distances.consistency(spectrum, window, **sizes)
    (gradient,) = torch.autograd.grad(before.sum(), spectrum)
    scale = spectrum.detach().abs().square().sum()
    assert distances.consistency(spectrum - 0.25 * scale * gradient, window, **sizes).item() < 0.75 * before.item()


# What does not work, and what has not moved


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CompressedSTFTDistance(compression=0.0), "compression above 0"),
        (lambda: CompressedSTFTDistance(complex_weight=1.5), "neither of them above 1"),
        (lambda: AntiWrappingPhaseDistance(phase=-1.0), "none below 0 and one above"),
        (lambda: AntiWrappingPhaseDistance(phase=0.0, group_delay=0.0, frequency=0.0), "none below 0 and one above"),
        (lambda: AntiWrappingPhaseDistance(mask_db=0.0), "mask_db below 0"),
        (lambda: CosinePhaseDistance(512, win_length=1024), "2 <= win_length <= n_fft"),
    ],
)
def test_settings_that_make_no_measure_fail_when_it_is_built(build, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build()


@pytest.mark.skipif(not COMPILE, reason="shape checking refuses a wrong literal first: run with PERCLOSS_COMPILE=1")
def test_a_word_that_is_none_of_the_choices_is_refused_with_the_choices() -> None:
    with pytest.raises(ArgumentError, match='got norm=.l3.; needed is "l1" or "l2"'):
        ComplexSTFTDistance(norm="l3")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match='weight=.loud.*"none", "magnitude" or "mask"'):
        AntiWrappingPhaseDistance(weight="loud")  # type: ignore[arg-type]


GOLDEN = {
    "complex_stft": 1.103484199961537,
    "complex_stft, squared": 0.0030634069807194612,
    "compressed_stft": 0.002720158882537305,
    "cosine_phase": 0.02391909473087178,
    "anti_wrapping_phase": 0.7717789938796416,
    "anti_wrapping_phase, every bin": 1.1235593726862252,
    "weighted_sdr": 0.9681230736817615,
}


@pytest.mark.parametrize("name", GOLDEN)
def test_has_not_moved(name: str) -> None:
    """A change here is a change of the number, and goes under "Numbers" in the changelog."""
    measure = WeightedSDR() if name == "weighted_sdr" else SPECTRAL[name]()
    ref = 0.1 * noise(1, 1, 8000, seed=7, dtype=torch.float64)
    needs = {} if isinstance(measure, SpectralMeasure) else {"mix": at_snr(ref, -3, seed=9)}
    assert measure(0.8 * at_snr(ref, 10, seed=8), ref, **needs).item() == pytest.approx(GOLDEN[name], rel=1e-9)
