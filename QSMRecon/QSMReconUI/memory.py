"""How much memory a reconstruction of a scan will take, roughly, before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .scan import Echo, chosen, volumes_of

BYTES_PER_VOXEL = 170
"""What the hungriest classical stage (LBV) holds beyond the scan: 867 MB on 5.1 million voxels, by benchmarks/speed."""

START_BYTES = 600_000_000
"""What PyTorch and the other libraries take before any work."""

COPIES = 2
"""The scan itself, as it was read and in the unit it is worked on."""


def need_bytes(rows: Sequence[Echo]) -> int | None:
    """The memory that the scan of these rows needs; None without a scan, or where a file does not say its size.

    Networks need more or less by their own measure: the library cuts the volume into as many pieces as fit.
    """
    voxels = images = 0
    for echo in chosen(rows):
        shape = _shape(echo)
        if shape is None:
            return None
        voxels = max(voxels, shape[0] * shape[1] * shape[2])
        images += echo.count
    return START_BYTES + voxels * (4 * COPIES * images + BYTES_PER_VOXEL) if voxels else None


def _shape(echo: Echo) -> tuple[int, ...] | None:
    if echo.in_scene:
        image = volumes_of(echo.source)[0].GetImageData() if echo.count else None
        return None if image is None else tuple(image.GetDimensions())
    if not isinstance(echo.source, Path):
        return tuple(echo.source.shape)
    import nibabel

    try:
        return tuple(nibabel.load(echo.source).shape[:3])
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError):
        return None
