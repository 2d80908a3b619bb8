"""Optional packages, imported when a thing that needs them is built, with an error that prints the pip line."""

import importlib
import shutil
from types import ModuleType

from percloss.errors import MissingExtraError

# museval imports musdb, which imports stempeg, which refuses to load where these are not on PATH.
_NEEDS_PROGRAMS = {"museval": ("ffmpeg", "ffprobe")}


def require(module: str, *, extra: str) -> ModuleType:
    """Import ``module`` or say which extra of percloss brings it.

    Args:
        module: Name as in an ``import`` statement.
        extra: The extra of percloss that lists the package.

    Raises:
        MissingExtraError: The package, or a program it cannot be imported without, is not installed.
    """
    missing = [program for program in _NEEDS_PROGRAMS.get(module, ()) if shutil.which(program) is None]
    if missing:
        raise MissingExtraError(
            f"{module}: imports only where {' and '.join(missing)} is on PATH; "
            f"install ffmpeg (Debian: apt install ffmpeg, macOS: brew install ffmpeg) and try again."
        )
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
            reason = f"{module}: is installed but cannot be imported ({error})"
        else:
            reason = f"{module}: not installed"
        raise MissingExtraError(f'{reason}; it comes with: pip install "percloss[{extra}]"') from error
