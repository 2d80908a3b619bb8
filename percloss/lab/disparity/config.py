"""What is trained, on how much, and what is expected of it: all of it written down before anything runs."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from percloss import __version__
from percloss._nearest import nearest_and_all
from percloss.errors import ArgumentError

__all__ = [
    "BASELINE",
    "BUDGETS",
    "CONTRASTS",
    "LEVEL",
    "LEVEL_ABOVE",
    "LOSSES",
    "MUTE_DB",
    "NO_COST_DB",
    "Budget",
    "Comparison",
    "Config",
    "Hypothesis",
    "Objective",
    "chosen",
    "hypotheses",
    "plain",
    "versions",
]

LEVEL, LEVEL_ABOVE = "level", "level_above_4k"
"""Names of the estimate's level and of its level above 4 kHz, both relative to the reference [dB]."""

NO_COST_DB = 0.25
"""Up to which loss of SI-SDR "at no cost" is said."""

MUTE_DB = 6.0
"""From which loss of level above 4 kHz "mutes" is said."""

BASELINE = "si_sdr"
"""The model that the others are held against in the tables."""


@dataclass(frozen=True)
class Objective:
    """One way to train the network.

    Args:
        title: What people call it.
        loss: The expression that the trainers take.
        adversarial: Share of a discriminator, and of the matching of its features, beside a share of 1 for the loss;
            0 is the adversarial trainer without one, ``None`` the plain trainer.
    """

    title: str
    loss: str
    adversarial: float | None = None


LOSSES: dict[str, Objective] = {
    "si_sdr": Objective("SI-SDR", "si_sdr"),
    "compressed": Objective("Compressed complex spectrum", "compressed_stft"),
    "mse_magnitude": Objective("Squared magnitudes", "compressed_magnitude(compression=1.0)"),
    "si_sdr_masking": Objective("SI-SDR and masking", "balanced: si_sdr + nmr"),
    "l1_magnitude": Objective("Absolute magnitudes", "compressed_magnitude(compression=1.0, norm='l1')"),
    "mrstft": Objective("Multi-resolution STFT", "mrstft", adversarial=0.0),
    "mel": Objective("Multi-scale mel", "multi_scale_mel"),
    "masking": Objective("Masking alone", "nmr"),
    "snr_masking": Objective("SNR and masking", "balanced: snr + nmr"),
    "mrstft_gan": Objective("Multi-resolution STFT and discriminator", "mrstft", adversarial=1.0),
    "features": Objective("Features of random convolutions", "random_convolution"),
}
"""Name and loss of every model. The first four are trained where none are asked for."""

SMALL_LOSSES = tuple(LOSSES)[:4]

CONTRASTS: tuple[tuple[str, str], ...] = (
    ("mrstft_gan", "mrstft"),
    ("si_sdr_masking", "si_sdr"),
    ("snr_masking", "si_sdr"),
    ("compressed", "si_sdr"),
)
"""Pairs of models that differ in one thing: something added to the loss of the second, or another in its place."""


@dataclass(frozen=True)
class Budget:
    """How much is trained and scored.

    Args:
        model: The network, as the trainers take it.
        steps: Of each training.
        batch: Items of a step.
        segment: Length of an item [samples].
        lr: Highest rate of learning.
        ema: Decay of the average of weights that is scored.
        clips: Held-out mixtures.
        seconds: Length of each [s].
        snr_db: Their lowest and highest ratio of speech to noise [dB].
        listen: How many of them are kept to be listened to.
        mask_clips: How many are estimated without training.
        mask_steps: Of each such estimate.
        amp: Whether the network runs in bfloat16.
        workers: Processes that prepare the data of a training.
        checkpoints: Whether a training that was killed goes on where it was; else it begins again.
    """

    model: str = "small"
    steps: int = 300
    batch: int = 8
    segment: int = 16_128
    lr: float = 2e-3
    ema: float = 0.99
    clips: int = 24
    seconds: float = 4.0
    snr_db: tuple[float, float] = (0.0, 15.0)
    listen: int = 2
    mask_clips: int = 2
    mask_steps: int = 120
    amp: bool = False
    workers: int = 0
    checkpoints: bool = False


BUDGETS: dict[str, Budget] = {
    "small": Budget(),
    "full": Budget(
        model="unet(n_fft=1024, hop_length=256, attention=True, compression=0.3, dropout=0.0)",
        steps=8000,
        batch=32,
        segment=32_512,
        lr=5e-4,
        ema=0.999,
        clips=48,
        mask_clips=4,
        amp=True,
        workers=8,
        checkpoints=True,
    ),
}
"""By name: ``small`` is for two CPU cores, ``full`` for a GPU."""


@dataclass(frozen=True)
class Comparison:
    """What a hypothesis says of two models: one is ahead of the other in one measure.

    Args:
        ahead: The model that should be better.
        behind: The other one.
        measure: In what.
        by: By more than this, in the measure's unit; below 0 it may be worse by so much.
    """

    ahead: str
    behind: str
    measure: str
    by: float = 0.0


@dataclass(frozen=True)
class Hypothesis:
    """A claim, and the comparisons that would show it."""

    name: str
    claim: str
    comparisons: tuple[Comparison, ...]


def hypotheses(pesq: str) -> tuple[Hypothesis, ...]:
    """What is expected, before anything ran.

    Args:
        pesq: Name of the measure that stands for PESQ: ``pesq_wb``, or ``pesq_like`` where that is not installed.
    """
    visqol, gan, plain = "visqol_speech", "mrstft_gan", "mrstft"
    return (
        Hypothesis(
            "H1",
            "Training on SI-SDR leads in SI-SDR, training on compressed complex spectra in ViSQOL and NMR.",
            (*_leads("si_sdr", "si_sdr"), *_leads("compressed", visqol), *_leads("compressed", "nmr")),
        ),
        Hypothesis(
            "H2",
            "A discriminator costs SI-SDR and gains ViSQOL.",
            (Comparison(plain, gan, "si_sdr"), Comparison(gan, plain, visqol)),
        ),
        Hypothesis(
            "H3a",
            "A masking loss alone learns to mute, and its own measure praises it for that.",
            (
                Comparison("si_sdr", "masking", LEVEL_ABOVE, by=MUTE_DB),
                Comparison("si_sdr", "masking", "si_sdr"),
                Comparison("si_sdr", "masking", "stoi"),
                Comparison("masking", "si_sdr", "nmr"),
            ),
        ),
        Hypothesis(
            "H3b",
            "Balanced with SI-SDR, a masking loss gains perceptual scores at no cost in SI-SDR.",
            (
                *(Comparison("si_sdr_masking", "si_sdr", measure) for measure in (pesq, visqol, "nmr")),
                Comparison("si_sdr_masking", "si_sdr", "si_sdr", by=-NO_COST_DB),
            ),
        ),
        Hypothesis(
            "H4",
            "The network trained with a discriminator leads everywhere.",
            tuple(each for measure in ("sdr", "mse", "bss_sir", pesq, visqol) for each in _leads(gan, measure)),
        ),
    )


def _leads(model: str, measure: str) -> tuple[Comparison, ...]:
    """Ahead of each of the others."""
    return tuple(Comparison(model, other, measure) for other in LOSSES if other != model)


@dataclass(frozen=True)
class Config:
    """A run.

    Args:
        losses: Models to train, by name.
        seeds: Of their first weights and the order of the data; each model is trained once with each.
        measures: That score them, by name.
        pesq: Which of them stands for PESQ.
        budget: How much of it.
        threads: Of torch in each process. Sums depend on it, and so do the numbers.
        device: Where the networks are trained; they are scored on the CPU.
    """

    losses: tuple[str, ...]
    seeds: tuple[int, ...]
    measures: tuple[str, ...]
    pesq: str
    budget: Budget = field(default_factory=Budget)
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ArgumentError(
                f"disparity: got seeds {self.seeds}; needed are different whole numbers from 0 up: --seeds 0,1,2."
            )
        least = ("steps", "batch", "segment", "clips")
        low = {name: getattr(self.budget, name) for name in least if getattr(self.budget, name) < 1}
        if low or self.threads < 1:
            raise ArgumentError(
                f"disparity: got {low or self.threads}; needed are steps, batch, segment, clips and threads of 1 or "
                f"more: --steps 300 --threads 1."
            )

    @property
    def deciding(self) -> dict[str, Any]:
        """All that decides the numbers of a model, as JSON has it: two runs that share it share their models."""
        return {
            **plain(asdict(self.budget)),
            "measures": list(self.measures),
            "threads": self.threads,
            "device": self.device,
            "expressions": {name: [each.loss, each.adversarial] for name, each in LOSSES.items()},
            "hypotheses": [plain(asdict(each)) for each in hypotheses(self.pesq)],
            "versions": versions(self.measures),
        }


def chosen(names: str) -> tuple[str, ...]:
    """Models from what was typed: names with commas between, ``all``, or nothing for the first four.

    Raises:
        ArgumentError: A name that there is not; the nearest is proposed.
    """
    asked = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not asked:
        return SMALL_LOSSES
    if asked == ("all",):
        return tuple(LOSSES)
    for name in asked:
        if name not in LOSSES:
            raise ArgumentError(f"disparity: losses={name!r} came; {nearest_and_all(name, ('all', *LOSSES))}")
    return tuple(name for name in LOSSES if name in asked)


def versions(measures: Sequence[str]) -> dict[str, str]:
    """Of all that makes the numbers."""
    from percloss.measure import find

    used = {"torch", "numpy", "scipy", *(find(name).spec.implementation or "torch" for name in measures)}
    found = {"percloss": __version__, "Python": platform.python_version()}
    for name in sorted(used):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def plain(value: Any) -> Any:
    """The same with lists for tuples, as JSON gives them back."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value
