"""One reconstruction: from volumes or files, through the child process, to nodes in the scene."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from QSMReconLib.pipeline import Pipeline

from .exchange import Loaded, export_mask, export_scan, load_results, read_file
from .job import Outcome
from .scan import BASE, RESULT, Echo, chosen, ijk_to_ras, volumes_of
from .work import Work

MASK_FILE = "mask.nii"


@dataclass(frozen=True)
class Request:
    """What to reconstruct and how. The scan is `rows` (volumes of the scene or files); where files are read as they
    are, `files` holds the keys of the job that name them."""

    title: str
    rows: Sequence[Echo]
    field_strength_t: float
    pipeline: Pipeline | None = None
    files: Mapping[str, Any] | None = None
    mask: Any = None
    device: str = "auto"
    phase_sign: str = "auto"
    output: Path | None = None
    overwrite: bool = False


@dataclass
class Reconstruction(Work):
    """A request at work; with `examine` the scan is only looked at."""

    request: Request
    examine: bool = False

    def prepare(self) -> Sequence[str]:
        """The job, with the scan and the mask where they are in the scene."""
        job_file = self.scratch / "job.json"
        job_file.write_text(json.dumps(self._job(), indent=2), encoding="utf-8")
        return ["doctor", str(job_file), "--json"] if self.examine else ["run", str(job_file), "--progress", "json"]

    @property
    def stages(self) -> Sequence[str]:
        """Those of the pipeline."""
        pipeline = self.request.pipeline
        return [step.stage.name for step in pipeline.steps] if pipeline is not None else []

    @property
    def leaves(self) -> Path | None:
        """Where the derivatives go."""
        return self.output

    @property
    def output(self) -> Path:
        """Where the derivatives go."""
        return self.request.output or self.scratch / "derivatives"

    def load(self, outcome: Outcome, scene: Any) -> list[Loaded]:
        """Bring the results of a finished run into the scene, and an image to show them on."""
        like = _first_volume(chosen(self.request.rows))
        loaded = []
        for event in outcome.events:
            if event.get("event") == "done":
                paths = [Path(path) for path in event.get("outputs", ())]
                name = self.request.pipeline.name if self.request.pipeline is not None else ""
                report = Path(event["report"]) if event.get("report") else None
                loaded.append(load_results(scene, paths, self.request.title, like, name, report))
        return loaded

    def base(self, scene: Any) -> Any:
        """The magnitude on which the maps are looked at: the scene's, or one taken now from a file or sequence, or
        made of real and imaginary part."""
        scan = chosen(self.request.rows)
        parts = ("magnitude",) if any(echo.part == "magnitude" for echo in scan) else ("real", "imag")
        echoes = [[echo for echo in scan if echo.part == part] for part in parts]
        if not all(echoes):
            return None
        # Early echoes show little of veins and nuclei, late ones little else.
        middle = [found[len(found) // 2] for found in echoes]
        if len(middle) == 1 and middle[0].in_scene and middle[0].count == 1:
            return middle[0].source
        (voxels, affine), *others = [_image(echo) for echo in middle]
        for other, _ in others:
            voxels = np.hypot(voxels, other, dtype=np.float32)
        node = slicer.util.addVolumeFromArray(
            voxels, affine, scene.GenerateUniqueName(f"{self.request.title} magnitude")
        )
        node.SetAttribute(RESULT, BASE)
        return node

    def _job(self) -> dict[str, Any]:
        request = self.request
        job: dict[str, Any] = {
            "output": str(self.output),
            "device": request.device,
            "overwrite": request.overwrite,
            "phase_sign": request.phase_sign,
            "field_strength_t": request.field_strength_t or None,
        }
        if request.pipeline is not None:
            job["pipeline"] = request.pipeline.to_json()
        if request.files is not None:
            job |= request.files
        else:
            subject = re.sub(r"[^A-Za-z0-9]", "", request.title.removeprefix("sub-")) or "scan"
            job["input"] = str(
                export_scan(chosen(request.rows), request.field_strength_t, self.scratch / "scan", subject)
            )
        if request.mask is not None:
            scan = chosen(request.rows)
            like = _first_volume(scan) or scan[0].source
            job["mask"] = str(export_mask(request.mask, like, self.scratch / MASK_FILE))
        return job


def _image(echo: Echo) -> tuple[np.ndarray, np.ndarray]:
    """The middle one of the volumes that an echo's file or sequence holds (K, J, I), and its affine."""
    if not echo.in_scene:
        return read_file(echo.source, echo.count // 2)
    volume = volumes_of(echo.source)[echo.count // 2]
    return slicer.util.arrayFromVolume(volume), np.array(ijk_to_ras(volume))


def _first_volume(rows: Sequence[Echo]) -> Any:
    for echo in rows:
        if echo.in_scene and volumes_of(echo.source):
            return volumes_of(echo.source)[0]
    return None
