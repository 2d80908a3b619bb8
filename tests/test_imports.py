"""Importing percloss costs next to nothing: what is not used is not loaded."""

import json
import subprocess
import sys

HEAVY = {
    "auraloss",
    "beartype",
    "click",
    "fast_bss_eval",
    "jaxtyping",
    "jinja2",
    "librosa",
    "matplotlib",
    "mir_eval",
    "museval",
    "pesq",
    "pyarrow",
    "pystoi",
    "rich",
    "scipy",
    "soundfile",
    "soxr",
    "torchmetrics",
}
REPORT = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running some code."""
    done = subprocess.run([sys.executable, "-c", f"{code}; {REPORT}"], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_percloss_loads_no_optional_package() -> None:
    added = loaded_by("import torch, percloss") - loaded_by("import torch")
    assert "percloss" in added
    assert not added & HEAVY


def test_the_version_is_known_without_torch() -> None:
    assert "torch" not in loaded_by("import percloss; percloss.__version__")


def test_importing_percloss_costs_a_few_tens_of_milliseconds() -> None:
    """Processor time, best of three: other work on the machine is not counted."""
    code = (
        "import time, torch; start = time.process_time(); import percloss; percloss.__version__; "
        "print(time.process_time() - start)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.05
