"""A simulated head of our own: soft-edged anatomy with known χ, on any grid, another one for every seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._lazy import torch
from ..data import Grid
from ..errors import InputError
from ..labels import Label
from . import skull
from .brain import draw_brain
from .lesions import Lesion, draw_lesions
from .nuclei import draw_nuclei
from .pose import Pose
from .space import Box, Space, Waves, box_corners
from .tissues import TISSUES, Canvas
from .vessels import draw_veins


@dataclass(frozen=True)
class Head:
    """The tissue of a head, on voxels that are `samples` times finer than those of `grid` along each axis.

    The volumes cover `space`, which holds the whole head: air and bone outside the field of view bend B0 in it.
    `view` is the part of them that `grid` covers. χ_para and χ_dia (positive) are in ppm against water and zero
    outside the brain, where `tissue.bulk_ppm` holds χ.
    """

    grid: Grid
    samples: tuple[int, int, int]
    space: Space
    view: Box
    tissue: Canvas
    brain: torch.Tensor
    """Whether a voxel of `space` is brain; all the fine voxels of one of the grid's agree."""
    lesions: tuple[Lesion, ...]
    lesion_numbers: torch.Tensor

    def on_grid(self, volume: torch.Tensor) -> torch.Tensor:
        """The mean of a volume (X, Y, Z, of `space` or of its `view`) over each voxel of the grid."""
        seen = volume[self.view] if tuple(volume.shape) == self.space.shape else volume
        return torch.nn.functional.avg_pool3d(seen[None], self.samples)[0]

    def labels_on_grid(self, labels: torch.Tensor) -> torch.Tensor:
        """The label that most of a voxel of the grid has."""
        (x, y, z), (a, b, c) = self.grid.shape, self.samples
        parts = labels[self.view].reshape(x, a, y, b, z, c).permute(0, 2, 4, 1, 3, 5).reshape(x, y, z, a * b * c)
        return parts.mode(dim=-1).values


def head(
    grid: Grid,
    seed: int = 0,
    *,
    ms_lesions: int = 12,
    bleeds: int = 3,
    calcifications: int = 2,
    resolution_mm: float = 1.0,
    device: torch.device | str = "cpu",
) -> Head:
    """The head of a seed, in the middle of the grid's field of view, upright in the scanner.

    Shapes, sizes, positions, folds, veins and tissues vary with `seed` and are the same on every grid. Voxels longer
    than `resolution_mm` are drawn in parts, so that thick slices hold what they would hold. Raises InputError for a
    grid that is not orthogonal, and where lesions find no room.
    """
    affine = np.asarray(grid.affine)
    columns = affine[:3, :3] / grid.voxel_size_mm
    if np.abs(columns.T @ columns - np.eye(3)).max() > 1e-3:
        raise InputError("The phantom needs a grid with right angles between its axes.")
    rng = np.random.default_rng(seed)
    centre = affine[:3, :3] @ [(n - 1) / 2 for n in grid.shape] + affine[:3, 3]
    pose = Pose.draw(rng, centre + rng.normal(0, 2.0, 3))
    samples, space, view = _space(grid, pose, resolution_mm, device)
    edge_mm = float(np.prod(space.voxel_size_mm) ** (1 / 3))

    canvas = Canvas.blank(space.shape, device)
    tissues = {label: tissue.scattered(rng) for label, tissue in TISSUES.items()}
    skull.draw_head(canvas, space, pose, rng, edge_mm)
    brain = draw_brain(canvas, space, pose, tissues, rng, edge_mm)
    draw_nuclei(canvas, space, pose, tissues, rng, edge_mm)
    _texture(canvas, space.part(brain.box), brain.box, rng)
    lesions, numbers = draw_lesions(canvas, space, pose, brain, (ms_lesions, bleeds, calcifications), rng, edge_mm)
    draw_veins(canvas, space, pose, rng)

    hull = torch.zeros(space.shape, dtype=torch.bool, device=device)
    hull[brain.box] = brain.hull < 0.5
    mask = torch.zeros_like(hull)
    most = torch.nn.functional.avg_pool3d(hull[view].float()[None], samples)[0] >= 0.5
    for axis, n in enumerate(samples):
        most = most.repeat_interleave(n, dim=axis)
    mask[view] = most
    canvas.labels[(canvas.labels == 0) & mask] = int(Label.CSF)
    canvas.labels[~mask] = 0
    numbers[~mask] = 0
    return Head(grid, samples, space, view, canvas, mask, lesions, numbers)


def _space(
    grid: Grid, pose: Pose, resolution_mm: float, device: torch.device | str
) -> tuple[tuple[int, int, int], Space, Box]:
    """The fine space around field of view and head, and the view in it."""
    coarse = Space(grid.shape, np.asarray(grid.affine), device)
    low, high = pose.bounds_mm(skull.LOW, skull.HIGH)
    voxels = (box_corners(low, high) - coarse.affine[:3, 3]) @ np.linalg.inv(coarse.affine[:3, :3]).T
    start = np.minimum(np.floor(voxels.min(0)), 0).astype(int)
    stop = np.maximum(np.ceil(voxels.max(0)) + 1, grid.shape).astype(int)
    affine = coarse.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    a, b, c = (max(1, round(v / resolution_mm)) for v in grid.voxel_size_mm)
    x, y, z = (int(n) for n in stop - start)
    view = tuple(
        slice(-int(s) * n, (-int(s) + size) * n) for s, n, size in zip(start, (a, b, c), grid.shape, strict=True)
    )
    return (a, b, c), Space((x, y, z), affine, device).split((a, b, c)), (view[0], view[1], view[2])


def _texture(canvas: Canvas, space: Space, box: Box, rng: np.random.Generator) -> None:
    """No tissue is the same everywhere: all properties drift and mottle a little."""
    lattice = space.lattice(2.0)
    for volume, amount in ((canvas.para_ppm, 0.09), (canvas.dia_ppm, 0.07), (canvas.r2_hz, 0.04), (canvas.r1_hz, 0.02)):
        drift, mottle = Waves.draw(rng, 35.0).on(lattice), Waves.draw(rng, 9.0, number=96).on(lattice)
        volume[box] *= space.refine(1 + amount * (0.7 * drift + 0.7 * mottle)).clamp_(0.6, 1.4)
