"""What every net asks of its waveforms."""

from torch import Tensor

from percloss.errors import DTypeError, ShapeError


def checked(x: Tensor, *, net: str, sample_rate: int, min_samples: int) -> Tensor:
    """The waveforms, if they are (batch, time), floating point and long enough.

    Raises:
        ShapeError: Another rank, nothing, or less than ``min_samples``.
        DTypeError: Not floating point.
    """
    if not x.is_floating_point():
        raise DTypeError(f"{net}: {x.dtype} came; needed is floating point within +-1: type x.float() / 32768.")
    if x.dim() != 2 or x.shape[0] == 0:
        raise ShapeError(
            f"{net}: a shape of {tuple(x.shape)} came; needed is (batch, time); "
            f"for (batch, channels, time) type x.flatten(0, 1)."
        )
    if x.shape[1] < min_samples:
        raise ShapeError(
            f"{net}: {x.shape[1]} samples came; needed are {min_samples} ({min_samples / sample_rate:.2g} s at "
            f"{sample_rate} Hz); pad with zeros: torch.nn.functional.pad(x, (0, {min_samples - x.shape[1]}))."
        )
    return x
