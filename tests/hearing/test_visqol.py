"""What must be true of the parts of ViSQOL: its filters, its similarity, and how it finds lags and patches."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from percloss.dsp.safe import db_to_power
from percloss.hearing import visqol
from percloss.hearing.visqol import Gammatone, Local
from tests.signals import RATE, noise, speech, tone


@pytest.fixture(scope="module")
def bank() -> Gammatone:
    return Gammatone(RATE, 21, f_min=50.0, f_max=8000.0)


def similar(est: Tensor, ref: Tensor) -> Tensor:
    return visqol.similarity(Local.of(est), Local.of(ref))


def by_recursion(frame: np.ndarray, hz: float) -> float:
    """Slaney's filter as four recursive stages, of gain 1 at its centre; its level over the frame."""
    decay = 2 * math.pi * 1.019 * (hz / 9.26449 + 24.7) / RATE
    omega, shrink = 2 * math.pi * hz / RATE, math.exp(-decay)
    poles = [1.0, -2 * shrink * math.cos(omega), shrink**2]
    gain, heard = 1.0 + 0j, frame
    for slope in (math.sqrt(3 + 2**1.5), -math.sqrt(3 + 2**1.5), math.sqrt(3 - 2**1.5), -math.sqrt(3 - 2**1.5)):
        zero = [1.0, -shrink * (math.cos(omega) + slope * math.sin(omega))]
        gain *= scipy.signal.freqz(zero, poles, [omega])[1][0]
        heard = scipy.signal.lfilter(zero, poles, heard)
    return 10 * math.log10(math.sqrt(np.mean(heard**2)) / abs(gain))


def test_bands_are_a_step_of_the_ear_apart() -> None:
    """Between 50 Hz and, one step below the upper limit, on Glasberg and Moore's scale."""
    centres = visqol.centres(32, 50.0, 24_000.0)
    steps = (centres + 9.26449 * 24.7).log().diff()
    assert centres[0].item() == pytest.approx(50)
    torch.testing.assert_close(steps, steps[:1].expand(31), rtol=1e-9, atol=0)
    assert (centres[-1] + 228.8).log() + steps[0] == pytest.approx(math.log(24_228.8), abs=1e-4)


def test_its_levels_are_those_of_recursive_filters(bank: Gammatone) -> None:
    """With the frame's end cut off sharply in one case, where ringing matters most."""
    signals = [speech(seconds=0.5)[0, 0, -1280:].double(), 0.1 * noise(1280, dtype=torch.float64)]
    late = torch.zeros(1280, dtype=torch.float64)
    late[-100:] = 1.0
    window = scipy.signal.windows.hann(1280)
    for frame in (*signals, late):
        got = bank(frame[None])[0]
        wanted = [by_recursion(frame.numpy() * window, hz) for hz in visqol.centres(21, 50.0, 8000.0).tolist()]
        torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64).clamp(min=-45), rtol=0, atol=1e-4)


def test_a_tone_is_loudest_in_the_band_of_its_frequency(bank: Gammatone) -> None:
    centres = visqol.centres(21, 50.0, 8000.0)
    for band in (3, 10, 17):
        levels = bank(bank.frames(tone(centres[band].item(), db=-20)[0, 0]))
        assert (levels.argmax(1) == band).all()
        # A sine under a Hann window: a half and three eighths of its peak's power.
        assert levels[2, band].item() == pytest.approx(5 * math.log10(db_to_power(-20.0) / 2 * 3 / 8), abs=0.3)


def test_a_spectrogram_has_a_floor_per_frame_and_starts_at_0() -> None:
    est, ref = torch.tensor([[0.0, -50.0], [-45.0, -45.0]]), torch.tensor([[-10.0, -20.0], [-30.0, -40.0]])
    est, ref = visqol.floored(est.clamp(min=-45), ref)
    assert est.tolist() == [[45, 0], [0, 0]]
    assert ref.tolist() == [[35, 25], [15, 5]]


def test_patches_are_similar_to_themselves_and_less_to_others() -> None:
    ref = 20 + 5 * noise(4, 21, 20, dtype=torch.float64)
    torch.testing.assert_close(similar(ref, ref), torch.ones(4, 21, dtype=torch.float64))
    est = ref + noise(4, 21, 20, seed=1, dtype=torch.float64)
    assert (similar(est, ref) < 0.999).all()
    torch.testing.assert_close(similar(est, ref), similar(ref, est))
    assert similar(5 * noise(4, 21, 20, seed=2, dtype=torch.float64) + 20, ref).mean().item() < 0.2


def test_similarity_is_what_the_paper_writes() -> None:
    """Local moments under a three by three window, by scipy, the edges repeated."""
    corner, edge, centre = 0.0113033910173052, 0.0838251475442633, 0.619485845753726
    window = np.array([[corner, edge, corner], [edge, centre, edge], [corner, edge, corner]])

    def moment(x: np.ndarray) -> np.ndarray:
        return scipy.signal.correlate2d(np.pad(x, 1, mode="edge"), window, mode="valid")

    est, ref = 3 * np.random.default_rng(0).random((2, 5, 7))
    means = moment(est), moment(ref)
    deviations = [np.sqrt(moment(x**2) - mean**2) for x, mean in zip((est, ref), means, strict=True)]
    covariance = moment(est * ref) - means[0] * means[1]
    intensity = (2 * means[0] * means[1] + 1e-4) / (means[0] ** 2 + means[1] ** 2 + 1e-4)
    structure = (covariance + 4.5e-4) / (deviations[0] * deviations[1] + 4.5e-4)
    got = similar(torch.from_numpy(est), torch.from_numpy(ref))
    assert got.tolist() == pytest.approx((intensity * structure).mean(1).tolist(), rel=1e-9)


def test_the_best_path_goes_forward_in_time() -> None:
    """The second patch is most similar to the first place, which the first has taken."""
    similarities = np.array([[0.9, 0.1, 0.0, 0.0], [0.8, 0.1, 0.5, 0.1], [0.0, 0.1, 0.9, 0.6]])
    assert visqol.best_path(similarities, [0, 1, 2], 10) == [0, 2, 3]


def test_a_patch_that_only_costs_is_lost() -> None:
    similarities = np.array([[0.9, 0.1, 0.0], [-0.5, -0.5, -0.5], [0.0, 0.9, 0.0]])
    assert visqol.best_path(similarities, [0, 1, 2], 10) == [0, None, 1]


def test_a_patch_is_not_looked_for_beyond_its_radius() -> None:
    similarities = np.array([[0.5, 0.1, 0.1, 0.9, 0.0]])
    assert visqol.best_path(similarities, [0], 4) == [3]
    assert visqol.best_path(similarities, [0], 2) == [0]


@pytest.mark.parametrize("late", [0, 1, 333])
def test_a_delay_is_found_to_the_sample_and_what_has_no_counterpart_cut_off(late: int) -> None:
    ref = speech(seconds=1.0)[0, 0]
    est = 0.1 * visqol.delayed(ref, late)[: len(ref)]
    assert visqol.find_lag(est, ref) == -late
    aligned = visqol.aligned(est, ref, sample_rate=RATE)
    assert len(aligned[0]) == len(aligned[1]) == len(ref) - late
    torch.testing.assert_close(aligned[0], 0.1 * aligned[1])


def test_an_estimate_that_begins_late_is_filled_up_with_silence() -> None:
    ref = speech(seconds=1.0)[0, 0]
    est, same = visqol.aligned(ref[700:], ref, sample_rate=RATE)
    assert torch.equal(same, ref)
    assert not est[:700].any()
    assert torch.equal(est[700:], ref[700:])


def test_a_lag_of_more_than_half_the_length_is_none() -> None:
    ref = torch.zeros(1000)
    ref[10] = 1
    assert visqol.find_lag(ref.roll(800), ref) == 0
    assert visqol.find_lag(ref.roll(300), ref) == -300


def test_an_excerpt_beyond_the_end_begins_with_silence() -> None:
    """As in the authors' code, which puts what is missing at the wrong side."""
    x = torch.arange(1.0, 11.0)
    assert visqol.excerpt(x, 0.2, 0.5, 10).tolist() == [3, 4, 5]
    assert visqol.excerpt(x, 0.8, 1.2, 10).tolist() == [0, 0, 9]


def test_patches_without_voice_are_told_from_those_with() -> None:
    hop, size = 320, 20
    ref = torch.zeros(5 * size * hop)
    ref[2 * size * hop : 3 * size * hop] = tone(300, time=size * hop)[0, 0].float()
    assert visqol.voiced(ref, 4, size, hop) == [True, False, True, True]  # the first two steps are taken for voice


def test_the_regression_is_highest_where_every_band_is_the_same() -> None:
    regression = visqol.Regression()
    assert regression.vectors.shape == (317, 32)
    same = regression(torch.ones(32, dtype=torch.float64))
    assert same.item() == pytest.approx(4.7321, abs=1e-4)
    assert regression(torch.full((32,), 0.5, dtype=torch.float64)).item() < 3
