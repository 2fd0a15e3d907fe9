"""How much each voxel of a local field counts."""

from __future__ import annotations

from .._lazy import torch


def data_weight(mask: torch.Tensor, noise_ppm: torch.Tensor | None) -> torch.Tensor:
    """w² in 0 to 1 (X, Y, Z): 1 in ordinary voxels of the mask, falling as 1/σ² in noisy ones, 0 outside.

    Weights are relative to the mask's median σ and level off below it: the model itself, of point-like voxels, is not
    better than that.
    """
    inside = (mask > 0).float()
    if noise_ppm is None or not bool((mask > 0).any()):
        return inside
    relative = noise_ppm / noise_ppm[mask > 0].median().clamp(min=1e-12)
    return inside * (2 / (1 + relative**2)).clamp(max=1.0)
