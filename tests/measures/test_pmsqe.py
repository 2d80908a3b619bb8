"""PMSQE: the published equations, what a listener would expect of them, and what PESQ says."""

import math
import os

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss.errors import SampleRateError
from percloss.hearing import p862
from percloss.losses import Loss
from percloss.measures.pmsqe import PMSQE
from percloss.testing import RULES, check_measure
from tests.signals import RATE, at_snr, noise, speech, tone

COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
CLIPS = ("librivox_0870", "librivox_0880", "librivox_0890", "librivox_0920", "librivox_0930")
RATES = pytest.mark.parametrize("rate", [8000, 16_000])


def clip(name: str = "librivox_0870", rate: int = RATE, *, seconds: float = 2.5) -> Tensor:
    """Speech in float64; at 8 kHz every second sample, which does for a clip with little above 4 kHz."""
    return speech(name, seconds=seconds).double()[..., :: RATE // rate].contiguous()


@pytest.mark.parametrize(
    "rule", [name for name in RULES if name != "is_documented" and (COMPILE or name != "compiles")]
)
@RATES
def test_it_keeps_the_contract(rate: int, rule: str) -> None:
    check_measure(PMSQE(rate), sample_rate=rate, rules=[rule])


# The published equations


def transcription(est: np.ndarray, ref: np.ndarray, rate: int) -> float:
    """The letter's equations in numpy, frame by frame: nothing here is shared with the measure but P.862's tables."""
    size = rate * 32 // 1000
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    bins, density = list(p862.BINS), list(p862.POWER_DENSITY)
    if rate == 8000:
        bins, density = [*bins[:41], 11], [*density[:41], 59.248363]
    edges = np.cumsum([0, *bins])
    parts = list(zip(density, edges[:-1], edges[1:], strict=True))
    threshold, width, bark = (np.array(x[: len(bins)]) for x in (p862.THRESHOLD, p862.WIDTH_BARK, p862.CENTRE_BARK))
    exponent = 0.23 * np.array([min(2.0, max(1.0, 6 / (z + 2))) ** 0.15 for z in bark])

    def spectrum(x: np.ndarray) -> np.ndarray:
        padded = np.pad(x, size // 2, mode="reflect")
        starts = range(0, len(padded) - size + 1, size // 2)
        powers = np.array([np.abs(np.fft.rfft(window * padded[s : s + size])) ** 2 for s in starts])
        level = 0.4 * powers[:, 11] + powers[:, 12:104].sum(1) + 0.5 * powers[:, 104]
        powers *= 1e7 / (level.mean() * (8 / 3) * 2 / size**2)
        scale = 6.910853e-6 if rate == 16_000 else 2.764344e-5
        return np.array([[scale * c * p[a:b].sum() for c, a, b in parts] for p in powers])

    def loudness(bands: np.ndarray) -> np.ndarray:
        value = 0.1866055 * (threshold / 0.5) ** exponent * ((0.5 + 0.5 * bands / threshold) ** exponent - 1)
        return np.where(bands < threshold, 0, value)

    e, r = spectrum(est), spectrum(ref)
    speaking = np.array([f[f > 100 * threshold].sum() >= 1e7 for f in r])
    for band in range(len(bins)):
        loud = speaking & (r[:, band] > 100 * threshold[band])
        e[:, band] *= np.clip((r[loud, band].sum() + 1000) / (e[loud, band].sum() + 1000), 0.01, 100)
    values = []
    for x, y in zip(e, r, strict=True):
        x = x * np.clip((y[y > threshold].sum() + 5e3) / (x[x > threshold].sum() + 5e3), 3e-4, 5)
        a, b = loudness(x), loudness(y)
        d = np.maximum(np.abs(a - b) - 0.25 * np.minimum(a, b), 0)
        h = ((x + 50) / (y + 50)) ** 1.2
        h = np.where(h < 3, 0, np.minimum(h, 12))
        weight = ((y[y > threshold].sum() + 1e5) / 1e7) ** 0.04
        symmetric = np.sqrt(width.sum() * ((width * d) ** 2).sum()) / weight
        asymmetric = (width * h * d).sum() / weight
        values.append(0.1 * min(symmetric, 45) + 0.309 * 0.1 * min(asymmetric, 45))
    return float(np.mean(values))


@RATES
@pytest.mark.parametrize("snr_db", [40, 10, -10])
def test_it_is_the_published_sum_of_disturbances(rate: int, snr_db: int) -> None:
    ref = clip(rate=rate, seconds=1.0)
    est = at_snr(ref, snr_db)
    expected = transcription(est.numpy().ravel(), ref.numpy().ravel(), rate)
    assert PMSQE(rate)(est, ref).item() == pytest.approx(expected, rel=1e-6)


ASTEROID = {  # 0.7.0, window_name="hann", float64, fed the power of torch.stft with that window: 3 s, white noise
    ("librivox_0870", 20): 1.9450168574310753,
    ("librivox_0870", 0): 3.4115455623049726,
    ("librivox_0920", 10): 2.6429976200853837,
}


@pytest.mark.parametrize(("name", "snr_db"), ASTEROID)
def test_it_has_asteroids_value_where_that_is_fed_power(name: str, snr_db: int) -> None:
    """But for the floors there, 1e-8 in every band."""
    ref = speech(name).double()
    assert PMSQE(RATE)(at_snr(ref, snr_db), ref).item() == pytest.approx(ASTEROID[name, snr_db], abs=5e-6)


def test_a_tone_at_the_listening_level_has_that_level() -> None:
    """A mean square of 1e7 between 350 and 3250 Hz, whatever it was recorded at."""
    measure = PMSQE(RATE)
    for db in (0, -40):
        bins = measure.front.power(tone(1000, db=db, time=RATE))
        unscaled = (bins / bins.amax()) * (2e7) * (512 / 4) ** 2  # of a sine of this mean square, amplitude sqrt(2e7)
        torch.testing.assert_close(
            measure.bands(bins)[..., 5:-5], measure.model(unscaled)[..., 5:-5], rtol=1e-3, atol=1
        )


# What a listener would expect


@RATES
@pytest.mark.parametrize("name", CLIPS[:2])
def test_more_noise_is_worse(name: str, rate: int) -> None:
    ref = clip(name, rate)
    values = [PMSQE(rate)(at_snr(ref, db), ref).item() for db in range(50, -15, -5)]
    assert values == sorted(values)
    assert values[-1] > 5 * values[0]


def test_noise_that_is_added_is_worse_than_as_much_speech_left_out() -> None:
    """The asymmetry: a hole in one frame of five, against a click as loud there."""
    ref = clip()
    holes = (torch.arange(ref.shape[-1]) // 512 % 5 == 0).to(ref.dtype)
    lost, added = ref * (1 - holes), ref + holes * ref.roll(3000, -1)
    assert PMSQE(RATE)(added, ref) > PMSQE(RATE)(lost, ref) > 0


def test_speech_said_in_another_colour_is_forgiven_and_said_in_noise_is_not() -> None:
    """A slope of 6 dB an octave is 20 dB and more of squared error, and hardly a disturbance."""
    ref = clip()
    coloured = ref - 0.5 * torch.nn.functional.pad(ref, (1, 0))[..., :-1]
    snr = 10 * (ref.square().sum() / (ref - coloured).square().sum()).log10().item()
    assert PMSQE(RATE)(coloured, ref) < 0.5 * PMSQE(RATE)(at_snr(ref, snr), ref)


def test_it_ranks_degraded_speech_as_pesq_does() -> None:
    """Noise of three colours and lost packets, five talkers. Its authors give no figure: this one is ours."""
    pesq = pytest.importorskip("pesq", reason="PESQ is computed by pesq")
    measure, ours, theirs = PMSQE(RATE), [], []
    for number, name in enumerate(CLIPS):
        ref = clip(name)
        other = clip(CLIPS[number - 1])
        estimates = [at_snr(ref, db) for db in (30, 15, 5)]
        estimates += [ref + gain * other.roll(4000, -1) for gain in (0.05, 0.2, 0.8)]
        packets = noise(ref.shape[-1] // 320 + 1, seed=number).repeat_interleave(320)[: ref.shape[-1]]
        estimates += [ref * (packets > -1.5)]
        for est in estimates:
            ours.append(measure(est, ref).item())
            theirs.append(pesq.pesq(RATE, ref.numpy().ravel(), est.numpy().ravel(), "wb"))
    ranks = np.argsort(np.argsort([ours, theirs], axis=1), axis=1)
    assert np.corrcoef(ranks)[0, 1] < -0.85


# Silence, and the way out of it


def test_a_silent_reference_has_no_value_and_a_silent_estimate_has_one() -> None:
    ref = clip()
    measure = PMSQE(RATE)
    assert measure(ref, 0 * ref).isnan().all()
    assert measure.reason(ref, 0 * ref) == "reference is silent"
    muted = measure(0 * ref, ref).item()
    assert 0.5 < muted < measure.spec.bounds[1]
    assert muted > measure(at_snr(ref, 20), ref).item()


@pytest.mark.parametrize("level", [0.0, 1e-30, 1e-10, 1e-6, 1.0, 1e4])
def test_its_gradient_is_a_number_at_every_level(level: float) -> None:
    ref = clip().float()
    est = (level * at_snr(ref, 5)).requires_grad_()
    loss = Loss(PMSQE(RATE))(est, ref)
    loss.backward()
    assert est.grad is not None
    assert est.grad.isfinite().all()
    assert bool(est.grad.any()) == (level >= 1e-10)


def test_a_few_steps_down_its_gradient_raise_pesq() -> None:
    pesq = pytest.importorskip("pesq", reason="PESQ is computed by pesq")
    ref = clip().float()
    est = at_snr(ref, 10)
    noisy = est.clone()
    est.requires_grad_()
    optimiser = torch.optim.Adam([est], lr=1e-3)
    loss = Loss(PMSQE(RATE))
    for _ in range(30):
        optimiser.zero_grad()
        loss(est, ref).backward()
        optimiser.step()
    before, after = (pesq.pesq(RATE, ref.numpy().ravel(), x.detach().numpy().ravel(), "wb") for x in (noisy, est))
    assert after > before + 0.15


def test_the_closed_engine_and_plain_autograd_agree() -> None:
    ref = clip(seconds=1.0)
    gradients = []
    for engine in ("closed", "eager"):
        measure = PMSQE(RATE)
        measure.engine = engine  # type: ignore[assignment]
        est = at_snr(ref, 5).requires_grad_()
        gradients.append(torch.autograd.grad(measure(est, ref).sum(), est)[0])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rate", [44_100, 11_025])
def test_other_rates_are_refused_with_a_way_out(rate: int) -> None:
    with pytest.raises(SampleRateError, match="pmsqe: defined at 8000, 16000 Hz only"):
        PMSQE(rate)


GOLDEN = {
    8000: {20: 1.2509773253649548, 0: 2.8903726372297154},
    16_000: {20: 1.8995058244995366, 0: 3.3617914051799103},
}


@pytest.mark.parametrize("snr_db", [20, 0])
@RATES
def test_has_not_moved(rate: int, snr_db: int) -> None:
    """A change here is a change of the number, and goes under "Numbers" in the changelog."""
    ref = clip(rate=rate)
    value = PMSQE(rate)(at_snr(ref, snr_db), ref).item()
    assert math.isclose(value, GOLDEN[rate][snr_db], abs_tol=1e-9), value
