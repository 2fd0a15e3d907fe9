"""What the panels that start a child process share: one button, progress with the time left, cancel, and the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt

from QSMReconLib.errors import InputError

from .job import Outcome, Progress
from .panel import Panel, Shared, guarded, show_sentence
from .work import Work

POLL_MS = 100


@dataclass(frozen=True)
class Controls:
    """The widgets of a panel that starts a child."""

    start: Any
    cancel: Any
    bar: Any
    details: Any
    status: Any


class ChildPanel(Panel):
    """Starts a child, watches it, and hands its outcome to `finish`."""

    def __init__(self, shared: Shared, controls: Controls) -> None:
        super().__init__(shared)
        self.controls = controls
        self.status = controls.status
        self._working: Work | None = None
        self._kept: list[Work] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        controls.cancel.clicked.connect(self.cancel)
        controls.details.clicked.connect(self._show_details)
        controls.details.setVisible(False)
        show_sentence(self.status, "")

    @property
    def running(self) -> bool:
        """Whether a child is at work."""
        return self._working is not None

    def finish(self, working: Any, outcome: Outcome) -> Path | None:
        """Use what a child has made; returns the folder in its scratch that must stay for this session, if any."""
        raise NotImplementedError

    def show_controls(self, reason: str, otherwise: str) -> None:
        """Whether the button may be pressed, and in its tooltip why not, or what it does."""
        self.controls.start.setEnabled(not reason and not self.running)
        self.controls.start.setToolTip(reason or otherwise)
        self.controls.start.setVisible(not self.running)
        self.controls.cancel.setVisible(self.running)
        self.controls.bar.setVisible(self.running)

    def begin(self, working: Work, words: str) -> None:
        """Start a child; `words` are shown while its input is written. Raises InputError if that cannot be."""
        self.controls.details.setVisible(False)
        working.on_progress, working.on_log = self._progress, self.shared.log
        show_sentence(self.status, words)
        self.status.repaint()
        try:
            working.start()
        except InputError:
            working.close()
            raise
        self._working = working
        self.controls.cancel.setEnabled(True)
        self.controls.bar.setRange(0, 0)
        show_sentence(self.status, "Starting …")
        self._timer.start()
        self.shared.changed()

    @guarded
    def cancel(self, *_: Any) -> None:
        """Stop the child and everything it has started."""
        if self._working is not None and self._working.run is not None:
            self.controls.cancel.setEnabled(False)
            show_sentence(self.status, "Cancelling …")
            self._working.run.cancel()

    def scene_closes(self) -> None:
        """Results of volumes that are gone have no place in the next scene."""
        if self.running:
            self._stop()
            show_sentence(self.status, "Cancelled, because the scene was closed.")

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
        keep = None
        try:
            if outcome.kind == "done":
                keep = self.finish(working, outcome)
            else:
                show_sentence(self.status, outcome.sentence, "error" if outcome.kind == "error" else "")
                self.controls.details.setVisible(outcome.kind == "error" and bool(outcome.details))
        finally:
            working.close(keep)
            if keep is not None:
                self._kept.append(working)
            self.shared.changed()

    def _progress(self, progress: Progress) -> None:
        bar = self.controls.bar
        bar.setRange(0, 1000)
        bar.setValue(round(1000 * progress.fraction))
        left = f" – about {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
        words = f": {progress.text}" if progress.text else ""
        where = f"{progress.number} of {progress.count}, " if progress.number else ""
        show_sentence(self.status, f"{where}{progress.stage}{words}{left}")

    @guarded
    def _show_details(self, *_: Any) -> None:
        self.ui.logCollapsible.setProperty("collapsed", False)


def duration(seconds: float) -> str:
    """A time left, no more precise than it is known."""
    if seconds < 10:
        return "10 s"
    if seconds < 90:
        return f"{10 * round(seconds / 10)} s"
    return f"{round(seconds / 60)} min"
