"""What the tests listen to: seeded noise, tones, and real speech from inside the package."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from percloss.spec import Spec

RATE = 16_000

CLIPS = Path(__file__).resolve().parent.parent / "percloss" / "data" / "clips"


def rate_of(spec: Spec) -> int:
    """``RATE``, or a rate that the measure is defined at."""
    return RATE if spec.sample_rates is None or RATE in spec.sample_rates else max(spec.sample_rates)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """White Gaussian noise of unit variance."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def tone(hz: float, *, db: float = 0.0, phase: float = 0.0, time: int = RATE) -> Tensor:
    """A sine in float64, (1, 1, time); 0 dB is an amplitude of 1, the phase is in radians."""
    samples = torch.arange(time, dtype=torch.float64) / RATE
    return (10 ** (db / 20) * torch.sin(2 * math.pi * hz * samples + phase))[None, None]


def speech(name: str = "librivox_0870", *, seconds: float = 3.0) -> Tensor:
    """Real speech at ``RATE``, (1, 1, time)."""
    soundfile = pytest.importorskip("soundfile", reason="soundfile reads the embedded speech")
    samples, rate = soundfile.read(CLIPS / "speech" / f"{name}_16k.flac", int(seconds * RATE), dtype="float32")
    assert rate == RATE
    assert len(samples) == int(seconds * RATE)
    return torch.from_numpy(samples)[None, None]


def at_snr(ref: Tensor, db: float, *, seed: int = 1) -> Tensor:
    """The reference with white noise at exactly this ratio, per item and channel."""
    white = noise(*ref.shape, seed=seed, dtype=ref.dtype)
    ratio = ref.square().sum(-1, keepdim=True) / white.square().sum(-1, keepdim=True)
    return ref + 10 ** (-db / 20) * ratio.sqrt() * white
