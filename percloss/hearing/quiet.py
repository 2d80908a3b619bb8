"""The ear on its own: the threshold in quiet, and how the outer and middle ear weight a sound on its way in."""

from torch import Tensor

# Hearing ends near 20 Hz and 20 kHz; the formulas below have no meaning outside, and a pole at 0 Hz.
LOWEST_HZ = 20.0
HIGHEST_HZ = 20_000.0


def threshold_in_quiet(hz: Tensor) -> Tensor:
    r"""Level below which a tone is not heard in silence [dB SPL], by Terhardt's formula.

    .. math:: 3.64 f^{-0.8} - 6.5 e^{-0.6 (f - 3.3)^2} + 10^{-3} f^4, \qquad f \text{ in kHz}

    Below 20 Hz it is the value at 20 Hz, so that 0 Hz has a finite one.

    Args:
        hz: Frequencies [Hz], 0 or more.

    References:
        [terhardt1979]_.
    """
    khz = hz.clamp(min=LOWEST_HZ) / 1000
    return 3.64 * khz**-0.8 - 6.5 * (-0.6 * (khz - 3.3).square()).exp() + 1e-3 * khz**4


def outer_middle_ear(hz: Tensor) -> Tensor:
    r"""Gain from the free field to the inner ear [dB], as BS.1387 has it: no sound of 0 Hz arrives.

    .. math:: -0.6 \cdot 3.64 f^{-0.8} + 6.5 e^{-0.6 (f - 3.3)^2} - 10^{-3} f^{3.6}, \qquad f \text{ in kHz}

    Args:
        hz: Frequencies [Hz], 0 or more.

    References:
        [itu2001bs1387]_.
    """
    khz = hz / 1000
    return -2.184 * khz**-0.8 + 6.5 * (-0.6 * (khz - 3.3).square()).exp() - 1e-3 * khz**3.6


def internal_noise(hz: Tensor) -> Tensor:
    r"""Level of the noise of the ear itself [dB SPL]: the share of the threshold that ``outer_middle_ear`` leaves.

    .. math:: 0.4 \cdot 3.64 f^{-0.8}, \qquad f \text{ in kHz}

    Args:
        hz: Frequencies [Hz], above 0.

    References:
        [itu2001bs1387]_.
    """
    return 1.456 * (hz / 1000) ** -0.8
