"""What leaves the house: a small wheel that works alone."""

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MISSING = [name for name in ("build", "hatchling") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def build(form: str, into: Path) -> Path:
    command = [sys.executable, "-m", "build", f"--{form}", "--no-isolation", "--outdir", str(into), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


@pytest.fixture(scope="module")
def metadata(wheel: Path, names: list[str]) -> Message:
    (name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(zipfile.ZipFile(wheel).read(name).decode())


def test_the_wheel_is_under_three_megabytes(wheel: Path) -> None:
    assert wheel.stat().st_size < 3_000_000


def test_the_wheel_holds_every_file_of_the_package(names: list[str]) -> None:
    files = {file.relative_to(ROOT).as_posix() for file in (ROOT / "percloss").rglob("*") if file.is_file()}
    ours = {file for file in files if "__pycache__" not in file}
    assert {"percloss/py.typed", "percloss/data/clips/manifest.json"} <= ours
    assert ours <= set(names)


def test_the_wheel_holds_nothing_else(names: list[str]) -> None:
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"percloss"}
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]


def test_the_licence_travels_along(names: list[str], metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_core_needs_torch_numpy_and_scipy_alone(metadata: Message) -> None:
    core = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {re.split(r"[^a-z]", line)[0] for line in core} == {"torch", "numpy", "scipy"}


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="not installed: pip")
def test_the_wheel_installs_and_imports_alone(wheel: Path, metadata: Message, tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "-qq", "--no-index", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*install, str(wheel)], check=True)
    run = [sys.executable, "-c", "import percloss; print(percloss.__version__, percloss.__file__, sep='\\n')"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    version, file = subprocess.check_output(run, cwd=tmp_path, env=env, text=True).splitlines()
    assert version == metadata["Version"]
    assert Path(file).is_relative_to(tmp_path)


def test_the_source_archive_holds_what_testing_it_needs(tmp_path: Path) -> None:
    """Every file of the clone that the tests, the linters and dev.py read."""
    with tarfile.open(build("sdist", tmp_path)) as archive:
        held = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    tests = {file.relative_to(ROOT).as_posix() for file in (ROOT / "tests").rglob("*.py")}
    assert tests | {".ci/run", "constraints.txt", "dev.py", "pyproject.toml", "README.md"} <= held
