"""ViSQOL: the opinion that listeners would have, from the similarity of spectrograms, patch by patch."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from percloss._typing import PerItem, Wave
from percloss.dsp.safe import db_to_amplitude, magnitude, undefined_where
from percloss.hearing import visqol
from percloss.hearing.visqol import Gammatone, Local
from percloss.measure import Measure, check_rate, register
from percloss.spec import Spec

F_MIN = 50.0
# A patch is looked for within so many patches on either side of its place.
SEARCHED = 60
# Below this mean similarity the opinion is the lowest, whatever the mapping says.
DISSIMILAR = 0.15
LOWEST, HIGHEST = 1.0, 5.0
# The exponential of speech mode, a + exp(b (x - x0)), and what brings 1 to the highest opinion: as fitted to TCD-VoIP,
# in speech_similarity_to_quality_mapper.cc of google/visqol (Apache-2.0).
FIT_A, FIT_B, FIT_X0, FIT_SCALE = -262.847869, 0.0154302525, -361.063949, 1.245063
# A signal below this is silence: the gradient is one over its level.
QUIETEST = db_to_amplitude(-400.0)
# Values of a spectrogram that are compared at a time: as many as a processor's cache holds.
BLOCK = 2**17


class _ViSQOL(Measure):
    """What both modes share; the two final classes say which bands, which patches and which mapping."""

    #: Frames of a patch, and of the shortest reference.
    patch: int
    fewest: int

    def __init__(self, sample_rate: int, *, n_bands: int, f_max: float) -> None:
        super().__init__()
        check_rate(self.spec, sample_rate)
        self.sample_rate = sample_rate
        self.bank = Gammatone(sample_rate, n_bands, f_min=F_MIN, f_max=f_max)

    @abstractmethod
    def starts(self, ref: Tensor, frames: int) -> list[int]:
        """The first frames of the patches that a reference of so many frames is cut into."""

    @abstractmethod
    def opinion(self, similarities: Tensor) -> Tensor:
        """Opinion score of mean similarities, (..., bands), not bounded."""

    @property
    def shortest(self) -> int:
        """Samples of the shortest reference that has a value."""
        return self.bank.length + (self.fewest - 1) * self.bank.hop

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        silent = ref.detach().abs().amax(-1) == 0
        if est.shape[-1] < self.shortest:
            return undefined_where(torch.ones_like(silent), est.sum(-1))
        rows = (x.to(self.bank.window.dtype).flatten(0, 1) for x in (est, ref))
        means = torch.stack([self._similarities(e, r) for e, r in zip(*rows, strict=True)])
        value = self.opinion(means)
        # Only the value is bounded: an estimate that is too bad for the scale can still become better.
        bounded = value.detach().clamp(LOWEST, HIGHEST).masked_fill(means.detach().mean(-1) < DISSIMILAR, LOWEST)
        value = bounded + (value - value.detach())
        return undefined_where(silent, value.view(est.shape[:2]).to(est.dtype))

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        return f"shorter than {self.shortest / self.sample_rate:.2f} s"

    def _similarities(self, est: Tensor, ref: Tensor) -> Tensor:
        """Mean over patches of one pair of signals (time), (bands)."""
        est = visqol.delayed(est, visqol.find_lag(est.detach(), ref.detach()))
        est = est * (_level(ref) / _level(est))
        levels = [self.bank(self.bank.frames(x)) for x in (est, ref)]
        est_bands, ref_bands = (x.mT for x in visqol.floored(*levels))
        starts = [
            start for start in self.starts(ref.detach(), len(levels[1])) if start - self.patch // 2 <= len(levels[0])
        ]
        patches = ref_bands.unfold(1, self.patch, 1)[:, starts].transpose(0, 1)
        places = torch.nn.functional.pad(est_bands, (0, self.patch - 1)).unfold(1, self.patch, 1).transpose(0, 1)
        radius = SEARCHED * self.patch
        path = visqol.best_path(_search(places.detach(), patches.detach(), starts, radius), starts, radius)
        found = [(number, offset) for number, offset in enumerate(path) if offset is not None]
        numbers, offsets = (list(x) for x in zip(*found, strict=True))
        coarse = visqol.similarity(Local.of(places[offsets]), Local.of(patches[numbers]))
        fine = self._realigned(est, ref, offsets, [starts[number] for number in numbers], coarse)
        better = torch.where(fine.mean(-1, keepdim=True) < coarse.mean(-1, keepdim=True), coarse, fine)
        return better.sum(0) / len(starts)

    def _realigned(
        self, est: Tensor, ref: Tensor, offsets: Sequence[int], starts: Sequence[int], coarse: Tensor
    ) -> Tensor:
        """Similarities of patches, (patches, bands), that are cut out of both signals and aligned to the sample."""
        of_length: dict[int, list[tuple[int, Tensor, Tensor]]] = {}
        for number, (offset, start) in enumerate(zip(offsets, starts, strict=True)):
            pair = self._excerpt(est, offset), self._excerpt(ref, start)
            pair = visqol.aligned(*pair, sample_rate=self.sample_rate)
            if len(pair[0]) > self.bank.length:
                est_frames, ref_frames = (self.bank.frames(x) for x in pair)
                of_length.setdefault(len(est_frames), []).append((number, est_frames, ref_frames))
        fine = coarse
        for count, group in of_length.items():
            numbers, *frames = zip(*group, strict=True)
            est_levels, ref_levels = (self.bank(torch.cat(x)).unflatten(0, (-1, count)) for x in frames)
            est_bands, ref_bands = (x.mT for x in visqol.floored(est_levels, ref_levels))
            index = torch.tensor(numbers, device=est.device)
            fine = fine.index_copy(0, index, visqol.similarity(Local.of(est_bands), Local.of(ref_bands)))
        return fine

    def _excerpt(self, x: Tensor, start: int) -> Tensor:
        step = self.bank.hop / self.sample_rate
        return visqol.excerpt(x, start * step, start * step + self.patch * step, self.sample_rate)


def _level(x: Tensor) -> Tensor:
    return magnitude(x.square().mean(), QUIETEST**2)


def _search(places: Tensor, patches: Tensor, starts: Sequence[int], radius: int) -> npt.NDArray[np.float64]:
    """Similarity of every patch to every place within the radius, (patches, places), of (..., bands, frames)."""
    est, ref = Local.of(places), Local.of(patches)
    found = places.new_zeros(len(patches), len(places))
    few = max(1, BLOCK // places[0].numel())
    for patch, start in enumerate(starts):
        here = Local(*(x[patch] for x in ref))
        last = min(len(places), start + radius + 1)
        for at in range(max(0, start - radius), last, few):
            there = Local(*(x[at : min(at + few, last)] for x in est))
            found[patch, at : at + len(there.value)] = visqol.similarity(there, here).mean(-1)
    return np.asarray(found.double().cpu())


@register
class ViSQOLAudio(_ViSQOL):
    r"""Virtual speech quality objective listener, audio mode.  MOS-LQO, higher is better; 4.732 where est is ref.

    Levels :math:`E, R` in 32 gammatone bands and windows of 80 ms are compared in patches of 0.6 s, each with the place
    in the estimate where it fits best, by the neurogram similarity index measure, of local means and variances:

    .. math:: \frac{2 \mu_E \mu_R + c_1}{\mu_E^2 + \mu_R^2 + c_1} \cdot
              \frac{\sigma_{ER} + c_3}{\sigma_E \sigma_R + c_3}

    Its mean in each band becomes an opinion by the authors' support vector regression, trained on coded music. Before,
    the estimate is brought to the level of the reference and aligned in time, as a whole and patch by patch; lags and
    places are held constant in the gradient. The value is that of the package ``visqol-python`` within 1e-3. It is
    bounded to 1 and 5, the gradient is not.

    The authors downmix stereo: take the mean over channels first to compare with their figures.

    Args:
        sample_rate: 48000 [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where the reference is silent or where there
        is less than 0.96 s. A silent estimate has a value, as have two signals that are below the absolute threshold.

    Example:
        >>> ref = 0.1 * torch.randn(1, 1, 48_000, generator=torch.Generator().manual_seed(0))
        >>> ViSQOLAudio(48_000)(ref, ref)
        tensor([[4.7321]])

    References:
        [chinen2020]_; [hines2015audio]_ for the mode, [hines2015]_ for the model.
    """

    patch, fewest = 30, 45
    spec = Spec(
        name="visqol_audio",
        title="ViSQOL, audio mode",
        unit="MOS-LQO",
        better="higher",
        bounds=(LOWEST, HIGHEST),
        perfect=4.7321,
        sample_rates=frozenset({48_000}),
        compiles=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "polarity"}),
        cite=("chinen2020", "hines2015audio", "hines2015"),
    )

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate, n_bands=32, f_max=24_000.0)
        self.regression = visqol.Regression()

    def starts(self, ref: Tensor, frames: int) -> list[int]:
        """One after the other, from half a patch on."""
        first = self.patch // 2
        return [start - 1 for start in range(first, max(frames - self.patch, first + 1), self.patch)]

    def opinion(self, similarities: Tensor) -> Tensor:
        """By support vector regression."""
        value: Tensor = self.regression(similarities)
        return value


@register
class ViSQOLSpeech(_ViSQOL):
    """Virtual speech quality objective listener, speech mode.  MOS-LQO, higher is better; 5 where est is ref.

    As in audio mode, in 21 bands below 8 kHz and patches of 0.4 s, of which those without voice in the reference do not
    count. The mean over all bands becomes an opinion by an exponential, fitted to calls over the internet. The authors
    have since put a lattice network in its place, which is up to two points lower; it is not in this package. The value
    is that of the package ``visqol-python`` with ``use_lattice_model=False``, within 1e-3.

    Args:
        sample_rate: 16000 [Hz].

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where the reference is silent or where there
        is less than 0.64 s.

    Example:
        >>> ref = 0.1 * torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
        >>> ViSQOLSpeech(16_000)(ref, ref)
        tensor([[5.]])

    References:
        [chinen2020]_; [hines2015]_ for the model.
    """

    patch, fewest = 20, 29
    spec = Spec(
        name="visqol_speech",
        title="ViSQOL, speech mode",
        unit="MOS-LQO",
        better="higher",
        bounds=(LOWEST, HIGHEST),
        perfect=5.0,
        sample_rates=frozenset({16_000}),
        compiles=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "polarity"}),
        cite=("chinen2020", "hines2015"),
    )

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate, n_bands=21, f_max=8000.0)

    def starts(self, ref: Tensor, frames: int) -> list[int]:
        """One after the other, from half a patch on, but those without voice."""
        first = self.patch // 2 - 1
        voiced = visqol.voiced(ref, (frames - first) // self.patch, self.patch, self.bank.hop)
        return [first + number * self.patch for number, speech in enumerate(voiced) if speech]

    def opinion(self, similarities: Tensor) -> Tensor:
        """By an exponential of the mean over bands."""
        return FIT_SCALE * (FIT_A + (FIT_B * (similarities.mean(-1) - FIT_X0)).exp())
