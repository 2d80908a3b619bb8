"""Errors of the samples themselves."""

import math

import torch
from torch import Tensor

from percloss import distances
from percloss._typing import PerItem, Wave
from percloss.dsp.safe import ratio_db, undefined_where
from percloss.dsp.stft import power
from percloss.errors import ArgumentError, SampleRateError
from percloss.measure import Measure, register
from percloss.spec import Spec


@register
class MSE(Measure):
    r"""Mean squared error of the samples, in units of full scale squared.  Lower is better; 0 where est is ref.

    .. math:: \mathrm{MSE}(\hat s, s) = \frac1T \sum_t (\hat s_t - s_t)^2

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> MSE()(torch.full((1, 1, 4), 0.5), torch.zeros(1, 1, 4))
        tensor([[0.2500]])

    References:
        [wang2009]_ for what it does not say about perception.
    """

    spec = Spec(
        name="mse",
        title="Mean squared error",
        unit="FS²",
        better="lower",
        bounds=(0.0, math.inf),
        perfect=0.0,
        invariant_to=frozenset({"swap"}),
        cite=("wang2009",),
    )

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        return (est - ref).square().mean(-1)


@register
class MAE(Measure):
    r"""Mean absolute error of the samples (L1), in units of full scale.  Lower is better; 0 where est is ref.

    .. math:: \mathrm{MAE}(\hat s, s) = \frac1T \sum_t \lvert\hat s_t - s_t\rvert

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> MAE()(torch.full((1, 1, 4), 0.5), torch.zeros(1, 1, 4))
        tensor([[0.5000]])

    References:
        [defossez2019]_ as a training loss of waveform separators.
    """

    spec = Spec(
        name="mae",
        title="Mean absolute error",
        unit="FS",
        better="lower",
        bounds=(0.0, math.inf),
        perfect=0.0,
        invariant_to=frozenset({"swap"}),
        cite=("defossez2019",),
    )

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        return (est - ref).abs().mean(-1)


@register
class LogCosh(Measure):
    r"""Mean log-cosh of the error, in units of full scale.  Lower is better; 0 where est is ref.

    .. math:: \frac{1}{aT} \sum_t \ln\cosh\bigl(a (\hat s_t - s_t)\bigr)

    Half of ``a`` times the squared error where that is small beside 1 / a, the absolute error where it is large. It
    overflows nowhere: far out it is computed as :math:`|x| - \ln 2`, near 0 as :math:`\ln(1 + 2 \sinh^2(x / 2))`.

    Args:
        a: Sharpness: the bend lies at an error of 1 / a [1 / full scale].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> LogCosh()(torch.full((1, 1, 4), 1e4), torch.zeros(1, 1, 4))
        tensor([[9999.3066]])

    References:
        [chen2019]_.
    """

    spec = Spec(
        name="log_cosh",
        title="Log-cosh error",
        unit="FS",
        better="lower",
        bounds=(0.0, math.inf),
        perfect=0.0,
        invariant_to=frozenset({"swap"}),
        cite=("chen2019",),
    )

    def __init__(self, a: float = 1.0) -> None:
        super().__init__()
        if not 0 < a < math.inf:
            raise ArgumentError(f"log_cosh: got a={a}; needed is a finite number above 0: LogCosh(a=1.0).")
        self.a = a

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        return distances.log_cosh(self.a * (est - ref)).mean(-1) / self.a


@register
class ESR(Measure):
    r"""Error-to-signal ratio, a ratio of energies.  Lower is better; 0 where est is ref, 1 where est is silent.

    .. math:: \mathrm{ESR}(\hat s, s) = \frac{\lVert p * (\hat s - s)\rVert^2}{\lVert p * s\rVert^2},
        \qquad p = (1, -c)

    A silent reference has no ratio: the item is nan, where others divide by a constant and let one such item outweigh
    a batch. The value does not move when both signals are scaled; it is capped at 1e14, its gradient is not.

    Args:
        pre_emphasis: Coefficient c of the first-order high-pass; 0 is none, 0.95 the paper's, 0.85 common for guitar
            amplifiers.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.ones(1, 1, 100)
        >>> ESR()(0.5 * ref, ref)
        tensor([[0.2500]])

    References:
        [wright2020]_.
    """

    spec = Spec(
        name="esr",
        title="Error-to-signal ratio",
        unit="1",
        better="lower",
        bounds=(0.0, math.inf),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"level"}),
        cite=("wright2020",),
    )

    def __init__(self, *, pre_emphasis: float = 0.0) -> None:
        super().__init__()
        if not 0 <= pre_emphasis <= 1:
            raise ArgumentError(f"esr: got pre_emphasis={pre_emphasis}; needed is 0 to 1: ESR(pre_emphasis=0.95).")
        self.pre_emphasis = pre_emphasis

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        error = est - ref
        if self.pre_emphasis:
            error, ref = (distances.pre_emphasis(x, self.pre_emphasis) for x in (error, ref))
        return distances.relative(distances.energy(error), distances.energy(ref))


@register
class DC(Measure):
    r"""Squared mean of the error over the mean square of the reference.  Lower is better; 0 where the means are equal.

    .. math:: \mathrm{DC}(\hat s, s) = \frac{\bigl(\frac1T\sum_t (\hat s_t - s_t)\bigr)^2}{\frac1T\sum_t s_t^2}

    What a high-pass before ESR takes away from it, and the two are used together. A silent reference has no value
    (nan); it hears an offset and nothing else.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.tensor([1.0, -1.0]).repeat(50)[None, None]
        >>> DC()(ref + 0.1, ref)
        tensor([[0.0100]])

    References:
        [wright2020]_.
    """

    spec = Spec(
        name="dc",
        title="DC error",
        unit="1",
        better="lower",
        bounds=(0.0, math.inf),
        perfect=0.0,
        silent_reference="undefined",
        invariant_to=frozenset({"level"}),
        cite=("wright2020",),
    )

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        return distances.relative((est - ref).mean(-1).square(), ref.square().mean(-1))


@register
class LogWMSE(Measure):
    r"""Log of the weighted error over the weighted mixture.  Higher is better; 73.68, the cap, where est is ref.

    .. math:: -4 \ln\frac{\lVert h * (\hat s - s)\rVert^2}{\lVert h * x\rVert^2}

    The level to judge by is the mixture's and not the reference's, so that a silent reference has a value: how far
    what should not be there was removed. The weighting h is an idea of the ear's sensitivity (see ``_hearing``),
    taken on the energy of the whole convolution by one transform. No gradient reaches the mixture.

    Ratios are capped at +-80 dB, relative to the mixture; the package that defines it has the same cap at the top.
    A silent mixture leaves nothing to judge by: nan. At 44.1 kHz it is torch-log-wmse 1.1.0's ``per_stem``. At other
    rates that package resamples the taps of h; here h keeps its shape in hertz, so that rates can be compared. The two
    differ by less than 0.1 for errors of a broad spectrum, and by more for a tone at either end of it.

    Args:
        sample_rate: Of all three signals [Hz].

    Shape:
        est, ref, mix: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> mix = torch.sin(torch.arange(44_100) / 7)[None, None]
        >>> LogWMSE(44_100)(0.1 * mix, 0 * mix, mix=mix)
        tensor([[18.4207]])

    References:
        [jordal2023]_; [fenton2017]_ for the weighting.
    """

    spec = Spec(
        name="log_wmse",
        title="logWMSE",
        unit="1",
        better="higher",
        bounds=(-32 * math.log(10), 32 * math.log(10)),
        perfect=32 * math.log(10),
        needs=("mix",),
        invariant_to=frozenset({"level", "swap"}),
        cite=("jordal2023", "fenton2017"),
    )

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        if sample_rate < 1:
            raise SampleRateError(f"log_wmse: got sample_rate={sample_rate}; needed is 1 Hz or more.")
        self.sample_rate = sample_rate

    def compare(self, est: Wave, ref: Wave, *, mix: Wave) -> PerItem:
        error, level = self._energy(est - ref), self._energy(mix.detach())
        value = -0.4 * math.log(10) * ratio_db(error, level, cap_db=80.0)
        return undefined_where(level == 0, value)

    def _energy(self, x: Wave) -> PerItem:
        # Beyond 50 ms nothing is left of h's autocorrelation, so that what wraps around is not heard.
        size = x.shape[-1] + self.sample_rate // 20
        step = 2 ** max(1, size.bit_length() - 4)
        size = -(-size // step) * step
        hz = torch.arange(size // 2 + 1, dtype=x.dtype, device=x.device) * (self.sample_rate / size)
        weight = _hearing(hz)
        weight[1:-1] *= 2  # each stands for its negative too
        return (power(torch.fft.rfft(x, size)) * weight).sum(-1)

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        return "mixture is silent"


def _hearing(hz: Tensor) -> Tensor:
    """Power response of logWMSE's weighting, which imitates the sensitivity of the ear.

    A high shelf, a high-pass, a peak and a low-pass twice, all by the bilinear transform at 44.1 kHz, where they were
    drawn. Written in squared tangents, the frequencies of their analogue prototypes, no two terms of equal size are
    subtracted. The published taps were sampled at 4097 points and transformed back as 4096: hence the stretch.

    Design and parameters: log-wmse-audio-quality, (c) 2023 Nomono, Apache-2.0.
    """
    rate, stretch = 44_100, 4096 / 4097
    squared = (math.pi / rate * stretch * hz.clamp(max=rate / 2)).tan().square()

    def over(corner: float) -> Tensor:
        return squared / math.tan(math.pi * corner / rate) ** 2

    shelf, gain = over(1500), 10 ** (5 / 40)  # 5 dB, Q = 1 / sqrt(2)
    response = gain**2 * ((1 - gain * shelf).square() + 2 * gain * shelf) / ((gain - shelf).square() + 2 * gain * shelf)
    high = over(120)
    response = response * high.square() / (1 + high.square())
    peak, gain, q = over(500), 10 ** (2.5 / 40), 1.5 / math.sqrt(2)
    width = (1 - peak).square()
    response = response * (width + (gain / q) ** 2 * peak) / (width + peak / (gain * q) ** 2)
    return response / (1 + over(10_000)).square()
