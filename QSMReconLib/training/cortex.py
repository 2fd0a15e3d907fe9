"""The folded cortex: sheets of fluid between ribbons of grey matter, which the mean of many heads has lost."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from .shapes import Dice, Size, smooth_noise

WAVES = 24
"""Plane waves that a fold is drawn from."""
REACH_MM = 9.0
"""So far around the template's grey matter and fluid there is cortex."""


def fold(dice: Dice, share: torch.Tensor, voxel: Size) -> torch.Tensor:
    """Shares (3, X, Y, Z) of white matter, grey matter and fluid, folded where they are near the cortex.

    A sulcus is a thin sheet of fluid where a random field is zero, grey matter covers both of its sides, and the white
    matter of the gyri is what remains between.
    """
    shape = share.shape[1:]
    distance = distance_to_sheet(dice, shape, voxel, dice.spread(13, 32))
    half = dice.spread(0.1, 1.0) * (1 + 0.5 * smooth_noise(dice, shape, voxel, 15.0)[0]).clamp(min=0)
    thickness = dice.uniform(1.8, 3.4)
    # A border lies somewhere in a voxel, which then holds some of either side.
    edge = dice.uniform(0.6, 1.4) * math.prod(voxel) ** (1 / 3)
    fluid = (0.5 + (half - distance) / edge).clamp(0, 1)
    tissue = (0.5 + (half + thickness - distance) / edge).clamp(0, 1)
    folded = torch.stack([1 - tissue, tissue - fluid, fluid])
    near = _around(1 - share[0], voxel)
    where = ((near - dice.uniform(0.15, 0.45)) * dice.uniform(4, 15)).clamp(0, 1)
    return torch.lerp(share, folded, where)


def distance_to_sheet(dice: Dice, shape: torch.Size, voxel: Size, wavelength_mm: float) -> torch.Tensor:
    """Millimetres (X, Y, Z), never negative and true near by, to where a sum of plane waves is zero."""
    lengths = [2 * math.pi / (wavelength_mm * dice.spread(0.8, 1.25)) for _ in range(WAVES)]
    k = torch.tensor([[length * part for part in dice.direction()] for length in lengths], device=dice.device)
    phases = torch.tensor([dice.uniform(0, 2 * math.pi) for _ in range(WAVES)], device=dice.device)
    steps = [torch.arange(n, device=dice.device) * v for n, v in zip(shape, voxel, strict=True)]
    # Along a grid's axes a plane wave is a product of three: the sum over waves is then a matrix product.
    x, y, z = (torch.exp(1j * k[:, axis, None] * steps[axis]) for axis in range(3))
    planes = torch.einsum("wx,wy->xyw", x * torch.exp(1j * phases)[:, None], y)
    field = (planes @ z).imag
    slopes = [(planes @ (k[:, axis, None] * z)).real for axis in range(3)]
    least = 0.2 * 2 * math.pi / wavelength_mm * WAVES**0.5
    return field.abs() / torch.stack(slopes).norm(dim=0).clamp(min=least)


def _around(cortex: torch.Tensor, voxel: Size) -> torch.Tensor:
    """The mean over a box of about REACH_MM to every side."""
    mean = cortex[None, None]
    for axis, (n, size) in enumerate(zip(cortex.shape, voxel, strict=True)):
        half = max(1, min(round(0.5 * REACH_MM / size), (n - 1) // 2))
        widths, halves = [1, 1, 1], [0, 0, 0]
        widths[axis], halves[axis] = 2 * half + 1, half
        mean = functional.avg_pool3d(mean, widths, 1, halves, count_include_pad=False)
    return mean[0, 0]
