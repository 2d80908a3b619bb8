"""Contenders for benchmarks/speed/metrics.py: STOI, ESTOI and PESQ with a gradient, of (batch, 1, time) at 16 kHz."""

from collections.abc import Callable

import pesq
import pystoi
import torch
from torch import Tensor, nn

import percloss

RATE = 16_000
Comparison = Callable[[Tensor, Tensor], object]


class Value(nn.Module):
    """A measure without a graph."""

    def __init__(self, measure: percloss.Measure) -> None:
        super().__init__()
        self.measure = measure

    def forward(self, est: Tensor, ref: Tensor) -> Tensor:
        """Its values."""
        with torch.no_grad():
            values: Tensor = self.measure(est, ref)
        return values


def by_package(*, extended: bool) -> Comparison:
    """pystoi, item by item."""

    def compare(est: Tensor, ref: Tensor) -> object:
        pairs = zip(est.flatten(0, 1).cpu().numpy(), ref.flatten(0, 1).cpu().numpy(), strict=True)
        return [pystoi.stoi(r, e, RATE, extended=extended) for e, r in pairs]

    return compare


def by_pesq(est: Tensor, ref: Tensor) -> object:
    """The package pesq in wide band, item by item, with the time alignment that it always makes."""
    pairs = zip(est.flatten(0, 1).cpu().numpy(), ref.flatten(0, 1).cpu().numpy(), strict=True)
    return [pesq.pesq(RATE, r, e, "wb") for e, r in pairs]


def groups() -> dict[str, dict[str, Comparison]]:
    """Contenders by what they compute; the first of each is the peer."""
    return {
        "STOI": {"pystoi 0.4.1": by_package(extended=False), "percloss": Value(percloss.STOI(RATE))},
        "ESTOI": {"pystoi 0.4.1": by_package(extended=True), "percloss": Value(percloss.ESTOI(RATE))},
        "PESQ, wide band": {
            "pesq 0.0.4": by_pesq,
            "percloss, disturbance as a loss": Value(percloss.PESQDisturbance(RATE)),
            "percloss, score, aligned": Value(percloss.DifferentiablePESQ(RATE)),
        },
    }
