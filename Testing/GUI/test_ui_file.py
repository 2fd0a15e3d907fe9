"""The .ui file: every binding names a parameter that its widget can hold, every widget is used, nothing is unnamed.

A misnamed SlicerParameterName silently never binds; a misnamed widget fails only when its line is reached.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
import slicer

MODULE = Path(__file__).parents[2] / "QSMRecon"
FILE = MODULE / "Resources" / "UI" / "QSMRecon.ui"
TREE = ET.parse(FILE)
WIDGETS = {node.get("name"): node for node in TREE.iter("widget")}
BOUND = {
    node.find("property[@name='SlicerParameterName']/string").text: node
    for node in WIDGETS.values()
    if node.find("property[@name='SlicerParameterName']") is not None
}
CODE = "\n".join(path.read_text("utf-8") for path in MODULE.rglob("*.py"))
STATE_OF_PANELS = {"activeLesion", "scan", "corrections", "pipeline", "recipe", "reviewing"}


def hints() -> dict[str, Any]:
    from QSMReconUI.parameters import QSMReconParameterNode

    return get_type_hints(QSMReconParameterNode, include_extras=True)


def test_names_are_unique() -> None:
    names = [node.get("name") for kind in ("widget", "layout", "spacer") for node in TREE.iter(kind)]
    assert None not in names
    assert len(names) == len(set(names))


def test_every_binding_is_a_parameter_and_every_parameter_is_bound() -> None:
    assert set(BOUND) == set(hints()) - STATE_OF_PANELS


def test_bindings_are_dynamic_properties() -> None:
    for node in BOUND.values():
        assert node.find("property[@name='SlicerParameterName']").get("stdset") == "0"


@pytest.mark.parametrize("name", sorted(BOUND))
def test_the_widget_can_hold_its_parameter(name: str) -> None:
    hint, widget = hints()[name], BOUND[name].get("class")
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    nodes = [kind] if isinstance(kind, type) else [one for one in get_args(kind) if one is not type(None)]
    if issubclass(nodes[0], slicer.vtkMRMLNode):
        types = [item.text for item in BOUND[name].iterfind("property[@name='nodeTypes']/stringlist/string")]
        assert (widget, types) == ("qMRMLNodeComboBox", [one.__name__ for one in nodes])
        # Slicer takes a choice of classes as a Union with None, and in no other spelling.
        assert kind in nodes or (get_origin(kind), get_args(kind)[-1]) == (Union, type(None))
    elif kind is float:
        rule = hint.__metadata__[0]
        assert widget in ("QDoubleSpinBox", "ctkSliderWidget")
        assert rule.minimum < rule.maximum
    elif kind is bool:
        assert widget == "QCheckBox"
    elif kind is str and get_origin(hint) is not Annotated:
        assert widget == "QLineEdit"
    else:
        assert widget == "QComboBox"


def test_every_node_selector_hears_of_the_scene() -> None:
    connected = {
        node.find("receiver").text
        for node in TREE.iter("connection")
        if node.find("signal").text == "mrmlSceneChanged(vtkMRMLScene*)"
        and node.find("slot").text == "setMRMLScene(vtkMRMLScene*)"
        and node.find("sender").text == TREE.find("widget").get("name")
    }
    assert connected == {name for name, node in WIDGETS.items() if node.get("class") == "qMRMLNodeComboBox"}


def test_every_widget_that_the_code_names_is_there() -> None:
    named = set(re.findall(r"\bui\.(\w+)", CODE))
    assert named <= set(WIDGETS), named - set(WIDGETS)


def test_every_custom_widget_is_declared() -> None:
    declared = {node.find("class").text for node in TREE.iter("customwidget")}
    used = {node.get("class") for node in WIDGETS.values() if not node.get("class").startswith("Q")}
    assert used == declared


def test_every_button_and_every_choice_explains_itself() -> None:
    explained = ("QPushButton", "QToolButton", "ctkSliderWidget", "qMRMLNodeComboBox", "QTableWidget")
    by_themselves = {"runButton", "detailsButton", "reportButton"}
    by_themselves |= {"measureButton", "measureDetailsButton", "lesionReportButton"}
    for name, node in WIDGETS.items():
        if node.get("class") in explained and name not in by_themselves:
            assert node.find("property[@name='toolTip']/string") is not None, name


def test_nothing_pops_up() -> None:
    assert not re.search(r"QMessageBox|errorDisplay|infoDisplay|warningDisplay|confirm\w*Display", CODE)
    assert not re.search(r"^\s*print\(", CODE, re.MULTILINE)


def test_the_module_file_stays_thin() -> None:
    assert len((MODULE / "QSMRecon.py").read_text("utf-8").splitlines()) <= 150


def test_nothing_heavy_is_imported_at_file_scope() -> None:
    for path in MODULE.rglob("*.py"):
        heavy = re.findall(
            r"^(?:import|from) (torch|nibabel|SimpleITK|scipy|skimage|pandas)\b", path.read_text("utf-8"), re.M
        )
        assert not heavy, path
