"""A volume onto another grid, by linear interpolation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._lazy import torch
from ..data import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray


def resample(volume: torch.Tensor, source: Grid, target: Grid) -> torch.Tensor:
    """A volume (X, Y, Z) on `source` interpolated at the voxels of `target`; 0 where `source` does not reach."""
    import SimpleITK

    image = _image(volume.cpu().numpy(), source)
    reference = SimpleITK.Image([int(n) for n in target.shape], SimpleITK.sitkUInt8)
    _place(reference, target)
    moved = SimpleITK.Resample(
        image, reference, SimpleITK.Transform(), SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32
    )
    return torch.from_numpy(np.ascontiguousarray(SimpleITK.GetArrayFromImage(moved).transpose(2, 1, 0)))


def _image(values: NDArray[Any], grid: Grid) -> Any:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(values.astype(np.float32).transpose(2, 1, 0))
    _place(image, grid)
    return image


def _place(image: Any, grid: Grid) -> None:
    """ITK counts millimetres to the left and to the back, where we count to the right and to the front."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(grid.affine)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(list(grid.voxel_size_mm))
    image.SetDirection((affine[:3, :3] / np.asarray(grid.voxel_size_mm)).ravel().tolist())
