"""The form of a pipeline's options, generated from what the stages declare: nothing here knows any method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from QSMReconLib.errors import OptionError
from QSMReconLib.pipeline import Step
from QSMReconLib.stage import Option, Stage

from .recipe import Recipe, alternatives

WRONG = "QLineEdit { border: 1px solid #c0392b; }"
AUTOMATIC = "automatic"


class StageForm:
    """A box for every step: its method, and a row for every option. `changed` is called with the new recipe."""

    def __init__(self, layout: Any, changed: Callable[[Recipe], None]) -> None:
        self._layout = layout
        self._tell = changed
        self._recipe = Recipe()
        self._built: tuple[str, ...] | None = None
        self._boxes: list[Any] = []
        self._labels: dict[tuple[str, str], Any] = {}
        self.editors: dict[tuple[str, str], Any] = {}
        self.methods: list[Any] = []

    def show(self, recipe: Recipe) -> None:
        """Show a recipe; the form is built anew only where its methods are others than before."""
        self._recipe = recipe
        steps = recipe.steps()
        names = (recipe.pipeline, *(step.stage.name for step in steps))
        if names != self._built:
            self._build(steps)
            self._built = names
        for step in steps:
            for option in type(step.stage).options():
                self._show_value(step, option)

    def _changed(self, recipe: Recipe) -> None:
        # At once: the next change may come before anybody shows this one.
        self._recipe = recipe
        self._tell(recipe)

    def _build(self, steps: list[Step]) -> None:
        for box in self._boxes:
            self._layout.removeWidget(box)
            box.deleteLater()
        self._boxes, self.methods = [], []
        self.editors, self._labels = {}, {}
        for number, step in enumerate(steps):
            box = qt.QGroupBox(f"{number + 1}  {step.stage.group}")
            rows = qt.QFormLayout(box)
            rows.addRow("method", self._method_editor(number, type(step.stage)))
            for option in type(step.stage).options():
                label = qt.QLabel(label_of(option))
                label.setToolTip(describe(option))
                self._labels[step.stage.name, option.name] = label
                rows.addRow(label, self._row(step, option))
            self._layout.addWidget(box)
            self._boxes.append(box)

    def _method_editor(self, number: int, stage: type[Stage]) -> Any:
        methods = alternatives(stage)
        combo = qt.QComboBox()
        for index, method in enumerate(methods):
            combo.addItem(method.__name__)
            combo.setItemData(index, method.summary(), qt.Qt.ToolTipRole)
        combo.setCurrentIndex(methods.index(stage))
        combo.setToolTip(stage.summary())
        combo.setEnabled(len(methods) > 1)
        names = {method.__name__: method.name for method in methods}
        combo.currentTextChanged.connect(lambda text: self._changed(self._recipe.with_method(number, names[text])))
        self.methods.append(combo)
        return combo

    def _row(self, step: Step, option: Option) -> Any:
        editor = self._editor(step.stage.name, option, getattr(step.stage, option.name))
        editor.setToolTip(describe(option))
        self.editors[step.stage.name, option.name] = editor
        if not option.unit:
            return editor
        row = qt.QWidget()
        inside = qt.QHBoxLayout(row)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(editor, 1)
        inside.addWidget(qt.QLabel(option.unit))
        return row

    def _editor(self, stage: str, option: Option, default: Any) -> Any:
        def write(value: Any) -> None:
            change = None if as_text(value) == as_text(default) else value
            self._changed(self._recipe.with_option(stage, option.name, change))

        if option.type == "bool":
            editor = qt.QCheckBox()
            editor.toggled.connect(lambda checked: write(bool(checked)))
        elif option.choices:
            editor = qt.QComboBox()
            for choice in ((AUTOMATIC,) if option.optional else ()) + option.choices:
                editor.addItem(choice)
            editor.currentTextChanged.connect(lambda text: write("" if text == AUTOMATIC else text))
        else:
            editor = qt.QLineEdit()
            editor.setPlaceholderText(AUTOMATIC if option.optional else "")
            editor.textEdited.connect(write)
        return editor

    def _show_value(self, step: Step, option: Option) -> None:
        stage = step.stage.name
        changes = self._recipe.options.get(stage, {})
        value = changes.get(option.name, getattr(step.stage, option.name))
        editor = self.editors[stage, option.name]
        self._labels[stage, option.name].setStyleSheet("font-weight: bold" if option.name in changes else "")
        blocked = editor.blockSignals(True)
        if option.type == "bool":
            editor.setChecked(str(value).lower() in ("true", "1"))
        elif option.choices:
            editor.setCurrentIndex(editor.findText(str(value) if value not in (None, "") else AUTOMATIC))
        else:
            text = as_text(value)
            if editor.property("text") != text:
                editor.setText(text)
            editor.setStyleSheet(WRONG if wrong(type(step.stage), option.name, value) else "")
            editor.setToolTip(wrong(type(step.stage), option.name, value) or describe(option))
        editor.blockSignals(blocked)


def wrong(stage: type[Stage], name: str, value: Any) -> str:
    """What is wrong with the value of an option, "" if nothing is."""
    try:
        stage.with_options({name: value})
    except OptionError as error:
        return str(error)
    return ""


def label_of(option: Option) -> str:
    """An option's name as a person reads it; its unit stands behind the value."""
    return option.name.removesuffix(f"_{option.unit.lower()}" if option.unit else "").replace("_", " ")


def describe(option: Option) -> str:
    """An option's tooltip: meaning, unit, range, default."""
    unit = f" {option.unit}" if option.unit else ""
    span = ""
    if option.minimum is not None and option.maximum is not None:
        span = f"{option.minimum:g} to {option.maximum:g}{unit}; "
    elif option.minimum is not None:
        span = f"at least {option.minimum:g}{unit}; "
    elif option.maximum is not None:
        span = f"at most {option.maximum:g}{unit}; "
    default = AUTOMATIC if option.default is None else as_text(option.default)
    return f"{option.text} ({span}default {default})"


def as_text(value: Any) -> str:
    """An option's value as a person types it."""
    if value is None:
        return ""
    if isinstance(value, (tuple, list)):
        return " ".join(as_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
