"""A stand-in for R2′ where no spin echoes were measured."""

from __future__ import annotations

from .._lazy import torch
from ..data import R2PrimeMap, R2StarMap
from ..runtime import Runtime
from ..stage import Stage, option


def two_slopes(r2star_hz: torch.Tensor, low: float = 0.28, knee_hz: float = 16.0, high: float = 0.575) -> torch.Tensor:
    """R2′ in Hz that rises by `low` per Hz of R2* up to `knee_hz`, and by `high` from there on."""
    return low * r2star_hz.clamp(min=0, max=knee_hz) + high * (r2star_hz - knee_hz).clamp(min=0)


class R2PrimeFromR2Star(Stage):
    """R2′ guessed from R2*, an approximation for scans without spin echoes.

    two-slopes: tissue with little iron keeps a fixed share of R2*, and what iron adds beyond that splits otherwise; a
    rule of ours from typical rates at 3 T. pseudo-r2: R2* minus one R2 for all tissue. scaling: one share of R2*.
    Both of these are the alternatives that Kim et al. 2025 (doi:10.1002/hbm.70136) compare a network with.
    """

    method: str = option("two-slopes", "How R2′ follows from R2*", choices=("two-slopes", "pseudo-r2", "scaling"))
    r2_hz: float = option(13.0, "pseudo-r2: R2 of all tissue", unit="Hz", ge=0, le=100)
    share: float = option(0.32, "scaling: R2′ over R2*", ge=0.01, le=1)

    def apply(self, r2star: R2StarMap, runtime: Runtime) -> R2PrimeMap:
        rate = r2star.r2star_hz
        if self.method == "two-slopes":
            guess, how = two_slopes(rate), "by two slopes"
        elif self.method == "pseudo-r2":
            guess, how = (rate - self.r2_hz).clamp(min=0), f"as R2* - {self.r2_hz:g} Hz"
        else:
            guess, how = (self.share * rate).clamp(min=0), f"as {self.share:g}·R2*"
        runtime.note(f"R2′ was guessed from R2* {how}, for want of spin echoes: χ_para and χ_dia are approximate.")
        if abs(r2star.field_strength_t - 3.0) > 0.3:
            runtime.note(f"The rule for R2′ holds for 3 T; this scan is of {r2star.field_strength_t:g} T.")
        return R2PrimeMap(r2star.grid, guess, r2star.field_strength_t)
