"""Write docs/disparity.md from the runs that are kept in benchmarks/disparity.

    percloss disparity --losses all --seeds 0,1,2 --steps 300 --out all
    python -m docs.make_disparity all/run.json all
    python -m docs.make_disparity

The second line keeps a run under a name, without the numbers of measures that no table shows but to say who is first.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from percloss.lab.disparity.config import LEVEL, LEVEL_ABOVE
from percloss.lab.disparity.tables import Grid, every

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "benchmarks" / "disparity"
PAGE = ROOT / "docs" / "disparity.md"

HEAD = """\
# Where measures part

One network is trained with many losses, from the same first weights, on the same mixtures in the same order, for as
many steps, and scored by every measure on mixtures that it never heard. Which loss is best depends on who is asked.

**PESQ and ViSQOL are models of listeners, not people.** Nobody has listened to these networks. Where two measures
disagree, this page says that they do, not which of them is right. For that there is [evidence from
listeners](correlation.md).

```sh
percloss disparity --budget small --seed 0
percloss disparity --losses all --seeds 0,1,2 --steps 300 --out all
```

The first takes some three minutes on two cores. Each writes a page with players, and `run.json` with the score of
every clip; the same seeds and threads give the same numbers.

**How differences are judged.** Every model has a score for each seed and each clip. An interval comes from resampling
both: seeds with replacement, clips with replacement, and every score at a drawn seed and a drawn clip counts. With
one seed it speaks of clips alone. p is that of a test that flips the signs of whole clips, all their seeds together,
adjusted by Holm for the comparisons of one hypothesis; three seeds allow no test over seeds, so how many of them
agree stands beside it. A comparison is *supported* if its interval lies above what was expected and its p is below
5 %, *not supported* if the interval lies below it and p is as small, and *undecided* otherwise. A hypothesis is
supported if every comparison is, and not supported if one is not.

The model `snr_masking` was added after a first run of the small budget with seed 0 had shown that masking beside SI-SDR
turns the level down; no hypothesis is about it, but those that say who leads have one rival more.

**What it does not say.** All clips are cut from 17 s of two speakers, of whom the networks were trained on 35 s of
other sentences, and overlap: intervals hold for other noises of these kinds and other seeds, not for other voices,
languages, data or networks. Trained on the one reader alone, the networks of the small budget took the other speaker
for noise: SI-SDR, PESQ, ViSQOL and STOI of her were all worse than those of the mixture. They are small and trained
briefly. PESQ is near its floor for what they do.

An earlier run of all losses, trained on 15 s of the reader and scored on one sentence of his, came to the same verdicts
by other figures: tau of SI-SDR with ViSQOL was 0.09 and with PESQ 0.27, and the discriminator gained 0.62 dB of SI-SDR,
where it changes it by no more than chance now. So much depends on what is scored.

This page is written by `python -m docs.make_disparity` from `benchmarks/disparity`.
"""


def keep(run: Path, name: str) -> Path:
    """Copy a run's document to where the page is made from."""
    found = json.loads(run.read_text(encoding="utf-8"))
    shown = {*found["key"], *found["artefacts"], LEVEL, LEVEL_ABOVE}
    for part in ("scores", "means", "against_baseline", "contrasts"):
        found[part] = {model: _only(shown, values) for model, values in found[part].items()}
    found["tau"] = {one: _only(shown, row) for one, row in _only(shown, found["tau"]).items()}
    path = RUNS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A list a line, so that a change can be read.
    text = re.sub(r"\[[^][{}]*\]", lambda row: re.sub(r"\s+", " ", row[0]), json.dumps(found, indent=1))
    path.write_text(f"{text}\n", encoding="utf-8")
    return path


def _only(names: set[str], values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def page(runs: dict[str, dict[str, Any]]) -> str:
    """The page of runs by name."""
    return "\n".join([HEAD, *(_run(name, found) for name, found in runs.items())])


def kept() -> dict[str, dict[str, Any]]:
    """The runs, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RUNS.glob("*.json"))}


def _run(name: str, found: dict[str, Any]) -> str:
    config, budget = found["config"], found["config"]["budget"]
    seconds = sum(each or 0 for each in found["machine"]["seconds"].values())
    losses = "\n".join(
        f"- `{loss}`: `{each['loss']}`{', with a discriminator' if each['adversarial'] else ''}"
        for loss, each in found["losses"].items()
    )
    failed = "".join(f"\n\n**Failed:** {title}: {why}" for title, why in found["failures"].items())
    return f"""
## {name}: {len(found["losses"])} losses, {len(config["seeds"])} {"seed" if len(config["seeds"]) == 1 else "seeds"}

`{found["command"]}`: network `{budget["model"]}` of {found["machine"]["parameters"]:,} parameters, {budget["steps"]}
steps of {budget["batch"]} items of {budget["segment"]} samples; {budget["clips"]} clips of {budget["seconds"]:g} s.
{seconds / 60:.0f} minutes of processes, trained on {found["machine"]["device"]}.{failed}

{losses}

{"".join(map(_table, every(found)))}"""


def _table(grid: Grid) -> str:
    rows = [grid.head, *grid.rows]
    bold = {(at + 1, column) for at, column in grid.best}
    cells = [
        [f"**{text}**" if (at, column) in bold else text.replace("|", "\\|") for column, text in enumerate(row)]
        for at, row in enumerate(rows)
    ]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    rule = "".join("| :-- " if at in grid.wordy else "| --: " for at in range(len(grid.head)))
    return "\n".join([f"### {grid.title}", "", grid.about, "", lines[0], f"{rule}|", *lines[1:], "", ""])


def main(arguments: list[str]) -> None:
    """Keep a run if one is named, then write the page."""
    if arguments:
        run, name = arguments
        keep(Path(run), name)
    PAGE.write_text(page(kept()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
