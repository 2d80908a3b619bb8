"""STOI and ESTOI against pystoi, its ESTOI without the dither that it draws from numpy's global generator."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from percloss.measures.intelligibility import ESTOI, STOI
from tests.signals import RATE, at_snr, speech

EXACT = 1e-6
SNRS = (-5, 0, 5, 10, 20)


@pytest.fixture
def pystoi(monkeypatch: pytest.MonkeyPatch):
    package = pytest.importorskip("pystoi", reason="pystoi is what STOI is compared with")
    monkeypatch.setattr(np.random, "standard_normal", np.zeros)
    return package


def largest_difference(pystoi, est: torch.Tensor, ref: torch.Tensor, rate: int, classes=(STOI, ESTOI)) -> float:
    """Of all items, (batch, 1, time) in float32, by either measure, at their level and 60 dB below."""
    largest = 0.0
    for cls in classes:
        pairs = zip(est[:, 0].double().numpy(), ref[:, 0].double().numpy(), strict=True)
        wanted = torch.tensor([pystoi.stoi(r, e, rate, extended=cls is ESTOI) for e, r in pairs])
        for gain in (1.0, 1e-3):
            got = cls(rate)(gain * est, gain * ref)[:, 0]
            largest = max(largest, (got.double() - wanted).abs().max().item())
    return largest


@pytest.mark.parametrize("rate", [8000, 10_000, 11_025, 16_000, 44_100, 48_000])
def test_embedded_speech_scores_as_by_pystoi_at_any_rate_and_level(pystoi, rate: int) -> None:
    """The recording is played faster or slower; both resample to 10 kHz."""
    ref = torch.cat([speech(clip, seconds=3.0) for clip in ("librivox_0870", "librivox_0920", "librivox_0930")])
    est = torch.stack([at_snr(r, db) for r, db in zip(ref, (0, 10, 25), strict=True)])
    assert largest_difference(pystoi, est, ref, rate) < EXACT


@pytest.mark.parametrize("what", ["clipping", "packet loss", "a low-pass", "a whisper of the estimate"])
def test_other_faults_than_noise_score_as_by_pystoi(pystoi, what: str) -> None:
    ref = speech(seconds=3.0)
    est = ref.clone()
    classes = (STOI, ESTOI)
    if what == "clipping":
        est = est.clamp(-0.02, 0.02)
    elif what == "packet loss":
        classes = (STOI,)  # without its dither pystoi divides 0 by 0 in ESTOI
        est[..., RATE : RATE + RATE // 2] = 0
        est[..., 2 * RATE :: 4000] = 0
    elif what == "a low-pass":
        est = torch.nn.functional.avg_pool1d(est, 9, 1, 4)
    else:
        est = 1e-5 * at_snr(est, 10)
    assert largest_difference(pystoi, est, ref, RATE, classes) < EXACT


def test_pystoi_has_no_value_where_we_have_none(pystoi) -> None:
    """It warns and returns 1e-5."""
    ref = speech(seconds=1.0)[..., RATE // 2 : RATE // 2 + 6000]
    with pytest.warns(RuntimeWarning, match="Not enough STFT frames"):
        assert pystoi.stoi(ref[0, 0].numpy(), ref[0, 0].numpy(), RATE) == 1e-5
    assert STOI(RATE)(ref, ref).isnan().all()


def test_140_pairs_of_real_speech_and_noise_score_as_by_pystoi(pystoi, data_root: Path) -> None:
    """14 recordings of 3 s at their own rates, in white and in recorded noise at five ratios."""
    soundfile = pytest.importorskip("soundfile")
    random = np.random.default_rng(0)
    noises = [soundfile.read(path, dtype="float64")[0] for path in sorted((data_root / "noise").glob("*.flac"))]
    pairs: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for number, path in enumerate(sorted((data_root / "speech").iterdir())[:14]):
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
        ref = samples[: 3 * rate, 0]
        for background in (random.standard_normal(len(ref)), noises[number % len(noises)].reshape(-1)):
            background = np.resize(background, len(ref))
            for db in SNRS:
                gain = np.sqrt(np.sum(ref**2) / np.sum(background**2) / 10 ** (db / 10))
                pairs[rate, len(ref)].append((ref + gain * background, ref))
    assert sum(map(len, pairs.values())) == 140
    for (rate, _), listed in pairs.items():
        est, ref = (torch.from_numpy(np.stack(x)).float()[:, None] for x in zip(*listed, strict=True))
        assert largest_difference(pystoi, est, ref, rate) < EXACT
