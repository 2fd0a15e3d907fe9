"""What the lesion panel shows of one lesion: its cells, whether a filter shows it, its numbers in words."""

from __future__ import annotations

import math
from typing import Any

import qt

from QSMReconLib.review.readings import COMMENT, READINGS, computed

from .lesions import LesionTable

TITLES = {"label": "#", "volume_mm3": "mm³", "class_para": "χ_para", "class_dia": "χ_dia", "class_focal": "focal"}
TITLES |= {"reader_para": "you: χ_para", "reader_dia": "you: χ_dia", "reader_focal": "you: focal", COMMENT: "comment"}
"""The columns shown, of those that the table has."""

NUMBERS = ("label", "volume_mm3")

MEASURED = {"chi": ("χ", "ppb"), "chi_para": ("χ_para", "ppb"), "chi_dia": ("χ_dia", "ppb"), "r2star": ("R2*", "hz")}


def columns_of(table: LesionTable) -> list[str]:
    """The columns that are shown of a table: what it has, and what a reader can say."""
    return [name for name in TITLES if name in table.columns or name in table.readable or name == COMMENT]


def item_of(table: LesionTable, label: int, column: str) -> Any:
    """A cell that sorts as what it is."""
    item = qt.QTableWidgetItem()
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
    if column == "label":
        item.setData(qt.Qt.DisplayRole, label)
    elif column in NUMBERS and math.isfinite(table.number(label, column)):
        item.setData(qt.Qt.DisplayRole, round(table.number(label, column), 1))
    else:
        item.setText(table.text(label, column))
    if column in ("label", "class_para", "class_dia") and table.text(label, "flags"):
        item.setToolTip(f"To be doubted: {table.text(label, 'flags')}")
    return item


def passes(table: LesionTable, label: int, which: str, blinded: bool) -> bool:
    """Whether a lesion is among those that a filter shows. What would give computed classes away shows all while they
    are hidden."""
    if which == "not read":
        return not table.is_read(label)
    if which == "to be doubted":
        return bool(table.text(label, "flags"))
    if blinded or which == "all":
        return True
    if which == "you differ":
        return table.differs(label)
    if which == "undecided":
        return any(table.text(label, computed(column)) == "undecided" for column in READINGS)
    if which == "rims":
        return table.text(label, "class_para") == "rim"
    return table.text(label, "class_focal") in ("bleed", "calcification")


def details(table: LesionTable, label: int, blinded: bool) -> str:
    """The numbers of one lesion, as rich text."""
    lines = []
    for name, (title, unit) in MEASURED.items():
        value, low, high = (
            table.number(label, f"{name}_{what}_{unit}") for what in ("contrast", "contrast_low", "contrast_high")
        )
        if math.isfinite(value):
            shown = {"hz": "Hz"}.get(unit, unit)
            lines.append(f"{title} {value:+.1f} {shown} against normal white matter ({low:.1f} to {high:.1f})")
    if not blinded:
        chances = [
            f"{TITLES[f'class_{which}']} {table.text(label, f'class_{which}')} "
            f"({table.number(label, f'probability_{which}'):.0%})"
            for which in ("para", "dia", "focal")
            if table.text(label, f"class_{which}")
        ]
        lines.append("Computed: " + ", ".join(chances))
    if table.text(label, "flags"):
        lines.append(f"To be doubted: {table.text(label, 'flags')}")
    return "<br>".join(lines)
