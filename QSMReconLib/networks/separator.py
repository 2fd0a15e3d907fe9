"""χ_para and χ_dia from the field, R2′ and χ: steps towards both measurements, each followed by a small network.

The state is both maps. Their difference moves towards the field as in `Unrolled`, their sum s = p + d towards R2′/Dr by
its own noise, and a three-level U-Net sees the maps, both steps and what is still unexplained. It starts from the joint
optimisation, so that nothing which needs no learning has to be learned (the inputs and losses of χ-sepnet, Kim et al.
2025, doi:10.1002/hbm.70136, in an unrolled form).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..physics.fourier import Spectrum
from .unrolled import Apply, Denoiser, noise_level, silent, whole

LEAST_SIZE_PPM = 0.005
"""The mean of both sources is not taken to be less than this when volumes are divided by it."""


@dataclass(frozen=True)
class SeparatorConfig:
    """Architecture: steps, channels of the three levels (the first at half resolution)."""

    steps: int = 2
    channels: tuple[int, int, int] = (48, 64, 96)


class Separator(nn.Module):
    """Both sources; c times the field, χ and R2′ give c times the maps. Sizes must be multiples of `multiple`."""

    inputs = 8
    multiple = 8

    def __init__(self, config: SeparatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or SeparatorConfig()
        steps = self.config.steps
        self.denoiser = Denoiser(self.inputs, self.config.channels, steps, outputs=2, levels=3)
        self.mu_at_unit_noise = nn.Parameter(torch.full((steps,), -0.7))
        self.mu_slope = nn.Parameter(torch.full((steps,), 1.0))
        self.trust_at_unit_noise = nn.Parameter(torch.full((steps,), -3.0))
        self.trust_slope = nn.Parameter(torch.full((steps,), -1.5))

    def forward(
        self,
        field: torch.Tensor,
        total: torch.Tensor,
        chi: torch.Tensor,
        start: torch.Tensor,
        guessed: torch.Tensor,
        weight: torch.Tensor,
        kernel: torch.Tensor,
        spectrum: Spectrum,
        apply: Apply = whole,
        tick: Callable[[], None] = silent,
    ) -> list[torch.Tensor]:
        """χ_para and χ_dia in ppm after every step, (B, 2, X, Y, Z) each, which may fall below zero.

        From the field, `total` (R2′/Dr) and another method's χ, (B, 1, X, Y, Z) in ppm, and a first separation `start`
        (B, 2, X, Y, Z). `guessed` (B) is 1 where R2′ was not measured but guessed from R2*. `weight` is 0..1 as far as
        the field is known, 0 outside the mask, where all volumes are zero.
        """
        mask = (weight > 0).to(field.dtype)
        inside = mask.sum((1, 2, 3, 4), keepdim=True).clamp(min=1)
        scale = (total.sum((1, 2, 3, 4), keepdim=True) / inside).clamp(min=LEAST_SIZE_PPM)
        noises = [noise_level(volume, w) for volume, w in ((field, weight), (total, mask))]
        levels = [torch.log(noise / scale.flatten() + 0.01) for noise in noises]
        known = torch.stack([*levels, guessed.to(field.dtype)], 1)
        level = levels[0].reshape(-1, 1, 1, 1, 1)
        f, s, chi, maps = field / scale, total / scale, chi / scale, start / scale
        squared = weight * weight
        found = []
        for step in range(self.config.steps):
            apart = maps[:, :1] - maps[:, 1:]
            mu = torch.exp(self.mu_at_unit_noise[step] + self.mu_slope[step] * level)
            missing = squared * (f - spectrum.from_k(kernel * spectrum.to_k(apart)))
            tick()
            update = mask * spectrum.from_k(kernel / (kernel * kernel + mu) * spectrum.to_k(missing))
            tick()
            trust = torch.sigmoid(self.trust_at_unit_noise[step] + self.trust_slope[step] * level)
            maps = maps + 0.5 * trust * torch.cat([update, -update], 1)
            rest = s - maps.sum(1, keepdim=True)
            other = chi - (maps[:, :1] - maps[:, 1:])
            seen = torch.cat([maps, s, rest, other, update, 3 * missing, weight], 1)
            change = apply(lambda volume, at=step: self.denoiser(volume, known, at), seen)  # type: ignore[misc]
            maps = maps + mask * change.float()
            found.append(maps * scale)
        return found
