"""Pairs of real and degraded speech: 20 utterances, degradations that keep time and four that do not, and recordings.

They are made anew from the data folder wherever they are wanted, the same each time. Codecs need ``ffmpeg``.
"""

import functools
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.signal
import soundfile
import soxr

RATE = 16_000
Wave = npt.NDArray[np.float64]
Degradation = Callable[[Wave, np.random.Generator], Wave]
DATA = Path(os.environ.get("PERCLOSS_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")

# By class: how ffmpeg encodes it, and at which rate.
CODECS = {
    "opus 8 kbit/s": ("ogg", 16_000, ["-c:a", "libopus", "-b:a", "8k"]),
    "opus 16 kbit/s": ("ogg", 16_000, ["-c:a", "libopus", "-b:a", "16k"]),
    "mp3 24 kbit/s": ("mp3", 16_000, ["-c:a", "libmp3lame", "-b:a", "24k"]),
    "aac 24 kbit/s": ("m4a", 16_000, ["-c:a", "aac", "-b:a", "24k"]),
    "g722": ("wav", 16_000, ["-c:a", "g722"]),
    "g726 24 kbit/s": ("wav", 8000, ["-c:a", "g726", "-b:a", "24k"]),
    "gsm": ("wav", 8000, ["-c:a", "libgsm_ms"]),
}


class Pair(NamedTuple):
    """A reference and what became of it."""

    kind: str
    degradation: str
    utterance: str
    est: Wave
    ref: Wave


@functools.cache
def read(path: Path) -> Wave:
    """One channel at ``RATE``."""
    samples, rate = soundfile.read(path, dtype="float64")
    return np.asarray(samples if rate == RATE else soxr.resample(samples, rate, RATE))


@functools.cache
def utterances() -> dict[str, Wave]:
    """Twenty of them, of 1.6 to 16.7 s, by name."""
    paths = [
        *sorted((DATA / "speech").iterdir()),
        *sorted((DATA / "p835_reference_conditions/audio/wideband16k").glob("c00_*")),
    ]
    return {path.stem: read(path) for path in paths}


def at_snr(ref: Wave, noise: Wave, db: float) -> Wave:
    """The sum, at this ratio."""
    return np.asarray(ref + noise * np.sqrt(np.sum(ref**2) / np.sum(noise**2) / 10 ** (db / 10)))


def white(db: float) -> Degradation:
    """White noise at this ratio."""
    return lambda ref, random: at_snr(ref, random.standard_normal(len(ref)), db)


def recorded(name: str, db: float) -> Degradation:
    """A stretch of a recording of noise at this ratio."""

    def degrade(ref: Wave, random: np.random.Generator) -> Wave:
        noise = read(DATA / "noise" / f"{name}.flac")
        noise = np.tile(noise, 1 + len(ref) // len(noise))
        begin = random.integers(len(noise) - len(ref) + 1)
        return at_snr(ref, noise[begin : begin + len(ref)], db)

    return degrade


def babble(db: float) -> Degradation:
    """Six other voices at this ratio."""

    def degrade(ref: Wave, random: np.random.Generator) -> Wave:
        voices = [wave for wave in utterances().values() if not np.array_equal(wave, ref)]
        chosen = [voices[i] / voices[i].std() for i in random.choice(len(voices), 6, replace=False)]
        rolled = [np.roll(np.resize(x, len(ref)), random.integers(len(ref))) for x in chosen]
        return at_snr(ref, np.sum(rolled, 0), db)

    return degrade


def clipped(part: float) -> Degradation:
    """Held below this part of the peak."""
    return lambda ref, _: np.clip(ref, -part * np.abs(ref).max(), part * np.abs(ref).max())


def lost(part: float) -> Degradation:
    """Of the packets of 20 ms this part is silence."""

    def degrade(ref: Wave, random: np.random.Generator) -> Wave:
        size = RATE // 50
        kept = random.random(-(-len(ref) // size)) >= part
        return ref * np.repeat(kept, size)[: len(ref)]

    return degrade


def coarse(bits: int) -> Degradation:
    """Companded by the mu-law and rounded to this many bits."""

    def degrade(ref: Wave, _: np.random.Generator) -> Wave:
        peak, mu, steps = np.abs(ref).max(), 255, 2 ** (bits - 1)
        companded = np.round(np.log1p(mu * np.abs(ref) / peak) / np.log1p(mu) * steps) / steps
        return np.asarray(np.sign(ref) * peak * np.expm1(companded * np.log1p(mu)) / mu)

    return degrade


def reverberant(seconds: float) -> Degradation:
    """A room of this reverberation time, its direct sound first."""

    def degrade(ref: Wave, random: np.random.Generator) -> Wave:
        time = np.arange(int(seconds * RATE)) / RATE
        room = random.standard_normal(len(time)) * 10 ** (-3 * time / seconds) * 0.05
        room[: RATE // 400] = 0
        room[0] = 1
        heard: Wave = scipy.signal.fftconvolve(ref, room)[: len(ref)]
        return heard

    return degrade


def low_pass(hertz: float) -> Degradation:
    """A long linear-phase filter, its delay taken out."""
    taps = scipy.signal.firwin(513, hertz, fs=RATE)
    return lambda ref, _: scipy.signal.fftconvolve(ref, taps, "same")


def telephone(ref: Wave, _: np.random.Generator) -> Wave:
    """300 to 3400 Hz by a recursive filter, which has a phase."""
    sections = scipy.signal.butter(4, (300, 3400), "bandpass", fs=RATE, output="sos")
    return np.asarray(scipy.signal.sosfilt(sections, ref))


def coded(name: str) -> Degradation:
    """There and back through ffmpeg, its delay taken out to the sample."""

    def degrade(ref: Wave, _: np.random.Generator) -> Wave:
        est, begin = through_ffmpeg(name), 0
        for wave in utterances().values():
            if np.array_equal(wave, ref):
                break
            begin += len(wave) + RATE
        est = est[begin : begin + len(ref) + RATE]
        across = scipy.signal.correlate(est, ref, "full")[len(ref) - 1 - RATE // 8 : len(ref) + RATE // 2]
        return np.asarray(shifted(est, RATE // 8 - int(np.abs(across).argmax()))[: len(ref)] * np.abs(ref).max())

    return degrade


@functools.cache
def through_ffmpeg(name: str) -> Wave:
    """All utterances, peaks near full scale, a second between them: a process takes longer to start than to code."""
    extension, rate, settings = CODECS[name]
    gap = np.zeros(RATE)
    whole = np.concatenate([x for wave in utterances().values() for x in (0.9 * wave / np.abs(wave).max(), gap)])
    with tempfile.TemporaryDirectory() as folder:
        before, between, after = (Path(folder) / file for file in ("in.wav", f"coded.{extension}", "out.wav"))
        soundfile.write(before, whole, RATE)
        for source, wanted in ((before, ["-ar", rate, *settings, between]), (between, ["-ar", RATE, after])):
            command = ["ffmpeg", "-v", "error", "-nostdin", "-i", source, "-ac", 1, *wanted]
            subprocess.run([str(word) for word in command], check=True, stderr=subprocess.DEVNULL)
        return np.pad(read.__wrapped__(after), (0, RATE)) / 0.9


def shifted(wave: Wave, by: int) -> Wave:
    """Later by this many samples, of the same length."""
    return np.pad(wave, (by, 0))[: len(wave)] if by >= 0 else np.pad(wave, (0, -by))[-by:]


def later(seconds: float) -> Degradation:
    """White noise at 25 dB, and all of it later."""
    return lambda ref, random: shifted(white(25)(ref, random), round(seconds * RATE))


def jump(seconds: float) -> Degradation:
    """White noise at 25 dB, and later from the middle on."""

    def degrade(ref: Wave, random: np.random.Generator) -> Wave:
        est, middle = white(25)(ref, random), len(ref) // 2
        return np.concatenate([est[:middle], shifted(est[middle - round(seconds * RATE) :], 0)])[: len(ref)]

    return degrade


def slower(part: float) -> Degradation:
    """White noise at 25 dB, stretched by this part and cut to length."""

    def degrade(ref: Wave, random: np.random.Generator) -> Wave:
        est: Wave = soxr.resample(white(25)(ref, random), 1000, 1000 * (1 + part), quality="VHQ")[: len(ref)]
        return est

    return degrade


ALIGNED: dict[str, dict[str, Degradation]] = {
    "noise": {
        "white 20 dB": white(20),
        "white 5 dB": white(5),
        "exercise bike 15 dB": recorded("exercise_bike", 15),
        "dishes 5 dB": recorded("doing_the_dishes", 5),
        "factory 0 dB": recorded("speechbrain_noise1", 0),
        "babble 10 dB": babble(10),
        "babble 0 dB": babble(0),
    },
    "clipping": {"clipped at 0.3": clipped(0.3), "clipped at 0.05": clipped(0.05)},
    "packet loss": {"5 % lost": lost(0.05), "15 % lost": lost(0.15)},
    "codec": {**{name: coded(name) for name in CODECS}, "mu-law 5 bit": coarse(5)},
    "reverberation": {"0.3 s": reverberant(0.3), "0.8 s": reverberant(0.8)},
    "band limit": {"low-pass 2 kHz": low_pass(2000), "telephone": telephone},
}
MISALIGNED: dict[str, dict[str, Degradation]] = {
    "misaligned": {
        "10 ms later": later(0.01),
        "100 ms later": later(0.1),
        "30 ms inserted": jump(0.03),
        "0.5 % slower": slower(0.005),
    }
}


def made(kinds: dict[str, dict[str, Degradation]], *, every: int = 1) -> Iterator[Pair]:
    """Each utterance through each degradation, or every so many of those."""
    number = 0
    for utterance, ref in utterances().items():
        for kind, degradations in kinds.items():
            for name, degrade in degradations.items():
                number += 1
                if number % every == 0:
                    yield Pair(kind, name, utterance, degrade(ref, np.random.default_rng(number)), ref)


def recordings(*, every: int = 1) -> Iterator[Pair]:
    """The conditions of a P.835 test, of speech-modulated and white noise, against their clean source."""
    folder: Any = DATA / "p835_reference_conditions/audio/wideband16k"
    for path in sorted(folder.glob("c0[1-9]_*"))[every - 1 :: every] + sorted(folder.glob("c1?_*"))[every - 1 :: every]:
        est, ref = read(path), read(folder / f"c00_{path.stem[4:]}.flac")
        time = min(len(est), len(ref))
        yield Pair("P.835 recordings", path.stem[:3], path.stem[4:], est[:time], ref[:time])
