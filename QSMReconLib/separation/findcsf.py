"""The fluid in the ventricles, from its slow decay."""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch
from ..data import CsfMask, Mask, R2StarMap
from ..fieldmap.smooth import gaussian_inside
from ..runtime import Runtime
from ..stage import Stage, option
from .relaxivity import check_finite, check_places

PIECES = 3
"""The largest pieces are kept: two lateral ventricles and the third."""


def ventricles(
    r2star_hz: torch.Tensor,
    mask: torch.Tensor,
    voxel_size_mm: Sequence[float],
    limit_hz: float = 5.0,
    radius_mm: float = 30.0,
    smooth_mm: float = 1.0,
    smallest_mm3: float = 500.0,
) -> torch.Tensor:
    """Fluid (X, Y, Z), boolean: R2* below `limit_hz`, after smoothing by `smooth_mm` inside the mask, connected face to
    face, near the middle of the mask; the three largest pieces of at least `smallest_mm3`."""
    import numpy as np
    from scipy import ndimage

    inside = (mask > 0).to(r2star_hz.dtype)
    calm = gaussian_inside(r2star_hz, inside, voxel_size_mm, smooth_mm)
    slow = ((calm < limit_hz) & (inside > 0)).cpu().numpy()
    brain = inside.cpu().numpy() > 0
    if not brain.any():
        return torch.zeros_like(mask, dtype=torch.bool)
    centre = ndimage.center_of_mass(brain)
    away = [((np.arange(n) - c) * v) ** 2 for n, c, v in zip(brain.shape, centre, voxel_size_mm, strict=True)]
    near = away[0][:, None, None] + away[1][None, :, None] + away[2][None, None, :] < radius_mm**2
    pieces, count = ndimage.label(slow & near)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1) * np.prod(voxel_size_mm)
    sizes[0] = 0
    limit = np.sort(sizes)[-PIECES:].min() if count >= PIECES else 0
    kept = (sizes >= max(limit, smallest_mm3)) & (sizes > 0)
    return torch.from_numpy(kept[pieces]).to(mask.device)


class FindCsf(Stage):
    """The ventricles: slow decay, connected, near the middle of the brain.

    As Liu et al. 2018 (doi:10.1002/mrm.26946) find the fluid that a χ map is referenced to.
    """

    limit_hz: float = option(5.0, "Fluid decays more slowly than this", unit="Hz", ge=0.5, le=50)
    radius_mm: float = option(
        30.0, "Ventricles lie within this distance of the brain's centre", unit="mm", ge=5, le=100
    )
    smallest_mm3: float = option(500.0, "Smaller pieces are dropped", unit="mm³", ge=0, le=10000)

    def apply(self, r2star: R2StarMap, mask: Mask, runtime: Runtime) -> CsfMask:
        check_places(mask.grid, r2star)
        check_finite(r2star.kind, r2star.r2star_hz, mask.voxels)
        found = ventricles(
            r2star.r2star_hz,
            mask.voxels,
            mask.grid.voxel_size_mm,
            self.limit_hz,
            self.radius_mm,
            smallest_mm3=self.smallest_mm3,
        )
        if not bool(found.any()):
            runtime.note("No ventricles were found by their slow decay: there is no fluid to hold χ to zero in.")
        return CsfMask(mask.grid, found)
