"""Banks of triangles: librosa's where librosa has them, and what a triangle must be where it has not."""

import inspect
import re
from typing import Any

import pytest
import torch

from percloss.dsp.filterbanks import triangular_bank
from percloss.dsp.scales import BARK_TRAUNMUELLER, ERB, MEL_HTK, MEL_SLANEY, SCALES, Scale
from percloss.errors import ArgumentError, EmptyBandError, SampleRateError

SCALE = pytest.mark.parametrize("scale", SCALES.values(), ids=list(SCALES))


@pytest.mark.parametrize("oracle", ["slaney", "htk"])
@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "n_bands", "f_min", "f_max"),
    [
        (16_000, 512, 40, 0.0, None),
        (22_050, 1024, 80, 0.0, 8000.0),
        (44_100, 2048, 128, 20.0, None),
        (48_000, 4096, 64, 50.0, 20_000.0),
        (8000, 400, 23, 125.5, 3800.0),
        (44_100, 1023, 20, 0.0, None),
        (16_000, 512, 1, 300.0, 3400.0),
    ],
)
def test_equals_librosas_mel_banks(
    sample_rate: int, n_fft: int, n_bands: int, f_min: float, f_max: float | None, oracle: str
) -> None:
    filters = pytest.importorskip("librosa.filters", reason="librosa is the oracle of the mel banks")
    given: dict[str, Any] = {"f_min": f_min, "f_max": f_max, "n_fft": n_fft, "n_bands": n_bands}
    given |= {"scale": MEL_SLANEY, "norm": "area"} if oracle == "slaney" else {"scale": MEL_HTK, "norm": "none"}
    ours = triangular_bank(sample_rate=sample_rate, **given)
    expected = filters.mel(
        sr=sample_rate, n_fft=n_fft, n_mels=n_bands, fmin=f_min, fmax=f_max,
        htk=oracle == "htk", norm="slaney" if oracle == "slaney" else None, dtype="float64",
    )  # fmt: skip
    assert ours.dtype == torch.float64
    # Corners are rounded to a billionth of a bin; a triangle rises from 0 to its peak over a bin or so.
    torch.testing.assert_close(ours, torch.from_numpy(expected), atol=1e-8 * expected.max(), rtol=0)


@SCALE
def test_neighbours_sum_to_one_between_the_first_and_last_peak(scale: Scale) -> None:
    bank = triangular_bank(scale, sample_rate=32_000, n_fft=4096, n_bands=24, norm="none")
    first, last = int(bank[0].argmax()), int(bank[-1].argmax())
    torch.testing.assert_close(bank.sum(0)[first + 1 : last], torch.ones(last - first - 1, dtype=torch.float64))


@SCALE
def test_every_triangle_has_area_one_over_hertz(scale: Scale) -> None:
    """Up to the corners cut off between bins, where the bins are dense."""
    bank = triangular_bank(scale, sample_rate=32_000, n_fft=2**16, n_bands=24, norm="area")
    areas = bank.sum(1) * 32_000 / 2**16
    torch.testing.assert_close(areas, torch.ones(24, dtype=torch.float64), atol=1e-3, rtol=0)


@SCALE
def test_flat_noise_gives_flat_bands_under_area_and_rising_bands_without(scale: Scale) -> None:
    flat = {
        norm: triangular_bank(scale, sample_rate=32_000, n_fft=2**14, n_bands=16, norm=norm).sum(1)
        for norm in ("area", "none")
    }
    assert flat["area"].max() / flat["area"].min() < 1.01
    assert flat["none"][-1] > 4 * flat["none"][0]


@SCALE
def test_a_tone_falls_into_the_band_centred_on_it(scale: Scale) -> None:
    low, high = scale.from_hz(torch.tensor([0.0, 16_000.0], dtype=torch.float64))
    centre = scale.to_hz(low + (high - low) * 10 / 25)
    bank = triangular_bank(scale, sample_rate=32_000, n_fft=4096, n_bands=24, norm="none")
    assert bank[:, round(centre.item() * 4096 / 32_000)].argmax() == 9


@SCALE
def test_nothing_below_f_min_or_above_f_max_is_heard(scale: Scale) -> None:
    bank = triangular_bank(scale, sample_rate=16_000, n_fft=1024, n_bands=10, f_min=500.0, f_max=4000.0, norm="none")
    heard = bank.sum(0).nonzero().flatten() * 16_000 / 1024
    assert heard.min() > 500
    assert heard.max() < 4000
    assert (bank >= 0).all()


@pytest.mark.parametrize("scale", [MEL_SLANEY, BARK_TRAUNMUELLER, ERB])
def test_direct_current_and_the_half_rate_have_weight_exactly_zero(scale: Scale) -> None:
    bank = triangular_bank(scale, sample_rate=48_000, n_fft=2048, n_bands=20, norm="none")
    assert torch.equal(bank[:, [0, -1]], torch.zeros(20, 2, dtype=torch.float64))


def message(**wanted: Any) -> str:
    with pytest.raises(EmptyBandError) as caught:
        triangular_bank(**wanted)
    return str(caught.value)


@pytest.mark.parametrize(
    ("scale", "sample_rate", "n_fft", "n_bands"),
    [(MEL_HTK, 16_000, 256, 80), (MEL_SLANEY, 44_100, 512, 128), (ERB, 48_000, 512, 64), (MEL_HTK, 8000, 64, 300)],
)
def test_the_advice_on_empty_bands_is_true_and_the_best_there_is(
    scale: Scale, sample_rate: int, n_fft: int, n_bands: int
) -> None:
    given: dict[str, Any] = {"scale": scale, "sample_rate": sample_rate, "norm": "none"}
    text = message(n_fft=n_fft, n_bands=n_bands, **given)
    assert f"sample_rate={sample_rate}, n_fft={n_fft}" in text
    fewer = int(re.search(r"n_bands=(\d+) \(the most below", text)[1])  # type: ignore[index]
    longer = int(re.search(r"or n_fft=(\d+)\.$", text)[1])  # type: ignore[index]
    assert (triangular_bank(n_fft=n_fft, n_bands=fewer, **given).amax(1) > 0).all()
    assert (triangular_bank(n_fft=longer, n_bands=n_bands, **given).amax(1) > 0).all()
    for n in range(fewer + 1, min(n_bands, fewer + 20)):
        assert f"n_bands={fewer} (the most below {n} " in message(n_fft=n_fft, n_bands=n, **given)
    message(n_fft=longer // 2, n_bands=n_bands, **given)


def test_the_empty_bands_are_counted_and_named_as_librosa_leaves_them() -> None:
    filters = pytest.importorskip("librosa.filters", reason="librosa is the oracle of the mel banks")
    with pytest.warns(UserWarning, match="Empty filters"):
        theirs = filters.mel(sr=22_050, n_fft=512, n_mels=128, htk=True, norm=None)
    empty = (theirs.max(axis=1) == 0).nonzero()[0].tolist()
    text = message(scale=MEL_HTK, sample_rate=22_050, n_fft=512, n_bands=128, norm="none")
    assert f"{len(empty)} of 128 bands" in text
    assert f"(band {', '.join(map(str, empty[:8]))}" in text


def test_a_bin_on_a_corner_fills_no_band() -> None:
    """Corners at 500, 600, 700 Hz on a linear stretch, bins every 100 Hz: one bin inside; 550, 600, 650: the same
    bin is the peak; but 600, 650, 700 hold a bin only at their ends."""
    peak = triangular_bank(MEL_SLANEY, sample_rate=16_000, n_fft=160, n_bands=1, f_min=500.0, f_max=700.0, norm="none")
    assert peak[0].nonzero().tolist() == [[6]]
    text = message(scale=MEL_SLANEY, sample_rate=16_000, n_fft=160, n_bands=1, f_min=600.0, f_max=700.0, norm="none")
    assert text.endswith("use n_fft=320.")


def test_a_range_too_narrow_for_any_transform_says_so() -> None:
    text = message(scale=ERB, sample_rate=16_000, n_fft=160, n_bands=4, f_min=600.1, f_max=600.1001, norm="none")
    assert text.endswith("use a wider range from f_min to f_max.")


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"f_max": 8001.0}, ArgumentError, r"f_min=0 and f_max=8001 came; .* f_max <= 8000"),
        ({"f_min": 4000.0, "f_max": 4000.0}, ArgumentError, r"f_min=4000 and f_max=4000 came"),
        ({"f_min": -1.0}, ArgumentError, r"f_min=-1 "),
        ({"n_bands": 0}, ArgumentError, r"n_bands=0 came"),
        ({"n_fft": 0}, ArgumentError, r"n_fft=0 and"),
        ({"norm": "slaney"}, ArgumentError, r"norm='slaney' came"),
        ({"sample_rate": 0}, SampleRateError, r"sample_rate=0 came"),
    ],
)
def test_a_bank_that_does_not_exist_is_refused(changed: dict[str, Any], error: type[Exception], text: str) -> None:
    """Unwrapped, because the suite's own type checking would refuse an unknown norm before this code sees it."""
    given: dict[str, Any] = {"scale": MEL_HTK, "sample_rate": 16_000, "n_fft": 512, "n_bands": 20, "norm": "none"}
    with pytest.raises(error, match=text):
        inspect.unwrap(triangular_bank)(**{**given, **changed})


@pytest.mark.parametrize(
    ("name", "weight", "total"),
    [
        ("bark_traunmueller", 0.0023204013, 0.5117348900),
        ("bark_schroeder", 0.0019484608, 0.5119531096),
        ("erb", 0.0020206895, 0.5110086538),
    ],
)
def test_the_banks_without_an_oracle_have_not_moved(name: str, weight: float, total: float) -> None:
    """Golden values of November 2026: a change here moves scores, and goes under "Numbers" in the changelog."""
    bank = triangular_bank(SCALES[name], sample_rate=16_000, n_fft=512, n_bands=16, norm="area")
    assert (bank[10].max().item(), bank.sum().item()) == pytest.approx((weight, total), rel=1e-7)
