"""DNSMOS: what listeners would say of noisy speech, without a reference; ITU-T P.835 (three scales) and P.808 (one)."""

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from percloss.dsp.filterbanks import triangular_bank
from percloss.dsp.scales import MEL_SLANEY
from percloss.dsp.stft import hann, power, stft
from percloss.frontends import FrontEnd
from percloss.nets._checks import checked
from percloss.nets._onnx import initializers
from percloss.nets._weights import existing, fill, packaged, randomise

#: The networks hear 9.01 s at a time, a second apart.
SEGMENT = 144_160
_RATE = 16_000
_N_FFT, _BANDS = 321, 120
# Powers below are taken for these: in the graph of P.835, and by librosa.power_to_db before that of P.808.
_LEAST_IN_GRAPH, _LEAST_IN_LIBROSA = 1e-12, 1e-10
_KERNEL = re.compile(r"conv2d(_\d+)?/kernel:0")
_MATRIX = re.compile(r"/dense(_\d+)?/MatMul")
# Polynomials from a network's opinion to the mean of listeners, highest power first: signal, background, overall.
_FIT = (
    (0.0, -0.08397278, 1.22083953, 0.0052439),
    (0.0, -0.13166888, 1.60915514, -0.39604546),
    (0.0, -0.06766283, 1.11546468, 0.04602535),
)
_FIT_PERSONALIZED = (
    (-0.01019296, 0.02751166, 1.19576786, -0.24348726),
    (-0.04976499, 0.44276479, -0.1644611, 0.96883132),
    (-0.00533021, 0.005101, 1.18058466, -0.11236046),
)


class Opinions(NamedTuple):
    """Mean opinion scores of P.835, 1 to 5, for signal, background and overall: (batch, 3) each."""

    raw: Tensor
    fitted: Tensor


class _Rater(FrontEnd, ABC):
    """Convolutions over a picture of frames and bands, the largest value of each map, and three dense layers."""

    sample_rate = _RATE
    layers: tuple[str, ...]
    min_samples: int
    #: Maps of each convolution, which of them are halved by pooling, and the widths of the dense layers.
    _maps: tuple[int, ...]
    _pooled: frozenset[int]
    _dense: tuple[int, int, int]

    def _build(self) -> None:
        maps = (1, *self._maps)
        sizes = (self._maps[-1], *self._dense)
        self.convs = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in itertools.pairwise(maps))
        self.dense = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))

    @abstractmethod
    def picture(self, x: Tensor) -> Tensor:
        """(batch, time) to (batch, frames, bands)."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The activations of every convolution after its rectifier, by name: (batch, channels, frames, bands)."""
        checked(x, net=type(self).__name__, sample_rate=_RATE, min_samples=self.min_samples)
        h = self.picture(x)[:, None]
        activations = {}
        for block, (name, conv) in enumerate(zip(self.layers, self.convs, strict=True)):
            h = F.relu(conv(h))
            activations[name] = h
            if block in self._pooled:
                h = F.max_pool2d(h, 2)
        return activations

    def opinion(self, x: Tensor) -> Tensor:
        """What the network says of one segment, as it says it: (batch, time) to (batch, scales)."""
        h = self(x)[self.layers[-1]].amax((2, 3))
        for dense in self.dense[:-1]:
            h = F.relu(dense(h))
        said: Tensor = self.dense[-1](h)
        return said

    def _load(self, path: str | Path | None, inside: str) -> None:
        net = type(self).__name__
        file = packaged("speechmos", inside, net=net) if path is None else existing(path, net=net)
        fill(self, self._named(initializers(file, net=net)), source=file)
        self.eval()

    def _named(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """The file's weights under our names. Keras numbered its layers, with gaps."""
        weights = {}
        for at, name in enumerate(sorted(filter(_KERNEL.fullmatch, saved), key=_number)):
            weights[f"convs.{at}.weight"] = saved[name]
            weights[f"convs.{at}.bias"] = saved[name.replace("kernel", "bias")]
        for at, name in enumerate(sorted(filter(_MATRIX.search, saved), key=_number)):
            weights[f"dense.{at}.weight"] = saved[name].T
            weights[f"dense.{at}.bias"] = saved[name.replace("MatMul", "BiasAdd")]
        return weights


def _number(name: str) -> int:
    found = re.search(r"(?:conv2d|dense)_(\d+)/", name)
    return int(found[1]) if found else 0


class P835(_Rater):
    """Signal, background and overall quality of speech, as listeners rate them by ITU-T P.835.

    Weights: package ``speechmos`` 0.0.1.1 on PyPI (MIT, Copyright Microsoft Corporation; its wheel has the text),
    file ``sig_bak_ovr.onnx``, read as numbers without onnx or onnxruntime: ``pip install --no-deps speechmos``.
    The transform at its entrance was learned with the rest. A power below 1e-12 is taken for 1e-12, as trained: there
    the gradient is 0.

    Args:
        generator: Source of the random weights; seeded with 0 if not given.

    Shape:
        (batch, time) at 16 kHz, within +-1. Every layer is (batch, channels, frames, bins).

    References:
        [reddy2022]_.
    """

    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv7")
    min_samples = 1_440  # eight frames, which three poolings take together
    fit: Tensor
    _maps = (128, 64, 64, 32, 32, 32, 64)
    _pooled = frozenset({3, 4, 5})
    _dense = (128, 64, 3)

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        with torch.device("meta"):
            self.real = nn.Linear(320, 161, bias=False)
            self.imaginary = nn.Linear(320, 161, bias=False)
            self._build()
        randomise(self, generator)
        self.constant("fit", torch.tensor(_FIT, dtype=torch.float64))

    def picture(self, x: Tensor) -> Tensor:
        frames = x.unfold(-1, 320, 160)
        powers = self.real(frames).square() + self.imaginary(frames).square()
        logarithms: Tensor = powers.clamp(min=_LEAST_IN_GRAPH).log10()
        return logarithms

    @classmethod
    def pretrained(cls, path: str | Path | None = None, *, personalized: bool = False) -> "P835":
        """With Microsoft's weights, in evaluation mode.

        Args:
            path: A copy of ``sig_bak_ovr.onnx``; the one in the installed package ``speechmos`` if not given.
            personalized: The model that counts other talkers as noise, with its own fit to the listeners.

        Raises:
            MissingExtraError: No path, and the package is not installed.
            ArgumentError: A path where there are no such weights.
        """
        folder = "pdnsmos_models" if personalized else "dnsmos_models"
        net = cls()
        net._load(path, f"speechmos/{folder}/sig_bak_ovr.onnx")
        if personalized:
            net.constant("fit", torch.tensor(_FIT_PERSONALIZED, dtype=torch.float64))
        return net

    def _named(self, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        kernels = {"real.weight": "time2freq/stft-real/kernel:0", "imaginary.weight": "time2freq/stft-imag/kernel:0"}
        entrance = {ours: saved[theirs][..., 0] for ours, theirs in kernels.items() if theirs in saved}
        return super()._named(saved) | entrance


class P808(_Rater):
    """Overall quality of speech, as listeners rate it by ITU-T P.808.

    It sees 120 mel bands in dB below the loudest of them, and so no level at all.

    Weights: package ``speechmos`` 0.0.1.1 on PyPI (MIT, Copyright Microsoft Corporation; its wheel has the text),
    file ``model_v8.onnx``, read as numbers without onnx or onnxruntime: ``pip install --no-deps speechmos``.

    Args:
        generator: Source of the random weights; seeded with 0 if not given.

    Shape:
        (batch, time) at 16 kHz. Every layer is (batch, channels, frames, bands).

    References:
        [reddy2021]_.
    """

    layers = ("conv1", "conv2", "conv3", "conv4", "conv5")
    min_samples = 1_121  # eight frames, which three poolings take together
    window: Tensor
    bank: Tensor
    _maps = (32, 32, 32, 32, 64)
    _pooled = frozenset({0, 1, 3})
    _dense = (64, 64, 1)

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        with torch.device("meta"):
            self._build()
        randomise(self, generator)
        self.constant("window", hann(_N_FFT))
        bank = triangular_bank(MEL_SLANEY, sample_rate=_RATE, n_fft=_N_FFT, n_bands=_BANDS, norm="area")
        self.constant("bank", bank)

    def picture(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (_N_FFT // 2, _N_FFT // 2))
        spectrum = stft(padded, self.window.to(x.dtype), n_fft=_N_FFT, hop_length=160, center=False)
        bands = self.bank.to(x.dtype) @ power(spectrum)
        # As librosa.power_to_db(ref=np.max) has it, at most 80 dB down.
        db = 10 * bands.clamp(min=_LEAST_IN_LIBROSA).log10()
        db = db - db.amax((1, 2), keepdim=True)
        return ((db.clamp(min=-80) + 40) / 40).transpose(1, 2)

    @classmethod
    def pretrained(cls, path: str | Path | None = None) -> "P808":
        """With Microsoft's weights, in evaluation mode.

        Args:
            path: A copy of ``model_v8.onnx``; the one in the installed package ``speechmos`` if not given.

        Raises:
            MissingExtraError: No path, and the package is not installed.
            ArgumentError: A path where there are no such weights.
        """
        net = cls()
        net._load(path, "speechmos/dnsmos_models/model_v8.onnx")
        return net


def p835_opinions(net: P835, x: Tensor) -> Opinions:
    """Mean opinions over the segments of a clip, with a gradient.

    Args:
        net: The network.
        x: Speech at 16 kHz, within +-1, (batch, time).

    Returns:
        What the network says, and the same fitted to listeners, on scales of 1 to 5: signal, background, overall.
    """
    raw = torch.stack([net.opinion(segment) for segment in segments(x)])
    fit = net.fit.to(raw.dtype)
    fitted = ((fit[:, 0] * raw + fit[:, 1]) * raw + fit[:, 2]) * raw + fit[:, 3]
    return Opinions(raw.mean(0), fitted.mean(0))


def p808_opinions(net: P808, x: Tensor) -> Tensor:
    """Mean opinion over the segments of a clip, (batch, time) at 16 kHz to (batch,), with a gradient."""
    # A segment without its last 160 samples has the 900 frames that the network was made for.
    return torch.stack([net.opinion(segment[:, :-160])[:, 0] for segment in segments(x)]).mean(0)


def segments(x: Tensor) -> Iterator[Tensor]:
    """The pieces of 9.01 s that DNSMOS hears, a second apart; a shorter clip is doubled until it fills one.

    Which pieces those are is taken from Microsoft's program, with its rounding: pieces 7 to 23 and 119 to 122 come out
    one sample short there, and a piece too short is left out. Of a clip of half a minute it hears the first 15 s.

    Raises:
        ShapeError: No samples, or not (batch, time).
    """
    checked(x, net="DNSMOS", sample_rate=_RATE, min_samples=1)
    while x.shape[1] < SEGMENT:
        x = torch.cat((x, x), dim=1)
    for second in range(int(x.shape[1] // _RATE - 9.01) + 1):
        start, stop = second * _RATE, int((second + 9.01) * _RATE)
        if min(stop, x.shape[1]) - start >= SEGMENT:
            yield x[:, start:stop]
