"""The local field by total-field inversion."""

from __future__ import annotations

from ..data import FieldNoise, LocalField, Mask, TotalField
from ..runtime import Runtime
from ..stage import Stage
from .jointfit import TotalFieldInversion


class TfiField(TotalFieldInversion, Stage):
    """The background by total-field inversion (after Liu et al. 2017, doi:10.1002/mrm.26331): outside sources that
    are fitted together with χ, so that they do not take what is the brain's.

    Keeps the brain up to its edge, and whatever of the field χ does not explain, for an inversion of any kind to
    follow. Where noise is known, unreliable regions at the edge are cut off, and unreliable voxels inside do not count.
    """

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> LocalField:
        field, fit = self.fit(total, mask, noise, runtime)
        return field.local_field(field.field_ppm - fit.background_ppm, field.known.mask, runtime)
