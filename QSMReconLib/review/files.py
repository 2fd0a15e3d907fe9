"""A review from files to files, as `qsmrecon lesions` and the panel in Slicer run it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lazy import torch
from ..errors import InputError
from ..io.files import load_map
from ..io.nifti import describe_grid, write_volume
from .classification import Thresholds
from .comparison import read_table
from .lesions import Lesions, from_seeds, propose, split
from .maps import MORE, ReviewMaps, find_magnitude, find_maps, load_maps
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
    total_field: Path | None = None,
    field_noise: Path | None = None,
    segmentation: Path | None = None,
    seeds: Path | None = None,
    spin_echoes: bool | None = None,
    report: Path | None = None,
    readings: Path | None = None,
    numbered: Path | None = None,
    thresholds: Thresholds | None = None,
    measures: Measures | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Review:
    """Review the lesions of a label map and write the table `out` (TSV, with a JSON beside it) and the `report`.

    Maps are those of a subject in a folder of `derivatives`; `maps` (chi, chi_para, chi_dia, r2star by name), `mask`,
    the local `field`, the `total_field` and its noise in ppm replace or add to them. Without `lesions`, they are grown
    from `seeds` (a table with x, y, z in RAS mm, or Slicer's points), or bleeds and calcifications are proposed.
    `spin_echoes` says whether R2′ was measured, where no sidecar does. A `segmentation` with the library's labels tells
    normal white matter, veins and ventricles; without it they are told from the maps. `readings` is a TSV of a reader's
    classes and comments, which go into table and report; `numbered` is where the label map is written whose numbers are
    the table's. Raises InputError if maps and lesions are on different grids, if there is nothing to measure, or if an
    output is there already.
    """
    for path in (out, report, numbered):
        if path is not None and path.exists() and not overwrite:
            raise InputError(f"{path} is there already: choose another name, or add --overwrite.")
    if lesions is not None and seeds is not None:
        raise InputError("Give either a label map of lesions or seeds; not both.")
    files, title = dict(maps or {}), out.stem
    others: dict[str, Path | None] = {"mask": mask, "field": field, "total": total_field, "noise": field_noise}
    if derivatives is not None:
        title, found, beside = find_maps(derivatives)
        files = found | files
        others = {**beside, **{name: path for name, path in others.items() if path is not None}}
    more = {name: others.get(name) for name in MORE}
    loaded = load_maps(files, others.get("mask"), magnitude, others.get("field"), more)
    if magnitude is None:
        loaded = replace(loaded, magnitude=find_magnitude(files, loaded.grid))
    if spin_echoes is not None:
        loaded = replace(loaded, r2prime_measured=spin_echoes)
    which = _lesions(lesions, seeds, loaded)
    around = None
    if segmentation is not None:
        around = from_labels(_on_grid(segmentation, loaded))
    done = review(which, loaded, around, thresholds, measures, progress)
    if readings is not None:
        done = add_readings(done, readings)
    read = {
        "lesions": lesions,
        "seeds": seeds,
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


def _lesions(path: Path | None, seeds: Path | None, maps: ReviewMaps) -> Lesions:
    if path is not None:
        return split(_on_grid(path, maps), maps.grid)
    if seeds is not None:
        name = next((name for name in ("chi", "chi_para", "r2star", "chi_dia") if name in maps.channels), "")
        return from_seeds(read_seeds(seeds), maps.channels[name].values, maps.mask, maps.grid)
    if "chi" not in maps.channels:
        raise InputError("Lesions can only be proposed from χ: give a χ map, or a label map of lesions.")
    decay = maps.channels.get("r2star")
    found = propose(
        maps.channels["chi"].values * 1e-3,
        maps.mask,
        maps.grid,
        None if decay is None else decay.values,
        maps.magnitude,
    )
    if not found.segments:
        raise InputError("No candidates for bleeds or calcifications were found: give a label map of lesions.")
    return found


def read_seeds(path: Path) -> NDArray[np.float64]:
    """Points (N, 3), RAS mm: the columns x, y, z of a TSV or CSV, or the points of Slicer's markups (.mrk.json).

    Raises InputError where there are none.
    """
    try:
        if path.suffix == ".json":
            points = [
                np.array(point["position"], dtype=float) * ((-1, -1, 1) if drawn["coordinateSystem"] == "LPS" else 1)
                for drawn in json.loads(path.read_text("utf-8"))["markups"]
                for point in drawn["controlPoints"]
            ]
        else:
            table = read_table(path, ("x", "y", "z"))
            points = list(table[["x", "y", "z"]].to_numpy(float))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as points: {error}. Give a table with columns x, y, z.") from error
    seeds = np.array(points).reshape(-1, 3)
    if not len(seeds) or not np.isfinite(seeds).all():
        raise InputError(f"{path} holds no points, or some without a place: give x, y and z in RAS mm.")
    return seeds


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
