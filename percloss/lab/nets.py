"""Networks by name, as ``--model`` takes them, and discriminators."""

from collections.abc import Callable
from functools import partial

from percloss.discriminators import (
    MultiPeriodDiscriminator,
    MultiResolutionDiscriminator,
    MultiScaleDiscriminator,
    MultiScaleSTFTDiscriminator,
)
from percloss.discriminators.base import Discriminator
from percloss.errors import ArgumentError
from percloss.lab import written
from percloss.lab.models import FCN, ConvTasNet, DCUNet, MMDenseNet, SEGANGenerator, UNet, WaveModel, WaveUNet

__all__ = ["CRITICS", "NETS", "critic", "net"]

NETS: dict[str, Callable[..., WaveModel]] = {
    # Half a million parameters: what the experiments of this package are made with, on a CPU.
    "small": partial(UNet, n_fft=512, hop_length=256, filters=(8, 16, 32, 64, 96), dropout=0.0, compression=0.3),
    "tiny": partial(WaveUNet, levels=3, filters=6),  # some thousand, for a look at whether all runs
    "unet": UNet,
    "wave-u-net": WaveUNet,
    "conv-tasnet": ConvTasNet,
    "dcunet": DCUNet,
    "mmdensenet": MMDenseNet,
    "mmdenselstm": MMDenseNet.lstm,
    "fcn": FCN,
    "segan": SEGANGenerator,
}
"""The models of ``percloss.lab.models``, and two sizes that suit the embedded data."""

CRITICS: dict[str, Callable[..., Discriminator]] = {
    "ms-stft": MultiScaleSTFTDiscriminator,
    "mrd": MultiResolutionDiscriminator,
    "mpd": MultiPeriodDiscriminator,
    "msd": MultiScaleDiscriminator,
}
"""Discriminators of ``percloss.discriminators`` that hear one signal."""


def net(text: str, *, channels: int, sample_rate: int, sources: int) -> WaveModel:
    """A network by name and settings, for the signals of a data set. It draws from torch's global generator.

    Example:
        >>> model = net("small(attention=True)", channels=1, sample_rate=16_000, sources=1)
        >>> type(model).__name__, model.sample_rate
        ('UNet', 16000)

    Raises:
        ArgumentError: No such name, settings it does not take, or a network of one source for data of several.
    """
    given = {} if sources == 1 else {"sources": sources}
    try:
        return written.build(text, NETS, what="model", channels=channels, sample_rate=sample_rate, **given)
    except ArgumentError as error:
        if given and "unexpected keyword argument 'sources'" in str(error):
            raise ArgumentError(
                f"model: got {text!r}, which estimates one source, and data of {sources}; needed is one that "
                f"separates: type 'wave-u-net' or 'conv-tasnet'."
            ) from error
        raise


def critic(text: str) -> Discriminator:
    """A discriminator by name and settings, of single channels. It draws from torch's global generator.

    Raises:
        ArgumentError: No such name, or settings it does not take.
    """
    return written.build(text, CRITICS, what="discriminator", channels=1)
