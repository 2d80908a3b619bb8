"""What must be true of a distance of features, whatever net makes them; and of the two that need no weights."""

import copy
import math
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from percloss import Loss, SISDRLoss, WeightedSum
from percloss.dsp.resample import resample
from percloss.errors import ArgumentError, ShapeError
from percloss.measures import features
from percloss.measures.features import FeatureDistance, RandomConvolutionDistance, ScatteringDistance
from percloss.testing import RULES, check_measure
from tests.signals import at_snr, noise, speech, tone

RATE = 16_000
COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
TRIED = [name for name in RULES if name != "is_documented" and (COMPILE or name != "compiles")]


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """A net whose random weights are the same each time, and no generator the worse for it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


class Tiny(nn.Module):
    """Two convolutions with batch normalisation: a stand-in for what people train."""

    sample_rate = RATE
    layers = ("first", "second")

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv1d(1, 6, 32, stride=16), nn.BatchNorm1d(6)
        self.conv2 = nn.Conv1d(6, 4, 5)
        self.norm1.running_var.fill_(0.02)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first = torch.nn.functional.elu(self.norm1(self.conv1(x[:, None])))
        return {"first": first, "second": self.conv2(first).tanh()}


def plain() -> nn.Sequential:
    """A net without names for its features: layers 1 to 4 of a stack."""
    return nn.Sequential(
        nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 6, 32, stride=16), nn.Softplus(), nn.Conv1d(6, 4, 5), nn.Tanh()
    )


def tiny(**settings) -> FeatureDistance:
    return FeatureDistance(seeded(Tiny), **{"sample_rate": RATE, **settings})


def pair(*shape: int, db: float = 10, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Noise, and more noise on it."""
    ref = 0.1 * noise(*shape, dtype=dtype)
    return at_snr(ref, db), ref


def gradient(measure: nn.Module, est: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    """Values, and the gradient of their sum with weights that differ from item to item."""
    est = est.clone().requires_grad_()
    values = measure(est, ref)
    weights = torch.arange(1, values.numel() + 1, dtype=values.dtype).view_as(values)
    return values.detach(), torch.autograd.grad((weights * values).sum(), est)[0]


VARIANTS = {
    "a net of one's own": tiny,
    "squared": lambda: tiny(norm="l2"),
    "as it comes": lambda: tiny(normalize="none"),
    "cosine": lambda: tiny(norm="cosine"),
    "of a submodule": lambda: FeatureDistance(seeded(plain), ("2", "4"), sample_rate=RATE, net_rate=RATE),
    "in stretches": lambda: tiny(chunk_seconds=0.05),
    "at another rate": lambda: tiny(sample_rate=24_000),
    "weighted": lambda: tiny(weights={"second": 2.0, "first": 0.5}),
    "random convolutions of one scale": lambda: RandomConvolutionDistance(RATE, scales=(0.004,), filters=5, seed=7),
    "scattering, coarse": lambda: ScatteringDistance(RATE, per_octave=3, averaging=0.016, floor_db=-100.0),
}


@pytest.mark.parametrize("rule", TRIED)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_keeps_the_contract(variant: str, rule: str) -> None:
    measure = VARIANTS[variant]()
    check_measure(measure, sample_rate=measure.sample_rate, rules=[rule])


@pytest.mark.parametrize("rule", TRIED)
@pytest.mark.parametrize("measure", [RandomConvolutionDistance, ScatteringDistance])
def test_the_catalogues_measures_keep_the_contract(measure: type[FeatureDistance], rule: str) -> None:
    check_measure(measure(RATE), rules=[rule])


# The equation


@torch.no_grad()
def test_it_is_the_mean_difference_over_the_references_deviation() -> None:
    est, ref = pair(3, 1, 4_000)
    net = seeded(Tiny).double().eval()
    expected = [
        sum((a - b).abs().mean() / b.std(correction=0) for a, b in zip(net(e).values(), net(r).values(), strict=True))
        / 2
        for e, r in zip(est, ref, strict=True)
    ]
    torch.testing.assert_close(tiny()(est, ref)[:, 0], torch.stack(expected), rtol=1e-5, atol=0)


@torch.no_grad()
def test_without_normalisation_and_squared_it_is_the_mean_squared_difference() -> None:
    est, ref = pair(2, 1, 4_000)
    net = seeded(Tiny).double().eval()
    mine, theirs = net(est[:, 0])["second"], net(ref[:, 0])["second"]
    expected = (mine - theirs).square().flatten(1).mean(1)
    value = tiny(layers=("second",), norm="l2", normalize="none")(est, ref)[:, 0]
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)


@torch.no_grad()
def test_the_cosine_is_that_of_the_channels_frame_by_frame() -> None:
    est, ref = pair(2, 1, 4_000)
    net = seeded(Tiny).double().eval()
    expected = 1 - torch.cosine_similarity(net(est[:, 0])["first"], net(ref[:, 0])["first"], dim=1).mean(-1)
    torch.testing.assert_close(tiny(layers=("first",), norm="cosine")(est, ref)[:, 0], expected, rtol=1e-5, atol=1e-8)


@torch.no_grad()
def test_channels_may_be_the_last_axis() -> None:
    est, ref = pair(2, 1, 4_000)
    net = nn.Sequential(seeded(plain), nn.Flatten(2))
    swapped = nn.Sequential(copy.deepcopy(net), Swap())
    settings = {"sample_rate": RATE, "net_rate": RATE, "norm": "cosine"}
    first = FeatureDistance(net, ("0.4",), **settings)(est, ref)
    torch.testing.assert_close(FeatureDistance(swapped, ("1",), channel_dim=-1, **settings)(est, ref), first)
    assert not torch.allclose(FeatureDistance(swapped, ("1",), **settings)(est, ref), first)


class Swap(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mT


def test_a_silent_estimate_is_at_right_angles_to_everything() -> None:
    """By the cosine alone a muted estimate must not pay."""
    ref = 0.1 * noise(1, 1, 4_000)
    measure = FeatureDistance(
        nn.Sequential(nn.Unflatten(1, (-1, 8)), Swap()), ("1",), sample_rate=RATE, net_rate=RATE, norm="cosine"
    )
    assert measure(0 * ref, ref).item() == pytest.approx(1)
    assert measure(ref, 0 * ref).item() == pytest.approx(1)
    assert measure(-ref, ref).item() == pytest.approx(2)
    assert measure(0.01 * ref, ref).item() == pytest.approx(0, abs=1e-3)
    assert measure(0 * ref, 0 * ref).item() == 0


def test_weights_are_what_the_layers_count() -> None:
    est, ref = pair(2, 2, 4_000)
    parts = tiny().parts(est, ref)
    assert list(parts) == ["first", "second"]
    assert parts["first"].shape == (2, 2)
    for weights in ({"second": 3.0, "first": 0.5}, (0.5, 3.0)):
        torch.testing.assert_close(tiny(weights=weights)(est, ref), 0.5 * parts["first"] + 3 * parts["second"])
    torch.testing.assert_close(tiny()(est, ref), (parts["first"] + parts["second"]) / 2)


def test_balanced_weights_let_every_layer_count_the_same() -> None:
    est, ref = pair(4, 1, 4_000)
    weights = tiny(normalize="none").balanced_weights(est, ref)
    measure = tiny(normalize="none", weights=weights)
    means = {name: weights[name] * part.mean() for name, part in measure.parts(est, ref).items()}
    assert means["first"].item() == pytest.approx(0.5)
    assert means["second"].item() == pytest.approx(0.5)
    assert measure(est, ref).mean().item() == pytest.approx(1)
    with pytest.raises(ArgumentError, match=r"0\.0 apart"):
        measure.balanced_weights(ref, ref)


def test_signals_at_another_rate_are_resampled_and_learn_through_it() -> None:
    est, ref = pair(2, 1, 12_000)
    value, slope = gradient(tiny(sample_rate=48_000), est, ref)
    est = est.requires_grad_()
    expected, through = gradient(tiny(), *(resample(x, 48_000, RATE) for x in (est.detach(), ref)))
    torch.testing.assert_close(value, expected)
    (back,) = torch.autograd.grad(resample(est, 48_000, RATE), est, through)
    torch.testing.assert_close(slope, back)


# Value and gradient, stretch by stretch


@pytest.mark.parametrize("norm", ["l1", "l2", "cosine"])
@pytest.mark.parametrize("chunk", [None, 0.05])
def test_the_gradient_is_that_of_the_plain_formula(
    norm: str, chunk: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To 1e-9 in float64, also where rows and time are taken in blocks."""
    monkeypatch.setattr(features, "BLOCK_CPU", 2_000)
    est, ref = pair(3, 2, 4_000)
    measure = tiny(norm=norm, chunk_seconds=chunk)
    value, slope = gradient(measure, est, ref)
    measure.engine = "eager"
    expected, by_autograd = gradient(measure, est, ref)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    assert (slope - by_autograd).abs().max() < 1e-9 * by_autograd.abs().max()


def test_stretches_are_exact_for_a_net_that_looks_at_one_frame() -> None:
    """Deviation and means are those of the whole signal, not of each stretch; the last stretch is a shorter one."""
    est, ref = pair(2, 1, 4_800)
    ref = ref * torch.linspace(0.1, 1, 4_800, dtype=torch.float64)
    net = seeded(lambda: nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 6, 160, stride=160), nn.Softplus()))
    whole, parts = (
        FeatureDistance(net, ("1", "2"), sample_rate=RATE, net_rate=RATE, chunk_seconds=chunk) for chunk in (None, 0.08)
    )
    for one, other in zip(gradient(whole, est, ref), gradient(parts, est, ref), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-15)


def test_seams_of_a_net_that_looks_further_are_small_and_there() -> None:
    est, ref = pair(1, 1, 32_000)
    whole, parts = (tiny(chunk_seconds=chunk)(est, ref).item() for chunk in (None, 0.5))
    assert 1e-7 < abs(whole - parts) / whole < 1e-2


class Watching(Tiny):
    """Remembers the longest input since it was asked."""

    longest = 0

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        Watching.longest = max(Watching.longest, x.shape[1])
        return super().forward(x)


def test_the_net_never_sees_more_than_a_stretch_and_what_is_too_short_behind_it() -> None:
    measure = FeatureDistance(seeded(Watching), sample_rate=RATE, chunk_seconds=0.1)
    Watching.longest = 0
    est, ref = pair(1, 1, 16_010)
    gradient(measure, est, ref)
    measure(est, ref)
    assert Watching.longest == 1_610
    measure(est[..., :15_000], ref[..., :15_000])
    assert Watching.longest == 1_610


def test_what_is_kept_for_the_gradient_is_one_waveform() -> None:
    """While the net itself keeps every layer's features."""
    est, ref = (x[0].requires_grad_() for x in pair(1, 2, 8_000))
    made = features._value_and_gradient(est, ref.detach(), RandomConvolutionDistance(RATE))
    value = features.given(est, *made, refusal="")
    assert [x.shape for x in value.grad_fn.saved_tensors] == [est.shape]


def test_a_second_derivative_is_refused_and_eager_gives_it() -> None:
    est, ref = pair(1, 1, 1_000)
    est.requires_grad_()
    measure = tiny(norm="l2")
    with pytest.raises(ArgumentError, match='engine = "eager"'):
        torch.autograd.grad(measure(est, ref).sum(), est, create_graph=True)
    measure.engine = "eager"
    (slope,) = torch.autograd.grad(measure(est, ref).sum(), est, create_graph=True)
    assert torch.autograd.grad(slope.square().sum(), est)[0].abs().max() > 0


@pytest.mark.parametrize("engine", ["closed", "eager"])
def test_the_reference_has_no_gradient(engine: str) -> None:
    est, ref = pair(1, 1, 1_000)
    measure = tiny()
    measure.engine = engine
    ref.requires_grad_()
    measure(est.requires_grad_(), ref).sum().backward()
    assert ref.grad is None
    assert est.grad.abs().max() > 0


def test_it_is_a_term_of_a_loss_like_any_other() -> None:
    est, ref = pair(2, 1, 4_000, dtype=torch.float32)
    loss = WeightedSum([(1.0, Loss(tiny())), (0.1, SISDRLoss())])
    est.requires_grad_()
    loss(est, ref).backward()
    assert (est.grad.abs().amax(-1) > 0).all()
    assert not loss.state_dict()
    bound = Loss(tiny()).bind(ref)
    torch.testing.assert_close(bound(est), Loss(tiny())(est, ref))


# The frozen net


def test_what_is_done_to_a_model_does_not_reach_the_net_inside_its_loss() -> None:
    given = seeded(Tiny)
    measure = FeatureDistance(given, sample_rate=RATE)
    est, ref = pair(2, 1, 2_000, dtype=torch.float32)
    before = measure(est, ref)
    measure.train().requires_grad_(True).half()
    with torch.no_grad():
        given.conv1.weight.zero_()
    given.train()
    assert torch.equal(measure(est, ref), before)
    assert measure.net is not given
    assert measure.settings["layers"] == ("first", "second")


def test_the_shortest_signal_is_found_by_trying() -> None:
    """32 taps, then five frames 16 apart; at three times the rate the fewest that resample to as many."""
    assert tiny().min_samples == 32 + 4 * 16
    assert tiny(sample_rate=48_000).min_samples == 95 * 3 + 1
    with pytest.raises(ShapeError, match="96 samples"):
        tiny()(*pair(1, 1, 95))


# What is refused at once


class Returns(nn.Module):
    """A net whose one layer is whatever a function makes of a plain convolution."""

    sample_rate = RATE

    def __init__(self, what: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.conv, self.what = seeded(lambda: nn.Conv1d(1, 3, 8, stride=8)), what

    def forward(self, x: Tensor) -> dict[str, object]:
        return {"a": self.what(self.conv(x[:, None]), x)}


FLAWS = {
    "no dict and no tensor": (lambda h, x: [h], "gave list; needed is a tensor"),
    "integers": (lambda h, x: h.round().long(), "needed is a tensor of floating point"),
    "nan": (lambda h, x: (h - 9).log(), "not finite"),
    "a constant": (lambda h, x: 0 * h + 1, "one value throughout"),
    "without a gradient": (lambda h, x: h.detach(), "has no gradient"),
    "items that mix": (lambda h, x: h - h.mean(0), "beside others than alone"),
    "a batch that is gone": (lambda h, x: h.mean(0), "for two items"),
    "nothing": (lambda h, x: h[..., :0], "for two items"),
    "one value an item": (lambda h, x: h.mean((1, 2))[:, None], "normalize='none'"),
    "an error": (lambda h, x: h @ h, "does not take"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_net_that_cannot_be_compared_is_refused_when_the_measure_is_built(flaw: str) -> None:
    what, message = FLAWS[flaw]
    with pytest.raises(ArgumentError, match=message):
        FeatureDistance(Returns(what), sample_rate=RATE)


def test_one_value_an_item_is_a_feature_where_nothing_divides_it() -> None:
    net = Returns(lambda h, x: h.mean((1, 2))[:, None])
    est, ref = pair(2, 1, 2_000)
    assert (FeatureDistance(net, sample_rate=RATE, normalize="none")(est, ref) > 0).all()


def test_batch_statistics_are_refused_and_running_ones_are_not() -> None:
    def build(running: bool) -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 8, stride=8), nn.BatchNorm1d(4, track_running_stats=running)
        )

    settings = {"layers": ("2",), "sample_rate": RATE, "net_rate": RATE}
    FeatureDistance(seeded(lambda: build(True)), **settings)
    with pytest.raises(ArgumentError, match="track_running_stats=True"):
        FeatureDistance(seeded(lambda: build(False)), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": ("first", "third")}, r"has no layer \['third'\].*conv1, norm1, conv2"),
        ({"layers": ()}, "one or more different names"),
        ({"layers": "first"}, "one or more different names"),
        ({"layers": ("first", "first")}, "one or more different names"),
        ({"weights": (1.0,)}, "needed is one for each"),
        ({"weights": {"first": 1.0, "other": 1.0}}, "needed is one for each"),
        ({"weights": (1.0, -1.0)}, "not below 0"),
        ({"weights": (0.0, 0.0)}, "not all 0"),
        ({"chunk_seconds": 0.005}, "chunk_seconds=0.006 or more"),
        ({"chunk_seconds": 0.0}, "above 0"),
        ({"channel_dim": 0}, "channel_dim=1 or -1"),
        ({"channel_dim": 3}, "channel_dim=1 or -1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        tiny(**settings)


@pytest.mark.parametrize("settings", [{"norm": "l3"}, {"normalize": "batch"}])
def test_modes_there_are_not_are_refused(settings: dict) -> None:
    """Where the suite checks types, by those; else by name."""
    with pytest.raises((ArgumentError, TypeError), match=r"'l3'|'batch'"):
        tiny(**settings)


def test_a_net_is_asked_for_its_rate_and_for_layers() -> None:
    with pytest.raises(ArgumentError, match="net_rate=16_000"):
        FeatureDistance(plain(), ("1",), sample_rate=RATE)
    with pytest.raises(ArgumentError, match=r"which returns no dict.*layers=\('4',\)"):
        FeatureDistance(plain(), sample_rate=RATE, net_rate=RATE)
    with pytest.raises(ArgumentError, match=r"nn\.Unflatten\(1, \(1, -1\)\)"):
        FeatureDistance(plain()[1:], ("0",), sample_rate=RATE, net_rate=RATE)


def test_a_layer_that_stops_coming_is_named() -> None:
    class Fickle(Tiny):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            found = super().forward(x)
            return found if x.shape[1] <= RATE else {"first": found["first"]}

    with pytest.raises(ArgumentError, match=r"returned nothing for \['second'\] of 20000 samples"):
        FeatureDistance(seeded(Fickle), sample_rate=RATE)(*pair(1, 1, 20_000))


def test_features_that_break_down_later_are_not_left_out_of_the_mean() -> None:
    """A nan would be: the loss of the other items would look healthy."""
    measure = FeatureDistance(Returns(lambda h, x: h * (2 - x.abs().amax(1)[:, None, None]).sqrt()), sample_rate=RATE)
    est, ref = pair(2, 1, 2_000)
    est = torch.stack([est[0], 30 * est[1]])
    values = measure(est, ref)[:, 0]
    assert values[0].isfinite()
    assert values[1] == math.inf
    assert Loss(measure)(est, ref) == math.inf


# The two without weights


@pytest.mark.parametrize("measure", [RandomConvolutionDistance, ScatteringDistance])
def test_they_hear_what_is_worse_in_speech(measure: type[FeatureDistance]) -> None:
    ref = speech(seconds=2.0)
    values = [measure(RATE)(at_snr(ref, db), ref).item() for db in (40, 20, 10, 0)]
    assert values == sorted(values)
    assert values[0] < values[-1] / 5


def test_scattering_hears_a_tremolo_that_leaves_the_spectrum_alone() -> None:
    """Of equal size in the spectrum, a beat of 30 Hz is a fluctuation, and a steady change of level is none."""
    time = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    ref = 0.1 * noise(1, 1, 2 * RATE, dtype=torch.float64)
    tremolo = ref * (1 + 0.8 * torch.sin(2 * math.pi * 30 * time))
    parts = ScatteringDistance(RATE).parts(tremolo, ref)
    louder = ScatteringDistance(RATE).parts(1.2 * ref, ref)
    assert parts["order2"].item() > 2 * parts["order1"].item()
    assert louder["order2"].item() == pytest.approx(louder["order1"].item(), rel=0.01)
    assert louder["order1"].item() == pytest.approx(math.log(1.2), rel=0.01)


def test_scattering_hardly_hears_a_short_shift_and_random_convolutions_hear_little_else() -> None:
    ref = speech(seconds=2.0)
    moved = ref.roll(8, -1)
    for measure, share in ((ScatteringDistance(RATE), 0.1), (RandomConvolutionDistance(RATE), 0.5)):
        value, other = measure(moved, ref).item(), measure(at_snr(ref, 0), ref).item()
        assert (value < share * other) == (share == 0.1), type(measure).__name__


def test_a_silent_reference_costs_what_the_floor_allows() -> None:
    """Noise at -20 dBFS against silence: a thousand deviations at most, and a gradient that says so."""
    est = (0.1 * noise(1, 1, RATE)).requires_grad_()
    value = RandomConvolutionDistance(RATE)(est, torch.zeros(1, 1, RATE))
    assert 100 < value.item() < 2_000
    (slope,) = torch.autograd.grad(value.sum(), est)
    assert slope.isfinite().all()
    assert (slope * est).sum() > 0


@pytest.mark.parametrize(
    ("measure", "golden"),
    [
        (RandomConvolutionDistance, (0.02079234, 0.20527619, 0.63570001)),
        (ScatteringDistance, (0.01630478, 0.18087088, 0.67881767)),
    ],
)
def test_has_not_moved(measure: type[FeatureDistance], golden: tuple[float, ...]) -> None:
    """Golden values: a change here is a change of the number, and goes under "Numbers" in the changelog."""
    ref = tone(440, db=-20) + 0.05 * noise(1, 1, RATE, dtype=torch.float64)
    values = [measure(RATE)(at_snr(ref, db), ref).item() for db in (30, 10, 0)]
    assert values == pytest.approx(golden, rel=1e-6)
