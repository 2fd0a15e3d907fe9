"""What sources outside the brain still make in a local field.

No background removal takes all of it, and a reconstruction that looks for χ in the mask alone must find some there for
whatever is left. Total variation with χ free everywhere gives most of that to the outside.
"""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import FieldNoise, LocalField
from .problem import Problem
from .tv import tv

ITERATIONS = 40
"""With 15, of three heads one gained more and one lost (docs/background.md)."""


def without_outside(
    local: LocalField, noise: FieldNoise | None, progress: Callable[[float], None] | None = None
) -> torch.Tensor:
    """The local field (X, Y, Z) in ppm less that of the χ which total variation finds outside its mask; 0 there.

    Weighted by `noise` where it is known. Raises InputError for an empty mask.
    """
    problem = Problem.of(local, noise)
    (x, y, z), dipole = problem.box.shape, problem.dipole
    chi = tv(
        problem.field_ppm,
        dipole,
        regularisation=1e-4,
        data_weight=problem.weight,
        tolerance=0.0,
        iterations=ITERATIONS,
        progress=progress,
    )
    chi[:x, :y, :z].mul_(~problem.inside)
    spectrum = dipole.spectrum.uncut
    outside = spectrum.from_k(spectrum.to_k(chi).mul_(dipole.kernel))[:x, :y, :z]
    return problem.box.paste((problem.field_ppm - outside) * problem.inside)
