"""Separation voxel by voxel."""

from __future__ import annotations

from .._lazy import torch
from ..data import ChiMap, R2PrimeMap, SeparatedChi
from ..runtime import Runtime
from ..stage import Stage, option
from .relaxivity import DR_HZ_PER_PPM, at_field_strength, check_finite, check_places, said

MUCH = 0.1
"""A note is due where more of the mask than this has more χ than its decay allows."""


def null_separation(chi_ppm: torch.Tensor, sum_ppm: torch.Tensor) -> torch.Tensor:
    """χ_para and χ_dia (2, X, Y, Z) whose difference is `chi_ppm` and whose sum is `sum_ppm`, clipped at zero."""
    return torch.stack((sum_ppm + chi_ppm, sum_ppm - chi_ppm)).clamp(min=0) / 2


def separated(chi: ChiMap, sum_ppm: torch.Tensor, runtime: Runtime) -> SeparatedChi:
    """The null separation of a map, with a note where its decay says less than its susceptibility."""
    inside = chi.mask > 0
    check_finite("map of the decay", sum_ppm, inside)
    para, dia = null_separation(chi.chi_ppm * inside, torch.where(inside, sum_ppm, 0.0))
    beyond = float((chi.chi_ppm.abs() > sum_ppm)[inside].float().mean()) if bool(inside.any()) else 0.0
    if beyond > MUCH:
        runtime.note(
            f"In {100 * beyond:.0f} % of the voxels χ is larger than its decay allows: one of their maps is zero."
        )
    return SeparatedChi(chi.grid, para, dia)


class NullSeparation(Stage):
    """χ_para and χ_dia = (R2′/Dr ± χ)/2, clipped at zero: what every other separation has to beat.

    The model of Shin et al. 2021 (doi:10.1016/j.neuroimage.2021.118371), solved in each voxel for a χ that is given.
    """

    dr_hz_per_ppm: float = option(
        DR_HZ_PER_PPM, "R2′ per ppm at 3 T; it is scaled with B0", unit="Hz/ppm", ge=10, le=1000
    )

    def apply(self, chi: ChiMap, r2prime: R2PrimeMap, runtime: Runtime) -> SeparatedChi:
        check_places(chi.grid, r2prime)
        runtime.note(said("Dr", self.dr_hz_per_ppm, r2prime.field_strength_t))
        relaxivity = at_field_strength(self.dr_hz_per_ppm, r2prime.field_strength_t)
        return separated(chi, r2prime.r2prime_hz / relaxivity, runtime)
