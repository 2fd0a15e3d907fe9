"""`qsmrecon lesions`: a table, and a report, of every lesion on the maps of one subject."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..runtime import Runtime
from .console import reporting, say, table

CHANNELS = {"chi": "χ in ppm", "chi_para": "χ_para in ppm", "chi_dia": "χ_dia in ppm", "r2star": "R2* in Hz"}
SHOWN = ("label", "volume_mm3", "x", "y", "z", "class_para", "class_dia", "class_focal")


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "lesions",
        help="measure and classify lesions on a subject's maps",
        description="Measure and classify every lesion of a label map; without one, candidates for bleeds and "
        "calcifications are proposed. The classes are ours, not from a paper; for research use only.",
    )
    added.add_argument(
        "derivatives", metavar="DERIVATIVES", nargs="?", type=Path, help="a subject's folder of derivatives"
    )
    added.add_argument("--lesions", type=Path, metavar="F", help="a label map; connected parts count apart")
    added.add_argument(
        "--seeds", type=Path, metavar="F", help="instead: points to grow lesions from, a TSV with x, y, z in RAS mm"
    )
    for name, what in CHANNELS.items():
        added.add_argument(f"--{name.replace('_', '-')}", type=Path, metavar="F", help=what)
    added.add_argument("--magnitude", type=Path, metavar="F", help="for the pictures; default: the scan's")
    added.add_argument("--local-field", type=Path, metavar="F", help="ppm; tells how much χ explains, and moments")
    added.add_argument("--total-field", type=Path, metavar="F", help="ppm; tells the moments of strong sources best")
    added.add_argument("--field-noise", type=Path, metavar="F", help="ppm; where the field cannot be trusted")
    added.add_argument(
        "--spin-echoes",
        choices=("yes", "no"),
        help="whether χ_para and χ_dia rest on a measured R2′ or on R2* alone; default: as the maps' sidecars say",
    )
    added.add_argument("--mask", type=Path, metavar="F", help="the brain mask")
    added.add_argument("--segmentation", type=Path, metavar="F", help="tissue labels; default: told from the maps")
    added.add_argument("-o", "--output", type=Path, required=True, metavar="TABLE.tsv")
    added.add_argument("--report", type=Path, metavar="R.html", help="also write a report with a page per lesion")
    added.add_argument(
        "--readings",
        type=Path,
        metavar="F",
        help="a reader's own classes, a TSV with label, reader_para, reader_dia, reader_focal, reader_comment",
    )
    added.add_argument("--numbered", type=Path, metavar="F", help="also write the label map with the table's numbers")
    added.add_argument("--progress", choices=("bar", "json", "none"), default="bar")
    added.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    added.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    """Review, write, and show the classes."""
    import pandas as pd

    from ..review.files import review_files

    with reporting(args.progress, ["lesions"]) as report:
        review_files(
            args.output,
            args.lesions,
            args.derivatives,
            {name: path for name in CHANNELS if (path := getattr(args, name)) is not None},
            mask=args.mask,
            magnitude=args.magnitude,
            field=args.local_field,
            total_field=args.total_field,
            field_noise=args.field_noise,
            segmentation=args.segmentation,
            seeds=args.seeds,
            spin_echoes=None if args.spin_echoes is None else args.spin_echoes == "yes",
            report=args.report,
            readings=args.readings,
            numbered=args.numbered,
            overwrite=args.overwrite,
            progress=Runtime(report=report, stage="lesions").progress,
        )
    if args.progress != "json":
        written = pd.read_csv(args.output, sep="\t", keep_default_na=False)
        shown = [name for name in SHOWN if name in written]
        table("", shown, written[shown].to_numpy().tolist())
        for path in filter(None, (args.output, args.report)):
            say(f"Written to {path}.")
    return 0
