"""Volumes in and out: whatever the storage, the library sees the same and the file gets back its geometry."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.io.nifti import b0_along_file_axes, orientation_remarks, read_volume, write_volume
from QSMReconLib.physics.dipole import Dipole

GEOMETRY = ("pixdim", "sform_code", "qform_code", "xyzt_units", "dim_info", "srow_x", "srow_y", "srow_z")
GEOMETRY += ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
ORDERS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
VALUES = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


def oblique() -> np.ndarray:
    """0.7 × 0.9 × 2.5 mm, turned about all axes, but less than 45° about any."""
    a, b, c = 0.3, -0.2, 0.15
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    about_z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_x) @ about_y @ about_z @ np.diag([0.7, 0.9, 2.5])
    affine[:3, 3] = (-20.25, 31.5, 7.125)
    # As float32, so that a header holds it exactly.
    return affine.astype(np.float32).astype(float)


def reordered(order: tuple[int, ...], signs: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """VALUES with its axes permuted, then flipped, and the affine that leaves every voxel where it was."""
    to_ours = np.zeros((4, 4))
    to_ours[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        to_ours[old, new] = sign
        to_ours[old, 3] = 0 if sign > 0 else VALUES.shape[old] - 1
    values = np.flip(VALUES.transpose(order), [i for i in range(3) if signs[i] < 0])
    return values, oblique() @ to_ours


def store(path: Path, values: np.ndarray, affine: np.ndarray, sform: int = 2, qform: int = 1) -> Path:
    image = nibabel.Nifti1Image(values, affine)
    image.set_qform(affine, qform)
    image.set_sform(affine, sform)
    image.header.set_xyzt_units("mm", "msec")
    image.header["dim_info"] = 57
    image.header["cal_max"] = 4095
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(("order", "signs"), ORDERS)
def test_every_order_of_axes_is_read_alike_and_written_back_exactly(order, signs, tmp_path: Path) -> None:
    values, affine = reordered(order, signs)
    path = store(tmp_path / "in.nii", values, affine)
    tensor, grid = read_volume(path)

    torch.testing.assert_close(tensor, torch.from_numpy(VALUES), rtol=0, atol=0)
    np.testing.assert_allclose(grid.affine, oblique(), atol=1e-5)
    np.testing.assert_allclose(grid.b0_direction, (oblique()[:3, :3] / (0.7, 0.9, 2.5))[2], atol=1e-6)
    assert grid.voxel_size_mm == pytest.approx((0.7, 0.9, 2.5), abs=1e-6)

    write_volume(tmp_path / "out.nii.gz", tensor, grid)
    before, after = nibabel.load(path), nibabel.load(tmp_path / "out.nii.gz")
    for key in GEOMETRY:
        assert before.header[key].tobytes() == after.header[key].tobytes(), key
    np.testing.assert_array_equal(before.affine, after.affine)
    np.testing.assert_array_equal(after.get_fdata(dtype=np.float32), values)
    assert after.get_data_dtype() == np.float32


@pytest.mark.parametrize(("order", "signs"), ORDERS[::5])
def test_b0_given_along_the_files_axes_is_turned_with_them(order, signs, tmp_path: Path) -> None:
    values, affine = reordered(order, signs)
    _, grid = read_volume(store(tmp_path / "in.nii", values, affine))
    along_file = (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))[2]
    turned = b0_along_file_axes(grid, tuple(3 * along_file))
    assert turned.b0_direction == pytest.approx(grid.b0_direction, abs=1e-6)
    assert b0_along_file_axes(grid, (1, 0, 0)).b0_direction[order[0]] == signs[0]


@pytest.mark.parametrize("direction", [(0.0, 0.0, 0.0), (1.0, 0.0), (float("nan"), 0.0, 1.0)])
def test_a_direction_of_b0_that_is_none_is_refused(direction) -> None:
    with pytest.raises(InputError, match="B0 direction"):
        b0_along_file_axes(Grid.centred((4, 4, 4)), direction)


def test_the_headers_scaling_counts(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(2.0, -4096.0)
    nibabel.save(image, tmp_path / "scaled.nii")
    tensor, _ = read_volume(tmp_path / "scaled.nii")
    np.testing.assert_array_equal(tensor, nibabel.load(tmp_path / "scaled.nii").get_fdata())
    assert float(tensor[0, 0, 1]) == -4094.0


def test_four_dimensions_are_echoes_first_and_go_back_last(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(4, 5, 6, 3)).astype(np.float32)
    path = store(tmp_path / "4d.nii.gz", values, np.diag([-1.0, 1, 1, 1]))
    tensor, grid = read_volume(path)
    np.testing.assert_array_equal(tensor.numpy(), np.moveaxis(values[::-1], 3, 0))
    write_volume(tmp_path / "back.nii.gz", tensor, grid)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "back.nii.gz").get_fdata(dtype=np.float32), values)


def test_a_fourth_dimension_of_one_is_none(tmp_path: Path) -> None:
    tensor, _ = read_volume(store(tmp_path / "in.nii", VALUES[..., None], oblique()))
    assert tensor.shape == VALUES.shape


@pytest.mark.parametrize("kind", ["big-endian", "nifti-2"])
def test_other_headers_keep_their_geometry(kind: str, tmp_path: Path) -> None:
    affine = oblique()
    header = nibabel.Nifti1Header(endianness=">") if kind == "big-endian" else nibabel.Nifti2Header()
    image_class: Any = nibabel.Nifti1Image if kind == "big-endian" else nibabel.Nifti2Image
    image = image_class(VALUES, affine, header)
    image.set_sform(affine, 3)
    nibabel.save(image, tmp_path / "in.nii")
    tensor, grid = read_volume(tmp_path / "in.nii")
    np.testing.assert_array_equal(tensor, VALUES)
    write_volume(tmp_path / "out.nii", tensor, grid)
    after = nibabel.load(tmp_path / "out.nii")
    assert type(after) is type(nibabel.load(tmp_path / "in.nii"))
    np.testing.assert_array_equal(after.affine, nibabel.load(tmp_path / "in.nii").affine)
    assert after.header["sform_code"] == 3


def test_masks_are_bytes_and_labels_stay_whole(tmp_path: Path) -> None:
    grid = Grid.centred((4, 5, 6), (1.0, 2.0, 3.0), (0.0, 0.6, 0.8))
    write_volume(tmp_path / "mask.nii.gz", torch.ones(grid.shape, dtype=torch.bool), grid)
    write_volume(tmp_path / "labels.nii.gz", torch.full(grid.shape, 18), grid)
    assert nibabel.load(tmp_path / "mask.nii.gz").get_data_dtype() == np.uint8
    labels = nibabel.load(tmp_path / "labels.nii.gz")
    assert labels.get_data_dtype().kind == "i"
    assert (np.asarray(labels.dataobj) == 18).all()


def test_a_grid_that_never_had_a_file_is_written_where_it_is(tmp_path: Path) -> None:
    grid = Grid.centred((4, 5, 6), (1.0, 2.0, 3.0))
    write_volume(tmp_path / "new.nii.gz", torch.zeros(grid.shape), grid)
    _, again = read_volume(tmp_path / "new.nii.gz")
    assert again.same_place(grid, 1e-6)
    assert orientation_remarks(again) == []


def test_what_the_input_said_about_its_intensities_is_not_said_of_the_result(tmp_path: Path) -> None:
    tensor, grid = read_volume(store(tmp_path / "in.nii", VALUES, oblique()))
    write_volume(tmp_path / "out.nii", tensor, grid)
    header = nibabel.load(tmp_path / "out.nii").header
    assert header["cal_max"] == 0
    assert b"QSMRecon" in header["descrip"].tobytes()


def test_a_result_on_the_wrong_grid_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not lie"):
        write_volume(tmp_path / "out.nii", torch.zeros(3, 4, 5), Grid.centred((5, 4, 3)))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid.centred((4, 5, 6))
    write_volume(tmp_path / "map.nii.gz", torch.ones(grid.shape), grid)
    before = (tmp_path / "map.nii.gz").read_bytes()

    def full(image: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nibabel, "save", full)
    with pytest.raises(InputError, match=r"map\.nii\.gz cannot be written: No space left"):
        write_volume(tmp_path / "map.nii.gz", torch.zeros(grid.shape), grid)
    assert [path.name for path in tmp_path.iterdir()] == ["map.nii.gz"]
    assert (tmp_path / "map.nii.gz").read_bytes() == before


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _bad_affine(path: Path, affine: np.ndarray) -> None:
    image = nibabel.Nifti1Image(VALUES, None)
    image.header["sform_code"] = 1
    for row, key in zip(affine, ("srow_x", "srow_y", "srow_z"), strict=False):
        image.header[key] = row
    nibabel.save(image, path)


BROKEN = {
    "truncated": (_truncate, "damaged or cut short"),
    "not NIfTI": (lambda p: p.write_bytes(b"DICM" * 200), "damaged"),
    "empty": (lambda p: p.write_bytes(b""), "damaged"),
    "absent": (lambda p: p.unlink(), "There is no file"),
    "two-dimensional": (lambda p: store(p, VALUES[:, :, :1], oblique()), "three dimensions"),
    "five-dimensional": (lambda p: store(p, VALUES.reshape(5, 1, 3, 2, 7), oblique()), "three dimensions"),
    "complex": (lambda p: store(p, VALUES.astype(np.complex64), oblique()), "not real numbers"),
    "sheared": (lambda p: _bad_affine(p, np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.0]])), "sheared"),
    "singular": (lambda p: _bad_affine(p, np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0.0]])), "singular"),
    "without size": (lambda p: _bad_affine(p, np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0.0]])), "singular"),
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_with_what_is_wrong(case: str, suffix: str, tmp_path: Path) -> None:
    breaker, sentence = BROKEN[case]
    path = store(tmp_path / f"scan{suffix}", VALUES, oblique())
    breaker(path)
    with pytest.raises(InputError, match=sentence) as raised:
        read_volume(path)
    assert path.name in str(raised.value)


def test_other_files_are_not_tried(tmp_path: Path) -> None:
    (tmp_path / "scan.mha").write_bytes(b"x")
    with pytest.raises(InputError, match=r"scan\.mha is not a NIfTI file"):
        read_volume(tmp_path / "scan.mha")


def test_rounding_in_a_header_is_no_shear(tmp_path: Path) -> None:
    affine = oblique()
    affine[0, 1] += 1e-3
    read_volume(store(tmp_path / "in.nii", VALUES, affine, qform=0))


@pytest.mark.parametrize(
    ("sform", "qform", "turn", "words"),
    [(0, 0, False, "no orientation"), (1, 1, True, "disagree by 90°"), (1, 0, False, None), (0, 1, False, None)],
)
def test_odd_orientations_are_remarked_on(sform, qform, turn, words, tmp_path: Path) -> None:
    path = store(tmp_path / "in.nii", VALUES, oblique(), sform, qform)
    if turn:
        image = nibabel.load(path)
        image.set_qform(oblique() @ np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), 1)
        image.header["pixdim"][1:4] = (0.7, 0.9, 2.5)
        nibabel.save(image, tmp_path / "in2.nii")
        path = tmp_path / "in2.nii"
    _, grid = read_volume(path)
    remarks = orientation_remarks(grid)
    assert [words in remark for remark in remarks] == [True] if words else remarks == []


def test_the_direction_of_b0_is_the_one_that_made_the_true_field(development_data: Path) -> None:
    truth = development_data / "derivatives" / "truth" / "sub-geswi" / "anat" / "sub-geswi_"
    chi, grid = read_volume(Path(f"{truth}Chimap.nii.gz"))
    local, _ = read_volume(Path(f"{truth}desc-local_fieldmap.nii.gz"))
    mask, _ = read_volume(Path(f"{truth}desc-brain_mask.nii.gz"))
    assert grid.b0_direction == pytest.approx((0, np.sin(np.deg2rad(15)), np.cos(np.deg2rad(15))), abs=1e-4)
    crop = (slice(60, 170), slice(80, 200), slice(10, 50))
    inside = mask[crop] > 0

    def error(direction: tuple[float, float, float]) -> float:
        turned = Grid.from_affine(grid.shape, grid.affine, direction)
        field = Dipole.of(turned, padding_mm=8.0).field(chi)[crop][inside]
        field, true = field - field.mean(), local[crop][inside] - local[crop][inside].mean()
        return float((field - true).norm() / true.norm())

    derived = error(grid.b0_direction)
    assert derived < 0.2
    assert error((0.0, 0.0, 1.0)) > 2 * derived
    assert error((0.0, -grid.b0_direction[1], grid.b0_direction[2])) > 4 * derived
