"""The panel that says how to reconstruct: a named pipeline, and under Advanced every option of its steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt

from QSMReconLib.errors import OptionError
from QSMReconLib.pipeline import Pipeline

from .form import StageForm
from .panel import Panel, Shared, guarded, show_sentence
from .recipe import Recipe, library_pipelines


class PipelinePanel(Panel):
    """The drop-down of pipelines, the generated form, and where results go."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._shown: tuple[str, str] | None = None
        self._problem = ""
        self._fill()
        combo = self.ui.pipelineComboBox
        combo.currentTextChanged.connect(self._pipeline_chosen)
        self.ui.resetButton.clicked.connect(self._reset)
        self.ui.outputBrowseButton.clicked.connect(self._browse)
        self.form = StageForm(self.ui.formFrame.layout(), self._recipe_changed)

    def recipe(self) -> Recipe:
        """What is chosen; the first pipeline if the one of the scene is not known here."""
        known = library_pipelines()
        name = self.parameters.pipeline
        if name not in known:
            return Recipe(next(iter(known), ""))
        return Recipe.from_text(name, self.parameters.recipe)

    def pipeline(self) -> Pipeline:
        """The pipeline to run. Raises OptionError."""
        return self.recipe().resolved()

    def output(self) -> Path | None:
        """Where the files are to stay, or None."""
        return Path(self.parameters.output) if self.parameters.output.strip() else None

    def obstacle(self) -> str:
        """What is wrong with an option."""
        return self._problem

    @guarded
    def refresh(self) -> None:
        """Show the recipe, if it is another one."""
        chosen = (self.parameters.pipeline, self.parameters.recipe)
        if chosen == self._shown:
            return
        self._problem = "The pipelines cannot be read."
        recipe = self.recipe()
        self.form.show(recipe)
        combo = self.ui.pipelineComboBox
        blocked = combo.blockSignals(True)
        combo.setCurrentIndex(combo.findText(recipe.pipeline))
        combo.blockSignals(blocked)
        try:
            pipeline, self._problem = recipe.resolved(), ""
            steps = " → ".join(type(step.stage).__name__ for step in pipeline.steps)
            self.ui.pipelineLabel.setText(f"{pipeline.description}\n{steps}".strip())
        except OptionError as error:
            self._problem = str(error)
        show_sentence(self.ui.optionErrorLabel, self._problem, "error")
        self.ui.resetButton.setEnabled(recipe.changed)
        self._shown = chosen

    @guarded
    def _fill(self) -> None:
        for index, (name, pipeline) in enumerate(library_pipelines().items()):
            self.ui.pipelineComboBox.addItem(name)
            self.ui.pipelineComboBox.setItemData(index, pipeline.description, qt.Qt.ToolTipRole)

    @guarded
    def _pipeline_chosen(self, name: str) -> None:
        self.parameters.recipe = ""
        self.parameters.pipeline = name

    def _recipe_changed(self, recipe: Recipe) -> None:
        if self.parameters.pipeline != recipe.pipeline:
            self.parameters.pipeline = recipe.pipeline
        self.parameters.recipe = recipe.to_text()

    @guarded
    def _reset(self, *_: Any) -> None:
        self.parameters.recipe = ""

    @guarded
    def _browse(self, *_: Any) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, "Where the results go", self.parameters.output)
        if folder:
            self.parameters.output = folder
