"""CDPAM: a distance that learned from what people said about pairs and triplets of speech recordings."""

import collections
import itertools
import pickle
import types
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from percloss.errors import ArgumentError
from percloss.nets._checks import checked
from percloss.nets._weights import existing, fill, packaged, randomise

_FILE = "cdpam/CDPAM_trained/scratchJNDdefault_best_model.pth"
# Output channels of the convolutions; behind every fourth each second frame is dropped.
_CONVS = (64, 64, 64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 1024)
_HEAD = (512, 256, 64, 16, 4)
# It was trained on the numbers that 16-bit files hold.
_SCALE = 32_768.0


class CDPAM(nn.Module):
    """Encoder and distance head of CDPAM.

    Sixteen convolutions of 15 taps, each with batch normalisation and a leaky rectifier, halve the rate four times.
    The mean over time is split into what was trained to tell recordings apart by their ``acoustics`` and what by their
    ``content``. The head takes the acoustics, at unit length, through four linear layers; weighted channel by channel,
    what they return is ``head1`` to ``head4``, and the sum of its absolute differences is CDPAM's distance
    (``percloss.measures.features.CDPAMDistance``).

    Weights: package ``cdpam`` 0.0.6 on PyPI (98 MB; its metadata classify it as MIT and hold no licence text), which is
    never imported; its own loader fails on torch 2.6 and later. ``pip install --no-deps cdpam`` is enough. The file is
    a pickle of 2020 that torch's safe reader does not know the opcodes of; it is read by an unpickler that knows the
    four names that tensors need and no other, so that nothing in it can be run.

    Args:
        generator: Source of the random weights; seeded with 0 if not given.

    Shape:
        (batch, time) at 22050 Hz, within +-1. ``conv1`` to ``conv16`` are (batch, channels, frames), the others
        (batch, values).

    References:
        [manocha2021]_.
    """

    sample_rate = 22_050
    layers = (
        *(f"conv{number}" for number in range(1, len(_CONVS) + 1)),
        "acoustics",
        "content",
        *(f"head{number}" for number in range(1, len(_HEAD))),
    )
    min_samples = 1

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        with torch.device("meta"):
            self.convs = nn.ModuleList(
                nn.Conv1d(before, after, 15, padding=7) for before, after in zip((1, *_CONVS), _CONVS, strict=False)
            )
            self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for channels in _CONVS)
            self.head = nn.ModuleList(_Stage(*sizes) for sizes in itertools.pairwise(_HEAD))
        self.head_sizes = _HEAD[1:]
        randomise(self, generator)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The activations of every layer, by name."""
        checked(x, net="CDPAM", sample_rate=self.sample_rate, min_samples=self.min_samples)
        h = _SCALE * x[:, None]
        found = {}
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), start=1):
            h = F.leaky_relu(norm(conv(h)), 0.1)
            found[f"conv{number}"] = h
            if number % 4 == 0:
                h = h[..., ::2]
        found["acoustics"], found["content"] = h.mean(-1).chunk(2, 1)
        h = F.normalize(found["acoustics"], dim=1)
        for number, stage in enumerate(cast(list[_Stage], self.head), start=1):
            h = stage.linear(h) if number == len(self.head) else F.leaky_relu(stage.linear(h))
            found[f"head{number}"] = stage.channel_weight * h
        return found

    @classmethod
    def pretrained(cls, path: str | Path | None = None) -> "CDPAM":
        """With the authors' weights, in evaluation mode.

        Args:
            path: A copy of ``scratchJNDdefault_best_model.pth``; the one in the installed package ``cdpam`` if not
                given.

        Raises:
            MissingExtraError: No path, and the package is not installed.
            ArgumentError: A path where there are no such weights.
        """
        file = packaged("cdpam", _FILE, net="CDPAM") if path is None else existing(path, net="CDPAM")
        names = {"base_encoder.encoder": "convs", "base_encoder.ebatch": "norms"}
        weights = {}
        for key, value in _read(file).items():
            part, _, rest = key.rpartition(".")
            family, _, number = part.rpartition(".")
            if family in names:
                weights[f"{names[family]}.{number}.{rest}"] = value
            elif part == "model_dist.chan_w":
                weights[f"head.{rest}.channel_weight"] = value
            elif family.startswith("model_dist.convs."):
                weights[f"head.{family.rpartition('.')[2]}.linear.{rest}"] = value
        built = cls()
        fill(built, weights, source=file)
        return built.eval()


class _Stage(nn.Module):
    """A layer of the head, and what each of its channels counts."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.linear = nn.Linear(before, after)
        self.channel_weight = nn.Parameter(torch.empty(after))


class _Unpickler(pickle.Unpickler):
    """Knows what tensors and their dicts are made of, and nothing that could be run."""

    _KNOWN: ClassVar = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch", "FloatStorage"): torch.FloatStorage,
        ("torch", "LongStorage"): torch.LongStorage,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")
        return self._KNOWN[module, name]


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors under ``"state"`` of a file that ``torch.save`` wrote in its form of before version 1.6."""
    reader = types.SimpleNamespace(
        __name__=__name__, Unpickler=_Unpickler, load=lambda file, **settings: _Unpickler(file, **settings).load()
    )
    try:
        # weights_only=True would be refused for the opcodes; the unpickler given here is as narrow.
        saved = torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
        state = dict(saved["state"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"CDPAM: {path} cannot be read as CDPAM's weights ({str(error).splitlines()[0]}); "
            f"give the file {Path(_FILE).name} of the package cdpam 0.0.6."
        ) from error
    return state
