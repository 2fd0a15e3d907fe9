"""Which voxels of a total field background removal may lean on, and how heavily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._lazy import torch
from ..physics.smv import SphericalMean

UNRELIABLE = 20.0
"""A voxel whose σ is this many times the median of the mask says nothing about the field."""
HOLE = 0.05
"""Below this weight a voxel is bridged where weights cannot be used."""
SLIVER_MM = 3.5
SLIVER_SHARE = 0.3
"""What is left of a mask after cutting is dropped where it fills less than this share of a sphere around it."""


@dataclass(frozen=True)
class Trust:
    """`mask` is what is left of the brain, `weight` in 0 to 1 counts the data (near 0 in holes), both (X, Y, Z)."""

    mask: torch.Tensor
    weight: torch.Tensor


def trust(
    mask: torch.Tensor,
    noise_ppm: torch.Tensor | None,
    voxel_size_mm: Sequence[float],
    local_std_ppm: float = 0.01,
) -> Trust:
    """Cut unreliable voxels off the edge of the mask, keep them as holes inside, and weigh the rest.

    Near the sinuses the field is lost over whole regions that touch the edge: there the brain ends earlier. A bleed is
    an unreliable hole: its own field around it must stay, so it stays inside. The residual of a background fit is the
    local field (of `local_std_ppm`) and noise together, so data weighs 1/(local² + σ²). Without noise every voxel of
    the mask counts alike.
    """
    inside = mask > 0
    if noise_ppm is None:
        return Trust(inside, inside.float())
    unreliable = inside & (noise_ppm > UNRELIABLE * noise_ppm[inside].median())
    kept = inside
    if bool(unreliable.any()):
        kept = inside & ~_flooded(~inside, unreliable)
        if not torch.equal(kept, inside):
            kept = _without_slivers(kept, inside, voxel_size_mm)
    return Trust(kept, kept * local_std_ppm**2 / (local_std_ppm**2 + noise_ppm**2))


def fill_holes(field_ppm: torch.Tensor, known: Trust, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """The field with unreliable voxels of the mask bridged by the weighted mean around them, zero outside.

    Spheres grow until each hole is reached. For methods that have no weights: a wild value would spread over a sphere.
    """
    filled = field_ppm * known.mask
    weight = known.weight
    radius = 1.5 * max(voxel_size_mm)
    missing = known.mask & (weight < HOLE)
    while bool(missing.any()):
        sphere = SphericalMean.of(field_ppm.shape, voxel_size_mm, radius, field_ppm.device)
        share = sphere(weight * (weight >= HOLE))
        mean = sphere(weight * (weight >= HOLE) * field_ppm)
        reached = missing & (share > 0.05)
        filled = torch.where(reached, mean / share.clamp(min=1e-6), filled)
        missing = missing & ~reached
        radius *= 1.6
    return filled


def _flooded(source: torch.Tensor, passage: torch.Tensor) -> torch.Tensor:
    """`source` and everything of `passage` that is connected to it."""
    flooded = source
    while True:
        grown = torch.nn.functional.max_pool3d(flooded.float()[None], 3, 1, 1)[0] > 0
        grown = flooded | (grown & passage)
        if bool((grown == flooded).all()):
            return flooded
        flooded = grown


def _without_slivers(kept: torch.Tensor, before: torch.Tensor, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    sphere = SphericalMean.of(kept.shape, voxel_size_mm, max(SLIVER_MM, 1.1 * max(voxel_size_mm)), kept.device)
    was_thin = sphere(before.float()) < SLIVER_SHARE
    for _ in range(2):
        kept = kept & (was_thin | (sphere(kept.float()) >= SLIVER_SHARE))
    return kept
