"""Scattering: what its mathematics promises, and the numbers of another implementation."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from percloss.errors import ArgumentError
from percloss.frontends import Stft
from percloss.nets.scattering import LogScattering, Scattering, morlets
from tests.nets.common import keeps_the_protocol
from tests.signals import noise, speech, tone

RATE = 16_000


def power(coefficients: dict[str, Tensor], net: Scattering) -> float:
    """Energy of the coefficients as signals: they are half a scale apart, and have nothing above."""
    return sum(x.square().sum().item() for x in coefficients.values()) * net.scale / 2


def beating(time: int = 2**13) -> Tensor:
    """A tone of 700 Hz that beats 40 times a second, and a rising one; under a window, so that no edge is heard."""
    t = torch.arange(time, dtype=torch.float64) / RATE
    tones = 0.3 * (1 + 0.8 * torch.sin(2 * math.pi * 40 * t)) * torch.sin(2 * math.pi * 700 * t)
    rising = 0.1 * torch.sin(2 * math.pi * (1000 * t + 3000 * t**2))
    return (torch.hann_window(time, dtype=torch.float64) * (tones + rising))[None]


@pytest.mark.parametrize("kind", [Scattering, LogScattering])
@pytest.mark.parametrize("rate", [8_000, RATE, 44_100])
def test_it_keeps_the_protocol_at_any_rate(kind: type[Scattering], rate: int) -> None:
    keeps_the_protocol(kind(rate), time=rate // 4)


@pytest.mark.parametrize("per_octave", [1, 4, 8, 12])
def test_it_never_lengthens_a_difference(per_octave: int) -> None:
    """The modulus does not, nor do filters of which no frequency gets more than 1: so neither does their tree."""
    net = Scattering(RATE, per_octave=per_octave)
    one, other = torch.zeros(2, 1, 3 * 2**14, dtype=torch.float64)
    for seed in range(3):
        # Silence around, for what the averages spread over the ends.
        one[:, 2**14 : 2**15], other[:, 2**14 : 2**15] = noise(2, 1, 2**14, seed=seed, dtype=torch.float64)
        if seed == 1:
            one[:, 2**14 : 2**15] = tone(1000, time=2**14)[0]
        if seed == 2:
            one[:, 2**14 : 2**15] *= torch.linspace(0, 1, 2**14) ** 8
        a, b = net(one), net(other)
        assert power(a, net) <= one.square().sum().item()
        assert power({name: a[name] - b[name] for name in a}, net) <= (one - other).square().sum().item()


def test_most_energy_of_sound_is_in_the_two_orders() -> None:
    """What is missing is in the low-pass filter itself, in higher orders and in the gaps between filters."""
    net, x = Scattering(RATE), torch.nn.functional.pad(speech()[0].double(), (8_000, 8_000))
    assert 0.5 < power(net(x), net) / x.square().sum().item() < 1


def test_a_tone_has_its_amplitude_in_its_band_and_none_of_the_second_order() -> None:
    net = Scattering(RATE)
    for number in (5, 20, 35):
        centre = net.first[number].centre * RATE
        found = net(tone(centre, db=-10)[0])
        # The analytic half of a sine has half its amplitude.
        expected = 10 ** (-10 / 20) / 2 * net.gains[0]
        middle = found["order1"][0, number, 20:-20]
        torch.testing.assert_close(middle, torch.full_like(middle, expected), rtol=1e-4, atol=0)
        assert found["order2"][0, :, 20:-20].max() < 1e-3 * expected


def test_a_beating_tone_is_in_the_second_order_at_its_beat() -> None:
    net = Scattering(RATE)
    t = torch.arange(RATE, dtype=torch.float64) / RATE
    for number in (3, 4, 5):
        beat = net.second[number].centre * RATE
        carrier = net.first[2].centre * RATE
        x = (1 + 0.5 * torch.sin(2 * math.pi * beat * t)) * torch.sin(2 * math.pi * carrier * t)
        found = net(0.1 * x[None])["order2"][0, :, 20:-20].mean(-1)
        first, second = net.paths[int(found.argmax())]
        assert second == net.second[number]
        assert abs(math.log2(first.centre / net.first[2].centre)) < 0.2


def test_a_shift_by_the_step_shifts_the_coefficients() -> None:
    net = Scattering(RATE)
    x = torch.zeros(1, 2**14, dtype=torch.float64)
    x[:, 2**12 : 2**13] = noise(1, 2**12, dtype=torch.float64)
    step = net.scale // 2
    moved = net(x.roll(3 * step, 1))
    for name, still in net(x).items():
        torch.testing.assert_close(moved[name][..., 3:], still[..., :-3], rtol=0, atol=1e-9)


def test_a_short_shift_is_hardly_heard_where_a_waveform_is_another() -> None:
    net, x = Scattering(RATE), speech()[0].double()
    distances = []
    for samples in (1, 4, 16, 64):
        a, b = net(x), net(x.roll(samples, 1))
        distances.append(math.sqrt(power({name: a[name] - b[name] for name in a}, net) / power(a, net)))
    assert distances == sorted(distances)
    assert distances[1] < 0.01
    assert (x - x.roll(4, 1)).norm() > 0.5 * x.norm()


def test_a_small_stretch_moves_high_bands_less_than_it_moves_a_spectrum() -> None:
    """A stretch by 1 % shifts a partial at 5 kHz by several bins of an STFT and by an eighth of a wavelet."""
    net, front = Scattering(RATE), Stft(1024, 256)
    one, other = (tone(hz, db=-10) for hz in (5_000, 5_050))
    a, b = net(one[0])["order1"], net(other[0])["order1"]
    s, t = front(one).abs(), front(other).abs()
    assert (a - b).norm() / a.norm() < 0.4 * (s - t).norm() / s.norm()


# Kymatio 0.3.0 on torch 2.13.0, run on 23 November 2026 on ``beating()`` with J=9, Q=(8, 1), oversampling=99, by the
# number of the wavelets; every 512th sample, of which these are 4, 8 and 12. Without oversampling its coefficients are
# too small by the factor each band is decimated by (kymatio pull requests 736 and 983).
KYMATIO = {
    (12,): (0.0020487, 0.018529, 0.00075906),
    (26,): (0.055534, 0.10112, 0.055534),
    (27,): (0.056603, 0.10305, 0.056603),
    (26, 7): (0.016229, 0.029468, 0.01623),
    (26, 6): (0.006344, 0.011531, 0.0063441),
    (11, 9): (0.00052989, 0.0063558, 0.0020869),
}


def test_it_has_the_numbers_of_kymatio() -> None:
    """Up to the gains, and to what Kymatio's low-pass lets wrap round: its wavelets are scaled in time, ours at their
    peak, which differs by a thousandth in the second order."""
    net = Scattering(RATE)
    found = net(beating())
    paths = [(net.first.index(a), net.second.index(b)) for a, b in net.paths]
    for path, golden in KYMATIO.items():
        if len(path) == 1:
            values, tolerance = found["order1"][0, path[0]] / net.gains[0], 5e-4
        else:
            values, tolerance = found["order2"][0, paths.index(path)] / math.prod(net.gains), 4e-3
        expected = torch.tensor(golden, dtype=torch.float64)
        torch.testing.assert_close(values[[8, 16, 24]], expected, rtol=tolerance, atol=1e-7)


def test_parity_with_kymatio() -> None:
    """Away from the ends, where it mirrors the signal and we have silence."""
    kymatio = pytest.importorskip(
        "kymatio.torch", reason="the oracle of the scattering transform", exc_type=ImportError
    )
    net, x = Scattering(RATE), beating(2**14)
    oracle = kymatio.Scattering1D(J=int(math.log2(net.scale)), shape=2**14, Q=(8, 1), out_type="list", oversampling=99)
    rows = {row["n"]: row["coef"][..., :: net.scale].double() for row in oracle(x.float())}
    numbers = [(net.first.index(a), net.second.index(b)) for a, b in net.paths]
    common = [number for number in numbers if number in rows]
    found = net(x)
    second = found["order2"][:, [numbers.index(number) for number in common]]
    sides: list[tuple[float, Tensor, list[tuple[int, ...]]]] = [
        (2e-4, found["order1"] / net.gains[0], [(number,) for number in range(len(net.first))]),
        (3e-3, second / math.prod(net.gains), [*common]),
    ]
    for tolerance, ours, paths in sides:
        theirs = torch.stack([rows[path] for path in paths], 1)
        assert (ours[..., ::2] - theirs)[..., 8:-8].norm() < tolerance * theirs[..., 8:-8].norm()


def test_the_logarithm_has_a_floor_of_its_own() -> None:
    found = LogScattering(RATE, floor_db=-80.0)(torch.zeros(1, 4_000))
    torch.testing.assert_close(found["order1"], torch.full_like(found["order1"], -80 / 20 * math.log(10)))


def test_float32_is_close_to_float64() -> None:
    net, x = Scattering(RATE), speech()[0].double()
    for single, double in zip(net(x.float()).values(), net(x).values(), strict=True):
        assert (single - double).abs().max() < 1e-5 * double.abs().max()


@pytest.mark.parametrize("wrong", [{"per_octave": 0}, {"averaging": 1e-5}, {"per_octave": 100, "averaging": 0.001}])
def test_bad_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ArgumentError, match="needed"):
        Scattering(RATE, **wrong)


def test_wavelets_go_from_geometric_to_even() -> None:
    family = morlets(8, 1e-3)
    ratios = [a.centre / b.centre for a, b in itertools.pairwise(family)]
    assert ratios[0] == pytest.approx(2 ** (1 / 8))
    widths = [wavelet.width for wavelet in family]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == 1e-3
    assert all(wavelet.centre > 0 for wavelet in family)
