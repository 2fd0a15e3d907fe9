"""Several scans at a time: Dask hands them out, each to a child process that runs the command line.

A child that crashes, or that the system kills for its memory, takes none of the others with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..io.scan import ScanFiles
    from ..job import Job

Event = dict[str, Any]
Listener = Callable[[Event], None]
"""Called with each line that a child says (`event`: progress, done or error) and the `scan` that it is about; one call
at a time, each scan's last being done or error."""


def run_side_by_side(job: Job, scans: Sequence[ScanFiles], jobs: int, listener: Listener) -> None:
    """Every scan of the job, `jobs` at a time, which share the processors. Whatever interrupts the caller (Cancelled)
    ends the children, which then leave nothing behind. Raises InputError where Dask is not installed."""
    try:
        import dask
    except ImportError as error:
        raise InputError("Several jobs at a time need Dask: pip install 'qsmrecon[cohort]', or --jobs 1.") from error
    children = _Children(listener, threads=max(1, (os.cpu_count() or 1) // jobs))
    one = dask.delayed(lambda files: children.run(replace(job, only=(files.name,)), files.name), pure=False)
    try:
        dask.compute(*(one(files) for files in scans), scheduler="threads", num_workers=jobs)
    finally:
        children.stop()


class _Children:
    """The child processes that run now, and whether any more may start."""

    def __init__(self, listener: Listener, threads: int) -> None:
        self._listener = listener
        self._environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONIOENCODING": "utf-8"}
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def run(self, job: Job, scan: str) -> None:
        """One scan from beginning to end, told to the listener."""
        with tempfile.TemporaryDirectory(prefix="qsmrecon-") as folder:
            file = Path(folder) / "job.json"
            file.write_text(json.dumps(job.to_json()), encoding="utf-8")
            command = [sys.executable, "-m", __name__.partition(".")[0], "run", str(file), "--progress", "json"]
            with self._lock:
                if self._stopped:
                    return
                # A session of its own: Ctrl+C in the terminal reaches the parent alone, which then ends its children.
                child = subprocess.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    encoding="utf-8",
                    env=self._environment,
                    start_new_session=True,
                )
                self._running.add(child)
            last: Event = {}
            assert child.stdout is not None
            with child.stdout:
                for line in child.stdout:
                    try:
                        last = json.loads(line)
                    except ValueError:
                        continue  # Some library's own words.
                    self._tell(last | {"scan": scan})
            code = child.wait()
            with self._lock:
                self._running.discard(child)
            if last.get("event") not in ("done", "error"):
                text = f"Its process ended with code {code}. If the memory ran out, run fewer --jobs at a time."
                self._tell({"event": "error", "text": text, "code": 1, "scan": scan})

    def stop(self) -> None:
        """Start none any more, and end those that run; returns when they have tidied up."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for child in running:
            child.terminate()
        for child in running:
            child.wait()

    def _tell(self, event: Event) -> None:
        with self._turn:
            if not self._stopped:
                self._listener(event)
