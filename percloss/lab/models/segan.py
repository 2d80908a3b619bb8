"""SEGAN's generator."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percloss._typing import Wave
from percloss.discriminators.pair import SEGAN_FILTERS
from percloss.lab.models.base import WaveModel


class SEGANGenerator(WaveModel):
    """An autoencoder of waveforms with skip connections, and a latent that is drawn.

    73 100 049 parameters by default, 73 092 048 of them weights of the convolutions:

    ======= =========================================================================================
    part    kernel 31, stride 2, each with a PReLU
    ======= =========================================================================================
    encoder 1 -> 16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024
    latent  1024 values of a normal distribution beside the 1024 of each of its frames
    decoder 2048 -> 512, then with the encoder's layer of that length beside it 256, 256, 128, 128,
            64, 64, 32, 32, 16, and 1 with a tanh instead of the PReLU
    ======= =========================================================================================

    Skip connections leave the encoder before the PReLU, as in the authors' code (santi-pdp/segan). In evaluation the
    latent is 0, its mean, so that an estimate can be had twice; the paper draws it there too. Training draws it from
    torch's global generator, as dropout does. The recipe's pre-emphasis by 0.95 is left to whoever trains, and so is
    cutting into 16 384 samples: here any length is filled up with zeros to a multiple of two to the number of layers.

    Its discriminator is ``percloss.discriminators.SEGANDiscriminator``.

    Args:
        channels: Of the mixture; the paper's is mono.
        sample_rate: Of the signals [Hz].
        filters: Of the encoder's layers.
        kernel: Of all layers [samples]; odd.

    Shape:
        (batch, channels, time) -> (batch, channels, time), within +-1

    References:
        [pascual2017]_.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        sample_rate: int = 16_000,
        filters: Sequence[int] = SEGAN_FILTERS,
        kernel: int = 31,
    ) -> None:
        super().__init__(channels, sample_rate)
        self._needs("filters", filters, least=1)
        self._needs("kernel", [kernel], least=1)
        self._needs_odd("kernel", [kernel])
        self.encoder = nn.ModuleList(
            nn.Conv1d(i, o, kernel, stride=2, padding=kernel // 2) for i, o in pairwise([channels, *filters])
        )
        self.encoder_slopes = nn.ModuleList(nn.PReLU(o) for o in filters)
        # Each hears as much again beside it: the latent at the bottom, then the skip connections.
        self.decoder = nn.ModuleList(
            nn.ConvTranspose1d(2 * i, o, kernel, stride=2, padding=kernel // 2, output_padding=1)
            for i, o in pairwise([*reversed(filters), channels])
        )
        self.decoder_slopes = nn.ModuleList(nn.PReLU(o) for o in list(reversed(filters))[1:])

    @classmethod
    def small(cls, channels: int = 1) -> "SEGANGenerator":
        """One of some thousand parameters, for tests."""
        return cls(channels, filters=(8, 16, 16), kernel=15)

    def estimate(self, mix: Wave) -> Tensor:
        time = mix.shape[-1]
        x = F.pad(mix, (0, -time % 2 ** len(self.encoder)))
        skips: list[Tensor] = []
        for layer, slope in zip(self.encoder, self.encoder_slopes, strict=True):
            skips.append(layer(x))
            x = slope(skips[-1])
        skips[-1] = torch.randn_like(x) if self.training else torch.zeros_like(x)
        *layers, last = self.decoder
        for layer, slope in zip(layers, self.decoder_slopes, strict=True):
            x = slope(layer(torch.cat([x, skips.pop()], 1)))
        return torch.tanh(last(torch.cat([x, skips.pop()], 1)))[..., :time]
