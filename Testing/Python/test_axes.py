"""One head stored in all 48 orders of its axes, oblique: from file to file only the storage of the result differs."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff
from numpy.typing import NDArray

from QSMReconLib.data import Artifact, GreData, Mask
from QSMReconLib.io.bids import load_scan
from QSMReconLib.io.derivatives import write_derivatives
from QSMReconLib.io.files import files_of, load_mask
from QSMReconLib.io.scan import Given
from QSMReconLib.pipeline import Pipeline
from QSMReconLib.runtime import Runtime

ORDERS = [np.column_stack([order, signs]) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
PIPELINE = Pipeline.from_json(
    {"name": "axes", "stages": [{"stage": name} for name in ("mcpc3ds", "romeo", "fieldfit", "vsharp", "tkd")]}
)


def save(path: Path, values: NDArray, affine: NDArray, order: NDArray) -> Path:
    stored = apply_orientation(values, order)
    image = nibabel.Nifti1Image(stored.astype(np.float32), affine @ inv_ornt_aff(order, values.shape))
    nibabel.save(image, path)
    return path


def chi_from_files(folder: Path, head: dict[type[Artifact], Artifact], order: NDArray) -> NDArray:
    """χ as it is stored for the head written in that order."""
    gre, mask = head[GreData], head[Mask]
    assert isinstance(gre, GreData)
    assert isinstance(mask, Mask)
    affine = np.asarray(gre.grid.affine).copy()
    turn = np.deg2rad(12)
    affine[:3] = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]) @ affine[:3]
    parts = {
        name: [save(folder / f"{name}{echo}.nii", volume.numpy(), affine, order) for echo, volume in enumerate(volumes)]
        for name, volumes in (("m", gre.magnitude), ("p", gre.phase_rad))
    }
    files = files_of(parts["m"], parts["p"])
    scan = load_scan(files, Given(gre.echo_times_s, gre.field_strength_t, None, "keep"))
    given = dict(scan.artifacts)
    given[Mask] = load_mask(save(folder / "mask.nii", mask.voxels.numpy(), affine, order), scan.grid)
    write_derivatives(folder, scan, PIPELINE.run(given, Runtime()), {})
    image = nibabel.load(next(folder.rglob("*_Chimap.nii.gz")))
    assert np.array_equal(image.affine, nibabel.load(parts["m"][0]).affine)
    return np.asarray(image.dataobj)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, small_head: dict[type[Artifact], Artifact]) -> NDArray:
    """χ of the head as it is stored in the library."""
    return chi_from_files(tmp_path_factory.mktemp("plain"), small_head, ORDERS[0])


@pytest.mark.parametrize("number", range(48))
def test_only_the_storage_differs(
    number: int, plain: NDArray, tmp_path: Path, small_head: dict[type[Artifact], Artifact]
) -> None:
    chi = chi_from_files(tmp_path, small_head, ORDERS[number])
    assert np.abs(plain).max() > 0.05
    assert np.abs(chi - apply_orientation(plain, ORDERS[number])).max() < 1e-4
