"""Regularised deconvolution of spherical means."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import FieldNoise, LocalField, Mask, TotalField
from ..errors import InputError
from ..physics.smv import SphericalMean
from ..runtime import Runtime
from ..solvers.cg import conjugate_gradients
from ..stage import Stage, option
from .measured import Measured, local_std_option, no_sphere


def resharp(
    total_ppm: torch.Tensor,
    mask: torch.Tensor,
    voxel_size_mm: tuple[float, float, float],
    radius_mm: float = 6.0,
    tikhonov: float = 1e-4,
    weight: torch.Tensor | None = None,
    iterations: int = 30,
    tolerance: float = 1e-4,
    progress: Callable[[float], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The local field (X, Y, Z) in ppm and the mask where it holds: a sphere's radius inside `mask`.

    min ‖M(f - f̄ - (t - t̄))‖² + λ·Σ weight·f² over fields f in the mask, where ¯ is the spherical mean, t the total
    field and M the eroded mask (Sun and Wilman 2014, doi:10.1002/mrm.24765). A voxel of `weight` 0 is free: whatever
    the total field is there, the harmonic background passes through it undisturbed. Raises InputError where no sphere
    fits into the mask.
    """
    inside = mask > 0
    sphere = SphericalMean.of(mask.shape, voxel_size_mm, radius_mm, mask.device)
    eroded = sphere.fits(inside)
    if not bool(eroded.any()):
        raise InputError(
            f"No sphere of {radius_mm:g} mm radius fits into the mask; choose a smaller radius, or check the mask."
        )
    whole, core = inside.float(), eroded.float()
    penalty = tikhonov * (whole if weight is None else weight * whole)

    def data_term(field: torch.Tensor) -> torch.Tensor:
        return sphere.deviation(sphere.deviation(field).mul_(core)).mul_(whole)

    def report(done: int, _: float) -> None:
        if progress is not None:
            progress(done / iterations)

    # Spherical means do not see the uniform part, the iteration must not either: it is large, and noise is not.
    total = (total_ppm - total_ppm[inside].mean()) * whole
    solution = conjugate_gradients(
        lambda field: data_term(field).addcmul_(penalty, field),
        data_term(total),
        iterations=iterations,
        tolerance=tolerance,
        callback=report,
    )
    return solution.value * core, eroded


class Resharp(Stage):
    """Regularised SHARP (Sun and Wilman 2014, doi:10.1002/mrm.24765): spherical means, deconvolved by least squares.

    The mask shrinks by the radius. Where noise is known, unreliable regions at the edge are cut off before, and
    unreliable voxels inside do not count.
    """

    radius_mm: float = option(6.0, "Radius of the sphere", unit="mm", ge=1, le=30)
    tikhonov: float = option(1e-4, "Weight of the size of the local field", ge=0, le=1)
    iterations: int = option(30, "Conjugate-gradient steps at most", ge=1, le=1000)
    tolerance: float = option(1e-4, "Stop at this relative residual", ge=0, le=0.1)
    local_std_ppm: float = local_std_option()

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> LocalField:
        field = Measured.of(total, mask, noise, self.local_std_ppm)
        known = field.known
        local, eroded = resharp(
            field.field_ppm,
            known.mask,
            field.grid.voxel_size_mm,
            self.radius_mm,
            self.tikhonov,
            known.weight,
            self.iterations,
            self.tolerance,
            runtime.progress,
        )
        return field.local_field(local, eroded, runtime, no_sphere(self.radius_mm))
