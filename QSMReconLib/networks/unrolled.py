"""An unrolled reconstruction: steps towards the measured field, each followed by a small network, trained as one.

The data term is ‖W(f - D∗χ)‖² with χ zero outside the mask. Its majorise-minimise step fills in the field that was not
measured by that of the present map, and is then solved in closed form (the same bones without the fill-in: LP-CNN, Lai
et al. 2020, arXiv:2008.05024; MoDL, Aggarwal et al. 2019, doi:10.1109/TMI.2018.2865356):
    χ ← χ + β·F⁻¹[D/(D² + μ)·F(W²(f - D∗χ))], then χ ← χ + CNN(χ, the step, the residual, W; noise).
It starts from a few iterations of total variation, so that nothing which needs no learning has to be learned; μ and β
are learned as functions of the noise, which is measured in the field itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from ..physics.fourier import Spectrum
from ..physics.slabs import slabs, slabs_along

HOLD = 2.0
"""How hard the start is held to the mask, against how hard to its differences."""

MOMENTUM = 0.5
"""By what part of its last change the start's filled-in field runs ahead: filling in alone is slow to converge, and
with more than about 0.7 the splitting begins to swing."""

Apply = Callable[[Callable[[torch.Tensor], torch.Tensor], torch.Tensor], torch.Tensor]
"""How a convolutional part is run over a volume (B, C, X, Y, Z): whole, or in tiles."""


def whole(part: Callable[[torch.Tensor], torch.Tensor], volume: torch.Tensor) -> torch.Tensor:
    """The volume in one piece."""
    return part(volume)


def silent() -> None:
    """Called once for every piece of work that is done, where nobody listens."""


@dataclass(frozen=True)
class UnrolledConfig:
    """Architecture: CNN steps, channels of the three levels (the first at half resolution), whether steps share it."""

    steps: int = 3
    channels: tuple[int, int, int] = (48, 64, 96)
    start_steps: int = 16
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


def _scale_and_noise(
    field: torch.Tensor, weight: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The field's size, and its noise relative to that, (B, 1, 1, 1, 1) each."""
    scale = field_scale(field, mask)
    noise = noise_level(field, weight) / scale
    return scale.reshape(-1, 1, 1, 1, 1), noise.reshape(-1, 1, 1, 1, 1)


def total_variation(
    field: torch.Tensor,
    squared: torch.Tensor,
    kernel: torch.Tensor,
    spectrum: Spectrum,
    strength: torch.Tensor,
    iterations: int,
    tick: Callable[[], None] = silent,
) -> torch.Tensor:
    """χ (B, 1, X, Y, Z) of least ½‖W(f - D∗χ)‖² + strength·‖∇χ‖₁, zero where W is, after a few steps of ADMM.

    Bilgic et al. 2014, doi:10.1002/mrm.25029, with the unmeasured field filled in at every step, extrapolated after
    Nesterov, χ held to the mask by a constraint of its own, and a penalty that falls. `squared` is W²; differences are
    between neighbours, over the voxel's edge against the finest.
    """
    box = spectrum.padded
    pad = [n for axis in (2, 1, 0) for n in (0, box[axis] - spectrum.shape[axis])]
    measured, squared = functional.pad(field * squared, pad), functional.pad(squared, pad)
    inside, unmeasured = squared > 0, 1 - squared
    relative = [min(spectrum.voxel_size_mm) / v for v in spectrum.voxel_size_mm]
    turns = zip(relative, spectrum.frequencies(field.device), spectrum.voxel_size_mm, strict=True)
    x, y, z = (r * r * (2 - 2 * torch.cos(2 * math.pi * k * v)) for r, k, v in turns)
    prior = (x + y + z + HOLD).float()
    # Of every splitting its scaled dual, the price; of what they want of χ (the adjoint of split - price) the sum.
    prices = [torch.zeros_like(measured) for _ in range(3)]
    price, wanted = torch.zeros_like(measured), torch.zeros_like(measured)
    chi, filled, explained = measured, measured.clone(), torch.zeros_like(measured)
    for index in range(iterations):
        rho = _penalty(index)
        k = torch.fft.rfftn(filled, dim=(-3, -2, -1)).mul_(kernel)
        k.add_(torch.fft.rfftn(wanted, dim=(-3, -2, -1)), alpha=rho).mul_(1 / (kernel * kernel + rho * prior))
        chi = torch.fft.irfftn(k, s=box, dim=(-3, -2, -1))
        tick()
        if index + 1 == iterations:
            break
        last, explained = explained, torch.fft.irfftn(k.mul_(kernel), s=box, dim=(-3, -2, -1))
        ahead = MOMENTUM if index > 1 else 0.0
        # Scaled prices carry 1/ρ.
        limit, kept = strength / rho, rho / _penalty(index + 1)
        for now, before, free, data, target in slabs(-3, explained, last, unmeasured, measured, filled):
            torch.add(data, torch.lerp(now, before, -ahead).mul_(free), out=target)
        for found, within, paid, sought in slabs(-3, chi, inside, price, wanted):
            paid.add_(found)
            held = paid * within
            paid.sub_(held).mul_(kept)
            torch.sub(held, paid, out=sought).mul_(HOLD)
        for axis, r in zip((-3, -2, -1), relative, strict=True):
            for seen, paid, sought in slabs_along(axis, chi, prices[axis], wanted):
                jump = seen.roll(-1, axis).sub_(seen).mul_(r).add_(paid)
                torch.clamp(jump, -limit, limit, out=paid)
                jump.sub_(paid, alpha=1 + kept)
                paid.mul_(kept)
                sought.add_(jump.roll(1, axis).sub_(jump), alpha=r)
    nx, ny, nz = spectrum.shape
    return chi[..., :nx, :ny, :nz]


def _penalty(index: int) -> float:
    """How hard splits are tied to χ in an iteration."""
    return 0.04 * 0.85**index + 0.004


class Block(nn.Module):
    """Two convolutions around which the input goes unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(torch.relu(self.first(torch.relu(x))))


class Denoiser(nn.Module):
    """A three-level U-Net that works on 2³ neighbourhoods folded into channels; sizes must be multiples of 8.

    Noise and step set the gain and bias of its first features, which reach the output also without passing a
    nonlinearity: from the start it can be the linear filter that the noise asks for. `levels` is how many numbers tell
    of the noise, (B, levels).
    """

    def __init__(
        self, inputs: int, channels: tuple[int, int, int], steps: int, outputs: int = 1, levels: int = 1
    ) -> None:
        super().__init__()
        a, b, c = channels
        self.steps, self.levels = steps, levels
        self.condition = nn.Sequential(nn.Linear(levels + steps, 32), nn.SiLU(), nn.Linear(32, 2 * a))
        self.enter = nn.Conv3d(8 * inputs, a, 3, padding=1)
        self.down1, self.down2 = nn.Conv3d(a, b, 2, 2), nn.Conv3d(b, c, 2, 2)
        self.top, self.middle, self.bottom = Block(a), Block(b), Block(c)
        self.up2, self.up1 = nn.ConvTranspose3d(c, b, 2, 2), nn.ConvTranspose3d(b, a, 2, 2)
        self.middle_out, self.top_out = Block(b), Block(a)
        self.leave = nn.Conv3d(2 * a, 8 * outputs, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, noise: torch.Tensor, step: int) -> torch.Tensor:
        which = torch.zeros(self.steps, device=x.device)
        which[step] = 1.0
        noise = noise.reshape(-1, self.levels)
        known = torch.cat([noise, which.expand(len(noise), -1)], 1)
        x = self.enter(fold(x).contiguous(memory_format=torch.channels_last_3d))
        gain, bias = self.condition(known).to(x.dtype).reshape(len(noise), -1, 1, 1, 1).chunk(2, 1)
        first = x * (1 + gain) + bias
        top = self.top(first)
        middle = self.middle(self.down1(torch.relu(top)))
        bottom = self.bottom(self.down2(torch.relu(middle)))
        middle = self.middle_out(middle + self.up2(torch.relu(bottom)))
        top = self.top_out(top + self.up1(torch.relu(middle)))
        return unfold(self.leave(torch.cat([first, torch.relu(top)], 1)))


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

    inputs = 4
    multiple = 8

    def __init__(self, config: UnrolledConfig | None = None) -> None:
        super().__init__()
        self.config = config or UnrolledConfig()
        steps = self.config.steps
        count = 1 if self.config.shared else steps
        self.denoisers = nn.ModuleList(
            Denoiser(self.inputs, self.config.channels, steps if self.config.shared else 1) for _ in range(count)
        )
        self.mu_at_unit_noise = nn.Parameter(torch.full((steps,), -0.7))
        self.mu_slope = nn.Parameter(torch.full((steps,), 1.0))
        self.trust_at_unit_noise = nn.Parameter(torch.full((steps,), -3.0))
        self.trust_slope = nn.Parameter(torch.full((steps,), -1.5))

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
        """χ in ppm after every step, (B, 1, X, Y, Z) each, from the field in ppm and its weight, 0..1 and 0 outside.

        `kernel` broadcasts over (B, 1, PX, PY, PZ // 2 + 1). Sizes of the volumes must be multiples of `multiple`.
        `start`, where given, is what `start` returns for the same input; `tick` is called after every piece of physics.
        """
        mask = (weight > 0).to(field.dtype)
        scale, noise = _scale_and_noise(field, weight, mask)
        f, squared = field / scale, weight * weight
        chi = (self.start(field, weight, kernel, spectrum, tick) if start is None else start) / scale
        level = torch.log(noise + 0.01)
        found = []
        for step in range(self.config.steps):
            mu = torch.exp(self.mu_at_unit_noise[step] + self.mu_slope[step] * level)
            missing = squared * (f - spectrum.from_k(kernel * spectrum.to_k(chi)))
            tick()
            update = mask * spectrum.from_k(kernel / (kernel * kernel + mu) * spectrum.to_k(missing))
            chi = chi + torch.sigmoid(self.trust_at_unit_noise[step] + self.trust_slope[step] * level) * update
            tick()
            seen = torch.cat([0.2 * chi, update, missing, weight], 1)
            chi = chi + mask * apply(self._denoiser(step, level.flatten()), seen).float()
            found.append(chi * scale)
        return found

    def start(
        self,
        field: torch.Tensor,
        weight: torch.Tensor,
        kernel: torch.Tensor,
        spectrum: Spectrum,
        tick: Callable[[], None] = silent,
    ) -> torch.Tensor:
        """The map (B, 1, X, Y, Z) in ppm from which the steps set out; nothing in it is learned."""
        with torch.no_grad():
            mask = (weight > 0).to(field.dtype)
            scale, noise = _scale_and_noise(field, weight, mask)
            strength = 0.015 + 0.05 * noise.clamp(max=1.0)
            steps = self.config.start_steps
            chi = total_variation(field / scale, weight * weight, kernel, spectrum, strength, steps, tick)
            return chi * mask * scale

    def _denoiser(self, step: int, noise: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        if self.config.shared:
            return lambda seen: self.denoisers[0](seen, noise, step)
        return lambda seen: self.denoisers[step](seen, noise, 0)
