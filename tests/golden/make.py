"""Make the golden values: what every measure of the catalogue says of a few fixed signals.

    python -m tests.golden.make

Writes ``measures.json`` beside this file, and prints every value that has moved by more than its tolerance. A value
that moves is a change of the number: it goes under "Numbers" in the changelog, before and after, with the reason.
"""

import datetime
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from percloss import catalogue, create
from percloss.dsp.resample import resample
from percloss.measure import find
from tests.signals import RATE, at_snr, noise, rate_of, speech

FILE = Path(__file__).with_name("measures.json")
PACKAGES = ["torch", "numpy", "scipy", "pesq", "pystoi"]
SECONDS = 2.5
# In float64 machines differ by the order of sums alone; PESQ's C code computes in float32 and decides by thresholds.
RELATIVE, ABSOLUTE, BY_PACKAGE = 1e-7, 1e-9, 1e-4


def low_pass(x: Tensor, hz: float) -> Tensor:
    """Without the bins above a frequency."""
    spectrum = torch.fft.rfft(x)
    kept = torch.arange(spectrum.shape[-1]) <= hz * x.shape[-1] / RATE
    return torch.fft.irfft(spectrum * kept, x.shape[-1])


# What is done to the reference: speech where it says so, else a second of white noise at -20 dB.
SIGNALS: dict[str, Callable[[Tensor], Tensor]] = {
    "white noise in white noise at 20 dB": lambda ref: at_snr(ref, 20, seed=11),
    "white noise a sample late": lambda ref: ref.roll(1, -1),
    "speech in white noise at 20 dB": lambda ref: at_snr(ref, 20, seed=12),
    "speech in white noise at 0 dB": lambda ref: at_snr(ref, 0, seed=13),
    "speech below 2 kHz": lambda ref: low_pass(ref, 2000),
    "speech clipped at a tenth of its peak": lambda ref: ref.clamp(-0.1 * ref.abs().max(), 0.1 * ref.abs().max()),
    "speech at half its level": lambda ref: 0.5 * ref,
}


def signals(name: str) -> dict[str, Tensor]:
    """Estimate, reference and mixture in float64 by the name of their row, (1, 1, time)."""
    white = 0.1 * noise(1, 1, RATE, seed=10, dtype=torch.float64)
    ref = speech(seconds=SECONDS).double() if name.startswith("speech") else white
    return {"est": SIGNALS[name](ref), "ref": ref, "mix": at_snr(ref, -3, seed=14)}


def measured(name: str) -> dict[str, float | None]:
    """What a measure, built with its defaults, says of every signal; None where it has no value."""
    rate = rate_of(find(name).spec)
    measure = create(name, sample_rate=rate)
    values: dict[str, float | None] = {}
    for row in SIGNALS:
        given = signals(row)
        mix = given.pop("mix")
        if measure.spec.takes == "sources":  # the second is what the first leaves of the mixture
            given = {role: torch.stack([x, mix - x], 1) for role, x in given.items()}
        elif measure.spec.takes == "alone":
            del given["ref"]
        others = {"mix": mix, "interferer": mix - signals(row)["ref"]}
        given |= {need: others[need] for need in measure.spec.needs}
        value = measure(**{role: resample(x, RATE, rate) for role, x in given.items()})
        values[row] = None if value.isnan().any() else value.mean().item()
    return values


def moved(name: str, now: float | None, golden: float | None) -> bool:
    """Whether a value differs by more than its tolerance."""
    if now is None or golden is None:
        return now is not golden
    differentiable = find(name).spec.differentiable
    return abs(now - golden) > (ABSOLUTE + RELATIVE * abs(golden) if differentiable else BY_PACKAGE)


def main() -> None:
    """Write the file, and say what has moved."""
    before = json.loads(FILE.read_text(encoding="utf-8"))["values"] if FILE.exists() else {}
    values = {name: measured(name) for name in catalogue()}
    for name, rows in values.items():
        for row, now in rows.items():
            golden = before.get(name, {}).get(row)
            if moved(name, now, golden):
                print(f"{name}, {row}: {golden} -> {now}")
    made = {
        "made": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "with": {package: version(package) for package in PACKAGES},
        "sample_rate": RATE,
        "values": values,
    }
    FILE.write_text(json.dumps(made, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
