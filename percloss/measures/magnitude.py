"""Distances of STFT magnitudes on gentler scales than the logarithm, and at resolutions that are drawn by chance."""

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from percloss._typing import PerItem, Spectrum, Wave
from percloss.dsp.safe import db_to_power, magnitude
from percloss.dsp.stft import power
from percloss.engine import Closed, Pair, SpectralMeasure, applies, compare
from percloss.errors import ArgumentError
from percloss.frontends import Stft
from percloss.measure import Measure, register
from percloss.measures.spectral import MultiResolutionSTFTDistance
from percloss.spec import Spec

BOUNDS = (0.0, math.inf)
Norm = Literal["l1", "l2"]


@register
class SmoothLogSTFTDistance(SpectralMeasure):
    r"""Distance of magnitudes on a logarithm that is linear near zero.  Lower is better; 0 where they are equal.

    .. math:: \operatorname{mean} \bigl\lvert \ln(1 + \gamma|\hat S|) - \ln(1 + \gamma|S|) \bigr\rvert^p

    A bin far below :math:`1 / \gamma` hardly counts, where a plain logarithm hears -100 dB as loudly as the voice; far
    above, the distance is that of logarithms. Magnitudes are those of a transform that shows a full-scale sine as 1, so
    that the bend is at the same level at every resolution. Public implementations of the paper set 1 on an unscaled
    transform, where the bend moves with the window; the default here is what that is for a Hann window of 1024 samples.
    Their flat-top windows of prime lengths are not taken over.

    Args:
        n_fft: Transform length [samples].
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        win_length: Length of the Hann window [samples]; ``None`` is ``n_fft``.
        gamma: The bend: 1000 puts it at -60 dB re a full-scale sine.
        norm: ``"l1"`` (p = 1) or ``"l2"`` (p = 2).
        floor_db: Added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> SmoothLogSTFTDistance()(-ref, ref)
        tensor([[0.]])

    References:
        [schwar2023]_.
    """

    spec = Spec(
        name="smooth_log_stft",
        title="Smoothed log STFT distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("schwar2023",),
    )

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int | None = None,
        win_length: int | None = None,
        *,
        gamma: float = 256.0,
        norm: Norm = "l2",
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        if not 0 < gamma < math.inf or norm not in ("l1", "l2"):
            raise ArgumentError(
                f'smooth_log_stft: got gamma={gamma}, norm={norm!r}; needed are a gamma above 0 and "l1" or "l2".'
            )
        self.transform(Stft(n_fft, hop_length, win_length))
        self.n_fft, self.hop_length, self.win_length = n_fft, hop_length, win_length
        self.gamma, self.norm, self.floor_db = gamma, norm, floor_db

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        floor = db_to_power(self.floor_db)
        logs = [(self.gamma * magnitude(power(x), floor)).log1p() for x in (est, ref)]
        return _mean(logs[0] - logs[1], self.norm)

    def closed(self, pair: Pair) -> Closed:
        est, ref = pair.magnitudes(db_to_power(self.floor_db))
        bent = self.gamma * est
        difference = bent.log1p() - (self.gamma * ref).log1p()
        value = _mean(difference, self.norm)
        slope = _slope(difference, self.norm)
        return Closed(value, slope.mul_(self.gamma).div_(bent.add_(1)).div_(est))


@register
class CompressedMagnitudeDistance(SpectralMeasure):
    r"""Distance of power-compressed STFT magnitudes.  Lower is better; 0 where they are equal.

    .. math:: \operatorname{mean} u \, \bigl\lvert |\hat S|^c - |S|^c \bigr\rvert^p, \qquad
        u = \begin{cases} \text{undershoot} & |\hat S| < |S| \\ 1 & \text{else} \end{cases}

    The power gives soft sounds a say, as loudness does, and c = 1 is the distance of plain magnitudes. ``undershoot``
    above 1 makes speech that was taken away dearer than noise that was left. With 1 and ``"l2"`` this is
    ``CompressedSTFTDistance(complex_weight=0)``, which hears phase at other weights; this one never does.

    Args:
        n_fft: Transform length [samples].
        hop_length: Step between frames [samples]; ``None`` is a quarter of the window.
        win_length: Length of the Hann window [samples]; ``None`` is ``n_fft``.
        compression: Exponent c of the magnitudes, above 0 to 1.
        norm: ``"l1"`` (p = 1) or ``"l2"`` (p = 2).
        undershoot: Weight of the bins in which the estimate is too quiet. DeepFilterNet, of masks, sets 2;
            VoiceFilter-Lite puts its 10 inside the square, which is 100 here.
        floor_db: Added to the power of each bin [dB re a full-scale sine].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.sin(torch.arange(8000) / 4)[None, None]
        >>> loud, quiet = (CompressedMagnitudeDistance(undershoot=2.0)(gain * ref, ref) for gain in (1.1, 0.9))
        >>> bool(quiet > loud)
        True

    References:
        [braun2021]_ for the compression; [wang2020]_ for the asymmetry.
    """

    spec = Spec(
        name="compressed_magnitude",
        title="Compressed STFT magnitude distance",
        unit="1",
        better="lower",
        bounds=BOUNDS,
        perfect=0.0,
        invariant_to=frozenset({"polarity", "swap"}),
        cite=("braun2021", "wang2020"),
    )

    def __init__(
        self,
        n_fft: int = 512,
        hop_length: int | None = None,
        win_length: int | None = None,
        *,
        compression: float = 0.3,
        norm: Norm = "l2",
        undershoot: float = 1.0,
        floor_db: float = -120.0,
    ) -> None:
        super().__init__()
        if not (0 < compression <= 1 and 0 < undershoot < math.inf and norm in ("l1", "l2")):
            raise ArgumentError(
                f"compressed_magnitude: got compression={compression}, norm={norm!r}, undershoot={undershoot}; needed "
                f'are a compression above 0 to 1, "l1" or "l2", and an undershoot above 0.'
            )
        self.transform(Stft(n_fft, hop_length, win_length))
        self.n_fft, self.hop_length, self.win_length = n_fft, hop_length, win_length
        self.compression, self.norm, self.undershoot, self.floor_db = compression, norm, undershoot, floor_db
        if undershoot != 1:
            self.spec = replace(self.spec, invariant_to=frozenset({"polarity"}))

    def distance(self, est: Spectrum, ref: Spectrum) -> PerItem:
        floor = db_to_power(self.floor_db)
        sizes = [(power(x) + floor) ** (self.compression / 2) for x in (est, ref)]
        return _mean(self._weighted(sizes[0] - sizes[1]), self.norm)

    def closed(self, pair: Pair) -> Closed:
        floor = db_to_power(self.floor_db)
        est, ref = pair.est_power + floor, pair.ref_power + floor
        size = est ** (self.compression / 2)
        difference = self._weighted(size - ref ** (self.compression / 2))
        value = _mean(difference, self.norm)
        slope = self._weighted(_slope(difference, self.norm))
        return Closed(value, slope.mul_(size).div_(est).mul_(self.compression))

    def _weighted(self, difference: Tensor) -> Tensor:
        """Scaled where negative, so that its norm is weighted by ``undershoot`` there."""
        if self.undershoot == 1:
            return difference
        weight = self.undershoot if self.norm == "l1" else math.sqrt(self.undershoot)
        return torch.where(difference < 0, weight * difference, difference)


class RandomResolutionSTFTDistance(Measure):
    """Mean of the STFT magnitude distance over resolutions that ``draw`` chose.  Lower is better; 0 where equal.

    No fixed set of windows leaves marks that a network could fit. The measure itself is a function: it keeps its
    resolutions until ``draw`` is called, and what is drawn depends on seed, step and the length of the signals alone;
    no global random state is read. ``RandomResolutionSTFTLoss`` draws at each step of a training.

    A transform length is a power of two, each as likely as the others, up to the longest that fits into the signal; the
    Hann window is the whole of it, a half or a quarter; the step is a share of the window. The ranges are auraloss's,
    whose code takes the step of the transform, so that up to three quarters of the samples may lie between the windows,
    never draws the longest transform, and draws from five shapes of window.

    Args:
        resolutions: How many are drawn.
        n_ffts: Shortest and longest transform [samples], powers of two.
        hops: Shortest and longest step, as a share of the window.
        convergence: Weight of spectral convergence, as in ``STFTDistance``.
        log: Weight of the log-magnitude term.
        linear: Weight of the magnitude term.
        floor_db: Added to the power of each bin [dB re a full-scale sine].
        seed: Of what is drawn, 0 or more.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> measure = RandomResolutionSTFTDistance(seed=1)
        >>> measure.draw(step=7, time=16_000)
        >>> first = measure.sizes
        >>> measure.draw(step=8, time=16_000)
        >>> first == measure.sizes
        False

    References:
        [steinmetz2020]_.
    """

    spec = replace(
        MultiResolutionSTFTDistance.spec,
        name="random_stft",
        title="STFT distance at random resolutions",
        cite=("steinmetz2020",),
    )

    def __init__(
        self,
        resolutions: int = 3,
        *,
        n_ffts: tuple[int, int] = (16, 32_768),
        hops: tuple[float, float] = (0.1, 1.0),
        convergence: float = 1.0,
        log: float = 1.0,
        linear: float = 0.0,
        floor_db: float = -120.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        powers = all(n_fft & (n_fft - 1) == 0 for n_fft in n_ffts)
        if resolutions < 1 or not (8 <= n_ffts[0] <= n_ffts[1] and powers and 0 < hops[0] <= hops[1] <= 1) or seed < 0:
            raise ArgumentError(
                f"random_stft: got resolutions={resolutions}, n_ffts={n_ffts}, hops={hops}, seed={seed}; needed are "
                f"one resolution at least, n_ffts=(shortest, longest) as powers of two not below 8, hops=(shortest, "
                f"longest) above 0 to 1, and a seed not below 0."
            )
        self.resolutions, self.n_ffts, self.hops, self.seed = resolutions, n_ffts, hops, seed
        self.convergence, self.log, self.linear, self.floor_db = convergence, log, linear, floor_db
        self.draw()

    def draw(self, step: int = 0, *, time: int | None = None) -> None:
        """Choose the resolutions of a step. The same seed, step and time give the same ones in every process.

        Args:
            step: Number of the step, 0 or more.
            time: Length of the signals that will come [samples]: no transform is longer. ``None`` sets no limit.
        """
        low, high = (n_fft.bit_length() - 1 for n_fft in self.n_ffts)
        if time is not None:  # where not even the shortest fits it is drawn all the same, for the door to refuse
            high = min(high, max(low, time.bit_length() - 1))
        # torch's generator takes 32 bits of a seed: the sequence of numpy mixes seed and step into that many.
        mixed = int(np.random.SeedSequence((self.seed, step)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(mixed)
        chances = torch.rand(self.resolutions, 3, generator=generator, dtype=torch.float64, device="cpu")
        sizes = []
        for size, part, hop in chances.tolist():
            n_fft = 2 ** (low + int(size * (high - low + 1)))
            window = n_fft // 2 ** int(3 * part)
            share = self.hops[0] + hop * (self.hops[1] - self.hops[0])
            sizes.append((n_fft, max(1, int(window * share)), window))
        device = next((window.device for window in self.buffers()), None)
        self.drawn = self._at(sizes).to(device)
        self.min_samples = self.drawn.min_samples

    @property
    def sizes(self) -> tuple[tuple[int, int, int], ...]:
        """What was drawn: transform, step and window of each resolution [samples]."""
        fronts = [term.measure.front for term in self.drawn.terms()]
        return tuple((front.n_fft, front.hop_length, front.win_length) for front in fronts)

    def _at(self, sizes: list[tuple[int, int, int]]) -> MultiResolutionSTFTDistance:
        n_ffts, steps, windows = zip(*sizes, strict=True)
        weights = {"convergence": self.convergence, "log": self.log, "linear": self.linear}
        return MultiResolutionSTFTDistance(n_ffts, steps, windows, floor_db=self.floor_db, **weights)

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        if self.engine == "closed" and applies(est, ref):
            return compare(self.drawn.terms(), est, ref)
        return self.drawn.eager(est, ref)


def _mean(difference: Tensor, norm: Norm) -> PerItem:
    """Mean absolute or mean squared value over bins and frames."""
    size = difference.abs() if norm == "l1" else difference.square()
    return size.flatten(2).mean(-1)


def _slope(difference: Tensor, norm: Norm) -> Tensor:
    """Derivative of ``_mean`` by each difference; takes the memory of ``difference``."""
    count = difference[0, 0].numel()
    return difference.sign_().div_(count) if norm == "l1" else difference.mul_(2 / count)
