"""``percloss degrade``: files in, spoilt files out, each at exactly a ratio or a value of a measure."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import percloss
from percloss.cli import INTERRUPTED, Refused, debugging, emit, options

if TYPE_CHECKING:
    from torch import Tensor

    from percloss.measure import Measure

MISSING = 3
REFERENCE = "reference"
PEAK = 0.99


class Wish(NamedTuple):
    """What is asked of every output."""

    families: tuple[str, ...]
    measure: str
    target: float
    seed: int

    @property
    def by_ratio(self) -> bool:
        """Whether it is the SNR, which has a closed form."""
        return self.measure == "snr"


def _value(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, float] | None:
    if value is None:
        return None
    name, _, target = value.partition("=")
    try:
        return name.strip(), float(target)
    except ValueError:
        raise click.BadParameter(f"got {value!r}; needed is a measure and its value, as --match si_sdr=10.") from None


def _families(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for part in value for name in part.split(",") if name.strip()))


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1, required=True)
@click.option(
    "-f",
    "--family",
    "families",
    multiple=True,
    required=True,
    metavar="NAMES",
    callback=_families,
    help="Such as low_pass,musical_noise, or all.",
)
@click.option("--snr", type=float, metavar="DB", help="Signal over error, of every output.")
@click.option(
    "--match",
    "matched",
    metavar="NAME=VALUE",
    callback=_value,
    help="A measure's value instead; one with a rate of its own hears files resampled.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="percloss-degrade",
    show_default=True,
    help="Folder to write to: FAMILY/NAME.wav, and reference/NAME.wav.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of what is random.")
@options.json
@options.quiet
@click.pass_context
def degrade(
    context: click.Context,
    /,
    inputs: tuple[str, ...],
    families: tuple[str, ...],
    snr: float | None,
    matched: tuple[str, float] | None,
    out: Path,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Spoil files in chosen ways, all exactly as much: by SNR, or by any measure that gets worse.

    IN are files and folders. A file and what is made of it are written at one level at which none clips, so that
    percloss score OUT/FAMILY --ref OUT/reference finds what was asked. The families are listed by a wrong name.

    \b
    percloss degrade clean.wav --family low_pass,musical_noise --snr 10 --out spoilt
    percloss degrade clean/ --family all --match si_sdr=10 --out spoilt
    percloss degrade clean/ -f opus --match pesq_wb=2.5 --json
    """  # noqa: D301  click's mark of a paragraph not to be wrapped is one character, and no backslash
    if (snr is None) == (matched is None):
        came = "neither --snr nor --match" if snr is None else "--snr and --match"
        raise click.UsageError(f"got {came}; needed is one of them, such as --snr 10.")
    from percloss._optional import require
    from percloss.cli.messages import say
    from percloss.scoring.audio import shown

    require("soundfile", extra="audio")
    measure, target = ("snr", snr) if matched is None else matched
    wish = Wish(_known(families), measure, float(target or 0.0), seed)
    _check_measure(measure)
    if not math.isfinite(wish.target):
        raise Refused(f"degrade: got {measure}={wish.target}; needed is a finite number, such as --snr 10.")
    files = _listed(inputs)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Refused(f"{shown(out)}: cannot be written to ({reason}); type --out FOLDER with one that can.") from error
    rows: list[dict[str, Any]] = []
    complete = True
    try:
        with _progress(len(files) * len(wish.families), quiet=quiet) as advance:
            for path, name in files:
                rows += _spoil(path, name, out, wish, advance, debug=debugging(context))
    except KeyboardInterrupt:
        complete = False
    failed = [row for row in rows if row["error"] is not None]
    for row in failed:
        say("error", row["error"])
    if failed:
        say("failed", f"{len(failed)} of {len(rows)}; {len(rows) - len(failed)} written")
    if as_json:
        found = {
            "percloss": percloss.__version__,
            "measure": wish.measure,
            "target": wish.target,
            "seed": seed,
            "folder": shown(out),
            "complete": complete,
            "files": rows,
        }
        emit(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        _print(rows, wish)
    if not complete:
        done = sum(row["error"] is None for row in rows)
        say("interrupted", f"{done} of {len(files) * len(wish.families)} written, each of them whole")
        return INTERRUPTED
    return MISSING if failed else 0


def _known(families: Sequence[str]) -> tuple[str, ...]:
    import difflib

    from percloss.degrade import FAMILIES

    if families == ("all",):
        return tuple(FAMILIES)
    for name in families:
        if name not in FAMILIES:
            near = difflib.get_close_matches(name, FAMILIES, n=1)
            proposal = f"did you mean {near[0]}? There" if near else "there"
            raise Refused(f"--family: got {name!r}; {proposal} are: {', '.join(FAMILIES)}, and all.")
    if not families:
        raise Refused("--family: got no name; needed is at least one, such as --family low_pass.")
    return tuple(families)


def _check_measure(name: str) -> None:
    from percloss.measure import find

    spec = find(name).spec
    if spec.needs or spec.takes not in ("pair", "joint"):
        raise Refused(
            f"--match: got {name}, which takes {' and '.join((spec.takes, *spec.needs))}; needed is a measure of an "
            f"estimate and its reference, such as --match si_sdr=10."
        )


def _listed(inputs: Sequence[str]) -> list[tuple[Path, Path]]:
    """Each file and the name it gets, under the folder that it was found in."""
    from percloss.scoring.audio import EXTENSIONS, shown

    files: list[tuple[Path, Path]] = []
    for given in map(Path, inputs):
        if given.is_dir():
            inside = sorted(
                path for path in given.rglob("*") if path.suffix.lower() in EXTENSIONS and not path.is_dir()
            )
            if not inside:
                raise Refused(f"{shown(given)}: holds no audio; needed are files of {', '.join(sorted(EXTENSIONS))}.")
            files += [(path, path.relative_to(given).with_suffix(".wav")) for path in inside]
        else:
            files.append((given, Path(given.name).with_suffix(".wav")))
    taken: dict[Path, Path] = {}
    for path, name in files:
        if name in taken and taken[name] != path:
            raise Refused(
                f"{shown(path)}: would be written over {shown(taken[name])}; both are {shown(name)}; "
                f"spoil them one after the other, with another --out."
            )
        taken[name] = path
    return [(path, name) for name, path in taken.items()]


def _spoil(
    path: Path, name: Path, out: Path, wish: Wish, advance: Callable[[bool], None], *, debug: bool
) -> list[dict[str, Any]]:
    """Every version of one file, written with it at one level; a row for each family, with an error or without."""
    from percloss.errors import AudioFileError, PerclossError
    from percloss.scoring.audio import read, shown, write

    rows: list[dict[str, Any]] = []
    made: dict[str, tuple[Tensor, dict[str, Any]]] = {}

    def failed(family: str | None, error: Exception) -> None:
        if debug:
            raise error
        text = str(error)
        text = text if shown(path) in text else f"{shown(path)}: {text}"
        rows.append({"file": shown(path), "family": family, "out": None, "error": text})

    try:
        sound = read(path)
        wave = sound.wave
        if sound.nonfinite:
            raise AudioFileError(f"{shown(path)}: holds {sound.nonfinite} samples that are not finite; make it again.")
    except PerclossError as error:
        failed(None, error)
        for _ in wish.families:
            advance(False)
        return rows
    for family in wish.families:
        try:
            made[family] = _version(wave, sound.sample_rate, family, wish)
            advance(True)
        except PerclossError as error:
            failed(family, error)
            advance(False)
    if made:
        level = min(1.0, PEAK / max(float(x.abs().max()) for x in (wave, *(est for est, _ in made.values()))))
        versions = {REFERENCE: wave, **{family: est for family, (est, _) in made.items()}}
        for folder, x in versions.items():
            target = out / folder / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Refused(f"{shown(target.parent)}: cannot be written to ({error.strerror}).") from error
            write(target, level * x, sound.sample_rate)
        for family, (_, reached) in made.items():
            level_db = 20 * math.log10(level)
            place = {"file": shown(path), "family": family, "out": shown(out / family / name)}
            rows.append({**place, **reached, "level_db": level_db, "error": None})
    return rows


def _version(wave: "Tensor", sample_rate: int, family: str, wish: Wish) -> "tuple[Tensor, dict[str, Any]]":
    """One version, and what was reached in each channel."""
    import torch

    from percloss.degrade import degrade as spoil
    from percloss.degrade import match
    from percloss.measure import create

    def plain(values: "Tensor") -> list[float | None]:
        return [value if math.isfinite(value) else None for value in values.flatten().tolist()]

    if wish.by_ratio:
        est = spoil(wave, sample_rate, family, snr_db=wish.target, seed=wish.seed)
        with torch.inference_mode():
            return est, {"reached": plain(create("snr")(est, wave)), "strength": None, "scale_db": None}
    found = match(wave, sample_rate, family, _judge(wish.measure, sample_rate), wish.target, seed=wish.seed)
    how = {"strength": plain(found.strength), "scale_db": plain(found.scale_db)}
    return found.wave, {"reached": plain(found.reached), **how}


def _judge(name: str, sample_rate: int) -> "Measure":
    """A measure at the rate of a file, which hears it resampled where it is not defined there."""
    from percloss.measure import create, find
    from percloss.wrappers import Resampled

    rates = find(name).spec.sample_rates
    if rates is None or sample_rate in rates:
        return create(name, sample_rate=sample_rate)
    return Resampled(create(name, sample_rate=max(rates)), sample_rate=sample_rate)


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[bool], None]]:
    """How far it is, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from percloss.cli.terminal import console, plain

    if quiet or total < 2 or plain(sys.stderr):
        yield lambda ok: None
        return
    failed = 0
    columns = (MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[bad]}"))
    with Progress(TextColumn("spoiling"), BarColumn(), *columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=total, bad="")

        def advance(ok: bool) -> None:
            nonlocal failed
            failed += not ok
            bar.update(task, advance=1, bad=f"{failed} failed" if failed else "")

        yield advance


def _print(rows: Sequence[dict[str, Any]], wish: Wish) -> None:
    from percloss.cli.terminal import console, table

    written = [row for row in rows if row["error"] is None]
    if not written:
        return
    shown = table("family", (wish.measure, "right"), "file")
    for row in written:
        values = [value for value in row["reached"] if value is not None]
        shown.add_row(row["family"], ", ".join(f"{value:.4f}" for value in values) or "–", row["out"])
    console().print(shown, soft_wrap=True)
