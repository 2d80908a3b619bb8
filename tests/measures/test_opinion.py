"""What must be true of DNSMOS as a measure: its scale, its one network, and that it needs no reference."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from percloss.errors import ArgumentError, MissingExtraError, SampleRateError
from percloss.evaluation import evaluate, signature
from percloss.losses import Loss, WeightedSum
from percloss.measure import Measure, create
from percloss.measures import opinion
from percloss.measures.opinion import DNSMOSP808, DNSMOSBackground, DNSMOSOverall, DNSMOSSignal
from percloss.measures.ratios import SISDR
from percloss.nets.dnsmos import P808, P835, Opinions, p808_opinions, p835_opinions
from percloss.testing import NEED_A_REFERENCE, RULES, check_measure
from percloss.wrappers import Framewise, Resampled
from tests.alone import Level
from tests.nets.common import needs, uninstall
from tests.nets.test_dnsmos import OPINIONS, as_keras_exports
from tests.signals import RATE, at_snr, noise, speech

MEASURES = {cls.spec.name: cls for cls in (DNSMOSSignal, DNSMOSBackground, DNSMOSOverall, DNSMOSP808)}
# Doubled four times they fill one piece.
MOMENT = 9_100


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights, which need no package."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {"P835": folder / "sig_bak_ovr.onnx", "P808": folder / "model_v8.onnx"}
    as_keras_exports(P835(), paths["P835"])
    as_keras_exports(P808(), paths["P808"])
    return paths


@pytest.fixture(scope="module")
def p808(weights: dict[str, Path]) -> DNSMOSP808:
    return DNSMOSP808(RATE, path=weights["P808"])


# --- without the package --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule", [name for name in RULES if name not in {*NEED_A_REFERENCE, "compiles", "is_documented"}]
)
def test_any_weights_keep_the_contract(p808: DNSMOSP808, rule: str) -> None:
    check_measure(p808, rules=[rule])


def test_each_item_and_channel_has_its_opinion(p808: DNSMOSP808) -> None:
    x = 0.1 * noise(2, 2, MOMENT)
    net = p808.frozen.net.net
    with torch.no_grad():
        expected = p808_opinions(net, x.flatten(0, 1)).view(2, 2)
    torch.testing.assert_close(p808(x), expected)
    assert not p808(x.requires_grad_()).requires_grad


def test_three_scales_are_three_outputs_of_one_network(weights: dict[str, Path]) -> None:
    x = 0.1 * noise(1, 1, MOMENT)
    scales = [cls(RATE, path=weights["P835"]) for cls in (DNSMOSSignal, DNSMOSBackground, DNSMOSOverall)]
    expected = scales[0].frozen(x[0])["opinions"][0]
    assert [scale(x).item() for scale in scales] == pytest.approx(expected.tolist(), abs=1e-6)


def test_evaluated_together_they_run_it_once(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[P835] = []

    def counted(net: P835, x: Tensor) -> Opinions:
        heard.append(net)
        return p835_opinions(net, x)

    monkeypatch.setattr(opinion, "p835_opinions", counted)
    x = 0.1 * noise(1, 1, MOMENT)
    scales = [cls(RATE, path=weights["P835"]) for cls in (DNSMOSSignal, DNSMOSBackground, DNSMOSOverall)]
    together = evaluate(x, None, RATE, scales)
    assert len(heard) == 1
    alone = [scale(x).item() for scale in scales]
    assert len(heard) == 4
    assert [values.item() for values in together.values()] == pytest.approx(alone, abs=1e-6)
    evaluate(x, None, RATE, [DNSMOSSignal(RATE, path=weights["P835"], personalized=True)])
    assert len(heard) == 5


@pytest.mark.parametrize("name", MEASURES)
def test_without_the_package_it_says_what_to_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch)
    with pytest.raises(
        MissingExtraError, match=rf'{name}: .*speechmos.*pip install "percloss\[dnsmos\]", or type path='
    ):
        create(name, sample_rate=RATE)


def test_a_copy_of_the_weights_needs_no_package(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch)
    measure = DNSMOSP808(RATE, path=weights["P808"])
    assert measure.spec.extra is None
    assert signature(measure, RATE).startswith("dnsmos_p808|path:")
    with pytest.raises(ArgumentError, match="there is no file"):
        DNSMOSOverall(RATE, path="/nowhere/sig_bak_ovr.onnx")


@pytest.mark.parametrize("name", MEASURES)
def test_another_rate_is_refused_with_the_line_to_type(name: str) -> None:
    line = rf"Type Resampled\(create\('{name}', sample_rate=16000\), sample_rate=48000\)"
    with pytest.raises(SampleRateError, match=rf"{name}: defined at 16000 Hz only, got 48000. {line}"):
        create(name, sample_rate=48_000)


def test_the_line_to_type_works(p808: DNSMOSP808) -> None:
    x = 0.1 * noise(1, 1, 3 * MOMENT)
    at_48k = Resampled(p808, sample_rate=48_000)
    torch.testing.assert_close(at_48k(x), p808(at_48k.front(x)))
    assert at_48k.reason(0 * x) == "estimate is silent"
    with pytest.raises(ArgumentError, match='which takes alone; needed is a measure that takes "pair"'):
        Framewise(p808, frame=100)


def test_silence_has_no_opinion_and_a_moment_has_one(p808: DNSMOSP808) -> None:
    x = 0.1 * noise(2, 1, RATE // 5)
    x[1] = 0
    assert p808(x).isnan().tolist() == [[False], [True]]
    assert p808.reason(x[1:]) == "estimate is silent"


# --- as a loss ------------------------------------------------------------------------------------------------------


def test_a_loss_of_the_estimate_alone_raises_it(weights: dict[str, Path]) -> None:
    x = torch.full((2, 1, 8), 0.1, requires_grad=True)
    loss = Loss(Level())
    assert loss(x).item() == pytest.approx(20.0)
    (gradient,) = torch.autograd.grad(loss(x), x)
    assert (gradient < 0).all()
    with pytest.raises(ArgumentError, match="it takes no reference"):
        loss(x, x)
    with pytest.raises(ArgumentError, match="dnsmos_p808, which has no gradient"):
        Loss(DNSMOSP808(RATE, path=weights["P808"]))


def test_in_a_sum_each_term_is_given_the_reference_it_takes() -> None:
    est, ref = 0.1 * noise(2, 2, 1, 100)
    terms = WeightedSum([(1.0, Loss(SISDR())), (0.5, Loss(Level()))])
    torch.testing.assert_close(terms(est, ref), Loss(SISDR())(est, ref) + 0.5 * Loss(Level())(est))
    torch.testing.assert_close(terms.bind(ref)(est), terms(est, ref))


def test_a_metric_leaves_the_reference_out() -> None:
    metrics = pytest.importorskip("percloss.metrics", reason="torchmetrics is not installed")
    est, ref = 0.1 * noise(2, 3, 1, 100)
    with_ref, without = metrics.Metric(Level()), metrics.Metric(Level())
    with_ref.update(est, ref)
    without.update(est)
    assert torch.equal(with_ref.items, without.items)
    torch.testing.assert_close(without.items.float(), Level()(est)[:, 0])


# --- with Microsoft's weights ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recordings() -> dict[str, Tensor]:
    return {"clean": speech(seconds=2.5), "noisy": at_snr(speech(seconds=2.75), 10.0)}


@needs("speechmos")
@pytest.mark.parametrize("name", OPINIONS)
def test_it_says_what_microsofts_program_says(name: str, recordings: dict[str, Tensor]) -> None:
    fitted, p808, personalized = OPINIONS[name]
    x = recordings[name]
    scores = evaluate(x, None, RATE, ["dnsmos_sig", "dnsmos_bak", "dnsmos_ovr", "dnsmos_p808"])
    assert [value.item() for value in scores.values()] == pytest.approx([*fitted, p808], abs=1e-4)
    with torch.no_grad():
        assert DNSMOSOverall(RATE, personalized=True)(x).item() == pytest.approx(personalized[2], abs=1e-4)


@needs("speechmos")
@pytest.mark.parametrize("name", ["dnsmos_bak", "dnsmos_ovr", "dnsmos_p808"])
def test_more_noise_is_worse(name: str) -> None:
    """Not for the signal's scale: 10 dB of white noise raise it a little."""
    clean = speech(seconds=2.5)
    measure: Measure = create(name, sample_rate=RATE)
    with torch.no_grad():
        scores = measure(torch.cat([at_snr(clean, db) for db in (40, 20, 5)]))
    assert (scores.diff(dim=0) < 0).all()


@needs("speechmos")
def test_a_step_along_the_gradient_raises_the_opinion() -> None:
    loss = Loss(DNSMOSOverall(RATE))
    noisy = at_snr(speech(seconds=2.5), 10.0).requires_grad_()
    before = loss(noisy)
    (gradient,) = torch.autograd.grad(before, noisy)
    with torch.no_grad():
        after = loss(noisy - 1e-3 * noisy.norm() * gradient / gradient.norm())
    assert after < before - 0.01


@needs("speechmos")
def test_a_signature_names_the_package_of_the_weights() -> None:
    assert signature(DNSMOSP808(RATE), RATE).startswith("dnsmos_p808|impl:speechmos0.0.1.1|sr:16000|")
    assert math.isnan(DNSMOSP808(RATE)(torch.zeros(1, 1, RATE)).item())
