"""A measure of what is left of two signals behind a weighting curve."""

from dataclasses import replace

from torch import Tensor

from percloss._typing import PerItem, Wave
from percloss.errors import SampleRateError
from percloss.hearing.weighting import CURVES, Weighting
from percloss.measure import Measure
from percloss.wrappers import Wrapper


class Weighted(Wrapper):
    """A measure of weighted signals: each frequency counts by the A, B, C, D, K or ITU-R 468 curve.

    Estimate, reference and whatever else the measure needs are filtered once, over their whole length and without a
    change of phase, and then compared. The response is the curve itself, at every sample rate; that of a short filter
    is off by 20 dB where the curve is steep.

    Args:
        measure: To be taken of the weighted signals.
        curve: A row of ``hearing.weighting.CURVES``.
        sample_rate: Of the signals [Hz]. K is defined up to 48 kHz, ITU-R 468 up to 63 kHz, the others at every rate.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels).

    Example:
        >>> from percloss.measures.ratios import SNR
        >>> measure = Weighted(SNR(), "A", 16_000)
        >>> measure.spec.name
        'a_weighted_snr'

    Raises:
        ArgumentError: No such curve.
        SampleRateError: A rate that the curve is not defined at, or another than the measure's own.

    References:
        [iec2013]_ for A and C, [iec1979]_ for B, [iec1976]_ for D, [itu2015bs1770]_ for K,
        [itu1986bs468]_ for ITU-R 468.
    """

    def __init__(self, measure: Measure, curve: str, sample_rate: int) -> None:
        super().__init__(measure)
        inner = getattr(measure, "sample_rate", sample_rate)
        if inner != sample_rate:
            raise SampleRateError(
                f"Weighted: got {measure.spec.name} at {inner} Hz and sample_rate={sample_rate}; needed is one rate; "
                f"type Resampled(Weighted(measure, {curve!r}, {inner}), {sample_rate})."
            )
        self.front = Weighting(curve, sample_rate)
        self.curve, self.sample_rate = curve, sample_rate
        self.spec = replace(
            measure.spec,
            name=f"{curve.lower()}_weighted_{measure.spec.name}",
            title=f"{measure.spec.title}, {CURVES[curve].title}",
            sample_rates=frozenset({sample_rate}),
            cite=(*measure.spec.cite, CURVES[curve].cite),
        )

    def compare(self, est: Wave, ref: Wave, **needs: Wave) -> PerItem:
        signals = {"est": est, "ref": ref, **needs}
        return self.measure.compare(**{name: self.front(x) for name, x in signals.items()})

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        return self.measure.undefined_because(self.front(est), self.front(ref))
