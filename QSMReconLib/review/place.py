"""Where a lesion is, how deep each voxel lies in it, and what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lesions import Lesions, Where
from .maps import ReviewMaps
from .measureoptions import Measures
from .moments import FAR_MM
from .surroundings import Surroundings

Box = tuple[slice, slice, slice]
Array = NDArray[np.float64]

BOX_MARGIN_MM = FAR_MM + 1.0


@dataclass(frozen=True)
class Place:
    """A lesion in its box: where it is, how deep each voxel lies in it, and what it is compared with."""

    box: Box
    own: Where
    inside: Where
    """Of the lesion, what the mask holds."""
    others: Where
    mask: Where
    outward_mm: Array
    depth_mm: Array
    shell: Where
    voxel_mm: tuple[float, float, float]

    @classmethod
    def of(
        cls, number: int, found: Box, lesions: Lesions, maps: ReviewMaps, around: Surroundings, how: Measures
    ) -> Place:
        from scipy.ndimage import binary_dilation, distance_transform_edt

        voxel = maps.grid.voxel_size_mm
        margin = [int(np.ceil(max(BOX_MARGIN_MM, 2 * how.shell_mm[1]) / v)) for v in voxel]
        x, y, z = (slice(max(s.start - m, 0), s.stop + m) for s, m in zip(found, margin, strict=True))
        box = (x, y, z)
        own = lesions.numbers[box] == number
        mask = maps.mask[box]
        others = binary_dilation((lesions.numbers[box] > 0) & ~own)
        half = 0.5 * min(voxel)
        outward = np.maximum(distance_transform_edt(~own, sampling=voxel) - half, 0.0)
        depth = np.where(own, distance_transform_edt(np.pad(own, 1), sampling=voxel)[1:-1, 1:-1, 1:-1] - half, 0.0)
        usable = mask & ~own & ~others & ~around.veins[box]
        low, high = how.shell_mm
        shell = usable & around.white[box] & (outward >= low) & (outward <= high)
        if shell.sum() < how.least_voxels:
            shell = usable & around.white[box] & (outward >= low) & (outward <= 2 * high)
        return cls(box, own, own & mask, others, mask, outward, depth, shell, voxel)

    @property
    def voxel_mm3(self) -> float:
        return float(np.prod(self.voxel_mm))

    def independent(self, voxels: int, how: Measures) -> float:
        """How many independent measurements so many voxels are."""
        return max(voxels * min(self.voxel_mm3 / how.independent_mm3, 1.0), 1.0)
