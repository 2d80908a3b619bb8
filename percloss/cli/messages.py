"""What is said on stderr about a run: what failed, what is missing, what would spoil a comparison."""

import sys
from collections.abc import Iterable, Mapping, Sequence

import click

from percloss.cli.terminal import plain
from percloss.scoring.audio import shown
from percloss.scoring.document import Document
from percloss.scoring.engine import Scored

__all__ = ["left_out", "report", "say"]

_COLOURS = {"error": "red", "failed": "red", "missing": "red", "warning": "yellow"}
_MOST = {"warning": 3, "error": 20}


def say(kind: str, text: str) -> None:
    """One line."""
    styled = kind if plain(sys.stderr) or kind not in _COLOURS else click.style(kind, fg=_COLOURS[kind], bold=True)
    click.echo(f"percloss: {styled}: {text}", err=True, color=True)


def report(found: Document, *, quiet: bool) -> None:
    """All that is to be said of a run besides its numbers."""
    files = found["files"]
    if not quiet:
        by_kind: dict[str, list[str]] = {}
        for file in files:
            for warning in file["warnings"]:
                by_kind.setdefault(warning["kind"], []).append(f"{file['est']}: {warning['message']}")
        for kind, messages in by_kind.items():
            _lines("warning", messages, f"files with this ({kind.replace('_', ' ')})")
    _lines("error", [file["error"] for file in files if file["error"] is not None], "files failed")
    failed = sum(file["error"] is not None for file in files)
    if failed:
        say("failed", f"{failed} of {len(files)}; {len(files) - failed} scored")
    for check in found.get("checks", []):
        if not check["passed"]:
            mean = "without a value" if check["mean"] is None else f"{check['mean']:.4g}"
            what = f"{check['measure']} of {check['system']}"
            say("failed", f"{what} is {mean}; required is {check['required']:g} or better")


def _lines(kind: str, messages: Sequence[str], rest: str) -> None:
    most = _MOST[kind]
    for message in messages[:most]:
        say(kind, message)
    if len(messages) > most:
        say(kind, f"and {len(messages) - most} more {rest}; --json names all of them")


def missing(results: Iterable[Scored]) -> None:
    """Scores that were to be and are not, by measure and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for scored in results:
        for name, why in scored.reasons.items():
            found.setdefault((name, why), []).append(shown(scored.pair.est or ""))
    for (name, why), files in _joined(found).items():
        say("missing", f"{name}: {why}: {_listed(files)}")


def left_out(results: Iterable[Scored]) -> None:
    """Measures that nobody asked for and that did not suit, in one line."""
    results = [scored for scored in results if scored.error is None]
    found: dict[tuple[str, str], list[str]] = {}
    for scored in results:
        for name, why in scored.left_out.items():
            found.setdefault((name, why), []).append(scored.pair.name)
    parts = []
    for (names, why), files in _joined(found).items():
        some = "" if len(files) == len(results) else f", in {len(files)} of {len(results)} files"
        parts.append(f"{names} ({why.partition('; ')[0].removesuffix('.')}{some})")
    if parts:
        say("left out", "; ".join(parts))


def _joined(found: Mapping[tuple[str, str], list[str]]) -> dict[tuple[str, str], list[str]]:
    """Measures that lack the same files for the same reason, as one."""
    names: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (name, why), files in found.items():
        names.setdefault((why, tuple(files)), []).append(name)
    return {(", ".join(group), why): list(files) for (why, files), group in names.items()}


def _listed(items: Sequence[str], most: int = 8) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
