"""``percloss score --group-by``: by column, folder, stem or pattern; what a group's row says."""

import csv
import io
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from percloss.scoring.pairing import Pair
from percloss.uncertainty import mean_interval
from tests.cli.support import folder, noise, plain, run, scored
from tests.cli.test_console import shown

TRACKS, STEMS = [f"t{number}" for number in range(7)], ("bass", "drums", "voice")


@pytest.fixture
def stems(tmp_path: Path) -> tuple[Path, Path]:
    """Seven tracks of three stems; a track is as noisy as its number."""
    names = [f"{track}/{stem}" for track in TRACKS for stem in STEMS]
    refs = {name: noise(seed) for seed, name in enumerate(names)}
    est = {name: ref + 0.01 * (1 + seed // 3) * noise(50 + seed) for seed, (name, ref) in enumerate(refs.items())}
    return folder(tmp_path / "est", est), folder(tmp_path / "ref", refs)


def values(found: dict, part: str) -> np.ndarray:
    return np.array([file["scores"]["snr"] for file in found["files"] if part in file["name"]])


def test_each_track_has_its_mean_median_interval_and_number(stems) -> None:
    found = scored(stems[0], "--ref", stems[1], "-m", "snr", "--group-by", "track")
    assert found["groups"]["by"] == "track"
    each = found["groups"]["systems"]["est"]["each"]
    assert list(each) == TRACKS
    own = values(found, "t3/")
    interval = mean_interval(own)
    assert each["t3"]["snr"] == {
        "mean": pytest.approx(own.mean()),
        "median": pytest.approx(np.median(own)),
        "ci95": pytest.approx(list(interval)),
        "n": 3,
    }
    assert [file["group"] for file in found["files"]] == [name for name in TRACKS for _ in STEMS]


def test_the_interval_of_all_resamples_whole_tracks(stems) -> None:
    """Files of one track are alike here: taken for independent they promise too much, as the plain summary does."""
    found = scored(stems[0], "--ref", stems[1], "-m", "snr", "--group-by", "track")
    whole = found["groups"]["systems"]["est"]["all"]["snr"]
    labels = np.repeat(TRACKS, 3)
    assert whole["ci95"] == pytest.approx(list(mean_interval(values(found, "/"), groups=labels)))
    plain_low, plain_high = found["summary"]["snr"]["ci95"]
    assert whole["ci95"][1] - whole["ci95"][0] > 1.2 * (plain_high - plain_low)
    assert whole["mean"] == pytest.approx(found["summary"]["snr"]["mean"])


def test_three_stems_are_no_sample_of_stems(stems) -> None:
    found = scored(stems[0], "--ref", stems[1], "-m", "snr", "--group-by", "stem")
    groups = found["groups"]["systems"]["est"]
    assert {stem: one["snr"]["n"] for stem, one in groups["each"].items()} == dict.fromkeys(STEMS, 7)
    assert groups["each"]["bass"]["snr"]["ci95"] is not None
    assert groups["all"]["snr"]["ci95"] is None


@pytest.mark.parametrize(("pattern", "names"), [("^t([0-3])?", {"0", "1", "2", "3", ""}), ("[bd]", {"b", "d", ""})])
def test_a_pattern_is_searched_in_the_name_and_what_it_does_not_find_is_without_group(stems, pattern, names) -> None:
    found = scored(stems[0], "--ref", stems[1], "-m", "snr", "--group-by", pattern)
    each = found["groups"]["systems"]["est"]["each"]
    assert each.keys() == names
    assert sum(one["snr"]["n"] for one in each.values()) == 21


@pytest.mark.parametrize("form", ["tsv", "jsonl"])
def test_a_column_of_the_list_makes_groups(stems, form: str) -> None:
    rows = [(stems[0] / f"t{i}/bass.wav", stems[1] / f"t{i}/bass.wav", "low" if i < 3 else "high") for i in range(7)]
    if form == "tsv":
        text = "est\tref\tlevel\n" + "".join(f"{est}\t{ref}\t{level}\n" for est, ref, level in rows)
    else:
        text = "".join(
            json.dumps({"est": str(e), "ref": str(r), "level": 1 if x == "low" else 2}) + "\n" for e, r, x in rows
        )
    found = scored("--pairs", "-", "-m", "snr", "--group-by", "level", stdin=text)
    each = found["groups"]["systems"]["stdin"]["each"]
    assert [one["snr"]["n"] for one in each.values()] == [3, 4]
    assert list(each) == (["low", "high"] if form == "tsv" else ["1", "2"])


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("speaker", "got 'speaker', by which no item has a group; needed is"),
        ("(", "no regular expression"),
        ("x-y", "t0/b"),
    ],
)
def test_groups_that_are_none_are_refused(stems, by: str, words: str) -> None:
    result = run("score", stems[0], "--ref", stems[1], "-m", "snr", "--group-by", by)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_pipe_gets_a_row_a_group_and_measure_with_numbers_in_full(stems) -> None:
    options = (stems[0], "--ref", stems[1], "-m", "snr,lsd", "--group-by", "track")
    rows = list(csv.DictReader(io.StringIO(run("score", *options).stdout), delimiter="\t"))
    assert len(rows) == 2 * (len(TRACKS) + 1)
    each = scored(*options)["groups"]["systems"]["est"]["each"]
    row = next(row for row in rows if (row["group"], row["measure"]) == ("t2", "lsd"))
    assert [float(row[name]) for name in ("mean", "median", "ci95_low", "n")] == [
        *(each["t2"]["lsd"][name] for name in ("mean", "median")),
        each["t2"]["lsd"]["ci95"][0],
        3,
    ]


def test_a_broken_file_is_not_in_its_group(stems) -> None:
    (stems[0] / "t1" / "bass.wav").write_bytes(b"")
    found = scored(stems[0], "--ref", stems[1], "-m", "snr", "--group-by", "track", code=3)
    assert found["groups"]["systems"]["est"]["each"]["t1"]["snr"]["n"] == 2
    assert found["groups"]["systems"]["est"]["each"]["t1"]["snr"]["ci95"] is None


def test_the_document_is_as_the_schema_says_and_has_no_groups_unasked(stems) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((resources.files("percloss.scoring") / "schema.json").read_text())
    options = (stems[0], "--ref", stems[1], "-m", "snr")
    asked, unasked = scored(*options, "--group-by", "stem"), scored(*options)
    for found in (asked, unasked):
        jsonschema.validate(found, schema)
    assert unasked["groups"] is None
    assert {**plain(unasked), "files": 0, "groups": 0} == {**plain(asked), "files": 0, "groups": 0}


def test_a_row_of_a_written_table_names_its_group(stems, tmp_path: Path) -> None:
    scored(stems[0], "--ref", stems[1], "-m", "snr", "--group-by", "stem", "-o", tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        assert {row["group"] for row in csv.DictReader(file)} == set(STEMS)


def test_a_resumed_run_groups_what_was_kept(stems, tmp_path: Path) -> None:
    """Groups are made of results: a run that began without them can be taken up with them."""
    output = tmp_path / "scores.json"
    options = (stems[0], "--ref", stems[1], "-m", "snr", "-o", output)
    from percloss.cli import run as module

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "write_output", _refuse)
        assert run("score", *options).exit_code == 2
    assert (tmp_path / "scores.json.journal.jsonl").exists()
    found = scored(*options, "--group-by", "track", "--resume")
    assert list(found["groups"]["systems"]["est"]["each"]) == TRACKS


def _refuse(path: Path, content: bytes) -> None:
    from percloss.errors import ArgumentError

    raise ArgumentError("the disk is full.")


def test_a_pair_is_the_same_pair_in_any_group() -> None:
    one = Pair(system="s", name="n", est="e", ref="r", group="a")
    assert one == Pair(system="s", name="n", est="e", ref="r")


def test_a_terminal_shows_a_row_a_group(monkeypatch: pytest.MonkeyPatch, stems) -> None:
    found = scored(stems[0], "--ref", stems[1], "-m", "snr,lsd", "--group-by", "track")
    lines = shown(monkeypatch, found, columns=80, no_color=True).splitlines()
    assert max(map(len, lines)) <= 100
    own = found["groups"]["systems"]["est"]
    row = next(line for line in lines if line.split()[:1] == ["t1"])
    assert row.split()[1:3] == [f"{own['each']['t1']['snr'][name]:.2f}" for name in ("mean", "median")]
    low, high = own["all"]["snr"]["ci95"]
    assert any(line.split()[0:1] == ["all"] and f"{low:.2f} to {high:.2f}" in line for line in lines)
