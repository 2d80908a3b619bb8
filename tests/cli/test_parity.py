"""On real recordings the command line prints what the reference packages compute."""

from pathlib import Path

import numpy as np
import pytest

from tests.cli.support import scored, snr


@pytest.fixture(scope="module", params=[("c05_f1", "c01_f1"), ("c11_m2", "c01_m2")], ids="/".join)
def real(request: pytest.FixtureRequest, data_root: Path) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    """An estimate and a reference of 16 kHz, as files and as float64."""
    soundfile = pytest.importorskip("soundfile")
    folder = data_root / "p835_reference_conditions" / "audio" / "wideband16k"
    est, ref = (folder / f"{name}.flac" for name in request.param)
    if not est.exists():
        pytest.skip(f"no {est}")
    (x, rate), (y, _) = (soundfile.read(path, always_2d=True) for path in (est, ref))
    assert rate == 16_000
    time = min(len(x), len(y))
    return est, ref, x[:time], y[:time]


@pytest.fixture(scope="module")
def scores(real) -> dict[str, float]:
    for package in ("pesq", "pystoi"):
        pytest.importorskip(package)
    found = scored(real[0], "--ref", real[1], "-m", "snr,si_sdr,pesq_wb,stoi", "--trim")
    return found["files"][0]["scores"]


def test_pesq_is_that_of_the_package(real, scores) -> None:
    """To the rounding of float32, 2.4e-7."""
    _, _, est, ref = real
    value = pytest.importorskip("pesq").pesq(16_000, np.float32(ref[:, 0]), np.float32(est[:, 0]), "wb")
    assert scores["pesq_wb"] == pytest.approx(value, abs=1e-6)


def test_stoi_is_that_of_the_package(real, scores) -> None:
    """To the rounding of float32, 6e-8."""
    _, _, est, ref = real
    value = pytest.importorskip("pystoi").stoi(ref[:, 0], est[:, 0], 16_000)
    assert scores["stoi"] == pytest.approx(value, abs=1e-6)


def test_si_sdr_is_that_of_fast_bss_eval(real, scores) -> None:
    """To 1e-4 dB: sums of 1e5 products in float32 agree to 1e-6 of their value, 4e-6 dB."""
    _, _, est, ref = real
    fast_bss_eval = pytest.importorskip("fast_bss_eval")
    value = fast_bss_eval.si_sdr(ref.T, est.T, zero_mean=False)
    assert scores["si_sdr"] == pytest.approx(float(np.asarray(value).squeeze()), abs=1e-4)


def test_snr_is_that_of_float64(real, scores) -> None:
    """To 1e-4 dB, as above."""
    _, _, est, ref = real
    assert scores["snr"] == pytest.approx(snr(est, ref), abs=1e-4)
