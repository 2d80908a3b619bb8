"""A net that is listened through and never trained: it moves with the measure that holds it, and is not its state."""

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from percloss.errors import ArgumentError


class FrozenNet(nn.Module):
    """A copy of a net in evaluation mode, whose tensors follow ``.to(device)`` and nothing else.

    It stands outside the tree of modules: ``state_dict``, ``parameters``, ``train`` and ``requires_grad_`` of whoever
    holds it do not reach it, distributed training does not broadcast it, and ``half`` or ``bfloat16`` do not round it.
    The net that was given is left as it is. Half precision is raised to float32, and parametrisations such as weight
    normalisation are written out once, since what they compute no longer changes.

    Args:
        net: To be copied.

    Shape:
        (batch, time). Returns what the net returns, as a dict, with what its tapped submodules returned.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        net = _copied(net)
        for module in list(net.modules()):
            _written_out(module)
            # Nothing is ever loaded into the copy, and the hooks of weight normalisation cannot be pickled.
            module._load_state_dict_pre_hooks.clear()
        tensors = [x for x in itertools.chain(net.parameters(), net.buffers()) if x.is_floating_point()]
        if any(x.dtype in (torch.float16, torch.bfloat16) for x in tensors):
            net = net.float()
        net.requires_grad_(False).eval()
        self._hidden = (net,)  # a tuple, which nn.Module does not look into
        self._taken: dict[str, Any] = {}
        self.dtype = torch.float32
        for x in net.parameters():
            self.dtype = torch.promote_types(self.dtype, x.dtype)
        self.device = tensors[0].device if tensors else torch.device("cpu")

    @property
    def net(self) -> nn.Module:
        """The frozen copy."""
        return self._hidden[0]

    def tap(self, names: Iterable[str]) -> None:
        """From now on return what these submodules return, too."""
        modules = dict(self.net.named_modules())
        for name in names:
            modules[name].register_forward_hook(Tap(name, self._taken))

    def forward(self, x: Tensor) -> dict[str, Any]:
        """Named features, in the precision of ``x`` or of the net, whichever is higher."""
        dtype = torch.promote_types(x.dtype, self.dtype)
        self._taken.clear()
        try:
            if dtype == self.dtype:
                output = self.net(x.to(dtype))
            else:
                tensors = itertools.chain(self.net.named_parameters(), self.net.named_buffers())
                cast = {name: tensor.to(dtype) for name, tensor in tensors if tensor.is_floating_point()}
                output = torch.func.functional_call(self.net, cast, (x.to(dtype),))
            return {**(output if isinstance(output, Mapping) else {}), **self._taken}
        finally:
            self._taken.clear()  # else the last batch's graph would live until the next

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FrozenNet":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

        def moved(tensor: Tensor) -> Tensor:
            after = fn(tensor)
            return after if after.dtype == tensor.dtype else tensor.to(after.device)

        self.net._apply(moved)
        return self


class Tap:
    """A forward hook that survives copy and pickle, as a closure would not."""

    def __init__(self, name: str, taken: dict[str, Any]) -> None:
        self.name, self.taken = name, taken

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.name in self.taken:
            raise ArgumentError(
                f"FrozenNet: layer {self.name!r} ran twice in one pass, which of its outputs is meant is not known; "
                f"needed is a layer that runs once. Tap the module around it."
            )
        # Recurrent and attention layers return a tuple whose first entry is the features.
        self.taken[self.name] = output[0] if isinstance(output, tuple) and output else output


def _copied(net: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(net)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(
            f"FrozenNet: {type(net).__name__} cannot be copied ({error}); needed is a net without tensors that are "
            f"computed from others: for the old weight norm type torch.nn.utils.remove_weight_norm(module)."
        ) from error


def _written_out(module: nn.Module) -> None:
    """Replace parametrised weights by their values.

    ``remove_parametrizations`` would do it in the class, which the copy shares with the net it is a copy of.
    """
    if not parametrize.is_parametrized(module):
        return
    values = {name: getattr(module, name).detach().clone() for name in cast(nn.ModuleDict, module.parametrizations)}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))
