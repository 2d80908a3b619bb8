"""The one-pass engine is the derivative of the one formula, whatever the shapes, and saves one waveform."""

import pytest
import torch
from torch import Tensor

from percloss import (
    NMR,
    ComplexSTFTDistance,
    CompressedSTFTDistance,
    CompressiveNMR,
    CosinePhaseDistance,
    CosinePhaseLoss,
    LogSpectralDistance,
    MelDistance,
    MelLoss,
    MultiResolutionSTFTDistance,
    MultiScaleMelDistance,
    SISDRLoss,
    STFTDistance,
    STFTLoss,
    WeightedSum,
)
from percloss.compat import auraloss
from percloss.dsp.stft import hann, stft, stft_adjoint
from percloss.engine import Spectral, SumOf
from percloss.errors import ArgumentError, ShapeError
from percloss.frontends import Stft

CASES = {
    "stft": STFTDistance,
    "stft with all terms, an odd hop and a short window": lambda: STFTDistance(512, 101, 300, linear=0.7),
    "stft, log alone": lambda: STFTDistance(256, convergence=0.0),
    "stft, linear alone": lambda: STFTDistance(256, convergence=0.0, log=0.0, linear=1.0),
    "mrstft": MultiResolutionSTFTDistance,
    "mel": lambda: MelDistance(16_000),
    "multi_scale_mel": lambda: MultiScaleMelDistance(44_100),
    "lsd": LogSpectralDistance,
    "complex_stft": ComplexSTFTDistance,
    "compressed_stft": CompressedSTFTDistance,
    "cosine_phase": CosinePhaseDistance,
    "nmr": lambda: NMR(16_000),
    "compressive_nmr, magnitude error": lambda: CompressiveNMR(16_000, error="magnitude"),
}


def waves(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    est, ref = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return 0.1 * est.requires_grad_(), 0.1 * ref


def outcome(measure: Spectral, engine: str, est: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    measure.engine = engine
    leaf = est.detach().clone().requires_grad_()
    values = measure(leaf, ref)
    uneven = torch.arange(1, values.numel() + 1, dtype=values.dtype).view_as(values)
    (gradient,) = torch.autograd.grad((values * uneven).nansum(), leaf)
    return values.detach(), gradient


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(1, 1, 2048), (3, 2, 5001)])
def test_closed_form_is_autograds(case: str, shape: tuple[int, int, int]) -> None:
    est, ref = waves(*shape)
    ref[0, 0, :1500] = 0
    (value, gradient), (value_wanted, gradient_wanted) = (
        outcome(CASES[case](), engine, est, ref) for engine in ("closed", "eager")
    )
    torch.testing.assert_close(value, value_wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, gradient_wanted, rtol=1e-9, atol=1e-9 * float(gradient_wanted.abs().max()))


@pytest.mark.parametrize("case", CASES)
def test_closed_form_is_autograds_where_the_reference_is_silent(case: str) -> None:
    est, ref = waves(2, 1, 2048)
    found = [outcome(CASES[case](), engine, est, 0 * ref) for engine in ("closed", "eager")]
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-12, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-9 * float(found[1][1].abs().max()))


@pytest.mark.parametrize("case", CASES)
def test_a_gradient_at_identity_is_zero(case: str) -> None:
    _, ref = waves(1, 1, 2048)
    assert outcome(CASES[case](), "closed", ref, ref)[1].abs().max() == 0


@pytest.mark.parametrize(("n_fft", "hop", "win"), [(256, 64, 256), (256, 61, 200), (257, 100, 257), (64, 64, 64)])
def test_the_adjoint_is_the_transforms_derivative(n_fft: int, hop: int, win: int) -> None:
    x = waves(2, 900)[1].requires_grad_()
    spectrum = stft(x, hann(win), n_fft=n_fft, hop_length=hop)
    weights = torch.randn(2, *spectrum.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (wanted,) = torch.autograd.grad((weights[0] * spectrum.real + weights[1] * spectrum.imag).sum(), x)
    got = stft_adjoint(torch.complex(*weights), hann(win), n_fft=n_fft, hop_length=hop, time=900)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_a_block_at_a_time_gives_what_all_rows_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    est, ref = waves(5, 1, 4000)
    together = outcome(STFTDistance(), "closed", est, ref)
    monkeypatch.setattr("percloss.engine.BLOCK_CPU", 1)
    alone = outcome(STFTDistance(), "closed", est, ref)
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-15)


def test_autograd_keeps_one_waveform() -> None:
    est, ref = waves(2, 1, 8192)
    kept: list[int] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        value = MultiResolutionSTFTDistance().compare(est, ref)
    assert value.requires_grad
    assert kept == [est.numel()]


def test_a_second_derivative_raises_and_the_eager_form_gives_it() -> None:
    est, ref = waves(1, 1, 2048)
    measure = LogSpectralDistance()
    leaf = est.detach().requires_grad_()
    with pytest.raises(ArgumentError, match=r'loss.measure.engine = "eager"'):
        torch.autograd.grad(measure(leaf, ref).sum(), leaf, create_graph=True)
    measure.engine = "eager"
    (gradient,) = torch.autograd.grad(measure(leaf, ref).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), leaf)
    assert second.abs().max() > 0


def test_a_gradient_of_the_reference_comes_from_autograd() -> None:
    est, ref = waves(1, 1, 2048)
    ref.requires_grad_()
    (gradient,) = torch.autograd.grad(MelDistance(16_000)(est, ref).sum(), ref)
    assert gradient.abs().max() > 0


def test_a_weighted_sum_transforms_once_and_gives_what_its_terms_give(monkeypatch: pytest.MonkeyPatch) -> None:
    est, ref = waves(3, 2, 4096)
    loss = WeightedSum(
        {
            "stft": (1.0, STFTLoss(1024)),
            "mel": (0.5, MelLoss(16_000, n_fft=1024)),
            "fine": (2.0, STFTLoss(256)),
            "si_sdr": (0.1, SISDRLoss()),
        }
    )
    apart = loss.total(loss.parts(est, ref))
    (wanted,) = torch.autograd.grad(apart, est)
    transforms: list[int] = []
    forward = Stft.forward

    def counted(front: Stft, x: Tensor) -> Tensor:
        transforms.append(front.n_fft)
        return forward(front, x)

    monkeypatch.setattr(Stft, "forward", counted)
    together = loss(est, ref)
    (gradient,) = torch.autograd.grad(together, est)
    assert sorted(transforms) == [256, 256, 1024, 1024]
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-14)


def test_a_weighted_sum_takes_weights_and_lengths_together_too() -> None:
    est, ref = waves(2, 1, 4096)
    loss = WeightedSum({"stft": (1.0, STFTLoss(512)), "mel": (0.5, MelLoss(16_000, n_fft=512, n_mels=20))})
    given = {"weight": torch.tensor([1.0, 3.0]), "lengths": torch.tensor([4096, 3000])}
    torch.testing.assert_close(loss(est, ref, **given), loss.total(loss.parts(est, ref, **given)), rtol=1e-12, atol=0)


LOSSES = {
    "one spectral loss": MelLoss(16_000),
    "one that is not": SISDRLoss(),
    "one that may have no value": CosinePhaseLoss(512),
    "a sum": WeightedSum(
        [(1.0, STFTLoss(512)), (0.5, MelLoss(16_000)), (0.1, SISDRLoss()), (2.0, CosinePhaseLoss(512))]
    ),
}


@pytest.mark.parametrize("case", LOSSES)
def test_a_bound_loss_is_the_loss(case: str) -> None:
    est, ref = waves(2, 2, 4096)
    weight = torch.tensor([1.0, 3.0])
    found = []
    for run in (lambda: LOSSES[case].bind(ref)(est, weight=weight), lambda: LOSSES[case](est, ref, weight=weight)):
        value = run()
        found.append((value, *torch.autograd.grad(value, est)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_a_bound_reference_is_transformed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    est, ref = waves(1, 1, 4096)
    bound = WeightedSum({"a": (1.0, STFTLoss(512)), "b": (1.0, MelLoss(16_000, n_fft=512, n_mels=20))}).bind(ref)
    bound(est)
    transforms: list[int] = []
    forward = Stft.forward

    def counted(front: Stft, x: Tensor) -> Tensor:
        transforms.append(front.n_fft)
        return forward(front, x)

    monkeypatch.setattr(Stft, "forward", counted)
    bound(est)
    assert transforms == [512]


def test_a_bound_loss_keeps_its_reference_whatever_becomes_of_the_tensor() -> None:
    est, ref = waves(1, 1, 4096)
    bound = MelLoss(16_000).bind(ref)
    wanted = bound(est)
    ref.zero_()
    torch.testing.assert_close(bound(est), wanted)


def test_a_bound_loss_refuses_another_length_and_a_broken_reference() -> None:
    est, ref = waves(1, 1, 4096)
    with pytest.raises(ShapeError, match=r"est is \(1, 1, 4000\) and ref is \(1, 1, 4096\)"):
        MelLoss(16_000).bind(ref)(est[..., :4000])
    ref[..., 7] = torch.inf
    with pytest.raises(ArgumentError, match="bind: got a reference with 1 samples that are not finite"):
        MelLoss(16_000).bind(ref)


def test_a_bound_loss_takes_an_estimate_of_another_precision_and_without_a_gradient() -> None:
    est, ref = waves(1, 1, 4096)
    loss = STFTLoss(512)
    half = est.detach().float().requires_grad_()
    torch.testing.assert_close(loss.bind(ref)(half), loss(half, ref))
    torch.testing.assert_close(loss.bind(ref)(est.detach()), loss(est, ref).detach())


def test_front_ends_of_one_size_and_two_windows_do_not_share_a_spectrum() -> None:
    est, ref = waves(1, 1, 4096)
    measures = [
        auraloss.freq.STFTLoss(512, 128, 512, window=window).terms for window in ("hann_window", "hamming_window")
    ]
    value = SumOf([(1.0, measure) for measure in measures])(est, ref)
    torch.testing.assert_close(value, sum(measure(est, ref) for measure in measures), rtol=1e-12, atol=0)


def test_a_bound_loss_refuses_a_keyword_that_no_term_takes() -> None:
    est, ref = waves(1, 1, 4096)
    with pytest.raises(ArgumentError, match="got .'mix'."):
        MelLoss(16_000).bind(ref)(est, mix=ref)


def test_a_sum_gives_what_its_terms_give_where_a_silent_reference_leaves_one_without_a_value() -> None:
    est, ref = waves(3, 2, 4096)
    ref[1] = 0
    loss = WeightedSum({"stft": (1.0, STFTLoss(512)), "phase": (0.5, CosinePhaseLoss(512))})
    for weight in (None, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.5, 0.5]])):
        together, apart = loss(est, ref, weight=weight), loss.total(loss.parts(est, ref, weight=weight))
        torch.testing.assert_close(together, apart, rtol=1e-12, atol=0)
        gradients = [torch.autograd.grad(value, est)[0] for value in (together, apart)]
        torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)


def test_a_sum_of_terms_without_a_value_says_so_once() -> None:
    est, ref = waves(1, 1, 4096)
    loss = WeightedSum({"stft": (1.0, STFTLoss(512)), "phase": (0.5, CosinePhaseLoss(512))})
    with pytest.warns(UserWarning, match="cosine_phase: no item of this batch has a value"):
        silent = loss(est, 0 * ref)
    torch.testing.assert_close(silent, STFTLoss(512)(est, 0 * ref))


def test_a_sum_of_terms_without_a_value_is_the_same_by_autograd() -> None:
    est, ref = waves(3, 1, 4096)
    ref[1] = 0
    found = []
    for engine in ("closed", "eager"):
        measure = SumOf(
            [(1.0, STFTDistance(512)), (0.5, CosinePhaseDistance(512))], torch.tensor([[1.0], [2.0], [3.0]])
        )
        found.append(outcome(measure, engine, est, ref))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)
