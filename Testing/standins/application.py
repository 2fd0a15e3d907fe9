"""`slicer.app` and the rest that a scripted module meets, around a real scene."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
from PySide6 import QtCore, QtWidgets

from . import pythonqt, widgets
from .mrml import Scene

ROOT = Path(__file__).parents[2]


class LayoutManager:
    """The layouts of the real layout logic; every slice view in them gets its slice logic."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(scene.application)
        self._logic.SetMRMLScene(scene.scene)

    def layoutLogic(self) -> Any:
        """The layout logic."""
        return self._logic

    def setLayout(self, number: int) -> None:
        """Show a layout."""
        self._logic.GetLayoutNode().SetViewArrangement(number)
        for name in self.sliceViewNames():
            self._scene.view(name, self._scene.scene.GetSingletonNode(name, "vtkMRMLSliceNode").GetOrientation())

    def sliceViewNames(self) -> list[str]:
        """The slice views there are."""
        scene = self._scene.scene
        number = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
        return [scene.GetNthNodeByClass(index, "vtkMRMLSliceNode").GetLayoutName() for index in range(number)]

    def mrmlSliceLogics(self) -> Any:
        """Their logics."""
        return self._scene.slice_logics


class Application:
    """`slicer.app`."""

    applicationName = "Slicer"

    def __init__(self, scene: Scene, temporary: Path) -> None:
        self.temporaryPath = str(temporary)
        self._layouts = LayoutManager(scene)
        self._scene = scene
        self.opened: list[str] = []

    def layoutManager(self) -> LayoutManager:
        """The layouts."""
        return self._layouts

    def applicationLogic(self) -> Any:
        """The real application logic."""
        return self._scene.application

    def processEvents(self) -> None:
        """Let timers and signals through."""
        QtWidgets.QApplication.processEvents()

    def connect(self, signal: str, slot: Any) -> None:
        """Nothing ever starts up or quits here."""

    def moduleManager(self) -> Any:
        """Modules are not unloaded here."""
        return SimpleNamespace(connect=lambda *_: None, disconnect=lambda *_: None)

    def translate(self, context: str, text: str) -> str:
        """English."""
        return text

    def testingEnabled(self) -> bool:
        """No message boxes, please."""
        return True


def install(sources: Path | None = None) -> None:
    """Stand in for the application. With `sources`, a checkout of Slicer, its own `ScriptedLoadableModule` and
    `parameterNodeWrapper` are used instead of ours."""
    if QtWidgets.QApplication.instance() is None:
        QtWidgets.QApplication(sys.argv[:1])
    pythonqt.install()
    widgets.install()
    slicer.qMRMLWidget = widgets.MRMLWidget
    slicer.qMRMLNodeComboBox = widgets.NodeComboBox
    for name in ("qMRMLRangeWidget", "qMRMLSliderWidget", "qMRMLSpinBox"):
        setattr(slicer, name, type(name, (), {}))
    slicer.util.modulePath = lambda name: str(ROOT / name / f"{name}.py")
    slicer.util.loadUI = _load_ui
    for path in (str(ROOT), str(ROOT / "QSMRecon")):
        if path not in sys.path:
            sys.path.insert(0, path)
    if sources is not None:
        slicer.__path__.append(str(sources / "Base" / "Python" / "slicer"))
        importlib.import_module("slicer.ScriptedLoadableModule")
        importlib.import_module("slicer.parameterNodeWrapper")
        return
    from . import scripted

    for name in ("ScriptedLoadableModule", "parameterNodeWrapper"):
        module = ModuleType(f"slicer.{name}")
        for item, value in vars(scripted).items():
            if not item.startswith("_"):
                setattr(module, item, value)
        sys.modules[module.__name__] = module
        setattr(slicer, name, module)


_scenes: list[Scene] = []


def start(temporary: Path) -> Scene:
    """A fresh scene and application. Old scenes are kept: taken apart in another order than Slicer's, they crash."""
    scene = Scene()
    _scenes.append(scene)
    slicer.app = Application(scene, temporary)
    slicer.modules.sampleDataSources = {}
    return scene


def pump(seconds: float = 0.0, until: Any = None) -> bool:
    """Run the event loop until `until()` holds or the time is over; returns whether it holds.

    A few rounds at least: one timer may start another, and a slow machine spends the time on the first.
    """
    timer = QtCore.QElapsedTimer()
    timer.start()
    rounds = 0
    while True:
        QtWidgets.QApplication.processEvents()
        rounds += 1
        if until is not None and until():
            return True
        if timer.elapsed() >= 1000 * seconds and rounds > 5:
            return until is None
        QtCore.QThread.msleep(2)


def _load_ui(path: str) -> Any:
    # The connections name signals with C++ types of Slicer; our qMRMLWidget hands its scene on by itself.
    text = re.sub(r"<connections>.*</connections>", "", Path(path).read_text("utf-8"), flags=re.DOTALL)
    buffer = QtCore.QBuffer()
    buffer.setData(text.encode())
    buffer.open(QtCore.QIODevice.ReadOnly)
    return widgets.Loader().load(buffer)
