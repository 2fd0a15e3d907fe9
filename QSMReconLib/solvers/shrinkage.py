"""The total variation's half of an ADMM iteration, computed slab by slab.

The split z = ∇x with the scaled dual u needs, from one iteration to the next, u alone: with v = ∇x + u, u becomes v
clamped to ±threshold, and the other half wants div(z - u) = div(v - 2u).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._lazy import torch
from ..physics.differences import laplacian_spectrum
from ..physics.fourier import Spectrum
from ..physics.slabs import thickness


@dataclass(frozen=True)
class TotalVariation:
    """State and step. `dual` is (3, X, Y, Z) and changes in place; ends are periodic. `weight` (3, X, Y, Z), where
    there is one, makes differences count more or less; a boolean one, whether they count."""

    dual: torch.Tensor
    voxel_size_mm: tuple[float, float, float]
    threshold: float
    weight: torch.Tensor | None = None

    @classmethod
    def starting(
        cls,
        shape: Sequence[int],
        voxel_size_mm: Sequence[float],
        threshold: float,
        device: torch.device | str = "cpu",
        weight: torch.Tensor | None = None,
    ) -> TotalVariation:
        """With the dual at zero, for volumes of `shape` (X, Y, Z). `threshold` is λ/ρ, per mm."""
        x, y, z = voxel_size_mm
        return cls(torch.zeros((3, *shape), device=device), (x, y, z), threshold, weight)

    def curvature(self, spectrum: Spectrum, device: torch.device | str) -> torch.Tensor:
        """The half-spectrum of -div∘grad."""
        return laplacian_spectrum(spectrum, device)

    def step(self, volume: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Update the dual for `volume` (X, Y, Z) and return div(z - u) in `out`."""
        planes, thick = volume.shape[0], thickness(volume, 0)
        (hx, hy, hz), carried = self.voxel_size_mm, None
        for first in range(0, planes, thick):
            slab = volume[first : first + thick]
            after = volume[first + thick if first + thick < planes else 0][None]
            dual = self.dual[:, first : first + thick]
            vx = torch.cat((slab[1:], after)).sub_(slab).div_(hx).add_(dual[0])
            vy = slab.roll(-1, 1).sub_(slab).div_(hy).add_(dual[1])
            vz = slab.roll(-1, 2).sub_(slab).div_(hz).add_(dual[2])
            for axis, (v, u) in enumerate(zip((vx, vy, vz), dual, strict=True)):
                if self.weight is None:
                    torch.clamp(v, -self.threshold, self.threshold, out=u)
                else:
                    limit = self.weight[axis, first : first + thick] * self.threshold
                    torch.clamp(v, -limit, limit, out=u)
                v.sub_(u, alpha=2.0)
            target = out[first : first + thick]
            torch.sub(vz, vz.roll(1, 2), out=target).mul_(hy / hz)
            target.add_(vy).sub_(vy.roll(1, 1)).mul_(hx / hy)
            target.add_(vx)
            target[1:].sub_(vx[:-1])
            if carried is not None:
                target[0].sub_(carried)
            target.mul_(1 / hx)
            carried = vx[-1]
        if carried is not None:
            out[0].sub_(carried, alpha=1 / hx)
        return out
