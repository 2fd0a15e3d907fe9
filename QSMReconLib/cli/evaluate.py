"""`qsmrecon evaluate`: derivatives against the truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import say, table

if TYPE_CHECKING:
    import pandas as pd

SHOWN = {
    "dice": "Dice",
    "kept": "kept",
    "nrmse": "NRMSE %",
    "xsim": "XSIM",
    "correlation": "corr.",
    "median_error": "median err.",
}


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "evaluate",
        help="compare derivatives with the truth, by the QSM challenge's metrics",
        description="Compare every map below DERIVATIVES with its namesake below TRUTH.",
    )
    added.add_argument("derivatives", metavar="DERIVATIVES", type=Path, help="a folder that `run` has written")
    added.add_argument("truth", metavar="TRUTH", type=Path, help="a folder with maps of the same names")
    added.add_argument("-o", "--output", type=Path, metavar="TABLE.tsv", help="also write the table")
    added.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    """Evaluate, print, save."""
    from ..evaluation.compare import evaluate

    compared = evaluate(args.derivatives, args.truth)
    show(compared)
    if args.output is not None:
        compared.to_csv(args.output, sep="\t", index=False, na_rep="n/a")
        say(f"Written to {args.output}.")
    return 0


def show(compared: pd.DataFrame) -> None:
    """Print the scores that fit every map; the saved table has them all."""
    import pandas as pd

    rows = [
        [row["scan"], row["map"], *("" if pd.isna(row.get(name)) else f"{row[name]:.3g}" for name in SHOWN)]
        for row in compared.to_dict("records")
    ]
    table("", ["scan", "map", *SHOWN.values()], rows, numbers_from=2)
