"""Spherical means, iterated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._lazy import torch
from ..data import FieldNoise, LocalField, Mask, TotalField
from ..errors import InputError
from ..physics.smv import SphericalMean
from ..runtime import Runtime
from ..stage import Stage, option
from .measured import Measured, no_sphere


def ismv(
    total_ppm: torch.Tensor,
    mask: torch.Tensor,
    voxel_size_mm: Sequence[float],
    radius_mm: float = 5.0,
    iterations: int = 50,
    tolerance: float = 1e-3,
    progress: Callable[[float], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The local field (X, Y, Z) in ppm and the mask where it holds: a sphere's radius inside `mask`.

    The background becomes its own spherical mean, again and again, while the rim of the mask, where no sphere fits,
    keeps the total field as its boundary value (Wen et al. 2014, doi:10.1002/mrm.24998). Ends when it changes by less
    than `tolerance`, relative to the local field, or after `iterations`. Raises InputError where no sphere fits.
    """
    inside = mask > 0
    sphere = SphericalMean.of(mask.shape, voxel_size_mm, radius_mm, mask.device)
    eroded = sphere.fits(inside)
    if not bool(eroded.any()):
        raise InputError(
            f"No sphere of {radius_mm:g} mm radius fits into the mask; choose a smaller radius, or check the mask."
        )
    total = (total_ppm - total_ppm[inside].mean()) * inside
    background = total.clone()
    for iteration in range(iterations):
        change = (sphere(background) - background).mul_(eroded)
        background += change
        left = float(torch.dist(total, background))
        if progress is not None:
            progress((iteration + 1) / iterations)
        if float(change.norm()) <= tolerance * left:
            break
    return total.sub_(background).mul_(eroded), eroded


class Ismv(Stage):
    """Iterative spherical mean value (Wen et al. 2014, doi:10.1002/mrm.24998): a background that is its own spherical
    mean and equals the total field in the rim of the mask.

    The mask shrinks by the radius. Where noise is known, unreliable regions at the edge are cut off before, and
    unreliable voxels inside are bridged.
    """

    radius_mm: float = option(5.0, "Radius of the sphere", unit="mm", ge=1, le=30)
    iterations: int = option(50, "Iterations at most", ge=1, le=10000)
    tolerance: float = option(1e-3, "Stop when the background changes by less, relative to the local field", ge=0, le=1)

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> LocalField:
        field = Measured.of(total, mask, noise)
        local, eroded = ismv(
            field.bridged(),
            field.known.mask,
            field.grid.voxel_size_mm,
            self.radius_mm,
            self.iterations,
            self.tolerance,
            runtime.progress,
        )
        return field.local_field(local, eroded, runtime, no_sphere(self.radius_mm))
