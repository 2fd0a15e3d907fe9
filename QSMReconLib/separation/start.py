"""Where the network for separation sets out: the joint optimisation, by what can be measured in the maps themselves."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..physics.dipole import Dipole
from .chiseparation import LEAST_FIELD_NOISE_PPM, LEAST_SUM_NOISE_PPM
from .joint import joint_separation

ITERATIONS = 16
"""Fewer than the stage's own: a network goes on from here."""
COMPARE_AT = 1 / 3
COPY_PENALTY = 0.2
"""Less smoothed than the stage's own: thin sulci that are lost here a network does not find again."""


def first_separation(
    field_ppm: torch.Tensor,
    sum_ppm: torch.Tensor,
    chi_ppm: torch.Tensor,
    weight: torch.Tensor,
    dipole: Dipole,
    iterations: int = ITERATIONS,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ_para and χ_dia (2, X, Y, Z), ppm, from a field, R2′/Dr and another method's χ (X, Y, Z), all in ppm.

    `weight` is σ_best/σ of the field, 0 outside the mask. The noise of both is that of their finest differences.
    """
    from ..networks.unrolled import noise_level  # Which needs PyTorch at once; listing the stages must not.

    mask = weight > 0
    volumes = field_ppm[None, None], sum_ppm[None, None]
    field_noise = max(float(noise_level(volumes[0], weight[None, None])), LEAST_FIELD_NOISE_PPM)
    sum_noise = max(float(noise_level(volumes[1], mask[None, None].float())), LEAST_SUM_NOISE_PPM)
    made = joint_separation(
        field_ppm,
        sum_ppm,
        mask.float(),
        dipole,
        field_noise_ppm=torch.where(mask, field_noise / weight.clamp(min=0.02), 0.0),
        sum_noise_ppm=sum_noise * mask.float(),
        chi_ppm=chi_ppm,
        compare_at=COMPARE_AT,
        copy_penalty=COPY_PENALTY,
        iterations=iterations,
        progress=progress,
    )
    return made.maps
