"""Voxelwise work on a few slices at a time.

A volume that no cache holds is fetched from memory again by every operation, and memory for what each operation makes
is asked for and given back each time. Slabs that a processor's cache holds spare both.
"""

from __future__ import annotations

from .._lazy import torch

SLICES = 4
"""That a processor's cache holds together."""


def slabs(volume: torch.Tensor, axis: int) -> list[slice]:
    """The whole of an axis, a few slices at a time, but on a GPU all at once."""
    n = volume.shape[axis]
    step = SLICES if volume.device.type == "cpu" else n
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def cut(volume: torch.Tensor, axis: int, part: slice) -> torch.Tensor:
    """A slab of a volume, as a view."""
    return volume.narrow(axis, part.start, part.stop - part.start)
