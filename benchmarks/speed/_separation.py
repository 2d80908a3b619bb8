"""Contenders for benchmarks/speed/metrics.py: SDR, BSS Eval of sources, and BSS Eval version 4 of stereo stems."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import fast_bss_eval
import mir_eval.separation
import numpy as np
import soundfile
import torch
from torch import Tensor

import percloss
from percloss.functional import bss_eval
from percloss.measures.bss import SDR

Comparison = Callable[[Tensor, Tensor], object]
RATE, MUSIC_RATE, SECONDS = 16_000, 44_100, 4


def museval_metrics() -> ModuleType:
    """museval's file of measures alone: the package wants ffmpeg to be imported."""
    package = importlib.util.find_spec("museval")
    assert package is not None
    assert package.submodule_search_locations is not None
    file = Path(package.submodule_search_locations[0]) / "metrics.py"
    spec = importlib.util.spec_from_file_location("museval_metrics", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def talkers(count: int) -> Tensor:
    """Real speech of four seconds, (count, 1, time); the clips are read on from where they end."""
    waves = [percloss.data.clip(name).wave[0, 0] for name in percloss.data.clips() if name.startswith("librivox")]
    stream = torch.cat(waves)
    size = SECONDS * RATE
    return torch.stack([stream.roll(-i * (len(stream) // count))[:size] for i in range(count)])[:, None]


def stems(seconds: float) -> Tensor:
    """Four stereo stems of real music, (1, 4, 2, time), repeated up to their length."""
    waves = torch.stack(list(percloss.data.song().stems.values()), 1)
    size = int(seconds * MUSIC_RATE)
    return waves.repeat(1, 1, 1, -(-size // waves.shape[-1]))[..., :size]


def lossless_stems(seconds: float) -> Tensor | None:
    """Four stereo stems that were never coded, (1, 4, 2, time), where the test data are at hand."""
    root = Path(os.environ.get("PERCLOSS_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    files = sorted((root / "music_stems" / "songA_rock_D").glob("*.flac"))
    waves = [soundfile.read(file, int(seconds * MUSIC_RATE), dtype="float32")[0].T for file in files]
    return torch.from_numpy(np.stack(waves))[None] if waves else None


def separated(ref: Tensor, axis: int) -> Tensor:
    """Each source with a tenth of the next one, a filter and a little noise."""
    noise = torch.randn(ref.shape, generator=torch.Generator().manual_seed(0))
    return 0.9 * ref + 0.1 * ref.roll(1, axis) + 0.05 * ref.roll(7, -1) + 0.01 * ref.std() * noise


def graph(measure: Comparison) -> Comparison:
    """Value and gradient."""

    def step(est: Tensor, ref: Tensor) -> object:
        leaf = est.detach().requires_grad_()
        values: Any = measure(leaf, ref)
        return torch.autograd.grad(values.sum(), leaf)

    return step


def sdr(est: Tensor, ref: Tensor) -> Tensor:
    """fast_bss_eval's, of pairs, in float64."""
    values: Tensor = -fast_bss_eval.sdr_loss(est.double(), ref.double(), pairwise=False)
    return values


def by_mir_eval(est: Tensor, ref: Tensor) -> object:
    """Of each item, in the given order."""
    items = zip(ref[:, :, 0].double().cpu().numpy(), est[:, :, 0].double().cpu().numpy(), strict=True)
    return [mir_eval.separation.bss_eval_sources(*item, compute_permutation=False) for item in items]


def by_museval(module: ModuleType) -> Comparison:
    """Its version 4 with windows of a second."""

    def compare(est: Tensor, ref: Tensor) -> object:
        signals = (x[0].transpose(1, 2).double().cpu().numpy() for x in (ref, est))
        return module.bss_eval(*signals, window=MUSIC_RATE, hop=MUSIC_RATE)

    return compare


Case = tuple[Tensor, Tensor, dict[str, Comparison]]


def cases() -> dict[str, Case]:
    """Estimates, references and contenders by what is computed; the first of each is the peer."""
    pairs = talkers(8)
    four = talkers(4)[None]
    music = {"lossy": stems(20.0), "lossless": lossless_stems(20.0)}
    by_peer = by_museval(museval_metrics())
    measure = SDR()
    return {
        "SDR, 512 taps, 8 pairs": (
            separated(pairs, 0),
            pairs,
            {"fast_bss_eval 0.1.4, float64": sdr, "percloss": measure},
        ),
        "SDR, 512 taps, 8 pairs, and gradient": (
            separated(pairs, 0),
            pairs,
            {"fast_bss_eval 0.1.4, float64": graph(sdr), "percloss": graph(measure)},
        ),
        "BSS Eval of 4 sources": (
            separated(four, 1),
            four,
            {"mir_eval 0.8.2": by_mir_eval, "percloss": lambda est, ref: bss_eval(est, ref, mode="sources")},
        ),
        **{
            f"BSS Eval v4 of 4 stereo stems, 20 s, {kind}": (
                separated(ref, 1),
                ref,
                {"museval 0.4.1": by_peer, "percloss": lambda est, ref: bss_eval(est, ref, window=MUSIC_RATE)},
            )
            for kind, ref in music.items()
            if ref is not None
        },
    }
