"""The ear on its own, against the published formulas' values."""

import pytest
import torch

from percloss.hearing.quiet import LOWEST_HZ, internal_noise, outer_middle_ear, threshold_in_quiet


def at(*hz: float) -> torch.Tensor:
    return torch.tensor(hz, dtype=torch.float64)


def test_threshold_in_quiet_has_terhardts_values() -> None:
    wanted = at(22.953, 6.279, 3.369, -4.981, -3.388, 10.577)
    torch.testing.assert_close(threshold_in_quiet(at(100, 500, 1000, 3300, 4000, 10_000)), wanted, atol=5e-4, rtol=0)


def test_the_ear_is_keenest_between_3_and_4_khz_and_ends_at_both_ends() -> None:
    hz = torch.linspace(20, 20_000, 2000, dtype=torch.float64)
    threshold = threshold_in_quiet(hz)
    assert 3000 < hz[threshold.argmin()] < 4000
    assert threshold[0] > 80
    assert threshold[-1] > 150


def test_below_hearing_the_threshold_stays_what_it_is_at_20_hz() -> None:
    edge = threshold_in_quiet(at(LOWEST_HZ))
    torch.testing.assert_close(threshold_in_quiet(at(0, 5, 19.9)), edge.expand(3))


def test_the_outer_and_middle_ear_of_bs_1387_weights_as_gstpeaq_does() -> None:
    """From the vectors of its unit tests: bins of 48000 / 2048 Hz, weighted over unweighted magnitude."""
    wanted = {23.4375: (22360.651865, 141.467357), 117.1875: (249.176501, 61.709413), 1007.8125: (0.375449, 0.301904)}
    for hz, (plain, weighted) in wanted.items():
        expected = 20 * at(weighted / plain).log10()
        torch.testing.assert_close(outer_middle_ear(at(hz)), expected, atol=1e-4, rtol=0)


def test_no_sound_of_0_hz_reaches_the_inner_ear() -> None:
    assert 10 ** (outer_middle_ear(at(0)) / 10).item() == 0


def test_ear_and_internal_noise_share_the_threshold_in_quiet() -> None:
    """BS.1387 splits the rise to low frequencies 6 to 4; what else differs is the exponent at high ones, 3.6 for 4."""
    hz = at(50, 200, 1000)
    torch.testing.assert_close(internal_noise(hz) - outer_middle_ear(hz), threshold_in_quiet(hz), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_that_of_the_frequencies(dtype: torch.dtype) -> None:
    for curve in (threshold_in_quiet, outer_middle_ear, internal_noise):
        assert curve(torch.tensor([100.0], dtype=dtype)).dtype == dtype
