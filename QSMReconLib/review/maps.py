"""The maps that lesions are measured in, on one grid, in the units that readers use: ppb and Hz."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .lesions import Volume, Where

if TYPE_CHECKING:
    from ..data import Grid


@dataclass(frozen=True)
class Channel:
    """One map: its values, their unit, the grey window it is shown in, and its standard deviation where known."""

    title: str
    unit: str
    window: tuple[float, float]
    values: Volume
    deviation: Volume | None = None


CHANNELS: Mapping[str, tuple[str, str, tuple[float, float], float]] = {
    "chi": ("χ", "ppb", (-100.0, 100.0), 1e3),
    "chi_para": ("χ_para", "ppb", (0.0, 100.0), 1e3),
    "chi_dia": ("χ_dia", "ppb", (0.0, 100.0), 1e3),
    "r2star": ("R2*", "Hz", (0.0, 50.0), 1.0),
}
"""The maps there can be: title, unit, window, and the factor from the library's unit (ppm, Hz)."""

BIDS = {"chi": "Chimap", "chi_para": "desc-para_Chimap", "chi_dia": "desc-dia_Chimap", "r2star": "R2starmap"}
"""What their files are called among derivatives."""


@dataclass(frozen=True)
class ReviewMaps:
    """The maps of one subject. `mask` is where they were made; everything else helps where it is there.

    `r2prime_measured` says whether χ_para and χ_dia rest on spin echoes or on R2* alone; None where nobody knows.
    """

    grid: Grid
    mask: Where
    channels: Mapping[str, Channel]
    magnitude: Volume | None = None
    field_ppm: Volume | None = None
    total_ppm: Volume | None = None
    brain: Where | None = None
    """Where the total field is known, which may be more than `mask`."""
    noise_ppm: Volume | None = None
    """The standard deviation of the field, large where it cannot be trusted."""
    veins: Where | None = None
    ventricles: Where | None = None
    r2prime_measured: bool | None = None
    field_strength_t: float = 3.0
    swi: Volume | None = None


MORE = {
    "total": "desc-total_fieldmap",
    "brain": "desc-brain_mask",
    "noise": "desc-noise_fieldmap",
    "veins": "desc-vessels_mask",
    "csf": "desc-csf_mask",
    "uncertainty": "desc-uncertainty_Chimap",
    "swi": "swi",
}
"""What else of a run helps, and its files among derivatives."""


def channel(name: str, values: np.ndarray, deviation: np.ndarray | None = None) -> Channel:
    """A map in the library's unit (ppm or Hz) as a channel. Raises InputError for a name that is not in CHANNELS."""
    if name not in CHANNELS:
        raise InputError(f"There is no map called {name!r}; there are {', '.join(CHANNELS)}.")
    title, unit, window, factor = CHANNELS[name]
    scaled, spread = (
        None if v is None else np.asarray(v, dtype=np.float32) * np.float32(factor) for v in (values, deviation)
    )
    assert scaled is not None
    return Channel(title, unit, window, scaled, spread)


def load_maps(
    files: Mapping[str, Path],
    mask: Path | None = None,
    magnitude: Path | None = None,
    field: Path | None = None,
    more: Mapping[str, Path | None] | None = None,
) -> ReviewMaps:
    """Maps by name from files; without a mask, where any of them is not zero. `more` are files by the names of MORE.

    The sidecar of χ_para (or of another map) tells the field strength and whether R2′ was measured. Raises InputError
    if there is no map, or if they lie on different grids.
    """
    from ..io.files import load_map
    from ..io.nifti import describe_grid

    grid: Grid | None = None
    given = {"mask": mask, "magnitude": magnitude, "field": field} | {name: (more or {}).get(name) for name in MORE}
    if "chi" not in files:
        given["uncertainty"] = None
    loaded: dict[str, np.ndarray] = {}
    for name, path in [*files.items(), *((key, path) for key, path in given.items() if path is not None)]:
        values, own = load_map(path)
        if grid is None:
            grid = own
        elif not own.same_place(grid, 0.1 * min(grid.voxel_size_mm)):
            raise InputError(
                f"{path} lies on another grid ({describe_grid(own)}) than the other maps ({describe_grid(grid)}): "
                "resample it."
            )
        loaded[name] = values.numpy()
    if grid is None or not files:
        raise InputError("There is no map to measure in: give χ, χ_para, χ_dia or R2*.")
    channels = {
        name: channel(name, loaded[name], loaded.get("uncertainty") if name == "chi" else None) for name in files
    }
    there = np.any([c.values != 0 for c in channels.values()], axis=0)
    measured, tesla = _acquired(files)
    masks = {name: loaded[name] > 0.5 if name in loaded else None for name in ("mask", "brain", "veins", "csf")}
    return ReviewMaps(
        grid,
        there if masks["mask"] is None else masks["mask"],
        channels,
        loaded.get("magnitude"),
        loaded.get("field"),
        loaded.get("total"),
        masks["brain"],
        loaded.get("noise"),
        masks["veins"],
        masks["csf"],
        measured,
        tesla,
        loaded.get("swi"),
    )


def beside(path: Path) -> dict[str, Any]:
    """The JSON beside a map; nothing where there is none that can be read."""
    try:
        described = json.loads(path.with_name(path.name.split(".nii")[0] + ".json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}


def _acquired(files: Mapping[str, Path]) -> tuple[bool | None, float]:
    """(whether R2′ was measured, field strength) as the sidecars of maps tell."""
    known: dict[str, Any] = {}
    for name in ("chi", "r2star", "chi_dia", "chi_para"):
        known |= beside(files[name]) if name in files else {}
    ran = known.get("Seconds")
    measured = "r2fit" in ran if isinstance(ran, dict) and "chi_para" in files else None
    return measured, float(known.get("MagneticFieldStrength") or 3.0)


def find_magnitude(maps: Mapping[str, Path], grid: Grid) -> Volume | None:
    """The first echo's magnitude, where the scan that a map's sidecar names is still there, on the grid of the maps."""
    from ..io.files import load_map

    named = [item for path in maps.values() for item in beside(path).get("Inputs") or ()]
    inputs = [str(item.get("File", "")) for item in named if isinstance(item, dict)]
    echoes = [Path(item) for item in sorted(set(inputs)) if "MEGRE" in Path(item).name and ".nii" in item]
    for parts in (("mag",), ("real", "imag")):
        first = [next((p for p in echoes if f"part-{part}" in p.name and p.is_file()), None) for part in parts]
        if all(first):
            try:
                pair = [load_map(path) for path in first if path is not None]
            except InputError:
                # Pictures are no reason to refuse a review.
                continue
            if all(own.same_place(grid, 0.1 * min(grid.voxel_size_mm)) for _, own in pair):
                return np.sqrt(sum(values.numpy().astype(np.float32) ** 2 for values, _ in pair))
    return None


def find_maps(derivatives: Path, scan: str = "") -> tuple[str, dict[str, Path], dict[str, Path]]:
    """(scan, map files by name, other files) of a scan's results in a BIDS derivatives folder; the others are what
    `load_maps` takes besides.

    `derivatives` may be the dataset or the subject's own folder; without the name of a `scan` there must be one alone.
    Raises InputError if no scan or several are found.
    """
    scans = find_scans(derivatives)
    if scan and scan not in scans:
        raise InputError(f"{derivatives} holds no maps of {scan}; it holds {', '.join(scans)}.")
    if not scan and len(scans) > 1:
        raise InputError(f"{derivatives} holds several scans ({', '.join(scans)}): give the folder of one subject.")
    scan = scan or next(iter(scans))
    found = scans[scan]
    others = {"mask": found.get("mask") or found.get("brain")}
    others |= {name: found.get(name) for name in ("field", *MORE)}
    maps = {name: path for name, path in found.items() if name in BIDS}
    return scan, maps, {name: path for name, path in others.items() if path is not None}


def find_scans(derivatives: Path) -> dict[str, dict[str, Path]]:
    """The files of every scan that has maps, by the names that this module gives them. Raises InputError for none."""
    scans: dict[str, dict[str, Path]] = {}
    wanted = {bids: name for name, bids in BIDS.items()}
    wanted |= {"desc-local_mask": "mask", "desc-local_fieldmap": "field"} | {bids: name for name, bids in MORE.items()}
    for path in sorted(derivatives.glob("**/sub-*.nii*")):
        parts = path.name.split(".nii")[0].split("_")
        what = "_".join([*(p for p in parts if p.startswith("desc-")), parts[-1]])
        stem = "_".join(p for p in parts[:-1] if not p.startswith("desc-"))
        if what in wanted:
            scans.setdefault(stem, {})[wanted[what]] = path
    scans = {scan: found for scan, found in scans.items() if any(name in found for name in BIDS)}
    if not scans:
        raise InputError(f"There are no χ or R2* maps below {derivatives}: give a folder of results.")
    return scans
