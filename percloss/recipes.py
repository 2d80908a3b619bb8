"""Losses that published systems are trained with, by name: terms, weights and settings, and where they come from.

A weight means what it means in the source: the conventions of its transform (an unscaled window, a floor under an
unscaled magnitude, a sum over scales) are turned into those of this package, where a full-scale sine has magnitude 1.
What is left over is said in ``Recipe.notes`` and held to a number by a test. What a loss of two waveforms cannot be,
such as a discriminator's part, is in ``Recipe.outside``.

Example:
    >>> loss = create("voc/hifigan", sample_rate=22_050)
    >>> est, ref = torch.randn(2, 1, 1, 8192, generator=torch.Generator().manual_seed(0))
    >>> bool(loss(est, ref) > 0)
    True
    >>> [f"{part.weight:g} {part.what}" for part in info("voc/hifigan").outside]
    ['1 LSGAN loss of the generator, summed over 8 discriminators', '2 feature matching, summed over all their layers']
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from percloss._nearest import nearest
from percloss.balancing import Balanced
from percloss.dsp.safe import db_to_power
from percloss.errors import ArgumentError, SampleRateError
from percloss.frontends import Stft
from percloss.losses import Loss, WeightedSum
from percloss.measure import Measure
from percloss.measures.phase import AntiWrappingPhaseDistance, ComplexSTFTDistance, CompressedSTFTDistance
from percloss.measures.ratios import SISDR
from percloss.measures.spectral import MelDistance, MultiScaleMelDistance, STFTDistance
from percloss.measures.waveform import DC, ESR, MAE, LogWMSE
from percloss.wrappers import MixtureInvariant, PermutationInvariant

Terms = dict[str, tuple[float, Measure]]


@dataclass(frozen=True)
class Outside:
    """A part of a recipe that is no loss of two waveforms, and its weight beside the others."""

    weight: float
    what: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A published loss.

    Attributes:
        name: Task and system.
        title: What it trains.
        build: The terms at a sample rate: name to weight and measure.
        sample_rates: Those it was published for [Hz]; ``None`` is every rate.
        cite: Keys into references.bib.
        code: Repository, with the commit whose settings these are; empty where the paper alone is the source.
        notes: Where this is not the published loss, and what belongs to it in the source.
        agreement: With its formula, on a sentence of muffled speech in white noise at 15 dB: the largest relative
            difference of the values, and the smallest cosine between the gradients. ``None`` where a term is another.
        outside: What has to be added.
        balanced: Weights are fractions of the gradient: ``Balanced`` with these as its ``extra``.
    """

    name: str
    title: str
    build: Callable[[int], Terms]
    sample_rates: frozenset[int] | None
    cite: tuple[str, ...]
    code: str = ""
    agreement: tuple[float, float] | None
    notes: tuple[str, ...] = ()
    outside: tuple[Outside, ...] = ()
    balanced: Mapping[str, float] | None = None

    def terms(self, sample_rate: int) -> Terms:
        """Name to weight and measure.

        Raises:
            SampleRateError: It was not published for this rate.
        """
        if not sample_rate > 0 or (self.sample_rates is not None and sample_rate not in self.sample_rates):
            rates = "any above 0" if self.sample_rates is None else ", ".join(map(str, sorted(self.sample_rates)))
            raise SampleRateError(
                f"{self.name}: got sample_rate={sample_rate}; it is defined at {rates} Hz. Its windows are counted in "
                f"samples: resample the signals, or build the loss from percloss.recipes.info({self.name!r})."
            )
        return self.build(sample_rate)

    def describe(self, sample_rate: int) -> dict[str, Any]:
        """Everything as plain data, for a log or a file."""
        return {
            "name": self.name,
            "title": self.title,
            "sample_rate": sample_rate,
            "terms": {
                name: {"weight": weight, "measure": measure.spec.name, "settings": _settings(measure)}
                for name, (weight, measure) in self.terms(sample_rate).items()
            },
            "balanced": None if self.balanced is None else dict(self.balanced),
            "outside": [{"weight": part.weight, "what": part.what} for part in self.outside],
            "agreement": None if self.agreement is None else [*self.agreement],
            "notes": [*self.notes],
            "cite": [*self.cite],
            "code": self.code,
        }


def _settings(measure: Measure) -> dict[str, Any]:
    front = getattr(measure, "front", None)
    return {**measure.settings, "window": front.kind} if isinstance(front, _Windowed) else measure.settings


def list(task: str = "") -> tuple[str, ...]:
    """Every recipe, or those of a task: ``"mss"``, ``"sep"``, ``"se"``, ``"codec"``, ``"voc"``, ``"fx"``."""
    return tuple(name for name in RECIPES if not task or name.startswith(f"{task}/"))


def info(name: str) -> Recipe:
    """What a recipe is made of and where it comes from."""
    if name not in RECIPES:
        raise ArgumentError(f"recipes: got {name!r}; {nearest(name, RECIPES)}")
    return RECIPES[name]


def create(name: str, *, sample_rate: int) -> WeightedSum | Balanced:
    """Build the loss of a recipe.

    Args:
        name: As in ``list()``.
        sample_rate: Of the signals it will see [Hz].

    Raises:
        SampleRateError: The recipe was not published for this rate.
    """
    recipe = info(name)
    terms = {key: (weight, Loss(measure)) for key, (weight, measure) in recipe.terms(sample_rate).items()}
    return WeightedSum(terms) if recipe.balanced is None else Balanced(terms, extra=recipe.balanced)


class _Windowed(Stft):
    """With another window than Hann's, and scaled as that is."""

    def __init__(self, window: Tensor, hop_length: int, kind: str) -> None:
        super().__init__(len(window), hop_length)
        self.kind = kind
        self.constant("window", window / (window.sum() / 2))

    def extra_repr(self) -> str:
        """Which one."""
        return str(self.kind)


def _scale(win_length: int) -> float:
    """Magnitude that a full-scale sine has in an unscaled transform with a Hann window: half the window's sum."""
    return win_length / 4


def _db(power: float) -> float:
    return 10 * math.log10(power)


def _bs_roformer(_: int) -> Terms:
    terms: Terms = {"wave": (1.0, MAE())}
    for window in (4096, 2048, 1024, 512, 256):
        n_fft = max(window, 2048)
        # A mean over bins there, a sum over them here.
        weight = _scale(window) / (n_fft // 2 + 1)
        terms[f"complex_{window}"] = weight, ComplexSTFTDistance(n_fft, 147, window, floor_db=-180.0)
    return terms


def _open_unmix(_: int) -> Terms:
    measure = CompressedSTFTDistance(4096, 1024, compression=1.0, complex_weight=0.0, floor_db=-160.0)
    return {"magnitude": (_scale(4096) ** 2, measure)}


def _stft(share: float) -> Callable[[int], Terms]:
    """Yamamoto's three resolutions, ``share`` of spectral convergence and as much of log magnitude in their mean."""

    def build(_: int) -> Terms:
        return {
            f"stft_{n_fft}": (
                share / 3,
                # Their floor of 1e-7 is under the power of an unscaled transform.
                STFTDistance(n_fft, hop, window, floor_db=_db(1e-7 / _scale(window) ** 2)),
            )
            for n_fft, hop, window in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
        }

    return build


def _denoiser(sample_rate: int) -> Terms:
    return {"wave": (1.0, MAE()), **_stft(0.5)(sample_rate)}


def _compressed(front: Stft, weight: float, share: float, floor: float) -> tuple[float, Measure]:
    """Squared error of magnitudes and of complex spectra, both to the power 0.3, as an unscaled transform has them."""
    scale = float(1 / front.window.max())  # what this package divides a window by, where its peak was 1
    floor_db = _db(floor / scale**2)
    measure = CompressedSTFTDistance(
        front.n_fft, front.hop_length, compression=0.3, complex_weight=share, floor_db=floor_db
    )
    measure.transform(front)
    return weight * scale**0.6, measure


def _mp_senet(_: int) -> Terms:
    return {
        "compressed": _compressed(Stft(400, 100), 1.0, 0.1, 1e-9),
        "phase": (0.3, AntiWrappingPhaseDistance(400, 100, weight="none")),
        "wave": (0.2, MAE()),
    }


def _cmgan(_: int) -> Terms:
    hamming = torch.hamming_window(400, periodic=True, dtype=torch.float64)
    # The paper's code has no floor; this one is far below what float32 resolves of a spectrum.
    compressed = _compressed(_Windowed(hamming, 100, "hamming"), 1.0, 0.1, db_to_power(-100.0))
    return {"compressed": compressed, "wave": (0.2, MAE())}


def _gtcrn(_: int) -> Terms:
    sine = torch.hann_window(512, periodic=True, dtype=torch.float64).sqrt()
    compressed = _compressed(_Windowed(sine, 256, "sqrt_hann"), 100.0, 0.3, 1e-12)
    return {"compressed": compressed, "si_sdr": (0.1, SISDR())}  # their logarithm is in bel


def _dac_mel(sample_rate: int) -> Terms:
    terms: Terms = {}
    for n_mels, n_fft in zip((5, 10, 20, 40, 80, 160, 320), (32, 64, 128, 256, 512, 1024, 2048), strict=True):
        floor_db = _slaney_floor_db(1e-5, sample_rate, n_fft)
        measure = MelDistance(sample_rate, n_mels=n_mels, n_fft=n_fft, floor_db=floor_db)
        terms[f"mel_{n_fft}"] = 15 / math.log(10), measure  # a sum over scales, of decadic logarithms
    return terms


def _slaney_floor_db(floor: float, sample_rate: int, n_fft: int) -> float:
    """A floor under Slaney's bands, as one under magnitudes here: their weights sum to n_fft / sample_rate, not 1."""
    return 2 * _db(floor * sample_rate / n_fft / _scale(n_fft))


def _hifigan(sample_rate: int) -> Terms:
    floor_db = _slaney_floor_db(1e-5, sample_rate, 1024)
    return {"mel": (45.0, MelDistance(sample_rate, n_mels=80, n_fft=1024, hop_length=256, floor_db=floor_db))}


def _vocos(sample_rate: int) -> Terms:
    # The floor there, 1e-7 under an unscaled magnitude, is below anything that float32 resolves.
    mel = MelDistance(
        sample_rate, n_mels=100, n_fft=1024, hop_length=256, scale="mel_htk", floor_db=2 * _db(1e-7 / _scale(1024))
    )
    return {"mel": (45.0, mel)}


# What is left is rounding.
EXACT = (1e-9, 1 - 1e-9)
_DAC_OUTSIDE = (
    Outside(1.0, "LSGAN loss of the generator, summed over multi-period and multi-resolution discriminators"),
    Outside(2.0, "feature matching, summed over all their layers"),
)
_CLAMP = "floors are added and not clamped to, so that quiet bins keep a gradient"
_PER_ITEM = "spectral convergence is taken per item and averaged; there, once over the batch"

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="mss/bs-roformer",
            title="Band-split RoPE transformer: music separation",
            build=_bs_roformer,
            sample_rates=frozenset({44_100}),
            agreement=(1e-5, 1 - 1e-6),
            cite=("lu2024",),
            code="ZFTurbo/Music-Source-Separation-Training@0285528 models/bs_roformer/bs_roformer.py",
        ),
        Recipe(
            name="mss/htdemucs",
            title="Hybrid transformer Demucs: music separation",
            build=lambda _: {"wave": (1.0, MAE())},
            sample_rates=frozenset({44_100}),
            agreement=EXACT,
            cite=("rouard2023", "defossez2019"),
            code="facebookresearch/demucs conf/config.yaml",
        ),
        Recipe(
            name="mss/open-unmix",
            title="Open-Unmix: music separation by magnitudes",
            build=_open_unmix,
            sample_rates=frozenset({44_100}),
            agreement=(0.03, 0.98),
            cite=("stoter2019",),
            code="sigsep/open-unmix-pytorch@283e111 scripts/train.py",
            notes=(
                "there it judges the network's magnitudes, here those of the waveform",
                "frames are centred, so that the ends of a signal are heard as the rest is",
            ),
        ),
        Recipe(
            name="mss/logwmse",
            title="Music separation where a stem may be silent",
            build=lambda rate: {"log_wmse": (1.0, LogWMSE(rate))},
            sample_rates=frozenset({44_100}),
            agreement=EXACT,
            cite=("jordal2023",),
            code="crlandsc/torch-log-wmse 1.1.0",
            notes=("gradients have to be clipped: they grow as the estimate gets better",),
        ),
        Recipe(
            name="sep/speech-sisdr",
            title="SepFormer and its kind: speakers apart, in no order",
            build=lambda _: {"si_sdr": (1.0, PermutationInvariant(SISDR(zero_mean=True)))},
            sample_rates=None,
            agreement=EXACT,
            cite=("subakan2021", "kolbaek2017", "leroux2019"),
            code="speechbrain/speechbrain recipes/WSJ0Mix/separation/hparams/sepformer.yaml",
            notes=(
                "there, mixtures separated better than 30 dB are left out of a batch: give them weight=0",
                "a floor of 1e-8 under the energies is left out, which is heard below -60 dBFS",
            ),
        ),
        Recipe(
            name="sep/mixit",
            title="Separation learnt from mixtures of mixtures",
            build=lambda _: {"snr": (2.0, MixtureInvariant())},  # a sum over two mixtures there
            sample_rates=None,
            agreement=EXACT,
            cite=("wisdom2020",),
        ),
        Recipe(
            name="se/demucs-denoiser",
            title="Demucs denoiser: speech enhancement in the time domain",
            build=_denoiser,
            sample_rates=frozenset({16_000}),
            agreement=(1e-3, 0.98),
            cite=("defossez2020", "yamamoto2020"),
            code="facebookresearch/denoiser@606d769 conf/config.yaml, with stft_loss=True",
            notes=(_PER_ITEM, _CLAMP),
        ),
        Recipe(
            name="se/mp-senet",
            title="MP-SENet: magnitude and phase in parallel",
            build=_mp_senet,
            sample_rates=frozenset({16_000}),
            agreement=(1e-4, 1 - 1e-4),
            cite=("lu2023", "ai2023"),
            code="yxlu-0102/MP-SENet@17564b3 train.py",
            notes=(
                "bring the noisy signal to a mean square of 1, and the clean one by the same gain, as there",
                "there it judges the network's magnitude and phase, here those of the waveform, to which the "
                "consistency term of weight 0.1 is 0",
                "phases of bins that are all but silent count as unrelated, where 1e-5 is added to the real part",
            ),
            outside=(Outside(0.05, "squared error of a metric discriminator's score and 1"),),
        ),
        Recipe(
            name="se/cmgan",
            title="CMGAN: conformer-based metric GAN",
            build=_cmgan,
            sample_rates=frozenset({16_000}),
            agreement=(1e-6, 1 - 1e-6),
            cite=("cao2022",),
            code="ruizhecao96/CMGAN@1415c78 src/train.py",
            notes=(
                "bring the noisy signal to a mean square of 1, and the clean one by the same gain, as there",
                "there it judges the network's spectrum, here that of the waveform",
            ),
            outside=(Outside(0.05, "squared error of a metric discriminator's score and 1"),),
        ),
        Recipe(
            name="se/gtcrn",
            title="GTCRN: speech enhancement on a small device",
            build=_gtcrn,
            sample_rates=frozenset({16_000}),
            agreement=EXACT,
            cite=("rong2024",),
            code="Xiaobin-Rong/gtcrn@ac541b7 loss.py",
            notes=("there it judges the network's spectrum, here that of the waveform",),
        ),
        Recipe(
            name="codec/encodec",
            title="EnCodec: neural codec with balanced gradients",
            build=lambda rate: {"wave": (0.1, MAE()), "mel": (2.0, MultiScaleMelDistance(rate))},
            sample_rates=frozenset({24_000, 48_000}),
            agreement=None,
            cite=("defossez2023",),
            code="facebookresearch/audiocraft@bf70522 config/solver/compression/default.yaml",
            notes=(
                "the mel term is another: there 64 bands at each of five scales, which leaves bands empty, as the L1 "
                "of powers and the L2 of their logarithms. Balanced, its scale does not matter; between the two "
                "gradients on speech is a cosine of 0.8",
                "items are averaged, where there they are summed: divide the commitment by the items of a device's "
                "batch, or its weight beside the balanced terms is as many times larger than there",
            ),
            outside=(
                Outside(4.0, 'hinge loss of a multi-scale STFT discriminator, as extra={"adversarial": ...}'),
                Outside(4.0, 'L1 feature matching, as extra={"feature": ...}'),
                Outside(1.0, "commitment of the quantiser, on the encoder and beside the balance"),
            ),
            balanced={"adversarial": 4.0, "feature": 4.0},
        ),
        Recipe(
            name="codec/dac",
            title="Descript audio codec",
            build=_dac_mel,
            sample_rates=frozenset({16_000, 24_000, 44_100}),
            agreement=(0.03, 0.99),
            cite=("kumar2023",),
            code="descriptinc/descript-audio-codec@d36bd8c conf/final/44khz.yml",
            notes=(_CLAMP,),
            outside=(
                *_DAC_OUTSIDE,
                Outside(0.25, "commitment of the quantiser"),
                Outside(1.0, "codebook loss of the quantiser"),
            ),
        ),
        Recipe(
            name="voc/bigvgan-v2",
            title="BigVGAN v2: universal vocoder",
            build=_dac_mel,
            sample_rates=frozenset({22_050, 24_000, 44_100}),
            agreement=(0.03, 0.99),
            cite=("lee2023", "kumar2023"),
            code="NVIDIA/BigVGAN@88e8e60 loss.py",
            notes=(_CLAMP,),
            outside=(
                Outside(1.0, "LSGAN loss of the generator, summed over multi-period and constant-Q discriminators"),
                Outside(2.0, "feature matching, summed over all their layers"),
            ),
        ),
        Recipe(
            name="voc/hifigan",
            title="HiFi-GAN: vocoder for speech",
            build=_hifigan,
            sample_rates=frozenset({22_050}),
            agreement=(1e-3, 1 - 1e-6),
            cite=("kong2020",),
            code="jik876/hifi-gan@3484fe6 train.py",
            notes=(
                "frames stand 128 samples earlier, which is nothing to random excerpts",
                _CLAMP,
            ),
            outside=(
                Outside(1.0, "LSGAN loss of the generator, summed over 8 discriminators"),
                Outside(2.0, "feature matching, summed over all their layers"),
            ),
        ),
        Recipe(
            name="voc/vocos",
            title="Vocos: Fourier-domain vocoder",
            build=_vocos,
            sample_rates=frozenset({24_000}),
            agreement=EXACT,
            cite=("siuzdak2023",),
            code="gemelo-ai/vocos@11b4628 configs/vocos.yaml",
            outside=(
                Outside(1.0, "hinge loss and feature matching of multi-period discriminators, averaged over them"),
                Outside(0.1, "the same of multi-resolution discriminators"),
            ),
        ),
        Recipe(
            name="voc/pwg",
            title="Parallel WaveGAN: vocoder for speech",
            build=_stft(1.0),
            sample_rates=frozenset({22_050, 24_000}),
            agreement=(1e-3, 0.97),
            cite=("yamamoto2020",),
            code="kan-bayashi/ParallelWaveGAN@16c43d6 egs/ljspeech/voc1/conf/parallel_wavegan.v1.yaml",
            notes=(_PER_ITEM, _CLAMP),
            outside=(Outside(4.0, "LSGAN loss of the generator, from step 100 000 on"),),
        ),
        Recipe(
            name="fx/esr-dc",
            title="Amplifiers and pedals by recurrent networks",
            build=lambda _: {"esr": (1.0, ESR(pre_emphasis=0.95)), "dc": (1.0, DC())},
            sample_rates=frozenset({44_100}),
            agreement=EXACT,
            cite=("wright2020",),
        ),
    )
}
