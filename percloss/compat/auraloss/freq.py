"""auraloss.freq: losses of short-time spectra, ``(batch, channels, time)`` in, from one window to many."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from percloss import distances
from percloss.compat.auraloss._banks import bank
from percloss.compat.auraloss.perceptual import FIRFilter, SumAndDifference
from percloss.compat.auraloss.utils import REDUCTIONS, Forgetful, apply_reduction, checked, follow
from percloss.dsp.safe import magnitude
from percloss.dsp.stft import power
from percloss.engine import Spectral, SpectralMeasure, SumOf
from percloss.errors import ArgumentError, ShapeError
from percloss.frontends import Stft
from percloss.losses import Loss
from percloss.measures.spectral import STFTDistance
from percloss.spec import Spec

Part = Tensor | float
Full = tuple[Tensor, Part, Part, Part, Part]
FullOfMany = tuple[Tensor, list[Part], list[Part], list[Part], list[Part]]
WINDOWS = ("hann_window", "bartlett_window", "blackman_window", "hamming_window", "kaiser_window")


class SpectralConvergenceLoss(nn.Module):
    """Norm of the difference of two magnitudes over that of the target: per item, in legacy of the batch as a whole."""

    def __init__(self, *, legacy: bool = False) -> None:
        super().__init__()
        self.legacy = legacy

    def forward(self, x_mag: Tensor, y_mag: Tensor) -> Tensor:
        """The mean over items, ``(..., bins, frames)`` in."""
        if self.legacy:
            return _global_convergence(x_mag, y_mag)
        x, y = (mag.reshape(-1, 1, *mag.shape[-2:]) for mag in (x_mag, y_mag))
        return distances.convergence(x, y, 0.0).mean()


class STFTMagnitudeLoss(nn.Module):
    """L1 or L2 distance of two magnitudes above 0, or of their logarithms."""

    def __init__(
        self, log: bool = True, distance: str = "L1", reduction: str = "mean", *, legacy: bool = False
    ) -> None:
        super().__init__()
        self.log, self.legacy = log, legacy  # the same either way: every constructor takes it
        self.distance = checked("distance", distance, ("L1", "L2"))
        self.reduction = checked("reduction", reduction, REDUCTIONS)

    def forward(self, x_mag: Tensor, y_mag: Tensor) -> Tensor:
        """The loss; every bin's if the reduction is ``"none"``."""
        return apply_reduction(_distance(x_mag, y_mag, self.log, self.distance), self.reduction)


def _global_convergence(x: Tensor, y: Tensor) -> Tensor:
    convergence: Tensor = torch.linalg.vector_norm(y - x) / torch.linalg.vector_norm(y)
    return convergence


def _distance(x: Tensor, y: Tensor, log: bool, kind: str) -> Tensor:
    difference = x.log() - y.log() if log else x - y
    return difference.abs() if kind == "L1" else difference.square()


class _Front(Stft):
    """A transform with any window of torch's, not scaled, and the bank of a scale."""

    fb: Tensor | None

    def __init__(self, size: tuple[int, int, int], window: str, fb: Tensor | None, legacy: bool) -> None:
        super().__init__(*size)
        shape = getattr(torch, window, None) if window == "ones" or window.endswith("_window") else None
        if shape is None:
            raise ArgumentError(f"STFTLoss: got window={window!r}; needed is 'ones' or one of {', '.join(WINDOWS)}.")
        self.kind = window, legacy
        self.constant("window", shape(size[2], dtype=torch.float32 if legacy else torch.float64))
        if fb is None:
            self.fb = None
        else:
            self.constant("fb", fb)

    def bands(self, bins: Tensor) -> Tensor:
        """The bins gathered by the bank, if there is one."""
        return bins if self.fb is None else self.fb.to(bins.dtype) @ bins


class _Terms(SpectralMeasure):
    """The four terms of auraloss' STFT loss, each where its weight is not 0."""

    spec = Spec(
        name="auraloss_stft",
        title="auraloss' STFT loss",
        unit="1",
        better="lower",
        bounds=(-math.inf, math.inf),
        perfect=0.0,
    )
    front: _Front

    def __init__(
        self, front: _Front, weights: Sequence[float], eps: float, kind: str, scale_invariance: bool, legacy: bool
    ) -> None:
        super().__init__()
        self.transform(front)
        self.weights, self.eps, self.kind, self.scale_invariance = tuple(weights), eps, kind, scale_invariance
        self.legacy = legacy
        # Power of a silent band, on average.
        self.floor = eps if front.fb is None else eps * float(front.fb.sum(-1).square().mean())

    def magnitude(self, spectrum: Tensor) -> Tensor:
        """Magnitude of the bins, or of the bands, above a floor that is added; in legacy clamped to."""
        bins = power(spectrum).clamp(min=self.eps).sqrt() if self.legacy else magnitude(power(spectrum), self.eps)
        return self.front.bands(bins)

    def parts(self, est: Tensor, ref: Tensor) -> list[Part]:
        """Convergence, logarithmic, linear and phase term of (batch, channels, bins, frames).

        Those of magnitude have a value per bin, the others one per item, or one in all in legacy.
        """
        convergence, log, linear, phase = self.weights
        x, y = self.magnitude(est), self.magnitude(ref)
        found: list[Part] = [0.0] * 4
        gain = None
        if self.scale_invariance:
            gain = (x * y).sum((-2, -1), keepdim=True) / y.square().sum((-2, -1), keepdim=True)
            if self.legacy:
                gain = gain.view(-1, 1)  # along the bins, so that it fits one row, or as many as there are bins
        scaled = y if gain is None else gain * y
        if convergence and self.legacy:
            found[0] = _global_convergence(x, scaled)
        elif convergence:
            # By the reference as it is: the scaled one is silent where the estimate is, and that must not be rewarded.
            per_item = distances.convergence(x if gain is None else x / gain, y, self.floor)
            found[0] = per_item[..., None, None]
        if log:
            found[1] = _distance(x, scaled, True, self.kind)
        if linear:
            found[2] = _distance(x, scaled, False, self.kind)
        if phase and self.legacy:
            found[3] = (est.angle() - ref.angle()).square().mean()
        elif phase:
            per_item = 2 * distances.cosine_phase(est, ref)  # about the mean square of a small angle
            found[3] = torch.where(per_item.isnan(), 0, per_item)[..., None, None]
        return found

    def distance(self, est: Tensor, ref: Tensor) -> Tensor:
        parts = zip(self.weights, self.parts(est, ref), strict=True)
        terms = [weight * part.mean((2, 3)) for weight, part in parts if isinstance(part, Tensor)]
        return torch.stack(terms).sum(0)


class STFTLoss(Forgetful):
    """Distance of short-time spectra, by default ``percloss.STFTDistance`` with auraloss's scale and floor.

    ``device`` counts for nothing: constants follow the signal. ``"full"`` returns the loss and its four terms.
    """

    saved = ("fb",)

    def __init__(
        self,
        fft_size: int = 1024,
        hop_size: int = 256,
        win_length: int = 1024,
        window: str = "hann_window",
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        sample_rate: float | None = None,
        scale: str | None = None,
        n_bins: int | None = None,
        perceptual_weighting: bool = False,
        scale_invariance: bool = False,
        eps: float = 1e-8,
        output: str = "loss",
        reduction: str = "mean",
        mag_distance: str = "L1",
        device: Any = None,
        *,
        legacy: bool = False,
    ) -> None:
        super().__init__()
        self.fft_size, self.hop_size, self.win_length, self.eps = fft_size, hop_size, win_length, eps
        self.w_sc, self.w_log_mag, self.w_lin_mag, self.w_phs = w_sc, w_log_mag, w_lin_mag, w_phs
        self.sample_rate, self.scale, self.n_bins, self.device = sample_rate, scale, n_bins, device
        self.perceptual_weighting, self.scale_invariance, self.legacy = perceptual_weighting, scale_invariance, legacy
        self.output = checked("output", output, ("loss", "full"))
        self.reduction = checked("reduction", reduction, REDUCTIONS)
        self.mag_distance = checked("mag_distance", mag_distance, ("L1", "L2"))
        weights = (w_sc, w_log_mag, w_lin_mag, w_phs)
        if not any(weights) or (eps <= 0 and not legacy):
            raise ArgumentError(f"STFTLoss: got weights {weights} and eps={eps}; needed are one not 0, and above 0.")
        if perceptual_weighting:
            if sample_rate is None:
                raise ArgumentError(
                    "STFTLoss: got perceptual_weighting=True and no sample_rate; type sample_rate=44100."
                )
            self.prefilter = FIRFilter("aw", fs=sample_rate, legacy=legacy)
        fb = bank(scale, sample_rate, fft_size, n_bins, legacy)
        self.front = _Front((fft_size, hop_size, win_length), window, fb, legacy)
        self.terms = _Terms(self.front, weights, eps, mag_distance, scale_invariance, legacy)
        plain = (window, scale, mag_distance, scale_invariance, w_phs) == ("hann_window", None, "L1", False, 0)
        self.measure = self._closed() if plain and min(weights) >= 0 else self.terms
        self.mean = Loss(self.measure)

    def _closed(self) -> STFTDistance:
        """The same distance with a hand-written gradient; its window is scaled, so that a sine peaks at 1."""
        peak = float(self.front.window.sum()) / 2
        return STFTDistance(
            *(self.fft_size, self.hop_size, self.win_length),
            convergence=self.w_sc,
            log=self.w_log_mag,
            linear=self.w_lin_mag * peak,
            floor_db=10 * math.log10(self.eps / peak**2),
        )

    def stft(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude above the floor and phase of ``(batch, time)``."""
        spectrum = self.front(x[:, None])[:, 0]
        floored = power(spectrum).clamp(min=self.eps).sqrt() if self.legacy else magnitude(power(spectrum), self.eps)
        return floored, spectrum.angle()

    def forward(self, input: Tensor, target: Tensor) -> Tensor | Full:
        """The loss, ``(batch * channels, bins, frames)`` if the reduction is ``"none"``."""
        est, ref = self.prepared(input, target)
        if self.is_mean:
            loss: Tensor = self.mean(est, ref)
            return loss
        full = self.full(est, ref)
        return full if self.output == "full" else full[0]

    @property
    def is_mean(self) -> bool:
        """Whether it is the mean of a measure and nothing else is asked for."""
        return not self.legacy and self.output == "loss" and self.reduction == "mean"

    def prepared(self, input: Tensor, target: Tensor, measure: Spectral | None = None) -> list[Tensor]:
        """The signals checked and, if so wanted, A-weighted."""
        if input.dim() != 3 or target.dim() != 3:
            raise ShapeError(
                f"STFTLoss: got {tuple(input.shape)} and {tuple(target.shape)}; needed is (batch, channels, time). "
                f"Type x[:, None] for (batch, time)."
            )
        follow(self, input)
        pair = [input, target]
        if not self.legacy:
            pair = list((measure or self.measure)._checked({"est": input, "ref": target}).values())
        if not self.perceptual_weighting:
            return pair
        rows = [x.reshape(-1, 1, x.shape[-1]) for x in pair]
        return [x.view(*input.shape[:2], -1) for x in self.prefilter(*rows)]

    def full(self, est: Tensor, ref: Tensor, per_item: bool = False) -> Full:
        """The loss and its four terms, reduced; or (batch, channels) of each."""
        spectra = [self.front(x if per_item else x.reshape(-1, 1, x.shape[-1])) for x in (est, ref)]
        parts = [self._reduced(part, per_item) for part in self.terms.parts(*spectra)]
        loss = sum(weight * part for weight, part in zip(self.terms.weights, parts, strict=True))
        return cast(Tensor, loss), parts[0], parts[1], parts[2], parts[3]

    def _reduced(self, part: Part, per_item: bool) -> Part:
        if not isinstance(part, Tensor):
            return part
        if per_item:
            return part.mean((2, 3))
        return apply_reduction(part.squeeze(1) if part.dim() == 4 else part, self.reduction)


class MelSTFTLoss(STFTLoss):
    """The STFT loss on Slaney's mel scale; a band without a bin is an ``EmptyBandError``."""

    def __init__(
        self,
        sample_rate: float,
        fft_size: int = 1024,
        hop_size: int = 256,
        win_length: int = 1024,
        window: str = "hann_window",
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        n_mels: int = 128,
        **kwargs: Any,
    ) -> None:
        size, weights = (fft_size, hop_size, win_length), (w_sc, w_log_mag, w_lin_mag, w_phs)
        super().__init__(*size, window, *weights, sample_rate, "mel", n_mels, **kwargs)


class ChromaSTFTLoss(STFTLoss):
    """The STFT loss on pitch classes, which auraloss 0.4.0 cannot build."""

    def __init__(
        self,
        sample_rate: float,
        fft_size: int = 1024,
        hop_size: int = 256,
        win_length: int = 1024,
        window: str = "hann_window",
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        n_chroma: int = 12,
        **kwargs: Any,
    ) -> None:
        size, weights = (fft_size, hop_size, win_length), (w_sc, w_log_mag, w_lin_mag, w_phs)
        super().__init__(*size, window, *weights, sample_rate, "chroma", n_chroma, **kwargs)


class _MeanOfResolutions(nn.Module):
    """The mean of STFT losses that differ in nothing but their sizes and windows."""

    stft_losses: nn.ModuleList

    def hold(self, losses: Sequence[STFTLoss]) -> None:
        """Take these as what the mean is of."""
        self.stft_losses = nn.ModuleList(losses)
        self.measure = SumOf([(1 / len(losses), loss.measure) for loss in losses])
        self.measure.spec = replace(self.measure.spec, name="auraloss_mrstft")
        self.mean = Loss(self.measure)

    def mean_of(self, x: Tensor, y: Tensor) -> Tensor | FullOfMany:
        """Loss, or loss and lists of each term by resolution; ``(batch, channels)`` of them if nothing is reduced."""
        losses = [cast(STFTLoss, loss) for loss in self.stft_losses]
        first = losses[0]
        follow(self, x)
        est, ref = first.prepared(x, y, self.measure)
        if first.is_mean:
            mean: Tensor = self.mean(est, ref)
            return mean
        per_item = first.reduction == "none" and not first.legacy
        totals, *parts = zip(*(loss.full(est, ref, per_item) for loss in losses), strict=True)
        total = sum(totals[1:], totals[0]) / len(losses)
        return (total, *map(list, parts)) if first.output == "full" else total


class MultiResolutionSTFTLoss(_MeanOfResolutions):
    """Mean of the STFT loss over several sizes. ``"none"`` gives one value per item, ``(batch, channels)``."""

    def __init__(
        self,
        fft_sizes: Sequence[int] = (1024, 2048, 512),
        hop_sizes: Sequence[int] = (120, 240, 50),
        win_lengths: Sequence[int] = (600, 1200, 240),
        window: str = "hann_window",
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        sample_rate: float | None = None,
        scale: str | None = None,
        n_bins: int | None = None,
        perceptual_weighting: bool = False,
        scale_invariance: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.fft_sizes, self.hop_sizes, self.win_lengths = list(fft_sizes), list(hop_sizes), list(win_lengths)
        if not len(self.fft_sizes) == len(self.hop_sizes) == len(self.win_lengths) > 0:
            raise ArgumentError(
                f"MultiResolutionSTFTLoss: got {self.fft_sizes}, {self.hop_sizes}, {self.win_lengths}; needed are as "
                f"many hop_sizes and win_lengths as fft_sizes."
            )
        rest: list[Any] = [window, w_sc, w_log_mag, w_lin_mag, w_phs, sample_rate, scale, n_bins]
        rest += [perceptual_weighting, scale_invariance]
        sizes = zip(self.fft_sizes, self.hop_sizes, self.win_lengths, strict=True)
        self.hold([STFTLoss(fft, hop, window_length, *rest, **kwargs) for fft, hop, window_length in sizes])

    def forward(self, x: Tensor, y: Tensor) -> Tensor | FullOfMany:
        """The loss, or with ``output="full"`` the loss and four lists."""
        return self.mean_of(x, y)


class RandomResolutionSTFTLoss(_MeanOfResolutions):
    """Mean of the STFT loss over sizes drawn anew every ``randomize_rate`` calls.

    ``generator`` draws them, a torch generator of seed 0 if not given: every rank of a distributed run draws the same.
    Legacy draws from numpy's global one, and passes none of ``kwargs`` on.
    """

    def __init__(
        self,
        resolutions: int = 3,
        min_fft_size: int = 16,
        max_fft_size: int = 32768,
        min_hop_size: float = 0.1,
        max_hop_size: float = 1.0,
        windows: Sequence[str] = WINDOWS,
        w_sc: float = 1.0,
        w_log_mag: float = 1.0,
        w_lin_mag: float = 0.0,
        w_phs: float = 0.0,
        sample_rate: float | None = None,
        scale: str | None = None,
        n_mels: int | None = None,
        randomize_rate: int = 1,
        *,
        generator: torch.Generator | None = None,
        legacy: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.resolutions, self.min_fft_size, self.max_fft_size = resolutions, min_fft_size, max_fft_size
        self.min_hop_size, self.max_hop_size, self.windows = min_hop_size, max_hop_size, list(windows)
        self.randomize_rate, self.legacy = randomize_rate, legacy
        self.generator = torch.Generator().manual_seed(0) if generator is None else generator
        self._rest: list[Any] = [w_sc, w_log_mag, w_lin_mag, w_phs, sample_rate, scale, n_mels]
        self._settings = {"legacy": True} if legacy else kwargs
        self.nforwards = 0
        if not legacy:  # what the smallest transform cannot be built with must not be found out in training
            STFTLoss(min_fft_size, min_fft_size, min_fft_size, self.windows[0], *self._rest, **self._settings)
        self.randomize_losses()

    def randomize_losses(self) -> None:
        """Draw the resolutions."""
        self.hold([STFTLoss(*self._drawn(), *self._rest, **self._settings) for _ in range(self.resolutions)])

    def _drawn(self) -> tuple[int, int, int, str]:
        low, high = math.log2(self.min_fft_size), math.log2(self.max_fft_size)
        parts = (1.0, 0.5, 0.25)
        if self.legacy:
            # The generator, and the order, of auraloss.
            frame = 2 ** int(np.random.randint(int(low), int(high)))  # noqa: NPY002
            hop = np.random.rand()  # noqa: NPY002
            part = float(np.random.choice(parts))  # noqa: NPY002
            window = str(np.random.choice(self.windows))  # noqa: NPY002
        else:
            frame = 2 ** self._below(int(low), int(high))
            hop = float(torch.rand((), generator=self.generator))
            part, window = parts[self._below(0, 3)], self.windows[self._below(0, len(self.windows))]
        step = int(frame * (self.min_hop_size + hop * (self.max_hop_size - self.min_hop_size)))
        return frame, step, int(frame * part), window

    def _below(self, low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=self.generator))

    def forward(self, input: Tensor, target: Tensor) -> Tensor | FullOfMany:
        """The loss of signals longer than ``max_fft_size``."""
        shortest = min(input.shape[-1], target.shape[-1])
        if shortest <= self.max_fft_size:
            raise ShapeError(
                f"RandomResolutionSTFTLoss: got {shortest} samples; needed are more than max_fft_size="
                f"{self.max_fft_size}. Give a longer signal or a smaller max_fft_size."
            )
        if self.nforwards % self.randomize_rate == 0:
            self.randomize_losses()
        self.nforwards += 1
        return self.mean_of(input, target)


class SumAndDifferenceSTFTLoss(nn.Module):
    """Multi-resolution STFT loss of the sum and of the difference of stereo, halved; ``"full"`` returns both too."""

    def __init__(
        self,
        fft_sizes: Sequence[int],
        hop_sizes: Sequence[int],
        win_lengths: Sequence[int],
        window: str = "hann_window",
        w_sum: float = 1.0,
        w_diff: float = 1.0,
        output: str = "loss",
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.sd = SumAndDifference()
        self.w_sum, self.w_diff = w_sum, w_diff
        self.output = checked("output", output, ("loss", "full"))
        self.mrstft = MultiResolutionSTFTLoss(fft_sizes, hop_sizes, win_lengths, window, **kwargs)

    def forward(self, input: Tensor, target: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """The loss of ``(batch, 2, time)``."""
        if input.shape != target.shape:
            raise ShapeError(
                f"SumAndDifferenceSTFTLoss: input is {tuple(input.shape)} and target is {tuple(target.shape)}; needed "
                f"are equal shapes (batch, 2, time)."
            )
        (est_sum, est_diff), (ref_sum, ref_diff) = self.sd(input), self.sd(target)
        of_sum, of_diff = (cast(Tensor, self.mrstft(*pair)) for pair in ((est_sum, ref_sum), (est_diff, ref_diff)))
        loss = (self.w_sum * of_sum + self.w_diff * of_diff) / 2
        return (loss, of_sum, of_diff) if self.output == "full" else loss
