"""Nonlinear total variation: phase that wraps, edges that are sparse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

from .._lazy import torch
from ..data import ChiMap, FieldNoise, GreData, LocalField
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..solvers.admm import FieldTerm, MeasuredField, Prior, invert
from ..solvers.shrinkage import TotalVariation
from ..stage import Stage, option
from .fidelity import Nearest, wrapping
from .problem import Problem, phase_per_ppm
from .tv import COUPLING


def fansi(
    field_ppm: torch.Tensor,
    dipole: Dipole,
    weight: torch.Tensor,
    prior: Prior,
    radians_per_ppm: float,
    rho: float,
    tolerance: float = 1e-3,
    iterations: int = 150,
    start: torch.Tensor | None = None,
    progress: Callable[[float], None] | None = None,
    term: Callable[[torch.Tensor, Nearest, float], FieldTerm] = MeasuredField,
) -> torch.Tensor:
    """χ in ppm over the padded box of `dipole` from a local field (X, Y, Z) in ppm.

    min ½‖w(exp(is·Dχ) - exp(is·f))‖²/s² + prior(χ), s the `radians_per_ppm`, by ADMM (Milovic et al. 2018,
    doi:10.1002/mrm.27073). Divided by s², the weight of the prior means what it does for a linear data term. `weight`,
    w² in 0 to 1, is 0 where the field is not known; `term` makes the data term of the solver.
    """
    nearest = wrapping(field_ppm, weight, COUPLING, radians_per_ppm)
    turn = 2 * pi / radians_per_ppm
    data = term(weight * (field_ppm - turn * torch.round(field_ppm / turn)), nearest, COUPLING)
    return invert(
        dipole, data, prior, rho=rho, tolerance=tolerance, iterations=iterations, start=start, progress=progress
    )


@dataclass(frozen=True, kw_only=True)
class Fansi:
    """The options that every stage on `fansi` has, and its run."""

    regularisation: float = option(1e-4, "Weight λ of edges; larger is smoother", ge=1e-7, le=0.1)
    radians_per_ppm: float | None = option(
        None, "Phase that 1 ppm of field makes; auto: between the echoes of the scan", unit="rad/ppm", ge=0.01, le=1e3
    )
    rho: float = option(0.02, "Penalty of the splitting: changes the speed, hardly the result", ge=1e-5, le=10)
    tolerance: float = option(0.01, "Stop when χ changes by less than this fraction", ge=1e-6, le=0.5)
    iterations: int = option(150, "Iterations at most", ge=1, le=2000)

    def total_variation(self, problem: Problem) -> TotalVariation:
        """Sparse edges, weighted by the option."""
        spectrum = problem.dipole.spectrum
        weight = self.regularisation / self.rho
        return TotalVariation.starting(spectrum.padded, spectrum.voxel_size_mm, weight, problem.field_ppm.device)

    def solve(
        self,
        problem: Problem,
        prior: Prior,
        gre: GreData | None,
        runtime: Runtime,
        term: Callable[[torch.Tensor, Nearest, float], FieldTerm] = MeasuredField,
    ) -> ChiMap:
        """`fansi` with these options; the scan tells the phase of 1 ppm where no option does."""
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
            term=term,
        )
        return problem.chi_map(chi)


class NlTv(Fansi, Stage):
    """FANSI with total variation and a nonlinear data term (Milovic et al. 2018, doi:10.1002/mrm.27073).

    Phase that was unwrapped wrongly, or is lost beside a bleed, cannot pull at χ by more than one turn.
    """

    def apply(
        self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None, gre: GreData | None = None
    ) -> ChiMap:
        problem = Problem.of(local, noise)
        return self.solve(problem, self.total_variation(problem), gre, runtime)
