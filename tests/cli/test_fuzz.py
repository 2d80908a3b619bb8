"""Broken audio of every kind: a result or a named error, never a traceback, never a hang."""

import io
import random
from pathlib import Path

import pytest

from tests.cli.support import RATE, noise, run, strict, write

hypothesis = pytest.importorskip("hypothesis")
soundfile = pytest.importorskip("soundfile")
st = hypothesis.strategies

KINDS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III", "aiff": "PCM_24"}


def encoded(kind: str) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, noise(3, samples=4000), RATE, format=kind.upper(), subtype=KINDS[kind])
    return content.getvalue()


WHOLE = {kind: encoded(kind) for kind in KINDS if kind.upper() in soundfile.available_formats()}


def mutated(whole: bytes, how: str, seed: int) -> bytes:
    chance = random.Random(seed)
    content = bytearray(whole)
    # Headers are short and decide the most: half of all mutations are there.
    places = [chance.randrange(min(64, len(content)) if chance.random() < 0.5 else len(content)) for _ in range(8)]
    if how == "cut":
        return bytes(content[: places[0]])
    if how == "insert":
        return bytes(content[: places[0]]) + chance.randbytes(40) + bytes(content[places[0] :])
    if how == "repeat":
        return bytes(content) + bytes(content[places[0] :])
    for place in places[: chance.randint(1, 8)]:
        content[place] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
    return bytes(content)


@hypothesis.settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
@hypothesis.given(
    kind=st.sampled_from(sorted(WHOLE)),
    how=st.sampled_from(["flip", "flip", "flip", "cut", "insert", "repeat"]),
    seed=st.integers(0, 2**32),
    flags=st.sets(st.sampled_from(["--resample=8000", "--trim", "--mono"])),
)
@pytest.mark.timeout(300)
def test_a_mutated_file_scores_or_is_named(tmp_path_factory: pytest.TempPathFactory, kind, how, seed, flags) -> None:
    ref = tmp_path_factory.getbasetemp() / "fuzz-ref.wav"
    if not ref.exists():
        write(ref, noise(3, samples=4000))
    est = Path(f"{ref.parent}/fuzz-est.{kind}")
    est.write_bytes(mutated(WHOLE[kind], how, seed))
    result = run("score", est, "--ref", ref, "-m", "si_sdr,mrstft", "--json", *flags)
    assert result.exit_code in (0, 3), result.stderr
    assert "Traceback" not in result.stderr
    assert "unforeseen" not in result.stderr
    (file,) = strict(result.stdout)["files"]
    if file["error"] is None:
        assert all(value is not None or file["reasons"][name] for name, value in file["scores"].items())
    else:
        assert file["error"].startswith(f"{est}: ")


@pytest.mark.parametrize(
    "content", ["", "est\tref\n", "est\n1\n", '{"est": 1}', "{", '"\n"', "\x00\t\x00", "est,ref\na,\n"]
)
def test_a_broken_list_of_pairs_is_named(content: str) -> None:
    result = run("score", "--pairs", "-", stdin=content)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("percloss: error: standard input")


def test_a_list_that_is_no_text_is_named() -> None:
    result = run("score", "--pairs", "-", stdin=b"\xff\xfe\x00est")
    assert result.exit_code == 2
    assert "save it as UTF-8" in result.stderr
