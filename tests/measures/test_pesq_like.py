"""PESQ with a gradient: what P.862 says it must hear and not hear, and what a loss needs. Parity is tests/parity's."""

import os

import pytest
import torch
from torch import Tensor

from percloss.errors import ArgumentError, SampleRateError, ShapeError
from percloss.hearing import p862_time
from percloss.hearing.p862_time import Alignment
from percloss.measures import pesq
from percloss.measures.pesq import DifferentiablePESQ, PESQDisturbance
from percloss.testing import RULES, check_measure
from tests.signals import RATE, at_snr, noise, speech

COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
BY_US = pytest.mark.skipif(not COMPILE, reason="beartype refuses it first: run with PERCLOSS_COMPILE=1")
MEASURES = {
    "score, wide band, aligned": (lambda: DifferentiablePESQ(RATE), RATE),
    "score, narrow band, one delay": (lambda: DifferentiablePESQ(8000, align="global"), 8000),
    "disturbance": (lambda: PESQDisturbance(RATE), RATE),
    "disturbance, corrigendum 2, aligned": (lambda: PESQDisturbance(RATE, corrigendum2=True, align="full"), RATE),
}


def later(x: Tensor, by: int) -> Tensor:
    """Later by this many samples."""
    return torch.nn.functional.pad(x, (by, -by))


@pytest.mark.parametrize(
    "rule", [name for name in RULES if name != "is_documented" and (COMPILE or name != "compiles")]
)
@pytest.mark.parametrize("name", MEASURES)
def test_they_keep_the_contract(name: str, rule: str) -> None:
    make, rate = MEASURES[name]
    check_measure(make(), sample_rate=rate, rules=[rule])


# What it is made of


def test_the_level_is_that_of_the_band_of_speech() -> None:
    measure = DifferentiablePESQ(RATE, mode="nb")
    time = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    low, tone = (torch.sin(2 * torch.pi * hertz * time)[None] for hertz in (50.0, 1000.0))
    alone, beside = measure.heard(tone), measure.heard(tone + 10 * low)
    middle = slice(RATE // 2, RATE)
    torch.testing.assert_close(alone[:, middle].std(), beside[:, middle].std(), rtol=2e-2, atol=0)
    # The mean square is 1e7 over the signal and 320 ms more; at 1 kHz the filter passes all.
    expected = torch.tensor((1e7 * 2.32 / 2) ** 0.5, dtype=torch.float64)
    torch.testing.assert_close(alone[:, middle].square().mean().sqrt(), expected, rtol=1e-3, atol=0)


def test_the_wide_bands_filter_is_the_recursion_and_the_corrigendum_takes_12_db_off() -> None:
    scipy_signal = pytest.importorskip("scipy.signal")
    x = noise(1, RATE, seed=3, dtype=torch.float64)
    x[:, : RATE // 4] = x[:, -RATE // 4 :] = 0  # so that neither fade nor end counts
    new, old = (DifferentiablePESQ(RATE, corrigendum2=flag).heard(x) for flag in (True, False))
    torch.testing.assert_close(new, 0.251188 * old)
    filtered = scipy_signal.lfilter([2.740826, -5.4816519, 2.740826], [1, -1.9444777, 0.94597794], x.numpy())
    scale = float(old.abs().max()) / abs(filtered).max()
    torch.testing.assert_close(old[:, :RATE], torch.from_numpy(filtered) * scale, rtol=0, atol=2e-5 * float(old.max()))


def test_the_gain_follows_the_frame_before_from_the_first_frame_of_speech_on() -> None:
    measure = DifferentiablePESQ(RATE)
    bands = 1e8 * noise(1, 1, 48, 12, seed=1, dtype=torch.float64).square() + 1e9
    ref = 1e8 * noise(1, 1, 48, 12, seed=2, dtype=torch.float64).square() + 1e9
    frames = pesq._Frames(torch.tensor([3]), torch.tensor([9]), torch.ones(1, 1, 12, dtype=torch.bool))
    found = measure.gain(bands, ref, frames).flatten().tolist()
    raw = ((ref.sum(2) + 5e3) / (bands.sum(2) + 5e3)).flatten().tolist()
    before = raw[3]
    for frame in range(3, 12):
        before = 0.2 * before + 0.8 * raw[frame]
        assert found[frame] == pytest.approx(min(max(before, 3e-4), 5), rel=1e-9)


@pytest.mark.parametrize("count", [1, 9, 10, 20, 37, 400, 1500, 9000])
def test_syllables_are_the_recommendations(count: int) -> None:
    """Of 20 frames, beginning every 10, divided by 20 whatever is there, later ones heavier in a long signal."""
    first, total = 5, count + 9
    measure = DifferentiablePESQ(RATE)
    x = noise(1, total, seed=count, dtype=torch.float64).abs() * 30
    frames = pesq._Frames(torch.tensor([first]), torch.tensor([count]), torch.empty(0))
    spoken = x[0, first : first + count]
    over = under = 0.0
    for begin in range(0, count, 10):
        syllable = (spoken[begin : begin + 20].pow(6).sum() / 20) ** (1 / 6)
        part = min(max((count - 1000) / 5500, 0), 0.5)
        weight = 1 - part + part * begin / count
        over, under = over + float(syllable * weight) ** 2, under + weight**2
    assert measure.over_time(x, frames).item() == pytest.approx((over / under) ** 0.5, rel=1e-9)


def test_no_disturbance_anywhere_has_a_finite_slope() -> None:
    x = torch.zeros(1, 40, requires_grad=True)
    frames = pesq._Frames(torch.tensor([0]), torch.tensor([40]), torch.empty(0))
    value = DifferentiablePESQ(RATE).over_time(x, frames)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.item() == 0
    assert slope.isfinite().all()


def test_a_bad_interval_has_five_frames_and_small_gaps_are_part_of_it() -> None:
    def found(marks: str) -> list[tuple[int, int]]:
        return list(pesq.bad_intervals(torch.tensor([mark == "x" for mark in marks])))

    assert found("..xxxx..") == []
    assert found("..xxxxx.") == [(2, 7)]
    assert found("xx..xx..") == [(0, 6)]
    assert found("xx...xx.") == []
    assert found("xxxxx...xxxxx") == [(0, 5), (8, 13)]


def test_silence_before_and_after_the_speech_does_not_count() -> None:
    ref = speech(seconds=2.0)
    est = at_snr(ref, 15)
    padded = [torch.nn.functional.pad(x, (4096, 4096)) for x in (est, ref)]
    measure = DifferentiablePESQ(RATE, align="none")
    # Not to the last digit: the level is a mean over all samples.
    torch.testing.assert_close(measure(*padded), measure(est, ref), atol=0.12, rtol=0)


# Alignment


@pytest.mark.parametrize("by", [-700, -64, 0, 5, 1600])
@pytest.mark.parametrize("align", ["global", "full"])
def test_a_delay_is_found_to_the_sample(align: str, by: int) -> None:
    ref = speech("librivox_0880", seconds=2.9)
    est = later(at_snr(ref, 20), by)
    alignment = Alignment(est[0, 0], ref[0, 0], RATE)
    sections = list(alignment.constant() if align == "global" else alignment.variable())
    assert {section.delay for section in sections} == {by}
    assert sections[0].begin == 0


def test_a_jump_is_found_near_where_it_is() -> None:
    ref = speech("librivox_0930", seconds=3.2)
    middle = ref.shape[-1] // 2
    est = torch.cat((ref[..., :middle], later(ref, 480)[..., middle:]), -1)
    sections = list(Alignment(at_snr(est, 30)[0, 0], ref[0, 0], RATE).variable())
    assert sections[0].delay == 0
    assert sections[-1].delay == 480
    jump = next(section for section in sections if section.delay == 480)
    assert abs(jump.begin - middle) < 0.1 * RATE


def test_of_two_silent_or_unlike_signals_an_alignment_is_still_made() -> None:
    zero, white = torch.zeros(8000), noise(8000)
    for est, ref in ((zero, white), (white, zero), (zero, zero), (noise(8000, seed=5), white)):
        for sections in (Alignment(est, ref, RATE).constant(), Alignment(est, ref, RATE).variable()):
            assert all(isinstance(section.delay, int) for section in sections)


def test_a_stretch_is_found_again_and_noise_against_noise_is_not() -> None:
    ref = speech(seconds=1.0)[0, 0].abs()
    est = torch.nn.functional.pad(ref, (100, 0))
    assert p862_time.lag(est, ref[4000:8000], begin=4000, reach=512, least=0.5) == 100
    assert p862_time.lag(est, ref[4000:8000], begin=4000, reach=512, least=0.999) == 0
    assert p862_time.lag(0 * est, ref[4000:8000], begin=4000, reach=512, least=0.5) == 0


@pytest.mark.parametrize("align", ["global", "full"])
def test_an_aligned_measure_does_not_hear_a_delay(align: str) -> None:
    ref = torch.nn.functional.pad(speech("librivox_0880", seconds=2.5), (3200, 3200))
    est = at_snr(ref, 30)
    measure = DifferentiablePESQ(RATE, align=align)
    torch.testing.assert_close(measure(later(est, 1000), ref), measure(est, ref), atol=0.02, rtol=0)
    assert DifferentiablePESQ(RATE, align="none")(later(est, 1000), ref) < measure(est, ref) - 0.2


# As a loss


def test_the_score_is_the_mapped_disturbance() -> None:
    ref = speech(seconds=2.0)
    est = at_snr(ref, 12)
    for mode, (slope, offset) in (("wb", (1.3669, 3.8224)), ("nb", (1.4945, 4.6607))):
        score = DifferentiablePESQ(RATE, mode=mode, align="none")(est, ref)
        disturbance = PESQDisturbance(RATE, mode=mode)(est, ref)
        expected = 0.999 + 4 / (1 + (-slope * (4.5 - disturbance) + offset).exp())
        torch.testing.assert_close(score, expected)


def test_where_the_score_is_flat_the_disturbance_still_slopes() -> None:
    ref = speech(seconds=2.0)
    est = at_snr(ref, -15).requires_grad_()
    slopes = [
        torch.autograd.grad(measure(est, ref).sum(), est)[0].norm()
        for measure in (DifferentiablePESQ(RATE, align="none"), PESQDisturbance(RATE))
    ]
    assert slopes[1] > 10 * slopes[0] > 0


@pytest.mark.parametrize("make", [DifferentiablePESQ, PESQDisturbance])
def test_a_bad_interval_keeps_its_gradient(make: type) -> None:
    ref = speech(seconds=2.0)
    est = ref.clone()
    est[..., 8000:12_000] = 0.5 * est[..., 8600:12_600].clone()
    est = est.requires_grad_()
    (slope,) = torch.autograd.grad(make(RATE, align="full")(est, ref).sum(), est)
    assert slope.isfinite().all()
    assert slope[..., 8000:12_000].any()


def test_corrigendum_2_scores_higher() -> None:
    ref = speech(seconds=2.0)
    est = at_snr(ref, 12)
    assert DifferentiablePESQ(RATE, corrigendum2=True)(est, ref) > DifferentiablePESQ(RATE)(est, ref) + 0.1


# Bad input


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"sample_rate": 44_100}, SampleRateError, "8000, 16000 Hz only, got 44100"),
        ({"sample_rate": 8000, "mode": "wb"}, ArgumentError, 'needed is "nb", or "wb" at 16000 Hz'),
        pytest.param({"sample_rate": RATE, "mode": "fb"}, ArgumentError, "mode='fb' came", marks=BY_US),
        pytest.param({"sample_rate": RATE, "align": "some"}, ArgumentError, "align='some' came", marks=BY_US),
        ({"sample_rate": 8000, "corrigendum2": True}, ArgumentError, "corrigendum 2 is of the wide band"),
    ],
)
@pytest.mark.parametrize("make", [DifferentiablePESQ, PESQDisturbance])
def test_what_it_is_not_defined_for_is_refused(make: type, settings: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        make(**settings)


def test_less_than_a_quarter_of_a_second_is_refused() -> None:
    with pytest.raises(ShapeError, match="4000 samples"):
        DifferentiablePESQ(RATE)(torch.ones(1, 1, 3999), torch.ones(1, 1, 3999))


@pytest.mark.parametrize("align", ["none", "full"])
def test_a_silent_estimate_has_a_score_and_a_reference_too_soft_to_be_speech_has_none(align: str) -> None:
    ref = speech(seconds=1.5)
    measure = DifferentiablePESQ(RATE, align=align)
    assert 1 <= measure(0 * ref, ref).item() < 1.5
    soft = 1e-12 * ref
    assert measure(ref, soft).isnan()
    assert measure.reason(ref, soft) == "no speech in the reference"
