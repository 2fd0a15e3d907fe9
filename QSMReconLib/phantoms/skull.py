"""What is around the brain of the phantom: skull, scalp, face, and the air in and around the head that bends B0."""

from __future__ import annotations

import numpy as np

from .._lazy import torch
from ..labels import Label
from .brain import brainstem, cerebellum, cerebrum
from .pose import Pose
from .shapes import ellipsoid, share, tube, union, without
from .space import Position, Space, Waves
from .tissues import AIR, BONE, EYE, FAT, MARROW, SOFT_TISSUE, TISSUES, Canvas, Tissue

LOW, HIGH = (-94.0, -128.0, -150.0), (94.0, 122.0, 104.0)
"""The corners of a box that holds the head down to the neck."""


def draw_head(canvas: Canvas, space: Space, pose: Pose, rng: np.random.Generator, edge_mm: float) -> None:
    """Paint everything around the brain, CSF included."""
    lattice = space.lattice(2.5)
    p = pose.position_mm(lattice)
    x, y, z = p
    side = x.abs()
    cavity = _cavity(p)
    bone_mm = 6.5 + 1.0 * Waves.draw(rng, 60.0).on(lattice)
    skull = cavity - bone_mm
    head = union(skull - (5.5 + 0.8 * Waves.draw(rng, 70.0).on(lattice)), _face_and_neck(p), 14.0)
    eyes = ellipsoid((side, y, z), (31.0, 66.0, -26.0), (12.5, 12.5, 12.5))
    # Bone lies between all air and the brain.
    air = torch.maximum(without(_air(lattice, p, rng), cavity - 1.5), head + 1.0)
    ears = without(tube((side, y, z), [(110.0, -20.0, -40.0), (52.0, -24.0, -38.0)], [3.5, 3.0]), cavity - 1.5)

    def paint(distance: torch.Tensor, tissue: Tissue) -> None:
        canvas.paint(share(distance, edge_mm), tissue)

    head, skull = space.refine(head), space.refine(skull)
    paint(head, FAT)
    paint(head + 2.0, SOFT_TISSUE)
    paint(skull, BONE)
    paint((skull + 3.2).abs() - 1.1, MARROW)
    paint(space.refine(eyes), EYE)
    paint(space.refine(torch.minimum(air, ears)), AIR)
    paint(space.refine(cavity), TISSUES[Label.CSF])


def _cavity(p: Position) -> torch.Tensor:
    """The inside of the skull: a little more than the brain, without its grooves."""
    brain = union(union(cerebrum(p), cerebellum(p), 22.0), brainstem(p), 10.0)
    base = ellipsoid(p, (0.0, -20.0, -16.0), (26.0, 22.0, 22.0))
    canal = tube(p, [(0, -34, -50), (0, -42, -68), (0, -46, -170)], [13.0, 11.0, 9.0])
    return union(union(brain - 3.0, base, 12.0), canal, 8.0)


def _face_and_neck(p: Position) -> torch.Tensor:
    x, y, z = p
    side = x.abs()
    face = ellipsoid(p, (0.0, 38.0, -50.0), (60.0, 58.0, 62.0), 2.3)
    jaw = ellipsoid(p, (0.0, 44.0, -92.0), (44.0, 48.0, 34.0), 2.3)
    nose = tube(p, [(0, 92, -22), (0, 106, -50), (0, 98, -58)], [6.0, 9.0, 9.0])
    neck = tube(p, [(0, -22, -60), (0, -30, -200)], [58.0, 56.0])
    ears = ellipsoid((side, y, z), (86.0, -24.0, -36.0), (6.0, 14.0, 22.0))
    return union(union(union(face, jaw, 16.0), union(nose, neck, 2.0), 8.0), ears, 4.0)


def _air(lattice: Space, p: Position, rng: np.random.Generator) -> torch.Tensor:
    """Sinuses, nose, throat and the cells behind the ears; of another size in every head."""
    x, y, z = p
    side = x.abs()

    def size() -> float:
        return float(np.exp(rng.normal(0.0, 0.15)))

    s = size()
    frontal = ellipsoid((side, y, z), (9.0, 75.0, 0.0), (11.0 * s, 6.0, 11.0 * s))
    s = size()
    sphenoid = ellipsoid(p, (1.5, 17.0, -33.0), (13.0 * s, 11.0 * s, 9.0))
    s = size()
    ethmoid = ellipsoid(p, (0.0, 46.0, -28.0), (11.0, 20.0, 10.0 * s))
    s = size()
    maxillary = ellipsoid((side, y, z), (28.0, 54.0, -54.0), (13.0 * s, 15.0 * s, 15.0 * s))
    nose = ellipsoid(p, (0.0, 64.0, -52.0), (11.0, 34.0, 17.0))
    throat = tube(p, [(0, 26, -52), (0, 10, -72), (0, 4, -100), (0, 2, -170)], [9.0, 9.0, 8.0, 8.0])
    s = size()
    cells = ellipsoid((side, y, z), (55.0, -38.0, -44.0), (10.0 * s, 13.0 * s, 15.0 * s))
    # Bone runs between the cells of the mastoid.
    cells = torch.maximum(cells, 2.0 * Waves.draw(rng, 11.0).on(lattice) - 1.0)
    air = union(union(frontal, sphenoid), union(ethmoid, maxillary))
    return union(union(air, union(nose, throat, 4.0)), cells)
