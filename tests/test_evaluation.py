"""Several measures of one batch at once, and the line that says by which recipe a number was made."""

from importlib.metadata import version

import pytest
import torch

import percloss
from percloss import SISDR, SNR, Framewise, Improvement, MelDistance, Resampled, STFTDistance, evaluate, signature
from percloss.errors import ArgumentError, SampleRateError, ShapeError, UnknownMeasureError
from tests.alone import Level
from tests.signals import at_snr, noise


def test_names_and_built_measures_are_scored_each_as_alone() -> None:
    est, ref = noise(2, 3, 2, 4000)
    scores = evaluate(est, ref, 16_000, ["snr", STFTDistance(512), "mel"])
    assert list(scores) == ["snr", "stft", "mel"]
    assert torch.equal(scores["snr"], SNR()(est, ref))
    assert torch.equal(scores["stft"], STFTDistance(512)(est, ref))
    assert torch.equal(scores["mel"], MelDistance(16_000)(est, ref))


def test_a_name_is_built_for_the_rate_of_the_signals() -> None:
    est, ref = noise(2, 1, 1, 4000)
    low, high = (evaluate(est, ref, rate, ["mel"])["mel"] for rate in (16_000, 44_100))
    assert torch.equal(high, MelDistance(44_100)(est, ref))
    assert not torch.equal(low, high)


def test_no_graph_is_kept() -> None:
    est, ref = noise(2, 1, 1, 4000)
    assert not evaluate(est.requires_grad_(), ref, 16_000, ["snr"])["snr"].requires_grad


def test_each_measure_is_given_what_it_needs() -> None:
    ref = noise(2, 1, 1000)
    est, mix = at_snr(ref, 20), at_snr(ref, 5, seed=2)
    scores = evaluate(est, ref, 16_000, ["snr", "snr_i"], mix=mix)
    torch.testing.assert_close(scores["snr_i"], scores["snr"] - 5)
    with pytest.raises(ArgumentError, match="snr_i: got est, ref; needed are est, ref, mix="):
        evaluate(est, ref, 16_000, ["snr_i"])


def test_a_measure_without_a_reference_stands_beside_others() -> None:
    est, ref = noise(2, 3, 1, 4000)
    scores = evaluate(est, ref, 16_000, ["snr", Level()])
    assert torch.equal(scores["snr"], SNR()(est, ref))
    assert torch.equal(scores["level"], Level()(est))


def test_without_a_reference_only_what_takes_none_is_scored() -> None:
    est = noise(3, 1, 4000)
    assert torch.equal(evaluate(est, None, 16_000, [Level()])["level"], Level()(est))
    with pytest.raises(ArgumentError, match="snr: got est; needed are est, ref and nothing else"):
        evaluate(est, None, 16_000, [Level(), "snr"])


def test_lengths_reach_every_measure() -> None:
    est, ref = noise(2, 2, 1, 4000)
    lengths = torch.tensor([4000, 2000])
    scores = evaluate(est, ref, 16_000, ["snr", "mel"], lengths=lengths)
    for name, values in scores.items():
        alone = evaluate(est[1:, :, :2000], ref[1:, :, :2000], 16_000, [name])[name]
        assert torch.equal(values[1:], alone)


def test_an_item_without_a_value_is_nan_in_its_place() -> None:
    est, ref = noise(2, 3, 1, 4000)
    ref[1] = 0
    scores = evaluate(est, ref, 16_000, ["snr", "mae"])
    assert scores["snr"].isnan().tolist() == [[False], [True], [False]]
    assert scores["mae"].isfinite().all()


def test_a_measure_that_is_not_defined_at_the_rate_is_an_error_and_nothing_is_resampled() -> None:
    est, ref = noise(2, 1, 1, 44_100)
    with pytest.raises(SampleRateError, match=r"pesq_wb: defined at 16000 Hz only, got 44100. Type Resampled"):
        evaluate(est, ref, 44_100, ["snr", "pesq_wb"])


def test_a_measure_built_for_another_rate_is_an_error_that_says_what_to_type() -> None:
    est, ref = noise(2, 1, 1, 44_100)
    line = r"mel: was built for 16000 Hz, the signals are at 44100 Hz; type Resampled\(measure, sample_rate=44100\)"
    with pytest.raises(ArgumentError, match=line):
        evaluate(est, ref, 44_100, [MelDistance(16_000)])
    wrapped = Resampled(MelDistance(16_000), sample_rate=44_100)
    assert torch.equal(evaluate(est, ref, 44_100, [wrapped])["mel"], wrapped(est, ref))


def test_two_measures_of_one_name_are_an_error_and_an_unknown_name_gets_the_nearest() -> None:
    est, ref = noise(2, 1, 1, 4000)
    with pytest.raises(ArgumentError, match="two measures named si_sdr"):
        evaluate(est, ref, 16_000, ["si_sdr", SISDR(zero_mean=True)])
    with pytest.raises(UnknownMeasureError, match="'si_sdr'"):
        evaluate(est, ref, 16_000, ["sisdr"])


def test_the_door_is_the_same() -> None:
    with pytest.raises(ShapeError, match="snr: est has shape"):
        evaluate(torch.zeros(4), torch.zeros(4), 16_000, ["snr"])


# --- signatures -----------------------------------------------------------------------------------------------------

END = f"v:percloss{percloss.__version__}"


def test_a_signature_names_measure_rate_and_version_and_every_setting_that_is_not_the_default() -> None:
    assert signature(SNR(), 16_000) == f"snr|sr:16000|{END}"
    assert signature(SISDR(zero_mean=True), 8000) == f"si_sdr|zero_mean:True|sr:8000|{END}"
    assert signature(STFTDistance(512, floor_db=-100.0), 44_100) == f"stft|n_fft:512|floor_db:-100.0|sr:44100|{END}"


def test_what_was_done_around_it_is_told_too() -> None:
    assert signature(SNR(), 16_000, rs="soxr-hq", ch="mean") == f"snr|sr:16000|rs:soxr-hq|ch:mean|{END}"


def test_a_wrapped_measure_tells_its_own_settings_and_rate() -> None:
    measure = Resampled(MelDistance(16_000, n_mels=40), 48_000)
    assert signature(measure, 48_000) == f"mel|at:16000|n_mels:40|sr:48000|{END}"
    measure = percloss.create("si_sdr_i", zero_mean=True)
    assert signature(measure, 16_000) == f"si_sdr_i|zero_mean:True|sr:16000|{END}"


def test_a_number_made_by_a_package_names_it_and_its_version() -> None:
    pytest.importorskip("pesq")
    measure = percloss.create("pesq_wb", sample_rate=16_000)
    assert signature(measure, 16_000) == f"pesq_wb|impl:pesq{version('pesq')}|sr:16000|{END}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SISDR(), SISDR(zero_mean=True)),
        (MelDistance(48_000), Resampled(MelDistance(16_000), 48_000)),
        (Resampled(MelDistance(16_000), 48_000), Resampled(MelDistance(24_000), 48_000)),
        (Resampled(MelDistance(16_000), 48_000), Resampled(MelDistance(16_000, n_mels=40), 48_000)),
        (Framewise(SISDR(), frame=100), Framewise(SISDR(zero_mean=True), frame=100)),
        (Framewise(SISDR(), frame=100), Framewise(SISDR(), frame=100, reduce="median")),
        (Improvement(SISDR()), Improvement(SISDR(zero_mean=True))),
    ],
)
def test_two_recipes_never_share_a_signature(one: percloss.Measure, other: percloss.Measure) -> None:
    assert signature(one, 48_000) != signature(other, 48_000)


def test_a_signature_is_one_line_without_spaces() -> None:
    line = signature(percloss.MultiResolutionSTFTDistance((256, 512)), 16_000, note="a b")
    assert line == f"mrstft|n_ffts:(256,512)|sr:16000|note:ab|{END}"
