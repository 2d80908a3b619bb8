"""Distances of spectra against auraloss, librosa and numpy, with every difference of scale written out."""

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss import LogSpectralDistance, MelDistance, MultiResolutionSTFTDistance, STFTDistance
from percloss.dsp.scales import SCALES
from percloss.frontends import Bands, Stft
from tests.signals import RATE, at_snr, noise, speech

# Powers of at most 1e-20 of a full-scale sine under every bin, so that nobody's floor is heard.
DEEP, NOTHING = -250.0, 1e-25
SIZES = [(512, 128, 512), (1024, 120, 600), (2048, 240, 1200)]


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """One item: auraloss takes spectral convergence over the whole batch."""
    ref = speech().double() + 1e-3 * noise(1, 1, 3 * RATE, dtype=torch.float64)
    return at_snr(ref, 10), ref


@pytest.fixture(scope="module")
def freq():
    return pytest.importorskip("auraloss.freq")


def theirs(freq, size: tuple[int, int, int], **settings: float):
    """auraloss' STFT loss at one resolution, its window in float64."""
    loss = freq.STFTLoss(*size, eps=NOTHING, **settings)
    loss.window = torch.hann_window(size[2], dtype=torch.float64)
    return loss


@pytest.mark.parametrize("size", SIZES)
def test_spectral_convergence_and_log_magnitude_are_those_of_auraloss(pair, freq, size) -> None:
    """Neither hears the scale of the window, 2 / sum(window) here and 1 there: equal to float64's rounding."""
    for ours, weights in (("convergence", (1.0, 0.0)), ("log", (0.0, 1.0))):
        expected = theirs(freq, size, w_sc=weights[0], w_log_mag=weights[1])(*pair)
        value = STFTDistance(*size, **{"convergence": 0.0, "log": 0.0, ours: 1.0}, floor_db=DEEP)(*pair)
        assert value.item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_linear_magnitude_is_that_of_auraloss_times_the_scale_of_the_window(pair, freq, size) -> None:
    expected = theirs(freq, size, w_sc=0.0, w_log_mag=0.0, w_lin_mag=1.0)(*pair)
    value = STFTDistance(*size, convergence=0.0, log=0.0, linear=1.0, floor_db=DEEP)(*pair)
    assert value.item() == pytest.approx(expected.item() * 2 / (size[2] / 2), rel=1e-9)  # a Hann window sums to half


def test_the_multi_resolution_distance_is_that_of_auraloss(pair, freq) -> None:
    loss = freq.MultiResolutionSTFTLoss(*zip(*SIZES, strict=True), eps=NOTHING)
    for one in loss.stft_losses:
        one.window = torch.hann_window(one.win_length, dtype=torch.float64)
    value = MultiResolutionSTFTDistance(*zip(*SIZES, strict=True), floor_db=DEEP)(*pair)
    assert value.item() == pytest.approx(loss(*pair).item(), rel=1e-9)


def test_with_the_defaults_of_both_float32_differs_by_the_floors_alone(pair, freq) -> None:
    """Its floor, 1e-8 under powers on the scale of sum(window) / 2, lies 134 dB below full scale; ours at -120 dB."""
    est, ref = (x.float() for x in pair)
    size = (1024, 256, 1024)
    expected = freq.STFTLoss(*size)(est, ref).item()
    value = STFTDistance(*size)(est, ref).item()
    assert value == pytest.approx(expected, rel=1e-3)
    assert value != pytest.approx(expected, rel=1e-9)


def test_the_log_mel_distance_is_that_of_auraloss(pair, freq) -> None:
    """Its triangles have equal areas, our weights sum to 1: a factor per band, which a difference of logs drops."""
    pytest.importorskip("librosa")
    loss = freq.MelSTFTLoss(RATE, 1024, 256, 1024, w_sc=0.0, w_log_mag=1.0, n_mels=64, eps=NOTHING)
    loss.window, loss.fb = torch.hann_window(1024, dtype=torch.float64), loss.fb.double()
    value = MelDistance(RATE, n_mels=64, n_fft=1024, floor_db=DEEP)(*pair)
    # librosa builds its bank in float32: 6e-8 in each weight.
    assert value.item() == pytest.approx(loss(*pair).item(), rel=1e-6)


@pytest.mark.parametrize("scale", ["mel_slaney", "mel_htk"])
@pytest.mark.parametrize("band", [(0.0, None), (80.0, 7600.0)])
def test_the_mel_spectrum_is_that_of_librosa(pair, scale: str, band) -> None:
    """Theirs, of height 1 and unscaled, is ours times the weights' sum and the window's half sum.

    The corners of our bands are rounded to a billionth of a bin, which is the tolerance.
    """
    librosa = pytest.importorskip("librosa")
    f_min, f_max = band
    bands = Bands(SCALES[scale], RATE, 64, 1024, f_min, f_max)(Stft(1024, 256).power(pair[1]).sqrt())
    settings = {
        "n_mels": 64,
        "fmin": f_min,
        "fmax": f_max,
        "htk": scale == "mel_htk",
        "norm": None,
        "dtype": np.float64,
    }
    bank = librosa.filters.mel(sr=RATE, n_fft=1024, **settings)
    stft = librosa.stft(pair[1].numpy()[0, 0], n_fft=1024, hop_length=256, pad_mode="reflect")
    expected = bank @ np.abs(stft) / bank.sum(1, keepdims=True) / (1024 / 4)
    np.testing.assert_allclose(bands[0, 0].numpy(), expected, rtol=1e-8, atol=1e-15)


def test_the_log_mel_distance_is_that_of_librosas_spectra(pair) -> None:
    librosa = pytest.importorskip("librosa")
    logs = [
        np.log(
            librosa.feature.melspectrogram(
                y=x.numpy()[0, 0], sr=RATE, n_fft=2048, hop_length=512, n_mels=80, power=1, pad_mode="reflect"
            )
        )
        for x in pair
    ]
    value = MelDistance(RATE, floor_db=DEEP)(*pair)
    # Bank in float32, as above.
    assert value.item() == pytest.approx(np.abs(logs[0] - logs[1]).mean(), rel=1e-6)


def test_the_log_spectral_distance_is_the_formula_on_librosas_spectra(pair) -> None:
    librosa = pytest.importorskip("librosa")
    est, ref = (np.abs(librosa.stft(x.numpy()[0, 0], n_fft=2048, hop_length=512, pad_mode="reflect")) for x in pair)
    expected = np.sqrt(np.mean((20 * np.log10(est / ref)) ** 2, axis=0)).mean()
    assert LogSpectralDistance(floor_db=DEEP)(*pair).item() == pytest.approx(expected, rel=1e-9)


def test_the_default_floor_is_not_heard_in_white_noise(freq) -> None:
    """-120 dB under bins near -30 dB is 1e-9 of a bin, and ten thousand times that in one weak bin of ten thousand."""
    est, ref = noise(2, 1, 1, RATE, dtype=torch.float64)
    size = (1024, 256, 1024)
    assert STFTDistance(*size)(est, ref).item() == pytest.approx(theirs(freq, size)(est, ref).item(), rel=1e-5)
