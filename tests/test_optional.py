"""An optional package is asked for when a thing that needs it is built, and its absence prints the pip line."""

import shutil
import sys
from pathlib import Path

import pytest

from percloss import create
from percloss._optional import require
from percloss.errors import MissingExtraError
from percloss.measure import find
from percloss.measures import TABLE


def test_what_is_installed_is_imported() -> None:
    assert require("json", extra="audio") is sys.modules["json"]


def test_what_is_not_installed_prints_the_pip_line() -> None:
    line = r'no_such_package: not installed; it comes with: pip install "percloss\[audio\]"'
    with pytest.raises(MissingExtraError, match=line) as caught:
        require("no_such_package", extra="audio")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_part_of_what_is_not_installed_does_too() -> None:
    with pytest.raises(MissingExtraError, match=r"no_such_package\.part: not installed"):
        require("no_such_package.part", extra="audio")


def test_a_package_that_is_installed_but_broken_says_what_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a wheel built against a library that is not there: "not installed" would send its owner the wrong way."""
    (tmp_path / "broken_package.py").write_text("import no_such_library\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingExtraError, match=r"broken_package: is installed but .*\(No module named 'no_such_library'\)"
    ):
        require("broken_package", extra="audio")


def test_museval_needs_programs_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(
        MissingExtraError, match="museval: imports only where ffmpeg and ffprobe is on PATH; install ffmpeg"
    ):
        require("museval", extra="reference")
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "ffprobe" else program)
    with pytest.raises(MissingExtraError, match="museval: imports only where ffprobe is on PATH"):
        require("museval", extra="reference")


@pytest.mark.parametrize(("name", "package", "extra"), [("pesq_wb", "pesq", "speech")])
def test_a_measure_without_its_package_fails_when_built(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'{package}: .*pip install "percloss\[{extra}\]"'):
        create(name, sample_rate=16_000)


def test_the_metric_view_without_torchmetrics_prints_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    for module in ("percloss.metrics", "percloss._gathering"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(MissingExtraError, match=r'torchmetrics: .*pip install "percloss\[metrics\]"'):
        __import__("percloss.metrics")


def test_every_extra_that_a_measure_names_is_one_of_the_package() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    named = {find(name).spec.extra for name in TABLE} - {None}
    assert named
    assert named <= project["project"]["optional-dependencies"].keys()
