"""The one abstraction: a measure maps ``(est, ref)`` to one number per item. And the catalogue of them by name."""

import importlib
import inspect
from abc import ABC, abstractmethod
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from percloss._nearest import nearest
from percloss.dsp.safe import undefined_where
from percloss.errors import ArgumentError, DeviceError, DTypeError, SampleRateError, ShapeError, UnknownMeasureError
from percloss.measures import TABLE
from percloss.spec import SHAPES, Spec

ENTRY_POINTS = "percloss.measures"
_registered: dict[str, type["Measure"]] = {}


class Measure(nn.Module, ABC):
    """A number per item: ``(batch, channels, time)`` twice in, ``(batch, channels)`` out, in its natural sign and unit.

    One that takes no reference (``spec.takes`` is ``"alone"``) is called with the estimate alone.

    A final measure declares ``spec`` and writes ``compare``. It keeps every constructor argument under its own name,
    so that ``repr``, signature and ``settings`` need no second list. Calls go through ``forward``, the only door.
    """

    spec: Spec
    min_samples: int = 1
    #: ``"eager"`` is plain autograd; ``"closed"`` takes the hand-written gradient where the measure has one.
    engine: Literal["closed", "eager"] = "closed"

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def compare(self, est: Tensor, *_: Any, **needs: Any) -> Tensor:
        """The equation: waveforms in, one value per item out. Called by ``forward`` only, with checked tensors.

        Takes ``est, ref``, or ``est`` where there is no reference, and what ``spec.needs`` names.

        An item without a value is nan, put there by ``dsp.safe.undefined_where``: its gradient is 0 and not nan.
        """

    def forward(
        self, est: Tensor, ref: Tensor | None = None, *, lengths: Tensor | None = None, **needs: Tensor
    ) -> Tensor:
        """Compare estimates with references.

        Args:
            est: Estimates.
            ref: References, of the same shape, but for the number of mixtures where it takes those. Not to be given
                where it takes none.
            lengths: Samples of each item that count, ``(batch,)``, where items are padded. An item then scores what
                it scores alone.
            **needs: What ``spec.needs`` names, shaped like ``est``.

        Returns:
            One value per item and channel, nan where an item has none because its samples are not finite or the measure
            is not defined for it (``reason`` says which).

        Raises:
            ShapeError: Wrong rank, mismatched, empty or too short.
            DTypeError: Not a floating-point tensor. Half precision is computed in float32.
            DeviceError: Tensors on different devices.
            ArgumentError: A signal too few or too many.
        """
        values, finite = self.scored(est, ref, lengths=lengths, **needs)
        return undefined_where(~finite, values)

    def scored(
        self, est: Tensor, ref: Tensor | None = None, *, lengths: Tensor | None = None, **needs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What ``forward`` returns, before broken items are struck out, and which items had finite samples only."""
        signals = self._checked({"est": est, **({} if ref is None else {"ref": ref}), **needs})
        with torch.autocast(est.device.type, enabled=False):
            if lengths is None:
                return self._compare_finite(signals)
            sizes = self._checked_lengths(lengths, signals["est"])
            parts = [
                self._compare_finite({name: x[item : item + 1, ..., :size] for name, x in signals.items()})
                for item, size in enumerate(sizes)
            ]
        values, finite = zip(*parts, strict=True)
        return torch.cat(values), torch.cat(finite)

    def _compare_finite(self, signals: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        est = signals["est"]
        # One pass over the samples: a sum is finite only where every term is.
        parts = [x.detach().sum(tuple(range(2, x.dim()))).isfinite() for x in signals.values()]
        if self.spec.takes in ("pair", "alone"):
            whole = finite = torch.stack(parts).all(0)
        else:  # judged together: one that is broken leaves the others unknown
            whole = torch.cat(parts, 1).all(1, keepdim=True)
            finite = whole if self.spec.takes == "joint" else whole.expand(-1, signals["ref"].shape[1])
        # Nothing to strike out is the usual case. A GPU is not asked, since it would have to be waited for.
        if torch.compiler.is_compiling() or est.is_cuda or not bool(finite.all()):
            keep = whole.view(*whole.shape, *[1] * (est.dim() - 2))
            signals = {name: torch.where(keep, x, 0) for name, x in signals.items()}
        values = self.compare(**signals)
        if values.shape != finite.shape:
            raise ShapeError(
                f"{self.spec.name}: compare returned {tuple(values.shape)} for an input of {tuple(est.shape)}; "
                f"needed is {SHAPES[self.spec.takes][1]} = {tuple(finite.shape)}."
            )
        return values, finite

    def _checked(self, signals: dict[str, Tensor]) -> dict[str, Tensor]:
        name, takes = self.spec.name, self.spec.takes
        roles = {"est", *self.spec.needs} if self.spec.alone else {"est", "ref", *self.spec.needs}
        if self.spec.alone and "ref" in signals:
            raise ArgumentError(f"{name}: got est, ref; needed is est alone, it takes no reference: type measure(est).")
        if signals.keys() != roles:
            raise ArgumentError(
                f"{name}: got {', '.join(sorted(signals))}; needed {'is est' if self.spec.alone else 'are est, ref'}"
                f"{''.join(f', {need}=' for need in self.spec.needs)} and nothing else."
            )
        est = signals["est"]
        for role, x in signals.items():
            mixtures = takes == "mixtures" and role == "ref"  # of any number, whatever the number of sources
            wanted = SHAPES[takes][0].replace("sources", "mixtures") if mixtures else SHAPES[takes][0]
            if not isinstance(x, Tensor):
                raise DTypeError(
                    f"{name}: {role} is a {type(x).__name__}; needed is a tensor: torch.as_tensor({role})."
                )
            if not x.is_floating_point():
                raise DTypeError(
                    f"{name}: {role} is {x.dtype}; needed is floating point within +-1: "
                    f"for 16-bit samples type {role}.float() / 32768."
                )
            if x.dim() != wanted.count(",") + 1:
                raise ShapeError(
                    f"{name}: {role} has shape {tuple(x.shape)}; needed is {wanted}. {_reshaping(role, x, wanted)}"
                )
            shape = (*x.shape[:1], *est.shape[1:2], *x.shape[2:]) if mixtures else x.shape
            if shape != est.shape:
                cut = f" Cut both to the shorter: x[..., :{min(est.shape[-1], x.shape[-1])}]."
                raise ShapeError(
                    f"{name}: est is {tuple(est.shape)} and {role} is {tuple(x.shape)}; needed are equal shapes "
                    f"{wanted}{' in all but the second axis' if mixtures else ''}."
                    f"{cut if est.shape[:-1] == shape[:-1] else ''}"
                )
            if x.device != est.device:
                raise DeviceError(f"{name}: est is on {est.device}, {role} on {x.device}; type {role}.to(est.device).")
        if min(x.numel() for x in signals.values()) == 0 or est.shape[-1] < self.min_samples:
            raise ShapeError(
                f"{name}: got {tuple(est.shape)}; needed is at least one item and {self.min_samples} samples "
                f"{'(half a window)' if self.min_samples > 1 else ''}. Use a smaller window or pad with zeros."
            )
        for tensor in self.buffers():
            if tensor.device != est.device:
                raise DeviceError(f"{name}: is on {tensor.device}, est on {est.device}; type measure.to(est.device).")
            break
        dtype = torch.float32
        for x in signals.values():
            dtype = torch.promote_types(dtype, x.dtype)
        return {role: x.to(dtype) for role, x in signals.items()}

    def _checked_lengths(self, lengths: Tensor, est: Tensor) -> list[int]:
        batch, time = est.shape[0], est.shape[-1]
        sizes = torch.as_tensor(lengths)
        if sizes.shape != (batch,) or sizes.dtype not in (torch.int64, torch.int32):
            raise ShapeError(
                f"{self.spec.name}: lengths is {sizes.dtype} {tuple(sizes.shape)}; needed are {batch} integers."
            )
        listed = [int(size) for size in sizes.tolist()]
        wrong = [size for size in listed if not self.min_samples <= size <= time]
        if wrong:
            raise ShapeError(
                f"{self.spec.name}: lengths holds {wrong}; needed are {self.min_samples} to {time} samples an item."
            )
        return listed

    def reason(self, est: Tensor, ref: Tensor | None = None, **needs: Tensor) -> str:
        """Why one item, ``(1, channels, time)``, has no value, in a few words for a table."""
        signals = {"estimate": est} if ref is None else {"estimate": est, "reference": ref}
        for role, x in {**signals, **needs}.items():
            if not x.isfinite().all():
                return f"{role} has samples that are not finite"
        *_, (role, heard) = signals.items()
        if not heard.any() and self.spec.silent_reference == "undefined":
            return f"{role} is silent"
        return self.undefined_because(*signals.values())

    def undefined_because(self, est: Tensor, *_: Any) -> str:
        """What a measure can say itself about an item it has no value for. Takes what ``compare`` takes first."""
        return "not defined for this item"

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments by name, except those that are modules."""
        values = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        return {name: value for name, value in values.items() if not isinstance(value, nn.Module)}

    def extra_repr(self) -> str:
        """The settings, so that a printed measure can be typed again."""
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


def _reshaping(role: str, x: Tensor, wanted: str) -> str:
    shape = {1: f"{role}[None, None]", 2: f"{role}[:, None] for (batch, time), {role}[None] for (channels, time)"}
    if wanted.count(",") == 2 and x.dim() in shape:
        return f"Type {shape[x.dim()]}."
    if wanted.count(",") == 2 and x.dim() == 4:
        return f"Type {role}.flatten(0, 1) for (batch, sources, channels, time)."
    if x.dim() == 3:
        return f"Type {role}[:, :, None] for (batch, sources, time)."
    return ""


M = TypeVar("M", bound=type[Measure])


def register(cls: M) -> M:
    """Class decorator: make a measure known by its Spec's name to ``create`` and the command line."""
    known = _registered.get(cls.spec.name)
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ArgumentError(
            f"register: {cls.spec.name!r} is already {known.__module__}:{known.__qualname__}; give {cls.__qualname__} "
            f"another Spec name."
        )
    _registered[cls.spec.name] = cls
    return cls


def catalogue() -> dict[str, str]:
    """Every known measure, name -> ``module:class``: built in, announced by installed packages, registered so far."""
    announced = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    local = {name: f"{cls.__module__}:{cls.__qualname__}" for name, cls in _registered.items()}
    return {**local, **announced, **TABLE}


def find(name: str) -> type[Measure]:
    """The class of a measure, by name; imports the one file it is in.

    Raises:
        UnknownMeasureError: No such name; the message proposes the nearest.
    """
    if name in _registered:
        return _registered[name]
    known = catalogue()
    if name not in known:
        raise UnknownMeasureError(f"measure: got {name!r}; {nearest(name, sorted(known))} Type: percloss list")
    module, _, path = known[name].partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, Measure)):
        raise UnknownMeasureError(f"measure: {name!r} is {known[name]}, which is no percloss.Measure class.")
    return found


def create(name: str, *, sample_rate: int | None = None, **settings: Any) -> Measure:
    """Build a measure by name.

    Args:
        name: As in ``catalogue()``.
        sample_rate: Of the signals it will see [Hz]. Given to measures that take one; others are checked against it.
        **settings: Further constructor arguments.

    Example:
        >>> create("si_sdr", sample_rate=16_000)
        SISDR(zero_mean=False)

    Raises:
        UnknownMeasureError: No such name.
        SampleRateError: The measure is not defined at this rate.
    """
    cls = find(name)
    if sample_rate is not None:
        check_rate(cls.spec, sample_rate)
    takes_rate = "sample_rate" in inspect.signature(cls).parameters
    if takes_rate and sample_rate is None:
        raise SampleRateError(f"{name}: got no sample rate; type create({name!r}, sample_rate=44_100).")
    given = {"sample_rate": sample_rate, **settings} if takes_rate else settings
    try:
        inspect.signature(cls).bind(**given)
    except TypeError as error:
        raise ArgumentError(f"{name}: {error}; its arguments are {inspect.signature(cls)}.") from error
    return cls(**given)


def check_rate(spec: Spec, sample_rate: int) -> None:
    """Refuse a rate that a measure is not defined at, and say how to get there."""
    if spec.sample_rates is not None and sample_rate not in spec.sample_rates:
        best = max(spec.sample_rates)
        raise SampleRateError(
            f"{spec.name}: defined at {spec.rates()} Hz only, got {sample_rate}. "
            f"Type Resampled(create({spec.name!r}, sample_rate={best}), sample_rate={sample_rate}), "
            f"or --resample {best} on the command line."
        )
