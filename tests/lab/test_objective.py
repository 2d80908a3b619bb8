"""What is typed as a loss is the loss that was meant, or an error that says what to type."""

import pytest
import torch
from torch import Tensor

from percloss import MelLoss, SISDRLoss, recipes
from percloss.balancing import Balanced
from percloss.errors import ArgumentError, SampleRateError, UnknownMeasureError
from percloss.lab.objective import Objective, parse

RATE = 16_000


@pytest.fixture
def example() -> tuple[Tensor, Tensor, Tensor]:
    """An estimate of one source, its target, and the mixture."""
    gen = torch.Generator().manual_seed(0)
    est, ref, noise = 0.1 * torch.randn(3, 2, 1, 8000, generator=gen)
    return est.requires_grad_(), ref[:, None], ref + noise


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("si_sdr", {"si_sdr": 1.0}),
        ("mrstft + 0.1 nmr", {"mrstft": 1.0, "nmr": 0.1}),
        ("2*mae+1e-3*mel(n_mels=40)+.5 mse", {"mae": 2.0, "mel": 0.001, "mse": 0.5}),
        ("stft(n_fft=256) + stft(n_fft=512, hop_length=(128))", {"stft": 1.0, "stft_2": 1.0}),
        ("SISDRLoss + 2 MelLoss(n_mels=64)", {"si_sdr": 1.0, "mel": 2.0}),
        (
            "3 se/demucs-denoiser + nmr",
            {"wave": 3.0, "stft_1024": 0.5, "stft_2048": 0.5, "stft_512": 0.5, "nmr": 1.0},
        ),
        ("  balanced: 3 mae + mel ", {"mae": 3.0, "mel": 1.0}),
    ],
)
def test_a_sum_has_the_weights_that_were_typed(text: str, weights: dict[str, float]) -> None:
    loss = parse(text, sample_rate=RATE)
    assert isinstance(loss, Balanced) == ("balanced" in text)
    assert loss.weights.keys() == weights.keys()
    assert all(loss.weights[name] == pytest.approx(weight) for name, weight in weights.items())


def test_a_sum_is_the_losses_of_the_package_added_up(example: tuple[Tensor, Tensor, Tensor]) -> None:
    est, target, mix = example
    typed = Objective(parse("SISDRLoss + 0.5 mel(n_mels=40)", sample_rate=RATE))(est, target, mix)
    built = SISDRLoss()(est, target[:, 0]) + 0.5 * MelLoss(RATE, n_mels=40)(est, target[:, 0])
    torch.testing.assert_close(typed, built)


def test_a_recipe_is_what_recipes_create(example: tuple[Tensor, Tensor, Tensor]) -> None:
    est, target, mix = example
    typed = Objective(parse("se/cmgan", sample_rate=RATE))(est, target, mix)
    torch.testing.assert_close(typed, recipes.create("se/cmgan", sample_rate=RATE)(est, target[:, 0]))


def test_a_recipe_of_shares_is_balanced_and_asks_the_same_of_what_stands_beside_it() -> None:
    assert isinstance(parse("codec/encodec", sample_rate=24_000), Balanced)
    with pytest.raises(ArgumentError, match="type 'balanced: codec/encodec \\+ 0.1 nmr'"):
        parse("codec/encodec + 0.1 nmr", sample_rate=24_000)


def test_weights_of_tensors_to_come_make_any_loss_balanced() -> None:
    loss = parse("mrstft", sample_rate=RATE, extra={"adversarial": 2.0})
    assert loss.weights == {"mrstft": 1.0, "adversarial": 2.0}


def test_balanced_terms_pull_as_they_were_asked_to(example: tuple[Tensor, Tensor, Tensor]) -> None:
    est, target, mix = example
    shares = Objective(parse("balanced: 3 mae + mel", sample_rate=RATE)).shares(est, target, mix)
    assert shares == pytest.approx({"mae": 0.75, "mel": 0.25}, abs=1e-4)
    raw = Objective(parse("3 mae + mel", sample_rate=RATE)).shares(est, target, mix)
    assert raw["mel"] > 0.5


def test_terms_are_given_the_mixture_where_they_need_it(example: tuple[Tensor, Tensor, Tensor]) -> None:
    est, target, mix = example
    loss = Objective(parse("weighted_sdr + mae", sample_rate=RATE))
    value = loss(est, target, mix)
    assert value != loss(est, target, 2 * mix)


def test_a_permutation_invariant_recipe_finds_swapped_sources_as_good() -> None:
    gen = torch.Generator().manual_seed(1)
    target = torch.randn(2, 2, 1, 4000, generator=gen)
    loss = Objective(parse("sep/speech-sisdr", sample_rate=RATE), sources=2)
    est = target.flatten(1, 2) + 0.1
    torch.testing.assert_close(loss(est, target, target.sum(1)), loss(est.flip(1), target, target.sum(1)))


def test_signals_of_sources_are_compared_each_with_its_own() -> None:
    gen = torch.Generator().manual_seed(1)
    target = torch.randn(2, 2, 2, 4000, generator=gen)
    loss = Objective(parse("mae + weighted_sdr", sample_rate=RATE), sources=2, channels=2)
    mix = target.sum(1)
    assert loss(target.flatten(1, 2), target, mix) < loss(target.flip(1).flatten(1, 2), target, mix)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("mrstf", UnknownMeasureError, "did you mean 'mrstft'"),
        ("MellLoss", UnknownMeasureError, "did you mean 'MelLoss'"),
        ("se/gtcnr", UnknownMeasureError, "did you mean 'se/gtcrn'"),
        ("q", UnknownMeasureError, "needed is a name"),
        ("", ArgumentError, "cannot be read from ''"),
        ("mae +", ArgumentError, "cannot be read from ''"),
        ("mae - mel", ArgumentError, "cannot be read from '- mel'"),
        ("-1 mae", ArgumentError, "cannot be read from '-1 mae'"),
        ("mae mel", ArgumentError, "cannot be read from 'mel'"),
        ("balanced mae", ArgumentError, "cannot be read from 'mae'.*'balanced: si_sdr"),
        ("stft(n_fft=512", ArgumentError, "parenthesis is not closed"),
        ("stft(512)", ArgumentError, "needed are names and plain values"),
        ("stft(n_fft=print(1))", ArgumentError, "needed are names and plain values"),
        ("stft(size=512)", ArgumentError, "unexpected keyword argument 'size'"),
        ("MelLoss(size=512)", ArgumentError, "unexpected keyword argument 'size'"),
        ("FeatureLoss", ArgumentError, "missing a required argument"),
        ("se/gtcrn(n_fft=512)", ArgumentError, "takes no settings"),
        ("pesq_wb", ArgumentError, "has no gradient"),
        ("voc/hifigan", SampleRateError, "defined at 22050 Hz"),
        ("0 mae + 0 mel", ArgumentError, "all weights are 0"),
    ],
)
def test_what_cannot_be_a_loss_says_what_to_type(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        parse(text, sample_rate=RATE)


def test_terms_of_sources_do_not_go_with_terms_of_signals() -> None:
    with pytest.raises(ArgumentError, match=r"take sources and the others signals"):
        Objective(parse("sep/speech-sisdr + mel", sample_rate=RATE), sources=2)
