"""NIfTI volumes in and out.

Volumes are read into the order right, anterior, superior (the nearest such order of an oblique grid), and
`Grid.storage` keeps how the file held them: its axes, its affine and the bytes of its header. Writing undoes exactly
that, so a result has the very sform, qform, codes, voxel sizes and units of its input.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Grid, Matrix, Storage
from ..errors import InputError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

SHEAR = 5e-3
"""How far from perpendicular (cosine) the axes of a file may be: rounding in headers stays far below."""

_HEADER_SIZES = {348: "Nifti1", 540: "Nifti2"}


def read_volume(path: Path) -> tuple[torch.Tensor, Grid]:
    """The volume of a file, float32 with the header's scaling applied: (X, Y, Z), or (echo, X, Y, Z) of a 4D file.

    Raises InputError if the file is absent, damaged, not a NIfTI file of real numbers in three or four dimensions, or
    if its affine is singular or sheared.
    """
    import nibabel

    if not path.is_file():
        raise InputError(f"There is no file {path}: check its name.")
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path} is not a NIfTI file: give .nii or .nii.gz.")
    try:
        image: Any = nibabel.load(path)
        stored = image.dataobj.dtype
        if stored.kind not in "iufb":
            raise InputError(
                f"{path} holds {stored}, not real numbers: save magnitude and phase, or real and imaginary."
            )
        values = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (nibabel.filebasedimages.ImageFileError, EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{path} is damaged or cut short ({_first_line(error)}): copy or export it again.") from error
    return volume_of(image, values, str(path))


def volume_of(image: Any, values: NDArray[np.float32], name: str) -> tuple[torch.Tensor, Grid]:
    """The `values` of a NIfTI image, as `read_volume` has them. Raises InputError, naming the image by `name`, for one
    that is no volume, or whose affine is singular or sheared."""
    import torch

    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in (3, 4) or min(values.shape[:3]) < 2:
        shape = " × ".join(str(n) for n in values.shape)
        raise InputError(f"{name} is {shape}: a volume with three dimensions is needed, not a slice.")
    grid = _grid_of(name, values.shape[:3], image)
    canonical = _from_storage(values, grid.storage.axes)
    if canonical.ndim == 4:
        canonical = np.moveaxis(canonical, 3, 0)
    return torch.from_numpy(np.ascontiguousarray(canonical)), grid


def write_volume(path: Path, tensor: torch.Tensor, grid: Grid) -> None:
    """Write (X, Y, Z) or (echo, X, Y, Z) on the stored grid of `grid`: float32, or uint8 for masks, or the integers of
    labels. The file appears at once or not at all. Raises InputError where it cannot be written."""
    import nibabel

    values = tensor.detach().cpu().numpy()
    if values.shape[-3:] != grid.shape or values.ndim not in (3, 4):
        raise ValueError(f"A volume of shape {values.shape} does not lie on a grid of {grid.shape}.")
    if values.dtype.kind == "f":
        values = values.astype(np.float32, copy=False)
    elif values.dtype.kind == "b":
        values = values.astype(np.uint8)
    elif values.dtype.itemsize > 4:
        values = values.astype(np.int32)
    if values.ndim == 4:
        values = np.moveaxis(values, 0, 3)
    values = _to_storage(values, grid.storage.axes)

    stored = grid.storage.nifti_header
    if stored is None:
        affine = np.asarray(grid.storage.affine or grid.affine)
        image = nibabel.nifti1.Nifti1Image(values, affine)
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
        image.header.set_xyzt_units("mm", "sec")
    else:
        kind = _HEADER_SIZES[len(stored)]
        header = getattr(nibabel, f"{kind}Header")(stored, endianness="<", check=False)
        header.set_data_dtype(values.dtype)
        # What the header says about the intensities of the input is not true of a result.
        for key in ("cal_min", "cal_max", "slice_start", "slice_end", "slice_code", "slice_duration", "toffset"):
            header[key] = 0
        for key in ("aux_file", "intent_name"):
            header[key] = b""
        for key in ("intent_code", "intent_p1", "intent_p2", "intent_p3"):
            header[key] = 0
        # Without an affine nibabel leaves sform, qform, their codes and the voxel sizes as the header has them.
        image = getattr(nibabel, f"{kind}Image")(values, None, header)
    image.header["descrip"] = b"QSMRecon; research use only"
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    partial = path.parent / f".partial-{uuid.uuid4().hex}{suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image, partial)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}. Choose another folder.") from error
    finally:
        partial.unlink(missing_ok=True)


def b0_along_file_axes(grid: Grid, direction: Sequence[float]) -> Grid:
    """The grid with B0 along `direction`, which counts along the file's own voxel axes.

    Raises InputError for a direction without length or with other than three numbers.
    """
    if len(direction) != 3:
        raise InputError(f"The B0 direction has {len(direction)} numbers: give three, along the file's voxel axes.")
    turned = [0.0, 0.0, 0.0]
    for along, (axis, sign) in zip(direction, grid.storage.axes, strict=True):
        turned[axis] = sign * float(along)
    return replace(grid, b0_direction=Grid.from_affine(grid.shape, grid.affine, tuple(turned)).b0_direction)


def orientation_remarks(grid: Grid) -> list[str]:
    """What is odd about the header that a grid was read from."""
    import nibabel

    stored = grid.storage.nifti_header
    if stored is None:
        return []
    header = getattr(nibabel, f"{_HEADER_SIZES[len(stored)]}Header")(stored, endianness="<", check=False)
    remarks = []
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        remarks.append("the header gives no orientation (sform and qform codes are 0): an axial scan is assumed")
    elif sform is not None and qform is not None:
        rotation = [matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0) for matrix in (sform, qform)]
        apart = float(np.degrees(np.arccos(np.clip((rotation[0] * rotation[1]).sum(0), -1, 1)).max()))
        if apart > 1:
            remarks.append(f"its sform and qform disagree by {apart:.0f}°: the sform is used")
    if not 0.05 <= min(grid.voxel_size_mm) <= max(grid.voxel_size_mm) <= 10:
        remarks.append(f"its voxels are {describe_voxel(grid)}, which is unusual")
    return remarks


def describe_voxel(grid: Grid) -> str:
    """The voxel size in words."""
    return " × ".join(f"{v:.3g}" for v in grid.voxel_size_mm) + " mm"


def describe_grid(grid: Grid) -> str:
    """Shape, voxel size and place of a grid in words."""
    centre = np.asarray(grid.affine) @ [*((n - 1) / 2 for n in grid.shape), 1]
    where = ", ".join(f"{c:.1f}" for c in centre[:3])
    return f"{' × '.join(str(n) for n in grid.shape)} voxels of {describe_voxel(grid)} around ({where})"


def _grid_of(name: str, shape: tuple[int, ...], image: Any) -> Grid:
    import nibabel

    affine = np.asarray(image.affine, dtype=float)
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(affine).all() or lengths.min() <= 0 or abs(np.linalg.det(columns / lengths)) < 1e-3:
        raise InputError(
            f"The affine of {name} is singular: the file does not say where its voxels are. Export it again."
        )
    cosines = (columns / lengths).T @ (columns / lengths) - np.eye(3)
    if np.abs(cosines).max() > SHEAR:
        raise InputError(f"The affine of {name} is sheared: resample the scan to a grid with perpendicular axes.")
    orientation = nibabel.orientations.io_orientation(affine)
    canonical = affine @ nibabel.orientations.inv_ornt_aff(orientation, shape)
    header = image.header.as_byteswapped("<").binaryblock
    axes = tuple((int(axis), int(sign)) for axis, sign in orientation)
    matrix: Matrix = tuple(tuple(float(value) for value in row) for row in affine)
    turned = [0, 0, 0]
    for size, (axis, _) in zip(shape, axes, strict=True):
        turned[axis] = size
    return Grid.from_affine(tuple(turned), canonical, storage=Storage(axes, matrix, header))


def _from_storage(values: NDArray[Any], axes: Sequence[tuple[int, int]]) -> NDArray[Any]:
    flipped = np.flip(values, tuple(i for i, (_, sign) in enumerate(axes) if sign < 0))
    order = [0, 0, 0]
    for i, (axis, _) in enumerate(axes):
        order[axis] = i
    return flipped.transpose(*order, *range(3, values.ndim))


def _to_storage(values: NDArray[Any], axes: Sequence[tuple[int, int]]) -> NDArray[Any]:
    turned = values.transpose(*(axis for axis, _ in axes), *range(3, values.ndim))
    return np.flip(turned, tuple(i for i, (_, sign) in enumerate(axes) if sign < 0))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
