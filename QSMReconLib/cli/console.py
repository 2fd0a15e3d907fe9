"""What the command line says: tables on stdout, progress and errors on stderr, or JSON lines on stdout for a parent
process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from ..errors import InputError, QsmReconError
from ..runtime import Report

ProgressStyle = Literal["bar", "json", "none"]


def settings(texts: Iterable[str]) -> dict[str, str]:
    """What `--set OPTION=VALUE` says, by option. Raises InputError for what has another form."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text!r} is not of the form OPTION=VALUE.")
        found[name.strip()] = value
    return found


def say(text: str) -> None:
    """A line for the person, on stdout."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(text, markup=False)


def say_json(**event: Any) -> None:
    """One event for a parent process, as a line of JSON on stdout."""
    sys.stdout.write(json.dumps(event, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def say_error(text: str, code: int, as_json: bool) -> None:
    """Why the command ends without having done its work."""
    from rich.console import Console

    if as_json:
        say_json(event="error", text=text, code=code)
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"qsmrecon: {text}", style="red", markup=False)


def sentence_of(error: Exception) -> tuple[str, int]:
    """What to tell a person about an error, and the exit code."""
    if isinstance(error, QsmReconError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "There was not enough memory: close other programs, or try --device cpu.", 1
    return (
        f"Something unforeseen went wrong ({type(error).__name__}: {error}). Set QSMRECON_DEBUG=1 for the details.",
        1,
    )


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], numbers_from: int = 99) -> None:
    """A table; columns from `numbers_from` on are numbers, aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title or None, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="right" if index >= numbers_from else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(str(value) for value in row))
    console = Console(highlight=False)
    console.print(drawn)


@contextmanager
def reporting(style: ProgressStyle, stages: Sequence[str]) -> Iterator[Report | None]:
    """A listener for `Runtime.report` that draws a bar, prints JSON lines, or keeps silent.

    `stages` are the names of those that will run, each counting the same.
    """
    if style == "none":
        yield None
    elif style == "json":
        yield _as_json
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description:>16}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
        console = Console(stderr=True)
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
            task = bar.add_task("starting", total=max(len(stages), 1))

            def draw(stage: str, fraction: float, text: str) -> None:
                done = stages.index(stage) + fraction if stage in stages else None
                bar.update(task, completed=done, description=stage)

            yield draw


def _as_json(stage: str, fraction: float, text: str) -> None:
    say_json(event="progress", stage=stage, fraction=round(fraction, 4), text=text)
