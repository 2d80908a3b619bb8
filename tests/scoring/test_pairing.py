"""Pairs are made by relative name without suffix; whatever has no partner is named."""

from pathlib import Path

import pytest

from percloss.errors import PairingError
from percloss.scoring.audio import shown
from percloss.scoring.manifest import read_pairs
from percloss.scoring.pairing import pair_up


def touch(root: Path, *names: str) -> str:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(root)


def pairs(est: list[str], ref: str, mix: str | None = None) -> dict[tuple[str, str], str | None]:
    """Reference by system and name, where there is no problem."""
    return {(pair.system, pair.name): pair.ref for pair in pair_up(est, ref, mix) if not pair.problem}


def test_the_relative_path_decides_and_the_suffix_does_not(tmp_path: Path) -> None:
    ref = touch(tmp_path / "ref", "a.wav", "b/a.wav", "b/c.flac")
    est = touch(tmp_path / "est", "b/a.mp3", "b/c.wav", "a.OGG")
    assert pairs([est], ref) == {
        ("est", "a"): f"{ref}/a.wav",
        ("est", "b/a"): f"{ref}/b/a.wav",
        ("est", "b/c"): f"{ref}/b/c.flac",
    }


def test_a_dot_in_a_name_is_no_suffix(tmp_path: Path) -> None:
    ref, est = touch(tmp_path / "ref", "take.1.wav", "take.2.wav"), touch(tmp_path / "est", "take.2.flac", "take.1.wav")
    assert pairs([est], ref)["est", "take.2"] == f"{ref}/take.2.wav"


def test_what_is_hidden_or_no_audio_is_not_looked_at(tmp_path: Path) -> None:
    ref = touch(tmp_path / "ref", "a.wav", "._a.wav", ".git/b.wav", "notes.txt")
    est = touch(tmp_path / "est", "a.wav", "a.json")
    assert [pair.name for pair in pair_up([est], ref)] == ["a"]


def test_links_are_followed_and_a_loop_ends(tmp_path: Path) -> None:
    touch(tmp_path / "disk", "a.wav")
    ref, est = touch(tmp_path / "ref", "x/a.wav"), tmp_path / "est"
    est.mkdir()
    try:
        (est / "x").symlink_to(tmp_path / "disk", target_is_directory=True)
        (tmp_path / "disk" / "loop").symlink_to(est, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    assert pairs([str(est)], ref) == {("est", "x/a"): f"{ref}/x/a.wav"}


def test_what_is_left_on_either_side_is_named(tmp_path: Path) -> None:
    ref, est = touch(tmp_path / "ref", "a.wav", "b.wav"), touch(tmp_path / "est", "a.wav", "c.wav")
    problems = {(pair.est, pair.ref): pair.problem for pair in pair_up([est], ref) if pair.problem}
    assert problems == {
        (None, f"{ref}/b.wav"): f"{ref}/b.wav: no estimate is named b in {est}",
        (f"{est}/c.wav", None): f"{est}/c.wav: no reference is named c in {ref}",
    }


def test_two_files_of_one_name_are_not_guessed_about(tmp_path: Path) -> None:
    ref, est = (
        touch(tmp_path / "ref", "a.wav", "b.wav", "b.flac"),
        touch(tmp_path / "est", "a.wav", "a.ogg", "b.wav", "c.wav"),
    )
    touch(tmp_path / "ref", "c.wav")
    assert pairs([est], ref).keys() == {("est", "c")}
    ambiguous = [pair.problem for pair in pair_up([est], ref) if pair.problem and "share one name" in pair.problem]
    assert len(ambiguous) == 3


def test_systems_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    ref = touch(tmp_path / "ref", "a.wav")
    est = [touch(tmp_path / name, "a.wav") for name in ("one/out", "two/out")]
    assert [system for system, _ in pairs(est, ref)] == ["one/out", "two/out"]


def test_files_belong_to_the_system_of_their_folder(tmp_path: Path) -> None:
    ref = touch(tmp_path / "ref", "a.wav", "b.wav", "c.wav")
    touch(tmp_path / "x", "a.wav", "b.wav")
    touch(tmp_path / "y", "a.wav")
    est = [str(tmp_path / name) for name in ("x/a.wav", "y/a.wav", "x/b.wav")]
    # The file c was not asked for, and is not missed.
    assert {(pair.system, pair.name) for pair in pair_up(est, ref)} == {("x", "a"), ("x", "b"), ("y", "a")}


def test_a_system_given_twice_is_refused(tmp_path: Path) -> None:
    ref, est = touch(tmp_path / "ref", "a.wav"), touch(tmp_path / "est", "a.wav")
    with pytest.raises(PairingError, match="came twice"):
        pair_up([est, f"{est}/../est"], ref)


def test_a_folder_and_one_reference_do_not_go_together(tmp_path: Path) -> None:
    ref, est = touch(tmp_path / "ref", "a.wav"), touch(tmp_path / "est", "a.wav")
    with pytest.raises(PairingError, match=r"est: the estimate is a folder .* percloss score .*/\*\.wav --ref"):
        pair_up([est], f"{ref}/a.wav")
    with pytest.raises(PairingError, match="the mixture is a folder"):
        pair_up([f"{est}/a.wav"], f"{ref}/a.wav", ref)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    ref, est = touch(tmp_path / "ref", "a.wav"), touch(tmp_path / "est", "readme.txt")
    with pytest.raises(PairingError, match=r"est: holds no audio file.*\.flac"):
        pair_up([est], ref)


def test_a_mixture_is_beside_the_stems_or_named_like_the_track_or_like_the_file(tmp_path: Path) -> None:
    names = ("x/bass.wav", "x/keys.wav", "y/bass.wav", "z.wav")
    ref, est = touch(tmp_path / "ref", *names), touch(tmp_path / "est", *names)
    mix = touch(tmp_path / "mix", "x/mixture.wav", "y.flac", "z.wav")
    found = {pair.name: (pair.mix, pair.stem) for pair in pair_up([est], ref, mix)}
    assert found == {
        "x/bass": (f"{mix}/x/mixture.wav", "bass"),
        "x/keys": (f"{mix}/x/mixture.wav", "keys"),
        "y/bass": (f"{mix}/y.flac", "bass"),
        "z": (f"{mix}/z.wav", None),
    }


def test_the_folder_of_references_may_hold_the_mixtures(tmp_path: Path) -> None:
    ref = touch(tmp_path / "ref", "x/bass.wav", "x/mixture.wav", "y/bass.wav")
    est = touch(tmp_path / "est", "x/bass.wav", "y/bass.wav")
    found = {pair.name: pair.mix for pair in pair_up([est], ref, ref)}
    assert found == {"x/bass": f"{ref}/x/mixture.wav", "y/bass": None}


def test_one_mixture_serves_all_stems(tmp_path: Path) -> None:
    names = ("bass.wav", "keys.wav")
    ref, est, mix = touch(tmp_path / "ref", *names), touch(tmp_path / "est", *names), touch(tmp_path, "song.wav")
    found = {pair.stem: pair.mix for pair in pair_up([est], ref, f"{mix}/song.wav")}
    assert found == {"bass": f"{mix}/song.wav", "keys": f"{mix}/song.wav"}


def test_a_name_that_is_no_unicode_can_be_shown() -> None:
    assert shown(b"caf\xe9.wav".decode("utf-8", "surrogateescape")) == "caf\\xe9.wav"


@pytest.mark.parametrize(
    "text",
    [
        "est\tref\tmix\tsystem\na.wav\tb.wav\tm.wav\tone\n",
        "system,mix,ref,est,note\r\none,m.wav,b.wav,a.wav,x\r\n",
        '\ufeff{"est": "a.wav", "ref": "b.wav", "mix": "m.wav", "system": "one", "db": 3}\n\n',
    ],
)
def test_a_list_is_a_table_or_json_lines_and_relative_to_itself(tmp_path: Path, text: str) -> None:
    source = tmp_path / "pairs.txt"
    source.write_text(text, encoding="utf-8")
    (pair,) = read_pairs(str(source))
    assert (pair.est, pair.ref, pair.mix) == tuple(str(tmp_path / name) for name in ("a.wav", "b.wav", "m.wav"))
    assert (pair.system, pair.name) == ("one", "a")


def test_a_list_without_systems_is_one_system_of_its_own_name(tmp_path: Path) -> None:
    source = tmp_path / "night.tsv"
    source.write_text("est\tref\n/x/a.wav\t/y/b.wav\n")
    (pair,) = read_pairs(str(source))
    assert (pair.system, pair.est) == ("night", "/x/a.wav")


def test_a_line_without_a_reference_is_named_by_its_number(tmp_path: Path) -> None:
    source = tmp_path / "pairs.csv"
    source.write_text("est,ref\na.wav,b.wav\nc.wav,\n")
    with pytest.raises(PairingError, match=r"pairs.csv, line 3: .* no value for ref"):
        read_pairs(str(source))
