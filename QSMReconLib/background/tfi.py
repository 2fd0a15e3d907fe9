"""Total-field inversion in one step."""

from __future__ import annotations

from ..data import ChiMap, FieldNoise, Mask, TotalField
from ..runtime import Runtime
from ..stage import Stage, option
from .jointfit import fit_measured
from .measured import Measured


class Tfi(Stage):
    """Total-field inversion in one step (after Liu et al. 2017, doi:10.1002/mrm.26331): χ from the total field, while
    sources outside the brain are free.

    Regularised by total variation. Where noise is known, unreliable regions at the edge are cut off, and noisy voxels
    count less.
    """

    iterations: int = option(60, "Iterations of the joint fit", ge=1, le=1000)
    regularisation: float = option(1e-4, "Weight λ of the total variation; larger is smoother", ge=1e-7, le=0.1)
    local_std_ppm: float = option(
        0.01, "Expected size of the local field: noise well below it makes no difference", unit="ppm", ge=1e-4, le=1.0
    )

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> ChiMap:
        field = Measured.of(total, mask, noise, self.local_std_ppm)
        known = field.known
        fit = fit_measured(field, self.regularisation, self.iterations, runtime.progress)
        field.tell_erosion(known.mask, runtime)
        box = field.box
        return ChiMap(total.grid, box.paste(fit.chi_ppm * known.mask), box.paste(known.mask))
