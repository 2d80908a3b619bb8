"""The U-Net on spectrograms, with what was later built into it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percloss._typing import Bins, Spectrum
from percloss.errors import ArgumentError
from percloss.lab.models.blocks import BOTTLENECKS, AttentionGate, Bottleneck, Dense, Maps, Residual
from percloss.lab.models.spectrogram import Phase, SpectrogramModel

#: What follows each convolution of the encoder.
Block: TypeAlias = Literal["plain", "residual", "dense"]
JANSSON_FILTERS = (16, 32, 64, 128, 256, 512)
BLOCKS: dict[str, type[nn.Module]] = {"residual": Residual, "dense": Dense}


class UNet(SpectrogramModel):
    """A U-Net that masks the magnitudes of a mixture.

    9 823 313 parameters by default, in the layers of the paper:

    ======== ============================================ ==========================================
    level    encoder, (5, 5) with stride 2                decoder, transposed (5, 5) with stride 2
    ======== ============================================ ==========================================
    1        1 -> 16, batch norm, leaky rectifier of 0.2  16 + 16 -> 1, sigmoid: the mask
    2        16 -> 32, the same                           32 + 32 -> 16, batch norm, rectifier
    3        32 -> 64                                     64 + 64 -> 32, the same
    4        64 -> 128                                    128 + 128 -> 64, the same, half dropped
    5        128 -> 256                                   256 + 256 -> 128, half dropped
    6        256 -> 512                                   512 -> 256, half dropped
    ======== ============================================ ==========================================

    It hears each item's magnitudes divided by their largest, so that a louder mixture has the same mask. Frames are
    filled up with zeros to a multiple of two to the number of levels. The topmost bin has the mask of its neighbour:
    the paper's network has 512 bins of the 513 that there are, and does not say what becomes of the last.

    The paper trains on the mean absolute difference of magnitudes, at 8192 Hz, in patches of 128 frames, which are
    ``127 * 768`` samples: other lengths cost what the filling costs.

    Args:
        channels: Of the mixture; the paper's is mono.
        sample_rate: Of the signals [Hz].
        n_fft: Window length [samples].
        hop_length: Step between frames [samples].
        filters: Of each level.
        kernel: Of all convolutions; odd.
        dropout: Share that is dropped in the three deepest levels of the decoder.
        block: What follows each convolution of the encoder: nothing, two convolutions with a way around them, or
            three that hear all before them.
        attention: Whether gates choose what of each skip connection is heard.
        bottleneck: What stands at the bottom: dilated convolutions, an LSTM along the frames, channel and
            self-attention, or a small transformer.
        compression: Exponent of the magnitudes that the network hears; 1 in the paper, 0.3 makes weak parts audible to
            it.
        phase: Where the phase comes from; see ``SpectrogramModel``.
        iterations: Of Griffin-Lim.

    Shape:
        (batch, channels, time) -> (batch, channels, time)

    References:
        [jansson2017]_; [oktay2018]_ for the gates, [he2016]_ and [huang2017]_ for the blocks.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        sample_rate: int = 8192,
        n_fft: int = 1024,
        hop_length: int = 768,
        filters: Sequence[int] = JANSSON_FILTERS,
        kernel: int = 5,
        dropout: float = 0.5,
        block: Block = "plain",
        attention: bool = False,
        bottleneck: Bottleneck = "none",
        compression: float = 1.0,
        phase: Phase = "mixture",
        iterations: int = 32,
    ) -> None:
        super().__init__(channels, sample_rate, n_fft=n_fft, hop_length=hop_length, phase=phase, iterations=iterations)
        self._needs("filters", filters, least=1)
        self._needs("kernel", [kernel], least=1)
        self._needs_odd("kernel", [kernel])
        self._needs_one_of("block", block, get_args(Block))
        self._needs_one_of("bottleneck", bottleneck, get_args(Bottleneck))
        if not 0 < compression <= 1:
            raise ArgumentError(f"UNet: compression={compression} came; needed is above 0 and at most 1; type 0.3.")
        self.compression = compression
        self.encoder = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(i, o, kernel, stride=2, padding=kernel // 2),
                nn.BatchNorm2d(o),
                nn.LeakyReLU(0.2),
                *([] if block == "plain" else [BLOCKS[block](o)]),
            )
            for i, o in pairwise([channels, *filters])
        )
        self.bottom = nn.Identity() if bottleneck == "none" else BOTTLENECKS[bottleneck](filters[-1])
        rising = list(reversed(filters))
        self.decoder = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(
                    i if level == 0 else 2 * i, o, kernel, stride=2, padding=kernel // 2, output_padding=1
                ),
                nn.BatchNorm2d(o),
                nn.ReLU(),
                *([nn.Dropout(dropout)] if level < 3 else []),
            )
            for level, (i, o) in enumerate(pairwise(rising))
        )
        self.gates = nn.ModuleList(AttentionGate(o) for o in rising[1:] if attention)
        self.last = nn.ConvTranspose2d(
            2 * filters[0] if len(filters) > 1 else filters[0],
            self.maps,
            kernel,
            stride=2,
            padding=kernel // 2,
            output_padding=1,
        )

    @classmethod
    def small(
        cls,
        channels: int = 1,
        *,
        block: Block = "plain",
        attention: bool = False,
        bottleneck: Bottleneck = "none",
        phase: Phase = "mixture",
    ) -> "UNet":
        """One of some thousand parameters, for tests."""
        return cls(
            channels,
            sample_rate=8000,
            n_fft=128,
            hop_length=64,
            filters=(4, 8, 16),
            kernel=3,
            dropout=0.0,
            block=block,
            attention=attention,
            bottleneck=bottleneck,
            compression=0.3,
            phase=phase,
        )

    def network(self, spectrum: Spectrum, size: Bins) -> Maps:
        bins, frames = size.shape[2] - 1, size.shape[3]
        step = 2 ** len(self.encoder)
        x = (size / size.amax((1, 2, 3), keepdim=True))[:, :, :bins] ** self.compression
        x = F.pad(x, (0, -frames % step, 0, -bins % step))
        skips: list[Tensor] = []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        x = self.bottom(skips.pop())
        for level, layer in enumerate(self.decoder):
            x, skip = layer(x), skips.pop()
            x = torch.cat([x, self.gates[level](skip, x) if self.gates else skip], 1)
        return F.pad(self.last(x)[:, :, :bins, :frames], (0, 0, 0, 1), mode="replicate")
