"""R2′ out of R2*: a small network that adds to a rule of two slopes, told what χ is.

R2 and R2′ cannot be told apart in one voxel's R2*. But the anatomy says what R2 to expect, and R2′ is at least what χ
alone would make of it (after χ-sepnet-R2*, Kim et al. 2025, doi:10.1002/hbm.70136, which shows a network R2* alone).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .unrolled import Apply, Denoiser, noise_level, silent, whole

RATE_HZ = 20.0
CHI_PPM = 0.05
"""What rates and maps are divided by: typical sizes at 3 T."""


@dataclass(frozen=True)
class RateSplitterConfig:
    """Architecture: channels of the three levels, the first at half resolution."""

    channels: tuple[int, int, int] = (48, 64, 96)


class RateSplitter(nn.Module):
    """From R2* and χ to R2′; sizes must be multiples of `multiple`."""

    multiple = 8

    def __init__(self, config: RateSplitterConfig | None = None) -> None:
        super().__init__()
        self.config = config or RateSplitterConfig()
        self.denoiser = Denoiser(5, self.config.channels, 1)

    def forward(
        self,
        r2star: torch.Tensor,
        guess: torch.Tensor,
        chi: torch.Tensor,
        weight: torch.Tensor,
        apply: Apply = whole,
        tick: Callable[[], None] = silent,
    ) -> list[torch.Tensor]:
        """R2′ in Hz, one map (B, 1, X, Y, Z) that may fall below zero, from R2* and a guess at R2′ in Hz and χ in ppm.

        `weight` is more than 0 inside the mask; volumes are zero outside it.
        """
        mask = (weight > 0).to(r2star.dtype)
        noise = noise_level(r2star, mask) / RATE_HZ
        size = chi / CHI_PPM
        seen = torch.cat([r2star / RATE_HZ, guess / RATE_HZ, size, size.abs(), mask], 1)
        tick()
        level = torch.log(noise + 0.01)
        change = apply(lambda volume: self.denoiser(volume, level, 0), seen).float()
        return [(guess + RATE_HZ * change) * mask]
