"""Plain NIfTI files: scans by flags, masks and maps."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from QSMReconLib.data import GreData, Grid
from QSMReconLib.errors import InputError
from QSMReconLib.io.files import load_files, load_map, load_mask
from QSMReconLib.io.nifti import write_volume
from QSMReconLib.io.scan import sha256

from .conftest import ECHO_TIMES_S, Head, save


def paths(folder: Path, part: str) -> list[Path]:
    return sorted(folder.rglob(f"*part-{part}*.nii"))


def test_files_with_what_they_lack_on_the_command_line(dataset: Path) -> None:
    expected = load_files(paths(dataset, "mag"), paths(dataset, "phase")).artifacts[GreData]
    for sidecar in dataset.rglob("*.json"):
        sidecar.unlink()
    scan = load_files(paths(dataset, "mag"), paths(dataset, "phase"), echo_times_s=ECHO_TIMES_S, field_strength_t=3)
    gre = scan.artifacts[GreData]
    assert (gre.echo_times_s, gre.field_strength_t) == (expected.echo_times_s, 3)
    torch.testing.assert_close(gre.phase_rad, expected.phase_rad)
    assert (scan.name, scan.folder) == ("sub-1", Path("sub-1/anat"))
    with pytest.raises(InputError, match=r"EchoTime is missing in .*echo-1.* --echo-times"):
        load_files(paths(dataset, "mag"), paths(dataset, "phase"), field_strength_t=3)
    with pytest.raises(InputError, match=r"MagneticFieldStrength is missing .* --field-strength"):
        load_files(paths(dataset, "mag"), paths(dataset, "phase"), echo_times_s=ECHO_TIMES_S)


def test_files_of_any_name_are_one_scan(head: Head, tmp_path: Path) -> None:
    signal = np.moveaxis(head.signal, 0, 3)
    save(tmp_path / "re.nii.gz", signal.real, head.affine)
    save(tmp_path / "im.nii.gz", signal.imag, head.affine)
    files = {"real": [tmp_path / "re.nii.gz"], "imag": [tmp_path / "im.nii.gz"]}
    scan = load_files(
        **files, echo_times_s=ECHO_TIMES_S, field_strength_t=7.0, b0_direction=(0, 1, 0), phase_sign="keep"
    )
    gre = scan.artifacts[GreData]
    assert gre.magnitude.shape == head.signal.shape
    assert gre.grid.b0_direction == (0.0, 1.0, 0.0)
    assert scan.folder == Path("sub-scan/anat")


def test_the_digests_are_of_every_file_read(dataset: Path) -> None:
    scan = load_files(paths(dataset, "mag"), paths(dataset, "phase"))
    digests = dict(scan.digests())
    assert len(digests) == 12
    for path, digest in digests.items():
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest() == sha256(path)


def test_nothing_given_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images: give magnitude and phase"):
        load_files()


def test_the_first_of_several_errors_is_raised_and_the_rest_counted(dataset: Path) -> None:
    for path in paths(dataset, "phase")[:2]:
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"echo-1_part-phase.*damaged.*\(And 1 more: qsmrecon doctor"):
        load_files(paths(dataset, "mag"), paths(dataset, "phase"))


@pytest.fixture
def grid() -> Grid:
    return Grid.centred((8, 9, 10), (1.0, 1.5, 2.0))


def test_a_map_and_its_direction(grid: Grid, tmp_path: Path) -> None:
    path = tmp_path / "field.nii.gz"
    values = torch.randn(grid.shape)
    write_volume(path, values, grid)
    found, own = load_map(path, unit="ppm")
    torch.testing.assert_close(found, values)
    assert own.b0_direction == (0.0, 0.0, 1.0)
    assert load_map(path, (0, 3, 0))[1].b0_direction == (0.0, 1.0, 0.0)
    (tmp_path / "field.json").write_text(json.dumps({"B0_dir": [1, 0, 0], "Units": "ppm"}))
    assert load_map(path, unit="ppm")[1].b0_direction == (1.0, 0.0, 0.0)
    with pytest.raises(InputError, match=r"field\.nii\.gz is in ppm .* must be in Hz: convert"):
        load_map(path, unit="Hz")


def test_maps_that_are_none(grid: Grid, tmp_path: Path) -> None:
    write_volume(tmp_path / "4d.nii", torch.ones(2, *grid.shape), grid)
    with pytest.raises(InputError, match=r"4d\.nii holds 2 volumes"):
        load_map(tmp_path / "4d.nii")
    write_volume(tmp_path / "nan.nii", torch.full(grid.shape, float("nan")), grid)
    with pytest.raises(InputError, match=r"nan\.nii .* not numbers"):
        load_map(tmp_path / "nan.nii")


def test_a_mask_on_the_grid(grid: Grid, tmp_path: Path) -> None:
    mask = torch.zeros(grid.shape)
    mask[2:5] = 1
    write_volume(tmp_path / "mask.nii.gz", mask, grid)
    found = load_mask(tmp_path / "mask.nii.gz", grid)
    assert found.voxels.dtype == torch.bool
    assert torch.equal(found.voxels, mask > 0)
    assert found.grid is grid


def test_a_mask_stored_in_another_order_is_the_same_mask(grid: Grid, tmp_path: Path) -> None:
    mask = np.zeros(grid.shape, dtype=np.uint8)
    mask[2:5, 1:] = 1
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = grid.shape[0] - 1
    save(tmp_path / "las.nii", mask[::-1], np.asarray(grid.affine) @ flip, np.uint8)
    assert torch.equal(load_mask(tmp_path / "las.nii", grid).voxels, torch.from_numpy(mask > 0))


def test_a_mask_that_fits_nothing_names_both_grids(grid: Grid, tmp_path: Path) -> None:
    other = Grid.centred((8, 9, 11), (1.0, 1.5, 2.0))
    write_volume(tmp_path / "mask.nii", torch.ones(other.shape), other)
    with pytest.raises(InputError, match=r"mask\.nii .*8 × 9 × 11 .*8 × 9 × 10 .*resample"):
        load_mask(tmp_path / "mask.nii", grid)
    write_volume(tmp_path / "empty.nii", torch.zeros(grid.shape), grid)
    with pytest.raises(InputError, match=r"empty\.nii is empty"):
        load_mask(tmp_path / "empty.nii", grid)
