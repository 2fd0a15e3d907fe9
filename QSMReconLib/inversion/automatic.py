"""How strong a regularisation should be, from the data: where the L-curve bends, or where the misfit is the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log

from .._lazy import torch
from ..data import FieldNoise
from ..errors import InputError
from ..physics.differences import gradient
from ..runtime import Runtime
from ..separation.chiseparation import white_noise
from .problem import Problem

LEAST, MOST = 3e-6, 3e-2
"""Where λ of the total variation is looked for, per mm."""
WAYS = ("off", "lcurve", "discrepancy")
POINTS = 9
"""Of the L-curve."""
HALVINGS = 8
"""Of the range, in logarithms, until λ is known well enough: to a few percent over four decades."""
TAKEN_UP = 0.9
"""A fitted map takes up a part of the noise: what is left should be this part of it."""
SOLVES = {"lcurve": POINTS + 1, "discrepancy": HALVINGS}


@dataclass(frozen=True)
class Trial:
    """χ for one λ, with the mean square of what it misses of the field (ppm²) and the size of its edges."""

    chi: torch.Tensor
    misfit: float
    roughness: float


Solve = Callable[[float, "torch.Tensor | None"], Trial]


def automatic(
    how: str,
    problem: Problem,
    solve: Callable[[float, torch.Tensor | None, Callable[[float], None]], torch.Tensor],
    noise: FieldNoise | None,
    runtime: Runtime,
    named: Callable[[float], float] = float,
) -> torch.Tensor:
    """χ over the padded box for a λ of the total variation (per mm) that is chosen from the data, and noted as the
    method's own λ, which `named` makes of it. `solve` gets λ, a start and whom to tell how far it is."""
    done, weight = 0, problem.weight
    counted = float(weight.sum(dtype=torch.float64))
    x, y, z = problem.inside.shape

    def trial(regularisation: float, start: torch.Tensor | None) -> Trial:
        nonlocal done
        before = done
        chi = solve(regularisation, start, lambda part: runtime.progress((before + part) / SOLVES[how]))
        done += 1
        missed = (problem.dipole.field(chi) - problem.field_ppm).square_().mul_(weight)
        edges = gradient(chi[:x, :y, :z], problem.local.grid.voxel_size_mm).abs_().mul_(problem.inside)
        return Trial(chi, float(missed.sum(dtype=torch.float64)) / counted, float(edges.sum(dtype=torch.float64)))

    if noise is None:
        expected = white_noise(problem.field_ppm, problem.inside) ** 2
    else:
        squares = problem.box.cut(noise.noise_ppm).square().mul_(weight)
        expected = float(squares.sum(dtype=torch.float64)) / counted
    found, best = choose(how, trial, LEAST, MOST, expected)
    if how == "discrepancy" and best.misfit < TAKEN_UP * expected / 2:
        runtime.note("Even the smoothest map misses the field by less than its noise: the noise map claims too much.")
    runtime.note(f"The weight was chosen from the data: λ = {named(found):.3g} ({how}).")
    return best.chi


def choose(how: str, solve: Solve, low: float, high: float, noise_ppm2: float) -> tuple[float, Trial]:
    """The λ between `low` and `high` (more is smoother), and its trial; `solve` gets a λ and a start, χ of another λ.

    `lcurve`: the corner of (log misfit, log roughness) (Hansen 1992, doi:10.1137/1034115). `discrepancy`: the misfit
    is what the noise, `noise_ppm2`, would leave (Morozov 1966). Raises InputError for any other way.
    """
    if how == "lcurve":
        return _corner(solve, low, high)
    if how == "discrepancy":
        return _at_noise(solve, low, high, noise_ppm2)
    raise InputError(f"There is no way {how!r} to choose λ; choose one of {', '.join(WAYS)}.")


def _corner(solve: Solve, low: float, high: float) -> tuple[float, Trial]:
    lambdas = [high * (low / high) ** (n / (POINTS - 1)) for n in range(POINTS)]
    curve, chi = [], None
    for regularisation in lambdas:
        trial = solve(regularisation, chi)
        chi = trial.chi
        curve.append((log(max(trial.misfit, 1e-30)), log(max(trial.roughness, 1e-30))))
    best = max(range(1, POINTS - 1), key=lambda n: bent(curve[n - 1], curve[n], curve[n + 1]))
    return lambdas[best], solve(lambdas[best], chi)


def bent(before: tuple[float, float], here: tuple[float, float], after: tuple[float, float]) -> float:
    """The curvature (Menger's, signed) of a curve through three points: positive at the corner of an L that is run
    through from its foot, where the misfit is large, to its top."""
    (ax, ay), (bx, by), (cx, cy) = before, here, after
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    sides = ((bx - ax) ** 2 + (by - ay) ** 2) * ((cx - bx) ** 2 + (cy - by) ** 2) * ((cx - ax) ** 2 + (cy - ay) ** 2)
    return -2 * area / max(sides, 1e-30) ** 0.5


def _at_noise(solve: Solve, low: float, high: float, noise_ppm2: float) -> tuple[float, Trial]:
    bottom, top = log(low), log(high)
    chi = None
    for _ in range(HALVINGS):
        regularisation = exp((bottom + top) / 2)
        trial = solve(regularisation, chi)
        chi = trial.chi
        if trial.misfit > TAKEN_UP * noise_ppm2:
            top = log(regularisation)
        else:
            bottom = log(regularisation)
    return regularisation, trial
