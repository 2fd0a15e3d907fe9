"""`qsmrecon train`: train a network on simulated heads."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..runtime import pick_device
from .console import say


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "train",
        help="train a network on simulated heads",
        description="Train a network; Ctrl-C ends it with a checkpoint from which --resume goes on. Needs the extra "
        "qsmrecon[train].",
    )
    added.add_argument("name", metavar="NAME|FILE.json", help="a named configuration, or a file of one")
    added.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="checkpoints and curves")
    added.add_argument(
        "--from",
        dest="start",
        metavar="NAME|FILE",
        help="begin with the weights of a network that ships, of a checkpoint or of a safetensors file; the schedule "
        "and the optimizer start anew",
    )
    added.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    added.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="processes that draw the regions; 0: on the training's device",
    )
    added.add_argument(
        "--minutes", type=float, metavar="M", help="end after so long, the learning rate fallen as at the last step"
    )
    added.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]|mps")
    added.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    """Train, saying what each report says."""
    from ..training.config import TrainingConfig
    from ..training.export import named_config
    from ..training.loop import train

    if args.workers < 0 or (args.minutes is not None and args.minutes <= 0):
        raise InputError("--workers is 0 or more, and --minutes more than 0.")
    if args.start and args.resume:
        raise InputError("--resume goes on with a training, --from begins a new one: give one of them.")
    config = TrainingConfig.load(Path(args.name)) if args.name.endswith(".json") else named_config(args.name)
    if args.start:
        config = replace(config, start_from=args.start)

    def report(step: int, steps: int, text: str) -> None:
        say(f"{step:>7} of {steps}  {text}")

    device = pick_device(args.device)
    checkpoint = train(config, args.output, args.resume, device, report, workers=args.workers, minutes=args.minutes)
    say(f"The newest checkpoint is {checkpoint}.")
    return 0
