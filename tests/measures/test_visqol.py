"""What must be true of ViSQOL: its scale, what it forgives and hears, and that it can be learned from."""

import math

import pytest
import torch
from torch import Tensor

from percloss import Measure, create
from percloss.errors import SampleRateError
from percloss.measures.visqol import ViSQOLAudio, ViSQOLSpeech
from tests.signals import RATE, at_snr, noise, speech

IDENTITY = {"visqol_audio": 4.7321, "visqol_speech": 5.0}


@pytest.fixture(scope="module", params=[ViSQOLAudio, ViSQOLSpeech], ids=lambda cls: cls.spec.name)
def measure(request: pytest.FixtureRequest) -> Measure:
    (rate,) = request.param.spec.sample_rates
    return request.param(rate)


@pytest.fixture
def clean(measure: Measure) -> Tensor:
    """A second and a half, which is the same samples played three times as fast in audio mode."""
    return speech(seconds=1.5 if measure.sample_rate == RATE else 4.5)


def test_an_estimate_that_is_the_reference_scores_the_top_of_the_scale(measure: Measure, clean: Tensor) -> None:
    assert measure(clean, clean).item() == pytest.approx(IDENTITY[measure.spec.name], abs=1e-4)
    assert measure.spec.perfect == IDENTITY[measure.spec.name]


def test_more_noise_is_worse_and_bounded(measure: Measure, clean: Tensor) -> None:
    scores = torch.cat([measure(at_snr(clean, db), clean) for db in (50, 30, 10, -40)])
    assert (scores.diff(dim=0) < 0).all()
    assert 1 <= scores[-1].item() < 1.6


def test_a_delay_and_a_gain_cost_nothing_much(measure: Measure, clean: Tensor) -> None:
    est = 0.3 * torch.nn.functional.pad(clean, (500, 0))[..., : clean.shape[-1]]
    assert measure(est, clean).item() > IDENTITY[measure.spec.name] - 0.1
    assert measure(0.3 * clean, clean).item() == pytest.approx(IDENTITY[measure.spec.name], abs=1e-4)


def test_what_is_too_faint_for_the_ear_is_not_compared(measure: Measure, clean: Tensor) -> None:
    """The floor is absolute, at -90 dBFS: two signals below it are both nothing."""
    est, ref = 1e-5 * at_snr(clean, 0), 1e-5 * clean
    assert measure(est, ref).item() == pytest.approx(IDENTITY[measure.spec.name], abs=1e-4)
    assert measure(1e5 * est, 1e5 * ref).item() < 3


def test_silence_and_a_moment_have_one_outcome(measure: Measure, clean: Tensor) -> None:
    silence = 0 * clean
    assert measure(clean, silence).isnan().all()
    assert measure.reason(clean, silence) == "reference is silent"
    assert 1 <= measure(silence, clean).item() < 3
    shortest = measure.shortest
    assert not measure(clean[..., :shortest], clean[..., :shortest]).isnan()
    moment = clean[..., : shortest - 1]
    assert measure(moment, moment).isnan().all()
    seconds = {"visqol_audio": "0.96", "visqol_speech": "0.64"}[measure.spec.name]
    assert measure.reason(moment, moment) == f"shorter than {seconds} s"


def test_an_item_without_a_value_keeps_its_place_and_changes_nobody(measure: Measure, clean: Tensor) -> None:
    ref = clean.repeat(3, 1, 1)
    est = torch.stack([at_snr(ref[i], 30 - 10 * i) for i in range(3)])
    whole = measure(est, ref)
    ref[1] = 0
    est[2, 0, 5] = math.nan
    values = measure(est, ref)
    assert values.isnan().flatten().tolist() == [False, True, True]
    assert torch.equal(values[0], whole[0])


def test_another_rate_is_refused_with_the_line_to_type() -> None:
    for cls, rate in ((ViSQOLAudio, 44_100), (ViSQOLSpeech, 48_000)):
        (needed,) = cls.spec.sample_rates
        with pytest.raises(SampleRateError, match=rf"Resampled\(create\('{cls.spec.name}', sample_rate={needed}\)"):
            cls(rate)
        with pytest.raises(SampleRateError):
            create(cls.spec.name, sample_rate=rate)


def test_its_gradient_makes_a_noisy_signal_better(measure: Measure, clean: Tensor) -> None:
    est = at_snr(clean, 10)
    before = measure(est, clean).item()
    for _ in range(5):
        est = est.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(measure(est, clean).sum(), est)
        est = est + 0.03 * est.detach().norm() * gradient / gradient.norm()
    assert measure(est, clean).item() > before + 0.05


def test_an_estimate_too_bad_for_the_scale_still_learns() -> None:
    measure = ViSQOLSpeech(RATE)
    ref = speech(seconds=1.5)
    est = (0.1 * noise(*ref.shape)).requires_grad_()
    value = measure(est, ref)
    assert value.item() == 1
    (gradient,) = torch.autograd.grad(value.sum(), est)
    assert gradient.isfinite().all()
    assert gradient.any()
