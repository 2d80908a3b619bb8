"""The loss that draws its resolutions: at every step others, on every rank the same, after a stop where it was."""

import copy
import io
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from percloss import Loss, SISDRLoss, WeightedSum
from percloss.errors import ArgumentError, DTypeError, ShapeError
from percloss.measures.magnitude import RandomResolutionSTFTDistance
from percloss.random_resolution import RandomResolutionSTFTLoss
from tests.signals import noise

Sizes = tuple[tuple[int, int, int], ...]


def pair(time: int = 4000, **settings) -> tuple[Tensor, Tensor]:
    est, ref = noise(2, 2, 1, time, **settings)
    return est, ref


def drawn(loss: RandomResolutionSTFTLoss, calls: int, time: int = 4000) -> list[Sizes]:
    """What the next calls draw."""
    sizes = []
    for _ in range(calls):
        loss(*pair(time))
        sizes.append(loss.measure.sizes)
    return sizes


def test_every_call_in_training_draws_and_none_in_evaluation_does() -> None:
    loss = RandomResolutionSTFTLoss()
    assert len(set(drawn(loss, 6))) == 6
    last = loss.measure.sizes
    assert set(drawn(loss.eval(), 3)) == {last}
    assert last not in drawn(loss.train(), 3)


def test_it_is_the_loss_of_the_measure_at_what_was_drawn() -> None:
    est, ref = pair()
    weight = torch.tensor([1.0, 3.0])
    loss = RandomResolutionSTFTLoss(2, n_ffts=(32, 1024), hops=(0.2, 0.4), linear=0.5, floor_db=-80.0, seed=9)
    drawn(loss, 4)
    measure = RandomResolutionSTFTDistance(2, n_ffts=(32, 1024), hops=(0.2, 0.4), linear=0.5, floor_db=-80.0, seed=9)
    measure.draw(4, time=4000)
    found = []
    for run in (loss, Loss(measure)):
        leaf = est.clone().requires_grad_()
        value = run(leaf, ref, weight=weight)
        found.append((value, *torch.autograd.grad(value, leaf)))
    torch.testing.assert_close(found[0], found[1])


def test_no_global_random_state_is_read_or_changed() -> None:
    outcomes = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        outcomes.append(drawn(RandomResolutionSTFTLoss(seed=4), 3))
        assert torch.equal(torch.get_rng_state(), before)
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] != drawn(RandomResolutionSTFTLoss(seed=5), 3)


@pytest.mark.parametrize("calls", [0, 1, 4])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(calls: int) -> None:
    whole, stopped = (nn.ModuleDict({"loss": RandomResolutionSTFTLoss(seed=3)}) for _ in range(2))
    drawn(whole["loss"], calls, time=900)
    drawn(stopped["loss"], calls, time=900)
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    file.seek(0)
    resumed = nn.ModuleDict({"loss": RandomResolutionSTFTLoss(seed=3)})
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed["loss"].measure.sizes == whole["loss"].measure.sizes  # for an evaluation before the next step
    assert drawn(resumed["loss"], 4) == drawn(whole["loss"], 4)


def test_its_state_is_a_tensor_of_two_numbers_and_nothing_else() -> None:
    state = RandomResolutionSTFTLoss().state_dict()
    assert {name: x.tolist() for name, x in state.items()} == {"_extra_state": [0, 32_768]}


class Step(nn.Module):
    """A network and its loss in one module, as some trainers wrap them."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.loss = nn.Conv1d(1, 1, 3, padding=1), RandomResolutionSTFTLoss(seed=6)

    def forward(self, mix: Tensor, ref: Tensor) -> Tensor:
        return self.loss(self.net(mix), ref)


def by_rank(rank: int, folder: str) -> None:
    """In a process of its own: take three steps beside the other rank, and leave behind what was drawn."""
    rendezvous = (Path(folder) / "rendezvous").as_uri()
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    torch.manual_seed(rank)  # ranks differ in their data and in their global state
    step = Step()
    model = nn.parallel.DistributedDataParallel(step)
    sizes = []
    for _ in range(3):
        model(*torch.randn(2, 1 + rank, 1, 3000)).backward()
        sizes.append(step.loss.measure.sizes)
    torch.save((sizes, step.net.weight.grad), Path(folder) / str(rank))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no distributed package")
def test_two_ranks_draw_the_same_without_a_word(tmp_path: Path) -> None:
    spawn(by_rank, (str(tmp_path),), nprocs=2)
    (first, gradient), (second, other) = (torch.load(tmp_path / str(rank)) for rank in (0, 1))
    assert first == second
    assert len(set(first)) == 3
    assert torch.equal(gradient, other)


def test_it_draws_as_a_term_of_a_sum_and_bound_to_a_reference_too() -> None:
    est, ref = pair()
    loss = RandomResolutionSTFTLoss(seed=1)
    expected = drawn(RandomResolutionSTFTLoss(seed=1), 3)
    total = WeightedSum([(1.0, loss), (0.1, SISDRLoss())])
    leaf = est.clone().requires_grad_()
    total(leaf, ref).backward()
    assert loss.measure.sizes == expected[0]
    for bound in (total.bind(ref), loss.bind(ref)):
        before = loss.measure.sizes
        bound(leaf).backward()
        assert loss.measure.sizes != before
    assert loss.measure.sizes == expected[2]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_casting_the_model_rounds_nothing_and_draws_nothing_else(dtype: torch.dtype) -> None:
    est, ref = pair(dtype=torch.float64)
    plain, cast = RandomResolutionSTFTLoss(), RandomResolutionSTFTLoss().to(dtype)
    for _ in range(3):
        assert torch.equal(cast(est, ref), plain(est, ref))


def test_a_copy_goes_its_own_way() -> None:
    loss = RandomResolutionSTFTLoss()
    drawn(loss, 2)
    twin = copy.deepcopy(loss)
    assert drawn(twin, 3) == drawn(loss, 3)


def test_what_is_drawn_fits_into_the_shortest_item() -> None:
    loss = RandomResolutionSTFTLoss(10)
    for _ in range(5):
        value = loss(*pair(8000), lengths=torch.tensor([8000, 70]))
        assert value.isfinite()
        assert max(n_fft for n_fft, _, _ in loss.measure.sizes) <= 64


def test_bad_input_is_met_at_the_door_by_name() -> None:
    loss = RandomResolutionSTFTLoss()
    est, ref = pair()
    for error, given in (
        (ShapeError, (est[0], ref[0])),
        (ShapeError, (est[..., :3], ref[..., :3])),
        (ShapeError, (est[..., :0], ref[..., :0])),
        (ShapeError, (torch.tensor(0.5), ref)),
        (ShapeError, (est, ref[..., 1:])),
        (DTypeError, (est.int(), ref)),
    ):
        with pytest.raises(error, match="^random_stft: "):
            loss(*given)
    with pytest.raises(ShapeError, match=r"lengths holds \[0\]"):
        loss(est, ref, lengths=torch.tensor([0, 100]))
    with pytest.raises(ArgumentError, match="random_stft: got est, mix, ref"):
        loss(est, ref, mix=ref)
    with pytest.raises(ArgumentError, match="a seed not below 0"):
        RandomResolutionSTFTLoss(seed=-1)
