"""Where the head of one visit lies in the other's: a rigid transform between two images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data import Grid


def rigid(fixed: ArrayLike, fixed_grid: Grid, moving: ArrayLike, moving_grid: Grid) -> NDArray[np.float64]:
    """The 4×4 matrix (RAS mm) that takes places of `moving` to those of `fixed`; `agreement.compare` takes it.

    Mattes' mutual information over three resolutions, by SimpleITK; images like magnitudes, (X, Y, Z).
    """
    import SimpleITK as sitk  # noqa: N813

    still, moved = _image(fixed, fixed_grid), _image(moving, moving_grid)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(40)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([3.0, 1.5, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    start = sitk.CenteredTransformInitializer(
        still, moved, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method.SetInitialTransform(start, inPlace=False)
    found = method.Execute(still, moved)
    # ITK's transform takes places of the fixed image to the moving one, in LPS.
    origin = np.array(found.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(found.TransformPoint(tuple(axis))) - origin for axis in np.eye(3)]
    to_moving = np.eye(4)
    to_moving[:3, :3], to_moving[:3, 3] = np.stack(columns, axis=1), origin
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return np.asarray(np.linalg.inv(flip @ to_moving @ flip), dtype=float)


def _image(values: ArrayLike, grid: Grid) -> Any:
    import SimpleITK as sitk  # noqa: N813

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(grid.affine)
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(values, dtype=np.float32).transpose(2, 1, 0)))
    image.SetSpacing(grid.voxel_size_mm)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / grid.voxel_size_mm).ravel().tolist())
    return image
