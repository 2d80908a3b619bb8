"""STOI and ESTOI: how much of noisy speech can be understood, from the correlation of its envelopes with clean ones."""

import math
from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import pad

from percloss._typing import PerItem, Wave
from percloss.distances import NOTHING
from percloss.dsp.resample import resample
from percloss.dsp.safe import db_to_amplitude, db_to_power, magnitude, undefined_where
from percloss.dsp.stft import power
from percloss.errors import SampleRateError
from percloss.frontends import FrontEnd
from percloss.measure import Measure, register
from percloss.spec import Spec

# All from Taal et al. 2011, section II: the rate [Hz], frames and their step [samples], the transform's length.
RATE, FRAME, HOP, N_FFT = 10_000, 256, 128, 512
# Third octaves, the centre of the lowest [Hz], and frames of a segment, 384 ms.
BANDS, LOWEST, SEGMENT = 15, 150.0, 30
# Of a frame that counts, below the loudest; of an estimate's share of noise in a unit, which is clipped beyond.
RANGE = db_to_amplitude(-40.0)
CLIPPED = 1 + db_to_amplitude(15.0)
# What varies less than this about its mean, relative to its size, is constant: float32 leaves as much.
CONSTANT = db_to_power(-140.0)
# A peak below this is silence: the gradient is one over the peak, and float32 has to hold it.
QUIETEST = db_to_amplitude(-400.0)
# Samples, and frames of each item, that a CPU works on in one go: what is made of them fits a cache.
AT_ONCE, SPECTRA = 2**17, 128
# More taps make a matrix of more than 128 MiB.
MOST_TAPS = 2**24


def octave_kernel(orig: int) -> Tensor:
    r"""The matrix that ``dsp.resample.resample`` takes, of the filter that Octave's ``resample`` designs for 10 kHz.

    A sinc under a Kaiser window, of 60 dB by Kaiser's formulas, whose transition is a tenth of its cutoff:

    .. math:: h[k] \propto \mathrm{sinc}(k / m)\, \frac{I_0(\beta \sqrt{1 - (k / L)^2})}{I_0(\beta)}, \qquad
              L = \lceil 52 \cdot 20 m / 28.714 \rceil, \quad \beta = 0.1102 \cdot 51.3

    at the common multiple of both rates, :math:`m` times half the lower one. Other filters change STOI by up to 1e-3.

    Args:
        orig: Rate of the input [Hz].

    Shape:
        Returns (outputs, inputs) in float64.

    Raises:
        SampleRateError: A rate that is no positive integer, or whose ratio to 10 kHz has no small terms.
    """
    if not (isinstance(orig, int) and orig > 0):
        raise SampleRateError(f"octave_kernel: {orig!r} Hz came; a rate is an integer of 1 Hz or more, such as 16000.")
    divisor = math.gcd(orig, RATE)
    before, after = orig // divisor, RATE // divisor
    if before == after:
        return torch.ones(1, 1, dtype=torch.float64)
    step = max(before, after)
    half = math.ceil(52 / (28.714 / (20 * step)))
    reach = math.ceil(half / after)
    repeats = max(1, math.ceil(1.6 * reach / before))  # the fastest: fewer copy more, more multiply more
    rows, columns = repeats * after, repeats * before + 2 * reach
    if rows * columns > MOST_TAPS:
        raise SampleRateError(
            f"octave_kernel: {orig} Hz came, in lowest terms {before} to {after} of 10 kHz, which takes a kernel of "
            f"{rows * columns} taps; {MOST_TAPS} are the most; resample to 16000 Hz offline, such as with soxr."
        )
    beta = 0.1102 * (60 - 8.7)
    taps = torch.arange(-half, half + 1, dtype=torch.float64)
    taps = torch.sinc(taps / step) * torch.special.i0(beta * (1 - (taps / half).square()).sqrt())
    taps = after * taps / taps.sum()
    at = torch.arange(rows)[:, None] * before - torch.arange(-reach, columns - reach) * after
    return torch.where(at.abs() <= half, taps[(at + half).clamp(0, 2 * half)], 0)


def third_octaves() -> Tensor:
    """Which bins make which band, (bands, bins): from the bin nearest to its lower edge up to that of its upper one."""
    bins = torch.arange(N_FFT // 2 + 1, dtype=torch.float64) * RATE / N_FFT
    edges = LOWEST * 2 ** ((2 * torch.arange(BANDS + 1, dtype=torch.float64) - 1) / 6)
    nearest = (bins - edges[:, None]).abs().argmin(1, keepdim=True)
    index = torch.arange(len(bins))
    return ((index >= nearest[:-1]) & (index < nearest[1:])).double()


class SpeechEnvelopes(FrontEnd):
    """Third-octave envelopes at 10 kHz of what is left of a signal when the pauses are cut out.

    In float64, since a band that is empty shall not be filled with the rounding of others.

    Args:
        sample_rate: Of the signals [Hz].
    """

    kernel: Tensor
    window: Tensor
    padded: Tensor
    bank: Tensor

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.constant("kernel", octave_kernel(sample_rate))
        self.constant("window", torch.hann_window(FRAME + 2, periodic=False, dtype=torch.float64)[1:-1])
        self.constant("padded", pad(self.window, (0, N_FFT - FRAME)))
        bank = third_octaves()
        self.constant("bank", bank[:, : int(bank.any(0).nonzero().max()) + 1])  # without the bins above all bands

    def hops(self, x: Wave) -> Tensor:
        """A signal at unit peak and 10 kHz, (batch, channels, hops, samples); two in a row are a frame.

        A frame that ends with the last sample is left out, as in the authors' code.
        """
        peak = x.detach().abs().amax(-1, keepdim=True)
        dtype = self.window.dtype  # that of the constants, float64, which a device may lack
        x = resample(x.to(dtype) / peak.to(dtype).clamp(min=QUIETEST), self.sample_rate, RATE, self.kernel)
        count = (x.shape[-1] - 1) // HOP
        return x[..., : count * HOP].unfold(-1, HOP, HOP)

    def energy(self, hops: Tensor) -> Tensor:
        """Of each frame under its window, (batch, channels, frames)."""
        begin, end = (hops.square() @ self.window.square().view(2, HOP).mT).unbind(-1)
        return begin[..., :-1] + end[..., 1:]

    def forward(self, hops: Tensor, order: Tensor) -> Tensor:
        """Envelopes, (batch, channels, bands, frames - 1), of frames laid over one another in this order."""
        batch, channels, count, _ = hops.shape
        # What is joined goes on in silence, so that frames of the transform's length are views of it.
        silence = (N_FFT - FRAME) // HOP
        hops = pad(hops, (0, 0, 0, 1)).flatten(0, 2)  # the last of each is silent
        item = torch.arange(batch * channels, device=order.device).view(batch, channels, 1) * (count + 1)
        begins = hops[item + pad(order, (0, silence), value=count)]
        ends = hops[item + pad(order[..., :-1] + 1, (1, silence), value=count)]
        joined = torch.addcmul(begins * self.window[:HOP], ends, self.window[HOP:])
        frames = joined.flatten(-2).unfold(-1, N_FFT, HOP)
        size = SPECTRA if hops.device.type == "cpu" else frames.shape[-2]
        bands = torch.cat([self._bands(some) for some in frames.split(size, -2)], -2)
        return (magnitude(bands, NOTHING) - math.sqrt(NOTHING)).mT

    def _bands(self, frames: Tensor) -> Tensor:
        """Power in each, (..., bands), of frames with silence after them."""
        spectrum = torch.fft.rfft(frames * self.padded)
        return power(spectrum[..., : self.bank.shape[1]]) @ self.bank.mT


class _Intelligibility(Measure):
    """What both share; the two final classes say what of a segment is correlated."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.front = SpeechEnvelopes(sample_rate)

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        if est.shape[-1] * RATE <= (FRAME + SEGMENT * HOP) * self.sample_rate:
            return undefined_where(torch.ones_like(est[..., 0], dtype=torch.bool), est.sum(-1))
        size = max(1, AT_ONCE // est[0].numel()) if est.device.type == "cpu" else len(est)
        return torch.cat([self._values(*some) for some in zip(est.split(size), ref.split(size), strict=True)])

    def _values(self, est: Wave, ref: Wave) -> PerItem:
        est_hops, ref_hops = self.front.hops(est), self.front.hops(ref)
        energy = self.front.energy(ref_hops.detach())
        kept = energy > RANGE**2 * energy.amax(-1, keepdim=True)
        order = kept.logical_not().to(torch.uint8).argsort(dim=-1, stable=True)
        envelopes = (self.front(hops, order).to(est.dtype) for hops in (est_hops, ref_hops))
        correlations = self.correlate(*envelopes)
        count = kept.sum(-1) - SEGMENT  # the last frame of all has none to be laid over and is left out
        counted = torch.arange(correlations.shape[-1], device=est.device) < count[..., None]
        mean = torch.where(counted, correlations, 0).sum(-1) / count.clamp(min=1)
        return undefined_where(count < 1, mean.clamp(-1, 1))

    @abstractmethod
    def correlate(self, est: Tensor, ref: Tensor) -> Tensor:
        """One correlation per segment of 30 frames, (batch, channels, segments), of envelopes (..., bands, frames)."""

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        return "less than 0.4 s of speech"


def segments(x: Tensor) -> Tensor:
    """The stretches of 30 frames that begin at each frame, (..., frames, segments): sums over the first are fast."""
    return x.unfold(-1, x.shape[-1] - SEGMENT + 1, 1)


def centred(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """What is left of it without its mean along an axis, and the norm of that, which is never 0."""
    mean = x.mean(dim, keepdim=True)
    x = x - mean
    varied = x.square().sum(dim, keepdim=True)
    return x, (varied + CONSTANT * (varied + x.shape[dim] * mean.square()) + NOTHING).sqrt()


def standardised(x: Tensor, dim: int) -> Tensor:
    """Of mean 0 and norm 1 along an axis; 0 where it does not vary."""
    x, size = centred(x, dim)
    return x / size


@register
class STOI(_Intelligibility):
    r"""Short-time objective intelligibility, from -1 to 1.  Higher is better; 1 where est is ref.

    The correlation of third-octave envelopes between 150 Hz and 4.3 kHz in segments of 384 ms, averaged:

    .. math:: \frac{1}{JM} \sum_{j,m} \rho(x_{jm}, \min(\alpha_{jm} y_{jm}, (1 + 10^{15/20})\, x_{jm})),
              \qquad \alpha_{jm} = \lVert x_{jm} \rVert / \lVert y_{jm} \rVert

    Frames 40 dB below the loudest of the reference are cut out of both signals first; which these are is held constant
    in the gradient. An item with less than 0.4 s left is nan, and a silent estimate is 0, as is each silent segment of
    one. The value is that of the package ``pystoi`` within 1e-6, at any level.

    Args:
        sample_rate: Of both signals [Hz]; brought to 10 kHz inside, by the filter of Octave's ``resample`` that the
            authors' figures rest on.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> STOI(16_000)(0.5 * ref, ref).round(decimals=3)
        tensor([[1.]])

    References:
        [taal2011]_, eq. 5 and 6.
    """

    spec = Spec(
        name="stoi",
        title="STOI",
        unit="1",
        better="higher",
        bounds=(-1.0, 1.0),
        perfect=1.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("taal2011",),
    )

    def correlate(self, est: Tensor, ref: Tensor) -> Tensor:
        est_size, ref_size = (magnitude(segments(x.square()).sum(-2, keepdim=True), NOTHING) for x in (est, ref))
        clipped = torch.minimum(segments(est) * (ref_size / est_size), segments(CLIPPED * ref))
        (est, est_size), (ref, ref_size) = centred(clipped, -2), centred(segments(ref), -2)
        return ((est * ref).sum(-2, keepdim=True) / (est_size * ref_size)).mean((2, -2))


@register
class ESTOI(_Intelligibility):
    r"""Extended short-time objective intelligibility, from -1 to 1.  Higher is better; 1 where est is ref.

    As STOI, with the spectra of a segment correlated instead of its envelopes, after the envelopes are brought to
    mean 0 and norm 1; so it tells modulated maskers apart:

    .. math:: \frac{1}{NM} \sum_{n,m} \rho_n(\bar x_m, \bar y_m)

    Noise-free: the package ``pystoi`` adds a dither to both signals, which shows only where there is nothing else.

    Args:
        sample_rate: Of both signals [Hz]; brought to 10 kHz inside.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> ESTOI(16_000)(0 * ref, ref)
        tensor([[0.]])

    References:
        [jensen2016]_.
    """

    spec = Spec(
        name="estoi",
        title="Extended STOI",
        unit="1",
        better="higher",
        bounds=(-1.0, 1.0),
        perfect=1.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("jensen2016",),
    )

    def correlate(self, est: Tensor, ref: Tensor) -> Tensor:
        est, ref = (standardised(standardised(segments(x), -2), 2) for x in (est, ref))
        return (est * ref).sum((2, 3)) / SEGMENT
