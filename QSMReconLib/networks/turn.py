"""Turning volumes to the axes that networks know, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import nibabel
import numpy as np
import torch

from ..data import Grid


@dataclass(frozen=True)
class Turn:
    """To and from other axes: `order` says which of the volume's becomes each, `flips` which of these are reversed.

    Convolutions see the difference between axes, so one head would give two maps in two storage orders otherwise.
    """

    order: tuple[int, int, int]
    flips: tuple[int, ...]

    @classmethod
    def of(cls, grid: Grid) -> Turn:
        """B0 mostly along the last axis, and along none backwards: for what knows the physics alone."""
        b0 = [round(c, 6) for c in grid.b0_direction]
        order = sorted(range(3), key=lambda axis: abs(b0[axis]))
        flips = tuple(axis for axis in range(3) if b0[order[axis]] < 0)
        return cls((order[0], order[1], order[2]), flips)

    @classmethod
    def upright(cls, grid: Grid) -> Turn:
        """To the right, to the front and up, as nearly as the voxels lie: for what knows a head."""
        orientation = nibabel.orientations.io_orientation(np.asarray(grid.affine))
        order = np.argsort(orientation[:, 0])
        flips = tuple(axis for axis in range(3) if orientation[order[axis], 1] < 0)
        return cls((int(order[0]), int(order[1]), int(order[2])), flips)

    def there(self, volume: torch.Tensor) -> torch.Tensor:
        return volume.permute(self.order).flip(self.flips)

    def back(self, volume: torch.Tensor) -> torch.Tensor:
        return volume.flip(self.flips).permute(tuple(self.order.index(axis) for axis in range(3)))

    def grid(self, grid: Grid) -> Grid:
        """The turned voxels; where they are in space does not matter to a network."""
        i, j, k = self.order
        shape, voxel, b0 = grid.shape, grid.voxel_size_mm, grid.b0_direction
        x, y, z = (-b0[axis] if to in self.flips else b0[axis] for to, axis in enumerate(self.order))
        return replace(
            grid,
            shape=(shape[i], shape[j], shape[k]),
            voxel_size_mm=(voxel[i], voxel[j], voxel[k]),
            b0_direction=(x, y, z),
        )
