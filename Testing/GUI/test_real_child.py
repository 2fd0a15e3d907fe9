"""The whole way with the real library in real child processes, on a small simulated head."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer

from standins.application import pump

pytest.importorskip("torch", reason="the library itself runs here")

pytestmark = pytest.mark.slow

PATIENCE_S = 300
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated head of 4 mm, as a BIDS dataset in a folder with an awkward name."""
    from QSMReconUI.job import Run, library_command

    folder = tmp_path_factory.mktemp("Kopf ü") / "study"
    size = ["--shape", "40", "48", "40", "--voxel-size", "4", "4", "4"]
    run = Run(library_command("simulate", "-o", str(folder), *size, "--progress", "none"), folder.parent)
    run.start()
    outcome = run.wait()
    assert outcome.kind == "done", outcome.details
    return folder


@pytest.fixture
def real_widget(app: Any) -> Iterator[Any]:
    """A widget whose children are real, with the library's own pipelines."""
    import QSMRecon
    from QSMReconUI.recipe import library_pipelines

    if "fast" not in library_pipelines():
        pytest.skip("the library has no pipeline called fast")
    QSMRecon.QSMRecon(SimpleNamespace(path=str(ROOT / "QSMRecon" / "QSMRecon.py")))
    widget = QSMRecon.QSMReconWidget()
    widget.logic.getParameterNode().pipeline = "fast"
    pump(0.05)
    yield widget
    widget.cleanup()
    widget.parent.deleteLater()
    pump(0.02)
    assert "Traceback" not in widget.ui.logText.toPlainText(), widget.ui.logText.toPlainText()


@pytest.fixture
def in_scene(real_widget: Any, head: Path) -> Any:
    """The widget with the head's echoes in the scene, found by their sidecars."""
    from QSMReconUI.exchange import read_nifti
    from QSMReconUI.files import scans_in
    from QSMReconUI.scan import assign

    (scan,) = scans_in(head)
    for echo in scan.rows({}):
        voxels, affine = read_nifti(echo.source)
        node = slicer.util.addVolumeFromArray(voxels, affine, echo.name.split(".")[0])
        assign(node, echo.part if echo.part != "spin_echo" else "", echo.echo_times_s)
    real_widget.logic.getParameterNode().fieldStrength = 3.0
    pump(0.05)
    assert real_widget.ui.runButton.enabled, real_widget.ui.runButton.toolTip
    return real_widget


def status(widget: Any) -> str:
    return widget.ui.statusLabel.text


def wait(widget: Any, until: Callable[[], Any]) -> None:
    assert pump(PATIENCE_S, until=until), status(widget) + widget.ui.logText.toPlainText()


def temporary(widget: Any) -> list[Path]:
    folder = Path(slicer.app.temporaryPath) / "QSMRecon"
    return list(folder.iterdir()) if folder.exists() else []


def test_volumes_of_the_scene_become_maps(in_scene: Any, head: Path) -> None:
    from QSMReconUI.exchange import read_nifti
    from QSMReconUI.scan import ijk_to_ras

    in_scene.ui.runButton.click()
    stages = set()

    def done() -> bool:
        stages.add(status(in_scene).split(":")[0].split(" ")[0])
        return not in_scene.window.run.running

    wait(in_scene, done)
    assert "results are in the scene" in status(in_scene)
    assert len(stages) > 3, stages
    chi = in_scene.logic.getParameterNode().chi
    assert chi.GetName() == "sub-phantom χ [ppm]"
    magnitude = in_scene.logic.getParameterNode().base
    assert ijk_to_ras(chi) == ijk_to_ras(magnitude)
    provenance = json.loads(chi.GetAttribute("QSMRecon.Provenance"))
    assert provenance["Pipeline"]["name"] == "fast"
    files = (head / "derivatives" / "truth").rglob("*_Chimap.nii.gz")
    (truth_file,) = (path for path in files if "desc" not in path.name)
    truth, found = read_nifti(truth_file)[0], slicer.util.arrayFromVolume(chi)
    inside = found != 0
    assert np.corrcoef(truth[inside], found[inside])[0, 1] > 0.5


def test_a_folder_becomes_maps_and_the_files_stay(real_widget: Any, head: Path, tmp_path: Path) -> None:
    from QSMReconUI.parameters import Source

    parameters = real_widget.logic.getParameterNode()
    parameters.source, parameters.folder = Source.FOLDER, str(head)
    parameters.output = str(tmp_path / "Ergebnisse ü")
    pump(0.1)
    assert real_widget.ui.runButton.enabled, real_widget.ui.runButton.toolTip
    real_widget.ui.runButton.click()
    wait(real_widget, lambda: not real_widget.window.run.running)
    assert parameters.chi is not None, status(real_widget) + real_widget.ui.logText.toPlainText()
    assert parameters.base.GetName() == "sub-phantom magnitude"
    assert list((tmp_path / "Ergebnisse ü").rglob("*_report.html"))
    pump(0.1)
    real_widget.ui.runButton.click()
    wait(real_widget, lambda: not real_widget.window.run.running)
    assert "is there already" in status(real_widget)


def test_the_examination_says_what_it_repairs(in_scene: Any) -> None:
    in_scene.ui.examineButton.click()
    wait(in_scene, lambda: in_scene.ui.examineButton.text == "Examine")
    assert "phase" in in_scene.ui.findingsLabel.text.lower()
    assert in_scene.ui.runButton.enabled
    assert temporary(in_scene) == []


def test_a_scan_that_cannot_be_used_ends_in_the_librarys_sentence(in_scene: Any) -> None:
    for index in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        node = slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode")
        if node.GetAttribute("QSMRecon.Part") == "phase":
            slicer.util.arrayFromVolume(node)[:] = 0
    in_scene.ui.runButton.click()
    wait(in_scene, lambda: not in_scene.window.run.running)
    assert "phase" in status(in_scene)
    assert "Traceback" not in status(in_scene)
    assert temporary(in_scene) == []
    assert in_scene.logic.getParameterNode().chi is None


@pytest.mark.parametrize("moment", ["at once", "while it works"])
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_child_killed_at_any_moment_leaves_a_working_module(in_scene: Any, moment: str) -> None:
    in_scene.ui.runButton.click()
    if moment == "while it works":
        wait(in_scene, lambda: in_scene.ui.progressBar.maximum == 1000)
    os.killpg(in_scene.window.run._working.run._process._process.pid, signal.SIGKILL)
    wait(in_scene, lambda: not in_scene.window.run.running)
    pump(0.05)
    assert "ended before it was done" in status(in_scene)
    assert in_scene.ui.runButton.enabled
    assert temporary(in_scene) == []


def test_lesions_are_measured_read_and_exported(real_widget: Any, head: Path, tmp_path: Path) -> None:
    from QSMReconUI.exchange import _segmentation, load_results, read_nifti

    anat = next((head / "derivatives" / "truth").rglob("*desc-para_Chimap.nii.gz")).parent
    files = [path for path in sorted(anat.glob("*Chimap.nii.gz")) if "lesion" not in path.name]
    loaded = load_results(slicer.mrmlScene, files, "sub-phantom").maps
    parameters = real_widget.logic.getParameterNode()
    parameters.chi, parameters.para = loaded["Chimap"], loaded["desc-para_Chimap"]
    voxels, affine = read_nifti(files[0])
    k, j, i = (n // 2 for n in voxels.shape)
    drawn = np.zeros(voxels.shape, np.uint8)
    drawn[k : k + 3, j + 6 : j + 8, i + 8 : i + 10] = drawn[k : k + 2, j - 8 : j - 6, i - 9 : i - 7] = 1
    parameters.lesions = _segmentation(slicer.mrmlScene, "two", drawn, affine, None)
    pump(0.05)
    real_widget.ui.measureButton.click()
    wait(real_widget, lambda: not real_widget.window.lesions.running)
    assert "2 lesions were measured" in real_widget.ui.measureLabel.text, real_widget.ui.measureLabel.text
    panel = real_widget.window.lesions
    panel.step(1)
    panel.say("reader_para", "rim")
    panel.export(tmp_path / "Läsionen ü" / "mine.tsv")
    wait(real_widget, lambda: not panel.running)
    assert "Written" in real_widget.ui.measureLabel.text, real_widget.ui.measureLabel.text
    table = (tmp_path / "Läsionen ü" / "mine.tsv").read_text("utf-8")
    assert "reader_para" in table
    assert "\trim\n" in table or "\trim\t" in table
    assert "reader, χ_para: rim" in (tmp_path / "Läsionen ü" / "mine.html").read_text("utf-8")
    assert temporary(real_widget) == []


def test_cancel_leaves_nothing(in_scene: Any) -> None:
    in_scene.ui.runButton.click()
    wait(in_scene, lambda: in_scene.ui.progressBar.maximum == 1000)
    in_scene.ui.cancelButton.click()
    assert pump(10, until=lambda: not in_scene.window.run.running)
    assert "Cancelled" in status(in_scene)
    assert temporary(in_scene) == []


def test_the_self_test_passes_on_the_sample_data(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import QSMRecon
    from QSMReconUI import sample
    from QSMReconUI.scan import chosen, problems, rows

    monkeypatch.setattr(sample, "SHAPE", (40, 48, 40))
    monkeypatch.setattr(sample, "VOXEL_MM", 4.0)
    QSMRecon.QSMReconTest().runTest()
    assert list(problems(chosen(rows(slicer.mrmlScene)), 3.0)) == []
    assert slicer.mrmlScene.GetFirstNodeByName("sub-phantom χ [ppm]") is not None
    assert temporary(None) == []
