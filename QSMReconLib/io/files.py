"""Plain NIfTI files: a scan given part by part, a mask, a map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from .._lazy import torch
from ..data import Grid, LabelMap, Mask
from ..errors import InputError
from . import assemble
from .nifti import b0_along_file_axes, describe_grid, read_volume
from .scan import Given, Scan, ScanFiles
from .sidecars import b0_direction as b0_of
from .sidecars import read_sidecar, split_name, stem


def load_files(
    magnitude: Sequence[Path] = (),
    phase: Sequence[Path] = (),
    real: Sequence[Path] = (),
    imag: Sequence[Path] = (),
    spin_echo: Sequence[Path] = (),
    echo_times_s: Sequence[float] | None = None,
    field_strength_t: float | None = None,
    b0_direction: Sequence[float] | None = None,
    phase_sign: Literal["auto", "keep", "flip"] = "auto",
) -> Scan:
    """A scan from one file per echo or one 4D file of each part; what is not given comes from the JSON beside them.

    Raises InputError with the first thing that is wrong.
    """
    given = Given(
        tuple(echo_times_s) if echo_times_s else None,
        field_strength_t,
        tuple(b0_direction) if b0_direction else None,
        phase_sign,
    )
    return assemble.load(files_of(magnitude, phase, real, imag, spin_echo), given)


def files_of(
    magnitude: Sequence[Path] = (),
    phase: Sequence[Path] = (),
    real: Sequence[Path] = (),
    imag: Sequence[Path] = (),
    spin_echo: Sequence[Path] = (),
) -> ScanFiles:
    """The scan that these files make, under the name that their first one has."""
    first = next((path for part in (magnitude, real, phase, imag) for path in part), None)
    entities = split_name(stem(first))[0] if first is not None else {}
    entities = {"sub": entities.pop("sub", "scan")} | entities
    name = "_".join(f"{key}-{value}" for key, value in entities.items() if key not in ("echo", "part"))
    return ScanFiles(
        name=name,
        subject=entities["sub"],
        session=entities.get("ses", ""),
        magnitude=tuple(magnitude),
        phase=tuple(phase),
        real=tuple(real),
        imag=tuple(imag),
        spin_echo=tuple(spin_echo),
    )


def load_map(path: Path, b0_direction: Sequence[float] | None = None, unit: str = "") -> tuple[torch.Tensor, Grid]:
    """A map (X, Y, Z) and its grid. `b0_direction` counts along the file's axes; the sidecar's stands in for it.

    Raises InputError for a damaged file, four dimensions, NaN, or a sidecar whose Units are not `unit`.
    """
    values, grid = read_volume(path)
    if values.ndim != 3:
        raise InputError(f"{path} holds {len(values)} volumes: a map is one.")
    if not values.isfinite().all():
        raise InputError(f"{path} holds voxels that are not numbers (NaN or infinite): set them to zero.")
    sidecar = read_sidecar(path)
    stated = str(sidecar.values.get("Units", "")).strip()
    if unit and stated and stated.lower() != unit.lower():
        raise InputError(f"{path} is in {stated} by its sidecar, but must be in {unit}: convert it.")
    along = b0_direction if b0_direction else b0_of([sidecar])
    return values, b0_along_file_axes(grid, along) if along else grid


def load_mask(path: Path, grid: Grid) -> Mask:
    """A mask on `grid`: what is above one half. Raises InputError if it is empty or lies elsewhere."""
    voxels = _on_grid("mask", path, grid) > 0.5
    if not voxels.any():
        raise InputError(f"The mask {path} is empty: no voxel is above one half. Give one that covers the brain.")
    return Mask(grid, voxels)


def load_labels(path: Path, grid: Grid) -> LabelMap:
    """Numbered regions on `grid`. Raises InputError if they lie elsewhere, or are no whole numbers."""
    values = _on_grid("label map", path, grid)
    if not bool((values == values.round()).all()):
        raise InputError(f"The label map {path} holds numbers that are not whole: it must number regions.")
    return LabelMap(grid, values.int())


def _on_grid(what: str, path: Path, grid: Grid) -> torch.Tensor:
    values, own = load_map(path)
    if not own.same_place(grid, 0.1 * min(grid.voxel_size_mm)):
        raise InputError(
            f"The {what} {path} lies on another grid ({describe_grid(own)}) than the scan ({describe_grid(grid)}): "
            "resample it to the scan."
        )
    return values
