"""A weight is a fraction of the gradient: in theory, over steps, on several machines, and when something goes wrong."""

import copy
import io
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from percloss import (
    Loss,
    MAELoss,
    MelLoss,
    MSELoss,
    MultiResolutionSTFTLoss,
    SISDRLoss,
    SNRLoss,
    WeightedSDRLoss,
    WeightedSum,
)
from percloss.balancing import Balanced, GradientShares, gradient_shares
from percloss.errors import ArgumentError, DeviceError, ShapeError
from tests.signals import at_snr, noise

RATE = 16_000
WEIGHTS = {"wave": 1.0, "mel": 3.0, "adversarial": 2.0}


def pair(step: int = 0, items: int = 4, *, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """An estimate and its reference, each item at a level of its own."""
    ref = noise(items, 1, 4000, seed=step, dtype=dtype) * torch.logspace(-2, 0, items, dtype=dtype)[:, None, None]
    return at_snr(ref, 10, seed=step + 50).requires_grad_(), ref


def realness(est: Tensor) -> Tensor:
    """What a discriminator might say."""
    return (est[..., 1:] * est[..., :-1]).tanh().mean()


def three(**settings) -> Balanced:
    """A distance of waveforms, one of spectra, and what comes from elsewhere."""
    terms = {"wave": (WEIGHTS["wave"], MSELoss()), "mel": (WEIGHTS["mel"], MelLoss(RATE, n_mels=20, n_fft=512))}
    return Balanced(terms, extra={"adversarial": WEIGHTS["adversarial"]}, **settings)


def step(balanced: Balanced, est: Tensor, ref: Tensor) -> Tensor:
    """The gradient of one training step."""
    loss = balanced(est, ref, extra={"adversarial": realness(est)})
    return torch.autograd.grad(loss, est)[0]


def item_norms(gradient: Tensor) -> Tensor:
    """Of each item's own gradient: a mean over items has divided it by their number."""
    return len(gradient) * gradient.flatten(1).square().sum(1).sqrt()


# The formula


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_it_is_the_papers_formula_over_several_steps(decay: float) -> None:
    """G = sum of R w / sum(w) g / <|g|>, with the average written as the weighted mean of all steps so far."""
    balanced, total_norm = three(decay=decay, total_norm=5.0), 5.0
    seen: dict[str, list[float]] = {name: [] for name in WEIGHTS}
    for at in range(4):
        est, ref = pair(at)
        values = {**balanced.parts(est, ref), "adversarial": realness(est)}
        expected = torch.zeros_like(est)
        for name, value in values.items():
            (gradient,) = torch.autograd.grad(value, est, retain_graph=True)
            seen[name].append(item_norms(gradient).mean().item())
            ages = [decay**age for age in reversed(range(at + 1))]
            average = sum(w * x for w, x in zip(ages, seen[name], strict=True)) / sum(ages)
            expected += total_norm * WEIGHTS[name] / sum(WEIGHTS.values()) * gradient / average
        torch.testing.assert_close(step(balanced, est, ref), expected, rtol=1e-10, atol=0)


def test_the_value_is_the_weighted_sum_for_the_log() -> None:
    est, ref = pair()
    balanced = three()
    loss = balanced(est, ref, extra={"adversarial": realness(est)})
    parts = balanced.parts(est, ref)
    assert list(parts) == ["wave", "mel"]
    assert loss.item() == pytest.approx(
        sum(WEIGHTS[n] * x.item() for n, x in {**parts, "adversarial": realness(est)}.items())
    )


def test_shares_are_as_asked_from_the_first_step() -> None:
    est, ref = pair()
    balanced = three()
    step(balanced, est, ref)
    report = gradient_shares(balanced, est, ref, extra={"adversarial": realness(est)})
    assert report.shares == pytest.approx({"wave": 1 / 6, "mel": 3 / 6, "adversarial": 2 / 6})
    assert sum(report.norms.values()) == pytest.approx(1.0)


def test_two_terms_of_equal_weight_that_pull_apart_leave_nothing() -> None:
    est, ref = pair()
    balanced = Balanced({"wave": (1.0, MSELoss())}, extra={"against": 1.0})
    against = -100 * (est - ref).square().mean()
    (gradient,) = torch.autograd.grad(balanced(est, ref, extra={"against": against}), est)
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_a_loss_is_not_heard(factor: float) -> None:
    one, other = three(), three()
    for at in range(3):
        est, ref = pair(at)
        loss = other(est, ref, extra={"adversarial": factor * realness(est)})
        torch.testing.assert_close(torch.autograd.grad(loss, est)[0], step(one, est, ref), rtol=1e-10, atol=0)


@pytest.mark.parametrize("level", [1e-25, 1e25])
def test_norms_of_extreme_gradients_neither_vanish_nor_overflow(level: float) -> None:
    """The square of 1e-25 is 0 in float32, and that of 1e25 infinite."""
    est, ref = pair(dtype=torch.float32)
    report = {}
    for factor in (1.0, level):
        balanced = three()
        loss = balanced(est, ref, extra={"adversarial": factor * realness(est)})
        report[factor] = torch.autograd.grad(loss, est)[0]
    torch.testing.assert_close(report[level], report[1.0], rtol=1e-4, atol=1e-9)


def test_the_scale_of_the_gradient_is_total_norm_whatever_the_batch() -> None:
    for items in (1, 2, 8):
        est, ref = pair(items=items)
        balanced = Balanced([(1.0, SNRLoss())], total_norm=3.0)
        (gradient,) = torch.autograd.grad(balanced(est, ref), est)
        assert item_norms(gradient).mean().item() == pytest.approx(3.0)


def test_a_louder_step_than_usual_counts_for_more() -> None:
    """It is the average that is divided by, not the norm at hand: what is easy stays easy."""
    balanced = Balanced([(1.0, MSELoss())])
    (est, ref), sizes = pair(), []
    for size in (1.0, 1.0, 10.0):
        worse = (ref + size * (est - ref)).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(balanced(worse, ref), worse)
        sizes.append(item_norms(gradient).mean().item())
    assert sizes[:2] == pytest.approx([1, 1])
    assert sizes[2] == pytest.approx(10 * 3 / 12, rel=2e-3)


# Which loss trains


def test_shares_tell_what_weights_do_not() -> None:
    """Equal weights, and a ratio in dB has all of the gradient: its slope is many times that of an absolute error."""
    est, ref = pair()
    loss = WeightedSum([(1.0, MAELoss()), (1.0, SISDRLoss())])
    report = gradient_shares(loss, est, ref)
    norms = {}
    for name, value in loss.parts(est, ref).items():
        norms[name] = item_norms(torch.autograd.grad(value, est)[0]).mean().item()
    assert report.norms == pytest.approx(norms)
    assert report.shares == pytest.approx({name: norm / sum(norms.values()) for name, norm in norms.items()})
    assert report.shares["si_sdr"] > 0.99
    assert report.weights == {"mae": 1.0, "si_sdr": 1.0}
    assert report.values == pytest.approx({name: value.item() for name, value in loss.parts(est, ref).items()})


def test_its_weights_make_a_weighted_sum_that_trains_alike() -> None:
    est, ref = pair()
    terms = {"wave": (1.0, MSELoss()), "ratio": (3.0, SNRLoss())}
    balanced = Balanced(terms)
    (wanted,) = torch.autograd.grad(balanced(est, ref), est)
    weights = gradient_shares(balanced, est, ref).weights
    plain = WeightedSum({name: (weights[name], loss) for name, (_, loss) in terms.items()})
    torch.testing.assert_close(torch.autograd.grad(plain(est, ref), est)[0], wanted)


def test_cosines_tell_who_pulls_against_whom() -> None:
    est, ref = pair(items=2)
    balanced = Balanced({"wave": (1.0, MSELoss())}, extra={"same": 1.0, "against": 1.0, "nothing": 1.0})
    error = (est - ref).square().mean()
    report = gradient_shares(balanced, est, ref, extra={"same": 5 * error, "against": -error, "nothing": 0 * error})
    assert report.cosines["wave"] == pytest.approx(
        {"wave": 1, "same": 1, "against": -1, "nothing": math.nan}, nan_ok=True
    )
    assert report.cosines["against"]["same"] == pytest.approx(-1)


def test_an_item_without_a_gradient_has_no_say_in_a_cosine() -> None:
    est, ref = pair(items=2)
    loss = WeightedSum({"one": (1.0, MSELoss()), "other": (1.0, MAELoss())})
    alone = gradient_shares(loss, est[1:], ref[1:]).cosines["one"]["other"]
    both = gradient_shares(loss, est, ref, weight=torch.tensor([0.0, 1.0])).cosines["one"]["other"]
    assert both == pytest.approx(alone)
    assert 0.5 < both < 0.9  # of a Gaussian with its sign: sqrt(2 / pi)


def test_asking_moves_nothing_and_needs_no_gradient() -> None:
    est, ref = pair()
    balanced = three()
    step(balanced, est, ref)
    before = copy.deepcopy(balanced.state_dict())
    with torch.no_grad():
        report = gradient_shares(balanced, est.detach(), ref)
    assert report.shares == pytest.approx({"wave": 0.25, "mel": 0.75})
    assert all(torch.equal(x, before[name]) for name, x in balanced.state_dict().items())
    assert est.grad is None


def test_a_report_is_a_table_and_json() -> None:
    report = GradientShares(
        values={"mel": 0.5, "gan": 2.0},
        weights={"mel": 3.0, "gan": 0.25},
        norms={"mel": 0.75, "gan": 0.25},
        shares={"mel": 0.75, "gan": 0.25},
        cosines={"mel": {"mel": 1.0, "gan": -0.5}, "gan": {"mel": -0.5, "gan": math.nan}},
    )
    assert str(report).splitlines() == [
        "term  value  weight  norm  share  cos mel  cos gan",
        "mel     0.5       3  0.75  75.0%    +1.00    -0.50",
        "gan       2    0.25  0.25  25.0%    -0.50     +nan",
    ]
    read = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert read["shares"] == report.shares
    assert read["cosines"]["gan"] == {"mel": -0.5, "gan": None}


def test_only_a_balanced_loss_has_extras() -> None:
    est, ref = pair()
    with pytest.raises(ArgumentError, match=r"got extra \['adv'\]; MSELoss has none: use Balanced"):
        gradient_shares(MSELoss(), est, ref, extra={"adv": realness(est)})


# In a training loop


def net(*, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A small network with fixed weights."""
    layers = nn.Sequential(nn.Conv1d(1, 4, 9, padding=4), nn.Tanh(), nn.Conv1d(4, 1, 9, padding=4)).to(dtype)
    with torch.no_grad():
        for at, parameter in enumerate(layers.parameters()):
            parameter.copy_(0.3 * noise(*parameter.shape, seed=at, dtype=dtype))
    return layers


def weights_gradient(model: nn.Module) -> list[Tensor]:
    """What backward has put on the weights."""
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_backward_puts_the_balanced_gradient_on_the_weights() -> None:
    model, (noisy, ref) = net(), pair()
    noisy = noisy.detach()
    balanced = three()
    est = model(noisy)
    balanced(est, ref, extra={"adversarial": realness(est)}).backward()
    leaf = model(noisy).detach().requires_grad_()
    expected = torch.autograd.grad(model(noisy), list(model.parameters()), step(three(), leaf, ref))
    for found, wanted in zip(weights_gradient(model), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_discriminator_gets_no_gradient_from_it() -> None:
    judge, (est, ref) = net(), pair()
    balanced = Balanced([(1.0, MAELoss())], extra={"adversarial": 1.0, "feature": 1.0})
    seen = judge[0](est)
    loss = balanced(est, ref, extra={"feature": seen.abs().mean(), "adversarial": judge[2](seen.tanh()).mean()})
    loss.backward()
    assert est.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in judge.parameters())


def test_training_lowers_what_it_is_asked_to() -> None:
    model, (noisy, ref) = net(dtype=torch.float32), pair(dtype=torch.float32)
    balanced = Balanced([(1.0, MSELoss()), (1.0, MultiResolutionSTFTLoss())])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    before = balanced.parts(model(noisy.detach()), ref)
    for _ in range(30):
        optimiser.zero_grad()
        balanced(model(noisy.detach()), ref).backward()
        optimiser.step()
    after = balanced.parts(model(noisy.detach()), ref)
    assert all(after[name] < 0.8 * before[name] for name in before)


def test_accumulating_micro_batches_is_the_whole_batch_where_the_average_stands() -> None:
    """In training it moves with every micro-batch; held still by eval(), the micro-batches are exactly the batch."""
    (est, ref), balanced = pair(items=4), three()
    step(balanced, est, ref)
    balanced.eval()
    whole = step(balanced, est, ref)
    for half in (slice(0, 2), slice(2, 4)):
        part = est[half]
        (balanced(part, ref[half], extra={"adversarial": realness(part)}) / 2).backward()
    torch.testing.assert_close(est.grad, whole, rtol=1e-10, atol=0)


def test_accumulating_in_training_drifts_by_no_more_than_the_average_moves() -> None:
    (est, ref), balanced = pair(items=4), three()
    for at in range(20):
        step(balanced, *pair(at))
    whole = step(copy.deepcopy(balanced), est, ref)
    for half in (slice(0, 2), slice(2, 4)):
        part = est[half]
        (balanced(part, ref[half], extra={"adversarial": realness(part)}) / 2).backward()
    assert (est.grad - whole).norm() < 0.1 * whole.norm()


def test_a_gradient_scaler_scales_it() -> None:
    est, ref = pair()
    balanced = three()
    plain = step(balanced.eval(), est, ref)
    loss = balanced(est, ref, extra={"adversarial": realness(est)})
    torch.testing.assert_close(torch.autograd.grad(2.0**16 * loss, est)[0], 2.0**16 * plain, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_estimates_are_balanced_in_float32(dtype: torch.dtype) -> None:
    """An item's gradient has 16 000 samples of about 1e-5: in float16 they would be nothing without the scaler."""
    est, ref = pair(dtype=torch.float32)
    half = est.detach().to(dtype).requires_grad_()
    balanced = Balanced([(1.0, MSELoss()), (1.0, MelLoss(RATE))], total_norm=1e-4)
    loss = balanced(half, ref)
    assert loss.dtype == torch.float32
    (found,) = torch.autograd.grad(2.0**16 * loss, half)
    assert found.dtype == dtype
    same = half.detach().float().requires_grad_()
    (wanted,) = torch.autograd.grad(2.0**16 * copy.deepcopy(balanced)(same, ref), same)
    torch.testing.assert_close(found.float(), wanted, rtol=2**-7, atol=1e-6)


def test_autocast_changes_nothing_behind_the_network() -> None:
    model, (noisy, ref) = net(dtype=torch.float32), pair(dtype=torch.float32)
    balanced = Balanced([(1.0, MSELoss()), (1.0, MelLoss(RATE))])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        est = model(noisy.detach())
        assert est.dtype == torch.bfloat16
        loss = balanced(est, ref)
    loss.backward()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in weights_gradient(model))
    leaf = est.detach().float().requires_grad_()
    assert loss.item() == balanced(leaf, ref).item()


@pytest.mark.parametrize("how", ["no_grad", "detached"])
def test_without_a_gradient_there_is_a_value_and_nothing_moves(how: str) -> None:
    est, ref = pair()
    balanced = three()
    step(balanced, est, ref)
    before = copy.deepcopy(balanced.state_dict())
    with_gradient = balanced(est, ref, extra={"adversarial": realness(est)}).item()
    balanced.load_state_dict(before)
    with torch.set_grad_enabled(how == "detached"):
        value = balanced(est.detach(), ref, extra={"adversarial": realness(est.detach())})
    assert value.item() == pytest.approx(with_gradient)
    assert not value.requires_grad
    assert all(torch.equal(x, before[name]) for name, x in balanced.state_dict().items())


def test_after_eval_the_average_stands_still() -> None:
    est, ref = pair()
    balanced = three()
    step(balanced, est, ref)
    before = copy.deepcopy(balanced.state_dict())
    step(balanced.eval(), *pair(1))
    assert all(torch.equal(x, before[name]) for name, x in balanced.state_dict().items())


def test_what_was_saved_goes_on_bit_by_bit() -> None:
    straight, first, resumed = three(), three(), three()
    expected = [step(straight, *pair(at)) for at in range(6)]
    for at in range(3):
        step(first, *pair(at))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for at in range(3, 6):
        assert torch.equal(step(resumed, *pair(at)), expected[at])
    assert not torch.equal(step(three(), *pair(5)), expected[5])


def test_it_survives_copy_and_pickle_and_a_cast_of_the_model() -> None:
    balanced = three()
    step(balanced, *pair())
    for same in (copy.deepcopy(balanced), pickle.loads(pickle.dumps(balanced))):
        assert torch.equal(step(same, *pair(1)), step(copy.deepcopy(balanced), *pair(1)))
    cast = copy.deepcopy(balanced).half()
    assert torch.equal(step(cast, *pair(1)), step(balanced, *pair(1)))


def test_terms_of_many_needs_are_each_given_theirs() -> None:
    est, ref = pair()
    mix = ref + 0.3 * noise(*ref.shape, dtype=ref.dtype)
    balanced = Balanced([(1.0, WeightedSDRLoss()), (1.0, MAELoss())])
    loss = balanced(
        est, ref, mix=mix, weight=torch.tensor([1.0, 0.0, 1.0, 1.0]), lengths=torch.tensor([4000, 4000, 4000, 1000])
    )
    (gradient,) = torch.autograd.grad(loss, est)
    assert gradient[1].abs().max() == 0
    assert gradient[3, :, 1000:].abs().max() == 0
    assert gradient[3, :, :1000].abs().max() > 0


# What may go wrong


def test_a_term_that_is_left_out_gives_its_share_to_the_others() -> None:
    est, ref = pair()
    balanced = three()
    (gradient,) = torch.autograd.grad(balanced(est, ref), est)
    losses: dict[str, Loss] = dict(balanced.terms.losses.items())
    alone = Balanced({name: (WEIGHTS[name], loss) for name, loss in losses.items()})
    assert torch.equal(gradient, torch.autograd.grad(alone(est, ref), est)[0])
    assert balanced.averages["adversarial"].seen == 0


def test_a_gradient_of_0_adds_nothing_and_does_not_pull_the_average_down() -> None:
    balanced = Balanced({"wave": (1.0, MSELoss())}, extra={"hinge": 1.0})
    est, ref = pair()
    for level in (0.0, 1.0, 0.0, 0.0):
        loss = balanced(est, ref, extra={"hinge": level * realness(est)})
        (gradient,) = torch.autograd.grad(loss, est)
        assert gradient.isfinite().all()
        hinge = balanced.averages["hinge"]
        if level:
            size = (hinge.norm / hinge.seen).item()
    assert (hinge.norm / hinge.seen).item() == size
    report = gradient_shares(balanced, est, ref, extra={"hinge": 0 * realness(est)})
    assert report.shares == {"wave": 1.0, "hinge": 0.0}


def test_no_gradient_anywhere_is_no_gradient() -> None:
    ref = pair()[1]
    est = ref.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Balanced([(1.0, MSELoss())])(est, ref), est)
    assert not gradient.any()
    assert gradient_shares(MSELoss(), est, ref).shares == {"mse": 0.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("first", [True, False])
def test_a_gradient_that_is_not_finite_is_passed_on_and_then_forgotten(bad: float, first: bool) -> None:
    balanced, clean = three(), three()
    if not first:
        step(balanced, *pair(7)), step(clean, *pair(7))
    est, ref = pair()
    loss = balanced(est, ref, extra={"adversarial": realness(est) * bad})
    assert not torch.autograd.grad(loss, est)[0].isfinite().all()
    state, untouched = balanced.averages["adversarial"], clean.averages["adversarial"]
    assert state.seen == untouched.seen
    assert state.norm == untouched.norm
    for at in range(1, 3):
        assert step(balanced, *pair(at)).isfinite().all()


def test_a_broken_estimate_does_not_look_healthy() -> None:
    est, ref = pair()
    with torch.no_grad():
        est[0, 0, 3] = math.nan
    loss = Balanced([(1.0, MSELoss()), (1.0, MultiResolutionSTFTLoss())])(est, ref)
    assert loss.isnan()
    assert torch.autograd.grad(loss, est)[0].isnan().any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Balanced([]), "needed are one at least"),
        (lambda: Balanced([(-1.0, MSELoss())]), "weights .*-1"),
        (lambda: Balanced([(0.0, MSELoss())]), "one above"),
        (lambda: Balanced([(1.0, MSELoss())], extra={"mse": 1.0}), "names of their own"),
        (lambda: Balanced([(1.0, MSELoss())], extra={"a.b": 1.0}), "without a dot"),
        (lambda: Balanced([(1.0, MSELoss())], extra={"adv": math.inf}), "finite weights"),
        (lambda: Balanced([(1.0, MSELoss())], decay=1.0), "decay of 0 to below 1"),
        (lambda: Balanced([(1.0, MSELoss())], total_norm=0.0), "total_norm above 0"),
    ],
)
def test_what_it_cannot_be_built_from(build: Callable[[], Balanced], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build()


def test_what_it_cannot_be_called_with() -> None:
    est, ref = pair()
    balanced = Balanced([(1.0, MSELoss())], extra={"adv": 1.0})
    with pytest.raises(ArgumentError, match=r"got extra \['gan'\]; it has weights for \['adv'\]"):
        balanced(est, ref, extra={"gan": realness(est)})
    for outside in (realness(est.detach()), ref.sum().requires_grad_()):
        with pytest.raises(ArgumentError, match="no graph that leads to est"):
            balanced(est, ref, extra={"adv": outside})
    with pytest.raises(ShapeError, match=r"extra 'adv' is \(4, 1\); needed is a scalar: adv.mean\(\)"):
        balanced(est, ref, extra={"adv": est.mean(2)})
    with pytest.raises(ArgumentError, match=r"type ref.detach\(\)"):
        balanced(est, ref.clone().requires_grad_())
    with pytest.raises(ArgumentError, match=r"got \['mix'\]"):
        balanced(est, ref, mix=ref)
    with pytest.raises(DeviceError, match=r"is on meta, est on cpu; type balanced.to\(est.device\)"):
        copy.deepcopy(balanced).to("meta")(est, ref)


def test_a_second_derivative_is_refused() -> None:
    est, ref = pair()
    with pytest.raises(ArgumentError, match="second derivative"):
        torch.autograd.grad(Balanced([(1.0, MSELoss())])(est, ref), est, create_graph=True)


# On several machines


def train(rank: int, ranks: int, folder: str) -> None:
    """Three steps of one rank on its part of each batch; the gradients of the last are written down."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    model = nn.parallel.DistributedDataParallel(net())
    balanced = three()
    mine = slice(4 // ranks * rank, 4 // ranks * (rank + 1))
    for at in range(3):
        noisy, ref = (x.detach()[mine] for x in pair(at))
        model.zero_grad()
        est = model(noisy)
        # At the second step one rank has no adversarial term: nobody waits for it, and its average is the other's.
        extra = {"adversarial": realness(est)} if at != 1 or rank == 0 else {}
        balanced(est, ref, extra=extra).backward()
        if at == 0:
            torch.save(weights_gradient(model), f"{folder}/first{ranks}.{rank}")
    torch.save([weights_gradient(model), balanced.state_dict()], f"{folder}/last{ranks}.{rank}")
    torch.distributed.destroy_process_group()


def test_two_machines_with_half_the_batch_are_one_with_the_whole(tmp_path: Path) -> None:
    """Where every rank has as many items, each with a value: the average of the ranks' gradients is the batch's."""
    spawn(train, (2, str(tmp_path)), nprocs=2)
    model, balanced = net(), three()
    noisy, ref = (x.detach() for x in pair(0))
    est = model(noisy)
    balanced(est, ref, extra={"adversarial": realness(est)}).backward()
    for rank in (0, 1):
        for found, wanted in zip(torch.load(tmp_path / f"first2.{rank}"), weights_gradient(model), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-14)
    (gradients, states) = zip(*(torch.load(tmp_path / f"last2.{rank}") for rank in (0, 1)), strict=True)
    assert all(torch.equal(*both) for both in zip(*gradients, strict=True))
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
