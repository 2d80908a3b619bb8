"""``percloss list``, ``info`` and ``cite`` say of every measure what its Spec claims."""

import re

import pytest

from percloss.measure import find
from percloss.measures import TABLE
from tests.cli.support import run, strict


def test_the_list_holds_every_measure_with_its_claims() -> None:
    result = run("list", "--json")
    assert result.exit_code == 0
    rows = {row["name"]: row for row in strict(result.stdout)}
    assert rows.keys() >= TABLE.keys()
    for name in TABLE:
        spec = find(name).spec
        assert (rows[name]["unit"], rows[name]["better"], rows[name]["gradient"]) == (
            spec.unit,
            spec.better,
            spec.differentiable,
        )
    assert rows["pesq_wb"]["sample_rates"] == [16000]
    assert rows["mse"]["bounds"] == [0.0, None]


def test_the_list_in_a_pipe_is_a_row_a_measure() -> None:
    head, *rows = run("list").stdout.splitlines()
    assert head.split("\t")[:3] == ["name", "title", "family"]
    assert {row.split("\t")[0] for row in rows} >= TABLE.keys()
    assert all(row.count("\t") == head.count("\t") for row in rows)


@pytest.mark.parametrize("name", TABLE)
def test_a_measure_says_its_claims_settings_source_and_signature(name: str) -> None:
    spec = find(name).spec
    result = run("info", name)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert text.startswith(f"{name}: {spec.title} ")
    for key in ("range", "settings", "source", "gradient", "signature", "cite"):
        assert re.search(rf"^{key} ", result.stdout, re.MULTILINE)
    assert ".py:" in text
    assert ":math:" not in text
    assert all(key in text for key in spec.cite)


def test_a_setting_is_listed_with_its_default() -> None:
    assert re.search(r"^settings +zero_mean=False$", run("info", "si_sdr").stdout, re.MULTILINE)


@pytest.mark.parametrize("name", TABLE)
def test_every_measure_can_be_cited(name: str) -> None:
    result = run("cite", name)
    assert result.exit_code == 0, result.stderr
    assert re.findall(r"^@\w+\{(\w+),$", result.stdout, re.MULTILINE) == list(find(name).spec.cite)
    assert result.stdout.count("{") == result.stdout.count("}")


def test_a_paper_of_two_measures_is_printed_once() -> None:
    assert run("cite", "snr", "si_sdr").stdout.count("@") == 1


@pytest.mark.parametrize("command", ["info", "cite"])
def test_an_unknown_name_gets_the_nearest(command: str) -> None:
    result = run(command, "estio")
    assert result.exit_code == 2
    assert "did you mean 'estoi'?" in result.stderr
