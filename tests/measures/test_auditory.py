"""What must be true of distances on the scales of hearing and of music, and of cepstra, by oracles and by ear."""

import math
import os
import re

import pytest
import torch
from torch import Tensor

from percloss import Measure, MelDistance
from percloss.dsp.filterbanks import chroma_bank, gammatone_bank
from percloss.dsp.scales import ERB, SCALES
from percloss.dsp.stft import power
from percloss.engine import SpectralMeasure
from percloss.errors import ArgumentError, EmptyBandError, SampleRateError
from percloss.measures.auditory import (
    BarkDistance,
    ChromaDistance,
    ERBDistance,
    GammatoneDistance,
    MelCepstralDistortion,
    MFCCDistance,
)
from percloss.testing import RULES, check_measure
from tests.signals import RATE, noise, tone

DEEP = -250.0  # a floor that float64 does not see under white noise
CLASSES: dict[str, type[SpectralMeasure]] = {
    "bark": BarkDistance,
    "erb": ERBDistance,
    "gammatone": GammatoneDistance,
    "chroma": ChromaDistance,
    "mfcc": MFCCDistance,
    "mcd": MelCepstralDistortion,
}
# The catalogue's contract tries the defaults; here is another of each.
VARIANTS = {
    "bark, few bands and an odd hop": lambda: BarkDistance(RATE, n_bands=20, n_fft=512, hop_length=101),
    "erb, a high floor": lambda: ERBDistance(RATE, n_bands=30, floor_db=-80.0),
    "gammatone, a part of the range": lambda: GammatoneDistance(RATE, n_bands=16, f_min=300.0, f_max=4000.0),
    "chroma, quarter tones": lambda: ChromaDistance(RATE, n_classes=24, f_min=200.0),
    "mfcc, level alone": lambda: MFCCDistance(RATE, n_mfcc=1),
    "mcd, all coefficients": lambda: MelCepstralDistortion(RATE, n_coefficients=39, n_mels=40),
}
BUILT = VARIANTS | {name: lambda cls=cls: cls(RATE) for name, cls in CLASSES.items()}
COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
TRIED = [name for name in RULES if name != "is_documented" and (COMPILE or name != "compiles")]
each = pytest.mark.parametrize("name", CLASSES)
banded = pytest.mark.parametrize("name", ["bark", "erb", "gammatone", "chroma"])


def score(measure: Measure, est: Tensor, ref: Tensor, hiss: float = 1e-3) -> float:
    """With the same soft noise under both, as every recording has it."""
    under = hiss * noise(1, 1, ref.shape[-1], dtype=torch.float64)
    return measure(est + under, ref + under).item()


def played(hz: float, partials: int = 8) -> Tensor:
    """A note: partials that fall by 6 dB an octave."""
    return 0.1 * torch.cat([tone(hz * number) / number for number in range(1, partials + 1)]).sum(0, keepdim=True)


@pytest.mark.parametrize("rule", TRIED)
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_keeps_the_contract(variant: str, rule: str) -> None:
    check_measure(VARIANTS[variant](), rules=[rule])


@pytest.mark.parametrize("variant", BUILT)
@pytest.mark.parametrize("silent", [False, True])
def test_the_gradient_by_hand_is_autograds(variant: str, silent: bool) -> None:
    measure = BUILT[variant]()
    ref = 0.1 * noise(2, 1, 9001, dtype=torch.float64) * (0 if silent else 1)
    ref[0, 0, :2500] = 0
    found = []
    for engine in ("closed", "eager"):
        measure.engine = engine
        est = (0.1 * noise(2, 1, 9001, seed=1, dtype=torch.float64)).requires_grad_()
        values = measure(est, ref)
        (gradient,) = torch.autograd.grad((values * torch.tensor([[1.0], [2.0]])).sum(), est)
        found.append((values.detach(), gradient))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-9 * float(found[1][1].abs().max()))


@each
@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000])
def test_no_band_is_empty_at_any_usual_rate(name: str, rate: int) -> None:
    measure = CLASSES[name](rate)
    assert (measure.bands.bank.sum(1) > 0).all()
    torch.testing.assert_close(measure.bands.bank.sum(1), torch.ones(len(measure.bands.bank), dtype=torch.float64))
    apart = rate / measure.front.n_fft
    finest = 100 * (2 ** (1 / 12) - 1) if name == "chroma" else 24.7
    assert finest / 2 < apart <= finest


@banded
@pytest.mark.parametrize("gain", [0.1, 0.5, 3.0])
def test_a_scaled_copy_is_as_far_as_the_log_of_the_gain(name: str, gain: float) -> None:
    white = noise(2, 1, 9000, dtype=torch.float64)
    alike = torch.full((2, 1), abs(math.log(gain)), dtype=torch.float64)
    torch.testing.assert_close(CLASSES[name](RATE, floor_db=DEEP)(gain * white, white), alike)


@pytest.mark.parametrize("gain", [0.1, 0.5, 3.0])
def test_of_a_gain_mfcc_hear_the_0th_coefficient_and_mcd_nothing(gain: float) -> None:
    white = noise(2, 1, 9000, dtype=torch.float64)
    level = abs(math.log(gain)) * math.sqrt(80)  # of an orthonormal transform of 80 equal values
    mfcc = MFCCDistance(RATE, n_mfcc=20, floor_db=DEEP)(gain * white, white)
    torch.testing.assert_close(mfcc, torch.full((2, 1), level / 20, dtype=torch.float64))
    assert MelCepstralDistortion(RATE, floor_db=DEEP)(gain * white, white).abs().max() < 1e-9


@each
def test_the_worst_is_bounded_where_one_side_is_silent(name: str) -> None:
    """120 dB from the floor to full scale, in the measure's unit: nepers, an orthonormal sum of them, dB."""
    loud = noise(1, 1, 9000).clamp(-1, 1)
    worst = {"mfcc": math.log(1e6) * math.sqrt(80), "mcd": 120.0}.get(name, math.log(1e6))
    for est, ref in ((loud, 0 * loud), (0 * loud, loud)):
        assert 0 < CLASSES[name](RATE)(est, ref).item() < worst + 1


# Bark, ERB and gammatone


@pytest.mark.parametrize(("name", "scale"), [("bark", "bark_traunmueller"), ("erb", "erb"), ("gammatone", "erb")])
def test_a_tone_is_heard_in_the_band_it_belongs_to(name: str, scale: str) -> None:
    measure = CLASSES[name](RATE)
    count = measure.n_bands
    top = SCALES[scale].from_hz(torch.tensor([0.0, 8000.0], dtype=torch.float64))
    for band in (count // 2, 3 * count // 4):
        place = top[0] + (top[1] - top[0]) * (band + 1) / (count + 1)
        levels = measure.bands(power(measure.front(tone(float(SCALES[scale].to_hz(place))))))
        assert levels.mean(-1).argmax().item() == band


def test_erb_has_more_bands_where_speech_has_its_harmonics_than_bark_or_mel() -> None:
    below = {}
    for name, measure in (
        ("erb", ERBDistance(44_100, n_bands=48)),
        ("bark", BarkDistance(44_100, n_bands=48)),
        ("mel", MelDistance(44_100, n_mels=48)),
    ):
        peaks = measure.bands.bank.argmax(1) * (44_100 / measure.front.n_fft)
        below[name] = int((peaks < 500).sum())
    assert below["erb"] > 1.25 * below["bark"]
    assert below["erb"] > 1.25 * below["mel"]


def test_erb_resolves_low_tones_better_than_mel_for_what_it_pays_above() -> None:
    """100 to 130 Hz is three steps of the voice's pitch; 5 to 5.2 kHz is hardly heard."""
    ratios = [
        score(measure, tone(100), tone(130)) / score(measure, tone(5000), tone(5200))
        for measure in (ERBDistance(RATE), MelDistance(RATE, n_mels=64))
    ]
    assert ratios[0] > 1.5 * ratios[1]


def test_a_gammatone_filters_response_is_that_of_the_filter_in_time() -> None:
    """By scipy's, down to -40 dB; towards 0 Hz the filter in time has an image that the formula leaves out."""
    signal = pytest.importorskip("scipy.signal")
    ends = ERB.from_hz(torch.tensor([0.0, 22_050.0], dtype=torch.float64))
    for centre, tolerance in ((200.0, 0.5), (500.0, 0.05), (2000.0, 0.01), (4000.0, 0.01)):
        # A bank of one filter has its centre in the middle between its ends, on the scale.
        place = float(ERB.from_hz(torch.tensor(centre, dtype=torch.float64)))
        half = min(place - float(ends[0]), float(ends[1]) - place)
        low, high = ERB.to_hz(torch.tensor([place - half, place + half], dtype=torch.float64)).tolist()
        bank = gammatone_bank(sample_rate=44_100, n_fft=16_384, n_bands=1, f_min=max(low, 0), f_max=min(high, 22_050))
        taps, _ = signal.gammatone(centre, "fir", order=4, numtaps=8000, fs=44_100)
        _, response = signal.freqz(taps, worN=16_384 // 2, fs=44_100)
        wanted = torch.from_numpy(20 * torch.from_numpy(abs(response)).log10().numpy())
        ours = 10 * bank[0, :-1].log10()
        near = wanted > wanted.max() - 40
        torch.testing.assert_close(ours[near], (wanted - wanted.max())[near], rtol=0, atol=tolerance)


def test_a_gammatone_filter_has_fallen_by_4_db_half_a_bandwidth_away() -> None:
    """3.75 dB: (1 + (0.5 / 1.019)^2)^-4."""
    bank = gammatone_bank(sample_rate=44_100, n_fft=2**16, n_bands=1, f_min=100.0, f_max=8000.0)
    centre = float(ERB.to_hz(ERB.from_hz(torch.tensor([100.0, 8000.0], dtype=torch.float64)).mean()))
    bandwidth = 24.7 * (1 + 4.37e-3 * centre)
    beside = round((centre + 0.5 * bandwidth) * 2**16 / 44_100)
    away = (beside * 44_100 / 2**16 - centre) / bandwidth
    assert away == pytest.approx(0.5, abs=0.01)
    assert 10 * math.log10(bank[0, beside]) == pytest.approx(-40 * math.log10(1 + (away / 1.019) ** 2), abs=1e-3)


def test_what_a_loud_tone_covers_counts_less_behind_gammatone_filters_than_between_triangles() -> None:
    masker = tone(1000)
    near, far = (masker + tone(hz, db=-30) for hz in (1300, 5000))
    gammatone, triangles = GammatoneDistance(RATE), ERBDistance(RATE)
    assert score(gammatone, near, masker) < score(triangles, near, masker) / 5
    assert score(gammatone, near, masker) < score(gammatone, far, masker) / 10


@pytest.mark.parametrize("name", ["bark", "erb", "gammatone"])
def test_bands_between_two_bins_are_an_error_at_construction_whose_advice_works(name: str) -> None:
    with pytest.raises(EmptyBandError) as caught:
        CLASSES[name](44_100, n_fft=256)
    longer = int(re.search(r"n_fft=(\d+)[^=]*$", str(caught.value)).group(1))
    assert longer > 256
    CLASSES[name](44_100, n_fft=longer)


# Chroma


def test_a_note_an_octave_up_has_the_same_chroma_and_a_semitone_up_has_not() -> None:
    measure = ChromaDistance(RATE)
    a, octave, semitone = played(220), played(440), played(220 * 2 ** (1 / 12))
    assert score(measure, octave, a) < score(measure, semitone, a) / 8
    assert score(BarkDistance(RATE), octave, a) > score(
        BarkDistance(RATE), semitone, a
    )  # where hearing's scales differ


def test_every_note_of_four_octaves_is_loudest_in_its_class() -> None:
    measure = ChromaDistance(RATE)
    for step in range(48):  # from A2; A is the tenth class from C
        hz = 110 * 2 ** (step / 12)
        levels = measure.bands(power(measure.front(tone(hz))))
        assert levels.mean(-1).argmax().item() == (9 + step) % 12


def test_a_wrong_chord_costs_more_than_another_voicing_of_the_right_one() -> None:
    def chord(*steps: int) -> Tensor:
        return torch.cat([played(220 * 2 ** (step / 12), 4) for step in steps]).sum(0, keepdim=True)

    measure = ChromaDistance(RATE)
    minor, inverted, major = chord(0, 3, 7), chord(3, 7, 12), chord(0, 4, 7)
    assert score(measure, inverted, minor) < score(measure, major, minor) / 2


@pytest.mark.parametrize(("rate", "size", "classes"), [(22_050, 2048, 12), (44_100, 4096, 12), (16_000, 4096, 24)])
def test_the_bank_is_librosas_between_its_ends_and_nothing_beyond(rate: int, size: int, classes: int) -> None:
    filters = pytest.importorskip("librosa.filters", reason="librosa is the oracle of the chroma bank")
    wanted = torch.from_numpy(filters.chroma(sr=rate, n_fft=size, n_chroma=classes, dtype="float64"))
    whole = chroma_bank(sample_rate=rate, n_fft=size, n_classes=classes)
    torch.testing.assert_close(whole, wanted, rtol=0, atol=1e-12)
    part = chroma_bank(sample_rate=rate, n_fft=size, n_classes=classes, f_min=200.0, f_max=5000.0)
    hz = torch.arange(size // 2 + 1) * rate / size
    inside = (hz >= 200) & (hz <= 5000)
    torch.testing.assert_close(part[:, inside], wanted[:, inside], rtol=0, atol=1e-12)
    assert not part[:, ~inside].any()


def test_what_has_no_pitch_class_is_not_counted() -> None:
    """An offset, a rumble and a cymbal's top leave the levels of the classes where they were."""
    measure = ChromaDistance(RATE)
    ref = played(220, 4)
    for other in (0.5 + 0 * ref, tone(30, db=-20), tone(7000, db=-20)):
        assert score(measure, ref + other, ref) < 0.05
        assert score(BarkDistance(RATE), ref + other, ref) > 0.05


def test_classes_without_a_bin_are_an_error_whose_advice_works() -> None:
    with pytest.raises(EmptyBandError) as caught:
        ChromaDistance(44_100, n_fft=256, f_max=1000.0)
    longer, lowest = re.search(r"use n_fft=(\d+) and f_min=([\d.]+)\.", str(caught.value)).groups()
    ChromaDistance(44_100, n_fft=int(longer), f_min=float(lowest), f_max=1000.0)
    with pytest.raises(EmptyBandError, match=r"classes hold no frequency bin.*from 880 to 900 Hz"):
        ChromaDistance(44_100, f_min=880.0, f_max=900.0)


# Cepstra


def cepstra(measure: SpectralMeasure, x: Tensor) -> Tensor:
    """By librosa's mel bank and scipy's cosine transform: (coefficients, frames) of one signal's log magnitudes."""
    filters = pytest.importorskip("librosa.filters", reason="librosa is the oracle of the mel bank")
    transform = pytest.importorskip("scipy.fft")
    size = measure.front.n_fft
    bank = filters.mel(sr=RATE, n_fft=size, n_mels=measure.n_mels, norm=None, dtype="float64")
    bank /= bank.sum(1, keepdims=True)
    window = torch.hann_window(size, dtype=torch.float64)
    spectrum = torch.stft(x[0], size, size // 4, window=window / (window.sum() / 2), return_complex=True)[0]
    bins = (spectrum.abs() ** 2 + 10 ** (measure.floor_db / 10)).sqrt().numpy()
    return torch.from_numpy(transform.dct(torch.from_numpy(bank @ bins).log().numpy(), type=2, norm="ortho", axis=0))


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    return 0.1 * noise(1, 1, 8000, dtype=torch.float64), 0.1 * noise(1, 1, 8000, seed=1, dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 13, 80])
def test_mfcc_are_those_of_librosas_bank_and_scipys_transform(count: int, pair: tuple[Tensor, Tensor]) -> None:
    measure = MFCCDistance(RATE, n_mfcc=count)
    est, ref = (cepstra(measure, x)[:count] for x in pair)
    assert measure(*pair).item() == pytest.approx((est - ref).abs().mean().item(), rel=1e-9)


def test_mcd_is_kubicheks_formula_of_those_cepstra(pair: tuple[Tensor, Tensor]) -> None:
    measure = MelCepstralDistortion(RATE, n_coefficients=13, n_mels=80)
    # From orthonormal coefficients of ln M to c_m of ln M^2: times 2, over sqrt(2 K).
    est, ref = (cepstra(measure, x)[1:14] * 2 / math.sqrt(2 * 80) for x in pair)
    wanted = 10 / math.log(10) * (2 * (est - ref).square().sum(0)).sqrt().mean()
    assert measure(*pair).item() == pytest.approx(wanted.item(), rel=1e-9)


def test_mcd_of_all_coefficients_is_the_rms_difference_of_spectra_in_db_without_their_level() -> None:
    measure = MelCepstralDistortion(RATE, n_coefficients=39, n_mels=40)
    est, ref = 0.1 * noise(2, 1, 1, 8000, dtype=torch.float64)
    est_db, ref_db = (20 * measure.bands(measure.front(x).abs()).log10() for x in (est, ref))
    wanted = (est_db - ref_db).std(2, correction=0).mean()
    assert measure(est, ref).item() == pytest.approx(wanted.item(), rel=1e-4)  # the floor is not in it


@pytest.mark.parametrize("coefficient", [1, 5, 13])
def test_a_ripple_of_a_decibel_over_the_bands_is_its_rms_value(coefficient: int) -> None:
    """1 dB of cosine along the mel bands: 0.707 dB, whichever coefficient it is, and nothing beyond the last one."""
    measure = MelCepstralDistortion(RATE, n_coefficients=13, n_mels=80)
    bands = torch.arange(80, dtype=torch.float64) + 0.5
    for number, expected in ((coefficient, math.sqrt(0.5)), (coefficient + 13, 0.0)):
        ripple = math.log(10) / 20 * torch.cos(math.pi * number * bands / 80)
        found = measure.size(measure.cosines(ripple[None, None, :, None])).item()
        assert found == pytest.approx(expected, abs=1e-12)


def test_more_noise_in_the_envelope_is_more_distortion_and_a_spectral_tilt_is_heard() -> None:
    white = noise(1, 1, RATE, dtype=torch.float64)
    tilted = white - 0.9 * white.roll(1, -1)
    measure = MelCepstralDistortion(RATE)
    assert measure(tilted, white).item() > 3
    assert MFCCDistance(RATE)(tilted, white).item() > MFCCDistance(RATE)(1.1 * white, white).item()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: MFCCDistance(RATE, n_mfcc=0), ArgumentError, "mfcc: got coefficients 0 to -1 of n_mels=80"),
        (lambda: MFCCDistance(RATE, n_mfcc=81), ArgumentError, "none above 79"),
        (lambda: MelCepstralDistortion(RATE, n_coefficients=0), ArgumentError, "mcd: got coefficients 1 to 0"),
        (lambda: MelCepstralDistortion(RATE, n_coefficients=80), ArgumentError, "none above 79"),
        (lambda: MFCCDistance(RATE, n_mels=400), EmptyBandError, "hold no frequency bin"),
        (lambda: BarkDistance(0), SampleRateError, "above 0 Hz"),
        (lambda: GammatoneDistance(-1), SampleRateError, "above 0 Hz"),
        (lambda: GammatoneDistance(RATE, n_bands=0), ArgumentError, "gammatone_bank.*1 or more"),
        (lambda: GammatoneDistance(RATE, f_max=9000.0), ArgumentError, "f_max=9000"),
        (lambda: ChromaDistance(RATE, f_min=0.0), ArgumentError, "bin 0 has no pitch"),
        (lambda: ChromaDistance(RATE, f_min=6000.0), ArgumentError, "f_min=6000 and f_max=5000"),
        (lambda: ChromaDistance(RATE, n_classes=0), ArgumentError, "chroma_bank.*1 or more"),
    ],
)
def test_settings_that_make_no_measure_fail_when_it_is_built(build, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()
