"""A look at a pair before it is compared: what would spoil the comparison, in plain words.

A measure of the waveform takes a late, quiet or inverted copy for a bad one. Every threshold here is set where the
fault by itself holds the signal-to-noise ratio below about 20 dB, or where aligning gains 1 dB: less than that decides
no comparison.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from percloss.errors import SampleRateError, ShapeError

__all__ = ["Finding", "Kind", "screen"]

Kind = Literal["nonfinite", "silence", "swapped_channels", "delay", "polarity", "level", "offset", "clipping"]

# The delay is sought up to this much either way, in this much of the recording where the reference is the loudest.
_LATEST_SECONDS = 1.0
_EXCERPT_SECONDS = 10
# Half a step of 16 bits: the peak of a recording that is silent but for its dither is one step or less.
_SILENT_PEAK = 1.5 * 2**-15
# The largest sample of 16 bits, less half a step. Two at the peak happen by chance; from three on a top is flat.
_FULL_SCALE = 1 - 1.5 * 2**-15
_FLAT = 3
# Aligned, the residual must shrink by this factor, 1 dB: so much the scale-invariant ratio is worse for the fault.
_CLEARLY = 10**0.1
# The most that may be left when a delay is mended: a voice is like itself a few periods later by chance, but less.
_UNLIKE = 0.5
# What is like its reference to 60 dB needs no aligning, and rounding decides what lies below.
_EXPLAINED = 1e-6
# A level 1 dB off limits the ratio to 19 dB, and is about the least that can be heard; an offset of 0.1 to 20 dB.
_LEVEL_DB = 1.0
_OFFSET = 0.1


@dataclass(frozen=True)
class Finding:
    """One thing that would spoil a comparison.

    Attributes:
        kind: Which.
        message: What was found, with its number, and what to do.
        value: The number: samples of delay (positive where the estimate is late), decibels of level, samples at full
            scale, peak of a silent signal, count of channels or samples.
    """

    kind: Kind
    message: str
    value: float


def screen(est: Tensor, ref: Tensor | None, sample_rate: int) -> list[Finding]:
    """What would spoil the comparison of an estimate with its reference; an empty list if nothing would.

    Args:
        est: Estimate.
        ref: Reference, if there is one.
        sample_rate: Of both [Hz].

    Shape:
        est, ref: (1, channels, time), the same.

    Raises:
        SampleRateError: A rate that is no positive integer.
        ShapeError: Two shapes, or another shape.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> for finding in screen(-0.5 * ref, ref, 16_000):
        ...     print(finding.message)
        the estimate has the opposite polarity of the reference; multiply it by -1 before scoring
        the estimate is 6.0 dB quieter than the reference; multiply it by 2 or use a scale-invariant measure
    """
    shape = est.shape if ref is None else ref.shape
    if est.dim() != 3 or est.shape != shape or est.shape[0] != 1 or est.numel() == 0:
        raise ShapeError(
            f"screen: est {tuple(est.shape)} and ref {tuple(shape)} came; both are (1, channels, time) and alike; "
            f"cut both to the shorter and screen one item at a time."
        )
    if not isinstance(sample_rate, int) or sample_rate < 1:
        raise SampleRateError(
            f"screen: sample_rate={sample_rate!r} came; an integer of 1 Hz or more is needed; use 16000."
        )
    given = {"estimate": est} if ref is None else {"estimate": est, "reference": ref}
    pair = {name: x[0].detach().float() for name, x in given.items()}
    if broken := [finding for name, wave in pair.items() for finding in _nonfinite(name, wave)]:
        return broken
    silent = [finding for name, wave in pair.items() for finding in _silence(name, wave)]
    if any(finding.value == est.shape[1] for finding in silent):
        return silent
    aligned = [] if ref is None else _alignment(pair["estimate"], pair["reference"], sample_rate)
    return [*silent, *aligned, *_clipping(pair)]


def _nonfinite(name: str, wave: Tensor) -> Iterator[Finding]:
    if not torch.isfinite(_peaks(wave)).all():
        count = wave.numel() - int(torch.isfinite(wave).sum())
        yield Finding(
            "nonfinite",
            f"the {name} holds {_many(count, 'sample')} that are NaN or infinite; no measure takes them, make it again",
            count,
        )


def _silence(name: str, wave: Tensor) -> Iterator[Finding]:
    peaks = _peaks(wave)
    silent = (peaks <= _SILENT_PEAK).nonzero()[:, 0].tolist()
    if silent:
        loudest = float(peaks[silent].max())
        level = f"peak {20 * math.log10(loudest):.0f} dBFS" if loudest > 0 else "digital silence"
        yield Finding(
            "silence",
            f"{_channels(silent, wave)}the {name} is silent ({level}); most measures have no value there, "
            f"check that it is the right file",
            len(silent),
        )


def _alignment(est: Tensor, ref: Tensor, sample_rate: int) -> Iterator[Finding]:
    """Order of channels, delay, polarity, level and offset, each judged with the ones before it mended."""
    start = _loudest(ref, sample_rate)
    est, ref = (wave[:, start : start + _EXCERPT_SECONDS * sample_rate] for wave in (est, ref))
    est_mean, ref_mean = est.mean(dim=-1), ref.mean(dim=-1)
    est, ref = est - est_mean[:, None], ref - ref_mean[:, None]

    straight = _Correlation(est, ref, sample_rate)
    best = straight
    if len(est) == 2:
        swapped = _Correlation(est, ref.flip(0), sample_rate)
        if _clearly_less(swapped.residual(swapped.lag), straight.residual(straight.lag)):
            best, ref, ref_mean = swapped, ref.flip(0), ref_mean.flip(0)
            yield Finding(
                "swapped_channels", "left and right of the estimate are swapped; swap them back before scoring", 2
            )
    mended = best.residual(best.lag)
    lag = best.lag if mended < _UNLIKE and _clearly_less(mended, best.residual(0)) else 0
    if lag:
        yield Finding(
            "delay",
            f"the estimate {'lags' if lag > 0 else 'leads'} the reference by {_many(abs(lag), 'sample')} "
            f"({1000 * abs(lag) / sample_rate:.2f} ms); waveform measures suffer, "
            f"cut them from the start of the {'estimate' if lag > 0 else 'reference'} before scoring",
            lag,
        )
    flipped = best.flipped(lag)
    if flipped:
        yield Finding(
            "polarity",
            f"{_channels(flipped, est)}the estimate has the opposite polarity of the reference; "
            f"multiply it by -1 before scoring",
            len(flipped),
        )
    gain = best.gain(lag)
    level = 20 * math.log10(gain)
    if abs(level) > _LEVEL_DB:
        yield Finding(
            "level",
            f"the estimate is {abs(level):.1f} dB {'louder' if level > 0 else 'quieter'} than the reference; "
            f"multiply it by {1 / gain:.3g} or use a scale-invariant measure",
            level,
        )
    signs = torch.ones(len(est))
    signs[flipped] = -1
    offset = est_mean.cpu() - gain * signs * ref_mean.cpu()
    far = (offset.abs() > _OFFSET * est.square().mean(dim=-1).sqrt().cpu()).nonzero()[:, 0].tolist()
    if far:
        largest = float(offset[far][offset[far].abs().argmax()])
        yield Finding(
            "offset",
            f"{_channels(far, est)}the estimate has a constant offset of {largest:+.4f} that the reference has not; "
            f"subtract it before scoring",
            largest,
        )


def _clipping(pair: dict[str, Tensor]) -> Iterator[Finding]:
    counted = {name: _flat_tops(wave) for name, wave in pair.items()}
    for name, (tops, samples) in counted.items():
        # A true copy of a clipped reference is no worse for it.
        if samples > (counted["reference"][1] if name == "estimate" and "reference" in counted else 0):
            yield Finding(
                "clipping",
                f"the {name} is clipped in {_many(tops, 'place')} ({_many(samples, 'sample')} at full scale); "
                f"lower the level before it is written",
                samples,
            )


class _Correlation:
    """How alike two recordings are, channel by channel, at every lag up to the latest."""

    def __init__(self, est: Tensor, ref: Tensor, sample_rate: int) -> None:
        time = est.shape[-1]
        latest = min(int(_LATEST_SECONDS * sample_rate), time - 1)
        n = next_fast_len(time + latest, real=True)
        cross = torch.fft.irfft(torch.fft.rfft(est, n) * torch.fft.rfft(ref, n).conj(), n)
        self.est, self.ref, self.latest = est, ref, latest
        self.at = torch.cat((cross[:, n - latest :], cross[:, : latest + 1]), dim=-1)
        self.ref_energy = _energies(ref)
        explained = (self.at.square() / self.ref_energy.to(self.at)[:, None]).nan_to_num(0, 0, 0).sum(dim=0)
        self.lag = int(explained.argmax()) - latest

    def products(self, lag: int) -> tuple[Tensor, Tensor, Tensor]:
        """Energies of both and their product, per channel, where they overlap; in float64, for residuals near zero."""
        time = self.est.shape[-1]
        est, ref = self.est[:, max(lag, 0) : time + min(lag, 0)], self.ref[:, max(-lag, 0) : time - max(lag, 0)]
        est, ref = est.cpu().double(), ref.cpu().double()
        return _energies(est), _energies(ref), (est * ref).sum(dim=-1)

    def residual(self, lag: int) -> float:
        """The part of the estimate's energy that no scaling of the reference explains: 1 / (1 + SI-SDR as a power)."""
        est, ref, product = self.products(lag)
        return 1 - float((product.square() / ref).nan_to_num(0, 0, 0).sum() / est.sum())

    def gain(self, lag: int) -> float:
        """Of the estimate's level over the reference's.

        The least-squares gain sees a loss where an estimate misses something, the ratio of energies a rise where it
        has something more. A change of level is in both; the one nearer to 1 is what they agree on.
        """
        est, ref, product = self.products(lag)
        ratio = float((est.sum() / ref.sum()).sqrt())
        projected = float(product.abs().sum() / ref.sum())
        if (ratio - 1) * (projected - 1) <= 0:
            return 1.0
        return min(ratio, projected, key=lambda gain: abs(math.log(gain)))

    def flipped(self, lag: int) -> list[int]:
        """Channels that resemble the inverted reference at this lag clearly more than the upright one at any."""
        energy = _energies(self.est) * self.ref_energy
        upright = (self.at.amax(dim=-1).clamp(min=0).square().cpu() / energy).nan_to_num(0)
        inverted = (self.at[:, self.latest + lag].clamp(max=0).square().cpu() / energy).nan_to_num(0)
        return ((1 - upright) > _CLEARLY * (1 - inverted)).nonzero()[:, 0].tolist()


def _clearly_less(residual: float, present: float) -> bool:
    return present > _EXPLAINED and present > _CLEARLY * residual


def _loudest(ref: Tensor, sample_rate: int) -> int:
    """Where the excerpt begins in which the reference has the most energy; in seconds' steps."""
    seconds = ref.shape[-1] // sample_rate
    if seconds <= _EXCERPT_SECONDS:
        return 0
    energy = ref[:, : seconds * sample_rate].square().sum(dim=0).view(seconds, sample_rate).sum(dim=-1)
    return int(energy.unfold(0, _EXCERPT_SECONDS, 1).sum(dim=-1).argmax()) * sample_rate


def _flat_tops(wave: Tensor) -> tuple[int, int]:
    """Runs of equal samples at full scale, and the samples in them."""
    if wave.shape[-1] < _FLAT or (_peaks(wave) < _FULL_SCALE).all():
        return 0, 0
    windows = wave.unfold(-1, _FLAT, 1)
    middle = (windows[..., :1].abs() >= _FULL_SCALE).squeeze(-1) & (windows == windows[..., :1]).all(dim=-1)
    # Each run of n samples makes n - 2 such windows.
    tops = int(middle[:, :1].sum() + (middle[:, 1:] & ~middle[:, :-1]).sum())
    return tops, int(middle.sum()) + (_FLAT - 1) * tops


def _peaks(wave: Tensor) -> Tensor:
    """Per channel; NaN where there is one."""
    lowest, highest = wave.aminmax(dim=-1)
    return torch.maximum(-lowest, highest)


def _energies(wave: Tensor) -> Tensor:
    return wave.square().sum(dim=-1, dtype=torch.float64).cpu()


def _channels(found: list[int], wave: Tensor) -> str:
    """Which channels, unless it is all of them."""
    if len(found) == len(wave):
        return ""
    numbers = ", ".join(str(channel + 1) for channel in found)
    return f"{'channel' if len(found) == 1 else 'channels'} {numbers} of "


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
