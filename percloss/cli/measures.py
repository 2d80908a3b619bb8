"""What is said of a measure by ``percloss list``, ``percloss info`` and ``percloss cite``."""

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from importlib import resources
from importlib.util import find_spec
from typing import Any

from percloss.cli.terminal import console, table
from percloss.errors import ArgumentError, PerclossError
from percloss.evaluation import signature
from percloss.measure import Measure, create, find
from percloss.scoring.engine import Recipe
from percloss.spec import INVARIANCES, SHAPES, Spec

__all__ = ["bibtex", "claims", "families", "page", "print_families"]

# A path, a signature or a line to type is not to be cut.
_WHOLE: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def families() -> dict[str, list[type[Measure]]]:
    """All measures by the file they are in."""
    found: dict[str, list[type[Measure]]] = {}
    for measure in map(find, Recipe(every=True).names):
        found.setdefault(_family(measure), []).append(measure)
    return found


def _family(measure: type[Measure]) -> str:
    return measure.__module__.rpartition(".")[2]


def claims(measure: type[Measure]) -> dict[str, Any]:
    """What a Spec says, as plain values."""
    spec = measure.spec
    return {
        "name": spec.name,
        "title": spec.title,
        "family": _family(measure),
        "unit": spec.unit,
        "better": spec.better,
        "bounds": [bound if abs(bound) < float("inf") else None for bound in spec.bounds],
        "perfect": spec.perfect,
        "takes": spec.takes,
        "needs": list(spec.needs),
        "sample_rates": None if spec.sample_rates is None else sorted(spec.sample_rates),
        "gradient": spec.differentiable,
        "invariant_to": sorted(spec.invariant_to),
        "extra": spec.extra,
        "installed": _installed(spec),
        "cite": list(spec.cite),
    }


def print_families() -> None:
    """The catalogue as a table."""
    out = console()
    rows = table("measure", "", "unit", ("range", "right"), "rates [Hz]", "gradient", "extra")
    for family, measures in families().items():
        rows.add_row(family, style="bold")
        for spec in (measure.spec for measure in measures):
            extra = f"{spec.extra}{'' if _installed(spec) else ' (missing)'}" if spec.extra else ""
            needs = "".join(f"--{need}" for need in spec.needs)
            gradient = "yes" if spec.differentiable else "no"
            cells = (spec.arrow, _unit(spec), _range(spec), spec.rates(), gradient, extra or needs)
            rows.add_row(f"  {spec.name}", *cells)
    out.print(rows)
    out.print("\npercloss info NAME says what one is; percloss score -m NAME,NAME takes them.", style="dim")


def page(measure: type[Measure]) -> str:
    """All about a measure."""
    spec, defined = measure.spec, measure.spec.silent_reference == "defined"
    rows = {
        "unit": _unit(spec),
        "better": f"{spec.better} {spec.arrow}",
        "range": _range(spec),
        "perfect": _perfect(spec),
        "takes": " -> ".join(SHAPES[spec.takes]) + "".join(f", {need}=" for need in spec.needs),
        "sample rates": f"{spec.rates()}{'' if spec.sample_rates is None else ' Hz'}",
        "gradient": "yes" if spec.differentiable else "no",
        "ignores": "; ".join(f"{each} ({INVARIANCES[each]})" for each in sorted(spec.invariant_to)) or "-",
        "hears": ", ".join(sorted(spec.changes.keys() - spec.invariant_to)) or "-",
        f"silent {'est' if spec.alone else 'ref'}": "has a value" if defined else "has no value (nan)",
        "computed by": spec.implementation or "percloss",
        "extra": _extra(spec),
        "settings": ", ".join(_settings(measure)) or "none",
        "source": _source(measure),
        "signature": _signature(measure),
        "cite": f"{', '.join(spec.cite) or '-'}{f'  (percloss cite {spec.name})' if spec.cite else ''}",
    }
    width = max(40, min(100, shutil.get_terminal_size((100, 24)).columns))
    lines = (
        textwrap.fill(value, width, initial_indent=f"{key:<14}", subsequent_indent=" " * 14, **_WHOLE)
        for key, value in rows.items()
    )
    return "\n".join([f"{spec.name}: {spec.title}", "", _words(inspect.getdoc(measure) or ""), "", *lines])


def bibtex(measures: Sequence[type[Measure]]) -> str:
    """The entries that measures cite, each once.

    Raises:
        ArgumentError: One is not in references.bib.
    """
    wanted = {key: measure.spec.name for measure in measures for key in measure.spec.cite}
    entries = dict(_entries((resources.files("percloss") / "references.bib").read_text(encoding="utf-8")))
    for key, name in wanted.items():
        if key not in entries:
            raise ArgumentError(f"cite: {name} cites {key}, which references.bib does not hold.")
    return "\n\n".join(entries[key] for key in wanted)


def _entries(bibliography: str) -> Iterator[tuple[str, str]]:
    """Entries by key; each begins at the start of a line."""
    for entry in re.split(r"\n(?=@)", bibliography):
        if match := re.match(r"@\w+\{([^,\s]+),", entry):
            yield match[1], entry.strip()


def _unit(spec: Spec) -> str:
    return "-" if spec.unit == "1" else spec.unit


def _range(spec: Spec) -> str:
    low, high = (f"{bound:g}".replace("inf", "∞") for bound in spec.bounds)
    return f"{low} to {high}"


def _perfect(spec: Spec) -> str:
    if spec.alone:
        return "-, it takes no reference"
    return "depends on the signal" if spec.perfect is None else f"{spec.perfect:g}"


def _extra(spec: Spec) -> str:
    if spec.extra is None:
        return "none"
    return (
        f'{spec.extra} ({"installed" if _installed(spec) else "not installed"}; pip install "percloss[{spec.extra}]")'
    )


def _installed(spec: Spec) -> bool:
    """Whether what computes it can be imported; asked without importing it."""
    return spec.implementation is None or find_spec(spec.implementation) is not None


def _settings(measure: type[Measure]) -> Iterator[str]:
    for name, parameter in inspect.signature(measure).parameters.items():
        yield name if parameter.default is parameter.empty else f"{name}={parameter.default!r}"


def _source(measure: type[Measure]) -> str:
    try:
        return f"{inspect.getsourcefile(measure)}:{inspect.getsourcelines(measure)[1]}"
    except (OSError, TypeError):
        return measure.__module__


def _signature(measure: type[Measure]) -> str:
    rate = max(measure.spec.sample_rates or {44_100})
    try:
        return signature(create(measure.spec.name, sample_rate=rate), rate)
    except PerclossError as error:
        return f"none: {error}"


def _words(docstring: str) -> str:
    """A docstring without the marks that are for the web pages."""
    text = re.sub(r":\w+:`([^`]*)`", r"\1", docstring)
    text = re.sub(r"^ *\.\. math::\s*", "    ", text, flags=re.MULTILINE)
    return text.replace("``", "").replace("]_", "]")
