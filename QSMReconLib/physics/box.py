"""The part of a volume that a mask needs: transforms of it cost a fraction of those of the whole field of view."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._lazy import torch
from ..data import Grid
from ..errors import InputError


@dataclass(frozen=True)
class Box:
    """A block of voxels of a larger volume, from `corner` on."""

    corner: tuple[int, int, int]
    shape: tuple[int, int, int]
    whole: tuple[int, int, int]

    @classmethod
    def around(cls, mask: torch.Tensor) -> Box:
        """The smallest box around the voxels of `mask` (X, Y, Z). Raises InputError for an empty mask."""
        inside = mask.bool()
        across = inside.any(2)
        corner, shape = [], []
        for filled in (across.any(1).nonzero(), across.any(0).nonzero(), inside.flatten(0, 1).any(0).nonzero()):
            if filled.numel() == 0:
                raise InputError("The mask is empty: give a mask with the brain in it, or let one be made.")
            first, last = int(filled[0]), int(filled[-1])
            corner.append(first)
            shape.append(last - first + 1)
        x, y, z = mask.shape
        return cls((corner[0], corner[1], corner[2]), (shape[0], shape[1], shape[2]), (x, y, z))

    def cut(self, volume: torch.Tensor) -> torch.Tensor:
        """The box out of (..., X, Y, Z), as a view."""
        for axis, (start, length) in enumerate(zip(self.corner, self.shape, strict=True)):
            volume = volume.narrow(axis - 3, start, length)
        return volume

    def paste(self, part: torch.Tensor) -> torch.Tensor:
        """The whole volume (..., X, Y, Z) with `part` in its box and zeros around."""
        whole = part.new_zeros((*part.shape[:-3], *self.whole))
        self.cut(whole).copy_(part)
        return whole

    def grid(self, grid: Grid) -> Grid:
        """The grid of the box inside `grid`."""
        affine = np.asarray(grid.affine, dtype=float).copy()
        affine[:3, 3] += affine[:3, :3] @ np.asarray(self.corner, dtype=float)
        return replace(grid, shape=self.shape, affine=tuple(tuple(float(v) for v in row) for row in affine))
