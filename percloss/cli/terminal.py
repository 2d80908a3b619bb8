"""What a person sees: consoles that keep NO_COLOR, and results as tables that fit the window."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from percloss.measure import find
from percloss.scoring.document import Document
from percloss.scoring.page import figures

__all__ = ["blocks_of", "broken", "console", "plain", "print_comparison", "print_results", "table"]

_GAP = 2
_LABEL = 36
_HEAD = 9


def plain(stream: TextIO) -> bool:
    """Whether a stream is to get no escape sequence of any kind."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb" or not stream.isatty()


def console(stream: TextIO | None = None) -> Console:
    """A console as wide as the window, without markup or highlighting of its own."""
    stream = stream or sys.stdout
    bare = plain(stream)
    return Console(
        file=stream,
        force_terminal=not bare,
        color_system=None if bare else "standard",
        width=shutil.get_terminal_size((100, 24)).columns,
        highlight=False,
        markup=False,
        emoji=False,
    )


def table(*heads: Any) -> Table:
    """An open table; a head that is a pair is a head and how its column is justified."""
    # The box itself puts one space between columns.
    padding = (0, _GAP - 1, 0, 0)
    found = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=padding, header_style="bold")
    for head in heads:
        text, justify = head if isinstance(head, tuple) else (head, "left")
        found.add_column(text, justify=justify, no_wrap=True, vertical="bottom")
    return found


def print_results(found: Document) -> None:
    """The scores of each file, and the means where there is more than one."""
    out = console()
    names = list(found["summary"])
    scored = [file for file in found["files"] if file["error"] is None]
    if len(found["files"]) == 1 and scored:
        _print_one(out, scored[0], names)
    elif scored:
        _print_files(out, found["files"], names)
    if groups := _grouped(found):
        _print_means(out, groups, names)
    if found["groups"] is not None:
        _print_groups(out, found["groups"], names)
    _print_signatures(out, found["signatures"])


def _print_one(out: Console, file: Mapping[str, Any], names: Sequence[str]) -> None:
    channels = {1: "mono", 2: "stereo"}.get(file["channels"], f"{file['channels']} channels")
    against = f"  against  {file['ref']}" if file["ref"] else ""
    out.print(f"{file['est']}{against}", style="bold", soft_wrap=True)
    out.print(f"{file['sample_rate']} Hz, {channels}, {file['seconds']:.2f} s\n", style="dim")
    rows = table("measure", ("value", "right"), "", "")
    for name in names:
        value = file["scores"][name]
        rows.add_row(name, *figures([value]), find(name).spec.head, _dim(find(name).spec.title))
    out.print(rows)


def _print_files(out: Console, files: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    count = len({file["system"] for file in files})
    several = 1 < count < len(files)
    systems = [_short(file["system"]) for file in files] if several else []
    labels = [_short(file["system" if 1 < count == len(files) else "name"]) for file in files]
    columns = {name: figures(file["scores"][name] for file in files) for name in names}
    heads = {name: (*broken(name), find(name).spec.head) for name in names}
    widths = {name: max(map(len, [*heads[name], *columns[name]])) + _GAP for name in names}
    left = sum(max(map(len, [*part, "estimate"])) + _GAP for part in (systems, labels) if part)
    for block in blocks_of(widths, out.width - left):
        rows = table(*(["system"] if several else []), "estimate")
        for name in block:
            head = Text.assemble("\n".join(heads[name][:-1]), "\n", (heads[name][-1], "dim not bold"))
            rows.add_column(head, justify="right", no_wrap=True, vertical="bottom")
        for index, file in enumerate(files):
            values = [columns[name][index] for name in block]
            if file["error"] is not None:
                values[0] = "failed"
            label = [systems[index]] if several else []
            rows.add_row(*label, labels[index], *values, style="red" if file["error"] is not None else None)
        if block[0] != names[0]:
            out.print()
        out.print(rows)


def blocks_of(widths: Mapping[str, int], room: int) -> list[list[str]]:
    """Columns in as many tables as it takes to fit the window."""
    blocks: list[list[str]] = []
    used = room + 1
    for name, width in widths.items():
        if used + width > room:
            blocks.append([])
            used = 0
        blocks[-1].append(name)
        used += width
    return blocks


def broken(name: str) -> list[str]:
    """A long name on several lines."""
    lines = [""]
    for part in name.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1] + part) > _HEAD:
            lines.append("")
        lines[-1] += part
    return lines


def _short(text: str) -> str:
    return text if len(text) <= _LABEL else "…" + text[1 - _LABEL :]


def _grouped(found: Document) -> list[tuple[str, Mapping[str, Any]]]:
    """Means by system, and by stem within it; none where no group has two files."""
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for system, own in found["systems"].items():
        rows.append((_short(system), own["summary"]))
        rows.extend((_short(f"{system} · {stem}"), summary) for stem, summary in own["stems"].items())
    most = max((one["n"] for _, summary in rows for one in summary.values()), default=0)
    return rows if most > 1 else []


def _print_means(out: Console, rows: Sequence[tuple[str, Mapping[str, Any]]], names: Sequence[str]) -> None:
    alone = len(rows) == 1
    numbered = [(head, "right") for head in ("mean", "95 % interval", "files")]
    means = table("measure", "", *([] if alone else ["system"]), *numbered)
    for name in names:
        kept = [(label, summary[name]) for label, summary in rows]
        numbers = iter(figures(x for _, one in kept for x in (one["mean"], *(one["ci95"] or (None, None)))))
        for index, (label, one) in enumerate(kept):
            mean, low, high = next(numbers), next(numbers), next(numbers)
            interval = f"{low} to {high}" if one["ci95"] else "–"
            first = [name, find(name).spec.head] if index == 0 else ["", ""]
            means.add_row(*first, *([] if alone else [label]), mean, interval, str(one["n"]))
    out.print()
    out.print(means)
    if any(one["n"] and not one["ci95"] for _, summary in rows for one in summary.values()):
        out.print("An interval takes three files or more.", style="dim")


def _print_groups(out: Console, groups: Mapping[str, Any], names: Sequence[str]) -> None:
    several = len(groups["systems"]) > 1
    numbered = [(head, "right") for head in ("mean", "median", "95 % interval", "files")]
    rows = table("measure", "", *(["system"] if several else []), groups["by"], *numbered)
    for name in names:
        first = [name, find(name).spec.head]
        for system, own in groups["systems"].items():
            label = [_short(system)] if several else []
            for group, one in [
                *((group, own["each"][group][name]) for group in own["each"]),
                ("all", own["all"][name]),
            ]:
                mean, median, low, high = figures((one["mean"], one["median"], *(one["ci95"] or (None, None))))
                interval = f"{low} to {high}" if one["ci95"] else "–"
                rows.add_row(*first, *label, _short(group) or "–", mean, median, interval, str(one["n"]))
                first, label = ["", ""], [""] * several
    out.print()
    out.print(rows)
    out.print(
        "The interval of all resamples whole groups, of which it takes six; that of a group its files.", style="dim"
    )


def print_comparison(found: Document) -> None:
    """A row a measure, and what could not be told, in words."""
    out = console()
    a, b = found["systems"]["a"], found["systems"]["b"]
    out.print(f"A: {a}\nB: {b}", style="bold", soft_wrap=True)
    out.print(f"{found['items']} items, {len(found['comparisons'])} measures\n", style="dim")
    heads = ["measure", "", "A", "B", "B - A", "95 % interval", "p", "better"]
    lines = [_compared(one) for one in found["comparisons"]]
    widths = [max(map(len, column)) + _GAP for column in zip(heads, *lines, strict=True)]
    # Where the window is narrow, the means go: their difference says who is better.
    shown = [at for at in range(len(heads)) if sum(widths) <= out.width or heads[at] not in ("A", "B")]
    rows = table(*((heads[at], "right" if 1 < at < len(heads) - 1 else "left") for at in shown))
    for one, line in zip(found["comparisons"], lines, strict=True):
        rows.add_row(*(line[at] for at in shown), style="bold" if one["winner"] else None)
    out.print(rows)
    out.print()
    sentences: dict[str, list[str]] = {}
    for one in found["comparisons"]:
        if one["winner"] is None:
            sentences.setdefault(one["verdict"], []).append(one["measure"])
    for verdict, names in sentences.items():
        out.print(f"{', '.join(names)}: {verdict}")
    if found["groups"] is not None:
        out.print(f"Items of one group, by {found['groups']['by']}, count as one.", style="dim")
    out.print("p of sign-flips, by Holm for all measures asked; interval for each alone.", style="dim")
    _print_signatures(out, found["signatures"])


def _compared(one: Mapping[str, Any]) -> list[str]:
    a, b, difference, low, high = figures((one["a"], one["b"], one["difference"], *(one["ci95"] or (None, None))))
    p = "–" if one["p_holm"] is None else "<0.001" if one["p_holm"] < 1e-3 else f"{one['p_holm']:.3f}"
    better = one["winner"].upper() if one["winner"] else "?"
    interval = f"{low} to {high}" if one["ci95"] else "–"
    return [one["measure"], find(one["measure"]).spec.head, a, b, difference, interval, p, better]


def _print_signatures(out: Console, signatures: Mapping[str, str]) -> None:
    tails: dict[str, list[str]] = {}
    for name, signature in signatures.items():
        tails.setdefault(signature.removeprefix(name), []).append(name)
    if tails:
        out.print()
    for tail, names in tails.items():
        out.print(f"{','.join(names)}{tail}", style="dim", soft_wrap=True)


def _dim(text: str) -> Any:
    return Text(text, style="dim")
