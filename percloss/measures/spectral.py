"""Distances of spectral magnitudes: STFT at one and at several resolutions, mel, multi-scale mel, log-spectral."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from percloss import distances
from percloss._typing import PerItem, Spectrum
from percloss.dsp.safe import db_to_power, log_power, magnitude
from percloss.dsp.scales import SCALES
from percloss.dsp.stft import power
from percloss.engine import Closed, MeanOf, Pair, SpectralMeasure
from percloss.errors import ArgumentError
from percloss.frontends import Bands, Bank, Stft
from percloss.measure import register
from percloss.spec import Spec

BOUNDS = (0.0, math.inf)


@register
class STFTDistance(SpectralMeasure):
    r"""Distance of short-time magnitude spectra.  Lower is better; 0 where the magnitudes are equal.

    .. math::
        w_c \frac{\lVert |S| - |\hat S| \rVert_F}{\lVert S \rVert_F}
        + w_l \operatorname{mean}\bigl|\ln|\hat S| - \ln|S|\bigr| + w_m \operatorname{mean}\bigl||\hat S| - |S|\bigr|

    The first term, spectral convergence, is taken per item, so that items never mix; it is left out for an item whose
    reference is silent. ``floor_db`` is added to the power of each bin [dB re a full-scale sine]: no bin is ever
    without a gradient. It does not hear phase.

    Args:
        n_fft: Transform length [samples].
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        win_length: Length of the Hann window [samples]; ``None`` is ``n_fft``.
        convergence: Weight of the first term.
        log: Weight of the second.
        linear: Weight of the third.
        floor_db: See above.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> STFTDistance(linear=1.0, log=0.0, convergence=0.0)(ref, ref)
        tensor([[0.]])

    References:
        [arik2019]_ for the terms; [yamamoto2020]_ for their sum.
    """

    spec = Spec(
        name="stft",
        title="STFT magnitude distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity"}),
        cite=("arik2019", "yamamoto2020"),
    )

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int | None = None,
        win_length: int | None = None,
        *,
        convergence: float = 1.0,
        log: float = 1.0,
        linear: float = 0.0,
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        if min(convergence, log, linear) < 0 or convergence + log + linear == 0:
            raise ArgumentError(
                f"stft: got weights convergence={convergence}, log={log}, linear={linear}; "
                f"needed are none below 0 and one above."
            )
        self.transform(Stft(n_fft, hop_length, win_length))
        self.n_fft, self.hop_length, self.win_length = n_fft, hop_length, win_length
        self.convergence, self.log, self.linear, self.floor_db = convergence, log, linear, floor_db

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        floor = db_to_power(self.floor_db)
        est_power, ref_power = power(est), power(ref)
        value = torch.zeros_like(est_power[..., 0, 0])
        if self.log:
            ratio = log_power(est_power, floor) - log_power(ref_power, floor)
            value = value + self.log / 2 * ratio.abs().flatten(2).mean(-1)
        if self.convergence or self.linear:
            magnitudes = magnitude(est_power, floor), magnitude(ref_power, floor)
        if self.convergence:
            value = value + self.convergence * distances.convergence(*magnitudes, floor)
        if self.linear:
            value = value + self.linear * distances.mean_absolute(*magnitudes)
        return value

    def closed(self, pair: Pair) -> Closed:
        floor = db_to_power(self.floor_db)
        est, ref = pair.magnitudes(floor)
        count = est[0, 0].numel()
        value = torch.zeros_like(est[..., 0, 0])
        if not self.log:
            slope = torch.zeros_like(est)  # by the magnitude
        else:
            ratio = (est / ref).log_()
            value += self.log / count * ratio.abs().sum((2, 3))
            slope = ratio.sign_().div_(est).mul_(self.log / count)
        if self.convergence or self.linear:
            difference = est - ref
        if self.convergence:
            size, error = (torch.linalg.vector_norm(x, dim=(2, 3)) for x in (ref, difference))
            silent = size.square() <= 2 * floor * count
            scale = torch.where(silent | (error == 0), 0, self.convergence / (size * torch.where(error == 0, 1, error)))
            value += error.square() * scale
            slope.addcmul_(difference, scale[..., None, None])
        if self.linear:
            value += self.linear / count * difference.abs().sum((2, 3))
            slope.add_(difference.sign_(), alpha=self.linear / count)
        return Closed(value, slope.div_(est))


@register
class MultiResolutionSTFTDistance(MeanOf):
    r"""Mean of the STFT magnitude distance over several resolutions.  Lower is better; 0 where magnitudes are equal.

    No single window is right for both onsets and partials: what one resolution smears another resolves.

    Args:
        n_ffts: Transform lengths [samples]; each has a Hann window of that length.
        hop_lengths: Steps [samples]; ``None`` is a quarter of each.
        win_lengths: Window lengths [samples]; ``None`` is ``n_ffts``.
        convergence: Weight of spectral convergence.
        log: Weight of the log-magnitude term.
        linear: Weight of the magnitude term.
        floor_db: Added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> MultiResolutionSTFTDistance()(-ref, ref)
        tensor([[0.]])

    References:
        [yamamoto2020]_.
    """

    spec = Spec(
        name="mrstft",
        title="Multi-resolution STFT distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity"}),
        cite=("yamamoto2020",),
    )

    def __init__(
        self,
        n_ffts: Sequence[int] = (512, 1024, 2048),
        hop_lengths: Sequence[int] | None = None,
        win_lengths: Sequence[int] | None = None,
        *,
        convergence: float = 1.0,
        log: float = 1.0,
        linear: float = 0.0,
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        self.n_ffts = tuple(n_ffts)
        self.hop_lengths = None if hop_lengths is None else tuple(hop_lengths)
        self.win_lengths = None if win_lengths is None else tuple(win_lengths)
        self.convergence, self.log, self.linear, self.floor_db = convergence, log, linear, floor_db
        nones = [None] * len(self.n_ffts)
        sizes = (self.n_ffts, self.hop_lengths or nones, self.win_lengths or nones)
        if len({len(size) for size in sizes}) != 1:
            raise ArgumentError(f"mrstft: got {sizes}; needed are as many hop_lengths and win_lengths as n_ffts.")
        self.hold(
            [
                STFTDistance(*size, convergence=convergence, log=log, linear=linear, floor_db=floor_db)
                for size in zip(*sizes, strict=True)
            ]
        )


class BandDistance(SpectralMeasure):
    """Mean distance of log magnitudes in bands, whatever the bands: a final one brings its own."""

    bands: Bank
    floor_db: float
    #: Whether a band is the root of a sum of powers, as a filter's output is, and not a sum of magnitudes.
    adds_powers = False

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        floor = db_to_power(self.floor_db)
        if self.adds_powers:
            return distances.mean_absolute(*(self.bands(power(x) + floor).log() / 2 for x in (est, ref)))
        return distances.mean_absolute(*(self.bands(magnitude(power(x), floor)).log() for x in (est, ref)))

    def closed(self, pair: Pair) -> Closed:
        floor = db_to_power(self.floor_db)
        bins = (pair.est_power + floor, pair.ref_power + floor) if self.adds_powers else pair.magnitudes(floor)
        est, ref = (self.bands(x) for x in bins)
        ratio = (est / ref).log_()
        count = ratio[0, 0].numel()
        value = ratio.abs().sum((2, 3)) / count
        slope = self.bands.adjoint(ratio.sign_().div_(est).div_(count))
        return Closed(value / 2, slope) if self.adds_powers else Closed(value, slope.div_(bins[0]))


@register
class MelDistance(BandDistance):
    r"""Mean distance of log mel magnitudes.  Lower is better; 0 where they are equal.

    .. math:: \frac{1}{KN}\sum_{k,n} \bigl|\ln \hat M_{kn} - \ln M_{kn}\bigr|, \qquad
        M = B\,\sqrt{|S|^2 + \epsilon}

    with a bank :math:`B` of triangles on Slaney's mel scale whose weights sum to one. A band without a bin is an error
    when the measure is built, not a nan in training.

    Args:
        sample_rate: Of both signals [Hz].
        n_mels: Number of bands.
        n_fft: Transform length [samples].
        hop_length: Step between frames [samples]; ``None`` is a quarter of ``n_fft``.
        f_min: Lower edge of the first band [Hz].
        f_max: Upper edge of the last band [Hz]; ``None`` is half the sample rate.
        scale: Slaney's or HTK's mel.
        floor_db: :math:`\epsilon`, added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> MelDistance(16_000)(0.5 * ref, ref) < 0.7
        tensor([[True]])

    References:
        [kong2020]_, where it is the reconstruction loss; [slaney1998]_ for the bank.
    """

    spec = Spec(
        name="mel",
        title="Log mel distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("kong2020", "slaney1998"),
    )

    def __init__(
        self,
        sample_rate: int,
        *,
        n_mels: int = 80,
        n_fft: int = 2048,
        hop_length: int | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        scale: Literal["mel_slaney", "mel_htk"] = "mel_slaney",
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        self.transform(Stft(n_fft, hop_length))
        self.bands = Bands(SCALES[scale], sample_rate, n_mels, n_fft, f_min, f_max)
        self.sample_rate, self.n_mels, self.n_fft, self.hop_length = sample_rate, n_mels, n_fft, hop_length
        self.f_min, self.f_max, self.scale, self.floor_db = f_min, f_max, scale, floor_db


@register
class MultiScaleMelDistance(MeanOf):
    r"""Mean of the log mel distance over several resolutions, each with its own number of bands.  Lower is better.

    The defaults are the seven scales of the Descript audio codec, 32 to 2048 samples at 44.1 kHz: few bands where the
    window is short, many where it is long, and none of them empty. Above that rate the windows are as many times two
    longer as keep them so.

    Args:
        sample_rate: Of both signals [Hz].
        n_mels: Number of bands at each resolution.
        n_ffts: Transform lengths [samples]; ``None`` is as above.
        f_min: Lower edge of the first band [Hz].
        f_max: Upper edge of the last band [Hz]; ``None`` is half the sample rate.
        floor_db: Added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> MultiScaleMelDistance(44_100)(ref, ref)
        tensor([[0.]])

    References:
        [kumar2023]_.
    """

    spec = Spec(
        name="multi_scale_mel",
        title="Multi-scale log mel distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("kumar2023",),
    )

    def __init__(
        self,
        sample_rate: int,
        *,
        n_mels: Sequence[int] = (5, 10, 20, 40, 80, 160, 320),
        n_ffts: Sequence[int] | None = None,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        longer = 2 ** max(0, math.ceil(math.log2(sample_rate / 44_100)))
        sizes = tuple(longer * 2**power for power in range(5, 12)) if n_ffts is None else tuple(n_ffts)
        self.sample_rate, self.n_mels, self.n_ffts = sample_rate, tuple(n_mels), None if n_ffts is None else sizes
        self.f_min, self.f_max, self.floor_db = f_min, f_max, floor_db
        if len(self.n_mels) != len(sizes):
            raise ArgumentError(f"multi_scale_mel: got n_mels={n_mels}, n_ffts={sizes}; needed are as many of each.")
        self.hold(
            [
                MelDistance(sample_rate, n_mels=bands, n_fft=n_fft, f_min=f_min, f_max=f_max, floor_db=floor_db)
                for bands, n_fft in zip(self.n_mels, sizes, strict=True)
            ]
        )


@register
class LogSpectralDistance(SpectralMeasure):
    r"""Log-spectral distance, in dB.  Lower is better; 0 where the power spectra are equal.

    .. math:: \frac1N\sum_n \sqrt{\frac1K\sum_k \Bigl(10\log_{10}\frac{|\hat S_{kn}|^2}{|S_{kn}|^2}\Bigr)^2}

    There is no standard: papers on bandwidth extension leave out the factor 10, so that their values are a tenth of
    these. Transform and floor are stated here and are part of the number.

    Args:
        n_fft: Length of the Hann window and transform [samples].
        hop_length: Step between frames [samples]; ``None`` is a quarter of ``n_fft``.
        floor_db: Added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> LogSpectralDistance()(ref, ref)
        tensor([[0.]])

    References:
        [gray1976]_.
    """

    spec = Spec(
        name="lsd",
        title="Log-spectral distance",
        unit="dB",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("gray1976",),
    )

    def __init__(self, n_fft: int = 2048, hop_length: int | None = None, *, floor_db: float = -120.0) -> None:
        super().__init__()
        self.transform(Stft(n_fft, hop_length))
        self.n_fft, self.hop_length, self.floor_db = n_fft, hop_length, floor_db

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        floor = db_to_power(self.floor_db)
        ratio = log_power(power(est), floor) - log_power(power(ref), floor)
        per_frame = torch.linalg.vector_norm(ratio, dim=2) / math.sqrt(ratio.shape[2])
        value: Tensor = per_frame.mean(-1)
        return 10 / math.log(10) * value

    def closed(self, pair: Pair) -> Closed:
        floor = db_to_power(self.floor_db)
        est = pair.est_power + floor
        ratio = (est / (pair.ref_power + floor)).log_()
        bins, frames = ratio.shape[2:]
        norm = torch.linalg.vector_norm(ratio, dim=2, keepdim=True)
        scale = 10 / math.log(10) / math.sqrt(bins) / frames
        slope = ratio.div_(torch.where(norm == 0, 1, norm)).div_(est).mul_(2 * scale)
        return Closed(scale * norm.sum((2, 3)), slope)
