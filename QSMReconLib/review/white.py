"""White matter told from grey by what myelin does to the maps: faster decay, more χ_dia, less χ.

Maps of χ carry slow shading that background removal leaves behind, often stronger than what tissues differ by, so what
is slow is taken off first; R2* has none. From noisy maps neither is enough alone: the best line through both is looked
for, by turns with the classes (Fisher's discriminant). Nothing is assumed of values but which way they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .lesions import Volume, Where

SMOOTH_MM = 1.0
SLOW_MM = 10.0
"""What varies more slowly than this (σ) is shading, not tissue."""
BLOCK_MM = 4.0
"""Slow fields are found on blocks of about this size."""
IRON_PPB = 25.0
"""So far above its surroundings lies the χ of deep nuclei and of vessels, and of nothing in white matter."""
ROUNDS = 4
LEAST = 200
"""Fewer voxels tell no classes."""


def white_matter(
    maps: Mapping[str, Volume], free: Where, clean: Where, voxel_mm: Sequence[float]
) -> tuple[Where, tuple[str, ...]]:
    """(white matter, the maps that told it) among `free` voxels (X, Y, Z).

    `maps` are those there are of r2star in Hz and chi_dia and chi in ppb. `clean` are the voxels that the classes are
    learned from: those without a share of fluid. Everything free is white where nothing tells.
    """
    evidence = _evidence(maps, free, voxel_mm)
    if not evidence or (free & clean).sum() < LEAST:
        return free, ()
    if "chi" in maps:
        free = free & (-evidence["chi"] < IRON_PPB)
    sample = free & clean if (free & clean).sum() >= LEAST else free
    # A vein or a gap shall not stretch the scale.
    ends = {name: np.percentile(v[sample], (1, 99)) for name, v in evidence.items()}

    def features(where: Where) -> NDArray[np.float64]:
        return np.stack([np.clip(v[where], *ends[name]) for name, v in evidence.items()], axis=1).astype(float)

    known = features(sample)
    line = np.zeros(known.shape[1])
    line[0] = 1.0
    limit = _between(known @ line)
    for _ in range(ROUNDS if known.shape[1] > 1 else 0):
        upper = known @ line > limit
        parts = [known[upper], known[~upper]]
        if min(map(len, parts)) < LEAST // 4:
            break
        within = sum(len(part) * np.atleast_2d(np.cov(part.T)) for part in parts) / len(known)
        line = np.linalg.solve(within + 1e-6 * np.eye(len(line)), parts[0].mean(0) - parts[1].mean(0))
        limit = _between(known @ line)
    white = np.zeros_like(free)
    white[free] = features(free) @ line > limit
    return white, tuple(evidence)


def _evidence(maps: Mapping[str, Volume], free: Where, voxel_mm: Sequence[float]) -> dict[str, NDArray[np.float32]]:
    """Each map smoothed within `free`, so that white matter is high and shading is gone; the surest first."""
    found, weight = {}, np.maximum(_smoothed(free, voxel_mm), 1e-3)
    for name in ("r2star", "chi_dia", "chi"):
        if name in maps and free.any():
            calm = np.asarray(_smoothed(np.where(free, maps[name], 0), voxel_mm) / weight, dtype=np.float32)
            found[name] = calm if name == "r2star" else calm - slow(calm, free, voxel_mm)
    if "chi" in found:
        found["chi"] = -found["chi"]
    return found


def _smoothed(values: NDArray[np.generic], voxel_mm: Sequence[float]) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    found: NDArray[np.float32] = gaussian_filter(values.astype(np.float32), [SMOOTH_MM / v for v in voxel_mm])
    return found


def slow(values: NDArray[np.float32], where: Where, voxel_mm: Sequence[float]) -> NDArray[np.float32]:
    """The weighted mean around each voxel over SLOW_MM, by blocks."""
    from scipy.ndimage import gaussian_filter

    parts = [max(1, round(BLOCK_MM / v)) for v in voxel_mm]
    total, weight = (_blocks(v, parts) for v in (np.where(where, values, 0), where))
    sigma = [SLOW_MM / (v * n) for v, n in zip(voxel_mm, parts, strict=True)]
    mean = gaussian_filter(total, sigma) / np.maximum(gaussian_filter(weight, sigma), 1e-3)
    for axis, (n, part) in enumerate(zip(values.shape, parts, strict=True)):
        # Linear between the middles of blocks, axis by axis.
        at = np.clip((np.arange(n) - (part - 1) / 2) / part, 0, mean.shape[axis] - 1)
        hats = np.maximum(1 - np.abs(at[:, None] - np.arange(mean.shape[axis])), 0).astype(np.float32)
        mean = np.moveaxis(np.tensordot(hats, mean, (1, axis)), 0, axis)
    return np.ascontiguousarray(mean)


def _blocks(values: NDArray[np.generic], parts: Sequence[int]) -> NDArray[np.float32]:
    """Means over blocks; the last ones hold what is left, filled up with nothing."""
    fill = [(0, -n % part) for n, part in zip(values.shape, parts, strict=True)]
    filled, (a, b, c) = np.pad(values.astype(np.float32), fill), parts
    x, y, z = filled.shape
    shaped = filled.reshape(x // a, a, y // b, b, z // c, c)
    return np.asarray(shaped.mean(axis=(1, 3, 5)), dtype=np.float32)


def _between(values: NDArray[np.float64]) -> float:
    """The middle between the medians of the two classes that it makes, from Otsu's threshold on."""
    from skimage.filters import threshold_otsu

    low, high = np.percentile(values, (1, 99))
    if not high > low:
        return float(low)
    limit = float(threshold_otsu(np.clip(values, low, high)))
    for _ in range(20):
        upper = values > limit
        if upper.all() or not upper.any():
            break
        middle = float(np.median(values[upper]) + np.median(values[~upper])) / 2
        if abs(middle - limit) < 1e-3 * (high - low):
            return middle
        limit = middle
    return limit
