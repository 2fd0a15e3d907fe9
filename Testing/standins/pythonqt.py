"""PySide6 behaving like Slicer's PythonQt, as far as scripted modules use it.

PythonQt gives Qt's properties as attributes (`button.enabled = True`, `label.text`), knows
`connect("clicked(bool)", f)` and has everything in one module, `qt`.
"""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_get = QtCore.QObject.__getattribute__
_METHODS = frozenset(
    {"metaObject", "parent", "pos", "size", "rect", "layout", "font", "palette", "cursor", "locale"}
    | {"sizeHint", "minimumSizeHint", "spacing"}
)
"""Names that stay methods: PythonQt has these properties as methods too, and Qt asks Python for the last ones while it
reads the property, which would go round in circles."""


def install() -> ModuleType:
    """Make `import qt` give this; returns the module."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    module = ModuleType("qt")
    for package in (QtCore, QtGui, QtUiTools, QtWidgets):
        for name in dir(package):
            if not name.startswith("_"):
                setattr(module, name, getattr(package, name))
    classes = [item for item in vars(module).values() if isinstance(item, type) and issubclass(item, QtCore.QObject)]
    QtCore.QObject.__getattribute__ = _read
    for cls in dict.fromkeys(classes):
        cls.__setattr__ = _write
    QtCore.QObject.connect = _connect
    sys.modules["qt"] = module
    return module


def _property_index(item: QtCore.QObject, name: str) -> int:
    return _get(item, "metaObject")().indexOfProperty(name)


def _read(item: QtCore.QObject, name: str) -> Any:
    if name.startswith("_") or name in _METHODS:
        return _get(item, name)
    if name == "name" and _property_index(item, name) < 0:
        return _get(item, "objectName")()
    # Properties declared in Python are attributes already.
    if not isinstance(getattr(type(item), name, None), QtCore.Property):
        index = _property_index(item, name)
        if index >= 0:
            return _get(item, "metaObject")().property(index).read(item)
    return _get(item, name)


def _write(item: QtCore.QObject, name: str, value: Any) -> None:
    if not name.startswith("_") and _property_index(item, name) >= 0:
        _get(item, "setProperty")(name, value)
    else:
        # Python refuses object.__setattr__ for types whose own one was replaced.
        _get(item, "__dict__")[name] = value


def _connect(item: QtCore.QObject, signal: str, slot: Any) -> bool:
    name, _, arguments = signal.partition("(")
    bound = _get(item, name)
    kinds = arguments.rstrip(")")
    if kinds and hasattr(bound, "__getitem__"):
        with contextlib.suppress(KeyError):
            bound = bound[kinds]
    bound.connect(slot)
    return True
