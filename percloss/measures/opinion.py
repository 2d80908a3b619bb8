"""What listeners would say of speech, guessed by networks without a reference: DNSMOS."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from percloss._typing import PerItem, Wave
from percloss.dsp.safe import undefined_where
from percloss.errors import MissingExtraError
from percloss.functional import once
from percloss.measure import Measure, check_rate, register
from percloss.nets.dnsmos import P808, P835, p808_opinions, p835_opinions
from percloss.nets.frozen import FrozenNet
from percloss.spec import Spec

# Nothing holds the networks to the scale of listeners, 1 to 5.
BOUNDS = (-math.inf, math.inf)
RATES = frozenset({16_000})
# Rows that go through a network at once: a row of P.835 takes 0.1 GB on its way.
ROWS = 4


class _Listeners(nn.Module):
    """A network with the pieces of a clip that it hears: (batch, time) to the means of all its scales."""

    def __init__(self, net: P835 | P808) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if isinstance(self.net, P835):
            return {"opinions": p835_opinions(self.net, x).fitted}
        return {"opinions": p808_opinions(self.net, x)[:, None]}


class _Opinion(Measure):
    """One scale of a network; the final classes say of which."""

    scale = 0

    def __init__(self, sample_rate: int, path: str | Path | None, load: Callable[[], P835 | P808]) -> None:
        super().__init__()
        check_rate(self.spec, sample_rate)
        self.sample_rate, self.path = sample_rate, path
        if path is not None:
            self.spec = replace(self.spec, extra=None, implementation=None)
        try:
            self.frozen = FrozenNet(_Listeners(load()))
        except MissingExtraError as error:
            raise MissingExtraError(
                f"{self.spec.name}: its weights are in the package speechmos, which is not installed; they come with: "
                f'pip install "percloss[{self.spec.extra}]", or type path="/path/to/weights.onnx".'
            ) from error

    def compare(self, est: Wave) -> PerItem:
        opinions = once((type(self.frozen.net.net), *self.settings.items()), lambda: self.opinions(est), est)
        return undefined_where((est == 0).all(-1), opinions[:, self.scale].view(est.shape[:2]))

    def opinions(self, est: Wave) -> Tensor:
        """On all scales of the network, (batch channels, scales); those of one network share them, where they may."""
        with torch.set_grad_enabled(self.spec.differentiable and torch.is_grad_enabled()):
            return torch.cat([self.frozen(rows)["opinions"] for rows in est.flatten(0, 1).split(ROWS)])


class _P835(_Opinion):
    """Takes one of the three opinions that P.835 asks for."""

    def __init__(self, sample_rate: int, *, personalized: bool = False, path: str | Path | None = None) -> None:
        super().__init__(sample_rate, path, lambda: P835.pretrained(path, personalized=personalized))
        self.personalized = personalized


def _spec(name: str, title: str, key: str) -> Spec:
    return Spec(
        name=name,
        title=title,
        unit="MOS",
        better="higher",
        bounds=BOUNDS,
        perfect=None,
        takes="alone",
        sample_rates=RATES,
        compiles=False,
        silent_reference="undefined",
        invariant_to=frozenset({"polarity"}),
        cite=(key,),
        extra="dnsmos",
        implementation="speechmos",
    )


@register
class DNSMOSSignal(_P835):
    """What listeners would say of the speech itself in a noisy recording.  MOS, 1 to 5, higher is better.

    DNSMOS P.835, signal quality: Microsoft's network, computed in torch with a gradient from the weights in the package
    ``speechmos``, within 1e-4 of its own program. It was taught with noisy speech and what noise suppressors leave of
    it, and says little of other sounds; noise that is only added barely lowers it. See ``DNSMOSOverall`` for the rest.

    Args:
        sample_rate: 16000 [Hz].
        personalized: The model that counts other talkers as noise.
        path: Of another copy of the weights, ``sig_bak_ovr.onnx``.

    Shape:
        est: (batch, channels, time). Returns (batch, channels).

    References:
        [reddy2022]_.
    """

    scale = 0
    spec = _spec("dnsmos_sig", "DNSMOS P.835, signal", "reddy2022")


@register
class DNSMOSBackground(_P835):
    """How little listeners would be disturbed by the noise behind speech.  MOS, 1 to 5, higher is better.

    DNSMOS P.835, background quality; see ``DNSMOSOverall``.

    Args:
        sample_rate: 16000 [Hz].
        personalized: The model that counts other talkers as noise.
        path: Of another copy of the weights, ``sig_bak_ovr.onnx``.

    Shape:
        est: (batch, channels, time). Returns (batch, channels).

    References:
        [reddy2022]_.
    """

    scale = 1
    spec = _spec("dnsmos_bak", "DNSMOS P.835, background", "reddy2022")


@register
class DNSMOSOverall(_P835):
    """What listeners would say of noisy or enhanced speech as a whole.  MOS, 1 to 5, higher is better.

    DNSMOS P.835, overall quality, without a reference: Microsoft's network, computed in torch with a gradient from the
    weights in the package ``speechmos``, within 1e-4 of its own program. It hears pieces of 9.01 s a second apart, of a
    clip of half a minute the first 15 s; a shorter clip is repeated until it fills one, so that any length has a value,
    which says little below a second. Digital silence has none. Full scale is 1, and the level counts.

    It does not know what was said: a network that invents clean words pleases it. As a loss it can be won by sounds
    that only the network takes for good speech. Look at a measure with a reference, too.

    Args:
        sample_rate: 16000 [Hz].
        personalized: The model that counts other talkers as noise.
        path: Of another copy of the weights, ``sig_bak_ovr.onnx``.

    Shape:
        est: (batch, channels, time). Returns (batch, channels).

    References:
        [reddy2022]_.
    """

    scale = 2
    spec = _spec("dnsmos_ovr", "DNSMOS P.835, overall", "reddy2022")


@register
class DNSMOSP808(_Opinion):
    """What listeners would say of noisy or enhanced speech, asked one question.  MOS, 1 to 5, higher is better.

    DNSMOS by ITU-T P.808, the older and smaller of the two networks: no level reaches it, and what is 80 dB below the
    loudest band is silent to it. Computed in torch from the weights in the package ``speechmos``, within 1e-4 of its
    own program; without a gradient, which is 0 for a very quiet estimate. Pieces, short clips and silence are as in
    ``DNSMOSOverall``.

    Args:
        sample_rate: 16000 [Hz].
        path: Of another copy of the weights, ``model_v8.onnx``.

    Shape:
        est: (batch, channels, time). Returns (batch, channels).

    References:
        [reddy2021]_.
    """

    spec = replace(
        _spec("dnsmos_p808", "DNSMOS P.808", "reddy2021"),
        differentiable=False,
        invariant_to=frozenset({"gain", "polarity"}),
    )

    def __init__(self, sample_rate: int, *, path: str | Path | None = None) -> None:
        super().__init__(sample_rate, path, lambda: P808.pretrained(path))
