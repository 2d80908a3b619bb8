"""Speech quality by the reference package: PESQ (pesq, a build of ITU's C code)."""

import math
import subprocess
import sys
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from percloss._optional import require
from percloss._typing import PerItem, Wave
from percloss.measure import Measure, check_rate, register
from percloss.spec import Spec

Array: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]

# ITU's code keeps utterances in a table of 50 rows and writes past its end, which kills the process. An utterance and
# the pause after it last 400 ms at least, so that nothing under this many seconds can overrun the table.
SAFE_SECONDS = 20.0

_TOO_MANY = "more utterances than pesq can hold (50): score shorter excerpts"
# Four minutes of speech take it 17 s; eight have been seen to take it for ever.
_SECONDS_AT_LEAST = 60.0

_PESQ_ALONE = """
import sys, numpy, pesq
rate, mode = int(sys.argv[1]), sys.argv[2]
ref, est = numpy.frombuffer(sys.stdin.buffer.read(), numpy.float32).reshape(2, -1)
print(repr(float(pesq.pesq(rate, ref, est, mode))))
"""


def _arrays(x: Tensor) -> Iterator[Array]:
    return iter(x.detach().cpu().flatten(0, -2).numpy())


class _PESQ(Measure):
    """Calls the package, channel by channel; the two final classes say at which rates and in which of its modes."""

    mode: str

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        check_rate(self.spec, sample_rate)
        self.sample_rate = sample_rate
        require("pesq", extra="speech")

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        pairs = zip(_arrays(est), _arrays(ref), strict=True)
        return est.new_tensor([self._outcome(e, r)[0] for e, r in pairs]).view(est.shape[:2])

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        outcomes = [self._outcome(e, r)[1] for e, r in zip(_arrays(est), _arrays(ref), strict=True)]
        return next((reason for reason in outcomes if reason), "not defined for this item")

    def _outcome(self, est: Array, ref: Array) -> tuple[float, str]:
        """The value and an empty string, or nan and why."""
        if not ref.any() or not est.any():
            return math.nan, f"{'estimate' if ref.any() else 'reference'} is silent"
        if est.size > SAFE_SECONDS * self.sample_rate:
            return self._outcome_alone(est, ref)
        backend = require("pesq", extra="speech")
        try:
            return float(backend.pesq(self.sample_rate, ref, est, self.mode)), ""
        except backend.NoUtterancesError:
            return math.nan, "no utterance detected"
        except backend.BufferTooShortError:
            return math.nan, "shorter than 0.25 s"
        except ValueError as error:  # what the package makes of a nan inside
            return math.nan, f"pesq failed: {error}"

    def _outcome_alone(self, est: Array, ref: Array) -> tuple[float, str]:
        """The same in a process of its own, which may die."""
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PESQ_ALONE, str(self.sample_rate), self.mode],
                input=np.stack([ref, est]).astype(np.float32).tobytes(),
                capture_output=True,
                check=False,
                timeout=_SECONDS_AT_LEAST + est.size / self.sample_rate,
            )
        except subprocess.TimeoutExpired:  # minutes of speech can keep it for ever
            return math.nan, _TOO_MANY
        if done.returncode == 0:
            return float(done.stdout), ""
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        if done.returncode < 0 or not said:
            return math.nan, _TOO_MANY
        return math.nan, "no utterance detected" if "NoUtterancesError" in said[0] else f"pesq failed: {said[0]}"


@register
class PESQNarrowBand(_PESQ):
    """Perceptual evaluation of speech quality, narrow band.  MOS-LQO, higher is better; 4.549 where est is ref.

    The reference implementation of ITU-T P.862 with the mapping of P.862.1, by the package ``pesq``: on the CPU,
    without a gradient. It listens between 300 and 3100 Hz and to level-normalised, time-aligned signals. An item it
    cannot score, such as silence, is nan; no item is ever dropped. ITU's code holds 50 utterances: with a few more its
    value is wrong, with many it dies, which is nan here. Score clips of 8 to 12 s, as P.862.3 recommends, or excerpts.

    Args:
        sample_rate: 8000 or 16000 [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    References:
        [itu2001]_; [itu2003]_ for the mapping.
    """

    mode = "nb"
    spec = Spec(
        name="pesq_nb",
        title="PESQ, narrow band",
        unit="MOS-LQO",
        better="higher",
        bounds=(0.999, 4.999),
        perfect=4.5486,
        sample_rates=frozenset({8000, 16000}),
        differentiable=False,
        compiles=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("itu2001", "itu2003"),
        extra="speech",
        implementation="pesq",
    )


@register
class PESQWideBand(_PESQ):
    """Perceptual evaluation of speech quality, wide band.  MOS-LQO, higher is better; 4.644 where est is ref.

    The reference implementation of ITU-T P.862.2 (without corrigendum 2 of 2018, as most papers report it), by the
    package ``pesq``: on the CPU, without a gradient. An item it cannot score, such as silence, is nan; no item is ever
    dropped. ITU's code holds 50 utterances: with a few more its value is wrong, with many it dies, which is nan here.
    Score clips of 8 to 12 s, as P.862.3 recommends, or excerpts.

    Args:
        sample_rate: 16000 [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    References:
        [itu2007]_; [itu2001]_ for the model.
    """

    mode = "wb"
    spec = Spec(
        name="pesq_wb",
        title="PESQ, wide band",
        unit="MOS-LQO",
        better="higher",
        bounds=(0.999, 4.999),
        perfect=4.6439,
        sample_rates=frozenset({16000}),
        differentiable=False,
        compiles=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("itu2007", "itu2001"),
        extra="speech",
        implementation="pesq",
    )
