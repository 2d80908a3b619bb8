"""Augmentation: the same change for the same seed, whatever the global generators hold, and theirs left alone."""

import pickle
import random
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss.errors import ArgumentError, MissingExtraError, ShapeError
from percloss.lab.data import EmbeddedSpeech
from percloss.lab.data.augment import Augment, remix
from tests.signals import RATE, noise, speech

OFF = {
    "gain_db": 0.0,
    "pitch_semitones": 0.0,
    "tempo_percent": 0.0,
    "equaliser_db": 0.0,
    "room": False,
    "band_limits": False,
}
ALONE = {
    "gain": {"gain_db": 6.0},
    "pitch": {"pitch_semitones": 2.0},
    "tempo": {"tempo_percent": 10.0},
    "equaliser": {"equaliser_db": 6.0},
    "room": {"room": True},
    "band limits": {"band_limits": True},
}
each = pytest.mark.parametrize("kind", ALONE)


@pytest.fixture(scope="module")
def library() -> None:
    for package in ("audiomentations", "pyroomacoustics"):
        pytest.importorskip(package, reason=f"{package} comes with the extra augment")


def only(kind: str, probability: float = 1.0) -> Augment:
    return Augment(RATE, probability=probability, **OFF | ALONE[kind])


def voice() -> Tensor:
    return speech(seconds=1.0)[0]


def centroid(wave: Tensor) -> float:
    power = torch.fft.rfft(wave[0]).abs().square()
    return float((power * torch.fft.rfftfreq(wave.shape[-1], 1 / RATE)).sum() / power.sum())


def level(wave: Tensor) -> float:
    return float(10 * wave.square().mean().log10())


@each
def test_a_seed_is_a_change(library: None, kind: str) -> None:
    wave, augment = voice(), only(kind)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    one = augment(wave, 5)
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert torch.equal(augment(wave, 5), one)
    assert torch.equal(only(kind)(wave, 5), one)
    assert not torch.equal(augment(wave, 6), one)
    assert not torch.equal(one, wave)
    assert (one.shape, one.dtype) == (wave.shape, wave.dtype)
    assert one.isfinite().all()


def test_the_global_generators_are_put_back_even_after_a_failure(library: None, monkeypatch) -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()  # noqa: NPY002
    augment = Augment(RATE, probability=1.0)
    augment(voice(), 3)

    def fails(samples: np.ndarray, rate: int) -> np.ndarray:
        random.random()
        np.random.random()  # noqa: NPY002
        raise ValueError("no")

    monkeypatch.setattr(augment, "changes", [fails])
    with pytest.raises(ValueError, match="no"):
        augment(voice(), 3)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), states[2])


def test_two_channels_are_changed_alike_and_silence_is_left_alone(library: None) -> None:
    augment, wave = Augment(RATE, probability=1.0), voice()
    both = augment(wave.expand(2, -1), 4)
    torch.testing.assert_close(both[0], both[1], atol=1e-4, rtol=0)  # single precision, through six changes
    assert not augment(torch.zeros(1, 4_000), 4).any()


def test_it_goes_to_workers_before_and_after_use(library: None) -> None:
    augment, wave = Augment(RATE, probability=1.0), voice()
    fresh = pickle.loads(pickle.dumps(augment))
    one = augment(wave, 1)
    assert torch.equal(fresh(wave, 1), one)
    assert torch.equal(pickle.loads(pickle.dumps(augment))(wave, 1), one)


def test_an_argument_is_not_changed(library: None) -> None:
    wave = voice()
    before = wave.clone()
    Augment(RATE, probability=1.0)(wave, 0)
    assert torch.equal(wave, before)


def test_gain_is_a_gain_within_its_limits(library: None) -> None:
    wave, augment = voice(), only("gain")
    changes = [level(augment(wave, seed)) - level(wave) for seed in range(20)]
    assert max(abs(change) for change in changes) < 6.01
    assert max(changes) > 2
    assert min(changes) < -2


def test_pitch_moves_the_spectrum_and_tempo_does_not(library: None) -> None:
    tones = torch.sin(2 * torch.pi * 1_000 * torch.arange(RATE) / RATE)[None] * 0.3
    pitched = [centroid(only("pitch")(tones, seed)) for seed in range(6)]
    played = [centroid(only("tempo")(tones, seed)) for seed in range(6)]
    semitones = [12 * np.log2(hz / 1_000) for hz in pitched]
    assert max(semitones) - min(semitones) > 1
    assert max(map(abs, semitones)) < 2.3
    assert played == pytest.approx([1_000] * 6, rel=0.03)


def test_a_room_is_an_echo_at_the_level_of_the_wave(library: None) -> None:
    click = torch.zeros(1, RATE)
    click[0, 100] = 1.0
    echoed = only("room")(click, 2)
    assert level(echoed) == pytest.approx(level(click), abs=0.01)
    assert (echoed.abs() > 1e-3).sum() > 500


def test_probability_is_how_often(library: None) -> None:
    wave = voice()
    assert torch.equal(Augment(RATE, probability=0.0)(wave, 1), wave)
    often = sum(not torch.equal(only("gain", 0.3)(wave, seed), wave) for seed in range(60))
    assert 8 < often < 30


def test_what_is_no_wave_and_what_is_no_limit_is_refused(library: None) -> None:
    augment = Augment(RATE)
    for shape in [(100,), (3, 100), (1, 1, 100), (1, 0)]:
        with pytest.raises(ShapeError, match=r"\(channels, time\) with 1 or 2 channels"):
            augment(torch.zeros(shape), 0)
    for wrong in ({"probability": 1.5}, {"gain_db": -1.0}, {"pitch_semitones": 13.0}, {"tempo_percent": 60.0}):
        with pytest.raises(ArgumentError, match=r"Augment: .*use Augment\(16000\)"):
            Augment(RATE, **wrong)


def test_without_the_package_it_says_what_to_type(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    with pytest.raises(MissingExtraError, match=r'pip install "percloss\[augment\]"'):
        Augment(RATE)


# Stems that were never together ---------------------------------------------------------------------------------------


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_remixed_stems_are_the_batchs_own_and_add_up() -> None:
    stems = noise(6, 4, 2, 500)
    mix, dealt = remix(stems, generator=seeded(), gain_db=0.0)
    torch.testing.assert_close(mix, dealt.sum(1))
    for source in range(4):
        came = {tuple(row.flatten()[:3].tolist()) for row in dealt[:, source]}
        assert came == {tuple(row.flatten()[:3].tolist()) for row in stems[:, source]}
    assert not torch.equal(dealt[:, 0], stems[:, 0])
    orders = [[int((stems[:, s] == item).flatten(1).all(1).nonzero()) for item in dealt[:, s]] for s in range(4)]
    assert len({tuple(order) for order in orders}) > 1


def test_remixing_follows_its_generator_and_its_limit() -> None:
    stems = noise(8, 3, 1, 300)
    one, same, other = (remix(stems, generator=seeded(seed))[1] for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    gains = 10 * (one.square().sum((2, 3)).sort(0).values / stems.square().sum((2, 3)).sort(0).values).log10()
    assert gains.abs().max() > 1
    assert gains.abs().max() < 8
    with pytest.raises(ShapeError, match=r"\(batch, sources, channels, time\)"):
        remix(stems[0], generator=seeded())


def test_a_data_sets_items_can_be_remixed() -> None:
    data = EmbeddedSpeech(items=4, segment=500)
    mix, target = remix(torch.stack([x.target for x in data]), generator=seeded())
    assert mix.shape == (4, 1, 500)
    assert target.shape == (4, 1, 1, 500)
