"""The space that a phantom is drawn in: millimetres on voxel grids of any orientation, and random fields there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lazy import torch

Box = tuple[slice, slice, slice]
Position = tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]
"""Millimetres to the right, to the front and up, as three volumes."""


@dataclass(frozen=True)
class Space:
    """A voxel grid and its place in millimetres: `affine` (4×4) maps voxel indices to right, anterior, superior."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    device: torch.device | str = "cpu"

    @classmethod
    def cube(cls, half_mm: float, step_mm: float, device: torch.device | str = "cpu") -> Space:
        """A cube around 0."""
        n = 2 * round(half_mm / step_mm) + 1
        affine = np.diag([step_mm, step_mm, step_mm, 1.0])
        affine[:3, 3] = -(n - 1) / 2 * step_mm
        return cls((n, n, n), affine, device)

    @property
    def voxel_size_mm(self) -> NDArray[np.float64]:
        """Of the three axes."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def position_mm(self) -> Position:
        """Where each voxel's centre is."""
        volumes = []
        for row in self.affine[:3]:
            x, y, z = (
                torch.arange(n, dtype=torch.float32, device=self.device) * row[i] for i, n in enumerate(self.shape)
            )
            volumes.append((x + row[3])[:, None, None] + y[None, :, None] + z[None, None, :])
        return volumes[0], volumes[1], volumes[2]

    def box(self, low_mm: ArrayLike, high_mm: ArrayLike) -> Box:
        """The smallest box of voxels around a box in millimetres; empty where they do not meet."""
        voxels = (box_corners(low_mm, high_mm) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T
        start = np.clip(np.floor(voxels.min(0)), 0, self.shape).astype(int)
        stop = np.clip(np.ceil(voxels.max(0)) + 1, 0, self.shape).astype(int)
        x, y, z = (slice(int(a), int(max(a, b))) for a, b in zip(start, stop, strict=True))
        return x, y, z

    def part(self, box: Box) -> Space:
        """The space of a box of voxels."""
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ [s.start for s in box]
        x, y, z = (s.stop - s.start for s in box)
        return Space((x, y, z), affine, self.device)

    def split(self, parts: tuple[int, int, int]) -> Space:
        """The space with each voxel cut into equal parts along each axis."""
        affine = self.affine @ np.diag([*(1 / n for n in parts), 1.0])
        affine[:3, 3] -= affine[:3, :3] @ [(n - 1) / 2 for n in parts]
        x, y, z = (size * n for size, n in zip(self.shape, parts, strict=True))
        return Space((x, y, z), affine, self.device)

    def lattice(self, step_mm: float) -> Space:
        """A coarser space with the same corners and steps of at most `step_mm`, or this one where it is coarser.

        What varies smoothly, as signed distances do, is worked out there and brought back by `refine`.
        """
        sizes = [min(n, max(2, int(np.ceil((n - 1) * v / step_mm)) + 1)) for n, v in self._axes()]
        stretch = [(n - 1) / max(m - 1, 1) for (n, _), m in zip(self._axes(), sizes, strict=True)]
        return Space((sizes[0], sizes[1], sizes[2]), self.affine @ np.diag([*stretch, 1.0]), self.device)

    def refine(self, volume: torch.Tensor) -> torch.Tensor:
        """A volume on a lattice of this space, interpolated at this space's voxels."""
        if tuple(volume.shape) == self.shape:
            return volume
        resized = torch.nn.functional.interpolate(volume[None, None], self.shape, mode="trilinear", align_corners=True)
        return resized[0, 0]

    def _axes(self) -> list[tuple[int, float]]:
        return list(zip(self.shape, self.voxel_size_mm.tolist(), strict=True))


@dataclass(frozen=True)
class Waves:
    """A smooth random field of mean 0 and variance 1: a sum of plane waves in all directions.

    It is defined in millimetres: on every grid it is the same field.
    """

    cycles_per_mm: NDArray[np.float64]
    phases_rad: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelength_mm: float, spread: float = 0.35, number: int = 64) -> Waves:
        """Waves whose lengths scatter around `wavelength_mm` by up to the factor e^±`spread`."""
        directions = rng.normal(size=(number, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavelength_mm * np.exp(spread * rng.uniform(-1, 1, number))
        return cls(directions / lengths[:, None], rng.uniform(0, 2 * np.pi, number))

    def on(self, space: Space) -> torch.Tensor:
        """The field at the voxels of a space."""
        # Along a grid's axes a plane wave is a product of three: the sum over waves is then a matrix product.
        k = 2 * np.pi * self.cycles_per_mm @ space.affine[:3]
        turns = [np.exp(1j * np.outer(k[:, i], np.arange(n))) for i, n in enumerate(space.shape)]
        turns[0] *= np.sqrt(2 / len(k)) * np.exp(1j * (k[:, 3] + self.phases_rad))[:, None]
        x, y, z = (torch.as_tensor(t, dtype=torch.complex64, device=space.device) for t in turns)
        planes = x.T[:, None, :] * y.T[None, :, :]
        return planes.real @ z.real - planes.imag @ z.imag

    def at(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The field at single points (N, 3)."""
        angles = 2 * np.pi * points_mm @ self.cycles_per_mm.T + self.phases_rad
        return np.sqrt(2 / len(self.phases_rad)) * np.cos(angles).sum(1)


def box_corners(low: ArrayLike, high: ArrayLike) -> NDArray[np.float64]:
    """The eight corners (8, 3) of a box."""
    ends = np.array([low, high], dtype=float)
    return np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(8, 3)


def sampled(cube: torch.Tensor, step_mm: float, position_mm: Position) -> torch.Tensor:
    """The values of a cube (N, N, N) around 0 with `step_mm` between them, interpolated at `position_mm`."""
    half = (cube.shape[0] - 1) / 2 * step_mm
    x, y, z = position_mm
    points = torch.stack((z, y, x), dim=-1)[None] / half
    values = torch.nn.functional.grid_sample(cube[None, None], points, align_corners=True, padding_mode="reflection")
    return values[0, 0]
