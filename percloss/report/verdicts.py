"""What a diagnostic's value means to a listener, in words: one table of thresholds, and what is said between them.

Where the thresholds lie is a choice and no result of a listening test. They were set beside recordings of speech, drums
and strings, spoilt by the families of ``percloss.degrade``: the family that a diagnostic is there for is slight at an
SNR of about 30 dB, clear at 20 dB and strong at 10 dB, and others stay below clear at 20 dB, but for what they share.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from percloss.measures import artefacts, artefacts_spectral, artefacts_temporal
from percloss.measures.artefacts import Diagnostic, Leakage
from percloss.spec import Spec

__all__ = ["GRADES", "LEAKAGE", "SCALES", "Scale", "Verdict", "mainly", "verdict"]

GRADES = ("not noticeable", "slight", "clear", "strong")
"""What a diagnostic is called below and from each of its three thresholds; a share of the error has its own words."""

LEAKAGE = Leakage.spec.name
"""The diagnostic that needs the other source."""


class Scale(NamedTuple):
    """A diagnostic, and how far from its perfect value it is slight, clear and strong, in its unit."""

    diagnostic: type[Diagnostic]
    slight: float
    clear: float
    strong: float
    about: str
    words: tuple[str, str, str, str] = GRADES

    @property
    def spec(self) -> Spec:
        """The claims of the diagnostic."""
        return self.diagnostic.spec

    def grade(self, value: float) -> int:
        """An index into ``GRADES``."""
        away = abs(value - (self.spec.perfect or 0.0))
        return sum(away >= threshold for threshold in (self.slight, self.clear, self.strong))


SCALES: Mapping[str, Scale] = {
    scale.spec.name: scale
    for scale in (
        Scale(artefacts.LevelDifference, 0.5, 1, 3, "1 dB is about the least that can be heard"),
        Scale(artefacts_spectral.LongTermSpectrum, 0.5, 1.5, 4, "the colour: an equaliser, a missing band, a hiss"),
        Scale(artefacts_spectral.HighFrequencyEnergy, 1, 3, 8, "what is above 4 kHz"),
        Scale(artefacts_spectral.Rolloff, 0.2, 0.5, 1.5, "where the spectrum ends"),
        Scale(artefacts_spectral.SpectralContrast, 1, 3, 6, "how deep the valleys between partials are"),
        Scale(artefacts_spectral.SpectralHoles, 0.3, 1, 3, "pieces that are missing in the middle of a sound"),
        Scale(artefacts_spectral.IsolatedPeaks, 10, 25, 80, "musical noise"),
        Scale(artefacts_temporal.OnsetFlux, 1, 2, 4, "how an attack rises"),
        Scale(artefacts_temporal.PreEcho, 3, 6, 12, "what is heard in the 20 ms before an attack"),
        Scale(artefacts_temporal.CrestFactor, 1, 2.5, 5, "how far peaks stand out"),
        Scale(artefacts_temporal.GlobalVariance, 0.3, 0.8, 1.6, "how much the sound moves"),
        Scale(artefacts_temporal.Harmonicity, 1, 2.5, 5, "how clean a voice or tone is"),
        Scale(artefacts_temporal.FrameBuzz, 3, 6, 12, "noise alone scores up to 3 dB"),
        Scale(artefacts_temporal.LateReverberation, 0.6, 2, 6, "what follows a sound that the reference does not have"),
        Scale(
            *(artefacts.PhaseFraction, 60, 68, 80, "of plain noise it is about half"),
            words=("no more than of noise", "a little more than of noise", "more than of noise", "most of the error"),
        ),
        Scale(
            *(Leakage, 10, 30, 60, "the other source in what should be this one"),
            words=("hardly any of the error", "some of the error", "much of the error", "most of the error"),
        ),
        Scale(
            *(artefacts.LinearlyFilterable, 3, 6, 12, "what a filter could mend; it annoys less than noise"),
            words=(
                "hardly any of the error",
                "half of the error",
                "three quarters of the error",
                "nearly all of the error",
            ),
        ),
    )
}
"""By the name of the diagnostic, in the order in which a report has them."""


class Verdict(NamedTuple):
    """What is said of one diagnostic. ``grade`` is an index into ``GRADES``; none where there is no value."""

    scale: Scale
    value: float
    grade: int | None
    words: str

    @property
    def side(self) -> str:
        """What a listener would call it; empty where nothing is to be heard."""
        if not self.grade:
            return ""
        found = self.scale.diagnostic
        below = self.value < (self.scale.spec.perfect or 0.0) and found.below is not None
        return (found.below or "") if below else found.above


def verdict(name: str, value: float | None, reason: str = "") -> Verdict:
    """Put a value into words.

    Args:
        name: Of the diagnostic.
        value: In its unit; None or nan where it has none.
        reason: Why it has none.

    Example:
        >>> verdict("high_frequency_energy", -9.5).words
        'strong: dull, without its high frequencies'
    """
    scale = SCALES[name]
    if value is None or math.isnan(value):
        return Verdict(scale, math.nan, None, f"no value: {reason or 'not defined for this item'}")
    found = Verdict(scale, value, scale.grade(value), "")
    said = scale.words[found.grade or 0]
    return found._replace(words=f"{said}: {found.side}" if found.side else said)


def mainly(verdicts: Sequence[Verdict], *, most: int = 3) -> str:
    """What stands out among verdicts, in one sentence; empty where there are none.

    Of shares of the error nothing is said: they tell of what kind it is, also where it is too soft to be heard.
    """
    kept = [each for each in verdicts if (each.grade or 0) >= 2 and each.scale.spec.better != "neither"]
    if not kept:
        return "No diagnostic finds a clear artefact." if verdicts else ""
    kept = sorted(kept, key=lambda each: -(each.grade or 0))
    named = [(each.side, each.scale.spec.title.lower(), GRADES[each.grade or 0]) for each in kept[:most]]
    listed = "; ".join(f"{side} ({title}, {grade})" for side, title, grade in named)
    rest = f"; and {len(kept) - most} more in the table" if len(kept) > most else ""
    return f"What stands out: {listed}{rest}."
