"""PASE+: a speech encoder that learned to solve many small tasks at once, on distorted speech."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from percloss.dsp.stft import reflect_pad
from percloss.errors import ArgumentError
from percloss.nets._checks import checked
from percloss.nets._weights import existing, fill, randomise, read_state_dict

_RATE, _SINC = 16_000, 251
_KERNELS, _STRIDES = (_SINC, 20, 11, 11, 11, 11, 11, 11), (1, 10, 2, 1, 2, 1, 2, 2)
_MAPS = (64, 64, 128, 128, 256, 256, 512, 512)
_LOWEST_HZ = 50.0  # of a filter's lower edge, and of its width


class PASE(nn.Module):
    """The encoder of PASE+: band-pass filters on the waveform, seven convolutions, a quasi-recurrent layer, a sum.

    Every block is returned after its normalisation and rectifier, then the recurrent layer, then the embedding: the
    recurrent layer's projection with those of blocks 1 to 7 added, normalised. Frames of the last two are 10 ms apart.

    Weights are in no package: ``pretrained`` takes a path to the authors' ``FE_e199.ckpt`` (a link in the readme of
    santi-pdp/pase, whose code is MIT; the licence of the file is not stated). Neither it nor ``cfg/PASE+.cfg`` could be
    had where this was written: names, shapes and arithmetic follow the public code (``WaveFe`` with the settings of
    ``cfg/frontend/PASE+_gru.cfg`` and its default, pytorch-qrnn with a window of 2) and were compared with it on
    random weights. A file that does not fit is refused. The recurrence, written there as a loop, is a
    scan here.

    Args:
        maps: Channels of the eight blocks; fewer make a small net for a test.
        recurrent: Channels of the recurrent layer.
        embedding: Channels of the embedding.
        generator: Source of the random weights; seeded with 0 if not given.

    Shape:
        (batch, time) at 16 kHz, within +-1. Every layer is (batch, channels, frames).

    References:
        [ravanelli2020]_; [ravanelli2018]_ for the filters, [bradbury2017]_ for the recurrent layer.
    """

    sample_rate = _RATE
    layers = (*(f"block{number}" for number in range(1, 9)), "recurrent", "embedding")
    min_samples = 471  # six samples into block 8, which its padding mirrors

    def __init__(
        self,
        maps: Sequence[int] = _MAPS,
        *,
        recurrent: int = 512,
        embedding: int = 256,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(maps) != len(_KERNELS) or min(*maps, recurrent, embedding) < 1:
            raise ArgumentError(
                f"PASE: maps={tuple(maps)}, recurrent={recurrent}, embedding={embedding} came; needed are eight maps, "
                f"with a channel each at least; use maps={_MAPS}."
            )
        with torch.device("meta"):
            entrance = _Sinc(maps[0])
            shapes = zip(maps, maps[1:], _KERNELS[1:], _STRIDES[1:], strict=False)
            convs = (entrance, *(nn.Conv1d(*shape) for shape in shapes))
            self.blocks = nn.ModuleList(map(_Block, convs, maps, _KERNELS, _STRIDES))
            # These names are the file's.
            self.denseskips = nn.ModuleList(nn.Conv1d(before, embedding, 1, bias=False) for before in maps[:-1])
            self.rnn = _QuasiRecurrent(maps[-1], recurrent)
            self.W = nn.Conv1d(recurrent, embedding, 1)
            self.norm_out = nn.BatchNorm1d(embedding, affine=False)
        randomise(self, generator)
        entrance.spread()
        for name, weight in self.named_parameters():
            if name.endswith("act.weight"):
                nn.init.zeros_(weight)  # rectifiers, before training

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The activations of every layer, by name."""
        checked(x, net="PASE", sample_rate=_RATE, min_samples=self.min_samples)
        h = x[:, None]
        activations = {}
        for name, block in zip(self.layers, self.blocks, strict=False):
            h = block(h)
            activations[name] = h
        h = self.rnn(h)
        activations["recurrent"] = h
        total = self.W(h)
        frames = total.shape[-1]
        for name, skip in zip(self.layers, self.denseskips, strict=False):
            projected = skip(activations[name])
            every = projected.shape[-1] // frames
            total = total + projected[..., : frames * every].unflatten(-1, (frames, every)).mean(-1)
        activations["embedding"] = self.norm_out(total)
        return activations

    @classmethod
    def pretrained(cls, path: str | Path | None = None) -> "PASE":
        """With weights from a file, in evaluation mode.

        Args:
            path: Of the authors' ``FE_e199.ckpt`` or another ``state_dict`` of their encoder, of any width.

        Raises:
            ArgumentError: No path, or one where there are no such weights.
        """
        if path is None:
            raise ArgumentError(
                "PASE: no path came, and no package ships the weights; needed is FE_e199.ckpt, which the readme of "
                "github.com/santi-pdp/pase links to; type PASE.pretrained('FE_e199.ckpt')."
            )
        file = existing(path, net="PASE")
        weights = read_state_dict(file, net="PASE")
        norms = [weights[name].numel() for n in range(8) if (name := f"blocks.{n}.norm.weight") in weights]
        embedding, recurrent = weights["W.weight"].shape[:2] if "W.weight" in weights else (256, 512)
        built = cls(norms if len(norms) == 8 else _MAPS, recurrent=recurrent, embedding=embedding)
        fill(built, weights, source=file)
        return built.eval()


class _Block(nn.Module):
    """Convolution, normalisation, and a rectifier whose slope below 0 was learned; band-pass filters in front."""

    def __init__(self, conv: nn.Module, after: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm1d(after)
        self.act = nn.PReLU(after)
        # One sample less in front where frames are skipped.
        self.padding = (kernel // 2 - (stride > 1), kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.norm(self.conv(reflect_pad(x, *self.padding))))
        return activated


class _Sinc(nn.Module):
    """Band-pass filters: differences of two sinc functions under a window, their edges learned."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.low_hz_ = nn.Parameter(torch.empty(filters, 1))
        self.band_hz_ = nn.Parameter(torch.empty(filters, 1))

    def spread(self) -> None:
        """Set the edges evenly over mels, as before training."""
        lowest, highest = (2595 * math.log10(1 + hz / 700) for hz in (30, _RATE / 2 - 2 * _LOWEST_HZ))
        hz = 700 * (10 ** (torch.linspace(lowest, highest, len(self.low_hz_) + 1) / 2595) - 1)
        self.low_hz_.data = hz[:-1, None]
        self.band_hz_.data = hz.diff()[:, None]

    def forward(self, x: Tensor) -> Tensor:
        low = _LOWEST_HZ + self.low_hz_.abs()
        high = (low + _LOWEST_HZ + self.band_hz_.abs()).clamp(_LOWEST_HZ, _RATE / 2)
        half = _SINC // 2
        radians = 2 * math.pi * torch.arange(-half, 0, dtype=low.dtype, device=low.device) / _RATE
        # Half a Hamming window, from 0 to just below its middle; the centre is not weighted.
        place = torch.linspace(0, _SINC / 2 - 1, half, dtype=low.dtype, device=low.device)
        window = 0.54 - 0.46 * (2 * math.pi / _SINC * place).cos()
        left = ((high * radians).sin() - (low * radians).sin()) / (radians / 2) * window / (2 * (high - low))
        filters = torch.cat((left, torch.ones_like(low), left.flip(-1)), dim=1)
        return F.conv1d(x, filters[:, None])


class _QuasiRecurrent(nn.Module):
    r"""A recurrent layer whose gates see two frames and not the state (Bradbury et al. 2017, fo-pooling).

    .. math:: c_t = f_t z_t + (1 - f_t) c_{t-1}, \qquad h_t = o_t c_t
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        # Named as in the file: layers.0.linear.
        self.layers = nn.ModuleList([nn.ModuleDict({"linear": nn.Linear(2 * before, 3 * after)})])

    def forward(self, x: Tensor) -> Tensor:
        pairs = torch.cat((x, F.pad(x, (1, 0))[..., :-1]), dim=1).mT
        (linear,) = (module for module in self.layers.modules() if isinstance(module, nn.Linear))
        candidate, forget, out = linear(pairs).mT.chunk(3, dim=1)
        forget = forget.sigmoid()
        state: Tensor = out.sigmoid() * _scan(1 - forget, forget * candidate.tanh())
        return state


def _scan(decay: Tensor, gain: Tensor) -> Tensor:
    """All states of s[t] = decay[t] s[t - 1] + gain[t] from s = 0, in as many steps as the length has binary digits."""
    step = 1
    while step < gain.shape[-1]:
        gain = gain + decay * F.pad(gain, (step, 0))[..., :-step]
        decay = decay * F.pad(decay, (step, 0))[..., :-step]
        step *= 2
    return gain
