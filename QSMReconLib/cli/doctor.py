"""`qsmrecon doctor`: what is there, what would be repaired, what is missing or suspicious."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..job import Job
from .console import say, say_json
from .run import add_gre_flags, scan_of

MARKS = {"found": " ", "repaired": "~", "missing": "-", "suspicious": "?", "error": "!"}


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "doctor",
        help="examine scans before anything is run",
        description="Say what is found, what would be repaired (~), what is suspicious (?), what a full analysis lacks "
        "(-) and what stands in the way of a reconstruction (!). Exit code 2 for either of the last two.",
    )
    added.add_argument(
        "input", metavar="IN", nargs="?", type=Path, help="a BIDS dataset, a subject or DICOM folder, or job.json"
    )
    added.add_argument("--participant-label", nargs="+", default=[], metavar="L", help="only these subjects")
    added.add_argument("--mask", type=Path, help="examine this mask too")
    added.add_argument("--json", action="store_true", help="one JSON line per scan, for programs")
    add_gre_flags(added)
    added.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    """Examine every scan and print what is to be said of it."""
    from ..io.preflight import examine_files

    if args.input is not None and args.input.suffix == ".json":
        job = Job.from_json(args.input)
    else:
        job = replace(scan_of(args, args.input), participants=tuple(args.participant_label), mask=args.mask)
    errors, lacking = 0, 0
    for files in job.scans():
        examined = examine_files(files, job.mask, job.given())
        errors += len(examined.errors)
        lacking += sum(finding.level == "missing" for finding in examined.findings)
        if args.json:
            findings = [{"level": f.level, "text": f.text, "file": str(f.file or "")} for f in examined.findings]
            say_json(event="examined", scan=examined.name, findings=findings)
            continue
        say(f"{examined.name}")
        for finding in examined.findings:
            say(f"  {MARKS[finding.level]} {finding.level:<10}  {finding.text}")
        say("")
    if not args.json:
        say(_verdict(errors, lacking))
    return 2 if errors or lacking else 0


def _verdict(errors: int, lacking: int) -> str:
    if errors:
        return f"{errors} error{'s' if errors > 1 else ''} must be mended first."
    return "Ready to run, but for what is missing." if lacking else "Ready to run."
