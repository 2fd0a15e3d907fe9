"""What lesions lie in: normal-appearing white matter, veins, ventricles; from a segmentation, or told from the maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..labels import Label
from .lesions import Where
from .maps import CHANNELS, ReviewMaps
from .white import white_matter


@dataclass(frozen=True)
class Surroundings:
    """Masks (X, Y, Z) of the tissues that measurements need. `remark` says how they were told."""

    white: Where
    veins: Where
    ventricles: Where
    remark: str = ""


def from_labels(labels: np.ndarray) -> Surroundings:
    """Of a segmentation with the numbers of `labels.Label`."""
    numbers = np.rint(np.asarray(labels)).astype(int)
    csf = numbers == Label.CSF
    return Surroundings(numbers == Label.WHITE_MATTER, numbers == Label.VEIN, _central(csf, numbers > 0))


def from_maps(maps: ReviewMaps, lesions: Where) -> Surroundings:
    """Told from χ, χ_dia and R2* alone, without anatomy: what a lesion's contrast is against, not a segmentation.

    CSF decays slowly (R2* below 8 Hz), ventricles are those of `findcsf` where it ran; veins are those of `findvessels`
    and beads and strings of high χ; white matter is what `white_matter` tells from the rest. Lesions count as nothing.
    """
    from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

    inside = maps.mask & ~lesions
    voxel = np.array(maps.grid.voxel_size_mm)
    nothing = np.zeros(maps.grid.shape, dtype=bool)
    iron = maps.channels.get("chi_para") or maps.channels.get("chi")
    veins = nothing if maps.veins is None else maps.veins & ~lesions
    if iron is not None and inside.any():
        high = np.where(inside, iron.values - np.median(iron.values[inside]), 0.0) > 80.0
        veins = veins | (binary_dilation(high) & maps.mask & ~lesions)
    fluid = nothing
    if "r2star" in maps.channels:
        decay = maps.channels["r2star"].values
        fluid = (gaussian_filter(np.where(maps.mask, decay, 20.0), 0.7 / voxel) < 8.0) & maps.mask & ~lesions
    central = _ventricles(maps, fluid)
    fluid = fluid | (central & ~lesions)
    free = inside & ~veins & ~fluid
    if not free.any():
        return Surroundings(nothing, veins, central, "No normal tissue was found.")
    clean = ~binary_dilation(fluid | ~maps.mask, iterations=2)
    white, told = white_matter({name: c.values for name, c in maps.channels.items()}, free, clean, voxel.tolist())
    if not told:
        return Surroundings(free, veins, central, "Tissue was not told apart.")
    by = ", ".join(CHANNELS[name][0] for name in told)
    remark = f"No segmentation was given: normal-appearing white matter was told from {by}."
    return Surroundings(white & binary_erosion(maps.mask, iterations=2), veins, central, remark)


def _ventricles(maps: ReviewMaps, csf: Where) -> Where:
    """Those of the run, else told from R2* as `findcsf` does, else the fluid that lies deep."""
    if maps.ventricles is not None and maps.ventricles.any():
        return maps.ventricles
    if "r2star" in maps.channels:
        from .._lazy import torch
        from ..separation.findcsf import ventricles

        decay, inside = (torch.from_numpy(v) for v in (maps.channels["r2star"].values, maps.mask))
        found: Where = ventricles(decay, inside, maps.grid.voxel_size_mm).numpy()
        if found.any():
            return found
    return _central(csf, maps.mask)


def _central(csf: Where, brain: Where) -> Where:
    """The ventricles: pieces of CSF that are large and deep in the brain."""
    from scipy.ndimage import binary_opening, distance_transform_edt, label

    if not csf.any():
        return csf
    # Sulci are thin and reach the surface: opening cuts them off from what lies deep.
    pieces, count = label(binary_opening(csf))
    deep = distance_transform_edt(np.pad(brain, 1))[1:-1, 1:-1, 1:-1]
    limit = 0.45 * float(deep.max())
    keep = [i for i in range(1, count + 1) if (pieces == i).sum() > 20 and deep[pieces == i].mean() > limit]
    return np.isin(pieces, keep)
