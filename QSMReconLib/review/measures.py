"""Every lesion measured: size, contrast to normal-appearing white matter, moment, rim, shape, and what to doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classification import Contrast
from .lesions import Lesions, Where, centre_mm, shape_of
from .maps import Channel, ReviewMaps
from .surroundings import Surroundings

Box = tuple[slice, slice, slice]
Array = NDArray[np.float64]

BOX_MARGIN_MM = 12.0
PROFILE_BINS = 5


@dataclass(frozen=True)
class Measures:
    """How lesions are measured."""

    shell_mm: tuple[float, float] = (2.0, 6.0)
    """Between these distances from a lesion lies what it is compared with."""
    least_voxels: int = 60
    """With fewer in the shell, it reaches twice as far."""
    independent_mm3: float = 8.0
    """Neighbouring voxels of a map err together: a volume of this size counts as one measurement."""
    blooming_mm: float = 2.0
    """How far around a lesion its moment is summed."""
    confidence_z: float = 1.645
    """Of the intervals in the table: 90 %."""


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

    how = how or Measures()
    voxel = maps.grid.voxel_size_mm
    to_edge = distance_transform_edt(np.pad(maps.mask, 1), sampling=voxel)[1:-1, 1:-1, 1:-1]
    to_ventricle = distance_transform_edt(~around.ventricles, sampling=voxel) if around.ventricles.any() else None
    residual = _residual(maps)
    boxes = find_objects(lesions.numbers)
    numbers = sorted(lesions.segments)
    measured = []
    for done, number in enumerate(numbers):
        place = _Place.of(number, boxes[number - 1], lesions, maps, around, how)
        row = _geometry(number, lesions, place)
        contrasts = {name: _contrast(c, place, how) for name, c in maps.channels.items()}
        for name, c in maps.channels.items():
            row |= _statistics(name, c, place, contrasts[name], how)
        if "chi" in maps.channels:
            row |= _moments(maps, place, how)
        row["distance_ventricle_mm"] = _least(to_ventricle, place)
        row["vein_share"] = float(around.veins[place.box][place.own].mean())
        iron = "chi_para" if "chi_para" in maps.channels else "chi"
        rim, edge = _rim(maps.channels[iron], place, how) if iron in maps.channels else (None, None)
        row["rim_contrast_ppb"] = rim.value if rim else np.nan
        row["rim_score"] = rim.value / max(rim.error, 1e-9) if rim else np.nan
        row["flags"] = "; ".join(_flags(place, to_edge, residual, maps, how))
        profile = {name: _profile(c, place, how) for name, c in maps.channels.items()}
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


def _contrast(channel: Channel, place: _Place, how: Measures) -> Contrast:
    """Of medians, with the standard error that noise and texture give them."""
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
    return Contrast(float(np.median(values) - np.median(normal)), float(error), local_sd)


def _statistics(name: str, channel: Channel, place: _Place, contrast: Contrast, how: Measures) -> dict[str, float]:
    values, normal = channel.values[place.box][place.inside], channel.values[place.box][place.shell]
    unit = channel.unit.lower()
    found: dict[str, Any] = {"mean": np.nan, "median": np.nan, "sd": np.nan, "p5": np.nan, "p95": np.nan}
    if values.size:
        low, middle, high = np.percentile(values, (5, 50, 95))
        found = {"mean": values.mean(), "median": middle, "sd": values.std(), "p5": low, "p95": high}
    reach = how.confidence_z * contrast.error
    found |= {
        "normal": np.median(normal) if normal.size else np.nan,
        "local_sd": contrast.local_sd,
        "contrast": contrast.value,
        "contrast_low": contrast.value - reach,
        "contrast_high": contrast.value + reach,
    }
    return {f"{name}_{key}_{unit}": float(value) for key, value in found.items()}


def _moments(maps: ReviewMaps, place: _Place, how: Measures) -> dict[str, float]:
    """∑χ·volume above the surroundings, with its error, the peak, and the moment that the field around tells of."""
    chi = maps.channels["chi"].values[place.box] * 1e-3
    region = place.mask & ~place.others & (place.outward_mm <= how.blooming_mm)
    normal = chi[place.shell]
    if not region.any() or normal.size < 3:
        return dict.fromkeys(("moment_ppm_mm3", "moment_error_ppm_mm3", "chi_peak_ppb", "moment_field_ppm_mm3"), np.nan)
    base, sd = float(np.median(normal)), _robust_sd(normal)
    n = int(region.sum())
    # The sum errs by its voxels' noise, and all of it together by that of the base.
    noise = sd * n * np.sqrt(1 / place.independent(n, how) + 1 / place.independent(normal.size, how))
    moment = float((chi[region] - base).sum())
    # A tenth of the voxels must be there: one that a vein runs through is no peak of the lesion.
    peak = np.percentile(chi[place.inside] - base, 90 if moment > 0 else 10) if place.inside.any() else np.nan
    return {
        "moment_ppm_mm3": moment * place.voxel_mm3,
        "moment_error_ppm_mm3": float(noise) * place.voxel_mm3,
        "chi_peak_ppb": 1e3 * float(peak),
        "moment_field_ppm_mm3": _dipole_moment(maps, place),
    }


def _dipole_moment(maps: ReviewMaps, place: _Place) -> float:
    """The moment that fits the field around a lesion best: that of a dipole at its centre, on a linear ground."""
    if maps.field_ppm is None:
        return np.nan
    middle = np.argwhere(place.own).mean(0)
    at = [(np.arange(n) - m) * v for n, m, v in zip(place.own.shape, middle, place.voxel_mm, strict=True)]
    x, y, z = np.meshgrid(*at, indexing="ij")
    r = np.sqrt(x**2 + y**2 + z**2)
    equal = (0.75 * place.own.sum() * place.voxel_mm3 / pi) ** (1 / 3)
    near = place.mask & ~place.own & ~place.others & (r > equal + 1.0) & (r < 2.5 * equal + 3.0)
    if near.sum() < 30:
        return np.nan
    b0 = maps.grid.b0_direction
    r, along = r[near], (b0[0] * x + b0[1] * y + b0[2] * z)[near]
    dipole = (3 * along**2 / r**2 - 1) / r**3
    terms = np.stack([dipole, np.ones_like(r), x[near], y[near], z[near]], axis=1)
    fitted = np.linalg.lstsq(terms, maps.field_ppm[place.box][near].astype(float), rcond=None)[0]
    # A sphere's field is χ·a³/3·(3cos²θ - 1)/r³, and its moment χ·4πa³/3.
    return 4 * pi * float(fitted[0])


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


def _profile(channel: Channel, place: _Place, how: Measures) -> list[tuple[float, float, float]]:
    """The map over depth: outwards in steps to the end of the shell, inwards in shares of the greatest depth."""
    values = channel.values[place.box]
    deepest = max(float(place.depth_mm[place.own].max()), 1e-6)
    outside = place.mask & ~place.own & ~place.others
    depth = np.where(place.own, place.depth_mm / deepest, -place.outward_mm / how.shell_mm[1])
    edges = np.linspace(-1, 1, 2 * PROFILE_BINS + 1)
    found = []
    for low, high in pairwise(edges):
        part = (outside if high <= 0 else place.inside) & (depth >= low) & (depth <= high)
        if part.sum() >= 3:
            error = values[part].std() / np.sqrt(place.independent(int(part.sum()), how))
            found.append((float(low + high) / 2, float(values[part].mean()), float(error)))
    return found


def _flags(place: _Place, to_edge: Array, residual: NDArray[Any] | None, maps: ReviewMaps, how: Measures) -> list[str]:
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
    if residual is not None:
        usual = float(np.median(np.abs(residual[maps.mask])))
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


def describe() -> Mapping[str, tuple[str, str]]:
    """Columns of the table: (what, unit), as BIDS wants them described. Those of maps stand for each map's."""
    return _COLUMNS


_COLUMNS: Mapping[str, tuple[str, str]] = {
    "label": ("Number of the lesion in the label map", ""),
    "segment": ("Label or segment of the input that the lesion is a piece of", ""),
    "proposed": ("Whether the lesion is an automatic proposal", ""),
    "voxels": ("Voxels of the lesion", ""),
    "volume_mm3": ("Volume", "mm^3"),
    "x": ("Centre, to the right", "mm"),
    "y": ("Centre, to the front", "mm"),
    "z": ("Centre, upwards", "mm"),
    "elongation": ("Length over width, from the axes of inertia", ""),
    "shell_voxels": ("Voxels of normal-appearing white matter that the lesion is compared with", ""),
    "moment_ppm_mm3": ("Sum of χ above the surroundings times volume, over the lesion and 2 mm around it", "ppm mm^3"),
    "moment_error_ppm_mm3": ("Its standard error", "ppm mm^3"),
    "moment_field_ppm_mm3": ("The moment of the dipole that fits the field around the lesion", "ppm mm^3"),
    "chi_peak_ppb": ("The tenth of the lesion that deviates most: its χ against the surroundings", "ppb"),
    "distance_ventricle_mm": ("Distance to the nearest ventricle", "mm"),
    "vein_share": ("Share of the lesion's voxels that are vein", ""),
    "rim_contrast_ppb": ("χ_para (or χ) of the outer half against the core", "ppb"),
    "rim_score": ("The same in units of its standard error", ""),
    "flags": ("What to doubt", ""),
}
