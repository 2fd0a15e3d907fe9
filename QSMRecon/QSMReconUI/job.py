"""The work in a child process: `python -m QSMReconLib run job.json --progress json`.

PyTorch never enters Slicer's own process, so nothing freezes the window, the GPU's memory comes back when the child
ends, and a crash of its driver takes nothing else along. The child writes its events and its log into files, which a
timer reads: no threads, no pipes that fill, and the log is still there when the child has died.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import QSMReconLib

GRACE_S = 1.0
"""How long a child that was told to stop may tidy up before it and its children are killed."""

CANCELLED = 130


class Process(Protocol):
    """What a child process is to its watcher."""

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""

    def stop(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it and everything it started, at once."""


StartProcess = Callable[[Sequence[str], Path, Path, Path], Process]
"""Starts a command in a folder, its stdout and stderr going into the two files."""


class Child:
    """A child process in a group of its own, so that it can be ended with all that it has started."""

    def __init__(self, command: Sequence[str], folder: Path, stdout: Path, stderr: Path) -> None:
        own_group: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            own_group = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
        with stdout.open("wb") as out, stderr.open("wb") as err:
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                **own_group,
            )

    def poll(self) -> int | None:
        """The exit code, or None while it runs. What a child that has died left running is ended."""
        code = self._process.poll()
        if code is not None and os.name != "nt":
            self._signal_group(signal.SIGKILL)
        return code

    def stop(self) -> None:
        """Ask it to end. Windows has no such signal: there it is ended at once."""
        if os.name == "nt":
            self.kill()
        else:
            self._signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything it started, at once."""
        if os.name == "nt":
            tree = ["taskkill", "/F", "/T", "/PID", str(self._process.pid)]
            subprocess.run(tree, capture_output=True, check=False, creationflags=subprocess.CREATE_NO_WINDOW)
        else:
            self._signal_group(signal.SIGKILL)
        self._process.wait()

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # The group may have ended meanwhile.
            os.killpg(self._process.pid, number)


def python() -> str:
    """Slicer's Python interpreter, or this one where Slicer is not around."""
    return shutil.which("PythonSlicer") or sys.executable


def environment() -> dict[str, str]:
    """The environment of the child: it must find the library where this process found it."""
    library = str(Path(QSMReconLib.__file__).parents[1])
    paths = [library, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
    }


def library_command(*arguments: str) -> list[str]:
    """The command line that runs the library with `arguments`."""
    return [python(), "-m", "QSMReconLib", *arguments]


@dataclass(frozen=True)
class Progress:
    """How far the work is: the stage at work, which one of how many, the fraction of everything done, and the seconds
    left if known."""

    stage: str
    number: int
    count: int
    text: str
    fraction: float
    seconds_left: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How the work has ended. `sentence` is for the person, `details` for whoever looks into it."""

    kind: Literal["done", "error", "cancelled"]
    sentence: str
    events: tuple[dict[str, Any], ...] = ()
    details: str = ""


@dataclass
class Run:
    """One command and what it has said so far. Call `poll` now and then, from a timer, until it returns an outcome."""

    command: Sequence[str]
    folder: Path
    stages: Sequence[str] = ()
    leaves: Path | None = None
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_log: Callable[[str], None] = lambda text: None
    start_process: StartProcess = Child
    clock: Callable[[], float] = time.monotonic

    _process: Process | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)
    _events: list[dict[str, Any]] = field(default_factory=list, init=False)
    _read: dict[Path, int] = field(default_factory=dict, init=False)
    _stop_at: float | None = field(default=None, init=False)
    _outcome: Outcome | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the child. What cannot be started becomes an outcome, like everything else that goes wrong."""
        self._began = self.clock()
        self._partial_before = set(self._partial())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._process = self.start_process(self.command, self.folder, self.stdout, self.stderr)
        except OSError as error:
            sentence = f"The reconstruction could not be started: {error.strerror or error}."
            self._outcome = Outcome("error", sentence, details=f"{error}\n{' '.join(self.command)}")

    @property
    def stdout(self) -> Path:
        """Where the child's events go."""
        return self.folder / "events.jsonl"

    @property
    def stderr(self) -> Path:
        """Where the child's log goes."""
        return self.folder / "log.txt"

    def poll(self) -> Outcome | None:
        """Pass on what the child has said since the last time; returns how it ended, once it has."""
        if self._outcome is not None or self._process is None:
            return self._outcome
        code = self._process.poll()
        self._listen()
        if code is None and self._stop_at is not None and self.clock() > self._stop_at:
            self._process.kill()
            code = CANCELLED
        if code is not None:
            self._outcome = self._ended(code)
        return self._outcome

    def cancel(self) -> None:
        """Ask the child to stop; if it has not within a second, `poll` kills it and everything it started."""
        if self._process is not None and self._outcome is None and self._stop_at is None:
            self._stop_at = self.clock() + GRACE_S
            self._process.stop()

    def end_now(self) -> None:
        """Kill the child without waiting, as the application or the module goes away."""
        if self._process is not None and self._outcome is None:
            self._stop_at = self.clock()
            self._process.kill()
            self._outcome = self._ended(CANCELLED)

    def wait(self, idle: Callable[[], None] = lambda: None) -> Outcome:
        """Block until the work has ended, calling `idle` in between."""
        while (outcome := self.poll()) is None:
            idle()
            time.sleep(0.05)
        return outcome

    def _listen(self) -> None:
        for line in self._new_lines(self.stdout):
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if not isinstance(event, dict):
                self.on_log(line)
            elif event.get("event") == "progress":
                self._report(event)
            else:
                self._events.append(event)
        for line in self._new_lines(self.stderr):
            self.on_log(line)

    def _new_lines(self, path: Path) -> list[str]:
        try:
            with path.open("rb") as stream:
                stream.seek(self._read.get(path, 0))
                block = stream.read()
        except OSError:
            return []
        whole = block[: block.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(whole)
        return whole.decode("utf-8", "replace").splitlines()

    def _report(self, event: Mapping[str, Any]) -> None:
        stage, within = str(event.get("stage", "")), float(event.get("fraction", 0.0))
        count = len(self.stages)
        number = self.stages.index(stage) + 1 if stage in self.stages else 0
        done = (number - 1 + within) / count if number else 0.0
        spent = self.clock() - self._began
        # Before a twentieth of the work is done, starting PyTorch dominates and the guess would be wild.
        left = spent * (1 - done) / done if done > 0.05 else None
        self.on_progress(Progress(stage, number, count, str(event.get("text", "")), done, left))

    def _ended(self, code: int) -> Outcome:
        self._listen()
        for folder in set(self._partial()) - self._partial_before:
            shutil.rmtree(folder, ignore_errors=True)
        errors = [event for event in self._events if event.get("event") == "error"]
        done = tuple(event for event in self._events if event.get("event") != "error")
        details = self._tail()
        # A child that was done before it heard of the cancelling is done.
        if code == 0 and not errors:
            return Outcome("done", "Done.", done, details)
        if self._stop_at is not None:
            return Outcome("cancelled", "Cancelled. Nothing was kept.", details=details)
        if errors:
            return Outcome("error", str(errors[-1].get("text", "")), done, details)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        sentence = (
            f"The reconstruction ended before it was done ({how}). Out of memory is the usual cause: see the log."
        )
        return Outcome("error", sentence, done, details)

    def _partial(self) -> list[Path]:
        return list(self.leaves.glob(".partial-*")) if self.leaves is not None and self.leaves.is_dir() else []

    def _tail(self, characters: int = 20_000) -> str:
        try:
            return self.stderr.read_bytes()[-characters:].decode("utf-8", "replace").strip()
        except OSError:
            return ""
