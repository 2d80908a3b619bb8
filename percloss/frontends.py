"""Front ends: waveform in, representation out. They own every window and filter bank, as constants."""

from collections.abc import Callable, Hashable

from torch import Tensor, nn

from percloss._typing import Bins, Spectrum, Wave
from percloss.dsp import filterbanks
from percloss.dsp.banded import blocks, product
from percloss.dsp.resample import resample, resample_kernel
from percloss.dsp.scales import Scale
from percloss.dsp.stft import hann, power, stft, stft_adjoint
from percloss.errors import ArgumentError


class FrontEnd(nn.Module):
    """Holds constants in float64, out of ``state_dict``, and keeps that precision whatever the model is cast to."""

    def constant(self, name: str, value: Tensor) -> None:
        """Register a tensor that moves with the module but is never saved, trained or rounded."""
        self.register_buffer(name, value.double(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FrontEnd":
        before = dict(self._buffers)
        try:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        except TypeError:  # a device without float64 (MPS): float32 is the best it can hold
            for name, value in before.items():
                self._buffers[name] = None if value is None else value.float()
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            return self
        for name, value in before.items():
            after = self._buffers[name]
            if value is not None and after is not None and after.dtype != value.dtype:
                self._buffers[name] = value.to(after.device)
        return self


class Stft(FrontEnd):
    """Short-time Fourier transform with a Hann window, scaled so that a full-scale sine peaks at magnitude 1.

    That scale makes a floor in dB mean the same at every resolution, and leaves every ratio of magnitudes as it was.

    Args:
        n_fft: Transform length [samples].
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        win_length: Window length [samples]; ``None`` is ``n_fft``.

    Shape:
        (batch, channels, time) -> complex (batch, channels, n_fft // 2 + 1, 1 + time // hop_length)
    """

    window: Tensor
    #: Which window, where a subclass has others: front ends of one kind and size share their spectra.
    kind: Hashable = "hann"

    def __init__(self, n_fft: int, hop_length: int | None = None, win_length: int | None = None) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.win_length = n_fft if win_length is None else win_length
        self.hop_length = self.win_length // 4 if hop_length is None else hop_length
        if not (2 <= self.win_length <= n_fft and self.hop_length >= 1):
            raise ArgumentError(
                f"Stft: got n_fft={n_fft}, win_length={win_length}, hop_length={hop_length}; needed are "
                f"2 <= win_length <= n_fft and hop_length >= 1."
            )
        window = hann(self.win_length)
        self.constant("window", window / (window.sum() / 2))

    def forward(self, x: Wave) -> Spectrum:
        """The complex spectrum."""
        return stft(x, self.window.to(x.dtype), n_fft=self.n_fft, hop_length=self.hop_length)

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What two front ends have in common if and only if they make the same spectrum."""
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return name, self.kind, self.n_fft, self.hop_length, self.win_length

    def adjoint(self, gradient: Tensor, time: int) -> Tensor:
        """Carry a gradient of the spectrum, (rows, bins, frames), back to ``time`` samples of each row."""
        window = self.window.to(gradient.real.dtype)
        return stft_adjoint(gradient, window, n_fft=self.n_fft, hop_length=self.hop_length, time=time)

    def power(self, x: Wave) -> Bins:
        """The power spectrum; a full-scale sine peaks at 1."""
        return power(self(x))


class Bank(FrontEnd):
    """Weighted sums of bins, one for each row of a matrix.

    Args:
        bank: The weights, (bands, bins).

    Shape:
        (batch, channels, bins, frames) -> (batch, channels, bands, frames)
    """

    bank: Tensor

    def __init__(self, bank: Tensor) -> None:
        super().__init__()
        self.constant("bank", bank)
        self._blocks, self._adjoint_blocks = blocks(bank), blocks(bank.mT)

    def forward(self, bins: Bins) -> Bins:
        """The bands of a magnitude or power spectrum."""
        return product(self.bank.to(bins.dtype), self._blocks, bins)

    def adjoint(self, gradient: Bins) -> Bins:
        """Carry a gradient of the bands back to the bins."""
        return product(self.bank.to(gradient.dtype).mT, self._adjoint_blocks, gradient)


class Bands(Bank):
    """Bins gathered into bands on a scale of hearing, each band the weighted mean of the bins it covers.

    The triangles' weights sum to one in each band, so that a band is never larger than its largest bin. A band without
    a bin is an EmptyBandError.

    Args:
        scale: A row of ``dsp.scales.SCALES``.
        sample_rate: Of the signals [Hz].
        n_bands: Number of bands.
        n_fft: Transform length [samples].
        f_min: Lower edge of the first band [Hz].
        f_max: Upper edge of the last band [Hz]; ``None`` is half the sample rate.

    Shape:
        (batch, channels, bins, frames) -> (batch, channels, n_bands, frames)
    """

    def __init__(
        self,
        scale: Scale,
        sample_rate: int,
        n_bands: int,
        n_fft: int,
        f_min: float = 0.0,
        f_max: float | None = None,
    ) -> None:
        bank = filterbanks.triangular_bank(
            scale, sample_rate=sample_rate, n_fft=n_fft, n_bands=n_bands, f_min=f_min, f_max=f_max, norm="none"
        )
        super().__init__(bank / bank.sum(1, keepdim=True))


class Resampler(FrontEnd):
    """Band-limited resampling with a gradient.

    Args:
        orig: Rate that comes in [Hz].
        new: Rate that goes out [Hz].

    Shape:
        (batch, channels, time) -> (batch, channels, ceil(time * new / orig))
    """

    kernel: Tensor

    def __init__(self, orig: int, new: int) -> None:
        super().__init__()
        self.orig, self.new = orig, new
        self.constant("kernel", resample_kernel(orig, new))

    def forward(self, x: Wave) -> Tensor:
        """The same sound at the other rate."""
        return resample(x, self.orig, self.new, self.kernel.to(x.dtype))
