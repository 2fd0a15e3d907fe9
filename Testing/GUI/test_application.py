"""What happens around the module: sample data, the tests meant for the application, Slicer without a window."""

from __future__ import annotations

import importlib.util
import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import slicer

from standins.application import pump

from .conftest import add_volume

IN_SLICER = Path(__file__).parents[1] / "Slicer" / "QSMReconInSlicerTest.py"


class SampleDataLogic:
    """As in Slicer's SampleData.py: the names of the arguments are the contract."""

    registered: list[dict[str, Any]]

    @staticmethod
    def registerCustomSampleDataSource(  # noqa: N802
        category: str = "Custom",
        sampleName: Any = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: Any = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        SampleDataLogic.registered.append(dict(locals()))


@pytest.fixture
def registered(app: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the module tells the Sample Data module."""
    import QSMRecon

    SampleDataLogic.registered = []
    module = ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    monkeypatch.setitem(sys.modules, "SampleData", module)
    QSMRecon.registerSampleData()
    (source,) = SampleDataLogic.registered
    return source


def test_the_sample_head_is_offered_with_a_picture(registered: dict[str, Any]) -> None:
    assert registered["category"] == "QSMRecon"
    assert Path(registered["thumbnailFileName"]).is_file()
    # Slicer wants as many of each, as texts or as lists.
    assert all(isinstance(registered[name], str) for name in ("uris", "fileNames", "nodeNames"))


def test_a_head_that_cannot_be_made_is_a_sentence(
    registered: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from QSMReconUI import sample

    said: list[str] = []
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda text, duration=0: said.append(text))
    monkeypatch.setattr(sample, "library_command", lambda *_: ["/no/such/program"])
    assert registered["customDownloader"](registered) == []
    assert "Is QSMRecon set up?" in said[-1]
    assert "Is QSMRecon set up?" in caplog.text


def test_the_tests_for_the_application_pass_here_too(widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda name: widget)
    monkeypatch.setattr(slicer.util, "getModuleLogic", lambda name: widget.logic)
    spec = importlib.util.spec_from_file_location("QSMReconInSlicerTest", IN_SLICER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    assert result.testsRun >= 4
    assert result.wasSuccessful(), [text for _, text in result.failures + result.errors]


def test_without_a_main_window_there_is_no_review_and_no_error(widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = widget.logic.getParameterNode()
    parameters.para = add_volume("para")
    pump(0.02)
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: None)
    widget.ui.reviewButton.click()
    assert not parameters.reviewing


def test_the_module_says_what_it_is_for(app: Any) -> None:
    from types import SimpleNamespace

    import QSMRecon

    about = SimpleNamespace(path="")
    QSMRecon.QSMRecon(about)
    assert about.title == "QSMRecon"
    assert about.categories == ["Quantification"]
    assert "research use only" in about.helpText


@pytest.mark.parametrize("slider", ["paraOpacity", "fade"])
def test_moving_a_slider_changes_the_view_at_once(widget: Any, slider: str) -> None:
    parameters = widget.logic.getParameterNode()
    parameters.para, parameters.dia = add_volume("para", 0.1), add_volume("dia", 0.1)
    pump(0.02)
    widget.ui.reviewButton.click()
    red = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    assert red.GetForegroundOpacity() == pytest.approx(0.8)
    getattr(widget.ui, f"{slider}Slider").setProperty("value", 0.5)
    pump(0.02)
    assert red.GetForegroundOpacity() == pytest.approx(0.5 if slider == "paraOpacity" else 0.4)


def test_a_threshold_and_the_full_scale_reach_the_maps(widget: Any) -> None:
    parameters = widget.logic.getParameterNode()
    parameters.para = add_volume("para", 0.1)
    pump(0.02)
    widget.ui.reviewButton.click()
    widget.ui.paraThresholdPpbSlider.setProperty("value", 45.0)
    widget.ui.windowPpbSlider.setProperty("value", 200.0)
    pump(0.02)
    display = parameters.para.GetDisplayNode()
    assert display.GetLowerThreshold() == pytest.approx(0.045)
    assert display.GetWindow() == pytest.approx(0.2)


def test_before_a_review_was_asked_for_no_view_is_touched(widget: Any) -> None:
    parameters = widget.logic.getParameterNode()
    parameters.para = add_volume("para", 0.1)
    widget.ui.paraThresholdPpbSlider.setProperty("value", 45.0)
    pump(0.02)
    assert not parameters.para.GetDisplayNode().GetApplyThreshold()
    assert widget.ui.reviewButton.enabled


def test_a_loaded_scene_is_reviewed_again(widget: Any, app: Any, tmp_path: Path) -> None:
    parameters = widget.logic.getParameterNode()
    parameters.para, parameters.dia = add_volume("para", 0.1), add_volume("dia", 0.1)
    parameters.diaOpacity = 0.35
    pump(0.02)
    widget.ui.reviewButton.click()
    app.save(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear(False)
    pump(0.05)
    red = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    red.SetNthLayerVolumeID(3, None)
    red.SetNthLayerOpacity(3, 1.0)
    app.load(tmp_path / "scene.mrb", tmp_path / "cache")
    pump(0.1)
    assert red.GetNthLayerVolumeID(3) == slicer.mrmlScene.GetFirstNodeByName("dia").GetID()
    assert red.GetNthLayerOpacity(3) == pytest.approx(0.35)


def test_what_a_reader_has_set_by_hand_stays(widget: Any) -> None:
    parameters = widget.logic.getParameterNode()
    parameters.base, parameters.para = add_volume("base", 100), add_volume("para", 0.1)
    widget.ui.reviewButton.click()
    display = parameters.base.GetDisplayNode()
    assert not display.GetAutoWindowLevel()
    display.SetWindowLevel(33, 22)
    for value in (45.0, 50.0):
        widget.ui.paraThresholdPpbSlider.setProperty("value", value)
    widget.ui.windowPpbSlider.setProperty("value", 150.0)
    assert (display.GetWindow(), display.GetLevel()) == (33, 22)


def test_a_moving_threshold_makes_no_nodes(widget: Any) -> None:
    parameters = widget.logic.getParameterNode()
    parameters.para = add_volume("para", 0.1)
    widget.ui.reviewButton.click()
    added: list[int] = []
    slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, lambda *_: added.append(1))
    for value in (30.0, 31.0, 32.0):
        widget.ui.paraThresholdPpbSlider.setProperty("value", value)
    pump(0.02)
    assert parameters.para.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.032)
    assert not added
