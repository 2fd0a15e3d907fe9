"""What a background removal has left in a local field, told by a network that has seen many heads.

What sources outside leave inside is smooth, so that a whole head on voxels of 4 mm shows nearly all of it. What the
field alone cannot tell (how much of its smooth part the brain itself makes) follows from what brains look like; that is
what is learned. What sources outside cannot make is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from ..background.pdf import pdf
from ..data import Grid
from ..physics.dipole import Dipole
from .turn import Turn
from .unrolled import Denoiser

SPACING_MM = 4.0
LEAST_SHARE = 0.25
"""Coarse voxels that hold less of the mask than this are left out."""
INPUTS = 6
SHAPE = (48, 56, 48)
"""Coarse voxels, of which a head fills a part: a network knows no brain that touches the end of the volume."""
ROOM = 4
PROJECTION = 10
"""Steps by which sources outside are fitted to what a network says; it is smooth, and they get there soon."""


@dataclass(frozen=True)
class BackgroundNetConfig:
    """Architecture: channels of the three levels, the first at half of the coarse resolution."""

    channels: tuple[int, int, int] = (32, 48, 64)


class BackgroundNet(nn.Module):
    """From what is seen of a head (B, 6, X, Y, Z) to what is left of the background (B, 1, X, Y, Z), both relative to
    the size of the local field; sizes must be multiples of 8."""

    multiple = 8

    def __init__(self, config: BackgroundNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or BackgroundNetConfig()
        self.denoiser = Denoiser(INPUTS, self.config.channels, steps=1)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.denoiser(seen, seen.new_zeros(len(seen)), 0)
        return found


@dataclass(frozen=True)
class CoarseHead:
    """A head as `BackgroundNet` sees it, upright, on voxels of about SPACING_MM; volumes (X, Y, Z).

    `share` is how much of each coarse voxel is brain, 0 where that is too little; `size_ppm` is the rms of the field.
    """

    seen: torch.Tensor
    share: torch.Tensor
    size_ppm: float
    turn: Turn
    fine_shape: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        local_ppm: torch.Tensor,
        chi_ppm: torch.Tensor,
        background_ppm: torch.Tensor,
        mask: torch.Tensor,
        grid: Grid,
        weight: torch.Tensor | None = None,
    ) -> CoarseHead:
        """Of a total-field inversion (X, Y, Z): the local field it found, its χ, and the background it took off.

        `weight` in 0 to 1 says how much each voxel's field counts.
        """
        turn = Turn.upright(grid)
        fine = turn.grid(grid)
        inside = turn.there(mask).float()
        counted = inside if weight is None else inside * turn.there(weight)
        shape = coarse_shape(fine)
        share = functional.adaptive_avg_pool3d(inside[None], shape)[0]
        share = share * (share > LEAST_SHARE)
        field, chi, background = (
            coarsely(turn.there(volume), counted, share) for volume in (local_ppm, chi_ppm, background_ppm)
        )
        field = without_mean(field, share)
        size = float(((field * field * share).sum() / share.sum().clamp(min=1e-6)).sqrt().clamp(min=1e-9))
        voxel = [n * v / m for n, v, m in zip(fine.shape, fine.voxel_size_mm, shape, strict=True)]
        coarse = Grid.centred(shape, (voxel[0], voxel[1], voxel[2]), fine.b0_direction)
        there = (share > 0).float()
        seen = torch.stack(
            [
                field / size,
                0.5 * there,
                # What a brain of one χ would make: the direction of B0, as the edge of this head shows it.
                5 * Dipole.of(coarse, share.device).field(share) * there,
                chi / (6 * size),
                share,
                torch.asinh(background / size) / 4,
            ]
        )
        return cls(seen, share, size, turn, fine.shape)

    def relative(self, field_ppm: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """A field on the fine grid as the network is to find it: coarse, without its mean, relative to the head's."""
        field = coarsely(self.turn.there(field_ppm), self.turn.there(mask).float(), self.share)
        return without_mean(field, self.share) / self.size_ppm

    def fine_volume(self, coarse: torch.Tensor) -> torch.Tensor:
        """A coarse volume on the fine grid, linear between the middles of voxels; beyond the brain as at its edge."""
        known = (self.share > 0).float()
        values = coarse * known
        for _ in range(2):
            near = functional.avg_pool3d(known[None], 3, 1, 1)[0]
            grown = functional.avg_pool3d(values[None], 3, 1, 1)[0] / near.clamp(min=1e-6)
            values, known = torch.where(known > 0, values, grown), (near > 0).float()
        fine = functional.interpolate(values[None, None], size=self.fine_shape, mode="trilinear")[0, 0]
        return self.turn.back(fine)


def left_of_background(
    network: nn.Module, head: CoarseHead, mask: torch.Tensor, grid: Grid, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """What of the background is left in the local field of a head: ppm (X, Y, Z), 0 outside `mask`.

    `weight` says how much each voxel counts, as in `pdf`.
    """
    x, y, z = head.share.shape
    found = network(in_the_middle(head.seen)[None])[0, 0].float()
    i, j, k = ((whole - n) // 2 for whole, n in zip(found.shape, (x, y, z), strict=True))
    told = without_mean(found[i : i + x, j : j + y, k : k + z], head.share) * head.size_ppm
    # Whatever the network says, only what sources outside can make of it is believed.
    return pdf(head.fine_volume(told) * mask, mask, grid, weight, PROJECTION) * (mask > 0)


def in_the_middle(volume: torch.Tensor) -> torch.Tensor:
    """(C, X, Y, Z) amid zeros: SHAPE, or what leaves ROOM on all sides and is a multiple of what networks take."""
    pad = []
    for n, least in zip(reversed(volume.shape[1:]), reversed(SHAPE), strict=True):
        size = max(least, BackgroundNet.multiple * -(-(n + 2 * ROOM) // BackgroundNet.multiple))
        pad += [(size - n) // 2, size - n - (size - n) // 2]
    return functional.pad(volume, pad)


def coarse_shape(grid: Grid) -> tuple[int, int, int]:
    """How many voxels of about SPACING_MM fill the grid."""
    x, y, z = (max(1, round(n * v / SPACING_MM)) for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True))
    return x, y, z


def coarsely(volume: torch.Tensor, counted: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Means over each coarse voxel, every fine one as much as it is `counted`; 0 where `share` is."""
    x, y, z = share.shape
    sums, counts = (functional.adaptive_avg_pool3d(v[None], (x, y, z))[0] for v in (volume * counted, counted))
    return sums / counts.clamp(min=1e-6) * (share > 0)


def without_mean(volume: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """The volume less its mean over the brain: no field tells it."""
    mean = (volume * share).sum() / share.sum().clamp(min=1e-6)
    return (volume - mean) * (share > 0)
