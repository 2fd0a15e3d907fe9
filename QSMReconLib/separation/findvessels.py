"""Veins, from what is bright and tubular both in R2* and in χ."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

from .._lazy import torch
from ..data import ChiMap, R2StarMap, VesselMask
from ..fieldmap.smooth import gaussian_inside
from ..runtime import Runtime
from ..stage import Stage, option
from .relaxivity import check_finite, check_places

AROUND_MM = 3.0
"""How far the values of the brain are carried on beyond its edge, so that the edge is none."""


def tubeness(
    volume: torch.Tensor, mask: torch.Tensor, voxel_size_mm: Sequence[float], widths_mm: Sequence[float]
) -> torch.Tensor:
    """How much brighter than its surroundings a tube through each voxel is (X, Y, Z), in the volume's unit.

    From the eigenvalues l1 >= l2 >= l3 of the second derivatives at the scales `widths_mm` (standard deviations), as
    Sato et al. 1998 (doi:10.1016/S1361-8415(98)80009-1) and Frangi et al. 1998 (doi:10.1007/BFb0056195) have it, but
    kept in units: 4σ²·(max(-l2, 0) - max(-l1, 0)), which is the height of a straight tube with a Gaussian profile as
    wide as the scale, and zero for plates, edges and balls. The largest over the scales; zero outside the mask.
    """
    inside = (mask > 0).to(volume.dtype)
    filled = torch.where(inside > 0, volume, gaussian_inside(volume, inside, voxel_size_mm, AROUND_MM))
    best = torch.zeros_like(volume)
    for width in widths_mm:
        smoothed = gaussian_inside(filled, torch.ones_like(filled), voxel_size_mm, width)
        middle, smallest = _two_curvatures(smoothed, voxel_size_mm)
        best = torch.maximum(best, 4 * width**2 * (middle.clamp(min=0) - smallest.clamp(min=0)))
    return best * inside


def _two_curvatures(volume: torch.Tensor, voxel_size_mm: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """The middle and the smallest of the three principal curvatures, per mm², positive on ridges."""
    h = [[volume] * 3 for _ in range(3)]
    for i in range(3):
        h[i][i] = (2 * volume - _next(volume, i, 1) - _next(volume, i, -1)) / voxel_size_mm[i] ** 2
        for j in range(i):
            ahead = _next(_next(volume, i, 1), j, 1) + _next(_next(volume, i, -1), j, -1)
            aside = _next(_next(volume, i, 1), j, -1) + _next(_next(volume, i, -1), j, 1)
            h[i][j] = (aside - ahead) / (4 * voxel_size_mm[i] * voxel_size_mm[j])
    # Eigenvalues of a symmetric 3 × 3 matrix in closed form (Smith 1961, doi:10.1145/355578.366316).
    mean = (h[0][0] + h[1][1] + h[2][2]) / 3
    a, b, c = h[0][0] - mean, h[1][1] - mean, h[2][2] - mean
    d, e, f = h[1][0], h[2][1], h[2][0]
    size = ((a * a + b * b + c * c + 2 * (d * d + e * e + f * f)) / 6).sqrt()
    determinant = a * (b * c - e * e) - d * (d * c - e * f) + f * (d * e - b * f)
    angle = torch.acos((determinant / (2 * size**3).clamp(min=1e-30)).clamp(-1, 1)) / 3
    largest = mean + 2 * size * torch.cos(angle)
    smallest = mean + 2 * size * torch.cos(angle + 2 * pi / 3)
    return 3 * mean - largest - smallest, smallest


def _next(volume: torch.Tensor, axis: int, step: int) -> torch.Tensor:
    """Each voxel's neighbour along an axis; at the end, itself."""
    n = volume.shape[axis]
    at = (torch.arange(n, device=volume.device) + step).clamp(0, n - 1)
    return volume.index_select(axis, at)


def pieces_of(found: torch.Tensor, voxel_size_mm: Sequence[float], smallest_mm3: float) -> torch.Tensor:
    """The voxels (X, Y, Z), boolean, that hang together, corners included, in pieces of at least `smallest_mm3`."""
    import numpy as np
    from scipy import ndimage

    pieces, count = ndimage.label(found.cpu().numpy(), np.ones((3, 3, 3)))
    kept = np.bincount(pieces.ravel(), minlength=count + 1) * np.prod(voxel_size_mm) >= smallest_mm3
    kept[0] = False
    return torch.from_numpy(kept[pieces]).to(found.device)


class FindVessels(Stage):
    """Veins: tubes that are bright both in R2* and in χ, at several widths (Frangi et al. 1998,
    doi:10.1007/BFb0056195).

    A voxel counts where the two contrasts, each relative to its option, have a geometric mean above 1.
    """

    chi_ppm: float = option(0.05, "Contrast in χ that tells a vein", unit="ppm", ge=0.001, le=1)
    r2star_hz: float = option(6.0, "Contrast in R2* that tells a vein", unit="Hz", ge=0.1, le=500)
    widths_mm: tuple[float, ...] = option(
        (0.6, 1.0), "Half-widths looked for: standard deviations of the profile", unit="mm", ge=0.2, le=10
    )
    smallest_mm3: float = option(10.0, "Smaller pieces are dropped", unit="mm³", ge=0, le=1000)

    def apply(self, r2star: R2StarMap, chi: ChiMap, runtime: Runtime) -> VesselMask:
        check_places(chi.grid, r2star)
        check_finite(r2star.kind, r2star.r2star_hz, chi.mask)
        voxel = chi.grid.voxel_size_mm
        in_chi = tubeness(chi.chi_ppm, chi.mask, voxel, self.widths_mm) / self.chi_ppm
        runtime.progress(0.4)
        in_decay = tubeness(r2star.r2star_hz, chi.mask, voxel, self.widths_mm) / self.r2star_hz
        runtime.progress(0.8)
        return VesselMask(chi.grid, pieces_of(in_chi * in_decay > 1, voxel, self.smallest_mm3))
