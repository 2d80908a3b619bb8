"""Least squares on delayed copies: every rung of the ladder finds the filter that the normal equations define."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss.dsp import toeplitz
from percloss.dsp.assignment import assign
from percloss.dsp.toeplitz import RUNGS, blocks, correlations, dense, solve
from tests.signals import noise, speech

TAPS = 32


def delays(x: Tensor, taps: int) -> Tensor:
    """All delayed copies as columns, (time + taps - 1, n taps), from signals of (n, time)."""
    rows = [torch.nn.functional.pad(one, (lag, taps - 1 - lag)) for one in x.double() for lag in range(taps)]
    return torch.stack(rows, 1)


def wanted(x: Tensor, y: Tensor, taps: int) -> Tensor:
    """By numpy's least squares on those columns, (n, m, taps)."""
    target = torch.nn.functional.pad(y.double(), (0, taps - 1)).T
    solution = np.linalg.lstsq(delays(x, taps).numpy(), target.numpy(), rcond=None)[0]
    return torch.from_numpy(solution).unflatten(0, (x.shape[0], taps)).transpose(1, 2)


def coloured(*shape: int, seed: int = 0) -> Tensor:
    """Noise with a spectrum that falls by 12 dB an octave, made to ring."""
    x = noise(*shape, seed=seed, dtype=torch.float64)
    kernel = torch.exp(-torch.arange(64, dtype=torch.float64) / 12).view(1, 1, -1)
    flat = torch.nn.functional.conv1d(x.reshape(-1, 1, shape[-1]), kernel, padding=63)[..., : shape[-1]]
    return flat.reshape(shape)


@pytest.mark.parametrize("time", [40, 8192, 20_000])
def test_correlations_are_sums_of_products(time: int) -> None:
    x, y = noise(2, 3, time), noise(2, 2, time, seed=1)
    auto, cross = correlations(x, y, taps=TAPS)[:2]
    for found, other in ((auto, x), (cross, y)):
        for lag in (0, 1, 17, TAPS - 1):
            expected = torch.einsum("bkt,bmt->bkm", x[..., : time - lag].double(), other[..., lag:].double())
            torch.testing.assert_close(found[..., lag], expected, rtol=0, atol=1e-9 * time)


@pytest.mark.parametrize("begin", [-5, 0, 7, 40])
def test_blocks_continue_into_silence(begin: int) -> None:
    x = noise(2, 20)
    padded = torch.nn.functional.pad(x, (5, 100))
    expected = torch.stack([padded[:, 5 + begin + 4 * i : 5 + begin + 4 * i + 6] for i in range(3)], 1)
    assert torch.equal(blocks(x, 6, 4, begin, 3), expected)


@pytest.mark.parametrize("solver", ["auto", "cholesky", "lu"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (4, 4)])
def test_every_solver_finds_the_least_squares_filter(solver: toeplitz.Solver, n: int, m: int) -> None:
    x, y = coloured(2, n, 3000), noise(2, m, 3000, seed=1)
    found = solve(*correlations(x, y, taps=TAPS)[:2], solver=solver)
    for item in range(2):
        torch.testing.assert_close(found.filters[item], wanted(x[item], y[item], TAPS), rtol=1e-6, atol=1e-9)
    assert {RUNGS[int(rung)] for rung in found.rung} == {{"auto": "levinson"}.get(solver, solver)}


@pytest.mark.parametrize("taps", [1, 2, 7, 48])
def test_any_number_of_taps_will_do(taps: int) -> None:
    """Levinson's recursion takes several at a time where their number allows it."""
    x, y = noise(1, 3, 500), noise(1, 2, 500, seed=1)
    found = solve(*correlations(x, y, taps=taps)[:2]).filters[0]
    torch.testing.assert_close(found, wanted(x[0], y[0], taps), rtol=1e-8, atol=1e-11)


def test_levinsons_inverse_is_the_inverse() -> None:
    auto, _ = correlations(noise(1, 2, 400), noise(1, 2, 400), taps=8)[:2]
    inverse = toeplitz._Levinson(auto)
    unit = torch.eye(16, dtype=torch.float64)[None]
    columns = toeplitz._columns(inverse(toeplitz._rows(unit, 2)))
    torch.testing.assert_close(columns[0] @ dense(auto)[0], unit[0], rtol=0, atol=1e-9)


def test_the_product_is_that_of_the_matrix() -> None:
    auto, cross = correlations(coloured(1, 3, 900), noise(1, 2, 900), taps=TAPS)[:2]
    product = toeplitz._columns(toeplitz._Product(auto)(cross))
    torch.testing.assert_close(product, dense(auto) @ toeplitz._columns(cross), rtol=1e-10, atol=1e-4)


def test_filters_of_real_speech_are_right_to_their_condition() -> None:
    x = speech(seconds=1.0)
    y = torch.nn.functional.conv1d(x, noise(1, 1, 40, seed=3), padding=39)[..., : x.shape[-1]]
    found = solve(*correlations(x, y, taps=512)[:2])
    assert RUNGS[int(found.rung)] == "levinson"
    assert 1e4 < float(found.condition) < 1e11
    assert float(found.residual) < 1e-18
    columns = delays(x[0], 512)
    residual = torch.nn.functional.pad(y[0, 0].double(), (0, 511)) - columns @ found.filters[0, 0, 0]
    best = torch.nn.functional.pad(y.double(), (0, 511))[0, 0] - columns @ wanted(x[0], y[0], 512)[0, 0]
    assert float(residual.square().sum() / best.square().sum()) == pytest.approx(1, abs=1e-9)


def test_proportional_signals_count_once() -> None:
    x = coloured(1, 1, 4000)
    y = noise(1, 1, 4000, seed=1)
    alone = solve(*correlations(x, y, taps=TAPS)[:2])
    twice = solve(*correlations(torch.cat((x, -0.3 * x), 1), y, taps=TAPS)[:2])
    assert int(twice.rank) == 1
    projected = delays(torch.cat((x, -0.3 * x), 1)[0], TAPS) @ twice.filters[0, :, 0].flatten()
    torch.testing.assert_close(projected, delays(x[0], TAPS) @ alone.filters[0, :, 0].flatten(), rtol=0, atol=1e-8)


def test_a_delayed_copy_makes_the_matrix_singular_and_the_projection_stays() -> None:
    """Its filters are not unique, what they make is."""
    x = noise(1, 1, 2000, dtype=torch.float64)
    x[..., -TAPS:] = 0
    both = torch.cat((x, x.roll(3, -1)), 1)
    y = noise(1, 1, 2000, seed=1)
    found = solve(*correlations(both, y, taps=TAPS)[:2])
    longer = solve(*correlations(x, y, taps=TAPS + 3)[:2])
    projected = delays(both[0], TAPS) @ found.filters[0, :, 0].flatten()
    expected = delays(x[0], TAPS + 3) @ longer.filters[0, 0, 0]
    assert RUNGS[int(found.rung)] in ("levinson", "cholesky", "regularised")
    error = projected.square().sum() / expected[: len(projected)].square().sum() - 1
    assert abs(float(error)) < 1e-6


def test_a_silent_item_asks_nothing_and_changes_no_neighbour() -> None:
    x, y = coloured(3, 2, 3000), noise(3, 2, 3000, seed=1)
    before = solve(*correlations(x, y, taps=TAPS)[:2])
    x[1] = 0
    after = solve(*correlations(x, y, taps=TAPS)[:2])
    assert not after.filters[1].any()
    assert RUNGS[int(after.rung[1])] == "none"
    torch.testing.assert_close(after.filters[[0, 2]], before.filters[[0, 2]], rtol=1e-12, atol=1e-15)


def test_an_item_without_a_solution_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    auto, cross = correlations(coloured(2, 2, 3000), noise(2, 2, 3000, seed=1), taps=TAPS)[:2]
    before = solve(auto, cross)

    def refusing(rung: Any) -> Any:
        """The rung without an answer for the last item it is given."""

        def climb(auto: Tensor, cross: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            filters, error, condition = rung(auto, cross)
            error[-1] = math.nan
            return filters, error, condition

        return climb

    monkeypatch.setattr(toeplitz, "_LADDER", tuple(map(refusing, toeplitz._LADDER)))
    after = solve(auto, cross)
    assert [RUNGS[int(rung)] for rung in after.rung] == ["levinson", "failed"]
    assert after.filters[1].isnan().all()
    assert torch.equal(after.filters[0], before.filters[0])


def test_where_levinson_fails_the_ladder_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    auto, cross = correlations(coloured(1, 2, 3000), noise(1, 2, 3000, seed=1), taps=TAPS)[:2]
    expected = solve(auto, cross)
    monkeypatch.setattr(toeplitz, "_recursion", lambda falling, zero, *_: torch.full((1, 2, 8, 8), math.nan).double())
    found = solve(auto, cross)
    assert RUNGS[int(found.rung)] == "cholesky"
    torch.testing.assert_close(found.filters, expected.filters, rtol=1e-6, atol=1e-9)
    assert float(found.condition) == pytest.approx(float(expected.condition), rel=0.5)


def test_the_condition_is_near_the_ratio_of_eigenvalues() -> None:
    x = coloured(1, 1, 5000)
    auto, cross = correlations(x, noise(1, 1, 5000, seed=1), taps=TAPS)[:2]
    values = torch.linalg.eigvalsh(dense(auto)[0])
    assert float(solve(auto, cross).condition) == pytest.approx(float(values[-1] / values[0]), rel=0.5)


@pytest.mark.parametrize("sources", [2, 4, 7])
def test_the_assignment_of_the_largest_total_is_found(sources: int) -> None:
    """Seven are given to scipy, fewer are tried in every order."""
    order = torch.randperm(sources, generator=torch.Generator().manual_seed(1))
    values = 0.1 * noise(1, sources, sources).abs()
    values[0, order, torch.arange(sources)] += 5
    assert torch.equal(assign(values)[0], order)


def test_a_pair_without_a_value_counts_as_nothing() -> None:
    values = torch.tensor([[[math.nan, 1.0], [1.0, math.nan]]])
    assert assign(values).tolist() == [[1, 0]]
