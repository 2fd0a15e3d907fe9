"""How much each voxel of a local field counts."""

from __future__ import annotations

from .._lazy import torch

FLOOR = 3.0
"""Error that every voxel has besides its σ, in medians of σ: ringing, partial volume, what is left of the background.
Without it, voxels beside veins and bleeds, of five times the common σ, would hardly count, and χ there sinks."""
LEAST = 0.1
"""No voxel whose field was seen counts less. Total variation takes from χ of a source about λ/w·30/radius, and where
the field is noisiest, beside bleeds, it is also largest: by 1/σ² those sources would be smoothed away."""
LOST_PPM = 0.1
"""The field beside a strong source. A voxel whose error is larger than any field there says nothing."""


def data_weight(mask: torch.Tensor, noise_ppm: torch.Tensor | None) -> torch.Tensor:
    """w² in 0 to 1 (X, Y, Z): 1 in ordinary voxels of the mask, falling as 1/σ² down to a tenth in noisy ones, to 0
    where σ passes any field of the brain, 0 outside."""
    inside = (mask > 0).float()
    if noise_ppm is None or not bool((mask > 0).any()):
        return inside
    relative = noise_ppm / noise_ppm[mask > 0].median().clamp(min=1e-12)
    seen = ((1 + FLOOR**2) / (relative**2 + FLOOR**2)).clamp(min=LEAST, max=1.0)
    return inside * seen * (LOST_PPM**2 / (LOST_PPM**2 + noise_ppm**2))
