"""The widgets of CTK and Slicer that our .ui file names, small but behaving."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, ClassVar

from PySide6 import QtCore, QtUiTools, QtWidgets


class CollapsibleButton(QtWidgets.QWidget):
    """ctkCollapsibleButton: a title bar that hides what is below it."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._title = QtWidgets.QToolButton(self)
        self._title.setToolButtonStyle(QtCore.Qt.ToolButtonTextBesideIcon)
        self._title.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._title.setArrowType(QtCore.Qt.DownArrow)
        self._title.setFixedHeight(24)
        self._title.clicked.connect(lambda *_: self._set_collapsed(not self._collapsed))
        self._collapsed = False
        self.setContentsMargins(0, 28, 0, 0)

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._title.setArrowType(QtCore.Qt.RightArrow if collapsed else QtCore.Qt.DownArrow)
        for child in self.children():
            if child is not self._title and isinstance(child, QtWidgets.QWidget):
                child.setVisible(not collapsed)
        self.setMaximumHeight(28 if collapsed else 16777215)
        self.contentsCollapsed.emit(collapsed)

    def resizeEvent(self, event: Any) -> None:
        """Keep the title bar across the top."""
        self._title.setGeometry(0, 0, event.size().width(), 24)

    def minimumSizeHint(self) -> QtCore.QSize:
        """The title alone when collapsed."""
        return QtCore.QSize(100, 28) if self._collapsed else super().minimumSizeHint()

    def sizeHint(self) -> QtCore.QSize:
        """The title alone when collapsed."""
        return QtCore.QSize(100, 28) if self._collapsed else super().sizeHint()

    def _set_text(self, text: str) -> None:
        self._title.setText(text)

    text = QtCore.Property(str, lambda self: self._title.property("text"), _set_text)
    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _set_collapsed)


class SliderWidget(QtWidgets.QWidget):
    """ctkSliderWidget: a slider and a spin box over one real number."""

    valueChanged = QtCore.Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._slider.setRange(0, 1000)
        self._box = QtWidgets.QDoubleSpinBox()
        self._box.setRange(0.0, 99.99)
        row.addWidget(self._slider, 1)
        row.addWidget(self._box)
        self._slider.valueChanged.connect(self._slid)
        self._box.valueChanged.connect(self._typed)

    def _span(self) -> float:
        return self._box.property("maximum") - self._box.property("minimum")

    def _slid(self, position: int) -> None:
        self._box.setValue(self._box.property("minimum") + self._span() * position / 1000)

    def _typed(self, value: float) -> None:
        self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (value - self._box.property("minimum")) / (self._span() or 1)))
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _set(self, name: str, value: float) -> None:
        self._box.setProperty(name, value)
        self._typed(self._box.property("value"))

    value = QtCore.Property(float, lambda self: self._box.property("value"), lambda self, v: self._box.setValue(v))
    minimum = QtCore.Property(
        float, lambda self: self._box.property("minimum"), lambda self, v: self._set("minimum", v)
    )
    maximum = QtCore.Property(
        float, lambda self: self._box.property("maximum"), lambda self, v: self._set("maximum", v)
    )
    decimals = QtCore.Property(
        int, lambda self: self._box.property("decimals"), lambda self, v: self._box.setDecimals(v)
    )
    suffix = QtCore.Property(str, lambda self: self._box.property("suffix"), lambda self, v: self._box.setSuffix(v))
    singleStep = QtCore.Property(
        float, lambda self: self._box.property("singleStep"), lambda self, v: self._box.setSingleStep(v)
    )


class NodeComboBox(QtWidgets.QComboBox):
    """qMRMLNodeComboBox: the nodes of some classes in the scene."""

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._types: list[str] = []
        self._none = False
        self._tags: list[int] = []
        self.currentIndexChanged.connect(lambda *_: self.currentNodeChanged.emit(self.currentNode()))

    def setMRMLScene(self, scene: Any) -> None:
        """Show the nodes of this scene from now on."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
            self._tags = [scene.AddObserver(event, lambda *_: self._fill()) for event in events]
        self._fill()

    def currentNode(self) -> Any:
        """The node chosen, or None."""
        node_id = self.property("currentData")
        return self._scene.GetNodeByID(node_id) if self._scene is not None and node_id else None

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node; None for none."""
        self._fill()
        self.setCurrentIndex(self.findData(node.GetID() if node is not None else ""))

    def _fill(self) -> None:
        before = self.property("currentData")
        self.blockSignals(True)
        self.clear()
        if self._none:
            self.addItem("None", "")
        for name in self._types if self._scene is not None else ():
            for index in range(self._scene.GetNumberOfNodesByClass(name)):
                node = self._scene.GetNthNodeByClass(index, name)
                if not node.GetHideFromEditors():
                    self.addItem(node.GetName(), node.GetID())
        index = self.findData(before)
        self.setCurrentIndex(index if index >= 0 or not self._none else 0)
        self.blockSignals(False)
        if self.property("currentData") != before:
            self.currentNodeChanged.emit(self.currentNode())

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._fill()

    def _set_none(self, enabled: bool) -> None:
        self._none = enabled
        self._fill()

    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, _set_types)
    noneEnabled = QtCore.Property(bool, lambda self: self._none, _set_none)
    addEnabled = QtCore.Property(bool, lambda self: False, lambda self, value: None)
    removeEnabled = QtCore.Property(bool, lambda self: False, lambda self, value: None)
    renameEnabled = QtCore.Property(bool, lambda self: False, lambda self, value: None)


class MRMLWidget(QtWidgets.QWidget):
    """qMRMLWidget: hands its scene to every widget inside that takes one."""

    def setMRMLScene(self, scene: Any) -> None:
        """Show this scene from now on."""
        for child in self.findChildren(NodeComboBox):
            child.setMRMLScene(scene)


class Loader(QtUiTools.QUiLoader):
    """QUiLoader that knows these widgets."""

    CLASSES: ClassVar = {
        "ctkCollapsibleButton": CollapsibleButton,
        "ctkSliderWidget": SliderWidget,
        "qMRMLNodeComboBox": NodeComboBox,
        "qMRMLWidget": MRMLWidget,
    }

    def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:
        """A widget of the class called `name`."""
        if name not in self.CLASSES:
            return super().createWidget(name, parent, object_name)
        widget = self.CLASSES[name](parent)
        widget.setObjectName(object_name)
        return widget


def install() -> ModuleType:
    """Make `import ctk` give these; returns the module."""
    module = ModuleType("ctk")
    for name in ("ctkCollapsibleButton", "ctkSliderWidget"):
        setattr(module, name, Loader.CLASSES[name])
    # Slicer's parameter node wrapper asks what class a widget is, by these names too.
    for name in (
        "ctkCheckBox", "ctkCheckablePushButton", "ctkColorPickerButton", "ctkComboBox", "ctkDirectoryButton",
        "ctkDoubleRangeSlider", "ctkDoubleSlider", "ctkDoubleSpinBox", "ctkPathLineEdit", "ctkRangeWidget",
    ):  # fmt: skip
        setattr(module, name, type(name, (), {}))
    sys.modules["ctk"] = module
    return module
