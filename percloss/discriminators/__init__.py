"""Discriminators: networks that listen to waveforms and say how real they are.

Each takes ``(batch, channels, time)`` and returns a list of ``percloss.adversarial.Judgement(logits, features)``, one
for each of the networks it is made of. Those of a pair take ``(est, ref)`` or ``(est, noisy)``. They draw their first
weights from torch's global generator, as every layer of torch does.
"""

from percloss.discriminators.pair import MetricDiscriminator, SEGANDiscriminator
from percloss.discriminators.spectrogram import MultiResolutionDiscriminator, MultiScaleSTFTDiscriminator
from percloss.discriminators.waveform import MultiPeriodDiscriminator, MultiScaleDiscriminator

__all__ = [
    "MetricDiscriminator",
    "MultiPeriodDiscriminator",
    "MultiResolutionDiscriminator",
    "MultiScaleDiscriminator",
    "MultiScaleSTFTDiscriminator",
    "SEGANDiscriminator",
]
