"""A mask without the margin where the phase says nothing."""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch
from ..data import Mask, PhaseQuality
from ..errors import InputError
from ..fieldmap.smooth import gaussian
from ..runtime import Runtime
from ..stage import Stage, option

NEIGHBOURHOOD_MM = 1.5


def trim_by_quality(
    mask: torch.Tensor, quality: torch.Tensor, voxel_size_mm: Sequence[float], fraction: float
) -> torch.Tensor:
    """The mask (X, Y, Z), boolean, without what reaches in from outside at a quality below `fraction` of its median.

    Holes inside are left alone (a bleed belongs to the brain); what is cut off from the largest piece is dropped.
    """
    import numpy as np
    from scipy import ndimage

    inside = mask > 0
    if not bool(inside.any()):
        return inside
    within = inside.to(quality.dtype)
    nearby = gaussian(quality * within, voxel_size_mm, NEIGHBOURHOOD_MM)
    nearby = nearby / gaussian(within, voxel_size_mm, NEIGHBOURHOOD_MM).clamp(min=1e-6)
    poor = (inside & (nearby < fraction * quality[inside].median())).cpu().numpy()
    brain = inside.cpu().numpy()
    # The field of view's edge counts as inside: a slab is not eaten from its ends.
    pieces, count = ndimage.label(poor)
    rim = ndimage.binary_dilation(~brain) & poor
    reached = np.zeros(count + 1, bool)
    reached[np.unique(pieces[rim])] = True
    reached[0] = False
    left, count = ndimage.label(brain & ~reached[pieces])
    if count == 0:
        return torch.zeros_like(inside)
    sizes = np.bincount(left.ravel())
    sizes[0] = 0
    return torch.from_numpy(left == sizes.argmax()).to(mask.device)


def lost_sentence(before: torch.Tensor, after: torch.Tensor) -> str:
    """How much of a mask is gone, in a sentence."""
    total, left = int((before > 0).sum()), int((after > 0).sum())
    return f"{total - left} of {total} voxels of the mask ({100 * (total - left) / total:.1f} %)"


class QualityMask(Stage):
    """Trims the mask where the phase is incoherent: next to air-filled sinuses, in bone, in noise.

    What lies below the threshold and reaches the outside is cut off; bleeds and veins inside stay.
    """

    fraction: float = option(0.4, "Phase quality to keep, relative to the brain's median", ge=0.0, le=0.95)

    def apply(self, mask: Mask, quality: PhaseQuality, runtime: Runtime) -> Mask:
        trimmed = trim_by_quality(mask.voxels, quality.quality, mask.grid.voxel_size_mm, self.fraction)
        if not bool(trimmed.any()):
            raise InputError(
                "Nothing of the mask has coherent phase: check that the mask lies on the scan and that the phase is "
                "phase, or lower qualitymask.fraction."
            )
        if int(trimmed.sum()) < int((mask.voxels > 0).sum()):
            runtime.note(f"Phase quality: {lost_sentence(mask.voxels, trimmed)} were dropped as incoherent.")
        return Mask(mask.grid, trimmed)
