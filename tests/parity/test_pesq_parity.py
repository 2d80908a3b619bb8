"""The PESQ-like score against the package pesq, which runs ITU's code."""

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss.measures.pesq import DifferentiablePESQ, PESQDisturbance
from tests.signals import RATE, at_snr, speech

pesq = pytest.importorskip("pesq", reason="PESQ is computed by pesq")

CLIPS = ("librivox_0880", "librivox_0920")
# What float32 and a filter without a time loop leave open; benchmarks/parity/pesq.py has more speech, and the outliers.
CLOSE = 0.01


def lost(ref: Tensor, part: float) -> Tensor:
    """Packets of 20 ms that are silence."""
    packets = torch.rand(-(-ref.shape[-1] // 320), generator=torch.Generator().manual_seed(5)) >= part
    return ref * packets.repeat_interleave(320)[: ref.shape[-1]]


def low_passed(ref: Tensor, hertz: float) -> Tensor:
    """Nothing above, and no phase."""
    spectrum = torch.fft.rfft(ref)
    spectrum[..., int(hertz / RATE * ref.shape[-1]) :] = 0
    return torch.fft.irfft(spectrum, ref.shape[-1])


DEGRADATIONS = {
    "noise, 20 dB": lambda ref: at_snr(ref, 20),
    "noise, 5 dB": lambda ref: at_snr(ref, 5),
    "clipping": lambda ref: ref.clamp(-0.2 * ref.abs().max().item(), 0.2 * ref.abs().max().item()),
    "packet loss": lambda ref: lost(ref, 0.05),
    "low-pass": lambda ref: low_passed(ref, 2000),
    "later by 10 ms": lambda ref: torch.nn.functional.pad(at_snr(ref, 25), (160, -160)),
    "earlier by 100 ms": lambda ref: torch.nn.functional.pad(at_snr(ref, 25), (-1600, 1600)),
}


def by_package(est: Tensor, ref: Tensor, mode: str, rate: int = RATE) -> float:
    """What a user of the package gets."""
    return pesq.pesq(rate, ref.numpy().ravel(), est.numpy().ravel(), mode)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("mode", ["wb", "nb"])
def test_it_scores_as_the_package(mode: str, name: str, clip: str) -> None:
    ref = speech(clip, seconds=2.9)
    est = DEGRADATIONS[name](ref).contiguous()
    ours = DifferentiablePESQ(RATE, mode=mode)(est, ref).item()
    assert ours == pytest.approx(by_package(est, ref, mode), abs=CLOSE)


def test_it_scores_as_the_package_at_8_khz() -> None:
    ref = speech(seconds=5.0)[..., ::2].contiguous()
    est = at_snr(ref, 15)
    assert DifferentiablePESQ(8000)(est, ref).item() == pytest.approx(by_package(est, ref, "nb", 8000), abs=CLOSE)


@pytest.mark.parametrize(("mode", "perfect"), [("wb", 4.6438885), ("nb", 4.5486383)])
def test_an_estimate_that_is_the_reference_scores_as_the_package(mode: str, perfect: float) -> None:
    ref = speech(seconds=2.5)
    assert by_package(ref, ref, mode) == pytest.approx(perfect, abs=1e-5)
    assert DifferentiablePESQ(RATE, mode=mode)(ref, ref).item() == pytest.approx(perfect, abs=1e-5)


@pytest.mark.slow
def test_more_than_16_seconds_are_weighted_as_by_the_package() -> None:
    ref = torch.cat([speech(f"librivox_0{number}", seconds=2.9) for number in (870, 880, 890, 920, 930)] * 2, -1)
    est = torch.cat((at_snr(ref[..., : 12 * RATE], 25), at_snr(ref[..., 12 * RATE :], 5)), -1)
    ours = DifferentiablePESQ(RATE, align="none")(est, ref).item()
    assert ours == pytest.approx(by_package(est, ref, "wb"), abs=0.02)


@pytest.mark.parametrize("make", [DifferentiablePESQ, PESQDisturbance])
def test_climbing_its_gradient_raises_the_packages_score(make: type) -> None:
    ref = speech("librivox_0880", seconds=2.5)
    est = at_snr(ref, 10)
    before = by_package(est, ref, "wb")
    measure = make(RATE, align="none")
    leaf = est.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        (measure.spec.sign * measure(leaf, ref).sum()).backward()
        optimizer.step()
    after = by_package(leaf.detach(), ref, "wb")
    assert after > before + 0.3


def test_listening_tests_recordings_score_as_by_the_package(data_root: object) -> None:
    soundfile = pytest.importorskip("soundfile")
    folder = data_root / "p835_reference_conditions" / "audio" / "wideband16k"
    for condition in ("c02_f1", "c06_m2", "c09_f2"):
        est, ref = (
            soundfile.read(folder / f"{name}.flac", dtype="float32")[0] for name in (condition, f"c00_{condition[4:]}")
        )
        time = min(len(est), len(ref))
        est, ref = (torch.from_numpy(np.ascontiguousarray(x[:time]))[None, None] for x in (est, ref))
        ours = DifferentiablePESQ(RATE)(est, ref).item()
        assert ours == pytest.approx(by_package(est, ref, "wb"), abs=0.01)
