"""The deep complex U-Net."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from percloss._typing import Bins, Spectrum
from percloss.lab.models.blocks import Maps
from percloss.lab.models.spectrogram import Phase, SpectrogramModel, bounded


class ComplexLayer(NamedTuple):
    """A complex convolution of the encoder; the decoder has its transpose."""

    filters: int
    kernel: tuple[int, int]
    stride: tuple[int, int]


DCUNET_10 = (
    ComplexLayer(32, (7, 5), (2, 2)),
    ComplexLayer(64, (7, 5), (2, 2)),
    ComplexLayer(64, (5, 3), (2, 2)),
    ComplexLayer(64, (5, 3), (2, 2)),
    ComplexLayer(64, (5, 3), (2, 1)),
)
DCUNET_16 = (
    ComplexLayer(32, (7, 5), (2, 2)),
    ComplexLayer(32, (7, 5), (2, 1)),
    ComplexLayer(64, (7, 5), (2, 2)),
    ComplexLayer(64, (5, 3), (2, 1)),
    ComplexLayer(64, (5, 3), (2, 2)),
    ComplexLayer(64, (5, 3), (2, 1)),
    ComplexLayer(64, (5, 3), (2, 2)),
    ComplexLayer(64, (5, 3), (2, 1)),
)
DCUNET_20 = (
    ComplexLayer(32, (7, 1), (1, 1)),
    ComplexLayer(32, (1, 7), (1, 1)),
    ComplexLayer(64, (7, 5), (2, 2)),
    ComplexLayer(64, (7, 5), (2, 1)),
    ComplexLayer(64, (5, 3), (2, 2)),
    ComplexLayer(64, (5, 3), (2, 1)),
    ComplexLayer(64, (5, 3), (2, 2)),
    ComplexLayer(64, (5, 3), (2, 1)),
    ComplexLayer(64, (5, 3), (2, 2)),
    ComplexLayer(90, (5, 3), (2, 1)),
)


class _Complex(nn.Module):
    """A convolution with complex weights, of real and imaginary maps."""

    def __init__(self, real: nn.Module, imag: nn.Module) -> None:
        super().__init__()
        self.real, self.imag = real, imag

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        real, imag = x
        return self.real(real) - self.imag(imag), self.real(imag) + self.imag(real)


class _Parts(nn.Module):
    """A batch norm and a leaky rectifier for the real parts, and others for the imaginary ones."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.real, self.imag = (nn.Sequential(nn.BatchNorm2d(filters), nn.LeakyReLU()) for _ in range(2))

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return self.real(x[0]), self.imag(x[1])


class DCUNet(SpectrogramModel):
    """A U-Net of complex convolutions, whose mask turns the phase.

    2 375 490 real parameters by default, DCUNet-16; 1 421 890 with ``DCUNET_10`` and 3 527 850 with ``DCUNET_20``, as
    asteroid counts them, and 2.3, 1.4 and 3.5 million in the paper.

    ===== ==================================== =================================================
    layer encoder: filters, kernel, stride     decoder: its transpose, with the skip beside it
    ===== ==================================== =================================================
    1     32, (7, 5), (2, 2)                   64 -> 1, with a bias; the mask
    2     32, (7, 5), (2, 1)                   64 -> 32
    3     64, (7, 5), (2, 2)                   128 -> 32
    4     64, (5, 3), (2, 1)                   128 -> 64
    5     64, (5, 3), (2, 2)                   128 -> 64
    6     64, (5, 3), (2, 1)                   128 -> 64
    7     64, (5, 3), (2, 2)                   128 -> 64
    8     64, (5, 3), (2, 1)                   64 -> 64
    ===== ==================================== =================================================

    Every convolution but the last is followed by batch norms and leaky rectifiers, of real and of imaginary parts
    each for itself; the paper's batch norm takes the two together, by their covariance, and asteroid's does not. The
    mask is the paper's: ``tanh`` of the magnitude of what the network says, with its phase.

    The transforms of layers and transposes meet only if bins and frames are odd and stay so: the spectrum is filled up
    with zeros to one more than a multiple of all strides, and cut again.

    Args:
        channels: Of the mixture; the paper's is mono.
        sample_rate: Of the signals [Hz].
        n_fft: Window length [samples].
        hop_length: Step between frames [samples].
        layers: Of the encoder, ``DCUNET_10``, ``DCUNET_16``, ``DCUNET_20`` or your own, with odd kernels.
        phase: ``"complex"`` is the paper's. The others take the magnitude of the mask alone, and the phase of the
            mixture or Griffin-Lim's.
        iterations: Of Griffin-Lim.

    Shape:
        (batch, channels, time) -> (batch, channels, time)

    References:
        [choi2019]_.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        sample_rate: int = 16_000,
        n_fft: int = 1024,
        hop_length: int = 256,
        layers: Sequence[ComplexLayer] = DCUNET_16,
        phase: Phase = "complex",
        iterations: int = 32,
    ) -> None:
        super().__init__(channels, sample_rate, n_fft=n_fft, hop_length=hop_length, phase=phase, iterations=iterations)
        self._needs("filters and strides", [s for layer in layers for s in (layer.filters, *layer.stride)], least=1)
        self._needs_odd("kernels", [size for layer in layers for size in layer.kernel])
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.encoder_norms, self.decoder_norms = nn.ModuleList(), nn.ModuleList()
        inputs = channels
        for depth, (filters, kernel, stride) in enumerate(layers):
            middle = (kernel[0] // 2, kernel[1] // 2)
            self.encoder.append(
                _Complex(*(nn.Conv2d(inputs, filters, kernel, stride, middle, bias=False) for _ in range(2)))
            )
            self.encoder_norms.append(_Parts(filters))
            heard = filters if depth == len(layers) - 1 else 2 * filters
            self.decoder.insert(
                0,
                _Complex(
                    *(nn.ConvTranspose2d(heard, inputs, kernel, stride, middle, bias=depth == 0) for _ in range(2))
                ),
            )
            if depth:
                self.decoder_norms.insert(0, _Parts(inputs))
            inputs = filters
        self.steps = [1, 1]
        for layer in layers:
            self.steps = [step * stride for step, stride in zip(self.steps, layer.stride, strict=True)]

    @classmethod
    def small(cls, channels: int = 1, *, phase: Phase = "complex") -> "DCUNet":
        """One of some thousand parameters, for tests."""
        layers = (ComplexLayer(6, (5, 3), (2, 2)), ComplexLayer(8, (3, 3), (2, 1)), ComplexLayer(8, (3, 3), (2, 2)))
        return cls(channels, n_fft=128, hop_length=64, layers=layers, phase=phase)

    def network(self, spectrum: Spectrum, size: Bins) -> Maps:
        bins, frames = spectrum.shape[2:]
        filling = (0, -(frames - 1) % self.steps[1], 0, -(bins - 1) % self.steps[0])
        x = tuple(nn.functional.pad(part, filling) for part in (spectrum.real, spectrum.imag))
        skips: list[tuple[Tensor, Tensor]] = []
        for layer, norm in zip(self.encoder, self.encoder_norms, strict=True):
            x = norm(layer(x))
            skips.append(x)
        x = skips.pop()
        *layers, last = self.decoder
        for layer, norm in zip(layers, self.decoder_norms, strict=True):
            x = norm(layer(x))
            x = tuple(torch.cat(parts, 1) for parts in zip(x, skips.pop(), strict=True))
        return torch.cat(last(x), 1)[:, :, :bins, :frames]

    def magnitude(self, maps: Maps, size: Bins) -> Bins:
        return bounded(maps).abs() * size
