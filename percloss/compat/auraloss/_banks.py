"""The filter banks of auraloss's scales, which are librosa's, without librosa."""

import torch
from torch import Tensor

from percloss.compat.auraloss.utils import float32
from percloss.dsp.filterbanks import chroma_bank, triangular_bank
from percloss.dsp.scales import MEL_SLANEY
from percloss.errors import ArgumentError


def bank(scale: str | None, sample_rate: float | None, n_fft: int, n_bins: int | None, legacy: bool) -> Tensor | None:
    """Bands times bins, in float64; ``None`` where no scale is asked for."""
    if scale is None:
        return None
    if scale not in ("mel", "chroma"):
        raise ArgumentError(f"STFTLoss: got scale={scale!r}; needed is 'mel', 'chroma' or None.")
    if sample_rate is None or sample_rate != int(sample_rate) or n_bins is None or n_bins > n_fft:
        raise ArgumentError(
            f"STFTLoss: got scale={scale!r}, sample_rate={sample_rate}, n_bins={n_bins}, fft_size={n_fft}; needed are "
            f"a whole rate and at most fft_size bands: sample_rate=44100, n_bins={12 if scale == 'chroma' else 40}."
        )
    if scale == "mel":
        return _mel_legacy(sample_rate, n_fft, n_bins) if legacy else _mel(sample_rate, n_fft, n_bins)
    if legacy:
        raise ArgumentError(
            "STFTLoss: got scale='chroma', legacy=True; auraloss 0.4.0 cannot build it, so that there is no number to "
            "equal; leave legacy=False."
        )
    return chroma_bank(sample_rate=sample_rate, n_fft=n_fft, n_classes=n_bins)


def _mel(sample_rate: float, n_fft: int, n_bands: int) -> Tensor:
    return triangular_bank(MEL_SLANEY, sample_rate=int(sample_rate), n_fft=n_fft, n_bands=n_bands, norm="area")


def _mel_legacy(sample_rate: float, n_fft: int, n_bands: int) -> Tensor:
    """The same triangles as librosa has them: corners as they come, two roundings, and bands that hold no bin."""
    top = float(MEL_SLANEY.from_hz(torch.tensor(sample_rate / 2, dtype=torch.float64)))
    hz = MEL_SLANEY.to_hz(torch.linspace(0, top, n_bands + 2, dtype=torch.float64))
    lower, centre, upper = (hz[i : i + n_bands, None] for i in range(3))
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate / n_fft)
    peaks = torch.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)).relu()
    return float32(float32(peaks) * (2 / (upper - lower)))
