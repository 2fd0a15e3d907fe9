"""A review from files to files, as `qsmrecon lesions` and the panel in Slicer run it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._lazy import torch
from ..errors import InputError
from ..io.files import load_map
from ..io.nifti import describe_grid, write_volume
from .classification import Thresholds
from .lesions import Lesions, propose, split
from .maps import ReviewMaps, find_maps, load_maps
from .measures import Measures
from .readings import add_readings
from .report import write_report
from .surroundings import from_labels
from .table import Review, review, write_review


def review_files(
    out: Path,
    lesions: Path | None = None,
    derivatives: Path | None = None,
    maps: Mapping[str, Path] | None = None,
    *,
    mask: Path | None = None,
    magnitude: Path | None = None,
    field: Path | None = None,
    segmentation: Path | None = None,
    report: Path | None = None,
    readings: Path | None = None,
    numbered: Path | None = None,
    thresholds: Thresholds | None = None,
    measures: Measures | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Review:
    """Review the lesions of a label map and write the table `out` (TSV, with a JSON beside it) and the `report`.

    Maps are those of a subject in a folder of `derivatives`; `maps` (chi, chi_para, chi_dia, r2star by name), `mask`
    and the local `field` in ppm replace or add to them. Without `lesions`, bleeds and calcifications are proposed. A
    `segmentation` with the library's labels tells normal white matter, veins and ventricles; without it they are told
    from the maps. `readings` is a TSV of a reader's classes and comments, which go into table and report; `numbered`
    is where the label map is written whose numbers are the table's. Raises InputError if maps and lesions are on
    different grids, if there is nothing to measure, or if an output is there already.
    """
    for path in (out, report, numbered):
        if path is not None and path.exists() and not overwrite:
            raise InputError(f"{path} is there already: choose another name, or add --overwrite.")
    files, others, title = dict(maps or {}), {"mask": mask, "field": field}, out.stem
    if derivatives is not None:
        title, found, beside = find_maps(derivatives)
        files = found | files
        others = {name: path or beside.get(name) for name, path in others.items()}
    loaded = load_maps(files, others["mask"], magnitude, others["field"])
    which = _lesions(lesions, loaded)
    around = None
    if segmentation is not None:
        around = from_labels(_on_grid(segmentation, loaded))
    done = review(which, loaded, around, thresholds, measures, progress)
    if readings is not None:
        done = add_readings(done, readings)
    read = {
        "lesions": lesions,
        "readings": readings,
        "segmentation": segmentation,
        "magnitude": magnitude,
        **files,
        **others,
    }
    inputs = {name: {"File": str(path), "SHA256": _digest(path)} for name, path in read.items() if path is not None}
    write_review(done, out, Inputs=inputs)
    if numbered is not None:
        write_volume(numbered, torch.from_numpy(which.numbers), loaded.grid)
    if report is not None:
        write_report(done, report, title, {"Inputs": inputs, "Table": str(out)})
    return done


def _lesions(path: Path | None, maps: ReviewMaps) -> Lesions:
    if path is not None:
        return split(_on_grid(path, maps), maps.grid)
    if "chi" not in maps.channels:
        raise InputError("Lesions can only be proposed from χ: give a χ map, or a label map of lesions.")
    decay = maps.channels.get("r2star")
    found = propose(maps.channels["chi"].values * 1e-3, maps.mask, maps.grid, None if decay is None else decay.values)
    if not found.segments:
        raise InputError("No candidates for bleeds or calcifications were found: give a label map of lesions.")
    return found


def _on_grid(path: Path, maps: ReviewMaps) -> Any:
    values, grid = load_map(path)
    if not grid.same_place(maps.grid, 0.1 * min(grid.voxel_size_mm)):
        raise InputError(
            f"{path} lies on another grid ({describe_grid(grid)}) than the maps ({describe_grid(maps.grid)}): "
            "resample it to the maps."
        )
    return values.numpy()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
