"""Hybrid data fidelity: absolute differences first, to see which voxels disagree; then squares."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import ChiMap, FieldNoise, LocalField
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..solvers.admm import MeasuredField, invert
from ..solvers.shrinkage import TotalVariation
from ..stage import Stage, option
from .fidelity import absolute
from .problem import Problem
from .tv import tv

GIVING_PPM = 0.05
"""What one iteration of the first stage gives way where field and model disagree: changes the speed, not the result."""
JUMP_PPM = 0.005
"""What one iteration of it takes away from a difference between neighbours, per mm: likewise."""


def hd_qsm(
    field_ppm: torch.Tensor,
    dipole: Dipole,
    weight: torch.Tensor,
    regularisation: float = 10**-4.785,
    rho: float = 0.02,
    tolerance: float = 1e-2,
    first_iterations: int = 20,
    iterations: int = 80,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ in ppm over the padded box of `dipole` from a local field (X, Y, Z) in ppm.

    A short minimisation of ‖w(Dχ - f)‖₁ + √λ‖∇χ‖₁, which wild values of the field hardly disturb, tells where field
    and model disagree: with r = |Dχ - f| there, w falls by 1 - r/max r. From its χ, ½‖w(Dχ - f)‖² + λ‖∇χ‖₁ is
    minimised (Lambert et al. 2022, doi:10.1002/mrm.29218). `weight`, w² in 0 to 1, is 0 where the field is not known.
    """
    padded, voxel = dipole.spectrum.padded, dipole.spectrum.voxel_size_mm
    share = first_iterations / (first_iterations + iterations)

    def told(begin: float, part: float) -> Callable[[float], None]:
        return lambda fraction: None if progress is None else progress(begin + part * fraction)

    prior = TotalVariation.starting(padded, voxel, JUMP_PPM, field_ppm.device)
    coupling = 1 / GIVING_PPM
    data = MeasuredField(weight * field_ppm, absolute(field_ppm, weight.sqrt(), coupling), coupling)
    chi = invert(
        dipole,
        data,
        prior,
        rho=regularisation**0.5 / JUMP_PPM,
        tolerance=0.0,
        iterations=first_iterations,
        progress=told(0.0, share),
    )
    apart = (dipole.field(chi) - field_ppm).abs() * (weight > 0)
    agreeing = 1 - apart / apart.max().clamp(min=1e-12)
    del data, prior, apart
    weight = weight * agreeing.square_()
    return tv(
        field_ppm,
        dipole,
        regularisation,
        weight,
        rho,
        tolerance,
        iterations,
        start=chi,
        progress=told(share, 1 - share),
    )


class HdQsm(Stage):
    """Hybrid data fidelity (Lambert et al. 2022, doi:10.1002/mrm.29218).

    Robust against voxels whose field is wrong, such as those in and around bleeds.
    """

    regularisation: float = option(1e-4, "Weight λ of the total variation; larger is smoother", ge=1e-7, le=0.1)
    rho: float = option(0.02, "Penalty of the splitting: changes the speed, hardly the result", ge=1e-5, le=10)
    first_iterations: int = option(20, "Iterations with absolute differences", ge=1, le=1000)
    tolerance: float = option(0.01, "Stop when χ changes by less than this fraction", ge=1e-6, le=0.5)
    iterations: int = option(80, "Iterations with squares at most", ge=1, le=2000)

    def apply(self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None) -> ChiMap:
        problem = Problem.of(local, noise)
        chi = hd_qsm(
            problem.field_ppm,
            problem.dipole,
            problem.weight,
            self.regularisation,
            self.rho,
            self.tolerance,
            self.first_iterations,
            self.iterations,
            runtime.progress,
        )
        return problem.chi_map(chi)
