"""Write what every diagnostic says of every family of artefacts at one signal-to-noise ratio, and docs/artefacts.md.

    python -m docs.make_confusion          # both, the figures first: some minutes
    python -m docs.make_confusion --page   # the page alone, from the figures there are

The figures are in benchmarks/results/confusion.
"""

import functools
import inspect
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import RESULTS, save
from docs.markdown import table
from percloss.data import clip, song
from percloss.degrade import CODECS, FAMILIES, degrade
from percloss.measure import create
from percloss.measures import artefacts, artefacts_spectral, artefacts_temporal
from percloss.measures.artefacts import Diagnostic

FIGURES = RESULTS / "confusion" / "artefacts--cpu.json"
PAGE = Path(__file__).resolve().parent / "artefacts.md"
SNR_DB, SECONDS = 10.0, 4.0
# The diagnostics were designed on the first four. Of the others only the weight of spectral holes was looked at.
CLIPS = {"speech": "librivox_0870", "song": "song", "drums": "drums", "strings": "strings"}
OTHERS = {
    "another voice": "librivox_0920",
    "keys": "keys",
    "bass": "bass",
    "guitar": "guit_em9",
    "tabla": "loop_tabla",
    "drum roll": "drum_roll",
}
# Coders mix several faults, each its own way: they are shown, and take no part in the ranking.
RANKED = [name for name in FAMILIES if name not in CODECS]

Values = Mapping[str, Mapping[str, float | None]]
Figures = Mapping[str, Values]

HEAD = """\
<!-- Written by docs/make_confusion.py: change that, and run python -m docs.make_confusion -->

# Artefact diagnostics

A score says how bad an estimate is; a diagnostic says in what way. Each hears one kind of fault and stays calm at the
others. Its value has a sign and a unit, and lies at its perfect value where the estimate is the reference. Some have no
perfect value: they tell what part of the error is of one kind, and so nothing where there is no error.

{diagnostics}

## Does each hear its own?

Recordings were spoilt by each family of `percloss.degrade`, always by an error of exactly the same energy, {snr:g} dB
below the sound. Which diagnostic can tell which? A diagnostic has its family where that family's value is the lowest,
or the highest, of all families ({count} of them; the coders are shown and not ranked). The diagnostics were designed
on the four recordings of the first table; a test holds them to it, family by family.

{own}

In brackets is who comes second. On other recordings, of which the design had seen nothing but how many holes there are:

{others}

{misses}

## Families without a diagnostic of their own

{without}

The place is that among all families, averaged over the four recordings; several numbers together tell of these.

## The matrix

All values for the four recordings. **Bold** is a family where its own diagnostic has it.

{matrices}
"""


def diagnostics() -> list[type[Diagnostic]]:
    """All there are, in the order of the files."""
    return [
        each
        for module in (artefacts, artefacts_spectral, artefacts_temporal)
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, Diagnostic) and each.__module__ == module.__name__
        if not inspect.isabstract(each)
    ]


def owners() -> dict[str, list[tuple[type[Diagnostic], int]]]:
    """The families that have a diagnostic: which, and the sign of the end that is theirs."""
    found: dict[str, list[tuple[type[Diagnostic], int]]] = {}
    for each in diagnostics():
        for family, sign in ((each.lowest, -1), (each.highest, 1)):
            if family is not None:
                found.setdefault(family, []).append((each, sign))
    return {family: found[family] for family in FAMILIES if family in found}


def recording(name: str) -> tuple[Tensor, int]:
    """A few seconds of an embedded recording, one channel of it."""
    wave, rate = (song().mixture, song().sample_rate) if name == "song" else clip(name)
    return wave[:, :1, : int(SECONDS * rate)], rate


def figures_of(wave: Tensor, rate: int, families: tuple[str, ...]) -> dict[str, dict[str, float | None]]:
    """What every diagnostic says of every family: ``{diagnostic: {family: value}}``, None where it has no value."""
    est = torch.cat([degrade(wave, rate, family, snr_db=SNR_DB) for family in families])
    ref = wave.expand_as(est)
    interferer = (degrade(wave, rate, "interference", snr_db=SNR_DB) - wave).expand_as(est)
    found = {}
    with torch.no_grad():
        for each in diagnostics():
            measure = create(each.spec.name, sample_rate=rate)
            values = measure(est, ref, **({"interferer": interferer} if each.spec.needs else {}))[:, 0].tolist()
            found[each.spec.name] = {
                family: None if math.isnan(value) else round(value, 3)
                for family, value in zip(families, values, strict=True)
            }
    return found


@functools.cache
def figures(name: str, families: tuple[str, ...]) -> dict[str, dict[str, float | None]]:
    """``figures_of`` an embedded recording."""
    return figures_of(*recording(name), families)


def order(values: Mapping[str, float | None], sign: int) -> list[str]:
    """The ranked families from the one that a diagnostic hears most; those without a value last."""
    known = [family for family in RANKED if values.get(family) is not None]
    return sorted(known, key=lambda family: -sign * (values[family] or 0.0))


def page(document: Mapping[str, Any]) -> str:
    """The whole page."""
    found: Figures = {row["clip"]: row["values"] for row in document["rows"]}
    misses = [
        f"- {each.spec.title} puts {order(found[name][each.spec.name], sign)[0]} before {family} on {name}."
        for family, own in owners().items()
        for each, sign in own
        for name in OTHERS
        if order(found[name][each.spec.name], sign)[0] != family
    ]
    total = sum(map(len, owners().values())) * len(OTHERS)
    return HEAD.format(
        diagnostics=table(
            ["diagnostic", "unit", "perfect", "below", "above"],
            [
                [f"`{each.spec.name}`", each.spec.unit, _perfect(each), each.below or "–", each.above]
                for each in diagnostics()
            ],
        ),
        snr=document["settings"]["snr_db"],
        count=len(RANKED),
        own=_own(found, tuple(CLIPS)),
        others=_own(found, tuple(OTHERS)),
        misses=f"Of {total} cases these {len(misses)} miss:\n\n" + "\n".join(misses) if misses else "None is missed.",
        without=_without(found),
        matrices="\n\n".join(f"### {name.capitalize()}\n\n{_matrix(found[name])}" for name in CLIPS),
    )


def _perfect(each: type[Diagnostic]) -> str:
    return "–" if each.spec.perfect is None else f"{each.spec.perfect:g}"


def _own(found: Figures, names: tuple[str, ...]) -> str:
    rows = []
    for family, own in owners().items():
        for each, sign in own:
            cells = []
            for name in names:
                values = found[name][each.spec.name]
                ranked = order(values, sign)
                second = ranked[1] if ranked[0] == family else ranked[0]
                place = "" if ranked[0] == family else f"{ranked.index(family) + 1}. "
                cells.append(f"{place}{_text(values[family])} ({second} {_text(values[second])})")
            end = "lowest" if sign < 0 else "highest"
            rows.append([FAMILIES[family].title, f"`{each.spec.name}`, {end}", *cells])
    return table(["family", "diagnostic", *names], rows)


def _without(found: Figures) -> str:
    rows = []
    for family in FAMILIES:
        if family in owners():
            continue
        places = {
            (each.spec.name, sign): mean(_place(found[name][each.spec.name], family, sign) for name in CLIPS)
            for each in diagnostics()
            for sign in (-1, 1)
            if sign > 0 or each.below is not None
        }
        (name, sign), place = min(places.items(), key=lambda item: item[1])
        end = "low" if sign < 0 else "high"
        rows.append([FAMILIES[family].title, FAMILIES[family].hears, f"`{name}`, {end}", f"{place:.1f}"])
    return table(["family", "what is heard", "nearest diagnostic", "its place there, on average"], rows)


def _place(values: Mapping[str, float | None], family: str, sign: int) -> int:
    """Of a family among the ranked ones, from 1."""
    own = values[family]
    known = [value for name in RANKED if (value := values[name]) is not None and name != family]
    return len(RANKED) if own is None else 1 + sum(sign * value > sign * own for value in known)


def _matrix(values: Values) -> str:
    rows = []
    for family in FAMILIES:
        mine = {each.spec.name for each, _ in owners().get(family, [])}
        cells = [f"**{_text(row[family])}**" if name in mine else _text(row[family]) for name, row in values.items()]
        rows.append([family, *cells])
    return table(["", *(f"`{name}`" for name in values)], rows)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}".replace("-0.0", "0.0")


def main() -> None:
    """Write the figures, unless the page alone is asked for, and the page."""
    if "--page" not in sys.argv[1:]:
        torch.set_num_threads(1)
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {"clip": name, "source": source, "values": figures(source, tuple(FAMILIES))}
            for name, source in {**CLIPS, **OTHERS}.items()
        ]
        settings = {"snr_db": SNR_DB, "seconds": SECONDS, "seed": 0}
        save("confusion/artefacts", rows, device="cpu", packages=("soundfile",), **settings)
    PAGE.write_text(page(json.loads(FIGURES.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
