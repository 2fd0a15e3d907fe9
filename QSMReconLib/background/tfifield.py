"""The local field by total-field inversion."""

from __future__ import annotations

from ..data import FieldNoise, LocalField, Mask, TotalField
from ..runtime import Runtime
from ..stage import Stage, option
from .jointfit import fit_measured
from .measured import Measured


class TfiField(Stage):
    """The background by total-field inversion (after Liu et al. 2017, doi:10.1002/mrm.26331): outside sources that
    are fitted together with χ, so that they do not take what is the brain's.

    Keeps the brain up to its edge, and whatever of the field χ does not explain, for an inversion of any kind to
    follow. Where noise is known, unreliable regions at the edge are cut off, and unreliable voxels inside do not count.
    """

    iterations: int = option(30, "Iterations of the joint fit", ge=1, le=1000)
    regularisation: float = option(1e-4, "Weight λ of the total variation of χ", ge=1e-7, le=0.1)
    local_std_ppm: float = option(
        0.01, "Expected size of the local field: noise well below it makes no difference", unit="ppm", ge=1e-4, le=1.0
    )

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> LocalField:
        field = Measured.of(total, mask, noise, self.local_std_ppm)
        known = field.known
        fit = fit_measured(field, self.regularisation, self.iterations, runtime.progress)
        return field.local_field(field.field_ppm - fit.background_ppm, known.mask, runtime)
