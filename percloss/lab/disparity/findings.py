"""What came of a run, as one document: scores of every clip, intervals, ranks, agreement, verdicts, versions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch

from percloss.lab.disparity.config import (
    BASELINE,
    CONTRASTS,
    LEVEL,
    LEVEL_ABOVE,
    LOSSES,
    Config,
    hypotheses,
    plain,
    versions,
)
from percloss.lab.disparity.run import Done
from percloss.lab.disparity.scoring import RATE, Held
from percloss.lab.disparity.statistics import (
    Answer,
    Tau,
    agreement,
    answer,
    gain,
    interval,
    mean,
    ranked,
    taus,
)
from percloss.measure import find
from percloss.spec import Spec
from percloss.uncertainty import Values, paired

__all__ = ["MODELS_NOT_PEOPLE", "TABLE_ONE", "Findings", "key_measures"]

MODELS_NOT_PEOPLE = (
    "PESQ and ViSQOL are models of listeners, not people: nobody has listened to these networks. Where measures "
    "disagree, this says that they do, not which of them is right."
)
TABLE_ONE = ("sdr", "mse", "bss_sir")
"""The objective columns of the seed paper: SDR, MSE, SIR."""

# Of one file or several.
_ARTEFACTS = "percloss.measures.artefacts"
_LEVELS = {
    LEVEL: Spec(
        name=LEVEL, title="Level relative to the reference", unit="dB", better="higher", bounds=(-140, 140), perfect=0.0
    ),
    LEVEL_ABOVE: Spec(
        name=LEVEL_ABOVE,
        title="Level above 4 kHz relative to the reference's",
        unit="dB",
        better="higher",
        bounds=(-140, 140),
        perfect=0.0,
    ),
}


def key_measures(pesq: str) -> tuple[str, ...]:
    """Of the short tables: SI-SDR and those of the paper, those that model hearing, and spectra."""
    heard = (pesq, "visqol_speech", "stoi", "nmr", "compressive_nmr")
    return ("si_sdr", *TABLE_ONE, "bss_sar", *heard, "multi_scale_mel", "lsd")


class Findings:
    """Everything that can be said of the results of a run.

    Args:
        config: Of the run.
        done: Its results.
        held: The mixtures.
        left_out: Measures that were not taken, and why.
    """

    def __init__(self, config: Config, done: Iterable[Done], held: Held, left_out: Mapping[str, str]) -> None:
        self.config, self.held, self.left_out = config, held, dict(left_out)
        self.done = list(done)
        self.specs = {name: find(name).spec for name in config.measures} | _LEVELS
        # Of those that rank; what tells one quality of the sound has a table of its own.
        self.signs = {name: spec.sign for name, spec in self.specs.items() if spec.ranks}

    @property
    def failures(self) -> dict[str, str]:
        """What failed, and why."""
        return {each.task.title: each.error for each in self.done if each.error is not None}

    def results(self, kind: str) -> dict[tuple[str, int], Mapping[str, Any]]:
        """Of one kind of task, by name and seed; in the order of the losses, then the seeds."""
        found = {
            (each.task.name, each.task.seed): each.result
            for each in self.done
            if each.task.kind == kind and each.error is None
        }
        order = {name: at for at, name in enumerate(LOSSES)}
        return {key: found[key] for key in sorted(found, key=lambda key: (order.get(key[0], 0), key))}

    @cached_property
    def table(self) -> dict[str, dict[str, Values]]:
        """Values of the models, ``(seeds, clips)``; a seed that failed is a row of nan."""
        found = self.results("model")
        names = list(dict.fromkeys(name for name, _ in found))
        return {
            name: {
                measure: np.array([self._row(found.get((name, seed)), measure) for seed in self.config.seeds])
                for measure in self.specs
            }
            for name in names
        }

    @cached_property
    def unprocessed(self) -> dict[str, Values]:
        """Values of the mixtures as they are, ``(1, clips)``."""
        found = self.results("unprocessed").get(("unprocessed", 0))
        return {measure: np.array([self._row(found, measure)]) for measure in self.specs}

    @cached_property
    def masks(self) -> dict[str, dict[str, Values]]:
        """Values of the estimates without training, ``(1, clips)``."""
        count = self.config.budget.mask_clips
        return {
            name: {measure: np.array([self._row(result, measure, count)]) for measure in self.specs}
            for (name, _), result in self.results("mask").items()
        }

    @property
    def _ranking(self) -> list[str]:
        return [name for name in self.config.measures if name in self.signs]

    @cached_property
    def answers(self) -> list[Answer]:
        """To each hypothesis."""
        return [answer(each, self.table, self.signs) for each in hypotheses(self.config.pesq)]

    @cached_property
    def key(self) -> list[str]:
        """Measures of the short tables, as far as they were taken."""
        return [name for name in key_measures(self.config.pesq) if name in self.config.measures]

    @cached_property
    def artefacts(self) -> list[str]:
        """Measures of the catalogue that name one artefact each."""
        from percloss.measure import catalogue

        known = catalogue()
        return [name for name in self.config.measures if known.get(name, "").startswith(_ARTEFACTS)]

    @cached_property
    def first(self) -> dict[str, list[str]]:
        """Models from best to worst, by each measure; the two levels rank nobody."""
        return {name: list(ranked(self.table, name, self.signs[name])) for name in self._ranking}

    @cached_property
    def tau(self) -> dict[str, dict[str, float]]:
        """Kendall's tau of every two measures over the models."""
        return taus(self.table, {name: self.signs[name] for name in self._ranking})

    @cached_property
    def headline(self) -> dict[str, Tau]:
        """Tau of SI-SDR with the measures that are to speak for listeners."""
        others = [name for name in ("visqol_speech", self.config.pesq, "nmr", "sdr") if name in self.config.measures]
        known = "si_sdr" in self.config.measures
        return {other: agreement(self.table, "si_sdr", other, self.signs) for other in others if known}

    @cached_property
    def mask_tau(self) -> dict[str, float]:
        """Tau of SI-SDR with the same measures over the estimates without training."""
        if "si_sdr" not in self.config.measures:
            return {}
        found = taus(self.masks, {name: self.signs[name] for name in {"si_sdr", *self.headline}})["si_sdr"]
        return {name: found[name] for name in self.headline}

    def means(self, table: Mapping[str, Mapping[str, Values]]) -> dict[str, dict[str, Any]]:
        """Mean and interval by model and measure, and how many values are missing."""
        return {
            name: {
                measure: {"mean": _number(mean(row)), **_ends(row), "undefined": int(np.isnan(row).sum())}
                for measure, row in values.items()
            }
            for name, values in table.items()
        }

    def differences(self, ahead: str, behind: str) -> dict[str, dict[str, Any]]:
        """By how much one model is better than another, by measure: positive where it is."""
        found = {}
        for measure, sign in self.signs.items():
            values = gain(self.table, ahead, behind, measure, sign)
            clips = np.broadcast_to(np.arange(values.shape[1]), values.shape).ravel()
            flips = paired(np.zeros(values.size), values.ravel(), groups=clips)
            found[measure] = {
                "gain": _number(mean(values)),
                **_ends(values),
                "p": _number(flips.p),
                "agreeing": sum(mean(row) > 0 for row in values),
                "undefined": int(np.isnan(values).sum()),
            }
        return found

    @cached_property
    def against_baseline(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Every other model against the one that was trained on SI-SDR."""
        if BASELINE not in self.table:
            return {}
        return {name: self.differences(name, BASELINE) for name in self.table if name != BASELINE}

    @cached_property
    def contrasts(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Pairs of models of which one thing differs."""
        return {
            f"{ahead} against {behind}": self.differences(ahead, behind)
            for ahead, behind in CONTRASTS
            if ahead in self.table and behind in self.table
        }

    def document(self, command: str) -> dict[str, Any]:
        """All of it as plain data for JSON, in which a missing value is None."""
        models = {f"{name}-seed{seed}": result for (name, seed), result in self.results("model").items()}
        signatures: dict[str, str] = next((result["signatures"] for result in models.values()), {})
        return {
            "schema": 1,
            "command": command,
            "config": {**plain(asdict(self.config)), "deciding": self.config.deciding},
            "versions": versions(self.config.measures),
            "losses": {name: asdict(LOSSES[name]) for name in self.config.losses},
            "clips": list(self.held.names),
            "sample_rate": RATE,
            "note": MODELS_NOT_PEOPLE,
            "measures": {
                name: {"title": spec.title, "unit": spec.unit, "better": spec.better}
                for name, spec in self.specs.items()
            },
            "signatures": signatures,
            "left_out": self.left_out,
            "key": self.key,
            "artefacts": self.artefacts,
            "hypotheses": [_answered(each) for each in self.answers],
            "means": {**self.means({"unprocessed": self.unprocessed}), **self.means(self.table)},
            "against_baseline": self.against_baseline,
            "contrasts": self.contrasts,
            "ranks": self.first,
            "tau": {one: {other: _number(x) for other, x in row.items()} for one, row in self.tau.items()},
            "tau_with_si_sdr": {name: _plain(asdict(found)) for name, found in self.headline.items()},
            "masks": {
                "means": {
                    name: {measure: _number(mean(row)) for measure, row in values.items()}
                    for name, values in self.masks.items()
                },
                "tau_with_si_sdr": {name: _number(value) for name, value in self.mask_tau.items()},
            },
            "songs": {
                name.rsplit("/", 1)[-1]: {key: result[key] for key in ("rows", "left_out", "sample_rate")}
                for (name, _), result in self.results("song").items()
            },
            "scores": {
                **{name: result["scores"] for (name, _), result in self.results("unprocessed").items()},
                **{name: result["scores"] for name, result in models.items()},
            },
            "reasons": {name: result["reasons"] for name, result in models.items() if result["reasons"]},
            "failures": self.failures,
            "machine": {
                "seconds": {each.task.title: each.result.get("seconds") for each in self.done},
                "parameters": next((result["parameters"] for result in models.values()), None),
                "device": torch.cuda.get_device_name() if self.config.device.startswith("cuda") else "cpu",
            },
        }

    def _row(self, result: Mapping[str, Any] | None, measure: str, count: int | None = None) -> list[float]:
        size = count or self.config.budget.clips
        row: Sequence[float | None] = [None] * size if result is None else result["scores"][measure]
        return [math.nan if value is None else value for value in row]


def _answered(found: Answer) -> dict[str, Any]:
    return {
        "name": found.hypothesis.name,
        "claim": found.hypothesis.claim,
        "verdict": found.verdict,
        "ran": found.ran,
        "of": len(found.tested),
        "comparisons": [_plain({**asdict(each.comparison), **_own(asdict(each))}) for each in found.tested],
    }


def _own(tested: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tested.items() if name != "comparison"}


def _ends(values: Values) -> dict[str, float | None]:
    low, high = interval(values)
    return {"low": _number(low), "high": _number(high)}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in values.items()}


def _number(value: float) -> float | None:
    return float(f"{value:.9g}") if math.isfinite(value) else None
