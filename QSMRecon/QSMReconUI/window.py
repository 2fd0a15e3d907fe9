"""The module's window: its panels, and what they have to do with one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import qt
import slicer

from .exchange import Loaded
from .input_panel import InputPanel
from .lesion_panel import LesionPanel
from .panel import Shared
from .pipeline_panel import PipelinePanel
from .reconstruction import Reconstruction, Request
from .review import CHI, DIA, PARA, R2STAR, Maps
from .review_panel import ReviewPanel
from .run_panel import RunPanel
from .setup_panel import SetupPanel

LOG_LINES = 5000


class Window:
    """Everything below the .ui file. The widget of the module hands it the parameter node and the scene's events."""

    def __init__(self, ui: Any, logic: Any, resources: Path) -> None:
        self.ui = ui
        ui.logText.setMaximumBlockCount(LOG_LINES)
        self.shared = Shared(ui, logic, self.log, self.refresh_soon)
        self.input = InputPanel(self.shared)
        self.setup = SetupPanel(self.shared, resources / "requirements.txt", self.input.need_bytes)
        self.pipeline = PipelinePanel(self.shared)
        self.run = RunPanel(self.shared, self._request, self._loaded)
        self.review = ReviewPanel(self.shared)
        self.lesions = LesionPanel(self.shared, self.review.maps)
        self.shared.panels = [self.setup, self.input, self.pipeline, self.run, self.review, self.lesions]
        self._refreshing = False
        # Many events come at once while a scene is read or a run's results arrive: one refresh answers them all.
        self._soon = qt.QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self.refresh)

    def set_parameters(self, parameters: Any) -> None:
        """Use this parameter node from now on; None while the scene is being closed."""
        self.shared.parameters = parameters
        self.refresh()

    def refresh_soon(self, *_: Any) -> None:
        """Refresh when the events at hand are done."""
        self._soon.start()

    def refresh(self, *_: Any) -> None:
        """Bring every panel up to date."""
        if self.shared.parameters is None or slicer.mrmlScene.IsBatchProcessing():
            return
        if self._refreshing:  # A panel has written a parameter while it was brought up to date.
            self.refresh_soon()
            return
        self._refreshing = True
        try:
            for panel in self.shared.panels:
                panel.refresh()
            self.run.refresh()  # Whether it may run depends on all others.
        finally:
            self._refreshing = False

    def scene_closes(self) -> None:
        """The scene's nodes are about to go."""
        for panel in self.shared.panels:
            panel.scene_closes()

    def scene_loaded(self) -> None:
        """A scene has come in."""
        self.refresh()
        for panel in self.shared.panels:
            panel.scene_loaded()

    def cleanup(self) -> None:
        """The window goes away."""
        self._soon.stop()
        for panel in self.shared.panels:
            panel.cleanup()

    def log(self, text: str) -> None:
        """Add to the log."""
        self.ui.logText.appendPlainText(text)

    def _request(self) -> Request:
        return replace(
            self.input.request(),
            pipeline=self.pipeline.pipeline(),
            output=self.pipeline.output(),
            device=self.shared.parameters.device,
            overwrite=self.shared.parameters.overwrite,
        )

    def _loaded(self, reconstruction: Reconstruction, results: Sequence[Loaded]) -> None:
        """Results have come: they are what is looked at now."""
        if not results:
            return
        maps = results[-1].maps
        base = reconstruction.base(slicer.mrmlScene) or self.shared.parameters.base
        self.review.take(Maps(base, *(maps.get(bids) for bids in (PARA, DIA, CHI, R2STAR))))
        self.review.start()
