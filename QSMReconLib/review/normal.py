"""How much normal white matter differs from itself: the contrast that chance, streaks and texture alone make.

The noise of a χ map is not that of its voxels: inversion spreads it over streaks that are as wide as a lesion. So balls
of normal tissue, as large as lesions, are measured just as lesions are; their contrasts should be zero.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lesions import Where
from .maps import ReviewMaps
from .surroundings import Surroundings

RADII_MM = (1.5, 2.5, 4.0, 6.0)
PLACES = 60
LEAST = 12
"""With fewer places nothing is said."""
_POINTS = 400


def wander(
    maps: ReviewMaps, around: Surroundings, lesions: Where, shell_mm: tuple[float, float], seed: int = 0
) -> dict[str, Callable[[float], float]]:
    """For each map, radius in mm to the standard deviation of the contrast of balls of normal white matter.

    Zero where there is too little of it. The places are drawn with `seed`.
    """
    from scipy.ndimage import binary_erosion

    free = maps.mask & around.white & ~lesions & ~around.veins
    centres = np.argwhere(binary_erosion(free)) if free.any() else np.zeros((0, 3), dtype=int)
    rng = np.random.default_rng(seed)
    centres = centres[rng.permutation(len(centres))[: 2 * PLACES]]
    sizes = np.asarray(maps.grid.voxel_size_mm)
    spread: dict[str, list[tuple[float, float]]] = {name: [] for name in maps.channels}
    for radius in RADII_MM:
        ball = _offsets(0.0, radius, sizes, rng)
        shell = _offsets(radius + shell_mm[0], radius + shell_mm[1], sizes, rng)
        found: dict[str, list[float]] = {name: [] for name in maps.channels}
        for centre in centres:
            inside, outside = (_free(centre + offsets, free) for offsets in (ball, shell))
            if len(inside) < 0.7 * len(ball) or len(outside) < 0.3 * len(shell):
                continue
            for name, channel in maps.channels.items():
                one, other = (channel.values[tuple(at.T)] for at in (inside, outside))
                found[name].append(float(np.median(one) - np.median(other)))
            if len(next(iter(found.values()))) == PLACES:
                break
        for name, contrasts in found.items():
            if len(contrasts) >= LEAST:
                spread[name].append((radius, robust_sd(np.array(contrasts))))
    return {name: _between(pairs) for name, pairs in spread.items()}


def _between(pairs: list[tuple[float, float]]) -> Callable[[float], float]:
    if not pairs:
        return lambda radius: 0.0
    radii, values = zip(*pairs, strict=True)
    return lambda radius: float(np.interp(radius, radii, values))


def _offsets(low: float, high: float, sizes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Voxels between two distances from a middle, some of them where they are many."""
    reach = np.ceil(high / sizes).astype(int)
    at = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    away = np.linalg.norm(at * sizes, axis=1)
    at = at[(away >= low) & (away <= high)]
    expected = 4 / 3 * pi * (high**3 - low**3) / np.prod(sizes)
    return at if expected < _POINTS else at[rng.permutation(len(at))[:_POINTS]]


def _free(at: NDArray[np.intp], free: Where) -> NDArray[np.intp]:
    at = at[((at >= 0) & (at < free.shape)).all(1)]
    return at[free[tuple(at.T)]]


def robust_sd(values: NDArray[Any]) -> float:
    """The standard deviation that Gaussian values of this median absolute deviation have."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
