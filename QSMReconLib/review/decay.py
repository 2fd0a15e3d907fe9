"""Contrasts of χ_para and χ_dia where no spin echoes were measured, without the guess of R2′ that the maps rest on.

R2* falls in a plaque by what myelin and iron lose, and by what R2 loses to water, which any rule that guesses R2′ from
R2* takes for the former. Of a lesion as a whole more is known: ΔR2* = ΔR2 + Dr·(Δχ_para + Δχ_dia), Δχ comes from the
map of χ, and plaques of one head lose about the same R2. How much, is estimated from all lesions of the scan together,
from a prior. The method is ours, not from a paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..separation.relaxivity import DR_HZ_PER_PPM, at_field_strength
from .classification import Contrast

PRIOR_HZ, PRIOR_SD_HZ = -3.5, 1.0
"""R2 of plaques less that of the white matter around, at 3 T: T2 of about 100 ms against 75 ms."""
SCATTER_HZ = 0.5
"""From lesion to lesion of one head."""
PARA_PPB = ((0.35, 0.0, 3.0), (0.4, 25.0, 12.0), (0.25, -10.0, 4.0))
DIA_PPB = ((0.35, 0.0, 3.0), (0.6, -17.0, 7.0), (0.05, 10.0, 5.0))
"""What lesions do: (share, mean, SD) of iso, hyper or hypo ones. Only the common ΔR2 is estimated with these; no
lesion's own contrast is drawn towards them."""
STRONGEST_PPB = 80.0
"""Beyond this a lesion is no plaque, and says nothing of theirs."""


@dataclass(frozen=True)
class Common:
    """The R2 that the lesions of a scan have lost, Hz, with its standard deviation, and how many tell of it."""

    r2_hz: float
    sd_hz: float
    lesions: int


def common_r2(lesions: Sequence[Mapping[str, Contrast]], field_strength_t: float) -> Common:
    """The mean of the posterior over a grid of ΔR2; the prior alone where no lesion has every contrast."""
    relaxivity = 1e-3 * at_field_strength(DR_HZ_PER_PPM, field_strength_t)
    shift = np.linspace(PRIOR_HZ - 5 * PRIOR_SD_HZ, PRIOR_HZ + 5 * PRIOR_SD_HZ, 201)
    log = -0.5 * ((shift - PRIOR_HZ) / PRIOR_SD_HZ) ** 2
    used = 0
    for one in lesions:
        measured = _measured(one)
        if measured is None or abs(measured[0].value) > STRONGEST_PPB:
            continue
        chi, decay = measured
        chance = np.zeros_like(shift)
        for (wp, mp, sp), (wd, md, sd) in product(PARA_PPB, DIA_PPB):
            a, b = chi.value - (mp - md), decay.value - shift - relaxivity * (mp + md)
            vc = sp**2 + sd**2 + chi.error**2
            vy = relaxivity**2 * (sp**2 + sd**2) + decay.error**2 + SCATTER_HZ**2
            both = relaxivity * (sp**2 - sd**2)
            det = vc * vy - both**2
            far = (vy * a**2 - 2 * both * a * b + vc * b**2) / det
            chance += wp * wd * np.exp(-0.5 * far) / np.sqrt(det)
        # One lesion in fifty is something else altogether, and shall not decide.
        log += np.log(0.98 * chance + 1e-6)
        used += 1
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = float(weight @ shift)
    return Common(mean, float(np.sqrt(weight @ (shift - mean) ** 2)), used)


def from_decay(
    one: Mapping[str, Contrast], common: Common, field_strength_t: float
) -> tuple[Contrast, Contrast] | None:
    """(χ_para, χ_dia) of a lesion in ppb: their difference from the maps, their sum from R2*. None where a map of the
    four is missing or says nothing."""
    measured = _measured(one)
    if measured is None:
        return None
    chi, decay = measured
    relaxivity = 1e-3 * at_field_strength(DR_HZ_PER_PPM, field_strength_t)
    total = (decay.value - common.r2_hz) / relaxivity
    error = np.sqrt(decay.error**2 + common.sd_hz**2 + SCATTER_HZ**2) / relaxivity
    both = float(np.hypot(error, chi.error)) / 2
    para = Contrast((total + chi.value) / 2, both, one["chi_para"].local_sd)
    return para, Contrast((total - chi.value) / 2, both, one["chi_dia"].local_sd)


def _measured(one: Mapping[str, Contrast]) -> tuple[Contrast, Contrast] | None:
    """(Δχ, ΔR2*); Δχ is that of χ_para - χ_dia, which the separation holds to the field."""
    if not {"chi_para", "chi_dia", "r2star"} <= set(one):
        return None
    para, dia, decay = one["chi_para"], one["chi_dia"], one["r2star"]
    error = one["chi"].error if "chi" in one else float(np.hypot(para.error, dia.error))
    chi = Contrast(para.value - dia.value, error, 0.0)
    return (chi, decay) if np.isfinite([chi.value, chi.error, decay.value, decay.error]).all() else None
