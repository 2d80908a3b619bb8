"""Ratios of a waveform and its error: SNR, SI-SDR and SD-SDR, the same at every level and right to 120 dB; L1-SNR."""

import math
from dataclasses import replace

import torch

from percloss import distances
from percloss._typing import PerItem, Wave
from percloss.dsp.safe import db_to_amplitude, db_to_power, log_power
from percloss.errors import ArgumentError
from percloss.measure import Measure, register
from percloss.spec import Spec

# dsp.safe.ratio_db's cap: what two equal signals score.
BOUNDS = (-140.0, 140.0)


@register
class SNR(Measure):
    r"""Signal-to-noise ratio, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math:: \mathrm{SNR}(\hat s, s) = 10\log_{10}\frac{\lVert s\rVert^2}{\lVert \hat s - s\rVert^2}

    A silent reference has no ratio: the item is nan. A silent estimate scores 0 dB. The floor under numerator and
    denominator is relative to the signals, so that the value does not move when both are scaled.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.ones(1, 1, 100)
        >>> SNR()(0.9 * ref, ref)
        tensor([[20.0000]])

    References:
        [leroux2019]_.
    """

    spec = Spec(
        name="snr",
        title="Signal-to-noise ratio",
        unit="dB",
        better="higher",
        bounds=BOUNDS,
        perfect=140.0,
        silent_reference="undefined",
        invariant_to=frozenset({"level"}),
        cite=("leroux2019",),
    )

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        return distances.snr(est, ref)


@register
class SISDR(Measure):
    r"""Scale-invariant signal-to-distortion ratio, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math::
        \mathrm{SI\text{-}SDR}(\hat s, s) = 10\log_{10}\frac{\lVert \alpha s\rVert^2}{\lVert \alpha s - \hat s\rVert^2},
        \qquad \alpha = \frac{\langle\hat s, s\rangle}{\lVert s\rVert^2}

    Computed from the residual, which is orthogonalised twice: in float32 it is right to 120 dB. A silent reference has
    no value (nan); a silent estimate holds nothing of the target and scores -140 dB with zero gradient. It hears
    neither gain nor polarity: a network trained with it alone may return its output inverted or at any level.

    Args:
        zero_mean: Remove each signal's mean first, as auraloss and many recipes do. The paper does not.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.tensor([[[1.0, 1.0, 0.0]]])
        >>> SISDR()(ref + torch.tensor([0.0, 0.0, 0.1]), ref)
        tensor([[23.0103]])

    References:
        [leroux2019]_.
    """

    spec = Spec(
        name="si_sdr",
        title="Scale-invariant SDR",
        unit="dB",
        better="higher",
        bounds=BOUNDS,
        perfect=140.0,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity", "swap"}),
        cite=("leroux2019",),
    )

    def __init__(self, *, zero_mean: bool = False) -> None:
        super().__init__()
        self.zero_mean = zero_mean

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        if self.zero_mean:
            est, ref = (x - x.mean(-1, keepdim=True) for x in (est, ref))
        return distances.si_sdr(est, ref)


@register
class SDSDR(Measure):
    r"""Scale-dependent signal-to-distortion ratio, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math:: \mathrm{SD\text{-}SDR}(\hat s, s) = 10\log_{10}\frac{\lVert \alpha s\rVert^2}{\lVert s - \hat s\rVert^2}

    with :math:`\alpha` of SI-SDR: an error of gain counts as distortion, and an estimate that is too quiet is punished
    more than SNR would. A silent reference has no value (nan); a silent estimate scores -140 dB.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.ones(1, 1, 100)
        >>> SDSDR()(0.9 * ref, ref)
        tensor([[19.0848]])

    References:
        [leroux2019]_.
    """

    spec = Spec(
        name="sd_sdr",
        title="Scale-dependent SDR",
        unit="dB",
        better="higher",
        bounds=BOUNDS,
        perfect=140.0,
        silent_reference="undefined",
        invariant_to=frozenset({"level"}),
        cite=("leroux2019",),
    )

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        return distances.sd_sdr(est, ref)


@register
class ThresholdedSNR(Measure):
    r"""Signal-to-noise ratio with a soft ceiling, in dB.  Higher is better; ``ceiling_db`` where est is ref.

    .. math:: 10\log_{10}\frac{\lVert s\rVert^2}{\lVert \hat s - s\rVert^2 + \tau\lVert s\rVert^2},
        \qquad \tau = 10^{-\mathrm{ceiling} / 10}

    SNR well below the ceiling; towards it the gradient fades, so that examples which are good already leave the batch
    to the others. A silent reference has no ratio: the item is nan.

    Args:
        ceiling_db: The best there is to score, 1 to 100 [dB].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.ones(1, 1, 100)
        >>> ThresholdedSNR()(0.9 * ref, ref)
        tensor([[19.5861]])

    References:
        [wisdom2020]_.
    """

    spec = Spec(
        name="thresholded_snr",
        title="Thresholded SNR",
        unit="dB",
        better="higher",
        bounds=(-140.0, 30.0),
        perfect=30.0,
        silent_reference="undefined",
        invariant_to=frozenset({"level"}),
        cite=("wisdom2020",),
    )

    def __init__(self, ceiling_db: float = 30.0) -> None:
        super().__init__()
        if not 1 <= ceiling_db <= 100:
            raise ArgumentError(f"thresholded_snr: got ceiling_db={ceiling_db}; needed is 1 to 100 dB, such as 30.")
        self.ceiling_db = ceiling_db
        self.spec = replace(self.spec, bounds=(BOUNDS[0], float(ceiling_db)), perfect=float(ceiling_db))

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        noise = distances.relative(distances.energy(est - ref), distances.energy(ref))
        # The equation divided by tau: what is left to the ceiling, to the last digit.
        return self.ceiling_db - 10 / math.log(10) * (noise * db_to_power(self.ceiling_db)).log1p()


@register
class L1SNR(Measure):
    r"""Signal-to-noise ratio of mean absolute values, in dB of power.  Higher is better.

    .. math:: 10\log_{10}\frac{\frac1T\lVert s\rVert_1 + \epsilon}{\frac1T\lVert \hat s - s\rVert_1 + \epsilon}

    Ten times the logarithm, as published, though of amplitudes. The floor is absolute and part of the number: it gives
    a silent reference a value, the better the quieter the estimate, and it costs range where the reference is quiet:
    a perfect estimate scores 27 dB at a mean of 0.5 and 3 dB at a mean of 0.001. Hence the best value depends on the
    signal.

    Args:
        floor_db: :math:`\epsilon` [dB re full scale], in amplitude: -60 dB is the published 0.001.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.full((1, 1, 100), 0.5)
        >>> L1SNR()(0.9 * ref, ref)
        tensor([[9.9227]])

    References:
        [watcharasupat2024]_.
    """

    spec = Spec(
        name="l1_snr",
        title="L1-SNR",
        unit="dB",
        better="higher",
        bounds=(-math.inf, math.inf),
        perfect=None,
        cite=("watcharasupat2024",),
    )

    def __init__(self, *, floor_db: float = -60.0) -> None:
        super().__init__()
        if not -200 <= floor_db < 0:
            raise ArgumentError(
                f"{self.spec.name}: got floor_db={floor_db}; needed is -200 to below 0 dB, such as -60."
            )
        self.floor_db = floor_db

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        return distances.l1_snr(est, ref, db_to_amplitude(self.floor_db))


@register
class LevelMatchedL1SNR(L1SNR):
    r"""L1-SNR less what the estimate's level is off by, in dB.  Higher is better.

    .. math:: \text{L1-SNR} - \lambda\,\lvert \hat L - L\rvert, \qquad
        \lambda = \lambda_0 + \Delta_\lambda\,[L > \max(\hat L, L_0)]\,
        \min\Bigl(1, \frac{|\hat L - L|}{L - L_0}\Bigr)

    with L the level, 10 times the logarithm of the mean square, -80 dB where a signal is silent. An estimate quieter
    than its reference pays up to ten times as much: it keeps a separator from answering a hard stem with silence. No
    gradient passes through :math:`\lambda`. The paper gives the form; the default weights are torch-l1-snr's.

    Args:
        floor_db: As in ``L1SNR``.
        weight: :math:`\lambda_0`, of any difference in level.
        extra: :math:`\Delta_\lambda`, added where the estimate is too quiet.
        silent_db: :math:`L_0`, the level below which a reference is silence [dB re full scale].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> ref = torch.full((1, 1, 100), 0.5)
        >>> LevelMatchedL1SNR()(0.9 * ref, ref)
        tensor([[9.8172]])

    References:
        [watcharasupat2025]_.
    """

    LEVEL_FLOOR_DB = -80.0

    spec = replace(L1SNR.spec, name="l1_snr_level", title="L1-SNR with level matching", cite=("watcharasupat2025",))

    def __init__(
        self, *, floor_db: float = -60.0, weight: float = 0.1, extra: float = 0.9, silent_db: float = -60.0
    ) -> None:
        super().__init__(floor_db=floor_db)
        if min(weight, extra) < 0 or not self.LEVEL_FLOOR_DB <= silent_db < 0:
            raise ArgumentError(
                f"l1_snr_level: got weight={weight}, extra={extra}, silent_db={silent_db}; needed are weights not "
                f"below 0, and -80 to below 0 dB."
            )
        self.weight, self.extra, self.silent_db = weight, extra, silent_db

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        floor = db_to_power(self.LEVEL_FLOOR_DB)
        est_level, level = (10 / math.log(10) * log_power(x.square().mean(-1), floor) for x in (est, ref))
        difference = (est_level - level).abs()
        too_quiet = (level > est_level) & (level > self.silent_db)
        share = torch.where(too_quiet, difference / torch.where(too_quiet, level - self.silent_db, 1), 0).clamp(max=1)
        return super().compare(est, ref) - (self.weight + self.extra * share).detach() * difference
