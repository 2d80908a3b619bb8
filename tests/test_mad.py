"""Two sounds that one measure cannot tell apart: exactly equal by it, and as different by another as it gets."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from percloss import SISDR, SNR, CompressiveNMR, Measure, create, mad
from percloss.errors import ArgumentError, DTypeError, MissingExtraError, ShapeError
from percloss.mad import Judged, Pair, Step, judges
from percloss.mad.surface import Surface
from percloss.measure import catalogue
from tests.signals import RATE, noise, speech

pytest.importorskip("soundfile", reason="soundfile reads the embedded speech")


@pytest.fixture(scope="module")
def ref() -> Tensor:
    return speech("librivox_0890", seconds=1.0)


@pytest.fixture(scope="module")
def pair(ref: Tensor) -> Pair:
    return mad.mad(ref, RATE, fixed="snr", level=15.0, synth="compressive_nmr", steps=30)


def snr_db(est: Tensor, ref: Tensor) -> Tensor:
    ref = ref.double()
    return 10 * (ref.square().sum(-1) / (est.double() - ref).square().sum(-1)).log10()


def test_both_are_at_the_level_to_a_thousandth_by_snr_and_by_si_sdr(pair: Pair, ref: Tensor) -> None:
    for est in pair.waves.values():
        assert snr_db(est, ref).item() == pytest.approx(15.0, abs=1e-4)
        assert SISDR()(est, ref).item() == pytest.approx(15.0, abs=1e-3)


def test_the_driven_measure_is_far_apart_and_its_values_are_those_of_the_waves(pair: Pair, ref: Tensor) -> None:
    judge = CompressiveNMR(RATE)
    for name, est in pair.waves.items():
        assert judge(est, ref).item() == pytest.approx(pair.values[name]["compressive_nmr"], rel=1e-5)
    assert pair.values["lowest"]["compressive_nmr"] < 1.0
    assert pair.values["highest"]["compressive_nmr"] > pair.values["start"]["compressive_nmr"] > 8.0
    assert pair.spread == pytest.approx(
        pair.values["highest"]["compressive_nmr"] - pair.values["lowest"]["compressive_nmr"]
    )


def test_the_way_is_told_from_the_start_to_the_last_step(pair: Pair) -> None:
    for side, better in (("lowest", min), ("highest", max)):
        way = pair.trajectory[side]
        assert len(way) == 31
        assert better(way) == pytest.approx(pair.values[side]["compressive_nmr"], rel=1e-3)
    # Noise shaped like the signal is where the masked one sets out from, white noise where the audible one does.
    assert pair.trajectory["lowest"][0] < pair.trajectory["highest"][0]
    assert pair.trajectory["highest"][0] == pytest.approx(pair.values["start"]["compressive_nmr"], rel=1e-5)
    assert set(pair.ended.values()) == {"steps"}


@pytest.mark.parametrize("fixed", ["snr", "si_sdr", SNR(), SISDR()])
def test_every_channel_is_at_the_level(fixed: str | Measure) -> None:
    ref = torch.cat((speech("librivox_0870", seconds=0.5), 0.01 * speech("librivox_0930", seconds=0.5)), dim=1)
    found = mad.mad(ref, RATE, fixed=fixed, level=7.5, synth="lsd", steps=3)
    for est in found.waves.values():
        assert (snr_db(est, ref) - 7.5).abs().max() < 1e-3
        assert (SISDR()(est, ref) - 7.5).abs().max() < 1e-3


def test_a_seed_gives_the_same_pair_and_touches_nothing_else(ref: Tensor) -> None:
    before, kept = torch.get_rng_state(), ref.clone()
    first, again, other = (mad.mad(ref, RATE, synth="lsd", steps=2, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.highest, again.highest)
    assert not torch.equal(first.highest, other.highest)
    assert torch.equal(ref, kept)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_reference_that_is_noise_of_the_same_seed_is_a_reference_like_any_other() -> None:
    ref = noise(1, 1, 4000, seed=3)
    found = mad.mad(ref, RATE, synth="lsd", steps=1, seed=3)
    assert snr_db(found.start, ref).item() == pytest.approx(15.0, abs=1e-4)


def test_each_step_is_told_as_it_is_done(ref: Tensor) -> None:
    told: list[Step] = []
    found = mad.mad(ref, RATE, synth="lsd", steps=2, progress=told.append)
    assert [(step.side, step.step, step.steps) for step in told] == [
        *(("lowest", 1, 2), ("lowest", 2, 2), ("highest", 1, 2), ("highest", 2, 2))
    ]
    assert [step.value for step in told if step.side == "highest"] == found.trajectory["highest"][1:]


@pytest.mark.parametrize(("fixed", "level"), [("compressive_nmr", 10.0), ("mel", 1.0), ("stoi", 0.95)])
def test_any_measure_that_scaling_moves_can_be_held(fixed: str, level: float, ref: Tensor) -> None:
    found = mad.mad(ref, RATE, fixed=fixed, level=level, synth="snr", steps=8)
    judge = create(fixed, sample_rate=RATE)
    for est in found.waves.values():
        assert judge(est, ref).item() == pytest.approx(level, rel=1e-4)
    assert found.values["lowest"]["snr"] < found.values["start"]["snr"] < found.values["highest"]["snr"]


def test_a_measure_without_a_gradient_can_be_held(ref: Tensor) -> None:
    class Stepless(CompressiveNMR):
        spec = replace(CompressiveNMR.spec, name="stepless", differentiable=False)

        def compare(self, est: Tensor, ref: Tensor) -> Tensor:
            return super().compare(est.detach(), ref)

    found = mad.mad(ref, RATE, fixed=Stepless(RATE), level=10.0, synth="si_sdr", steps=8)
    assert found.values["lowest"]["stepless"] == pytest.approx(10.0, rel=1e-4)
    assert found.values["lowest"]["si_sdr"] < found.values["start"]["si_sdr"]


def test_the_gradient_is_that_of_the_way_along_the_surface() -> None:
    """Against differences of what the held measure's scaling leaves of a small step."""
    ref, error, step = (noise(1, 1, 4000, seed=seed, dtype=torch.float64) for seed in (0, 1, 2))
    held, driven = create("mel", sample_rate=RATE), SNR()
    for measure in (held, driven):
        measure.engine = "eager"
    surface = Surface(held, ref, 1.5)
    error = surface.onto(error).requires_grad_()
    (gradient,) = torch.autograd.grad(driven(ref + surface.graded(error), ref).sum(), error)
    size = 1e-4
    with torch.no_grad():
        ahead, back = (driven(ref + surface.exact(error.detach() + sign * size * step), ref).sum() for sign in (1, -1))
    assert float((gradient * step).sum()) == pytest.approx(float(ahead - back) / (2 * size), rel=1e-3)


def test_a_measure_that_can_go_no_further_is_left_at_its_bound(ref: Tensor) -> None:
    found = mad.mad(ref, RATE, level=45.0, synth="masking_hinge", steps=60)
    assert found.ended == {"lowest": "bound", "highest": "steps"}
    assert found.values["lowest"]["masking_hinge"] == pytest.approx(0.0, abs=1e-4)
    assert len(found.trajectory["lowest"]) < 61


def test_what_grows_without_limit_is_stopped_and_says_which_measure_does_not_hear_it() -> None:
    class Beginning(SNR):
        """Hears the first half of what it is given."""

        spec = replace(SNR.spec, name="beginning")

        def compare(self, est: Tensor, ref: Tensor) -> Tensor:
            half = ref.shape[-1] // 2
            return super().compare(est[..., :half], ref[..., :half])

    ref = noise(1, 1, 2000)
    for steps in (1, 20):
        with pytest.raises(ArgumentError, match=r"its lowest snr grows without limit: .* beginning does not hear"):
            mad.mad(ref, RATE, fixed=Beginning(), level=10.0, synth="snr", steps=steps)


def test_a_measure_that_hears_no_level_holds_none() -> None:
    """For SI-SDR, what is nearly the reference may be any amount louder."""
    ref = speech("librivox_0890", seconds=0.2)
    with pytest.raises(ArgumentError, match=r"snr grows without limit"):
        mad.mad(ref, RATE, fixed=SISDR(zero_mean=True), level=10.0, synth="snr", steps=5)


def test_a_level_that_is_lost_on_the_way_is_named() -> None:
    ref = speech("librivox_0890", seconds=0.2)
    with pytest.raises(ArgumentError, match=r"could no longer be reached by scaling the error.*rate=0.01"):
        mad.mad(ref, RATE, fixed=SISDR(zero_mean=True), level=10.0, synth="snr", steps=400, rate=0.5)


def test_a_level_out_of_reach_is_refused_with_the_range(ref: Tensor) -> None:
    with pytest.raises(ArgumentError, match=r"mad: stoi=2 came; scaling noise reaches from -?[\d.]+ to 1 on this"):
        mad.mad(ref, RATE, fixed="stoi", level=2.0, synth="snr", steps=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"synth": "dnsmos_ovr"}, "synth='dnsmos_ovr' came, which takes alone"),
        ({"fixed": "snr_i"}, "fixed='snr_i' came, which takes pair and mix"),
        ({"fixed": "lsd", "synth": "lsd"}, "which are one"),
        ({"fixed": "snr", "synth": "si_sdr"}, "which are equal"),
        ({"level": math.nan}, "level=nan"),
        ({"steps": 0}, "steps=0"),
        ({"rate": 0.0}, "rate=0.0"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object], message: str, ref: Tensor) -> None:
    if "dnsmos_ovr" in given.values():
        pytest.importorskip("onnxruntime", reason="DNSMOS needs it")
    with pytest.raises(ArgumentError, match=message):
        mad.mad(ref, RATE, **given)


def test_a_driven_measure_needs_a_gradient(ref: Tensor) -> None:
    pytest.importorskip("pesq", reason="needs percloss[speech]")
    with pytest.raises(ArgumentError, match="synth='pesq_wb' came, which has no gradient"):
        mad.mad(ref, RATE, synth="pesq_wb", steps=1)


def test_a_reference_that_is_none_is_refused(ref: Tensor) -> None:
    with pytest.raises(ArgumentError, match="silent channel"):
        mad.mad(torch.zeros_like(ref), RATE)
    with pytest.raises(ArgumentError, match="NaN or infinity"):
        mad.mad(ref / 0, RATE)
    with pytest.raises(ShapeError, match=r"shape \(2, 1, 100\) came"):
        mad.mad(noise(2, 1, 100), RATE)
    with pytest.raises(DTypeError, match="float16 came"):
        mad.mad(ref.half(), RATE)


def test_a_gradient_that_is_not_finite_is_named(ref: Tensor) -> None:
    class Torn(SNR):
        spec = replace(SNR.spec, name="torn")

        def compare(self, est: Tensor, ref: Tensor) -> Tensor:
            return (est - est.detach()).sum(-1).sqrt() + super().compare(est, ref)

    with pytest.raises(ArgumentError, match="torn came; its gradient is not finite after 0 steps"):
        mad.mad(ref, RATE, fixed="lsd", level=5.0, synth=Torn(), steps=1)


# What judges


def test_a_judge_that_took_part_or_is_of_the_kin_does_not_judge(pair: Pair) -> None:
    asked = ("compressive_nmr", "snr", "mel", "nonsense", "snr_i")
    found = mad.judge(pair, asked)
    assert set(found.scores) == {"mel"}
    assert "took part" in found.left_out["compressive_nmr"]
    assert "took part" in found.left_out["snr"]
    assert found.left_out["nonsense"] == "no measure of the catalogue"
    assert "more than an estimate" in found.left_out["snr_i"]
    assert found.spread["mel"] == abs(found.scores["mel"]["highest"] - found.scores["mel"]["lowest"])


@pytest.mark.parametrize(
    ("one", "other", "kin"),
    [
        ("pesq_wb", "pesq_like", True),
        ("two_f", "peaq_avg_mod_diff1", True),
        ("peaq_odg", "peaq_di", True),
        ("stoi", "estoi", True),
        ("stoi", "pesq_wb", False),
        ("nmr", "two_f", False),
    ],
)
def test_measures_of_one_model_are_kin(one: str, other: str, kin: bool) -> None:
    assert judges._akin(one, other) == kin
    assert judges._akin(other, one) == kin


def test_a_judge_hears_the_pair_at_a_rate_of_its_own(pair: Pair) -> None:
    low = pair._replace(sample_rate=8000)  # the same samples, played at half the speed
    judge = create("visqol_audio", sample_rate=48_000)
    assert judge.spec.sample_rates == {48_000}
    found = mad.judge(low, ["visqol_audio"])
    assert 1 <= found.scores["visqol_audio"]["highest"] <= found.scores["visqol_audio"]["lowest"] <= 5


def test_where_pesq_is_missing_its_likeness_judges_and_is_named_so(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
    whole: Callable[[str, int], tuple[Measure, int]] = judges._at_home

    def missing(name: str, rate: int) -> tuple[Measure, int]:
        if name == "pesq_wb":
            raise MissingExtraError("pesq: not installed.")
        return whole(name, rate)

    monkeypatch.setattr(judges, "_at_home", missing)
    found = mad.judge(pair, ["pesq_wb"])
    assert set(found.scores) == {"pesq_like"}
    assert found.left_out == {"pesq_wb": "pesq: not installed. pesq_like judges in its place."}
    assert found.spread["pesq_like"] > 1


def test_a_judge_that_is_missing_and_has_no_likeness_says_so(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
    def missing(name: str, rate: int) -> tuple[Measure, int]:
        raise MissingExtraError(f"{name}: not installed.")

    monkeypatch.setattr(judges, "_at_home", missing)
    assert mad.judge(pair, ["stoi"]) == Judged({}, {"stoi": "stoi: not installed."})


def test_the_score_is_what_one_leaves_open_and_the_other_does_not(ref: Tensor) -> None:
    found = mad.mad_score(ref, RATE, "snr", "compressive_nmr", level=15.0, judges=["estoi", "mel"], steps=20)
    assert found.a.fixed == found.b.synth == "snr"
    assert found.b.fixed == found.a.synth == "compressive_nmr"
    assert found.b.level == found.a.values["start"]["compressive_nmr"]
    assert found.b.values["start"]["snr"] == pytest.approx(15.0, abs=0.1)
    for judge, difference in found.difference.items():
        assert difference == found.judged_a.spread[judge] - found.judged_b.spread[judge]
    # The spectrum in bands of hearing is left open by the SNR, and not by what is masked.
    assert found.difference["mel"] > 0


# What is kept


def test_the_files_hold_what_was_made_at_a_level_that_does_not_clip(pair: Pair, tmp_path: Path) -> None:
    from percloss.scoring.audio import read

    gain = 0.99 / float(pair.ref.abs().max())
    waves = [gain * wave for wave in (pair.ref, pair.start, pair.lowest, pair.highest)]
    loud = pair._replace(ref=waves[0], start=waves[1], lowest=waves[2], highest=waves[3])
    files = mad.write(tmp_path / "a" / "b", loud, mad.judge(loud, ["mel"]), seed=0)
    assert [path.name for path in files] == [
        *("reference.wav", "start.wav", "lowest.wav", "highest.wav", "mad.json"),
    ]
    kept = read(files[0]).wave
    for path in files[1:4]:
        est = read(path).wave
        assert est.abs().max() < 1
        assert snr_db(est, kept).item() == pytest.approx(15.0, abs=5e-4)

    def strict(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = json.loads(files[4].read_text(encoding="utf-8"), parse_constant=strict)
    assert found["fixed"] == {"measure": "snr", "level": 15.0}
    assert found["seed"] == 0
    assert found["versions"]["lowest"]["judges"]["mel"] < found["versions"]["highest"]["judges"]["mel"]
    assert len(found["trajectory"]["lowest"]) == 31


def test_a_value_that_is_none_is_null(pair: Pair) -> None:
    judged = Judged({"x": {"start": 1.0, "lowest": math.nan, "highest": 2.0}}, {})
    found = mad.as_dict(pair, judged)
    assert found["versions"]["lowest"]["judges"]["x"] is None
    assert found["spread"]["x"] is None
    json.dumps(found, allow_nan=False)


def test_the_judges_of_the_package_are_in_its_catalogue() -> None:
    assert set(mad.JUDGES) - {"two_f"} <= set(catalogue())
