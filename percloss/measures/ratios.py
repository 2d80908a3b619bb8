"""Energy ratios of a waveform and its error: SNR, SI-SDR and SD-SDR, the same at every level and right to 120 dB."""

from percloss import distances
from percloss._typing import PerItem, Wave
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
        tensor([[19.0849]])

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
