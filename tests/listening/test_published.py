"""Published sets, each as a miniature in its own layout."""

import csv
from pathlib import Path

import pytest

from percloss.errors import ArgumentError, PairingError
from percloss.listening.sets import SETS, open_set


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def write(path: Path, *rows: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_odaq(tmp_path: Path) -> None:
    folder = tmp_path / "ODAQ" / "ODAQ_listening_test"
    trial = folder / "LP_guitar"
    touch(*(trial / name for name in ("reference.wav", "lp35.wav", "LP_10.wav", "LP_16.wav")))
    for place, name, shift in ((folder, "one.xml", 0), (tmp_path / "ODAQ_v1_BSU" / "Cohort_B1", "one.xml", 6)):
        place.mkdir(parents=True, exist_ok=True)
        files = "".join(
            f'<testFile fileName="{file}" plays="1" score="{score - shift}"/>'
            for file, score in (("reference.wav", 100), ("lp35.wav", 20), ("LP_10.wav", 60), ("LP_16.wav", 90))
        )
        (place / name).write_text(
            f'<MUSHRA><info subjectName="one"/><trials><trial trialName="LP_guitar">{files}</trial></trials></MUSHRA>'
        )
    (folder / "torn.xml").write_text("<MUSHRA><trials>")
    found = open_set("odaq", tmp_path)
    by_system = {stimulus.system: stimulus for stimulus in found.stimuli}
    assert by_system["LP_10"].score == 57
    assert by_system["LP_10"].ref == str(trial / "reference.wav")
    assert (by_system["LP_10"].content, by_system["LP_10"].family) == ("LP_guitar", "LP")
    assert [by_system[name].role for name in ("reference", "lp35", "LP_16")] == ["reference", "anchor", "stimulus"]
    assert len(by_system["LP_10"].ratings) == 2, "one listener of each laboratory, though both are called one"
    assert len(found.problems) == 1
    assert "torn.xml: is no XML" in found.problems[0]


def test_sebass(tmp_path: Path) -> None:
    for condition in ("orig", "anker_mix", "Algo34"):
        touch(tmp_path / "Signals" / condition / "male_1.wav", tmp_path / "Signals" / condition / "male_2.wav")
    head = ["Testname", "Listener", "Trial", "Condition", "Ratingscore"]
    rows = [
        ["SiSEC08", listener, trial, condition, score]
        for listener in ("Listener_1", "Listener_2")
        for trial in ("male_1", "male_2")
        for condition, score in (("hidden_ref", 100), ("anchor", 10), ("Algo34", 37 if listener[-1] == "1" else 43))
    ]
    write(tmp_path / "SiSEC08.csv", head, *rows, ["SiSEC08", "Listener_3", "male_1", "Algo34", "NaN"])
    found = open_set("sebass", tmp_path)
    chosen = [stimulus for stimulus in found.stimuli if stimulus.system == "Algo34"]
    assert [stimulus.score for stimulus in chosen] == [40, 40]
    assert chosen[0].est == str(tmp_path / "Signals" / "Algo34" / "male_1.wav")
    assert chosen[0].ref == str(tmp_path / "Signals" / "orig" / "male_1.wav")
    assert chosen[0].mix == str(tmp_path / "Signals" / "anker_mix" / "male_1.wav")
    assert {stimulus.role for stimulus in found.stimuli if stimulus.system != "Algo34"} == {"reference", "anchor"}
    assert found.problems == ("SiSEC08.csv, line 14: Ratingscore is NaN; needed is a number",)


def test_the_three_tests_of_saoc_have_folders_of_their_own(tmp_path: Path) -> None:
    for part in (1, 2):
        touch(*(tmp_path / f"Signals_{part}" / condition / "song.wav" for condition in ("orig", "Algo1")))
        write(
            tmp_path / f"SAOC_{part}_anonymized.csv",
            ["Testname", "Listener", "Trial", "Condition", "Ratingscore"],
            [f"SAOC_{part}", "a", "song", "Algo1", 50 + part],
            [f"SAOC_{part}", "a", "song", "hidden_ref", 99],
        )
    tests = open_set("sebass", tmp_path).tests()
    assert list(tests) == ["sebass/SAOC_1", "sebass/SAOC_2"]
    assert tests["sebass/SAOC_2"][0].est == str(tmp_path / "Signals_2" / "Algo1" / "song.wav")


def test_nisqa(tmp_path: Path) -> None:
    touch(*(tmp_path / "NISQA_TEST_FOR" / kind / "c1_f1.wav" for kind in ("deg", "ref")), tmp_path / "live.wav")
    write(
        tmp_path / "NISQA_corpus_file.csv",
        [*("db", "con", "file", "filename_ref", "votes", "mos", "noi", "mos_std", "filepath_deg", "filepath_ref")],
        [
            "NISQA_TEST_FOR",
            1,
            1,
            "f1.wav",
            30,
            3.5,
            4.1,
            0.9,
            "NISQA_TEST_FOR/deg/c1_f1.wav",
            "NISQA_TEST_FOR/ref/c1_f1.wav",
        ],
        ["NISQA_VAL_LIVE", 7, 1, "", 5, 2.5, "", 1.0, "live.wav", ""],
    )
    found = open_set("nisqa", tmp_path)
    mos = [stimulus for stimulus in found.stimuli if stimulus.scale == "mos"]
    assert [(stimulus.part, stimulus.score) for stimulus in mos] == [("NISQA_TEST_FOR", 3.5), ("NISQA_VAL_LIVE", 2.5)]
    assert mos[0].interval == pytest.approx(2.0452 * 0.9 / 30**0.5, abs=1e-3), "Student's t with 29 degrees"
    assert mos[0].content == "f1.wav"
    assert mos[1].ref is None
    assert found.problems == ("NISQA_corpus_file.csv, line 3: noi is empty; needed is a number",)


def test_bvcc(tmp_path: Path) -> None:
    names = ("sys64e2f-utt1.wav", "sysb1e65-utt2.wav")
    touch(*(tmp_path / "DATA" / "wav" / name for name in names))
    sets = tmp_path / "DATA" / "sets"
    sets.mkdir(parents=True)
    lines = [
        f"{name[:8]},{name},{score + vote},x_1,{{}}_30-39_{vote}_Female_Valid_1_No"
        for name, score in zip(names, (3, 1), strict=True)
        for vote in (0, 1)
    ]
    (sets / "TRAINSET").write_text("\n".join([*lines, "sys64e2f,sys64e2f-utt1.wav"]))
    found = open_set("bvcc", tmp_path)
    assert [(stimulus.system, stimulus.score) for stimulus in found.stimuli] == [("sys64e2f", 3.5), ("sysb1e65", 1.5)]
    assert all(stimulus.ref is None and len(stimulus.ratings) == 2 for stimulus in found.stimuli)
    assert list(found.tests()) == ["bvcc/TRAINSET"]
    assert len(found.problems) == 1
    assert "TRAINSET, line 5" in found.problems[0]


def test_tcd_voip(tmp_path: Path) -> None:
    folder = tmp_path / "Test Set" / "echo"
    touch(folder / "C_01_ECHO_FA.wav", folder / "ref" / "R_01_ECHO_FA.wav")
    head = ["Filename", "ConditionID", "sample MOS", "listener  # ->", 1, 2]
    write(tmp_path / "scores.csv", head, ["C_01_ECHO_FA.wav", 1, 4.5, "", 4, 5], ["R_01.wav", 1, 5, "", 5, 5])
    found = open_set("tcd_voip", tmp_path)
    assert len(found.stimuli) == 1
    only = found.stimuli[0]
    assert (only.score, only.system, only.content, only.family) == (4.5, "ECHO_01", "FA", "ECHO")
    assert only.ref == str(folder / "ref" / "R_01_ECHO_FA.wav")
    assert only.ratings == {"1": 4, "2": 5}
    assert "R_01.wav; needed are C_NUMBER_KIND_TALKER.wav" in found.problems[0]


@pytest.mark.parametrize("name", SETS)
def test_a_folder_that_is_not_the_set_says_what_is_needed(tmp_path: Path, name: str) -> None:
    with pytest.raises(PairingError, match="--root DIR|one CSV file"):
        open_set(name, tmp_path)


def test_an_unknown_set_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="got 'musdb'; known are svs_mushra"):
        open_set("musdb", tmp_path)
