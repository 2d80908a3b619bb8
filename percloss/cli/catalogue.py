"""``percloss list``, ``info`` and ``cite``: the commands; what they say is in ``percloss.cli.measures``."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from percloss.cli import emit


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with every claim.")
def list_(as_json: bool) -> None:
    """List the measures, family by family."""
    from percloss.cli.measures import claims, families, print_families

    if sys.stdout.isatty() and not as_json:
        print_families()
        return
    rows = [claims(measure) for family in families().values() for measure in family]
    if as_json:
        emit(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return
    for cells in [list(rows[0]), *(list(row.values()) for row in rows)]:
        emit("\t".join(map(_cell, cells)) + "\n")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_cell, value))
    return "" if value is None else str(value)


@click.command()
@click.argument("name")
def info(name: str) -> None:
    """Say what the measure NAME is: claims, equation, settings, source, signature."""
    from percloss.cli.measures import page
    from percloss.measure import find

    emit(page(find(name)) + "\n")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def cite(names: Sequence[str]) -> None:
    """Print the BibTeX of what the measures NAME are from."""
    from percloss.cli.measures import bibtex
    from percloss.measure import find

    emit(bibtex([find(name) for name in names]) + "\n")
