"""`slicer.ScriptedLoadableModule` and `slicer.parameterNodeWrapper`, as far as our module uses them."""

from __future__ import annotations

import enum
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import slicer
import vtk
from PySide6 import QtWidgets

from .widgets import MRMLWidget, NodeComboBox, SliderWidget


class ScriptedLoadableModule:
    """What Slicer knows about a module before it is opened."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    """The module's panel."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        if parent is None:
            parent = MRMLWidget()
            parent.setLayout(QtWidgets.QVBoxLayout())
            self.parent, self.layout = parent, parent.layout()
            self.setup()
            return
        self.parent, self.layout = parent, parent.layout()

    def resourcePath(self, name: str) -> str:
        """A file of the module's Resources."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None:
        """Nothing: the developer's section is not ours to test."""


class ScriptedLoadableModuleLogic:
    """The module's logic, with its one parameter node."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        """The scene's parameter node of this module, made if it is not there."""
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's self-test."""

    def delayDisplay(self, message: str, msec: int = 0) -> None:
        """Say what is being tested."""


@dataclass
class WithinRange:
    """A number's closed range."""

    minimum: float
    maximum: float


@dataclass
class Choice:
    """What a value may be."""

    choices: list[Any]


def parameterNodeWrapper(described: type) -> type:
    """Typed members over a parameter node's texts and references, and their binding to widgets."""
    hints = get_type_hints(described, include_extras=True)
    for name, hint in hints.items():
        default = getattr(described, name, None)
        setattr(described, name, _member(name, hint, default))
    described.allParameters = hints
    described.__init__ = _init
    described.connectGui = _connect_gui
    described.disconnectGui = _disconnect_gui
    for name in ("AddObserver", "RemoveObserver", "StartModify", "EndModify", "Modified"):
        setattr(described, name, _forward(name))
    return described


def _forward(name: str) -> Callable[..., Any]:
    return lambda self, *arguments: getattr(self.parameterNode, name)(*arguments)


def _node_classes(hint: Any) -> list[type]:
    """Of a Union of node classes, as Slicer takes it: with None among them."""
    classes = [one for one in get_args(hint) if one is not type(None)] if get_origin(hint) is Union else []
    return classes if classes and all(issubclass(one, slicer.vtkMRMLNode) for one in classes) else []


def _init(self: Any, node: Any) -> None:
    self.parameterNode = node
    self._bound: dict[int, tuple[int, list[tuple[Any, Any]]]] = {}
    self._writing = False


def _member(name: str, hint: Any, default: Any) -> property:
    kind = get_args(hint)[0] if get_origin(hint) is Annotated or _node_classes(hint) else hint

    def get(self: Any) -> Any:
        node = self.parameterNode
        if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
            return node.GetNodeReference(name)
        text = node.GetParameter(name)
        if not node.GetParameterNames() or name not in node.GetParameterNames():
            return kind() if default is None and not issubclass(kind, enum.Enum) else default
        if issubclass(kind, enum.Enum):
            return kind[text]
        return text == "True" if kind is bool else kind(text)

    def put(self: Any, value: Any) -> None:
        node = self.parameterNode
        if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, kind) and not (kind is float and isinstance(value, int)):
            raise TypeError(f"{name} must be {kind.__name__}, not {value!r}")
        for rule in getattr(hint, "__metadata__", ()):
            if isinstance(rule, WithinRange) and not rule.minimum <= value <= rule.maximum:
                raise ValueError(f"{name} is {value}, outside {rule.minimum} to {rule.maximum}")
            if isinstance(rule, Choice) and value not in rule.choices:
                raise ValueError(f"{name} is {value!r}, not one of {rule.choices}")
        node.SetParameter(name, value.name if issubclass(kind, enum.Enum) else str(value))

    return property(get, put)


def _connect_gui(self: Any, gui: Any) -> int:
    bound = []
    for widget in vars(gui).values():
        name = widget.property("SlicerParameterName")
        if name:
            if name not in self.allParameters:
                raise ValueError(f"the .ui file binds {name!r}, which is not a parameter")
            bound.append((name, _adapter(widget, self.allParameters[name])))

    def update(*_: Any) -> None:
        if self._writing:
            return
        self._writing = True
        try:
            for name, adapter in bound:
                adapter.write(getattr(self, name))
        finally:
            self._writing = False

    update()
    for name, adapter in bound:
        adapter.listen(
            lambda name=name, adapter=adapter: None if self._writing else setattr(self, name, adapter.read())
        )
    tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, update)
    self._bound[tag] = (tag, bound)
    return tag


def _disconnect_gui(self: Any, tag: int) -> None:
    if tag in self._bound:
        self.RemoveObserver(tag)
        for _, adapter in self._bound.pop(tag)[1]:
            adapter.listen(None)


def _adapter(widget: Any, hint: Any) -> SimpleNamespace:
    rules = getattr(hint, "__metadata__", ())
    kind = get_args(hint)[0] if rules or _node_classes(hint) else hint
    state: dict[str, Any] = {}

    def listener(signal: Any) -> Callable[[Any], None]:
        signal.connect(lambda *_: state.get("slot") and state["slot"]())
        return lambda slot: state.__setitem__("slot", slot)

    if isinstance(widget, NodeComboBox):
        widget.setProperty("nodeTypes", [one.__name__ for one in _node_classes(hint) or [kind]])
        return SimpleNamespace(
            read=widget.currentNode, write=widget.setCurrentNode, listen=listener(widget.currentNodeChanged)
        )
    if isinstance(widget, QtWidgets.QComboBox):
        values = next(rule.choices for rule in rules if isinstance(rule, Choice)) if rules else list(kind)
        widget.clear()
        widget.addItems([value.label() if isinstance(value, enum.Enum) else str(value) for value in values])
        return SimpleNamespace(
            read=lambda: values[widget.property("currentIndex")],
            write=lambda value: widget.setCurrentIndex(values.index(value)),
            listen=listener(widget.currentIndexChanged),
        )
    names = {QtWidgets.QLineEdit: "text", QtWidgets.QCheckBox: "checked"}
    name = next((name for cls, name in names.items() if isinstance(widget, cls)), "value")
    if name == "value" and not isinstance(widget, (SliderWidget, QtWidgets.QAbstractSpinBox)):
        raise TypeError(f"{type(widget).__name__} cannot be bound to {kind}")
    signal = {"text": "textChanged", "checked": "toggled", "value": "valueChanged"}[name]
    for rule in rules:
        if isinstance(rule, WithinRange):
            widget.setProperty("minimum", rule.minimum)
            widget.setProperty("maximum", rule.maximum)

    def write(value: Any) -> None:
        if widget.property(name) != value:
            widget.setProperty(name, value)

    return SimpleNamespace(
        read=lambda: kind(widget.property(name)), write=write, listen=listener(getattr(widget, signal))
    )
