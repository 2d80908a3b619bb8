"""How far to spoil: the strength at which a ratio, or any other measure, has the value that was asked for."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from percloss._nearest import nearest_and_all
from percloss.degrade.base import Artefact, Family, at_snr, energy, snr_of
from percloss.degrade.coded import settings
from percloss.degrade.families import FAMILIES
from percloss.errors import ArgumentError, DTypeError, SampleRateError, ShapeError
from percloss.evaluation import build
from percloss.measure import Measure

# Halved 24 times, 1 is at float32's spacing.
_HALVINGS = 24
# Where a value is looked for first, before the interval that holds it is halved.
_STRENGTHS = tuple(step / 16 for step in range(17))
_SCALES = (0.0, *(10 ** (db / 20) for db in range(-100, 61, 5)))
_NEARLY = tuple(10 ** (db / 20) for db in (-2.0, -0.5, 0.0, 0.5, 2.0))

Curve = Callable[[Tensor], tuple[Tensor, Tensor]]


class Match(NamedTuple):
    """A spoilt wave that has a value, and how it was reached.

    Args:
        wave: The estimate, (batch, channels, time).
        reached: The measure's value, (batch, channels) or, where it judges channels together, (batch, 1).
        strength: Of the family, the same shape; nan where the reference is silent.
        scale_db: By how much the family's error was scaled then [dB]: what a strength cannot do, because a coder has
            settings and chance comes in steps. 0 for the families whose error is added: it is in their strength.
    """

    wave: Tensor
    reached: Tensor
    strength: Tensor
    scale_db: Tensor


def degrade(wave: Tensor, sample_rate: int, family: str | Family, *, snr_db: float, seed: int = 0) -> Tensor:
    """Spoil a recording so that its signal-to-noise ratio is exactly what was asked.

    The ratio holds for each channel of each item, and so for all of them together. A silent channel has no ratio and
    stays as it is. The same seed gives the same samples.

    A coder has no ratio to be asked for: of its settings the one is taken whose own ratio is nearest, and the error it
    makes is scaled to the ratio. Far from what a coder does by itself, that is a sound nobody ever heard.

    Args:
        wave: The signal to spoil.
        sample_rate: Its rate [Hz].
        family: One of ``FAMILIES``, or one of your own.
        snr_db: Power of the signal over power of the error [dB].
        seed: Of the generator, for the families that are random.

    Shape:
        wave: (batch, channels, time). Returns the same.

    Raises:
        ArgumentError: No family of that name, or a ratio that the family cannot reach with this signal.
        DTypeError: A wave that is neither float32 nor float64.
        MissingExtraError: ``interference`` reads an embedded clip, and coders code, with soundfile.
        SampleRateError: A rate that is no positive integer.
        ShapeError: A wave of another shape, or without samples.

    Example:
        >>> ref = torch.randn(1, 2, 16_000, generator=torch.Generator().manual_seed(0))
        >>> est = degrade(ref, 16_000, "low_pass", snr_db=10.0)
        >>> (10 * (ref.square().sum() / (est - ref).square().sum()).log10()).round(decimals=2)
        tensor(10.)
    """
    name, chosen = _family("degrade", family)
    _check("degrade", wave, sample_rate)
    if chosen.additive:
        spoilt = chosen.apply(wave, sample_rate, generator=torch.Generator().manual_seed(seed))
    elif chosen.coded:
        spoilt = _nearest(chosen.apply, wave, sample_rate, snr_db=snr_db)
    else:
        spoilt = _sought(chosen.apply, wave, sample_rate, family=name, snr_db=snr_db, seed=seed)
    est = wave + at_snr(spoilt - wave, wave, snr_db)
    reached = snr_of(est, wave)
    if not ((reached - snr_db).abs() <= 0.01).logical_or(reached.isnan()).all():
        raise ArgumentError(
            f"degrade: snr_db={snr_db:g} came; {wave.dtype} cannot hold so small an error to 0.01 dB; "
            f"ask for a lower ratio{' or give wave.double()' if wave.dtype == torch.float32 else ''}."
        )
    return est


def match(
    wave: Tensor, sample_rate: int, family: str | Family, measure: str | Measure, target: float, *, seed: int = 0
) -> Match:
    """Spoil a recording so that a measure has a value: SI-SDR, PESQ, or anything else that gets worse as it is spoilt.

    The strengths from 0 upwards are tried in steps, and the first interval that holds the value is halved until it is
    reached. Where a family moves in jumps, its error is then scaled, by as little as that takes; a coder's is scaled as
    in :func:`degrade`. ``reached`` says which value it became: within float32's reach of the target, unless the
    measure itself jumps there.

    Args:
        wave: The signal to spoil.
        sample_rate: Its rate [Hz].
        family: One of ``FAMILIES``, or one of your own.
        measure: A name of the catalogue, or a measure; one that compares an estimate with a reference, defined at this
            rate.
        target: Its value in each channel.
        seed: Of the generator, for the families that are random.

    Shape:
        wave: (batch, channels, time).

    Raises:
        ArgumentError: No family of that name, a measure that needs more than a reference, or a value that is not
            reached with this signal; the message says which are.
        DTypeError: A wave that is neither float32 nor float64.
        MissingExtraError: The family or the measure needs a package that is not installed.
        SampleRateError: A rate that is no positive integer, or that the measure is not defined at.
        ShapeError: A wave of another shape, or without samples.

    Example:
        >>> ref = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> found = match(ref, 16_000, "low_pass", "si_sdr", 10.0)
        >>> found.reached.round(decimals=2)
        tensor([[10.]])
    """
    name, chosen = _family("match", family)
    _check("match", wave, sample_rate)
    if not math.isfinite(target):
        raise ArgumentError(f"match: target={target} came; a finite number is needed; use target=10.0.")
    (judge,) = build([measure], sample_rate, device=wave.device).values()
    if judge.spec.needs or judge.spec.takes not in ("pair", "joint"):
        raise ArgumentError(
            f"match: {judge.spec.name} came, which takes {judge.spec.takes}"
            f"{''.join(f' and {need}' for need in judge.spec.needs)}; a measure of an estimate and its reference is "
            f"needed; use measure='si_sdr'."
        )
    audible = energy(wave) > 0
    if judge.spec.takes == "joint":
        audible = audible.any(1, keepdim=True)

    def value(est: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            return est, judge(est, wave)[..., None]

    def spoil(strength: Tensor) -> Tensor:
        every = strength.to(wave).expand(*wave.shape[:2], 1)
        return chosen.apply(wave, sample_rate, every, generator=torch.Generator().manual_seed(seed))

    like = wave.new_ones((wave.shape[0], audible.shape[1], 1), dtype=torch.float64)
    if chosen.additive:
        error = spoil(like) - wave
        found = _search(lambda s: value(wave + s.to(wave) * error), _SCALES, like, target)
        wanted, scale = found.at, torch.ones_like(like)
    else:
        steps = (0.0, *settings()) if chosen.coded else _STRENGTHS
        found = _search(lambda s: value(spoil(s)), steps, like, target, halve=not chosen.coded)
        wanted, scale, error = found.at, torch.ones_like(like), found.est - wave
        if chosen.coded or _apart(found.reached, target):
            curve: Curve = lambda s: value(wave + s.to(wave) * error)  # noqa: E731
            scaled = _search(curve, _SCALES if chosen.coded else _NEARLY, like, target)
            better = ~((scaled.reached - target).abs() >= (found.reached - target).abs())
            scale = torch.where(better, scaled.at, scale)
            est, reached = value(wave + scale.to(wave) * error)
            found = found._replace(
                est=est,
                reached=reached,
                low=torch.fmin(found.low, scaled.low),
                high=torch.fmax(found.high, scaled.high),
                inside=found.inside | scaled.inside,
            )
    off = (found.reached - target).abs()
    missed = audible & ~(off <= 0.01 * abs(target or 1.0))
    if missed.any():
        raise ArgumentError(_out_of_reach(found, missed, judge, target, name))
    unknown = torch.full_like(like, math.nan)
    return Match(
        found.est,
        found.reached[..., 0].clone(),
        torch.where(audible, wanted, unknown)[..., 0],
        torch.where(audible, 20 * scale.log10(), unknown)[..., 0],
    )


def _out_of_reach(found: "_Found", missed: Tensor, judge: Measure, target: float, family: str) -> str:
    """What is in reach instead, in the first channel that missed."""
    item, channel, _ = missed.nonzero()[0].tolist()
    low, high, nearest = (float(x[item, channel, 0]) for x in (found.low, found.high, found.reached))
    unit = "" if judge.spec.unit == "1" else f" {judge.spec.unit}"
    came = f"match: {judge.spec.name}={target:g} came; with {family}"
    if math.isnan(nearest):
        return f"{came} it has no value on this signal; give another family or another measure."
    if found.inside[item, channel, 0]:
        return f"{came} it jumps over that on this signal; ask for {judge.spec.name}={nearest:.4g}, the nearest."
    return f"{came} it reaches from {low:.4g} to {high:.4g}{unit} on this signal; ask for a value in between."


class _Found(NamedTuple):
    """What a search ended with: estimate, value, where on the curve, extremes seen, whether the target lies in them."""

    est: Tensor
    reached: Tensor
    at: Tensor
    low: Tensor
    high: Tensor
    inside: Tensor


def _search(curve: Curve, steps: Sequence[float], like: Tensor, target: float, *, halve: bool = True) -> _Found:
    """Look along a curve for the first place that has the value, in every channel at once."""
    values = torch.stack([curve(step * like)[1].to(like) for step in steps])
    places = torch.tensor(steps, dtype=like.dtype, device=like.device)
    above = values >= target
    crossed = (above[1:] != above[:-1]) & values[1:].isfinite() & values[:-1].isfinite()
    inside = crossed.any(0)
    first = crossed.long().argmax(0)
    nearest = torch.where(values.isnan(), math.inf, (values - target).abs()).argmin(0)
    low = torch.where(inside, places[first], places[nearest])
    high = torch.where(inside, places[first + 1], places[nearest])
    start_above = above.gather(0, first[None])[0]
    at = places[nearest]
    est, reached = curve(at)
    for _ in range(_HALVINGS if halve and bool(inside.any()) else 0):
        if not _apart(torch.where(inside, reached, target), target):
            break
        middle = (low + high) / 2
        tried, value = curve(middle)
        before = (value >= target) == start_above
        low, high = torch.where(before, middle, low), torch.where(before, high, middle)
        closer = inside & ((value - target).abs() < (reached - target).abs())
        est, reached = torch.where(closer, tried, est), torch.where(closer, value, reached)
        at = torch.where(closer, middle, at)
    finite = values.isfinite()
    least = torch.where(finite, values, math.inf).amin(0)
    most = torch.where(finite, values, -math.inf).amax(0)
    none = ~finite.any(0)
    return _Found(est, reached, at, least.masked_fill(none, math.nan), most.masked_fill(none, math.nan), inside)


def _tolerance(target: float) -> float:
    """Nearer than this a value is the target: what float32 leaves of a ratio."""
    return 1e-5 * abs(target or 1.0)


def _apart(reached: Tensor, target: float) -> bool:
    return bool(((reached - target).abs() > _tolerance(target)).any())


def _family(caller: str, family: str | Family) -> tuple[str, Family]:
    if isinstance(family, Family):
        return family.title, family
    if family not in FAMILIES:
        raise ArgumentError(f"{caller}: family={family!r} came; {nearest_and_all(family, FAMILIES)}")
    return family, FAMILIES[family]


def _nearest(apply: Artefact, wave: Tensor, sample_rate: int, *, snr_db: float) -> Tensor:
    """The wave coded at the setting whose ratio is nearest to what was asked."""
    spoilt, closest = wave, torch.full_like(energy(wave), math.inf)
    for strength in settings():
        est = apply(wave, sample_rate, strength)
        off = (snr_of(est, wave) - snr_db).abs()
        spoilt, closest = torch.where(off < closest, est, spoilt), torch.where(off < closest, off, closest)
    return spoilt


def _sought(apply: Artefact, wave: Tensor, sample_rate: int, *, family: str, snr_db: float, seed: int) -> Tensor:
    """The wave spoilt to within 0.05 dB of the ratio, or as near as a family that moves in jumps comes."""

    def attempt(strength: Tensor) -> tuple[Tensor, Tensor]:
        est = apply(wave, sample_rate, strength, generator=torch.Generator().manual_seed(seed))
        return est, snr_of(est, wave)

    low, high = wave.new_zeros(*wave.shape[:2], 1), wave.new_ones(*wave.shape[:2], 1)
    spoilt, reached = attempt(high)
    if not math.isfinite(snr_db) or (reached > snr_db).any():
        lowest = float(reached[~reached.isnan()].max())
        raise ArgumentError(
            f"degrade: snr_db={snr_db:g} came; {family} reaches from {lowest:.2f} dB upwards with this signal; "
            f"ask for snr_db={math.ceil(lowest)} or more."
        )
    # A silent channel, whose ratio is nan, is never waited for.
    for _ in range(_HALVINGS):
        if not ((reached - snr_db).abs() > 0.05).any():
            break
        middle = (low + high) / 2
        est, ratio = attempt(middle)
        enough = ~(ratio > snr_db)
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        spoilt, reached = torch.where(enough, est, spoilt), torch.where(enough, ratio, reached)
    return spoilt


def _check(caller: str, wave: Tensor, sample_rate: int) -> None:
    if not isinstance(wave, Tensor) or wave.dtype not in (torch.float32, torch.float64):
        came = wave.dtype if isinstance(wave, Tensor) else type(wave).__name__
        raise DTypeError(f"{caller}: {came} came; a float32 or float64 tensor is needed; use wave.float().")
    if wave.dim() != 3 or wave.numel() == 0:
        raise ShapeError(
            f"{caller}: a wave of shape {tuple(wave.shape)} came; it needs (batch, channels, time), each 1 or more; "
            f"for one mono signal use wave.reshape(1, 1, -1)."
        )
    if not torch.isfinite(wave).all():
        raise ArgumentError(
            f"{caller}: a wave with NaN or infinity came; finite samples are needed; use wave.nan_to_num()."
        )
    if not isinstance(sample_rate, int) or sample_rate < 1:
        raise SampleRateError(
            f"{caller}: sample_rate={sample_rate!r} came; an integer of 1 Hz or more is needed; use 16000."
        )
