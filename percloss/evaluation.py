"""Score tensors with several measures at once, and say by which recipe each number was made."""

import inspect
from collections.abc import Iterable
from importlib.metadata import version

import torch
from torch import Tensor

from percloss import __version__
from percloss.errors import ArgumentError
from percloss.functional import shared
from percloss.measure import Measure, check_rate, create


def evaluate(
    est: Tensor,
    ref: Tensor | None,
    sample_rate: int,
    measures: Iterable[str | Measure],
    *,
    lengths: Tensor | None = None,
    **needs: Tensor,
) -> dict[str, Tensor]:
    """Score a batch with each measure, without a gradient. What several of them solve is solved once.

    Args:
        est: Estimates.
        ref: References; measures that take none are not given them. ``None`` where none of the measures takes one.
        sample_rate: Of all signals [Hz]; a measure that is not defined at it is an error, nothing is resampled.
        measures: Names, or measures already built.
        lengths: Samples of each item that count, as in ``Measure``.
        **needs: What some measures need besides, such as ``mix``; each is given what it declares.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels) for each measure.

    Example:
        >>> ref = torch.ones(1, 1, 16_000)
        >>> evaluate(0.9 * ref, ref, 16_000, ["snr", "mae"])
        {'snr': tensor([[20.0000]]), 'mae': tensor([[0.1000]])}

    Raises:
        SampleRateError: A measure is not defined at this rate.
        ArgumentError: A measure needs a signal that was not given.
    """
    built = build(measures, sample_rate, device=est.device)
    scores: dict[str, Tensor] = {}
    with torch.inference_mode(), shared():
        for name, measure in built.items():
            given = {need: needs[need] for need in measure.spec.needs if need in needs}
            scores[name] = measure(est, None if measure.spec.alone else ref, lengths=lengths, **given)
    return scores


def build(
    measures: Iterable[str | Measure], sample_rate: int, *, device: torch.device | None = None
) -> dict[str, Measure]:
    """Measures by name; those given as names are built for the rate and on the device. Two of one name are an error."""
    built: dict[str, Measure] = {}
    for entry in measures:
        measure = create(entry, sample_rate=sample_rate).to(device) if isinstance(entry, str) else entry
        check_rate(measure.spec, sample_rate)
        inner = getattr(measure, "sample_rate", sample_rate)
        if inner != sample_rate:
            raise ArgumentError(
                f"{measure.spec.name}: was built for {inner} Hz, the signals are at {sample_rate} Hz; type "
                f"Resampled(measure, sample_rate={sample_rate})."
            )
        if measure.spec.name in built:
            raise ArgumentError(f"evaluate: got two measures named {measure.spec.name}; score one after the other.")
        built[measure.spec.name] = measure
    return built


def signature(measure: Measure, sample_rate: int, **context: str) -> str:
    """By which recipe a number was made, in one line that can stand beside it in a paper.

    Args:
        measure: Which made it.
        sample_rate: Of the signals [Hz].
        **context: What was done around it, such as ``rs="soxr-hq"`` for the resampler or ``ch="mean"`` for channels.

    Example:
        >>> signature(create("si_sdr"), 16_000, ch="mean")  # doctest: +ELLIPSIS
        'si_sdr|sr:16000|ch:mean|v:percloss...'
    """
    fields = [measure.spec.name]
    if measure.spec.implementation is not None:
        fields.append(f"impl:{measure.spec.implementation}{version(measure.spec.implementation)}")
    fields += dict.fromkeys(_settings(measure, sample_rate))  # once where a wrapper passes a setting on
    fields.append(f"sr:{sample_rate}")
    fields += [f"{name}:{value}" for name, value in context.items()]
    return "|".join([*fields, f"v:percloss{__version__}"]).replace(" ", "")


def _settings(measure: Measure, sample_rate: int) -> list[str]:
    """What differs from the defaults, and the same of the measure that a wrapper holds, at its rate."""
    settings = {name: value for name, value in measure.settings.items() if name != "sample_rate"}
    defaults = inspect.signature(type(measure)).parameters
    fields = [f"{name}:{value}" for name, value in settings.items() if value != defaults[name].default]
    inner = getattr(measure, "measure", None)
    if not isinstance(inner, Measure):
        return fields
    rate = getattr(inner, "sample_rate", sample_rate)
    return [*fields, *[f"at:{rate}"] * (rate != sample_rate), *_settings(inner, rate)]
