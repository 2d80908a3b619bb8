"""The perceptual model of ITU-T P.862: from power spectra to how disturbing a difference in loudness is.

Powers are in the units of the Recommendation: those of 16-bit samples, at the listening level that ``LEVEL`` is. Every
function is a pure one of tensors (batch, channels, bands, frames); aligning levels and time is the caller's.
"""

import torch
from torch import Tensor

from percloss._typing import Bins
from percloss.dsp.stft import hann
from percloss.errors import SampleRateError
from percloss.frontends import FrontEnd

SAMPLE_RATES = (8000, 16_000)
# A frame is 32 ms, and half of it is the step to the next.
FRAME_SECONDS = 0.032
BIN_HZ = 1 / FRAME_SECONDS

# Mean square of a signal between 350 and 3250 Hz at the listening level.
LEVEL = 1e7

# Zwicker's law: its exponent, which is raised below 4 Bark.
EXPONENT = 0.23
RAISED_BELOW_BARK = 4.0

# A frame is speech where what stands out of silence (20 dB above the threshold) has this power.
OUTSTANDING = 100.0
SPEECH_POWER = 1e7

TRANSFER_OFFSET, TRANSFER_BOUNDS = 1000.0, (0.01, 100.0)
GAIN_OFFSET, GAIN_BOUNDS = 5000.0, (3e-4, 5.0)
DEADZONE = 0.25
ASYMMETRY_OFFSET, ASYMMETRY_EXPONENT, ASYMMETRY_FROM, ASYMMETRY_TO = 50.0, 1.2, 3.0, 12.0
# A loud frame is disturbed less: by this power of its audible power over LEVEL.
LOUD_OFFSET, LOUD_EXPONENT = 1e5, 0.04
MOST_DISTURBED = 45.0

# The five tables and the scale factors are those of P.862 (2001) as torch-pesq 0.1.2 (MIT) has them for 16 kHz, in
# bark.py and loudness.py. Bands and bins are the same at 8 kHz as far as they go; what differs there, the last band and
# the power scale, is from bark_matrix_8k.mat and losses/pmsqe.py of asteroid 0.7.0 (MIT).

# Bins in each band; the first begins with the bin of 0 Hz.
BINS = (
    *(1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4, 3, 4, 5, 4, 5, 6, 6, 7),
    *(8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20),
)  # fmt: skip
CENTRE_BARK = (
    *(0.078672, 0.316341, 0.636559, 0.961246, 1.290450, 1.624217, 1.962597, 2.305636, 2.653383, 3.005889),
    *(3.363201, 3.725371, 4.092449, 4.464486, 4.841533, 5.223642, 5.610866, 6.003256, 6.400869, 6.803755),
    *(7.211971, 7.625571, 8.044611, 8.469146, 8.899232, 9.334927, 9.776288, 10.223374, 10.676242, 11.134952),
    *(11.599563, 12.070135, 12.546731, 13.029408, 13.518232, 14.013264, 14.514566, 15.022202, 15.536238, 16.056736),
    *(16.583761, 17.117382, 17.657663, 18.204674, 18.758478, 19.319147, 19.886751, 20.461355, 21.043034),
)  # fmt: skip
WIDTH_BARK = (
    *(0.157344, 0.317994, 0.322441, 0.326934, 0.331474, 0.336061, 0.340697, 0.345381, 0.350114, 0.354897),
    *(0.359729, 0.364611, 0.369544, 0.374529, 0.379565, 0.384653, 0.389794, 0.394989, 0.400236, 0.405538),
    *(0.410894, 0.416306, 0.421773, 0.427297, 0.432877, 0.438514, 0.444209, 0.449962, 0.455774, 0.461645),
    *(0.467577, 0.473569, 0.479621, 0.485736, 0.491912, 0.498151, 0.504454, 0.510819, 0.517250, 0.523745),
    *(0.530308, 0.536934, 0.543629, 0.550390, 0.557220, 0.564119, 0.571085, 0.578125, 0.585232),
)  # fmt: skip
POWER_DENSITY = (
    *(100.0, 99.999992, 100.0, 100.000008, 100.000008, 100.000015, 99.999992, 99.999969, 50.000027, 100.0),
    *(99.999969, 100.000015, 99.999947, 100.000061, 53.047077, 110.000046, 117.991989, 65.0, 68.760147, 69.999931),
    *(71.428818, 75.000038, 76.843384, 80.968781, 88.646126, 63.864388, 68.155350, 72.547775, 75.584831, 58.379192),
    *(80.950836, 64.135651, 54.384785, 73.821884, 64.437073, 59.176456, 65.521278, 61.399822, 58.144047, 57.004543),
    *(64.126297, 54.311001, 61.114979, 55.077751, 56.849335, 55.628868, 53.137054, 54.985844, 79.546974),
)  # fmt: skip
THRESHOLD = (
    *(51286152.0, 2454709.5, 70794.59375, 4897.788574, 1174.897705, 389.045166, 104.712860, 45.708820, 17.782795),
    *(9.772372, 4.897789, 3.090296, 1.905461, 1.258925, 0.977237, 0.724436, 0.562341, 0.457088, 0.389045, 0.331131),
    *(0.295121, 0.269153, 0.257040, 0.251189, 0.251189, 0.251189, 0.251189, 0.263027, 0.288403, 0.309030, 0.338844),
    *(0.371535, 0.398107, 0.436516, 0.467735, 0.489779, 0.501187, 0.501187, 0.512861, 0.524807, 0.524807, 0.524807),
    *(0.512861, 0.478630, 0.426580, 0.371535, 0.363078, 0.416869, 0.537032),
)  # fmt: skip
POWER_SCALE = {8000: 2.764344e-5, 16_000: 6.910853e-6}
LOUDNESS_SCALE = 0.1866055
# The band that half of 8 kHz cuts short.
LAST_AT_8K, LAST_BINS_AT_8K, LAST_POWER_DENSITY_AT_8K = 41, 11, 59.248363


class PerceptualModel(FrontEnd):
    r"""Bands, thresholds and loudness of P.862, of spectra of ``FRAME_SECONDS`` under a Hann window.

    Args:
        sample_rate: 8000 or 16000 [Hz]: 42 or 49 bands.
        first: Band that counts as the first. The Recommendation leaves out band 0, which is the bin of 0 Hz.

    Shape:
        (batch, channels, bins, frames) -> (batch, channels, bands, frames)

    References:
        [itu2001]_, clause 10.2.
    """

    window: Tensor
    bank: Tensor
    threshold: Tensor
    exponent: Tensor
    width: Tensor

    def __init__(self, sample_rate: int, *, first: int = 1) -> None:
        super().__init__()
        if sample_rate not in SAMPLE_RATES:
            raise SampleRateError(
                f"PerceptualModel: sample_rate={sample_rate} came; P.862 has 8000 and 16000; resample to one of them."
            )
        self.sample_rate, self.n_fft = sample_rate, round(sample_rate * FRAME_SECONDS)
        bins, density = list(BINS), list(POWER_DENSITY)
        if sample_rate == 8000:
            bins = [*bins[:LAST_AT_8K], LAST_BINS_AT_8K]
            density = [*density[:LAST_AT_8K], LAST_POWER_DENSITY_AT_8K]
        bank = torch.zeros(len(bins), self.n_fft // 2 + 1, dtype=torch.float64)
        for band, scale in enumerate(density):
            begin = sum(bins[:band])
            bank[band, begin : begin + bins[band]] = scale * POWER_SCALE[sample_rate]
        chosen = slice(first, len(bins))
        centre = torch.tensor(CENTRE_BARK[chosen], dtype=torch.float64)
        raised = ((RAISED_BELOW_BARK + 2) / (centre + 2)).clamp(1, 2) ** 0.15
        self.constant("window", hann(self.n_fft))
        self.constant("bank", bank[chosen])
        self.constant("threshold", torch.tensor(THRESHOLD[chosen], dtype=torch.float64)[:, None])
        self.constant("exponent", EXPONENT * raised[:, None])
        self.constant("width", torch.tensor(WIDTH_BARK[chosen], dtype=torch.float64)[:, None])

    def forward(self, power: Bins) -> Bins:
        """Power in each band, of an unscaled power spectrum."""
        return self.bank.to(power.dtype) @ power

    def outstanding(self, bands: Bins) -> Tensor:
        """Where a band is 20 dB above the threshold in quiet."""
        return bands > OUTSTANDING * self.threshold.to(bands.dtype)

    def audible_power(self, bands: Bins) -> Bins:
        """Power of a frame in the bands that are above the threshold in quiet, in one band."""
        return torch.where(bands > self.threshold.to(bands.dtype), bands, 0).sum(2, keepdim=True)

    def speech(self, bands: Bins) -> Tensor:
        """Which frames are speech and not a pause, in one band."""
        return torch.where(self.outstanding(bands), bands, 0).sum(2, keepdim=True) >= SPEECH_POWER

    def loudness(self, bands: Bins) -> Bins:
        r"""Specific loudness [sone/Bark], :math:`S (2 T)^\gamma [(0.5 + 0.5 B / T)^\gamma - 1]`, 0 below threshold."""
        threshold, exponent = self.threshold.to(bands.dtype), self.exponent.to(bands.dtype)
        loudness = (2 * threshold) ** exponent * ((0.5 + 0.5 * bands / threshold) ** exponent - 1)
        return torch.where(bands > threshold, LOUDNESS_SCALE * loudness, 0)

    def disturbance(self, est: Bins, ref: Bins) -> tuple[Tensor, Tensor]:
        r"""Symmetric and asymmetric disturbance of each frame, of compensated band powers.

        .. math:: D = \sqrt{W} \, \lVert w d \rVert_2, \qquad A = \lVert w a d \rVert_1, \qquad
                  d = \max(0, |L - L'| - \tfrac14 \min(L, L'))

        with the width :math:`w` of each band and their sum :math:`W`, both divided by a slow power of the reference's
        audible power and at most 45. The asymmetry :math:`a` counts what was added, see ``asymmetry``.

        Shape:
            Returns two of (batch, channels, frames).
        """
        return self.counted(self.disturbances(est, ref), ref)

    def disturbances(self, est: Bins, ref: Bins) -> tuple[Tensor, Tensor]:
        """The two of each frame, whatever its loudness and without a bound."""
        width = self.width.to(est.dtype)
        difference = audible_difference(self.loudness(est), self.loudness(ref))
        symmetric = width.sum().sqrt() * torch.linalg.vector_norm(width * difference, dim=2)
        return symmetric, (width * asymmetry(est, ref) * difference).sum(2)

    def counted(self, disturbances: tuple[Tensor, Tensor], ref: Bins, *, leak: float = 0.0) -> tuple[Tensor, Tensor]:
        """The two as they count: less in a loud frame of the reference, and bounded, but for a part that leaks."""
        weight = ((self.audible_power(ref)[:, :, 0] + LOUD_OFFSET) / LEVEL) ** LOUD_EXPONENT
        symmetric, asymmetric = (x / weight for x in disturbances)
        return _bounded(symmetric, leak), _bounded(asymmetric, leak)


def transfer(over: Bins, under: Bins) -> Bins:
    """What a linear filter did, within 20 dB: the ratio of two powers in each band, gathered over the frames."""
    return ((over + TRANSFER_OFFSET) / (under + TRANSFER_OFFSET)).clamp(*TRANSFER_BOUNDS)


def gain(est_audible: Bins, ref_audible: Bins) -> Bins:
    """What takes the audible power of each frame of the estimate to that of the reference; not yet bounded."""
    return (ref_audible + GAIN_OFFSET) / (est_audible + GAIN_OFFSET)


def audible_difference(est: Bins, ref: Bins) -> Bins:
    """Difference of two loudness densities, less a quarter of the smaller one, under which it is not heard."""
    return ((est - ref).abs() - DEADZONE * torch.minimum(est, ref)).relu()


def asymmetry(est: Bins, ref: Bins) -> Bins:
    """How much more what was added disturbs than what was left out: 0 up to 4 dB of it, then from 3 to 12."""
    factor = ((est + ASYMMETRY_OFFSET) / (ref + ASYMMETRY_OFFSET)) ** ASYMMETRY_EXPONENT
    return torch.where(factor < ASYMMETRY_FROM, 0, factor.clamp(max=ASYMMETRY_TO))


def _bounded(disturbance: Tensor, leak: float) -> Tensor:
    bounded = disturbance.clamp(max=MOST_DISTURBED)
    return bounded if leak == 0 else bounded + leak * (disturbance - bounded)
