"""Distances between sets: what is known of Gaussians in closed form, of no difference, and of sets too small."""

import copy
import json
import math
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
from scipy import linalg
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from percloss.errors import ArgumentError, ShapeError
from percloss.nets.random_convolutions import RandomConvolutions
from tests.signals import noise

torchmetrics = pytest.importorskip("torchmetrics", reason="a metric is a torchmetrics.Metric")

from percloss.distribution import (  # noqa: E402  (needs torchmetrics)
    FrechetDistance,
    KernelDistance,
    frechet,
    frechet_gaussian,
    frechet_limit,
)

both = pytest.mark.parametrize("kind", [FrechetDistance, KernelDistance])
QUICK = 20


def points(n: int, dims: int = 3, *, seed: int = 0) -> Tensor:
    return noise(n, dims, seed=seed, dtype=torch.float64)


def covariance(dims: int, seed: int) -> Tensor:
    root = noise(dims, dims, seed=seed, dtype=torch.float64)
    return root @ root.mT + 0.1 * torch.eye(dims, dtype=torch.float64)


def told(metric: FrechetDistance | KernelDistance) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def by_scipy(est: Tensor, ref: Tensor) -> float:
    """The formula as it stands, with a matrix square root."""
    est_cov, ref_cov = np.cov(est.numpy().T), np.cov(ref.numpy().T)
    root = linalg.sqrtm(est_cov @ ref_cov)
    shift = (est.mean(0) - ref.mean(0)).square().sum().item()
    return shift + float(np.trace(est_cov + ref_cov - 2 * root.real))


def test_it_is_the_formula_by_scipys_square_root_where_that_is_well_conditioned() -> None:
    est, ref = points(400, 12) @ covariance(12, 1), points(300, 12, seed=2) @ covariance(12, 3) + 1
    assert frechet(est, ref).item() == pytest.approx(by_scipy(est, ref), rel=1e-9)


def test_of_gaussians_along_the_axes_it_is_in_closed_form() -> None:
    """Commuting covariances: the squared differences of means and of standard deviations."""
    deviations = torch.tensor([[1.0, 2, 3], [2, 2, 0]])
    means = torch.tensor([[0.0, 0, 1], [0, 4, 1]])
    value = frechet_gaussian(means[0], deviations[0].square().diag(), means[1], deviations[1].square().diag())
    assert value.item() == pytest.approx(16 + 1 + 9)


def test_of_two_samples_it_is_that_of_their_moments() -> None:
    est, ref = points(60, 5), 2 * points(50, 5, seed=1) + 1
    moments = [(x.mean(0), x.mT.cov()) for x in (est, ref)]
    assert frechet(est, ref).item() == pytest.approx(frechet_gaussian(*moments[0], *moments[1]).item(), rel=1e-10)


def test_a_shift_counts_squared_and_a_scale_by_the_deviations() -> None:
    ref = points(500, 4)
    assert frechet(ref + 3, ref).item() == pytest.approx(4 * 9)
    centred = ref - ref.mean(0)
    assert frechet(3 * centred, centred).item() == pytest.approx(4 * ref.var(0).sum().item())


def test_with_fewer_items_than_dimensions_it_is_real_and_not_negative_and_0_for_equal_sets() -> None:
    """Where covariances are singular a matrix square root turns complex."""
    few = points(10, 64)
    assert 0 <= frechet(few, few).item() < 1e-12
    assert frechet(few, points(10, 64, seed=1)).item() > 0
    assert 0 <= frechet(few, few[torch.randperm(10, generator=torch.Generator().manual_seed(0))]).item() < 1e-12


def test_too_few_for_their_dimensions_are_warned_about() -> None:
    metric = FrechetDistance(n_resamples=QUICK)
    metric.update(points(20, 16), points(16, 16, seed=1))
    with pytest.warns(UserWarning, match="got 16 embeddings in 16 dimensions; .* type KernelDistance"):
        metric.compute()
    metric.reset()
    metric.update(points(17, 16), points(17, 16, seed=1))
    metric.compute()


def test_its_limit_is_nearer_to_the_truth_than_itself() -> None:
    """Equal Gaussians are 0 apart; by how much these are apart is due to the number of estimates."""
    for seed in range(3):
        est, ref = points(600, 10, seed=seed), points(6000, 10, seed=100 + seed)
        assert abs(frechet_limit(est, ref).item()) < 0.3 * frechet(est, ref).item()
    assert frechet_limit(est, ref).item() == frechet_limit(est, ref).item()


def test_its_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 60 intervals of 90 %, 54 are expected. The truth is one shift of 0.5 in four dimensions."""
    covered = 0
    for seed in range(60):
        metric = FrechetDistance(confidence=0.9, n_resamples=60)
        metric.update(points(150, 4, seed=seed) + 0.25, points(150, 4, seed=1000 + seed))
        found = told(metric)
        covered += found["ci90_low"] <= 0.25 <= found["ci90_high"]
    assert 46 <= covered <= 59


def test_the_kernel_distance_is_its_formula() -> None:
    est, ref = points(30), points(20, seed=1) + 0.5
    kernel = [(a @ b.mT / 3 + 1) ** 3 for a, b in ((est, est), (ref, ref), (est, ref))]
    alike = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    metric = KernelDistance(n_resamples=QUICK)
    metric.update(est, ref)
    assert told(metric)["distance"] == pytest.approx((sum(alike) - 2 * kernel[2].mean()).item(), rel=1e-12)


def test_the_kernel_distance_of_a_block_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = KernelDistance(n_resamples=QUICK)
    metric.update(points(50), points(40, seed=1))
    whole = told(metric)
    monkeypatch.setattr("percloss.distribution._ROWS", 7)
    assert told(copy.deepcopy(metric)) == pytest.approx(whole)


def test_the_kernel_distance_has_no_bias_and_an_interval_that_covers() -> None:
    """Equal sets are 0 apart on average, however small; four standard errors are allowed. And 54 of 60, of a shift."""
    values, covered = [], 0
    shift, dims = 0.5, 3
    truth = _cubed(shift**2 * dims, 2 * shift**2, dims) + _cubed(0, 0, dims) - 2 * _cubed(0, shift**2, dims)
    for seed in range(60):
        est, ref = points(12, dims, seed=seed), points(12, dims, seed=1000 + seed)
        metric = KernelDistance(n_resamples=QUICK)
        metric.update(est, ref)
        values.append(told(metric)["distance"])
        metric = KernelDistance(confidence=0.9, n_resamples=60)
        metric.update(points(300, dims, seed=seed) + shift, points(300, dims, seed=1000 + seed))
        found = told(metric)
        covered += found["ci90_low"] <= truth <= found["ci90_high"]
    mean, error = np.mean(values), np.std(values) / math.sqrt(60)
    assert abs(mean) < 4 * error
    assert min(values) < 0
    assert 44 <= covered <= 59


def _cubed(inner: float, shifts: float, dims: int) -> float:
    """E (x.y / d + 1)^3 of independent normal x, y of unit variance around m and n.

    x.y has the mean m.n = ``inner``, the variance d + m.m + n.n = d (1 + ``shifts``), and the third central moment
    6 m.n: multiply it out, odd moments vanish.
    """
    mean, variance, third = inner / dims + 1, (1 + shifts) / dims, 6 * inner / dims**3
    return mean**3 + 3 * mean * variance + third


@both
def test_more_apart_is_more_and_the_interval_is_around_it(kind: type) -> None:
    ref, values = points(200), []
    for shift in (0.1, 0.5, 2.0):
        metric = kind(n_resamples=QUICK)
        metric.update(points(200, seed=1) + shift, ref)
        values.append(told(metric))
    assert values[0]["distance"] < values[1]["distance"] < values[2]["distance"]
    assert values[2]["ci95_low"] < values[2]["distance"] < values[2]["ci95_high"]
    assert list(values[0]) == ["distance", "ci95_low", "ci95_high", "n_est", "n_ref", "undefined"]


@both
def test_sets_may_come_apart_and_differ_in_size(kind: type) -> None:
    est, ref = points(40), points(60, seed=1)
    whole, parts = kind(n_resamples=QUICK), kind(n_resamples=QUICK)
    whole.update(est, ref)
    parts.update(est=est[:30])
    parts.update(ref=ref)
    parts.update(est=est[30:])
    assert told(parts) == told(whole)
    assert (told(parts)["n_est"], told(parts)["n_ref"]) == (40, 60)


@both
def test_the_order_of_the_items_does_not_matter(kind: type) -> None:
    """Processes gather items by rank."""
    est, ref = points(40), points(40, seed=1)
    one, other = kind(n_resamples=QUICK), kind(n_resamples=QUICK)
    one.update(est, ref)
    other.update(est.flip(0), ref.roll(7, 0))
    assert told(one) == told(other)


@both
def test_an_item_that_is_not_finite_is_counted_and_its_neighbours_stand(kind: type) -> None:
    est, ref = points(40), points(40, seed=1)
    broken = est.clone()
    broken[5, 1] = math.nan
    one, other = kind(n_resamples=QUICK), kind(n_resamples=QUICK)
    one.update(broken, ref)
    other.update(torch.cat((est[:5], est[6:])), ref)
    assert {**told(one), "undefined": 0} == told(other)
    assert told(one)["undefined"] == 1


@both
def test_of_fewer_than_two_items_there_is_no_distance(kind: type) -> None:
    metric = kind()
    metric.update(points(1), points(20))
    assert math.isnan(told(metric)["distance"])
    metric.update(est=torch.full((3, 3), math.nan))
    assert math.isnan(told(metric)["ci95_low"])
    assert told(metric)["undefined"] == 3


@both
def test_frames_of_one_item_are_resampled_together(kind: type) -> None:
    """Ten frames that say nearly the same are no ten witnesses."""
    centres = points(20) + 3
    frames = centres[:, None] + 0.1 * noise(20, 10, 3, seed=2, dtype=torch.float64)
    whole, apart = kind(), kind()
    whole.update(frames, points(100, seed=1))
    apart.update(frames.flatten(0, 1), points(100, seed=1))
    width = [found["ci95_high"] - found["ci95_low"] for found in map(told, (whole, apart))]
    assert width[0] > 1.5 * width[1]
    assert (told(whole)["n_est"], told(apart)["n_est"]) == (20, 200)


@both
def test_a_mean_over_frames_is_one_embedding(kind: type) -> None:
    frames, ref = noise(20, 10, 3, dtype=torch.float64), points(50, seed=1)
    pooled, given = kind(pool="mean", n_resamples=QUICK), kind(n_resamples=QUICK)
    pooled.update(frames, ref)
    given.update(frames.mean(1), ref)
    assert told(pooled) == told(given)


@both
def test_through_a_net_it_is_the_distance_of_its_embeddings(kind: type) -> None:
    net = RandomConvolutions(16_000, scales=(0.002,), filters=4)
    est, ref = noise(6, 2, 400), 0.5 * noise(5, 1, 400, seed=1)
    heard, given = kind(net, n_resamples=QUICK), kind(n_resamples=QUICK)
    assert heard.layer == "scale1_2"
    heard.update(est, ref)
    for role, x in (("est", est), ("ref", ref)):
        maps = net(x.flatten(0, 1))["scale1_2"].mT
        given.update(**{role: maps.reshape(x.shape[0], -1, 4)})
    assert told(heard) == pytest.approx(told(given))
    first = kind(net, layer="scale1_1", n_resamples=QUICK)
    first.update(est, ref)
    assert told(first)["distance"] != told(heard)["distance"]


@both
def test_sounds_at_another_rate_are_resampled_to_the_nets(kind: type) -> None:
    net = RandomConvolutions(16_000, scales=(0.002,), filters=4)
    metric = kind(net, sample_rate=32_000, n_resamples=QUICK)
    metric.update(noise(4, 1, 800), noise(4, 1, 800, seed=1))
    direct = kind(net, n_resamples=QUICK)
    direct.update(metric.front(noise(4, 1, 800)), metric.front(noise(4, 1, 800, seed=1)))
    assert told(metric) == told(direct)


@both
def test_a_sound_that_is_not_finite_costs_itself_only(kind: type) -> None:
    net = RandomConvolutions(16_000, scales=(0.002,), filters=4)
    est, ref = noise(6, 1, 400), noise(5, 1, 400, seed=1)
    broken = est.clone()
    broken[2, 0, 9] = math.inf
    one, other = kind(net, n_resamples=QUICK), kind(net, n_resamples=QUICK)
    one.update(broken, ref)
    other.update(est[[0, 1, 3, 4, 5]], ref)
    assert {**told(one), "undefined": 0} == pytest.approx(told(other))
    assert told(one)["undefined"] == 1


def test_it_is_the_embeddings_that_count_and_not_who_sounds_like_whom() -> None:
    ref = points(50)
    assert frechet(ref.roll(1, 0), ref).item() == pytest.approx(0, abs=1e-12)


@both
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (noise(3), r"\(batch, dims\) or"),
        (torch.ones(4, 2, dtype=torch.int64), "floating point"),
        (noise(0, 3), "needed"),
        (noise(4, 5), "needed are 3"),
    ],
)
def test_embeddings_of_another_shape_are_refused(kind: type, given: Tensor, words: str) -> None:
    metric = kind()
    metric.update(points(4))
    with pytest.raises(ShapeError, match=words):
        metric.update(ref=given)


@both
@pytest.mark.parametrize("wrong", [{"pool": "max"}, {"confidence": 95}, {"n_resamples": 0}])
def test_settings_that_are_none_are_refused(kind: type, wrong: dict) -> None:
    with pytest.raises(Exception, match="needed are|Type-check"):  # beartype may be first, where it is at work
        kind(**wrong)


@both
def test_a_net_without_rate_or_layer_is_refused(kind: type) -> None:
    with pytest.raises(ArgumentError, match="got Linear .* without a net into update"):
        kind(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="one of \\('scale1_1'"):
        kind(RandomConvolutions(16_000), layer="conv9")


@pytest.mark.parametrize("function", [frechet, frechet_limit])
def test_sets_that_cannot_be_compared_are_refused(function) -> None:
    with pytest.raises(ShapeError, match="needed are"):
        function(points(20), points(20, 4))
    with pytest.raises(ShapeError, match="at least"):
        function(points(1), points(20))


def test_it_lives_as_a_metric_lives() -> None:
    metric = FrechetDistance(RandomConvolutions(16_000, scales=(0.002,), filters=4), n_resamples=QUICK)
    metric.update(noise(6, 1, 400), noise(5, 1, 400, seed=1))
    assert metric.state_dict() == {}
    assert metric.higher_is_better is False
    before = told(metric)
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        twin.update(est=noise(6, 1, 400, seed=3))
        assert told(twin)["n_est"] == 12
    assert told(metric) == before
    metric.reset()
    metric.update(noise(6, 1, 400), noise(5, 1, 400, seed=1))
    assert told(metric) == before


def test_two_distances_of_one_net_in_a_collection_listen_once() -> None:
    net = RandomConvolutions(16_000, scales=(0.002,), filters=4)
    alone = [kind(net, n_resamples=QUICK) for kind in (FrechetDistance, KernelDistance)]
    collection = torchmetrics.MetricCollection([copy.deepcopy(metric) for metric in alone])
    for seed in (0, 10):
        batch = noise(6, 1, 400, seed=seed), 0.5 * noise(5, 1, 400, seed=seed + 1)
        collection.update(*batch)
        for metric in alone:
            metric.update(*batch)
    found = {name: value.item() for name, value in collection.compute().items()}
    for metric in alone:
        assert found[f"{type(metric).__name__}_distance"] == told(metric)["distance"]
    assert len(collection.compute_groups) == 1


def by_rank(rank: int, folder: str) -> None:
    """One of two processes: the first has two thirds of the estimates, the second all references."""
    rendezvous = (Path(folder) / "rendezvous").as_uri()
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    warnings.simplefilter("error")
    found = []
    for kind in (FrechetDistance, KernelDistance):
        metric, idle = kind(n_resamples=QUICK), kind(n_resamples=QUICK)
        est, ref = points(30), points(25, seed=1)
        metric.update(est=est[rank::2])
        if rank == 1:
            metric.update(ref=ref)
            idle.update(est, ref)
        found.append(told(metric))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that one process had no batch
            found.append(told(idle))
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no distributed package")
def test_two_processes_tell_what_one_process_tells(tmp_path: Path) -> None:
    spawn(by_rank, (str(tmp_path),), nprocs=2)
    alone = []
    for kind in (FrechetDistance, KernelDistance):
        metric = kind(n_resamples=QUICK)
        metric.update(points(30), points(25, seed=1))
        alone += [told(metric)] * 2
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) == alone
