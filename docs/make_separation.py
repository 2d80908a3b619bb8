"""Write docs/separation.md from benchmarks/results/parity/bss_extremes--cpu.json.

python -m docs.make_separation
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS
from docs.markdown import table

FIGURES = RESULTS / "parity" / "bss_extremes--cpu.json"
PAGE = Path(__file__).resolve().parent / "separation.md"

# Cases of the benchmark as headings.
HEADINGS = {
    "identical": "est is ref",
    "40 dB": "40 dB",
    "60 dB": "60 dB",
    "80 dB": "80 dB",
    "100 dB": "100 dB",
    "17.24 dB at 1e-4 of its level": "17.24 dB at 1e-4 of its level",
    "silent target": "silent reference",
    "silent estimate": "silent estimate",
    "turned in polarity": "17.24 dB, polarity turned",
}

# What comes of input that asks for no number, or for much.
INPUTS = {
    "a silent reference": (
        "no value. In BSS Eval no source of that frame has one, as in museval; other frames keep theirs."
    ),
    "a silent estimate": "BSS Eval, PESQ: no value. `sdr`, `si_sdr`: −140 dB, with zero gradient. `stoi`, `estoi`: 0.",
    "est is ref": "the best value; of ratios the cap, 140 dB, with zero gradient.",
    "one sample that is not finite": "its item has no value.",
    "0.2 s": (
        "BSS Eval, `sdr`: a value, from as many samples on as filters have taps, and `ShapeError` below; SAR is too "
        "high then, since filters explain much of little. `stoi`, `estoi`: none below 0.4 s of speech. `pesq_nb`, "
        "`pesq_wb`: none below 0.25 s, where `pesq_like` says `ShapeError`. `visqol_speech`: none below 0.64 s. "
        "`dnsmos_*` repeat the clip until it is long enough."
    ),
    "25 minutes": (
        "BSS Eval, `sdr`: scored in blocks, in less memory than the signals take. `stoi`, `estoi`: scored, in a memory "
        "of six times both signals. `pesq_nb`, `pesq_wb`: the code of ITU holds 50 utterances; beyond, its value "
        "is wrong or there is none: score excerpts."
    ),
    "stereo channels of which one is a multiple of the other": "they count once: the score of one of them.",
    "more estimates than references": "`ShapeError`: leave out what has no reference.",
    "sources in another order": (
        "low SIR. `bss_eval(permutation=True)` finds the order and returns it; for any measure of pairs "
        "`PermutationInvariant` does."
    ),
    "a rate that PESQ is not defined at": "`SampleRateError`, with the line that resamples.",
}

HEAD = """\
<!-- Written by docs/make_separation.py: change that, and run python -m docs.make_separation -->

# Separated sources

`percloss.functional.bss_eval` splits the error of a separated source into what a filter undoes (ISR), what leaked from
other sources (SIR) and the rest (SAR), in frames as museval has it or over the whole; `bss_sdr`, `bss_isr`, `bss_sir`
and `bss_sar` are its measures, `sdr` the ratio of single pairs that forgives a filter of 512 taps, and `si_sdr` the one
that forgives a gain.

```python
>>> import torch
>>> from percloss.functional import bss_eval
>>> ref = torch.randn(1, 2, 1, 16_000, generator=torch.Generator().manual_seed(0))
>>> scores = bss_eval(ref + 0.1 * ref.flip(1), ref)
>>> scores.sir.round()
tensor([[[20.],
         [20.]]])
>>> scores.info.why()  # doctest: +ELLIPSIS
'solved by levinson, condition ...'
```

## Where a ratio gets lost

High ratios, low levels and silence, in float32 unless the name says otherwise. Each number is of the first of two items
in a batch; the other is always the same pair at {base}, and † marks where it lost its value to the first. What the
ratio was made to be stands on top. One with a filter lies 0.07 dB above it, since 512 taps explain a little of the
noise of two seconds.

{table}

Two talkers, two seconds at 16 kHz, with {packages}.
`python benchmarks/parity/bss_extremes.py` makes the numbers. 140 dB is percloss's cap, either way: what museval writes
as infinity.

How it comes: everything is computed in float64 from the estimate less its source, whatever type comes in, so that no
number is the small difference of two large ones; and where float64 itself would not do, from the residual signal.

## What comes of bad input

An item without a value is nan in its place and says why (`scores.info.why(item, frame)`, `measure.reason(est, ref)`).
It never changes its neighbours.

{inputs}
"""


def page() -> str:
    """The whole page."""
    found = json.loads(FIGURES.read_text(encoding="utf-8"))
    versions = {name: version for name, version in found["versions"].items() if name not in ("percloss", "torch")}
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    base = next(row["truth"] for row in found["rows"] if row["case"].startswith("17.24"))
    outcomes = table(["input", "what comes of it"], [list(pair) for pair in INPUTS.items()])
    return HEAD.format(table=_said(found["rows"]), packages=packages, base=f"{base} dB", inputs=outcomes)


def _said(rows: list[dict[str, Any]]) -> str:
    """A line for each contender."""
    contenders = [name for name in rows[0] if name not in ("case", "truth")]
    truth = ["*what is true*", *(f"*{_number(row['truth'])}*" for row in rows)]
    lines = [[_bold(name), *(_bold(_cell(row[name]), name) for row in rows)] for name in contenders]
    return table(["", *(HEADINGS[row["case"]] for row in rows)], [truth, *lines])


def _cell(said: str) -> str:
    """What was said of the first item; an error took both."""
    first, _, other = said.partition(" | ")
    shown = _number(first).replace("nan", "no value").removeprefix("_")
    return shown if other else f"{shown} †"


def _number(text: str) -> str:
    return text.replace("-", "−").replace("inf", "∞")


def _bold(text: str, contender: str | None = None) -> str:
    return f"**{text}**" if (contender or text).startswith("percloss") else text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
