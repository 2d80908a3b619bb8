"""Separation before networks: what the mathematics promises, and a sound that is really separated."""

import sys

import pytest
import torch
from torch import Tensor

from percloss.data import song
from percloss.errors import ArgumentError, DTypeError, MissingExtraError, ShapeError
from percloss.lab.baselines import FactorSeparation, independent_components
from percloss.measures.ratios import SISDR
from tests.signals import RATE, noise, speech, tone

pytest.importorskip("sklearn", reason="scikit-learn comes with the extra baselines")


def chords() -> tuple[Tensor, Tensor]:
    """Two instruments of three notes each, that never share a partial: (1, 1, time)."""

    def play(notes: tuple[float, ...], every: int) -> Tensor:
        beats = [tone(hz, db=-10, time=every) + tone(3 * hz, db=-20, time=every) for hz in notes]
        return torch.cat(beats * (RATE // (every * len(notes))), dim=-1)[..., : RATE - 4_000].float()

    return play((300.0, 470.0, 610.0), 1_000), play((2_000.0, 2_600.0, 3_100.0), 1_500)[..., : RATE - 4_000]


def si_sdr(est: Tensor, ref: Tensor) -> float:
    return SISDR()(est, ref).mean().item()


# Non-negative factors -------------------------------------------------------------------------------------------------


def test_sources_whose_spectra_are_known_are_told_apart() -> None:
    low, high = chords()
    separator = FactorSeparation(components=6, n_fft=512, iterations=60).fit({"low": low, "high": high})
    est = separator(low + high)
    assert si_sdr(est[:, 0], low) > 15
    assert si_sdr(est[:, 1], high) > 15


def test_a_factorisation_cleans_noisy_speech() -> None:
    clean, rough = speech(seconds=3.0), 0.05 * noise(1, 1, 3 * RATE)
    seen, heard = slice(0, 2 * RATE), slice(2 * RATE, 3 * RATE)
    separator = FactorSeparation(components=16, iterations=40).fit(
        {"speech": clean[..., seen], "noise": rough[..., seen]}
    )
    mix = (clean + rough)[..., heard]
    assert si_sdr(separator(mix)[:, 0], clean[..., heard]) > si_sdr(mix, clean[..., heard]) + 2


def test_estimates_add_up_to_the_mixture_and_items_never_mix() -> None:
    low, high = chords()
    separator = FactorSeparation(components=4, n_fft=512, iterations=20).fit({"low": low, "high": high})
    mix = torch.cat((torch.cat((low + high, low), dim=1), 0.1 * noise(1, 2, low.shape[-1])))
    est = separator(mix)
    assert est.shape == (2, 2, 2, low.shape[-1])
    assert est.dtype == mix.dtype
    torch.testing.assert_close(est.sum(1), mix, atol=1e-5, rtol=0)
    torch.testing.assert_close(est[1:], separator(mix[1:]))
    assert not separator(torch.zeros(1, 1, 4_000)).any()


def test_factors_follow_their_seed_alone() -> None:
    low, high = chords()

    def separated(seed: int) -> Tensor:
        return FactorSeparation(components=3, n_fft=512, iterations=5, seed=seed).fit({"a": low, "b": high})(low + high)

    state = torch.random.get_rng_state()
    one = separated(0)
    assert torch.equal(separated(0), one)
    assert not torch.equal(separated(1), one)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_cannot_be_factorised_is_refused() -> None:
    separator = FactorSeparation(n_fft=512)
    with pytest.raises(ArgumentError, match="type separator.fit"):
        separator(noise(1, 1, 2_000))
    for examples in ({}, {"speech": torch.zeros(1, 1, 2_000)}):
        with pytest.raises(ArgumentError, match="needed are sounds of each source"):
            separator.fit(examples)
    with pytest.raises(ShapeError, match="with 512 samples or more"):
        separator.fit({"speech": noise(1, 1, 511)})
    with pytest.raises(DTypeError, match="32768"):
        separator.fit({"speech": torch.ones(1, 1, 2_000, dtype=torch.int16)})
    for wrong in ({"components": 0}, {"iterations": 0}, {"n_fft": 4}, {"seed": -1}):
        with pytest.raises(ArgumentError, match=r"use FactorSeparation\(\)"):
            FactorSeparation(**wrong)


# Independent components -----------------------------------------------------------------------------------------------


def panned() -> tuple[Tensor, Tensor]:
    """Two stems of a real song, each at a place of its own: the mixture and the images, (1, sources, 2, time)."""
    stems = song().stems
    places = {"drums": (0.9, 0.4), "keys": (0.3, 0.8)}
    images = [
        stems[name].mean(1, keepdim=True)[..., : 2 * 44_100] * torch.tensor(gains)[:, None]
        for name, gains in places.items()
    ]
    return images[0] + images[1], torch.stack(images, dim=1)


def test_two_stems_at_two_places_are_told_apart() -> None:
    mix, images = panned()
    est = independent_components(mix)
    assert est.shape == images.shape
    ways = [[si_sdr(est[:, order[at]], images[:, at]) for at in range(2)] for order in ((0, 1), (1, 0))]
    assert min(max(ways, key=sum)) > 15
    torch.testing.assert_close(est.sum(1), mix, atol=1e-5, rtol=0)


def test_components_follow_their_seed_and_items_never_mix() -> None:
    mix, _ = panned()
    state = torch.random.get_rng_state()
    both = independent_components(torch.cat((mix, mix.flip(1))))
    assert torch.equal(both[:1], independent_components(mix))
    assert torch.equal(both[:1], independent_components(mix, seed=0))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_has_no_components_is_refused() -> None:
    one = noise(1, 1, 1_000)
    with pytest.raises(ShapeError, match="needed are two channels or more"):
        independent_components(one)
    with pytest.raises(ArgumentError, match="fewer signals, or silence"):
        independent_components(torch.cat((one, 0.5 * one), dim=1))
    with pytest.raises(ArgumentError, match="fewer signals, or silence"):
        independent_components(torch.zeros(1, 2, 1_000))
    with pytest.raises(ShapeError, match="with 4 samples or more"):
        independent_components(noise(1, 2, 3))
    with pytest.raises(ShapeError, match=r"\(batch, channels, time\)"):
        independent_components(noise(2, 1_000))


def test_gaussian_noise_does_not_converge_and_says_so() -> None:
    with pytest.raises(ArgumentError, match="no convergence within 2 iterations; .*iterations=4"):
        independent_components(noise(1, 4, 5_000), iterations=2)


@pytest.mark.parametrize("use", [FactorSeparation, lambda: independent_components(noise(1, 2, 500))])
def test_without_scikit_learn_it_says_what_to_type(monkeypatch, use) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(MissingExtraError, match=r'pip install "percloss\[baselines\]"'):
        use()
