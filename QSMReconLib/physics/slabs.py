"""Voxelwise work on a few slices at a time.

A volume that no cache holds is fetched from memory again by every operation, and memory for what each operation makes
is asked for and given back each time. Slabs that a processor's cache holds spare both.
"""

from __future__ import annotations

from collections.abc import Iterator

from .._lazy import torch

SLAB_BYTES = 2**20
"""Of one volume in one slab."""


def thickness(volume: torch.Tensor, axis: int) -> int:
    """Of slabs across an axis, in slices; on a GPU the whole volume is one."""
    n = volume.shape[axis]
    if volume.device.type != "cpu":
        return n
    return max(1, SLAB_BYTES * n // (volume.element_size() * volume.numel()))


def slabs(axis: int, *volumes: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Each slab across an axis (counted from the end) of all volumes, as views; the first volume says how thick."""
    n, step = volumes[0].shape[axis], thickness(volumes[0], axis)
    for start in range(0, n, step):
        yield tuple(volume.narrow(axis, start, min(step, n - start)) for volume in volumes)


def slabs_along(axis: int, *volumes: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same, of slabs that hold the whole of an axis (-3 to -1): what couples neighbours on it finds both."""
    return slabs(-3 if axis != -3 else -2, *volumes)
