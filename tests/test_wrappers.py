"""Changed measures: of permutations, frames, bands, stems, mid and side, remixes; each as when done by hand."""

import itertools
import math
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from percloss import (
    MAE,
    MSE,
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
    ThresholdedSNR,
)
from percloss.compat import auraloss
from percloss.dsp import assignment
from percloss.dsp.resample import resample
from percloss.errors import ArgumentError, EmptyBandError, SampleRateError, ShapeError
from percloss.testing import RULES, check_measure
from percloss.wrappers import MidSide, MixtureInvariant, PerBand, PerStem, ScaleInvariant
from tests.signals import RATE, at_snr, noise, tone

COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))


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
    assert assignment._ALL_ORDERS < 7
    for shift in range(1, 7):
        order = tuple((s + shift) % 7 for s in range(7))
        torch.testing.assert_close(measure(*shuffled(7, order)), torch.arange(10.0, 17)[None], rtol=0, atol=1e-4)


@pytest.mark.parametrize("sources", [2, 3, 4, 5, 6])
def test_trying_all_and_the_hungarian_algorithm_agree_where_nothing_is_clear(
    sources: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unrelated noises: the best assignment is anything but obvious."""
    est, ref = noise(2, 20, sources, 1, 50, seed=sources)
    for inner in (SISDR(), STFTDistance(32)):
        measure = PermutationInvariant(inner)
        tried = measure(est, ref)
        with monkeypatch.context() as solved_instead:
            solved_instead.setattr(assignment, "_ALL_ORDERS", 0)
            solved = measure(est, ref)
        torch.testing.assert_close(solved.mean(1), tried.mean(1))


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


# --- mid and side ---------------------------------------------------------------------------------------------------


def test_no_energy_is_won_or_lost_between_left_right_and_mid_side() -> None:
    """So that mid and side together have the mean squared error that both channels have."""
    est, ref = noise(2, 3, 2, 500)
    torch.testing.assert_close(MidSide(MSE())(est, ref), MSE()(est, ref).mean(1, keepdim=True))


def test_mono_has_no_side() -> None:
    ref = noise(3, 1, 1000)
    est = at_snr(ref, 15)
    stereo = [x.expand(3, 2, 1000) for x in (est, ref)]
    assert MidSide(MAE(), weights=(0.0, 1.0))(*stereo).abs().max() == 0
    # What has no side has no ratio there: the middle alone counts.
    torch.testing.assert_close(MidSide(SNR())(*stereo), SNR()(est, ref))
    assert MidSide(SNR(), weights=(0.0, 1.0))(*stereo).isnan().all()


def test_a_distance_hears_side_that_should_not_be_there() -> None:
    ref = noise(1, 1, 4000).expand(1, 2, 4000)
    est = ref + 0.1 * noise(1, 1, 4000, seed=1) * torch.tensor([1.0, -1.0])[:, None]
    only_mid, only_side = (MidSide(STFTDistance(512), weights=weights) for weights in ((1.0, 0.0), (0.0, 1.0)))
    assert only_mid(est, ref) < 1e-3 < 1 < only_side(est, ref)


def test_turning_one_channel_over_exchanges_mid_and_side() -> None:
    est, ref = noise(2, 2, 2, 1000)
    turned = [x * torch.tensor([1.0, -1.0])[:, None] for x in (est, ref)]
    torch.testing.assert_close(
        MidSide(SNR(), weights=(1.0, 3.0))(*turned), MidSide(SNR(), weights=(3.0, 1.0))(est, ref)
    )


def test_the_weights_are_of_a_mean() -> None:
    est, ref = noise(2, 2, 2, 1000)
    mid, side = (MidSide(SNR(), weights=weights)(est, ref) for weights in ((1.0, 0.0), (0.0, 2.0)))
    torch.testing.assert_close(MidSide(SNR(), weights=(1.0, 3.0))(est, ref), (mid + 3 * side) / 4)


def test_auraloss_has_the_same_signals_three_decibels_louder() -> None:
    est, ref = noise(2, 2, 2, 4000)
    sums = auraloss.perceptual.SumAndDifference()
    louder = [torch.cat(sums(x), 1) / math.sqrt(2) for x in (est, ref)]
    torch.testing.assert_close(MidSide(SNR())(est, ref), SNR()(*louder).mean(1, keepdim=True))
    log = {"w_sc": 0.0, "w_log_mag": 1.0}
    theirs = auraloss.freq.SumAndDifferenceSTFTLoss([512], [128], [512], w_sum=1.0, w_diff=3.0, **log)(est, ref)
    ours = Loss(MidSide(STFTDistance(512, convergence=0.0), weights=(1.0, 3.0)))(est, ref)
    assert theirs.item() == pytest.approx(2 * ours.item(), rel=1e-3)  # halved there, divided by 4 here


@pytest.mark.parametrize("channels", [1, 3])
def test_mid_and_side_are_of_two_channels(channels: int) -> None:
    with pytest.raises(ShapeError, match=rf"mid_side_snr: got \(1, {channels}, 100\); needed are two channels"):
        MidSide(SNR())(*noise(2, 1, channels, 100))


@pytest.mark.parametrize("weights", [(1.0,), (-1.0, 2.0), (0.0, 0.0), (1.0, math.inf), (1.0, math.nan)])
def test_weights_that_weigh_nothing_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ArgumentError, match="PerBand: got weights=.*; needed are 2 finite ones"):
        PerBand(SNR(), (1000,), RATE, weights=weights)


# --- the best gain --------------------------------------------------------------------------------------------------


def test_every_item_and_channel_has_a_gain_of_its_own() -> None:
    ref = noise(3, 2, 1000)
    gains = torch.tensor([[0.01, -3.0], [100.0, 1.0], [-0.5, 2.0]])[..., None]
    assert ScaleInvariant(MAE())(gains * ref, ref).max() < 1e-6
    est = at_snr(ref, 3)
    for inner in (MSE(), STFTDistance(256)):
        torch.testing.assert_close(ScaleInvariant(inner)(gains * est, ref), ScaleInvariant(inner)(est, ref))


def test_no_other_gain_comes_closer() -> None:
    est, ref = noise(2, 2, 2, 300, dtype=torch.float64)
    best = ScaleInvariant(MSE())(est, ref)
    others = torch.stack([MSE()(gain * est, ref) for gain in torch.linspace(-1, 1, 401).double()]).amin(0)
    assert (best <= others).all()
    torch.testing.assert_close(best, others, rtol=1e-4, atol=0)


def test_the_snr_at_the_best_gain_is_that_of_the_angle() -> None:
    est, ref = noise(2, 2, 2, 300, dtype=torch.float64)
    cosine = torch.nn.functional.cosine_similarity(est, ref, dim=-1)
    torch.testing.assert_close(ScaleInvariant(SNR())(est, ref), -10 * (1 - cosine.square()).log10())


def test_the_gradient_passes_through_the_gain() -> None:
    """What hears no gain has no slope along the signal; with the gain held fixed it would."""
    est, ref = noise(2, 2, 1, 2000, dtype=torch.float64)
    est.requires_grad_()
    (gradient,) = torch.autograd.grad(ScaleInvariant(STFTDistance(256))(est, ref).sum(), est)
    assert (gradient * est).sum(-1).abs().max() < 1e-9 * gradient.norm() * est.norm()


@pytest.mark.parametrize("silent", ["est", "ref", "both"])
def test_silence_at_the_best_gain_has_one_outcome(silent: str) -> None:
    signals = dict(zip(("est", "ref"), noise(2, 1, 1, 500), strict=True))
    for role in signals:
        if silent in (role, "both"):
            signals[role] = torch.zeros(1, 1, 500)
    est, ref = signals["est"].requires_grad_(), signals["ref"]
    for inner in (MAE(), STFTDistance(128), SNR()):
        value = ScaleInvariant(inner)(est, ref)
        torch.testing.assert_close(value, inner(torch.zeros_like(ref), ref), equal_nan=True)
        assert torch.autograd.grad(value.sum(), est)[0].abs().max() == 0


# --- bands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [2000, 2001, 1999])
def test_bands_add_up_to_the_signal_and_their_energies_to_its_energy(time: int) -> None:
    x = noise(2, 3, time, dtype=torch.float64)
    bands = PerBand(SNR(), (100, 1000, 1001.5, 7900), RATE).bands(x)
    assert bands.shape == (5, 2, 3, time)
    torch.testing.assert_close(bands.sum(0), x, rtol=0, atol=1e-13)
    torch.testing.assert_close(bands.square().sum((0, -1)), x.square().sum(-1), rtol=1e-12, atol=0)
    crossed = torch.einsum("aict,bict->icab", bands, bands) / time
    assert (crossed - torch.diag_embed(crossed.diagonal(dim1=-2, dim2=-1))).abs().max() < 1e-14


@pytest.mark.parametrize(("hz", "band"), [(20, 0), (499, 0), (501, 1), (1999, 1), (2001, 2), (7900, 2)])
def test_a_tone_is_in_the_band_it_belongs_to(hz: float, band: int) -> None:
    energies = PerBand(SNR(), (500, 2000), RATE).bands(tone(hz)).square().sum(-1).flatten()
    assert energies.argmax() == band
    assert energies[band] > 0.99 * energies.sum()


def test_of_white_noise_with_an_snr_in_each_band_it_finds_them() -> None:
    """30 dB below 1 kHz, 10 dB to 4 kHz, 20 dB above."""
    edges, wanted = (1000, 4000), (30.0, 10.0, 20.0)
    split = PerBand(SNR(), edges, RATE).bands
    ref, white = noise(2, 1, 1, RATE, dtype=torch.float64)
    errors = [
        10 ** (-db / 20) * error * part.norm() / error.norm()
        for db, part, error in zip(wanted, split(ref), split(white), strict=True)
    ]
    est = ref + sum(errors)
    for band, db in enumerate(wanted):
        only = [float(band == other) for other in range(3)]
        assert PerBand(SNR(), edges, RATE, weights=only)(est, ref).item() == pytest.approx(db, abs=1e-9)
    assert PerBand(SNR(), edges, RATE)(est, ref).item() == pytest.approx(20, abs=1e-9)
    assert PerBand(SNR(), edges, RATE, weights=(2, 1, 1))(est, ref).item() == pytest.approx(22.5, abs=1e-9)


def test_a_band_without_a_value_is_left_out() -> None:
    class Deaf(Measure):
        """A measure that has no value for the first of two bands, which stand in the batch one after another."""

        spec = SNR.spec

        def compare(self, est: Tensor, ref: Tensor) -> Tensor:
            values = SNR().compare(est, ref)
            return values.masked_fill(torch.arange(len(values))[:, None] < len(values) // 2, math.nan)

    ref = noise(2, 1, 2000)
    est = at_snr(ref, 12)
    torch.testing.assert_close(
        PerBand(Deaf(), (2000,), RATE)(est, ref), PerBand(SNR(), (2000,), RATE, weights=(0, 1))(est, ref)
    )
    assert PerBand(SNR(), (2000,), RATE)(est, 0 * ref).isnan().all()


def test_bands_that_no_signal_has_are_refused() -> None:
    for edges in ((0, 1000), (-5,), (1000, 1000), (2000, 1000), (8000,), (1000, 9000), (math.nan,)):
        with pytest.raises(EmptyBandError, match=r"leaves a band empty; needed are rising edges .* below 8000 Hz"):
            PerBand(SNR(), edges, RATE)
    with pytest.raises(ArgumentError, match="PerBand: got no edge"):
        PerBand(SNR(), (), RATE)
    with pytest.raises(SampleRateError, match=r"measure at 16000 Hz and sample_rate=48000; .*Resampled\(PerBand"):
        PerBand(MelDistance(16_000), (1000,), 48_000)


@pytest.mark.parametrize("edges", [(50,), (1000, 1040, 3000), (7990.0,)])
def test_a_signal_too_short_to_fill_every_band_is_refused(edges: tuple[float, ...]) -> None:
    measure = PerBand(SNR(), edges, RATE)
    narrowest = min(high - low for low, high in itertools.pairwise((0, *edges, RATE / 2)))
    assert measure.min_samples == math.ceil(RATE / narrowest)
    for time in (measure.min_samples, measure.min_samples + 1):
        assert (measure.bands(noise(1, 1, time)).square().sum(-1) > 0).all()
    with pytest.raises(ShapeError, match=f"per_band_snr: .*{measure.min_samples} samples"):
        measure(*noise(2, 1, 1, measure.min_samples - 1))


# --- stems ----------------------------------------------------------------------------------------------------------


def stems() -> tuple[Tensor, Tensor]:
    """Stems at 10, 20 and 30 dB, in stereo, (2, 3, 2, time)."""
    ref = noise(2, 3, 2, 800)
    return torch.stack([at_snr(ref[:, stem], 10 * stem + 10, seed=stem + 1) for stem in range(3)], 1), ref


def test_each_stem_has_the_value_it_has_alone() -> None:
    est, ref = stems()
    torch.testing.assert_close(PerStem(SNR())(est, ref), torch.tensor([10.0, 20.0, 30.0]).expand(2, 3))
    mix = ref.sum(1, keepdim=True).expand_as(ref)
    alone = [SNRImprovement()(est[:, s], ref[:, s], mix=mix[:, s]).mean(1) for s in range(3)]
    torch.testing.assert_close(PerStem(SNRImprovement())(est, ref, mix=mix), torch.stack(alone, 1))


def test_weights_given_to_the_loss_make_the_weighted_mean_of_the_stems() -> None:
    est, ref = stems()
    loss = Loss(PerStem(SNR()))
    assert loss(est, ref).item() == pytest.approx(-20, abs=1e-4)
    weights = torch.tensor([[2.0, 1.0, 1.0]])
    assert loss(est, ref, weight=weights).item() == pytest.approx(-17.5, abs=1e-4)
    ref[:, 0] = 0  # a silent stem takes its weight with it
    assert loss(est, ref, weight=weights).item() == pytest.approx(-25, abs=1e-4)


def test_a_silent_channel_leaves_its_stem_to_the_other() -> None:
    est, ref = stems()
    ref[0, 1, 0] = 0
    ref[1, 2] = 0
    values = PerStem(SNR())(est, ref)
    expected = torch.tensor([[10.0, 20.0, 30.0], [10.0, 20.0, math.nan]])
    torch.testing.assert_close(values, expected, equal_nan=True)


# --- remixes --------------------------------------------------------------------------------------------------------


def remixed(choice: tuple[int, ...], mixtures: int, *, db: float = 20.0) -> tuple[Tensor, Tensor]:
    """Sources at an SNR, and the mixtures they were put into, (1, sources, 1, time) and (1, mixtures, 1, time)."""
    sources = noise(len(choice), 1, 600)
    mixes = [
        sum((x for x, own in zip(sources, choice, strict=True) if own == n), torch.zeros(1, 600))
        for n in range(mixtures)
    ]
    return at_snr(sources, db)[None], torch.stack(mixes)[None]


@pytest.mark.parametrize("search", ["all", "least_squares"])
@pytest.mark.parametrize(("sources", "mixtures"), [(1, 1), (2, 2), (4, 2), (3, 3), (2, 3), (4, 1)])
def test_every_mixing_is_found_again(sources: int, mixtures: int, search) -> None:
    measure = MixtureInvariant(search=search)
    for choice in itertools.product(range(mixtures), repeat=sources):
        est, ref = remixed(choice, mixtures)
        assert measure.assign(est, ref).tolist() == [list(choice)]
        true = torch.stack(
            [sum((est[:, s] for s in range(sources) if choice[s] == n), 0 * ref[:, 0]) for n in range(mixtures)], 1
        )
        wanted = ThresholdedSNR(30)(true.flatten(0, 1), ref.flatten(0, 1)).view(1, mixtures)
        torch.testing.assert_close(measure(est, ref), wanted, equal_nan=True)


def test_sources_that_are_right_score_the_ceiling_of_the_paper() -> None:
    est, ref = remixed((0, 1, 1, 0), 2, db=200)
    torch.testing.assert_close(MixtureInvariant()(est, ref), torch.full((1, 2), 30.0))


@pytest.mark.parametrize(("sources", "mixtures"), [(4, 2), (3, 3)])
def test_the_best_mixing_is_that_of_a_search_by_hand_where_nothing_is_clear(sources: int, mixtures: int) -> None:
    """Unrelated noises, a ratio and a distance, in stereo."""
    est, ref = noise(5, sources, 2, 64), noise(5, mixtures, 2, 64, seed=1)
    for inner, best in ((ThresholdedSNR(), max), (STFTDistance(32), min)):
        values = MixtureInvariant(inner)(est, ref)
        assert values.shape == (5, mixtures)
        for item in range(5):
            totals = []
            for choice in itertools.product(range(mixtures), repeat=sources):
                parts = [
                    sum((est[item, s] for s in range(sources) if choice[s] == n), torch.zeros(2, 64))
                    for n in range(mixtures)
                ]
                totals.append(inner(torch.stack(parts), ref[item]).mean().item())
            assert values[item].mean().item() == pytest.approx(best(totals), abs=1e-4)


def test_a_few_remixes_at_a_time_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    est, ref = noise(3, 5, 1, 200), noise(3, 2, 1, 200, seed=1)
    together = MixtureInvariant()(est, ref)
    seen: list[int] = []
    inner = ThresholdedSNR()
    compare = inner.compare
    monkeypatch.setattr("percloss.wrappers.BLOCK", 1)
    monkeypatch.setattr(inner, "compare", lambda est, ref: seen.append(len(est)) or compare(est, ref))
    torch.testing.assert_close(MixtureInvariant(inner)(est, ref), together)
    assert seen == [6] * (2**5 + 1)


def test_the_gradient_of_a_mixing_is_that_of_the_best_and_reaches_every_source() -> None:
    est, ref = remixed((0, 1, 1, 0), 2, db=10)
    est.requires_grad_()
    (found,) = torch.autograd.grad(MixtureInvariant()(est, ref).sum(), est)
    known = torch.stack((est[:, 0] + est[:, 3], est[:, 1] + est[:, 2]), 1)
    (wanted,) = torch.autograd.grad(ThresholdedSNR()(known.flatten(0, 1), ref.flatten(0, 1)).sum(), est)
    torch.testing.assert_close(found, wanted)
    assert (found.abs().sum(-1) > 0).all()


def test_a_silent_mixture_has_no_value_and_no_say() -> None:
    est, ref = remixed((0, 1, 1, 0), 2)
    silent = torch.cat((ref, torch.zeros(1, 1, 1, 600)), 1)
    values = MixtureInvariant()(est, silent)
    torch.testing.assert_close(values[:, :2], MixtureInvariant()(est, ref))
    assert values[:, 2].isnan().all()


def test_training_by_mixtures_pulls_a_source_to_where_it_belongs() -> None:
    """From four mixtures of everything, by gradient alone: the remixes become the mixtures."""
    _, ref = remixed((0, 1, 1, 0), 2)
    est = (ref.sum(1, keepdim=True) / 4 + 0.01 * noise(1, 4, 1, 600, seed=5)).requires_grad_()
    loss, descent = Loss(MixtureInvariant()), torch.optim.Adam([est], lr=0.05)
    before = loss(est, ref).item()
    for _ in range(60):
        descent.zero_grad()
        loss(est, ref).backward()
        descent.step()
    assert before > -5
    assert loss(est, ref).item() < -20


def test_more_sources_than_can_be_tried_are_left_to_least_squares() -> None:
    choice = tuple(source * 7 % 2 for source in range(20))
    est, ref = remixed(choice, 2)
    with pytest.raises(ShapeError, match=r"got 20 sources of 2 mixtures, .*more than 4096 mixings; .*least_squares"):
        MixtureInvariant()(est, ref)
    assert MixtureInvariant(search="least_squares").assign(est, ref).tolist() == [list(choice)]


def test_least_squares_bears_sources_that_are_silent_or_the_same() -> None:
    est, ref = remixed((0, 1, 1, 0), 2)
    est[:, 3] = 0
    est[:, 2] = est[:, 1]
    values = MixtureInvariant(search="least_squares")(est.requires_grad_(), ref)
    assert values.isfinite().all()
    assert torch.autograd.grad(values.sum(), est)[0].isfinite().all()


@pytest.mark.parametrize(
    ("est", "ref", "message"),
    [
        ((2, 4, 1, 9), (2, 2, 1, 8), r"est is \(2, 4, 1, 9\) and ref is \(2, 2, 1, 8\); .*mixtures.* Cut both"),
        ((2, 4, 1, 8), (1, 2, 1, 8), r"in all but the second axis\.$"),
        ((2, 4, 1, 8), (2, 2, 2, 8), r"in all but the second axis\.$"),
        ((2, 4, 1, 8), (2, 1, 8), r"ref has shape \(2, 1, 8\); needed is \(batch, mixtures, channels, time\)"),
        ((2, 4, 8), (2, 2, 8), r"est has shape \(2, 4, 8\); needed is \(batch, sources, channels, time\)"),
        ((2, 4, 1, 8), (2, 0, 1, 8), "at least one item"),
        ((2, 0, 1, 8), (2, 2, 1, 8), "at least one item"),
    ],
)
def test_sources_and_mixtures_may_differ_in_number_and_in_nothing_else(est, ref, message: str) -> None:
    with pytest.raises(ShapeError, match=f"mixit_thresholded_snr: .*{message}"):
        MixtureInvariant()(torch.ones(est), torch.ones(ref))


@pytest.mark.parametrize("broken", [0, 1])
def test_a_broken_source_or_mixture_leaves_its_item_without_a_value_and_no_other(broken: int) -> None:
    signals = [x.repeat(2, 1, 1, 1) for x in remixed((0, 1, 1, 0, 1), 2)]
    expected = MixtureInvariant()(*signals)
    signals[broken][1, -1, 0, 7] = math.nan
    values = MixtureInvariant()(*signals)
    torch.testing.assert_close(values[0], expected[0])
    assert values[1].isnan().all()


def test_a_search_or_a_norm_of_another_name_is_refused() -> None:
    """In a process without the suite's shape checks, which would speak first."""
    code = """
from percloss.errors import ArgumentError
from percloss.measures.magnitude import CompressedMagnitudeDistance, SmoothLogSTFTDistance
from percloss.wrappers import MixtureInvariant
for build in (
    lambda: MixtureInvariant(search="best"),
    lambda: SmoothLogSTFTDistance(norm="l3"),
    lambda: CompressedMagnitudeDistance(norm="l3"),
):
    try:
        build()
    except ArgumentError as error:
        print(error)
"""
    environment = {name: value for name, value in os.environ.items() if name != "PERCLOSS_SHAPES"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    search, smooth, compressed = run.stdout.splitlines()
    assert search == 'MixtureInvariant: got search=\'best\'; needed is "all" or "least_squares".'
    assert smooth.startswith("smooth_log_stft: got gamma=256.0, norm='l3'; needed are")
    assert compressed.startswith("compressed_magnitude: got compression=0.3, norm='l3'")


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
        (MidSide(SNR()), (3, 2, 900)),
        (ScaleInvariant(STFTDistance(128)), (3, 2, 900)),
        (PerBand(SNR(), (1000, 4000), RATE), (3, 2, 900)),
        (PerStem(SISDR()), (3, 2, 1, 900)),
        (MixtureInvariant(), (3, 2, 1, 900)),
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
        MidSide,
        ScaleInvariant,
        lambda inner: PerBand(inner, (1000,), RATE),
        PerStem,
        MixtureInvariant,
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


CHANGED = {
    "mid_side_snr": lambda: MidSide(SNR()),
    "mid_side_stft": lambda: MidSide(STFTDistance(256), weights=(1.0, 0.5)),
    "scaled_stft": lambda: ScaleInvariant(STFTDistance(256)),
    "scaled_mae": lambda: ScaleInvariant(MAE()),
    "per_band_snr": lambda: PerBand(SNR(), (500, 2000), RATE),
    "per_band_stft": lambda: PerBand(STFTDistance(256), (2000,), RATE, weights=(1.0, 3.0)),
    "per_stem_snr_i": lambda: PerStem(SNRImprovement()),
    "mixit": MixtureInvariant,
    "mixit_stft": lambda: MixtureInvariant(STFTDistance(256)),
    "mixit, least squares": lambda: MixtureInvariant(search="least_squares"),
}


@pytest.mark.parametrize("rule", [name for name in RULES if COMPILE or name != "compiles"])
@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_measure_keeps_the_contract(name: str, rule: str) -> None:
    check_measure(CHANGED[name](), sample_rate=RATE, rules=[rule])


def test_the_engine_of_a_changed_measure_is_that_of_the_measure() -> None:
    """As the error about second derivatives says to set it."""
    est, ref = noise(2, 1, 2, 1000)
    est.requires_grad_()
    loss = Loss(MidSide(STFTDistance(256, convergence=0.0)))
    with pytest.raises(ArgumentError, match=r'loss.measure.engine = "eager"'):
        torch.autograd.grad(loss(est, ref), est, create_graph=True)
    loss.measure.engine = "eager"
    (gradient,) = torch.autograd.grad(loss(est, ref), est, create_graph=True)
    assert torch.autograd.grad(gradient.square().sum(), est)[0].abs().max() > 0
