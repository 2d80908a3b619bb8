"""Scales of hearing: published values, exact inverses, order."""

import pytest
import torch
from torch import Tensor

from percloss.dsp.scales import SCALES, Scale

SCALE = pytest.mark.parametrize("scale", SCALES.values(), ids=list(SCALES))


def hertz(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bark_traunmueller", (0.956, 4.919, 8.527, 16.290, 17.463, 22.279)),
        ("bark_schroeder", (1.073, 4.959, 8.511, 16.292, 17.617, 23.993)),
        ("erb", (3.370, 10.767, 15.621, 25.426, 27.107, 35.317)),
    ],
)
def test_has_its_published_values(name: str, expected: tuple[float, ...]) -> None:
    """To the three decimals the values were computed to, from the formulas and not from this code."""
    got = SCALES[name].from_hz(hertz(100, 500, 1000, 3300, 4000, 10_000))
    torch.testing.assert_close(got, hertz(*expected), atol=6e-4, rtol=0)


def test_the_mel_scales_are_librosas() -> None:
    librosa = pytest.importorskip("librosa", reason="librosa is the oracle of the mel scales")
    hz = torch.linspace(0, 24_000, 997, dtype=torch.float64)
    for name, htk in (("mel_htk", True), ("mel_slaney", False)):
        expected = torch.from_numpy(librosa.hz_to_mel(hz.numpy(), htk=htk))
        torch.testing.assert_close(SCALES[name].from_hz(hz), expected, atol=1e-10, rtol=1e-12)
        back = torch.from_numpy(librosa.mel_to_hz(expected.numpy(), htk=htk))
        torch.testing.assert_close(SCALES[name].to_hz(expected), back, atol=1e-9, rtol=1e-12)


def test_one_kilohertz_is_a_thousand_mels_on_the_htk_scale_and_fifteen_on_slaneys() -> None:
    assert SCALES["mel_htk"].from_hz(hertz(1000)).item() == pytest.approx(1000, abs=0.02)
    assert SCALES["mel_slaney"].from_hz(hertz(1000)).item() == pytest.approx(15, abs=1e-12)


def test_one_erb_step_is_one_equivalent_rectangular_bandwidth_wide() -> None:
    """Glasberg and Moore 1990: ERB = 24.7 (4.37 f / kHz + 1); 21.4 is a rounded constant, good to half a percent."""
    hz = torch.linspace(50, 15_000, 200, dtype=torch.float64).requires_grad_()
    (steps_per_hz,) = torch.autograd.grad(SCALES["erb"].from_hz(hz).sum(), hz)
    torch.testing.assert_close(1 / steps_per_hz, 24.7 * (4.37e-3 * hz.detach() + 1), atol=0, rtol=5e-3)


@SCALE
def test_there_and_back_is_where_it_began(scale: Scale) -> None:
    hz = torch.linspace(0, 48_000, 4801, dtype=torch.float64)
    torch.testing.assert_close(scale.to_hz(scale.from_hz(hz)), hz, atol=1e-8, rtol=1e-12)


@SCALE
def test_higher_is_higher(scale: Scale) -> None:
    hz = torch.linspace(0, 48_000, 48_001, dtype=torch.float64)
    assert (scale.from_hz(hz).diff() > 0).all()


@SCALE
def test_low_frequencies_are_given_more_room_than_high_ones(scale: Scale) -> None:
    low, high = scale.from_hz(hertz(200, 400, 8000, 8200)).view(2, 2).diff().flatten()
    assert low > 4 * high


def test_the_table_is_keyed_by_name() -> None:
    assert set(SCALES) == {"mel_htk", "mel_slaney", "bark_traunmueller", "bark_schroeder", "erb"}
    assert all(scale.name == name for name, scale in SCALES.items())


@SCALE
def test_compiles_whole(scale: Scale) -> None:
    hz = torch.linspace(0, 20_000, 50, dtype=torch.float64)
    compiled = torch.compile(lambda f: scale.to_hz(scale.from_hz(f)), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(hz), hz, atol=1e-8, rtol=1e-12)
