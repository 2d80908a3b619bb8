"""Results as text and as files: TSV for a pipe; JSON, CSV, JSON lines, parquet, HTML, written whole or not at all."""

import csv
import io
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from percloss._files import replacing
from percloss._optional import require
from percloss.errors import ArgumentError
from percloss.scoring.audio import shown
from percloss.scoring.document import Document
from percloss.scoring.page import page

__all__ = ["COLUMNS", "FORMATS", "check_output", "json_text", "separated", "tsv", "write_output"]

Rows = Sequence[Mapping[str, Any]]

COLUMNS = {
    **dict.fromkeys(("system", "name", "stem", "group", "est", "ref", "mix", "measure"), "string"),
    "value": "float64",
    **dict.fromkeys(("unit", "better"), "string"),
    **dict.fromkeys(("sample_rate", "channels"), "int64"),
    **dict.fromkeys(("reason", "signature"), "string"),
}
"""Of a tidy table, one row a number, and their types."""


def json_text(value: object, *, indent: int | None = 2) -> str:
    """Strict JSON: a number that is none is an error here, not a word that no other reader knows."""
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)


def tsv(found: Document) -> str:
    """A row a file, a column a measure, numbers in full; or a row a group and measure, where there are groups."""
    if found["groups"] is not None:
        return separated(_GROUPS, list(_group_rows(found["groups"])), "\t")
    names = list(found["summary"])
    rows = [
        [file["est"], file["ref"], file["system"], file["stem"], *(file["scores"][name] for name in names), _why(file)]
        for file in found["files"]
    ]
    return separated(["est", "ref", "system", "stem", *names, "error"], rows, "\t")


_GROUPS = ("system", "group", "measure", "n", "mean", "median", "ci95_low", "ci95_high")


def _group_rows(groups: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    for system, own in groups["systems"].items():
        for group, summaries in [*own["each"].items(), ("(all)", own["all"])]:
            for name, one in summaries.items():
                yield system, group, name, one["n"], one["mean"], one["median"], *(one["ci95"] or (None, None))


def _why(file: Mapping[str, Any]) -> str | None:
    reasons = "; ".join(f"{name}: {why}" for name, why in file["reasons"].items())
    return file["error"] or reasons or None


def separated(head: Sequence[str], rows: Sequence[Sequence[Any]], delimiter: str) -> str:
    """A table as text."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def _csv(found: Document, rows: Rows) -> bytes:
    return separated(list(COLUMNS), [[row[name] for name in COLUMNS] for row in rows], ",").encode()


def _jsonl(found: Document, rows: Rows) -> bytes:
    return "".join(json_text(row, indent=None) + "\n" for row in rows).encode()


def _json(found: Document, rows: Rows) -> bytes:
    return (json_text(found) + "\n").encode()


def _html(found: Document, rows: Rows) -> bytes:
    return page(found).encode()


def _parquet(found: Document, rows: Rows) -> bytes:
    arrow, parquet = require("pyarrow", extra="table"), require("pyarrow.parquet", extra="table")
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    head = json_text({name: value for name, value in found.items() if name != "files"}, indent=None)
    table = arrow.Table.from_pylist(list(rows), schema=schema.with_metadata({"percloss": head}))
    sink = arrow.BufferOutputStream()
    parquet.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


FORMATS: dict[str, Callable[[Document, Rows], bytes]] = {
    ".csv": _csv,
    ".html": _html,
    ".json": _json,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
"""Suffix of an output file, and what makes its content."""


def check_output(path: Path, formats: Collection[str] = FORMATS) -> None:
    """See, before anything is scored, that an output can be written.

    Args:
        path: Of the output.
        formats: Suffixes that it may have.

    Raises:
        ArgumentError: It cannot.
        MissingExtraError: A package that writes it is not installed.
    """
    name = shown(str(path))
    if path.suffix.lower() not in formats:
        raise ArgumentError(f"-o: got {name}; needed is a name that ends in {', '.join(formats)}.")
    if not path.parent.is_dir():
        raise ArgumentError(f"-o: got {name}; there is no folder {shown(str(path.parent))}; make it first.")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ArgumentError(f"-o: got {name}; it {'is a folder' if path.is_dir() else 'may not be written there'}.")
    if path.suffix.lower() == ".parquet":
        require("pyarrow", extra="table")


def write_output(path: Path, content: bytes) -> None:
    """Write one output file, under another name first, so that it is there whole or not at all.

    Raises:
        ArgumentError: It cannot be written.
    """
    try:
        with replacing(path) as unfinished:
            unfinished.write_bytes(content)
    except OSError as error:
        raise ArgumentError(f"-o: {shown(str(path))} cannot be written ({error.strerror}).") from error
