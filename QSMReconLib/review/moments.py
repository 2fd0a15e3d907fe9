"""The magnetic moment of a lesion, ∑χ·volume: from the field around it, which blooming and dephasing leave alone.

Outside a source the field is that of its multipoles, the dipole first: m/(4π)·(3cos²θ - 1)/r³ with m in ppm·mm³
(Schenck 1996, doi:10.1118/1.597854). What voxels of a thick slice measure is its mean over the voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, pi

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEP_MM = 1.05
"""Voxels are integrated over in steps no longer than this. A dipole's field is harmonic: its mean over a cube is that
of the middle to fourth order, so that only long voxels need parts."""
STEADY = 1.5
"""Robust weights: residuals beyond this many standard deviations count less (Huber)."""
ROUNDS = 5
ENOUGH = 4000
"""More voxels than this are thinned out."""
SHIFT_MM = 0.7
"""By about so much the source may lie off the middle of the lesion's voxels."""
NEAR_MM, FAR_MM = 1.0, 7.0
"""The field is fitted between these distances from the lesion."""
TRUSTED = 8.0
"""Voxels whose field errs by more than this many times the median of the brain are left out: dephased, wrapped."""
MODEL = 0.03
"""The share of a moment by which its model (a ball, a ground of second order) is off, besides noise."""
FLOOR_PPM = 0.004
"""What other tissue adds to a field that is fitted as one source on a smooth ground."""


@dataclass(frozen=True)
class Moment:
    """ppm·mm³, with its standard error; NaN where the field does not say."""

    value: float
    error: float
    voxels: int


UNKNOWN = Moment(float("nan"), float("nan"), 0)


def dipole_of_unit_moment(
    centre_voxel: Sequence[float],
    at_voxel: NDArray[np.intp],
    voxel_mm: Sequence[float],
    b0_direction: Sequence[float],
    radius_mm: float,
) -> tuple[Array, Array]:
    """(field (N,), its derivatives by the place of the source (N, 3)) in ppm for 1 ppm·mm³ at voxels (N, 3), each the
    mean over the voxel; a ball of `radius_mm` around the centre counts as the source, whose own field is zero."""
    steps = [[(i + 0.5) / n - 0.5 for i in range(n)] for n in (ceil(v / STEP_MM) for v in voxel_mm)]
    b0, size = np.asarray(b0_direction, dtype=float), np.asarray(voxel_mm, dtype=float)
    field, slope = np.zeros(len(at_voxel)), np.zeros((len(at_voxel), 3))
    shifts = list(product(*steps))
    for shift in shifts:
        r = (at_voxel + np.asarray(shift) - np.asarray(centre_voxel)) * size
        square = np.maximum((r**2).sum(1), 1e-6)
        outside = square > radius_mm**2
        along = r @ b0
        cube = np.where(outside, square**-1.5, 0.0) / (4 * pi)
        part = (3 * along**2 / square - 1) * cube
        field += part
        # d/dr of (3(r·b)² - r²)/r⁵, and the source moves the other way.
        grown = cube[:, None] * (6 * along[:, None] * b0 - 2 * r) / square[:, None]
        slope -= grown - 5 * (part / square)[:, None] * r
    return field / len(shifts), slope / len(shifts)


def fit_moment(
    field_ppm: NDArray[np.float32],
    usable: NDArray[np.bool_],
    noise_ppm: NDArray[np.float32] | None,
    centre_voxel: Sequence[float],
    others_voxel: Sequence[Sequence[float]],
    radius_mm: float,
    voxel_mm: tuple[float, float, float],
    b0_direction: Sequence[float],
    independent: float = 1.0,
) -> Moment:
    """The dipole at `centre_voxel` that fits the field in a box (X, Y, Z) best, over `usable` voxels outside it.

    The field may be the local or the total one: a ground of second order, dipoles where other sources lie, and a shift
    of the source by about SHIFT_MM are fitted along, robustly. `independent` is the share of voxels that count as
    independent measurements. Unknown where fewer than 30 voxels are usable.
    """
    at = np.argwhere(usable)
    at = at[:: max(1, round(len(at) / ENOUGH))]
    if len(at) < 30:
        return UNKNOWN
    size = np.asarray(voxel_mm)
    r = (at - np.asarray(centre_voxel)) * size
    r = r / float(np.abs(r).max())
    values = field_ppm[tuple(at.T)].astype(float)
    noise = np.zeros(len(at)) if noise_ppm is None else noise_ppm[tuple(at.T)].astype(float)
    base = FLOOR_PPM / np.sqrt(noise**2 + FLOOR_PPM**2)
    ground = [np.ones(len(at)), *r.T, *(r[:, i] * r[:, j] for i in range(3) for j in range(i, 3))]
    neighbours = [dipole_of_unit_moment(c, at, voxel_mm, b0_direction, radius_mm)[0] for c in others_voxel]
    centre = np.asarray(centre_voxel, dtype=float)
    moved, robust, found = np.zeros(3), np.ones(len(at)), UNKNOWN
    for _ in range(ROUNDS):
        own, slope = dipole_of_unit_moment(centre + moved / size, at, voxel_mm, b0_direction, radius_mm)
        terms = np.stack([own, *ground, *neighbours], axis=1)
        scale = np.sqrt((terms**2).sum(0)) + 1e-30
        weight = base * robust
        matrix = terms / scale * weight[:, None]
        # A dozen columns of like size: their normal equations are a hundred times quicker than the columns themselves.
        spread_of = np.linalg.pinv(matrix.T @ matrix, rcond=1e-12, hermitian=True)
        solution = spread_of @ (matrix.T @ (values * weight))
        residual = values - terms @ (solution / scale)
        moment = float(solution[0] / scale[0])
        freedom = max(len(at) * independent - terms.shape[1], 1.0)
        variance = float(np.sum((residual * weight) ** 2)) / freedom
        error = float(np.sqrt(spread_of[0, 0] * variance) / scale[0])
        before, found = found, Moment(moment, float(np.hypot(error, MODEL * moment)), len(at))
        if abs(found.value - before.value) < 0.02 * error:
            break
        spread = max(1.4826 * float(np.median(np.abs(residual * base))), 1e-12)
        robust = np.sqrt(np.minimum(1.0, STEADY * spread / np.maximum(np.abs(residual * base), 1e-12)))
        # How far the source lies off, as the residual shows: a step that its prior holds back.
        lean = moment * slope * weight[:, None]
        prior = np.eye(3) * variance * independent / SHIFT_MM**2
        step = np.linalg.solve(lean.T @ lean + prior, lean.T @ (residual * weight) - prior @ moved)
        moved = np.clip(moved + step, -2 * SHIFT_MM, 2 * SHIFT_MM)
    return found
