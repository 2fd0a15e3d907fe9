"""The part of the decay that spin echoes undo."""

from __future__ import annotations

from ..data import R2Map, R2PrimeMap, R2StarMap
from ..errors import InputError
from ..runtime import Runtime
from ..stage import Stage


class R2Prime(Stage):
    """R2′ = R2* - R2, nowhere below zero: the decay that static field differences inside a voxel cause."""

    def apply(self, r2star: R2StarMap, r2: R2Map, runtime: Runtime) -> R2PrimeMap:
        if not r2star.grid.same_place(r2.grid):
            raise InputError("R2* and R2 are not on the same grid; resample one of them.")
        return R2PrimeMap(r2star.grid, (r2star.r2star_hz - r2.r2_hz).clamp(min=0), r2star.field_strength_t)
