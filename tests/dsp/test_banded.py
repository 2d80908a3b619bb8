"""Cutting a matrix into blocks changes the cost of a product and not the product."""

import pytest
import torch
from torch import Tensor

from percloss.dsp.banded import OVERHEAD, blocks, product
from percloss.dsp.filterbanks import triangular_bank
from percloss.dsp.scales import SCALES
from percloss.frontends import Bank


def bank(n_fft: int = 2048, n_bands: int = 80) -> Tensor:
    return triangular_bank(SCALES["mel_slaney"], sample_rate=44_100, n_fft=n_fft, n_bands=n_bands, norm="none")


def gaps() -> Tensor:
    matrix = bank(256, 12)
    matrix[[0, 5, 11]] = 0
    return matrix


MATRICES = {
    "a bank": bank(),
    "its transpose": bank().mT,
    "rows without entries": gaps(),
    "nothing at all": torch.zeros(3, 7),
    "everything": torch.ones(5, 9),
    "rows in no order": bank(256, 12).flip(0),
    "one row": torch.ones(1, 4),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_product_of_blocks_is_the_product(name: str) -> None:
    matrix = MATRICES[name].double()
    x = torch.randn(2, 3, matrix.shape[1], 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(product(matrix, blocks(matrix), x), matrix @ x, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", MATRICES)
def test_every_row_is_in_one_block(name: str) -> None:
    rows = [row for part in blocks(MATRICES[name]).parts for row in range(part.rows.start, part.rows.stop)]
    assert rows == list(range(len(MATRICES[name])))


def test_blocks_of_a_mel_bank_cost_a_fraction_of_the_whole() -> None:
    matrix = bank()
    parts = blocks(matrix).parts
    cost = sum((p.rows.stop - p.rows.start) * (p.columns.stop - p.columns.start) + OVERHEAD for p in parts)
    assert cost < matrix.numel() / 5


def test_the_adjoint_of_a_bank_is_its_derivative() -> None:
    front = Bank(bank())
    x = torch.rand(1, 2, 1025, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    bands = front(x)
    weights = torch.randn(bands.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (wanted,) = torch.autograd.grad((weights * bands).sum(), x)
    torch.testing.assert_close(front.adjoint(weights), wanted, rtol=1e-12, atol=1e-14)
