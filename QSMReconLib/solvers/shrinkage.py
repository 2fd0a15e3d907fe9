"""The total variation's half of an ADMM iteration, computed slab by slab.

The split z = ∇x with the scaled dual u needs, from one iteration to the next, u alone: with v = ∇x + u, u becomes v
clamped to ±threshold, and the other half wants div(z - u) = div(v - 2u). Slabs small enough for the processor's cache
cut the traffic to memory, which is what such an iteration waits for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._lazy import torch

SLAB_BYTES = 2**20
"""Of one component in one slab."""


@dataclass(frozen=True)
class TotalVariation:
    """State and step. `dual` is (3, X, Y, Z) and changes in place; ends are periodic."""

    dual: torch.Tensor
    voxel_size_mm: tuple[float, float, float]
    threshold: float

    @classmethod
    def starting(cls, like: torch.Tensor, voxel_size_mm: Sequence[float], threshold: float) -> TotalVariation:
        """With the dual at zero, for volumes `like` (X, Y, Z). `threshold` is λ/ρ, per mm."""
        x, y, z = voxel_size_mm
        return cls(like.new_zeros((3, *like.shape)), (x, y, z), threshold)

    def step(self, volume: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Update the dual for `volume` (X, Y, Z) and return div(z - u) in `out`."""
        planes = volume.shape[0]
        thickness = planes if volume.is_cuda else max(1, SLAB_BYTES // (4 * volume[0].numel()))
        (hx, hy, hz), carried = self.voxel_size_mm, None
        for first in range(0, planes, thickness):
            slab = volume[first : first + thickness]
            after = volume[first + thickness if first + thickness < planes else 0][None]
            dual = self.dual[:, first : first + thickness]
            vx = torch.cat((slab[1:], after)).sub_(slab).div_(hx).add_(dual[0])
            vy = slab.roll(-1, 1).sub_(slab).div_(hy).add_(dual[1])
            vz = slab.roll(-1, 2).sub_(slab).div_(hz).add_(dual[2])
            for v, u in zip((vx, vy, vz), dual, strict=True):
                torch.clamp(v, -self.threshold, self.threshold, out=u)
                v.sub_(u, alpha=2.0)
            target = out[first : first + thickness]
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
