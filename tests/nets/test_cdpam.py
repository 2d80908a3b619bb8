"""CDPAM: its architecture on a stand-in, the package's numbers, and a weights file that cannot run anything."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from percloss import Loss
from percloss.errors import ArgumentError, MissingExtraError
from percloss.measures.features import CDPAMDistance
from percloss.nets import cdpam
from percloss.nets.cdpam import CDPAM
from percloss.testing import RULES, check_measure
from tests.nets.common import refuses_what_is_no_waveform, uninstall
from tests.nets.test_crepe import hissing
from tests.signals import noise

COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
TRIED = [name for name in RULES if name != "is_documented" and (COMPILE or name != "compiles")]
FILE = "scratchJNDdefault_best_model.pth"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The architecture with a sixteenth of the channels, and a file of such weights as ``torch.save`` wrote in 2020."""
    monkeypatch.setattr(cdpam, "_CONVS", tuple(size // 16 for size in cdpam._CONVS))
    monkeypatch.setattr(cdpam, "_HEAD", (32, 24, 16, 8, 4))
    net = CDPAM(generator=torch.Generator().manual_seed(1))
    for norm in net.norms:
        norm.running_mean.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    # As trained weights do, bring 16-bit numbers to the size of one at once.
    norm = net.norms[0]
    norm.running_var.fill_(1e6)
    torch.save({"state": published(net), "optim": {"lr": 1e-4}}, tmp_path / FILE, _use_new_zipfile_serialization=False)
    return tmp_path / FILE


def published(net: CDPAM) -> dict[str, Tensor]:
    """The weights under the names of the package."""
    state = {}
    for key, value in net.state_dict().items():
        family, number, rest = key.split(".", 2)
        if family == "head":
            name = (
                f"chan_w.{number}" if rest == "channel_weight" else f"convs.{number}.0.{rest.removeprefix('linear.')}"
            )
            state[f"model_dist.{name}"] = value
        else:
            state[f"base_encoder.{'encoder' if family == 'convs' else 'ebatch'}.{number}.{rest}"] = value
    state["model_classif.MLP.0.weight"] = torch.zeros(16, 1)
    return state


def plain(state: dict[str, Tensor], x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Every convolution's activations and the mean over time, written down from the paper's figure, for (time,)."""
    h = 32_768 * x[None, None]
    found = []
    for number in range(16):
        conv, norm = (f"base_encoder.{part}.{number}." for part in ("encoder", "ebatch"))
        h = F.conv1d(F.pad(h, (7, 7)), state[conv + "weight"], state[conv + "bias"])
        h = (h - state[norm + "running_mean"][:, None]) / (state[norm + "running_var"][:, None] + 1e-5).sqrt()
        h = h * state[norm + "weight"][:, None] + state[norm + "bias"][:, None]
        h = torch.where(h > 0, h, 0.1 * h)
        found.append(h[0])
        if number in (3, 7, 11, 15):
            h = h[..., ::2]
    return found, h[0].mean(-1)


def apart(state: dict[str, Tensor], est: Tensor, ref: Tensor) -> float:
    """The distance of two embeddings."""
    total = 0.0
    a, b = (mean[: len(mean) // 2] / mean[: len(mean) // 2].norm() for mean in (est, ref))
    for number in range(4):
        weight, bias = (state[f"model_dist.convs.{number}.0.{name}"] for name in ("weight", "bias"))
        a, b = weight @ a + bias, weight @ b + bias
        if number < 3:
            a, b = (torch.where(x > 0, x, 0.01 * x) for x in (a, b))
        total += (state[f"model_dist.chan_w.{number}"] * (a - b)).abs().sum().item()
    return total


@torch.no_grad()
def test_the_net_and_the_distance_are_the_published_ones(small: Path) -> None:
    state = torch.load(small, weights_only=False)["state"]
    est, ref = 0.1 * noise(2, 700)
    (activations, one), (_, other) = plain(state, est), plain(state, ref)
    net = CDPAM.pretrained(small)
    assert not net.training
    found = net(est[None])
    assert tuple(found) == CDPAM.layers
    for number, expected in enumerate(activations, start=1):
        torch.testing.assert_close(found[f"conv{number}"][0], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.cat([found["acoustics"][0], found["content"][0]]), one, rtol=1e-4, atol=1e-5)
    value = CDPAMDistance(22_050, small)(est[None, None], ref[None, None]).item()
    assert value == pytest.approx(apart(state, one, other), rel=1e-4)


@pytest.mark.parametrize("rule", TRIED)
def test_the_distance_keeps_the_contract(small: Path, rule: str) -> None:
    check_measure(CDPAMDistance(22_050, small), sample_rate=22_050, rules=[rule])


def test_it_resamples_to_the_rate_it_was_trained_at(small: Path) -> None:
    """A buzz below 1.6 kHz is the same sound at either rate."""
    values = []
    for rate in (22_050, 44_100):
        ref = hissing(rate, 0.2)[1][None]
        values.append(CDPAMDistance(rate, small)(0.5 * ref, ref).item())
    assert values[1] == pytest.approx(values[0], rel=0.01)


def test_it_can_be_trained_with(small: Path) -> None:
    est = (0.1 * noise(2, 1, 2_000)).requires_grad_()
    Loss(CDPAMDistance(22_050, small))(est, 0.1 * noise(2, 1, 2_000, seed=1)).backward()
    assert (est.grad.abs().amax(-1) > 0).all()


def test_it_refuses_what_is_no_waveform(small: Path) -> None:
    refuses_what_is_no_waveform(CDPAM())


class Runs:
    """What a malicious file would hold."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return Path.touch, (self.trace,)


def test_a_file_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    torch.save({"state": Runs(trace)}, tmp_path / FILE, _use_new_zipfile_serialization=False)
    with pytest.raises(ArgumentError, match="is no part of a tensor"):
        CDPAM.pretrained(tmp_path / FILE)
    assert not trace.exists()


def test_what_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ArgumentError, match="cannot be read as CDPAM's weights"):
        CDPAM.pretrained(tmp_path / "text.pth")
    torch.save({"state": {"a": torch.zeros(1)}}, tmp_path / FILE, _use_new_zipfile_serialization=False)
    with pytest.raises(ArgumentError, match="not this net's"):
        CDPAM.pretrained(tmp_path / FILE)
    with pytest.raises(ArgumentError, match="no file"):
        CDPAM.pretrained(tmp_path / "none.pth")
    uninstall(monkeypatch)
    with pytest.raises(MissingExtraError, match="pip install --no-deps cdpam"):
        CDPAMDistance(16_000)


def with_weights() -> Path | None:
    """The file in the folder that PERCLOSS_WEIGHTS names; none is the one in the installed package."""
    folder = os.environ.get("PERCLOSS_WEIGHTS")
    path = None if folder is None else Path(folder) / FILE
    try:
        CDPAM.pretrained(path)
    except (MissingExtraError, ArgumentError):
        pytest.skip("the weights are in cdpam: pip install --no-deps cdpam")
    return path


@torch.no_grad()
def test_it_has_the_numbers_of_the_package() -> None:
    """cdpam 0.0.6 on torch 2.13.0, run on 23 November 2026 with ``weights_only=False`` put into its loader.

    On six pairs of half a second to two seconds the two differed by at most 2e-7 of the value. Its ``load_audio``
    rounds to 16 bits, which we do not, for the gradient: that moves the value by 1e-4 of itself.
    """
    measure = CDPAMDistance(22_050, with_weights())
    est, ref = hissing(22_050, 0.1)
    golden = {
        "with a hiss": (est, 0.61958963),
        "at a quarter of the level": (0.25 * ref, 0.34741497),
        "clipped": ((3 * ref).clamp(-0.2, 0.2), 0.39147806),
    }
    for what, (x, value) in golden.items():
        assert measure(x[None], ref[None]).item() == pytest.approx(value, rel=1e-5), what
    assert measure(ref[None], ref[None]).item() == 0
    assert measure(ref[None], est[None]).item() == pytest.approx(0.61958963, rel=1e-5)
