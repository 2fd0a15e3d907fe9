"""The form of options: generated for every stage there is, and nothing but changes are kept."""

from __future__ import annotations

from typing import Any

import pytest
import qt

from QSMReconLib.pipeline import Pipeline, Step
from QSMReconLib.stage import stages
from QSMReconUI import recipe
from QSMReconUI.form import StageForm, describe
from QSMReconUI.recipe import Recipe
from standins.application import pump


@pytest.fixture
def form(widget: Any) -> StageForm:
    return widget.window.pipeline.form


def chosen(widget: Any) -> Recipe:
    return widget.window.pipeline.recipe()


@pytest.mark.parametrize("stage", stages().values(), ids=stages())
def test_every_option_of_every_stage_has_an_editor(
    app: Any, pipelines: Any, monkeypatch: pytest.MonkeyPatch, stage: Any
) -> None:
    pipelines["one"] = Pipeline("one", (Step(stage()),))
    changes: list[Recipe] = []
    box = qt.QFrame()
    form = StageForm(qt.QVBoxLayout(box), changes.append)
    form.show(Recipe("one"))
    assert {name for _, name in form.editors} == {option.name for option in stage.options()}
    assert form.methods[0].toolTip == stage.summary()
    for option in stage.options():
        editor = form.editors[stage.name, option.name]
        assert option.text in editor.toolTip
        if option.unit:
            labels = [label.text for label in editor.parent().findChildren(qt.QLabel)]
            assert option.unit in labels
    assert not changes


def test_tooltips_say_range_unit_and_default() -> None:
    threshold = next(option for option in stages()["tkd"].options() if option.name == "threshold")
    assert describe(threshold).endswith("(0.01 to 0.66; default 0.2)")


def test_a_change_is_kept_and_marked_and_reset(widget: Any, form: StageForm) -> None:
    editor = form.editors["tkd", "threshold"]
    assert editor.text == "0.2"
    editor.setText("0.15")
    editor.textEdited.emit("0.15")
    form.editors["tkd", "correct"].setChecked(True)
    pump(0.02)
    assert chosen(widget).options == {"tkd": {"threshold": "0.15", "correct": True}}
    assert chosen(widget).resolved().steps[0].stage == stages()["tkd"](threshold=0.15, correct=True)
    assert "bold" in form._labels["tkd", "threshold"].styleSheet
    assert widget.ui.resetButton.enabled
    widget.ui.resetButton.click()
    pump(0.02)
    assert not chosen(widget).changed
    assert (editor.text, form.editors["tkd", "correct"].checked) == ("0.2", False)
    assert not widget.ui.resetButton.enabled


def test_going_back_to_the_default_is_no_change(widget: Any, form: StageForm) -> None:
    for text in ("0.15", "0.2"):
        form.editors["tkd", "threshold"].textEdited.emit(text)
    assert not chosen(widget).changed


@pytest.mark.parametrize(("text", "reason"), [("0.9", "must be 0.01 to 0.66"), ("much", "must be a number"), ("", "")])
def test_a_wrong_value_is_marked_and_stops_the_run(ready: Any, text: str, reason: str) -> None:
    form = ready.window.pipeline.form
    editor = form.editors["tkd", "threshold"]
    editor.setText(text)
    editor.textEdited.emit(text)
    pump(0.02)
    assert reason in ready.ui.runButton.toolTip
    assert not ready.ui.runButton.enabled
    assert "border" in editor.styleSheet
    assert editor.text == text, "what is being typed must not be replaced"
    assert ready.ui.optionErrorLabel.isVisibleTo(ready.ui.optionErrorLabel.parent())


def test_another_pipeline_brings_its_own_options(widget: Any, form: StageForm) -> None:
    form.editors["tkd", "threshold"].textEdited.emit("0.15")
    widget.ui.pipelineComboBox.setCurrentText("other")
    pump(0.02)
    assert chosen(widget) == Recipe("other")
    assert (form.editors["tkd", "threshold"].text, form.editors["tkd", "correct"].checked) == ("0.1", True)
    assert "Something else." in widget.ui.pipelineLabel.text


def test_a_step_offers_the_methods_that_make_the_same(widget: Any, form: StageForm, monkeypatch: Any) -> None:
    from dataclasses import fields

    tkd = stages()["tkd"]

    class Other(tkd):  # type: ignore[misc, valid-type]
        """Another inversion."""

        group = "inversion"
        name = "other"

    Other.name, Other.group = "other", "inversion"
    assert fields(Other)
    monkeypatch.setattr(recipe, "library_stages", lambda: {"tkd": tkd, "other": Other})
    form._built = None
    form.show(chosen(widget))
    combo = form.methods[0]
    assert [combo.itemText(index) for index in range(combo.count)] == ["Tkd", "Other"]
    combo.setCurrentText("Other")
    pump(0.02)
    assert chosen(widget).methods == {0: "other"}
    assert isinstance(chosen(widget).steps()[0].stage, Other)


def test_a_recipe_of_another_version_does_no_harm(widget: Any) -> None:
    parameters = widget.logic.getParameterNode()
    for text in ("{", "[]", '{"methods": {"7": "nix"}, "options": {"gone": {"x": 1}}}', '{"options": 3}'):
        parameters.recipe = text
        pump(0.02)
        assert widget.window.pipeline.pipeline().steps[0].stage.name == "tkd"
    parameters.pipeline = "of another version"
    pump(0.02)
    assert widget.ui.pipelineComboBox.currentText == "clinical"
