"""A U-Net from the field alone, on 2³ neighbourhoods folded into channels: no dipole, no closed form.

The task of QSMnet (Yoon et al. 2018, doi:10.1016/j.neuroimage.2018.06.030) with the small network of `unrolled`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..physics.fourier import Spectrum
from .unrolled import Apply, Denoiser, field_scale, noise_level, silent, whole

CONTRAST = 3.0
"""χ against the field: about the ratio of their standard deviations in a head."""


@dataclass(frozen=True)
class FoldedConfig:
    """Architecture: channels of the three levels, the first at half resolution."""

    channels: tuple[int, int, int] = (48, 64, 96)


class Folded(nn.Module):
    """From field to χ; a field c times as large gives a map c times as large. Sizes are multiples of `multiple`."""

    multiple = 8

    def __init__(self, config: FoldedConfig | None = None) -> None:
        super().__init__()
        self.config = config or FoldedConfig()
        self.denoiser = Denoiser(2, self.config.channels, 1)

    def forward(
        self,
        field: torch.Tensor,
        weight: torch.Tensor,
        kernel: torch.Tensor,
        spectrum: Spectrum,
        apply: Apply = whole,
        start: torch.Tensor | None = None,
        tick: Callable[[], None] = silent,
    ) -> list[torch.Tensor]:
        """χ in ppm, one map (B, 1, X, Y, Z), from the field in ppm; called as `Unrolled` is.

        Of the physics it sees nothing: `kernel`, `spectrum` and `start` are unused.
        """
        mask = (weight > 0).to(field.dtype)
        scale = field_scale(field, mask)
        level = torch.log(noise_level(field, weight) / scale + 0.01)
        scale = scale.reshape(-1, 1, 1, 1, 1)
        tick()
        found = apply(lambda seen: self.denoiser(seen, level, 0), torch.cat([field * mask / scale, mask], 1))
        return [CONTRAST * scale * mask * found.float()]
