"""Which estimate belongs to which reference: by relative name without suffix, never by position."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from percloss.errors import PairingError
from percloss.scoring.audio import EXTENSIONS, shown

__all__ = ["Pair", "pair_up"]

MIXTURE = "mixture"
"""What a track's mixture is called beside its stems, as in MUSDB18."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One estimate and its reference, or the one of them that is left alone and why; or an estimate to go without.

    Attributes:
        system: What made the estimate.
        name: Of the item within its system: relative, without suffix.
        est: Path of the estimate.
        ref: Path of the reference.
        mix: Path of the unprocessed mixture.
        stem: Which part of a track it is, where a track has one mixture and several stems.
        group: Which items it belongs with, where that was asked for.
        problem: Why it cannot be scored.
    """

    system: str
    name: str
    est: str | None
    ref: str | None
    mix: str | None = None
    stem: str | None = None
    group: str | None = field(default=None, compare=False)
    problem: str | None = None


def pair_up(est: Sequence[str], ref: str | None, mix: str | None = None) -> list[Pair]:
    """Pair estimates with references.

    A folder of estimates is one system. Files are paired with a folder of references by their own name, and belong to
    the system that their folder is called; with one reference, each file is a system. What has no partner, or more than
    one, comes as a pair with a ``problem``.

    Args:
        est: Folders or files.
        ref: A folder, or one file; ``None`` for estimates that are scored without, as folders of references would have
            them.
        mix: The unprocessed mixture: one file for all, or a folder that holds ``track/mixture.wav`` or ``track.wav``
            for ``track/stem.wav``, or a file of the same name as the estimate.

    Raises:
        PairingError: Something is not there, or nothing pairs at all.
    """
    for path in filter(None, [*est, ref, mix]):
        if not Path(path).exists():
            raise PairingError(f"{shown(path)}: there is no such file or folder; check the path.")
    if len({_place(path) for path in est}) < len(est):
        raise PairingError(f"score: got {', '.join(map(shown, est))}; one of them came twice; name each system once.")
    if ref is None:
        alone = [
            Pair(system=system.system, name=name, est=file, ref=None)
            for system in _systems(est)
            for name, files in system.files.items()
            for file in files
        ]
        return sorted(alone, key=lambda pair: (pair.system, pair.name))
    if not Path(ref).is_dir():
        return _against_one(est, ref, mix)
    references = _Folder.scan(ref)
    mixtures = _Mixtures(mix)
    by_system = [list(_match(system, references, mixtures)) for system in _systems(est)]
    pairs = [pair for own in by_system for pair in sorted(own, key=lambda pair: pair.name)]
    if all(pair.problem for pair in pairs):
        raise PairingError(_nothing_pairs(est, references, pairs))
    return pairs


def _against_one(est: Sequence[str], ref: str, mix: str | None) -> list[Pair]:
    for path, role in [*((path, "the estimate") for path in est), *([(mix, "the mixture")] if mix else [])]:
        if Path(path).is_dir():
            raise PairingError(
                f"{shown(path)}: {role} is a folder and the reference, {shown(ref)}, is one file; needed are two "
                f"folders or files alone. To score several files against one reference: "
                f"percloss score {shown(path)}/*.wav --ref {shown(ref)}"
            )
    systems = _unique([_place(path) for path in est])
    return [
        Pair(system=system, name=Path(path).stem, est=path, ref=ref, mix=mix)
        for path, system in zip(est, systems, strict=True)
    ]


@dataclass
class _Folder:
    """Audio files by relative name without suffix. ``whole`` where all of it was meant, not single files."""

    path: str
    files: dict[str, list[str]] = field(default_factory=dict)
    system: str = ""
    whole: bool = True

    @classmethod
    def scan(cls, path: str) -> "_Folder":
        found = cls(path)
        for file in _walk(path):
            found.add(file, Path(file).relative_to(path))
        if not found.files:
            raise PairingError(
                f"{shown(path)}: holds no audio file, in it or in its folders; looked for are "
                f"{', '.join(sorted(EXTENSIONS))}."
            )
        return found

    def add(self, file: str, relative: Path) -> None:
        self.files.setdefault(relative.with_suffix("").as_posix(), []).append(file)


def _walk(folder: str) -> Iterator[str]:
    """Audio files below a folder in the order of their names, through links, each folder once, hidden ones not."""
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield str(Path(root) / name)


def _refuse(error: OSError) -> None:
    raise PairingError(f"{shown(str(error.filename))}: cannot be listed ({error.strerror}); check its permissions.")


def _systems(est: Sequence[str]) -> list[_Folder]:
    groups = {_place(path): _Folder.scan(path) for path in est if Path(path).is_dir()}
    for path in (path for path in est if not Path(path).is_dir()):
        folder = _place(path).parent
        group = groups.setdefault(folder, _Folder(str(folder), whole=False))
        if not group.whole:
            group.add(path, Path(Path(path).name))
    for system, group in zip(_unique(list(groups)), groups.values(), strict=True):
        group.system = system
    return list(groups.values())


def _place(path: str) -> Path:
    """Where a path is, under the name that was typed where that is one."""
    full = Path(path).absolute()
    return full.resolve() if ".." in full.parts else full


def _unique(paths: Sequence[Path]) -> list[str]:
    """Different absolute paths by their last part, or by as many parts as tell them apart."""
    depth = 1
    while True:
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
        depth += 1


def _match(system: _Folder, references: _Folder, mixtures: "_Mixtures") -> Iterator[Pair]:
    spent: set[str] = set()
    for name, files in system.files.items():
        candidates = references.files.get(name, [])
        problem = None
        if not candidates:
            problem = f"no reference is named {name} in {references.path}"
        elif len(files) > 1 or len(candidates) > 1:
            problem = f"{' and '.join([*files, *candidates])} share one name; keep one estimate and one reference of it"
        for file in files:
            pair = Pair(system=system.system, name=name, est=file, ref=candidates[0] if len(candidates) == 1 else None)
            if problem:
                yield replace(pair, problem=f"{shown(file)}: {shown(problem)}")
            else:
                pair = mixtures.give(pair)
                spent.update(os.path.realpath(path) for path in (pair.mix,) if path)
                yield pair
    if not system.whole:
        return
    for name in sorted(references.files.keys() - system.files.keys()):
        for file in references.files[name]:
            # A mixture that lies beside the stems is no stem that an estimate could be missing of.
            if Path(name).name != MIXTURE and os.path.realpath(file) not in spent:
                problem = f"{shown(file)}: no estimate is named {shown(name)} in {shown(system.path)}"
                yield Pair(system=system.system, name=name, est=None, ref=file, problem=problem)


class _Mixtures:
    """Finds the mixture of a pair."""

    def __init__(self, path: str | None) -> None:
        self.one = path if path and not Path(path).is_dir() else None
        self.files: Mapping[str, list[str]] = _Folder.scan(path).files if path and not self.one else {}

    def give(self, pair: Pair) -> Pair:
        if self.one:
            return replace(pair, mix=self.one, stem=Path(pair.name).name)
        track = Path(pair.name).parent.as_posix()
        beside = MIXTURE if track == "." else f"{track}/{MIXTURE}"
        for name in (beside, track, pair.name):
            files = self.files.get(name, [])
            # The folder of references may serve as that of mixtures, and then holds the stem itself under its name.
            if len(files) == 1 and not Path(files[0]).samefile(pair.ref or ""):
                return replace(pair, mix=files[0], stem=None if name == pair.name else Path(pair.name).name)
        return pair


def _nothing_pairs(est: Sequence[str], references: _Folder, pairs: Iterable[Pair]) -> str:
    def first(names: Iterable[str]) -> str:
        listed = sorted(names)
        return ", ".join(map(shown, listed[:3])) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")

    return (
        f"score: no file of {', '.join(map(shown, est))} has a reference of its name in {shown(references.path)}. "
        f"Estimates: {first({pair.name for pair in pairs if pair.est})}. References: {first(references.files)}. "
        f"Needed are the same names but for the suffix, or a list: --pairs pairs.tsv, with the columns est and ref."
    )
