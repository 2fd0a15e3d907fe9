"""`qsmrecon demo`: the whole job on a simulated head, and how far the result is from the truth."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from ..job import Job, run_job
from ..runtime import Runtime
from .console import reporting, say
from .evaluate import show

SHAPE, VOXEL_SIZE_MM = (108, 128, 108), (1.5, 1.5, 1.5)


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "demo",
        help="simulate a head, reconstruct it, compare it with the truth: the whole job, offline",
        description="Simulate a head and its scan, run the classical pipeline on it, and compare every map with the "
        "truth. Takes some minutes on a laptop and downloads nothing.",
    )
    added.add_argument("-o", "--output", type=Path, default=Path("qsmrecon-demo"), help="default: ./qsmrecon-demo")
    added.add_argument("--pipeline", default="classical", metavar="NAME|FILE.json", help="default: classical")
    added.add_argument("--seed", type=int, default=0, help="another seed is another head; default: 0")
    added.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]|mps", help="default: auto")
    added.add_argument("--progress", choices=("bar", "none"), default="bar", help="default: bar")
    added.add_argument("--overwrite", action="store_true", help="replace an earlier demo in the same folder")
    added.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    """Simulate, run, evaluate."""
    from ..evaluation.compare import evaluate
    from ..phantoms.dataset import simulate

    start = time.perf_counter()
    results = args.output / "derivatives" / "qsmrecon"
    job = Job(input=args.output, output=results, pipeline=args.pipeline, device=args.device, overwrite=args.overwrite)
    stages = [step.stage.name for step in job.resolved_pipeline().steps]
    say(f"1. Simulating a head and its scan in {args.output} …")
    with reporting(args.progress, ["simulate"]) as report:
        told = Runtime(report=report, stage="simulate").progress
        simulate(
            args.output,
            "demo",
            seed=args.seed,
            shape=SHAPE,
            voxel_size_mm=VOXEL_SIZE_MM,
            overwrite=args.overwrite,
            progress=told,
        )
    say(f"2. Reconstructing it by the pipeline {job.resolved_pipeline().name}: {' → '.join(stages)} …")
    (files,) = job.scans()
    with reporting(args.progress, stages) as report:
        done = run_job(job, files, report)
    for note in done.notes:
        say(f"   · {note}")
    say("3. Comparing every map with the truth …\n")
    show(evaluate(results, args.output / "derivatives" / "truth"))
    say(f"\nDone in {time.perf_counter() - start:.0f} s. Open the report: {done.report}")
    return 0
