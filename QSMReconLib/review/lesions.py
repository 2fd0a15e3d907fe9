"""Which voxels are which lesion: from a label map, from segments, from seeds, or proposed.

Arrays are (X, Y, Z) in the order right, anterior, superior, as the library reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data import Grid
from ..errors import InputError

Volume = NDArray[np.float32]
Where = NDArray[np.bool_]
Numbers = NDArray[np.int32]

_TOUCHING = np.ones((3, 3, 3), dtype=bool)


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


def split(labels: ArrayLike, grid: Grid, tiny_mm3: float = 3.0) -> Lesions:
    """One lesion per connected piece (26 neighbours) of a label map.

    A map of one label is numbered by position, from top to bottom, front to back and right to left, so that the same
    map gives the same numbers. A map of several labels keeps them: the largest piece of a label has its number, other
    pieces get new ones, by position. Raises InputError if the map is empty, on another grid, or holds no whole numbers.
    """
    from scipy.ndimage import find_objects, label

    values = np.asarray(labels)
    if values.shape != grid.shape:
        raise InputError(f"The lesions {values.shape} are not on the grid of the maps {grid.shape}: resample them.")
    if not np.isfinite(values).all() or np.abs(values - np.rint(values)).max() > 1e-3:
        raise InputError("The lesion map holds fractions: give a label map, with a whole number in each voxel.")
    whole = np.rint(values).astype(np.int32)
    boxes = find_objects(np.maximum(whole, 0))
    found = [value for value, box in enumerate(boxes, start=1) if box is not None]
    if not found:
        raise InputError("The lesion map is empty: there is nothing to measure.")
    pieces: list[tuple[int, tuple[NDArray[np.intp], ...]]] = []
    kept: list[tuple[int, tuple[NDArray[np.intp], ...]]] = []
    for value in found:
        box = boxes[value - 1]
        own, _ = label(whole[box] == value, _TOUCHING)
        pieces_of = find_objects(own)
        parts = [_within(own, i, piece, box) for i, piece in enumerate(pieces_of, start=1)]
        parts.sort(key=lambda part: -len(part[0]))
        if len(found) > 1:
            kept.append((value, parts.pop(0)))
        pieces += [(value, part) for part in parts]
    pieces.sort(key=lambda piece: _position(piece[1], grid))
    numbers = np.zeros(grid.shape, dtype=np.int32)
    segments = {}
    for number, part in [
        *kept,
        *((max([0, *(v for v, _ in kept)]) + i, part) for i, (_, part) in enumerate(pieces, 1)),
    ]:
        numbers[part] = number
        segments[number] = int(whole[part][0])
    remarks = []
    if kept and pieces:
        split_up = ", ".join(str(value) for value in sorted({value for value, _ in pieces}))
        remarks.append(
            f"{len(pieces)} more pieces of label {split_up} were not connected: they are lesions of their own."
        )
    voxel_mm3 = float(np.prod(grid.voxel_size_mm))
    sizes = np.bincount(numbers.ravel())
    small = [n for n in segments if sizes[n] * voxel_mm3 < tiny_mm3 or sizes[n] < 3]
    if small:
        remarks.append(f"Lesion {', '.join(map(str, sorted(small)))} is tiny: its numbers mean little.")
    return Lesions(grid, numbers, segments, tuple(remarks))


def from_segments(segments: Sequence[ArrayLike], grid: Grid) -> Lesions:
    """Lesions of one or many binary segments, numbered by position over all of them.

    Where segments overlap, a voxel belongs to the first; a remark says so. Raises InputError as `split` does.
    """
    from scipy.ndimage import label

    merged = np.zeros(grid.shape, dtype=np.int32)
    overlap = 0
    for value, segment in enumerate(segments, start=1):
        where = np.asarray(segment) > 0
        if where.shape != grid.shape:
            raise InputError(f"Segment {value} {where.shape} is not on the grid of the maps {grid.shape}: resample it.")
        overlap += int((where & (merged > 0)).sum())
        merged[where & (merged == 0)] = value
    if not merged.any():
        raise InputError("The segments are empty: there is nothing to measure.")
    apart = np.zeros_like(merged)
    count = 0
    for value in range(1, len(segments) + 1):
        own, n = label(merged == value, _TOUCHING)
        apart[own > 0] = own[own > 0] + count
        count += n
    order = sorted(range(1, count + 1), key=lambda i: _position(np.nonzero(apart == i), grid))
    numbers = np.zeros_like(merged)
    for number, i in enumerate(order, start=1):
        numbers[apart == i] = number
    remarks = split(numbers, grid).remarks
    if overlap:
        remarks = (f"{overlap} voxels lie in more than one segment: each counts for the first.", *remarks)
    return Lesions(grid, numbers, {n: int(merged[numbers == n][0]) for n in range(1, count + 1)}, remarks)


def from_seeds(
    seeds_mm: ArrayLike, values: ArrayLike, mask: ArrayLike, grid: Grid, radius_mm: float = 8.0, level: float = 0.5
) -> Lesions:
    """Lesions grown around points (N, 3; RAS in mm) in a map: what is connected to the peak and above `level` of it.

    The peak is the strongest deviation within 2 mm of the seed from the median of what is `radius_mm` around it.
    Raises InputError for a seed outside the mask.
    """
    from scipy.ndimage import label

    volume, inside = np.asarray(values, dtype=float), np.asarray(mask) > 0
    numbers = np.zeros(grid.shape, dtype=np.int32)
    points = np.atleast_2d(np.asarray(seeds_mm, dtype=float))
    inverse = np.linalg.inv(np.asarray(grid.affine))
    for number, point in enumerate(points, start=1):
        voxel = np.rint(inverse[:3, :3] @ point + inverse[:3, 3]).astype(int)
        at = tuple(int(i) for i in voxel)
        if min(at) < 0 or any(i >= n for i, n in zip(at, grid.shape, strict=True)) or not inside[at]:
            where = ", ".join(f"{v:.1f}" for v in point)
            raise InputError(f"Seed {number} at ({where}) mm lies outside the mask: place it on a lesion.")
        box = _box_around(at, radius_mm, grid)
        away = _distance_mm(at, box, grid)
        free = inside[box] & (numbers[box] == 0) & (away <= radius_mm)
        around = volume[box][free & (away > radius_mm / 2)]
        deviation = volume[box] - (np.median(around) if around.size else 0.0)
        near = free & (away <= max(2.0, max(grid.voxel_size_mm)))
        peak = deviation[near][np.abs(deviation[near]).argmax()]
        own, _ = label(free & (deviation * np.sign(peak) >= level * abs(peak)), _TOUCHING)
        start = own[near & (deviation == peak)][0]
        numbers[box][own == start] = number
    return Lesions(grid, numbers, {n: n for n in range(1, len(points) + 1)}, split(numbers, grid).remarks)


def propose(
    chi_ppm: ArrayLike,
    mask: ArrayLike,
    grid: Grid,
    r2star_hz: ArrayLike | None = None,
    magnitude: ArrayLike | None = None,
    *,
    least_ppm: float = 0.12,
    least_sd: float = 6.0,
    elongation: float = 3.0,
    largest_mm3: float = 4000.0,
) -> Lesions:
    """Candidates for bleeds and calcifications: compact outliers of χ that the decay or the magnitude bears out.

    Seeds deviate from what lies within some millimetres around them by `least_ppm` and by `least_sd` robust standard
    deviations of the mask; each grows to half of its own peak, so that faint and strong ones are both held whole. Left
    out is what is longer than `elongation` times its width (a vessel), touches the edge of the mask or is larger than
    `largest_mm3`, and positive ones that neither decay faster than their surroundings nor darken the `magnitude`: no
    bleed does that, while calcifications are told by their sign, for nothing else is as diamagnetic. These are
    proposals for a reader, no findings.
    """
    from scipy.ndimage import binary_dilation, binary_erosion, find_objects, label

    chi, inside = np.asarray(chi_ppm, dtype=float), np.asarray(mask) > 0
    numbers = np.zeros(grid.shape, dtype=np.int32)
    deviation = _above_surroundings(chi, inside, grid)
    spread = 1.4826 * float(np.median(np.abs(deviation[inside]))) if inside.any() else 0.0
    least = max(least_ppm, least_sd * spread)
    core = binary_erosion(inside, iterations=2)
    voxel_mm3 = float(np.prod(grid.voxel_size_mm))
    found = []
    for sign in (1, -1):
        pieces, _ = label(sign * deviation > 0.5 * least, _TOUCHING)
        for number, box in enumerate(find_objects(pieces), start=1):
            grown = tuple(slice(max(s.start - 3, 0), s.stop + 3) for s in box)
            height = np.where(pieces[grown] == number, sign * deviation[grown], 0.0)
            peak = float(height.max())
            if peak < least:
                continue
            parts, _ = label(height > 0.5 * peak, _TOUCHING)
            own = parts == parts[np.unravel_index(height.argmax(), height.shape)]
            if own.sum() < 2 or own.sum() * voxel_mm3 > largest_mm3 or not core[grown][own].all():
                continue
            if shape_of(np.argwhere(own) * grid.voxel_size_mm, grid.voxel_size_mm) > elongation:
                continue
            around = binary_dilation(own, iterations=3) & ~binary_dilation(own) & inside[grown]
            if sign > 0 and not _borne_out(own, around, grown, r2star_hz, magnitude):
                continue
            found.append(tuple(index + s.start for index, s in zip(np.nonzero(own), grown, strict=True)))
    found.sort(key=lambda part: _position(part, grid))
    for number, part in enumerate(found, start=1):
        numbers[part] = number
    remark = (
        f"{len(found)} candidates were proposed by their χ and shape: they are no findings until a reader has looked."
    )
    return Lesions(grid, numbers, {n: n for n in range(1, len(found) + 1)}, (remark,), proposed=True)


def _above_surroundings(chi: NDArray[np.float64], inside: Where, grid: Grid, width_mm: float = 8.0) -> Any:
    """χ less its weighted mean around, in which outliers count little."""
    from scipy.ndimage import gaussian_filter

    if not inside.any():
        return np.zeros_like(chi)
    middle = np.median(chi[inside])
    spread = max(1.4826 * float(np.median(np.abs(chi[inside] - middle))), 1e-9)
    held = np.clip(chi, middle - 3 * spread, middle + 3 * spread) * inside
    sigma = [width_mm / v for v in grid.voxel_size_mm]
    weight = gaussian_filter(inside.astype(np.float32), sigma)
    return np.where(inside, chi - gaussian_filter(held.astype(np.float32), sigma) / np.maximum(weight, 1e-3), 0.0)


def _borne_out(
    own: Where, around: Where, box: tuple[slice, ...], r2star_hz: ArrayLike | None, magnitude: ArrayLike | None
) -> bool:
    """Whether faster decay or a darker magnitude speaks for a bleed; true where neither map is there."""
    if not around.any():
        return False
    faster = darker = None
    if r2star_hz is not None:
        decay = np.asarray(r2star_hz)[box]
        # Where the signal is gone at the first echo, the fit says zero: that is fast, too.
        faster = np.median(decay[own]) > 1.3 * np.median(decay[around]) or np.mean(decay[own] <= 0) > 0.3
    if magnitude is not None:
        size = np.asarray(magnitude)[box]
        darker = np.median(size[own]) < 0.8 * np.median(size[around])
    return bool(faster) or bool(darker) or (faster is None and darker is None)


def shape_of(points_mm: ArrayLike, voxel_size_mm: Sequence[float]) -> float:
    """How many times longer than wide a set of points (N, 3) is: from the axes of its inertia, 1 for a ball.

    The width is the middle axis, so that a disc is not taken for a vessel.
    """
    points = np.asarray(points_mm, dtype=float)
    spread = np.cov(points.T) if len(points) > 1 else np.zeros((3, 3))
    # A voxel has a size of its own: without it a row of two would be infinitely thin.
    lengths = np.sqrt(np.linalg.eigvalsh(spread + np.diag(np.square(voxel_size_mm)) / 12))
    return float(lengths[2] / lengths[1])


def centre_mm(where: tuple[NDArray[np.intp], ...], grid: Grid) -> NDArray[np.float64]:
    """The middle of voxels, RAS in mm."""
    affine = np.asarray(grid.affine)
    return affine[:3, :3] @ [float(index.mean()) for index in where] + affine[:3, 3]


def _within(
    own: Numbers, number: int, piece: tuple[slice, ...], box: tuple[slice, ...]
) -> tuple[NDArray[np.intp], ...]:
    """The voxels of a piece of a box, in the whole volume."""
    at = np.nonzero(own[piece] == number)
    return tuple(index + p.start + b.start for index, p, b in zip(at, piece, box, strict=True))


def _position(where: tuple[NDArray[np.intp], ...], grid: Grid) -> tuple[float, ...]:
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
