"""The brain of the phantom: hemispheres with a folded cortex, cerebellum, brainstem, ventricles.

Drawn from solids and random fields in millimetres, after the look of an average head; nothing is taken from data.
Coordinates are roughly those of an atlas: x right, y anterior, z superior, 0 near the anterior commissure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .._lazy import torch
from ..labels import Label
from .pose import Pose
from .shapes import ellipsoid, rotated, share, tube, union, without
from .space import Box, Position, Space, Waves, sampled
from .tissues import BRAINSTEM, Canvas, Tissue

LOW, HIGH = (-78.0, -106.0, -80.0), (78.0, 74.0, 80.0)
"""The corners of a box that holds the brain."""

_LATTICE_MM = 2.0


@dataclass(frozen=True)
class Brain:
    """Where the brain is, as signed distances in mm on the voxels of `box`."""

    box: Box
    hull: torch.Tensor
    """To the surface around everything, sulci filled; negative inside."""
    ventricles: torch.Tensor
    """To the wall of the ventricles; negative inside."""
    depth: torch.Tensor
    """From the nearest pial surface into the tissue of the hemispheres, sulci and fissures counted as surface."""


def draw_brain(
    canvas: Canvas, space: Space, pose: Pose, tissues: Mapping[Label, Tissue], rng: np.random.Generator, edge_mm: float
) -> Brain:
    """Paint CSF, grey and white matter on `canvas`, which covers `space`."""
    box = space.box(*pose.bounds_mm(LOW, HIGH))
    part = space.part(box)
    lattice = part.lattice(_LATTICE_MM)
    p = pose.position_mm(lattice)
    low, stem = cerebellum(p), brainstem(p)
    high = without(cerebrum(p), low - 2.0, 3.0)
    hull = part.refine(union(union(high, low, 3.0), stem, 5.0))
    depth = _pial_depth(part, lattice, p, high, rng) - float(rng.uniform(0.0, 0.3))
    thickness = part.refine(2.6 + 0.25 * Waves.draw(rng, 40.0).on(lattice))
    folia = _folia_depth(part, lattice, p, low, rng)
    ventricles = part.refine(_ventricles(p, rng))

    def paint(distance: torch.Tensor, label: Label, tissue: Tissue | None = None) -> None:
        canvas.paint(share(distance, edge_mm), tissue or tissues[label], label, box)

    paint(-depth, Label.GREY_MATTER)
    white = thickness - depth
    paint(white, Label.WHITE_MATTER)
    _paint_tracts(canvas, part, box, share(white + 1.5, 1.0), rng)
    paint(part.refine(stem), Label.WHITE_MATTER, BRAINSTEM.scattered(rng))
    paint(-folia, Label.GREY_MATTER)
    paint(1.4 - folia, Label.WHITE_MATTER)
    paint(ventricles, Label.CSF)
    return Brain(box, hull, ventricles, depth)


def cerebrum(p: Position) -> torch.Tensor:
    """Both hemispheres, without fissures."""
    x, y, z = p
    side = x.abs()
    # Frontal lobes are narrower than parietal ones.
    narrow = side * (1 + 0.0026 * (y + 15).clamp(min=0))
    main = ellipsoid((narrow, y, z), (12.0, -17.0, 21.0), (56.0, 86.0, 54.0), 2.2)
    # The orbital surface and the tentorium bound the lobes from below.
    floor = (
        -15.0 + 0.10 * (y - 20).clamp(min=0) + 0.14 * (-y - 40).clamp(min=0) - 9 * torch.exp(-(((y + 10) / 22) ** 2))
    )
    main = without(main, z - floor, 10.0)
    temporal = ellipsoid(
        rotated((side, y, z), (43.0, -12.0, -21.0), angle_xy=-0.12, angle_yz=0.16), (0, 0, 0), (20.0, 40.0, 20.0), 2.2
    )
    return union(main, temporal, 6.0)


def cerebellum(p: Position) -> torch.Tensor:
    """Both lobes and the vermis, without fissures."""
    x, y, z = p
    lobes = ellipsoid((x.abs(), y, z), (23.0, -62.0, -36.0), (27.0, 24.0, 19.0))
    vermis = ellipsoid(p, (0.0, -62.0, -32.0), (10.0, 21.0, 18.0))
    # Behind, between the lobes, is a notch.
    notch = ellipsoid(p, (0.0, -90.0, -46.0), (4.0, 12.0, 16.0))
    return without(union(lobes, vermis, 6.0), notch, 4.0)


def brainstem(p: Position) -> torch.Tensor:
    """From the midbrain down into the spine."""
    x, y, z = p
    peduncles = tube((x.abs(), y, z), [(14.0, -12.0, -2.0), (7.0, -18.0, -16.0), (6.0, -20.0, -24.0)], [8.0, 7.0, 8.0])
    core = tube(
        p,
        [(0, -22, -2), (0, -30, -16), (0, -29, -32), (0, -35, -50), (0, -42, -66), (0, -46, -110)],
        [11.0, 10.0, 11.0, 8.5, 6.5, 6.0],
    )
    pons = ellipsoid(p, (0.0, -21.0, -31.0), (16.0, 11.0, 13.0))
    arms = tube((x.abs(), y, z), [(8.0, -28.0, -32.0), (18.0, -46.0, -36.0)], [8.0, 7.0])
    return union(union(union(core, pons, 5.0), peduncles, 4.0), arms, 5.0)


def _ventricles(p: Position, rng: np.random.Generator) -> torch.Tensor:
    """Lateral, third and fourth ventricles; larger in some heads, and never quite symmetric."""
    size = float(np.exp(rng.normal(0.0, 0.2)))
    both = None
    for side in (-1, 1):
        own = size * float(np.exp(rng.normal(0, 0.08)))
        q = (side * p[0], p[1], p[2])
        body = tube(
            q,
            [(7, 30, 0), (9, 18, 10), (11, 2, 18), (13, -18, 20), (19, -34, 17), (25, -42, 8)],
            [2.4 * own, 4.0 * own, 3.8 * own, 3.4 * own, 4.0 * own, 4.8 * own],
        )
        occipital = tube(q, [(25, -42, 8), (26, -58, 5), (24, -72, 4)], [4.6 * own, 3.0 * own, 0.8])
        temporal = tube(q, [(25, -42, 8), (34, -34, -6), (36, -20, -14), (32, -10, -18)], [4.0 * own, 2.2, 1.8, 1.2])
        lateral = union(union(body, occipital, 3.0), temporal, 3.0)
        both = lateral if both is None else union(both, lateral)
    assert both is not None
    third = ellipsoid(p, (0.0, -12.0, 0.0), (1.6 * size, 15.0, 10.0))
    foramina = tube((p[0].abs(), p[1], p[2]), [(0, 4, 6), (7, 5, 13)], [1.4, 1.4])
    aqueduct = tube(p, [(0, -26, -3), (0, -33, -14), (0, -40, -26)], [1.0, 0.9, 1.2])
    fourth = ellipsoid(p, (0.0, -43.0, -32.0), (6.0 * size, 4.5, 9.0))
    return union(union(union(union(both, third), foramina), aqueduct), fourth, 2.0)


def _pial_depth(
    space: Space, lattice: Space, p: Position, cerebrum: torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    """Millimetres to the nearest pial surface, positive in tissue: of the hull, the fissures and the sulci.

    A sulcus is a sheet where a random field is zero. The field hardly changes with depth, so that sheets stand upright
    on the surface, and each sheet ends at a depth of its own, around which the cortex bends.
    """
    x, y, z = p
    side = x.abs()
    callosum = -ellipsoid(p, (0.0, -14.0, 4.0), (60.0, 44.0, 24.0), 2.2)
    wobble = 1.2 * Waves.draw(rng, 45.0).on(lattice)
    fissure = _sheet(space, x + wobble * (z / 40).clamp(0, 1), callosum) - 0.4
    # The Sylvian fissure: a sheet rising backwards, as deep as the insula.
    height = 0.92 * (z - (-4.0 - 0.42 * (y - 8)) + 1.5 * wobble)
    sylvian = _sheet(space, height, torch.maximum(38 - side, torch.maximum(y - 22, -44 - y))) - 0.6
    depth = torch.minimum(torch.minimum(space.refine(-cerebrum), fissure), sylvian)
    # The depth of other sulci counts from the surface of the hemisphere, not from the insula.
    from_surface = torch.minimum(-cerebrum, torch.hypot(x, callosum.clamp(min=0)))

    # Towards a line inside each hemisphere the folds of the surface shrink: fields are read where a ray meets a shell.
    inner = (side - 24, y - (-16 + 0.62 * (y + 16)).clamp(-70, 40), z - 14)
    radius = (inner[0] ** 2 + inner[1] ** 2 + inner[2] ** 2).sqrt_().clamp_(min=6.0)
    pull = (46.0 / radius) ** 0.7
    straight = (24 + inner[0] * pull, y - inner[1] + inner[1] * pull, 14 + inner[2] * pull)
    bent = [v + 2.0 * Waves.draw(rng, 24.0).on(lattice) for v in straight]
    folded = (bent[0] * torch.where(x < 0, -1.0, 1.0), bent[1], bent[2])
    for wavelength, deep, scatter, number in ((27.0, 17.0, 3.5, 64), (16.0, 8.0, 2.0, 96)):
        cube = Waves.draw(rng, wavelength, 0.25, number).on(Space.cube(120.0, _LATTICE_MM, space.device))
        past = from_surface - (deep + scatter * Waves.draw(rng, 35.0).on(lattice))
        sulcus = _sheet(space, _to_zero(sampled(cube, _LATTICE_MM, folded), lattice), past) - 0.2
        # The union of tissue-free spaces, blended, rounds the crowns of gyri.
        depth = union(depth, sulcus, 1.5)
    return depth


def _folia_depth(
    space: Space, lattice: Space, p: Position, cerebellum: torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    """The same for the cerebellum, whose sheets are close, thin and lie like the leaves of a book."""
    x, y, z = p
    radius = torch.hypot(y + 52, 0.45 * x.abs())
    leaf = 26 / 4.6 * torch.atan2(z + 36, radius) + 0.26 * Waves.draw(rng, 22.0).on(lattice)
    scale = 4.6 * (torch.hypot(radius, z + 36) / 26).clamp_(0.3, 1.2)
    past = space.refine(-cerebellum - (9.0 + 2.0 * Waves.draw(rng, 12.0).on(lattice))).clamp_(min=0)
    to_leaf = (torch.remainder(space.refine(leaf), 1.0) - 0.5).abs_() * space.refine(scale)
    return union(space.refine(-cerebellum), torch.hypot(to_leaf, past) - 0.15, 1.0)


def _sheet(space: Space, across: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
    """The distance to a sheet from the signed distance `across` it and the distance `past` its end, on a lattice."""
    return torch.hypot(space.refine(across), space.refine(past).clamp_(min=0))


def _to_zero(field: torch.Tensor, space: Space) -> torch.Tensor:
    """Roughly the signed distance to where `field` is zero."""
    slopes = torch.gradient(field, spacing=[float(v) for v in space.voxel_size_mm])
    return field / (slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2).sqrt_().clamp_(min=0.02)


def _paint_tracts(canvas: Canvas, space: Space, box: Box, white: torch.Tensor, rng: np.random.Generator) -> None:
    """Bundles in the white matter with more myelin and less iron than around them, some with sharp edges."""
    for wavelength, sharpness in ((34.0, 1.5), (22.0, 6.0)):
        field = space.refine(Waves.draw(rng, wavelength).on(space.lattice(_LATTICE_MM)))
        bundle = torch.sigmoid((field - 0.8) * sharpness) * white
        canvas.dia_ppm[box] += 0.009 * bundle
        canvas.para_ppm[box] -= 0.003 * bundle
