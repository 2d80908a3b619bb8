"""A trainer's config as a command: an option for each field, explained by the config's docstring."""

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_type_hints

import click

from percloss.errors import PerclossError
from percloss.lab.journal import on_stderr

__all__ = ["attributes", "command", "main"]


def attributes(documented: type) -> dict[str, str]:
    """What a docstring in Google's form says of each attribute."""
    text = inspect.cleandoc(documented.__doc__ or "").partition("Attributes:\n")[2]
    return {
        name: " ".join(words.split())
        for name, words in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    }


def command(config: type, train: Callable[..., Any], *, out: str, words: Mapping[str, str]) -> click.Command:
    """A click command that trains.

    Args:
        config: The dataclass of the trainer.
        train: Takes a config, a folder and an observer.
        out: The folder, unless another is named.
        words: What each field is for.
    """
    kinds = get_type_hints(config)

    def call(out: Path, quiet: bool, **given: Any) -> None:
        train(config(**given), out, progress=None if quiet else on_stderr())
        if not quiet and os.environ.get("RANK", "0") == "0":
            click.echo(f"trained: {out / 'model.pt'}", err=True)

    options: list[click.Parameter] = [_option(field, kinds[field.name], words[field.name]) for field in fields(config)]
    folder = click.Path(file_okay=False, path_type=Path)
    kept = "Folder of the run: checkpoints, log.jsonl, model.pt. A run that is there goes on."
    options += [
        click.Option(["--out"], type=folder, default=out, show_default=True, help=kept),
        click.Option(["--quiet"], is_flag=True, help="No line of progress."),
    ]
    text = inspect.cleandoc(sys.modules[train.__module__].__doc__ or "")
    settings = {"help_option_names": ["-h", "--help"]}
    return click.Command(out, callback=call, params=options, help=_paragraphs(text), context_settings=settings)


def main(config: type, train: Callable[..., Any], *, out: str, words: Mapping[str, str]) -> None:
    """Run the command; what went wrong is one line, and an exit code."""
    try:
        code = command(config, train, out=out, words=words).main(prog_name=None, standalone_mode=False)
    except click.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except PerclossError as error:
        click.echo(f"percloss: error: {error}", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _option(field: "Field[Any]", kind: Any, words: str) -> click.Option:
    name = f"--{field.name.replace('_', '-')}"
    if kind is bool:
        return click.Option([name], is_flag=True, default=field.default, help=words)
    plain = next((one for one in (int, float, str) if one is kind), int)
    shown = field.default is not None
    return click.Option([name], type=plain, default=field.default, show_default=shown, help=words)


def _paragraphs(text: str) -> str:
    """For click, which fills paragraphs unless a backspace stands before them: those that are indented stay."""
    parts = text.replace("::", ":").replace("``", "").split("\n\n")
    return "\n\n".join(f"\b\n{part}" if part.startswith("    ") else part for part in parts)
