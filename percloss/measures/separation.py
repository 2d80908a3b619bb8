"""What music separation reports beside BSS Eval: uSDR, cSDR, SA-SDR, and the community's bleedless and fullness."""

import math

import torch
from torch import Tensor

from percloss._typing import Bins, Wave
from percloss.distances import energy
from percloss.dsp.safe import db_to_power, magnitude, ratio_db, undefined_where
from percloss.dsp.scales import MEL_SLANEY
from percloss.dsp.stft import hann, power, stft
from percloss.errors import ArgumentError
from percloss.frontends import FrontEnd
from percloss.functional import framewise_snr, median_over_frames
from percloss.measure import Measure, register
from percloss.measures.ratios import BOUNDS
from percloss.spec import Spec

# Of the music demixing challenges' evaluator, on raw energies.
DELTA = 1e-7
# Of torchaudio's AmplitudeToDB: the smallest magnitude, as a power [dB], and the range below an item's peak [dB].
SMALLEST_DB, RANGE_DB = -200.0, 80.0


@register
class USDR(Measure):
    r"""SDR of the music demixing challenges over a whole track, in dB.  Higher is better.

    .. math:: 10\log_{10}\frac{\sum s^2 + \delta}{\sum (\hat s - s)^2 + \delta}

    with sums over channels and time: the "new SDR", or utterance SDR. The constant is absolute and part of the number:
    it gives a silent reference a value, and ends the scale of quiet tracks early. Hence the best value depends on the
    signal.

    Args:
        delta: Added to both energies; 1e-7 in the challenges, 1e-8 in some of today's training code.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, 1).

    Example:
        >>> ref = torch.ones(1, 2, 100)
        >>> USDR()(0.9 * ref, ref).round(decimals=3)
        tensor([[20.]])

    References:
        [mitsufuji2022]_.
    """

    spec = Spec(
        name="usdr",
        title="SDR of a whole track (MDX)",
        unit="dB",
        better="higher",
        bounds=(-math.inf, math.inf),
        perfect=None,
        takes="joint",
        cite=("mitsufuji2022",),
    )

    def __init__(self, *, delta: float = DELTA) -> None:
        super().__init__()
        if not 0 < delta < 1:
            raise ArgumentError(f"usdr: got delta={delta}; needed is a number above 0 and below 1, such as 1e-7.")
        self.delta = delta

    def compare(self, est: Wave, ref: Wave) -> Tensor:
        signal, error = (energy(x).sum(1, keepdim=True) + self.delta for x in (ref, est - ref))
        return 10 * (signal / error).log10()


@register
class CSDR(Measure):
    r"""SDR by chunks of a second, in dB: their median.  Higher is better; 140 dB, the cap, where est is ref.

    museval's SDR of one stem: energies over channels in each frame, frames that fit whole, those in which reference or
    estimate is silent left out (the sum of the channels is 0 throughout), and of the rest the median. museval leaves a
    frame out for all stems where one of them is silent: ``BSSSDR`` does that.

    Args:
        sample_rate: Of both signals [Hz].
        window: Length of a chunk [s].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, 1).

    Example:
        >>> ref = torch.ones(1, 2, 3000)
        >>> CSDR(1000)(0.9 * ref, ref)
        tensor([[20.0000]])

    References:
        [stoter2018]_; [mitsufuji2022]_, which reports it beside uSDR.
    """

    spec = Spec(
        name="csdr",
        title="SDR, median of chunks",
        unit="dB",
        better="higher",
        bounds=BOUNDS,
        perfect=BOUNDS[1],
        takes="joint",
        silent_reference="undefined",
        compiles=False,
        invariant_to=frozenset({"level"}),
        cite=("stoter2018", "mitsufuji2022"),
    )

    def __init__(self, sample_rate: int, *, window: float = 1.0) -> None:
        super().__init__()
        if not window * sample_rate >= 1:
            raise ArgumentError(f"csdr: got window={window} s at {sample_rate} Hz; needed is one sample at least.")
        self.sample_rate, self.window = sample_rate, window

    def compare(self, est: Wave, ref: Wave) -> Tensor:
        frames = framewise_snr(est[:, None], ref[:, None], window=round(self.window * self.sample_rate))
        return median_over_frames(frames)

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        return "in every chunk reference or estimate is silent"


@register
class SASDR(Measure):
    r"""Source-aggregated SDR, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math:: 10\log_{10}\frac{\sum_j \lVert s_j\rVert^2}{\sum_j \lVert \hat s_j - s_j\rVert^2}

    The sources stand in the place of channels. One number for all of them: a source may be silent, and loud sources
    weigh more. Only where all are silent there is no value.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, 1).

    Example:
        >>> ref = torch.tensor([1.0, 0.0])[None, :, None].repeat(1, 1, 100)
        >>> SASDR()(ref + 0.1 * ref.flip(1), ref)
        tensor([[20.]])

    References:
        [vonneumann2022]_.
    """

    spec = Spec(
        name="sa_sdr",
        title="Source-aggregated SDR",
        unit="dB",
        better="higher",
        bounds=BOUNDS,
        perfect=BOUNDS[1],
        takes="joint",
        silent_reference="undefined",
        invariant_to=frozenset({"level"}),
        cite=("vonneumann2022",),
    )

    def compare(self, est: Wave, ref: Wave) -> Tensor:
        signal, error = (energy(x).sum(1, keepdim=True) for x in (ref, est - ref))
        return undefined_where(signal == 0, ratio_db(signal, error))


class MelLevels(FrontEnd):
    """Levels of 512 mel bands [dB], as the community's scores of separation take them.

    Args:
        sample_rate: Of the signals [Hz].

    Shape:
        (batch, channels, time) -> (batch, channels, bands, frames)
    """

    N_FFT, HOP, N_MELS = 4096, 1024, 512
    window: Tensor
    bank: Tensor

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        if not sample_rate > 0:
            raise ArgumentError(f"mel levels: got sample_rate={sample_rate}; needed is a rate above 0 Hz.")
        top = float(MEL_SLANEY.from_hz(torch.tensor(sample_rate / 2, dtype=torch.float64)))
        hz = MEL_SLANEY.to_hz(torch.linspace(0, top, self.N_MELS + 2, dtype=torch.float64))
        lower, centre, upper = (hz[i : i + self.N_MELS, None] for i in range(3))
        bins = torch.arange(self.N_FFT // 2 + 1) * (sample_rate / self.N_FFT)
        peaks = torch.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)).relu()
        bank = 2 * peaks / (upper - lower)
        # Low bands fall between two bins. They would be equally silent in both signals, and are never counted.
        self.constant("bank", bank[bank.sum(1) > 0])
        self.constant("window", hann(self.N_FFT))

    def forward(self, x: Wave) -> Bins:
        """The levels, none more than 80 dB below the largest of the item."""
        padded = torch.nn.functional.pad(x, (self.N_FFT // 2, self.N_FFT // 2))
        spectrum = stft(padded, self.window.to(x.dtype), n_fft=self.N_FFT, hop_length=self.HOP, center=False)
        # A hundred dB under the smallest that counts, against an infinite slope at 0.
        bands = self.bank.to(x.dtype) @ magnitude(power(spectrum), db_to_power(SMALLEST_DB - 100))
        level = 10 * bands.square().clamp(min=db_to_power(SMALLEST_DB)).log10()
        return torch.maximum(level, level.amax((1, 2, 3), keepdim=True) - RANGE_DB)


class _LevelScore(Measure):
    """100 over 1 plus the mean of those differences in level that have one sign [dB]."""

    sign: int

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.levels = MelLevels(sample_rate)

    def compare(self, est: Wave, ref: Wave) -> Tensor:
        excess: Tensor = (self.sign * (self.levels(est) - self.levels(ref))).relu()
        count = (excess > 0).sum((1, 2, 3))[:, None].clamp(min=1)
        return 100 / (1 + excess.sum((1, 2, 3))[:, None] / count)


def _level_score(name: str, title: str) -> Spec:
    return Spec(
        name=name,
        title=title,
        unit="1",
        better="higher",
        bounds=(0.0, 100.0),
        perfect=100.0,
        takes="joint",
        differentiable=False,
        invariant_to=frozenset({"level", "polarity"}),
        cite=("solovyev2023",),
    )


@register
class Bleedless(_LevelScore):
    r"""How little the estimate holds that the reference does not, 0 to 100.  Higher is better.

    .. math:: \frac{100}{1 + \overline{(\hat L - L)_+}}

    with :math:`L` levels of 512 mel bands [dB], and the mean over those bands and frames in which the estimate is
    louder. Both range over 80 dB. As MVSep's leaderboards and the training code behind them have it, at 44.1 kHz;
    values at other rates are of other bands. To report, not to train with: a silent estimate scores 100.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, 1).

    Example:
        >>> ref = torch.randn(1, 2, 44_100, generator=torch.Generator().manual_seed(0))
        >>> Bleedless(44_100)(10 ** (1 / 20) * ref, ref).round()
        tensor([[50.]])

    References:
        [solovyev2023]_, the project; the score has no paper.
    """

    sign = 1
    spec = _level_score("bleedless", "Bleedless")


@register
class Fullness(_LevelScore):
    r"""How little of the reference is missing in the estimate, 0 to 100.  Higher is better.

    .. math:: \frac{100}{1 + \overline{(L - \hat L)_+}}

    As ``Bleedless``, with the mean over those bands and frames in which the estimate is softer. Noise over everything
    can leave it high: the two are read together.

    Args:
        sample_rate: Of both signals [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, 1).

    Example:
        >>> ref = torch.randn(1, 2, 44_100, generator=torch.Generator().manual_seed(0))
        >>> Fullness(44_100)(10 ** (-1 / 20) * ref, ref).round()
        tensor([[50.]])

    References:
        [solovyev2023]_, the project; the score has no paper.
    """

    sign = -1
    spec = _level_score("fullness", "Fullness")
