"""Separation from gradient echoes alone, by one constant."""

from __future__ import annotations

from ..data import ChiMap, R2StarMap, SeparatedChi
from ..runtime import Runtime
from ..stage import Stage, option
from .nullseparation import separated
from .relaxivity import at_field_strength, check_places, said


class R2StarQsm(Stage):
    """χ_para and χ_dia = (R2*/a ± χ)/2, clipped at zero (Dimov et al. 2022, doi:10.1111/jon.13014 and
    doi:10.3390/tomography8030127).

    R2* stands for R2′: its irreversible part is taken to rise with susceptibility too, which it does not in detail.
    """

    a_hz_per_ppm: float = option(274.0, "R2* per ppm at 3 T; it is scaled with B0", unit="Hz/ppm", ge=10, le=2000)

    def apply(self, chi: ChiMap, r2star: R2StarMap, runtime: Runtime) -> SeparatedChi:
        check_places(chi.grid, r2star)
        runtime.note(said("a", self.a_hz_per_ppm, r2star.field_strength_t))
        return separated(chi, r2star.r2star_hz / at_field_strength(self.a_hz_per_ppm, r2star.field_strength_t), runtime)
