"""A measure behind a weighting curve is that measure of the weighted signals, with all that it claimed before."""

import math
import os

import pytest
import torch
from torch import Tensor

from percloss import MSE, SISDR, SNR, Framewise, Loss, Measure, MelDistance, MultiResolutionSTFTDistance, STFTDistance
from percloss import engine as engines
from percloss.errors import ArgumentError, SampleRateError
from percloss.hearing.weighting import CURVES, Weighting, weighting_db
from percloss.measures.masking import CompressiveNMR
from percloss.measures.phase import WeightedSDR
from percloss.measures.weighted import Weighted
from percloss.testing import RULES, check_measure
from percloss.wrappers import PermutationInvariant, Resampled
from tests.signals import RATE, at_snr, noise, tone

CASES = {
    "snr, K": lambda: Weighted(SNR(), "K", RATE),
    "si_sdr, C": lambda: Weighted(SISDR(), "C", RATE),
    "stft, A": lambda: Weighted(STFTDistance(), "A", RATE),
    "mel, B": lambda: Weighted(MelDistance(RATE), "B", RATE),
    "weighted_sdr, ITU-R 468": lambda: Weighted(WeightedSDR(), "ITU468", RATE),
    "compressive_nmr, D": lambda: Weighted(CompressiveNMR(RATE), "D", RATE),
}
COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
TRIED = [name for name in RULES if COMPILE or name != "compiles"]


def gradient(measure: Measure, est: Tensor, ref: Tensor) -> Tensor:
    est = est.clone().requires_grad_()
    (found,) = torch.autograd.grad(measure(est, ref).sum(), est)
    return found


@pytest.mark.parametrize("rule", TRIED)
@pytest.mark.parametrize("case", CASES)
def test_a_weighted_measure_keeps_the_contract(case: str, rule: str) -> None:
    """Among it that every invariance the inner measure claims still holds, and no other."""
    check_measure(CASES[case](), rules=[rule])


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_measure_of_the_weighted_signals(case: str) -> None:
    measure = CASES[case]()
    ref = noise(2, 2, 4000)
    signals = {"est": at_snr(ref, 10.0), "ref": ref}
    signals |= {need: noise(2, 2, 4000, seed=5) for need in measure.spec.needs}
    filtering = Weighting(measure.curve, RATE)
    wanted = measure.measure(**{role: filtering(x) for role, x in signals.items()})
    torch.testing.assert_close(measure(**signals), wanted)


@pytest.mark.parametrize("curve", CURVES)
def test_the_snr_of_two_tones_moves_by_the_difference_of_their_gains(curve: str) -> None:
    """A tone of 1 kHz with one of 200 Hz as its error, 20 dB below."""
    ref, error = tone(1000).float(), tone(200, db=-20).float()
    at_1000, at_200 = weighting_db(curve, torch.tensor([1000.0, 200.0], dtype=torch.float64)).tolist()
    expected = 20 + at_1000 - at_200
    assert Weighted(SNR(), curve, RATE)(ref + error, ref).item() == pytest.approx(expected, abs=0.1)
    assert SNR()(ref + error, ref).item() == pytest.approx(20, abs=0.01)


def test_auralosss_filter_is_20_db_off_where_this_one_is_right() -> None:
    """At 31.5 Hz and 44.1 kHz: an error that nobody hears counts nearly a hundred times as much."""
    auraloss = pytest.importorskip("auraloss")
    filtering = auraloss.perceptual.FIRFilter("aw", fs=44_100).double()
    time = torch.arange(2 * 44_100, dtype=torch.float64) / 44_100
    ref, error = (torch.sin(2 * math.pi * hz * time)[None, None] for hz in (1000.0, 31.5))
    theirs = SNR()(*filtering(ref + error, ref)).item()
    assert Weighted(SNR(), "A", 44_100)(ref + error, ref).item() == pytest.approx(39.4, abs=0.15)
    assert theirs == pytest.approx(39.4 - 19.9, abs=0.2)


def test_what_the_curve_hardly_hears_is_hardly_learnt() -> None:
    """Along an error of 50 Hz the gradient is 30 dB weaker than along one of 1 kHz."""
    ref = 0.1 * noise(1, 1, RATE, dtype=torch.float64)
    slopes = [
        (gradient(Weighted(MSE(), "A", RATE), ref + error, ref) * error).sum().item()
        for error in (tone(50, db=-40), tone(1000, db=-40))
    ]
    assert 10 * math.log10(slopes[0] / slopes[1]) == pytest.approx(-30.3, abs=0.1)


def test_the_one_pass_engine_stays_in_use_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    compare = engines.compare
    monkeypatch.setattr(engines, "compare", lambda *given: calls.append(len(given[0])) or compare(*given))
    ref = noise(1, 1, 8000, dtype=torch.float64)
    measure = Weighted(MultiResolutionSTFTDistance(), "A", RATE)
    closed = gradient(measure, at_snr(ref, 10.0), ref)
    assert calls == [3]
    measure.measure.engine = "eager"
    torch.testing.assert_close(closed, gradient(measure, at_snr(ref, 10.0), ref), rtol=1e-9, atol=1e-12)
    assert calls == [3]


def test_the_spec_is_the_measures_with_the_curve_in_it() -> None:
    inner, outer = SNR(), Weighted(SNR(), "ITU468", 44_100)
    assert outer.spec.name == "itu468_weighted_snr"
    assert outer.spec.title == f"{inner.spec.title}, ITU-R 468 weighting"
    assert outer.spec.sample_rates == {44_100}
    assert outer.spec.cite == (*inner.spec.cite, "itu1986bs468")
    for claim in ("unit", "better", "bounds", "perfect", "needs", "invariant_to", "silent_reference"):
        assert getattr(outer.spec, claim) == getattr(inner.spec, claim)
    assert "curve='ITU468', sample_rate=44100" in repr(outer)


def test_it_goes_into_other_wrappers_and_into_a_loss() -> None:
    ref = noise(2, 2, 9000)
    est = at_snr(ref, 10.0)
    weighted = Weighted(SNR(), "A", RATE)
    assert Framewise(weighted, frame=3000)(est, ref).shape == (2, 2)
    torch.testing.assert_close(Loss(weighted)(est, ref), -weighted(est, ref).mean())
    sources = ref[:, :, None]
    best = PermutationInvariant(weighted)(est[:, :, None].flip(1), sources)
    torch.testing.assert_close(best, weighted(est, ref))


def test_a_rate_the_curve_is_not_defined_at_is_refused_and_the_advice_works() -> None:
    with pytest.raises(
        SampleRateError, match=r"use sample_rate=48000, .*Resampled\(Weighted\(\.\.\., 48000\), 96000\)"
    ):
        Weighted(SNR(), "K", 96_000)
    measure = Resampled(Weighted(SNR(), "K", 48_000), 96_000)
    ref = noise(1, 1, 9600)
    assert measure(at_snr(ref, 10.0), ref).isfinite().all()


def test_another_rate_than_the_measures_own_is_refused_and_the_advice_works() -> None:
    with pytest.raises(SampleRateError, match=r"mel at 16000 Hz and sample_rate=48000.*Resampled\(Weighted\(measure"):
        Weighted(MelDistance(16_000), "A", 48_000)
    measure = Resampled(Weighted(MelDistance(16_000), "A", 16_000), 48_000)
    assert measure(*noise(2, 1, 1, 9600)).isfinite().all()


def test_an_unknown_curve_and_a_measure_of_sources_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"curve='Z'.*A, B, C, D, K, ITU468"):
        Weighted(SNR(), "Z", RATE)
    with pytest.raises(ArgumentError, match='takes "pair"'):
        Weighted(PermutationInvariant(SNR()), "A", RATE)
