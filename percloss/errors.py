"""Every error this package raises on purpose: *name: what came; what is needed; what to type*."""


class PerclossError(Exception):
    """Root of all named errors, so that one ``except`` catches what this package refuses."""


class ShapeError(PerclossError, ValueError):
    """A tensor of the wrong rank, of mismatched or of too short a shape."""


class DTypeError(PerclossError, TypeError):
    """A tensor that is not floating point, or something that is no tensor."""


class DeviceError(PerclossError, ValueError):
    """Two tensors, or a measure and its tensors, on different devices."""


class SampleRateError(PerclossError, ValueError):
    """A sample rate that a measure is not defined for."""


class ArgumentError(PerclossError, ValueError):
    """A construction or call argument outside what it may be."""


class EmptyBandError(PerclossError, ValueError):
    """A filter bank in which at least one band holds no frequency bin."""


class UnknownMeasureError(PerclossError, LookupError):
    """A name that is not in the catalogue; the message proposes the nearest one."""


class MissingExtraError(PerclossError, ImportError):
    """An optional package is not installed; the message prints the pip line."""


class AudioFileError(PerclossError, OSError):
    """A file that cannot be read as audio: missing, empty, truncated or of an unknown format."""


class PairingError(PerclossError, ValueError):
    """Estimates and references that cannot be paired by name."""


class ContractError(PerclossError, AssertionError):
    """A measure broke a claim of its own Spec, or a rule of the house; raised by ``percloss.testing``."""
