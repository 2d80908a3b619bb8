"""Data to train and judge the lab's models on: a task from the package's own clips, and known corpora as folders.

Every set is a map-style ``torch.utils.data.Dataset`` of :class:`Example` whose item is a function of its seed and its
index alone: not of the worker that makes it, nor of what was asked for before. An index beyond the end is an item of a
later epoch, so :class:`Positions` can go on where a run was killed.
"""

from percloss.lab.data.embedded import EmbeddedSong, EmbeddedSpeech
from percloss.lab.data.examples import Drawn, Example, Positions
from percloss.lab.data.folders import (
    dns,
    dns_pairs,
    librimix,
    librispeech,
    musdb18,
    urbansound8k,
    voicebank_demand,
)
from percloss.lab.data.recordings import Recording
from percloss.lab.data.tracks import SpeechInNoise, Track, Tracks

__all__ = [
    "Drawn",
    "EmbeddedSong",
    "EmbeddedSpeech",
    "Example",
    "Positions",
    "Recording",
    "SpeechInNoise",
    "Track",
    "Tracks",
    "dns",
    "dns_pairs",
    "librimix",
    "librispeech",
    "musdb18",
    "urbansound8k",
    "voicebank_demand",
]
