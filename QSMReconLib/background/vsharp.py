"""Spherical means of varying radius."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._lazy import torch
from ..data import FieldNoise, LocalField, Mask, TotalField
from ..errors import InputError
from ..physics.fourier import Spectrum
from ..physics.smv import SphericalMean
from ..runtime import Runtime
from ..stage import Stage, option
from .measured import Measured, no_sphere


def vsharp(
    total_ppm: torch.Tensor,
    mask: torch.Tensor,
    voxel_size_mm: Sequence[float],
    radii_mm: Sequence[float],
    threshold: float = 0.05,
    progress: Callable[[float], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The local field (X, Y, Z) in ppm and the mask where it holds: the smallest radius inside `mask`.

    Each voxel's deviation from the mean around it is taken with the largest sphere that fits there, and deconvolved by
    the largest of all, whose transform is taken as 0 where it is smaller than `threshold` (Wu et al. 2012,
    doi:10.1002/mrm.23000). Raises InputError where no sphere fits into the mask.
    """
    inside = mask > 0
    largest = max(radii_mm)
    spectrum = Spectrum.of(mask.shape, voxel_size_mm, largest + max(voxel_size_mm))
    total = (total_ppm - total_ppm[inside].mean()) * inside
    total_k, mask_k = spectrum.to_k(total), spectrum.to_k(inside.float())
    deviation = torch.zeros_like(total)
    reached = torch.zeros_like(inside)
    inverse = None
    for count, radius in enumerate(sorted(radii_mm, reverse=True)):
        sphere = SphericalMean.of(mask.shape, voxel_size_mm, radius, mask.device, spectrum)
        fits = sphere.fits(inside, mask_k)
        fresh = fits & ~reached
        deviation = torch.where(fresh, total - spectrum.from_k(total_k * sphere.mean_kernel), deviation)
        reached |= fits
        if inverse is None:
            response = 1 - sphere.mean_kernel
            inverse = torch.where(response.abs() < threshold, 0.0, 1 / response)
        if progress is not None:
            progress((count + 1) / (len(radii_mm) + 1))
    if inverse is None or not bool(reached.any()):
        raise InputError(
            f"No sphere of {min(radii_mm, default=0):g} mm radius fits into the mask; choose a smaller radius, "
            "or check the mask."
        )
    return spectrum.from_k(spectrum.to_k(deviation).mul_(inverse)) * reached, reached


class Vsharp(Stage):
    """SHARP with varying radius (Wu et al. 2012, doi:10.1002/mrm.23000): large spheres inside, small ones at the edge.

    The mask shrinks by the smallest radius that reaches beyond the neighbouring voxel. Where noise is known, unreliable
    regions at the edge are cut off before, and unreliable voxels inside are bridged.
    """

    largest_mm: float = option(12.0, "Largest radius", unit="mm", ge=1, le=20)
    smallest_mm: float = option(1.0, "Smallest radius (at least one voxel is taken)", unit="mm", ge=0.5, le=20)
    step_mm: float = option(1.0, "Step between radii", unit="mm", ge=0.25, le=10)
    threshold: float = option(0.05, "Where the largest sphere's response is smaller, nothing is kept", ge=0.0, le=0.5)

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> LocalField:
        field = Measured.of(total, mask, noise)
        grid = field.grid
        smallest = max(self.smallest_mm, *grid.voxel_size_mm)
        if smallest > self.largest_mm:
            raise InputError(
                f"The largest radius, {self.largest_mm:g} mm, is below the smallest, {smallest:g} mm (at least a "
                "voxel); set vsharp.largest_mm higher."
            )
        steps = int((self.largest_mm - smallest) / self.step_mm + 1e-6)
        radii = sorted({smallest, *(self.largest_mm - step * self.step_mm for step in range(steps + 1))})
        local, eroded = vsharp(
            field.bridged(), field.known.mask, grid.voxel_size_mm, radii, self.threshold, runtime.progress
        )
        return field.local_field(local, eroded, runtime, no_sphere(smallest))
