"""`qsmrecon`: the commands, and how they end (0 done, 2 wrong input, 1 anything else, 130 cancelled)."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

from .. import __version__
from ..errors import Cancelled
from . import agreement, cosmos, demo, doctor, evaluate, lesions, lists, run, simulate, stage, train
from .console import say_error, sentence_of

COMMANDS = (run, stage, cosmos, lists, doctor, demo, simulate, evaluate, lesions, agreement, train)


def parser() -> argparse.ArgumentParser:
    """Every command with its flags."""
    top = argparse.ArgumentParser(
        prog="qsmrecon",
        description="Quantitative susceptibility mapping, from multi-echo gradient echoes to χ. "
        "For research use only; not a medical device.",
        epilog="Begin with: qsmrecon demo",
    )
    top.add_argument("--version", action="version", version=f"qsmrecon {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. What goes wrong is one sentence on stderr, never a traceback, unless
    QSMRECON_DEBUG is set."""
    args = parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _cancel)
    try:
        return int(args.command(args))
    except Exception as error:
        if os.environ.get("QSMRECON_DEBUG"):
            traceback.print_exc()
        text, code = sentence_of(error)
        say_error(text, code, as_json=getattr(args, "progress", "") == "json")
        return code


def _cancel(number: int, frame: FrameType | None) -> None:
    # A second signal must not interrupt the tidying up that the first one set going.
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    raise Cancelled("Cancelled; nothing was written.")


if __name__ == "__main__":
    sys.exit(main())
