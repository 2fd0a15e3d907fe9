"""Total-variation regularised inversion."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import ChiMap, FieldNoise, LocalField
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..solvers.admm import FieldTerm, KnownField, MeasuredField, invert
from ..solvers.shrinkage import TotalVariation
from ..stage import Stage, option
from .automatic import WAYS, automatic
from .fidelity import quadratic
from .problem import Problem

COUPLING = 0.1
"""How strongly the field fitted to the data is bound to the field of χ. Values from 0.03 to 1 end at the same map; this
one gets there in the fewest iterations."""


def tv(
    field_ppm: torch.Tensor,
    dipole: Dipole,
    regularisation: float = 2e-4,
    data_weight: torch.Tensor | None = None,
    rho: float = 0.02,
    tolerance: float = 1e-3,
    iterations: int = 250,
    start: torch.Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ in ppm over the padded box of `dipole` from a local field (X, Y, Z) in ppm.

    min ½‖w(Dχ - f)‖² + λ‖∇χ‖₁, λ the `regularisation` per mm, by ADMM with penalty `rho` (Bilgic et al. 2014,
    doi:10.1002/mrm.25029). Without `data_weight` the field is taken as known everywhere, 0 where there is none, and χ
    has a closed form in each iteration. With it, w² in 0 to 1 (X, Y, Z), the field where w is 0 is unknown and follows
    the model (a further splitting, z = Dχ, as in Milovic et al. 2018, doi:10.1002/mrm.27073): nothing pretends that
    the field ends with the brain, and sources outside may explain what is left of the background.

    Ends when χ changes by less than `tolerance`, relative, or after `iterations`. `start` is a first guess over the
    padded box.
    """
    prior = TotalVariation.starting(
        dipole.spectrum.padded, dipole.spectrum.voxel_size_mm, regularisation / rho, field_ppm.device
    )
    if data_weight is None:
        data: FieldTerm = KnownField(field_ppm)
    else:
        nearest = quadratic(field_ppm, data_weight, COUPLING)
        data = MeasuredField(data_weight * field_ppm, nearest, COUPLING)
    return invert(
        dipole, data, prior, rho=rho, tolerance=tolerance, iterations=iterations, start=start, progress=progress
    )


class Tv(Stage):
    """Total-variation regularised inversion by ADMM (Bilgic et al. 2014, doi:10.1002/mrm.25029).

    Keeps edges and suppresses streaks and noise. By default the field is unknown outside the mask, and noisy voxels
    count less; with `masked` off it is zero there and known everywhere alike, as published.
    """

    regularisation: float = option(1e-4, "Weight λ of the total variation; larger is smoother", ge=1e-7, le=0.1)
    masked: bool = option(True, "Treat the field as unknown outside the mask, and weigh it by its noise")
    rho: float = option(0.02, "Penalty of the splitting: changes the speed, hardly the result", ge=1e-5, le=10)
    tolerance: float = option(0.01, "Stop when χ changes by less than this fraction", ge=1e-6, le=0.5)
    iterations: int = option(100, "Iterations at most", ge=1, le=2000)
    automatic: str = option("off", "Choose λ from the data: corner of the L-curve, or misfit as noise", choices=WAYS)

    def apply(self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None) -> ChiMap:
        problem = Problem.of(local, noise)

        def solve(regularisation: float, start: torch.Tensor | None, progress: Callable[[float], None]) -> torch.Tensor:
            return tv(
                problem.field_ppm,
                problem.dipole,
                regularisation,
                problem.weight if self.masked else None,
                self.rho,
                self.tolerance,
                self.iterations,
                start,
                progress,
            )

        if self.automatic == "off":
            return problem.chi_map(solve(self.regularisation, None, runtime.progress))
        return problem.chi_map(automatic(self.automatic, problem, solve, noise, runtime))
