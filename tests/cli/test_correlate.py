"""``percloss correlate``: from recordings and ratings to a table, also from bad ones, also after a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from percloss.cli import correlating
from percloss.measures import TABLE
from percloss.scoring import engine
from tests.cli.support import noise, run, strict, write

MEASURES = "snr,mae"


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings through five systems of more and more noise, and scores that fall with it."""
    root = tmp_path_factory.mktemp("rated")
    rows = ["path,ref,score,system,content,ci95"]
    draw = np.random.default_rng(0)
    for content in range(6):
        ref = noise(content)
        write(root / f"ref/{content}.wav", ref)
        for system, level in enumerate((0.03, 0.1, 0.3, 1.0, 3.0)):
            write(root / f"est/{content}_{system}.wav", ref + level * noise(100 + 10 * content + system))
            score = 90 - 18 * system + draw.uniform(-8, 8)
            rows.append(f"est/{content}_{system}.wav,ref/{content}.wav,{score:.2f},s{system},{content},5")
    (root / "ratings.csv").write_text("\n".join(rows))
    return root


def correlated(*arguments: object, code: int = 0) -> Any:
    """The document of ``percloss correlate ARGUMENTS --json``."""
    result = run("correlate", *arguments, "--json")
    assert result.exit_code == code, result.stderr
    return strict(result.stdout)


def test_where_none_is_named_the_usual_measures_are_taken_and_all_on_request(
    rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlating, "USUAL", ("snr", "si_sdr_i"))
    monkeypatch.setattr(engine, "TABLE", {name: TABLE[name] for name in ("snr", "mae", "si_sdr_i")})
    for measures, taken in (((), {"snr"}), (("-m", "all"), {"snr", "mae"})):
        document = correlated(rated / "ratings.csv", *measures, "--cache", tmp_path)
        assert document["sets"]["ratings"]["measures"].keys() == taken
        assert document["problems"] == []


def test_a_measure_that_follows_the_noise_follows_the_listeners(rated: Path, tmp_path: Path) -> None:
    document = correlated(rated / "ratings.csv", "-m", MEASURES, "--cache", tmp_path)
    found = document["sets"]["ratings"]
    assert (found["stimuli"], found["systems"], found["contents"]) == (30, 5, 6)
    snr = found["measures"]["snr"]
    assert snr["pooled"]["srcc"] > 0.9
    assert snr["pooled"]["ci95"][0] > 0.8
    assert snr["system"]["srcc"] == pytest.approx(1.0)
    assert "too few to claim significance" in snr["system"]["note"]
    assert snr["within_content"]["srcc"] > 0.9
    # Within a system the scores are dice.
    assert abs(snr["within_system"]["srcc"]) < 0.7
    assert found["measures"]["mae"]["better"] == "lower"
    assert found["measures"]["mae"]["pooled"]["srcc"] > 0.9, "turned so that higher is better"
    assert snr["mapped"]["cubic"]["plcc"] > 0.9
    assert document["problems"] == []


def test_every_output_holds_the_same(rated: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    out = tmp_path / "out"
    command = (rated / "ratings.csv", "-m", MEASURES, "--cache", tmp_path, "--out", out, "--parquet")
    printed = correlated(*command)
    assert {path.name for path in out.iterdir()} == {f"correlation.{end}" for end in ("txt", "json", "html", "parquet")}
    assert strict((out / "correlation.json").read_text()) == printed
    table = parquet.read_table(out / "correlation.parquet")
    assert table.num_rows == 30 * 2
    assert strict(table.schema.metadata[b"percloss"].decode()) == printed
    snr = printed["sets"]["ratings"]["measures"]["snr"]["pooled"]["srcc"]
    assert f"{snr:.2f}" in (out / "correlation.txt").read_text()
    html = (out / "correlation.html").read_text()
    assert html.count("<img ") == 2
    assert 'src="data:image/png;base64,' in html
    assert "http" not in html.replace("http-equiv", ""), "one file that needs nothing else"


def test_in_a_pipe_it_is_a_table_of_tabs(rated: Path, tmp_path: Path) -> None:
    result = run("correlate", rated / "ratings.csv", "-m", MEASURES, "--cache", tmp_path)
    head, *lines = result.stdout.splitlines()
    assert head.split("\t")[:4] == ["set", "measure", "better", "n"]
    assert {line.split("\t")[1] for line in lines} == {"snr", "mae"}


def test_two_processes_find_the_same(rated: Path, tmp_path: Path) -> None:
    one = correlated(rated / "ratings.csv", "-m", MEASURES, "--cache", tmp_path / "1", "--jobs", 1)
    two = correlated(rated / "ratings.csv", "-m", MEASURES, "--cache", tmp_path / "2", "--jobs", 2)
    assert one["sets"] == two["sets"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on_to_the_same_table(rated: Path, tmp_path: Path, kill: signal.Signals) -> None:
    arguments = [str(rated / "ratings.csv"), "-m", "snr,mrstft,mel,mae", "--cache", str(tmp_path), "--json"]
    command = [sys.executable, "-m", "percloss", "correlate", *arguments]
    cache = tmp_path / "ratings.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if cache.exists() and cache.read_bytes().count(b"\n") > 8:
                process.send_signal(kill)
                break
            time.sleep(0.005)
        out, err = process.communicate(timeout=120)
    assert process.returncode == (130 if kill is signal.SIGINT else -signal.SIGKILL), err
    assert "Traceback" not in err
    assert out == ""
    assert 8 < cache.read_bytes().count(b"\n") < 120
    resumed = correlated(*arguments[:-1])
    whole = correlated(*arguments[:3], "--cache", tmp_path / "fresh")
    assert resumed["sets"] == whole["sets"]


def table(rated: Path, tmp_path: Path, change: Any) -> Path:
    """The table with its lines changed, elsewhere."""
    head, *lines = (rated / "ratings.csv").read_text().splitlines()
    path = tmp_path / "changed.csv"
    path.write_text("\n".join([head, *change(lines)]))
    return path


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(rated: Path, tmp_path: Path) -> None:
    (rated / "est" / "broken.wav").write_bytes(b"no audio at all")
    try:
        extra = [
            "est/none.wav,ref/0.wav,50,s0,x,5",
            "est/broken.wav,ref/0.wav,50,s0,y,5",
            "est/0_0.wav,ref/0.wav,x,s0,0,5",
        ]
        path = table(rated, tmp_path, lambda lines: [*lines[1:], *extra])
        document = correlated(path, "--root", rated, "-m", "snr", "--cache", tmp_path, code=3)
    finally:
        (rated / "est" / "broken.wav").unlink()
    problems = "\n".join(document["problems"])
    for said in (
        "none.wav: there is no such file",
        "broken.wav: cannot be decoded",
        "score x",
        "0_0.wav: nobody rated it",
    ):
        assert said in problems
    assert document["sets"]["changed"]["measures"]["snr"]["n"] == 29


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda lines: [",".join([*line.split(",")[:2], "3", *line.split(",")[3:]]) for line in lines],
            "constant|equal|same",
        ),
        (lambda lines: lines[:2], "2 stimuli|too few|three"),
    ],
)
def test_where_there_is_no_correlation_it_says_why(rated: Path, tmp_path: Path, change: Any, said: str) -> None:
    path = table(rated, tmp_path, change)
    document = correlated(path, "--root", rated, "-m", "snr", "--cache", tmp_path, code=3)
    found = document["sets"]["changed"]
    assert found["best"] is None
    assert found["measures"]["snr"]["pooled"]["srcc"] is None
    import re

    assert re.search(said, found["measures"]["snr"]["pooled"]["note"])


def test_three_stimuli_give_a_number_and_no_interval(rated: Path, tmp_path: Path) -> None:
    path = table(rated, tmp_path, lambda lines: lines[:3])
    document = correlated(path, "--root", rated, "-m", "snr", "--cache", tmp_path, code=3)
    assert document["sets"]["changed"]["measures"]["snr"]["pooled"]["ci95"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "got 'nowhere'; known are svs_mushra"),
        (("none.csv",), "none.csv: cannot be read"),
        (("svs_mushra", "--root", "."), "holds no ratings.csv"),
        (("--scale", "quality"), "got --scale and no set"),
        (("x.csv", "--parquet"), "got --parquet without --out"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("correlate", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_scale_that_was_not_asked_for_names_those_that_were(rated: Path, tmp_path: Path) -> None:
    path = table(rated, tmp_path, lambda lines: lines)
    result = run("correlate", path, "--root", rated, "--scale", "noise", "--cache", tmp_path)
    assert result.exit_code == 2
    assert "--scale: got 'noise'" in result.stderr


def test_an_unknown_measure_proposes_the_nearest(rated: Path, tmp_path: Path) -> None:
    result = run("correlate", rated / "ratings.csv", "-m", "si_sd", "--cache", tmp_path)
    assert result.exit_code == 2
    assert "did you mean 'si_sdr'" in result.stderr


def test_without_a_set_it_says_what_the_seed_paper_shows() -> None:
    result = run("correlate")
    assert result.exit_code == 0
    assert "0.985" in result.stdout
    assert "show no disparity" in result.stdout
    for name in ("gensvs_dcr", "svs_mushra"):
        assert f"{name}" in result.stdout
    document = correlated()
    assert document["sets"]["seed_paper/MOS"]["measures"]["SDR"]["system"]["plcc"] == 0.985


def test_the_published_measures_of_generated_voices_are_as_reported(data_root: Path, tmp_path: Path) -> None:
    """An analysis of the same ratings made before, with other code."""
    names = "sdr,sisdr,multi_res_loss,emb_mse_mert_df,emb_mse_clap_music_df"
    root = data_root / "gensvs_dcr"
    found = correlated("gensvs_dcr", "--root", root, "-m", names, "--cache", tmp_path)["sets"]["gensvs_dcr"]
    pooled = {name: one["pooled"]["srcc"] for name, one in found["measures"].items()}
    expected = dict(zip(names.split(","), (0.233, 0.244, 0.639, 0.671, 0.737), strict=True))
    assert pooled == pytest.approx(expected, abs=0.005)
    sdr = found["measures"]["sdr"]
    assert sdr["families"]["discriminative"]["srcc"] == pytest.approx(0.672, abs=0.005)
    assert sdr["system"]["srcc"] == pytest.approx(-0.1, abs=0.005)
    assert found["ceiling"]["pooled"] == pytest.approx(0.964, abs=0.005)
    assert found["ceiling"]["all_halvings"]
    # The resampled songs have to agree, and with so many groups they do, to a few hundredths.
    assert sdr["pooled"]["ci95"] == pytest.approx([0.12, 0.34], abs=0.02)
    real = {one["measure"]: one["real"] for one in found["differences"]}
    assert real["sdr"]
    assert real["sisdr"]
