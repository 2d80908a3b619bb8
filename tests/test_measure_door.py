"""What is refused at the only door, and that each refusal says what came, what is needed and what to type."""

import dataclasses
import math
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from percloss import (
    SISDR,
    SNR,
    Measure,
    MelDistance,
    PerclossError,
    PermutationInvariant,
    Resampled,
    SampleRateError,
    ShapeError,
    SNRImprovement,
    Spec,
    STFTDistance,
    create,
)
from percloss.errors import ArgumentError, ContractError, DeviceError, DTypeError
from percloss.testing import NEED_A_REFERENCE, RULES, check_measure
from tests.alone import DeafLevel, Level
from tests.signals import at_snr, noise


def wave(*shape: int) -> Tensor:
    return torch.ones(*shape)


# measure, est, ref, error, what came, what is needed, what to type
REFUSED = {
    "one axis": (SNR(), wave(8), wave(8), ShapeError, "(8,)", "(batch, channels, time)", "est[None, None]"),
    "two axes": (SNR(), wave(2, 8), wave(2, 8), ShapeError, "(2, 8)", "(batch, channels, time)", "est[:, None]"),
    "four axes": (
        SNR(),
        *[wave(1, 2, 1, 8)] * 2,
        ShapeError,
        "(1, 2, 1, 8)",
        "(batch, channels, time)",
        "est.flatten(0, 1)",
    ),
    "a reference of another rank": (
        SNR(),
        wave(1, 1, 8),
        wave(8),
        ShapeError,
        "ref has shape (8,)",
        "time)",
        "ref[None, None]",
    ),
    "sources without channels": (
        *(PermutationInvariant(SNR()), wave(1, 2, 8), wave(1, 2, 8), ShapeError),
        *("(1, 2, 8)", "(batch, sources, channels, time)", "est[:, :, None]"),
    ),
    "another length": (
        *(SNR(), wave(1, 1, 8), wave(1, 1, 9), ShapeError),
        *("est is (1, 1, 8) and ref is (1, 1, 9)", "equal shapes", "x[..., :8]"),
    ),
    "no items": (SNR(), wave(0, 1, 8), wave(0, 1, 8), ShapeError, "(0, 1, 8)", "at least one item", "pad with zeros"),
    "no samples": (SNR(), wave(1, 1, 0), wave(1, 1, 0), ShapeError, "(1, 1, 0)", "at least one item", "pad with zeros"),
    "shorter than half a window": (
        *(STFTDistance(1024), wave(1, 1, 512), wave(1, 1, 512), ShapeError),
        *("(1, 1, 512)", "513 samples (half a window)", "smaller window or pad with zeros"),
    ),
    "16-bit integers": (
        *(SNR(), wave(1, 1, 8).short(), wave(1, 1, 8).short(), DTypeError),
        *("est is torch.int16", "floating point within +-1", "est.float() / 32768"),
    ),
    "an integer reference": (
        *(SNR(), wave(1, 1, 8), wave(1, 1, 8).long(), DTypeError),
        *("ref is torch.int64", "floating point", "ref.float() / 32768"),
    ),
    "complex samples": (
        *(SNR(), wave(1, 1, 8).to(torch.complex64), wave(1, 1, 8), DTypeError),
        *("est is torch.complex64", "floating point", ".float()"),
    ),
    "two devices": (
        *(SNR(), wave(1, 1, 8), wave(1, 1, 8).to("meta"), DeviceError),
        *("est is on cpu", "ref on meta", "ref.to(est.device)"),
    ),
    "a measure elsewhere": (
        *(MelDistance(16_000, n_fft=512, n_mels=20).to("meta"), wave(1, 1, 512), wave(1, 1, 512), DeviceError),
        *("mel: is on meta", "est on cpu", "measure.to(est.device)"),
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=list(REFUSED))
def test_a_wrong_tensor_is_refused_with_what_came_what_is_needed_and_what_to_type(case) -> None:
    measure, est, ref, error, *parts = case
    with pytest.raises(error) as caught:
        measure(est, ref)
    message = str(caught.value)
    assert message.startswith(f"{measure.spec.name}: ")
    assert all(part in message for part in parts), message
    assert isinstance(caught.value, PerclossError)


@pytest.mark.parametrize("name", ["one axis", "two axes", "four axes", "sources without channels", "16-bit integers"])
def test_the_line_to_type_is_the_remedy(name: str) -> None:
    measure, est, *_, line = REFUSED[name]
    mended = eval(line, {"est": est})
    assert measure(mended, mended).isfinite().all()


def test_cutting_to_the_shorter_is_the_remedy_for_two_lengths() -> None:
    est, ref = noise(1, 1, 100), noise(1, 1, 90, seed=1)
    assert SNR()(*(x[..., :90] for x in (est, ref))).isfinite().all()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (torch.tensor([8]), r"lengths is torch.int64 \(1,\); needed are 2 integers"),
        (torch.tensor([8.0, 8.0]), r"lengths is torch.float32 \(2,\); needed are 2 integers"),
        (torch.tensor([8, 9]), r"lengths holds \[9\]; needed .*1 to 8 samples"),
        (torch.tensor([0, -1]), r"lengths holds \[0, -1\]; needed .*1 to 8 samples"),
    ],
)
def test_lengths_that_cannot_be_are_refused(lengths: Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=f"snr: {message}"):
        SNR()(wave(2, 1, 8), wave(2, 1, 8), lengths=lengths)


def test_a_length_below_half_a_window_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"stft: lengths holds \[64\]; needed .*65 to 200 samples"):
        STFTDistance(128)(wave(2, 1, 200), wave(2, 1, 200), lengths=torch.tensor([64, 200]))


def test_a_signal_too_few_and_a_signal_too_many_are_refused() -> None:
    est, ref, mix = noise(3, 1, 1, 10)
    with pytest.raises(ArgumentError, match="snr_i: got est, ref; needed are est, ref, mix= and nothing else"):
        SNRImprovement()(est, ref)
    with pytest.raises(ArgumentError, match="snr: got est, mix, ref; needed are est, ref and nothing else"):
        SNR()(est, ref, mix=mix)


def test_a_measure_without_a_reference_takes_the_estimate_alone() -> None:
    est = torch.tensor([1.0, 0.1, 0.0]).view(3, 1, 1) * wave(3, 2, 8)
    values = Level()(est)
    torch.testing.assert_close(values[:2], torch.tensor([[0.0, 0.0], [-20.0, -20.0]]))
    assert values[2].isnan().all()
    assert Level().reason(est[2:]) == "estimate is silent"
    est[0, 0, 3] = math.nan
    assert Level()(est).isnan().tolist() == [[True, False], [False, False], [True, True]]
    assert Level().reason(est[:1]) == "estimate has samples that are not finite"
    est[1, :, 4:] = 9.0
    padded = Level()(est[1:2], lengths=torch.tensor([4]))
    torch.testing.assert_close(padded, torch.tensor([[-20.0, -20.0]]))


def test_a_reference_too_many_and_one_too_few_are_refused() -> None:
    est = wave(1, 1, 8)
    line = r"level: got est, ref; needed is est alone, it takes no reference: type measure\(est\)"
    with pytest.raises(ArgumentError, match=line):
        Level()(est, est)
    with pytest.raises(ArgumentError, match="level: got est, mix; needed is est and nothing else"):
        Level()(est, mix=est)
    with pytest.raises(ArgumentError, match="snr: got est; needed are est, ref and nothing else"):
        SNR()(est)
    with pytest.raises(ShapeError, match=r"level: est has shape \(8,\)"):
        Level()(est[0, 0])


@pytest.mark.parametrize(
    ("claim", "needed"),
    [
        ({"perfect": 0.0}, "perfect must be None where there is no reference"),
        ({"invariant_to": frozenset({"swap"})}, "invariant_to takes gain, polarity there"),
    ],
)
def test_a_claim_that_means_nothing_without_a_reference_is_refused(claim, needed: str) -> None:
    with pytest.raises(ArgumentError, match=needed):
        dataclasses.replace(Level.spec, **claim)


def test_the_contract_holds_for_a_measure_without_a_reference_but_for_what_needs_one() -> None:
    check_measure(Level(), rules=[name for name in RULES if name not in {*NEED_A_REFERENCE, "compiles"}])
    with pytest.raises(ArgumentError, match=r"got rules perfect \(there is nothing .* level, which takes no reference"):
        check_measure(Level(), rules=["perfect"])
    with pytest.raises(ContractError, match="hears_what_it_claims: claims 'gain'"):
        check_measure(DeafLevel(), rules=["hears_what_it_claims"])


def test_every_named_error_is_also_what_python_calls_it() -> None:
    assert issubclass(ShapeError, ValueError)
    assert issubclass(DTypeError, TypeError)
    assert issubclass(SampleRateError, ValueError)


def test_what_is_no_tensor_and_no_valid_choice_is_refused_too() -> None:
    """In a process without the suite's shape checks, which would speak first."""
    code = """
import torch, percloss
from percloss.errors import PerclossError
x = torch.ones(1, 1, 8)
for refused in (
    lambda: percloss.SNR()([0.5], x),
    lambda: percloss.SNR()(x, x.numpy()),
    lambda: percloss.SNRImprovement()(x, x, mix=None),
    lambda: percloss.Framewise(percloss.SNR(), frame=4, reduce="max"),
    lambda: percloss.Spec(name="a", title="A", unit="1", better="up", bounds=(0, 1), perfect=None),
    lambda: percloss.Spec(
        name="a", title="A", unit="1", better="lower", bounds=(0, 1), perfect=None, invariant_to=frozenset({"pitch"})
    ),
):
    try:
        refused()
    except PerclossError as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=without_checks()
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "DTypeError snr: est is a list; needed is a tensor: torch.as_tensor(est)."
    assert lines[1] == "DTypeError snr: ref is a ndarray; needed is a tensor: torch.as_tensor(ref)."
    assert lines[2].startswith("DTypeError snr_i: mix is a NoneType; needed is a tensor")
    assert lines[3].startswith("ArgumentError Framewise: got frame=4, hop=None, reduce='max'; needed are")
    assert lines[4].startswith("ArgumentError Spec 'a': got")
    assert lines[4].endswith("better must be one of higher, lower, nearer, neither.")
    assert lines[5].endswith("invariant_to takes gain, level, polarity, swap.")


def without_checks() -> dict[str, str]:
    """The environment, less what conftest.py adds to it."""
    return {name: value for name, value in os.environ.items() if name != "PERCLOSS_SHAPES"}


# --- what comes in, and what becomes of it --------------------------------------------------------------------------


def test_mixed_precision_goes_up_to_the_wider_and_never_below_float32() -> None:
    est, ref = noise(2, 1, 1, 100, dtype=torch.float64)
    assert SNR()(est.half(), ref.bfloat16()).dtype == torch.float32
    assert SNR()(est.float(), ref).dtype == torch.float64
    assert STFTDistance(64)(est, ref).dtype == torch.float64


def test_autocast_is_off_inside() -> None:
    est, ref = noise(2, 1, 1, 8000)
    measure = MelDistance(16_000)
    outside = measure(est, ref)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(measure(est, ref), outside)


def test_the_arguments_are_not_changed() -> None:
    est, ref = noise(2, 2, 1, 100)
    est[0, 0, 3] = math.nan
    before = est.clone(), ref.clone()
    SISDR(zero_mean=True)(est, ref, lengths=torch.tensor([100, 50]))
    assert torch.equal(est.nan_to_num(7), before[0].nan_to_num(7))
    assert torch.equal(ref, before[1])


def test_a_strided_view_scores_as_its_copy() -> None:
    both = noise(1, 4, 500).transpose(1, 2).contiguous().transpose(1, 2)
    est, ref = both[:, ::2], both[:, 1::2]
    assert not est.is_contiguous()
    torch.testing.assert_close(SNR()(est, ref), SNR()(est.contiguous(), ref.contiguous()))


@pytest.mark.parametrize("name", ["snr", "stft", "mel"])
def test_a_broken_item_has_no_value_and_no_gradient_and_its_neighbours_keep_theirs(name: str) -> None:
    measure, ref = create(name, sample_rate=16_000), noise(2, 1, 4000)
    healthy = at_snr(ref, 10).requires_grad_()
    (expected,) = torch.autograd.grad(measure(healthy, ref)[1].sum(), healthy)
    est = healthy.detach().clone()
    est[0, 0, 9] = math.nan
    est.requires_grad_()
    values = measure(est, ref)
    assert values.isnan().tolist() == [[True], [False]]
    (gradient,) = torch.autograd.grad(values.nansum(), est)
    torch.testing.assert_close(gradient[1], expected[1])
    assert not gradient[0].any()


@pytest.mark.parametrize("where", ["est", "ref"])
def test_the_reason_names_the_broken_signal(where: str) -> None:
    signals = {"est": wave(1, 1, 8), "ref": wave(1, 1, 8)}
    signals[where][0, 0, 2] = math.inf
    role = {"est": "estimate", "ref": "reference"}[where]
    assert SNR().reason(**signals) == f"{role} has samples that are not finite"


def test_the_reason_for_a_silent_reference() -> None:
    assert SNR().reason(wave(1, 1, 8), torch.zeros(1, 1, 8)) == "reference is silent"


def test_a_measure_that_returns_another_shape_is_caught() -> None:
    """One value a batch, as so many losses in the wild."""

    class Flat(Measure):
        spec = Spec(name="flat", title="Flat", unit="1", better="lower", bounds=(0.0, 1.0), perfect=0.0)

        def compare(self, est: Tensor, ref: Tensor) -> Tensor:
            return (est - ref).abs().mean((1, 2))

    with pytest.raises(ShapeError, match=r"flat: compare returned \(2,\) for .*\(2, 3, 8\); .*= \(2, 3\)"):
        Flat()(wave(2, 3, 8), wave(2, 3, 8))


def test_a_measure_of_joint_channels_returns_one_value_and_loses_it_with_any_channel() -> None:
    class Joint(Measure):
        spec = Spec(
            name="joint", title="Joint", unit="1", better="lower", bounds=(0.0, math.inf), perfect=0.0, takes="joint"
        )

        def compare(self, est: Tensor, ref: Tensor) -> Tensor:
            return (est - ref).square().mean((1, 2))[:, None]

    est, ref = noise(2, 3, 2, 8)
    est[1, 1, 0] = math.nan
    values = Joint()(est, ref)
    assert values.shape == (3, 1)
    assert values.isnan().tolist() == [[False], [True], [False]]


def test_an_abstract_measure_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="compare"):
        Measure()  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("measure", "line"),
    [
        (SISDR(zero_mean=True), "SISDR(zero_mean=True)"),
        (SNR(), "SNR()"),
    ],
)
def test_a_printed_measure_can_be_typed_again(measure: Measure, line: str) -> None:
    assert repr(measure) == line
    assert eval(line).settings == measure.settings


def test_settings_are_the_arguments_it_was_built_with() -> None:
    assert STFTDistance(512, floor_db=-90.0).settings == {
        "n_fft": 512,
        "hop_length": None,
        "win_length": None,
        "convergence": 1.0,
        "log": 1.0,
        "linear": 0.0,
        "floor_db": -90.0,
    }
    assert Resampled(MelDistance(16_000), 48_000).settings == {"sample_rate": 48_000}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Big"}, "name must be lower case"),
        ({"bounds": (1.0, 0.0)}, "bounds must be"),
        ({"perfect": 2.0}, "perfect must lie within bounds"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(change, message: str) -> None:
    fields = {"name": "a", "title": "A", "unit": "1", "better": "lower", "bounds": (0.0, 1.0), "perfect": 0.0}
    with pytest.raises(ArgumentError, match=message):
        Spec(**{**fields, **change})


def test_a_spec_says_its_sign_arrow_and_rates() -> None:
    assert (SNR.spec.sign, SNR.spec.arrow, SNR.spec.head, SNR.spec.rates()) == (-1, "↑", "dB ↑", "any")
    assert (MelDistance.spec.sign, MelDistance.spec.arrow, MelDistance.spec.head) == (1, "↓", "↓")
    fields = {"name": "a", "title": "A", "unit": "1", "better": "lower", "bounds": (0.0, 1.0), "perfect": 0.0}
    assert Spec(**fields, sample_rates=frozenset({16_000, 8000})).rates() == "8000, 16000"
