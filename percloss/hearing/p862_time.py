"""Where the estimate is behind the reference: the time alignment of ITU-T P.862, in whole samples and without a graph.

The order is that of the Recommendation: a delay of the envelopes, utterances of the reference, for each a delay of the
envelopes and then of the samples by a histogram over frames, and utterances split where two delays explain them better.
It shapes the signals by a band-pass of its own (``PASS``) in place of the Recommendation's filter.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# Hz, and the order of the slopes. Chosen among others because the delays that result are those that explain the
# scores of the package pesq on speech through a telephone's recursive filter.
PASS, SLOPES = (400.0, 1500.0), 4

# Envelopes are levels of 4 ms, speech where they are above a threshold that settles in so many steps.
BINS_PER_SECOND = 250
THRESHOLD_STEPS = 12
THRESHOLD_FLOOR = 1e-4
# Bins: a shorter burst is no speech, a shorter gap no pause, a shorter utterance not aligned by itself.
BURST, GAP, UTTERANCE = 4, 50, 50
# How far from the delay of the whole an utterance is looked for, and a part of one from that of the utterance [bins].
SEARCH = 75

# Frames of 64 ms, a quarter apart. Each votes for one delay by a power of its correlation; votes within 4 ms add up.
FRAME_SECONDS, FRAMES_OVERLAP = 0.064, 4
VOTE_EXPONENT = 0.125
KERNEL_PART = 16
# An utterance so long is tried for a split every fiftieth of it, neither part shorter than this [bins]. Of the values
# tried these come nearest to the scores of the package pesq, on speech with 30 ms inserted or 0.5 % slower.
DIVISIBLE, PART, STEPS = 200, 75, 50


class Section(NamedTuple):
    """Samples of the reference from ``begin`` on, and by how many the estimate is later there."""

    begin: int
    delay: int


class _Part(NamedTuple):
    """A stretch of the reference [bins], its delay [samples], and how sure that is (0 to 1)."""

    begin: int
    end: int
    delay: int
    confidence: float


class Alignment:
    """The alignment of one pair, of level-aligned signals (time,) behind the input filter."""

    def __init__(self, est: Tensor, ref: Tensor, sample_rate: int) -> None:
        self.est, self.ref = (band_pass(x, sample_rate) for x in (est, ref))
        self.bin, self.frame = sample_rate // BINS_PER_SECOND, round(sample_rate * FRAME_SECONDS)
        self.window = torch.hann_window(self.frame, dtype=ref.dtype)
        (self.est_levels, _), (self.ref_levels, speech) = (envelope(x, self.bin) for x in (self.est, self.ref))
        correlation = correlate(self.ref_levels, self.est_levels)
        self.whole = int(correlation.argmax()) - len(self.ref_levels) + 1
        self.utterances = [(begin, end) for begin, end in runs(speech) if end - begin >= UTTERANCE]
        self._votes: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def constant(self) -> Iterator[Section]:
        """One delay for all."""
        yield Section(0, self.part(0, len(self.ref_levels), self.whole).delay)

    def variable(self) -> Iterator[Section]:
        """A delay for each utterance, or for each part of one."""
        whole = self.utterances or [(0, len(self.ref_levels))]
        parts = [piece for begin, end in whole for piece in self.split(self.part(begin, end, self.whole))]
        # A pause belongs half to the utterance before it and half to the one after.
        borders = [(before.end + after.begin) * self.bin // 2 for before, after in itertools.pairwise(parts)]
        for begin, part in zip([0, *borders], parts, strict=True):
            yield Section(begin, part.delay)

    def part(self, begin: int, end: int, around: int) -> _Part:
        """A stretch with its delay, looked for around one [bins]."""
        return self.fine(begin, end, self.crude(begin, end, around))

    def crude(self, begin: int, end: int, around: int) -> int:
        """The delay of the envelope [bins]."""
        first = begin + around - SEARCH
        wanted = torch.zeros(end - begin + 2 * SEARCH, dtype=self.ref.dtype)
        low, high = max(first, 0), min(first + len(wanted), len(self.est_levels))
        if low < high:
            wanted[low - first : high - first] = self.est_levels[low:high]
        levels = self.ref_levels[begin:end]
        correlation = correlate(levels, wanted)[len(levels) - 1 :][: 2 * SEARCH + 1]
        return around - SEARCH + int(correlation.argmax()) if correlation.max() > 0 else around

    def fine(self, begin: int, end: int, crude: int) -> _Part:
        """The delay that most frames vote for [samples]."""
        lags, weights = self.votes(crude, begin * self.bin, end * self.bin - self.frame)
        histogram = torch.zeros(self.frame, dtype=self.ref.dtype).index_add_(0, lags, weights)
        total = float(histogram.sum())
        if total <= 0:
            return _Part(begin, end, crude * self.bin, 0.0)
        smooth = torch.fft.irfft(torch.fft.rfft(histogram) * self.kernel(), self.frame)
        lag = int(smooth.argmax())
        confidence = float(smooth[lag]) / total
        return _Part(begin, end, crude * self.bin + (lag + self.frame // 2) % self.frame - self.frame // 2, confidence)

    def kernel(self) -> Tensor:
        """Spectrum of the triangle that adds up votes for neighbouring delays."""
        width = self.frame // KERNEL_PART
        distance = torch.arange(self.frame, dtype=self.ref.dtype)
        distance = torch.minimum(distance, self.frame - distance)
        spectrum: Tensor = torch.fft.rfft((1 - distance / width).clamp(min=0))
        return spectrum

    def votes(self, crude: int, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Of frames that begin from the first sample to the last: delay beyond a crude one [bins], and its weight."""
        shift, hop = crude * self.bin, self.frame // FRAMES_OVERLAP
        last = min(last, len(self.ref) - self.frame, len(self.est) - shift - self.frame)
        wanted = slice(-(-max(first, -shift, 0) // hop), max(0, last // hop + 1))
        known, lags, weights = self._votes.setdefault(
            crude,
            (
                torch.zeros(len(self.ref) // hop, dtype=torch.bool),
                torch.zeros(len(self.ref) // hop, dtype=torch.int64),
                torch.zeros(len(self.ref) // hop, dtype=self.ref.dtype),
            ),
        )
        new = wanted.start + (~known[wanted]).nonzero()[:, 0]
        if len(new):
            frames = hop * new[:, None] + torch.arange(self.frame)
            ref, est = (torch.fft.rfft(x * self.window) for x in (self.ref[frames], self.est[frames + shift]))
            peak, lags[new] = torch.fft.irfft(ref.conj() * est, self.frame).abs().max(1)
            weights[new] = peak**VOTE_EXPONENT
            known[new] = True
        return lags[wanted], weights[wanted]

    def split(self, part: _Part) -> Iterator[_Part]:
        """The part, or two with a delay each that both explain their half better, and their parts again."""
        length = part.end - part.begin
        around = round(part.delay / self.bin)
        most = 0.0
        best: tuple[_Part, ...] = (part,)
        if length >= DIVISIBLE:
            for middle in range(part.begin + PART, part.end - PART + 1, max(1, round(length / STEPS))):
                halves = self.part(part.begin, middle, around), self.part(middle, part.end, around)
                first, second = halves
                sure = first.confidence + second.confidence
                better = min(first.confidence, second.confidence) > part.confidence
                if first.delay != second.delay and better and sure > most:
                    most, best = sure, halves
        if len(best) == 1:
            yield part
        else:
            for half in best:
                yield from self.split(half)


def band_pass(x: Tensor, sample_rate: int) -> Tensor:
    """What matters to time: the band in which voiced speech has its energy, without a phase."""
    size = 1 << (len(x) + round(FRAME_SECONDS * sample_rate)).bit_length()
    hertz = torch.fft.rfftfreq(size, 1 / sample_rate, dtype=x.dtype).clamp(min=1.0)
    low, high = PASS
    response = ((1 + (low / hertz) ** (2 * SLOPES)) * (1 + (hertz / high) ** (2 * SLOPES))).rsqrt()
    passed: Tensor = torch.fft.irfft(torch.fft.rfft(x, size) * response, size)[: len(x)]
    return passed


def envelope(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Level above the threshold of speech in each bin, and which bins are speech."""
    power = x[: len(x) // size * size].view(-1, size).square().mean(1)
    power = power.clamp(min=float(power.max()) * THRESHOLD_FLOOR)
    threshold = float(power.mean())
    for _ in range(THRESHOLD_STEPS):
        quiet = power[power <= threshold]
        if len(quiet):
            threshold = float(quiet.mean() + 2 * quiet.std(correction=0))
    speech = power > threshold
    for begin, end in runs(speech):
        if end - begin <= BURST:
            speech[begin:end] = False
    levels = torch.where(speech, (power / max(threshold, torch.finfo(x.dtype).tiny)).log(), 0)
    joined = speech.clone()
    for begin, end in runs(~speech):
        if end - begin <= GAP and begin > 0 and end < len(speech):
            joined[begin:end] = True
    return levels, joined


def runs(marks: Tensor) -> Iterator[tuple[int, int]]:
    """Begin and end of every stretch that is marked."""
    padded = torch.nn.functional.pad(marks.int(), (1, 1))
    edges = padded.diff().nonzero()[:, 0].tolist()
    yield from zip(edges[::2], edges[1::2], strict=True)


def correlate(x: Tensor, y: Tensor) -> Tensor:
    r"""Sums :math:`\sum_i x_i y_{i + k}` for every ``k`` that has one, the first ``1 - len(x)``."""
    size = 1 << (len(x) + len(y)).bit_length()
    circular = torch.fft.irfft(torch.fft.rfft(x, size).conj() * torch.fft.rfft(y, size), size)
    return torch.cat([circular[size - len(x) + 1 :], circular[: len(y)]])


def lag(est: Tensor, ref: Tensor, *, begin: int, reach: int, least: float) -> int:
    """How much later than at ``begin`` a stretch of magnitudes of the estimate is most like the reference's.

    Args:
        est: All of the estimate, (time,).
        ref: A stretch of the reference, (samples,).
        begin: Where that stretch is in the estimate, as far as known.
        reach: How far the search goes, forth and back.
        least: Correlation below which it is noise against noise, and the answer 0.
    """
    first, last = begin - reach, begin + len(ref) + reach
    padding = max(0, -first), max(0, last - len(est))
    around = torch.nn.functional.pad(est, padding)[first + padding[0] : last + padding[0]]
    norm = (ref.square().sum() * around.square().sum()).sqrt()
    if norm == 0:
        return 0
    correlation = correlate(ref, around)[len(ref) - 1 :][: 2 * reach + 1] / norm
    return int(correlation.argmax()) - reach if correlation.max() >= least else 0
