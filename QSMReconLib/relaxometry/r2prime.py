"""The part of the decay that spin echoes undo."""

from __future__ import annotations

from .._lazy import torch
from ..data import R2Map, R2PrimeMap, R2StarMap
from ..runtime import Runtime
from ..stage import Stage

BELOW = 0.1
"""A note is due where R2* is less than R2 in more of what was measured than this."""


class R2Prime(Stage):
    """R2′ = R2* - R2, nowhere below zero: the decay that static field differences inside a voxel cause.

    R2 on another grid is resampled to that of R2*, trilinearly, and it says so.
    """

    def apply(self, r2star: R2StarMap, r2: R2Map, runtime: Runtime) -> R2PrimeMap:
        rate, error = r2.r2_hz, r2.std_hz
        if not r2star.grid.same_place(r2.grid):
            from ..io.resample import resample

            place = rate.device
            rate = resample(rate, r2.grid, r2star.grid).to(place)
            error = None if error is None else resample(error, r2.grid, r2star.grid).to(place)
            voxel = " × ".join(f"{v:.2g}" for v in r2.grid.voxel_size_mm)
            runtime.note(f"R2 lies on another grid ({voxel} mm): it was resampled to that of R2*, trilinearly.")
        difference = r2star.r2star_hz - rate
        measured = (r2star.r2star_hz > 0) & (rate > 0)
        below = float((difference < 0)[measured].float().mean()) if bool(measured.any()) else 0.0
        if below > BELOW:
            runtime.note(
                f"R2* is less than R2 in {100 * below:.0f} % of the brain: R2′ is zero there. Check both scans."
            )
        std = None if r2star.std_hz is None or error is None else torch.hypot(r2star.std_hz, error)
        return R2PrimeMap(r2star.grid, difference.clamp(min=0), r2star.field_strength_t, std_hz=std)
