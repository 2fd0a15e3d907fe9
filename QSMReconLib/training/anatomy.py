"""The base anatomy of simulated heads: tissue probabilities of the MNI152 template with deep nuclei placed in it.

The template (ICBM 2009a nonlinear symmetric) is read from the installed `nilearn` package and never shipped with ours.
Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill
University; use and distribution are permitted with that notice (Fonov et al. 2011,
doi:10.1016/j.neuroimage.2010.07.033).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError


@dataclass(frozen=True)
class Tissue:
    """What a tissue is in numbers: mean χ_para and χ_dia in ppb, both positive, and R2 at 3 T in Hz."""

    name: str
    para_ppb: float
    dia_ppb: float
    r2_hz: float
    ellipsoids: tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...] = ()
    """Of a nucleus, on the right side: centre and half axes in MNI mm, and a turn about z in degrees."""


TISSUES = (
    Tissue("white matter", 17, 29, 14),
    Tissue("grey matter", 25, 12, 11.5),
    Tissue("CSF", 0, 0, 0.7),
    Tissue("caudate", 48, 8, 13, (((13, 14, 5), (5.5, 9, 9), 10), ((15.5, 1, 18), (4.5, 11, 5), 12))),
    Tissue("putamen", 77, 10, 14.5, (((27, 3, 0), (5, 15, 9.5), 14), ((23, 12, -1), (6, 6, 7), 0))),
    Tissue("pallidum", 132, 13, 20, (((19, -4, -1), (4, 8.5, 6), 22),)),
    Tissue("red nucleus", 112, 10, 17, (((5, -20, -9), (3.3, 3.8, 4.5), 0),)),
    Tissue("substantia nigra", 116, 11, 18, (((10, -17, -12), (2.6, 7, 4), 35),)),
    Tissue("dentate nucleus", 110, 15, 16, (((15, -57, -34), (6, 8, 4.5), 25),)),
    Tissue("thalamus", 23, 21, 13, (((11, -18, 8), (8, 12.5, 8), 20),)),
    Tissue("pulvinar", 52, 4, 13, (((14, -28, 7), (5, 5, 5), 0),)),
)
"""χ of the nuclei after an atlas of 106 subjects (doi:10.1002/nbm.5226); χ of the cortex, CSF and dentate, and all R2,
are our choice."""


@dataclass(frozen=True)
class Anatomy:
    """Channels (C, X, Y, Z), 1 mm, in 0..1: brain, grey matter, white matter, T1, then the nuclei of TISSUES."""

    channels: torch.Tensor
    centre_mm: tuple[float, float, float]
    """MNI coordinates of the middle of the volume."""

    @classmethod
    def load(cls, device: torch.device | str = "cpu") -> Anatomy:
        """The template with nuclei. Raises InputError where nilearn is not installed."""
        brain, t1, grey, white, corner = _template()
        x, y, z = (np.arange(n, dtype=np.float32) + c for n, c in zip(t1.shape, corner, strict=True))
        nuclei = [_nucleus(tissue, x, y, z) for tissue in TISSUES if tissue.ellipsoids]
        stack = np.stack([brain, grey, white, t1, *nuclei]).astype(np.float32)
        middle = [float(c + (n - 1) / 2) for n, c in zip(t1.shape, corner, strict=True)]
        return cls(torch.from_numpy(stack).to(device), (middle[0], middle[1], middle[2]))


def _template() -> tuple[NDArray, NDArray, NDArray, NDArray, list[float]]:
    """Brain, T1, grey and white matter in 0..1, cut to the brain, and the MNI coordinates of their first voxel."""
    import nibabel
    from scipy.ndimage import binary_fill_holes

    package = find_spec("nilearn")
    if package is None or not package.submodule_search_locations:
        raise InputError("The simulator takes its anatomy from nilearn: install it (pip install nilearn).")
    folder = Path(package.submodule_search_locations[0]) / "datasets" / "data"
    volumes = []
    for name in ("t1", "gm", "wm"):
        image = nibabel.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
        volumes.append(np.asarray(image.dataobj, dtype=np.float32) / 255)  # type: ignore[attr-defined]
    brain = binary_fill_holes(volumes[0] > 0)
    inside = np.argwhere(brain)
    low, high = inside.min(0) - 2, inside.max(0) + 3
    low = np.maximum(low, 0)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    corner = image.affine[:3, 3] + low  # type: ignore[attr-defined]
    t1, grey, white = (volume[box] for volume in volumes)
    return brain[box].astype(np.float32), t1, grey, white, [float(c) for c in corner]


def _nucleus(tissue: Tissue, x: NDArray, y: NDArray, z: NDArray) -> NDArray:
    """Both sides of a nucleus with an edge about 1.5 mm wide."""
    found = np.zeros((x.size, y.size, z.size), dtype=np.float32)
    for (cx, cy, cz), (rx, ry, rz), turn in tissue.ellipsoids:
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        for side in (1, -1):
            dx, dy, dz = (side * x - cx)[:, None, None], (y - cy)[None, :, None], (z - cz)[None, None, :]
            along, across = cos * dx + sin * dy, cos * dy - sin * dx
            distance = (np.sqrt((along / rx) ** 2 + (across / ry) ** 2 + (dz / rz) ** 2) - 1) * min(rx, ry, rz)
            found = np.maximum(found, np.clip(0.5 - distance / 1.5, 0, 1))
    return found
