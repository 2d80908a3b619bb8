"""What must be true of PESQ and STOI: their scale, and that no item is ever lost or ends a batch."""

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor

from percloss import ESTOI, STOI, Measure, PESQNarrowBand, PESQWideBand, Resampled, create
from percloss.errors import SampleRateError
from percloss.measures.speech import SAFE_SECONDS
from tests.signals import RATE, at_snr, noise, speech

PACKAGE = {"pesq_nb": "pesq", "pesq_wb": "pesq", "stoi": None, "estoi": None}
# P.862.1 and P.862.2 at the highest raw score, 4.5.
IDENTITY = {
    "pesq_nb": 0.999 + 4 / (1 + math.exp(-1.4945 * 4.5 + 4.6607)),
    "pesq_wb": 0.999 + 4 / (1 + math.exp(-1.3669 * 4.5 + 3.8224)),
    "stoi": 1.0,
    "estoi": 1.0,
}


@pytest.fixture(params=PACKAGE)
def measure(request: pytest.FixtureRequest) -> Measure:
    package = PACKAGE[request.param]
    if package:
        pytest.importorskip(package, reason=f"{request.param} is computed by {package}")
    return create(request.param, sample_rate=RATE)


@pytest.fixture
def pesq_wb() -> PESQWideBand:
    pytest.importorskip("pesq", reason="PESQ is computed by pesq")
    return PESQWideBand(RATE)


@pytest.fixture(scope="module")
def clean() -> Tensor:
    return speech(seconds=2.5)


def test_clean_speech_scores_the_top_of_the_scale(measure: Measure, clean: Tensor) -> None:
    """To float32; PESQ's own arithmetic is in float32 too and loses 1e-5 on the way."""
    top = measure(clean, clean).item()
    assert top == pytest.approx(IDENTITY[measure.spec.name], abs=2e-5)
    assert top == pytest.approx(measure.spec.perfect, abs=1e-4)


def test_the_golden_identities_of_pesq_are_those_of_the_mapping() -> None:
    assert PESQNarrowBand.spec.perfect == pytest.approx(IDENTITY["pesq_nb"], abs=5e-5) == 4.5486
    assert PESQWideBand.spec.perfect == pytest.approx(IDENTITY["pesq_wb"], abs=5e-5) == 4.6439


def test_more_noise_is_worse(measure: Measure, clean: Tensor) -> None:
    scores = torch.cat([measure(at_snr(clean, db), clean) for db in (40, 25, 10, 0)])
    assert (scores.diff(dim=0) < 0).all()
    assert scores[-1].item() < 0.5 * IDENTITY[measure.spec.name] + 0.5


def test_narrow_band_does_not_hear_what_a_telephone_leaves_out(clean: Tensor) -> None:
    """Noise above 4 kHz: wide band scores it, narrow band barely."""
    pytest.importorskip("pesq", reason="PESQ is computed by pesq")
    spectrum = torch.fft.rfft(noise(*clean.shape))
    hiss = torch.fft.irfft(spectrum * (torch.arange(spectrum.shape[-1]) > spectrum.shape[-1] / 2), clean.shape[-1])
    est = clean + 0.3 * clean.std() * hiss
    narrow, wide = (cls(RATE)(est, clean).item() for cls in (PESQNarrowBand, PESQWideBand))
    assert IDENTITY["pesq_nb"] - narrow < 0.1 < 1 < IDENTITY["pesq_wb"] - wide


def test_estoi_hears_a_modulated_masker_that_stoi_forgives(clean: Tensor) -> None:
    est = at_snr(clean, 5)
    assert ESTOI(RATE)(est, clean).item() < STOI(RATE)(est, clean).item() - 0.1


def test_neither_hears_the_level_of_the_estimate(measure: Measure, clean: Tensor) -> None:
    """Both normalise it, in float32 in PESQ's case."""
    est = at_snr(clean, 15)
    assert measure(0.1 * est, clean).item() == pytest.approx(measure(est, clean).item(), abs=1e-3)


def test_silence_has_no_score_and_a_reason(measure: Measure, clean: Tensor) -> None:
    assert measure(clean, 0 * clean).isnan().all()
    assert measure.reason(clean, 0 * clean) == "reference is silent"
    assert measure(0 * clean, 0 * clean).isnan().all()


def test_a_silent_estimate_has_no_pesq_and_no_intelligibility(measure: Measure, clean: Tensor) -> None:
    value = measure(0 * clean, clean).item()
    if measure.spec.implementation == "pesq":
        assert math.isnan(value)
        assert measure.reason(0 * clean, clean) == "estimate is silent"
    else:
        assert value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seconds", [1 / RATE, 0.2])
def test_a_moment_has_no_score_and_a_reason(measure: Measure, clean: Tensor, seconds: float) -> None:
    start = RATE // 2
    moment = clean[..., start : start + int(seconds * RATE)]
    assert measure(moment, moment).isnan().all()
    limit = "shorter than 0.25 s" if measure.spec.implementation == "pesq" else "less than 0.4 s of speech"
    assert measure.reason(moment, moment) == limit


def test_an_item_that_cannot_be_scored_keeps_its_place_and_loses_nobody(measure: Measure, clean: Tensor) -> None:
    ref = clean.repeat(3, 2, 1)
    est = torch.stack([at_snr(ref[i], 30 - 10 * i) for i in range(3)])
    whole = measure(est, ref)
    ref[1, 0] = 0
    est[2, 1, 5] = math.nan
    values = measure(est, ref)
    broken = torch.tensor([[False, False], [True, False], [False, True]])
    assert torch.equal(values.isnan(), broken)
    assert torch.equal(values[~broken], whole[~broken])


@pytest.mark.parametrize(("cls", "rate"), [(PESQNarrowBand, 44_100), (PESQWideBand, 48_000), (PESQWideBand, 8000)])
def test_another_rate_is_refused_with_the_line_to_type(cls: type[Measure], rate: int) -> None:
    name = cls.spec.name
    line = rf"Type Resampled\(create\('{name}', sample_rate=16000\), sample_rate={rate}\)"
    for build in (lambda: cls(rate), lambda: create(name, sample_rate=rate)):
        with pytest.raises(SampleRateError, match=rf"{name}: defined at .*16000 Hz only, got {rate}. {line}"):
            build()


def test_the_line_to_type_works(pesq_wb: PESQWideBand, clean: Tensor) -> None:
    at_48k = Resampled(create("pesq_wb", sample_rate=16_000), sample_rate=48_000)
    ref = torch.nn.functional.interpolate(clean, scale_factor=3.0, mode="linear")
    assert at_48k(ref, ref).item() == pytest.approx(4.6439, abs=1e-4)


def test_sixty_utterances_do_not_kill_the_process(pesq_wb: PESQWideBand) -> None:
    """ITU's code keeps 50 in a table and writes past its end."""
    utterance = torch.cat([0.1 * noise(RATE // 4), torch.zeros(RATE // 4)])
    ref = utterance.repeat(60)[None, None]
    est = ref + 0.01 * noise(*ref.shape, seed=1)
    assert pesq_wb(est, ref).isnan().all()
    assert pesq_wb.reason(est, ref) == "more utterances than pesq can hold (50): score shorter excerpts"


def test_a_long_item_scores_what_the_package_alone_says(pesq_wb: PESQWideBand, clean: Tensor) -> None:
    ref = clean.repeat(1, 1, 9)
    assert ref.shape[-1] > SAFE_SECONDS * RATE
    est = at_snr(ref, 20)
    expected = pytest.importorskip("pesq").pesq(RATE, ref.numpy().ravel(), est.numpy().ravel(), "wb")
    assert pesq_wb(est, ref).item() == pytest.approx(expected, abs=1e-6)


def test_too_little_speech_in_a_long_item_is_undefined_as_in_a_short_one(pesq_wb: PESQWideBand) -> None:
    """A long item is scored in a process of its own, and its reason must read the same."""
    ref = torch.zeros(1, 1, int((SAFE_SECONDS + 1) * RATE))
    ref[..., RATE : RATE + RATE // 10] = 0.1 * noise(RATE // 10)
    for item in (ref, ref[..., : 8 * RATE]):
        assert pesq_wb(item, item).isnan().all()
        assert pesq_wb.reason(item, item) == "no utterance detected"


def test_it_survives_a_copy_and_a_pickle(measure: Measure, clean: Tensor) -> None:
    """The package behind PESQ is a module, which neither copies nor pickles."""
    est = at_snr(clean, 10)
    for twin in (copy.deepcopy(measure), pickle.loads(pickle.dumps(measure))):
        assert torch.equal(twin(est, clean), measure(est, clean))


@pytest.mark.parametrize("name", ["pesq_nb", "pesq_wb"])
def test_a_score_of_the_package_has_the_type_of_the_input_and_no_gradient(name: str, clean: Tensor) -> None:
    pytest.importorskip("pesq", reason="PESQ is computed by pesq")
    est = at_snr(clean, 10).double().requires_grad_()
    values = create(name, sample_rate=RATE)(est, clean.double())
    assert values.dtype == torch.float64
    assert not values.requires_grad
