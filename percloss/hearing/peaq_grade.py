"""How PEAQ and the 2f-model make one number of several variables: a small network, and a curve."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Annex 2 of BS.1387, tables of section 6: inputs in the order of ``VARIABLES``, their range, and the network.
VARIABLES = (
    "bandwidth_ref",
    "bandwidth_est",
    "total_nmr",
    "win_mod_diff1",
    "adb",
    "ehs",
    "avg_mod_diff1",
    "avg_mod_diff2",
    "rms_noise_loud",
    "mfpd",
    "rel_dist_frames",
)
LEAST = (393.916656, 361.965332, -24.045116, 1.110661, -0.206623, 0.074318, 1.113683, 0.950345, 0.029985, 0.000101, 0.0)
MOST = (921.0, 881.131226, 16.21203, 107.137772, 2.886017, 13.933351, 63.257874, 1145.018555, 14.81974, 1.0, 1.0)
WEIGHTS = (
    (-0.502657, 0.436333, 1.219602),
    (4.307481, 3.246017, 1.123743),
    (4.984241, -2.211189, -0.192096),
    (0.051056, -1.762424, 4.331315),
    (2.32158, 1.789971, -0.75456),
    (-5.303901, -3.452257, -10.814982),
    (2.730991, -6.111805, 1.519223),
    (0.62495, -1.331523, -5.955151),
    (3.102889, 0.87126, -5.922878),
    (-1.051468, -0.939882, -0.142913),
    (-1.804679, -0.50361, -0.620456),
)
HIDDEN_BIAS, OUTPUT, OUTPUT_BIAS = (-2.518254, 0.654841, -2.207228), (-3.817048, 4.107138, 4.629582), -0.307594
GRADES = (-3.98, 0.22)


def distortion_index(variables: Sequence[Tensor]) -> Tensor:
    """What the network gives the eleven variables, in the order of ``VARIABLES``. They are not clipped to its range.

    References:
        [itu2001bs1387]_, Annex 2, section 6.
    """
    scaled = [(x - low) / (high - low) for x, low, high in zip(variables, LEAST, MOST, strict=True)]
    index = torch.full_like(scaled[0], OUTPUT_BIAS)
    for node, (bias, factor) in enumerate(zip(HIDDEN_BIAS, OUTPUT, strict=True)):
        terms = [weights[node] * x for weights, x in zip(WEIGHTS, scaled, strict=True)]
        index = index + factor * (bias + torch.stack(terms).sum(0)).sigmoid()
    return index


def objective_difference_grade(index: Tensor) -> Tensor:
    """The grade of a distortion index.

    References:
        [itu2001bs1387]_, Annex 2, section 6.
    """
    low, high = GRADES
    return low + (high - low) * index.sigmoid()


def two_f(avg_mod_diff1: Tensor, adb: Tensor) -> Tensor:
    """The 2f-model's opinion of two variables, from about 0 to 100 and not bounded.

    References:
        [kastner2019]_.
    """
    return 56.1345 / (1 + (-0.0282 * avg_mod_diff1 - 0.8628).square()) - 27.1451 * adb + 86.3515
