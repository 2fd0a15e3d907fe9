"""Where lesions come from: label maps, segments, seeds, or the library's own proposals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.files import load_map
from ..io.nifti import describe_grid, read_volume, volume_of
from .comparison import read_table
from .lesions import Lesions, from_seeds, from_segments, split
from .maps import ReviewMaps
from .proposals import Proposals, propose

if TYPE_CHECKING:
    from ..data import Grid

NRRD = (".nrrd", ".nhdr")


def find_lesions(paths: Sequence[Path], seeds: Path | None, maps: ReviewMaps, how: Proposals | None = None) -> Lesions:
    """Those of a label map, of several files (a segment each), of a segmentation of Slicer's (.seg.nrrd), grown from
    `seeds`, or, where nothing is given, proposed.

    Raises InputError for what cannot be read, lies on another grid, or holds no lesion.
    """
    if len(paths) and seeds is not None:
        raise InputError("Give either lesions or seeds; not both.")
    if seeds is not None:
        name = next((name for name in ("chi", "chi_para", "r2star", "chi_dia") if name in maps.channels), "")
        return from_seeds(read_seeds(seeds), maps.channels[name].values, maps.mask, maps.grid)
    if not paths:
        return _proposed(maps, how)
    volumes = [volume for path in paths for volume in read_segments(path, maps.grid)]
    return split(volumes[0], maps.grid) if len(volumes) == 1 else from_segments(volumes, maps.grid)


def read_segments(path: Path, grid: Grid) -> list[NDArray[Any]]:
    """The label map of a file, or its segments where it holds several volumes or is Slicer's .seg.nrrd.

    Raises InputError if it cannot be read or lies elsewhere than on `grid`.
    """
    if path.suffix.lower() in NRRD:
        found, own = _nrrd(path)
    else:
        voxels, own = read_volume(path)
        found = [volume.numpy() for volume in (voxels if voxels.ndim == 4 else voxels[None])]
    same_grid(path, own, grid)
    return found


def same_grid(path: Path, own: Grid, grid: Grid) -> None:
    """Raises InputError where a file's grid is not that of the maps."""
    if not own.same_place(grid, 0.1 * min(grid.voxel_size_mm)):
        raise InputError(
            f"{path} lies on another grid ({describe_grid(own)}) than the maps ({describe_grid(grid)}): "
            "resample it to the maps."
        )


def read_labels(path: Path, grid: Grid) -> NDArray[Any]:
    """A volume of whole numbers (X, Y, Z) on `grid`; raises InputError where it lies elsewhere."""
    values, own = load_map(path)
    same_grid(path, own, grid)
    return values.numpy()


def read_seeds(path: Path) -> NDArray[np.float64]:
    """Points (N, 3), RAS mm: the columns x, y, z of a TSV or CSV, or the points of Slicer's markups (.mrk.json).

    Raises InputError where there are none.
    """
    try:
        if path.suffix == ".json":
            points = [
                np.array(point["position"], dtype=float) * ((-1, -1, 1) if drawn["coordinateSystem"] == "LPS" else 1)
                for drawn in json.loads(path.read_text("utf-8"))["markups"]
                for point in drawn["controlPoints"]
            ]
        else:
            table = read_table(path, ("x", "y", "z"))
            points = list(table[["x", "y", "z"]].to_numpy(float))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as points: {error}. Give a table with columns x, y, z.") from error
    seeds = np.array(points).reshape(-1, 3)
    if not len(seeds) or not np.isfinite(seeds).all():
        raise InputError(f"{path} holds no points, or some without a place: give x, y and z in RAS mm.")
    return seeds


def _proposed(maps: ReviewMaps, how: Proposals | None) -> Lesions:
    if "chi" not in maps.channels:
        raise InputError("Lesions can only be proposed from χ: give a χ map, or a label map of lesions.")
    decay = maps.channels.get("r2star")
    found = propose(
        maps.channels["chi"].values * 1e-3,
        maps.mask,
        maps.grid,
        None if decay is None else decay.values,
        maps.magnitude,
        maps.swi,
        how,
    )
    if not found.segments:
        raise InputError("No candidates for bleeds or calcifications were found: give a label map of lesions.")
    return found


def _nrrd(path: Path) -> tuple[list[NDArray[Any]], Grid]:
    """The segments of a segmentation, or the one volume of another file, and its grid."""
    import nibabel
    import SimpleITK as sitk  # noqa: N813

    if not path.is_file():
        raise InputError(f"There is no file {path}: check its name.")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} is damaged or no NRRD file: save the segmentation again.") from error
    if image.GetDimension() != 3:
        raise InputError(f"{path} has {image.GetDimension()} dimensions: a segmentation has three.")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    voxels = np.asarray(sitk.GetArrayFromImage(image))
    # Components, which are the layers of overlapping segments, come last; axes run from slices to columns.
    layers = np.moveaxis(voxels, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else voxels[None]
    stored = layers.transpose(3, 2, 1, 0).astype(np.float32)
    nifti = nibabel.nifti1.Nifti1Image(stored, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    values, grid = volume_of(nifti, stored, str(path))
    volumes = values.numpy() if values.ndim == 4 else values.numpy()[None]
    known = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    segments = []
    for index in range(sum(key.endswith("_LabelValue") for key in known)):
        # Files of one layer need not say so.
        value = int(known.get(f"Segment{index}_LabelValue", 1))
        segments.append(np.rint(volumes[int(known.get(f"Segment{index}_Layer", 0))]) == value)
    return segments or list(volumes), grid
