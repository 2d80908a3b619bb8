"""Discriminators of the waveform: by period, and at several rates."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from percloss.adversarial import Judgement
from percloss.discriminators.base import Discriminator, judge
from percloss.dsp.stft import reflect_pad


class _Period(nn.Module):
    """Folds time into rows of one period, and listens down the columns, each by itself."""

    def __init__(self, channels: int, period: int, filters: Sequence[int], kernel: int, stride: int) -> None:
        super().__init__()
        self.period = period
        sizes = list(pairwise([channels, *filters]))
        # All but the last hidden layer decimate.
        strides = [stride] * (len(sizes) - 1) + [1]
        self.hidden = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, (kernel, 1), (s, 1), padding=(kernel // 2, 0)))
            for (i, o), s in zip(sizes, strides, strict=True)
        )
        self.last = weight_norm(nn.Conv2d(filters[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor, slope: float) -> Judgement:
        missing = -x.shape[-1] % self.period
        folded = reflect_pad(x, 0, missing).unflatten(-1, (-1, self.period))
        return judge(folded, self.hidden, self.last, slope)


class MultiPeriodDiscriminator(Discriminator):
    """HiFi-GAN's discriminators by period: each hears every p-th sample, so that it hears what repeats every p samples.

    41.1 million parameters by default. Per period p: reshape to (rows, p), five convolutions (5, 1) of 32, 128, 512,
    1024 and 1024 filters, the first four with stride 3, and (3, 1) to one; weight norm, leaky rectifiers of slope 0.1.
    A length that is no multiple of p is filled up by reflection.

    Args:
        channels: Of the signals, heard together; the paper's are mono.
        periods: In samples, best without common divisors.
        filters: Of the hidden layers.
        kernel: Of the hidden layers, in rows; odd.
        stride: Of all hidden layers but the last, in rows.
        slope: Of the rectifiers.

    Shape:
        (batch, channels, time). Judgements of logits (batch, 1, rows, period), one for each period.

    References:
        [kong2020]_.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        filters: Sequence[int] = (32, 128, 512, 1024, 1024),
        kernel: int = 5,
        stride: int = 3,
        slope: float = 0.1,
    ) -> None:
        super().__init__(channels)
        self._needs("periods", periods, least=1)
        self._needs("filters", filters, least=1)
        self._needs("kernel and stride", [kernel, stride], least=1)
        self._needs_odd("kernel", [kernel])
        self.slope = slope
        # So that even the last row can be filled up by reflection.
        self.min_samples = max(periods)
        self.networks = nn.ModuleList(_Period(channels, period, filters, kernel, stride) for period in periods)

    def forward(self, x: Tensor) -> list[Judgement]:
        """What each period's network says."""
        self._check(x=x)
        return [network(x, self.slope) for network in self.networks]


class ScaleLayer(NamedTuple):
    """A hidden layer of a MultiScaleDiscriminator: a one-dimensional convolution."""

    filters: int
    kernel: int
    stride: int = 1
    groups: int = 1


HIFIGAN_LAYERS = (
    ScaleLayer(128, 15),
    ScaleLayer(128, 41, stride=2, groups=4),
    ScaleLayer(256, 41, stride=2, groups=16),
    ScaleLayer(512, 41, stride=4, groups=16),
    ScaleLayer(1024, 41, stride=4, groups=16),
    ScaleLayer(1024, 41, groups=16),
    ScaleLayer(1024, 5),
)
MELGAN_LAYERS = (
    ScaleLayer(16, 15),
    ScaleLayer(64, 41, stride=4, groups=4),
    ScaleLayer(256, 41, stride=4, groups=16),
    ScaleLayer(1024, 41, stride=4, groups=64),
    ScaleLayer(1024, 41, stride=4, groups=256),
    ScaleLayer(1024, 5),
)


class _Scale(nn.Module):
    """Grouped convolutions along time."""

    def __init__(self, channels: int, layers: Sequence[ScaleLayer], norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        sizes = [channels, *(layer.filters for layer in layers)]
        self.hidden = nn.ModuleList(
            norm(nn.Conv1d(i, o, layer.kernel, layer.stride, padding=layer.kernel // 2, groups=layer.groups))
            for (i, o), layer in zip(pairwise(sizes), layers, strict=True)
        )
        self.last = norm(nn.Conv1d(sizes[-1], 1, 3, padding=1))

    def forward(self, x: Tensor, slope: float) -> Judgement:
        return judge(x, self.hidden, self.last, slope)


class MultiScaleDiscriminator(Discriminator):
    """HiFi-GAN's or MelGAN's discriminators of the waveform, and of the waveform at a half and a quarter of the rate.

    29.6 million parameters by default (HiFi-GAN), 16.9 by ``MultiScaleDiscriminator.melgan()``. Between scales four
    samples are averaged with a step of two. At the signal's ends this class does for both what one of the two does: the
    average is over samples that exist (MelGAN), and the first convolution is padded with zeros (HiFi-GAN).

    Args:
        channels: Of the signals, heard together; the papers' are mono.
        scales: How many.
        layers: The hidden layers, ``HIFIGAN_LAYERS``, ``MELGAN_LAYERS`` or your own.
        slope: Of the leaky rectifiers.
        spectral_first: Spectral instead of weight norm in the network of the full rate, as HiFi-GAN has it. It turns
            its buffers at every call in training mode.

    Shape:
        (batch, channels, time). Judgements of logits (batch, 1, frames), one for each scale.

    References:
        [kong2020]_, [kumar2019]_.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        scales: int = 3,
        layers: Sequence[ScaleLayer] = HIFIGAN_LAYERS,
        slope: float = 0.1,
        spectral_first: bool = True,
    ) -> None:
        super().__init__(channels)
        self._needs("scales", [scales], least=1)
        self._needs("layers", [size for layer in layers for size in layer], least=1)
        self._needs_odd("kernels of", [layer.kernel for layer in layers])
        self.slope = slope
        # The pool of the last scale still needs two samples.
        self.min_samples = 2 ** (scales - 1)
        self.networks = nn.ModuleList(
            _Scale(channels, layers, spectral_norm if spectral_first and scale == 0 else weight_norm)
            for scale in range(scales)
        )

    @classmethod
    def melgan(cls, channels: int = 1) -> "MultiScaleDiscriminator":
        """MelGAN's: its layers, slope 0.2, weight norm in all three."""
        return cls(channels, layers=MELGAN_LAYERS, slope=0.2, spectral_first=False)

    def forward(self, x: Tensor) -> list[Judgement]:
        """What each scale's network says."""
        self._check(x=x)
        judgements = []
        for scale, network in enumerate(self.networks):
            if scale:
                x = F.avg_pool1d(x, 4, stride=2, padding=1, count_include_pad=False)
            judgements.append(network(x, self.slope))
        return judgements
