"""Forward and backward of every loss against its nearest peer: same settings, same signals, in turns.

    python benchmarks/speed/losses.py [--device cuda] [--rounds 9] [--only NAME]

Prints a table and writes benchmarks/results/losses--DEVICE.json. ``speedup`` is over the first contender of each group.
Where no package has a loss, its peer is the same formula by plain autograd. On a CPU the first groups are measured
twice: with memory as glibc hands it out in a fresh process, and with all that was freed kept, which helps who needs the
most.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import auraloss
import librosa
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import percloss
from benchmarks.common import apart, contest, keep_memory, save, table
from percloss.engine import Spectral
from percloss.measure import find
from percloss.measures import TABLE

BATCH, TIME, RATE = 16, 65_536, 44_100
SIZES: tuple[list[int], list[int], list[int]] = ([1024, 2048, 512], [120, 240, 50], [600, 1200, 240])
MELS, FFTS = (5, 10, 20, 40, 80, 160, 320), (32, 64, 128, 256, 512, 1024, 2048)
# Of the groups, those whose peers make the most memory.
TWICE = 5
Comparison = Callable[[Tensor, Tensor], Tensor]


class PlainMel(nn.Module):
    """The seven-scale mel loss of the Descript codec, as its recipe is written: abs, bank, clamp, log10, L1."""

    def __init__(self) -> None:
        super().__init__()
        for n_mels, n_fft in zip(MELS, FFTS, strict=True):
            self.register_buffer(f"window{n_fft}", torch.hann_window(n_fft), persistent=False)
            bank = torch.from_numpy(librosa.filters.mel(sr=RATE, n_fft=n_fft, n_mels=n_mels))
            self.register_buffer(f"bank{n_fft}", bank, persistent=False)

    def forward(self, est: Tensor, ref: Tensor) -> Tensor:
        """The loss."""
        total = est.new_zeros(())
        for n_fft in FFTS:
            window, bank = getattr(self, f"window{n_fft}"), getattr(self, f"bank{n_fft}")
            logs = []
            for x in (est, ref):
                spectrum = torch.stft(x.flatten(0, 1), n_fft, n_fft // 4, window=window, return_complex=True)
                logs.append((bank @ spectrum.abs()).clamp(min=1e-5).log10())
            total = total + (logs[0] - logs[1]).abs().mean()
        return total


class Separate(nn.Module):
    """The sum of losses, each for itself."""

    def __init__(self, losses: list[percloss.Loss]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)

    def forward(self, est: Tensor, ref: Tensor) -> Tensor:
        """The loss."""
        return torch.stack([loss(est, ref) for loss in self.losses]).sum()


def four() -> list[percloss.Loss]:
    """One loss of each kind, at one resolution."""
    return [
        percloss.STFTLoss(1024, 256),
        percloss.MelLoss(RATE, n_fft=1024, hop_length=256),
        percloss.CosinePhaseLoss(1024, 256),
        percloss.CompressiveNMRLoss(RATE, n_fft=1024, hop_length=256),
    ]


def eager(loss: percloss.Loss) -> percloss.Loss:
    """The same loss by plain autograd."""
    loss.measure.engine = "eager"
    return loss


def groups() -> dict[str, dict[str, Comparison]]:
    """Contenders by what they compute; the first of each is the peer."""
    return {
        "multi-resolution STFT, auraloss's defaults": {
            "auraloss 0.4.0": auraloss.freq.MultiResolutionSTFTLoss(*SIZES),
            "percloss": percloss.MultiResolutionSTFTLoss(*SIZES),
            "percloss, eager": eager(percloss.MultiResolutionSTFTLoss(*SIZES)),
        },
        "STFT 1024/256": {
            "auraloss 0.4.0": auraloss.freq.STFTLoss(1024, 256, 1024),
            "percloss": percloss.STFTLoss(1024, 256),
        },
        "mel 1024/256, 128 bands": {
            "auraloss 0.4.0": auraloss.freq.MelSTFTLoss(RATE, 1024, 256, 1024, n_mels=128, w_sc=0.0),
            "percloss": percloss.MelLoss(RATE, n_mels=128, n_fft=1024, hop_length=256),
        },
        "mel at seven scales": {
            "plain autograd": PlainMel(),
            "percloss": percloss.MultiScaleMelLoss(RATE, n_mels=MELS, n_ffts=FFTS),
        },
        "magnitude + mel + phase + masking, 1024/256": {
            "four losses by autograd": Separate([eager(loss) for loss in four()]),
            "percloss, four losses": Separate(four()),
            "percloss, WeightedSum": percloss.WeightedSum([(1.0, loss) for loss in four()]),
        },
        "MSE": {"torch": nn.MSELoss(), "percloss": percloss.MSELoss()},
        "MAE": {"torch": nn.L1Loss(), "percloss": percloss.MAELoss()},
        "log-cosh": {"auraloss 0.4.0": auraloss.time.LogCoshLoss(), "percloss": percloss.LogCoshLoss()},
        "ESR": {"auraloss 0.4.0": auraloss.time.ESRLoss(), "percloss": percloss.ESRLoss()},
        "DC": {"auraloss 0.4.0": auraloss.time.DCLoss(), "percloss": percloss.DCLoss()},
        "SNR": {"auraloss 0.4.0": auraloss.time.SNRLoss(zero_mean=False), "percloss": percloss.SNRLoss()},
        "SI-SDR": {
            "auraloss 0.4.0": auraloss.time.SISDRLoss(zero_mean=False),
            "percloss": percloss.SISDRLoss(),
        },
        "SD-SDR": {"auraloss 0.4.0": auraloss.time.SDSDRLoss(zero_mean=False), "percloss": percloss.SDSDRLoss()},
    }


def others() -> dict[str, dict[str, Comparison]]:
    """What no package has: every spectral loss of the catalogue that is in no group, against its own autograd."""
    found: dict[str, dict[str, Comparison]] = {}
    for name in TABLE:
        cls = find(name)
        rates = cls.spec.sample_rates
        if issubclass(cls, Spectral) and name not in ("stft", "mrstft", "mel", "multi_scale_mel"):
            rate = RATE if rates is None else max(rates)
            by_autograd, ours = (percloss.Loss(percloss.create(name, sample_rate=rate)) for _ in range(2))
            found[name] = {"plain autograd": eager(by_autograd), "percloss": ours}
    return found


def measured(group: str, device: str, rounds: int, kept: bool) -> list[dict[str, Any]]:
    """A row a contender; with memory as it comes, or kept."""
    torch.set_num_threads(1)
    if kept:
        keep_memory()
    generator = torch.Generator().manual_seed(0)
    est, ref = (0.1 * torch.randn(2, BATCH, 1, TIME, generator=generator)).to(device)

    def step(loss: Comparison) -> Callable[[], object]:
        def work() -> object:
            leaf = est.detach().requires_grad_()
            return torch.autograd.grad(loss(leaf, ref), leaf)

        return work

    contenders = {**groups(), **others()}[group]
    works = {name: step(loss.to(device) if isinstance(loss, nn.Module) else loss) for name, loss in contenders.items()}
    about = {"loss": group, "memory": "kept" if kept else "as it comes"}
    return [{**about, **row} for row in contest(works, of=est.nbytes, device=device, rounds=rounds)]


def main() -> None:
    """Run all groups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="groups whose name has this; nothing is written then")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = (*groups(), *others())
    rows: list[dict[str, Any]] = []
    for group in (name for name in names if given.only in name):
        for kept in (False, True) if group in names[:TWICE] and given.device == "cpu" else (False,):
            found = apart(measured, group, given.device, given.rounds, kept)
            print(table(found), flush=True)
            rows += found
    settings = {"batch": BATCH, "time": TIME, "sample_rate": RATE, "rounds": given.rounds, "what": "forward + backward"}
    if not given.only:
        print(save("losses", rows, device=given.device, packages=("auraloss", "librosa"), **settings))


if __name__ == "__main__":
    main()
