"""The moment of a lesion, by its map and by the field around it, and which of them counts."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, pi
from typing import Any

import numpy as np

from .lesions import Lesions, Where
from .maps import ReviewMaps
from .measureoptions import Measures
from .moments import FAR_MM, NEAR_MM, TRUSTED, UNKNOWN, Moment, fit_moment
from .normal import robust_sd
from .place import Array, Place


def map_moment(maps: ReviewMaps, place: Place, how: Measures) -> dict[str, float]:
    """∑χ·volume above the surroundings with its error, and the peak."""
    chi = maps.channels["chi"].values[place.box] * 1e-3
    region = place.mask & ~place.others & (place.outward_mm <= how.blooming_mm)
    normal = chi[place.shell]
    if not region.any() or normal.size < 3:
        return dict.fromkeys(("moment_map_ppm_mm3", "moment_map_error_ppm_mm3", "chi_peak_ppb"), np.nan)
    base, sd = float(np.median(normal)), robust_sd(normal)
    n = int(region.sum())
    # The sum errs by its voxels' noise, and all of it together by that of the base.
    noise = sd * n * np.sqrt(1 / place.independent(n, how) + 1 / place.independent(normal.size, how))
    moment = float((chi[region] - base).sum())
    # A tenth of the voxels must be there: one that a vein runs through is no peak of the lesion.
    peak = np.percentile(chi[place.inside] - base, 90 if moment > 0 else 10) if place.inside.any() else np.nan
    return {
        "moment_map_ppm_mm3": moment * place.voxel_mm3,
        "moment_map_error_ppm_mm3": float(noise) * place.voxel_mm3,
        "chi_peak_ppb": 1e3 * float(peak),
    }


def field_moment(
    number: int, maps: ReviewMaps, place: Place, trusted: Where, centres: Mapping[int, Array], how: Measures
) -> Moment:
    """The moment that the field around a lesion tells of: the total field where it is there, for background removal
    cuts off what it cannot trust, and takes a little of a strong source along with it."""
    field = maps.total_ppm if maps.total_ppm is not None else maps.field_ppm
    if field is None:
        return UNKNOWN
    usable = trusted[place.box] & ~place.own & ~place.others
    usable &= (place.outward_mm >= NEAR_MM) & (place.outward_mm <= FAR_MM)
    start = np.array([s.start for s in place.box])
    middle = centres[number]
    apart = {k: float(np.linalg.norm((c - middle) * place.voxel_mm)) for k, c in centres.items() if k != number}
    # Whose field reaches in; weak ones among many cost more than they explain.
    near = sorted((d, k) for k, d in apart.items() if d < 2 * FAR_MM)[:4]
    return fit_moment(
        field[place.box],
        usable,
        None if maps.noise_ppm is None else maps.noise_ppm[place.box],
        (middle - start).tolist(),
        [(centres[k] - start).tolist() for _, k in near],
        (0.75 * place.own.sum() * place.voxel_mm3 / pi) ** (1 / 3),
        place.voxel_mm,
        maps.grid.b0_direction,
        place.independent(1000, how) / 1000,
    )


def believed(row: Mapping[str, Any], field: Moment, place: Place, how: Measures) -> dict[str, Any]:
    """Both moments, and which of them counts: the field's for strong sources, in which maps bloom and saturate, and
    where there is no map; else the map's."""
    by_map, map_error = row.get("moment_map_ppm_mm3", np.nan), row.get("moment_map_error_ppm_mm3", np.nan)
    volume = max(float(place.own.sum()) * place.voxel_mm3, 1e-9)
    strong = isfinite(field.value) and abs(field.value) > max(4 * field.error, 1e-3 * how.strong_ppb * volume)
    by_field = strong or (isfinite(field.value) and not isfinite(by_map))
    value, error = (field.value, field.error) if by_field else (by_map, map_error)
    return {
        "moment_ppm_mm3": value,
        "moment_error_ppm_mm3": error,
        "moment_by": "field" if by_field else "map" if isfinite(by_map) else "",
        "moment_field_ppm_mm3": field.value,
        "moment_field_error_ppm_mm3": field.error,
        "chi_equivalent_ppb": 1e3 * value / volume,
    }


def centres_of(lesions: Lesions) -> dict[int, Array]:
    from scipy.ndimage import center_of_mass

    numbers = sorted(lesions.segments)
    found = center_of_mass(lesions.numbers > 0, lesions.numbers, numbers)
    return {n: np.asarray(c, dtype=float) for n, c in zip(numbers, found, strict=True)}


def trusted_voxels(maps: ReviewMaps) -> Where:
    """Where the field is known and neither dephased nor wrapped wrong."""
    inside = maps.brain if maps.brain is not None and maps.total_ppm is not None else maps.mask
    if maps.noise_ppm is None:
        return inside
    known = inside & (maps.noise_ppm > 0)
    limit = TRUSTED * float(np.median(maps.noise_ppm[known])) if known.any() else 0.0
    return known & (maps.noise_ppm < limit)
