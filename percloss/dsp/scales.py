"""Frequency scales of hearing: hertz to the unit of the scale and back, each exactly invertible."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scale:
    """One way the ear is said to space frequencies.

    Attributes:
        name: Key in :data:`SCALES`.
        title: Name for people, with its source.
        from_hz: Frequencies [Hz], 0 or more, to places on the scale; strictly increasing. Float64 is meant.
        to_hz: The exact inverse of ``from_hz``.
    """

    name: str
    title: str
    from_hz: Callable[[Tensor], Tensor]
    to_hz: Callable[[Tensor], Tensor]


# Slaney's Auditory Toolbox: 200/3 Hz a mel up to 1 kHz, and from there 27 mels to a factor of 6.4.
_SLANEY_LINEAR = 200 / 3
_SLANEY_CORNER = 1000.0
_SLANEY_LOG = math.log(6.4) / 27


def _slaney_from_hz(hz: Tensor) -> Tensor:
    above = _SLANEY_CORNER / _SLANEY_LINEAR + (hz.clamp(min=_SLANEY_CORNER) / _SLANEY_CORNER).log() / _SLANEY_LOG
    return torch.where(hz < _SLANEY_CORNER, hz / _SLANEY_LINEAR, above)


def _slaney_to_hz(mel: Tensor) -> Tensor:
    above = _SLANEY_CORNER * ((mel - _SLANEY_CORNER / _SLANEY_LINEAR) * _SLANEY_LOG).exp()
    return torch.where(mel * _SLANEY_LINEAR < _SLANEY_CORNER, mel * _SLANEY_LINEAR, above)


def _traunmueller_from_hz(hz: Tensor) -> Tensor:
    bark = 26.81 * hz / (1960 + hz) - 0.53
    return bark + 0.15 * (2 - bark).relu() + 0.22 * (bark - 20.1).relu()


def _traunmueller_to_hz(bark: Tensor) -> Tensor:
    # Both corrections leave their own corner where it is, so each is undone by its slope on its side of the corner.
    bark = bark - 0.15 / 0.85 * (2 - bark).relu() - 0.22 / 1.22 * (bark - 20.1).relu()
    return 1960 * (bark + 0.53) / (26.28 - bark)


MEL_HTK = Scale(
    "mel_htk",
    "mel (HTK; O'Shaughnessy 1987)",
    lambda hz: 2595 * (1 + hz / 700).log10(),
    lambda mel: 700 * (10 ** (mel / 2595) - 1),
)
MEL_SLANEY = Scale("mel_slaney", "mel (Slaney 1998)", _slaney_from_hz, _slaney_to_hz)
BARK_TRAUNMUELLER = Scale("bark_traunmueller", "Bark (Traunmueller 1990)", _traunmueller_from_hz, _traunmueller_to_hz)
# The form of PEAQ, ITU-R BS.1387.
BARK_SCHROEDER = Scale(
    "bark_schroeder",
    "Bark (Schroeder 1979)",
    lambda hz: 7 * (hz / 650).asinh(),
    lambda bark: 650 * (bark / 7).sinh(),
)
ERB = Scale(
    "erb",
    "ERB rate (Glasberg and Moore 1990)",
    lambda hz: 21.4 * (1 + 4.37e-3 * hz).log10(),
    lambda erb: (10 ** (erb / 21.4) - 1) / 4.37e-3,
)

SCALES = {scale.name: scale for scale in (MEL_HTK, MEL_SLANEY, BARK_TRAUNMUELLER, BARK_SCHROEDER, ERB)}
