"""To the spectrum of a waveform of any length and back again: what every spectrogram model stands on."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percloss._typing import Spectrum, Wave
from percloss.errors import ArgumentError
from percloss.frontends import Stft


class Transform(nn.Module):
    """A short-time Fourier transform that has an inverse for every length.

    The end of the signal is filled up with zeros to a whole number of steps, so that each sample lies in a frame, and
    the inverse takes them away again. The spectrum is the front end's: a full-scale sine peaks at magnitude 1.

    Args:
        n_fft: Window length [samples].
        hop_length: Step between frames [samples], at most three quarters of the window.

    Shape:
        (batch, channels, time) -> complex (batch, channels, n_fft // 2 + 1, frames(time))
    """

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        # With a longer step some samples would be seen through the ends of a window only, where it is nearly 0.
        if not (n_fft >= 4 and 1 <= hop_length <= 3 * n_fft // 4):
            raise ArgumentError(
                f"Transform: got n_fft={n_fft}, hop_length={hop_length}; needed are n_fft >= 4 and 1 <= hop_length "
                f"<= {max(1, 3 * n_fft // 4)}; type hop_length={max(1, n_fft // 4)}."
            )
        self.front = Stft(n_fft, hop_length)

    def frames(self, time: int) -> int:
        """How many frames a signal of this length has."""
        return self._filled(time) // self.front.hop_length + 1

    def forward(self, x: Wave) -> Spectrum:
        """The spectrum."""
        spectrum: Tensor = self.front(F.pad(x, (0, self._filled(x.shape[-1]) - x.shape[-1])))
        return spectrum

    def inverse(self, spectrum: Spectrum, time: int) -> Wave:
        """The waveform of ``time`` samples whose spectrum is nearest to this one."""
        window = self.front.window.to(spectrum.real.dtype)
        rows = torch.istft(
            spectrum.flatten(0, 1), self.front.n_fft, self.front.hop_length, window=window, length=self._filled(time)
        )
        return rows[:, :time].reshape(*spectrum.shape[:2], time)

    def consistent(self, spectrum: Spectrum, time: int) -> Spectrum:
        """The spectrum nearest to this one that some signal of ``time`` samples has."""
        signal: Tensor = self(self.inverse(spectrum, time))
        return signal

    def _filled(self, time: int) -> int:
        """The length that is transformed: enough for a centred frame, and a whole number of steps."""
        return -(-max(time, self.front.n_fft // 2 + 1) // self.front.hop_length) * self.front.hop_length
