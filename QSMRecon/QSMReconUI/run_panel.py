"""The panel that reconstructs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer

from .child_panel import ChildPanel, Controls
from .job import Outcome
from .panel import Shared, guarded, show_sentence
from .reconstruction import Reconstruction
from .work import new_scratch


class RunPanel(ChildPanel):
    """Starts a reconstruction, watches it, and brings its results into the scene."""

    def __init__(self, shared: Shared, request: Any, loaded: Any) -> None:
        """`request()` gives what to run; `loaded(reconstruction, results)` is told what has come into the scene."""
        ui = shared.ui
        super().__init__(
            shared, Controls(ui.runButton, ui.cancelButton, ui.progressBar, ui.detailsButton, ui.statusLabel)
        )
        self._request = request
        self._loaded = loaded
        self._report = ""
        ui.runButton.clicked.connect(self.start)
        ui.reportButton.clicked.connect(self._open_report)
        ui.reportButton.setVisible(False)

    @guarded
    def refresh(self) -> None:
        """Whether the button may be pressed, and if not, why."""
        self.show_controls(self.shared.obstacle(), "Reconstruct in the background; Slicer stays usable.")

    @guarded
    def start(self, *_: Any) -> None:
        """Start what the other panels say."""
        if not self.running:
            self.ui.reportButton.setVisible(False)
            working = Reconstruction(self._request(), new_scratch(), self.shared.logic.start_process)
            self.begin(working, "Writing the scan for the reconstruction …")

    def finish(self, working: Reconstruction, outcome: Outcome) -> Path | None:
        """Load the results; the report and the files beside it stay for this session."""
        show_sentence(self.status, "Loading the results …")
        results = working.load(outcome, slicer.mrmlScene)
        number = sum(len(result.maps) + len(result.masks) for result in results)
        show_sentence(self.status, f"{working.request.title}: {number} results are in the scene.")
        self._report = next((str(event["report"]) for event in outcome.events if event.get("report")), "")
        self.ui.reportButton.setVisible(bool(self._report))
        self._loaded(working, results)
        return working.output

    @guarded
    def _open_report(self, *_: Any) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._report))
