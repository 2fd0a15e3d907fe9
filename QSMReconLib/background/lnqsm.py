"""Least-norm inversion of the total field in one step."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import ChiMap, FieldNoise, Grid, Mask, TotalField
from ..physics.differences import divergence, gradient
from ..runtime import Runtime
from ..solvers.cg import conjugate_gradients
from ..stage import Stage, option
from .harmonic import smooth_part
from .measured import Measured, local_std_option
from .outside import OutsideSources, corner

SMOOTHED_PPM = 1e-3
"""√ε of |∂χ| ≈ √(∂χ² + ε), per mm."""


def least_norm(
    total_ppm: torch.Tensor,
    mask: torch.Tensor,
    grid: Grid,
    weight: torch.Tensor,
    tikhonov: float = 1e-3,
    regularisation: float = 4e-4,
    outside: float = 10.0,
    steps: int = 6,
    cg_iterations: int = 40,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ in ppm (X, Y, Z) of a total field, zero outside `mask`, where sources are as free as the field leaves them.

    min ½Σ weight·(Dχ - f)² + tikhonov·½‖Mχ‖² + regularisation·‖M∇χ‖₁ over χ everywhere, M the mask, by steps of lagged
    diffusivity, each by conjugate gradients in which a source outside moves `outside` times as easily as one inside.
    """
    space = OutsideSources.around(mask, grid)
    sizes = grid.voxel_size_mm
    inside = space.into_box((mask > 0).float())
    count = space.into_box(weight * (mask > 0))
    field = space.into_box((total_ppm - smooth_part(total_ppm, mask, sizes, weight)) * (mask > 0))
    # A difference counts where both of its voxels are in the mask.
    pairs = torch.stack([inside * inside.roll(-1, axis) for axis in range(3)])
    ease = inside + outside**2 * (1 - inside)
    guess = space.first_guess(field, count, cg_iterations, None)
    chi = torch.zeros_like(field) if guess is None else guess
    seen = space.dipole(count * field)
    for step in range(steps):
        pull = regularisation * pairs / (gradient(chi, sizes).square() + SMOOTHED_PPM**2).sqrt()

        def curvature(x: torch.Tensor, pull: torch.Tensor = pull) -> torch.Tensor:
            fitted = space.dipole(space.dipole(x).mul_(count))
            return fitted.add_(inside * x, alpha=tikhonov).sub_(divergence(pull * gradient(x, sizes), sizes))

        def report(done: int, _: float, step: int = step) -> None:
            if progress is not None:
                progress((step + done / cg_iterations) / steps)

        chi = conjugate_gradients(
            curvature,
            seen,
            iterations=cg_iterations,
            start=chi,
            precondition=lambda x: ease * x,
            callback=report,
        ).value
    return corner(chi * inside, mask.shape)


class LnQsm(Stage):
    """Least-norm inversion in one step (LN-QSM; Sun et al. 2018, doi:10.1016/j.neuroimage.2018.06.036): χ from the
    total field, the brain's held small and smooth, and sources outside it free.

    Needs no mask that leaves the cortex out. Where noise is known, unreliable regions at the edge are cut off, and
    noisy voxels count less.
    """

    tikhonov: float = option(1e-3, "Weight of the size of χ in the brain", ge=1e-7, le=1)
    regularisation: float = option(4e-4, "Weight of the total variation of χ; larger is smoother", ge=1e-7, le=0.1)
    outside: float = option(
        10.0,
        "How much more easily sources outside the brain move; 30, as published, needs more steps",
        ge=1,
        le=1000,
    )
    steps: int = option(6, "Times that edges are told from noise anew", ge=1, le=100)
    cg_iterations: int = option(40, "Conjugate gradients within each", ge=1, le=1000)
    local_std_ppm: float = local_std_option()

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> ChiMap:
        field = Measured.of(total, mask, noise, self.local_std_ppm)
        known = field.known
        chi = least_norm(
            field.field_ppm,
            known.mask,
            field.grid,
            known.weight,
            self.tikhonov,
            self.regularisation,
            self.outside,
            self.steps,
            self.cg_iterations,
            runtime.progress,
        )
        return field.chi_map(chi, runtime)
