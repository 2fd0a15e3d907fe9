"""How much memory there is, and how much a reconstruction will take, before it is run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .io.scan import ScanFiles, Source

START_BYTES = 600_000_000
"""What PyTorch and the other libraries take before any work."""

COPIES = 2
"""The scan itself, as it was read and in the unit it is worked on; float32."""

BYTES_PER_VOXEL = 300
"""What the hungriest pipeline, clinical, holds beyond the scan: it took 3.3 GB in all for 6.9 million voxels and 12
volumes; classical took 2.2 GB."""


def need_bytes(images: Iterable[tuple[tuple[int, ...] | None, int]]) -> int | None:
    """The memory that a scan takes, roughly: `images` are the shape of each and how many volumes it holds. None without
    any, or where a shape is not known.

    Networks need more or less by their own measure: they cut the volume into as many pieces as fit.
    """
    largest = volumes = 0
    for shape, count in images:
        if shape is None:
            return None
        largest = max(largest, shape[0] * shape[1] * shape[2])
        volumes += count
    return START_BYTES + largest * (4 * COPIES * volumes + BYTES_PER_VOXEL) if largest else None


def need_of(files: ScanFiles) -> int | None:
    """The memory that the scan of these files takes, by their headers alone; None where they do not say it."""
    parts = (files.magnitude, files.phase, files.real, files.imag, files.spin_echo)
    return need_bytes(shape_of(source) for part in parts for source in part)


def shape_of(source: Source) -> tuple[tuple[int, ...] | None, int]:
    """The shape of a NIfTI file or a DICOM image and how many volumes it holds; (None, 1) if the header is damaged,
    which reading it will say."""
    if not isinstance(source, Path):
        return tuple(source.shape), len(source.echoes)
    import nibabel

    try:
        shape = nibabel.load(source).shape  # type: ignore[attr-defined]
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError):
        return None, 1
    return (tuple(shape[:3]), shape[3] if len(shape) > 3 else 1) if len(shape) >= 3 else (None, 1)


def free_bytes() -> int | None:
    """Memory that can still be had, what the system only keeps for speed included; None where nobody knows."""
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, macOS no such page count.
        return None


def in_words(need: int, free: int | None) -> str:
    """A sentence on the memory that a scan needs, and whether it is there."""
    sentence = f"This scan will take up to {need / 2**30:.1f} GB of memory"
    if free is None or need <= free:
        return f"{sentence}."
    return f"{sentence}, more than the {free / 2**30:.1f} GB that are free: close other programs, or crop the volumes."
