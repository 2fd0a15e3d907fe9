"""One reconstruction: from volumes or files, through the child process, to nodes in the scene."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from QSMReconLib.errors import InputError
from QSMReconLib.pipeline import Pipeline

from .exchange import Loaded, export_mask, export_scan, load_results, read_file
from .job import Child, Outcome, Progress, Run, StartProcess, library_command
from .scan import BASE, RESULT, Echo, chosen, ijk_to_ras, volumes_of

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
class Reconstruction:
    """A request at work. Everything temporary is in `scratch`, which `close` removes."""

    request: Request
    scratch: Path
    start_process: StartProcess = Child
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_log: Callable[[str], None] = lambda text: None
    run: Run | None = field(default=None, init=False)

    def start(self, examine: bool = False) -> None:
        """Write what the child needs and start it. Raises InputError if that cannot be written."""
        job_file = self.scratch / "job.json"
        try:
            self.scratch.mkdir(parents=True, exist_ok=True)
            job_file.write_text(json.dumps(self._job(), indent=2), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.scratch} cannot be written to: {error.strerror or error}.") from error
        pipeline = self.request.pipeline
        command = ["doctor", str(job_file), "--json"] if examine else ["run", str(job_file), "--progress", "json"]
        self.run = Run(
            library_command(*command),
            self.scratch,
            stages=[step.stage.name for step in pipeline.steps] if pipeline is not None else [],
            leaves=self.output,
            on_progress=self.on_progress,
            on_log=self.on_log,
            start_process=self.start_process,
        )
        self.run.start()

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
        """The magnitude on which the maps are looked at: the scene's, or one taken now from a file or sequence."""
        echoes = [echo for echo in chosen(self.request.rows) if echo.part == "magnitude"]
        if not echoes:
            return None
        # Early echoes show little of veins and nuclei, late ones little else.
        echo = echoes[len(echoes) // 2]
        if not echo.in_scene:
            voxels, affine = read_file(echo.source, echo.count // 2)
        elif echo.count > 1:
            volume = volumes_of(echo.source)[echo.count // 2]
            voxels, affine = slicer.util.arrayFromVolume(volume), np.array(ijk_to_ras(volume))
        else:
            return echo.source
        node = slicer.util.addVolumeFromArray(
            voxels, affine, scene.GenerateUniqueName(f"{self.request.title} magnitude")
        )
        node.SetAttribute(RESULT, BASE)
        return node

    def close(self, keep_results: bool = False) -> None:
        """Remove what is temporary; `keep_results` leaves the report and the files beside it for this session."""
        if self.run is not None:
            self.run.end_now()
        if not keep_results or self.request.output is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)
        else:
            for path in self.scratch.iterdir():
                if path != self.output:
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

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


def new_scratch() -> Path:
    """A folder for one run that nothing else uses, in the application's temporary folder."""
    return Path(slicer.app.temporaryPath) / "QSMRecon" / uuid.uuid4().hex[:12]


def _first_volume(rows: Sequence[Echo]) -> Any:
    for echo in rows:
        if echo.in_scene and volumes_of(echo.source):
            return volumes_of(echo.source)[0]
    return None
