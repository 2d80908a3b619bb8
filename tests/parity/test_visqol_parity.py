"""ViSQOL against the package visqol-python, by values it gave once and, where it is installed, on real recordings."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from percloss import Measure
from percloss.measures.visqol import ViSQOLAudio, ViSQOLSpeech
from tests.signals import CLIPS, RATE, at_snr, speech

# Ours in float32; the package computes in float64 too, and filters by recursion.
EXACT = 1e-6
# By visqol-python 3.8.0, of three seconds and in the order of ``faults``.
GOLDEN = {
    "librivox_0870": (4.102389702860993, 2.6468138502550183, 4.328379722034878, 4.36552401501587, 4.187790839136629),
    "guit_e_fifths": (1.399640307569793, 1.3897689744651278, 3.5825159354027747, 1.4532313837336046, 4.064041293281857),
    "loop_tabla": (2.2213061944716386, 1.3867179818463122, 4.088498408154717, 2.544683291990589, 4.339543909437371),
}
AUDIO_RATE = 48_000


def faults(ref: Tensor) -> dict[str, Tensor]:
    """Estimates of a reference."""
    time, peak = ref.shape[-1], ref.abs().max()
    gap = ref.clone()
    gap[..., time // 3 : time // 2] = 0
    late = torch.nn.functional.pad(ref, (700, 0))[..., :time]
    return {
        "noise at 20 dB": at_snr(ref, 20),
        "noise at 5 dB": at_snr(ref, 5),
        "clipping": ref.clamp(-0.2 * peak, 0.2 * peak),
        "a delay and noise": at_snr(late, 25),
        "a gap": gap,
    }


@pytest.mark.parametrize("name", GOLDEN)
def test_embedded_clips_score_as_by_the_package(name: str) -> None:
    """Music of 44.1 kHz is played a little faster."""
    soundfile = pytest.importorskip("soundfile")
    if name == "librivox_0870":
        measure: Measure = ViSQOLSpeech(RATE)
        ref = speech(name)
    else:
        measure = ViSQOLAudio(AUDIO_RATE)
        samples = soundfile.read(CLIPS / "music" / f"{name}_44k.ogg", 3 * AUDIO_RATE, dtype="float32", always_2d=True)[
            0
        ]
        ref = torch.from_numpy(samples[:, 0].copy())[None, None]
    est = torch.cat(list(faults(ref).values()))
    with torch.no_grad():
        values = measure(est, ref.expand_as(est))[:, 0]
    assert values.tolist() == pytest.approx(GOLDEN[name], abs=EXACT)


@pytest.mark.parametrize("mode", ["speech", "audio"])
def test_ten_pairs_of_real_recordings_score_as_by_the_package(data_root: Path, mode: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    visqol = pytest.importorskip("visqol", reason="visqol-python is what ViSQOL is compared with")
    oracle = visqol.VisqolApi()
    if mode == "speech":
        oracle.create(mode="speech", use_lattice_model=False)
        measure: Measure = ViSQOLSpeech(RATE)
        paths = [data_root / "speech" / f"librivox_0{number}.flac" for number in (880, 930)]
    else:
        oracle.create(mode="audio")
        measure = ViSQOLAudio(AUDIO_RATE)
        paths = sorted((data_root / "music_mixes").glob("*.flac"))[:2]
    rate = measure.sample_rate
    compared = 0
    for path in paths:
        samples = soundfile.read(path, 8 * rate, dtype="float64", always_2d=True)[0]
        ref = torch.from_numpy(samples[-5 * rate :].mean(1))[None, None]
        for est in faults(ref).values():
            wanted = oracle.measure_from_arrays(ref[0, 0].numpy(), est[0, 0].numpy(), rate).moslqo
            with torch.no_grad():
                assert measure(est, ref).item() == pytest.approx(wanted, abs=EXACT)
            compared += 1
    assert compared == 10
