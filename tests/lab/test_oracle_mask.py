"""The mask that a loss likes best: it is near the truth where it can be, and each loss likes its own."""

import pytest
import torch
from torch import Tensor

from percloss import SISDR, MultiResolutionSTFTDistance
from percloss.errors import ArgumentError, ShapeError
from percloss.lab.oracle_mask import oracle_mask
from percloss.losses import Loss
from tests.signals import at_snr, noise, speech, tone


def mixture() -> tuple[Tensor, Tensor]:
    ref = speech(seconds=1.0)
    return at_snr(ref, 0.0), ref


def test_two_tones_apart_are_told_apart() -> None:
    wanted, other = (tone(hz)[:, :, :8000].float() for hz in (500, 5000))
    est = oracle_mask(wanted + other, wanted, Loss(SISDR()), steps=60)
    assert SISDR()(est, wanted).item() > 20


def test_it_betters_what_it_is_asked_to_better_and_no_other_loss_does_so_as_well() -> None:
    mix, ref = mixture()
    measures = {"si_sdr": SISDR(), "mrstft": MultiResolutionSTFTDistance()}
    found = {name: oracle_mask(mix, ref, Loss(measure), steps=40) for name, measure in measures.items()}
    for name, measure in measures.items():
        scores = {other: measure.spec.cost(measure(est, ref).item()) for other, est in found.items()}
        assert min(scores, key=scores.__getitem__) == name
        assert scores[name] < measure.spec.cost(measure(mix, ref).item())


def test_few_cells_can_hold_less_than_many() -> None:
    mix, ref = mixture()
    scores = [SISDR()(oracle_mask(mix, ref, Loss(SISDR()), cells=cells, steps=40), ref).item() for cells in (1, 4, 40)]
    assert scores[0] < scores[1] < scores[2]
    assert scores[0] == pytest.approx(SISDR()(mix, ref).item(), abs=1e-3), "one cell is a gain"


def test_it_is_the_same_each_time_and_leaves_no_graph() -> None:
    mix, ref = mixture()
    first, second = (oracle_mask(mix, ref, Loss(SISDR()), steps=3) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad


def test_items_may_be_stereo_and_several_and_of_any_length() -> None:
    mix = noise(2, 2, 3001)
    assert oracle_mask(mix, 0.5 * mix, torch.nn.functional.mse_loss, steps=2).shape == mix.shape


def test_what_cannot_be_is_refused() -> None:
    mix, ref = mixture()
    with pytest.raises(ShapeError, match="needed is"):
        oracle_mask(mix, ref[..., 1:], Loss(SISDR()))
    with pytest.raises(ArgumentError, match="cells=0"):
        oracle_mask(mix, ref, Loss(SISDR()), cells=0)
    with pytest.raises(ArgumentError, match="the loss was nan at step 0"):
        oracle_mask(mix * float("nan"), ref, torch.nn.functional.mse_loss)
