"""Artefact families: one recording spoilt in many ways, each at exactly the same signal-to-noise ratio.

A measure that follows the waveform alone cannot tell the families apart; a listener can. Every family is a pure
function ``family(wave, sample_rate, strength, generator=...)`` that leaves the wave as it is at strength 0;
:func:`degrade` finds the strength that a ratio asks for, :func:`match` the one that any other measure does.
"""

from percloss.degrade.added import interference, leakage, musical_noise, reverberation, shaped_noise, white_noise
from percloss.degrade.base import Artefact, Family, at_snr
from percloss.degrade.coded import mp3, opus, vorbis
from percloss.degrade.families import CODECS, FAMILIES
from percloss.degrade.spectral import gating, phase_jitter, spectral_blur, spectral_holes, temporal_smear
from percloss.degrade.tuning import Match, degrade, match
from percloss.degrade.waveform import clipping, delay, gain, low_pass, quantisation, saturation

__all__ = [
    "CODECS",
    "FAMILIES",
    "Artefact",
    "Family",
    "Match",
    "at_snr",
    "clipping",
    "degrade",
    "delay",
    "gain",
    "gating",
    "interference",
    "leakage",
    "low_pass",
    "match",
    "mp3",
    "musical_noise",
    "opus",
    "phase_jitter",
    "quantisation",
    "reverberation",
    "saturation",
    "shaped_noise",
    "spectral_blur",
    "spectral_holes",
    "temporal_smear",
    "vorbis",
    "white_noise",
]
