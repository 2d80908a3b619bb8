"""The loss view: a measure with its sign turned so that less is better, averaged over the items that have a value."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ParamSpec, cast

import torch
from torch import Tensor, nn

from percloss.dsp.safe import mean_defined
from percloss.engine import Spectral, SumOf, applies
from percloss.errors import ArgumentError
from percloss.measure import Measure
from percloss.measures import masking, phase, ratios, spectral, waveform

P = ParamSpec("P")


class Loss(nn.Module):
    """A measure to minimise: ``sign * mean over items``.

    Items without a value (a silent reference where the measure is a ratio) are left out, and no nan reaches a gradient.
    If no item has a value the loss is 0 with a zero gradient, and says so once, as a warning. Samples that are not
    finite make the loss and its gradient nan: a run that has diverged must not look healthy.

    Args:
        measure: What to minimise or, where higher is better, to maximise. Nobody writes a minus.

    Shape:
        est, ref: as the measure takes them. Returns ().

    Example:
        >>> loss = Loss(percloss.SNR())
        >>> loss(torch.full((1, 1, 8), 0.9), torch.ones(1, 1, 8))
        tensor(-20.0000)
    """

    def __init__(self, measure: Measure) -> None:
        super().__init__()
        if not measure.spec.differentiable:
            raise ArgumentError(
                f"Loss: got {measure.spec.name}, which has no gradient; use it as a metric: "
                f"percloss.metrics.Metric(measure)."
            )
        self.measure = measure
        self._told = False

    @property
    def name(self) -> str:
        """The measure's name."""
        return self.measure.spec.name

    def forward(
        self,
        est: Tensor,
        ref: Tensor,
        *,
        weight: Tensor | None = None,
        lengths: Tensor | None = None,
        **needs: Tensor,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            est: Estimates, with the gradient.
            ref: References.
            weight: Weight of each item, ``(batch,)`` or ``(batch, channels)``.
            lengths: Samples of each item that count, as in ``Measure``.
            **needs: What the measure needs besides, such as ``mix``.
        """
        values, finite = self.measure.scored(est, ref, lengths=lengths, **needs)
        if weight is not None:
            weight = weight[:, None] if weight.dim() == 1 else weight
        if not torch.compiler.is_compiling() and not values.is_cuda:  # asking a GPU would make every step wait for it
            self._tell(values)
        mean = self.measure.spec.sign * mean_defined(values, weight)
        # Broken samples never reached the measure and would get a gradient of 0: the second term is 0, or nan.
        return mean + (torch.where(finite.all(), 0.0, math.nan) * est[..., :1].to(mean.dtype)).sum()

    def _tell(self, values: Tensor) -> None:
        if not self._told and bool(values.isnan().all()):
            self._told = True
            warnings.warn(
                f"{self.name}: no item of this batch has a value (silent references?); the loss is 0 and has no "
                f"gradient. Said once.",
                stacklevel=5,  # past forward and torch's two frames of a call
            )


class WeightedSum(nn.Module):
    """A weighted sum of losses.

    Args:
        terms: Pairs of weight and loss, or such pairs by name where two terms are of the same measure.

    Shape:
        est, ref: as the terms take them. Returns ().

    Example:
        >>> loss = WeightedSum([(1.0, MultiResolutionSTFTLoss()), (0.1, SISDRLoss())])
        >>> est, ref = torch.randn(2, 4, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> parts = loss.parts(est, ref)
        >>> sorted(parts)
        ['mrstft', 'si_sdr']
        >>> bool(loss(est, ref) == parts["mrstft"] + 0.1 * parts["si_sdr"])
        True
    """

    def __init__(self, terms: Sequence[tuple[float, Loss]] | Mapping[str, tuple[float, Loss]]) -> None:
        super().__init__()
        named = list(terms.items()) if isinstance(terms, Mapping) else [(term[1].name, term) for term in terms]
        names = [name for name, _ in named]
        if not named or len(set(names)) < len(names):
            raise ArgumentError(
                f"WeightedSum: got terms {names}; needed are one at least, each of its own name: "
                f"WeightedSum({{'coarse': (1.0, loss), 'fine': (0.5, other)}})."
            )
        if any("." in name for name in names):
            raise ArgumentError(f"WeightedSum: got names {names}; needed are names without a dot.")
        wrong = {name: weight for name, (weight, _) in named if not 0 <= weight < math.inf}
        if wrong:
            raise ArgumentError(f"WeightedSum: got weights {wrong}; needed are finite ones, not below 0.")
        self.weights = {name: float(weight) for name, (weight, _) in named}
        self.losses = nn.ModuleDict({name: loss for name, (_, loss) in named})

    def parts(self, est: Tensor, ref: Tensor, **arguments: Tensor | None) -> dict[str, Tensor]:
        """Each term by name, before its weight, for a log. ``total`` makes the loss of them without computing twice."""
        self._check(arguments)
        return self._parts(self.losses, est, ref, **arguments)

    def _parts(self, names: Iterable[str], est: Tensor, ref: Tensor, **arguments: Tensor | None) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        for name in names:
            loss = cast(Loss, self.losses[name])
            given = {key: value for key, value in arguments.items() if key in _ANY or key in loss.measure.spec.needs}
            parts[name] = loss(est, ref, **given)
        return parts

    def _shared(self) -> dict[str, Spectral]:
        """Terms that look at spectra and share transforms; one that may have no value for an item keeps to itself."""
        measures = {name: cast(Loss, loss).measure for name, loss in self.losses.items()}
        return {
            name: measure
            for name, measure in measures.items()
            if isinstance(measure, Spectral)
            and measure.engine == "closed"
            and measure.spec.silent_reference == "defined"
        }

    def _check(self, arguments: Iterable[str]) -> None:
        known = {need for loss in self.losses.values() for need in cast(Loss, loss).measure.spec.needs}
        unknown = set(arguments) - known - _ANY
        if unknown:
            raise ArgumentError(f"WeightedSum: got {sorted(unknown)}; needed are {sorted(known) or 'none of them'}.")

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of what ``parts`` returned."""
        return torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()

    def forward(self, est: Tensor, ref: Tensor, **arguments: Tensor | None) -> Tensor:
        """The weighted sum. Takes what ``Loss`` takes; a term is given those of ``needs`` that it declares.

        Terms at one resolution are computed from one transform, and their gradients carried back by one.
        """
        shared = self._shared() if applies(est, ref) else {}
        if len(shared) < 2:
            return self.total(self.parts(est, ref, **arguments))
        self._check(arguments)
        together = SumOf([(self.weights[name], part) for name, part in shared.items()])
        loss: Tensor = Loss(together)(est, ref, **{name: x for name, x in arguments.items() if name in _ANY})
        rest = self._parts([name for name in self.losses if name not in shared], est, ref, **arguments)
        return loss + self.total(rest) if rest else loss


_ANY = {"weight", "lengths"}


def _loss(name: str, measure: Callable[P, Measure]) -> Callable[P, Loss]:
    """A class of losses with the constructor of a measure."""

    def construct(self: Loss, *args: P.args, **kwargs: P.kwargs) -> None:
        Loss.__init__(self, measure(*args, **kwargs))

    cls = cast(type[Measure], measure)
    summary = (cls.__doc__ or "").strip().splitlines()[0]
    doc = f"The loss of ``{cls.__name__}``: {summary}\n\nTakes the arguments of ``{cls.__name__}``; see there."
    namespace = {"__init__": construct, "__doc__": doc, "__module__": __name__, "measure_class": cls}
    return cast(Callable[P, Loss], type(name, (Loss,), namespace))


MSELoss = _loss("MSELoss", waveform.MSE)
MAELoss = _loss("MAELoss", waveform.MAE)
SNRLoss = _loss("SNRLoss", ratios.SNR)
SISDRLoss = _loss("SISDRLoss", ratios.SISDR)
SDSDRLoss = _loss("SDSDRLoss", ratios.SDSDR)
STFTLoss = _loss("STFTLoss", spectral.STFTDistance)
MultiResolutionSTFTLoss = _loss("MultiResolutionSTFTLoss", spectral.MultiResolutionSTFTDistance)
MelLoss = _loss("MelLoss", spectral.MelDistance)
MultiScaleMelLoss = _loss("MultiScaleMelLoss", spectral.MultiScaleMelDistance)
LogSpectralLoss = _loss("LogSpectralLoss", spectral.LogSpectralDistance)
LogCoshLoss = _loss("LogCoshLoss", waveform.LogCosh)
ESRLoss = _loss("ESRLoss", waveform.ESR)
DCLoss = _loss("DCLoss", waveform.DC)
LogWMSELoss = _loss("LogWMSELoss", waveform.LogWMSE)
ThresholdedSNRLoss = _loss("ThresholdedSNRLoss", ratios.ThresholdedSNR)
L1SNRLoss = _loss("L1SNRLoss", ratios.L1SNR)
LevelMatchedL1SNRLoss = _loss("LevelMatchedL1SNRLoss", ratios.LevelMatchedL1SNR)
ComplexSTFTLoss = _loss("ComplexSTFTLoss", phase.ComplexSTFTDistance)
CompressedSTFTLoss = _loss("CompressedSTFTLoss", phase.CompressedSTFTDistance)
CosinePhaseLoss = _loss("CosinePhaseLoss", phase.CosinePhaseDistance)
AntiWrappingPhaseLoss = _loss("AntiWrappingPhaseLoss", phase.AntiWrappingPhaseDistance)
WeightedSDRLoss = _loss("WeightedSDRLoss", phase.WeightedSDR)
NMRLoss = _loss("NMRLoss", masking.NMR)
CompressiveNMRLoss = _loss("CompressiveNMRLoss", masking.CompressiveNMR)
MaskedErrorLoss = _loss("MaskedErrorLoss", masking.MaskedError)
NoiseModulationLoss = _loss("NoiseModulationLoss", masking.NoiseModulation)
MaskingHingeLoss = _loss("MaskingHingeLoss", masking.MaskingHinge)
PrioritySpectralLoss = _loss("PrioritySpectralLoss", masking.PrioritySpectralDistance)
