"""What every listening test is read into: recordings, what they are judged against, and what people said of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from percloss.stats import mean_opinion

__all__ = ["RatedSet", "Stimulus", "Vote", "gathered", "opinion", "panels"]

Role = Literal["stimulus", "reference", "anchor"]


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """One recording and its score on one scale; higher scores are better.

    Attributes:
        score: Mean over listeners.
        where: Line of the table it is from, for messages.
        est: Path of the recording; ``None`` where the set comes without audio.
        ref: Path of what it is judged against.
        mix: Path of the unprocessed mixture.
        interferers: Paths of the other true sources in the mixture.
        interval: Half width of the score's 95 % interval; ``None`` where it is not known.
        system: What made the recording.
        content: Which song, sentence or item it is of.
        scale: What was asked.
        part: Of the set, where it is several tests.
        family: Kind of system, where the set tells kinds apart.
        role: Whether it is a hidden reference or an anchor and no system's output.
        ratings: What each listener said.
        published: What other measures were published to say of it.
    """

    score: float
    where: str
    est: str | None = None
    ref: str | None = None
    mix: str | None = None
    interferers: tuple[str, ...] = ()
    interval: float | None = None
    system: str = ""
    content: str = ""
    scale: str = ""
    part: str = ""
    family: str = ""
    role: Role = "stimulus"
    ratings: Mapping[str, float] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """Every recording it takes to score it."""
        return [path for path in (self.est, self.ref, self.mix, *self.interferers) if path]


@dataclass(frozen=True, kw_only=True)
class RatedSet:
    """A listening test.

    Attributes:
        name: As it is typed.
        stimuli: In the order of the table.
        problems: What could not be used, each with its place.
        notes: What else there is to know of it.
        better: Direction of each published measure.
        source: Where scores and published values are from.
        licence: Of ratings and recordings.
    """

    name: str
    stimuli: tuple[Stimulus, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    better: Mapping[str, Literal["higher", "lower"]] = field(default_factory=dict)
    source: str = ""
    licence: str = ""

    @property
    def scales(self) -> tuple[str, ...]:
        """What was asked, in the order of the table."""
        return tuple(dict.fromkeys(stimulus.scale for stimulus in self.stimuli))

    def tests(self) -> dict[str, list[Stimulus]]:
        """The stimuli of each part and scale, by a name made of the set's, the part's and the scale's.

        Scores of different scales answer different questions: they are never pooled.
        """
        several = len({stimulus.scale for stimulus in self.stimuli}) > 1
        found: dict[str, list[Stimulus]] = {}
        for stimulus in self.stimuli:
            parts = (self.name, stimulus.part, stimulus.scale if several else "")
            found.setdefault("/".join(part for part in parts if part), []).append(stimulus)
        return found

    def of_scale(self, scale: str) -> "RatedSet":
        """The same set, one scale of it."""
        return replace(self, stimuli=tuple(stimulus for stimulus in self.stimuli if stimulus.scale == scale))


@dataclass(frozen=True)
class Vote:
    """One listener's rating, where it stands, and of which stimulus."""

    key: tuple[str, ...]
    listener: str
    rating: float
    where: str


def gathered(
    votes: Iterable[Vote],
) -> tuple[dict[tuple[str, ...], dict[str, float]], list[str]]:
    """Ratings by stimulus and listener, and what was wrong with some.

    A second rating of one stimulus by one listener is left out, and so is a listener who says the same of everything:
    nothing can be learnt of either.
    """
    found: dict[tuple[str, ...], dict[str, float]] = {}
    problems = []
    said: dict[str, list[float]] = {}
    for vote in votes:
        own = found.setdefault(vote.key, {})
        if vote.listener in own:
            problems.append(f"{vote.where}: listener {vote.listener} rated it twice; the first rating counts")
            continue
        own[vote.listener] = vote.rating
        said.setdefault(vote.listener, []).append(vote.rating)
    several = len({rating for ratings in said.values() for rating in ratings}) > 1
    for listener, ratings in said.items():
        if several and len(ratings) > 2 and len(set(ratings)) == 1:
            problems.append(f"listener {listener}: says {ratings[0]:g} of all {len(ratings)} stimuli; left out")
            for own in found.values():
                own.pop(listener, None)
    return found, problems


def opinion(ratings: Mapping[str, float]) -> tuple[float, float | None]:
    """The mean of a stimulus's ratings and half the width of its 95 % interval, which takes two."""
    found = mean_opinion(np.array([list(ratings.values())], dtype=np.float64))
    half = float(found.ci95[0])
    return float(found.score[0]), None if math.isnan(half) else half


def panels(stimuli: Sequence[Stimulus]) -> np.ndarray | None:
    """Ratings as a matrix, a row a stimulus and a column a listener, nan where one did not rate; ``None`` without."""
    listeners = sorted({listener for stimulus in stimuli for listener in stimulus.ratings})
    if not listeners:
        return None
    return np.array(
        [[stimulus.ratings.get(listener, np.nan) for listener in listeners] for stimulus in stimuli], dtype=np.float64
    )
