"""VGGish: the audio embedding of AudioSet, convolutions over a log-mel spectrogram."""

import itertools
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from percloss.dsp.safe import db_to_power, magnitude
from percloss.dsp.stft import hann, power
from percloss.errors import ArgumentError
from percloss.frontends import FrontEnd
from percloss.nets._checks import checked
from percloss.nets._weights import existing, fill, randomise, read_state_dict

# AudioSet's constants (vggish_params.py of tensorflow/models): windows of 25 ms every 10 ms, examples of 96 of them.
_RATE, _WINDOW, _HOP, _N_FFT, _BANDS, _EXAMPLE = 16_000, 400, 160, 512, 64, 96
_LOWEST, _HIGHEST, _OFFSET = 125.0, 7_500.0, 0.01
# Maps of each convolution; None halves both axes by their maxima. Positions in this list are the names in the file.
_STACK = (64, None, 128, None, 256, 256, None, 512, 512, None)


class VGGish(FrontEnd):
    """VGGish, each convolution after its rectifier, and the embedding of every 0.96 s.

    A clip is cut into examples of 96 frames, as everywhere VGGish is used; up to 0.96 s at its end are not heard. The
    embedding is the network's own, after its last rectifier: without the whitening and rounding to 8 bits that
    AudioSet's published embeddings went through.

    Weights are in no package: ``pretrained`` takes a path to a ``state_dict`` in the layout of torchvggish 0.2
    (Apache-2.0 by its metadata), which fetches ``vggish-10086976.pth`` from its GitHub releases. That file could not be
    had where this was written: spectrogram and architecture are tested against torchvggish with random weights.

    Args:
        generator: Source of the random weights; seeded with 0 if not given.

    Shape:
        (batch, time) at 16 kHz, within +-1. The convolutions are (batch, channels, frames, bands), the embedding
        (batch, 128, examples).

    References:
        [hershey2017]_.
    """

    sample_rate = _RATE
    layers = ("conv1", "conv2", "conv3_1", "conv3_2", "conv4_1", "conv4_2", "embedding")
    min_samples = (_EXAMPLE - 1) * _HOP + _WINDOW
    window: Tensor
    bank: Tensor

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        maps = 1
        stack: list[nn.Module] = []
        with torch.device("meta"):
            for wanted in _STACK:
                if wanted is None:
                    stack.append(nn.MaxPool2d(2))
                else:
                    stack += [nn.Conv2d(maps, wanted, 3, padding=1), nn.ReLU()]
                    maps = wanted
            self.features = nn.Sequential(*stack)
            sizes = (maps * _EXAMPLE // 16 * _BANDS // 16, 4096, 4096, 128)
            dense = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
            self.embeddings = nn.Sequential(*(part for linear in dense for part in (linear, nn.ReLU())))
        randomise(self, generator)
        self.constant("window", hann(_WINDOW))
        self.constant("bank", _mel_bank())

    def picture(self, x: Tensor) -> Tensor:
        """Logarithms of the mel magnitudes, (batch, time) to (batch, frames, bands); here frames begin at sample 0."""
        frames = x.unfold(-1, _WINDOW, _HOP) * self.window.to(x.dtype)
        # 200 dB below full scale: nothing beside the offset, and a slope that is finite at silence.
        magnitudes = magnitude(power(torch.fft.rfft(frames, n=_N_FFT)), db_to_power(-200.0))
        return (magnitudes @ self.bank.to(x.dtype).mT + _OFFSET).log()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The activations of every layer, by name."""
        checked(x, net="VGGish", sample_rate=_RATE, min_samples=self.min_samples)
        picture = self.picture(x)
        examples = picture.shape[1] // _EXAMPLE
        h = picture[:, : examples * _EXAMPLE].reshape(-1, 1, _EXAMPLE, _BANDS)
        names = iter(self.layers)
        activations = {}
        for part in self.features:
            h = part(h)
            if isinstance(part, nn.ReLU):
                activations[next(names)] = h.unflatten(0, (-1, examples)).transpose(1, 2).flatten(2, 3)
        embedding = self.embeddings(h.permute(0, 2, 3, 1).flatten(1))
        activations[next(names)] = embedding.unflatten(0, (-1, examples)).mT
        return activations

    @classmethod
    def pretrained(cls, path: str | Path | None = None) -> "VGGish":
        """With weights from a file, in evaluation mode.

        Args:
            path: Of ``vggish-10086976.pth`` or another ``state_dict`` in torchvggish's layout; the PCA that some hold
                besides is left alone.

        Raises:
            ArgumentError: No path, or one where there are no such weights.
        """
        if path is None:
            raise ArgumentError(
                "VGGish: no path came, and no package ships the weights; needed is torchvggish's vggish-10086976.pth, "
                "from its releases on GitHub; type VGGish.pretrained('vggish-10086976.pth')."
            )
        file = existing(path, net="VGGish")
        weights = read_state_dict(file, net="VGGish")
        built = cls()
        fill(built, {name: w for name, w in weights.items() if not name.startswith("pproc.")}, source=file)
        return built.eval()


def _mel_bank() -> Tensor:
    """Triangles that are straight over mels, not over hertz, with peak 1; bin 0 has no part in them."""
    hz = torch.arange(_N_FFT // 2 + 1, dtype=torch.float64) * _RATE / _N_FFT
    mel = 1127 * (1 + hz / 700).log()
    lowest, highest = (1127 * math.log1p(edge / 700) for edge in (_LOWEST, _HIGHEST))
    corners = torch.linspace(lowest, highest, _BANDS + 2, dtype=torch.float64)[:, None]
    lower, centre, upper = corners[:-2], corners[1:-1], corners[2:]
    bank = torch.minimum((mel - lower) / (centre - lower), (upper - mel) / (upper - centre)).relu()
    bank[:, 0] = 0
    return bank
