"""Train a network of the lab against a discriminator, beside any loss of this package.

    python -m percloss.lab.train_gan --loss mrstft --out first-gan
    python -m percloss.lab.train_gan --loss "mrstft + nmr" --gan hinge --discriminator "ms-stft(filters=32)"
    python -m percloss.lab.train_gan --loss mrstft --adversarial 0 --feature 0     the same without a discriminator

The weights of the loss, of the adversarial term and of feature matching are shares of the gradient: EnCodec's balancer.
For the first part of the run the loss is alone; then each step is the discriminator's, on what the network made, and
the network's, with the discriminator frozen.

The folder gets checkpoints, log.jsonl, model.pt, and TensorBoard's file where tensorboard is installed. Called again
with the same options a run goes on from its last checkpoint and ends, on a CPU, with the very numbers of one that was
never stopped. Ctrl-C and SIGTERM let the step end and save: exit codes are 130 and 143.

In Python::

    from percloss.lab import train_gan

    net = train_gan.train(train_gan.Config(loss="mrstft", steps=600))
"""

from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from percloss.adversarial import LSGAN, GANLoss, Hinge, Relativistic, feature_matching, frozen, r1
from percloss.errors import ArgumentError
from percloss.lab import nets, sets, train_unet
from percloss.lab.ema import EMA
from percloss.lab.journal import Observer
from percloss.lab.models import WaveModel
from percloss.lab.objective import Objective, parse
from percloss.lab.run import Batch, Run
from percloss.lab.schedule import set_rate, warm_cosine

__all__ = ["Config", "train"]

GANS: dict[str, GANLoss] = {"lsgan": LSGAN(), "hinge": Hinge(), "relativistic": Relativistic()}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a training run is; fields that are not explained here are those of ``train_unet.Config``.

    Attributes:
        discriminator: Network and settings: ms-stft (EnCodec), mrd (DAC), mpd and msd (HiFi-GAN).
        gan: The game: lsgan, hinge or relativistic.
        adversarial: Share of the adversarial term in the gradient, beside the weights of the loss; 0 is none.
        feature: Share of feature matching; with both at 0 there is no discriminator.
        alone: Part of the run, 0 to below 1, in which the loss is alone.
        crop: Length of what the discriminator hears of each item, from anywhere in it [samples].
        critic_lr: Highest learning rate of the discriminator, with the shape of the network's.
        critic_clip: Largest norm of its gradient.
        r1: Weight gamma of the gradient penalty on real signals; 0 is none.
        r1_every: Steps between penalties, each of which counts as many times.
    """

    loss: str = "mrstft"
    discriminator: str = "ms-stft(n_ffts=(1024, 512, 256), filters=8, dilations=(1, 1, 1))"
    gan: str = "lsgan"
    adversarial: float = 1.0
    feature: float = 1.0
    alone: float = 0.25
    crop: int = 8000
    critic_lr: float = 1e-3
    critic_clip: float = 5.0
    r1: float = 0.0
    r1_every: int = 16
    model: str = "small"
    data: str = "embedded"
    sample_rate: int | None = None
    segment: int = 16_128
    steps: int = 300
    batch: int = 8
    lr: float = 2e-3
    warmup: int = 50
    weight_decay: float = 1e-4
    clip: float = 5.0
    ema: float = 0.99
    seed: int = 0
    valid_every: int = 0
    valid_items: int = 16
    patience: int = 0
    save_every: int = 100
    amp: bool = False
    compile: bool = False
    device: str = "cpu"
    workers: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.gan not in GANS:
            raise ArgumentError(f"gan: got {self.gan!r}; needed is one of {', '.join(GANS)}: type --gan lsgan.")
        if not 0 <= self.alone < 1:
            raise ArgumentError(
                f"alone: got {self.alone}; needed is a part of the run, 0 to below 1: type --alone 0.25."
            )
        least = {"crop": 1, "r1_every": 1, "r1": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ArgumentError(f"{name}: got {getattr(self, name)}; needed is {low} or more.")


def train(config: Config, folder: str | PathLike[str] | None = None, *, progress: Observer | None = None) -> WaveModel:
    """Train a network against a discriminator. Arguments, result and errors are those of ``train_unet.train``."""
    with Run(config, None if folder is None else Path(folder), progress) as run:
        part = partial(sets.load, config.data, segment=config.segment, sample_rate=config.sample_rate, seed=config.seed)
        data = part("train")
        sizes = {"channels": len(data[0].mix), "sources": len(data.sources)}
        pulls = {"adversarial": config.adversarial, "feature": config.feature}
        first = round(config.alone * config.steps) if any(pulls.values()) else config.steps

        # The network before the discriminator: its first weights are those it has without one.
        model = run.ranks.placed(nets.net(config.model, sample_rate=data.sample_rate, **sizes))
        critic, game = run.ranks.placed(nets.critic(config.discriminator)), GANS[config.gan]
        average = EMA(model, config.ema)
        objective = Objective(parse(config.loss, sample_rate=data.sample_rate, extra=pulls), **sizes).to(run.device)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        judging = torch.optim.AdamW(critic.parameters(), lr=config.critic_lr, betas=(0.8, 0.99))
        run.keep(model=model, average=average, objective=objective, optimizer=optimizer, critic=critic, judging=judging)
        network, judges = run.trained(model), run.trained(critic)

        def judge(step: int, real: Tensor, fake: Tensor) -> None:
            """The discriminator's step; nothing of it reaches the network."""
            with run.autocast():
                loss = game.discriminator(judges(real), judges(fake.detach()))
            if config.r1 and step % config.r1_every == 0:  # in full precision
                felt = real.detach().requires_grad_()
                loss = loss + config.r1_every * config.r1 / 2 * r1(felt, judges(felt))
            judging.zero_grad()
            loss.backward()
            gradient = torch.nn.utils.clip_grad_norm_(critic.parameters(), config.critic_clip)
            run.note(critic=float(loss.detach()), critic_gradient=float(gradient))
            judging.step()

        def learn(step: int, batch: Batch) -> None:
            share = warm_cosine(step, steps=config.steps, warmup=config.warmup)
            set_rate(optimizer, config.lr * share)
            set_rate(judging, config.critic_lr * share)
            with run.autocast():
                est = network(batch.mix)
            est = est.float()
            extra: dict[str, Tensor] = {}
            if step >= first:
                start = int(run.generator(step).integers(max(1, est.shape[-1] - config.crop + 1)))
                # Each channel of each source for itself.
                real, fake = (x[..., start : start + config.crop].flatten(0, -2)[:, None] for x in (batch.target, est))
                judge(step, real, fake)
                with frozen(critic), run.autocast():
                    with torch.no_grad():
                        seen = critic(real)
                    judged = critic(fake)
                    extra["adversarial"] = game.generator(judged, seen)
                    extra["feature"] = feature_matching(seen, judged, normalize="real")
            if run.looks:
                run.note(shares=objective.shares(est, batch.target, batch.mix, extra=extra))
            loss = objective(est, batch.target, batch.mix, extra=extra)
            optimizer.zero_grad()
            loss.backward()
            gradient = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            run.did(batch, loss=loss, gradient=gradient)
            optimizer.step()
            average.update(step)

        for step, batch in run.steps(data):
            run.attempt(learn, step, batch)
            run.validate(step, average.model, objective, part)
        return run.finished(average.model)


if __name__ == "__main__":
    from percloss._optional import require

    require("click", extra="cli")
    from percloss.lab.options import attributes, main

    main(Config, train, out="train-gan", words={**attributes(train_unet.Config), **attributes(Config)})
