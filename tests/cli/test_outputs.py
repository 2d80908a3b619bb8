"""What is printed and what is written: one document, strict, by a schema; files whole or not at all."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from tests.cli.support import folder, noise, plain, run, scored, strict, write

SCHEMA = json.loads((resources.files("percloss.scoring") / "schema.json").read_text())


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two pairs that score, one of them without a value for PESQ, and one that fails."""
    refs = {"a": noise(0), "b": 0 * noise(1), "c": noise(2)}
    est = folder(tmp_path / "est", {name: wave + 0.01 * noise(7) for name, wave in refs.items()})
    (est / "c.wav").write_bytes(b"broken")
    return est, folder(tmp_path / "ref", refs)


def test_the_document_is_as_the_schema_says(folders) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    found = scored(folders[0], "--ref", folders[1], "-m", "snr,lsd", "--require", "snr=50", code=1)
    validator.validate(found)
    for name in SCHEMA["required"]:
        lacking = {key: value for key, value in found.items() if key != name}
        assert not validator.is_valid(lacking)
    assert not validator.is_valid({**found, "schema": 2})


def test_every_field_of_the_document_is_in_the_schema(folders) -> None:
    found = scored(folders[0], "--ref", folders[1], "-m", "snr", code=3)
    assert found.keys() == SCHEMA["properties"].keys()
    assert found["files"][0].keys() == SCHEMA["$defs"]["file"]["properties"].keys()


def test_a_pipe_gets_a_row_a_file_with_numbers_in_full(folders) -> None:
    options = (folders[0], "--ref", folders[1], "-m", "snr,lsd")
    result = run("score", *options)
    head, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert head == ["est", "ref", "system", "stem", "snr", "lsd", "error"]
    found = scored(*options, code=3)
    assert [float(row[5]) for row in rows[:2]] == [file["scores"]["lsd"] for file in found["files"][:2]]
    assert rows[1][4] == ""
    assert rows[1][6] == "snr: reference is silent"
    assert rows[2][4:6] == ["", ""]


def test_files_hold_a_row_a_number_with_its_signature(folders, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    names = [tmp_path / f"scores{suffix}" for suffix in (".csv", ".jsonl", ".parquet")]
    outputs = [part for name in names for part in ("-o", name)]
    found = scored(folders[0], "--ref", folders[1], "-m", "snr,lsd", *outputs, code=3)
    with names[0].open(newline="") as file:
        by_csv = list(csv.DictReader(file))
    by_jsonl = [strict(line) for line in names[1].read_text().splitlines()]
    by_parquet = parquet.read_table(names[2]).to_pylist()
    assert by_jsonl == by_parquet
    assert [{name: "" if x is None else str(x) for name, x in row.items()} for row in by_jsonl] == by_csv
    numbers = {(row["name"], row["measure"]): row for row in by_jsonl}
    assert numbers.keys() == {("a", "snr"), ("a", "lsd"), ("b", "snr"), ("b", "lsd"), ("c", None)}
    assert numbers["a", "lsd"]["value"] == found["files"][0]["scores"]["lsd"]
    assert numbers["a", "lsd"]["signature"] == found["signatures"]["lsd"]
    assert (numbers["a", "lsd"]["unit"], numbers["a", "lsd"]["better"]) == ("dB", "lower")
    assert numbers["b", "snr"]["reason"] == "reference is silent"
    assert "cannot be decoded" in numbers["c", None]["reason"]


def test_a_written_document_is_the_printed_one(folders, tmp_path: Path) -> None:
    output = tmp_path / "scores.json"
    printed = scored(folders[0], "--ref", folders[1], "-m", "snr", "-o", output, code=3)
    assert plain(strict(output.read_text())) == plain(printed)
    assert {path.name for path in tmp_path.iterdir()} == {"est", "ref", "scores.json"}


class _Page(HTMLParser):
    """Counts what a page has, and whatever it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_every_file_escaped_and_fetches_nothing(folders, tmp_path: Path) -> None:
    est, ref = folders
    evil = "<img src=x onerror=alert(1)>&"
    write(est / f"{evil}.wav", noise(4))
    write(ref / f"{evil}.wav", noise(5))
    output = tmp_path / "scores.html"
    scored(est, "--ref", ref, "-m", "snr,lsd", "-o", output, code=3)
    page = _Page()
    page.feed(output.read_text())
    assert page.fetched == []
    assert "img" not in page.tags
    assert evil in page.text
    for words in (
        "snr",
        "Log-spectral distance",
        "dB ↓",
        "snr: reference is silent",
        "cannot be decoded",
        "|sr:16000|",
    ):
        assert words in page.text


@pytest.mark.browser
def test_in_a_browser_the_page_sorts_and_reports_no_error(folders, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on PATH")
    est, ref = folders
    write(est / "d.wav", noise(6))
    write(ref / "d.wav", noise(5))
    output = tmp_path / "scores.html"
    scored(est, "--ref", ref, "-m", "mae", "-o", output, code=3)
    page = output.read_text()
    seen = []
    for clicks in (1, 2):
        click = "document.querySelectorAll('#files th button')[2].click();" * clicks
        output.write_text(page.replace("</html>", f"<script>{click}</script></html>"))
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", output.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert "CONSOLE" not in done.stderr
        files = done.stdout[done.stdout.index('id="files"') :]
        seen.append(re.findall(r"<tr><td>[^<]*?(\w)\.wav", files))
    # What has no value stays at the end.
    assert seen[0][-1] == seen[1][-1] == "c"
    assert seen[0][:-1] == seen[1][:-1][::-1]
    assert seen[0][2] == "d"


def test_an_output_that_cannot_be_written_leaves_the_old_one_and_what_was_done(
    folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "scores.csv"
    output.write_text("old")

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        result = run("score", folders[0], "--ref", folders[1], "-m", "lsd", "-o", output)
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert "--resume" in result.stderr
    assert result.stdout.startswith("est\t")
    assert output.read_text() == "old"
    kept = (tmp_path / "scores.csv.journal.jsonl").read_text().splitlines()
    assert len(kept) == 1 + 3
    result = run("score", folders[0], "--ref", folders[1], "-m", "lsd", "-o", output, "--resume")
    assert "2 of 3 were scored before" in result.stderr
    assert output.read_text().startswith("system,")


def test_a_name_that_is_no_unicode_is_scored_and_shown(folders) -> None:
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    for place in folders:
        try:
            write(place / "plain.wav", noise(1)).rename(place / name)
        except OSError:
            pytest.skip("this file system takes no such name")
    found = scored(*(folders[0], "--ref", folders[1]), "-m", "mae", code=3)
    (file,) = (file for file in found["files"] if file["name"] == "caf\\xe9")
    assert file["scores"]["mae"] == 0
