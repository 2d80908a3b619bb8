"""Scores of the recordings of a listening test: each number is made once, kept by content, and never made again."""

import functools
import hashlib
import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import percloss
from percloss._files import replacing
from percloss._optional import require
from percloss.errors import ArgumentError, PerclossError
from percloss.evaluation import evaluate, signature
from percloss.listening.rated import Stimulus
from percloss.measure import create, find
from percloss.scoring.audio import info, read, shown
from percloss.scoring.engine import Recipe, Scored, load
from percloss.scoring.pairing import Pair
from percloss.scoring.screening import screen
from percloss.scoring.workers import one_thread, score
from percloss.spec import Spec

__all__ = ["Cache", "Scoring"]


class Cache:
    """Numbers by what they were made of, a line each in a file that is only ever added to.

    A line that was torn off by a kill is passed over, so is one of another program; two runs may add at the same time.

    Args:
        path: Of the file; it is made where there is none.

    Raises:
        ArgumentError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, dict[str, Any]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as file:
                file.seek(0)
                content = file.read()
                if content and not content.endswith(b"\n"):
                    file.write(b"\n")
        except OSError as error:
            raise ArgumentError(
                f"{shown(path)}: cannot be written ({error.strerror}); give a folder: --cache."
            ) from error
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                self.lines[entry["key"]] = entry
            except (ValueError, TypeError, KeyError):
                continue

    def add(self, key: str, **found: Any) -> None:
        """Keep a number; it is in the file when this returns."""
        self.lines[key] = {"key": key, **found}
        with self.path.open("ab") as file:
            file.write(json.dumps(self.lines[key], allow_nan=False).encode() + b"\n")


@dataclass(frozen=True)
class _Task:
    """One measure of one recording."""

    name: str
    key: str
    rate: int


@dataclass
class _Recording:
    """What a recording is scored from, and which stimuli it is of: those of several scales."""

    pair: Pair
    other: str | None
    at: list[int]
    tasks: list[_Task] = field(default_factory=list)


class Scoring:
    """Scores every recording of some stimuli with every measure; those that an earlier run kept are taken from there.

    A measure that is not defined at a recording's rate is given it resampled: to the next higher rate that it has, or
    to its highest. Recordings of unequal length are cut to the shorter. Measures of several sources get the estimate
    and what it leaves of the mixture, against the reference and the sum of the interferers.

    Args:
        stimuli: Which.
        measures: Names; ``None`` is all that suit.
        strict: Say of each recording why a measure that was named does not suit, and do not leave it out.
        cache: Folder for the numbers, and for recordings that had to be made.
        name: Of the set.
        align: Undo what delays or inverts an estimate as a whole, which is no matter to a listener.
        jobs: Processes; ``None`` is as many as there are cores, and fewer for few recordings.
        without: Measures that are left out, such as those that take too long.

    Attributes:
        values: By measure, one for each stimulus, nan where there is none.
        reasons: Why there is none, by measure and reason: the recordings.
        problems: What could not be scored at all.
        left_out: Measures that nobody asked for and that do not suit, and why.
        signatures: How each number was made.
        found: What screening found, by kind: the recordings.
        mended: What was undone, by kind: the recordings.

    Raises:
        UnknownMeasureError: A measure of no such name.
    """

    def __init__(
        self,
        stimuli: Sequence[Stimulus],
        measures: Sequence[str] | None,
        *,
        cache: Path,
        name: str,
        align: bool = False,
        jobs: int | None = None,
        without: Collection[str] = (),
        strict: bool = True,
    ) -> None:
        self.stimuli, self.jobs, self.align = stimuli, jobs, align
        # A reference is of many stimuli; a file is taken to stay as it is for the length of a run.
        self._digest = functools.cache(_digest)
        self.asked = measures is not None and strict
        names = Recipe(measures=None if measures is None else tuple(measures), every=True).names
        self.names = tuple(name for name in names if name not in without)
        self.specs = {name: find(name).spec for name in self.names}
        self.cache, self.folder = Cache(cache / f"{name}.jsonl"), cache / "made"
        self.values: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self.reasons: dict[str, dict[str, list[str]]] = {}
        self.problems: list[str] = []
        self.left_out: dict[str, str] = {name: "left out by choice" for name in names if name in without}
        self.signatures: dict[str, str] = {}
        self.found: dict[str, list[str]] = {}
        self.mended: dict[str, list[str]] = {}

    def run(self) -> Iterator[tuple[int, int]]:
        """Score; says after each recording how many numbers are there, and of how many."""
        with one_thread():
            recordings = self._recordings()
            total = sum(len(one.tasks) for one in recordings)
            done = total - sum(len(self._missing(one)) for one in recordings)
            yield done, total
            for rate, names, group in self._groups(recordings):
                several = [name for name in names if self.specs[name].several]
                others = tuple(name for name in names if name not in several)
                for one in group if several else ():
                    self._keep(one, rate, _of_sources(one, several, rate))
                    done += len(several)
                    yield done, total
                recipe = Recipe(measures=others, resample=rate, trim=True)
                for position, scored in score([one.pair for one in group], recipe, jobs=self.jobs) if others else ():
                    self._keep(group[position], rate, scored)
                    done += len(others)
                    yield done, total
            self._collect(recordings)

    def _recordings(self) -> list[_Recording]:
        """Each recording once, with what is to be known of it, and the files for it made where they have to be."""
        found: dict[tuple[str, ...], _Recording] = {}
        for index, stimulus in enumerate(self.stimuli):
            if stimulus.est is None:
                continue
            files = tuple(stimulus.files)
            if files not in found:
                pair = Pair(
                    system=stimulus.system, name=stimulus.content, est=stimulus.est, ref=stimulus.ref, mix=stimulus.mix
                )
                found[files] = _Recording(pair, None, [])
                try:
                    self._prepare(found[files], stimulus)
                except PerclossError as error:
                    self.problems.append(f"{stimulus.where}: {error}")
            found[files].at.append(index)
        return list(found.values())

    def _prepare(self, one: _Recording, stimulus: Stimulus) -> None:
        est, ref = stimulus.est or "", stimulus.ref
        rate = info(ref or est).sample_rate
        wanted = [spec for spec in self.specs.values() if spec.needs or spec.several]
        if stimulus.interferers and ref and wanted:
            one.other, mix = self._mixture(ref, stimulus.interferers)
            one.pair = replace(one.pair, mix=stimulus.mix or mix)
        if self.align and ref:
            one.pair = replace(one.pair, est=self._aligned(est, ref))
        content = [self._digest(path) if path else "" for path in (one.pair.est, ref, one.pair.mix, one.other)]
        for name, spec in self.specs.items():
            why = _unfit(spec, one)
            if why and not self.asked:
                self.left_out[name] = why
            elif why:
                self._lacks(name, why, est)
            else:
                at = _rate(spec, rate)
                one.tasks.append(_Task(name, _key(name, spec, at, *_heard(spec, content)), at))

    def _missing(self, one: _Recording) -> list[_Task]:
        return [task for task in one.tasks if task.key not in self.cache.lines]

    def _groups(self, recordings: Sequence[_Recording]) -> Iterator[tuple[int, tuple[str, ...], list[_Recording]]]:
        """Recordings that lack the same measures at the same rate."""
        groups: dict[tuple[int, tuple[str, ...]], list[_Recording]] = {}
        for one in recordings:
            by_rate: dict[int, list[str]] = {}
            for task in self._missing(one):
                by_rate.setdefault(task.rate, []).append(task.name)
            for rate, names in by_rate.items():
                groups.setdefault((rate, tuple(names)), []).append(one)
        for (rate, lacking), group in groups.items():
            yield rate, lacking, group

    def _keep(self, one: _Recording, rate: int, scored: Scored) -> None:
        file = shown(self.stimuli[one.at[0]].est or "")
        if scored.error is not None:
            problem = f"{self.stimuli[one.at[0]].where}: {scored.error}"
            if problem not in self.problems:  # one for each rate
                self.problems.append(problem)
            return
        for task in one.tasks:
            if task.rate != rate or task.name not in scored.scores:
                continue
            reason = scored.reasons.get(task.name)
            if task.name not in scored.signatures:  # not for the recording's sake: another time it may have a value
                self._lacks(task.name, reason or "no value", file)
                continue
            self.cache.add(
                task.key,
                measure=task.name,
                file=Path(file).name,
                value=scored.scores[task.name],
                reason=reason,
                signature=scored.signatures[task.name],
                found=[warning["kind"] for warning in scored.warnings],
            )

    def _lacks(self, name: str, why: str, file: str) -> None:
        self.reasons.setdefault(name, {}).setdefault(why, []).append(shown(file))

    def _collect(self, recordings: Sequence[_Recording]) -> None:
        for one in recordings:
            file = self.stimuli[one.at[0]].est or ""
            kinds: set[str] = set()
            for task in one.tasks:
                entry = self.cache.lines.get(task.key)
                if entry is None:
                    continue
                values = self.values.setdefault(task.name, np.full(len(self.stimuli), np.nan))
                self.signatures.setdefault(task.name, entry["signature"])
                kinds.update(entry["found"])
                if entry["value"] is None:
                    self._lacks(task.name, entry["reason"], file)
                else:
                    values[one.at] = entry["value"]
            for kind in kinds:
                self.found.setdefault(kind, []).append(shown(file))
        self.values = {name: self.values[name] for name in self.names if name in self.values}

    def _aligned(self, est: str, ref: str) -> str:
        """The estimate, or a copy of it on time and upright."""
        key = _hash("align", percloss.__version__, self._digest(est), self._digest(ref))
        if key not in self.cache.lines:
            lag, flip = _misalignment(est, ref)
            self.cache.add(key, lag=lag, flip=flip)
        lag, flip = self.cache.lines[key]["lag"], self.cache.lines[key]["flip"]
        for kind in ["delay"] * bool(lag) + ["polarity"] * flip:
            self.mended.setdefault(kind, []).append(shown(est))
        if not lag and not flip:
            return est
        path = self.folder / f"{key}.wav"
        if not path.exists():
            audio = read(est)
            wave = torch.nn.functional.pad(audio.wave, (-lag, lag)) * (-1 if flip else 1)
            _write(path, wave, audio.sample_rate)
        return str(path)

    def _mixture(self, ref: str, interferers: Sequence[str]) -> tuple[str, str]:
        """The sum of the interferers, and of all, at the level of the reference."""
        key = _hash("mix", *map(self._digest, (ref, *interferers)))
        paths = (self.folder / f"{key}.other.wav", self.folder / f"{key}.mix.wav")
        if not all(path.exists() for path in paths):
            audio, others = read(ref), [read(path) for path in interferers]
            shapes = {(*one.wave.shape, one.sample_rate) for one in (audio, *others)}
            if len(shapes) > 1:
                raise ArgumentError(
                    f"{shown(ref)}: differs from {', '.join(map(shown, interferers))} in channels, length or rate; "
                    f"needed are true sources that add up"
                )
            other = torch.stack([one.wave for one in others]).sum(0)
            for path, wave in zip(paths, (other, audio.wave + other), strict=True):
                _write(path, wave, audio.sample_rate)
        return str(paths[0]), str(paths[1])


def _unfit(spec: Spec, one: _Recording) -> str:
    """What a measure is to be given and this set has not."""
    if not spec.alone and one.pair.ref is None:
        return "needs a reference, and there is none"
    if spec.takes == "mixtures" or set(spec.needs) - {"mix"}:
        return f"takes {', '.join([spec.takes, *spec.needs])}, which no rated set has"
    if spec.several and one.other is None:
        return "needs the other sources, and they are not known"
    if "mix" in spec.needs and one.pair.mix is None:
        return "needs the mixture, and it is not known"
    return ""


def _heard(spec: Spec, content: Sequence[str]) -> Sequence[str]:
    """Those of estimate, reference, mixture and interferers that a measure is given."""
    est, ref, mix, other = content
    if spec.alone:
        return [est]
    return [est, ref, *([mix] if spec.needs else []), *([other] if spec.several else [])]


def _rate(spec: Spec, rate: int) -> int:
    if spec.sample_rates is None or rate in spec.sample_rates:
        return rate
    return min((known for known in spec.sample_rates if known > rate), default=max(spec.sample_rates))


def _key(name: str, spec: Spec, rate: int, *content: str) -> str:
    return _hash(name, percloss.__version__, _version(spec.implementation), str(rate), *content)


@functools.cache
def _version(package: str | None) -> str:
    try:
        return version(package) if package else ""
    except PackageNotFoundError:
        return ""


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _misalignment(est: str, ref: str) -> tuple[int, bool]:
    """Samples that an estimate is late, and whether it is inverted in every channel."""
    a, b = read(est), read(ref)
    size = min(a.wave.shape[-1], b.wave.shape[-1])
    if a.sample_rate != b.sample_rate or a.wave.shape[1] != b.wave.shape[1]:
        return 0, False
    found = {one.kind: one.value for one in screen(a.wave[..., :size], b.wave[..., :size], a.sample_rate)}
    return int(found.get("delay", 0)), found.get("polarity") == a.wave.shape[1]


def _of_sources(one: _Recording, names: Sequence[str], rate: int) -> Scored:
    """The estimate among the sources of its mixture, against the true ones."""
    pair = replace(one.pair, mix=one.other)
    scored = Scored(pair=pair)
    try:
        signals = load(pair, Recipe(resample=rate, trim=True))
        scored.warnings = signals.warnings
        est, ref, other = (signals.waves[role] for role in ("est", "ref", "mix"))
        waves = torch.stack([est, ref + other - est], 1), torch.stack([ref, other], 1)
    except PerclossError as error:
        scored.error = str(error)
        return scored
    for name in names:
        try:
            measure = create(name, sample_rate=rate)
            value = float(evaluate(*waves, rate, [measure])[name][0, 0])
            scored.signatures[name] = signature(measure, rate, **signals.context)
        except PerclossError as error:
            scored.scores[name], scored.reasons[name] = None, str(error).removeprefix(f"{name}: ")
            continue
        scored.scores[name] = value if math.isfinite(value) else None
        if scored.scores[name] is None:
            scored.reasons[name] = measure.reason(*waves)
    return scored


def _write(path: Path, wave: torch.Tensor, sample_rate: int) -> None:
    """A file of floating-point samples, which may exceed full scale, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile = require("soundfile", extra="audio")
    with replacing(path) as unfinished:
        soundfile.write(unfinished, wave[0].numpy().T, sample_rate, "FLOAT", format="WAV")
