"""Write docs/correlation.md from the results of benchmarks/correlation/run.py.

python -m docs.make_correlation
"""

import json
from pathlib import Path
from typing import Any

from docs.markdown import rho, table
from percloss.measures import TABLE

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "correlation.md"
RESULTS = ROOT / "benchmarks" / "results" / "correlation"

HEAD = """\
<!-- Written by docs/make_correlation.py from benchmarks/results/correlation: run benchmarks/correlation/run.py, and
     then python -m docs.make_correlation -->

# Measures and listeners

Which measure to believe is a question to listeners. Here every measure of the catalogue is asked for the recordings of
{tests} listening tests, and its answers are correlated with what people said. Everything on this page is computed;
measures that do badly are in it too. `percloss correlate` does the same for a test of yours.

## How to read it

- All correlations are Spearman's, of ranks, turned so that **1 is right**: a negative number goes against listeners.
- **pooled** is over all stimuli, with its 95 % interval from resampling whole contents (songs, sentences), because
  stimuli of one content are not independent. **in system** and **in content** are the mean of the correlations within
  each; **systems** is of the systems' means. They can disagree, even in sign: read them together.
- **fit** is Pearson's correlation after a cubic that does not fall, **RMSE\\*** the error that is left on the
  listeners' scale beyond their own intervals (ITU-T P.1401). Both are of the stimuli the cubic was fitted to.
- The **ceiling** is how far the mean of these listeners follows what listeners think on average, as a Pearson
  correlation: nothing can be expected to do better.
- **behind** is how much less the pooled correlation is than that of the best measure of the catalogue (for published
  values: of the best of those), bold where that is more than chance: the
  interval of a paired bootstrap of contents leaves 0 out, and Williams' test, corrected by Holm for the number of
  measures, gives p < 0.05.

## What the tests can and cannot say

{limits}

They are few, of few contents, and each asks its own listeners about its own systems. A measure that is best here is
the best guess for material like it, and no more. Two measures of about the same correlation are to be taken for equal
unless the test says otherwise. What delays or inverts an estimate as a whole was undone before scoring, as listeners
cannot hear it ({mended}); hidden references and anchors are left out, because they are easy and lift every correlation.
"""

# What each test is of, and which question its listeners were asked.
MATERIAL = {
    "svs_mushra/sound_quality": "singing separated from songs: how good does it sound",
    "svs_mushra/interference_absence": "singing separated from songs: how little is heard of the rest",
    "gensvs_dcr": "singing separated from songs, also by generative systems: how degraded is it",
    "codec_mushra": "speech through neural codecs: basic audio quality",
    "p835_reference_conditions/fullband48k/SIG": "speech with modulated and white noise, 48 kHz: the speech itself",
    "p835_reference_conditions/fullband48k/BAK": "the same: how intrusive the background is",
    "p835_reference_conditions/fullband48k/OVRL": "the same: overall",
    "p835_reference_conditions/wideband16k/SIG": "speech with modulated and white noise, 16 kHz: the speech itself",
    "p835_reference_conditions/wideband16k/BAK": "the same: how intrusive the background is",
    "p835_reference_conditions/wideband16k/OVRL": "the same: overall",
}

# Ours beside the values that the authors of a test published for each stimulus, of the same kind of measure.
COUNTERPARTS = {
    "svs_mushra": {"published_SIR": "bss_sir", "published_SAR": "bss_sar", "published_ISR": "bss_isr"},
}

# Fraunhofer-IIS/ODAQ, benchmark/README.md of September 2024: |Pearson| for each of six kinds of degradation, averaged
# by Fisher's z.
ODAQ = {
    "nmr": ("NMR", 0.89),
    "visqol_audio": ("ViSQOLAudio v3", 0.77),
    "pesq_wb": ("PESQ", 0.74),
    "si_sdr": ("SI-SDR", 0.44),
    "dnsmos_ovr": ("DNSMOS", 0.38),
}
_BEST = 3


def page() -> str:
    """The whole page."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    tests = {name: (document, test) for document in documents for name, test in document["settings"]["tests"].items()}
    tests = {name: tests[name] for name in [*MATERIAL, *tests] if name in tests}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in tests}
    for document in documents:
        for row in document["rows"]:
            rows[row["test"]].append(row)
    mended = ", ".join(
        f"{document['benchmark'].rpartition('/')[2]}: {kind} in {count}"
        for document in documents
        for kind, count in document["settings"]["mended"].items()
    )
    limits = "\n".join(f"- **{name}**: {_size(test)}." for name, (_, test) in tests.items())
    return "\n".join(
        [
            HEAD.format(tests=len(tests), limits=limits, mended=mended or "nowhere"),
            _advice(rows),
            _overview(rows),
            _published(rows),
            *(_section(name, rows[name], document, test) for name, (document, test) in tests.items()),
            _versions(documents),
        ]
    )


def _size(test: dict[str, Any]) -> str:
    parts = [f"{test[what]} {what}" for what in ("stimuli", "systems", "contents") if test[what]]
    listeners = f"{test['listeners']} listeners" if test["listeners"] else "single ratings not published, so no ceiling"
    return f"{', '.join(parts)}; {listeners}; {'; '.join([test['source'], *test['notes']])}".rstrip(".")


def _ours(row: dict[str, Any]) -> bool:
    """Whether a measure of the catalogue made it; a published column may have the name of one."""
    return not str(row["origin"]).startswith("published")


def _height(row: dict[str, Any]) -> float:
    value = row["pooled"]["srcc"]
    return -2.0 if value is None else float(value)


def _real(row: dict[str, Any]) -> bool:
    return bool(row["behind"] and row["behind"]["real"])


def _advice(rows: dict[str, list[dict[str, Any]]]) -> str:
    """By a rule, so that nobody's taste is in it."""
    lines = []
    for name, own in rows.items():
        # A test without recordings has the published values alone.
        ours = sorted(list(filter(_ours, own)) or own, key=_height, reverse=True)
        sound = [
            row for row in ours if not _real(row) and (row["within_content"]["srcc"] or -1) > 0 and _height(row) > 0
        ]
        against = [row["measure"] for row in ours if row["pooled"]["ci95"] and row["pooled"]["ci95"][1] < 0]
        best = ", ".join(f"`{row['measure']}` {_height(row):.2f}" for row in sound[:_BEST]) or "none"
        best += "" if ours and _ours(ours[0]) else ", as published"
        rest = f" and {len(sound) - _BEST} more" if len(sound) > _BEST else ""
        # Where there are too few contents nothing is told apart, and so nothing is ruled out.
        judged = any(row["behind"] and row["behind"]["real"] is not None for row in own)
        told = "" if judged else " (too few contents to tell any apart)"
        lines.append(
            [MATERIAL.get(name, name), f"{best}{rest}{told}", ", ".join(f"`{each}`" for each in against) or "–"]
        )
    head = f"""\
## What to use for which material

By rule: the {_BEST} highest pooled correlations among the measures of the catalogue that are not behind the best by
more than chance and that also order the stimuli of one content as listeners do. **Against** are those whose whole
interval is below 0: they prefer what listeners like less. Quality and interference are different questions, and may
want opposite measures.
"""
    return f"{head}\n{table(['material and question', 'take', 'against'], lines)}\n"


def _overview(rows: dict[str, list[dict[str, Any]]]) -> str:
    """A row a measure, a column a test."""
    tests = [name for name in rows if any(_ours(row) for row in rows[name])]
    by_test = {name: {row["measure"]: row for row in rows[name] if _ours(row)} for name in tests}
    names = [name for name in TABLE if any(name in by_test[test] for test in tests)]
    lines = []
    for name in names:
        cells = [by_test[test].get(name) for test in tests]
        lines.append([f"[`{name}`](catalogue.md#{name})", *(_cell(cell) for cell in cells)])
    head = """\
## All measures in all tests

Pooled correlations; bold where the measure is the best of all or not told apart from it.
"""
    titles = ["measure", *(_short(name) for name in tests)]
    return f"{head}\n{table(titles, lines)}\n"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["pooled"]["srcc"] is None:
        return "–"
    top = row["behind"] is None or row["behind"]["real"] is False
    return f"**{_height(row):.2f}**" if top else f"{_height(row):.2f}"


def _published(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Ours beside what the authors published, and what others found elsewhere."""
    lines = []
    for name, own in rows.items():
        by_name = {row["measure"]: row for row in own}
        for theirs, ours in COUNTERPARTS.get(name.partition("/")[0], {}).items():
            if theirs in by_name and ours in by_name:
                a, b = by_name[ours], by_name[theirs]
                source = str(b["origin"]).removeprefix("published: ")
                lines.append(
                    [name, f"`{ours}`", _with_interval(a), theirs.removeprefix("published_"), _with_interval(b), source]
                )
    elsewhere = []
    for ours, (theirs, value) in ODAQ.items():
        found = ((name, row) for name, own in rows.items() for row in filter(_ours, own) if row["measure"] == ours)
        here = [f"{_short(name)} {_height(row):.2f}" for name, row in found]
        elsewhere.append([theirs, f"{value:.2f}", f"`{ours}`", "; ".join(here) or "–"])
    head = ["test", "ours", "pooled", "theirs", "pooled", "source"]
    return f"""\
## Ours beside the published

What the authors of a test computed for each stimulus, against the same scores. BSS Eval in version 4 takes the median
of frames of one second; the published values are of version 3, over the whole.

{table(head, lines)}

The authors of `svs_mushra` find PEASS' APS best for the quality of the sound, and SIR and IPS about equal for
interference. Those of `gensvs_dcr`, of which all values are the published ones, as it comes without recordings, find
the distance of Music2Latent embeddings best among discriminative systems, and the multi-resolution STFT loss and the
distance of MERT embeddings among generative ones. The tables below find the same.

Elsewhere, on a test that is not at hand (ODAQ: coding and separation artefacts of music and dialogue, absolute Pearson
correlations averaged over six kinds; Fraunhofer-IIS/ODAQ, benchmark of September 2024), beside what the nearest measure
of ours does here:

{table(["theirs, on ODAQ", "published", "ours", "pooled Spearman here"], elsewhere)}
"""


def _with_interval(row: dict[str, Any]) -> str:
    low_high = row["pooled"]["ci95"]
    return f"{_height(row):.2f}" + (f" [{low_high[0]:.2f}, {low_high[1]:.2f}]" if low_high else "")


def _section(name: str, rows: list[dict[str, Any]], document: dict[str, Any], test: dict[str, Any]) -> str:
    lines = []
    families = sorted({family for row in rows for family in row["families"]})
    for row in sorted(rows, key=_height, reverse=True):
        less = row["behind"]
        gap = "" if less is None or less["difference"] is None else f"{less['difference']:.2f}"
        fit = row["mapped"]["cubic"]
        lines.append(
            [
                f"`{row['measure']}`",
                str(row["n"]),
                rho(row["pooled"]["srcc"]),
                " to ".join(map(rho, row["pooled"]["ci95"])) if row["pooled"]["ci95"] else "–",
                *(rho(row[level]["srcc"]) for level in ("within_system", "within_content", "system")),
                *(rho(row["families"][family]["srcc"]) for family in families),
                rho(fit["plcc"]),
                rho(fit["rmse_star"]),
                f"**{gap}**" if less and less["real"] else gap,
            ]
        )
    top = test["ceiling"]
    ceiling = (
        "No ceiling: single ratings are not published."
        if top["pooled"] is None
        else f"Ceiling {top['pooled']:.3f} pooled"
        + "".join(f", {top[level]:.3f} {words}" for level, words in _CEILINGS.items() if top[level] is not None)
        + "."
    )
    missing = [
        f"`{measure}`: {why} ({count})"
        for measure, own in document["settings"]["missing"].items()
        for why, count in own.items()
    ]
    lacking = f"\nWithout a value: {'; '.join(missing)}.\n" if missing else ""
    left_out = _left_out(document["settings"]["left_out"])
    head = [
        "measure",
        "n",
        "pooled",
        "95 % interval",
        "in system",
        "in content",
        "systems",
        *families,
        "fit",
        "RMSE\\*",
        "behind",
    ]
    return f"""\
## {name}

{MATERIAL.get(name, name).capitalize()}. {_size(test)}. {ceiling}

{table(head, lines)}
{lacking}{left_out}"""


_CEILINGS = {"within_system": "in systems", "within_content": "in contents", "system": "of systems"}


def _left_out(names: dict[str, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, why in names.items():
        by_reason.setdefault(why, []).append(f"`{name}`")
    return "".join(f"\nNot asked: {', '.join(own)} ({why}).\n" for why, own in by_reason.items())


def _versions(documents: list[dict[str, Any]]) -> str:
    lines = [
        [document["benchmark"].rpartition("/")[2], document["revision"], _listed(document["versions"])]
        for document in documents
    ]
    return f"## How it was made\n\n{table(['set', 'revision', 'versions'], lines)}\n"


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _short(name: str) -> str:
    return (
        name.replace("p835_reference_conditions/", "p835 ").replace("_mushra", "").replace("/", " ").replace("_", " ")
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
