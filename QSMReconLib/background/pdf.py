"""Projection onto dipole fields: what sources outside the brain can explain is not the brain's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .._lazy import torch
from ..data import FieldNoise, Grid, LocalField, Mask, TotalField
from ..physics.box import Box
from ..physics.dipole import dipole_kernel
from ..physics.fourier import Spectrum
from ..runtime import Runtime
from ..solvers.cg import conjugate_gradients
from ..stage import Stage, option
from .trust import tell_erosion, trust

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
        _corner(sources, mask.shape).copy_(mask <= 0)
        return cls(whole, dipole_kernel(whole, grid.b0_direction, mask.device), sources, grid.b0_direction)

    def into_box(self, volume: torch.Tensor) -> torch.Tensor:
        """(X, Y, Z) in the padded box, zeros around."""
        whole = torch.zeros_like(self.sources)
        _corner(whole, volume.shape).copy_(volume)
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
            start = self._first_guess(field_ppm, weight, iterations, progress)

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

    def _first_guess(
        self,
        field_ppm: torch.Tensor,
        weight: torch.Tensor,
        iterations: int,
        progress: Callable[[float], None] | None,
    ) -> torch.Tensor | None:
        finest = min(self.spectrum.voxel_size_mm)
        sizes = list(zip(self.spectrum.padded, self.spectrum.voxel_size_mm, strict=True))
        factors = [2 if n % 2 == 0 and n // 2 >= COARSEST and v < 1.5 * finest else 1 for n, v in sizes]
        if factors == [1, 1, 1]:
            return None

        def mean(volume: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.avg_pool3d(volume[None], factors)[0]

        x, y, z = (n // factor for (n, _), factor in zip(sizes, factors, strict=True))
        vx, vy, vz = (v * factor for (_, v), factor in zip(sizes, factors, strict=True))
        spectrum = Spectrum((x, y, z), (x, y, z), (vx, vy, vz))
        share = mean(self.sources)
        kernel = dipole_kernel(spectrum, self.b0_direction, weight.device)
        coarse = OutsideSources(spectrum, kernel, (share == 1).float(), self.b0_direction)
        total = mean(weight)
        field = mean(weight * field_ppm) / total.clamp(min=1e-6)
        # Voxels half outside are neither sources nor data.
        guess = coarse.fit(field, total * (share < 0.5), iterations, None, progress) * coarse.sources
        for axis, factor in enumerate(factors):
            guess = guess.repeat_interleave(factor, axis)
        return guess * self.sources


def _corner(volume: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return volume[: shape[0], : shape[1], : shape[2]]


def pdf(
    total_ppm: torch.Tensor,
    mask: torch.Tensor,
    grid: Grid,
    weight: torch.Tensor | None = None,
    iterations: int = 20,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """The background field (X, Y, Z) in ppm, known in `mask` up to nothing, elsewhere a guess.

    Weighted least squares over dipoles outside the mask (Liu et al. 2011, doi:10.1002/nbm.1670). `weight` is that of
    the squared residual, everywhere 1 if not given. The uniform part of the field goes with the background.
    """
    space = OutsideSources.around(mask, grid)
    count = space.into_box((mask > 0) if weight is None else weight * (mask > 0))
    total = space.into_box(total_ppm)
    mean = (count * total).sum() / count.sum().clamp(min=1e-12)
    sources = space.fit((total - mean) * (count > 0), count, iterations, None, progress)
    return _corner(space.field(sources), mask.shape) + mean


class Pdf(Stage):
    """Projection onto dipole fields (Liu et al. 2011, doi:10.1002/nbm.1670), weighted by the field noise.

    Keeps the brain up to its edge. Where noise is known, unreliable regions at the edge are cut off, and unreliable
    voxels inside (a bleed's) do not count, but keep their place.
    """

    iterations: int = option(20, "Conjugate-gradient steps on the full grid", ge=1, le=1000)
    local_std_ppm: float = option(
        0.01, "Expected size of the local field: noise well below it makes no difference", unit="ppm", ge=1e-4, le=1.0
    )

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> LocalField:
        box = Box.around(mask.voxels)
        grid, field, inside = box.grid(total.grid), box.cut(total.field_ppm), box.cut(mask.voxels)
        sigma = None if noise is None else box.cut(noise.noise_ppm)
        known = trust(inside, sigma, grid.voxel_size_mm, self.local_std_ppm)
        tell_erosion(inside, known.mask, "their field cannot be trusted", runtime)
        background = pdf(field, known.mask, grid, known.weight, self.iterations, runtime.progress)
        local = (field - background) * known.mask
        return LocalField(total.grid, box.paste(local), box.paste(known.mask))
