"""Ratings in a table: whoever wrote it, what can be read is read, and each row that cannot is named."""

from pathlib import Path

import pytest

from percloss.errors import PairingError
from percloss.listening.rated import RatedSet
from percloss.listening.table import number, read_table

HEAD = "path,ref,score,system,content"
ROWS = ["a1.wav,a.wav,4.5,one,a", "a2.wav,a.wav,2,two,a", "b1.wav,b.wav,3.5,one,b", "b2.wav,b.wav,1,two,b"]
FILES = ("a.wav", "b.wav", "a1.wav", "a2.wav", "b1.wav", "b2.wav")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings that are there; what is in them does not matter here."""
    for name in FILES:
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def table(folder: Path, *rows: str, head: str = HEAD) -> RatedSet:
    (folder / "ratings.csv").write_text("\n".join([head, *rows]), encoding="utf-8")
    return read_table(folder / "ratings.csv")


def scores(found: RatedSet) -> dict[str, float]:
    return {Path(stimulus.est or "").name: stimulus.score for stimulus in found.stimuli}


GOOD = {"a1.wav": 4.5, "a2.wav": 2.0, "b1.wav": 3.5, "b2.wav": 1.0}


def test_a_table_is_what_it_says(folder: Path) -> None:
    found = table(folder, *ROWS)
    assert scores(found) == GOOD
    assert not found.problems
    first = found.stimuli[0]
    assert (first.system, first.content, first.ref) == ("one", "a", str(folder / "a.wav"))
    assert first.where == "ratings.csv, line 2"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_separator_and_a_decimal_comma_are_met(folder: Path, delimiter: str) -> None:
    def other(line: str) -> str:
        return line.replace(",", delimiter).replace(".5", ",5")

    assert scores(table(folder, *map(other, ROWS), head=other(HEAD))) == GOOD


def test_a_quoted_decimal_comma_and_a_byte_order_mark_are_met(folder: Path) -> None:
    assert scores(table(folder, *(row.replace("4.5", '"4,5"') for row in ROWS), head="\ufeff" + HEAD)) == GOOD


@pytest.mark.parametrize(("text", "value"), [("3,5", 3.5), (" 4 ", 4.0), ("-1e2", -100.0)])
def test_numbers(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "good", "1,234.5", "1,2,3", "inf", "nan"])
def test_what_is_no_number(text: str) -> None:
    assert number(text) != number(text)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a1.wav,a.wav,good,one,c", "line 6: path is a1.wav and score good; needed are a recording and a number"),
        (",a.wav,3,one,c", "line 6: path is empty and score 3"),
        ("a1.wav,a.wav,3,one,a", "line 6: a1.wav was rated above already"),
        ("c1.wav,a.wav,3,one,c", "c1.wav: there is no such file"),
        ("a1.wav", "score empty"),
    ],
)
def test_a_row_that_is_of_no_use_is_named_and_the_rest_goes_on(folder: Path, row: str, said: str) -> None:
    found = table(folder, *ROWS, row)
    assert scores(found) == GOOD
    assert len(found.problems) == 1
    assert said in found.problems[0]


def test_a_recording_that_nobody_rated_is_named(folder: Path) -> None:
    found = table(folder, *ROWS[:3])
    assert found.problems == (f"{folder / 'b2.wav'}: nobody rated it; it is left out",)


def test_where_nothing_joins_both_sides_are_shown(folder: Path) -> None:
    with pytest.raises(PairingError) as error:
        table(folder, "x/a1.wav,a.wav,4", "x/a2.wav,a.wav,2", head="path,ref,score")
    assert "x/a1.wav" in str(error.value)
    assert "a1.wav, " in str(error.value).partition("In ")[2]
    assert "--root DIR" in str(error.value)


def test_root_is_where_the_paths_begin(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "ratings.csv"
    elsewhere.write_text("\n".join([HEAD, *ROWS]))
    assert scores(read_table(elsewhere, folder)) == GOOD


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "needed are rows with the columns path, score"),
        (b"file,mos\na,1\n", "has file, mos and 1 rows below"),
        (b"path,score\n", "has path, score and 0 rows below"),
        (b"path,score\n\xff\xfe,1\n", "is no UTF-8 text"),
    ],
)
def test_a_table_that_cannot_be_read_says_what_is_needed(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "ratings.csv").write_bytes(content)
    with pytest.raises(PairingError, match=said):
        read_table(tmp_path / "ratings.csv")


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(PairingError, match="cannot be read"):
        read_table(tmp_path / "none.csv")


LISTENERS = [
    f"{name},{ref},{score},{listener}"
    for listener, shift in (("x", 0), ("y", 10), ("z", -10))
    for name, ref, score in (
        ("a1.wav", "a.wav", 80 + shift),
        ("a2.wav", "a.wav", 40 + shift),
        ("b1.wav", "b.wav", 60 + shift),
        ("b2.wav", "b.wav", 20 + shift),
    )
]
BY_LISTENER = "path,ref,score,listener"


def test_ratings_of_listeners_become_their_mean_and_its_interval(folder: Path) -> None:
    found = table(folder, *LISTENERS, head=BY_LISTENER)
    assert scores(found) == {"a1.wav": 80, "a2.wav": 40, "b1.wav": 60, "b2.wav": 20}
    # Three ratings of standard deviation 10: Student's t at 0.975 with two degrees of freedom is 4.3027.
    assert found.stimuli[0].interval == pytest.approx(4.3027 * 10 / 3**0.5, abs=1e-3)
    assert found.stimuli[0].ratings == {"x": 80, "y": 90, "z": 70}


def test_a_listener_who_always_says_50_is_named_and_left_out(folder: Path) -> None:
    rows = [*LISTENERS, *(f"{name},a.wav,50,bored" for name in GOOD)]
    found = table(folder, *rows, head=BY_LISTENER)
    assert found.problems == ("listener bored: says 50 of all 4 stimuli; left out",)
    assert scores(found) == {"a1.wav": 80, "a2.wav": 40, "b1.wav": 60, "b2.wav": 20}


def test_a_second_rating_by_one_listener_does_not_count(folder: Path) -> None:
    found = table(folder, *LISTENERS, "a1.wav,a.wav,0,x", head=BY_LISTENER)
    assert found.problems == ("ratings.csv, line 14: listener x rated it twice; the first rating counts",)
    assert found.stimuli[0].score == 80


def test_scales_are_tests_of_their_own(folder: Path) -> None:
    rows = [f"{row},{scale}" for scale in ("quality", "noise") for row in ROWS]
    found = table(folder, *rows, head=f"{HEAD},scale")
    assert found.scales == ("quality", "noise")
    assert list(found.tests()) == ["ratings/quality", "ratings/noise"]
    assert list(found.of_scale("noise").tests()) == ["ratings"]
