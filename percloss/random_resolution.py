"""The STFT loss that draws new resolutions at each step of a training, the same on every rank."""

import torch
from torch import Tensor

from percloss.losses import Loss
from percloss.measures.magnitude import RandomResolutionSTFTDistance


class RandomResolutionSTFTLoss(Loss):
    """``RandomResolutionSTFTDistance`` as a loss that draws before each call.

    In training mode; after ``.eval()`` the resolutions stay those of the last call. What is drawn depends on the seed,
    the number of calls so far and the length of the signals (of the shortest, where ``lengths`` are given), so that all
    ranks of a distributed training draw the same without a word, if they are built with one seed, called equally often
    and given signals of one length. The number of calls is part of ``state_dict``: a run that was stopped goes on as if
    it had not been. ``torch.compile`` would compile anew at each call: leave this one out.

    Args:
        resolutions: As in ``RandomResolutionSTFTDistance``, as are the rest.
        n_ffts: Shortest and longest transform [samples], powers of two.
        hops: Shortest and longest step, as a share of the window.
        convergence: Weight of spectral convergence.
        log: Weight of the log-magnitude term.
        linear: Weight of the magnitude term.
        floor_db: Added to the power of each bin [dB re a full-scale sine].
        seed: Of what is drawn.

    Shape:
        est, ref: (batch, channels, time). Returns ().

    Example:
        >>> loss = RandomResolutionSTFTLoss(seed=3)
        >>> est, ref = torch.randn(2, 1, 1, 8000, generator=torch.Generator().manual_seed(0))
        >>> bool(loss(est, ref) == loss(est, ref)), bool(loss.eval()(est, ref) == loss(est, ref))
        (False, True)
    """

    measure: RandomResolutionSTFTDistance

    def __init__(
        self,
        resolutions: int = 3,
        *,
        n_ffts: tuple[int, int] = (16, 32_768),
        hops: tuple[float, float] = (0.1, 1.0),
        convergence: float = 1.0,
        log: float = 1.0,
        linear: float = 0.0,
        floor_db: float = -120.0,
        seed: int = 0,
    ) -> None:
        weights = {"convergence": convergence, "log": log, "linear": linear}
        super().__init__(
            RandomResolutionSTFTDistance(resolutions, n_ffts=n_ffts, hops=hops, floor_db=floor_db, seed=seed, **weights)
        )
        self._calls, self._time = 0, n_ffts[1]

    def forward(
        self,
        est: Tensor,
        ref: Tensor | None = None,
        *,
        weight: Tensor | None = None,
        lengths: Tensor | None = None,
        **needs: Tensor,
    ) -> Tensor:
        """The loss of a batch, as ``Loss`` has it, at resolutions of its own."""
        if self.training:
            self._time = _shortest(est, lengths)
            self.measure.draw(self._calls, time=self._time)
            self._calls += 1
        return super().forward(est, ref, weight=weight, lengths=lengths, **needs)

    def get_extra_state(self) -> Tensor:
        """How many calls have drawn, and for what length the last one did."""
        return torch.tensor([self._calls, self._time], device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Go on where a saved loss was, with the resolutions of its last call."""
        self._calls, self._time = (int(number) for number in state.tolist())
        self.measure.draw(max(0, self._calls - 1), time=self._time)


def _shortest(est: Tensor, lengths: Tensor | None) -> int:
    """Length of the shortest item [samples]; what is wrong with either the measure will say."""
    sizes = [*torch.as_tensor(est).shape[-1:]]
    if lengths is not None:
        sizes += torch.as_tensor(lengths).flatten().tolist()
    return max(0, int(min(sizes, default=0)))
