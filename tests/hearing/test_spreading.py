"""Spreading functions against their published values, and what spreading a spectrum does."""

import math

import pytest
import torch
from torch import Tensor

from percloss.dsp.scales import BARK_SCHROEDER
from percloss.errors import ArgumentError
from percloss.hearing import spreading
from percloss.hearing.spreading import SPREADINGS, Spread, mpeg1_model1, mpeg1_model2, peaq, schroeder

BARK = torch.arange(109, dtype=torch.float64) / 4 + 0.9
HZ = BARK_SCHROEDER.to_hz(BARK)
each = pytest.mark.parametrize("name", SPREADINGS)


def at(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def spread(name: str, power: Tensor, spl: float = 92.0) -> Tensor:
    return Spread(name, BARK, HZ, spl)(power[None, None, :, None])[0, 0, :, 0]


def lone(band: int, level: float) -> Tensor:
    """Power in one band only, of some level [dB re a full-scale sine]."""
    power = torch.zeros(len(BARK), dtype=torch.float64)
    power[band] = 10 ** (level / 10)
    return power


def test_schroeders_function_has_its_values() -> None:
    wanted = at(-50.678, -7.908, -0.001, -4.306, -21.399)
    torch.testing.assert_close(schroeder(at(-3, -1, 0, 1, 3)), wanted, atol=6e-4, rtol=0)


def test_mpeg1_model1_has_its_values() -> None:
    wanted = at(-47, -30, -15, 0, -8.5, -17, -25, -41)
    got = mpeg1_model1(at(-2, -1, -0.5, 0, 0.5, 1, 2, 4), at(60))
    torch.testing.assert_close(got, wanted)
    assert mpeg1_model1(at(-3.01, 8), at(60)).tolist() == [-math.inf, -math.inf]


def test_mpeg1_model1_has_no_step_within_its_reach() -> None:
    """Its lines meet at -1, 0 and 1 Bark, at every level."""
    for corner in (-1, 0, 1):
        for level in (20, 60, 96):
            sides = mpeg1_model1(at(corner - 1e-9, corner + 1e-9), at(level))
            torch.testing.assert_close(sides[0], sides[1], atol=1e-6, rtol=0)


def test_mpeg1_model2_has_its_values() -> None:
    wanted = at(-54.252, -8.704, 0, -11.037, -22.799)
    torch.testing.assert_close(mpeg1_model2(at(-3, -1, 0, 1, 3)), wanted, atol=6e-4, rtol=0)
    assert mpeg1_model2(at(-12)).item() == -math.inf


def test_peaqs_slopes_are_27_db_a_bark_below_and_by_level_and_frequency_above() -> None:
    got = peaq(at(-2, 0, 1, 1, 1), at(60, 60, 60, 80, 60), at(1000, 1000, 1000, 1000, 230))
    torch.testing.assert_close(got, at(-54, 0, -24 - 0.23 + 12, -24 - 0.23 + 16, -24 - 1 + 12))


@each
def test_a_matrix_has_the_function_in_its_cells_rows_masked_by_columns(name: str) -> None:
    levels = torch.linspace(20, 80, len(BARK), dtype=torch.float64)
    matrix = SPREADINGS[name].matrix(BARK, HZ, levels)
    for masked, masker in ((3, 3), (40, 36), (36, 40), (90, 70)):
        alone = SPREADINGS[name].gain(BARK[masked] - BARK[masker], levels[masker], HZ[masker])
        assert matrix[masked, masker] == alone


@each
def test_a_flat_spectrum_stays_flat(name: str) -> None:
    """At 0 dB SPL; where the level matters, louder ones spread further and come out louder."""
    flat = torch.full_like(BARK, 10 ** (-92 / 10))
    torch.testing.assert_close(spread(name, flat), flat)


@each
def test_masking_spreads_upwards(name: str) -> None:
    """Three Bark above a tone there is more of it than three Bark below."""
    out = spread(name, lone(50, -20.0))
    assert out[62] > 100 * out[38]


@each
def test_more_power_anywhere_is_never_less_after_spreading(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    power = 10 ** (-8 * torch.rand(len(BARK), generator=generator, dtype=torch.float64))
    louder = power * (1 + torch.rand(len(BARK), generator=generator, dtype=torch.float64))
    if SPREADINGS[name].by_level:  # there energy moves up and out of a band as it gets louder: all of it together
        assert spread(name, louder).sum() > spread(name, power).sum()
    else:
        assert (spread(name, louder) > spread(name, power)).all()


@pytest.mark.parametrize("name", ["mpeg1_model1", "peaq"])
def test_a_louder_masker_reaches_further_up_where_the_level_matters(name: str) -> None:
    """20 dB more at the masker are more than 20 dB three Bark above it, and 20 or less below."""
    soft, loud = (10 * spread(name, lone(50, level)).log10() for level in (-40.0, -20.0))
    assert (loud - soft)[62] > 23
    assert (loud - soft)[46] <= 20


def test_without_level_spreading_is_the_matrix_over_its_row_sums() -> None:
    power = torch.rand(len(BARK), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix = 10 ** (SPREADINGS["schroeder"].matrix(BARK, HZ, at(0)) / 10)
    torch.testing.assert_close(spread("schroeder", power), matrix @ power / matrix.sum(1))


def test_peaqs_spreading_is_the_recommendations_band_by_band() -> None:
    """BS.1387 written out: geometric series on both sides of every masker."""
    power = 10 ** (5 * torch.rand(109, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    lower = 10 ** (-2.7 * 0.25)

    def superposed(power: Tensor) -> Tensor:
        total = torch.zeros(109, dtype=torch.float64)
        for j in range(109):
            upper = 10 ** ((-2.4 - 23 / HZ[j]) * 0.25) * power[j] ** (0.2 * 0.25)
            below, above = (1 - lower ** (j + 1)) / (1 - lower), (1 - upper ** (109 - j)) / (1 - upper)
            kept = power[j] / (below + above - 1)
            for k in range(109):
                total[k] += (kept * (lower ** (j - k) if k < j else upper ** (k - j))) ** 0.4
        return total**2.5

    wanted = superposed(power) / superposed(torch.ones(109, dtype=torch.float64))
    torch.testing.assert_close(spread("peaq", power, spl=0.0), wanted, rtol=1e-5, atol=0)


def test_spreading_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four minutes of frames do not stand in memory at once."""
    power = torch.rand(2, 3, len(BARK), 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for name in SPREADINGS:
        whole = Spread(name, BARK, HZ, 92.0)
        together = whole(power)
        monkeypatch.setattr(spreading, "_CHUNK", 1)
        torch.testing.assert_close(whole(power), together)
        monkeypatch.undo()
        alone = torch.stack([whole(power[:, :, :, i : i + 1])[..., 0] for i in range(7)], -1)
        torch.testing.assert_close(alone, together)


@each
def test_a_share_of_a_masker_spreads_as_the_whole_does(name: str) -> None:
    """What a tone's offset takes from its masking must not make it reach less far."""
    whole = Spread(name, BARK, HZ, 92.0)
    power = lone(50, -20.0)[None, None, :, None]
    torch.testing.assert_close(whole(power, torch.full_like(power, 0.01)), 0.01 * whole(power))


@each
def test_silence_spreads_to_silence(name: str) -> None:
    assert spread(name, torch.zeros_like(BARK)).abs().max() == 0
    assert spread(name, torch.zeros_like(BARK).float()).abs().max() == 0


def test_an_unknown_name_is_met_when_built() -> None:
    with pytest.raises(ArgumentError, match="'bell' came; needed is one of schroeder, mpeg1_model1"):
        Spread("bell", BARK, HZ, 92.0)
