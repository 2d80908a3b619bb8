"""What every spectrogram model shares: a mask or a magnitude from a network, and three ways to a phase."""

from abc import abstractmethod
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from percloss._typing import Bins, Spectrum, Wave
from percloss.dsp.safe import db_to_power, magnitude
from percloss.dsp.stft import power
from percloss.lab.models.base import WaveModel
from percloss.lab.models.blocks import Maps
from percloss.lab.postprocess import griffin_lim
from percloss.lab.spectrogram import Transform

#: Where the phase of an estimate comes from.
Phase: TypeAlias = Literal["mixture", "griffin_lim", "complex"]
# Below a full-scale sine; a magnitude's root has an infinite slope at silence.
FLOOR_DB = -160.0


class SpectrogramModel(WaveModel):
    """A network that hears the magnitudes of a mixture's spectrum, and the way from what it says to a waveform.

    Args:
        channels: Of the mixture; they are heard together.
        sample_rate: Of the signals that it is trained for [Hz].
        n_fft: Window length [samples].
        hop_length: Step between frames [samples].
        phase: ``"mixture"`` leaves the phase of the mixture; ``"griffin_lim"`` begins from it and looks for one that
            fits the estimated magnitude; ``"complex"`` lets the network turn it, by a complex mask of magnitude below
            1 that takes the place of the real one.
        iterations: Of Griffin-Lim.
    """

    def __init__(
        self, channels: int, sample_rate: int, *, n_fft: int, hop_length: int, phase: Phase, iterations: int = 32
    ) -> None:
        super().__init__(channels, sample_rate)
        self._needs_one_of("phase", phase, get_args(Phase))
        self._needs("iterations", [iterations], least=0)
        self.transform = Transform(n_fft, hop_length)
        self.phase, self.iterations = phase, iterations
        self.bins = n_fft // 2 + 1
        #: Maps that the network gives: two for each channel, real and imaginary parts, or one.
        self.maps = 2 * channels if phase == "complex" else channels

    @abstractmethod
    def network(self, spectrum: Spectrum, size: Bins) -> Maps:
        """The maps, ``maps`` of them, of a spectrum and its magnitude."""

    def magnitude(self, maps: Maps, size: Bins) -> Bins:
        """The estimated magnitude, of the maps and of the magnitude of the mixture; here a mask times the latter."""
        return torch.sigmoid(maps) * size

    def estimate(self, mix: Wave) -> Tensor:
        spectrum = self.transform(mix)
        size = magnitude(power(spectrum), db_to_power(FLOOR_DB))
        maps = self.network(spectrum, size).to(mix.dtype)  # it may have been autocast
        time = mix.shape[-1]
        if self.phase == "complex":
            return self.transform.inverse(bounded(maps) * spectrum, time)
        wanted = self.magnitude(maps, size)
        if self.phase == "griffin_lim":
            return griffin_lim(wanted, self.transform, time=time, iterations=self.iterations, start=spectrum)
        return self.transform.inverse(wanted * (spectrum / size), time)


def bounded(maps: Maps) -> Tensor:
    r"""A complex mask of magnitude below 1, :math:`\tanh(|O|)\,O/|O|`, from real and imaginary maps.

    The maps hold all real parts first, then all imaginary ones.

    References:
        [choi2019]_, section 3.2.
    """
    real, imag = maps.chunk(2, dim=1)
    size = magnitude(real.square() + imag.square(), db_to_power(FLOOR_DB))
    return torch.complex(real, imag) * (torch.tanh(size) / size)
