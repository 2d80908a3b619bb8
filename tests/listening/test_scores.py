"""Scores of a listening test: made once, kept by content, of the signals that a measure is to be given."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from percloss import evaluate
from percloss.listening.rated import Stimulus
from percloss.listening.scores import Scoring
from percloss.listening.sets import open_set
from percloss.measure import create
from percloss.scoring.audio import read
from tests.cli.support import RATE, noise, write

pytest.importorskip("soundfile", reason="soundfile is not installed")
pytest.importorskip("soxr", reason="soxr is not installed")


@pytest.fixture
def stimuli(tmp_path: Path) -> list[Stimulus]:
    """Two recordings at two levels of noise."""
    found = []
    for content in (1, 2):
        ref = noise(content)
        write(tmp_path / f"{content}.wav", ref)
        for level in (0.1, 1.0):
            est = write(tmp_path / f"{content}_{level}.wav", ref + level * noise(10 + content))
            found.append(
                Stimulus(
                    score=5 - level,
                    where=f"line {len(found) + 2}",
                    est=str(est),
                    ref=str(tmp_path / f"{content}.wav"),
                    system=str(level),
                    content=str(content),
                )
            )
    return found


def scored(stimuli: Sequence[Stimulus], *measures: str, cache: Path, align: bool = False) -> Scoring:
    scoring = Scoring(stimuli, measures, cache=cache, name="mini", align=align, jobs=1)
    for done, total in scoring.run():
        assert done <= total
    return scoring


def lines(cache: Path) -> int:
    return (cache / "mini.jsonl").read_bytes().count(b"\n")


def test_a_score_is_that_of_evaluate(stimuli, tmp_path: Path) -> None:
    found = scored(stimuli, "snr", "mae", cache=tmp_path / "cache")
    for index, stimulus in enumerate(stimuli):
        est, ref = (read(path).wave for path in (stimulus.est, stimulus.ref))
        for name, value in evaluate(est, ref, RATE, ["snr", "mae"]).items():
            assert found.values[name][index] == pytest.approx(value.item(), abs=1e-6)


def test_a_second_run_makes_nothing_anew(stimuli, tmp_path: Path) -> None:
    first = scored(stimuli, "snr", "mae", cache=tmp_path / "cache")
    before = (tmp_path / "cache" / "mini.jsonl").read_bytes()
    second = Scoring(stimuli, ["snr", "mae"], cache=tmp_path / "cache", name="mini", jobs=1)
    assert list(second.run()) == [(8, 8)]
    assert (tmp_path / "cache" / "mini.jsonl").read_bytes() == before
    assert {name: list(values) for name, values in second.values.items()} == {
        name: list(values) for name, values in first.values.items()
    }


def test_of_a_measure_that_is_added_only_that_one_is_scored(stimuli, tmp_path: Path) -> None:
    scored(stimuli, "snr", cache=tmp_path / "cache")
    again = Scoring(stimuli, ["snr", "mae"], cache=tmp_path / "cache", name="mini", jobs=1)
    assert next(iter(again.run())) == (4, 8)
    scored(stimuli, "snr", "mae", cache=tmp_path / "cache")
    assert lines(tmp_path / "cache") == 8


def test_a_line_that_was_torn_off_costs_that_score_only(stimuli, tmp_path: Path) -> None:
    whole = scored(stimuli, "snr", cache=tmp_path / "cache").values["snr"]
    path = tmp_path / "cache" / "mini.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert list(scored(stimuli, "snr", cache=tmp_path / "cache").values["snr"]) == list(whole)
    assert lines(tmp_path / "cache") == 5, "the torn line stays, and is passed over"


def test_a_recording_that_has_changed_is_scored_anew(stimuli, tmp_path: Path) -> None:
    before = scored(stimuli, "snr", cache=tmp_path / "cache").values["snr"]
    write(Path(stimuli[0].est or ""), noise(1) + 0.01 * noise(99))
    after = scored(stimuli, "snr", cache=tmp_path / "cache").values["snr"]
    assert after[0] > before[0] + 10
    assert list(after[1:]) == list(before[1:])


def test_a_recording_that_cannot_be_read_is_named_and_the_rest_goes_on(stimuli, tmp_path: Path) -> None:
    Path(stimuli[1].est or "").write_bytes(b"no audio at all")
    found = scored(stimuli, "snr", cache=tmp_path / "cache")
    assert len(found.problems) == 1
    assert found.problems[0].startswith("line 3: ")
    assert "cannot be decoded" in found.problems[0]
    assert np.isnan(found.values["snr"]).tolist() == [False, True, False, False]


def test_two_scales_of_one_recording_are_scored_once(stimuli, tmp_path: Path) -> None:
    from dataclasses import replace

    both = [*stimuli, *(replace(stimulus, scale="other") for stimulus in stimuli)]
    found = scored(both, "snr", cache=tmp_path / "cache")
    assert lines(tmp_path / "cache") == 4
    assert list(found.values["snr"][:4]) == list(found.values["snr"][4:])


def test_what_delays_and_inverts_an_estimate_is_undone_where_it_is_asked_for(stimuli, tmp_path: Path) -> None:
    est = Path(stimuli[0].est or "")
    upright = scored(stimuli, "snr", cache=tmp_path / "cache").values["snr"][0]
    wave = read(est).wave[0].numpy().T
    write(est, -np.concatenate([np.zeros((9, 1)), wave[:-9]]))
    late = scored(stimuli, "snr", cache=tmp_path / "cache").values["snr"][0]
    found = scored(stimuli, "snr", cache=tmp_path / "cache", align=True)
    assert late < 0
    # The nine samples that fell off the end are silence now: a ninth of a percent of the energy, against 1 % of noise.
    assert found.values["snr"][0] == pytest.approx(upright, abs=0.5)
    assert found.mended == {"delay": [str(est)], "polarity": [str(est)]}
    assert set(scored(stimuli, "snr", cache=tmp_path / "cache").found) >= {"delay", "polarity"}


def test_a_measure_of_other_rates_gets_the_recording_resampled(tmp_path: Path) -> None:
    ref = noise(1)
    paths = [write(tmp_path / name, wave, 24_000) for name, wave in (("e.wav", ref + 0.1 * noise(2)), ("r.wav", ref))]
    one = Stimulus(score=1, where="line 2", est=str(paths[0]), ref=str(paths[1]))
    found = scored([one], "pmsqe", "snr", cache=tmp_path / "cache")
    assert "sr:16000|rs:soxr-hq" in found.signatures["pmsqe"]
    assert "sr:24000" in found.signatures["snr"]
    assert np.isfinite(found.values["pmsqe"][0])


def with_interferer(stimuli: Sequence[Stimulus], tmp_path: Path) -> Stimulus:
    from dataclasses import replace

    other = write(tmp_path / "other.wav", noise(7))
    return replace(stimuli[0], interferers=(str(other),))


def test_a_measure_of_sources_gets_the_estimate_and_what_it_leaves(stimuli, tmp_path: Path) -> None:
    one = with_interferer(stimuli, tmp_path)
    est, ref, other = (read(path).wave for path in (one.est, one.ref, *one.interferers))
    sources = torch.stack([est, ref + other - est], 1), torch.stack([ref, other], 1)
    found = scored([one], "si_sir", "si_sdr_i", cache=tmp_path / "cache")
    assert found.values["si_sir"][0] == pytest.approx(create("si_sir")(*sources)[0, 0].item(), abs=1e-3)
    gain = create("si_sdr")(est, ref) - create("si_sdr")(ref + other, ref)
    assert found.values["si_sdr_i"][0] == pytest.approx(gain.item(), abs=1e-3)


def test_a_measure_that_lacks_a_signal_says_which(stimuli, tmp_path: Path) -> None:
    from dataclasses import replace

    found = scored(stimuli, "snr", "bss_sir", "si_sdr_i", cache=tmp_path / "cache")
    assert list(found.reasons["bss_sir"]) == ["needs the other sources, and they are not known"]
    assert list(found.reasons["si_sdr_i"]) == ["needs the mixture, and it is not known"]
    alone = scored([replace(stimuli[0], ref=None)], "snr", cache=tmp_path / "cache")
    assert list(alone.reasons["snr"]) == ["needs a reference, and there is none"]


def test_bss_eval_of_the_separated_voices_is_as_published(data_root: Path) -> None:
    """Of images, version 3, over the whole: the sources that the adapter names span those of the authors."""
    rated = open_set("svs_mushra", data_root / "svs_mushra")
    song = [stimulus for stimulus in rated.tests()["svs_mushra/sound_quality"] if stimulus.content == "vocals-10-SIR"]
    judged = [stimulus for stimulus in song if stimulus.role == "stimulus"]
    assert len(judged) == 5
    for one in judged:
        est, ref, other = (read(path) for path in (one.est, one.ref, *one.interferers))
        sources = (
            torch.stack([est.wave, ref.wave + other.wave - est.wave], 1),
            torch.stack([ref.wave, other.wave], 1),
        )
        for name in ("sir", "sar", "isr"):
            measure = create(f"bss_{name}", sample_rate=est.sample_rate, version=3, window=None)
            ours = measure(*sources)[0, 0].item()
            assert ours == pytest.approx(one.published[f"published_{name.upper()}"], abs=0.02), (one.system, name)


@pytest.mark.parametrize(
    ("name", "tests", "stimuli"),
    [
        ("svs_mushra", 2, 60),
        ("codec_mushra", 1, 56),
        ("p835_reference_conditions", 6, 44),
        ("gensvs_dcr", 1, 250),
    ],
)
def test_the_sets_at_hand_are_read_whole(data_root: Path, name: str, tests: int, stimuli: int) -> None:
    found = open_set(name, data_root / name)
    assert not found.problems
    sizes = [sum(stimulus.role == "stimulus" for stimulus in each) for each in found.tests().values()]
    assert sizes == [stimuli] * tests
    # MUSHRA has 100 points, the others five; a mean of listeners lies within.
    highest = 100 if name.endswith("mushra") else 5
    assert all(0 <= stimulus.score <= highest for stimulus in found.stimuli)
