"""BSS Eval: how much of a separated source is distortion, how much other sources, how much artefacts."""

from dataclasses import replace

import torch
from torch import Tensor

from percloss._typing import PerItem, Sources, Wave
from percloss.dsp.safe import undefined_where
from percloss.functional import (
    CAP_DB,
    REASONS,
    BSSEval,
    Mode,
    Version,
    bss_eval,
    check_settings,
    framewise_snr,
    median_over_frames,
)
from percloss.measure import Measure, register
from percloss.spec import Spec

BOUNDS = (-CAP_DB, CAP_DB)
_RATIO = Spec(
    name="ratio",
    title="Ratio of energies",
    unit="dB",
    better="higher",
    bounds=BOUNDS,
    perfect=CAP_DB,
    takes="sources",
    differentiable=False,
    compiles=False,
    silent_reference="undefined",
    invariant_to=frozenset({"gain", "level", "polarity"}),
    cite=("vincent2006",),
)


class BSSMeasure(Measure):
    """One ratio of BSS Eval: in each frame, and the median of the frames that have a value.

    Those that a ``percloss.functional.shared`` context asks of the same signals are solved once.
    """

    def __init__(
        self,
        sample_rate: int,
        *,
        version: Version = 4,
        filter_length: int = 512,
        window: float | None = 1.0,
        hop: float | None = None,
    ) -> None:
        super().__init__()
        self.sample_rate, self.version, self.filter_length = sample_rate, version, filter_length
        self.window, self.hop = window, hop
        self.samples = None if window is None else round(window * sample_rate)
        self.step = None if hop is None else round(hop * sample_rate)
        check_settings(filter_length, version=version, window=self.samples, hop=self.step)
        self.min_samples = filter_length
        # Where a frame has its own filters the gradient has a closed form.
        self.spec = replace(self.spec, differentiable=version == 3 or window is None)

    def scores(self, est: Tensor, ref: Tensor, mode: Mode = "images") -> BSSEval:
        """All four ratios in each frame."""
        return bss_eval(
            est,
            ref,
            version=self.version,
            filter_length=self.filter_length,
            mode=mode,
            window=self.samples,
            hop=self.step,
        )

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        """The reason of the first frame."""
        return self.scores(est, ref).info.why()


@register
class BSSSDR(BSSMeasure):
    r"""BSS Eval's source-to-distortion ratio, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math:: \mathrm{SDR} = 10\log_{10}\frac{\lVert s\rVert^2}{\lVert e - s\rVert^2}

    over channels and each frame; of frames the median. Of images, as museval and SiSEC have it, it is the plain ratio
    and needs no filter. Of sources (BSS Eval version 3's) every filter of ``filter_length`` taps is forgiven:
    :math:`\lVert P_j e\rVert^2 / \lVert e - P_j e\rVert^2`. A frame has no value where any source is silent.

    Args:
        sample_rate: Of the signals [Hz].
        version: Of BSS Eval; 3 makes filters in each frame, 4 once.
        mode: ``"images"`` or ``"sources"``.
        filter_length: Of the filters [samples].
        window: Length of a frame [s]; ``None`` is the whole signal.
        hop: Step between frames [s]; ``None`` is ``window``.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, sources).

    Example:
        >>> ref = torch.ones(1, 2, 1, 1000) * torch.tensor([1.0, 2.0])[:, None, None]
        >>> BSSSDR(1000)(0.9 * ref, ref)
        tensor([[20.0000, 20.0000]])

    References:
        [vincent2006]_; [vincent2012]_; [stoter2018]_.
    """

    spec = replace(
        _RATIO,
        name="bss_sdr",
        title="BSS Eval SDR",
        differentiable=True,
        invariant_to=frozenset({"level"}),
        cite=("vincent2006", "vincent2012", "stoter2018"),
    )

    def __init__(
        self,
        sample_rate: int,
        *,
        version: Version = 4,
        mode: Mode = "images",
        filter_length: int = 512,
        window: float | None = 1.0,
        hop: float | None = None,
    ) -> None:
        super().__init__(sample_rate, version=version, filter_length=filter_length, window=window, hop=hop)
        check_settings(filter_length, mode=mode)
        self.mode = mode
        if mode == "images":
            self.spec = replace(self.spec, differentiable=True)
        else:
            self.spec = replace(self.spec, invariant_to=_RATIO.invariant_to)

    def compare(self, est: Sources, ref: Sources) -> Tensor:
        if self.mode == "images":
            return median_over_frames(framewise_snr(est, ref, window=self.samples, hop=self.step))
        return median_over_frames(self.scores(est, ref, self.mode).sdr)


@register
class BSSISR(BSSMeasure):
    r"""BSS Eval's image-to-spatial-distortion ratio, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math:: \mathrm{ISR} = 10\log_{10}\frac{\lVert s\rVert^2}{\lVert P_j e - s\rVert^2}

    Errors of level, equalisation, delay and panning: what filters between the channels of the true source make of the
    estimate, against the true image. Frames, their median and settings as in ``BSSSDR``.

    Args:
        sample_rate: Of the signals [Hz].
        version: Of BSS Eval; 3 makes filters in each frame, 4 once.
        filter_length: Of the filters [samples].
        window: Length of a frame [s]; ``None`` is the whole signal.
        hop: Step between frames [s]; ``None`` is ``window``.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, sources).

    Example:
        >>> ref = torch.randn(1, 2, 1, 8000, generator=torch.Generator().manual_seed(0))
        >>> BSSISR(8000)(0.9 * ref, ref).round(decimals=3)
        tensor([[20., 20.]])

    References:
        [vincent2012]_; [stoter2018]_ for version 4.
    """

    spec = replace(
        _RATIO,
        name="bss_isr",
        title="BSS Eval ISR",
        invariant_to=frozenset({"level"}),
        cite=("vincent2012", "stoter2018"),
    )

    def compare(self, est: Sources, ref: Sources) -> Tensor:
        return median_over_frames(self.scores(est, ref).isr)


@register
class BSSSIR(BSSMeasure):
    r"""BSS Eval's source-to-interference ratio, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math:: \mathrm{SIR} = 10\log_{10}\frac{\lVert P_j e\rVert^2}{\lVert P e - P_j e\rVert^2}

    How much of the other sources is heard through: what filters of all sources explain of the estimate beyond what
    those of its own do. It depends on which other sources are given. Frames, their median and settings as in
    ``BSSSDR``.

    Args:
        sample_rate: Of the signals [Hz].
        version: Of BSS Eval; 3 makes filters in each frame, 4 once.
        filter_length: Of the filters [samples].
        window: Length of a frame [s]; ``None`` is the whole signal.
        hop: Step between frames [s]; ``None`` is ``window``.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, sources).

    Example:
        >>> ref = torch.randn(1, 2, 1, 8000, generator=torch.Generator().manual_seed(0))
        >>> BSSSIR(8000)(ref + 0.1 * ref.flip(1), ref).round()
        tensor([[20., 20.]])

    References:
        [vincent2006]_; [stoter2018]_ for version 4.
    """

    spec = replace(_RATIO, name="bss_sir", title="BSS Eval SIR", cite=("vincent2006", "stoter2018"))

    def compare(self, est: Sources, ref: Sources) -> Tensor:
        return median_over_frames(self.scores(est, ref).sir)


@register
class BSSSAR(BSSMeasure):
    r"""BSS Eval's source-to-artefacts ratio, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math:: \mathrm{SAR} = 10\log_{10}\frac{\lVert P e\rVert^2}{\lVert e - P e\rVert^2}

    What no filter of any source explains: noise, distortion, and what is missing in some moments only. Of signals not
    much longer than all filters together almost everything is explained. Frames, their median and settings as in
    ``BSSSDR``.

    Args:
        sample_rate: Of the signals [Hz].
        version: Of BSS Eval; 3 makes filters in each frame, 4 once.
        filter_length: Of the filters [samples].
        window: Length of a frame [s]; ``None`` is the whole signal.
        hop: Step between frames [s]; ``None`` is ``window``.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, sources).

    Example:
        >>> ref, noise = torch.randn(2, 1, 2, 1, 80_000, generator=torch.Generator().manual_seed(0))
        >>> BSSSAR(80_000)(ref + 0.1 * noise, ref).round()
        tensor([[20., 20.]])

    References:
        [vincent2006]_; [stoter2018]_ for version 4.
    """

    spec = replace(_RATIO, name="bss_sar", title="BSS Eval SAR", cite=("vincent2006", "stoter2018"))

    def compare(self, est: Sources, ref: Sources) -> Tensor:
        return median_over_frames(self.scores(est, ref).sar)


@register
class SDR(Measure):
    r"""Signal-to-distortion ratio that forgives a filter, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math:: \mathrm{SDR} = 10\log_{10}\frac{\lVert P e\rVert^2}{\lVert e - P e\rVert^2}

    with :math:`P` the projection on the delays of the reference up to ``filter_length``: gain, equalisation and delays
    of up to 512 samples are no error. It is the SDR of mir_eval's ``bss_eval_sources`` and of fast_bss_eval, of each
    estimate against its reference. As a loss it is known as CI-SDR. A silent reference has no value (nan); a silent
    estimate scores -140 dB with zero gradient.

    Args:
        filter_length: Of the filter [samples]; 1 is SI-SDR.

    Shape:
        est, ref: (batch, channels, time >= filter_length). Returns (batch, channels).

    Example:
        >>> ref, noise = torch.randn(2, 1, 1, 80_000, generator=torch.Generator().manual_seed(0))
        >>> SDR()((ref + 0.1 * noise).roll(5), ref).round()
        tensor([[20.]])

    References:
        [vincent2006]_; [boeddeker2021]_ for the loss; [scheibler2022]_ for how it is solved in batches.
    """

    spec = replace(
        _RATIO,
        name="sdr",
        title="SDR, a filter of 512 taps allowed",
        takes="pair",
        differentiable=True,
        cite=("vincent2006", "boeddeker2021", "scheibler2022"),
    )

    def __init__(self, *, filter_length: int = 512) -> None:
        super().__init__()
        check_settings(filter_length)
        self.filter_length = self.min_samples = filter_length

    def compare(self, est: Wave, ref: Wave) -> PerItem:
        one = (x.flatten(0, 1)[:, None, None] for x in (est, ref))
        scores = bss_eval(*one, filter_length=self.filter_length, mode="sources")
        nothing = scores.info.reason == REASONS.index("an estimate is silent in this frame")
        return scores.sdr.masked_fill(nothing[:, None], BOUNDS[0]).view(est.shape[:2])


class _ScaleInvariant(Measure):
    """A ratio where only a gain of each reference is allowed, the mean over channels, each of which stands alone."""

    spec = replace(_RATIO, differentiable=True, cite=("leroux2019",))

    def scores(self, est: Tensor, ref: Tensor) -> BSSEval:
        """Of each channel, (batch channels, sources, 1)."""
        alone = (x.transpose(1, 2).flatten(0, 1)[:, :, None] for x in (est, ref))
        return bss_eval(*alone, filter_length=1, mode="sources")

    def undefined_because(self, est: Tensor, ref: Tensor) -> str:
        return self.scores(est, ref).info.why()


def _mean_of_channels(values: Tensor, like: Tensor) -> Tensor:
    """Of those that have a value, (batch, sources), from (batch channels, sources, 1)."""
    values = values.view(like.shape[0], like.shape[2], like.shape[1])
    known = ~values.isnan()
    total = torch.where(known, values, 0).sum(1)
    return undefined_where(~known.any(1), total / known.sum(1).clamp(min=1))


@register
class SISIR(_ScaleInvariant):
    r"""Scale-invariant signal-to-interference ratio, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math:: \mathrm{SI\text{-}SIR} = 10\log_{10}\frac{\lVert P_j e\rVert^2}{\lVert P e - P_j e\rVert^2}

    with :math:`P_j` the projection on the true source and :math:`P` that on the span of all sources, without delays.
    Each channel is judged alone; the mean of those that have a value is returned. If a source is silent none has.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, sources).

    Example:
        >>> ref = torch.eye(2).repeat(1, 8)[None, :, None]
        >>> SISIR()(ref + 0.1 * ref.flip(1), ref)
        tensor([[20., 20.]])

    References:
        [leroux2019]_.
    """

    spec = replace(_ScaleInvariant.spec, name="si_sir", title="Scale-invariant SIR")

    def compare(self, est: Sources, ref: Sources) -> Tensor:
        return _mean_of_channels(self.scores(est, ref).sir, est)


@register
class SISAR(_ScaleInvariant):
    r"""Scale-invariant signal-to-artefacts ratio, in dB.  Higher is better; 140 dB, the cap, where est is ref.

    .. math:: \mathrm{SI\text{-}SAR} = 10\log_{10}\frac{\lVert P e\rVert^2}{\lVert e - P e\rVert^2}

    with :math:`P` the projection on the span of all sources, without delays. Each channel is judged alone; the mean of
    those that have a value is returned. If a source is silent none has.

    Shape:
        est, ref: (batch, sources, channels, time). Returns (batch, sources).

    Example:
        >>> ref = torch.eye(3)[:2].repeat(1, 8)[None, :, None]
        >>> SISAR()(ref + 0.1 * torch.tensor([0.0, 0.0, 1.0]).repeat(8), ref)
        tensor([[20., 20.]])

    References:
        [leroux2019]_.
    """

    spec = replace(_ScaleInvariant.spec, name="si_sar", title="Scale-invariant SAR")

    def compare(self, est: Sources, ref: Sources) -> Tensor:
        return _mean_of_channels(self.scores(est, ref).sar, est)
