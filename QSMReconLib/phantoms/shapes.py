"""Solids by their signed distance: millimetres to the surface, negative inside. Good near the surface, where it counts.

Positions are three volumes (x, y, z) in millimetres, right, anterior, superior.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .._lazy import torch
from .space import Position

Vector = Sequence[float]


def ellipsoid(p: Position, centre: Vector, radii: Vector, power: float = 2.0) -> torch.Tensor:
    """A (super)ellipsoid with axes along x, y, z; above a `power` of 2 it is boxier.

    The distance is first-order: (k - 1)/|∇k| with k the distance from the centre in units of the surface's.
    """
    parts = [((a - c) / r).abs() for a, c, r in zip(p, centre, radii, strict=True)]
    if power == 2.0:
        k = (parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2).sqrt().clamp_(min=1e-3)
        slope = sum((a / r) ** 2 for a, r in zip(parts, radii, strict=True)) ** 0.5 / k
        return (k - 1) / slope.clamp(min=1 / max(radii))
    k = (parts[0] ** power + parts[1] ** power + parts[2] ** power).pow_(1 / power).clamp_(min=1e-3)
    slope = sum((a ** (power - 1) / r) ** 2 for a, r in zip(parts, radii, strict=True)) ** 0.5 / k ** (power - 1)
    return (k - 1) / slope.clamp(min=1 / max(radii))


def tube(p: Position, points: Sequence[Vector], radii: Sequence[float]) -> torch.Tensor:
    """A tapered tube with round ends through `points`, with a radius at each."""
    distance = None
    for (a, b), (ra, rb) in zip(pairwise(points), pairwise(radii), strict=True):
        axis = [e - s for s, e in zip(a, b, strict=True)]
        length = sum(v * v for v in axis)
        away = [c - s for c, s in zip(p, a, strict=True)]
        along = ((away[0] * axis[0] + away[1] * axis[1] + away[2] * axis[2]) / max(length, 1e-9)).clamp_(0, 1)
        squared = sum((w - along * v) ** 2 for w, v in zip(away, axis, strict=True))
        piece = squared**0.5 - (ra + (rb - ra) * along)
        distance = piece if distance is None else torch.minimum(distance, piece)
    assert distance is not None
    return distance


def union(a: torch.Tensor, b: torch.Tensor, blend_mm: float = 0.0) -> torch.Tensor:
    """Both solids, with the groove between them filled over `blend_mm`."""
    if blend_mm == 0:
        return torch.minimum(a, b)
    overlap = (blend_mm - (a - b).abs()).clamp_(min=0) / blend_mm
    return torch.minimum(a, b) - overlap**2 * (blend_mm / 4)


def without(a: torch.Tensor, b: torch.Tensor, blend_mm: float = 0.0) -> torch.Tensor:
    """The first solid without the second, with the edge rounded over `blend_mm`."""
    return -union(-a, b, blend_mm)


def rotated(
    p: Position, centre: Vector, angle_xy: float = 0.0, angle_yz: float = 0.0, angle_xz: float = 0.0
) -> Position:
    """Positions relative to `centre`, turned by angles (radians) in the three planes, one after the other."""
    x, y, z = (a - c for a, c in zip(p, centre, strict=True))
    x, y = _turn(x, y, angle_xy)
    y, z = _turn(y, z, angle_yz)
    x, z = _turn(x, z, angle_xz)
    return x, y, z


def share(distance: torch.Tensor, edge_mm: float) -> torch.Tensor:
    """How much of a voxel lies inside, 0 to 1: the distance ramped over `edge_mm`."""
    return (0.5 - distance / edge_mm).clamp_(0, 1)


def _turn(a: torch.Tensor, b: torch.Tensor, angle: float) -> tuple[torch.Tensor, torch.Tensor]:
    if angle == 0:
        return a, b
    turn = torch.tensor(angle, dtype=torch.float64)
    cosine, sine = float(turn.cos()), float(turn.sin())
    return cosine * a + sine * b, cosine * b - sine * a
