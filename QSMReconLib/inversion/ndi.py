"""Nonlinear dipole inversion: gradient descent on the wrapped phase, stopped early."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import ChiMap, FieldNoise, GreData, LocalField
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..stage import Stage, option
from .problem import Problem, phase_per_ppm


def ndi(
    field_ppm: torch.Tensor,
    dipole: Dipole,
    weight: torch.Tensor,
    radians_per_ppm: float,
    step: float = 2.0,
    shrinkage: float = 1e-5,
    tolerance: float = 0.0,
    iterations: int = 100,
    start: torch.Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ (X, Y, Z) in ppm, with sources where the `weight` is not 0, from a local field (X, Y, Z) in ppm.

    Descent on ½‖w(exp(is·Dχ) - exp(is·f))‖²/s² + ½·`shrinkage`·‖χ‖², s the `radians_per_ppm`: each iteration moves χ by
    -`step` times Dᵀ[w² sin(s(Dχ - f))]/s + `shrinkage`·χ (Polak et al. 2020, doi:10.1002/nbm.4271). `weight`, w² in 0
    to 1, is 0 where the field is not known. The first iterations find what the field determines well; ends when χ
    changes by less than `tolerance`, relative, or after `iterations`. `start` is a first guess.
    """
    sources = weight > 0
    chi = torch.zeros_like(field_ppm) if start is None else start * sources
    for iteration in range(iterations):
        wrong = torch.sin(dipole.field(chi).sub_(field_ppm).mul_(radians_per_ppm))
        move = dipole.field(wrong.mul_(weight).div_(radians_per_ppm)).mul_(sources).add_(chi, alpha=shrinkage)
        chi.sub_(move, alpha=step)
        if progress is not None:
            progress((iteration + 1) / iterations)
        if step * float(move.norm()) < tolerance * float(chi.norm()):
            break
    return chi


class Ndi(Stage):
    """Nonlinear dipole inversion (Polak et al. 2020, doi:10.1002/nbm.4271).

    Nothing to tune but when to stop: few iterations leave χ smooth and too small, many bring streaks and noise.
    """

    iterations: int = option(100, "Iterations at most: stopping is the regularisation", ge=1, le=5000)
    tolerance: float = option(0.005, "Stop when χ changes by less than this fraction", ge=0, le=0.5)
    step: float = option(2.0, "Length τ of a step", ge=0.01, le=4)
    shrinkage: float = option(1e-5, "Weight α of small χ", ge=0, le=1)
    radians_per_ppm: float | None = option(
        None, "Phase that 1 ppm of field makes; auto: between the echoes of the scan", unit="rad/ppm", ge=0.01, le=1e3
    )

    def apply(
        self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None, gre: GreData | None = None
    ) -> ChiMap:
        problem = Problem.of(local, noise)
        chi = ndi(
            problem.field_ppm,
            problem.dipole,
            problem.weight,
            phase_per_ppm(gre, self.radians_per_ppm),
            self.step,
            self.shrinkage,
            self.tolerance,
            self.iterations,
            progress=runtime.progress,
        )
        return problem.chi_map(chi)
