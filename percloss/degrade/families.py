"""The table of families."""

from collections.abc import Mapping
from types import MappingProxyType

from percloss.degrade.added import interference, musical_noise, reverberation, shaped_noise, white_noise
from percloss.degrade.base import Family
from percloss.degrade.coded import mp3, opus, vorbis
from percloss.degrade.spectral import gating, phase_jitter, spectral_blur, spectral_holes, temporal_smear
from percloss.degrade.waveform import clipping, delay, gain, low_pass, quantisation, saturation

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "white_noise": Family("White noise", "a steady hiss", white_noise, additive=True),
        "shaped_noise": Family("Signal-shaped noise", "a hoarse whisper under the sound", shaped_noise, additive=True),
        "musical_noise": Family(
            "Musical noise", "short random whistles, like water or birds", musical_noise, additive=True
        ),
        "interference": Family("Interference", "somebody else talking in the background", interference, additive=True),
        "reverberation": Family("Reverberation", "a hall around the sound", reverberation, additive=True),
        "low_pass": Family("Low-pass", "a dull sound, as through a wall", low_pass),
        "temporal_smear": Family("Temporal smear", "attacks that come too early and too softly", temporal_smear),
        "spectral_blur": Family("Spectral blur", "a hoarse, breathy sound without a clear pitch", spectral_blur),
        "gating": Family("Gating", "a watery sound that drops out between the loud parts", gating),
        "spectral_holes": Family("Spectral holes", "a thin, bubbling sound with bits missing", spectral_holes),
        "phase_jitter": Family("Phase jitter", "a rough, blurred, slightly hollow sound", phase_jitter),
        "clipping": Family("Clipping", "the crackle of an overdriven input", clipping),
        "saturation": Family("Saturation", "the warm growl of an overdriven valve", saturation),
        "quantisation": Family("Quantisation", "grit that follows the sound and stops in pauses", quantisation),
        "delay": Family("Delay", "nothing: the same sound a moment later", delay),
        "gain": Family("Gain", "nothing but a lower volume", gain),
        "mp3": Family("MP3", "a swirl in the high frequencies, or none of them", mp3, coded=True),
        "vorbis": Family("Vorbis", "a faint veil, noise in place of the high frequencies", vorbis, coded=True),
        "opus": Family("Opus", "a telephone at its worst, next to nothing at its best", opus, coded=True),
    }
)
"""The families by name. The last three are real coders, which soundfile brings."""

CODECS = tuple(name for name, family in FAMILIES.items() if family.coded)
"""Those of them that are coders."""
