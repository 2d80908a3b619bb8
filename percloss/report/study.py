"""What came of pairs of files, made into the sections and the overview of a page."""

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

import percloss
from percloss.errors import PerclossError
from percloss.measure import find
from percloss.report import page, summaries
from percloss.report.audible import Audible, audible
from percloss.report.look import Interferers, Look
from percloss.report.page import Overview, Section, Version
from percloss.report.verdicts import mainly
from percloss.scoring.audio import shown
from percloss.scoring.document import document
from percloss.scoring.engine import Recipe, Scored, load

__all__ = ["ITEMS", "SECONDS", "Study"]

ITEMS = 4
"""How many items have a section with sound and pictures, if nobody says: those whose error stands out most."""

SECONDS = 20.0
"""How much of each of these is heard and seen, if nobody says: what is around its worst second."""

_OTHERS = {"mixture": "Before processing", "interferer": "What should not be heard"}


@dataclass(frozen=True)
class Study:
    """Everything that a page is made of.

    Args:
        results: Of each pair, scored.
        looks: Of each that could be scored, by its position.
        recipe: By which they were made.
        interferers: Of each item, where they were given.
        items: How many have a section of their own.
        seconds: How much of them is heard and seen.
        lossless: Whether no sound is coded with a loss, however large the page becomes.
    """

    results: Sequence[Scored]
    looks: Mapping[int, Look]
    recipe: Recipe
    interferers: Interferers
    items: int = ITEMS
    seconds: float = SECONDS
    lossless: bool = False

    @property
    def systems(self) -> list[str]:
        """In the order they were named."""
        return list(dict.fromkeys(scored.pair.system for scored in self.results))

    @property
    def by_item(self) -> dict[str, dict[str, int]]:
        """Position of each pair that was scored, by item and system."""
        found: dict[str, dict[str, int]] = {}
        for index in sorted(self.looks):
            pair = self.results[index].pair
            found.setdefault(pair.name, {})[pair.system] = index
        return found

    @property
    def chosen(self) -> list[str]:
        """The items that have a section: those whose error stands out most in any system, the worst first."""
        worst = {name: max(self.looks[at].worst.db for at in own.values()) for name, own in self.by_item.items()}
        return sorted(worst, key=lambda name: -worst[name])[: self.items]

    @property
    def alone(self) -> bool:
        """Whether there is one item only, and nothing failed: then there are no means to tell of."""
        return len(self.by_item) == 1 and len(self.looks) == len(self.results)

    def write(self, path: Path, command: str, advance: Callable[[], None] = lambda: None) -> None:
        """Write the page, whole or not at all.

        Args:
            path: Where to.
            command: The line that makes it again.
            advance: Called after each section.

        Raises:
            MissingExtraError: jinja2, matplotlib or soundfile is not installed.
            PerclossError: A file has gone or changed since it was scored.
        """
        sections = []
        for number, name in enumerate(self.chosen, 1):
            sections.append(self._section(name, f"item{number}"))
            advance()
        packages = ["torch", "numpy", "scipy", "soundfile"]
        used = {find(name).spec.implementation for scored in self.results for name in scored.signatures}
        page.write(
            path,
            sections,
            title=self._title(),
            lead=(
                "Listen, see where the error stands above what the reference hides, and read what kind of error it is. "
                "The numbers are models of hearing; whether they are right is for your ears to say."
            ),
            command=command,
            versions={
                "percloss": percloss.__version__,
                **{name: version(name) for name in [*packages, *sorted(name for name in used if name)]},
                "Python": platform.python_version(),
            },
            overview=self._overview(),
        )

    def as_dict(self, command: Sequence[str]) -> dict[str, Any]:
        """What was found, as plain data: the document of ``percloss score``, with what a page has besides."""
        found = document(self.results, self.recipe, command=command)
        for index, file in enumerate(found["files"]):
            seen = self.looks.get(index)
            where = None if seen is None else {**seen.worst._asdict(), "share": seen.share, "peak_db": seen.peak_db}
            file["audible"] = where
            file["verdicts"] = {
                each.scale.spec.name: {"grade": each.grade, "words": each.words}
                for each in summaries.verdicts(self.results[index])
            }
        compared = summaries.against_first(self.results, self.systems, self.recipe)
        return {
            **found,
            "against_first": {shown(system): list(own.values()) for system, own in compared.items()},
            "items": [shown(name) for name in self.chosen],
        }

    def sentences(self, name: str) -> dict[str, str]:
        """What is said of an item, by system."""
        at = self.by_item[name]
        return {system: mainly(summaries.verdicts(self.results[index])) for system, index in at.items()}

    def _title(self) -> str:
        systems = [shown(system) for system in self.systems]
        listed = systems if len(systems) <= 4 else [*systems[:3], f"{len(systems) - 3} more"]
        of = " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1])))
        return f"How {of} differ{'s' if len(systems) == 1 else ''} from the reference"

    def _section(self, name: str, place: str) -> Section:
        at = self.by_item[name]
        results = {system: self.results[index] for system, index in at.items()}
        waves, roles, rate = self._waves(results)
        errors = {system: audible(wave, roles["reference"], rate) for system, wave in waves.items()}
        whole = roles["reference"].shape[-1] / rate
        start = self._start(errors, whole)
        cut = slice(round(start * rate), round(start * rate) + math.ceil(self.seconds * rate))
        judged = {system: summaries.verdicts(scored) for system, scored in results.items()}
        single = len(self.systems) == 1

        def of(system: str, text: str) -> str:
            return text if single else f"{shown(system)}: {text}"

        first = next(iter(results.values()))
        return Section(
            name=place,
            title=shown(name),
            about=self._about(first, start, whole, rate),
            sample_rate=rate,
            ref=roles["reference"][..., cut],
            versions=[
                Version(
                    system,
                    "Estimate" if single else shown(system),
                    shown(scored.pair.est or ""),
                    waves[system][..., cut],
                    {},
                    audible=errors[system],
                )
                for system, scored in results.items()
            ],
            specs={},
            signatures=first.signatures if self.alone else {},
            summary="\n".join(of(system, f"{errors[system].sentence} {mainly(judged[system])}") for system in results),
            left_out=first.left_out if self.alone else {},
            start=start,
            others=[
                Version(role, role.title(), words, roles[role][..., cut], {})
                for role, words in _OTHERS.items()
                if role in roles
            ],
            warnings=[
                of(system, warning["message"]) for system, scored in results.items() for warning in scored.warnings
            ],
            tables=[summaries.artefacts(judged), summaries.scores(results, self.recipe, alone=self.alone)],
            lossless=self.lossless,
        )

    def _waves(self, results: Mapping[str, Scored]) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
        """Estimates by system and what else is heard by role, all of one length; and their rate."""
        signals = {system: load(scored.pair, self.recipe) for system, scored in results.items()}
        first = next(iter(signals.values()))
        waves = {system: each.waves["est"] for system, each in signals.items()}
        roles = {"reference": first.waves["ref"]}
        if "mix" in first.waves:
            roles["mixture"] = first.waves["mix"]
        pair = next(iter(results.values())).pair
        other = self.interferers.get((pair.system, pair.name))
        if other is not None:
            # What is wrong with it stands beside the diagnostic that needs it.
            with suppress(PerclossError):
                roles["interferer"] = load(replace(pair, mix=other), self.recipe).waves["mix"]
        # Each pair may have been cut to a length of its own.
        shortest = min(wave.shape[-1] for wave in (*waves.values(), *roles.values()))

        def cut(some: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: wave[..., :shortest].nan_to_num(0, 0, 0) for name, wave in some.items()}

        return cut(waves), cut(roles), first.sample_rate

    def _start(self, errors: Mapping[str, Audible], whole: float) -> float:
        """Where the excerpt begins, to a tenth of a second: the worst second is in its middle."""
        if whole <= self.seconds:
            return 0.0
        worst = max((each.worst for each in errors.values()), key=lambda spot: spot.db)
        latest = whole - self.seconds
        start = min(max(0.0, (worst.start + worst.stop - self.seconds) / 2), latest)
        return math.floor(10 * start) / 10

    def _about(self, first: Scored, start: float, whole: float, rate: int) -> str:
        channels = {1: "mono", 2: "stereo"}.get(first.channels or 0, f"{first.channels} channels")
        words = f"Reference {shown(first.pair.ref or '')}. {whole:.2f} s at {rate} Hz, {channels}."
        if whole > self.seconds:
            words += f" Heard and seen here: {start:.1f} to {start + self.seconds:.1f} s, around the worst second."
        return words

    def _overview(self) -> Overview | None:
        if self.alone:
            return None
        count, systems, chosen = len(self.by_item), self.systems, self.chosen
        of = f"{len(systems)} systems" if len(systems) > 1 else f"one system, {shown(systems[0])}"
        about = f"{count} item{'s' if count != 1 else ''} of {of}."
        if len(chosen) < count:
            about += f" Below are the {len(chosen)} whose error stands out most; the others may sound better."
        links = {name: f"section-{number}" for number, name in enumerate(chosen, 1)}
        found = document(self.results, self.recipe)
        return Overview(
            "All items",
            about,
            [
                summaries.means(self.results, systems, self.recipe),
                summaries.artefacts_of_all(self.results, systems),
                summaries.files(self.results, self.looks, systems, links),
                summaries.recipes(found["signatures"], found["left_out"]),
            ],
            [scored.error for scored in self.results if scored.error is not None],
        )
