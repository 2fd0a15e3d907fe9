"""Candidates for bleeds and calcifications, found by χ, R2* and SWI, for a reader to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data import Grid
from ..stage import Options, option
from .lesions import TOUCHING, Lesions, Where, position_key, shape_of


class Proposals(Options):
    """What is proposed."""

    least_ppb: float = option(120.0, "A candidate's χ deviates at least so far from its surroundings", unit="ppb", ge=1)
    least_sd: float = option(6.0, "and by so many robust standard deviations of the brain", ge=0)
    faster: float = option(1.3, "A bleed's R2* is so many times that of its surroundings, or", ge=1)
    darker: float = option(0.8, "its SWI (or its magnitude) is no more than this share of theirs", ge=0, le=1)
    elongation: float = option(3.0, "Candidates longer than this many widths are vessels", ge=1)
    largest_mm3: float = option(4000.0, "Larger ones are none", unit="mm3", ge=1)


def propose(
    chi_ppm: ArrayLike,
    mask: ArrayLike,
    grid: Grid,
    r2star_hz: ArrayLike | None = None,
    magnitude: ArrayLike | None = None,
    swi: ArrayLike | None = None,
    how: Proposals | None = None,
) -> Lesions:
    """Compact outliers of χ that the decay, and SWI or else the magnitude, bear out.

    Seeds deviate from what lies within some millimetres around them; each grows to half of its own peak, so that faint
    and strong ones are both held whole. Left out is what is long (a vessel), large, or touches the edge of the mask,
    and positive ones that neither decay faster than their surroundings nor darken the image: no bleed does that, while
    calcifications are told by their sign, for nothing else is as diamagnetic. These are proposals, no findings.
    """
    from scipy.ndimage import binary_dilation, binary_erosion, find_objects, label

    how = how or Proposals.with_options({})
    chi, inside = np.asarray(chi_ppm, dtype=float), np.asarray(mask) > 0
    numbers = np.zeros(grid.shape, dtype=np.int32)
    deviation = _above_surroundings(chi, inside, grid)
    spread = 1.4826 * float(np.median(np.abs(deviation[inside]))) if inside.any() else 0.0
    least = max(1e-3 * how.least_ppb, how.least_sd * spread)
    core = binary_erosion(inside, iterations=2)
    voxel_mm3 = float(np.prod(grid.voxel_size_mm))
    image = swi if swi is not None else magnitude
    found = []
    for sign in (1, -1):
        pieces, _ = label(sign * deviation > 0.5 * least, TOUCHING)
        for number, box in enumerate(find_objects(pieces), start=1):
            grown = tuple(slice(max(s.start - 3, 0), s.stop + 3) for s in box)
            height = np.where(pieces[grown] == number, sign * deviation[grown], 0.0)
            peak = float(height.max())
            if peak < least:
                continue
            parts, _ = label(height > 0.5 * peak, TOUCHING)
            own = parts == parts[np.unravel_index(height.argmax(), height.shape)]
            if own.sum() < 2 or own.sum() * voxel_mm3 > how.largest_mm3 or not core[grown][own].all():
                continue
            if shape_of(np.argwhere(own) * grid.voxel_size_mm, grid.voxel_size_mm) > how.elongation:
                continue
            around = binary_dilation(own, iterations=3) & ~binary_dilation(own) & inside[grown]
            if sign > 0 and not _borne_out(own, around, grown, r2star_hz, image, how):
                continue
            found.append(tuple(index + s.start for index, s in zip(np.nonzero(own), grown, strict=True)))
    found.sort(key=lambda part: position_key(part, grid))
    for number, part in enumerate(found, start=1):
        numbers[part] = number
    others = [name for name, there in (("R2*", r2star_hz), ("SWI", swi), ("magnitude", magnitude)) if there is not None]
    if swi is not None and magnitude is not None:
        others.remove("magnitude")
    by = ", ".join(["χ", *others])
    remark = f"{len(found)} candidates were proposed by {by} and shape: they are no findings until a reader has looked."
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
    own: Where,
    around: Where,
    box: tuple[slice, ...],
    r2star_hz: ArrayLike | None,
    image: ArrayLike | None,
    how: Proposals,
) -> bool:
    """Whether faster decay or a darker image speaks for a bleed; true where neither is there."""
    if not around.any():
        return False
    faster = darker = None
    if r2star_hz is not None:
        decay = np.asarray(r2star_hz)[box]
        # Where the signal is gone at the first echo, the fit says zero: that is fast, too.
        faster = np.median(decay[own]) > how.faster * np.median(decay[around]) or np.mean(decay[own] <= 0) > 0.3
    if image is not None:
        size = np.asarray(image)[box]
        darker = np.median(size[own]) < how.darker * np.median(size[around])
    return bool(faster) or bool(darker) or (faster is None and darker is None)
