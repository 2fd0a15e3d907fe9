"""A run: what the child is given, what is shown while it works, and every way in which it can end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import slicer

from standins.application import pump

from .conftest import AFFINE, SHAPE, FakeProcess, add_volume, write_results


@pytest.fixture
def child(ready: Any, children: list[FakeProcess]) -> FakeProcess:
    """A child at work."""
    ready.ui.runButton.click()
    pump(0.02)
    return children[-1]


def finish(child: FakeProcess) -> None:
    """End as a child that has done its work."""
    outputs = write_results(Path(child.job["output"]))
    child.say(
        event="done", scan="sub-head", outputs=outputs, report=str(Path(outputs[0]).parent / "sub-head_report.html")
    )
    child.end(0)
    assert pump(2, until=lambda: not (child.folder / "job.json").exists())
    pump(0.05)


def ended(widget: Any, sentence: str) -> bool:
    """Whether the run ends with this sentence, and another one could be started."""
    said = pump(2, until=lambda: sentence in widget.ui.statusLabel.text)
    pump(0.05)
    return said and widget.ui.runButton.enabled


def nodes(kind: str = "vtkMRMLScalarVolumeNode") -> dict[str, Any]:
    scene = slicer.mrmlScene
    found = [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
    return {node.GetName(): node for node in found}


def test_the_child_gets_the_scan_as_a_bids_dataset(child: FakeProcess) -> None:
    job = child.job
    assert child.command[1:] == ["-m", "QSMReconLib", "run", str(child.folder / "job.json"), "--progress", "json"]
    anat = Path(job["input"]) / "sub-head" / "anat"
    assert sorted(path.name for path in anat.glob("*.nii")) == [
        f"sub-head_echo-{echo}_part-{part}_MEGRE.nii" for echo in (1, 2, 3) for part in ("mag", "phase")
    ]
    image = nibabel.load(anat / "sub-head_echo-2_part-mag_MEGRE.nii")
    assert image.shape == SHAPE[::-1]
    assert np.allclose(image.affine, AFFINE)
    assert image.get_fdata().max() == 2
    sidecar = json.loads((anat / "sub-head_echo-2_part-mag_MEGRE.json").read_text("utf-8"))
    assert sidecar == {"EchoTime": 0.01, "MagneticFieldStrength": 3.0}
    assert job["pipeline"]["stages"] == [{"stage": "tkd", "options": {"threshold": 0.2, "correct": False}}]
    assert (job["device"], job["overwrite"], job["phase_sign"]) == ("auto", False, "auto")


def test_the_job_is_one_that_the_library_reads(child: FakeProcess) -> None:
    from QSMReconLib.job import Job

    job = Job.from_json(child.folder / "job.json")
    assert [files.name for files in job.scans()] == ["sub-head"]
    assert job.resolved_pipeline().steps[0].stage.name == "tkd"


def test_progress_is_shown_with_the_time_left(ready: Any, child: FakeProcess) -> None:
    assert ready.ui.cancelButton.isVisibleTo(ready.ui.cancelButton.parent())
    assert not ready.ui.runButton.isVisibleTo(ready.ui.runButton.parent())
    child.say(event="progress", stage="tkd", fraction=0.5, text="inverting")
    assert pump(1, until=lambda: ready.ui.progressBar.value == 500)
    assert "1 of 1, tkd: inverting" in ready.ui.statusLabel.text
    assert "left" in ready.ui.statusLabel.text


def test_the_log_shows_what_the_child_says(ready: Any, child: FakeProcess) -> None:
    child.grumble("a warning about Größe")
    assert pump(1, until=lambda: "a warning about Größe" in ready.ui.logText.toPlainText())


def test_results_come_into_the_scene_named_and_in_a_folder(ready: Any, child: FakeProcess) -> None:
    finish(child)
    assert {"head χ [ppm]", "head χ_para [ppm]", "head χ_dia [ppm]", "head R2* [Hz]"} <= set(nodes())
    assert set(nodes("vtkMRMLSegmentationNode")) == {"head brain mask"}
    chi = nodes()["head χ [ppm]"]
    assert slicer.util.arrayFromVolume(chi).max() == np.float32(0.05)
    provenance = json.loads(chi.GetAttribute("QSMRecon.Provenance"))
    assert provenance["Warnings"] == ["Größe"]
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(chi))
    assert hierarchy.GetItemName(folder) == "head QSM (clinical)"
    assert "5 results" in ready.ui.statusLabel.text
    assert ready.ui.reportButton.isVisibleTo(ready.ui.reportButton.parent())
    assert ready.ui.runButton.enabled


def test_results_are_reviewed_at_once(ready: Any, child: FakeProcess) -> None:
    finish(child)
    parameters = ready.logic.getParameterNode()
    assert parameters.reviewing
    assert parameters.base.GetName() == "head e2 mag"
    assert parameters.para.GetName() == "head χ_para [ppm]"
    red = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    assert red.GetForegroundVolumeID() == parameters.para.GetID()


def test_real_and_imaginary_parts_are_reviewed_on_their_magnitude(
    ready: Any, children: list[FakeProcess], echoes: list[Any]
) -> None:
    for index, node in enumerate(echoes):
        node.SetAttribute("QSMRecon.Part", ("real", "imag")[index % 2])
        slicer.util.arrayFromVolume(node)[:] *= (3, 4)[index % 2]
    pump(0.02)
    ready.ui.runButton.click()
    finish(children[-1])
    base = ready.logic.getParameterNode().base
    assert base.GetName() == "head magnitude"
    assert slicer.util.arrayFromVolume(base).max() == 10  # 3 and 4 times the second echo's 2.
    assert base.GetAttribute("QSMRecon.Map") == "magnitude"
    assert ready.ui.echoTable.rowCount == 6


def test_results_are_no_part_of_the_next_scan(ready: Any, child: FakeProcess) -> None:
    finish(child)
    pump(0.05)
    assert ready.ui.echoTable.rowCount == 6


def test_temporary_files_go_and_the_report_stays_for_the_session(ready: Any, child: FakeProcess) -> None:
    finish(child)
    pump(0.05)
    report = Path(child.folder) / "derivatives" / "sub-head" / "anat" / "sub-head_report.html"
    assert report.exists()
    assert not (child.folder / "scan").exists()
    ready.cleanup()
    assert not child.folder.exists()


def test_an_error_is_a_sentence_with_details(ready: Any, child: FakeProcess) -> None:
    child.grumble("the long story")
    child.say(event="error", text="The phase is filtered: export the unfiltered one.", code=2)
    child.end(2)
    assert ended(ready, "The phase is filtered")
    assert ready.ui.detailsButton.isVisibleTo(ready.ui.detailsButton.parent())
    ready.ui.detailsButton.click()
    assert not ready.ui.logCollapsible.property("collapsed")
    assert not child.folder.exists()


@pytest.mark.parametrize("code", [-9, -11, 1, 139])
def test_a_child_that_dies_is_a_sentence(ready: Any, child: FakeProcess, code: int) -> None:
    child.end(code)
    assert ended(ready, "ended before it was done")
    assert len(nodes()) == 6


def test_a_child_that_cannot_be_started_is_a_sentence(ready: Any) -> None:
    def refuse(*_: Any) -> Any:
        raise FileNotFoundError(2, "No such file or directory")

    ready.logic.start_process = refuse
    ready.ui.runButton.click()
    assert ended(ready, "could not be started")


def test_cancel_stops_the_child_and_leaves_nothing(ready: Any, child: FakeProcess) -> None:
    ready.ui.cancelButton.click()
    assert ended(ready, "Cancelled")
    assert child.stopped
    assert not child.folder.exists()
    assert len(nodes()) == 6


def test_a_child_that_does_not_listen_is_killed(ready: Any, child: FakeProcess) -> None:
    child.obeys = False
    ready.ui.cancelButton.click()
    assert ended(ready, "Cancelled")
    assert child.killed


def test_closing_the_scene_cancels_the_run(ready: Any, child: FakeProcess) -> None:
    slicer.mrmlScene.Clear(False)
    pump(0.05)
    assert child.killed
    assert not child.folder.exists()
    assert "scene was closed" in ready.ui.statusLabel.text
    assert nodes() == {}


def test_leaving_the_module_does_not(ready: Any, child: FakeProcess) -> None:
    ready.exit()
    finish(child)
    assert "head χ [ppm]" in nodes()


def test_reloading_the_module_ends_the_child(ready: Any, child: FakeProcess) -> None:
    ready.cleanup()
    assert child.killed
    assert not child.folder.exists()


def test_a_volume_deleted_during_the_run_does_no_harm(ready: Any, child: FakeProcess, echoes: list[Any]) -> None:
    for node in echoes:
        slicer.mrmlScene.RemoveNode(node)
    finish(child)
    assert "head χ [ppm]" in nodes()


def test_a_kept_folder_holds_the_files(ready: Any, children: list[FakeProcess], tmp_path: Path) -> None:
    ready.logic.getParameterNode().output = str(tmp_path / "Ergebnisse ü")
    pump(0.02)
    ready.ui.runButton.click()
    child = children[-1]
    assert child.job["output"] == str(tmp_path / "Ergebnisse ü")
    finish(child)
    assert (tmp_path / "Ergebnisse ü" / "sub-head" / "anat" / "sub-head_report.html").exists()
    assert not child.folder.exists()


def test_half_written_results_of_a_killed_child_are_removed(
    ready: Any, children: list[FakeProcess], tmp_path: Path
) -> None:
    (tmp_path / ".partial-other").mkdir()
    ready.logic.getParameterNode().output = str(tmp_path)
    pump(0.02)
    ready.ui.runButton.click()
    (tmp_path / ".partial-x1").mkdir()
    children[-1].end(-9)
    assert ended(ready, "ended before")
    assert not (tmp_path / ".partial-x1").exists()
    assert (tmp_path / ".partial-other").exists()


def test_a_segmentation_is_the_mask(ready: Any, children: list[FakeProcess], app: Any) -> None:
    from QSMReconUI.exchange import _segmentation

    ball = slicer.util.arrayFromVolume(add_volume("ball"))
    mask = _segmentation(slicer.mrmlScene, "my brain", ball, AFFINE, None)
    ready.logic.getParameterNode().mask = mask
    pump(0.02)
    ready.ui.runButton.click()
    image = nibabel.load(children[-1].job["mask"])
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0) > 0, ball > 0)
    assert np.allclose(image.affine, AFFINE)


def test_an_empty_mask_is_a_sentence(ready: Any, children: list[FakeProcess]) -> None:
    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    ready.logic.getParameterNode().mask = mask
    pump(0.02)
    ready.ui.runButton.click()
    assert "The mask nothing is empty" in ready.ui.statusLabel.text
    assert not children
    assert ready.ui.runButton.enabled


def test_the_examination_lists_what_the_library_finds(
    ready: Any, children: list[FakeProcess], echoes: list[Any]
) -> None:
    ready.ui.examineButton.click()
    child = children[-1]
    assert "doctor" in child.command
    findings = [
        {"level": "repaired", "text": "Phase was in −4096…4095.", "file": ""},
        {"level": "error", "text": "The phase is high-pass filtered.", "file": ""},
    ]
    child.say(event="examined", scan="sub-head", findings=findings)
    child.end(2)
    assert pump(1, until=lambda: "Phase was in" in ready.ui.findingsLabel.text)
    assert ready.ui.findingsLabel.text.index("filtered") < ready.ui.findingsLabel.text.index("Phase was")
    assert "The phase is high-pass filtered." in ready.ui.runButton.toolTip
    assert not ready.ui.runButton.enabled
    # It was about these volumes with these choices: of others it says nothing.
    ready.logic.getParameterNode().phaseSign = "flip"
    pump(0.02)
    assert ready.ui.runButton.enabled
    assert not child.folder.exists()


def test_pressing_run_twice_starts_one_child(ready: Any, children: list[FakeProcess]) -> None:
    ready.ui.runButton.click()
    ready.window.run.start()
    assert len(children) == 1


def test_results_of_a_sequence_are_shown_on_one_of_its_echoes(widget: Any, children: list[FakeProcess]) -> None:
    from QSMReconUI.scan import assign

    for part in ("magnitude", "phase"):
        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", f"gre {part}")
        for echo in range(3):
            volume = slicer.vtkMRMLScalarVolumeNode()
            slicer.util.updateVolumeFromArray(volume, np.full(SHAPE, echo + 1, np.float32))
            volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(AFFINE))
            sequence.SetDataNodeAtValue(volume, str(echo))
        assign(sequence, part, "4 9 14")
    widget.logic.getParameterNode().fieldStrength = 3.0
    pump(0.02)
    assert widget.ui.runButton.enabled, widget.ui.runButton.toolTip
    widget.ui.runButton.click()
    finish(children[-1])
    base = widget.logic.getParameterNode().base
    assert base.GetName().startswith("gre magnitude")
    assert slicer.util.arrayFromVolume(base).max() == 2
    assert widget.ui.echoTable.rowCount == 2
