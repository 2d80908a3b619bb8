"""A frozen net: the same numbers, out of reach of everything that trains, saves or rounds."""

import copy
import pickle

import pytest
import torch
from torch import nn

from percloss.errors import ArgumentError
from percloss.nets.frozen import FrozenNet
from tests.signals import noise


def net(seed: int = 0) -> nn.Sequential:
    """A convolution with weight normalisation, batch normalisation and dropout, as (batch, time) nets have them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = nn.Sequential(
            nn.Unflatten(1, (1, -1)),
            nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 4, 16, stride=8)),
            nn.BatchNorm1d(4),
            nn.Dropout(0.5),
        )
    built[2].running_var.fill_(0.25)
    return built


def holder() -> nn.Module:
    """A model that trains, and has a frozen net inside."""
    model = nn.Module()
    model.own = nn.Linear(2, 2)
    model.frozen = FrozenNet(net())
    model.frozen.tap(["2"])
    return model


def test_it_computes_what_the_net_computes_in_evaluation_mode() -> None:
    given = net()
    frozen = FrozenNet(given)
    frozen.tap(["2", "3"])
    x = noise(2, 400)
    expected = given.eval()(x)
    found = frozen(x)
    assert list(found) == ["2", "3"]
    torch.testing.assert_close(found["3"], expected.detach(), rtol=1e-6, atol=1e-6)


def test_the_net_that_was_given_is_left_as_it_was() -> None:
    given = net()
    before = copy.deepcopy(given.state_dict())
    frozen = FrozenNet(given)
    frozen.tap(["2"])
    assert given.training
    assert all(parameter.requires_grad for parameter in given.parameters())
    assert not given[2]._forward_hooks
    with torch.no_grad():
        given[2].weight.add_(1)
    given[2].weight.data.sub_(1)
    assert before.keys() == given.state_dict().keys()
    torch.testing.assert_close(frozen.net[2].weight, before["2.weight"])


def test_nothing_saves_trains_or_counts_it() -> None:
    model = holder()
    assert list(model.state_dict()) == ["own.weight", "own.bias"]
    assert [name for name, _ in model.named_parameters()] == ["own.weight", "own.bias"]
    assert not list(model.buffers())
    model.train().requires_grad_(True)
    assert not any(module.training for module in model.frozen.net.modules())
    assert not any(parameter.requires_grad for parameter in model.frozen.net.parameters())


def test_it_moves_with_its_holder() -> None:
    model = holder().to("meta")
    assert {x.device.type for x in model.frozen.net.parameters()} == {"meta"}
    assert {x.device.type for x in model.frozen.net.buffers()} == {"meta"}


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double"])
def test_casting_its_holder_leaves_its_precision(cast: str) -> None:
    model = holder()
    x = noise(1, 200)
    expected = model.frozen(x)["2"]
    getattr(model, cast)()
    assert torch.equal(model.frozen(x)["2"], expected)


def test_a_float64_signal_is_computed_in_float64() -> None:
    """Finite differences of a float32 net are noise: the weights are cast for the pass, and no longer."""
    frozen = FrozenNet(net())
    frozen.tap(["2"])
    x = noise(1, 200, dtype=torch.float64)
    found, rounded = frozen(x)["2"], frozen(x.float())["2"]
    assert found.dtype == torch.float64
    assert 0 < (found - rounded).abs().max() < 1e-5
    assert {parameter.dtype for parameter in frozen.net.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_net_in_half_precision_is_raised_to_float32(dtype: torch.dtype) -> None:
    frozen = FrozenNet(net().to(dtype))
    frozen.tap(["2"])
    assert frozen(noise(1, 200))["2"].dtype == torch.float32


def test_a_recurrent_net_works_in_float64_and_gives_its_first_output() -> None:
    """Recurrent layers keep a list of their weights, and return a tuple."""
    frozen = FrozenNet(nn.Sequential(nn.Unflatten(1, (-1, 4)), nn.LSTM(4, 3, batch_first=True)))
    frozen.tap(["1"])
    for dtype in (torch.float32, torch.float64):
        found = frozen(noise(2, 40, dtype=dtype))["1"]
        assert found.shape == (2, 10, 3)
        assert found.dtype == dtype


def test_it_survives_copy_and_pickle_with_its_taps() -> None:
    """Weight normalisation cannot be pickled; written out it can."""
    frozen = FrozenNet(net())
    frozen.tap(["2"])
    x = noise(2, 300)
    for other in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert torch.equal(other(x)["2"], frozen(x)["2"])


def test_no_graph_outlives_the_pass() -> None:
    frozen = FrozenNet(net())
    frozen.tap(["2"])
    frozen(noise(1, 200).requires_grad_())
    assert not frozen._taken


def test_a_layer_that_runs_twice_is_refused() -> None:
    shared = nn.ReLU()
    frozen = FrozenNet(nn.Sequential(nn.Linear(4, 4), shared, nn.Linear(4, 4), shared))
    frozen.tap(["1"])
    with pytest.raises(ArgumentError, match="ran twice"):
        frozen(noise(1, 4))


def test_a_net_that_cannot_be_copied_is_refused_with_advice() -> None:
    with pytest.warns(FutureWarning, match="weight_norm"):
        old = nn.utils.weight_norm(nn.Conv1d(1, 2, 3))
    with pytest.raises(ArgumentError, match="remove_weight_norm"):
        FrozenNet(old)
