"""`qsmrecon run`: scans through a pipeline, written as BIDS derivatives."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, InputError
from ..job import Job, run_job
from .console import reporting, say, say_error, say_json, sentence_of

if TYPE_CHECKING:
    from ..io.scan import ScanFiles

GRE_FLAGS = ("magnitude", "phase", "real", "imag")


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "run",
        help="run a pipeline on a BIDS dataset, a subject, or NIfTI files",
        description="Run a pipeline on every scan of a BIDS dataset or subject folder, or on the NIfTI files given by "
        "--magnitude and --phase (or --real and --imag). IN may also be a job.json holding these flags.",
    )
    added.add_argument(
        "input", metavar="IN", nargs="?", type=Path, help="a BIDS dataset, a subject or DICOM folder, or job.json"
    )
    added.add_argument("-o", "--output", type=Path, help="where the derivatives go")
    added.add_argument("--participant-label", nargs="+", default=[], metavar="L", help="only these subjects")
    added.add_argument(
        "--pipeline",
        default="classical",
        metavar="NAME|FILE.json",
        help="`qsmrecon pipelines` lists them; default: classical",
    )
    added.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE.OPTION=VALUE",
        help="change an option, as --set tv.regularisation=2e-4; may be repeated; `qsmrecon stages` lists them",
    )
    added.add_argument("--mask", type=Path, help="a brain mask on the scan's grid, instead of the automatic one")
    added.add_argument("--labels", type=Path, help="numbered regions on the scan's grid, for reference.region=label")
    add_gre_flags(added)
    add_runtime_flags(added)
    added.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="scans at a time, each a process of its own; default: 1"
    )
    added.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    added.set_defaults(command=command)


def add_gre_flags(added: argparse.ArgumentParser) -> None:
    """The flags that describe a scan given as plain NIfTI files, or overrule what a folder says of it."""
    files = added.add_argument_group("a scan given as NIfTI files (one per echo, or one 4D file each)")
    for name in GRE_FLAGS:
        files.add_argument(f"--{name}", nargs="+", type=Path, default=[], metavar="F")
    files.add_argument("--echo-times", nargs="+", type=float, metavar="S", help="in seconds; default: the sidecars'")
    files.add_argument(
        "--spin-echo", nargs="+", type=Path, default=[], metavar="F", help="magnitudes of spin echoes, for R2 and R2′"
    )
    files.add_argument(
        "--spin-echo-times", nargs="+", type=float, metavar="S", help="in seconds; default: the sidecars'"
    )
    files.add_argument("--field-strength", type=float, metavar="T", help="in tesla; default: the sidecars'")
    files.add_argument(
        "--b0-direction",
        nargs=3,
        type=float,
        metavar=("X", "Y", "Z"),
        help="along the file's axes; default: the affine's",
    )
    files.add_argument(
        "--phase-sign", choices=("auto", "keep", "flip"), default="auto", help="flip negates the phase; default: auto"
    )


def add_runtime_flags(added: argparse.ArgumentParser) -> None:
    """Where to run and how to tell."""
    added.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]|mps", help="default: auto")
    added.add_argument("--progress", choices=("bar", "json", "none"), default="bar", help="default: bar")


def command(args: argparse.Namespace) -> int:
    """Run the job; where one scan of several fails, the others are done and the exit code still tells."""
    job = job_of(args)
    if args.jobs < 1:
        raise InputError(f"--jobs is {args.jobs}, but must be at least 1.")
    stages = [step.stage.name for step in job.resolved_pipeline().steps]
    scans = job.scans()
    as_json = args.progress == "json"
    codes: dict[str, int] = {}

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "error":
            codes[event["scan"]] = event["code"]
            say_error(f"{event['scan']}: {event['text']}", event["code"], as_json)
        elif as_json:
            say_json(**event)
        elif event["event"] == "done":
            for line in (*(f"  · {note}" for note in event["notes"]), ""):
                say(line)
            maps, seconds = len(event["outputs"]), event["seconds"]
            say(f"{event['scan']}: {maps} maps in {seconds:.0f} s. Report: {event['report']}")

    if args.jobs > 1 and len(scans) > 1:
        from ..cohort.side_by_side import run_side_by_side

        if args.progress == "bar":
            say(f"{len(scans)} scans, {args.jobs} at a time.")
        run_side_by_side(job, scans, args.jobs, tell)
    else:
        for files in scans:
            if not as_json:
                say_if_short_of_memory(files)
            try:
                with reporting(args.progress, stages) as report:
                    done = run_job(job, files, report)
                tell(done.as_event(files.name))
            except Cancelled:
                raise
            except Exception as error:
                if len(scans) == 1:
                    raise
                text, code = sentence_of(error)
                tell({"event": "error", "text": text, "code": code, "scan": files.name})
    if codes and not as_json:
        say(f"{len(scans) - len(codes)} of {len(scans)} scans were done; not {', '.join(sorted(codes))}.")
    return min(codes.values(), default=0)


def say_if_short_of_memory(files: ScanFiles) -> None:
    """What a run that is about to start will lack, by a rough measure."""
    from ..memory import free_bytes, in_words, need_of

    need, free = need_of(files), free_bytes()
    if need is not None and free is not None and need > free:
        say(f"{files.name}: {in_words(need, free)}")


def job_of(args: argparse.Namespace) -> Job:
    """The job that flags or a job.json describe."""
    if args.input is not None and args.input.suffix == ".json":
        return Job.from_json(args.input)
    if args.output is None:
        raise InputError("Say where the results go: -o FOLDER.")
    return replace(
        scan_of(args, args.input),
        pipeline=args.pipeline,
        options=tuple(args.set),
        participants=tuple(args.participant_label),
        mask=args.mask,
        labels=args.labels,
        device=args.device,
        overwrite=args.overwrite,
    )


def scan_of(args: argparse.Namespace, source: Path | None) -> Job:
    """The part of a job that says which scan: a folder or files, and what is said about them."""
    return Job(
        output=getattr(args, "output", None) or Path(),
        input=source,
        magnitude=tuple(args.magnitude),
        phase=tuple(args.phase),
        real=tuple(args.real),
        imag=tuple(args.imag),
        spin_echo=tuple(args.spin_echo),
        echo_times_s=tuple(args.echo_times) if args.echo_times else None,
        field_strength_t=args.field_strength,
        b0_direction=tuple(args.b0_direction) if args.b0_direction else None,
        phase_sign=args.phase_sign,
        spin_echo_times_s=tuple(args.spin_echo_times) if args.spin_echo_times else None,
    )
