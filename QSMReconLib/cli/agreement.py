"""`qsmrecon agreement`: do two tables of the same lesions agree."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..runtime import Runtime
from .console import reporting, say, table


def add_to(commands: Any) -> None:
    """Add the command."""
    from ..review.agreement import WHO

    added = commands.add_parser(
        "agreement",
        help="compare two lesion tables: pipelines, visits, readers",
        description="Match the lesions of two tables, or of many scans reconstructed in two ways, and say how far "
        "their classes (percent, Cohen's kappa, confusion matrices) and their numbers (Bland and Altman) agree. For "
        "research use only.",
    )
    added.add_argument(
        "first",
        type=Path,
        metavar="FIRST",
        help="a table of `qsmrecon lesions`, or a reader's; a folder of tables; or, with --lesions, of derivatives",
    )
    added.add_argument("second", type=Path, metavar="SECOND", help="another one; or the same, see --who")
    added.add_argument(
        "--lesions",
        type=Path,
        metavar="F",
        help="measure these on the maps of both folders first: a label map, or a folder with one for each scan",
    )
    added.add_argument("--tables", type=Path, metavar="DIR", help="keep the tables that --lesions makes")
    added.add_argument(
        "--who",
        nargs=2,
        choices=WHO,
        metavar=("FIRST", "SECOND"),
        help="whose words count in each table: class (computed) or reader; `T.tsv T.tsv --who class reader` compares "
        "a reader with what was computed",
    )
    added.add_argument(
        "--transform", type=Path, metavar="F", help="a 4x4 matrix as text, second visit to first, RAS mm"
    )
    added.add_argument(
        "--images", nargs=2, type=Path, metavar=("FIRST", "SECOND"), help="magnitudes of two visits, to be registered"
    )
    added.add_argument("--farthest", type=float, default=5.0, metavar="MM", help="between centres of one lesion; 5")
    added.add_argument("-o", "--output", type=Path, metavar="F.json", help="write everything as JSON")
    added.add_argument("--report", type=Path, metavar="R.html", help="write a page with matrices and plots")
    added.add_argument("--progress", choices=("bar", "none"), default="bar", help="default: bar")
    added.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    added.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    """Compare, write, and show."""
    from ..review.comparison import compare_files

    if args.farthest <= 0:
        raise InputError(f"--farthest is {args.farthest:g} mm: it must be above zero.")
    with reporting(args.progress if args.lesions else "none", ["agreement"]) as report:
        found = compare_files(
            args.first,
            args.second,
            args.output,
            args.report,
            transform=args.transform,
            images=tuple(args.images) if args.images else None,
            farthest_mm=args.farthest,
            who=tuple(args.who) if args.who else None,
            lesions=args.lesions,
            tables=args.tables,
            overwrite=args.overwrite,
            progress=Runtime(report=report, stage="agreement").progress,
        )
    say(f"{len(found.pairs)} lesions matched by their {found.matched_by}.")
    for where, alone in (("first", found.only_first), ("second", found.only_second)):
        if alone:
            say(f"Only in the {where}: {', '.join(map(str, alone))}.")
    for a in found.agreements:
        table(a.column, ["", *a.confusion.columns], ([row, *a.confusion.loc[row]] for row in a.confusion.index), 1)
        kappa = "-" if a.kappa != a.kappa else f"{a.kappa:.2f} (95 %: {a.kappa_low:.2f} to {a.kappa_high:.2f})"
        say(f"{a.percent:.1f} % of {a.lesions - a.undecided} decided by both agree; Cohen's kappa {kappa}.")
    rows = [
        (d.column, d.lesions, *(f"{v:.3g}" for v in (d.bias, d.bias_low, d.bias_high, d.lower_limit, d.upper_limit)))
        for d in found.differences
    ]
    if rows:
        columns = ("second - first", "lesions", "bias", "95 % from", "to", "limits from", "to")
        table("", columns, rows, 1)
    for path in filter(None, (args.output, args.report)):
        say(f"Written to {path}.")
    return 0
