"""Sources outside the brain, and the fields they can make inside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._lazy import torch
from ..data import Grid
from ..physics.dipole import dipole_kernel
from ..physics.fourier import Spectrum
from ..solvers.cg import conjugate_gradients

MARGIN_MM = 12.0
"""Room for sources around the brain. Their periodic neighbours lie outside the brain as well, where any source is
welcome, so that wrap-around does no harm and nothing more need be padded."""
COARSEST = 24
"""Grids are halved, for first guesses, while this many voxels are left along an axis."""


@dataclass(frozen=True)
class OutsideSources:
    """Dipoles outside a mask, and the fields they can make inside.

    Volumes fill the whole padded box of `spectrum`: there are sources in its padding too. `sources` is 1 where there
    may be one, else 0; `kernel` is the dipole's.
    """

    spectrum: Spectrum
    kernel: torch.Tensor
    sources: torch.Tensor
    b0_direction: tuple[float, float, float]

    @classmethod
    def around(cls, mask: torch.Tensor, grid: Grid, margin_mm: float = MARGIN_MM) -> OutsideSources:
        """Sources wherever `mask` (X, Y, Z) is not, up to half of `margin_mm` beyond the grid."""
        padded = Spectrum.of(grid.shape, grid.voxel_size_mm, margin_mm).padded
        whole = Spectrum(padded, padded, grid.voxel_size_mm)
        sources = torch.ones(padded, device=mask.device)
        corner(sources, mask.shape).copy_(mask <= 0)
        return cls(whole, dipole_kernel(whole, grid.b0_direction, mask.device), sources, grid.b0_direction)

    def into_box(self, volume: torch.Tensor) -> torch.Tensor:
        """(X, Y, Z) in the padded box, zeros around."""
        whole = torch.zeros_like(self.sources)
        corner(whole, volume.shape).copy_(volume)
        return whole

    def dipole(self, volume: torch.Tensor) -> torch.Tensor:
        """The dipole convolution, which is its own adjoint."""
        return self.spectrum.from_k(self.spectrum.to_k(volume).mul_(self.kernel))

    def field(self, chi_ppm: torch.Tensor) -> torch.Tensor:
        """The field of the sources, ppm."""
        return self.dipole(self.sources * chi_ppm)

    def fit(
        self,
        field_ppm: torch.Tensor,
        weight: torch.Tensor,
        iterations: int,
        start: torch.Tensor | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> torch.Tensor:
        """Sources (ppm) that explain a field in the box: Σ weight·(field - Dχ)² lessened by conjugate gradients.

        The weight must be 0 where there are sources. Without `start`, grids of half the resolution make the first
        guess: what is smooth converges last, and costs an eighth there.
        """
        if start is None:
            start = self.first_guess(field_ppm, weight, iterations, progress)

        def report(done: int, _: float) -> None:
            if progress is not None:
                progress(done / iterations)

        return conjugate_gradients(
            lambda chi: self.dipole(self.field(chi).mul_(weight)).mul_(self.sources),
            self.dipole(weight * field_ppm).mul_(self.sources),
            iterations=iterations,
            start=start,
            callback=report,
        ).value

    def first_guess(
        self,
        field_ppm: torch.Tensor,
        weight: torch.Tensor,
        iterations: int,
        progress: Callable[[float], None] | None,
    ) -> torch.Tensor | None:
        """Sources by fits on coarser grids; None where this one is coarse already."""
        coarser = self.coarser()
        if coarser is None:
            return None
        space, factors = coarser
        field, count = coarse_data(field_ppm, weight, self.sources, factors)
        guess = space.fit(field, count, iterations, None, progress) * space.sources
        return spread(guess, factors).mul_(self.sources)

    def coarser(self) -> tuple[OutsideSources, tuple[int, int, int]] | None:
        """The same at half the resolution, along the axes whose voxels are not much longer than others; None where
        the grid is coarse already. The factors say by how much each axis shrinks.

        Sources are where a coarse voxel holds nothing of the mask."""
        finest = min(self.spectrum.voxel_size_mm)
        (fx, fy, fz) = factors = tuple(
            2 if n % 2 == 0 and n // 2 >= COARSEST and v < 1.5 * finest else 1
            for n, v in zip(self.spectrum.padded, self.spectrum.voxel_size_mm, strict=True)
        )
        if max(factors) == 1:
            return None
        x, y, z = (n // factor for n, factor in zip(self.spectrum.padded, factors, strict=True))
        vx, vy, vz = (v * factor for v, factor in zip(self.spectrum.voxel_size_mm, factors, strict=True))
        spectrum = Spectrum((x, y, z), (x, y, z), (vx, vy, vz))
        kernel = dipole_kernel(spectrum, self.b0_direction, self.sources.device)
        sources = (_means(self.sources, factors) == 1).float()
        return OutsideSources(spectrum, kernel, sources, self.b0_direction), (fx, fy, fz)


def coarse_data(
    field_ppm: torch.Tensor, weight: torch.Tensor, sources: torch.Tensor, factors: tuple[int, int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Means of the field, and of its weight, in the voxels of a coarser box; voxels half outside are no data."""
    total = _means(weight, factors)
    field = _means(weight * field_ppm, factors) / total.clamp(min=1e-6)
    return field, total * (_means(sources, factors) < 0.5)


def spread(volume: torch.Tensor, factors: tuple[int, int, int]) -> torch.Tensor:
    """(..., X, Y, Z) of a coarser box on the voxels of the finer one."""
    for axis, factor in enumerate(factors):
        volume = volume.repeat_interleave(factor, axis - 3)
    return volume


def _means(volume: torch.Tensor, factors: tuple[int, ...]) -> torch.Tensor:
    return torch.nn.functional.avg_pool3d(volume[None], factors)[0]


def corner(volume: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """What of a padded box the volume itself fills, as a view."""
    return volume[: shape[0], : shape[1], : shape[2]]
