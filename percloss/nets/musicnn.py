"""The VGG of musicnn: convolutions over a mel spectrogram that learned to tag music."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from percloss.dsp.filterbanks import triangular_bank
from percloss.dsp.scales import MEL_SLANEY
from percloss.dsp.stft import hann, power, stft
from percloss.errors import ArgumentError
from percloss.frontends import FrontEnd
from percloss.nets._checks import checked
from percloss.nets._tensorflow import variables
from percloss.nets._weights import existing, fill, packaged, randomise

_RATE, _N_FFT, _HOP, _BANDS, _MAPS = 16_000, 512, 256, 96, 128
# Size and step of each maximum, in frames and bands.
_POOLS = (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4)))
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


class MusicnnVGG(FrontEnd):
    """The VGG of musicnn, each layer after pooling: pool1 to pool5, as the package names them.

    The spectrogram is the one it was trained on: power in 96 mel bands, its ends mirrored (as librosa did until 0.8),
    log10(1 + 10000 m). Two things differ from the package. It cuts a clip into patches of 187 frames (3 s) and pads
    each with zeros, where here the convolutions run on: on one patch both are the same. And it computes log10(1 +
    10000 m) in half precision, which overflows where a tone reaches about -20 dBFS, so that a loud clip has no tags
    there; here nothing is rounded.

    Weights: package ``musicnn`` 0.1.0 on PyPI (ISC, Copyright Music Technology Group, Universitat Pompeu Fabra 2019;
    its wheel has the text). The checkpoint is read without TensorFlow: ``pip install --no-deps musicnn``.

    Args:
        generator: Source of the random weights; seeded with 0 if not given.

    Shape:
        (batch, time) at 16 kHz, within +-1. Every layer is (batch, 128, frames, bands).

    References:
        [pons2019]_.
    """

    sample_rate = _RATE
    layers = ("pool1", "pool2", "pool3", "pool4", "pool5")
    min_samples = 16_640  # 66 frames, one of pool5
    window: Tensor
    bank: Tensor

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        with torch.device("meta"):
            self.entrance = nn.BatchNorm2d(1, eps=1e-3)
            self.convs = nn.ModuleList(nn.Conv2d(maps, _MAPS, 3, padding=1) for maps in (1, *[_MAPS] * 4))
            self.norms = nn.ModuleList(nn.BatchNorm2d(_MAPS, eps=1e-3) for _ in self.layers)
        randomise(self, generator)
        self.constant("window", hann(_N_FFT))
        bank = triangular_bank(MEL_SLANEY, sample_rate=_RATE, n_fft=_N_FFT, n_bands=_BANDS, norm="area")
        self.constant("bank", bank)

    def picture(self, x: Tensor) -> Tensor:
        """The compressed mel spectrogram, (batch, time) to (batch, frames, bands)."""
        spectrum = stft(x, self.window.to(x.dtype), n_fft=_N_FFT, hop_length=_HOP)
        bands = self.bank.to(x.dtype) @ power(spectrum)
        return (10_000 * bands + 1).log10().mT

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The activations of every layer, by name."""
        checked(x, net="MusicnnVGG", sample_rate=_RATE, min_samples=self.min_samples)
        h = self.entrance(self.picture(x)[:, None])
        activations = {}
        for name, conv, norm, (size, step) in zip(self.layers, self.convs, self.norms, _POOLS, strict=True):
            h = F.max_pool2d(norm(F.relu(conv(h))), size, step)
            activations[name] = h
        return activations

    @classmethod
    def pretrained(cls, path: str | Path | None = None, *, dataset: Literal["MTT", "MSD"] = "MTT") -> "MusicnnVGG":
        """With the authors' weights, in evaluation mode.

        Args:
            path: A copy of the folder ``MTT_vgg`` or ``MSD_vgg``; the one in the installed package ``musicnn`` if not
                given.
            dataset: What it learned to tag: MagnaTagATune, or the Million Song Dataset.

        Raises:
            MissingExtraError: No path, and the package is not installed.
            ArgumentError: A path where there are no such weights, or another dataset.
        """
        if dataset not in ("MTT", "MSD"):
            raise ArgumentError(f"MusicnnVGG: dataset={dataset!r} came; needed is 'MTT' or 'MSD'; use dataset='MTT'.")
        net = "MusicnnVGG"
        if path is None:
            index = packaged("musicnn", f"musicnn/{dataset}_vgg/.index", net=net)
        else:
            index = existing(Path(path) / ".index", net=net)
        saved = variables(index, net=net)
        wanted = {}
        for block in range(5):
            wanted[f"convs.{block}.weight"], wanted[f"convs.{block}.bias"] = (
                f"{block + 1}CNN/kernel",
                f"{block + 1}CNN/bias",
            )
            wanted |= {
                f"norms.{block}.{ours}": f"batch_normalization_{block + 1}/{name}" for ours, name in _NORM.items()
            }
        wanted |= {f"entrance.{ours}": f"batch_normalization/{name}" for ours, name in _NORM.items()}
        weights = {ours: saved[theirs] for ours, theirs in wanted.items() if theirs in saved}
        # (rows, columns, in, out) there.
        weights = {name: w.permute(3, 2, 0, 1) if w.dim() == 4 else w for name, w in weights.items()}
        built = cls()
        fill(built, weights, source=index)
        return built.eval()
