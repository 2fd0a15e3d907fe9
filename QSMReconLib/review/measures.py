"""Every lesion measured: size, contrast to normal-appearing white matter, moment, rim, shape, and what to doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import erf, isfinite, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from ..stage import Options, option
from .classification import Contrast
from .lesions import Lesions, Where, centre_mm, shape_of
from .maps import Channel, ReviewMaps
from .moments import FAR_MM, NEAR_MM, TRUSTED, UNKNOWN, Moment, fit_moment
from .normal import wander
from .surroundings import Surroundings

Box = tuple[slice, slice, slice]
Array = NDArray[np.float64]

BOX_MARGIN_MM = FAR_MM + 1.0
PROFILE_BINS = 5
PERCENTILES = (5, 25, 75, 95)


class Measures(Options):
    """How lesions are measured."""

    shell_mm: tuple[float, float] = option(
        (1.5, 4.5), "Between these distances from a lesion lies what it is compared with", unit="mm", ge=0, le=50
    )
    least_voxels: int = option(60, "With fewer voxels in the shell, it reaches twice as far", ge=3)
    independent_mm3: float = option(
        8.0, "Neighbouring voxels err together: so much of a map is one measurement", unit="mm3", ge=0.01
    )
    blooming_mm: float = option(2.0, "How far around a lesion its moment is summed", unit="mm", ge=0, le=20)
    confidence_z: float = option(1.645, "Of the table's intervals, in standard errors: 1.645 is 90 %", ge=0.1, le=5)
    strong_ppb: float = option(
        75.0, "Above this mean χ the moment is that of the field around, below that of the map", unit="ppb", ge=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shell_mm) != 2 or self.shell_mm[0] >= self.shell_mm[1]:
            raise OptionError(f"measures.shell_mm is {self.shell_mm}, but must be two distances, the nearer one first.")

    @property
    def interval_percent(self) -> float:
        """How much the intervals of `confidence_z` hold."""
        return 100 * erf(self.confidence_z / sqrt(2))


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
    residual = _residual(maps)
    usual = float(np.median(np.abs(residual[maps.mask]))) if residual is not None and maps.mask.any() else 0.0
    boxes = find_objects(lesions.numbers)
    restless = wander(maps, around, lesions.numbers > 0, how.shell_mm)
    centres = _centres(lesions)
    trusted = _trusted(maps)
    numbers = sorted(lesions.segments)
    measured = []
    for done, number in enumerate(numbers):
        place = _Place.of(number, boxes[number - 1], lesions, maps, around, how)
        row = _geometry(number, lesions, place)
        contrasts = {name: _contrast(c, place, how, restless[name]) for name, c in maps.channels.items()}
        for name, c in maps.channels.items():
            row |= _statistics(name, c, place, contrasts[name], how)
        if "chi" in maps.channels:
            row |= _map_moment(maps, place, how)
        row |= _believed(row, _field_moment(number, maps, place, trusted, centres, how), place, how)
        row["distance_ventricle_mm"] = _least(to_ventricle, place)
        row["vein_share"] = float(around.veins[place.box][place.own].mean())
        iron = "chi_para" if "chi_para" in maps.channels else "chi"
        rim, edge = _rim(maps.channels[iron], place, how) if iron in maps.channels else (None, None)
        row["rim_contrast_ppb"] = rim.value if rim else np.nan
        row["rim_score"] = rim.value / max(rim.error, 1e-9) if rim else np.nan
        row["flags"] = "; ".join(_flags(row, place, to_edge, residual, usual, maps, how))
        profile = _profiles(maps.channels, place, how)
        measured.append(Measured(number, row, contrasts, rim, edge, profile))
        if progress:
            progress((done + 1) / len(numbers))
    return measured


@dataclass(frozen=True)
class _Place:
    """A lesion in its box: where it is, how deep each voxel lies in it, and what it is compared with."""

    box: Box
    own: Where
    inside: Where
    """Of the lesion, what the mask holds."""
    others: Where
    mask: Where
    outward_mm: Array
    depth_mm: Array
    shell: Where
    voxel_mm: tuple[float, float, float]

    @classmethod
    def of(
        cls, number: int, found: Box, lesions: Lesions, maps: ReviewMaps, around: Surroundings, how: Measures
    ) -> _Place:
        from scipy.ndimage import binary_dilation, distance_transform_edt

        voxel = maps.grid.voxel_size_mm
        margin = [int(np.ceil(max(BOX_MARGIN_MM, 2 * how.shell_mm[1]) / v)) for v in voxel]
        x, y, z = (slice(max(s.start - m, 0), s.stop + m) for s, m in zip(found, margin, strict=True))
        box = (x, y, z)
        own = lesions.numbers[box] == number
        mask = maps.mask[box]
        others = binary_dilation((lesions.numbers[box] > 0) & ~own)
        half = 0.5 * min(voxel)
        outward = np.maximum(distance_transform_edt(~own, sampling=voxel) - half, 0.0)
        depth = np.where(own, distance_transform_edt(np.pad(own, 1), sampling=voxel)[1:-1, 1:-1, 1:-1] - half, 0.0)
        usable = mask & ~own & ~others & ~around.veins[box]
        low, high = how.shell_mm
        shell = usable & around.white[box] & (outward >= low) & (outward <= high)
        if shell.sum() < how.least_voxels:
            shell = usable & around.white[box] & (outward >= low) & (outward <= 2 * high)
        return cls(box, own, own & mask, others, mask, outward, depth, shell, voxel)

    @property
    def voxel_mm3(self) -> float:
        return float(np.prod(self.voxel_mm))

    def independent(self, voxels: int, how: Measures) -> float:
        """How many independent measurements so many voxels are."""
        return max(voxels * min(self.voxel_mm3 / how.independent_mm3, 1.0), 1.0)


def _geometry(number: int, lesions: Lesions, place: _Place) -> dict[str, Any]:
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


def _contrast(channel: Channel, place: _Place, how: Measures, restless: Callable[[float], float]) -> Contrast:
    """Of medians, with the standard error that noise and texture give them; not less than what normal tissue of the
    same size has against its own surroundings, which is how noise, streaks and texture come through the whole chain."""
    values, normal = channel.values[place.box][place.inside], channel.values[place.box][place.shell]
    if values.size == 0 or normal.size < 3:
        return Contrast(np.nan, np.nan, np.nan)
    local_sd = _robust_sd(normal)
    noise = 0.0
    if channel.deviation is not None:
        noise = float(np.sqrt(np.mean(np.square(channel.deviation[place.box][place.inside]))))
    spread = max(_robust_sd(values), noise)
    # A median is uncertain by 1.25 times what a mean is.
    error = 1.2533 * np.sqrt(
        spread**2 / place.independent(values.size, how) + local_sd**2 / place.independent(normal.size, how)
    )
    least = restless((0.75 * values.size * place.voxel_mm3 / pi) ** (1 / 3))
    return Contrast(float(np.median(values) - np.median(normal)), max(float(error), least), local_sd)


def _statistics(name: str, channel: Channel, place: _Place, contrast: Contrast, how: Measures) -> dict[str, float]:
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


def _map_moment(maps: ReviewMaps, place: _Place, how: Measures) -> dict[str, float]:
    """∑χ·volume above the surroundings with its error, and the peak."""
    chi = maps.channels["chi"].values[place.box] * 1e-3
    region = place.mask & ~place.others & (place.outward_mm <= how.blooming_mm)
    normal = chi[place.shell]
    if not region.any() or normal.size < 3:
        return dict.fromkeys(("moment_map_ppm_mm3", "moment_map_error_ppm_mm3", "chi_peak_ppb"), np.nan)
    base, sd = float(np.median(normal)), _robust_sd(normal)
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


def _field_moment(
    number: int, maps: ReviewMaps, place: _Place, trusted: Where, centres: Mapping[int, Array], how: Measures
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


def _believed(row: Mapping[str, Any], field: Moment, place: _Place, how: Measures) -> dict[str, Any]:
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


def _centres(lesions: Lesions) -> dict[int, Array]:
    from scipy.ndimage import center_of_mass

    numbers = sorted(lesions.segments)
    found = center_of_mass(lesions.numbers > 0, lesions.numbers, numbers)
    return {n: np.asarray(c, dtype=float) for n, c in zip(numbers, found, strict=True)}


def _trusted(maps: ReviewMaps) -> Where:
    """Where the field is known and neither dephased nor wrapped wrong."""
    inside = maps.brain if maps.brain is not None and maps.total_ppm is not None else maps.mask
    if maps.noise_ppm is None:
        return inside
    known = inside & (maps.noise_ppm > 0)
    limit = TRUSTED * float(np.median(maps.noise_ppm[known])) if known.any() else 0.0
    return known & (maps.noise_ppm < limit)


def _rim(channel: Channel, place: _Place, how: Measures) -> tuple[Contrast | None, Contrast | None]:
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
        squares = [1.57 * _robust_sd(v) ** 2 / place.independent(v.size, how) for v in (outer, other)]
        return Contrast(float(np.median(outer) - np.median(other)), float(np.sqrt(sum(squares))), 0.0)

    tissue = against(normal)
    return against(core), Contrast(tissue.value, tissue.error, _robust_sd(normal))


def _profiles(
    channels: Mapping[str, Channel], place: _Place, how: Measures
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


def _sure(row: Mapping[str, Any], by: str) -> bool:
    value, error = (row.get(f"moment_{by}_{name}", np.nan) for name in ("ppm_mm3", "error_ppm_mm3"))
    return bool(abs(value) > 3 * error)


def _flags(
    row: Mapping[str, Any],
    place: _Place,
    to_edge: Array,
    residual: NDArray[Any] | None,
    usual: float,
    maps: ReviewMaps,
    how: Measures,
) -> list[str]:
    flags = []
    if not place.inside.any():
        return ["outside the mask"]
    lost = 1 - place.inside.sum() / place.own.sum()
    if lost > 0.02:
        flags.append(f"{lost:.0%} outside the mask")
    if float(to_edge[place.box][place.inside].min()) <= 2.0 + max(place.voxel_mm):
        flags.append("at the edge of the mask")
    if place.shell.sum() < how.least_voxels:
        flags.append("little normal tissue around")
    if place.own.sum() < 5:
        flags.append("tiny")
    # Of weak sources the field says little.
    both = ("map", "field") if row["moment_by"] == "field" else ()
    signs = [np.sign(row[f"moment_{by}_ppm_mm3"]) for by in both if _sure(row, by)]
    if len(set(signs)) > 1:
        flags.append("map and field disagree on the sign")
    if residual is not None:
        here = residual[place.box][place.inside]
        size = float(np.std(maps.field_ppm[place.box][place.inside])) if maps.field_ppm is not None else 0.0
        if float(np.median(np.abs(here))) > max(4 * usual, 0.5 * size):
            flags.append("χ does not explain the field here")
    return flags


def _residual(maps: ReviewMaps) -> NDArray[Any] | None:
    """What the field has that χ does not explain, ppm, where both are there."""
    if maps.field_ppm is None or "chi" not in maps.channels:
        return None
    import torch

    from ..physics.dipole import Dipole

    chi = torch.as_tensor(maps.channels["chi"].values * np.float32(1e-3))
    explained = Dipole.of(maps.grid).field(chi).numpy()
    difference = maps.field_ppm - explained
    return difference - np.median(difference[maps.mask]) if maps.mask.any() else None


def _least(distance: Array | None, place: _Place) -> float:
    return float(distance[place.box][place.own].min()) if distance is not None else np.nan


def _robust_sd(values: NDArray[Any]) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
