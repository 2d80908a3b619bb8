"""The held-out mixtures, and every measure of the catalogue that can be taken of them."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from percloss.dsp.safe import ratio_db
from percloss.errors import PerclossError
from percloss.evaluation import evaluate, signature
from percloss.lab.data import EmbeddedSpeech
from percloss.lab.disparity.config import LEVEL, LEVEL_ABOVE, Budget
from percloss.measure import Measure, catalogue, create, find

__all__ = ["RATE", "Held", "Scorer", "Scores", "held_out", "suiting"]

RATE = 16_000
# Of the held-out mixtures, whatever the seeds of the trainings.
_SEED = 1
_HIGH_HZ = 4000
_GIVEN = frozenset({"mix", "interferer"})
# Both are PESQ in wide band: the second stands in where the first is not installed.
PESQ, PESQ_LIKE = "pesq_wb", "pesq_like"


class Held(NamedTuple):
    """Mixtures that no training has heard, ``(clips, 1, time)`` at 16 kHz; ``mix`` is ``speech + noise``."""

    mix: Tensor
    speech: Tensor
    noise: Tensor
    names: tuple[str, ...]

    def first(self, count: int) -> "Held":
        """Some of them."""
        return Held(self.mix[:count], self.speech[:count], self.noise[:count], self.names[:count])


class Scores(NamedTuple):
    """A value for each clip by measure, ``None`` where it has none, and why not."""

    values: dict[str, list[float | None]]
    reasons: dict[str, dict[str, str]]


def held_out(budget: Budget) -> Held:
    """Stretches of the speech that is kept for testing, in noise."""
    data = EmbeddedSpeech(
        "test", segment=round(budget.seconds * RATE), snr_db=budget.snr_db, items=budget.clips, seed=_SEED
    )
    examples = list(data)
    mix, speech = (torch.stack(waves) for waves in zip(*((each.mix, each.target[0]) for each in examples), strict=True))
    return Held(mix, speech, mix - speech, tuple(f"{at:02d} {each.name}" for at, each in enumerate(examples)))


def suiting() -> tuple[tuple[str, ...], str, dict[str, str]]:
    """The measures that can be taken, which of them stands for PESQ, and of the others why not."""
    names: list[str] = []
    left_out: dict[str, str] = {}
    for name in catalogue():
        try:
            spec = find(name).spec
            if spec.alone:
                left_out[name] = "takes no reference"
            elif spec.takes == "mixtures":
                left_out[name] = "needs several mixtures"
            elif not set(spec.needs) <= _GIVEN:
                left_out[name] = f"needs {' and '.join(spec.needs)}"
            elif spec.sample_rates is not None and RATE not in spec.sample_rates:
                left_out[name] = f"defined at {spec.rates()} Hz only"
            else:
                create(name, sample_rate=RATE)
                names.append(name)
        except PerclossError as error:
            left_out[name] = str(error)
    return tuple(names), PESQ if PESQ in names else PESQ_LIKE, left_out


class Scorer:
    """Takes every measure of estimates of the speech in the held-out mixtures.

    Where a measure takes sources they are speech and noise, of which the estimate is what is left of the mixture.

    Args:
        measures: By name.
        held: The mixtures.
    """

    def __init__(self, measures: Sequence[str], held: Held) -> None:
        self.names, self.held = tuple(measures), held

    @cached_property
    def _built(self) -> dict[str, Measure]:
        return {name: create(name, sample_rate=RATE) for name in self.names}

    @property
    def signatures(self) -> dict[str, str]:
        """By which recipe each number is made."""
        return {name: signature(measure, RATE) for name, measure in self._built.items()}

    def score(self, est: Tensor) -> Scores:
        """Of estimates as many as there are mixtures, in their order; at full length, on the CPU."""
        held = self.held
        several = {name: measure for name, measure in self._built.items() if measure.spec.several}
        single = [measure for name, measure in self._built.items() if name not in several]
        values = evaluate(est, held.speech, RATE, single, mix=held.mix, interferer=held.noise)
        if several:
            found = evaluate(*self._sources(est), RATE, several.values())
            values.update({name: of_each[:, :1] for name, of_each in found.items()})
        rows = {name: _numbers(values[name].mean(1)) for name in self.names}
        reasons = {
            name: {held.names[at]: self._why(name, est, at) for at, value in enumerate(row) if value is None}
            for name, row in rows.items()
        }
        rows.update({name: _numbers(values) for name, values in levels(est, held.speech).items()})
        return Scores(rows, {name: why for name, why in reasons.items() if why})

    def _sources(self, est: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates and truth of speech and noise, (clips, 2, 1, time).

        The ratios of the speech do not depend on what stands for the noise, but are not defined where that is silent,
        as it is where the estimate is the mixture itself.
        """
        held = self.held
        rest = held.mix - est
        rest = torch.where(rest.any(-1, keepdim=True), rest, held.mix)
        return torch.stack((est, rest), 1), torch.stack((held.speech, held.noise), 1)

    def _why(self, name: str, est: Tensor, at: int) -> str:
        measure, held, item = self._built[name], self.held, slice(at, at + 1)
        if measure.spec.several:
            both_est, both_ref = self._sources(est)
            return measure.reason(both_est[item], both_ref[item])
        given = {"mix": held.mix[item], "interferer": held.noise[item]}
        return measure.reason(est[item], held.speech[item], **{need: given[need] for need in measure.spec.needs})


def levels(est: Tensor, ref: Tensor) -> dict[str, Tensor]:
    """Level of the estimate, and of what it holds above 4 kHz, over that of the reference [dB].

    They are no measures: neither more nor less is better, except that 0 dB is right.

    Shape:
        est, ref: (clips, 1, time). Returns (clips,) each.
    """
    powers = [torch.fft.rfft(x[:, 0].double()).abs().square() for x in (est, ref)]
    first = round(_HIGH_HZ * est.shape[-1] / RATE)
    both = {LEVEL: powers, LEVEL_ABOVE: [power[:, first:] for power in powers]}
    return {name: ratio_db(*(power.sum(-1) for power in pair)) for name, pair in both.items()}


def _numbers(values: Tensor) -> list[float | None]:
    """To nine digits, which is all that float32 has; ``None`` for what is no number."""
    return [float(f"{value:.9g}") if value == value else None for value in values.double().tolist()]
