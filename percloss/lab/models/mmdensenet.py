"""Multi-scale multi-band dense nets, with and without LSTMs in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percloss._typing import Bins, Spectrum
from percloss.errors import ArgumentError
from percloss.lab.models.blocks import Maps, composite
from percloss.lab.models.spectrogram import Phase, SpectrogramModel


@dataclass(frozen=True)
class BandPlan:
    """The net of one band: a first convolution, then stages down to the middle one and up again.

    Args:
        bins: Of the spectrum that it hears, from where the band before it ends.
        growth: Filters that each layer of a stage adds; one number for each stage, an odd number of them.
        layers: Of each stage; 0 in the middle leaves the LSTM alone there.
        hidden: Units of each stage's LSTM in each direction, 0 for none; no LSTM anywhere if not given.
        kernel: Of all convolutions, (bins, frames).
        features: Filters of the first convolution.
    """

    bins: int
    growth: tuple[int, ...]
    layers: tuple[int, ...]
    hidden: tuple[int, ...] = ()
    kernel: tuple[int, int] = (3, 3)
    features: int = 32

    def __post_init__(self) -> None:
        hidden = self.hidden or (0,) * len(self.growth)
        if len(self.growth) % 2 == 0 or not len(self.growth) == len(self.layers) == len(hidden):
            raise ArgumentError(
                f"BandPlan: got {len(self.growth)} growths, {len(self.layers)} layers and {len(hidden)} hidden sizes; "
                f"needed is the same odd number of each; type growth=(4, 4, 4), layers=(2, 2, 2), hidden=(0, 8, 0)."
            )
        stages = zip(self.growth, self.layers, hidden, strict=True)
        if (
            self.bins < 1
            or self.features < 1
            or any(layers * growth < 1 and units < 1 for growth, layers, units in stages)
        ):
            raise ArgumentError(
                f"BandPlan: got {self}; needed are bins and features from 1 on, and in each stage layers that grow or "
                f"an LSTM."
            )

    @property
    def levels(self) -> int:
        """How often bins and frames are halved."""
        return len(self.growth) // 2

    @property
    def outputs(self) -> int:
        """Maps that the last stage gives."""
        heard = bool(self.hidden and self.hidden[-1])
        return self.growth[-1] + heard if self.layers[-1] else 1


# Of the network for vocals in tky823/DNN-based_source_separation, egs/musdb18/mm-densenet/config/paper.
MMDENSENET_BANDS = (
    BandPlan(512, (14, 16, 16, 16, 16, 16, 16), (4,) * 7, kernel=(4, 3)),
    BandPlan(513, (10,) * 7, (3,) * 7),
)
MMDENSENET_FULL = BandPlan(1025, (6,) * 7, (2, 2, 2, 4, 2, 2, 2), kernel=(4, 3))
# Of that repository's egs/musdb18/mm-dense-lstm/config.
MMDENSELSTM_BANDS = (
    BandPlan(380, (14,) * 7, (5,) * 7, (0, 0, 0, 64, 0, 64, 0)),
    BandPlan(644, (4,) * 7, (4,) * 7, (0, 0, 0, 16, 0, 0, 0)),
    BandPlan(1025, (2, 2, 0, 2, 2), (1, 1, 0, 1, 1), (0, 0, 4, 0, 0)),
)
MMDENSELSTM_FULL = BandPlan(2049, (7,) * 9, (3, 3, 4, 5, 5, 5, 4, 3, 3), (0, 0, 0, 0, 64, 0, 0, 64, 0), features=8)


class _Lstm(nn.Module):
    """One map out of many, by an LSTM that runs both ways along the frames and hears all bins of one map."""

    def __init__(self, inputs: int, bins: int, hidden: int) -> None:
        super().__init__()
        self.merge = nn.Conv2d(inputs, 1, 1)
        self.lstm = nn.LSTM(bins, hidden, batch_first=True, bidirectional=True)
        self.back = nn.Linear(2 * hidden, bins)

    def forward(self, x: Maps) -> Maps:
        heard: Tensor = self.back(self.lstm(self.merge(x)[:, 0].mT)[0])
        return heard.mT[:, None]


class _Stage(nn.Module):
    """Layers that hear all before them, of which the last is given on, and an LSTM of what it says beside it."""

    def __init__(
        self, inputs: int, growth: int, layers: int, hidden: int, bins: int, kernel: tuple[int, int], dilated: bool
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            composite(inputs + i * growth, growth, kernel, dilation=2**i if dilated else 1) for i in range(layers)
        )
        self.outputs = growth if layers else inputs
        self.lstm = _Lstm(self.outputs, bins, hidden) if hidden else None
        self.alone = not layers
        if hidden:
            self.outputs = 1 if self.alone else growth + 1

    def forward(self, x: Maps) -> Maps:
        said = x
        for layer in self.layers:
            said = layer(x)
            x = torch.cat([x, said], 1)
        if self.lstm is None:
            return said
        heard: Tensor = self.lstm(said)
        return heard if self.alone else torch.cat([said, heard], 1)


class _BandNet(nn.Module):
    """The net of one band; the average of two by two on the way down, transposed convolutions on the way up."""

    def __init__(self, channels: int, plan: BandPlan, outputs: int) -> None:
        super().__init__()
        self.step = 2**plan.levels
        spread = [size - 1 for size in plan.kernel]
        self.first = nn.Sequential(
            nn.ZeroPad2d((spread[1] // 2, spread[1] - spread[1] // 2, spread[0] // 2, spread[0] - spread[0] // 2)),
            nn.Conv2d(channels, plan.features, plan.kernel),
        )
        bins = plan.bins + -plan.bins % self.step
        hidden = plan.hidden or (0,) * len(plan.growth)
        self.stages, self.ups = nn.ModuleList(), nn.ModuleList()
        inputs = plan.features
        skips: list[int] = []
        for number, sizes in enumerate(zip(plan.growth, plan.layers, hidden, strict=True)):
            rising = number > plan.levels
            if rising:
                self.ups.append(nn.Sequential(nn.BatchNorm2d(inputs), nn.ConvTranspose2d(inputs, inputs, 2, stride=2)))
                inputs += skips.pop()
            depth = min(number, 2 * plan.levels - number)
            stage = _Stage(inputs, *sizes, bins=bins // 2**depth, kernel=plan.kernel, dilated=False)
            self.stages.append(stage)
            inputs = stage.outputs
            if number < plan.levels:
                skips.append(inputs)
        self.last = (
            nn.Identity() if outputs == inputs else nn.Sequential(nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 1))
        )

    def forward(self, x: Maps) -> Maps:
        bins, frames = x.shape[2:]
        x = self.first(F.pad(x, (0, -frames % self.step, 0, -bins % self.step)))
        levels = len(self.ups)
        skips: list[Tensor] = []
        for stage in self.stages[:levels]:
            skips.append(stage(x))
            x = F.avg_pool2d(skips[-1], 2)
        x = self.stages[levels](x)
        for up, stage in zip(self.ups, self.stages[levels + 1 :], strict=True):
            x = stage(torch.cat([up(x), skips.pop()], 1))
        said: Tensor = self.last(x)
        return said[:, :, :bins, :frames]


class MMDenseNet(SpectrogramModel):
    """A dense net for each band and one for all of them, whose maps a last dense block puts together.

    337 008 parameters by default, 1 370 841 with ``MMDenseNet.lstm()``. In the default network

    ======== ===================================== ===================================== ==================
    stage    low, 512 bins, (4, 3)                 high, 513 bins, (3, 3)                full, (4, 3)
    ======== ===================================== ===================================== ==================
    first    2 -> 32                               2 -> 32                               2 -> 32
    1        4 layers of 14, averaged 2 x 2        3 layers of 10, averaged              2 of 6, averaged
    2, 3     4 layers of 16, averaged              3 layers of 10, averaged              2 of 6, averaged
    4        4 layers of 16                        3 layers of 10                        4 of 6
    5, 6, 7  doubled, skip beside it, 4 of 16      doubled, skip beside it, 3 of 10      the same, 2 of 6
    last     nothing                               batch norm, 10 -> 16, kernel 1        nothing
    ======== ===================================== ===================================== ==================

    then 2 layers of 4, kernel (2, 1), of all 16 + 6, batch norm, and kernel 1 to a magnitude, rectified. A layer is
    batch norm, rectifier and convolution of all before it in its stage; a stage gives on what its last layer says.
    The numbers are those of a reimplementation (tky823/DNN-based_source_separation); the papers' own tables could not
    be read.

    With LSTMs, a stage that has one adds one map: of the last layer's maps (1, 1) makes one, an LSTM runs both ways
    along its frames, hearing all bins, and a linear layer brings its units back to the bins.

    It hears each item's magnitudes divided by their largest, and its magnitude is multiplied by that again. The
    reimplementation's learned gain and shift of each bin and its gated last layer are left out. Published scores have
    the filter of ``percloss.lab.postprocess.wiener`` over the networks of all sources behind them.

    Args:
        channels: Of the mixture; the papers' is stereo.
        sample_rate: Of the signals [Hz].
        n_fft: Window length [samples].
        hop_length: Step between frames [samples].
        bands: The nets of the bands, from the lowest; their bins add up to those of the spectrum.
        full: The net of all bins.
        growth: Of the last dense block.
        layers: Of the last dense block.
        kernel: Of the last dense block, (bins, frames).
        dilated: Whether the layers of the last dense block are dilated by 1, 2, 4 and so on.
        phase: Where the phase comes from; see ``SpectrogramModel``.
        iterations: Of Griffin-Lim.

    Shape:
        (batch, channels, time) -> (batch, channels, time)

    References:
        [takahashi2017]_, [takahashi2018]_ with LSTMs.
    """

    def __init__(
        self,
        channels: int = 2,
        *,
        sample_rate: int = 44_100,
        n_fft: int = 2048,
        hop_length: int = 1024,
        bands: Sequence[BandPlan] = MMDENSENET_BANDS,
        full: BandPlan = MMDENSENET_FULL,
        growth: int = 4,
        layers: int = 2,
        kernel: tuple[int, int] = (2, 1),
        dilated: bool = False,
        phase: Phase = "mixture",
        iterations: int = 32,
    ) -> None:
        super().__init__(channels, sample_rate, n_fft=n_fft, hop_length=hop_length, phase=phase, iterations=iterations)
        self._needs("growth and layers", [growth, layers], least=1)
        self.edges = [band.bins for band in bands]
        if sum(self.edges) != self.bins or full.bins != self.bins:
            raise ArgumentError(
                f"MMDenseNet: got bands of {self.edges} bins and a full one of {full.bins}; needed are {self.bins} of "
                f"each for n_fft={n_fft}; type dataclasses.replace(band, bins=...)."
            )
        widest = max(band.outputs for band in bands)
        self.nets = nn.ModuleList(_BandNet(channels, band, widest) for band in bands)
        self.full = _BandNet(channels, full, full.outputs)
        self.together = _Stage(
            widest + full.outputs, growth, layers, hidden=0, bins=self.bins, kernel=kernel, dilated=dilated
        )
        said = nn.Conv2d(growth, self.maps, 1)
        # Above 0, so that no channel begins below the rectifier, from where no gradient brings it back.
        said.bias = nn.Parameter(torch.full((self.maps,), 0.1))
        self.last = nn.Sequential(nn.BatchNorm2d(growth), said)

    @classmethod
    def lstm(cls, channels: int = 2, *, sample_rate: int = 44_100, phase: Phase = "mixture") -> "MMDenseNet":
        """MMDenseLSTM: three bands of a window of 4096 samples, LSTMs in six stages."""
        return cls(
            channels,
            sample_rate=sample_rate,
            n_fft=4096,
            hop_length=1024,
            bands=MMDENSELSTM_BANDS,
            full=MMDENSELSTM_FULL,
            growth=12,
            layers=3,
            kernel=(3, 3),
            dilated=True,
            phase=phase,
        )

    @classmethod
    def small(cls, channels: int = 1, *, recurrent: bool = False, phase: Phase = "mixture") -> "MMDenseNet":
        """One of some thousand parameters, for tests."""
        hidden = (0, 6, 0) if recurrent else ()
        return cls(
            channels,
            sample_rate=8000,
            n_fft=128,
            hop_length=64,
            bands=(
                BandPlan(20, (6, 6, 6), (2, 2, 2), hidden, features=8),
                BandPlan(45, (4, 4, 4), (2, 2, 2), features=8),
            ),
            full=BandPlan(65, (4, 4, 4), (2, 2, 2), hidden, features=8),
            phase=phase,
        )

    def network(self, spectrum: Spectrum, size: Bins) -> Maps:
        x = size / size.amax((1, 2, 3), keepdim=True)
        parts = [net(part) for net, part in zip(self.nets, x.split(self.edges, dim=2), strict=True)]
        said: Tensor = self.last(self.together(torch.cat([torch.cat(parts, 2), self.full(x)], 1)))
        return said

    def magnitude(self, maps: Maps, size: Bins) -> Bins:
        return F.relu(maps) * size.amax((1, 2, 3), keepdim=True)
