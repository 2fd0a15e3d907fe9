"""A review from files to files, as `qsmrecon lesions` and the panel in Slicer run it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from .._lazy import torch
from ..errors import InputError
from ..io.nifti import write_volume
from .classification import Thresholds
from .maps import MORE, find_magnitude, find_maps, load_maps
from .measureoptions import Measures
from .proposals import Proposals
from .readings import add_readings
from .report import write_report
from .sources import find_lesions, read_labels
from .surroundings import from_labels
from .table import Review, review, write_review


def review_files(
    out: Path,
    lesions: Path | Sequence[Path] | None = None,
    derivatives: Path | None = None,
    maps: Mapping[str, Path] | None = None,
    *,
    mask: Path | None = None,
    magnitude: Path | None = None,
    field: Path | None = None,
    total_field: Path | None = None,
    field_noise: Path | None = None,
    swi: Path | None = None,
    segmentation: Path | None = None,
    seeds: Path | None = None,
    spin_echoes: bool | None = None,
    report: Path | None = None,
    readings: Path | None = None,
    numbered: Path | None = None,
    thresholds: Thresholds | None = None,
    measures: Measures | None = None,
    proposals: Proposals | None = None,
    scan: str = "",
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Review:
    """Review lesions and write the table `out` (TSV, with a JSON beside it) and the `report`.

    Maps are those of a `scan` (or of the only one) in a folder of `derivatives`; `maps` (chi, chi_para, chi_dia, r2star
    by name), `mask`, the local `field`, the `total_field` and its noise in ppm, and the `swi` replace or add to them.
    `lesions` are a label map, a segmentation of Slicer's (.seg.nrrd), or several files with a segment each; without
    them, lesions are grown from `seeds` (a table with x, y, z in RAS mm, or Slicer's points), or bleeds and
    calcifications are proposed. `spin_echoes` says whether R2′ was measured, where no sidecar does. A `segmentation`
    with the library's labels tells normal white matter, veins and ventricles; without it they are told from the maps.
    `readings` is a TSV of a reader's classes and comments, which go into table and report; `numbered` is where the
    label map is written whose numbers are the table's. Raises InputError if maps and lesions are on different grids, if
    there is nothing to measure, or if an output is there already.
    """
    for path in (out, report, numbered):
        if path is not None and path.exists() and not overwrite:
            raise InputError(f"{path} is there already: choose another name, or add --overwrite.")
    given = [lesions] if isinstance(lesions, Path) else list(lesions or ())
    files, title = dict(maps or {}), out.stem
    others: dict[str, Path | None] = {
        "mask": mask,
        "field": field,
        "total": total_field,
        "noise": field_noise,
        "swi": swi,
    }
    if derivatives is not None:
        title, found, beside = find_maps(derivatives, scan)
        files = found | files
        others = {**beside, **{name: path for name, path in others.items() if path is not None}}
    more = {name: others.get(name) for name in MORE}
    loaded = load_maps(files, others.get("mask"), magnitude, others.get("field"), more)
    if magnitude is None:
        loaded = replace(loaded, magnitude=find_magnitude(files, loaded.grid))
    if spin_echoes is not None:
        loaded = replace(loaded, r2prime_measured=spin_echoes)
    which = find_lesions(given, seeds, loaded, proposals)
    around = None
    if segmentation is not None:
        around = from_labels(read_labels(segmentation, loaded.grid))
    done = review(which, loaded, around, thresholds, measures, progress)
    if readings is not None:
        done = add_readings(done, readings)
    read = {
        **({"lesions": given[0]} if len(given) == 1 else {f"lesions_{i}": path for i, path in enumerate(given, 1)}),
        "seeds": seeds,
        "readings": readings,
        "segmentation": segmentation,
        "magnitude": magnitude,
        **files,
        **others,
    }
    inputs = {name: {"File": str(path), "SHA256": _digest(path)} for name, path in read.items() if path is not None}
    how = {"Proposals": asdict(proposals or Proposals.with_options({}))} if which.proposed else {}
    write_review(done, out, Inputs=inputs, **how)
    if numbered is not None:
        write_volume(numbered, torch.from_numpy(which.numbers), loaded.grid)
    if report is not None:
        write_report(done, report, title, {"Inputs": inputs, "Table": str(out)})
    return done


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
