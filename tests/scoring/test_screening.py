"""What would spoil a comparison is found and named; what is only bad quality is not taken for it."""

import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from percloss.data import clip, clips, song
from percloss.degrade import FAMILIES, degrade
from percloss.errors import SampleRateError, ShapeError
from percloss.scoring.audio import read
from percloss.scoring.screening import Finding, screen
from tests.signals import RATE, noise, speech, tone

pytest.importorskip("soundfile", reason="soundfile reads the embedded speech")


@pytest.fixture(scope="module")
def ref() -> Tensor:
    return speech(seconds=3.0)


@pytest.fixture(scope="module")
def stereo() -> Tensor:
    return song().mixture[..., :100_000]


def kinds(est: Tensor, ref: Tensor, rate: int = RATE) -> list[str]:
    return [finding.kind for finding in screen(est, ref, rate)]


def only(est: Tensor, ref: Tensor, rate: int = RATE) -> Finding:
    (finding,) = screen(est, ref, rate)
    return finding


def late(wave: Tensor, samples: int) -> Tensor:
    """The wave, later by so many samples or earlier where they are negative, at the same length."""
    return torch.nn.functional.pad(wave, (samples, -samples))


def noisy(ref: Tensor, snr_db: float, family: str = "white_noise") -> Tensor:
    return degrade(ref, RATE, family, snr_db=snr_db)


@pytest.mark.parametrize("name", clips())
def test_a_copy_has_nothing_wrong(name: str) -> None:
    wave, rate = clip(name)
    assert not screen(wave, wave.clone(), rate)


@pytest.mark.parametrize("name", clips())
def test_a_copy_of_16_bits_has_nothing_wrong(name: str) -> None:
    wave, rate = clip(name)
    assert not screen((wave * 2**15).round() / 2**15, wave, rate)


@pytest.mark.parametrize("name", ["librivox_0870", "librivox_0930", "drums", "strings", "vinyl_hiss", "guit_em9"])
@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "delay"])
def test_bad_quality_is_neither_late_nor_inverted_nor_swapped(family: str, name: str) -> None:
    wave, rate = clip(name)
    wave = wave[..., : 3 * rate]
    wave = wave - wave.mean(dim=-1, keepdim=True)  # a coder takes an offset away, and that would be one
    found = kinds(degrade(wave, rate, family, snr_db=10.0), wave, rate)
    softer = {"clipping", "gain", "low_pass", "mp3", "opus", "phase_jitter", "saturation", "spectral_holes"}
    assert set(found) <= ({"level"} if family in softer else set())


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_white_noise_is_no_fault_however_loud(snr_db: float, ref: Tensor) -> None:
    assert not screen(noisy(ref, snr_db), ref, RATE)


def test_another_recording_is_neither_late_nor_inverted(ref: Tensor) -> None:
    assert not {"delay", "polarity"} & set(kinds(speech("librivox_0890", seconds=3.0), ref))


@pytest.mark.parametrize("samples", [-4000, -37, -1, 1, 37, 4000])
@pytest.mark.parametrize("snr_db", [5.0, 60.0])
def test_a_delay_is_found_to_the_sample(samples: int, snr_db: float, ref: Tensor) -> None:
    finding = next(one for one in screen(noisy(late(ref, samples), snr_db), ref, RATE) if one.kind == "delay")
    assert finding.value == samples
    assert f"{'lags' if samples > 0 else 'leads'} the reference by {abs(samples)} sample" in finding.message
    assert f"({abs(samples) / 16:.2f} ms)" in finding.message


def test_a_delay_whose_mending_gains_less_than_a_decibel_is_no_fault(ref: Tensor) -> None:
    est = noisy(late(ref, 1), 3.0)  # speech is like itself a sample later, and the noise is most of the error
    assert "delay" not in kinds(est, ref)
    assert "delay" in kinds(noisy(late(ref, 1), 20.0), ref)


def test_a_delay_is_found_in_a_part_of_a_long_recording() -> None:
    ref = torch.cat((torch.zeros(1, 1, 40 * RATE), 0.1 * noise(1, 1, 5 * RATE), torch.zeros(1, 1, 40 * RATE)), dim=-1)
    assert only(late(ref, 123), ref).value == 123


def test_a_delay_of_half_the_signal_is_found_in_a_short_one() -> None:
    ref = torch.cat((0.1 * noise(1, 1, 500), torch.zeros(1, 1, 500)), dim=-1)
    assert only(late(ref, 500), ref).value == 500


def test_inverted_polarity_is_found(ref: Tensor) -> None:
    assert only(-ref, ref).kind == "polarity"
    assert "multiply it by -1" in only(noisy(-ref, 10.0), ref).message


def test_an_inverted_tone_is_not_taken_for_a_late_one() -> None:
    ref = 0.1 * tone(440.0).float()
    assert kinds(-ref, ref) == ["polarity"]


def test_one_inverted_channel_of_two_is_named(stereo: Tensor) -> None:
    finding = only(stereo * torch.tensor([[1.0], [-1.0]]), stereo, 44_100)
    assert (finding.kind, finding.value) == ("polarity", 1)
    assert finding.message.startswith("channel 2 of the estimate has the opposite polarity")


def test_a_late_inverted_quiet_copy_is_all_three(ref: Tensor) -> None:
    findings = {finding.kind: finding.value for finding in screen(-0.25 * late(ref, 20), ref, RATE)}
    assert list(findings) == ["delay", "polarity", "level"]
    assert findings["delay"] == 20
    assert findings["level"] == pytest.approx(20 * math.log10(0.25), abs=0.1)


@pytest.mark.parametrize("level_db", [-40.0, -6.0, -1.2, 1.2, 6.0])
def test_a_level_offset_is_given_in_decibels(level_db: float, ref: Tensor) -> None:
    finding = only(10 ** (level_db / 20) * noisy(ref, 20.0), ref)
    assert finding.kind == "level"
    assert finding.value == pytest.approx(level_db, abs=0.1)  # 20 dB of noise adds 0.04 dB
    assert f"{abs(finding.value):.1f} dB {'louder' if level_db > 0 else 'quieter'}" in finding.message


@pytest.mark.parametrize("level_db", [-0.8, 0.8])
def test_less_than_a_decibel_is_no_fault(level_db: float, ref: Tensor) -> None:
    assert not screen(10 ** (level_db / 20) * ref, ref, RATE)


def test_noise_that_fills_up_what_is_missing_is_no_level(ref: Tensor) -> None:
    est = 0.8 * ref + noisy(ref, 0.0) - ref  # the speech is 1.9 dB down, and speech and noise together 2.1 dB up
    assert not screen(est, ref, RATE)


def test_clipping_is_counted_in_places_and_samples(ref: Tensor) -> None:
    est = ref.clone()
    est[..., 1000:1005] = 1.0
    est[..., 2000:2003] = -1.0
    est[..., 3000:3002] = 1.0  # two at the peak happen by chance
    finding = next(one for one in screen(est, ref, RATE) if one.kind == "clipping")
    assert finding.value == 8
    assert "the estimate is clipped in 2 places (8 samples at full scale)" in finding.message


def test_clipping_at_the_largest_sample_of_16_bits_counts(ref: Tensor) -> None:
    assert "clipping" in kinds((8 * ref).clamp(-1, 1 - 2**-15), ref)


def test_a_clipped_reference_is_named_and_its_copy_is_not(ref: Tensor) -> None:
    clipped = (4 * ref).clamp(-1, 1)
    assert "the reference is clipped" in only(clipped, clipped).message


def test_peaks_beyond_full_scale_in_a_float_file_are_not_clipped() -> None:
    ref = noise(1, 1, RATE)
    assert not screen(ref, ref, RATE)


def test_silence_of_either_is_the_only_finding(ref: Tensor) -> None:
    dither = 2**-15 * noise(1, 1, ref.shape[-1]).sign()
    assert "the estimate is silent (digital silence)" in only(torch.zeros_like(ref), ref).message
    assert "the reference is silent (peak -90 dBFS)" in only(ref, dither).message
    assert [finding.message[:13] for finding in screen(dither, dither, RATE)] == ["the estimate ", "the reference"]


def test_one_silent_channel_of_two_is_named_and_the_other_judged(stereo: Tensor) -> None:
    findings = screen(late(stereo, 30) * torch.tensor([[0.0], [1.0]]), stereo, 44_100)
    assert findings[0].message.startswith("channel 1 of the estimate is silent")
    assert [finding.value for finding in findings if finding.kind == "delay"] == [30]
    assert "polarity" not in [finding.kind for finding in findings]


def test_an_offset_is_found(ref: Tensor) -> None:
    finding = only(ref + 0.02, ref)
    assert finding.kind == "offset"
    assert finding.value == pytest.approx(0.02, abs=0.001)
    assert "offset of +0.0200" in finding.message


def test_an_offset_that_the_reference_has_too_is_no_fault(ref: Tensor) -> None:
    both = ref + 0.05
    assert not screen(both, both, RATE)
    assert kinds(-0.5 * both, both) == ["polarity", "level"]


def test_an_offset_does_not_hide_a_delay(ref: Tensor) -> None:
    assert kinds(late(ref, 10) + 0.3, ref) == ["delay", "offset"]


def test_swapped_channels_are_found(stereo: Tensor) -> None:
    left_and_right = stereo * torch.tensor([[1.0], [0.3]])
    assert only(left_and_right.flip(1), left_and_right, 44_100).kind == "swapped_channels"
    assert kinds(-late(left_and_right, 50).flip(1), left_and_right, 44_100) == ["swapped_channels", "delay", "polarity"]


def test_two_equal_channels_cannot_be_swapped(ref: Tensor) -> None:
    both = ref.repeat(1, 2, 1)
    assert not screen(noisy(both, 10.0), both, RATE)
    almost = both + 1e-4 * both.std() * noise(*both.shape)  # alike to 77 dB: swapping them costs no measure anything
    assert not screen(almost.flip(1), almost, RATE)


def test_what_is_nan_or_infinite_is_counted(ref: Tensor) -> None:
    est = ref.clone()
    est[..., 5], est[..., 6] = float("nan"), float("-inf")
    finding = only(est, ref)
    assert (finding.kind, finding.value) == ("nonfinite", 2)


@pytest.mark.parametrize("samples", [1, 2, 3, 10])
def test_a_handful_of_samples_is_judged_without_complaint(samples: int) -> None:
    assert not screen(torch.ones(1, 2, samples) / 2, torch.ones(1, 2, samples) / 2, RATE)


def test_neither_argument_is_changed(ref: Tensor) -> None:
    est, kept = -0.5 * ref + 0.1, ref.clone()
    before = est.clone()
    screen(est, ref, RATE)
    assert torch.equal(est, before)
    assert torch.equal(ref, kept)


def test_float64_is_judged_like_float32(ref: Tensor) -> None:
    assert [one.kind for one in screen(-ref.double(), ref.double(), RATE)] == ["polarity"]


def test_what_is_no_pair_is_refused(ref: Tensor) -> None:
    with pytest.raises(ShapeError, match="cut both to the shorter"):
        screen(ref[..., 1:], ref, RATE)
    with pytest.raises(ShapeError, match="one item at a time"):
        screen(ref.repeat(2, 1, 1), ref.repeat(2, 1, 1), RATE)
    with pytest.raises(ShapeError):
        screen(ref[..., :0], ref[..., :0], RATE)
    with pytest.raises(SampleRateError, match="sample_rate=0 came"):
        screen(ref, ref, 0)


def test_ten_seconds_of_stereo_take_a_fraction_of_their_length() -> None:
    ref = 0.1 * noise(1, 2, 441_000)
    est = ref + 0.01 * noise(1, 2, 441_000, seed=1)
    took = []
    for _ in range(3):
        start = time.process_time()
        screen(est, ref, 44_100)
        took.append(time.process_time() - start)
    assert min(took) < 1.0  # 0.15 s alone on one core; the bound is for shared ones


def of_system(folder: Path, system: str) -> Iterator[tuple[str, Finding]]:
    """Item and finding of everything a listening test holds of a system."""
    with (folder / "ratings.csv").open(encoding="utf-8", newline="") as file:
        pairs = {(row["item"], row["path"], row["ref"]) for row in csv.DictReader(file) if row["system"] == system}
    assert pairs
    for item, *paths in sorted(pairs):
        est, ref = (read(folder / path) for path in paths)
        time = min(est.wave.shape[-1], ref.wave.shape[-1])
        for finding in screen(est.wave[..., :time], ref.wave[..., :time], ref.sample_rate):
            yield item, finding


def test_the_delay_of_a_real_codec_is_found_in_every_item(data_root: Path) -> None:
    """Lyra answers 8 to 10 samples late at 24 kHz."""
    found = [finding.value for _, finding in of_system(data_root / "codec_mushra", "Lyra 6") if finding.kind == "delay"]
    assert len(found) == 8
    assert all(8 <= samples <= 10 for samples in found)


def test_a_codec_that_makes_its_own_waveform_is_not_taken_for_late(data_root: Path) -> None:
    assert "delay" not in [finding.kind for _, finding in of_system(data_root / "codec_mushra", "AudioDec")]


def test_separated_voices_that_are_inverted_are_found_and_none_is_late(data_root: Path) -> None:
    """Five of the twelve songs of one separator correlate with their targets at -0.67 to -0.86."""
    found = [(item, finding.kind) for item, finding in of_system(data_root / "svs_mushra", "GRA3")]
    assert sum(kind == "polarity" for _, kind in found) == 5
    assert "delay" not in [kind for _, kind in found]
