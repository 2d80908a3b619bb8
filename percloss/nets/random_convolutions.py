"""Random multi-scale convolutions: a feature net without weights to fetch, and the control for every net with them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from percloss.dsp.stft import hann
from percloss.errors import ArgumentError
from percloss.frontends import FrontEnd


class RandomConvolutions(FrontEnd):
    """Two layers of random filters and rectifiers at each of several time scales.

    At one scale the signal is cut into frames that overlap by three quarters, each frame is projected onto Gaussian
    filters under a Hann window, and what is negative is cut off; the second layer does the same to three neighbouring
    frames of the first. Filters have unit norm and no bias: the features double when the signal does.

    Args:
        sample_rate: Of the signals [Hz].
        scales: Lengths of a frame [s].
        filters: Of each layer at each scale.
        seed: Of the generator that draws the filters.

    Shape:
        (batch, time). Returns ``scale1_1``, ``scale1_2``, ``scale2_1`` ...: (batch, filters, frames).
    """

    def __init__(
        self,
        sample_rate: int,
        *,
        scales: Sequence[float] = (0.002, 0.008, 0.032),
        filters: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.sample_rate, self.scales, self.filters, self.seed = sample_rate, tuple(scales), filters, seed
        self.sizes = [4 * max(2, round(scale * sample_rate / 4)) for scale in self.scales]
        if not self.sizes or filters < 1 or min(self.scales) <= 0 or sample_rate < 1:
            raise ArgumentError(
                f"RandomConvolutions: got sample_rate={sample_rate}, scales={scales}, filters={filters}; needed are "
                f"a rate of 1 Hz or more, scales above 0 s and one filter at least: scales=(0.004, 0.016)."
            )
        generator = torch.Generator().manual_seed(seed)
        for number, size in enumerate(self.sizes, start=1):
            for layer, taps in ((1, size), (2, 3 * filters)):
                weight = torch.randn(taps, filters, generator=generator, dtype=torch.float64)
                weight = weight * hann(size)[:, None] if layer == 1 else weight
                self.constant(f"scale{number}_{layer}", weight / torch.linalg.vector_norm(weight, dim=0))

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the feature maps."""
        return tuple(f"scale{number + 1}_{layer}" for number in range(len(self.sizes)) for layer in (1, 2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The feature maps by name."""
        maps = {}
        for number, size in enumerate(self.sizes, start=1):
            frames = torch.nn.functional.pad(x, (size // 2, size // 2)).unfold(-1, size, size // 4)
            # Products and not convolutions: cuDNN would by default round float32 to TF32.
            first = (frames @ self.get_buffer(f"scale{number}_1").to(x.dtype)).relu()
            around = torch.nn.functional.pad(first, (0, 0, 1, 1)).unfold(1, 3, 1).flatten(2)
            second = (around @ self.get_buffer(f"scale{number}_2").to(x.dtype)).relu()
            maps[f"scale{number}_1"], maps[f"scale{number}_2"] = first.mT, second.mT
        return maps
