"""The panel that runs: one button, progress with the time left, cancel, and what went wrong."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from QSMReconLib.errors import InputError

from .job import Outcome, Progress
from .panel import Panel, Shared, guarded, show_sentence
from .reconstruction import Reconstruction, Request, new_scratch

POLL_MS = 100


class RunPanel(Panel):
    """Starts a reconstruction, watches it, and brings its results into the scene."""

    def __init__(self, shared: Shared, request: Any, loaded: Any) -> None:
        """`request()` gives what to run; `loaded(reconstruction, results)` is told what has come into the scene."""
        super().__init__(shared)
        self._request = request
        self._loaded = loaded
        self._working: Reconstruction | None = None
        self._kept: list[Reconstruction] = []
        self._report = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        self.ui.runButton.clicked.connect(self.start)
        self.ui.cancelButton.clicked.connect(self.cancel)
        self.ui.detailsButton.clicked.connect(self._show_details)
        self.ui.reportButton.clicked.connect(self._open_report)
        self.ui.detailsButton.setVisible(False)
        self.ui.reportButton.setVisible(False)
        show_sentence(self.ui.statusLabel, "")

    @property
    def running(self) -> bool:
        """Whether a child is at work."""
        return self._working is not None

    @guarded
    def refresh(self) -> None:
        """Whether the button may be pressed, and if not, why."""
        reason = self.shared.obstacle()
        self.ui.runButton.setEnabled(not reason and not self.running)
        self.ui.runButton.setToolTip(reason or "Reconstruct in the background; Slicer stays usable.")
        self.ui.runButton.setVisible(not self.running)
        self.ui.cancelButton.setVisible(self.running)
        self.ui.progressBar.setVisible(self.running)

    @guarded
    def start(self, *_: Any) -> None:
        """Start what the other panels say."""
        if self.running:
            return
        self.ui.detailsButton.setVisible(False)
        self.ui.reportButton.setVisible(False)
        request: Request = self._request()
        working = Reconstruction(
            request, new_scratch(), self.shared.logic.start_process, self._progress, self.shared.log
        )
        show_sentence(self.ui.statusLabel, "Writing the scan for the reconstruction …")
        self.ui.statusLabel.repaint()
        try:
            working.start()
        except InputError:
            working.close()
            raise
        self._working = working
        self.ui.cancelButton.setEnabled(True)
        self.ui.progressBar.setRange(0, 0)
        show_sentence(self.ui.statusLabel, "Starting …")
        self._timer.start()
        self.shared.changed()

    @guarded
    def cancel(self, *_: Any) -> None:
        """Stop the child and everything it has started."""
        if self._working is not None and self._working.run is not None:
            self.ui.cancelButton.setEnabled(False)
            show_sentence(self.ui.statusLabel, "Cancelling …")
            self._working.run.cancel()

    def scene_closes(self) -> None:
        """Results of volumes that are gone have no place in the next scene."""
        if self._working is not None:
            self._stop()
            show_sentence(self.ui.statusLabel, "Cancelled, because the scene was closed.")

    def cleanup(self) -> None:
        """The window goes away, and with it every child and every temporary file."""
        self._stop()
        for finished in self._kept:
            finished.close()
        self._kept = []

    def _stop(self) -> None:
        self._timer.stop()
        if self._working is not None:
            self._working.close()
            self._working = None

    @guarded
    def _poll(self) -> None:
        working = self._working
        outcome = working.run.poll() if working is not None and working.run is not None else None
        if working is None or outcome is None:
            return
        self._timer.stop()
        self._working = None
        try:
            self._finish(working, outcome)
        finally:
            keep = outcome.kind == "done"
            working.close(keep_results=keep)
            if keep:
                self._kept.append(working)
            self.shared.changed()

    def _finish(self, working: Reconstruction, outcome: Outcome) -> None:
        if outcome.kind != "done":
            level = "error" if outcome.kind == "error" else ""
            show_sentence(self.ui.statusLabel, outcome.sentence, level)
            self.ui.detailsButton.setVisible(outcome.kind == "error" and bool(outcome.details))
            return
        show_sentence(self.ui.statusLabel, "Loading the results …")
        results = working.load(outcome, slicer.mrmlScene)
        number = sum(len(result.maps) + len(result.masks) for result in results)
        show_sentence(self.ui.statusLabel, f"{working.request.title}: {number} results are in the scene.")
        self._report = next((str(event["report"]) for event in outcome.events if event.get("report")), "")
        self.ui.reportButton.setVisible(bool(self._report))
        self._loaded(working, results)

    def _progress(self, progress: Progress) -> None:
        bar = self.ui.progressBar
        bar.setRange(0, 1000)
        bar.setValue(round(1000 * progress.fraction))
        left = f" – about {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
        words = f": {progress.text}" if progress.text else ""
        where = f"{progress.number} of {progress.count}, " if progress.number else ""
        show_sentence(self.ui.statusLabel, f"{where}{progress.stage}{words}{left}")

    @guarded
    def _show_details(self, *_: Any) -> None:
        self.ui.logCollapsible.setProperty("collapsed", False)

    @guarded
    def _open_report(self, *_: Any) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._report))


def duration(seconds: float) -> str:
    """A time left, no more precise than it is known."""
    if seconds < 10:
        return "10 s"
    if seconds < 90:
        return f"{10 * round(seconds / 10)} s"
    return f"{round(seconds / 60)} min"
