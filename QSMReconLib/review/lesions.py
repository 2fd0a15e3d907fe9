"""Which voxels are which lesion: from a label map, from segments, from seeds, or proposed.

Arrays are (X, Y, Z) in the order right, anterior, superior, as the library reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data import Grid
from ..errors import InputError

Volume = NDArray[np.float32]
Where = NDArray[np.bool_]
Numbers = NDArray[np.int32]

Piece = tuple[NDArray[np.intp], ...]

TINY_MM3 = 3.0
"""Of smaller lesions, or of fewer than three voxels, numbers mean little."""

TOUCHING = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Lesions:
    """Lesions by number: `numbers` (X, Y, Z) is 0 where there is none; `segments` says which label each came from.

    `remarks` is what a reader must know: what was split, what is tiny, what was left out.
    """

    grid: Grid
    numbers: Numbers
    segments: dict[int, int]
    remarks: tuple[str, ...] = ()
    proposed: bool = False


def split(labels: ArrayLike, grid: Grid, tiny_mm3: float = TINY_MM3) -> Lesions:
    """One lesion per connected piece (26 neighbours) of a label map.

    A map of one label is numbered by position, from top to bottom, front to back and right to left, so that the same
    map gives the same numbers. A map of several labels keeps them: the largest piece of a label has its number, other
    pieces get new ones, by position. Raises InputError if the map is empty, on another grid, or holds no whole numbers.
    """
    values = np.asarray(labels)
    if values.shape != grid.shape:
        raise InputError(f"The lesions {values.shape} are not on the grid of the maps {grid.shape}: resample them.")
    if not np.isfinite(values).all() or np.abs(values - np.rint(values)).max() > 1e-3:
        raise InputError("The lesion map holds fractions: give a label map, with a whole number in each voxel.")
    pieces = _pieces(np.rint(values).astype(np.int32))
    if not pieces:
        raise InputError("The lesion map is empty: there is nothing to measure.")
    kept: dict[int, Piece] = {}
    if len({value for value, _ in pieces}) > 1:
        for value, part in pieces:
            if value not in kept or len(part[0]) > len(kept[value][0]):
                kept[value] = part
    rest = _by_position([(value, part) for value, part in pieces if part is not kept.get(value)], grid)
    numbers, segments = np.zeros(grid.shape, dtype=np.int32), {}
    for number, value, part in [
        *((value, value, part) for value, part in kept.items()),
        *((max(kept, default=0) + i, value, part) for i, (value, part) in enumerate(rest, start=1)),
    ]:
        numbers[part] = number
        segments[number] = value
    remarks = []
    if kept and rest:
        split_up = ", ".join(str(value) for value in sorted({value for value, _ in rest}))
        remarks.append(
            f"{len(rest)} more pieces of label {split_up} were not connected: they are lesions of their own."
        )
    return Lesions(grid, numbers, segments, (*remarks, *_tiny(numbers, grid, tiny_mm3)))


def from_segments(segments: Sequence[ArrayLike], grid: Grid) -> Lesions:
    """Lesions of one or many binary segments, numbered by position over all of them.

    Where segments overlap, a voxel belongs to the first; a remark says so, as of segments that hold nothing. Raises
    InputError as `split` does.
    """
    merged = np.zeros(grid.shape, dtype=np.int32)
    overlap, nothing = 0, []
    for value, segment in enumerate(segments, start=1):
        where = np.asarray(segment) > 0
        if where.shape != grid.shape:
            raise InputError(f"Segment {value} {where.shape} is not on the grid of the maps {grid.shape}: resample it.")
        overlap += int((where & (merged > 0)).sum())
        merged[where & (merged == 0)] = value
        if not where.any():
            nothing.append(str(value))
    if not merged.any():
        raise InputError("The segments are empty: there is nothing to measure.")
    numbers, kinds = np.zeros_like(merged), {}
    for number, (value, part) in enumerate(_by_position(_pieces(merged), grid), start=1):
        numbers[part] = number
        kinds[number] = value
    remarks = []
    if overlap:
        remarks.append(f"{overlap} voxels lie in more than one segment: each counts for the first.")
    if nothing:
        remarks.append(f"Segment {', '.join(nothing)} is empty.")
    return Lesions(grid, numbers, kinds, (*remarks, *_tiny(numbers, grid)))


def from_seeds(
    seeds_mm: ArrayLike, values: ArrayLike, mask: ArrayLike, grid: Grid, radius_mm: float = 8.0, level: float = 0.5
) -> Lesions:
    """Lesions grown around points (N, 3; RAS in mm) in a map: what is connected to the peak and above `level` of it.

    The peak is the strongest deviation within 2 mm of the seed from the median of what is `radius_mm` around it. A seed
    in a lesion that another one has grown adds none; a remark says so. Raises InputError for a seed outside the mask.
    """
    from scipy.ndimage import label

    volume, inside = np.asarray(values, dtype=float), np.asarray(mask) > 0
    numbers = np.zeros(grid.shape, dtype=np.int32)
    points = np.atleast_2d(np.asarray(seeds_mm, dtype=float))
    inverse = np.linalg.inv(np.asarray(grid.affine))
    remarks = []
    for number, point in enumerate(points, start=1):
        voxel = np.rint(inverse[:3, :3] @ point + inverse[:3, 3]).astype(int)
        at = tuple(int(i) for i in voxel)
        if min(at) < 0 or any(i >= n for i, n in zip(at, grid.shape, strict=True)) or not inside[at]:
            where = ", ".join(f"{v:.1f}" for v in point)
            raise InputError(f"Seed {number} at ({where}) mm lies outside the mask: place it on a lesion.")
        if numbers[at]:
            remarks.append(f"Seed {number} lies in the lesion of seed {numbers[at]}: they are one.")
            continue
        box = _box_around(at, radius_mm, grid)
        away = _distance_mm(at, box, grid)
        free = inside[box] & (numbers[box] == 0) & (away <= radius_mm)
        around = volume[box][free & (away > radius_mm / 2)]
        deviation = volume[box] - (np.median(around) if around.size else 0.0)
        near = free & (away <= max(2.0, max(grid.voxel_size_mm)))
        peak = deviation[near][np.abs(deviation[near]).argmax()]
        own, _ = label(free & (deviation * np.sign(peak) >= level * abs(peak)), TOUCHING)
        start = own[near & (deviation == peak)][0]
        numbers[box][own == start] = number
    grown = {int(n): int(n) for n in np.unique(numbers[numbers > 0])}
    return Lesions(grid, numbers, grown, (*remarks, *_tiny(numbers, grid)))


def shape_of(points_mm: ArrayLike, voxel_size_mm: Sequence[float]) -> float:
    """How many times longer than wide a set of points (N, 3) is: from the axes of its inertia, 1 for a ball.

    The width is the middle axis, so that a disc is not taken for a vessel.
    """
    points = np.asarray(points_mm, dtype=float)
    spread = np.cov(points.T) if len(points) > 1 else np.zeros((3, 3))
    # A voxel has a size of its own: without it a row of two would be infinitely thin.
    lengths = np.sqrt(np.linalg.eigvalsh(spread + np.diag(np.square(voxel_size_mm)) / 12))
    return float(lengths[2] / lengths[1])


def centre_mm(where: Piece, grid: Grid) -> NDArray[np.float64]:
    """The middle of voxels, RAS in mm."""
    affine = np.asarray(grid.affine)
    return affine[:3, :3] @ [float(index.mean()) for index in where] + affine[:3, 3]


def _pieces(labels: Numbers) -> list[tuple[int, Piece]]:
    """(label, voxels) of every connected piece of every label above zero."""
    from scipy.ndimage import find_objects, label

    found = []
    for value, box in enumerate(find_objects(np.maximum(labels, 0)), start=1):
        if box is None:
            continue
        own, _ = label(labels[box] == value, TOUCHING)
        for number, piece in enumerate(find_objects(own), start=1):
            at = np.nonzero(own[piece] == number)
            part = tuple(index + p.start + b.start for index, p, b in zip(at, piece, box, strict=True))
            found.append((value, part))
    return found


def _by_position(pieces: list[tuple[int, Piece]], grid: Grid) -> list[tuple[int, Piece]]:
    return sorted(pieces, key=lambda piece: position_key(piece[1], grid))


def _tiny(numbers: Numbers, grid: Grid, tiny_mm3: float = TINY_MM3) -> tuple[str, ...]:
    """What is to be said of lesions too small to measure."""
    sizes = np.bincount(numbers.ravel())
    voxel_mm3 = float(np.prod(grid.voxel_size_mm))
    small = [n for n, size in enumerate(sizes) if n and size and (size * voxel_mm3 < tiny_mm3 or size < 3)]
    return (f"Lesion {', '.join(map(str, small))} is tiny: its numbers mean little.",) if small else ()


def position_key(where: Piece, grid: Grid) -> tuple[float, ...]:
    """A key that sorts from top to bottom, front to back, right to left."""
    x, y, z = centre_mm(where, grid)
    return (-round(float(z), 1), -round(float(y), 1), -round(float(x), 1))


def _box_around(at: tuple[int, ...], radius_mm: float, grid: Grid) -> tuple[slice, slice, slice]:
    reach = [int(np.ceil(radius_mm / v)) for v in grid.voxel_size_mm]
    x, y, z = (slice(max(i - r, 0), min(i + r + 1, n)) for i, r, n in zip(at, reach, grid.shape, strict=True))
    return x, y, z


def _distance_mm(at: tuple[int, ...], box: tuple[slice, slice, slice], grid: Grid) -> NDArray[np.float64]:
    axes = [(np.arange(s.start, s.stop) - i) * v for s, i, v in zip(box, at, grid.voxel_size_mm, strict=True)]
    return np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2)
