"""Parts of spectrogram networks: dense, residual and attentive, and what may stand at the bottom of a U-Net."""

import math
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: What may stand at the bottom of a U-Net.
Bottleneck: TypeAlias = Literal["none", "dilated", "lstm", "attention", "transformer"]
Maps: TypeAlias = Tensor  # (batch, filters, bins, frames)


def composite(inputs: int, outputs: int, kernel: tuple[int, int], dilation: int = 1) -> nn.Sequential:
    """Batch norm, rectifier, and a convolution that keeps the size; kernels of even length lean to the end."""
    spread = [dilation * (size - 1) for size in kernel]
    (above, left), (below, right) = ([s // 2 for s in spread], [s - s // 2 for s in spread])
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.ZeroPad2d((left, right, above, below)),
        nn.Conv2d(inputs, outputs, kernel, dilation=dilation),
    )


class Residual(nn.Module):
    """Two composites (3, 3), whose outcome is added to what came in."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(composite(filters, filters, (3, 3)), composite(filters, filters, (3, 3)))

    def forward(self, x: Maps) -> Maps:
        rest: Tensor = self.layers(x)
        return x + rest


class Dense(nn.Module):
    """Composites (3, 3), each of which hears all before it; (1, 1) brings what they add back to the filters it had."""

    def __init__(self, filters: int, layers: int = 3) -> None:
        super().__init__()
        growth = max(1, filters // 4)
        self.layers = nn.ModuleList(composite(filters + i * growth, growth, (3, 3)) for i in range(layers))
        self.merge = nn.Conv2d(filters + layers * growth, filters, 1)

    def forward(self, x: Maps) -> Maps:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        merged: Tensor = self.merge(x)
        return merged


class AttentionGate(nn.Module):
    """A mask for a skip connection, from the skip and from what comes up to meet it.

    The additive gate of the attention U-Net, but with both at the same resolution: what comes up has been upsampled
    already, and neither the gate's interpolation nor its last convolution is needed.

    References:
        [oktay2018]_.
    """

    def __init__(self, filters: int) -> None:
        super().__init__()
        inner = max(1, filters // 2)
        self.skip = nn.Conv2d(filters, inner, 1, bias=False)
        self.gating = nn.Conv2d(filters, inner, 1)
        self.mask = nn.Conv2d(inner, 1, 1)

    def forward(self, skip: Maps, rising: Maps) -> Maps:
        return skip * torch.sigmoid(self.mask(F.relu(self.skip(skip) + self.gating(rising))))


class Dilated(nn.Sequential):
    """Four convolutions (3, 3), dilated by 1, 2, 4 and 8 frames."""

    def __init__(self, filters: int) -> None:
        layers: list[nn.Module] = []
        for dilation in (1, 2, 4, 8):
            layers += [
                nn.Conv2d(filters, filters, 3, padding=(1, dilation), dilation=(1, dilation)),
                nn.BatchNorm2d(filters),
                nn.LeakyReLU(0.2),
            ]
        super().__init__(*layers)


class Recurrent(nn.Module):
    """An LSTM that runs both ways along the frames of each bin, added to what came in."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        hidden = max(1, filters // 2)
        self.lstm = nn.LSTM(filters, hidden, batch_first=True, bidirectional=True)
        self.back = nn.Linear(2 * hidden, filters)

    def forward(self, x: Maps) -> Maps:
        batch, _, bins, _ = x.shape
        rows = x.permute(0, 2, 3, 1).flatten(0, 1)
        heard: Tensor = self.back(self.lstm(rows)[0])
        return x + heard.view(batch, bins, *heard.shape[1:]).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Channel attention, then self-attention over all bins and frames, each an addition or a gain.

    References:
        [hu2018]_ for the first, [vaswani2017]_ for the second.
    """

    def __init__(self, filters: int) -> None:
        super().__init__()
        inner = max(1, filters // 8)
        self.gain = nn.Sequential(nn.Linear(filters, inner), nn.ReLU(), nn.Linear(inner, filters), nn.Sigmoid())
        self.norm = nn.LayerNorm(filters)
        self.attention = nn.MultiheadAttention(filters, heads(filters), batch_first=True)

    def forward(self, x: Maps) -> Maps:
        x = x * self.gain(x.mean((2, 3)))[..., None, None]
        tokens = self.norm((x + places(x)).flatten(2).mT)
        heard: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return x + heard.mT.reshape(x.shape)


class Transformer(nn.Module):
    """Two transformer layers over all bins and frames, without dropout.

    References:
        [vaswani2017]_, with the norms first.
    """

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    filters, heads(filters), 2 * filters, dropout=0.0, batch_first=True, norm_first=True
                )
                for _ in range(2)
            )
        )

    def forward(self, x: Maps) -> Maps:
        heard: Tensor = self.layers((x + places(x)).flatten(2).mT)
        return heard.mT.reshape(x.shape)


def heads(filters: int) -> int:
    """As many heads as divide the filters, four at most."""
    return math.gcd(filters, 4)


def places(x: Maps) -> Tensor:
    """Sines and cosines of the bin's and the frame's number, half of the filters for each, (filters, bins, frames)."""
    filters, bins, frames = x.shape[1:]
    number = torch.arange(filters, device=x.device)
    pace = 100.0 ** (-(number // 4) / max(1, filters // 4))  # slow ones tell some hundred places apart
    of_bin = (number % 2 == 0)[:, None, None]
    place = torch.where(
        of_bin, torch.arange(bins, device=x.device)[None, :, None], torch.arange(frames, device=x.device)[None, None]
    )
    turn = torch.where(number % 4 < 2, 0.0, math.pi / 2)[:, None, None]
    return torch.sin(place * pace[:, None, None] + turn).to(x.dtype)


BOTTLENECKS: dict[str, type[nn.Module]] = {
    "dilated": Dilated,
    "lstm": Recurrent,
    "attention": Attention,
    "transformer": Transformer,
}
