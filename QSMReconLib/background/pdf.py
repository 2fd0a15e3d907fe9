"""Projection onto dipole fields: what sources outside the brain can explain is not the brain's."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import FieldNoise, Grid, LocalField, Mask, TotalField
from ..runtime import Runtime
from ..stage import Stage, option
from .measured import Measured, local_std_option
from .outside import OutsideSources, corner


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
    return corner(space.field(sources), mask.shape) + mean


class Pdf(Stage):
    """Projection onto dipole fields (Liu et al. 2011, doi:10.1002/nbm.1670), weighted by the field noise.

    Keeps the brain up to its edge. Where noise is known, unreliable regions at the edge are cut off, and unreliable
    voxels inside (a bleed's) do not count, but keep their place.
    """

    iterations: int = option(20, "Conjugate-gradient steps on the full grid", ge=1, le=1000)
    local_std_ppm: float = local_std_option()

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> LocalField:
        field = Measured.of(total, mask, noise, self.local_std_ppm)
        known = field.known
        background = pdf(field.field_ppm, known.mask, field.grid, known.weight, self.iterations, runtime.progress)
        return field.local_field(field.field_ppm - background, known.mask, runtime)
