"""The scattering transform in time: wavelets, moduli and averages, stable to shifts and small stretches."""

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from percloss.dsp.safe import db_to_power, log_power, magnitude
from percloss.dsp.stft import power
from percloss.errors import ArgumentError

# Width of the low-pass filter times its scale, as in ScatNet and Kymatio.
LOWPASS = 0.1
# A filter is taken from this many widths below its centre to as many above: its rim is 4e-6 of its peak.
REACH = 5.0
# The modulus of a band has little left above this many of the band's widths.
ENVELOPE = 4.0
# Wrapping round of the transform is kept this many scales of the low-pass filter away: 3.8 standard deviations.
MARGIN = 6


class Wavelet(NamedTuple):
    """A Morlet wavelet: centre and width (standard deviation of its Gaussian) [cycles per sample]."""

    centre: float
    width: float


def morlets(per_octave: int, narrowest: float) -> list[Wavelet]:
    """Wavelets from the highest down: geometric as long as they are wider than ``narrowest``, and evenly below.

    Neighbours meet where both have fallen to half their power, as in V. Lostanlen, "Convolutional operators in the
    time-frequency domain", 2017, and as Kymatio has them.

    Args:
        per_octave: Wavelets in an octave.
        narrowest: Least width [cycles per sample].
    """
    step = 2 ** (1 / per_octave)
    relative = (step - 1) / (step + 1) / math.sqrt(math.log(2))
    centre = max(1 / (1 + step**3), 0.35)
    if relative * centre <= narrowest:
        raise ArgumentError(
            f"morlets: got per_octave={per_octave} and a narrowest width of {narrowest:g}; needed is a narrowest below "
            f"{relative * centre:.3g} cycles per sample. Use a longer averaging or fewer wavelets an octave."
        )
    family = [Wavelet(centre, relative * centre)]
    while family[-1].width > narrowest * step:
        family.append(Wavelet(family[-1].centre / step, family[-1].width / step))
    lowest = family[-1].centre
    return [*family, *(Wavelet(lowest * (1 - q / per_octave), narrowest) for q in range(1, per_octave))]


class Scattering(nn.Module):
    r"""Scattering coefficients of first and second order.

    .. math:: S_1 x = |x * \psi_{\lambda_1}| * \phi, \qquad
              S_2 x = \bigl||x * \psi_{\lambda_1}| * \psi_{\lambda_2}\bigr| * \phi

    with Morlet wavelets :math:`\psi` and a Gaussian :math:`\phi`. The first order is much like a mel spectrum, the
    second holds the fluctuations in each of its bands that the averaging took away: attacks, tremolo, roughness.
    The wavelets are scaled so that no frequency is amplified by all of them together: the transform shortens every
    difference of two signals, or leaves it (a test holds it to that). Silence is assumed before and after.

    Each band is computed at the rate that its width needs, from the bins of one Fourier transform that it covers.

    Args:
        sample_rate: Of the signals [Hz].
        per_octave: Wavelets of the first order in an octave; the second has one.
        averaging: Scale of the low-pass filter [s], rounded to a power of two of samples. Its Gaussian has a standard
            deviation 1.6 times as long, and coefficients are half of it apart.

    Shape:
        (batch, time). Returns ``order1`` and ``order2``: (batch, paths, frames).

    References:
        J. Andén and S. Mallat, "Deep scattering spectrum", IEEE Transactions on Signal Processing 62(16), 2014.
    """

    layers = ("order1", "order2")

    def __init__(self, sample_rate: int, *, per_octave: int = 8, averaging: float = 0.032) -> None:
        super().__init__()
        if sample_rate < 1 or per_octave < 1 or averaging * sample_rate < 2:
            raise ArgumentError(
                f"Scattering: got sample_rate={sample_rate}, per_octave={per_octave}, averaging={averaging}; needed "
                f"are one wavelet an octave and an averaging of two samples at least: averaging=0.032."
            )
        self.sample_rate, self.per_octave, self.averaging = sample_rate, per_octave, averaging
        self.scale = 1 << round(math.log2(averaging * sample_rate))
        self.lowpass = LOWPASS / self.scale
        self.first, self.second = (morlets(count, self.lowpass) for count in (per_octave, 1))
        # The first order's wavelets by what their bands are decimated by.
        self.groups = [(rate, list(group)) for rate, group in itertools.groupby(self.first, self._rate)]
        self.gains = _gain(self.first, self.lowpass), _gain(self.second, self.lowpass)

    @property
    def paths(self) -> list[tuple[Wavelet, Wavelet]]:
        """The pairs of wavelets along which ``order2`` is computed, in its order."""
        return [(a, b) for _, group in self.groups for b in self.second for a in group if _heard(a, b)]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The coefficients by order."""
        time = x.shape[-1]
        blocks = _smooth(-(-time // self.scale) + MARGIN)
        length = self.scale * blocks
        # With norm="forward" a bin is a Fourier coefficient, whatever the rate it is looked at.
        spectrum = torch.fft.fft(x, length, norm="forward")
        frames = -(-2 * time // self.scale)
        first, second = [], []
        for rate, group in self.groups:
            bins = torch.stack([_filtered(spectrum, one, length, length // rate) for one in group], 1)
            envelopes = torch.fft.fft(self.gains[0] * _modulus(bins), norm="forward")
            first.append(self._averaged(envelopes, length, blocks))
            for one in self.second:
                heard = sum(_heard(wide, one) for wide in group)
                if heard:
                    size = min(length // rate, length // self._rate(one))
                    inner = _filtered(envelopes[:, :heard], one, length, size)
                    fluctuations = torch.fft.fft(self.gains[1] * _modulus(inner), norm="forward")
                    second.append(self._averaged(fluctuations, length, blocks))
        return {"order1": torch.cat(first, 1)[..., :frames], "order2": torch.cat(second, 1)[..., :frames]}

    def _rate(self, wavelet: Wavelet) -> int:
        """The largest power of two that a band may be decimated by."""
        return min(self.scale // 2, 1 << max(0, math.floor(-math.log2(2 * REACH * wavelet.width))))

    def _averaged(self, spectrum: Tensor, length: int, blocks: int) -> Tensor:
        """The low-pass filter, at two samples a scale."""
        kept = blocks + 1
        bins = torch.arange(kept, device=spectrum.device, dtype=spectrum.real.dtype)
        gain = torch.exp(-((bins / (length * self.lowpass)) ** 2) / 2)
        coefficients: Tensor = torch.fft.irfft(spectrum[..., :kept] * gain, 2 * blocks, norm="forward")
        return coefficients


class LogScattering(Scattering):
    """The natural logarithm of scattering coefficients, so that soft bands and slight fluctuations count.

    Args:
        sample_rate: Of the signals [Hz].
        per_octave: Wavelets of the first order in an octave.
        averaging: Scale of the low-pass filter [s].
        floor_db: Added to the power of each coefficient [dB re full scale].

    Shape:
        (batch, time). Returns ``order1`` and ``order2``: (batch, paths, frames).
    """

    def __init__(
        self, sample_rate: int, *, per_octave: int = 8, averaging: float = 0.032, floor_db: float = -120.0
    ) -> None:
        super().__init__(sample_rate, per_octave=per_octave, averaging=averaging)
        self.floor_db = floor_db

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The logarithms by order."""
        floor = db_to_power(self.floor_db)
        return {name: log_power(found.square(), floor) / 2 for name, found in super().forward(x).items()}


def _heard(first: Wavelet, second: Wavelet) -> bool:
    """Whether the envelope in a band of the first order can fluctuate as fast as a wavelet of the second."""
    return second.centre <= ENVELOPE * first.width


def _filtered(spectrum: Tensor, wavelet: Wavelet, length: int, size: int) -> Tensor:
    """The band of a wavelet, as ``size`` complex samples; its carrier is moved to 0, which no modulus hears.

    Args:
        spectrum: Fourier coefficients of (..., bins), one every ``1 / length``; periodic.
        wavelet: Which.
        length: Samples that the coefficients are of, at the signal's own rate.
        size: Samples wanted.
    """
    bins = spectrum.shape[-1]
    size = min(size, bins)
    start = round(wavelet.centre * length) - size // 2
    offset = torch.arange(size, device=spectrum.device, dtype=spectrum.real.dtype)
    from_centre = (offset + (start - wavelet.centre * length)) / (wavelet.width * length)
    from_zero = (offset + start) / (wavelet.width * length)
    # Morlet's correction: nothing passes at frequency 0.
    correction = math.exp(-((wavelet.centre / wavelet.width) ** 2) / 2)
    gain = torch.exp(-from_centre.square() / 2) - correction * torch.exp(-from_zero.square() / 2)
    start %= bins
    band = spectrum[..., start : start + size]
    if start + size > bins:
        band = torch.cat((band, spectrum[..., : start + size - bins]), -1)
    samples: Tensor = torch.fft.ifft(band * gain, norm="forward")
    return samples


def _modulus(band: Tensor) -> Tensor:
    return magnitude(power(band), _NOTHING)


def _gain(family: list[Wavelet], lowpass: float) -> float:
    """What the wavelets are multiplied by, so that with the low-pass filter they pass no more than all there is."""
    hz = torch.linspace(0, 0.5, 2**14, dtype=torch.float64)[1:]
    passed = torch.zeros_like(hz)
    for centre, width in family:
        for side in (hz, -hz):
            turns = [side + turn for turn in (-1, 0, 1)]
            correction = math.exp(-((centre / width) ** 2) / 2)
            gain = sum(
                torch.exp(-(((f - centre) / width) ** 2) / 2) - correction * torch.exp(-((f / width) ** 2) / 2)
                for f in turns
            )
            passed += gain**2 / 2
    left = 1 - torch.exp(-((hz / lowpass) ** 2))
    return math.sqrt(float((left / passed).min()))


def _smooth(number: int) -> int:
    """The next number whose prime factors are 2, 3 and 5, which Fourier transforms are quick at."""
    while True:
        rest = number
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return number
        number += 1


# Power below float32's rounding of anything that can be heard beside it.
_NOTHING = db_to_power(-200.0)
