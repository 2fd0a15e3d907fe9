"""Volumes to files and back: not a voxel and not a millimetre is lost."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import slicer

from QSMReconLib.errors import InputError
from QSMReconLib.io.nifti import read_volume
from QSMReconUI.exchange import (
    PROVENANCE,
    REPORT,
    declared_volumes,
    export_mask,
    export_scan,
    load_results,
    read_nifti,
    write_nifti,
)
from QSMReconUI.scan import RESULT, Echo, ijk_to_ras

from .conftest import OBLIQUE

AFFINES = {
    "RAS": np.diag([1.0, 2.0, 3.0, 1.0]),
    "LPS": np.diag([-1.0, -2.0, 3.0, 1.0]),
    "sagittal": np.array([[0, 0, 2.0, -9], [-1.0, 0, 0, 4], [0, -1.5, 0, 8], [0, 0, 0, 1]]),
    "oblique, flipped, permuted": OBLIQUE,
}


def random_voxels(shape: tuple[int, int, int] = (5, 7, 6), kind: Any = np.float32) -> np.ndarray:
    generator = np.random.default_rng(3)
    return (generator.standard_normal(shape) * 1000).astype(kind)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_volume_goes_out_and_comes_back_exactly(mrml: Any, tmp_path: Path, affine: np.ndarray) -> None:
    node = slicer.util.addVolumeFromArray(random_voxels(), affine, "map")
    path = tmp_path / "sub-x_Chimap.nii.gz"
    write_nifti(path, slicer.util.arrayFromVolume(node), ijk_to_ras(node))
    loaded = load_results(mrml.scene, [path], "x", like=node).maps["Chimap"]
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(node))
    assert ijk_to_ras(loaded) == ijk_to_ras(node)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_point_of_the_head_stays_where_it_is(mrml: Any, tmp_path: Path, affine: np.ndarray) -> None:
    voxels = np.zeros((5, 7, 6), np.float32)
    voxels[4, 1, 2] = 1
    path = tmp_path / "sub-x_Chimap.nii.gz"
    write_nifti(path, voxels, affine)
    from_library, grid = read_volume(path)
    loaded = load_results(mrml.scene, [path], "x").maps["Chimap"]
    matrix = np.array(ijk_to_ras(loaded))
    k, j, i = np.argwhere(slicer.util.arrayFromVolume(loaded))[0]
    of_library = np.array(grid.affine) @ [*np.argwhere(from_library.numpy())[0], 1]
    assert np.allclose(matrix @ [i, j, k, 1], affine @ [2, 1, 4, 1], atol=1e-5)
    assert np.allclose(of_library, affine @ [2, 1, 4, 1], atol=1e-5)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.float32, np.float64, np.uint8, np.int64])
def test_numbers_survive_the_file(mrml: Any, tmp_path: Path, kind: Any) -> None:
    voxels = np.abs(random_voxels(kind=np.float32)).astype(kind)
    write_nifti(tmp_path / "a.nii", voxels, np.eye(4))
    assert np.array_equal(read_nifti(tmp_path / "a.nii")[0], voxels.astype(np.float32))


def test_the_scan_is_a_dataset_that_the_library_loads(mrml: Any, tmp_path: Path) -> None:
    from QSMReconLib.data import GreData, SpinEchoData
    from QSMReconLib.io.bids import find_scans, load_scan

    generator = np.random.default_rng(1)
    rows = []
    for echo in range(3):
        magnitude = np.abs(generator.standard_normal((8, 9, 10))).astype(np.float32) * 100 + 10 - echo
        phase = generator.uniform(-np.pi, np.pi, (8, 9, 10)).astype(np.float32)
        for part, voxels in (("magnitude", magnitude), ("phase", phase), ("spin_echo", magnitude)):
            node = slicer.util.addVolumeFromArray(voxels, OBLIQUE, part)
            rows.append(Echo(node, part, part, (0.004 * (echo + 1),)))
    folder = export_scan(rows, 7.0, tmp_path / "mit Leerzeichen und ü", "x1")
    (files,) = find_scans(folder)
    scan = load_scan(files)
    gre = scan.artifacts[GreData]
    assert gre.echo_times_s == (0.004, 0.008, 0.012)
    assert gre.field_strength_t == 7.0
    assert scan.name == "sub-x1"
    assert len(scan.artifacts[SpinEchoData].echo_times_s) == 3
    assert np.allclose(np.array(gre.grid.storage.affine), OBLIQUE, atol=1e-5)


def test_a_sequence_is_several_echoes(mrml: Any, tmp_path: Path) -> None:
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "gre mag")
    for echo in range(3):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, np.full((4, 5, 6), echo + 1, np.float32))
        volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(OBLIQUE))
        sequence.SetDataNodeAtValue(volume, str(echo))
    from QSMReconUI.scan import assign, rows

    (row,) = rows(mrml.scene)
    assert (row.name, row.count) == ("gre mag", 3)
    assign(sequence, "magnitude", "4 9 14")
    (row,) = rows(mrml.scene)
    assert row.echo_times_s == (0.004, 0.009, 0.014)
    folder = export_scan([row], 3.0, tmp_path, "s")
    images = sorted((folder / "sub-s" / "anat").glob("*.nii"))
    assert [float(nibabel.load(path).dataobj[0, 0, 0]) for path in images] == [1, 2, 3]
    assert np.allclose(nibabel.load(images[0]).affine, OBLIQUE, atol=1e-5)


def test_the_volume_by_which_a_sequence_is_shown_is_no_candidate(mrml: Any) -> None:
    from QSMReconUI.scan import candidates

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "gre")
    volume = slicer.vtkMRMLScalarVolumeNode()
    slicer.util.updateVolumeFromArray(volume, np.ones((2, 2, 2), np.float32))
    sequence.SetDataNodeAtValue(volume, "0")
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.AddSynchronizedSequenceNode(sequence)
    mrml.sequences.UpdateProxyNodesFromSequences(browser)
    assert browser.GetProxyNode(sequence) is not None
    assert [node.GetName() for node in candidates(mrml.scene)] == ["gre"]


def test_masks_become_segmentations_and_masks_again(mrml: Any, tmp_path: Path) -> None:
    inside = np.zeros((9, 8, 7), np.uint8)
    inside[2:6, 3:7, 1:4] = 1
    like = slicer.util.addVolumeFromArray(inside.astype(np.float32), OBLIQUE, "like")
    write_nifti(tmp_path / "sub-x_desc-brain_mask.nii.gz", inside, OBLIQUE)
    loaded = load_results(mrml.scene, [tmp_path / "sub-x_desc-brain_mask.nii.gz"], "x", like)
    (mask,) = loaded.masks.values()
    assert mask.GetName() == "x brain mask"
    assert not mask.GetDisplayNode().GetVisibility()
    for reference in (like, tmp_path / "sub-x_desc-brain_mask.nii.gz"):
        path = export_mask(mask, reference, tmp_path / "out.nii")
        voxels, affine = read_nifti(path)
        assert np.array_equal(voxels > 0, inside > 0)
        assert np.allclose(affine, OBLIQUE, atol=1e-5)
    assert slicer.mrmlScene.GetFirstNodeByName("QSMRecon grid") is None


def test_an_empty_mask_is_refused(mrml: Any, tmp_path: Path) -> None:
    like = slicer.util.addVolumeFromArray(np.zeros((3, 3, 3), np.float32), np.eye(4), "like")
    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    with pytest.raises(InputError, match="nothing is empty"):
        export_mask(mask, like, tmp_path / "m.nii")


def test_every_map_is_named_with_its_unit_and_placed_in_one_folder(mrml: Any, tmp_path: Path) -> None:
    like = slicer.util.addVolumeFromArray(random_voxels(), OBLIQUE, "magnitude")
    mrml.scene.GetSubjectHierarchyNode().CreateItem(mrml.scene.GetSubjectHierarchyNode().GetSceneItemID(), like)
    paths = []
    for bids in declared_volumes():
        path = tmp_path / f"sub-1_{bids}.nii.gz"
        write_nifti(path, random_voxels(), OBLIQUE)
        path.with_name(f"sub-1_{bids}.json").write_text(json.dumps({"Units": "ü", "Seconds": {"a": 1.5}}), "utf-8")
        paths.append(path)
    loaded = load_results(mrml.scene, paths, "sub-1", like, "classical", tmp_path / "report.html")
    assert set(loaded.maps) | set(loaded.masks) == set(declared_volumes())
    names = {bids: node.GetName() for bids, node in loaded.maps.items()}
    assert (names["Chimap"], names["desc-para_Chimap"]) == ("sub-1 χ [ppm]", "sub-1 χ_para [ppm]")
    assert names["R2starmap"] == "sub-1 R2* [Hz]"
    hierarchy = mrml.scene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemName(loaded.folder) == "sub-1 QSM (classical)"
    assert hierarchy.GetItemAttribute(loaded.folder, REPORT) == str(tmp_path / "report.html")
    for bids, node in (loaded.maps | loaded.masks).items():
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == loaded.folder
        assert json.loads(node.GetAttribute(PROVENANCE)) == {"Units": "ü", "Seconds": {"a": 1.5}}
        assert node.GetAttribute(RESULT) == bids
    chi = loaded.maps["Chimap"]
    assert chi.GetVoxelValueUnits().GetCodeValue() == "[ppm]"
    assert (chi.GetDisplayNode().GetWindow(), chi.GetDisplayNode().GetLevel()) == pytest.approx((0.2, 0.0))


def test_a_second_run_does_not_take_the_first_ones_names(mrml: Any, tmp_path: Path) -> None:
    path = tmp_path / "sub-1_Chimap.nii.gz"
    write_nifti(path, random_voxels(), OBLIQUE)
    names = [load_results(mrml.scene, [path], "sub-1").maps["Chimap"].GetName() for _ in range(2)]
    assert names[0] == "sub-1 χ [ppm]"
    assert names[1] != names[0]


def test_files_that_are_no_maps_are_passed_over(mrml: Any, tmp_path: Path) -> None:
    write_nifti(tmp_path / "sub-1_unheard.nii.gz", random_voxels(), OBLIQUE)
    assert load_results(mrml.scene, [tmp_path / "sub-1_unheard.nii.gz"], "x").maps == {}


def test_results_survive_a_saved_scene(mrml: Any, tmp_path: Path) -> None:
    paths = []
    for bids in ("Chimap", "desc-brain_mask"):
        paths.append(tmp_path / f"sub-1_{bids}.nii.gz")
        write_nifti(paths[-1], np.abs(random_voxels()) > 500 if "mask" in bids else random_voxels(), OBLIQUE)
        paths[-1].with_name(f"sub-1_{bids}.json").write_text(
            json.dumps({"Text": 'with "quotes"; semicolons; <tags> & umlauts ü χ', "List": [1, 2]}), "utf-8"
        )
    loaded = load_results(mrml.scene, paths, "sub-1")
    before = slicer.util.arrayFromVolume(loaded.maps["Chimap"]).copy()
    mrml.save(tmp_path / "scene.mrb")
    mrml.scene.Clear(False)
    mrml.load(tmp_path / "scene.mrb", tmp_path / "cache")
    chi = mrml.scene.GetFirstNodeByName("sub-1 χ [ppm]")
    assert np.array_equal(slicer.util.arrayFromVolume(chi), before)
    assert np.allclose(ijk_to_ras(chi), OBLIQUE, atol=1e-4)
    assert json.loads(chi.GetAttribute(PROVENANCE))["Text"] == 'with "quotes"; semicolons; <tags> & umlauts ü χ'
    assert chi.GetVoxelValueUnits().GetCodeValue() == "[ppm]"
    hierarchy = mrml.scene.GetSubjectHierarchyNode()
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(chi))
    assert hierarchy.GetItemName(folder) == "sub-1 QSM"
    assert mrml.scene.GetFirstNodeByName("sub-1 brain mask") is not None


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["sub-1_ses-2_run-3_echo-1_part-mag_MEGRE", "x"], "sub-1_ses-2_run-3"),
        (["head e1 mag", "head e1 ph", "head e2 mag"], "head"),
        (["gre magnitude", "gre phase"], "gre"),
        (["QSM_e1.nii.gz", "QSM_e1_ph.nii.gz", "QSM_e2.nii.gz"], "QSM"),
        (["Müller 3 mag", "Müller 3 phase"], "Müller 3"),
        (["mag", "phase"], "scan"),
        ([], "scan"),
    ],
)
def test_a_scan_is_called_what_its_volumes_have_in_common(names: list[str], title: str) -> None:
    from QSMReconUI.scan import scan_name

    assert scan_name(names) == title


@pytest.mark.parametrize(
    ("name", "image_type", "part"),
    [
        ("sub-1_echo-1_part-phase_MEGRE", [], "phase"),
        ("sub-1_echo-1_MESE", ["M"], "spin_echo"),
        ("gre_e1_ph", [], "phase"),
        ("gre_e1", [], "magnitude"),
        ("12: t2*_swi_Pha_Images", [], "phase"),
        ("anything", ["ORIGINAL", "PRIMARY", "P", "ND"], "phase"),
        ("anything", ["ORIGINAL", "PRIMARY", "IMAGINARY"], "imag"),
        ("IM_0001", [], ""),
        ("T1 mprage", [], ""),
        ("graph", [], ""),
    ],
)
def test_parts_are_told_by_names_and_image_types(name: str, image_type: list[str], part: str) -> None:
    from QSMReconUI.scan import part_by_words

    assert part_by_words(name, image_type) == part


def test_dicom_tags_tell_part_time_and_field(mrml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from QSMReconUI.scan import Guess, guess

    tags = {"0018,0081": "12.5", "0018,0087": "3", "0008,0008": "ORIGINAL\\PRIMARY\\P\\ND", "0043,102f": ""}
    database = SimpleNamespace(instanceValue=lambda uid, tag: tags[tag] if uid == "1.2.3" else "")
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    node = slicer.util.addVolumeFromArray(random_voxels(), OBLIQUE, "7: swi")
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    assert guess(node) == Guess("phase", (0.0125,), 3.0)
    tags |= {"0043,102f": "3", "0008,0008": "ORIGINAL"}
    assert guess(node).part == "imag"
