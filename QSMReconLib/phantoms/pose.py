"""How one head differs from the next: its size, its tilt and a smooth warp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .space import Position, Space, Waves, box_corners


@dataclass(frozen=True)
class Pose:
    """From where a voxel is in the scanner to where it is in the head that the shapes were drawn for."""

    matrix: NDArray[np.float64]
    shift_mm: NDArray[np.float64]
    warp: tuple[Waves, Waves, Waves]
    warp_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, centre_mm: tuple[float, float, float]) -> Pose:
        """Of a head with the middle of its brain at `centre_mm`, a little turned."""
        size = 0.94 * np.exp(rng.normal(0, 0.03)) * np.exp(rng.normal(0, 0.02, 3))
        angles = np.deg2rad(rng.normal(0, (4.0, 1.5, 2.0)))
        turn = np.eye(3)
        for axis, angle in enumerate(angles):
            a, b = (axis + 1) % 3, (axis + 2) % 3
            about = np.eye(3)
            about[a, a] = about[b, b] = np.cos(angle)
            about[a, b], about[b, a] = -np.sin(angle), np.sin(angle)
            turn = about @ turn
        matrix = turn / size[:, None]
        warp = (Waves.draw(rng, 70.0, number=24), Waves.draw(rng, 70.0, number=24), Waves.draw(rng, 70.0, number=24))
        return cls(matrix, np.array(_MIDDLE) - matrix @ np.array(centre_mm), warp, float(rng.uniform(0.6, 1.4)))

    def position_mm(self, space: Space) -> Position:
        """Where the voxels of a space lie in the head."""
        there = np.eye(4)
        there[:3, :3], there[:3, 3] = self.matrix, self.shift_mm
        x, y, z = Space(space.shape, there @ space.affine, space.device).position_mm()
        bent = [self.warp_mm * waves.on(space) for waves in self.warp]
        return x + bent[0], y + bent[1], z + bent[2]

    def to_scanner_mm(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Where points of the head (N, 3) are in the scanner."""
        back = np.linalg.inv(self.matrix).T
        points = np.asarray(points_mm, dtype=float) - self.shift_mm
        found = points @ back
        for _ in range(4):  # The warp is small and smooth: a few rounds bring it under a hundredth of a millimetre.
            found = (points - self.warp_mm * np.stack([w.at(found) for w in self.warp], axis=1)) @ back
        return found

    def bounds_mm(
        self, low_mm: Sequence[float], high_mm: Sequence[float]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The corners, in the scanner, of a box around a box in the head."""
        there = (box_corners(low_mm, high_mm) - self.shift_mm) @ np.linalg.inv(self.matrix).T
        margin = 3 * self.warp_mm
        return there.min(0) - margin, there.max(0) + margin


_MIDDLE = (0.0, -17.0, 13.0)
"""Of the brain, in the head."""
