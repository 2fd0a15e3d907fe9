"""A simulated head as a BIDS dataset: the scan as a vendor would store it, and the truth among its derivatives."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from .._lazy import torch
from ..data import Artifact, GreData, Grid, Mask, R2StarMap, SpinEchoData
from ..errors import InputError
from ..io.derivatives import write_json
from ..io.nifti import write_volume
from ..io.staging import all_or_nothing, refuse_overwriting
from .head import Head, head
from .scanner import FLIP_ANGLE_DEG, REPETITION_TIME_S, fields, gradient_echoes, spin_echoes
from .truth import truth

STYLES = ("siemens", "ge", "radians")
"""How phase is stored: integers from -4096 to 4095; real and imaginary with every second slice's sign flipped; as it
is."""

ECHO_TIMES_S = (0.005, 0.012, 0.019, 0.026)
SPIN_ECHO_TIMES_S = (0.012, 0.036, 0.060, 0.084)

_Arrays = dict[str, "torch.Tensor"]


def simulate(
    out: Path,
    subject: str = "phantom",
    *,
    seed: int = 0,
    shape: tuple[int, int, int] = (160, 192, 160),
    voxel_size_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    tilt_deg: float = 0.0,
    echo_times_s: Sequence[float] = ECHO_TIMES_S,
    spin_echo_times_s: Sequence[float] = SPIN_ECHO_TIMES_S,
    field_strength_t: float = 3.0,
    snr: float = 60.0,
    style: str = "siemens",
    ms_lesions: int = 12,
    bleeds: int = 3,
    calcifications: int = 2,
    resolution_mm: float = 1.0,
    overwrite: bool = False,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write the scan of the head of `seed` as `sub-<subject>` into the BIDS dataset `out`; returns that folder.

    The truth goes below `out/derivatives/truth`. Slices are turned by `tilt_deg` about the axis from left to right;
    without `spin_echo_times_s` there is no scan for R2. Raises InputError for a style, a name or numbers that make no
    scan, and where the subject is there already.
    """
    _check(subject, shape, voxel_size_mm, echo_times_s, style)
    progress = progress or (lambda fraction: None)
    out = Path(out)
    name = f"sub-{subject}"
    refuse_overwriting(out, f"**/{name}_*", overwrite)
    grid = tilted_grid(shape, voxel_size_mm, tilt_deg)
    progress(0.0)
    drawn = head(
        grid,
        seed,
        ms_lesions=ms_lesions,
        bleeds=bleeds,
        calcifications=calcifications,
        resolution_mm=resolution_mm,
        device=device,
    )
    progress(0.4)
    field = fields(drawn)
    progress(0.6)
    gre = gradient_echoes(drawn, field, echo_times_s, field_strength_t, snr=snr, seed=seed)
    progress(0.8)
    with all_or_nothing(out) as folder:
        description = {"Name": "Simulated heads", "BIDSVersion": "1.9.0", "DatasetType": "raw"}
        write_json(folder / "dataset_description.json", description)
        _write_gre(folder / name / "anat", name, gre, style)
        if len(spin_echo_times_s) > 0:
            spin = spin_echoes(drawn, spin_echo_times_s, seed=seed)
            _write_spin_echoes(folder / name / "anat", name, spin, field_strength_t)
        made_by = {"GeneratedBy": [{"Name": "QSMRecon", "Version": __version__, "Description": "qsmrecon simulate"}]}
        folder = folder / "derivatives" / "truth"
        write_json(folder / "dataset_description.json", description | {"DatasetType": "derivative"} | made_by)
        _write_truth(folder / name / "anat", name, drawn, truth(drawn, field, field_strength_t))
    progress(1.0)
    return out


def tilted_grid(shape: tuple[int, int, int], voxel_size_mm: tuple[float, float, float], tilt_deg: float = 0.0) -> Grid:
    """A grid around the scanner's centre with its slices turned about the axis from left to right."""
    cosine, sine = np.cos(np.deg2rad(tilt_deg)), np.sin(np.deg2rad(tilt_deg))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    return Grid.from_affine(shape, turn @ np.asarray(Grid.centred(shape, voxel_size_mm).affine))


def _check(
    subject: str, shape: Sequence[int], voxel_size_mm: Sequence[float], echo_times_s: Sequence[float], style: str
) -> None:
    if style not in STYLES:
        raise InputError(f"The style {style!r} is unknown; choose one of {', '.join(STYLES)}.")
    if not subject.isalnum():
        raise InputError(f"The subject {subject!r} cannot be a BIDS label: use letters and digits only.")
    if len(shape) != 3 or min(shape) < 8 or len(voxel_size_mm) != 3 or min(voxel_size_mm) <= 0:
        raise InputError("A scan needs three sizes of at least 8 voxels and three voxel lengths in mm.")
    times = list(echo_times_s)
    if not times or min(times) <= 0 or times != sorted(set(times)) or max(times) > 0.5:
        raise InputError("Echo times must rise, in seconds, and stay below half a second.")


def _write_gre(folder: Path, name: str, gre: GreData, style: str) -> None:
    vendor = {"siemens": "Siemens", "ge": "GE", "radians": "Simulated"}[style]
    scale = 4000.0 / float(gre.magnitude.max())
    for echo, time in enumerate(gre.echo_times_s):
        size, angle = gre.magnitude[echo] * scale, gre.phase_rad[echo]
        for part, volume in _stored(size, angle, style).items():
            stem = folder / f"{name}_echo-{echo + 1}_part-{part}_MEGRE"
            write_volume(stem.with_name(stem.name + ".nii.gz"), volume, gre.grid)
            sidecar: dict[str, Any] = {
                "EchoTime": time,
                "MagneticFieldStrength": gre.field_strength_t,
                "EchoNumber": echo + 1,
                "RepetitionTime": REPETITION_TIME_S,
                "FlipAngle": FLIP_ANGLE_DEG,
                "Manufacturer": vendor,
                "ImageType": ["ORIGINAL", "PRIMARY", {"mag": "M", "phase": "P"}.get(part, part.upper())],
            }
            write_json(stem.with_name(stem.name + ".json"), sidecar)


def _stored(magnitude: torch.Tensor, phase_rad: torch.Tensor, style: str) -> _Arrays:
    """The parts of an echo as a vendor stores them."""
    if style == "radians":
        return {"mag": magnitude, "phase": phase_rad}
    if style == "siemens":
        steps = (phase_rad / torch.pi * 4096).round().clamp(-4096, 4095)
        return {"mag": magnitude.round().to(torch.int16), "phase": steps.to(torch.int16)}
    sign = 1.0 - 2.0 * (torch.arange(magnitude.shape[2], device=magnitude.device) % 2)
    parts = {"real": magnitude * phase_rad.cos(), "imag": magnitude * phase_rad.sin()}
    return {part: (sign * volume).round().to(torch.int16) for part, volume in parts.items()}


def _write_spin_echoes(folder: Path, name: str, spin: SpinEchoData, field_strength_t: float) -> None:
    scale = 4000.0 / float(spin.magnitude.max())
    for echo, time in enumerate(spin.echo_times_s):
        stem = folder / f"{name}_echo-{echo + 1}_MESE"
        stored = (spin.magnitude[echo] * scale).round().to(torch.int16)
        write_volume(stem.with_name(stem.name + ".nii.gz"), stored, spin.grid)
        sidecar = {"EchoTime": time, "MagneticFieldStrength": field_strength_t, "EchoNumber": echo + 1}
        write_json(stem.with_name(stem.name + ".json"), sidecar)


def _write_truth(folder: Path, name: str, drawn: Head, true: Mapping[type[Artifact], Artifact]) -> None:
    volumes = {
        what.bids: volume
        for kind, artifact in true.items()
        if kind is not R2StarMap
        for what, volume in artifact.volumes()
        if what.bids != "desc-local_mask"
    }
    mask = true[Mask]
    assert isinstance(mask, Mask)
    volumes["dseg"] = drawn.labels_on_grid(drawn.tissue.labels) * mask.voxels
    volumes["desc-lesion_dseg"] = drawn.labels_on_grid(drawn.lesion_numbers) * mask.voxels
    for bids, volume in volumes.items():
        write_volume(folder / f"{name}_{bids}.nii.gz", volume, drawn.grid)
    with (folder / f"{name}_desc-lesion_dseg.tsv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["chi", "dia", "id", "kind", "para", "radii_mm", "x", "y", "z"])
        seen = set(volumes["desc-lesion_dseg"].unique().tolist())
        for lesion in (found for found in drawn.lesions if found.number in seen):
            chi = "" if lesion.chi_ppm is None else f"{lesion.chi_ppm:.4f}"
            radii = "x".join(f"{r:.1f}" for r in lesion.radii_mm)
            centre = [f"{v:.2f}" for v in lesion.centre_mm]
            table.writerow([chi, lesion.dia, lesion.number, lesion.kind, lesion.para, radii, *centre])
