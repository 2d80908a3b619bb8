"""A training is a function of its config, whatever stops it on the way; and it says what is wrong."""

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from percloss.errors import ArgumentError, AudioFileError, DeviceError, SampleRateError, UnknownMeasureError
from percloss.lab import nets, sets
from percloss.lab.checkpoint import CheckpointError, read
from percloss.lab.data import EmbeddedSpeech
from percloss.lab.ema import EMA, decay_at
from percloss.lab.journal import Progress, on_stderr
from percloss.lab.models import WaveUNet
from percloss.lab.options import attributes
from percloss.lab.run import Batch, DivergedError, Run, TooLargeError, load
from percloss.lab.schedule import warm_cosine
from percloss.lab.train_unet import Config, train

ROOT = Path(__file__).resolve().parents[2]
COMPILE = bool(os.environ.get("PERCLOSS_COMPILE"))
TINY = Config(model="tiny", segment=4000, batch=2, steps=2, loss="mae")
# Batch norms and dropout: what a resumption could forget.
NORMED = "unet(n_fft=128, hop_length=64, filters=(4, 8, 16), kernel=3, dropout=0.5, compression=0.3)"
LOSSES = (
    "mse",
    "si_sdr",
    "stft(n_fft=512, convergence=0, log=0, linear=1)",
    "compressed_magnitude(compression=1.0)",
    "compressed_stft + 0.1 weighted_sdr",
    "mrstft",
    "multi_scale_mel",
    "balanced: si_sdr + nmr",
    "masked_error + RandomResolutionSTFTLoss(n_ffts=(64, 512))",
    "scattering",
    "random_convolution",
    "pmsqe + 0.1 MelLoss(n_mels=40)",
    "se/demucs-denoiser",
)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: nn.Module, other: nn.Module) -> bool:
    """To the last bit."""
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def logged(folder: Path) -> list[dict]:
    """The log without its seconds."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def python(*arguments: str, **options: object) -> subprocess.Popen[str]:
    """A Python of its own, with one thread."""
    world = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *arguments], env=world, **pipes, **options)


# What is trained ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_any_loss_trains(loss: str) -> None:
    config = replace(TINY, loss=loss)
    start = nets_weights(config)
    seen: list[Progress] = []
    model = train(config, progress=seen.append)
    assert [progress.step for progress in seen] == [1, 2]
    assert not model.training
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert any(not torch.equal(tensor, start[name]) for name, tensor in model.state_dict().items())


def nets_weights(config: Config) -> dict[str, Tensor]:
    """Those that a run of this config begins with: it learns nothing."""
    return weights(train(replace(config, lr=0.0, loss="mae", steps=1)))


def test_training_brings_the_loss_down() -> None:
    values: list[float | None] = []
    model = "small(filters=(8, 16, 32, 64))"
    learning = Config(model=model, loss="mrstft", segment=8064, batch=4, steps=60, lr=4e-3, ema=0.9)
    train(
        replace(learning, warmup=5, valid_every=20, valid_items=8),
        progress=lambda progress: values.append(progress.valid),
    )
    assert values[-1] < values[39] < values[19]


def test_the_seed_decides_first_weights_and_items_and_the_loss_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[list[str]] = []

    def listening(self: Run, batch: Batch, **values: object) -> None:
        heard.append(batch.names)
        did(self, batch, **values)

    did = Run.did
    monkeypatch.setattr(Run, "did", listening)
    still = replace(TINY, lr=0.0, steps=3)
    one, other, third = (
        train(replace(still, loss=loss, seed=seed)) for loss, seed in (("mae", 0), ("mrstft", 0), ("mae", 1))
    )
    assert same(one, other)
    assert not same(one, third)
    assert heard[:3] == heard[3:6] != heard[6:]


def test_the_worlds_random_numbers_are_left_alone() -> None:
    before = torch.get_rng_state()
    train(replace(TINY, model=NORMED))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train(replace(TINY, valid_every=1, valid_items=2))
    assert not list(tmp_path.iterdir())


def test_stems_are_separated_by_a_net_that_can() -> None:
    model = train(replace(TINY, data="song", model="wave-u-net(levels=2, filters=4)", steps=1, loss="mae"))
    assert (model.sources, model.channels, model.sample_rate) == (4, 2, 44_100)
    with pytest.raises(ArgumentError, match="estimates one source, and data of 4"):
        train(replace(TINY, data="song", model="small"))


def test_a_folder_of_pairs_is_trained_on_and_one_that_lacks_files_is_named(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    noise = 0.1 * torch.randn(4, 6000, generator=torch.Generator().manual_seed(0)).numpy()
    for kind, add in (("noisy", 0.5), ("clean", 1.0)):
        for number, samples in enumerate(noise):
            path = tmp_path / kind / f"a_fileid_{number}.wav"
            path.parent.mkdir(exist_ok=True)
            odd = number == 3 and kind == "clean"
            soundfile.write(path, add * samples[:: 2 if odd else 1], 8000 if odd else 16_000)
    config = replace(TINY, data=f"dns-pairs:{tmp_path}")
    with pytest.raises(SampleRateError, match="several rates came.*sample_rate=8000"):
        train(config)
    assert train(replace(config, sample_rate=8000)).sample_rate == 8000
    with pytest.raises(AudioFileError, match="there is no such folder"):
        train(replace(config, data=f"musdb18:{tmp_path}"))


def test_bfloat16_is_for_the_network_alone() -> None:
    seen: list[float] = []
    for amp in (False, True):
        train(replace(TINY, amp=amp, steps=1, loss="si_sdr"), progress=lambda progress: seen.append(progress.loss))
    assert seen[0] != seen[1]
    assert seen[1] == pytest.approx(seen[0], abs=0.3)


@pytest.mark.skipif(not COMPILE, reason="torch.compile cannot trace the shape checker: PERCLOSS_COMPILE=1")
def test_a_compiled_network_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled(self, backend="aot_eager"))
    one, other = (train(replace(TINY, compile=wanted)) for wanted in (False, True))
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="starting workers takes long here")
def test_workers_change_no_number() -> None:
    assert same(train(replace(TINY, steps=3)), train(replace(TINY, steps=3, workers=1)))


# The average and the rate ---------------------------------------------------------------------------------------------


def test_an_average_forgets_the_first_weights_at_once_and_then_takes_its_time() -> None:
    assert decay_at(0, 0.99) == pytest.approx(0.1)
    assert decay_at(2000, 0.99) == 0.99
    model = nn.BatchNorm1d(1)
    average = EMA(model, 0.99)
    for step in range(100):
        model(torch.full((8, 1), 3.0) + torch.arange(8.0)[:, None])
        average.update(step)
    assert average.model.num_batches_tracked == 100
    assert average.model.running_mean.item() == pytest.approx(6.5, rel=0.05)
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_without_decay_the_average_is_the_network() -> None:
    model = nn.Linear(2, 2)
    average = EMA(model, 0.0)
    with torch.no_grad():
        model.weight.add_(1)
    average.update(0)
    assert same(model, average.model)
    with pytest.raises(ArgumentError, match="decay of 1"):
        EMA(model, 1.0)


def test_the_rate_rises_and_falls_to_nothing_also_in_a_short_run() -> None:
    rates = [warm_cosine(step, steps=300, warmup=50) for step in range(300)]
    assert rates[49] == 1.0
    assert rates.index(max(rates)) == 49
    assert 0 < rates[-1] < 1e-3
    assert [warm_cosine(step, steps=1, warmup=50) for step in range(1)] == [1.0]


# Stopped and resumed --------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from percloss.lab import {trainer} as trainer

def deadly(function, last):
    calls = 0
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

calls = 0
where, last = sys.argv[1], int(sys.argv[2])
if where == "step":
    torch.optim.AdamW.step = deadly(torch.optim.AdamW.step, last)
else:
    os.replace = deadly(os.replace, last)
trainer.train(trainer.Config(**{config}), Path({folder!r}))
"""


def kill(config: object, folder: Path, *, trainer: str, where: str, at: int) -> None:
    """Train in a process that SIGKILL ends: in front of a step of an optimiser, or with a file half in place."""
    script = KILLED.format(trainer=trainer, config=asdict(config), folder=str(folder))
    with python("-c", script, where, str(at)) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_run_that_is_killed_twice_ends_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    config = replace(
        TINY, model=NORMED, loss="balanced: si_sdr + nmr", steps=12, save_every=3, valid_every=4, valid_items=2
    )
    whole = train(config, tmp_path / "whole")
    folder = tmp_path / "killed"
    kill(config, folder, trainer="train_unet", where="step", at=8)
    assert [path.name for path in sorted(folder.glob("*.pt"))] == ["checkpoint-00000003.pt", "checkpoint-00000006.pt"]
    # Of the calls of os.replace the first is the log's.
    kill(config, folder, trainer="train_unet", where="save", at=3)
    assert sorted(folder.glob(".*.part"))
    steps: list[int] = []
    resumed = train(config, folder, progress=lambda progress: steps.append(progress.step))
    assert steps == [10, 11, 12]
    assert not sorted(folder.glob(".*.part"))
    assert same(whole, resumed)
    assert logged(folder) == logged(tmp_path / "whole")
    assert [line["step"] for line in logged(folder)] == list(range(1, 13))
    ends = [read(path / "checkpoint-00000012.pt") for path in (folder, tmp_path / "whole")]
    assert_equal(*ends)


def assert_equal(one: object, other: object) -> None:
    """Of whatever a checkpoint holds, all tensors to the last bit."""
    assert type(one) is type(other)
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_equal(one[name], other[name])
    elif isinstance(one, list | tuple):
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_saves_it(number: signal.Signals, tmp_path: Path) -> None:
    config = replace(TINY, steps=5)

    def interrupt(progress: Progress) -> None:
        if progress.step == 2:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught:
        train(config, tmp_path, progress=interrupt)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is before
    assert read(tmp_path / "checkpoint-00000002.pt")["step"] == 2
    assert same(train(config, tmp_path), train(config))


def test_without_a_folder_a_keyboard_interrupt_is_one() -> None:
    def interrupt(progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(TINY, progress=interrupt)


def test_a_run_that_has_ended_is_there_at_once(tmp_path: Path) -> None:
    model = train(TINY, tmp_path)
    seen: list[Progress] = []
    assert same(train(TINY, tmp_path, progress=seen.append), model)
    assert not seen
    assert same(load(tmp_path), model)


def test_a_folder_of_another_run_names_what_differs(tmp_path: Path) -> None:
    train(TINY, tmp_path)
    train(replace(TINY, save_every=7), tmp_path)
    with pytest.raises(CheckpointError, match=r"loss='mse' \(there 'mae'\), lr=0.5 \(there 0.002\)"):
        train(replace(TINY, loss="mse", lr=0.5), tmp_path)


def test_of_a_run_whose_last_checkpoint_is_cut_the_one_before_is_used(tmp_path: Path) -> None:
    config = replace(TINY, steps=4, save_every=2)
    model = train(config, tmp_path)
    last = tmp_path / "checkpoint-00000004.pt"
    last.write_bytes(last.read_bytes()[:2000])
    steps: list[int] = []
    with pytest.warns(UserWarning, match="from checkpoint-00000002.pt instead"):
        again = train(config, tmp_path, progress=lambda progress: steps.append(progress.step))
    assert steps == [3, 4]
    assert same(again, model)


def test_a_network_is_loaded_from_runs_that_have_ended_only(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the folder of a run that has ended"):
        load(tmp_path)


def test_a_run_that_no_longer_improves_ends_early_with_its_best(tmp_path: Path) -> None:
    config = replace(TINY, loss="si_sdr", steps=40, lr=0.0, valid_every=2, valid_items=2, patience=2)
    train(config, tmp_path)
    assert len(logged(tmp_path)) == 6
    seen: list[Progress] = []
    train(config, tmp_path, progress=seen.append)
    assert not seen
    worse = replace(TINY, loss="si_sdr", steps=8, lr=3.0, clip=1e9, valid_every=1, valid_items=2, patience=2, ema=0.0)
    best = train(worse, tmp_path / "worse")
    values = [line["valid"] for line in logged(tmp_path / "worse")]
    assert len(values) < 8
    saved = read(sorted((tmp_path / "worse").glob("checkpoint-*.pt"))[-1])["best"]
    assert saved["value"] == min(values)
    assert all(torch.equal(tensor, saved["weights"][name]) for name, tensor in best.state_dict().items())


# What it says ---------------------------------------------------------------------------------------------------------


def test_the_log_holds_loss_gradient_and_shares(tmp_path: Path) -> None:
    train(replace(TINY, loss="mae + mel"), tmp_path)
    first, last = logged(tmp_path)
    assert first.keys() >= {"step", "loss", "gradient"}
    assert sum(last["shares"].values()) == pytest.approx(1)
    assert last["shares"]["mel"] > last["shares"]["mae"]


def test_a_half_written_line_of_the_log_is_taken_back(tmp_path: Path) -> None:
    config = replace(TINY, steps=4, save_every=2)
    train(config, tmp_path)
    whole = logged(tmp_path)
    (tmp_path / "checkpoint-00000004.pt").unlink()
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    train(config, tmp_path)
    assert logged(tmp_path) == whole


def test_sounds_spectrograms_and_shares_are_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(replace(TINY, loss="mae + mel", valid_every=2, valid_items=2), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = events.Tags()
    assert {"0/mix", "0/target", "1/est"} <= set(tags["audio"])
    assert {"0/mix", "0/target", "1/est"} <= set(tags["images"])
    assert {"loss", "valid", "shares/mae", "shares/mel"} <= set(tags["scalars"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_of_a_terminal_and_few_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    live, file = Terminal(), io.StringIO()
    for stream in (live, file):
        monkeypatch.setattr(sys, "stderr", stream)
        tell = on_stderr()
        for step in range(1, 301):
            tell(Progress(step, 300, 1 / step, 0.25 if step > 100 else None, 7384.0 - step))
    assert live.getvalue().count("\n") == 1
    assert live.getvalue().startswith("\rstep 1/300  loss 1  2 h 3 min left")
    lines = file.getvalue().splitlines()
    assert lines == ["step 1/300  loss 1  2 h 3 min left", "step 300/300  loss 0.003333  valid 0.25"]


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run_with_its_batch_saved(tmp_path: Path) -> None:
    wild = replace(TINY, lr=1e30, clip=1e38, steps=6, warmup=0)
    with pytest.raises(DivergedError, match=r"step \d: the loss is nan.*diverged-.*lower --lr") as caught:
        train(wild, tmp_path)
    (path,) = tmp_path.glob("diverged-*.pt")
    assert str(path) in str(caught.value)
    kept = torch.load(path, weights_only=True)
    assert kept["mix"].shape == (2, 1, 4000)
    assert kept["target"].shape == (2, 1, 1, 4000)
    assert len(kept["names"]) == 2
    assert "weight" in next(iter(kept["parts"]["model"]))
    with pytest.raises(DivergedError, match=r"the loss is nan .* in .* dB, .* dB; needed are finite"):
        train(wild)


@pytest.mark.parametrize("kind", ["GPU", "CPU"])
def test_a_batch_that_is_too_large_is_told_what_fits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def estimate(self: WaveUNet, mix: Tensor) -> Tensor:
        if len(mix) > limit:
            if kind == "GPU":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            torch.empty(2**58)  # what the allocator itself says
        return original(self, mix)

    original, limit = WaveUNet.estimate, 2
    monkeypatch.setattr(WaveUNet, "estimate", estimate)
    with pytest.raises(TooLargeError, match=r"step 0: 8 items of 4000 samples .* 2 fit: type --batch 2\."):
        train(replace(TINY, batch=8))
    limit = 0
    with pytest.raises(TooLargeError, match=r"not even one fits: type a smaller --batch, --segment or --model"):
        train(replace(TINY, batch=8))


def test_another_error_is_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def estimate(self: WaveUNet, mix: Tensor) -> Tensor:
        raise RuntimeError("something else")

    monkeypatch.setattr(WaveUNet, "estimate", estimate)
    with pytest.raises(RuntimeError, match="something else"):
        train(TINY)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missed_at_once(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"sees 0 GPUs.*type --device cpu"):
        train(replace(TINY, device="cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"loss": "mrstf"}, UnknownMeasureError, "did you mean 'mrstft'"),
        ({"model": "smal"}, ArgumentError, "did you mean 'small'"),
        ({"model": "small(widths=3)"}, ArgumentError, "unexpected keyword argument 'widths'"),
        ({"model": "small(kernel=4)"}, ArgumentError, "needed are odd numbers"),
        ({"data": "embeded"}, ArgumentError, "did you mean 'embedded'"),
        ({"data": "musdb18"}, ArgumentError, "type musdb18:PATH"),
        ({"data": "embedded", "sample_rate": 8000}, ArgumentError, "at 16000 Hz"),
        ({"steps": 0}, ArgumentError, "steps: got 0; needed is 1 or more"),
        ({"batch": 0}, ArgumentError, "type --batch 1"),
        ({"valid_every": -1}, ArgumentError, "type --valid-every 0"),
        ({"patience": 2}, ArgumentError, "type --valid-every 100"),
        ({"ema": 1.0}, ArgumentError, "decay of 1"),
        ({"segment": 10_000_000}, ArgumentError, "segment"),
        ({"device": "gpu"}, DeviceError, "needed is cpu, cuda"),
    ],
)
def test_a_config_that_cannot_be_says_what_to_type(wrong: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        train(replace(TINY, **wrong))


# From the command line ------------------------------------------------------------------------------------------------


def test_every_setting_is_explained_and_plain() -> None:
    assert attributes(Config).keys() == asdict(Config()).keys()
    json.dumps(asdict(Config()))


def test_the_line_of_the_readme_trains_in_an_empty_folder(tmp_path: Path) -> None:
    line = ["-m", "percloss.lab.train_unet", "--loss", "mrstft + 0.1 nmr", "--model", "tiny", "--out", "first"]
    line += ["--steps", "3", "--segment", "4000", "--batch", "2"]
    with python(*line, cwd=tmp_path) as process:
        out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert not out
    assert "step 3/3" in errors
    assert sorted(path.name for path in (tmp_path / "first").glob("*.*")) == [
        "checkpoint-00000003.pt",
        "log.jsonl",
        "model.pt",
    ]
    config = Config(loss="mrstft + 0.1 nmr", model="tiny", steps=3, segment=4000, batch=2)
    assert same(load(tmp_path / "first"), train(config))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, in this process; its exit code."""
    from percloss.lab import options, train_unet

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["train_unet", *arguments])
        with pytest.raises(SystemExit) as caught:
            options.main(Config, train_unet.train, out="train-unet", words=attributes(Config))
        return int(caught.value.code or 0)

    return call


def test_help_names_every_setting(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    told = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in told for name in asdict(Config()))
    assert "torchrun --nproc-per-node 4" in told


def test_errors_are_one_line(run: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("--loss", "mrstf", "--out", str(tmp_path)) == 2
    assert capsys.readouterr().err == "percloss: error: loss: got 'mrstf'; did you mean 'mrstft'? Type: percloss list\n"
    assert run("--steps", "many") == 2
    assert "'many' is not a valid integer" in capsys.readouterr().err


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no distributed package")
def test_two_processes_with_half_the_batch_are_one_with_the_whole(tmp_path: Path) -> None:
    """A net without batch statistics, whose loss is a mean over items."""
    line = ["--loss", "balanced: si_sdr + mrstft", "--model", "tiny", "--out", "two", "--valid-every", "2"]
    line += ["--steps", "4", "--segment", "4000", "--batch", "4", "--valid-items", "2", "--ema", "0"]
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "percloss.lab.train_unet"]
    with python(*start, *line, cwd=tmp_path) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    config = Config(loss="balanced: si_sdr + mrstft", model="tiny", steps=4, segment=4000, batch=4)
    one = train(replace(config, valid_every=2, valid_items=2, ema=0.0), tmp_path / "one")
    two = load(tmp_path / "two")
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], tensor, atol=1e-5, rtol=1e-5)
    for a, b in zip(logged(tmp_path / "one"), logged(tmp_path / "two"), strict=True):
        assert a.keys() == b.keys()
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    from percloss.lab.ranks import Ranks

    with pytest.raises(ArgumentError, match="batch: got 8 for 3 processes.*type --batch 9"):
        Ranks(torch.device("cpu"), 0, 3).share(8)


# Things by name -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(nets.NETS))
def test_each_network_by_name_is_for_the_data(name: str) -> None:
    with torch.device("meta"):
        model = nets.net(name, channels=1, sample_rate=16_000, sources=1)
    assert (model.channels, model.sample_rate) == (1, 16_000)


def test_the_network_of_the_experiments_is_of_half_a_million() -> None:
    with torch.device("meta"):
        model = nets.net("small", channels=1, sample_rate=16_000, sources=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 510_409


def test_splits_of_a_set_share_nothing() -> None:
    train_set, valid = (sets.load("embedded", split, segment=4000) for split in ("train", "valid"))
    assert isinstance(train_set, EmbeddedSpeech)
    assert (train_set.split, valid.split) == ("train", "valid")
