"""The panel that says what is installed and on what PyTorch will run, and installs the rest on a button."""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt

from QSMReconLib.memory import in_words

from . import machine
from .job import Run, python
from .panel import COLOURS, Panel, Shared, guarded, show_sentence
from .setup import UNKNOWN, Package, install, needed
from .work import new_scratch

READY = "#1e8449"
POLL_MS = 200


class SetupPanel(Panel):
    """The list of packages, the device, and the two buttons that install."""

    def __init__(self, shared: Shared, requirements: Path, need: Callable[[], int | None] = lambda: None) -> None:
        """`need()` predicts the memory that the scan at hand takes, in bytes; None without one."""
        super().__init__(shared)
        self._need = need
        self._free: int | None = None
        self._requirements = requirements
        self._packages: list[Package] = []
        self._device = ""
        self._probe: Run | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        self.ui.installButton.clicked.connect(self._install)
        self.ui.installOfflineButton.clicked.connect(self._install_offline)
        self.ui.deviceButton.clicked.connect(self.probe)
        self.look()
        # Whoever is ready to go wants to see the scan, not this.
        self.ui.setupCollapsible.setProperty("collapsed", not self.missing())

    def missing(self) -> list[Package]:
        """What must be installed first."""
        return [package for package in self._packages if not package.fits]

    def look(self) -> None:
        """See what is installed now."""
        self._packages = needed(self._requirements)

    def obstacle(self) -> str:
        """That something is missing."""
        names = ", ".join("PyTorch" if package.name == "torch" else package.name for package in self.missing())
        return f"Not set up yet: {names} must be installed (see Set-up)." if names else ""

    @guarded
    def refresh(self) -> None:
        """Show what was seen."""
        ready = not self.missing()
        self.ui.setupCollapsible.setProperty("text", "Set-up: ready" if ready else "Set-up: something is missing")
        lines = [_line(package) for package in self._packages]
        self.ui.packagesLabel.setText("<br>".join(lines))
        words = self._device or "Press Check to see on what PyTorch will run."
        show_sentence(self.ui.deviceLabel, f"{words}\n{self._prediction()}".strip())
        self.ui.installButton.setEnabled(not ready)
        self.ui.installOfflineButton.setEnabled(not ready)
        self.ui.deviceButton.setEnabled(self._packages[0].fits and self._probe is None)

    @guarded
    def probe(self, *_: Any) -> None:
        """Ask PyTorch, in a child process, what it will run on."""
        # As code, not as a file: a script's own folder would come first on the child's path, full of our short names.
        code = Path(machine.__file__).read_text("utf-8")
        self._probe = Run([python(), "-c", code], new_scratch(), start_process=self.shared.logic.start_process)
        self._probe.start()
        self._device = "Asking PyTorch …"
        self._timer.start()
        self.shared.changed()

    def _prediction(self) -> str:
        need = self._need()
        return "" if need is None else in_words(need, self._free)

    def cleanup(self) -> None:
        """The window goes away."""
        self._end_probe()

    @guarded
    def _poll(self) -> None:
        outcome = self._probe.poll() if self._probe is not None else None
        if outcome is None:
            return
        self._end_probe()
        found = next((event for event in outcome.events if event.get("event") == "machine"), None)
        if found is None:
            self.shared.log(outcome.details)
            self._device = "PyTorch could not be started: see the log. Restarting Slicer helps after an installation."
        else:
            self._device, self._free = describe(found), found.get("free")
            self.shared.log(json.dumps(found))
        self.shared.changed()

    def _end_probe(self) -> None:
        self._timer.stop()
        if self._probe is not None:
            self._probe.end_now()
            shutil.rmtree(self._probe.folder, ignore_errors=True)
            self._probe = None

    @guarded
    def _install(self, *_: Any) -> None:
        self._bring_in(None)

    @guarded
    def _install_offline(self, *_: Any) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, "A folder of wheels (.whl)")
        if folder:
            self._bring_in(Path(folder))

    def _bring_in(self, wheels: Path | None) -> None:
        show_sentence(self.ui.deviceLabel, "Installing; this may take some minutes …")
        try:
            install(self._packages, self.shared.logic.installer, wheels)
        finally:
            self.look()
            self.shared.changed()
        if not self.missing():
            self.probe()


def describe(found: dict[str, Any]) -> str:
    """The device and its memory, in a sentence."""
    memory = ""
    if found.get("total"):
        memory = f", {found['free'] / 2**30:.1f} of {found['total'] / 2**30:.1f} GB free"
    kind = "No GPU was found: everything runs on the CPU" if found["device"] == "cpu" else f"Runs on {found['name']}"
    cores = f" ({found['cores']} cores)" if found["device"] == "cpu" else ""
    return f"{kind}{cores}{memory}. PyTorch {found['torch']}."


def _line(package: Package) -> str:
    name = "PyTorch" if package.name == "torch" else package.name
    if package.fits:
        version = "" if package.installed == UNKNOWN else f" {package.installed}"
        return f'<span style="color:{READY}">✔ {html.escape(name + version)}</span>'
    there = "is not installed" if package.installed is None else f"is {package.installed}, too old"
    return (
        f'<span style="color:{COLOURS["error"]}">✖ {html.escape(f"{name} {there}; {package.wanted} is needed")}</span>'
    )
