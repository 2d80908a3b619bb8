"""The command line as a program: how it starts, what a terminal and a pipe get, how it ends."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import folder, noise, run, scored

percloss_cli = pytest.importorskip("percloss.cli", reason="click is not installed")

LIGHT = """
import sys
from percloss.__main__ import main

commands = [f"{name} --help" for name in ("score", "compare", "list", "info", "cite")]
for words in ("--version", "--help", *commands, "scoer"):
    sys.argv = ["percloss", *words.split()]
    try:
        main()
    except SystemExit as end:
        print(words, end.code)
print(sorted({"torch", "numpy", "scipy", "rich", "soundfile"} & sys.modules.keys()))
"""


def test_help_and_version_do_not_wait_for_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, timeout=60)
    assert re.search(r"^percloss \d+\.\d+\.\d+$", done.stdout, re.MULTILINE)
    for command in ("score", "compare", "list", "info", "cite", "demo"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)
    assert done.stdout.count("\nUsage: percloss") + done.stdout.startswith("Usage") == 6
    assert "scoer 2" in done.stdout
    assert "Did you mean 'score'?" in done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_bare_it_prints_the_pip_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from percloss import __main__

    monkeypatch.setattr(__main__, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 2
    assert 'pip install "percloss[cli]"' in capsys.readouterr().err


def test_a_pipe_that_closes_early_ends_it_without_a_word(tmp_path: Path) -> None:
    # More than a pipe holds, so that the writing itself fails.
    names = [f"{index:03d}-{'long' * 40}" for index in range(120)]
    est = folder(tmp_path / "est", {name: noise(0, samples=1000) for name in names})
    command = [sys.executable, "-m", "percloss", "score", est, "--ref", est, "-m", "snr", "--json", "--jobs", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "{\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 141


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_under_no_color_a_terminal_gets_a_table_without_a_single_escape(tmp_path: Path) -> None:
    import pty

    est = folder(tmp_path / "est", {name: noise(index) for index, name in enumerate("abc")})
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "100"}
    command = [sys.executable, "-m", "percloss", "score", est, "--ref", est, "-m", "snr,lsd"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        try:
            while part := os.read(ours, 65536):
                seen += part
        except OSError:  # how Linux says that the other end is closed
            pass
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert b"\x1b" not in seen
    assert b"95 % interval" in seen


class _Terminal(io.TextIOWrapper):
    mode, name = "w", "screen"

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, document: object, *, columns: int, no_color: bool = False) -> str:
    """What a terminal of this width shows."""
    from percloss.cli import terminal

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1" if no_color else "")
    screen = _Terminal(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", screen)
    terminal.print_results(document)
    monkeypatch.undo()
    screen.seek(0)
    return screen.read()


@pytest.fixture
def two_systems(tmp_path: Path) -> object:
    refs = {f"utterance-{index}": noise(index) for index in range(4)}
    ref = folder(tmp_path / "ref", refs)
    for system, level in (("good", 0.01), ("bad", 0.1)):
        folder(tmp_path / system, {name: wave + level * noise(9) for name, wave in refs.items()})
    (tmp_path / "bad" / "utterance-3.wav").write_bytes(b"")
    measures = "mse,mae,snr,si_sdr,sd_sdr,stft,mrstft,mel,multi_scale_mel,lsd"
    return scored(tmp_path / "good", tmp_path / "bad", "--ref", ref, "-m", measures, code=3)


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_a_table_fits_the_window_and_has_unit_direction_and_interval(monkeypatch, two_systems, columns: int) -> None:
    text = shown(monkeypatch, two_systems, columns=columns, no_color=True)
    lines = text.splitlines()
    assert max(len(line) for line in lines if "|sr:" not in line) <= columns
    assert "…" not in text
    assert "dB ↑" in text
    assert "dB ↓" in text
    assert sum("utterance-3" in line and "failed" in line for line in lines) >= 1
    mean, interval = (two_systems["systems"]["good"]["summary"]["snr"][name] for name in ("mean", "ci95"))
    (row,) = (line for line in lines if re.match(r"snr +dB ↑ +good ", line))
    assert row.split()[4:] == [f"{mean:.2f}", f"{interval[0]:.2f}", "to", f"{interval[1]:.2f}", "4"]
    assert "snr,si_sdr" in text
    assert "|sr:16000|v:percloss" in text


def test_colour_is_on_for_a_terminal_and_off_where_it_is_not_wanted(monkeypatch, two_systems) -> None:
    assert "\x1b[" in shown(monkeypatch, two_systems, columns=100)
    assert "\x1b" not in shown(monkeypatch, two_systems, columns=100, no_color=True)


def test_one_pair_is_shown_measure_by_measure(monkeypatch, pair) -> None:
    text = shown(monkeypatch, scored(pair[0], "--ref", pair[1], "-m", "snr,lsd"), columns=80, no_color=True)
    assert re.search(r"^snr +\d\d\.\d\d +dB ↑ +Signal-to-noise ratio *$", text, re.MULTILINE)


def test_an_unforeseen_error_is_one_line_and_a_traceback_only_with_debug(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    from percloss.cli import run as module

    def fault(*given: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(module, "pair_up", fault)
    result = run("score", pair[0], "--ref", pair[1])
    assert result.exit_code == 70
    assert (
        result.stderr
        == "percloss: error: unforeseen RuntimeError: a fault of ours; --debug says where. Please report it.\n"
    )
    with pytest.raises(RuntimeError):
        run("score", pair[0], "--ref", pair[1], "--debug")


def test_a_named_error_has_its_traceback_with_debug(pair) -> None:
    from percloss.errors import UnknownMeasureError

    with pytest.raises(UnknownMeasureError):
        run("score", pair[0], "--ref", pair[1], "-m", "si_srd", "--debug")
