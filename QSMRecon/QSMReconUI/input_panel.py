"""The panel that says what to reconstruct: volumes of the scene, or a folder."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import qt
import slicer

from QSMReconLib.errors import InputError
from QSMReconLib.io.scan import Finding

from .files import FileScan, scans_in
from .memory import need_bytes
from .panel import Panel, Shared, as_list, guarded
from .reconstruction import Reconstruction, Request
from .scan import (
    PARTS,
    Echo,
    assign,
    chosen,
    distinct,
    echo_times,
    echo_times_text,
    find_echoes,
    problems,
    rows,
    scan_name,
)
from .work import new_scratch

COLUMNS = ("Volume", "Is", "TE [ms]")
POLL_MS = 100


class InputPanel(Panel):
    """The table of volumes and their echo times, the field strength, the mask, and the findings."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._scans: list[FileScan] = []
        self._folder: str | None = None
        self._folder_error = ""
        self._read: Any = None
        self._file_rows: list[Echo] = []
        self._shown: Any = None
        self._need: tuple[Any, int | None] = ([], None)
        self._findings: list[Finding] = []
        self._examined: tuple[Any, list[Finding]] = (None, [])
        self._examination: Reconstruction | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        # The table is never rebuilt inside a signal of one of its own cells.
        self._filling = qt.QTimer()
        self._filling.setSingleShot(True)
        self._filling.setInterval(0)
        self._filling.timeout.connect(self._fill)
        table = self.ui.echoTable
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels(COLUMNS)
        table.verticalHeader().setVisible(False)
        header = table.horizontalHeader()
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(1, qt.QHeaderView.Fixed)
        header.setSectionResizeMode(2, qt.QHeaderView.Fixed)
        table.setColumnWidth(1, 105)
        table.setColumnWidth(2, 75)
        table.setWordWrap(False)
        table.cellChanged.connect(self._echo_time_typed)
        self.ui.findButton.clicked.connect(self._find)
        self.ui.clearButton.clicked.connect(self._clear)
        self.ui.browseButton.clicked.connect(self._browse)
        self.ui.examineButton.clicked.connect(self.examine)
        self.ui.scanComboBox.currentTextChanged.connect(self._scan_chosen)

    @property
    def from_folder(self) -> bool:
        """Whether the scan is in files rather than in the scene."""
        return self.parameters.source.name == "FOLDER"

    def scan(self) -> FileScan | None:
        """The scan of the folder that was chosen."""
        named = [scan for scan in self._scans if scan.name == self.parameters.scan]
        return (named or self._scans or [None])[0]

    def rows(self) -> list[Echo]:
        """The volumes or files that could be part of the scan."""
        if not self.from_folder:
            return rows(slicer.mrmlScene)
        scan, corrections = self.scan(), self._corrections()
        if scan is None:
            return []
        if self._read != (scan, corrections):
            self._file_rows = scan.rows(corrections)
            self._read = (scan, corrections)
        return self._file_rows

    def request(self) -> Request:
        """The scan, as far as this panel knows it. Raises InputError if it is not ready."""
        reason = self.obstacle()
        if reason:
            raise InputError(reason)
        found = self.rows()
        if self.from_folder:
            scan = self.scan()
            title, files = scan.name, scan.job(self._corrections())
        else:
            title, files = scan_name([echo.name for echo in chosen(found)]), None
        return Request(
            title,
            found,
            self.parameters.fieldStrength,
            files=files,
            mask=self.parameters.mask,
            phase_sign=self.parameters.phaseSign,
        )

    def obstacle(self) -> str:
        """The first error among the findings."""
        return next((finding.text for finding in self._findings if finding.level == "error"), "")

    def need_bytes(self) -> int | None:
        """The memory that the scan is predicted to take; None without one."""
        try:
            found = self.rows() if self.parameters is not None else []
        except InputError:
            return None
        signature = [(echo.key, echo.part, echo.count) for echo in found]
        if self._need[0] != signature:
            self._need = (signature, need_bytes(found))
        return self._need[1]

    @guarded
    def refresh(self) -> None:
        """Read the folder if it is another one, fill the table if its rows are others, and look for problems."""
        self.ui.sceneFrame.setVisible(not self.from_folder)
        self.ui.folderFrame.setVisible(self.from_folder)
        if self.from_folder:
            self._read_folder()
        try:
            found, self._findings = self.rows(), []
        except InputError as error:
            found, self._findings = [], [Finding("error", str(error))]
        self._filling.start()
        if self._folder_error and self.from_folder:
            self._findings.append(Finding("error", self._folder_error))
        if not self._findings:
            self._findings = list(problems(chosen(found), self.parameters.fieldStrength))
        known, of_examination = self._examined
        if known == self._signature(found):
            self._findings += of_examination
        self.ui.findingsLabel.setText(as_list(self._findings))
        self.ui.findingsLabel.setVisible(bool(self._findings))
        self.ui.examineButton.setEnabled(not self.shared.obstacle() and self._examination is None)
        self.ui.examineButton.setText("Examine" if self._examination is None else "Examining …")

    @guarded
    def examine(self, *_: Any) -> None:
        """Have the library look at the scan, in a child process: what it would repair, suspect or refuse."""
        found = self.rows()
        self._examination = Reconstruction(self.request(), new_scratch(), self.shared.logic.start_process, examine=True)
        self._examination.on_log = self.shared.log
        self._examined = (self._signature(found), [])
        try:
            self._examination.start()
            self._timer.start()
        except InputError:
            self._end_examination()
            raise
        finally:
            self.shared.changed()

    def scene_closes(self) -> None:
        """Nothing that was read is about the next scene."""
        self._end_examination()
        self._examined = (None, [])

    def cleanup(self) -> None:
        """The window goes away."""
        self._filling.stop()
        self._end_examination()

    @guarded
    def _poll(self) -> None:
        outcome = self._examination.run.poll() if self._examination is not None else None
        if outcome is None:
            return
        self._end_examination()
        findings = [
            Finding(item["level"], item["text"])
            for event in outcome.events
            if event.get("event") == "examined"
            for item in event.get("findings", ())
        ]
        # The doctor ends with an exit code where it has found errors: then they are the answer.
        if not findings and outcome.kind == "error":
            findings = [Finding("error", outcome.sentence)]
        self._examined = (self._examined[0], findings)
        self.shared.changed()

    def _end_examination(self) -> None:
        self._timer.stop()
        if self._examination is not None:
            self._examination.close()
            self._examination = None

    def _signature(self, found: list[Echo]) -> Any:
        """What the findings of an examination depend on."""
        scan = [
            (echo.key if echo.in_scene else str(echo.source), echo.part, echo.echo_times_s) for echo in chosen(found)
        ]
        mask = self.parameters.mask.GetID() if self.parameters.mask is not None else ""
        return scan, self.parameters.fieldStrength, self.parameters.phaseSign, mask

    def _read_folder(self) -> None:
        folder = self.parameters.folder
        if folder == self._folder:
            return
        restored, self._folder = self._folder is None, folder
        self._scans, self._folder_error = [], ""
        try:
            self._scans = scans_in(Path(folder)) if folder else []
            if not folder:
                self._folder_error = "Choose a folder: a BIDS dataset, a subject, DICOM or NIfTI files."
        except (InputError, OSError) as error:
            self._folder_error = str(error)
        combo = self.ui.scanComboBox
        blocked = combo.blockSignals(True)
        combo.clear()
        for scan in self._scans:
            combo.addItem(scan.name)
        scan = self.scan()
        if scan is not None:
            combo.setCurrentIndex(self._scans.index(scan))
        combo.blockSignals(blocked)
        combo.setEnabled(len(self._scans) > 1)
        if not restored:
            self.parameters.corrections = ""
        if not restored or not self.parameters.fieldStrength:
            self._take_field_strength()

    def _take_field_strength(self) -> None:
        scan = self.scan()
        try:
            stated = scan.field_strength_t() if scan is not None else None
        except InputError as error:
            self._folder_error = str(error)
            return
        # Unknown is better than that of the scan before.
        self.parameters.fieldStrength = stated or 0.0

    @guarded
    def _fill(self) -> None:
        if self.parameters is None:
            return
        try:
            found = self.rows()
        except InputError:
            found = []  # Which the findings say.
        shown = [(echo.name, echo.part, echo.echo_times_s, echo.key) for echo in found]
        if shown == self._shown:
            return
        self._shown = shown
        table = self.ui.echoTable
        blocked = table.blockSignals(True)
        table.setRowCount(len(found))
        titles = distinct([echo.name for echo in found])
        for row, echo in enumerate(found):
            name = qt.QTableWidgetItem(titles[row])
            name.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            name.setToolTip(echo.name)
            table.setItem(row, 0, name)
            combo = qt.QComboBox()
            for title in PARTS.values():
                combo.addItem(title)
            combo.setCurrentIndex(list(PARTS).index(echo.part))
            combo.setFrame(False)
            combo.currentTextChanged.connect(functools.partial(self._part_chosen, echo.key))
            table.setCellWidget(row, 1, combo)
            table.setItem(row, 2, qt.QTableWidgetItem(echo_times_text(echo.echo_times_s)))
        table.blockSignals(blocked)
        height = 26 + 30 * min(max(len(found), 2), 8)
        table.setMinimumHeight(height)
        table.setMaximumHeight(height)

    @guarded
    def _part_chosen(self, key: str, title: str) -> None:
        part = next(part for part, known in PARTS.items() if known == title)
        for echo in self.rows():
            if echo.key == key:
                self._assign(replace(echo, part=part))

    @guarded
    def _echo_time_typed(self, row: int, column: int) -> None:
        if column == 2:
            echo = self.rows()[row]
            self._assign(replace(echo, echo_times_s=echo_times(self.ui.echoTable.item(row, column).text())))

    def _assign(self, echo: Echo) -> None:
        if not echo.in_scene:
            changed = {**self._corrections(), echo.key: [echo.part, echo_times_text(echo.echo_times_s)]}
            self.parameters.corrections = json.dumps(changed)
        else:
            assign(echo.source, echo.part, echo.echo_times_s)
        self._shown = None
        self.shared.changed()

    def _corrections(self) -> dict[str, list[str]]:
        try:
            stored = json.loads(self.parameters.corrections or "{}")
            return {str(name): [part, str(times)] for name, (part, times) in stored.items() if part in PARTS}
        except (ValueError, TypeError, AttributeError):
            return {}  # Of another version: what was read is shown instead.

    @guarded
    def _find(self, *_: Any) -> None:
        strength = find_echoes(slicer.mrmlScene)
        if strength is not None:
            self.parameters.fieldStrength = strength
        self.shared.changed()

    @guarded
    def _clear(self, *_: Any) -> None:
        for echo in rows(slicer.mrmlScene):
            assign(echo.source, "", "")
        self.shared.changed()

    @guarded
    def _browse(self, *_: Any) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, "The folder of the scan", self.parameters.folder)
        if folder:
            self.parameters.folder = folder

    @guarded
    def _scan_chosen(self, name: str) -> None:
        self.parameters.scan = name
        self.parameters.corrections = ""
        self._take_field_strength()
