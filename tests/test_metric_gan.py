"""What must be true where a discriminator learns a measure: targets, what becomes of failures, and that it learns."""

import io
import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from percloss import MSE, SISDR, SNR, SNRImprovement, create
from percloss.adversarial import Judgement, frozen
from percloss.discriminators import MetricDiscriminator
from percloss.errors import ArgumentError, ShapeError
from percloss.metric_gan import MetricGAN, MetricTarget, ReplayBuffer, Scored
from percloss.wrappers import PermutationInvariant
from tests.signals import at_snr, noise, speech


@pytest.fixture(autouse=True)
def weights_from_a_seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


class Constant(nn.Module):
    """Says the same of everything, and remembers what it was shown."""

    def __init__(self, score: float = 0.25) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.tensor(score, dtype=torch.float64))
        self.shown: list[tuple[Tensor, Tensor]] = []

    def forward(self, est: Tensor, ref: Tensor) -> list[Judgement]:
        self.shown.append((est, ref))
        return [Judgement(self.score.expand(est.shape[:2]), [])]


def pairs(*snrs: float, seed: int = 0, time: int = 64) -> tuple[Tensor, Tensor]:
    """Noise with noise at these ratios [dB], an item each."""
    ref = noise(len(snrs), 1, time, seed=seed, dtype=torch.float64)
    est = torch.cat([at_snr(r[None], snr, seed=seed + 1) for r, snr in zip(ref, snrs, strict=True)])
    return est, ref


def snr_gan(**settings) -> MetricGAN:
    return MetricGAN(MetricTarget(SNR(), low=-10.0, high=30.0), **settings)


# Targets -------------------------------------------------------------------------------------------------------------


def test_a_target_is_the_measure_between_its_ends_and_held_beyond() -> None:
    est, ref = pairs(-30.0, -10.0, 10.0, 25.0, 60.0)
    scores = MetricTarget(SNR(), low=-10.0, high=30.0)(est, ref)[:, 0]
    torch.testing.assert_close(scores, torch.tensor([0.0, 0.0, 0.5, 0.875, 1.0], dtype=torch.float64))


def test_where_lower_is_better_the_lower_end_is_the_best() -> None:
    ref = torch.zeros(3, 1, 8)
    est = torch.tensor([0.0, 0.5, 2.0]).view(3, 1, 1).expand_as(ref)
    scores = MetricTarget(MSE(), low=0.0, high=1.0)(est, ref)[:, 0]
    torch.testing.assert_close(scores, torch.tensor([1.0, 0.75, 0.0]))


def test_a_target_has_no_gradient_and_keeps_a_failure_as_nan() -> None:
    est, ref = pairs(0.0, 10.0)
    ref[1] = 0
    scores = MetricTarget(SNR(), low=-10.0, high=30.0)(est.requires_grad_(), ref)
    assert not scores.requires_grad
    assert scores.isnan().tolist() == [[False], [True]]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: MetricTarget(SNR(), low=1.0, high=1.0), "needed is a finite low < high"),
        (lambda: MetricTarget(SNR(), low=-math.inf, high=1.0), "needed is a finite low < high"),
        (lambda: MetricTarget(PermutationInvariant(SNR()), low=0.0, high=1.0), "takes sources"),
        (lambda: MetricTarget(SNRImprovement(), low=0.0, high=1.0), "needs mix"),
        (lambda: snr_gan(history=-1), "got history=-1"),
        (lambda: ReplayBuffer(0), "got capacity=0"),
    ],
)
def test_what_makes_no_target_is_refused_when_it_is_built(build, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        build()


# Losses --------------------------------------------------------------------------------------------------------------


def test_the_discriminator_pays_for_what_it_gets_wrong_of_estimates_and_references() -> None:
    est, ref = pairs(10.0, -10.0)  # scores 0.5 and 0
    loss = snr_gan().discriminator(Constant(0.25), est, ref)
    assert loss.item() == pytest.approx((0.25**2 + 0.25**2) / 2 + 0.75**2)


def test_a_perfect_predictor_pays_nothing() -> None:
    target = MetricTarget(SNR(), low=-10.0, high=30.0)
    est, ref = pairs(-5.0, 0.0, 20.0)
    gan = MetricGAN(target)
    assert gan.discriminator(target, est, ref) == 0
    assert gan.generator(target, ref, ref) == 0


def test_a_reference_beside_itself_is_one_even_where_the_measure_is_less() -> None:
    """SNR is capped at 140 dB, a target to 200 dB would make that 0.7."""
    est, ref = pairs(10.0)
    critic = Constant(1.0)
    gan = MetricGAN(MetricTarget(SNR(), low=0.0, high=200.0))
    assert gan.target(ref, ref).item() == pytest.approx(0.7)
    assert gan.discriminator(critic, est, ref).item() == pytest.approx((1 - 0.05) ** 2)


def test_the_generator_wants_a_score_of_one() -> None:
    est, ref = pairs(10.0, 20.0)
    assert snr_gan().generator(Constant(0.25), est, ref).item() == pytest.approx(0.75**2)


def test_neither_step_touches_the_other_network() -> None:
    critic, generator = MetricDiscriminator(n_fft=64, hop_length=16, filters=2), nn.Conv1d(1, 1, 1)
    gan, ref = snr_gan(), noise(2, 1, 400)
    est = generator(ref)
    gan.discriminator(critic, est, ref).backward()
    assert all(p.grad is None for p in generator.parameters())
    before = [p.grad.clone() for p in critic.parameters()]
    with frozen(critic):
        gan.generator(critic, est, ref).backward()
    assert all(torch.equal(p.grad, b) for p, b in zip(critic.parameters(), before, strict=True))
    assert all(p.grad.any() for p in generator.parameters())


def test_the_discriminator_is_called_once_on_everything() -> None:
    critic, gan = Constant(), snr_gan(history=4)
    gan.discriminator(critic, *pairs(0.0, 5.0))
    gan.discriminator(critic, *pairs(10.0, 15.0, seed=3))
    assert [shown[0].shape[0] for shown in critic.shown] == [4, 6]


def test_scores_may_be_bare_tensors_and_of_half_precision() -> None:
    class Bare(nn.Module):
        def forward(self, est: Tensor, ref: Tensor) -> Tensor:
            return torch.full(est.shape[:2], 0.25, dtype=torch.bfloat16)

    assert snr_gan().generator(Bare(), *pairs(0.0)).dtype == torch.float32


def test_scores_of_another_shape_are_refused() -> None:
    class Patches(nn.Module):
        def forward(self, est: Tensor, ref: Tensor) -> list[Judgement]:
            return [Judgement(est[..., ::2], [])]

    with pytest.raises(ShapeError, match=r"gave scores \[\(2, 1, 32\)\].*MetricDiscriminator\(\)"):
        snr_gan().generator(Patches(), *pairs(0.0, 5.0))


# Failures ------------------------------------------------------------------------------------------------------------


def test_an_item_the_measure_fails_on_is_left_out_and_counted_and_the_others_go_on() -> None:
    est, ref = pairs(10.0, -10.0, 20.0)
    whole = snr_gan().discriminator(Constant(), est[[0, 2]], ref[[0, 2]])
    ref[1] = 0
    gan = snr_gan()
    torch.testing.assert_close(gan.discriminator(Constant(), est, ref), whole)
    assert (gan.judged.item(), gan.undefined.item()) == (3, 1)


def test_if_the_measure_fails_on_all_the_loss_is_zero_with_a_zero_gradient_and_says_so_once() -> None:
    est, ref = pairs(10.0, 0.0)
    gan, critic = snr_gan(), Constant()
    with pytest.warns(UserWarning, match="snr has no value for any item.*Said once"):
        loss = gan.discriminator(critic, est, 0 * ref)
    loss.backward()
    assert loss == 0
    assert critic.score.grad == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gan.discriminator(critic, est, 0 * ref)
    assert gan.undefined == gan.judged == 4


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_no_failure_of_the_measure(broken: float) -> None:
    est, ref = pairs(10.0, 0.0)
    est[0, 0, 3] = broken
    assert snr_gan().discriminator(Constant(), est, ref).isnan()


def test_a_discriminator_that_has_diverged_does_not_look_healthy() -> None:
    assert snr_gan().discriminator(Constant(math.nan), *pairs(0.0)).isnan()


def test_pesq_failing_on_a_silent_item_does_not_stop_the_step() -> None:
    pytest.importorskip("pesq", reason="pesq is the measure that fails")
    ref = speech(seconds=1.0).repeat(3, 1, 1)
    est = torch.cat([at_snr(ref[:1], 20.0), torch.zeros_like(ref[:1]), at_snr(ref[:1], 0.0)])
    gan = MetricGAN(MetricTarget(create("pesq_wb", sample_rate=16_000), low=1.0, high=4.65))
    critic = MetricDiscriminator(filters=2)
    loss = gan.discriminator(critic, est, ref)
    loss.backward()
    assert (gan.judged.item(), gan.undefined.item()) == (3, 1)
    assert 0 < loss.item() < 4
    assert all(p.grad.isfinite().all() for p in critic.parameters())
    scores = gan.target(est, ref)[:, 0]
    assert 0 < scores[2] < scores[0] < 1


# Memory --------------------------------------------------------------------------------------------------------------


def numbered(*numbers: int) -> Scored:
    """Items that can be told apart."""
    values = torch.tensor(numbers, dtype=torch.float64)
    return Scored(values.view(-1, 1, 1).repeat(1, 1, 2), values.view(-1, 1, 1).repeat(1, 1, 2), values.view(-1, 1))


def held(buffer: ReplayBuffer) -> list[int]:
    return sorted(int(x) for x in buffer.sample(1000).target)


def test_a_memory_holds_what_came_until_it_is_full_and_never_more() -> None:
    buffer = ReplayBuffer(3)
    buffer.add(numbered(1, 2))
    assert held(buffer) == [1, 2]
    buffer.add(numbered(3, 4, 5))
    assert len(buffer) == 3
    assert set(held(buffer)) < {1, 2, 3, 4, 5}


def test_whatever_came_is_remembered_with_the_same_probability() -> None:
    """Each of 8 items in 3 places: 3/8, over 800 memories, within four standard deviations."""
    counts = torch.zeros(8)
    for seed in range(800):
        buffer = ReplayBuffer(3, seed=seed)
        buffer.add(numbered(*range(8)))
        counts[held(buffer)] += 1
    assert ((counts / 800 - 3 / 8).abs() < 4 * math.sqrt(3 / 8 * 5 / 8 / 800)).all()


def test_a_sample_keeps_what_belongs_together() -> None:
    buffer = ReplayBuffer(10)
    buffer.add(numbered(*range(10)))
    past = buffer.sample(4)
    assert past.est.shape == (4, 1, 2)
    assert len(set(past.target.flatten().tolist())) == 4
    torch.testing.assert_close(past.est[:, :, 0], past.target)
    torch.testing.assert_close(past.ref[:, :, 0], past.target)


def test_what_is_remembered_does_not_change_with_what_was_given() -> None:
    buffer, items = ReplayBuffer(2), numbered(1, 2)
    buffer.add(items)
    items.est.zero_()
    assert buffer.sample(2).est.sum() == 6


def test_a_memory_goes_on_from_its_state_dict_as_it_would_have() -> None:
    first = ReplayBuffer(3)
    first.add(numbered(*range(7)))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = ReplayBuffer(3, seed=5)
    second.load_state_dict(torch.load(file, weights_only=True))
    for buffer in (first, second):
        buffer.add(numbered(7, 8, 9, 10))
    assert second.seen == 11
    assert torch.equal(first.sample(2).est, second.sample(2).est)
    empty = ReplayBuffer(3)
    empty.load_state_dict(ReplayBuffer(3).state_dict())
    assert len(empty) == 0


def test_memories_of_one_seed_are_alike_and_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    one, two = ReplayBuffer(3, seed=2), ReplayBuffer(3, seed=2)
    for buffer in (one, two):
        buffer.add(numbered(*range(9)))
    assert held(one) == held(two)
    assert torch.equal(torch.get_rng_state(), state)


def test_mistakes_with_a_memory_are_named() -> None:
    buffer = ReplayBuffer(3)
    with pytest.raises(ArgumentError, match="is empty"):
        buffer.sample(1)
    buffer.add(numbered(1))
    with pytest.raises(ShapeError, match=r"holds \(1, 2\); needed is one shape"):
        buffer.add(Scored(torch.ones(1, 1, 3), torch.ones(1, 1, 3), torch.ones(1, 1)))


def test_the_past_costs_what_it_would_have_and_failures_are_not_remembered() -> None:
    gan, critic = snr_gan(history=8), Constant(0.25)
    est, ref = pairs(10.0, -10.0)
    silent = torch.cat([ref[:1], 0 * ref[1:]])
    gan.discriminator(critic, est, silent)
    assert len(gan.history) == 1
    now, past = pairs(30.0, seed=3), 0.25**2
    loss = gan.discriminator(critic, *now)
    assert loss.item() == pytest.approx(0.75**2 + 0.75**2 + past)
    resumed = snr_gan(history=8)
    resumed.load_state_dict(gan.state_dict())
    assert resumed.judged == 3
    assert len(resumed.history) == 2


# Learning ------------------------------------------------------------------------------------------------------------


def excerpts(items: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Low-passed noise and the same with white noise at -10 to 30 dB."""
    ref = nn.functional.avg_pool1d(torch.randn(items, 1, 1025, generator=random), 2, stride=1)
    ratio = 40 * torch.rand(items, 1, 1, generator=random) - 10
    return ref + 10 ** (-ratio / 20) * 0.7 * torch.randn(ref.shape, generator=random), ref


def test_a_discriminator_learns_si_sdr_and_a_generator_follows_it() -> None:
    """80 steps of 16 pairs: what it predicts of new ones correlates with the truth above 0.9.

    Then a generator of one weight, the level of noise it adds, follows the prediction to less noise.
    """
    random = torch.Generator().manual_seed(0)
    critic = MetricDiscriminator(n_fft=64, hop_length=32, filters=8, dropout=0.0)
    gan = MetricGAN(MetricTarget(SISDR(), low=-10.0, high=30.0), history=32)
    optimiser = torch.optim.Adam(critic.parameters(), lr=5e-3)
    for _ in range(80):
        optimiser.zero_grad()
        gan.discriminator(critic, *excerpts(16, random)).backward()
        optimiser.step()
    critic.eval()
    est, ref = excerpts(150, random)
    with torch.no_grad():
        predicted = critic(est, ref)[0].logits
        assert critic(ref, ref)[0].logits.mean() > 0.85
    truth = gan.target(est, ref)
    assert torch.corrcoef(torch.cat([predicted, truth], 1).T)[0, 1] > 0.9

    level = torch.tensor(0.5, requires_grad=True)
    learner = torch.optim.Adam([level], lr=0.02)
    white = torch.randn(8, 1, 1024, generator=random)
    for _ in range(15):
        learner.zero_grad()
        with frozen(critic):
            gan.generator(critic, ref[:8] + level * white, ref[:8]).backward()
        learner.step()
    assert level.abs() < 0.35
