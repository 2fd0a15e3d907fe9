"""`qsmrecon doctor`: what is in a folder, what would be repaired, what is missing or suspicious."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .console import say

MARKS = {
    "found": "  found     ",
    "repaired": "  repaired  ",
    "suspicious": "? suspicious",
    "missing": "- missing   ",
    "error": "! error     ",
}


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "doctor",
        help="examine scans before anything is run",
        description="Say what is found, what would be repaired, what is missing and what is suspicious. Ends with exit "
        "code 2 if something stands in the way of a reconstruction.",
    )
    added.add_argument("input", metavar="IN", type=Path, help="a BIDS dataset or a subject folder")
    added.add_argument("--participant-label", nargs="+", default=[], metavar="L", help="only these subjects")
    added.add_argument("--mask", type=Path, help="also examine this mask")
    added.set_defaults(command=command)
