"""PESQ and STOI against the packages that compute them: no resampling, no level, no order changed on the way."""

from pathlib import Path

import numpy as np
import pytest
import torch

from percloss import create
from tests.signals import RATE, at_snr, speech

# Ours comes back in float32.
EXACT = 1e-6


def by_package(name: str, est: np.ndarray, ref: np.ndarray, rate: int = RATE) -> float:
    """What a user of the reference package gets."""
    if name.startswith("pesq"):
        pesq = pytest.importorskip("pesq", reason="PESQ is computed by pesq")
        return pesq.pesq(rate, ref, est, name[-2:])
    pystoi = pytest.importorskip("pystoi", reason="STOI is computed by pystoi")
    np.random.seed(0)  # noqa: NPY002  (pystoi dithers ESTOI from it)
    return pystoi.stoi(ref, est, rate, extended=name == "estoi")


@pytest.mark.parametrize("name", ["pesq_nb", "pesq_wb", "stoi", "estoi"])
def test_embedded_speech_in_noise_scores_as_by_the_package(name: str) -> None:
    ref = torch.cat([speech(clip, seconds=2.5) for clip in ("librivox_0870", "librivox_0920")])
    est = torch.stack([at_snr(ref[0], 20), at_snr(ref[1], 3)])
    expected = [[by_package(name, e[0], r[0])] for e, r in zip(est.numpy(), ref.numpy(), strict=True)]
    assert create(name, sample_rate=RATE)(est, ref).tolist() == [pytest.approx(row, abs=EXACT) for row in expected]


@pytest.mark.parametrize("name", ["pesq_nb", "stoi", "estoi"])
def test_at_8_khz_it_is_still_the_package(name: str) -> None:
    ref = speech(seconds=5)[..., ::2].contiguous()
    est = at_snr(ref, 10)
    expected = by_package(name, est.numpy().ravel(), ref.numpy().ravel(), 8000)
    assert create(name, sample_rate=8000)(est, ref).item() == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("name", ["pesq_nb", "pesq_wb", "stoi", "estoi"])
def test_a_listening_tests_recordings_score_as_by_the_package(name: str, data_root: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    folder = data_root / "p835_reference_conditions" / "audio" / "wideband16k"
    talkers = ["f1", "m2"]
    ref = [soundfile.read(folder / f"c00_{talker}.flac", dtype="float32")[0] for talker in talkers]
    est = [soundfile.read(folder / f"c05_{talker}.flac", dtype="float32")[0] for talker in talkers]
    time = min(map(len, ref + est))
    expected = [by_package(name, e[:time], r[:time]) for e, r in zip(est, ref, strict=True)]
    # Two talkers as the channels of one item, to see that channels are neither mixed nor exchanged.
    signals = [torch.from_numpy(np.stack([x[:time] for x in xs]))[None] for xs in (est, ref)]
    assert create(name, sample_rate=RATE)(*signals)[0].tolist() == pytest.approx(expected, abs=EXACT)
