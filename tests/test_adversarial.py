"""What must be true of adversarial losses, from their games' equilibria and not from the code."""

import math
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from percloss.adversarial import (
    LSGAN,
    GANLoss,
    Hinge,
    Judgement,
    Relativistic,
    feature_matching,
    frozen,
    r1,
    r2,
)
from percloss.errors import ArgumentError, DTypeError, ShapeError
from tests.signals import noise

LOSSES = {
    "lsgan": LSGAN(),
    "hinge": Hinge(),
    "hinge, clipped": Hinge("clipped"),
    **{
        f"relativistic, {form}, {penalty}": Relativistic(form, penalty=penalty)
        for form in ("average", "paired")
        for penalty in ("least_squares", "hinge", "logistic")
    },
}
RELATIVISTIC = {name: loss for name, loss in LOSSES.items() if loss.relative}
COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
HOW = {"fullgraph": True, "backend": "aot_eager"}
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
relativistic = pytest.mark.parametrize("loss", RELATIVISTIC.values(), ids=RELATIVISTIC)


@pytest.fixture(autouse=True)
def weights_from_a_seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def logits(seed: int = 0, *shape: int) -> Tensor:
    return noise(*(shape or (4, 1, 7)), seed=seed, dtype=torch.float64)


def minimise(value, *parameters: Tensor, steps: int = 400) -> None:
    """Plain gradient descent, so that what is found is what the loss asks for."""
    for _ in range(steps):
        for parameter, gradient in zip(parameters, torch.autograd.grad(value(), parameters), strict=True):
            parameter.data -= 0.2 * gradient


# What the games ask for ----------------------------------------------------------------------------------------------


def test_the_best_least_squares_discriminator_says_how_likely_a_signal_is_real() -> None:
    """Four signals, of probability p in the world and q in the generator: D = p / (p + q)."""
    p, q = (torch.tensor(x, dtype=torch.float64) for x in ([4, 3, 2, 1], [1, 1, 4, 4]))
    judged = torch.zeros(4, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        # A batch in which each signal comes as often as it is likely.
        return LSGAN().discriminator(judged.repeat_interleave(p.long()), judged.repeat_interleave(q.long()))

    minimise(loss, judged)
    torch.testing.assert_close(judged.detach(), p / (p + q))


def test_a_least_squares_generator_is_content_where_the_discriminator_says_one() -> None:
    assert LSGAN().generator(torch.ones(3)) == 0
    assert LSGAN().generator(torch.tensor([0.0, 2.0])) == 1
    assert LSGAN().discriminator(torch.ones(3), torch.zeros(3)) == 0


def test_a_hinge_discriminator_is_content_at_a_margin_of_one_and_has_no_gradient_beyond() -> None:
    real = torch.tensor([1.0, 5.0, 0.5], requires_grad=True)
    fake = torch.tensor([-1.0, -5.0, -0.5], requires_grad=True)
    loss = Hinge().discriminator(real, fake)
    assert loss.item() == pytest.approx(2 * 0.5 / 3)
    loss.backward()
    torch.testing.assert_close(real.grad, torch.tensor([0, 0, -1 / 3]))
    torch.testing.assert_close(fake.grad, torch.tensor([0, 0, 1 / 3]))


def test_the_two_hinge_generators_agree_below_the_margin_and_part_beyond() -> None:
    fake = torch.tensor([-3.0, 0.0, 0.9], requires_grad=True)
    (linear,) = torch.autograd.grad(Hinge("linear").generator(fake), fake)
    (clipped,) = torch.autograd.grad(Hinge("clipped").generator(fake), fake)
    torch.testing.assert_close(linear, clipped)
    beyond = torch.tensor([1.5], requires_grad=True)
    assert Hinge("linear").generator(beyond) == -1.5
    assert Hinge("clipped").generator(beyond) == 0
    assert torch.autograd.grad(Hinge("clipped").generator(beyond), beyond)[0] == 0


@relativistic
def test_a_relativistic_loss_hears_only_differences(loss: GANLoss) -> None:
    real, fake = logits(0), logits(1)
    torch.testing.assert_close(loss.discriminator(real + 3, fake + 3), loss.discriminator(real, fake))
    torch.testing.assert_close(loss.generator(fake + 3, real + 3), loss.generator(fake, real))


@relativistic
def test_in_a_relativistic_game_the_sides_exchange_real_and_fake(loss: GANLoss) -> None:
    real, fake = logits(0), logits(1)
    torch.testing.assert_close(loss.generator(fake, real), loss.discriminator(real=fake, fake=real))


@relativistic
def test_a_relativistic_generator_pays_more_where_real_signals_look_more_real(loss: GANLoss) -> None:
    assert loss.generator(logits(1), logits(0) + 2) > loss.generator(logits(1), logits(0))


def test_paired_logistic_sides_differ_by_the_mean_margin() -> None:
    """softplus(-d) - softplus(d) = -d, so the game's two losses differ by exactly what separates the players."""
    loss, real, fake = Relativistic("paired", penalty="logistic"), logits(0), logits(1)
    difference = loss.discriminator(real, fake) - loss.generator(fake, real)
    torch.testing.assert_close(difference, -(real - fake).mean())


def test_the_average_form_is_the_paired_one_where_every_logit_is_the_mean() -> None:
    real, fake = torch.full((3,), 0.7), torch.full((3,), 0.2)
    average, paired = (Relativistic(form).discriminator(real, fake) for form in ("average", "paired"))
    torch.testing.assert_close(average, 2 * paired)


def test_the_average_form_takes_batches_of_different_shapes_and_the_paired_form_says_no() -> None:
    assert Relativistic("average").discriminator(logits(0, 4, 5), logits(1, 2, 7)).isfinite()
    with pytest.raises(ShapeError, match=r"pairs need equal shapes.*Relativistic\(\"average\"\)"):
        Relativistic("paired").discriminator(logits(0, 4, 5), logits(1, 2, 7))


# Several discriminators ----------------------------------------------------------------------------------------------


@every
def test_each_discriminator_counts_the_same_however_many_parts_it_looks_at(loss: GANLoss) -> None:
    real, fake = [logits(0, 4, 3), logits(1, 4, 500)], [logits(2, 4, 3), logits(3, 4, 500)]
    together = loss.discriminator(real, fake)
    alone = [loss.discriminator(r, f) for r, f in zip(real, fake, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone).mean())
    alone = [loss.generator(f, r) for r, f in zip(real, fake, strict=True)]
    torch.testing.assert_close(loss.generator(fake, real), torch.stack(alone).mean())


@every
def test_judgements_do_as_well_as_their_logits(loss: GANLoss) -> None:
    real, fake = Judgement(logits(0), []), Judgement(logits(1), [])
    expected = loss.discriminator(real.logits, fake.logits)
    assert loss.discriminator([real], [fake]) == loss.discriminator(real, fake) == expected
    assert loss.generator([fake], [real]) == loss.generator(fake.logits, real.logits)


@pytest.mark.parametrize("loss", [LSGAN(), Hinge(), Hinge("clipped")])
def test_what_one_item_pays_does_not_depend_on_the_others(loss: GANLoss) -> None:
    real, fake = logits(0), 100 * logits(1)
    alone = [loss.discriminator(real[i : i + 1], fake[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(loss.discriminator(real, fake), torch.stack(alone).mean())


# Gradients -----------------------------------------------------------------------------------------------------------


@every
def test_gradients_are_derivatives(loss: GANLoss) -> None:
    real, fake = logits(0).requires_grad_(), logits(1).requires_grad_()
    assert torch.autograd.gradcheck(loss.discriminator, (real, fake))
    assert torch.autograd.gradcheck(lambda x: loss.generator(x, real.detach()), (fake,))


@every
def test_the_generators_side_sends_nothing_into_real_logits(loss: GANLoss) -> None:
    real, fake = logits(0).requires_grad_(), logits(1).requires_grad_()
    loss.generator(fake, real).backward()
    assert real.grad is None
    assert fake.grad.any()


@every
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_broken_logit_breaks_the_loss_and_its_gradient(loss: GANLoss, broken: float) -> None:
    """max(0, 1 - inf) is 0: a run that has diverged would look as if it had won."""
    real, fake = logits(0).requires_grad_(), logits(1).requires_grad_()
    spoil = torch.zeros_like(fake)
    spoil[0, 0, 0] = broken
    for value in (
        loss.generator(fake + spoil, real),
        loss.discriminator(real, fake + spoil),
        loss.discriminator(real + spoil, fake),
    ):
        assert value.isnan()
        assert torch.autograd.grad(value, [fake, real], allow_unused=True)[0].isnan().any()


@every
def test_half_precision_is_computed_in_float32(loss: GANLoss) -> None:
    real, fake = logits(0).bfloat16(), logits(1).bfloat16()
    value = loss.discriminator(real, fake)
    assert value.dtype == torch.float32
    assert value == loss.discriminator(real.float(), fake.float())
    assert loss.discriminator(logits(0), logits(1)).dtype == torch.float64


@every
@pytest.mark.parametrize(
    ("real", "fake", "error", "words"),
    [
        ([], [], ArgumentError, "needed are those of one at least"),
        ([torch.ones(2)], [torch.ones(2)] * 2, ArgumentError, r"got .* logits of . discriminators; needed are those"),
        (torch.ones(2, 0), torch.ones(2, 0), ShapeError, "one number at least"),
        (torch.ones(2).long(), torch.ones(2), DTypeError, "real logits are torch.int64"),
    ],
)
def test_logits_that_are_none_are_refused(loss: GANLoss, real, fake, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        loss.discriminator(real, fake)


@relativistic
def test_a_relativistic_generator_asks_for_the_real_logits(loss: GANLoss) -> None:
    with pytest.raises(ArgumentError, match=r"type generator\(fake, real\)"):
        loss.generator(logits())


def test_unknown_forms_are_refused_where_they_are_named() -> None:
    """In a process without the suite's shape checks, which would speak first."""
    code = """
import torch
from percloss.adversarial import Hinge, LSGAN, Relativistic, feature_matching
from percloss.errors import PerclossError
for refused in (
    lambda: Hinge("log"),
    lambda: Relativistic("mean"),
    lambda: Relativistic(penalty="wasserstein"),
    lambda: feature_matching([], [], normalize="fake"),
    lambda: LSGAN().generator([0.5]),
    lambda: feature_matching([torch.ones(2, 3)], [torch.ones(2, 3)]),
):
    try:
        refused()
    except PerclossError as error:
        print(type(error).__name__, error)
"""
    environment = {name: value for name, value in os.environ.items() if name != "PERCLOSS_SHAPES"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    lines = done.stdout.splitlines()
    assert lines[0] == 'ArgumentError Hinge: got generator=\'log\'; needed is "linear" or "clipped".'
    assert lines[1].startswith("ArgumentError Relativistic: got form='mean', penalty='least_squares'; needed is")
    assert lines[2].startswith("ArgumentError Relativistic: got form='average', penalty='wasserstein'; needed is")
    assert lines[3] == 'ArgumentError feature_matching: got normalize=\'fake\'; needed is "none" or "real".'
    assert lines[4].startswith("DTypeError LSGAN.generator: fake logits are float; needed are")
    assert lines[5].endswith("a list for each discriminator: feature_matching([real], [fake]) for one.")


@pytest.mark.skipif(not COMPILE, reason="torch.compile cannot trace the shape checks: run with PERCLOSS_COMPILE=1")
@every
def test_a_compiled_loss_is_the_same(loss: GANLoss) -> None:
    torch.compiler.reset()  # or the number of losses is taken for a function that changes its mind too often
    real, fake = logits(0), logits(1)
    compiled = torch.compile(lambda r, f: loss.discriminator([r], [f]) + loss.generator([f], [r]), **HOW)
    torch.testing.assert_close(compiled(real, fake), loss.discriminator(real, fake) + loss.generator(fake, real))


# Feature matching ----------------------------------------------------------------------------------------------------


def features(seed: int) -> list[Judgement]:
    """Two discriminators of two and of three layers."""
    layers = [logits(10 * seed + n, 2, 3, 4 + n) for n in range(5)]
    return [Judgement(logits(seed), layers[:2]), Judgement(logits(seed), layers[2:])]


@pytest.mark.parametrize("normalize", ["none", "real"])
def test_identical_features_match(normalize: str) -> None:
    assert feature_matching(features(1), features(1), normalize=normalize) == 0
    assert feature_matching(features(1), features(2), normalize=normalize) > 0.5


def test_features_are_averaged_over_entries_then_layers_then_discriminators() -> None:
    real, fake = features(1), features(2)
    per_layer = [
        [(r - f).abs().mean() for r, f in zip(rs.features, fs.features, strict=True)]
        for rs, fs in zip(real, fake, strict=True)
    ]
    expected = sum(sum(layers) / len(layers) for layers in per_layer) / 2
    torch.testing.assert_close(feature_matching(real, fake), expected)
    lists = [[j.features for j in x] for x in (real, fake)]
    torch.testing.assert_close(feature_matching(*lists), expected)


def test_relative_matching_does_not_reward_shrinking_features() -> None:
    real, fake = [[f for j in features(n) for f in j.features] for n in (1, 2)]
    shrunk = [[[f / 100 for f in x]] for x in (real, fake)]
    torch.testing.assert_close(
        feature_matching(*shrunk, normalize="real"),
        feature_matching([real], [fake], normalize="real"),
        rtol=1e-3,
        atol=0,
    )
    torch.testing.assert_close(feature_matching(*shrunk), feature_matching([real], [fake]) / 100)
    silent = [[torch.zeros(2, 3)]]
    assert feature_matching(silent, silent, normalize="real") == 0


def test_real_features_get_no_gradient() -> None:
    real, fake = logits(0).requires_grad_(), logits(1).requires_grad_()
    feature_matching([[real]], [[fake]], normalize="real").backward()
    assert real.grad is None
    assert fake.grad.abs().sum() > 0
    other = logits(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: feature_matching([[real]], [[x]], normalize="real"), (other,))


@pytest.mark.parametrize(
    ("real", "fake", "error", "words"),
    [
        ([], [], ArgumentError, "one at least"),
        ([[]], [[]], ArgumentError, "one at least"),
        ([[torch.ones(1)]], [[torch.ones(1)] * 2], ArgumentError, r"got \[1\] layers of real and \[2\]"),
        ([[torch.ones(1, 3)]], [[torch.ones(1, 4)]], ShapeError, "layer 0 of discriminator 0 is"),
    ],
)
def test_features_that_cannot_be_paired_are_refused(real, fake, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        feature_matching(real, fake)


# Gradient penalties --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [r1, r2])
def test_the_penalty_of_a_linear_discriminator_is_the_energy_of_its_weights(penalty) -> None:
    weights = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 12.0]], dtype=torch.float64, requires_grad=True)
    x = logits(0, 5, 2, 3).requires_grad_()
    value = penalty(x, (x * weights).sum((1, 2)))
    assert value.item() == pytest.approx(169)
    # It trains: the derivative of |w|^2 is 2 w.
    torch.testing.assert_close(torch.autograd.grad(value, weights)[0], 2 * weights.detach())


def test_the_penalty_does_not_grow_with_parts_or_discriminators() -> None:
    x = logits(0, 4, 1, 6).requires_grad_()
    one = r1(x, x.mean((1, 2)))
    torch.testing.assert_close(r1(x, x), one)
    torch.testing.assert_close(r1(x, [x, x.flatten(1), Judgement(x, [])]), one)


def test_the_penalty_is_a_mean_over_items() -> None:
    x = logits(0, 4, 1, 6).requires_grad_()
    alone = []
    for i in range(4):
        item = x.detach()[i : i + 1].requires_grad_()
        alone.append(r1(item, item.square().sum((1, 2))))
    torch.testing.assert_close(r1(x, x.square().sum((1, 2))), torch.stack(alone).mean())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: r1(x.detach(), x), ArgumentError, "require no gradient"),
        (lambda x: r1(x, x.detach()), ArgumentError, "no graph"),
        (lambda x: r1(x, torch.ones(4, requires_grad=True)), ArgumentError, r"not of these signals; type r1"),
        (lambda x: r2(x, x.mean()), ShapeError, r"needed are logits \(batch"),
        (lambda x: r2(x, x[:2]), ShapeError, r"4 items came, and logits \[\(2, 1, 6\)\]"),
    ],
)
def test_a_penalty_that_would_be_wrong_is_refused(call, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(logits(0, 4, 1, 6).requires_grad_())


# Steps ---------------------------------------------------------------------------------------------------------------


class Critic(nn.Module):
    """A small discriminator whose weights are parametrised, as those of the real ones are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 4, 3, padding=1))
        self.last = nn.Conv1d(4, 1, 1)

    def forward(self, x: Tensor) -> list[Judgement]:
        hidden = torch.tanh(self.first(x))
        return [Judgement(self.last(hidden), [hidden])]


def gradients(module: nn.Module) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


@every
def test_neither_step_touches_the_other_network(loss: GANLoss) -> None:
    critic, generator, real = Critic(), nn.Conv1d(1, 1, 1), noise(4, 1, 32)
    fake = generator(noise(4, 1, 32, seed=1))
    loss.discriminator(critic(real), critic(fake.detach())).backward()
    assert gradients(generator) == [None, None]
    before = gradients(critic)
    assert all(g is not None and g.isfinite().all() for g in before)
    with torch.no_grad():
        seen = critic(real)
    with frozen(critic):
        judged = critic(fake)
        (loss.generator(judged, seen) + feature_matching(seen, judged)).backward()
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(critic), strict=True))
    assert all(p.grad.any() for p in generator.parameters())


def test_freezing_gives_back_exactly_what_it_found_even_after_an_error() -> None:
    critic = Critic()
    critic.last.bias.requires_grad_(False)
    before = [p.requires_grad for p in critic.parameters()]
    assert len(set(before)) == 2

    def fail() -> None:
        with frozen(critic):
            assert not any(p.requires_grad for p in critic.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [p.requires_grad for p in critic.parameters()] == before


def test_the_gradient_through_a_frozen_discriminator_is_the_same() -> None:
    critic, fake = Critic(), noise(2, 1, 16).requires_grad_()
    (free,) = torch.autograd.grad(LSGAN().generator(critic(fake)), fake)
    with frozen(critic):
        (held,) = torch.autograd.grad(LSGAN().generator(critic(fake)), fake)
    torch.testing.assert_close(free, held, rtol=0, atol=0)


def test_freezing_nests() -> None:
    one, two = Critic(), Critic()
    with frozen(one, two):
        with frozen(one):
            pass
        assert not any(p.requires_grad for p in [*one.parameters(), *two.parameters()])
    assert all(p.requires_grad for p in [*one.parameters(), *two.parameters()])


@pytest.mark.skipif(not dist.is_available(), reason="this build of torch has no distributed package")
def test_steps_alternate_under_distributed_data_parallel(tmp_path) -> None:
    """The generator's step goes through ``critic.module``; the wrapped critic is then free for its own step."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        bare, critic = Critic(), nn.parallel.DistributedDataParallel(Critic())
        fake = noise(2, 1, 16).requires_grad_()
        for _ in range(2):
            LSGAN().discriminator(critic(noise(2, 1, 16, seed=1)), critic(fake.detach())).backward()
            with frozen(critic):
                LSGAN().generator(critic.module(fake)).backward()
            LSGAN().discriminator(bare(noise(2, 1, 16, seed=1)), bare(fake.detach())).backward()
        for a, b in zip(gradients(critic), gradients(bare), strict=True):
            torch.testing.assert_close(a, b)
    finally:
        dist.destroy_process_group()


@every
def test_under_autocast_a_step_is_finite_and_the_loss_is_float32(loss: GANLoss) -> None:
    critic, real, fake = Critic(), noise(2, 1, 16), noise(2, 1, 16, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        judged = critic(real), critic(fake)
        assert judged[0][0].logits.dtype == torch.bfloat16
        value = loss.discriminator(*judged)
    assert value.dtype == torch.float32
    value.backward()
    assert all(g.isfinite().all() for g in gradients(critic))


@pytest.mark.parametrize("loss", [LSGAN(), Hinge(), Relativistic("paired", penalty="logistic")])
def test_a_generator_of_two_weights_learns_where_the_world_is(loss: GANLoss) -> None:
    """Real: normal, mean 3, deviation 0.5. The generator shifts and scales noise; the critic sees single numbers.

    The place is found within 0.25. Of the width only that it comes nearer is asked: it swings for long.
    """
    random = torch.Generator().manual_seed(0)
    shift, scale = torch.zeros(1, requires_grad=True), torch.ones(1, requires_grad=True)
    critic = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    ours = torch.optim.Adam([shift, scale], lr=0.04, betas=(0.5, 0.9))
    theirs = torch.optim.Adam(critic.parameters(), lr=0.04, betas=(0.5, 0.9))
    shifts, scales = [], []
    for step in range(300):
        real = (3 + 0.5 * torch.randn(64, 1, generator=random)).requires_grad_()
        fake = shift + scale * torch.randn(64, 1, generator=random)
        theirs.zero_grad()
        judged = critic(real)
        (loss.discriminator(judged, critic(fake.detach())) + 0.1 * r1(real, judged)).backward()
        theirs.step()
        ours.zero_grad()
        with frozen(critic):
            loss.generator(critic(fake), critic(real.detach())).backward()
        ours.step()
        if step >= 200:
            shifts.append(shift.item())
            scales.append(abs(scale.item()))
    assert sum(shifts) / len(shifts) == pytest.approx(3, abs=0.25)
    assert sum(scales) / len(scales) == pytest.approx(0.5, abs=0.45)
