"""The deep nuclei of the phantom, each side a little different."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .._lazy import torch
from ..labels import Label
from .pose import Pose
from .shapes import Vector, ellipsoid, rotated, share, tube, union, without
from .space import Position, Space, Waves
from .tissues import PULVINAR, Canvas, Tissue

Shape = Callable[[Position], "torch.Tensor"]


def draw_nuclei(
    canvas: Canvas,
    space: Space,
    pose: Pose,
    tissues: Mapping[Label, Tissue],
    rng: np.random.Generator,
    edge_mm: float,
) -> None:
    """Paint them over the white matter and the brainstem."""
    pulvinar = PULVINAR.scattered(rng)
    for side in (-1, 1):
        for label, shape, low, high in _SHAPES:
            tissue = pulvinar if shape is _pulvinar else tissues[label]
            _draw(canvas, space, pose, side, shape, (low, high), (tissue.scattered(rng, 0.05), label), rng, edge_mm)


def _draw(
    canvas: Canvas,
    space: Space,
    pose: Pose,
    side: int,
    shape: Shape,
    corners: tuple[Vector, Vector],
    tissue: tuple[Tissue, Label],
    rng: np.random.Generator,
    edge_mm: float,
) -> None:
    shift, size = rng.normal(0, 0.5, 3), float(np.exp(rng.normal(0, 0.04)))
    rough = Waves.draw(rng, 7.0, number=32)
    (x0, *low), (x1, *high) = corners
    across = sorted((side * x0, side * x1))
    corners_mm = [(across[i] + d, *(v + d for v in rest)) for i, (d, rest) in enumerate(((-3, low), (3, high)))]
    box = space.box(*pose.bounds_mm(*corners_mm))
    part = space.part(box)
    if min(part.shape) < 2:
        return
    p = pose.position_mm(part)
    middle = [(a + b) / 2 for a, b in zip(*corners, strict=True)]
    own = (side * p[0], p[1], p[2])
    x, y, z = (m + (v - m - s) / size for v, m, s in zip(own, middle, shift, strict=True))
    distance = shape((x, y, z)) * size + 0.35 * rough.on(part)
    canvas.paint(share(distance, edge_mm), *tissue, box)


def _caudate(p: Position) -> torch.Tensor:
    points = [(12, 18, 1), (13, 15, 8), (14, 5, 15), (17, -8, 20), (20, -22, 20), (26, -35, 13), (31, -36, 1)]
    return tube(p, points, [5.0, 5.6, 4.6, 3.4, 2.4, 1.7, 1.3])


def _putamen(p: Position) -> torch.Tensor:
    q = rotated(p, (25.5, 2.0, 1.0), angle_xy=0.22)
    # Hollow on its inner side, where the pallidum lies.
    return without(
        ellipsoid(q, (0, 0, 0), (6.5, 17.0, 11.0), 2.2), ellipsoid(q, (-8.5, -3.0, -2.0), (6.5, 11.0, 8.0)), 2.0
    )


def _pallidum(p: Position) -> torch.Tensor:
    q = rotated(p, (18.5, -2.5, -1.0), angle_xy=0.35)
    return ellipsoid(q, (0, 0, 0), (4.6, 9.5, 6.5))


def _thalamus(p: Position) -> torch.Tensor:
    q = rotated(p, (11.0, -18.0, 7.0), angle_xy=0.35)
    return ellipsoid(q, (0, 0, 0), (8.0, 14.5, 9.0))


def _pulvinar(p: Position) -> torch.Tensor:
    return ellipsoid(p, (15.0, -28.0, 6.0), (7.0, 6.0, 6.5))


def _red_nucleus(p: Position) -> torch.Tensor:
    return ellipsoid(p, (5.0, -20.5, -9.5), (3.2, 3.4, 4.4))


def _substantia_nigra(p: Position) -> torch.Tensor:
    nigra = ellipsoid(rotated(p, (9.5, -17.0, -13.5), angle_xy=-0.55), (0, 0, 0), (2.0, 6.5, 4.2))
    subthalamic = ellipsoid(rotated(p, (10.5, -13.5, -6.5), angle_xz=0.5), (0, 0, 0), (3.6, 3.4, 1.7))
    return union(nigra, subthalamic)


def _dentate(p: Position) -> torch.Tensor:
    q = rotated(p, (15.0, -57.0, -36.0), angle_xy=0.5, angle_xz=0.3)
    body = ellipsoid(q, (0, 0, 0), (5.0, 8.0, 4.5))
    # A crumpled bag, open towards the middle and the front.
    bag = (body + 0.9 * torch.sin(q[1] * 1.9) * torch.cos(q[2] * 1.6)).abs() - 1.1
    return without(bag, ellipsoid(q, (-5.0, 5.0, 0.0), (4.0, 5.0, 3.0)), 1.0)


_SHAPES: tuple[tuple[Label, Shape, Vector, Vector], ...] = (
    (Label.THALAMUS, _thalamus, (0, -34, -4), (24, -2, 18)),
    (Label.THALAMUS, _pulvinar, (6, -36, -2), (24, -20, 14)),
    (Label.CAUDATE, _caudate, (5, -40, -2), (34, 25, 26)),
    (Label.PALLIDUM, _pallidum, (10, -14, -9), (27, 9, 7)),
    (Label.PUTAMEN, _putamen, (15, -17, -11), (36, 21, 13)),
    (Label.SUBSTANTIA_NIGRA, _substantia_nigra, (3, -25, -19), (17, -8, -3)),
    (Label.RED_NUCLEUS, _red_nucleus, (1, -25, -15), (9, -16, -4)),
    (Label.DENTATE, _dentate, (5, -68, -43), (25, -46, -29)),
)
