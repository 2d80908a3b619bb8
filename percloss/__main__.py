"""The command ``percloss``, also as ``python -m percloss``."""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line, or say how to install it."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"percloss: error: the command line needs {' and '.join(missing)}, not installed; it comes with: "
            f'pip install "percloss[cli]"\n'
        )
        sys.exit(2)
    from percloss.cli import percloss

    percloss(prog_name="percloss")


if __name__ == "__main__":
    main()
