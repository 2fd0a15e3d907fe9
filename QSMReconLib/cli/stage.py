"""`qsmrecon stage`: one stage alone, on files, written under the names of QSM-CI's contract."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import (
    Artifact,
    ChiMap,
    FieldNoise,
    Grid,
    LabelMap,
    LocalField,
    Mask,
    PhaseQuality,
    R2Map,
    R2PrimeMap,
    R2StarMap,
    TotalField,
)
from ..errors import InputError
from ..pipeline import Artifacts, Pipeline, Step
from ..runtime import Runtime, pick_device
from ..stage import find_stage
from .console import reporting, say, say_json, settings
from .run import GRE_FLAGS, add_gre_flags, add_runtime_flags, scan_of

if TYPE_CHECKING:
    import torch

MAPS: dict[str, tuple[type[Artifact], str]] = {
    "total-field": (TotalField, "the total field in ppm"),
    "local-field": (LocalField, "the local field in ppm"),
    "field-noise": (FieldNoise, "the standard deviation of the field in ppm"),
    "phase-quality": (PhaseQuality, "the phase quality, 0 to 1"),
    "chi": (ChiMap, "χ in ppm"),
    "r2star": (R2StarMap, "R2* in Hz"),
    "r2": (R2Map, "R2 in Hz"),
    "r2prime": (R2PrimeMap, "R2′ in Hz"),
}

OWN_GRID = ("r2",)
"""Maps that may lie elsewhere: the stage that needs them resamples them, and says so."""


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "stage",
        help="run one stage alone on NIfTI files",
        description="Run one stage alone; `qsmrecon stages` lists them. Every map must lie on the same grid.",
    )
    added.add_argument("name", metavar="NAME", help="the stage")
    added.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the maps go")
    added.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE", help="change an option, as --set threshold=0.15"
    )
    maps = added.add_argument_group("maps the stage needs")
    for name, (_, text) in MAPS.items():
        maps.add_argument(f"--{name}", type=Path, metavar="F", help=text)
    maps.add_argument(
        "--mask", type=Path, metavar="F", help="the brain mask; default for a local field: where it is not 0"
    )
    maps.add_argument("--labels", type=Path, metavar="F", help="numbered regions, for reference")
    maps.add_argument("--gre", type=Path, metavar="BIDS_SUBJECT", help="a BIDS subject folder with the scan")
    add_gre_flags(added)
    add_runtime_flags(added)
    added.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    added.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    """Load what is given, run the stage, write what it made."""
    from ..io.derivatives import outputs, sidecar, write_json
    from ..io.nifti import write_volume
    from ..io.staging import all_or_nothing, refuse_overwriting

    stage = find_stage(args.name).with_options(settings(args.set))
    pipeline = Pipeline(stage.name, (Step(stage),))
    given = load_given(args)
    # What the stage itself makes is not handed in, so that a mask given for a mask stage does not skip it.
    given = {kind: item for kind, item in given.items() if kind in {*stage.needs().values(), *stage.uses().values()}}
    pipeline.check(given)
    for kind in stage.makes():
        for what in kind.declared_volumes():
            refuse_overwriting(args.output, f"{what.contract}.nii.gz", args.overwrite)
    device = pick_device(args.device)
    with reporting(args.progress, [stage.name]) as report:
        result = pipeline.run({kind: item.to(device) for kind, item in given.items()}, Runtime(device, report))
    notes = [note for record in result.records for note in record.notes]
    with all_or_nothing(args.output) as staging:
        for output in outputs(result):
            write_volume(staging / f"{output.volume.contract}.nii.gz", output.tensor, output.artifact.grid)
            described = {"Pipeline": pipeline.to_json(), "Device": device, "Warnings": notes}
            write_json(staging / f"{output.volume.contract}.json", sidecar(output, described))
    written = [str(args.output / f"{output.volume.contract}.nii.gz") for output in outputs(result)]
    if args.progress == "json":
        say_json(event="done", outputs=written)
    else:
        for line in [*(f"  · {note}" for note in notes), *written]:
            say(line)
    return 0


def load_given(args: argparse.Namespace) -> Artifacts:
    """Every artifact that the flags name, all on one grid. Raises InputError, naming the file that is elsewhere."""
    from ..io.bids import load_scan
    from ..io.files import load_labels, load_map, load_mask

    given: Artifacts = {}
    if args.gre is not None or any(getattr(args, name) for name in GRE_FLAGS):
        job = scan_of(args, args.gre)
        scans = job.scans()
        if len(scans) != 1:
            raise InputError(f"{args.gre} holds {len(scans)} scans; give the folder of one subject.")
        given |= load_scan(scans[0], job.given()).artifacts
    grid = next((item.grid for item in given.values()), None)
    maps: dict[str, tuple[torch.Tensor, Grid]] = {}
    for name in MAPS:
        path = getattr(args, name.replace("-", "_"))
        if path is not None:
            values, own = load_map(path, args.b0_direction, MAPS[name][0].declared_volumes()[0].unit)
            maps[name] = values, own
            grid = grid or own
            if name not in OWN_GRID and not own.same_place(grid):
                raise InputError(f"{path} lies on another grid than the rest: resample it first.")
    if args.mask is not None:
        if grid is None:
            _, grid = load_map(args.mask, b0_direction=args.b0_direction)
        given[Mask] = load_mask(args.mask, grid)
    if args.labels is not None and grid is not None:
        given[LabelMap] = load_labels(args.labels, grid)
    for name, (values, own) in maps.items():
        place = own if name in OWN_GRID or grid is None else grid
        given[MAPS[name][0]] = _artifact(name, place, values, given.get(Mask), args.field_strength)
    return given


def _artifact(
    name: str, grid: Grid, values: torch.Tensor, mask: Artifact | None, field_strength_t: float | None
) -> Artifact:
    kind = MAPS[name][0]
    inside = mask.voxels if isinstance(mask, Mask) else values != 0
    if kind in (LocalField, ChiMap):
        return kind(grid, values * inside, inside)
    if kind in (R2StarMap, R2Map, R2PrimeMap):
        if field_strength_t is None:
            raise InputError(f"--{name} needs --field-strength: relaxation rates mean little without it.")
        return kind(grid, values, field_strength_t)
    return kind(grid, values)  # type: ignore[call-arg]
