"""``percloss disparity``: trains, scores, prints; the work is done in ``percloss.lab.disparity``."""

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from percloss._files import replacing
from percloss.cli import INTERRUPTED
from percloss.cli.options import json as json_option
from percloss.errors import ArgumentError

if TYPE_CHECKING:
    from percloss.lab.disparity.config import Config
    from percloss.lab.disparity.run import Done, Task
    from percloss.lab.disparity.tables import Grid

MISSING = 3
#: Width of a column's head.
HEAD = 11
#: Tables that a terminal shows; the others are in the report.
PRINTED = ("paper", "heard", "artefacts", "levels", "contrasts", "first", "agreement", "songs", "verdicts")


def _seeds(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise click.BadParameter(f"got {value!r}; needed are different whole numbers from 0 up: --seeds 0,1,2.")
    return tuple(int(part) for part in parts)


@click.command()
@click.option(
    "--budget",
    type=click.Choice(["small", "full"]),
    default="small",
    show_default=True,
    help="How much is trained: for two CPU cores, or for a GPU.",
)
@click.option("--losses", metavar="NAMES", default="", help="Such as si_sdr,mel, or all. [the first four]")
@click.option("--seeds", "--seed", metavar="NUMBERS", callback=_seeds, help="Such as 0,1,2. [0]")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Of each training. [the budget's]")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="percloss-disparity",
    show_default=True,
    help="Folder of the run; one that was begun goes on.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with waveunet_examples, for real separators too. [PERCLOSS_DATA, if set]",
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Of each process."
)
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Processes. [cores / threads; 1 on a GPU]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where to train. [the budget's]")
@json_option
def disparity(
    budget: str,
    losses: str,
    seeds: tuple[int, ...] | None,
    steps: int | None,
    out: Path,
    data: Path | None,
    threads: int,
    jobs: int | None,
    device: str | None,
    as_json: bool,
) -> int:
    """Train one network with many losses, and see which measure prefers which.

    Every model has the same first weights, data, order and steps; every measure scores each on held-out mixtures. Says
    of each hypothesis written down before whether it is supported, and writes run.json and a page to listen. A run that
    was stopped goes on where it was; more losses or seeds may be asked for then. The same seed and threads give the
    same numbers. Exit code 3: a model failed, the rest is there.

    \b
    percloss disparity --budget small --seed 0
    percloss disparity --losses all --seeds 0,1,2 --steps 600 --out all
    """  # noqa: D301  (click's mark, a backspace, keeps the lines that follow)
    import torch

    from percloss import demo
    from percloss.lab.disparity import run as room
    from percloss.lab.disparity.config import BUDGETS, Config, chosen
    from percloss.lab.disparity.scoring import suiting
    from percloss.lab.disparity.songs import songs_in

    demo.ready()
    given = BUDGETS[budget] if steps is None else replace(BUDGETS[budget], steps=steps)
    place = device or ("cuda" if budget == "full" else "cpu")
    if place == "cuda" and not torch.cuda.is_available():
        raise ArgumentError("disparity: got no GPU; needed is one here; type --budget small, or --device cpu to wait.")
    data = data or (Path(os.environ["PERCLOSS_DATA"]) if os.environ.get("PERCLOSS_DATA") else None)
    # Before any work: what cannot be trained is said at once.
    names = chosen(losses)
    measures, pesq, left_out = suiting()
    config = Config(names, seeds or (0,), measures, pesq, given, threads, place)
    songs = songs_in(data) if data else []
    wanted = room.tasks(config, songs)
    room.open_folder(out, config)
    command = ["percloss", "disparity", "--budget", budget, "--losses", losses or ",".join(names)]
    command += ["--seeds", ",".join(map(str, config.seeds)), *(["--steps", str(steps)] if steps else [])]
    command += [*(["--threads", str(threads)] if threads > 1 else []), *(["--device", device] if device else [])]
    done, complete = _carry_out(wanted, config, out, jobs=jobs or _jobs(config))
    if not complete:
        return INTERRUPTED
    return _conclude(config, done, left_out, out, command=shlex.join(command), as_json=as_json)


def _jobs(config: "Config") -> int:
    if config.device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // config.threads)


def _carry_out(wanted: "Sequence[Task]", config: "Config", out: Path, *, jobs: int) -> tuple[list["Done"], bool]:
    """What is done, and whether that is all of it; Ctrl-C ends it early and loses no more than was being done."""
    from percloss.cli.messages import say
    from percloss.lab.disparity import run as room

    kept = room.kept(out, wanted)
    left = [task for task in wanted if task not in kept]
    if kept:
        say("reused", f"{len(kept)} of {len(wanted)} from {out}: {'; '.join(task.title for task in kept)}")
    done = list(kept.values())
    total, begun = sum(room.cost(task, config) for task in left), time.monotonic()
    finished = 0.0
    try:
        with _progress(left, total, config) as tell:
            for one in room.carry_out(left, config, out, jobs=jobs, tell=tell):
                done.append(one)
                tell(one.task, 1.0)
                finished += room.cost(one.task, config)
                seconds = (total / finished - 1) * (time.monotonic() - begun)
                how = "failed" if one.error is not None else "done"
                what = one.error or f"{one.result['seconds']:.0f} s"
                say(how, f"{one.task.title}: {what}; {len(done)} of {len(wanted)}, about {_duration(seconds)} left")
    except (KeyboardInterrupt, SystemExit):
        say("interrupted", f"{len(done)} of {len(wanted)} are kept in {out}; the same command goes on")
        return done, False
    return done, True


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@contextmanager
def _progress(left: "Sequence[Task]", total: float, config: "Config") -> "Iterator[Callable[[Task, float], None]]":
    """How far it is and how long it takes yet, on a terminal."""
    from percloss.cli.terminal import console, plain
    from percloss.lab.disparity.run import cost

    if not left or plain(sys.stderr):
        yield lambda task, part: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn())
    parts: dict[Any, float] = {}
    with Progress(
        TextColumn("{task.description}"), BarColumn(), *columns, console=console(sys.stderr), transient=True
    ) as bar:
        shown = bar.add_task("training and scoring", total=total)

        def tell(task: "Task", part: float) -> None:
            parts[task] = part * cost(task, config)
            running = ", ".join(each.title for each in parts if parts[each] < cost(each, config))
            bar.update(shown, completed=sum(parts.values()), description=running or "training and scoring")

        yield tell


def _conclude(
    config: "Config",
    done: "Sequence[Done]",
    left_out: dict[str, str],
    out: Path,
    *,
    command: str,
    as_json: bool,
) -> int:
    """Write the document and the page, print, and say what is missing."""
    from percloss.cli.messages import say
    from percloss.lab.disparity.findings import MODELS_NOT_PEOPLE, Findings
    from percloss.lab.disparity.page import write_page
    from percloss.lab.disparity.scoring import held_out

    findings = Findings(config, done, held_out(config.budget), left_out)
    if not findings.table:
        raise ArgumentError("disparity: every model failed, as was said above; needed is one that did not.")
    found = findings.document(command)
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(out / "run.json") as unfinished:
        unfinished.write_text(f"{text}\n", encoding="utf-8")
    page = write_page(out, found)
    if as_json:
        click.echo(text.encode())
    else:
        _print(found)
        click.echo(f"{MODELS_NOT_PEOPLE}\n\nreport: {page}\nscores: {out / 'run.json'}")
    if findings.failures:
        say("missing", f"{len(findings.failures)} of {len(done)} failed: {'; '.join(findings.failures)}")
        return MISSING
    return 0


def _print(found: dict[str, Any]) -> None:
    from percloss.cli.terminal import console
    from percloss.lab.disparity.tables import tables

    out = console()
    grids = tables(found)
    for name in PRINTED:
        if name in grids:
            out.print(grids[name].title, style="bold")
            _print_grid(grids[name])
            out.print()


def _print_grid(grid: "Grid") -> None:
    """Long texts are wrapped, numbers are not."""
    from rich.text import Text

    from percloss.cli.terminal import console, table

    rows = table()
    for at, head in enumerate(grid.head):
        lines = [line.replace("_ ", "_") for line in wrap(head.replace("_", "_ "), HEAD)]
        rows.add_column(
            "\n".join(lines), justify="left" if at in grid.wordy else "right", no_wrap=at == 0 or at not in grid.wordy
        )
    for number, row in enumerate(grid.rows):
        cells = [Text(text, style="bold green" if (number, at) in grid.best else "") for at, text in enumerate(row)]
        rows.add_row(*cells)
    console().print(rows)
