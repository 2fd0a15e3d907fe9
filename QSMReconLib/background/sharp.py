"""Spherical means of one radius."""

from __future__ import annotations

from ..data import FieldNoise, LocalField, Mask, TotalField
from ..runtime import Runtime
from ..stage import Stage, option
from .measured import Measured, no_sphere
from .vsharp import vsharp


class Sharp(Stage):
    """SHARP (Schweser et al. 2011, doi:10.1016/j.neuroimage.2010.10.070): deviations from spherical means,
    deconvolved where the sphere's response is not too small.

    The mask shrinks by the radius. Where noise is known, unreliable regions at the edge are cut off before, and
    unreliable voxels inside are bridged.
    """

    radius_mm: float = option(6.0, "Radius of the sphere", unit="mm", ge=1, le=30)
    threshold: float = option(0.05, "Where the sphere's response is smaller, nothing is kept", ge=0.0, le=0.5)

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> LocalField:
        field = Measured.of(total, mask, noise)
        voxel = field.grid.voxel_size_mm
        local, eroded = vsharp(
            field.bridged(), field.known.mask, voxel, (self.radius_mm,), self.threshold, runtime.progress
        )
        return field.local_field(local, eroded, runtime, no_sphere(self.radius_mm))
