"""The door that every model shares: waveforms in, waveforms out, and a name for what is wrong with them."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from percloss._typing import Wave
from percloss.errors import ArgumentError, DTypeError, SampleRateError, ShapeError


class WaveModel(nn.Module):
    """A network from a mixture to an estimate of the same length.

    Args:
        channels: Of the mixture; they are heard together.
        sample_rate: Of the signals that it is trained for [Hz].
        sources: How many it estimates. The estimate has ``sources * channels`` channels, and
            ``est.unflatten(1, (sources, channels))`` tells them apart.

    Shape:
        (batch, channels, time) -> (batch, sources * channels, time)
    """

    #: The shortest signal it takes [samples].
    min_samples: int = 1

    def __init__(self, channels: int, sample_rate: int, sources: int = 1) -> None:
        super().__init__()
        self._needs("channels and sources", [channels, sources], least=1)
        if sample_rate < 1:
            raise SampleRateError(
                f"{type(self).__name__}: sample_rate={sample_rate} came; needed is one in Hz; type sample_rate=16000."
            )
        self.channels, self.sample_rate, self.sources = channels, sample_rate, sources

    def forward(self, mix: Tensor, sample_rate: int | None = None) -> Tensor:
        """The estimate; a rate that is given must be the one that the model is for."""
        name = type(self).__name__
        if sample_rate not in (None, self.sample_rate):
            raise SampleRateError(
                f"{name}: a mixture at {sample_rate} Hz came; it is for {self.sample_rate} Hz; type "
                f"Resampler({sample_rate}, {self.sample_rate})(mix) first."
            )
        if not mix.is_floating_point():
            raise DTypeError(f"{name}: mix is {mix.dtype}; needed is floating point within +-1: type mix.float().")
        if mix.dim() != 3 or mix.shape[1] != self.channels:
            raise ShapeError(
                f"{name}: mix has shape {tuple(mix.shape)}; needed is (batch, {self.channels}, time); type "
                f"{name}(channels=...), or mix.flatten(0, 1)[:, None] to take each channel for itself."
            )
        if mix.shape[0] == 0 or mix.shape[2] < self.min_samples:
            raise ShapeError(
                f"{name}: mix has shape {tuple(mix.shape)}; needed is one item and {self.min_samples} samples at "
                f"least; type torch.nn.functional.pad(mix, (0, {self.min_samples})) to fill up with zeros."
            )
        return self.estimate(mix)

    @abstractmethod
    def estimate(self, mix: Wave) -> Tensor:
        """The network, given a mixture that has passed the door."""

    def _needs(self, name: str, sizes: Iterable[int], *, least: int) -> None:
        """Refuse a size, or an empty list of sizes, at construction."""
        listed = list(sizes)
        if not listed or min(listed) < least:
            raise ArgumentError(
                f"{type(self).__name__}: got {name} {listed}; needed is one number at least, none below {least}."
            )

    def _needs_odd(self, name: str, sizes: Iterable[int]) -> None:
        """Refuse a kernel without a middle, which would shift what it hears."""
        listed = list(sizes)
        if any(size % 2 == 0 for size in listed):
            raise ArgumentError(f"{type(self).__name__}: got {name} {listed}; needed are odd numbers.")

    def _needs_one_of(self, name: str, value: str, known: Sequence[str]) -> None:
        """Refuse a word that is not among those known."""
        if value not in known:
            raise ArgumentError(
                f"{type(self).__name__}: {name}={value!r} came; needed is one of {', '.join(map(repr, known))}; type "
                f"{name}={known[0]!r}."
            )
