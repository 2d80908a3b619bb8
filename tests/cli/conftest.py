"""Folders of short files, made once."""

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.support import folder, noise


class Corpus(NamedTuple):
    """200 pairs of half a second, of which five estimates are broken."""

    est: Path
    ref: Path
    broken: set[str]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("corpus")
    names = [f"speaker{index % 4}/{index:03d}" for index in range(200)]
    refs = {name: noise(index) for index, name in enumerate(names)}
    est = {name: ref + 0.1 * noise(1000 + index) for index, (name, ref) in enumerate(refs.items())}
    folder(root / "est", est)
    folder(root / "ref", refs)
    broken = names[3::40]
    paths = [root / "est" / f"{name}.wav" for name in broken]
    whole = paths[0].read_bytes()
    for path, content in zip(paths, (b"", b"no audio at all", whole[:2000], whole[:44], whole[::-1]), strict=True):
        path.write_bytes(content)
    return Corpus(root / "est", root / "ref", set(broken))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """One estimate at 20 dB and its reference, in two folders."""
    ref = noise(0)
    est = folder(tmp_path / "est", {"a": ref + 0.1 * noise(1)})
    return est / "a.wav", folder(tmp_path / "ref", {"a": ref}) / "a.wav"
