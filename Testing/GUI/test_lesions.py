"""The lesion panel: measured by a child, looked at row by row, read, saved with the scene, exported."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import slicer
from PySide6 import QtCore, QtTest

from standins.application import pump

from .conftest import AFFINE, SHAPE, FakeProcess, add_volume

CENTRES_KJI = ((5, 10, 8), (5, 20, 20), (11, 15, 14))
CLASSES = (("hyper", "hypo", "other", ""), ("rim", "iso", "other", ""), ("undecided", "hypo", "bleed", "tiny"))


def ras(kji: Any) -> np.ndarray:
    return (AFFINE @ [*reversed(kji), 1])[:3]


def lesion_volume() -> np.ndarray:
    """Three lesions of a voxel's neighbourhood each, numbered from 1."""
    labels = np.zeros(SHAPE, np.int16)
    for number, (k, j, i) in enumerate(CENTRES_KJI, 1):
        labels[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2] = number
    return labels


def write_table(path: Path, moved: float = 0.0) -> None:
    header = ["label", "segment", "volume_mm3", "x", "y", "z", "class_para", "class_dia", "class_focal", "proposed"]
    header += ["chi_para_contrast_ppb", "chi_para_contrast_low_ppb", "chi_para_contrast_high_ppb", "flags"]
    header += ["probability_para", "probability_dia"]
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter="\t")
        table.writerow(header)
        for number, (kji, words) in enumerate(zip(CENTRES_KJI, CLASSES, strict=True), 1):
            x, y, z = ras(kji) + moved
            measured = [20 * number, 10, 30, words[3] or "n/a", 0.95, 0.8]
            table.writerow([number, 1, 270 - 7 * number, x, y, z, *words[:3], False, *measured])
    path.with_suffix(".json").write_text('{"Warnings": ["Gewebe ü."]}', encoding="utf-8")


def option(child: FakeProcess, name: str) -> Path:
    return Path(child.command[child.command.index(name) + 1])


def measured(child: FakeProcess, moved: float = 0.0) -> None:
    """End as a child that has measured."""
    write_table(option(child, "-o"), moved)
    if "--numbered" in child.command:
        image = nibabel.Nifti1Image(lesion_volume().transpose(2, 1, 0).astype(np.int32), AFFINE)
        nibabel.save(image, option(child, "--numbered"))
    child.end(0)
    assert pump(2, until=lambda: not child.folder.exists())
    pump(0.05)


@pytest.fixture
def maps(widget: Any) -> dict[str, Any]:
    """Maps under review, and a segmentation of lesions."""
    from QSMReconUI.exchange import _segmentation

    found = {name: add_volume(f"sub-ä {title}") for name, title in (("chi", "χ [ppm]"), ("para", "χ_para [ppm]"))}
    for name, node in found.items():
        setattr(widget.logic.getParameterNode(), name, node)
    found["lesions"] = _segmentation(slicer.mrmlScene, "lesions", lesion_volume(), AFFINE, None)
    widget.logic.getParameterNode().lesions = found["lesions"]
    for name in ("Red", "Green"):
        slicer.app.layoutManager()._scene.view(name)
    if slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode") is None:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        slicer.mrmlScene.AddNode(crosshair)
    pump(0.05)
    return found


@pytest.fixture
def reviewed(widget: Any, maps: Any, children: list[FakeProcess]) -> Any:
    """The widget with three lesions measured."""
    assert widget.ui.measureButton.enabled, widget.ui.measureButton.toolTip
    widget.ui.measureButton.click()
    measured(children[-1])
    return widget


def shown(widget: Any, column: str = "#") -> list[str]:
    table = widget.ui.lesionTableWidget
    names = [table.horizontalHeaderItem(index).text() for index in range(table.columnCount)]
    rows = [row for row in range(table.rowCount) if not table.isRowHidden(row)]
    return [table.item(row, names.index(column)).text() for row in rows]


def row_of(widget: Any, label: int) -> int:
    table = widget.ui.lesionTableWidget
    return next(row for row in range(table.rowCount) if table.item(row, 0).text() == str(label))


def click(widget: Any, label: int) -> None:
    widget.ui.lesionTableWidget.selectRow(row_of(widget, label))
    pump(0.02)


def node(widget: Any) -> Any:
    from QSMReconUI.lesions import LesionTable

    return LesionTable(widget.logic.getParameterNode().lesionTable)


def test_without_maps_it_says_what_to_do(widget: Any) -> None:
    assert not widget.ui.measureButton.enabled
    assert "Choose maps to measure in first" in widget.ui.measureButton.toolTip
    assert not widget.ui.lesionFrame.isVisibleTo(widget.ui.lesionCollapsible)


def test_the_child_gets_maps_and_lesions_on_one_grid(widget: Any, maps: Any, children: list[FakeProcess]) -> None:
    widget.ui.measureButton.click()
    child = children[-1]
    assert child.command[1:4] == ["-m", "QSMReconLib", "lesions"]
    lesions = nibabel.load(option(child, "--lesions"))
    assert np.array_equal(np.asarray(lesions.dataobj).transpose(2, 1, 0), lesion_volume() > 0)
    for name in ("--chi", "--chi-para"):
        assert np.allclose(nibabel.load(option(child, name)).affine, AFFINE)
    assert "--chi-dia" not in child.command
    child.say(event="progress", stage="lesions", fraction=0.25, text="")
    assert pump(1, until=lambda: widget.ui.measureBar.value == 250)


def test_lesions_may_be_a_label_map_or_points(widget: Any, maps: Any, children: list[FakeProcess]) -> None:
    parameters, choice = widget.logic.getParameterNode(), widget.ui.lesionsSelector
    labels = slicer.util.addVolumeFromArray(lesion_volume(), AFFINE, "drawn", "vtkMRMLLabelMapVolumeNode")
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "seeds")
    pump(0.02)
    choice.setCurrentNode(labels)
    assert parameters.lesions is labels
    widget.ui.measureButton.click()
    stored = nibabel.load(option(children[-1], "--lesions"))
    assert np.array_equal(np.asarray(stored.dataobj).transpose(2, 1, 0), lesion_volume())
    measured(children[-1])
    choice.setCurrentNode(points)
    widget.ui.measureButton.click()
    assert "seeds has no points" in widget.ui.measureLabel.text
    for kji in CENTRES_KJI:
        points.AddControlPoint(*ras(kji))
    widget.ui.measureButton.click()
    assert "--lesions" not in children[-1].command
    seeds = np.loadtxt(option(children[-1], "--seeds"), skiprows=1)
    assert np.allclose(seeds, [ras(kji) for kji in CENTRES_KJI], atol=1e-3)


def test_the_command_line_knows_these_arguments(widget: Any, maps: Any, children: list[FakeProcess]) -> None:
    from QSMReconLib.cli.main import parser

    for bids in ("desc-local_fieldmap", "desc-total_fieldmap", "swi"):
        add_volume(f"{bids} [ppm]").SetAttribute("QSMRecon.Map", bids)
    maps["chi"].SetAttribute("QSMRecon.Provenance", '{"Units": "ppm", "Stage": "tv"}')
    widget.ui.measureButton.click()
    parsed = parser().parse_args(children[-1].command[3:])
    assert parsed.local_field.is_file()
    assert parsed.total_field.is_file()
    assert parsed.swi.is_file()
    assert '"tv"' in parsed.chi.with_suffix(".json").read_text("utf-8")
    assert parsed.chi_para == option(children[-1], "--chi-para")
    assert parsed.numbered.name == "numbered.nii.gz"


def test_the_table_shows_what_was_measured(reviewed: Any) -> None:
    assert shown(reviewed) == ["1", "2", "3"]
    assert shown(reviewed, "χ_para") == ["hyper", "rim", "undecided"]
    assert "3 lesions were measured. Gewebe ü." in reviewed.ui.measureLabel.text
    assert reviewed.ui.lesionProgressLabel.text == "0 of 3 read"
    table = reviewed.logic.getParameterNode().lesionTable
    assert table.GetName() == "sub-ä lesions"
    assert "Gewebe ü" in table.GetAttribute("QSMRecon.Provenance")


def test_a_row_jumps_all_views_and_is_outlined(reviewed: Any) -> None:
    click(reviewed, 2)
    x, y, z = ras(CENTRES_KJI[1])
    for name, coordinate in (("Red", z),):
        logic = slicer.app.layoutManager()._scene.view(name)
        assert logic.GetSliceOffset() == pytest.approx(coordinate, abs=1e-3)
    view = slicer.mrmlScene.GetSingletonNode("Green", "vtkMRMLSliceNode")
    view.SetFieldOfView(4, 4, 1)
    view.JumpSliceByCentering(500, 500, 500)
    reviewed.window.lesions.choose(2)
    centre = view.GetSliceToRAS()  # What was out of sight comes into the middle.
    assert [centre.GetElement(i, 3) for i in range(3)] == pytest.approx([x, y, z], abs=1e-3)
    segmentation = node(reviewed).node.GetNodeReference("QSMRecon.Outline")
    chi = reviewed.logic.getParameterNode().chi
    outlined = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "this lesion", chi)
    assert np.array_equal(outlined > 0, lesion_volume() == 2)
    assert np.array_equal(
        slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "all lesions", chi) > 0, lesion_volume() > 0
    )
    assert "χ_para +40.0 ppb against normal white matter (10.0 to 30.0)" in reviewed.ui.lesionDetailLabel.text
    assert "χ_para rim (95%)" in reviewed.ui.lesionDetailLabel.text


def test_the_crosshair_chooses_a_row(reviewed: Any) -> None:
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    click(reviewed, 1)
    crosshair.SetCrosshairRAS(*np.add(ras(CENTRES_KJI[2]), 0.6))
    pump(0.02)
    assert reviewed.logic.getParameterNode().activeLesion == 3
    assert reviewed.ui.lesionTableWidget.currentRow() == row_of(reviewed, 3)
    crosshair.SetCrosshairRAS(0, 0, 500)
    assert reviewed.logic.getParameterNode().activeLesion == 3


def test_sorting_and_filters(reviewed: Any) -> None:
    table = reviewed.ui.lesionTableWidget
    table.sortItems(1, QtCore.Qt.AscendingOrder)
    assert shown(reviewed) == ["3", "2", "1"]
    assert shown(reviewed, "mm³") == ["249.0", "256.0", "263.0"] or shown(reviewed, "mm³") == ["249", "256", "263"]
    parameters = reviewed.logic.getParameterNode()
    for name, expected in (("undecided", ["3"]), ("rims", ["2"]), ("focal", ["3"]), ("to be doubted", ["3"])):
        parameters.lesionFilter = name
        pump(0.02)
        assert shown(reviewed) == expected, name
    parameters.lesionFilter = "all"
    reviewed.ui.lesionSearchEdit.setText("HYPO undec")
    pump(0.02)
    assert shown(reviewed) == ["3"]
    assert "1 shown" in reviewed.ui.lesionProgressLabel.text
    reviewed.ui.lesionSearchEdit.setText("")
    pump(0.02)
    assert shown(reviewed) == ["3", "2", "1"]


def test_next_and_previous_follow_what_is_shown(reviewed: Any) -> None:
    parameters = reviewed.logic.getParameterNode()
    reviewed.ui.lesionTableWidget.sortItems(1, QtCore.Qt.AscendingOrder)
    seen = []
    for _ in range(4):
        reviewed.ui.nextLesionButton.click()
        seen.append(parameters.activeLesion)
    assert seen == [3, 2, 1, 3]
    reviewed.ui.previousLesionButton.click()
    assert parameters.activeLesion == 1
    parameters.lesionFilter = "rims"
    pump(0.02)
    reviewed.ui.nextLesionButton.click()
    assert parameters.activeLesion == 2


def test_the_reader_says_what_it_is_by_keys_and_lists(reviewed: Any) -> None:
    reviewed.parent.show()
    reviewed.ui.lesionCollapsible.activateWindow()
    click(reviewed, 2)
    reviewed.ui.lesionTableWidget.setFocus()
    for key in ("4", "6"):
        QtTest.QTest.keyClick(reviewed.ui.lesionTableWidget, key)
    pump(0.02)
    assert [node(reviewed).text(2, column) for column in ("reader_para", "reader_dia")] == ["rim", "iso"]
    reviewed.ui.readerFocalComboBox.setCurrentText("other")
    pump(0.02)
    assert shown(reviewed, "you: focal")[1] == "other"
    assert reviewed.ui.lesionProgressLabel.text == "1 of 3 read"
    reviewed.ui.readerFocalComboBox.setCurrentText("–")
    pump(0.02)
    assert reviewed.ui.lesionProgressLabel.text == "0 of 3 read"
    reviewed.ui.lesionCommentEdit.setFocus()
    QtTest.QTest.keyClicks(reviewed.ui.lesionCommentEdit, "am Balken 4")
    pump(0.02)
    assert node(reviewed).text(2, "reader_comment") == "am Balken 4"
    assert node(reviewed).text(2, "reader_para") == "rim"
    QtTest.QTest.keyClick(reviewed.ui.lesionTableWidget, "N")
    assert reviewed.logic.getParameterNode().activeLesion == 3
    assert reviewed.ui.lesionCommentEdit.text == ""


def test_agreeing_takes_over_and_goes_on(reviewed: Any) -> None:
    click(reviewed, 1)
    reviewed.ui.agreeButton.click()
    pump(0.02)
    assert [node(reviewed).text(1, f"reader_{w}") for w in ("para", "dia", "focal")] == ["hyper", "hypo", "other"]
    assert reviewed.logic.getParameterNode().activeLesion == 2
    reviewed.window.lesions.say("reader_para", "iso")
    reviewed.logic.getParameterNode().lesionFilter = "you differ"
    pump(0.02)
    assert shown(reviewed) == ["2"]
    reviewed.logic.getParameterNode().lesionFilter = "not read"
    pump(0.02)
    assert shown(reviewed) == ["2", "3"]


def test_blinded_nothing_gives_the_computed_class_away(reviewed: Any) -> None:
    click(reviewed, 2)
    reviewed.ui.blindedCheckBox.setChecked(True)
    pump(0.05)
    table = reviewed.ui.lesionTableWidget
    visible = [table.horizontalHeaderItem(i).text() for i in range(table.columnCount) if not table.isColumnHidden(i)]
    assert visible == ["#", "mm³", "you: χ_para", "you: χ_dia", "you: focal", "comment"]
    assert "rim" not in reviewed.ui.lesionDetailLabel.text
    assert not reviewed.ui.agreeButton.enabled
    reviewed.window.lesions.agree()
    assert node(reviewed).text(2, "reader_para") == ""
    reviewed.logic.getParameterNode().lesionFilter = "rims"
    reviewed.ui.lesionSearchEdit.setText("rim")
    pump(0.02)
    assert shown(reviewed) == []
    reviewed.ui.lesionSearchEdit.setText("")
    pump(0.02)
    assert shown(reviewed) == ["1", "2", "3"]


def test_progress_survives_the_scene(reviewed: Any, app: Any, tmp_path: Path) -> None:
    click(reviewed, 2)
    reviewed.window.lesions.say("reader_para", "rim")
    reviewed.window.lesions._comment_typed('Größe, "x"; 3')
    app.save(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear(False)
    pump(0.05)
    assert not reviewed.ui.lesionFrame.isVisibleTo(reviewed.ui.lesionCollapsible)
    app.load(tmp_path / "scene.mrb", tmp_path / "cache")
    pump(0.05)
    parameters = reviewed.logic.getParameterNode()
    assert parameters.activeLesion == 2
    assert shown(reviewed, "you: χ_para") == ["", "rim", ""]
    assert shown(reviewed, "comment") == ["", "Größe, 'x'; 3", ""]
    assert node(reviewed).at(tuple(ras(CENTRES_KJI[2]))) == 3
    segmentation = node(reviewed).node.GetNodeReference("QSMRecon.Outline")
    # Slicer turns the order of slices round where it reads a left-handed volume: places, not indices, must be the same.
    numbers = node(reviewed).numbers_node
    outlined = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "this lesion", numbers)
    assert np.array_equal(outlined > 0, slicer.util.arrayFromVolume(numbers) == 2)
    assert (outlined > 0).sum() == 27


def test_measured_again_the_readings_stay_with_their_lesions(reviewed: Any, children: list[FakeProcess]) -> None:
    click(reviewed, 3)
    reviewed.window.lesions.say("reader_focal", "calcification")
    reviewed.ui.measureButton.click()
    measured(children[-1], moved=1.0)
    assert shown(reviewed, "you: focal") == ["", "", "calcification"]
    reviewed.ui.measureButton.click()
    measured(children[-1], moved=50.0)
    assert shown(reviewed, "you: focal") == ["", "", ""]


def test_export_goes_through_the_library(reviewed: Any, children: list[FakeProcess], tmp_path: Path) -> None:
    click(reviewed, 2)
    reviewed.window.lesions.say("reader_para", "rim")
    reviewed.window.lesions._comment_typed("a\tb")
    reviewed.window.lesions.export(tmp_path / "Läsionen.tsv")
    child = children[-1]
    assert option(child, "-o") == tmp_path / "Läsionen.tsv"
    assert option(child, "--report") == tmp_path / "Läsionen.html"
    assert "--numbered" not in child.command
    lines = option(child, "--readings").read_text("utf-8").splitlines()
    assert lines == ["label\treader_para\treader_comment", "1\t\t", "2\trim\ta b", "3\t\t"]
    assert np.asarray(nibabel.load(option(child, "--lesions")).dataobj).max() == 3
    measured(child)
    assert "Läsionen.tsv" in reviewed.ui.measureLabel.text
    assert reviewed.ui.lesionReportButton.isVisibleTo(reviewed.ui.lesionReportButton.parent())
    assert shown(reviewed, "you: χ_para") == ["", "rim", ""]


@pytest.mark.parametrize("empty", [True, False])
def test_an_empty_segmentation_is_a_sentence_and_none_asks_for_proposals(
    widget: Any, maps: Any, children: list[FakeProcess], empty: bool
) -> None:
    nothing = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    widget.logic.getParameterNode().lesions = nothing if empty else None
    pump(0.02)
    widget.ui.measureButton.click()
    if empty:
        assert "The segmentation nothing has no voxel inside the maps" in widget.ui.measureLabel.text
        assert not children
    else:
        assert "--lesions" not in children[-1].command


def test_overlapping_segments_are_told(widget: Any, maps: Any, children: list[FakeProcess]) -> None:
    from QSMReconUI.lesions import _oriented

    part = lesion_volume() == 1
    image = _oriented(part, tuple(slice(0, n) for n in part.shape), maps["chi"])
    maps["lesions"].AddSegmentFromBinaryLabelmapRepresentation(image, "again")
    widget.ui.measureButton.click()
    assert set(np.unique(np.asarray(nibabel.load(option(children[-1], "--lesions")).dataobj))) == {0, 1}
    measured(children[-1])
    assert "27 voxels lie in more than one segment" in widget.ui.measureLabel.text


def test_errors_cancel_and_a_closed_scene(widget: Any, maps: Any, children: list[FakeProcess]) -> None:
    widget.ui.measureButton.click()
    children[-1].grumble("long story")
    children[-1].say(event="error", text="The lesion map is empty.", code=2)
    children[-1].end(2)
    assert pump(1, until=lambda: "The lesion map is empty." in widget.ui.measureLabel.text)
    assert widget.ui.measureDetailsButton.isVisibleTo(widget.ui.measureDetailsButton.parent())
    pump(0.05)
    widget.ui.measureButton.click()
    widget.ui.measureCancelButton.click()
    assert pump(1, until=lambda: "Cancelled" in widget.ui.measureLabel.text)
    assert not children[-1].folder.exists()
    pump(0.05)
    widget.ui.measureButton.click()
    slicer.mrmlScene.Clear(False)
    pump(0.05)
    assert children[-1].killed
    assert not widget.ui.measureButton.enabled


def test_a_table_of_something_else_is_a_sentence(reviewed: Any) -> None:
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "blood values")
    reviewed.logic.getParameterNode().lesionTable = other
    pump(0.05)
    assert "blood values is not a table of lesions" in reviewed.ui.measureLabel.text
    assert not reviewed.ui.lesionFrame.isVisibleTo(reviewed.ui.lesionCollapsible)


def test_a_deleted_label_map_leaves_a_table_to_read(reviewed: Any) -> None:
    slicer.mrmlScene.RemoveNode(node(reviewed).numbers_node)
    pump(0.05)
    click(reviewed, 2)
    reviewed.window.lesions.say("reader_para", "rim")
    assert node(reviewed).text(2, "reader_para") == "rim"
    slicer.mrmlScene.RemoveNode(reviewed.logic.getParameterNode().lesionTable)
    pump(0.05)
    assert not reviewed.ui.lesionFrame.isVisibleTo(reviewed.ui.lesionCollapsible)


def test_a_table_edited_elsewhere_is_shown_anew(reviewed: Any) -> None:
    table = reviewed.logic.getParameterNode().lesionTable.GetTable()
    table.GetColumnByName("class_para").SetValue(0, "iso")
    table.Modified()
    reviewed.logic.getParameterNode().lesionTable.Modified()
    pump(0.05)
    assert shown(reviewed, "χ_para") == ["iso", "rim", "undecided"]
