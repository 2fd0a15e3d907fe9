"""Results on disk: BIDS derivatives with their provenance."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..data import Artifact, ChiMap, GreData, LocalField, Volume
from .nifti import write_volume

if TYPE_CHECKING:
    import torch

    from ..pipeline import Pipeline, Result
    from .scan import Scan

RESEARCH_USE = "For research use only. Not a medical device."

DATASET = {
    "Name": "QSMRecon derivatives",
    "BIDSVersion": "1.9.0",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "QSMRecon", "Version": __version__}],
}


@dataclass(frozen=True)
class Output:
    """One volume to be written: where it came from and what it is."""

    artifact: Artifact
    volume: Volume
    tensor: torch.Tensor
    made_by: str


def outputs(result: Result) -> list[Output]:
    """The volumes a run has made, in the order in which it made them."""
    made = [(result.artifacts[kind], stage) for kind, stage in result.made_by.items()]
    return [Output(artifact, what, tensor, stage) for artifact, stage in made for what, tensor in artifact.volumes()]


def provenance(
    scan: Scan, pipeline: Pipeline, result: Result, device: str, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """How the results of a run were made: the same for all its outputs. `notes` are those of the run as a whole."""
    import torch

    notes = [*notes, *(item.text for item in scan.findings if item.level in ("repaired", "suspicious", "missing"))]
    notes += [note for record in result.records for note in record.notes]
    described: dict[str, Any] = {
        "GeneratedBy": [{"Name": "QSMRecon", "Version": __version__}],
        "Pipeline": pipeline.to_json(),
        "Inputs": [{"File": str(path), "SHA256": digest} for path, digest in scan.digests()],
        "Device": device,
        "Software": {"Python": platform.python_version(), "PyTorch": torch.__version__},
        "Time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "Seconds": {record.stage.name: round(record.seconds, 2) for record in result.records if not record.skipped},
        "Warnings": notes,
        "IntendedUse": RESEARCH_USE,
    }
    gre = result.artifacts.get(GreData)
    if isinstance(gre, GreData):
        described["EchoTime"] = list(gre.echo_times_s)
        described["MagneticFieldStrength"] = gre.field_strength_t
        described["B0DirectionInVoxelAxesRAS"] = list(gre.grid.b0_direction)
    return described


def sidecar(output: Output, common: dict[str, Any]) -> dict[str, Any]:
    """The JSON beside one volume."""
    described = {"Description": output.volume.title, "Units": output.volume.unit, "Stage": output.made_by} | common
    if isinstance(output.artifact, ChiMap):
        described["Reference"] = output.artifact.reference
    if isinstance(output.artifact, LocalField) and output.artifact.harmonic_ppm is not None:
        described["HarmonicResidual"] = {"StandardDeviation": output.artifact.harmonic_ppm, "Units": "ppm"}
    return described


def write_json(path: Path, described: dict[str, Any]) -> None:
    """Readable JSON, Greek letters as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_derivatives(folder: Path, scan: Scan, result: Result, common: dict[str, Any]) -> list[Path]:
    """Write the volumes of a run as BIDS derivatives below `folder`; returns their paths relative to it."""
    written = []
    for output in outputs(result):
        stem = scan.folder / f"{scan.name}_{output.volume.bids}"
        write_volume(folder / f"{stem}.nii.gz", output.tensor, output.artifact.grid)
        write_json(folder / f"{stem}.json", sidecar(output, common))
        written.append(Path(f"{stem}.nii.gz"))
    write_json(folder / "dataset_description.json", DATASET)
    return written
