"""A job: which scans, which pipeline, where to. What the command line, Slicer and a cohort run all hand over."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .data import LabelMap, Mask
from .errors import InputError
from .pipeline import Pipeline, load_pipeline
from .runtime import Report, Runtime, pick_device

if TYPE_CHECKING:
    from .io.scan import Given, Scan, ScanFiles

PARTS = ("magnitude", "phase", "real", "imag", "spin_echo")
PATHS = ("input", "output", "mask", "labels", *PARTS)


@dataclass(frozen=True)
class Job:
    """Everything `qsmrecon run` can be told; the field names are the keys of a job.json. `only` names scans of the
    folder as the reader does (sub-1_run-2), where a participant has several."""

    output: Path
    input: Path | None = None
    pipeline: str | Pipeline = "classical"
    options: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    mask: Path | None = None
    labels: Path | None = None
    device: str = "auto"
    overwrite: bool = False
    magnitude: tuple[Path, ...] = ()
    phase: tuple[Path, ...] = ()
    real: tuple[Path, ...] = ()
    imag: tuple[Path, ...] = ()
    spin_echo: tuple[Path, ...] = ()
    echo_times_s: tuple[float, ...] | None = None
    field_strength_t: float | None = None
    b0_direction: tuple[float, ...] | None = None
    phase_sign: Literal["auto", "keep", "flip"] = "auto"
    spin_echo_times_s: tuple[float, ...] | None = None

    @classmethod
    def from_json(cls, path: Path) -> Job:
        """Read a job.json; relative paths are relative to it. Raises InputError for what is not a job."""
        if not path.is_file():
            raise InputError(f"There is no file {path}: check its name.")
        try:
            described = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as JSON: {error}.") from error
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(described) - set(known)) if isinstance(described, dict) else ["(not an object)"]
        if unknown or "output" not in described:
            wrong = f"does not know {', '.join(unknown)}" if unknown else 'needs "output"'
            raise InputError(f"{path}: a job {wrong}; its keys are {', '.join(known)}.")
        for name in PATHS:
            value = described.get(name)
            if isinstance(value, list):
                described[name] = tuple(path.parent / item for item in value)
            elif value is not None:
                described[name] = path.parent / value
        if isinstance(described.get("pipeline"), dict):
            described["pipeline"] = Pipeline.from_json(described["pipeline"])
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in described.items()}
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads, with paths that hold from any folder; what was not said is left out."""
        described: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value == item.default:
                continue
            if item.name in PATHS:
                value = [str(path.absolute()) for path in value] if isinstance(value, tuple) else str(value.absolute())
            described[item.name] = value.to_json() if isinstance(value, Pipeline) else value
        if not isinstance(self.pipeline, Pipeline) and Path(self.pipeline).is_file():
            described["pipeline"] = load_pipeline(self.pipeline).to_json()
        return described

    def resolved_pipeline(self) -> Pipeline:
        """The pipeline with the job's options set. Raises InputError or OptionError."""
        pipeline = self.pipeline if isinstance(self.pipeline, Pipeline) else load_pipeline(self.pipeline)
        for setting in self.options:
            where, equals, value = setting.partition("=")
            stage, dot, name = where.partition(".")
            if not (equals and dot):
                raise InputError(f"--set {setting!r} is not of the form STAGE.OPTION=VALUE.")
            pipeline = pipeline.with_option(stage, name, value)
        return pipeline

    def given(self) -> Given:
        """What the job says about the scan, which overrules its files."""
        from .io.scan import Given

        return Given(
            self.echo_times_s, self.field_strength_t, self.b0_direction, self.phase_sign, self.spin_echo_times_s
        )

    def scans(self) -> list[ScanFiles]:
        """The files of every scan of the job. Raises InputError if there is none."""
        from .io.files import files_of
        from .io.find import find_scans

        if self.magnitude or self.phase or self.real or self.imag:
            if self.input is not None:
                raise InputError("Give either a folder, or files by --magnitude and --phase; not both.")
            return [files_of(self.magnitude, self.phase, self.real, self.imag, self.spin_echo)]
        if self.input is None:
            raise InputError("Say what to reconstruct: a BIDS or DICOM folder, or files by --magnitude and --phase.")
        found = find_scans(self.input, self.participants)
        if self.only:
            names = ", ".join(files.name for files in found)
            found = [files for files in found if files.name in self.only]
            if not found:
                raise InputError(f"{self.input} has no scan {', '.join(self.only)}; it has {names}.")
        for name in ("mask", "labels", "spin_echo"):
            if getattr(self, name) and len(found) > 1:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{flag} fits one scan, but {self.input} holds {len(found)}: choose one by --participant-label."
                )
        return [replace(files, spin_echo=self.spin_echo) for files in found] if self.spin_echo else found


@dataclass(frozen=True)
class Done:
    """What one scan of a job has become."""

    scan: Scan
    outputs: tuple[Path, ...]
    report: Path
    notes: tuple[str, ...]
    seconds: float

    def as_event(self, scan: str) -> dict[str, Any]:
        """How it is told to a parent process."""
        return {
            "event": "done",
            "scan": scan,
            "outputs": [str(path) for path in self.outputs],
            "report": str(self.report),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 1),
        }


def run_job(job: Job, files: ScanFiles, report: Report | None = None) -> Done:
    """Load one scan of a job, run the pipeline, write everything. Raises InputError before any work where it can."""
    from .io.bids import load_scan
    from .io.derivatives import outputs, provenance, write_derivatives
    from .io.files import load_labels, load_mask
    from .io.staging import all_or_nothing, refuse_overwriting
    from .report.scan import render_report

    start = time.perf_counter()
    pipeline = job.resolved_pipeline()
    notes: list[str] = []
    device = pick_device(job.device, notes)
    scan = load_scan(files, job.given())
    refuse_overwriting(job.output / scan.folder, f"{scan.name}_*", job.overwrite)
    given = dict(scan.artifacts)
    if job.mask is not None:
        given[Mask] = load_mask(job.mask, scan.grid)
    if job.labels is not None:
        given[LabelMap] = load_labels(job.labels, scan.grid)
    try:
        pipeline.check(given)
    except InputError as error:
        lacking = [finding.text for finding in scan.findings if finding.level == "missing"]
        lacking += ["The pipeline classical does without."] if lacking else []
        raise InputError(" ".join([str(error), *lacking])) from error
    result = pipeline.run({kind: item.to(device) for kind, item in given.items()}, Runtime(device, report))
    common = provenance(scan, pipeline, result, device, notes)
    page = scan.folder / f"{scan.name}_report.html"
    with all_or_nothing(job.output) as staging:
        written = write_derivatives(staging, scan, result, common)
        html = render_report(scan.name, result, outputs(result), written, common)
        (staging / page).write_text(html, encoding="utf-8")
    return Done(
        scan=scan,
        outputs=tuple(job.output / path for path in written),
        report=job.output / page,
        notes=tuple(common["Warnings"]),
        seconds=time.perf_counter() - start,
    )
