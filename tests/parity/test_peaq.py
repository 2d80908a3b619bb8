"""PEAQ against the two programs it follows, by values they gave once, on signals that are made here again.

The seven pairs of 16 bits were graded by PQevalAudio v1r0 in Octave; GstPEAQ's own test names two grades and the values
of twelve stages. Where a folder of these oracles is, by PERCLOSS_ORACLES or beside the repository, all of its values
are compared. Where PERCLOSS_BS1387 names a folder with the Recommendation's test items, our values of them are printed.
"""

import json
import math
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import signal
from torch import Tensor

from percloss import create
from percloss.hearing.peaq import PEAQEar
from percloss.hearing.peaq_grade import VARIABLES, two_f
from percloss.hearing.peaq_variables import Comparison
from percloss.measures.peaq import PEAQ, PEAQDistortionIndex, TwoF
from tests.hearing.test_peaq import stages

RATE = 48_000
Samples = npt.NDArray[np.float64]
# ODG and the variables in their order, as PQevalAudio printed them.
PQEVALAUDIO = {
    "noise30": (
        *(-0.6754519622, 551.2095238, 551.2095238, -19.67343687, 2.559031295, 0.9199125859, 6.642661386),
        *(2.254434031, 1.894032817, 0.08531822058, 0.9485364486, 0.008547008547),
    ),
    "noise15": (
        *(-2.189999621, 528.7027027, 528.7027027, -4.451673258, 11.9205734, 1.879729335, 13.43441209),
        *(10.76806862, 9.284907836, 0.5754108566, 0.9999948041, 0.4444444444),
    ),
    "lp8k": (
        *(-1.090745338, 663.2905983, 498.5042735, -6.52719736, 4.328310459, 2.615367788, 0.4522743593),
        *(4.075129285, 3.38928919, 0.08953058719, 0.9999955703, 1.0),
    ),
    "clip": (
        *(-2.360999447, 547.962963, 547.962963, -12.609535, 13.62320776, 2.172458749, 0.6578645736),
        *(13.78377667, 4.999819058, 0.08558935483, 0.8073076861, 0.0),
    ),
    "quant8": (
        *(-0.9798878267, 549.6666667, 549.6666667, -18.01779781, 3.131784253, 1.048816152, 7.943262151),
        *(2.774324062, 2.230745739, 0.08951486949, 0.9562838401, 0.04273504274),
    ),
    "same": (0.1959297574, 552.271028, 552.271028, -149.0876271, *[0.0] * 8),
    "saw": (
        *(-2.010255817, 921.0, 733.0, 1.712142903, 11.04958818, 3.397309977, 0.229363817),
        *(11.79753665, 11.30234733, 1.178591622, 0.9999986099, 1.0),
    ),
}
# What is left: of float32 in bandwidths, whose thresholds it moves, and in EHS, where ratios of nothing are taken; of
# waves whose every other harmonic is silent in the modulation.
WITHIN = dict.fromkeys(VARIABLES, 1e-4) | {
    "bandwidth_ref": 0.01,
    "bandwidth_est": 0.01,
    "win_mod_diff1": 2e-4,
    "avg_mod_diff1": 2e-4,
    "avg_mod_diff2": 1e-3,
}
# BS.1387-1, Annex 2, section 7: distortion index and grade of the basic version.
ITEMS = {
    "acodsna": (1.304, -0.676),
    "bcodtri": (1.949, -0.304),
    "ccodsax": (0.048, -1.829),
    "ecodsmg": (1.731, -0.412),
    "fcodsb1": (0.677, -1.195),
    "fcodtr1": (1.419, -0.598),
    "fcodtr2": (-0.045, -1.927),
    "fcodtr3": (-0.715, -2.601),
    "gcodcla": (1.781, -0.386),
    "icodsna": (-3.029, -3.786),
    "kcodsme": (3.093, 0.038),
    "lcodhrp": (1.041, -0.876),
    "lcodpip": (1.973, -0.293),
    "mcodcla": (-0.436, -2.331),
    "ncodsfe": (3.135, 0.045),
    "scodclv": (1.689, -0.435),
}


def rounded(x: Samples) -> Samples:
    """To 16 bits."""
    return np.clip(np.round(x * 32_768), -32_768, 32_767) / 32_768


def harmonics() -> tuple[Samples, dict[str, Samples]]:
    """A reference, 59 harmonics of 220 Hz under a tremolo and a burst of noise, and six estimates of it."""
    draws = np.random.RandomState(0)
    time = np.arange(120_000) / RATE
    number = np.arange(1, 60)[:, None]
    tones = (np.sin(2 * np.pi * 220 * number * time + number**2) / np.sqrt(number)).sum(0)
    bursts = 0.25 * draws.randn(120_000) * (np.sin(2 * np.pi * 1.5 * time) > 0.8)
    ref = tones * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)) + bursts
    ref = 0.5 * ref / np.abs(ref).max()
    noise = ref.std() * draws.randn(120_000)
    estimates = {
        "noise30": ref + 10 ** (-30 / 20) * noise,
        "noise15": ref + 10 ** (-15 / 20) * noise,
        "lp8k": signal.sosfiltfilt(signal.butter(8, 8000, fs=RATE, output="sos"), ref),
        "clip": np.clip(ref, -0.2, 0.2),
        "quant8": np.round(64 * ref) / 64,
        "same": ref,
    }
    return rounded(ref), {name: rounded(est) for name, est in estimates.items()}


def waves(phase: Samples) -> tuple[Samples, Samples, Samples]:
    """Saw, triangle and sine of 440 Hz at these phases, in cycles."""
    triangle = np.where(phase < 0.25, 4 * phase, np.where(phase < 0.75, 2 - 4 * phase, 4 * phase - 4))
    return 0.8 * np.where(phase < 0.5, 2 * phase, 2 * phase - 2), 0.8 * triangle, 0.8 * np.sin(2 * np.pi * phase)


def accumulated() -> Samples:
    """Phases as GStreamer's audiotestsrc adds them up, whose rounding is part of the grade of two equal sines."""
    phases, radians = [], 0.0
    for _ in range(131_072):
        radians += 2 * math.pi * 440 / RATE
        radians -= 2 * math.pi * (radians >= 2 * math.pi)
        phases.append(radians)
    return np.array(phases) / (2 * np.pi)


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[Samples, Samples]]:
    """Estimate and reference of each case, of 16 bits."""
    ref, estimates = harmonics()
    saw, triangle, _ = waves((np.arange(1, 131_073) * 440 % RATE) / RATE)
    return {**{name: (est, ref) for name, est in estimates.items()}, "saw": (rounded(triangle), rounded(saw))}


@pytest.fixture(scope="module")
def oracles() -> Path:
    given = os.environ.get("PERCLOSS_ORACLES")
    root = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "oracles"
    if not (root / "peaq_signals").is_dir():
        pytest.skip(f"no oracles of PEAQ at {root}; name the folder by PERCLOSS_ORACLES")
    return root


def tensor(x: Samples, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(x)[None, None].to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("case", PQEVALAUDIO)
def test_grade_and_variables_are_pqevalaudios(
    pairs: dict[str, tuple[Samples, Samples]], case: str, dtype: torch.dtype
) -> None:
    found = Comparison(PEAQEar("kabal"), *(tensor(x, dtype) for x in pairs[case]))
    odg, *wanted = PQEVALAUDIO[case]
    assert found.odg.item() == pytest.approx(odg, abs=1e-4)
    for name, value in zip(VARIABLES, wanted, strict=True):
        assert getattr(found, name).item() == pytest.approx(value, abs=WITHIN[name]), name


@pytest.mark.parametrize("case", PQEVALAUDIO)
def test_2f_is_what_pqevalaudios_variables_give(pairs: dict[str, tuple[Samples, Samples]], case: str) -> None:
    est, ref = (tensor(x) for x in pairs[case])
    movs = dict(zip(VARIABLES, PQEVALAUDIO[case][1:], strict=True))
    wanted = two_f(torch.tensor(movs["avg_mod_diff1"]), torch.tensor(movs["adb"])).clamp(max=100)
    assert TwoF(RATE)(est, ref).item() == pytest.approx(wanted.item(), abs=1e-3)


@pytest.mark.filterwarnings("ignore:peaq_odg")  # a sine has nothing above 8 kHz but its rounding
def test_gstpeaqs_two_grades() -> None:
    """Within half of the last digit that its test prints."""
    saw, triangle, sine = (tensor(x.astype(np.float32)) for x in waves(accumulated()))
    measure = PEAQ(RATE, variant="gstpeaq")
    assert measure(sine, sine).item() == pytest.approx(0.171, abs=5e-4)
    assert measure(triangle, saw).item() == pytest.approx(-2.007, abs=5e-4)


def test_the_signals_are_those_that_the_oracle_heard(pairs: dict[str, tuple[Samples, Samples]], oracles: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="soundfile reads the oracle's signals")
    names = {case: (f"t_{case}", "ref") for case in PQEVALAUDIO} | {"saw": ("tri", "saw")}
    for case, files in names.items():
        for x, name in zip(pairs[case], files, strict=True):
            heard, rate = soundfile.read(oracles / "peaq_signals" / f"{name}.flac")
            assert rate == RATE
            np.testing.assert_array_equal(x, heard, err_msg=name)


def test_what_is_written_here_is_what_the_oracle_printed(oracles: Path) -> None:
    printed, case = {}, ""
    for line in (oracles / "peaq_kabal_octave.txt").read_text(encoding="utf-8").splitlines():
        first, *rest = line.split() or [""]
        case = rest[0] if first == "CASE" else case
        if first == "GOLD":
            printed[case] = tuple(map(float, rest))
    assert printed == PQEVALAUDIO


ORACLE_STAGES = {
    "fft_ref_data": "magnitude",
    "weighted_fft_ref_data": "weighted",
    "unsmeared_excitation_ref": "unsmeared",
    "excitation_ref": "excitation",
    **{f"spectrally_adapted_ref_patterns{frame}_ref": f"adapted_ref_{frame}" for frame in (1, 2)},
    **{f"spectrally_adapted_test_patterns{frame}_ref": f"adapted_est_{frame}" for frame in (1, 2)},
    **{f"modulation{frame}_ref": f"modulation_{frame}" for frame in (1, 2)},
    **{f"loudness{frame}_ref": f"loudness_{frame}" for frame in (1, 2)},
}


@pytest.mark.parametrize("name", ORACLE_STAGES)
def test_stage_is_gstpeaqs_in_every_band(oracles: Path, name: str) -> None:
    """They are printed to six decimals, which is all that is left of the smallest."""
    wanted = json.loads((oracles / "peaq_gstpeaq_unit_vectors.json").read_text(encoding="utf-8"))[name]
    found = stages(PEAQEar("gstpeaq"))[ORACLE_STAGES[name]]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:peaq_")
def test_conformance_items_beside_the_recommendation(capsys: pytest.CaptureFixture[str]) -> None:
    given = os.environ.get("PERCLOSS_BS1387")
    if not given:
        pytest.skip("the ITU's test items may not be passed on; name a folder that has them by PERCLOSS_BS1387")
    soundfile = pytest.importorskip("soundfile", reason="soundfile reads the ITU's test items")
    files = {path.stem.lower(): path for path in Path(given).rglob("*") if path.suffix.lower() == ".wav"}
    items = [item for item in ITEMS if {item, item.replace("cod", "ref")} <= files.keys()]
    assert items, f"none of {', '.join(ITEMS)} and its reference is in {given}"
    with capsys.disabled():
        print(f"\n{'item':9}{'DI':>9}{'kabal':>9}{'gstpeaq':>9}{'ODG':>9}{'kabal':>9}")
        for item in items:
            read = [soundfile.read(files[name], always_2d=True) for name in (item, item.replace("cod", "ref"))]
            assert {rate for _, rate in read} == {RATE}
            time = min(len(x) for x, _ in read)
            est, ref = (torch.from_numpy(x[:time].T.copy())[None] for x, _ in read)
            with torch.no_grad():
                kabal, gst = (PEAQDistortionIndex(RATE, variant=name)(est, ref).item() for name in ("kabal", "gstpeaq"))
                odg = create("peaq_odg", sample_rate=RATE)(est, ref).item()
            print(f"{item:9}{ITEMS[item][0]:9.3f}{kabal:9.3f}{gst:9.3f}{ITEMS[item][1]:9.3f}{odg:9.3f}")
            assert math.isfinite(kabal)
            assert math.isfinite(gst)
