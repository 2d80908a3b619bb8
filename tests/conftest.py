"""Shape checking for the whole suite, and where the data are.

jaxtyping and beartype hold every function of the package to its annotated shapes. ``torch.compile`` cannot trace their
wrappers, so ``PERCLOSS_COMPILE=1`` runs without them and with the compile rule of the contract instead.
"""

import os
import signal
from pathlib import Path

import pytest

COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))

if not COMPILE:
    os.environ["PERCLOSS_SHAPES"] = "1"
    from jaxtyping import install_import_hook

    # As mypy does, take an int where a float is asked for.
    install_import_hook("percloss", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import torch  # noqa: E402  (after the hook, which must see percloss first)

torch.set_num_threads(1)

# Where a shell starts the suite in the background it has Ctrl-C ignored, and so would have what the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder with the listening tests and real recordings, which are not part of the repository."""
    given = os.environ.get("PERCLOSS_DATA")
    root = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no data at {root}; name the folder by PERCLOSS_DATA")
    return root
