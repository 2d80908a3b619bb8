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
from percloss.uncertainty import mean_interval
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
    assert torch.equal(metric.items, expected)


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


def by_rank(rank: int, folder: str) -> None:
    """One of two processes: the first scores three items in two batches, the second one item, which is silent."""
    rendezvous = (Path(folder) / "rendezvous").as_uri()
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    metric, idle = metrics.SNR(), metrics.SNR()
    if rank == 0:
        metric.update(*batch(10, 20))
        metric.update(*batch(60, seed=1))
        idle.update(*batch(5))
    else:
        est, ref = batch(40)
        metric.update(est, 0 * ref)
        warnings.simplefilter("ignore", UserWarning)  # that this process had no batch for ``idle``
    told = {"all": numbers(metric.compute()), "own": metric.items.tolist(), "idle": numbers(idle.compute())}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(told), encoding="utf-8")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no distributed package")
def test_two_processes_gather_their_items(tmp_path: Path) -> None:
    spawn(by_rank, (str(tmp_path),), nprocs=2)
    told = [json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    for one in told:
        assert (one["all"]["n"], one["all"]["undefined"]) == (4, 1)
        assert one["all"]["mean"] == pytest.approx(30, abs=1e-4)
        assert one["all"]["median"] == pytest.approx(20, abs=1e-4)
        assert (one["idle"]["n"], one["idle"]["mean"]) == (1, pytest.approx(5, abs=1e-4))
    assert [len(one["own"]) for one in told] == [3, 1]
    assert told[0]["all"]["ci95_high"] == told[1]["all"]["ci95_high"]
