"""Total-field inversion in one step."""

from __future__ import annotations

from ..data import ChiMap, FieldNoise, Mask, TotalField
from ..runtime import Runtime
from ..stage import Stage, option
from .jointfit import TotalFieldInversion


class Tfi(TotalFieldInversion, Stage):
    """Total-field inversion in one step (after Liu et al. 2017, doi:10.1002/mrm.26331): χ from the total field, while
    sources outside the brain are free.

    Regularised by total variation. Where noise is known, unreliable regions at the edge are cut off, and noisy voxels
    count less.
    """

    iterations: int = option(60, "Iterations of the joint fit", ge=1, le=1000)

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> ChiMap:
        field, fit = self.fit(total, mask, noise, runtime)
        return field.chi_map(fit.chi_ppm, runtime)
