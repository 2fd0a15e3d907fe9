"""The maps that lesions are measured in, on one grid, in the units that readers use: ppb and Hz."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    """The maps of one subject. `mask` is where they were made; magnitude and local field help where they are there."""

    grid: Grid
    mask: Where
    channels: Mapping[str, Channel]
    magnitude: Volume | None = None
    field_ppm: Volume | None = None


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
    files: Mapping[str, Path], mask: Path | None = None, magnitude: Path | None = None, field: Path | None = None
) -> ReviewMaps:
    """Maps by name from files; without a mask, where any of them is not zero.

    Raises InputError if there is none, or if they lie on different grids.
    """
    from ..io.files import load_map
    from ..io.nifti import describe_grid

    channels = {}
    grid: Grid | None = None
    others = {"mask": mask, "magnitude": magnitude, "field": field}
    extra: dict[str, np.ndarray] = {}
    for name, path in [*files.items(), *((key, path) for key, path in others.items() if path is not None)]:
        values, own = load_map(path)
        if grid is None:
            grid = own
        elif not own.same_place(grid, 0.1 * min(grid.voxel_size_mm)):
            raise InputError(
                f"{path} lies on another grid ({describe_grid(own)}) than the other maps ({describe_grid(grid)}): "
                "resample it."
            )
        if name in others:
            extra[name] = values.numpy()
        else:
            channels[name] = channel(name, values.numpy())
    if grid is None or not channels:
        raise InputError("There is no map to measure in: give χ, χ_para, χ_dia or R2*.")
    there = np.any([c.values != 0 for c in channels.values()], axis=0)
    inside = extra["mask"] > 0.5 if "mask" in extra else there
    return ReviewMaps(grid, inside, channels, extra.get("magnitude"), extra.get("field"))


def find_maps(derivatives: Path, subject: str = "") -> tuple[str, dict[str, Path], dict[str, Path]]:
    """(scan, map files by name, other files: mask, field) of a subject's results in a BIDS derivatives folder.

    `derivatives` may be the dataset or the subject's own folder. Raises InputError if no scan or several are found.
    """
    scans: dict[str, dict[str, Path]] = {}
    wanted = {bids: name for name, bids in BIDS.items()}
    wanted |= {"desc-local_mask": "mask", "desc-brain_mask": "brain", "desc-local_fieldmap": "field"}
    for path in sorted(derivatives.glob("**/sub-*.nii*")):
        parts = path.name.split(".nii")[0].split("_")
        what = "_".join([*(p for p in parts if p.startswith("desc-")), parts[-1]])
        stem = "_".join(p for p in parts[:-1] if not p.startswith("desc-"))
        if what in wanted and (not subject or parts[0] == f"sub-{subject.removeprefix('sub-')}"):
            scans.setdefault(stem, {})[wanted[what]] = path
    scans = {scan: found for scan, found in scans.items() if any(name in found for name in BIDS)}
    if not scans:
        raise InputError(f"There are no χ or R2* maps below {derivatives}: give a folder of results.")
    if len(scans) > 1:
        raise InputError(f"{derivatives} holds several scans ({', '.join(scans)}): give the folder of one subject.")
    scan, found = next(iter(scans.items()))
    others = {"mask": found.get("mask") or found.get("brain"), "field": found.get("field")}
    maps = {name: path for name, path in found.items() if name in BIDS}
    return scan, maps, {name: path for name, path in others.items() if path is not None}
