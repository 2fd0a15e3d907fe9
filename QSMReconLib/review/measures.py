"""Every lesion measured: size, contrast to normal-appearing white matter, moment, rim, shape, and what to doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classification import Contrast
from .doubts import doubts, unexplained_field
from .lesionmoment import believed, centres_of, field_moment, map_moment, trusted_voxels
from .lesions import Lesions, centre_mm, shape_of
from .maps import Channel, ReviewMaps
from .measureoptions import Measures
from .normal import robust_sd, wander
from .place import Array, Place
from .surroundings import Surroundings

PROFILE_BINS = 5
PERCENTILES = (5, 25, 75, 95)


@dataclass(frozen=True)
class Measured:
    """One lesion: the numbers of its row, and what its classes and its picture are made of."""

    label: int
    row: dict[str, Any]
    contrasts: dict[str, Contrast]
    rim: Contrast | None
    edge: Contrast | None
    profile: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)
    """By map: (depth, mean, standard error); depth from -1, in the tissue around, over 0, the edge, to 1, the core."""


def measure(
    lesions: Lesions,
    maps: ReviewMaps,
    around: Surroundings,
    how: Measures | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Measured]:
    """Measure every lesion, in the order of their numbers. Values are in ppb and Hz, moments in ppm·mm³."""
    from scipy.ndimage import distance_transform_edt, find_objects

    how = how or Measures.with_options({})
    voxel = maps.grid.voxel_size_mm
    to_edge = distance_transform_edt(np.pad(maps.mask, 1), sampling=voxel)[1:-1, 1:-1, 1:-1]
    to_ventricle = distance_transform_edt(~around.ventricles, sampling=voxel) if around.ventricles.any() else None
    residual = unexplained_field(maps)
    usual = float(np.median(np.abs(residual[maps.mask]))) if residual is not None and maps.mask.any() else 0.0
    boxes = find_objects(lesions.numbers)
    restless = wander(maps, around, lesions.numbers > 0, how.shell_mm)
    centres = centres_of(lesions)
    trusted = trusted_voxels(maps)
    numbers = sorted(lesions.segments)
    measured = []
    for done, number in enumerate(numbers):
        place = Place.of(number, boxes[number - 1], lesions, maps, around, how)
        row = _geometry(number, lesions, place)
        contrasts = {name: _contrast(c, place, how, restless[name]) for name, c in maps.channels.items()}
        for name, c in maps.channels.items():
            row |= _statistics(name, c, place, contrasts[name], how)
        if "chi" in maps.channels:
            row |= map_moment(maps, place, how)
        row |= believed(row, field_moment(number, maps, place, trusted, centres, how), place, how)
        row["distance_ventricle_mm"] = _least(to_ventricle, place)
        row["vein_share"] = float(around.veins[place.box][place.own].mean())
        iron = "chi_para" if "chi_para" in maps.channels else "chi"
        rim, edge = _rim(maps.channels[iron], place, how) if iron in maps.channels else (None, None)
        row["rim_contrast_ppb"] = rim.value if rim else np.nan
        row["rim_score"] = rim.value / max(rim.error, 1e-9) if rim else np.nan
        row["flags"] = "; ".join(doubts(row, place, to_edge, residual, usual, maps, how))
        profile = _profiles(maps.channels, place, how)
        measured.append(Measured(number, row, contrasts, rim, edge, profile))
        if progress:
            progress((done + 1) / len(numbers))
    return measured


def _geometry(number: int, lesions: Lesions, place: Place) -> dict[str, Any]:
    where = tuple(index + s.start for index, s in zip(np.nonzero(place.own), place.box, strict=True))
    x, y, z = centre_mm(where, lesions.grid)
    points = np.argwhere(place.own) * place.voxel_mm
    return {
        "label": number,
        "segment": lesions.segments[number],
        "proposed": lesions.proposed,
        "voxels": int(place.own.sum()),
        "volume_mm3": float(place.own.sum()) * place.voxel_mm3,
        "x": float(x),
        "y": float(y),
        "z": float(z),
        "elongation": shape_of(points, place.voxel_mm),
        "shell_voxels": int(place.shell.sum()),
    }


def _contrast(channel: Channel, place: Place, how: Measures, restless: Callable[[float], float]) -> Contrast:
    """Of medians, with the standard error that noise and texture give them; not less than what normal tissue of the
    same size has against its own surroundings, which is how noise, streaks and texture come through the whole chain."""
    values, normal = channel.values[place.box][place.inside], channel.values[place.box][place.shell]
    if values.size == 0 or normal.size < 3:
        return Contrast(np.nan, np.nan, np.nan)
    local_sd = robust_sd(normal)
    noise = 0.0
    if channel.deviation is not None:
        noise = float(np.sqrt(np.mean(np.square(channel.deviation[place.box][place.inside]))))
    spread = max(robust_sd(values), noise)
    # A median is uncertain by 1.25 times what a mean is.
    error = 1.2533 * np.sqrt(
        spread**2 / place.independent(values.size, how) + local_sd**2 / place.independent(normal.size, how)
    )
    least = restless((0.75 * values.size * place.voxel_mm3 / pi) ** (1 / 3))
    return Contrast(float(np.median(values) - np.median(normal)), max(float(error), least), local_sd)


def _statistics(name: str, channel: Channel, place: Place, contrast: Contrast, how: Measures) -> dict[str, float]:
    values, normal = channel.values[place.box][place.inside], channel.values[place.box][place.shell]
    unit = channel.unit.lower()
    found: dict[str, Any] = dict.fromkeys(("mean", "median", "sd", *(f"p{p}" for p in PERCENTILES)), np.nan)
    if values.size:
        found = {"mean": values.mean(), "median": np.median(values), "sd": values.std()}
        found |= {f"p{p}": v for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}
    reach = how.confidence_z * contrast.error
    found |= {
        "normal": np.median(normal) if normal.size else np.nan,
        "local_sd": contrast.local_sd,
        "contrast": contrast.value,
        "contrast_low": contrast.value - reach,
        "contrast_high": contrast.value + reach,
    }
    return {f"{name}_{key}_{unit}": float(value) for key, value in found.items()}


def _rim(channel: Channel, place: Place, how: Measures) -> tuple[Contrast | None, Contrast | None]:
    """(edge against core, edge against surroundings) of a lesion that is large enough to have both."""
    deepest = float(place.depth_mm[place.inside].max()) if place.inside.any() else 0.0
    if deepest < max(1.6, 1.3 * max(place.voxel_mm)):
        return None, None
    share = place.depth_mm / deepest
    values = channel.values[place.box]
    outer, core = values[place.inside & (share < 0.5)], values[place.inside & (share > 0.65)]
    normal = values[place.shell]
    if min(outer.size, core.size, normal.size) < 4:
        return None, None

    def against(other: NDArray[Any]) -> Contrast:
        # Of medians: a vein that crosses the lesion shall make no rim, and hide none.
        squares = [1.57 * robust_sd(v) ** 2 / place.independent(v.size, how) for v in (outer, other)]
        return Contrast(float(np.median(outer) - np.median(other)), float(np.sqrt(sum(squares))), 0.0)

    tissue = against(normal)
    return against(core), Contrast(tissue.value, tissue.error, robust_sd(normal))


def _profiles(
    channels: Mapping[str, Channel], place: Place, how: Measures
) -> dict[str, list[tuple[float, float, float]]]:
    """Every map over depth: outwards in steps to the end of the shell, inwards in shares of the greatest depth."""
    deepest = max(float(place.depth_mm[place.own].max()), 1e-6)
    outside = place.mask & ~place.own & ~place.others & (place.outward_mm <= how.shell_mm[1])
    depth = np.where(place.own, place.depth_mm / deepest, -place.outward_mm / how.shell_mm[1])
    here = outside | place.inside
    bins = 2 * PROFILE_BINS
    step = np.clip(((depth[here] + 1) * PROFILE_BINS).astype(int), 0, bins - 1)
    # Where the edge runs through a voxel, it counts for its side.
    step = np.where(place.inside[here], np.maximum(step, PROFILE_BINS), np.minimum(step, PROFILE_BINS - 1))
    count = np.bincount(step, minlength=bins)
    middle = (np.arange(bins) + 0.5) / PROFILE_BINS - 1
    found = {}
    for name, channel in channels.items():
        values = channel.values[place.box][here].astype(float)
        mean = np.bincount(step, values, bins) / np.maximum(count, 1)
        spread = np.sqrt(np.bincount(step, (values - mean[step]) ** 2, bins) / np.maximum(count, 1))
        found[name] = [
            (float(middle[k]), float(mean[k]), float(spread[k] / np.sqrt(place.independent(int(count[k]), how))))
            for k in np.flatnonzero(count >= 3)
        ]
    return found


def _least(distance: Array | None, place: Place) -> float:
    return float(distance[place.box][place.own].min()) if distance is not None else np.nan
