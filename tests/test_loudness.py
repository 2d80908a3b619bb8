"""BS.1770: a sine by its definition, pyloudnorm as the oracle, gates and weights by what the standard says of them."""

import math

import pytest
import torch
from torch import Tensor

from percloss import MAE, MSE, SISDR, SNR, MelDistance
from percloss.errors import ArgumentError, SampleRateError, ShapeError
from percloss.hearing.loudness import KWeighting, LoudnessMeter
from percloss.hearing.weighting import weighting_gain
from percloss.testing import RULES, check_measure
from percloss.wrappers import LoudnessMatched, MidSide
from tests.signals import RATE, noise, speech


def sine(hz: float = 997.0, *, rate: int = 48_000, seconds: float = 2.0, db: float = 0.0, channels: int = 1) -> Tensor:
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    return (10 ** (db / 20) * torch.sin(2 * math.pi * hz * time)).expand(1, channels, -1)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_a_full_scale_sine_has_minus_3_01_lkfs_at_every_rate(rate: int) -> None:
    """BS.1770-4: 0 dBFS at 997 Hz. The shelf has begun there, bent by the transform as hertz over rate, squared."""
    value = LoudnessMeter(rate).integrated(sine(rate=rate))
    assert value.item() == pytest.approx(-3.01, abs=0.006 * max(1.0, 48_000 / rate) ** 2)


def test_the_standards_filters_are_met_to_the_last_digit_at_their_own_rate() -> None:
    hz = torch.linspace(0, 24_000, 1001, dtype=torch.float64)
    torch.testing.assert_close(KWeighting(48_000).response(hz).abs(), weighting_gain("K", hz), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rate", [16_000, 44_100, 96_000])
def test_the_filters_are_the_recursion_of_the_re_derived_coefficients(rate: int) -> None:
    """De Man's derivation: K = tan(pi f / rate) of the analogue corner, gain and quality of the standard's filters.

    He leaves the high pass's numerator at [1, -2, 1]; here it has the gain that this makes at 48 kHz, at every rate.
    """
    signal = pytest.importorskip("scipy.signal")
    x = noise(1, 1, rate // 2, dtype=torch.float64)
    wanted = x.numpy()[0, 0]
    gain, slope = 10 ** (3.999843853973347 / 20), 0.4996667741545416
    k, q = math.tan(math.pi * 1681.974450955533 / rate), 0.7071752369554196
    norm = 1 + k / q + k * k
    middle = gain**slope
    above = [(gain + middle * k / q + k * k) / norm, 2 * (k * k - gain) / norm, (gain - middle * k / q + k * k) / norm]
    wanted = signal.lfilter(above, [1, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm], wanted)
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    norm = 1 + k / q + k * k
    own = math.tan(math.pi * 38.13547087602444 / 48_000)
    scale = (1 + own / q + own * own) / norm
    below = [1, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    wanted = signal.lfilter([scale, -2 * scale, scale], below, wanted)
    # The standard's coefficients have 15 digits, of which the high pass near 0 Hz keeps nine.
    torch.testing.assert_close(KWeighting(rate)(x)[0, 0], torch.from_numpy(wanted), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("rate", "filters", "tolerance"),
    [
        (16_000, "DeMan", 0.1),
        (44_100, "DeMan", 0.01),
        (48_000, "DeMan", 0.01),
        (16_000, "K-weighting", 0.1),
        (44_100, "K-weighting", 0.1),
        (48_000, "K-weighting", 0.1),
    ],
)
def test_pyloudnorm_agrees(rate: int, filters: str, tolerance: float) -> None:
    """0.1 LU at 16 kHz, where its high pass is 0.09 dB louder; and with its default filters, not the standard's."""
    pyloudnorm = pytest.importorskip("pyloudnorm", reason="pyloudnorm is the oracle")
    sound = torch.cat([level * noise(1, 2, 2 * rate, seed=seed) for seed, level in enumerate((0.1, 0.003, 0.05))], -1)
    sound = torch.cat((sound, torch.zeros(1, 2, rate), sine(300, rate=rate, db=-20, channels=2).float()), -1)
    wanted = pyloudnorm.Meter(rate, filter_class=filters).integrated_loudness(sound[0].T.double().numpy())
    assert LoudnessMeter(rate).integrated(sound.double()).item() == pytest.approx(wanted, abs=tolerance)


def test_pyloudnorm_agrees_on_speech_and_on_six_channels() -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm", reason="pyloudnorm is the oracle")
    voice = speech().double()
    meter = pyloudnorm.Meter(RATE, filter_class="DeMan")
    assert LoudnessMeter(RATE).integrated(voice).item() == pytest.approx(
        meter.integrated_loudness(voice[0].T.numpy()), abs=0.1
    )
    five = noise(1, 5, 2 * RATE, dtype=torch.float64) * torch.tensor([1, 0.5, 2, 1, 3.0])[:, None]
    wanted = meter.integrated_loudness(five[0].T.numpy())
    assert LoudnessMeter(RATE).integrated(five).item() == pytest.approx(wanted, abs=0.1)


def test_the_low_frequency_channel_of_six_does_not_count() -> None:
    five = noise(1, 5, RATE, dtype=torch.float64)
    rumble = 10 * noise(1, 1, RATE, seed=1, dtype=torch.float64)
    six = torch.cat((five[:, :3], rumble, five[:, 3:]), 1)
    meter = LoudnessMeter(RATE)
    torch.testing.assert_close(meter.integrated(six), meter.integrated(five))


def test_the_same_sound_in_two_channels_is_3_lu_louder() -> None:
    meter = LoudnessMeter(48_000)
    gap = meter.integrated(sine(channels=2)) - meter.integrated(sine())
    assert gap.item() == pytest.approx(10 * math.log10(2), abs=1e-6)


def test_weights_may_be_given() -> None:
    ear = LoudnessMeter(48_000, weights=(1.0, 0.0, 0.0))
    assert ear.integrated(sine(channels=3)).item() == pytest.approx(-3.01, abs=0.02)


def test_pauses_are_gated_away() -> None:
    """EBU Tech 3341, case 3: 10 s at -36, 60 s at -23 and 10 s at -36 dBFS in both channels have -23 LUFS."""
    parts = [sine(1000, db=db, seconds=seconds, channels=2) for db, seconds in ((-36, 10), (-23, 60), (-36, 10))]
    assert LoudnessMeter(48_000).integrated(torch.cat(parts, -1)).item() == pytest.approx(-23.0, abs=0.1)


def test_quiet_parts_are_gated_absolutely_first() -> None:
    """EBU Tech 3341, case 4: as case 3, with 10 s at -72 dBFS before and after."""
    levels = ((-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10))
    parts = [sine(1000, db=db, seconds=seconds, channels=2) for db, seconds in levels]
    assert LoudnessMeter(48_000).integrated(torch.cat(parts, -1)).item() == pytest.approx(-23.0, abs=0.1)


def test_momentary_and_short_term_follow_the_sound() -> None:
    meter = LoudnessMeter(48_000)
    steps = torch.cat((sine(db=-40, seconds=4), sine(db=-20, seconds=4)), -1)
    momentary, short = meter.momentary(steps), meter.short_term(steps)
    assert momentary.shape == (1, 77)
    assert short.shape == (1, 51)
    for found in (momentary, short):
        assert found[0, 0].item() == pytest.approx(-43.01, abs=0.05)
        assert found[0, -1].item() == pytest.approx(-23.01, abs=0.05)
    assert (momentary[0] > -30).float().mean() > (short[0] > -25).float().mean()


def test_silence_has_no_loudness_and_no_gradient() -> None:
    meter = LoudnessMeter(RATE)
    x = torch.zeros(2, 1, RATE, requires_grad=True)
    assert meter.integrated(x).isnan().all()
    assert (meter.momentary(x) == -math.inf).all()
    y = torch.stack((torch.zeros(1, RATE), noise(1, RATE))).requires_grad_()
    (gradient,) = torch.autograd.grad(meter.integrated(y).nansum(), y)
    assert gradient.isfinite().all()
    assert not gradient[0].any()
    assert gradient[1].any()


def test_the_gradient_of_loudness_is_that_of_a_level() -> None:
    """Scaling by a little more than 1 adds 20 / ln 10 times that many LU, whatever the sound."""
    x = speech().double().requires_grad_()
    meter = LoudnessMeter(RATE)
    (gradient,) = torch.autograd.grad(meter.integrated(x).sum(), x)
    assert (gradient * x).sum().item() == pytest.approx(20 / math.log(10), rel=1e-6)


def test_items_are_measured_apart_and_single_precision_is_enough() -> None:
    batch = torch.stack((noise(2, RATE), 0.01 * noise(2, RATE, seed=1)))
    meter = LoudnessMeter(RATE)
    whole = meter.integrated(batch)
    torch.testing.assert_close(whole, torch.cat([meter.integrated(x[None]) for x in batch]))
    torch.testing.assert_close(whole.double(), meter.integrated(batch.double()), rtol=0, atol=1e-3)


def test_what_has_no_loudness_says_what_to_type() -> None:
    with pytest.raises(ShapeError, match=r"got \(1, 1, 6399\); needed is .* with 6400 samples \(0.4 s\)"):
        LoudnessMeter(RATE).integrated(noise(1, 1, 6399))
    with pytest.raises(ShapeError, match=r"with 48000 samples \(3.0 s\)"):
        LoudnessMeter(RATE).short_term(noise(1, 1, RATE))
    with pytest.raises(ShapeError, match=r"got 3 channels and no weights; needed are 1, 2, 5, 6 channels, or weights="):
        LoudnessMeter(RATE).integrated(noise(1, 3, RATE))
    with pytest.raises(ShapeError, match=r"got 1 channels and \(1.0, 1.0\)"):
        LoudnessMeter(RATE, weights=(1.0, 1.0)).integrated(noise(1, 1, RATE))
    with pytest.raises(ArgumentError, match=r"got weights=\(-1.0,\)"):
        LoudnessMeter(RATE, weights=(-1.0,))
    with pytest.raises(SampleRateError, match=r"got sample_rate=2000; needed is one above 3364 Hz"):
        LoudnessMeter(2000)


# Measures at equal loudness

MATCHED = {
    "snr": lambda: LoudnessMatched(SNR(), RATE),
    "mae": lambda: LoudnessMatched(MAE(), RATE),
    "si_sdr": lambda: LoudnessMatched(SISDR(), RATE),
    "mel": lambda: LoudnessMatched(MelDistance(RATE, n_fft=512, n_mels=20), RATE),
}


@pytest.mark.parametrize("name", MATCHED)
def test_a_matched_measure_keeps_the_contract(name: str) -> None:
    check_measure(MATCHED[name](), rules=[rule for rule in RULES if rule not in ("compiles", "is_documented")])


def test_the_estimate_is_brought_to_the_loudness_of_the_reference() -> None:
    ref = speech()
    est = 0.05 * (ref + 0.1 * noise(*ref.shape) * ref.std())
    seen = {}

    class Listening(MSE):
        def compare(self, est: Tensor, ref: Tensor) -> Tensor:
            seen["est"] = est
            return super().compare(est, ref)

    LoudnessMatched(Listening(), RATE)(est, ref)
    meter = LoudnessMeter(RATE)
    torch.testing.assert_close(meter.integrated(seen["est"]), meter.integrated(ref), rtol=0, atol=1e-3)


def test_channels_judged_together_get_one_gain() -> None:
    ref = noise(1, 2, RATE) * torch.tensor([1.0, 0.2])[:, None]
    unequal = ref * torch.tensor([0.1, 0.3])[:, None]
    together = LoudnessMatched(MidSide(SNR()), RATE)
    assert together(0.1 * ref, ref).item() == pytest.approx(140, abs=1)
    assert together(unequal, ref).item() < 30
    assert (LoudnessMatched(SNR(), RATE)(unequal, ref) > 100).all()


def test_a_measure_at_another_rate_is_refused() -> None:
    with pytest.raises(SampleRateError, match=r"got a measure at 8000 Hz and sample_rate=16000"):
        LoudnessMatched(MelDistance(8000, n_fft=512, n_mels=20), RATE)
