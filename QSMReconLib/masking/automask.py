"""A brain mask from the scan itself: no atlas, no trained weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .._lazy import torch
from ..data import GreData, Mask
from ..errors import InputError
from ..fieldmap.smooth import block_sum, from_blocks
from ..fieldmap.unwrap import edge_weights, quality_map
from ..runtime import Runtime
from ..stage import Stage, option
from .qualitymask import lost_sentence, trim_by_quality

if TYPE_CHECKING:
    import numpy as np

COARSE_MM = 2.0
"""Anatomy is judged on blocks of about this size: sulci and vessels fill up, noise averages out."""
NEAR_MM = 20.0
"""How far around a voxel its reference brightness is taken: wider than a gyrus, narrower than the coils' shading."""
SCALP_MM = 7.0
"""A brain lies deeper than this under the outer air."""
COHERENT = 0.15
"""The phase quality of the best twentieth of any scan of something is above this; noise alone reaches 0.05."""
LARGEST_ML = 2600.0
"""More than any brain with the fluid and the meninges around it."""


def scan_quality(phase_rad: torch.Tensor, magnitude: torch.Tensor, echo_times_s: Sequence[float]) -> torch.Tensor:
    """How far the phase (echo, X, Y, Z) of a voxel agrees with its neighbours', 0 to 1: near 0 in air."""
    everywhere = torch.ones_like(magnitude[0])
    if len(echo_times_s) == 1:
        return quality_map(edge_weights(phase_rad[0], magnitude[0], everywhere))
    ratio = echo_times_s[1] / echo_times_s[0]
    return quality_map(edge_weights(phase_rad[0], magnitude[0], everywhere, phase_rad[1], ratio))


def auto_mask(
    magnitude: torch.Tensor,
    quality: torch.Tensor,
    voxel_size_mm: Sequence[float],
    brightness: float = 0.35,
    neck_mm: float = 5.0,
    peel_mm: float = 3.0,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """The brain (X, Y, Z), boolean, from a magnitude (X, Y, Z) and its phase quality; nowhere true if there is none.

    Tissue is what is brighter than `brightness` times the brain around it and coherent in phase. Opening by `neck_mm`
    cuts it off from the scalp, the eyes and the neck; the largest deep piece is the brain. Its sulci and holes are
    filled, and the meninges, `peel_mm`, are peeled off where it ends inside the field of view.
    """
    import numpy as np
    from scipy import ndimage

    factors = [max(1, round(COARSE_MM / voxel)) for voxel in voxel_size_mm]
    size = [voxel * factor for voxel, factor in zip(voxel_size_mm, factors, strict=True)]
    count = block_sum(torch.ones_like(magnitude), factors)
    bright = (block_sum(magnitude, factors) / count).cpu().numpy()
    coherent = (block_sum(quality, factors) / count).cpu().numpy()
    usual = np.percentile(coherent, 95)
    sample = coherent > 0.5 * usual
    if usual < COHERENT or not bright[sample].any():
        return torch.zeros_like(magnitude, dtype=torch.bool)
    sample &= bright > 0.3 * np.percentile(bright[sample], 80)
    air = (bright < 0.15 * _around(bright, sample, size)) & (coherent < 0.2 * usual)
    depth = _distance(~_outer(_open(air, 4.0, size)), size)
    brain = sample
    for step in range(2):
        # The second time the reference is the brain's own, without bright fat and eyes.
        tissue = (bright > brightness * _around(bright, sample, size)) & (coherent > 0.1 * usual)
        brain = _brain_of(tissue, depth, size, neck_mm)
        sample = sample & brain
        if not sample.any():
            return torch.zeros_like(magnitude, dtype=torch.bool)
        if progress:
            progress(0.3 + 0.3 * step)
    brain = ndimage.binary_fill_holes(_close(brain, 8.0, size))
    signed = torch.from_numpy(_distance(brain, size) - _distance(~brain, size)).to(magnitude)
    return from_blocks(signed, magnitude.shape, factors) > peel_mm


def _brain_of(tissue: np.ndarray, depth: np.ndarray, size: Sequence[float], neck_mm: float) -> np.ndarray:
    """The largest deep piece of the tissue after opening; with a wider opening where that still holds scalp or neck."""
    import numpy as np

    inside = _distance(tissue, size)
    found = np.zeros_like(tissue)
    for radius in (neck_mm, 1.5 * neck_mm, 2 * neck_mm):
        core = _largest(inside > radius, np.minimum(depth, 40.0))
        if not core.any():
            break
        found = _largest(tissue & (_distance(~core, size) <= radius + 0.5 * max(size)), np.ones_like(depth))
        shallow = (found & (depth < SCALP_MM)).sum() / found.sum()
        if shallow < 0.02 and found.sum() * np.prod(size) / 1000 < LARGEST_ML:
            break
    return found


def _around(values: np.ndarray, where: np.ndarray, size: Sequence[float]) -> np.ndarray:
    """The mean of the values over `where`, near each voxel; far from all of it, their mean overall."""
    import numpy as np
    from scipy import ndimage

    sigma = [NEAR_MM / s for s in size]
    weight = ndimage.gaussian_filter(where.astype(np.float32), sigma, mode="constant", truncate=3)
    total = ndimage.gaussian_filter(np.where(where, values, 0).astype(np.float32), sigma, mode="constant", truncate=3)
    overall = values[where].mean() if where.any() else 0.0
    return (total + 1e-3 * overall) / (weight + 1e-3)


def _distance(mask: np.ndarray, size: Sequence[float]) -> np.ndarray:
    """From each voxel of the mask to the nearest one outside, mm; the field of view's edge is no outside."""
    import numpy as np
    from scipy import ndimage

    if mask.all():
        return np.full(mask.shape, 1e3)
    return ndimage.distance_transform_edt(mask, sampling=size)


def _open(mask: np.ndarray, radius_mm: float, size: Sequence[float]) -> np.ndarray:
    return _distance(~(_distance(mask, size) > radius_mm), size) <= radius_mm


def _close(mask: np.ndarray, radius_mm: float, size: Sequence[float]) -> np.ndarray:
    import numpy as np

    # Repeated beyond the field of view, so that a mask which runs out of it is not rounded off there.
    pad = [(int(np.ceil(radius_mm / s)) + 1,) * 2 for s in size]
    wide = _distance(_distance(~np.pad(mask, pad, mode="edge"), size) <= radius_mm, size) > radius_mm
    return wide[tuple(slice(before, -after) for before, after in pad)] | mask


def _outer(mask: np.ndarray) -> np.ndarray:
    """The pieces of the mask that reach the edge of the field of view."""
    import numpy as np
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    edge = np.ones(mask.shape, bool)
    edge[1:-1, 1:-1, 1:-1] = False
    outer = np.zeros(count + 1, bool)
    outer[np.unique(pieces[edge])] = True
    outer[0] = False
    return outer[pieces]


def _largest(mask: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """The piece of the mask whose voxels are worth most together."""
    import numpy as np
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    total = np.bincount(pieces.ravel(), weights=worth.ravel())
    total[0] = -1
    return pieces == total.argmax()


class AutoMask(Stage):
    """Brain mask from magnitude and phase quality, by opening and closing in mm; no trained weights."""

    brightness: float = option(0.35, "Tissue is brighter than this, relative to the brain around it", ge=0.05, le=0.9)
    neck_mm: float = option(5.0, "Half the width of what is cut: nerves, vessels, the neck", unit="mm", ge=1, le=15)
    peel_mm: float = option(3.0, "Meninges and fluid peeled off the outside", unit="mm", ge=0, le=10)
    min_quality: float = option(
        0.3, "Trim the outside where the phase quality is below this times the brain's median", ge=0, le=0.9
    )

    def apply(self, gre: GreData, runtime: Runtime) -> Mask:
        quality = scan_quality(gre.phase_rad, gre.magnitude, gre.echo_times_s)
        runtime.progress(0.3)
        magnitude = gre.magnitude.square().mean(0).sqrt()
        voxel = gre.grid.voxel_size_mm
        mask = auto_mask(magnitude, quality, voxel, self.brightness, self.neck_mm, self.peel_mm, runtime.progress)
        trimmed = trim_by_quality(mask, quality, voxel, self.min_quality)
        if not bool(trimmed.any()):
            raise InputError(
                "No brain was found in the magnitude images: look whether they show one, or give a mask with --mask."
            )
        volume_ml = float(trimmed.sum()) * voxel[0] * voxel[1] * voxel[2] / 1000
        doubt = "; it may hold scalp or neck" if volume_ml > LARGEST_ML else ""
        runtime.note(f"The brain mask was made from the magnitude and holds {volume_ml:.0f} ml{doubt}: look at it.")
        if not torch.equal(trimmed, mask):
            runtime.note(f"Phase quality: {lost_sentence(mask, trimmed)} were dropped as incoherent.")
        return Mask(gre.grid, trimmed)
