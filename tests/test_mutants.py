"""Seven deliberate faults, each of a kind seen in a published package, and the rules of the contract that kill them.

As a script it prints the table: ``python tests/test_mutants.py``. A contract that lets one of them live is broken.
"""

import dataclasses

import pytest
import torch
from torch import Tensor

from percloss import Measure, STFTDistance
from percloss.errors import ContractError
from percloss.testing import RULES, check_measure

RATE = 16_000
# No fault here is about compilation, which takes longest, or about documentation.
TRIED = [name for name in RULES if name not in ("compiles", "is_documented")]


class Sound(Measure):
    """A log-magnitude distance without a fault.  Lower is better.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).
    """

    spec = dataclasses.replace(
        STFTDistance.spec, name="mutant", invariant_to=frozenset({"polarity", "swap"}), cite=("none",)
    )
    min_samples = 256
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(512, dtype=torch.float64), persistent=False)

    def _apply(self, fn, recurse=True):
        window = self.window
        super()._apply(fn, recurse)
        self.window = window.to(self.window.device)
        return self

    def power(self, x: Tensor) -> Tensor:
        batch, channels, time = x.shape
        spectrum = torch.stft(x.reshape(-1, time), 512, 128, window=self.window.to(x.dtype), return_complex=True)
        return torch.view_as_real(spectrum).square().sum(-1).view(batch, channels, *spectrum.shape[1:])

    def log_magnitude(self, x: Tensor) -> Tensor:
        return 0.5 * (self.power(x) + 1e-8).log()

    def compare(self, est: Tensor, ref: Tensor) -> Tensor:
        return (self.log_magnitude(est) - self.log_magnitude(ref)).abs().flatten(2).mean(-1)


class ClampsInsteadOfAdding(Sound):
    """The gradient is exactly zero wherever the power is under the clamp."""

    def log_magnitude(self, x: Tensor) -> Tensor:
        return 0.5 * self.power(x).clamp(min=1e-3).log()


class NormalisesOverTheBatch(Sound):
    """Spectral convergence with one norm for the whole batch."""

    spec = dataclasses.replace(Sound.spec, invariant_to=frozenset({"polarity", "level"}))

    def compare(self, est: Tensor, ref: Tensor) -> Tensor:
        est, ref = ((self.power(x) + 1e-8).sqrt() for x in (est, ref))
        return torch.linalg.vector_norm((est - ref).flatten(2), dim=-1) / torch.linalg.vector_norm(ref)


class ClaimsTheWrongDirection(Sound):
    """A distance that says more of it is better."""

    spec = dataclasses.replace(Sound.spec, better="higher")


class ClaimsAFalseInvariance(Sound):
    """A distance of levels that says it does not hear the estimate's."""

    spec = dataclasses.replace(Sound.spec, invariant_to=Sound.spec.invariant_to | {"gain"})


class SavesItsWindow(Sound):
    """A persistent buffer: every checkpoint of the user's model carries it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(512, dtype=torch.float64))


class HoldsItsWindowLoosely(Sound):
    """A plain attribute where a buffer belongs: it stays behind when the model moves."""

    def __init__(self) -> None:
        super().__init__()
        del self.window
        self.window = torch.hann_window(512, dtype=torch.float64)


class FlattensTheWrongAxis(Sound):
    """Averages over channels and spreads the mean over them."""

    def compare(self, est: Tensor, ref: Tensor) -> Tensor:
        difference = (self.log_magnitude(est) - self.log_magnitude(ref)).abs()
        return difference.flatten(1).mean(-1, keepdim=True).expand(est.shape[:2])


MUTANTS = [
    ClampsInsteadOfAdding,
    NormalisesOverTheBatch,
    ClaimsTheWrongDirection,
    ClaimsAFalseInvariance,
    SavesItsWindow,
    HoldsItsWindowLoosely,
    FlattensTheWrongAxis,
]
# The rule that is there for this fault; others may break as well.
KILLED_BY = {
    ClampsInsteadOfAdding: "gradient_is_alive",
    NormalisesOverTheBatch: "items_never_mix",
    ClaimsTheWrongDirection: "worse_is_worse",
    ClaimsAFalseInvariance: "hears_what_it_claims",
    SavesItsWindow: "owns_no_state",
    HoldsItsWindowLoosely: "owns_no_state",
    FlattensTheWrongAxis: "channels_keep_their_place",
}


def broken_rules(mutant: type[Sound]) -> list[str]:
    """The rules a mutant does not survive."""
    broken = []
    for rule in TRIED:
        try:
            check_measure(mutant(), sample_rate=RATE, rules=[rule])
        except ContractError:
            broken.append(rule)
    return broken


def test_a_measure_without_a_fault_lives() -> None:
    assert broken_rules(Sound) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_contract_kills(mutant: type[Sound]) -> None:
    assert KILLED_BY[mutant] in broken_rules(mutant)


if __name__ == "__main__":
    for measure in [Sound, *MUTANTS]:
        print(f"{measure.__name__:26}{', '.join(broken_rules(measure)) or 'lives'}")
