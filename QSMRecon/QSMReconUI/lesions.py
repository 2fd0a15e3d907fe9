"""The lesions of a review in the scene: their table, their numbers in space, and the outline of the one looked at.

All of it is saved with the scene. The table node holds every column of the library's table and the reader's own, as
text; it refers to a label map with the table's numbers and to a segmentation with two segments, all lesions and the one
that is looked at: a segment for each of three hundred lesions would make every click slow.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from QSMReconLib.review.readings import COMMENT, READINGS, computed

from .scan import RESULT, ijk_to_ras

TABLE = "lesions"
"""What `RESULT` says of a table of lesions."""

NUMBERS, OUTLINE = "QSMRecon.Numbers", "QSMRecon.Outline"
ALL, ACTIVE = "all lesions", "this lesion"
COLOURS = {ALL: (0.95, 0.85, 0.55), ACTIVE: (0.2, 1.0, 0.35)}
"""A pale yellow, and a green that neither the warm nor the cool colours have."""

SAME_MM = 3.0
"""How far the centre of a lesion may have moved between two measurements to be the same one."""

NOTHING = ("", "n/a")


class LesionTable:
    """A table node as lesions: by label, what was measured, what the reader says, and where it is."""

    def __init__(self, node: Any) -> None:
        """Raises ValueError for a table that is not one of lesions."""
        self.node = node
        self._table = node.GetTable()
        names = [self._table.GetColumnName(index) for index in range(self._table.GetNumberOfColumns())]
        if not {"label", "x", "y", "z"} <= set(names):
            raise ValueError(f"{node.GetName()} is not a table of lesions.")
        self.columns = names
        self.readable = [column for column in READINGS if computed(column) in names]
        """The reader's columns that stand beside classes that were computed."""
        self._texts: dict[str, list[str]] = {}
        self._rows = {int(float(text)): row for row, text in enumerate(self._column("label")) if text not in NOTHING}
        self._stamp = self._table.GetMTime()

    @property
    def current(self) -> bool:
        """Whether nobody else has written into the table since."""
        return bool(self.node.GetTable() is self._table and self._stamp == self._table.GetMTime())

    @property
    def labels(self) -> list[int]:
        """The numbers of all lesions."""
        return list(self._rows)

    def text(self, label: int, column: str) -> str:
        """A cell; "" where nothing is in it."""
        if column not in self._texts and column not in self.columns:
            return ""
        text = self._column(column)[self._rows[label]]
        return "" if text in NOTHING else text

    def number(self, label: int, column: str) -> float:
        """A cell as a number; NaN where it is none."""
        try:
            return float(self.text(label, column))
        except ValueError:
            return math.nan

    def centre_mm(self, label: int) -> tuple[float, float, float]:
        """The middle of a lesion, RAS."""
        return self.number(label, "x"), self.number(label, "y"), self.number(label, "z")

    def set_reading(self, label: int, column: str, text: str) -> None:
        """Write what the reader says."""
        text = " ".join(text.replace('"', "'").split())  # The files of Slicer's tables have no quotation marks.
        if self._table.GetColumnByName(column) is None:
            _add_column(self._table, column, [""] * self._table.GetNumberOfRows())
            self.columns.append(column)
        if self.text(label, column) != text:
            self._column(column)[self._rows[label]] = text
            self._table.GetColumnByName(column).SetValue(self._rows[label], text)
            self._read.discard(label)
            self._read |= {label} if self.is_read(label) else set()
            self._table.Modified()
            self._stamp = self._table.GetMTime()
            self.node.Modified()

    def is_read(self, label: int) -> bool:
        """Whether the reader has given every class that there is to give."""
        return bool(self.readable) and all(self.text(label, column) for column in self.readable)

    @property
    def read(self) -> int:
        """How many lesions are read."""
        return len(self._read)

    def differs(self, label: int) -> bool:
        """Whether the reader says something else than was computed."""
        said = ((self.text(label, column), self.text(label, computed(column))) for column in self.readable)
        return any(own and own != other for own, other in said)

    def readings(self) -> str:
        """The reader's columns as TSV."""
        columns = ["label", *(column for column in (*READINGS, COMMENT) if column in self.columns)]
        lines = [columns] + [[str(label), *(self.text(label, c) for c in columns[1:])] for label in self.labels]
        return "".join("\t".join(" ".join(cell.split()) for cell in line) + "\n" for line in lines)

    def take_over(self, before: LesionTable) -> None:
        """What the reader has said of the same lesions in another table: those whose centres are near."""
        places = {label: before.centre_mm(label) for label in before.labels}
        for label in self.labels:
            nearest = min(places, key=lambda other: math.dist(places[other], self.centre_mm(label)), default=None)
            if nearest is None or math.dist(places[nearest], self.centre_mm(label)) > SAME_MM:
                continue
            for column in (*READINGS, COMMENT):
                if before.text(nearest, column):
                    self.set_reading(label, column, before.text(nearest, column))

    @property
    def numbers_node(self) -> Any:
        """The label map with the table's numbers; None where it was deleted."""
        return self.node.GetNodeReference(NUMBERS)

    def at(self, ras: tuple[float, float, float]) -> int:
        """The lesion at a place, 0 where there is none."""
        if self.numbers_node is None or self.numbers_node.GetImageData() is None:
            return 0
        numbers = slicer.util.arrayFromVolume(self.numbers_node)
        ijk = np.rint(self._ras_to_ijk @ [*ras, 1.0])[:3].astype(int)
        inside = all(0 <= i < n for i, n in zip(ijk, numbers.shape[::-1], strict=True))
        number = int(numbers[tuple(ijk[::-1])]) if inside else 0
        return number if number in self._rows else 0

    def outline(self, label: int) -> None:
        """Draw the line around this lesion; around none for 0."""
        segmentation = self._outline_node
        if segmentation is None or self.numbers_node is None:
            return
        part = np.zeros((1, 1, 1), bool)
        box = self._boxes.get(label, (slice(0, 1),) * 3)
        if label in self._boxes:
            part = slicer.util.arrayFromVolume(self.numbers_node)[box] == label
        image = _oriented(part, box, self.numbers_node)
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, segmentation, ACTIVE)

    def prepare(self) -> None:
        """Do once, while a table is opened, what would hold up the first click."""
        if self.numbers_node is not None and self.numbers_node.GetImageData() is not None:
            self.outline(0)

    def show(self, visible: bool) -> None:
        """Show or hide the outlines."""
        if self._outline_node is not None:
            self._outline_node.GetDisplayNode().SetVisibility(visible)

    @cached_property
    def _read(self) -> set[int]:
        return {label for label in self._rows if self.is_read(label)}

    @cached_property
    def _boxes(self) -> Mapping[int, tuple[slice, slice, slice]]:
        from scipy.ndimage import find_objects

        found = find_objects(np.asarray(slicer.util.arrayFromVolume(self.numbers_node)))
        return {label: box for label, box in enumerate(found, 1) if box is not None}

    @cached_property
    def _ras_to_ijk(self) -> np.ndarray:
        return np.linalg.inv(np.array(ijk_to_ras(self.numbers_node)))

    @property
    def _outline_node(self) -> Any:
        """The segmentation with the two outlines, made anew where it is missing."""
        node = self.node.GetNodeReference(OUTLINE)
        if node is None and self.numbers_node is not None:
            node = _outlines(self.node.GetScene(), self.node.GetName(), self.numbers_node)
            self.node.SetNodeReferenceID(OUTLINE, node.GetID())
        return node

    def _column(self, name: str) -> list[str]:
        if name not in self._texts:
            rows = range(self._table.GetNumberOfRows())
            self._texts[name] = [str(self._table.GetValueByName(row, name).ToString()).strip() for row in rows]
        return self._texts[name]


def make_table(scene: Any, name: str, file: Path, numbers_kji: np.ndarray, like: Any) -> LesionTable:
    """A table of the library, and the label map of its numbers on the grid of `like`, as nodes beside it."""
    with file.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream, delimiter="\t")
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    node.SetAttribute(RESULT, TABLE)
    for index, column in enumerate(header):
        _add_column(node.GetTable(), column, [row[index] for row in rows])
    numbers = slicer.util.addVolumeFromArray(
        numbers_kji,
        np.array(ijk_to_ras(like)),
        scene.GenerateUniqueName(f"{name} numbers"),
        "vtkMRMLLabelMapVolumeNode",
    )
    numbers.SetAttribute(RESULT, TABLE)
    node.SetNodeReferenceID(NUMBERS, numbers.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    beside = hierarchy.GetItemByDataNode(like)
    made = LesionTable(node)
    if beside:
        for own in (node, numbers, made._outline_node):
            hierarchy.CreateItem(hierarchy.GetItemParent(beside), own)
    return made


def tables(scene: Any) -> Iterator[Any]:
    """The tables of lesions in the scene."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLTableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLTableNode")
        if node.GetAttribute(RESULT) == TABLE:
            yield node


def jump(scene: Any, ras: tuple[float, float, float]) -> None:
    """Show a place in every slice view, and put the crosshair there.

    Views stay as they are but for their slice: a head that jumps about with every lesion is hard to read. Only where
    the place would be outside, as in a view that was zoomed in, it comes into the middle.
    """
    if not all(map(math.isfinite, ras)):
        return
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        view = scene.GetNthNodeByClass(index, "vtkMRMLSliceNode")
        view.JumpSliceByOffsetting(*ras)
        to_view = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(view.GetXYToRAS(), to_view)
        column, row, _, _ = to_view.MultiplyPoint((*ras, 1.0))
        width, height, _ = view.GetDimensions()
        if not (0 <= column <= width and 0 <= row <= height):
            view.JumpSliceByCentering(*ras)
    crosshair = crosshair_node(scene)
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*ras)


def crosshair_node(scene: Any) -> Any:
    """The scene's crosshair, or None."""
    return scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")


def _add_column(table: Any, name: str, texts: list[str]) -> None:
    column = vtk.vtkStringArray()
    column.SetName(name)
    column.SetNumberOfValues(len(texts))
    for row, text in enumerate(texts):
        column.SetValue(row, text)
    table.AddColumn(column)


def _outlines(scene: Any, name: str, numbers: Any) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(f"{name} outline"))
    node.SetAttribute(RESULT, TABLE)
    node.CreateDefaultDisplayNodes()
    inside = slicer.util.arrayFromVolume(numbers) > 0
    whole = tuple(slice(0, n) for n in inside.shape)
    display = node.GetDisplayNode()
    for title, part in ((ALL, inside), (ACTIVE, np.zeros_like(inside))):
        segment = slicer.vtkSegment()
        segment.SetName(title)
        segment.SetColor(*COLOURS[title])
        node.GetSegmentation().AddSegment(segment, title)
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
            _oriented(part, whole, numbers), node, title
        )
        display.SetSegmentOpacity2DFill(title, 0.0)
        display.SetSegmentOpacity2DOutline(title, 0.5 if title == ALL else 1.0)
    display.SetVisibility3D(False)
    display.SetSliceIntersectionThickness(2)
    return node


def _oriented(part_kji: np.ndarray, box: tuple[slice, ...], place: Any) -> Any:
    """Voxels of a box (K, J, I) of a volume as an image that knows where it is."""
    image = slicer.vtkOrientedImageData()
    k, j, i = box
    image.SetExtent(i.start, i.stop - 1, j.start, j.stop - 1, k.start, k.stop - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = part_kji.reshape(-1)
    matrix = vtk.vtkMatrix4x4()
    place.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    return image
