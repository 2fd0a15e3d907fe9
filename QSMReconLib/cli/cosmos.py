"""`qsmrecon cosmos`: one χ map from several orientations of a head."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import ChiMap, Grid, LocalField
from ..errors import InputError
from ..runtime import Runtime, pick_device
from .console import reporting, say, say_json

if TYPE_CHECKING:
    import torch

ROUNDS = 5
"""Registrations of a scan at most, each from where the last one ended."""
SETTLED_DEG = 0.3
"""A round that turns the head by less is the last one."""


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "cosmos",
        help="one χ map from several orientations of a head",
        description="χ by COSMOS from the local fields of several scans between which the head was turned. With "
        "magnitudes, each scan is brought onto the first by rigid registration; without, all maps lie on one grid.",
    )
    added.add_argument("--local-field", nargs="+", type=Path, required=True, metavar="F", help="local fields in ppm")
    added.add_argument("--mask", nargs="+", type=Path, default=[], metavar="F", help="default: where a field is not 0")
    added.add_argument("--magnitude", nargs="+", type=Path, default=[], metavar="F", help="one magnitude per scan")
    added.add_argument(
        "--b0-direction",
        nargs=3,
        type=float,
        action="append",
        metavar=("X", "Y", "Z"),
        help="along the axes of each file in turn, given once per scan; default: from affine or sidecar",
    )
    added.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the map goes")
    added.add_argument("--closed-form", action="store_true", help="as published, fields taken as 0 outside their masks")
    added.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]|mps", help="default: auto")
    added.add_argument("--progress", choices=("bar", "json", "none"), default="bar", help="default: bar")
    added.add_argument("--overwrite", action="store_true", help="replace a map that is there already")
    added.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    """Load, register, invert, write."""
    import torch

    from ..inversion.cosmos import b0_seen_from, blind_share, check_orientations, cosmos, cosmos_inside
    from ..io.derivatives import RESEARCH_USE, write_json
    from ..io.nifti import write_volume
    from ..io.staging import all_or_nothing, refuse_overwriting
    from ..physics.box import Box
    from ..physics.dipole import Dipole

    refuse_overwriting(args.output, "chimap.nii.gz", args.overwrite)
    device = pick_device(args.device)
    scans = load(args)
    with reporting(args.progress, ["cosmos"]) as report, torch.inference_mode():
        runtime = Runtime(device, report).at("cosmos")
        runtime.progress(0.0, "registration")
        scans = [scans[0], *(onto(scans[0], scan) for scan in scans[1:])]
        grid = scans[0].field.grid
        directions = [b0_seen_from(grid, scan.placed) for scan in scans]
        check_orientations(directions)
        sources = scans[0].field.mask > 0
        box = Box.around(sources)
        dipoles = [Dipole.of(replace(box.grid(grid), b0_direction=b0), device) for b0 in directions]
        if (blind := blind_share(dipoles)) > 0:
            runtime.note(f"{100 * blind:.2g} % of k is hardly seen by these orientations: noise is amplified there.")
        masks = [(box.cut(scan.field.mask * sources) > 0).float().to(device) for scan in scans]
        fields = [box.cut(scan.field.field_ppm).to(device) * mask for scan, mask in zip(scans, masks, strict=True)]
        inside = box.cut(sources).to(device)
        if args.closed_form:
            chi = cosmos(fields, dipoles) * inside
        else:
            chi = cosmos_inside(fields, masks, dipoles, inside, progress=runtime.progress)
    made = ChiMap(grid, box.paste(chi.cpu()), sources)
    described = {
        "Description": "χ",
        "Units": "ppm",
        "Method": "COSMOS (Liu et al. 2009, doi:10.1002/mrm.21828)",
        "Reference": made.reference,
        "Inputs": [str(path) for path in args.local_field],
        "B0DirectionsInVoxelAxesRAS": [list(b0) for b0 in directions],
        "Device": device,
        "Warnings": runtime.notes,
        "IntendedUse": RESEARCH_USE,
    }
    with all_or_nothing(args.output) as staging:
        write_volume(staging / "chimap.nii.gz", made.chi_ppm, grid)
        write_json(staging / "chimap.json", described)
    written = str(args.output / "chimap.nii.gz")
    if args.progress == "json":
        say_json(event="done", outputs=[written])
    else:
        for line in [*(f"  · {note}" for note in runtime.notes), written]:
            say(line)
    return 0


class Oriented:
    """One scan: its field, its magnitude if there is one, and the grid that says where it lies in the first one's
    head."""

    def __init__(self, field: LocalField, placed: Grid, magnitude: torch.Tensor | None, path: Path) -> None:
        self.field, self.placed, self.magnitude, self.path = field, placed, magnitude, path


def load(args: argparse.Namespace) -> list[Oriented]:
    """The scans as given. Raises InputError for lists of unequal length and maps that cannot be used."""
    from ..io.files import load_map, load_mask

    count = len(args.local_field)
    for name in ("mask", "magnitude", "b0_direction"):
        given = getattr(args, name) or []
        if given and len(given) != count:
            raise InputError(f"There are {count} local fields but {len(given)} of --{name.replace('_', '-')}.")
    scans = []
    for number, path in enumerate(args.local_field):
        values, grid = load_map(path, args.b0_direction[number] if args.b0_direction else None, "ppm")
        mask = load_mask(args.mask[number], grid).voxels if args.mask else values != 0
        if not bool(mask.any()):
            raise InputError(f"{path} is zero everywhere: it is no local field.")
        magnitude = None
        if args.magnitude:
            magnitude, own = load_map(args.magnitude[number])
            if not own.same_place(grid):
                raise InputError(f"{args.magnitude[number]} lies on another grid than {path}: resample it first.")
        scans.append(Oriented(LocalField(grid, values * mask, mask), grid, magnitude, path))
    return scans


def onto(first: Oriented, scan: Oriented) -> Oriented:
    """The scan on the first one's grid, moved there by the registration of its magnitude where there is one.

    Raises InputError for a scan without magnitude that lies on another grid.
    """
    import numpy as np

    from ..io.resample import resample
    from ..review.registration import rigid

    grid = first.field.grid
    if first.magnitude is None or scan.magnitude is None:
        if not scan.field.grid.same_place(grid):
            raise InputError(
                f"{scan.path} lies on another grid than {first.path}: give --magnitude, so that they can be registered."
            )
        return scan
    placed = scan.field.grid
    for _ in range(ROUNDS):
        # Heads are turned further for COSMOS than between visits: each round begins where the last one ended.
        step = rigid(first.magnitude.numpy(), grid, scan.magnitude.numpy(), placed)
        placed = Grid.from_affine(placed.shape, step @ np.asarray(placed.affine), placed.b0_direction)
        if np.degrees(np.arccos(np.clip((np.trace(step[:3, :3]) - 1) / 2, -1, 1))) < SETTLED_DEG:
            break
    mask = resample((scan.field.mask > 0).float(), placed, grid) > 0.99
    return Oriented(
        LocalField(grid, resample(scan.field.field_ppm, placed, grid) * mask, mask), placed, None, scan.path
    )
