"""Rapid two-step dipole inversion: what the data say, then what is sparse."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import ChiMap, FieldNoise, LocalField
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..solvers.admm import in_corner
from ..solvers.lsmr import lsmr
from ..solvers.shrinkage import TotalVariation
from ..stage import Stage, option
from .problem import Problem


def well_posed(
    field_ppm: torch.Tensor,
    weight: torch.Tensor,
    dipole: Dipole,
    iterations: int = 15,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ (X, Y, Z) in ppm after a few steps of LSMR on ‖w(Dχ - f)‖, from zero, with sources only where w > 0.

    Early steps find what the field determines well; the cone of D's zeros comes last and is left out by stopping. A
    local field is that of sources inside the mask: saying so determines much of the cone.
    """
    root, sources = weight.sqrt(), weight > 0

    def told(done: int, _: float) -> None:
        if progress is not None:
            progress(done / iterations)

    return lsmr(
        lambda chi: dipole.field(chi) * root,
        lambda residual: dipole.field(residual * root).mul_(sources),
        field_ppm * root,
        iterations=iterations,
        callback=told,
    ).value


def rts(
    field_ppm: torch.Tensor,
    dipole: Dipole,
    weight: torch.Tensor,
    delta: float = 0.15,
    mu: float = 2e3,
    rho: float = 100.0,
    tolerance: float = 1e-2,
    iterations: int = 20,
    lsmr_iterations: int = 15,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ in ppm over the padded box of `dipole` from a local field (X, Y, Z) in ppm.

    The χ₀ of `well_posed` is trusted where |D| > `delta`; the rest of k is filled by
    min ‖∇χ‖₁ + (μ/2)‖χ - χ₀‖² over the trusted part of k, by ADMM with penalty `rho` (Kames et al. 2018,
    doi:10.1016/j.neuroimage.2017.11.018). `weight`, w² in 0 to 1, is 0 where the field is not known.
    """
    spectrum, kernel = dipole.spectrum.uncut, dipole.kernel
    share = lsmr_iterations / (lsmr_iterations + iterations)

    def first(fraction: float) -> None:
        if progress is not None:
            progress(share * fraction)

    chi = well_posed(field_ppm, weight, dipole, lsmr_iterations, first)
    prior = TotalVariation.starting(spectrum.padded, spectrum.voxel_size_mm, 1 / rho, chi.device)
    trusted = (kernel.abs() > delta).to(kernel.dtype).mul_(mu)
    denominator = prior.curvature(spectrum, chi.device).mul_(rho).add_(trusted)
    inverse = torch.where(denominator > 0, 1 / denominator, 0.0)
    known = spectrum.to_k(chi).mul_(trusted.mul_(inverse))
    inverse.mul_(-rho)
    del trusted, denominator
    chi = in_corner(chi, spectrum.padded)
    pull = torch.zeros_like(chi)
    for iteration in range(iterations):
        previous, chi = chi, spectrum.from_k(spectrum.to_k(pull).mul_(inverse).add_(known))
        change = float(torch.dist(chi, previous)) / max(float(chi.norm()), 1e-12)
        del previous
        if progress is not None:
            progress(share + (1 - share) * (iteration + 1) / iterations)
        if change < tolerance:
            break
        prior.step(chi, pull)
    return chi


class Rts(Stage):
    """Rapid two-step inversion (Kames et al. 2018, doi:10.1016/j.neuroimage.2017.11.018).

    A few steps of least squares over sources inside the mask, then, where the field does not determine χ well, the
    sparsest edges that fit them.
    """

    delta: float = option(0.15, "Where |D(k)| is smaller, the field is not trusted", ge=0.01, le=0.6)
    mu: float = option(
        2e3, "How strictly the trusted part is kept (1e5 as published, for fields without noise)", ge=1e-3, le=1e9
    )
    rho: float = option(100.0, "Penalty of the splitting: changes the speed, hardly the result", ge=1e-3, le=1e5)
    lsmr_iterations: int = option(15, "Steps of least squares (4 as published)", ge=1, le=100)
    tolerance: float = option(0.01, "Stop when χ changes by less than this fraction", ge=1e-6, le=0.5)
    iterations: int = option(20, "Iterations of the second step at most", ge=1, le=1000)

    def apply(self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None) -> ChiMap:
        problem = Problem.of(local, noise)
        chi = rts(
            problem.field_ppm,
            problem.dipole,
            problem.weight,
            self.delta,
            self.mu,
            self.rho,
            self.tolerance,
            self.iterations,
            self.lsmr_iterations,
            runtime.progress,
        )
        return problem.chi_map(chi)
