"""Run every example of the documentation: the pages, each in a namespace of its own, and all docstrings.

python -m docs.examples [PAGE...]
"""

import ast
import contextlib
import doctest
import importlib
import importlib.util
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

import percloss

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ percloss (.*?)(?:  # exit (\d+))?\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_PARSER = doctest.DocTestParser()
_LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> list[str]:
    """Every module of the package by name, without importing any."""
    files = sorted((ROOT / "percloss").rglob("*.py"))
    dotted = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.stem != "__main__")
    return [name.removesuffix(".__init__") for name in dotted]


def of_page(path: Path) -> list[str]:
    """What is wrong with the blocks of a page; they run in order, in one module and one empty folder.

    A Python block with prompts must print what it says, one without must not raise; a console block must print what it
    says, to white space and what stands for an ellipsis, and exit with what its comment says.
    """
    text = path.read_text(encoding="utf-8")
    # In sys.modules, because pickle and torch.compile look a page's classes up there.
    module = ModuleType(f"page_{path.stem}".replace("-", "_"))
    sys.modules[module.__name__] = module
    wrong: list[str] = []
    with _empty_folder():
        for block in _BLOCK.finditer(text):
            line, source = text.count("\n", 0, block.start(2)), block[2]
            if block[1] == "console":
                wrong += _commands(source, f"{path}, line {line + 1}")
            elif ">>>" in source:
                wrong += _failures(source, vars(module), path.name, path, line)
            else:
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(compile("\n" * line + source, str(path), "exec"), vars(module))
    return wrong


@contextlib.contextmanager
def _empty_folder() -> Iterator[None]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _commands(source: str, where: str) -> Iterator[str]:
    from click.testing import CliRunner

    from percloss.cli import percloss as command

    for typed, code, said in _COMMAND.findall(source):
        result = CliRunner().invoke(command, shlex.split(typed), prog_name="percloss")
        if not doctest.OutputChecker().check_output(said, result.output, _LOOSE):
            yield f"{where}: percloss {typed}\nExpected:\n{said}\nGot:\n{result.output}\n"
        if result.exit_code != int(code or 0):
            yield f"{where}: percloss {typed}\nExpected exit {code or 0}, got {result.exit_code}\n"


def of_module(name: str) -> list[str]:
    """What is wrong with the docstrings of a module; its own names, torch and percloss are in scope."""
    module = importlib.import_module(name)
    wrong: list[str] = []
    for title, docstring, line in _docstrings(module):
        names = {**vars(module), "torch": torch, "percloss": percloss}
        wrong += _failures(docstring, names, f"{name}.{title}", Path(str(module.__file__)), line)
    return wrong


def _docstrings(module: ModuleType) -> Iterator[tuple[str, str, int]]:
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                yield getattr(node, "name", "module"), docstring, node.body[0].lineno - 1


def _failures(source: str, names: dict[str, Any], title: str, file: Path, line: int) -> list[str]:
    test = _PARSER.get_doctest(source, names, title, str(file), line)
    test.globs = names  # the parser took a copy, and what one block defines the next may use
    said = io.StringIO()
    failed = doctest.DocTestRunner(verbose=False).run(test, out=said.write, clear_globs=False).failed
    return [said.getvalue()] if failed else []


def stand_in_for_lightning() -> None:
    """Where Lightning is not installed, the few names of it that the documentation uses."""
    if importlib.util.find_spec("lightning") is None:
        module = ModuleType("lightning")
        module.LightningModule, module.Trainer = _Module, _Trainer  # type: ignore[attr-defined]
        sys.modules["lightning"] = module


class _Module(nn.Module):
    def log(self, name: str, value: Any) -> None:
        float(torch.as_tensor(value).detach())

    def log_dict(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            self.log(name, value)


class _Trainer:
    def __init__(self, *, max_epochs: int, **quiet: Any) -> None:
        self.max_epochs = max_epochs

    def fit(self, module: Any, batches: Any, checks: Any) -> None:
        optimizer = module.configure_optimizers()
        for _ in range(self.max_epochs):
            for number, batch in enumerate(batches):
                optimizer.zero_grad()
                module.training_step(batch, number).backward()
                optimizer.step()
            with torch.no_grad():
                for number, batch in enumerate(checks):
                    module.validation_step(batch, number)
            module.on_validation_epoch_end()


def main(names: list[str]) -> int:
    """Run the pages that are named, or all pages and all docstrings."""
    stand_in_for_lightning()
    wrong = [fault for page in [Path(name).resolve() for name in names] or PAGES for fault in of_page(page)]
    wrong += [fault for module in ([] if names else modules()) for fault in of_module(module)]
    sys.stderr.write("".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
