"""Train a U-Net, or another network of the lab, with any loss of this package.

    python -m percloss.lab.train_unet --loss "mrstft + 0.1 nmr" --out first
    python -m percloss.lab.train_unet --loss "balanced: si_sdr + nmr" --steps 2000 --valid-every 100
    torchrun --nproc-per-node 4 -m percloss.lab.train_unet --data musdb18:/data/musdb18hq --device cuda --amp

A loss is a name of ``percloss list``, with settings in parentheses behind it if need be, a sum of such with weights, or
a recipe such as se/gtcrn. After "balanced:" a weight is the share that a term has in the gradient, however large its
values are.

The folder gets checkpoints, log.jsonl, model.pt, and TensorBoard's file where tensorboard is installed. Called again
with the same options a run goes on from its last checkpoint and ends, on a CPU, with the very numbers of one that was
never stopped. Ctrl-C and SIGTERM let the step end and save: exit codes are 130 and 143.

In Python::

    from percloss.lab import train_unet

    net = train_unet.train(train_unet.Config(loss="mrstft", steps=300))
"""

from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import torch

from percloss.lab import nets, sets
from percloss.lab.ema import EMA
from percloss.lab.journal import Observer
from percloss.lab.models import WaveModel
from percloss.lab.objective import Objective, parse
from percloss.lab.run import Batch, Run
from percloss.lab.schedule import set_rate, warm_cosine

__all__ = ["Config", "train"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a training run is; a run and its resumption have the same.

    Attributes:
        loss: What to minimise: "mrstft", "mrstft + 0.1 nmr", "balanced: si_sdr + nmr", "stft(n_fft=512)", "se/gtcrn".
        model: Network and settings: small (half a million parameters), tiny, unet, wave-u-net, conv-tasnet, dcunet,
            mmdensenet, mmdenselstm, fcn, segan; as in "small(attention=True)".
        data: embedded (speech in noise, from the package), song (its stems), or a corpus and its folder: musdb18:PATH
            (vocals), musdb18-stems:PATH, voicebank:PATH, dns:PATH, dns-pairs:PATH, librimix:PATH,
            librispeech:PATH,urbansound8k:PATH.
        sample_rate: Resample files to this [Hz]; without it they must have one.
        segment: Length of an item [samples].
        steps: Steps of the optimiser, AdamW.
        batch: Items of a step, over all processes.
        lr: Highest learning rate; from there it falls to 0 along a cosine.
        warmup: Steps in which it rises; at most a quarter of all.
        weight_decay: Of AdamW.
        clip: Largest norm of the gradient.
        ema: Decay of the average of the weights, which is what is kept; reached in a warm-up of its own.
        seed: Of first weights, data and dropout; the same for two losses, it is the same run but for the loss.
        valid_every: Steps between validations by the loss itself; 0 is none.
        valid_items: Items of a validation, the same each time.
        patience: Validations without a better value before the run ends, with the best network; 0 is never.
        save_every: Steps between checkpoints, of which the last two are kept.
        amp: Run the network in bfloat16; losses stay in float32.
        compile: Run the network through torch.compile.
        device: cpu, cuda or mps.
        workers: Processes that prepare data.
    """

    loss: str = "si_sdr"
    model: str = "small"
    data: str = "embedded"
    sample_rate: int | None = None
    segment: int = 16_128  # with a hop of 256 it is 64 frames, which five levels of a U-Net need not fill up
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


def train(config: Config, folder: str | PathLike[str] | None = None, *, progress: Observer | None = None) -> WaveModel:
    """Train a network.

    Args:
        config: The run.
        folder: Where to keep it, and where to go on from; without one nothing is written, and signals are left alone.
        progress: Called after each step.

    Returns:
        The average of the weights, in evaluation mode; with ``patience``, that of the best validation.

    Raises:
        ArgumentError: A config that cannot be.
        CheckpointError: The folder holds a run of another config, or nothing that can be read.
        DivergedError: A loss or a gradient is not finite.
        TooLargeError: A batch does not fit into memory.
        DeviceError: No such device.
        SystemExit: SIGINT or SIGTERM came; the run is saved.
    """
    with Run(config, None if folder is None else Path(folder), progress) as run:
        part = partial(sets.load, config.data, segment=config.segment, sample_rate=config.sample_rate, seed=config.seed)
        data = part("train")
        sizes = {"channels": len(data[0].mix), "sources": len(data.sources)}

        model = run.ranks.placed(nets.net(config.model, sample_rate=data.sample_rate, **sizes))
        average = EMA(model, config.ema)
        objective = Objective(parse(config.loss, sample_rate=data.sample_rate), **sizes).to(run.device)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        run.keep(model=model, average=average, objective=objective, optimizer=optimizer)
        network = run.trained(model)

        def learn(step: int, batch: Batch) -> None:
            set_rate(optimizer, config.lr * warm_cosine(step, steps=config.steps, warmup=config.warmup))
            with run.autocast():
                est = network(batch.mix)
            est = est.float()
            if run.looks and objective.terms > 1:
                run.note(shares=objective.shares(est, batch.target, batch.mix))
            loss = objective(est, batch.target, batch.mix)
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

    main(Config, train, out="train-unet", words=attributes(Config))
