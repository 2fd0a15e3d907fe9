"""Nonlinear total generalised variation: FANSI without the steps that total variation makes of ramps."""

from __future__ import annotations

from ..data import ChiMap, FieldNoise, GreData, LocalField
from ..runtime import Runtime
from ..solvers.tgv import GeneralisedVariation
from ..stage import Stage, option
from .nltv import fansi
from .problem import Problem, phase_per_ppm


class NlTgv(Stage):
    """FANSI with total generalised variation and a nonlinear data term (Milovic et al. 2018, doi:10.1002/mrm.27073).

    As nltv, but slow changes of χ stay slow changes. Needs more memory and iterations.
    """

    regularisation: float = option(1e-4, "Weight λ of edges; larger is smoother", ge=1e-7, le=0.1)
    smoothness: float = option(2.0, "Weight of bends against edges, α₀/α₁", unit="mm", ge=0.1, le=100)
    radians_per_ppm: float | None = option(
        None, "Phase that 1 ppm of field makes; auto: between the echoes of the scan", unit="rad/ppm", ge=0.01, le=1e3
    )
    rho: float = option(0.02, "Penalty of the splitting: changes the speed, hardly the result", ge=1e-5, le=10)
    tolerance: float = option(0.01, "Stop when χ changes by less than this fraction", ge=1e-6, le=0.5)
    iterations: int = option(150, "Iterations at most", ge=1, le=2000)

    def apply(
        self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None, gre: GreData | None = None
    ) -> ChiMap:
        problem = Problem.of(local, noise)
        prior = GeneralisedVariation(
            problem.dipole.spectrum.padded,
            local.grid.voxel_size_mm,
            self.regularisation / self.rho,
            self.smoothness,
            local.field_ppm.device,
        )
        chi = fansi(
            problem.field_ppm,
            problem.dipole,
            problem.weight,
            prior,
            phase_per_ppm(gre, self.radians_per_ppm),
            self.rho,
            self.tolerance,
            self.iterations,
            progress=runtime.progress,
        )
        return problem.chi_map(chi)
