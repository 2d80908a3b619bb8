"""The fully convolutional network on waveforms."""

from itertools import pairwise

from torch import Tensor, nn

from percloss._typing import Wave
from percloss.lab.models.base import WaveModel


class FCN(WaveModel):
    """Convolutions along time, and nothing else: no stride, no skip, no dense layer.

    300 931 parameters by default, in the layers that the authors published with their second paper
    (JasonSWFu/End-to-end-waveform-utterance-enhancement):

    ===== ==================================================================
    layer
    ===== ==================================================================
    1     1 -> 30, kernel 55, instance norm, leaky rectifier of 0.3
    2-7   30 -> 30, the same
    8     30 -> 1, kernel 55, tanh
    ===== ==================================================================

    The first paper's network is smaller, it says 0.2 % of the weights of a dense one; its exact sizes could not be
    checked. The authors normalise each utterance to a peak of 1 before and after; that is left to whoever trains.

    Args:
        channels: Of the mixture; the papers' is mono.
        sample_rate: Of the signals [Hz].
        filters: Of each hidden layer.
        kernel: Of all layers [samples]; odd.
        layers: Hidden ones.

    Shape:
        (batch, channels, time >= 2) -> (batch, channels, time), within +-1

    References:
        [fu2017]_, [fu2018]_.
    """

    min_samples = 2  # one sample has no variance for the norm

    def __init__(
        self, channels: int = 1, *, sample_rate: int = 16_000, filters: int = 30, kernel: int = 55, layers: int = 7
    ) -> None:
        super().__init__(channels, sample_rate)
        self._needs("filters, kernel and layers", [filters, kernel, layers], least=1)
        self._needs_odd("kernel", [kernel])
        hidden: list[nn.Module] = []
        for i, o in pairwise([channels, *[filters] * layers]):
            hidden += [
                nn.Conv1d(i, o, kernel, padding=kernel // 2),
                nn.InstanceNorm1d(o, affine=True),
                nn.LeakyReLU(0.3),
            ]
        self.layers = nn.Sequential(*hidden, nn.Conv1d(filters, channels, kernel, padding=kernel // 2), nn.Tanh())

    @classmethod
    def small(cls, channels: int = 1) -> "FCN":
        """One of some thousand parameters, for tests."""
        return cls(channels, filters=8, kernel=31, layers=2)

    def estimate(self, mix: Wave) -> Tensor:
        est: Tensor = self.layers(mix)
        return est
