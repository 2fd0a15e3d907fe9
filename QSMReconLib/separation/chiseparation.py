"""χ-separation: one optimisation for both sources, from the field and the decay."""

from __future__ import annotations

from .._lazy import torch
from ..data import ChiMap, CsfMask, FieldNoise, LocalField, R2PrimeMap, SeparatedChi, VesselMask
from ..physics.box import Box
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..stage import Stage, option
from .joint import joint_separation
from .relaxivity import DR_HZ_PER_PPM, at_field_strength, check_finite, check_places, said

LEAST_FIELD_NOISE_PPM = 0.0005
LEAST_SUM_NOISE_PPM = 0.002
"""No map is believed to better than this, whatever its noise seems to be: its model is not that good."""


def white_noise(volume: torch.Tensor, mask: torch.Tensor) -> float:
    """The standard deviation of the white noise in a map (X, Y, Z), in its unit.

    From differences along all three axes at once, which cancel what is smooth along any of them, by their median.
    """
    difference, inside = volume, mask > 0
    for axis in range(3):
        n = inside.shape[axis]
        difference = difference.diff(dim=axis)
        inside = inside.narrow(axis, 1, n - 1) & inside.narrow(axis, 0, n - 1)
    values = difference[inside]
    # The median of |x| is 0.6745 σ for Gaussian noise; eight voxels take part in a difference.
    return float(values.abs().median()) / 0.6745 / 8**0.5 if values.numel() else 0.0


class ChiSeparation(Stage):
    """χ_para and χ_dia together from the local field and R2′ (Shin et al. 2021, doi:10.1016/j.neuroimage.2021.118371).

    The data terms are likelihoods: the field counts by its noise (from the field map's, else from its own scatter), R2′
    by its own. Edges of either map are sparse, and strong ones cost little. A χ map that agrees is further evidence;
    vessels and fluid are given their due where their masks are there.
    """

    dr_hz_per_ppm: float = option(
        DR_HZ_PER_PPM, "R2′ per ppm at 3 T; it is scaled with B0", unit="Hz/ppm", ge=10, le=1000
    )
    sparsity: float = option(70.0, "Price of an edge, per ppm: higher is smoother", unit="1/ppm", ge=0.1, le=10000)
    edge_ppm: float = option(
        0.04, "An edge of this height costs half; 0: all cost their height", unit="ppm", ge=0, le=10
    )
    outside_ppm: float = option(
        0.05,
        "Sources allowed outside the mask, to take up what background removal left; 0: none",
        unit="ppm",
        ge=0,
        le=10,
    )
    csf_ppm: float = option(0.003, "In the fluid both maps are zero to within this", unit="ppm", ge=0.0001, le=1)
    vessel_doubt: float = option(
        0.3, "In vessels R2′ may be wrong by this much of itself, besides its noise", ge=0, le=10
    )
    chi_doubt: float = option(2.0, "A χ map counts as data with this times its disagreement as error", ge=0.1, le=1000)
    r2prime_noise_hz: float | None = option(
        None, "Standard deviation of R2′; auto: from its scatter", unit="Hz", ge=0.01, le=100
    )
    iterations: int = option(20, "Iterations at most", ge=3, le=1000)
    tolerance: float = option(0.001, "Change of the maps in an iteration that is small enough to end", ge=0, le=0.1)

    def apply(
        self,
        local: LocalField,
        r2prime: R2PrimeMap,
        runtime: Runtime,
        chi: ChiMap | None = None,
        noise: FieldNoise | None = None,
        vessels: VesselMask | None = None,
        csf: CsfMask | None = None,
    ) -> SeparatedChi:
        check_places(local.grid, r2prime, chi, noise, vessels, csf)
        check_finite(r2prime.kind, r2prime.r2prime_hz, local.mask)
        runtime.note(said("Dr", self.dr_hz_per_ppm, r2prime.field_strength_t))
        relaxivity = at_field_strength(self.dr_hz_per_ppm, r2prime.field_strength_t)
        box = Box.around(local.mask)
        mask = box.cut(local.mask) > 0
        field, total = box.cut(local.field_ppm) * mask, box.cut(r2prime.r2prime_hz) * mask / relaxivity
        if noise is None:
            sigma = max(white_noise(field, mask), LEAST_FIELD_NOISE_PPM)
            field_noise = sigma * mask.to(field.dtype)
            runtime.note(f"There is no map of the field's noise; {1000 * sigma:.2g} ppb was taken, from its scatter.")
        else:
            field_noise = box.cut(noise.noise_ppm).clamp(min=LEAST_FIELD_NOISE_PPM) * mask
        seen = white_noise(total, mask) if self.r2prime_noise_hz is None else self.r2prime_noise_hz / relaxivity
        sum_noise = max(seen, LEAST_SUM_NOISE_PPM) * mask.to(field.dtype)
        if vessels is not None:
            sum_noise = torch.hypot(sum_noise, self.vessel_doubt * total * (box.cut(vessels.voxels) > 0))
        found = joint_separation(
            field,
            total,
            mask,
            Dipole.of(box.grid(local.grid), field.device),
            field_noise_ppm=field_noise,
            sum_noise_ppm=sum_noise,
            sparsity=self.sparsity,
            edge_ppm=self.edge_ppm,
            outside_ppm=self.outside_ppm,
            zero=None if csf is None else box.cut(csf.voxels),
            zero_ppm=self.csf_ppm,
            chi_ppm=None if chi is None else box.cut(chi.chi_ppm) * (box.cut(chi.mask) > 0),
            chi_doubt=self.chi_doubt,
            iterations=self.iterations,
            tolerance=self.tolerance,
            progress=runtime.progress,
        )
        if found.difference_ppm is not None:
            how = "was not used" if found.chi_error_ppm is None else "counted as evidence"
            runtime.note(
                f"The χ map differs from what field and R2′ say by {1000 * found.difference_ppm:.2g} ppb; it {how}."
            )
        para, dia = (box.paste(part) for part in found.maps)
        return SeparatedChi(local.grid, para, dia)
