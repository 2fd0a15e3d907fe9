"""Where the magnitude has edges: there χ may have some for free (MEDI)."""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch
from ..physics.differences import gradient

COUNTED = 2_000_000
"""Differences that decide the limit; of more, every n-th is taken."""


def flat_places(
    magnitude: torch.Tensor, inside: torch.Tensor, voxel_size_mm: Sequence[float], shape: Sequence[int], share: float
) -> torch.Tensor:
    """Which forward differences (3, *shape), boolean, are no edges of the `magnitude` (X, Y, Z), a part of that box.

    Inside the mask that is the `share` of them that are smallest, per mm; outside, all but the steps over its border.
    """
    whole, within = magnitude.new_zeros(tuple(shape)), inside.new_zeros(tuple(shape))
    x, y, z = magnitude.shape
    whole[:x, :y, :z] = magnitude * inside
    within[:x, :y, :z] = inside
    steep = gradient(whole, voxel_size_mm).abs_()
    seen = steep[:, within].reshape(-1)
    if seen.numel() == 0:
        return torch.ones_like(steep, dtype=torch.bool)
    seen = seen[:: max(1, seen.numel() // COUNTED)]
    limit = seen.kthvalue(max(1, round(share * seen.numel()))).values
    return steep <= limit
