"""How much each voxel of a local field counts."""

from __future__ import annotations

from .._lazy import torch

FLOOR = 3.0
"""Error that every voxel has besides its σ, in medians of σ: ringing, partial volume, what is left of the background.
Without it, voxels beside veins and bleeds, of five times the common σ, would hardly count, and χ there sinks."""


def data_weight(mask: torch.Tensor, noise_ppm: torch.Tensor | None) -> torch.Tensor:
    """w² in 0 to 1 (X, Y, Z): 1 in ordinary voxels of the mask, falling as 1/σ² in noisy ones, 0 outside."""
    inside = (mask > 0).float()
    if noise_ppm is None or not bool((mask > 0).any()):
        return inside
    relative = noise_ppm / noise_ppm[mask > 0].median().clamp(min=1e-12)
    return inside * ((1 + FLOOR**2) / (relative**2 + FLOOR**2)).clamp(max=1.0)
