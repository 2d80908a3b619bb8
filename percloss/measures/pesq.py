"""PESQ with a gradient: P.862's model of speech quality for batches, on any device."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from percloss._typing import PerItem, Wave
from percloss.dsp.safe import db_to_amplitude, db_to_power, undefined_where
from percloss.dsp.stft import power
from percloss.errors import ArgumentError
from percloss.hearing import p862, p862_time
from percloss.hearing.p862_time import Alignment, Section
from percloss.measure import Measure, check_rate, register
from percloss.spec import Spec

Mode: TypeAlias = Literal["nb", "wb"]
Align: TypeAlias = Literal["none", "global", "full"]

# Raw score of a pair without disturbance, and the weights of the two disturbances.
BEST, SYMMETRIC, ASYMMETRIC = 4.5, 0.1, 0.0309
# MOS-LQO is LOWEST + SPAN / (1 + exp(-slope raw + offset)): slope and offset of P.862.1 and P.862.2.
LOWEST, SPAN = 0.999, 4.0
MAPPING: dict[Mode, tuple[float, float]] = {"nb": (1.4945, 4.6607), "wb": (1.3669, 3.8224)}

# Added to the mean square before it is divided by: a signal this far below full scale is on its way to silence.
LEVEL_FLOOR = db_to_power(-180.0)
# Hz between which the level counts, and the slopes beyond [dB/Hz].
LEVEL_BAND, LEVEL_SLOPES = (350.0, 3250.0), (10.0, 2.0)
# The reference implementation takes the mean over what it appends, too.
APPENDED_SECONDS = 0.32

# The input filter of P.862.2 is a high-pass of this gain, poles and double zero, given for 16 kHz: from torch-pesq
# 0.1.2 (MIT), loss.py. Corrigendum 2 (2018) takes 12 dB off it, to 0.251188 of its amplitude.
WIDE_GAIN, WIDE_FILTER = 2.740826, ((1.0, -2.0, 1.0), (1.0, -1.9444777, 0.94597794))
CORRIGENDUM_2 = 0.251188
# It fades in and out over so many samples.
FADE = 15
RINGING_SECONDS = 0.064

# What is above the bound of a disturbance counts by this part, which is 0 in P.862: nothing would be learned there.
LEAK = 1e-5

# Frames: speech begins and ends where five samples of the reference add up to so much.
SPEECH_SAMPLES, SPEECH_SUM = 5, 500.0
# The gain of a frame follows that of the one before by this part.
GAIN_MEMORY, GAIN_TAPS = 0.2, 16
# Over a syllable of so many frames, which overlap by half, the sixth power counts; over syllables the square.
SYLLABLE, SYLLABLE_EXPONENT = 20, 6
# In a longer signal what comes late weighs more: so many frames more, and by this part at most.
LONG, LONGER, MOST_FORGOTTEN = 1000, 5500, 0.5

# A bad interval has so many frames at least with this disturbance, gaps of up to three between them filled as far as
# two frames reach from either side. It is aligned anew within this range [frame lengths], if it correlates so well.
BAD, BAD_FRAMES, BAD_REACH = 30.0, 5, 2
REALIGN_RANGE, REALIGN_CORRELATION = 4, 0.5

# The narrow band's input filter, the receiving side of a telephone, linear in dB between these. Found by fitting a
# response to the scores of the package pesq 0.0.4, starting from a coarse band-pass, and rounding it to whole dB: with
# these the scores agree within 1e-4 where time alignment has no part. Below 100 Hz and above 4 kHz any stop band does.
NARROW_HZ = (0.0, 50.0, 100.0, 125.0, 160.0, 200.0, 250.0, 300.0, 350.0, 400.0, 500.0, 600.0, 3250.0, 3500.0, 4000.0)
NARROW_DB = (-200.0, -52.0, -32.0, -24.0, -18.0, -12.0, -8.0, -6.0, -4.0, -2.0, -1.0, 0.0, 0.0, -8.0, -200.0)


class Disturbance(NamedTuple):
    """What P.862 finds over time: two disturbances, and which items have speech to find them in.

    Shape:
        symmetric, asymmetric, defined: (batch, channels).
    """

    symmetric: Tensor
    asymmetric: Tensor
    defined: Tensor


class _Frames(NamedTuple):
    """Those of each row that count: the first, how many, and as a mask of all, (rows, 1, frames)."""

    first: Tensor
    total: Tensor
    inside: Tensor


class _PESQLike(Measure):
    """Finds the disturbances of P.862; the final classes say what becomes of them."""

    model: p862.PerceptualModel

    def __init__(self, sample_rate: int, *, mode: Mode | None, corrigendum2: bool, align: Align) -> None:
        super().__init__()
        check_rate(self.spec, sample_rate)
        self.sample_rate, self.corrigendum2, self.align = sample_rate, corrigendum2, align
        self.mode: Mode = ("wb" if sample_rate == 16_000 else "nb") if mode is None else mode
        if self.mode not in MAPPING or (self.mode, sample_rate) == ("wb", 8000):
            raise ArgumentError(
                f'{self.spec.name}: mode={mode!r} came at {sample_rate} Hz; needed is "nb", or "wb" at 16000 Hz.'
            )
        if align not in ("none", "global", "full"):
            raise ArgumentError(f'{self.spec.name}: align={align!r} came; needed is "none", "global" or "full".')
        if corrigendum2 and self.mode == "nb":
            raise ArgumentError(
                f"{self.spec.name}: corrigendum2=True came in narrow band; corrigendum 2 is of the wide band's filter: "
                f'type mode="wb" or leave it out.'
            )
        self.model = p862.PerceptualModel(sample_rate)
        self.hop = self.model.n_fft // 2
        self.min_samples = sample_rate // 4

    def find(self, est: Wave, ref: Wave) -> Disturbance:
        """The disturbances over time."""
        shape = est.shape[:2]
        est, ref = (self.heard(x.flatten(0, 1)) for x in (est, ref))
        frames = self.speaking(ref.detach())
        delays = self.delays(est.detach(), ref.detach(), frames)
        est_bands, ref_bands = self.bands(est, delays), self.bands(ref)
        counted = frames.inside[:, None] & self.model.speech(ref_bands)
        over, under = (self.over_speech(bands, counted, frames) for bands in (est_bands, ref_bands))
        ref_bands = ref_bands * p862.transfer(over, under)
        est_bands = est_bands * self.gain(est_bands, ref_bands, frames)
        found = self.model.disturbances(est_bands, ref_bands)
        if delays is not None:
            found = self.realigned(found, est, ref, est_bands, ref_bands, delays, frames)
        symmetric, asymmetric = (
            self.over_time(x[:, 0], frames) for x in self.model.counted(found, ref_bands, leak=LEAK)
        )
        return Disturbance(*(x.view(shape) for x in (symmetric, asymmetric, frames.total > 0)))

    def heard(self, x: Tensor) -> Tensor:
        """Rows at the listening level behind the input filter, and one frame more."""
        time = x.shape[-1]
        size = _fast_size(time + round(RINGING_SECONDS * self.sample_rate))
        hertz = torch.fft.rfftfreq(size, 1 / self.sample_rate, dtype=x.dtype, device=x.device)
        both = torch.full_like(hertz, 2.0)
        both[0] = both[-1] = 1
        spectrum = torch.fft.rfft(x, size)
        in_band = (power(spectrum) * both * level_response(hertz).square()).sum(-1, keepdim=True) / size
        level = in_band / (time + APPENDED_SECONDS * self.sample_rate) + LEVEL_FLOOR
        if self.mode == "wb":
            fade = torch.arange(1, FADE + 1, dtype=x.dtype, device=x.device) / (FADE + 1)
            x = torch.cat((x[:, :FADE] * fade, x[:, FADE:-FADE], x[:, -FADE:] * fade.flip(0)), -1)
            gain = WIDE_GAIN * (CORRIGENDUM_2 if self.corrigendum2 else 1.0)
            filtered = torch.fft.rfft(x, size) * wide_response(hertz, self.sample_rate) * gain
        else:
            filtered = spectrum * narrow_response(hertz)
        audible = torch.fft.irfft(filtered, size) * (p862.LEVEL / level).sqrt()
        # What rings on is there in the narrow band's filter, but not in the wide band's.
        whole = time if self.mode == "wb" else time + self.model.n_fft
        return F.pad(audible[:, :whole], (0, time + self.model.n_fft - whole))

    def speaking(self, ref: Tensor) -> _Frames:
        """The frames from the first to the last speech of the reference."""
        time = ref.shape[-1] - self.model.n_fft
        loud = F.avg_pool1d(ref[:, None, :time].abs(), SPEECH_SAMPLES, 1)[:, 0] >= SPEECH_SUM / SPEECH_SAMPLES
        begin = loud.int().argmax(-1)
        end = torch.where(loud.any(-1), time - loud.flip(-1).int().argmax(-1), 0)
        first = begin // self.hop
        count = (end // self.hop - first).clamp(min=0)
        number = torch.arange(time // self.hop, device=ref.device)
        return _Frames(first, count, ((number >= first[:, None]) & (number < (first + count)[:, None]))[:, None])

    def bands(self, x: Tensor, delays: Tensor | None = None) -> Tensor:
        """Band powers of all frames, each later by its delay [samples]."""
        size, number = self.model.n_fft, (x.shape[-1] - self.model.n_fft) // self.hop
        if delays is None:
            frames = x.unfold(-1, size, self.hop)[:, :number]
        else:
            begins = self.hop * torch.arange(number, device=x.device) + delays
            samples = (begins[..., None] + torch.arange(size, device=x.device)).clamp(-1, x.shape[-1]) + 1
            frames = F.pad(x, (1, 1)).gather(1, samples.flatten(1)).view(samples.shape)
        return self.powers(frames[:, None])

    def powers(self, frames: Tensor) -> Tensor:
        """Band powers, (rows, 1, bands, frames), of windows of samples, (rows, 1, frames, n_fft)."""
        window = self.model.window.to(frames.dtype)
        return self.model(power(torch.fft.rfft(frames * window)).mT)  # type: ignore[no-any-return]

    def over_speech(self, bands: Tensor, counted: Tensor, frames: _Frames) -> Tensor:
        """Mean over frames of what stands out of silence in those with speech."""
        total = torch.where(counted & self.model.outstanding(bands), bands, 0).sum(-1, keepdim=True)
        return total / frames.total.clamp(min=1)[:, None, None, None]

    def gain(self, est: Tensor, ref: Tensor, frames: _Frames) -> Tensor:
        """What takes each frame of the estimate to the reference, following from the frame before."""
        gain = p862.gain(self.model.audible_power(est), self.model.audible_power(ref))[:, 0]
        first = gain.gather(-1, frames.first.clamp(max=gain.shape[-1] - 1)[:, None, None])
        number = torch.arange(gain.shape[-1], device=gain.device)
        gain = torch.where(number < frames.first[:, None, None], first, gain)
        # The recursion's response, cut off where it is below the precision of any float; before the first is the first.
        taps = (1 - GAIN_MEMORY) * GAIN_MEMORY ** torch.arange(GAIN_TAPS, dtype=gain.dtype, device=gain.device)
        padded = F.pad(gain, (GAIN_TAPS - 1, 0), mode="replicate")
        return F.conv1d(padded, taps.flip(0)[None, None]).clamp(*p862.GAIN_BOUNDS)[:, None]

    def over_time(self, disturbance: Tensor, frames: _Frames) -> Tensor:
        """Over syllables and then over all of them, (rows, frames) -> (rows,)."""
        total = disturbance.shape[-1]
        number = torch.arange(total + SYLLABLE, device=disturbance.device)
        inside = number < frames.total[:, None]
        shifted = (frames.first[:, None] + number).clamp(max=total - 1)
        spoken = torch.where(inside, disturbance.gather(-1, shifted), 0)
        syllables = spoken.unfold(-1, SYLLABLE, SYLLABLE // 2)
        # Of a value over the largest, so that no power of it overflows, and its root has a slope where all are 0.
        largest = syllables.detach().amax(-1).clamp(min=torch.finfo(spoken.dtype).tiny)
        mean = (syllables / largest[..., None]).pow(SYLLABLE_EXPONENT).mean(-1)
        syllable = largest * _root(mean, SYLLABLE_EXPONENT)
        begin = torch.arange(syllable.shape[-1], device=spoken.device) * (SYLLABLE // 2)
        count = frames.total.clamp(min=1)[:, None].to(spoken.dtype)
        forgotten = ((count - LONG) / LONGER).clamp(0, MOST_FORGOTTEN)
        weight = torch.where(begin < count, 1 - forgotten + forgotten * begin / count, 0)
        return _root((syllable * weight).square().sum(-1) / weight.square().sum(-1), 2)

    def delays(self, est: Tensor, ref: Tensor, frames: _Frames) -> Tensor | None:
        """By how many samples each frame of the estimate is later, (rows, frames)."""
        if self.align == "none":
            return None
        # A frame belongs where its middle is.
        middles = self.hop * torch.arange(1, 1 + frames.inside.shape[-1])
        time = ref.shape[-1] - self.model.n_fft
        rows = []
        for e, r, count in zip(est[:, :time].cpu(), ref[:, :time].cpu(), frames.total.tolist(), strict=True):
            sections: tuple[Section, ...] = (Section(0, 0),)
            if count:
                alignment = Alignment(e, r, self.sample_rate)
                sections = tuple(alignment.constant() if self.align == "global" else alignment.variable())
            at = torch.bucketize(middles, torch.tensor([section.begin for section in sections[1:]]), right=True)
            rows.append(torch.tensor([section.delay for section in sections])[at])
        return torch.stack(rows).to(est.device)

    def realigned(
        self,
        found: tuple[Tensor, Tensor],
        est: Tensor,
        ref: Tensor,
        est_bands: Tensor,
        ref_bands: Tensor,
        delays: Tensor,
        frames: _Frames,
    ) -> tuple[Tensor, Tensor]:
        """The disturbances, less where a bad interval is better explained by another delay."""
        bad = (found[0].detach() > BAD) & frames.inside
        again = torch.zeros_like(delays, dtype=torch.bool)
        moved = delays.clone()
        for row in range(len(delays)):
            for begin, end in bad_intervals(bad[row, 0]):
                samples = slice(begin * self.hop, end * self.hop + self.hop)
                shift = int(delays[row, begin])
                lag = p862_time.lag(
                    est[row].detach().abs(),
                    ref[row, samples].detach().abs(),
                    begin=samples.start + shift,
                    reach=REALIGN_RANGE * self.model.n_fft,
                    least=REALIGN_CORRELATION,
                )
                if lag:
                    again[row, begin:end] = True
                    moved[row, begin:end] = shift + lag
        if not bool(again.any()):
            return found
        rows, numbers = again.nonzero(as_tuple=True)
        begins = self.hop * numbers + moved[rows, numbers]
        samples_ = (begins[:, None] + torch.arange(self.model.n_fft, device=est.device)).clamp(-1, est.shape[-1]) + 1
        windows = F.pad(est, (1, 1))[rows[:, None], samples_]
        anew = est_bands.clone()
        anew[rows, 0, :, numbers] = self.powers(windows[None, None])[0, 0].mT
        anew = anew * self.gain(anew, ref_bands, frames)
        others = self.model.disturbances(anew, ref_bands)
        symmetric, asymmetric = (
            torch.where(again[:, None], torch.minimum(x, other), x) for x, other in zip(found, others, strict=True)
        )
        return symmetric, asymmetric

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        return "no speech in the reference"


@register
class DifferentiablePESQ(_PESQLike):
    r"""PESQ's score of speech quality, with a gradient.  MOS-LQO, higher is better; 4.644 where est is ref (wide band).

    The model of ITU-T P.862 with the mappings of P.862.1 (narrow band) and P.862.2 (wide band):

    .. math:: Q = 0.999 + \frac{4}{1 + e^{-a r + b}}, \qquad r = 4.5 - 0.1\, D - 0.0309\, A

    of the symmetric and asymmetric disturbance, each the root mean square over syllables of 320 ms of a sixth-power
    mean over frames of 32 ms. Both signals are brought to the listening level and filtered as the ear at a telephone or
    a headphone gets them; speech is what lies between the first and last loud samples of the reference.

    It is written from the Recommendation and is not PESQ: ``pesq_nb`` and ``pesq_wb`` call the reference
    implementation, are what to publish, and what it was held against (``benchmarks/parity/pesq.py``, by class). Half
    of the pairs there agree within 0.0002. They part where time alignment decides, mostly in strong reverberation and
    where the delay drifts or jumps, since the filter and the search of its alignment are its own, and at times where
    packets are lost, in which of the bad intervals are aligned anew. Where a delay falls, P.862 leaves out the frames
    that would be heard twice; this does not.

    Args:
        sample_rate: 8000 or 16000 [Hz].
        mode: ``"nb"`` or ``"wb"``; ``None`` is wide band at 16000 Hz and narrow band at 8000 Hz.
        corrigendum2: Take 12 dB off the wide band's input filter, as P.862 corrigendum 2 (2018) does. Scores rise by
            about half a MOS; most papers and the package ``pesq`` are without.
        align: ``"none"`` trusts that the two are in time. ``"global"`` finds one delay, ``"full"`` one for each
            utterance or part of one; both also align anew where they find a bad interval. Delays are whole samples and
            have no gradient.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where the reference has no speech.

    Example:
        >>> ref = torch.sin(torch.arange(16_000) / 4)[None, None]
        >>> DifferentiablePESQ(16_000, align="none")(0.5 * ref, ref)
        tensor([[4.6439]])

    References:
        [itu2001]_; [itu2003]_ and [itu2007]_ for the mappings.
    """

    spec = Spec(
        name="pesq_like",
        title="PESQ-like score",
        unit="MOS-LQO",
        better="higher",
        bounds=(LOWEST, LOWEST + SPAN),
        perfect=4.643888749336258,
        sample_rates=frozenset(p862.SAMPLE_RATES),
        compiles=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("itu2001", "itu2003", "itu2007"),
    )

    def __init__(
        self, sample_rate: int, *, mode: Mode | None = None, corrigendum2: bool = False, align: Align = "full"
    ) -> None:
        super().__init__(sample_rate, mode=mode, corrigendum2=corrigendum2, align=align)
        self.spec = replace(self.spec, perfect=float(self.listeners(torch.tensor(BEST, dtype=torch.float64))))

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        symmetric, asymmetric, defined = self.find(est, ref)
        return undefined_where(~defined, self.listeners(BEST - SYMMETRIC * symmetric - ASYMMETRIC * asymmetric))

    def listeners(self, raw: Tensor) -> Tensor:
        """MOS-LQO of a raw score."""
        slope, offset = MAPPING[self.mode]
        return LOWEST + SPAN * torch.sigmoid(slope * raw - offset)


@register
class PESQDisturbance(_PESQLike):
    r"""How disturbing PESQ's model finds a distortion.  Lower is better; 0 where est is ref, and at most 7.3.

    .. math:: 0.1\, D + 0.0309\, A

    of ``DifferentiablePESQ`` before its logistic, which is flat for bad speech: near 1.05 MOS it passes on next to no
    gradient. So this is the one to train with.

    Args:
        sample_rate: 8000 or 16000 [Hz].
        mode: As in ``DifferentiablePESQ``.
        corrigendum2: As in ``DifferentiablePESQ``.
        align: As in ``DifferentiablePESQ``. ``"none"`` is twenty times as fast, and punishes what is not in time.

    Shape:
        est, ref: (batch, channels, time). Returns (batch, channels), nan where the reference has no speech.

    Example:
        >>> ref = torch.sin(torch.arange(16_000) / 4)[None, None]
        >>> PESQDisturbance(16_000)(0.5 * ref, ref)
        tensor([[0.]])

    References:
        [itu2001]_.
    """

    spec = Spec(
        name="pesq_like_disturbance",
        title="PESQ-like disturbance",
        unit="1",
        better="lower",
        bounds=(0.0, 7.3),
        perfect=0.0,
        sample_rates=frozenset(p862.SAMPLE_RATES),
        compiles=False,
        silent_reference="undefined",
        invariant_to=frozenset({"gain", "level", "polarity"}),
        cite=("itu2001",),
    )

    def __init__(
        self, sample_rate: int, *, mode: Mode | None = None, corrigendum2: bool = False, align: Align = "none"
    ) -> None:
        super().__init__(sample_rate, mode=mode, corrigendum2=corrigendum2, align=align)

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        symmetric, asymmetric, defined = self.find(est, ref)
        return undefined_where(~defined, SYMMETRIC * symmetric + ASYMMETRIC * asymmetric)


def level_response(hertz: Tensor) -> Tensor:
    """Amplitude of the filter that a level is taken behind: of speech, without the edges of the band."""
    (low, high), (below, above) = LEVEL_BAND, LEVEL_SLOPES
    return db_to_amplitude(-below * (low - hertz).clamp(min=0) - above * (hertz - high).clamp(min=0))


def wide_response(hertz: Tensor, sample_rate: int) -> Tensor:
    """Of the wide band's input filter, its gain left out."""
    angle = 2 * math.pi * hertz / sample_rate
    delay, delay_by_two = (torch.polar(torch.ones_like(angle), -order * angle) for order in (1, 2))
    above, below = (first + second * delay + third * delay_by_two for first, second, third in WIDE_FILTER)
    return above / below


def narrow_response(hertz: Tensor) -> Tensor:
    """Of the narrow band's input filter."""
    knots, levels = (hertz.new_tensor(x) for x in (NARROW_HZ, NARROW_DB))
    after = torch.bucketize(hertz, knots).clamp(1, len(knots) - 1)
    part = (hertz - knots[after - 1]) / (knots[after] - knots[after - 1])
    return db_to_amplitude(torch.lerp(levels[after - 1], levels[after], part.clamp(0, 1)))


def bad_intervals(bad: Tensor) -> Iterator[tuple[int, int]]:
    """Begin and end of stretches of bad frames, and of frames between bad ones, that are long enough."""
    reach = F.pad(bad.float()[None], (BAD_REACH, BAD_REACH))
    after, before = (F.max_pool1d(x, BAD_REACH + 1, 1)[0] > 0 for x in (reach[:, BAD_REACH:], reach[:, :-BAD_REACH]))
    for begin, end in p862_time.runs(after & before):
        if end - begin >= BAD_FRAMES:
            yield begin, end


def _root(x: Tensor, degree: int) -> Tensor:
    """The root, its slope 0 and not infinite where it is 0."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1) ** (1 / degree), 0)


def _fast_size(least: int) -> int:
    """The next length of small factors, an even one."""
    odd = (3**threes * 5**fives for threes in range(4) for fives in range(3))
    sizes: list[int] = [part << max(1, (-(-least // part) - 1).bit_length()) for part in odd]
    return min(sizes)
