"""A discriminator beside a loss: who learns when, from what, and that all of it is there again after a kill."""

import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from percloss.errors import ArgumentError, ShapeError
from percloss.lab import nets, train_gan, train_unet
from percloss.lab.checkpoint import read
from percloss.lab.options import attributes
from percloss.lab.train_gan import GANS, Config, train
from tests.lab.test_train_unet import NORMED, assert_equal, kill, logged, same

CRITIC = "ms-stft(n_ffts=(256, 128), filters=2)"
TINY = Config(
    model="tiny", segment=4000, batch=2, steps=2, loss="mae", discriminator=CRITIC, crop=2000, alone=0.0, warmup=0
)


def critic_after(step: int, folder: Path) -> dict[str, Tensor]:
    return read(folder / f"checkpoint-{step:08d}.pt")["parts"]["critic"]


@pytest.mark.parametrize(
    ("loss", "discriminator"),
    [
        ("mrstft", CRITIC),
        ("balanced: 2 si_sdr + nmr", "mrd(n_ffts=(256,), filters=2)"),
        ("se/demucs-denoiser + 0.1 compressed_stft", "mpd(periods=(2, 3), filters=(2, 4))"),
    ],
)
@pytest.mark.parametrize("gan", sorted(GANS))
def test_any_loss_trains_beside_any_discriminator(loss: str, discriminator: str, gan: str, tmp_path: Path) -> None:
    config = replace(TINY, loss=loss, discriminator=discriminator, gan=gan, save_every=1)
    start = train(replace(config, steps=1, lr=0.0))
    model = train(config, tmp_path)
    assert not model.training
    assert not same(model, start)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    before, after = (critic_after(step, tmp_path) for step in (1, 2))
    assert any(not torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_without_shares_it_is_the_balanced_training_of_the_same_network() -> None:
    config = replace(TINY, adversarial=0.0, feature=0.0, model=NORMED, steps=3, loss="mrstft + 0.5 mae")
    shared = {name: value for name, value in asdict(config).items() if name in asdict(train_unet.Config())}
    alone = train_unet.train(train_unet.Config(**{**shared, "loss": "balanced: mrstft + 0.5 mae"}))
    assert same(train(config), alone)
    assert not same(train(replace(config, adversarial=1.0)), alone)


def test_the_first_weights_are_those_of_a_training_without_a_discriminator() -> None:
    still = replace(TINY, lr=0.0)
    shared = {name: value for name, value in asdict(still).items() if name in asdict(train_unet.Config())}
    assert same(train(still), train_unet.train(train_unet.Config(**shared)))


def test_the_loss_is_alone_at_first_and_then_has_its_share(tmp_path: Path) -> None:
    train(replace(TINY, steps=8, alone=0.25, loss="mae + mrstft", adversarial=2.0, save_every=1), tmp_path)
    lines = logged(tmp_path)
    assert ["critic" in line for line in lines] == [False] * 2 + [True] * 6
    assert lines[0]["shares"] == pytest.approx({"mae": 0.5, "mrstft": 0.5})
    assert lines[-1]["shares"].keys() == {"mae", "mrstft", "adversarial", "feature"}
    # By the averages of the norms, which are not those of the last step.
    assert lines[-1]["shares"]["adversarial"] == pytest.approx(0.4, abs=0.2)


def test_the_discriminator_waits_until_it_is_its_turn(tmp_path: Path) -> None:
    train(replace(TINY, steps=4, alone=0.5, save_every=1), tmp_path / "run")
    # Two checkpoints are kept: the run is made twice, and ended in between.
    train(replace(TINY, steps=2, adversarial=0.0, feature=0.0, save_every=1), tmp_path / "none")
    first, second = (critic_after(step, tmp_path / "none") for step in (1, 2))
    assert_equal(first, second)
    third, fourth = (critic_after(step, tmp_path / "run") for step in (3, 4))
    assert any(not torch.equal(tensor, first[name]) for name, tensor in third.items())
    assert any(not torch.equal(tensor, third[name]) for name, tensor in fourth.items())


def test_the_networks_step_leaves_no_gradient_in_the_discriminator(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Tensor]] = []
    critics: list[nn.Module] = []

    def critic(text: str) -> nn.Module:
        critics.append(build(text))
        return critics[-1]

    def step(self: torch.optim.Optimizer) -> None:
        seen.append([parameter.grad.clone() for parameter in critics[0].parameters()])
        stepped(self)

    build, stepped = nets.critic, torch.optim.AdamW.step
    monkeypatch.setattr(nets, "critic", critic)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    train(TINY)
    assert len(seen) == 4
    for its_own, then in (seen[:2], seen[2:]):
        assert all(torch.equal(one, other) for one, other in zip(its_own, then, strict=True))
    assert any(not torch.equal(one, other) for one, other in zip(seen[0], seen[2], strict=True))


def test_what_is_judged_is_a_stretch_of_every_item_the_same_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[torch.Size] = []

    def listen(self: nn.Module, x: Tensor) -> list:
        heard.append(x.shape)
        return forward(self, x)

    from percloss.discriminators import MultiScaleSTFTDiscriminator

    forward = MultiScaleSTFTDiscriminator.forward
    monkeypatch.setattr(MultiScaleSTFTDiscriminator, "forward", listen)
    stems = "wave-u-net(levels=2, filters=4)"
    train(replace(TINY, data="song", model=stems, steps=1, crop=1500))
    assert set(heard) == {torch.Size([2 * 4 * 2, 1, 1500])}
    heard.clear()
    train(replace(TINY, steps=1, crop=100_000))
    assert set(heard) == {torch.Size([2, 1, 4000])}


def test_the_penalty_is_added_now_and_then(tmp_path: Path) -> None:
    config = replace(TINY, steps=3, r1=1e8, r1_every=2, save_every=1)
    train(config, tmp_path / "with")
    train(replace(config, r1=0.0), tmp_path / "without")
    penalised, free = (logged(tmp_path / name) for name in ("with", "without"))
    assert penalised[0]["critic"] > free[0]["critic"]
    assert penalised[1]["critic"] != free[1]["critic"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_run_that_is_killed_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    config = replace(TINY, model=NORMED, loss="mrstft", steps=8, alone=0.25, save_every=2, r1=1.0, r1_every=3)
    whole = train(config, tmp_path / "whole")
    folder = tmp_path / "killed"
    # Two steps of one optimiser, then of both: at the ninth the discriminator has learned and the network has not.
    kill(config, folder, trainer="train_gan", where="step", at=10)
    assert len(logged(folder)) == 5
    assert same(train(config, folder), whole)
    assert logged(folder) == logged(tmp_path / "whole")
    assert_equal(*(read(path / "checkpoint-00000008.pt") for path in (folder, tmp_path / "whole")))


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"gan": "wgan"}, ArgumentError, "needed is one of lsgan, hinge, relativistic"),
        ({"alone": 1.0}, ArgumentError, "type --alone 0.25"),
        ({"crop": 0}, ArgumentError, "crop: got 0"),
        ({"r1_every": 0}, ArgumentError, "r1_every: got 0"),
        ({"discriminator": "ms-sftf"}, ArgumentError, "did you mean 'ms-stft'"),
        ({"discriminator": "mpd(period=2)"}, ArgumentError, "unexpected keyword argument 'period'"),
        ({"crop": 50}, ShapeError, "129 samples at least"),
        ({"adversarial": -1.0}, ArgumentError, "none below 0"),
    ],
)
def test_a_config_that_cannot_be_says_what_to_type(wrong: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        train(replace(TINY, **wrong))


def test_help_names_every_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from percloss.lab import options

    words = {**attributes(train_unet.Config), **attributes(Config)}
    assert words.keys() == asdict(Config()).keys()
    assert not attributes(Config).keys() & attributes(train_unet.Config).keys()
    monkeypatch.setattr(sys, "argv", ["train_gan", "--help"])
    with pytest.raises(SystemExit) as caught:
        options.main(Config, train_gan.train, out="train-gan", words=words)
    assert not caught.value.code
    told = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in told for name in words)


def test_shared_settings_have_the_same_defaults_in_both_trainers() -> None:
    ours, theirs = asdict(Config()), asdict(train_unet.Config())
    assert theirs.keys() <= ours.keys()
    assert {name for name in theirs if ours[name] != theirs[name]} == {"loss"}
