"""An unrolled reconstruction: steps towards the measured field, each followed by a small network, trained as one.

The data term is ‖W(f - D∗χ)‖² with χ zero outside the mask. Its majorise-minimise step fills in the field that was not
measured by that of the present map, and is then solved in closed form (the same bones without the fill-in: LP-CNN, Lai
et al. 2020, arXiv:2008.05024; MoDL, Aggarwal et al. 2019, doi:10.1109/TMI.2018.2865356):
    χ ← χ + F⁻¹[D/(D² + μ)·F(W²(f - D∗χ))], then χ ← χ + CNN(χ, the step, the residual, W, noise).
μ is learned as a function of the noise, which is measured in the field itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..physics.fourier import Spectrum

Apply = Callable[[Callable[[torch.Tensor], torch.Tensor], torch.Tensor], torch.Tensor]
"""How a convolutional part is run over a volume (B, C, X, Y, Z): whole, or in tiles."""


def whole(part: Callable[[torch.Tensor], torch.Tensor], volume: torch.Tensor) -> torch.Tensor:
    """The volume in one piece."""
    return part(volume)


@dataclass(frozen=True)
class UnrolledConfig:
    """Architecture: CNN steps, channels of the three levels (the first at half resolution), whether steps share it."""

    steps: int = 4
    channels: tuple[int, int, int] = (32, 64, 96)
    start_steps: int = 3
    start_mu: float = 0.03
    shared: bool = True


def field_scale(field: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A robust size (B,) of fields (B, 1, X, Y, Z) inside their masks: 1.48·MAD, but at least a fifth of the rms."""
    sizes = []
    for f, m in zip(field, mask, strict=True):
        inside = f[m > 0].float()
        middle = inside.median()
        robust = 1.4826 * (inside - middle).abs().median()
        sizes.append(torch.maximum(robust, 0.2 * (inside - middle).square().mean().sqrt()))
    return torch.stack(sizes).clamp(min=1e-9)


def noise_level(field: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """σ (B,) of the voxels of weight 1, from the finest diagonal differences of (B, 1, X, Y, Z).

    Of a field without noise it measures the finest detail, which is small against any noise that matters.
    """
    levels = []
    for f, w in zip(field[:, 0].float(), weight[:, 0], strict=True):
        there = (w > 0).float()
        difference = f
        for axis in range(3):
            n = f.shape[axis]
            difference = difference.narrow(axis, 1, n - 1) - difference.narrow(axis, 0, n - 1)
            there = there.narrow(axis, 1, n - 1) * there.narrow(axis, 0, n - 1)
        x, y, z = difference.shape
        seen = (difference * w[:x, :y, :z])[there > 0].abs()
        levels.append(seen.median() / (0.6745 * math.sqrt(8)) if seen.numel() else f.new_tensor(0.0))
    return torch.stack(levels)


class Block(nn.Module):
    """Two convolutions around which the input goes unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(torch.relu(self.first(torch.relu(x))))


class Denoiser(nn.Module):
    """A three-level U-Net that works on 2³ neighbourhoods folded into channels; sizes must be multiples of 8."""

    def __init__(self, inputs: int, channels: tuple[int, int, int], steps: int) -> None:
        super().__init__()
        a, b, c = channels
        self.enter = nn.Conv3d(8 * inputs, a, 3, padding=1)
        self.step_gain = nn.Parameter(torch.ones(steps, a))
        self.step_bias = nn.Parameter(torch.zeros(steps, a))
        self.down1, self.down2 = nn.Conv3d(a, b, 2, 2), nn.Conv3d(b, c, 2, 2)
        self.top, self.middle, self.bottom = Block(a), Block(b), Block(c)
        self.up2, self.up1 = nn.ConvTranspose3d(c, b, 2, 2), nn.ConvTranspose3d(b, a, 2, 2)
        self.middle_out, self.top_out = Block(b), Block(a)
        self.leave = nn.Conv3d(a, 8, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor:
        x = self.enter(fold(x).contiguous(memory_format=torch.channels_last_3d))
        gain = self.step_gain[step].to(x.dtype).reshape(1, -1, 1, 1, 1)
        top = self.top(x * gain + self.step_bias[step].to(x.dtype).reshape(1, -1, 1, 1, 1))
        middle = self.middle(self.down1(torch.relu(top)))
        bottom = self.bottom(self.down2(torch.relu(middle)))
        middle = self.middle_out(middle + self.up2(torch.relu(bottom)))
        return unfold(self.leave(torch.relu(self.top_out(top + self.up1(torch.relu(middle))))))


def fold(x: torch.Tensor) -> torch.Tensor:
    """(B, C, 2X, 2Y, 2Z) as (B, 8C, X, Y, Z)."""
    b, c, x2, y2, z2 = x.shape
    x = x.reshape(b, c, x2 // 2, 2, y2 // 2, 2, z2 // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, 8 * c, x2 // 2, y2 // 2, z2 // 2)


def unfold(x: torch.Tensor) -> torch.Tensor:
    """The inverse of `fold`."""
    b, c8, nx, ny, nz = x.shape
    x = x.reshape(b, c8 // 8, 2, 2, 2, nx, ny, nz)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c8 // 8, 2 * nx, 2 * ny, 2 * nz)


class Unrolled(nn.Module):
    """The whole reconstruction, from field to χ; a field c times as large gives a map c times as large."""

    inputs = 5
    multiple = 8

    def __init__(self, config: UnrolledConfig | None = None) -> None:
        super().__init__()
        self.config = config or UnrolledConfig()
        steps = self.config.steps
        count = 1 if self.config.shared else steps
        self.denoisers = nn.ModuleList(
            Denoiser(self.inputs, self.config.channels, steps if self.config.shared else 1) for _ in range(count)
        )
        self.mu_at_unit_noise = nn.Parameter(torch.full((steps,), -1.9))
        self.mu_slope = nn.Parameter(torch.full((steps,), 0.57))

    def forward(
        self,
        field: torch.Tensor,
        weight: torch.Tensor,
        kernel: torch.Tensor,
        spectrum: Spectrum,
        apply: Apply = whole,
    ) -> list[torch.Tensor]:
        """χ in ppm after every step, (B, 1, X, Y, Z) each, from the field in ppm and its weight, 0..1 and 0 outside.

        `kernel` broadcasts over (B, 1, PX, PY, PZ // 2 + 1). Sizes of the volumes must be multiples of `multiple`.
        """
        mask = (weight > 0).to(field.dtype)
        scale = field_scale(field, mask).reshape(-1, 1, 1, 1, 1)
        noise = torch.log(noise_level(field, weight).reshape(-1, 1, 1, 1, 1) / scale + 0.01)
        f, squared = field / scale, weight * weight
        chi = self._start(f, squared, mask, kernel, spectrum)
        found = []
        for step in range(self.config.steps):
            mu = torch.exp(self.mu_at_unit_noise[step] + self.mu_slope[step] * noise)
            missing = squared * (f - spectrum.from_k(kernel * spectrum.to_k(chi)))
            update = mask * spectrum.from_k(kernel / (kernel * kernel + mu) * spectrum.to_k(missing))
            chi = chi + update
            seen = torch.cat([0.2 * chi, update, missing, weight, 0.5 * noise * mask], 1)
            chi = chi + mask * apply(self._denoiser(step), seen).float()
            found.append(chi * scale)
        return found

    def _start(
        self, f: torch.Tensor, squared: torch.Tensor, mask: torch.Tensor, kernel: torch.Tensor, spectrum: Spectrum
    ) -> torch.Tensor:
        """A few steps without a network; nothing in them is learned."""
        with torch.no_grad():
            inverse = kernel / (kernel * kernel + self.config.start_mu)
            chi = torch.zeros_like(f)
            for index in range(self.config.start_steps):
                missing = f if index == 0 else f - spectrum.from_k(kernel * spectrum.to_k(chi))
                chi = chi + mask * spectrum.from_k(inverse * spectrum.to_k(squared * missing))
        return chi

    def _denoiser(self, step: int) -> Callable[[torch.Tensor], torch.Tensor]:
        if self.config.shared:
            return lambda seen: self.denoisers[0](seen, step)
        return lambda seen: self.denoisers[step](seen, 0)
