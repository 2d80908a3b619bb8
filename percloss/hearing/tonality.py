"""Tone or noise: spectral flatness, and how far below a masker the sound lies that it just masks."""

import math

from torch import Tensor

from percloss._typing import Bins
from percloss.dsp.safe import log_power

# The flatness at which a sound counts as a pure tone.
TONE_DB = -60.0


def spectral_flatness(mean_log: Bins, mean: Bins, floor: float) -> Bins:
    r"""Geometric over arithmetic mean of the power in each neighbourhood [dB]: 0 where flat, less where peaked.

    White Gaussian noise has :math:`-10 \gamma \log_{10} e = -2.507` dB, :math:`\gamma` being Euler's constant.

    Args:
        mean_log: Weighted mean, over each neighbourhood, of ``log_power(power, floor)``.
        mean: The same mean of the power.
        floor: Of that logarithm.

    Shape:
        (batch, channels, neighbourhoods, frames), and so is what it returns.

    References:
        [johnston1988]_.
    """
    return 10 / math.log(10) * (mean_log - log_power(mean, floor))


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
