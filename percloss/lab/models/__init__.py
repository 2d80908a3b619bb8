"""Reference models, one file each: plain modules from waveforms to waveforms, with the layers of their papers.

Each takes ``(batch, channels, time)`` of any length and returns the same, with ``sources`` times the channels where it
estimates several. Its defaults are the paper's sizes; ``small()`` is one for tests. They draw their first weights from
torch's global generator, as every layer of torch does.
"""

from percloss.lab.models.base import WaveModel
from percloss.lab.models.convtasnet import ConvTasNet
from percloss.lab.models.dcunet import DCUNet
from percloss.lab.models.fcn import FCN
from percloss.lab.models.mmdensenet import MMDenseNet
from percloss.lab.models.segan import SEGANGenerator
from percloss.lab.models.spectrogram import SpectrogramModel
from percloss.lab.models.unet import UNet
from percloss.lab.models.waveunet import WaveUNet

__all__ = [
    "FCN",
    "ConvTasNet",
    "DCUNet",
    "MMDenseNet",
    "SEGANGenerator",
    "SpectrogramModel",
    "UNet",
    "WaveModel",
    "WaveUNet",
]
