"""Artefact families: one recording spoilt in many ways, each at exactly the same signal-to-noise ratio.

A measure that follows the waveform alone cannot tell the families apart; a listener can. Every family is a pure
function ``family(wave, sample_rate, strength, generator=...)`` that leaves the wave as it is at strength 0;
:func:`degrade` finds the strength that a ratio asks for.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import torch
from scipy.fft import next_fast_len
from torch import Generator, Tensor

from percloss.dsp.resample import resample
from percloss.dsp.stft import hann, power, stft
from percloss.errors import ArgumentError, DTypeError, SampleRateError, ShapeError

__all__ = [
    "FAMILIES",
    "Artefact",
    "Family",
    "at_snr",
    "clipping",
    "degrade",
    "delay",
    "gain",
    "interference",
    "low_pass",
    "musical_noise",
    "phase_jitter",
    "quantisation",
    "reverberation",
    "shaped_noise",
    "spectral_holes",
    "white_noise",
]


@runtime_checkable
class Artefact(Protocol):
    """How every family is called."""

    def __call__(
        self, wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
    ) -> Tensor:
        """The spoilt wave.

        Args:
            wave: The signal to spoil.
            sample_rate: Its rate [Hz].
            strength: From 0, the wave as it is, to 1.
            generator: Where randomness comes from; one with seed 0 if not given. A family that is not random leaves it
                alone.

        Shape:
            wave: (batch, channels, time). strength: a number or (batch, channels, 1). Returns the shape of ``wave``.
        """
        ...


@dataclass(frozen=True)
class Family:
    """One kind of artefact.

    Attributes:
        title: Its name in a table.
        hears: What a listener hears, in one line.
        apply: The function.
        additive: Whether the error is added, and so scaled to any ratio; else the strength itself is sought.
    """

    title: str
    hears: str
    apply: Artefact
    additive: bool = False


def degrade(wave: Tensor, sample_rate: int, family: str, *, snr_db: float, seed: int = 0) -> Tensor:
    """Spoil a recording so that its signal-to-noise ratio is exactly what was asked.

    The ratio holds for each channel of each item, and so for all of them together. A silent channel has no ratio and
    stays as it is. The same seed gives the same samples.

    Args:
        wave: The signal to spoil.
        sample_rate: Its rate [Hz].
        family: One of ``FAMILIES``.
        snr_db: Power of the signal over power of the error [dB].
        seed: Of the generator, for the families that are random.

    Shape:
        wave: (batch, channels, time). Returns the same.

    Raises:
        ArgumentError: No family of that name, or a ratio that the family cannot reach with this signal.
        DTypeError: A wave that is neither float32 nor float64.
        MissingExtraError: ``interference`` reads an embedded clip, which needs soundfile.
        SampleRateError: A rate that is no positive integer.
        ShapeError: A wave of another shape, or without samples.

    Example:
        >>> ref = torch.randn(1, 2, 16_000, generator=torch.Generator().manual_seed(0))
        >>> est = degrade(ref, 16_000, "low_pass", snr_db=10.0)
        >>> (10 * (ref.square().sum() / (est - ref).square().sum()).log10()).round(decimals=2)
        tensor(10.)
    """
    if family not in FAMILIES:
        near = difflib.get_close_matches(family, FAMILIES, n=1)
        proposal = f"did you mean {near[0]!r}? there" if near else "there"
        raise ArgumentError(f"degrade: family={family!r} came; {proposal} are: {', '.join(FAMILIES)}.")
    _check(wave, sample_rate)
    chosen = FAMILIES[family]
    if chosen.additive:
        spoilt = chosen.apply(wave, sample_rate, generator=torch.Generator().manual_seed(seed))
    else:
        spoilt = _sought(chosen.apply, wave, sample_rate, family=family, snr_db=snr_db, seed=seed)
    est = wave + at_snr(spoilt - wave, wave, snr_db)
    reached = _snr_db(est, wave)
    if not ((reached - snr_db).abs() <= 0.01).logical_or(reached.isnan()).all():
        raise ArgumentError(
            f"degrade: snr_db={snr_db:g} came; {wave.dtype} cannot hold so small an error to 0.01 dB; "
            f"ask for a lower ratio{' or give wave.double()' if wave.dtype == torch.float32 else ''}."
        )
    return est


def at_snr(error: Tensor, ref: Tensor, snr_db: float) -> Tensor:
    """The error, scaled in each channel so that ``ref + error`` has a signal-to-noise ratio.

    Args:
        error: What is to be added.
        ref: The signal.
        snr_db: Power of ``ref`` over power of the result [dB].

    Shape:
        error, ref: (batch, channels, time). Returns the same. Zero where ``ref`` is silent.

    Raises:
        ArgumentError: A ratio that is no finite number, or no error to scale.
    """
    if not math.isfinite(snr_db):
        raise ArgumentError(f"at_snr: snr_db={snr_db} came; a finite number of decibels is needed; use snr_db=10.0.")
    signal, noise = _energy(ref), _energy(error)
    if ((noise == 0) & (signal > 0)).any():
        raise ArgumentError(
            f"at_snr: an error of zeros came; no scale brings it to {snr_db:g} dB; give an error that is not silent."
        )
    scale = (signal / noise * 10 ** (-snr_db / 10)).sqrt()
    return torch.where(signal > 0, error * scale, 0.0)


def white_noise(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Add Gaussian noise with the same power at every frequency; at strength 1, as much as there is signal."""
    noise = torch.randn(wave.shape, **_source(generator)).to(wave)
    return wave + strength * at_snr(noise, wave, 0.0)


def shaped_noise(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Add noise with the signal's short-time spectrum and random phases; at strength 1, as much as there is signal."""
    spectrum = _spectrum(wave, sample_rate)
    noise = _waveform(spectrum * _random_phase(spectrum, generator), wave, sample_rate)
    return wave + strength * at_snr(noise, wave, 0.0)


def musical_noise(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Add short isolated tones, such as spectral subtraction leaves; at strength 1, as much as there is signal.

    One cell of the short-time spectrum in a hundred holds a tone, as strong as the signal is around it.
    """
    spectrum = _spectrum(wave, sample_rate)
    around = torch.nn.functional.avg_pool2d(
        power(spectrum), kernel_size=9, stride=1, padding=4, count_include_pad=False
    ).sqrt()
    chosen = torch.rand(spectrum.shape, **_source(generator)).to(around) < 0.01
    tones = _waveform(chosen * around * _random_phase(spectrum, generator), wave, sample_rate)
    return wave + strength * at_snr(tones, wave, 0.0)


def reverberation(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Add the reverberation of a room; at strength 1, as much as there is signal.

    It begins 10 ms after the direct sound, is Gaussian noise, and falls by 60 dB in 0.5 s.
    """
    seconds = torch.arange(1, sample_rate // 2 + 1) / sample_rate
    tail = torch.randn((*wave.shape[:2], len(seconds)), **_source(generator)).to(wave)
    tail = tail * (10 ** (-60 / 20 * seconds / 0.5) * (seconds > 0.01)).to(wave)
    n = next_fast_len(wave.shape[-1] + len(seconds), real=True)
    wet = torch.fft.irfft(torch.fft.rfft(wave, n) * torch.fft.rfft(tail, n), n)[..., : wave.shape[-1]]
    return wave + strength * at_snr(wet, wave, 0.0)


def interference(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Add another recording, a voice from the embedded clips; at strength 1, as much as there is signal.

    It is repeated to the length of the signal and begins at a random place.
    """
    from percloss.data import clip

    voice, rate = clip("librivox_0930")
    voice = resample(voice[0, 0], rate, sample_rate)
    start = int(torch.randint(len(voice), (), **_source(generator)))
    voice = voice.roll(-start).repeat(-(-wave.shape[-1] // len(voice)))[: wave.shape[-1]]
    return wave + strength * at_snr(voice.to(wave).expand(wave.shape), wave, 0.0)


def gain(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Turn the level down; at strength 1, to silence."""
    return wave * (1 - strength)


def low_pass(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Take away the high frequencies without delay; at strength 1, all above 20 Hz.

    From the cutoff the gain falls to 0 within a third of an octave, as a raised cosine.
    """
    cutoff = torch.as_tensor(sample_rate / 2 * (40 / sample_rate) ** strength).to(wave)
    n = next_fast_len(wave.shape[-1] + sample_rate // 10, real=True)
    hz = torch.fft.rfftfreq(n, 1 / sample_rate).to(wave)
    octaves = (hz.clamp(min=hz[1]) / cutoff).log2()
    response = 0.5 + 0.5 * (3 * math.pi * octaves.clamp(0, 1 / 3)).cos()
    dull: Tensor = torch.fft.irfft(torch.fft.rfft(wave, n) * response, n)
    return dull[..., : wave.shape[-1]]


def delay(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Play the signal later, by a fraction of a sample if need be.

    At strength 1 it is late by the lag, up to 20 ms, at which it is least like itself, where the error is the largest.
    """
    time = wave.shape[-1]
    lags = min(sample_rate // 50, time - 1)
    n = next_fast_len(2 * time, real=True)
    spectrum = torch.fft.rfft(wave, n)
    least = torch.fft.irfft(power(spectrum), n)[..., : lags + 1].argmin(dim=-1, keepdim=True)
    # In float32 a phase of a thousand turns has lost a ten-thousandth of one.
    turns = torch.arange(n // 2 + 1, dtype=torch.float64) / n * (torch.as_tensor(strength) * least).cpu()
    phase = -2 * math.pi * (turns - turns.round()).to(wave)
    late: Tensor = torch.fft.irfft(spectrum * torch.polar(torch.ones_like(phase), phase), n)
    return late[..., :time]


def clipping(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Cut off what lies beyond a level: at strength 0 the peak, at strength 1 zero."""
    level = wave.abs().amax(dim=-1, keepdim=True) * (1 - strength)
    return wave.clamp(-level, level)


def quantisation(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Round to equal steps, zero being one of them; at strength 1 a step is twice the peak."""
    step = wave.abs().amax(dim=-1, keepdim=True) * 2 * strength
    return torch.where(step > 0, (wave / step).round() * step, wave)


def spectral_holes(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Silence random patches of the short-time spectrum, such as a codec or a mask leaves; at strength 1, all of it.

    A patch is 4 bins by 4 frames.
    """
    spectrum = _spectrum(wave, sample_rate)
    bins, frames = spectrum.shape[-2:]
    patches = torch.rand((*wave.shape[:2], -(-bins // 4), -(-frames // 4)), **_source(generator)).to(wave)
    keep = patches.repeat_interleave(4, dim=-2).repeat_interleave(4, dim=-1)[..., :bins, :frames]
    return _waveform(spectrum * (keep >= _per_cell(strength)), wave, sample_rate)


def phase_jitter(
    wave: Tensor, sample_rate: int, strength: Tensor | float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Turn every phase of the short-time spectrum at random, but no magnitude; at strength 1, by up to half a turn."""
    spectrum = _spectrum(wave, sample_rate)
    turns = torch.rand(spectrum.shape, **_source(generator)).to(wave) - 0.5
    phase = 2 * math.pi * turns * _per_cell(strength)
    return _waveform(spectrum * torch.polar(torch.ones_like(phase), phase), wave, sample_rate)


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
        "spectral_holes": Family("Spectral holes", "a thin, bubbling sound with bits missing", spectral_holes),
        "phase_jitter": Family("Phase jitter", "a rough, blurred, slightly hollow sound", phase_jitter),
        "clipping": Family("Clipping", "the crackle of an overdriven input", clipping),
        "quantisation": Family("Quantisation", "grit that follows the sound and stops in pauses", quantisation),
        "delay": Family("Delay", "nothing: the same sound a moment later", delay),
        "gain": Family("Gain", "nothing but a lower volume", gain),
    }
)
"""The families by name."""


def _sought(apply: Artefact, wave: Tensor, sample_rate: int, *, family: str, snr_db: float, seed: int) -> Tensor:
    """The wave spoilt to within 0.05 dB of the ratio, or as near as a family that moves in jumps comes."""

    def attempt(strength: Tensor) -> tuple[Tensor, Tensor]:
        est = apply(wave, sample_rate, strength, generator=torch.Generator().manual_seed(seed))
        return est, _snr_db(est, wave)

    low, high = wave.new_zeros(*wave.shape[:2], 1), wave.new_ones(*wave.shape[:2], 1)
    spoilt, reached = attempt(high)
    if not math.isfinite(snr_db) or (reached > snr_db).any():
        lowest = float(reached[~reached.isnan()].max())
        raise ArgumentError(
            f"degrade: snr_db={snr_db:g} came; {family} reaches from {lowest:.2f} dB upwards with this signal; "
            f"ask for snr_db={math.ceil(lowest)} or more."
        )
    # Halved 24 times, 1 is at float32's spacing. A silent channel, whose ratio is nan, is never waited for.
    for _ in range(24):
        if not ((reached - snr_db).abs() > 0.05).any():
            break
        middle = (low + high) / 2
        est, ratio = attempt(middle)
        enough = ~(ratio > snr_db)
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        spoilt, reached = torch.where(enough, est, spoilt), torch.where(enough, ratio, reached)
    return spoilt


def _check(wave: Tensor, sample_rate: int) -> None:
    if not isinstance(wave, Tensor) or wave.dtype not in (torch.float32, torch.float64):
        came = wave.dtype if isinstance(wave, Tensor) else type(wave).__name__
        raise DTypeError(f"degrade: {came} came; a float32 or float64 tensor is needed; use wave.float().")
    if wave.dim() != 3 or wave.numel() == 0:
        raise ShapeError(
            f"degrade: a wave of shape {tuple(wave.shape)} came; it needs (batch, channels, time), each 1 or more; "
            f"for one mono signal use wave.reshape(1, 1, -1)."
        )
    if not torch.isfinite(wave).all():
        raise ArgumentError(
            "degrade: a wave with NaN or infinity came; finite samples are needed; use wave.nan_to_num()."
        )
    if not isinstance(sample_rate, int) or sample_rate < 1:
        raise SampleRateError(
            f"degrade: sample_rate={sample_rate!r} came; an integer of 1 Hz or more is needed; use 16000."
        )


def _energy(wave: Tensor) -> Tensor:
    return wave.square().sum(dim=-1, keepdim=True)


def _snr_db(est: Tensor, ref: Tensor) -> Tensor:
    """Per channel: nan where the reference is silent, inf where there is no error."""
    signal = _energy(ref)
    return torch.where(signal > 0, 10 * (signal / _energy(est - ref)).log10(), torch.nan)


def _source(generator: Generator | None) -> dict[str, Any]:
    """Where random numbers are drawn: on the generator's device, so that a seed means the same on every device."""
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    return {"generator": generator, "device": generator.device}


def _random_phase(spectrum: Tensor, generator: Generator | None) -> Tensor:
    phase = 2 * math.pi * torch.rand(spectrum.shape, **_source(generator)).to(spectrum.real)
    return torch.polar(torch.ones_like(phase), phase)


def _per_cell(strength: Tensor | float) -> Tensor | float:
    return strength[..., None] if isinstance(strength, Tensor) else strength


def _frame(sample_rate: int) -> int:
    """The power of two samples that lasts 25 ms or a little more."""
    return int(2 ** max(2, math.ceil(math.log2(0.025 * sample_rate))))


def _spectrum(wave: Tensor, sample_rate: int) -> Tensor:
    n_fft = _frame(sample_rate)
    padded = torch.nn.functional.pad(wave, (0, max(0, n_fft - wave.shape[-1])))
    return stft(padded, hann(n_fft), n_fft=n_fft, hop_length=n_fft // 4)


def _waveform(spectrum: Tensor, wave: Tensor, sample_rate: int) -> Tensor:
    """The signal of a changed spectrum, cut to the length of the signal it came from."""
    n_fft = _frame(sample_rate)
    window = hann(n_fft).to(wave)
    flat = torch.istft(spectrum.flatten(0, 1), n_fft, n_fft // 4, window=window, length=wave.shape[-1])
    return flat.view_as(wave)
