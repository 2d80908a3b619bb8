"""The U-Net on waveforms."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percloss._typing import Wave
from percloss.lab.models.base import WaveModel


class WaveUNet(WaveModel):
    """Convolutions on waveforms that are decimated and interpolated, level by level.

    10 263 002 parameters by default, in the layers of the paper's first variant, M1:

    =========== ===================================================================================
    level i     of 12
    =========== ===================================================================================
    down        24 (i - 1) -> 24 i (1 -> 24 at the top), kernel 15, leaky rectifier; every second sample
    bottom      288 -> 312, kernel 15, leaky rectifier
    up          24 (i + 1) + 24 i -> 24 i, kernel 5, leaky rectifier, after linear interpolation by two
    last        24 + 1 (the mixture) -> 1, kernel 1, tanh
    =========== ===================================================================================

    Edges are padded with zeros, as in that variant; M3 to M6 hear more of the mixture than they estimate instead. It
    takes any length: where a level has an odd one, its last sample is repeated. A leaky rectifier's slope is 0.2, as in
    the authors' code (f90/Wave-U-Net).

    As the generator of an adversarial pair it is used as it is, with a discriminator of ``percloss.discriminators``:
    it stays within +-1, and has neither norms nor dropout that would tell training from evaluation.

    Args:
        channels: Of the mixture.
        sample_rate: Of the signals [Hz].
        sources: How many it estimates.
        levels: How often the rate is halved.
        filters: Of the first level; level i has i times as many.
        down_kernel: Of the convolutions on the way down [samples]; odd.
        up_kernel: Of those on the way up; odd.

    Shape:
        (batch, channels, time) -> (batch, sources * channels, time), within +-1

    References:
        [stoller2018]_.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        sample_rate: int = 22_050,
        sources: int = 1,
        levels: int = 12,
        filters: int = 24,
        down_kernel: int = 15,
        up_kernel: int = 5,
    ) -> None:
        super().__init__(channels, sample_rate, sources)
        self._needs("levels, filters and kernels", [levels, filters, down_kernel, up_kernel], least=1)
        self._needs_odd("kernels", [down_kernel, up_kernel])
        sizes = [channels, *(filters * level for level in range(1, levels + 2))]
        self.down = nn.ModuleList(
            nn.Conv1d(sizes[i], sizes[i + 1], down_kernel, padding=down_kernel // 2) for i in range(levels + 1)
        )
        self.up = nn.ModuleList(
            nn.Conv1d(sizes[i + 1] + sizes[i], sizes[i], up_kernel, padding=up_kernel // 2)
            for i in range(levels, 0, -1)
        )
        self.last = nn.Conv1d(filters + channels, sources * channels, 1)

    @classmethod
    def small(cls, channels: int = 1, *, sources: int = 1) -> "WaveUNet":
        """One of some thousand parameters, for tests."""
        return cls(channels, sources=sources, levels=3, filters=6)

    def estimate(self, mix: Wave) -> Tensor:
        x, skips = mix, []
        *falling, bottom = self.down
        for layer in falling:
            skips.append(F.leaky_relu(layer(x), 0.2))
            x = skips[-1][..., ::2]
        x = F.leaky_relu(bottom(x), 0.2)
        for layer in self.up:
            skip = skips.pop()
            x = F.leaky_relu(layer(torch.cat([_doubled(x)[..., : skip.shape[-1]], skip], 1)), 0.2)
        return torch.tanh(self.last(torch.cat([x, mix], 1)))


def _doubled(x: Tensor) -> Tensor:
    """Twice as many samples: those that there are, and between each and the next their mean."""
    following = torch.cat([x[..., 1:], x[..., -1:]], -1)
    return torch.stack([x, (x + following) / 2], -1).flatten(-2)
