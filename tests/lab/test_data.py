"""Data sets: the same item whenever, wherever and by whomever it is asked for; and folders that say what they lack."""

import csv
import math
import multiprocessing
import pickle
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from percloss.data import clips
from percloss.errors import ArgumentError, AudioFileError, PairingError, SampleRateError, ShapeError
from percloss.lab.data import (
    EmbeddedSong,
    EmbeddedSpeech,
    Example,
    Positions,
    SpeechInNoise,
    Tracks,
    dns,
    dns_pairs,
    librimix,
    librispeech,
    musdb18,
    urbansound8k,
    voicebank_demand,
)
from percloss.lab.data.noises import procedural_noise
from percloss.lab.data.recordings import recordings
from tests.signals import noise

pytest.importorskip("soundfile", reason="soundfile reads the clips")

SPLITS = ("train", "valid", "test")


def with_workers(test: Callable) -> Callable:
    """Forked, because they start at once; Python 3.12 has doubts about that, as torch has threads."""
    forks = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
    return pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")(forks(test))


def same(one: Example, other: Example) -> bool:
    return torch.equal(one.mix, other.mix) and torch.equal(one.target, other.target) and one[2:] == other[2:]


def wav(path: Path, wave: Tensor, rate: int = 8_000) -> None:
    """A file of floating-point samples, of which none is rounded."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    samples = wave.numpy().T
    if path.suffix == ".flac":
        soundfile.write(path, samples, rate, subtype="PCM_16")
    else:
        soundfile.write(path, samples, rate, subtype="FLOAT", format="WAV")


def sound(seconds: float = 0.5, *, channels: int = 1, rate: int = 8_000, seed: int = 0) -> Tensor:
    return 0.1 * noise(channels, int(seconds * rate), seed=seed).clamp(-3, 3)


def truncate(path: Path) -> None:
    """Cut the second half off: as after a copy that broke down."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# The embedded tasks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [EmbeddedSpeech, EmbeddedSong])
@pytest.mark.parametrize("split", SPLITS)
def test_an_item_is_the_same_however_it_is_asked_for(build: Callable, split: str) -> None:
    data, again = build(split, items=8), build(split, items=8)
    forward = [data[at] for at in range(8)]
    assert all(same(again[at], forward[at]) for at in reversed(range(8)))
    assert all(same(one, other) for one, other in zip(pickle.loads(pickle.dumps(data)), forward, strict=True))
    assert not any(same(forward[0], other) for other in forward[1:])
    assert not same(build(split, items=8, seed=1)[0], forward[0])


@with_workers
def test_workers_and_the_main_process_make_the_same_items() -> None:
    data = EmbeddedSpeech(items=6, segment=4_000)
    batches = list(DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="fork"))
    torch.testing.assert_close(torch.cat([batch.mix for batch in batches]), torch.stack([x.mix for x in data]))
    assert batches[0].mix.shape == (2, 1, 4_000)
    assert batches[0].target.shape == (2, 1, 1, 4_000)
    assert batches[0].sample_rate.tolist() == [16_000, 16_000]
    assert [name for batch in batches for name in batch.name] == [x.name for x in data]


def test_no_global_generator_is_used_or_heard() -> None:
    data = EmbeddedSpeech(items=4, segment=2_000)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()  # noqa: NPY002
    first = [data[at] for at in range(4)]
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), states[2])
    random.seed(9)
    np.random.seed(9)  # noqa: NPY002
    torch.random.manual_seed(9)
    assert all(same(data[at], first[at]) for at in range(4))


def test_later_epochs_have_other_items_and_there_is_no_last_one() -> None:
    data = EmbeddedSpeech(items=3, segment=2_000)
    assert len(list(data)) == len(data) == 3
    assert not any(same(data[at], data[at + 3]) for at in range(3))
    assert same(data[3_000_001], data[3_000_001])
    with pytest.raises(ArgumentError, match="items count from 0"):
        data[-1]


def test_speech_is_in_noise_at_the_ratio_it_names() -> None:
    data = EmbeddedSpeech(items=40, segment=8_000, snr_db=(0.0, 10.0))
    ratios = []
    for mix, target, rate, name in data:
        residual = mix - target[0]
        ratios.append(10 * math.log10(target.square().sum() / residual.square().sum()))
        assert name.endswith(f" at {ratios[-1]:.1f} dB")
        assert mix.abs().max() <= 1
        assert rate == 16_000
    assert min(ratios) > -0.01
    assert max(ratios) < 10.01
    assert max(ratios) - min(ratios) > 7
    kinds = Counter(name.split(" at ")[0] for *_, name in data)
    assert 10 < kinds["procedural"] < 30
    assert len(kinds) > 4


def test_splits_share_no_speech_and_no_stretch_of_a_noise() -> None:
    sets = {split: EmbeddedSpeech(split) for split in SPLITS}
    spoken = sum(entry["seconds"] for entry in clips().values() if entry["path"].startswith("speech/"))
    total = sum(data.speech.shape[-1] for data in sets.values())
    assert total / 16_000 == pytest.approx(spoken, abs=0.1)
    for name in sets["train"].noises:
        ends = [data.noises[name][0, -200:] for data in sets.values()]
        starts = [data.noises[name][0, :200] for data in sets.values()]
        assert not any(torch.equal(start, end) for start in starts for end in ends)
    assert sum(sets[split].noises["babble10"].shape[-1] for split in SPLITS) == 6 * 16_000


@pytest.mark.parametrize("seed", range(12))
def test_procedural_noise_is_heard_throughout_the_band(seed: int) -> None:
    made = procedural_noise(np.random.default_rng(seed), 16_000, 16_000)
    assert made.shape == (1, 16_000)
    assert made.square().mean().item() == pytest.approx(1.0, abs=1e-4)
    assert abs(made.mean().item()) < 1e-5
    spectrum = torch.fft.rfft(made[0]).abs().square()
    assert (spectrum[100:7_900].unflatten(0, (-1, 100)).mean(-1) > 0).all()


def test_a_songs_mixture_is_the_sum_of_its_stems() -> None:
    for split in SPLITS:
        data = EmbeddedSong(split, items=12, segment=8_000, sample_rate=16_000)
        assert data.sources == ("bass", "drums", "keys", "strings")
        for mix, target, rate, name in data:
            assert (mix.shape, target.shape, rate) == ((2, 8_000), (4, 2, 8_000), 16_000)
            assert torch.equal(mix, target.sum(0))
            assert name == "as played" or split == "train"
    kinds = Counter(x.name for x in EmbeddedSong(items=40, segment=1_000))
    assert 8 < kinds["remixed"] < 32


def test_what_an_embedded_task_cannot_give_is_refused() -> None:
    with pytest.raises(ArgumentError, match="there are train, valid, test"):
        EmbeddedSpeech("validation")
    with pytest.raises(ArgumentError, match="there are train, valid, test"):
        EmbeddedSong("dev")
    with pytest.raises(ArgumentError, match=r"EmbeddedSpeech: test: segment=500000 came; there are 270668 samples"):
        EmbeddedSpeech("test", segment=500_000)
    with pytest.raises(ArgumentError, match="use segment="):
        EmbeddedSong(segment=10**6)
    with pytest.raises(ArgumentError, match="lowest and the highest ratio"):
        EmbeddedSpeech(snr_db=(5.0, -5.0))
    with pytest.raises(ArgumentError, match="lowest and the highest ratio"):
        EmbeddedSpeech(snr_db=(math.nan, 5.0))
    for wrong in ({"segment": 0}, {"items": 0}, {"seed": -1}):
        with pytest.raises(ArgumentError, match="came; needed are"):
            EmbeddedSpeech(**wrong)


# The order of a run ---------------------------------------------------------------------------------------------------


def test_a_resumed_run_sees_what_it_would_have_seen() -> None:
    whole = list(Positions(10, batch_size=4, steps=9, seed=3))
    resumed = Positions(10, batch_size=4, steps=9, first=5, seed=3)
    assert list(resumed) == whole[20:]
    assert len(resumed) == 16
    assert list(Positions(10, batch_size=4, steps=9, seed=4)) != whole


def test_every_epoch_has_every_item_once_in_an_order_of_its_own() -> None:
    whole = list(Positions(12, batch_size=5, steps=12))
    epochs = [whole[begin : begin + 12] for begin in range(0, 60, 12)]
    for epoch, indices in enumerate(epochs):
        assert sorted(indices) == list(range(12 * epoch, 12 * epoch + 12))
    orders = {tuple(index % 12 for index in indices) for indices in epochs}
    assert len(orders) == 5
    assert tuple(range(12)) not in orders


def test_processes_share_a_step_of_one_process() -> None:
    alone = list(Positions(7, batch_size=6, steps=5, first=1))
    ranks = [list(Positions(7, batch_size=2, steps=5, first=1, rank=rank, world=3)) for rank in range(3)]
    together = [index for step in range(4) for own in ranks for index in own[2 * step : 2 * step + 2]]
    assert together == alone


@with_workers
def test_a_loader_can_begin_anywhere() -> None:
    data = EmbeddedSpeech(items=6, segment=1_000)

    def batches(first: int, workers: int) -> list[Tensor]:
        order = Positions(len(data), batch_size=4, steps=6, first=first)
        context = "fork" if workers else None
        loader = DataLoader(data, batch_size=4, sampler=order, num_workers=workers, multiprocessing_context=context)
        return [batch.mix for batch in loader]

    for one, other in zip(batches(0, 0)[3:], batches(3, 2), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "wrong", [{"length": 0}, {"batch_size": 0}, {"first": 9}, {"first": -1}, {"rank": 1}, {"world": 0}, {"seed": -1}]
)
def test_an_order_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ArgumentError, match=r"Positions: .* use Positions\(len\(data\)"):
        Positions(**{"length": 4, "batch_size": 2, "steps": 8} | wrong)


# MUSDB18 --------------------------------------------------------------------------------------------------------------


def musdb(root: Path, *, decoded: bool = False) -> Path:
    """Four tracks of training, one of them for validation, and one for testing; stems of 2 s in stereo at 44.1 kHz."""
    tracks = ["train/A - One", "train/B - Two", "train/C - Three", "train/Meaxic - Take A Step", "test/D - Four"]
    for at, track in enumerate(tracks):
        stems = {
            stem: sound(2.0, channels=2, rate=44_100, seed=4 * at + number)
            for number, stem in enumerate(("drums", "bass", "other", "vocals"))
        }
        mixture = torch.stack(list(stems.values())).sum(0)
        if decoded:  # by AAC: not the sum, and a part of a frame longer
            mixture = torch.nn.functional.pad(mixture + 1e-3, (0, 1_024))
        for stem, wave in stems.items() | {("mixture", mixture)}:
            wav(root / track / f"{stem}.wav", wave, 44_100)
    return root


def test_musdb18_hq_is_read_in_its_layout(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    data = {split: musdb18(root, split, segment=10_000) for split in SPLITS}
    assert [len(data[split]) for split in SPLITS] == [3, 1, 1]
    assert data["train"].sources == ("vocals", "accompaniment")
    for mix, target, rate, name in data["train"]:
        assert (mix.shape, target.shape, rate) == ((2, 10_000), (2, 2, 10_000), 44_100)
        torch.testing.assert_close(mix, target.sum(0), atol=1e-6, rtol=0)
        assert name[:5] in {"A - O", "B - T", "C - T"}
    assert data["valid"][0].name.startswith("Meaxic - Take A Step from ")
    (whole,) = musdb18(root, "test", sources=("bass", "vocals"))
    assert whole.mix.shape == (2, 88_200)
    torch.testing.assert_close(whole.target[0], sound(2.0, channels=2, rate=44_100, seed=17))


def test_stretches_are_drawn_by_seed_epoch_and_index(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    data, other = musdb18(root, segment=4_000), musdb18(root, segment=4_000, seed=1)
    assert all(same(data[at], musdb18(root, segment=4_000)[at]) for at in (5, 0, 4))
    starts = [data[at].name for at in range(30)] + [other[at].name for at in range(30)]
    assert len(set(starts)) > 55
    seconds = sorted(float(start.split()[-2]) for start in starts)
    assert seconds[0] < 0.2
    assert 1.6 < seconds[-1] <= 2 - 4_000 / 44_100 + 0.01


def test_decoded_musdb18_has_mixtures_of_its_own(tmp_path: Path) -> None:
    data = musdb18(musdb(tmp_path, decoded=True), segment=88_200)
    for example in data:
        assert (example.mix - example.target.sum(0)).mean().item() == pytest.approx(1e-3, abs=1e-5)
    (whole,) = musdb18(tmp_path, "test")
    assert whole.mix.shape[-1] == 88_200


def test_another_rate_is_another_length_of_the_same_time(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    data = musdb18(root, segment=8_000, sample_rate=16_000)
    mix, target, rate, _ = data[0]
    assert (mix.shape, rate) == ((2, 8_000), 16_000)
    torch.testing.assert_close(mix, target.sum(0), atol=1e-5, rtol=0)
    (whole,) = musdb18(root, "test", sample_rate=16_000)
    assert whole.mix.shape == (2, 32_000)


def test_missing_stems_are_listed(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    (root / "train/A - One/vocals.wav").unlink()
    (root / "train/C - Three/mixture.wav").unlink()
    with pytest.raises(AudioFileError, match=r"2 of 15 files are missing: A - One/vocals.wav, C - Three/mixture.wav"):
        musdb18(root)
    assert len(musdb18(root, "valid")) == 1


def test_a_folder_that_is_not_musdb18_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="there is no such folder; needed is MUSDB18's train and test"):
        musdb18(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(AudioFileError, match="holds no track"):
        musdb18(tmp_path)
    (tmp_path / "train" / "A - One.stem.mp4").touch()
    with pytest.raises(AudioFileError, match="musdbconvert IN OUT"):
        musdb18(tmp_path)
    wav(tmp_path / "train/A - One/mixture.wav", sound())
    with pytest.raises(AudioFileError, match="holds no tracks of the split 'valid'"):
        musdb18(tmp_path, "valid")
    with pytest.raises(ArgumentError, match="there are train, valid, test"):
        musdb18(tmp_path, "dev")
    with pytest.raises(ArgumentError, match="sources='voice' came; there are drums, bass, other, vocals, accomp"):
        musdb18(tmp_path, sources=("voice",))


def test_mixed_rates_lengths_and_channels_are_named(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    wav(root / "train/B - Two/bass.wav", sound(2.0, channels=2, rate=48_000), 48_000)
    with pytest.raises(SampleRateError, match=r"14 at 44100 Hz .*; 1 at 48000 Hz \(.*B - Two/bass.wav\).*sample_rate="):
        musdb18(root)
    assert musdb18(root, segment=1_000, sample_rate=44_100)[1].mix.shape == (2, 1_000)
    wav(root / "train/B - Two/bass.wav", sound(1.9, channels=2, rate=44_100), 44_100)
    with pytest.raises(ShapeError, match=r"B - Two: files of different length came: .*bass.wav 1.900 s"):
        musdb18(root)
    wav(root / "train/B - Two/bass.wav", sound(2.0, channels=1, rate=44_100), 44_100)
    with pytest.raises(ShapeError, match=r"B - Two: files of different channels came: .*bass.wav has 1"):
        musdb18(root)


def test_a_broken_file_ends_the_epoch_or_is_reported_and_skipped(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    data = musdb18(root, segment=80_000)
    truncate(root / "train/B - Two/bass.wav")
    with pytest.raises(AudioFileError, match=r"B - Two/bass.wav: .* it is truncated or was replaced; copy it again"):
        list(data)
    data.skip_broken = True
    with pytest.warns(UserWarning, match="skipped: .*B - Two/bass.wav"):
        epoch = list(data)
    assert len(epoch) == 3
    assert not any(x.name.startswith("B - Two") for x in epoch)
    with pytest.warns(UserWarning, match="skipped"):
        assert all(same(one, other) for one, other in zip(data, epoch, strict=True))


def test_a_file_that_is_broken_from_the_start_is_refused_or_left_out(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    truncate(root / "train/B - Two/bass.wav")
    with pytest.raises(AudioFileError, match=r"bass.wav: is truncated \(its header promises"):
        musdb18(root)
    (root / "train/C - Three/drums.wav").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="skipped: .*bass.wav: is truncated"),
        pytest.warns(UserWarning, match="skipped: .*drums.wav: is empty"),
    ):
        data = musdb18(root, skip_broken=True, segment=1_000)
    assert len(data) == 1


def test_nothing_but_broken_files_is_an_error(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    data = musdb18(root, "test", segment=80_000, skip_broken=True)
    for file in (root / "test").rglob("*.wav"):
        truncate(file)
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(AudioFileError, match="16 draws in a row"):
        data[0]


def test_samples_that_are_not_finite_are_a_broken_file(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    wave = sound(2.0, channels=2, rate=44_100)
    wave[0, 50_000] = math.nan
    wav(root / "test/D - Four/vocals.wav", wave, 44_100)
    with pytest.raises(AudioFileError, match=r"vocals.wav: holds samples that are NaN"):
        musdb18(root, "test")[0]


def test_an_augmented_source_changes_the_mixture_by_as_much(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    plain = musdb18(root, segment=5_000, sources=("vocals",))
    seeds = []

    def quieter(wave: Tensor, seed: int) -> Tensor:
        seeds.append(seed)
        return 0.5 * wave

    changed = musdb18(root, segment=5_000, sources=("vocals",), augment=quieter)
    for before, after in zip(plain, changed, strict=True):
        torch.testing.assert_close(after.target, 0.5 * before.target)
        torch.testing.assert_close(after.mix, before.mix - 0.5 * before.target[0], atol=1e-6, rtol=0)
    assert len(set(seeds)) == 3


# Speech ---------------------------------------------------------------------------------------------------------------


def test_librimix_is_read_in_its_layout(tmp_path: Path) -> None:
    base = tmp_path / "Libri2Mix" / "wav16k" / "min" / "train-100"
    for at, name in enumerate(("103-1240-0003_1235-1358-0004", "84-121-0001_19-198-0002")):
        first, second, hum = (sound(rate=16_000, seed=3 * at + part) for part in range(3))
        mixtures = {"mix_clean": first + second, "mix_both": first + second + hum, "mix_single": first + hum}
        for kind, wave in mixtures.items() | {("s1", first), ("s2", second), ("noise", hum)}:
            wav(base / kind / f"{name}.wav", wave, 16_000)
    root = tmp_path / "Libri2Mix"
    clean = librimix(root, segment=4_000)
    assert (len(clean), clean.sources, clean.sample_rate) == (2, ("s1", "s2"), 16_000)
    for mix, target, *_ in clean:
        torch.testing.assert_close(mix, target.sum(0), atol=1e-6, rtol=0)
    (mix, target, *_), _ = librimix(root, mixture="mix_both")
    assert (mix - target.sum(0)).square().mean() > 1e-3
    single = librimix(root, mixture="mix_single")
    assert single.sources == ("s1",)
    assert single[0].target.shape == (1, 1, 8_000)
    (base / "s2" / "84-121-0001_19-198-0002.wav").unlink()
    with pytest.raises(PairingError, match="no s2 of 84-121-0001_19-198-0002; needed is each name on every side"):
        librimix(root)
    with pytest.raises(AudioFileError, match="no such folder; needed is LibriMix's"):
        librimix(root, "dev")
    with pytest.raises(ArgumentError, match="there are mix_clean, mix_both, mix_single"):
        librimix(root, mixture="mix")


def voicebank(root: Path, *, tail: str = "_28spk") -> Path:
    for part, names in {f"trainset{tail}": ("p226_001", "p228_002", "p230_003"), "testset": ("p232_001",)}.items():
        for at, name in enumerate(names):
            clean = sound(0.4, rate=48_000, seed=at)
            wav(root / f"clean_{part}_wav" / f"{name}.wav", clean, 48_000)
            wav(root / f"noisy_{part}_wav" / f"{name}.wav", clean + sound(0.4, rate=48_000, seed=9), 48_000)
    return root


@pytest.mark.parametrize("tail", ["_28spk", ""])
def test_voicebank_demand_is_read_in_its_layout(tmp_path: Path, tail: str) -> None:
    root = voicebank(tmp_path, tail=tail)
    data = {split: voicebank_demand(root, split, sample_rate=16_000) for split in SPLITS}
    assert [len(data[split]) for split in SPLITS] == [2, 1, 1]
    assert data["valid"][0].name.startswith("p226_001")
    mix, target, rate, _ = data["train"][0]
    assert (mix.shape, target.shape, rate) == ((1, 6_400), (1, 1, 6_400), 16_000)
    short = voicebank_demand(root, segment=30_000)
    assert short.sample_rate == 48_000
    assert short[0].mix.shape == (1, 30_000)
    assert not short[0].mix[0, 19_200:].any(), "what is shorter than a segment is followed by zeros"


def test_voicebank_demand_without_a_partner_is_named(tmp_path: Path) -> None:
    root = voicebank(tmp_path)
    (root / "clean_testset_wav" / "p232_001.wav").rename(root / "clean_testset_wav" / "p232_002.wav")
    with pytest.raises(PairingError, match="no mixture of p232_002; no speech of p232_001"):
        voicebank_demand(root, "test")
    with pytest.raises(AudioFileError, match="clean_trainset_56spk_wav|noisy_trainset_56spk_wav"):
        voicebank_demand(root, speakers=56)


def test_dns_pairs_are_made_by_number(tmp_path: Path) -> None:
    for number in (0, 1, 10):
        clean = sound(seed=number)
        wav(tmp_path / "clean" / f"clean_fileid_{number}.wav", clean)
        wav(tmp_path / "noisy" / f"clnsp{number}_amMeH4u6AO8_snr5_tl-18_fileid_{number}.wav", clean + 0.5)
    data = dns_pairs(tmp_path)
    assert len(data) == 3
    for mix, target, *_ in data:
        torch.testing.assert_close(mix - target[0], torch.full((1, 4_000), 0.5))
    wav(tmp_path / "noisy" / "other_fileid_10.wav", sound())
    with pytest.raises(PairingError, match="are both fileid_10; needed is one of them"):
        dns_pairs(tmp_path)


@pytest.mark.parametrize("tail", ["", "_fullband"])
def test_dns_material_is_mixed_as_it_is_drawn(tmp_path: Path, tail: str) -> None:
    for at in range(3):
        wav(tmp_path / f"clean{tail}" / "read_speech" / f"book_{at}.wav", sound(1.0, seed=at))
        wav(tmp_path / f"noise{tail}" / f"hum_{at}.wav", sound(0.2, seed=50 + at))
    data = dns(tmp_path, segment=4_000, snr_db=(3.0, 3.0))
    assert len(data) == 3
    for mix, target, rate, name in data:
        residual = mix - target[0]
        assert 10 * math.log10(target.square().sum() / residual.square().sum()) == pytest.approx(3.0, abs=1e-3)
        assert rate == 8_000
        assert "book_" in name
        assert "hum_" in name
    with pytest.raises(AudioFileError, match="there is no such folder"):
        dns(tmp_path / "nowhere", segment=4_000)
    with pytest.raises(AudioFileError, match="holds no audio in clean"):
        dns(tmp_path / f"noise{tail}", segment=4_000)


def urban(root: Path) -> Path:
    rows = [("a-3-0-0.wav", 1, 8_000, 1), ("b-3-0-1.wav", 1, 44_100, 2), ("c-2-0-0.wav", 10, 96_000, 2)]
    (root / "metadata").mkdir(parents=True)
    with (root / "metadata" / "UrbanSound8K.csv").open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"])
        for at, (name, fold, rate, channels) in enumerate(rows):
            table.writerow([name, at, 0.0, 0.5, 1, fold, 3, "dog_bark"])
            wav(root / "audio" / f"fold{fold}" / name, sound(0.5, rate=rate, channels=channels, seed=at), rate)
    return root


def libri(root: Path) -> Path:
    for speaker, count in ((19, 2), (26, 1)):
        for at in range(count):
            name = f"{speaker}-198-{at:04}.flac"
            wav(root / "train-clean-100" / str(speaker) / "198" / name, sound(1.0, rate=16_000, seed=at), 16_000)
    return root


def test_librispeech_is_mixed_with_urban_sounds(tmp_path: Path) -> None:
    speech, noises = librispeech(libri(tmp_path / "LibriSpeech")), urbansound8k(urban(tmp_path / "UrbanSound8K"))
    assert (len(speech), len(noises)) == (3, 3)
    with pytest.raises(SampleRateError, match=r"8000 Hz .* 16000 Hz .* 44100 Hz .* 96000 Hz .*give one"):
        SpeechInNoise(speech, noises, segment=8_000)
    data = SpeechInNoise(speech, noises, segment=20_000, sample_rate=16_000)
    items = [data[at] for at in range(12)]
    assert all(x.mix.shape == (1, 20_000) and x.target.shape == (1, 1, 20_000) for x in items)
    assert all(x.mix.isfinite().all() for x in items)
    assert not items[0].target[0, 0, 16_000:].any()
    assert items[0].mix[0, 16_000:].any(), "a noise is repeated where it is shorter"
    assert {x.name.split("/")[-1].split(" at ")[0] for x in items} == {"a-3-0-0.wav", "b-3-0-1.wav", "c-2-0-0.wav"}


def test_urban_sounds_are_taken_by_folds_and_the_missing_are_named(tmp_path: Path) -> None:
    root = urban(tmp_path)
    assert [Path(found.path).name for found in urbansound8k(root, [10])] == ["c-2-0-0.wav"]
    with pytest.raises(ArgumentError, match="there are 1 to 10"):
        urbansound8k(root, [11])
    (root / "audio" / "fold1" / "b-3-0-1.wav").unlink()
    with pytest.raises(AudioFileError, match=r"1 of 3 files are missing: fold1/b-3-0-1.wav"):
        urbansound8k(root)
    with pytest.warns(UserWarning, match=r"skipped: .*b-3-0-1.wav"):
        assert len(urbansound8k(root, skip_broken=True)) == 2
    (root / "metadata" / "UrbanSound8K.csv").write_text("name,where\nx,1\n")
    with pytest.raises(AudioFileError, match="columns slice_file_name and fold"):
        urbansound8k(root)


def test_a_subset_of_librispeech_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="dev-clean: there is no such folder"):
        librispeech(libri(tmp_path), ["train-clean-100", "dev-clean"])
    (tmp_path / "test-clean").mkdir()
    with pytest.raises(AudioFileError, match=r"test-clean: holds no \*/\*/\*.flac"):
        librispeech(tmp_path, ["test-clean"])


def test_silent_stretches_are_drawn_again(tmp_path: Path) -> None:
    speech = torch.cat((torch.zeros(1, 6_000), sound(0.25)), dim=1)
    wav(tmp_path / "speech.wav", speech)
    wav(tmp_path / "noise.wav", sound(1.0, seed=3))
    spoken, disturbing = recordings([tmp_path / "speech.wav"]), recordings([tmp_path / "noise.wav"])
    data = SpeechInNoise(spoken, disturbing, segment=1_000)
    assert all(data[at].target.any() for at in range(20))
    wav(tmp_path / "speech.wav", torch.zeros(1, 8_000))
    with pytest.raises(AudioFileError, match="16 draws in a row were broken or silent"):
        data[0]
    with pytest.raises(ArgumentError, match="0 recordings of speech and 1 of noise came"):
        SpeechInNoise([], disturbing, segment=1_000)
    with pytest.raises(ArgumentError, match="0 tracks"):
        Tracks([], sources=("speech",))


def test_both_sides_of_a_mixture_can_be_augmented(tmp_path: Path) -> None:
    wav(tmp_path / "speech.wav", sound(seed=1))
    wav(tmp_path / "noise.wav", sound(seed=2))
    spoken, disturbing = recordings([tmp_path / "speech.wav"]), recordings([tmp_path / "noise.wav"])
    settings = {"segment": 4_000, "snr_db": (0.0, 0.0)}
    plain = SpeechInNoise(spoken, disturbing, **settings)[0]
    turned = SpeechInNoise(spoken, disturbing, **settings, augment=lambda wave, seed: -2 * wave)[0]
    torch.testing.assert_close(turned.target, -2 * plain.target)


def test_a_file_that_was_replaced_by_a_longer_one_or_is_gone_is_named(tmp_path: Path) -> None:
    root = musdb(tmp_path)
    data = musdb18(root, "test", segment=1_000)
    wav(root / "test/D - Four/vocals.wav", sound(2.0, rate=44_100), 44_100)
    with pytest.raises(AudioFileError, match="its header promised .* of 2 at 44100 Hz"):
        data[0]
    (root / "test/D - Four/vocals.wav").unlink()
    with pytest.raises(AudioFileError, match="vocals.wav: cannot be decoded .* damaged or gone"):
        data[0]
