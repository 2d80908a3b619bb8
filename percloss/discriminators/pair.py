"""Discriminators of a pair: an estimate beside what it was made from, or beside what it should be."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from percloss.adversarial import Judgement
from percloss.discriminators.base import Discriminator, judge
from percloss.discriminators.spectrogram import Spectrogram
from percloss.dsp.safe import db_to_power, log_power
from percloss.dsp.stft import power

SEGAN_FILTERS = (16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024)
# Below full-scale noise; a magnitude's root has an infinite slope at silence.
FLOOR_DB = -100.0


class SEGANDiscriminator(Discriminator):
    """SEGAN's discriminator of a pair of waveforms, (clean, noisy) or (enhanced, noisy).

    24.37 million parameters by default: eleven convolutions of kernel 31 and stride 2, 16 to 1024 filters, with leaky
    rectifiers of slope 0.3, then a convolution of kernel 1 to one.

    Two things are not as in the paper. Virtual batch norm, whose statistics are those of one batch kept from the first
    step, is a group norm of one group: it needs no batch kept and no agreement between processes, does not let items
    mix, and so may be used with ``r1``. The fully connected layer over the last eight values, which ties the paper's to
    16 384 samples, is left out: each of these values is a logit, and there are as many as the length asks for.

    Args:
        channels: Of each of the two signals.
        filters: Of the hidden layers.
        kernel: Of the hidden layers; odd.
        slope: Of the leaky rectifiers.

    Shape:
        est, noisy: (batch, channels, time). One judgement of logits (batch, 1, ceil(time / 2 ** layers)).

    References:
        [pascual2017]_.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        filters: Sequence[int] = SEGAN_FILTERS,
        kernel: int = 31,
        slope: float = 0.3,
    ) -> None:
        super().__init__(channels)
        self._needs("filters", filters, least=1)
        self._needs("kernel", [kernel], least=1)
        self._needs_odd("kernel", [kernel])
        self.slope = slope
        self.hidden = nn.ModuleList(
            nn.Sequential(nn.Conv1d(i, o, kernel, stride=2, padding=kernel // 2), nn.GroupNorm(1, o))
            for i, o in pairwise([2 * channels, *filters])
        )
        self.last = nn.Conv1d(filters[-1], 1, 1)

    def forward(self, est: Tensor, noisy: Tensor) -> list[Judgement]:
        """What the network says of estimates (or of clean signals), having heard what they were made from."""
        self._check(est=est, noisy=noisy)
        return [judge(torch.cat([est, noisy], 1), self.hidden, self.last, self.slope)]


class MetricDiscriminator(Discriminator):
    r"""A network that learns a measure: it hears estimate and reference and predicts a score between 0 and 1.

    181 650 parameters by default. The layers are CMGAN's: compressed magnitudes :math:`|X|^{0.3}` of both, four
    convolutions (4, 4) with stride 2 of 16, 32, 64 and 128 filters with spectral norm, instance norm and PReLU, the
    maximum over time and frequency, two linear layers with spectral norm, a sigmoid whose slope is learned. Channels
    are judged each for itself, as a measure does. It hears magnitudes alone: a measure that hears phase can be learned
    only as far as magnitudes betray it.

    Use it with ``percloss.metric_gan.MetricGAN``. The instance norm takes its statistics from each item alone; the
    spectral norm turns its buffers at every call in training mode.

    Args:
        n_fft: Window length [samples]; 400 is 25 ms at 16 kHz.
        hop_length: Step between frames [samples].
        filters: Of the first layer; each further one has twice as many.
        compression: Exponent of the magnitudes.
        dropout: Share of the linear layers' inputs that is dropped in training.

    Shape:
        est, ref: (batch, channels, time >= 15 * hop_length), any number of channels. One judgement of scores
        (batch, channels).

    References:
        [abdulatif2024]_; [fu2019]_ for the idea.
    """

    def __init__(
        self,
        *,
        n_fft: int = 400,
        hop_length: int = 100,
        filters: int = 16,
        compression: float = 0.3,
        dropout: float = 0.3,
    ) -> None:
        super().__init__(1)
        # Four times halved there must be a bin left, and two places for the statistics of an instance norm.
        self._needs("n_fft", [n_fft], least=64)
        self._needs("hop_length and filters", [hop_length, filters], least=1)
        self.front = Spectrogram(n_fft, hop_length)
        self.compression = compression
        self.min_samples = max(15 * hop_length, n_fft // 2 + 1)
        sizes = [2, filters, 2 * filters, 4 * filters, 8 * filters]
        self.hidden = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(i, o, 4, stride=2, padding=1, bias=False)),
                nn.InstanceNorm2d(o, affine=True),
                nn.PReLU(o),
            )
            for i, o in pairwise(sizes)
        )
        self.score = nn.Sequential(
            spectral_norm(nn.Linear(8 * filters, 4 * filters)),
            nn.Dropout(dropout),
            nn.PReLU(4 * filters),
            spectral_norm(nn.Linear(4 * filters, 1)),
        )
        self.slope = nn.Parameter(torch.ones(1))

    def forward(self, est: Tensor, ref: Tensor) -> list[Judgement]:
        """The scores it expects."""
        shape = est.shape[:2]
        if est.dim() == 3 and ref.shape == est.shape:
            est, ref = est.flatten(0, 1)[:, None], ref.flatten(0, 1)[:, None]
        self._check(est=est, ref=ref)
        x = torch.cat([self._compressed(est), self._compressed(ref)], 1)
        features = []
        for layer in self.hidden:
            x = layer(x)
            features.append(x)
        scores = torch.sigmoid(self.slope * self.score(F.adaptive_max_pool2d(x, 1).flatten(1)))
        return [Judgement(scores.view(shape), features)]

    def _compressed(self, x: Tensor) -> Tensor:
        level = log_power(power(self.front(x)), db_to_power(FLOOR_DB))
        return (self.compression / 2 * level).exp().to(x.dtype)
