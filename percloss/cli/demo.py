"""``percloss demo``: tables on stdout, report and audio in a folder; the work is done in ``percloss.demo``."""

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import percloss
from percloss.cli import Refused

if TYPE_CHECKING:
    from rich.text import Text

    from percloss.demo import Families
    from percloss.report import Column, Section

# Columns beyond these many tables are named, and are in the report.
MOST_TABLES = 2
# Between columns: two blanks, and the one that stands for a line.
GAP = 3
MARKS = {"best": ("*", "bold green"), "worst": ("!", "red"), "": (" ", "")}


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="percloss-demo",
    show_default=True,
    help="Folder to write the report and the audio to.",
)
@click.option(
    "--snr", "snr_db", type=float, default=10.0, show_default=True, metavar="DB", help="Of every version, 1 to 40."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the degradations.")
@click.option("--quick", is_flag=True, help="Two seconds of each clip.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def demo(out: Path, snr_db: float, seed: int, quick: bool, as_json: bool) -> None:
    """Spoil embedded clips in many ways at one SNR, and see what each measure says.

    Prints the scores, and writes a page to listen to and compare them. Then spoils speech in every way there is, and
    says whether SI-SDR ranks the results as models of listeners do. Uses no network; the same seed gives the same
    sounds and scores.

    \b
    percloss demo
    percloss demo --snr 20 --out louder --json
    """  # noqa: D301  (click's mark, a backspace, keeps the lines that follow)
    import torch

    from percloss import demo as room
    from percloss.cli.messages import say

    room.ready()
    # The clips are short: more threads wait for each other, and make sums that differ from machine to machine.
    torch.set_num_threads(1)
    options = ["--snr", f"{snr_db:g}", "--seed", str(seed), *(["--quick"] if quick else [])]
    try:
        out.mkdir(parents=True, exist_ok=True)
        sections = []
        recordings = room.material(quick=quick)
        for given in recordings:
            say(given.name, "spoiling and scoring it")
            sections.append(room.study(given, snr_db=snr_db, seed=seed))
            _say_left_out(sections[-1])
        room.write_audio(out, sections)
        speech = next(given for given in recordings if given.is_speech)
        say(speech.name, "spoiling it in every way there is")
        families = room.compared(speech, snr_db=snr_db, seed=seed)
        for name, reason in families.left_out.items():
            say(speech.name, f"left out {name}: {reason}")
        report = room.write_report(out, sections, snr_db=snr_db, command=shlex.join(["percloss", "demo", *options]))
    except OSError as error:
        reason = error.strerror or str(error)
        raise Refused(f"{out}: cannot be written to ({reason}); type --out FOLDER with one that can.") from error
    if as_json:
        found = {
            "percloss": percloss.__version__,
            "snr_db": snr_db,
            "seed": seed,
            "quick": quick,
            "folder": str(out),
            "report": report.name,
            "clips": [room.as_dict(section) for section in sections],
            "families": _families_dict(families),
        }
        click.echo(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False).encode())
        return
    for section in sections:
        _print(section)
    _print_families(families, snr_db)
    click.echo(f"report: {report}")
    _say_next(out)


def _families_dict(found: "Families") -> dict[str, Any]:
    def plain(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "scores": {
            family: {name: plain(value) for name, value in scores.items()} for family, scores in found.scores.items()
        },
        "left_out": dict(found.left_out),
        "correlations": {
            one.model: {"spearman": plain(one.rho), "ci95": [plain(one.low), plain(one.high)]}
            for one in found.correlations
        },
    }


def _say_left_out(section: "Section") -> None:
    """One line for each reason."""
    from percloss.cli.messages import say

    names: dict[str, list[str]] = {}
    for name, reason in section.left_out.items():
        names.setdefault(reason, []).append(name)
    for reason, those in names.items():
        say(section.name, f"left out {', '.join(those)}: {reason}")


def _say_next(out: Path) -> None:
    speech = out / "audio" / "speech"
    systems = [str(speech / "low_pass"), str(speech / "delay")]
    click.echo("Open the report in a browser and listen. Then try:", err=True)
    for command in (
        ["percloss", "score", *systems, "--ref", str(speech / "reference")],
        ["percloss", "info", "si_sdr"],
        ["percloss", "demo", "--snr", "20", "--out", f"{out}-20"],
    ):
        click.echo(f"  {shlex.join(command)}", err=True)


def _print(section: "Section") -> None:
    from rich.text import Text

    from percloss.cli.terminal import blocks_of, broken, console, table
    from percloss.report import columns

    out = console()
    out.print(f"{section.title}: {section.about}", style="bold")
    found = {column.spec.name: column for column in columns(section)}
    heads = {name: [*(f"{line} " for line in broken(name)), f"{column.spec.head} "] for name, column in found.items()}
    widths = {
        name: GAP + max(map(len, [*heads[name], *(f"{text} " for text in column.texts.values())]))
        for name, column in found.items()
    }
    labels = [*(version.title for version in section.versions), "spread", "spread [dB of noise]"]
    blocks = blocks_of(widths, out.width - GAP - max(map(len, labels)))
    for block in blocks[:MOST_TABLES]:
        rows = table("version")
        for name in block:
            head = Text.assemble("\n".join(heads[name][:-1]), "\n", (heads[name][-1], "dim not bold"))
            rows.add_column(head, justify="right", no_wrap=True, vertical="bottom")
        for version in section.versions:
            rows.add_row(version.title, *(_cell(found[name], version.name) for name in block))
        rows.add_section()
        rows.add_row("spread", *(f"{found[name].spread} " for name in block), style="dim")
        rows.add_row("spread [dB of noise]", *(f"{found[name].on_yardstick} " for name in block), style="dim")
        out.print(rows)
        out.print()
    rest = [name for block in blocks[MOST_TABLES:] for name in block]
    if rest:
        out.print(f"more in the report: {', '.join(rest)}", style="dim")
    out.print("* best, ! worst of a column; ↑ higher is better, ↓ lower is better", style="dim")
    out.print(f"{section.summary}\n")


def _print_families(found: "Families", snr_db: float) -> None:
    from percloss.cli.terminal import console, table
    from percloss.degrade import FAMILIES
    from percloss.demo import FOLLOWS_WAVEFORM
    from percloss.measure import find
    from percloss.scoring.page import figures

    out = console()
    if not found.scores:
        return
    names = list(next(iter(found.scores.values())))
    out.print(f"Speech, {len(found.scores)} families, all at {snr_db:g} dB SNR", style="bold")
    rows = table("family")
    for name in names:
        rows.add_column(f"{name}\n{find(name).spec.head}", justify="right", no_wrap=True, vertical="bottom")
    columns = [figures(scores[name] for scores in found.scores.values()) for name in names]
    for family, *cells in zip(found.scores, *columns, strict=True):
        rows.add_row(FAMILIES[family].title, *cells)
    out.print(rows)
    out.print()
    for one in found.correlations:
        out.print(
            f"rank correlation of {FOLLOWS_WAVEFORM} with {one.model}: {one.rho:+.2f}, 95 % interval {one.low:+.2f} to "
            f"{one.high:+.2f}"
        )
    out.print()


def _cell(column: "Column", version: str) -> "Text":
    from rich.text import Text

    mark, style = MARKS["best" if version in column.best else "worst" if version in column.worst else ""]
    return Text(f"{column.texts[version]}{mark}", style=style)
