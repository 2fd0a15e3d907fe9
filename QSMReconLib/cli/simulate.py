"""`qsmrecon simulate`: a head with known susceptibility, scanned, as a BIDS dataset with its truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..runtime import Runtime
from .console import reporting, say


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "simulate",
        help="write a simulated head as a BIDS dataset with its truth",
        description="Simulate a head and its multi-echo scan; the truth goes below derivatives/truth.",
    )
    added.add_argument("-o", "--output", type=Path, required=True, help="the dataset")
    added.add_argument("--subject", default="phantom", metavar="L", help="its label; default: phantom")
    added.add_argument("--seed", type=int, default=0, help="another seed is another head; default: 0")
    added.add_argument(
        "--shape",
        nargs=3,
        type=int,
        default=(160, 192, 160),
        metavar=("X", "Y", "Z"),
        help="in voxels; default: 160 192 160",
    )
    added.add_argument(
        "--voxel-size",
        nargs=3,
        type=float,
        default=(1.0, 1.0, 1.0),
        metavar=("X", "Y", "Z"),
        help="in mm; default: 1 1 1",
    )
    added.add_argument("--tilt", type=float, default=0.0, metavar="DEG", help="of the slices against B0; default: 0")
    added.add_argument(
        "--echo-times",
        nargs="+",
        type=float,
        default=(0.005, 0.012, 0.019, 0.026),
        metavar="S",
        help="in seconds; default: 0.005 0.012 0.019 0.026",
    )
    added.add_argument("--field-strength", type=float, default=3.0, metavar="T", help="in tesla; default: 3")
    added.add_argument("--snr", type=float, default=60.0, help="of the first echo in white matter; default: 60")
    added.add_argument("--ms-lesions", type=int, default=12, metavar="N", help="of the six kinds in turn; default: 12")
    added.add_argument("--bleeds", type=int, default=3, metavar="N", help="default: 3")
    added.add_argument("--calcifications", type=int, default=2, metavar="N", help="default: 2")
    added.add_argument(
        "--style",
        default="siemens",
        choices=("siemens", "ge", "radians"),
        help="how the scan is stored: phase from -4096 to 4095; real and imaginary parts with every second slice "
        "negated; or radians. Default: siemens",
    )
    added.add_argument("--progress", choices=("bar", "json", "none"), default="bar", help="default: bar")
    added.add_argument("--overwrite", action="store_true", help="replace the subject if it is there already")
    added.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    """Simulate and write."""
    from ..phantoms.dataset import simulate

    with reporting(args.progress, ["simulate"]) as report:
        folder = simulate(
            args.output,
            args.subject,
            seed=args.seed,
            shape=tuple(args.shape),
            voxel_size_mm=tuple(args.voxel_size),
            tilt_deg=args.tilt,
            echo_times_s=tuple(args.echo_times),
            field_strength_t=args.field_strength,
            snr=args.snr,
            style=args.style,
            ms_lesions=args.ms_lesions,
            bleeds=args.bleeds,
            calcifications=args.calcifications,
            overwrite=args.overwrite,
            progress=Runtime(report=report, stage="simulate").progress,
        )
    if args.progress != "json":
        say(f"sub-{args.subject} is in {folder}; the truth is below derivatives/truth.")
    return 0
