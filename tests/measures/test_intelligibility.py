"""What must be true of STOI and ESTOI: what they hear, what they leave out, and that they can be learned from."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss import Measure
from percloss.dsp.resample import resample
from percloss.errors import SampleRateError
from percloss.measures.intelligibility import (
    AT_ONCE,
    BANDS,
    CLIPPED,
    ESTOI,
    FRAME,
    HOP,
    SEGMENT,
    STOI,
    octave_kernel,
    third_octaves,
)
from percloss.measures.intelligibility import RATE as INNER_RATE
from tests.signals import RATE, at_snr, noise, speech

CLASSES = [STOI, ESTOI]


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.spec.name)
def measure(request: pytest.FixtureRequest) -> Measure:
    return request.param(RATE)


@pytest.fixture(scope="module")
def clean() -> Tensor:
    return speech(seconds=2.5)


def at_10_khz(cls: type[Measure], frames: int) -> float:
    """The value of noise of so many frames, none of which is a pause; the last sample begins a frame of its own."""
    ref = 0.1 * noise(1, 1, FRAME + (frames - 1) * HOP + 1)
    return cls(INNER_RATE)(at_snr(ref, 10), ref).item()


def test_the_bands_lie_side_by_side_from_150_hz_to_4_khz() -> None:
    bank = third_octaves()
    covered = bank.sum(0)
    assert bank.shape == (BANDS, 257)
    assert set(covered.tolist()) == {0.0, 1.0}
    hz = torch.arange(257) * INNER_RATE / 512
    # The lower edge of the lowest, 134 Hz, and the upper one of the highest, 4276 Hz, to half a bin.
    assert hz[covered > 0].min().item() == pytest.approx(150 * 2 ** (-1 / 6), abs=10)
    assert hz[covered > 0].max().item() == pytest.approx(150 * 2 ** (29 / 6), abs=20)
    assert (bank.sum(1).diff() >= 0).all()


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_a_tone_keeps_its_place_and_level_on_its_way_to_10_khz(rate: int) -> None:
    """Within the ripple of a filter of 60 dB, 1e-3."""
    time = torch.arange(rate, dtype=torch.float64) / rate
    got = resample(torch.sin(2 * math.pi * 1000 * time), rate, INNER_RATE, octave_kernel(rate))
    wanted = torch.sin(2 * math.pi * 1000 * torch.arange(INNER_RATE, dtype=torch.float64) / INNER_RATE)
    middle = slice(500, -500)
    assert len(got) == INNER_RATE
    torch.testing.assert_close(got[middle], wanted[middle], rtol=0, atol=2e-3)


@pytest.mark.parametrize(("rate", "match"), [(0, "an integer of 1 Hz"), (16_001, "resample to 16000 Hz offline")])
def test_a_rate_that_cannot_be_brought_to_10_khz_is_refused(rate: int, match: str) -> None:
    with pytest.raises(SampleRateError, match=match):
        STOI(rate)


@pytest.mark.parametrize("cls", CLASSES)
def test_31_frames_of_speech_are_the_least(cls: type[Measure]) -> None:
    """A segment is 30, and the last frame is lost to the overlap."""
    assert math.isnan(at_10_khz(cls, SEGMENT))
    assert at_10_khz(cls, SEGMENT + 1) > 0.5


@pytest.mark.parametrize("cls", CLASSES)
def test_pauses_of_the_reference_do_not_count(cls: type[Measure], clean: Tensor) -> None:
    """Noise in them costs nothing but at their edges; without voice enough the item has no value."""
    pause = torch.zeros(1, 1, 2 * RATE)
    ref = torch.cat((clean, pause), -1)
    est = at_snr(clean, 10)
    loud = torch.cat((est, 0.1 * noise(*pause.shape)), -1)
    assert cls(RATE)(loud, ref).item() == pytest.approx(cls(RATE)(est, clean).item(), abs=0.02)
    ref[..., RATE // 4 :] *= 1e-3
    assert cls(RATE)(loud, ref).isnan().all()
    assert cls(RATE).reason(loud, ref) == "less than 0.4 s of speech"


def test_the_level_of_both_does_not_matter(measure: Measure, clean: Tensor) -> None:
    """At -60 dB by 6e-8 of float32, and down to where float32 ends."""
    est = at_snr(clean, 5)
    value = measure(est, clean).item()
    for gain in (1e-3, 1e-12, 1e3):
        assert measure(gain * est, gain * clean).item() == pytest.approx(value, abs=2e-7)


def test_a_gap_in_the_estimate_counts_by_what_is_left_in_it(measure: Measure, clean: Tensor) -> None:
    """Every segment is brought to the level of the reference, but for one that holds nothing."""
    values = []
    for gain in (1.0, 1e-4, 1e-6, 0.0):
        est = clean.double()
        est[..., RATE : 2 * RATE] *= gain
        values.append(measure(est, clean.double()).item())
    assert values[0] > values[1] + 0.05
    assert values[1] == pytest.approx(values[2], abs=0.01)
    assert values[2] > values[3] + 0.05


def test_it_is_what_the_papers_write(clean: Tensor) -> None:
    """Equations 3 to 6 of the first, 2 to 6 of the second, segment by segment in numpy."""
    generator = np.random.default_rng(0)
    ref, est = generator.random((2, BANDS, SEGMENT + 3))
    stoi, estoi = [], []
    for end in range(SEGMENT, ref.shape[1] + 1):
        x, y = ref[:, end - SEGMENT : end], est[:, end - SEGMENT : end]
        alpha = np.linalg.norm(x, axis=1, keepdims=True) / np.linalg.norm(y, axis=1, keepdims=True)
        clipped = np.minimum(alpha * y, (1 + 10 ** (15 / 20)) * x)
        stoi.append(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(x, clipped, strict=True)]))
        x, y = (
            (z - z.mean(1, keepdims=True)) / np.linalg.norm(z - z.mean(1, keepdims=True), axis=1)[:, None]
            for z in (x, y)
        )
        estoi.append(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, y.T, strict=True)]))
    envelopes = [torch.from_numpy(z)[None, None] for z in (est, ref)]
    for cls, wanted in ((STOI, stoi), (ESTOI, estoi)):
        assert cls(RATE).correlate(*envelopes)[0, 0].tolist() == pytest.approx(wanted, abs=1e-9)
    assert pytest.approx(6.6234, abs=1e-4) == CLIPPED


def test_a_score_has_the_type_of_the_input_and_a_gradient(measure: Measure, clean: Tensor) -> None:
    for dtype in (torch.float32, torch.float64):
        est = at_snr(clean, 10).to(dtype).requires_grad_()
        values = measure(est, clean.to(dtype))
        assert values.dtype == dtype
        (gradient,) = torch.autograd.grad(values.sum(), est)
        assert gradient.abs().sum() > 0


def test_a_batch_that_is_worked_on_in_parts_scores_what_its_items_do(measure: Measure, clean: Tensor) -> None:
    """Parts of three of these items; to the rounding of float32."""
    ref = clean.expand(8, -1, -1)
    est = torch.cat([at_snr(ref[:1], snr) for snr in range(-4, 12, 2)]).requires_grad_()
    assert AT_ONCE // ref[0].numel() == 3
    whole = measure(est, ref)
    alone = torch.cat([measure(e[None], r[None]) for e, r in zip(est, ref, strict=True)])
    torch.testing.assert_close(whole, alone, rtol=0, atol=1e-6)
    by_whole, by_alone = (torch.autograd.grad(values.sum(), est)[0] for values in (whole, alone))
    torch.testing.assert_close(by_whole, by_alone, rtol=1e-4, atol=1e-7 * by_alone.abs().max().item())


def test_its_gradient_makes_noisy_speech_more_intelligible(measure: Measure, clean: Tensor) -> None:
    est = at_snr(clean, 0)
    before = measure(est, clean).item()
    for _ in range(10):
        est = est.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(measure(est, clean).sum(), est)
        est = est + 0.02 * est.detach().norm() * gradient / gradient.norm()
    assert measure(est, clean).item() > before + 0.02


def test_its_gradient_is_that_of_finite_differences(measure: Measure) -> None:
    """The pauses are those of the reference, and do not move with the estimate."""
    ref = speech(seconds=1.0)[..., RATE // 4 :].double()
    est = at_snr(ref, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(measure(est, ref).sum(), est)
    way = noise(*ref.shape, seed=3, dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        slope = (measure(est + step * way, ref) - measure(est - step * way, ref)) / (2 * step)
    assert (gradient * way).sum().item() == pytest.approx(slope.item(), rel=1e-4)


def test_an_item_too_short_or_silent_gives_its_neighbours_their_gradient_and_itself_none(
    measure: Measure, clean: Tensor
) -> None:
    ref = clean.repeat(2, 1, 1)
    ref[1] = 0
    est = at_snr(clean, 5).repeat(2, 1, 1).requires_grad_()
    values = measure(est, ref)
    (gradient,) = torch.autograd.grad(values[~values.isnan()].sum(), est)
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0
    moment = est[..., : RATE // 5]
    (gradient,) = torch.autograd.grad(torch.nan_to_num(measure(moment, ref[..., : RATE // 5])).sum(), est)
    assert gradient.abs().sum() == 0
