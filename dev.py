#!/usr/bin/env python3
"""percloss from a clone: each command installs what it needs into .venv, then does its work.

    python3 dev.py demo  [ARGS]       score clips that come with percloss, write a report with players
    python3 dev.py test  [ARGS]       run the tests; ARGS go to pytest
    python3 dev.py lint               ruff and mypy
    python3 dev.py docs  [PAGE...]    build the documentation, run its examples, or only a page's
    python3 dev.py bench [FILE ARGS]  one benchmark, or all of benchmarks/speed
    python3 dev.py install EXTRA...   only install

    --cpu            take the CPU build of torch, from PyTorch's own index
    PERCLOSS_VENV    another place than .venv

Needs Python 3.10 or newer; `test` needs a C compiler too, for the tests of PESQ.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("PERCLOSS_VENV") or ROOT / ".venv").resolve()
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / "python")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
FIND_LINKS = os.environ.get("PIP_FIND_LINKS", "").split()

NO_VENV = """dev.py: cannot make {venv}: this Python comes without venv and ensurepip.
Debian, Ubuntu: sudo apt install python3-venv.  Or install uv, which needs neither."""
NO_PESQ = """dev.py: going on without pesq; the tests of PESQ will be skipped. It has no wheels, and needs a C compiler:
Debian, Ubuntu: sudo apt install build-essential python3-dev.  macOS: brew install gcc."""
BIG_TORCH = """dev.py: no NVIDIA driver here, and torch comes with gigabytes of CUDA unless told otherwise.
For its CPU build press Ctrl-C, and give the same command with --cpu."""


def say(text: str) -> None:
    """Write a line for the person at the terminal, in order with what the child processes write."""
    print(text, file=sys.stderr, flush=True)


def run(command: list[str], *, cwd: Path | None = None) -> int:
    """Run a command in the foreground and give its exit status as a shell would."""
    interrupted = False
    with subprocess.Popen(command, cwd=cwd) as child:
        while child.poll() is None:
            try:
                child.wait()
            except KeyboardInterrupt:  # the terminal told the child too: let it finish what it has to
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def stage(what: str, command: list[str]) -> int:
    """Run a command in the clone and say how long it took."""
    say(f"== {what}")
    start = time.monotonic()
    status = run(command, cwd=ROOT)
    say(f"== {what}: {'done' if status == 0 else f'status {status}'} after {time.monotonic() - start:.0f} s")
    return status


def installed(package: str) -> bool:
    """Whether the environment holds a package."""
    return any(any(VENV.glob(f"{lib}/site-packages/{package}")) for lib in ("lib/python*", "Lib"))


def cpu_wheel_at_hand() -> bool:
    """Whether pip is told of a folder with a CPU build of torch, which it then prefers."""
    return any(any(Path(at).glob("torch-*+cpu-*.whl")) for at in FIND_LINKS)


def make_venv(uv: str | None) -> None:
    """Make the environment, or finish one that an interrupt left half made."""
    made = VENV / "percloss-made"
    if made.exists():
        return
    if not uv and not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        sys.exit(NO_VENV.format(venv=VENV))
    with_uv = [str(uv), "venv", "-q", "--seed", "--allow-existing", "--python", sys.executable]
    status = stage(f"make {VENV}", [*(with_uv if uv else [sys.executable, "-m", "venv"]), str(VENV)])
    if status:
        sys.exit(status)
    made.touch()


def install(*extras: str, cpu: bool) -> int:
    """Install percloss with extras, unless that was done since pyproject.toml or constraints.txt last changed."""
    uv = shutil.which("uv")
    make_venv(uv)
    wanted = [str(ROOT).encode(), *((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))]
    state = hashlib.sha256(b"\0".join(wanted)).hexdigest()
    stamps = [VENV / f"percloss-{extra}" for extra in extras]
    if all(stamp.exists() and stamp.read_text() == state for stamp in stamps):
        return 0
    if uv:
        pip = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", PYTHON]
        pip += [f"--find-links={at}" for at in FIND_LINKS]
    else:
        pip = [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    if cpu:
        pip.append("--torch-backend=cpu" if uv else f"--extra-index-url={CPU_INDEX}")
    elif sys.platform == "linux" and not (shutil.which("nvidia-smi") or installed("torch") or cpu_wheel_at_hand()):
        say(BIG_TORCH)
    named = ",".join(extras)
    status = stage(f"install percloss[{named}]", [*pip, "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{named}]"])
    if status == 0:
        for stamp in stamps:
            stamp.write_text(state)
    return status


def need(*extras: str, cpu: bool) -> None:
    """Install or leave."""
    status = install(*extras, cpu=cpu)
    if status:
        sys.exit(status)


def demo(args: list[str], *, cpu: bool) -> int:
    """Run the demo; nothing that it needs has C to compile."""
    need("audio", "cli", "report", cpu=cpu)
    return run([str(BIN / "percloss"), "demo", *args])


def test(args: list[str], *, cpu: bool) -> int:
    """Run pytest, on all cores where no arguments say otherwise."""
    compiler = os.name == "nt" or any(shutil.which(name) for name in ("cc", "gcc", "clang"))
    if not (compiler or installed("pesq")) or install("test", cpu=cpu):
        say(NO_PESQ)
        need("test-pure", cpu=cpu)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the cores are pytest-xdist's
    return stage("pytest", [PYTHON, "-m", "pytest", *(args or ["-n", "auto"])])


def lint(args: list[str], *, cpu: bool) -> int:
    """Check style, form and types, and tell of all three at once."""
    need("lint", "test-pure", cpu=cpu)
    typed = [path for path in ("percloss", "benchmarks", "tests", "dev.py") if (ROOT / path).exists()]
    return max(
        stage("ruff check", [PYTHON, "-m", "ruff", "check", *args]),
        stage("ruff format", [PYTHON, "-m", "ruff", "format", "--check"]),
        stage("mypy", [PYTHON, "-m", "mypy", *typed]),
    )


def docs(args: list[str], *, cpu: bool) -> int:
    """Build the pages, then run the examples in them and in the docstrings."""
    need("docs", cpu=cpu)
    sphinx = [PYTHON, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    return max(
        stage("docs", [*sphinx, "docs", "docs/_build/html"]),
        stage("examples in docs", [PYTHON, "-m", "docs.examples", *args]),
    )


def bench(args: list[str], *, cpu: bool) -> int:
    """Run one benchmark with its arguments, or all that measure speed."""
    need("test-pure", cpu=cpu)
    if args:
        return stage(args[0], [PYTHON, *args])
    files = sorted((ROOT / "benchmarks" / "speed").glob("[!_]*.py"))
    return max((stage(file.stem, [PYTHON, str(file)]) for file in files), default=0)


COMMANDS = {"demo": demo, "test": test, "lint": lint, "docs": docs, "bench": bench}


def main(argv: list[str]) -> int:
    """Do one command; the status is that of what it ran, and 130 after Ctrl-C."""
    if sys.version_info < (3, 10):  # noqa: UP036, this file alone meets an older one
        say(f"dev.py: this is Python {sys.version.split()[0]}; needed is 3.10 or newer; type: python3.11 dev.py ...")
        return 2
    cpu = "--cpu" in argv
    name, *args = [word for word in argv if word != "--cpu"] or ["--help"]
    try:
        if name in COMMANDS:
            return COMMANDS[name](args, cpu=cpu)
        if name == "install" and args:
            return install(*args, cpu=cpu)
    except KeyboardInterrupt:
        return 130
    if name in ("-h", "--help"):
        print(__doc__)
        return 0
    say(f"dev.py: {' '.join(argv)}: not among these.\n{__doc__}")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
