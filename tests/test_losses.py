"""A loss is a measure to minimise: its sign, its mean over items, and what it does with items that have no value."""

import copy
import math
import pickle
import warnings

import pytest
import torch
from torch import Tensor

import percloss
from percloss import (
    MAE,
    SISDR,
    SNR,
    Loss,
    MAELoss,
    MelLoss,
    MSELoss,
    MultiResolutionSTFTLoss,
    SDSDRLoss,
    SISDRImprovement,
    SISDRLoss,
    SNRLoss,
    STFTLoss,
    WeightedSum,
)
from percloss.errors import ArgumentError
from tests.signals import at_snr, noise


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Items at 0, 10 and 30 dB."""
    ref = noise(3, 1, 4000)
    est = torch.cat([at_snr(item[None], db) for item, db in zip(ref, (0, 10, 30), strict=True)])
    return est, ref


def test_a_ratio_is_turned_round_and_a_distance_is_not(pair: tuple[Tensor, Tensor]) -> None:
    assert SNRLoss()(*pair).item() == pytest.approx(-40 / 3, abs=1e-4)
    assert MAELoss()(*pair).item() == MAE()(*pair).mean().item() > 0


def test_less_is_better_whatever_the_measure(pair: tuple[Tensor, Tensor]) -> None:
    est, ref = pair
    for loss in (SNRLoss(), SISDRLoss(), SDSDRLoss(), MSELoss(), MAELoss(), STFTLoss(), MelLoss(16_000)):
        assert loss(ref + 0.01 * (est - ref), ref) < loss(est, ref)


def test_weights_count_items_and_weight_0_leaves_one_out(pair: tuple[Tensor, Tensor]) -> None:
    loss = SNRLoss()
    assert loss(*pair, weight=torch.tensor([1.0, 3.0, 0.0])).item() == pytest.approx(-(0 + 3 * 10) / 4, abs=1e-4)
    assert loss(*pair, weight=torch.tensor([5.0, 5.0, 5.0])).item() == pytest.approx(loss(*pair).item())
    stereo = [x.expand(-1, 2, -1) for x in pair]
    by_channel = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    assert loss(*stereo, weight=by_channel).item() == pytest.approx(-15, abs=1e-4)


def test_an_item_of_weight_0_has_no_gradient(pair: tuple[Tensor, Tensor]) -> None:
    est, ref = pair[0].requires_grad_(), pair[1]
    (gradient,) = torch.autograd.grad(SISDRLoss()(est, ref, weight=torch.tensor([1.0, 0.0, 1.0])), est)
    assert gradient.abs().sum(-1).squeeze().bool().tolist() == [True, False, True]


def test_lengths_leave_out_the_padding_in_value_and_gradient(pair: tuple[Tensor, Tensor]) -> None:
    est, ref = (x.clone() for x in pair)
    lengths = torch.tensor([4000, 1000, 2000])
    alone = torch.stack([SNR()(est[[i], :, :n], ref[[i], :, :n]) for i, n in enumerate(lengths.tolist())])
    for i, n in enumerate(lengths.tolist()):
        est[i, :, n:] = math.nan  # whatever stands there
    est.requires_grad_()
    value = SNRLoss()(est, ref, lengths=lengths)
    assert value.item() == pytest.approx(-alone.mean().item(), abs=1e-5)
    (gradient,) = torch.autograd.grad(value, est)
    assert gradient.isfinite().all()
    assert not gradient[1, :, 1000:].any()
    assert gradient[1, :, :1000].any()


def test_an_undefined_item_is_left_out_and_changes_no_other_gradient(pair: tuple[Tensor, Tensor]) -> None:
    est, ref = pair[0].requires_grad_(), pair[1].clone()
    ref[1] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = SISDRLoss()(est, ref)
    alone = SISDRLoss()(est[[0, 2]], ref[[0, 2]])
    torch.testing.assert_close(value, alone)
    both = [torch.autograd.grad(one, est)[0] for one in (value, alone)]
    torch.testing.assert_close(*both)
    assert not both[0][1].any()


def test_a_batch_without_any_value_is_0_with_no_gradient_and_says_so_once(pair: tuple[Tensor, Tensor]) -> None:
    est, silence = pair[0].requires_grad_(), torch.zeros(3, 1, 4000)
    loss = SISDRLoss()
    with pytest.warns(UserWarning, match="si_sdr: no item of this batch has a value .*the loss is 0.*Said once"):
        value = loss(est, silence)
    assert value.item() == 0
    assert not torch.autograd.grad(value, est)[0].any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loss(est, silence).item() == 0


@pytest.mark.parametrize("where", ["est", "ref"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("items", [1, 3])
@pytest.mark.filterwarnings("ignore:.*no item of this batch has a value")
def test_a_run_that_has_diverged_does_not_look_healthy(
    pair: tuple[Tensor, Tensor], where: str, bad: float, items: int
) -> None:
    signals = {"est": pair[0][:items].clone(), "ref": pair[1][:items].clone()}
    signals[where][0, 0, 5] = bad
    signals["est"].requires_grad_()
    sums = [(1.0, MAELoss()), (0.0, SNRLoss())], [(1.0, STFTLoss()), (1.0, MelLoss(16_000))]
    for loss in (SNRLoss(), STFTLoss(), *map(WeightedSum, sums)):
        value = loss(**signals)
        assert value.isnan()
        assert torch.autograd.grad(value, signals["est"])[0].isnan().any(-1).all()


def test_a_measure_without_a_gradient_is_no_loss() -> None:
    measure = SNR()
    measure.spec = percloss.PESQWideBand.spec
    with pytest.raises(
        ArgumentError, match=r"Loss: got pesq_wb, which has no gradient; .*percloss.metrics.Metric\(measure\)"
    ):
        Loss(measure)


def test_what_the_measure_needs_reaches_it(pair: tuple[Tensor, Tensor]) -> None:
    mix = at_snr(pair[1], -5, seed=9)
    loss = Loss(SISDRImprovement())
    assert loss.name == "si_sdr_i"
    expected = -SISDRImprovement()(*pair, mix=mix).mean().item()
    assert loss(*pair, mix=mix).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    "build", [SISDRLoss, SNRLoss, MAELoss, STFTLoss, MultiResolutionSTFTLoss, lambda: MelLoss(16_000)]
)
def test_autocast_to_bfloat16_changes_neither_value_nor_gradient(pair: tuple[Tensor, Tensor], build) -> None:
    est, ref = pair[0].requires_grad_(), pair[1]
    loss = build()
    outside = loss(est, ref)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(est, ref)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert torch.equal(torch.autograd.grad(inside, est)[0], torch.autograd.grad(outside, est)[0])


def test_a_network_in_bfloat16_autocast_trains_on_it() -> None:
    """Its output is bfloat16, the reference float32: the measure is computed in float32, the weights get a gradient."""
    weights, ref = (noise(64, 64) / 8).requires_grad_(), noise(2, 1, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        est = torch.nn.functional.linear(noise(2, 1, 64, seed=1), weights)
        value = SISDRLoss()(est, ref)
    assert est.dtype == torch.bfloat16
    (gradient,) = torch.autograd.grad(value, weights)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_descent_on_it_reaches_the_reference() -> None:
    ref = noise(1, 1, 64)
    est = noise(1, 1, 64, seed=1).requires_grad_()
    optimiser, loss = torch.optim.Adam([est], lr=0.05), SNRLoss()
    for _ in range(200):
        optimiser.zero_grad()
        loss(est, ref).backward()
        optimiser.step()
    assert SNR()(est, ref).item() > 20


# --- weighted sums --------------------------------------------------------------------------------------------------


def test_the_sum_is_the_weighted_sum_of_its_parts(pair: tuple[Tensor, Tensor]) -> None:
    loss = WeightedSum([(2.0, STFTLoss()), (0.1, SISDRLoss())])
    parts = loss.parts(*pair)
    assert list(parts) == ["stft", "si_sdr"]
    assert parts["stft"].item() == STFTLoss()(*pair).item()
    assert parts["si_sdr"].item() == SISDRLoss()(*pair).item()
    expected = 2 * parts["stft"].item() + 0.1 * parts["si_sdr"].item()
    assert loss(*pair).item() == pytest.approx(expected)
    assert torch.equal(loss.total(parts), loss(*pair))


def test_its_gradient_is_the_weighted_sum_of_theirs(pair: tuple[Tensor, Tensor]) -> None:
    est, ref = pair[0].requires_grad_(), pair[1]
    terms = [(3.0, MAELoss()), (0.5, STFTLoss()), (0.25, MelLoss(16_000)), (0.1, SNRLoss())]
    (together,) = torch.autograd.grad(WeightedSum(terms)(est, ref), est)
    alone = [weight * torch.autograd.grad(loss(est, ref), est)[0] for weight, loss in terms]
    torch.testing.assert_close(together, torch.stack(alone).sum(0))


def test_two_terms_of_one_measure_need_names_of_their_own(pair: tuple[Tensor, Tensor]) -> None:
    coarse, fine = STFTLoss(2048), STFTLoss(256)
    with pytest.raises(ArgumentError, match=r"got terms \['stft', 'stft'\].*each of its own name"):
        WeightedSum([(1.0, coarse), (0.5, fine)])
    named = WeightedSum({"coarse": (1.0, coarse), "fine": (0.5, fine)})
    assert list(named.parts(*pair)) == ["coarse", "fine"]
    assert named(*pair).item() == pytest.approx((coarse(*pair) + 0.5 * fine(*pair)).item())


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_below_0_or_not_finite_is_refused(weight: float) -> None:
    """Nobody writes a minus: the sign is the measure's."""
    with pytest.raises(ArgumentError, match=rf"got weights {{'snr': {weight}}}; needed are finite ones, not below 0"):
        WeightedSum([(1.0, MAELoss()), (weight, SNRLoss())])


def test_no_terms_make_no_sum() -> None:
    with pytest.raises(ArgumentError, match=r"got terms \[\]; needed are one at least"):
        WeightedSum([])


def test_each_term_is_given_what_it_needs_and_nothing_else(pair: tuple[Tensor, Tensor]) -> None:
    mix = at_snr(pair[1], -5, seed=9)
    loss = WeightedSum([(1.0, Loss(SISDRImprovement())), (1.0, MAELoss())])
    weight, lengths = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([4000, 3000, 4000])
    parts = loss.parts(*pair, mix=mix, weight=weight, lengths=lengths)
    assert parts["mae"].item() == MAELoss()(*pair, weight=weight, lengths=lengths).item()
    expected = Loss(SISDRImprovement())(*pair, mix=mix, weight=weight, lengths=lengths)
    assert parts["si_sdr_i"].item() == expected.item()
    assert loss(*pair, mix=mix, weight=weight, lengths=lengths).item() == pytest.approx(
        sum(p.item() for p in parts.values())
    )


def test_a_keyword_that_no_term_knows_is_refused(pair: tuple[Tensor, Tensor]) -> None:
    loss = WeightedSum([(1.0, SNRLoss())])
    for call in (loss, loss.parts):
        with pytest.raises(ArgumentError, match=r"WeightedSum: got \['mixture'\]; needed are none"):
            call(*pair, mixture=pair[0])
    with pytest.raises(ArgumentError, match=r"got \['mixture'\]; needed are \['mix'\]"):
        WeightedSum([(1.0, Loss(SISDRImprovement()))])(*pair, mixture=pair[0])


def test_a_loss_has_no_state_to_save_and_survives_copies(pair: tuple[Tensor, Tensor]) -> None:
    for loss in (MelLoss(16_000), WeightedSum([(1.0, MultiResolutionSTFTLoss()), (0.1, SISDRLoss())])):
        assert loss.state_dict() == {}
        assert list(loss.parameters()) == []
        for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
            assert torch.equal(twin(*pair), loss(*pair))


def test_a_loss_takes_the_settings_of_its_measure() -> None:
    assert isinstance(SISDRLoss(zero_mean=True).measure, SISDR)
    assert SISDRLoss(zero_mean=True).measure.zero_mean
    assert STFTLoss(512, 100).measure.settings["hop_length"] == 100


@pytest.mark.parametrize("level", [0.0, 1e-6, 1.0])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.filterwarnings("ignore:.*no item of this batch has a value")
def test_the_three_of_the_front_page_have_finite_gradients_at_every_level(level: float, autocast: bool) -> None:
    est, ref = noise(2, 4, 2, 44_100)
    for loss in (MultiResolutionSTFTLoss(), MelLoss(44_100), SISDRLoss()):
        for target in (ref, 0 * ref):
            signal = (level * est).requires_grad_()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                value = loss(signal, target)
            value.backward()
            assert signal.grad is not None
            assert signal.grad.isfinite().all()
