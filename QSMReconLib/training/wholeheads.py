"""Whole heads of `phantoms`, and what total-field inversion makes of them, for what no region of a head can teach.

Between the heads, more differs than their anatomy: how strong what is around them is against the brain, what else lies
outside, how well the mask ends with the brain and how well the field is known, so that no training knows one skull.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from scipy import ndimage

from ..background.jointfit import TotalFieldInversion
from ..data import FieldNoise, Grid, Mask, TotalField
from ..networks.background import CoarseHead, in_the_middle
from ..phantoms.dataset import tilted_grid
from ..phantoms.head import head
from ..phantoms.scanner import fields
from ..physics.dipole import Dipole
from ..runtime import Runtime
from .shapes import Dice

VIEW_MM = (160.0, 196.0, 168.0)
NOISE_PPB = (0.2, 2.0)
VOXEL_MM = ((0.75, 1.3), (0.75, 1.3), (0.9, 3.2))
"""Range of the finest, the middle and the largest edge."""
MAX_TILT_DEG = 35.0


@dataclass(frozen=True)
class HeadSample:
    """What `BackgroundNet` sees of a head, (6, X, Y, Z), and what it should find (1, X, Y, Z), relative to the field;
    `share` (1, X, Y, Z) is how much of each voxel is brain."""

    seen: torch.Tensor
    left: torch.Tensor
    share: torch.Tensor

    def to(self, device: torch.device) -> HeadSample:
        """The same on a device."""
        return replace(self, **{name: volume.to(device) for name, volume in vars(self).items()})


class WholeHeads:
    """Heads by number: the same seed and number give the same head. Drawing one takes most of a minute on one core."""

    def __init__(self, seed: int = 0, coarser: float = 1.0) -> None:
        """`coarser` makes all voxels larger: for a quick look."""
        self.seed, self.coarser = seed, coarser

    def samples(self, number: int, size: int) -> list[HeadSample]:
        """`size` heads, from `number` on."""
        return [self.sample(number + index) for index in range(size)]

    @torch.no_grad()
    def sample(self, number: int) -> HeadSample:
        """Head `number`."""
        seed = self.seed * 1_000_003 + number
        dice = Dice(seed)
        grid = self._grid(dice)
        drawn = head(
            grid,
            seed,
            ms_lesions=dice.host.randint(0, 12),
            bleeds=dice.host.randint(0, 3),
            calcifications=dice.host.randint(0, 2),
            resolution_mm=self.coarser,
        )
        field = fields(drawn)
        inside = drawn.on_grid(drawn.brain.float()) > 0.5
        own, total = (drawn.on_grid(volume) * inside for volume in (field.local_ppm, field.total_ppm))
        local, around = dice.uniform(0.7, 1.5) * own, dice.spread(0.4, 2.0) * (total - own)
        if dice.chance(0.7):
            around = around + _more_around(dice, inside, grid)
        sigma = 1e-3 * dice.uniform(*NOISE_PPB) * _spoilt(dice, local + around, grid.voxel_size_mm)
        measured = local + around + sigma * dice.normal(*grid.shape)
        mask = _cut(dice, inside, grid.voxel_size_mm)
        return sample_of(grid, measured * mask, local * mask, mask, sigma)

    def _grid(self, dice: Dice) -> Grid:
        """Its voxels, isotropic or thick along the slices, and its tilt."""
        edge = slices = dice.uniform(0.9, 1.3)
        if dice.chance(0.5):
            edge, slices = dice.uniform(0.75, 1.1), dice.uniform(1.8, 3.2)
        edge, slices = self.coarser * edge, self.coarser * slices
        x, y, z = (4 * round(length / v / 4) for length, v in zip(VIEW_MM, (edge, edge, slices), strict=True))
        return tilted_grid(
            (x, y, z), (edge, edge, slices), 0.0 if dice.chance(0.5) else dice.uniform(0.0, MAX_TILT_DEG)
        )


def sample_of(
    grid: Grid, total_ppm: torch.Tensor, local_ppm: torch.Tensor, mask: torch.Tensor, sigma_ppm: torch.Tensor
) -> HeadSample:
    """What total-field inversion makes of a head with a known local field, all (X, Y, Z)."""
    total, noise = TotalField(grid, total_ppm), FieldNoise(grid, sigma_ppm * mask)
    field, fit = TotalFieldInversion().fit(total, Mask(grid, mask), noise, Runtime())
    kept = field.known.mask
    found = (field.field_ppm - fit.background_ppm) * kept
    coarse = CoarseHead.of(found, fit.chi_ppm, fit.background_ppm, kept, field.grid, field.known.weight)
    left = coarse.relative(found - field.box.cut(local_ppm) * kept, kept)
    seen, target, share = (in_the_middle(volume) for volume in (coarse.seen, left[None], coarse.share[None]))
    return HeadSample(seen, target, share)


def _more_around(dice: Dice, inside: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The field in the brain of clouds of sources around it, ppm."""
    far = torch.from_numpy(ndimage.distance_transform_edt(~inside.numpy(), sampling=grid.voxel_size_mm))
    scale = dice.spread(2.0, 12.0)
    cloud = ndimage.gaussian_filter(dice.normal(*grid.shape).numpy(), [scale / v for v in grid.voxel_size_mm])
    sources = torch.from_numpy(cloud / cloud.std())
    if dice.chance(0.5):
        sources = sources.clamp(min=0).square()
    sources = sources * ((far > dice.uniform(0.5, 6.0)) & (far < dice.uniform(15.0, 60.0)))
    field = Dipole.of(grid).field(sources) * inside
    return field * (dice.spread(3e-3, 6e-2) / field[inside].std().clamp(min=1e-9))


def _spoilt(dice: Dice, field_ppm: torch.Tensor, voxel_size_mm: tuple[float, float, float]) -> torch.Tensor:
    """How many times noisier voxels are where the field is steep across them."""
    slopes = []
    for axis in range(3):
        slope = (field_ppm.roll(-1, axis) - field_ppm.roll(1, axis)) / 2
        slopes.append(slope.square() * (max(voxel_size_mm) / voxel_size_mm[axis]))
    rough = dice.uniform(0.0, 1.5) / 0.05 * torch.stack(slopes).sum(0).sqrt()
    return 1 + rough.clamp(max=30.0) ** 1.5


def _cut(dice: Dice, inside: torch.Tensor, voxel_size_mm: tuple[float, float, float]) -> torch.Tensor:
    """A mask that ends inside the brain, or holds only some of its slices, now and then."""
    mask = inside.clone()
    if dice.chance(0.3):
        depth = torch.from_numpy(ndimage.distance_transform_edt(inside.numpy(), sampling=voxel_size_mm))
        mask = depth > dice.uniform(0.5, 2.5)
    if dice.chance(0.15):
        slices = mask.flatten(0, 1).any(0).nonzero().flatten()
        keep = dice.uniform(0.4, 0.85) * len(slices)
        first = int(slices[0]) + math.floor(dice.uniform(0.0, len(slices) - keep))
        mask[:, :, :first] = False
        mask[:, :, first + math.floor(keep) :] = False
    return mask
