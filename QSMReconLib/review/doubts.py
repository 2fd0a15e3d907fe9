"""What to doubt in the numbers of a lesion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .maps import ReviewMaps
from .measureoptions import Measures
from .place import Array, Place


def doubts(
    row: Mapping[str, Any],
    place: Place,
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


def _sure(row: Mapping[str, Any], by: str) -> bool:
    value, error = (row.get(f"moment_{by}_{name}", np.nan) for name in ("ppm_mm3", "error_ppm_mm3"))
    return bool(abs(value) > 3 * error)


def unexplained_field(maps: ReviewMaps) -> NDArray[Any] | None:
    """What the field has that χ does not explain, ppm, where both are there."""
    if maps.field_ppm is None or "chi" not in maps.channels:
        return None
    import torch

    from ..physics.dipole import Dipole

    chi = torch.as_tensor(maps.channels["chi"].values * np.float32(1e-3))
    explained = Dipole.of(maps.grid).field(chi).numpy()
    difference = maps.field_ppm - explained
    return difference - np.median(difference[maps.mask]) if maps.mask.any() else None
