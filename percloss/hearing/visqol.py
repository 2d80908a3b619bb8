"""The parts of ViSQOL: a gammatone spectrogram, the similarity of two of its patches, and how patches find each other.

The model is that of Hines et al. 2015 and Chinen et al. 2020; where the papers leave a choice open, it is that of the
authors' code, google/visqol 3 (Apache-2.0), as the package visqol-python 3.8.0 (Apache-2.0) has it.
"""

import io
import math
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from percloss.dsp.safe import db_to_power, magnitude
from percloss.frontends import FrontEnd

# A window of 80 ms, moved by a quarter of it.
WINDOW_SECONDS, STEPS = 0.08, 4
# Glasberg and Moore's bandwidth, f / EAR_Q + NARROWEST [Hz], and how much wider a gammatone's is.
EAR_Q, NARROWEST, WIDER = 9.26449, 24.7, 1.019
# Floors of a spectrogram: absolute, and below the loudest band of a frame, in decibels of which 10 are a factor of 10
# in amplitude.
FLOOR_DB, RANGE_DB = -45.0, 45.0
# The 3 by 3 window of NSIM: its corners, edges and centre; and the two constants that keep its quotients finite.
CORNER, EDGE, CENTRE = 0.0113033910173052, 0.0838251475442633, 0.619485845753726
INTENSITY, STRUCTURE = 0.01**2, 0.03**2 / 2
# Under the root of a product of variances, of which the smallest that matters is STRUCTURE ** 2.
NO_VARIANCE = db_to_power(-240.0)
# What of the ringing after a frame counts, relative to the band's amplitude in it, and for how many time constants.
AUDIBLE, RINGING = 1e-5, 30.0
# Frames transformed at a time.
BLOCK = 512
# Of the support vector regression in visqol_svr.npy, rows of a weight and 32 similarities. All are those of
# libsvm_nu_svr_model.txt in google/visqol (Apache-2.0, copyright 2019 Google LLC, Andrew Hines), the rows in float32.
GAMMA, RHO = 0.01, -3.6816207123583506


def centres(n_bands: int, f_min: float, f_max: float) -> Tensor:
    """Centre frequencies [Hz], low to high, equally far apart on the scale of ERBs; the upper limit is not one."""
    offset = EAR_Q * NARROWEST
    share = torch.arange(n_bands, 0, -1, dtype=torch.float64) / n_bands
    return (f_max + offset) * ((f_min + offset) / (f_max + offset)) ** share - offset


class Gammatone(FrontEnd):
    """Root mean square of a signal in gammatone bands, window by window, in decibels of which 10 are a factor of 10.

    Each window is filtered from rest and heard for its own length. The energy of a filter's output is the sum over bins
    of power times response, by Parseval, less that of its ringing after the window. A filter of eighth order rings in a
    mixture of eight curves, whatever it was that excited it, so that this energy is that of a few products.

    Args:
        sample_rate: Of the signals [Hz].
        n_bands: Number of bands.
        f_min: Lowest centre [Hz].
        f_max: Where the next band above the highest would be [Hz].

    Shape:
        (frames, window) -> (frames, n_bands)
    """

    window: Tensor
    response: Tensor
    ringing: Tensor
    bands: Tensor

    def __init__(self, sample_rate: int, n_bands: int, *, f_min: float, f_max: float) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.length = round(WINDOW_SECONDS * sample_rate)
        self.hop = self.length // STEPS
        centre = 2 * math.pi * centres(n_bands, f_min, f_max)[:, None] / sample_rate
        erb = centres(n_bands, f_min, f_max)[:, None] / EAR_Q + NARROWEST
        decay = 2 * math.pi * WIDER * erb / sample_rate
        window = torch.hann_window(self.length, periodic=False, dtype=torch.float64)
        power = _response(2 * self.length, centre, decay).abs().square()
        power[:, 1:-1] *= 2  # the negative frequencies
        ringing, bands = _ringing(window, centre, decay)
        # Energies are divided by the length of the window, and that of a transform by its own.
        self.constant("window", window)
        self.constant("response", power.mT / (2 * self.length * self.length))
        self.constant("ringing", ringing / math.sqrt(self.length))
        self.constant("bands", bands)

    def frames(self, x: Tensor) -> Tensor:
        """Frames of a signal (time), (frames, window); what is left after the last whole one is not heard."""
        frames: Tensor = x.unfold(-1, self.length, self.hop)
        return frames

    def forward(self, frames: Tensor) -> Tensor:
        """Decibels, no lower than the floor."""
        return torch.cat([self._decibels(block) for block in frames.split(BLOCK)])

    def _decibels(self, frames: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(frames * self.window, 2 * self.length)
        power = spectrum.real.square() + spectrum.imag.square()
        mean: Tensor = power @ self.response - (frames @ self.ringing).square() @ self.bands
        return 5 * mean.clamp(min=db_to_power(2 * FLOOR_DB)).log10()


class Regression(FrontEnd):
    """Opinion score of similarities, (..., 32): a sum of Gaussian bells, one about each support vector."""

    weights: Tensor
    vectors: Tensor

    def __init__(self) -> None:
        super().__init__()
        table = np.load(io.BytesIO(resources.files("percloss").joinpath("hearing/visqol_svr.npy").read_bytes()))
        self.constant("weights", torch.from_numpy(table[:, 0]))
        self.constant("vectors", torch.from_numpy(table[:, 1:]))

    def forward(self, similarities: Tensor) -> Tensor:
        """The score, which is not bounded."""
        distances = (similarities[..., None, :] - self.vectors).square().sum(-1)
        return (-GAMMA * distances).exp() @ self.weights - RHO


def _response(n_fft: int, centre: Tensor, decay: Tensor) -> Tensor:
    """Slaney's gammatone filters (Apple technical report 35, 1993), (bands, bins), of gain 1 at their centres.

    Four stages have a pair of poles in common and a real zero each.
    """
    at = torch.cat(
        (2 * math.pi * torch.arange(n_fft // 2 + 1, dtype=torch.float64).expand(len(centre), -1) / n_fft, centre), 1
    )
    delay = torch.polar(torch.ones_like(at), -at)
    pole = torch.polar((-decay).exp(), centre)
    stage = 1 / ((1 - pole * delay) * (1 - pole.conj() * delay))
    response = torch.ones_like(delay)
    for slope in (math.sqrt(3 + 2**1.5), -math.sqrt(3 + 2**1.5), math.sqrt(3 - 2**1.5), -math.sqrt(3 - 2**1.5)):
        response = response * stage * (1 - (-decay).exp() * (centre.cos() + slope * centre.sin()) * delay)
    return response[:, :-1] / response[:, -1:].abs()


def _ringing(window: Tensor, centre: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (time, rows) whose squared products with a frame add up to the energies after it, and of which bands.

    After the frame, under its window, a band's output is a mixture of ``t^j exp(-decay t) cos(centre t)``, and the same
    of the sine, for j up to 3.
    """
    length = len(window)
    after = math.ceil(RINGING / decay.min().item())
    time = torch.arange(after, dtype=torch.float64)
    curves = torch.stack(
        [
            ((decay * time) ** order * (-decay * time).exp() * wave(centre * time))
            for order in range(4)
            for wave in (torch.cos, torch.sin)
        ],
        -1,
    )
    basis = torch.linalg.qr(curves).Q.mT
    n_fft = 2 ** math.ceil(math.log2(length + 2 * after))
    impulse = torch.fft.irfft(_response(n_fft, centre, decay), n_fft)[:, None]
    # Row by row, sum over m of basis[m] impulse[length - n + m], for each sample n of the window.
    products = torch.fft.irfft(torch.fft.rfft(basis, n_fft).conj() * torch.fft.rfft(impulse, n_fft), n_fft)
    products = products[..., 1 : length + 1].flip(-1) * window
    _, sizes, rows = torch.linalg.svd(products, full_matrices=False)
    audible = sizes > AUDIBLE
    which = audible.nonzero()[:, 0]
    bands = torch.nn.functional.one_hot(which, len(centre)).double()
    return (sizes[..., None] * rows)[audible].mT.contiguous(), bands


def floored(est: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    """Two spectrograms (..., frames, bands) in decibels above the lowest, each frame within 45 of its loudest band."""
    common = min(est.shape[-2], ref.shape[-2])
    loudest = torch.maximum(est[..., :common, :], ref[..., :common, :]).amax(-1, keepdim=True)
    pair = [
        torch.cat((torch.maximum(x[..., :common, :], loudest - RANGE_DB), x[..., common:, :]), -2) for x in (est, ref)
    ]
    lowest = torch.minimum(*(x.amin((-2, -1), keepdim=True) for x in pair))
    return pair[0] - lowest, pair[1] - lowest


def _smooth(x: Tensor) -> Tensor:
    """Under the window of NSIM, of patches (..., bands, frames), the outermost values repeated."""
    above_below = torch.cat((x[..., :1, :], x[..., :-1, :]), -2) + torch.cat((x[..., 1:, :], x[..., -1:, :]), -2)
    return CENTRE * x + EDGE * (above_below + _beside(x)) + CORNER * _beside(above_below)


def _beside(x: Tensor) -> Tensor:
    return torch.cat((x[..., :1], x[..., :-1]), -1) + torch.cat((x[..., 1:], x[..., -1:]), -1)


class Local(NamedTuple):
    """Patches with their local means and variances."""

    value: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, value: Tensor) -> "Local":
        """Of patches (..., bands, frames)."""
        mean = _smooth(value)
        return cls(value, mean, _smooth(value.square()) - mean.square())


def similarity(est: Local, ref: Local) -> Tensor:
    """Neurogram similarity index measure of patches, per band, (..., bands); 1 where they are equal."""
    product = est.mean * ref.mean
    intensity = (2 * product + INTENSITY) / (est.mean.square() + ref.mean.square() + INTENSITY)
    covariance = _smooth(est.value * ref.value) - product
    variances = est.variance * ref.variance  # below 0 by rounding only
    structure = (covariance + STRUCTURE) / (magnitude(variances.clamp(min=0), NO_VARIANCE) + STRUCTURE)
    return (intensity * structure).mean(-1)


def best_path(similarities: npt.NDArray[np.float64], starts: Sequence[int], radius: int) -> list[int | None]:
    """Where in the estimate each patch of the reference is found, in order of time; None where it is lost.

    Of all ways to go through the patches with offsets that increase, and patches that may be left out, the one of the
    largest sum of similarities.

    Args:
        similarities: Of each patch at each offset, (patches, offsets).
        starts: Where the patches are in the reference.
        radius: How far from there they may be.
    """
    patches, offsets = similarities.shape
    total, origin = np.zeros((patches, offsets)), np.full((patches, offsets), -1)
    for patch, start in enumerate(starts):
        low, high = max(0, start - radius), min(offsets, start + radius + 1)
        total[patch, low:high] = similarities[patch, low:high]
        if patch == 0:
            continue
        first = max(0, starts[patch - 1] - radius)
        before = total[patch - 1].copy()
        before[:first] = -np.inf
        highest = np.maximum.accumulate(before)
        at = np.maximum.accumulate(np.where(before >= highest, np.arange(offsets), 0))
        highest, at = np.append(-np.inf, highest[:-1]), np.append(-1, at[:-1])
        moved = similarities[patch] + highest
        lost = total[patch - 1] > moved
        value, source = np.where(lost, total[patch - 1], moved), np.where(lost, np.arange(offsets), at)
        total[patch, low:high], origin[patch, low:high] = value[low:high], source[low:high]
    low, high = max(0, starts[-1] - radius), min(offsets, starts[-1] + radius + 1)
    offset = low + int(total[-1, low:high].argmax())
    path: list[int | None] = []
    for patch in range(patches - 1, -1, -1):
        came_from = int(origin[patch, offset])
        path.append(None if came_from == offset else offset)
        offset = came_from
    return path[::-1]


def find_lag(est: Tensor, ref: Tensor) -> int:
    """Samples by which to delay the estimate, by the cross-correlation of envelopes; 0 beyond half the length."""
    longest = max(len(est), len(ref))
    n_fft = 2 ** math.ceil(math.log2(2 * longest - 1))
    spectra = [torch.fft.rfft(_envelope(x), n_fft) for x in (est, ref)]
    correlation = torch.fft.irfft(spectra[1] * spectra[0].conj(), n_fft)
    around = torch.cat((correlation[n_fft - longest + 1 :], correlation[:longest]))
    lag = int(around.argmax()) - (longest - 1)
    return lag if abs(lag) <= len(ref) / 2 else 0


def _envelope(x: Tensor) -> Tensor:
    mean = x.mean()
    spectrum = torch.fft.fft(x - mean)
    half = (len(x) + 1) // 2
    spectrum[1:half] *= 2
    spectrum[len(x) // 2 + 1 :] = 0
    envelope: Tensor = torch.fft.ifft(spectrum).abs() + mean
    return envelope


def delayed(x: Tensor, lag: int) -> Tensor:
    """With so much silence before it, or without so much of its beginning."""
    return x[-lag:] if lag < 0 else torch.nn.functional.pad(x, (lag, 0))


def aligned(est: Tensor, ref: Tensor, *, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Both, cut to what they have in common once the estimate is delayed."""
    lag = find_lag(est.detach(), ref.detach())
    est = delayed(est, lag)
    if len(ref) < len(est):
        cut = max(0, int(lag / sample_rate * sample_rate))  # as rounded there
        ref = ref[cut:]
        est = est[cut : cut + len(ref)]
    shortest = min(len(est), len(ref))
    return est[:shortest], ref[:shortest]


def excerpt(x: Tensor, begin: float, end: float, sample_rate: int) -> Tensor:
    """From one time to another [s]; silence for what is missing at the end stands before it."""
    missing = int(max(0.0, end * sample_rate - len(x)))
    part = x[int(begin * sample_rate) : min(len(x) - 1, int(end * sample_rate))]
    return torch.nn.functional.pad(part, (missing, 0))


def voiced(ref: Tensor, patches: int, size: int, hop: int) -> list[bool]:
    """Which patches of a reference, of so many frames and steps each, hold speech: a step of -16 dBFS at full scale.

    A pause is three steps without it; the first two steps count as speech. Frames begin with number ``size // 2 - 1``,
    and steps with that sample: the authors' code takes the one number for both.
    """
    first = size // 2 - 1
    highest = ref.max()
    pcm = (ref / torch.where(highest == 0, 1, highest) * 32_768).clamp(-32_768, 32_767).trunc()
    level = pcm[first : first + patches * size * hop].view(-1, hop).square().mean(1).sqrt()
    active = np.asarray((level >= 5000).cpu())
    active[2:] |= active[1:-1] | active[:-2]
    active[:2] = True
    return [bool(patch.any()) for patch in active.reshape(patches, size)]
