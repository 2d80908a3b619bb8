"""The names of auraloss against auraloss 0.4.0: its numbers as legacy, and each of its faults beside our outcome.

The oracle runs as ``.double()``, its window as it builds it: in single precision, as legacy does.
"""

import copy
import inspect
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import percloss
import percloss.compat.auraloss as ours
from percloss.errors import ArgumentError, EmptyBandError, ShapeError
from tests.signals import noise

pytest.importorskip("auraloss")
import auraloss.freq as theirs_freq
import auraloss.perceptual as theirs_perceptual
import auraloss.time as theirs_time
import auraloss.utils as theirs_utils

THEIRS = {
    "freq": theirs_freq,
    "time": theirs_time,
    "perceptual": theirs_perceptual,
    "utils": theirs_utils,
}
TIME = ("ESRLoss", "DCLoss", "LogCoshLoss", "SNRLoss", "SISDRLoss", "SDSDRLoss")
FREQ = (
    *("SpectralConvergenceLoss", "STFTMagnitudeLoss", "STFTLoss", "MelSTFTLoss", "ChromaSTFTLoss"),
    *("MultiResolutionSTFTLoss", "RandomResolutionSTFTLoss", "SumAndDifferenceSTFTLoss"),
)
PERCEPTUAL = ("SumAndDifference", "FIRFilter")
NAMES = [("time", name) for name in TIME] + [("freq", name) for name in FREQ] + [("perceptual", x) for x in PERCEPTUAL]

SIZES: dict[str, Any] = {"fft_sizes": [256, 512], "hop_sizes": [64, 100], "win_lengths": [256, 400]}
MEL: dict[str, Any] = {"scale": "mel", "n_bins": 20, "sample_rate": 16_000}
GRID: list[dict[str, Any]] = [
    {},
    {"window": "bartlett_window"},
    {"window": "blackman_window"},
    {"window": "hamming_window"},
    {"window": "kaiser_window"},
    {"w_sc": 0.3, "w_log_mag": 2.0, "w_lin_mag": 0.7},
    {"w_sc": 0.0, "w_log_mag": 0.0, "w_phs": 1.0},
    {"w_log_mag": 0.0},
    {"w_sc": 0.0, "w_lin_mag": 1.0, "mag_distance": "L2"},
    MEL,
    {**MEL, "n_bins": 200, "w_log_mag": 0.0, "w_lin_mag": 1.0},  # bands without a bin
    {"perceptual_weighting": True, "sample_rate": 44_100},
    {**MEL, "perceptual_weighting": True, "w_lin_mag": 1.0},
    {"reduction": "sum", "w_phs": 0.1},
    {"output": "full", "w_lin_mag": 1.0, "w_phs": 0.5},
    {"eps": 1e-3},
    {"device": "cpu", **MEL},
]
ids = pytest.mark.parametrize("settings", GRID, ids=lambda settings: "-".join(map(str, settings.values())) or "default")


def pair(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """An estimate and its reference, 10 dB apart at -20 dB."""
    ref = 0.1 * noise(*shape, seed=seed, dtype=dtype)
    return ref + 0.03 * noise(*shape, seed=seed + 1, dtype=dtype), ref


@pytest.fixture(scope="module")
def stereo() -> tuple[Tensor, Tensor]:
    return pair(2, 2, 3000)


def leaves(found: Any) -> list[Tensor]:
    """All numbers of what a loss returned, in order."""
    if isinstance(found, (tuple, list)):
        return [leaf for part in found for leaf in leaves(part)]
    return [torch.as_tensor(found, dtype=torch.float64).detach()]


def structure(found: Any) -> Any:
    return type(found), [structure(part) for part in found] if isinstance(found, (tuple, list)) else None


def gradient(loss: Any, est: Tensor, ref: Tensor) -> tuple[Any, Any]:
    est = est.clone().requires_grad_()
    found = loss(est, ref)
    (found[0] if isinstance(found, tuple) else found).sum().backward()
    return found if isinstance(found, tuple) else found.detach(), est.grad


def assert_the_same(mine: Any, other: Any, est: Tensor, ref: Tensor) -> None:
    """Value and gradient within 1e-9 of the oracle's, relative to the largest, and in the same tuples and lists."""
    (value, slope), (wanted, steep) = gradient(mine, est, ref), gradient(other, est, ref)
    if isinstance(wanted, tuple):
        assert structure(value) == structure(wanted)
    for a, b in zip(leaves(value), leaves(wanted), strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-9 * b.abs().max().clamp(min=1)
    assert (slope - steep).abs().max() <= 1e-9 * steep.abs().max()
    assert steep.any()


# Names and arguments


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_arguments_have_the_names_the_order_and_the_defaults_of_auraloss(module: str, name: str) -> None:
    def arguments(place: Any) -> list[tuple[str, Any]]:
        found = inspect.signature(getattr(place, name)).parameters.values()
        added = ("legacy", "generator") if place is getattr(ours, module) else ()
        defaults = [(x.name, x.default) for x in found if x.kind is not x.VAR_KEYWORD and x.name not in added]
        return [(key, list(value) if isinstance(value, (list, tuple)) else value) for key, value in defaults]

    assert arguments(getattr(ours, module)) == arguments(THEIRS[module])


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_constructor_takes_legacy_by_keyword(module: str, name: str) -> None:
    parameters = inspect.signature(getattr(getattr(ours, module), name)).parameters
    assert "legacy" not in parameters or parameters["legacy"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "legacy" in parameters or "kwargs" in parameters  # handed on to STFTLoss


def test_reduction_is_that_of_auraloss() -> None:
    losses = noise(3, 2)
    for reduction in ("mean", "sum", "none"):
        assert torch.equal(
            ours.utils.apply_reduction(losses, reduction), theirs_utils.apply_reduction(losses, reduction)
        )


# Legacy: the grid


@ids
@pytest.mark.filterwarnings("ignore:Empty filters detected:UserWarning")
def test_legacy_stft_is_that_of_auraloss(settings, stereo) -> None:
    mine, other = (
        ours.freq.STFTLoss(512, 100, 400, **settings, legacy=True),
        theirs_freq.STFTLoss(512, 100, 400, **settings),
    )
    assert_the_same(mine, other.double(), *stereo)


@ids
@pytest.mark.filterwarnings("ignore:Empty filters detected:UserWarning")
def test_legacy_multi_resolution_is_that_of_auraloss(settings, stereo) -> None:
    mine = ours.freq.MultiResolutionSTFTLoss(**SIZES, **settings, legacy=True)
    assert_the_same(mine, theirs_freq.MultiResolutionSTFTLoss(**SIZES, **settings).double(), *stereo)


@pytest.mark.parametrize(
    "settings", [{}, MEL, {"perceptual_weighting": True, "sample_rate": 44_100}, {"output": "full"}]
)
def test_legacy_sum_and_difference_is_that_of_auraloss(settings, stereo) -> None:
    mine = ours.freq.SumAndDifferenceSTFTLoss(**SIZES, w_sum=0.5, w_diff=2.0, **settings, legacy=True)
    other = theirs_freq.SumAndDifferenceSTFTLoss(**SIZES, w_sum=0.5, w_diff=2.0, **settings)
    assert_the_same(mine, other.double(), *stereo)


@pytest.mark.parametrize("weights", [{"w_lin_mag": 1.0}, {"w_sc": 0.0}])
def test_legacy_keeps_every_bin_where_nothing_is_reduced(weights, stereo) -> None:
    settings = {"reduction": "none", **weights}
    assert_the_same(ours.freq.STFTLoss(**settings, legacy=True), theirs_freq.STFTLoss(**settings).double(), *stereo)
    assert ours.freq.STFTLoss(**settings)(*stereo).shape == (4, 513, 12)


def test_legacy_is_that_of_auraloss_at_its_defaults_for_one_item() -> None:
    est, ref = pair(1, 1, 5000)
    for settings in ({}, {"scale_invariance": True}):
        mine, other = (place.MultiResolutionSTFTLoss for place in (ours.freq, theirs_freq))
        assert_the_same(mine(**settings, legacy=True), other(**settings).double(), est, ref)
    assert_the_same(ours.freq.MelSTFTLoss(44_100, legacy=True), theirs_freq.MelSTFTLoss(44_100).double(), est, ref)


def test_legacy_has_no_gradient_below_the_clamp_either(stereo) -> None:
    _, ref = stereo
    for loss in (ours.freq.STFTLoss(legacy=True), theirs_freq.STFTLoss()):
        assert not gradient(loss, 1e-6 * ref, ref)[1].any()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", TIME)
def test_legacy_losses_of_waveforms_are_those_of_auraloss(name: str, reduction: str, stereo) -> None:
    for settings in ({}, {"eps": 1e-3}, {"a": 3.0} if name == "LogCoshLoss" else {}):
        mine = getattr(ours.time, name)(**settings, reduction=reduction, legacy=True)
        assert_the_same(mine, getattr(theirs_time, name)(**settings, reduction=reduction), *stereo)
    est, ref = (x[0] + 0.1 for x in stereo)
    if "SDR" in name or name == "SNRLoss":
        mine, other = (getattr(place, name) for place in (ours.time, theirs_time))
        assert_the_same(mine(False, reduction=reduction, legacy=True), other(False, reduction=reduction), est, ref)


@pytest.mark.parametrize("fs", [16_000, 44_100, 48_000])
def test_legacy_filters_are_those_of_auraloss(fs: int) -> None:
    est, ref = pair(3, 1, 1000)
    for settings in ({"filter_type": "hp"}, {"filter_type": "fd", "coef": 0.5}, {"filter_type": "aw", "ntaps": 51}):
        mine = ours.perceptual.FIRFilter(**settings, fs=fs, legacy=True)(est, ref)
        wanted = theirs_perceptual.FIRFilter(**settings, fs=fs).double()(est, ref)
        torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-10)  # one tap may round to the other side


def test_legacy_draws_the_resolutions_that_auraloss_draws() -> None:
    est, ref = pair(2, 1, 3000)
    found = []
    for place, settings in ((ours.freq, {"legacy": True}), (theirs_freq, {})):
        np.random.seed(7)  # noqa: NPY002
        loss = place.RandomResolutionSTFTLoss(max_fft_size=1024, **settings).double()
        found.append([float(loss(est, ref)) for _ in range(3)])
    assert found[0] == pytest.approx(found[1], rel=1e-9)
    assert len(set(found[1])) == 3


def test_legacy_parts_are_those_of_auraloss() -> None:
    est, ref = (x.abs() + 0.1 for x in pair(2, 30, 40))
    for distance in ("L1", "L2"):
        for log in (True, False):
            mine, other = (place.STFTMagnitudeLoss(log, distance) for place in (ours.freq, theirs_freq))
            assert_the_same(mine, other, est, ref)
    assert_the_same(ours.freq.SpectralConvergenceLoss(legacy=True), theirs_freq.SpectralConvergenceLoss(), est, ref)
    for wave in pair(2, 3000):
        torch.testing.assert_close(ours.freq.STFTLoss(legacy=True).stft(wave), theirs_freq.STFTLoss().stft(wave))


@pytest.mark.parametrize("level", [1.0, 1e-3])
@pytest.mark.parametrize(
    "settings", [{}, {"w_lin_mag": 1.0}, MEL, {"perceptual_weighting": True, "sample_rate": 44_100}]
)
def test_in_single_precision_legacy_is_as_near_to_the_truth_as_auraloss(settings, level: float) -> None:
    est, ref = (level * x for x in pair(2, 1, 3000, dtype=torch.float32))
    other = theirs_freq.STFTLoss(**settings)
    _, slope = gradient(copy.deepcopy(other).double(), est.double(), ref.double())
    (value, mine), (wanted, steep) = (
        gradient(ours.freq.STFTLoss(**settings, legacy=True), est, ref),
        gradient(other, est, ref),
    )
    assert float(value) == pytest.approx(float(wanted), rel=1e-5)
    assert (mine - slope).norm() <= 2 * (steep - slope).norm()


@pytest.mark.parametrize("name", TIME)
def test_in_single_precision_legacy_waveform_losses_are_as_near_to_the_truth(name: str) -> None:
    est, ref = pair(2, 1, 3000, dtype=torch.float32)
    other = getattr(theirs_time, name)()
    _, slope = gradient(other, est.double(), ref.double())
    (value, mine), (wanted, steep) = (
        gradient(getattr(ours.time, name)(legacy=True), est, ref),
        gradient(other, est, ref),
    )
    assert float(value) == pytest.approx(float(wanted), rel=1e-5)
    assert (mine - slope).norm() <= 2 * (steep - slope).norm()


# Without legacy: what stays


@pytest.mark.parametrize(
    "settings", [s for s in GRID if not {"perceptual_weighting", "w_phs"} & {*s} and s.get("n_bins") != 200]
)
def test_one_item_moves_by_nothing_but_the_floor(settings) -> None:
    """At a floor of 1e-25, which no bin is near, the default is auraloss to the rounding of its window and its bank."""
    settings = {**settings, "eps": 1e-25}
    est, ref = pair(1, 1, 3000)
    found = ours.freq.MultiResolutionSTFTLoss(**SIZES, **settings)(est, ref)
    wanted = theirs_freq.MultiResolutionSTFTLoss(**SIZES, **settings).double()(est, ref)
    for a, b in zip(leaves(found), leaves(wanted), strict=True):
        assert float(a) == pytest.approx(float(b), rel=1e-6)


@pytest.mark.parametrize("name", TIME)
def test_waveform_losses_of_a_loud_item_stay(name: str) -> None:
    est, ref = pair(1, 1, 30_000)
    assert float(getattr(ours.time, name)()(est, ref)) == pytest.approx(
        float(getattr(theirs_time, name)()(est, ref)),
        rel=1e-5,
        abs=2e-8,  # log-cosh has its eps within the logarithm
    )


@pytest.mark.parametrize("settings", [{}, {"w_lin_mag": 2.0, "w_sc": 0.3}, {"eps": 1e-3, "w_sc": 0.0}])
def test_the_fast_path_and_the_parts_are_one_number(settings, stereo) -> None:
    """``"loss"`` delegates to STFTDistance, ``"full"`` adds the parts up; each resolution is transformed once."""
    fast, parts = (ours.freq.MultiResolutionSTFTLoss(**SIZES, **settings, output=x) for x in ("loss", "full"))
    assert isinstance(fast.stft_losses[0].measure, percloss.STFTDistance)
    (a, slope), (b, steep) = gradient(fast, *stereo), gradient(parts, *stereo)
    torch.testing.assert_close(a, b[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, steep, rtol=1e-9, atol=1e-12)


def test_second_derivatives_are_had_by_name() -> None:
    est, ref = pair(1, 1, 600)
    loss = ours.freq.STFTLoss(256, 64, 256)
    est.requires_grad_()
    with pytest.raises(ArgumentError, match='engine = "eager"'):
        torch.autograd.grad(loss(est, ref), est, create_graph=True)
    loss.measure.engine = "eager"
    (slope,) = torch.autograd.grad(loss(est, ref), est, create_graph=True)
    assert torch.autograd.grad(slope.square().sum(), est)[0].any()


# The faults, by the number of the migration page


def test_1_scale_invariance_takes_any_batch() -> None:
    est, ref = pair(3, 2, 3000)
    with pytest.raises(RuntimeError, match="size of tensor"):
        theirs_freq.STFTLoss(scale_invariance=True).double()(est, ref)
    with pytest.raises(RuntimeError, match="size of tensor"):
        ours.freq.STFTLoss(scale_invariance=True, legacy=True)(est, ref)
    loss = ours.freq.STFTLoss(scale_invariance=True, eps=1e-20)
    assert float(loss(est, ref)) == pytest.approx(float(loss(est, 7 * ref)), rel=1e-9)
    items = torch.stack([loss(est[i : i + 1], ref[i : i + 1]) for i in range(3)])
    assert float(loss(est, ref)) == pytest.approx(float(items.mean()), rel=1e-9)


def test_1_scale_invariance_does_not_pay_silence() -> None:
    est, ref = pair(1, 1, 3000)
    loss = ours.freq.STFTLoss(scale_invariance=True, w_log_mag=0.0)
    assert loss(1e-9 * est, ref) > loss(est, ref)


def test_2_chroma_can_be_built() -> None:
    librosa = pytest.importorskip("librosa")
    with pytest.raises(TypeError, match="numpy.ndarray"):
        theirs_freq.ChromaSTFTLoss(16_000)
    with pytest.raises(ArgumentError, match="cannot build it"):
        ours.freq.ChromaSTFTLoss(16_000, legacy=True)
    for rate, size, classes in ((16_000, 512, 12), (44_100, 1024, 12), (22_050, 2048, 24)):
        found = ours.freq.ChromaSTFTLoss(rate, size, win_length=size, n_chroma=classes).front.fb
        wanted = librosa.filters.chroma(sr=rate, n_fft=size, n_chroma=classes)
        assert found == pytest.approx(wanted, abs=1e-7)  # librosa's is in single precision
    time = torch.arange(8000, dtype=torch.float64) / 16_000
    a4, a5, d5 = (torch.sin(2 * math.pi * hz * time)[None, None] for hz in (440.0, 880.0, 587.33))
    loss = ours.freq.ChromaSTFTLoss(16_000, 2048, 512, 2048, w_log_mag=0.0)
    assert 5 * loss(a5, a4) < loss(d5, a4)


def test_3_nothing_reduced_over_resolutions_is_a_value_per_item(stereo) -> None:
    with pytest.raises(RuntimeError, match="size of tensor"):
        theirs_freq.MultiResolutionSTFTLoss(reduction="none").double()(*stereo)
    for settings in ({}, MEL):
        values = ours.freq.MultiResolutionSTFTLoss(**SIZES, **settings, reduction="none")(*stereo)
        assert values.shape == (2, 2)
        mean = ours.freq.MultiResolutionSTFTLoss(**SIZES, **settings)
        assert float(values.mean()) == pytest.approx(float(mean(*stereo)), rel=1e-9)
        alone = mean(*(x[1:, 1:] for x in stereo))
        assert float(values[1, 1]) == pytest.approx(float(alone), rel=1e-9)
    loss, *parts = ours.freq.MultiResolutionSTFTLoss(**SIZES, reduction="none", output="full")(*stereo)
    assert loss.shape == parts[0][1].shape == (2, 2)


@pytest.mark.filterwarnings("ignore:Empty filters detected:UserWarning")
def test_4_a_mel_band_without_a_bin_is_an_error_and_not_nan() -> None:
    settings: dict[str, Any] = {"scale": "mel", "n_bins": 128, "sample_rate": 44_100}
    est, ref = pair(1, 1, 3000)
    assert theirs_freq.MultiResolutionSTFTLoss(**settings).double()(est, ref).isnan()
    assert ours.freq.MultiResolutionSTFTLoss(**settings, legacy=True)(est, ref).isnan()
    with pytest.raises(EmptyBandError, match="11 of 128 bands .* n_fft=512"):
        ours.freq.MultiResolutionSTFTLoss(**settings)
    with pytest.raises(EmptyBandError):  # whatever will be drawn
        ours.freq.RandomResolutionSTFTLoss(scale="mel", n_mels=16, sample_rate=44_100)


@pytest.mark.parametrize("kind", ["hp", "fd", "aw"])
def test_5_filters_keep_the_length_and_take_any_channels(kind: str, stereo) -> None:
    mono = [x[:, :1] for x in stereo]
    assert theirs_perceptual.FIRFilter(kind).double()(*mono)[0].shape[-1] == 3000 + 98 * (kind != "aw")
    with pytest.raises(RuntimeError, match="channels"):
        theirs_perceptual.FIRFilter(kind).double()(*stereo)
    est, ref = ours.perceptual.FIRFilter(kind)(*stereo)
    assert est.shape == ref.shape == (2, 2, 3000)
    assert torch.equal(est[:, :1], ours.perceptual.FIRFilter(kind)(*mono)[0])


@pytest.mark.parametrize("kind", ["hp", "fd"])
def test_5_filters_are_as_auraloss_has_them_inside_the_signal(kind: str) -> None:
    est, ref = pair(1, 1, 1000)
    found, wanted = (
        ours.perceptual.FIRFilter(kind)(est, ref)[0],
        theirs_perceptual.FIRFilter(kind).double()(est, ref)[0],
    )
    torch.testing.assert_close(found, wanted[..., 49:-49], rtol=0, atol=1e-12)


# IEC 61672-1, table 3, and what auraloss is off by there at 44.1 kHz
@pytest.mark.parametrize(
    ("hz", "db", "off"), [(31.5, -39.4, 19.8), (63.0, -26.2, 7.4), (1000.0, 0.0, -0.1), (16_000.0, -6.6, -8.7)]
)
def test_6_a_weighting_is_that_of_the_standard(hz: float, db: float, off: float) -> None:
    time = torch.arange(44_100, dtype=torch.float64) / 44_100
    sine = torch.sin(2 * math.pi * hz * time)[None, None]
    inside = slice(4410, -4410)
    for filtering, wrong in ((ours.perceptual.FIRFilter("aw"), 0.0), (theirs_perceptual.FIRFilter("aw").double(), off)):
        ratio = filtering(sine, sine)[0][..., inside].square().sum() / sine[..., inside].square().sum()
        assert 10 * math.log10(ratio) == pytest.approx(db + wrong, abs=0.15)


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_6_a_weighting_is_the_same_curve_at_every_rate(rate: int) -> None:
    click = torch.zeros(1, 1, rate, dtype=torch.float64)
    click[..., rate // 2] = 1
    response = torch.fft.rfft(ours.perceptual.FIRFilter("aw", fs=rate)(click, click)[0][0, 0]).abs()
    wanted = ours.perceptual.a_curve(torch.arange(rate // 2 + 1, dtype=torch.float64))
    assert (response[20:-20] / wanted[20:-20]).log10().abs().max() < 0.005  # 0.1 dB


def test_7_a_silent_target_is_bounded() -> None:
    est, ref = pair(1, 1, 8000)
    value, slope = gradient(theirs_freq.STFTLoss().double(), est, 0 * ref)
    assert value > 10_000
    assert slope.norm() > 500
    value, slope = gradient(ours.freq.STFTLoss(), est, 0 * ref)
    assert value < 20
    assert 0 < slope.norm() < 1


@pytest.mark.parametrize("name", ["ESRLoss", "SISDRLoss"])
def test_7_one_silent_target_leaves_the_others_as_they_are(name: str) -> None:
    est, ref = pair(8, 1, 8000)
    silenced = ref.clone()
    silenced[3] = 0
    mine, other = (getattr(place, name) for place in (ours.time, theirs_time))
    assert abs(other()(est, silenced) - other()(est, ref)) > 5
    others = [0, 1, 2, 4, 5, 6, 7]
    value, slope = gradient(mine(), est, silenced)
    torch.testing.assert_close(value, mine()(est[others], ref[others]))
    assert not slope[3].any()
    assert mine(reduction="none")(est, silenced).isnan().flatten().tolist() == [i == 3 for i in range(8)]
    torch.testing.assert_close(mine(reduction="sum")(est, silenced), 7 * value.detach())


@pytest.mark.parametrize("name", ["SNRLoss", "SISDRLoss", "SDSDRLoss"])
def test_8_right_silence_is_not_the_worst_there_is(name: str) -> None:
    silence = torch.zeros(1, 1, 100, dtype=torch.float64)
    assert float(getattr(theirs_time, name)()(silence, silence)) == pytest.approx(80)
    with pytest.warns(UserWarning, match="silent references"):
        assert float(getattr(ours.time, name)()(silence, silence)) == 0


@pytest.mark.parametrize("level", [1e-6, 1e-8])
def test_9_a_quiet_estimate_learns(level: float) -> None:
    _, ref = pair(1, 1, 8000)
    assert not gradient(theirs_freq.STFTLoss().double(), level * ref, ref)[1].any()
    assert gradient(ours.freq.STFTLoss(), level * ref, ref)[1].any()
    assert gradient(ours.freq.STFTLoss(**MEL), level * ref, ref)[1].any()


@pytest.mark.parametrize("name", ["SNRLoss", "SISDRLoss", "SDSDRLoss", "ESRLoss", "DCLoss"])
def test_10_ratios_do_not_hear_the_level(name: str) -> None:
    est, ref = pair(1, 1, 8000)
    est = est + 0.01 * (name == "DCLoss")
    for place, same in ((theirs_time, False), (ours.time, True)):
        loss = getattr(place, name)()
        assert (float(loss(1e-5 * est, 1e-5 * ref)) == pytest.approx(float(loss(est, ref)), rel=1e-6)) is same


def test_11_items_of_a_batch_do_not_mix() -> None:
    est, ref = pair(2, 1, 8000)
    est[1], ref[1] = 0.02 * ref[1].flip(-1), 0.01 * ref[1]
    for place, same in ((theirs_freq, False), (ours.freq, True)):
        loss = place.STFTLoss(w_log_mag=0.0).double()
        items = torch.stack([loss(est[i : i + 1], ref[i : i + 1]) for i in range(2)])
        assert (float(loss(est, ref)) == pytest.approx(float(items.mean()), rel=1e-9)) is same


def test_11_magnitudes_of_a_batch_do_not_mix() -> None:
    ref = torch.ones(2, 3, 4)
    ref[1] *= 100
    est = torch.stack([2 * ref[0], ref[1]])
    assert float(ours.freq.SpectralConvergenceLoss()(est, ref)) == 0.5
    assert float(theirs_freq.SpectralConvergenceLoss()(est, ref)) < 0.011


def test_12_phase_knows_that_a_turn_is_nothing() -> None:
    time = torch.arange(16_000, dtype=torch.float64) / 16_000
    ref, est = (torch.sin(2 * math.pi * 440 * time + shift)[None, None] for shift in (0.0, 0.083))
    weights = {"w_sc": 0.0, "w_log_mag": 0.0, "w_phs": 1.0}
    assert theirs_freq.STFTLoss(**weights).double()(est, ref) > 0.3
    assert float(ours.freq.STFTLoss(**weights)(est, ref)) == pytest.approx(0.083**2, rel=0.03)
    assert float(ours.freq.STFTLoss(**weights)(est, 0 * ref)) == 0


def test_13_log_cosh_does_not_overflow() -> None:
    est, ref = torch.full((1, 1, 10), 100.0), torch.zeros(1, 1, 10)
    assert theirs_time.LogCoshLoss()(est, ref).isinf()
    value, slope = gradient(ours.time.LogCoshLoss(), est, ref)
    assert float(value) == pytest.approx(100 - math.log(2))
    assert torch.allclose(slope, torch.tensor(0.1))


def test_14_a_transposed_signal_is_taken() -> None:
    est, ref = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in pair(2, 2, 3000))
    with pytest.raises(RuntimeError, match="view"):
        theirs_freq.STFTLoss().double()(est, ref)
    loss = ours.freq.STFTLoss()
    assert torch.equal(loss(est, ref), loss(est.contiguous(), ref.contiguous()))


def test_15_shapes_are_named(stereo) -> None:
    with pytest.raises(ValueError, match="not enough values to unpack"):
        theirs_freq.STFTLoss()(*(x[0] for x in stereo))
    for legacy in (False, True):
        with pytest.raises(ShapeError, match=r"\(2, 3000\).*\(batch, channels, time\)"):
            ours.freq.STFTLoss(legacy=legacy)(*(x[0] for x in stereo))
    with pytest.raises(ShapeError, match="stereo"):
        ours.perceptual.SumAndDifference()(torch.zeros(2, 1, 100))
    with pytest.raises(ShapeError, match="equal shapes"):
        ours.time.SNRLoss()(torch.zeros(2, 100), torch.zeros(100, 2))
    assert ours.time.SNRLoss(reduction="none")(*(x[0, 0] for x in stereo)).shape == ()


@pytest.mark.parametrize("missing", [10, 300])
def test_16_a_pair_of_two_lengths_is_an_error(missing: int, stereo) -> None:
    est, ref = stereo
    if missing == 10:  # as many frames: nobody tells
        assert theirs_freq.STFTLoss().double()(est[..., :-missing], ref).isfinite()
    for build in (ours.freq.STFTLoss, ours.freq.MultiResolutionSTFTLoss):
        with pytest.raises(ShapeError, match="equal shapes"):
            build()(est[..., :-missing], ref)
    with pytest.raises(ShapeError, match="1025 samples"):
        ours.freq.MultiResolutionSTFTLoss()(est[..., :1000], ref[..., :1000])


def test_17_random_resolutions_are_drawn_by_a_torch_generator() -> None:
    est, ref = pair(1, 1, 1100)

    def values(**settings: Any) -> list[float]:
        loss = ours.freq.RandomResolutionSTFTLoss(max_fft_size=1024, **settings)
        return [float(loss(est, ref)) for _ in range(3)]

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = values()
    assert first == values()
    assert len(set(first)) == 3
    assert first != values(generator=torch.Generator().manual_seed(1))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert len(set(values(randomize_rate=3))) == 1


def test_17_random_resolutions_take_what_they_are_given() -> None:
    est, ref = pair(2, 1, 1100)
    loss = ours.freq.RandomResolutionSTFTLoss(max_fft_size=1024, reduction="none", mag_distance="L2", eps=1e-6)
    assert loss(est, ref).shape == (2, 1)
    assert {(part.mag_distance, part.eps) for part in loss.stft_losses} == {("L2", 1e-6)}
    with pytest.raises(ShapeError, match="more than max_fft_size=1024"):
        loss(est[..., :1024], ref[..., :1024])


def test_18_autocast_leaves_the_bands_in_single_precision(stereo) -> None:
    pairs = [x.float() for x in stereo]
    for place, same in ((theirs_freq, False), (ours.freq, True)):
        loss = place.STFTLoss(**MEL)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under = loss(*pairs)
        assert bool(under == loss(*pairs)) is same


def test_20_a_perfect_estimate_is_at_the_cap_and_at_rest() -> None:
    _, ref = pair(1, 1, 16_000, dtype=torch.float32)
    value, slope = gradient(theirs_time.SISDRLoss(), ref.clone(), ref)
    assert value < -100
    assert slope.norm() > 0.1
    value, slope = gradient(ours.time.SISDRLoss(), ref.clone(), ref)
    assert float(value) == -140
    assert slope.norm() < 1e-3


# What programs written for auraloss do


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("settings", [MEL, {**MEL, "perceptual_weighting": True}])
def test_state_dicts_of_auraloss_load(settings, legacy: bool) -> None:
    for name in ("MultiResolutionSTFTLoss", "SumAndDifferenceSTFTLoss"):
        saved = getattr(theirs_freq, name)(**SIZES, **settings).state_dict()
        assert len(saved) == 2 + 2 * ("perceptual_weighting" in settings)
        holder = torch.nn.ModuleDict({"loss": getattr(ours.freq, name)(**SIZES, **settings, legacy=legacy)})
        holder.load_state_dict({f"loss.{key}": value for key, value in saved.items()}, strict=True)
        with pytest.raises(RuntimeError, match="Unexpected key"):
            holder.load_state_dict({"loss.other": torch.zeros(1)})


@pytest.mark.parametrize("kind", ["hp", "fd", "aw"])
def test_state_dicts_of_filters_load(kind: str) -> None:
    saved = theirs_perceptual.FIRFilter(kind).state_dict()
    assert list(saved) == ["fir.weight"]
    ours.perceptual.FIRFilter(kind).load_state_dict(saved, strict=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_calls_of_its_readme_and_its_tests_run(legacy: bool) -> None:
    """Single and several resolutions, weights, stereo, mel and A-weighting, at 44.1 kHz and its defaults."""
    auraloss = ours
    extra: Any = {"legacy": legacy}
    sizes: Any = {
        "fft_sizes": [1024, 2048, 8192],
        "hop_sizes": [256, 512, 2048],
        "win_lengths": [1024, 2048, 8192],
    }
    mono, stereo = (pair(2, channels, 16_384, dtype=torch.float32) for channels in (1, 2))
    mel: Any = {"scale": "mel", "n_bins": 64, "sample_rate": 44_100}
    a_weighted: Any = {"perceptual_weighting": True, "sample_rate": 44_100}
    weighted_mel: Any = {**a_weighted, **mel}
    losses = [
        (auraloss.freq.MultiResolutionSTFTLoss(**extra), mono),
        (auraloss.freq.STFTLoss(**extra), mono),
        (auraloss.freq.STFTLoss(w_log_mag=1.0, w_lin_mag=0.0, w_sc=0.0, **extra), mono),
        (auraloss.freq.SumAndDifferenceSTFTLoss(**sizes, **extra), stereo),
        (auraloss.freq.SumAndDifferenceSTFTLoss(**sizes, **a_weighted, **extra), stereo),
        (auraloss.freq.SumAndDifferenceSTFTLoss(**sizes, **weighted_mel, **extra), stereo),
        (auraloss.freq.MelSTFTLoss(44_100, **extra), mono),
        (auraloss.freq.MultiResolutionSTFTLoss(**sizes, **mel, **extra), mono),
        (auraloss.freq.MultiResolutionSTFTLoss(**sizes, **weighted_mel, **extra), mono),
        (auraloss.freq.RandomResolutionSTFTLoss(max_fft_size=8192, **extra), mono),
        (auraloss.time.ESRLoss(**extra), mono),
    ]
    for loss, (est, ref) in losses:
        value, slope = gradient(loss, est, ref)
        assert value.shape == ()
        assert value.isfinite()
        assert slope.any()
    assert auraloss.freq.STFTLoss(reduction="none", **extra)(*mono).dim() == 3
    assert len(auraloss.freq.MelSTFTLoss(44_100, reduction="none", **extra)(*mono)) == 2
    full = auraloss.freq.MultiResolutionSTFTLoss(output="full", **extra)(*mono)
    assert [len(part) for part in full[1:]] == [3] * 4
    filtered = auraloss.perceptual.FIRFilter("hp", coef=0.85, fs=44_100, **extra)(*mono)
    assert auraloss.time.DCLoss(**extra)(*filtered).isfinite()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("build", ["STFTLoss", "MultiResolutionSTFTLoss"])
def test_the_squared_distance_of_one_bin_is_what_its_tests_expect(build: str, legacy: bool) -> None:
    """A cosine on a bin without a window is N / 2 in that bin and nothing in N / 2 others."""
    size = 1024
    wave = torch.cos(2 * math.pi * 32 / size * torch.arange(8 * size + 1, dtype=torch.float64))[None, None]
    sizes = (size, size // 4, size) if build == "STFTLoss" else ([size], [size // 4], [size])
    settings = {"w_sc": 0.0, "w_log_mag": 0.0, "w_lin_mag": 1.0, "mag_distance": "L2", "legacy": legacy}
    loss = getattr(ours.freq, build)(*sizes, "ones", **settings)
    assert float(loss(wave, 0 * wave)) == pytest.approx((size / 2) ** 2 / (size / 2 + 1), rel=1e-4)


def test_a_loss_is_copied_and_pickled(stereo) -> None:
    random = ours.freq.RandomResolutionSTFTLoss(max_fft_size=1024)
    for loss in (ours.freq.MultiResolutionSTFTLoss(**SIZES, **MEL), ours.time.SISDRLoss(), random):
        copied, pickled = copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))
        assert copied(*stereo) == pickled(*stereo) == loss(*stereo)


@pytest.mark.parametrize("build", ["freq.STFTLoss", "freq.MultiResolutionSTFTLoss", "time.SISDRLoss"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_samples_that_are_not_numbers_are_not_hidden(build: str, reduction: str, stereo) -> None:
    est, ref = (x.clone() for x in stereo)
    est[0, 0, 7] = math.nan
    module, name = build.split(".")
    assert getattr(getattr(ours, module), name)(reduction=reduction)(est, ref).isnan()


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        ("STFTLoss", {"reduction": "average"}),
        ("STFTLoss", {"output": "all"}),
        ("STFTLoss", {"mag_distance": "L3"}),
        ("STFTLoss", {"window": "cosine"}),
        ("STFTLoss", {"scale": "bark"}),
        ("STFTLoss", {"scale": "mel"}),
        ("STFTLoss", {"perceptual_weighting": True}),
        ("STFTLoss", {"w_sc": 0.0, "w_log_mag": 0.0}),
        ("STFTLoss", {"eps": 0.0}),
        ("MultiResolutionSTFTLoss", {"hop_sizes": [1]}),
    ],
)
def test_what_cannot_be_built_is_said(build: str, settings) -> None:
    with pytest.raises(ArgumentError, match="needed|type"):
        getattr(ours.freq, build)(**settings)


@pytest.mark.parametrize("settings", [{"filter_type": "lp"}, {"ntaps": 100}, {"plot": True}, {"fs": 0}])
def test_a_filter_that_cannot_be_built_is_said(settings) -> None:
    with pytest.raises(ValueError, match="FIRFilter|filter_type"):
        ours.perceptual.FIRFilter(**settings)
