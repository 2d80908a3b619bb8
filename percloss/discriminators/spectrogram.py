"""Discriminators of the complex spectrogram: by resolution and band, and by resolution alone."""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from percloss.adversarial import Judgement
from percloss.discriminators.base import Discriminator, judge
from percloss.dsp.stft import hann, stft
from percloss.errors import EmptyBandError
from percloss.frontends import FrontEnd

DAC_BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))
# Time and frequency of the wide kernels that all of these have in common.
KERNEL = (3, 9)


class Spectrogram(FrontEnd):
    """Complex spectrogram whose window has unit energy: white noise of variance 1 has bins of variance 1.

    So that what a network hears does not depend on the resolution. A quarter of the window is a step, frames are
    centred and the signal is reflected at its ends. Half precision goes up to float32 and comes back.

    Shape:
        (batch, channels, time). Returns complex (batch, channels, frames, n_fft // 2 + 1).
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int | None = None) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, n_fft // 4 if hop_length is None else hop_length
        window = hann(n_fft)
        self.constant("window", window / window.norm())

    def forward(self, x: Tensor) -> Tensor:
        """The spectrogram, in float32 at least."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            return stft(x, self.window.to(x.dtype), n_fft=self.n_fft, hop_length=self.hop_length).transpose(-1, -2)

    def planes(self, x: Tensor) -> Tensor:
        """Real parts of all channels, then imaginary ones, in the precision of ``x``: (batch, 2 channels, ...)."""
        spectrum = self(x)
        return torch.cat([spectrum.real, spectrum.imag], 1).to(x.dtype)


def _conv(
    inputs: int, filters: int, kernel: tuple[int, int], *, stride: int = 1, dilation: int = 1, norm: bool = True
) -> nn.Module:
    """Strides go along frequency, dilation along time; frames keep their number."""
    padding = (kernel[0] // 2 * dilation, kernel[1] // 2)
    conv = nn.Conv2d(inputs, filters, kernel, (1, stride), padding, (dilation, 1))
    return weight_norm(conv) if norm else conv


class _Banded(nn.Module):
    """One resolution: a stack for each band, and one layer over all of them."""

    def __init__(self, channels: int, n_fft: int, filters: int, bands: Sequence[tuple[float, float]]) -> None:
        super().__init__()
        self.front = Spectrogram(n_fft)
        bins = n_fft // 2 + 1
        self.edges = [(int(low * bins), int(high * bins)) for low, high in bands]
        for (low, high), band in zip(self.edges, bands, strict=True):
            if not 0 <= low < high <= bins:
                raise EmptyBandError(
                    f"MultiResolutionDiscriminator: band {band} holds no bin of {bins}; needed are fractions "
                    f"0 <= low < high <= 1 wide enough for the smallest of n_ffts: bands=DAC_BANDS."
                )
        self.stacks = nn.ModuleList(
            nn.ModuleList(
                [
                    _conv(2 * channels, filters, KERNEL),
                    *(_conv(filters, filters, KERNEL, stride=2) for _ in range(3)),
                    _conv(filters, filters, (3, 3)),
                ]
            )
            for _ in bands
        )
        self.last = _conv(filters, 1, (3, 3))

    def forward(self, x: Tensor, slope: float) -> Judgement:
        planes = self.front.planes(x)
        heard = [
            judge(planes[..., low:high], stack, nn.Identity(), slope)
            for (low, high), stack in zip(self.edges, cast(Iterable[nn.ModuleList], self.stacks), strict=True)
        ]
        features = [feature for band in heard for feature in band.features]
        return Judgement(self.last(torch.cat([band.logits for band in heard], -1)), features)


class MultiResolutionDiscriminator(Discriminator):
    """DAC's discriminators of the complex spectrogram, each band of it heard by a network of its own.

    1.41 million parameters by default; DAC has it beside ``MultiPeriodDiscriminator()``. Per resolution and band:
    (3, 9) in time and frequency to 32 filters, three times the same with stride 2 in frequency, (3, 3); then (3, 3) to
    one over all bands; weight norm, slope 0.1.

    Two things are not as in DAC: the window has unit energy, and the signal's mean and peak are left as they are. DAC
    brings each to a peak of 0.8, which makes it deaf to level; to have that, do it before.

    Args:
        channels: Of the signals, heard together; DAC's are mono.
        n_ffts: Window lengths, one for each resolution [samples]; steps are a quarter.
        filters: Of every layer.
        bands: Lower and upper edges, as fractions of the spectrum. Not all of it must be heard.
        slope: Of the leaky rectifiers.

    Shape:
        (batch, channels, time > n_fft / 2). Judgements of logits (batch, 1, frames, bins), one for each resolution.

    References:
        [kumar2023]_.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        n_ffts: Sequence[int] = (2048, 1024, 512),
        filters: int = 32,
        bands: Sequence[tuple[float, float]] = DAC_BANDS,
        slope: float = 0.1,
    ) -> None:
        super().__init__(channels)
        self._needs("n_ffts", n_ffts, least=4)
        self._needs("filters", [filters], least=1)
        self._needs("bands", [len(band) for band in bands], least=2)
        self.slope = slope
        self.min_samples = max(n_ffts) // 2 + 1
        self.networks = nn.ModuleList(_Banded(channels, n_fft, filters, bands) for n_fft in n_ffts)

    def forward(self, x: Tensor) -> list[Judgement]:
        """What each resolution's network says."""
        self._check(x=x)
        return [network(x, self.slope) for network in self.networks]


class _Whole(nn.Module):
    """One resolution, all bins by one stack that widens in time by dilation."""

    def __init__(self, channels: int, n_fft: int, filters: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.front = Spectrogram(n_fft)
        self.hidden = nn.ModuleList(
            [
                _conv(2 * channels, filters, KERNEL, norm=False),
                *(_conv(filters, filters, KERNEL, stride=2, dilation=dilation) for dilation in dilations),
                _conv(filters, filters, (3, 3)),
            ]
        )
        self.last = _conv(filters, 1, (3, 3))

    def forward(self, x: Tensor, slope: float) -> Judgement:
        return judge(self.front.planes(x), self.hidden, self.last, slope)


class MultiScaleSTFTDiscriminator(Discriminator):
    """EnCodec's discriminators of the complex spectrogram at five resolutions.

    0.472 million parameters by default. Per resolution: (3, 9) in time and frequency to 32 filters, three times the
    same with stride 2 in frequency and dilation 1, 2, 4 in time, (3, 3), and (3, 3) to one; slope 0.2; weight norm in
    all but the first, as in the authors' code. Frames are centred and the ends reflected; theirs leave the ends
    unheard.

    Args:
        channels: Of the signals, heard together.
        n_ffts: Window lengths, one for each resolution [samples]; steps are a quarter.
        filters: Of every layer.
        dilations: In frames, of the layers that halve the bins.
        slope: Of the leaky rectifiers.

    Shape:
        (batch, channels, time > n_fft / 2). Judgements of logits (batch, 1, frames, bins), one for each resolution.

    References:
        [defossez2023]_.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        n_ffts: Sequence[int] = (2048, 1024, 512, 256, 128),
        filters: int = 32,
        dilations: Sequence[int] = (1, 2, 4),
        slope: float = 0.2,
    ) -> None:
        super().__init__(channels)
        self._needs("n_ffts", n_ffts, least=4)
        self._needs("filters", [filters], least=1)
        self._needs("dilations", dilations, least=1)
        self.slope = slope
        self.min_samples = max(n_ffts) // 2 + 1
        self.networks = nn.ModuleList(_Whole(channels, n_fft, filters, dilations) for n_fft in n_ffts)

    def forward(self, x: Tensor) -> list[Judgement]:
        """What each resolution's network says."""
        self._check(x=x)
        return [network(x, self.slope) for network in self.networks]
