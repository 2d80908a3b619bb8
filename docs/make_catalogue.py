"""Write docs/catalogue.md from the Specs.

python -m docs.make_catalogue
"""

import re
import textwrap
from pathlib import Path

from docs.bibliography import Source, sources
from docs.markdown import table
from percloss.measure import find
from percloss.measures import TABLE
from percloss.spec import INVARIANCES, SHAPES, Spec

PAGE = Path(__file__).resolve().parent / "catalogue.md"

HEAD = """\
<!-- Written by docs/make_catalogue.py from the Specs: change those, and run python -m docs.make_catalogue -->

# Catalogue

What each measure claims about itself. Every claim is tested, in both directions where it has two: a measure that is not
said to be deaf to a change has been seen to hear it. `percloss info NAME` prints the same.

{overview}

**Range** is what the value can be, **perfect** what it is where the estimate is the reference. **Any** rate means that
the measure is defined at every sample rate; some take it as an argument. A measure with a **gradient** can be a loss.

The **pictures** show what a measure says of one sentence, spoilt in seven ways: by noise, a low-pass, reverberation
that smears it, jitter of its phase, clipping, a lower gain and a delay, always by an error of the same energy. What
lies high for one and low for another is what they disagree about; a line that stays where it began is what the measure
does not hear. `python -m docs.make_cards` makes the numbers.
"""


def page() -> str:
    """The whole page."""
    specs = [find(name).spec for name in TABLE]
    known = sources()
    rows = [
        [
            f"[`{spec.name}`](#{spec.name})",
            spec.title,
            _unit(spec),
            f"{spec.better}\N{NO-BREAK SPACE}{spec.arrow}",
            _range(spec),
            _perfect(spec),
            spec.rates(),
            _yes(spec.differentiable),
        ]
        for spec in specs
    ]
    titles = ["name", "title", "unit", "better", "range", "perfect", "rate [Hz]", "gradient"]
    return "\n".join([HEAD.format(overview=table(titles, rows)), *(_section(spec, known) for spec in specs)])


def _section(spec: Spec, known: dict[str, Source]) -> str:
    takes, returns = SHAPES[spec.takes]
    module, _, name = TABLE[spec.name].partition(":")
    deaf = [INVARIANCES[key] for key in INVARIANCES if key in spec.invariant_to]
    facts = {
        "class": f"[`percloss.{name}`](api.md), in `{module}`",
        "unit": _unit(spec),
        "better": f"{spec.better}\N{NO-BREAK SPACE}{spec.arrow}",
        "range": _range(spec),
        "perfect": _perfect(spec),
        "takes": f"`{spec.takes}`: `{takes}`, returns `{returns}`",
        "needs": ", ".join(["est", *["ref"] * (not spec.alone), *(f"`{need}=`" for need in spec.needs)]),
        "rate": f"{spec.rates()} Hz" if spec.sample_rates else "any",
        "gradient": _yes(spec.differentiable),
        "`torch.compile`": _yes(spec.compiles),
        f"silent {'estimate' if spec.alone else 'reference'}": "no value (nan)"
        if spec.silent_reference == "undefined"
        else "has a value",
        "does not hear": "; ".join(deaf) or "hears every change that is tried",
        "install": f'`pip install "percloss[{spec.extra}]"`' if spec.extra else "nothing more",
        "computed by": f"the package `{spec.implementation}`" if spec.implementation else "percloss",
        "source": ", ".join(f"[{known[key].short}](references.md#{key})" for key in spec.cite),
    }
    claims = table(["", ""], [list(fact) for fact in facts.items()])
    parts = [f"## {spec.name}", f"{spec.title}.", *_equation(spec), claims, *_picture(spec)]
    return "\n\n".join(parts) + "\n"


def _equation(spec: Spec) -> list[str]:
    """The first formula of the docstring."""
    found = re.search(r"^ *\.\. math::(.*?)\n *\n", find(spec.name).__doc__ or "", re.DOTALL | re.MULTILINE)
    return [f"```{{math}}\n{textwrap.dedent(found[1]).strip()}\n```"] if found else []


def _picture(spec: Spec) -> list[str]:
    if spec.takes != "pair":
        return []
    alt = f"Values of {spec.name} as a sentence is spoilt more and more in seven ways"
    return [f"![{alt}](_cards/{spec.name}.svg)"]


def _unit(spec: Spec) -> str:
    return "none" if spec.unit == "1" else spec.unit


def _range(spec: Spec) -> str:
    return "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}".join(_number(bound) for bound in spec.bounds)


def _perfect(spec: Spec) -> str:
    return "varies" if spec.perfect is None else _number(spec.perfect)


def _number(value: float) -> str:
    return f"{value:g}".replace("inf", "∞").replace("-", "−")


def _yes(claim: bool) -> str:
    return "yes" if claim else "no"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
