"""Nonlinear total generalised variation: FANSI without the steps that total variation makes of ramps."""

from __future__ import annotations

from ..data import ChiMap, FieldNoise, GreData, LocalField
from ..runtime import Runtime
from ..solvers.tgv import GeneralisedVariation
from ..stage import Stage, option
from .nltv import Fansi
from .problem import Problem


class NlTgv(Fansi, Stage):
    """FANSI with total generalised variation and a nonlinear data term (Milovic et al. 2018, doi:10.1002/mrm.27073).

    As nltv, but slow changes of χ stay slow changes. Needs more memory and iterations.
    """

    smoothness: float = option(2.0, "Weight of bends against edges, α₀/α₁", unit="mm", ge=0.1, le=100)

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
        return self.solve(problem, prior, gre, runtime)
