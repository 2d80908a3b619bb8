"""A recipe is the published loss: value and gradient against the formulas of papers and their code, in plain torch."""

import copy
import itertools
import json
import math
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from percloss import LogWMSE, Loss, WeightedSum, recipes
from percloss.balancing import Balanced, gradient_shares
from percloss.dsp.resample import resample, resample_kernel
from percloss.errors import ArgumentError, SampleRateError
from tests.signals import RATE, at_snr, noise, speech

SECONDS = 1.5


def pair(rate: int, *, level: float = 1.0) -> tuple[Tensor, Tensor]:
    """Speech in speech-shaped trouble: a low-pass, and white noise at 15 dB; in float64, at ``rate``."""
    clean = speech(seconds=SECONDS).double()
    if rate != RATE:
        clean = resample(clean, RATE, rate, resample_kernel(RATE, rate))
    # Resampled speech is empty above 8 kHz, where logarithms would compare rounding errors.
    ref = level * (clean + 1e-3 * noise(*clean.shape, seed=3, dtype=torch.float64))
    spectrum = torch.fft.rfft(ref)
    hz = torch.arange(spectrum.shape[-1]) * rate / ref.shape[-1]
    dull = torch.fft.irfft(spectrum / (1 + (hz / 3000) ** 2), ref.shape[-1])
    return at_snr(dull, 15, seed=4), ref


def spectrum(x: Tensor, n_fft: int, hop: int, window: Tensor | None = None, *, center: bool = True) -> Tensor:
    """As torch.stft has it, of (batch, 1, time) or (batch, time)."""
    window = torch.hann_window(n_fft, dtype=x.dtype) if window is None else window
    return torch.stft(x.flatten(0, -2), n_fft, hop, len(window), window, center=center, return_complex=True)


def mel_bank(rate: int, n_fft: int, n_mels: int, *, htk: bool = False, f_min: float = 0) -> Tensor:
    """Triangles on a mel scale: Slaney's, of unit area, or HTK's, of unit peak."""

    def to_mel(hz: Tensor) -> Tensor:
        if htk:
            return 2595 * torch.log10(1 + hz / 700)
        return torch.where(hz < 1000, 3 * hz / 200, 15 + 27 * (hz.clamp(min=1) / 1000).log() / math.log(6.4))

    def to_hz(mel: Tensor) -> Tensor:
        if htk:
            return 700 * (10 ** (mel / 2595) - 1)
        return torch.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((mel - 15) / 27))

    low, top = to_mel(torch.tensor([f_min, rate / 2], dtype=torch.float64)).tolist()
    corners = to_hz(torch.linspace(low, top, n_mels + 2, dtype=torch.float64))
    hz = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    rise = (hz - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    fall = (corners[2:, None] - hz) / (corners[2:] - corners[1:-1])[:, None]
    bank = torch.minimum(rise, fall).relu()
    return bank if htk else bank * (2 / (corners[2:] - corners[:-2]))[:, None]


# The published formulas, in words of our own. Each takes est, ref and returns a scalar.


def bs_roformer(est: Tensor, ref: Tensor) -> Tensor:
    total = F.l1_loss(est, ref)
    for size in (4096, 2048, 1024, 512, 256):
        window = torch.hann_window(size, dtype=est.dtype)
        both = [spectrum(x, max(size, 2048), 147, window) for x in (est, ref)]
        total = total + (both[0] - both[1]).abs().mean()
    return total


def open_unmix(est: Tensor, ref: Tensor) -> Tensor:
    return F.mse_loss(*(spectrum(x, 4096, 1024, center=False).abs() for x in (est, ref)))


def multi_resolution(est: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    convergence, log = est.new_zeros(()), est.new_zeros(())
    for n_fft, hop, size in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        window = torch.hann_window(size, dtype=est.dtype)
        x, y = ((spectrum(s, n_fft, hop, window).abs() ** 2).clamp(min=1e-7).sqrt() for s in (est, ref))
        convergence = convergence + torch.linalg.norm(y - x) / torch.linalg.norm(y) / 3
        log = log + F.l1_loss(x.log(), y.log()) / 3
    return convergence, log


def denoiser(est: Tensor, ref: Tensor) -> Tensor:
    convergence, log = multi_resolution(est, ref)
    return F.l1_loss(est, ref) + 0.5 * convergence + 0.5 * log


def pwg(est: Tensor, ref: Tensor) -> Tensor:
    return torch.stack(multi_resolution(est, ref)).sum()


def dac(rate: int) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(est: Tensor, ref: Tensor) -> Tensor:
        total = est.new_zeros(())
        for n_mels, size in zip((5, 10, 20, 40, 80, 160, 320), (32, 64, 128, 256, 512, 1024, 2048), strict=True):
            bank = mel_bank(rate, size, n_mels)
            x, y = ((bank @ spectrum(s, size, size // 4).abs()).clamp(min=1e-5).log10() for s in (est, ref))
            total = total + F.l1_loss(x, y)
        return 15 * total

    return loss


def hifigan(est: Tensor, ref: Tensor) -> Tensor:
    def log_mel(x: Tensor) -> Tensor:
        padded = F.pad(x, (384, 384), mode="reflect")
        power = spectrum(padded, 1024, 256, center=False).abs() ** 2
        return (mel_bank(22_050, 1024, 80) @ (power + 1e-9).sqrt()).clamp(min=1e-5).log()

    return 45 * F.l1_loss(log_mel(est), log_mel(ref))


def vocos(est: Tensor, ref: Tensor) -> Tensor:
    bank = mel_bank(24_000, 1024, 100, htk=True)
    x, y = ((bank @ spectrum(s, 1024, 256).abs()).clamp(min=1e-7).log() for s in (est, ref))
    return 45 * F.l1_loss(x, y)


def wrap(x: Tensor) -> Tensor:
    return (x - 2 * math.pi * (x / (2 * math.pi)).round()).abs()


def mp_senet(est: Tensor, ref: Tensor) -> Tensor:
    parts = []
    for x in (est, ref):
        s = spectrum(x, 400, 100)
        size = (s.real**2 + s.imag**2 + 1e-9).sqrt() ** 0.3
        angle = torch.atan2(s.imag + 1e-10, s.real + 1e-5)
        parts.append((size, angle, torch.stack((size * angle.cos(), size * angle.sin()))))
    (m1, p1, c1), (m2, p2, c2) = parts
    phase = wrap(p1 - p2).mean() + sum(wrap(p1.diff(dim=d) - p2.diff(dim=d)).mean() for d in (1, 2))
    return 0.9 * F.mse_loss(m1, m2) + 0.3 * phase + 0.1 * 2 * F.mse_loss(c1, c2) + 0.2 * F.l1_loss(est, ref)


def cmgan(est: Tensor, ref: Tensor) -> Tensor:
    window = torch.hamming_window(400, dtype=est.dtype)
    x, y = (torch.polar(s.abs() ** 0.3, s.angle()) for s in (spectrum(z, 400, 100, window) for z in (est, ref)))
    parts = F.mse_loss(x.real, y.real) + F.mse_loss(x.imag, y.imag)
    return 0.1 * parts + 0.9 * F.mse_loss(x.abs(), y.abs()) + 0.2 * F.l1_loss(est, ref)


def gtcrn(est: Tensor, ref: Tensor) -> Tensor:
    window = torch.hann_window(512, dtype=est.dtype).sqrt()
    x, y = (spectrum(z, 512, 256, window) for z in (est, ref))
    a, b = ((s.real**2 + s.imag**2 + 1e-12).sqrt() for s in (x, y))
    parts = [F.mse_loss(p / a**0.7, q / b**0.7) for p, q in ((x.real, y.real), (x.imag, y.imag))]
    target = (est * ref).sum(-1, keepdim=True) / (ref**2).sum(-1, keepdim=True) * ref
    ratio = (target**2).sum(-1) / ((est - target) ** 2).sum(-1)
    return 30 * sum(parts) + 70 * F.mse_loss(a**0.3, b**0.3) - ratio.log10().mean()


def esr_dc(est: Tensor, ref: Tensor) -> Tensor:
    def emphasis(x: Tensor) -> Tensor:
        return x - 0.95 * F.pad(x, (1, 0))[..., :-1]

    error = ((emphasis(est) - emphasis(ref)) ** 2).sum(-1) / (emphasis(ref) ** 2).sum(-1)
    offset = (est - ref).mean(-1) ** 2 / (ref**2).mean(-1)
    return (error + offset).mean()


def si_sdr(est: Tensor, ref: Tensor) -> Tensor:
    est, ref = (x - x.mean(-1, keepdim=True) for x in (est, ref))
    target = (est * ref).sum(-1, keepdim=True) / (ref**2).sum(-1, keepdim=True) * ref
    return 10 * ((target**2).sum(-1) / ((est - target) ** 2).sum(-1)).log10()


def permuted_si_sdr(est: Tensor, ref: Tensor) -> Tensor:
    """Of two sources."""
    return -torch.maximum(si_sdr(est, ref).mean((1, 2)), si_sdr(est.flip(1), ref).mean((1, 2))).mean()


def mixit(est: Tensor, ref: Tensor) -> Tensor:
    """Four sources of two mixtures: the sum of two thresholded SNRs, of the best of 16 mixings."""
    losses = []
    for mixing in itertools.product((0, 1), repeat=4):
        first = torch.tensor(mixing, dtype=est.dtype)[:, None, None]
        remix = torch.stack(((first * est).sum(1), ((1 - first) * est).sum(1)), 1)
        noise_and_floor = ((ref - remix) ** 2).sum(-1) + 1e-3 * (ref**2).sum(-1)
        losses.append((10 * noise_and_floor.log10() - 10 * (ref**2).sum(-1).log10()).sum((1, 2)))
    return torch.stack(losses).amin(0).mean()


def encodec_mel(est: Tensor, ref: Tensor) -> Tensor:
    """L1 of mel powers and L2 of their logarithms, 64 HTK bands from 64 Hz at five scales, at 24 kHz."""
    total = est.new_zeros(())
    for size in (64, 128, 256, 512, 1024):
        window = torch.hann_window(size, dtype=est.dtype)
        bank = mel_bank(24_000, size, 64, htk=True, f_min=64)
        edge = (size - size // 4) // 2
        x, y = (
            bank
            @ (spectrum(F.pad(s, (edge, edge), mode="reflect"), size, size // 4, center=False) / window.norm()).abs()
            ** 2
            for s in (est, ref)
        )
        total = total + F.l1_loss(x, y) + F.mse_loss((1e-5 + x).log10(), (1e-5 + y).log10())
    return total / 10


# The formula of every recipe, and a rate.
PUBLISHED: dict[str, tuple[int, Callable[[Tensor, Tensor], Tensor]]] = {
    "mss/bs-roformer": (44_100, bs_roformer),
    "mss/htdemucs": (44_100, F.l1_loss),
    "mss/open-unmix": (44_100, open_unmix),
    "se/demucs-denoiser": (16_000, denoiser),
    "voc/pwg": (24_000, pwg),
    "codec/dac": (44_100, dac(44_100)),
    "voc/bigvgan-v2": (24_000, dac(24_000)),
    "voc/vocos": (24_000, vocos),
    "se/mp-senet": (16_000, mp_senet),
    "se/cmgan": (16_000, cmgan),
    "se/gtcrn": (16_000, gtcrn),
    "fx/esr-dc": (44_100, esr_dc),
}


def value_and_gradient(loss: Callable[[Tensor, Tensor], Tensor], est: Tensor, ref: Tensor) -> tuple[float, Tensor]:
    est = est.clone().requires_grad_()
    value = loss(est, ref)
    return value.item(), torch.autograd.grad(value, est)[0]


def holds(name: str, found: tuple[float, Tensor], wanted: tuple[float, Tensor]) -> None:
    """What the recipe says of itself."""
    agreement = recipes.info(name).agreement
    assert agreement is not None
    relative, cosine = agreement
    assert abs(found[0] / wanted[0] - 1) <= relative
    assert F.cosine_similarity(found[1].flatten(), wanted[1].flatten(), dim=0) >= cosine
    assert found[1].norm() / wanted[1].norm() == pytest.approx(1, abs=max(0.05, relative))


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_the_published_loss(name: str) -> None:
    """As far as the recipe says, in value and in gradient, on a sentence of speech."""
    rate, formula = PUBLISHED[name]
    # Two systems bring their signals to a mean square of about 1.
    est, ref = pair(rate, level=16.0 if name in ("se/mp-senet", "se/cmgan") else 1.0)
    loss = recipes.create(name, sample_rate=rate)
    holds(name, value_and_gradient(loss, est, ref), value_and_gradient(formula, est, ref))


def test_hifigan_is_the_published_loss_of_frames_128_samples_later() -> None:
    est, ref = pair(22_050)
    loss = recipes.create("voc/hifigan", sample_rate=22_050)
    later = value_and_gradient(loss, est[..., 128:], ref[..., 128:])
    published = value_and_gradient(hifigan, est, ref)
    inside = slice(2048, -2048)  # but for the frames that mirror an end
    holds("voc/hifigan", (later[0], later[1][..., 2048 - 128 : -2048]), (published[0], published[1][..., inside]))


def test_speakers_in_the_wrong_order_are_judged_in_the_right_one() -> None:
    sources = noise(3, 2, 1, 4000, dtype=torch.float64)
    for est in (at_snr(sources, 10), at_snr(sources, 10).flip(1)):
        found = value_and_gradient(recipes.create("sep/speech-sisdr", sample_rate=8000), est, sources)
        holds("sep/speech-sisdr", found, value_and_gradient(permuted_si_sdr, est, sources))


def test_mixit_takes_the_best_of_all_mixings() -> None:
    est = noise(3, 4, 1, 4000, dtype=torch.float64)
    mixtures = torch.stack((est[:, 0] + est[:, 2], est[:, 1] + est[:, 3]), 1)
    mixtures = at_snr(mixtures, 15)
    found = value_and_gradient(recipes.create("sep/mixit", sample_rate=16_000), est, mixtures)
    holds("sep/mixit", found, value_and_gradient(mixit, est, mixtures))


def test_logwmse_is_the_measure_whose_parity_is_tested_elsewhere() -> None:
    est, ref = pair(44_100)
    mix = ref + 0.1 * noise(*ref.shape, dtype=ref.dtype)
    loss = recipes.create("mss/logwmse", sample_rate=44_100)
    assert loss(est, ref, mix=mix) == Loss(LogWMSE(44_100))(est, ref, mix=mix)


def test_encodec_balances_as_published_with_another_mel_term() -> None:
    est, ref = pair(24_000)
    loss = recipes.create("codec/encodec", sample_rate=24_000)
    assert isinstance(loss, Balanced)
    assert loss.weights == {"wave": 0.1, "mel": 2.0, "adversarial": 4.0, "feature": 4.0}
    leaf = est.clone().requires_grad_()
    extra = {"adversarial": leaf.tanh().mean(), "feature": leaf.abs().mean()}
    shares = gradient_shares(loss, leaf, ref, extra=extra).shares
    assert shares == pytest.approx({name: weight / 10.1 for name, weight in loss.weights.items()})
    other = Loss(loss.terms.losses["mel"].measure)
    ours, theirs = (value_and_gradient(one, est, ref)[1].flatten() for one in (other, encodec_mel))
    assert F.cosine_similarity(ours, theirs, dim=0) > 0.8


# Golden values: they move when a number does, and then stand under "Numbers" in the changelog.
MADE = "2026-11-23"
GOLDEN = {
    "mss/bs-roformer": 1.4625655250022247,
    "mss/htdemucs": 0.013177976650204386,
    "mss/open-unmix": 0.4114958426146375,
    "mss/logwmse": -10.178684840509549,
    "sep/speech-sisdr": -9.952489029050689,
    "sep/mixit": -19.91357252434716,
    "se/demucs-denoiser": 0.8932253658758795,
    "se/mp-senet": 1.0571956927010564,
    "se/cmgan": 0.08473350232811748,
    "se/gtcrn": 14.469833358674249,
    "codec/encodec": 2.55897640161764,
    "codec/dac": 52.84716342674868,
    "voc/bigvgan-v2": 52.84716342674868,
    "voc/hifigan": 50.2207161140859,
    "voc/vocos": 53.233317392636444,
    "voc/pwg": 2.064049126913924,
    "fx/esr-dc": 2.6244981994615975,
}


def signals(name: str, rate: int) -> dict[str, Tensor]:
    """What a recipe takes."""
    est, ref = pair(rate)
    if name.startswith("sep/"):
        sources = torch.stack((ref.roll(4000, -1), ref), 1)
        return {"est": at_snr(sources, 10), "ref": sources}
    return {"est": est, "ref": ref, **({"mix": 2 * est - ref} if name == "mss/logwmse" else {})}


@pytest.mark.parametrize("name", recipes.list())
def test_the_value_has_not_moved(name: str) -> None:
    rate = max(recipes.info(name).sample_rates or {16_000})
    value = recipes.create(name, sample_rate=rate)(**signals(name, rate)).item()
    # In float64 machines differ by the order of sums alone; the speech is the same file.
    assert value == pytest.approx(GOLDEN[name], rel=1e-7), f"made on {MADE}"


# As objects


def every() -> list[tuple[str, int]]:
    """Each recipe at each of its rates."""
    return [
        (name, rate) for name in recipes.list() for rate in sorted(recipes.info(name).sample_rates or {8000, 48_000})
    ]


@pytest.mark.parametrize(("name", "rate"), every())
def test_it_trains_from_silence_and_has_nothing_to_learn_from_the_reference(name: str, rate: int) -> None:
    """In float32: the gradient of an estimate at -120 dBFS is finite and there, that of the reference is none."""
    given = {key: x[..., : rate // 2].float() for key, x in signals(name, rate).items()}
    loss = recipes.create(name, sample_rate=rate)
    ref = given.pop("ref")
    for est, alive in ((1e-6 * noise(*ref.shape, seed=9), True), (torch.zeros_like(ref), False)):
        gradient = torch.autograd.grad(loss(**{**given, "est": est.requires_grad_()}, ref=ref), est)[0]
        assert gradient.isfinite().all()
        assert gradient.any() or not alive


@pytest.mark.parametrize("name", recipes.list())
def test_it_is_described_in_plain_data(name: str) -> None:
    recipe = recipes.info(name)
    assert recipe.name == name
    assert recipe.title
    assert recipe.cite
    rate = max(recipe.sample_rates or {16_000})
    described = json.loads(json.dumps(recipe.describe(rate), allow_nan=False))
    loss = recipes.create(name, sample_rate=rate)
    terms = loss.terms if isinstance(loss, Balanced) else loss
    assert isinstance(terms, WeightedSum)
    assert {key: term["weight"] for key, term in described["terms"].items()} == terms.weights
    assert {key: term["measure"] for key, term in described["terms"].items()} == {
        key: one.name for key, one in terms.losses.items()
    }
    assert len(described["outside"]) == len(recipe.outside)
    assert all(part.weight > 0 and part.what for part in recipe.outside)


def test_a_window_that_is_not_hanns_is_told() -> None:
    described = recipes.info("se/gtcrn").describe(16_000)["terms"]["compressed"]
    assert described["settings"]["window"] == "sqrt_hann"
    assert described["settings"]["n_fft"] == 512
    assert "hamming" in repr(recipes.create("se/cmgan", sample_rate=16_000))


def test_they_are_listed_by_task() -> None:
    assert set(recipes.list("voc")) == {"voc/bigvgan-v2", "voc/hifigan", "voc/vocos", "voc/pwg"}
    assert recipes.list("nothing") == ()
    assert len(set(recipes.list())) == len(recipes.list()) >= 17


@pytest.mark.parametrize(
    ("name", "rate", "message"),
    [
        ("voc/hifigan", 48_000, "voc/hifigan: got sample_rate=48000; it is defined at 22050 Hz"),
        ("codec/dac", 22_050, "it is defined at 16000, 24000, 44100 Hz"),
        ("sep/mixit", 0, "it is defined at any above 0 Hz"),
    ],
)
def test_it_is_not_built_for_a_rate_it_was_not_made_for(name: str, rate: int, message: str) -> None:
    with pytest.raises(SampleRateError, match=message):
        recipes.create(name, sample_rate=rate)


def test_a_name_that_is_not_there_is_answered_by_the_nearest() -> None:
    with pytest.raises(ArgumentError, match="got 'voc/hifi-gan'; did you mean 'voc/hifigan'"):
        recipes.create("voc/hifi-gan", sample_rate=22_050)
    with pytest.raises(ArgumentError, match="known are mss/bs-roformer, "):
        recipes.info("xyz")


@pytest.mark.parametrize("name", ["se/gtcrn", "codec/dac", "codec/encodec"])
def test_it_survives_copy_and_pickle(name: str) -> None:
    rate = max(recipes.info(name).sample_rates)
    given = signals(name, rate)
    loss = recipes.create(name, sample_rate=rate)
    for same in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert same(**given) == loss(**given)
