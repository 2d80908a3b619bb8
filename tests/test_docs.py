"""The documentation is true: examples give what they say, sources exist, generated pages are of today."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

import percloss
from docs import examples, make_cards, make_catalogue
from docs.bibliography import BIB, sources
from percloss import recipes
from percloss.cli import percloss as percloss_command
from percloss.measure import find
from percloss.measures import TABLE

ROOT = Path(__file__).resolve().parent.parent
CODE = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "percloss").rglob("*.py")))


@pytest.mark.parametrize("module", examples.modules())
def test_docstrings_show_what_they_print(module: str) -> None:
    wrong = "".join(examples.of_module(module))
    assert not wrong, wrong


@pytest.mark.slow
def test_pages_show_what_they_print() -> None:
    """In a fresh process, as a reader has it: torch.compile cannot trace the shape checks of this one."""
    run = [sys.executable, "-W", "error", "-m", "docs.examples", *map(str, examples.PAGES)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_example_that_is_wrong_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n>>> x = 1\n```\n\n```python\n>>> x + 1\n3\n```\n", encoding="utf-8")
    (fault,) = examples.of_page(page)
    assert "line 6" in fault
    assert "Expected:\n    3\nGot:\n    2" in fault


def test_a_command_that_is_wrong_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ percloss cite nobody\n@misc{nobody,\n```\n", encoding="utf-8")
    wrong = examples.of_page(page)
    assert "Expected:\n@misc{nobody," in wrong[0]
    assert "Expected exit 0, got 2" in wrong[1]


def test_commands_that_are_shown_exist() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in examples.PAGES)
    blocks = re.findall(r"```sh\n(.*?)```", pages, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("percloss ")]
    assert lines
    for line in lines:
        _, name, *words = shlex.split(line, comments=True)
        command = percloss_command.get_command(click.Context(percloss_command), name)
        assert command, line
        command.make_context(name, [word for word in words if word != "--help"])


def test_every_source_that_is_cited_is_in_the_bibliography() -> None:
    cited = {key for name in TABLE for key in find(name).spec.cite} | set(re.findall(r"\[([a-z]+\d{4}\w*)\]_", CODE))
    cited |= {key for name in recipes.list() for key in recipes.info(name).cite}
    assert cited == sources().keys()


def test_a_docstring_cites_what_its_spec_cites() -> None:
    for name in TABLE:
        measure = find(name)
        missing = [key for key in measure.spec.cite if f"[{key}]_" not in str(measure.__doc__)]
        assert not missing, f"{name}: the Spec cites {missing}, the docstring does not"


def test_every_entry_of_the_bibliography_is_whole() -> None:
    text = BIB.read_text(encoding="utf-8")
    assert len(sources()) == text.count("\n@") + 1
    assert list(sources()) == sorted(sources())
    for source in sources().values():
        assert {"author", "title", "year"} <= source.fields.keys()
        assert source.fields["year"] in source.key
        assert {"journal", "booktitle", "institution", "eprint", "url"} & source.fields.keys()


def test_every_measure_that_compares_two_signals_has_a_card() -> None:
    made = json.loads(make_cards.FILE.read_text(encoding="utf-8"))
    assert list(made["values"]) == make_cards.shown(), "type: python -m docs.make_cards"
    assert made["values"]["snr"]["low_pass"] == pytest.approx(made["snr_db"], abs=0.01)


def test_a_card_is_of_today() -> None:
    made = json.loads(make_cards.FILE.read_text(encoding="utf-8"))
    for name, lines in make_cards.responses(["mae", "mel"]).items():
        for artefact, values in lines.items():
            assert values == pytest.approx(made["values"][name][artefact], rel=1e-4), "type: python -m docs.make_cards"


def test_the_catalogue_is_that_of_the_specs() -> None:
    text = make_catalogue.PAGE.read_text(encoding="utf-8")
    assert text == make_catalogue.page(), "type: python -m docs.make_catalogue"


def test_every_public_name_is_in_the_api() -> None:
    listed = set(re.findall(r"\w+", (ROOT / "docs" / "api.md").read_text(encoding="utf-8")))
    errors = {name for name in percloss.__all__ if name.endswith("Error")}  # listed by their module
    assert set(percloss.__all__) - errors - {"__version__"} <= listed


def test_the_changelog_tells_of_this_version() -> None:
    assert f"\n## [{percloss.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", examples.PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    written = [target for target in targets if not target.startswith("_cards/")]  # pictures are drawn with the pages
    assert [target for target in written if not (page.parent / target).exists()] == []
