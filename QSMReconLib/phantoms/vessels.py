"""The veins of the phantom: sinuses of the dura, the deep system, and branching veins of the cortex and the medulla."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lazy import torch
from ..labels import Label
from .pose import Pose
from .shapes import share, tube
from .space import Space
from .tissues import TISSUES, Canvas

Points = NDArray[np.float64]

_SAMPLES = 3

_Make = Callable[..., "Vein"]


@dataclass(frozen=True)
class Vein:
    """A smooth tube through points (N, 3) of the head, in mm, with a radius at each and one χ."""

    points_mm: Points
    radii_mm: Points
    para_ppm: float


def draw_veins(canvas: Canvas, space: Space, pose: Pose, rng: np.random.Generator) -> None:
    """Paint a new set of veins over everything else."""
    covered = torch.zeros(space.shape, device=space.device)
    para = torch.zeros_like(covered)
    for vein in grow_veins(rng):
        points = pose.to_scanner_mm(vein.points_mm)
        for (start, end), (thick, thin) in zip(pairwise(points), pairwise(vein.radii_mm), strict=True):
            margin = max(thick, thin) + 1.0 * space.voxel_size_mm.max()
            box = space.box(np.minimum(start, end) - margin, np.maximum(start, end) + margin)
            part = space.part(box)
            if min(part.shape) == 0:
                continue
            # Most veins are thinner than a voxel: what they fill of it is counted, not guessed from the distance.
            fine = part.split((_SAMPLES,) * 3)
            inside = share(tube(fine.position_mm(), [start, end], [thick, thin]), float(fine.voxel_size_mm.max()))
            filled = torch.nn.functional.avg_pool3d(inside[None], _SAMPLES)[0]
            para[box] = torch.where(filled > covered[box], vein.para_ppm, para[box])
            covered[box] = torch.maximum(filled, covered[box])
    canvas.paint(covered, TISSUES[Label.VEIN], Label.VEIN)
    canvas.para_ppm.add_(covered * (para - TISSUES[Label.VEIN].para_ppb * 1e-3))


def grow_veins(rng: np.random.Generator) -> list[Vein]:
    """The veins of one head."""
    chi = float(rng.uniform(0.22, 0.40))

    def vein(points: ArrayLike, radii: ArrayLike, wiggle_mm: float = 0.6) -> Vein:
        smooth = _smooth(np.asarray(points, dtype=float), rng, wiggle_mm)
        radii_mm = np.interp(np.linspace(0, 1, len(smooth)), np.linspace(0, 1, np.size(radii)), np.asarray(radii))
        return Vein(smooth, radii_mm * float(np.exp(rng.normal(0, 0.12))), chi * float(np.exp(rng.normal(0, 0.12))))

    # Above the brain, just outside its surface, which is a little boxier than an ellipse.
    along = [
        (0, -17 + 88.5 * np.sign(np.cos(a)) * abs(np.cos(a)) ** 0.91, 21 + 57 * np.sin(a) ** 0.91)
        for a in np.linspace(0.5, 3.1, 14)
    ]
    veins = [
        vein([*along, (0, -103, 8), (0, -99, -6)], [1.5, 3.0, 4.2], 0.4),
        vein([(0, -42, 8), (0, -62, 4), (0, -80, -1), (0, -98, -6)], [1.5, 1.7, 2.0]),
        vein([(0, -34, 13), (0, -40, 12), (0, -42, 8)], [1.3, 1.5], 0.3),
    ]
    for side in (-1, 1):
        veins += [
            vein(
                [
                    (0, -99, -6),
                    (side * 24, -97, -13),
                    (side * 46, -78, -18),
                    (side * 54, -56, -24),
                    (side * 50, -42, -44),
                ],
                [3.6, 3.2, 3.8],
            ),
            vein([(side * 3, 4, 14), (side * 2, -10, 17), (side * 2, -24, 16), (0, -34, 13)], [0.8, 1.2]),
            vein([(side * 18, -14, 19), (side * 15, -4, 18), (side * 10, 3, 16), (side * 3, 4, 14)], [0.4, 0.8]),
            vein([(side * 5, 20, 4), (side * 3, 12, 8), (side * 3, 4, 14)], [0.4, 0.7]),
            vein(
                [(side * 14, 4, -14), (side * 17, -10, -13), (side * 15, -25, -8), (side * 7, -38, 2), (0, -42, 8)],
                [0.6, 1.3],
            ),
        ]
        for _ in range(int(rng.integers(8, 13))):
            veins += _cortical(rng, side, vein)
        for _ in range(int(rng.integers(6, 11))):
            veins.append(_medullary(rng, side, vein))
    return veins


def _cortical(rng: np.random.Generator, side: int, vein: _Make) -> list[Vein]:
    """A vein that climbs the outside of a hemisphere to the sagittal sinus, and one that joins it on the way."""
    front, drift = rng.uniform(-0.85, 0.8), rng.normal(0, 0.12)
    heights = np.linspace(rng.uniform(0.1, 0.8), 1.5, 7)
    trunk = [_on_hemisphere(side, h, front + drift * i / 6, rng) for i, h in enumerate(heights)]
    thick = rng.uniform(0.7, 1.4)
    joint = int(rng.integers(2, 5))
    away = rng.choice((-1, 1)) * rng.uniform(0.15, 0.3)
    branch = [
        _on_hemisphere(side, heights[joint] - 0.13 * i, front + drift * joint / 6 + away * i / 3, rng)
        for i in (3, 2, 1)
    ]
    return [
        vein(np.array(trunk), [0.5 * thick, thick]),
        vein(np.array([*branch, trunk[joint]]), [0.4 * thick, 0.7 * thick]),
    ]


def _medullary(rng: np.random.Generator, side: int, vein: _Make) -> Vein:
    """A thin vein from the white matter down to the wall of the lateral ventricle."""
    end = np.array([side * rng.uniform(14, 24), rng.uniform(-45, 28), rng.uniform(14, 22)])
    out = np.array([side * rng.uniform(0.3, 1.2), rng.normal(0, 0.35), rng.uniform(0.2, 1.0)])
    reach = rng.uniform(14, 28) / np.linalg.norm(out)
    return vein([end + out * reach * (1 - t) for t in (0.0, 0.35, 0.7, 1.0)], [0.25, rng.uniform(0.4, 0.7)], 1.2)


def _on_hemisphere(side: int, height: float, front: float, rng: np.random.Generator) -> Points:
    """A point near the surface: `height` is an angle from the side (0) to the top (π/2), `front` runs -1 to 1."""
    wide = np.sqrt(max(1 - front**2, 0.05))
    inside = rng.uniform(0.94, 0.985)
    return np.array(
        [
            side * max(66 * inside * wide * np.cos(height), 1.0),
            -17 + 84 * inside * front,
            21 + 53 * inside * wide * np.sin(height),
        ]
    )


def _smooth(points: Points, rng: np.random.Generator, wiggle_mm: float, step_mm: float = 4.0) -> Points:
    """A curve through the points (Catmull and Rom), displaced a little in between."""
    ends = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    curve = []
    for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        n = max(int(np.ceil(np.linalg.norm(c - b) / step_mm)), 1)
        for t in np.arange(n) / n:
            tangents = (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
            curve.append(b + 0.5 * tangents)
    curve.append(points[-1])
    smooth = np.array(curve)
    smooth[1:-1] += rng.normal(0, wiggle_mm, (len(smooth) - 2, 3))
    return smooth
