"""What should be found in a simulated head, as the artifacts that a pipeline makes."""

from __future__ import annotations

from ..data import (
    Artifact,
    ChiMap,
    LocalField,
    Mask,
    R2Map,
    R2PrimeMap,
    R2StarMap,
    SeparatedChi,
    TotalField,
)
from .head import Head
from .scanner import DR_HZ_PER_PPM, Fields, r2prime


def truth(
    head: Head, field: Fields, field_strength_t: float = 3.0, dr_hz_per_ppm: float = DR_HZ_PER_PPM
) -> dict[type[Artifact], Artifact]:
    """Mask, fields, χ, its two parts and the rates, means over the voxels of the grid, zero outside the brain.

    χ is against water, as CSF is; the total field is the shimmed one.
    """
    grid, tissue = head.grid, head.tissue
    mask = head.on_grid(head.brain.float()) > 0.5
    inside = mask.float()
    para, dia = (head.on_grid(v) * inside for v in (tissue.para_ppm, tissue.dia_ppm))
    r2 = head.on_grid(tissue.r2_hz) * inside
    reversible = head.on_grid(r2prime(head, field_strength_t, dr_hz_per_ppm)) * inside
    found: tuple[Artifact, ...] = (
        Mask(grid, mask),
        TotalField(grid, head.on_grid(field.total_ppm) * inside),
        LocalField(grid, head.on_grid(field.local_ppm) * inside, mask),
        ChiMap(grid, para - dia, mask, reference="water"),
        SeparatedChi(grid, para, dia),
        R2Map(grid, r2, field_strength_t),
        R2PrimeMap(grid, reversible, field_strength_t),
        R2StarMap(grid, r2 + reversible, field_strength_t),
    )
    return {type(artifact): artifact for artifact in found}
