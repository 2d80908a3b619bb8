"""Errors of the samples themselves."""

import math

from percloss._typing import PerItem, Wave
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
