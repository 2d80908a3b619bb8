"""Energy ratios against other people's code, in float64, where the signals are sane and everybody agrees."""

import numpy as np
import pytest
import torch
from torch import Tensor

from percloss import SDSDR, SISDR, SNR
from tests.signals import at_snr, noise, speech

DBS = [-10, 0, 15, 40, 60]


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """Two talkers of unequal level as channels, at five noise levels, all a little too soft."""
    ref = torch.cat([speech(seconds=2.5), 0.1 * speech("librivox_0880", seconds=2.5)], 1).double()
    ref = ref.repeat(len(DBS), 1, 1)
    est = torch.cat([at_snr(item[None], db, seed=db + 20) for item, db in zip(ref, DBS, strict=True)])
    return 0.7 * est, ref


def test_si_sdr_is_that_of_fast_bss_eval(pair: tuple[Tensor, Tensor]) -> None:
    """Our cap of 140 dB costs 4.3e-8 dB at 60 dB; its power of the residual, 1 - coherence, costs 1e-9 dB."""
    fast_bss_eval = pytest.importorskip("fast_bss_eval")
    est, ref = pair
    expected = fast_bss_eval.si_sdr(ref[:, :, None], est[:, :, None], zero_mean=False)[..., 0]
    torch.testing.assert_close(SISDR()(est, ref), expected, rtol=0, atol=5e-8)
    expected = fast_bss_eval.si_sdr(ref[:, :, None] + 0.1, est[:, :, None] - 0.2, zero_mean=True)[..., 0]
    torch.testing.assert_close(SISDR(zero_mean=True)(est - 0.2, ref + 0.1), expected, rtol=0, atol=5e-8)


def test_in_float32_it_is_fast_bss_evals_float64(pair: tuple[Tensor, Tensor]) -> None:
    """At 60 dB the rounding of float32 samples is 84 dB below the noise, 2e-8 dB; sums and logarithm round to 1e-5."""
    fast_bss_eval = pytest.importorskip("fast_bss_eval")
    est, ref = (x.float() for x in pair)
    expected = fast_bss_eval.si_sdr(ref.double()[:, :, None], est.double()[:, :, None], zero_mean=False)[..., 0]
    torch.testing.assert_close(SISDR()(est, ref).double(), expected, rtol=0, atol=2e-5)


def test_si_sdr_and_snr_are_those_of_torchmetrics(pair: tuple[Tensor, Tensor]) -> None:
    """It adds float64's epsilon, 2.2e-16, to every power."""
    audio = pytest.importorskip("torchmetrics.functional.audio")
    est, ref = pair
    for zero_mean in (False, True):
        expected = audio.scale_invariant_signal_distortion_ratio(est, ref, zero_mean=zero_mean)
        torch.testing.assert_close(SISDR(zero_mean=zero_mean)(est, ref), expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(SNR()(est, ref), audio.signal_noise_ratio(est, ref), rtol=0, atol=1e-7)


def test_snr_is_the_image_sdr_of_mir_eval(pair: tuple[Tensor, Tensor]) -> None:
    """BSS Eval's SDR of images allows no filter: it is the plain ratio."""
    separation = pytest.importorskip("mir_eval.separation")
    est, ref = (x[2, :1, :8000].numpy() for x in pair)
    expected = separation.bss_eval_images(ref[..., None], est[..., None], compute_permutation=False)[0]
    value = SNR()(*(torch.from_numpy(x)[None] for x in (est, ref)))
    assert value.numpy().ravel() == pytest.approx(expected, abs=1e-9)


def test_the_three_ratios_are_those_of_auraloss(pair: tuple[Tensor, Tensor]) -> None:
    """Its losses are negative, remove the mean, average, and add 1e-8 to powers that are made large here."""
    time = pytest.importorskip("auraloss.time")
    est, ref = (1000 * (x - x.mean(-1, keepdim=True)) for x in pair)
    for ours, theirs in (
        (SNR(), time.SNRLoss()),
        (SISDR(zero_mean=True), time.SISDRLoss()),
        (SDSDR(), time.SDSDRLoss()),
    ):
        for item in range(len(DBS)):
            e, r = est[item : item + 1], ref[item : item + 1]
            assert ours(e, r).mean().item() == pytest.approx(-theirs(e, r).item(), abs=1e-6)


def test_numpy_agrees_at_the_levels_where_others_add_an_epsilon() -> None:
    """torchmetrics and auraloss are 1 to 60 dB off here; float64 by hand is not."""
    ref = 1e-6 * noise(1, 1, 4000)
    est = at_snr(ref, 50)
    e, r = (x.double().numpy() for x in (est, ref))
    expected = 10 * np.log10(np.sum(r**2) / np.sum((e - r) ** 2))
    assert SNR()(est, ref).item() == pytest.approx(expected, abs=1e-5)
