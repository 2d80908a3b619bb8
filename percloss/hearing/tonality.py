"""Tone or noise: spectral flatness, and how far below a masker the sound lies that it just masks."""

import math
from collections.abc import Callable

from torch import Tensor

from percloss._typing import Bins
from percloss.dsp.safe import log_power

# The flatness at which a sound counts as a pure tone.
TONE_DB = -60.0


def spectral_flatness(power: Bins, mean: Callable[[Bins], Bins], floor: float) -> Bins:
    r"""Geometric over arithmetic mean of the power in each neighbourhood [dB]: 0 where flat, less where peaked.

    White Gaussian noise has :math:`-10 \gamma \log_{10} e = -2.507` dB, :math:`\gamma` being Euler's constant.

    Args:
        power: Power spectrum, bins second to last.
        mean: Weighted mean of bins over each neighbourhood.
        floor: Added to the power.

    Shape:
        power: (batch, channels, bins, frames). Returns (batch, channels, neighbourhoods, frames).

    References:
        [johnston1988]_.
    """
    geometric = mean(log_power(power, floor))
    return 10 / math.log(10) * (geometric - log_power(mean(power), floor))


def tonality(flatness: Tensor, tone: Tensor | float = TONE_DB) -> Tensor:
    """Tonality from 0, noise, to 1, a pure tone.

    Args:
        flatness: Spectral flatness [dB].
        tone: Flatness of a pure tone [dB]; Johnston's, of a whole spectrum, if not given.

    References:
        [johnston1988]_.
    """
    return (flatness / tone).clamp(0, 1)


def masking_offset(alpha: Tensor, bark: Tensor) -> Tensor:
    """How far below its masker a sound is just masked [dB]: 14.5 dB and the Bark number under a tone, 5.5 under noise.

    Args:
        alpha: Tonality, from 0 to 1.
        bark: Places of the bands [Bark], broadcast against it.

    References:
        [johnston1988]_.
    """
    return alpha * (14.5 + bark) + (1 - alpha) * 5.5
