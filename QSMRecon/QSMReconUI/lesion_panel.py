"""The panel that reviews lesions: measure, look at one after the other, say what they are, export.

The table, the slice views and the outlines follow one another: a row that is chosen is shown in every view and
outlined; the crosshair, put on a lesion in a view, chooses its row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk

from QSMReconLib.review.readings import COMMENT, READINGS, computed

from .child_panel import ChildPanel, Controls
from .job import Outcome
from .lesion_rows import TITLES, columns_of, details, item_of, passes
from .lesion_run import LesionRequest, LesionRun, channels, outputs_of
from .lesions import LesionTable, crosshair_node, jump
from .panel import Shared, guarded, show_sentence
from .review import Maps
from .work import new_scratch

KEYS = {
    "reader_para": {"1": "hyper", "2": "iso", "3": "hypo", "4": "rim"},
    "reader_dia": {"5": "hyper", "6": "iso", "7": "hypo"},
    "reader_focal": {"8": "bleed", "9": "calcification", "0": "vessel"},
}
"""What a key says of the lesion that is looked at."""


class LesionPanel(ChildPanel):
    """The table widget shows the table node; what is written goes into the node, and from there into the widget."""

    def __init__(self, shared: Shared, maps: Callable[[], Maps]) -> None:
        """`maps()` gives the volumes under review."""
        ui = shared.ui
        super().__init__(
            shared,
            Controls(ui.measureButton, ui.measureCancelButton, ui.measureBar, ui.measureDetailsButton, ui.measureLabel),
        )
        self._maps = maps
        self._table: LesionTable | None = None
        self._rows: dict[int, int] = {}
        self._observed: list[tuple[Any, int]] = []
        self._columns: list[str] = []
        self._hidden: set[int] = set()
        self._filter_shown: tuple[str, str, bool] | None = None
        self._report = ""
        self._quiet = False
        self.combos = {
            "reader_para": ui.readerParaComboBox,
            "reader_dia": ui.readerDiaComboBox,
            "reader_focal": ui.readerFocalComboBox,
        }
        for column, combo in self.combos.items():
            keys = {word: key for key, word in KEYS[column].items()}
            combo.addItem("–")
            for word in READINGS[column]:
                combo.addItem(f"{word} ({keys[word]})" if word in keys else word)
            combo.currentTextChanged.connect(functools.partial(self._class_chosen, column))
        ui.lesionCommentEdit.textEdited.connect(self._comment_typed)
        ui.measureButton.clicked.connect(self.measure)
        ui.previousLesionButton.clicked.connect(functools.partial(self.step, -1))
        ui.nextLesionButton.clicked.connect(functools.partial(self.step, 1))
        ui.agreeButton.clicked.connect(self.agree)
        ui.exportButton.clicked.connect(self._export)
        ui.lesionReportButton.clicked.connect(self._open_report)
        ui.lesionReportButton.setVisible(False)
        ui.lesionFrame.setVisible(False)
        ui.lesionSearchEdit.textChanged.connect(self._search)
        ui.lesionTableWidget.itemSelectionChanged.connect(self._row_chosen)
        ui.lesionTableWidget.verticalHeader().setVisible(False)
        self._shortcuts = [
            self._shortcut(key, functools.partial(self.say, column, word))
            for column, keys in KEYS.items()
            for key, word in keys.items()
        ]
        self._shortcuts += [
            self._shortcut("N", functools.partial(self.step, 1)),
            self._shortcut("P", functools.partial(self.step, -1)),
            self._shortcut("A", self.agree),
        ]

    @guarded
    def refresh(self) -> None:
        """Show the table that is chosen, if it is another one or was changed, and whether anything can be measured."""
        reason = "" if channels(self._maps()) else "Choose maps to measure in first (Review), or reconstruct some."
        self.show_controls(reason, "Measure and class every lesion on the maps under review, in the background.")
        table = self._chosen()
        if table is not self._table:
            self._take(table)
        elif self._filter_shown != self._filter:
            self._blind()

    @guarded
    def measure(self, *_: Any) -> None:
        """Have the library measure the lesions of the segmentation, or propose some."""
        if not self.running:
            request = LesionRequest(self._maps(), self.parameters.lesions, before=self._table)
            self.begin(LesionRun(request, new_scratch(), self.shared.logic.start_process), "Writing maps and lesions …")

    def export(self, table: Path) -> None:
        """Write table, description and report with the reader's classes, through the library."""
        if self._table is None or self.running:
            return
        proposed = all(self._table.text(label, "proposed") == "True" for label in self._table.labels)
        request = LesionRequest(
            self._maps(), None if proposed else self._table.numbers_node, self._table.readings(), table
        )
        self.begin(LesionRun(request, new_scratch(), self.shared.logic.start_process), "Writing maps and lesions …")

    def finish(self, working: LesionRun, outcome: Outcome) -> Path | None:
        """Show what was measured, or say where it was written."""
        if working.request.output is not None:
            written = outputs_of(working.table)
            self._report = str(written["report"])
            self.ui.lesionReportButton.setVisible(True)
            show_sentence(self.status, f"Written: {written['table']}, its description (.json) and report (.html).")
            return None
        made = working.load(slicer.mrmlScene)
        with slicer.util.NodeModify(self.parameters):
            self.parameters.lesionTable = made.node
            self.parameters.activeLesion = 0
        found = f"{len(made.labels)} lesions were measured."
        show_sentence(self.status, " ".join([found, *working.remarks]), "suspicious" if working.remarks else "")
        return None

    @guarded
    def step(self, by: int, *_: Any) -> None:
        """Go to the next (1) or the previous (-1) lesion that the filter shows, round the end."""
        visible = self._visible()
        if visible:
            now = visible.index(self.parameters.activeLesion) if self.parameters.activeLesion in visible else None
            self.choose(visible[(now + by) % len(visible)] if now is not None else visible[0 if by > 0 else -1])

    @guarded
    def say(self, column: str, word: str, *_: Any) -> None:
        """The reader's class of the lesion that is looked at."""
        label = self._active()
        if label and self._table is not None and column in self._table.readable:
            self._table.set_reading(label, column, word)
            self._show_lesion(label)

    @guarded
    def agree(self, *_: Any) -> None:
        """Take over the classes that were computed, and go on. Not while they are hidden."""
        label = self._active()
        if label and self._table is not None and not self.parameters.blinded:
            for column in self._table.readable:
                self._table.set_reading(label, column, self._table.text(label, computed(column)))
            self._show_lesion(label)
            self.step(1)

    def choose(self, label: int) -> None:
        """Look at this lesion: its row, its place in every view, its outline."""
        if self._table is None or label not in self._table.labels:
            return
        self.parameters.activeLesion = label
        self._select_row(label)
        self._table.outline(label)
        self._quiet = True
        try:
            jump(slicer.mrmlScene, self._table.centre_mm(label))
        finally:
            self._quiet = False
        self._show_lesion(label)

    @guarded
    def scene_loaded(self) -> None:
        """A scene has come in, perhaps with a review that was begun."""
        self.refresh()
        if self._active():
            self.choose(self._active())

    def scene_closes(self) -> None:
        """The table is about to go."""
        super().scene_closes()
        self._take(None)

    def cleanup(self) -> None:
        """The window goes away."""
        super().cleanup()
        self._observe(None)

    @property
    def _filter(self) -> tuple[str, str, bool]:
        words = str(self.ui.lesionSearchEdit.property("text"))
        return self.parameters.lesionFilter, words, bool(self.parameters.blinded)

    def _chosen(self) -> LesionTable | None:
        node = self.parameters.lesionTable
        if node is None:
            return None
        if self._table is not None and self._table.node is node and self._table.current:
            return self._table
        try:
            return LesionTable(node)
        except ValueError as error:
            show_sentence(self.status, str(error), "error")
            return None

    def _active(self) -> int:
        label = self.parameters.activeLesion if self.parameters is not None else 0
        return label if self._table is not None and label in self._table.labels else 0

    def _take(self, table: LesionTable | None) -> None:
        """Fill the widget from a table."""
        self._observe(table)
        self._table = table
        if table is not None:
            table.prepare()
        self.ui.lesionFrame.setVisible(table is not None)
        widget = self.ui.lesionTableWidget
        blocked = widget.blockSignals(True)
        widget.setSortingEnabled(False)
        self._columns = [] if table is None else columns_of(table)
        widget.setColumnCount(len(self._columns))
        widget.setHorizontalHeaderLabels([TITLES[column] for column in self._columns])
        labels = [] if table is None else table.labels
        widget.setRowCount(len(labels))
        for row, label in enumerate(labels):
            for index, column in enumerate(self._columns):
                widget.setItem(row, index, item_of(table, label, column))
        widget.resizeColumnsToContents()
        widget.setSortingEnabled(True)
        widget.blockSignals(blocked)
        self._rows = {}
        self._blind()
        if table is not None and self._active():
            self._select_row(self._active())

    def _blind(self) -> None:
        """Hide what must not be seen, and what the filter leaves out."""
        blinded = self.parameters is not None and bool(self.parameters.blinded)
        for index, column in enumerate(self._columns):
            self.ui.lesionTableWidget.setColumnHidden(index, column.startswith("class_") and blinded)
        self._apply_filter()
        if self._table is not None:
            self._show_lesion(self._active())

    def _observe(self, table: LesionTable | None) -> None:
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        if table is None:
            return
        # Somebody may write into the table elsewhere, in the module Tables for example.
        tag = table.node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.shared.changed())
        self._observed.append((table.node, tag))
        crosshair = crosshair_node(slicer.mrmlScene)
        if crosshair is not None:
            tag = crosshair.AddObserver(vtk.vtkCommand.ModifiedEvent, self._crosshair_moved)
            self._observed.append((crosshair, tag))

    @guarded
    def _crosshair_moved(self, *_: Any) -> None:
        if self._quiet or self._table is None:
            return
        label = self._table.at(tuple(crosshair_node(slicer.mrmlScene).GetCrosshairRAS()))
        if label and label != self.parameters.activeLesion:
            # The views are there already, and must not move under the reader's hand.
            self.parameters.activeLesion = label
            self._select_row(label)
            self._table.outline(label)
            self._show_lesion(label)

    @guarded
    def _row_chosen(self) -> None:
        rows = self.ui.lesionTableWidget.selectionModel().selectedRows()
        if rows:
            self.choose(int(self.ui.lesionTableWidget.item(rows[0].row(), 0).data(qt.Qt.DisplayRole)))

    def _select_row(self, label: int) -> None:
        widget = self.ui.lesionTableWidget
        blocked = widget.blockSignals(True)
        widget.selectRow(self._row_of(label))
        widget.blockSignals(blocked)

    def _row_of(self, label: int) -> int:
        """Rows move when the table is sorted: where this one was last is looked at first."""
        widget = self.ui.lesionTableWidget
        item = widget.item(self._rows.get(label, -1), 0)
        if item is None or int(item.data(qt.Qt.DisplayRole)) != label:
            self._rows = {shown: row for row, shown in enumerate(self._order())}
        return self._rows[label]

    def _order(self) -> list[int]:
        """The lesions of all rows, from the top."""
        item, role = self.ui.lesionTableWidget.item, qt.Qt.DisplayRole
        return [int(item(row, 0).data(role)) for row in range(len(self._table.labels) if self._table else 0)]

    def _visible(self) -> list[int]:
        """Those of them that the filter shows."""
        return [label for label in self._order() if label not in self._hidden]

    @guarded
    def _search(self, *_: Any) -> None:
        self._apply_filter()

    def _apply_filter(self) -> None:
        self._hidden = set()
        self._filter_shown = self._filter if self.parameters is not None else None
        if self._table is None or self._filter_shown is None:
            return
        which, words, blinded = self._filter_shown
        wanted = words.lower().split()
        columns = [*(c for c in self._columns if not (blinded and c.startswith("class_"))), "flags"]
        hide = self.ui.lesionTableWidget.setRowHidden
        for row, label in enumerate(self._order()):
            shown = passes(self._table, label, which, blinded)
            if shown and wanted:
                text = " ".join(self._table.text(label, column) for column in columns).lower()
                shown = all(word in text for word in wanted)
            if not shown:
                self._hidden.add(label)
            hide(row, not shown)
        self._show_progress()

    def _show_progress(self) -> None:
        labels = self._table.labels if self._table is not None else []
        read = self._table.read if self._table is not None else 0
        shown = f"; {len(labels) - len(self._hidden)} shown" if self._hidden else ""
        self.ui.lesionProgressLabel.setText(f"{read} of {len(labels)} read{shown}")

    def _show_lesion(self, label: int) -> None:
        """The reader's row, the numbers, and the row of the table of one lesion."""
        table = self._table
        for name in ("lesionCommentEdit", "agreeButton"):
            getattr(self.ui, name).setEnabled(bool(label))
        self.ui.agreeButton.setEnabled(bool(label) and not self.parameters.blinded)
        for column, combo in self.combos.items():
            there = table is not None and column in table.readable
            combo.setVisible(there)
            combo.setEnabled(bool(label))
            word = table.text(label, column) if table is not None and label else ""
            blocked = combo.blockSignals(True)
            combo.setCurrentIndex(1 + READINGS[column].index(word) if word in READINGS[column] else 0)
            combo.blockSignals(blocked)
        if table is None or not label:
            self.ui.lesionDetailLabel.setText("Choose a row, or put the crosshair on a lesion (Shift and move).")
            return
        comment = table.text(label, COMMENT)
        if str(self.ui.lesionCommentEdit.property("text")).strip() != comment:  # Not under the hand that types.
            self.ui.lesionCommentEdit.setText(comment)
        self.ui.lesionDetailLabel.setText(details(table, label, self.parameters.blinded))
        widget, row = self.ui.lesionTableWidget, self._row_of(label)
        blocked = widget.blockSignals(True)
        widget.setSortingEnabled(False)  # Or the row would move away under the cells that are being written.
        for index, column in enumerate(self._columns):
            if column in READINGS or column == COMMENT:
                widget.setItem(row, index, item_of(table, label, column))
        widget.setSortingEnabled(True)
        widget.blockSignals(blocked)
        self._show_progress()

    @guarded
    def _class_chosen(self, column: str, text: str) -> None:
        self.say(column, "" if text == "–" else text.split(" (")[0])

    @guarded
    def _comment_typed(self, text: str) -> None:
        if self._active() and self._table is not None:
            self._table.set_reading(self._active(), COMMENT, text)
            self._show_lesion(self._active())

    @guarded
    def _export(self, *_: Any) -> None:
        file = qt.QFileDialog.getSaveFileName(None, "Export table, description and report", "lesions.tsv", "*.tsv")
        # PySide gives the filter as well, PythonQt the name alone.
        file = file[0] if isinstance(file, tuple) else file
        if file:
            self.export(Path(file).with_suffix(".tsv"))

    @guarded
    def _open_report(self, *_: Any) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._report))

    def _shortcut(self, key: str, slot: Callable[..., Any]) -> Any:
        # Only while something in the section has the focus: Slicer's own keys stay what they are.
        shortcut = qt.QShortcut(qt.QKeySequence(key), self.ui.lesionCollapsible)
        shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        shortcut.activated.connect(slot)
        return shortcut
