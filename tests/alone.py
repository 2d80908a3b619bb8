"""A measure that takes no reference and costs nothing, for tests of what is done with such."""

import dataclasses
import math

from torch import Tensor

from percloss import Measure, Spec
from percloss.dsp.safe import undefined_where


class Level(Measure):
    """Level of a signal in dB re full scale.  Higher is better; silence has none.

    Shape:
        est: (batch, channels, time). Returns (batch, channels).
    """

    spec = Spec(
        name="level",
        title="Level",
        unit="dB",
        better="higher",
        bounds=(-math.inf, math.inf),
        perfect=None,
        takes="alone",
        silent_reference="undefined",
        invariant_to=frozenset({"polarity"}),
    )

    def compare(self, est: Tensor) -> Tensor:
        power = est.square().mean(-1)
        return undefined_where((est == 0).all(-1), 10 * (power + 1e-20).log10())


class DeafLevel(Level):
    """Claims that it does not hear the level, which is all it hears.

    Shape:
        est: (batch, channels, time). Returns (batch, channels).
    """

    spec = dataclasses.replace(Level.spec, name="deaf_level", invariant_to=frozenset({"gain", "polarity"}))
