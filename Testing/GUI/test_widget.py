"""The panel: what is chosen reaches the scene and comes back from it, and nothing runs before it can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slicer

from standins.application import pump

from .conftest import add_volume


def row(widget: Any, name: str) -> int:
    table = widget.ui.echoTable
    return next(index for index in range(table.rowCount) if table.item(index, 0).text() == name)


def test_an_empty_scene_says_what_to_do(widget: Any) -> None:
    assert not widget.ui.runButton.enabled
    assert "No volume is chosen" in widget.ui.runButton.toolTip
    assert widget.ui.runButton.toolTip in widget.ui.findingsLabel.text
    assert "color:#c0392b" in widget.ui.findingsLabel.text


def test_opening_the_module_imports_no_torch(widget: Any) -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; from pathlib import Path; from standins import application as a;"
        "a.install(); a.start(Path('.')); import QSMRecon; QSMRecon.QSMReconWidget(); a.pump(0.05);"
        "print([name for name in ('torch', 'nibabel', 'SimpleITK', 'scipy') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(root), str(root / "QSMRecon"), str(root / "Testing")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("name", "widget_name", "property_name", "value"),
    [
        ("fieldStrength", "fieldStrengthSpinBox", "value", 7.0),
        ("folder", "folderEdit", "text", "/some/ü folder"),
        ("output", "outputEdit", "text", "/out"),
        ("overwrite", "overwriteCheckBox", "checked", True),
        ("legends", "legendsCheckBox", "checked", False),
        ("fade", "fadeSlider", "value", -0.5),
        ("paraOpacity", "paraOpacitySlider", "value", 0.3),
        ("diaOpacity", "diaOpacitySlider", "value", 0.9),
        ("paraThresholdPpb", "paraThresholdPpbSlider", "value", 50.0),
        ("diaThresholdPpb", "diaThresholdPpbSlider", "value", 60.0),
        ("windowPpb", "windowPpbSlider", "value", 200.0),
    ],
)
def test_a_choice_goes_both_ways(widget: Any, name: str, widget_name: str, property_name: str, value: Any) -> None:
    parameters, editor = widget.logic.getParameterNode(), getattr(widget.ui, widget_name)
    before = getattr(parameters, name)
    assert editor.property(property_name) == before != value
    editor.setProperty(property_name, value)
    assert getattr(parameters, name) == value
    setattr(parameters, name, before)
    pump(0.02)
    assert editor.property(property_name) == before


def test_volumes_appear_in_the_table_and_leave_it(widget: Any, echoes: list[Any]) -> None:
    pump(0.02)
    assert widget.ui.echoTable.rowCount == 6
    slicer.mrmlScene.RemoveNode(echoes[0])
    pump(0.02)
    assert widget.ui.echoTable.rowCount == 5


def test_label_maps_and_results_are_no_candidates(widget: Any) -> None:
    import numpy as np

    from QSMReconUI.scan import RESULT

    slicer.util.addVolumeFromArray(
        np.ones((2, 2, 2), np.uint8), name="labels", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    add_volume("χ").SetAttribute(RESULT, "Chimap")
    pump(0.02)
    assert widget.ui.echoTable.rowCount == 0


def test_the_table_writes_what_a_volume_is(widget: Any, echoes: list[Any]) -> None:
    from QSMReconUI.scan import rows

    pump(0.02)
    widget.ui.echoTable.cellWidget(row(widget, "head e2 ph"), 1).setCurrentText("phase")
    pump(0.02)
    widget.ui.echoTable.item(row(widget, "head e2 ph"), 2).setText("12.5")
    pump(0.02)
    echo = next(echo for echo in rows(slicer.mrmlScene) if echo.name == "head e2 ph")
    assert (echo.part, echo.echo_times_s) == ("phase", (0.0125,))
    assert widget.ui.echoTable.item(row(widget, "head e2 ph"), 2).text() == "12.5"


def test_echoes_are_found_by_their_names(widget: Any, echoes: list[Any]) -> None:
    pump(0.02)
    widget.ui.findButton.click()
    pump(0.02)
    assert [node.GetAttribute("QSMRecon.Part") for node in echoes] == ["magnitude", "phase"] * 3
    assert "needs its echo time, in ms" in widget.ui.runButton.toolTip
    widget.ui.clearButton.click()
    pump(0.02)
    assert not any(node.GetAttribute("QSMRecon.Part") for node in echoes)


def test_a_narrow_table_shows_where_names_differ(widget: Any) -> None:
    for echo in (1, 2):
        add_volume(f"sub-long_acq-qsm_echo-{echo}_part-mag_MEGRE")
    pump(0.02)
    assert [widget.ui.echoTable.item(index, 0).text() for index in (0, 1)] == [
        "…echo-1_part-mag_MEGRE",
        "…echo-2_part-mag_MEGRE",
    ]


def test_a_lone_magnitude_is_no_scan(widget: Any) -> None:
    node = add_volume("T1 mag")
    pump(0.02)
    widget.ui.findButton.click()
    assert node.GetAttribute("QSMRecon.Part") is None


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p, e: setattr(p, "fieldStrength", 0.0), "The field strength is not known"),
        (lambda p, e: e[1].SetAttribute("QSMRecon.Part", None), "3 magnitude and 2 phase volumes"),
        (lambda p, e: e[1].SetAttribute("QSMRecon.EchoTimesMs", ""), "head e1 ph needs its echo time"),
        (lambda p, e: e[1].SetAttribute("QSMRecon.EchoTimesMs", "6"), "The echo times of magnitude and phase differ"),
        (lambda p, e: e[2].SetAttribute("QSMRecon.EchoTimesMs", "5"), "do not increase"),
        (lambda p, e: e[3].SetOrigin(5, 0, 0), "is on another grid"),
        (lambda p, e: [node.SetAttribute("QSMRecon.Part", "real") for node in e[:4:2]], "not both"),
    ],
)
def test_what_is_missing_is_a_sentence_and_nothing_runs(
    ready: Any, echoes: list[Any], spoil: Callable[[Any, Any], Any], sentence: str
) -> None:
    spoil(ready.logic.getParameterNode(), echoes)
    ready.window.refresh()
    assert sentence in ready.ui.runButton.toolTip
    assert not ready.ui.runButton.enabled


def test_a_volume_under_a_transform_is_refused(ready: Any, echoes: list[Any]) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    echoes[4].SetAndObserveTransformNodeID(transform.GetID())
    ready.window.refresh()
    assert "under a transform" in ready.ui.runButton.toolTip


def test_closing_the_scene_leaves_a_working_module(ready: Any) -> None:
    slicer.mrmlScene.Clear(False)
    pump(0.05)
    assert "No volume is chosen" in ready.ui.runButton.toolTip
    parameters = ready.logic.getParameterNode()
    ready.ui.fieldStrengthSpinBox.setValue(1.5)
    assert parameters.fieldStrength == 1.5


def test_choices_survive_the_scene(
    ready: Any, app: Any, make_widget: Callable[[], Any], tmp_path: Path, echoes: list[Any]
) -> None:
    parameters = ready.logic.getParameterNode()
    parameters.pipeline, parameters.fade, parameters.base = "other", 0.5, echoes[0]
    pump(0.02)
    app.save(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear(False)
    pump(0.02)
    app.load(tmp_path / "scene.mrb", tmp_path / "cache")
    pump(0.05)
    for widget in (ready, make_widget()):
        again = widget.logic.getParameterNode()
        assert (again.pipeline, again.fade, again.fieldStrength) == ("other", 0.5, 3.0)
        assert again.base.GetName() == "head e1 mag"
        assert widget.ui.fadeSlider.value == 0.5
        assert widget.ui.pipelineComboBox.currentText == "other"
        assert widget.ui.echoTable.rowCount == 6
        assert widget.ui.runButton.enabled, widget.ui.runButton.toolTip


def test_two_visits_of_the_module_do_not_double_anything(ready: Any) -> None:
    for _ in range(3):
        ready.exit()
        ready.enter()
    seen = []
    node = ready.logic.getParameterNode()
    node.AddObserver("ModifiedEvent", lambda *_: seen.append(1))
    ready.ui.fieldStrengthSpinBox.setValue(1.25)
    assert len(seen) == 1


def test_nothing_unforeseen_reaches_the_person_as_a_traceback(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready.window.run, "_request", lambda: 1 / 0)
    ready.ui.runButton.click()
    pump(0.02)
    assert "Something unforeseen went wrong (ZeroDivisionError" in ready.ui.statusLabel.text
    assert "Traceback" in ready.ui.logText.toPlainText()
    ready.ui.logText.clear()
