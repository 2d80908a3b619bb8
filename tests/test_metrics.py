"""The metric view inside torchmetrics' life: update, compute, reset, collections, copies and several processes."""

import copy
import json
import math
import pickle
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from percloss import SISDR, SNR, MelDistance, PermutationInvariant, SISDRImprovement
from percloss.errors import ArgumentError
from percloss.uncertainty import mean_interval, paired
from tests.signals import at_snr, noise

torchmetrics = pytest.importorskip("torchmetrics", reason="a metric is a torchmetrics.Metric")

from percloss import metrics  # noqa: E402  (needs torchmetrics)
from percloss.metrics import Metric  # noqa: E402


def batch(*dbs: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Items of known SNR."""
    ref = noise(len(dbs), 1, 500, seed=seed)
    return torch.cat([at_snr(item[None], db) for item, db in zip(ref, dbs, strict=True)]), ref


def numbers(result: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in result.items()}


def test_it_tells_mean_median_interval_and_count_of_items_over_batches() -> None:
    metric = metrics.SNR()
    metric.update(*batch(0, 10))
    metric.update(*batch(11, 12, 47, seed=1))
    told = numbers(metric.compute())
    assert list(told) == ["mean", "median", "ci95_low", "ci95_high", "n", "undefined"]
    assert told["mean"] == pytest.approx(16, abs=1e-4)
    assert told["median"] == pytest.approx(11, abs=1e-4)
    assert (told["n"], told["undefined"]) == (5, 0)
    assert told["ci95_low"] < told["mean"] < told["ci95_high"]
    assert metric.items.tolist() == pytest.approx([0, 10, 11, 12, 47], abs=1e-4)


def test_the_mean_is_over_items_and_not_over_batches() -> None:
    """A last batch of one item must not count as much as a batch of three."""
    metric = metrics.SNR()
    metric.update(*batch(10, 10, 10))
    metric.update(*batch(50, seed=1))
    assert metric.compute()["mean"].item() == pytest.approx(20, abs=1e-4)


def test_channels_and_sources_are_averaged_within_an_item() -> None:
    est, ref = batch(10, 30)
    stereo = metrics.SNR()
    stereo.update(est.transpose(0, 1), ref.transpose(0, 1))
    assert stereo.items.tolist() == pytest.approx([20], abs=1e-4)
    separated = Metric(PermutationInvariant(SNR()))
    separated.update(est.flip(0)[None], ref[None])
    assert separated.items.tolist() == pytest.approx([20], abs=1e-4)


def test_items_without_a_value_are_counted_and_left_out() -> None:
    est, ref = batch(10, 20, 30, 40)
    ref[1], est[3, 0, 7] = 0, math.nan
    metric = metrics.SNR()
    metric.update(est, ref)
    told = numbers(metric.compute())
    assert (told["n"], told["undefined"]) == (4, 2)
    assert told["mean"] == pytest.approx(20, abs=1e-4)
    assert told["median"] == pytest.approx(20, abs=1e-4)
    assert metric.items.isnan().tolist() == [False, True, False, True]


def test_one_silent_channel_leaves_the_item_the_value_of_the_other() -> None:
    est, ref = (x.transpose(0, 1).clone() for x in batch(10, 30))
    ref[0, 1] = 0
    metric = metrics.SNR()
    metric.update(est, ref)
    assert metric.items.tolist() == pytest.approx([10], abs=1e-4)


def test_without_any_value_everything_is_nan_but_the_counts() -> None:
    est, ref = batch(10, 20)
    metric = metrics.SNR()
    metric.update(est, 0 * ref)
    told = numbers(metric.compute())
    assert all(math.isnan(told[name]) for name in ("mean", "median", "ci95_low", "ci95_high"))
    assert (told["n"], told["undefined"]) == (2, 2)


def test_before_the_first_update_it_warns_as_every_metric_and_counts_0() -> None:
    metric = metrics.SNR()
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        told = numbers(metric.compute())
    assert math.isnan(told["mean"])
    assert told["n"] == 0


def test_forward_tells_of_the_batch_and_keeps_it() -> None:
    metric = metrics.SNR()
    assert metric(*batch(10, 20))["mean"].item() == pytest.approx(15, abs=1e-4)
    assert metric(*batch(30, seed=1))["mean"].item() == pytest.approx(30, abs=1e-4)
    assert metric.compute()["mean"].item() == pytest.approx(20, abs=1e-4)


def test_reset_forgets() -> None:
    metric = metrics.SNR()
    metric.update(*batch(10, 20))
    metric.reset()
    metric.update(*batch(40, seed=1))
    assert numbers(metric.compute())["n"] == 1
    assert metric.items.tolist() == pytest.approx([40], abs=1e-4)


def test_what_the_measure_needs_and_lengths_reach_it() -> None:
    est, ref = batch(20, 20)
    mix = at_snr(ref, 0, seed=5)
    metric, lengths = metrics.SISDRImprovement(), torch.tensor([500, 300])
    metric.update(est, ref, mix=mix, lengths=lengths)
    expected = SISDRImprovement()(est, ref, mix=mix, lengths=lengths).flatten()
    assert torch.equal(metric.items.float(), expected)


def test_nothing_of_the_graph_is_kept() -> None:
    est, ref = batch(10, 20)
    metric = metrics.SNR()
    metric.update(est.requires_grad_(), ref)
    assert not metric.items.requires_grad


def test_it_knows_which_way_is_better_as_its_measure_does() -> None:
    assert metrics.SNR().higher_is_better is True
    assert metrics.MelDistance(16_000).higher_is_better is False
    assert metrics.MelDistance(16_000).is_differentiable is False


def test_the_confidence_is_named_in_the_result() -> None:
    narrow, wide = Metric(SNR(), confidence=0.8), Metric(SNR(), confidence=0.99)
    for metric in (narrow, wide):
        metric.update(*batch(0, 10, 11, 12, 47, 20))
    few, many = numbers(narrow.compute()), numbers(wide.compute())
    assert many["ci99_low"] < few["ci80_low"] < few["ci80_high"] < many["ci99_high"]


def test_it_survives_a_copy_and_a_pickle_with_what_it_holds() -> None:
    metric = metrics.SISDR(zero_mean=True)
    metric.update(*batch(10, 20))
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert type(twin) is metrics.SISDR
        assert twin.measure.zero_mean
        twin.update(*batch(30, seed=1))
        assert twin.compute()["n"].item() == 3
    assert metric.compute()["n"].item() == 2


def test_it_saves_nothing_into_a_model() -> None:
    metric = metrics.MelDistance(16_000)
    assert metric.state_dict() == {}


def test_a_collection_computes_each_of_its_metrics() -> None:
    collection = torchmetrics.MetricCollection([metrics.SNR(), metrics.MAE()])
    est, ref = batch(10, 20)
    collection.update(est, ref)
    told = numbers(collection.compute())
    assert told["SNR_mean"] == pytest.approx(15, abs=1e-4)
    assert told["MAE_mean"] == pytest.approx((est - ref).abs().mean().item())
    assert told["SNR_n"] == 2


def test_a_collection_never_takes_two_measures_for_one() -> None:
    """It groups metrics whose states are alike after a batch, and updates one for all; two ratios may begin alike."""
    collection = torchmetrics.MetricCollection(
        {"snr": metrics.SNR(), "si_sdr": metrics.SISDR(), "centred": metrics.SISDR(zero_mean=True)}
    )
    ref = noise(2, 1, 500)
    collection.update(ref, ref)
    collection.update(0.5 * ref + 0.1, ref)
    told = numbers(collection.compute())
    both = torch.cat([ref, 0.5 * ref + 0.1]), torch.cat([ref, ref])
    assert told["snr_mean"] == pytest.approx(SNR()(*both).mean().item(), rel=1e-5)
    assert told["si_sdr_mean"] == pytest.approx(SISDR()(*both).mean().item(), rel=1e-5)
    assert told["centred_mean"] == pytest.approx(SISDR(zero_mean=True)(*both).mean().item(), rel=1e-5)
    assert len({round(told[f"{name}_mean"], 2) for name in ("snr", "si_sdr", "centred")}) == 3


def test_the_classes_take_what_their_measures_take() -> None:
    assert metrics.MelDistance(16_000, n_mels=40).measure.settings == MelDistance(16_000, n_mels=40).settings


def test_the_interval_is_that_of_the_items_that_have_a_value() -> None:
    est, ref = batch(0, 10, 11, 12, 47, 20)
    ref[2] = 0
    metric = metrics.SNR()
    metric.update(est, ref)
    told = numbers(metric.compute())
    interval = mean_interval(metric.items[[0, 1, 3, 4, 5]].double().numpy())
    assert (told["ci95_low"], told["ci95_high"]) == pytest.approx(interval, rel=1e-6)


def test_items_of_one_track_are_resampled_together() -> None:
    dbs = (0, 1, 2, 20, 21, 22, 8, 9)
    alone, together, named = metrics.SNR(), metrics.SNR(), metrics.SNR()
    alone.update(*batch(*dbs))
    together.update(*batch(*dbs), group=torch.tensor([7, 7, 7, 1, 1, 1, 0, 0]))
    named.update(*batch(*dbs), group=["a", "a", "a", "b", "b", "b", "c", "c"])
    expected = mean_interval(together.items.numpy(), groups=torch.tensor([0, 0, 0, 1, 1, 1, 2, 2]).numpy())
    for metric in (together, named):
        told = numbers(metric.compute())
        assert (told["ci95_low"], told["ci95_high"]) == pytest.approx(expected)
        assert told["mean"] == numbers(alone.compute())["mean"]
    assert told["ci95_high"] > numbers(alone.compute())["ci95_high"]


def test_items_without_a_track_are_their_own() -> None:
    some, every = metrics.SNR(), metrics.SNR()
    some.update(*batch(0, 1, 2), group=["a", "a", "a"])
    some.update(*batch(20, 10, seed=1))
    every.update(*batch(0, 1, 2), group=torch.tensor([0, 0, 0]))
    every.update(*batch(20, 10, seed=1), group=torch.tensor([1, 2]))
    assert numbers(some.compute()) == numbers(every.compute())


def test_items_are_in_the_order_of_their_index_and_each_once() -> None:
    metric = metrics.SNR()
    metric.update(*batch(30, 10), index=torch.tensor([2, 0]))
    metric.update(*batch(20, 10, seed=1), index=torch.tensor([1, 0]))
    assert metric.items.tolist() == pytest.approx([10, 20, 30], abs=1e-4)
    assert metric.compute()["n"].item() == 3


@pytest.mark.parametrize("wrong", [torch.tensor([0, 1]), torch.tensor([0.0, 1, 2]), torch.tensor([0, -1, 2])])
def test_labels_that_are_none_are_refused(wrong: Tensor) -> None:
    with pytest.raises(ArgumentError, match="snr: index is .*; needed are 3 integers of 0 or more: index=torch.arange"):
        metrics.SNR().update(*batch(0, 10, 20), index=wrong)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(ArgumentError, match="Metric: got confidence="):
        Metric(SNR(), confidence=confidence)


def test_two_systems_are_compared_item_by_item() -> None:
    old, new = metrics.SNR(), metrics.SNR()
    old.update(*batch(0, 10, 20, 30, 40, 50, 60))
    est, ref = batch(1, 12, 21, 30.5, 41, 52, 60)
    ref[6] = 0
    new.update(est, ref)
    found = old.paired(new)
    assert found.difference == pytest.approx(7.5 / 6, abs=1e-4)
    assert found == paired(old.items.numpy(), new.items.numpy())
    assert (found.n, found.undefined, found.p) == (6, 1, 2**-5)
    assert new.paired(old).difference == -found.difference
    assert old.paired(new, comparisons=5).detectable > found.detectable


def test_two_systems_may_come_in_any_order_by_index_and_their_tracks_are_kept() -> None:
    old, new, tracks = metrics.SNR(), metrics.SNR(), torch.tensor([0, 0, 1, 1, 2, 3])
    old.update(*batch(0, 10, 20, 30, 40, 50), index=torch.arange(6), group=tracks)
    new.update(*batch(52, 41, 32, 21, 12, 1), index=torch.arange(6).flip(0), group=tracks.flip(0))
    found = old.paired(new)
    assert found.difference == pytest.approx(1.5, abs=1e-4)
    assert (found.n, found.groups, found.p) == (6, 4, 2**-3)


def test_what_cannot_be_paired_is_refused() -> None:
    one, other, third = metrics.SNR(), metrics.SNR(), metrics.SNR()
    one.update(*batch(0, 10, 20))
    other.update(*batch(0, 10))
    third.update(*batch(0, 10, 20), index=torch.arange(3))
    with pytest.raises(ArgumentError, match="got 3 and 2 items; needed are the same in both"):
        one.paired(other)
    with pytest.raises(ArgumentError, match="got 3 and 3 items that differ"):
        one.paired(third)
    with pytest.raises(ArgumentError, match="needed is one measure of two systems"):
        one.paired(metrics.MAE())


DBS = (0.0, 10, 11, 12, 47, 20, 33, 5, 18)
TRACKS = ["a", "a", "b", "b", "b", "c", "d", "e", "e"]


def scored(rows: list[int], *, index: bool) -> Metric:
    """The items of these rows of one data set, the third of which is silent, two at a time."""
    est, ref = batch(*DBS)
    ref[2] = 0
    metric = metrics.SNR()
    for part in (rows[start : start + 2] for start in range(0, len(rows), 2)):
        given = {"index": torch.tensor(part)} if index else {}
        metric.update(est[part].double(), ref[part].double(), group=[TRACKS[row] for row in part], **given)
    return metric


def told_by(metric: Metric) -> dict[str, object]:
    with metric.sync_context():
        items = metric.items.tolist()
    return {**numbers(metric.compute()), "items": items}


def by_rank(rank: int, folder: str) -> None:
    """One of two processes, each with half of the items."""
    rendezvous = (Path(folder) / "rendezvous").as_uri()
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    # As DistributedSampler deals them: in turns, and the first once more where they do not come out even.
    dealt = [*range(9), 0][rank::2]
    idle = scored([1, 3, 5] if rank == 0 else [], index=False)
    warnings.simplefilter("ignore", UserWarning)  # that this process had no batch for ``idle``
    halves = scored(list(range(9))[rank * 5 : rank * 5 + 5 - rank], index=False)
    told = {
        "halves": told_by(halves),
        "dealt": told_by(scored(dealt, index=True)),
        "unmarked": told_by(scored(dealt[: 5 - rank], index=False)),
        "idle": told_by(idle),
        "paired": halves.paired(halves),
        "own": halves.items.tolist(),
    }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(told), encoding="utf-8")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no distributed package")
def test_two_processes_with_half_of_the_items_each_tell_what_one_process_tells(tmp_path: Path) -> None:
    """Not about: mean, median, interval and counts to the last bit, and the items themselves."""
    spawn(by_rank, (str(tmp_path),), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2))
    alone, idle = (told_by(scored(rows, index=False)) for rows in (list(range(9)), [1, 3, 5]))
    assert (alone["n"], alone["undefined"]) == (9, 1)
    for told in (first, second):
        for name, expected in (("halves", alone), ("dealt", alone), ("idle", idle)):
            assert repr(told[name]) == repr(expected)  # repr, because nan is not nan
        unmarked = told["unmarked"]
        assert {**unmarked, "items": 0} == {**alone, "items": 0}
        assert repr(unmarked["items"]) == repr([alone["items"][row] for row in (0, 2, 4, 6, 8, 1, 3, 5, 7)])
        assert told["paired"][5:] == [8, 5, 1]
    assert (len(first["own"]), len(second["own"])) == (5, 4)
