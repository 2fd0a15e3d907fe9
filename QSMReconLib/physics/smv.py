"""Spherical means: the mean of a harmonic field over a sphere is its value at the centre.

Schweser et al. 2011, doi:10.1016/j.neuroimage.2010.10.070. The sphere is drawn into voxels by partial volume and not
by its analytic transform, because a kernel that ends after the sphere's radius is what lets voxels near the edge of
the brain keep clear of what lies outside; the transform of a sharp sphere, sampled in k, rings over the whole volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._lazy import torch
from ..errors import InputError
from .fourier import Spectrum

SAMPLES = 120
"""Points per axis that decide how much of each voxel lies in the sphere; 3 to 9 of them in a voxel."""


def sphere_kernel(radius_mm: float, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """The weights (odd sizes, float64, sum 1) that average over a sphere around the middle voxel.

    Partial volumes, with the three voxels in the middle corrected on each axis so that second moments are equal along
    all axes: on voxels of any shape, means of harmonic polynomials up to the third degree are exact. Raises InputError
    for a sphere that holds no neighbour along some axis.
    """
    if radius_mm < 0.99 * max(voxel_size_mm):
        raise InputError(
            f"A sphere of {radius_mm:g} mm radius does not reach the next voxel, {max(voxel_size_mm):g} mm away; "
            "choose a larger radius."
        )
    x, y, z = sizes = [2 * int(radius_mm / size + 0.5) + 1 for size in voxel_size_mm]
    fine = min(9, max(3, SAMPLES // max(sizes)))
    squared = torch.zeros(())
    for axis, size in enumerate(voxel_size_mm):
        count = sizes[axis] * fine
        # Whole numbers around 0 over one divisor: both sides are rounded alike.
        offset = torch.arange(1 - count, count, 2, dtype=torch.float64) * (size / (2 * fine))
        squared = squared + (offset**2).reshape([-1 if other == axis else 1 for other in range(3)])
    inside = (squared <= radius_mm**2).double()
    kernel = inside.reshape(x, fine, y, fine, z, fine).mean((1, 3, 5))
    kernel = kernel / kernel.sum()
    moments = []
    for axis, size in enumerate(voxel_size_mm):
        steps = (torch.arange(sizes[axis], dtype=torch.float64) - sizes[axis] // 2) * size
        moments.append(float((kernel.sum([other for other in range(3) if other != axis]) * steps**2).sum()))
    middle = [n // 2 for n in sizes]
    for axis, size in enumerate(voxel_size_mm):
        extra = (max(moments) - moments[axis]) / (2 * size**2)
        kernel[tuple(middle)] -= 2 * extra
        for step in (-1, 1):
            place = list(middle)
            place[axis] += step
            kernel[tuple(place)] += extra
    return kernel


def kernel_spectrum(kernel: torch.Tensor, spectrum: Spectrum, device: torch.device | str = "cpu") -> torch.Tensor:
    """The half-spectrum of a symmetric kernel around its middle voxel: real, float32."""
    if any(n > padded for n, padded in zip(kernel.shape, spectrum.padded, strict=True)):
        raise InputError("The sphere is larger than the volume; choose a smaller radius.")
    whole = torch.zeros(spectrum.padded, dtype=torch.float32, device=device)
    x, y, z = kernel.shape
    whole[:x, :y, :z] = kernel.to(device)
    whole = whole.roll((-(x // 2), -(y // 2), -(z // 2)), (0, 1, 2))
    return torch.fft.rfftn(whole).real.contiguous()


@dataclass(frozen=True)
class SphericalMean:
    """The mean over spheres of one radius as an operator on volumes of a grid, with zeros around them."""

    spectrum: Spectrum
    mean_kernel: torch.Tensor
    touched: torch.Tensor

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        voxel_size_mm: Sequence[float],
        radius_mm: float,
        device: torch.device | str = "cpu",
        spectrum: Spectrum | None = None,
    ) -> SphericalMean:
        """Spheres of `radius_mm`. A `spectrum` can be shared by several radii if it is padded for the largest."""
        kernel = sphere_kernel(radius_mm, voxel_size_mm)
        spectrum = spectrum or Spectrum.of(shape, voxel_size_mm, radius_mm + max(voxel_size_mm))
        return cls(spectrum, kernel_spectrum(kernel, spectrum, device), (kernel != 0).double())

    def __call__(self, volume: torch.Tensor) -> torch.Tensor:
        """The spherical mean around every voxel."""
        return self.spectrum.from_k(self.spectrum.to_k(volume).mul_(self.mean_kernel))

    def deviation(self, volume: torch.Tensor) -> torch.Tensor:
        """What a voxel differs from the mean around it: zero for harmonic fields. A self-adjoint operator."""
        return volume - self(volume)

    def fits(self, mask: torch.Tensor, mask_k: torch.Tensor | None = None) -> torch.Tensor:
        """Where every voxel that the sphere touches lies in `mask`, boolean. `mask_k` is its transform, if known.

        Touched voxels are counted, not weighed: counts are whole numbers, which rounding in float32 cannot blur.
        """
        if mask_k is None:
            mask_k = self.spectrum.to_k((mask > 0).float())
        count = self.spectrum.from_k(mask_k * kernel_spectrum(self.touched, self.spectrum, mask.device))
        return (mask > 0) & (count > float(self.touched.sum()) - 0.5)
