"""Poisson's equation in a mask, with zero around it, by a hierarchy of grids: a preconditioner for conjugate gradients.

Briggs, Henson and McCormick 2000, doi:10.1137/1.9780898719505. What the fine grid takes hundreds of steps to carry
from one side of a brain to the other, a grid of a few voxels carries at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._lazy import torch

SMOOTHING = 0.8
"""The part of Jacobi's step that takes the roughest errors away fastest."""
SHORTEST = 6
"""No axis is coarsened below this many voxels."""


@dataclass(frozen=True)
class Level:
    """One grid: where its equation holds (X, Y, Z), as numbers 0 and 1, and its voxels' size."""

    inside: torch.Tensor
    voxel_size_mm: tuple[float, ...]

    def apply(self, volume: torch.Tensor) -> torch.Tensor:
        """-∇² of a volume that is zero outside, per mm², inside."""
        return laplacian(volume, self.voxel_size_mm).neg_().mul_(self.inside)

    @property
    def diagonal(self) -> float:
        """What each voxel is multiplied by in its own equation."""
        return 2 * sum(1 / size**2 for size in self.voxel_size_mm)

    def coarser(self) -> Level | None:
        """Half as many voxels along the axes that have the smallest voxels; None where nothing would be left."""
        factors = self.factors
        if any(n < SHORTEST for n, factor in zip(self.inside.shape, factors, strict=True) if factor == 2):
            return None
        # Only where all its parts belong to the mask does a voxel: elsewhere its neighbour is the edge.
        inside = 1 - torch.nn.functional.max_pool3d(1 - _evened(self.inside, factors)[None], factors)[0]
        if not bool(inside.any()):
            return None
        sizes = (size * factor for size, factor in zip(self.voxel_size_mm, factors, strict=True))
        return Level(inside, tuple(sizes))

    @property
    def factors(self) -> tuple[int, ...]:
        """By how much each axis is coarsened next: long voxels wait until the others are as long."""
        least = min(self.voxel_size_mm)
        return tuple(2 if size < 1.5 * least else 1 for size in self.voxel_size_mm)


class Multigrid:
    """About the inverse of `Level.apply` on the first of its levels, symmetric and positive: one V-cycle, a step of
    Jacobi's before and one after each coarser grid."""

    def __init__(self, inside: torch.Tensor, voxel_size_mm: Sequence[float]) -> None:
        level: Level | None = Level(inside.float(), tuple(float(size) for size in voxel_size_mm))
        self.levels: list[Level] = []
        while level is not None:
            self.levels.append(level)
            level = level.coarser()

    def __call__(self, residual: torch.Tensor) -> torch.Tensor:
        return self._cycle(residual, 0)

    def _cycle(self, residual: torch.Tensor, depth: int) -> torch.Tensor:
        level = self.levels[depth]
        step = SMOOTHING / level.diagonal
        found = residual * step
        if depth + 1 == len(self.levels):
            for _ in range(2 * SHORTEST):
                found.sub_(level.apply(found).sub_(residual), alpha=step)
            return found
        rest = restricted(level.apply(found).neg_().add_(residual), level.factors)
        correction = self._cycle(rest.mul_(self.levels[depth + 1].inside), depth + 1)
        found += prolonged(correction, level.factors, residual.shape).mul_(level.inside)
        return found.sub_(level.apply(found).sub_(residual), alpha=step)


def laplacian(field: torch.Tensor, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """Second differences per mm², with zeros around the volume."""
    found = field * (-2 * sum(1 / float(v) ** 2 for v in voxel_size_mm))
    for axis, size in enumerate(voxel_size_mm):
        n, weight = field.shape[axis], 1 / float(size) ** 2
        found.narrow(axis, 0, n - 1).add_(field.narrow(axis, 1, n - 1), alpha=weight)
        found.narrow(axis, 1, n - 1).add_(field.narrow(axis, 0, n - 1), alpha=weight)
    return found


def restricted(volume: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """The volume on the coarser grid: the adjoint of `prolonged`, divided by the number of voxels that become one."""
    coarse = _evened(volume, factors)
    for axis, factor in enumerate(factors):
        if factor == 2:
            even, odd = coarse.unflatten(axis, (-1, 2)).unbind(axis + 1)
            coarse, inner = (even + odd).mul_(3 / 8), even.shape[axis] - 1
            coarse.narrow(axis, 1, inner).add_(odd.narrow(axis, 0, inner), alpha=1 / 8)
            coarse.narrow(axis, 0, inner).add_(even.narrow(axis, 1, inner), alpha=1 / 8)
    return coarse


def prolonged(volume: torch.Tensor, factors: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """The volume (X, Y, Z), zero at its ends, on the finer grid of this shape: linear between the voxels' middles."""
    scale = [float(factor) for factor in factors]
    fine = torch.nn.functional.interpolate(volume[None, None], scale_factor=scale, mode="trilinear")[0, 0]
    x, y, z = shape
    return fine[:x, :y, :z]


def _evened(volume: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """The volume with zeros at its ends until each axis is a multiple of its factor."""
    missing = [-n % factor for n, factor in zip(volume.shape, factors, strict=True)]
    return torch.nn.functional.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]))
