"""Write docs/cards.json: what every measure says of one sentence, spoilt in seven ways by errors of equal energy.

    python -m docs.make_cards

The catalogue's pictures are drawn from it when the documentation is built.
"""

import json
import re
from pathlib import Path

from percloss import create
from percloss.data import clip
from percloss.degrade import FAMILIES, at_snr, degrade
from percloss.dsp.resample import resample
from percloss.measure import find
from percloss.measures import TABLE

FILE = Path(__file__).resolve().parent / "cards.json"
CLIP, SECONDS = "librivox_0870", 2.5
ARTEFACTS = ("white_noise", "low_pass", "reverberation", "phase_jitter", "clipping", "gain", "delay")
SNR_DB = (30, 25, 20, 15, 10, 5)


def shown() -> list[str]:
    """The measures that have a card: those that compare one signal with another."""
    return [name for name in TABLE if find(name).spec.takes == "pair"]


def responses(names: list[str]) -> dict[str, dict[str, list[float | None]]]:
    """Of each measure: its values by artefact, from little of it to much; None where it has no value."""
    ref, rate = clip(CLIP)
    ref = ref[..., : int(SECONDS * rate)].double()
    mix = ref + at_snr(FAMILIES["white_noise"].apply(ref, rate) - ref, ref, -3.0)
    found: dict[str, dict[str, list[float | None]]] = {name: {artefact: [] for artefact in ARTEFACTS} for name in names}
    built = {}
    for name in names:
        rates = find(name).spec.sample_rates
        built[name] = create(name, sample_rate=rate if rates is None or rate in rates else max(rates))
    for artefact in ARTEFACTS:
        for snr_db in SNR_DB:
            est = degrade(ref, rate, artefact, snr_db=snr_db)
            for name, measure in built.items():
                own = getattr(measure, "sample_rate", rate)
                needs = {need: {"mix": mix, "interferer": mix - ref}[need] for need in measure.spec.needs}
                given = {"est": est, "ref": ref, **needs}
                value = measure(**{role: resample(x, rate, own) for role, x in given.items()})
                found[name][artefact].append(None if value.isnan().any() else float(f"{value.mean():.5g}"))
    return found


def main() -> None:
    """Write the file."""
    made = {
        "clip": CLIP,
        "seconds": SECONDS,
        "snr_db": SNR_DB,
        "values": responses(shown()),
    }
    rows = re.sub(r"\[[^]]*\]", lambda found: re.sub(r"\s+", " ", found[0]), json.dumps(made, indent=1))
    FILE.write_text(rows + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
