"""The shapes this package speaks in, as types.

They are plain tensors to a user and to ``torch.compile``. With ``PERCLOSS_SHAPES=1`` in the environment (as the test
suite sets it) they carry their axes, so that jaxtyping and beartype can hold every inner function to them.
"""

import os
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

if TYPE_CHECKING or not os.environ.get("PERCLOSS_SHAPES"):
    Wave: TypeAlias = Tensor
    Sources: TypeAlias = Tensor
    PerItem: TypeAlias = Tensor
    Spectrum: TypeAlias = Tensor
    Bins: TypeAlias = Tensor
else:
    from jaxtyping import Complex, Float

    Wave = Float[Tensor, "batch channels time"]
    Sources = Float[Tensor, "batch sources channels time"]
    PerItem = Float[Tensor, "batch channels"]
    Spectrum = Complex[Tensor, "batch channels bins frames"]
    Bins = Float[Tensor, "batch channels _ frames"]
