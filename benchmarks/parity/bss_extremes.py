"""SDR where others lose it: identical signals, high ratios, low levels, silence. Two talkers, two seconds, float32.

    python benchmarks/parity/bss_extremes.py [--json]

Prints a table and writes benchmarks/results/parity/bss_extremes--cpu.json. A row's truth is the ratio at which the
estimate was made; that of 512 taps lies 0.05 dB above it, since the filter explains a little of the noise. A cell is
what a contender says of both items of a batch, the second of which is always the pair at 17.24 dB: what it says of
that one must not depend on the first.
"""

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# In place of this folder, where the names of packages would be those of these files.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import auraloss
import fast_bss_eval
import mir_eval.separation
import torchmetrics.functional.audio as tm

import percloss
from benchmarks.common import save, table
from benchmarks.speed._separation import museval_metrics
from percloss.functional import bss_eval
from percloss.measures.bss import SDR

Sound = Callable[[Tensor, Tensor], Tensor]
BASE_DB = 17.24


def reference() -> Tensor:
    """Two talkers, (2, time), in float32."""
    names = ("librivox_0870", "librivox_0880")
    return torch.stack([percloss.data.clip(name).wave[0, 0, 4000:36_000] for name in names])


def at(ref: Tensor, db: float) -> Tensor:
    """With white noise at exactly this ratio, made in float64 and rounded once."""
    noise = torch.randn(ref.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gain = (ref.double().square().sum(-1, keepdim=True) / noise.square().sum(-1, keepdim=True)).sqrt()
    return (ref.double() + 10 ** (-db / 20) * gain * noise).float()


def cases() -> dict[str, tuple[Tensor, Tensor, str]]:
    """Estimate and reference of the first item, and what is true of it."""
    ref = reference()[0]
    plain = at(reference(), BASE_DB)[0]
    silent = torch.zeros_like(ref)
    return {
        "identical": (ref, ref, "as high as there is"),
        **{f"{db} dB": (at(reference(), db)[0], ref, f"{db}") for db in (40, 60, 80, 100)},
        f"{BASE_DB} dB at 1e-4 of its level": (1e-4 * plain, 1e-4 * ref, f"{BASE_DB}"),
        "silent target": (plain, silent, "no value"),
        "silent estimate": (silent, ref, "-inf, or the lowest"),
        "turned in polarity": (-plain, ref, f"{BASE_DB} (with a filter), -6.0 (without)"),
    }


def contenders() -> dict[str, Sound]:
    """Each takes (batch, time) twice, and gives (batch,)."""
    museval = museval_metrics()

    def mir(est: Tensor, ref: Tensor) -> Tensor:
        pairs = zip(ref.double().numpy(), est.double().numpy(), strict=True)
        values = [mir_eval.separation.bss_eval_sources(r[None], e[None])[0][0] for r, e in pairs]
        return torch.tensor(values)

    def images(est: Tensor, ref: Tensor) -> Tensor:
        pairs = zip(ref.double().numpy(), est.double().numpy(), strict=True)
        values = [museval.bss_eval_images(r[None, :, None], e[None, :, None])[0][0, 0] for r, e in pairs]
        return torch.tensor(values)

    def fbe(**settings: Any) -> Sound:
        return lambda est, ref: -fast_bss_eval.sdr_loss(est, ref, pairwise=False, **settings)

    return {
        "percloss SDR": lambda est, ref: SDR()(est[:, None], ref[:, None])[:, 0],
        "percloss images": lambda est, ref: bss_eval(est[:, None, None], ref[:, None, None]).sdr[:, 0, 0],
        "percloss SI-SDR": lambda est, ref: percloss.SISDR()(est[:, None], ref[:, None])[:, 0],
        "mir_eval, float64": mir,
        "museval images, float64": images,
        "fast_bss_eval, float64": lambda est, ref: fbe()(est.double(), ref.double()),
        "fast_bss_eval": fbe(),
        "fast_bss_eval, 10 CG": fbe(use_cg_iter=10),
        "torchmetrics SDR": tm.signal_distortion_ratio,
        "torchmetrics SDR, 10 CG": lambda est, ref: tm.signal_distortion_ratio(est, ref, use_cg_iter=10),
        "torchmetrics SI-SDR": tm.scale_invariant_signal_distortion_ratio,
        "auraloss SI-SDR": lambda est, ref: torch.stack(
            [
                -auraloss.time.SISDRLoss(zero_mean=False)(e[None, None], r[None, None])
                for e, r in zip(est, ref, strict=True)
            ]
        ),
    }


def said(call: Sound, est: Tensor, ref: Tensor) -> str:
    """Both values, or the error."""
    try:
        values = call(est, ref).tolist()
    except Exception as error:  # noqa: BLE001 (whatever a package raises is its cell of the table)
        return type(error).__name__
    return " | ".join("nan" if math.isnan(x) else f"{x:.2f}" for x in values)


def main() -> None:
    """Every case by every contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    other = at(reference(), BASE_DB)[1], reference()[1]
    rows: list[dict[str, Any]] = []
    for case, (est, ref, truth) in cases().items():
        batch = torch.stack((est, other[0])), torch.stack((ref, other[1]))
        found = {name: said(call, *batch) for name, call in contenders().items()}
        rows.append({"case": case, "truth": truth, **found})
    print(json.dumps(rows, indent=1) if given.json else table(rows))
    packages = ("mir_eval", "museval", "fast_bss_eval", "torchmetrics", "auraloss")
    print(save("parity/bss_extremes", rows, device="cpu", packages=packages, batch=2, seconds=2, sample_rate=16_000))


if __name__ == "__main__":
    main()
