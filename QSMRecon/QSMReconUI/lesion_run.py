"""A review of lesions by the library: volumes of the scene to files, the child, its table back into the scene."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from QSMReconLib.errors import InputError

from .exchange import PROVENANCE, read_nifti, write_nifti
from .lesions import LesionTable, make_table
from .review import Maps
from .scan import RESULT, ijk_to_ras
from .work import Work

CHANNELS = {"chi": "chi", "chi_para": "para", "chi_dia": "dia", "r2star": "r2star"}
"""The library's names of maps, and which of those under review they are."""

COMPANIONS = {"desc-local_fieldmap": "local_field", "desc-total_fieldmap": "total_field"}
COMPANIONS |= {"desc-noise_fieldmap": "field_noise", "swi": "swi"}
"""Results of a run that help to measure, where they are in the scene too."""


@dataclass(frozen=True)
class LesionRequest:
    """What to review. `lesions` is a segmentation, a label map, points to grow lesions from, or None for the library's
    own proposals; `output` is where the table is to stay (the report and the description beside it), `readings` a
    reader's classes as TSV."""

    maps: Maps
    lesions: Any = None
    readings: str = ""
    output: Path | None = None
    before: LesionTable | None = None

    @property
    def title(self) -> str:
        """The scan's name: what the names of its maps begin with."""
        first = next(volume for _, volume in channels(self.maps))
        return re.split(r" (?:χ|R2\*)", str(first.GetName()))[0].strip() or "scan"


@dataclass
class LesionRun(Work):
    """A review at work."""

    request: LesionRequest
    remarks: list[str] = field(default_factory=list, init=False)

    @property
    def table(self) -> Path:
        """Where the table goes."""
        return self.request.output or self.scratch / "lesions.tsv"

    @property
    def stages(self) -> Sequence[str]:
        """The only one."""
        return ["lesions"]

    def prepare(self) -> Sequence[str]:
        """Write the maps, and the lesions on their grid. Raises InputError if there is nothing to measure."""
        maps = channels(self.request.maps)
        if not maps:
            raise InputError("Choose the maps to measure in first (Review, at least one of χ, χ_para, χ_dia, R2*).")
        like = maps[0][1]
        arguments = ["lesions", "-o", str(self.table), "--progress", "json", "--overwrite"]
        for name, volume in [*maps, *self._companions(like)]:
            arguments += [f"--{name.replace('_', '-')}", self._write(name, slicer.util.arrayFromVolume(volume), volume)]
        given = self.request.lesions
        if given is not None and given.IsA("vtkMRMLMarkupsNode"):
            arguments += ["--seeds", self._seeds(given)]
        elif given is not None:
            arguments += ["--lesions", self._write("lesions", self._labels(like), like)]
        if self.request.readings:
            readings = self.scratch / "readings.tsv"
            readings.write_text(self.request.readings, encoding="utf-8")
            arguments += ["--readings", str(readings)]
        if self.request.output is not None:
            return [*arguments, "--report", str(self.table.with_suffix(".html"))]
        return [*arguments, "--numbered", str(self.scratch / "numbered.nii.gz")]

    def load(self, scene: Any) -> LesionTable:
        """The table and the numbered lesions as nodes, with what the reader had said of the same lesions before."""
        like = channels(self.request.maps)[0][1]
        voxels, _ = read_nifti(self.scratch / "numbered.nii.gz")
        made = make_table(scene, f"{self.request.title} lesions", self.table, voxels.astype(np.int16), like)
        described = json.loads(self.table.with_suffix(".json").read_text("utf-8"))
        made.node.SetAttribute(PROVENANCE, json.dumps(described, ensure_ascii=False))
        self.remarks += described.get("Warnings", [])
        if self.request.before is not None:
            made.take_over(self.request.before)
        return made

    def _companions(self, like: Any) -> list[tuple[str, Any]]:
        """What helps where it lies on the grid of the maps: the magnitude under them, and the newest fields."""
        scene, found = like.GetScene(), {}
        if self.request.maps.base is not None:
            found["magnitude"] = self.request.maps.base
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
            node = scene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode")
            if node.GetAttribute(RESULT) in COMPANIONS:
                found[COMPANIONS[node.GetAttribute(RESULT)]] = node
        return [(name, node) for name, node in found.items() if _same_grid(node, like)]

    def _seeds(self, points: Any) -> str:
        """The points as a table, RAS mm. Raises InputError if there are none."""
        places = [points.GetNthControlPointPositionWorld(i) for i in range(points.GetNumberOfControlPoints())]
        if not places:
            raise InputError(f"{points.GetName()} has no points: put one on each lesion first.")
        path = self.scratch / "seeds.tsv"
        lines = ["\t".join(f"{v:.3f}" for v in place) for place in places]
        path.write_text("\n".join(["x\ty\tz", *lines]) + "\n", encoding="utf-8")
        return str(path)

    def _labels(self, like: Any) -> np.ndarray:
        """The lesions on the grid of the maps, a number for each segment."""
        given = self.request.lesions
        if given.IsA("vtkMRMLLabelMapVolumeNode"):
            if not _same_grid(given, like):
                raise InputError(f"{given.GetName()} lies on another grid than the maps: make a segmentation of it.")
            return np.asarray(slicer.util.arrayFromVolume(given))
        segmentation = given.GetSegmentation()
        labels = np.zeros(like.GetImageData().GetDimensions()[::-1], dtype=np.int16)
        overlap = 0
        for index in range(segmentation.GetNumberOfSegments()):
            name = segmentation.GetNthSegmentID(index)
            own = slicer.util.arrayFromSegmentBinaryLabelmap(given, name, like)
            inside = np.zeros(labels.shape, bool) if own is None else np.asarray(own) > 0
            overlap += int((inside & (labels > 0)).sum())
            labels[inside & (labels == 0)] = index + 1
        if not labels.any():
            raise InputError(
                f"The segmentation {given.GetName()} has no voxel inside the maps: draw the lesions first, or choose "
                "none for the library's proposals."
            )
        if overlap:
            self.remarks.append(f"{overlap} voxels lie in more than one segment: each counts for the first.")
        return labels

    def _write(self, name: str, voxels: np.ndarray, place: Any) -> str:
        path = self.scratch / f"{name}.nii"
        write_nifti(path, voxels, ijk_to_ras(place))
        told = place.GetAttribute(PROVENANCE)
        if told and name in CHANNELS:  # Whether spin echoes were used, for one, changes what may be said of lesions.
            path.with_suffix(".json").write_text(told, encoding="utf-8")
        return str(path)


def channels(maps: Maps) -> list[tuple[str, Any]]:
    """The maps that are there, by the library's names."""
    found = [(name, getattr(maps, role)) for name, role in CHANNELS.items()]
    return [(name, volume) for name, volume in found if volume is not None and volume.GetImageData() is not None]


def outputs_of(table: Path) -> Mapping[str, Path]:
    """What an export writes, by what it is."""
    return {kind: table.with_suffix(suffix) for kind, suffix in (("table", ".tsv"), ("report", ".html"))}


def _same_grid(one: Any, other: Any) -> bool:
    if one.GetImageData() is None or one.GetImageData().GetDimensions() != other.GetImageData().GetDimensions():
        return False
    return bool(np.allclose(ijk_to_ras(one), ijk_to_ras(other), atol=1e-3))
