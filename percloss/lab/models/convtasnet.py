"""Conv-TasNet: masks on a learned basis of the waveform."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percloss._typing import Wave
from percloss.lab.models.base import WaveModel

# Of the norms, as in torchaudio's; a variance below it counts as silence.
NORM_FLOOR = 1e-8


class _Block(nn.Module):
    """Kernel 1, depthwise dilated kernel, and two of kernel 1: what goes on and what goes to the sum."""

    def __init__(self, inputs: int, hidden: int, skips: int, kernel: int, dilation: int, last: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(inputs, hidden, 1),
            nn.PReLU(),
            nn.GroupNorm(1, hidden, eps=NORM_FLOOR),
            nn.Conv1d(hidden, hidden, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=hidden),
            nn.PReLU(),
            nn.GroupNorm(1, hidden, eps=NORM_FLOOR),
        )
        self.on = None if last else nn.Conv1d(hidden, inputs, 1)
        self.skip = nn.Conv1d(hidden, skips, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        heard = self.layers(x)
        return (x if self.on is None else x + self.on(heard)), self.skip(heard)


class ConvTasNet(WaveModel):
    """Masks on a learned basis, from dilated convolutions that are summed.

    With two sources 4 984 881 parameters by default, those of the paper's best non-causal network as torchaudio
    has it; with one 4 918 833.

    ========= ==========================================================================================
    part
    ========= ==========================================================================================
    encoder   1 -> 512, kernel 16, stride 8, no bias
    entry     norm over all filters and frames, 512 -> 128, kernel 1
    24 blocks three times dilations of 1, 2, ... 128: 128 -> 512 kernel 1, PReLU, norm, 512 depthwise
              kernel 3, PReLU, norm; from there 512 -> 128 kernel 1 added to what goes on (not in the
              last block) and 512 -> 128 kernel 1 added to the sum
    masks     of the sum: PReLU, 128 -> 512 for each source, kernel 1, sigmoid
    decoder   512 -> 1, transposed, kernel 16, stride 8, no bias
    ========= ==========================================================================================

    The encoder is linear, as torchaudio's is. The norms take their mean over the whole signal: what is heard later
    changes what is said now.

    Args:
        channels: Of the mixture; the paper's is mono. Encoder and decoder hold all, and a mask is for all.
        sample_rate: Of the signals [Hz].
        sources: How many it estimates.
        basis: Filters of encoder and decoder.
        kernel: Their length [samples]; even. They step by half of it.
        bottleneck: Filters between the blocks.
        hidden: Filters within them.
        skips: Filters of the sum.
        block_kernel: Of the depthwise convolutions; odd.
        blocks: In each repeat; their dilation doubles.
        repeats: Of all blocks.

    Shape:
        (batch, channels, time) -> (batch, sources * channels, time)

    References:
        [luo2019]_.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        sample_rate: int = 8000,
        sources: int = 1,
        basis: int = 512,
        kernel: int = 16,
        bottleneck: int = 128,
        hidden: int = 512,
        skips: int = 128,
        block_kernel: int = 3,
        blocks: int = 8,
        repeats: int = 3,
    ) -> None:
        super().__init__(channels, sample_rate, sources)
        self._needs("basis, bottleneck, hidden and skips", [basis, bottleneck, hidden, skips], least=1)
        self._needs("block_kernel, blocks and repeats", [block_kernel, blocks, repeats], least=1)
        self._needs_odd("block_kernel", [block_kernel])
        self._needs("kernel // 2", [kernel // 2], least=1)
        self.step = kernel // 2
        self.encoder = nn.Conv1d(channels, basis, 2 * self.step, stride=self.step, bias=False)
        self.entry = nn.Sequential(nn.GroupNorm(1, basis, eps=NORM_FLOOR), nn.Conv1d(basis, bottleneck, 1))
        total = blocks * repeats
        self.blocks = nn.ModuleList(
            _Block(bottleneck, hidden, skips, block_kernel, 2 ** (i % blocks), last=i == total - 1)
            for i in range(total)
        )
        self.masks = nn.Sequential(nn.PReLU(), nn.Conv1d(skips, sources * basis, 1), nn.Sigmoid())
        self.decoder = nn.ConvTranspose1d(basis, channels, 2 * self.step, stride=self.step, bias=False)

    @classmethod
    def small(cls, channels: int = 1, *, sources: int = 1) -> "ConvTasNet":
        """One of some thousand parameters, for tests."""
        return cls(channels, sources=sources, basis=32, bottleneck=16, hidden=24, skips=16, blocks=3, repeats=1)

    def estimate(self, mix: Wave) -> Tensor:
        time = mix.shape[-1]
        # A step of zeros before and after, so that every sample lies in as many frames as any other.
        padded = F.pad(mix, (self.step, self.step + -time % self.step))
        code = self.encoder(padded)
        x, total = self.entry(code), torch.zeros((), dtype=code.dtype, device=code.device)
        for block in self.blocks:
            x, skip = block(x)
            total = total + skip
        masks = self.masks(total).unflatten(1, (self.sources, -1))
        waves: Tensor = self.decoder((masks * code[:, None]).flatten(0, 1))
        return waves.reshape(len(mix), -1, waves.shape[-1])[..., self.step : self.step + time]
