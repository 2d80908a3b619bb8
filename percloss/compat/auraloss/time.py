"""auraloss.time: losses of waveforms, ``(batch, channels, time)`` or of any rank with time last."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from percloss.compat.auraloss.utils import REDUCTIONS, apply_reduction, checked, of_items
from percloss.losses import Loss
from percloss.measure import Measure
from percloss.measures import ratios, waveform


class _TimeLoss(nn.Module):
    """The loss of a measure or, as legacy, auraloss's formula, whose ``eps`` is an absolute energy."""

    def __init__(self, measure: Measure, eps: float, reduction: str, zero_mean: bool, legacy: bool) -> None:
        super().__init__()
        self.eps, self.zero_mean, self.legacy = eps, zero_mean, legacy
        self.reduction = reduction if legacy else checked("reduction", reduction, REDUCTIONS)
        self.loss = Loss(measure)

    @abstractmethod
    def formula(self, est: Tensor, ref: Tensor) -> Tensor:
        """What auraloss computes of each row."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss; ``(batch, channels)`` values if the reduction is ``"none"``."""
        if self.zero_mean:
            input, target = (x - x.mean(-1, keepdim=True) for x in (input, target))
        if self.legacy:
            return apply_reduction(self.formula(input, target), self.reduction)
        return of_items(self.loss, input, target, self.reduction)

    def ratio_db(self, target: Tensor, error: Tensor) -> Tensor:
        """Energies over each other [dB], turned so that less is better."""
        return -10 * (_energy(target) / (_energy(error) + self.eps) + self.eps).log10()

    def projected(self, est: Tensor, ref: Tensor) -> Tensor:
        """The estimate's part along the reference."""
        return ((est * ref).sum(-1) / (_energy(ref) + self.eps)).unsqueeze(-1) * ref


def _energy(x: Tensor) -> Tensor:
    return x.square().sum(-1)


class ESRLoss(_TimeLoss):
    """``percloss.measures.waveform.ESR``: error-to-signal ratio."""

    def __init__(self, eps: float = 1e-8, reduction: str = "mean", *, legacy: bool = False) -> None:
        super().__init__(waveform.ESR(), eps, reduction, False, legacy)

    def formula(self, est: Tensor, ref: Tensor) -> Tensor:
        return _energy(ref - est) / (_energy(ref) + self.eps)


class DCLoss(_TimeLoss):
    """``percloss.measures.waveform.DC``: the squared mean of the error over the mean square."""

    def __init__(self, eps: float = 1e-8, reduction: str = "mean", *, legacy: bool = False) -> None:
        super().__init__(waveform.DC(), eps, reduction, False, legacy)

    def formula(self, est: Tensor, ref: Tensor) -> Tensor:
        return (ref - est).mean(-1).square() / (ref.square().mean(-1) + self.eps)


class LogCoshLoss(_TimeLoss):
    """``percloss.measures.waveform.LogCosh``, which overflows for no error."""

    def __init__(self, a: float = 1.0, eps: float = 1e-8, reduction: str = "mean", *, legacy: bool = False) -> None:
        super().__init__(waveform.LogCosh(a), eps, reduction, False, legacy)
        self.a = a

    def formula(self, est: Tensor, ref: Tensor) -> Tensor:
        return (torch.cosh(self.a * (est - ref)) + self.eps).log().mean(-1) / self.a


class SNRLoss(_TimeLoss):
    """``percloss.SNR``, of signals without their mean if ``zero_mean``."""

    def __init__(
        self, zero_mean: bool = True, eps: float = 1e-8, reduction: str = "mean", *, legacy: bool = False
    ) -> None:
        super().__init__(ratios.SNR(), eps, reduction, zero_mean, legacy)

    def formula(self, est: Tensor, ref: Tensor) -> Tensor:
        return self.ratio_db(ref, est - ref)


class SISDRLoss(_TimeLoss):
    """``percloss.SISDR``, of signals without their mean if ``zero_mean``."""

    def __init__(
        self, zero_mean: bool = True, eps: float = 1e-8, reduction: str = "mean", *, legacy: bool = False
    ) -> None:
        super().__init__(ratios.SISDR(), eps, reduction, zero_mean, legacy)

    def formula(self, est: Tensor, ref: Tensor) -> Tensor:
        target = self.projected(est, ref)
        return self.ratio_db(target, est - target)


class SDSDRLoss(_TimeLoss):
    """``percloss.SDSDR``, of signals without their mean if ``zero_mean``."""

    def __init__(
        self, zero_mean: bool = True, eps: float = 1e-8, reduction: str = "mean", *, legacy: bool = False
    ) -> None:
        super().__init__(ratios.SDSDR(), eps, reduction, zero_mean, legacy)

    def formula(self, est: Tensor, ref: Tensor) -> Tensor:
        return self.ratio_db(self.projected(est, ref), est - ref)
