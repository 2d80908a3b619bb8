"""What must be true of BSS Eval, from its geometry: projections, and one documented outcome for every bad input."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.common import peak_bytes
from percloss import functional
from percloss.dsp import projection
from percloss.errors import ArgumentError, DTypeError, ShapeError
from percloss.evaluation import evaluate
from percloss.functional import (
    CAP_DB,
    REASONS,
    BSSEval,
    Mode,
    bss_eval,
    check_settings,
    framewise_snr,
    median_over_frames,
    museval_document,
    shared,
)
from percloss.losses import Loss
from percloss.measure import Measure
from percloss.measures.bss import BSSISR, BSSSAR, BSSSDR, BSSSIR, SDR, SISAR, SISIR
from percloss.measures.ratios import SISDR, SNR
from percloss.measures.separation import CSDR, SASDR, USDR, Bleedless, Fullness
from percloss.testing import RULES, check_measure
from percloss.wrappers import PermutationInvariant
from tests.signals import at_snr, noise, tone

RATE = 16_000
FIELDS = ("sdr", "isr", "sir", "sar")
TRIED = [name for name in RULES if name != "compiles"]  # none of them is compiled

MEASURES = {
    "bss_sdr": lambda: BSSSDR(RATE),
    "bss_isr": lambda: BSSISR(RATE, filter_length=64),
    "bss_sir": lambda: BSSSIR(RATE, filter_length=64),
    "bss_sar": lambda: BSSSAR(RATE, filter_length=64),
    "bss_sdr of sources": lambda: BSSSDR(RATE, version=3, mode="sources", filter_length=16),
    "bss_isr with a gradient": lambda: BSSISR(RATE, version=3, filter_length=4),
    "bss_sir with a gradient": lambda: BSSSIR(RATE, window=None, filter_length=4),
    "bss_sar with a gradient": lambda: BSSSAR(RATE, version=3, filter_length=4),
    "sdr": lambda: SDR(filter_length=64),
    "si_sir": SISIR,
    "si_sar": SISAR,
    "csdr": lambda: CSDR(RATE),
    "usdr": USDR,
    "sa_sdr": SASDR,
    "bleedless": lambda: Bleedless(RATE),
    "fullness": lambda: Fullness(RATE),
}


@pytest.mark.parametrize("name", MEASURES)
def test_the_contract_is_kept(name: str) -> None:
    check_measure(MEASURES[name](), sample_rate=RATE, rules=TRIED)


def sources(*, channels: int = 1, time: int = 8000, count: int = 2) -> Tensor:
    """White and independent, of unequal level."""
    return noise(2, count, channels, time) * torch.tensor([1.0, 0.1, 3.0, 0.5][:count])[:, None, None]


def leaked(ref: Tensor, share: float = 0.1) -> Tensor:
    """Each source with the next one at ``share`` of its own level, and noise 30 dB below."""
    level = ref.square().mean((2, 3), keepdim=True).sqrt()
    return ref + level * (share * (ref / level).roll(1, 1) + 0.03 * noise(*ref.shape, seed=9))


def fields(scores: BSSEval) -> dict[str, Tensor]:
    return {name: getattr(scores, name) for name in FIELDS}


def assert_same(one: BSSEval, other: BSSEval, *, items: list[int], within: float = 0.0) -> None:
    for name, values in fields(one).items():
        torch.testing.assert_close(values[items], fields(other)[name][items], rtol=0, atol=within, equal_nan=True)


def test_each_ratio_tells_its_own_error() -> None:
    """Leakage of 20 dB, noise of 30 dB: SIR and SAR, and SDR of the sum of both."""
    ref = sources(time=60_000)
    scores = bss_eval(leaked(ref), ref, filter_length=16)
    expected = {"sdr": -10 * math.log10(0.01 + 0.0009), "sir": 20.0, "sar": 10 * math.log10(1.01 / 0.0009)}
    for name, value in expected.items():
        torch.testing.assert_close(fields(scores)[name], torch.full((2, 2, 1), value), rtol=0, atol=0.1)
    assert bool((scores.isr > 45).all())


def test_of_independent_sources_their_parts_add_up_to_the_estimate() -> None:
    """|e|^2 is what all sources explain and the rest; that splits into the source's own part and interference."""
    ref = sources(channels=2)
    est = leaked(ref)
    ratios = {
        name: 10 ** (-values[..., 0].double() / 10)
        for name, values in fields(bss_eval(est, ref, filter_length=16, mode="sources")).items()
    }
    # SDR forgives filters: 1 / SDR = (interference + artefacts) / own, and SAR is over own and interference together.
    torch.testing.assert_close(ratios["sdr"], ratios["sir"] + ratios["sar"] * (1 + ratios["sir"]), rtol=1e-5, atol=0)


def test_a_delay_and_a_filter_are_spatial_errors_only() -> None:
    ref = sources(time=20_000)
    est = 0.5 * ref.roll(3, -1)
    est[..., :3] = 0
    scores = bss_eval(est, ref, filter_length=8)
    assert bool((scores.isr < 3).all())
    assert bool((scores.sdr < 3).all())
    assert bool((scores.sir > 60).all())
    assert bool((scores.sar > 30).all())
    assert bool((bss_eval(est, ref, filter_length=8, mode="sources").sdr > 30).all())
    assert bool((bss_eval(est, ref, filter_length=3, mode="sources").sdr < 3).all())


def test_one_tap_is_the_scale_invariant_family() -> None:
    ref = sources()
    est = leaked(ref)
    scores = bss_eval(est, ref, filter_length=1, mode="sources")
    torch.testing.assert_close(scores.sdr[..., 0], SISDR()(est[:, :, 0], ref[:, :, 0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(SDR(filter_length=1)(est[:, :, 0], ref[:, :, 0]), scores.sdr[..., 0], rtol=0, atol=1e-5)
    r, e = ref[0, :, 0].double(), est[0, 0, 0].double()
    share = torch.linalg.solve(r @ r.T, r @ e) @ r
    own = (r[0] @ e) / (r[0] @ r[0]) * r[0]
    for measure, wanted in (
        (SISIR(), own.square().sum() / (share - own).square().sum()),
        (SISAR(), share.square().sum() / (e - share).square().sum()),
    ):
        assert measure(est, ref)[0, 0].item() == pytest.approx(10 * math.log10(wanted), abs=1e-4)


def test_images_need_no_filter_for_their_sdr() -> None:
    ref = sources(channels=2)
    est = leaked(ref)
    scores = bss_eval(est, ref, filter_length=8, window=3000, hop=1000)
    torch.testing.assert_close(framewise_snr(est, ref, window=3000, hop=1000), scores.sdr, rtol=0, atol=1e-5)
    assert scores.sdr.shape == (2, 2, 6)
    single = framewise_snr(est[:, :1, :1], ref[:, :1, :1])[..., 0]
    torch.testing.assert_close(single, SNR()(est[:, 0, :1], ref[:, 0, :1]), rtol=0, atol=1e-5)


def test_version_3_makes_filters_in_each_frame() -> None:
    """A frame alone is a signal: version 4 of it, and version 3 of them all, are the same."""
    ref = sources(time=6000)
    est = leaked(ref)
    together = bss_eval(est, ref, version=3, filter_length=16, window=2000)
    for frame in range(3):
        part = slice(2000 * frame, 2000 * (frame + 1))
        alone = bss_eval(est[..., part], ref[..., part], filter_length=16)
        for name, values in fields(together).items():
            torch.testing.assert_close(values[..., frame], fields(alone)[name][..., 0], rtol=0, atol=1e-5)
    once = bss_eval(est, ref, version=4, filter_length=16, window=2000)
    assert not torch.allclose(once.sar, together.sar, atol=1e-3)


@pytest.mark.parametrize("level", [1.0, 1e-4])
@pytest.mark.parametrize("db", [40.0, 60.0, 80.0, 100.0])
def test_float32_is_right_at_high_ratios_and_low_levels(db: float, level: float) -> None:
    """Filters of 64 taps fit a little of the noise: 64 of 16000 degrees of freedom are 0.02 dB."""
    ref = level * sources(time=RATE)
    est = at_snr(ref, db)
    scores = bss_eval(est, ref, filter_length=64)
    exact = bss_eval(est.double(), ref.double(), filter_length=64)
    for name, values in fields(scores).items():
        torch.testing.assert_close(values.double(), fields(exact)[name], rtol=0, atol=1e-5)
    torch.testing.assert_close(scores.sdr, torch.full((2, 2, 1), db), rtol=0, atol=0.01)
    torch.testing.assert_close(
        SDR(filter_length=64)(est[:, :, 0], ref[:, :, 0]), torch.full((2, 2), db), rtol=0, atol=0.05
    )


def test_the_level_of_an_estimate_is_no_interference_however_low_it_is() -> None:
    ref = sources()
    est = leaked(ref)
    wanted = bss_eval(est, ref, filter_length=16, mode="sources")
    for gain in (1e-6, 1e4):
        found = bss_eval(gain * est, ref, filter_length=16, mode="sources")
        assert_same(found, wanted, items=[0, 1], within=1e-4)


# Bad input, each with its one outcome.


@pytest.mark.parametrize(("role", "code"), [("ref", 2), ("est", 3)])
def test_a_silent_source_leaves_its_item_without_values_and_its_neighbour_alone(role: str, code: int) -> None:
    ref = sources()
    signals = {"est": leaked(ref), "ref": ref}
    before = bss_eval(**signals, filter_length=16)
    signals[role] = signals[role].clone()
    signals[role][1, 0] = 0
    after = bss_eval(**signals, filter_length=16)
    assert all(values[1].isnan().all() for values in fields(after).values())
    assert_same(after, before, items=[0])
    assert after.info.reason.tolist() == [[0], [code]]
    assert after.info.why(1) == REASONS[code]


def test_a_source_that_is_silent_for_a_while_costs_those_frames() -> None:
    ref = sources(time=6000)
    est = leaked(ref)
    ref[0, 0, :, 2000:4000] = 0
    scores = bss_eval(est, ref, filter_length=16, window=2000)
    assert scores.sir[0].isnan().tolist() == [[False, True, False]] * 2
    assert scores.info.reason.tolist() == [[0, 2, 0], [0, 0, 0]]
    value = BSSSIR(2000, filter_length=16)(est, ref)
    torch.testing.assert_close(value[0], scores.sir[0, :, [0, 2]].mean(-1))


def test_identical_signals_score_the_cap() -> None:
    ref = sources(channels=2)
    scores = bss_eval(ref, ref, filter_length=16)
    assert all(torch.equal(values, torch.full((2, 2, 1), CAP_DB)) for values in fields(scores).values())


@pytest.mark.parametrize("role", ["est", "ref"])
def test_a_broken_sample_breaks_its_item_only(role: str) -> None:
    ref = sources()
    signals = {"est": leaked(ref), "ref": ref}
    before = bss_eval(**signals, filter_length=16)
    signals[role] = signals[role].clone()
    signals[role][0, 1, 0, 77] = math.nan
    after = bss_eval(**signals, filter_length=16)
    assert_same(after, before, items=[1])
    assert after.sdr[0].isnan().all()
    assert after.info.reason[:, 0].tolist() == [1, 0]


def test_a_fifth_of_a_second_has_values_and_fewer_samples_than_taps_are_an_error() -> None:
    """Filters of 2 sources of 512 taps explain a third of 3200 samples of noise: SAR says so, by 1.5 dB and more."""
    ref = sources(time=3200)
    scores = bss_eval(leaked(ref, 0.0), ref)
    assert all(values.isfinite().all() for values in fields(scores).values())
    assert bool((scores.sar > 31.0).all())
    with pytest.raises(ShapeError, match="as many samples as the filters have taps, 512"):
        bss_eval(ref[..., :511], ref[..., :511])


def test_more_filters_than_samples_explain_everything() -> None:
    ref = sources(time=600, count=4)
    scores = bss_eval(leaked(ref), ref)
    assert bool((scores.sar > 60).all())
    assert all(values.isfinite().all() for values in fields(scores).values())


def test_proportional_channels_score_as_one() -> None:
    """A mono source panned to one side: the second channel adds nothing to what can be explained."""
    mono = sources()
    est = leaked(mono)
    pan = torch.tensor([1.0, 0.4])[:, None]
    scores = bss_eval(est * pan, mono * pan, filter_length=16)
    assert_same(scores, bss_eval(est, mono, filter_length=16), items=[0, 1], within=0.05)


def test_more_estimates_than_references_are_an_error() -> None:
    ref = sources(count=3)
    with pytest.raises(ShapeError, match="as many estimates as references"):
        bss_eval(ref, ref[:, :2])


def test_a_wrong_order_scores_low_unless_it_is_searched_for() -> None:
    ref = sources(count=3)
    est = leaked(ref)
    mixed = torch.stack((est[0, [2, 0, 1]], est[1, [1, 2, 0]]))
    assert bool((bss_eval(mixed, ref, filter_length=16).sir < 0).all())
    found = bss_eval(mixed, ref, filter_length=16, permutation=True)
    assert found.perm[..., 0].tolist() == [[1, 2, 0], [2, 0, 1]]
    assert_same(found, bss_eval(est, ref, filter_length=16), items=[0, 1], within=1e-5)
    pairs = PermutationInvariant(SDR(filter_length=16))(mixed, ref)
    torch.testing.assert_close(pairs, SDR(filter_length=16)(est[:, :, 0], ref[:, :, 0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", [RATE, None])
def test_a_long_signal_is_scored_in_less_memory_than_it_takes(window: int | None) -> None:
    peaks = []
    for seconds in (8, 24):
        ref = noise(1, 2, 1, seconds * RATE)
        est = leaked(ref, 0.0) if window is None else leaked(ref)
        peaks.append(peak_bytes(lambda est=est, ref=ref: bss_eval(est, ref, filter_length=32, window=window)))
    assert peaks[1] - peaks[0] < 2 * (noise(1, 2, 1, 16 * RATE).nbytes)


def test_twenty_five_minutes_score_as_one_of_them() -> None:
    """One after the other: where they meet, 512 of 480000 samples differ."""
    minute = noise(1, 1, 60 * 8000)
    est = at_snr(minute, 20)
    value = SDR()(est.repeat(1, 1, 25), minute.repeat(1, 1, 25))
    assert value.item() == pytest.approx(SDR()(est, minute).item(), abs=1e-3)


@pytest.mark.slow
def test_twenty_five_minutes_are_scored_by_the_second() -> None:
    ref = noise(1, 2, 1, 25 * 60 * 8000)
    scores = bss_eval(leaked(ref), ref, filter_length=32, window=8000)
    assert scores.sir.shape == (1, 2, 1500)
    assert float(median_over_frames(scores.sir).sub(20).abs().max()) < 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"version": 2}, "version=2; needed is one of 3, 4"),
        ({"mode": "image"}, "mode='image'"),
        ({"solver": "qr"}, "solver='qr'"),
        ({"window": 100}, "a frame must hold its filters"),
        ({"hop": 0}, "hop=0"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    """Asked of what every door asks, since the doors themselves are annotated."""
    with pytest.raises(ArgumentError, match=message):
        check_settings(512, **settings)


def test_the_doors_ask() -> None:
    for call in (
        lambda: bss_eval(sources(), sources(), filter_length=0),
        lambda: SDR(filter_length=0),
        lambda: BSSSIR(RATE, window=0.01),
        lambda: framewise_snr(sources(), sources(), hop=0),
    ):
        with pytest.raises(ArgumentError, match="bss_eval: got"):
            call()


def test_what_is_no_batch_of_sources_is_named() -> None:
    ref = sources()
    with pytest.raises(ShapeError, match=r"\(batch, sources, channels, time\)"):
        bss_eval(ref[:, 0], ref[:, 0])
    with pytest.raises(DTypeError, match="floating point"):
        bss_eval(ref.short(), ref)
    with pytest.raises(ArgumentError, match="3 targets for 2 sources"):
        museval_document(bss_eval(ref, ref, filter_length=4), ["a", "b", "c"], window_seconds=1.0, hop_seconds=1.0)
    with pytest.raises(ArgumentError, match="delta"):
        USDR(delta=0)
    with pytest.raises(ArgumentError, match="one sample at least"):
        CSDR(RATE, window=0)
    with pytest.raises(ArgumentError, match="sample_rate=0"):
        Bleedless(0)


# Gradients.


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("version", "window"), [(4, None), (3, 60)])
def test_the_gradient_is_that_of_finite_differences(field: str, version: int, window: int | None) -> None:
    ref = noise(1, 2, 2, 120, dtype=torch.float64)
    est = leaked(ref.float()).double().requires_grad_()

    def value(x: Tensor) -> Tensor:
        scores = bss_eval(x, ref, version=version, filter_length=5, window=window)  # type: ignore[arg-type]
        return fields(scores)[field]

    torch.autograd.gradcheck(value, (est,), eps=1e-6, atol=1e-5, rtol=1e-5, fast_mode=True)


def test_of_filters_made_once_only_the_sdr_of_images_has_a_gradient() -> None:
    ref = sources(time=400)
    est = leaked(ref).requires_grad_()
    scores = bss_eval(est, ref, filter_length=4, window=200)
    assert scores.sdr.requires_grad
    assert not scores.sir.requires_grad
    assert not BSSSIR(RATE).spec.differentiable
    assert BSSSIR(RATE, version=3).spec.differentiable


def test_a_second_derivative_is_refused() -> None:
    est = sources(time=200).requires_grad_()
    (gradient,) = torch.autograd.grad(
        SDR(filter_length=4)(est[:, 0], sources(time=200)[:, 1]).sum(), est, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_as_a_loss_it_leads_to_the_reference_through_any_filter() -> None:
    """CI-SDR: the estimate may stay filtered, its noise has to go."""
    ref = tone(440, time=2000).float() + 0.3 * noise(1, 1, 2000)
    est = (0.5 * ref.roll(2, -1) + 0.2 * noise(1, 1, 2000, seed=1)).requires_grad_()
    loss = Loss(SDR(filter_length=16))
    before = loss(est, ref)
    for _ in range(10):
        (gradient,) = torch.autograd.grad(loss(est, ref), est)
        est = (est - 0.5 * gradient).detach().requires_grad_()
    assert loss(est, ref).item() < before.item() - 3


# One solve for all.


@pytest.mark.parametrize("mode", ["images", "sources"])
@pytest.mark.parametrize("db", [20.0, 60.0, 100.0])
def test_energies_from_correlations_are_those_of_the_signals(
    mode: Mode, db: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To 1e-9 dB, or they are not taken."""
    ref = sources(channels=2, time=20_000).double()
    est = at_snr(leaked(ref, 10 ** (-db / 20)), db)
    formed: list[int] = []
    original = projection._energies
    monkeypatch.setattr(projection, "_energies", lambda *args: formed.append(1) or original(*args))
    quick = bss_eval(est, ref, filter_length=64, mode=mode)
    assert not formed
    monkeypatch.setattr(projection, "_SURE", 0.0)
    slow = bss_eval(est, ref, filter_length=64, mode=mode)
    assert len(formed) == 2
    assert_same(quick, slow, items=[0, 1], within=1e-9)


def test_where_a_filter_explains_all_but_a_little_the_residual_is_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an estimate that is filtered and no more, what is left is as small as float64 lets it be: 250 dB and more."""
    ref = sources(time=8000)[:, :1].double()
    est = 0.5 * ref.roll(3, -1)
    est[..., :3] = 0
    est[..., -16:] = 0
    ref[..., -19:] = 0
    formed: list[int] = []
    original = projection._energies
    monkeypatch.setattr(projection, "_energies", lambda *args: formed.append(1) or original(*args))
    scores = bss_eval(torch.cat((est[:1], at_snr(ref[1:], 20))), ref, filter_length=8, mode="sources")
    assert formed == [1]
    assert scores.sdr[:, 0, 0].tolist() == pytest.approx([CAP_DB, 20.0], abs=0.05)


def test_within_shared_the_same_signals_are_solved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    solved = []
    original = functional.split
    monkeypatch.setattr(functional, "split", lambda *args, **kwargs: solved.append(1) or original(*args, **kwargs))
    ref = sources()
    est = leaked(ref)
    group: list[Measure] = [measure(RATE, filter_length=16) for measure in (BSSISR, BSSSIR, BSSSAR)]
    alone = [measure(est, ref) for measure in group]
    assert len(solved) == 3
    with shared():
        together = [measure(est, ref) for measure in group]
        assert len(solved) == 4
        BSSSIR(RATE, filter_length=8)(est, ref)
        BSSSIR(RATE, filter_length=16)(est.clone(), ref)
    assert len(solved) == 6
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    group[0](est, ref)
    assert len(solved) == 7
    with shared():
        evaluate(est, ref, RATE, group[:1])
        evaluate(est, ref, RATE, group[1:])
        assert len(solved) == 8
        group[0](est.requires_grad_(), ref)
        assert len(solved) == 9  # a graph is not what was made without one


# What stands beside it.


def test_usdr_is_a_plain_ratio_whose_floor_is_absolute() -> None:
    ref = noise(1, 2, 8000)
    est = at_snr(ref, 20)
    assert USDR()(est, ref).item() == pytest.approx(20, abs=1e-3)
    assert USDR()(1e-6 * est, 1e-6 * ref).item() < 1
    assert USDR()(0 * ref, 0 * ref).item() == 0


def test_csdr_is_the_median_of_seconds() -> None:
    ref = noise(1, 2, 3 * RATE)
    est = torch.cat([at_snr(ref[..., i * RATE : (i + 1) * RATE], db) for i, db in enumerate((10, 30, 20))], -1)
    assert CSDR(RATE)(est, ref).item() == pytest.approx(20, abs=0.01)
    ref[..., :RATE] = 0
    assert CSDR(RATE)(est, ref).item() == pytest.approx(25, abs=0.01)


def test_sa_sdr_adds_sources_before_it_divides() -> None:
    ref = noise(1, 2, 8000) * torch.tensor([1.0, 0.1])[:, None]
    est = ref + 0.1 * noise(1, 2, 8000, seed=1)
    assert SASDR()(est, ref).item() == pytest.approx(10 * math.log10(1.01 / 0.02), abs=0.1)
    ref[:, 1] = 0
    assert SASDR()(est, ref).isfinite().all()


def test_bleed_and_holes_are_told_apart() -> None:
    """Everything 3 dB too loud, and 3 dB too soft."""
    ref = 0.1 * noise(1, 1, 44_100)
    for gain, bleedless, fullness in ((10 ** (3 / 20), 25, 100), (10 ** (-3 / 20), 100, 25)):
        assert Bleedless(44_100)(gain * ref, ref).item() == pytest.approx(bleedless, abs=0.01)
        assert Fullness(44_100)(gain * ref, ref).item() == pytest.approx(fullness, abs=0.01)
    assert Bleedless(44_100)(0 * ref, ref).item() == 100


def test_evaluate_solves_once_for_all_measures_and_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    solved = []
    original = functional.split
    monkeypatch.setattr(functional, "split", lambda *args, **kwargs: solved.append(1) or original(*args, **kwargs))
    ref = sources()
    group = [measure(RATE, filter_length=16) for measure in (BSSISR, BSSSIR, BSSSAR)]
    scores = evaluate(leaked(ref), ref, RATE, group, lengths=torch.tensor([8000, 5000]))
    assert len(solved) == 2
    assert torch.equal(scores["bss_sir"], group[1](leaked(ref), ref, lengths=torch.tensor([8000, 5000])))
