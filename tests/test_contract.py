"""The contract over the whole catalogue, and over measures changed by wrappers.

Runs twice: under shape checking, and with ``PERCLOSS_COMPILE=1`` under ``torch.compile`` (see conftest.py).
"""

import os

import pytest
import torch

from percloss import SISDR, SNR, Framewise, Measure, MelDistance, PermutationInvariant, Resampled, catalogue, create
from percloss.errors import MissingExtraError
from percloss.measure import find
from percloss.testing import RULES, check_measure, mute
from tests.signals import RATE, rate_of

COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))

# Other outputs of a network that is tried already, which takes its time.
TRIED_AS = {"dnsmos_sig": "dnsmos_ovr", "dnsmos_bak": "dnsmos_ovr"}
# They hand on lists, of which the shape checker draws an item by Python's generator.
LISTED = {"visqol_audio", "visqol_speech", "peaq_odg", "peaq_di"}
SLOW = {"dnsmos_ovr"}
CHANGED = {
    "framewise_snr": lambda: Framewise(SNR(), frame=800, hop=400, reduce="median"),
    "pit_si_sdr": lambda: PermutationInvariant(SISDR()),
    "resampled_mel": lambda: Resampled(MelDistance(8000, n_fft=512, n_mels=20), RATE),
}


def build(name: str) -> Measure:
    """A measure of the catalogue, or skip with the reason."""
    if name in CHANGED:
        return CHANGED[name]()
    try:
        return create(name, sample_rate=rate_of(find(name).spec))
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("rule", [name for name in RULES if COMPILE or name != "compiles"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
        for name in [*catalogue(), *CHANGED]
        if name not in TRIED_AS
    ],
)
def test_measure_keeps_the_contract(name: str, rule: str) -> None:
    if not COMPILE and rule == "leaves_the_world_alone" and name in LISTED:
        pytest.skip("the shape checker draws from Python's generator for lists: run with PERCLOSS_COMPILE=1")
    measure = build(name)
    if rule in mute(measure):
        pytest.skip(f"{rule} says nothing of it: {mute(measure)[rule]}")
    check_measure(measure, sample_rate=rate_of(measure.spec), rules=[rule])


@pytest.mark.skipif(not COMPILE, reason="torch.compile cannot trace shape checks: run with PERCLOSS_COMPILE=1")
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex operators")
@pytest.mark.parametrize("name", ["si_sdr", "mrstft", "mel"])
def test_inductor_gives_the_same_value_and_gradient(name: str) -> None:
    measure = create(name, sample_rate=RATE)
    est, ref = torch.randn(2, 2, 1, 4096, generator=torch.Generator().manual_seed(0))
    est.requires_grad_()
    outcomes = []
    for run in (measure, torch.compile(measure, fullgraph=True)):
        values = run(est, ref)
        outcomes.append((values, *torch.autograd.grad(values.sum(), est)))
    for eager, compiled in zip(*outcomes, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)
