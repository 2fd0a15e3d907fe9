"""What a reader says of lesions, beside what was computed: in a panel, in a spreadsheet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .classification import BLEED, CALCIFICATION, HYPER, HYPO, ISO, OTHER, RIM, UNDECIDED, VESSEL

if TYPE_CHECKING:
    from .table import Review

READINGS = {
    "reader_para": (HYPER, ISO, HYPO, RIM, UNDECIDED),
    "reader_dia": (HYPER, ISO, HYPO, UNDECIDED),
    "reader_focal": (BLEED, CALCIFICATION, VESSEL, OTHER, UNDECIDED),
}
"""The columns of a reader's classes, beside `class_para` and so on, and what may stand in them (or nothing)."""

COMMENT = "reader_comment"


def computed(column: str) -> str:
    """The column of computed classes that one of a reader stands beside."""
    return column.replace("reader_", "class_")


def add_readings(done: Review, path: Path) -> Review:
    """The review with the classes and comments of a TSV file, told by `label`; lesions it lacks have none.

    Raises InputError for a file without labels or without any of the columns, for a label that the review does not
    have, and for a word that is no class.
    """
    import pandas

    try:
        read = pandas.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table ({error}): give a TSV with a column label.") from error
    columns = [name for name in (*READINGS, COMMENT) if name in read]
    if "label" not in read or not columns:
        raise InputError(f"{path} needs a column label and one of {', '.join((*READINGS, COMMENT))}.")
    known = {str(label) for label in done.table["label"]}
    unknown = sorted(set(read["label"]) - known)
    if unknown:
        raise InputError(f"{path} speaks of lesion {', '.join(unknown)}, which is not among those measured.")
    read = read.replace("n/a", "")
    for name, words in READINGS.items():
        wrong = sorted(set(read[name]) - {*words, ""}) if name in read else []
        if wrong:
            raise InputError(f"{path} has {', '.join(wrong)} in {name}; its words are {', '.join(words)}.")
    by_label = read.drop_duplicates("label").set_index("label")
    table = done.table.copy()
    for name in columns:
        said = [by_label[name].get(str(label), "") or None for label in table["label"]]
        table[name] = pandas.Series(said, index=table.index, dtype=object)
    return replace(done, table=table)
