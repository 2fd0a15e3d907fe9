"""Scans in folders: BIDS, plain NIfTI, DICOM, and what a person corrects by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QSMReconUI.exchange import write_nifti
from standins.application import pump

from .conftest import AFFINE, SHAPE, FakeProcess, write_results


def write(path: Path, **sidecar: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, np.ones(SHAPE, np.float32), AFFINE)
    path.with_name(path.name.split(".")[0] + ".json").write_text(json.dumps(sidecar), encoding="utf-8")


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """Two runs of one subject."""
    folder = tmp_path / "Studie ü 1"
    for run in (1, 2):
        for echo in (1, 2):
            for part in ("mag", "phase"):
                name = f"sub-a_run-{run}_echo-{echo}_part-{part}_MEGRE.nii.gz"
                write(folder / "sub-a" / "anat" / name, EchoTime=0.004 * run * echo, MagneticFieldStrength=2.9)
    return folder


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """What dcm2niix leaves, among other things."""
    folder = tmp_path / "converted"
    for echo in (1, 2):
        write(
            folder / f"QSM_e{echo}.nii.gz", EchoTime=0.006 * echo, MagneticFieldStrength=3, ImageType=["ORIGINAL", "M"]
        )
        write(folder / f"QSM_e{echo}_ph.nii.gz", EchoTime=0.006 * echo, ImageType=["ORIGINAL", "P"])
    write(folder / "localizer.nii.gz")
    return folder


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    """Three echoes, magnitude and phase, as the scanner exports them, and nowhere near axial."""
    from standins.scanner import export

    generator = np.random.default_rng(0)
    signal = generator.normal(size=(3, *SHAPE[::-1], 2)).astype(np.float32).view(np.complex64)[..., 0]
    export(tmp_path / "DICOM ü", signal[..., :6], AFFINE[:, [1, 2, 0, 3]], (0.004, 0.009, 0.014))
    return tmp_path / "DICOM ü"


def open_folder(widget: Any, folder: Path) -> Any:
    from QSMReconUI.parameters import Source

    parameters = widget.logic.getParameterNode()
    parameters.source = Source.FOLDER
    parameters.folder = str(folder)
    pump(0.05)
    return parameters


def table(widget: Any) -> list[tuple[str, str, str]]:
    shown = widget.ui.echoTable
    return [
        (shown.item(row, 0).toolTip(), shown.cellWidget(row, 1).currentText, shown.item(row, 2).text())
        for row in range(shown.rowCount)
    ]


def start(widget: Any, children: Sequence[FakeProcess]) -> dict[str, Any]:
    assert widget.ui.runButton.enabled, widget.ui.runButton.toolTip
    widget.ui.runButton.click()
    return children[-1].job


def test_a_bids_folder_offers_its_scans(widget: Any, bids: Path, children: list[FakeProcess]) -> None:
    parameters = open_folder(widget, bids)
    combo = widget.ui.scanComboBox
    assert [combo.itemText(index) for index in range(combo.count)] == ["sub-a_run-1", "sub-a_run-2"]
    assert parameters.fieldStrength == 2.9
    assert table(widget)[0] == ("sub-a_run-1_echo-1_part-mag_MEGRE.nii.gz", "magnitude", "4")
    combo.setCurrentText("sub-a_run-2")
    pump(0.05)
    assert [times for _, _, times in table(widget)] == ["8", "16", "8", "16"]
    job = start(widget, children)
    assert (job["input"], job["only"]) == (str(bids), ["sub-a_run-2"])
    assert "magnitude" not in job


def test_the_library_reads_that_job(widget: Any, bids: Path, children: list[FakeProcess]) -> None:
    from QSMReconLib.job import Job

    open_folder(widget, bids)
    start(widget, children)
    assert [scan.name for scan in Job.from_json(children[-1].folder / "job.json").scans()] == ["sub-a_run-1"]


def test_plain_nifti_files_are_told_apart(widget: Any, plain: Path, children: list[FakeProcess]) -> None:
    open_folder(widget, plain)
    assert table(widget) == [
        ("QSM_e1.nii.gz", "magnitude", "6"),
        ("QSM_e1_ph.nii.gz", "phase", "6"),
        ("QSM_e2.nii.gz", "magnitude", "12"),
        ("QSM_e2_ph.nii.gz", "phase", "12"),
        ("localizer.nii.gz", "–", ""),
    ]
    job = start(widget, children)
    assert job["magnitude"] == [str(plain / "QSM_e1.nii.gz"), str(plain / "QSM_e2.nii.gz")]
    assert job["phase"] == [str(plain / "QSM_e1_ph.nii.gz"), str(plain / "QSM_e2_ph.nii.gz")]
    assert job["echo_times_s"] == [0.006, 0.012]


def test_spin_echoes_of_files_keep_the_times_that_were_typed(
    widget: Any, plain: Path, children: list[FakeProcess]
) -> None:
    write(plain / "T2_mese.nii.gz")
    open_folder(widget, plain)
    row = [name for name, _, _ in table(widget)].index("T2_mese.nii.gz")
    assert table(widget)[row] == ("T2_mese.nii.gz", "spin echo", "")
    assert "T2_mese.nii.gz needs its echo time" in widget.ui.runButton.toolTip
    widget.ui.echoTable.item(row, 2).setText("80")
    pump(0.02)
    job = start(widget, children)
    assert (job["spin_echo"], job["spin_echo_times_s"]) == ([str(plain / "T2_mese.nii.gz")], [0.08])


def test_the_table_of_files_can_be_corrected(widget: Any, bids: Path, children: list[FakeProcess]) -> None:
    open_folder(widget, bids)
    for index in (0, 2):
        widget.ui.echoTable.item(index, 2).setText("5")
        pump(0.02)
    job = start(widget, children)
    assert "input" not in job
    assert job["echo_times_s"] == [0.005, 0.008]
    assert len(job["phase"]) == 2


def test_corrections_are_of_one_folder(widget: Any, bids: Path, plain: Path) -> None:
    open_folder(widget, plain)
    widget.ui.echoTable.item(0, 2).setText("5")
    pump(0.02)
    parameters = open_folder(widget, bids)
    assert parameters.corrections == ""


@pytest.mark.parametrize("text", ["{", "3", "[]", '{"QSM_e1.nii.gz": 3}', '{"QSM_e1.nii.gz": ["spin", "5"]}'])
def test_corrections_of_another_version_do_no_harm(widget: Any, plain: Path, text: str) -> None:
    parameters = open_folder(widget, plain)
    parameters.corrections = text
    pump(0.02)
    assert table(widget)[0] == ("QSM_e1.nii.gz", "magnitude", "6")
    assert widget.ui.runButton.enabled


def test_a_scene_brings_its_folder_back_with_its_corrections(
    widget: Any, make_widget: Any, plain: Path, children: list[FakeProcess]
) -> None:
    parameters = open_folder(widget, plain)
    widget.ui.echoTable.item(0, 2).setText("5")
    parameters.fieldStrength = 7.0
    pump(0.05)
    again = make_widget()
    pump(0.05)
    assert table(again)[0][2] == "5"
    assert again.logic.getParameterNode().fieldStrength == 7.0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: None, "is not a folder"),
        (lambda folder: folder.mkdir(), "holds no gradient-echo scan"),
        (
            lambda folder: (folder.mkdir(), (folder / "1").write_bytes(b"\0" * 128 + b"DICM")),
            "DICOM files, but no gradient",
        ),
        (lambda folder: write(folder / "a_mag.nii"), "No volume is chosen"),
        (lambda folder: (write(folder / "a.nii"), (folder / "a.json").write_text("{")), "cannot be read as JSON"),
    ],
)
def test_a_folder_without_a_scan_says_what_to_do(widget: Any, tmp_path: Path, make: Any, sentence: str) -> None:
    make(tmp_path / "folder")
    open_folder(widget, tmp_path / "folder")
    assert sentence in widget.ui.runButton.toolTip
    assert not widget.ui.runButton.enabled


def test_four_dimensional_files_have_several_echo_times(
    widget: Any, tmp_path: Path, children: list[FakeProcess]
) -> None:
    import nibabel

    for part in ("mag", "phase"):
        image = nibabel.Nifti1Image(np.ones((*SHAPE[::-1], 3), np.float32), AFFINE)
        nibabel.save(image, tmp_path / f"gre_{part}.nii.gz")
        (tmp_path / f"gre_{part}.json").write_text(json.dumps({"EchoTime": [0.004, 0.009, 0.014]}))
    parameters = open_folder(widget, tmp_path)
    parameters.fieldStrength = 3.0
    pump(0.02)
    assert [times for _, _, times in table(widget)] == ["4 9 14", "4 9 14"]
    assert start(widget, children)["echo_times_s"] == [0.004, 0.009, 0.014]
    widget.ui.cancelButton.click()
    pump(0.2)
    widget.ui.echoTable.item(1, 2).setText("4 9")
    pump(0.02)
    assert "needs its 3 echo times" in widget.ui.runButton.toolTip


def test_results_of_files_are_shown_on_a_magnitude_loaded_for_it(
    widget: Any, bids: Path, children: list[FakeProcess]
) -> None:
    open_folder(widget, bids)
    job = start(widget, children)
    outputs = write_results(Path(job["output"]), "sub-a_run-1")
    children[-1].say(event="done", scan="sub-a_run-1", outputs=outputs, report="")
    children[-1].end(0)
    parameters = widget.logic.getParameterNode()
    assert pump(2, until=lambda: parameters.base is not None)
    assert parameters.base.GetName() == "sub-a_run-1 magnitude"
    assert parameters.chi.GetName() == "sub-a_run-1 χ [ppm]"
    assert parameters.base.GetID() not in [row[0] for row in table(widget)]


def test_a_folder_that_does_not_say_its_field_strength_does_not_inherit_one(
    widget: Any, bids: Path, tmp_path: Path
) -> None:
    parameters = open_folder(widget, bids)
    assert parameters.fieldStrength == 2.9
    for part in ("mag", "phase"):
        write(tmp_path / "other" / f"gre_{part}.nii.gz", EchoTime=0.01)
    open_folder(widget, tmp_path / "other")
    assert parameters.fieldStrength == 0.0
    assert "field strength is not known" in widget.ui.runButton.toolTip


def test_a_folder_of_dicom_files_is_a_scan(widget: Any, dicom: Path, children: list[FakeProcess]) -> None:
    parameters = open_folder(widget, dicom)
    assert parameters.fieldStrength == 3.0
    assert table(widget) == [
        ("series-5_qsm_gre_magnitude", "magnitude", "4 9 14"),
        ("series-6_qsm_gre_phase", "phase", "4 9 14"),
    ]
    job = start(widget, children)
    assert (job["input"], job["only"]) == (str(dicom), ["sub-Pat01"])
    widget.ui.cancelButton.click()
    pump(0.2)
    widget.ui.echoTable.item(0, 2).setText("5 9 14")
    widget.ui.echoTable.item(1, 2).setText("5 9 14")
    pump(0.02)
    job = start(widget, children)
    assert (job["only"], job["echo_times_s"]) == (["sub-Pat01"], [0.005, 0.009, 0.014])
    widget.ui.cancelButton.click()
    pump(0.2)
    widget.ui.echoTable.cellWidget(0, 1).setCurrentText("phase")
    widget.ui.echoTable.cellWidget(1, 1).setCurrentText("magnitude")
    pump(0.02)
    widget.ui.runButton.click()
    assert "What a DICOM image is, its tags say" in widget.ui.statusLabel.text


def test_a_mask_and_the_results_lie_where_the_dicom_images_do(
    widget: Any, dicom: Path, children: list[FakeProcess]
) -> None:
    import nibabel
    import slicer

    from QSMReconLib.io.find import find_scans
    from QSMReconUI.exchange import _segmentation, read_file
    from QSMReconUI.scan import ijk_to_ras

    parameters = open_folder(widget, dicom)
    voxels, affine = read_file(find_scans(dicom)[0].magnitude[0], 1)
    parameters.mask = _segmentation(slicer.mrmlScene, "brain", voxels > 1000, affine, None)
    job = start(widget, children)
    mask = nibabel.load(job["mask"])
    assert np.array_equal(np.asarray(mask.dataobj), (voxels > 1000).transpose(2, 1, 0))
    assert np.allclose(mask.affine, affine, atol=1e-4)
    children[-1].say(event="done", scan="sub-Pat01", outputs=[], report="")
    children[-1].end(0)
    assert pump(2, until=lambda: parameters.base is not None)
    assert np.array_equal(slicer.util.arrayFromVolume(parameters.base), voxels)
    # The reader may count the slices the other way round: the middle stays where it was.
    middle = [*((n - 1) / 2 for n in voxels.shape[::-1]), 1]
    assert np.allclose(ijk_to_ras(parameters.base) @ np.array(middle), AFFINE[:, [1, 2, 0, 3]] @ middle, atol=1e-3)


@pytest.mark.parametrize("spoil", ["gap", "phase"])
def test_dicom_files_that_are_no_scan_say_why(widget: Any, dicom: Path, spoil: str) -> None:
    import pydicom

    for path in sorted(dicom.iterdir()):
        tags = pydicom.dcmread(path, stop_before_pixels=True)
        if "P" in tags.ImageType if spoil == "phase" else abs(tags.ImagePositionPatient[0] + 26.0) < 0.1:
            path.unlink()
    open_folder(widget, dicom)
    expected = {"gap": "slices are missing after IM", "phase": "There are 3 magnitude and 0 phase volumes"}
    assert expected[spoil] in widget.ui.runButton.toolTip
    assert not widget.ui.runButton.enabled
