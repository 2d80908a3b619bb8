"""What must be true of a masking threshold, from hearing and from closed forms."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from percloss.dsp.scales import SCALES
from percloss.dsp.stft import power
from percloss.errors import ArgumentError, SampleRateError
from percloss.frontends import Stft
from percloss.hearing.masking import MaskingThreshold
from percloss.hearing.quiet import threshold_in_quiet
from percloss.hearing.spreading import SPREADINGS
from percloss.hearing.tonality import masking_offset
from tests.signals import noise

RATES = [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000]
NEAR = {"atol": 1e-3, "rtol": 0}  # the floor under spectral flatness, and what leaks into bands at rest
each_spreading = pytest.mark.parametrize("spreading", SPREADINGS)


def build(rate: int = 48_000, n_fft: int = 2048, **settings: object) -> tuple[MaskingThreshold, Stft]:
    stft = Stft(n_fft)
    return MaskingThreshold(rate, stft, **settings), stft


def sine(hz: float, *, rate: int = 48_000, db: float = 0.0, seconds: float = 0.5) -> Tensor:
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    return (10 ** (db / 20) * torch.sin(2 * math.pi * hz * time + 0.3))[None, None]


def inside(x: Tensor) -> Tensor:
    """Without the frames that see the mirrored ends."""
    return x[..., 4:-4]


def db(x: Tensor) -> Tensor:
    return 10 * x.log10()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("spl", [92.0, 100.0])
def test_a_full_scale_sine_is_as_loud_as_it_is_said_to_be(rate: int, spl: float) -> None:
    """Wherever it falls between bins and bands, at every rate: the sum of its bands is 1."""
    threshold, stft = build(rate, 1024, full_scale_spl=spl)
    for hz in (1000.0, 1019.5, 3333.3):
        level = db(inside(threshold.bands(stft.power(sine(hz, rate=rate)))).sum(2)) + threshold.full_scale_spl
        torch.testing.assert_close(level, torch.full_like(level, spl), **NEAR)


@pytest.mark.parametrize("n_fft", [512, 511, 600])
def test_bands_hold_all_the_power_there_is_from_0_hz_to_half_the_rate(n_fft: int) -> None:
    """Parseval, frame by frame, for a signal with everything in it, an offset and the highest frequency too."""
    threshold, stft = build(16_000, n_fft)
    samples = torch.arange(8000, dtype=torch.float64)
    x = 0.1 * noise(1, 1, 8000, dtype=torch.float64) + 0.3 + 0.2 * torch.cos(math.pi * samples)
    window = stft.window.square()
    frames = torch.nn.functional.pad(x, (n_fft // 2, n_fft // 2), mode="reflect").unfold(-1, n_fft, stft.hop_length)
    mean_square = (frames.square() * window).sum(-1) / window.sum()
    torch.testing.assert_close(threshold.bands(stft.power(x)).sum(2), 2 * mean_square)


def test_nothing_is_heard_above_20_khz() -> None:
    threshold, stft = build(96_000, 4096)
    assert threshold.hz[-1] < 20_000
    assert threshold.bands(stft.power(sine(30_000, rate=96_000))).sum(2)[..., 8:-8].max() < 1e-6


@pytest.mark.parametrize("scale", SCALES)
def test_bands_lie_evenly_on_their_scale(scale: str) -> None:
    threshold, _ = build(scale=scale, resolution=5.0 if scale.startswith("mel") else 0.5)
    steps = SCALES[scale].from_hz(threshold.hz).diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps))
    assert (threshold.bands.bank.sum(1) > 0).all()


@each_spreading
def test_silence_is_masked_by_nothing_but_the_ear(spreading: str) -> None:
    threshold, stft = build(spreading=spreading)
    quiet = db(threshold(stft.power(torch.zeros(1, 1, 9000, dtype=torch.float64)))) + 92
    torch.testing.assert_close(quiet, threshold_in_quiet(threshold.hz)[None, None, :, None].expand_as(quiet))


@each_spreading
@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
def test_the_threshold_is_never_below_the_one_in_quiet_and_always_finite(rate: int, spreading: str) -> None:
    threshold, stft = build(rate, 1024, spreading=spreading)
    for x in (noise(2, 2, 9000), 1e-5 * noise(1, 1, 9000), 1e4 * noise(1, 1, 9000), sine(100, rate=rate).float()):
        masked = threshold(stft.power(x))
        assert masked.isfinite().all()
        assert (masked >= threshold.quiet.float()).all()


@each_spreading
def test_louder_maskers_mask_more(spreading: str) -> None:
    threshold, stft = build(spreading=spreading)
    x = noise(1, 1, 20_000, dtype=torch.float64)
    levels = [threshold(stft.power(10 ** (level / 20) * x)) for level in range(-80, 1, 10)]
    for softer, louder in itertools.pairwise(levels):
        assert (louder >= softer).all()
        assert louder.sum() > softer.sum()


def test_well_above_quiet_the_threshold_follows_the_level_db_for_db() -> None:
    """Schroeder's spreading does not know the level."""
    threshold, stft = build()
    x = 0.1 * noise(1, 1, 20_000, dtype=torch.float64)
    moved = db(threshold(stft.power(2 * x))) - db(threshold(stft.power(x)))
    torch.testing.assert_close(moved[:, :, 10:90], torch.full_like(moved[:, :, 10:90], 20 * math.log10(2)), **NEAR)


@each_spreading
@pytest.mark.parametrize("hz", [500.0, 1000.0, 4000.0])
def test_a_tone_masks_upwards_further_than_downwards(spreading: str, hz: float) -> None:
    threshold, stft = build(spreading=spreading, full_scale_spl=110.0)
    masked = db(inside(threshold(stft.power(sine(hz)))).mean(-1))[0, 0]
    own = (threshold.hz - hz).abs().argmin()
    assert masked[own + 12] > masked[own - 12] + 3
    assert masked[own] > masked[own + 12]


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_tone_is_a_tone_and_noise_is_noise_in_every_band_at_every_place_between_bins(rate: int) -> None:
    """Leakage of the window must not make noise of a tone that falls between two bins."""
    n_fft = 1024
    threshold, stft = build(rate, n_fft)
    for number in (7, 12, 20, 41, 120, 400):
        for off in (0.0, 0.25, 0.5, 0.8):
            hz = (number + off) * rate / n_fft
            band = (threshold.hz - hz).abs().argmin()
            alpha = inside(threshold.tonality(stft.power(sine(hz, rate=rate))))[0, 0, band]
            assert alpha.min() > 0.9, (hz, alpha.min())
    alpha = threshold.tonality(stft.power(noise(1, 1, 2 * rate))).mean(-1)
    assert alpha.max() < 0.25
    assert alpha[..., 60:].max() < 0.1


def test_white_noise_masks_what_lies_5_and_a_half_db_or_a_little_more_below_it() -> None:
    """A flat spectrum stays flat, so the offset is all there is: Johnston's, at the little tonality that noise has."""
    threshold, stft = build()
    spectrum = stft.power(0.1 * noise(1, 1, 480_000, dtype=torch.float64))
    below = db(threshold.bands(spectrum).mean(-1)) - db(threshold(spectrum).mean(-1))
    assert 4 < below[..., 10:100].min() < below[..., 10:100].max() < 8


@pytest.mark.parametrize("hz", [250.0, 1000.0, 4000.0])
def test_a_tone_masks_as_much_less_than_noise_as_johnston_says(hz: float) -> None:
    """14.5 dB and the Bark number below what it excites, where noise has 5.5."""
    threshold, stft = build(full_scale_spl=110.0)
    band = (threshold.hz - hz).abs().argmin()
    spectrum = stft.power(sine(hz))
    below = (db(threshold.spread(threshold.bands(spectrum))) - db(threshold(spectrum)))[0, 0, band]
    assert below[len(below) // 2] == pytest.approx(14.5 + threshold.bark[band].item(), abs=0.3)


def test_a_burst_goes_on_masking_after_its_end_and_not_before_its_beginning() -> None:
    """30 ms at 100 Hz, 8 ms and some at high frequencies; 20 windows later the ear is at rest."""
    threshold, stft = build(48_000, 512)
    x = torch.zeros(1, 1, 48_000, dtype=torch.float64)
    x[..., 12_000:14_400] = noise(2400, dtype=torch.float64)
    masked = threshold(stft.power(x))[0, 0, 40:80]
    quiet = threshold.quiet[40:80]
    frame = 128
    ended, before = (14_400 + 256) // frame + 1, (12_000 - 256) // frame - 1
    after = db(masked[:, ended : ended + 8].mean(0))
    assert (masked[:, :before] == quiet).all()
    assert (after.diff() < 0).all()
    held = -10 * frame / 48_000 / (0.008 + 100 / threshold.hz[40:80] * 0.022) / math.log(10)
    fall = db(masked[:, ended + 1]) - db(masked[:, ended])
    torch.testing.assert_close(fall, held)
    assert (masked[:, ended + 400 :] == quiet).all()


def test_masking_begins_with_the_masker() -> None:
    """The filter over time holds a threshold up; it does not keep it from rising."""
    threshold, stft = build()
    x = torch.cat((torch.zeros(1, 1, 9000), 0.1 * noise(1, 1, 9000)), -1).double()
    spectrum = stft.power(x)
    offset = masking_offset(threshold.tonality(spectrum), threshold.bark[:, None])
    assert (threshold(spectrum) >= threshold.spread(threshold.bands(spectrum), 10 ** (-offset / 10))).all()


def test_the_threshold_has_no_graph_and_the_bands_of_an_error_have() -> None:
    threshold, stft = build()
    x = noise(1, 1, 9000).requires_grad_()
    assert not threshold(stft.power(x)).requires_grad
    error = threshold.bands(power(stft(x) - stft(x.detach() + 1)))
    assert torch.autograd.grad(error.sum(), x)[0].abs().max() > 0


def test_batch_channels_and_chunks_are_alike() -> None:
    threshold, stft = build(44_100, 1024, spreading="peaq")
    x = noise(3, 2, 9000, dtype=torch.float64)
    together = threshold(stft.power(x))
    for item in range(3):
        for channel in range(2):
            alone = threshold(stft.power(x[item : item + 1, channel : channel + 1]))
            torch.testing.assert_close(together[item, channel], alone[0, 0])


def test_float32_is_near_float64() -> None:
    threshold, stft = build()
    x = noise(1, 1, 20_000, dtype=torch.float64)
    for signal in (x, sine(1000, db=-10)):
        found = [db(threshold(stft.power(signal.to(dtype)))).double() for dtype in (torch.float32, torch.float64)]
        torch.testing.assert_close(*found, atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rate": 0}, SampleRateError, "sample_rate=0 came"),
        ({"scale": "octave"}, ArgumentError, "'octave' came; needed is one of mel_htk"),
        ({"spreading": "bell"}, ArgumentError, "'bell' came; needed is one of schroeder"),
        ({"resolution": 0.0}, ArgumentError, "resolution=0.0.*above 0"),
        ({"full_scale_spl": math.inf}, ArgumentError, "full_scale_spl=inf"),
    ],
)
def test_settings_that_make_no_threshold_fail_when_it_is_built(settings: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        build(**settings)
