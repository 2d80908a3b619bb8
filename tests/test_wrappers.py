"""Changed measures: over permutations, in frames, at another rate, against the mixture; each as when done by hand."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from percloss import (
    SISDR,
    SNR,
    Framewise,
    Improvement,
    Loss,
    Measure,
    MelDistance,
    PermutationInvariant,
    Resampled,
    SISDRImprovement,
    SNRImprovement,
    STFTDistance,
)
from percloss.dsp.resample import resample
from percloss.errors import ArgumentError, ShapeError
from tests.signals import at_snr, noise, tone


def shuffled(sources: int, order: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Estimates of graded quality in a given order, and their references, (1, sources, 1, time)."""
    ref = noise(1, sources, 1, 400)
    est = torch.cat([at_snr(ref[:, s], 10 + s, seed=s + 50)[:, None] for s in range(sources)], 1)
    return est[:, list(order)], ref


# --- permutations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sources", [1, 2, 3, 4])
def test_every_permutation_is_undone(sources: int) -> None:
    measure = PermutationInvariant(SNR())
    expected = torch.arange(10.0, 10 + sources)[None]
    for order in itertools.permutations(range(sources)):
        torch.testing.assert_close(measure(*shuffled(sources, order)), expected, rtol=0, atol=1e-4)


def test_seven_sources_are_matched_by_the_hungarian_algorithm() -> None:
    measure = PermutationInvariant(SNR())
    assert measure.EXACT < 7
    for shift in range(1, 7):
        order = tuple((s + shift) % 7 for s in range(7))
        torch.testing.assert_close(measure(*shuffled(7, order)), torch.arange(10.0, 17)[None], rtol=0, atol=1e-4)


@pytest.mark.parametrize("sources", [2, 3, 4, 5, 6])
def test_trying_all_and_the_hungarian_algorithm_agree_where_nothing_is_clear(sources: int) -> None:
    """Unrelated noises: the best assignment is anything but obvious."""
    est, ref = noise(2, 20, sources, 1, 50, seed=sources)
    for inner in (SISDR(), STFTDistance(32)):
        tried, solved = PermutationInvariant(inner), PermutationInvariant(inner)
        solved.EXACT = 0
        torch.testing.assert_close(solved(est, ref).mean(1), tried(est, ref).mean(1))


def test_the_best_assignment_is_that_of_a_search_by_hand() -> None:
    """A measure where higher is better and a distance, over batch items that want different orders."""
    est, ref = noise(2, 6, 3, 2, 64, seed=3)
    for inner, best in ((SISDR(), max), (STFTDistance(32), min)):
        values = PermutationInvariant(inner)(est, ref)
        for item in range(6):
            totals = [
                sum(inner(est[item, e][None], ref[item, r][None]).mean().item() for r, e in enumerate(order))
                for order in itertools.permutations(range(3))
            ]
            assert values[item].sum().item() == pytest.approx(best(totals), abs=1e-4)


def test_values_stand_in_the_order_of_the_references() -> None:
    est, ref = shuffled(3, (2, 0, 1))
    values = PermutationInvariant(SNR())(est, ref)
    torch.testing.assert_close(
        values, torch.cat([SNR()(est[:, [e]].flatten(1, 2), ref[:, r]) for r, e in enumerate((1, 2, 0))], 1)
    )


def test_the_gradient_is_that_of_the_right_order() -> None:
    est, ref = shuffled(3, (2, 0, 1))
    est.requires_grad_()
    (found,) = torch.autograd.grad(PermutationInvariant(SISDR())(est, ref).sum(), est)
    known = SISDR()(est[:, [1, 2, 0]].flatten(0, 1), ref.flatten(0, 1)).sum()
    torch.testing.assert_close(found, torch.autograd.grad(known, est)[0])
    assert (found.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("sources", [3, 7])
def test_a_silent_reference_spoils_neither_the_others_nor_their_assignment(sources: int) -> None:
    order = tuple(reversed(range(sources)))
    est, ref = shuffled(sources, order)
    ref[:, 1] = 0
    values = PermutationInvariant(SNR())(est, ref)
    expected = torch.arange(10.0, 10 + sources)[None]
    expected[:, 1] = math.nan
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("broken", [0, 1])
def test_a_broken_source_leaves_its_mixture_without_an_assignment_and_no_other(broken: int) -> None:
    est, ref = (x.repeat(2, 1, 1, 1) for x in shuffled(3, (2, 0, 1)))
    (est, ref)[broken][1, 0, 0, 7] = math.nan
    values = PermutationInvariant(SNR())(est, ref)
    torch.testing.assert_close(values[0], torch.tensor([10.0, 11, 12]), rtol=0, atol=1e-4)
    assert values[1].isnan().all()


def test_a_loss_over_permutations_trains_the_matched_estimate() -> None:
    loss = Loss(PermutationInvariant(SISDR()))
    est, ref = shuffled(2, (1, 0))
    assert loss(est, ref).item() == pytest.approx(-SISDR()(est.flip(1).flatten(0, 1), ref.flatten(0, 1)).mean().item())


# --- frames ---------------------------------------------------------------------------------------------------------


def framed(*levels_db: float) -> tuple[Tensor, Tensor]:
    """A reference in frames of 100 samples, and an estimate at a given SNR in each."""
    ref = noise(1, 1, 100 * len(levels_db))
    est = torch.cat([at_snr(part, db) for part, db in zip(ref.split(100, -1), levels_db, strict=True)], -1)
    return est, ref


def test_the_mean_and_the_median_of_frames_are_those_by_hand() -> None:
    est, ref = framed(0, 10, 40, 12, 13)
    assert Framewise(SNR(), frame=100)(est, ref).item() == pytest.approx(15, abs=1e-4)
    assert Framewise(SNR(), frame=100, reduce="median")(est, ref).item() == pytest.approx(12, abs=1e-4)


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    est, ref = framed(0, 10, 40, 13)
    assert Framewise(SNR(), frame=100, reduce="median")(est, ref).item() == pytest.approx(11.5, abs=1e-4)


@pytest.mark.parametrize(("reduce", "expected"), [("mean", 20.0), ("median", 10.0)])
def test_a_silent_frame_takes_no_part(reduce, expected: float) -> None:
    est, ref = framed(0, 5, 10, 50)
    ref[..., 100:200] = 0
    assert Framewise(SNR(), frame=100, reduce=reduce)(est, ref).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("reduce", ["mean", "median"])
def test_where_every_frame_is_silent_there_is_no_value_and_no_gradient(reduce) -> None:
    est, ref = framed(0, 10)
    est.requires_grad_()
    values = Framewise(SNR(), frame=100, reduce=reduce)(est, 0 * ref)
    assert values.isnan().all()
    assert not torch.autograd.grad(values.sum(), est)[0].any()


def test_frames_may_overlap_and_what_is_left_over_is_not_heard() -> None:
    est, ref = noise(2, 2, 3, 1050)
    values = Framewise(SNR(), frame=400, hop=200)(est, ref)
    by_hand = [SNR()(est[..., start : start + 400], ref[..., start : start + 400]) for start in range(0, 601, 200)]
    torch.testing.assert_close(values, torch.stack(by_hand).mean(0))
    tail = est.clone()
    tail[..., 1000:] += 10
    assert torch.equal(Framewise(SNR(), frame=400, hop=200)(tail, ref), values)


def test_a_frame_shorter_than_the_measures_window_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"Framewise: got frame=512.*frame >= 513"):
        Framewise(STFTDistance(1024), frame=512)
    with pytest.raises(ArgumentError, match=r"hop=0.*hop >= 1"):
        Framewise(SNR(), frame=100, hop=0)
    with pytest.raises(ShapeError, match=r"framewise_snr.*\(1, 1, 99\).*100 samples"):
        Framewise(SNR(), frame=100)(*noise(2, 1, 1, 99))


# --- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [48_000, 44_100, 8000])
def test_resampled_is_resampling_by_hand(rate: int) -> None:
    inner = MelDistance(16_000, n_fft=512, n_mels=40)
    est, ref = noise(2, 2, 1, rate // 2)
    by_hand = inner(*(resample(x, rate, 16_000) for x in (est, ref)))
    torch.testing.assert_close(Resampled(inner, rate)(est, ref), by_hand)


def test_resampled_hears_at_48_khz_what_the_measure_hears_at_16_khz() -> None:
    """The same two tones, sampled at both rates: only their ends, where silence is assumed, differ."""
    inner = MelDistance(16_000, n_fft=1024, n_mels=40, floor_db=-60.0)
    low = inner(tone(3000), tone(6000))
    time = torch.arange(48_000, dtype=torch.float64) / 48_000
    high = [torch.sin(2 * math.pi * hz * time)[None, None] for hz in (3000, 6000)]
    torch.testing.assert_close(Resampled(inner, 48_000)(*high), low, rtol=0.03, atol=0)
    assert not torch.isclose(inner(*high), low, rtol=0.1).any()


def test_resampled_says_its_own_rate_and_passes_a_gradient() -> None:
    measure = Resampled(MelDistance(16_000), 48_000)
    assert measure.sample_rate == 48_000
    assert measure.spec.sample_rates == {48_000}
    assert measure.min_samples == 3 * 1025
    est, ref = noise(2, 1, 1, 8000)
    est.requires_grad_()
    assert torch.autograd.grad(measure(est, ref).sum(), est)[0].abs().sum() > 0


def test_a_measure_of_no_rate_is_not_resampled() -> None:
    with pytest.raises(ArgumentError, match=r"Resampled: got snr, which knows no rate of its own.*use it as it is"):
        Resampled(SNR(), 48_000)


# --- the mixture ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ready", "inner"), [(SNRImprovement(), SNR()), (SISDRImprovement(), SISDR())])
def test_improvement_is_the_difference_by_hand(ready: Measure, inner: Measure) -> None:
    ref = noise(2, 2, 1000)
    est, mix = at_snr(ref, 17), at_snr(ref, 5, seed=2)
    by_hand = inner(est, ref) - inner(mix, ref)
    for measure in (ready, Improvement(inner)):
        torch.testing.assert_close(measure(est, ref, mix=mix), by_hand)
        assert torch.equal(measure(mix, ref, mix=mix), torch.zeros(2, 2))
    assert by_hand.mean().item() == pytest.approx(12, abs=0.5)


def test_improvement_needs_the_mixture_and_says_so() -> None:
    with pytest.raises(ArgumentError, match="snr_i: got est, ref; needed are est, ref, mix= and nothing else"):
        SNRImprovement()(*noise(2, 1, 1, 100))


def test_the_mixture_is_held_to_the_same_shape_and_finiteness() -> None:
    est, ref, mix = noise(3, 2, 1, 100)
    with pytest.raises(ShapeError, match=r"mix is \(2, 1, 99\)"):
        SNRImprovement()(est, ref, mix=mix[..., :99])
    mix[1, 0, 3] = math.nan
    assert SNRImprovement()(est, ref, mix=mix).isnan().tolist() == [[False], [True]]
    assert SNRImprovement().reason(est[1:], ref[1:], mix=mix[1:]) == "mix has samples that are not finite"


def test_zero_mean_reaches_both_sides_of_the_improvement() -> None:
    ref = noise(1, 1, 1000)
    est, mix = at_snr(ref, 20) + 1, at_snr(ref, 0, seed=2) - 1
    centred = SISDR(zero_mean=True)
    expected = centred(est, ref) - centred(mix, ref)
    torch.testing.assert_close(SISDRImprovement(zero_mean=True)(est, ref, mix=mix), expected)


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "shape"),
    [
        (SNR(), (3, 2, 900)),
        (STFTDistance(128), (3, 2, 900)),
        (Framewise(SNR(), frame=200, hop=100), (3, 2, 900)),
        (Resampled(MelDistance(16_000, n_fft=128, n_mels=10), 32_000), (3, 2, 900)),
        (PermutationInvariant(SISDR()), (3, 2, 1, 900)),
        (SISDRImprovement(), (3, 2, 900)),
    ],
    ids=lambda given: given.spec.name if isinstance(given, Measure) else "",
)
def test_with_lengths_an_item_scores_what_it_scores_alone(measure: Measure, shape: tuple[int, ...]) -> None:
    """Whatever stands in the padding, nan included."""
    est, ref, mix = noise(3, *shape)
    lengths = torch.tensor([900, 250, 601])
    signals = {"est": est, "ref": ref, **({"mix": mix} if measure.spec.needs else {})}
    alone = torch.cat(
        [
            measure(**{role: x[i : i + 1, ..., :n] for role, x in signals.items()})
            for i, n in enumerate(lengths.tolist())
        ]
    )
    for x in signals.values():
        x[1, ..., 250:] = math.nan
        x[2, ..., 601:] = 5.0
    assert torch.equal(measure(**signals, lengths=lengths), alone)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: Framewise(inner, frame=100),
        PermutationInvariant,
        Improvement,
        lambda inner: Resampled(inner, 48_000),
    ],
)
def test_only_a_measure_of_pairs_can_be_changed(wrap) -> None:
    with pytest.raises(ArgumentError, match='got pit_snr, which takes sources; needed is a measure that takes "pair"'):
        wrap(PermutationInvariant(SNR()))


def test_a_changed_measure_claims_what_is_left_of_the_claims() -> None:
    framewise, pit = Framewise(SISDR(), frame=10), PermutationInvariant(SISDR())
    assert framewise.spec.name == "framewise_si_sdr"
    assert (pit.spec.takes, pit.spec.name) == ("sources", "pit_si_sdr")
    improvement = SISDRImprovement().spec
    assert improvement.bounds == (-280.0, 280.0)
    assert improvement.perfect is None
    assert improvement.needs == ("mix",)
    assert "swap" in SISDR.spec.invariant_to - improvement.invariant_to
